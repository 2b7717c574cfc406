#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# kbuild.sh RELEASE ip_vs|toa|ip_vs_x_plant - one module, to build/RELEASE/. Quiet unless V is
# set; any warning of compiler, objtool or modpost is a failure, unless LAX is set:
# who installs the module may have a newer compiler than who wrote it.
set -eu
export LC_ALL=C
cd "$(dirname "$0")"

release=$1 module=$2
out=$PWD/build/$release
dir=$out/$module
log=$out/$module.log
kdir=$(./prepare.sh headers "$release")

fail() {
	printf 'kmod: %s for %s: %s\n' "$module.ko" "$release" "$1" >&2
	[ ! -e "$log" ] || cat "$log" >&2
	exit 1
}

# What the unpatched tree was made from; a change of it makes a new tree.
tree_of() {
	cat patches/series patches/*.patch prepare.sh Kbuild | cksum
	printf '%s\n' "$kdir"
	cat "$kdir/include/generated/package.h"
}

case $module in
ip_vs)
	if [ -d "$dir" ] && [ "$(cat "$out/tree" 2>/dev/null)" = "$(tree_of)" ]; then
		./prepare.sh sources "$release" "$dir"
	else
		./prepare.sh tree "$release" "$dir"
		tree_of >"$out/tree"
	fi
	case $release in
	*-sanitize) cp sanitize/ip_vs_x_fail.[ch] "$dir/" ;;
	esac
	;;
toa)
	mkdir -p "$dir"
	for file in toa/*.[ch] toa/Kbuild; do
		cmp -s "$file" "$dir/${file#toa/}" || cp "$file" "$dir/"
	done
	;;
ip_vs_x_plant)
	mkdir -p "$dir"
	cp sanitize/ip_vs_x_plant.c "$dir/"
	printf 'UBSAN_SANITIZE := y\nobj-m := ip_vs_x_plant.o\n' >"$dir/Kbuild"
	;;
*) fail "no such module" ;;
esac

werror=-Werror
[ -z "${LAX:-}" ] || werror=

[ -z "${V:-}" ] || set -x
rm -f "$log"
make -C "$kdir" M="$dir" KCFLAGS="$werror" -j"${JOBS:-2}" ${V:+V=1} modules >"$log" 2>&1 ||
	fail "does not build"
[ -z "${V:-}" ] || cat "$log"

# Debian names its compiler in more than one way; that is no difference.
if [ -z "${LAX:-}" ] && grep -E '(warning|WARNING): ' "$log" | grep -qv 'the compiler differs from the one used'; then
	fail "builds with warnings"
fi
[ "$module" != ip_vs ] || ./prepare.sh crc "$release" "$dir"

strip --strip-debug -o "$out/.$module.ko" "$dir/$module.ko"
mv "$out/.$module.ko" "$out/$module.ko"
rm -f "$log"
