/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The end of ip_vs_xmit.c: its static routes for our transmitter.
 *
 * The stock function says only that it failed. Why, for the counters, shows in
 * the packet: it lowers the TTL after the test of the TTL and before that of
 * the MTU.
 */
static u8 ip_vs_x_ttl(const struct sk_buff *skb, int af)
{
	return af == AF_INET6 ? ipv6_hdr(skb)->hop_limit : ip_hdr(skb)->ttl;
}

int ip_vs_x_out_rt(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_iphdr *iph)
{
	const int mode = IP_VS_RT_MODE_LOCAL | IP_VS_RT_MODE_NON_LOCAL | IP_VS_RT_MODE_RDR;
	u8 ttl = ip_vs_x_ttl(skb, cp->af);
	int local;

	if (cp->af == AF_INET6)
		local = __ip_vs_get_out_rt_v6(cp->ipvs, cp->af, skb, cp->dest, &cp->daddr.in6,
					      NULL, iph, 0, mode);
	else
		local = __ip_vs_get_out_rt(cp->ipvs, cp->af, skb, cp->dest, cp->daddr.ip, mode,
					   NULL, iph);
	if (likely(local >= 0))
		return local;
	if (ip_vs_x_ttl(skb, cp->af) != ttl)
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_MTU_ICMP);
	else if (ttl <= 1)
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_TTL_ICMP);
	else
		ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_ROUTE_FAIL);
	return local;
}
