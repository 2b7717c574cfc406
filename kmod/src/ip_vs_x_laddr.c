// SPDX-License-Identifier: GPL-2.0-only
/*
 * Local addresses: their groups, what may be a local address and with which
 * ports, and which one a new conn tries.
 *
 * Writers hold ip_vs_x_cfg_lock(). A conn that is being made reads only the
 * group's pick array, under RCU, and of an address what does not change, its
 * per-CPU part and its range. SET_LADDR stores the two ends of a range one
 * after the other: a conn made in that moment may take a port of either range.
 */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/cpumask.h>
#include <linux/ctype.h>
#include <linux/inetdevice.h>
#include <linux/jhash.h>
#include <linux/mm.h>
#include <linux/netdevice.h>
#include <linux/slab.h>
#include <net/addrconf.h>
#include <net/ip.h>
#include <net/route.h>
#include "compat.h"
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

/*
 * What conns choose from; replaced as a whole. With an address that is bound
 * to CPUs, cpu_la[cpu_off[c] .. cpu_off[c + 1]) are the indices of what CPU c
 * may use; otherwise cpu_off is NULL.
 */
struct ip_vs_x_laddrs {
	struct rcu_head		rcu_head;
	unsigned int		n;
	u32			*cpu_off;
	u16			*cpu_la;
	struct ip_vs_x_laddr	*la[];
};

static_assert(IP_VS_X_LADDR_MAX <= U16_MAX);	/* cpu_la */

static unsigned int x_generation;	/* ip_vs_x_cfg_lock() */
static struct kmem_cache *x_laddr_cachep __read_mostly;
static struct kmem_cache *x_lgroup_cachep __read_mostly;

unsigned int ip_vs_x_laddr_generation(void)
{
	return x_generation;
}

static const char *x_family(u16 af)
{
	return af == AF_INET6 ? "IPv6" : "IPv4";
}

/* Choice */

u32 ip_vs_x_laddr_seed(const struct ip_vs_x_svc_cfg *cfg, const union nf_inet_addr *caddr, u16 af)
{
	if (cfg->sel != IPVS_EXT_SEL_SRC)
		return this_cpu_inc_return(*cfg->lgroup->rr) - 1; /* rounds begin at 0 */
	/* no secret in it: directors with the same group agree on a client's address */
	return af == AF_INET6 ? jhash2((const u32 *)caddr->all, 4, 0) :
	       jhash_1word((__force u32)caddr->ip, 0);
}

/* One array for all: with each choice from another one, a change could hide them all */
unsigned int ip_vs_x_laddr_pick(const struct ip_vs_x_svc_cfg *cfg, u32 seed,
				struct ip_vs_x_laddr **la, unsigned int max)
{
	const struct ip_vs_x_laddrs *las = rcu_dereference(cfg->lgroup->pick);
	unsigned int i, n;

	if (!las)
		return 0;
	if (cfg->sel == IPVS_EXT_SEL_CPU && las->cpu_off) {
		unsigned int cpu = raw_smp_processor_id();
		u32 off = las->cpu_off[cpu], m = las->cpu_off[cpu + 1] - off;

		n = min(m, max);
		for (i = 0; i < n; i++)
			la[i] = las->la[las->cpu_la[off + (seed + i) % m]];
		if (n)
			return n;
	}
	n = min(las->n, max);
	/* one further each round, or addresses and real servers in turn would march in step */
	if (cfg->sel != IPVS_EXT_SEL_SRC)
		seed += seed / las->n;
	for (i = 0; i < n; i++)
		la[i] = las->la[(seed % las->n + i) % las->n];
	return n;
}

static bool x_pickable(const struct ip_vs_x_laddr *la)
{
	return !(la->flags & (IPVS_EXT_LADDR_F_NO_NEW | IPVS_EXT_LADDR_F_FOREIGN));
}

/* Room for the index by CPU, in entries; 0 when no address is bound to any */
static size_t x_bound(const struct ip_vs_x_lgroup *g)
{
	const struct ip_vs_x_laddr *la;
	bool bound = false;
	size_t n = 0;

	list_for_each_entry(la, &g->laddrs, list) {
		if (!x_pickable(la))
			continue;
		bound |= !la->all_cpus;
		n += la->all_cpus ? nr_cpu_ids : cpumask_weight(&la->cpus);
	}
	return bound ? n : 0;
}

