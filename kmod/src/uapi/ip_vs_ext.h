/* SPDX-License-Identifier: GPL-2.0-only WITH Linux-syscall-note */
/*
 * The generic netlink family IPVS_EXT: everything the extended ip_vs module
 * has beyond the mainline family "IPVS", which stays as it is.
 *
 * The only header of the module that user space reads. Numbers are appended,
 * never reused; a feature bit comes with each addition, and user space must
 * not send an attribute whose bit GET_INFO does not show.
 */
#ifndef _UAPI_IP_VS_EXT_H
#define _UAPI_IP_VS_EXT_H

#define IPVS_EXT_GENL_NAME	"IPVS_EXT"
#define IPVS_EXT_GENL_VERSION	1
#define IPVS_EXT_ABI		1
#define IPVS_EXT_MCGRP_EVENTS	"events"

#define IPVS_EXT_NAME_MAX	15	/* group name, without the NUL */
#define IPVS_EXT_SET_MAX	31	/* ipset name, without the NUL */

enum {
	IPVS_EXT_CMD_UNSPEC,
	IPVS_EXT_CMD_GET_INFO,		/* 1 */
	IPVS_EXT_CMD_SET_CONFIG,
	IPVS_EXT_CMD_GET_CONFIG,
	IPVS_EXT_CMD_SET_SERVICE,
	IPVS_EXT_CMD_GET_SERVICE,	/* 5, do and dump */
	IPVS_EXT_CMD_NEW_LGROUP,
	IPVS_EXT_CMD_DEL_LGROUP,
	IPVS_EXT_CMD_GET_LGROUP,	/* 8, do and dump */
	IPVS_EXT_CMD_NEW_LADDR,
	IPVS_EXT_CMD_SET_LADDR,		/* 10 */
	IPVS_EXT_CMD_DEL_LADDR,
	IPVS_EXT_CMD_GET_LADDR,		/* 12, do and dump */
	IPVS_EXT_CMD_GET_CONN,		/* 13, dump */
	IPVS_EXT_CMD_DEL_CONN,
	IPVS_EXT_CMD_GET_STATS,		/* 15, do and dump */
	IPVS_EXT_CMD_ZERO_STATS,
	IPVS_EXT_CMD_SET_DEST,		/* 17, reserved */
	IPVS_EXT_CMD_GET_DEST,		/* 18, reserved */
	IPVS_EXT_CMD_EVENT,		/* 19, multicast only */

	__IPVS_EXT_CMD_MAX
};

#define IPVS_EXT_CMD_MAX	(__IPVS_EXT_CMD_MAX - 1)

/* Top level attributes, the same in every command */
enum {
	IPVS_EXT_A_UNSPEC,
	IPVS_EXT_A_SVC,			/* 1, nest: IPVS_SVC_ATTR_{AF,PROTOCOL,ADDR,PORT,FWMARK} */
	IPVS_EXT_A_EXT,			/* 2, nest: IPVS_EXT_SVC_* */
	IPVS_EXT_A_LGROUP,		/* 3, nest: IPVS_EXT_LGROUP_* */
	IPVS_EXT_A_LADDR,		/* 4, nest: IPVS_EXT_LADDR_* */
	IPVS_EXT_A_CONN,		/* 5, nest: IPVS_EXT_CONN_* */
	IPVS_EXT_A_DEST,		/* 6, nest: IPVS_DEST_ATTR_* */
	IPVS_EXT_A_CONFIG,		/* 7, nest: IPVS_EXT_CONFIG_* */
	IPVS_EXT_A_STATS,		/* 8, nest: IPVS_EXT_STAT_* */
	IPVS_EXT_A_FILTER,		/* 9, nest: IPVS_EXT_FILTER_* */
	IPVS_EXT_A_ABI,			/* 10, u32 */
	IPVS_EXT_A_FEATURES,		/* 11, u64, IPVS_EXT_FEAT_* */
	IPVS_EXT_A_BUILD,		/* 12, string */
	IPVS_EXT_A_TAB_BITS,		/* 13, u32, log2 of the out table's heads */
	IPVS_EXT_A_CONN_SIZE,		/* 14, u32, bytes per connection */
	IPVS_EXT_A_EVENT,		/* 15, u32 */
	IPVS_EXT_A_COUNT,		/* 16, u64 */
	IPVS_EXT_A_PAD,			/* 17 */

	__IPVS_EXT_A_MAX
};

#define IPVS_EXT_A_MAX		(__IPVS_EXT_A_MAX - 1)

