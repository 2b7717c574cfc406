# SPDX-License-Identifier: Apache-2.0
# Completion of keepalived for bash.

_keepalived() {
	local options="--use-file --vrrp --check --no_bfd --all --dont-respawn --vrrp_pid --checkers_pid --bfd_pid
		--log-console --log-detail --log-facility --dont-release-ipvs --dont-release-vrrp
		--dont-fork --pid --config-test --signum --version --help"
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-f|--use-file|-p|--pid|-r|--vrrp_pid|-c|--checkers_pid|-b|--bfd_pid) COMPREPLY=($(compgen -f -- "$2")); return ;;
	-S|--log-facility) COMPREPLY=($(compgen -W "0 1 2 3 4 5 6 7" -- "$2")); return ;;
	--signum) COMPREPLY=($(compgen -W "STOP RELOAD DATA STATS STATS_CLEAR JSON" -- "$2")); return ;;
	esac
	COMPREPLY=($(compgen -W "$options" -- "$2"))
}
complete -F _keepalived keepalived
