/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * counts.h - how busy real servers are, and when that is too much (spec ipvs 3.1, 5.5).
 *
 * A connection is active or inactive; one add moves both halves, so their sum is right at every
 * moment. A real server with an upper threshold is overloaded from the connection on that reaches
 * it until enough have ended; that hides it from schedulers, not from persistence.
 */
#pragma once

#include "maps.h"

#define ONE_ACTIVE (1ULL << 32)
#define ONE_INACTIVE 1ULL

/* What a change of the counts is to a threshold. */
enum binding { BIND, UNBIND, MOVE };

static __always_inline struct real *real_at(__u32 index)
{
	return bpf_map_lookup_elem(&reals, &index);
}

static __always_inline struct all_real_counts *the_counts(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&real_counts, &zero);
}

/* As in the kernel: one that binds may set, one that unbinds may clear. Global, for it is rare. */
__attribute__((noinline)) int judge_load(__u32 index, enum binding binding)
{
	struct all_real_counts *all = the_counts();
	struct real *real = real_at(index);
	struct real_counts *counts;
	__u64 both, total, upper, lower;

	if (!all || !real)
		return 0;
	counts = &all->of[index & (MAX_REALS - 1)];
	both = READ_ONCE(counts->counts);
	total = (__u32)((both >> 32) + both);
	upper = READ_ONCE(real->upper);
	lower = READ_ONCE(real->lower);
	if (binding == BIND) {
		if (!upper || total < upper)
			return 0;
		WRITE_ONCE(counts->overloaded, 1);
		/* a full barrier: an edit that we missed comes after us, of another we know now */
		CAS(&counts->counts, both, both);
		if (READ_ONCE(real->upper) != upper)
			WRITE_ONCE(counts->overloaded, 0);
	} else if (lower ? total < lower : !upper || 4 * total < 3 * upper) {
		WRITE_ONCE(counts->overloaded, 0);
	}
	return 0;
}

/*
 * First the counts, then what follows from them, then the version: whoever reads the new version
 * sees the new counts.
 */
static __always_inline void add_to_counts(__u32 real_index, __u64 amount, enum binding binding)
{
	struct all_real_counts *all = the_counts();
	struct real_counts *real;
	struct chunk *chunk;
	__u32 nr;

	if (!all)
		return;
	real = &all->of[real_index & (MAX_REALS - 1)];
	if (amount)
		__sync_fetch_and_add(&real->counts, amount);
	if (binding != MOVE && READ_ONCE(real->limited))
		judge_load(real_index, binding);
	nr = READ_ONCE(real->chunk);
	if (!nr)
		return;
	chunk = bpf_map_lookup_elem(&chunks, &nr);
	if (chunk)
		__sync_fetch_and_add(&chunk->version, 1);
}

/* A persistence template comes or goes. It is no load, but the load is judged. */
static __always_inline void count_template(__u32 real_index, bool comes)
{
	struct all_real_counts *all = the_counts();

	if (!all)
		return;
	__sync_fetch_and_add(&all->of[real_index & (MAX_REALS - 1)].persistent, comes ? 1 : -1);
	add_to_counts(real_index, 0, comes ? BIND : UNBIND);
}
