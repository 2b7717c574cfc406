// SPDX-License-Identifier: GPL-2.0-only
/*
 * The family IPVS_EXT: requests into structs, structs into replies. What the
 * requests do is in svc and laddr.
 *
 * A request may come before ip_vs has its own state of the namespace and after
 * it is gone, as we register first and unregister last: struct netns_ipvs is
 * only compared with here, never looked into.
 */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/ip_vs.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <net/genetlink.h>
#include <net/netlink.h>
#include <net/netns/generic.h>
#include "compat.h"
#include "ip_vs_x.h"
#include "ip_vs_x_build.h"
#include "ip_vs_x_cfg.h"

MODULE_ALIAS_GENL_FAMILY(IPVS_EXT_GENL_NAME);

static struct genl_family x_family;

static const struct genl_multicast_group x_mcgrps[] = {
	{ .name = IPVS_EXT_MCGRP_EVENTS, },
};

/* A flag or attribute of a feature that this module does not have yet */
#define X_FAST		"the fast path is not supported by this module"
#define X_SYNC		"sync of extended connections is not supported by this module"

static const struct nla_policy x_svc_policy[IPVS_SVC_ATTR_FWMARK + 1] = {
	[IPVS_SVC_ATTR_AF]		= { .type = NLA_U16 },
	[IPVS_SVC_ATTR_PROTOCOL]	= { .type = NLA_U16 },
	[IPVS_SVC_ATTR_ADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_SVC_ATTR_PORT]		= { .type = NLA_U16 },
	[IPVS_SVC_ATTR_FWMARK]		= { .type = NLA_U32 },
};

static const struct nla_policy x_ext_policy[IPVS_EXT_SVC_MAX + 1] = {
	[IPVS_EXT_SVC_FLAGS]		= NLA_POLICY_BITFIELD32(IPVS_EXT_SVC_F_ALL),
	[IPVS_EXT_SVC_LGROUP]		= { .type = NLA_NUL_STRING, .len = IPVS_EXT_NAME_MAX },
	[IPVS_EXT_SVC_LADDR_SEL]	= NLA_POLICY_MAX(NLA_U8, __IPVS_EXT_SEL_MAX - 1),
	[IPVS_EXT_SVC_INVALID]		= NLA_POLICY_MAX(NLA_U8, __IPVS_EXT_INVALID_MAX - 1),
	[IPVS_EXT_SVC_TS_MODE]		= NLA_POLICY_MAX(NLA_U8, __IPVS_EXT_TS_MAX - 1),
	[IPVS_EXT_SVC_MSS_CLAMP]	= { .type = NLA_U16 },
	[IPVS_EXT_SVC_TOA_KIND4]	= NLA_POLICY_RANGE(NLA_U8, 9, 254),
	[IPVS_EXT_SVC_TOA_KIND6]	= NLA_POLICY_RANGE(NLA_U8, 9, 254),
	[IPVS_EXT_SVC_SP_MSS]		= { .type = NLA_U16 },
	[IPVS_EXT_SVC_SP_WSCALE]	= { .type = NLA_U8 },
	[IPVS_EXT_SVC_SP_OPTS]		= NLA_POLICY_BITFIELD32(IPVS_EXT_SP_OPT_ALL),
	[IPVS_EXT_SVC_SP_WINDOW]	= { .type = NLA_U16 },
	[IPVS_EXT_SVC_SP_TTL]		= NLA_POLICY_MIN(NLA_U8, 1),
	[IPVS_EXT_SVC_SP_SYN_RETRIES]	= NLA_POLICY_MAX(NLA_U8, 8),
	[IPVS_EXT_SVC_SP_QUEUE]		= NLA_POLICY_MAX(NLA_U8, 64),
	[IPVS_EXT_SVC_TIMEOUT_EST]	= { .type = NLA_U32 },
	[IPVS_EXT_SVC_CPS]		= { .type = NLA_U32 },
	[IPVS_EXT_SVC_CPS_BURST]	= { .type = NLA_U32 },
	[IPVS_EXT_SVC_BPS_IN]		= { .type = NLA_U64 },
	[IPVS_EXT_SVC_BPS_OUT]		= { .type = NLA_U64 },
	[IPVS_EXT_SVC_CONN_LIMIT]	= { .type = NLA_U32 },
	[IPVS_EXT_SVC_ACL_MODE]		= NLA_POLICY_MAX(NLA_U8, __IPVS_EXT_ACL_MAX - 1),
	[IPVS_EXT_SVC_ACL_SET4]		= { .type = NLA_NUL_STRING, .len = IPVS_EXT_SET_MAX },
	[IPVS_EXT_SVC_ACL_SET6]		= { .type = NLA_NUL_STRING, .len = IPVS_EXT_SET_MAX },
	[IPVS_EXT_SVC_NCONN]		= { .type = NLA_REJECT },
	[IPVS_EXT_SVC_SP_AUTO_ON]	= NLA_POLICY_MIN(NLA_U32, 1),
	[IPVS_EXT_SVC_SP_AUTO_OFF]	= { .type = NLA_U32 },
	[IPVS_EXT_SVC_SP_ACTIVE]	= { .type = NLA_REJECT },
	[IPVS_EXT_SVC_SP_HALF_OPEN]	= { .type = NLA_REJECT },
};

static const struct nla_policy x_lgroup_policy[IPVS_EXT_LGROUP_MAX + 1] = {
	[IPVS_EXT_LGROUP_NAME]		= { .type = NLA_NUL_STRING, .len = IPVS_EXT_NAME_MAX },
	[IPVS_EXT_LGROUP_AF]		= { .type = NLA_U16 },
	[IPVS_EXT_LGROUP_REFS]		= { .type = NLA_REJECT },
	[IPVS_EXT_LGROUP_PORTS]		= { .type = NLA_REJECT },
	[IPVS_EXT_LGROUP_PORTS_USED]	= { .type = NLA_REJECT },
	[IPVS_EXT_LGROUP_RS_ADDR]	= { .type = NLA_REJECT },
	[IPVS_EXT_LGROUP_RS_PORT]	= { .type = NLA_REJECT },
	[IPVS_EXT_LGROUP_RS_PROTO]	= { .type = NLA_REJECT },
};

static const struct nla_policy x_laddr_policy[IPVS_EXT_LADDR_MAX + 1] = {
	[IPVS_EXT_LADDR_AF]		= { .type = NLA_U16 },
	[IPVS_EXT_LADDR_ADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_EXT_LADDR_PORT_MIN]	= { .type = NLA_U16 },
	[IPVS_EXT_LADDR_PORT_MAX]	= { .type = NLA_U16 },
	[IPVS_EXT_LADDR_CPUS]		= { .type = NLA_NUL_STRING, .len = 1023 },
	[IPVS_EXT_LADDR_FLAGS]		= NLA_POLICY_BITFIELD32(IPVS_EXT_LADDR_F_ALL),
	[IPVS_EXT_LADDR_CONNS]		= { .type = NLA_REJECT },
	[IPVS_EXT_LADDR_CONFLICT]	= { .type = NLA_REJECT },
	[IPVS_EXT_LADDR_FULL]		= { .type = NLA_REJECT },
	[IPVS_EXT_LADDR_RECLAIM]	= { .type = NLA_REJECT },
};

