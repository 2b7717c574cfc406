/* SPDX-License-Identifier: GPL-2.0-only */
/* What ip_vs_x_xmit.c, _tcp.c, _toa.c and _icmp.c share; nobody else's */
#ifndef _IP_VS_X_PKT_H
#define _IP_VS_X_PKT_H

#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/skbuff.h>
#include "ip_vs_x.h"
#include "ip_vs_x_pure.h"

#if !IS_ENABLED(CONFIG_IP_VS_IPV6)
#error "the FNAT extension of ip_vs needs CONFIG_IP_VS_IPV6"
#endif

/* ip_vs_x_xmit.c */

/* A route with a ref, or NULL. Ports pick the path where there are several. */
struct dst_entry *ip_vs_x_route(struct net *net, int af, u8 protocol,
				const union nf_inet_addr *daddr, const union nf_inet_addr *saddr,
				__be16 dport, __be16 sport);
bool ip_vs_x_dst_local(int af, const struct dst_entry *dst);
/*
 * A packet that came by a hook and goes to the client by dst: tests TTL and
 * MTU. False: it must be dropped, its sender got an ICMP error. Before any
 * change, because the error quotes the packet as it was sent.
 */
bool ip_vs_x_may_forward(struct sk_buff *skb, struct ip_vs_conn *cp, const struct dst_entry *dst,
			 unsigned int hooknum);
/* Makes the first len bytes writable and reserves headroom for dst and more */
bool ip_vs_x_writable(struct sk_buff *skb, const struct dst_entry *dst, unsigned int len,
		      unsigned int more);
/* Writes the addresses of the IP header at h, and its checksum if it has one */
void ip_vs_x_set_addrs(void *h, int af, const union nf_inet_addr *saddr,
		       const union nf_inet_addr *daddr);
/*
 * Ends a packet whose transport header is rewritten for the client: addresses,
 * then NF_ACCEPT or out it goes.
 */
unsigned int ip_vs_x_to_client(struct sk_buff *skb, struct ip_vs_conn *cp, struct dst_entry *dst,
			       unsigned int hooknum);
/* The same towards the RS, addresses done; local as ip_vs_x_out_rt() told */
int ip_vs_x_to_rs(struct sk_buff *skb, struct ip_vs_conn *cp, int local);
/* A RS that this host is, on an address that nobody outside may reach */
bool ip_vs_x_martian_rs(const struct sk_buff *skb, const struct ip_vs_conn *cp);
/* Does what rs sent to lip, or an error about lip->rs, belong to the RS's half of cp? */
bool ip_vs_x_is_reply(const struct ip_vs_conn *cp, const union nf_inet_addr *rs,
		      const union nf_inet_addr *lip);
/* Accepts a packet that is not to be changed */
unsigned int ip_vs_x_pass(struct sk_buff *skb);
static inline u8 ip_vs_x_ttl_of(const struct sk_buff *skb)
{
	return skb->protocol == htons(ETH_P_IPV6) ? ipv6_hdr(skb)->hop_limit : ip_hdr(skb)->ttl;
}

/* Counts, frees and returns NF_STOLEN */
int ip_vs_x_drop(struct sk_buff *skb, const struct ip_vs_conn *cp, unsigned int stat);

/* ip_vs_x_tcp.c */
void ip_vs_x_tcp_request(struct ip_vs_x_conn *x, struct tcphdr *th, struct ip_vs_x_edit *e);
/* seg: bytes from the TCP header on */
void ip_vs_x_tcp_reply(struct ip_vs_x_conn *x, const struct tcphdr *th, unsigned int seg,
		       struct ip_vs_x_edit *e);
/*
 * Is it one of an endless row? Then it must be dropped. th is of a reply as it
 * came, with all of its header; len counts the segment with its data.
 */
bool ip_vs_x_tcp_storm(struct ip_vs_x_conn *x, struct tcphdr *th, unsigned int len);

/* A TCP segment without data, all of it. What it points to is the caller's. */
struct ip_vs_x_seg {
	int		af;
	u8		ttl;
	u8		tos;
	u8		flags;		/* of byte 13 */
	u8		opt_len;	/* multiple of 4 */
	const union nf_inet_addr *saddr;
	const union nf_inet_addr *daddr;
	__be16		source;
	__be16		dest;
	u32		seq;
	u32		ack;
	__be16		window;
	const u8	*opt;		/* opt_len bytes */
};

#define IP_VS_X_TH_SYN	0x02
#define IP_VS_X_TH_RST	0x04
#define IP_VS_X_TH_ACK	0x10

#define IP_VS_X_SEG_MAX	(sizeof(struct ipv6hdr) + IP_VS_X_TCP_MAX)

/* May a packet that came in be replaced by a segment in its own skb? */
bool ip_vs_x_seg_fits(const struct sk_buff *skb);
/* Then does so; owner, route, mark and priority are the caller's */
void ip_vs_x_seg_turn(struct sk_buff *skb, const struct ip_vs_x_seg *s);
/* An skb with headroom for any device and no route yet, or NULL */
struct sk_buff *ip_vs_x_seg_build(const struct ip_vs_x_seg *s);

/* ip_vs_x_toa.c */

/* Will this conn's next packets still tell the RS who the client is? */
static inline bool ip_vs_x_toa_active(const struct ip_vs_x_conn *x)
{
	return (READ_ONCE(x->xflags) & (IP_VS_X_F_TOA | IP_VS_X_F_TOA_DONE)) == IP_VS_X_F_TOA &&
	       READ_ONCE(x->toa_left);
}

/*
 * Adds TOA to a request that is rewritten and has its route; thoff is where its
 * TCP header starts. Returns local, which becomes 0 when the packet has to go
 * through the loopback device, behind the ACK that carries the option for it.
 */
int ip_vs_x_toa(struct sk_buff *skb, struct ip_vs_x_conn *x, unsigned int thoff, int local);

#endif
