// SPDX-License-Identifier: GPL-2.0-only
/*
 * ICMP errors about packets that we rewrote, both ways, both families. The
 * error quotes the start of such a packet; its sender must be shown what he
 * sent, or he does not find the socket it is about. That includes the TCP
 * sequence: a stack ignores an error whose sequence it never sent, and a path
 * MTU discovery that is ignored is a black hole.
 *
 *   about lip->rip, to the client: from the vip, quoting cip->vip
 *   about vip->cip, to the RS: from the lip, quoting rip->lip
 *
 * ip_vs has found the conn by the quoted addresses and ports, so an IP header
 * and four bytes behind it are known to be there.
 */
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <net/ip.h>
#include <net/ip6_checksum.h>
#include <net/ipv6.h>
#include "ip_vs_x_pkt.h"

#define IP_VS_X_MTU_MIN4	68	/* RFC 791 */

/* What its sender is to see in the quote */
struct ip_vs_x_quote {
	const union nf_inet_addr *saddr;
	const union nf_inet_addr *daddr;
	struct ip_vs_x_edit	e;
	unsigned int		mtu_less;	/* what his packets grow by */
};

/* Both error headers are 8 bytes; the quote follows */
static unsigned int ip_vs_x_icmp_off(const struct ip_vs_iphdr *ciph)
{
	return ciph->off - sizeof(struct icmphdr);
}

static bool ip_vs_x_icmp_ok(struct sk_buff *skb, int af, const struct ip_vs_iphdr *ciph)
{
	return ip_vs_checksum_common_check(skb, ip_vs_x_icmp_off(ciph),
					   af == AF_INET6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP, af);
}

/* Bytes of the quoted transport header that are there and are of use; <= 20 */
static unsigned int ip_vs_x_quote_len(const struct sk_buff *skb, const struct ip_vs_conn *cp,
				      const struct ip_vs_iphdr *ciph)
{
	unsigned int len = cp->protocol == IPPROTO_TCP ? sizeof(struct tcphdr) :
							  sizeof(struct udphdr);

	return ciph->len < skb->len ? min(len, skb->len - ciph->len) : 0;
}

/*
 * Rewrites the quote; all of it up to len bytes behind ciph->len is writable.
 * The length of the quoted IPv4 header was read when that was perhaps still in
 * a page that somebody else may write to, so it is read again.
 */
static bool ip_vs_x_quote_edit(struct sk_buff *skb, const struct ip_vs_conn *cp,
			       const struct ip_vs_iphdr *ciph, const struct ip_vs_x_quote *q,
			       unsigned int len)
{
	void *h = skb->data + ciph->off, *l4 = skb->data + ciph->len;
	bool v6 = cp->af == AF_INET6;
	__wsum pseudo;

	if (!v6 && ((struct iphdr *)h)->ihl * 4 != ciph->len - ciph->off)
		return false;
	pseudo = ip_vs_x_sum_addr(0, v6, &ciph->saddr, q->saddr);
	pseudo = ip_vs_x_sum_addr(pseudo, v6, &ciph->daddr, q->daddr);
	ip_vs_x_set_addrs(h, cp->af, q->saddr, q->daddr);
	if (cp->protocol == IPPROTO_TCP)
		ip_vs_x_quote_tcp(l4, len, &q->e, pseudo);
	else
		ip_vs_x_quote_udp(l4, len, &q->e, pseudo);
	return true;
}

static void ip_vs_x_icmp_finish4(struct sk_buff *skb, unsigned int off, unsigned int mtu_less)
{
	struct icmphdr *ic = (struct icmphdr *)(skb->data + off);

	if (mtu_less && ic->type == ICMP_DEST_UNREACH && ic->code == ICMP_FRAG_NEEDED)
		ic->un.frag.mtu = htons(ip_vs_x_mtu_less(ntohs(ic->un.frag.mtu), mtu_less,
							 IP_VS_X_MTU_MIN4));
	ic->checksum = 0;
	ic->checksum = csum_fold(skb_checksum(skb, off, skb->len - off, 0));
}

static void ip_vs_x_icmp_finish6(struct sk_buff *skb, unsigned int off, unsigned int mtu_less,
				 const union nf_inet_addr *saddr, const union nf_inet_addr *daddr)
{
	struct icmp6hdr *ic = (struct icmp6hdr *)(skb->data + off);
	unsigned int len = skb->len - off;

	if (mtu_less && ic->icmp6_type == ICMPV6_PKT_TOOBIG)
		ic->icmp6_mtu = htonl(ip_vs_x_mtu_less(ntohl(ic->icmp6_mtu), mtu_less,
						       IPV6_MIN_MTU));
	ic->icmp6_cksum = 0;
	ic->icmp6_cksum = csum_ipv6_magic(&saddr->in6, &daddr->in6, len, IPPROTO_ICMPV6,
					  skb_checksum(skb, off, len, 0));
}

