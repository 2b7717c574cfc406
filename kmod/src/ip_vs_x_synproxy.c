// SPDX-License-Identifier: GPL-2.0-only
/*
 * SYN proxy, towards clients: cookies, the keys they are made with, the mode
 * auto, and what becomes of a SYN or an ACK on a connection that is there.
 *
 * Locking: keys are replaced under __ip_vs_mutex and read under RCU.
 * ip_vs_x_auto.lock guards its active, dead, bucket and the arming of its timer;
 * the counts are atomic.
 */
#include <linux/random.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ip6_route.h>
#include <net/route.h>
#include <net/tcp.h>
#include "ip_vs_x_cfg.h"
#include "ip_vs_x_synproxy.h"

/* Two ACKs of one client on two CPUs must not make two conns */
#define X_OPEN_LOCKS	256
#define X_NEAR		((u32)BIT(20))

static struct {
	spinlock_t l;	/* taken before the locks of the conn tables and schedulers */
} ____cacheline_aligned_in_smp x_open_locks[X_OPEN_LOCKS];

static u32 x_now(void)
{
	return ktime_get_real_seconds() / IP_VS_X_CK_SECONDS;
}

static bool x_auto(const struct ip_vs_x_svc_cfg *cfg)
{
	return cfg->flags & IPVS_EXT_SVC_F_SP_AUTO;
}

bool ip_vs_x_sp_active(const struct ip_vs_x_svc_cfg *cfg)
{
	return (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY) &&
	       (!x_auto(cfg) || READ_ONCE(cfg->aut->active));
}

/* Cookies live two steps of t; they come back after mode auto went off, too */
bool ip_vs_x_sp_takes(const struct ip_vs_x_svc_cfg *cfg)
{
	if (!(cfg->flags & IPVS_EXT_SVC_F_SYNPROXY))
		return false;
	return !x_auto(cfg) || READ_ONCE(cfg->aut->active) ||
	       time_before(jiffies, READ_ONCE(cfg->aut->takes_until));
}

/*
 * Mode auto. Half-open are the conns made by a SYN whose client has not
 * answered; while cookies are sent it is the cookies of the last minute that
 * did not come back, too: a flood that goes on keeps the proxy on.
 */

u32 ip_vs_x_auto_half_open(struct ip_vs_x_auto *a)
{
	int n = refcount_read(&a->refs) - 1, i;

	if (READ_ONCE(a->active)) {
		for (i = 0; i < IP_VS_X_AUTO_BUCKETS; i++)
			n += atomic_read(&a->unanswered[i]);
	}
	return max(n, 0);
}

static void x_auto_tick(struct timer_list *t)
{
	struct ip_vs_x_auto *a = from_timer(a, t, timer);
	u32 half = ip_vs_x_auto_half_open(a);
	bool off;

	rcu_read_lock();
	spin_lock_bh(&a->lock);
	off = a->active && half < a->off;
	if (off) {
		WRITE_ONCE(a->active, false);
	} else if (a->active) {
		a->bucket = (a->bucket + 1) % IP_VS_X_AUTO_BUCKETS;
		atomic_set(&a->unanswered[a->bucket], 0);
		mod_timer(&a->timer, jiffies + IP_VS_X_AUTO_TICK);
	}
	WRITE_ONCE(a->takes_until, jiffies + 2 * IP_VS_X_CK_SECONDS * HZ);
	spin_unlock_bh(&a->lock);
	if (off)
		ip_vs_x_event_synproxy(a->svc, IPVS_EXT_EVENT_SP_OFF, half);
	rcu_read_unlock();
}

static void x_auto_on(struct ip_vs_x_auto *a, u32 half)
{
	bool on;
	int i;

	spin_lock_bh(&a->lock);
	on = !a->active && !a->dead;
	if (on) {
		for (i = 0; i < IP_VS_X_AUTO_BUCKETS; i++)
			atomic_set(&a->unanswered[i], 0);
		WRITE_ONCE(a->active, true);
		mod_timer(&a->timer, jiffies + IP_VS_X_AUTO_TICK);
	}
	spin_unlock_bh(&a->lock);
	if (on)
		ip_vs_x_event_synproxy(a->svc, IPVS_EXT_EVENT_SP_ON, half);
}

struct ip_vs_x_auto *ip_vs_x_auto_new(struct ip_vs_service *svc)
{
	struct ip_vs_x_auto *a = kzalloc(sizeof(*a), GFP_KERNEL);

