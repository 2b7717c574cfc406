/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * 6.1's user-mode Linux has room for the registers of AVX-512 and no more. A host
 * with AMX hands over more, and takes back all or nothing: here it passes through
 * a buffer that is large enough, and the guest's programs do without AMX. There
 * is one processor, and nothing that uses this interrupts itself.
 */
#include <string.h>

static unsigned char um_xstate[16384] __attribute__((aligned(64)));

#define UM_XSTATE_BV	(512 / sizeof(unsigned long))	/* which states are in it */
#define UM_XSTATE_ROOM	0x2ffUL				/* x87 to AVX-512, PKRU */

static inline void um_xstate_out(unsigned long *fp_regs)
{
	memcpy(fp_regs, um_xstate, FP_SIZE * sizeof(unsigned long));
	fp_regs[UM_XSTATE_BV] &= UM_XSTATE_ROOM;
}

static inline void um_xstate_in(const unsigned long *fp_regs)
{
	memset(um_xstate, 0, sizeof(um_xstate));
	memcpy(um_xstate, fp_regs, FP_SIZE * sizeof(unsigned long));
}
