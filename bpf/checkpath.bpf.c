// SPDX-License-Identifier: GPL-2.0-only
/*
 * checkpath.bpf.c - checks that go the way of clients' packets (docs/decisions/0009-checkpath.md).
 *
 * A probe's socket is connected to the real server and bears a mark. On their way out its packets
 * become packets to the VIP, as gate and ipip bring them to that real server; its answers, which
 * come from the VIP, become answers from the real server on their way in, before the IP stack
 * would drop them: the VIP is an address of this machine too.
 *
 * Attached by a daemon to every interface, and only while one of its checks goes this way.
 */
#include "common.h"

typedef struct __sk_buff context;

#include "forward.h"

/*
 * A real server may hand a packet on once, to a container of its own. One without the VIP that
 * forwards hands it back to us; what comes to a door with one hop left goes no further, so no
 * other real server answers for that one.
 */
#define HOPS 2

#define ICMP_ECHO_REPLY 0
#define ICMP_DEST_UNREACH 3
#define ICMP_ECHO 8
#define ICMP_TIME_EXCEEDED 11

char _license[] SEC("license") = "GPL";

/* the mark of the sockets that probe one real server of one service -> their way */
MAP_HASH(check_paths, __u32, struct check_path, MAX_REALS);

/* A probe as its answers show it. */
struct probe {
	__be32 director;
	__be32 vip;
	__be16 director_port; /* an echo's identifier */
	__be16 vip_port;      /* an echo's sequence number */
	__u8 protocol;
	__u8 reserved[3];
};

/* probe -> its real server, IPv4 in network order; the oldest ones give way */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, struct probe);
	__type(value, __be32);
} probes SEC(".maps");

/* An IP header and the first eight bytes of what follows: so much has every probe. */
struct head {
	struct iphdr ip;
	union {
		struct {
			__be16 source;
			__be16 destination;
		} port;
		struct {
			__u8 type;
			__u8 code;
			__sum16 checksum;
			__be16 id;
			__be16 sequence;
		} icmp;
	};
};

/* False: not IPv4, cut off, or a later fragment. */
static __always_inline bool load_head(context *ctx, __u32 at, struct head *h)
{
	if (bpf_skb_load_bytes(ctx, at, &h->ip, sizeof(h->ip)))
		return false;
	if (h->ip.version != 4 || h->ip.ihl < 5 || (h->ip.frag_off & bpf_htons(FRAGMENT_OFFSET)))
		return false;
	return !bpf_skb_load_bytes(ctx, at + h->ip.ihl * 4, &h->icmp, sizeof(h->icmp));
}

/* Whose question this is. False: no protocol that checks speak. */
static __always_inline bool is_question(const struct head *h, struct probe *probe)
{
	probe->director = h->ip.saddr;
	probe->vip = h->ip.daddr;
	probe->protocol = h->ip.protocol;
	if (h->ip.protocol == IPPROTO_ICMP) {
		probe->director_port = h->icmp.id;
		probe->vip_port = h->icmp.sequence;
		return h->icmp.type == ICMP_ECHO;
	}
	probe->director_port = h->port.source;
	probe->vip_port = h->port.destination;
	return h->ip.protocol == IPPROTO_TCP || h->ip.protocol == IPPROTO_UDP;
}

/* Whose answer this is, the same way. */
static __always_inline bool is_answer(const struct head *h, struct probe *probe)
{
	probe->director = h->ip.daddr;
	probe->vip = h->ip.saddr;
	probe->protocol = h->ip.protocol;
	if (h->ip.protocol == IPPROTO_ICMP) {
		probe->director_port = h->icmp.id;
		probe->vip_port = h->icmp.sequence;
		return h->icmp.type == ICMP_ECHO_REPLY;
	}
	probe->director_port = h->port.destination;
	probe->vip_port = h->port.source;
	return h->ip.protocol == IPPROTO_TCP || h->ip.protocol == IPPROTO_UDP;
}

/* The checksum of what follows the IP header covers its addresses: TCP's and UDP's, not ICMP's. */
static __always_inline bool follow_address(context *ctx, const struct head *h, __be32 old,
					   __be32 new)
{
	__u32 l4 = ETH_LEN + h->ip.ihl * 4;

	if (h->ip.protocol == IPPROTO_TCP)
		return !bpf_l4_csum_replace(ctx, l4 + offsetof(struct tcphdr, check), old, new,
					    BPF_F_PSEUDO_HDR | sizeof(new));
	if (h->ip.protocol == IPPROTO_UDP)
		return !bpf_l4_csum_replace(ctx, l4 + offsetof(struct udphdr, check), old, new,
					    BPF_F_MARK_MANGLED_0 | BPF_F_PSEUDO_HDR | sizeof(new));
	return true;
}

/* The header's sum stays what it was, so whatever else covers it stays right too. */
static __always_inline void put_address(struct iphdr *ip, __be32 *which, __be32 new)
{
	ip->check = replaced(ip->check, *which, new);
	*which = new;
}

static __always_inline bool store_header(context *ctx, __u32 at, const struct iphdr *ip)
{
	return !bpf_skb_store_bytes(ctx, at, ip, sizeof(*ip), 0);
}

