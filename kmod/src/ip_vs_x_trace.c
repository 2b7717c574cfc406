// SPDX-License-Identifier: GPL-2.0-only
/*
 * The tracepoints, and the names of counters that they share with /proc.
 */
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

#define CREATE_TRACE_POINTS
#include "ip_vs_x_trace.h"

/*
 * Those of features that this module lacks have no name: what can never count is
 * not shown as if nothing had happened.
 */
static const char * const x_names[IPVS_EXT_STAT_MAX + 1] = {
	[IPVS_EXT_STAT_LPORT_OK] = "lport_ok",
	[IPVS_EXT_STAT_LPORT_CONFLICT] = "lport_conflict",
	[IPVS_EXT_STAT_LPORT_FULL] = "lport_full",
	[IPVS_EXT_STAT_LPORT_RECLAIM] = "lport_reclaim",
	[IPVS_EXT_STAT_NO_LADDR] = "no_laddr",
	[IPVS_EXT_STAT_OUT_HIT] = "out_hit",
	[IPVS_EXT_STAT_TOA_OK] = "toa_ok",
	[IPVS_EXT_STAT_TOA_CARRIER] = "toa_carrier",
	[IPVS_EXT_STAT_TOA_FAIL] = "toa_fail",
	[IPVS_EXT_STAT_SP_SYN] = "sp_syn",
	[IPVS_EXT_STAT_SP_SYNACK] = "sp_synack",
	[IPVS_EXT_STAT_SP_ACK_OK] = "sp_ack_ok",
	[IPVS_EXT_STAT_SP_ACK_BAD] = "sp_ack_bad",
	[IPVS_EXT_STAT_SP_RS_SYN] = "sp_rs_syn",
	[IPVS_EXT_STAT_SP_RS_RETRANS] = "sp_rs_retrans",
	[IPVS_EXT_STAT_SP_RS_TIMEOUT] = "sp_rs_timeout",
	[IPVS_EXT_STAT_SP_RS_RST] = "sp_rs_rst",
	[IPVS_EXT_STAT_SP_DONE] = "sp_done",
	[IPVS_EXT_STAT_SP_QUEUED] = "sp_queued",
	[IPVS_EXT_STAT_SP_QDROP] = "sp_qdrop",
	[IPVS_EXT_STAT_SP_REUSE] = "sp_reuse",
	[IPVS_EXT_STAT_SP_NODEST] = "sp_nodest",
	[IPVS_EXT_STAT_ACK_STORM] = "ack_storm",
	[IPVS_EXT_STAT_INVALID_DROP] = "invalid_drop",
	[IPVS_EXT_STAT_INVALID_RST] = "invalid_rst",
	[IPVS_EXT_STAT_ACL_DROP] = "acl_drop",
	[IPVS_EXT_STAT_CPS_DROP] = "cps_drop",
	[IPVS_EXT_STAT_BPS_DROP] = "bps_drop",
	[IPVS_EXT_STAT_LIMIT_DROP] = "limit_drop",
	[IPVS_EXT_STAT_LRO_DROP] = "lro_drop",
	[IPVS_EXT_STAT_MTU_ICMP] = "mtu_icmp",
	[IPVS_EXT_STAT_TTL_ICMP] = "ttl_icmp",
	[IPVS_EXT_STAT_ROUTE_FAIL] = "route_fail",
	[IPVS_EXT_STAT_CSUM_BAD] = "csum_bad",
	[IPVS_EXT_STAT_EXPIRE_RST] = "expire_rst",
	[IPVS_EXT_STAT_MEM] = "mem",
	[IPVS_EXT_STAT_EXHAUST_RST] = "exhaust_rst",
	[IPVS_EXT_STAT_BAD_PKT] = "bad_pkt",
	[IPVS_EXT_STAT_OPS_DROP] = "ops_drop",
	[IPVS_EXT_STAT_VIP_DROP] = "vip_drop",
	[IPVS_EXT_STAT_SP_EARLY] = "sp_early",
};

