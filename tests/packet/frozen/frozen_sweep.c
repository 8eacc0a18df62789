// SPDX-License-Identifier: GPL-2.0-only
/* frozen_sweep.c - the sweeper under the test's clock: it works when told, never by itself. */
#include "clock.h"

#define bpf_timer_start(TIMER, NS, FLAGS) 0

#include "sweep.bpf.c"

static __always_inline struct sweeper_report *the_report(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&sweeper_report, &zero);
}

static long sweep_one_slice(__u32 nr, void *nothing)
{
	struct sweeper_report *report = the_report();
	struct settings *s = the_settings();

	if (!report || !s)
		return 1;
	for (__u32 table = 0; table < TABLES; table++)
		if (is_searched(tables_in_use(s), table))
			sweep_slice(s, report, table);
	return 0;
}

/* What the timer does in a second, in one moment: every bucket of every table once. */
SEC("tc")
int sweep_now(struct __sk_buff *ctx)
{
	struct sweeper_report *report = the_report();

	LOOP(TICKS_A_SECOND, sweep_one_slice, 0);
	if (report)
		note_clocks(report);
	return 0;
}

/* What it does in two seconds: everybody's rates. Every second second, else some come too soon. */
SEC("tc")
int estimate_now(struct __sk_buff *ctx)
{
	struct sweeper_report *report = the_report();
	struct settings *s = the_settings();

	if (report && s)
		estimate(s, report, bpf_ktime_get_ns());
	return 0;
}
