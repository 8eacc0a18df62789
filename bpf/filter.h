/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * filter.h - is an address one of ours? A bitmap by a hash of the address, in 8 KiB.
 *
 * Set are the addresses of virtual services and of real servers, also of deleted ones with
 * connections. A packet to and from addresses that are not set is left alone before anything
 * else is asked. One in a few hundred is set by chance, and found by the tables to be no one's.
 */
#pragma once

#include "connections.h"

static __always_inline const struct address_filter *the_filter(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&filter, &zero);
}

/* engines/bpf/filter.py does the same. The key is odd and secret, so nobody can aim. */
static __always_inline __u32 filter_bit(const struct settings *s, const struct address *a)
{
	__u32 folded = a->word[0] * 3 + a->word[1] * 5 + a->word[2] * 7 + a->word[3];

	return folded * s->hash_key[3] >> 48;
}

static __always_inline bool may_be_ours(const struct settings *s, const struct address_filter *f,
					const struct address *a)
{
	__u32 bit = filter_bit(s, a);

	return f->word[bit >> 6] >> (bit & 63) & 1;
}
