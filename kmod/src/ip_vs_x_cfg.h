/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Configuration, among main, laddr, svc and genl: what a request asks for,
 * and the functions that do it. All under ip_vs_x_cfg_lock(); all sleep; each
 * either does everything or changes nothing and says why in extack.
 */
#ifndef _IP_VS_X_CFG_H
#define _IP_VS_X_CFG_H

#include <linux/netlink.h>
#include "ip_vs_x.h"

/* What this version of the module can do, of IPVS_EXT_FEAT_* */
#define IP_VS_X_FEATURES	(IPVS_EXT_FEAT_FNAT | IPVS_EXT_FEAT_TOA | \
				 IPVS_EXT_FEAT_TS_MODE | IPVS_EXT_FEAT_MSS | \
				 IPVS_EXT_FEAT_GET_CONN | IPVS_EXT_FEAT_SYNPROXY | \
				 IPVS_EXT_FEAT_EVENTS | IPVS_EXT_FEAT_LIMITS | \
				 IPVS_EXT_FEAT_ACL | IPVS_EXT_FEAT_EXPIRE_RST | \
				 IPVS_EXT_FEAT_DEL_CONN | IPVS_EXT_FEAT_FLOOD | \
				 IPVS_EXT_FEAT_FORECAST | IPVS_EXT_FEAT_SP_EARLY)
/* and of IPVS_EXT_SVC_F_* */
#define IP_VS_X_SVC_FLAGS	(IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_TOA | \
				 IPVS_EXT_SVC_F_TOA_SYN | IPVS_EXT_SVC_F_SEQ | \
				 IPVS_EXT_SVC_F_EXHAUST_RST | IPVS_EXT_SVC_F_SYNPROXY | \
				 IPVS_EXT_SVC_F_SP_DEFER | IPVS_EXT_SVC_F_SP_AUTO | \
				 IPVS_EXT_SVC_F_RST_ON_EXPIRE)
/* and of IPVS_EXT_SP_OPT_* */
#define IP_VS_X_SP_OPTS		(IPVS_EXT_SP_OPT_SACK | IPVS_EXT_SP_OPT_TS)
/* Unless somebody says otherwise */
#define IP_VS_X_TOA_KIND	254
#define IP_VS_X_SP_QMEM		(16ULL << 20)	/* of a namespace */
#define IP_VS_X_SP_DEFAULTS	((struct ip_vs_x_sp_cfg) {	\
	.auto_on = 1024, .auto_off = 512, .window = 14600, .wscale = 7, \
	.opts = IPVS_EXT_SP_OPT_SACK, .ttl = 64, .retries = 3, .queue = 16, \
})

/* NEW_LADDR, SET_LADDR */
struct ip_vs_x_laddr_req {
	u16			af;
	union nf_inet_addr	addr;
	bool			has_range;
	u16			port_min;
	u16			port_max;
	const char		*cpus;		/* NULL: not said; "": all */
	struct nla_bitfield32	flags;
};

int ip_vs_x_laddr_add(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack);
int ip_vs_x_laddr_set(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack);
int ip_vs_x_laddr_del(struct ip_vs_x_net *xnet, struct ip_vs_x_lgroup *g,
		      const struct ip_vs_x_laddr_req *req, struct netlink_ext_ack *extack);
struct ip_vs_x_laddr *ip_vs_x_laddr_find(struct ip_vs_x_lgroup *g, u16 af,
					 const union nf_inet_addr *addr);
/* Of all CPUs; conns may be below 0 for a moment */
void ip_vs_x_laddr_sum(const struct ip_vs_x_laddr *la, struct ip_vs_x_laddr_cpu *sum);
/* Grows with every change of groups and addresses of any namespace */
unsigned int ip_vs_x_laddr_generation(void);

/* SET_SERVICE */
struct ip_vs_x_svc_req {
	struct nla_bitfield32	flags;
	struct nla_bitfield32	sp_opts;
	const char		*lgroup;	/* NULL: not said; "": detach */
	/* what the request names, validated; the others of ip_vs_x_fields and the sets */
	struct nlattr		*tb[IPVS_EXT_SVC_MAX + 1];
};

/*
 * A setting that is one number. It stands in the settings as in the attribute, so
 * that requests and replies are copies.
 */
struct ip_vs_x_field {
	u8	attr;	/* IPVS_EXT_SVC_* */
	u8	size;	/* bytes */
	u16	at;	/* in struct ip_vs_x_svc_cfg */
};

