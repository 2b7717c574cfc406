// SPDX-License-Identifier: GPL-2.0-only
/*
 * One bug of each kind that the sanitised kernel must catch, made on loading with
 * kind=NAME; and kind=lro, for packets as no device there makes them. Built by
 * `make sanitize` only, and for its kernel only: a checker that finds nothing is
 * worth something when it is known to find these.
 */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/netfilter.h>
#include <linux/netfilter_ipv4.h>
#include <linux/nsproxy.h>
#include <linux/rcupdate.h>
#include <linux/sched.h>
#include <linux/skbuff.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/timer.h>

struct plant {
	char		bytes[64];
	struct timer_list timer;
};

static char *kind = "";
module_param(kind, charp, 0444);
MODULE_PARM_DESC(kind, "the bug to make");

static struct kmem_cache *cache;
static DEFINE_SPINLOCK(first);
static DEFINE_SPINLOCK(second);
static DEFINE_MUTEX(sleeps);
static struct plant __rcu *shared;
static int shift = 77;

static void plant_use_after_free(struct plant *p)
{
	kmem_cache_free(cache, p);
	pr_info("%d\n", READ_ONCE(p->bytes[1]));
}

static void plant_out_of_bounds(struct plant *p)
{
	char *end = (char *)p + sizeof(*p);

	OPTIMIZER_HIDE_VAR(end);
	WRITE_ONCE(*end, 1);
	kmem_cache_free(cache, p);
}

/* Told by kmem_cache_destroy() */
static void plant_leak(struct plant *p)
{
}

/* Told by kmemleak: no cache of its own is watched for it */
static void plant_lost(struct plant *p)
{
	void *lost = kzalloc(321, GFP_KERNEL);

	OPTIMIZER_HIDE_VAR(lost);
	kmem_cache_free(cache, p);
}

static void plant_lock_inversion(struct plant *p)
{
	kmem_cache_free(cache, p);
	spin_lock_bh(&first);
	spin_lock(&second);
	spin_unlock(&second);
	spin_unlock_bh(&first);
	spin_lock_bh(&second);
	spin_lock(&first);
	spin_unlock(&first);
	spin_unlock_bh(&second);
}

static void plant_sleep_in_atomic(struct plant *p)
{
	kmem_cache_free(cache, p);
	spin_lock_bh(&first);
	kfree(kmalloc(16, GFP_KERNEL));
	spin_unlock_bh(&first);
}

static void plant_mutex_in_rcu(struct plant *p)
{
	kmem_cache_free(cache, p);
	rcu_read_lock();
	mutex_lock(&sleeps);
	mutex_unlock(&sleeps);
	rcu_read_unlock();
}

static void plant_rcu_unlocked(struct plant *p)
{
	kmem_cache_free(cache, p);
	pr_info("%d\n", !!rcu_dereference(shared));
}

static void plant_expired(struct timer_list *timer)
{
}

static void plant_live_timer_freed(struct plant *p)
{
	timer_setup(&p->timer, plant_expired, 0);
	mod_timer(&p->timer, jiffies + 1000 * HZ);
	kmem_cache_free(cache, p);
}

static void plant_shift(struct plant *p)
{
	kmem_cache_free(cache, p);
	pr_info("%d\n", 1 << READ_ONCE(shift));
}

/*
 * Large packets as a device leaves them that has merged them by LRO: a size of
 * segments, and no type. Until the module goes, which it must before the namespace.
 */
static unsigned int plant_merged(void *priv, struct sk_buff *skb,
				 const struct nf_hook_state *state)
{
	if (skb_is_gso(skb))
		skb_shinfo(skb)->gso_type = 0;
	return NF_ACCEPT;
}

static const struct nf_hook_ops lro_ops[] = {
	{
		.hook = plant_merged,
		.pf = NFPROTO_IPV4,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = NF_IP_PRI_FIRST,
	},
	{
		.hook = plant_merged,
		.pf = NFPROTO_IPV6,
		.hooknum = NF_INET_PRE_ROUTING,
		.priority = NF_IP_PRI_FIRST,
	},
};

static struct net *lro_net;

static void plant_lro(struct plant *p)
{
	kmem_cache_free(cache, p);
	if (!nf_register_net_hooks(current->nsproxy->net_ns, lro_ops, ARRAY_SIZE(lro_ops)))
		lro_net = current->nsproxy->net_ns;
}

static const struct {
	const char *name;
	void (*make)(struct plant *p);
} kinds[] = {
	{ "use_after_free", plant_use_after_free },
	{ "out_of_bounds", plant_out_of_bounds },
	{ "leak", plant_leak },
	{ "lost", plant_lost },
	{ "lock_inversion", plant_lock_inversion },
	{ "sleep_in_atomic", plant_sleep_in_atomic },
	{ "mutex_in_rcu", plant_mutex_in_rcu },
	{ "rcu_unlocked", plant_rcu_unlocked },
	{ "live_timer_freed", plant_live_timer_freed },
	{ "shift", plant_shift },
	{ "lro", plant_lro },
	{ "none", NULL },
};

static int __init plant_init(void)
{
	struct plant *p;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(kind, kinds[i].name))
			break;
	if (i == ARRAY_SIZE(kinds))
		return -EINVAL;
	cache = kmem_cache_create("ip_vs_x_plant", sizeof(struct plant), 0, 0, NULL);
	if (!cache)
		return -ENOMEM;
	if (kinds[i].make) {
		p = kmem_cache_zalloc(cache, GFP_KERNEL);
		if (p)
			kinds[i].make(p);
	}
	kmem_cache_destroy(cache);
	return 0;
}

static void __exit plant_exit(void)
{
	if (lro_net)
		nf_unregister_net_hooks(lro_net, lro_ops, ARRAY_SIZE(lro_ops));
}

module_init(plant_init);
module_exit(plant_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("Bugs on purpose, for the test of the checkers");
