// SPDX-License-Identifier: Apache-2.0

package testconf

import (
	"maps"
	"math"
)

const schedulerNames = "rr wrr lc wlc lblc lblcr sh mh dh fo ovf sed nq"

var servers = map[string]value{
	"ip_family":  func(g *gen) string { return oneOf(map[bool]string{true: "inet6", false: "inet"}[g.v6])(g) },
	"retry":      positive,
	"delay_loop": loop, "delay_before_retry": delay, "warmup": delay, "connect_timeout": connect,
	"inhibit_on_failure": none, "ops": none, "flag-1": none, "flag-2": none, "flag-3": none,
	"sh-port": none, "sh-fallback": none, "mh-port": none, "mh-fallback": none,
	"lb_algo": oneOf(schedulerNames), "lvs_sched": oneOf(schedulerNames),
	"lb_kind": method, "lvs_method": method,
	"persistence_engine":      oneOf("sip"),
	"persistence_timeout":     whole(1, 2678400),
	"persistence_granularity": granularity,
	"protocol":                oneOf("TCP UDP SCTP TCP TCP"),
	"ha_suspend":              none, "alpha": none, "omega": none, "sorry_server_inhibit": none, "hashed": none,
	"smtp_alert": boolean, "virtualhost": text, "snmp_name": text,
	"quorum_up": script, "quorum_down": script,
	"quorum": positive, "hysteresis": anyInt, "weight": whole(1, math.MaxInt32),
	"sorry_server": address, "sorry_server_lvs_method": method,
}

var reals = map[string]value{
	"weight": weight, "lvs_method": method, "uthreshold": anyInt, "lthreshold": anyInt,
	"inhibit_on_failure": boolean, "alpha": boolean, "smtp_alert": boolean,
	"notify_up": script, "notify_down": script,
	"retry": positive, "delay_loop": loop, "delay_before_retry": delay, "warmup": delay, "connect_timeout": connect,
	"virtualhost": text, "snmp_name": text,
}

var timing = map[string]value{
	"retry": anyInt, "delay_loop": loop, "delay_before_retry": delay, "warmup": delay,
	"alpha": boolean, "log_all_failures": boolean,
}

var common = with(timing, map[string]value{
	"connect_ip": ip, "connect_port": whole(1, 65535), "bindto": ip, "bind_port": whole(1, 65535),
	"connect_timeout": connect, "fwmark": anyInt, "bind_if": oneOf("lo"),
})

var misc = with(timing, map[string]value{
	"misc_timeout": whole(0, 4294), "misc_dynamic": boolean, "user": oneOf("root"),
})

var web = map[string]value{
	"nb_get_retry": anyInt, "virtualhost": text, "http_protocol": oneOf("1.0 1.1 1.0C 1.0c"), "enable_sni": none, "fast_recovery": none,
}

var urls = map[string]value{
	"digest": digest, "status_code": codes, "virtualhost": text, "regex": regex, "regex_no_match": none,
	"regex_options": regexOptions, "regex_min_offset": anyInt, "regex_max_offset": anyInt, "regex_stack": func(g *gen) string { return anyInt(g) + " " + anyInt(g) },
}

var globals = map[string]value{
	"router_id": text, "notification_email_from": text, "smtp_helo_name": text, "smtp_connect_timeout": whole(0, 4294),
	"smtp_alert": boolean, "smtp_alert_checker": boolean, "checker_log_all_failures": boolean,
	"lvs_timeouts": timeouts, "lvs_flush": none, "lvs_flush_on_stop": func(g *gen) string { return g.pick("", "VS") }, "lvs_flush_onstop": none,
	"checker_priority": signed(-20, 19), "checker_no_swap": none, "checker_rlimit_rttime": positive,
	"rs_init_notifies": none, "no_checker_emails": none, "enable_script_security": none,
	"lvs_netlink_cmd_rcv_bufs": whole(1, math.MaxInt32), "lvs_netlink_cmd_rcv_bufs_force": boolean, "lvs_netlink_monitor_rcv_bufs": whole(1, math.MaxInt32), "lvs_netlink_monitor_rcv_bufs_force": boolean,
	"startup_script_timeout": whole(1, 1000), "shutdown_script_timeout": whole(1, 1000), "max_auto_priority": whole(0, 99), "min_auto_priority_delay": whole(1, 10000000),
	"random_seed": anyInt, "data_use_instance": boolean, "process_names": none, "checker_process_name": text,
	"umask": oneOf("0177 077 IRUSR|IWUSR 0"), "nftables_ipvs_start_fwmark": positive, "nftables_ipvs_priority": signed(math.MinInt32, math.MaxInt32),
	"script_user": oneOf("root"),
}

func with(a, b map[string]value) map[string]value {
	m := maps.Clone(a)
	maps.Copy(m, b)
	return m
}
