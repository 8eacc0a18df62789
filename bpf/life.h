/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * life.h - a connection is touched by each of its packets, and ends once.
 *
 * Every change is one CAS of the control word, and who wins it does what follows from it: moves the
 * counts of its real server, leaves its template, lowers its home's overflow count.
 */
#pragma once

#include "control.h"

#define TOUCH_TRIES 4

/*
 * Ends a connection whose word is still `f->control`. False: it has moved on meanwhile.
 * One that lies away from home finds its home again by its key, for the overflow count.
 */
static __always_inline bool release(const struct settings *s, const struct found *f)
{
	struct connection *c = f->slot;
	__u32 real = READ_ONCE(c->real);
	__u64 word = READ_ONCE(c->word);
	struct bucket *home = 0;

	if (f->control & AWAY)
		home = home_of(s, hash_of_flow(s, (const struct flow *)&c->client, SIDE_VIP),
			       f->table);
	barrier();
	if (CAS(&c->control, f->control, f->control & GENERATION_MASK) != f->control)
		return false;
	if (f->control & TEMPLATE)
		count_template(real, false);
	else
		add_to_counts(real, f->control & ACTIVE ? -ONE_ACTIVE : -ONE_INACTIVE, UNBIND);
	if (f->control & CONTROLLED)
		leave(word);
	if (home)
		__sync_fetch_and_add(&home->slot[0].word, -ONE_OVERFLOW);
	return true;
}

/* A packet by which a connection's template is known to be meant (spec ipvs 3.5). */
static __always_inline bool assures(const struct packet *p, __u8 state, bool is_reply)
{
	switch (p->flow.protocol) {
	case IPPROTO_TCP:
		return state == TCP_ESTABLISHED;
	case IPPROTO_SCTP:
		return state == SCTP_ESTABLISHED;
	default:
		return is_reply;
	}
}

/*
 * What nearly all packets are: within the clock's unit, data of an established connection, or a
 * datagram.
 */
static __always_inline bool changes_nothing(__u64 control, const struct packet *p, bool is_reply)
{
	const __u64 seen = (__u64)p->now << SEEN_SHIFT;

	if (is_reply && (control & NO_OUTPUT))
		return false;
	if (p->flow.protocol == IPPROTO_UDP)
		return (control & SEEN_MASK) == seen && !(is_reply && (control & CONTROLLED));
	return p->event == EVENT_ACK && p->flow.protocol == IPPROTO_TCP &&
	       (control & (STATE_MASK | SEEN_MASK)) ==
		       ((__u64)TCP_ESTABLISHED << STATE_SHIFT | seen);
}

/* The control word that a packet makes of another. */
static __always_inline __u64 next_control(const struct packet *p, __u64 control, bool is_reply)
{
	__u64 kept = control & ~(SEEN_MASK | STATE_MASK | ACTIVE);
	__u8 column = IN, state;

	if (is_reply) {
		column = OUT;
		kept &= ~NO_OUTPUT;
	} else if (control & NO_OUTPUT) {
		column = IN_ONLY;
	}
	state = next_state(p, column, state_of(control));
	if (is_active(p, state))
		kept |= ACTIVE;
	return kept | (__u64)state << STATE_SHIFT | (__u64)p->now << SEEN_SHIFT;
}

/*
 * A packet that may change its connection, whose word was `control`. 0: the connection died under
 * us. Global: the road of nearly all packets goes past it.
 */
__attribute__((noinline)) int move_on(struct connection *c, const struct packet *p, __u64 control,
				      bool is_reply)
{
	__u32 real;

	if (!c || !p)
		return 0;
	real = READ_ONCE(c->real);
	for (__u32 i = 0; i < TOUCH_TRIES; i++) {
		__u64 next = next_control(p, control, is_reply), seen_by_others;

		if (next == control) {
			seen_by_others = READ_ONCE(c->control);
		} else {
			seen_by_others = CAS(&c->control, control, next);
			if (seen_by_others == control && ((next ^ control) & ACTIVE))
				add_to_counts(real,
					      next & ACTIVE ? ONE_ACTIVE - ONE_INACTIVE :
							      ONE_INACTIVE - ONE_ACTIVE,
					      MOVE);
		}
		if (seen_by_others == control) {
			if ((next & CONTROLLED) && assures(p, state_of(next), is_reply))
				assure(READ_ONCE(c->word));
			return 1;
		}
		if ((seen_by_others ^ control) & (GENERATION_MASK | PHASE_MASK))
			return 0;
		control = seen_by_others;
	}
	return 1; /* four times overtaken by other packets of this connection: they touched it */
}

/*
 * A packet meets a live connection: its new state, and that it was seen. False: the connection
 * died under us, which is a miss.
 */
static __always_inline bool touch(struct found *f, const struct packet *p, bool is_reply,
				  __u32 *real)
{
	*real = READ_ONCE(f->slot->real);
	barrier();
	if (changes_nothing(f->control, p, is_reply) && READ_ONCE(f->slot->control) == f->control)
		return true;
	return move_on(f->slot, p, f->control, is_reply);
}
