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
				 IPVS_EXT_FEAT_GET_CONN)
/* and of IPVS_EXT_SVC_F_* */
#define IP_VS_X_SVC_FLAGS	(IPVS_EXT_SVC_F_FNAT | IPVS_EXT_SVC_F_TOA | \
				 IPVS_EXT_SVC_F_TOA_SYN | IPVS_EXT_SVC_F_SEQ | \
				 IPVS_EXT_SVC_F_EXHAUST_RST)
#define IP_VS_X_TOA_KIND	254	/* unless the service says otherwise */

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
};

int ip_vs_x_svc_set(struct ip_vs_x_net *xnet, struct ip_vs_service *svc,
		    const struct ip_vs_x_svc_req *req, struct netlink_ext_ack *extack);
struct ip_vs_x_svc_cfg *ip_vs_x_svc_cfg(struct ip_vs_service *svc);

void ip_vs_x_stats_zero(struct ip_vs_x_stats __percpu *stats);

#endif
