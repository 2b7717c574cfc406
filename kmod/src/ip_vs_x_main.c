// SPDX-License-Identifier: GPL-2.0-only
/*
 * Start and end of the extension, its state of a namespace, its counters, and
 * the decision whether a packet may make a conn.
 */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/cpu.h>
#include <linux/smp.h>
#include <net/net_namespace.h>
#include <net/netns/generic.h>
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

#define X_PROBES_DEFAULT	64

DEFINE_STATIC_KEY_FALSE(ip_vs_x_key);
DEFINE_STATIC_KEY_FALSE(ip_vs_x_stray_key);
unsigned int ip_vs_x_net_id __read_mostly;

void __ip_vs_x_count(const struct ip_vs_conn *cp, unsigned int stat)
{
	__ip_vs_x_count_cfg(ip_vs_x_net_rcu(cp->ipvs), ip_vs_x_conn_cfg(cp), stat);
}

u64 ip_vs_x_stats_sum(const struct ip_vs_x_stats __percpu *stats, unsigned int stat)
{
	u64 sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += READ_ONCE(per_cpu_ptr(stats, cpu)->n[stat]);
	return sum;
}

static void x_stats_zero_cpu(void *stats)
{
	memset(this_cpu_ptr((__force struct ip_vs_x_stats __percpu *)stats), 0,
	       sizeof(struct ip_vs_x_stats));
}

/*
 * Each CPU zeroes its own: from elsewhere, an increment in progress would put
 * the old value back. May sleep.
 */
void ip_vs_x_stats_zero(struct ip_vs_x_stats __percpu *stats)
{
	int cpu;

	cpus_read_lock();
	on_each_cpu(x_stats_zero_cpu, (__force void *)stats, 1);
	for_each_possible_cpu(cpu) {
		if (!cpu_online(cpu))
			memset(per_cpu_ptr(stats, cpu), 0, sizeof(*stats));
	}
	cpus_read_unlock();
}

/*
 * What FNAT cannot carry must not leave as plain NAT. One-packet scheduling
 * leaves no conn for the reply to find; SET_SERVICE refuses FNAT on such a
 * service, but stock tools can make it one later. A service by fwmark may be
 * sent any protocol.
 */
static bool x_can_carry(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
			const struct ip_vs_iphdr *iph)
{
	return !(cfg->flags & IPVS_EXT_SVC_F_FNAT) || iph->protocol == IPPROTO_TCP ||
	       (iph->protocol == IPPROTO_UDP && likely(!(svc->flags & IP_VS_SVC_F_ONEPACKET)));
}

bool __ip_vs_x_admit(struct ip_vs_service *svc, struct sk_buff *skb, struct ip_vs_iphdr *iph)
{
	const struct ip_vs_x_svc_cfg *cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);
	unsigned int stat;

	if (!cfg)
		return true;
	if (likely(x_can_carry(svc, cfg, iph) && !cfg->acl_mode && !cfg->conn_limit && !cfg->limit))
		return true;
	if (!x_can_carry(svc, cfg, iph))
		stat = IPVS_EXT_STAT_OPS_DROP;
	else if (!ip_vs_x_acl_permits(cfg, svc, skb, iph))
		stat = IPVS_EXT_STAT_ACL_DROP;
	else if (ip_vs_x_limit_admit(svc, cfg, &stat))
		return true;
	ip_vs_x_drop_packet(ip_vs_x_net(svc->ipvs), cfg, svc->af, skb, iph, stat);
	return false;
}

bool ip_vs_x_unwelcome(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		       const struct ip_vs_iphdr *iph, const struct ip_vs_service *svc,
		       const struct ip_vs_x_svc_cfg *cfg)
{
	if (likely(!cfg->acl_mode) || ip_vs_x_acl_permits(cfg, svc, skb, iph))
		return false;
	ip_vs_x_drop_packet(ip_vs_x_net(ipvs), cfg, af, skb, iph, IPVS_EXT_STAT_ACL_DROP);
	return true;
}

/*
 * Where policies for TCP without a conn meet, in the order of the answer: what
 * is for no service, the SYN proxy of the service, then its flood policy. Stock
 * code finds the service once more, if the packet may make a conn.
 */
bool __ip_vs_x_tcp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			 struct ip_vs_proto_data *pd, int *verdict, struct ip_vs_conn **cpp,
			 struct ip_vs_iphdr *iph, const struct tcphdr *th)
{
	bool syn = th->syn && !th->ack && !th->rst && !th->fin, pass;
	const struct ip_vs_x_svc_cfg *cfg;
	struct ip_vs_service *svc;

