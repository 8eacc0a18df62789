/* SPDX-License-Identifier: GPL-2.0-only */
/* common.h - the kernel's headers in an order that works, and how a map is declared. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/pkt_cls.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET 2
#define PACKET_HOST 0 /* linux/if_packet.h */

#define MAP_ARRAY(NAME, VALUE, ENTRIES, FLAGS)                                                     \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_ARRAY);                                                  \
		__uint(max_entries, ENTRIES);                                                      \
		__uint(map_flags, FLAGS);                                                          \
		__type(key, __u32);                                                                \
		__type(value, VALUE);                                                              \
	} NAME SEC(".maps")

#define MAP_PERCPU(NAME, VALUE, ENTRIES)                                                           \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                                           \
		__uint(max_entries, ENTRIES);                                                      \
		__type(key, __u32);                                                                \
		__type(value, VALUE);                                                              \
	} NAME SEC(".maps")

#define MAP_HASH(NAME, KEY, VALUE, ENTRIES)                                                        \
	struct {                                                                                   \
		__uint(type, BPF_MAP_TYPE_HASH);                                                   \
		__uint(max_entries, ENTRIES);                                                      \
		__type(key, KEY);                                                                  \
		__type(value, VALUE);                                                              \
	} NAME SEC(".maps")

#define barrier() asm volatile("" ::: "memory")
#define READ_ONCE(x) (*(volatile typeof(x) *)&(x))
#define WRITE_ONCE(x, value) (READ_ONCE(x) = (value))
#define CAS(where, old, new) __sync_val_compare_and_swap(where, old, new)

/* Eight bytes of whatever they are. */
typedef __u64 __attribute__((may_alias)) eight_bytes;

/*
 * bpf_loop. A count of 32 bits may come in a register with anything above them, as the compiler
 * likes, but where the kernel inlines the loop it compares all 64 with its limit, and then does
 * nothing at all.
 */
#define LOOP(COUNT, STEP, CONTEXT)                                                                 \
	({                                                                                         \
		__u64 count_ = (__u32)(COUNT);                                                     \
		asm volatile("" : "+r"(count_));                                                   \
		bpf_loop(count_, STEP, CONTEXT, 0);                                                \
	})
