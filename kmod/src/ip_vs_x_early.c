// SPDX-License-Identifier: GPL-2.0-only
/*
 * The SYN proxy, early: a SYN is answered, a stray ACK judged and a cookie taken at
 * PRE_ROUTING, before the packet is routed and goes up to LOCAL_IN. What is decided,
 * counted and traced is the same, by the same functions; a flood costs less.
 *
 * Only what is plain is dealt with here: no options, extension headers or fragments,
 * a SYN or an ACK for which there is no conn, to a service whose SYN proxy is in
 * force, at an address that the input route would find on this host, from a source
 * that it would let pass. All else passes untouched and uncounted, and is decided
 * where ip_vs always does. So is what a hook of somebody else's could see or change
 * behind us, unless the mode is ON.
 *
 * Behind raw (a rule there may drop, or set a mark), so that a host has one place
 * that comes first.
 *
 * Locking: services are counted and the hook is set under __ip_vs_mutex. Packets
 * read mode and vips without a lock, and are under RCU, as in every hook. A hook
 * that is gone may still run on another CPU: it finds no service. The route that a
 * service keeps to its vip is replaced with cmpxchg(); readers have it by RCU. Once
 * the service goes nobody can put one there any more.
 */
#include <linux/inetdevice.h>
#include <linux/netfilter_ipv4.h>
#include <linux/netfilter_ipv6.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/ip6_fib.h>
#include <net/ip6_route.h>
#include <net/ip_fib.h>
#include <net/ndisc.h>
#include <net/nexthop.h>
#include <net/tcp.h>
#include "ip_vs_x_cfg.h"
#include "ip_vs_x_synproxy.h"

static struct ip_vs_x_early *x_early_of(struct ip_vs_x_net *xnet, int af)
{
	return &xnet->early[af == AF_INET6];
}

/*
 * The header of a plain TCP segment, for a vip of ours as far as that is quickly
 * known; in one piece, as nearly all drivers have it. Fills in iph. Else NULL.
 */
static const struct tcphdr *x_plain(const struct sk_buff *skb, int af,
				    const struct ip_vs_x_early *e, struct ip_vs_iphdr *iph)
{
	unsigned int len;

	if (af == AF_INET6) {
		const struct ipv6hdr *ih = ipv6_hdr(skb);

		if (ih->nexthdr != IPPROTO_TCP)
			return NULL;
		iph->saddr.in6 = ih->saddr;
		iph->daddr.in6 = ih->daddr;
		len = sizeof(*ih);
	} else {
		const struct iphdr *ih = ip_hdr(skb);

		if (ih->protocol != IPPROTO_TCP || ih->ihl != 5 || ip_is_fragment(ih))
			return NULL;
		iph->saddr.ip = ih->saddr;
		iph->daddr.ip = ih->daddr;
		len = sizeof(*ih);
	}
	if (!(READ_ONCE(e->vips) & BIT_ULL(ip_vs_x_addr_bit(af, &iph->daddr))))
		return NULL;
	iph->off = skb_network_offset(skb);
	iph->len = iph->off + len;
	iph->hdr_flags = 0;
	iph->fragoffs = 0;
	iph->flags = 0;
	iph->protocol = IPPROTO_TCP;
	if (unlikely(iph->len + sizeof(struct tcphdr) > skb_headlen(skb)))
		return NULL;
	return (const struct tcphdr *)(skb->data + iph->len);
}

/* An ACK, with data or without */
static bool x_is_ack(const struct tcphdr *th)
{
	return (tcp_flag_word(th) & (TCP_FLAG_SYN | TCP_FLAG_ACK | TCP_FLAG_FIN | TCP_FLAG_RST)) ==
	       TCP_FLAG_ACK;
}

/*
 * Of devices and packets that the input route treats in ways of its own: it is left
 * to it. Bridges show what they pass on with the type of what is for them.
 */
