/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SYN cookies, and the options of the two SYNs that they stand between. As
 * ip_vs_x_pure.h, this text is compiled in user space too.
 *
 * A cookie is the sequence number of our SYN/ACK:
 *
 *	mac 22 | t 2 | ws 4 | sack 1 | mss 3
 *
 * so all that is to be known of the client's SYN comes back in his ACK. The MAC
 * is of the addresses, ports, his sequence, the full t and the options, under a
 * key of the namespace that the directors of a group may share. t counts 64 s.
 * A guess is right once in 2^22 for each key and t that is accepted.
 *
 * With timestamps the other half of the hash is our TSval, which the client
 * must echo. It need not grow from one connection to the next: no host
 * remembers timestamps of a connection that it opens itself.
 */
#ifndef _IP_VS_X_COOKIE_H
#define _IP_VS_X_COOKIE_H

#include "ip_vs_x_pure.h"
#ifdef __KERNEL__
#include <linux/siphash.h>
#else
#include "siphash.h"
#endif

#define IP_VS_X_CK_SECONDS	64	/* one step of t */
#define IP_VS_X_CK_MAC_SHIFT	10
#define IP_VS_X_CK_T_SHIFT	8
#define IP_VS_X_CK_WS_SHIFT	4
#define IP_VS_X_CK_SACK		0x08
#define IP_VS_X_CK_MSS		0x07
#define IP_VS_X_CK_OPTS		0xff
#define IP_VS_X_WS_NONE		15
#define IP_VS_X_WS_MAX		14	/* RFC 7323 */
#define IP_VS_X_MSS_DEFAULT	536	/* RFC 9293, 3.7.1 */
#define IP_VS_X_SYN_OPTS_MAX	20	/* of what ip_vs_x_syn_opts_put() writes */

/* Accepted keys; key[0] makes cookies */
struct ip_vs_x_keys {
	siphash_key_t	key[2];
	unsigned int	n;
};

/* A connection as its client sees it */
struct ip_vs_x_flow {
	const union nf_inet_addr *caddr;
	const union nf_inet_addr *vaddr;
	__be16	cport;
	__be16	vport;
	bool	v6;
};

/* What a SYN says beside its sequence */
struct ip_vs_x_syn_opts {
	u16	mss;
	u8	ws;		/* IP_VS_X_WS_NONE: no scaling */
	bool	sack;
	bool	ts;
	u32	tsval;
	u32	tsecr;
};

static inline u16 ip_vs_x_mss_of(unsigned int i, bool v6)
{
	static const u16 table[IP_VS_X_CK_MSS + 1] = {
		536, 1200, 1300, 1360, 1400, 1440, 1460, 8960
	};

	return table[i & IP_VS_X_CK_MSS] - (v6 ? 20 : 0);
}

/* The largest of the table that is not above mss; one below all gets the least */
static inline unsigned int ip_vs_x_mss_index(u16 mss, bool v6)
{
	unsigned int i = IP_VS_X_CK_MSS;

	while (i && ip_vs_x_mss_of(i, v6) > mss)
		i--;
	return i;
}

/*
 * Those of a SYN as nearly every host writes it: MSS, SACK permitted, timestamps, NOP
 * and window scale. False: they are others, and s is as it was.
 */
static inline bool ip_vs_x_syn_opts_usual(const struct tcphdr *th, struct ip_vs_x_syn_opts *s)
{
	const u8 *o = (const u8 *)(th + 1);

	if (th->doff != 10 || get_unaligned_be16(o) != (TCPOPT_MSS << 8 | TCPOLEN_MSS) ||
	    get_unaligned_be32(o + 4) != (TCPOPT_SACK_PERM << 24 | TCPOLEN_SACK_PERM << 16 |
					  TCPOPT_TIMESTAMP << 8 | TCPOLEN_TIMESTAMP) ||
	    get_unaligned_be32(o + 16) >> 8 != (TCPOPT_NOP << 16 | TCPOPT_WINDOW << 8 |
						TCPOLEN_WINDOW))
		return false;
	*s = (struct ip_vs_x_syn_opts) {
		.mss = get_unaligned_be16(o + 2) ?: IP_VS_X_MSS_DEFAULT,
		.ws = o[19] > IP_VS_X_WS_MAX ? IP_VS_X_WS_MAX : o[19], .sack = true, .ts = true,
		.tsval = get_unaligned_be32(o + 8), .tsecr = get_unaligned_be32(o + 12),
	};
	return true;
}

/* Reads the options of a SYN or SYN/ACK, all of whose header is there */
static inline void ip_vs_x_syn_opts_get(struct tcphdr *th, struct ip_vs_x_syn_opts *s)
{
	struct ip_vs_x_opts w;
	u8 *o;

	if (ip_vs_x_syn_opts_usual(th, s))
		return;
	w = ip_vs_x_opts(th);
	*s = (struct ip_vs_x_syn_opts) { .mss = IP_VS_X_MSS_DEFAULT, .ws = IP_VS_X_WS_NONE };
	while ((o = ip_vs_x_opt_next(&w))) {
		switch (o[0]) {
		case TCPOPT_MSS:
			if (o[1] == TCPOLEN_MSS && get_unaligned_be16(o + 2))
				s->mss = get_unaligned_be16(o + 2);
			break;
		case TCPOPT_WINDOW:
			if (o[1] == TCPOLEN_WINDOW)
				s->ws = o[2] > IP_VS_X_WS_MAX ? IP_VS_X_WS_MAX : o[2];
			break;
		case TCPOPT_SACK_PERM:
			if (o[1] == TCPOLEN_SACK_PERM)
				s->sack = true;
			break;
		case TCPOPT_TIMESTAMP:
			if (o[1] == TCPOLEN_TIMESTAMP) {
				s->ts = true;
				s->tsval = get_unaligned_be32(o + 2);
				s->tsecr = get_unaligned_be32(o + 6);
			}
			break;
		}
	}
}

