/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * rings.h - a client always gets the same real server: sh and mh; a destination does: dh.
 *
 * A hash of the address leads into a ring that user space made (schedulers/rings.py); it lies right
 * behind the chunks of its list, so one store of service->list swaps both. Hashes are the kernel's
 * (spec ipvs 4.0, 4.3 to 4.5), so that a director with IPVS chooses the same.
 */
#pragma once

#include "lists.h"

#define BUCKET_BITS 8
#define MAGLEV_KEY 2654435761ULL

/* An address in 32 bits. */
static __always_inline __u32 fold_address(const struct address *a)
{
	if (is_mapped(a))
		return bpf_ntohl(a->word[3]);
	return bpf_ntohl(a->word[0] ^ a->word[1] ^ a->word[2] ^ a->word[3]);
}

static __always_inline __u32 hash32(__u32 value, __u32 bits)
{
	return value * 0x61c88647U >> (32 - bits);
}

static __always_inline __u64 rotated(__u64 value, __u32 bits)
{
	return value << bits | value >> (64 - bits);
}

static __always_inline void sip_round(__u64 v[4])
{
	v[0] += v[1];
	v[1] = rotated(v[1], 13) ^ v[0];
	v[0] = rotated(v[0], 32);
	v[2] += v[3];
	v[3] = rotated(v[3], 16) ^ v[2];
	v[0] += v[3];
	v[3] = rotated(v[3], 21) ^ v[0];
	v[2] += v[1];
	v[1] = rotated(v[1], 17) ^ v[2];
	v[2] = rotated(v[2], 32);
}

/* SipHash-1-3 of four bytes, its low half: hsiphash on 64-bit machines. Global: verified once. */
__attribute__((noinline)) __u32 maglev_hash(__u32 value)
{
	__u64 block = 4ULL << 56 | value; /* the length stands in the last byte */
	__u64 v[4] = { 0x736f6d6570736575 ^ MAGLEV_KEY, 0x646f72616e646f6d ^ MAGLEV_KEY,
		       0x6c7967656e657261 ^ MAGLEV_KEY, 0x7465646279746573 ^ MAGLEV_KEY };

	v[3] ^= block;
	sip_round(v);
	v[0] ^= block;
	v[2] ^= 0xff;
	sip_round(v);
	sip_round(v);
	sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

/* Whose a place is, or NOBODY. */
static __always_inline __u32 at_place(__u32 ring, __u32 place)
{
	struct ring_part *part = (void *)chunk_at(ring + place / RING_PART);

	place %= RING_PART;
	asm volatile("" : "+r"(place)); /* what is tested is what is used, for the verifier */
	return part && place < RING_PART ? part->real[place] : NOBODY;
}

/* With weight, and not overloaded. That the weight stands in the ring keeps an edit in one piece. */
static __always_inline bool is_eligible(__u32 at_place)
{
	const struct all_real_counts *all = the_counts();

	return all && !(at_place & QUIESCENT) && !READ_ONCE(counts_of(all, at_place)->overloaded);
}

struct detour {
	__u32 ring;
	__u32 key;
	__u32 start; /* the place whose real server is not available */
	__u32 real;
};

static __always_inline long try_place(struct detour *d, __u32 place)
{
	__u32 real = at_place(d->ring, place);

	if (real != NOBODY && !is_eligible(real))
		return 0;
	d->real = real;
	return 1;
}

/* The kernel adds the place to the hash a second time: it begins at twice the hash. */
static long try_bucket(__u32 step, struct detour *d)
{
	return try_place(d, (2 * d->start + step) % RING_BUCKETS);
}

static long try_maglev(__u32 step, struct detour *d)
{
	return try_place(d, maglev_hash((d->start + step) % MAGLEV_PLACES + d->key) % MAGLEV_PLACES);
}

/* Global: verified once. */
__attribute__((noinline)) long on_ring(const struct packet *p, __u32 list, __u32 flags)
{
	struct chunk *head = chunk_at(list);
	struct detour d = { .real = NOBODY };
	__u32 scheduler, real;

	if (!p || !head)
		return NO_REAL_SERVER;
	scheduler = head->scheduler;
	d.ring = list + chunks_of(head->count);
	if (scheduler == SCHED_DH) {
		real = at_place(d.ring, hash32(fold_address(&p->flow.destination), BUCKET_BITS));
		return real != NOBODY && is_eligible(real) ? (long)real : NO_REAL_SERVER;
	}
	d.key = fold_address(&p->flow.source);
	if (flags & SCHED_PORT)
		d.key += bpf_ntohs(p->flow.source_port);
	d.start = scheduler == SCHED_SH ? hash32(d.key, BUCKET_BITS) :
					  maglev_hash(d.key) % MAGLEV_PLACES;
	real = at_place(d.ring, d.start);
	if (real == NOBODY)
		return NO_REAL_SERVER;
	if (is_eligible(real))
		return real;
	if (!(flags & SCHED_FALLBACK))
		return NO_REAL_SERVER;
	if (scheduler == SCHED_SH)
		LOOP(RING_BUCKETS, try_bucket, &d);
	else
		LOOP(MAGLEV_PLACES, try_maglev, &d);
	return d.real == NOBODY ? NO_REAL_SERVER : (long)d.real;
}
