// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/*
 * TOA into any segment that has room for it: found again first, with the right
 * client, everything else unchanged and the checksum right; and the quote of
 * any length of the result.
 *
 * Input: family and partial (bits of one byte), kind, length of the IP header
 * in words, quoted bytes, 18 bytes of client; the rest are options and data.
 */
#include "seg.h"

#define HEAD 22

static void quote(const u8 *seg, unsigned int len, unsigned int avail)
{
	const struct ip_vs_x_edit e = { .source = htons(1), .dest = htons(2), .seq = 3, .ack = 4 };
	u8 *q;

	avail = 4 + avail % 17;
	if (avail > len)
		avail = len;
	q = malloc(avail);
	memcpy(q, seg, avail);
	ip_vs_x_quote_tcp(q, avail, &e, 5);
	memcpy(q, seg, avail);
	ip_vs_x_quote_udp(q, avail, &e, 5);
	free(q);
}

int LLVMFuzzerTestOneInput(const u8 *in, size_t n);
int LLVMFuzzerTestOneInput(const u8 *in, size_t n)
{
	struct pseudo ph = { .saddr.ip = 1, .daddr.ip = 2, .proto = 6 };
	unsigned int thoff, optlen, len, size;
	u8 opt[IP_VS_X_TOA_LEN6], *seg, *pkt, kind;
	union nf_inet_addr addr;
	struct ip_vs_x_opts w;
	struct tcphdr *th;
	bool v6, partial;
	__be16 port;
	__wsum sum;

	if (n < HEAD)
		return 0;
	v6 = in[0] & 1;
	partial = in[0] & 2;
	kind = in[1] < 9 ? 254 : in[1];
	thoff = in[2] % 32 * 4;
	memcpy(&port, in + 4, 2);
	memcpy(&addr, in + 6, 16);
	optlen = n - HEAD > 40 ? 40 : n - HEAD;
	size = ip_vs_x_toa_build(opt, kind, v6, &addr, port);

	seg = seg_new(in + HEAD, optlen, in[3], &len);
	quote(seg, len, in[3]);
	if (!ip_vs_x_opt_fits((struct tcphdr *)seg, size))
		goto out;
	put_check(seg + TCP_CHECK, ref_check(&ph, seg, len, TCP_CHECK, partial));
	pkt = calloc(1, size + thoff + len);
	memcpy(pkt + size + thoff, seg, len);
	sum = ip_vs_x_opt_insert(pkt, thoff, opt, size);
	th = (struct tcphdr *)(pkt + thoff);
	th->check = ip_vs_x_check(th->check, partial,
				  ip_vs_x_sum2(0, htons(len), htons(len + size)), sum);
	if (!ref_same(get_check((u8 *)th + TCP_CHECK),
		      ref_check(&ph, (u8 *)th, len + size, TCP_CHECK, partial)))
		abort();
	w = ip_vs_x_opts(th);
	if (ip_vs_x_opt_next(&w) != (u8 *)(th + 1) || memcmp(th + 1, opt, size) ||
	    memcmp((u8 *)(th + 1) + size, seg + 20, len - 20))
		abort();
	free(pkt);
out:
	free(seg);
	return 0;
}
