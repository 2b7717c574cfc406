# SPDX-License-Identifier: Apache-2.0
# Completion of genhash for bash.

_genhash() {
	local options="--use-ssl --use-sni --server --port --url --use-virtualhost --verbose --help --fwmark --protocol --timeout"
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD-1]} in
	-P|--protocol) COMPREPLY=($(compgen -W "1.0 1.0c 1.1" -- "$2")); return ;;
	-[spuVmt]|--server|--port|--url|--use-virtualhost|--fwmark|--timeout) return ;;
	esac
	COMPREPLY=($(compgen -W "$options" -- "$2"))
}
complete -F _genhash genhash
