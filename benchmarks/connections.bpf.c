// SPDX-License-Identifier: GPL-2.0-only
/*
 * connections.bpf.c - fills and empties the connection table for the benchmark.
 *
 * Here and in connections.py stands all that the benchmark knows of the table's insides. Entries
 * are made by the data plane's own create() and ended by its own sweeper.
 */
#include "sweep.bpf.c"

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
	__u32 flow = o->first_flow + nr, real;
	struct settings *s = the_settings();
	struct address client = o->client, vip = o->vip;
	struct key key = {
		.client = &client,
		.other = &vip,
		.client_port = bpf_htons(CLIENT_PORTS + (flow >> 16)),
		.other_port = o->vip_port,
		.protocol = o->protocol,
	};
	__u64 bits = (__u64)o->state << STATE_SHIFT | (__u64)(o->method & 3) << METHOD_SHIFT;
	struct found other = {};

	if (!s || !o->reals)
		return 1;
	client.word[3] = bpf_htonl(CLIENTS | (flow & 0xffff));
	real = flow % o->reals;
	if (o->state == TCP_ESTABLISHED)
		bits |= ACTIVE;
	if (o->method != METHOD_MASQ)
		bits |= NO_OUTPUT;
	if (create(&key, hash_of(s, &key), real, bits, &other) != INSERTED)
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
	bpf_loop(o.flows, open_one, &o, 0);
	*shared = o;
	return 0;
}

/* Every connection whose time is over, now. */
SEC("tc")
int sweep_all(struct __sk_buff *ctx)
{
	struct slice slice = { .now = clock_now() };

	bpf_loop(BUCKETS, sweep_bucket, &slice, 0);
	return slice.expired;
}
