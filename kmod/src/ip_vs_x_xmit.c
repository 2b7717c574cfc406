// SPDX-License-Identifier: GPL-2.0-only
/*
 * The engine: requests to real servers, replies to clients, both families.
 *
 * Both ways the order is: look at the packet, find the route, test TTL and MTU
 * (the ICMP error for the sender quotes the packet as he sent it), make the
 * headers writable, rewrite them with one checksum difference, send.
 *
 * Runs below netfilter hooks, under RCU. A reply needs no ref on its route:
 * skbs get it with skb_dst_set_noref() and whoever queues them takes one.
 */
#include <linux/netfilter.h>
#include <net/icmp.h>
#include <net/ip.h>
#include <net/ip6_route.h>
#include <net/ipv6.h>
#include <net/route.h>
#include <net/tcp.h>
#include <net/udp.h>
#include "ip_vs_x_pkt.h"

int ip_vs_x_drop(struct sk_buff *skb, const struct ip_vs_conn *cp, unsigned int stat)
{
	ip_vs_x_drop_conn(cp, stat);
	kfree_skb(skb);
	return NF_STOLEN;
}

/* Not tracked: to conntrack both halves of an X conn would be strangers */
static void ip_vs_x_mark(struct sk_buff *skb)
{
	skb->ipvs_property = 1;
	nf_reset_ct(skb);
	nf_ct_set(skb, NULL, IP_CT_UNTRACKED);
	/* a socket found by early demux belongs to the old addresses */
	if (skb->dev)
		skb_orphan(skb);
}

int ip_vs_x_send(struct netns_ipvs *ipvs, int af, struct sk_buff *skb)
{
	ip_vs_x_mark(skb);
	if (skb->dev)
		skb_clear_tstamp(skb);
	skb_forward_csum(skb);
	/* ip_vs' own hooks pass what is marked */
	if (likely(ip_vs_x_hooks_alone(ipvs->net, af, NF_INET_LOCAL_OUT))) {
		dst_output(ipvs->net, NULL, skb);
		return NF_STOLEN;
	}
	NF_HOOK(af == AF_INET6 ? NFPROTO_IPV6 : NFPROTO_IPV4, NF_INET_LOCAL_OUT, ipvs->net, NULL,
		skb, NULL, skb_dst_dev_rcu(skb), dst_output);
	return NF_STOLEN;
}

static struct dst_entry *ip_vs_x_route4(struct net *net, u8 protocol, __be32 daddr, __be32 saddr,
					__be16 dport, __be16 sport)
{
	struct flowi4 fl4 = {
		.daddr = daddr, .saddr = saddr, .flowi4_proto = protocol,
		.fl4_dport = dport, .fl4_sport = sport,
		.flowi4_flags = FLOWI_FLAG_ANYSRC,	/* a vip need not be local */
	};
	struct rtable *rt = __ip_route_output_key(net, &fl4);

	if (IS_ERR(rt))
		return NULL;
	if (rt->rt_flags & (RTCF_BROADCAST | RTCF_MULTICAST)) {
		ip_rt_put(rt);
		return NULL;
	}
	return &rt->dst;
}

static struct dst_entry *ip_vs_x_route6(struct net *net, u8 protocol, const struct in6_addr *daddr,
					const struct in6_addr *saddr, __be16 dport, __be16 sport)
{
	struct flowi6 fl6 = {
		.daddr = *daddr, .saddr = *saddr, .flowi6_proto = protocol,
		.fl6_dport = dport, .fl6_sport = sport,
		.flowi6_flags = FLOWI_FLAG_ANYSRC,
	};
	struct dst_entry *dst = ip6_route_output(net, NULL, &fl6);

	if (!dst->error)
		return dst;
	dst_release(dst);
	return NULL;
}

struct dst_entry *ip_vs_x_route(struct net *net, int af, u8 protocol,
				const union nf_inet_addr *daddr, const union nf_inet_addr *saddr,
				__be16 dport, __be16 sport)
{
	if (af == AF_INET6)
		return ip_vs_x_route6(net, protocol, &daddr->in6, &saddr->in6, dport, sport);
	return ip_vs_x_route4(net, protocol, daddr->ip, saddr->ip, dport, sport);
}

bool ip_vs_x_dst_local(int af, const struct dst_entry *dst)
{
	if (af == AF_INET6)
		return dst_dev_rcu(dst)->flags & IFF_LOOPBACK;
	return dst_rtable(dst)->rt_flags & RTCF_LOCAL;
}

