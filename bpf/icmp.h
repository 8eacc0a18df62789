/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * icmp.h - an ICMP error about a packet (RFC 792, RFC 1191). It comes from the packet's far end: the
 * VIP answers its client, and about a reply of masq the client its real server.
 *
 * The quote is the IP header and the first bytes of what follows: 40 bytes of TCP, 28 of UDP,
 * as much as every such packet has. Packets with IP options are not answered.
 */
#pragma once

#include "checksum.h"
#include "packet.h"

/* linux/icmp.h draws in the C library's headers, which a BPF target does not have */
#define ICMP_DEST_UNREACH 3
#define ICMP_PORT_UNREACH 3
#define ICMP_FRAG_NEEDED 4
#define ICMP_TIME_EXCEEDED 11
#define ICMP_EXC_TTL 0

struct icmphdr {
	__u8 type;
	__u8 code;
	__sum16 checksum;
	__be16 unused;
	__be16 mtu;
};

#define QUOTED_TCP 40
#define QUOTED_UDP 28

struct icmp_error {
	struct ethhdr eth;
	struct iphdr ip;
	struct icmphdr icmp;
} __attribute__((packed));

#define ICMP_ROOM (sizeof(struct iphdr) + sizeof(struct icmphdr))

static __always_inline struct icmp_error icmp_error_about(const struct packet *p,
							  const struct ethhdr *eth, __u8 type,
							  __u8 code, __u32 mtu, __u32 quoted)
{
	struct iphdr ip = {
		.version = 4,
		.ihl = 5,
		.tos = 0xc0, /* internetwork control, as the kernel's own errors */
		.ttl = 64,
		.protocol = IPPROTO_ICMP,
		.tot_len = bpf_htons(ICMP_ROOM + quoted),
		.saddr = p->flow.destination.word[3],
		.daddr = p->flow.source.word[3],
	};
	struct icmp_error e = {
		.eth.h_proto = eth->h_proto,
		.icmp = { .type = type, .code = code, .mtu = bpf_htons(mtu) },
	};

	ip.check = ip_checksum(&ip);
	e.ip = ip;
	__builtin_memcpy(e.eth.h_dest, eth->h_source, ETH_ALEN);
	__builtin_memcpy(e.eth.h_source, eth->h_dest, ETH_ALEN);
	return e;
}
