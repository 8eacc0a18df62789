/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * insert.h - a new connection finds its place: lock, search again, claim, fill, count, publish.
 *
 * The home bucket is locked in every table that is searched, in the order of the tables: so two
 * CPUs with the same key exclude each other, also while one of them has not seen yet that a table
 * came or went: engines/bpf/tables.py waits between its steps (tests/model proves it). The search
 * is not made again when the bucket's word is still what it was before find() searched: its version
 * says that nobody has inserted since. When no place is free the newcomer takes one: of an
 * expired connection, else of the oldest inactive, else of the oldest half-open one, which a
 * template is too if its connections never came further and have gone. Established connections and
 * their templates are never evicted.
 */
#pragma once

#include "life.h"
#include "count.h"

#define LOCK_TRIES 32
#define PLACE_TRIES 4
#define EVICT_TRIES 3

enum inserted { INSERTED, EXISTS, NO_PLACE, NO_LOCK };
enum worth { STAYS, EVICTED_HALF_OPEN, EVICTED_INACTIVE, EVICTED_EXPIRED };

/* A new connection or template: all that insert() writes, and where it did. */
struct newcomer {
	struct flow flow;
	__u64 bits; /* of the control word: ACTIVE, state, method and flags */
	__u64 own;  /* of a template: its timeout; of a connection under one: the handle; else 0 */
	__u64 hash;
	__u64 word; /* of the home bucket before it was searched, or SEARCH_AGAIN */
	__u64 where;   /* insert() put or found it there */
	__u64 control; /* what it read there, or wrote as it claimed the place */
	__u32 tables; /* that were searched before */
	__u32 table;  /* for new ones */
	__u32 held;   /* tables whose home is locked */
	__u32 away;   /* the place is not in the home */
	__u32 real;
	__u32 reserved;
};

/* Too large for a stack that others share. A program is done with it before the next one runs. */
MAP_PERCPU(newcomers, struct newcomer, 1);

static __always_inline struct newcomer *the_newcomer(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&newcomers, &zero);
}

