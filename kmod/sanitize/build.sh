#!/bin/bash
# SPDX-License-Identifier: GPL-2.0-only
#
# build.sh - a user-mode Linux with every sanitiser it has, from the very sources
# that kmod/kernels pins for 6.1, into the cache, as kernel "6.1-sanitize": 15 minutes
# of processor time, once. A build that is stopped goes on where it was.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "$0")" && pwd)
cache=$("$here/../../packaging/fetch.sh" where)
read -r line _ version <<<"$(awk '$1 == "6.1"' "$here/../kernels")"
work=$cache/linux
src=$work/linux-source-$line
out=$work/build
stamp=$work/.done
changes=$(cat "$here"/{xstate.h,xstate.patch,modules.patch} | cksum)
key="$version $changes $(cat "$here"/{config,build.sh} | cksum)"
[ "$(cat "$stamp" 2>/dev/null)" != "$key" ] || [ ! -d "$cache/kernel/$line-sanitize" ] || exit 0
for tool in flex bison bc; do
	command -v $tool >/dev/null || { echo "build.sh: $tool is missing: apt-get install flex bison bc" >&2; exit 1; }
done

mkdir -p "$work" "$cache/debs"
exec 9>"$cache/.lock-sanitize"
flock 9
if [ "$(cat "$work/.version" 2>/dev/null)" != "$version $changes" ]; then
	rm -rf "$src" "$out"
	deb=$(cd "$cache/debs" && apt-get -qq download "linux-source-$line=$version" >&2 && ls "$PWD/linux-source-${line}_${version}"_*.deb)
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/linux-source-$line.tar.xz" | xz -dc -T2 | tar -xf - -C "$work"
	rm -f "$deb"
	# The user-mode port does not preempt, but can count as if it did: that is what
	# finds sleeping in atomic context.
	sed -i '/^\tselect ARCH_NO_PREEMPT$/d' "$src/arch/um/Kconfig"
	for change in xstate modules; do
		patch -d "$src" -p1 -F0 -s --no-backup-if-mismatch <"$here/$change.patch"
	done
	cp "$here/xstate.h" "$src/arch/x86/um/os-Linux/"
	echo "$version $changes" >"$work/.version"
fi

um=(make -s -C "$src" ARCH=um O="$out")
mkdir -p "$out"
if ! cmp -s "$here/config" "$out/.fragment"; then
	"${um[@]}" tinyconfig >/dev/null
	(cd "$src" && ARCH=um ./scripts/kconfig/merge_config.sh -m -O "$out" "$out/.config" "$here/config" >/dev/null)
	"${um[@]}" olddefconfig 2>/dev/null
	grep '^CONFIG' "$here/config" | while read -r want; do
		case $want in
		*=n) ! grep -q "^${want%=n}=" "$out/.config" || { echo "build.sh: $want did not take" >&2; exit 1; } ;;
		*) grep -qxF "$want" "$out/.config" || { echo "build.sh: $want did not take" >&2; exit 1; } ;;
		esac
	done
	cp "$here/config" "$out/.fragment"
fi
nice -n 10 "${um[@]}" -j"${JOBS:-2}" linux modules

release=$(cat "$out/include/config/kernel.release")
kernel=$cache/kernel/$release
rm -rf "$kernel.new" "$kernel"
mkdir -p "$kernel.new/boot"
"${um[@]}" INSTALL_MOD_PATH="$kernel.new" modules_install >/dev/null
rm -f "$kernel.new/lib/modules/$release/"{build,source}
cp "$out/linux" "$kernel.new/boot/vmlinuz-$release"
mv "$kernel.new" "$kernel"

# Where kmod/prepare.sh looks for headers and sources.
rm -rf "$cache/headers/$release" "$cache/source/$release"
mkdir -p "$cache/headers/$release/usr/src" "$cache/source/$release/net/netfilter"
printf '#define LINUX_PACKAGE_ID " Debian %s"\n' "$version" >"$out/include/generated/package.h"
ln -s "$out" "$cache/headers/$release/usr/src/linux-headers-$release"
cp -R "$src/net/netfilter/ipvs" "$cache/source/$release/net/netfilter/"
rm -f "$cache/source/$release/net/netfilter/ipvs/"*.o
echo "$version" >"$cache/source/$release/version"
ln -sfn "$release" "$cache/kernel/$line-sanitize"
echo "$key" >"$stamp"
