/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included at the end of ip_vs_core.c, which counts packets of clients in a
 * static function, and whose hooks are static, too.
 */
#include "ip_vs_x.h"

void ip_vs_x_in_stats(struct ip_vs_conn *cp, struct sk_buff *skb)
{
	ip_vs_in_stats(cp, skb);
}

bool ip_vs_x_hooks_alone(const struct net *net, int af, unsigned int hooknum)
{
	const struct nf_hook_entries *e = ip_vs_x_hooks(net, af, hooknum);

	return e && e->num_hook_entries == 2 && e->hooks[0].hook == ip_vs_out_hook &&
	       e->hooks[1].hook == ip_vs_in_hook;
}
