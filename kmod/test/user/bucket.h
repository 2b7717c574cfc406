/* SPDX-License-Identifier: GPL-2.0-only */
/* A limit as the module has it, with as many CPUs as a test wants */
#ifndef _BUCKET_H
#define _BUCKET_H

#include "../../src/ip_vs_x_rate.h"

#define CPUS_MAX 8

struct bucket {
	struct ip_vs_x_rate	r;
	u64			at;
	struct ip_vs_x_rate_cpu	cpu[CPUS_MAX];
	unsigned int		asked;	/* how often the upper level was looked at */
};

static inline void bucket_init(struct bucket *b, u64 rate, u64 burst, bool debt, unsigned int cpus,
			       u64 now)
{
	unsigned int i;

	memset(b, 0, sizeof(*b));
	ip_vs_x_rate_init(&b->r, rate, burst, debt, cpus);
	b->at = ip_vs_x_rate_full(&b->r, now);
	for (i = 0; i < CPUS_MAX; i++)
		b->cpu[i].retry = now;
}

/* The order of ip_vs_x_limit.c, without its atomics */
static inline bool bucket_take(struct bucket *b, unsigned int cpu, u64 now, u64 n)
{
	struct ip_vs_x_rate_cpu *c = &b->cpu[cpu];
	u64 want;

	if (ip_vs_x_rate_cached(&b->r, c, n, &want))
		return true;
	if ((s64)(c->retry - now) > 0)
		return false;
	b->asked++;
	if (ip_vs_x_rate_take(&b->r, &b->at, now, want, &c->retry)) {
		ip_vs_x_rate_got(c, want, n);
		return true;
	}
	if (b->r.debt || want == n)
		return false;
	b->asked++;
	if (!ip_vs_x_rate_take(&b->r, &b->at, now, n, &c->retry))
		return false;
	ip_vs_x_rate_got(c, n, n);
	return true;
}

#endif