static const struct nla_policy x_config_policy[IPVS_EXT_CONFIG_MAX + 1] = {
	[IPVS_EXT_CONFIG_COOKIE_KEY]	= NLA_POLICY_EXACT_LEN(IPVS_EXT_COOKIE_KEY_LEN),
	[IPVS_EXT_CONFIG_SP_QMEM]	= { .type = NLA_U64 },
	[IPVS_EXT_CONFIG_FAST]		= NLA_POLICY_MAX(NLA_U8, 1),
	[IPVS_EXT_CONFIG_PROBES]	= NLA_POLICY_MIN(NLA_U8, 1),
	[IPVS_EXT_CONFIG_RECLAIM]	= NLA_POLICY_MAX(NLA_U8, 1),
	[IPVS_EXT_CONFIG_SYNC_OPT]	= NLA_POLICY_MAX(NLA_U8, 1),
	[IPVS_EXT_CONFIG_COOKIE_KEY_PREV] = NLA_POLICY_EXACT_LEN(IPVS_EXT_COOKIE_KEY_LEN),
	[IPVS_EXT_CONFIG_DROP_VIP]	= NLA_POLICY_MAX(NLA_U8, 1),
	[IPVS_EXT_CONFIG_SP_EARLY]	= NLA_POLICY_MAX(NLA_U8, __IPVS_EXT_EARLY_MAX - 1),
};

static const struct nla_policy x_filter_policy[IPVS_EXT_FILTER_MAX + 1] = {
	[IPVS_EXT_FILTER_AF]		= { .type = NLA_U16 },
	[IPVS_EXT_FILTER_PROTO]		= { .type = NLA_U16 },
	[IPVS_EXT_FILTER_CADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_EXT_FILTER_CPLEN]		= { .type = NLA_U8 },
	[IPVS_EXT_FILTER_CPORT]		= { .type = NLA_U16 },
	[IPVS_EXT_FILTER_VADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_EXT_FILTER_VPLEN]		= { .type = NLA_U8 },
	[IPVS_EXT_FILTER_VPORT]		= { .type = NLA_U16 },
	[IPVS_EXT_FILTER_LADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_EXT_FILTER_LPLEN]		= { .type = NLA_U8 },
	[IPVS_EXT_FILTER_LPORT]		= { .type = NLA_U16 },
	[IPVS_EXT_FILTER_DADDR]		= NLA_POLICY_RANGE(NLA_BINARY, 4, 16),
	[IPVS_EXT_FILTER_DPLEN]		= { .type = NLA_U8 },
	[IPVS_EXT_FILTER_DPORT]		= { .type = NLA_U16 },
};

static const struct nla_policy x_policy[IPVS_EXT_A_MAX + 1] = {
	[IPVS_EXT_A_SVC]	= NLA_POLICY_NESTED(x_svc_policy),
	[IPVS_EXT_A_EXT]	= NLA_POLICY_NESTED(x_ext_policy),
	[IPVS_EXT_A_LGROUP]	= NLA_POLICY_NESTED(x_lgroup_policy),
	[IPVS_EXT_A_LADDR]	= NLA_POLICY_NESTED(x_laddr_policy),
	[IPVS_EXT_A_CONFIG]	= NLA_POLICY_NESTED(x_config_policy),
	[IPVS_EXT_A_FILTER]	= NLA_POLICY_NESTED(x_filter_policy),
};

/* Requests */

static struct ip_vs_x_net *x_net(const struct sk_buff *skb)
{
	return net_generic(sock_net(skb->sk), ip_vs_x_net_id);
}

/*
 * The core has parsed and validated: what is left is to fail on an attribute
 * that the command would not look at.
 */
static int x_only(struct nlattr **attrs, u64 used, struct netlink_ext_ack *extack)
{
	unsigned int i;

	for (i = 1; i <= IPVS_EXT_A_MAX; i++) {
		if (!attrs[i] || (used & BIT_ULL(i)))
			continue;
		NL_SET_ERR_MSG_ATTR(extack, attrs[i], "this command does not take the attribute");
		return -EINVAL;
	}
	return 0;
}

/* Validated before; parsing again cannot fail */
static void x_nested(struct nlattr **tb, int max, const struct nlattr *nest)
{
	nla_parse_nested_deprecated(tb, max, nest, NULL, NULL);
}

static int x_missing(struct netlink_ext_ack *extack, const char *what)
{
	X_ERR_FMT(extack, "the request needs %s", what);
	return -EINVAL;
}

/* IPv4 addresses come as 4 bytes or as the 16 of mainline's union */
static int x_get_addr(const struct nlattr *attr, u16 af, bool union_ok, union nf_inet_addr *addr,
		      struct netlink_ext_ack *extack)
{
	int len = nla_len(attr), want = af == AF_INET6 ? 16 : 4;

	if (af != AF_INET && af != AF_INET6) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "AF is neither IPv4 nor IPv6");
		return -EAFNOSUPPORT;
	}
	if (len != want && !(union_ok && len == 16)) {
		NL_SET_ERR_MSG_ATTR(extack, attr, "the address does not have the length of its AF");
		return -EINVAL;
	}
	memset(addr, 0, sizeof(*addr));
	memcpy(addr, nla_data(attr), want);
	return 0;
}

static struct ip_vs_service *x_svc_missing(struct netlink_ext_ack *extack)
{
	NL_SET_ERR_MSG(extack, "no such virtual service");
	return ERR_PTR(-ESRCH);
}

/* The service that the SVC attribute names. ip_vs_x_cfg_lock(). */
static struct ip_vs_service *x_find_svc(struct net *net, const struct nlattr *nest,
					struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_SVC_ATTR_FWMARK + 1];
	union nf_inet_addr addr = {};
	struct ip_vs_service *svc;
	u16 af, protocol = 0;
	u32 fwmark = 0;
	__be16 port = 0;
	int ret;

	if (!nest)
		return ERR_PTR(x_missing(extack, "SVC"));
	x_nested(tb, IPVS_SVC_ATTR_FWMARK, nest);
	if (!tb[IPVS_SVC_ATTR_AF])
		return ERR_PTR(x_missing(extack, "AF in SVC"));
	af = nla_get_u16(tb[IPVS_SVC_ATTR_AF]);
	if (tb[IPVS_SVC_ATTR_FWMARK])
		fwmark = nla_get_u32(tb[IPVS_SVC_ATTR_FWMARK]);
	if (!fwmark) {
		if (!tb[IPVS_SVC_ATTR_PROTOCOL] || !tb[IPVS_SVC_ATTR_ADDR] ||
		    !tb[IPVS_SVC_ATTR_PORT])
			return ERR_PTR(x_missing(extack, "FWMARK or PROTOCOL, ADDR, PORT in SVC"));
		ret = x_get_addr(tb[IPVS_SVC_ATTR_ADDR], af, true, &addr, extack);
		if (ret)
			return ERR_PTR(ret);
		protocol = nla_get_u16(tb[IPVS_SVC_ATTR_PROTOCOL]);
		port = nla_get_be16(tb[IPVS_SVC_ATTR_PORT]);
	}
	svc = net_ipvs(net) ? ip_vs_x_svc_find(net_ipvs(net), af, fwmark, protocol, &addr, port) :
	      NULL;
	return svc ?: x_svc_missing(extack);
}

static int x_get_group_name(const struct nlattr *nest, struct nlattr **tb, const char **name,
			    struct netlink_ext_ack *extack)
{
	if (!nest)
		return x_missing(extack, "LGROUP");
	x_nested(tb, IPVS_EXT_LGROUP_MAX, nest);
	if (!tb[IPVS_EXT_LGROUP_NAME])
		return x_missing(extack, "NAME in LGROUP");
	*name = nla_data(tb[IPVS_EXT_LGROUP_NAME]);
	return 0;
}

