/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * schedule.h - which real server gets a new connection, by the kernel's rules, order and tie-breaks
 * (spec ipvs 4): a list is walked from its head, the most recently added server; the first of
 * equals wins; only members with weight that are not overloaded are eligible.
 *
 *   turns.h     rr wrr                  one after the other
 *   least.h     lc wlc sed nq fo ovf    the least busy, or the heaviest
 *   twos.h      twos                    the better of two by chance
 *   rings.h     sh mh dh                always the same for a client, for a destination
 *   locality.h  lblc lblcr              the same for a destination while it is not too busy
 *
 * A list lies in consecutive chunks of 26 members; a choice hardly grows with their number. One
 * store of service->list swaps it as a whole, with its ring and where rr and wrr go on.
 */
#pragma once

#include "least.h"
#include "locality.h"
#include "rings.h"
#include "turns.h"
#include "twos.h"

/* lblc and lblcr: what the destination has, or what wlc says, which it then has. */
static __always_inline long by_locality(__u32 service_index, __u32 list,
					const struct chunk *head, const struct packet *p)
{
	__u32 scheduler = head->scheduler;
	long found = cached_server(p, service_index, scheduler);

	if (found & SET_IS_OLD)
		trim_set(p, service_index);
	found &= NOBODY;
	if (found != NOBODY && !is_too_busy(found, list))
		return found;
	found = least_loaded(list, head);
	if (found >= 0)
		keep_in_cache(p, service_index, scheduler, found);
	return found;
}

/* Whether a service's scheduler is rr or wrr. These have a function of their own, for its stack. */
static __always_inline bool goes_in_turn(const struct service *service)
{
	const struct chunk *head = chunk_at(READ_ONCE(service->list));

	return head && head->scheduler <= SCHED_WRR;
}

/*
 * By rr or wrr: the index of the chosen real server, or NO_REAL_SERVER. When an edit has just made
 * another scheduler of it, by rr.
 */
static __always_inline long schedule_in_turn(struct service *service)
{
	__u32 list = READ_ONCE(service->list);
	struct chunk *head = chunk_at(list);

	if (!list || !head || !head->count)
		return NO_REAL_SERVER;
	return round_robin(service, list, head);
}

/* The same by any other scheduler. */
static __always_inline long schedule(struct service *service, __u32 service_index,
				     const struct packet *p)
{
	__u32 list = READ_ONCE(service->list);
	struct chunk *head = chunk_at(list);

	if (!list || !head || !head->count)
		return NO_REAL_SERVER;
	switch (head->scheduler) {
	case SCHED_TWOS:
		return better_of_two(list);
	case SCHED_LBLC:
	case SCHED_LBLCR:
		return by_locality(service_index, list, head, p);
	case SCHED_SH:
	case SCHED_DH:
	case SCHED_MH:
		return on_ring(p, list, service->flags);
	case SCHED_NONE:
		return NO_REAL_SERVER;
	default:
		return least_loaded(list, head);
	}
}