	if (!a)
		return NULL;
	refcount_set(&a->refs, 1);
	spin_lock_init(&a->lock);
	a->svc = svc;
	a->takes_until = jiffies;
	timer_setup(&a->timer, x_auto_tick, 0);
	return a;
}

void ip_vs_x_auto_set(struct ip_vs_x_auto *a, const struct ip_vs_x_svc_cfg *cfg,
		      const struct ip_vs_x_svc_cfg *old)
{
	spin_lock_bh(&a->lock);
	a->off = cfg->sp.auto_off;
	/* also those of mode on come back after it */
	if (old && ip_vs_x_sp_active(old))
		WRITE_ONCE(a->takes_until, jiffies + 2 * IP_VS_X_CK_SECONDS * HZ);
	if (!(cfg->flags & IPVS_EXT_SVC_F_SP_AUTO))
		WRITE_ONCE(a->active, false);
	spin_unlock_bh(&a->lock);
}

void ip_vs_x_auto_put(struct ip_vs_x_auto *a)
{
	if (refcount_dec_and_test(&a->refs))
		kfree_rcu(a, rcu_head);
}

void ip_vs_x_auto_stop(struct ip_vs_x_auto *a)
{
	spin_lock_bh(&a->lock);
	a->dead = true;
	WRITE_ONCE(a->active, false);
	spin_unlock_bh(&a->lock);
	del_timer_sync(&a->timer);
}

void ip_vs_x_auto_opened(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg)
{
	if (!x_auto(cfg) || ip_vs_x_sp_active(cfg) || x->c.protocol != IPPROTO_TCP ||
	    !refcount_inc_not_zero(&cfg->aut->refs))
		return;
	/* an X conn has no helper, nor data of one */
	x->c.app_data = cfg->aut;
	x->xflags |= IP_VS_X_F_HALF_OPEN;
}

void ip_vs_x_auto_answered(struct ip_vs_x_conn *x)
{
	struct ip_vs_x_auto *a = NULL;

	spin_lock_bh(&x->c.lock);
	if (x->xflags & IP_VS_X_F_HALF_OPEN) {
		a = x->c.app_data;
		x->c.app_data = NULL;
		WRITE_ONCE(x->xflags, x->xflags & ~IP_VS_X_F_HALF_OPEN);
	}
	spin_unlock_bh(&x->c.lock);
	if (a)
		ip_vs_x_auto_put(a);
}

/* Keys */

struct ip_vs_x_sp_keys {
	struct ip_vs_x_keys	k;
	struct rcu_head		rcu_head;
};

static struct ip_vs_x_sp_keys *x_keys(struct ip_vs_x_net *xnet)
{
	return rcu_dereference_protected(xnet->keys, 1);
}

int ip_vs_x_sp_set_keys(struct ip_vs_x_net *xnet, const u8 *key, const u8 *prev)
{
	struct ip_vs_x_sp_keys *old = x_keys(xnet), *keys;

	keys = kmemdup(old, sizeof(*old), GFP_KERNEL);
	if (!keys)
		return -ENOMEM;
	if (key) {
		keys->k.key[1] = keys->k.key[0];
		keys->k.n = 2;
		memcpy(&keys->k.key[0], key, IPVS_EXT_COOKIE_KEY_LEN);
	}
	if (prev) {
		memcpy(&keys->k.key[1], prev, IPVS_EXT_COOKIE_KEY_LEN);
		keys->k.n = 2;
	}
	rcu_assign_pointer(xnet->keys, keys);
	kfree_rcu(old, rcu_head);
	return 0;
}

int ip_vs_x_sp_net_init(struct ip_vs_x_net *xnet)
{
	struct ip_vs_x_sp_keys *keys = kzalloc(sizeof(*keys), GFP_KERNEL);

	BUILD_BUG_ON(sizeof(siphash_key_t) != IPVS_EXT_COOKIE_KEY_LEN);
	if (!keys)
		return -ENOMEM;
	get_random_bytes(&keys->k.key[0], sizeof(keys->k.key[0]));
	keys->k.n = 1;
	rcu_assign_pointer(xnet->keys, keys);
	xnet->sp_qmem_max = IP_VS_X_SP_QMEM;
	return 0;
}

void ip_vs_x_sp_net_exit(struct ip_vs_x_net *xnet)
{
	kfree_sensitive(x_keys(xnet));
}