/* Quote, MTU and checksum; saddr and daddr will be the outer addresses */
static bool ip_vs_x_icmp_rewrite(struct sk_buff *skb, const struct ip_vs_conn *cp,
				 const struct ip_vs_iphdr *ciph, const struct ip_vs_x_quote *q,
				 const union nf_inet_addr *saddr, const union nf_inet_addr *daddr,
				 unsigned int len)
{
	unsigned int off = ip_vs_x_icmp_off(ciph);

	if (!ip_vs_x_quote_edit(skb, cp, ciph, q, len))
		return false;
	if (cp->af == AF_INET6)
		ip_vs_x_icmp_finish6(skb, off, q->mtu_less, saddr, daddr);
	else
		ip_vs_x_icmp_finish4(skb, off, q->mtu_less);
	skb->ip_summed = CHECKSUM_NONE;
	return true;
}

int ip_vs_x_icmp_in(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_iphdr *ciph)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	const struct ip_vs_x_quote q = {
		.saddr = &cp->daddr, .daddr = &x->laddr,
		.e = { .source = cp->dport, .dest = x->lport,
		       .seq = -READ_ONCE(x->sp_delta), .ack = READ_ONCE(x->isn_delta) },
	};
	unsigned int len = ip_vs_x_quote_len(skb, cp, ciph);
	int local;

	if (len < 4)
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
	if (!ip_vs_x_icmp_ok(skb, cp->af, ciph))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_CSUM_BAD);
	local = ip_vs_x_out_rt(skb, cp, ciph);
	if (local < 0) {
		kfree_skb(skb);
		return NF_STOLEN;
	}
	if (local && ip_vs_x_martian_rs(skb, cp))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_ROUTE_FAIL);
	if (!ip_vs_x_writable(skb, skb_dst(skb), ciph->len + len, 0))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_MEM);
	if (!ip_vs_x_icmp_rewrite(skb, cp, ciph, &q, &x->laddr, &cp->daddr, len))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
	ip_vs_x_set_addrs(skb_network_header(skb), cp->af, &x->laddr, &cp->daddr);
	return ip_vs_x_to_rs(skb, cp, local);
}

static unsigned int ip_vs_x_icmp_out(struct sk_buff *skb, struct ip_vs_conn *cp,
				     struct ip_vs_iphdr *ciph, unsigned int hooknum)
{
	struct ip_vs_x_conn *x = ip_vs_x_conn(cp);
	const struct ip_vs_x_quote q = {
		.saddr = &cp->caddr, .daddr = &cp->vaddr,
		.e = { .source = cp->cport, .dest = cp->vport,
		       .seq = -READ_ONCE(x->isn_delta), .ack = READ_ONCE(x->sp_delta) },
		.mtu_less = ip_vs_x_toa_active(x) ? ip_vs_x_toa_len(cp->af == AF_INET6) : 0,
	};
	unsigned int len = ip_vs_x_quote_len(skb, cp, ciph);
	struct dst_entry *dst;

	if (!ip_vs_x_is_reply(cp, &ciph->daddr, &ciph->saddr))
		return ip_vs_x_pass(skb);
	if (len < 4)
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
	if (!ip_vs_x_icmp_ok(skb, cp->af, ciph))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_CSUM_BAD);
	dst = ip_vs_x_client_dst(x);
	if (!dst || !ip_vs_x_may_forward(skb, cp, dst, hooknum)) {
		kfree_skb(skb);
		return NF_STOLEN;
	}
	if (!ip_vs_x_writable(skb, dst, ciph->len + len, 0))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_MEM);
	if (!ip_vs_x_icmp_rewrite(skb, cp, ciph, &q, &cp->vaddr, &cp->caddr, len))
		return ip_vs_x_drop(skb, cp, IPVS_EXT_STAT_BAD_PKT);
	return ip_vs_x_to_client(skb, cp, dst, hooknum);
}

/* The quoted header, for kernels whose ip_vs does not hand it over */
static bool ip_vs_x_quoted(int af, struct sk_buff *skb, struct ip_vs_iphdr *ciph)
{
	unsigned int off = 0;

	if (af == AF_INET6) {
		if (ipv6_find_hdr(skb, &off, IPPROTO_ICMPV6, NULL, NULL) < 0)
			return false;
	} else {
		off = ip_hdrlen(skb);
	}
	return ip_vs_fill_iph_skb_icmp(af, skb, off + sizeof(struct icmphdr), true, ciph);
}

unsigned int ip_vs_x_response_icmp(int af, struct sk_buff *skb, struct ip_vs_protocol *pp,
				   struct ip_vs_conn *cp, struct ip_vs_iphdr *ciph,
				   unsigned int hooknum)
{
	unsigned int verdict = NF_ACCEPT;
	struct ip_vs_iphdr _ciph;

	if (!ciph && ip_vs_x_quoted(af, skb, &_ciph))
		ciph = &_ciph;
	if (unlikely(!ciph)) {
		__ip_vs_conn_put(cp);
		return NF_DROP;
	}
	/*
	 * To the stock table a packet vip->cip is a reply as well. An error about
	 * cip->vip, which this host itself sends, is what it must be already.
	 */
	if (likely(ip_vs_addr_equal(af, &ciph->saddr, &ip_vs_x_conn(cp)->laddr)))
		verdict = ip_vs_x_icmp_out(skb, cp, ciph, hooknum);
	/* as ip_vs does for errors: they do not keep a conn alive */
	__ip_vs_conn_put(cp);
	return verdict;
}
