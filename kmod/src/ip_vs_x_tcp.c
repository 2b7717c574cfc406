// SPDX-License-Identifier: GPL-2.0-only
/*
 * TCP between two worlds: what a conn knows of sequence numbers, timestamps
 * and MSS, and segments of our own making.
 *
 * Why numbers are shifted at all: all clients reach a RS from a few addresses,
 * so a local port comes back soon, with another client and another clock. The
 * RS may still hold a TIME_WAIT record of it. A SYN whose sequence grows with
 * time is "new" to that record, whoever sent it.
 *
 * Locking: cp->lock guards the choice of the deltas and every change of xflags
 * after publication, so that two copies of a SYN on two CPUs get one answer.
 * Packets read the results without it; the choice is made before the SYN goes
 * out, and nobody has a packet to shift before that.
 */
#include <linux/net.h>
#include <linux/once.h>
#include <linux/siphash.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include "ip_vs_x_pkt.h"

#define IP_VS_X_STORM	128U	/* ACKs of which each is like the one before */

/* As the kernel chooses for its own sockets: per 4-tuple, plus 64 ns a step */
static u32 ip_vs_x_isn(const struct ip_vs_x_conn *x)
{
	static siphash_key_t key __read_mostly;
	u32 ports = (__force u32)x->lport << 16 | (__force u32)x->c.dport;
	u64 hash;

	net_get_random_once(&key, sizeof(key));
	if (x->c.af == AF_INET6) {
		struct {
			struct in6_addr	laddr;
			struct in6_addr	daddr;
			u32		ports;
		} __aligned(SIPHASH_ALIGNMENT) t = { x->laddr.in6, x->c.daddr.in6, ports };

		hash = siphash(&t, offsetofend(typeof(t), ports), &key);
	} else {
		hash = siphash_3u32((__force u32)x->laddr.ip, (__force u32)x->c.daddr.ip, ports,
				    &key);
	}
	return (u32)hash + (u32)(ktime_get_ns() >> 6);
}

static bool ip_vs_x_tcp_over(unsigned int state)
{
	return state == IP_VS_TCP_S_TIME_WAIT || state == IP_VS_TCP_S_CLOSE;
}

/*
 * A SYN. The deltas stay for a retransmitted one. They are chosen anew when
 * the conn was over before: a controlled conn of a persistent service is not
 * replaced by ip_vs. cp->state is no help there, it has moved on already.
 */
static void ip_vs_x_tcp_open(struct ip_vs_x_conn *x, struct tcphdr *th)
{
	u16 xflags;
	u8 *ts;

	spin_lock_bh(&x->c.lock);
	xflags = x->xflags & ~IP_VS_X_F_TOA_DONE;
	if (!(xflags & IP_VS_X_F_ISN) || ip_vs_x_tcp_over(x->last_state)) {
		if (xflags & IP_VS_X_F_SEQ)
			WRITE_ONCE(x->isn_delta, ip_vs_x_isn(x) - ntohl(th->seq));
		ts = xflags & IP_VS_X_F_TS_REBASE ? ip_vs_x_ts_find(th) : NULL;
		if (ts) {
			WRITE_ONCE(x->ts_delta, (u32)ktime_to_ms(ktime_get()) -
						get_unaligned_be32(ts + 2));
			xflags |= IP_VS_X_F_TS_SET;
		}
		xflags |= IP_VS_X_F_ISN;
	}
	WRITE_ONCE(x->toa_left, IP_VS_X_TOA_MAX);
	WRITE_ONCE(x->xflags, xflags);
	WRITE_ONCE(x->last_state, x->c.state);
	spin_unlock_bh(&x->c.lock);
}

void ip_vs_x_tcp_request(struct ip_vs_x_conn *x, struct tcphdr *th, struct ip_vs_x_edit *e)
{
	u16 xflags;

	if (unlikely(th->syn && !th->ack))
		ip_vs_x_tcp_open(x, th);
	else if (unlikely(READ_ONCE(x->last_state) != x->c.state))
		WRITE_ONCE(x->last_state, x->c.state);

	xflags = READ_ONCE(x->xflags);
	if (unlikely(xflags & IP_VS_X_F_HALF_OPEN) && x->c.state != IP_VS_TCP_S_SYN_RECV)
		ip_vs_x_auto_answered(x);
	if ((xflags & IP_VS_X_F_SP) && th->ack)
		WRITE_ONCE(*ip_vs_x_last_ack(x), ntohl(th->ack_seq));
	e->seq = READ_ONCE(x->isn_delta);
	e->ack = -READ_ONCE(x->sp_delta);
	e->mss_max = x->mss_clamp;
	e->toa_kind = x->toa_kind;
	e->win = (s8)(READ_ONCE(x->win_shift) >> 8);
	e->flags = IP_VS_X_EDIT_NO_TOA;
	if (xflags & IP_VS_X_F_TS_STRIP)
		e->flags |= IP_VS_X_EDIT_TS_STRIP;
	if (xflags & IP_VS_X_F_TS_SET) {
		e->flags |= IP_VS_X_EDIT_TS;
		e->tsval = READ_ONCE(x->ts_delta);
	}
	if (xflags & IP_VS_X_F_TS_SP) {
		e->flags |= IP_VS_X_EDIT_TS;
		e->tsecr = -READ_ONCE(*ip_vs_x_ts_sp(x));
	}
}

