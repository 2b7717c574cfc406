// SPDX-License-Identifier: GPL-2.0-only
/*
 * X conns: their memory, and the out table.
 *
 * The out table finds the conn of a reply by (namespace, protocol, lip:lport,
 * rip:rport), and it is the port allocator too: a port is taken by linking the
 * conn under a tuple that nobody has. There is no other record of ports in
 * use, so none can disagree with it.
 */
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/random.h>
#include <linux/slab.h>
#include <net/tcp_states.h>
#include <net/netns/hash.h>
#include "ip_vs_x.h"

#define X_LOCKS_BITS	8
#define X_PICKS		4	/* how often a conn asks for addresses that stay */

struct x_lock {
	spinlock_t l;	/* guards the buckets that hash to it; a leaf */
} ____cacheline_aligned_in_smp;

/* What a tuple is, from the side of the RS */
struct x_tuple {
	const struct netns_ipvs	*ipvs;
	u16			af;
	u16			protocol;
	const union nf_inet_addr *laddr;
	const union nf_inet_addr *raddr;
	__be16			lport;
	__be16			rport;
	u32			hash;
};

static struct kmem_cache *x_cachep __read_mostly;
static struct hlist_head *x_tab __read_mostly;
static struct x_lock *x_locks __read_mostly;
static u32 x_tab_mask __read_mostly;
static u32 x_rnd __read_mostly;

static unsigned int x_tab_bits;
module_param(x_tab_bits, uint, 0444);
MODULE_PARM_DESC(x_tab_bits, "log2 of the out table's heads, 8..27 (0: as conn_tab_bits)");

unsigned int ip_vs_x_tab_bits(void)
{
	return x_tab_bits;
}

static bool x_is_ready(const struct ip_vs_x_conn *x)
{
	/* pairs with the release in __ip_vs_x_conn_ready() */
	return smp_load_acquire(&x->ready);
}

static u32 x_hash(const struct x_tuple *t)
{
	u32 ports = (__force u32)t->lport << 16 | (__force u32)t->rport;
	u32 init = x_rnd ^ net_hash_mix(t->ipvs->net) ^ t->protocol;
	u32 l, r;

	if (t->af == AF_INET6) {
		l = jhash2((const u32 *)t->laddr->all, 4, init);
		r = jhash2((const u32 *)t->raddr->all, 4, init);
	} else {
		l = (__force u32)t->laddr->ip;
		r = (__force u32)t->raddr->ip;
	}
	return jhash_3words(l, r, ports, init);
}

static struct hlist_head *x_bucket(u32 hash)
{
	return &x_tab[hash & x_tab_mask];
}

/* The low bits: buckets of one lock, so that a lock covers whole buckets */
static spinlock_t *x_lock_of(u32 hash)
{
	return &x_locks[hash & (BIT(X_LOCKS_BITS) - 1)].l;
}

/*
 * Of a conn that is not ready only what alloc has written before it linked
 * the conn may be read; that is all that is read here.
 */
static bool x_equal(const struct ip_vs_x_conn *x, const struct x_tuple *t)
{
	return x->out_hash == t->hash && x->lport == t->lport &&
	       x->c.dport == t->rport && x->c.af == t->af &&
	       x->c.protocol == t->protocol && x->c.ipvs == t->ipvs &&
	       ip_vs_addr_equal(t->af, &x->laddr, t->laddr) &&
	       ip_vs_addr_equal(t->af, &x->c.daddr, t->raddr);
}

/* RCU: only packets ask, and those are under it in all hooks */
struct ip_vs_conn *__ip_vs_x_out_get(const struct ip_vs_conn_param *p)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(p->ipvs);
	struct ip_vs_x_conn *x;
	struct x_tuple t;

	if (!(READ_ONCE(xnet->lips) & BIT_ULL(ip_vs_x_addr_bit(p->af, p->vaddr))) &&
	    !READ_ONCE(xnet->any_lip))
		return NULL;

	t = (struct x_tuple) {
		.ipvs = p->ipvs, .af = p->af, .protocol = p->protocol,
		.laddr = p->vaddr, .lport = p->vport,
		.raddr = p->caddr, .rport = p->cport,
	};
	t.hash = x_hash(&t);
	hlist_for_each_entry_rcu(x, x_bucket(t.hash), out_node) {
		if (x_equal(x, &t) && x_is_ready(x) && __ip_vs_conn_get(&x->c)) {
			this_cpu_inc(xnet->stats->n[IPVS_EXT_STAT_OUT_HIT]);
			return &x->c;
		}
	}
	return NULL;
}

