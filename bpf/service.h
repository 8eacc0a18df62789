/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * service.h - which virtual service a packet is for (spec ipvs 1.3): that of its mark, of its
 * address and port, FTP's, or that of every port.
 *
 * A hash of the kernel's knows; where an address and port were found last time is looked at first,
 * which costs a third.
 */
#pragma once

#include "filter.h"
#include "packet.h"

#define HINTS 4096
#define FTP 21
#define FIRST_UNPRIVILEGED 1024 /* net.ipv4.ip_unprivileged_port_start, as it is everywhere */
#define NO_SERVICE (-1)

/* By a hash of VIP and port: an index into services that may be right. Anybody may write it. */
struct service_hints {
	__u32 of[HINTS];
};

MAP_ARRAY(service_hints, struct service_hints, 1, 0);

static __always_inline bool is_of(const struct service *service, const struct service_key *key)
{
	const eight_bytes *ours = (const eight_bytes *)&service->key, *asked = (void *)key;

	return !((ours[0] ^ asked[0]) | (ours[1] ^ asked[1]) | (ours[2] ^ asked[2]));
}

static __always_inline struct service *service_at(__u32 index)
{
	return bpf_map_lookup_elem(&services, &index);
}

/* One that is being added or was deleted is none. */
static __always_inline struct service *service_in_use(__u32 index)
{
	struct service *service = service_at(index);

	return service && service->state == SLOT_USED ? service : 0;
}

static __always_inline long service_of(const struct service_key *key)
{
	const __u32 *index = bpf_map_lookup_elem(&service_ids, key);

	return index && service_in_use(*index) ? (long)*index : NO_SERVICE;
}

/* By address and port. */
static __always_inline long exact_service(const struct settings *s, const struct service_key *key)
{
	__u32 place = (filter_bit(s, &key->vip) ^ bpf_ntohs(key->port)) & (HINTS - 1);
	__u32 zero = 0, hint;
	struct service_hints *hints = bpf_map_lookup_elem(&service_hints, &zero);
	struct service *service;
	long found;

	if (!hints)
		return NO_SERVICE;
	hint = READ_ONCE(hints->of[place]);
	service = service_in_use(hint);
	if (service && is_of(service, key))
		return hint;
	found = service_of(key);
	if (found >= 0)
		WRITE_ONCE(hints->of[place], found);
	return found;
}

/* Where an FTP server, or its client, may open what it agreed on with the other. */
static __always_inline bool is_for_ftp_data(const struct packet *p)
{
	__u16 port = bpf_ntohs(p->flow.destination_port);

	return p->flow.protocol == IPPROTO_TCP && (port == FTP_DATA || port >= FIRST_UNPRIVILEGED);
}

/* The index of the service in `services`, or NO_SERVICE. */
static __always_inline long find_service(const struct settings *s, const struct packet *p)
{
	struct service_key key = {};
	long found = NO_SERVICE;

	if (p->mark && (s->kinds & HAS_MARKS)) {
		if (!p->is_ipv6)
			key.vip = mapped(0);
		key.mark = p->mark;
		found = service_of(&key);
		if (found >= 0)
			return found;
		key.mark = 0;
	}
	key.vip = p->flow.destination;
	key.port = p->flow.destination_port;
	key.protocol = p->flow.protocol;
	found = exact_service(s, &key);
	if (found < 0 && (s->kinds & HAS_FTP) && is_for_ftp_data(p)) {
		key.port = bpf_htons(FTP);
		found = service_of(&key);
	}
	if (found < 0 && (s->kinds & HAS_EVERY_PORT)) {
		key.port = 0;
		found = service_of(&key);
	}
	return found;
}
