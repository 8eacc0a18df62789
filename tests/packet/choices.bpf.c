// SPDX-License-Identifier: GPL-2.0-only
/*
 * choices.bpf.c - schedule.h without packets: choices and changes of counts, one by one or as
 * fast as a CPU can.
 */
#include "common.h"

#include "schedule.h"

char _license[] SEC("license") = "GPL";

struct order {
	__u64 amount; /* add it to the counts */
	__u32 real;   /* of this real server */
	__u32 reals;  /* change_any: of one of the first so many */
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

	return service ? schedule(service) : -100;
}

SEC("tc")
int change(struct __sk_buff *ctx)
{
	struct order *order = the_order();

	if (!order)
		return -101;
	add_to_counts(order->real, order->amount);
	return 0;
}

/* A connection of a random real server becomes active or inactive. */
SEC("tc")
int change_any(struct __sk_buff *ctx)
{
	struct order *order = the_order();
	__u32 dice = bpf_get_prandom_u32();

	if (!order || !order->reals)
		return -101;
	add_to_counts((dice >> 1) % order->reals,
		      dice & 1 ? ONE_ACTIVE - ONE_INACTIVE : ONE_INACTIVE - ONE_ACTIVE);
	return 0;
}
