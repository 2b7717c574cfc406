/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The extension of ip_vs: full NAT (FNAT), and what comes with it.
 *
 * This header is what the patched files of ip_vs see: the call-outs, which do
 * nothing while the static key is off, and the containers. Nothing in
 * include/net/ip_vs.h changes: our structs contain the stock ones as their
 * first member, so the schedulers, helpers and xt_ipvs of the distribution
 * load on top of this ip_vs unchanged.
 *
 * Words: an "X conn" is a connection that our code forwards. cip:cport is the
 * client, vip:vport the service, lip:lport the local address, rip:rport the
 * real server (RS). A request goes cip->vip to lip->rip, a reply rip->lip to
 * vip->cip.
 *
 * Locking and lifetime, the whole of it:
 *  1. Readers use RCU only. All call-outs on packets run under it.
 *  2. Publication of a conn: linked into the out table with refcnt 0 and
 *     ready 0; every field is written before the release store of ready;
 *     readers load ready with acquire and then take a ref with inc-not-zero.
 *  3. Lock order: stock ct lock, then cp->lock. The bucket locks of the out
 *     table are leaves and never nest with either.
 *  4. Groups, local addresses and services are changed under __ip_vs_mutex,
 *     which ip_vs_x_cfg_lock() takes.
 *  5. A local address lives as long as its group lists it or a conn holds it.
 *  6. The static key is switched on with the first service that uses the
 *     extension and stays on until the module goes: conns may outlive their
 *     service, and unlinking tests the conn's flag, never the key.
 *  7. Teardown of a namespace: services, then conns, then our pernet state,
 *     because our pernet ops are registered first. Module exit ends with
 *     rcu_barrier() before the slab caches go.
 *  8. Nothing sleeps and nothing allocates with more than GFP_ATOMIC below
 *     the hooks; netlink allocates before it takes the mutex where it can.
 */
#ifndef _IP_VS_X_H
#define _IP_VS_X_H

#include <linux/jump_label.h>
#include <linux/tracepoint-defs.h>
#include <linux/types.h>
#include <net/ip_vs.h>
#include "compat.h"
#include "uapi/ip_vs_ext.h"

/* cp->flags: bits 0..15 go on the sync wire, 16 is NFCT; set once, never cleared */
#define IP_VS_CONN_F_X		BIT(30)
/* Forwarding method of an X conn, inside the kernel only; its dest stays MASQ */
#define IP_VS_CONN_F_FNAT	0x0005

#define IP_VS_X_PORT_MIN	1024
#define IP_VS_X_LADDR_MAX	1024	/* addresses of one group */
#define IP_VS_X_LIPS_PER_CONN	4	/* addresses probed for one conn */
#define IP_VS_X_TOA_MAX		16	/* packets of a conn that carry TOA */

struct ip_vs_x_limit;
struct ip_vs_x_set;
struct ip_vs_x_use;
struct ip_vs_x_uses;
struct netlink_ext_ack;
struct nlattr;
struct ip_vs_x_sp;
struct tcphdr;

/*
 * Counters: this_cpu_inc() only, summed by readers. u64, so only built where
 * a u64 add is one instruction (the supported kernels are all 64 bit).
 */
struct ip_vs_x_stats {
	u64	n[IPVS_EXT_STAT_MAX + 1];
};

/* The SYN proxy at PRE_ROUTING, for one family of a namespace; ip_vs_x_early.c */
struct ip_vs_x_early {
	u64			vips;		/* bloom: those with a SYN proxy; no lock */
	u32			vips_n[64];	/* services behind each bit, __ip_vs_mutex */
	u32			svcs;		/* by address with a SYN proxy, __ip_vs_mutex */
	bool			hooked;		/* __ip_vs_mutex */
};

/* Per namespace; net_generic() */
struct ip_vs_x_net {
	struct ip_vs_x_stats __percpu *stats;
	struct list_head	lgroups;	/* __ip_vs_mutex */
	u64			lips;		/* bloom of local addresses, read without lock */
	u16			lips_n[64];	/* addresses behind each bit, under lips_lock */
	spinlock_t		lips_lock;	/* leaf, _bh: puts come from softirq */
	u8			probes;		/* ports tried per conn */
	u8			reclaim;
	bool			any_lip;	/* a reply may come to an address that is no lip */
	struct ip_vs_x_sp_keys __rcu *keys;	/* of SYN cookies; written under __ip_vs_mutex */
	u64			sp_qmem_max;	/* bytes held for clients of the SYN proxy */
	atomic64_t		sp_qmem;
	u8			drop_vip;	/* written under __ip_vs_mutex */
	bool			had_sets;	/* __ip_vs_mutex */
	struct list_head	sets;		/* ipsets in use, __ip_vs_mutex */
	struct ip_vs_x_limit	*rst_limit;	/* of answers to what no conn is for */
	struct net		*net;
	u8			early_mode;	/* IPVS_EXT_EARLY_*, written under __ip_vs_mutex */
	struct ip_vs_x_early	early[2];	/* of IPv4, IPv6 */
};

/* What one CPU knows of one local address; the cursor wraps freely */
struct ip_vs_x_laddr_cpu {
	u32	cursor;
	s32	conns;		/* may be negative: a conn ends on another CPU */
	u64	conflict;
	u64	full;
	u64	reclaim;
};

