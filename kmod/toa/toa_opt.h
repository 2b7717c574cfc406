/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The TOA option: a TCP option by which a director tells a real server the
 * address of the client.
 *
 *   kind, len 8:   port (2 bytes, network order), IPv4 address (4)
 *   kind, len 20:  port (2 bytes, network order), IPv6 address (16)
 *
 * Kinds seen in the field: 254 (both lengths; ours, dpvs, Huawei), 253 (len 20
 * of alibaba/LVS), 252 (UCloud), 200 (the first FULLNAT release of 2012). 253
 * and 254 are the experimental kinds of RFC 4727, which others may use too: an
 * option of such a kind with another length is somebody else's, not an error.
 *
 * Nothing here calls the kernel, so that the same text is tested in user space
 * under sanitizers.
 */
#ifndef _TOA_OPT_H
#define _TOA_OPT_H

#ifdef __KERNEL__
#include <linux/types.h>
#include <linux/string.h>
#else
#include <stdbool.h>
#include <string.h>
typedef unsigned char u8;
#endif

#define TOA_LEN_V4	8
#define TOA_LEN_V6	20
#define TOA_KINDS_MAX	8

enum toa_found {
	TOA_NONE,	/* no TOA option, the rest is well formed */
	TOA_FOUND,
	TOA_MALFORMED,	/* an option runs over the end, or an absurd address */
};

/* A client. IPv4 uses the first four bytes of addr; all in network order. */
struct toa_client {
	u8 addr[16];
	u8 port[2];
	u8 family;	/* 4 or 6 */
};

struct toa_kinds {
	u8 n;
	u8 kind[TOA_KINDS_MAX];
};

static inline bool toa_is_kind(const struct toa_kinds *k, u8 kind)
{
	unsigned int i;

	for (i = 0; i < k->n; i++)
		if (k->kind[i] == kind)
			return true;
	return false;
}

/*
 * Addresses no client can have. An application that is shown one of them could
 * take the client for itself or for nobody, so the true peer is the better
 * answer.
 */
static inline bool toa_client_ok(const struct toa_client *c)
{
	static const u8 zero[15];

	if (!c->port[0] && !c->port[1])
		return false;
	if (c->family == 4)
		return c->addr[0] != 0 && c->addr[0] != 127 &&
		       c->addr[0] < 224;
	if (c->addr[0] == 0xff)
		return false;
	return memcmp(c->addr, zero, 15) || c->addr[15] > 1;
}

/* dpvs writes an IPv4 client of an IPv6 service as ::ffff:a.b.c.d. */
static inline void toa_client_unmap(struct toa_client *c)
{
	static const u8 mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (c->family != 6 || memcmp(c->addr, mapped, sizeof(mapped)))
		return;
	memmove(c->addr, c->addr + 12, 4);
	memset(c->addr + 4, 0, 12);
	c->family = 4;
}

/*
 * Looks for the first TOA option among the @len bytes of options at @p. The
 * first one wins: directors put theirs before whatever the client sent. @c is
 * written only when the answer is TOA_FOUND.
 */
static inline enum toa_found toa_opt_find(const u8 *p, unsigned int len,
					  const struct toa_kinds *kinds,
					  struct toa_client *c)
{
	unsigned int off = 0;

	while (off < len && p[off] != 0) {
		struct toa_client got = { 0 };
		u8 optlen;

		if (p[off] == 1) {
			off++;
			continue;
		}
		if (len - off < 2)
			return TOA_MALFORMED;
		optlen = p[off + 1];
		if (optlen < 2 || optlen > len - off)
			return TOA_MALFORMED;
		if ((optlen == TOA_LEN_V4 || optlen == TOA_LEN_V6) &&
		    toa_is_kind(kinds, p[off])) {
			got.family = optlen == TOA_LEN_V4 ? 4 : 6;
			memcpy(got.port, p + off + 2, 2);
			memcpy(got.addr, p + off + 4, optlen - 4);
			toa_client_unmap(&got);
			if (!toa_client_ok(&got))
				return TOA_MALFORMED;
			*c = got;
			return TOA_FOUND;
		}
		off += optlen;
	}
	return TOA_NONE;
}

#endif /* _TOA_OPT_H */
