// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/* Cookies: what comes back, for how long, and what does not pass for one */
#include <stdio.h>
#include "seg.h"
#include "ip_vs_x_cookie.h"

static unsigned int checks, failures;

#define CHECK(cond, fmt, args...) do {						\
	checks++;								\
	if (!(cond)) {								\
		failures++;							\
		printf("%s:%d: " fmt "\n", __func__, __LINE__, ##args);		\
	}									\
} while (0)

static const union nf_inet_addr addrs[2][3] = {
	{ { .ip = 0x0201000a }, { .ip = 0x6401000a }, { .ip = 0x0301000a } },
	{ { .ip6 = { 0xb80d0120, 1, 0, 2 } }, { .ip6 = { 0xb80d0120, 1, 0, 100 } },
	  { .ip6 = { 0xb80d0120, 1, 0, 3 } } },
};

static struct ip_vs_x_flow flow(bool v6)
{
	return (struct ip_vs_x_flow) {
		.caddr = &addrs[v6][0], .vaddr = &addrs[v6][1], .cport = htons(4000),
		.vport = htons(80), .v6 = v6,
	};
}

static const struct ip_vs_x_keys one = { .key[0] = { { 1, 2 } }, .n = 1 };

/* The vectors of the paper, appendix A, and of its reference code */
static void test_siphash(void)
{
	siphash_key_t key;
	u8 in[64];
	int i;

	for (i = 0; i < 64; i++)
		in[i] = i;
	memcpy(&key, in, 16);
	key.key[0] = le64toh(key.key[0]);
	key.key[1] = le64toh(key.key[1]);
	CHECK(siphash(in, 15, &key) == 0xa129ca6149be45e5ULL, "15 bytes");
	CHECK(siphash(in, 0, &key) == 0x726fdb47dd0e0e31ULL, "none");
	CHECK(siphash(in, 1, &key) == 0x74f839c593dc67fdULL, "one byte");
}

