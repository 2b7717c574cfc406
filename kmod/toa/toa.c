// SPDX-License-Identifier: GPL-2.0-only
/*
 * toa: a real server's half of FNAT. accept() and getpeername() show the client
 * a trusted director names in a TCP option, not the director.
 *
 * How: five functions of the TCP stack are redirected at their entry by ftrace,
 * the way live patching does it, to functions of this file that call the
 * original and then add to its work:
 *
 *   tcp_v{4,6}_syn_recv_sock  makes the socket of a new connection from the
 *                             packet that ends the handshake: read the option
 *                             of that packet, remember the client by socket
 *   inet[6]_getname           fills in a peer's address: put the client there
 *   inet_sock_destruct        the socket goes: forget the client
 *
 * Why not kprobes: a CPU runs one kprobe handler at a time and drops the others.
 * A packet that interrupts a getpeername() inside such a handler would lose its
 * client, now and then, only under load. A redirected function is never missed,
 * has no limit of calls in flight, and may sleep.
 *
 * No socket and no table of the kernel points into this module, so it can be
 * removed at any time; live connections then show the director again.
 *
 * The module serves all network namespaces with one trust list, which belongs
 * to the initial namespace: /proc/net/toa and /proc/net/toa_stats exist there
 * only.
 *
 * Locking:
 *   toa_tab       rhashtable, its own bucket locks; readers under RCU. Entries
 *                 are freed by RCU.
 *   toa_trust     RCU pointer, replaced as a whole under toa_trust_mutex.
 *   toa_inflight  per-CPU count of calls inside this module that may sleep;
 *                 see toa_drain().
 *   One socket is written by one syn_recv_sock only, before anybody else can
 *   reach it, and is destructed after its last user: entries never change.
 */
#include <linux/delay.h>
#include <linux/ftrace.h>
#include <linux/inet.h>
#include <linux/kernel.h>
#include <linux/module.h>
#include <linux/percpu.h>
#include <linux/proc_fs.h>
#include <linux/rhashtable.h>
#include <linux/seq_file.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <net/inet_common.h>
#include <net/inet_connection_sock.h>
#include <net/inet_sock.h>
#include <net/ipv6.h>
#include <net/net_namespace.h>
#include <net/tcp.h>

#include "compat.h"
#include "toa_opt.h"

#define TOA_TRUST_MAX	1024

/* The first six are the names alibaba's module taught scripts to look for. */
enum toa_stat {
	TOA_S_TOA,
	TOA_S_NO_TOA,
	TOA_S_NAME_OK,
	TOA_S_NAME_MISMATCH,
	TOA_S_NAME_BYPASS,
	TOA_S_NAME_EMPTY,
	TOA_S_UNTRUSTED,
	TOA_S_MALFORMED,
	TOA_S_NO_MEMORY,
	TOA_S_RELEASED,
	TOA_S_MAX,
};

static const char * const toa_stat_name[TOA_S_MAX] = {
	[TOA_S_TOA]		= "syn_recv_sock_toa",
	[TOA_S_NO_TOA]		= "syn_recv_sock_no_toa",
	[TOA_S_NAME_OK]		= "getname_toa_ok",
	[TOA_S_NAME_MISMATCH]	= "getname_toa_mismatch",
	[TOA_S_NAME_BYPASS]	= "getname_toa_bypass",
	[TOA_S_NAME_EMPTY]	= "getname_toa_empty",
	[TOA_S_UNTRUSTED]	= "toa_untrusted",
	[TOA_S_MALFORMED]	= "toa_malformed",
	[TOA_S_NO_MEMORY]	= "toa_no_memory",
	[TOA_S_RELEASED]	= "toa_released",
};

struct toa_counters {
	unsigned long c[TOA_S_MAX];
};

static DEFINE_PER_CPU(struct toa_counters, toa_counters);
static DEFINE_PER_CPU(long, toa_inflight);
/* The packet tcp_v4_syn_recv_sock saw last on this CPU; never dereferenced. */
static DEFINE_PER_CPU(const struct sk_buff *, toa_v4_saw);

static void toa_count(enum toa_stat s)
{
	this_cpu_inc(toa_counters.c[s]);
}

