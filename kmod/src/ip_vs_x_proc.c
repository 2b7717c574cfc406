// SPDX-License-Identifier: GPL-2.0-only
/*
 * /proc/net/ip_vs_x_conn, _laddr and _stats, of the reader's namespace: for the
 * eyes and for scripts without netlink. The stock files keep their format.
 */
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <net/netns/generic.h>
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

static struct ip_vs_x_net *x_seq_net(const struct seq_file *m)
{
	return net_generic(seq_file_net((struct seq_file *)m), ip_vs_x_net_id);
}

/* ip_vs_x_stats: a counter a line, in the order of their numbers */

static int x_stats_show(struct seq_file *m, void *v)
{
	struct net *net = seq_file_single_net(m);
	const struct ip_vs_x_net *xnet = net_generic(net, ip_vs_x_net_id);
	unsigned int i;

	for (i = 1; i <= IPVS_EXT_STAT_MAX; i++) {
		if (ip_vs_x_stat_name(i))
			seq_printf(m, "%s %llu\n", ip_vs_x_stat_name(i),
				   ip_vs_x_stats_sum(xnet->stats, i));
	}
	return 0;
}

/* ip_vs_x_laddr: the position is a count of addresses over all groups, 0 the title */

static void *x_laddr_at(struct seq_file *m, loff_t pos)
{
	struct ip_vs_x_lgroup *g;
	struct ip_vs_x_laddr *la;

	if (!pos)
		return SEQ_START_TOKEN;
	list_for_each_entry(g, &x_seq_net(m)->lgroups, list) {
		list_for_each_entry(la, &g->laddrs, list) {
			if (!--pos)
				return la;
		}
	}
	return NULL;
}

static void *x_laddr_start(struct seq_file *m, loff_t *pos)
{
	ip_vs_x_cfg_lock();
	return x_laddr_at(m, *pos);
}

static void *x_laddr_next(struct seq_file *m, void *v, loff_t *pos)
{
	return x_laddr_at(m, ++*pos);
}

static void x_laddr_stop(struct seq_file *m, void *v)
{
	ip_vs_x_cfg_unlock();
}

static const char *x_group_of(struct seq_file *m, const struct ip_vs_x_laddr *la)
{
	struct ip_vs_x_lgroup *g;

	list_for_each_entry(g, &x_seq_net(m)->lgroups, list) {
		if (g->uses == la->uses)
			return g->name;
	}
	return "?";
}

static int x_laddr_show(struct seq_file *m, void *v)
{
	const struct ip_vs_x_laddr *la = v;
	struct ip_vs_x_laddr_cpu sum;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "Group           LocalIP                                 PMin  PMax Fl      Conns   Conflict       Full    Reclaim\n");
		return 0;
	}
	ip_vs_x_laddr_sum(la, &sum);
	seq_printf(m, "%-15s ", x_group_of(m, la));
	if (la->af == AF_INET6)
		seq_printf(m, "%-39pI6c", &la->addr.in6);
	else
		seq_printf(m, "%-39pI4", &la->addr.ip);
	seq_printf(m, " %5u %5u %02X %10d %10llu %10llu %10llu\n", la->port_min, la->port_max,
		   la->flags, max(sum.conns, 0), sum.conflict, sum.full, sum.reclaim);
	return 0;
}

static const struct seq_operations x_laddr_ops = {
	.start	= x_laddr_start,
	.next	= x_laddr_next,
	.stop	= x_laddr_stop,
	.show	= x_laddr_show,
};

/*
 * ip_vs_x_conn: the stock columns with LocalIP and LPrt. An item is a bucket of
 * the out table, 0 the title: a bucket is shown whole, and no lock is held.
 */

static void *x_conn_start(struct seq_file *m, loff_t *pos)
{
	if (!*pos)
		return SEQ_START_TOKEN;
	return *pos <= 1ULL << ip_vs_x_tab_bits() ? pos : NULL;
}

static void *x_conn_next(struct seq_file *m, void *v, loff_t *pos)
{
	++*pos;
	return x_conn_start(m, pos);
}

static void x_conn_stop(struct seq_file *m, void *v)
{
}

static void x_put_end(struct seq_file *m, int af, const union nf_inet_addr *addr, __be16 port)
{
	if (af == AF_INET6)
		seq_printf(m, " %pI6 %04X", &addr->in6, ntohs(port));
	else
		seq_printf(m, " %08X %04X", ntohl(addr->ip), ntohs(port));
}

static int x_show_conn(struct ip_vs_x_conn *x, void *arg)
{
	const struct ip_vs_conn *cp = &x->c;
	struct seq_file *m = arg;
	unsigned long expires = READ_ONCE(cp->timer.expires), now = jiffies;

	seq_printf(m, "%-3s", ip_vs_proto_name(cp->protocol));
	x_put_end(m, cp->af, &cp->caddr, cp->cport);
	x_put_end(m, cp->af, &cp->vaddr, cp->vport);
	x_put_end(m, cp->af, &x->laddr, x->lport);
	x_put_end(m, cp->af, &cp->daddr, cp->dport);
	seq_printf(m, " %-11s %7lu\n", ip_vs_state_name(cp),
		   time_after(expires, now) ? (expires - now) / HZ : 0);
	return 0;
}

static int x_conn_show(struct seq_file *m, void *v)
{
	const struct netns_ipvs *ipvs = net_ipvs(seq_file_net(m));
	unsigned int pos, skip = 0;

	if (v == SEQ_START_TOKEN) {
		seq_puts(m, "Pro FromIP   FPrt ToIP     TPrt LocalIP  LPrt DestIP   DPrt State       Expires\n");
		return 0;
	}
	pos = *(loff_t *)v - 1;
	if (ipvs)
		ip_vs_x_conn_bucket(ipvs, pos, &skip, x_show_conn, m);
	return 0;
}

static const struct seq_operations x_conn_ops = {
	.start	= x_conn_start,
	.next	= x_conn_next,
	.stop	= x_conn_stop,
	.show	= x_conn_show,
};

int ip_vs_x_proc_net_init(struct net *net)
{
	if (!proc_create_net("ip_vs_x_conn", 0440, net->proc_net, &x_conn_ops,
			     sizeof(struct seq_net_private)))
		return -ENOMEM;
	if (!proc_create_net("ip_vs_x_laddr", 0440, net->proc_net, &x_laddr_ops,
			     sizeof(struct seq_net_private)))
		goto no_laddr;
	if (!proc_create_net_single("ip_vs_x_stats", 0440, net->proc_net, x_stats_show, NULL))
		goto no_stats;
	return 0;

no_stats:
	remove_proc_entry("ip_vs_x_laddr", net->proc_net);
no_laddr:
	remove_proc_entry("ip_vs_x_conn", net->proc_net);
	return -ENOMEM;
}

void ip_vs_x_proc_net_exit(struct net *net)
{
	remove_proc_entry("ip_vs_x_stats", net->proc_net);
	remove_proc_entry("ip_vs_x_laddr", net->proc_net);
	remove_proc_entry("ip_vs_x_conn", net->proc_net);
}
