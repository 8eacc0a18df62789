/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * insert.h - a new connection finds its place: lock, search again, claim, fill, count, publish.
 *
 * The home bucket is locked in every table that is searched, in the order of the tables: so two
 * CPUs with the same key exclude each other, also while one of them has not seen yet that a table
 * came or went: engines/bpf/tables.py waits between its steps (tests/model proves it). The search
 * is not made again when the bucket's word is still what it was before find() searched: its version
 * says that nobody has inserted since. When no place is free the newcomer takes one: of an
 * expired connection, else of the oldest inactive, else of the oldest half-open one. Established
 * connections and templates are never evicted.
 */
#pragma once

#include "life.h"
#include "count.h"

#define LOCK_TRIES 32
#define PLACE_TRIES 4
#define EVICT_TRIES 3

enum inserted { INSERTED, EXISTS, NO_PLACE, NO_LOCK };
enum worth { STAYS, EVICTED_HALF_OPEN, EVICTED_INACTIVE, EVICTED_EXPIRED };

/* A new connection: all that create() writes. */
struct newcomer {
	const struct flow *flow;
	__u64 bits; /* of the control word: ACTIVE, state, method and flags */
	__u64 own;  /* of a template: its timeout; of a connection under one: the handle; else 0 */
	__u64 hash;
	__u64 word; /* of the home bucket before it was searched, or SEARCH_AGAIN */
	__u32 tables; /* that were searched then */
	__u32 real;
};

/* What a connection is worth to a newcomer: what ends it, then its age. 0: it stays. */
static __always_inline __u64 worth(const struct settings *s, const struct connection *c,
				   __u64 control, __u32 now)
{
	const __u32 half_open = 1 << TCP_SYN_SENT | 1 << TCP_SYN_RECV | 1 << TCP_SYNACK;
	__u32 idle = idle_for(now, control);

	if (control & TEMPLATE) /* it may not be alone: the sweeper judges */
		return 0;
	if (idle >= timeout_of(s, c, control))
		return (__u64)EVICTED_EXPIRED << 32 | idle;
	if (!(control & ACTIVE))
		return (__u64)EVICTED_INACTIVE << 32 | idle;
	if (half_open >> state_of(control) & 1)
		return (__u64)EVICTED_HALF_OPEN << 32 | idle;
	return 0;
}

struct eviction {
	__u64 hash;
	__u64 most;
	__u64 control; /* of the one that is worth most */
	__u32 table;
	__u32 bucket;
	__u32 way;
	__u32 now;
	bool own_word; /* slot 0 is no place for it */
};

static long weigh(__u32 nr, struct eviction *e)
{
	struct settings *s = the_settings();
	struct bucket *b;
	struct connection *c;
	__u64 control, this;
	__u32 index;

	if (!s)
		return 1;
	if (e->own_word && !(nr & (WAYS - 1)))
		return 0;
	index = bucket_index(e->hash, nr / WAYS, s->buckets[e->table & (TABLES - 1)]);
	b = bucket_at(e->table, index);
	if (!b)
		return 1;
	c = &b->slot[nr & (WAYS - 1)];
	control = READ_ONCE(c->control);
	if ((control & PHASE_MASK) != PHASE_LIVE)
		return 0;
	this = worth(s, c, control, e->now);
	if (this <= e->most)
		return 0;
	e->most = this;
	e->control = control;
	e->bucket = index;
	e->way = nr & (WAYS - 1);
	return 0;
}

/*
 * Makes room for a newcomer: ends the connection that is worth most. 0: there was none, or it moved
 * on meanwhile. Needs no lock: to the others it is one sweeper more. Global, for it is rare.
 */
__attribute__((noinline)) int evict(const struct flow *f, bool own_word)
{
	struct settings *s = the_settings();
	struct eviction e = { .own_word = own_word };
	struct found victim = {};
	struct bucket *b;

	if (!f || !s)
		return 0;
	e.now = clock_now(s);
	e.hash = hash_of_flow(s, f, SIDE_VIP);
	e.table = table_for_new(tables_in_use(s));
	LOOP(CHOICES * WAYS, weigh, &e);
	b = e.most ? bucket_at(e.table, e.bucket) : 0;
	if (!b)
		return 0;
	victim.slot = &b->slot[e.way & (WAYS - 1)];
	victim.control = e.control;
	victim.table = e.table;
	if (!release(s, &victim))
		return 0;
	if (e.most >> 32 == EVICTED_INACTIVE)
		COUNT(evicted_inactive);
	else if (e.most >> 32 == EVICTED_HALF_OPEN)
		COUNT(evicted_half_open);
	return 1;
}

static __always_inline bool lock(struct bucket *home)
{
	__u64 *word = &home->slot[0].word;

	for (__u32 i = 0; i < LOCK_TRIES; i++) {
		__u64 old = READ_ONCE(*word);

		if (!(old & INSERT_LOCK) && CAS(word, old, old | INSERT_LOCK) == old)
			return true;
	}
	return false;
}

