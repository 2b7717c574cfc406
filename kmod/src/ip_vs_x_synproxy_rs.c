// SPDX-License-Identifier: GPL-2.0-only
/*
 * SYN proxy, towards real servers: the handshake on behalf of a client whose
 * cookie came back, and the data he has sent meanwhile. See the header for
 * locking.
 *
 * All that goes to the RS is made as if the client had sent it, and leaves by
 * the transmitter of every other request: so addresses, sequences and TOA are as
 * they would be without a proxy.
 */
#include <linux/slab.h>
#include <net/ip.h>
#include <net/ipv6.h>
#include <net/tcp.h>
#include "ip_vs_x_synproxy.h"

#define X_BACKOFF_MAX	5		/* 32 s between two SYNs at most */
#define X_HELD_MAX	65535U		/* bytes of data held for one client */

/* A pending handshake */
struct ip_vs_x_sp {
	struct timer_list	timer;
	struct ip_vs_x_conn	*x;
	struct ip_vs_proto_data	*pd;
	struct dst_entry	*dst;		/* by which the client's ACK came; a ref */
	struct sk_buff_head	held;		/* data, in order of arrival; cp->lock */
	unsigned int		held_bytes;
	unsigned int		held_mem;	/* counted in xnet->sp_qmem */
	struct ip_vs_x_ack	ack;		/* of the cookie; window of the newest ACK */
	u8			wscale;		/* of the cookie, 0 for none */
	u8			retries;
	u8			tries;		/* SYNs sent again */
	u8			queue;
	u8			ttl;		/* of what goes to the client */
	u8			client_ttl;	/* of what goes to the RS, as his ACK had it */
	u8			tos;
	__be16			syn_window;
	u32			mark;
	struct rcu_head		rcu_head;
};

static struct kmem_cache *x_sp_cachep __read_mostly;

static void x_sp_rcu_free(struct rcu_head *head)
{
	kmem_cache_free(x_sp_cachep, container_of(head, struct ip_vs_x_sp, rcu_head));
}

static void x_unhold(struct ip_vs_x_net *xnet, struct sk_buff_head *held, unsigned int mem)
{
	__skb_queue_purge(held);
	atomic64_sub(mem, &xnet->sp_qmem);
}

/* Of one that is detached and whose lock is released */
static void x_sp_free(struct ip_vs_x_sp *sp)
{
	del_timer(&sp->timer);
	x_unhold(ip_vs_x_net(sp->x->c.ipvs), &sp->held, sp->held_mem);
	dst_release(sp->dst);
	call_rcu(&sp->rcu_head, x_sp_rcu_free);
}

/* cp->lock. The caller frees what it gets. */
static struct ip_vs_x_sp *x_sp_detach(struct ip_vs_x_conn *x)
{
	struct ip_vs_x_sp *sp = x->sp;

	/* pairs with the acquire of packets: the deltas are there before sp is not */
	smp_store_release(&x->sp, NULL);
	return sp;
}

void ip_vs_x_sp_drop(struct ip_vs_x_conn *x)
{
	struct ip_vs_x_sp *sp;

	spin_lock_bh(&x->c.lock);
	sp = x_sp_detach(x);
	spin_unlock_bh(&x->c.lock);
	if (sp)
		x_sp_free(sp);
}

/* Segments */

/* From the client to the service, as it comes in */
static struct ip_vs_x_seg x_from_client(const struct ip_vs_conn *cp, u8 flags, u8 ttl)
{
	return (struct ip_vs_x_seg) {
		.af = cp->af, .flags = flags, .ttl = ttl, .saddr = &cp->caddr, .daddr = &cp->vaddr,
		.source = cp->cport, .dest = cp->vport,
	};
}

/* What the transmitter leaves to a RS on this host goes through the loopback device */
static void x_loop(struct sk_buff *skb, struct ip_vs_x_conn *x)
{
	struct ip_vs_conn *cp = &x->c;
	struct dst_entry *dst = ip_vs_x_route(cp->ipvs->net, cp->af, IPPROTO_TCP, &cp->daddr,
					      &x->laddr, cp->dport, x->lport);

	if (!dst) {
		ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_ROUTE_FAIL);
		return;
	}
	skb_dst_drop(skb);
	skb_dst_set(skb, dst);
	ip_vs_x_send(cp->ipvs, cp->af, skb);
}

