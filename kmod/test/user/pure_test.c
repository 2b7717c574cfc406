// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/* Tables for ip_vs_x_pure.h. Prints one line a failure and "ok N" at the end. */
#include <stdio.h>
#include "seg.h"

static unsigned int checks, failures;

#define CHECK(ok, fmt, args...) do {					\
	checks++;							\
	if (!(ok)) {							\
		failures++;						\
		printf("%s:%d: " fmt "\n", __func__, __LINE__, ##args);	\
	}								\
} while (0)

static const struct pseudo from4 = {
	.saddr.ip = 0x0a0200c0, .daddr.ip = 0x016433c6, .proto = 6,
};
static const struct pseudo to4 = {
	.saddr.ip = 0x0100000a, .daddr.ip = 0x0200ffff, .proto = 6,
};
static const struct pseudo from6 = {
	.v6 = true, .proto = 6,
	.saddr.ip6 = { 0xb80d0120, 0, 0, 0x0a000000 }, .daddr.ip6 = { 0xb80d0120, 1, 2, 0xffffffff },
};
static const struct pseudo to6 = {
	.v6 = true, .proto = 6,
	.saddr.ip6 = { 0xfd, 7, 0xfffffffe, 1 }, .daddr.ip6 = { 0xfd, 0, 9, 0x02000000 },
};

struct opts { u8 n; u8 b[40]; };
#define OPTS(...) { sizeof((u8[]){ __VA_ARGS__ }), { __VA_ARGS__ } }

static void test_walk(void)
{
	static const struct { const char *name; struct opts o; u8 kinds[8]; } t[] = {
		{ "end at once", OPTS(0, 1, 2, 4), {} },
		{ "only padding", OPTS(1, 1, 1, 1), {} },
		{ "Linux SYN", OPTS(2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7),
		  { 2, 4, 8, 3 } },
		{ "TS", OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), { 8 } },
		{ "nothing behind the end", OPTS(3, 3, 7, 0, 254, 8, 0, 0, 0, 0, 0, 0), { 3 } },
		{ "length 0", OPTS(3, 3, 7, 5, 0, 8, 0, 0), { 3 } },
		{ "length 1", OPTS(5, 1, 4, 2), {} },
		{ "over the end by one", OPTS(1, 1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7), {} },
		{ "exactly to the end", OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8), { 8 } },
		{ "kind without length", OPTS(1, 1, 1, 5), {} },
	};
	unsigned int i, n, len;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		u8 *seg = seg_new(t[i].o.b, t[i].o.n, 0, &len), *o;
		struct ip_vs_x_opts w = ip_vs_x_opts((struct tcphdr *)seg);

		for (n = 0; (o = ip_vs_x_opt_next(&w)); n++)
			CHECK(n < 8 && o[0] == t[i].kinds[n], "%s: option %u is %u, want %u",
			      t[i].name, n, o[0], t[i].kinds[n]);
		CHECK(!t[i].kinds[n], "%s: %u options, want more", t[i].name, n);
		free(seg);
	}
}

/* Rewrites a segment for all of v4, v6, whole checksum, partial one */
static void edit_case(const char *name, const struct opts *in, u8 flags, unsigned int data,
		      const struct ip_vs_x_edit *e, const struct opts *want)
{
	unsigned int how, len, hl;

	for (how = 0; how < 4; how++) {
		const struct pseudo *from = how & 1 ? &from6 : &from4;
		const struct pseudo *to = how & 1 ? &to6 : &to4;
		bool partial = how & 2;
		u8 *seg = seg_new(in->b, in->n, data, &len);
		struct tcphdr *th = (struct tcphdr *)seg;
		__wsum ph;
		u16 ref;

		seg[13] = flags;
		put_check(seg + TCP_CHECK, ref_check(from, seg, len, TCP_CHECK, partial));
		ph = ip_vs_x_sum_addr(0, from->v6, &from->saddr, &to->saddr);
		ph = ip_vs_x_sum_addr(ph, from->v6, &from->daddr, &to->daddr);
		th->check = ip_vs_x_check(th->check, partial, ph, ip_vs_x_tcp_edit(th, e, 0));

		hl = th->doff * 4;
		ref = ref_check(to, seg, len, TCP_CHECK, partial);
		CHECK(ref_same(get_check(seg + TCP_CHECK), ref), "%s/%u: checksum %04x, want %04x",
		      name, how, get_check(seg + TCP_CHECK), ref);
		CHECK(th->source == e->source && th->dest == e->dest, "%s: ports", name);
		CHECK(ntohl(th->seq) == 0xfffffff0 + e->seq, "%s: seq %x", name, ntohl(th->seq));
		CHECK(ntohl(th->ack_seq) == 0x01020304 + (flags & 0x10 ? e->ack : 0),
		      "%s: ack %x", name, ntohl(th->ack_seq));
		CHECK(hl == 20u + want->n && !memcmp(seg + 20, want->b, want->n),
		      "%s/%u: options differ", name, how);
		free(seg);
	}
}

