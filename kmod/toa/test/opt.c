// SPDX-License-Identifier: GPL-2.0-only
//go:build ignore

/*
 * Table test and a small fuzzer of toa_opt.h. Build with
 * -fsanitize=address,undefined; opt_test.go does. A libFuzzer target instead:
 *
 *	clang -g -O1 -fsanitize=fuzzer,address,undefined \
 *		-DFUZZ=LLVMFuzzerTestOneInput -o fuzz opt.c
 */
#include <stdio.h>
#include <stdlib.h>

#include "../toa_opt.h"

static const struct toa_kinds kinds = { 4, { 254, 253, 252, 200 } };

/* On the heap and of the exact length, so that a byte too far is seen. */
static enum toa_found find(const u8 *p, unsigned int len, struct toa_client *c)
{
	u8 *copy = malloc(len ? len : 1);
	enum toa_found found;

	if (len)
		memcpy(copy, p, len);
	found = toa_opt_find(len ? copy : copy + 1, len, &kinds, c);
	free(copy);
	return found;
}

/* What must hold for any input. */
static void check_any(const u8 *p, unsigned int len)
{
	struct toa_client c = { .family = 99 };
	enum toa_found found = find(p, len, &c);

	if (found == TOA_FOUND ?
	    (c.family != 4 && c.family != 6) || !toa_client_ok(&c) :
	    c.family != 99)
		abort();
}

#ifdef FUZZ
int FUZZ(const u8 *p, size_t len)
{
	check_any(p, len > 64 ? 64 : len);
	return 0;
}
#else

/* Length and content: 198.51.100.7:4711, [2001:db8::7]:4712. */
#define V4	"\x08\x12\x67\xc6\x33\x64\x07"
#define V6	"\x14\x12\x68\x20\x01\x0d\xb8" ZERO8 "\0\0\0\x07"
#define MAPPED	"\x14\x12\x67" ZERO8 "\0\0\xff\xff\xc6\x33\x64\x07"
#define ZERO8	"\0\0\0\0\0\0\0\0"

#define ROW(_name, _want, _family, _opt) {				\
	.name = _name,							\
	.want = _want,							\
	.family = _family,						\
	.len = sizeof(_opt) - 1,					\
	.opt = _opt,							\
}

static const struct {
	const char *name;
	enum toa_found want;
	u8 family;
	unsigned int len;
	u8 opt[64];
} table[] = {
	ROW("nothing", TOA_NONE, 0, ""),
	ROW("254/8", TOA_FOUND, 4, "\xfe" V4),
	ROW("253/8", TOA_FOUND, 4, "\xfd" V4),
	ROW("252/8", TOA_FOUND, 4, "\xfc" V4),
	ROW("200/8", TOA_FOUND, 4, "\xc8" V4),
	ROW("254/20", TOA_FOUND, 6, "\xfe" V6),
	ROW("253/20", TOA_FOUND, 6, "\xfd" V6),
	ROW("mapped", TOA_FOUND, 4, "\xfe" MAPPED),
	ROW("other kind", TOA_NONE, 0, "\xfb" V4),
	ROW("behind NOPs", TOA_FOUND, 4, "\x01\x01\x01\xfe" V4),
	ROW("behind timestamps", TOA_FOUND, 4,
	    "\x08\x0a\0\0\0\x01\0\0\0\0\xfe" V4),
	ROW("behind the end", TOA_NONE, 0, "\0\xfe" V4),
	ROW("another's 254", TOA_FOUND, 4, "\xfe\x04\x01\x02\xfe" V4),
	ROW("length 0", TOA_MALFORMED, 0, "\x63\0\xfe" V4),
	ROW("length 1", TOA_MALFORMED, 0, "\x63\x01\xfe" V4),
	ROW("kind without length", TOA_MALFORMED, 0, "\xfe"),
	ROW("one byte short", TOA_MALFORMED, 0, "\xfe\x08\x01\x02\x03\x04\x05"),
	ROW("v6 cut to v4", TOA_MALFORMED, 0, "\xfe\x14\x01\x02\x03\x04\x05\x06"),
	ROW("port 0", TOA_MALFORMED, 0, "\xfe\x08\0\0\xc6\x33\x64\x07"),
	ROW("0.0.0.0", TOA_MALFORMED, 0, "\xfe\x08\x01\x01\0\0\0\0"),
	ROW("loopback", TOA_MALFORMED, 0, "\xfe\x08\x01\x01\x7f\0\0\x01"),
	ROW("multicast", TOA_MALFORMED, 0, "\xfe\x08\x01\x01\xe0\0\0\x01"),
	ROW("::1", TOA_MALFORMED, 0,
	    "\xfe\x14\x01\x01" ZERO8 "\0\0\0\0\0\0\0\x01"),
	ROW("ff02::1", TOA_MALFORMED, 0,
	    "\xfe\x14\x01\x01\xff\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\x01"),
	{ 0 }
};

static int check_table(unsigned int i)
{
	static const u8 addr4[16] = { 198, 51, 100, 7 };
	struct toa_client c = { 0 };
	enum toa_found got = find(table[i].opt, table[i].len, &c);

	if (got != table[i].want || c.family != table[i].family) {
		printf("%s: %d family %u, want %d family %u\n", table[i].name,
		       got, c.family, table[i].want, table[i].family);
		return 1;
	}
	if (c.family == 4 && memcmp(c.addr, addr4, 16)) {
		printf("%s: wrong address\n", table[i].name);
		return 1;
	}
	return 0;
}

int main(void)
{
	unsigned int i, j, failed = 0;
	u8 p[40];

	for (i = 0; table[i].name; i++)
		failed += check_table(i);
	srand(1);
	for (i = 0; i < 1000000; i++) {
		/* Mostly kinds and lengths that mean something. */
		static const u8 seed[] = { 0, 1, 2, 8, 10, 20, 200, 253, 254 };

		for (j = 0; j < sizeof(p); j++)
			p[j] = rand() % 4 ? seed[rand() % sizeof(seed)] : rand();
		check_any(p, rand() % (sizeof(p) + 1));
	}
	return failed ? 1 : 0;
}
#endif
