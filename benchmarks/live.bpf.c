// SPDX-License-Identifier: GPL-2.0-only
/*
 * live.bpf.c - both ends of a director on a bench: a generator of frames, and a sink.
 *
 * generate() runs by BPF_PROG_TEST_RUN with live frames: it writes the next frame and sends it out
 * of a veth. It takes the time once a batch, so that the time between two marks holds all that the
 * machine did with the packets between them. Frames come back as they left: all is written anew.
 */
#include "common.h"

#include "checksum.h"

char _license[] SEC("license") = "GPL";

#define BATCH 64 /* of BPF_PROG_TEST_RUN, and what a driver's poll takes at most */
#define FRAME_LEN 66 /* a segment with a timestamp and no data: needs no padding */
#define FIRST_PORT 1024
#define PORTS_SHIFT 14 /* flows of one client address */

struct plan {
	__u64 first_ns;
	__u64 last_ns;
	__u32 marks;	 /* taken: the time from first to last is of (marks - 1) batches */
	__u32 interface; /* out of which the frames go */
	__u32 flow;	 /* of the next packet */
	__u32 step;	 /* 0: all packets are of one flow, 1: each is of another */
	__u32 packets;	 /* made in this run */
	__u32 onward;	 /* where redirect() sends */
	__u32 clients;	 /* the first client's address */
	__u32 check;	 /* sum of the IP header without the client's address */
	__u32 wanted;	 /* the address, or network, that a frame at the sink is to have */
	__u32 mask;
	__u8 frame[FRAME_LEN + 6];
};

struct arrivals {
	__u64 wanted;
	__u64 other;
};

MAP_ARRAY(plans, struct plan, 1, BPF_F_MMAPABLE);
MAP_ARRAY(sunk, struct arrivals, 1, BPF_F_MMAPABLE); /* frames of one CPU only */

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct udphdr ports; /* TCP's begin alike */
} __attribute__((packed));

static __always_inline struct plan *the_plan(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&plans, &zero);
}

static __always_inline void mark(struct plan *plan)
{
	plan->last_ns = bpf_ktime_get_ns();
	if (!plan->marks++)
		plan->first_ns = plan->last_ns;
}

SEC("xdp")
int generate(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct plan *plan = the_plan();
	struct frame *frame = data;
	__u32 client, flow;

	if (!plan || data + FRAME_LEN > end)
		return XDP_ABORTED;
	if (!(plan->packets++ % BATCH))
		mark(plan);
	__builtin_memcpy(data, plan->frame, FRAME_LEN);
	flow = plan->flow;
	plan->flow = flow + plan->step;
	client = bpf_htonl(plan->clients + (flow >> PORTS_SHIFT));
	frame->ip.saddr = client;
	frame->ip.check = ~fold((__u64)plan->check + client);
	frame->ports.source = bpf_htons(FIRST_PORT + (flow & ((1 << PORTS_SHIFT) - 1)));
	return bpf_redirect(plan->interface, 0);
}

SEC("xdp")
int sink(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct frame *frame = data;
	struct plan *plan = the_plan();
	struct arrivals *arrivals;
	__u32 zero = 0;

	arrivals = bpf_map_lookup_elem(&sunk, &zero);
	if (!plan || !arrivals)
		return XDP_ABORTED;
	if (data + sizeof(*frame) > end || frame->eth.h_proto != bpf_htons(ETH_P_IP) ||
	    (frame->ip.daddr & plan->mask) != plan->wanted)
		arrivals->other++;
	else
		arrivals->wanted++;
	return XDP_DROP;
}

SEC("xdp")
int swap(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data, old;

	if ((void *)(eth + 1) > end)
		return XDP_ABORTED;
	old = *eth;
	__builtin_memcpy(eth->h_dest, old.h_source, ETH_ALEN);
	__builtin_memcpy(eth->h_source, old.h_dest, ETH_ALEN);
	return XDP_TX;
}

SEC("xdp")
int redirect(struct xdp_md *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	const struct plan *plan = the_plan();
	struct ethhdr *eth = data;

	if (!plan || (void *)(eth + 1) > end)
		return XDP_ABORTED;
	__builtin_memcpy(eth, plan->frame, 2 * ETH_ALEN);
	return bpf_redirect(plan->onward, 0);
}

/* Lets a veth receive by NAPI, which a redirected frame needs. */
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