/* The RS has answered what no SYN/ACK is, so it has a socket that knows */
static void ip_vs_x_toa_done(struct ip_vs_x_conn *x)
{
	spin_lock_bh(&x->c.lock);
	WRITE_ONCE(x->xflags, x->xflags | IP_VS_X_F_TOA_DONE);
	spin_unlock_bh(&x->c.lock);
}

/*
 * What both ends expect next, in the RS's numbers: an RST with other numbers is
 * taken by nobody. seg is the length with the header.
 */
static void ip_vs_x_tcp_seen(struct ip_vs_x_conn *x, const struct tcphdr *th, unsigned int seg)
{
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_conn_cfg(&x->c);
	u32 end = ntohl(th->seq) + seg - th->doff * 4 + th->syn + th->fin;

	if (!cfg || !(cfg->flags & IPVS_EXT_SVC_F_RST_ON_EXPIRE) || !th->ack || th->rst)
		return;
	/* a segment sent again, or overtaken, ends before another did */
	if (!(READ_ONCE(x->xflags) & IP_VS_X_F_SEEN) || th->syn || after(end, x->rs_seq))
		WRITE_ONCE(x->rs_seq, end);
	WRITE_ONCE(x->rs_ack, ntohl(th->ack_seq));
	if (unlikely(!(READ_ONCE(x->xflags) & IP_VS_X_F_SEEN))) {
		spin_lock_bh(&x->c.lock);
		WRITE_ONCE(x->xflags, x->xflags | IP_VS_X_F_SEEN);
		spin_unlock_bh(&x->c.lock);
	}
}

void ip_vs_x_tcp_reply(struct ip_vs_x_conn *x, const struct tcphdr *th, unsigned int seg,
		       struct ip_vs_x_edit *e)
{
	u16 xflags = READ_ONCE(x->xflags);

	if (static_branch_unlikely(&ip_vs_x_live_key))
		ip_vs_x_tcp_seen(x, th, seg);
	/* only its end: a late reply must not hide from a new SYN that it was over */
	if (unlikely(ip_vs_x_tcp_over(x->c.state)))
		WRITE_ONCE(x->last_state, x->c.state);
	if (unlikely(xflags & IP_VS_X_F_HALF_OPEN) && x->c.state != IP_VS_TCP_S_SYN_RECV)
		ip_vs_x_auto_answered(x);
	if ((xflags & (IP_VS_X_F_TOA | IP_VS_X_F_TOA_DONE)) == IP_VS_X_F_TOA &&
	    th->ack && !th->syn && !th->rst)
		ip_vs_x_toa_done(x);

	e->seq = READ_ONCE(x->sp_delta);
	e->ack = -READ_ONCE(x->isn_delta);
	e->mss_max = x->mss_clamp;
	if (xflags & IP_VS_X_F_TOA)
		e->mss_sub = ip_vs_x_toa_len(x->c.af == AF_INET6);
	if (xflags & IP_VS_X_F_TS_SET) {
		e->flags |= IP_VS_X_EDIT_TS;
		e->tsecr = -READ_ONCE(x->ts_delta);
	}
	if (xflags & IP_VS_X_F_TS_SP) {
		e->flags |= IP_VS_X_EDIT_TS;
		e->tsval = READ_ONCE(*ip_vs_x_ts_sp(x));
	}
	e->win = (s8)READ_ONCE(x->win_shift);
}

/* SACK blocks tell of new data; such ACKs are never alike for long */
static bool ip_vs_x_has_sack(struct tcphdr *th)
{
	struct ip_vs_x_opts w = ip_vs_x_opts(th);
	u8 *o;

	if (th->doff == 5 || ip_vs_x_only_ts(th))
		return false;
	while ((o = ip_vs_x_opt_next(&w)))
		if (o[0] == TCPOPT_SACK)
			return true;
	return false;
}

