/* SPDX-License-Identifier: GPL-2.0-only */
/* maps.h - every map, one line of purpose each. All are pinned; together they are the table. */
#pragma once

#include "shapes.h"

/* clocks, secrets, timeouts */
MAP_ARRAY(settings, struct settings, 1, BPF_F_MMAPABLE);
/* protocol, VIP, port -> index into services */
MAP_HASH(service_ids, struct service_key, __u32, MAX_SERVICES);
MAP_ARRAY(services, struct service, MAX_SERVICES, BPF_F_MMAPABLE);
/* lists of real servers, swapped as a whole; chunk 0 is the empty list */
MAP_ARRAY(chunks, struct chunk, MAX_CHUNKS, BPF_F_MMAPABLE);
MAP_ARRAY(reals, struct real, MAX_REALS, BPF_F_MMAPABLE);
/* how busy each is, by the same index: one value, so that a look at many needs one lookup */
struct all_real_counts {
	struct real_counts of[MAX_REALS];
};
MAP_ARRAY(real_counts, struct all_real_counts, 1, BPF_F_MMAPABLE);
/* totals of each real server, by the same index */
MAP_PERCPU(real_totals, struct totals, MAX_REALS);
/* is an address one of ours: asked before anything else */
MAP_ARRAY(filter, struct address_filter, 1, BPF_F_MMAPABLE);
/*
 * The connections: one table, or two while one grows out of the other. User space makes them
 * (engines/bpf/tables.py), of any number of buckets.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, TABLES);
	__uint(key_size, sizeof(__u32));
	__array(values, struct {
		__uint(type, BPF_MAP_TYPE_ARRAY);
		__uint(map_flags, BPF_F_MMAPABLE | BPF_F_INNER_MAP);
		__uint(max_entries, 1);
		__uint(key_size, sizeof(__u32));
		__uint(value_size, sizeof(struct bucket));
	});
} tables SEC(".maps");
/* what happened at each door */
MAP_PERCPU(door_counters, struct door_counters, DOORS);
