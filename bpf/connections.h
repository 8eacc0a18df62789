/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * connections.h - the connection table: find, create, touch, release, sweep.
 *
 * Buckets of 8 slots of one cache line each. A slot's control word says all that changes while
 * a connection lives; every change of it is one CAS, and only the winner of a CAS counts:
 *
 *   phase:2 | active:1 | second:1 | state:4 | flags:4 | generation:16 | tag:12 | seen:24
 *
 * FREE -> CLAIMED (only under the home bucket's insert lock, after searching again) -> filled by
 * plain stores -> counted -> LIVE -> ... -> FREE. A reader compares phase and tag, then the key.
 * `seen` lies in the word, so that a packet defeats a sweeper that judged the older word.
 * User space never writes here.
 */
#pragma once

#include "maps.h"
#include "states.h"

#define PHASE_FREE 0ULL
#define PHASE_CLAIMED 1ULL
#define PHASE_LIVE 2ULL
#define PHASE_MASK 3ULL
#define ACTIVE (1ULL << 2)
#define SECOND (1ULL << 3) /* lies in its second bucket */
#define STATE_SHIFT 4
#define STATE_MASK (15ULL << STATE_SHIFT)
#define METHOD_SHIFT 8
#define METHOD_MASK (3ULL << METHOD_SHIFT)
#define NO_OUTPUT (1ULL << 10) /* replies are not seen here: column IN_ONLY */
#define GENERATION_SHIFT 12
#define GENERATION_MASK (0xffffULL << GENERATION_SHIFT)
#define TAG_SHIFT 28
#define TAG_MASK (0xfffULL << TAG_SHIFT)
#define SEEN_SHIFT 40
#define SEEN_MASK (0xffffffULL << SEEN_SHIFT)
#define CLOCK_MASK 0xffffff

#define INSERT_LOCK 1ULL
#define ONE_OVERFLOW 256ULL
#define LOCK_TRIES 32
#define TOUCH_TRIES 4

#define ONE_ACTIVE (1ULL << 32)
#define ONE_INACTIVE 1ULL

#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (READ_ONCE(x) = (value))
#define CAS(where, old, new) __sync_val_compare_and_swap(where, old, new)

/* Which address of a connection the far end of a packet is compared with. */
enum side { SIDE_VIP, SIDE_REAL };

/* Points into the packet or slot that it is of: built for free, never copied to the stack. */
struct key {
	const struct address *client;
	const struct address *other; /* VIP, or real server of a reply */
	__be16 client_port;
	__be16 other_port;
	__u8 protocol;
};

struct found {
	struct connection *slot;
	__u64 control; /* as it was read */
};

static __always_inline __u32 clock_now(void)
{
	return bpf_jiffies64() >> CLOCK_SHIFT & CLOCK_MASK;
}

static __always_inline struct settings *the_settings(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&settings, &zero);
}

static __always_inline struct real *real_at(__u32 index)
{
	return bpf_map_lookup_elem(&reals, &index);
}

static __always_inline __u8 state_of(__u64 control)
{
	return (control & STATE_MASK) >> STATE_SHIFT;
}

static __always_inline __u8 method_of(__u64 control)
{
	return (control & METHOD_MASK) >> METHOD_SHIFT;
}

/*
 * Multiplies 32-bit words with secret keys, then a murmur finish (2-5 ns). Over client and
 * protocol only, so that a request and the reply of a masq connection meet in one place.
 */
static __always_inline __u64 hash_of(const struct settings *s, const struct key *k)
{
	const __be32 *w = k->client->word;
	__u64 h;

	h = (__u64)(__u32)(w[0] + (__u32)s->hash_key[0]) * (__u32)(w[1] + (s->hash_key[0] >> 32));
	h += (__u64)(__u32)(w[2] + (__u32)s->hash_key[1]) * (__u32)(w[3] + (s->hash_key[1] >> 32));
	h += (__u64)(__u32)(((__u32)k->client_port << 8 | k->protocol) + (__u32)s->hash_key[2]) *
	     (__u32)(s->hash_key[2] >> 32 | 1);
	h ^= h >> 33;
	h *= 0xbf58476d1ce4e5b9ULL;
	h ^= h >> 29;
	h *= 0x94d049bb133111ebULL;
	return h ^ h >> 32;
}

