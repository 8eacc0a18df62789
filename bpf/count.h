/* SPDX-License-Identifier: GPL-2.0-only */
/* count.h - totals of real servers and what happened at this door, both per CPU. */
#pragma once

#include "maps.h"

#define COUNT(NAME)                                                                                \
	do {                                                                                       \
		__u32 door_ = DOOR;                                                                \
		struct door_counters *c_ = bpf_map_lookup_elem(&door_counters, &door_);            \
		if (c_)                                                                            \
			c_->NAME++;                                                                \
	} while (0)

static __always_inline void count_in(__u32 real, __u32 bytes)
{
	struct totals *t = bpf_map_lookup_elem(&real_totals, &real);

	if (t) {
		t->in_packets++;
		t->in_bytes += bytes;
	}
}

/* Replies of a real server that was deleted go on, uncounted, as in IPVS. */
static __always_inline void count_out(__u32 index, __u32 bytes)
{
	struct totals *t = bpf_map_lookup_elem(&real_totals, &index);
	const struct real *real = bpf_map_lookup_elem(&reals, &index);

	if (t && real && real->state == SLOT_USED) {
		t->out_packets++;
		t->out_bytes += bytes;
	}
}

static __always_inline void count_connection(__u32 real)
{
	struct totals *t = bpf_map_lookup_elem(&real_totals, &real);

	if (t)
		t->connections++;
}