	/* looking for the service is ip_vs' own next step, too: not twice for nothing */
	if (!static_branch_unlikely(&ip_vs_x_stray_key) || ip_vs_iph_inverse(iph))
		return true;
	svc = ip_vs_service_find(ipvs, af, skb->mark, IPPROTO_TCP, &iph->daddr, th->dest);
	if (!svc) {
		pass = !ip_vs_x_vip_drop(ipvs, af, skb, iph);
	} else {
		cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);
		pass = true;
		if (cfg && (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY)) {
			pass = !syn || !ip_vs_x_unwelcome(ipvs, af, skb, iph, svc, cfg);
			if (pass && ip_vs_x_sp_sched(ipvs, af, skb, pd, verdict, iph, svc, cfg, th))
				return false;
		}
		if (pass && cfg && !syn)
			pass = ip_vs_x_invalid(ipvs, af, skb, iph, th, cfg);
	}
	if (!pass)
		*verdict = NF_DROP;
	return pass;
}

static int __net_init x_net_init(struct net *net)
{
	struct ip_vs_x_net *xnet = net_generic(net, ip_vs_x_net_id);
	int ret;

	xnet->stats = alloc_percpu(struct ip_vs_x_stats);
	if (!xnet->stats)
		return -ENOMEM;
	INIT_LIST_HEAD(&xnet->lgroups);
	spin_lock_init(&xnet->lips_lock);
	xnet->probes = X_PROBES_DEFAULT;
	xnet->reclaim = 1;
	xnet->net = net;
	xnet->early_mode = IPVS_EXT_EARLY_AUTO;
	ret = ip_vs_x_sp_net_init(xnet);
	if (ret)
		goto free_stats;
	ret = ip_vs_x_acl_net_init(xnet);
	if (ret)
		goto exit_sp;
	ret = ip_vs_x_proc_net_init(net);
	if (ret)
		goto exit_acl;
	return 0;

exit_acl:
	ip_vs_x_acl_net_exit(xnet);
exit_sp:
	ip_vs_x_sp_net_exit(xnet);
free_stats:
	free_percpu(xnet->stats);
	return ret;
}

/* The services and conns of the namespace are gone: their ops ran before */
static void __net_exit x_net_exit(struct net *net)
{
	struct ip_vs_x_net *xnet = net_generic(net, ip_vs_x_net_id);

	ip_vs_x_proc_net_exit(net);
	ip_vs_x_cfg_lock();
	ip_vs_x_set_drop_vip(xnet, false);
	ip_vs_x_lgroup_flush(xnet);
	ip_vs_x_cfg_unlock();
	ip_vs_x_sp_net_exit(xnet);
	ip_vs_x_acl_net_exit(xnet);
	free_percpu(xnet->stats);
}

static struct pernet_operations x_net_ops = {
	.init	= x_net_init,
	.exit	= x_net_exit,
	.id	= &ip_vs_x_net_id,
	.size	= sizeof(struct ip_vs_x_net),
};

/* The parts that have memory of their own, in the order they start */
static const struct {
	int	(*setup)(void);
	void	(*cleanup)(void);
} x_parts[] = {
	{ ip_vs_x_limit_setup, ip_vs_x_limit_cleanup },
	{ ip_vs_x_ports_setup, ip_vs_x_ports_cleanup },
	{ ip_vs_x_laddr_setup, ip_vs_x_laddr_cleanup },
	{ ip_vs_x_svc_setup, ip_vs_x_svc_cleanup },
	{ ip_vs_x_acl_setup, ip_vs_x_acl_cleanup },
	{ ip_vs_x_conn_init, ip_vs_x_conn_cleanup },
};

static void x_parts_cleanup(unsigned int n)
{
	while (n--)
		x_parts[n].cleanup();
}

static int __init x_parts_setup(void)
{
	unsigned int i;
	int ret;

	for (i = 0; i < ARRAY_SIZE(x_parts); i++) {
		ret = x_parts[i].setup();
		if (ret < 0) {
			x_parts_cleanup(i);
			return ret;
		}
	}
	return 0;
}

/* Before ip_vs registers its own state of namespaces, so that ours outlives it */
int __init ip_vs_x_init(void)
{
	int ret;

	ret = x_parts_setup();
	if (ret < 0)
		return ret;
	ret = ip_vs_x_sp_init();
	if (ret < 0)
		goto cleanup_parts;
	ret = register_pernet_subsys(&x_net_ops);
	if (ret < 0)
		goto cleanup_sp;
	ret = ip_vs_x_genl_init();
	if (ret < 0)
		goto cleanup_net;
	return 0;

cleanup_net:
	unregister_pernet_subsys(&x_net_ops);
cleanup_sp:
	ip_vs_x_sp_cleanup();
cleanup_parts:
	x_parts_cleanup(ARRAY_SIZE(x_parts));
	return ret;
}

void ip_vs_x_cleanup(void)
{
	ip_vs_x_genl_cleanup();
	unregister_pernet_subsys(&x_net_ops);
	/* conns, settings and addresses on their way out have callbacks in this module */
	rcu_barrier();
	ip_vs_x_sp_cleanup();
	x_parts_cleanup(ARRAY_SIZE(x_parts));
}
