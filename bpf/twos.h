/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * twos.h - two members by chance, each as likely as it has weight, and of these the less busy one
 * (spec ipvs 4.8).
 */
#pragma once

#include "lists.h"

/*
 * Takes the weights of a chunk's members away from *left, until nothing is left: the index of that
 * member, or MEMBERS_PER_CHUNK. Global: verified once.
 */
__attribute__((noinline)) long weigh_members(const struct chunk *chunk, __u32 members, __s64 *left)
{
	const struct all_real_counts *all = the_counts();
	__s64 rest;

	if (!chunk || !left || !all)
		return MEMBERS_PER_CHUNK;
	if (members > MEMBERS_PER_CHUNK)
		members = MEMBERS_PER_CHUNK;
	rest = *left;
	for (__u32 i = 0; i < members; i++) {
		const struct member *m = &chunk->member[i];
		__u32 weight = weight_now(m, counts_of(all, m->real));

		rest -= weight;
		if (weight && rest <= 0)
			return i;
	}
	*left = rest;
	return MEMBERS_PER_CHUNK;
}

/* Small, for it lies on the stack below all others. */
struct weighing {
	__s64 left;
	__u16 chunk;
	__u16 members; /* from there on */
	__u16 found;   /* or NOBODY */
};

static long weigh_chunk(__u32 step, struct weighing *w)
{
	struct chunk *chunk = chunk_at(w->chunk);
	__u32 index;

	if (!chunk)
		return 1;
	index = weigh_members(chunk, w->members, &w->left);
	if (index < MEMBERS_PER_CHUNK) {
		w->found = chunk->member[index].real;
		return 1;
	}
	w->members -= MEMBERS_PER_CHUNK;
	w->chunk++;
	return 0;
}

/*
 * The real server that takes the last of `left`; or, when they all are lighter, -1 - how much they
 * weigh. Global: verified once.
 */
__attribute__((noinline)) long weigh_list(__u32 list, __s64 left)
{
	struct weighing w = { .left = left, .chunk = list, .found = NOBODY };
	struct chunk *head = chunk_at(list);

	if (!head)
		return -1;
	w.members = head->count;
	LOOP(chunks_of(w.members), weigh_chunk, &w);
	return w.found == NOBODY ? w.left - left - 1 : w.found;
}

/* 0 to `most`, both inclusive; most < 2^32 */
static __always_inline __s64 chance(__u64 most)
{
	return bpf_get_prandom_u32() * (most + 1) >> 32;
}

/* Whether the second is less busy: overheads times weights in 32 bits, as the kernel's. */
static __always_inline bool is_better(__u32 second, __u32 first)
{
	const struct all_real_counts *all = the_counts();
	const struct real *a = real_at(first), *b = real_at(second);
	__u32 ours, others;

	if (!all || !a || !b)
		return false;
	others = (__u32)overhead_of(counts_of(all, first)) * READ_ONCE(b->weight);
	ours = (__u32)overhead_of(counts_of(all, second)) * READ_ONCE(a->weight);
	return (__s32)others > (__s32)ours;
}

static __always_inline long better_of_two(__u32 list)
{
	__u64 total = -1 - weigh_list(list, 1LL << 62); /* more than they all weigh */
	long first, second;

	if (!total)
		return NO_REAL_SERVER;
	first = weigh_list(list, chance(total));
	second = weigh_list(list, chance(total));
	if (first < 0) /* they became lighter since: somebody is overloaded */
		return second < 0 ? NO_REAL_SERVER : second;
	return second >= 0 && is_better(second, first) ? second : first;
}