static struct ip_vs_x_lgroup *x_find_group(struct ip_vs_x_net *xnet, const struct nlattr *nest,
					   struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_EXT_LGROUP_MAX + 1];
	struct ip_vs_x_lgroup *g;
	const char *name;
	int ret;

	ret = x_get_group_name(nest, tb, &name, extack);
	if (ret)
		return ERR_PTR(ret);
	g = ip_vs_x_lgroup_find(xnet, name);
	if (!g) {
		NL_SET_ERR_MSG(extack, "no such local address group");
		return ERR_PTR(-ENOENT);
	}
	return g;
}

static int x_get_laddr(const struct nlattr *nest, struct ip_vs_x_laddr_req *req,
		       struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_EXT_LADDR_MAX + 1];

	if (!nest)
		return x_missing(extack, "LADDR");
	x_nested(tb, IPVS_EXT_LADDR_MAX, nest);
	if (!tb[IPVS_EXT_LADDR_AF] || !tb[IPVS_EXT_LADDR_ADDR])
		return x_missing(extack, "AF and ADDR in LADDR");
	if (!tb[IPVS_EXT_LADDR_PORT_MIN] != !tb[IPVS_EXT_LADDR_PORT_MAX])
		return x_missing(extack, "both PORT_MIN and PORT_MAX, or neither");
	memset(req, 0, sizeof(*req));
	req->af = nla_get_u16(tb[IPVS_EXT_LADDR_AF]);
	if (tb[IPVS_EXT_LADDR_PORT_MIN]) {
		req->has_range = true;
		req->port_min = nla_get_u16(tb[IPVS_EXT_LADDR_PORT_MIN]);
		req->port_max = nla_get_u16(tb[IPVS_EXT_LADDR_PORT_MAX]);
	}
	if (tb[IPVS_EXT_LADDR_CPUS])
		req->cpus = nla_data(tb[IPVS_EXT_LADDR_CPUS]);
	if (tb[IPVS_EXT_LADDR_FLAGS])
		req->flags = nla_get_bitfield32(tb[IPVS_EXT_LADDR_FLAGS]);
	return x_get_addr(tb[IPVS_EXT_LADDR_ADDR], req->af, false, &req->addr, extack);
}

/* What a feature that is still to come would be asked with */
static const char * const x_config_unsupported[IPVS_EXT_CONFIG_MAX + 1] = {
	[IPVS_EXT_CONFIG_FAST]		= X_FAST,
	[IPVS_EXT_CONFIG_SYNC_OPT]	= X_SYNC,
};

static int x_check_supported(struct nlattr **tb, const char * const *texts, int max,
			     struct netlink_ext_ack *extack)
{
	int i;

	for (i = 1; i <= max; i++) {
		if (!tb[i] || !texts[i])
			continue;
		X_ERR_FMT(extack, "%s", texts[i]);
		if (extack)
			extack->bad_attr = tb[i];
		return -EOPNOTSUPP;
	}
	return 0;
}

/* Switching off what cannot be on is no error */
static int x_check_flags(u32 on, struct netlink_ext_ack *extack)
{
	if (!(on & ~IP_VS_X_SVC_FLAGS))
		return 0;
	NL_SET_ERR_MSG(extack, X_FAST);
	return -EOPNOTSUPP;
}

static int x_get_ext(const struct nlattr *nest, struct ip_vs_x_svc_req *req,
		     struct netlink_ext_ack *extack)
{
	struct nlattr **tb = req->tb;

	if (!nest)
		return x_missing(extack, "EXT");
	memset(req, 0, sizeof(*req));
	x_nested(tb, IPVS_EXT_SVC_MAX, nest);
	if (tb[IPVS_EXT_SVC_FLAGS])
		req->flags = nla_get_bitfield32(tb[IPVS_EXT_SVC_FLAGS]);
	if (tb[IPVS_EXT_SVC_SP_OPTS])
		req->sp_opts = nla_get_bitfield32(tb[IPVS_EXT_SVC_SP_OPTS]);
	if (tb[IPVS_EXT_SVC_LGROUP])
		req->lgroup = nla_data(tb[IPVS_EXT_SVC_LGROUP]);
	return x_check_flags(req->flags.value & req->flags.selector, extack);
}

/* Replies: each put_ returns 0 or -EMSGSIZE, and leaves no half nest */

static int x_put_addr(struct sk_buff *skb, int attr, u16 af, const union nf_inet_addr *addr)
{
	return nla_put(skb, attr, af == AF_INET6 ? 16 : 4, addr);
}

static int x_put_svc(struct sk_buff *skb, const struct ip_vs_service *svc)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_SVC);

	if (!nest || nla_put_u16(skb, IPVS_SVC_ATTR_AF, svc->af))
		goto fail;
	if (svc->fwmark) {
		if (nla_put_u32(skb, IPVS_SVC_ATTR_FWMARK, svc->fwmark))
			goto fail;
	} else if (nla_put_u16(skb, IPVS_SVC_ATTR_PROTOCOL, svc->protocol) ||
		   nla_put(skb, IPVS_SVC_ATTR_ADDR, sizeof(svc->addr), &svc->addr) ||
		   nla_put_be16(skb, IPVS_SVC_ATTR_PORT, svc->port)) {
		goto fail;
	}
	nla_nest_end(skb, nest);
	return 0;

fail:
	nla_nest_cancel(skb, nest);
	return -EMSGSIZE;
}

static int x_put_fields(struct sk_buff *skb, const struct ip_vs_x_svc_cfg *cfg)
{
	const struct ip_vs_x_field *f;
	int ret = 0;

	for (f = ip_vs_x_fields; !ret && f < ip_vs_x_fields + ip_vs_x_n_fields; f++) {
		const void *data = (const u8 *)cfg + f->at;

		ret = f->size == sizeof(u64) ?
		      nla_put_64bit(skb, f->attr, f->size, data, IPVS_EXT_SVC_PAD) :
		      nla_put(skb, f->attr, f->size, data);
	}
	return ret;
}