/* Cookies */

/* All of the TCP header whose first part h is; NULL: it is not there */
static struct tcphdr *x_whole(const struct sk_buff *skb, unsigned int thoff,
			      const struct tcphdr *h, u8 *buf)
{
	if (h->doff < 5 || thoff + h->doff * 4 > skb->len)
		return NULL;
	return skb_header_pointer(skb, thoff, h->doff * 4, buf);
}

struct tcphdr *ip_vs_x_sp_header(const struct sk_buff *skb, unsigned int thoff, u8 *buf)
{
	struct tcphdr *th = (struct tcphdr *)(skb->data + thoff);

	if (likely(thoff + IP_VS_X_TCP_MAX <= skb_headlen(skb) ||
		   (thoff + sizeof(*th) <= skb_headlen(skb) &&
		    thoff + th->doff * 4 <= skb_headlen(skb))))
		return th->doff < 5 ? NULL : th;
	th = skb_header_pointer(skb, thoff, sizeof(*th), buf);
	return th ? x_whole(skb, thoff, th, buf) : NULL;
}

/*
 * As ip_vs_checksum_common_check(), but at once for what has no checksum of the
 * device's and is in one piece.
 */
static bool x_checksum_ok(struct sk_buff *skb, int af, const struct ip_vs_iphdr *iph)
{
	unsigned int len = skb->len - iph->len;
	__wsum sum;

	if (skb->ip_summed != CHECKSUM_NONE || skb_is_nonlinear(skb))
		return ip_vs_checksum_common_check(skb, iph->len, IPPROTO_TCP, af);
	sum = csum_partial(skb->data + iph->len, len, 0);
	if (af == AF_INET6)
		return !csum_ipv6_magic(&iph->saddr.in6, &iph->daddr.in6, len, IPPROTO_TCP, sum);
	return !csum_tcpudp_magic(iph->saddr.ip, iph->daddr.ip, len, IPPROTO_TCP, sum);
}

static struct ip_vs_x_flow x_flow(int af, const struct ip_vs_iphdr *iph, const struct tcphdr *th)
{
	return (struct ip_vs_x_flow) {
		.caddr = &iph->saddr, .vaddr = &iph->daddr,
		.cport = th->source, .vport = th->dest, .v6 = af == AF_INET6,
	};
}

/* TS mode strip takes the option off every SYN, so the client must not hope for it */
static bool x_offers_ts(const struct ip_vs_x_svc_cfg *cfg)
{
	return (cfg->sp.opts & IPVS_EXT_SP_OPT_TS) && cfg->ts_mode != IPVS_EXT_TS_STRIP;
}

/* As dst_mtu(), at once where nothing but the route and its device have a say */
static unsigned int x_mtu(int af, const struct dst_entry *dst)
{
	const struct rtable *rt = dst_rtable(dst);
	unsigned int mtu;

	if (af == AF_INET6)
		return ip6_dst_mtu_maybe_forward(dst, false);
	if (rt->rt_pmtu || rt->rt_mtu_locked || dst->lwtstate ||
	    dst_metric_locked(dst, RTAX_MTU))
		return dst_mtu(dst);
	mtu = dst_metric_raw(dst, RTAX_MTU) ?: READ_ONCE(dst_dev_rcu(dst)->mtu);
	return min_t(unsigned int, mtu, IP_MAX_MTU);
}

/* What we offer, given what he offers; s is changed to what both have */
static void x_offer(const struct ip_vs_x_svc_cfg *cfg, bool v6, unsigned int mtu,
		    struct ip_vs_x_syn_opts *s, struct ip_vs_x_syn_opts *ours)
{
	unsigned int headers = sizeof(struct tcphdr) +
			       (v6 ? sizeof(struct ipv6hdr) : sizeof(struct iphdr));
	unsigned int mss = clamp(mtu, headers + IP_VS_X_MSS_MIN, 65535U) - headers;

