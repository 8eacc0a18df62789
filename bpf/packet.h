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

/* A TCP packet's event, in the order in which the kernel tests the flags (spec ipvs 3.2). */
enum event { EVENT_SYN, EVENT_FIN, EVENT_ACK, EVENT_RST, EVENT_NONE };

struct packet {
	struct address source;
	struct address destination;
	__be16 source_port;
	__be16 destination_port;
	__u8 protocol;
	__u8 event; /* enum event; of UDP always EVENT_NONE */
	__u8 syn;
	__u8 opens;    /* may make a connection: SYN without RST, any datagram */
	__u16 l4;      /* offset of the TCP or UDP header in the frame */
	__u16 headers; /* bytes of IP and L4 header: what every segment carries */
	__u32 length;  /* of the IP packet */
	__u8 tos;
	__u8 ttl;
	__be16 fragment; /* flags and offset as on the wire */
	__be16 id;
};

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

/*
 * Reads Ethernet, IPv4 and TCP or UDP from linear data. False: nothing that a service could
 * name (another protocol, a cut header), so it is none of ours. A later fragment has no ports.
 * That the frame holds the whole packet is the door's to see.
 */
static __always_inline bool parse(const void *data, const void *end, struct packet *p)
{
	const struct ethhdr *eth = data;
	const struct iphdr *ip = data + ETH_LEN;
	const struct udphdr *udp;
	const struct tcphdr *tcp;
	__u32 ip_len, needed;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return false;
	if (ip->version != 4 || ip->ihl < 5)
		return false;
	ip_len = ip->ihl * 4;
	p->protocol = ip->protocol;
	p->l4 = ETH_LEN + ip_len;
	p->source = mapped(ip->saddr);
	p->destination = mapped(ip->daddr);
	p->length = bpf_ntohs(ip->tot_len);
	p->tos = ip->tos;
	p->ttl = ip->ttl;
	p->fragment = ip->frag_off;
	p->id = ip->id;
	if (ip->frag_off & bpf_htons(FRAGMENT_OFFSET))
		return p->protocol == IPPROTO_TCP || p->protocol == IPPROTO_UDP;
	udp = data + ETH_LEN + ip_len;
	if (p->protocol == IPPROTO_TCP) {
		tcp = (void *)udp;
		if ((void *)(tcp + 1) > end)
			return false;
		p->event = tcp_event(tcp);
		p->syn = tcp->syn;
		p->opens = tcp->syn && !tcp->rst;
		p->headers = ip_len + tcp->doff * 4;
		needed = ip_len + sizeof(*tcp);
	} else if (p->protocol == IPPROTO_UDP) {
		if ((void *)(udp + 1) > end)
			return false;
		p->event = EVENT_NONE;
		p->syn = 0;
		p->opens = 1;
		p->headers = ip_len + sizeof(*udp);
		needed = p->headers;
	} else {
		return false;
	}
	p->source_port = udp->source;
	p->destination_port = udp->dest;
	/* IPVS never schedules what comes from FTP's data port */
	if (p->source_port == bpf_htons(FTP_DATA))
		p->opens = 0;
	/* what follows a shorter IP packet is padding; GSO packets over 64 KiB say 0 */
	return !p->length || p->length >= needed;
}
