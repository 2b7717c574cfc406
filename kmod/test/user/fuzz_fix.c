// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/*
 * The header that the fixers make against one that a slow model makes: which
 * fields there are is found by a parser of its own, each becomes what its meaning
 * says in numbers of a byte at a time, and no other byte may change. Sequence,
 * acknowledgement and the edges of SACK blocks keep their place in the stream that
 * they speak of; a window never grows. What was added is then taken off again, and
 * the sender's header must be back.
 *
 * Input: flags of byte 13, edit flags, kind, shift of the window, then what is added
 * to sequence, acknowledgement, TSval and TSecr (4 bytes each), MSS limit (2 bytes);
 * the rest are options.
 */
#include "seg.h"

#define HEAD		22
#define FIN_TO_ACK	0x1f

/* A number of the wire, most significant byte first */
static u64 number(const u8 *p, unsigned int n)
{
	u64 v = 0;

	while (n--)
		v = v * 256 + *p++;
	return v;
}

static void store(u8 *p, unsigned int n, u64 v)
{
	for (; n--; v /= 256)
		p[n] = v % 256;
}

static void add(u8 *p, u32 what)
{
	store(p, 4, (number(p, 4) + what) % ((u64)1 << 32));
}

static bool names_sender(u8 kind, u8 own)
{
	return kind == 200 || kind == 252 || kind == 253 || kind == 254 || kind == own;
}

/* One option that is whole, at p; RFC 9293 3.2, RFC 7323 3.2, RFC 2018 3 */
static void model_option(u8 *p, unsigned int len, bool syn, bool ack, const struct ip_vs_x_edit *e)
{
	unsigned int edge;
	u64 mss;

	if ((e->flags & IP_VS_X_EDIT_NO_TOA) && names_sender(p[0], e->toa_kind)) {
		memset(p, 1, len);
	} else if (p[0] == 2 && len == 4 && syn) {
		mss = number(p + 2, 2);
		/* not below what Linux believes; but what is below already stays */
		if (mss >= 88 + (u64)e->mss_sub)
			mss -= e->mss_sub;
		if (e->mss_max != 0 && e->mss_max < mss)
			mss = e->mss_max;
		store(p + 2, 2, mss);
	} else if (p[0] == 5 && ack) {
		for (edge = 0; edge < (len - 2) / 4; edge++)
			add(p + 2 + 4 * edge, e->ack);
	} else if (p[0] == 8 && syn && (e->flags & IP_VS_X_EDIT_TS_STRIP)) {
		memset(p, 1, len);
	} else if (p[0] == 8 && len == 10 && (e->flags & IP_VS_X_EDIT_TS)) {
		add(p + 2, e->tsval);
		if (ack)
			add(p + 6, e->tsecr);
	}
}

static void model(u8 *b, const struct ip_vs_x_edit *e)
{
	unsigned int hl = (b[12] >> 4) * 4, at = 20;
	bool syn = b[13] & 0x02, ack = b[13] & 0x10;
	u64 win = number(b + 14, 2);
	int i;

	memcpy(b, &e->source, 2);
	memcpy(b + 2, &e->dest, 2);
	add(b + 4, e->seq);
	if (ack)
		add(b + 8, e->ack);
	if (!syn) {
		for (i = e->win; i > 0; i--)
			win *= 2;
		for (i = e->win; i < 0; i++)
			win /= 2;
		store(b + 14, 2, win < 65535 ? win : 65535);
	}
	while (at < hl && b[at] != 0) {
		if (b[at] == 1) {
			at++;
		} else if (at + 1 < hl && b[at + 1] >= 2 && at + b[at + 1] <= hl) {
			/* which is not there any more when the option is NOPs */
			unsigned int len = b[at + 1];

			model_option(b + at, len, syn, ack, e);
			at += len;
		} else {
			if ((e->flags & IP_VS_X_EDIT_NO_TOA) && names_sender(b[at], e->toa_kind))
				memset(b + at, 1, hl - at);
			break;
		}
	}
}

static void fix(u8 *seg, unsigned int len, const struct ip_vs_x_edit *e)
{
	static const struct pseudo ph = { .saddr.ip = 1, .daddr.ip = 2, .proto = 6 };
	struct tcphdr *th = (struct tcphdr *)seg;

	put_check(seg + TCP_CHECK, ref_check(&ph, seg, len, TCP_CHECK, false));
	th->check = ip_vs_x_check(th->check, false, 0, ip_vs_x_tcp_edit(th, e, 0));
	if (!ref_same(get_check(seg + TCP_CHECK), ref_check(&ph, seg, len, TCP_CHECK, false)))
		abort();
	memset(seg + TCP_CHECK, 0, 2);
}

int LLVMFuzzerTestOneInput(const u8 *in, size_t n);
int LLVMFuzzerTestOneInput(const u8 *in, size_t n)
{
	struct ip_vs_x_edit e = { .source = htons(7), .dest = htons(8) }, back;
	u8 was[IP_VS_X_TCP_MAX + 3], want[IP_VS_X_TCP_MAX + 3], *seg;
	unsigned int len, optlen;

	if (n < HEAD)
		return 0;
	optlen = n - HEAD > 40 ? 40 : n - HEAD;
	seg = seg_new(in + HEAD, optlen, n & 3, &len);
	seg[13] = in[0] & FIN_TO_ACK;
	e.flags = in[1] & (IP_VS_X_EDIT_TS | IP_VS_X_EDIT_TS_STRIP | IP_VS_X_EDIT_NO_TOA);
	/* as settings take it: 9 to 254 */
	e.toa_kind = in[2] < 9 || in[2] == 255 ? 254 : in[2];
	e.win = in[3] % 29 - 14;
	memcpy(&e.seq, in + 4, 4);
	memcpy(&e.ack, in + 8, 4);
	memcpy(&e.tsval, in + 12, 4);
	memcpy(&e.tsecr, in + 16, 4);
	memcpy(&e.mss_max, in + 20, 2);
	e.mss_sub = in[20] & 1 ? 20 : 8;
	memcpy(was, seg, len);
	memcpy(want, seg, len);

	model(want, &e);
	fix(seg, len, &e);
	if (memcmp(seg, want, len))
		abort();

	/* of what the other direction undoes nothing is lost */
	if (seg[13] & 0x02 || e.flags & IP_VS_X_EDIT_NO_TOA) {
		free(seg);
		return 0;
	}
	memcpy(seg, was, len);
	e.win = 0;
	back = (struct ip_vs_x_edit) {
		.source = htons(40000), .dest = htons(80), .flags = e.flags, .toa_kind = e.toa_kind,
		.seq = -e.seq, .ack = -e.ack, .tsval = -e.tsval, .tsecr = -e.tsecr,
	};
	fix(seg, len, &e);
	fix(seg, len, &back);
	if (memcmp(seg, was, len))
		abort();
	free(seg);
	return 0;
}
