/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * director.h - a packet's whole road, in one page:
 *
 *   parse -> find connection, or open one (opening.h) -> forward -> count
 *
 * A door (tc.bpf.c, xdp.bpf.c) defines `context`, DOOR and the verbs that differ:
 *   is_for_us(ctx)        the frame was sent to this machine
 *   not_ours()            leave the packet to whoever comes next
 *   drop()                end it
 *   cannot_send(hop, ...) the door cannot use this way (xdp: unknown neighbour)
 *   hand_over(ctx)        xdp: leave it, unmodified and uncounted, to the tc door, which finds
 *                         the connection that was made or touched here
 *   refuse(ctx, p, ...)   answer with an ICMP error (tc)
 *   rewrite(ctx, p, r)    addresses, ports, checksums and TTL of masq
 *   age(ctx)              TTL only, for gate
 *   encapsulate(ctx, ...) TTL and an outer header, for ipip
 *   send(ctx, hop)        out to the neighbour
 * All return one of the door's verdicts, or false when a helper refused.
 */
#pragma once

#include "count.h"
#include "filter.h"
#include "fragments.h"
#include "hop.h"
#include "opening.h"

#define IPIP_OVERHEAD 20

/*
 * A SYN, or INIT, on a connection that is over: its client uses the port again (spec ipvs 1.4).
 * Global, as it is rare.
 */
__attribute__((noinline)) int is_replaced(const struct packet *p, __u64 control, __u32 index)
{
	struct settings *s = the_settings();
	const struct real *real = real_at(index);
	__u8 state = state_of(control);
	__u32 mode;

	if (!p || !s)
		return 0;
	if (READ_ONCE(s->expire_nodest_conn) && real && !READ_ONCE(real->weight))
		return 1;
	mode = READ_ONCE(s->conn_reuse_mode);
	if (!mode || (control & CONTROLLED))
		return 0;
	if (p->flow.protocol == IPPROTO_SCTP)
		return state == SCTP_CLOSED;
	return state == TCP_TIME_WAIT || state == TCP_CLOSE ||
	       ((mode & 2) && state == TCP_FIN_WAIT && (control & NO_OUTPUT));
}

/* release(), for the road: it is rare. */
__attribute__((noinline)) int end(struct connection *c, __u64 control, __u32 table)
{
	struct settings *s = the_settings();
	struct found f = { .slot = c, .control = control, .table = table };

	return s && c && release(s, &f);
}

/*
 * Too long for the way, and not to be fragmented. xdp counts every long packet: a driver loses it,
 * and says nothing.
 */
static __always_inline bool is_too_long(context *ctx, const struct packet *p, __u32 mtu)
{
	if (DOOR == DOOR_TC && !(p->fragment & bpf_htons(DONT_FRAGMENT)))
		return false;
	return segment_length(ctx, p) > mtu;
}

/* What becomes of one that is. */
static __always_inline int tell_mtu(context *ctx, const struct packet *p, __u32 mtu)
{
	if (DOOR == DOOR_XDP)
		return hand_over(ctx);
	COUNT(too_big);
	return refuse(ctx, p, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, mtu);
}

/* Client to real server, by the method that the connection began with. */
static __always_inline int forward(context *ctx, const struct settings *s, const struct packet *p,
				   const struct way *way, struct real *real,
				   struct hop *hop)
{
	__u32 overhead = way->method == METHOD_IPIP ? IPIP_OVERHEAD : 0;
	bool fresh = hop_to(ctx, s, real, p->now, hop);
	struct rewriting to_real = {
		.address = real->address.word[3],
		.port = way->port,
		.is_reply = false,
	};

