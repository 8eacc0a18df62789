/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * service.h - which virtual service a packet is for. A hash of the kernel's knows; where it was
 * found last time is looked at first, which costs a third.
 */
#pragma once

#include "filter.h"
#include "packet.h"

#define HINTS 4096

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

/* One that is being added or was deleted is none. */
static __always_inline struct service *service_in_use(__u32 index)
{
	struct service *service = bpf_map_lookup_elem(&services, &index);

	return service && service->state == SLOT_USED ? service : 0;
}

static __always_inline struct service *find_service(const struct settings *s,
						    const struct packet *p, __u32 *index)
{
	struct service_key key = { .vip = p->flow.destination,
				   .port = p->flow.destination_port,
				   .protocol = p->flow.protocol };
	__u32 place = (filter_bit(s, &key.vip) ^ bpf_ntohs(key.port)) & (HINTS - 1);
	__u32 zero = 0, *id;
	struct service_hints *hints = bpf_map_lookup_elem(&service_hints, &zero);
	struct service *service;

	if (!hints)
		return 0;
	*index = READ_ONCE(hints->of[place]);
	service = service_in_use(*index);
	if (service && is_of(service, &key))
		return service;
	id = bpf_map_lookup_elem(&service_ids, &key);
	if (!id)
		return 0;
	*index = *id;
	WRITE_ONCE(hints->of[place], *index);
	return service_in_use(*index);
}
