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
				 IPVS_EXT_FEAT_EVENTS)
/* and of IPVS_EXT_SVC_F_* */
#define IP_VS_X_SVC_FLAGS	(IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_TOA | \
				 IPVS_EXT_SVC_F_TOA_SYN | IPVS_EXT_SVC_F_SEQ | \
				 IPVS_EXT_SVC_F_EXHAUST_RST | IPVS_EXT_SVC_F_SYNPROXY | \
				 IPVS_EXT_SVC_F_SP_DEFER | IPVS_EXT_SVC_F_SP_AUTO)
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
/* Grows with every change of groups and addresses of any namespace */
unsigned int ip_vs_x_laddr_generation(void);

/* SET_SERVICE; the has_ fields say what the request names */
struct ip_vs_x_svc_req {
	struct nla_bitfield32	flags;
	const char		*lgroup;	/* NULL: not said; "": detach */
	bool			has_sel;
	bool			has_ts_mode;
	bool			has_mss_clamp;
	bool			has_toa_kind4;
	bool			has_toa_kind6;
	u8			sel;
	u8			ts_mode;
	u16			mss_clamp;
	u8			toa_kind4;
	u8			toa_kind6;
	/* of sp, those that has_sp names by IPVS_EXT_SVC_SP_*; opts is apart */
	u64			has_sp;
	struct ip_vs_x_sp_cfg	sp;
	struct nla_bitfield32	sp_opts;
};

int ip_vs_x_svc_set(struct ip_vs_x_net *xnet, struct ip_vs_service *svc,
		    const struct ip_vs_x_svc_req *req, struct netlink_ext_ack *extack);
struct ip_vs_x_svc_cfg *ip_vs_x_svc_cfg(struct ip_vs_service *svc);

/* Cookie keys; NULL: not said. A new key makes the old one the previous. */
int ip_vs_x_sp_set_keys(struct ip_vs_x_net *xnet, const u8 *key, const u8 *prev);

void ip_vs_x_stats_zero(struct ip_vs_x_stats __percpu *stats);

#endif