static int x_put_ext(struct sk_buff *skb, const struct ip_vs_x_svc_cfg *cfg, u32 nconn)
{
	static const struct ip_vs_x_svc_cfg off = {
		.toa_kind4 = IP_VS_X_TOA_KIND, .toa_kind6 = IP_VS_X_TOA_KIND,
		.sp = IP_VS_X_SP_DEFAULTS,
	};
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_EXT);

	cfg = cfg ?: &off;
	if (!nest ||
	    nla_put_bitfield32(skb, IPVS_EXT_SVC_FLAGS, cfg->flags, IP_VS_X_SVC_FLAGS) ||
	    nla_put_string(skb, IPVS_EXT_SVC_LGROUP, cfg->lgroup ? cfg->lgroup->name : "") ||
	    x_put_fields(skb, cfg) ||
	    nla_put_bitfield32(skb, IPVS_EXT_SVC_SP_OPTS, cfg->sp.opts, IP_VS_X_SP_OPTS) ||
	    nla_put_u8(skb, IPVS_EXT_SVC_SP_ACTIVE, ip_vs_x_sp_active(cfg)) ||
	    nla_put_u32(skb, IPVS_EXT_SVC_SP_HALF_OPEN,
			cfg->aut ? ip_vs_x_auto_half_open(cfg->aut) : 0) ||
	    nla_put_string(skb, IPVS_EXT_SVC_ACL_SET4, ip_vs_x_set_name(cfg->set4)) ||
	    nla_put_string(skb, IPVS_EXT_SVC_ACL_SET6, ip_vs_x_set_name(cfg->set6)) ||
	    nla_put_u32(skb, IPVS_EXT_SVC_NCONN, nconn)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

/* NULL: a service that never had a counter */
static int x_put_stats(struct sk_buff *skb, const struct ip_vs_x_stats __percpu *stats)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_STATS);
	unsigned int i;

	for (i = 1; nest && i <= IPVS_EXT_STAT_MAX; i++) {
		u64 n = stats ? ip_vs_x_stats_sum(stats, i) : 0;

		if (ip_vs_x_stat_name(i) &&
		    nla_put_u64_64bit(skb, i, n, IPVS_EXT_STAT_PAD)) {
			nla_nest_cancel(skb, nest);
			return -EMSGSIZE;
		}
	}
	if (!nest)
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static int x_put_service(struct sk_buff *skb, struct ip_vs_service *svc)
{
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_svc_cfg(svc);

	u64 nconn;

	rcu_read_lock();
	nconn = ip_vs_x_svc_conns(svc, U32_MAX);
	rcu_read_unlock();
	return x_put_svc(skb, svc) ?: x_put_ext(skb, cfg, min_t(u64, nconn, U32_MAX)) ?:
	       x_put_stats(skb, cfg ? cfg->stats : NULL);
}

static int x_put_service_stats(struct sk_buff *skb, struct ip_vs_service *svc)
{
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_svc_cfg(svc);

	return x_put_svc(skb, svc) ?: x_put_stats(skb, cfg ? cfg->stats : NULL);
}

static int x_put_lgroup(struct sk_buff *skb, const struct ip_vs_x_lgroup *g)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_LGROUP);

	if (!nest || nla_put_string(skb, IPVS_EXT_LGROUP_NAME, g->name) ||
	    nla_put_u16(skb, IPVS_EXT_LGROUP_AF, g->af) ||
	    nla_put_u32(skb, IPVS_EXT_LGROUP_REFS, g->refs) ||
	    ip_vs_x_uses_put_fullest(skb, g->uses)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

static int x_put_cpus(struct sk_buff *skb, const struct ip_vs_x_laddr *la)
{
	char *text;
	int ret;

	if (la->all_cpus)
		return nla_put_string(skb, IPVS_EXT_LADDR_CPUS, "");
	text = kasprintf(GFP_KERNEL, "%*pbl", cpumask_pr_args(&la->cpus));
	if (!text)
		return -ENOMEM;
	ret = nla_put_string(skb, IPVS_EXT_LADDR_CPUS, text);
	kfree(text);
	return ret;
}

static int x_put_laddr(struct sk_buff *skb, const struct ip_vs_x_lgroup *g,
		       const struct ip_vs_x_laddr *la)
{
	struct ip_vs_x_laddr_cpu sum;
	struct nlattr *nest;
	int ret;

	ip_vs_x_laddr_sum(la, &sum);
	ret = x_put_lgroup(skb, g);
	if (ret)
		return ret;
	nest = nla_nest_start(skb, IPVS_EXT_A_LADDR);
	if (!nest || nla_put_u16(skb, IPVS_EXT_LADDR_AF, la->af) ||
	    x_put_addr(skb, IPVS_EXT_LADDR_ADDR, la->af, &la->addr) ||
	    nla_put_u16(skb, IPVS_EXT_LADDR_PORT_MIN, la->port_min) ||
	    nla_put_u16(skb, IPVS_EXT_LADDR_PORT_MAX, la->port_max) ||
	    x_put_cpus(skb, la) ||
	    nla_put_bitfield32(skb, IPVS_EXT_LADDR_FLAGS, la->flags, IPVS_EXT_LADDR_F_ALL) ||
	    nla_put_u32(skb, IPVS_EXT_LADDR_CONNS, max(sum.conns, 0)) ||
	    nla_put_u64_64bit(skb, IPVS_EXT_LADDR_CONFLICT, sum.conflict, IPVS_EXT_LADDR_PAD) ||
	    nla_put_u64_64bit(skb, IPVS_EXT_LADDR_FULL, sum.full, IPVS_EXT_LADDR_PAD) ||
	    nla_put_u64_64bit(skb, IPVS_EXT_LADDR_RECLAIM, sum.reclaim, IPVS_EXT_LADDR_PAD)) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

/* One reply to one request */
struct x_reply {
	struct sk_buff	*skb;
	void		*hdr;
};

static int x_reply_begin(struct x_reply *r, struct genl_info *info)
{
	r->skb = genlmsg_new(NLMSG_GOODSIZE, GFP_KERNEL);
	if (!r->skb)
		return -ENOMEM;
	r->hdr = genlmsg_put_reply(r->skb, info, &x_family, 0, info->genlhdr->cmd);
	if (r->hdr)
		return 0;
	nlmsg_free(r->skb);
	return -EMSGSIZE;
}

static int x_reply_end(struct x_reply *r, struct genl_info *info, int ret)
{
	if (ret) {
		nlmsg_free(r->skb);
		return ret;
	}
	genlmsg_end(r->skb, r->hdr);
	return genlmsg_reply(r->skb, info);
}

/* Commands that answer at once */

static int x_get_info(struct sk_buff *skb, struct genl_info *info)
{
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, 0, info->extack) ?: x_reply_begin(&r, info);
	if (ret)
		return ret;
	if (nla_put_u32(r.skb, IPVS_EXT_A_ABI, IPVS_EXT_ABI) ||
	    nla_put_u64_64bit(r.skb, IPVS_EXT_A_FEATURES, IP_VS_X_FEATURES, IPVS_EXT_A_PAD) ||
	    nla_put_string(r.skb, IPVS_EXT_A_BUILD, IP_VS_X_BUILD) ||
	    nla_put_u32(r.skb, IPVS_EXT_A_TAB_BITS, ip_vs_x_tab_bits()) ||
	    nla_put_u32(r.skb, IPVS_EXT_A_CONN_SIZE, sizeof(struct ip_vs_x_conn)))
		ret = -EMSGSIZE;
	return x_reply_end(&r, info, ret);
}

static int x_get_config(struct sk_buff *skb, struct genl_info *info)
{
	struct ip_vs_x_net *xnet = x_net(skb);
	struct nlattr *nest;
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, 0, info->extack) ?: x_reply_begin(&r, info);
	if (ret)
		return ret;
	nest = nla_nest_start(r.skb, IPVS_EXT_A_CONFIG);
	if (!nest || nla_put_u8(r.skb, IPVS_EXT_CONFIG_PROBES, READ_ONCE(xnet->probes)) ||
	    nla_put_u8(r.skb, IPVS_EXT_CONFIG_RECLAIM, READ_ONCE(xnet->reclaim)) ||
	    nla_put_u64_64bit(r.skb, IPVS_EXT_CONFIG_SP_QMEM, READ_ONCE(xnet->sp_qmem_max),
			      IPVS_EXT_CONFIG_PAD) ||
	    nla_put_u8(r.skb, IPVS_EXT_CONFIG_DROP_VIP, READ_ONCE(xnet->drop_vip)) ||
	    nla_put_u8(r.skb, IPVS_EXT_CONFIG_SP_EARLY, READ_ONCE(xnet->early_mode)))
		ret = -EMSGSIZE;
	else
		nla_nest_end(r.skb, nest);
	return x_reply_end(&r, info, ret);
}

