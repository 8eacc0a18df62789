// SPDX-License-Identifier: GPL-2.0-only
/*
 * tc.bpf.c - the tc door: every packet that an interface receives, before the IP stack.
 *
 * Complete by itself: resolves neighbours, keeps GSO packets whole, answers with ICMP.
 */
#include "common.h"

#define DOOR DOOR_TC
typedef struct __sk_buff context;

#include "forward.h"
#include "fragments.h"
#include "hop.h"
#include "icmp.h"

char _license[] SEC("license") = "GPL";

static __always_inline bool is_for_us(context *ctx)
{
	return true; /* onevip_tc looked before all else */
}

static __always_inline int not_ours(void)
{
	return TC_ACT_UNSPEC; /* the next program on this hook goes on: TC_ACT_OK would hide it */
}

static __always_inline int drop(void)
{
	return TC_ACT_SHOT;
}

/* What one packet on the wire is long: GSO packets are cut later. */
static __always_inline __u32 segment_length(context *ctx, const struct packet *p)
{
	return ctx->gso_size ? ctx->gso_size + p->headers : p->length;
}

static __always_inline bool rewrite(context *ctx, const struct packet *p,
				    const struct rewriting *r, bool forwarded)
{
	bool udp = p->flow.protocol == IPPROTO_UDP, sctp = p->flow.protocol == IPPROTO_SCTP;
	__u32 check = p->l4 + (udp ? offsetof(struct udphdr, check) :
				     offsetof(struct tcphdr, check));
	__be32 old_address = (r->is_reply ? p->flow.source : p->flow.destination).word[3];
	__be16 old_port = r->is_reply ? p->flow.source_port : p->flow.destination_port;
	__u64 flags = udp ? BPF_F_MARK_MANGLED_0 : 0; /* no checksum stays no checksum */
	struct iphdr *ip = ip_header(ctx);

	if (!ip)
		return false;
	if (forwarded)
		decrement_ttl(ip);
	ip->check = replaced(ip->check, old_address, r->address);
	if (r->is_reply)
		ip->saddr = r->address;
	else
		ip->daddr = r->address;
	if (is_later_fragment(p)) /* the checksum is in the first one, and covers them all */
		return true;
	if (sctp) /* its checksum covers no address, and its port must stay: writer.py sees to it */
		return old_port == r->port;
	if (bpf_l4_csum_replace(ctx, check, old_address, r->address,
				flags | BPF_F_PSEUDO_HDR | sizeof(r->address)))
		return false;
	if (old_port == r->port)
		return true;
	if (bpf_l4_csum_replace(ctx, check, old_port, r->port, flags | sizeof(r->port)))
		return false;
	return !bpf_skb_store_bytes(ctx, p->l4 + (r->is_reply ? 0 : sizeof(r->port)), &r->port,
				    sizeof(r->port), 0);
}

