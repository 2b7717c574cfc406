// SPDX-License-Identifier: GPL-2.0-only
/*
 * Who may not come in: clients by ipset, TCP that belongs to no connection, and
 * what is sent to a vip where no service is.
 *
 * Sets of clients are the kernel's own ipsets: their tools, time-outs and
 * atomic swap come with them. ip_set.ko is used when it is asked for, through
 * symbol_get(), so that ip_vs.ko does not need it. A set is looked up once, by
 * the first service that names it; swapping it by ipset(8) is seen at once,
 * because it is the index of the set that we hold and a swap exchanges what two
 * indices stand for.
 *
 * Locking: the list of sets and their users are under ip_vs_x_cfg_lock(). A
 * packet reaches a set through its service's settings, under RCU; the last user
 * gives the set back only after a grace period, and in a work item, because
 * ipset sleeps there.
 */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/hash.h>
#include <linux/kmod.h>
#include <linux/module.h>
#include <linux/netfilter/ipset/ip_set.h>
#include <linux/netfilter/x_tables.h>
#include <linux/slab.h>
#include <linux/workqueue.h>
#include "compat.h"
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

#define X_VIPS_BITS	10
#define X_RST_RATE	1000	/* a second and namespace; floods are not answered one by one */

struct ip_vs_x_set {
	struct list_head	list;		/* of the namespace */
	struct ip_vs_x_net	*xnet;
	ip_set_id_t		index;
	u8			family;		/* NFPROTO_*; UNSPEC takes both */
	unsigned int		users;
	struct rcu_work		put;
	char			name[IPVS_EXT_SET_MAX + 1];
};

/* What we use of ip_set.ko. Held from the first set on until the last is given back. */
static struct {
	unsigned int	users;	/* sets, ip_vs_x_cfg_lock() */
	ip_set_id_t	(*get)(struct net *net, const struct nlattr *name, struct ip_set **set);
	void		(*put)(struct net *net, ip_set_id_t index);
	int		(*test)(ip_set_id_t id, const struct sk_buff *skb,
				const struct xt_action_param *par, struct ip_set_adt_opt *opt);
} x_ipset;

static struct kmem_cache *x_set_cachep __read_mostly;
static struct workqueue_struct *x_wq __read_mostly;

/* Services by vip. Written under ip_vs_x_cfg_lock(), read under RCU. */
static struct hlist_head x_vips[BIT(X_VIPS_BITS)];

/* ip_set.ko */

static void x_ipset_release(void)
{
	if (x_ipset.get)
		symbol_put(ip_set_get_byname);
	if (x_ipset.put)
		symbol_put(ip_set_nfnl_put);
	if (x_ipset.test)
		symbol_put(ip_set_test);
	x_ipset.get = NULL;
	x_ipset.put = NULL;
	x_ipset.test = NULL;
}

static bool x_ipset_acquire(void)
{
	if (x_ipset.users)
		return true;
	x_ipset.get = symbol_get(ip_set_get_byname);
	x_ipset.put = symbol_get(ip_set_nfnl_put);
	x_ipset.test = symbol_get(ip_set_test);
	if (x_ipset.get && x_ipset.put && x_ipset.test)
		return true;
	x_ipset_release();
	return false;
}

/* Loading it starts a process, so not for each service that names a set */
void ip_vs_x_acl_load(void)
{
	if (symbol_get(ip_set_get_byname))
		symbol_put(ip_set_get_byname);
	else
		request_module("ip_set");
}

/* Sets */

static void x_set_put_work(struct work_struct *work)
{
	struct ip_vs_x_set *s = container_of(to_rcu_work(work), struct ip_vs_x_set, put);

	/* a namespace that goes may have taken its sets with it: ipset knows */
	x_ipset.put(s->xnet->net, s->index);
	ip_vs_x_cfg_lock();
	if (!--x_ipset.users)
		x_ipset_release();
	ip_vs_x_cfg_unlock();
	kmem_cache_free(x_set_cachep, s);
}

static struct ip_vs_x_set *x_set_find(struct ip_vs_x_net *xnet, const char *name)
{
	struct ip_vs_x_set *s;

	list_for_each_entry(s, &xnet->sets, list) {
		if (!strcmp(s->name, name))
			return s;
	}
	return NULL;
}