/*
 * May its port go to somebody else? Only a conn that both sides have closed,
 * and that controls no other. Its state is read without its lock: it can only
 * be reopened by a packet, which then makes a conn of its own.
 */
static bool x_reclaimable(struct ip_vs_x_conn *x)
{
	return x->c.protocol == IPPROTO_TCP && x_is_ready(x) &&
	       (x->c.state == IP_VS_TCP_S_TIME_WAIT || x->c.state == IP_VS_TCP_S_CLOSE) &&
	       !atomic_read(&x->c.n_control);
}

/*
 * Links x under lport if no other conn has that tuple. Else false, and with
 * victim the conn that has it, should its port be reclaimable; it is valid
 * under the caller's RCU.
 */
static bool x_link(struct ip_vs_x_conn *x, __be16 lport, struct ip_vs_x_conn **victim)
{
	struct x_tuple t = {
		.ipvs = x->c.ipvs, .af = x->c.af, .protocol = x->c.protocol,
		.laddr = &x->laddr, .lport = lport,
		.raddr = &x->c.daddr, .rport = x->c.dport,
	};
	struct ip_vs_x_conn *o;
	bool free = true;

	t.hash = x_hash(&t);
	spin_lock_bh(x_lock_of(t.hash));
	hlist_for_each_entry(o, x_bucket(t.hash), out_node) {
		if (x_equal(o, &t)) {
			if (victim && x_reclaimable(o))
				*victim = o;
			free = false;
			break;
		}
	}
	if (free) {
		x->lport = lport;
		x->out_hash = t.hash;
		hlist_add_head_rcu(&x->out_node, x_bucket(t.hash));
	}
	spin_unlock_bh(x_lock_of(t.hash));
	return free;
}

static void x_unlink(struct ip_vs_x_conn *x)
{
	spin_lock_bh(x_lock_of(x->out_hash));
	hlist_del_rcu(&x->out_node);
	spin_unlock_bh(x_lock_of(x->out_hash));
}

/* Ends the conn that holds the port, if it lets go, and takes the port */
static bool x_reclaim(struct ip_vs_x_conn *x, __be16 lport)
{
	struct ip_vs_x_conn *victim = NULL;

	if (x_link(x, lport, &victim))
		return true;
	if (!victim)
		return false;
	ip_vs_x_conn_reclaim(&victim->c);
	return x_link(x, lport, NULL);
}

/* Looks for a free port of la in at most budget probes */
static bool x_probe(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg,
		    struct ip_vs_x_laddr *la, unsigned int budget, bool reclaim)
{
	unsigned int min = READ_ONCE(la->port_min), max = READ_ONCE(la->port_max);
	unsigned int range, start, i;

	if (!min || max < min)
		return false;
	range = max - min + 1;
	budget = min(budget, range);

	x->laddr = la->addr;
	/* CPUs start apart, and RSs do, so that first probes seldom meet */
	start = jhash_2words((__force u32)x->c.daddr.all[3] ^ (__force u32)x->c.daddr.all[0],
			     (__force u32)x->c.dport, x_rnd) +
		this_cpu_inc_return(la->pcpu->cursor);
	for (i = 0; i < budget; i++) {
		__be16 lport = htons(min + (start + i) % range);

		if (reclaim ? x_reclaim(x, lport) : x_link(x, lport, NULL))
			break;
	}
	if (i) {
		this_cpu_add(la->pcpu->cursor, i);
		this_cpu_add(la->pcpu->conflict, i);
		this_cpu_add(la->xnet->stats->n[IPVS_EXT_STAT_LPORT_CONFLICT], i);
		this_cpu_add(cfg->stats->n[IPVS_EXT_STAT_LPORT_CONFLICT], i);
	}
	if (i == budget)
		return false;
	if (reclaim)
		this_cpu_inc(la->pcpu->reclaim);
	return true;
}