/*
 * Two ends whose numbers do not agree answer each other for ever: of a SYN
 * proxy, which stands for both, one may get the other's old ones. Bare ACKs
 * that repeat themselves are what shows it; a row of them is also how a host
 * tells of a loss, or that it is alive, but not that long and that fast. The
 * numbers are kept without a lock: a lost step does no harm.
 */
bool ip_vs_x_tcp_storm(struct ip_vs_x_conn *x, struct tcphdr *th, unsigned int len)
{
	u32 *row = ip_vs_x_storm(x), key, n, now;

	if (len > th->doff * 4 || th->syn || th->fin || th->rst || !th->ack)
		return false;
	key = ntohl(th->seq) ^ rol32(ntohl(th->ack_seq), 11) ^ rol32(ntohs(th->window), 23);
	n = READ_ONCE(*row);
	now = (jiffies / HZ) & 0xffff;
	if (key != READ_ONCE(*ip_vs_x_storm_key(x)) || ((now - n) & 0xffff) > 1 ||
	    ip_vs_x_has_sack(th)) {
		WRITE_ONCE(*ip_vs_x_storm_key(x), key);
		WRITE_ONCE(*row, now);
		return false;
	}
	n = min(n >> 16, IP_VS_X_STORM) + 1;
	WRITE_ONCE(*row, n << 16 | now);
	return n > IP_VS_X_STORM;
}

static void ip_vs_x_seg_ip(struct iphdr *ih, const struct ip_vs_x_seg *s, unsigned int len)
{
	ih->version = 4;
	ih->ihl = 5;
	ih->tos = s->tos;
	ih->tot_len = htons(sizeof(*ih) + len);
	ih->id = 0;
	ih->frag_off = htons(IP_DF);
	ih->ttl = s->ttl;
	ih->protocol = IPPROTO_TCP;
	ih->saddr = s->saddr->ip;
	ih->daddr = s->daddr->ip;
	ih->check = 0;
	ih->check = ip_fast_csum(ih, 5);
}

static void ip_vs_x_seg_ip6(struct ipv6hdr *ih, const struct ip_vs_x_seg *s, unsigned int len)
{
	ip6_flow_hdr(ih, s->tos, 0);
	ih->payload_len = htons(len);
	ih->nexthdr = IPPROTO_TCP;
	ih->hop_limit = s->ttl;
	ih->saddr = s->saddr->in6;
	ih->daddr = s->daddr->in6;
}

/* Behind the headroom of an empty skb that has IP_VS_X_SEG_MAX bytes of room */
static void ip_vs_x_seg_write(struct sk_buff *skb, const struct ip_vs_x_seg *s)
{
	unsigned int hlen = s->af == AF_INET6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);
	unsigned int len = sizeof(struct tcphdr) + s->opt_len;
	void *ih = __skb_put(skb, hlen + len);
	struct tcphdr *th = ih + hlen;
	__wsum sum;

	skb->ip_summed = CHECKSUM_NONE;
	skb_reset_network_header(skb);
	skb_set_transport_header(skb, hlen);
	th->source = s->source;
	th->dest = s->dest;
	th->seq = htonl(s->seq);
	th->ack_seq = htonl(s->ack);
	/* with the data offset, flags and window */
	tcp_flag_word(th) = htonl((u32)len / 4 << 28 | (u32)s->flags << 16 | ntohs(s->window));
	th->check = 0;
	th->urg_ptr = 0;
	if (s->opt_len)
		memcpy(th + 1, s->opt, s->opt_len);
	sum = csum_partial(th, len, 0);
	if (s->af == AF_INET6) {
		skb->protocol = htons(ETH_P_IPV6);
		ip_vs_x_seg_ip6(ih, s, len);
		th->check = csum_ipv6_magic(&s->saddr->in6, &s->daddr->in6, len, IPPROTO_TCP, sum);
	} else {
		skb->protocol = htons(ETH_P_IP);
		ip_vs_x_seg_ip(ih, s, len);
		th->check = csum_tcpudp_magic(s->saddr->ip, s->daddr->ip, len, IPPROTO_TCP, sum);
	}
}

bool ip_vs_x_seg_fits(const struct sk_buff *skb)
{
	/* nobody else sees it (a tap, say), and all of it is in one piece */
	return skb->dev && !skb_cloned(skb) && !skb_is_nonlinear(skb) &&
	       skb_end_pointer(skb) - skb->data >= IP_VS_X_SEG_MAX;
}

void ip_vs_x_seg_turn(struct sk_buff *skb, const struct ip_vs_x_seg *s)
{
	skb_gso_reset(skb);
	skb_ext_reset(skb);
	memset(skb->cb, 0, sizeof(skb->cb));
	__skb_trim(skb, 0);
	ip_vs_x_seg_write(skb, s);
}

