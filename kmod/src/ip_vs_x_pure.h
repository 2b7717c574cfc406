/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What is done to the bytes of a packet, and nothing else: no skb, no conn, no
 * call into the kernel but byte order and checksum helpers. So the same text
 * is compiled in user space, with sanitizers and a fuzzer (kmod/test/user).
 *
 * Sums. An internet checksum changes by the difference of the changed words.
 * Every function here that changes bytes takes such a difference and returns
 * it with its own added; it is folded once, by ip_vs_x_check(). A word at an
 * odd offset has its bytes in the other halves of the 16 bit words summed, so
 * offsets count from the start of the TCP header, which is even.
 *
 * Lengths. A TCP header given to these functions has th->doff >= 5 and th->doff
 * * 4 bytes that are there and writable; the caller has tested that. What the
 * options claim is tested here.
 */
#ifndef _IP_VS_X_PURE_H
#define _IP_VS_X_PURE_H

#ifdef __KERNEL__
#include <linux/netfilter.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <net/checksum.h>
#include <net/tcp.h>
#include "compat.h"
#else
#include "shim.h"
#endif

#define IP_VS_X_TOA_LEN4	8	/* kind, len, port, IPv4 address */
#define IP_VS_X_TOA_LEN6	20	/* kind, len, port, IPv6 address */
#define IP_VS_X_TCP_MAX		60	/* of a header with its options */
#define IP_VS_X_MSS_MIN		88	/* below it Linux takes no client's word */

static inline __wsum ip_vs_x_sum4(__wsum sum, __be32 from, __be32 to)
{
	return csum_add(csum_sub(sum, (__force __wsum)from), (__force __wsum)to);
}

static inline __wsum ip_vs_x_sum2(__wsum sum, __be16 from, __be16 to)
{
	return csum_add(csum_sub(sum, (__force __wsum)from), (__force __wsum)to);
}

/* The end-around sum of 64 bits; folded in two it is that of 32 */
static inline u64 ip_vs_x_add8(u64 a, u64 b)
{
	a += b;
	return a + (a < b);
}

static inline __wsum ip_vs_x_sum_addr(__wsum sum, bool v6, const union nf_inet_addr *from,
				      const union nf_inet_addr *to)
{
	const u64 *f = (const u64 *)from, *t = (const u64 *)to;
	u64 wide = (__force u32)sum;

	if (!v6)
		return ip_vs_x_sum4(sum, from->ip, to->ip);
	wide = ip_vs_x_add8(wide, ~get_unaligned(f));
	wide = ip_vs_x_add8(wide, ~get_unaligned(f + 1));
	wide = ip_vs_x_add8(wide, get_unaligned(t));
	wide = ip_vs_x_add8(wide, get_unaligned(t + 1));
	return csum_add((__force __wsum)(u32)wide, (__force __wsum)(u32)(wide >> 32));
}

/*
 * The checksum after a change. partial: the field holds the sum of the pseudo
 * header for the hardware to go on from, so only that part of the change counts.
 */
static inline __sum16 ip_vs_x_check(__sum16 check, bool partial, __wsum pseudo, __wsum rest)
{
	if (partial)
		return ~csum_fold(csum_add(pseudo, csum_unfold(check)));
	return csum_fold(csum_add(csum_add(pseudo, rest), ~csum_unfold(check)));
}

static inline __wsum ip_vs_x_put4(const struct tcphdr *th, void *p, u32 to, __wsum sum)
{
	__be32 o = get_unaligned((__be32 *)p), n = htonl(to);

	put_unaligned(n, (__be32 *)p);
	return csum_add(sum, csum_shift(ip_vs_x_sum4(0, o, n), (u8 *)p - (u8 *)th));
}

static inline __wsum ip_vs_x_put2(const struct tcphdr *th, void *p, u16 to, __wsum sum)
{
	__be16 o = get_unaligned((__be16 *)p), n = htons(to);

	put_unaligned(n, (__be16 *)p);
	return csum_add(sum, csum_shift(ip_vs_x_sum2(0, o, n), (u8 *)p - (u8 *)th));
}