static int x_set_check(const struct ip_vs_x_set *s, u8 family, struct netlink_ext_ack *extack)
{
	if (s->family == family || s->family == NFPROTO_UNSPEC)
		return 0;
	X_ERR_FMT(extack, "ipset '%s' is not %s", s->name,
		  family == NFPROTO_IPV6 ? "IPv6" : "IPv4");
	return -EAFNOSUPPORT;
}

/* Its first user: looks it up. The reference keeps the set from being destroyed. */
static struct ip_vs_x_set *x_set_new(struct ip_vs_x_net *xnet, const struct nlattr *name,
				     struct netlink_ext_ack *extack)
{
	struct ip_set *set = NULL;
	struct ip_vs_x_set *s;
	int err = -ENOENT;

	s = kmem_cache_zalloc(x_set_cachep, GFP_KERNEL);
	if (!s)
		return ERR_PTR(-ENOMEM);
	s->index = IPSET_INVALID_ID;
	if (x_ipset_acquire())
		s->index = x_ipset.get(xnet->net, name, &set);
	if (s->index == IPSET_INVALID_ID) {
		X_ERR_FMT(extack, "ipset '%s' not found", (const char *)nla_data(name));
		goto fail;
	}
	x_ipset.users++;
	s->xnet = xnet;
	s->family = set->family;
	nla_strscpy(s->name, name, sizeof(s->name));
	INIT_RCU_WORK(&s->put, x_set_put_work);
	list_add(&s->list, &xnet->sets);
	xnet->had_sets = true;
	if (set->type->dimension == 1)
		return s;
	X_ERR_FMT(extack, "ipset '%s' has more than an address", s->name);
	s->users = 1;
	ip_vs_x_set_put(s);
	return ERR_PTR(-EINVAL);

fail:
	if (!x_ipset.users)
		x_ipset_release();
	kmem_cache_free(x_set_cachep, s);
	return ERR_PTR(err);
}

struct ip_vs_x_set *ip_vs_x_set_get(struct ip_vs_x_net *xnet, const struct nlattr *name, u8 family,
				    struct netlink_ext_ack *extack)
{
	struct ip_vs_x_set *s = x_set_find(xnet, nla_data(name));
	int ret;

	if (!s)
		s = x_set_new(xnet, name, extack);
	if (IS_ERR(s))
		return s;
	s->users++;
	ret = x_set_check(s, family, extack);
	if (!ret)
		return s;
	ip_vs_x_set_put(s);
	return ERR_PTR(ret);
}

void ip_vs_x_set_hold(struct ip_vs_x_set *s)
{
	if (s)
		s->users++;
}

void ip_vs_x_set_put(struct ip_vs_x_set *s)
{
	if (!s || --s->users)
		return;
	list_del(&s->list);
	queue_rcu_work(x_wq, &s->put);
}

const char *ip_vs_x_set_name(const struct ip_vs_x_set *s)
{
	return s ? s->name : "";
}

/* Packets */

bool ip_vs_x_acl_permits(const struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_service *svc,
			 const struct sk_buff *skb, const struct ip_vs_iphdr *iph)
{
	const struct ip_vs_x_set *s = svc->af == AF_INET6 ? cfg->set6 : cfg->set4;
	struct nf_hook_state state = {
		.hook = NF_INET_LOCAL_IN, .net = svc->ipvs->net, .in = skb->dev,
		.pf = svc->af == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4,
	};
	struct xt_action_param par = { .state = &state, .thoff = iph->len };
	struct ip_set_adt_opt opt = {
		.family = state.pf, .dim = IPSET_DIM_ONE, .flags = IPSET_DIM_ONE_SRC,
		.ext.timeout = UINT_MAX,
	};
	bool in;

	if (cfg->acl_mode == IPVS_EXT_ACL_OFF || !s)
		return true;
	/* an ICMP error comes from whoever; the set speaks of clients */
	if (ip_vs_iph_icmp(iph))
		return false;
	in = x_ipset.test(s->index, skb, &par, &opt) > 0;
	return in == (cfg->acl_mode == IPVS_EXT_ACL_WHITE);
}