/* x has a port of la and a ref on it: the books. On error it has neither. */
static int x_bound(struct ip_vs_x_net *xnet, struct ip_vs_x_conn *x, struct ip_vs_x_laddr *la,
		   const struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_conn_param *p,
		   bool reclaim)
{
	if (unlikely(!ip_vs_x_use_get(la->uses, xnet, cfg->lgroup->name, &x->c))) {
		x_unlink(x);
		ip_vs_x_laddr_put(la);
		ip_vs_x_drop_new(xnet, cfg, p, IPVS_EXT_STAT_MEM);
		return -ENOMEM;
	}
	x->la = la;
	this_cpu_inc(la->pcpu->conns);
	ip_vs_x_count_cfg(xnet, cfg, reclaim ? IPVS_EXT_STAT_LPORT_RECLAIM :
			  IPVS_EXT_STAT_LPORT_OK);
	return 0;
}

/* Takes lip:lport for x, which knows its RS. 0, or why not. */
static int x_bind(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg,
		  const struct ip_vs_conn_param *p)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(x->c.ipvs);
	struct ip_vs_x_laddr *las[IP_VS_X_LIPS_PER_CONN], *la;
	u32 seed = ip_vs_x_laddr_seed(cfg, p->caddr, x->c.af);
	unsigned int n, i, budget, got, picks = X_PICKS;
	bool reclaim = false;

pick:
	n = ip_vs_x_laddr_pick(cfg, seed, las, ARRAY_SIZE(las));
	if (!n) {
		ip_vs_x_drop_new(xnet, cfg, p, IPVS_EXT_STAT_NO_LADDR);
		return -EADDRNOTAVAIL;
	}
	budget = max(READ_ONCE(xnet->probes) / n, 1U);
again:
	for (i = 0, got = 0; i < n; i++) {
		la = las[i];
		/* fails for an address that is being deleted */
		if (!ip_vs_x_laddr_get(la))
			continue;
		got++;
		if (x_probe(x, cfg, la, budget, reclaim))
			return x_bound(xnet, x, la, cfg, p, reclaim);
		if (!reclaim)
			this_cpu_inc(la->pcpu->full);
		ip_vs_x_laddr_put(la);
	}
	/* all of them are being deleted: those that stay are in a newer array */
	if (!got && --picks)
		goto pick;
	if (!reclaim && READ_ONCE(xnet->reclaim)) {
		reclaim = true;
		goto again;
	}
	ip_vs_x_drop_new(xnet, cfg, p, IPVS_EXT_STAT_LPORT_FULL);
	ip_vs_x_trace_lport_full(x, p->caddr, cfg->lgroup->name);
	if (got)
		ip_vs_x_use_full(cfg->lgroup->uses, xnet, cfg->lgroup->name, &x->c);
	return -EADDRINUSE;
}

/* NAT: the RS sees the client. His last conn with it may not have ended quite. */
static int x_bind_client(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg,
			 const struct ip_vs_conn_param *p)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(p->ipvs);

	ip_vs_addr_set(p->af, &x->laddr, p->caddr);
	if (x_reclaim(x, p->cport))
		return 0;
	ip_vs_x_count_cfg(xnet, cfg, IPVS_EXT_STAT_LPORT_CONFLICT);
	ip_vs_x_drop_new(xnet, cfg, p, IPVS_EXT_STAT_LPORT_FULL);
	return -EADDRINUSE;
}

/* The settings by which a conn to dest becomes an X conn; NULL: it does not */
static const struct ip_vs_x_svc_cfg *x_wanted(const struct ip_vs_conn_param *p, int daf,
					      unsigned int flags, struct ip_vs_dest *dest)
{
	const struct ip_vs_x_svc_cfg *cfg;
	struct ip_vs_service *svc;

	if (!dest || p->af != daf || IP_VS_DFWD_METHOD(dest) != IP_VS_CONN_F_MASQ ||
	    (p->protocol != IPPROTO_TCP && p->protocol != IPPROTO_UDP) ||
	    (flags & (IP_VS_CONN_F_TEMPLATE | IP_VS_CONN_F_ONE_PACKET |
		      IP_VS_CONN_F_NO_CPORT | IP_VS_CONN_F_SYNC)))
		return NULL;
	svc = rcu_dereference(dest->svc);
	if (!svc)
		return NULL;
	cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);
	if (!cfg || (cfg->flags & IPVS_EXT_SVC_F_FNAT))
		return cfg;
	return (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY) && p->protocol == IPPROTO_TCP ? cfg : NULL;
}

