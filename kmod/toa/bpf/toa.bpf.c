// SPDX-License-Identifier: GPL-2.0-only
//go:build ignore

/*
 * The TOA receiver without a module. sockops reads the option of the packet
 * that ends the handshake and keeps the client beside the socket; two cgroup
 * hooks show it to accept() and getpeername().
 *
 * The option is described in ../toa_opt.h, whose rules this file follows; the
 * verifier wants the walk in another form.
 */
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define AF_INET		2
#define AF_INET6	10
#define SOL_TCP		6
#define TCP_SAVE_SYN	27

#define TCP_HDR		20
#define OPT_MAX		40	/* 15 words of header less the fixed five */
#define BUF_MASK	63

#define LEN_V4		8
#define LEN_V6		20
#define KINDS		8

/* Read by stats in main.go in this order. */
enum counter {
	C_ACCEPTED,
	C_NONE,
	C_UNTRUSTED,
	C_MALFORMED,
	C_NO_MEMORY,
	C_FROM_SYN,
	C_SHOWN,
	C_MISMATCH,
	C_MAX,
};

enum verdict {
	V_NONE,
	V_FOUND,
	V_MALFORMED,
};

/*
 * Set before loading, see objectConfig in receiver.go. The section makes it constant to
 * the kernel; const would make the values below final to the compiler.
 */
struct {
	__u8 kinds[KINDS];	/* 0 ends the list */
	/* Have listeners keep SYNs; look there if the last packet has nothing. */
	__u8 saved_syn;
} config SEC(".rodata") = {
	.kinds = { 254, 253, 252, 200 },
};

struct client {
	__u8 addr[16];	/* IPv4 in the first four; network order */
	__u8 port[2];
	__u8 family;	/* 4 or 6 */
	__u8 pad;
};

struct key4 {
	__u32 len;
	__u32 addr;
};

struct key6 {
	__u32 len;
	__u32 addr[4];
};

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct client);
} toa_clients SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct key4);
	__type(value, __u8);
} toa_trust4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1024);
	__type(key, struct key6);
	__type(value, __u8);
} toa_trust6 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, C_MAX);
	__type(key, __u32);
	__type(value, __u64);
} toa_counters SEC(".maps");

static __always_inline void count(__u32 c)
{
	__u64 *n = bpf_map_lookup_elem(&toa_counters, &c);

	if (n)
		*n += 1;
}

/*
 * buf is a power of two long, so that a masked index is a valid one. It lies in
 * a map because the verifier does not follow values there: on the stack it
 * follows each way through the options and gives up. Handshakes end with bottom
 * halves off, so one for each CPU is enough.
 */
struct walk {
	__u8 buf[BUF_MASK + 1];
	__u8 syn[TCP_HDR + OPT_MAX];
	__u32 off, end;
	__u32 verdict;
	struct client client;
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct walk);
} toa_walk SEC(".maps");

static __always_inline int is_kind(__u8 kind)
{
#pragma unroll
	for (int i = 0; i < KINDS; i++)
		if (config.kinds[i] && config.kinds[i] == kind)
			return 1;
	return 0;
}

/* Where an IPv6 option carries ::ffff:a.b.c.d, the client is a.b.c.d. */
static __always_inline void unmap(struct client *c)
{
	__u32 *w = (__u32 *)c->addr;

	if (c->family != 6 || w[0] || w[1] || w[2] != bpf_htonl(0xffff))
		return;
	w[0] = w[3];
	w[2] = 0;
	w[3] = 0;
	c->family = 4;
}

static __always_inline int client_ok(const struct client *c)
{
	const __u32 *w = (const __u32 *)c->addr;

	if (!c->port[0] && !c->port[1])
		return 0;
	if (c->family == 4)
		return c->addr[0] != 0 && c->addr[0] != 127 && c->addr[0] < 224;
	if (c->addr[0] == 0xff)
		return 0;
	return w[0] || w[1] || w[2] || bpf_ntohl(w[3]) > 1;
}

/* One option of the walk. 1 ends it. */
static long step(__u32 i, struct walk **arg)
{
	struct walk *w = *arg;
	__u32 off = w->off;
	__u8 kind, len;

	if (off >= w->end || off >= OPT_MAX)
		return 1;
	kind = w->buf[off & BUF_MASK];
	if (kind == 0)
		return 1;
	if (kind == 1) {
		w->off = off + 1;
		return 0;
	}
	len = w->buf[(off + 1) & BUF_MASK];
	if (off + 2 > w->end || len < 2 || off + len > w->end) {
		w->verdict = V_MALFORMED;
		return 1;
	}
	if ((len != LEN_V4 && len != LEN_V6) || !is_kind(kind)) {
		w->off = off + len;
		return 0;
	}
	w->client = (struct client){ .family = len == LEN_V4 ? 4 : 6 };
	w->client.port[0] = w->buf[(off + 2) & BUF_MASK];
	w->client.port[1] = w->buf[(off + 3) & BUF_MASK];
#pragma unroll
	for (int j = 0; j < 16; j++)
		if (j < 4 || len == LEN_V6)
			w->client.addr[j] = w->buf[(off + 4 + j) & BUF_MASK];
	unmap(&w->client);
	w->verdict = client_ok(&w->client) ? V_FOUND : V_MALFORMED;
	return 1;
}

/*
 * A plain bounded loop makes the verifier follow every combination of options;
 * bpf_loop() (5.17) is verified once.
 */
