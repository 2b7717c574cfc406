/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tracepoints of group ip_vs_x: what operators ask "why" about.
 *
 *	echo 1 > /sys/kernel/tracing/events/ip_vs_x/enable
 *	cat /sys/kernel/tracing/trace_pipe
 *
 * Only ip_vs_x_trace.c includes this, and makes what the others call of it.
 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM ip_vs_x

#ifndef _IP_VS_X_ENDS
#define _IP_VS_X_ENDS

#include <linux/in6.h>

/* Both ends as the sockaddr that %pISpc prints, whatever the family */
struct ip_vs_x_ends {
	struct sockaddr_in6	a;
	struct sockaddr_in6	b;
};

#endif

#if !defined(_IP_VS_X_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define _IP_VS_X_TRACE_H

#include <linux/tracepoint.h>

DECLARE_EVENT_CLASS(ip_vs_x_packet,
		    TP_PROTO(u8 proto, const struct ip_vs_x_ends *e, const char *what),
		    TP_ARGS(proto, e, what),
		    TP_STRUCT__entry(__field(u8, proto)
				     __array(u8, client, sizeof(struct sockaddr_in6))
				     __array(u8, vip, sizeof(struct sockaddr_in6))
				     __array(char, what, 16)),
		    TP_fast_assign(__entry->proto = proto;
				   memcpy(__entry->client, &e->a, sizeof(struct sockaddr_in6));
				   memcpy(__entry->vip, &e->b, sizeof(struct sockaddr_in6));
				   strscpy(__entry->what, what, 16);),
		    TP_printk("proto=%u client=%pISpc vip=%pISpc reason=%s",
			      __entry->proto, __entry->client, __entry->vip, __entry->what)
);

/* A packet or connection refused; the reason is the counter's name */
DEFINE_EVENT(ip_vs_x_packet, ip_vs_x_drop,
	     TP_PROTO(u8 proto, const struct ip_vs_x_ends *e, const char *what),
	     TP_ARGS(proto, e, what)
);

/* What SYNPROXY did with a packet; the reason is the counter's name */
DEFINE_EVENT(ip_vs_x_packet, ip_vs_x_synproxy,
	     TP_PROTO(u8 proto, const struct ip_vs_x_ends *e, const char *what),
	     TP_ARGS(proto, e, what)
);

TRACE_EVENT(ip_vs_x_conn_new,
	    TP_PROTO(u8 proto, const struct ip_vs_x_ends *in, const struct ip_vs_x_ends *out),
	    TP_ARGS(proto, in, out),
	    TP_STRUCT__entry(__field(u8, proto)
			     __array(u8, client, sizeof(struct sockaddr_in6))
			     __array(u8, vip, sizeof(struct sockaddr_in6))
			     __array(u8, lip, sizeof(struct sockaddr_in6))
			     __array(u8, rip, sizeof(struct sockaddr_in6))),
	    TP_fast_assign(__entry->proto = proto;
			   memcpy(__entry->client, &in->a, sizeof(struct sockaddr_in6));
			   memcpy(__entry->vip, &in->b, sizeof(struct sockaddr_in6));
			   memcpy(__entry->lip, &out->a, sizeof(struct sockaddr_in6));
			   memcpy(__entry->rip, &out->b, sizeof(struct sockaddr_in6));),
	    TP_printk("proto=%u client=%pISpc vip=%pISpc lip=%pISpc rip=%pISpc",
		      __entry->proto, __entry->client, __entry->vip, __entry->lip,
		      __entry->rip)
);

/* No address of the group had a port left towards rip */
TRACE_EVENT(ip_vs_x_lport_full,
	    TP_PROTO(u8 proto, const struct ip_vs_x_ends *e, const char *lgroup),
	    TP_ARGS(proto, e, lgroup),
	    TP_STRUCT__entry(__field(u8, proto)
			     __array(u8, client, sizeof(struct sockaddr_in6))
			     __array(u8, rip, sizeof(struct sockaddr_in6))
			     __array(char, lgroup, 16)),
	    TP_fast_assign(__entry->proto = proto;
			   memcpy(__entry->client, &e->a, sizeof(struct sockaddr_in6));
			   memcpy(__entry->rip, &e->b, sizeof(struct sockaddr_in6));
			   strscpy(__entry->lgroup, lgroup, 16);),
	    TP_printk("proto=%u client=%pISpc rip=%pISpc group=%s",
		      __entry->proto, __entry->client, __entry->rip, __entry->lgroup)
);

#endif

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE ip_vs_x_trace
#include <trace/define_trace.h>
