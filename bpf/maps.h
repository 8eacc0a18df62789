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
MAP_ARRAY(connections, struct bucket, BUCKETS, BPF_F_MMAPABLE);
/* what happened at each door */
MAP_PERCPU(door_counters, struct door_counters, DOORS);
