// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/*
 * Any bytes as TCP options, any edit: no step outside the header, the checksum
 * stays right, and what must not be forwarded is not.
 *
 * Input: flags of byte 13, edit flags, kind, three numbers of 4 bytes, MSS limit
 * (2 bytes); the rest are options.
 */
#include "seg.h"

#define HEAD 17

static bool toa_left(struct tcphdr *th, u8 own)
{
	struct ip_vs_x_opts w = ip_vs_x_opts(th);
	u8 *o;

	while ((o = ip_vs_x_opt_next(&w)))
		if (ip_vs_x_toa_kind(o[0], own))
			return true;
	return w.p < w.end && ip_vs_x_toa_kind(*w.p, own);
}

int LLVMFuzzerTestOneInput(const u8 *in, size_t n);
int LLVMFuzzerTestOneInput(const u8 *in, size_t n)
{
	static const struct pseudo ph = { .saddr.ip = 1, .daddr.ip = 2, .proto = 6 };
	struct ip_vs_x_edit e = { .source = htons(7), .dest = htons(8) };
	unsigned int len, optlen;
	struct tcphdr *th;
	u8 *seg;

	if (n < HEAD)
		return 0;
	optlen = n - HEAD > 40 ? 40 : n - HEAD;
	seg = seg_new(in + HEAD, optlen, n & 3, &len);
	th = (struct tcphdr *)seg;
	seg[13] = in[0];
	e.flags = in[1];
	e.win = (s8)in[1] / 8;
	/* kinds below 9 have a meaning of their own and are refused as settings */
	e.toa_kind = in[2] < 9 ? 254 : in[2];
	memcpy(&e.seq, in + 3, 4);
	memcpy(&e.ack, in + 7, 4);
	memcpy(&e.tsval, in + 11, 4);
	e.tsecr = ~e.tsval;
	memcpy(&e.mss_max, in + 15, 2);
	e.mss_sub = in[15] & 1 ? 20 : 8;

	put_check(seg + TCP_CHECK, ref_check(&ph, seg, len, TCP_CHECK, false));
	th->check = ip_vs_x_check(th->check, false, 0, ip_vs_x_tcp_edit(th, &e, 0));
	if (!ref_same(get_check(seg + TCP_CHECK), ref_check(&ph, seg, len, TCP_CHECK, false)))
		abort();
	if ((e.flags & IP_VS_X_EDIT_NO_TOA) && toa_left(th, e.toa_kind))
		abort();
	if (th->syn && (e.flags & IP_VS_X_EDIT_TS_STRIP) && ip_vs_x_ts_find(th))
		abort();
	free(seg);
	return 0;
}
