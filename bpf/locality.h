/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * locality.h - a destination keeps its real server while that is not too busy: lblc; or a set of
 * them: lblcr (spec ipvs 4.6, 4.7). For services by mark or of every port, whose real servers are
 * caches of what the destinations have.
 *
 * What destinations have lies in one LRU hash for all services, which forgets those that were not
 * asked for longest where the kernel's timers trim. A member counts only while the real server in
 * that place is the same and in this service; another scheduler, or another service in the same
 * place, has another epoch. One CPU at a time changes an entry; who meets another one at it goes on
 * without: its choice is right, but is not kept.
 *
 * schedule() puts the steps together; each is a function of its own, for their stacks add up.
 */
#pragma once

#include "lists.h"

#define CACHED_MEMBERS 24 /* of a set; the one that was taken in first goes when it is full */
#define SET_IS_OLD (1L << 16)

struct cache_key {
	__u32 service;
	__u32 epoch;
	struct address destination;
};

struct cache {
	__u32 busy; /* 1: somebody changes it */
	__u32 last_use; /* clock units, as last_change */
	__u32 last_change;
	__u32 size;
	__u32 member[CACHED_MEMBERS]; /* the latest last: real server << 16 | half its generation */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct cache_key);
	__type(value, struct cache);
} caches SEC(".maps");

static const struct cache nothing_cached;

static __always_inline __u32 age_of(__u32 now, __u32 then)
{
	__u32 age = (now - then) & CLOCK_MASK;

	return age > CLOCK_MASK / 2 ? 0 : age; /* another CPU read its clock a moment later */
}

static __always_inline __u32 expiration_of(const struct settings *s, __u32 scheduler)
{
	return clock_units(s, scheduler == SCHED_LBLC ? s->lblc_expiration : s->lblcr_expiration);
}

static __always_inline struct cache_key cache_key_of(const struct packet *p, __u32 service_index)
{
	const struct service *service = bpf_map_lookup_elem(&services, &service_index);

	return (struct cache_key){
		.service = service_index,
		.epoch = service ? service->epoch : 0,
		.destination = p->flow.destination,
	};
}

static __always_inline struct cache *cache_of(const struct packet *p, __u32 service_index)
{
	struct cache_key key = cache_key_of(p, service_index);

	return bpf_map_lookup_elem(&caches, &key);
}

/* The same real server that it was, of this service, even if it was deleted meanwhile. */
static __always_inline const struct real *real_of(__u32 member, __u32 service_index)
{
	const struct real *real = real_at(member >> 16);

	if (!real || real->service != service_index)
		return 0;
	return (__u16)real->generation == (__u16)member ? real : 0;
}

/* A set is walked from its latest member on, as the kernel's list: the first of equals wins. */
struct set_walk {
	const struct cache *cache;
	__u64 cost;
	__u32 weight; /* 0: nobody yet */
	__u32 size;
	__u32 service;
	__u32 found; /* find_least: its index into reals; find_most: its place in the set */
};

static __always_inline struct set_walk set_of(const struct cache *cache, __u32 service_index)
{
	return (struct set_walk){
		.cache = cache,
		.cost = 1, /* nobody's: 1 / 0, see least.h */
		.size = READ_ONCE(cache->size),
		.service = service_index,
	};
}

static __always_inline __u32 place_in_set(const struct set_walk *w, __u32 step)
{
	__u32 at = w->size - 1 - step;

	asm volatile("" : "+r"(at)); /* what is tested is what is used, for the verifier */
	return at;
}

static long find_least(__u32 step, struct set_walk *w)
{
	const struct all_real_counts *all = the_counts();
	__u32 at = place_in_set(w, step), member;
	const struct real_counts *counts;
	const struct real *real;

	if (!all || at >= CACHED_MEMBERS)
		return 1;
	member = READ_ONCE(w->cache->member[at]);
	counts = counts_of(all, member >> 16);
	real = real_of(member, w->service);
	if (!real || real->state != SLOT_USED || counts->overloaded)
		return 0;
	if (overhead_of(counts) * w->weight < w->cost * real->weight) {
		w->cost = overhead_of(counts);
		w->weight = real->weight;
		w->found = member >> 16;
	}
	return 0;
}

/* The deleted and the overloaded are not left out. */
static long find_most(__u32 step, struct set_walk *w)
{
	const struct all_real_counts *all = the_counts();
	__u32 at = place_in_set(w, step), member;
	const struct real *real;
	__u64 overhead;

	if (!all || at >= CACHED_MEMBERS)
		return 1;
	member = READ_ONCE(w->cache->member[at]);
	overhead = overhead_of(counts_of(all, member >> 16));
	real = real_of(member, w->service);
	if (!real || !real->weight)
		return 0;
	if (!w->weight || overhead * w->weight > w->cost * real->weight) {
		w->cost = overhead;
		w->weight = real->weight;
		w->found = at;
	}
	return 0;
}

/* lblc's one; it is not asked whether it is overloaded. */
static __always_inline long only_member(const struct cache *cache, __u32 service_index)
{
	__u32 member = READ_ONCE(cache->member[0]);
	const struct real *real = cache->size ? real_of(member, service_index) : 0;

	return real && real->state == SLOT_USED && real->weight ? member >> 16 : NOBODY;
}

/*
 * What the destination of a packet has, of a set the least loaded, or NOBODY; and SET_IS_OLD, when
 * a set of several was not changed for long. Global: verified once.
 */
