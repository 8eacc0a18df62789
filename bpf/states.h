/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * states.h - the kernel's TCP states: what a packet makes of a connection (spec ipvs 3.2).
 *
 * UDP has one state, number 0, and is never active (3.3).
 */
#pragma once

#include "packet.h"

/* Which column of the kernel's table: IN_ONLY for clients whose replies are never seen here. */
enum direction { IN, OUT, IN_ONLY };

#define NO TCP_NONE
#define ES TCP_ESTABLISHED
#define SS TCP_SYN_SENT
#define SR TCP_SYN_RECV
#define FW TCP_FIN_WAIT
#define TW TCP_TIME_WAIT
#define CL TCP_CLOSE
#define CW TCP_CLOSE_WAIT
#define LA TCP_LAST_ACK
#define LI TCP_LISTEN
#define SA TCP_SYNACK

/* [direction][event][state]: padded to powers of two, so that a masked index needs no tests */
static const __u8 tcp_next[4][4][16] = {
	[IN] = {
		/*              NO  ES  SS  SR  FW  TW  CL  CW  LA  LI  SA */
		[EVENT_SYN] = { SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
		[EVENT_FIN] = { CL, CW, SS, TW, TW, TW, CL, CW, LA, LI, TW },
		[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
		[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, SR },
	},
	[OUT] = {
		[EVENT_SYN] = { SS, ES, SS, SR, SS, SS, SS, SS, SS, LI, SR },
		[EVENT_FIN] = { TW, FW, SS, TW, FW, TW, CL, TW, LA, LI, TW },
		[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, LA, ES, ES },
		[EVENT_RST] = { CL, CL, SS, CL, CL, TW, CL, CL, CL, CL, CL },
	},
	[IN_ONLY] = {
		[EVENT_SYN] = { SR, ES, ES, SR, SR, SR, SR, SR, SR, SR, SR },
		[EVENT_FIN] = { CL, FW, SS, TW, FW, TW, CL, CW, LA, LI, TW },
		[EVENT_ACK] = { ES, ES, SS, ES, FW, TW, CL, CW, CL, LI, ES },
		[EVENT_RST] = { CL, CL, CL, SR, CL, CL, CL, CL, LA, LI, CL },
	},
};

#undef NO
#undef ES
#undef SS
#undef SR
#undef FW
#undef TW
#undef CL
#undef CW
#undef LA
#undef LI
#undef SA

static __always_inline __u8 next_state(const struct packet *p, __u8 direction, __u8 state)
{
	if (p->flow.protocol != IPPROTO_TCP)
		return 0;
	if (p->event == EVENT_NONE)
		return TCP_CLOSE;
	return tcp_next[direction & 3][p->event & 3][state & 15];
}

/* Counted as ActiveConn; all others are InActConn (spec ipvs 3.1). */
static __always_inline bool is_active(const struct packet *p, __u8 state)
{
	const __u32 active = 1 << TCP_SYN_SENT | 1 << TCP_SYN_RECV | 1 << TCP_SYNACK |
			     1 << TCP_ESTABLISHED;

	return p->flow.protocol == IPPROTO_TCP && (active >> (state & 15) & 1);
}
