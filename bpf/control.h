/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * control.h - connections under a persistence template (spec ipvs 3.5, 5.2).
 *
 * A template lives as long as one connection is under it. So it counts them, in the word of its
 * slot, and each of them has in its own where its template is:
 *
 *   template    timeout:24 | connections:24 | generation:14 | 0 | 1
 *   connection  where:48                    | generation:14 | 0 | 0     (a handle)
 *
 * Slot 0 of a bucket has the bucket's word: neither lies there.
 *
 * adopt() counts first and then touches the template. A sweeper that judged it idle and alone fails
 * at its control word, or else the touch does, and the count is taken back. While the count is not
 * 0 no sweeper ends a template, so leave() need not look. But a touch within the same unit of the
 * clock changes nothing: whoever ends a template before its time disables it first, which no
 * adoption survives, and looks at the count again (tests/model/templates.pml).
 */
#pragma once

#include "connections.h"

#define HANDLE_GENERATION 48
#define WHERE_MASK 0xffffffffffffULL
#define ONE_CONTROLLED (1ULL << 24)
#define CONTROLLED_MASK (0xffffffULL << 24)
#define IS_TEMPLATE_WORD (1ULL << 63)
#define ADOPT_TRIES 32
#define REARM_S 60 /* the kernel's, for a template that is idle but not alone */

static __always_inline __u64 generation_of(__u64 control)
{
	return (control & GENERATION_MASK) >> GENERATION_SHIFT;
}

/* A template as its connections know it. */
static __always_inline __u64 handle_of(__u64 where, __u64 control)
{
	return where | generation_of(control) << HANDLE_GENERATION;
}

static __always_inline __u64 template_word(__u32 timeout, __u64 control)
{
	return timeout | generation_of(control) << HANDLE_GENERATION | IS_TEMPLATE_WORD;
}

/* Still the template of this handle, by its control word. */
static __always_inline bool is_the_one(__u64 control, __u64 handle)
{
	return (control & (PHASE_MASK | TEMPLATE)) == (PHASE_LIVE | TEMPLATE) &&
	       generation_of(control) == handle >> HANDLE_GENERATION;
}

/* One connection fewer under a template. */
__attribute__((noinline)) int leave(__u64 handle)
{
	struct connection *t = slot_at(handle & WHERE_MASK);

	if (t)
		__sync_fetch_and_add(&t->word, -ONE_CONTROLLED);
	return 0;
}

/* Seen now. False: it is no longer there, or has one of these bits. */
static __always_inline bool refresh(const struct settings *s, struct connection *t, __u64 handle,
				    __u64 unless)
{
	for (__u32 i = 0; i < ADOPT_TRIES; i++) {
		__u64 control = READ_ONCE(t->control), next;

		if (!is_the_one(control, handle) || control & unless)
			return false;
		next = (control & ~SEEN_MASK) | (__u64)clock_now(s) << SEEN_SHIFT;
		if (next == control || CAS(&t->control, control, next) == control)
			return true;
	}
	return false;
}

/* An adoption that came too late. The word may be another's by now. */
static __always_inline void disown(struct connection *t, __u64 expected)
{
	for (__u32 i = 0; i < ADOPT_TRIES; i++) {
		__u64 word = READ_ONCE(t->word);

		if (word >> HANDLE_GENERATION != expected || !(word & CONTROLLED_MASK))
			return;
		if (CAS(&t->word, word, word - ONE_CONTROLLED) == word)
			return;
	}
}

/* One connection more under a template, whose time begins anew. 0: it died, or was disabled. */
__attribute__((noinline)) int adopt(__u64 handle)
{
	struct connection *t = slot_at(handle & WHERE_MASK);
	struct settings *s = the_settings();
	__u64 expected = handle >> HANDLE_GENERATION | IS_TEMPLATE_WORD >> HANDLE_GENERATION;

	if (!t || !s)
		return 0;
	for (__u32 i = 0; i < ADOPT_TRIES; i++) {
		__u64 word = READ_ONCE(t->word);

		if (word >> HANDLE_GENERATION != expected ||
		    (word & CONTROLLED_MASK) == CONTROLLED_MASK)
			return 0;
		if (CAS(&t->word, word, word + ONE_CONTROLLED) != word)
			continue;
		if (refresh(s, t, handle, DISABLED))
			return 1;
		disown(t, expected);
		return 0;
	}
	return 0;
}

/* One of its connections was established: this template stays when under attack. */
__attribute__((noinline)) int assure(__u64 handle)
{
	struct connection *t = slot_at(handle & WHERE_MASK);
	__u64 control;

	if (!t)
		return 0;
	control = READ_ONCE(t->control);
	/* lost to another change of the word: the next packet tries again */
	if (is_the_one(control, handle) && !(control & ASSURED))
		CAS(&t->control, control, control | ASSURED);
	return 0;
}

/*
 * The time of a template is up. True: it is not alone, and gets another minute; from now on always
 * one.
 */
static __always_inline bool rearmed(const struct settings *s, struct connection *t, __u64 control)
{
	__u64 word = READ_ONCE(t->word);

	if (!(word & CONTROLLED_MASK))
		return false;
	/* lost to another change: then it is not idle, or the next round sees to it */
	if (CAS(&t->word, word, (word & ~(__u64)CLOCK_MASK) | clock_units(s, REARM_S)) == word)
		refresh(s, t, handle_of(0, control), 0);
	return true;
}

/* Before a template ends, whatever its time. False: it is not alone, or has moved on meanwhile. */
static __always_inline bool kept_alone(struct connection *t, __u64 *control)
{
	__u64 old = *control;

	if (READ_ONCE(t->word) & CONTROLLED_MASK)
		return false;
	*control |= DISABLED;
	if (CAS(&t->control, old, *control) != old)
		return false;
	return !(READ_ONCE(t->word) & CONTROLLED_MASK);
}