	s->sack = s->sack && (cfg->sp.opts & IPVS_EXT_SP_OPT_SACK);
	s->ts = s->ts && x_offers_ts(cfg);
	if (cfg->sp.wscale == IPVS_EXT_SP_WSCALE_OFF)
		s->ws = IP_VS_X_WS_NONE;
	if (cfg->mss_clamp)
		mss = min_t(unsigned int, mss, cfg->mss_clamp);
	if (cfg->flags & IPVS_EXT_SVC_F_TOA)
		mss -= min(mss - IP_VS_X_MSS_MIN, ip_vs_x_toa_len(v6));
	if (cfg->sp.mss)
		mss = min_t(unsigned int, mss, cfg->sp.mss);
	*ours = (struct ip_vs_x_syn_opts) {
		.mss = mss, .sack = s->sack, .ts = s->ts, .tsecr = s->tsval,
		.ws = s->ws == IP_VS_X_WS_NONE ? IP_VS_X_WS_NONE : cfg->sp.wscale,
	};
}

/*
 * A segment in the skb of the packet that it answers, if that has the room and
 * nobody else sees it; else in one of its own.
 */
static struct sk_buff *x_turn(struct sk_buff *skb, const struct ip_vs_x_seg *seg)
{
	if (!ip_vs_x_seg_fits(skb)) {
		struct sk_buff *own = ip_vs_x_seg_build(seg);

		kfree_skb(skb);
		return own;
	}
	skb_orphan(skb);
	skb_dst_drop(skb);
	skb->mark = 0;
	skb->priority = 0;
	ip_vs_x_seg_turn(skb, seg);
	return skb;
}

struct dst_entry *ip_vs_x_sp_route(struct netns_ipvs *ipvs, int af, const struct ip_vs_iphdr *iph,
				   const struct tcphdr *th)
{
	return ip_vs_x_route(ipvs->net, af, IPPROTO_TCP, &iph->saddr, &iph->daddr, th->source,
			     th->dest);
}

int ip_vs_x_sp_syn(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		   const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg,
		   struct dst_entry *dst)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(ipvs);
	struct ip_vs_x_syn_opts s __uninitialized, ours __uninitialized;
	u8 opt[IP_VS_X_SYN_OPTS_MAX] __uninitialized;
	struct ip_vs_x_seg seg __uninitialized;
	struct ip_vs_conn_param p __uninitialized;
	u8 buf[IP_VS_X_TCP_MAX] __uninitialized;
	struct ip_vs_x_flow f;
	struct tcphdr *th;
	u32 isn;

	th = ip_vs_x_sp_header(skb, iph->len, buf);
	if (!th || !x_checksum_ok(skb, af, iph)) {
		ip_vs_x_drop_packet(xnet, cfg, af, skb, iph, IPVS_EXT_STAT_BAD_PKT);
		goto drop;
	}
	seg = (struct ip_vs_x_seg) {
		.af = af, .ttl = cfg->sp.ttl, .flags = IP_VS_X_TH_SYN | IP_VS_X_TH_ACK,
		.saddr = &iph->daddr, .daddr = &iph->saddr, .opt = opt,
		.source = th->dest, .dest = th->source, .window = htons(cfg->sp.window),
	};
	if (!dst)
		dst = ip_vs_x_sp_route(ipvs, af, iph, th);
	if (!dst) {
		ip_vs_x_drop_packet(xnet, cfg, af, skb, iph, IPVS_EXT_STAT_ROUTE_FAIL);
		goto drop;
	}
	isn = ntohl(th->seq);
	ip_vs_x_syn_opts_get(th, &s);
	x_offer(cfg, af == AF_INET6, x_mtu(af, dst), &s, &ours);
	f = x_flow(af, iph, th);
	seg.seq = ip_vs_x_cookie_make(&rcu_dereference(xnet->keys)->k, &f, isn, x_now(), &s,
				      &ours.tsval);
	seg.ack = isn + 1;
	seg.opt_len = ip_vs_x_syn_opts_put(opt, &ours);
	skb = x_turn(skb, &seg);
	if (!skb) {
		/* the SYN itself is gone */
		ip_vs_conn_fill_param(ipvs, af, IPPROTO_TCP, &iph->saddr, seg.dest, &iph->daddr,
				      seg.source, &p);
		ip_vs_x_drop_new(xnet, cfg, &p, IPVS_EXT_STAT_MEM);
		dst_release(dst);
		return NF_STOLEN;
	}
	skb_dst_set(skb, dst);
	if (x_auto(cfg))
		atomic_inc(&cfg->aut->unanswered[READ_ONCE(cfg->aut->bucket)]);
	ip_vs_x_count_cfg(xnet, cfg, IPVS_EXT_STAT_SP_SYNACK);
	return ip_vs_x_send(ipvs, af, skb);

drop:
	dst_release(dst);
	kfree_skb(skb);
	return NF_STOLEN;
}

