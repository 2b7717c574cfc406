/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The arithmetic of limits: rates by buckets of two levels, and the share of
 * ports in use. Compiled in user space too, as ip_vs_x_pure.h is.
 *
 * The upper level is one number that all CPUs share: the time at which the
 * bucket would be full again, less its depth. What may be taken at a time is
 * the distance between it and now, so there is nothing to refill and no
 * fraction of a token is ever lost. Taking n tokens moves it by n / rate.
 *
 * The lower level is what one CPU has taken in advance: a quantum of about ten
 * milliseconds of its share. While that lasts the CPU does not look at the
 * upper level, and after a refusal not before it can have become worthwhile.
 */
#ifndef _IP_VS_X_RATE_H
#define _IP_VS_X_RATE_H

#ifdef __KERNEL__
#include <linux/math64.h>
#include <linux/minmax.h>
#include <linux/time64.h>
#include <linux/types.h>
#else
#include "shim.h"
#endif

#define IP_VS_X_RATE_MAX	1000000000000ULL	/* a second; x 10^7 fits in u64 */
#define IP_VS_X_RATE_NS		1000000000ULL
#define IP_VS_X_RATE_BACKOFF	1000000ULL		/* ns: a refused CPU asks no sooner */
#define IP_VS_X_RATE_TAKE_MAX	10000000000ULL		/* tokens in one go */

/* One limit, as configured. debt: what is taken may be more than there is. */
struct ip_vs_x_rate {
	u64	rate;		/* tokens a second, 1..IP_VS_X_RATE_MAX; 0: no limit */
	u64	depth;		/* ns it takes to fill the bucket */
	u64	quantum;	/* tokens a CPU takes in advance */
	bool	debt;
};

/* The lower level. Belongs to its CPU, with softirqs off. */
struct ip_vs_x_rate_cpu {
	s64	tokens;
	u64	retry;		/* ns: refused until then */
};

/* Nanoseconds that n tokens take, rounded up: never more than rate is let through */
static inline u64 ip_vs_x_rate_cost(const struct ip_vs_x_rate *r, u64 n)
{
	if (n > IP_VS_X_RATE_TAKE_MAX)
		n = IP_VS_X_RATE_TAKE_MAX;
	return div64_u64(n * IP_VS_X_RATE_NS + r->rate - 1, r->rate);
}

/*
 * burst tokens may come at once. A CPU's share of ten milliseconds is its
 * quantum, but never so much that all CPUs together hold more than the burst.
 */
static inline void ip_vs_x_rate_init(struct ip_vs_x_rate *r, u64 rate, u64 burst, bool debt,
				     unsigned int cpus)
{
	u64 share;

	r->rate = rate;
	r->debt = debt;
	if (!rate)
		return;
	if (!burst)
		burst = 1;
	r->depth = ip_vs_x_rate_cost(r, burst);
	share = div64_u64(rate, 100);
	if (share > burst / 2)
		share = burst / 2;
	r->quantum = div64_u64(share, cpus);
	if (!r->quantum)
		r->quantum = 1;
}

/* Of a bucket that is full at now */
static inline u64 ip_vs_x_rate_full(const struct ip_vs_x_rate *r, u64 now)
{
	return now - r->depth;
}

/*
 * The upper level: takes n tokens from *at, as of now. On refusal *at stays and
 * *retry is when it is worth to ask again. Times are compared as they wrap.
 */
static inline bool ip_vs_x_rate_take(const struct ip_vs_x_rate *r, u64 *at, u64 now, u64 n,
				     u64 *retry)
{
	u64 cost = ip_vs_x_rate_cost(r, n), from = *at, wait;

	/* full for longer than it takes to fill it */
	if ((s64)(now - from) > (s64)r->depth)
		from = now - r->depth;
	if (r->debt ? (s64)(now - from) > 0 : (s64)(now - from) >= (s64)cost) {
		*at = from + cost;
		return true;
	}
	wait = r->debt ? from - now + 1 : from + cost - now;
	if (wait < IP_VS_X_RATE_BACKOFF)
		wait = r->depth / 2 < IP_VS_X_RATE_BACKOFF ? r->depth / 2 : IP_VS_X_RATE_BACKOFF;
	*retry = now + wait;
	return false;
}

/*
 * The lower level: may n tokens be taken without a look at the upper one? Then
 * they are. Else want is what to ask it for: first that, then, without debt, n.
 */
static inline bool ip_vs_x_rate_cached(const struct ip_vs_x_rate *r, struct ip_vs_x_rate_cpu *c,
				       u64 n, u64 *want)
{
	if (r->debt ? c->tokens > 0 : c->tokens >= (s64)n) {
		c->tokens -= n;
		return true;
	}
	*want = r->debt ? r->quantum + n - c->tokens : r->quantum > n ? r->quantum : n;
	return false;
}

/* The upper level gave got tokens, of which n are used */
static inline void ip_vs_x_rate_got(struct ip_vs_x_rate_cpu *c, u64 got, u64 n)
{
	c->tokens += (s64)(got - n);
}

/*
 * How far a group is used up: 0, or 1 from 80 % on, or 2 from 95 % on; each is
 * left again only five per cent further down, so that it is not told all day.
 */
static inline unsigned int ip_vs_x_ports_level(u32 used, u32 all, unsigned int level)
{
	u64 n = (u64)used * 100;

	if (!all)
		return 0;
	if (n >= (u64)all * 95 || (level >= 2 && n >= (u64)all * 90))
		return 2;
	if (n >= (u64)all * 80 || (level >= 1 && n >= (u64)all * 75))
		return 1;
	return 0;
}

#endif