static bool x_ordinary(const struct sk_buff *skb)
{
	return skb->pkt_type == PACKET_HOST && !skb->ipvs_property && !skb_dst(skb) && !skb->sk &&
	       !netif_is_l3_slave(skb->dev) && !netif_is_l3_master(skb->dev) &&
	       !(skb->dev->flags & IFF_LOOPBACK) && !nf_bridge_info_exists(skb);
}

static unsigned int x_early(void *priv, struct sk_buff *skb, const struct nf_hook_state *state);

/* Would no hook but ip_vs' own see the packet, from here to where ip_vs takes it? */
static bool x_unseen(const struct net *net, int af)
{
	const struct nf_hook_entries *e = ip_vs_x_hooks(net, af, NF_INET_PRE_ROUTING);

	return e && e->hooks[e->num_hook_entries - 1].hook == x_early &&
	       ip_vs_x_hooks_alone(net, af, NF_INET_LOCAL_IN);
}

/* What the input route looks for: here the packet's destination, or its source */
static struct flowi4 x_flow4(const struct sk_buff *skb, const struct tcphdr *th, bool back)
{
	const struct iphdr *ih = ip_hdr(skb);

	return (struct flowi4) {
		.daddr = back ? ih->saddr : ih->daddr, .saddr = back ? ih->daddr : ih->saddr,
		.fl4_dport = back ? th->source : th->dest,
		.fl4_sport = back ? th->dest : th->source,
		.flowi4_iif = back ? LOOPBACK_IFINDEX : skb->dev->ifindex,
		.flowi4_proto = IPPROTO_TCP, .flowi4_scope = RT_SCOPE_UNIVERSE,
		.flowi4_tos = ih->tos & X_TOS_MASK, .flowi4_mark = skb->mark,
	};
}

/*
 * Would rules have the packet, too, routed to this host? Those of IPv6 are not asked,
 * nor is which link a link local address is on.
 */
static bool x_by_rules(struct net *net, int af, const struct sk_buff *skb,
		       const struct tcphdr *th)
{
	struct fib_result res;
	struct flowi4 fl4;

	if (af == AF_INET6)
		return !fib6_has_custom_rules(net) &&
		       !(ipv6_addr_type(&ipv6_hdr(skb)->daddr) & IPV6_ADDR_LINKLOCAL);
	if (likely(!fib4_has_custom_rules(net)))
		return true;
	fl4 = x_flow4(skb, th, false);
	return !fib_lookup(net, &fl4, &res, 0) && res.type == RTN_LOCAL;
}

/* No route is kept any more: the service goes */
#define X_LOCAL_GONE	((struct dst_entry *)ERR_PTR(-ESHUTDOWN))

/* Looks for the route, and keeps it unless another CPU did, or the service goes */
static struct dst_entry *x_find_local(struct ip_vs_x_service *xs, struct dst_entry *old)
{
	struct dst_entry *dst = ip_vs_x_route(xs->s.ipvs->net, xs->s.af, IPPROTO_TCP, &xs->s.addr,
					      &xs->s.addr, 0, 0);

	if (!dst)
		return NULL;
	if (!ip_vs_x_dst_local(xs->s.af, dst))
		goto release;
	if (xs->s.af == AF_INET6)
		WRITE_ONCE(xs->local_cookie, rt6_get_cookie(dst_rt6_info(dst)));
	if (unrcu_pointer(cmpxchg(&xs->local, RCU_INITIALIZER(old), RCU_INITIALIZER(dst))) != old)
		goto release;
	dst_release(old);
	return dst;

release:
	dst_release(dst);
	return NULL;
}

/*
 * The route to the vip: one as the input route gives to packets for this host, valid
 * while no route has changed. NULL: the vip is not here, or nobody knows. RCU, no ref.
 */
static struct dst_entry *x_local(struct ip_vs_service *svc)
{
	struct ip_vs_x_service *xs = ip_vs_x_service(svc);
	struct dst_entry *dst = rcu_dereference(xs->local);