/* A packet of the client's side, on its way to the RS; consumes it */
static void x_to_rs(struct sk_buff *skb, struct ip_vs_x_conn *x)
{
	struct ip_vs_iphdr iph;

	ip_vs_fill_iph_skb(x->c.af, skb, false, &iph);
	if (ip_vs_x_xmit(skb, &x->c, NULL, &iph) == NF_ACCEPT)
		x_loop(skb, x);
}

/* Builds and sends one; dst is the route by which the client's packets come. RCU. */
static void x_seg_to_rs(struct ip_vs_x_conn *x, const struct ip_vs_x_seg *s,
			struct dst_entry *dst)
{
	struct sk_buff *skb = ip_vs_x_seg_build(s);

	if (!skb) {
		ip_vs_x_drop_conn(&x->c, IPVS_EXT_STAT_MEM);
		return;
	}
	skb_dst_set_noref(skb, dst);
	x_to_rs(skb, x);
}

static void x_seg_to_client(struct ip_vs_x_conn *x, struct sk_buff *skb)
{
	struct dst_entry *dst = ip_vs_x_client_dst(x);

	if (!dst) {
		kfree_skb(skb);
		return;
	}
	skb_dst_set_noref(skb, dst);
	ip_vs_x_send(x->c.ipvs, x->c.af, skb);
}

/* The option of a segment that is no SYN, into IP_VS_X_SYN_OPTS_MAX bytes; its length */
static u8 x_ts_put(u8 *opt, u32 tsval, u32 tsecr)
{
	opt[0] = TCPOPT_NOP;
	opt[1] = TCPOPT_NOP;
	return ip_vs_x_ts_put(opt + 2, tsval, tsecr) - opt;
}

/* From the service to the client; with TS if that was agreed on */
static struct sk_buff *x_for_client(const struct ip_vs_x_sp *sp, u8 flags, u16 window, u32 ack)
{
	const struct ip_vs_conn *cp = &sp->x->c;
	u8 opt[IP_VS_X_SYN_OPTS_MAX];
	struct ip_vs_x_seg s = {
		.af = cp->af, .flags = flags, .ttl = sp->ttl, .saddr = &cp->vaddr,
		.daddr = &cp->caddr, .source = cp->vport, .dest = cp->cport,
		.seq = sp->ack.cookie + 1, .ack = ack, .window = htons(window), .opt = opt,
	};
	struct sk_buff *skb;

	if (sp->ack.opts.ts && !(flags & IP_VS_X_TH_RST))
		s.opt_len = x_ts_put(opt, sp->ack.opts.tsecr, sp->ack.opts.tsval);
	skb = ip_vs_x_seg_build(&s);
	if (!skb)
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_MEM);
	return skb;
}

/* The state that ip_vs gives a conn for such a packet */
static void x_state(struct ip_vs_conn *cp, int dir, struct sk_buff *skb,
		    struct ip_vs_proto_data *pd)
{
	unsigned int len = cp->af == AF_INET6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr);

	X_TRANSITION(cp, dir, skb, pd, len);
}

/* An event, at most once a second and service. RCU. */
static void x_tell_fail(const struct ip_vs_conn *cp)
{
	struct ip_vs_service *svc = ip_vs_x_conn_svc(cp);
	struct ip_vs_x_service *xs;

	if (!svc)
		return;
	xs = ip_vs_x_service(svc);
	if (ip_vs_x_tell_again(&xs->fail_at, &xs->fail_told))
		ip_vs_x_event_rs_fail(svc, cp->dest);
}

/* The end of a handshake that came to nothing: for the client, too. RCU. */
static void x_sp_fail(struct ip_vs_x_sp *sp, unsigned int stat)
{
	struct ip_vs_x_conn *x = sp->x;
	struct sk_buff *rst = x_for_client(sp, IP_VS_X_TH_RST | IP_VS_X_TH_ACK, 0,
					   sp->ack.isn + 1 + sp->held_bytes);

	ip_vs_x_count(&x->c, stat);
	x_tell_fail(&x->c);
	if (rst) {
		x_state(&x->c, IP_VS_DIR_OUTPUT, rst, sp->pd);
		x_seg_to_client(x, rst);
	}
	x_sp_free(sp);
}

