/* SPDX-License-Identifier: GPL-2.0-only */
/* The few words of the kernel that ip_vs_x_pure.h and ip_vs_x_rate.h use, for user space */
#ifndef _SHIM_H
#define _SHIM_H

#include <endian.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <linux/netfilter.h>
#include <linux/tcp.h>
#include <linux/types.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t s64;
typedef int8_t s8;

#define __force
#define htons(x)	((__be16)htobe16(x))
#define ntohs(x)	be16toh(x)
#define htonl(x)	((__be32)htobe32(x))
#define ntohl(x)	be32toh(x)
#define CSUM_MANGLED_0	((__sum16)0xffff)
#define div64_u64(a, b)	((u64)(a) / (u64)(b))

enum { TCPOPT_EOL, TCPOPT_NOP, TCPOPT_MSS, TCPOPT_WINDOW, TCPOPT_SACK_PERM, TCPOPT_SACK,
       TCPOPT_TIMESTAMP = 8 };
enum { TCPOLEN_MSS = 4, TCPOLEN_WINDOW = 3, TCPOLEN_SACK_PERM = 2, TCPOLEN_TIMESTAMP = 10 };

#define get_unaligned(p) ({ __typeof__(*(p)) _v; memcpy((void *)&_v, (p), sizeof(_v)); _v; })
#define put_unaligned(v, p) ({ __typeof__(*(p)) _v = (v); memcpy((p), &_v, sizeof(_v)); })
#define get_unaligned_be16(p) ntohs(get_unaligned((__be16 *)(p)))
#define get_unaligned_be32(p) ntohl(get_unaligned((__be32 *)(p)))
#define put_unaligned_be16(v, p) put_unaligned(htons(v), (__be16 *)(p))
#define put_unaligned_be32(v, p) put_unaligned(htonl(v), (__be32 *)(p))

static inline __wsum csum_add(__wsum a, __wsum b)
{
	uint64_t s = (uint64_t)a + b;

	return (__wsum)(s + (s >> 32));
}

static inline __wsum csum_sub(__wsum a, __wsum b)
{
	return csum_add(a, ~b);
}

static inline __wsum csum_shift(__wsum sum, int offset)
{
	return offset & 1 ? sum >> 8 | sum << 24 : sum;
}

static inline __wsum csum_unfold(__sum16 n)
{
	return n;
}

static inline __sum16 csum_fold(__wsum sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (__sum16)~sum;
}

static inline __wsum csum_partial(const void *p, int len, __wsum sum)
{
	const u8 *b = p;
	int i;

	for (i = 0; i < len; i++)
		sum = csum_add(sum, htons(i & 1 ? b[i] : b[i] << 8));
	return sum;
}

#endif
