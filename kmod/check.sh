#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# check.sh RELEASE   sparse and checkpatch --strict over our files; the module is
#                    built already
# check.sh series    do the patches apply to every version of ipvs in the cache,
#                    and to those below the folders in $LVS_SOURCES, with fuzz 0?
set -eu
export LC_ALL=C
cd "$(dirname "$0")"
cache=${LVS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lvs-fnat}

# Debian's headers bring no checkpatch; the cache has that of the source.
checkpatch() {
	script=$cache/source/$1/scripts/checkpatch.pl
	[ -e "$script" ] || {
		echo "kmod: no $script; run packaging/fetch.sh kernel $1" >&2
		return 1
	}
	# LONG_LINE_STRING: messages stay whole. The others are what compat.h is for.
	perl "$script" --no-tree --strict --no-summary --terse --max-line-length=100 \
		--ignore LONG_LINE_STRING,LINUX_VERSION_CODE,CONSTANT_COMPARISON,MACRO_ARG_REUSE \
		-f src/*.[ch] src/uapi/*.h toa/*.[ch] toa/test/*.c toa/bpf/*.c
}

# Sparse's word on our files alone; the kernel's own headers are not clean.
sparse_ours() {
	command -v sparse >/dev/null || {
		echo "kmod: sparse is not installed; run packaging/fetch.sh host" >&2
		return 1
	}
	kdir=$(./prepare.sh headers "$1")
	for module in ip_vs toa; do
		dir=$PWD/build/$1/$module
		log=$PWD/build/$1/sparse.$module.log
		rm -f "$dir"/*_x_*.o "$dir"/toa.o "$dir"/ip_vs_conn.o "$dir"/ip_vs_ctl.o "$dir"/ip_vs_xmit.o
		make -C "$kdir" M="$dir" C=1 KCFLAGS=-Werror modules >"$log" 2>&1 || {
			cat "$log" >&2
			return 1
		}
		if grep -E "/(ip_vs_x|compat|toa)[a-z_]*\.[ch]:[0-9]+:[0-9]+: (warning|error)" "$log" >&2; then
			return 1
		fi
	done
}

series() {
	failed=0
	for dir in "$cache"/source/*/net/netfilter/ipvs ${LVS_SOURCES:-}; do
		[ -e "$dir/ip_vs_core.c" ] || continue
		tmp=$(mktemp -d)
		cp -R "$dir/." "$tmp/"
		if sed '/^#/d;/^$/d' patches/series | while read -r patch; do
			patch -d "$tmp" -p1 -F0 -N -s --no-backup-if-mismatch <"patches/$patch" || exit 1
		done; then
			echo "kmod: the series applies to $dir"
		else
			echo "kmod: the series does NOT apply to $dir" >&2
			failed=1
		fi
		rm -rf "$tmp"
	done
	return $failed
}

case ${1:-} in
series) series ;;
?*) checkpatch "$1" && sparse_ours "$1" ;;
*) sed -n '4,7p' "$0" >&2; exit 2 ;;
esac