/*
 * Replaces the cached route. The old one is only let go of: its memory stays
 * until a grace period is over, so readers under RCU may finish with it, and
 * whoever wants a ref on it gets one only while there is one. The conn cannot
 * be unlinked meanwhile, our caller holds a ref on it.
 */
static struct dst_entry *ip_vs_x_client_route(struct ip_vs_x_conn *x)
{
	const struct ip_vs_conn *cp = &x->c;
	struct dst_entry *dst = ip_vs_x_route(cp->ipvs->net, cp->af, cp->protocol, &cp->caddr,
					      &cp->vaddr, cp->cport, cp->vport);

	if (!dst)
		goto fail;
	/* such a route would outlive the device's going down; and nothing gets out */
	if (!netif_running(dst_dev_rcu(dst))) {
		dst_release(dst);
		goto fail;
	}
	if (cp->af == AF_INET6)
		WRITE_ONCE(x->out_cookie, rt6_get_cookie(dst_rt6_info(dst)));
	dst_release(unrcu_pointer(xchg(&x->out_dst, RCU_INITIALIZER(dst))));
	return dst;
fail:
	ip_vs_x_drop_conn(cp, IPVS_EXT_STAT_ROUTE_FAIL);
	return NULL;
}

struct dst_entry *ip_vs_x_client_dst(struct ip_vs_x_conn *x)
{
	struct dst_entry *dst = rcu_dereference(x->out_dst);

	if (likely(dst && dst_check(dst, READ_ONCE(x->out_cookie))))
		return dst;
	return ip_vs_x_client_route(x);
}

/*
 * A packet put together from fragments may be taken apart again, into none
 * larger than they were; DF then speaks of the fragments.
 */
static bool ip_vs_x_too_big(struct sk_buff *skb, int af, unsigned int mtu)
{
	unsigned int frag = af == AF_INET6 ? IP6CB(skb)->frag_max_size : IPCB(skb)->frag_max_size;

	if (af == AF_INET && !(ip_hdr(skb)->frag_off & htons(IP_DF)))
		return false;
	if (unlikely(frag)) {
		skb->ignore_df = 1;
		return frag > mtu;
	}
	return skb->len > mtu && !(skb_is_gso(skb) && skb_gso_validate_network_len(skb, mtu));
}

static void ip_vs_x_icmp_error(struct sk_buff *skb, struct ip_vs_conn *cp, unsigned int stat,
			       unsigned int mtu)
{
	ip_vs_x_drop_conn(cp, stat);
	if (cp->af == AF_INET6) {
		if (!skb->dev)
			skb->dev = cp->ipvs->net->loopback_dev;
		if (mtu)
			icmpv6_send(skb, ICMPV6_PKT_TOOBIG, 0, mtu);
		else
			icmpv6_send(skb, ICMPV6_TIME_EXCEED, ICMPV6_EXC_HOPLIMIT, 0);
		return;
	}
	if (mtu)
		icmp_send(skb, ICMP_DEST_UNREACH, ICMP_FRAG_NEEDED, htonl(mtu));
	else
		icmp_send(skb, ICMP_TIME_EXCEEDED, ICMP_EXC_TTL, 0);
}

bool ip_vs_x_may_forward(struct sk_buff *skb, struct ip_vs_conn *cp, const struct dst_entry *dst,
			 unsigned int hooknum)
{
	unsigned int mtu;
	u8 ttl;

	if (ip_vs_x_dst_local(cp->af, dst))
		return true;
	/* at FORWARD the TTL is tested and lowered already; our own have no hop yet */
	if (hooknum == NF_INET_LOCAL_IN) {
		ttl = cp->af == AF_INET6 ? ipv6_hdr(skb)->hop_limit : ip_hdr(skb)->ttl;
		if (unlikely(ttl <= 1)) {
			ip_vs_x_icmp_error(skb, cp, IPVS_EXT_STAT_TTL_ICMP, 0);
			return false;
		}
	}
	mtu = dst_mtu(dst);
	if (unlikely(ip_vs_x_too_big(skb, cp->af, mtu))) {
		ip_vs_x_icmp_error(skb, cp, IPVS_EXT_STAT_MTU_ICMP, mtu);
		return false;
	}
	return true;
}

bool ip_vs_x_writable(struct sk_buff *skb, const struct dst_entry *dst, unsigned int len,
		      unsigned int more)
{
	return !skb_ensure_writable(skb, len) &&
	       !skb_cow_head(skb, LL_RESERVED_SPACE(dst_dev_rcu(dst)) + more);
}

