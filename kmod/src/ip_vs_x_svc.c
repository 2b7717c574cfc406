// SPDX-License-Identifier: GPL-2.0-only
/*
 * Settings of services: what SET_SERVICE may ask for, and the dests and the
 * end of a service as the stock side sees them. All under ip_vs_x_cfg_lock()
 * or, what comes from call-outs, under the same mutex taken by stock code.
 */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/slab.h>
#include "compat.h"
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"

/* NULL: made by a stock tool and never touched by ours */
struct ip_vs_x_svc_cfg *ip_vs_x_svc_cfg(struct ip_vs_service *svc)
{
	return rcu_dereference_protected(ip_vs_x_service(svc)->cfg, 1);
}

/* Defaults for what FNAT breaks otherwise; a choice of the user stands */
static void x_defaults(const struct ip_vs_service *svc, struct ip_vs_x_svc_cfg *cfg)
{
	if (svc->protocol != IPPROTO_TCP)
		return;
	if (!cfg->seq_chosen)
		cfg->flags |= IPVS_EXT_SVC_F_SEQ;
	if (!cfg->ts_chosen)
		cfg->ts_mode = IPVS_EXT_TS_STRIP;
}

static void x_apply_sp(struct ip_vs_x_sp_cfg *sp, const struct ip_vs_x_svc_req *req)
{
	const struct ip_vs_x_sp_cfg *to = &req->sp;
	u64 has = req->has_sp;

	sp->opts = (sp->opts & ~req->sp_opts.selector) |
		   (req->sp_opts.value & req->sp_opts.selector);
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_MSS))
		sp->mss = to->mss;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_WSCALE))
		sp->wscale = to->wscale;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_WINDOW))
		sp->window = to->window;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_TTL))
		sp->ttl = to->ttl;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_SYN_RETRIES))
		sp->retries = to->retries;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_QUEUE))
		sp->queue = to->queue;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_AUTO_ON))
		sp->auto_on = to->auto_on;
	if (has & BIT_ULL(IPVS_EXT_SVC_SP_AUTO_OFF))
		sp->auto_off = to->auto_off;
}

static void x_apply(const struct ip_vs_service *svc, struct ip_vs_x_svc_cfg *cfg,
		    const struct ip_vs_x_svc_req *req)
{
	u32 old = cfg->flags;

	cfg->flags = (old & ~req->flags.selector) | (req->flags.value & req->flags.selector);
	cfg->seq_chosen |= !!(req->flags.selector & IPVS_EXT_SVC_F_SEQ);
	cfg->ts_chosen |= req->has_ts_mode;
	if (req->has_sel)
		cfg->sel = req->sel;
	if (req->has_ts_mode)
		cfg->ts_mode = req->ts_mode;
	if (req->has_mss_clamp)
		cfg->mss_clamp = req->mss_clamp;
	if (req->has_toa_kind4)
		cfg->toa_kind4 = req->toa_kind4;
	if (req->has_toa_kind6)
		cfg->toa_kind6 = req->toa_kind6;
	x_apply_sp(&cfg->sp, req);
	if (cfg->flags & ~old & IPVS_EXT_SVC_F_FNAT)
		x_defaults(svc, cfg);
}

static int x_check_fnat(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
			const struct ip_vs_x_svc_cfg *old, struct netlink_ext_ack *extack)
{
	bool was_fnat = old && (old->flags & IPVS_EXT_SVC_F_FNAT);

	if (svc->protocol != IPPROTO_TCP && svc->protocol != IPPROTO_UDP) {
		NL_SET_ERR_MSG(extack, "FNAT supports TCP and UDP");
		return -EPROTONOSUPPORT;
	}
	if (svc->flags & IP_VS_SVC_F_ONEPACKET) {
		NL_SET_ERR_MSG(extack, "one-packet scheduling has no reply path for FNAT");
		return -EOPNOTSUPP;
	}
	if (svc->port == FTPPORT || rcu_access_pointer(svc->pe)) {
		NL_SET_ERR_MSG(extack, "not with application helpers");
		return -EOPNOTSUPP;
	}
	/* a group that ran empty later refuses conns, but not other settings */
	if (!cfg->lgroup ||
	    (!cfg->lgroup->n_laddrs && !(was_fnat && old->lgroup == cfg->lgroup))) {
		NL_SET_ERR_MSG(extack, "FNAT needs a local address group");
		return -EINVAL;
	}
	return 0;
}

static const char *x_method(unsigned int method)
{
	switch (method) {
	case IP_VS_CONN_F_MASQ:
		return NULL;
	case IP_VS_CONN_F_LOCALNODE:
		return "LOCALNODE";
	case IP_VS_CONN_F_TUNNEL:
		return "TUN";
	case IP_VS_CONN_F_DROUTE:
		return "DR";
	}
	return "BYPASS";
}