static inline __wsum ip_vs_x_nop(const struct tcphdr *th, u8 *p, unsigned int len, __wsum sum)
{
	const __be16 nops = htons(TCPOPT_NOP << 8 | TCPOPT_NOP);
	unsigned int offset = p - (u8 *)th;
	__wsum diff = 0;

	for (; len >= 2; len -= 2, p += 2) {
		diff = ip_vs_x_sum2(diff, get_unaligned((__be16 *)p), nops);
		put_unaligned(nops, (__be16 *)p);
	}
	if (len) {
		diff = ip_vs_x_sum2(diff, htons(*p << 8), htons(TCPOPT_NOP << 8));
		*p = TCPOPT_NOP;
	}
	return csum_add(sum, csum_shift(diff, offset));
}

/* Options still to be looked at. After the walk p stays at what ended it. */
struct ip_vs_x_opts {
	u8	*p;
	u8	*end;
};

static inline struct ip_vs_x_opts ip_vs_x_opts(struct tcphdr *th)
{
	return (struct ip_vs_x_opts) { (u8 *)(th + 1), (u8 *)th + th->doff * 4 };
}

/*
 * The next option that has a length and lies within the header, NULL at the
 * end of the list or at the first that does not: receivers stop there, too.
 */
static inline u8 *ip_vs_x_opt_next(struct ip_vs_x_opts *w)
{
	u8 *o;

	while (w->p < w->end && *w->p == TCPOPT_NOP)
		w->p++;
	if (w->end - w->p < 2 || *w->p == TCPOPT_EOL ||
	    w->p[1] < 2 || w->p[1] > w->end - w->p)
		return NULL;
	o = w->p;
	w->p += o[1];
	return o;
}

/* The timestamps option (its kind byte), or NULL */
static inline u8 *ip_vs_x_ts_find(struct tcphdr *th)
{
	struct ip_vs_x_opts w = ip_vs_x_opts(th);
	u8 *o;

	while ((o = ip_vs_x_opt_next(&w)))
		if (o[0] == TCPOPT_TIMESTAMP && o[1] == TCPOLEN_TIMESTAMP)
			return o;
	return NULL;
}

/* NOP NOP TS and nothing else: what nearly every packet of a Linux host has */
static inline bool ip_vs_x_only_ts(const struct tcphdr *th)
{
	return th->doff == 8 &&
	       get_unaligned((__be32 *)(th + 1)) ==
	       htonl(TCPOPT_NOP << 24 | TCPOPT_NOP << 16 |
		     TCPOPT_TIMESTAMP << 8 | TCPOLEN_TIMESTAMP);
}

/* How the header of one packet is to change */
struct ip_vs_x_edit {
	union {
		__be32		ports;
		struct {
			__be16	source;
			__be16	dest;
		};
	};
	u32	seq;		/* to be added */
	u32	ack;		/* to be added, to SACK blocks as well */
	u32	tsval;		/* to be added, with IP_VS_X_EDIT_TS */
	u32	tsecr;
	u16	mss_sub;	/* of a SYN: to be taken off the MSS, */
	u16	mss_max;	/* which then is at most this; 0: anything */
	u8	toa_kind;	/* of the service */
	u8	flags;		/* IP_VS_X_EDIT_* */
	s8	win;		/* the window is shifted left, or right if negative */
};

#define IP_VS_X_EDIT_TS		1	/* shift timestamps */
#define IP_VS_X_EDIT_TS_STRIP	2	/* a SYN offers none */
#define IP_VS_X_EDIT_NO_TOA	4	/* the sender must not say who he is */

/*
 * Kinds that some receiver takes for TOA: 254 (ours, dpvs, Huawei), 253
 * (alibaba's IPv6), 252 (UCloud, vtoa), 200 (the FULLNAT release of 2012).
 */
static inline bool ip_vs_x_toa_kind(u8 kind, u8 own)
{
	return kind >= 252 ? kind != 255 : kind == 200 || (own && kind == own);
}

static inline __wsum ip_vs_x_edit_mss(struct tcphdr *th, u8 *o, const struct ip_vs_x_edit *e,
				      __wsum sum)
{
	u16 old = get_unaligned_be16(o + 2), mss = old;

	if (mss >= IP_VS_X_MSS_MIN + e->mss_sub)
		mss -= e->mss_sub;
	if (e->mss_max && mss > e->mss_max)
		mss = e->mss_max;
	return mss == old ? sum : ip_vs_x_put2(th, o + 2, mss, sum);
}