	if (IS_ERR(dst))
		return NULL;
	if (likely(dst && dst_check(dst, READ_ONCE(xs->local_cookie))))
		return dst;
	return x_find_local(xs, dst);
}

void ip_vs_x_early_release(struct ip_vs_service *svc)
{
	struct ip_vs_x_service *xs = ip_vs_x_service(svc);

	dst_release(unrcu_pointer(xchg(&xs->local, RCU_INITIALIZER(X_LOCAL_GONE))));
}

/* As rp_filter has it, which the input route knows for IPv4 alone */
static bool x_may_come(struct net *net, int af, const struct sk_buff *skb,
		       const struct tcphdr *th)
{
	struct in_device *in_dev;
	struct fib_result res;
	struct flowi4 fl4;
	int filter;

	if (af == AF_INET6)
		return true;
	in_dev = __in_dev_get_rcu(skb->dev);
	if (!in_dev)
		return false;
	filter = IN_DEV_RPFILTER(in_dev);
	if (likely(!filter))
		return true;
	fl4 = x_flow4(skb, th, true);
	if (!IN_DEV_SRC_VMARK(in_dev))
		fl4.flowi4_mark = 0;
	return !fib_lookup(net, &fl4, &res, 0) && res.type == RTN_UNICAST &&
	       (filter == 2 || fib_info_nh_uses_dev(res.fi, skb->dev));
}

/* Is the source somebody else, and one? The input route has a word on all others. */
static bool x_is_remote(struct net *net, int af, const struct ip_vs_iphdr *iph)
{
	if (af == AF_INET6)
		return !ipv6_chk_addr(net, &iph->saddr.in6, NULL, 0);
	return inet_addr_type(net, iph->saddr.ip) == RTN_UNICAST;
}

/*
 * The route of a cookie, as ip_vs_x_sp_route() would find it: while there is but one
 * way to the client, of which nothing in particular is known, it is that of the
 * nexthop. With a ref; NULL: another way of looking is needed.
 */
static struct dst_entry *x_nexthop4(struct net *net, const struct iphdr *ih,
				    const struct tcphdr *th)
{
	struct flowi4 fl4 = {
		.daddr = ih->saddr, .saddr = ih->daddr, .flowi4_proto = IPPROTO_TCP,
		.fl4_dport = th->source, .fl4_sport = th->dest,
		.flowi4_iif = LOOPBACK_IFINDEX, .flowi4_flags = FLOWI_FLAG_ANYSRC,
	};
	struct fib_result res __uninitialized;
	struct rtable *rt;

	if (fib4_has_custom_rules(net) || ipv4_is_multicast(ih->saddr) ||
	    ipv4_is_lbcast(ih->saddr) || ipv4_is_zeronet(ih->saddr) ||
	    fib_lookup(net, &fl4, &res, 0) || res.type != RTN_UNICAST ||
	    fib_info_num_path(res.fi) != 1 || (!res.prefixlen && res.table->tb_num_default > 1) ||
	    rcu_access_pointer(res.nhc->nhc_exceptions) || !res.nhc->nhc_pcpu_rth_output)
		return NULL;
	rt = rcu_dereference(*raw_cpu_ptr(res.nhc->nhc_pcpu_rth_output));
	if (!rt || !dst_check(&rt->dst, 0) || !dst_hold_safe(&rt->dst))
		return NULL;
	return &rt->dst;
}

/*
 * The only route of a table to the longest prefix that it has of an address, or its
 * null entry: down the tree by the bits that prefixes differ in, and up to the first
 * that is one of the address. NULL: there are several, or they depend on the source.
 */