/* A local address. Refs: one of its group, one per conn. Freed by RCU. */
struct ip_vs_x_laddr {
	union nf_inet_addr	addr;
	u16			af;
	u16			port_min;
	u16			port_max;
	bool			all_cpus;
	u32			flags;		/* IPVS_EXT_LADDR_F_*, __ip_vs_mutex */
	refcount_t		refcnt;
	struct ip_vs_x_laddr_cpu __percpu *pcpu;
	cpumask_t		cpus;
	struct list_head	list;		/* of the group, __ip_vs_mutex */
	struct ip_vs_x_uses	*uses;		/* of its group; holds a ref */
	struct ip_vs_x_net	*xnet;
	struct rcu_head		rcu_head;
};

/* The addresses of a group that may be allocated from; ip_vs_x_laddr.c */
struct ip_vs_x_laddrs;

struct ip_vs_x_lgroup {
	struct list_head	list;		/* of the namespace, __ip_vs_mutex */
	struct list_head	laddrs;		/* __ip_vs_mutex */
	unsigned int		n_laddrs;	/* __ip_vs_mutex; NO_NEW and FOREIGN too */
	struct ip_vs_x_laddrs __rcu *pick;	/* NULL: nothing to allocate from */
	unsigned int __percpu	*rr;		/* SEL_RR: this CPU's next index */
	struct ip_vs_x_uses	*uses;		/* holds a ref */
	char			name[IPVS_EXT_NAME_MAX + 1];
	u16			af;
	u32			refs;		/* services, __ip_vs_mutex */
	struct rcu_head		rcu_head;
};

/* SYN proxy of a service, IPVS_EXT_SVC_SP_* */
struct ip_vs_x_sp_cfg {
	u32	auto_on;
	u32	auto_off;
	u16	mss;
	u16	window;
	u8	wscale;
	u8	opts;		/* IPVS_EXT_SP_OPT_* */
	u8	ttl;
	u8	retries;
	u8	queue;
};

#define IP_VS_X_AUTO_BUCKETS	8
#define IP_VS_X_AUTO_TICK	(8 * HZ)

/*
 * What mode auto knows of a service. Refs: the service's, and one of each conn
 * that is half-open, so their number is the number of those, plus one.
 */
struct ip_vs_x_auto {
	refcount_t		refs;
	atomic_t		unanswered[IP_VS_X_AUTO_BUCKETS]; /* cookies, by age */
	bool			active;
	bool			dead;		/* the service goes */
	u8			bucket;		/* of cookies sent now */
	u32			off;
	unsigned long		takes_until;	/* jiffies: cookies sent before it was off */
	spinlock_t		lock;		/* a leaf */
	struct timer_list	timer;
	struct ip_vs_service	*svc;		/* for the timer, which ends before it */
	struct rcu_head		rcu_head;
};

/*
 * Settings of a service. Immutable once published; SET_SERVICE publishes a
 * changed copy. A service made by a stock tool has none: everything is off.
 */
struct ip_vs_x_svc_cfg {
	u32			flags;		/* IPVS_EXT_SVC_F_* */
	struct ip_vs_x_lgroup	*lgroup;	/* holds a ref while published */
	u16			mss_clamp;
	u8			sel;
	u8			ts_mode;
	u8			toa_kind4;
	u8			toa_kind6;
	bool			seq_chosen;	/* by the user: no default overrides it */
	bool			ts_chosen;
	struct ip_vs_x_sp_cfg	sp;
	struct ip_vs_x_auto	*aut;		/* shared by all copies */
	u8			invalid;
	u8			acl_mode;
	bool			last_limit;	/* limit goes with this copy */
	u32			timeout_est;	/* seconds; 0: ip_vs' own */
	u32			cps;
	u32			cps_burst;
	u32			conn_limit;
	u64			bps_in;
	u64			bps_out;
	struct ip_vs_x_limit	*limit;		/* NULL: no rate; shared by copies with the same */
	struct ip_vs_x_set	*set4;		/* each copy is a user */
	struct ip_vs_x_set	*set6;
	struct ip_vs_x_stats __percpu *stats;	/* shared by all copies */
	struct rcu_head		rcu_head;
};

/* All services: ip_vs_add_service() allocates this much, zeroed */
struct ip_vs_x_service {
	struct ip_vs_service	s;	/* first: the rest of ip_vs sees only this */
	struct ip_vs_x_svc_cfg __rcu *cfg;
	struct hlist_node	vip_node;	/* by vip; fwmark services have none */
	struct dst_entry __rcu	*local;		/* route to the vip, if here; ip_vs_x_early.c */
	u32			local_cookie;
	u8			fail_told;
	unsigned long		fail_at;	/* RS_FAIL was told last, if fail_told */
};

/* x->xflags: settings as they were when the conn was made, and its progress */
#define IP_VS_X_F_FNAT		BIT(0)
#define IP_VS_X_F_TOA		BIT(1)
#define IP_VS_X_F_TOA_SYN	BIT(2)
#define IP_VS_X_F_SEQ		BIT(3)
#define IP_VS_X_F_TS_STRIP	BIT(4)
#define IP_VS_X_F_TS_REBASE	BIT(5)
#define IP_VS_X_F_ISN		BIT(6)	/* isn_delta is chosen; cleared never */
#define IP_VS_X_F_TOA_DONE	BIT(7)	/* the RS has its socket */
#define IP_VS_X_F_TS_SET	BIT(8)	/* ts_delta is chosen */
#define IP_VS_X_F_SP		BIT(12)	/* of a service with SYN proxy */
#define IP_VS_X_F_HALF_OPEN	BIT(13)	/* counted by mode auto; c.app_data is its struct */
#define IP_VS_X_F_TS_SP		BIT(14)	/* RS TSval -> client TSval is chosen */
#define IP_VS_X_F_SEEN		BIT(9)	/* rs_seq and rs_ack are of a reply */

