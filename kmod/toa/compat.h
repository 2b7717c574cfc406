/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every difference between the kernels toa.c is built for. toa.c itself tests
 * no version.
 */
#ifndef _TOA_COMPAT_H
#define _TOA_COMPAT_H

#include <linux/ftrace.h>

/* Its name up to 6.1. */
#ifdef ftrace_instruction_pointer_set
#define ftrace_regs_set_instruction_pointer(fregs, ip) \
	ftrace_instruction_pointer_set(fregs, ip)
#endif

/*
 * Stable kernels gained a seventh argument in the middle of a series, so the
 * version says nothing: Kbuild looks into the header.
 */
#ifdef TOA_HAVE_OPT_CHILD_INIT
#define TOA_SYN_RECV_PARAMS						\
	const struct sock *sk, struct sk_buff *skb,			\
	struct request_sock *req, struct dst_entry *dst,		\
	struct request_sock *req_unhash, bool *own_req,			\
	void (*opt_child_init)(struct sock *newsk, const struct sock *sk)
#define TOA_SYN_RECV_CALL(fn) \
	((fn)(sk, skb, req, dst, req_unhash, own_req, opt_child_init))
#else
#define TOA_SYN_RECV_PARAMS						\
	const struct sock *sk, struct sk_buff *skb,			\
	struct request_sock *req, struct dst_entry *dst,		\
	struct request_sock *req_unhash, bool *own_req
#define TOA_SYN_RECV_CALL(fn) \
	((fn)(sk, skb, req, dst, req_unhash, own_req))
#endif

#endif /* _TOA_COMPAT_H */
