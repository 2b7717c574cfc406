/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A TCP or UDP segment in memory that ends where its buffer ends, so that a
 * sanitizer sees any step too far; and its checksum computed from nothing, by
 * bytes, as the reference for every incremental one.
 */
#ifndef _SEG_H
#define _SEG_H

#include <stdlib.h>
#include "shim.h"
#include "ip_vs_x_pure.h"

struct pseudo {
	bool			v6;
	union nf_inet_addr	saddr, daddr;
	u8			proto;
};

static inline u32 ref_add(u32 sum, const void *p, unsigned int len)
{
	const u8 *b = p;
	unsigned int i;

	for (i = 0; i < len; i++)
		sum += i & 1 ? b[i] : b[i] << 8;
	return sum;
}

static inline u16 ref_fold(u32 sum)
{
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return sum;
}

static inline u32 ref_pseudo(const struct pseudo *ph, unsigned int len)
{
	unsigned int n = ph->v6 ? 16 : 4;
	u32 sum = ref_add(ref_add(0, &ph->saddr, n), &ph->daddr, n);

	return sum + len + ph->proto;
}

/* What the checksum field must hold; partial: of a packet the device completes */
static inline u16 ref_check(const struct pseudo *ph, const u8 *l4, unsigned int len,
			    unsigned int field, bool partial)
{
	u32 sum = ref_pseudo(ph, len);

	if (partial)
		return ref_fold(sum);
	sum = ref_fold(sum + ref_fold(ref_add(0, l4, field)) +
		       ref_fold(ref_add(0, l4 + field + 2, len - field - 2)));
	return (u16)~sum;
}

/* 0 and 0xffff are the same number to a checksum */
static inline bool ref_same(u16 a, u16 b)
{
	return a == b || (a + b == 0xffff && (!a || !b));
}

#define TCP_CHECK	16
#define UDP_CHECK	6

/* A TCP segment with the options of opt, padded with padding to a full word */
static inline u8 *seg_new(const u8 *opt, unsigned int optlen, unsigned int data, unsigned int *len)
{
	unsigned int hl = 20 + (optlen + 3) / 4 * 4, i;
	u8 *b = calloc(1, hl + data);
	struct tcphdr *th = (struct tcphdr *)b;

	th->source = htons(40000);
	th->dest = htons(80);
	th->seq = htonl(0xfffffff0);
	th->ack_seq = htonl(0x01020304);
	th->window = htons(501);
	th->doff = hl / 4;
	if (optlen)
		memcpy(b + 20, opt, optlen);
	for (i = 0; i < data; i++)
		b[hl + i] = i * 7 + 1;
	*len = hl + data;
	return b;
}

static inline void put_check(u8 *p, u16 check)
{
	p[0] = check >> 8;
	p[1] = check & 0xff;
}

static inline u16 get_check(const u8 *p)
{
	return p[0] << 8 | p[1];
}

#endif
