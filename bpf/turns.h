/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * turns.h - one after the other: rr and wrr.
 *
 * They keep {tag:16, index:16, current weight:32} in service->position: the list that it belongs
 * to, the member after the last chosen one (0: the list's head), and wrr's weight. A position of an
 * older list is replaced by the start that came with the new one, so a list and its start change in
 * one store. A chunk whose heaviest member is too light is passed over.
 *
 * Where members may be overloaded, another walk is taken, which looks at that too.
 */
#pragma once

#include "lists.h"

#define POSITION_TRIES 4

struct walk {
	__u32 list;
	__u32 chunks;
	__u32 chunk; /* the place to go on: chunk and member in it */
	__u32 member;
	__u32 weight; /* wrr: a member needs this much; rr: 1 */
	__u32 divisor;
	__u32 max_weight;
	__u32 real;
	bool found;
};

static __always_inline void place_at(struct walk *w, __u32 index)
{
	w->chunk = index / MEMBERS_PER_CHUNK;
	w->member = index - w->chunk * MEMBERS_PER_CHUNK;
}

/* Where a position says, or where the new list begins. */
static __always_inline void begin_walk(struct walk *w, const struct chunk *head, __u64 position,
				       bool weighted)
{
	__u32 index = position >> 32 & 0xffff;

	w->weight = weighted ? (__u32)position : 1;
	w->found = false;
	if (position >> 48 != (w->list & 0xffff)) {
		index = head->start_index;
		w->weight = weighted ? head->start_weight : 1;
	}
	if (!w->weight)
		w->weight = w->max_weight;
	place_at(w, index);
}

static __always_inline __u32 index_of(const struct walk *w)
{
	return w->chunk * MEMBERS_PER_CHUNK + w->member;
}

static __always_inline __u64 position_after(const struct walk *w, bool weighted)
{
	return (__u64)(w->list & 0xffff) << 48 | (__u64)(index_of(w) & 0xffff) << 32 |
	       (weighted ? w->weight : 0);
}

/* The first member from `i` on that has this weight, or MEMBERS_PER_CHUNK. Global: verified once */
__attribute__((noinline)) long member_of_weight(const struct chunk *chunk, __u32 i, __u32 weight)
{
	if (!chunk)
		return MEMBERS_PER_CHUNK;
	for (;; i++) {
		asm volatile("" : "+r"(i)); /* what is tested is what is used, for the verifier */
		if (i >= MEMBERS_PER_CHUNK)
			return MEMBERS_PER_CHUNK;
		if (chunk->member[i].weight >= weight)
			return i;
	}
}

static __always_inline void take(struct walk *w, const struct chunk *chunk, __u32 member)
{
	w->member = member + 1;
	w->real = chunk->member[member].real;
	w->found = true;
}

/* The rest of one chunk: takes a member, or goes on; at the end of the list the bar is lowered. */
static long walk_chunk(__u32 step, struct walk *w)
{
	struct chunk *chunk;
	__u32 member;

	if (w->chunk >= w->chunks) {
		w->chunk = 0;
		w->member = 0;
		w->weight = w->weight > w->divisor ? w->weight - w->divisor : w->max_weight;
	}
	chunk = chunk_at(w->list + w->chunk);
	if (!chunk)
		return 1;
	if (chunk->heaviest >= w->weight) {
		member = member_of_weight(chunk, w->member, w->weight);
		if (member < MEMBERS_PER_CHUNK) {
			take(w, chunk, member);
			return 1;
		}
	}
	w->chunk++;
	w->member = 0;
	return 0;
}

/* Mostly the next member has the weight: that is seen without a walk. */
static __always_inline bool next_in_turn(struct walk *w)
{
	struct chunk *chunk = w->chunk < w->chunks ? chunk_at(w->list + w->chunk) : 0;
	__u32 member = w->member;

	asm volatile("" : "+r"(member)); /* what is tested is what is used, for the verifier */
	if (!chunk || member >= MEMBERS_PER_CHUNK || chunk->member[member].weight < w->weight)
		return false;
	take(w, chunk, member);
	return true;
}

/* The first from `i` on that has this weight now, or MEMBERS_PER_CHUNK. Global: verified once. */
__attribute__((noinline)) long available_member(const struct chunk *chunk, __u32 i, __u32 weight)
{
	const struct all_real_counts *all = the_counts();

	if (!chunk || !all)
		return MEMBERS_PER_CHUNK;
	for (;; i++) {
		const struct member *m;

		asm volatile("" : "+r"(i)); /* what is tested is what is used, for the verifier */
		if (i >= MEMBERS_PER_CHUNK)
			return MEMBERS_PER_CHUNK;
		m = &chunk->member[i];
		if (weight_now(m, counts_of(all, m->real)) >= weight)
			return i;
	}
}

/* Small, for it lies on the stack below all others. */
struct search_turn {
	__u32 weight;
	__u16 chunk;
	__u16 member;
	long found;
};

static long search_chunk(__u32 step, struct search_turn *s)
{
	struct chunk *chunk = chunk_at(s->chunk);
	__u32 member;

	if (!chunk)
		return 1;
	if (chunk->heaviest >= s->weight) {
		member = available_member(chunk, s->member, s->weight);
		if (member < MEMBERS_PER_CHUNK) {
			s->member = member;
			s->found = chunk->member[member].real;
			return 1;
		}
	}
	s->chunk++;
	s->member = 0;
	return 0;
}

/*
 * From an index to the end of the list: the index after the member << 16 | its real server; or
 * NO_REAL_SERVER. Global: verified once.
 */
__attribute__((noinline)) long next_available(__u32 list, __u32 index, __u32 weight)
{
	__u32 first = index / MEMBERS_PER_CHUNK, chunks;
	struct search_turn s = {
		.weight = weight,
		.chunk = list + first,
		.member = index - first * MEMBERS_PER_CHUNK,
		.found = NO_REAL_SERVER,
	};
	struct chunk *head = chunk_at(list);

	chunks = head ? chunks_of(head->count) : 0;
	if (first < chunks)
		LOOP(chunks - first, search_chunk, &s);
	if (s.found < 0)
		return NO_REAL_SERVER;
	return ((s.chunk - list) * MEMBERS_PER_CHUNK + s.member + 1) << 16 | s.found;
}

/* The weight of the heaviest available member of a chunk. Global: verified once. */
__attribute__((noinline)) __u32 heaviest_available(const struct chunk *chunk)
{
	const struct all_real_counts *all = the_counts();
	__u32 heaviest = 0;

	if (!chunk || !all)
		return 0;
	for (__u32 i = 0; i < MEMBERS_PER_CHUNK; i++) {
		const struct member *m = &chunk->member[i];
		__u32 weight = weight_now(m, counts_of(all, m->real));

		if (weight > heaviest)
			heaviest = weight;
	}
	return heaviest;
}

struct search_heaviest {
	__u32 chunk;
	__u32 weight;
};

static long find_heaviest(__u32 step, struct search_heaviest *s)
{
	struct chunk *chunk = chunk_at(s->chunk);
	__u32 weight;

	if (!chunk)
		return 1;
	weight = chunk->heaviest > s->weight ? heaviest_available(chunk) : 0;
	if (weight > s->weight)
		s->weight = weight;
	s->chunk++;
	return 0;
}

/* Of the whole list. Global: verified once. */
__attribute__((noinline)) __u32 highest_weight(__u32 list)
{
	struct search_heaviest s = { .chunk = list };
	struct chunk *head = chunk_at(list);

	if (head)
		LOOP(chunks_of(head->count), find_heaviest, &s);
	return s.weight;
}

/*
 * The bar at which the heaviest is found: it goes down by the divisor from pass to pass, and from
 * the lowest, 1, to the highest.
 */
static __always_inline __u32 lowered_bar(const struct walk *w, __u32 heaviest)
{
	__u32 bar = w->weight > w->divisor ? w->weight - w->divisor : w->max_weight;

	if (bar <= heaviest)
		return bar;
	return bar - (bar - heaviest + w->divisor - 1) / w->divisor * w->divisor;
}

/* Who is next of those who are available; or nobody, and then where the kernel leaves its mark. */
static __always_inline long walk_around(struct walk *w)
{
	__u32 index = index_of(w), heaviest;
	long found = next_available(w->list, index, w->weight);

	if (found < 0) {
		heaviest = highest_weight(w->list);
		if (heaviest) {
			w->weight = lowered_bar(w, heaviest);
			found = next_available(w->list, 0, w->weight);
		} else if (w->weight > w->divisor || !index) {
			w->weight = w->max_weight; /* it came to an end at the list's head */
			index = 0;
		} else {
			w->weight = 1; /* and here at the server chosen last */
		}
	}
	if (found >= 0)
		index = found >> 16;
	place_at(w, index);
	return found < 0 ? NO_REAL_SERVER : found & 0xffff;
}

/*
 * rr is wrr with a bar of 1 that is never lowered. Two rounds always suffice: the heaviest
 * member reaches every bar.
 */
static __always_inline long round_robin(struct service *service, __u32 list,
					const struct chunk *head)
{
	bool weighted = head->scheduler == SCHED_WRR;
	struct walk w = {
		.list = list,
		.chunks = chunks_of(head->count),
		.divisor = weighted ? head->divisor : 1,
		.max_weight = weighted ? head->max_weight : 1,
	};
	__u64 position = READ_ONCE(service->position), seen = ~position;
	long found = NO_REAL_SERVER;

	if (!w.max_weight)
		return NO_REAL_SERVER;
	if (!head->limited) {
		begin_walk(&w, head, position, weighted);
		if (!next_in_turn(&w))
			LOOP(2 * w.chunks, walk_chunk, &w);
		if (!w.found)
			return NO_REAL_SERVER;
		found = w.real;
		seen = CAS(&service->position, position, position_after(&w, weighted));
	}
	/* where members may be overloaded, or when another CPU was first: the way that sees all */
	for (__u32 i = 0; i < POSITION_TRIES && seen != position; i++) {
		position = READ_ONCE(service->position);
		begin_walk(&w, head, position, weighted);
		found = walk_around(&w);
		seen = CAS(&service->position, position, position_after(&w, weighted));
	}
	return found; /* also after lost races: a good choice, taken twice */
}
