// SPDX-License-Identifier: GPL-2.0-only
/* frozen_sweep.c - the sweeper under the test's clock: it works when told, never by itself. */
#include "clock.h"

#define bpf_timer_start(TIMER, NS, FLAGS) 0

#include "sweep.bpf.c"

static long sweep_one_slice(__u32 nr, void *nothing)
{
	__u32 zero = 0;
	struct sweeper *w = bpf_map_lookup_elem(&sweeper, &zero);

	if (w)
		tick(&sweeper, &zero, w);
	return 0;
}

/* All that a second of the timer does, in one moment: every bucket of every table once. */
SEC("tc")
int sweep_now(struct __sk_buff *ctx)
{
	LOOP(TICKS_A_SECOND, sweep_one_slice, 0);
	return 0;
}