/* The SYN */

void ip_vs_x_sp_send(struct ip_vs_conn *cp, struct sk_buff *syn)
{
	if (syn)
		x_to_rs(syn, ip_vs_x_conn(cp));
	else
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_MEM);
}

/* Built anew each time: nearly all are sent once, and none waits in memory. RCU. */
static struct ip_vs_x_seg x_syn_seg(const struct ip_vs_x_sp *sp, u8 *opt)
{
	struct ip_vs_x_seg s = x_from_client(&sp->x->c, IP_VS_X_TH_SYN, sp->client_ttl);
	struct ip_vs_x_syn_opts opts = sp->ack.opts;

	opts.tsecr = 0;
	s.tos = sp->tos;
	s.seq = sp->ack.isn;
	s.window = sp->syn_window;
	s.opt = opt;
	s.opt_len = ip_vs_x_syn_opts_put(opt, &opts);
	return s;
}

static struct sk_buff *x_syn(const struct ip_vs_x_sp *sp)
{
	u8 opt[IP_VS_X_SYN_OPTS_MAX];
	struct ip_vs_x_seg s = x_syn_seg(sp, opt);
	struct sk_buff *syn = ip_vs_x_seg_build(&s);

	if (syn) {
		skb_dst_set_noref(syn, sp->dst);
		syn->mark = sp->mark;
	}
	return syn;
}

static unsigned long x_backoff(const struct ip_vs_x_sp *sp)
{
	return (unsigned long)HZ << min_t(unsigned int, sp->tries, X_BACKOFF_MAX);
}

static void x_sp_timer(struct timer_list *t)
{
	struct ip_vs_x_sp *sp = from_timer(sp, t, timer);
	struct sk_buff *syn = NULL;
	struct ip_vs_conn *cp;
	bool over;

	rcu_read_lock();
	cp = &sp->x->c;
	if (!__ip_vs_conn_get(cp))
		goto out;
	spin_lock_bh(&cp->lock);
	if (sp->x->sp != sp) {
		spin_unlock_bh(&cp->lock);
		__ip_vs_conn_put(cp);
		goto out;
	}
	over = sp->tries >= sp->retries;
	if (over) {
		x_sp_detach(sp->x);
	} else {
		sp->tries++;
		mod_timer(&sp->timer, jiffies + x_backoff(sp));
		syn = x_syn(sp);
	}
	spin_unlock_bh(&cp->lock);
	if (over) {
		x_sp_fail(sp, IPVS_EXT_STAT_SP_RS_TIMEOUT);
	} else {
		ip_vs_x_count(cp, IPVS_EXT_STAT_SP_RS_RETRANS);
		ip_vs_x_sp_send(cp, syn);
	}
	ip_vs_conn_put(cp);
out:
	rcu_read_unlock();
}

/* Before it waits: nothing of the way it came by but its route, which is ours now */
static void x_detain(struct sk_buff *skb)
{
	skb_orphan(skb);
	nf_reset_ct(skb);
	skb_clear_tstamp(skb);
	skb->dev = NULL;
}

static struct ip_vs_x_sp *x_sp_new(struct ip_vs_conn *cp, struct sk_buff *skb,
				   struct ip_vs_proto_data *pd,
				   const struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_x_ack *ack)
{
	struct ip_vs_x_sp *sp = kmem_cache_zalloc(x_sp_cachep, GFP_ATOMIC);

	if (!sp)
		return NULL;
	sp->dst = skb_dst(skb);
	if (!dst_hold_safe(sp->dst)) {
		kmem_cache_free(x_sp_cachep, sp);
		return NULL;
	}
	sp->client_ttl = ip_vs_x_ttl_of(skb);
	if (cp->af == AF_INET6)
		sp->tos = ipv6_get_dsfield(ipv6_hdr(skb)) & ~INET_ECN_MASK;
	else
		sp->tos = ip_hdr(skb)->tos & ~INET_ECN_MASK;
	sp->mark = skb->mark;
	timer_setup(&sp->timer, x_sp_timer, 0);
	__skb_queue_head_init(&sp->held);
	sp->x = ip_vs_x_conn(cp);
	sp->pd = pd;
	sp->ack = *ack;
	sp->syn_window = htons(ip_vs_x_win(ntohs(ack->window),
					   ack->opts.ws == IP_VS_X_WS_NONE ? 0 : ack->opts.ws));
	sp->wscale = ack->opts.ws == IP_VS_X_WS_NONE ? 0 : cfg->sp.wscale;
	sp->retries = cfg->sp.retries;
	sp->queue = cfg->sp.queue;
	sp->ttl = cfg->sp.ttl;
	return sp;
}

