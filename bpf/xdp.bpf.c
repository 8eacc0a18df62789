// SPDX-License-Identifier: GPL-2.0-only
/*
 * xdp.bpf.c - the xdp door: the same road in the network driver, for interfaces that were named.
 *
 * It sends what has a known neighbour and leaves the rest (unknown neighbour, ICMP answers,
 * this machine as a real server) to the tc door of the same interface. Once in eight seconds a
 * packet for each real server goes that way too, so that the kernel keeps its neighbour fresh.
 */
#include "common.h"

#define DOOR DOOR_XDP
typedef struct xdp_md context;

#include "count.h"
#include "forward.h"
#include "hop.h"
#include "icmp.h"

char _license[] SEC("license") = "GPL";

/* Written by user space. Where it is wrong, tc does the work. */
MAP_ARRAY(own_macs, struct own_mac, XDP_PLACES, BPF_F_MMAPABLE);

/* A driver in promiscuous mode, or one without a filter, also brings what is for other machines. */
static __always_inline bool is_for_us(context *ctx)
{
	__u32 interface = ctx->ingress_ifindex, place = interface % XDP_PLACES;
	const struct own_mac *own = bpf_map_lookup_elem(&own_macs, &place);
	const struct ethhdr *eth = (void *)(long)ctx->data;

	return (void *)(eth + 1) <= (void *)(long)ctx->data_end && own &&
	       own->interface == interface && own->mac == mac_to_u64(eth->h_dest);
}

/*
 * What leaves by the interface it came from is sent back by the driver, which costs less than a
 * redirect. Not on veth: that leaves such frames lying when its peer has no XDP program.
 */
static __always_inline bool can_send_back(__u32 interface)
{
	__u32 place = interface % XDP_PLACES;
	const struct own_mac *own = bpf_map_lookup_elem(&own_macs, &place);

	return own && own->interface == interface && own->is_device;
}

static __always_inline int not_ours(void)
{
	return XDP_PASS;
}

static __always_inline int drop(void)
{
	return XDP_DROP;
}

static __always_inline int hand_over(context *ctx)
{
	COUNT(handed_over);
	return XDP_PASS;
}

static __always_inline int refuse(context *ctx, const struct packet *p, __u8 type, __u8 code,
				  __u32 mtu)
{
	return hand_over(ctx);
}

static __always_inline bool cannot_send(const struct hop *hop, bool fresh, __u32 now)
{
	return !hop->mac || !hop->own_mac || (fresh && !(now >> 1 & 7));
}

static __always_inline __u32 segment_length(context *ctx, const struct packet *p)
{
	return p->length;
}

static __always_inline bool rewrite(context *ctx, const struct packet *p,
				    const struct rewriting *r, bool forwarded)
{
	__be32 old_address = r->is_reply ? p->flow.source.word[3] : p->flow.destination.word[3];
	__be16 old_port = r->is_reply ? p->flow.source_port : p->flow.destination_port;
	void *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = ip_header(ctx);
	__u32 l4 = p->l4;
	struct udphdr *ports;
	__sum16 *check;

	if (!ip || l4 > ETH_LEN + 60)
		return false;
	ports = (void *)(long)ctx->data + l4;
	/* SCTP's is not looked at: its shortest packets end before the place of TCP's */
	check = p->flow.protocol == IPPROTO_TCP ? (void *)ports + offsetof(struct tcphdr, check) :
						  &ports->check;
	if ((void *)(ports + 1) > end || (void *)(check + 1) > end)
		return false;
	if (forwarded)
		decrement_ttl(ip);
	ip->check = replaced(ip->check, old_address, r->address);
	if (p->flow.protocol == IPPROTO_SCTP) { /* its checksum covers no address */
		if (old_port != r->port)
			return false;
	} else if (p->flow.protocol == IPPROTO_TCP || *check) { /* no checksum stays no checksum */
		__u16 new = replaced(replaced(*check, old_address, r->address), old_port, r->port);

		*check = p->flow.protocol == IPPROTO_UDP && !new ? 0xffff : new;
	}
	if (r->is_reply) {
		ip->saddr = r->address;
		ports->source = r->port;
	} else {
		ip->daddr = r->address;
		ports->dest = r->port;
	}
	return true;
}

static __always_inline bool encapsulate(context *ctx, const struct packet *p,
					const struct real *real)
{
	struct iphdr outer = outer_header(p, real);
	struct ethhdr *old, *new;
	struct iphdr *ip;

	if (!age(ctx) || bpf_xdp_adjust_head(ctx, -(int)sizeof(outer)))
		return false;
	new = (void *)(long)ctx->data;
	old = (void *)new + sizeof(outer);
	ip = (void *)(new + 1);
	if ((void *)(old + 1) > (void *)(long)ctx->data_end ||
	    (void *)(ip + 1) > (void *)(long)ctx->data_end)
		return false;
	new->h_proto = old->h_proto;
	*ip = outer;
	return true;
}

static __always_inline int send(context *ctx, const struct hop *hop)
{
	struct ethhdr *eth = (void *)(long)ctx->data;

	if ((void *)(eth + 1) > (void *)(long)ctx->data_end)
		return XDP_DROP;
	put_mac(eth->h_dest, hop->mac);
	put_mac(eth->h_source, hop->own_mac);
	/* a director with one leg: back to where it came from, which costs less */
	if (hop->interface == ctx->ingress_ifindex && can_send_back(hop->interface))
		return XDP_TX;
	return bpf_redirect(hop->interface, 0);
}

#include "director.h"

SEC("xdp")
int onevip_xdp(context *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct packet p = {};

	/* fragments need the tc door */
	if (!parse(data, end, &p) || (p.fragment & bpf_htons(MORE_FRAGMENTS | FRAGMENT_OFFSET)))
		return not_ours();
	/* untouched: were it handed over later, tc would touch it again */
	if (moves_twice(&p))
		return not_ours();
	if (!p.length || ETH_LEN + p.length > (__u32)((long)end - (long)data))
		return not_ours();
	return direct(ctx, &p);
}