struct ip_vs_x_conn {
	struct ip_vs_conn	c;	/* first: the rest of ip_vs sees only this */

	/* the rest of the stock conn's last line */
	struct dst_entry __rcu	*out_dst;	/* route to the client; xchg() */
	struct ip_vs_x_laddr	*la;		/* holds a ref */
	struct ip_vs_x_sp	*sp;		/* RS handshake in progress */
	u32			out_cookie;
	u32			sp_delta;	/* RS seq -> client seq */

	/* one line: everything an out lookup and a rewrite read */
	struct hlist_node	out_node ____cacheline_aligned;
	union nf_inet_addr	laddr;
	u32			out_hash;
	__be16			lport;
	u8			ready;		/* release/acquire */
	u8			toa_left;	/* packets that may still carry TOA */
	u32			isn_delta;	/* client seq -> RS seq */
	u32			ts_delta;	/* client TSval -> RS TSval */
	u32			rs_seq;		/* last seen from the RS, for RSTs */
	u32			rs_ack;
	u16			xflags;		/* IP_VS_X_F_* */
	u16			mss_clamp;
	u8			toa_kind;
	u8			last_state;
	u16			win_shift;	/* IP_VS_X_WIN_SHIFT */
};

/* By how much windows are shifted left: of requests in byte 1, of replies in byte 0 */
#define IP_VS_X_WIN_SHIFT(in, out)	((u16)(((in) & 0xff) << 8 | ((out) & 0xff)))

static_assert(sizeof(struct ip_vs_x_conn) == 384 || sizeof(struct ip_vs_conn) != 288);

DECLARE_STATIC_KEY_FALSE(ip_vs_x_key);
/* On while a service has a flood policy, or a namespace drops what is for no service */
DECLARE_STATIC_KEY_FALSE(ip_vs_x_stray_key);
/* On while a service has settings that each packet of its X conns must look up */
DECLARE_STATIC_KEY_FALSE(ip_vs_x_live_key);
extern unsigned int ip_vs_x_net_id;

static inline bool ip_vs_conn_is_x(const struct ip_vs_conn *cp)
{
	return static_branch_unlikely(&ip_vs_x_key) &&
	       (cp->flags & IP_VS_CONN_F_X);
}

static inline struct ip_vs_x_conn *ip_vs_x_conn(struct ip_vs_conn *cp)
{
	return container_of(cp, struct ip_vs_x_conn, c);
}

static inline struct ip_vs_x_service *ip_vs_x_service(struct ip_vs_service *svc)
{
	return container_of(svc, struct ip_vs_x_service, s);
}

/*
 * No helper changes the length of what an X conn carries, so the numbers that
 * ip_vs keeps for helpers are ours: what the SYN proxy adds to timestamps of
 * the RS, the sequence that the client may open the next connection with, his
 * last ACK, what guards against ACK storms, and the sequence that he opened this
 * one with.
 */
static inline u32 *ip_vs_x_ts_sp(struct ip_vs_x_conn *x)
{
	return &x->c.in_seq.init_seq;
}

static inline u32 *ip_vs_x_next_seq(struct ip_vs_x_conn *x)
{
	return &x->c.in_seq.delta;
}

static inline u32 *ip_vs_x_last_ack(struct ip_vs_x_conn *x)
{
	return &x->c.in_seq.previous_delta;
}

static inline u32 *ip_vs_x_storm_key(struct ip_vs_x_conn *x)
{
	return &x->c.out_seq.init_seq;
}

static inline u32 *ip_vs_x_first_seq(struct ip_vs_x_conn *x)
{
	return &x->c.out_seq.delta;
}

static inline u32 *ip_vs_x_storm(struct ip_vs_x_conn *x)
{
	return &x->c.out_seq.previous_delta;
}

/*
 * Call-outs. The functions with two underscores are behind the key; the
 * others are called whether it is on or off.
 */

/* ip_vs_conn_out_get(): a ref on the X conn that a reply or error belongs to */
struct ip_vs_conn *__ip_vs_x_out_get(const struct ip_vs_conn_param *p);
static inline struct ip_vs_conn *ip_vs_x_out_get(const struct ip_vs_conn_param *p)
{
	return static_branch_unlikely(&ip_vs_x_key) ? __ip_vs_x_out_get(p) : NULL;
}

/*
 * ip_vs_conn_new(): memory for a conn, of the kind it is to be. For an X conn
 * *flags gets IP_VS_CONN_F_X and lip:lport is taken. NULL: no memory.
 * ERR_PTR: the conn must not be made (no port, no address), and is counted.
 */
struct ip_vs_conn *__ip_vs_x_conn_alloc(struct kmem_cache *cachep,
					const struct ip_vs_conn_param *p, int daf,
					const union nf_inet_addr *daddr, __be16 dport,
					unsigned int *flags, struct ip_vs_dest *dest);