struct sk_buff *ip_vs_x_seg_build(const struct ip_vs_x_seg *s)
{
	struct sk_buff *skb = alloc_skb(MAX_TCP_HEADER + IP_VS_X_SEG_MAX, GFP_ATOMIC);

	if (!skb)
		return NULL;
	skb_reserve(skb, MAX_TCP_HEADER);
	ip_vs_x_seg_write(skb, s);
	return skb;
}

/* The answer of RFC 9293, 3.10.7.1, to a segment for which there is no socket */
static void ip_vs_x_rst_to(struct ip_vs_x_seg *s, const struct tcphdr *th, unsigned int data)
{
	s->source = th->dest;
	s->dest = th->source;
	s->flags = IP_VS_X_TH_RST;
	if (th->ack) {
		s->seq = ntohl(th->ack_seq);
	} else {
		s->flags |= IP_VS_X_TH_ACK;
		s->ack = ntohl(th->seq) + th->syn + th->fin + data;
	}
}

void ip_vs_x_answer_rst(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			const struct ip_vs_iphdr *iph)
{
	struct ip_vs_x_seg s = { .af = af, .ttl = 64, .saddr = &iph->daddr, .daddr = &iph->saddr };
	struct tcphdr _th, *th;
	struct dst_entry *dst;
	struct sk_buff *rst;

	if (iph->protocol != IPPROTO_TCP || iph->fragoffs || ip_vs_iph_icmp(iph))
		return;
	th = skb_header_pointer(skb, iph->len, sizeof(_th), &_th);
	if (!th || th->rst || th->doff < 5 || iph->len + th->doff * 4 > skb->len ||
	    !ip_vs_checksum_common_check(skb, iph->len, IPPROTO_TCP, af))
		return;
	ip_vs_x_rst_to(&s, th, skb->len - iph->len - th->doff * 4);
	dst = ip_vs_x_route(ipvs->net, af, IPPROTO_TCP, s.daddr, s.saddr, s.dest, s.source);
	if (!dst)
		return;
	rst = ip_vs_x_seg_build(&s);
	if (!rst) {
		dst_release(dst);
		return;
	}
	skb_dst_set(rst, dst);
	ip_vs_x_send(ipvs, af, rst);
}

/* One half; the route is the caller's. */
static void ip_vs_x_expire_half(struct ip_vs_x_conn *x, const struct ip_vs_x_seg *s,
				struct dst_entry *dst)
{
	struct sk_buff *rst = ip_vs_x_seg_build(s);

	if (!rst) {
		ip_vs_x_drop_conn(&x->c, IPVS_EXT_STAT_MEM);
		dst_release(dst);
		return;
	}
	skb_dst_set(rst, dst);
	ip_vs_x_send(x->c.ipvs, x->c.af, rst);
}

/*
 * Each end gets the number that it expects, or RFC 5961 has it answer with an
 * ACK that nobody would understand any more. To have been idle this long is to
 * have been acknowledged: what the RS said last is what holds.
 */
void ip_vs_x_expire_rst(struct ip_vs_x_conn *x)
{
	struct ip_vs_conn *cp = &x->c;
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_conn_cfg(cp);
	struct ip_vs_x_seg s = {
		.af = cp->af, .ttl = 64, .flags = IP_VS_X_TH_RST | IP_VS_X_TH_ACK,
		.saddr = &cp->vaddr, .daddr = &cp->caddr, .source = cp->vport, .dest = cp->cport,
		.seq = x->rs_seq + x->sp_delta, .ack = x->rs_ack - x->isn_delta,
	};
	struct dst_entry *dst;

	/* not when the namespace goes, nor when it was switched off since */
	if (cp->state != IP_VS_TCP_S_ESTABLISHED || !READ_ONCE(cp->ipvs->enable) ||
	    (cfg && !(cfg->flags & IPVS_EXT_SVC_F_RST_ON_EXPIRE)))
		return;
	ip_vs_x_count(cp, IPVS_EXT_STAT_EXPIRE_RST);
	dst = ip_vs_x_route(cp->ipvs->net, cp->af, IPPROTO_TCP, &cp->caddr, &cp->vaddr, cp->cport,
			    cp->vport);
	if (dst)
		ip_vs_x_expire_half(x, &s, dst);
	s.saddr = &x->laddr;
	s.daddr = &cp->daddr;
	s.source = x->lport;
	s.dest = cp->dport;
	s.seq = x->rs_ack;
	s.ack = x->rs_seq;
	dst = ip_vs_x_route(cp->ipvs->net, cp->af, IPPROTO_TCP, &cp->daddr, &x->laddr, cp->dport,
			    x->lport);
	if (dst)
		ip_vs_x_expire_half(x, &s, dst);
}