/* What can fail, all of it or nothing: neither going back to was nor OFF can */
static int x_set_synproxy(struct ip_vs_x_net *xnet, const struct nlattr *key,
			  const struct nlattr *prev, const struct nlattr *early)
{
	u8 was = xnet->early_mode, mode = early ? nla_get_u8(early) : was;
	int ret = 0;

	if (mode != IPVS_EXT_EARLY_OFF)
		ret = ip_vs_x_early_set(xnet, mode);
	if (!ret && (key || prev))
		ret = ip_vs_x_sp_set_keys(xnet, key ? nla_data(key) : NULL,
					  prev ? nla_data(prev) : NULL);
	if (ret || mode == IPVS_EXT_EARLY_OFF)
		ip_vs_x_early_set(xnet, ret ? was : mode);
	return ret;
}

static int x_set_config(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[IPVS_EXT_CONFIG_MAX + 1];
	struct ip_vs_x_net *xnet = x_net(skb);
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_CONFIG), info->extack);
	if (ret)
		return ret;
	if (!info->attrs[IPVS_EXT_A_CONFIG])
		return x_missing(info->extack, "CONFIG");
	x_nested(tb, IPVS_EXT_CONFIG_MAX, info->attrs[IPVS_EXT_A_CONFIG]);
	ret = x_check_supported(tb, x_config_unsupported, IPVS_EXT_CONFIG_MAX, info->extack);
	if (ret)
		return ret;
	/* those that can fail come first */
	ip_vs_x_cfg_lock();
	ret = x_set_synproxy(xnet, tb[IPVS_EXT_CONFIG_COOKIE_KEY],
			     tb[IPVS_EXT_CONFIG_COOKIE_KEY_PREV], tb[IPVS_EXT_CONFIG_SP_EARLY]);
	ip_vs_x_cfg_unlock();
	if (ret)
		return ret;
	if (tb[IPVS_EXT_CONFIG_SP_QMEM])
		WRITE_ONCE(xnet->sp_qmem_max,
			   min_t(u64, nla_get_u64(tb[IPVS_EXT_CONFIG_SP_QMEM]), S64_MAX));
	if (tb[IPVS_EXT_CONFIG_PROBES])
		WRITE_ONCE(xnet->probes, nla_get_u8(tb[IPVS_EXT_CONFIG_PROBES]));
	if (tb[IPVS_EXT_CONFIG_RECLAIM])
		WRITE_ONCE(xnet->reclaim, nla_get_u8(tb[IPVS_EXT_CONFIG_RECLAIM]));
	if (tb[IPVS_EXT_CONFIG_DROP_VIP]) {
		ip_vs_x_cfg_lock();
		ip_vs_x_set_drop_vip(xnet, nla_get_u8(tb[IPVS_EXT_CONFIG_DROP_VIP]));
		ip_vs_x_cfg_unlock();
	}
	return 0;
}

static int x_set_service(struct sk_buff *skb, struct genl_info *info)
{
	struct ip_vs_x_svc_req req;
	struct ip_vs_service *svc;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_SVC) | BIT_ULL(IPVS_EXT_A_EXT),
		     info->extack) ?:
	      x_get_ext(info->attrs[IPVS_EXT_A_EXT], &req, info->extack);
	if (ret)
		return ret;
	if (req.tb[IPVS_EXT_SVC_ACL_SET4] || req.tb[IPVS_EXT_SVC_ACL_SET6])
		ip_vs_x_acl_load();
	ip_vs_x_cfg_lock();
	svc = x_find_svc(genl_info_net(info), info->attrs[IPVS_EXT_A_SVC], info->extack);
	ret = IS_ERR(svc) ? PTR_ERR(svc) : ip_vs_x_svc_set(x_net(skb), svc, &req, info->extack);
	ip_vs_x_cfg_unlock();
	return ret;
}

/* GET_SERVICE and GET_STATS of one service */
static int x_reply_svc(struct genl_info *info,
		       int (*put)(struct sk_buff *skb, struct ip_vs_service *svc))
{
	struct ip_vs_service *svc;
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_SVC), info->extack) ?:
	      x_reply_begin(&r, info);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	svc = x_find_svc(genl_info_net(info), info->attrs[IPVS_EXT_A_SVC], info->extack);
	ret = IS_ERR(svc) ? PTR_ERR(svc) : put(r.skb, svc);
	ip_vs_x_cfg_unlock();
	return x_reply_end(&r, info, ret);
}

static int x_get_service(struct sk_buff *skb, struct genl_info *info)
{
	return x_reply_svc(info, x_put_service);
}

static int x_get_stats(struct sk_buff *skb, struct genl_info *info)
{
	struct x_reply r;
	int ret;

	if (info->attrs[IPVS_EXT_A_SVC])
		return x_reply_svc(info, x_put_service_stats);
	ret = x_only(info->attrs, 0, info->extack) ?: x_reply_begin(&r, info);
	if (ret)
		return ret;
	return x_reply_end(&r, info, x_put_stats(r.skb, x_net(skb)->stats));
}

static int x_zero_svc(struct ip_vs_service *svc, void *arg)
{
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_svc_cfg(svc);

	if (cfg)
		ip_vs_x_stats_zero(cfg->stats);
	return 0;
}

/* Without a service: the namespace's counters and those of all its services */
static int x_zero_stats(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	struct ip_vs_service *svc;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_SVC), info->extack);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	if (info->attrs[IPVS_EXT_A_SVC]) {
		svc = x_find_svc(net, info->attrs[IPVS_EXT_A_SVC], info->extack);
		ret = IS_ERR(svc) ? PTR_ERR(svc) : x_zero_svc(svc, NULL);
	} else {
		ip_vs_x_stats_zero(x_net(skb)->stats);
		ret = net_ipvs(net) ? ip_vs_x_svc_walk(net_ipvs(net), x_zero_svc, NULL) : 0;
	}
	ip_vs_x_cfg_unlock();
	return ret;
}

static int x_new_lgroup(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[IPVS_EXT_LGROUP_MAX + 1];
	const char *name;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_LGROUP), info->extack) ?:
	      x_get_group_name(info->attrs[IPVS_EXT_A_LGROUP], tb, &name, info->extack);
	if (ret)
		return ret;
	if (!tb[IPVS_EXT_LGROUP_AF])
		return x_missing(info->extack, "AF in LGROUP");
	ip_vs_x_cfg_lock();
	ret = ip_vs_x_lgroup_add(x_net(skb), name, nla_get_u16(tb[IPVS_EXT_LGROUP_AF]),
				 info->extack);
	ip_vs_x_cfg_unlock();
	return ret;
}

static int x_del_lgroup(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *tb[IPVS_EXT_LGROUP_MAX + 1];
	const char *name;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_LGROUP), info->extack) ?:
	      x_get_group_name(info->attrs[IPVS_EXT_A_LGROUP], tb, &name, info->extack);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	ret = ip_vs_x_lgroup_del(x_net(skb), name, info->extack);
	ip_vs_x_cfg_unlock();
	return ret;
}

static int x_get_lgroup(struct sk_buff *skb, struct genl_info *info)
{
	struct ip_vs_x_lgroup *g;
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_LGROUP), info->extack) ?:
	      x_reply_begin(&r, info);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	g = x_find_group(x_net(skb), info->attrs[IPVS_EXT_A_LGROUP], info->extack);
	ret = IS_ERR(g) ? PTR_ERR(g) : x_put_lgroup(r.skb, g);
	ip_vs_x_cfg_unlock();
	return x_reply_end(&r, info, ret);
}