void ip_vs_x_set_addrs(void *h, int af, const union nf_inet_addr *saddr,
		       const union nf_inet_addr *daddr)
{
	if (af == AF_INET6) {
		struct ipv6hdr *ih = h;

		ih->saddr = saddr->in6;
		ih->daddr = daddr->in6;
	} else {
		struct iphdr *ih = h;

		ih->saddr = saddr->ip;
		ih->daddr = daddr->ip;
		ip_send_check(ih);
	}
}

unsigned int ip_vs_x_to_client(struct sk_buff *skb, struct ip_vs_conn *cp, struct dst_entry *dst,
			       unsigned int hooknum)
{
	bool local = ip_vs_x_dst_local(cp->af, dst);

	if (!local && hooknum == NF_INET_LOCAL_IN) {
		if (cp->af == AF_INET6)
			ipv6_hdr(skb)->hop_limit--;
		else
			ip_hdr(skb)->ttl--;
	}
	ip_vs_x_set_addrs(skb_network_header(skb), cp->af, &cp->vaddr, &cp->caddr);
	/* this far up already: the client's socket is looked for behind us */
	if (local && hooknum == NF_INET_LOCAL_IN) {
		ip_vs_x_mark(skb);
		return NF_ACCEPT;
	}
	skb_dst_drop(skb);
	skb_dst_set_noref(skb, dst);
	return ip_vs_x_send(cp->ipvs, cp->af, skb);
}

int ip_vs_x_to_rs(struct sk_buff *skb, struct ip_vs_conn *cp, int local)
{
	if (local) {
		ip_vs_x_mark(skb);
		return NF_ACCEPT;
	}
	return ip_vs_x_send(cp->ipvs, cp->af, skb);
}

bool ip_vs_x_martian_rs(const struct sk_buff *skb, const struct ip_vs_conn *cp)
{
	if (!skb->dev || skb->dev->flags & IFF_LOOPBACK)
		return false;
	return cp->af == AF_INET6 ? ipv6_addr_loopback(&cp->daddr.in6) :
				    ipv4_is_loopback(cp->daddr.ip);
}

/* Bytes of the transport header, its options included; 0: there are not as many */
static unsigned int ip_vs_x_l4_len(const struct sk_buff *skb, const struct ip_vs_conn *cp,
				   const struct ip_vs_iphdr *iph)
{
	unsigned int len = sizeof(struct udphdr);
	struct tcphdr _th, *th;

	/* not the first fragment: what found the conn were no ports */
	if (iph->fragoffs)
		return 0;
	if (cp->protocol == IPPROTO_TCP) {
		th = skb_header_pointer(skb, iph->len, sizeof(_th), &_th);
		if (!th || th->doff < 5)
			return 0;
		len = th->doff * 4;
	}
	return iph->len + len <= skb->len ? len : 0;
}

/* Ports, TCP's own numbers and the checksum; from and to are the old and new addresses */
static void ip_vs_x_rewrite(struct sk_buff *skb, const struct ip_vs_conn *cp,
			    const struct ip_vs_iphdr *iph, const struct ip_vs_x_edit *e,
			    const union nf_inet_addr *saddr, const union nf_inet_addr *daddr)
{
	bool v6 = cp->af == AF_INET6, partial = skb->ip_summed == CHECKSUM_PARTIAL;
	void *l4 = skb->data + iph->len;
	__wsum pseudo;

	pseudo = ip_vs_x_sum_addr(0, v6, &iph->saddr, saddr);
	pseudo = ip_vs_x_sum_addr(pseudo, v6, &iph->daddr, daddr);
	if (cp->protocol == IPPROTO_TCP) {
		struct tcphdr *th = l4;

		th->check = ip_vs_x_check(th->check, partial, pseudo, ip_vs_x_tcp_edit(th, e, 0));
	} else {
		struct udphdr *uh = l4;
		__wsum rest = ip_vs_x_sum4(0, *(__be32 *)uh, e->ports);

		uh->source = e->source;
		uh->dest = e->dest;
		uh->check = ip_vs_x_check_udp(uh->check, partial, pseudo, rest);
	}
	if (skb->ip_summed == CHECKSUM_COMPLETE)
		skb->ip_summed = CHECKSUM_NONE;
}