#define SYN 0x02
#define RST 0x04
#define ACK 0x10

static void test_edit(void)
{
	const struct ip_vs_x_edit plain = { .source = htons(1024), .dest = htons(8080) };
	struct ip_vs_x_edit e;
	static const struct {
		const char *name;
		u8 flags;
		struct ip_vs_x_edit e;
		struct opts in, want;
	} t[] = {
		{ "no options", ACK, { .seq = 1, .ack = 2 }, {}, {} },
		{ "no ack: left alone", RST, { .ack = 77 }, {}, {} },
		{ "SACK at an even offset", ACK, { .ack = 0x10 },
		  OPTS(1, 1, 5, 10, 0, 0, 1, 0, 0xff, 0xff, 0xff, 0xf8),
		  OPTS(1, 1, 5, 10, 0, 0, 1, 0x10, 0, 0, 0, 8) },
		{ "SACK at an odd offset", ACK, { .ack = 0x01020304 },
		  OPTS(1, 5, 10, 0x11, 0x22, 0x33, 0x44, 0xff, 0xff, 0xff, 0xff, 0),
		  OPTS(1, 5, 10, 0x12, 0x24, 0x36, 0x48, 1, 2, 3, 3, 0) },
		{ "SACK, no ack flag", SYN, { .ack = 5 },
		  OPTS(1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0),
		  OPTS(1, 1, 5, 10, 0, 0, 1, 0, 0, 0, 2, 0) },
		{ "SACK with half a block", ACK, { .ack = 1 },
		  OPTS(5, 8, 0, 0, 0, 1, 9, 9), OPTS(5, 8, 0, 0, 0, 2, 9, 9) },
		{ "TS and SACK", ACK, { .ack = 1 },
		  OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2),
		  OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1, 5, 10, 0, 0, 0, 2, 0, 0, 0, 3) },
		{ "TS left alone", ACK, { .tsval = 5, .tsecr = 6 },
		  OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8),
		  OPTS(1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8) },
		{ "TS of a request rebased", ACK, { .flags = IP_VS_X_EDIT_TS, .tsval = 0xffffffff },
		  OPTS(1, 1, 8, 10, 0, 0, 0, 1, 5, 6, 7, 8),
		  OPTS(1, 1, 8, 10, 0, 0, 0, 0, 5, 6, 7, 8) },
		{ "TS of a reply rebased", ACK, { .flags = IP_VS_X_EDIT_TS, .tsecr = -5u },
		  OPTS(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 7),
		  OPTS(1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2) },
		{ "TS rebased at an odd offset", ACK, { .flags = IP_VS_X_EDIT_TS, .tsval = 256 },
		  OPTS(1, 8, 10, 0, 0, 0xff, 1, 5, 6, 7, 8, 0),
		  OPTS(1, 8, 10, 0, 1, 0, 1, 5, 6, 7, 8, 0) },
		{ "TS stripped from a SYN", SYN,
		  { .flags = IP_VS_X_EDIT_TS_STRIP },
		  OPTS(2, 4, 5, 180, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7),
		  OPTS(2, 4, 5, 180, 4, 2, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 3, 3, 7) },
		{ "TS stripped, alone", SYN, { .flags = IP_VS_X_EDIT_TS_STRIP },
		  OPTS(1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0),
		  OPTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) },
		{ "TS of later packets not stripped", ACK, { .flags = IP_VS_X_EDIT_TS_STRIP },
		  OPTS(1, 1, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0),
		  OPTS(1, 1, 1, 1, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 0, 0) },
		{ "MSS lowered", SYN | ACK, { .mss_sub = 8 },
		  OPTS(2, 4, 0x05, 0xb4), OPTS(2, 4, 0x05, 0xac) },
		{ "MSS lowered and clamped", SYN | ACK, { .mss_sub = 20, .mss_max = 1200 },
		  OPTS(2, 4, 0x05, 0xb4), OPTS(2, 4, 0x04, 0xb0) },
		{ "MSS below the clamp", SYN, { .mss_max = 1200 },
		  OPTS(2, 4, 0x02, 0x18), OPTS(2, 4, 0x02, 0x18) },
		{ "MSS at an odd offset", SYN, { .mss_max = 0x0123 },
		  OPTS(1, 2, 4, 0x05, 0xb4, 0, 0, 0), OPTS(1, 2, 4, 0x01, 0x23, 0, 0, 0) },
		{ "MSS too small to lower", SYN | ACK, { .mss_sub = 8 },
		  OPTS(2, 4, 0, 95), OPTS(2, 4, 0, 95) },
		{ "MSS only in a SYN", ACK, { .mss_sub = 8, .mss_max = 100 },
		  OPTS(2, 4, 0x05, 0xb4), OPTS(2, 4, 0x05, 0xb4) },
		{ "MSS of a wrong length", SYN, { .mss_max = 100 },
		  OPTS(2, 3, 0x05, 0), OPTS(2, 3, 0x05, 0) },
		{ "forged TOA, 254", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(254, 8, 0, 80, 1, 2, 3, 4), OPTS(1, 1, 1, 1, 1, 1, 1, 1) },
		{ "forged TOA in a SYN, odd offset", SYN, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(1, 254, 8, 0, 80, 1, 2, 3, 4, 1, 1, 0),
		  OPTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0) },
		{ "forged TOA, 253 len 20", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(253, 20, 0, 80, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16),
		  OPTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) },
		{ "forged TOA, 252 and 200", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(252, 8, 0, 80, 1, 2, 3, 4, 200, 8, 0, 80, 1, 2, 3, 4),
		  OPTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) },
		{ "forged TOA of the service's kind", ACK,
		  { .flags = IP_VS_X_EDIT_NO_TOA, .toa_kind = 77 },
		  OPTS(77, 8, 0, 80, 1, 2, 3, 4, 78, 4, 9, 9), OPTS(1, 1, 1, 1, 1, 1, 1, 1, 78, 4, 9, 9) },
		{ "forged TOA behind another", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(254, 8, 0, 80, 1, 2, 3, 4, 254, 8, 0, 81, 1, 2, 3, 4),
		  OPTS(1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1) },
		{ "forged TOA over the end", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(1, 1, 254, 20, 0, 80, 1, 2), OPTS(1, 1, 1, 1, 1, 1, 1, 1) },
		{ "forged TOA of length 0", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(254, 0, 0, 80), OPTS(1, 1, 1, 1) },
		{ "kind 255 is nobody's TOA", ACK, { .flags = IP_VS_X_EDIT_NO_TOA },
		  OPTS(255, 8, 0, 80, 1, 2, 3, 4), OPTS(255, 8, 0, 80, 1, 2, 3, 4) },
		{ "a reply's 254 stays", ACK, {},
		  OPTS(254, 8, 0, 80, 1, 2, 3, 4), OPTS(254, 8, 0, 80, 1, 2, 3, 4) },
		{ "broken list: what is before it is done", ACK, { .ack = 1 },
		  OPTS(5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 8, 9), OPTS(5, 10, 0, 0, 0, 2, 0, 0, 0, 3, 8, 9) },
		{ "40 bytes", ACK, { .ack = 1 },
		  OPTS(1, 1, 5, 34, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5,
		       0, 0, 0, 6, 0, 0, 0, 7, 0, 0, 0, 8, 1, 1, 1, 1),
		  OPTS(1, 1, 5, 34, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 5, 0, 0, 0, 6,
		       0, 0, 0, 7, 0, 0, 0, 8, 0, 0, 0, 9, 1, 1, 1, 1) },
	};
	unsigned int i, data;

	for (i = 0; i < sizeof(t) / sizeof(t[0]); i++) {
		e = t[i].e;
		e.ports = plain.ports;
		for (data = 0; data < 4; data++)
			edit_case(t[i].name, &t[i].in, t[i].flags, data, &e, &t[i].want);
	}
}

