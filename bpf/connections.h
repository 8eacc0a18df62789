/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connections.h - the connection table: what lies in it, and find. life.h touches and ends
 * connections, insert.h makes them.
 *
 * Buckets of 8 slots of one cache line each. A slot's control word says all that changes while
 * a connection lives; every change of it is one CAS, and only the winner of a CAS counts:
 *
 *   phase:2 | active:1 | away:1 | state:4 | flags:6 | generation:14 | tag:12 | seen:24
 *
 * FREE -> CLAIMED (only under the home bucket's insert lock, after searching again) -> filled by
 * plain stores -> counted -> LIVE -> ... -> FREE. A reader compares phase and tag, then the key.
 * `seen` lies in the word, so that a packet defeats a sweeper that judged the older word.
 * User space never writes here.
 *
 * A connection lies in its home bucket, or in one of two others; then the home's overflow count
 * says so. There are two tables while one grows out of the other: new connections go to one,
 * those of the other stay where they are until they end.
 */
#pragma once

#include "counts.h"
#include "states.h"

#define PHASE_FREE 0ULL
#define PHASE_CLAIMED 1ULL
#define PHASE_LIVE 2ULL
#define PHASE_MASK 3ULL
#define ACTIVE (1ULL << 2)
#define AWAY (1ULL << 3) /* not in its home bucket */
#define STATE_SHIFT 4
#define STATE_MASK (15ULL << STATE_SHIFT)
#define METHOD_SHIFT 8
#define METHOD_MASK (3ULL << METHOD_SHIFT)
#define NO_OUTPUT (1ULL << 10) /* replies are not seen here: column IN_ONLY */
#define TEMPLATE_SHIFT 11
#define TEMPLATE (1ULL << TEMPLATE_SHIFT)  /* of persistence; its client has no port */
#define CONTROLLED (1ULL << 12) /* under a template, see persistence.h */
#define OWN_PORT_SHIFT 13
#define OWN_PORT (1ULL << OWN_PORT_SHIFT) /* goes to the port that its client called, not to its server's */
#define GENERATION_SHIFT 14
#define GENERATION_MASK (0x3fffULL << GENERATION_SHIFT)
#define TAG_SHIFT 28
#define TAG_MASK (0xfffULL << TAG_SHIFT)
#define SEEN_SHIFT 40
#define SEEN_MASK (0xffffffULL << SEEN_SHIFT)

/* The word of a home bucket, in its slot 0: lock:1, overflow:24, version:32 */
#define INSERT_LOCK 1ULL
#define SEARCH_AGAIN INSERT_LOCK /* of a word that is remembered: nothing to go on from */
#define ONE_OVERFLOW (1ULL << 8)
#define OVERFLOW_MASK 0xffffff00ULL
#define ONE_VERSION (1ULL << 32) /* moves on whenever the lock is opened */
#define CHOICES 3 /* buckets in which a connection may lie */
/* Of a template: the state, and what NO_OUTPUT is of others. */
#define ASSURED (1ULL << STATE_SHIFT) /* one of its connections was established */
#define DISABLED_SHIFT 10
#define DISABLED (1ULL << DISABLED_SHIFT) /* never found again: it only ages */

/* Which address of a connection the far end of a packet is compared with. */
enum side { SIDE_VIP, SIDE_REAL };

/* What find() found; or, when it found nothing, what insert() goes on from. */
struct found {
	struct connection *slot;
	__u64 control; /* as it was read */
	__u64 hash;
	__u64 word; /* of the home bucket, before it was searched */
	__u32 tables;
	__u32 table;
};

static __always_inline struct settings *the_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline __u8 state_of(__u64 control)
{
	return (control & STATE_MASK) >> STATE_SHIFT;
}

static __always_inline __u8 method_of(__u64 control)
{
	return (control & METHOD_MASK) >> METHOD_SHIFT;
}

/* For how long a connection may be idle, in clock units. */
static __always_inline __u32 timeout_of(const struct settings *s, const struct connection *c,
					__u64 control)
{
	if (control & TEMPLATE)
		return READ_ONCE(c->word) & CLOCK_MASK;
	switch (c->protocol) {
	case IPPROTO_TCP:
		return s->tcp_timeout[state_of(control) & 15];
	case IPPROTO_SCTP:
		return s->sctp_timeout[state_of(control) & 15];
	default:
		return s->udp_timeout;
	}
}

/* Clock units since a connection was seen; 0 for one that was seen after `now` was read. */
static __always_inline __u32 idle_for(__u32 now, __u64 control)
{
	__u32 idle = (now - (__u32)(control >> SEEN_SHIFT)) & CLOCK_MASK;

	return idle > CLOCK_MASK / 2 ? 0 : idle;
}

/* Which tables are searched, and where new connections go; read once for each packet. */
static __always_inline __u32 tables_in_use(const struct settings *s)
{
	return READ_ONCE(s->tables);
}

static __always_inline bool is_searched(__u32 tables, __u32 table)
{
	return tables >> table & 1;
}

static __always_inline __u32 table_for_new(__u32 tables)
{
	return tables >> 8 & (TABLES - 1);
}

/*
 * Multiplies 32-bit words with secret keys, then a murmur finish (2-5 ns). Over client and
 * protocol only, so that a request and the reply of a masq connection meet in one place; but over
 * the service too for a template, for one client may have any number of these.
 */
static __always_inline __u64 hash_of(const struct settings *s, const struct address *client,
				     __be16 port, __u8 protocol)
{
	const __be32 *w = client->word;
	__u64 h;

	h = (__u64)(__u32)(w[0] + (__u32)s->hash_key[0]) * (__u32)(w[1] + (s->hash_key[0] >> 32));
	h += (__u64)(__u32)(w[2] + (__u32)s->hash_key[1]) * (__u32)(w[3] + (s->hash_key[1] >> 32));
	h += (__u64)(__u32)(((__u32)port << 8 | protocol) + (__u32)s->hash_key[2]) *
	     (__u32)(s->hash_key[2] >> 32 | 1);
	h ^= h >> 33;
	h *= 0xbf58476d1ce4e5b9ULL;
	h ^= h >> 29;
	h *= 0x94d049bb133111ebULL;
	return h ^ h >> 32;
}

static __always_inline __u64 template_hash(const struct settings *s, const struct flow *f)
{
	return hash_of(s, &f->source, 0, f->protocol) ^
	       hash_of(s, &f->destination, f->destination_port, f->protocol) << 1;
}

static __always_inline __u64 hash_of_flow(const struct settings *s, const struct flow *f,
					  enum side side)
{
	if (side == SIDE_REAL)
		return hash_of(s, &f->destination, f->destination_port, f->protocol);
	if (f->is_template)
		return template_hash(s, f);
	return hash_of(s, &f->source, f->source_port, f->protocol);
}

/* The home bucket (choice 0) or another; three different ones from four buckets on. */
static __always_inline __u32 bucket_index(__u64 hash, __u32 choice, __u32 buckets)
{
	__u32 home = (hash >> 32) * buckets >> 32;
	__u32 distance = 1 + ((hash & 0xffffffff) * (buckets / 2 - 1) >> 32);

	if (choice == 0)
		return home;
	if (choice == 1)
		return home + distance < buckets ? home + distance : home + distance - buckets;
	return home >= distance ? home - distance : home + buckets - distance;
}

static __always_inline struct bucket *bucket_at(__u32 table, __u32 index)
{
	void *buckets = bpf_map_lookup_elem(&tables, &table);

	return buckets ? bpf_map_lookup_elem(buckets, &index) : 0;
}

static __always_inline struct bucket *home_of(const struct settings *s, __u64 hash, __u32 table)
{
	return bucket_at(table, bucket_index(hash, 0, s->buckets[table & (TABLES - 1)]));
}

static __always_inline __u64 tag_of(__u64 hash)
{
	return (hash & 0xfff) << TAG_SHIFT;
}

static __always_inline __u64 difference(const struct address *a, const struct address *b)
{
	return (a->half[0] ^ b->half[0]) | (a->half[1] ^ b->half[1]);
}

/* 1 of a template that is never found again; that bit means something else of a connection. */
static __always_inline __u64 is_disabled(__u64 control)
{
	return control >> TEMPLATE_SHIFT & control >> DISABLED_SHIFT & 1;
}

/* Without branches between the words: each would double what the verifier has to follow. */
static __always_inline bool matches(const struct connection *c, const struct flow *f,
				    enum side side, __u64 control)
{
	const struct real *real;
	__be16 port;

	if (side == SIDE_VIP)
		return !(is_disabled(control) | difference(&c->client, &f->source) |
			 difference(&c->vip, &f->destination) |
			 (*(const eight_bytes *)&c->client_port ^
			  *(const eight_bytes *)&f->source_port));
	if (difference(&c->client, &f->destination) | (c->client_port ^ f->destination_port) |
	    (c->protocol ^ f->protocol))
		return false;
	real = real_at(READ_ONCE(c->real));
	if (!real)
		return false;
	port = real->port ^ ((real->port ^ c->vip_port) & -(control >> OWN_PORT_SHIFT & 1));
	return !(difference(&real->address, &f->source) | (port ^ f->source_port));
}

/*
 * One bucket, from a hashed way on. SIDE_REAL finds connections of masq only: by other methods,
 * replies come from the VIP.
 */
static __always_inline struct connection *find_in(struct bucket *b, const struct flow *f,
						  __u64 hash, enum side side, __u64 *control)
{
	__u64 mask = PHASE_MASK | TAG_MASK | (side == SIDE_REAL ? METHOD_MASK | TEMPLATE : 0);
	__u64 want = PHASE_LIVE | tag_of(hash) | (__u64)METHOD_MASQ << METHOD_SHIFT;

	for (__u32 i = 0; i < WAYS; i++) {
		struct connection *c = &b->slot[(i + (hash >> 12)) & (WAYS - 1)];

		*control = READ_ONCE(c->control);
		if ((*control & mask) != want)
			continue;
		barrier();
		if (matches(c, f, side, *control))
			return c;
	}
	return 0;
}

/* A slot in one number, for global functions: they take and return no pointers into maps. */
static __always_inline __u64 where_is(__u32 table, __u32 bucket, __u32 way)
{
	return (__u64)table << 40 | (__u64)bucket << 8 | way;
}

static __always_inline __u32 table_of(__u64 where)
{
	return where >> 40 & (TABLES - 1);
}

static __always_inline struct connection *slot_at(__u64 where)
{
	struct bucket *b = bucket_at(table_of(where), where >> 8);

	return b ? &b->slot[where & (WAYS - 1)] : 0;
}

/* Every bucket where a connection may lie, in every table: where it is, or -1. */
static __always_inline long look_everywhere(const struct settings *s, const struct flow *f,
					    __u64 hash, enum side side, __u32 tables,
					    __u64 *control)
{
	for (__u32 i = 0; i < TABLES; i++) {
		__u32 table = (table_for_new(tables) + i) & (TABLES - 1);

		if (!is_searched(tables, table))
			continue;
		for (__u32 choice = 0; choice < CHOICES; choice++) {
			__u32 index = bucket_index(hash, choice, s->buckets[table]);
			struct bucket *b = bucket_at(table, index);
			struct connection *c;

			if (!b)
				break;
			c = find_in(b, f, hash, side, control);
			if (c)
				return where_is(table, index,
						((__u64)c - (__u64)b) / sizeof(*c));
			/* nothing of this home lies elsewhere */
			if (!choice && !(READ_ONCE(b->slot[0].word) & OVERFLOW_MASK))
				break;
		}
	}
	return -1;
}

/* The same for find(), out of its way. */
__attribute__((noinline)) long search(const struct flow *f, __u64 hash, enum side side, __u32 tables,
				      __u64 *control)
{
	struct settings *s = the_settings();

	if (!f || !control || !s)
		return -1;
	if (side == SIDE_VIP)
		return look_everywhere(s, f, hash, SIDE_VIP, tables, control);
	return look_everywhere(s, f, hash, SIDE_REAL, tables, control);
}

/* Nearly always in the home bucket of the one table there is: that is looked at here. */
static __always_inline bool find(const struct settings *s, const struct flow *f, enum side side,
				 struct found *found)
{
	__u32 tables = tables_in_use(s), table = table_for_new(tables);
	__u64 hash = hash_of_flow(s, f, side);
	struct bucket *home = home_of(s, hash, table);
	__u64 word;
	long where;

	if (side == SIDE_VIP) { /* a new connection goes on from here */
		found->hash = hash;
		found->tables = tables;
		found->word = SEARCH_AGAIN;
	}
	if (!home)
		return false;
	word = READ_ONCE(home->slot[0].word);
	barrier();
	if (side == SIDE_VIP)
		found->word = word;
	found->table = table;
	found->slot = find_in(home, f, hash, side, &found->control);
	if (found->slot)
		return true;
	if (!(word & OVERFLOW_MASK) && !is_searched(tables, table ^ 1))
		return false;
	where = search(f, hash, side, tables, &found->control);
	found->table = table_of(where);
	found->slot = where < 0 ? 0 : slot_at(where);
	return found->slot;
}