static inline __wsum ip_vs_x_edit_sack(struct tcphdr *th, u8 *o, u32 ack, __wsum sum)
{
	unsigned int i;

	for (i = 2; i + 4 <= o[1]; i += 4)
		sum = ip_vs_x_put4(th, o + i, get_unaligned_be32(o + i) + ack, sum);
	return sum;
}

static inline __wsum ip_vs_x_edit_ts(struct tcphdr *th, u8 *o, const struct ip_vs_x_edit *e,
				     __wsum sum)
{
	if (e->tsval)
		sum = ip_vs_x_put4(th, o + 2, get_unaligned_be32(o + 2) + e->tsval, sum);
	if (e->tsecr && th->ack)
		sum = ip_vs_x_put4(th, o + 6, get_unaligned_be32(o + 6) + e->tsecr, sum);
	return sum;
}

static inline __wsum ip_vs_x_edit_opt(struct tcphdr *th, u8 *o, const struct ip_vs_x_edit *e,
				      __wsum sum)
{
	if ((e->flags & IP_VS_X_EDIT_NO_TOA) && ip_vs_x_toa_kind(o[0], e->toa_kind))
		return ip_vs_x_nop(th, o, o[1], sum);

	switch (o[0]) {
	case TCPOPT_MSS:
		if (th->syn && o[1] == TCPOLEN_MSS)
			sum = ip_vs_x_edit_mss(th, o, e, sum);
		break;
	case TCPOPT_SACK:
		if (e->ack && th->ack)
			sum = ip_vs_x_edit_sack(th, o, e->ack, sum);
		break;
	case TCPOPT_TIMESTAMP:
		if (th->syn && (e->flags & IP_VS_X_EDIT_TS_STRIP))
			sum = ip_vs_x_nop(th, o, o[1], sum);
		else if ((e->flags & IP_VS_X_EDIT_TS) && o[1] == TCPOLEN_TIMESTAMP)
			sum = ip_vs_x_edit_ts(th, o, e, sum);
		break;
	}
	return sum;
}

static inline __wsum ip_vs_x_edit_opts(struct tcphdr *th, const struct ip_vs_x_edit *e, __wsum sum)
{
	struct ip_vs_x_opts w = ip_vs_x_opts(th);
	u8 *o;

	while ((o = ip_vs_x_opt_next(&w)))
		sum = ip_vs_x_edit_opt(th, o, e, sum);
	/* a forged option with a wrong length might still be read by somebody */
	if (w.p < w.end && (e->flags & IP_VS_X_EDIT_NO_TOA) &&
	    ip_vs_x_toa_kind(*w.p, e->toa_kind))
		sum = ip_vs_x_nop(th, w.p, w.end - w.p, sum);
	return sum;
}

/*
 * A window in another scale: what does not fit is capped, what is less than
 * the new unit is lost. Never more than was offered.
 */
static inline u16 ip_vs_x_win(u16 win, int shift)
{
	u32 w = shift < 0 ? win >> -shift : (u32)win << shift;

	return w > 65535 ? 65535 : w;
}

static inline __wsum ip_vs_x_tcp_edit(struct tcphdr *th, const struct ip_vs_x_edit *e, __wsum sum)
{
	sum = ip_vs_x_put4(th, &th->source, ntohl(e->ports), sum);
	if (e->seq)
		sum = ip_vs_x_put4(th, &th->seq, ntohl(th->seq) + e->seq, sum);
	if (e->ack && th->ack)
		sum = ip_vs_x_put4(th, &th->ack_seq, ntohl(th->ack_seq) + e->ack, sum);
	/* that of a SYN is never scaled */
	if (e->win && !th->syn)
		sum = ip_vs_x_put2(th, &th->window, ip_vs_x_win(ntohs(th->window), e->win), sum);
	if (th->doff == 5 ||
	    (ip_vs_x_only_ts(th) && !th->syn && !(e->flags & IP_VS_X_EDIT_TS)))
		return sum;
	return ip_vs_x_edit_opts(th, e, sum);
}