static __always_inline bool tunnel(context *ctx, const struct iphdr *ip, __u8 ttl, __be32 real_address)
{
	struct packet p = {
		.tos = ip->tos,
		.ttl = ttl,
		.fragment = ip->frag_off,
		.length = bpf_ntohs(ip->tot_len),
	};
	struct real real = {
		.address = mapped(real_address),
		.tunnel_source = mapped(ip->saddr),
	};
	struct iphdr outer = outer_header(&p, &real);

	if (bpf_skb_adjust_room(ctx, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return false;
	return store_header(ctx, ETH_LEN, &outer);
}

/*
 * Questions, on their way out. The kernel has found the way to the real server, and its MAC; only
 * the packet changes. What cannot go along the data path goes nowhere: an answer to it would say
 * something of another way.
 */
SEC("tc")
int onevip_check_out(context *ctx)
{
	const struct check_path *path;
	__u32 mark = ctx->mark;
	struct probe probe = {};
	struct head h = {};
	__be32 vip, real;
	__u8 ttl;

	if (!mark)
		return TC_ACT_UNSPEC;
	path = bpf_map_lookup_elem(&check_paths, &mark);
	if (!path || ctx->protocol != bpf_htons(ETH_P_IP))
		return TC_ACT_UNSPEC;
	vip = path->vip.word[3];
	real = path->real.word[3];
	if (!load_head(ctx, ETH_LEN, &h) || (h.ip.frag_off & bpf_htons(MORE_FRAGMENTS)))
		return TC_ACT_SHOT;
	if (h.ip.daddr != real) /* somebody else uses this mark, for something else */
		return TC_ACT_UNSPEC;
	if (!follow_address(ctx, &h, real, vip))
		return TC_ACT_SHOT;
	put_address(&h.ip, &h.ip.daddr, vip);
	ttl = h.ip.ttl;
	h.ip.check = replaced(h.ip.check, bpf_htons((__u16)ttl << 8), bpf_htons(HOPS << 8));
	h.ip.ttl = HOPS;
	if (!is_question(&h, &probe) || bpf_map_update_elem(&probes, &probe, &real, BPF_ANY))
		return TC_ACT_SHOT;
	if (!store_header(ctx, ETH_LEN, &h.ip))
		return TC_ACT_SHOT;
	if (path->method == METHOD_IPIP && !tunnel(ctx, &h.ip, ttl, real))
		return TC_ACT_SHOT;
	ctx->mark = 0; /* a VLAN's packet leaves by two interfaces */
	return TC_ACT_UNSPEC;
}

/* An ICMP error about a question: the stack looks for the socket by what is quoted. */
static __always_inline int pass_error(context *ctx, struct head *h)
{
	__u32 at = ETH_LEN + sizeof(h->ip) + sizeof(h->icmp), outer = 0;
	struct probe probe = {};
	struct head quoted = {};
	__be32 *real;

	if (h->ip.ihl != 5 || !load_head(ctx, at, &quoted))
		return TC_ACT_UNSPEC;
	if (quoted.ip.protocol == IPPROTO_IPIP) { /* about the tunnel: so about what was in it */
		outer = quoted.ip.ihl == 5 ? sizeof(quoted.ip) : 0;
		if (!outer || !load_head(ctx, at + outer, &quoted))
			return TC_ACT_UNSPEC;
	}
	if (!is_question(&quoted, &probe))
		return TC_ACT_UNSPEC;
	real = bpf_map_lookup_elem(&probes, &probe);
	if (!real)
		return TC_ACT_UNSPEC;
	put_address(&quoted.ip, &quoted.ip.daddr, *real);
	if (!store_header(ctx, at + outer, &quoted.ip))
		return TC_ACT_SHOT;
	if (h->ip.saddr == probe.vip) /* it has the VIP, but nobody listens there */
		put_address(&h->ip, &h->ip.saddr, *real);
	if (outer) {
		/*
		 * Take the outer header out of the quote. Its sum is 0, so ICMP's checksum stays. What
		 * the helper takes out begins behind the IP header: put ICMP's there again.
		 */
		__be16 length = bpf_htons(bpf_ntohs(h->ip.tot_len) - outer);

		if (bpf_skb_adjust_room(ctx, -(int)sizeof(quoted.ip), BPF_ADJ_ROOM_NET, 0) ||
		    bpf_skb_store_bytes(ctx, ETH_LEN + sizeof(h->ip), &h->icmp, sizeof(h->icmp),
					BPF_F_RECOMPUTE_CSUM))
			return TC_ACT_SHOT;
		h->ip.check = replaced(h->ip.check, h->ip.tot_len, length);
		h->ip.tot_len = length;
	}
	return store_header(ctx, ETH_LEN, &h->ip) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}

/* Answers, on their way in. */
SEC("tc")
int onevip_check_in(context *ctx)
{
	struct probe probe = {};
	struct head h = {};
	__be32 *real;

	if (ctx->pkt_type != PACKET_HOST || ctx->protocol != bpf_htons(ETH_P_IP) ||
	    !load_head(ctx, ETH_LEN, &h))
		return TC_ACT_UNSPEC;
	if (h.ip.protocol == IPPROTO_ICMP &&
	    (h.icmp.type == ICMP_DEST_UNREACH || h.icmp.type == ICMP_TIME_EXCEEDED))
		return pass_error(ctx, &h);
	if (!is_answer(&h, &probe))
		return TC_ACT_UNSPEC;
	real = bpf_map_lookup_elem(&probes, &probe);
	if (!real)
		return TC_ACT_UNSPEC;
	if (!follow_address(ctx, &h, h.ip.saddr, *real))
		return TC_ACT_SHOT;
	put_address(&h.ip, &h.ip.saddr, *real);
	return store_header(ctx, ETH_LEN, &h.ip) ? TC_ACT_UNSPEC : TC_ACT_SHOT;
}