/* The home bucket (choice 0) or the second one. */
static __always_inline __u32 bucket_index(__u64 hash, __u32 choice)
{
	if (choice)
		hash *= 0x9e3779b97f4a7c15ULL;
	return (hash >> 32) * BUCKETS >> 32;
}

static __always_inline struct bucket *bucket_at(__u32 index)
{
	return bpf_map_lookup_elem(&connections, &index);
}

static __always_inline __u64 tag_of(__u64 hash)
{
	return (hash & 0xfff) << TAG_SHIFT;
}

static __always_inline __u32 difference(const struct address *a, const struct address *b)
{
	return (a->word[0] ^ b->word[0]) | (a->word[1] ^ b->word[1]) | (a->word[2] ^ b->word[2]) |
	       (a->word[3] ^ b->word[3]);
}

/* Without branches between the words: each would double what the verifier has to follow. */
static __always_inline bool matches(const struct connection *c, const struct key *k, __u32 side)
{
	__u32 differs = difference(&c->client, k->client) | (c->client_port ^ k->client_port) |
			(c->protocol ^ k->protocol);
	const struct real *real;

	if (side == SIDE_VIP)
		return !(differs | difference(&c->vip, k->other) | (c->vip_port ^ k->other_port));
	if (differs)
		return false;
	real = real_at(READ_ONCE(c->real));
	return real && !(difference(&real->address, k->other) | (real->port ^ k->other_port));
}

/* SIDE_REAL finds connections of masq only: by other methods, replies come from the VIP. */
static __always_inline bool find(const struct key *k, __u64 hash, __u32 side, struct found *f)
{
	__u64 mask = PHASE_MASK | TAG_MASK | (side == SIDE_REAL ? METHOD_MASK : 0);
	__u64 want = PHASE_LIVE | tag_of(hash) | (__u64)METHOD_MASQ << METHOD_SHIFT;

	for (__u32 choice = 0; choice < 2; choice++) {
		struct bucket *b = bucket_at(bucket_index(hash, choice));

		if (!b)
			return false;
		for (__u32 i = 0; i < WAYS; i++) {
			struct connection *c = &b->slot[(i + (hash >> 12)) & (WAYS - 1)];
			__u64 control = READ_ONCE(c->control);

			if ((control & mask) != want)
				continue;
			barrier();
			if (!matches(c, k, side))
				continue;
			f->slot = c;
			f->control = control;
			return true;
		}
		/* the overflow count: nothing of this home lies elsewhere */
		if (!choice && READ_ONCE(b->slot[0].word) < ONE_OVERFLOW)
			return false;
	}
	return false;
}

static __always_inline struct all_real_counts *the_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&real_counts, &zero);
}

/* First the counts, then the version: whoever reads the new version sees the new counts. */
static __always_inline void add_to_counts(__u32 real_index, __u64 amount)
{
	struct all_real_counts *all = the_counts();
	struct real_counts *real;
	struct chunk *chunk;
	__u32 nr;

	if (!all)
		return;
	real = &all->of[real_index & (MAX_REALS - 1)];
	__sync_fetch_and_add(&real->counts, amount);
	nr = READ_ONCE(real->chunk);
	if (!nr)
		return;
	chunk = bpf_map_lookup_elem(&chunks, &nr);
	if (chunk)
		__sync_fetch_and_add(&chunk->version, 1);
}

enum inserted { INSERTED, EXISTS, NO_PLACE };

static __always_inline bool place(struct bucket *b, struct bucket *home, const struct key *k,
				  __u64 hash, __u32 real, __u64 bits)
{
	for (__u32 i = 0; i < WAYS; i++) {
		struct connection *c = &b->slot[(i + (hash >> 12)) & (WAYS - 1)];
		__u64 old = READ_ONCE(c->control), claimed;

		if ((old & PHASE_MASK) != PHASE_FREE)
			continue;
		claimed = ((old + (1ULL << GENERATION_SHIFT)) & GENERATION_MASK) | PHASE_CLAIMED |
			  tag_of(hash) | (__u64)clock_now() << SEEN_SHIFT;
		if (CAS(&c->control, old, claimed) != old)
			continue;
		barrier();
		c->client = *k->client;
		c->vip = *k->other;
		c->client_port = k->client_port;
		c->vip_port = k->other_port;
		c->protocol = k->protocol;
		c->real = real;
		barrier();
		/* counted before it can be seen, so that nobody un-counts it first */
		add_to_counts(real, bits & ACTIVE ? ONE_ACTIVE : ONE_INACTIVE);
		if (b != home) {
			bits |= SECOND;
			__sync_fetch_and_add(&home->slot[0].word, ONE_OVERFLOW);
		}
		CAS(&c->control, claimed, (claimed & ~PHASE_MASK) | PHASE_LIVE | bits);
		return true;
	}
	return false;
}

