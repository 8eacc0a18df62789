/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * opening.h - a packet that finds no connection opens one:
 *
 *   called    which service is it for
 *   choose    by persistence's template, which is made if need be, or by the scheduler
 *   prepare   its first state, how it is forwarded, and to which port
 *   insert    into the table, where another CPU may have been first
 *   settled   what came of it
 *
 * opened() is the whole of it. Only new connections come here, so what is long is a global function:
 * verified once, and the road of established ones stays short. None of these calls another that is
 * large: their stacks would add up.
 */
#pragma once

#include "persistence.h"
#include "schedule.h"
#include "service.h"

#define NOT_A_SERVICE (-2)
#define TABLE_FULL (-3)
#define TABLE_BUSY (-4)
#define FOR_TC (-5)

/* A service in one number: its index and what is special about it. */
#define IS_PERSISTENT (1L << 16)
#define IS_ONE_PACKET (1L << 17)
#define GOES_IN_TURN (1L << 18) /* by rr or wrr */
/* With the real server of a connection that was made: it goes to the port that its client called. */
#define KEEPS_PORT (1L << 16)

/* The service of a packet without a connection, NOT_A_SERVICE or NO_REAL_SERVER. */
__attribute__((noinline)) long called(const struct packet *p)
{
	struct settings *s = the_settings();
	const struct service *service;
	long index, found;

	if (!p || !s)
		return NOT_A_SERVICE;
	index = find_service(s, p);
	service = index < 0 ? 0 : service_at(index);
	if (!service)
		return NOT_A_SERVICE;
	found = index & 0xffff;
	if (service->flags & SERVICE_PERSISTENT)
		found |= IS_PERSISTENT;
	else if (!service->key.mark && service->key.port != p->flow.destination_port)
		/* only persistence makes sense of other ports than the service's own */
		return service->key.port == bpf_htons(FTP) ? NOT_A_SERVICE : NO_REAL_SERVER;
	if (service->flags & SERVICE_ONE_PACKET && p->flow.protocol == IPPROTO_UDP)
		found |= IS_ONE_PACKET;
	if (goes_in_turn(service))
		found |= GOES_IN_TURN;
	return found;
}

/* Nobody for FTP's data: perhaps it was not about FTP at all (spec ipvs 1.5). */
static __always_inline long unless_ftp_data(const struct service *service, const struct packet *p,
					    long real)
{
	if (real >= 0 || service->key.port != bpf_htons(FTP) ||
	    p->flow.destination_port == service->key.port)
		return real;
	return NOT_A_SERVICE;
}

__attribute__((noinline)) long choose_in_turn(const struct packet *p, __u32 index)
{
	struct service *service = service_at(index);

	if (!p || !service)
		return NOT_A_SERVICE;
	return unless_ftp_data(service, p, schedule_in_turn(service));
}

__attribute__((noinline)) long choose_else(const struct packet *p, __u32 index)
{
	struct service *service = service_at(index);

	if (!p || !service)
		return NOT_A_SERVICE;
	return unless_ftp_data(service, p, schedule(service, index, p));
}

/* By the service's scheduler: the index of a real server, NOT_A_SERVICE or NO_REAL_SERVER. */
static __always_inline long choose(const struct packet *p, long service)
{
	if (service & GOES_IN_TURN)
		return choose_in_turn(p, service & 0xffff);
	return choose_else(p, service & 0xffff);
}

/*
 * Whether it goes to the port that its client called: the kernel's rules (spec ipvs 5.1, 1.3), for
 * services of many ports.
 */
static __always_inline bool keeps_port(const struct service *service, const struct real *real,
				       const struct packet *p)
{
	if (service->flags & SERVICE_PERSISTENT)
		return !real->port || service->key.mark ||
		       p->flow.destination_port != service->key.port;
	return !real->port;
}

/* So that the packets of a connection by mark are known at once, though nobody named their VIP. */
__attribute__((noinline)) int let_in(const struct packet *p)
{
	struct settings *s = the_settings();
	__u32 zero = 0, bit;
	struct address_filter *f = bpf_map_lookup_elem(&filter, &zero);

	if (!p || !s || !f)
		return 0;
	bit = filter_bit(s, &p->flow.destination);
	__sync_fetch_and_or(&f->word[bit >> 6], 1ULL << (bit & 63));
	return 0;
}

/* A new connection as insert() wants it; what find() left of it, and the template, are set. */
static __always_inline int prepare(const struct packet *p, __u32 service_index,
				   struct newcomer *n)
{
	const struct service *service = service_at(service_index);
	const struct real *real;
	__u8 column, state;
	__u64 bits;

