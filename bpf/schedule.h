/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * schedule.h - which real server gets a new connection: rr, wrr, lc, wlc, sed, nq.
 *
 * The kernel's order and tie-breaks (spec ipvs 4): a list is walked from its head, the most
 * recently added server; the first of equals wins. Only members with weight are eligible.
 * A list lies in consecutive chunks of 26 members; a choice hardly grows with their number.
 *
 * rr and wrr keep {tag:16, index:16, current weight:32} in service->position: the list that it
 * belongs to, the member after the last chosen one, and wrr's weight. A position of an older
 * list is replaced by the start that came with the new one, so a list and its start change in
 * one store. A chunk whose heaviest member is too light is passed over.
 *
 * lc, wlc, sed and nq want the least cost / weight. Each chunk keeps what the last look at it
 * found, and the list's choice is the first of the best of its chunks' best:
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
 * and nobody watches, for lists of one chunk and for rr and wrr. A writer publishes a list in this
 * order (writer.py): the chunks, not watched; service->list; chunk of every member; watched = 1. A
 * list that is not watched is looked at in full, and nothing is kept. Once it is watched, an add
 * either moved the version of this list's chunk, or it came before anybody's look. `version` and
 * `best` outlive the list: a chunk that is used again goes on from a version of its own.
 */
#pragma once

#include "maps.h"
#include "connections.h"

#define NO_REAL_SERVER (-1)
#define POSITION_TRIES 4
#define CHUNKS_A_STEP 8

static __always_inline __u64 position_of(__u32 list, __u32 index, __u32 weight)
{
	return (__u64)(list & 0xffff) << 48 | (__u64)(index & 0xffff) << 32 | weight;
}

static __always_inline struct chunk *chunk_at(__u32 index)
{
	return bpf_map_lookup_elem(&chunks, &index);
}

static __always_inline __u32 chunks_of(__u32 members)
{
	return (members + MEMBERS_PER_CHUNK - 1) / MEMBERS_PER_CHUNK;
}

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
			w->member = member + 1;
			w->real = chunk->member[member].real;
			w->found = true;
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
	w->real = chunk->member[member].real;
	w->member = member + 1;
	w->found = true;
	return true;
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

	if (!w.max_weight)
		return NO_REAL_SERVER;
	/* Linux 6.1 refuses a loop whose end falls into its head: what stays the same is set before. */
	for (__u32 i = 0; i < POSITION_TRIES; i++) {
		__u64 old = READ_ONCE(service->position), next;
		__u32 index = old >> 32 & 0xffff;

		w.weight = weighted ? (__u32)old : 1;
		w.found = false;
		if (old >> 48 != (list & 0xffff)) {
			index = head->start_index;
			w.weight = weighted ? head->start_weight : 1;
		}
		if (!w.weight)
			w.weight = w.max_weight;
		w.chunk = index / MEMBERS_PER_CHUNK;
		w.member = index - w.chunk * MEMBERS_PER_CHUNK;
		if (!next_in_turn(&w))
			LOOP(2 * w.chunks, walk_chunk, &w);
		if (!w.found)
			return NO_REAL_SERVER;
		next = position_of(list, w.chunk * MEMBERS_PER_CHUNK + w.member,
				   weighted ? w.weight : 0);
		if (CAS(&service->position, old, next) == old)
			break;
	}
	return w.real; /* also after lost races: a good choice, taken twice */
}

/*
 * What a member must have the least of, by weight. nq's idle server is the first choice at once.
 * Halves are read one by one and not clamped: while two CPUs change one, it may be read as -1,
 * and then this server looks too busy for that moment.
 */
static __always_inline __u64 cost_of(__u32 scheduler, const struct real_counts *real)
{
	const __u32 *half = (const __u32 *)&real->counts;
	__u64 inactive = READ_ONCE(half[0]), active = READ_ONCE(half[1]);

	switch (scheduler) {
	case SCHED_SED:
		return active + 1;
	case SCHED_NQ:
		return active + (-active >> 63);
	default:
		return (active << 8) + inactive;
	}
}

struct least {
	__u64 cost;
	__u64 weight; /* 0: nobody yet */
};