/* There and back again gives the segment that was */
static void test_inverse(void)
{
	const struct opts o = OPTS(1, 1, 5, 10, 0xff, 0xff, 0xff, 0, 1, 2, 3, 4);
	struct ip_vs_x_edit go = { .source = htons(1), .dest = htons(2), .seq = 0xdeadbeef,
				   .ack = 0x80000001 };
	struct ip_vs_x_edit back = { .source = htons(40000), .dest = htons(80),
				     .seq = -0xdeadbeefu, .ack = -0x80000001u };
	unsigned int len;
	u8 *a = seg_new(o.b, o.n, 9, &len), *b = seg_new(o.b, o.n, 9, &len);
	__wsum sum;

	a[13] = b[13] = ACK;
	sum = ip_vs_x_tcp_edit((struct tcphdr *)a, &go, 0);
	CHECK(memcmp(a, b, len), "nothing was changed");
	sum = ip_vs_x_tcp_edit((struct tcphdr *)a, &back, sum);
	CHECK(!memcmp(a, b, len), "not the same bytes");
	CHECK(ref_same((u16)~csum_fold(sum), 0), "the sum moved by %04x", (u16)~csum_fold(sum));
	free(a);
	free(b);
}

static void toa_case(bool v6, unsigned int thoff, unsigned int optlen, unsigned int data, bool partial)
{
	const struct pseudo *ph = v6 ? &to6 : &to4;
	union nf_inet_addr client = v6 ? from6.saddr : from4.saddr;
	u8 opt[IP_VS_X_TOA_LEN6], more[40], *seg, *pkt;
	unsigned int n, len, total, i;
	struct tcphdr *th;
	__wsum sum;

	for (i = 0; i < optlen; i++)
		more[i] = i + 100;
	n = ip_vs_x_toa_build(opt, 254, v6, &client, htons(40000));
	CHECK(n == (v6 ? 20 : 8) && opt[0] == 254 && opt[1] == n && opt[2] == 0x9c &&
	      opt[3] == 0x40 && !memcmp(opt + 4, &client, n - 4), "option, v6 %d", v6);

	seg = seg_new(more, optlen, data, &len);
	seg[13] = ACK;
	put_check(seg + TCP_CHECK, ref_check(ph, seg, len, TCP_CHECK, partial));
	total = n + thoff + len;
	pkt = malloc(total);
	memset(pkt, 0xee, n);
	memset(pkt + n, 0x45, thoff);
	memcpy(pkt + n + thoff, seg, len);

	CHECK(ip_vs_x_opt_fits((struct tcphdr *)seg, n) == (20 + optlen + n <= 60), "fits");
	sum = ip_vs_x_opt_insert(pkt, thoff, opt, n);
	th = (struct tcphdr *)(pkt + thoff);
	th->check = ip_vs_x_check(th->check, partial,
				  ip_vs_x_sum2(0, htons(len), htons(len + n)), sum);
	CHECK(ref_same(get_check(pkt + thoff + TCP_CHECK),
		       ref_check(ph, pkt + thoff, len + n, TCP_CHECK, partial)),
	      "checksum, v6 %d thoff %u opts %u data %u partial %d", v6, thoff, optlen, data, partial);
	CHECK(th->doff * 4 == 20 + n + optlen, "doff %u", th->doff);
	CHECK(!memcmp(pkt + thoff + 20, opt, n), "not behind the fixed header");
	CHECK(!memcmp(pkt + thoff + 20 + n, seg + 20, len - 20), "options or data moved");
	for (i = 0; i < thoff; i++)
		CHECK(pkt[i] == 0x45, "IP header byte %u", i);
	free(pkt);
	free(seg);
}