static void x_index_cpus(struct ip_vs_x_laddrs *las)
{
	unsigned int cpu, i, n = 0;

	for (cpu = 0; cpu < nr_cpu_ids; cpu++) {
		las->cpu_off[cpu] = n;
		for (i = 0; i < las->n; i++) {
			if (las->la[i]->all_cpus || cpumask_test_cpu(cpu, &las->la[i]->cpus))
				las->cpu_la[n++] = i;
		}
	}
	las->cpu_off[cpu] = n;
}

/* Makes the pick array of what the group lists now. On error the old one stays. */
static int x_publish(struct ip_vs_x_lgroup *g)
{
	struct ip_vs_x_laddrs *old = rcu_dereference_protected(g->pick, 1), *las = NULL;
	size_t bound = x_bound(g), off = 0, size;
	struct ip_vs_x_laddr *la;
	unsigned int n = 0;

	list_for_each_entry(la, &g->laddrs, list)
		n += x_pickable(la);
	if (n) {
		off = struct_size(las, la, n);
		size = off;
		if (bound)
			size += (nr_cpu_ids + 1) * sizeof(u32) + bound * sizeof(u16);
		las = kvzalloc(size, GFP_KERNEL);
		if (!las)
			return -ENOMEM;
		list_for_each_entry(la, &g->laddrs, list) {
			if (x_pickable(la))
				las->la[las->n++] = la;
		}
		if (bound) {
			las->cpu_off = (void *)las + off;
			las->cpu_la = (void *)(las->cpu_off + nr_cpu_ids + 1);
			x_index_cpus(las);
		}
	}
	rcu_assign_pointer(g->pick, las);
	if (old)
		kvfree_rcu(old, rcu_head);
	x_generation++;
	return 0;
}

/* What the share of ports in use is a share of */
static void x_count_ports(struct ip_vs_x_lgroup *g)
{
	const struct ip_vs_x_laddr *la;
	u32 n = 0;

	list_for_each_entry(la, &g->laddrs, list) {
		if (x_pickable(la))
			n += la->port_max - la->port_min + 1;
	}
	ip_vs_x_uses_set_ports(g->uses, n);
}

/* Lifetime */

static void x_laddr_rcu_free(struct rcu_head *head)
{
	struct ip_vs_x_laddr *la = container_of(head, struct ip_vs_x_laddr, rcu_head);

	ip_vs_x_uses_put(la->uses);
	free_percpu(la->pcpu);
	kmem_cache_free(x_laddr_cachep, la);
}

/*
 * Replies are looked up only when the bloom has the bit of their destination:
 * it must hold for as long as a conn may have the address.
 */
static void x_lips_add(struct ip_vs_x_net *xnet, const struct ip_vs_x_laddr *la)
{
	unsigned int bit = ip_vs_x_addr_bit(la->af, &la->addr);

	spin_lock_bh(&xnet->lips_lock);
	xnet->lips_n[bit]++;
	WRITE_ONCE(xnet->lips, xnet->lips | BIT_ULL(bit));
	spin_unlock_bh(&xnet->lips_lock);
}

static void x_lips_del(struct ip_vs_x_net *xnet, const struct ip_vs_x_laddr *la)
{
	unsigned int bit = ip_vs_x_addr_bit(la->af, &la->addr);

	spin_lock_bh(&xnet->lips_lock);
	if (!--xnet->lips_n[bit])
		WRITE_ONCE(xnet->lips, xnet->lips & ~BIT_ULL(bit));
	spin_unlock_bh(&xnet->lips_lock);
}

void ip_vs_x_laddr_put(struct ip_vs_x_laddr *la)
{
	if (!refcount_dec_and_test(&la->refcnt))
		return;
	x_lips_del(la->xnet, la);
	call_rcu(&la->rcu_head, x_laddr_rcu_free);
}

/* What a local address may be */

static int x_check_addr(struct net *net, const struct ip_vs_x_laddr_req *req, u32 flags,
			struct netlink_ext_ack *extack)
{
	bool local;