/*
 * Fractions are compared by cross multiplication, as in the kernel. The first to beat is 1 / 0:
 * whoever has weight does, and nobody else. To lc, all weights but 0 are equal.
 */
static __always_inline bool is_less(__u32 scheduler, __u64 cost, __u64 weight,
				    const struct least *least)
{
	if (scheduler == SCHED_LC)
		return weight && (cost < least->cost || !least->weight);
	return cost * least->weight < least->cost * weight;
}

static __always_inline long best_by(__u32 scheduler, const struct chunk *chunk, __u32 members,
				    const struct all_real_counts *all)
{
	struct least least = { .cost = 1 };
	long found = 0;

	for (__u32 i = 0; i < members; i++) {
		const struct member *m = &chunk->member[i];
		__u64 cost = cost_of(scheduler, &all->of[m->real & (MAX_REALS - 1)]);

		if (!is_less(scheduler, cost, m->weight, &least))
			continue;
		barrier(); /* else the compiler makes three moves, each with a test of its own */
		least.cost = cost;
		least.weight = m->weight;
		found = i;
	}
	return found;
}

/*
 * The index of the best of a chunk's members, of which there are `members` or as many as it
 * holds; of any, when none has weight. Global: verified once. A loop for each scheduler.
 */
__attribute__((noinline)) long best_member(const struct chunk *chunk, __u32 members,
					   __u32 scheduler)
{
	const struct all_real_counts *all = the_counts();

	if (!chunk || !all)
		return 0;
	if (members > MEMBERS_PER_CHUNK)
		members = MEMBERS_PER_CHUNK;
	switch (scheduler) {
	case SCHED_LC:
		return best_by(SCHED_LC, chunk, members, all);
	case SCHED_WLC:
		return best_by(SCHED_WLC, chunk, members, all);
	case SCHED_SED:
		return best_by(SCHED_SED, chunk, members, all);
	default:
		return best_by(SCHED_NQ, chunk, members, all);
	}
}

struct scan {
	__u32 chunk; /* the next */
	__u32 left;  /* members from there on */
	bool watched;
	struct least least;
	__u32 real;
};

/* Some chunks of the list: the best of each is known, or looked for. */
static __always_inline long scan_chunks(__u32 scheduler, struct scan *s)
{
	const struct all_real_counts *all = the_counts();

	if (!all)
		return 1;
	for (__u32 i = 0; i < CHUNKS_A_STEP; i++) {
		struct chunk *chunk = chunk_at(s->chunk);
		__u32 version, index;
		struct member *m;
		__u64 best, cost;

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
		if (index >= MEMBERS_PER_CHUNK)
			return 1;
		m = &chunk->member[index];
		cost = cost_of(scheduler, &all->of[m->real & (MAX_REALS - 1)]);
		if (is_less(scheduler, cost, m->weight, &s->least)) {
			s->least.cost = cost;
			s->least.weight = m->weight;
			s->real = m->real;
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

static __always_inline long least_loaded(__u32 list, const struct chunk *head)
{
	struct scan s = {
		.chunk = list,
		.left = head->count,
		.watched = READ_ONCE(head->watched),
		.least = { .cost = 1 },
	};
	__u32 steps = chunks_of(s.left) / CHUNKS_A_STEP + 1;

	barrier(); /* watched, then versions, then counts */
	switch (head->scheduler) {
	case SCHED_LC:
		LOOP(steps, scan_by_lc, &s);
		break;
	case SCHED_WLC:
		LOOP(steps, scan_by_wlc, &s);
		break;
	case SCHED_SED:
		LOOP(steps, scan_by_sed, &s);
		break;
	case SCHED_NQ:
		LOOP(steps, scan_by_nq, &s);
		break;
	}
	return s.least.weight ? (long)s.real : NO_REAL_SERVER;
}

/* The index of the chosen real server, or NO_REAL_SERVER. */
static __always_inline long schedule(struct service *service, __u32 index,
				     const struct packet *p)
{
	__u32 list = READ_ONCE(service->list);
	struct chunk *head = chunk_at(list);

	if (!list || !head || !head->count)
		return NO_REAL_SERVER;
	if (head->scheduler <= SCHED_WRR)
		return round_robin(service, list, head);
	return least_loaded(list, head);
}
