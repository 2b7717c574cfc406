#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch.sh - get what building, lab and tests need, from Debian's archive.
#
#   fetch.sh host             install the few packages the host itself needs
#   fetch.sh kernel LINE      unpack kernel, headers and ipvs sources of LINE
#                             (6.1, 6.12, or a release as 6.1.0-56-amd64)
#   fetch.sh guest            unpack the programs that only guests run
#   fetch.sh peers            unpack other programs that tests of this host speak with
#   fetch.sh newer            unpack keepalived of the next Debian, for the same
#   fetch.sh root             a Debian in which packages are installed by tests
#   fetch.sh all              all of these, for every line of kmod/kernels
#   fetch.sh where            print the cache folder
#
# Everything but "host" goes to the cache, $LVS_CACHE or ~/.cache/lvs-fnat, and
# is never installed or run here:
#
#   debs/                     the packages as downloaded
#   kernel/RELEASE/           boot/vmlinuz-RELEASE, lib/modules/RELEASE (depmod done,
#                             no module compressed)
#   kernel/LINE               link to the release that stands for this line
#   headers/RELEASE/          make -C .../usr/src/linux-headers-RELEASE M=... works here
#   source/RELEASE/           net/netfilter/ipvs and checkpatch of the same version
#   guest/                    a root file system without kernel, modules and init
#   peers/                    the same of programs that ours must understand
#   newer/                    the same of the next Debian's keepalived
#   root/                     Debian as debootstrap makes it, with DKMS, a kernel, headers
#                             and sources of each line, stock ipvsadm and keepalived
#
# A folder appears under its name only when it is complete, so whoever sees it
# can use it. A second run does nothing; runs at the same time wait for each other.
set -euo pipefail
export LC_ALL=C PATH=$PATH:/usr/sbin:/sbin DEBIAN_FRONTEND=noninteractive

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${LVS_CACHE:-${XDG_CACHE_HOME:-${HOME:-/root}/.cache}/lvs-fnat}
pins=$repo/kmod/kernels
apt=(-o DPkg::Lock::Timeout=120 -o APT::Sandbox::User=root -o Acquire::Retries=3 -qq)

die() { printf 'fetch.sh: %s\n' "$*" >&2; exit 1; }
say() { printf 'fetch.sh: %s\n' "$*" >&2; }

# --- the host ------------------------------------------------------------------

host_packages='
gcc             builds the module (Debian builds its kernels with the same one)
make            runs the Makefile and the kernel build
libc6-dev       C headers, for the user-space tests of the module
libelf1         objtool of the kernel build links with it
patch           applies kmod/patches
perl            runs checkpatch and pieces of the kernel build
xz-utils        unpacks kernel sources and modules
kmod            depmod, for the module trees that guests boot with
sparse          checks address spaces and endianness of the module
clang           sanitizers and fuzzers of the packet functions, BPF receiver
libclang-rt-dev what sanitizers and fuzzers link with
llvm            llvm-strip, for the BPF object
libbpf-dev      headers of the BPF receiver
qemu-system-x86 boots the guests, without hardware virtualisation
dbus            dbus-daemon, for the test of what is on D-Bus
debootstrap     makes the Debian in which packages are installed by tests
lintian         checks our packages
zsh             is typed into, for the test of completions
fish            the same
flex            configures the kernel of make sanitize
bison           the same
bc              the same
'

