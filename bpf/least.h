/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * least.h - who has the least cost / weight: lc, wlc, sed, nq; and, as all cost them the same, who
 * has the highest weight: fo, ovf. lblc and lblcr ask for wlc's choice.
 *
 * Each chunk keeps what the last look at it found, and the list's choice is the first of the best
 * of its chunks' best:
 *
 *   a member's counts change   counts += ..., then version of its chunk += 1 (add_to_counts)
 *   a choice, at each chunk    version is read; if `best` is of this version, it names the best
 *                              member, else the members are looked at, and best = {version, index}
 *
 * `best` is one word with the version that was read before the look, so what a slow look found is
 * never taken for the present. The member's cost is not kept, but worked out from its counts. With
 * 1000 real servers, 39 chunks are asked, and the few looked at that changed since the last choice.
 *
 * A change finds the chunk of its real server in real_counts.chunk, read after the add. It is 0,
 * and nobody watches, for lists of one chunk and for other schedulers. A writer publishes a list in
 * this order (writer.py): the chunks, not watched; service->list; chunk of every member; watched =
 * 1. A list that is not watched is looked at in full, and nothing is kept. Once it is watched, an
 * add either moved the version of this list's chunk, or it came before anybody's look. `version`
 * and `best` outlive the list: a chunk that is used again goes on from a version of its own.
 */
#pragma once

#include "lists.h"

#define CHUNKS_A_STEP 4

/*
 * What a member must have the least of, by weight. nq's idle server is the first choice at once.
 * Halves are read one by one and not clamped: while two CPUs change one, it may be read as -1,
 * and then this server looks too busy for that moment.
 */
static __always_inline __u64 cost_of(__u32 scheduler, const struct real_counts *counts)
{
	__u64 active = READ_ONCE(((const __u32 *)&counts->counts)[1]), one = 1;

	switch (scheduler) {
	case SCHED_SED:
		return active + 1;
	case SCHED_NQ:
		return active + (-active >> 63);
	case SCHED_FO:
	case SCHED_OVF:
		asm volatile("" : "+r"(one)); /* see weight_by */
		return one;
	default:
		return overhead_of(counts);
	}
}

/*
 * 0: not this one. To lc all other weights are equal; ovf's are full with more than their weight.
 * The compiler is kept from making branches of it: what the verifier learns there, it keeps apart.
 */
static __always_inline __u64 weight_by(__u32 scheduler, const struct member *m,
				       const struct real_counts *counts)
{
	__u64 weight = weight_now(m, counts), is_full;

	switch (scheduler) {
	case SCHED_LC:
		return (weight + 0xffffffff) >> 32;
	case SCHED_OVF:
		is_full = (weight - READ_ONCE(((const __u32 *)&counts->counts)[1])) >> 63;
		asm volatile("" : "+r"(is_full));
		return weight & (is_full - 1);
	default:
		return weight;
	}
}

struct least {
	__u64 cost;
	__u64 weight; /* 0: nobody yet */
};

/*
 * Fractions are compared by cross multiplication, as in the kernel. The first to beat is 1 / 0:
 * whoever has weight does, and nobody else.
 */
static __always_inline bool is_less(__u64 cost, __u64 weight, const struct least *least)
{
	return cost * least->weight < least->cost * weight;
}

static __always_inline long best_by(__u32 scheduler, const struct chunk *chunk, __u32 members,
				    const struct all_real_counts *all)
{
	struct least least = { .cost = 1 };
	long found = MEMBERS_PER_CHUNK;

	for (__u32 i = 0; i < members; i++) {
		const struct member *m = &chunk->member[i];
		const struct real_counts *counts = counts_of(all, m->real);
		__u64 cost = cost_of(scheduler, counts), weight = weight_by(scheduler, m, counts);

		if (!is_less(cost, weight, &least))
			continue;
		barrier(); /* else the compiler makes three moves, each with a test of its own */
		least.cost = cost;
		least.weight = weight;
		found = i;
	}
	return found;
}

/*
 * The index of the best of a chunk's members, of which there are `members` or as many as it
 * holds; MEMBERS_PER_CHUNK when none may be chosen. Global: verified once. A loop for each
 * scheduler.
 */