bool ip_vs_x_invalid(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		     const struct ip_vs_iphdr *iph, const struct tcphdr *th,
		     const struct ip_vs_x_svc_cfg *cfg)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(ipvs);
	unsigned int stat = IPVS_EXT_STAT_INVALID_DROP;

	if (cfg->invalid == IPVS_EXT_INVALID_ACCEPT)
		return true;
	if (cfg->invalid == IPVS_EXT_INVALID_RST && !th->rst &&
	    ip_vs_x_limit_take(xnet->rst_limit, IP_VS_X_LIMIT_CPS, 1)) {
		stat = IPVS_EXT_STAT_INVALID_RST;
		ip_vs_x_answer_rst(ipvs, af, skb, iph);
	}
	ip_vs_x_drop_packet(xnet, cfg, af, skb, iph, stat);
	return false;
}

static struct hlist_head *x_vip_head(const struct netns_ipvs *ipvs, int af,
				     const union nf_inet_addr *addr)
{
	u32 h = af == AF_INET6 ? (__force u32)(addr->all[0] ^ addr->all[1] ^ addr->all[2] ^
					       addr->all[3]) : (__force u32)addr->ip;

	return &x_vips[hash_32(h ^ hash32_ptr(ipvs), X_VIPS_BITS)];
}

/* Is it a vip of some service, whatever its protocol and port? RCU. */
static bool x_is_vip(const struct netns_ipvs *ipvs, int af, const union nf_inet_addr *addr)
{
	const struct ip_vs_x_service *xs;

	hlist_for_each_entry_rcu(xs, x_vip_head(ipvs, af, addr), vip_node) {
		if (xs->s.ipvs == ipvs && xs->s.af == af &&
		    ip_vs_addr_equal(af, &xs->s.addr, addr))
			return true;
	}
	return false;
}

void ip_vs_x_svc_added(struct ip_vs_service *svc)
{
	if (!svc->fwmark)
		hlist_add_head_rcu(&ip_vs_x_service(svc)->vip_node,
				   x_vip_head(svc->ipvs, svc->af, &svc->addr));
}

/* The service goes; its memory stays for a grace period */
void ip_vs_x_vip_del(struct ip_vs_service *svc)
{
	hlist_del_init_rcu(&ip_vs_x_service(svc)->vip_node);
}

void ip_vs_x_set_drop_vip(struct ip_vs_x_net *xnet, bool on)
{
	if (on == xnet->drop_vip)
		return;
	WRITE_ONCE(xnet->drop_vip, on);
	if (!on) {
		static_branch_dec(&ip_vs_x_stray_key);
		return;
	}
	static_branch_inc(&ip_vs_x_stray_key);
	static_branch_enable(&ip_vs_x_key);
}

bool ip_vs_x_vip_drop(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(ipvs);

	if (likely(!READ_ONCE(xnet->drop_vip)) || !x_is_vip(ipvs, af, &iph->daddr))
		return false;
	ip_vs_x_drop_packet(xnet, NULL, af, skb, iph, IPVS_EXT_STAT_VIP_DROP);
	return true;
}

bool __ip_vs_x_udp_stray(struct netns_ipvs *ipvs, int af, struct sk_buff *skb, int *verdict,
			 struct ip_vs_iphdr *iph)
{
	if (ip_vs_iph_icmp(iph) || !ip_vs_x_vip_drop(ipvs, af, skb, iph))
		return true;
	*verdict = NF_DROP;
	return false;
}

int ip_vs_x_acl_net_init(struct ip_vs_x_net *xnet)
{
	static const struct ip_vs_x_svc_cfg rst = { .cps = X_RST_RATE };

	INIT_LIST_HEAD(&xnet->sets);
	xnet->rst_limit = ip_vs_x_limit_new(&rst);
	return xnet->rst_limit ? 0 : -ENOMEM;
}

/* No service is left; what their settings held is on its way back */
void ip_vs_x_acl_net_exit(struct ip_vs_x_net *xnet)
{
	if (xnet->had_sets) {
		rcu_barrier();
		flush_workqueue(x_wq);
	}
	ip_vs_x_limit_free(xnet->rst_limit);
}

int ip_vs_x_acl_setup(void)
{
	x_set_cachep = kmem_cache_create("ip_vs_x_set", sizeof(struct ip_vs_x_set), 0, 0, NULL);
	x_wq = alloc_workqueue("ip_vs_x", 0, 0);
	if (x_set_cachep && x_wq)
		return 0;
	ip_vs_x_acl_cleanup();
	return -ENOMEM;
}

void ip_vs_x_acl_cleanup(void)
{
	if (x_wq)
		destroy_workqueue(x_wq);
	kmem_cache_destroy(x_set_cachep);
}