/* IPVS_EXT_A_FEATURES */
#define IPVS_EXT_FEAT_FNAT	0x0001ULL	/* EXT FLAGS FNAT/SEQ/EXHAUST_RST, LGROUP, LADDR */
#define IPVS_EXT_FEAT_TOA	0x0002ULL	/* EXT FLAGS TOA/TOA_SYN, TOA_KIND* */
#define IPVS_EXT_FEAT_TS_MODE	0x0004ULL	/* EXT TS_MODE */
#define IPVS_EXT_FEAT_MSS	0x0008ULL	/* EXT MSS_CLAMP */
#define IPVS_EXT_FEAT_GET_CONN	0x0010ULL	/* GET_CONN with FILTER */
#define IPVS_EXT_FEAT_SYNPROXY	0x0020ULL	/* EXT SP_*; CONFIG COOKIE_KEY*, SP_QMEM */
#define IPVS_EXT_FEAT_LIMITS	0x0040ULL	/* EXT CPS, BPS_*, CONN_LIMIT, TIMEOUT_EST */
#define IPVS_EXT_FEAT_ACL	0x0080ULL	/* EXT ACL_* */
#define IPVS_EXT_FEAT_EVENTS	0x0100ULL	/* EVENT multicast */
#define IPVS_EXT_FEAT_FAST	0x0200ULL	/* EXT FLAGS FAST, CONFIG FAST */
#define IPVS_EXT_FEAT_EXPIRE_RST 0x0400ULL	/* EXT FLAGS RST_ON_EXPIRE */
#define IPVS_EXT_FEAT_DEL_CONN	0x0800ULL	/* DEL_CONN with FILTER */
#define IPVS_EXT_FEAT_FLOOD	0x1000ULL	/* EXT INVALID, CONFIG DROP_VIP */
#define IPVS_EXT_FEAT_FORECAST	0x2000ULL	/* LGROUP PORTS* and RS_*; events PORTS_* */
#define IPVS_EXT_FEAT_SP_EARLY	0x4000ULL	/* CONFIG SP_EARLY */

/* IPVS_EXT_A_EXT: settings of one service beyond the mainline family's */
enum {
	IPVS_EXT_SVC_UNSPEC,
	IPVS_EXT_SVC_FLAGS,		/* 1, bitfield32, IPVS_EXT_SVC_F_* */
	IPVS_EXT_SVC_LGROUP,		/* 2, string; empty detaches */
	IPVS_EXT_SVC_LADDR_SEL,		/* 3, u8, IPVS_EXT_SEL_* */
	IPVS_EXT_SVC_INVALID,		/* 4, u8, IPVS_EXT_INVALID_* */
	IPVS_EXT_SVC_TS_MODE,		/* 5, u8, IPVS_EXT_TS_* */
	IPVS_EXT_SVC_MSS_CLAMP,		/* 6, u16, 0 = off, else 88..65495 */
	IPVS_EXT_SVC_TOA_KIND4,		/* 7, u8, 9..254 */
	IPVS_EXT_SVC_TOA_KIND6,		/* 8, u8, 9..254 */
	IPVS_EXT_SVC_SP_MSS,		/* 9, u16, 0 = what the link takes, else 88..65495 */
	IPVS_EXT_SVC_SP_WSCALE,		/* 10, u8, 0..14, 255 = off */
	IPVS_EXT_SVC_SP_OPTS,		/* 11, bitfield32, IPVS_EXT_SP_OPT_* */
	IPVS_EXT_SVC_SP_WINDOW,		/* 12, u16, 0 = zero window */
	IPVS_EXT_SVC_SP_TTL,		/* 13, u8, 1..255 */
	IPVS_EXT_SVC_SP_SYN_RETRIES,	/* 14, u8, 0..8 */
	IPVS_EXT_SVC_SP_QUEUE,		/* 15, u8, 0..64 packets */
	IPVS_EXT_SVC_TIMEOUT_EST,	/* 16, u32, seconds up to 2^20, 0 = stock */
	IPVS_EXT_SVC_CPS,		/* 17, u32, new connections a second, 0 = any */
	IPVS_EXT_SVC_CPS_BURST,		/* 18, u32, 0 = CPS / 20, at least 1 */
	IPVS_EXT_SVC_BPS_IN,		/* 19, u64, bytes a second up to 10^12, 0 = any */
	IPVS_EXT_SVC_BPS_OUT,		/* 20, u64, the same for replies */
	IPVS_EXT_SVC_CONN_LIMIT,	/* 21, u32, connections of all dests, 0 = any */
	IPVS_EXT_SVC_ACL_MODE,		/* 22, u8, IPVS_EXT_ACL_* */
	IPVS_EXT_SVC_ACL_SET4,		/* 23, string, an ipset; empty = none */
	IPVS_EXT_SVC_ACL_SET6,		/* 24, string, an ipset; empty = none */
	IPVS_EXT_SVC_NCONN,		/* 25, u32, get only */
	IPVS_EXT_SVC_PAD,		/* 26 */
	IPVS_EXT_SVC_SP_AUTO_ON,	/* 27, u32: half-open connections that switch it on */
	IPVS_EXT_SVC_SP_AUTO_OFF,	/* 28, u32: that switch it off again, less than AUTO_ON */
	IPVS_EXT_SVC_SP_ACTIVE,		/* 29, u8, get only: SYNs are answered with cookies now */
	IPVS_EXT_SVC_SP_HALF_OPEN,	/* 30, u32, get only: as last counted */