const char *ip_vs_x_stat_name(unsigned int stat)
{
	return stat < ARRAY_SIZE(x_names) ? x_names[stat] : NULL;
}

static void x_end(struct sockaddr_in6 *to, int af, const union nf_inet_addr *addr, __be16 port)
{
	struct sockaddr_in *to4 = (struct sockaddr_in *)to;

	memset(to, 0, sizeof(*to));
	if (af == AF_INET6) {
		to->sin6_family = AF_INET6;
		to->sin6_port = port;
		to->sin6_addr = addr->in6;
	} else {
		to4->sin_family = AF_INET;
		to4->sin_port = port;
		to4->sin_addr.s_addr = addr->ip;
	}
}

static void x_ends_of(struct ip_vs_x_ends *e, int af, const struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph)
{
	__be16 _ports[2], *ports;

	ports = skb_header_pointer(skb, iph->len, sizeof(_ports), _ports);
	x_end(&e->a, af, &iph->saddr, ports ? ports[0] : 0);
	x_end(&e->b, af, &iph->daddr, ports ? ports[1] : 0);
}

static const char *x_name(unsigned int stat)
{
	return ip_vs_x_stat_name(stat) ?: "?";
}

void __ip_vs_x_trace_drop(int af, const struct sk_buff *skb, const struct ip_vs_iphdr *iph,
			  unsigned int stat)
{
	struct ip_vs_x_ends e;

	x_ends_of(&e, af, skb, iph);
	trace_ip_vs_x_drop(iph->protocol, &e, x_name(stat));
}

void __ip_vs_x_trace_new_drop(const struct ip_vs_conn_param *p, unsigned int stat)
{
	struct ip_vs_x_ends e __uninitialized;

	x_end(&e.a, p->af, p->caddr, p->cport);
	x_end(&e.b, p->af, p->vaddr, p->vport);
	trace_ip_vs_x_drop(p->protocol, &e, x_name(stat));
}

void __ip_vs_x_trace_conn_drop(const struct ip_vs_conn *cp, unsigned int stat)
{
	struct ip_vs_x_ends e __uninitialized;

	x_end(&e.a, cp->af, &cp->caddr, cp->cport);
	x_end(&e.b, cp->af, &cp->vaddr, cp->vport);
	trace_ip_vs_x_drop(cp->protocol, &e, x_name(stat));
}

void __ip_vs_x_trace_conn_new(const struct ip_vs_x_conn *x)
{
	const struct ip_vs_conn *cp = &x->c;
	struct ip_vs_x_ends in, out;

	x_end(&in.a, cp->af, &cp->caddr, cp->cport);
	x_end(&in.b, cp->af, &cp->vaddr, cp->vport);
	x_end(&out.a, cp->af, &x->laddr, x->lport);
	x_end(&out.b, cp->af, &cp->daddr, cp->dport);
	trace_ip_vs_x_conn_new(cp->protocol, &in, &out);
}

void ip_vs_x_trace_lport_full(const struct ip_vs_x_conn *x, const union nf_inet_addr *caddr,
			      const char *lgroup)
{
	struct ip_vs_x_ends e __uninitialized;

	if (!trace_ip_vs_x_lport_full_enabled())
		return;
	/* the conn is not made: its client has no port here yet */
	x_end(&e.a, x->c.af, caddr, 0);
	x_end(&e.b, x->c.af, &x->c.daddr, x->c.dport);
	trace_ip_vs_x_lport_full(x->c.protocol, &e, lgroup);
}

void __ip_vs_x_trace_synproxy(int af, const struct sk_buff *skb, const struct ip_vs_iphdr *iph,
			      unsigned int stat)
{
	struct ip_vs_x_ends e;

	x_ends_of(&e, af, skb, iph);
	trace_ip_vs_x_synproxy(iph->protocol, &e, x_name(stat));
}
