// SPDX-License-Identifier: GPL-2.0-only

//go:build ignore

/*
 * Any bytes as the options of a SYN: what is read from them fits a cookie, comes
 * back out of it, and what is written of it reads the same.
 *
 * Input: flags (1 byte: IPv6, with TS, key to use, TS echo right), ISN, t, a number to
 * change the cookie by (4 bytes each); the rest are options.
 */
#include "seg.h"
#include "ip_vs_x_cookie.h"

#define HEAD 13

static void same(const struct ip_vs_x_syn_opts *a, const struct ip_vs_x_syn_opts *b)
{
	if (a->mss != b->mss || a->ws != b->ws || a->sack != b->sack || a->ts != b->ts)
		abort();
}

/* Written into a segment of its own size and read again */
static void written(const struct ip_vs_x_syn_opts *s)
{
	u8 opt[IP_VS_X_SYN_OPTS_MAX];
	unsigned int n = ip_vs_x_syn_opts_put(opt, s), len;
	struct ip_vs_x_syn_opts got;
	u8 *seg = seg_new(opt, n, 0, &len);

	if (n % 4 || n > IP_VS_X_SYN_OPTS_MAX)
		abort();
	ip_vs_x_syn_opts_get((struct tcphdr *)seg, &got);
	same(s, &got);
	if (s->ts && (got.tsval != s->tsval || got.tsecr != s->tsecr))
		abort();
	free(seg);
}

int LLVMFuzzerTestOneInput(const u8 *in, size_t n);
int LLVMFuzzerTestOneInput(const u8 *in, size_t n)
{
	static const union nf_inet_addr a = { .ip6 = { 1, 2, 3, 4 } }, b = { .ip6 = { 5, 6, 7, 8 } };
	struct ip_vs_x_keys keys = { .key = { { { 1, 2 } }, { { 3, 4 } } }, .n = 2 }, old = keys;
	struct ip_vs_x_flow f = { .caddr = &a, .vaddr = &b, .cport = htons(1), .vport = htons(2) };
	u32 isn, t, change, cookie, tsval;
	struct ip_vs_x_syn_opts s, got;
	unsigned int len, optlen;
	u8 *seg;

	if (n < HEAD)
		return 0;
	memcpy(&isn, in + 1, 4);
	memcpy(&t, in + 5, 4);
	memcpy(&change, in + 9, 4);
	optlen = n - HEAD > 40 ? 40 : n - HEAD;
	seg = seg_new(in + HEAD, optlen, 0, &len);
	ip_vs_x_syn_opts_get((struct tcphdr *)seg, &s);
	free(seg);
	if (s.ws > IP_VS_X_WS_NONE || !s.mss)
		abort();
	written(&s);

	f.v6 = in[0] & 1;
	s.ts = s.ts && (in[0] & 2);
	if (in[0] & 4)
		old.key[0] = keys.key[1];
	cookie = ip_vs_x_cookie_make(&old, &f, isn, t, &s, &tsval);
	if (!ip_vs_x_cookie_check(&keys, &f, isn, cookie, t + (in[0] >> 3) % 2, s.ts, tsval, &got))
		abort();
	s.mss = ip_vs_x_mss_of(ip_vs_x_mss_index(s.mss, f.v6), f.v6);
	same(&s, &got);
	if (ip_vs_x_cookie_check(&keys, &f, isn, cookie, t + 2, s.ts, tsval, &got))
		abort();
	/* whatever comes, nothing but a whole option set comes of it */
	if (ip_vs_x_cookie_check(&keys, &f, isn, cookie ^ change, t, s.ts, tsval, &got))
		written(&got);
	return 0;
}