/* The settings are taken over now: a later SET_SERVICE is for new conns */
static void x_settings(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg)
{
	u16 f = cfg->flags & IPVS_EXT_SVC_F_FNAT ? IP_VS_X_F_FNAT : 0;

	if (x->c.protocol == IPPROTO_TCP) {
		if (cfg->flags & IPVS_EXT_SVC_F_SEQ)
			f |= IP_VS_X_F_SEQ;
		if (cfg->flags & IPVS_EXT_SVC_F_TOA)
			f |= IP_VS_X_F_TOA;
		if (cfg->flags & IPVS_EXT_SVC_F_TOA_SYN)
			f |= IP_VS_X_F_TOA_SYN;
		if (cfg->ts_mode == IPVS_EXT_TS_STRIP)
			f |= IP_VS_X_F_TS_STRIP;
		else if (cfg->ts_mode == IPVS_EXT_TS_REBASE)
			f |= IP_VS_X_F_TS_REBASE;
		if (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY)
			f |= IP_VS_X_F_SP;
		x->mss_clamp = cfg->mss_clamp;
		x->toa_kind = x->c.af == AF_INET6 ? cfg->toa_kind6 : cfg->toa_kind4;
	}
	x->toa_left = IP_VS_X_TOA_MAX;
	x->xflags = f;
}

struct ip_vs_conn *__ip_vs_x_conn_alloc(struct kmem_cache *cachep,
					const struct ip_vs_conn_param *p, int daf,
					const union nf_inet_addr *daddr, __be16 dport,
					unsigned int *flags, struct ip_vs_dest *dest)
{
	const struct ip_vs_x_svc_cfg *cfg = x_wanted(p, daf, *flags, dest);
	struct ip_vs_x_conn *x;
	int err;

	if (!cfg)
		return kmem_cache_alloc(cachep, GFP_ATOMIC);

	x = kmem_cache_alloc(x_cachep, GFP_ATOMIC);
	if (!x) {
		ip_vs_x_drop_new(ip_vs_x_net(p->ipvs), cfg, p, IPVS_EXT_STAT_MEM);
		return NULL;
	}
	/* ip_vs_conn_new() fills the stock part; what lookups compare must be there before */
	memset((void *)x + offsetof(struct ip_vs_x_conn, out_dst), 0,
	       sizeof(*x) - offsetof(struct ip_vs_x_conn, out_dst));
	refcount_set(&x->c.refcnt, 0);
	x->c.ipvs = p->ipvs;
	x->c.af = p->af;
	x->c.protocol = p->protocol;
	x->c.dport = dport;
	ip_vs_addr_set(daf, &x->c.daddr, daddr);
	memset(&x->c.sync_conn_opt, 0, sizeof(x->c.sync_conn_opt));
	x_settings(x, cfg);

	err = x->xflags & IP_VS_X_F_FNAT ? x_bind(x, cfg, p) : x_bind_client(x, cfg, p);
	if (err) {
		kmem_cache_free(x_cachep, x);
		return ERR_PTR(err);
	}
	*flags |= IP_VS_CONN_F_X;
	return &x->c;
}

void __ip_vs_x_refused(struct ip_vs_service *svc, struct sk_buff *skb, struct ip_vs_iphdr *iph)
{
	const struct ip_vs_x_svc_cfg *cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);

	if (!cfg || iph->protocol != IPPROTO_TCP || ip_vs_iph_icmp(iph) ||
	    (cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_EXHAUST_RST)) !=
	    (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_EXHAUST_RST))
		return;
	ip_vs_x_count_cfg(ip_vs_x_net(svc->ipvs), cfg, IPVS_EXT_STAT_EXHAUST_RST);
	ip_vs_x_answer_rst(svc->ipvs, svc->af, skb, iph);
}

