# SPDX-License-Identifier: Apache-2.0
# Completion of keepalived for bash.

_keepalived() {
	local options="--use-file --log-file --flush-log-file --no-syslog --dump-conf --namespace --config-id --all-config --umask --core-dump --core-dump-pattern --release-vips --dont-release-vrrp --address-monitoring --ignore-sigint --snmp --snmp-agent-socket
		--vrrp --check --no_bfd --all --dont-respawn --vrrp_pid --checkers_pid --bfd_pid
		--log-console --log-detail --log-facility --dont-release-ipvs
		--dont-fork --pid --config-test --plan --doctor --reload --force-reload --signum --genhash --version --help"
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-f|--use-file|-g|--log-file|-p|--pid|-r|--vrrp_pid|-c|--checkers_pid|-b|--bfd_pid) COMPREPLY=($(compgen -f -- "$2")); return ;;
	-S|--log-facility) COMPREPLY=($(compgen -W "local0 local1 local2 local3 local4 local5 local6 local7 user daemon" -- "$2")); return ;;
	--signum) COMPREPLY=($(compgen -W "STOP RELOAD DATA STATS STATS_CLEAR JSON" -- "$2")); return ;;
	esac
	COMPREPLY=($(compgen -W "$options" -- "$2"))
}
complete -F _keepalived keepalived
