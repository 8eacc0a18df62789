// SPDX-License-Identifier: GPL-2.0-only
/*
 * choices.bpf.c - schedule.h without packets: choices and changes of counts, one by one or as
 * fast as a CPU can.
 */
#include "common.h"

#include "schedule.h"

char _license[] SEC("license") = "GPL";

struct order {
	__u64 amount; /* change: add it to the counts */
	__u32 real;   /* of this real server */
	__u32 chunks; /* change_and_check: how many the list has */
	__u64 checked;
	__u64 wrong;
	struct address source; /* look: of the packet */
	struct address destination;
	__be16 source_port;
	__u16 reserved;
	__u32 now; /* in clock units */
};

MAP_ARRAY(orders, struct order, 1, BPF_F_MMAPABLE);

static __always_inline struct order *the_order(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&orders, &zero);
}

/* By service 0, the only one that there is. */
SEC("tc")
int look(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct service *service = bpf_map_lookup_elem(&services, &zero);
	struct order *order = the_order();
	struct packet p = {};

	if (!service || !order)
		return -100;
	p.flow.source = order->source;
	p.flow.destination = order->destination;
	p.flow.source_port = order->source_port;
	p.now = order->now;
	return goes_in_turn(service) ? schedule_in_turn(service) : schedule(service, 0, &p);
}

SEC("tc")
int change(struct __sk_buff *ctx)
{
	struct order *order = the_order();

	if (!order)
		return -101;
	add_to_counts(order->real, order->amount, MOVE);
	return 0;
}

static long wait(__u32 step, void *nothing)
{
	return 0;
}

/* The first of a chunk had one connection more than the second, or one less: now the other way. */
static __always_inline void turn(struct all_real_counts *all, __u32 first)
{
	bool is_more = READ_ONCE(all->of[first & (MAX_REALS - 1)].counts) >
		       READ_ONCE(all->of[(first + 1) & (MAX_REALS - 1)].counts);

	add_to_counts(first, is_more ? -2 * ONE_ACTIVE : 2 * ONE_ACTIVE, MOVE);
}

/*
 * Changes who is the best of a random chunk, and again while the other CPU looks; leaves that
 * some time, and compares what the chunk then remembers with the truth. Member i is real
 * server i; but for the first two of a chunk none has weight. Nobody else changes counts.
 */
SEC("tc")
int change_and_check(struct __sk_buff *ctx)
{
	struct all_real_counts *all = the_counts();
	struct order *order = the_order();
	__u32 zero = 0, list, nr, first, version;
	struct service *service = bpf_map_lookup_elem(&services, &zero);
	struct chunk *chunk, *head;
	__u64 best;

	if (!order || !order->chunks || !service || !all)
		return -101;
	nr = bpf_get_prandom_u32() % order->chunks;
	first = nr * MEMBERS_PER_CHUNK;
	turn(all, first);
	bpf_loop(bpf_get_prandom_u32() & 0x7ff, wait, 0, 0);
	turn(all, first);
	bpf_loop(bpf_get_prandom_u32() & 0x7ff, wait, 0, 0);
	list = READ_ONCE(service->list);
	head = chunk_at(list);
	chunk = chunk_at(list + nr);
	if (!head || !chunk)
		return -102;
	if (!READ_ONCE(head->watched))
		return 0;
	barrier();
	version = READ_ONCE(chunk->version);
	barrier();
	best = READ_ONCE(chunk->best);
	if (best >> 32 != version)
		return 0;
	order->checked++;
	if ((__u32)best != best_member(chunk, MEMBERS_PER_CHUNK, SCHED_WLC))
		order->wrong++;
	return 0;
}