bool ip_vs_x_sp_valid(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg,
		      struct tcphdr *th, struct ip_vs_x_ack *ack)
{
	struct ip_vs_x_flow f = x_flow(af, iph, th);
	u8 *ts = x_offers_ts(cfg) ? ip_vs_x_ts_find(th) : NULL;

	ack->isn = ntohl(th->seq) - 1;
	ack->cookie = ntohl(th->ack_seq) - 1;
	ack->hlen = iph->len + th->doff * 4;
	ack->window = th->window;
	if (!ip_vs_x_cookie_check(&rcu_dereference(ip_vs_x_net_rcu(ipvs)->keys)->k, &f, ack->isn,
				  ack->cookie, x_now(), ts, ts ? get_unaligned_be32(ts + 6) : 0,
				  &ack->opts))
		return false;
	if (ts) {
		ack->opts.tsval = get_unaligned_be32(ts + 2);
		ack->opts.tsecr = get_unaligned_be32(ts + 6);
	}
	/* last, as it reads all of the data: a flood does not come that far */
	return x_checksum_ok(skb, af, iph);
}

/* Packets without a conn */

static bool x_has_dest(const struct ip_vs_service *svc)
{
	struct ip_vs_dest *dest;

	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		if (atomic_read(&dest->weight) > 0 && !(dest->flags & IP_VS_DEST_F_OVERLOAD))
			return true;
	}
	return false;
}

/* No RS can be had for a client who believes to be connected */
static int x_no_dest(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		     const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg)
{
	ip_vs_x_drop_packet(ip_vs_x_net_rcu(ipvs), cfg, af, skb, iph, IPVS_EXT_STAT_SP_NODEST);
	ip_vs_x_answer_rst(ipvs, af, skb, iph);
	return NF_DROP;
}

/* A conn for the client and the handshake with its RS. A verdict, or -1: not ours. */
static int x_open(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		  struct ip_vs_proto_data *pd, struct ip_vs_iphdr *iph, struct ip_vs_service *svc,
		  const struct ip_vs_x_svc_cfg *cfg, struct tcphdr *th,
		  const struct ip_vs_x_ack *ack)
{
	spinlock_t *lock = &x_open_locks[(ack->isn ^ ack->isn >> 16) % X_OPEN_LOCKS].l;
	struct ip_vs_conn *cp;
	struct sk_buff *syn;
	int ignored;

	spin_lock_bh(lock);
	cp = pd->pp->conn_in_get(ipvs, af, skb, iph);
	if (cp) {
		/* another CPU was first, with another ACK of the same client */
		spin_unlock_bh(lock);
		if (!ip_vs_conn_is_x(cp)) {
			__ip_vs_conn_put(cp);
			return NF_DROP;
		}
		ip_vs_x_sp_request(cp, skb, iph, th);
		ip_vs_conn_put(cp);
		return NF_STOLEN;
	}
	cp = ip_vs_schedule(svc, skb, pd, &ignored, iph);
	if (!cp) {
		spin_unlock_bh(lock);
		if (ignored > 0)
			return -1;
		return ignored ? NF_DROP : x_no_dest(ipvs, af, skb, iph, cfg);
	}
	/* no X conn: the service has gone meanwhile, and its settings with it */
	syn = ip_vs_conn_is_x(cp) ? ip_vs_x_sp_begin(cp, skb, pd, cfg, ack) : NULL;
	spin_unlock_bh(lock);
	if (syn) {
		ip_vs_x_sp_send(cp, syn);
		ip_vs_conn_put(cp);
		return NF_STOLEN;
	}
	/* it ends at once by its timer, which only this put arms */
	cp->timeout = 0;
	ip_vs_conn_put(cp);
	return NF_DROP;
}

/* What becomes of a packet of a handshake; it must still be there */
static __always_inline void x_decided(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
				      const struct ip_vs_iphdr *iph,
				      const struct ip_vs_x_svc_cfg *cfg, unsigned int stat)
{
	ip_vs_x_count_cfg(ip_vs_x_net_rcu(ipvs), cfg, stat);
	ip_vs_x_trace_synproxy(af, skb, iph, stat);
}