extern const struct ip_vs_x_field ip_vs_x_fields[];
extern const unsigned int ip_vs_x_n_fields;

int ip_vs_x_svc_set(struct ip_vs_x_net *xnet, struct ip_vs_service *svc,
		    const struct ip_vs_x_svc_req *req, struct netlink_ext_ack *extack);
struct ip_vs_x_svc_cfg *ip_vs_x_svc_cfg(struct ip_vs_service *svc);

/* Cookie keys; NULL: not said. A new key makes the old one the previous. */
int ip_vs_x_sp_set_keys(struct ip_vs_x_net *xnet, const u8 *key, const u8 *prev);

/*
 * ip_vs_x_early.c, all under ip_vs_x_cfg_lock(). want: the service is about to have
 * a SYN proxy; 0 or an errno. count: it has one, or has it no longer. release: it
 * goes.
 */
int ip_vs_x_early_want(const struct ip_vs_service *svc);
void ip_vs_x_early_count(const struct ip_vs_service *svc, bool on);
void ip_vs_x_early_release(struct ip_vs_service *svc);
/* CONFIG SP_EARLY */
int ip_vs_x_early_set(struct ip_vs_x_net *xnet, u8 mode);

/* ip_vs_x_limit.c */
struct ip_vs_x_limit *ip_vs_x_limit_new(const struct ip_vs_x_svc_cfg *cfg);
void ip_vs_x_limit_free(struct ip_vs_x_limit *l);
int ip_vs_x_limit_setup(void);
void ip_vs_x_limit_cleanup(void);

/* ip_vs_x_acl.c */

/* Before ip_vs_x_cfg_lock(): loads ip_set.ko if it can */
void ip_vs_x_acl_load(void);
/* A set of that family, or of any, with one user more; or ERR_PTR, and extack says why */
struct ip_vs_x_set *ip_vs_x_set_get(struct ip_vs_x_net *xnet, const struct nlattr *name, u8 family,
				    struct netlink_ext_ack *extack);
void ip_vs_x_set_hold(struct ip_vs_x_set *s);
void ip_vs_x_set_put(struct ip_vs_x_set *s);
const char *ip_vs_x_set_name(const struct ip_vs_x_set *s);
/* CONFIG DROP_VIP; ip_vs_x_cfg_lock() */
void ip_vs_x_set_drop_vip(struct ip_vs_x_net *xnet, bool on);
void ip_vs_x_vip_del(struct ip_vs_service *svc);
int ip_vs_x_acl_net_init(struct ip_vs_x_net *xnet);
void ip_vs_x_acl_net_exit(struct ip_vs_x_net *xnet);
int ip_vs_x_acl_setup(void);
void ip_vs_x_acl_cleanup(void);

/* ip_vs_x_ports.c */
struct ip_vs_x_uses *ip_vs_x_uses_new(u16 af);
struct ip_vs_x_uses *ip_vs_x_uses_hold(struct ip_vs_x_uses *u);
void ip_vs_x_uses_put(struct ip_vs_x_uses *u);
void ip_vs_x_uses_set_ports(struct ip_vs_x_uses *u, u32 ports);
/* The attributes IPVS_EXT_LGROUP_PORTS* and _RS_* of one, or of the fullest; 0 or -EMSGSIZE */
int ip_vs_x_uses_put_forecast(struct sk_buff *skb, const struct ip_vs_x_uses *u,
			      const struct ip_vs_x_use *use);
int ip_vs_x_uses_put_fullest(struct sk_buff *skb, struct ip_vs_x_uses *u);
int ip_vs_x_ports_setup(void);
void ip_vs_x_ports_cleanup(void);

/* ip_vs_x_svc.c, ip_vs_x_laddr.c: their slab caches */
int ip_vs_x_svc_setup(void);
void ip_vs_x_svc_cleanup(void);
int ip_vs_x_laddr_setup(void);
void ip_vs_x_laddr_cleanup(void);

/* ip_vs_x_trace.c: the word for a counter, or NULL: this module has none of that number */
const char *ip_vs_x_stat_name(unsigned int stat);

/* ip_vs_x_proc.c */
int ip_vs_x_proc_net_init(struct net *net);
void ip_vs_x_proc_net_exit(struct net *net);

void ip_vs_x_stats_zero(struct ip_vs_x_stats __percpu *stats);

#endif
