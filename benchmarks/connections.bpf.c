// SPDX-License-Identifier: GPL-2.0-only
/*
 * connections.bpf.c - fills and empties the connection table for the benchmark.
 *
 * Here and in connections.py stands all that the benchmark knows of the table's insides. Entries
 * are made by the data plane's own create() and ended by its own sweeper.
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
	struct flow f = {
		.source = o->client,
		.destination = o->vip,
		.source_port = bpf_htons(CLIENT_PORTS + (flow >> 16)),
		.destination_port = o->vip_port,
		.protocol = o->protocol,
	};
	struct newcomer n = {
		.flow = &f,
		.bits = (__u64)o->state << STATE_SHIFT | (__u64)(o->method & 3) << METHOD_SHIFT,
	};
	struct found other = {};

	if (!s || !o->reals)
		return 1;
	f.source.word[3] = bpf_htonl(CLIENTS | (flow & 0xffff));
	n.hash = hash_of_flow(s, &f, SIDE_VIP);
	n.word = SEARCH_AGAIN;
	n.real = flow % o->reals;
	if (o->state == TCP_ESTABLISHED)
		n.bits |= ACTIVE;
	if (o->method != METHOD_MASQ)
		n.bits |= NO_OUTPUT;
	if (create(s, &n, &other) != INSERTED)
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
	struct slice slice = { .now = clock_now() };

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
