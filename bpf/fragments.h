/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * fragments.h - later fragments of a datagram follow the first one, which alone has ports.
 *
 * At the tc door: xdp leaves fragments to it. For fragments that arrive in order. One that overtakes its first is none of ours: the IP stack
 * keeps it until it forgets it, and the datagram is lost.
 */
#pragma once

#include "connections.h"
#include "packet.h"

#define FRAGMENT_LIFETIME_S 30 /* the kernel's net.ipv4.ipfrag_time */

/* What a packet is to a connection. */
enum kind { UNKNOWN, REQUEST, REPLY, DEAD };

/* Where a packet goes once its connection has been found or made. */
struct way {
	__u32 index; /* of the real server */
	__be32 vip;  /* of a reply: where it is to come from */
	__be16 vip_port;
	__u8 method; /* of a request */
	__u8 kind;
	__be16 port; /* of the real server, for a request */
	__u8 reserved[2];
	__u32 since; /* clock: of a datagram's first fragment */
};

struct fragment_key {
	__be32 source;
	__be32 destination;
	__be16 id;
	__u8 protocol;
	__u8 reserved;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct fragment_key);
	__type(value, struct way);
} fragments SEC(".maps");

static __always_inline bool is_later_fragment(const struct packet *p)
{
	return DOOR == DOOR_TC && (p->fragment & bpf_htons(FRAGMENT_OFFSET));
}

static __always_inline bool is_first_fragment(const struct packet *p)
{
	return DOOR == DOOR_TC && (p->fragment & bpf_htons(MORE_FRAGMENTS)) &&
	       !is_later_fragment(p);
}

static __always_inline struct fragment_key fragment_key_of(const struct packet *p)
{
	return (struct fragment_key){
		.source = p->flow.source.word[3],
		.destination = p->flow.destination.word[3],
		.id = p->id,
		.protocol = p->flow.protocol,
	};
}

/* These three are global for the sake of the stack of who calls them: fragments are rare. */
__attribute__((noinline)) int remember_fragments(const struct packet *p, const struct way *way,
						 enum kind kind)
{
	struct fragment_key key;
	struct way first;

	if (!p || !way)
		return 0;
	key = fragment_key_of(p);
	first = *way;
	first.kind = kind;
	first.since = p->now;
	bpf_map_update_elem(&fragments, &key, &first, BPF_ANY);
	return 0;
}

/* Before a first fragment is looked at: an earlier datagram may have had its id. */
__attribute__((noinline)) int forget_fragments(const struct packet *p)
{
	struct fragment_key key;

	if (!p)
		return 0;
	key = fragment_key_of(p);
	bpf_map_delete_elem(&fragments, &key);
	return 0;
}

__attribute__((noinline)) int find_fragment(const struct packet *p, struct way *way)
{
	struct settings *s = the_settings();
	const struct way *first;
	struct fragment_key key;

	if (!p || !way || !s)
		return UNKNOWN;
	key = fragment_key_of(p);
	first = bpf_map_lookup_elem(&fragments, &key);
	if (!first ||
	    ((p->now - first->since) & CLOCK_MASK) > clock_units(s, FRAGMENT_LIFETIME_S))
		return UNKNOWN;
	*way = *first;
	return way->kind;
}