/* NEW_, SET_ and DEL_LADDR differ in what is done with the same request */
static int x_change_laddr(struct sk_buff *skb, struct genl_info *info,
			  int (*fn)(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
				    const struct ip_vs_x_laddr_req *req,
				    struct netlink_ext_ack *extack))
{
	struct ip_vs_x_net *xnet = x_net(skb);
	struct ip_vs_x_laddr_req req;
	struct ip_vs_x_lgroup *g;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_LGROUP) | BIT_ULL(IPVS_EXT_A_LADDR),
		     info->extack) ?:
	      x_get_laddr(info->attrs[IPVS_EXT_A_LADDR], &req, info->extack);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	g = x_find_group(xnet, info->attrs[IPVS_EXT_A_LGROUP], info->extack);
	ret = IS_ERR(g) ? PTR_ERR(g) : fn(xnet, g, &req, info->extack);
	ip_vs_x_cfg_unlock();
	return ret;
}

static int x_new_laddr(struct sk_buff *skb, struct genl_info *info)
{
	return x_change_laddr(skb, info, ip_vs_x_laddr_add);
}

static int x_set_laddr(struct sk_buff *skb, struct genl_info *info)
{
	return x_change_laddr(skb, info, ip_vs_x_laddr_set);
}

static int x_del_laddr(struct sk_buff *skb, struct genl_info *info)
{
	return x_change_laddr(skb, info, ip_vs_x_laddr_del);
}

static int x_find_laddr(struct genl_info *info, struct ip_vs_x_net *xnet,
			const struct ip_vs_x_laddr_req *req, struct sk_buff *reply)
{
	struct ip_vs_x_laddr *la;
	struct ip_vs_x_lgroup *g;

	g = x_find_group(xnet, info->attrs[IPVS_EXT_A_LGROUP], info->extack);
	if (IS_ERR(g))
		return PTR_ERR(g);
	la = ip_vs_x_laddr_find(g, req->af, &req->addr);
	if (!la) {
		NL_SET_ERR_MSG(info->extack, "no such local address in the group");
		return -ENOENT;
	}
	return x_put_laddr(reply, g, la);
}

static int x_get_one_laddr(struct sk_buff *skb, struct genl_info *info)
{
	struct ip_vs_x_laddr_req req;
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_LGROUP) | BIT_ULL(IPVS_EXT_A_LADDR),
		     info->extack) ?:
	      x_get_laddr(info->attrs[IPVS_EXT_A_LADDR], &req, info->extack) ?:
	      x_reply_begin(&r, info);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	ret = x_find_laddr(info, x_net(skb), &req, r.skb);
	ip_vs_x_cfg_unlock();
	return x_reply_end(&r, info, ret);
}

/*
 * Dumps. A dump goes on in another skb at the element that did not fit, found
 * by counting: args[0] elements are done. What changes in between can make it
 * miss or repeat an element; dumps of groups and addresses then tell the
 * reader so.
 */

struct x_dump {
	struct sk_buff		*skb;
	struct netlink_callback	*cb;
	int (*put)(struct sk_buff *skb, struct ip_vs_service *svc);
	long			n;
	u8			cmd;
};

static void *x_dump_begin(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd)
{
	return genlmsg_put(skb, NETLINK_CB(cb->skb).portid, cb->nlh->nlmsg_seq, &x_family,
			   NLM_F_MULTI, cmd);
}

static int x_dump_end(struct sk_buff *skb, void *hdr, int ret)
{
	if (ret)
		genlmsg_cancel(skb, hdr);
	else
		genlmsg_end(skb, hdr);
	return ret;
}

static int x_dump_svc(struct ip_vs_service *svc, void *arg)
{
	struct x_dump *d = arg;
	void *hdr;
	int ret;

	if (d->n++ < d->cb->args[0])
		return 0;
	hdr = x_dump_begin(d->skb, d->cb, d->cmd);
	if (!hdr)
		return -EMSGSIZE;
	ret = x_dump_end(d->skb, hdr, d->put(d->skb, svc));
	if (!ret)
		d->cb->args[0]++;
	return ret;
}

/* An element that did not fit waits for the next skb, unless this one is empty */
static int x_dump_result(struct sk_buff *skb, int ret)
{
	return ret == -EMSGSIZE && skb->len ? skb->len : ret ?: skb->len;
}

static int x_dump_svcs(struct sk_buff *skb, struct netlink_callback *cb, u8 cmd,
		       int (*put)(struct sk_buff *skb, struct ip_vs_service *svc))
{
	struct x_dump d = { .skb = skb, .cb = cb, .cmd = cmd, .put = put };
	struct net *net = sock_net(cb->skb->sk);
	int ret;

	ret = x_only(x_dump_attrs(cb), 0, cb->extack);
	if (ret || !net_ipvs(net))
		return ret;
	ip_vs_x_cfg_lock();
	ret = ip_vs_x_svc_walk(net_ipvs(net), x_dump_svc, &d);
	ip_vs_x_cfg_unlock();
	return x_dump_result(skb, ret);
}

static int x_dump_services(struct sk_buff *skb, struct netlink_callback *cb)
{
	return x_dump_svcs(skb, cb, IPVS_EXT_CMD_GET_SERVICE, x_put_service);
}

static int x_dump_stats(struct sk_buff *skb, struct netlink_callback *cb)
{
	return x_dump_svcs(skb, cb, IPVS_EXT_CMD_GET_STATS, x_put_service_stats);
}

static int x_dump_lgroups(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct ip_vs_x_net *xnet = x_net(cb->skb);
	struct ip_vs_x_lgroup *g;
	long n = 0;
	void *hdr;
	int ret;

	ret = x_only(x_dump_attrs(cb), 0, cb->extack);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	cb->seq = ip_vs_x_laddr_generation();
	list_for_each_entry(g, &xnet->lgroups, list) {
		if (n++ < cb->args[0])
			continue;
		hdr = x_dump_begin(skb, cb, IPVS_EXT_CMD_GET_LGROUP);
		ret = hdr ? x_dump_end(skb, hdr, x_put_lgroup(skb, g)) : -EMSGSIZE;
		if (ret)
			break;
		genl_dump_check_consistent(cb, hdr);
		cb->args[0]++;
	}
	ip_vs_x_cfg_unlock();
	return x_dump_result(skb, ret);
}

static int x_dump_group(struct sk_buff *skb, struct netlink_callback *cb,
			struct ip_vs_x_lgroup *g, long *n)
{
	struct ip_vs_x_laddr *la;
	void *hdr;
	int ret;

	list_for_each_entry(la, &g->laddrs, list) {
		if ((*n)++ < cb->args[0])
			continue;
		hdr = x_dump_begin(skb, cb, IPVS_EXT_CMD_GET_LADDR);
		ret = hdr ? x_dump_end(skb, hdr, x_put_laddr(skb, g, la)) : -EMSGSIZE;
		if (ret)
			return ret;
		genl_dump_check_consistent(cb, hdr);
		cb->args[0]++;
	}
	return 0;
}

