#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# prepare.sh - what building ip_vs.ko needs besides make. POSIX sh, no network:
# DKMS runs it on hosts that have nothing but Debian's packages.
#
#   prepare.sh headers RELEASE         print the folder of the kernel's headers
#   prepare.sh ready RELEASE           fail, with what to do, unless headers and
#                                      sources are there in one version
#   prepare.sh tree RELEASE DIR        fill DIR: the distribution's ipvs of that
#                                      very version, patched, with our sources
#   prepare.sh sources RELEASE DIR     our sources, again, into such a DIR
#   prepare.sh crc RELEASE DIR         fail unless the module built in DIR exports
#                                      what the distribution's does, CRC for CRC
#
# Headers and sources are taken from the cache that packaging/fetch.sh fills
# ($LVS_CACHE or ~/.cache/lvs-fnat), else from the installed packages
# linux-headers-RELEASE and linux-source-X.Y. With LVS_SOURCES=DIR, sources that were
# unpacked once are kept there.
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
cache=${LVS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lvs-fnat}

die() {
	printf 'kmod/prepare.sh: %s\n' "$*" >&2
	exit 1
}

# The folder that "make -C" takes.
headers() {
	for dir in "$cache/headers/$release/usr/src/linux-headers-$release" \
		"/lib/modules/$release/build" "/usr/src/linux-headers-$release"; do
		[ -e "$dir/Module.symvers" ] || continue
		printf '%s\n' "$dir"
		return
	done
	die "no headers of $release: install linux-headers-$release, or run packaging/fetch.sh kernel $release"
}

# The package's version, as Debian writes it into the headers it ships.
headers_version() {
	sed -n 's/^#define LINUX_PACKAGE_ID " Debian \(.*\)"$/\1/p' "$1/include/generated/package.h" 2>/dev/null
}

# 6.12.117+deb12-cloud-amd64 -> 6.12
line() {
	printf '%s\n' "$release" | sed 's/^\([0-9]*\.[0-9]*\).*/\1/'
}

# Where the distribution's net/netfilter/ipvs of version $1 is: sets from to a folder
# or a tarball. It must be of exactly that version: stable updates move the text
# that patches anchor on, and structs that other modules share.
locate() {
	pkg=linux-source-$(line) found=
	tarball=/usr/src/$pkg.tar.xz
	for from in "$cache/source/$release" "${LVS_SOURCES:+$LVS_SOURCES/$1}"; do
		[ -d "$from/net/netfilter/ipvs" ] || continue
		found=$(cat "$from/version")
		[ "$found" != "$1" ] || return 0
	done
	if [ -e "$tarball" ]; then
		# shellcheck disable=SC2016 # dpkg-query's own variables
		found=$(dpkg-query -W -f '${Version}' "$pkg" 2>/dev/null || echo unknown)
		from=$tarball
		[ "$found" != "$1" ] || return 0
	fi
	die "the headers of $release are version $1, but $([ -n "$found" ] &&
		echo "the ipvs sources here are $found" || echo "no ipvs sources are here"): install $pkg=$1, or run packaging/fetch.sh kernel $release"
}

# Puts those sources into $2. What had to be unpacked is kept below $LVS_SOURCES, if
# that is set: the package of the sources follows the newest kernel, and older ones
# are built for again when this module is updated.
unpack() {
	locate "$1"
	if [ -d "$from" ]; then
		cp -R "$from/net/netfilter/ipvs/." "$2/"
		return
	fi
	xz -dc "$from" | tar -xf - -C "$2" --strip-components=4 "$pkg/net/netfilter/ipvs" || die "cannot unpack $from"
	[ -n "${LVS_SOURCES:-}" ] || return 0
	keep=$LVS_SOURCES/$1
	rm -rf "$keep" "$keep.new"
	mkdir -p "$keep.new/net/netfilter"
	cp -R "$2" "$keep.new/net/netfilter/ipvs"
	echo "$1" >"$keep.new/version"
	mv "$keep.new" "$keep"
}

