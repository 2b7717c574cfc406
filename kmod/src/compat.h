/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Differences between the kernels we build for. Only this file and the glue
 * test for them.
 */
#ifndef _IP_VS_X_COMPAT_H
#define _IP_VS_X_COMPAT_H

#include <linux/in_route.h>
#include <linux/netfilter_bridge.h>
#include <linux/netlink.h>
#include <linux/version.h>
#include <net/genetlink.h>
#include <net/inet_dscp.h>
#include <net/ip6_fib.h>
#include <net/ip_vs.h>
#include <net/route.h>

#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif

/*
 * The kernel zeroes what is on the stack, for safety; not so what is written before
 * it is read anyway, and large, and needed for each packet.
 */
#ifndef __uninitialized
#if __has_attribute(__uninitialized__)
#define __uninitialized	__attribute__((__uninitialized__))
#else
#define __uninitialized
#endif
#endif

/* Without it no packet has passed a bridge's hooks */
#if !IS_ENABLED(CONFIG_BRIDGE_NETFILTER)
#define nf_bridge_info_exists(skb)	((void)(skb), false)
#endif

/* The bits of TOS that routes are chosen by */
#ifdef IPTOS_RT_MASK
#define X_TOS_MASK	IPTOS_RT_MASK
#else
#define X_TOS_MASK	INET_DSCP_MASK
#endif

/* Where the routes to this host itself are looked for first */
#ifdef CONFIG_IPV6_MULTIPLE_TABLES
#define X_LOCAL6(net)	((net)->ipv6.fib6_local_tbl)
#else
#define X_LOCAL6(net)	((net)->ipv6.fib6_main_tbl)
#endif

#ifndef dst_rtable
#define dst_rtable(dst)	container_of(dst, struct rtable, dst)
#endif
#ifndef dst_rt6_info
#define dst_rt6_info(dst)	container_of(dst, struct rt6_info, dst)
#endif

/*
 * An error text with numbers in it. Before 6.3 the ack had no room for one, and
 * after it too little for an IPv6 address in a sentence: it points to one of a
 * ring of buffers, which lasts until the ack is sent.
 */
#define X_ERR_RING	64
#define X_ERR_LEN	128

static inline char *x_err_buf(void)
{
	static char ring[X_ERR_RING][X_ERR_LEN];
	static atomic_t next;

	return ring[(unsigned int)atomic_inc_return(&next) % X_ERR_RING];
}

#define X_ERR_FMT(extack, fmt, args...) do {				\
	struct netlink_ext_ack *__x_extack = (extack);			\
									\
	if (__x_extack) {						\
		char *__x_buf = x_err_buf();				\
									\
		snprintf(__x_buf, X_ERR_LEN, fmt, ##args);		\
		__x_extack->_msg = __x_buf;				\
	}								\
} while (0)

/*
 * The conns of a dest, without templates. Stable updates changed what is counted;
 * Kbuild looks into the header, whose version does not say.
 */
static inline u32 x_dest_conns(const struct ip_vs_dest *dest)
{
#ifdef X_HAVE_TOTALCONNS
	return atomic_read(&dest->totalconns);
#else
	return atomic_read(&dest->activeconns) + atomic_read(&dest->inactconns);
#endif
}

/*
 * In the middle of 6.1 (Debian's 6.1.187) ip_vs began to hand the transport
 * header's offset to its state machines, and the quoted header to what treats
 * ICMP errors; Kbuild looks which of the two it is.
 */
#ifdef X_STATE_HAS_OFFSET
#define X_SET_STATE(cp, dir, skb, pd, off)	ip_vs_set_state(cp, dir, skb, pd, off)
#define X_TRANSITION(cp, dir, skb, pd, off)	((pd)->pp->state_transition(cp, dir, skb, pd, off))
#else
#define X_SET_STATE(cp, dir, skb, pd, off)	((void)(off), ip_vs_set_state(cp, dir, skb, pd))
#define X_TRANSITION(cp, dir, skb, pd, off)	\
	((void)(off), (pd)->pp->state_transition(cp, dir, skb, pd))
#endif
#ifdef X_ICMP_HAS_CIPH
#define X_CIPH	ciph
#else
#define X_CIPH	NULL	/* ip_vs_x_response_icmp() looks itself */
#endif
#ifndef X_HAS_CHECKSUM_CHECK
/* Is the checksum right, wherever the packet is on its way through? */
static inline bool ip_vs_checksum_common_check(struct sk_buff *skb, int offset,
					       int proto, int af)
{
	return skb_csum_unnecessary(skb) || !skb->dev ||
	       !nf_checksum(skb, NF_INET_LOCAL_IN, offset, proto, af);
}
#endif

/* The parsed attributes of a dump's request */
static inline struct nlattr **x_dump_attrs(struct netlink_callback *cb)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return genl_dumpit_info(cb)->info.attrs;
#else
	return genl_dumpit_info(cb)->attrs;
#endif
}

#endif
