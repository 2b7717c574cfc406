// SPDX-License-Identifier: GPL-2.0-only
/*
 * The forecast: how many ports of a group are in use towards each real server.
 *
 * A port of a local address serves every real server at once, so a group is
 * full when it is towards one of them. Which one that is changes; so each that
 * has a conn is counted. Conns find their counter by their own tuple, through
 * the address they hold: a group that is deleted and made again begins anew.
 *
 * Locking: counters are found under RCU. One that reaches 0 is unlinked under
 * the lock of its group, a leaf, and nobody can count it up again before that
 * but under the same lock.
 */
#include <linux/hash.h>
#include <linux/slab.h>
#include "ip_vs_x.h"
#include "ip_vs_x_cfg.h"
#include "ip_vs_x_rate.h"

#define X_USES_BITS	6

/* Ports towards one real server; RCU */
struct ip_vs_x_use {
	struct hlist_node	node;
	union nf_inet_addr	raddr;
	__be16			rport;
	u8			protocol;
	u8			level;		/* as last told */
	u8			full_told;
	atomic_t		n;
	unsigned long		full_at;	/* jiffies of the last "full" */
	struct rcu_head		rcu_head;
};

/* Refs: the group's, and one of each address that was ever in it */
struct ip_vs_x_uses {
	refcount_t		refcnt;
	u32			ports;		/* that new conns may get */
	u32			calm;		/* fewer in use are no news */
	u16			af;
	spinlock_t		lock;		/* linking; a leaf, _bh */
	struct hlist_head	tab[BIT(X_USES_BITS)];
};

static struct kmem_cache *x_use_cachep __read_mostly;
static struct kmem_cache *x_uses_cachep __read_mostly;

struct ip_vs_x_uses *ip_vs_x_uses_new(u16 af)
{
	struct ip_vs_x_uses *u = kmem_cache_zalloc(x_uses_cachep, GFP_KERNEL);

	if (!u)
		return NULL;
	refcount_set(&u->refcnt, 1);
	spin_lock_init(&u->lock);
	u->af = af;
	return u;
}

struct ip_vs_x_uses *ip_vs_x_uses_hold(struct ip_vs_x_uses *u)
{
	refcount_inc(&u->refcnt);
	return u;
}

/*
 * With the last address went the last conn, and so the last counter. Groups and
 * addresses let go after a grace period of their own: there are no readers.
 */
void ip_vs_x_uses_put(struct ip_vs_x_uses *u)
{
	if (refcount_dec_and_test(&u->refcnt))
		kmem_cache_free(x_uses_cachep, u);
}

void ip_vs_x_uses_set_ports(struct ip_vs_x_uses *u, u32 ports)
{
	WRITE_ONCE(u->ports, ports);
	WRITE_ONCE(u->calm, ports / 2);
}

static struct hlist_head *x_use_head(struct ip_vs_x_uses *u, const struct ip_vs_conn *cp)
{
	u32 h = (__force u32)cp->daddr.ip;

	if (cp->af == AF_INET6)
		h ^= (__force u32)(cp->daddr.all[1] ^ cp->daddr.all[2] ^ cp->daddr.all[3]);
	/* real servers are configured: nobody can choose them to collide */
	return &u->tab[hash_32(h + (__force u32)cp->dport + cp->protocol, X_USES_BITS)];
}

static struct ip_vs_x_use *x_use_find(struct ip_vs_x_uses *u, const struct ip_vs_conn *cp)
{
	struct ip_vs_x_use *use;

	hlist_for_each_entry_rcu(use, x_use_head(u, cp), node, lockdep_is_held(&u->lock)) {
		if (use->rport == cp->dport && use->protocol == cp->protocol &&
		    ip_vs_addr_equal(cp->af, &use->raddr, &cp->daddr))
			return use;
	}
	return NULL;
}

/* The first port towards its RS, or one that lost a race with the last */
static struct ip_vs_x_use *x_use_add(struct ip_vs_x_uses *u, const struct ip_vs_conn *cp)
{
	struct ip_vs_x_use *new = kmem_cache_zalloc(x_use_cachep, GFP_ATOMIC), *use;

	spin_lock_bh(&u->lock);
	use = x_use_find(u, cp);
	if (use) {
		atomic_inc(&use->n);
	} else if (new) {
		ip_vs_addr_set(cp->af, &new->raddr, &cp->daddr);
		new->rport = cp->dport;
		new->protocol = cp->protocol;
		atomic_set(&new->n, 1);
		hlist_add_head_rcu(&new->node, x_use_head(u, cp));
		use = new;
		new = NULL;
	}
	spin_unlock_bh(&u->lock);
	if (new)
		kmem_cache_free(x_use_cachep, new);
	return use;
}

static int x_use_put_nest(struct sk_buff *skb, const char *name, const struct ip_vs_x_uses *u,
			  const struct ip_vs_x_use *use)
{
	struct nlattr *nest = nla_nest_start(skb, IPVS_EXT_A_LGROUP);

	if (!nest || nla_put_string(skb, IPVS_EXT_LGROUP_NAME, name) ||
	    nla_put_u16(skb, IPVS_EXT_LGROUP_AF, u->af) ||
	    ip_vs_x_uses_put_forecast(skb, u, use))
		return -EMSGSIZE;
	nla_nest_end(skb, nest);
	return 0;
}

