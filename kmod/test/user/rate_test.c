// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/* Limits: what passes in a second, at once, after a pause, on one CPU and on several */
#include <stdio.h>
#include "bucket.h"

static unsigned int checks, failures;

#define CHECK(cond, fmt, args...) do {						\
	checks++;								\
	if (!(cond)) {								\
		failures++;							\
		printf("%s:%d: " fmt "\n", __func__, __LINE__, ##args);		\
	}									\
} while (0)

#define SEC IP_VS_X_RATE_NS

static u64 start;

static struct bucket make(u64 rate, u64 burst, bool debt, unsigned int cpus)
{
	struct bucket b;

	bucket_init(&b, rate, burst, debt, cpus, start);
	return b;
}

/* What passes from second from to second to, of events that come offered a second in turn */
static u64 passed(struct bucket *b, unsigned int cpus, u64 offered, u64 size, u64 from, u64 to)
{
	u64 i, n = 0;

	for (i = offered * from; i < offered * to; i++)
		n += bucket_take(b, i % cpus, start + i * SEC / offered, size);
	return n;
}

/* Offered more than the rate: each second passes it, within 5 %, and the burst once */
static void test_rates(void)
{
	static const struct { u64 rate, burst, offered; } t[] = {
		{ 1, 1, 1000 }, { 7, 1, 1000 }, { 100, 5, 1000 }, { 100, 1, 1000 }, { 100, 5, 101 },
		{ 100, 5, 50000 }, { 1000, 50, 100000 }, { 33333, 1666, 200000 },
		{ 100000, 5000, 1000000 },
	};
	unsigned int i, cpus, s;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		for (cpus = 1; cpus <= CPUS_MAX; cpus *= 2) {
			struct bucket b = make(t[i].rate, t[i].burst, false, cpus);
			u64 n = passed(&b, cpus, t[i].offered, 1, 0, 1);
			u64 slack = t[i].rate / 20 + 1;

			CHECK(n + slack >= t[i].rate && n <= t[i].rate + t[i].burst * 2,
			      "rate %llu, %u CPUs, first second: %llu",
			      (unsigned long long)t[i].rate, cpus, (unsigned long long)n);
			for (s = 1; s < 4; s++) {
				n = passed(&b, cpus, t[i].offered, 1, s, s + 1);
				CHECK(n + slack >= t[i].rate && n <= t[i].rate + slack,
				      "rate %llu, %u CPUs, second %u: %llu",
				      (unsigned long long)t[i].rate, cpus, s, (unsigned long long)n);
			}
		}
	}
}

/* Less than the rate: all of it, evenly or in bursts that fit */
static void test_below(void)
{
	struct bucket b = make(100, 5, false, 2);
	unsigned int i, k, n = 0;

	CHECK(passed(&b, 2, 99, 1, 0, 10) == 990, "99 of 100 a second");
	b = make(100, 5, false, 1);
	for (i = 0; i < 20; i++)
		for (k = 0; k < 5; k++)
			n += bucket_take(&b, 0, start + i * SEC / 20, 1);
	CHECK(n == 100, "20 bursts of 5 a second: %u", n);
}

/* A pause fills the bucket, and not more than that */
static void test_burst(void)
{
	struct bucket b = make(1000, 50, false, 1);
	unsigned int i, n = 0;

	for (i = 0; i < 500; i++)
		n += bucket_take(&b, 0, start + 3600 * SEC, 1);
	CHECK(n == 50, "after an hour: %u", n);
	n = 0;
	for (i = 0; i < 500; i++)
		n += bucket_take(&b, 0, start + 3600 * SEC + SEC / 100, 1);
	CHECK(n == 10, "ten milliseconds later: %u", n);
}