static inline struct ip_vs_conn *
ip_vs_x_conn_alloc(struct kmem_cache *cachep, const struct ip_vs_conn_param *p, int daf,
		   const union nf_inet_addr *daddr, __be16 dport, unsigned int *flags,
		   struct ip_vs_dest *dest)
{
	if (static_branch_unlikely(&ip_vs_x_key))
		return __ip_vs_x_conn_alloc(cachep, p, daf, daddr, dport, flags, dest);
	return kmem_cache_alloc(cachep, GFP_ATOMIC);
}

/* ip_vs_conn_new(), ip_vs_try_bind_dest(): publishes; before the conn is hashed */
void __ip_vs_x_conn_ready(struct ip_vs_conn *cp);
static inline void ip_vs_x_conn_ready(struct ip_vs_conn *cp)
{
	if (ip_vs_conn_is_x(cp))
		__ip_vs_x_conn_ready(cp);
}

/* ip_vs_conn_expire(): frees lip:lport, after the conn has left the stock table */
void __ip_vs_x_conn_unlink(struct ip_vs_conn *cp);
static inline void ip_vs_x_conn_unlink(struct ip_vs_conn *cp)
{
	if (unlikely(cp->flags & IP_VS_CONN_F_X))
		__ip_vs_x_conn_unlink(cp);
}

/* ip_vs_conn_rcu_free(): the memory, to the cache it came from */
void __ip_vs_x_conn_free(struct ip_vs_conn *cp);
static inline void ip_vs_x_conn_free(struct kmem_cache *cachep, struct ip_vs_conn *cp)
{
	if (unlikely(cp->flags & IP_VS_CONN_F_X))
		__ip_vs_x_conn_free(cp);
	else
		kmem_cache_free(cachep, cp);
}

/*
 * tcp_conn_schedule(): TCP that belongs to no conn, whatever its flags. th may
 * be a copy. True: the rest of ip_vs decides. False: *verdict is the answer,
 * and skb is gone if that is NF_STOLEN.
 */
bool __ip_vs_x_tcp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			 struct ip_vs_proto_data *pd, int *verdict, struct ip_vs_conn **cpp,
			 struct ip_vs_iphdr *iph, const struct tcphdr *th);
static inline bool ip_vs_x_tcp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
				     struct ip_vs_proto_data *pd, int *verdict,
				     struct ip_vs_conn **cpp, struct ip_vs_iphdr *iph,
				     const struct tcphdr *th)
{
	return !static_branch_unlikely(&ip_vs_x_key) ||
	       __ip_vs_x_tcp_sched(ipvs, af, skb, pd, verdict, cpp, iph, th);
}

/*
 * ip_vs_in_hook(): a packet of a conn, before anything is concluded from it.
 * True: the SYN proxy has taken it, cp is put and *verdict is the answer.
 */
bool __ip_vs_x_intercept(struct ip_vs_conn *cp, struct sk_buff *skb, struct ip_vs_proto_data *pd,
			 struct ip_vs_iphdr *iph, int *verdict);
static inline bool ip_vs_x_intercept(struct ip_vs_conn *cp, struct sk_buff *skb,
				     struct ip_vs_proto_data *pd, struct ip_vs_iphdr *iph,
				     int *verdict)
{
	return ip_vs_conn_is_x(cp) &&
	       (READ_ONCE(container_of(cp, struct ip_vs_x_conn, c)->xflags) & IP_VS_X_F_SP) &&
	       __ip_vs_x_intercept(cp, skb, pd, iph, verdict);
}

/* udp_conn_schedule(): UDP that no service wants. False: *verdict is the answer. */
bool __ip_vs_x_udp_stray(struct netns_ipvs *ipvs, int af, struct sk_buff *skb, int *verdict,
			 struct ip_vs_iphdr *iph);
static inline bool ip_vs_x_udp_stray(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
				     int *verdict, struct ip_vs_iphdr *iph)
{
	return !static_branch_unlikely(&ip_vs_x_key) ||
	       __ip_vs_x_udp_stray(ipvs, af, skb, verdict, iph);
}

/* ip_vs_schedule(): false drops the packet that would make a conn */
bool __ip_vs_x_admit(struct ip_vs_service *svc, struct sk_buff *skb,
		     struct ip_vs_iphdr *iph);
static inline bool ip_vs_x_admit(struct ip_vs_service *svc, struct sk_buff *skb,
				 struct ip_vs_iphdr *iph)
{
	return !static_branch_unlikely(&ip_vs_x_key) || __ip_vs_x_admit(svc, skb, iph);
}

/* ip_vs_schedule(), ip_vs_sched_persist(): skb wanted a conn and gets none */
void __ip_vs_x_refused(struct ip_vs_service *svc, struct sk_buff *skb,
		       struct ip_vs_iphdr *iph);
static inline void ip_vs_x_refused(struct ip_vs_service *svc, struct sk_buff *skb,
				   struct ip_vs_iphdr *iph)
{
	if (static_branch_unlikely(&ip_vs_x_key))
		__ip_vs_x_refused(svc, skb, iph);
}

/* handle_response(), handle_response_icmp(): end of a reply; put the conn */
unsigned int ip_vs_x_response(int af, struct sk_buff *skb, struct ip_vs_protocol *pp,
			      struct ip_vs_conn *cp, struct ip_vs_iphdr *iph,
			      unsigned int hooknum);
unsigned int ip_vs_x_response_icmp(int af, struct sk_buff *skb, struct ip_vs_protocol *pp,
				   struct ip_vs_conn *cp, struct ip_vs_iphdr *ciph,
				   unsigned int hooknum);