int ip_vs_x_sp_answer(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph, const struct ip_vs_service *svc,
		      const struct ip_vs_x_svc_cfg *cfg, struct dst_entry *dst)
{
	x_decided(ipvs, af, skb, iph, cfg, IPVS_EXT_STAT_SP_SYN);
	if (likely(x_has_dest(svc)))
		return ip_vs_x_sp_syn(ipvs, af, skb, iph, cfg, dst);
	dst_release(dst);
	ip_vs_x_trace_synproxy(af, skb, iph, IPVS_EXT_STAT_SP_NODEST);
	ip_vs_x_drop_packet(ip_vs_x_net_rcu(ipvs), cfg, af, skb, iph, IPVS_EXT_STAT_SP_NODEST);
	return NF_DROP;
}

void ip_vs_x_sp_bad(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		    const struct ip_vs_iphdr *iph, const struct ip_vs_x_svc_cfg *cfg)
{
	x_decided(ipvs, af, skb, iph, cfg, IPVS_EXT_STAT_SP_ACK_BAD);
}

int ip_vs_x_sp_good(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		    struct ip_vs_proto_data *pd, struct ip_vs_iphdr *iph,
		    struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		    struct tcphdr *th, const struct ip_vs_x_ack *ack)
{
	int verdict;

	/* the client sends his data until somebody takes it */
	if ((cfg->flags & IPVS_EXT_SVC_F_SP_DEFER) && ack->hlen == skb->len)
		return NF_DROP;
	/* counted once it is known to be ours; by then the packet is gone */
	ip_vs_x_trace_synproxy(af, skb, iph, IPVS_EXT_STAT_SP_ACK_OK);
	verdict = x_open(ipvs, af, skb, pd, iph, svc, cfg, th, ack);
	if (verdict < 0)
		return verdict;
	ip_vs_x_count_cfg(ip_vs_x_net_rcu(ipvs), cfg, IPVS_EXT_STAT_SP_ACK_OK);
	if (x_auto(cfg))
		atomic_dec(&cfg->aut->unanswered[READ_ONCE(cfg->aut->bucket)]);
	return verdict;
}

bool ip_vs_x_sp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      struct ip_vs_proto_data *pd, int *verdict, struct ip_vs_iphdr *iph,
		      struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		      const struct tcphdr *h)
{
	u8 buf[IP_VS_X_TCP_MAX] __uninitialized;
	struct ip_vs_x_ack ack __uninitialized;	/* all of it is filled in, or none used */
	struct tcphdr *th;
	u32 half;

	if (ip_vs_x_sp_is_syn(h)) {
		if (x_auto(cfg) && !ip_vs_x_sp_active(cfg)) {
			half = ip_vs_x_auto_half_open(cfg->aut);
			if (half >= cfg->sp.auto_on)
				x_auto_on(cfg->aut, half);
		}
		if (!ip_vs_x_sp_active(cfg))
			return false;
		*verdict = ip_vs_x_sp_answer(ipvs, af, skb, iph, svc, cfg, NULL);
		return true;
	}
	if (!h->ack || h->syn || h->rst || !ip_vs_x_sp_takes(cfg))
		return false;
	th = x_whole(skb, iph->len, h, buf);
	if (!th || !ip_vs_x_sp_valid(ipvs, af, skb, iph, cfg, th, &ack)) {
		ip_vs_x_sp_bad(ipvs, af, skb, iph, cfg);
		return false;
	}
	*verdict = ip_vs_x_sp_good(ipvs, af, skb, pd, iph, svc, cfg, th, &ack);
	return *verdict >= 0;
}

/* Packets of a conn */

/*
 * A SYN must not harm a conn that lives: a spoofed one would be enough. In
 * ESTABLISHED the RS judges it, and in TIME_WAIT ip_vs makes room for a new conn
 * if it may: not of one that a template of persistence controls.
 */
static bool x_syn_harms(struct netns_ipvs *ipvs, const struct ip_vs_conn *cp, bool pending)
{
	if (pending)
		return true;
	switch (cp->state) {
	case IP_VS_TCP_S_FIN_WAIT:
	case IP_VS_TCP_S_CLOSE_WAIT:
	case IP_VS_TCP_S_LAST_ACK:
	case IP_VS_TCP_S_CLOSE:
		return true;
	case IP_VS_TCP_S_TIME_WAIT:
		return !sysctl_conn_reuse_mode(ipvs) || cp->control;
	}
	return false;
}

