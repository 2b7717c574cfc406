/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included at the end of ip_vs_core.c, which counts packets of clients in a
 * static function.
 */
#include "ip_vs_x.h"

void ip_vs_x_in_stats(struct ip_vs_conn *cp, struct sk_buff *skb)
{
	ip_vs_in_stats(cp, skb);
}