	__IPVS_EXT_SVC_MAX
};

#define IPVS_EXT_SVC_MAX	(__IPVS_EXT_SVC_MAX - 1)

#define IPVS_EXT_SVC_F_FNAT		0x0001
#define IPVS_EXT_SVC_F_SYNPROXY		0x0002
#define IPVS_EXT_SVC_F_TOA		0x0004
#define IPVS_EXT_SVC_F_TOA_SYN		0x0008
#define IPVS_EXT_SVC_F_SEQ		0x0010
#define IPVS_EXT_SVC_F_RST_ON_EXPIRE	0x0020
#define IPVS_EXT_SVC_F_EXHAUST_RST	0x0040
#define IPVS_EXT_SVC_F_SP_DEFER		0x0080
#define IPVS_EXT_SVC_F_FAST		0x0100
#define IPVS_EXT_SVC_F_SP_AUTO		0x0200	/* with SYNPROXY: only above SP_AUTO_ON */
#define IPVS_EXT_SVC_F_ALL		0x03ff

/* IPVS_EXT_SVC_SP_OPTS: what a cookie may offer */
#define IPVS_EXT_SP_OPT_SACK		0x0001
#define IPVS_EXT_SP_OPT_TS		0x0002
#define IPVS_EXT_SP_OPT_ECN		0x0004	/* no cookie has room for it: refused */
#define IPVS_EXT_SP_OPT_ALL		0x0007

#define IPVS_EXT_SP_WSCALE_OFF		255
#define IPVS_EXT_COOKIE_KEY_LEN		16

enum {				/* IPVS_EXT_SVC_LADDR_SEL */
	IPVS_EXT_SEL_RR,	/* 0: each CPU takes the next one */
	IPVS_EXT_SEL_SRC,	/* 1: a client keeps its local address */
	IPVS_EXT_SEL_CPU,	/* 2: addresses whose CPUS hold this CPU */
	__IPVS_EXT_SEL_MAX
};

enum {				/* IPVS_EXT_SVC_INVALID */
	IPVS_EXT_INVALID_ACCEPT,
	IPVS_EXT_INVALID_DROP,
	IPVS_EXT_INVALID_RST,
	__IPVS_EXT_INVALID_MAX
};

enum {				/* IPVS_EXT_SVC_TS_MODE */
	IPVS_EXT_TS_KEEP,
	IPVS_EXT_TS_STRIP,
	IPVS_EXT_TS_REBASE,
	__IPVS_EXT_TS_MAX
};

enum {				/* IPVS_EXT_SVC_ACL_MODE: clients in the set */
	IPVS_EXT_ACL_OFF,
	IPVS_EXT_ACL_WHITE,	/* alone may make connections */
	IPVS_EXT_ACL_BLACK,	/* may not */
	__IPVS_EXT_ACL_MAX
};

/* IPVS_EXT_A_LGROUP: a named group of local addresses of one family */
enum {
	IPVS_EXT_LGROUP_UNSPEC,
	IPVS_EXT_LGROUP_NAME,		/* 1, string */
	IPVS_EXT_LGROUP_AF,		/* 2, u16 */
	IPVS_EXT_LGROUP_REFS,		/* 3, u32, get only: services using it */
	/* The forecast, get only: the real server that most ports are in use towards */
	IPVS_EXT_LGROUP_PORTS,		/* 4, u32: ports that new connections may get */
	IPVS_EXT_LGROUP_PORTS_USED,	/* 5, u32: in use towards that server */
	IPVS_EXT_LGROUP_RS_ADDR,	/* 6, binary; absent, as the next two, without any */
	IPVS_EXT_LGROUP_RS_PORT,	/* 7, be16 */
	IPVS_EXT_LGROUP_RS_PROTO,	/* 8, u16 */