/* In which an ACK that belongs to no window may be that of a new handshake */
static bool x_is_over(const struct ip_vs_conn *cp)
{
	return cp->state == IP_VS_TCP_S_FIN_WAIT || cp->state == IP_VS_TCP_S_CLOSE_WAIT ||
	       cp->state == IP_VS_TCP_S_LAST_ACK || cp->state == IP_VS_TCP_S_CLOSE ||
	       cp->state == IP_VS_TCP_S_TIME_WAIT;
}

/*
 * May the ACK open another connection? Only then its cookie is looked at, which costs;
 * and of a connection that is half closed and goes on, one ACK in 1.4 million would
 * pass. After a SYN that we answered, the ACK with the sequence that follows it may,
 * wherever the cookie lies: a forged SYN does not get the other ACKs looked at. One
 * that another director answered, or that another followed, we do not know: then an
 * ACK that is far from the last one may. That which opened this connection may be late.
 */
static bool x_may_open(struct ip_vs_x_conn *x, const struct tcphdr *th, bool pending)
{
	u32 seq = ntohl(th->seq);

	if (pending)
		return !ip_vs_x_sp_own(x, th);
	if (!x_is_over(&x->c))
		return false;
	if (seq == READ_ONCE(*ip_vs_x_next_seq(x)))
		return true;
	return seq != READ_ONCE(*ip_vs_x_first_seq(x)) &&
	       ntohl(th->ack_seq) - READ_ONCE(*ip_vs_x_last_ack(x)) + X_NEAR >= 2 * X_NEAR;
}

bool __ip_vs_x_intercept(struct ip_vs_conn *cp, struct sk_buff *skb, struct ip_vs_proto_data *pd,
			 struct ip_vs_iphdr *iph, int *verdict)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	const struct ip_vs_x_svc_cfg *cfg;
	/* pairs with the release of who ended the handshake: its deltas are there */
	bool pending = smp_load_acquire(&x->sp);
	u8 buf[IP_VS_X_TCP_MAX] __uninitialized;
	struct ip_vs_x_ack ack;
	struct sk_buff *syn;
	struct tcphdr *th;

	/* what an established connection sends, as quickly as can be */
	if (likely(!pending && cp->state == IP_VS_TCP_S_ESTABLISHED))
		return false;
	if (iph->fragoffs)
		return false;
	/* x_open() of another CPU has shown it and is about to begin */
	if (!pending && cp->state == IP_VS_TCP_S_NONE) {
		*verdict = NF_DROP;
		goto put;
	}
	th = ip_vs_x_sp_header(skb, iph->len, buf);
	if (!th)
		return false;
	cfg = ip_vs_x_conn_cfg(cp);
	if (ip_vs_x_sp_is_syn(th)) {
		if (!cfg || !ip_vs_x_sp_active(cfg))
			return false;
		/* also where ip_vs lets the conn go: its timer may be later than the client */
		if (x_is_over(cp))
			WRITE_ONCE(*ip_vs_x_next_seq(x), ntohl(th->seq) + 1);
		if (!x_syn_harms(cp->ipvs, cp, pending))
			return false;
		ip_vs_x_in_stats(cp, skb);
		ip_vs_x_count(cp, IPVS_EXT_STAT_SP_SYN);
		*verdict = ip_vs_x_sp_syn(cp->ipvs, cp->af, skb, iph, cfg, NULL);
		goto put;
	}
	if (th->ack && !th->rst && !th->syn && cfg && x_may_open(x, th, pending) &&
	    ip_vs_x_sp_takes(cfg) &&
	    ip_vs_x_sp_valid(cp->ipvs, cp->af, skb, iph, cfg, th, &ack)) {
		ip_vs_x_count(cp, IPVS_EXT_STAT_SP_ACK_OK);
		syn = ip_vs_x_sp_begin(cp, skb, pd, cfg, &ack);
		if (syn) {
			ip_vs_x_count(cp, IPVS_EXT_STAT_SP_REUSE);
			ip_vs_x_sp_send(cp, syn);
		}
		*verdict = syn ? NF_STOLEN : NF_DROP;
		goto put;
	}
	if (!pending)
		return false;
	ip_vs_x_in_stats(cp, skb);
	ip_vs_x_sp_request(cp, skb, iph, th);
	*verdict = NF_STOLEN;
put:
	ip_vs_conn_put(cp);
	return true;
}

void ip_vs_x_sp_locks_init(void)
{
	int i;

	for (i = 0; i < X_OPEN_LOCKS; i++)
		spin_lock_init(&x_open_locks[i].l);
}
