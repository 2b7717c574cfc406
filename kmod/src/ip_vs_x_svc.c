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
#include "ip_vs_x_rate.h"

#define X_TIMEOUT_MAX	1048576		/* seconds; in jiffies it fits everywhere */

static struct kmem_cache *x_cfg_cachep __read_mostly;

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

#define X_FIELD(_attr, _member) {					\
	.attr	= IPVS_EXT_SVC_##_attr,					\
	.size	= sizeof_field(struct ip_vs_x_svc_cfg, _member),	\
	.at	= offsetof(struct ip_vs_x_svc_cfg, _member),		\
}

const struct ip_vs_x_field ip_vs_x_fields[] = {
	X_FIELD(LADDR_SEL, sel),
	X_FIELD(TS_MODE, ts_mode),
	X_FIELD(MSS_CLAMP, mss_clamp),
	X_FIELD(TOA_KIND4, toa_kind4),
	X_FIELD(TOA_KIND6, toa_kind6),
	X_FIELD(SP_MSS, sp.mss),
	X_FIELD(SP_WSCALE, sp.wscale),
	X_FIELD(SP_WINDOW, sp.window),
	X_FIELD(SP_TTL, sp.ttl),
	X_FIELD(SP_SYN_RETRIES, sp.retries),
	X_FIELD(SP_QUEUE, sp.queue),
	X_FIELD(SP_AUTO_ON, sp.auto_on),
	X_FIELD(SP_AUTO_OFF, sp.auto_off),
	X_FIELD(INVALID, invalid),
	X_FIELD(TIMEOUT_EST, timeout_est),
	X_FIELD(CPS, cps),
	X_FIELD(CPS_BURST, cps_burst),
	X_FIELD(BPS_IN, bps_in),
	X_FIELD(BPS_OUT, bps_out),
	X_FIELD(CONN_LIMIT, conn_limit),
	X_FIELD(ACL_MODE, acl_mode),
};

const unsigned int ip_vs_x_n_fields = ARRAY_SIZE(ip_vs_x_fields);

static u32 x_masked(u32 old, const struct nla_bitfield32 *to)
{
	return (old & ~to->selector) | (to->value & to->selector);
}

