// SPDX-License-Identifier: GPL-2.0-only
/*
 * insert.bpf.c - puts connections into the table as the doors do, without packets.
 *
 * `order` says which; connection i of `count` has the client's address plus i, or, of templates,
 * the VIP's plus i. `outcomes` counts what insert() said of each.
 */
#include "common.h"

#define DOOR DOOR_TC

#include "insert.h"

char _license[] SEC("license") = "GPL";

struct order {
	struct flow flow;
	__u64 bits;
	__u32 real;
	__u32 first;
	__u32 count;
	__u32 evicting;
};

struct outcomes {
	__u64 of[4]; /* enum inserted */
};

MAP_ARRAY(orders, struct order, 1, BPF_F_MMAPABLE);
MAP_ARRAY(outcomes, struct outcomes, 1, BPF_F_MMAPABLE);

static __always_inline struct order *the_order(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&orders, &zero);
}

static __always_inline struct flow flow_of(const struct order *o, __u32 nr)
{
	struct flow f = o->flow;
	struct address *numbered = f.is_template ? &f.destination : &f.source;

	numbered->word[3] = bpf_htonl(bpf_ntohl(numbered->word[3]) + o->first + nr);
	return f;
}

#define TEMPLATE_LASTS 1000 /* clock units */

static long step(__u32 nr, void *nothing)
{
	__u32 zero = 0;
	struct outcomes *said = bpf_map_lookup_elem(&outcomes, &zero);
	struct settings *s = the_settings();
	struct newcomer *n = the_newcomer();
	struct order *o = the_order();
	long outcome;

	if (!o || !said || !s || !n)
		return 1;
	n->flow = flow_of(o, nr);
	n->hash = hash_of_flow(s, &n->flow, SIDE_VIP);
	n->word = SEARCH_AGAIN;
	n->bits = o->bits;
	n->own = o->bits & TEMPLATE ? TEMPLATE_LASTS : 0;
	n->real = o->real;
	outcome = insert(n);
	if (outcome == NO_PLACE && o->evicting) {
		evict(n);
		outcome = insert(n);
	}
	said->of[outcome & 3]++;
	return 0;
}

SEC("tc")
int fill(struct __sk_buff *ctx)
{
	struct order *o = the_order();

	return o ? LOOP(o->count, step, 0) : -1;
}

static long look(__u32 nr, __u32 *found)
{
	struct settings *s = the_settings();
	struct order *o = the_order();
	struct found connection = {};
	struct flow f;

	if (!o || !s)
		return 1;
	f = flow_of(o, nr);
	*found += find(s, &f, SIDE_VIP, &connection);
	return 0;
}

/* How many of the order are in the table. */
SEC("tc")
int count_found(struct __sk_buff *ctx)
{
	struct order *o = the_order();
	__u32 found = 0;

	if (o)
		LOOP(o->count, look, &found);
	return found;
}
