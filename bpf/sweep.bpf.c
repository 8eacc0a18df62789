// SPDX-License-Identifier: GPL-2.0-only
/*
 * sweep.bpf.c - ends connections that have been idle too long; runs with no daemon.
 *
 * One timer: each tick looks at a slice of each table, a round takes a second. The timer lives
 * as long as its map is pinned; arm() starts it, and starts the new code after an upgrade.
 * Bucket counts are powers of two, so that slices and segments fit.
 */
#include "common.h"

#include "estimate.h"
#include "life.h"

char _license[] SEC("license") = "GPL";

#define TICKS_A_SECOND 256
#define TICK_NS (1000000000ULL / TICKS_A_SECOND)
#define LARGEST_SLICE 1024 /* buckets a tick: a table of more than 2^21 slots takes longer */
#define CLOCK_MONOTONIC 1
#define EBUSY 16

struct sweeper {
	struct bpf_timer timer;
};

/* Never updated from user space: that would cancel the timer. */
MAP_ARRAY(sweeper, struct sweeper, 1, 0);
MAP_ARRAY(sweeper_report, struct sweeper_report, 1, BPF_F_MMAPABLE);

struct slice {
	__u32 table;
	__u32 first;
	__u32 now;
	__u32 live;
	__u64 expired;
};

/* Global: verified once, and most that is visited stays. 1: it was ended. */
__attribute__((noinline)) int expire(__u64 where, __u64 control)
{
	struct settings *s = the_settings();
	struct found f = { .slot = slot_at(where), .control = control, .table = table_of(where) };

	if (!s || !f.slot)
		return 0;
	if (control & TEMPLATE && rearmed(s, f.slot, control))
		return 0;
	return release(s, &f);
}

/* expire_nodest_conn: one of a deleted real server, if it is alone. 1: it was ended. */
__attribute__((noinline)) int expire_orphan(__u64 where, __u64 control)
{
	struct settings *s = the_settings();
	struct found f = { .slot = slot_at(where), .control = control, .table = table_of(where) };
	const struct real *real;

	if (!s || !f.slot)
		return 0;
	real = real_at(READ_ONCE(f.slot->real));
	if (!real || real->state == SLOT_USED)
		return 0;
	if (control & TEMPLATE && !kept_alone(f.slot, &f.control))
		return 0;
	return release(s, &f);
}

static long sweep_bucket(__u32 nr, struct slice *slice)
{
	struct bucket *b = bucket_at(slice->table, slice->first + nr);
	struct settings *s = the_settings();

	if (!b || !s)
		return 1;
	for (__u32 i = 0; i < WAYS; i++) {
		__u64 control = READ_ONCE(b->slot[i].control), where;
		bool ended = false;

		if ((control & PHASE_MASK) != PHASE_LIVE)
			continue;
		where = where_is(slice->table, slice->first + nr, i);
		if (idle_for(slice->now, control) >= timeout_of(s, &b->slot[i], control))
			ended = expire(where, control);
		else if (s->expire_nodest_conn)
			ended = expire_orphan(where, control);
		if (ended)
			slice->expired++;
		else
			slice->live++;
	}
	return 0;
}

/* secure_tcp 1 and 2 are one: by itself, it is in force while there is more than room for. */
static __always_inline void judge_room(struct settings *s, const struct sweeper_report *r)
{
	__u64 live = 0;

	for (__u32 i = 0; i < TABLES * SEGMENTS; i++)
		live += r->segment[i];
	if (live > s->limit)
		CAS(&s->secure_tcp, 1, 2);
	else
		CAS(&s->secure_tcp, 2, 1);
}

/* What a segment held counts until it is swept again. */
static __always_inline void close_segment(struct settings *s, struct sweeper_report *r,
					  __u32 table, __u32 segment)
{
	r->segment[table * SEGMENTS + segment % SEGMENTS] = r->counted[table];
	r->counted[table] = 0;
	judge_room(s, r);
}

static __always_inline void sweep_slice(struct settings *s, struct sweeper_report *r,
					__u32 table)
{
	__u32 buckets = s->buckets[table], length = buckets / TICKS_A_SECOND;
	struct slice slice = {
		.table = table,
		.first = r->cursor[table],
		.now = clock_now(s),
	};
	__u32 of_segment = buckets / SEGMENTS, next;

	if (length > LARGEST_SLICE)
		length = LARGEST_SLICE;
	if (!length || !of_segment)
		return;
	LOOP(length, sweep_bucket, &slice);
	next = slice.first + length;
	r->counted[table] += slice.live;
	r->expired += slice.expired;
	if (next % of_segment == 0)
		close_segment(s, r, table, slice.first / of_segment);
	if (next >= buckets) {
		next = 0;
		r->rounds[table]++;
	}
	r->cursor[table] = next;
}

static __always_inline void note_clocks(struct sweeper_report *r)
{
	r->clock_jiffies = bpf_jiffies64();
	r->clock_ns = bpf_ktime_get_ns();
}

/* Once the clocks are noted. */
static __always_inline void note_price(struct sweeper_report *r, __u64 began_ns)
{
	__u64 spent_ns = r->clock_ns - began_ns;

	r->spent_ns += spent_ns;
	if (spent_ns > r->longest_ns)
		r->longest_ns = spent_ns;
}

static int tick(void *map, __u32 *key, struct sweeper *w)
{
	__u32 zero = 0;
	struct sweeper_report *report = bpf_map_lookup_elem(&sweeper_report, &zero);
	struct settings *s = the_settings();
	__u64 began_ns = bpf_ktime_get_ns();

	if (!report || !s)
		return 0;
	for (__u32 table = 0; table < TABLES; table++)
		if (is_searched(tables_in_use(s), table))
			sweep_slice(s, report, table);
	estimate(s, report, began_ns);
	note_clocks(report);
	note_price(report, began_ns);
	report->ticks++;
	if (bpf_timer_start(&w->timer, TICK_NS, 0))
		report->failures++;
	return 0;
}

/* Run once by user space; 0, or the negative errno of the step that failed. */
SEC("tc")
int arm(struct __sk_buff *ctx)
{
	__u32 zero = 0;
	struct sweeper *w = bpf_map_lookup_elem(&sweeper, &zero);
	struct sweeper_report *report = bpf_map_lookup_elem(&sweeper_report, &zero);
	long error;

	if (!w || !report)
		return -1;
	note_clocks(report);
	error = bpf_timer_init(&w->timer, &sweeper, CLOCK_MONOTONIC);
	if (error && error != -EBUSY) /* armed before: the callback is replaced */
		return error;
	error = bpf_timer_set_callback(&w->timer, tick);
	return error ?: bpf_timer_start(&w->timer, TICK_NS, 0);
}