/*
 * ip_vs_sync_conn(): what to tell backups of instead of cp. A stock one would
 * make a NAT conn of an X conn, which could only lose packets; so none is sent.
 * The template that controls it is, as stock ip_vs would.
 */
static inline struct ip_vs_conn *ip_vs_x_sync(struct netns_ipvs *ipvs, struct ip_vs_conn *cp,
					      int *pkts)
{
	if (likely(!(cp->flags & IP_VS_CONN_F_X)))
		return cp;
	cp = cp->control;
	if (cp)
		*pkts = cp->flags & IP_VS_CONN_F_TEMPLATE ? atomic_add_return(1, &cp->in_pkts) :
							   sysctl_sync_threshold(ipvs);
	return cp;
}

/* ip_vs_add_service(): the service can be found */
void ip_vs_x_svc_added(struct ip_vs_service *svc);

/* __ip_vs_del_service(): the service gives back its group and settings */
void ip_vs_x_svc_release(struct ip_vs_service *svc);

/* ip_vs_add_dest(), ip_vs_edit_dest(): errno when the dest cannot work */
int ip_vs_x_check_dest(struct ip_vs_service *svc, const struct ip_vs_dest_user_kern *udest);

int ip_vs_x_init(void);
void ip_vs_x_cleanup(void);

/*
 * Among our own files.
 */

/* ip_vs_x_main.c */
static inline struct ip_vs_x_net *ip_vs_x_net(const struct netns_ipvs *ipvs)
{
	return net_generic(ipvs->net, ip_vs_x_net_id);
}

/* The same for who is under RCU, as all packets are */
static inline struct ip_vs_x_net *ip_vs_x_net_rcu(const struct netns_ipvs *ipvs)
{
	return rcu_dereference(ipvs->net->gen)->ptr[ip_vs_x_net_id];
}

/* NULL: a dest in the trash, or of a synced conn, may have no service. RCU. */
static inline struct ip_vs_service *ip_vs_x_conn_svc(const struct ip_vs_conn *cp)
{
	return cp->dest ? rcu_dereference(cp->dest->svc) : NULL;
}

/* The settings of a conn's service, as they are now; NULL: none, or no service. RCU. */
static inline const struct ip_vs_x_svc_cfg *ip_vs_x_conn_cfg(const struct ip_vs_conn *cp)
{
	struct ip_vs_service *svc = ip_vs_x_conn_svc(cp);

	return svc ? rcu_dereference(ip_vs_x_service(svc)->cfg) : NULL;
}

/* A SYN that a cookie would answer: does the list refuse its client? Counts. RCU. */
bool ip_vs_x_unwelcome(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		       const struct ip_vs_iphdr *iph, const struct ip_vs_service *svc,
		       const struct ip_vs_x_svc_cfg *cfg);

/*
 * The counters of packets and connections that were refused, or could not be sent.
 * Only ip_vs_x_drop…() count them, so that each has its trace.
 */
#define IP_VS_X_DROPS	(BIT_ULL(IPVS_EXT_STAT_LPORT_FULL) | BIT_ULL(IPVS_EXT_STAT_NO_LADDR) | \
			 BIT_ULL(IPVS_EXT_STAT_SP_QDROP) | BIT_ULL(IPVS_EXT_STAT_SP_NODEST) | \
			 BIT_ULL(IPVS_EXT_STAT_ACK_STORM) | BIT_ULL(IPVS_EXT_STAT_INVALID_DROP) | \
			 BIT_ULL(IPVS_EXT_STAT_INVALID_RST) | BIT_ULL(IPVS_EXT_STAT_ACL_DROP) | \
			 BIT_ULL(IPVS_EXT_STAT_CPS_DROP) | BIT_ULL(IPVS_EXT_STAT_BPS_DROP) | \
			 BIT_ULL(IPVS_EXT_STAT_LIMIT_DROP) | BIT_ULL(IPVS_EXT_STAT_LRO_DROP) | \
			 BIT_ULL(IPVS_EXT_STAT_MTU_ICMP) | BIT_ULL(IPVS_EXT_STAT_TTL_ICMP) | \
			 BIT_ULL(IPVS_EXT_STAT_ROUTE_FAIL) | BIT_ULL(IPVS_EXT_STAT_CSUM_BAD) | \
			 BIT_ULL(IPVS_EXT_STAT_MEM) | BIT_ULL(IPVS_EXT_STAT_BAD_PKT) | \
			 BIT_ULL(IPVS_EXT_STAT_OPS_DROP) | BIT_ULL(IPVS_EXT_STAT_VIP_DROP))
#define IP_VS_X_NO_DROP(stat) \
	BUILD_BUG_ON_MSG(__builtin_constant_p(stat) && (BIT_ULL(stat) & IP_VS_X_DROPS), \
			 "a drop is counted without a trace")

void __ip_vs_x_count(const struct ip_vs_conn *cp, unsigned int stat);
/* Counts for the namespace and, when the conn still has one, its service. RCU. */
static __always_inline void ip_vs_x_count(const struct ip_vs_conn *cp, unsigned int stat)
{
	IP_VS_X_NO_DROP(stat);
	__ip_vs_x_count(cp, stat);
}

static inline void __ip_vs_x_count_cfg(struct ip_vs_x_net *xnet,
				       const struct ip_vs_x_svc_cfg *cfg, unsigned int stat)
{
	this_cpu_inc(xnet->stats->n[stat]);
	if (cfg)
		this_cpu_inc(cfg->stats->n[stat]);
}

