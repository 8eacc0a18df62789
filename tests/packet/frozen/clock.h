/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * clock.h - time as a test wants it: both clocks of the programs are read from a map.
 *
 * Included after common.h, which declares the helpers, and before anything that asks them.
 */
#pragma once

#include "common.h"

struct frozen_clock {
	__u64 jiffies;
	__u64 ns; /* CLOCK_MONOTONIC */
};

MAP_ARRAY(frozen_clock, struct frozen_clock, 1, BPF_F_MMAPABLE);

static __always_inline __u64 frozen_jiffies(void)
{
	__u32 zero = 0;
	struct frozen_clock *clock = bpf_map_lookup_elem(&frozen_clock, &zero);

	return clock ? *(volatile __u64 *)&clock->jiffies : 0;
}

static __always_inline __u64 frozen_ns(void)
{
	__u32 zero = 0;
	struct frozen_clock *clock = bpf_map_lookup_elem(&frozen_clock, &zero);

	return clock ? *(volatile __u64 *)&clock->ns : 0;
}

#define bpf_jiffies64() frozen_jiffies()
#define bpf_ktime_get_ns() frozen_ns()
