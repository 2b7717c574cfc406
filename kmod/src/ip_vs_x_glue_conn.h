/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Included at the end of ip_vs_conn.c, whose static functions it lends us.
 */
#include "ip_vs_x.h"

/*
 * One CPU at a time: ip_vs_conn_expire() finds that the conn is held, and then
 * takes a ref to put its timer off. Another CPU may meanwhile let the conn go,
 * which arms the timer; a third one that stops it here would end the conn, and
 * the first would revive what is freed. Taken before the stock locks.
 */
static DEFINE_SPINLOCK(ip_vs_x_reclaim_lock);

/*
 * As the timer would, but now: for a conn without traffic that is the end of
 * it, one that somebody still holds gets another minute. A template that
 * controls it is left alone. RCU keeps cp valid until its timer is ours.
 */
void ip_vs_x_conn_reclaim(struct ip_vs_conn *cp)
{
	/* a packet holds it: ending it would fail and put its end off by a minute */
	if (refcount_read(&cp->refcnt) > 1)
		return;
	spin_lock_bh(&ip_vs_x_reclaim_lock);
	if (del_timer(&cp->timer))
		ip_vs_conn_expire(&cp->timer);
	spin_unlock_bh(&ip_vs_x_reclaim_lock);
}

/*
 * The same for a conn that has traffic: one that a packet holds just now is
 * waited for, and one that it holds for longer than that (it is queued, say)
 * has its timer run out at once.
 */
void ip_vs_x_conn_end(struct ip_vs_conn *cp)
{
	unsigned int spins = 1000;

	while (spins-- && refcount_read(&cp->refcnt) > 1)
		cpu_relax();
	ip_vs_x_conn_reclaim(cp);
	ip_vs_conn_expire_now(cp);
}

/*
 * As ip_vs_conn_in_get(), for who only asks whether there is one: no ref. RCU.
 * Where a conn may be without a client's port, everybody is known.
 */
bool ip_vs_x_conn_known(const struct ip_vs_conn_param *p)
{
	struct ip_vs_conn *cp;

	if (unlikely(atomic_read(&ip_vs_conn_no_cport_cnt)))
		return true;
	hlist_for_each_entry_rcu(cp, &ip_vs_conn_tab[ip_vs_conn_hashkey_param(p, false)], c_list) {
		if (p->cport == cp->cport && p->vport == cp->vport && cp->af == p->af &&
		    ip_vs_addr_equal(p->af, p->caddr, &cp->caddr) &&
		    ip_vs_addr_equal(p->af, p->vaddr, &cp->vaddr) &&
		    p->protocol == cp->protocol && cp->ipvs == p->ipvs &&
		    refcount_read(&cp->refcnt))
			return true;
	}
	return false;
}