/* The replies of such a dest pass us by, so nobody would shift their sequence */
static int x_check_dests(const struct ip_vs_service *svc, struct netlink_ext_ack *extack)
{
	struct ip_vs_dest *dest;
	const char *method;

	list_for_each_entry(dest, &svc->destinations, n_list) {
		method = x_method(IP_VS_DFWD_METHOD(dest));
		if (!method)
			continue;
		if (dest->af == AF_INET6)
			X_ERR_FMT(extack,
				  "SYNPROXY needs NAT or FNAT destinations: dest [%pI6c]:%u is %s",
				  &dest->addr.in6, ntohs(dest->port), method);
		else
			X_ERR_FMT(extack,
				  "SYNPROXY needs NAT or FNAT destinations: dest %pI4:%u is %s",
				  &dest->addr.ip, ntohs(dest->port), method);
		return -EOPNOTSUPP;
	}
	return 0;
}

static int x_check_sp(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		      struct netlink_ext_ack *extack)
{
	const struct ip_vs_x_sp_cfg *sp = &cfg->sp;

	if (sp->mss && (sp->mss < 88 || sp->mss > 65495)) {
		NL_SET_ERR_MSG(extack, "SP_MSS is 0 or 88 to 65495");
		return -ERANGE;
	}
	if (sp->wscale > 14 && sp->wscale != IPVS_EXT_SP_WSCALE_OFF) {
		NL_SET_ERR_MSG(extack, "SP_WSCALE is 0 to 14, or 255 for none");
		return -ERANGE;
	}
	if (sp->opts & IPVS_EXT_SP_OPT_ECN) {
		NL_SET_ERR_MSG(extack, "a cookie has no room for ECN");
		return -EOPNOTSUPP;
	}
	if (sp->auto_off >= sp->auto_on) {
		NL_SET_ERR_MSG(extack, "SP_AUTO_OFF must be less than SP_AUTO_ON");
		return -EINVAL;
	}
	if (!(cfg->flags & IPVS_EXT_SVC_F_SYNPROXY)) {
		if (!(cfg->flags & (IPVS_EXT_SVC_F_SP_DEFER | IPVS_EXT_SVC_F_SP_AUTO)))
			return 0;
		NL_SET_ERR_MSG(extack, "SP_DEFER and SP_AUTO need SYNPROXY");
		return -EINVAL;
	}
	if (!svc->fwmark && svc->protocol != IPPROTO_TCP) {
		NL_SET_ERR_MSG(extack, "SYNPROXY is TCP only");
		return -EPROTONOSUPPORT;
	}
	if (svc->flags & IP_VS_SVC_F_ONEPACKET) {
		NL_SET_ERR_MSG(extack, "one-packet scheduling has no reply path for SYNPROXY");
		return -EOPNOTSUPP;
	}
	if (svc->port == FTPPORT || rcu_access_pointer(svc->pe)) {
		NL_SET_ERR_MSG(extack, "not with application helpers");
		return -EOPNOTSUPP;
	}
	return x_check_dests(svc, extack);
}

/* The settings as they would be, whatever the request changed */
static int x_check(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		   const struct ip_vs_x_svc_cfg *old, struct netlink_ext_ack *extack)
{
	int ret;

	if (cfg->lgroup && cfg->lgroup->af != svc->af) {
		X_ERR_FMT(extack, "local address group is %s, service is %s",
			  cfg->lgroup->af == AF_INET6 ? "IPv6" : "IPv4",
			  svc->af == AF_INET6 ? "IPv6" : "IPv4");
		return -EAFNOSUPPORT;
	}
	if (cfg->mss_clamp && (cfg->mss_clamp < 88 || cfg->mss_clamp > 65495)) {
		NL_SET_ERR_MSG(extack, "MSS_CLAMP is 0 or 88 to 65495");
		return -ERANGE;
	}
	/* a service by fwmark takes any protocol; its conns know theirs */
	if ((cfg->flags & (IPVS_EXT_SVC_F_TOA | IPVS_EXT_SVC_F_TOA_SYN)) && !svc->fwmark &&
	    svc->protocol != IPPROTO_TCP) {
		NL_SET_ERR_MSG(extack, "TOA is TCP only");
		return -EPROTONOSUPPORT;
	}
	if ((cfg->flags & IPVS_EXT_SVC_F_TOA_SYN) && !(cfg->flags & IPVS_EXT_SVC_F_TOA)) {
		NL_SET_ERR_MSG(extack, "TOA_SYN needs TOA");
		return -EINVAL;
	}
	ret = x_check_sp(svc, cfg, extack);
	if (ret)
		return ret;
	if (cfg->flags & IPVS_EXT_SVC_F_FNAT)
		return x_check_fnat(svc, cfg, old, extack);
	if (cfg->flags & IPVS_EXT_SVC_F_TOA) {
		NL_SET_ERR_MSG(extack, "TOA needs FNAT");
		return -EINVAL;
	}
	return 0;
}

static struct ip_vs_x_svc_cfg *x_cfg_new(struct ip_vs_service *svc)
{
	struct ip_vs_x_svc_cfg *cfg = kzalloc(sizeof(*cfg), GFP_KERNEL);

