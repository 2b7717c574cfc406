# SPDX-License-Identifier: Apache-2.0
# Completion of ipvsadm for bash.

_ipvsadm() {
	local commands options
	commands="--add-service --edit-service --delete-service --clear --list --add-server
		--delete-server --edit-server --set --start-daemon --stop-daemon --restore --save
		--zero --add-laddr --del-laddr --get-laddr --set-ext --kill --explain --top --help
		--version"
	options="--tcp-service --udp-service --sctp-service --fwmark-service --ipv6
		--scheduler --pe --persistent --netmask --real-server --gatewaying --ipip
		--masquerading --fullnat --tun-type --tun-port --tun-nocsum --tun-csum --tun-remcsum
		--weight --u-threshold --l-threshold --mcast-interface --mcast-group --mcast-port
		--mcast-ttl --sync-maxlen --syncid --connection --timeout --daemon --stats --rate
		--exact --thresholds --persistent-conn --tun-info --sort --nosort --numeric --ops
		--sched-flags --atomic --dry-run --by --interval --count --json --client --vip --lip
		--rip --state --protocol --local-address --lgroup --laddr-flags --laddr-cpus
		--no-fullnat --toa --no-toa --toa-syn --no-toa-syn --toa-kind4 --toa-kind6
		--seq-adjust --no-seq-adjust --timestamps --mss --laddr-select --exhaust-rst
		--no-exhaust-rst --synproxy --synproxy-defer --no-synproxy-defer --synproxy-mss
		--synproxy-wscale --synproxy-opts --synproxy-window --synproxy-ttl
		--synproxy-retries --synproxy-queue --synproxy-auto-on --synproxy-auto-off --invalid
		--rst-on-expire --no-rst-on-expire --est-timeout --cps --cps-burst --bps-in
		--bps-out --conn-limit --acl --acl-set4 --acl-set6 --drop-vip --no-drop-vip
		--synproxy-memory --synproxy-early --cookie-key --previous-cookie-key --laddr-probes
		--laddr-reclaim --no-laddr-reclaim --ext --stats-ext"
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD-1]} in
	--start-daemon) COMPREPLY=($(compgen -W "master backup" -- "$2")); return ;;
	--stop-daemon) COMPREPLY=($(compgen -W "master backup" -- "$2")); return ;;
	--scheduler|-s) COMPREPLY=($(compgen -W "rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf twos" -- "$2")); return ;;
	--pe) COMPREPLY=($(compgen -W "sip" -- "$2")); return ;;
	--tun-type) COMPREPLY=($(compgen -W "ipip gue gre" -- "$2")); return ;;
	--mcast-interface) COMPREPLY=($(compgen -W "$(ls /sys/class/net)" -- "$2")); return ;;
	--by) COMPREPLY=($(compgen -W "cps pps bps conns" -- "$2")); return ;;
	--state) COMPREPLY=($(compgen -W "NONE ESTABLISHED SYN_SENT SYN_RECV FIN_WAIT TIME_WAIT CLOSE CLOSE_WAIT LAST_ACK LISTEN SYNACK UDP ASSURED INIT1 INIT COOKIE_SENT COOKIE_REPLIED COOKIE_WAIT COOKIE COOKIE_ECHOED SHUTDOWN_SENT SHUTDOWN_RECEIVED SHUTDOWN_ACK_SENT REJECTED CLOSED" -- "$2")); return ;;
	--protocol) COMPREPLY=($(compgen -W "tcp udp sctp" -- "$2")); return ;;
	--laddr-flags) COMPREPLY=($(compgen -W "no-new foreign force none" -- "$2")); return ;;
	--timestamps) COMPREPLY=($(compgen -W "keep strip rebase" -- "$2")); return ;;
	--laddr-select) COMPREPLY=($(compgen -W "rr source cpu" -- "$2")); return ;;
	--synproxy|-j) COMPREPLY=($(compgen -W "enable disable auto" -- "$2")); return ;;
	--invalid) COMPREPLY=($(compgen -W "accept drop rst" -- "$2")); return ;;
	--acl) COMPREPLY=($(compgen -W "white black off" -- "$2")); return ;;
	esac
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$commands" -- "$2"))
	else
		COMPREPLY=($(compgen -W "$options" -- "$2"))
	fi
}
complete -F _ipvsadm ipvsadm