struct toa_entry {
	struct rhash_head node;
	const struct sock *sk;
	struct toa_client client;
	struct rcu_head rcu;
};

static const struct rhashtable_params toa_tab_params = {
	.key_len = sizeof(const struct sock *),
	.key_offset = offsetof(struct toa_entry, sk),
	.head_offset = offsetof(struct toa_entry, node),
	.automatic_shrinking = true,
};

static struct rhashtable toa_tab;
static struct kmem_cache *toa_cache;

/* ---- who is believed ---- */

struct toa_prefix {
	struct in6_addr addr;	/* IPv4 in the first word */
	u8 family;		/* 4 or 6 */
	u8 len;
};

struct toa_trust {
	unsigned int n;
	struct toa_prefix prefix[];
};

static DEFINE_MUTEX(toa_trust_mutex);
static struct toa_trust __rcu *toa_trust;

static bool toa_prefix_has(const struct toa_prefix *p, u8 family,
			   const struct in6_addr *addr)
{
	return p->family == family &&
	       ipv6_prefix_equal(&p->addr, addr, p->len);
}

/* False unless the sender of @skb is listed: an empty list trusts nobody. */
static bool toa_trusted(const struct sk_buff *skb)
{
	struct in6_addr addr = { };
	const struct toa_trust *t;
	bool found = false;
	unsigned int i;
	u8 family = 6;

	if (skb->protocol == htons(ETH_P_IP)) {
		addr.s6_addr32[0] = ip_hdr(skb)->saddr;
		family = 4;
	} else {
		addr = ipv6_hdr(skb)->saddr;
	}
	rcu_read_lock();
	t = rcu_dereference(toa_trust);
	for (i = 0; t && i < t->n && !found; i++)
		found = toa_prefix_has(&t->prefix[i], family, &addr);
	rcu_read_unlock();
	return found;
}

/* "10.0.0.0/24", "fd00::/64", or an address alone. @s is changed. */
static int toa_prefix_parse(char *s, struct toa_prefix *p)
{
	char *slash = strchr(s, '/');
	struct in6_addr masked;
	const char *end;
	u8 bits;

	memset(p, 0, sizeof(*p));
	if (slash)
		*slash++ = '\0';
	if (in4_pton(s, -1, (u8 *)&p->addr, -1, &end) && !*end)
		p->family = 4;
	else if (in6_pton(s, -1, (u8 *)&p->addr, -1, &end) && !*end)
		p->family = 6;
	else
		return -EINVAL;
	bits = p->family == 4 ? 32 : 128;
	p->len = bits;
	if (slash && (kstrtou8(slash, 10, &p->len) || p->len > bits))
		return -EINVAL;
	/* Host bits set: the writer and we would not mean the same network. */
	ipv6_addr_prefix(&masked, &p->addr, p->len);
	return ipv6_addr_equal(&masked, &p->addr) ? 0 : -EINVAL;
}

static struct toa_trust *toa_trust_copy(const struct toa_trust *from)
{
	struct toa_trust *t;

	t = kvzalloc(struct_size(t, prefix, TOA_TRUST_MAX), GFP_KERNEL);
	if (t && from) {
		t->n = from->n;
		memcpy(t->prefix, from->prefix, from->n * sizeof(*t->prefix));
	}
	return t;
}

static int toa_trust_find(const struct toa_trust *t, const struct toa_prefix *p)
{
	unsigned int i;

	for (i = 0; i < t->n; i++)
		if (!memcmp(&t->prefix[i], p, sizeof(*p)))
			return i;
	return -ENOENT;
}

static int toa_trust_add(struct toa_trust *t, const struct toa_prefix *p)
{
	if (toa_trust_find(t, p) >= 0)
		return -EEXIST;
	if (t->n == TOA_TRUST_MAX)
		return -ENOSPC;
	t->prefix[t->n++] = *p;
	return 0;
}

static int toa_trust_del(struct toa_trust *t, const struct toa_prefix *p)
{
	int i = toa_trust_find(t, p);

	if (i < 0)
		return i;
	t->prefix[i] = t->prefix[--t->n];
	return 0;
}