static __always_inline void walk(struct walk *w)
{
	w->off = 0;
	w->verdict = V_NONE;
	bpf_loop(OPT_MAX, step, &w, 0);
}

/* The options of the packet at hand; its end is that of the TCP header. */
static __always_inline void read_packet(struct bpf_sock_ops *ops,
					struct walk *w)
{
	void *data = ops->skb_data, *end = ops->skb_data_end;
	__u32 *to = (__u32 *)w->buf;

	w->end = 0;
#pragma unroll
	for (int i = 0; i < OPT_MAX / 4; i++) {
		__u32 *from = data + TCP_HDR + 4 * i;

		if ((void *)(from + 1) > end)
			return;
		to[i] = *from;
		w->end = 4 * (i + 1);
	}
}

/* The options of the SYN, if the listener kept it. */
static __always_inline void read_syn(struct bpf_sock_ops *ops, struct walk *w)
{
	long n = bpf_getsockopt(ops, SOL_TCP, TCP_BPF_SYN, w->syn,
				sizeof(w->syn));

	w->end = 0;
	if (n < TCP_HDR || n > TCP_HDR + OPT_MAX)
		return;
	__builtin_memcpy(w->buf, w->syn + TCP_HDR, OPT_MAX);
	w->end = n - TCP_HDR;
}

static __always_inline int trusted4(__u32 addr)
{
	struct key4 k = { .len = 32, .addr = addr };

	return !!bpf_map_lookup_elem(&toa_trust4, &k);
}

/* Connections of IPv4 peers on IPv6 sockets have a mapped remote address. */
static __always_inline int trusted(struct bpf_sock_ops *ops)
{
	struct key6 k = { .len = 128 };

	if (ops->family == AF_INET)
		return trusted4(ops->remote_ip4);
	if (ops->family != AF_INET6)
		return 0;
	k.addr[0] = ops->remote_ip6[0];
	k.addr[1] = ops->remote_ip6[1];
	k.addr[2] = ops->remote_ip6[2];
	k.addr[3] = ops->remote_ip6[3];
	if (!k.addr[0] && !k.addr[1] && k.addr[2] == bpf_htonl(0xffff))
		return trusted4(k.addr[3]);
	return !!bpf_map_lookup_elem(&toa_trust6, &k);
}

static __always_inline void established(struct bpf_sock_ops *ops)
{
	struct bpf_sock *sk = ops->sk;
	struct client *c;
	struct walk *w;
	__u32 zero = 0;

	w = bpf_map_lookup_elem(&toa_walk, &zero);
	if (!w)
		return;
	read_packet(ops, w);
	walk(w);
	if (w->verdict == V_NONE && config.saved_syn) {
		read_syn(ops, w);
		walk(w);
		if (w->verdict == V_FOUND)
			count(C_FROM_SYN);
	}
	if (w->verdict == V_NONE)
		return count(C_NONE);
	if (w->verdict == V_MALFORMED)
		return count(C_MALFORMED);
	if (!trusted(ops))
		return count(C_UNTRUSTED);
	if (!sk)
		return count(C_NO_MEMORY);
	c = bpf_sk_storage_get(&toa_clients, sk, &w->client,
			       BPF_SK_STORAGE_GET_F_CREATE);
	count(c ? C_ACCEPTED : C_NO_MEMORY);
}

SEC("sockops")
int toa_sockops(struct bpf_sock_ops *ops)
{
	int on = 1;

	if (ops->op == BPF_SOCK_OPS_PASSIVE_ESTABLISHED_CB)
		established(ops);
	else if (ops->op == BPF_SOCK_OPS_TCP_LISTEN_CB && config.saved_syn)
		bpf_setsockopt(ops, SOL_TCP, TCP_SAVE_SYN, &on, sizeof(on));
	return 1;
}

static __always_inline struct client *client_of(struct bpf_sock_addr *ctx)
{
	struct bpf_sock *sk = ctx->sk;

	return sk ? bpf_sk_storage_get(&toa_clients, sk, NULL, 0) : NULL;
}

SEC("cgroup/getpeername4")
int toa_getpeername4(struct bpf_sock_addr *ctx)
{
	struct client *c = client_of(ctx);

	if (!c)
		return 1;
	/* An AF_INET socket has no room for an IPv6 client. */
	if (c->family != 4) {
		count(C_MISMATCH);
		return 1;
	}
	ctx->user_ip4 = *(__u32 *)c->addr;
	ctx->user_port = *(__u16 *)c->port;
	count(C_SHOWN);
	return 1;
}

SEC("cgroup/getpeername6")
int toa_getpeername6(struct bpf_sock_addr *ctx)
{
	struct client *c = client_of(ctx);
	__u32 *w;

	if (!c)
		return 1;
	w = (__u32 *)c->addr;
	if (c->family == 4) {
		ctx->user_ip6[0] = 0;
		ctx->user_ip6[1] = 0;
		ctx->user_ip6[2] = bpf_htonl(0xffff);
		ctx->user_ip6[3] = w[0];
	} else {
		ctx->user_ip6[0] = w[0];
		ctx->user_ip6[1] = w[1];
		ctx->user_ip6[2] = w[2];
		ctx->user_ip6[3] = w[3];
	}
	ctx->user_port = *(__u16 *)c->port;
	count(C_SHOWN);
	return 1;
}

char _license[] SEC("license") = "GPL";