	if (hop->interface == HOP_HERE) {
		if (DOOR == DOOR_XDP)
			return hand_over(ctx);
		if (way->method == METHOD_MASQ) {
			/* as IPVS: nobody from outside reaches 127.0.0.0/8 */
			if ((to_real.address & bpf_htonl(0xff000000)) == bpf_htonl(0x7f000000)) {
				COUNT(no_route);
				return drop();
			}
			if (!rewrite(ctx, p, &to_real, false))
				goto error;
		}
		count_in(way->index, p->length);
		COUNT(local);
		return not_ours();
	}
	if (!hop->interface) {
		COUNT(no_route);
		return drop();
	}
	if (cannot_send(hop, fresh, p->now))
		return hand_over(ctx);
	if (p->ttl <= 1) {
		if (DOOR == DOOR_XDP)
			return hand_over(ctx);
		COUNT(ttl_exceeded);
		return refuse(ctx, p, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
	}
	if (hop->mtu && is_too_long(ctx, p, hop->mtu - overhead))
		return tell_mtu(ctx, p, hop->mtu - overhead);
	switch (way->method) {
	case METHOD_MASQ:
		if (!rewrite(ctx, p, &to_real, true))
			goto error;
		COUNT(masq);
		break;
	case METHOD_IPIP:
		if (!encapsulate(ctx, p, real))
			goto error;
		COUNT(ipip);
		break;
	default:
		if (!age(ctx))
			goto error;
		COUNT(gate);
	}
	count_in(way->index, p->length);
	return send(ctx, hop);
error:
	COUNT(errors);
	return drop();
}

/* Real server to client, masq only: the reply comes from the VIP. */
static __always_inline int forward_reply(context *ctx, const struct settings *s,
					 const struct packet *p, const struct way *way,
					 const struct found *connection, struct hop *hop)
{
	struct rewriting to_vip = {
		.address = way->vip,
		.port = way->vip_port,
		.is_reply = true,
	};

	way_back(ctx, s, connection, p, way->vip, hop);
	if (!hop->interface) {
		COUNT(no_route);
		return drop();
	}
	if (cannot_send(hop, false, p->now))
		return hand_over(ctx);
	if (p->ttl <= 1) {
		COUNT(ttl_exceeded);
		return drop();
	}
	if (hop->mtu && is_too_long(ctx, p, hop->mtu))
		return tell_mtu(ctx, p, hop->mtu);
	if (!rewrite(ctx, p, &to_vip, true)) {
		COUNT(errors);
		return drop();
	}
	COUNT(replies);
	count_out(way->index, p->length);
	return send(ctx, hop);
}

/*
 * The way of a packet that belongs to a connection, which is touched. `to_us`: its destination may
 * be ours, else its source. *real is the real server of a request.
 */
static __always_inline enum kind find_way(const struct settings *s, const struct packet *p,
					  const struct address_filter *filter, bool to_us,
					  struct found *connection, struct way *way,
					  struct real **real)
{
	if (to_us) {
		if (find(s, &p->flow, SIDE_VIP, connection)) {
			__u32 index = READ_ONCE(connection->slot->real);
			bool over = p->begins && is_replaced(p, connection->control, index);

			*real = real_at(index);
			if (!*real || (*real)->state != SLOT_USED) {
				/* it was deleted: state and timer stay until it is back */
				if (!over && !READ_ONCE(s->expire_nodest_conn))
					return DEAD;
				over = true;
			}
			if (over && end(connection->slot, connection->control, connection->table))
				return UNKNOWN;
			if (!*real || (*real)->state != SLOT_USED)
				return DEAD; /* a packet on another CPU was faster */
			if (!touch(connection, p, false, &way->index)) {
				/* it, or what looked like it, died: others were not searched */
				connection->word = SEARCH_AGAIN;
				return UNKNOWN;
			}
			way->method = method_of(connection->control);
			way->port = connection->control & OWN_PORT ? p->flow.destination_port :
								     (*real)->port;
			return REQUEST;
		}
		if (!may_be_ours(s, filter, &p->flow.source))
			return UNKNOWN;
	}
	if (!find(s, &p->flow, SIDE_REAL, connection))
		return UNKNOWN;
	way->vip = connection->slot->vip.word[3];
	way->vip_port = connection->slot->vip_port;
	return touch(connection, p, true, &way->index) ? REPLY : UNKNOWN;
}

static __always_inline int turn_away(context *ctx, const struct packet *p, long refusal)
{
	switch (refusal) {
	case NOT_A_SERVICE:
		return not_ours();
	case TABLE_FULL:
		COUNT(table_full);
		return drop();
	case TABLE_BUSY:
		COUNT(table_busy);
		return drop();
	}
	if (DOOR == DOOR_XDP)
		return hand_over(ctx);
	COUNT(no_real_server);
	return refuse(ctx, p, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
}

static __always_inline int direct(context *ctx, struct packet *p)
{
	struct settings *s = the_settings();
	const struct address_filter *filter = the_filter();
	struct found connection = {};
	struct real *real = 0;
	struct way way = {};
	struct hop hop;
	enum kind kind;
	long chosen;
	bool to_us;

	if (!s || !filter)
		return not_ours();
	p->now = clock_now(s);
	p->secure = s->secure_tcp >= 2;
	to_us = may_be_ours(s, filter, &p->flow.destination);
	if (p->mark && (s->kinds & HAS_MARKS))
		to_us = true;
	if (!to_us && !may_be_ours(s, filter, &p->flow.source))
		return not_ours();
	if (!is_for_us(ctx))
		return not_ours();
	if (is_first_fragment(p))
		forget_fragments(p);
	kind = is_later_fragment(p) ?
		       (enum kind)find_fragment(p, &way) :
		       find_way(s, p, filter, to_us, &connection, &way, &real);
	if (kind == DEAD) {
		COUNT(real_server_gone);
		return drop();
	}
	if (p->is_ipv6) /* found and touched; it is not sent on yet */
		return not_ours();
	if (kind == UNKNOWN) {
		if (!to_us || !may_begin(s, p))
			return not_ours();
		chosen = opened(p, &connection);
		if (chosen < 0)
			return turn_away(ctx, p, chosen);
		COUNT(new_connections);
		if (p->mark)
			let_in(p);
		way.index = chosen & 0xffff;
		real = real_at(way.index);
		way.method = real ? real->method : 0;
		way.port = chosen & KEEPS_PORT || !real ? p->flow.destination_port : real->port;
		kind = REQUEST;
	}
	if (is_first_fragment(p))
		remember_fragments(p, &way, kind);
	if (kind == REPLY)
		return forward_reply(ctx, s, p, &way, &connection, &hop);
	if (is_later_fragment(p))
		real = real_at(way.index);
	return real ? forward(ctx, s, p, &way, real, &hop) : drop();
}