	if (req->af == AF_INET6) {
		int type = ipv6_addr_type(&req->addr.in6);

		if (!(type & IPV6_ADDR_UNICAST) || (type & IPV6_ADDR_LINKLOCAL)) {
			NL_SET_ERR_MSG(extack, "not a global unicast address");
			return -EINVAL;
		}
		/* an address whose uniqueness is still being tested will do */
		local = ipv6_chk_addr_and_flags(net, &req->addr.in6, NULL, true, 0, 0);
	} else {
		if (ipv4_is_zeronet(req->addr.ip) || ipv4_is_multicast(req->addr.ip) ||
		    ipv4_is_lbcast(req->addr.ip)) {
			NL_SET_ERR_MSG(extack, "not a unicast address");
			return -EINVAL;
		}
		local = inet_addr_type(net, req->addr.ip) == RTN_LOCAL;
	}
	if (!local && !(flags & (IPVS_EXT_LADDR_F_FOREIGN | IPVS_EXT_LADDR_F_FORCE))) {
		NL_SET_ERR_MSG(extack, "address is not local; use FORCE or FOREIGN");
		return -EADDRNOTAVAIL;
	}
	return 0;
}

/* The director's own sockets take their ports from here */
static bool x_meets_ephemeral(struct net *net, unsigned int min, unsigned int max)
{
	int lo, hi;
	unsigned int port;

	inet_get_local_port_range(net, &lo, &hi);
	min = max_t(unsigned int, min, lo);
	max = min_t(unsigned int, max, hi);
	for (port = min; port <= max; port++) {
		if (!inet_is_local_reserved_port(net, port))
			return true;
	}
	return false;
}

static int x_check_range(struct net *net, u16 min, u16 max, u32 flags,
			 struct netlink_ext_ack *extack)
{
	if (!min || min > max) {
		NL_SET_ERR_MSG(extack, "port range is empty");
		return -ERANGE;
	}
	if (flags & IPVS_EXT_LADDR_F_FORCE)
		return 0;
	if (min < IP_VS_X_PORT_MIN) {
		NL_SET_ERR_MSG(extack, "port range begins below 1024; use FORCE");
		return -ERANGE;
	}
	/* on another director's address no socket of ours can clash */
	if (!(flags & IPVS_EXT_LADDR_F_FOREIGN) && x_meets_ephemeral(net, min, max)) {
		NL_SET_ERR_MSG(extack, "range overlaps net.ipv4.ip_local_port_range; reserve it with ip_local_reserved_ports");
		return -EADDRINUSE;
	}
	return 0;
}

/* The larger gap around the ephemeral ports */
static int x_default_range(struct net *net, struct ip_vs_x_laddr *la,
			   struct netlink_ext_ack *extack)
{
	int lo, hi, below, above;

	inet_get_local_port_range(net, &lo, &hi);
	below = lo - IP_VS_X_PORT_MIN;
	above = 65535 - max(hi, IP_VS_X_PORT_MIN - 1);
	if (below <= 0 && above <= 0) {
		NL_SET_ERR_MSG(extack, "net.ipv4.ip_local_port_range leaves no port; give a range");
		return -ERANGE;
	}
	la->port_min = below >= above ? IP_VS_X_PORT_MIN : 65536 - above;
	la->port_max = below >= above ? lo - 1 : 65535;
	return 0;
}

static int x_parse_cpus(const char *text, struct ip_vs_x_laddr *la,
			struct netlink_ext_ack *extack)
{
	la->all_cpus = !*text;
	if (la->all_cpus) {
		cpumask_clear(&la->cpus);
		return 0;
	}
	if (cpulist_parse(text, &la->cpus)) {
		NL_SET_ERR_MSG(extack, "CPUS is not a list of this machine's CPUs, as 0-3,8");
		return -EINVAL;
	}
	if (!cpumask_intersects(&la->cpus, cpu_possible_mask)) {
		NL_SET_ERR_MSG(extack, "CPUS names no CPU of this machine");
		return -EINVAL;
	}
	return 0;
}