/*
 * Holds data until the RS has answered. cp->lock. False: it is not held; the
 * client sends it again.
 */
static bool x_hold(struct ip_vs_x_sp *sp, struct sk_buff *skb, unsigned int data)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(sp->x->c.ipvs);
	unsigned int mem = skb->truesize;

	if (skb_queue_len(&sp->held) >= sp->queue || sp->held_bytes + data > X_HELD_MAX ||
	    !skb_dst_force(skb))
		return false;
	if (atomic64_add_return(mem, &xnet->sp_qmem) > READ_ONCE(xnet->sp_qmem_max)) {
		atomic64_sub(mem, &xnet->sp_qmem);
		return false;
	}
	x_detain(skb);
	/* what waits keeps the size that it was counted with */
	sp->held_mem += mem;
	sp->held_bytes += data;
	__skb_queue_tail(&sp->held, skb);
	return true;
}

struct sk_buff *ip_vs_x_sp_begin(struct ip_vs_conn *cp, struct sk_buff *skb,
				 struct ip_vs_proto_data *pd, const struct ip_vs_x_svc_cfg *cfg,
				 const struct ip_vs_x_ack *ack)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	unsigned int data = skb->len - ack->hlen;
	struct ip_vs_x_sp *sp = x_sp_new(cp, skb, pd, cfg, ack), *old;
	struct sk_buff *syn = NULL;
	bool held = false;

	/* what has no data to be held becomes the SYN itself, once it is counted */
	if (sp)
		syn = !data && ip_vs_x_seg_fits(skb) ? skb : x_syn(sp);
	if (!syn) {
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_MEM);
		if (sp) {
			dst_release(sp->dst);
			kmem_cache_free(x_sp_cachep, sp);
		}
		return NULL;
	}
	ip_vs_x_in_stats(cp, skb);
	if (syn == skb) {
		u8 opt[IP_VS_X_SYN_OPTS_MAX];
		struct ip_vs_x_seg s = x_syn_seg(sp, opt);

		x_detain(skb);
		ip_vs_x_seg_turn(skb, &s);
	}
	atomic_inc(&cp->in_pkts);
	spin_lock_bh(&cp->lock);
	old = x->sp;
	if (data)
		held = x_hold(sp, skb, data);
	/* the deltas are chosen again: it is another connection */
	WRITE_ONCE(x->xflags, x->xflags & ~(IP_VS_X_F_ISN | IP_VS_X_F_TS_SET | IP_VS_X_F_TS_SP));
	WRITE_ONCE(x->win_shift, 0);
	WRITE_ONCE(*ip_vs_x_last_ack(x), ack->cookie + 1);
	WRITE_ONCE(*ip_vs_x_first_seq(x), ack->isn + 1);
	WRITE_ONCE(*ip_vs_x_next_seq(x), 0);
	/* whoever finds it takes the lock first */
	WRITE_ONCE(x->sp, sp);
	mod_timer(&sp->timer, jiffies + x_backoff(sp));
	spin_unlock_bh(&cp->lock);

	/* only now: until it has a state, packets on other CPUs leave a conn alone */
	x_state(cp, IP_VS_DIR_INPUT, syn, pd);
	if (old)
		x_sp_free(old);
	if (held)
		ip_vs_x_count(cp, IPVS_EXT_STAT_SP_QUEUED);
	else if (syn != skb)
		kfree_skb(skb);
	if (data && !held)
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_SP_QDROP);
	ip_vs_x_count(cp, IPVS_EXT_STAT_SP_RS_SYN);
	return syn;
}

/* The client gives up. It is passed on: the RS may have heard of him. */
static void x_client_rst(struct ip_vs_x_sp *sp, struct sk_buff *skb)
{
	struct ip_vs_x_conn *x = sp->x;
	struct sk_buff *fake = x_for_client(sp, IP_VS_X_TH_RST, 0, 0);

	/* ip_vs takes no client's word for it while it waits for the RS's */
	if (fake)
		x_state(&x->c, IP_VS_DIR_OUTPUT, fake, sp->pd);
	kfree_skb(fake);
	x_sp_free(sp);
	x_to_rs(skb, x);
}

