// SPDX-License-Identifier: Apache-2.0

package config

// remedies says, for keywords of other dialects that are not in force here,
// what does the same.
var remedies = map[string]string{
	// alibaba/LVS and dpvs
	"virtual_server/vip_bind_dev": "give the address to the interface with 'ip address add', or have a vrrp_instance do it",
	"virtual_server/bind_dev":     "give the address to the interface with 'ip address add', or have a vrrp_instance do it",
	"virtual_server/bps_limit":    "its unit differs between programs; write 'bps_in BYTES' and 'bps_out BYTES'",
	"virtual_server/bps":          "dpvs stores it and limits nothing; write 'bps_in BYTES' and 'bps_out BYTES'",
	"virtual_server/cps_limit":    "write 'cps NUMBER'",
	"virtual_server/conn_timeout": "write 'established_timeout SECONDS'",
	"virtual_server/snat_rule":    "SNAT is a matter of nftables; the virtual server is left out",

	// dpvs
	"tunnel_group":                         "make the tunnel with 'ip tunnel add'",
	"virtual_server/blklst_addr_gname":     "write 'acl black' and 'acl_set4 IPSET'",
	"virtual_server/whtlst_addr_gname":     "write 'acl white' and 'acl_set4 IPSET'",
	"blklst_addr_group":                    "make an ipset",
	"whtlst_addr_group":                    "make an ipset",
	"virtual_server/expire_quiescent_conn": "set net.ipv4.vs.expire_quiescent_template and expire_nodest_conn",
	"virtual_server/quic":                  "ip_vs sees UDP only; 'lb_algo mh' with 'mh-port' keeps a client at its server",
	"virtual_server/hash_target":           "write 'lb_algo mh' or 'lb_algo sh'",
	"virtual_server/proxy_protocol":        "ip_vs does not change what is sent; toa tells the client's address",
	"virtual_server/limit_proportion":      "write 'conn_limit NUMBER' or 'cps NUMBER'",
	"virtual_server/src-range":             "SNAT is a matter of nftables",
	"virtual_server/dst-range":             "SNAT is a matter of nftables",
	"virtual_server/iif":                   "SNAT is a matter of nftables",
	"virtual_server/oif":                   "SNAT is a matter of nftables",
	"vrrp_instance/dpdk_interface":         "write 'interface NAME'",

	// gone from the original
	"global_defs/plugin_dir":              "there are no plug-ins",
	"virtual_server/nat_mask":             "it has no meaning since kernel 2.4",
	"virtual_server/real_server/CI-LINUX": "use one of the checks",
}
