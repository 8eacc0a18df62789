// SPDX-License-Identifier: GPL-2.0-only
/*
 * stress.bpf.c - makes packets faster than Python can, and hands each to the real program.
 *
 * from_client_tc and from_client_xdp write a random packet of one of `plan.flows` flows over the
 * one that is there and jump into onevip_tc or onevip_xdp. sweep_all is the sweeper's own code
 * over the whole table at once, so that entries end while packets meet them.
 */
#include "sweep.bpf.c"

#define VIP 0x0a000064U	     /* 10.0.0.100 */
#define CLIENTS 0x0a004000U  /* 10.0.64.0/18 */
#define FIRST_REAL 0x0a01000aU /* 10.1.0.10 */
#define FRAME (sizeof(struct frame))

struct frame {
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
} __attribute__((packed));

struct plan {
	__u32 clients; /* with the first at most 2^14 */
	__u32 ports;
	__u32 reals;
	__u32 only_syn;
	__u32 packets; /* made so far, by all CPUs, roughly */
	__u32 first;   /* of the clients */
};

MAP_ARRAY(plans, struct plan, 1, 0);

#define MAP_PROGRAM(NAME)                                                                          \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PROG_ARRAY);                                             \
		__uint(max_entries, 1);                                                            \
		__uint(key_size, 4);                                                               \
		__uint(value_size, 4);                                                             \
	} NAME SEC(".maps")

MAP_PROGRAM(tc_door);
MAP_PROGRAM(xdp_door);

/* Eight times a TCP header's flags, one a byte: S S S A A PA FA R, and SA SA A A A PA FA R */
#define REQUEST_FLAGS 0x0411181010020202ULL
#define REPLY_FLAGS 0x0411181010101212ULL

/* A reply comes from a random real server: from the right one in one case out of `reals`. */
static __always_inline bool write_packet(void *data, void *end, struct plan *plan)
{
	__u32 dice = bpf_get_prandom_u32(), where = bpf_get_prandom_u32();
	struct frame *f = data;
	bool is_reply = !plan->only_syn && (dice & 3) == 0, is_udp = (dice >> 2 & 7) == 0;
	__u32 client, port, flags;

	if ((void *)(f + 1) > end || !plan->clients || !plan->ports || !plan->reals)
		return false;
	client = bpf_htonl(CLIENTS + plan->first + (where & 0xffff) % plan->clients);
	port = bpf_htons(1024 + (where >> 16) % plan->ports);
	flags = (is_reply ? REPLY_FLAGS : REQUEST_FLAGS) >> (dice >> 8 & 7) * 8;
	if (plan->only_syn)
		flags = 0x02;
	__builtin_memset(f, 0, sizeof(*f));
	f->eth.h_dest[0] = 2;
	f->eth.h_dest[5] = 0xf;
	f->eth.h_proto = bpf_htons(ETH_P_IP);
	f->ip.version = 4;
	f->ip.ihl = 5;
	f->ip.ttl = 64;
	f->ip.tot_len = bpf_htons(FRAME - sizeof(f->eth));
	f->ip.protocol = is_udp ? IPPROTO_UDP : IPPROTO_TCP;
	f->tcp.doff = 5;
	((__u8 *)&f->tcp)[13] = flags;
	if (is_reply) {
		f->ip.saddr = bpf_htonl(FIRST_REAL + (dice >> 16) % plan->reals);
		f->ip.daddr = client;
		f->tcp.source = bpf_htons(80);
		f->tcp.dest = port;
	} else {
		f->ip.saddr = client;
		f->ip.daddr = bpf_htonl(VIP);
		f->tcp.source = port;
		f->tcp.dest = bpf_htons(80);
	}
	plan->packets++;
	return true;
}

static __always_inline struct plan *the_plan(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&plans, &zero);
}

SEC("tc")
int from_client_tc(struct __sk_buff *ctx)
{
	struct plan *plan = the_plan();

	/* the last one became an ICMP error, with another two headers */
	if (ctx->len != FRAME && (bpf_skb_adjust_room(ctx, -28, BPF_ADJ_ROOM_MAC, 0) ||
				  bpf_skb_change_tail(ctx, FRAME, 0)))
		return -100;
	if (!plan || !write_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end, plan))
		return -101;
	bpf_tail_call(ctx, &tc_door, 0);
	return -102;
}

SEC("xdp")
int from_client_xdp(struct xdp_md *ctx)
{
	struct plan *plan = the_plan();

	if (!plan || !write_packet((void *)(long)ctx->data, (void *)(long)ctx->data_end, plan))
		return -101;
	bpf_tail_call(ctx, &xdp_door, 0);
	return -102;
}

SEC("tc")
int sweep_all(struct __sk_buff *ctx)
{
	struct settings *s = the_settings();
	struct slice slice = {};

	if (!s)
		return 0;
	slice.now = clock_now(s);
	for (slice.table = 0; slice.table < TABLES; slice.table++)
		if (is_searched(tables_in_use(s), slice.table))
			LOOP(s->buckets[slice.table], sweep_bucket, &slice);
	return slice.expired;
}