/* cp->lock. What he sends must lie in the window that the cookie gave him. */
static bool x_in_window(const struct ip_vs_x_sp *sp, const struct tcphdr *th)
{
	return ntohl(th->seq) - (sp->ack.isn + 1) <= X_HELD_MAX;
}

/* cp->lock. The RS has said nothing yet, so there is one number to acknowledge. */
static bool x_acks(const struct ip_vs_x_sp *sp, const struct tcphdr *th)
{
	return th->ack && ntohl(th->ack_seq) == sp->ack.cookie + 1;
}

bool ip_vs_x_sp_own(struct ip_vs_x_conn *x, const struct tcphdr *th)
{
	bool own;

	spin_lock_bh(&x->c.lock);
	own = !x->sp || (x_in_window(x->sp, th) && x_acks(x->sp, th));
	spin_unlock_bh(&x->c.lock);
	return own;
}

void ip_vs_x_sp_request(struct ip_vs_conn *cp, struct sk_buff *skb,
			const struct ip_vs_iphdr *iph, const struct tcphdr *th)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	unsigned int hlen = iph->len + th->doff * 4, data = skb->len - hlen;
	struct ip_vs_x_sp *sp;
	bool held = false, ours, rst;

	spin_lock_bh(&cp->lock);
	sp = x->sp;
	ours = sp && x_in_window(sp, th);
	rst = ours && th->rst;
	if (rst) {
		x_sp_detach(x);
	} else if (ours && x_acks(sp, th)) {
		sp->ack.window = th->window;
		if (data)
			held = x_hold(sp, skb, data);
	} else {
		data = 0;
	}
	spin_unlock_bh(&cp->lock);
	if (rst) {
		x_client_rst(sp, skb);
		return;
	}
	if (held) {
		ip_vs_x_count(cp, IPVS_EXT_STAT_SP_QUEUED);
		return;
	}
	if (data)
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_SP_QDROP);
	kfree_skb(skb);
}

/* The RS answers */

/* Two scales were agreed on, and one window is to be read in both */
static void x_windows(struct ip_vs_x_conn *x, const struct ip_vs_x_sp *sp,
		      const struct ip_vs_x_syn_opts *rs)
{
	bool scaled = sp->ack.opts.ws != IP_VS_X_WS_NONE && rs->ws != IP_VS_X_WS_NONE;
	int out = (scaled ? rs->ws : 0) - sp->wscale;
	int in = sp->ack.opts.ws != IP_VS_X_WS_NONE && !scaled ? sp->ack.opts.ws : 0;

	WRITE_ONCE(x->win_shift, IP_VS_X_WIN_SHIFT(in, out));
}

/* cp->lock. All that packets need to know from now on; then sp goes. */
static void x_agree(struct ip_vs_x_conn *x, struct ip_vs_x_sp *sp, u32 isn,
		    const struct ip_vs_x_syn_opts *rs)
{
	WRITE_ONCE(x->sp_delta, sp->ack.cookie - isn);
	x_windows(x, sp, rs);
	if (sp->ack.opts.ts && rs->ts) {
		WRITE_ONCE(*ip_vs_x_ts_sp(x), sp->ack.opts.tsecr - rs->tsval);
		WRITE_ONCE(x->xflags, x->xflags | IP_VS_X_F_TS_SP);
	}
	x_sp_detach(x);
}

/* The ACK that ends the handshake, when there is no data to do it */
static struct ip_vs_x_seg x_ack(const struct ip_vs_x_sp *sp, u8 *opt)
{
	struct ip_vs_x_seg s = x_from_client(&sp->x->c, IP_VS_X_TH_ACK, sp->client_ttl);

	s.tos = sp->tos;
	s.seq = sp->ack.isn + 1;
	s.ack = sp->ack.cookie + 1;
	s.window = sp->ack.window;
	s.opt = opt;
	if (sp->ack.opts.ts)
		s.opt_len = x_ts_put(opt, sp->ack.opts.tsval, sp->ack.opts.tsecr);
	return s;
}