/*
 * Without ip_forward the stack leaves LRO on; what it merges cannot be sent on
 * and is dropped. The text reaches the user beside the success.
 */
static void x_warn_lro(struct net *net, struct netlink_ext_ack *extack)
{
	struct net_device *dev;

	rcu_read_lock();
	for_each_netdev_rcu(net, dev) {
		if (!(dev->features & NETIF_F_LRO))
			continue;
		X_ERR_FMT(extack, "warning: LRO is on at %s, its packets are dropped; switch it off",
			  dev->name);
		pr_warn_ratelimited("LRO is on at %s: packets it merges cannot be balanced and are dropped\n",
				    dev->name);
		break;
	}
	rcu_read_unlock();
}

/* Groups */

struct ip_vs_x_lgroup *ip_vs_x_lgroup_find(struct ip_vs_x_net *xnet, const char *name)
{
	struct ip_vs_x_lgroup *g;

	list_for_each_entry(g, &xnet->lgroups, list) {
		if (!strcmp(g->name, name))
			return g;
	}
	return NULL;
}

static int x_check_name(const char *name, struct netlink_ext_ack *extack)
{
	const char *p;

	for (p = name; isgraph(*p); p++)
		;
	if (p != name && !*p)
		return 0;
	NL_SET_ERR_MSG(extack, "a group name is 1 to 15 printable characters without blanks");
	return -EINVAL;
}

static struct ip_vs_x_lgroup *x_lgroup_alloc(u16 af)
{
	struct ip_vs_x_lgroup *g = kmem_cache_zalloc(x_lgroup_cachep, GFP_KERNEL);

	if (!g)
		return NULL;
	g->rr = alloc_percpu(unsigned int);
	g->uses = ip_vs_x_uses_new(af);
	if (g->rr && g->uses)
		return g;
	if (g->uses)
		ip_vs_x_uses_put(g->uses);
	free_percpu(g->rr);
	kmem_cache_free(x_lgroup_cachep, g);
	return NULL;
}

int ip_vs_x_lgroup_add(struct ip_vs_x_net *xnet, const char *name, u16 af,
		       struct netlink_ext_ack *extack)
{
	struct ip_vs_x_lgroup *g;
	int cpu, ret;

	ret = x_check_name(name, extack);
	if (ret)
		return ret;
	if (af != AF_INET && af != AF_INET6) {
		NL_SET_ERR_MSG(extack, "a local address group is IPv4 or IPv6");
		return -EAFNOSUPPORT;
	}
	if (ip_vs_x_lgroup_find(xnet, name)) {
		NL_SET_ERR_MSG(extack, "local address group exists");
		return -EEXIST;
	}
	g = x_lgroup_alloc(af);
	if (!g)
		return -ENOMEM;
	/* else all CPUs would begin with the same address */
	for_each_possible_cpu(cpu) {
		unsigned int *rr = per_cpu_ptr(g->rr, cpu);

		*rr = cpu;
	}
	INIT_LIST_HEAD(&g->laddrs);
	strscpy(g->name, name, sizeof(g->name));
	g->af = af;
	list_add_tail(&g->list, &xnet->lgroups);
	x_generation++;
	return 0;
}

static void x_lgroup_rcu_free(struct rcu_head *head)
{
	struct ip_vs_x_lgroup *g = container_of(head, struct ip_vs_x_lgroup, rcu_head);

	kvfree(rcu_dereference_protected(g->pick, 1));
	ip_vs_x_uses_put(g->uses);
	free_percpu(g->rr);
	kmem_cache_free(x_lgroup_cachep, g);
}

/* No service has it. Conns that were picked an address from it may still be made. */
static void x_lgroup_free(struct ip_vs_x_lgroup *g)
{
	struct ip_vs_x_laddr *la, *next;

	list_del(&g->list);
	list_for_each_entry_safe(la, next, &g->laddrs, list) {
		list_del(&la->list);
		ip_vs_x_laddr_put(la);
	}
	call_rcu(&g->rcu_head, x_lgroup_rcu_free);
	x_generation++;
}

int ip_vs_x_lgroup_del(struct ip_vs_x_net *xnet, const char *name,
		       struct netlink_ext_ack *extack)
{
	struct ip_vs_x_lgroup *g = ip_vs_x_lgroup_find(xnet, name);