	if (!p || !n || !service)
		return 0;
	real = real_at(n->real);
	if (!real)
		return 0;
	column = real->method == METHOD_MASQ ? IN : IN_ONLY;
	state = next_state(p, column, TCP_NONE);
	bits = (__u64)state << STATE_SHIFT | (__u64)(real->method & 3) << METHOD_SHIFT;
	if (column == IN_ONLY)
		bits |= NO_OUTPUT;
	if (is_active(p, state))
		bits |= ACTIVE;
	if (keeps_port(service, real, p))
		bits |= OWN_PORT;
	if (n->own)
		bits |= CONTROLLED;
	n->bits = bits;
	n->flow = p->flow;
	return 1;
}

/* A connection more: its real server, and perhaps KEEPS_PORT. */
static __always_inline long made(const struct newcomer *n)
{
	count_connection(n->real);
	return (long)n->real | (n->bits & OWN_PORT ? KEEPS_PORT : 0);
}

/*
 * What came of it: its real server, the chosen one or another when a second CPU was first, and
 * perhaps KEEPS_PORT; or TABLE_FULL or TABLE_BUSY.
 */
__attribute__((noinline)) long settled(const struct packet *p, const struct newcomer *n,
				       long inserted)
{
	struct found there = {};

	if (!p || !n)
		return TABLE_BUSY;
	if (inserted == INSERTED) {
		if (assures(p, state_of(n->bits), false))
			assure(n->own);
		return made(n);
	}
	if (n->own)
		leave(n->own);
	if (inserted == NO_PLACE)
		return TABLE_FULL;
	there.slot = slot_at(n->where);
	there.control = n->control;
	if (inserted == EXISTS && there.slot) {
		__u32 real;

		/* as any packet of it: it may have ended since the locks were opened */
		if (touch(&there, p, false, &real))
			return (long)real | (n->control & OWN_PORT ? KEEPS_PORT : 0);
	}
	return TABLE_BUSY;
}

/* A datagram that is a connection by itself: counted, not remembered. Returns as settled(). */
__attribute__((noinline)) long pass_by(const struct newcomer *n)
{
	if (!n)
		return TABLE_BUSY;
	add_to_counts(n->real, ONE_INACTIVE, BIND);
	add_to_counts(n->real, -ONE_INACTIVE, UNBIND);
	if (n->own)
		leave(n->own);
	return made(n);
}

/* insert(), after an eviction if need be. */
static __always_inline long insert_anyhow(struct newcomer *n)
{
	long inserted = insert(n);

	for (__u32 i = 0; i < EVICT_TRIES && inserted == NO_PLACE; i++) {
		evict(n);
		n->word = SEARCH_AGAIN;
		inserted = insert(n);
	}
	return inserted;
}

/* The template of a new connection, which is made if need be: its handle, or why not. */
static __always_inline long template_for(const struct packet *p, long service, struct newcomer *n)
{
	long template = find_template(p, service & 0xffff, n), real, inserted;

	if (template >= 0)
		return template;
	real = choose(p, service);
	if (real < 0)
		return real;
	n->real = real;
	inserted = insert_anyhow(n);
	if (inserted == NO_PLACE)
		return TABLE_FULL;
	if (inserted == NO_LOCK)
		return TABLE_BUSY;
	if (inserted == INSERTED)
		COUNT(new_templates);
	return inserted_template(n);
}

/*
 * A packet that finds no connection: makes one. The index of its real server and perhaps KEEPS_PORT;
 * or why not.
 */
static __always_inline long opened(const struct packet *p, const struct found *nothing)
{
	struct newcomer *n = the_newcomer();
	long service = called(p), template = 0, real, inserted;

	if (service < 0 || !n)
		return service;
	/* nothing is remembered of it: if xdp could not send it, tc would schedule it once more */
	if (service & IS_ONE_PACKET && DOOR == DOOR_XDP)
		return FOR_TC;
	if (service & IS_PERSISTENT) {
		template = template_for(p, service, n);
		if (template < 0)
			return template;
		if (!adopt(template))
			return TABLE_BUSY; /* it has just ended: the client tries again */
		real = real_under(template);
	} else {
		real = choose(p, service);
		if (real < 0)
			return real;
	}
	n->real = real;
	n->own = template;
	n->hash = nothing->hash;
	n->word = nothing->word;
	n->tables = nothing->tables;
	if (!prepare(p, service & 0xffff, n)) {
		if (template)
			leave(template);
		return TABLE_BUSY;
	}
	if (service & IS_ONE_PACKET)
		return pass_by(n);
	inserted = insert_anyhow(n);
	return inserted == INSERTED && !n->own ? made(n) : settled(p, n, inserted);
}

/* Whether a packet may open a connection; sloppy_tcp and sloppy_sctp take nearly any. */
static __always_inline bool may_begin(const struct settings *s, const struct packet *p)
{
	if (p->opens || !p->may_open)
		return p->opens;
	return p->flow.protocol == IPPROTO_TCP ? s->sloppy_tcp : s->sloppy_sctp;
}
