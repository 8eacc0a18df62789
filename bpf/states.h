/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * states.h - what a packet makes of a connection (spec ipvs 3): by the kernel's tables, which stand
 * in model/states.py.
 *
 * UDP has one state, number 0, and is never active (3.3).
 */
#pragma once

#include "packet.h"

/* Which column of the kernel's table: IN_ONLY for clients whose replies are never seen here. */
enum direction { IN, OUT, IN_ONLY };

static __always_inline __u8 next_state(const struct packet *p, __u8 direction, __u8 state)
{
	if (p->flow.protocol == IPPROTO_SCTP)
		return sctp_next[direction & 3][p->event & 15][state & 15];
	if (p->flow.protocol != IPPROTO_TCP)
		return 0;
	if (p->event == EVENT_NONE)
		return TCP_CLOSE;
	return tcp_next[p->secure & 1][direction & 3][p->event & 3][state & 15];
}

/* Counted as ActiveConn; all others are InActConn (spec ipvs 3.1). */
static __always_inline bool is_active(const struct packet *p, __u8 state)
{
	switch (p->flow.protocol) {
	case IPPROTO_TCP:
		return TCP_ACTIVE_STATES >> (state & 15) & 1;
	case IPPROTO_SCTP:
		return SCTP_ACTIVE_STATES >> (state & 15) & 1;
	default:
		return false;
	}
}

/*
 * Whether a packet that is shown to its connection twice, by xdp and then by tc, may move it twice.
 * No packet of TCP does, by either table; tests/unit/test_states.py holds it.
 */
static __always_inline bool moves_twice(const struct packet *p)
{
	return p->flow.protocol == IPPROTO_SCTP &&
	       (p->event == SCTP_EVENT_INIT || p->event == SCTP_EVENT_INIT_ACK ||
		p->event == SCTP_EVENT_ABORT);
}