/* One line of what is written to /proc/net/toa. */
static int toa_trust_command(struct toa_trust *t, char *line)
{
	struct toa_prefix p;
	char *verb, *arg;
	int err;

	line = strim(line);
	if (!*line)
		return 0;
	verb = strsep(&line, " \t");
	arg = line ? skip_spaces(line) : NULL;
	if (!strcmp(verb, "flush") && !arg) {
		t->n = 0;
		return 0;
	}
	if (!arg)
		return -EINVAL;
	err = toa_prefix_parse(arg, &p);
	if (err)
		return err;
	if (!strcmp(verb, "add"))
		return toa_trust_add(t, &p);
	if (!strcmp(verb, "del"))
		return toa_trust_del(t, &p);
	return -EINVAL;
}

/* All lines take effect, or none. @text is changed. */
static int toa_trust_edit(char *text)
{
	struct toa_trust *old, *t;
	char *line;
	int err = 0;

	mutex_lock(&toa_trust_mutex);
	old = rcu_dereference_protected(toa_trust,
					lockdep_is_held(&toa_trust_mutex));
	t = toa_trust_copy(old);
	if (!t) {
		err = -ENOMEM;
		goto out;
	}
	while (!err && (line = strsep(&text, "\n")))
		err = toa_trust_command(t, line);
	if (err) {
		kvfree(t);
		goto out;
	}
	rcu_assign_pointer(toa_trust, t);
	synchronize_rcu();
	kvfree(old);
out:
	mutex_unlock(&toa_trust_mutex);
	return err;
}

/* ---- module parameters ---- */

static char *trust;
module_param(trust, charp, 0444);
MODULE_PARM_DESC(trust, "prefixes of directors to believe, comma separated (default: none; edit later in /proc/net/toa)");

static unsigned short kinds[TOA_KINDS_MAX] = { 254, 253, 252, 200 };
static unsigned int nkinds = 4;
module_param_array(kinds, ushort, &nkinds, 0444);
MODULE_PARM_DESC(kinds, "TCP option kinds to understand (default: 254,253,252,200)");

static struct toa_kinds toa_kinds __ro_after_init;

static int __init toa_params(void)
{
	struct toa_prefix p;
	struct toa_trust *t;
	unsigned int i;
	char *s, *rest, *all;
	int err = 0;

	for (i = 0; i < nkinds; i++) {
		if (kinds[i] < 2 || kinds[i] > 255) {
			pr_err("toa: kinds: %u is not a TCP option kind that has a length; give 2 to 255\n",
			       kinds[i]);
			return -EINVAL;
		}
		toa_kinds.kind[toa_kinds.n++] = kinds[i];
	}
	t = toa_trust_copy(NULL);
	all = kstrdup(trust ?: "", GFP_KERNEL);
	if (!t || !all)
		err = -ENOMEM;
	for (rest = all; !err && (s = strsep(&rest, ","));) {
		if (!*s)
			continue;
		err = toa_prefix_parse(s, &p) ?: toa_trust_add(t, &p);
		if (err)
			pr_err("toa: trust: \"%s\" is not a prefix, is given twice, or has bits set after its length; write it as 10.0.0.0/24 or fd00::/64\n",
			       s);
	}
	kfree(all);
	if (err)
		kvfree(t);
	else
		RCU_INIT_POINTER(toa_trust, t);
	return err;
}

/* ---- clients by socket ---- */

/*
 * The options of the TCP header of @skb, or none. Callers upstream have pulled
 * the header; this is what makes it true here too.
 */
static const u8 *toa_options(const struct sk_buff *skb, unsigned int *len)
{
	const struct tcphdr *th;
	int off, hlen;

	if (!skb_transport_header_was_set(skb))
		return NULL;
	off = skb_transport_offset(skb);
	if (off + (int)sizeof(*th) > (int)skb_headlen(skb))
		return NULL;
	th = tcp_hdr(skb);
	hlen = th->doff * 4;
	if (hlen < (int)sizeof(*th) || off + hlen > (int)skb_headlen(skb))
		return NULL;
	*len = hlen - sizeof(*th);
	return (const u8 *)(th + 1);
}

