/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SYN proxy. A SYN is answered with a cookie and leaves nothing behind; the
 * ACK that returns the cookie makes a conn, for which we then open a connection
 * to the real server (RS). Until the RS has answered, the conn has a pending
 * handshake, struct ip_vs_x_sp; after that only two numbers: what to add to
 * sequences each way.
 *
 * ip_vs_x_synproxy.c: cookies, their keys, and when they are sent.
 * ip_vs_x_synproxy_rs.c: the pending handshake.
 *
 * Locking and lifetime of a pending handshake:
 *  1. x->sp is written under cp->lock. Whoever reads it not NULL, with acquire,
 *     takes that lock and reads it again before he uses it.
 *  2. Its timer is armed only under cp->lock while x->sp is that handshake.
 *     Who detaches it under the lock stops the timer afterwards, and frees by
 *     RCU: the timer may be running, and looks x->sp up under the lock.
 *  3. The deltas are written before x->sp becomes NULL with release, so a packet
 *     that sees NULL sees them too.
 *  4. The timer holds no ref on the conn. The conn's memory outlives it by RCU,
 *     because the handshake is detached when the conn is unlinked at the latest.
 *  5. Nothing is sent under cp->lock.
 */
#ifndef _IP_VS_X_SYNPROXY_H
#define _IP_VS_X_SYNPROXY_H

#include "ip_vs_x_cookie.h"
#include "ip_vs_x_pkt.h"

/* What a valid ACK tells: the client's SYN and our cookie */
struct ip_vs_x_ack {
	u32			isn;	/* of the client */
	u32			cookie;
	struct ip_vs_x_syn_opts	opts;	/* of the client's SYN; tsval is that of the ACK */
	unsigned int		hlen;	/* of IP and TCP header, data follows */
	__be16			window;	/* of the ACK */
};

/* ip_vs_x_synproxy.c */

/* SYN and nothing else that counts */
static inline bool ip_vs_x_sp_is_syn(const struct tcphdr *th)
{
	return (tcp_flag_word(th) & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_FIN | TCP_FLAG_RST)) ==
	       TCP_FLAG_SYN;
}

/* May an ACK hold a cookie that the service still takes? */
bool ip_vs_x_sp_takes(const struct ip_vs_x_svc_cfg *cfg);
/* Does the ACK at iph->len hold a valid one? Fills in ack. th is its header. */
bool ip_vs_x_sp_valid(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg,
		      struct tcphdr *th, struct ip_vs_x_ack *ack);
/* The route of a cookie, with a ref; NULL: there is none */
struct dst_entry *ip_vs_x_sp_route(struct netns_ipvs *ipvs, int af, const struct ip_vs_iphdr *iph,
				   const struct tcphdr *th);
/*
 * Answers a SYN with a cookie, by dst if the caller has looked for the route, whose
 * ref is gone then. Always a verdict; skb is gone.
 */
int ip_vs_x_sp_syn(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		   const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg,
		   struct dst_entry *dst);
/*
 * What becomes of packets without a conn, to a service with SYN proxy. Each counts
 * and traces what it decides. answer: a SYN, while cookies are sent; as sp_syn().
 * bad: an ACK that is not valid; the service's policy is the caller's. good: one
 * that is; a verdict, or -1: ip_vs makes no conn of it, and skb is as it was.
 */
int ip_vs_x_sp_answer(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph, const struct ip_vs_service *svc,
		      const struct ip_vs_x_svc_cfg *cfg, struct dst_entry *dst);
void ip_vs_x_sp_bad(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		    const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg);
int ip_vs_x_sp_good(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		    struct ip_vs_proto_data *pd, struct ip_vs_iphdr *iph,
		    struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		    struct tcphdr *th, const struct ip_vs_x_ack *ack);
/* The whole TCP header of a packet, in buf if not in one piece; NULL: it is not there */
struct tcphdr *ip_vs_x_sp_header(const struct sk_buff *skb, unsigned int thoff, u8 *buf);

/* ip_vs_x_synproxy_rs.c */

/*
 * Begins the handshake with the RS of cp for the client whose ACK is skb, which
 * is held if it has data and is gone. A handshake that pends already is given
 * up. The caller has a ref on cp, and sends the SYN that he gets when he holds
 * no lock any more. NULL: no memory, and nothing has changed.
 */
struct sk_buff *ip_vs_x_sp_begin(struct ip_vs_conn *cp, struct sk_buff *skb,
				 struct ip_vs_proto_data *pd, const struct ip_vs_x_svc_cfg *cfg,
				 const struct ip_vs_x_ack *ack);
void ip_vs_x_sp_send(struct ip_vs_conn *cp, struct sk_buff *syn);
/* Is the ACK one of the handshake that pends? So it is if none does any more. */
bool ip_vs_x_sp_own(struct ip_vs_x_conn *x, const struct tcphdr *th);
/* A packet of the client while a handshake pends, no SYN; skb is gone. RCU. */
void ip_vs_x_sp_request(struct ip_vs_conn *cp, struct sk_buff *skb,
			const struct ip_vs_iphdr *iph, const struct tcphdr *th);

#endif