/* The same before there is a conn; cfg may be NULL */
static __always_inline void ip_vs_x_count_cfg(struct ip_vs_x_net *xnet,
					      const struct ip_vs_x_svc_cfg *cfg, unsigned int stat)
{
	IP_VS_X_NO_DROP(stat);
	__ip_vs_x_count_cfg(xnet, cfg, stat);
}

/*
 * ip_vs_x_trace.c: the tracepoints of group ip_vs_x, each a jump that is not taken
 * while nobody looks. stat is the counter, IPVS_EXT_STAT_*, that says why.
 */
DECLARE_TRACEPOINT(ip_vs_x_drop);
DECLARE_TRACEPOINT(ip_vs_x_conn_new);
DECLARE_TRACEPOINT(ip_vs_x_synproxy);

void __ip_vs_x_trace_drop(int af, const struct sk_buff *skb, const struct ip_vs_iphdr *iph,
			  unsigned int stat);
void __ip_vs_x_trace_conn_new(const struct ip_vs_x_conn *x);
void __ip_vs_x_trace_synproxy(int af, const struct sk_buff *skb, const struct ip_vs_iphdr *iph,
			      unsigned int stat);
void __ip_vs_x_trace_conn_drop(const struct ip_vs_conn *cp, unsigned int stat);
void __ip_vs_x_trace_new_drop(const struct ip_vs_conn_param *p, unsigned int stat);
void ip_vs_x_trace_lport_full(const struct ip_vs_x_conn *x, const union nf_inet_addr *caddr,
			      const char *lgroup);

/* Counts and traces a drop: of a packet that no conn is known of; cfg may be NULL */
static inline void ip_vs_x_drop_packet(struct ip_vs_x_net *xnet,
				       const struct ip_vs_x_svc_cfg *cfg, int af,
				       const struct sk_buff *skb, const struct ip_vs_iphdr *iph,
				       unsigned int stat)
{
	__ip_vs_x_count_cfg(xnet, cfg, stat);
	if (tracepoint_enabled(ip_vs_x_drop))
		__ip_vs_x_trace_drop(af, skb, iph, stat);
}

/* of a conn that is not to be, */
static inline void ip_vs_x_drop_new(struct ip_vs_x_net *xnet, const struct ip_vs_x_svc_cfg *cfg,
				    const struct ip_vs_conn_param *p, unsigned int stat)
{
	__ip_vs_x_count_cfg(xnet, cfg, stat);
	if (tracepoint_enabled(ip_vs_x_drop))
		__ip_vs_x_trace_new_drop(p, stat);
}

/* and of something that belongs to a conn. The packet is the caller's. RCU. */
static inline void ip_vs_x_drop_conn(const struct ip_vs_conn *cp, unsigned int stat)
{
	__ip_vs_x_count(cp, stat);
	if (tracepoint_enabled(ip_vs_x_drop))
		__ip_vs_x_trace_conn_drop(cp, stat);
}

static inline void ip_vs_x_trace_conn_new(const struct ip_vs_x_conn *x)
{
	if (tracepoint_enabled(ip_vs_x_conn_new))
		__ip_vs_x_trace_conn_new(x);
}

/* What was done with a packet of a handshake: the SP_* counter that it moved */
static inline void ip_vs_x_trace_synproxy(int af, const struct sk_buff *skb,
					  const struct ip_vs_iphdr *iph, unsigned int stat)
{
	if (tracepoint_enabled(ip_vs_x_synproxy))
		__ip_vs_x_trace_synproxy(af, skb, iph, stat);
}

u64 ip_vs_x_stats_sum(const struct ip_vs_x_stats __percpu *stats, unsigned int stat);

/* ip_vs_x_limit.c */
enum {
	IP_VS_X_LIMIT_CPS,
	IP_VS_X_LIMIT_IN,
	IP_VS_X_LIMIT_OUT,
	IP_VS_X_LIMITS
};

/* Is there room for n more? Then it is taken. */
bool ip_vs_x_limit_take(struct ip_vs_x_limit *l, unsigned int which, u64 n);
/* May a conn be made? If not, *stat is the counter that says why. RCU. */
bool ip_vs_x_limit_admit(struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
			 unsigned int *stat);
/* Conns of all dests; counting may stop at enough. RCU. */
u64 ip_vs_x_svc_conns(struct ip_vs_service *svc, u64 enough);
/* A packet of an X conn, IN or OUT: lifetime, and may it pass? RCU. */
bool __ip_vs_x_live(struct sk_buff *skb, struct ip_vs_conn *cp, unsigned int which);
static inline bool ip_vs_x_live(struct sk_buff *skb, struct ip_vs_conn *cp, unsigned int which)
{
	return !static_branch_unlikely(&ip_vs_x_live_key) || __ip_vs_x_live(skb, cp, which);
}

/* ip_vs_x_acl.c */

/* May this client connect? Asked for each SYN that a cookie answers, too. RCU. */
bool ip_vs_x_acl_permits(const struct ip_vs_x_svc_cfg *cfg, const struct ip_vs_service *svc,
			 const struct sk_buff *skb, const struct ip_vs_iphdr *iph);
/*
 * TCP that belongs to no conn, nor to one in the making: true leaves it to
 * ip_vs, false says drop it; the service's policy has done and counted the rest.
 */
bool ip_vs_x_invalid(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		     const struct ip_vs_iphdr *iph, const struct tcphdr *th,
		     const struct ip_vs_x_svc_cfg *cfg);
