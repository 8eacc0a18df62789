// SPDX-License-Identifier: GPL-2.0-only
/*
 * sweep.bpf.c - ends connections that have been idle too long; runs with no daemon.
 *
 * One timer for the table: each tick looks at a slice, a round takes a second. The timer lives
 * as long as its map is pinned; arm() starts it, and starts the new code after an upgrade.
 */
#include "common.h"

#include "connections.h"

char _license[] SEC("license") = "GPL";

#define SLICES 256
#define TICK_NS (1000000000ULL / SLICES)
#define CLOCK_MONOTONIC 1
#define EBUSY 16

struct sweeper {
	struct bpf_timer timer;
	struct sweeper_report report;
};

/* Never updated from user space: that would cancel the timer. */
MAP_ARRAY(sweeper, struct sweeper, 1, 0);

struct slice {
	__u32 first;
	__u32 now;
	__u64 expired;
};

static __always_inline __u32 timeout_of(const struct settings *s, const struct connection *c,
					__u64 control)
{
	return c->protocol == IPPROTO_TCP ? s->tcp_timeout[state_of(control) & 15] : s->udp_timeout;
}

static long sweep_bucket(__u32 nr, struct slice *slice)
{
	struct bucket *b = bucket_at((slice->first + nr) % BUCKETS);
	struct settings *s = the_settings();

	if (!b || !s)
		return 1;
	for (__u32 i = 0; i < WAYS; i++) {
		struct found f = { .slot = &b->slot[i] };
		__u32 idle;

		f.control = READ_ONCE(f.slot->control);
		if ((f.control & PHASE_MASK) != PHASE_LIVE)
			continue;
		idle = (slice->now - (__u32)(f.control >> SEEN_SHIFT)) & CLOCK_MASK;
		/* seen after this tick began: "negative" */
		if (idle > CLOCK_MASK / 2 || idle < timeout_of(s, f.slot, f.control))
			continue;
		if (release(s, &f))
			slice->expired++;
	}
	return 0;
}

static int tick(void *map, __u32 *key, struct sweeper *w)
{
	struct slice slice = { .first = w->report.cursor, .now = clock_now() };

	bpf_loop(BUCKETS / SLICES, sweep_bucket, &slice, 0);
	w->report.cursor = (slice.first + BUCKETS / SLICES) % BUCKETS;
	w->report.expired += slice.expired;
	w->report.ticks++;
	w->report.last_ns = bpf_ktime_get_ns();
	if (bpf_timer_start(&w->timer, TICK_NS, 0))
		w->report.failures++;
	return 0;
}

/* Run once by user space; 0, or the negative errno of the step that failed. */
SEC("tc")
int arm(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct sweeper *w = bpf_map_lookup_elem(&sweeper, &zero);
	long error;

	if (!w)
		return -1;
	error = bpf_timer_init(&w->timer, &sweeper, CLOCK_MONOTONIC);
	if (error && error != -EBUSY) /* armed before: the callback is replaced */
		return error;
	error = bpf_timer_set_callback(&w->timer, tick);
	return error ?: bpf_timer_start(&w->timer, TICK_NS, 0);
}