/* Of one group, or of all */
static int x_dump_laddrs(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nlattr **attrs = x_dump_attrs(cb);
	struct ip_vs_x_net *xnet = x_net(cb->skb);
	struct ip_vs_x_lgroup *g;
	long n = 0;
	int ret;

	ret = x_only(attrs, BIT_ULL(IPVS_EXT_A_LGROUP), cb->extack);
	if (ret)
		return ret;
	ip_vs_x_cfg_lock();
	cb->seq = ip_vs_x_laddr_generation();
	if (attrs[IPVS_EXT_A_LGROUP]) {
		g = x_find_group(xnet, attrs[IPVS_EXT_A_LGROUP], cb->extack);
		ret = IS_ERR(g) ? PTR_ERR(g) : x_dump_group(skb, cb, g, &n);
	} else {
		list_for_each_entry(g, &xnet->lgroups, list) {
			ret = x_dump_group(skb, cb, g, &n);
			if (ret)
				break;
		}
	}
	ip_vs_x_cfg_unlock();
	return x_dump_result(skb, ret);
}

/* GET_CONN */

struct x_match {
	union nf_inet_addr	addr;
	u8			plen;
	bool			has_addr;
	bool			has_port;
	__be16			port;
};

struct x_filter {
	struct x_match	c, v, l, d;
	u16		af;	/* 0: any */
	u16		proto;	/* 0: any */
};

static bool x_matches(const struct x_match *m, u16 af, const union nf_inet_addr *addr, __be16 port)
{
	unsigned int words = m->plen / 32, bits = m->plen % 32, i;

	if (m->has_port && m->port != port)
		return false;
	if (!m->has_addr)
		return true;
	for (i = 0; i < words; i++) {
		if (m->addr.all[i] != addr->all[i])
			return false;
	}
	return !bits || !((ntohl((__force __be32)(m->addr.all[i] ^ addr->all[i]))) >> (32 - bits));
}

static bool x_conn_matches(const struct x_filter *f, const struct ip_vs_x_conn *x)
{
	return (!f->af || f->af == x->c.af) && (!f->proto || f->proto == x->c.protocol) &&
	       x_matches(&f->c, x->c.af, &x->c.caddr, x->c.cport) &&
	       x_matches(&f->v, x->c.af, &x->c.vaddr, x->c.vport) &&
	       x_matches(&f->l, x->c.af, &x->laddr, x->lport) &&
	       x_matches(&f->d, x->c.af, &x->c.daddr, x->c.dport);
}

/* Address, prefix length and port of one side are three attributes in a row */
static int x_get_match(struct nlattr **tb, int first, struct x_filter *f, struct x_match *m,
		       struct netlink_ext_ack *extack)
{
	const struct nlattr *addr = tb[first], *plen = tb[first + 1], *port = tb[first + 2];
	u8 max;
	int ret;

	if (port) {
		m->has_port = true;
		m->port = nla_get_be16(port);
	}
	if (!addr)
		return plen ? x_missing(extack, "the address that a prefix length belongs to") : 0;
	if (!f->af)
		f->af = nla_len(addr) == 16 ? AF_INET6 : AF_INET;
	ret = x_get_addr(addr, f->af, false, &m->addr, extack);
	if (ret)
		return ret;
	max = f->af == AF_INET6 ? 128 : 32;
	m->plen = plen ? nla_get_u8(plen) : max;
	if (m->plen > max) {
		NL_SET_ERR_MSG_ATTR(extack, plen, "prefix length is longer than the address");
		return -ERANGE;
	}
	m->has_addr = true;
	return 0;
}

static int x_get_filter(const struct nlattr *nest, struct x_filter *f,
			struct netlink_ext_ack *extack)
{
	struct nlattr *tb[IPVS_EXT_FILTER_MAX + 1];

	memset(f, 0, sizeof(*f));
	if (!nest)
		return 0;
	x_nested(tb, IPVS_EXT_FILTER_MAX, nest);
	if (tb[IPVS_EXT_FILTER_AF]) {
		f->af = nla_get_u16(tb[IPVS_EXT_FILTER_AF]);
		if (f->af != AF_INET && f->af != AF_INET6) {
			NL_SET_ERR_MSG(extack, "AF is neither IPv4 nor IPv6");
			return -EAFNOSUPPORT;
		}
	}
	if (tb[IPVS_EXT_FILTER_PROTO])
		f->proto = nla_get_u16(tb[IPVS_EXT_FILTER_PROTO]);
	return x_get_match(tb, IPVS_EXT_FILTER_CADDR, f, &f->c, extack) ?:
	       x_get_match(tb, IPVS_EXT_FILTER_VADDR, f, &f->v, extack) ?:
	       x_get_match(tb, IPVS_EXT_FILTER_LADDR, f, &f->l, extack) ?:
	       x_get_match(tb, IPVS_EXT_FILTER_DADDR, f, &f->d, extack);
}

static u32 x_expires(const struct ip_vs_conn *cp)
{
	unsigned long at = READ_ONCE(cp->timer.expires), now = jiffies;

	return timer_pending(&cp->timer) && time_after(at, now) ? jiffies_to_msecs(at - now) : 0;
}

static int x_put_conn(struct sk_buff *skb, const struct ip_vs_x_conn *x)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_CONN);
	const struct ip_vs_conn *c = &x->c;

	if (!nest || nla_put_u16(skb, IPVS_EXT_CONN_AF, c->af) ||
	    nla_put_u16(skb, IPVS_EXT_CONN_PROTO, c->protocol) ||
	    x_put_addr(skb, IPVS_EXT_CONN_CADDR, c->af, &c->caddr) ||
	    nla_put_be16(skb, IPVS_EXT_CONN_CPORT, c->cport) ||
	    x_put_addr(skb, IPVS_EXT_CONN_VADDR, c->af, &c->vaddr) ||
	    nla_put_be16(skb, IPVS_EXT_CONN_VPORT, c->vport) ||
	    x_put_addr(skb, IPVS_EXT_CONN_LADDR, c->af, &x->laddr) ||
	    nla_put_be16(skb, IPVS_EXT_CONN_LPORT, x->lport) ||
	    x_put_addr(skb, IPVS_EXT_CONN_DADDR, c->daf, &c->daddr) ||
	    nla_put_be16(skb, IPVS_EXT_CONN_DPORT, c->dport) ||
	    nla_put_string(skb, IPVS_EXT_CONN_STATE, ip_vs_state_name(c)) ||
	    nla_put_u32(skb, IPVS_EXT_CONN_FLAGS, c->flags) ||
	    nla_put_u32(skb, IPVS_EXT_CONN_EXPIRES, x_expires(c)) ||
	    nla_put_u32(skb, IPVS_EXT_CONN_ISN_DELTA, READ_ONCE(x->isn_delta)) ||
	    nla_put_u32(skb, IPVS_EXT_CONN_SP_DELTA, READ_ONCE(x->sp_delta)) ||
	    nla_put_u32(skb, IPVS_EXT_CONN_INPKTS, atomic_read(&c->in_pkts))) {
		nla_nest_cancel(skb, nest);
		return -EMSGSIZE;
	}
	nla_nest_end(skb, nest);
	return 0;
}

struct x_conn_dump {
	struct sk_buff		*skb;
	struct netlink_callback	*cb;
	struct x_filter		f;
};

/* Under RCU: nothing here sleeps */
static int x_dump_conn(struct ip_vs_x_conn *x, void *arg)
{
	struct x_conn_dump *d = arg;
	void *hdr;

	if (!x_conn_matches(&d->f, x))
		return 0;
	hdr = x_dump_begin(d->skb, d->cb, IPVS_EXT_CMD_GET_CONN);
	return hdr ? x_dump_end(d->skb, hdr, x_put_conn(d->skb, x)) : -EMSGSIZE;
}