__attribute__((noinline)) long cached_server(const struct packet *p, __u32 service_index,
					     __u32 scheduler)
{
	const struct settings *s = the_settings();
	struct cache *cache = p ? cache_of(p, service_index) : 0;
	struct set_walk w;
	__u32 expiration;
	long found;

	if (!cache || !s)
		return NOBODY;
	expiration = expiration_of(s, scheduler);
	if (age_of(p->now, cache->last_use) >= expiration)
		return NOBODY;
	WRITE_ONCE(cache->last_use, p->now);
	if (scheduler == SCHED_LBLC)
		return only_member(cache, service_index);
	w = set_of(cache, service_index);
	LOOP(w.size, find_least, &w);
	found = w.weight ? w.found : NOBODY;
	if (w.size > 1 && age_of(p->now, cache->last_change) > expiration)
		found |= SET_IS_OLD;
	return found;
}

static __always_inline bool begin_change(struct cache *cache)
{
	return CAS(&cache->busy, 0, 1) == 0;
}

static __always_inline void end_change(struct cache *cache)
{
	barrier();
	WRITE_ONCE(cache->busy, 0);
}

/* Those that came later move up: each place takes its own or the next one's, without a branch. */
static __always_inline void take_out(struct cache *cache, __u32 at)
{
	__u64 is_later;

	for (__u32 i = 0; i + 1 < CACHED_MEMBERS; i++) {
		is_later = ((__u64)at - i - 1) >> 63;
		WRITE_ONCE(cache->member[i], cache->member[i + is_later]);
	}
	cache->size--;
}

/* An old set loses its most loaded member. Global: verified once. */
__attribute__((noinline)) int trim_set(const struct packet *p, __u32 service_index)
{
	struct cache *cache = p ? cache_of(p, service_index) : 0;
	struct set_walk w;

	if (!cache || !begin_change(cache))
		return 0;
	w = set_of(cache, service_index);
	LOOP(w.size, find_most, &w);
	if (w.size > 1 && w.weight) {
		take_out(cache, w.found);
		cache->last_change = p->now;
	}
	end_change(cache);
	return 0;
}

/* Whether one of a chunk's members has less than half of its weight. Global: verified once. */
__attribute__((noinline)) int has_time(const struct chunk *chunk, __u32 members)
{
	const struct all_real_counts *all = the_counts();

	if (!chunk || !all)
		return 0;
	if (members > MEMBERS_PER_CHUNK)
		members = MEMBERS_PER_CHUNK;
	for (__u32 i = 0; i < members; i++) {
		const struct member *m = &chunk->member[i];

		if (2 * (counts_of(all, m->real)->counts >> 32) < m->weight)
			return 1;
	}
	return 0;
}

struct relief {
	__u32 chunk;
	__u32 left;
	__u32 found;
};

static long find_relief(__u32 step, struct relief *r)
{
	struct chunk *chunk = chunk_at(r->chunk);

	if (!chunk)
		return 1;
	if (has_time(chunk, r->left)) {
		r->found = 1;
		return 1;
	}
	r->left -= MEMBERS_PER_CHUNK;
	r->chunk++;
	return 0;
}

/* It has more connections than weight, and another one has time. Global: verified once. */
__attribute__((noinline)) int is_too_busy(__u32 index, __u32 list)
{
	const struct all_real_counts *all = the_counts();
	const struct real *real = real_at(index);
	struct chunk *head = chunk_at(list);
	struct relief r = { .chunk = list };

	if (!all || !real || !head || counts_of(all, index)->counts >> 32 <= real->weight)
		return 0;
	r.left = head->count;
	LOOP(chunks_of(r.left), find_relief, &r);
	return r.found;
}

struct search_member {
	const struct cache *cache;
	__u32 member;
	__u32 found;
};

static long compare_member(__u32 at, struct search_member *s)
{
	if (at >= CACHED_MEMBERS)
		return 1;
	if (s->cache->member[at] != s->member)
		return 0;
	s->found = 1;
	return 1;
}

static __always_inline bool is_in(const struct cache *cache, __u32 member)
{
	struct search_member s = { .cache = cache, .member = member };

	LOOP(cache->size, compare_member, &s);
	return s.found;
}

static __always_inline void take_in(struct cache *cache, __u32 member, __u32 now)
{
	__u32 at;

	if (is_in(cache, member))
		return;
	if (cache->size >= CACHED_MEMBERS)
		take_out(cache, 0);
	at = cache->size;
	asm volatile("" : "+r"(at)); /* what is tested is what is used, for the verifier */
	if (at >= CACHED_MEMBERS)
		return;
	WRITE_ONCE(cache->member[at], member);
	cache->size = at + 1;
	cache->last_change = now;
}

/* The destination of a packet got this one by wlc. Global: verified once. */
__attribute__((noinline)) int keep_in_cache(const struct packet *p, __u32 service_index,
					    __u32 scheduler, __u32 chosen)
{
	const struct settings *s = the_settings();
	struct real *real = real_at(chosen);
	struct cache_key key;
	struct cache *cache;

	if (!p || !s || !real)
		return 0;
	key = cache_key_of(p, service_index);
	cache = bpf_map_lookup_elem(&caches, &key);
	if (!cache) {
		bpf_map_update_elem(&caches, &key, &nothing_cached, BPF_NOEXIST);
		cache = bpf_map_lookup_elem(&caches, &key);
	}
	if (!cache || !begin_change(cache))
		return 0;
	if (scheduler == SCHED_LBLC ||
	    age_of(p->now, cache->last_use) >= expiration_of(s, scheduler))
		cache->size = 0;
	take_in(cache, chosen << 16 | (__u16)real->generation, p->now);
	WRITE_ONCE(cache->last_use, p->now);
	end_change(cache);
	return 0;
}
