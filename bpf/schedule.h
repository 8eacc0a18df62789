/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * schedule.h - which real server gets a new connection: rr, wrr, lc, wlc, sed, nq.
 *
 * The kernel's order and tie-breaks (spec ipvs 4): a list is walked from its head, the most
 * recently added server; the first of equals wins. Only members with weight are eligible.
 *
 * rr and wrr keep {tag:16, index:16, current weight:32} in service->position: the list that it
 * belongs to, the member after the last chosen one, and wrr's weight. A position of an older
 * list is replaced by the start that came with the new one, so a list and its start change in
 * one store.
 */
#pragma once

#include "maps.h"
#include "connections.h"

#define NO_REAL_SERVER (-1)
#define POSITION_TRIES 4

static __always_inline __u64 position_of(__u32 list, __u32 index, __u32 weight)
{
	return (__u64)(list & 0xffff) << 48 | (__u64)(index & 0xffff) << 32 | weight;
}

static __always_inline struct chunk *chunk_at(__u32 index)
{
	return bpf_map_lookup_elem(&chunks, &index);
}

struct walk {
	__u32 list;
	__u32 count;
	__u32 index; /* next member to look at */
	__u32 weight; /* wrr: a member needs this much; rr: 1 */
	__u32 divisor;
	__u32 max_weight;
	__u32 real;
	__u32 found;
};

/* One member of the round: takes it, or goes on; at the end of the list the bar is lowered. */
static long walk_step(__u32 step, struct walk *w)
{
	struct chunk *chunk;
	__u32 in_chunk;

	if (w->index >= w->count) {
		w->index = 0;
		w->weight = w->weight > w->divisor ? w->weight - w->divisor : w->max_weight;
	}
	chunk = chunk_at(w->list + w->index / MEMBERS_PER_CHUNK);
	in_chunk = w->index % MEMBERS_PER_CHUNK;
	asm volatile("" : "+r"(in_chunk)); /* else the compiler drops the test that the verifier needs */
	if (!chunk || in_chunk >= MEMBERS_PER_CHUNK)
		return 1;
	w->index++;
	if (chunk->member[in_chunk].weight < w->weight)
		return 0;
	w->real = chunk->member[in_chunk].real;
	w->found = 1;
	return 1;
}

/*
 * rr is wrr with a bar of 1 that is never lowered. Two rounds always suffice: the heaviest
 * member reaches every bar.
 */
static __always_inline long round_robin(struct service *service, __u32 list,
					const struct chunk *head)
{
	bool weighted = head->scheduler == SCHED_WRR;
	struct walk w = {};

	for (__u32 i = 0; i < POSITION_TRIES; i++) {
		__u64 old = READ_ONCE(service->position), next;

		w.list = list;
		w.count = head->count;
		w.divisor = weighted ? head->divisor : 1;
		w.max_weight = weighted ? head->max_weight : 1;
		w.index = old >> 32 & 0xffff;
		w.weight = weighted ? (__u32)old : 1;
		w.found = 0;
		if (old >> 48 != (list & 0xffff)) {
			w.index = head->start_index;
			w.weight = weighted ? head->start_weight : 1;
		}
		if (!w.max_weight)
			return NO_REAL_SERVER;
		if (!w.weight)
			w.weight = w.max_weight;
		bpf_loop(2 * w.count, walk_step, &w, 0);
		if (!w.found)
			return NO_REAL_SERVER;
		next = position_of(list, w.index, weighted ? w.weight : 0);
		if (CAS(&service->position, old, next) == old)
			break;
	}
	return w.real; /* also after lost races: a good choice, taken twice */
}

/*
 * lc, wlc, sed and nq are one rule with different prices: the least cost / weight, where
 *
 *   cost = active * price + inactive * price + (busy or idle price)
 *
 * nq's idle server costs nothing, so the first of them wins whatever the weights.
 */
struct prices {
	__u32 active;
	__u32 inactive;
	__u32 busy;
	__u32 idle;
	__u32 weight_mask; /* 0: weight says only whether a server is eligible */
	__u32 weight_floor;
};

static const struct prices prices[] = {
	[SCHED_LC] = { .active = 256, .inactive = 1, .weight_floor = 1 },
	[SCHED_WLC] = { .active = 256, .inactive = 1, .weight_mask = ~0U },
	[SCHED_SED] = { .active = 1, .busy = 1, .idle = 1, .weight_mask = ~0U },
	[SCHED_NQ] = { .active = 1, .busy = 1, .idle = 0, .weight_mask = ~0U },
};

struct scan {
	__u32 list;
	__u32 count;
	struct prices price;
	__u64 cost;
	__u64 weight; /* of the best so far, 0: none yet */
	__u32 real;
};

/* A gauge's half; a reader may see half of a borrow between the two: never below 0. */
static __always_inline __u64 gauge(__u32 half)
{
	return half & ~((__s32)half >> 31);
}

/*
 * One chunk of the list. Two branches a member: more would make the verifier follow too many
 * roads. Fractions are compared by cross multiplication, as in the kernel.
 */
static long scan_chunk(__u32 nr, struct scan *s)
{
	struct chunk *chunk = chunk_at(s->list + nr);
	__u32 left = s->count - nr * MEMBERS_PER_CHUNK;

	if (!chunk)
		return 1;
	for (__u32 i = 0; i < MEMBERS_PER_CHUNK && i < left; i++) {
		struct real *real = real_at(chunk->member[i].real);
		__u64 counts, weight, cost, active, is_busy;

		if (!real)
			continue;
		counts = READ_ONCE(real->counts);
		active = gauge(counts >> 32);
		is_busy = (active | -active) >> 63;
		cost = active * s->price.active + gauge(counts) * s->price.inactive +
		       is_busy * s->price.busy + (1 - is_busy) * s->price.idle;
		weight = chunk->member[i].weight;
		if (!weight)
			continue;
		weight = (weight & s->price.weight_mask) | s->price.weight_floor;
		if (s->weight && cost * s->weight >= s->cost * weight)
			continue;
		s->real = chunk->member[i].real;
		s->cost = cost;
		s->weight = weight;
	}
	return 0;
}

static __always_inline long least_loaded(__u32 list, const struct chunk *head)
{
	struct scan s = { .list = list, .count = head->count };
	__u32 scheduler = head->scheduler;

	if (scheduler >= sizeof(prices) / sizeof(prices[0]))
		return NO_REAL_SERVER;
	s.price = prices[scheduler];
	bpf_loop((s.count + MEMBERS_PER_CHUNK - 1) / MEMBERS_PER_CHUNK, scan_chunk, &s, 0);
	return s.weight ? (long)s.real : NO_REAL_SERVER;
}

/* The index of the chosen real server, or NO_REAL_SERVER. */
static __always_inline long schedule(struct service *service)
{
	__u32 list = READ_ONCE(service->list);
	struct chunk *head = chunk_at(list);

	if (!list || !head || !head->count)
		return NO_REAL_SERVER;
	if (head->scheduler <= SCHED_WRR)
		return round_robin(service, list, head);
	return least_loaded(list, head);
}