	if (!cfg)
		return NULL;
	cfg->stats = alloc_percpu(struct ip_vs_x_stats);
	cfg->aut = ip_vs_x_auto_new(svc);
	if (!cfg->stats || !cfg->aut) {
		free_percpu(cfg->stats);
		kfree(cfg->aut);
		kfree(cfg);
		return NULL;
	}
	cfg->toa_kind4 = IP_VS_X_TOA_KIND;
	cfg->toa_kind6 = IP_VS_X_TOA_KIND;
	cfg->sp = IP_VS_X_SP_DEFAULTS;
	return cfg;
}

static void x_cfg_free(struct ip_vs_x_svc_cfg *cfg)
{
	free_percpu(cfg->stats);
	ip_vs_x_auto_put(cfg->aut);
	kfree(cfg);
}

static void x_cfg_rcu_free(struct rcu_head *head)
{
	x_cfg_free(container_of(head, struct ip_vs_x_svc_cfg, rcu_head));
}

/*
 * Conns of dest keep what they were made with; new ones see all of the new
 * settings or all of the old.
 */
static void x_publish(struct ip_vs_service *svc, struct ip_vs_x_svc_cfg *cfg,
		      struct ip_vs_x_svc_cfg *old)
{
	if (cfg->lgroup)
		cfg->lgroup->refs++;
	if (cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_SYNPROXY))
		static_branch_enable(&ip_vs_x_key);
	/* a reply to the client of a NAT service is found by the client's address */
	if ((cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_SYNPROXY)) ==
	    IPVS_EXT_SVC_F_SYNPROXY)
		WRITE_ONCE(ip_vs_x_net(svc->ipvs)->any_lip, true);
	ip_vs_x_auto_set(cfg->aut, cfg);
	rcu_assign_pointer(ip_vs_x_service(svc)->cfg, cfg);
	if (!old)
		return;
	if (old->lgroup)
		old->lgroup->refs--;
	kfree_rcu(old, rcu_head);	/* its counters live on in cfg */
}

int ip_vs_x_svc_set(struct ip_vs_x_net *xnet, struct ip_vs_service *svc,
		    const struct ip_vs_x_svc_req *req, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_svc_cfg *old = ip_vs_x_svc_cfg(svc), *cfg;
	struct ip_vs_x_lgroup *lgroup = NULL;
	int ret;

	if (req->lgroup && *req->lgroup) {
		lgroup = ip_vs_x_lgroup_find(xnet, req->lgroup);
		if (!lgroup) {
			NL_SET_ERR_MSG(extack, "no such local address group");
			return -ENOENT;
		}
	}
	cfg = old ? kmemdup(old, sizeof(*old), GFP_KERNEL) : x_cfg_new(svc);
	if (!cfg)
		return -ENOMEM;
	if (req->lgroup)
		cfg->lgroup = lgroup;
	x_apply(svc, cfg, req);
	ret = x_check(svc, cfg, old, extack);
	if (ret) {
		if (old)
			kfree(cfg);
		else
			x_cfg_free(cfg);
		return ret;
	}
	x_publish(svc, cfg, old);
	return 0;
}

/*
 * A packet may have found the service before it was unhashed and make its conn
 * after this. It must not leave as plain NAT: it meets settings whose group
 * has no address, and is refused.
 */
static DEFINE_PER_CPU(struct ip_vs_x_stats, x_gone_stats);
static struct ip_vs_x_lgroup x_gone_lgroup;
static struct ip_vs_x_svc_cfg x_gone = {
	.flags	= IPVS_EXT_SVC_F_FNAT,
	.lgroup	= &x_gone_lgroup,
	.sel	= IPVS_EXT_SEL_SRC,	/* the one that needs nothing of the group */
	.stats	= &x_gone_stats,
};

void ip_vs_x_svc_release(struct ip_vs_service *svc)
{
	struct ip_vs_x_svc_cfg *cfg = ip_vs_x_svc_cfg(svc);

	if (!cfg)
		return;
	rcu_assign_pointer(ip_vs_x_service(svc)->cfg,
			   cfg->flags & IPVS_EXT_SVC_F_FNAT ? &x_gone : NULL);
	if (cfg->lgroup)
		cfg->lgroup->refs--;
	ip_vs_x_auto_stop(cfg->aut);
	call_rcu(&cfg->rcu_head, x_cfg_rcu_free);
}

/*
 * Tools of other FNATs ask for a forwarding method that stock ip_vs would
 * accept and then drop every packet of.
 */
int ip_vs_x_check_dest(struct ip_vs_service *svc, const struct ip_vs_dest_user_kern *udest)
{
	unsigned int method = udest->conn_flags & IP_VS_CONN_F_FWD_MASK;
	const struct ip_vs_x_svc_cfg *cfg = ip_vs_x_svc_cfg(svc);

	if (method && method <= IP_VS_CONN_F_BYPASS && cfg &&
	    (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY))
		return -EOPNOTSUPP;
	if (method <= IP_VS_CONN_F_BYPASS)
		return 0;
	pr_warn_ratelimited("forwarding method %u refused: FNAT is a setting of the service, see family IPVS_EXT\n",
			    method);
	return -EINVAL;
}