static void x_apply(const struct ip_vs_service *svc, struct ip_vs_x_svc_cfg *cfg,
		    const struct ip_vs_x_svc_req *req)
{
	const struct ip_vs_x_field *f;
	u32 old = cfg->flags;

	cfg->flags = x_masked(old, &req->flags);
	cfg->sp.opts = x_masked(cfg->sp.opts, &req->sp_opts);
	cfg->seq_chosen |= !!(req->flags.selector & IPVS_EXT_SVC_F_SEQ);
	cfg->ts_chosen |= !!req->tb[IPVS_EXT_SVC_TS_MODE];
	for (f = ip_vs_x_fields; f < ip_vs_x_fields + ip_vs_x_n_fields; f++) {
		if (req->tb[f->attr])
			nla_memcpy((u8 *)cfg + f->at, req->tb[f->attr], f->size);
	}
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

/* A service by fwmark takes any protocol; its conns know theirs */
static bool x_tcp(const struct ip_vs_service *svc)
{
	return svc->fwmark || svc->protocol == IPPROTO_TCP;
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
	/* a client asks after a window of 0 with segments that have no data */
	if ((cfg->flags & IPVS_EXT_SVC_F_SP_DEFER) && !sp->window) {
		NL_SET_ERR_MSG(extack, "SP_DEFER waits for data, which SP_WINDOW 0 forbids");
		return -EINVAL;
	}
	if (!x_tcp(svc)) {
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

static int x_check_limits(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
			  struct netlink_ext_ack *extack)
{
	if (cfg->timeout_est > X_TIMEOUT_MAX) {
		NL_SET_ERR_MSG(extack, "TIMEOUT_EST is at most 1048576 seconds");
		return -ERANGE;
	}
	if (cfg->bps_in > IP_VS_X_RATE_MAX || cfg->bps_out > IP_VS_X_RATE_MAX) {
		NL_SET_ERR_MSG(extack, "BPS_IN and BPS_OUT are at most 10^12 bytes per second");
		return -ERANGE;
	}
	if (cfg->invalid != IPVS_EXT_INVALID_ACCEPT && !x_tcp(svc)) {
		NL_SET_ERR_MSG(extack, "INVALID is TCP only");
		return -EPROTONOSUPPORT;
	}
	if ((cfg->flags & IPVS_EXT_SVC_F_RST_ON_EXPIRE) && !x_tcp(svc)) {
		NL_SET_ERR_MSG(extack, "RST_ON_EXPIRE is TCP only");
		return -EPROTONOSUPPORT;
	}
	if (cfg->acl_mode == IPVS_EXT_ACL_OFF || (svc->af == AF_INET6 ? cfg->set6 : cfg->set4))
		return 0;
	X_ERR_FMT(extack, "ACL_MODE needs ACL_SET%d", svc->af == AF_INET6 ? 6 : 4);
	return -EINVAL;
}

/* What only the engine can do, so only for conns that it forwards */
static int x_check_forwarded(const struct ip_vs_x_svc_cfg *cfg, struct netlink_ext_ack *extack)
{
	const char *what = NULL;

	if (cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_SYNPROXY))
		return 0;
	if (cfg->bps_in || cfg->bps_out)
		what = "BPS_IN and BPS_OUT need";
	else if (cfg->timeout_est)
		what = "TIMEOUT_EST needs";
	else if (cfg->flags & IPVS_EXT_SVC_F_RST_ON_EXPIRE)
		what = "RST_ON_EXPIRE needs";
	if (!what)
		return 0;
	X_ERR_FMT(extack, "%s FNAT or SYNPROXY", what);
	return -EINVAL;
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
	ret = x_check_limits(svc, cfg, extack) ?: x_check_forwarded(cfg, extack);
	if (ret)
		return ret;
	if (cfg->mss_clamp && (cfg->mss_clamp < 88 || cfg->mss_clamp > 65495)) {
		NL_SET_ERR_MSG(extack, "MSS_CLAMP is 0 or 88 to 65495");
		return -ERANGE;
	}
	if ((cfg->flags & (IPVS_EXT_SVC_F_TOA | IPVS_EXT_SVC_F_TOA_SYN)) && !x_tcp(svc)) {
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
	struct ip_vs_x_svc_cfg *cfg = kmem_cache_zalloc(x_cfg_cachep, GFP_KERNEL);

	if (!cfg)
		return NULL;
	cfg->stats = alloc_percpu(struct ip_vs_x_stats);
	cfg->aut = ip_vs_x_auto_new(svc);
	if (!cfg->stats || !cfg->aut) {
		free_percpu(cfg->stats);
		kfree(cfg->aut);
		kmem_cache_free(x_cfg_cachep, cfg);
		return NULL;
	}
	cfg->toa_kind4 = IP_VS_X_TOA_KIND;
	cfg->toa_kind6 = IP_VS_X_TOA_KIND;
	cfg->sp = IP_VS_X_SP_DEFAULTS;
	return cfg;
}

static struct ip_vs_x_svc_cfg *x_cfg_copy(const struct ip_vs_x_svc_cfg *old)
{
	struct ip_vs_x_svc_cfg *cfg = kmem_cache_alloc(x_cfg_cachep, GFP_KERNEL);

	if (!cfg)
		return NULL;
	*cfg = *old;
	ip_vs_x_set_hold(cfg->set4);
	ip_vs_x_set_hold(cfg->set6);
	return cfg;
}

/* The last copy, with what all had in common */
static void x_cfg_free(struct ip_vs_x_svc_cfg *cfg)
{
	free_percpu(cfg->stats);
	ip_vs_x_auto_put(cfg->aut);
	ip_vs_x_limit_free(cfg->limit);
	kmem_cache_free(x_cfg_cachep, cfg);
}

static void x_cfg_rcu_free(struct rcu_head *head)
{
	x_cfg_free(container_of(head, struct ip_vs_x_svc_cfg, rcu_head));
}

/* A copy that others follow */
static void x_copy_free(struct ip_vs_x_svc_cfg *cfg)
{
	if (cfg->last_limit)
		ip_vs_x_limit_free(cfg->limit);
	kmem_cache_free(x_cfg_cachep, cfg);
}

static void x_copy_rcu_free(struct rcu_head *head)
{
	x_copy_free(container_of(head, struct ip_vs_x_svc_cfg, rcu_head));
}

/* One that was never published; old is what it was copied from */
static void x_cfg_abort(struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_x_svc_cfg *old)
{
	ip_vs_x_set_put(cfg->set4);
	ip_vs_x_set_put(cfg->set6);
	if (!old) {
		x_cfg_free(cfg);
		return;
	}
	cfg->last_limit = cfg->limit != old->limit;
	x_copy_free(cfg);
}

/* Does each packet of its conns have to look at the settings? */
static bool x_is_live(const struct ip_vs_x_svc_cfg *cfg)
{
	return cfg && (cfg->timeout_est || cfg->bps_in || cfg->bps_out ||
		       (cfg->flags & IPVS_EXT_SVC_F_RST_ON_EXPIRE));
}

/* Has it a word on TCP without a conn? */
static bool x_is_asked(const struct ip_vs_x_svc_cfg *cfg)
{
	return cfg && (cfg->invalid || (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY));
}

static bool x_is_proxied(const struct ip_vs_x_svc_cfg *cfg)
{
	return cfg && (cfg->flags & IPVS_EXT_SVC_F_SYNPROXY);
}

/* Keys are on while there is a service that needs them; old and cfg may be NULL */
static void x_count_keys(const struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *old,
			 const struct ip_vs_x_svc_cfg *cfg)
{
	bool was = x_is_live(old), is = x_is_live(cfg);

	if (is && !was)
		static_branch_inc(&ip_vs_x_live_key);
	else if (was && !is)
		static_branch_dec(&ip_vs_x_live_key);
	was = x_is_asked(old);
	is = x_is_asked(cfg);
	if (is && !was)
		static_branch_inc(&ip_vs_x_stray_key);
	else if (was && !is)
		static_branch_dec(&ip_vs_x_stray_key);
	was = x_is_proxied(old);
	is = x_is_proxied(cfg);
	if (was != is)
		ip_vs_x_early_count(svc, is);
}

/* Has a packet anything to ask the extension? */
static bool x_is_active(const struct ip_vs_x_svc_cfg *cfg)
{
	return (cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_SYNPROXY)) ||
	       cfg->invalid || cfg->acl_mode || cfg->cps || cfg->conn_limit;
}

/* Rates that changed begin with a full bucket; the others go on */
static int x_set_limit(struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_x_svc_cfg *old)
{
	if (old && cfg->cps == old->cps && cfg->cps_burst == old->cps_burst &&
	    cfg->bps_in == old->bps_in && cfg->bps_out == old->bps_out)
		return 0;
	cfg->limit = NULL;
	if (!cfg->cps && !cfg->bps_in && !cfg->bps_out)
		return 0;
	cfg->limit = ip_vs_x_limit_new(cfg);
	if (cfg->limit)
		return 0;
	cfg->limit = old ? old->limit : NULL;
	return -ENOMEM;
}

static int x_set_set(struct ip_vs_x_net *xnet, struct ip_vs_x_set **to, const struct nlattr *name,
		     u8 family, struct netlink_ext_ack *extack)
{
	struct ip_vs_x_set *set = NULL;

	if (!name)
		return 0;
	if (*(const char *)nla_data(name)) {
		set = ip_vs_x_set_get(xnet, name, family, extack);
		if (IS_ERR(set))
			return PTR_ERR(set);
	}
	ip_vs_x_set_put(*to);
	*to = set;
	return 0;
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
	if (x_is_active(cfg))
		static_branch_enable(&ip_vs_x_key);
	/* a reply to the client of a NAT service is found by the client's address */
	if ((cfg->flags & (IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_SYNPROXY)) ==
	    IPVS_EXT_SVC_F_SYNPROXY)
		WRITE_ONCE(ip_vs_x_net(svc->ipvs)->any_lip, true);
	ip_vs_x_auto_set(cfg->aut, cfg, old);
	x_count_keys(svc, old, cfg);
	rcu_assign_pointer(ip_vs_x_service(svc)->cfg, cfg);
	if (!old)
		return;
	if (old->lgroup)
		old->lgroup->refs--;
	ip_vs_x_set_put(old->set4);
	ip_vs_x_set_put(old->set6);
	old->last_limit = old->limit != cfg->limit;
	call_rcu(&old->rcu_head, x_copy_rcu_free);	/* its counters live on in cfg */
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
	cfg = old ? x_cfg_copy(old) : x_cfg_new(svc);
	if (!cfg)
		return -ENOMEM;
	if (req->lgroup)
		cfg->lgroup = lgroup;
	x_apply(svc, cfg, req);
	ret = x_set_set(xnet, &cfg->set4, req->tb[IPVS_EXT_SVC_ACL_SET4], NFPROTO_IPV4, extack) ?:
	      x_set_set(xnet, &cfg->set6, req->tb[IPVS_EXT_SVC_ACL_SET6], NFPROTO_IPV6, extack) ?:
	      x_check(svc, cfg, old, extack) ?: x_set_limit(cfg, old);
	if (!ret && x_is_proxied(cfg))
		ret = ip_vs_x_early_want(svc);
	if (ret) {
		x_cfg_abort(cfg, old);
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

	ip_vs_x_vip_del(svc);
	ip_vs_x_early_release(svc);
	if (!cfg)
		return;
	x_count_keys(svc, cfg, NULL);
	rcu_assign_pointer(ip_vs_x_service(svc)->cfg,
			   cfg->flags & IPVS_EXT_SVC_F_FNAT ? &x_gone : NULL);
	if (cfg->lgroup)
		cfg->lgroup->refs--;
	ip_vs_x_auto_stop(cfg->aut);
	ip_vs_x_set_put(cfg->set4);
	ip_vs_x_set_put(cfg->set6);
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

int ip_vs_x_svc_setup(void)
{
	x_cfg_cachep = kmem_cache_create("ip_vs_x_svc", sizeof(struct ip_vs_x_svc_cfg), 0, 0, NULL);
	return x_cfg_cachep ? 0 : -ENOMEM;
}

void ip_vs_x_svc_cleanup(void)
{
	kmem_cache_destroy(x_cfg_cachep);
}