static void x_established(struct ip_vs_x_sp *sp, u16 window)
{
	struct ip_vs_x_conn *x = sp->x;
	u8 opt[IP_VS_X_SYN_OPTS_MAX];
	struct ip_vs_x_seg s = x_ack(sp, opt);
	struct sk_buff *skb = ip_vs_x_seg_build(&s), *data;

	del_timer(&sp->timer);
	ip_vs_x_count(&x->c, IPVS_EXT_STAT_SP_DONE);
	if (skb) {
		x_state(&x->c, IP_VS_DIR_INPUT, skb, sp->pd);
		skb_dst_set_noref(skb, sp->dst);
		if (skb_queue_empty(&sp->held))
			x_to_rs(skb, x);
		else
			kfree_skb(skb);
	} else {
		ip_vs_x_drop_conn(&x->c, IPVS_EXT_STAT_MEM);
	}
	while ((data = __skb_dequeue(&sp->held)))
		x_to_rs(data, x);
	/* what the client may send is the RS's word now */
	skb = x_for_client(sp, IP_VS_X_TH_ACK, ip_vs_x_win(window, -sp->wscale), sp->ack.isn + 1);
	if (skb)
		x_seg_to_client(x, skb);
	x_sp_free(sp);
}

/* Something of a connection that the RS has not forgotten: he is told to */
static void x_stray(struct ip_vs_x_conn *x, const struct tcphdr *th, struct dst_entry *dst)
{
	struct ip_vs_x_seg s = x_from_client(&x->c, IP_VS_X_TH_RST, 64);

	s.seq = ntohl(th->ack_seq) - READ_ONCE(x->isn_delta);
	x_seg_to_rs(x, &s, dst);
}

bool ip_vs_x_sp_reply(struct ip_vs_conn *cp, struct sk_buff *skb, const struct ip_vs_iphdr *iph)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	enum { NOTHING, DONE, REFUSED, STRAY } what = NOTHING;
	u8 buf[IP_VS_X_TCP_MAX] __uninitialized;
	struct ip_vs_x_syn_opts rs;
	struct ip_vs_x_sp *sp;
	struct dst_entry *dst = NULL;
	struct tcphdr *th;
	bool ours;

	th = ip_vs_x_sp_header(skb, iph->len, buf);
	if (!th || !ip_vs_checksum_common_check(skb, iph->len, IPPROTO_TCP, cp->af)) {
		ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
		return true;
	}
	spin_lock_bh(&cp->lock);
	sp = x->sp;
	if (!sp) {
		spin_unlock_bh(&cp->lock);
		return false;
	}
	ours = th->ack && ntohl(th->ack_seq) == sp->ack.isn + 1 + READ_ONCE(x->isn_delta);
	if (th->rst) {
		if (ours) {
			what = REFUSED;
			x_sp_detach(x);
		}
	} else if (th->syn && ours) {
		what = DONE;
		ip_vs_x_syn_opts_get(th, &rs);
		x_agree(x, sp, ntohl(th->seq), &rs);
	} else if (th->ack) {
		what = STRAY;
		/* its ref may go with the lock, its memory not before RCU */
		dst = sp->dst;
		/* to ip_vs it was the RS's word; both states are active */
		if (cp->state == IP_VS_TCP_S_ESTABLISHED) {
			cp->state = IP_VS_TCP_S_SYN_RECV;
			cp->timeout = sp->pd->timeout_table[IP_VS_TCP_S_SYN_RECV];
		}
	}
	spin_unlock_bh(&cp->lock);

	if (what == DONE)
		x_established(sp, ntohs(th->window));
	else if (what == REFUSED)
		x_sp_fail(sp, IPVS_EXT_STAT_SP_RS_RST);
	else if (what == STRAY)
		x_stray(x, th, dst);
	kfree_skb(skb);
	return true;
}

int ip_vs_x_sp_init(void)
{
	ip_vs_x_sp_locks_init();
	x_sp_cachep = kmem_cache_create("ip_vs_x_sp", sizeof(struct ip_vs_x_sp), 0, 0, NULL);
	return x_sp_cachep ? 0 : -ENOMEM;
}

/* After rcu_barrier(): handshakes are freed by RCU */
void ip_vs_x_sp_cleanup(void)
{
	kmem_cache_destroy(x_sp_cachep);
}