static void x_use_tell(const struct ip_vs_x_net *xnet, const char *name,
		       const struct ip_vs_x_uses *u, const struct ip_vs_x_use *use, u32 code)
{
	struct ip_vs_x_event e;

	if (ip_vs_x_event_begin(&e, xnet->net, code))
		ip_vs_x_event_end(&e, x_use_put_nest(e.skb, name, u, use));
}

bool ip_vs_x_use_get(struct ip_vs_x_uses *u, const struct ip_vs_x_net *xnet, const char *name,
		     const struct ip_vs_conn *cp)
{
	struct ip_vs_x_use *use = x_use_find(u, cp);
	u8 old, level;

	if (unlikely(!use || !atomic_inc_not_zero(&use->n))) {
		use = x_use_add(u, cp);
		if (!use)
			return false;
	}
	old = READ_ONCE(use->level);
	if (likely(!old && atomic_read(&use->n) < READ_ONCE(u->calm)))
		return true;
	level = ip_vs_x_ports_level(atomic_read(&use->n), READ_ONCE(u->ports), old);
	if (likely(level == old) || cmpxchg(&use->level, old, level) != old)
		return true;
	if (level > old)
		x_use_tell(xnet, name, u, use, level == 2 ? IPVS_EXT_EVENT_PORTS_95 :
							    IPVS_EXT_EVENT_PORTS_80);
	return true;
}

void ip_vs_x_use_full(struct ip_vs_x_uses *u, const struct ip_vs_x_net *xnet, const char *name,
		      const struct ip_vs_conn *cp)
{
	struct ip_vs_x_use *use = x_use_find(u, cp);

	if (use && ip_vs_x_tell_again(&use->full_at, &use->full_told))
		x_use_tell(xnet, name, u, use, IPVS_EXT_EVENT_PORTS_FULL);
}

static void x_use_rcu_free(struct rcu_head *head)
{
	kmem_cache_free(x_use_cachep, container_of(head, struct ip_vs_x_use, rcu_head));
}

void ip_vs_x_use_put(struct ip_vs_x_uses *u, const struct ip_vs_conn *cp)
{
	struct ip_vs_x_use *use;

	rcu_read_lock_bh();
	use = x_use_find(u, cp);	/* it has this conn's count: it is there */
	if (use && atomic_dec_and_lock(&use->n, &u->lock)) {
		hlist_del_rcu(&use->node);
		spin_unlock(&u->lock);
		call_rcu(&use->rcu_head, x_use_rcu_free);
	}
	rcu_read_unlock_bh();
}

int ip_vs_x_uses_put_forecast(struct sk_buff *skb, const struct ip_vs_x_uses *u,
			      const struct ip_vs_x_use *use)
{
	u32 n = use ? atomic_read(&use->n) : 0;

	if (nla_put_u32(skb, IPVS_EXT_LGROUP_PORTS, READ_ONCE(u->ports)) ||
	    nla_put_u32(skb, IPVS_EXT_LGROUP_PORTS_USED, n))
		return -EMSGSIZE;
	if (!n)
		return 0;
	if (nla_put(skb, IPVS_EXT_LGROUP_RS_ADDR, u->af == AF_INET6 ? 16 : 4, &use->raddr) ||
	    nla_put_be16(skb, IPVS_EXT_LGROUP_RS_PORT, use->rport) ||
	    nla_put_u16(skb, IPVS_EXT_LGROUP_RS_PROTO, use->protocol))
		return -EMSGSIZE;
	return 0;
}

int ip_vs_x_uses_put_fullest(struct sk_buff *skb, struct ip_vs_x_uses *u)
{
	struct ip_vs_x_use *use, *fullest = NULL;
	int i, ret, most = 0;

	rcu_read_lock();
	for (i = 0; i < BIT(X_USES_BITS); i++) {
		hlist_for_each_entry_rcu(use, &u->tab[i], node) {
			int n = atomic_read(&use->n);

			if (n > most) {
				most = n;
				fullest = use;
			}
		}
	}
	ret = ip_vs_x_uses_put_forecast(skb, u, fullest);
	rcu_read_unlock();
	return ret;
}

int ip_vs_x_ports_setup(void)
{
	x_use_cachep = kmem_cache_create("ip_vs_x_use", sizeof(struct ip_vs_x_use), 0, 0, NULL);
	x_uses_cachep = kmem_cache_create("ip_vs_x_uses", sizeof(struct ip_vs_x_uses), 0, 0, NULL);
	if (x_use_cachep && x_uses_cachep)
		return 0;
	ip_vs_x_ports_cleanup();
	return -ENOMEM;
}

void ip_vs_x_ports_cleanup(void)
{
	kmem_cache_destroy(x_use_cachep);
	kmem_cache_destroy(x_uses_cachep);
}
