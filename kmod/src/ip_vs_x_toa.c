// SPDX-License-Identifier: GPL-2.0-only
/*
 * TOA, the sender: a TCP option that tells the RS the address of the client.
 *
 * The RS reads it from the packet that ends its handshake. Which one that will
 * be is not known here: an ACK may get lost and the RS may wait for data. So
 * every request carries it until the RS has sent what only a socket sends.
 *
 * A packet that has no room for it, or is one of the large ones that the
 * device cuts up, is not changed: a bare ACK with the option goes ahead of it.
 * To the RS that is a duplicate ACK, or the one that ends the handshake.
 */
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include "ip_vs_x_pkt.h"

static bool ip_vs_x_toa_wanted(const struct ip_vs_x_conn *x, const struct tcphdr *th)
{
	if (!ip_vs_x_toa_active(x) || th->rst)
		return false;
	if (th->syn)
		return !th->ack && (READ_ONCE(x->xflags) & IP_VS_X_F_TOA_SYN);
	return th->ack;
}

/* The skb grows at its front: what is counted from its head does not move */
static void ip_vs_x_toa_insert(struct sk_buff *skb, int af, unsigned int thoff, const u8 *opt,
			       unsigned int len)
{
	bool partial = skb->ip_summed == CHECKSUM_PARTIAL;
	unsigned int seg = skb->len - thoff;
	struct tcphdr *th;
	__wsum sum;

	__skb_push(skb, len);
	sum = ip_vs_x_opt_insert(skb->data, thoff, opt, len);
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, thoff);
	skb_unset_mac_header(skb);
	if (partial)
		skb->csum_start -= len;
	if (af == AF_INET6) {
		be16_add_cpu(&ipv6_hdr(skb)->payload_len, len);
	} else {
		be16_add_cpu(&ip_hdr(skb)->tot_len, len);
		ip_send_check(ip_hdr(skb));
	}
	th = tcp_hdr(skb);
	th->check = ip_vs_x_check(th->check, partial,
				  ip_vs_x_sum2(0, htons(seg), htons(seg + len)), sum);
}

/* The bare ACK: the packet's own header, rewritten as it is, without its data */
static struct sk_buff *ip_vs_x_toa_carrier(const struct sk_buff *skb, int af, unsigned int thoff,
					   const u8 *opt, unsigned int len)
{
	struct tcphdr *th = (struct tcphdr *)(skb->data + thoff);
	struct ip_vs_x_seg s = {
		.af = af, .flags = IP_VS_X_TH_ACK, .opt_len = len,
		.source = th->source, .dest = th->dest, .window = th->window,
		.seq = ntohl(th->seq), .ack = ntohl(th->ack_seq),
	};
	const u8 *ts = ip_vs_x_ts_find(th);
	union nf_inet_addr saddr = {}, daddr = {};
	u8 all[IP_VS_X_TOA_LEN6 + 2 + TCPOLEN_TIMESTAMP];

	if (af == AF_INET6) {
		s.ttl = ipv6_hdr(skb)->hop_limit;
		s.tos = ipv6_get_dsfield(ipv6_hdr(skb));
		saddr.in6 = ipv6_hdr(skb)->saddr;
		daddr.in6 = ipv6_hdr(skb)->daddr;
	} else {
		s.ttl = ip_hdr(skb)->ttl;
		s.tos = ip_hdr(skb)->tos;
		saddr.ip = ip_hdr(skb)->saddr;
		daddr.ip = ip_hdr(skb)->daddr;
	}
	s.saddr = &saddr;
	s.daddr = &daddr;
	/* RFC 3168: a bare ACK is not ECN capable */
	s.tos &= ~INET_ECN_MASK;
	memcpy(all, opt, len);
	s.opt = all;
	if (ts) {
		memset(all + len, TCPOPT_NOP, 2);
		memcpy(all + len + 2, ts, TCPOLEN_TIMESTAMP);
		s.opt_len += 2 + TCPOLEN_TIMESTAMP;
	}
	return ip_vs_x_seg_build(&s);
}

/*
 * A carrier to a RS on this host goes through the loopback device. The packet
 * that it announces must not overtake it, so that one is sent the same way.
 */
static bool ip_vs_x_toa_loop(struct sk_buff *skb, const struct ip_vs_x_conn *x)
{
	struct dst_entry *dst = ip_vs_x_route(x->c.ipvs->net, x->c.af, IPPROTO_TCP, &x->c.daddr,
					      &x->laddr, x->c.dport, x->lport);

	if (!dst)
		return false;
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	return true;
}

static int ip_vs_x_toa_carry(struct sk_buff *skb, struct ip_vs_x_conn *x, unsigned int thoff,
			     int local, const u8 *opt, unsigned int len)
{
	struct sk_buff *ack;

	if (local && !ip_vs_x_toa_loop(skb, x)) {
		ip_vs_x_count(&x->c, IPVS_EXT_STAT_TOA_FAIL);
		return local;
	}
	ack = ip_vs_x_toa_carrier(skb, x->c.af, thoff, opt, len);
	if (!ack) {
		ip_vs_x_count(&x->c, IPVS_EXT_STAT_TOA_FAIL);
		return 0;
	}
	skb_dst_copy(ack, skb);
	ack->mark = skb->mark;
	ack->priority = skb->priority;
	ip_vs_x_count(&x->c, IPVS_EXT_STAT_TOA_CARRIER);
	ip_vs_x_send(x->c.ipvs, x->c.af, ack);
	return 0;
}

static bool ip_vs_x_toa_room(const struct sk_buff *skb, const struct tcphdr *th, unsigned int len,
			     int local)
{
	return !skb_is_gso(skb) && ip_vs_x_opt_fits(th, len) &&
	       (local || skb->len + len <= dst_mtu(skb_dst(skb)));
}

int ip_vs_x_toa(struct sk_buff *skb, struct ip_vs_x_conn *x, unsigned int thoff, int local)
{
	struct tcphdr *th = (struct tcphdr *)(skb->data + thoff);
	u8 opt[IP_VS_X_TOA_LEN6], left;
	unsigned int len;

	if (likely(!ip_vs_x_toa_wanted(x, th)))
		return local;
	len = ip_vs_x_toa_build(opt, x->toa_kind, x->c.af == AF_INET6, &x->c.caddr, x->c.cport);
	/* two CPUs may count two packets as one; it must only come to an end */
	left = READ_ONCE(x->toa_left);
	if (left)
		WRITE_ONCE(x->toa_left, left - 1);
	if (!ip_vs_x_toa_room(skb, th, len, local))
		return th->syn ? local : ip_vs_x_toa_carry(skb, x, thoff, local, opt, len);
	if (skb_cow_head(skb, len)) {
		ip_vs_x_count(&x->c, IPVS_EXT_STAT_TOA_FAIL);
		return local;
	}
	ip_vs_x_toa_insert(skb, x->c.af, thoff, opt, len);
	ip_vs_x_count(&x->c, IPVS_EXT_STAT_TOA_OK);
	return local;
}