	__IPVS_EXT_LGROUP_MAX
};

#define IPVS_EXT_LGROUP_MAX	(__IPVS_EXT_LGROUP_MAX - 1)

/* IPVS_EXT_A_LADDR: one local address (lip) with its port range */
enum {
	IPVS_EXT_LADDR_UNSPEC,
	IPVS_EXT_LADDR_AF,		/* 1, u16 */
	IPVS_EXT_LADDR_ADDR,		/* 2, binary, 4 or 16 bytes */
	IPVS_EXT_LADDR_PORT_MIN,	/* 3, u16, host order */
	IPVS_EXT_LADDR_PORT_MAX,	/* 4, u16, host order */
	IPVS_EXT_LADDR_CPUS,		/* 5, string, cpulist; empty = all */
	IPVS_EXT_LADDR_FLAGS,		/* 6, bitfield32, IPVS_EXT_LADDR_F_* */
	IPVS_EXT_LADDR_CONNS,		/* 7, u32, get only */
	IPVS_EXT_LADDR_CONFLICT,	/* 8, u64, get only */
	IPVS_EXT_LADDR_FULL,		/* 9, u64, get only */
	IPVS_EXT_LADDR_RECLAIM,		/* 10, u64, get only */
	IPVS_EXT_LADDR_PAD,		/* 11 */

	__IPVS_EXT_LADDR_MAX
};

#define IPVS_EXT_LADDR_MAX	(__IPVS_EXT_LADDR_MAX - 1)

#define IPVS_EXT_LADDR_F_NO_NEW		0x0001	/* draining */
#define IPVS_EXT_LADDR_F_FOREIGN	0x0002	/* another director's */
#define IPVS_EXT_LADDR_F_FORCE		0x0004	/* skip the sanity checks */
#define IPVS_EXT_LADDR_F_ALL		0x0007

/* IPVS_EXT_A_CONFIG: settings of the network namespace */
enum {
	IPVS_EXT_CONFIG_UNSPEC,
	IPVS_EXT_CONFIG_COOKIE_KEY,	/* 1, binary 16, write only; the old one becomes _PREV */
	IPVS_EXT_CONFIG_SP_QMEM,	/* 2, u64, bytes held for clients until servers answer */
	IPVS_EXT_CONFIG_FAST,		/* 3, u8 */
	IPVS_EXT_CONFIG_PROBES,		/* 4, u8, 1..255: ports tried per connection */
	IPVS_EXT_CONFIG_RECLAIM,	/* 5, u8, 0/1: take ports of closing connections */
	IPVS_EXT_CONFIG_SYNC_OPT,	/* 6, u8 */
	IPVS_EXT_CONFIG_PAD,		/* 7 */
	IPVS_EXT_CONFIG_COOKIE_KEY_PREV, /* 8, binary 16, write only: accepted, not handed out */
	IPVS_EXT_CONFIG_DROP_VIP,	/* 9, u8, 0/1: drop what comes to a vip and no service */
	IPVS_EXT_CONFIG_SP_EARLY,	/* 10, u8, IPVS_EXT_EARLY_* */

	__IPVS_EXT_CONFIG_MAX
};

#define IPVS_EXT_CONFIG_MAX	(__IPVS_EXT_CONFIG_MAX - 1)

enum {				/* IPVS_EXT_CONFIG_SP_EARLY: handshakes at PRE_ROUTING */
	IPVS_EXT_EARLY_OFF,
	IPVS_EXT_EARLY_ON,
	IPVS_EXT_EARLY_AUTO,	/* while no hook of anybody else's would have seen them */
	__IPVS_EXT_EARLY_MAX
};

