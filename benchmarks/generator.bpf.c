// SPDX-License-Identifier: GPL-2.0-only
/*
 * generator.bpf.c - a packet of the next flow for each repeat of BPF_PROG_TEST_RUN.
 *
 * The kernel does not restore a packet between repeats: a program that rewrites would meet its
 * own output from the second round on. So a wrapper restores the length, writes all headers anew
 * and jumps into the program that is measured. What the wrapper costs is measured by jumping into
 * a program that does nothing.
 *
 * Checksums are those of flow 0: no program here looks at them, they are only brought up to date.
 */
#include "common.h"

char _license[] SEC("license") = "GPL";

#define FRAME 64  /* bytes of an IPv4 frame */
#define FRAME6 80 /* and of an IPv6 one */
#define CLIENTS 0x0a400000U /* 10.64.0.0/16 */
#define CLIENT_PORTS 1024
#define STRANGERS 0x64000000U /* 100.0.0.0/8 */
#define ELSEWHERE 0xac000000U /* 172.0.0.0/8 */

/* benchmarks/generator.py packs it. */
struct plan {
	__u32 mask;	  /* number of flows - 1; a power of two - 1 */
	__u32 shift;	  /* half of its bits, at least 1 */
	__u32 in_order;	  /* 1: flows in the order of their numbers */
	__u32 reals;
	__u32 first_real; /* the address of flow 0's real server, host order */
	__u32 misses;	  /* of look_up: must stay 0 */
	__u32 made;	  /* packets; tells that no wrapper gave up */
	__u32 reserved;
	__u64 frame[FRAME6 / 8];
};

MAP_ARRAY(plans, struct plan, 1, 0);

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__uint(key_size, 4);
	__uint(value_size, 4);
} measured SEC(".maps");

/*
 * The number of the flow that the n-th packet belongs to: each once in a round of mask + 1
 * packets, far from the order in which the connections were opened. benchmarks/flows.py does the
 * same, the two are compared before every run.
 */
static __always_inline __u32 flow_of(const struct plan *plan, __u32 n)
{
	__u32 mask = plan->mask, shift = plan->shift & 31;

	if (plan->in_order)
		return n & mask;
	n = n * 0x9e3779b1 & mask;
	n ^= n >> shift;
	n = n * 0x85ebca6b & mask;
	n ^= n >> shift;
	return n;
}

static __always_inline __be32 client_of(__u32 flow)
{
	return bpf_htonl(CLIENTS | (flow & 0xffff));
}

static __always_inline __be16 port_of(__u32 flow)
{
	return bpf_htons(CLIENT_PORTS + (flow >> 16));
}

struct ip4_frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr ports; /* TCP's ports lie there too */
} __attribute__((packed));

struct ip6_frame {
	struct ethhdr eth;
	__u8 ip[8];
	__be32 source[4];
	__be32 destination[4];
	struct udphdr ports;
} __attribute__((packed));

/* The frame as the plan has it, of the right length; its start, or 0. */
static __always_inline void *restore(struct xdp_md *ctx, struct plan *plan, __u32 length)
{
	__u64 *data = (void *)(long)ctx->data;
	long too_much = (long)ctx->data_end - (long)ctx->data - length;

	if (too_much && bpf_xdp_adjust_head(ctx, too_much))
		return 0;
	data = (void *)(long)ctx->data;
	if ((void *)data + length > (void *)(long)ctx->data_end)
		return 0;
	for (__u32 i = 0; i < length / 8; i++)
		data[i] = plan->frame[i];
	return data;
}

static __always_inline struct plan *the_plan(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&plans, &zero);
}

static __always_inline int go(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &measured, 0);
	return XDP_ABORTED;
}

/* From a client to the VIP. */
SEC("xdp")
int requests(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();
	struct ip4_frame *f;
	__u32 flow;

	if (!plan || !(f = restore(ctx, plan, FRAME)))
		return XDP_ABORTED;
	flow = flow_of(plan, plan->made++);
	f->ip.saddr = client_of(flow);
	f->ports.source = port_of(flow);
	return go(ctx);
}

