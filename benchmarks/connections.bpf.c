// SPDX-License-Identifier: GPL-2.0-only
/*
 * connections.bpf.c - fills and empties the connection table for the benchmark, and lets real
 * servers become busier and idler between two packets.
 *
 * Here and in connections.py stands all that the benchmark knows of the table's insides. Entries
 * are made by the data plane's own insert() and ended by its own sweeper.
 */
#include "sweep.bpf.c"

#define DOOR DOOR_XDP

#include "insert.h"

#define CLIENTS 0x0a400000U /* as in generator.bpf.c */
#define CLIENT_PORTS 1024

/* Connections of flows `first_flow` and on; benchmarks/connections.py packs it. */
struct order {
	struct address client; /* of flow 0; the last word is written over */
	struct address vip;
	__be16 vip_port;
	__u8 protocol;
	__u8 method;
	__u32 first_flow;
	__u32 flows;
	__u32 reals; /* flow number % reals is the index of its real server */
	__u32 state;
	__u32 refused; /* what came of it: so many found no place */
};

MAP_ARRAY(orders, struct order, 1, 0);

static long open_one(__u32 nr, struct order *o)
{
	__u32 flow = o->first_flow + nr;
	struct settings *s = the_settings();
	struct newcomer *n = the_newcomer();

	if (!s || !n || !o->reals)
		return 1;
	n->flow = (struct flow){
		.source = o->client,
		.destination = o->vip,
		.source_port = bpf_htons(CLIENT_PORTS + (flow >> 16)),
		.destination_port = o->vip_port,
		.protocol = o->protocol,
	};
	n->flow.source.word[3] = bpf_htonl(CLIENTS | (flow & 0xffff));
	n->bits = (__u64)o->state << STATE_SHIFT | (__u64)(o->method & 3) << METHOD_SHIFT;
	n->own = 0;
	n->hash = hash_of_flow(s, &n->flow, SIDE_VIP);
	n->word = SEARCH_AGAIN;
	n->real = flow % o->reals;
	if (o->state == TCP_ESTABLISHED)
		n->bits |= ACTIVE;
	if (o->method != METHOD_MASQ)
		n->bits |= NO_OUTPUT;
	if (insert(n) != INSERTED)
		o->refused++;
	return 0;
}

SEC("tc")
int fill(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct order *shared = bpf_map_lookup_elem(&orders, &zero), o;

	if (!shared)
		return -1;
	o = *shared;
	LOOP(o.flows, open_one, &o);
	*shared = o;
	return 0;
}

static __always_inline long everywhere(long (*step)(__u32, struct slice *), struct slice *slice)
{
	struct settings *s = the_settings();

	for (slice->table = 0; s && slice->table < TABLES; slice->table++)
		if (is_searched(tables_in_use(s), slice->table))
			LOOP(s->buckets[slice->table], step, slice);
	return 0;
}

/* Every connection whose time is over, now. */
SEC("tc")
int sweep_all(struct __sk_buff *ctx)
{
	struct settings *s = the_settings();
	struct slice slice = {};

	if (!s)
		return 0;
	slice.now = clock_now(s);
	everywhere(sweep_bucket, &slice);
	return slice.expired;
}

/* As if nothing had been seen for long: then seen_all tells what was. */
static long age_bucket(__u32 nr, struct slice *slice)
{
	struct bucket *b = bucket_at(slice->table, nr);

	for (__u32 i = 0; b && i < WAYS; i++)
		b->slot[i].control &= ~SEEN_MASK;
	return 0;
}

static long count_seen(__u32 nr, struct slice *slice)
{
	struct bucket *b = bucket_at(slice->table, nr);

	for (__u32 i = 0; b && i < WAYS; i++)
		if ((b->slot[i].control & PHASE_MASK) == PHASE_LIVE &&
		    (b->slot[i].control & SEEN_MASK))
			slice->live++;
	return 0;
}

SEC("tc")
int age_all(struct __sk_buff *ctx)
{
	struct slice slice = {};

	return everywhere(age_bucket, &slice);
}

SEC("tc")
int seen_all(struct __sk_buff *ctx)
{
	struct slice slice = {};

	everywhere(count_seen, &slice);
	return slice.live;
}

/* What happens to real servers before each packet; benchmarks/connections.py packs it. */
struct churn {
	__u32 reals;
	__u32 changes; /* of one real server's counts each */
	__u32 stride;  /* so many real servers from one to the next; 0: random ones */
	__u32 dice;
	__u64 watched; /* what came of it: so many made their chunk look again */
};

/* Which real servers have a connection closed that will be opened again. */
struct closed {
	__u8 of[MAX_REALS];
};

MAP_ARRAY(churns, struct churn, 1, 0);
MAP_ARRAY(are_closed, struct closed, 1, 0);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} onward SEC(".maps");

/* A connection is closed, the next time it is opened again: the sum stays. */
static long change_one(__u32 nr, struct churn *c)
{
	__u32 zero = 0, real = c->reals - 1 - nr * c->stride;
	struct closed *closed = bpf_map_lookup_elem(&are_closed, &zero);
	struct all_real_counts *all = the_counts();

	if (!all || !closed || !c->reals)
		return 1;
	if (!c->stride) {
		c->dice ^= c->dice << 13;
		c->dice ^= c->dice >> 17;
		c->dice ^= c->dice << 5;
		real = c->dice % c->reals;
	}
	real &= MAX_REALS - 1;
	c->watched += !!all->of[real].chunk;
	closed->of[real] ^= 1;
	add_to_counts(real, closed->of[real] ? ONE_INACTIVE - ONE_ACTIVE :
					       ONE_ACTIVE - ONE_INACTIVE,
		      MOVE);
	return 0;
}

SEC("xdp")
int churn(struct xdp_md *ctx)
{
	__u32 zero = 0;
	struct churn *shared = bpf_map_lookup_elem(&churns, &zero), c;

	if (!shared)
		return XDP_ABORTED;
	c = *shared;
	LOOP(c.changes, change_one, &c);
	*shared = c;
	bpf_tail_call(ctx, &onward, 0);
	return XDP_ABORTED;
}