/* IPVS_EXT_A_CONN: one connection forwarded by the extension */
enum {
	IPVS_EXT_CONN_UNSPEC,
	IPVS_EXT_CONN_AF,		/* 1, u16 */
	IPVS_EXT_CONN_PROTO,		/* 2, u16 */
	IPVS_EXT_CONN_CADDR,		/* 3, binary */
	IPVS_EXT_CONN_CPORT,		/* 4, be16 */
	IPVS_EXT_CONN_VADDR,		/* 5, binary */
	IPVS_EXT_CONN_VPORT,		/* 6, be16 */
	IPVS_EXT_CONN_LADDR,		/* 7, binary */
	IPVS_EXT_CONN_LPORT,		/* 8, be16 */
	IPVS_EXT_CONN_DADDR,		/* 9, binary */
	IPVS_EXT_CONN_DPORT,		/* 10, be16 */
	IPVS_EXT_CONN_STATE,		/* 11, string: ip_vs' own name of the state */
	IPVS_EXT_CONN_FLAGS,		/* 12, u32 */
	IPVS_EXT_CONN_EXPIRES,		/* 13, u32, milliseconds */
	IPVS_EXT_CONN_ISN_DELTA,	/* 14, u32 */
	IPVS_EXT_CONN_SP_DELTA,		/* 15, u32 */
	IPVS_EXT_CONN_INPKTS,		/* 16, u32 */

	__IPVS_EXT_CONN_MAX
};

#define IPVS_EXT_CONN_MAX	(__IPVS_EXT_CONN_MAX - 1)

/* IPVS_EXT_A_FILTER: what GET_CONN shows and DEL_CONN ends; absent = any */
enum {
	IPVS_EXT_FILTER_UNSPEC,
	IPVS_EXT_FILTER_AF,		/* 1, u16 */
	IPVS_EXT_FILTER_PROTO,		/* 2, u16 */
	IPVS_EXT_FILTER_CADDR,		/* 3, binary */
	IPVS_EXT_FILTER_CPLEN,		/* 4, u8, prefix length of CADDR */
	IPVS_EXT_FILTER_CPORT,		/* 5, be16 */
	IPVS_EXT_FILTER_VADDR,		/* 6 */
	IPVS_EXT_FILTER_VPLEN,		/* 7 */
	IPVS_EXT_FILTER_VPORT,		/* 8 */
	IPVS_EXT_FILTER_LADDR,		/* 9 */
	IPVS_EXT_FILTER_LPLEN,		/* 10 */
	IPVS_EXT_FILTER_LPORT,		/* 11 */
	IPVS_EXT_FILTER_DADDR,		/* 12 */
	IPVS_EXT_FILTER_DPLEN,		/* 13 */
	IPVS_EXT_FILTER_DPORT,		/* 14 */

	__IPVS_EXT_FILTER_MAX
};

#define IPVS_EXT_FILTER_MAX	(__IPVS_EXT_FILTER_MAX - 1)

/*
 * IPVS_EXT_A_STATS: u64 each; the attribute's number is the counter's.
 * GET_STATS without SVC counts the network namespace, with SVC one service.
 * Counters of features that are not in FEATURES are left out.
 */