static __always_inline bool encapsulate(context *ctx, const struct packet *p,
					const struct real *real)
{
	struct iphdr outer = outer_header(p, real);

	if (!age(ctx))
		return false;
	if (bpf_skb_adjust_room(ctx, sizeof(outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO | BPF_F_ADJ_ROOM_ENCAP_L3_IPV4))
		return false;
	return !bpf_skb_store_bytes(ctx, ETH_LEN, &outer, sizeof(outer), 0);
}

/* Sum of the pseudo header as an offloaded packet carries it in its checksum field. */
static __always_inline __u16 pseudo_sum(const struct packet *p)
{
	__u32 s = p->flow.source.word[3], d = p->flow.destination.word[3];

	return fold((__u64)s + d + bpf_htons(p->flow.protocol) +
		    bpf_htons(p->length - (p->l4 - ETH_LEN)));
}

static __always_inline int refuse_quoting(context *ctx, const struct packet *p, __u8 type,
					  __u8 code, __u32 mtu, const __u32 quoted)
{
	const __u32 check_at = quoted == QUOTED_TCP ? 36 : 26;
	__u8 quote[QUOTED_TCP] = {};
	struct icmp_error e;
	struct ethhdr eth;
	__u16 check;
	__s64 sum;

	if (bpf_skb_load_bytes(ctx, 0, &eth, sizeof(eth)) ||
	    bpf_skb_load_bytes(ctx, ETH_LEN, quote, quoted))
		return TC_ACT_SHOT;
	if (bpf_skb_change_tail(ctx, ETH_LEN + quoted, 0) ||
	    bpf_skb_adjust_room(ctx, ICMP_ROOM, BPF_ADJ_ROOM_MAC, 0))
		return TC_ACT_SHOT;
	e = icmp_error_about(p, &eth, type, code, mtu, quoted);
	sum = bpf_csum_diff(0, 0, (void *)&e.icmp, sizeof(e.icmp), 0);
	check = *(__u16 *)(quote + check_at);
	if (check && check == pseudo_sum(p) && p->flow.protocol != IPPROTO_SCTP) {
		/*
		 * The sender left the checksum to its network card: the kernel will fill it in,
		 * inside our quote, after we summed. The quoted L4 part then sums to ~pseudo.
		 */
		sum = bpf_csum_diff(0, 0, (void *)quote, sizeof(struct iphdr), sum);
		sum = (__u64)(__u32)sum + (__u16)~check;
	} else {
		sum = bpf_csum_diff(0, 0, (void *)quote, quoted, sum);
	}
	e.icmp.checksum = ~fold(sum);
	if (bpf_skb_store_bytes(ctx, 0, &e, sizeof(e), BPF_F_INVALIDATE_HASH))
		return TC_ACT_SHOT;
	return bpf_redirect(ctx->ifindex, 0);
}

/* Global: verified once, and no established packet comes here. */
__attribute__((noinline)) int refuse(context *ctx, const struct packet *p, __u8 type, __u8 code,
				     __u32 mtu)
{
	/* options: not quoted (icmp.h); a later fragment: RFC 1122 3.2.2 */
	if (!p || p->l4 != ETH_LEN + sizeof(struct iphdr) || is_later_fragment(p))
		return TC_ACT_SHOT;
	if (p->flow.protocol == IPPROTO_TCP)
		return refuse_quoting(ctx, p, type, code, mtu, QUOTED_TCP);
	return refuse_quoting(ctx, p, type, code, mtu, QUOTED_UDP);
}

static __always_inline bool cannot_send(const struct hop *hop, bool fresh, __u32 now)
{
	return false;
}

static __always_inline int hand_over(context *ctx)
{
	return TC_ACT_UNSPEC;
}

static __always_inline int send(context *ctx, const struct hop *hop)
{
	struct bpf_redir_neigh to = { .nh_family = AF_INET, .ipv4_nh = hop->neighbour };

	return bpf_redirect_neigh(hop->interface, &to, sizeof(to), 0);
}

#include "director.h"

/* As the other side sees it. */
static __always_inline struct flow reversed(const struct flow *f)
{
	return (struct flow){
		.source = f->destination,
		.destination = f->source,
		.source_port = f->destination_port,
		.destination_port = f->source_port,
		.protocol = f->protocol,
	};
}

/* Reads the packet's headers, pulling them into the linear part if need be. */
static __always_inline bool read_packet(context *ctx, struct packet *p)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;

	if (data + ETH_LEN + sizeof(struct ipv6hdr) + sizeof(struct tcphdr) > end &&
	    end - data < (long)ctx->len) {
		bpf_skb_pull_data(ctx, ctx->len < 128 ? ctx->len : 128);
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
	}
	if (!parse(data, end, p))
		return false;
	/* GSO packets over 64 KiB say 0; short frames are padded, so the header counts else */
	if (!p->length && ctx->gso_size)
		p->length = ctx->len - ETH_LEN;
	/* the IP stack throws away what was cut: it shall see it */
	return p->length && p->length <= ctx->len - ETH_LEN;
}

SEC("tc")
int onevip_tc(context *ctx)
{
	struct packet p = {};

	/* a tagged packet belongs to its VLAN's interface, which has a door of its own */
	if (ctx->pkt_type != PACKET_HOST || ctx->vlan_present || !read_packet(ctx, &p))
		return not_ours();
	p.mark = ctx->mark;
	return direct(ctx, &p);
}

/*
 * What this machine sends: the replies of a real server that is the director itself. They are
 * counted, move the connection's state, and of masq come from the VIP. Attached only while
 * there is such a server, for it sees every packet that leaves.
 */
SEC("tc")
int onevip_tc_egress(context *ctx)
{
	struct settings *s = the_settings();
	const struct address_filter *filter = the_filter();
	struct found connection = {};
	struct packet p = {};
	struct flow back;
	__u32 index;

	if (!s || !filter || ctx->vlan_present || !read_packet(ctx, &p) || p.is_ipv6)
		return not_ours();
	if (!may_be_ours(s, filter, &p.flow.source))
		return not_ours();
	p.now = clock_now(s);
	p.secure = s->secure_tcp >= 2;
	back = reversed(&p.flow);
	if (find(s, &back, SIDE_VIP, &connection)) {
		if (method_of(connection.control) == METHOD_MASQ ||
		    !touch(&connection, &p, true, &index))
			return not_ours();
	} else {
		struct rewriting to_vip = { .is_reply = true };

		if (!find(s, &p.flow, SIDE_REAL, &connection))
			return not_ours();
		to_vip.address = connection.slot->vip.word[3];
		to_vip.port = connection.slot->vip_port;
		if (!touch(&connection, &p, true, &index))
			return not_ours();
		if (!rewrite(ctx, &p, &to_vip, false)) {
			COUNT(errors);
			return drop();
		}
	}
	COUNT(replies);
	count_out(index, p.length);
	return not_ours();
}
