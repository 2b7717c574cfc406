// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/*
 * Any limit and any arrivals, on any CPUs: never more passes than the rate, the
 * bucket and what CPUs hold in advance allow, and after a pause something does.
 *
 * Input: rate (5 bytes), burst (3), debt and CPUs (1); then arrivals of 4 bytes:
 * CPU, size, two of the time since the last.
 */
#include <stdlib.h>
#include "bucket.h"

int LLVMFuzzerTestOneInput(const u8 *in, size_t n);
int LLVMFuzzerTestOneInput(const u8 *in, size_t n)
{
	u64 rate = 0, burst = 0, now = 0, passed = 0, most = 0;
	unsigned int cpus;
	struct bucket b;

	if (n < 13)
		return 0;
	memcpy(&rate, in, 5);
	memcpy(&burst, in + 5, 3);
	cpus = (in[8] & 7) + 1;
	if (!rate || rate > IP_VS_X_RATE_MAX)
		return 0;
	bucket_init(&b, rate, burst, in[8] & 8, cpus, now);
	for (in += 9, n -= 9; n >= 4; in += 4, n -= 4) {
		/* up to 16 ms, in steps that differ */
		u64 size = b.r.debt ? (u64)in[1] * 257 + 1 : 1;

		now += ((u64)in[2] << 16) + in[3];
		if (bucket_take(&b, in[0] % cpus, now, size))
			passed += size;
		if (size > most)
			most = size;
	}
	/*
	 * What the time brought, the bucket, a quantum and a packet in debt for each CPU,
	 * and the last that the upper level gave, which paid such a debt.
	 */
	__uint128_t fair = (__uint128_t)rate * now / IP_VS_X_RATE_NS + (burst ? burst : 1) + 1 +
			   (__uint128_t)(cpus + 1) * (b.r.quantum + most + 1) + most;

	if (passed > fair)
		abort();
	/* a bucket's time and a second later there is a token for whoever asks */
	now += b.r.depth + (b.r.debt ? (u64)(b.at > now ? b.at - now : 0) : 0) + IP_VS_X_RATE_NS * 2;
	if (!bucket_take(&b, 0, now, 1))
		abort();
	return 0;
}
