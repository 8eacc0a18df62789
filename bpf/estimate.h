/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * estimate.h - rates per second, as the kernel's estimator has them (spec ipvs 7): every two seconds
 *
 *   rate += (sample - rate) / 4,  sample = what was counted in these two seconds, halved
 *
 * scaled by 2^10, bytes by 2^5. All real servers and all services are visited once in two seconds,
 * spread evenly; what a real server adds to its service is summed on the way.
 */
#pragma once

#include "connections.h"

#define ROUND_NS 2000000000ULL
#define VISITS_A_TICK 1024
#define SCALE 9	     /* 2^10, of two seconds */
#define BYTES_SCALE 4 /* 2^5 */

/* Of real servers and of services, by their indexes. */
MAP_ARRAY(real_estimates, struct estimate, MAX_REALS, BPF_F_MMAPABLE);
MAP_ARRAY(service_estimates, struct estimate, MAX_SERVICES, BPF_F_MMAPABLE);

struct summing {
	struct totals sum;
	__u32 real;
};

static long add_cpu(__u32 cpu, struct summing *w)
{
	const struct totals *t = bpf_map_lookup_percpu_elem(&real_totals, &w->real, cpu);

	if (!t)
		return 1;
	w->sum.connections += t->connections;
	w->sum.in_packets += t->in_packets;
	w->sum.out_packets += t->out_packets;
	w->sum.in_bytes += t->in_bytes;
	w->sum.out_bytes += t->out_bytes;
	return 0;
}

/* Less than before is no traffic: a writer that edits a service's sum may lose what we add. */
static __always_inline void approach(__u64 *rate, __u64 delta, __u32 scale)
{
	if ((__s64)delta < 0)
		delta = 0;
	*rate += (__s64)((delta << scale) - *rate) >> 2;
}

/* What was counted since the last visit, added to `adds`; the rates follow it. */
static __always_inline void take_sample(struct estimate *e, struct totals *adds)
{
	struct totals d = {
		.connections = e->now.connections - e->last.connections,
		.in_packets = e->now.in_packets - e->last.in_packets,
		.out_packets = e->now.out_packets - e->last.out_packets,
		.in_bytes = e->now.in_bytes - e->last.in_bytes,
		.out_bytes = e->now.out_bytes - e->last.out_bytes,
	};

	approach(&e->rates.connections, d.connections, SCALE);
	approach(&e->rates.in_packets, d.in_packets, SCALE);
	approach(&e->rates.out_packets, d.out_packets, SCALE);
	approach(&e->rates.in_bytes, d.in_bytes, BYTES_SCALE);
	approach(&e->rates.out_bytes, d.out_bytes, BYTES_SCALE);
	e->last = e->now;
	if (!adds)
		return;
	adds->connections += d.connections;
	adds->in_packets += d.in_packets;
	adds->out_packets += d.out_packets;
	adds->in_bytes += d.in_bytes;
	adds->out_bytes += d.out_bytes;
}

/* Global: verified once. */
__attribute__((noinline)) int estimate_real(__u32 index)
{
	struct estimate *e = bpf_map_lookup_elem(&real_estimates, &index), *of_service;
	const struct real *real = real_at(index);
	struct settings *s = the_settings();
	struct summing w = { .real = index };
	__u32 service;

	if (!e || !real || !s || real->state != SLOT_USED)
		return 0;
	LOOP(s->cpus, add_cpu, &w);
	e->now = w.sum;
	service = real->service;
	of_service = bpf_map_lookup_elem(&service_estimates, &service);
	take_sample(e, of_service ? &of_service->now : 0);
	return 0;
}

__attribute__((noinline)) int estimate_service(__u32 index)
{
	struct estimate *e = bpf_map_lookup_elem(&service_estimates, &index);

	if (e)
		take_sample(e, 0);
	return 0;
}

struct visiting {
	__u32 next;
	__u32 reals; /* these come first, then the services */
};

static long visit(__u32 nr, struct visiting *v)
{
	if (v->next < v->reals)
		estimate_real(v->next);
	else
		estimate_service(v->next - v->reals);
	v->next++;
	return 0;
}

/* At each tick: those whose turn has come since the last one. */
static __always_inline void estimate(const struct settings *s, struct sweeper_report *r, __u64 now_ns)
{
	__u32 all = s->reals_used + s->services_used;
	struct visiting v = { .next = r->estimate_cursor, .reals = s->reals_used };
	__u64 round = now_ns / ROUND_NS, due = all * (now_ns % ROUND_NS) / ROUND_NS;
	__u64 visits;

	if (!s->run_estimation)
		return;
	if (round != r->estimate_round)
		due = all; /* what is left of the round before */
	visits = due > v.next ? due - v.next : 0;
	if (visits > VISITS_A_TICK)
		visits = VISITS_A_TICK;
	LOOP(visits, visit, &v);
	r->estimate_cursor = v.next;
	if (round != r->estimate_round && v.next >= all) {
		r->estimate_round = round;
		r->estimate_cursor = 0;
	}
}