static void test_toa(void)
{
	unsigned int optlen, data, how;

	for (how = 0; how < 8; how++)
		for (data = 0; data < 5; data++)
			for (optlen = 0; optlen <= (how & 1 ? 20 : 32); optlen += 4)
				toa_case(how & 1, how & 2 ? 60 : 20, optlen, data, how & 4);
}

static void test_toa_room(void)
{
	unsigned int doff;

	for (doff = 5; doff < 16; doff++) {
		struct tcphdr th = { .doff = doff };

		CHECK(ip_vs_x_opt_fits(&th, 8) == (doff <= 13), "v4 doff %u", doff);
		CHECK(ip_vs_x_opt_fits(&th, 20) == (doff <= 10), "v6 doff %u", doff);
	}
}

/* A quote of avail bytes; the bytes behind it do not exist */
static void test_quote_tcp(void)
{
	const struct ip_vs_x_edit e = { .source = htons(5000), .dest = htons(443),
					.seq = -100u, .ack = 1000 };
	unsigned int avail, len;
	__wsum ph = ip_vs_x_sum_addr(0, false, &from4.saddr, &to4.saddr);

	ph = ip_vs_x_sum_addr(ph, false, &from4.daddr, &to4.daddr);
	for (avail = 4; avail <= 20; avail++) {
		u8 *seg = seg_new(NULL, 0, 0, &len), *q = malloc(avail);
		u32 ack;

		seg[13] = ACK;
		put_check(seg + TCP_CHECK, ref_check(&from4, seg, len, TCP_CHECK, false));
		memcpy(q, seg, avail);
		ip_vs_x_quote_tcp(q, avail, &e, ph);
		CHECK(!memcmp(q, &e.ports, 4), "%u: ports", avail);
		if (avail >= 8)
			CHECK(get_unaligned_be32(q + 4) == 0xfffffff0 - 100, "%u: seq", avail);
		else
			CHECK(!memcmp(q + 4, seg + 4, avail - 4), "%u: part of seq", avail);
		if (avail >= 12) {
			ack = get_unaligned_be32(q + 8);
			CHECK(ack == 0x01020304 + 1000, "%u: ack %x", avail, ack);
		}
		if (avail == 20)
			CHECK(ref_same(get_check(q + TCP_CHECK),
				       ref_check(&to4, q, 20, TCP_CHECK, false)), "checksum");
		free(q);
		free(seg);
	}
}

