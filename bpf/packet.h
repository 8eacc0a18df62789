/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * packet.h - what the road needs to know of a packet, read once.
 *
 * struct packet holds numbers only, never pointers into the packet: it may be handed to
 * global functions and outlives every change of the packet's head.
 */
#pragma once

#include "shapes.h"

#define ETH_LEN 14
#define FRAGMENT_OFFSET 0x1fff
#define MORE_FRAGMENTS 0x2000
#define DONT_FRAGMENT 0x4000
#define FTP_DATA 20
#define CLOCK_MASK 0xffffff

/* A TCP packet's event, in the order in which the kernel tests the flags (spec ipvs 3.2). */
enum event { EVENT_SYN, EVENT_FIN, EVENT_ACK, EVENT_RST, EVENT_NONE };

#include "state_tables.h" /* speaks of these */

/* Who talks to whom. The last eight bytes lie as those of a connection: compared in one go. */
struct flow {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 is_template; /* a persistence template: its client has no port */
	__u8 reserved[2];
};

struct packet {
	struct flow flow;
	__u8 is_ipv6;
	__u8 event; /* of TCP enum event, of SCTP that of sctp_event; of UDP always EVENT_NONE */
	__u8 begins; /* SYN or INIT: perhaps of a new connection with the ports of an old one */
	__u8 opens;  /* may make a connection: SYN without RST, INIT, any datagram */
	__u8 may_open; /* if the sloppy sysctl of its protocol is set */
	__u16 l4;      /* offset of the TCP or UDP header in the frame */
	__u16 headers; /* bytes of IP and L4 header: what every segment carries */
	__u32 length;  /* of the IP packet */
	__u32 now;     /* clock units; the road sets it */
	__u8 tos;
	__u8 ttl;
	__u8 secure; /* 1: by secure_tcp's table; the road sets it */
	__u32 mark;  /* the firewall's */
	__be16 fragment; /* flags and offset as on the wire */
	__be16 id;
};

static __always_inline __u32 clock_now(const struct settings *s)
{
	return bpf_jiffies64() >> (s->clock_shift & 15) & CLOCK_MASK;
}

/* Seconds in clock units. */
static __always_inline __u32 clock_units(const struct settings *s, __u32 seconds)
{
	return (__u64)seconds * s->hz >> (s->clock_shift & 15);
}

static __always_inline struct address mapped(__be32 ip4)
{
	return (struct address){ .word = { 0, 0, bpf_htonl(0xffff), ip4 } };
}

static __always_inline __u8 tcp_event(const struct tcphdr *tcp)
{
	if (tcp->rst)
		return EVENT_RST;
	if (tcp->syn)
		return EVENT_SYN;
	if (tcp->fin)
		return EVENT_FIN;
	return tcp->ack ? EVENT_ACK : EVENT_NONE;
}

/* The common header and the first chunk's, RFC 9260 3.1 and 3.2. */
struct sctp_head {
	__be16 source;
	__be16 destination;
	__be32 tag;
	__be32 checksum;
	__u8 type;
	__u8 flags;
	__be16 length; /* of the chunk, without what fills it up to a multiple of four */
};

#define SCTP_CHUNK 12 /* where the first one begins */
#define CHUNK_ABORT 6
#define CHUNK_COOKIE_ECHO 10
#define CHUNK_COOKIE_ACK 11

/* By the first chunk; but a cookie may be followed by its refusal (spec ipvs 3.4). */
static __always_inline __u8 sctp_event_of(const struct sctp_head *sctp, const void *end)
{
	__u32 next = SCTP_CHUNK + ((bpf_ntohs(sctp->length) + 3) & 0xffc);
	const __u8 *second = (const __u8 *)sctp + next;

	if (sctp->type == CHUNK_COOKIE_ECHO || sctp->type == CHUNK_COOKIE_ACK) {
		if ((const void *)(second + 1) <= end && *second == CHUNK_ABORT)
			return SCTP_EVENT_ABORT;
	}
	return sctp->type < 16 ? SCTP_EVENTS >> 4 * sctp->type & 15 : SCTP_EVENT_DATA;
}