/* No service wants the packet. Is it to be dropped, because it is for a vip? Counts. */
bool ip_vs_x_vip_drop(struct netns_ipvs *ipvs, int af, const struct sk_buff *skb,
		      const struct ip_vs_iphdr *iph);

/* ip_vs_x_ports.c: the counter of ports of cp's RS; softirqs may be on */
/* One more. False: no memory. name is the group's, for events. RCU. */
bool ip_vs_x_use_get(struct ip_vs_x_uses *u, const struct ip_vs_x_net *xnet, const char *name,
		     const struct ip_vs_conn *cp);
void ip_vs_x_use_put(struct ip_vs_x_uses *u, const struct ip_vs_conn *cp);
/* A conn got no port */
void ip_vs_x_use_full(struct ip_vs_x_uses *u, const struct ip_vs_x_net *xnet, const char *name,
		      const struct ip_vs_conn *cp);

/* ip_vs_x_conn.c */
int ip_vs_x_conn_init(void);
void ip_vs_x_conn_cleanup(void);
unsigned int ip_vs_x_tab_bits(void);
/*
 * Calls fn for the X conns of a namespace from bucket *pos on, under RCU;
 * fn < 0 ends the walk and *pos, *skip tell where to go on. Returns fn's value.
 */
int ip_vs_x_conn_walk(const struct netns_ipvs *ipvs, unsigned int *pos, unsigned int *skip,
		      int (*fn)(struct ip_vs_x_conn *x, void *arg), void *arg);
/* The same for one bucket, which is less than 1 << ip_vs_x_tab_bits() */
int ip_vs_x_conn_bucket(const struct netns_ipvs *ipvs, unsigned int pos, unsigned int *skip,
			int (*fn)(struct ip_vs_x_conn *x, void *arg), void *arg);

/* ip_vs_x_laddr.c; all but pick, get, put, lips_* under ip_vs_x_cfg_lock() */
struct ip_vs_x_lgroup *ip_vs_x_lgroup_find(struct ip_vs_x_net *xnet, const char *name);
int ip_vs_x_lgroup_add(struct ip_vs_x_net *xnet, const char *name, u16 af,
		       struct netlink_ext_ack *extack);
int ip_vs_x_lgroup_del(struct ip_vs_x_net *xnet, const char *name,
		       struct netlink_ext_ack *extack);
/* Frees every group of a namespace that goes; no service is left */
void ip_vs_x_lgroup_flush(struct ip_vs_x_net *xnet);
/*
 * The first max choices of a local address for a new conn of client caddr, by
 * the service's selection; returns how many there are. RCU; no refs. seed comes
 * from ip_vs_x_laddr_seed(), once per conn.
 */
u32 ip_vs_x_laddr_seed(const struct ip_vs_x_svc_cfg *cfg, const union nf_inet_addr *caddr,
		       u16 af);
unsigned int ip_vs_x_laddr_pick(const struct ip_vs_x_svc_cfg *cfg, u32 seed,
				struct ip_vs_x_laddr **la, unsigned int max);
static inline bool ip_vs_x_laddr_get(struct ip_vs_x_laddr *la)
{
	return refcount_inc_not_zero(&la->refcnt);
}

void ip_vs_x_laddr_put(struct ip_vs_x_laddr *la);

/* An address' bit in a bloom of 64. Of an IPv4 address the first word alone is set. */
static inline unsigned int ip_vs_x_addr_bit(u16 af, const union nf_inet_addr *addr)
{
	u32 h = af == AF_INET6 ? (__force u32)(addr->all[0] ^ addr->all[1] ^ addr->all[2] ^
					       addr->all[3]) : (__force u32)addr->ip;

	return (h * 0x9e3779b1U) >> 26;
}

/*
 * ip_vs_x_genl.c. An event goes to whoever listens in net; any context, never
 * sleeps. begin is false when nobody listens or there is no memory; then there
 * is nothing to end. end sends it, or with err drops it.
 */
struct ip_vs_x_event {
	struct net	*net;
	struct sk_buff	*skb;	/* where begin's caller puts what it is about */
	void		*hdr;
};

/* May what was told at, if told is set, be told again? Once a second, by one CPU. */
static inline bool ip_vs_x_tell_again(unsigned long *at, u8 *told)
{
	unsigned long old = READ_ONCE(*at), now = jiffies;

	if ((READ_ONCE(*told) && time_before(now, old + HZ)) || cmpxchg(at, old, now) != old)
		return false;
	WRITE_ONCE(*told, 1);
	return true;
}

void ip_vs_x_event_synproxy(struct ip_vs_service *svc, u32 code, u32 half_open);
void ip_vs_x_event_rs_fail(const struct ip_vs_service *svc, const struct ip_vs_dest *dest);
bool ip_vs_x_event_begin(struct ip_vs_x_event *e, struct net *net, u32 code);
void ip_vs_x_event_end(struct ip_vs_x_event *e, int err);
int ip_vs_x_genl_init(void);
void ip_vs_x_genl_cleanup(void);

/* ip_vs_x_xmit.c: cp->packet_xmit of an X conn; ICMP errors come here too */
int ip_vs_x_xmit(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_protocol *pp,
		 struct ip_vs_iphdr *iph);