enum {
	IPVS_EXT_STAT_UNSPEC,
	IPVS_EXT_STAT_LPORT_OK,		/* 1: ports given to connections */
	IPVS_EXT_STAT_LPORT_CONFLICT,	/* 2: probes that met a port in use */
	IPVS_EXT_STAT_LPORT_FULL,	/* 3: connections refused, no port free */
	IPVS_EXT_STAT_LPORT_RECLAIM,	/* 4: ports taken from closing connections */
	IPVS_EXT_STAT_NO_LADDR,		/* 5: connections refused, no address usable */
	IPVS_EXT_STAT_OUT_HIT,		/* 6: replies found in the out table */
	IPVS_EXT_STAT_FAST_IN,
	IPVS_EXT_STAT_FAST_OUT,
	IPVS_EXT_STAT_TOA_OK,		/* 9: options inserted */
	IPVS_EXT_STAT_TOA_CARRIER,	/* 10: bare ACKs sent to carry the option */
	IPVS_EXT_STAT_TOA_FAIL,		/* 11: options not sent, no memory */
	IPVS_EXT_STAT_SP_SYN,		/* 12: SYNs to a service that answers with cookies */
	IPVS_EXT_STAT_SP_SYNACK,	/* 13: cookies sent */
	IPVS_EXT_STAT_SP_ACK_OK,	/* 14: cookies that came back */
	IPVS_EXT_STAT_SP_ACK_BAD,	/* 15: ACKs without connection that held no cookie */
	IPVS_EXT_STAT_SP_RS_SYN,	/* 16: handshakes with real servers begun */
	IPVS_EXT_STAT_SP_RS_RETRANS,	/* 17: SYNs sent to them again */
	IPVS_EXT_STAT_SP_RS_TIMEOUT,	/* 18: handshakes they never answered */
	IPVS_EXT_STAT_SP_RS_RST,	/* 19: handshakes they refused */
	IPVS_EXT_STAT_SP_DONE,		/* 20: handshakes that ended well */
	IPVS_EXT_STAT_SP_QUEUED,	/* 21: packets held until the server answered */
	IPVS_EXT_STAT_SP_QDROP,	/* 22: packets not held, queue or memory full */
	IPVS_EXT_STAT_SP_REUSE,	/* 23: handshakes begun on a connection that was there */
	IPVS_EXT_STAT_SP_NODEST,	/* 24: SYNs dropped, no server to hand them to */
	IPVS_EXT_STAT_ACK_STORM,	/* 25: repeated bare ACKs of a server, dropped */
	IPVS_EXT_STAT_INVALID_DROP,	/* 26: TCP without a connection, dropped */
	IPVS_EXT_STAT_INVALID_RST,	/* 27: TCP without a connection, answered with RST */
	IPVS_EXT_STAT_ACL_DROP,		/* 28: packets of clients that may not connect */
	IPVS_EXT_STAT_CPS_DROP,		/* 29: connections refused, too many a second */
	IPVS_EXT_STAT_BPS_DROP,		/* 30: packets over BPS_IN or BPS_OUT */
	IPVS_EXT_STAT_LIMIT_DROP,	/* 31: connections refused, too many at once */
	IPVS_EXT_STAT_LRO_DROP,		/* 32: packets merged by LRO, dropped */
	IPVS_EXT_STAT_MTU_ICMP,		/* 33: "too big" sent to either side */
	IPVS_EXT_STAT_TTL_ICMP,		/* 34: "time exceeded" sent to either side */
	IPVS_EXT_STAT_ROUTE_FAIL,	/* 35: no route, or none that leads outside */
	IPVS_EXT_STAT_CSUM_BAD,		/* 36: ICMP errors with a wrong checksum */
	IPVS_EXT_STAT_SYNC_RX,
	IPVS_EXT_STAT_SYNC_CLASH,
	IPVS_EXT_STAT_EXPIRE_RST,	/* 39: connections ended with an RST to both sides */
	IPVS_EXT_STAT_MEM,		/* 40: allocations that failed */
	IPVS_EXT_STAT_EXHAUST_RST,	/* 41: RSTs sent because no port was free */
	IPVS_EXT_STAT_BAD_PKT,		/* 42: packets too short or malformed, dropped */
	IPVS_EXT_STAT_OPS_DROP,		/* 43: FNAT cannot carry it (one-packet, SCTP), dropped */
	IPVS_EXT_STAT_PAD,		/* 44: alignment, never a counter */
	IPVS_EXT_STAT_VIP_DROP,		/* 45: to a vip and no service, CONFIG DROP_VIP */
	IPVS_EXT_STAT_SP_EARLY,		/* 46: packets of handshakes that SP_EARLY has dealt with */

	__IPVS_EXT_STAT_MAX
};

#define IPVS_EXT_STAT_MAX	(__IPVS_EXT_STAT_MAX - 1)

/*
 * IPVS_EXT_A_EVENT, in IPVS_EXT_CMD_EVENT to the group IPVS_EXT_MCGRP_EVENTS.
 * PORTS_*: of a local address group towards one real server, in LGROUP. Each
 * comes when the share is passed upwards, and again only after it was left
 * downwards by five per cent; FULL at most once a second and server.
 * RS_FAIL: of the SYN proxy, at most once a second and service. DEST has the
 * address, its family and the port.
 */
enum {
	IPVS_EXT_EVENT_UNSPEC,
	IPVS_EXT_EVENT_SP_ON,		/* 1: SVC answers with cookies; EXT has SP_HALF_OPEN */
	IPVS_EXT_EVENT_SP_OFF,		/* 2: SVC does so no longer; EXT has SP_HALF_OPEN */
	IPVS_EXT_EVENT_PORTS_80,	/* 3: 80 % in use */
	IPVS_EXT_EVENT_PORTS_95,	/* 4: 95 % in use */
	IPVS_EXT_EVENT_PORTS_FULL,	/* 5: a connection got no port */
	IPVS_EXT_EVENT_RS_FAIL,		/* 6: the RS DEST of SVC refused a handshake, or was mute */

	__IPVS_EXT_EVENT_MAX
};

#define IPVS_EXT_EVENT_MAX	(__IPVS_EXT_EVENT_MAX - 1)

#endif
