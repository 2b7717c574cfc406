/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * SipHash-2-4 (Aumasson, Bernstein: SipHash, a fast short-input PRF) under the
 * names that the kernel has for it.
 */
#ifndef _SIPHASH_H
#define _SIPHASH_H

#include "shim.h"

typedef struct { u64 key[2]; } siphash_key_t;
#define SIPHASH_ALIGNMENT	8
#define __aligned(n)		__attribute__((aligned(n)))

static inline u64 sip_rol(u64 v, int n)
{
	return v << n | v >> (64 - n);
}

static inline void sip_round(u64 *v)
{
	v[0] += v[1];
	v[2] += v[3];
	v[1] = sip_rol(v[1], 13) ^ v[0];
	v[3] = sip_rol(v[3], 16) ^ v[2];
	v[0] = sip_rol(v[0], 32);
	v[2] += v[1];
	v[0] += v[3];
	v[1] = sip_rol(v[1], 17) ^ v[2];
	v[3] = sip_rol(v[3], 21) ^ v[0];
	v[2] = sip_rol(v[2], 32);
}

static inline void sip_word(u64 *v, u64 m)
{
	v[3] ^= m;
	sip_round(v);
	sip_round(v);
	v[0] ^= m;
}

static inline u64 siphash(const void *data, size_t len, const siphash_key_t *key)
{
	u64 v[4] = {
		key->key[0] ^ 0x736f6d6570736575ULL, key->key[1] ^ 0x646f72616e646f6dULL,
		key->key[0] ^ 0x6c7967656e657261ULL, key->key[1] ^ 0x7465646279746573ULL,
	}, last = (u64)len << 56, m;
	const u8 *b = data;
	size_t i;

	for (i = 0; i + 8 <= len; i += 8) {
		memcpy(&m, b + i, 8);
		sip_word(v, le64toh(m));
	}
	for (; i < len; i++)
		last |= (u64)b[i] << (i % 8 * 8);
	sip_word(v, last);
	v[2] ^= 0xff;
	for (i = 0; i < 4; i++)
		sip_round(v);
	return v[0] ^ v[1] ^ v[2] ^ v[3];
}

static inline u64 siphash_3u64(u64 a, u64 b, u64 c, const siphash_key_t *key)
{
	u64 in[3] = { htole64(a), htole64(b), htole64(c) };

	return siphash(in, sizeof(in), key);
}

#endif