/* What a connection is worth to a newcomer: what ends it, then its age. 0: it stays. */
static __always_inline __u64 worth(const struct settings *s, const struct connection *c,
				   __u64 control, __u32 now)
{
	const __u32 half_open = 1 << TCP_SYN_SENT | 1 << TCP_SYN_RECV | 1 << TCP_SYNACK;
	__u32 idle = idle_for(now, control);

	if (control & TEMPLATE) /* as its connection was; but one that is not alone stays */
		return control & ASSURED || (READ_ONCE(c->word) & CONTROLLED_MASK) ?
			       0 :
			       (__u64)EVICTED_HALF_OPEN << 32 | idle;
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
__attribute__((noinline)) int evict(const struct newcomer *n)
{
	struct settings *s = the_settings();
	struct eviction e = {};
	struct found victim = {};
	struct bucket *b;

	if (!n || !s)
		return 0;
	e.now = clock_now(s);
	e.hash = n->hash;
	e.own_word = n->own;
	e.table = table_for_new(tables_in_use(s));
	LOOP(CHOICES * WAYS, weigh, &e);
	b = e.most ? bucket_at(e.table, e.bucket) : 0;
	if (!b)
		return 0;
	victim.slot = &b->slot[e.way & (WAYS - 1)];
	victim.control = e.control;
	victim.table = e.table;
	if (e.control & TEMPLATE && !kept_alone(victim.slot, &victim.control))
		return 0;
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

/*
 * A free slot of a bucket: its way, or -1; its control word in n->control. Who has a word of its own
 * does not lie in slot 0.
 */
static __always_inline long free_way(const struct bucket *b, struct newcomer *n)
{
	__u32 own = !!n->own;

	for (__u32 i = 0; i < WAYS; i++) {
		__u32 way = (i + (n->hash >> 12)) & (WAYS - 1);
		__u64 control = READ_ONCE(b->slot[way].control);

		/* without a branch more: (way - 1) >> 31 is 1 for slot 0 */
		if ((control & PHASE_MASK) | (own & (way - 1) >> 31))
			continue;
		n->control = control;
		return way;
	}
	return -1;
}

/* A free slot in another bucket than the home: where, or -1. */
__attribute__((noinline)) long free_slot_away(struct newcomer *n)
{
	struct settings *s = the_settings();
	__u32 table;

	if (!n || !s)
		return -1;
	table = n->table & (TABLES - 1);
	for (__u32 choice = 1; choice < CHOICES; choice++) {
		__u32 index = bucket_index(n->hash, choice, s->buckets[table]);
		struct bucket *b = bucket_at(table, index);
		long way = b ? free_way(b, n) : -1;

		if (way >= 0)
			return where_is(table, index, way);
	}
	return -1;
}

/* Under the locks of its home: claims a free slot, fills it, counts, and lets it be seen. */
static __always_inline bool claim(const struct settings *s, struct connection *c,
				  struct bucket *home, struct newcomer *n)
{
	__u64 old = n->control, claimed, bits = n->bits;

	claimed = ((old + (1ULL << GENERATION_SHIFT)) & GENERATION_MASK) | PHASE_CLAIMED |
		  tag_of(n->hash) | (__u64)clock_now(s) << SEEN_SHIFT;
	if (CAS(&c->control, old, claimed) != old)
		return false;
	n->control = claimed;
	barrier();
	*(struct flow *)&c->client = n->flow;
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
	if (n->away) {
		bits |= AWAY;
		__sync_fetch_and_add(&home->slot[0].word, ONE_OVERFLOW);
	}
	CAS(&c->control, claimed, (claimed & ~PHASE_MASK) | PHASE_LIVE | bits);
	return true;
}

/* Under the locks, when it is known that the connection is nowhere. */
static __always_inline long settle(const struct settings *s, struct newcomer *n, __u32 index,
				   struct bucket *home)
{
	for (__u32 i = 0; i < PLACE_TRIES; i++) {
		long where, way = free_way(home, n);
		struct connection *c;

		n->away = way < 0;
		if (n->away) {
			where = free_slot_away(n);
			if (where < 0)
				return NO_PLACE;
			c = slot_at(where);
			if (!c)
				return NO_PLACE;
		} else {
			where = where_is(n->table, index, way);
			c = &home->slot[way & (WAYS - 1)];
		}
		n->where = where;
		/* else the newcomer of another home was faster */
		if (claim(s, c, home, n))
			return INSERTED;
	}
	return NO_LOCK;
}

static __always_inline void unlock_homes(const struct settings *s, struct newcomer *n)
{
	for (__u32 table = 0; table < TABLES; table++) {
		struct bucket *home = n->held >> table & 1 ? home_of(s, n->hash, table) : 0;

		if (home)
			unlock(home);
	}
	n->held = 0;
}

/* The homes in all tables that are searched, in the order of the tables. */
static __always_inline bool lock_homes(const struct settings *s, struct newcomer *n, __u32 tables)
{
	for (__u32 table = 0; table < TABLES; table++) {
		struct bucket *home;

		if (!is_searched(tables, table))
			continue;
		home = home_of(s, n->hash, table);
		if (!home || !lock(home))
			return false;
		n->held |= 1 << table;
	}
	return true;
}

/*
 * The first half of an insertion, as it mostly is: nobody has inserted there since the search. True:
 * locked.
 */
static __always_inline bool reserved_at_once(struct newcomer *n)
{
	struct settings *s = the_settings();
	struct bucket *home;
	__u32 tables;

	if (!s)
		return false;
	tables = tables_in_use(s);
	n->held = 0;
	n->table = table_for_new(tables);
	if (is_searched(tables, n->table ^ 1) || tables != n->tables || (n->word & INSERT_LOCK))
		return false;
	home = home_of(s, n->hash, n->table);
	if (!home || CAS(&home->slot[0].word, n->word, n->word | INSERT_LOCK) != n->word)
		return false;
	n->held = 1 << n->table;
	return true;
}

/*
 * The same, else: locks, and looks again whether the newcomer is there. NO_PLACE:
 * it is not, nobody else can make it, and place() goes on. EXISTS and NO_LOCK: as for insert().
 */
__attribute__((noinline)) long reserve(struct newcomer *n)
{
	struct settings *s = the_settings();
	__u32 tables;
	long where;

	if (!n || !s)
		return NO_LOCK;
	tables = tables_in_use(s);
	n->held = 0;
	n->table = table_for_new(tables);
	where = -1;
	if (lock_homes(s, n, tables)) {
		where = look_everywhere(s, &n->flow, n->hash, SIDE_VIP, tables, &n->control);
		if (where < 0)
			return NO_PLACE;
		n->where = where;
	}
	unlock_homes(s, n);
	return where < 0 ? NO_LOCK : EXISTS;
}

/* The second half: a place, and the locks are opened. */
__attribute__((noinline)) long place(struct newcomer *n)
{
	struct settings *s = the_settings();
	long inserted = NO_LOCK;
	struct bucket *home;
	__u32 table, index;

	if (!n || !s)
		return NO_LOCK;
	table = n->table & (TABLES - 1);
	index = bucket_index(n->hash, 0, s->buckets[table]);
	home = bucket_at(table, index);
	if (home)
		inserted = settle(s, n, index, home);
	if (home && n->held == 1 << table)
		unlock(home); /* there is one table, nearly always */
	else
		unlock_homes(s, n);
	return inserted;
}

/*
 * Remembers a new connection. INSERTED: n->where is where. EXISTS: another CPU was first, and what
 * is there is to be touched. NO_PLACE: all buckets are full, evict() helps. NO_LOCK: other CPUs are
 * at work there.
 */
static __always_inline long insert(struct newcomer *n)
{
	long reserved = reserved_at_once(n) ? NO_PLACE : reserve(n);

	return reserved == NO_PLACE ? place(n) : reserved;
}