static const struct fib6_info *x_route6(const struct fib6_table *table,
					const struct in6_addr *addr)
{
	const struct fib6_node *fn = &table->tb6_root, *next;
	const struct fib6_info *f6i;
	unsigned int bit;

	for (; (bit = fn->fn_bit) < 128; fn = next) {
		next = addr->s6_addr[bit / 8] & 0x80 >> bit % 8 ? rcu_dereference(fn->right) :
								  rcu_dereference(fn->left);
		if (!next)
			break;
	}
	for (; fn; fn = rcu_dereference(fn->parent)) {
		if (FIB6_SUBTREE(fn))
			return NULL;
		if (!(fn->fn_flags & RTN_RTINFO))
			continue;
		f6i = rcu_dereference(fn->leaf);
		if (!f6i)
			return NULL;
		if (ipv6_prefix_equal(&f6i->fib6_dst.addr, addr, f6i->fib6_dst.plen))
			return f6i->fib6_dst.plen == fn->fn_bit &&
			       !rcu_access_pointer(f6i->fib6_next) ? f6i : NULL;
	}
	return NULL;
}

/* Is the router there? A host that is none itself looks for another where it is not. */
static bool x_reachable6(const struct fib6_info *f6i, const struct fib6_nh *nh)
{
	const struct neighbour *neigh;

	if ((f6i->fib6_flags & RTF_NONEXTHOP) || !nh->fib_nh_gw_family)
		return true;
	neigh = __ipv6_neigh_lookup_noref(nh->fib_nh_dev, &nh->fib_nh_gw6);
	return neigh && (READ_ONCE(neigh->nud_state) & NUD_VALID);
}

/* The same for IPv6. A nexthop object may be several, and says elsewhere that it changed. */
static struct dst_entry *x_nexthop6(struct net *net, const struct ipv6hdr *ih)
{
	const struct fib6_info *f6i;
	const struct fib6_nh *nh;
	struct rt6_info *rt;

	if (fib6_has_custom_rules(net) || rt6_need_strict(&ih->saddr) ||
	    x_route6(X_LOCAL6(net), &ih->saddr) != net->ipv6.fib6_null_entry)
		return NULL;
	f6i = x_route6(net->ipv6.fib6_main_tbl, &ih->saddr);
	if (!f6i || f6i->fib6_type != RTN_UNICAST || (f6i->fib6_flags & RTF_REJECT) ||
	    f6i->nh || f6i->fib6_nsiblings || fib6_check_expired(f6i))
		return NULL;
	nh = f6i->fib6_nh;
	if ((nh->fib_nh_flags & (RTNH_F_DEAD | RTNH_F_LINKDOWN)) ||
	    (nh->fib_nh_dev->flags & IFF_LOOPBACK) ||
	    rcu_access_pointer(nh->rt6i_exception_bucket) || !nh->rt6i_pcpu ||
	    (!READ_ONCE(net->ipv6.devconf_all->forwarding) && !x_reachable6(f6i, nh)))
		return NULL;
	rt = READ_ONCE(*raw_cpu_ptr(nh->rt6i_pcpu));
	return rt && dst_hold_safe(&rt->dst) ? &rt->dst : NULL;
}

/* The same, whichever way; NULL too if it does not lead outside */
static struct dst_entry *x_answer_dst(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
				      const struct ip_vs_iphdr *iph, const struct tcphdr *th)
{
	struct dst_entry *dst = af == AF_INET6 ? x_nexthop6(ipvs->net, ipv6_hdr(skb)) :
						 x_nexthop4(ipvs->net, ip_hdr(skb), th);

	if (likely(dst))
		return dst;
	dst = ip_vs_x_sp_route(ipvs, af, iph, th);
	if (!dst || !ip_vs_x_dst_local(af, dst))
		return dst;
	dst_release(dst);
	return NULL;
}

static unsigned int x_syn(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			  struct ip_vs_iphdr *iph, const struct ip_vs_service *svc,
			  const struct ip_vs_x_svc_cfg *cfg, const struct tcphdr *th)
{
	struct dst_entry *dst = x_answer_dst(ipvs, af, skb, iph, th);

	if (!dst)
		return NF_ACCEPT;
	ip_vs_x_count_cfg(ip_vs_x_net_rcu(ipvs), cfg, IPVS_EXT_STAT_SP_EARLY);
	if (unlikely(ip_vs_x_unwelcome(ipvs, af, skb, iph, svc, cfg))) {
		dst_release(dst);
		return NF_DROP;
	}
	return ip_vs_x_sp_answer(ipvs, af, skb, iph, svc, cfg, dst);
}