	if (!g) {
		NL_SET_ERR_MSG(extack, "no such local address group");
		return -ENOENT;
	}
	if (g->refs) {
		X_ERR_FMT(extack, "used by %u services", g->refs);
		return -EBUSY;
	}
	x_lgroup_free(g);
	return 0;
}

void ip_vs_x_lgroup_flush(struct ip_vs_x_net *xnet)
{
	struct ip_vs_x_lgroup *g, *next;

	list_for_each_entry_safe(g, next, &xnet->lgroups, list)
		x_lgroup_free(g);
}

/* Addresses of a group */

struct ip_vs_x_laddr *ip_vs_x_laddr_find(struct ip_vs_x_lgroup *g, u16 af,
					 const union nf_inet_addr *addr)
{
	struct ip_vs_x_laddr *la;

	list_for_each_entry(la, &g->laddrs, list) {
		if (la->af == af && ip_vs_addr_equal(af, &la->addr, addr))
			return la;
	}
	return NULL;
}

void ip_vs_x_laddr_sum(const struct ip_vs_x_laddr *la, struct ip_vs_x_laddr_cpu *sum)
{
	int cpu;

	memset(sum, 0, sizeof(*sum));
	for_each_possible_cpu(cpu) {
		const struct ip_vs_x_laddr_cpu *c = per_cpu_ptr(la->pcpu, cpu);

		sum->conns += READ_ONCE(c->conns);
		sum->conflict += READ_ONCE(c->conflict);
		sum->full += READ_ONCE(c->full);
		sum->reclaim += READ_ONCE(c->reclaim);
	}
}

/* An address is in one group of a namespace: two would count its ports twice */
static int x_check_new(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		       const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_lgroup *other;

	if (req->af != g->af) {
		X_ERR_FMT(extack, "local address group is %s, address is %s",
			  x_family(g->af), x_family(req->af));
		return -EAFNOSUPPORT;
	}
	list_for_each_entry(other, &xnet->lgroups, list) {
		if (!ip_vs_x_laddr_find(other, req->af, &req->addr))
			continue;
		if (other == g)
			NL_SET_ERR_MSG(extack, "address is in the group already");
		else
			X_ERR_FMT(extack, "address is in group %s", other->name);
		return -EEXIST;
	}
	if (g->n_laddrs >= IP_VS_X_LADDR_MAX ||
	    xnet->lips_n[ip_vs_x_addr_bit(req->af, &req->addr)] == U16_MAX) {
		NL_SET_ERR_MSG(extack, "too many local addresses");
		return -ENOSPC;
	}
	return 0;
}

/* The cursors start apart, so that CPUs seldom try the same port */
static void x_spread_cursors(struct ip_vs_x_laddr *la)
{
	u32 range = la->port_max - la->port_min + 1;
	int cpu;

	for_each_possible_cpu(cpu)
		per_cpu_ptr(la->pcpu, cpu)->cursor = (u64)range * cpu / nr_cpu_ids;
}

static int x_laddr_fill(struct net *net, struct ip_vs_x_laddr *la,
			const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack)
{
	int ret;

	la->af = req->af;
	ip_vs_addr_set(req->af, &la->addr, &req->addr);
	la->flags = req->flags.value & req->flags.selector;
	ret = x_check_addr(net, req, la->flags, extack);
	if (ret)
		return ret;
	if (req->has_range) {
		ret = x_check_range(net, req->port_min, req->port_max, la->flags, extack);
		la->port_min = req->port_min;
		la->port_max = req->port_max;
	} else {
		ret = x_default_range(net, la, extack);
	}
	return ret ?: x_parse_cpus(req->cpus ?: "", la, extack);
}

