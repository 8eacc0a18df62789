/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * clock.h - time and chance as a test wants them: what the programs ask the kernel lies in a map.
 *
 * Included after common.h, which declares the helpers, and before anything that asks them.
 */
#pragma once

#include "common.h"

struct frozen_clock {
	__u64 jiffies;
	__u64 ns; /* CLOCK_MONOTONIC */
	__u64 chance; /* Knuth's MMIX generator: the upper half of each state is drawn */
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

static __always_inline __u32 frozen_chance(void)
{
	__u32 zero = 0;
	struct frozen_clock *clock = bpf_map_lookup_elem(&frozen_clock, &zero);

	if (!clock)
		return 0;
	clock->chance = clock->chance * 6364136223846793005ULL + 1442695040888963407ULL;
	return clock->chance >> 32;
}

#define bpf_get_prandom_u32() frozen_chance()
#define bpf_jiffies64() frozen_jiffies()
#define bpf_ktime_get_ns() frozen_ns()
