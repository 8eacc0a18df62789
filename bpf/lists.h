/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * lists.h - what all schedulers need of a service's real servers: where they lie, and who of them
 * may get new connections. One that is overloaded counts as one without weight (spec ipvs 4.0).
 */
#pragma once

#include "maps.h"
#include "connections.h"

#define NO_REAL_SERVER (-1)

static __always_inline struct chunk *chunk_at(__u32 index)
{
	return bpf_map_lookup_elem(&chunks, &index);
}

static __always_inline __u32 chunks_of(__u32 members)
{
	return (members + MEMBERS_PER_CHUNK - 1) / MEMBERS_PER_CHUNK;
}

static __always_inline const struct real_counts *counts_of(const struct all_real_counts *all,
							    __u32 real)
{
	return &all->of[real & (MAX_REALS - 1)];
}

/* Without a branch, which would double what the verifier has to follow: `overloaded` is 0 or 1. */
static __always_inline __u32 weight_now(const struct member *m, const struct real_counts *counts)
{
	return m->weight & (READ_ONCE(counts->overloaded) - 1U);
}

/* As the kernel's: an active connection weighs as much as 256 inactive ones. */
static __always_inline __u64 overhead_of(const struct real_counts *counts)
{
	const __u32 *half = (const __u32 *)&counts->counts;
	__u64 inactive = READ_ONCE(half[0]), active = READ_ONCE(half[1]);

	return (active << 8) + inactive;
}