static bool toa_read(const struct sk_buff *skb, struct toa_client *c)
{
	unsigned int len = 0;
	const u8 *p = toa_options(skb, &len);

	switch (p ? toa_opt_find(p, len, &toa_kinds, c) : TOA_MALFORMED) {
	case TOA_FOUND:
		if (toa_trusted(skb))
			return true;
		toa_count(TOA_S_UNTRUSTED);
		return false;
	case TOA_MALFORMED:
		toa_count(TOA_S_MALFORMED);
		return false;
	case TOA_NONE:
		break;
	}
	toa_count(TOA_S_NO_TOA);
	return false;
}

/* @sk is new and locked by the caller; nobody can ask for its name yet. */
static void toa_store(const struct sock *sk, const struct toa_client *c)
{
	struct toa_entry *e = kmem_cache_zalloc(toa_cache, GFP_ATOMIC);

	if (!e) {
		toa_count(TOA_S_NO_MEMORY);
		return;
	}
	e->sk = sk;
	e->client = *c;
	if (rhashtable_insert_fast(&toa_tab, &e->node, toa_tab_params)) {
		kmem_cache_free(toa_cache, e);
		toa_count(TOA_S_NO_MEMORY);
		return;
	}
	toa_count(TOA_S_TOA);
}

static void toa_entry_free(struct rcu_head *rcu)
{
	kmem_cache_free(toa_cache, container_of(rcu, struct toa_entry, rcu));
}

static void toa_forget(const struct sock *sk)
{
	struct toa_entry *e;

	/* Most sockets of most hosts: no lock, no hash. */
	if (!atomic_read(&toa_tab.nelems))
		return;
	rcu_read_lock();
	e = rhashtable_lookup(&toa_tab, &sk, toa_tab_params);
	if (e && !rhashtable_remove_fast(&toa_tab, &e->node, toa_tab_params)) {
		toa_count(TOA_S_RELEASED);
		call_rcu(&e->rcu, toa_entry_free);
	}
	rcu_read_unlock();
}

static enum toa_stat toa_rewrite4(struct sockaddr_in *sin,
				  const struct toa_client *c)
{
	/* An AF_INET socket has no room for an IPv6 client. */
	if (c->family != 4)
		return TOA_S_NAME_MISMATCH;
	memcpy(&sin->sin_addr, c->addr, 4);
	memcpy(&sin->sin_port, c->port, 2);
	return TOA_S_NAME_OK;
}

static enum toa_stat toa_rewrite6(struct sockaddr_in6 *sin,
				  const struct toa_client *c)
{
	if (c->family == 4) {
		memset(&sin->sin6_addr, 0, 10);
		memset(sin->sin6_addr.s6_addr + 10, 0xff, 2);
		memcpy(sin->sin6_addr.s6_addr + 12, c->addr, 4);
	} else {
		memcpy(&sin->sin6_addr, c->addr, 16);
	}
	memcpy(&sin->sin6_port, c->port, 2);
	/* Both belonged to the director's address. */
	sin->sin6_flowinfo = 0;
	sin->sin6_scope_id = 0;
	return TOA_S_NAME_OK;
}

static void toa_rewrite(const struct sock *sk, struct sockaddr *name, int peer)
{
	enum toa_stat s = TOA_S_NAME_EMPTY;
	const struct toa_entry *e;

	if (!peer) {
		toa_count(TOA_S_NAME_BYPASS);
		return;
	}
	rcu_read_lock();
	e = rhashtable_lookup(&toa_tab, &sk, toa_tab_params);
	if (e && name->sa_family == AF_INET)
		s = toa_rewrite4((struct sockaddr_in *)name, &e->client);
	else if (e && name->sa_family == AF_INET6)
		s = toa_rewrite6((struct sockaddr_in6 *)name, &e->client);
	rcu_read_unlock();
	toa_count(s);
}

/* ---- the five functions ---- */

/*
 * The TCP functions of each family, of which syn_recv_sock is not exported. A
 * kernel whose syn_recv_sock takes other arguments does not compile.
 */
static const struct inet_connection_sock_af_ops *toa_ops4 __ro_after_init;
static const struct inet_connection_sock_af_ops *toa_ops6 __ro_after_init;

