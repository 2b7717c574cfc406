// SPDX-License-Identifier: GPL-2.0-only
/*
 * Limits of a service: new connections a second and at once, bytes a second,
 * and how long an idle one lives. The arithmetic is in ip_vs_x_rate.h.
 *
 * A limit's state outlives changes of other settings, so that touching a
 * service does not fill its buckets; a change of its rates starts it anew.
 */
#include <linux/percpu.h>
#include <linux/slab.h>
#include <linux/timekeeping.h>
#include "compat.h"
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"
#include "ip_vs_x_rate.h"

#define X_CPS_SHARE	20		/* a default burst is this part of a second */
#define X_BPS_SHARE	10
#define X_BPS_BURST_MIN	3000		/* two packets */

struct ip_vs_x_limit_cpu {
	struct ip_vs_x_rate_cpu	c[IP_VS_X_LIMITS];
};

struct ip_vs_x_limit {
	struct ip_vs_x_rate	r[IP_VS_X_LIMITS];
	struct ip_vs_x_limit_cpu __percpu *cpu;
	/* the upper level, shared by all CPUs; a line for each */
	struct {
		atomic64_t	at;
	} ____cacheline_aligned_in_smp up[IP_VS_X_LIMITS];
};

DEFINE_STATIC_KEY_FALSE(ip_vs_x_live_key);
static struct kmem_cache *x_limit_cachep __read_mostly;

static void x_limit_init(struct ip_vs_x_limit *l, const struct ip_vs_x_svc_cfg *cfg)
{
	u32 burst = cfg->cps_burst ?: max(cfg->cps / X_CPS_SHARE, 1U);
	u64 now = ktime_get_ns();
	int i, cpu;

	ip_vs_x_rate_init(&l->r[IP_VS_X_LIMIT_CPS], cfg->cps, burst, false, num_online_cpus());
	ip_vs_x_rate_init(&l->r[IP_VS_X_LIMIT_IN], cfg->bps_in,
			  max_t(u64, cfg->bps_in / X_BPS_SHARE, X_BPS_BURST_MIN), true,
			  num_online_cpus());
	ip_vs_x_rate_init(&l->r[IP_VS_X_LIMIT_OUT], cfg->bps_out,
			  max_t(u64, cfg->bps_out / X_BPS_SHARE, X_BPS_BURST_MIN), true,
			  num_online_cpus());
	for (i = 0; i < IP_VS_X_LIMITS; i++) {
		atomic64_set(&l->up[i].at, ip_vs_x_rate_full(&l->r[i], now));
		for_each_possible_cpu(cpu)
			per_cpu_ptr(l->cpu, cpu)->c[i].retry = now;
	}
}

struct ip_vs_x_limit *ip_vs_x_limit_new(const struct ip_vs_x_svc_cfg *cfg)
{
	struct ip_vs_x_limit *l = kmem_cache_zalloc(x_limit_cachep, GFP_KERNEL);

	if (!l)
		return NULL;
	l->cpu = alloc_percpu(struct ip_vs_x_limit_cpu);
	if (!l->cpu) {
		kmem_cache_free(x_limit_cachep, l);
		return NULL;
	}
	x_limit_init(l, cfg);
	return l;
}

void ip_vs_x_limit_free(struct ip_vs_x_limit *l)
{
	if (!l)
		return;
	free_percpu(l->cpu);
	kmem_cache_free(x_limit_cachep, l);
}

static bool x_take_shared(struct ip_vs_x_limit *l, unsigned int which, u64 now, u64 n, u64 *retry)
{
	s64 old = atomic64_read(&l->up[which].at);
	u64 at;

	do {
		at = old;
		if (!ip_vs_x_rate_take(&l->r[which], &at, now, n, retry))
			return false;
	} while (!atomic64_try_cmpxchg(&l->up[which].at, &old, at));
	return true;
}

static bool x_take(struct ip_vs_x_limit *l, unsigned int which, struct ip_vs_x_rate_cpu *c, u64 n)
{
	u64 want, now;

	if (likely(ip_vs_x_rate_cached(&l->r[which], c, n, &want)))
		return true;
	now = ktime_get_ns();
	if ((s64)(c->retry - now) > 0)
		return false;
	if (x_take_shared(l, which, now, want, &c->retry)) {
		ip_vs_x_rate_got(c, want, n);
		return true;
	}
	if (l->r[which].debt || want == n || !x_take_shared(l, which, now, n, &c->retry))
		return false;
	ip_vs_x_rate_got(c, n, n);
	return true;
}

bool ip_vs_x_limit_take(struct ip_vs_x_limit *l, unsigned int which, u64 n)
{
	bool ok;

	if (!l->r[which].rate)
		return true;
	/* also called by senders on this host, where a softirq may come in between */
	local_bh_disable();
	ok = x_take(l, which, &this_cpu_ptr(l->cpu)->c[which], n);
	local_bh_enable();
	return ok;
}

u64 ip_vs_x_svc_conns(struct ip_vs_service *svc, u64 enough)
{
	struct ip_vs_dest *dest;
	u64 n = 0;

	list_for_each_entry_rcu(dest, &svc->destinations, n_list) {
		n += x_dest_conns(dest);
		if (n >= enough)
			break;
	}
	return n;
}

bool ip_vs_x_limit_admit(struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
			 unsigned int *stat)
{
	/* the token last: what is refused anyhow takes none */
	if (cfg->conn_limit && ip_vs_x_svc_conns(svc, cfg->conn_limit) >= cfg->conn_limit) {
		*stat = IPVS_EXT_STAT_LIMIT_DROP;
		return false;
	}
	if (cfg->limit && !ip_vs_x_limit_take(cfg->limit, IP_VS_X_LIMIT_CPS, 1)) {
		*stat = IPVS_EXT_STAT_CPS_DROP;
		return false;
	}
	return true;
}

static bool x_established(const struct ip_vs_conn *cp)
{
	return cp->protocol == IPPROTO_TCP ? cp->state == IP_VS_TCP_S_ESTABLISHED :
	       cp->protocol == IPPROTO_UDP;
}

bool __ip_vs_x_live(struct sk_buff *skb, struct ip_vs_conn *cp, unsigned int which)
{
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_conn_cfg(cp);

	if (!cfg)
		return true;
	/* ip_vs has set its own a moment ago and arms the timer when we return */
	if (cfg->timeout_est && x_established(cp))
		cp->timeout = cfg->timeout_est * HZ;
	return !cfg->limit || ip_vs_x_limit_take(cfg->limit, which, skb->len);
}

int ip_vs_x_limit_setup(void)
{
	x_limit_cachep = kmem_cache_create("ip_vs_x_limit", sizeof(struct ip_vs_x_limit), 0,
					   SLAB_HWCACHE_ALIGN, NULL);
	return x_limit_cachep ? 0 : -ENOMEM;
}

void ip_vs_x_limit_cleanup(void)
{
	kmem_cache_destroy(x_limit_cachep);
}
