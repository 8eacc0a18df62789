/* SPDX-License-Identifier: GPL-2.0-only */
/* forward.h - what both doors need to change a packet: its TTL, masq's far end, ipip's header. */
#pragma once

#include "checksum.h"
#include "packet.h"

static __always_inline struct iphdr *ip_header(context *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct iphdr *ip = data + ETH_LEN;

	return (void *)(ip + 1) > end ? 0 : ip;
}

static __always_inline bool age(context *ctx)
{
	struct iphdr *ip = ip_header(ctx);

	if (!ip)
		return false;
	decrement_ttl(ip);
	return true;
}

/* masq: the new destination of a request, or the new source of a reply. */
struct rewriting {
	__be32 address;
	__be16 port;
	bool is_reply;
};

/* ipip's outer header as IPVS makes it (spec ipvs 6): TOS, DF and lowered TTL of the inner one. */
static __always_inline struct iphdr outer_header(const struct packet *p, const struct real *real)
{
	struct iphdr outer = {
		.version = 4,
		.ihl = 5,
		/* congestion is marked once: an inner CE is an outer ECT(0) */
		.tos = (p->tos & 3) == 3 ? p->tos & ~1 : p->tos,
		.tot_len = bpf_htons(p->length + sizeof(struct iphdr)),
		.frag_off = p->fragment & bpf_htons(DONT_FRAGMENT),
		.ttl = p->ttl - 1,
		.protocol = IPPROTO_IPIP,
		.saddr = real->tunnel_source.word[3],
		.daddr = real->address.word[3],
	};

	if (!outer.frag_off)
		outer.id = bpf_get_prandom_u32();
	outer.check = ip_checksum(&outer);
	return outer;
}