int ip_vs_x_laddr_add(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_laddr *la;
	int ret;

	ret = x_check_new(xnet, g, req, extack);
	if (ret)
		return ret;
	la = kmem_cache_zalloc(x_laddr_cachep, GFP_KERNEL);
	if (!la)
		return -ENOMEM;
	la->pcpu = alloc_percpu(struct ip_vs_x_laddr_cpu);
	ret = la->pcpu ? x_laddr_fill(xnet->net, la, req, extack) : -ENOMEM;
	if (ret)
		goto free;
	x_spread_cursors(la);
	la->xnet = xnet;
	refcount_set(&la->refcnt, 1);
	la->uses = ip_vs_x_uses_hold(g->uses);

	/* a reply may come as soon as the address can be picked */
	x_lips_add(xnet, la);
	list_add_tail(&la->list, &g->laddrs);
	ret = x_publish(g);
	if (ret) {
		list_del(&la->list);
		x_lips_del(xnet, la);
		ip_vs_x_uses_put(la->uses);
		goto free;
	}
	g->n_laddrs++;
	x_count_ports(g);
	x_warn_lro(xnet->net, extack);
	return 0;

free:
	free_percpu(la->pcpu);
	kmem_cache_free(x_laddr_cachep, la);
	return ret;
}

static struct ip_vs_x_laddr *x_laddr_get_listed(struct ip_vs_x_lgroup *g,
						const struct ip_vs_x_laddr_req *req,
						struct netlink_ext_ack *extack)
{
	struct ip_vs_x_laddr *la = ip_vs_x_laddr_find(g, req->af, &req->addr);

	if (!la)
		NL_SET_ERR_MSG(extack, "no such local address in the group");
	return la;
}

int ip_vs_x_laddr_set(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_laddr *la = x_laddr_get_listed(g, req, extack), *was;
	u32 flags, stricter;
	u16 min, max;
	int ret;

	if (!la)
		return -ENOENT;
	flags = (la->flags & ~req->flags.selector) | (req->flags.value & req->flags.selector);
	min = req->has_range ? req->port_min : la->port_min;
	max = req->has_range ? req->port_max : la->port_max;
	/* draining must work on an address that the host has lost */
	stricter = (flags ^ la->flags) & (IPVS_EXT_LADDR_F_FOREIGN | IPVS_EXT_LADDR_F_FORCE);
	ret = stricter ? x_check_addr(xnet->net, req, flags, extack) : 0;
	if (!ret && (stricter || req->has_range))
		ret = x_check_range(xnet->net, min, max, flags, extack);
	if (ret)
		return ret;

	/* what x_publish() reads, to put back if it fails; a cpumask is too big for the stack */
	was = kmemdup(la, sizeof(*la), GFP_KERNEL);
	if (!was)
		return -ENOMEM;
	la->flags = flags;
	if (req->cpus)
		ret = x_parse_cpus(req->cpus, la, extack);
	ret = ret ?: x_publish(g);
	if (ret) {
		la->flags = was->flags;
		la->all_cpus = was->all_cpus;
		cpumask_copy(&la->cpus, &was->cpus);
	} else {
		WRITE_ONCE(la->port_min, min);
		WRITE_ONCE(la->port_max, max);
		x_count_ports(g);
	}
	kfree(was);
	return ret;
}

/* No new conn gets the address; it goes with the last that has it */
int ip_vs_x_laddr_del(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_laddr *la = x_laddr_get_listed(g, req, extack);
	struct list_head *prev;
	int ret;

	if (!la)
		return -ENOENT;
	prev = la->list.prev;
	list_del(&la->list);
	ret = x_publish(g);
	if (ret) {
		list_add(&la->list, prev);
		return ret;
	}
	g->n_laddrs--;
	x_count_ports(g);
	ip_vs_x_laddr_put(la);
	return 0;
}

int ip_vs_x_laddr_setup(void)
{
	x_laddr_cachep = kmem_cache_create("ip_vs_x_laddr", sizeof(struct ip_vs_x_laddr), 0, 0,
					   NULL);
	x_lgroup_cachep = kmem_cache_create("ip_vs_x_lgroup", sizeof(struct ip_vs_x_lgroup), 0, 0,
					    NULL);
	if (x_laddr_cachep && x_lgroup_cachep)
		return 0;
	ip_vs_x_laddr_cleanup();
	return -ENOMEM;
}

void ip_vs_x_laddr_cleanup(void)
{
	kmem_cache_destroy(x_laddr_cachep);
	kmem_cache_destroy(x_lgroup_cachep);
}