static int x_dump_conns(struct sk_buff *skb, struct netlink_callback *cb)
{
	struct nlattr **attrs = x_dump_attrs(cb);
	struct net *net = sock_net(cb->skb->sk);
	struct x_conn_dump d = { .skb = skb, .cb = cb };
	unsigned int pos = cb->args[0], skip = cb->args[1];
	int ret;

	ret = x_only(attrs, BIT_ULL(IPVS_EXT_A_FILTER), cb->extack) ?:
	      x_get_filter(attrs[IPVS_EXT_A_FILTER], &d.f, cb->extack);
	if (ret || !net_ipvs(net))
		return ret;
	ret = ip_vs_x_conn_walk(net_ipvs(net), &pos, &skip, x_dump_conn, &d);
	cb->args[0] = pos;
	cb->args[1] = skip;
	return x_dump_result(skb, ret);
}

/* DEL_CONN */

struct x_conn_del {
	struct x_filter	f;
	u64		n;
};

static int x_del_conn_fn(struct ip_vs_x_conn *x, void *arg)
{
	struct x_conn_del *d = arg;

	if (!x_conn_matches(&d->f, x))
		return 0;
	ip_vs_x_conn_end(&x->c);
	d->n++;
	return 0;
}

/* The filter must be there, if only an empty one: nobody ends all conns by an omission */
static int x_del_conns(struct sk_buff *skb, struct genl_info *info)
{
	struct net *net = genl_info_net(info);
	unsigned int pos = 0, skip = 0;
	struct x_conn_del d = {};
	struct x_reply r;
	int ret;

	ret = x_only(info->attrs, BIT_ULL(IPVS_EXT_A_FILTER), info->extack);
	if (ret)
		return ret;
	if (!info->attrs[IPVS_EXT_A_FILTER])
		return x_missing(info->extack, "FILTER");
	ret = x_get_filter(info->attrs[IPVS_EXT_A_FILTER], &d.f, info->extack) ?:
	      x_reply_begin(&r, info);
	if (ret)
		return ret;
	if (net_ipvs(net))
		ip_vs_x_conn_walk(net_ipvs(net), &pos, &skip, x_del_conn_fn, &d);
	if (nla_put_u64_64bit(r.skb, IPVS_EXT_A_COUNT, d.n, IPVS_EXT_A_PAD))
		ret = -EMSGSIZE;
	return x_reply_end(&r, info, ret);
}

#define X_OP(_cmd, _do, _dump) {			\
	.cmd	= IPVS_EXT_CMD_##_cmd,			\
	.flags	= GENL_ADMIN_PERM,			\
	.doit	= (_do),				\
	.dumpit	= (_dump),				\
}

/* No validate flags: everything is strict */
static const struct genl_small_ops x_ops[] = {
	X_OP(GET_INFO,		x_get_info,	NULL),
	X_OP(SET_CONFIG,	x_set_config,	NULL),
	X_OP(GET_CONFIG,	x_get_config,	NULL),
	X_OP(SET_SERVICE,	x_set_service,	NULL),
	X_OP(GET_SERVICE,	x_get_service,	x_dump_services),
	X_OP(NEW_LGROUP,	x_new_lgroup,	NULL),
	X_OP(DEL_LGROUP,	x_del_lgroup,	NULL),
	X_OP(GET_LGROUP,	x_get_lgroup,	x_dump_lgroups),
	X_OP(NEW_LADDR,		x_new_laddr,	NULL),
	X_OP(SET_LADDR,		x_set_laddr,	NULL),
	X_OP(DEL_LADDR,		x_del_laddr,	NULL),
	X_OP(GET_LADDR,		x_get_one_laddr, x_dump_laddrs),
	X_OP(GET_CONN,		NULL,		x_dump_conns),
	X_OP(DEL_CONN,		x_del_conns,	NULL),
	X_OP(GET_STATS,		x_get_stats,	x_dump_stats),
	X_OP(ZERO_STATS,	x_zero_stats,	NULL),
};

static struct genl_family x_family __ro_after_init = {
	.name		= IPVS_EXT_GENL_NAME,
	.version	= IPVS_EXT_GENL_VERSION,
	.maxattr	= IPVS_EXT_A_MAX,
	.policy		= x_policy,
	.netnsok	= true,
	.module		= THIS_MODULE,
	.small_ops	= x_ops,
	.n_small_ops	= ARRAY_SIZE(x_ops),
	.mcgrps		= x_mcgrps,
	.n_mcgrps	= ARRAY_SIZE(x_mcgrps),
};

bool ip_vs_x_event_begin(struct ip_vs_x_event *e, struct net *net, u32 code)
{
	if (!genl_has_listeners(&x_family, net, 0))
		return false;
	e->net = net;
	e->skb = genlmsg_new(NLMSG_GOODSIZE, GFP_ATOMIC);
	if (!e->skb)
		return false;
	e->hdr = genlmsg_put(e->skb, 0, 0, &x_family, 0, IPVS_EXT_CMD_EVENT);
	if (e->hdr && !nla_put_u32(e->skb, IPVS_EXT_A_EVENT, code))
		return true;
	nlmsg_free(e->skb);
	return false;
}

void ip_vs_x_event_synproxy(struct ip_vs_service *svc, u32 code, u32 half_open)
{
	struct ip_vs_x_event e;
	struct nlattr *nest;

	if (!ip_vs_x_event_begin(&e, svc->ipvs->net, code))
		return;
	nest = x_put_svc(e.skb, svc) ? NULL : nla_nest_start(e.skb, IPVS_EXT_A_EXT);
	if (!nest || nla_put_u32(e.skb, IPVS_EXT_SVC_SP_HALF_OPEN, half_open)) {
		ip_vs_x_event_end(&e, -EMSGSIZE);
		return;
	}
	nla_nest_end(e.skb, nest);
	ip_vs_x_event_end(&e, 0);
}

void ip_vs_x_event_rs_fail(const struct ip_vs_service *svc, const struct ip_vs_dest *dest)
{
	struct ip_vs_x_event e;
	struct nlattr *nest;

	if (!ip_vs_x_event_begin(&e, svc->ipvs->net, IPVS_EXT_EVENT_RS_FAIL))
		return;
	nest = x_put_svc(e.skb, svc) ? NULL : nla_nest_start(e.skb, IPVS_EXT_A_DEST);
	if (!nest || nla_put(e.skb, IPVS_DEST_ATTR_ADDR, sizeof(dest->addr), &dest->addr) ||
	    nla_put_be16(e.skb, IPVS_DEST_ATTR_PORT, dest->port) ||
	    nla_put_u16(e.skb, IPVS_DEST_ATTR_ADDR_FAMILY, dest->af)) {
		ip_vs_x_event_end(&e, -EMSGSIZE);
		return;
	}
	nla_nest_end(e.skb, nest);
	ip_vs_x_event_end(&e, 0);
}

void ip_vs_x_event_end(struct ip_vs_x_event *e, int err)
{
	if (err) {
		nlmsg_free(e->skb);
		return;
	}
	genlmsg_end(e->skb, e->hdr);
	genlmsg_multicast_netns(&x_family, e->net, e->skb, 0, 0, GFP_ATOMIC);
}

int __init ip_vs_x_genl_init(void)
{
	return genl_register_family(&x_family);
}

void ip_vs_x_genl_cleanup(void)
{
	genl_unregister_family(&x_family);
}
