// SPDX-License-Identifier: GPL-2.0-only
/*
 * decap.bpf.c - a real server's end of the ipip tunnel, on kernels with and without tunnel modules.
 *
 * At tc ingress: takes the outer header off a packet to one of our VIPs and lets it go on as if
 * it had come without. Nothing else is touched.
 */
#include "common.h"

char _license[] SEC("license") = "GPL";

#define ETH_LEN 14

/* the VIPs that this real server serves, IPv4 in network order -> 1 */
MAP_HASH(decap_vips, __be32, __u32, 256);

SEC("tc")
int onevip_decap(struct __sk_buff *ctx)
{
	void *data = (void *)(long)ctx->data, *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = data;
	struct iphdr *outer = data + ETH_LEN, *inner = outer + 1;

	if (ctx->pkt_type != PACKET_HOST)
		return TC_ACT_UNSPEC;
	if ((void *)(inner + 1) > end) {
		bpf_skb_pull_data(ctx, ctx->len < 128 ? ctx->len : 128);
		data = (void *)(long)ctx->data;
		end = (void *)(long)ctx->data_end;
		eth = data;
		outer = data + ETH_LEN;
		inner = outer + 1;
		if ((void *)(inner + 1) > end)
			return TC_ACT_UNSPEC;
	}
	if (eth->h_proto != bpf_htons(ETH_P_IP) || outer->version != 4 || outer->ihl != 5 ||
	    outer->protocol != IPPROTO_IPIP || (outer->frag_off & bpf_htons(0x3fff)) ||
	    inner->version != 4)
		return TC_ACT_UNSPEC;
	if (!bpf_map_lookup_elem(&decap_vips, &inner->daddr))
		return TC_ACT_UNSPEC;
	if (bpf_skb_adjust_room(ctx, -(int)sizeof(*outer), BPF_ADJ_ROOM_MAC,
				BPF_F_ADJ_ROOM_FIXED_GSO))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}