/* From the real server of a flow to its client. */
SEC("xdp")
int replies(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();
	struct ip4_frame *f;
	__u32 flow;

	if (!plan || !plan->reals || !(f = restore(ctx, plan, FRAME)))
		return XDP_ABORTED;
	flow = flow_of(plan, plan->made++);
	f->ip.saddr = bpf_htonl(plan->first_real + flow % plan->reals);
	f->ip.daddr = client_of(flow);
	f->ports.dest = port_of(flow);
	return go(ctx);
}

/* From anybody to anybody. */
SEC("xdp")
int strangers(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();
	struct ip4_frame *f;
	__u64 dice;

	if (!plan || !(f = restore(ctx, plan, FRAME)))
		return XDP_ABORTED;
	dice = (flow_of(plan, plan->made++) + 1) * 0x9e3779b97f4a7c15ULL;
	dice ^= dice >> 29;
	f->ip.saddr = bpf_htonl(STRANGERS | (dice & 0xffffff));
	f->ip.daddr = bpf_htonl(ELSEWHERE | (dice >> 24 & 0xffffff));
	f->ports.source = bpf_htons(CLIENT_PORTS + (dice >> 48 & 0x7fff));
	return go(ctx);
}

/* From a client to the VIP, IPv6. */
SEC("xdp")
int requests6(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();
	struct ip6_frame *f;
	__u32 flow;

	if (!plan || !(f = restore(ctx, plan, FRAME6)))
		return XDP_ABORTED;
	flow = flow_of(plan, plan->made++);
	f->source[3] = client_of(flow);
	f->ports.source = port_of(flow);
	return go(ctx);
}

/* What is measured beside the data plane: floors and prices. */

SEC("xdp")
int send_back(struct xdp_md *ctx)
{
	return XDP_TX;
}

SEC("xdp")
int let_pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}

/* The price of the wrapper's own adjust_head is half of what this costs more than send_back. */
SEC("xdp")
int grow(struct xdp_md *ctx)
{
	return bpf_xdp_adjust_head(ctx, -(int)sizeof(struct iphdr)) ? XDP_ABORTED : XDP_TX;
}

SEC("xdp")
int swap_macs(struct xdp_md *ctx)
{
	struct ethhdr *eth = (void *)(long)ctx->data;
	__u8 mac[ETH_ALEN];

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_ABORTED;
	__builtin_memcpy(mac, eth->h_dest, ETH_ALEN);
	__builtin_memcpy(eth->h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, mac, ETH_ALEN);
	return XDP_TX;
}

struct ends {
	__be32 source;
	__be32 destination;
	__be16 ports[2];
};

MAP_HASH(seen, struct ends, __u64, 1 << 17);

static __always_inline bool read_ends(struct xdp_md *ctx, struct ends *ends)
{
	struct ip4_frame *f = (void *)(long)ctx->data;

	if ((void *)(f + 1) > (void *)(long)ctx->data_end)
		return false;
	ends->source = f->ip.saddr;
	ends->destination = f->ip.daddr;
	ends->ports[0] = f->ports.source;
	ends->ports[1] = f->ports.dest;
	return true;
}

SEC("xdp")
int write_down(struct xdp_md *ctx)
{
	struct ends ends;
	__u64 value = 1;

	if (!read_ends(ctx, &ends) || bpf_map_update_elem(&seen, &ends, &value, BPF_ANY))
		return XDP_ABORTED;
	return XDP_TX;
}

SEC("xdp")
int look_up(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();
	struct ends ends;
	__u64 *value;

	if (!plan || !read_ends(ctx, &ends))
		return XDP_ABORTED;
	value = bpf_map_lookup_elem(&seen, &ends);
	if (!value || *value != 1)
		plan->misses++;
	return XDP_TX;
}