/* Is it a reply, from a real server to a vip that is a local address, too? */
static bool x_is_reply(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		       struct ip_vs_protocol *pp, const struct ip_vs_iphdr *iph)
{
	struct ip_vs_conn *cp = pp->conn_out_get(ipvs, af, skb, iph);

	if (likely(!cp))
		return false;
	/* it is counted where ip_vs finds it again */
	if (ip_vs_conn_is_x(cp))
		this_cpu_dec(ip_vs_x_net_rcu(ipvs)->stats->n[IPVS_EXT_STAT_OUT_HIT]);
	__ip_vs_conn_put(cp);
	return true;
}

/* local: the route to the vip, which is what the conn in the making needs of one */
static unsigned int x_ack(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			  struct ip_vs_iphdr *iph, struct ip_vs_service *svc,
			  const struct ip_vs_x_svc_cfg *cfg, struct dst_entry *local)
{
	struct ip_vs_proto_data *pd = ip_vs_proto_data_get(ipvs, IPPROTO_TCP);
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(ipvs);
	u8 buf[IP_VS_X_TCP_MAX] __uninitialized;
	struct ip_vs_x_ack ack __uninitialized;
	struct tcphdr *th = ip_vs_x_sp_header(skb, iph->len, buf);
	int verdict;

	if (unlikely(!th || !pd))
		return NF_ACCEPT;
	if (!ip_vs_x_sp_valid(ipvs, af, skb, iph, cfg, th, &ack)) {
		if (cfg->invalid == IPVS_EXT_INVALID_ACCEPT ||
		    x_is_reply(ipvs, af, skb, pd->pp, iph) || !x_is_remote(ipvs->net, af, iph))
			return NF_ACCEPT;
		ip_vs_x_count_cfg(xnet, cfg, IPVS_EXT_STAT_SP_EARLY);
		ip_vs_x_sp_bad(ipvs, af, skb, iph, cfg);
		ip_vs_x_invalid(ipvs, af, skb, iph, th, cfg);
		return NF_DROP;
	}
	skb_dst_set_noref(skb, local);
	verdict = ip_vs_x_sp_good(ipvs, af, skb, pd, iph, svc, cfg, th, &ack);
	if (verdict >= 0) {
		ip_vs_x_count_cfg(xnet, cfg, IPVS_EXT_STAT_SP_EARLY);
		return verdict;
	}
	skb_dst_drop(skb);
	return NF_ACCEPT;
}

/* The settings of the service that the proxy acts for on such a packet; else NULL */
static const struct ip_vs_x_svc_cfg *x_proxied(struct netns_ipvs *ipvs,
					       struct ip_vs_service *svc, const struct tcphdr *th)
{
	const struct ip_vs_x_svc_cfg *cfg;

	/* marks may come later, and what a service without a port takes only persistence says */
	if (!svc || svc->fwmark || svc->port != th->dest ||
	    unlikely(sysctl_backup_only(ipvs) || !READ_ONCE(ipvs->enable)))
		return NULL;
	cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);
	if (!cfg || !(th->syn ? ip_vs_x_sp_active(cfg) : ip_vs_x_sp_takes(cfg)))
		return NULL;
	return cfg;
}