# What the kernel must be for a replaced ip_vs.ko to make sense.
check_config() {
	conf=$1/include/config/auto.conf
	[ -e "$conf" ] || die "$1 has no include/config/auto.conf: are these the headers of a built kernel?"
	grep -q '^CONFIG_64BIT=y' "$conf" || die "$release is not a 64 bit kernel, which our counters need"
	grep -q '^CONFIG_IP_VS=m' "$conf" || die "$release has ip_vs not as a module: there is nothing to replace"
	for option in IP_VS_IPV6 IP_VS_PROTO_TCP IP_VS_PROTO_UDP IP_VS_NFCT MODVERSIONS; do
		grep -q "^CONFIG_$option=y" "$conf" || die "$release is built without CONFIG_$option, which the extension needs"
	done
}

# Sets kdir and version, or says why there is nothing to build on.
ready() {
	kdir=$(headers)
	check_config "$kdir"
	version=$(headers_version "$kdir")
	[ -n "$version" ] || die "$kdir does not tell its package version: only Debian's own kernels are supported"
}

tree() {
	ready
	new=$1.new.$$
	rm -rf "$new"
	mkdir -p "$new"
	trap 'rm -rf "$new"' EXIT
	unpack "$version" "$new"
	sed '/^#/d;/^$/d' "$here/patches/series" | while read -r patch; do
		# No fuzz: a hunk that does not fit exactly is looked at by a person.
		out=$(patch -d "$new" -p1 -F0 -N -s --no-backup-if-mismatch <"$here/patches/$patch" 2>&1) ||
			die "patches/$patch does not apply to ipvs $version:
$out"
	done
	cp "$here/Kbuild" "$new/"
	ours "$new"
	rm -rf "$1"
	mv "$new" "$1"
	trap - EXIT
}

# Our sources into a patched tree; those that have not changed keep their time.
ours() {
	mkdir -p "$1/uapi"
	for file in "$here"/src/*.[ch] "$here"/src/uapi/*.h; do
		to=$1/${file#"$here/src/"}
		cmp -s "$file" "$to" || cp "$file" "$to"
	done
	# What GET_INFO tells: exactly which code runs, on top of which ip_vs.
	id=$(cat "$here"/src/*.[ch] "$here"/src/uapi/*.h "$here"/patches/*.patch "$here/Kbuild" | sha256sum)
	printf '/* SPDX-License-Identifier: GPL-2.0-only */\n#define IP_VS_X_BUILD "%.12s on %s"\n' \
		"$id" "$(headers_version "$(headers)")" >"$1/.build"
	cmp -s "$1/.build" "$1/ip_vs_x_build.h" || cp "$1/.build" "$1/ip_vs_x_build.h"
}

# The modules of the distribution that sit on ip_vs (schedulers, helpers,
# xt_ipvs) load on ours only if every symbol they may use has the CRC they were
# built with. A difference also means that the sources are not this kernel's.
crc() {
	kdir=$(headers)
	[ -e "$1/Module.symvers" ] || die "$1/Module.symvers is missing: build first"
	symbols "$kdir/Module.symvers" net/netfilter/ipvs/ip_vs >"$1/crc.stock"
	symbols "$1/Module.symvers" '*' >"$1/crc.ours"
	[ -s "$1/crc.stock" ] || die "$kdir/Module.symvers knows no symbol of ip_vs"
	cmp -s "$1/crc.stock" "$1/crc.ours" && return
	die "the symbols that ip_vs.ko exports are not those of $release ( < stock, > ours):
$(diff "$1/crc.stock" "$1/crc.ours" | grep '^[<>]')"
}

# "CRC name export-kind" of one module, or of all with '*'.
symbols() {
	awk -F '\t' -v m="$2" 'm == "*" || $3 == m { print $1, $2, $4 }' "$1" | sort
}

usage() {
	sed -n '6,15p' "$0" | sed 's/^# \{0,1\}//' >&2
	exit 2
}

[ $# -ge 2 ] || usage
release=$2
case $1-$# in
headers-2) headers ;;
ready-2) ready && locate "$version" ;;
tree-3) tree "$3" ;;
sources-3) ours "$3" ;;
crc-3) crc "$3" ;;
*) usage ;;
esac