/*
 * A module built for one update of a stable kernel loads into the next if the
 * checksums of the symbols it imports agree. None of ours would see a change
 * of the prototype above, but the checksum of this one covers struct tcp_sock
 * and with it the table of functions.
 */
static void * const toa_abi __used = tcp_slow_start;

/* May run in a process; the original sleeps in lock_sock(). */
static void toa_enter(void)
{
	this_cpu_inc(toa_inflight);
}

static void toa_leave(void)
{
	this_cpu_dec(toa_inflight);
}

/* Bottom halves are off: from the receive path, or under bh_lock_sock(). */
static struct sock *toa_v4_syn_recv_sock(TOA_SYN_RECV_PARAMS)
{
	struct toa_client c;
	struct sock *newsk;
	bool got;

	toa_enter();
	got = toa_read(skb, &c);
	newsk = TOA_SYN_RECV_CALL(toa_ops4->syn_recv_sock);
	if (newsk && got)
		toa_store(newsk, &c);
	__this_cpu_write(toa_v4_saw, skb);
	toa_leave();
	return newsk;
}

/*
 * The original hands IPv4 packets on to the function above, and may do so by a
 * jump; the redirection then takes it for our own call and stays out. So look
 * afterwards who saw the packet.
 */
static struct sock *toa_v6_syn_recv_sock(TOA_SYN_RECV_PARAMS)
{
	bool v4 = skb->protocol == htons(ETH_P_IP);
	struct toa_client c;
	struct sock *newsk;
	bool got = false;

	toa_enter();
	__this_cpu_write(toa_v4_saw, NULL);
	if (!v4)
		got = toa_read(skb, &c);
	newsk = TOA_SYN_RECV_CALL(toa_ops6->syn_recv_sock);
	if (v4 && __this_cpu_read(toa_v4_saw) != skb)
		got = toa_read(skb, &c);
	if (newsk && got)
		toa_store(newsk, &c);
	toa_leave();
	return newsk;
}

static int toa_inet_getname(struct socket *sock, struct sockaddr *name,
			    int peer)
{
	int len;

	toa_enter();
	len = inet_getname(sock, name, peer);
	if (len > 0)
		toa_rewrite(sock->sk, name, peer);
	toa_leave();
	return len;
}

static int toa_inet6_getname(struct socket *sock, struct sockaddr *name,
			     int peer)
{
	int len;

	toa_enter();
	len = inet6_getname(sock, name, peer);
	if (len > 0)
		toa_rewrite(sock->sk, name, peer);
	toa_leave();
	return len;
}

static void toa_sock_destruct(struct sock *sk)
{
	toa_enter();
	toa_forget(sk);
	inet_sock_destruct(sk);
	toa_leave();
}

/* ---- redirection ---- */

struct toa_hook {
	struct ftrace_ops ops;
	const char *name;
	void *to;
	unsigned long from;	/* 0: this kernel has no such family */
	bool on;
};

/*
 * Runs at the entry of a hooked function with preemption off, calls nothing
 * that can be traced. A call that comes from this module is ours to the
 * original.
 */
static void notrace toa_redirect(unsigned long ip, unsigned long parent_ip,
				 struct ftrace_ops *ops,
				 struct ftrace_regs *fregs)
{
	struct toa_hook *h = container_of(ops, struct toa_hook, ops);

	if (!within_module(parent_ip, THIS_MODULE))
		ftrace_regs_set_instruction_pointer(fregs,
						    (unsigned long)h->to);
}

/*
 * PERMANENT: kernel.ftrace_enabled=0 must not switch it off behind our back.
 */
#define TOA_HOOK(_name, _to) {						\
	.ops = {							\
		.func = toa_redirect,					\
		.flags = FTRACE_OPS_FL_IPMODIFY | FTRACE_OPS_FL_PERMANENT, \
	},								\
	.name = _name,							\
	.to = _to,							\
}

/*
 * Forgetting starts first and ends last, remembering starts last: at no time is
 * there an entry whose socket could go unnoticed.
 */
