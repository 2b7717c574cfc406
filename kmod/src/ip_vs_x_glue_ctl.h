/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included at the end of ip_vs_ctl.c, which keeps the services and, up to 6.1,
 * the mutex of all configuration to itself.
 */
#include "ip_vs_x.h"

void ip_vs_x_cfg_lock(void)
{
	mutex_lock(&__ip_vs_mutex);
}

void ip_vs_x_cfg_unlock(void)
{
	mutex_unlock(&__ip_vs_mutex);
}

/* The service stays valid while the caller holds ip_vs_x_cfg_lock() */
struct ip_vs_service *ip_vs_x_svc_find(struct netns_ipvs *ipvs, int af, u32 fwmark, u16 protocol,
				       const union nf_inet_addr *addr, __be16 port)
{
	struct ip_vs_service *svc;

	lockdep_assert_held(&__ip_vs_mutex);
	rcu_read_lock();
	if (fwmark)
		svc = __ip_vs_svc_fwm_find(ipvs, af, fwmark);
	else
		svc = __ip_vs_service_find(ipvs, af, protocol, addr, port);
	rcu_read_unlock();
	return svc;
}

int ip_vs_x_svc_walk(struct netns_ipvs *ipvs,
		     int (*fn)(struct ip_vs_service *svc, void *arg), void *arg)
{
	struct ip_vs_service *svc;
	int i, ret;

	lockdep_assert_held(&__ip_vs_mutex);
	for (i = 0; i < IP_VS_SVC_TAB_SIZE; i++) {
		hlist_for_each_entry(svc, &ip_vs_svc_table[i], s_list) {
			ret = svc->ipvs == ipvs ? fn(svc, arg) : 0;
			if (ret < 0)
				return ret;
		}
	}
	for (i = 0; i < IP_VS_SVC_TAB_SIZE; i++) {
		hlist_for_each_entry(svc, &ip_vs_svc_fwm_table[i], f_list) {
			ret = svc->ipvs == ipvs ? fn(svc, arg) : 0;
			if (ret < 0)
				return ret;
		}
	}
	return 0;
}