static unsigned int x_early(void *priv, struct sk_buff *skb, const struct nf_hook_state *state)
{
	struct netns_ipvs *ipvs = net_ipvs(state->net);
	struct ip_vs_x_net *xnet = ip_vs_x_net_rcu(ipvs);
	struct ip_vs_iphdr iph __uninitialized;
	struct ip_vs_conn_param p __uninitialized;
	const struct ip_vs_x_svc_cfg *cfg;
	struct ip_vs_service *svc;
	const struct tcphdr *th;
	struct dst_entry *local;
	int af = state->pf;

	th = x_plain(skb, af, x_early_of(xnet, af), &iph);
	if (!th || !(ip_vs_x_sp_is_syn(th) || x_is_ack(th)))
		return NF_ACCEPT;
	ip_vs_conn_fill_param(ipvs, af, IPPROTO_TCP, &iph.saddr, th->source, &iph.daddr,
			      th->dest, &p);
	/* first of all that costs: what most packets are */
	if (likely(ip_vs_x_conn_known(&p)) || !x_ordinary(skb))
		return NF_ACCEPT;
	svc = ip_vs_service_find(ipvs, af, skb->mark, IPPROTO_TCP, &iph.daddr, th->dest);
	cfg = x_proxied(ipvs, svc, th);
	if (!cfg || (READ_ONCE(xnet->early_mode) != IPVS_EXT_EARLY_ON &&
		     !x_unseen(ipvs->net, af)))
		return NF_ACCEPT;
	local = x_local(svc);
	if (!local || !x_by_rules(ipvs->net, af, skb, th) ||
	    !x_may_come(ipvs->net, af, skb, th))
		return NF_ACCEPT;
	if (th->syn)
		return x_syn(ipvs, af, skb, &iph, svc, cfg, th);
	return x_ack(ipvs, af, skb, &iph, svc, cfg, local);
}

static const struct nf_hook_ops x_ops[2] = {
	{
		.hook		= x_early,
		.pf		= NFPROTO_IPV4,
		.hooknum	= NF_INET_PRE_ROUTING,
		.priority	= NF_IP_PRI_RAW + 1,
	},
	{
		.hook		= x_early,
		.pf		= NFPROTO_IPV6,
		.hooknum	= NF_INET_PRE_ROUTING,
		.priority	= NF_IP6_PRI_RAW + 1,
	},
};

static int x_hook(struct ip_vs_x_net *xnet, int af)
{
	struct ip_vs_x_early *e = x_early_of(xnet, af);
	int ret;

	if (e->hooked)
		return 0;
	ret = nf_register_net_hook(xnet->net, &x_ops[af == AF_INET6]);
	e->hooked = !ret;
	return ret;
}

static void x_unhook(struct ip_vs_x_net *xnet, int af)
{
	struct ip_vs_x_early *e = x_early_of(xnet, af);

	if (e->hooked)
		nf_unregister_net_hook(xnet->net, &x_ops[af == AF_INET6]);
	e->hooked = false;
}

int ip_vs_x_early_want(const struct ip_vs_service *svc)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net(svc->ipvs);

	return svc->fwmark || xnet->early_mode == IPVS_EXT_EARLY_OFF ? 0 : x_hook(xnet, svc->af);
}

void ip_vs_x_early_count(const struct ip_vs_service *svc, bool on)
{
	struct ip_vs_x_net *xnet = ip_vs_x_net(svc->ipvs);
	struct ip_vs_x_early *e = x_early_of(xnet, svc->af);
	unsigned int bit = ip_vs_x_addr_bit(svc->af, &svc->addr);

	if (svc->fwmark)
		return;
	e->svcs += on ? 1 : -1;
	e->vips_n[bit] += on ? 1 : -1;
	if (e->vips_n[bit])
		WRITE_ONCE(e->vips, e->vips | BIT_ULL(bit));
	else
		WRITE_ONCE(e->vips, e->vips & ~BIT_ULL(bit));
	if (!e->svcs)
		x_unhook(xnet, svc->af);
}

int ip_vs_x_early_set(struct ip_vs_x_net *xnet, u8 mode)
{
	static const int afs[] = { AF_INET, AF_INET6 };
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(afs); i++) {
		if (mode == IPVS_EXT_EARLY_OFF) {
			x_unhook(xnet, afs[i]);
			continue;
		}
		ret = x_early_of(xnet, afs[i])->svcs ? x_hook(xnet, afs[i]) : 0;
		if (ret)
			return ret;
	}
	WRITE_ONCE(xnet->early_mode, mode);
	return 0;
}