static struct toa_hook toa_hooks[] = {
	TOA_HOOK("inet_sock_destruct", toa_sock_destruct),
	TOA_HOOK("inet_getname", toa_inet_getname),
	TOA_HOOK("inet6_getname", toa_inet6_getname),
	TOA_HOOK("tcp_v4_syn_recv_sock", toa_v4_syn_recv_sock),
	TOA_HOOK("tcp_v6_syn_recv_sock", toa_v6_syn_recv_sock),
};

/* The functions of a family as a socket of it has them. */
static int __init toa_ops_find(int family,
			       const struct inet_connection_sock_af_ops **ops)
{
	struct socket *sock;
	int err;

	err = sock_create_kern(&init_net, family, SOCK_STREAM, IPPROTO_TCP,
			       &sock);
	if (err)
		return err;
	*ops = inet_csk(sock->sk)->icsk_af_ops;
	sock_release(sock);
	return 0;
}

static int __init toa_hooks_find(void)
{
	int err = toa_ops_find(AF_INET, &toa_ops4);

	if (err)
		return err;
	toa_hooks[0].from = (unsigned long)inet_sock_destruct;
	toa_hooks[1].from = (unsigned long)inet_getname;
	toa_hooks[3].from = (unsigned long)toa_ops4->syn_recv_sock;
	/* IPv6 may be switched off. */
	err = toa_ops_find(AF_INET6, &toa_ops6);
	if (err == -EAFNOSUPPORT)
		return 0;
	if (err)
		return err;
	toa_hooks[2].from = (unsigned long)inet6_getname;
	toa_hooks[4].from = (unsigned long)toa_ops6->syn_recv_sock;
	return 0;
}

static void toa_hooks_off(void)
{
	int i;

	for (i = ARRAY_SIZE(toa_hooks) - 1; i >= 0; i--) {
		if (toa_hooks[i].on)
			unregister_ftrace_function(&toa_hooks[i].ops);
		toa_hooks[i].on = false;
		ftrace_free_filter(&toa_hooks[i].ops);
	}
}

static int __init toa_hooks_on(void)
{
	struct toa_hook *h;
	int i, err;

	for (i = 0; i < ARRAY_SIZE(toa_hooks); i++) {
		h = &toa_hooks[i];
		if (!h->from)
			continue;
		err = ftrace_set_filter_ip(&h->ops, h->from, 0, 0);
		if (!err)
			err = register_ftrace_function(&h->ops);
		if (err) {
			pr_err("toa: %s cannot be redirected (%d): %s\n",
			       h->name, err, err == -EBUSY ?
			       "a live patch or another toa module holds it; unload that first" :
			       "this kernel needs CONFIG_DYNAMIC_FTRACE and kernel.ftrace_enabled=1");
			toa_hooks_off();
			return err;
		}
		h->on = true;
	}
	return 0;
}

static long toa_inflight_sum(void)
{
	long sum = 0;
	int cpu;

	for_each_possible_cpu(cpu)
		sum += per_cpu(toa_inflight, cpu);
	return sum;
}

/*
 * Returns when no CPU and no task is inside this module's text. Nobody is sent
 * there any more. The first pair of waits lets those who were sent pass
 * toa_enter(): bottom halves count as RCU readers, tasks do not sleep before
 * it. From then on the count only falls, and a sum that is read while it falls
 * is never too low. The last pair is for those between toa_leave() and the
 * return.
 */
static void toa_drain(void)
{
	synchronize_rcu_tasks();
	synchronize_rcu();
	while (toa_inflight_sum())
		msleep(20);
	synchronize_rcu_tasks();
	synchronize_rcu();
}

/* ---- /proc/net/toa, /proc/net/toa_stats ---- */

static int toa_trust_show(struct seq_file *m, void *v)
{
	const struct toa_prefix *p;
	const struct toa_trust *t;
	unsigned int i;

	rcu_read_lock();
	t = rcu_dereference(toa_trust);
	for (i = 0; t && i < t->n; i++) {
		p = &t->prefix[i];
		if (p->family == 4)
			seq_printf(m, "%pI4/%u\n", &p->addr, p->len);
		else
			seq_printf(m, "%pI6c/%u\n", &p->addr, p->len);
	}
	rcu_read_unlock();
	return 0;
}