static void test_mss(void)
{
	static const struct { u16 mss, v4, v6; } t[] = {
		{ 0, 536, 516 }, { 88, 536, 516 }, { 516, 536, 516 }, { 536, 536, 516 },
		{ 1179, 536, 516 }, { 1180, 536, 1180 }, { 1199, 536, 1180 }, { 1200, 1200, 1180 },
		{ 1299, 1200, 1280 }, { 1380, 1360, 1380 }, { 1440, 1440, 1440 },
		{ 1459, 1440, 1440 }, { 1460, 1460, 1440 }, { 8939, 1460, 1440 },
		{ 8940, 1460, 8940 }, { 8960, 8960, 8940 }, { 65535, 8960, 8940 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		u16 v4 = ip_vs_x_mss_of(ip_vs_x_mss_index(t[i].mss, false), false);
		u16 v6 = ip_vs_x_mss_of(ip_vs_x_mss_index(t[i].mss, true), true);

		CHECK(v4 == t[i].v4, "MSS %u becomes %u, want %u", t[i].mss, v4, t[i].v4);
		CHECK(v6 == t[i].v6, "MSS %u becomes %u in IPv6, want %u", t[i].mss, v6, t[i].v6);
	}
}

/* Every combination of options, at every phase of t, comes back */
static void test_options(void)
{
	unsigned int v6, ws, sack, ts, mss, t;

	for (v6 = 0; v6 < 2; v6++)
	for (ws = 0; ws <= IP_VS_X_WS_NONE; ws++)
	for (sack = 0; sack < 2; sack++)
	for (ts = 0; ts < 2; ts++)
	for (mss = 0; mss < 8; mss++)
	for (t = 99; t < 103; t++) {
		struct ip_vs_x_flow f = flow(v6);
		struct ip_vs_x_syn_opts s = {
			.ws = ws, .sack = sack, .ts = ts, .mss = ip_vs_x_mss_of(mss, v6) + 1,
		}, got = {};
		u32 tsval, c = ip_vs_x_cookie_make(&one, &f, 1000, t, &s, &tsval);

		CHECK(ip_vs_x_cookie_check(&one, &f, 1000, c, t, ts, tsval, &got),
		      "%u %u %u %u not taken", ws, sack, ts, mss);
		CHECK(got.ws == ws && got.sack == sack && got.ts == ts &&
		      got.mss == ip_vs_x_mss_of(mss, v6), "came back as %u %u %u %u",
		      got.ws, got.sack, got.ts, got.mss);
		CHECK(!ts || !ip_vs_x_cookie_check(&one, &f, 1000, c, t, true, tsval + 1, &got),
		      "another clock's echo was taken");
	}
}

/* Age in steps: the one before is taken, and the next, for clocks differ */
static void test_age(void)
{
	static const bool want[9] = { 0, 0, 0, 1, 1, 1, 0, 0, 0 };
	unsigned int v6, t;
	int d;

	for (v6 = 0; v6 < 2; v6++)
	for (t = 1000; t < 1300; t++)
	for (d = -4; d <= 4; d++) {
		struct ip_vs_x_flow f = flow(v6);
		struct ip_vs_x_syn_opts s = { .mss = 1460, .ws = 7 }, got;
		u32 tsval, c = ip_vs_x_cookie_make(&one, &f, t * 7, t, &s, &tsval);
		bool ok = ip_vs_x_cookie_check(&one, &f, t * 7, c, t + d, false, 0, &got);

		CHECK(ok == want[d + 4], "t %u: %d steps later %s", t, d, ok ? "taken" : "refused");
	}
}

static void test_tampered(void)
{
	static const struct ip_vs_x_keys other = { .key[0] = { { 1, 3 } }, .n = 1 };
	static const struct ip_vs_x_keys both = { .key = { { { 1, 3 } }, { { 1, 2 } } }, .n = 2 };
	unsigned int v6, i;

	for (v6 = 0; v6 < 2; v6++)
	for (i = 0; i < 32; i++) {
		struct ip_vs_x_syn_opts s = { .mss = 1460, .ws = 7, .sack = true }, got;
		struct ip_vs_x_flow f = flow(v6), g;
		u32 tsval, c = ip_vs_x_cookie_make(&one, &f, 77, 1000, &s, &tsval);

		CHECK(!ip_vs_x_cookie_check(&one, &f, 77, c ^ 1U << i, 1000, false, 0, &got),
		      "with bit %u changed", i);
		CHECK(!ip_vs_x_cookie_check(&one, &f, 77 ^ 1U << i, c, 1000, false, 0, &got),
		      "with bit %u of the client's number changed", i);
		CHECK(!ip_vs_x_cookie_check(&other, &f, 77, c, 1000, false, 0, &got), "other key");
		CHECK(ip_vs_x_cookie_check(&both, &f, 77, c, 1000, false, 0, &got), "previous key");
		g = f;
		g.cport = htons(4001 + i);
		CHECK(!ip_vs_x_cookie_check(&one, &g, 77, c, 1000, false, 0, &got), "other port");
		g = f;
		g.vport = htons(81 + i);
		CHECK(!ip_vs_x_cookie_check(&one, &g, 77, c, 1000, false, 0, &got), "other service");
		g = f;
		g.caddr = &addrs[v6][2];
		CHECK(!ip_vs_x_cookie_check(&one, &g, 77, c, 1000, false, 0, &got), "other client");
		g = f;
		g.vaddr = &addrs[v6][2];
		CHECK(!ip_vs_x_cookie_check(&one, &g, 77, c, 1000, false, 0, &got), "other vip");
	}
}

/* Guesses are right once in 2^22 for each of three steps: 4 million, a few */
static void test_guesses(void)
{
	struct ip_vs_x_flow f = flow(false);
	struct ip_vs_x_syn_opts got;
	unsigned int right = 0;
	u32 x = 1, i;

	for (i = 0; i < 4U << 20; i++) {
		x = x * 1664525 + 1013904223;
		f.cport = htons(i);
		right += ip_vs_x_cookie_check(&one, &f, i >> 8, x, 1000, false, 0, &got);
	}
	CHECK(right < 12, "%u of 4 million guesses were right", right);
}

struct opts { u8 n; u8 b[40]; };
#define OPTS(...) { sizeof((u8[]){ __VA_ARGS__ }), { __VA_ARGS__ } }

static void test_syn_options(void)
{
	static const struct { const char *name; struct opts in; struct ip_vs_x_syn_opts want; } t[] = {
		{ "none", {}, { .mss = 536, .ws = 15 } },
		{ "Linux", OPTS(2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9, 1, 3, 3, 7),
		  { .mss = 1460, .ws = 7, .sack = true, .ts = true, .tsval = 0x01020304, .tsecr = 9 } },
		{ "Linux, but MSS 0 and too large a scale",
		  OPTS(2, 4, 0, 0, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9, 1, 3, 3, 200),
		  { .mss = 536, .ws = 14, .sack = true, .ts = true, .tsval = 0x01020304, .tsecr = 9 } },
		{ "almost Linux", OPTS(2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 9, 1, 3, 2, 7),
		  { .mss = 1460, .ws = 15, .sack = true, .ts = true, .tsval = 0x01020304, .tsecr = 9 } },
		{ "scale beyond the largest", OPTS(3, 3, 200, 1), { .mss = 536, .ws = 14 } },
		{ "wrong lengths", OPTS(2, 3, 5, 3, 2, 4, 4, 3, 1, 8, 8, 1, 2, 3, 4, 5, 6),
		  { .mss = 536, .ws = 15 } },
		{ "MSS 0", OPTS(2, 4, 0, 0), { .mss = 536, .ws = 15 } },
	};
	unsigned int i, len;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		u8 *seg = seg_new(t[i].in.b, t[i].in.n, 0, &len);
		struct ip_vs_x_syn_opts got;

		ip_vs_x_syn_opts_get((struct tcphdr *)seg, &got);
		CHECK(got.mss == t[i].want.mss && got.ws == t[i].want.ws &&
		      got.sack == t[i].want.sack && got.ts == t[i].want.ts &&
		      got.tsval == t[i].want.tsval && got.tsecr == t[i].want.tsecr,
		      "%s: %u %u %u %u %#x %u", t[i].name, got.mss, got.ws, got.sack, got.ts,
		      got.tsval, got.tsecr);
		free(seg);
	}
}

static void test_window(void)
{
	static const struct { u16 win; int shift; u16 want; } t[] = {
		{ 0, 7, 0 }, { 0, -7, 0 }, { 1, 0, 1 }, { 65535, 0, 65535 }, { 65535, 1, 65535 },
		{ 511, 7, 65408 }, { 512, 7, 65535 }, { 127, -7, 0 }, { 128, -7, 1 },
		{ 65535, -14, 3 }, { 65535, 14, 65535 }, { 1, 14, 16384 }, { 4, 14, 65535 },
	};
	unsigned int i;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++)
		CHECK(ip_vs_x_win(t[i].win, t[i].shift) == t[i].want, "%u shifted by %d is %u, want %u",
		      t[i].win, t[i].shift, ip_vs_x_win(t[i].win, t[i].shift), t[i].want);
}

int main(void)
{
	test_siphash();
	test_mss();
	test_options();
	test_age();
	test_tampered();
	test_guesses();
	test_syn_options();
	test_window();
	if (failures)
		return 1;
	printf("ok %u\n", checks);
	return 0;
}
