// SPDX-License-Identifier: GPL-2.0-only
/*
 * detour.bpf.c - both directions of ov0: packets with a firewall mark leave the IP stack there, and
 * come in again at ov1, by an ordinary door, now with their mark
 * (docs/decisions/0007-firewall-marks.md).
 */
#include "common.h"

typedef struct __sk_buff context;

#include "forward.h"

#define LOOPBACK 1
#define PACKET_BROADCAST 1 /* linux/if_packet.h; here: DF was not set, see ruleset.py */

char _license[] SEC("license") = "GPL";

/*
 * Into the pair. netfilter's `dup` lowers the TTL and sets DF (nf_dup_ipv4); the door shall see the
 * packet as it came.
 */
SEC("tc")
int onevip_detour(context *ctx)
{
	struct iphdr *ip = ip_header(ctx);
	__be16 may_fragment;

	if (!ip || ctx->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	/* TTL is the high byte of its word */
	ip->check = replaced(ip->check, bpf_htons((__u16)ip->ttl << 8),
			     bpf_htons((__u16)(__u8)(ip->ttl + 1) << 8));
	ip->ttl++;
	if (ctx->pkt_type != PACKET_BROADCAST)
		return TC_ACT_UNSPEC;
	may_fragment = ip->frag_off & ~bpf_htons(DONT_FRAGMENT);
	ip->check = replaced(ip->check, ip->frag_off, may_fragment);
	ip->frag_off = may_fragment;
	return TC_ACT_UNSPEC;
}

/*
 * Out of the pair: the ICMP errors that the door on ov1 made. It sends them back to where packets
 * came from, which is here; their way to the client is the routing table's to say.
 */
SEC("tc")
int onevip_detour_back(context *ctx)
{
	struct iphdr *ip = ip_header(ctx);
	struct bpf_redir_neigh next = {};
	struct bpf_fib_lookup fib = { .family = AF_INET, .ifindex = LOOPBACK };
	long verdict;

	if (!ip || ctx->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	fib.ipv4_src = ip->saddr;
	fib.ipv4_dst = ip->daddr;
	verdict = bpf_fib_lookup(ctx, &fib, sizeof(fib), 0);
	if (verdict != BPF_FIB_LKUP_RET_SUCCESS && verdict != BPF_FIB_LKUP_RET_NO_NEIGH)
		return TC_ACT_UNSPEC;
	next.nh_family = fib.family; /* RFC 5549: the next hop of IPv4 may be an IPv6 one */
	__builtin_memcpy(next.ipv6_nh, fib.ipv6_dst, sizeof(next.ipv6_nh));
	return bpf_redirect_neigh(fib.ifindex, &next, sizeof(next), 0);
}