/*
 * Remembers a new connection. `bits`: ACTIVE, state, method, NO_OUTPUT. EXISTS: another CPU was
 * first, *f is its connection. NO_PLACE: both buckets are full, or the lock was not to be had.
 */
static __always_inline enum inserted create(const struct key *k, __u64 hash, __u32 real,
					    __u64 bits, struct found *f)
{
	struct bucket *home = bucket_at(bucket_index(hash, 0));
	struct bucket *second = bucket_at(bucket_index(hash, 1));
	enum inserted outcome = NO_PLACE;
	bool locked = false;
	__u64 *word;

	if (!home || !second)
		return NO_PLACE;
	word = &home->slot[0].word;
	for (__u32 i = 0; i < LOCK_TRIES; i++) {
		__u64 old = READ_ONCE(*word);

		if (!(old & INSERT_LOCK) && CAS(word, old, old | INSERT_LOCK) == old) {
			locked = true;
			break;
		}
	}
	if (!locked)
		return NO_PLACE;
	if (find(k, hash, SIDE_VIP, f))
		outcome = EXISTS;
	else if (place(home, home, k, hash, real, bits) ||
		 (second != home && place(second, home, k, hash, real, bits)))
		outcome = INSERTED;
	__sync_fetch_and_add(word, -INSERT_LOCK);
	return outcome;
}

/*
 * Ends a connection whose word is still `f->control`. False: it has moved on meanwhile.
 * The slot's bucket is found again from its key, for the home's overflow count.
 */
static __always_inline bool release(const struct settings *s, const struct found *f)
{
	struct connection *c = f->slot;
	__u32 real = READ_ONCE(c->real);
	struct bucket *home = 0;

	if (f->control & SECOND) {
		struct key k = {
				 .client = &c->client, .client_port = c->client_port,
				 .protocol = c->protocol };

		home = bucket_at(bucket_index(hash_of(s, &k), 0));
	}
	barrier();
	if (CAS(&c->control, f->control, f->control & GENERATION_MASK) != f->control)
		return false;
	add_to_counts(real, f->control & ACTIVE ? -ONE_ACTIVE : -ONE_INACTIVE);
	if (home)
		__sync_fetch_and_add(&home->slot[0].word, -ONE_OVERFLOW);
	return true;
}

/*
 * A packet meets a live connection: its new state, and that it was seen. False: the connection
 * died under us, which is a miss.
 */
static __always_inline bool touch(struct found *f, const struct packet *p, bool is_reply,
				  __u32 *real)
{
	__u64 control = f->control;

	*real = READ_ONCE(f->slot->real);
	barrier();
	for (__u32 i = 0; i < TOUCH_TRIES; i++) {
		__u64 kept = control & ~(SEEN_MASK | STATE_MASK | ACTIVE);
		__u64 next, seen_by_others;
		__u8 column = IN, state;

		if (is_reply) {
			column = OUT;
			kept &= ~NO_OUTPUT;
		} else if (control & NO_OUTPUT) {
			column = IN_ONLY;
		}
		state = next_state(p, column, state_of(control));
		next = kept | (__u64)state << STATE_SHIFT | (__u64)clock_now() << SEEN_SHIFT;
		if (is_active(p, state))
			next |= ACTIVE;
		if (next == control) {
			seen_by_others = READ_ONCE(f->slot->control);
		} else {
			seen_by_others = CAS(&f->slot->control, control, next);
			if (seen_by_others == control && ((next ^ control) & ACTIVE))
				add_to_counts(*real, next & ACTIVE ? ONE_ACTIVE - ONE_INACTIVE :
								     ONE_INACTIVE - ONE_ACTIVE);
		}
		if (seen_by_others == control)
			return true;
		if ((seen_by_others ^ control) & (GENERATION_MASK | PHASE_MASK))
			return false;
		control = seen_by_others;
	}
	return true; /* four times overtaken by other packets of this connection: they touched it */
}