static void test_quote_no_ack(void)
{
	const struct ip_vs_x_edit e = { .ack = 1000 };
	u8 syn[20] = { [13] = SYN }, rst[20] = { [8] = 9, [13] = RST };

	ip_vs_x_quote_tcp(syn, 20, &e, 0);
	CHECK(!get_unaligned_be32(syn + 8), "a SYN got an ack");
	ip_vs_x_quote_tcp(rst, 20, &e, 0);
	CHECK(get_unaligned_be32(rst + 8) == 0x09000000, "a field without meaning changed");
}

static void test_udp(void)
{
	const struct ip_vs_x_edit e = { .source = htons(1), .dest = htons(2) };
	__wsum ph = ip_vs_x_sum_addr(0, false, &from4.saddr, &to4.saddr);
	u8 q[8] = { 0, 53, 1, 0, 0, 8, 0, 0 };
	u8 s[4] = { 0, 53, 1, 0 };

	ip_vs_x_quote_udp(q, 8, &e, ph);
	CHECK(!get_check(q + 6), "no checksum became %04x", get_check(q + 6));
	CHECK(!memcmp(q, &e.ports, 4), "ports");
	ip_vs_x_quote_udp(s, 4, &e, ph);
	CHECK(!memcmp(s, &e.ports, 4), "ports of a short quote");

	/* a difference that makes the result 0: 0 would say "no checksum" */
	CHECK(ip_vs_x_check_udp(htons(0x1234), false, 0, csum_unfold(htons(0x1234))) == CSUM_MANGLED_0,
	      "0 sent");
	CHECK(ip_vs_x_check_udp(0, false, 5, 5) == 0, "none wanted");
	CHECK(ip_vs_x_check_udp(0, true, 5, 7) == 5, "partial starts from 0");
}

static void test_mtu(void)
{
	CHECK(ip_vs_x_mtu_less(1500, 8, 68) == 1492, "v4");
	CHECK(ip_vs_x_mtu_less(1500, 20, 1280) == 1480, "v6");
	CHECK(ip_vs_x_mtu_less(1280, 20, 1280) == 1280, "v6 minimum");
	CHECK(ip_vs_x_mtu_less(0, 8, 68) == 0, "a router that tells none");
}

int main(void)
{
	test_walk();
	test_edit();
	test_inverse();
	test_toa();
	test_toa_room();
	test_quote_tcp();
	test_quote_no_ack();
	test_udp();
	test_mtu();
	if (failures)
		printf("FAIL %u of %u\n", failures, checks);
	else
		printf("ok %u\n", checks);
	return failures != 0;
}