static int toa_trust_open(struct inode *inode, struct file *file)
{
	return single_open(file, toa_trust_show, NULL);
}

static ssize_t toa_trust_write(struct file *file, const char __user *from,
			       size_t len, loff_t *pos)
{
	char *text;
	int err;

	if (!capable(CAP_NET_ADMIN))
		return -EPERM;
	if (len > PAGE_SIZE)
		return -E2BIG;
	text = memdup_user_nul(from, len);
	if (IS_ERR(text))
		return PTR_ERR(text);
	err = toa_trust_edit(text);
	kfree(text);
	return err ?: len;
}

static const struct proc_ops toa_trust_proc = {
	.proc_open	= toa_trust_open,
	.proc_read	= seq_read,
	.proc_write	= toa_trust_write,
	.proc_lseek	= seq_lseek,
	.proc_release	= single_release,
};

static int toa_stats_show(struct seq_file *m, void *v)
{
	int cpu, s;

	seq_printf(m, "%34s", "");
	for_each_online_cpu(cpu)
		seq_printf(m, "CPU%d       ", cpu);
	seq_putc(m, '\n');
	for (s = 0; s < TOA_S_MAX; s++) {
		seq_printf(m, "%-25s:", toa_stat_name[s]);
		for_each_online_cpu(cpu)
			seq_printf(m, "%10lu ", per_cpu(toa_counters.c[s], cpu));
		seq_putc(m, '\n');
	}
	/* Not per CPU: how many connections are remembered now. */
	seq_printf(m, "%-25s:%10d\n", "toa_entries",
		   atomic_read(&toa_tab.nelems));
	return 0;
}

static int __init toa_proc_init(void)
{
	if (!proc_create("toa", 0644, init_net.proc_net, &toa_trust_proc))
		return -EEXIST;
	if (!proc_create_single("toa_stats", 0444, init_net.proc_net,
				toa_stats_show)) {
		remove_proc_entry("toa", init_net.proc_net);
		return -EEXIST;
	}
	return 0;
}

static void toa_proc_uninit(void)
{
	remove_proc_entry("toa_stats", init_net.proc_net);
	remove_proc_entry("toa", init_net.proc_net);
}

/* ---- in and out ---- */

static void toa_entry_drop(void *e, void *arg)
{
	kmem_cache_free(toa_cache, e);
}

/* Needs toa_drain() before: nobody reads the table or the list any more. */
static void toa_tables_uninit(void)
{
	rhashtable_free_and_destroy(&toa_tab, toa_entry_drop, NULL);
	/* Callbacks of toa_forget() are still under way. */
	rcu_barrier();
	kmem_cache_destroy(toa_cache);
	kvfree(rcu_dereference_protected(toa_trust, true));
}

static int __init toa_init(void)
{
	int err = toa_params();

	if (err)
		return err;
	err = -ENOMEM;
	toa_cache = kmem_cache_create("toa_entry", sizeof(struct toa_entry), 0,
				      0, NULL);
	if (!toa_cache)
		goto err_trust;
	err = rhashtable_init(&toa_tab, &toa_tab_params);
	if (err)
		goto err_cache;
	err = toa_proc_init();
	if (err) {
		pr_err("toa: /proc/net/toa or toa_stats is there already: another toa module is loaded; unload it first\n");
		goto err_tab;
	}
	err = toa_hooks_find();
	if (!err)
		err = toa_hooks_on();
	if (err)
		goto err_proc;
	return 0;

err_proc:
	toa_proc_uninit();
	toa_drain();
	toa_tables_uninit();
	return err;
err_tab:
	rhashtable_destroy(&toa_tab);
err_cache:
	kmem_cache_destroy(toa_cache);
err_trust:
	kvfree(rcu_dereference_protected(toa_trust, true));
	return err;
}

static void __exit toa_exit(void)
{
	toa_proc_uninit();
	toa_hooks_off();
	toa_drain();
	toa_tables_uninit();
}

module_init(toa_init);
module_exit(toa_exit);
MODULE_DESCRIPTION("Shows the client's address on real servers behind FNAT");
MODULE_LICENSE("GPL");
