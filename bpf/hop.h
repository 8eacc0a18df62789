/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hop.h - the way to an address: interface, neighbour, MTU. Found by the program itself.
 *
 * A real server's way is kept in its entry and looked at again about once a second, so that
 * traffic follows a changed route or MAC with no daemon running. The look-up is made as for a
 * packet of our own (from lo, whose forwarding flag user space sets): it needs no ip_forward.
 */
#pragma once

#include "connections.h"

#define LOOPBACK 1
#define MAC_VALID (1ULL << 63)

/* A way out, ready for send(). Macs only for the xdp door; 0 when the neighbour is unknown. */
struct hop {
	__u32 interface; /* 0: no route, HOP_HERE: this machine */
	__be32 neighbour;
	__u32 mtu; /* 0: not known */
	__u64 mac;
	__u64 own_mac;
};

static __always_inline __u64 mac_to_u64(const __u8 *mac)
{
	return (__u64)mac[0] | (__u64)mac[1] << 8 | (__u64)mac[2] << 16 | (__u64)mac[3] << 24 |
	       (__u64)mac[4] << 32 | (__u64)mac[5] << 40 | MAC_VALID;
}

/*
 * What the routing table says now of packets from `source` (0: any) to `address`. Returns the
 * helper's verdict (BPF_FIB_LKUP_RET_*).
 */
__attribute__((noinline)) long ask_route(context *ctx, __be32 source, __be32 address,
					 struct hop *hop)
{
	struct bpf_fib_lookup fib = {
		.family = AF_INET,
		.ifindex = LOOPBACK,
		.tot_len = 1, /* asks for the route's MTU */
		.ipv4_src = source,
		.ipv4_dst = address,
	};
	long verdict;

	if (!hop)
		return BPF_FIB_LKUP_RET_NOT_FWDED;
	verdict = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	hop->interface = 0;
	hop->mac = 0;
	hop->own_mac = 0;
	hop->mtu = 0;
	if (verdict != BPF_FIB_LKUP_RET_SUCCESS && verdict != BPF_FIB_LKUP_RET_NO_NEIGH)
		return verdict;
	hop->interface = fib.ifindex;
	hop->neighbour = fib.ipv4_dst;
	if (verdict == BPF_FIB_LKUP_RET_SUCCESS) {
		hop->mac = mac_to_u64(fib.dmac);
		hop->own_mac = mac_to_u64(fib.smac);
		hop->mtu = fib.mtu_result;
	}
	return verdict;
}

/* Global: verified once, and once a second is no hot road. */
__attribute__((noinline)) int refresh_hop(context *ctx, struct real *real, __u32 now)
{
	struct hop hop = {};
	long verdict;

	if (!real)
		return 0;
	verdict = ask_route(ctx, 0, real->address.word[3], &hop);

	/* forwarding on lo was switched off under us: what we knew serves until it is back */
	if (verdict == BPF_FIB_LKUP_RET_FWD_DISABLED)
		return 0;
	if (verdict == BPF_FIB_LKUP_RET_NOT_FWDED && real->local)
		hop.interface = HOP_HERE;
	real->hop_address = mapped(hop.neighbour);
	real->hop_own_mac = hop.own_mac;
	real->hop_mac = hop.mac;
	if (hop.mtu)
		real->hop_mtu = hop.mtu;
	real->hop_interface = hop.interface;
	real->hop_checked = now | 1u << 31; /* never 0 */
	return 0;
}

/* The way to a real server. True: the routing table was asked for this packet. */
static __always_inline bool hop_to(context *ctx, const struct settings *s, struct real *real,
				   struct hop *hop)
{
	__u32 now = clock_now();
	bool stale = !real->hop_checked || !real->hop_interface ||
		     ((now - real->hop_checked) & CLOCK_MASK) >= s->hop_lifetime;

	if (stale)
		refresh_hop(ctx, real, now);
	hop->interface = real->hop_interface;
	hop->neighbour = real->hop_address.word[3];
	hop->mtu = real->hop_mtu;
	hop->mac = real->hop_mac;
	hop->own_mac = real->hop_own_mac;
	return stale;
}