static __always_inline void unlock(struct bucket *home)
{
	__sync_fetch_and_add(&home->slot[0].word, ONE_VERSION - INSERT_LOCK);
}

/* A free slot, at home if there is one. Who has a word of its own does not lie in slot 0. */
static __always_inline struct connection *free_slot(const struct settings *s,
						    const struct newcomer *n, __u32 table,
						    __u64 *control, __u64 *where)
{
	__u64 hash = n->hash;

	for (__u32 choice = 0; choice < CHOICES; choice++) {
		__u32 index = bucket_index(hash, choice, s->buckets[table]);
		struct bucket *b = bucket_at(table, index);

		if (!b)
			return 0;
		for (__u32 i = 0; i < WAYS; i++) {
			__u32 way = (i + (hash >> 12)) & (WAYS - 1);
			struct connection *c = &b->slot[way];

			if (n->own && !way)
				continue;
			*control = READ_ONCE(c->control);
			if ((*control & PHASE_MASK) == PHASE_FREE) {
				*where = where_is(table, index, way);
				return c;
			}
		}
	}
	return 0;
}

/* Under the locks of its home: claims a free slot, fills it, counts, and lets it be seen. */
static __always_inline bool claim(const struct settings *s, struct connection *c, __u64 old,
				  struct bucket *home, bool away, const struct newcomer *n)
{
	__u64 claimed, bits = n->bits;

	claimed = ((old + (1ULL << GENERATION_SHIFT)) & GENERATION_MASK) | PHASE_CLAIMED |
		  tag_of(n->hash) | (__u64)clock_now(s) << SEEN_SHIFT;
	if (CAS(&c->control, old, claimed) != old)
		return false;
	barrier();
	*(struct flow *)&c->client = *n->flow;
	c->real = n->real;
	c->way_back = 0;
	if (n->own)
		c->word = bits & TEMPLATE ? template_word(n->own, claimed) : n->own;
	barrier();
	/* counted before it can be seen, so that nobody un-counts it first */
	if (bits & TEMPLATE)
		count_template(n->real, true);
	else
		add_to_counts(n->real, bits & ACTIVE ? ONE_ACTIVE : ONE_INACTIVE, BIND);
	if (away) {
		bits |= AWAY;
		__sync_fetch_and_add(&home->slot[0].word, ONE_OVERFLOW);
	}
	CAS(&c->control, claimed, (claimed & ~PHASE_MASK) | PHASE_LIVE | bits);
	return true;
}

/* Under the locks, when it is known that the connection is nowhere. */
static __always_inline enum inserted settle(const struct settings *s, const struct newcomer *n,
					    __u32 table, struct bucket *home, struct found *there)
{
	__u32 home_index = bucket_index(n->hash, 0, s->buckets[table]);

	for (__u32 i = 0; i < PLACE_TRIES; i++) {
		__u64 control = 0, where = 0;
		struct connection *c = free_slot(s, n, table, &control, &where);

		if (!c)
			return NO_PLACE;
		/* else the newcomer of another home was faster */
		if (claim(s, c, control, home, (__u32)(where >> 8) != home_index, n)) {
			there->slot = c;
			there->where = where;
			return INSERTED;
		}
	}
	return NO_LOCK;
}

/* Under the locks: nothing, or where the connection is. */
static __always_inline bool search_again(const struct settings *s, const struct newcomer *n,
					 __u32 tables, struct found *other)
{
	long where = look_everywhere(s, n->flow, n->hash, SIDE_VIP, tables, &other->control);

	if (where < 0)
		return false;
	other->slot = slot_at(where);
	other->table = table_of(where);
	other->where = where;
	return true;
}

/*
 * Remembers a new connection. INSERTED: *other is where. EXISTS: another CPU was first, *other is to
 * be touched. NO_PLACE: all buckets are full, evict() helps. NO_LOCK: other CPUs are at work there.
 */
static __always_inline enum inserted create(const struct settings *s, const struct newcomer *n,
					    struct found *other)
{
	__u32 tables = tables_in_use(s), table = table_for_new(tables);
	struct bucket *home = home_of(s, n->hash, table), *first = home, *second = 0;
	bool again = true;
	enum inserted outcome = NO_LOCK;

	if (!home)
		return NO_LOCK;
	if (is_searched(tables, table ^ 1)) {
		second = home_of(s, n->hash, table ^ 1);
		if (table) {
			first = second;
			second = home;
		}
	} else if (tables == n->tables && !(n->word & INSERT_LOCK)) {
		again = CAS(&home->slot[0].word, n->word, n->word | INSERT_LOCK) != n->word;
	}
	if (again && (!first || !lock(first)))
		return NO_LOCK;
	if (!second || lock(second)) {
		if (again && search_again(s, n, tables, other))
			outcome = EXISTS;
		else
			outcome = settle(s, n, table, home, other);
		if (second)
			unlock(second);
	}
	if (first)
		unlock(first);
	return outcome;
}