/* Bytes: packets of any size, large ones beyond the bucket too; the mean is the rate */
static void test_bytes(void)
{
	static const u64 rates[] = { 1000, 125000, 12500000, 1250000000, 125000000000ULL };
	static const u64 sizes[] = { 40, 1500, 65535, 524288 };
	unsigned int i, k, cpus;

	for (i = 0; i < sizeof(rates) / sizeof(*rates); i++) {
		for (k = 0; k < sizeof(sizes) / sizeof(*sizes); k++) {
			for (cpus = 1; cpus <= 4; cpus *= 4) {
				u64 rate = rates[i], size = sizes[k], burst = rate / 10;
				struct bucket b = make(rate, burst, true, cpus);
				/* long enough for many packets, offered at four times the rate */
				u64 secs = size * 100 / rate + 1, step, t, sum = 0;

				step = size * SEC / (rate * 4);
				if (!step)
					step = 1;
				for (t = 0; t < secs * SEC && t / step < 200000; t += step)
					if (bucket_take(&b, t / step % cpus, start + t, size))
						sum += size;
				/* rate x time, the bucket, and one packet a CPU */
				u64 fair = (u64)((__uint128_t)rate * t / SEC);

				if (fair > t / step * size)
					fair = t / step * size;

				CHECK(sum <= fair + burst * 2 + size * (cpus + 1) &&
				      sum + fair / 20 + size >= fair,
				      "%llu B/s, %llu a packet, %u CPUs: %llu of %llu",
				      (unsigned long long)rate, (unsigned long long)size, cpus,
				      (unsigned long long)sum, (unsigned long long)fair);
			}
		}
	}
}

/* A flood does not make every packet look at what all CPUs share */
static void test_quiet(void)
{
	struct bucket b = make(100, 5, false, 1);

	passed(&b, 1, 1000000, 1, 0, 1);
	CHECK(b.asked < 2000, "1,000,000 refusals looked %u times", b.asked);
	b = make(1000000, 50000, false, 1);
	passed(&b, 1, 2000000, 1, 0, 1);
	CHECK(b.asked < 10000, "1,000,000 takes looked %u times", b.asked);
}

/* Other settings on the same bucket: soon right */
static void test_change(void)
{
	struct bucket b = make(1, 1, false, 1);
	u64 n;

	bucket_take(&b, 0, start, 1);
	ip_vs_x_rate_init(&b.r, 1000, 50, false, 1);
	b.cpu[0].retry = start;
	n = passed(&b, 1, 2000, 1, 1, 2);
	CHECK(n > 940 && n < 1101, "after a change: %llu", (unsigned long long)n);
}

static void test_ports(void)
{
	static const struct { u32 used, all; unsigned int level, want; } t[] = {
		{ 0, 0, 0, 0 }, { 5, 0, 2, 0 }, { 79, 100, 0, 0 }, { 80, 100, 0, 1 }, { 94, 100, 1, 1 },
		{ 95, 100, 1, 2 }, { 100, 100, 0, 2 }, { 120, 100, 0, 2 }, { 90, 100, 2, 2 },
		{ 89, 100, 2, 1 }, { 75, 100, 1, 1 }, { 74, 100, 1, 0 }, { 74, 100, 2, 0 },
		{ 75, 100, 2, 1 }, { 4, 4, 0, 2 }, { 3, 4, 0, 0 }, { 3, 4, 1, 1 },
		{ 4000000000U, 4294967295U, 0, 1 },
	};
	unsigned int i, got;

	for (i = 0; i < sizeof(t) / sizeof(*t); i++) {
		got = ip_vs_x_ports_level(t[i].used, t[i].all, t[i].level);
		CHECK(got == t[i].want, "%u of %u from %u: %u", t[i].used, t[i].all, t[i].level, got);
	}
}

int main(void)
{
	/* also with a clock about to wrap */
	for (start = 1000 * SEC; ; start = -2 * SEC) {
		test_rates();
		test_below();
		test_burst();
		test_bytes();
		test_quiet();
		test_change();
		if (start != 1000 * SEC)
			break;
	}
	test_ports();
	if (failures)
		printf("FAIL %u of %u\n", failures, checks);
	else
		printf("ok %u\n", checks);
	return failures != 0;
}