/* TOA. The option is written at opt, which has room for IP_VS_X_TOA_LEN6. */
static inline unsigned int ip_vs_x_toa_len(bool v6)
{
	return v6 ? IP_VS_X_TOA_LEN6 : IP_VS_X_TOA_LEN4;
}

static inline unsigned int ip_vs_x_toa_build(u8 *opt, u8 kind, bool v6,
					     const union nf_inet_addr *addr, __be16 port)
{
	unsigned int len = ip_vs_x_toa_len(v6);

	opt[0] = kind;
	opt[1] = len;
	memcpy(opt + 2, &port, sizeof(port));
	memcpy(opt + 4, addr, len - 4);
	return len;
}

/* Do len more bytes of options go into the header? len is a multiple of 4. */
static inline bool ip_vs_x_opt_fits(const struct tcphdr *th, unsigned int len)
{
	return th->doff * 4 + len <= IP_VS_X_TCP_MAX;
}

/*
 * Puts an option of len bytes right behind the fixed TCP header. The packet
 * starts at hdr + len, its TCP header thoff bytes behind that, and starts at
 * hdr when this is done. Its fields of length are the caller's. Returns the
 * difference of the TCP header's sum, without the pseudo header.
 */
static inline __wsum ip_vs_x_opt_insert(u8 *hdr, unsigned int thoff, const u8 *opt,
					unsigned int len)
{
	struct tcphdr *th = (struct tcphdr *)(hdr + thoff);
	__be16 from, to;

	memmove(hdr, hdr + len, thoff + sizeof(*th));
	memcpy(th + 1, opt, len);
	from = get_unaligned((__be16 *)((u8 *)th + 12));
	th->doff += len / 4;
	to = get_unaligned((__be16 *)((u8 *)th + 12));
	return ip_vs_x_sum2(csum_partial(opt, len, 0), from, to);
}

/*
 * The start of a packet as an ICMP error quotes it: l4 points at its transport
 * header, of which the first avail bytes are there, at least 4. Changed by e
 * as far as it reaches, options excepted: no sender looks at those. pseudo is
 * the difference of the quoted addresses.
 */
static inline void ip_vs_x_quote_tcp(u8 *l4, unsigned int avail, const struct ip_vs_x_edit *e,
				     __wsum pseudo)
{
	struct tcphdr *th = (struct tcphdr *)l4;	/* only what avail covers */
	__wsum sum;

	sum = ip_vs_x_put4(th, l4, ntohl(e->ports), 0);
	if (avail >= 8)
		sum = ip_vs_x_put4(th, l4 + 4, get_unaligned_be32(l4 + 4) + e->seq, sum);
	/* byte 13 tells whether there is an ack; without it: never 0 if there is */
	if (avail >= 14 ? l4[13] & 0x10 : avail >= 12 && get_unaligned((__be32 *)(l4 + 8)))
		sum = ip_vs_x_put4(th, l4 + 8, get_unaligned_be32(l4 + 8) + e->ack, sum);
	if (avail >= 18)
		put_unaligned(ip_vs_x_check(get_unaligned((__sum16 *)(l4 + 16)), false,
					    pseudo, sum), (__sum16 *)(l4 + 16));
}

static inline __sum16 ip_vs_x_check_udp(__sum16 check, bool partial, __wsum pseudo, __wsum rest)
{
	/* the sender made no checksum, so there is none to keep right */
	if (!check && !partial)
		return check;
	check = ip_vs_x_check(check, partial, pseudo, rest);
	return check ? check : CSUM_MANGLED_0;
}

static inline void ip_vs_x_quote_udp(u8 *l4, unsigned int avail, const struct ip_vs_x_edit *e,
				     __wsum pseudo)
{
	__wsum sum = ip_vs_x_put4((struct tcphdr *)l4, l4, ntohl(e->ports), 0);

	if (avail >= 8)
		put_unaligned(ip_vs_x_check_udp(get_unaligned((__sum16 *)(l4 + 6)), false,
						pseudo, sum), (__sum16 *)(l4 + 6));
}

/* The MTU to report to a sender whose packets still grow by len on the way */
static inline u32 ip_vs_x_mtu_less(u32 mtu, unsigned int len, u32 min)
{
	return mtu >= min + len ? mtu - len : mtu;
}

#endif
