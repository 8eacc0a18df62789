/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * hop.h - the way to an address: interface, neighbour, MTU. Found by the program itself.
 *
 * A real server's way is kept in its entry and looked at again about once a second, so that
 * traffic follows a changed route or MAC with no daemon running. The look-up is made as for a
 * packet of our own (from lo, whose forwarding flag user space sets): it needs no ip_forward.
 *
 * The way back to a client, which replies of masq take, is kept too if it leads through a gateway:
 * there are few of these, so a connection remembers the number of one, and looks again as often.
 */
#pragma once

#include "connections.h"

#define LOOPBACK 1
#define MAC_VALID (1ULL << 63)

/* A way out, ready for send(). Macs only for the xdp door; 0 when the neighbour is unknown. */
struct hop {
	__u32 interface; /* 0: no route, HOP_HERE: this machine */
	__be32 neighbour; /* 0: an IPv6 one, only its MAC is known */
	__u32 mtu; /* 0: not known */
	__u64 mac;
	__u64 own_mac;
};

/* Six bytes as four and two: packets and keys lie as they lie. */
typedef __u32 __attribute__((may_alias, aligned(1))) four_bytes;
typedef __u16 __attribute__((may_alias, aligned(1))) two_bytes;

static __always_inline __u64 mac_to_u64(const __u8 *mac)
{
	return *(const four_bytes *)mac | (__u64)*(const two_bytes *)(mac + 4) << 32 | MAC_VALID;
}

static __always_inline void put_mac(__u8 *where, __u64 mac)
{
	*(four_bytes *)where = mac;
	*(two_bytes *)(where + 4) = mac >> 32;
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
	hop->neighbour = fib.family == AF_INET ? fib.ipv4_dst : 0; /* else RFC 5549: an IPv6 one */
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
				   __u32 now, struct hop *hop)
{
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

/* Where replies go: each stays what it is, only its MACs are brought up to date. 0 is none. */
struct gateway {
	__u64 identity; /* interface << 32 | neighbour; 0: free */
	__u64 mac;
	__u64 own_mac;
	__u32 mtu;
	__u32 checked; /* clock units, when it was last found so */
};

#define GATEWAYS 256
#define GATEWAY_TRIES 4
#define GATEWAY_FORGOTTEN_S 2

MAP_ARRAY(gateways, struct gateway, GATEWAYS, 0);

/* connection.way_back: the gateway's number:8, when it was found:12, the slot's generation:12 */
#define WAY_CLOCK_SHIFT 8
#define WAY_GENERATION_SHIFT 20
#define WAY_MASK 0xfff

/* A gateway's number, or 0 when there is no room or its MTU is in dispute between two routes. */
static __always_inline __u32 gateway_number(const struct settings *s, const struct hop *hop)
{
	__u64 identity = (__u64)hop->interface << 32 | hop->neighbour;
	__u32 now = clock_now(s);

	for (__u32 i = 0; i < GATEWAY_TRIES; i++) {
		__u32 number = 1 + (hop->interface * 31 + (hop->neighbour >> 24) + i) % (GATEWAYS - 1);
		struct gateway *g = bpf_map_lookup_elem(&gateways, &number);
		__u64 old;

		if (!g)
			return 0;
		old = READ_ONCE(g->identity) ?: CAS(&g->identity, 0, identity);
		if (old && old != identity)
			continue;
		if (!g->mtu ||
		    ((now - g->checked) & CLOCK_MASK) > clock_units(s, GATEWAY_FORGOTTEN_S))
			g->mtu = hop->mtu;
		if (g->mtu != hop->mtu)
			return 0;
		g->mac = hop->mac;
		g->own_mac = hop->own_mac;
		g->checked = now;
		return number;
	}
	return 0;
}

/* Asks, as IPVS with snat_reroute=1: from the VIP. Returns what the connection may remember. */
__attribute__((noinline)) __u32 ask_way_back(context *ctx, __be32 vip, __be32 client, __u64 control,
					     struct hop *hop)
{
	struct settings *s = the_settings();
	__u32 number;

	if (!hop || !s)
		return 0;
	ask_route(ctx, vip, client, hop);
	if (!hop->mac || !hop->neighbour || hop->neighbour == client)
		return 0;
	number = gateway_number(s, hop);
	return number | (clock_now(s) & WAY_MASK) << WAY_CLOCK_SHIFT |
	       (__u32)(control >> GENERATION_SHIFT & WAY_MASK) << WAY_GENERATION_SHIFT;
}

/* As the connection remembers it. False: it has to be asked for. */
static __always_inline bool known_way_back(const struct settings *s, const struct found *f,
					   __u32 now, struct hop *hop)
{
	__u32 way = READ_ONCE(f->slot->way_back), number = way & 0xff;
	const struct gateway *g;

	/* whoever writes late, when the slot is another connection's, writes an old generation */
	if (!number || way >> WAY_GENERATION_SHIFT != (f->control >> GENERATION_SHIFT & WAY_MASK))
		return false;
	if (((now - (way >> WAY_CLOCK_SHIFT)) & WAY_MASK) >= s->hop_lifetime)
		return false;
	g = bpf_map_lookup_elem(&gateways, &number);
	if (!g)
		return false;
	hop->interface = g->identity >> 32;
	hop->neighbour = g->identity;
	hop->mtu = g->mtu;
	hop->mac = g->mac;
	hop->own_mac = g->own_mac;
	return true;
}

/* The way to the client of a reply; `f->slot` is 0 for a later fragment. */
static __always_inline void way_back(context *ctx, const struct settings *s, const struct found *f,
				     const struct packet *p, __be32 vip, struct hop *hop)
{
	__u32 way;

	if (f->slot && known_way_back(s, f, p->now, hop))
		return;
	way = ask_way_back(ctx, vip, p->flow.destination.word[3], f->control, hop);
	if (f->slot)
		f->slot->way_back = way;
}