__attribute__((noinline)) long best_member(const struct chunk *chunk, __u32 members,
					   __u32 scheduler)
{
	const struct all_real_counts *all = the_counts();

	if (!chunk || !all)
		return MEMBERS_PER_CHUNK;
	if (members > MEMBERS_PER_CHUNK)
		members = MEMBERS_PER_CHUNK;
	switch (scheduler) {
	case SCHED_LC:
		return best_by(SCHED_LC, chunk, members, all);
	case SCHED_SED:
		return best_by(SCHED_SED, chunk, members, all);
	case SCHED_NQ:
		return best_by(SCHED_NQ, chunk, members, all);
	case SCHED_FO:
		return best_by(SCHED_FO, chunk, members, all);
	case SCHED_OVF:
		return best_by(SCHED_OVF, chunk, members, all);
	default:
		return best_by(SCHED_WLC, chunk, members, all);
	}
}

/* Small, for it lies on the stack below all others. */
struct scan {
	__u16 chunk; /* the next */
	__u16 left;  /* members from there on */
	__u16 watched;
	__u16 real;
	struct least least;
};

/*
 * Some chunks of the list: the best of each is known, or looked for. One that has just become
 * overloaded or, to ovf, full is passed over with its chunk until the version has moved, too.
 */
static __always_inline long scan_chunks(__u32 scheduler, struct scan *s)
{
	const struct all_real_counts *all = the_counts();

	if (!all)
		return 1;
	for (__u32 i = 0; i < CHUNKS_A_STEP; i++) {
		struct chunk *chunk = chunk_at(s->chunk);
		const struct real_counts *counts;
		__u64 best, cost, weight;
		__u32 version, index;
		struct member *m;

		if (!chunk)
			return 1;
		version = READ_ONCE(chunk->version);
		barrier();
		best = READ_ONCE(chunk->best);
		if (!s->watched || best >> 32 != version) {
			best = (__u64)version << 32 | best_member(chunk, s->left, scheduler);
			if (s->watched)
				WRITE_ONCE(chunk->best, best);
		}
		index = best;
		if (index < MEMBERS_PER_CHUNK) {
			m = &chunk->member[index];
			counts = counts_of(all, m->real);
			cost = cost_of(scheduler, counts);
			weight = weight_by(scheduler, m, counts);
			if (is_less(cost, weight, &s->least)) {
				s->least.cost = cost;
				s->least.weight = weight;
				s->real = m->real;
			}
		}
		if (s->left <= MEMBERS_PER_CHUNK)
			return 1;
		s->left -= MEMBERS_PER_CHUNK;
		s->chunk++;
	}
	return 0;
}

static long scan_by_lc(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_LC, s);
}

static long scan_by_wlc(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_WLC, s);
}

static long scan_by_sed(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_SED, s);
}

static long scan_by_nq(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_NQ, s);
}

static long scan_by_fo(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_FO, s);
}

static long scan_by_ovf(__u32 step, struct scan *s)
{
	return scan_chunks(SCHED_OVF, s);
}

/* Of a list with so many members, whose head says `watched`. Global: verified once. */
__attribute__((noinline)) long least_of(__u32 list, __u32 scheduler, __u32 count, __u32 watched)
{
	struct scan s = {
		.chunk = list,
		.left = count,
		.watched = watched,
		.least = { .cost = 1 },
	};
	__u32 steps = chunks_of(count) / CHUNKS_A_STEP + 1;

	switch (scheduler) {
	case SCHED_LC:
		LOOP(steps, scan_by_lc, &s);
		break;
	case SCHED_SED:
		LOOP(steps, scan_by_sed, &s);
		break;
	case SCHED_NQ:
		LOOP(steps, scan_by_nq, &s);
		break;
	case SCHED_FO:
		LOOP(steps, scan_by_fo, &s);
		break;
	case SCHED_OVF:
		LOOP(steps, scan_by_ovf, &s);
		break;
	default:
		LOOP(steps, scan_by_wlc, &s);
		break;
	}
	return s.least.weight ? (long)s.real : NO_REAL_SERVER;
}

static __always_inline long least_loaded(__u32 list, const struct chunk *head)
{
	__u32 watched, index;

	if (head->count <= MEMBERS_PER_CHUNK) { /* as most are: nothing is kept, nothing to walk */
		index = best_member(head, head->count, head->scheduler);
		return index < MEMBERS_PER_CHUNK ? (long)head->member[index].real : NO_REAL_SERVER;
	}
	watched = READ_ONCE(head->watched);
	barrier(); /* watched, then versions, then counts */
	return least_of(list, head->scheduler, head->count, watched);
}
