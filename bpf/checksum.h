/* SPDX-License-Identifier: GPL-2.0-only */
/* checksum.h - the Internet checksum by parts (RFC 1071, RFC 1624). */
#pragma once

#include <linux/types.h>

static __always_inline __u16 fold(__u64 sum)
{
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

/* A header's checksum after 16- or 32-bit words of it have changed. */
static __always_inline __u16 replaced(__u16 check, __u32 old, __u32 new)
{
	return ~fold((__u64)(__u16)~check + (__u32)~old + (__u64)new);
}

/* Of an IPv4 header without options whose checksum field is 0. */
static __always_inline __u16 ip_checksum(const struct iphdr *ip)
{
	const __u16 *word = (const void *)ip;
	__u64 sum = 0;

	for (int i = 0; i < 10; i++)
		sum += word[i];
	return ~fold(sum);
}

/* One hop less to live: TTL is the high byte of its word (RFC 1141). */
static __always_inline void decrement_ttl(struct iphdr *ip)
{
	__u32 check = ip->check + (__u32)bpf_htons(0x0100);

	ip->check = check + (check >= 0xffff);
	ip->ttl--;
}
