/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * persistence.h - a client network keeps its real server (spec ipvs 5): templates.
 *
 * A template is a connection without a client port, which the clients of one network share. The
 * first connection of the network makes it, by the scheduler; each further one asks it instead and
 * begins its time anew. That beats weight 0 and overload.
 */
#pragma once

#include "insert.h"
#include "service.h"

/* What a template is called (spec ipvs 5.1): by a mark, a port, or a whole address. */
static __always_inline void name_template(const struct service *service, const struct packet *p,
					  struct flow *name)
{
	*name = (struct flow){ .is_template = 1 };
	name->source.half[0] = p->flow.source.half[0] & service->mask.half[0];
	name->source.half[1] = p->flow.source.half[1] & service->mask.half[1];
	if (service->key.mark) {
		name->destination = mapped(bpf_htonl(service->key.mark));
		return;
	}
	name->destination = p->flow.destination;
	name->protocol = p->flow.protocol;
	if (p->flow.destination_port == service->key.port && service->key.port != bpf_htons(FTP))
		name->destination_port = service->key.port;
}

/* Whether a template may lead there still. */
static __always_inline bool is_usable(const struct settings *s, const struct real *real)
{
	return real && real->state == SLOT_USED &&
	       (READ_ONCE(real->weight) || !READ_ONCE(s->expire_quiescent_template));
}

/* Else insert() would find it again, and lead the connection there. */
static __always_inline void disable(struct connection *t, __u64 control)
{
	const __u64 handle = handle_of(0, control);

	for (__u32 i = 0; i < TOUCH_TRIES && is_the_one(control, handle); i++) {
		__u64 seen_by_others = CAS(&t->control, control, control | DISABLED);

		if (seen_by_others == control)
			return;
		control = seen_by_others; /* touched, or another CPU did the same */
	}
}

/*
 * The template of a client's network: a handle, or -1; then *n is called as a new one would be. One
 * that is of no use any more is disabled: nobody finds it again, it ages.
 */
__attribute__((noinline)) long find_template(const struct packet *p, __u32 service_index,
					     struct newcomer *n)
{
	const struct service *service = service_at(service_index);
	struct settings *s = the_settings();
	struct connection *t;
	__u64 control = 0;
	long where;

	if (!p || !s || !service || !n)
		return -1;
	name_template(service, p, &n->flow);
	n->hash = template_hash(s, &n->flow);
	n->word = SEARCH_AGAIN;
	n->tables = 0;
	n->own = service->timeout ?: 1;
	n->bits = TEMPLATE;
	where = look_everywhere(s, &n->flow, n->hash, SIDE_VIP, tables_in_use(s), &control);
	t = where < 0 ? 0 : slot_at(where);
	if (!t)
		return -1;
	if (is_usable(s, real_at(READ_ONCE(t->real))))
		return handle_of(where, control);
	disable(t, control);
	return -1;
}

/*
 * The handle of a template that insert() made or found, as it was then: its slot may be another's
 * by now, and adopt() sees to it.
 */
static __always_inline long inserted_template(const struct newcomer *n)
{
	return handle_of(n->where, n->control);
}

/* The real server that a template leads to. */
static __always_inline __u32 real_under(__u64 handle)
{
	struct connection *t = slot_at(handle & WHERE_MASK);

	return t ? READ_ONCE(t->real) : 0;
}