static inline u8 *ip_vs_x_ts_put(u8 *o, u32 tsval, u32 tsecr)
{
	o[0] = TCPOPT_TIMESTAMP;
	o[1] = TCPOLEN_TIMESTAMP;
	put_unaligned_be32(tsval, o + 2);
	put_unaligned_be32(tsecr, o + 6);
	return o + TCPOLEN_TIMESTAMP;
}

/* Writes s as options into IP_VS_X_SYN_OPTS_MAX bytes; how many, a multiple of 4 */
static inline unsigned int ip_vs_x_syn_opts_put(u8 *opt, const struct ip_vs_x_syn_opts *s)
{
	u8 *o = opt;

	*o++ = TCPOPT_MSS;
	*o++ = TCPOLEN_MSS;
	put_unaligned_be16(s->mss, o);
	o += 2;
	if (s->ts || s->sack) {
		*o++ = s->sack ? TCPOPT_SACK_PERM : TCPOPT_NOP;
		*o++ = s->sack ? TCPOLEN_SACK_PERM : TCPOPT_NOP;
		if (s->ts) {
			o = ip_vs_x_ts_put(o, s->tsval, s->tsecr);
		} else {
			*o++ = TCPOPT_NOP;
			*o++ = TCPOPT_NOP;
		}
	}
	if (s->ws != IP_VS_X_WS_NONE) {
		*o++ = TCPOPT_NOP;
		*o++ = TCPOPT_WINDOW;
		*o++ = TCPOLEN_WINDOW;
		*o++ = s->ws;
	}
	return o - opt;
}

static inline u64 ip_vs_x_cookie_hash(const siphash_key_t *key, const struct ip_vs_x_flow *f,
				      u32 isn, u32 t, u8 opts)
{
	u64 ports = (u64)(__force u16)f->cport << 48 | (u64)(__force u16)f->vport << 32 | isn;
	u64 last = (u64)t << 8 | opts;

	if (f->v6) {
		struct {
			union nf_inet_addr caddr, vaddr;
			u64 ports, last;
		} __aligned(SIPHASH_ALIGNMENT) in = { *f->caddr, *f->vaddr, ports, last };

		return siphash(&in, sizeof(in), key);
	}
	return siphash_3u64((u64)(__force u32)f->caddr->ip << 32 | (__force u32)f->vaddr->ip,
			    ports, last, key);
}

/*
 * The cookie for a SYN with sequence isn at time t. s is what the client
 * offers, less what we do not; its ws is the client's. tsval is for s->ts.
 */
static inline u32 ip_vs_x_cookie_make(const struct ip_vs_x_keys *keys,
				      const struct ip_vs_x_flow *f, u32 isn, u32 t,
				      const struct ip_vs_x_syn_opts *s, u32 *tsval)
{
	u8 opts = s->ws << IP_VS_X_CK_WS_SHIFT | (s->sack ? IP_VS_X_CK_SACK : 0) |
		  ip_vs_x_mss_index(s->mss, f->v6);
	u64 hash = ip_vs_x_cookie_hash(&keys->key[0], f, isn, t, opts);

	*tsval = hash >> 32;
	return (u32)hash << IP_VS_X_CK_MAC_SHIFT | (t & 3) << IP_VS_X_CK_T_SHIFT | opts;
}

/*
 * Is cookie one that was made for isn, no longer ago than the step before that
 * of t? One of the next step is taken too: clocks of a group differ. ts tells
 * whether the ACK has a timestamp that echoes tsecr. Fills in s.
 */
static inline bool ip_vs_x_cookie_check(const struct ip_vs_x_keys *keys,
					const struct ip_vs_x_flow *f, u32 isn, u32 cookie, u32 t,
					bool ts, u32 tsecr, struct ip_vs_x_syn_opts *s)
{
	unsigned int age = (t - (cookie >> IP_VS_X_CK_T_SHIFT)) & 3, i;
	u8 opts = cookie & IP_VS_X_CK_OPTS;
	u64 hash;

	if (age == 2)
		return false;
	t = age == 3 ? t + 1 : t - age;
	for (i = 0; i < keys->n; i++) {
		hash = ip_vs_x_cookie_hash(&keys->key[i], f, isn, t, opts);
		if ((u32)hash << IP_VS_X_CK_MAC_SHIFT >> IP_VS_X_CK_MAC_SHIFT !=
		    cookie >> IP_VS_X_CK_MAC_SHIFT)
			continue;
		if (ts && tsecr != (u32)(hash >> 32))
			return false;
		*s = (struct ip_vs_x_syn_opts) {
			.mss = ip_vs_x_mss_of(opts, f->v6),
			.ws = opts >> IP_VS_X_CK_WS_SHIFT,
			.sack = opts & IP_VS_X_CK_SACK,
			.ts = ts,
		};
		return true;
	}
	return false;
}

#endif