/* Sends an IP packet that has its route set; consumes it. Returns NF_STOLEN. */
int ip_vs_x_send(struct netns_ipvs *ipvs, int af, struct sk_buff *skb);
/* The conn's route to the client, cached; under RCU, no ref. NULL: counted. */
struct dst_entry *ip_vs_x_client_dst(struct ip_vs_x_conn *x);
/* ip_vs_x_icmp.c: an error about vip->cip on its way to the RS; consumes skb */
int ip_vs_x_icmp_in(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_iphdr *ciph);

/* ip_vs_x_tcp.c: RST to a client for a segment that no conn is for. May do nothing. */
void ip_vs_x_answer_rst(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
			const struct ip_vs_iphdr *iph);
/* Ends both halves of a conn that is over for us but not for them. RCU. */
void ip_vs_x_expire_rst(struct ip_vs_x_conn *x);

/* ip_vs_x_synproxy.c */
int ip_vs_x_sp_net_init(struct ip_vs_x_net *xnet);
void ip_vs_x_sp_net_exit(struct ip_vs_x_net *xnet);
void ip_vs_x_sp_locks_init(void);
/* Are SYNs to the service answered with cookies now? */
bool ip_vs_x_sp_active(const struct ip_vs_x_svc_cfg *cfg);
/*
 * TCP without a conn, to a service with SYN proxy. True: *verdict is the answer.
 * False: nothing that the proxy has to do with, or an ACK without a cookie.
 */
bool ip_vs_x_sp_sched(struct netns_ipvs *ipvs, int af, struct sk_buff *skb,
		      struct ip_vs_proto_data *pd, int *verdict, struct ip_vs_iphdr *iph,
		      struct ip_vs_service *svc, const struct ip_vs_x_svc_cfg *cfg,
		      const struct tcphdr *h);
/*
 * Mode auto: new may fail; put and opened in any context, set and stop sleep. old
 * is what cfg replaces, or NULL.
 */
struct ip_vs_x_auto *ip_vs_x_auto_new(struct ip_vs_service *svc);
void ip_vs_x_auto_set(struct ip_vs_x_auto *a, const struct ip_vs_x_svc_cfg *cfg,
		      const struct ip_vs_x_svc_cfg *old);
void ip_vs_x_auto_stop(struct ip_vs_x_auto *a);
void ip_vs_x_auto_put(struct ip_vs_x_auto *a);
u32 ip_vs_x_auto_half_open(struct ip_vs_x_auto *a);
/* A conn is made, by a SYN if not by a cookie; before it is published */
void ip_vs_x_auto_opened(struct ip_vs_x_conn *x, const struct ip_vs_x_svc_cfg *cfg);
/* It is half-open no longer, or ends */
void ip_vs_x_auto_answered(struct ip_vs_x_conn *x);

/* ip_vs_x_synproxy_rs.c */
int ip_vs_x_sp_init(void);
void ip_vs_x_sp_cleanup(void);
/* Gives a pending handshake up, if there is one, and tells nobody */
void ip_vs_x_sp_drop(struct ip_vs_x_conn *x);
/* A reply while a handshake pends. False: none does any more, and skb is as it was. */
bool ip_vs_x_sp_reply(struct ip_vs_conn *cp, struct sk_buff *skb, const struct ip_vs_iphdr *iph);

/* ip_vs_x_glue_core.h: as ip_vs_in_hook() counts a packet of a client */
void ip_vs_x_in_stats(struct ip_vs_conn *cp, struct sk_buff *skb);
/* All hooks of a family at hooknum, NULL: none. RCU. */
static inline const struct nf_hook_entries *ip_vs_x_hooks(const struct net *net, int af,
							  unsigned int hooknum)
{
	if (af == AF_INET6)
		return rcu_dereference(net->nf.hooks_ipv6[hooknum]);
	return rcu_dereference(net->nf.hooks_ipv4[hooknum]);
}

/* Has nobody but ip_vs a hook at LOCAL_IN or LOCAL_OUT? RCU. */
bool ip_vs_x_hooks_alone(const struct net *net, int af, unsigned int hooknum);

/* ip_vs_x_glue_conn.h: ends a conn now if nobody else does; RCU, no bucket lock held */
void ip_vs_x_conn_reclaim(struct ip_vs_conn *cp);
/* Ends a conn whatever it does; RCU, no bucket lock held */
void ip_vs_x_conn_end(struct ip_vs_conn *cp);
/* May a request belong to a conn? No ref; RCU. */
bool ip_vs_x_conn_known(const struct ip_vs_conn_param *p);

/* ip_vs_x_glue_ctl.h */
void ip_vs_x_cfg_lock(void);
void ip_vs_x_cfg_unlock(void);
/* Exactly this service, no fallbacks. fwmark != 0: the rest is not looked at. */
struct ip_vs_service *ip_vs_x_svc_find(struct netns_ipvs *ipvs, int af, u32 fwmark, u16 protocol,
				       const union nf_inet_addr *addr, __be16 port);
/* fn < 0 ends the walk and is returned */
int ip_vs_x_svc_walk(struct netns_ipvs *ipvs,
		     int (*fn)(struct ip_vs_service *svc, void *arg), void *arg);

/*
 * ip_vs_x_glue_xmit.h: the stock route of a dest with its TTL, MTU and local
 * boundary tests. Sets skb's route. 1: the RS is this host, 0: it is not, -1:
 * drop (the sender got its ICMP error, and the reason is counted).
 */
int ip_vs_x_out_rt(struct sk_buff *skb, struct ip_vs_conn *cp, struct ip_vs_iphdr *iph);

#endif
