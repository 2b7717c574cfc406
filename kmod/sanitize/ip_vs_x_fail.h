/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocations of ours that fail when a test says so, each in turn. Kbuild puts this
 * in front of our objects on the sanitised kernel, and nowhere else.
 *
 * The kernel's own fault injection cannot do it there: a packet is handled in a
 * softirq, where failslab can neither count for one task nor tell our calls from
 * those of the stack, and it does not reach per-CPU memory at all.
 *
 * Every call that may find no memory is a site; the section ip_vs_x_sites of the
 * module holds the names of all, so that a test can tell which it has not met.
 */
#ifndef _IP_VS_X_FAIL_H
#define _IP_VS_X_FAIL_H

/* As in those of our files that log, which come after */
#define KMSG_COMPONENT "IPVS"
#define pr_fmt(fmt) KMSG_COMPONENT ": " fmt

#include <linux/netfilter.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/stringify.h>
#include <linux/workqueue.h>
#include <net/genetlink.h>
#include <net/net_namespace.h>

/* Shall this one fail? Any context. */
bool ip_vs_x_fail(const char *site);

#define X_FAIL() ({							\
	static const char x_site[] __used __section("ip_vs_x_sites") =	\
		__FILE__ ":" __stringify(__LINE__);			\
	ip_vs_x_fail(x_site);						\
})

#define kmem_cache_alloc(...)	(X_FAIL() ? NULL : (kmem_cache_alloc)(__VA_ARGS__))
#define kmem_cache_zalloc(...)	(X_FAIL() ? NULL : (kmem_cache_zalloc)(__VA_ARGS__))
#define kmem_cache_create(...)	(X_FAIL() ? NULL : (kmem_cache_create)(__VA_ARGS__))
#define kmalloc(...)		(X_FAIL() ? NULL : (kmalloc)(__VA_ARGS__))
#define kzalloc(...)		(X_FAIL() ? NULL : (kzalloc)(__VA_ARGS__))
#define kcalloc(...)		(X_FAIL() ? NULL : (kcalloc)(__VA_ARGS__))
#define kvzalloc(...)		(X_FAIL() ? NULL : (kvzalloc)(__VA_ARGS__))
#define kvcalloc(...)		(X_FAIL() ? NULL : (kvcalloc)(__VA_ARGS__))
#undef kmemdup
#define kmemdup(...)		(X_FAIL() ? NULL : (kmemdup)(__VA_ARGS__))
#define __alloc_percpu(...)	(X_FAIL() ? NULL : (__alloc_percpu)(__VA_ARGS__))
#define kasprintf(...)	(X_FAIL() ? NULL : (kasprintf)(__VA_ARGS__))
#define alloc_workqueue(...)	(X_FAIL() ? NULL : (alloc_workqueue)(__VA_ARGS__))
#define alloc_skb(...)		(X_FAIL() ? NULL : (alloc_skb)(__VA_ARGS__))
#define skb_copy(...)		(X_FAIL() ? NULL : (skb_copy)(__VA_ARGS__))
#define genlmsg_new(...)	(X_FAIL() ? NULL : (genlmsg_new)(__VA_ARGS__))
#define proc_create_net_data(...) (X_FAIL() ? NULL : (proc_create_net_data)(__VA_ARGS__))
#define proc_create_net_single(...) (X_FAIL() ? NULL : (proc_create_net_single)(__VA_ARGS__))
#define skb_ensure_writable(...) (X_FAIL() ? -ENOMEM : (skb_ensure_writable)(__VA_ARGS__))
#define skb_cow_head(...)	(X_FAIL() ? -ENOMEM : (skb_cow_head)(__VA_ARGS__))
#define register_pernet_subsys(...) (X_FAIL() ? -ENOMEM : (register_pernet_subsys)(__VA_ARGS__))
#define genl_register_family(...) (X_FAIL() ? -ENOMEM : (genl_register_family)(__VA_ARGS__))

#endif