/* Ports and what TCP or SCTP say, from its first byte on. False: cut off, or another protocol. */
static __always_inline bool parse_l4(const void *l4, const void *end, struct packet *p,
				     __u32 ip_len)
{
	const struct sctp_head *sctp = l4;
	const struct udphdr *udp = l4;
	const struct tcphdr *tcp = l4;
	__u32 needed = ip_len + sizeof(*udp);

	if (p->flow.protocol == IPPROTO_TCP) {
		if ((void *)(tcp + 1) > end)
			return false;
		p->event = tcp_event(tcp);
		p->begins = tcp->syn;
		p->opens = tcp->syn && !tcp->rst;
		p->may_open = !tcp->rst;
		p->headers = ip_len + tcp->doff * 4;
		needed = ip_len + sizeof(*tcp);
	} else if (p->flow.protocol == IPPROTO_UDP) {
		if ((void *)(udp + 1) > end)
			return false;
		p->event = EVENT_NONE;
		p->opens = 1;
		p->headers = needed;
	} else if (p->flow.protocol == IPPROTO_SCTP) {
		if ((void *)(sctp + 1) > end)
			return false;
		p->event = sctp_event_of(sctp, end);
		p->begins = p->event == SCTP_EVENT_INIT;
		p->opens = p->begins;
		p->may_open = sctp->type != CHUNK_ABORT; /* by the first chunk alone */
		needed = ip_len + sizeof(*sctp);
		p->headers = needed;
	} else {
		return false;
	}
	p->flow.source_port = udp->source;
	p->flow.destination_port = udp->dest;
	/* IPVS never schedules what comes from FTP's data port */
	if (p->flow.source_port == bpf_htons(FTP_DATA))
		p->opens = p->may_open = 0;
	/* what follows a shorter IP packet is padding; GSO packets over 64 KiB say 0 */
	return !p->length || p->length >= needed;
}

/* An IPv4 address as it lies in the table; no IPv6 packet may come from or go to one. */
static __always_inline bool is_mapped(const struct address *a)
{
	return !(a->half[0] | (a->word[2] ^ bpf_htonl(0xffff)));
}

/*
 * Extension headers are not looked behind. Such a packet finds its connection and goes no
 * further yet.
 */
static __always_inline bool parse_ipv6(const struct ipv6hdr *ip, const void *end, struct packet *p)
{
	__u16 payload;

	if ((void *)(ip + 1) > end || ip->version != 6)
		return false;
	payload = bpf_ntohs(ip->payload_len);
	p->is_ipv6 = 1;
	p->flow.protocol = ip->nexthdr;
	p->flow.source = *(const struct address *)&ip->saddr;
	p->flow.destination = *(const struct address *)&ip->daddr;
	/* on the wire nobody is ::ffff:a.b.c.d (RFC 4942 2.2): here that is an IPv4 address */
	if (is_mapped(&p->flow.source) || is_mapped(&p->flow.destination))
		return false;
	p->l4 = ETH_LEN + sizeof(*ip);
	p->length = payload ? payload + sizeof(*ip) : 0;
	p->ttl = ip->hop_limit;
	return parse_l4(ip + 1, end, p, sizeof(*ip));
}

/*
 * Reads Ethernet, IPv4 or IPv6 and TCP, UDP or SCTP from linear data into a packet that is all zeros.
 * False: nothing that a service could name (another protocol, a cut header), so it is none of
 * ours. A later fragment has no ports. That the frame holds the whole packet is the door's to see.
 */
static __always_inline bool parse(const void *data, const void *end, struct packet *p)
{
	const struct ethhdr *eth = data;
	const struct iphdr *ip = data + ETH_LEN;
	__u32 ip_len;

	if ((void *)(ip + 1) > end)
		return false;
	if (eth->h_proto == bpf_htons(ETH_P_IPV6))
		return parse_ipv6(data + ETH_LEN, end, p);
	if (eth->h_proto != bpf_htons(ETH_P_IP) || ip->version != 4 || ip->ihl < 5)
		return false;
	ip_len = ip->ihl * 4;
	p->flow.protocol = ip->protocol;
	p->flow.source = mapped(ip->saddr);
	p->flow.destination = mapped(ip->daddr);
	p->l4 = ETH_LEN + ip_len;
	p->length = bpf_ntohs(ip->tot_len);
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->fragment = ip->frag_off;
	p->id = ip->id;
	if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return p->flow.protocol == IPPROTO_TCP || p->flow.protocol == IPPROTO_UDP ||
		       p->flow.protocol == IPPROTO_SCTP;
	return parse_l4(data + ETH_LEN + ip_len, end, p, ip_len);
}