void __ip_vs_x_conn_ready(struct ip_vs_conn *cp)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_conn_cfg(cp);

	if (cfg && !x->ready)
		ip_vs_x_auto_opened(x, cfg);
	/* conntrack never sees an X conn, so there is none to keep for it */
	cp->flags = (cp->flags & ~(IP_VS_CONN_F_FWD_MASK | IP_VS_CONN_F_NFCT)) |
		    IP_VS_CONN_F_FNAT;
	cp->packet_xmit = ip_vs_x_xmit;
	ip_vs_x_trace_conn_new(x);
	/* pairs with the acquire in x_is_ready() */
	smp_store_release(&x->ready, 1);
}

/* The last ref is gone: no lookup finds the conn any more, by either table */
void __ip_vs_x_conn_unlink(struct ip_vs_conn *cp)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);

	if (unlikely(x->xflags & IP_VS_X_F_SEEN)) {
		rcu_read_lock();
		ip_vs_x_expire_rst(x);
		rcu_read_unlock();
	}
	x_unlink(x);

	ip_vs_x_sp_drop(x);
	ip_vs_x_auto_answered(x);
	if (x->la) {
		this_cpu_dec(x->la->pcpu->conns);
		ip_vs_x_use_put(x->la->uses, cp);
		ip_vs_x_laddr_put(x->la);
	}
	dst_release(unrcu_pointer(xchg(&x->out_dst, NULL)));
}

void __ip_vs_x_conn_free(struct ip_vs_conn *cp)
{
	kmem_cache_free(x_cachep, ip_vs_x_conn(cp));
}

int ip_vs_x_conn_bucket(const struct netns_ipvs *ipvs, unsigned int pos, unsigned int *skip,
			int (*fn)(struct ip_vs_x_conn *x, void *arg), void *arg)
{
	struct ip_vs_x_conn *x;
	unsigned int n = 0;
	int ret = 0;

	rcu_read_lock();
	hlist_for_each_entry_rcu(x, &x_tab[pos], out_node) {
		if (n++ < *skip || !x_is_ready(x) || x->c.ipvs != ipvs)
			continue;
		ret = fn(x, arg);
		if (ret < 0) {
			*skip = n - 1;
			break;
		}
	}
	rcu_read_unlock();
	return ret;
}

int ip_vs_x_conn_walk(const struct netns_ipvs *ipvs, unsigned int *pos, unsigned int *skip,
		      int (*fn)(struct ip_vs_x_conn *x, void *arg), void *arg)
{
	int ret = 0;

	for (; *pos <= x_tab_mask; (*pos)++, *skip = 0) {
		ret = ip_vs_x_conn_bucket(ipvs, *pos, skip, fn, arg);
		if (ret < 0)
			return ret;
		cond_resched();
	}
	return ret;
}

int ip_vs_x_conn_init(void)
{
	unsigned int i;

	if (!x_tab_bits)
		x_tab_bits = ilog2(ip_vs_conn_tab_size);
	x_tab_bits = clamp(x_tab_bits, 8U, 27U);
	x_tab_mask = BIT(x_tab_bits) - 1;
	x_rnd = get_random_u32();

	/* a lock guards whole buckets only while there are no more locks than buckets */
	BUILD_BUG_ON(X_LOCKS_BITS > 8);

	x_cachep = kmem_cache_create("ip_vs_x_conn", sizeof(struct ip_vs_x_conn), 0,
				     SLAB_HWCACHE_ALIGN, NULL);
	x_tab = kvcalloc(BIT(x_tab_bits), sizeof(*x_tab), GFP_KERNEL);
	x_locks = kcalloc(BIT(X_LOCKS_BITS), sizeof(*x_locks), GFP_KERNEL);
	if (!x_cachep || !x_tab || !x_locks) {
		ip_vs_x_conn_cleanup();
		return -ENOMEM;
	}
	for (i = 0; i < BIT(X_LOCKS_BITS); i++)
		spin_lock_init(&x_locks[i].l);
	return 0;
}

/* After rcu_barrier(): conns are freed by RCU */
void ip_vs_x_conn_cleanup(void)
{
	kmem_cache_destroy(x_cachep);
	kvfree(x_tab);
	kfree(x_locks);
}