fetch_host() {
	local pkg why have missing=()
	# shellcheck disable=SC2046
	have=$(dpkg-query -W -f '${db:Status-Status} ${binary:Package} \n' $(awk '{print $1}' <<<"$host_packages") 2>/dev/null || true)
	while read -r pkg why; do
		[ -n "$pkg" ] || continue
		[[ $have =~ (^|$'\n')installed\ $pkg[:\ ] ]] && continue
		printf 'installing %-16s %s\n' "$pkg" "$why"
		missing+=("$pkg")
	done <<<"$host_packages"
	[ ${#missing[@]} -gt 0 ] || return 0
	[ "$(id -u)" = 0 ] || die "these need root: apt-get install --no-install-recommends ${missing[*]}"
	locked host
	apt-get "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null ||
		{ refresh && apt-get "${apt[@]}" install -y --no-install-recommends "${missing[@]}" </dev/null >/dev/null; } ||
		die "apt-get could not install: ${missing[*]}"
}

# --- the archive ---------------------------------------------------------------

# locked NAME holds a lock until this process ends, so that two runs share the
# work instead of spoiling it.
locked() {
	mkdir -p "$cache"
	exec 9>"$cache/.lock-$1"
	flock -n 9 && return
	say "another run fetches $1, waiting for it"
	flock 9
}

refresh() {
	say "reading the archive's package lists"
	apt-get "${apt[@]}" update </dev/null || die "apt-get update failed: is the archive reachable?"
}

# listed PKG[=VERSION]: the lists have it. apt-cache is content, though it prints
# nothing, when it knows other versions of PKG only.
listed() { [ -n "$(apt-cache show "$1" 2>/dev/null)" ]; }

# known PKG[=VERSION]: the archive has it. Reads the lists once if it must.
known() {
	listed "$1" && return
	[ -z "${refreshed:-}" ] || return 1
	[ "$(id -u)" = 0 ] || die "$1 is not in the package lists; run apt-get update as root"
	refreshed=1
	refresh
	listed "$1"
}

# download PKG=VERSION: prints the path of the .deb in the cache.
download() {
	local pkg=${1%%=*} ver=${1#*=} file
	file=$cache/debs/${pkg}_${ver//:/%3a}_
	local have=("$file"*.deb)
	[ -e "${have[0]}" ] && { echo "${have[0]}"; return; }
	local tmp
	tmp=$(mktemp -d "$cache/debs/.new.XXXXXX")
	(cd "$tmp" && apt-get "${apt[@]}" download "$1" </dev/null >&2) ||
		{ refresh; (cd "$tmp" && apt-get "${apt[@]}" download "$1" </dev/null >&2); } ||
		{ rm -rf "$tmp"; die "cannot download $1"; }
	mv "$tmp"/*.deb "$cache/debs/"
	rm -rf "$tmp"
	have=("$file"*.deb)
	[ -e "${have[0]}" ] || die "$1 arrived under an unexpected name; see $cache/debs"
	echo "${have[0]}"
}

# place TMP FINAL: the last step of each unpacking.
place() {
	rm -rf "$2.old"
	[ ! -e "$2" ] || mv "$2" "$2.old"
	mv "$1" "$2"
	rm -rf "$2.old"
}

scratch() {
	local d
	mkdir -p "$cache/$1"
	find "$cache/$1" -maxdepth 1 -name '.new.*' -mmin +120 -exec rm -rf {} +
	d=$(mktemp -d "$cache/$1/.new.XXXXXX")
	chmod 755 "$d"
	echo "$d"
}

# --- kernels -------------------------------------------------------------------

# newest LINE: release and version of the newest cloud kernel whose image, headers
# and source the archive has in one version.
newest() {
	local line=$1 img rel ver
	while read -r ver img; do
		rel=${img#linux-image-}
		listed "linux-headers-$rel=$ver" && listed "linux-source-$line=$ver" || continue
		echo "$rel $ver"
		return
	done < <(apt-cache search --names-only "^linux-image-${line/./\\.}\\.[0-9].*-cloud-amd64\$" |
		while read -r img _; do echo "$(apt-cache show --no-all-versions "$img" | sed -n 's/^Version: //p') $img"; done | sort -rV)
	return 1
}

# resolve LINE|RELEASE: sets line, release, version.
resolve() {
	local want=$1 pinned=""
	case $want in
	*-*)
		line=$(sed -E 's/^([0-9]+\.[0-9]+).*/\1/' <<<"$want")
		release=$want
		known "linux-headers-$want" || die "no package linux-headers-$want in the archive"
		version=$(apt-cache show --no-all-versions "linux-headers-$want" | sed -n 's/^Version: //p')
		known "linux-source-$line=$version" ||
			die "linux-headers-$want is $version, but the archive has no linux-source-$line of that version; see apt-cache madison linux-source-$line"
		return
		;;
	esac
	line=$want
	pinned=$(awk -v l="$line" '$1 == l {print $2, $3}' "$pins")
	[ -n "$pinned" ] || die "no kernel line $line in kmod/kernels; it has: $(awk '/^[0-9]/{printf "%s ", $1}' "$pins")"
	read -r release version <<<"$pinned"
	known "linux-image-$release=$version" && known "linux-headers-$release=$version" && known "linux-source-$line=$version" && return
	read -r release version <<<"$(newest "$line")" || true
	[ -n "$release" ] || die "neither $pinned nor any other $line kernel is in the archive"
	say "*********************************************************************"
	say "kmod/kernels pins $pinned, which left the archive."
	say "Using $release $version instead. Re-pin after its tests pass."
	say "*********************************************************************"
}

fetch_image() {
	[ -d "$cache/kernel/$release" ] && return
	say "kernel $release ($version)"
	local deb tmp
	deb=$(download "linux-image-$release=$version")
	tmp=$(scratch kernel)
	dpkg-deb -x "$deb" "$tmp"
	[ -d "$tmp/lib/modules" ] || { mkdir -p "$tmp/lib" && mv "$tmp/usr/lib/modules" "$tmp/lib/"; }
	rm -rf "$tmp/usr"
	# Guests read plain modules; nobody has to carry a decompressor.
	find "$tmp/lib/modules" -name '*.ko.xz' -print0 | xargs -0 -r -n 64 xz -d -T1
	depmod -b "$tmp" "$release"
	place "$tmp" "$cache/kernel/$release"
}

fetch_headers() {
	[ -d "$cache/headers/$release" ] && return
	say "headers $release ($version)"
	local tmp root=$cache/headers/$release pkg deb link target
	tmp=$(scratch headers)
	deb=$(download "linux-headers-$release=$version")
	dpkg-deb -x "$deb" "$tmp"
	for pkg in $(dpkg-deb -f "$deb" Depends | tr ',' '\n' | grep -oE 'linux-(headers-[^ ]*-common(-rt)?|kbuild-[^ ]*)'); do
		known "$pkg=$version" || die "$pkg $version, which linux-headers-$release needs, is not in the archive"
		deb=$(download "$pkg=$version")
		dpkg-deb -x "$deb" "$tmp"
	done
	# The packages expect to be unpacked at /: make their links relative and
	# their include lines point here.
	find "$tmp" -type l -lname '/usr/*' | while read -r link; do
		target=$(readlink "$link")
		ln -sfn "$(realpath -m --relative-to="$(dirname "$link")" "$tmp$target")" "$link"
	done
	{ grep -rlE --include=Makefile --include='.kernelvariables' '/usr/(src/linux-headers|lib/linux-kbuild)' "$tmp/usr/src" || true; } |
		while read -r link; do
			sed -i -E "s#(^|[^./[:alnum:]])/usr/(src/linux-headers|lib/linux-kbuild)#\1$root/usr/\2#g" "$link"
		done
	# With this file (6.12 ships it) the build insists on pahole to make BTF of
	# each module; without it, it skips BTF as 6.1 does.
	rm -f "$tmp/usr/src/linux-headers-$release/vmlinux"
	place "$tmp" "$root"
}

fetch_source() {
	[ -d "$cache/source/$release" ] && return
	say "source of ipvs $release ($version)"
	local deb tmp s=linux-source-$line
	deb=$(download "$s=$version")
	tmp=$(scratch source)
	dpkg-deb --fsys-tarfile "$deb" | tar -xO "./usr/src/$s.tar.xz" | xz -dc -T2 |
		tar -xf - -C "$tmp" --strip-components=1 "$s/net/netfilter/ipvs" \
			"$s/scripts/checkpatch.pl" "$s/scripts/spelling.txt" "$s/scripts/const_structs.checkpatch"
	echo "$version" >"$tmp/version"
	place "$tmp" "$cache/source/$release"
	# 150 MB of which 0.6 MB were wanted.
	rm -f "$deb"
}

fetch_kernel() {
	local pin stamp="" want=$1
	pin=$(awk -v l="$want" '$1 == l' "$pins")
	stamp=$cache/kernel/.pin-$want
	if [ -e "$stamp" ] && [ "$(cat "$stamp")" = "$pin" ] && [ -d "$cache/kernel/$want" ]; then
		release=$(readlink "$cache/kernel/$want")
		case $pin in
		*" $release "*) ;;
		*) say "using $release in place of what kmod/kernels pins for $want" ;;
		esac
		[ -d "$cache/headers/$release" ] && [ -d "$cache/source/$release" ] && return
	elif [ -z "$pin" ] && [ -d "$cache/kernel/$want" ] && [ -d "$cache/headers/$want" ] && [ -d "$cache/source/$want" ]; then
		return
	fi
	locked "kernel-$want"
	mkdir -p "$cache/debs" "$cache/kernel"
	resolve "$want"
	# A release can be rebuilt in another version of its package.
	if [ -e "$cache/source/$release/version" ] && [ "$(cat "$cache/source/$release/version")" != "$version" ]; then
		rm -rf "$cache"/{headers,kernel,source}/"$release"
	fi
	fetch_headers
	fetch_image
	fetch_source
	[ -n "$pin" ] || return 0
	ln -sfn "$release" "$cache/kernel/$line"
	echo "$pin" >"$stamp"
}

# --- the next Debian's keepalived --------------------------------------------------

newer=trixie

fetch_newer() {
	local stamp=$cache/.newer-release tmp archive file
	[ -d "$cache/newer" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$newer" ] && return
	locked newer
	[ -d "$cache/newer" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$newer" ] && return
	say "keepalived of $newer"
	archive=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 ~ /^(bookworm|oldstable)$/ {print $1; exit}')
	[ -n "$archive" ] || die "apt has no source with Debian 12 (bookworm)"
	tmp=$(scratch newerroot)
	mkdir -p "$tmp"/{lists,archives}/partial "$tmp/all" "$tmp/root/lib64"
	: >"$tmp/status"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive $newer main" >"$tmp/sources.list"
	# The lists of the host stay as they are.
	local other=("${apt[@]}" -o Dir::Etc::sourcelist="$tmp/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Acquire::Languages=none
		-o Dir::State::lists="$tmp/lists" -o Dir::State::status="$tmp/status" -o Dir::Cache::archives="$tmp/archives"
		-o Dir::Cache::pkgcache="$tmp/pkgcache" -o Dir::Cache::srcpkgcache="$tmp/srcpkgcache" -o Debug::NoLocking=1)
	apt-get "${other[@]}" update </dev/null && apt-get "${other[@]}" -d -y --no-install-recommends install keepalived </dev/null >&2 ||
		die "cannot download keepalived of $newer from $archive"
	ln -s usr/lib usr/lib64 "$tmp/all" # its packages know only /usr
	for file in "$tmp"/archives/*.deb; do dpkg-deb -x "$file" "$tmp/all"; done
	keep "$tmp/all" "$tmp/root" /lib64/ld-linux-x86-64.so.2
	keep "$tmp/all" "$tmp/root" /usr/sbin/keepalived
	keep "$tmp/all" "$tmp/root" /etc/keepalived/keepalived.config-opts # without which it does not start
	chmod -R u+w "$tmp/root"
	place "$tmp/root" "$cache/newer"
	rm -rf "$tmp"
	echo "$newer" >"$stamp"
}

# --- guests' programs ----------------------------------------------------------

# package and the files of it that guests get, with what they link with. A change
# in this section makes the next run unpack again.
guest_packages='
busybox-static  /bin/busybox
bash            /bin/bash
iproute2        /bin/ip /bin/ss /sbin/tc /sbin/bridge
tcpdump         /usr/bin/tcpdump
curl            /usr/bin/curl
nginx           /usr/sbin/nginx
nginx-common    /etc/nginx/mime.types
openssl         /usr/bin/openssl
dnsmasq-base    /usr/sbin/dnsmasq
msmtp-mta       /usr/bin/msmtpd
ipvsadm         /sbin/ipvsadm
keepalived      /usr/sbin/keepalived
ethtool         /sbin/ethtool
nftables        /usr/sbin/nft
kmod            /bin/kmod
libc-bin        /usr/bin/getent
libnss-myhostname /usr/lib/x86_64-linux-gnu/libnss_myhostname.so.2
ncurses-base    /lib/terminfo/l/linux /lib/terminfo/v/vt100 /lib/terminfo/v/vt220 /lib/terminfo/x/xterm
'

# elf_needs FILE: sonames FILE links with.
elf_needs() { readelf -d "$1" 2>/dev/null | sed -n 's/.*(NEEDED).*\[\(.*\)\]/\1/p'; }

# keep FROM TO PATH: copy PATH and, if it is a program, its libraries.
keep() {
	local from=$1 to=$2 path=$3 lib dir
	[ ! -e "$to$path" ] || return 0
	[ -e "$from$path" ] || die "no $path in the guest's packages"
	mkdir -p "$to$(dirname "$path")"
	cp -L "$from$path" "$to$path"
	for lib in $(elf_needs "$from$path"); do
		dir=$(cd "$from" && find lib usr/lib lib64 -name "$lib" 2>/dev/null | head -n 1)
		[ -n "$dir" ] || die "$path needs $lib, which no package brought"
		keep "$from" "$to" "/$dir"
	done
}

# programs NAME PACKAGES: downloads what a table like the above lists, with all that it
# needs, whatever the host has, unpacks it to $tmp/all and keeps its files in $tmp/root.
programs() {
	local pkg files file all archives=$cache/debs/$1
	mkdir -p "$archives/partial"
	tmp=$(scratch "$1root")
	: >"$tmp/status"
	all=$(awk 'NF {print $1}' <<<"$2")
	known "${all##*$'\n'}" || die "no package ${all##*$'\n'} in the archive"
	# An empty status file makes apt compute the whole closure.
	# shellcheck disable=SC2086
	apt-get "${apt[@]}" -o Dir::State::status="$tmp/status" -o Dir::Cache::archives="$archives" \
		-o Debug::NoLocking=1 -d -y --no-install-recommends install $all </dev/null >&2 ||
		{ refresh; apt-get "${apt[@]}" -o Dir::State::status="$tmp/status" -o Dir::Cache::archives="$archives" \
			-o Debug::NoLocking=1 -d -y --no-install-recommends install $all </dev/null >&2; } ||
		die "cannot download the packages of $1"
	mkdir "$tmp/all" "$tmp/root"
	for file in "$archives"/*.deb; do dpkg-deb -x "$file" "$tmp/all"; done
	mkdir -p "$tmp/root/lib64"
	keep "$tmp/all" "$tmp/root" /lib64/ld-linux-x86-64.so.2
	while read -r pkg files; do
		for file in $files; do keep "$tmp/all" "$tmp/root" "$file"; done
	done <<<"$2"
	rm -rf "$archives"
}

fetch_guest() {
	local want stamp=$cache/.guest-list file tmp root
	want=$(sed -n '/^# --- guests/,/^# -----/p' "${BASH_SOURCE[0]}" | cksum)
	[ -d "$cache/guest" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	locked guest
	[ -d "$cache/guest" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	say "programs for guests"
	programs guest "$guest_packages"
	root=$tmp/root
	mkdir -p "$root/usr/share/doc/keepalived"
	cp -r "$tmp/all/usr/share/doc/keepalived/samples" "$root/usr/share/doc/keepalived/"
	for file in insmod lsmod modinfo modprobe rmmod depmod; do ln -s /bin/kmod "$root/sbin/$file"; done
	ln -s bash "$root/bin/sh"
	# The plain names are for ours.
	mv "$root/sbin/ipvsadm" "$root/sbin/ipvsadm.stock"
	mv "$root/usr/sbin/keepalived" "$root/usr/sbin/keepalived.stock"
	chmod -R u+w "$root"
	place "$root" "$cache/guest"
	rm -rf "$tmp"
	echo "$want" >"$stamp"
}

# --- peers ----------------------------------------------------------------------

# Not in guests, whose every boot unpacks all that they have.
peer_packages='
bird2           /usr/sbin/bird
snmpd           /usr/sbin/snmpd
snmptrapd       /usr/sbin/snmptrapd
snmp            /usr/bin/snmpget /usr/bin/snmpset /usr/bin/snmpwalk
'

fetch_peers() {
	local want stamp=$cache/.peers-list tmp
	want=$(cksum <<<"$peer_packages")
	[ -d "$cache/peers" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	locked peers
	[ -d "$cache/peers" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	say "programs that tests speak with"
	programs peers "$peer_packages"
	chmod -R u+w "$tmp/root"
	place "$tmp/root" "$cache/peers"
	rm -rf "$tmp"
	echo "$want" >"$stamp"
}

# --- the Debian that packages are installed in -----------------------------------

# A change in this section, or of a pin, makes the next run start again. Nothing of
# ours is in it: tests put an overlay over it.
root_packages='dkms ipvsadm keepalived linux-source-6.1 linux-source-6.12 mokutil'

fetch_root() {
	local want stamp=$cache/.root-list tmp root archive line pkgs=$root_packages
	want=$(cat <(sed -n '/^# --- the Debian/,/^# -----/p' "${BASH_SOURCE[0]}") "$pins" | cksum)
	[ -d "$cache/root" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	locked root
	[ -d "$cache/root" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ] && return
	[ "$(id -u)" = 0 ] || die "debootstrap needs root"
	say "a Debian to install packages in"
	for line in $(awk '/^[0-9]/{print $1}' "$pins"); do
		resolve "$line"
		pkgs+=" linux-image-$release=$version linux-headers-$release=$version"
		# What asks for "the" headers gets these.
		case $line in 6.1) pkgs+=" linux-headers-cloud-amd64" ;; *) pkgs+=" linux-headers-$line-cloud-amd64" ;; esac
	done
	tmp=$(scratch rootfs)
	root=$tmp/root
	archive=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE)' 'Created-By: Packages' | awk '$2 ~ /^(bookworm|oldstable)$/ {print $1; exit}')
	[ -n "$archive" ] || die "apt has no source with Debian 12 (bookworm)"
	debootstrap --variant=minbase bookworm "$root" "$archive" >"$tmp/log" 2>&1 || { tail -n 20 "$tmp/log" >&2; die "debootstrap of bookworm from $archive failed"; }
	apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) main' 'Created-By: Packages' 'Component: main' 'Origin: Debian' | sort -u >"$root/etc/apt/sources.list"
	# A kernel wants somebody who makes initial RAM disks; this one never boots.
	mkdir -p "$tmp/initrd/DEBIAN"
	printf 'Package: no-initrd\nVersion: 1\nArchitecture: all\nMaintainer: none <none@localhost>\nProvides: linux-initramfs-tool\nDescription: none\n' >"$tmp/initrd/DEBIAN/control"
	dpkg-deb --build "$tmp/initrd" "$root/tmp/no-initrd.deb" >/dev/null
	cp /etc/resolv.conf "$root/etc/resolv.conf"
	cp /etc/apt/apt.conf.d/*proxy* "$root/etc/apt/apt.conf.d/" 2>/dev/null || true
	printf '#!/bin/sh\nexit 101\n' >"$root/usr/sbin/policy-rc.d"
	chmod 755 "$root/usr/sbin/policy-rc.d"
	# The mount goes with the namespace.
	unshare --mount sh -eu -c '
		mount -t proc proc "$0/proc"
		chroot "$0" apt-get '"${apt[*]}"' update
		chroot "$0" apt-get '"${apt[*]}"' install -y --no-install-recommends /tmp/no-initrd.deb '"$pkgs"'
		chroot "$0" apt-get clean' "$root" </dev/null >"$tmp/log" 2>&1 || { tail -n 20 "$tmp/log" >&2; die "cannot install packages into the Debian for tests"; }
	rm -f "$root/tmp/no-initrd.deb"
	place "$root" "$cache/root"
	rm -rf "$tmp"
	echo "$want" >"$stamp"
}

# -------------------------------------------------------------------------------

case ${1:-} in
host) fetch_host ;;
kernel) [ $# = 2 ] || die "which kernel? fetch.sh kernel 6.1"; fetch_kernel "$2" ;;
guest) fetch_guest ;;
peers) fetch_peers ;;
newer) fetch_newer ;;
root) fetch_root ;;
all)
	"$0" host
	for line in $(awk '/^[0-9]/{print $1}' "$pins"); do "$0" kernel "$line"; done
	"$0" guest
	"$0" peers
	"$0" newer
	"$0" root
	;;
where) echo "$cache" ;;
*) sed -n '4,15s/^# \{0,1\}//p' "$0" >&2; exit 2 ;;
esac
