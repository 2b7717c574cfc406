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
unsigned int ip_vs_x_net_id __read_mostly;

const struct ip_vs_x_svc_cfg *ip_vs_x_conn_cfg(const struct ip_vs_conn *cp)
{
	struct ip_vs_service *svc = NULL;

	/* a dest in the trash, or of a synced conn, may have no service */
	if (cp->dest)
		svc = rcu_dereference(cp->dest->svc);
	return svc ? rcu_dereference(ip_vs_x_service(svc)->cfg) : NULL;
}

void ip_vs_x_count(const struct ip_vs_conn *cp, unsigned int stat)
{
	ip_vs_x_count_cfg(ip_vs_x_net(cp->ipvs), ip_vs_x_conn_cfg(cp), stat);
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
bool __ip_vs_x_admit(struct ip_vs_service *svc, struct sk_buff *skb, struct ip_vs_iphdr *iph)
{
	const struct ip_vs_x_svc_cfg *cfg = rcu_dereference(ip_vs_x_service(svc)->cfg);

	if (!cfg || !(cfg->flags & IPVS_EXT_SVC_F_FNAT) || iph->protocol == IPPROTO_TCP ||
	    (iph->protocol == IPPROTO_UDP && likely(!(svc->flags & IP_VS_SVC_F_ONEPACKET))))
		return true;
	ip_vs_x_count_cfg(ip_vs_x_net(svc->ipvs), cfg, IPVS_EXT_STAT_OPS_DROP);
	return false;
}

/*
 * Where policies for TCP without a conn meet. Stock code finds the service
 * once more, if the packet may make a conn.
 */
bool __ip_vs_x_tcp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			 struct ip_vs_proto_data *pd, int *verdict, struct ip_vs_conn **cpp,
			 struct ip_vs_iphdr *iph, const struct tcphdr *th)
{
	const struct ip_vs_x_svc_cfg *cfg;
	struct ip_vs_service *svc;

	if (ip_vs_iph_inverse(iph))
		return true;
	svc = ip_vs_service_find(ipvs, af, skb->mark, IPPROTO_TCP, &iph->daddr, th->dest);
	cfg = svc ? rcu_dereference(ip_vs_x_service(svc)->cfg) : NULL;
	if (!cfg)
		return true;
	if ((cfg->flags & IPVS_EXT_SVC_F_SYNPROXY) &&
	    ip_vs_x_sp_sched(ipvs, af, skb, pd, verdict, iph, svc, cfg, th))
		return false;
	return true;
}

static int __net_init x_net_init(struct net *net)
{
	struct ip_vs_x_net *xnet = net_generic(net, ip_vs_x_net_id);

	xnet->stats = alloc_percpu(struct ip_vs_x_stats);
	if (!xnet->stats)
		return -ENOMEM;
	INIT_LIST_HEAD(&xnet->lgroups);
	spin_lock_init(&xnet->lips_lock);
	xnet->probes = X_PROBES_DEFAULT;
	xnet->reclaim = 1;
	xnet->net = net;
	if (ip_vs_x_sp_net_init(xnet)) {
		free_percpu(xnet->stats);
		return -ENOMEM;
	}
	return 0;
}

/* The services and conns of the namespace are gone: their ops ran before */
static void __net_exit x_net_exit(struct net *net)
{
	struct ip_vs_x_net *xnet = net_generic(net, ip_vs_x_net_id);

	ip_vs_x_cfg_lock();
	ip_vs_x_lgroup_flush(xnet);
	ip_vs_x_cfg_unlock();
	ip_vs_x_sp_net_exit(xnet);
	free_percpu(xnet->stats);
}

static struct pernet_operations x_net_ops = {
	.init	= x_net_init,
	.exit	= x_net_exit,
	.id	= &ip_vs_x_net_id,
	.size	= sizeof(struct ip_vs_x_net),
};

/* Before ip_vs registers its own state of namespaces, so that ours outlives it */
int __init ip_vs_x_init(void)
{
	int ret;

	ret = ip_vs_x_conn_init();
	if (ret < 0)
		return ret;
	ret = ip_vs_x_sp_init();
	if (ret < 0)
		goto cleanup_conn;
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
cleanup_conn:
	ip_vs_x_conn_cleanup();
	return ret;
}

void ip_vs_x_cleanup(void)
{
	ip_vs_x_genl_cleanup();
	unregister_pernet_subsys(&x_net_ops);
	/* conns, settings and addresses on their way out have callbacks in this module */
	rcu_barrier();
	ip_vs_x_sp_cleanup();
	ip_vs_x_conn_cleanup();
}