int ip_vs_x_xmit(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_protocol *pp,
		 struct ip_vs_iphdr *iph)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	struct ip_vs_x_edit e = { .source = x->lport, .dest = cp->dport };
	bool tcp = cp->protocol == IPPROTO_TCP;
	unsigned int len;
	int local;

	if (unlikely(ip_vs_iph_icmp(iph)))
		return ip_vs_x_icmp_in(skb, cp, iph);
	if (unlikely(skb_warn_if_lro(skb)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_LRO_DROP);
	len = ip_vs_x_l4_len(skb, cp, iph);
	if (unlikely(!len))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);

	if (unlikely(!ip_vs_x_live(skb, cp, IP_VS_X_LIMIT_IN)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BPS_DROP);

	local = ip_vs_x_out_rt(skb, cp, iph);
	if (unlikely(local < 0)) {
		kfree_skb(skb);		/* counted there */
		return NF_STOLEN;
	}
	if (unlikely(local && ip_vs_x_martian_rs(skb, cp)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_ROUTE_FAIL);
	if (unlikely(!ip_vs_x_writable(skb, skb_dst(skb), iph->len + len,
				       ip_vs_x_toa_active(x) ? IP_VS_X_TOA_LEN6 : 0)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_MEM);

	if (tcp)
		ip_vs_x_tcp_request(x, (struct tcphdr *)(skb->data + iph->len), &e);
	ip_vs_x_rewrite(skb, cp, iph, &e, &x->laddr, &cp->daddr);
	ip_vs_x_set_addrs(skb_network_header(skb), cp->af, &x->laddr, &cp->daddr);
	if (tcp)
		local = ip_vs_x_toa(skb, x, iph->len, local);
	return ip_vs_x_to_rs(skb, cp, local);
}

/*
 * ip_vs's own lookup knows conns that it does not take for NAT by vip->cip,
 * too. What is found so comes from this host, an ICMP error about a request
 * say, and is addressed as it must be.
 */
bool ip_vs_x_is_reply(const struct ip_vs_conn *cp, const union nf_inet_addr *rs,
		      const union nf_inet_addr *lip)
{
	return ip_vs_addr_equal(cp->af, rs, &cp->daddr) &&
	       ip_vs_addr_equal(cp->af, lip, &container_of(cp, struct ip_vs_x_conn, c)->laddr);
}

unsigned int ip_vs_x_pass(struct sk_buff *skb)
{
	skb->ipvs_property = 1;
	ip_vs_notrack(skb);
	return NF_ACCEPT;
}

static unsigned int ip_vs_x_reply(struct sk_buff *skb, struct ip_vs_conn *cp,
				  struct ip_vs_iphdr *iph, unsigned int hooknum)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	struct ip_vs_x_edit e = { .source = cp->vport, .dest = cp->cport };
	struct dst_entry *dst;
	unsigned int len;

	if (unlikely(!ip_vs_x_is_reply(cp, &iph->saddr, &iph->daddr)))
		return ip_vs_x_pass(skb);
	if (unlikely(skb_warn_if_lro(skb)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_LRO_DROP);
	len = ip_vs_x_l4_len(skb, cp, iph);
	if (unlikely(!len))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
	if (unlikely(!ip_vs_x_live(skb, cp, IP_VS_X_LIMIT_OUT)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BPS_DROP);
	/* pairs with the release of who ended the handshake: its deltas are there */
	if (unlikely(smp_load_acquire(&x->sp)) && ip_vs_x_sp_reply(cp, skb, iph))
		return NF_STOLEN;
	dst = ip_vs_x_client_dst(x);
	if (unlikely(!dst || !ip_vs_x_may_forward(skb, cp, dst, hooknum))) {
		kfree_skb(skb);
		return NF_STOLEN;
	}
	if (unlikely(!ip_vs_x_writable(skb, dst, iph->len + len, 0)))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_MEM);

	if (cp->protocol == IPPROTO_TCP) {
		struct tcphdr *th = (struct tcphdr *)(skb->data + iph->len);

		if ((READ_ONCE(x->xflags) & IP_VS_X_F_SP) &&
		    unlikely(ip_vs_x_tcp_storm(x, th, skb->len - iph->len)))
			return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_ACK_STORM);
		ip_vs_x_tcp_reply(x, th, skb->len - iph->len, &e);
	}
	ip_vs_x_rewrite(skb, cp, iph, &e, &cp->vaddr, &cp->caddr);
	return ip_vs_x_to_client(skb, cp, dst, hooknum);
}

unsigned int ip_vs_x_response(int af, struct sk_buff *skb, struct ip_vs_protocol *pp,
			      struct ip_vs_conn *cp, struct ip_vs_iphdr *iph,
			      unsigned int hooknum)
{
	unsigned int verdict = NF_ACCEPT;

	/* vip->cip, from whoever: the stock table found it, there is nothing to do */
	if (likely(ip_vs_addr_equal(af, &iph->daddr, &ip_vs_x_conn(cp)->laddr)))
		verdict = ip_vs_x_reply(skb, cp, iph, hooknum);
	ip_vs_conn_put(cp);
	return verdict;
}
