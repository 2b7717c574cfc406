#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# install.sh commands    ipvsadm, keepalived and toa-bpf with manuals, completion,
#                        units and their settings; bin/ is built already
# install.sh modules     the sources of ip_vs.ko and toa.ko for DKMS and what builds
#                        them for new kernels; without DESTDIR, builds them too
#
# `make install` and `make dkms-install` call it with VERSION and DESTDIR, PREFIX,
# BINDIR, SBINDIR, SYSCONFDIR and UNITDIR. Settings that exist are left as they are.
set -eu
cd "$(dirname "$0")/.."
: "${DESTDIR=}" "${PREFIX:=/usr/local}" "${SYSCONFDIR:=/etc}" "${VERSION:?}"
: "${BINDIR:=$PREFIX/bin}" "${SBINDIR:=$PREFIX/sbin}" "${UNITDIR:=$PREFIX/lib/systemd/system}"
share=$PREFIX/share

# put MODE FILE TARGET: with the folders of this installation in place of the
# packages'.
put() {
	mkdir -p "$DESTDIR$(dirname "$3")"
	sed -e "s#@VERSION@#$VERSION#g; s#@PACKAGE@#${package:-}#g; s#@MODULE@#${module:-}#g" \
		-e "s#/usr/sbin/#$SBINDIR/#g; s#/usr/lib/lvs-#$PREFIX/lib/lvs-#g; s#/usr/share/#$share/#g; s#/etc/#$SYSCONFDIR/#g" "$2" >"$DESTDIR$3.new"
	chmod "$1" "$DESTDIR$3.new"
	mv "$DESTDIR$3.new" "$DESTDIR$3"
}
# setting FILE TARGET
setting() { [ -e "$DESTDIR$2" ] || put 644 "$1" "$2"; }

commands() {
	install -D -m 755 -t "$DESTDIR$SBINDIR" bin/ipvsadm bin/keepalived bin/toa-bpf
	# genhash is keepalived by another name.
	mkdir -p "$DESTDIR$BINDIR"
	ln -sfr "$DESTDIR$SBINDIR/keepalived" "$DESTDIR$BINDIR/genhash"
	for name in save restore; do put 755 packaging/ipvsadm-$name "$SBINDIR/ipvsadm-$name"; done
	for page in man/*; do install -D -m 644 "$page" "$DESTDIR$share/man/man${page##*.}/${page#man/}"; done
	for c in ipvsadm keepalived genhash; do
		install -D -m 644 "completion/$c.bash" "$DESTDIR$share/bash-completion/completions/$c"
		install -D -m 644 "completion/_$c" "$DESTDIR$share/zsh/vendor-completions/_$c"
		install -D -m 644 "completion/$c.fish" "$DESTDIR$share/fish/vendor_completions.d/$c.fish"
	done
	put 755 packaging/ipvsadm-rules "$PREFIX/lib/lvs-ipvsadm/ipvsadm-rules"
	for unit in packaging/systemd/*; do put 644 "$unit" "$UNITDIR/${unit##*/}"; done
	for file in packaging/default/*; do setting "$file" "$SYSCONFDIR/default/${file##*/}"; done
	setting packaging/ipvsadm.rules "$SYSCONFDIR/ipvsadm.rules"
	install -D -m 644 testdata/demo/keepalived.conf "$DESTDIR$share/doc/lvs-keepalived/keepalived.conf.sample"
	install -D -m 644 docs/kernel-module.md "$DESTDIR$share/doc/lvs-dkms/kernel-module.md"
	install -D -m 644 docs/toa.md "$DESTDIR$share/doc/lvs-toa/toa.md"
}

# source MODULE FILE...: sources below /usr/src, where DKMS looks.
source() {
	module=$1
	shift
	rm -rf "$DESTDIR/usr/src/$module-$VERSION"
	for file; do install -D -m "$([ -x "$file" ] && echo 755 || echo 644)" "$file" "$DESTDIR/usr/src/$module-$VERSION/${file#"$from"}"; done
	put 644 "${from}dkms.conf" "/usr/src/$module-$VERSION/dkms.conf"
	put 755 packaging/dkms-build "$PREFIX/lib/$package/dkms-build"
	put 755 packaging/kernel-hook "$SYSCONFDIR/kernel/header_postinst.d/$package"
	put 755 packaging/kernel-hook "$SYSCONFDIR/kernel/postinst.d/$package"
}

modules() {
	package=lvs-dkms from=kmod/
	source lvs kmod/Kbuild kmod/kbuild.sh kmod/prepare.sh kmod/patches/* kmod/src/*.[ch] kmod/src/uapi/*.h
	# DKMS takes two modules without a version number, as the kernel's ip_vs is and
	# ours, for the same and keeps the kernel's; this is how one tells it.
	mkdir -p "$DESTDIR/usr/share/dkms/modules_to_force_install"
	echo lvs_version-override >"$DESTDIR/usr/share/dkms/modules_to_force_install/lvs-dkms"
	package=lvs-toa from=kmod/toa/
	source lvs-toa kmod/toa/Kbuild kmod/toa/*.[ch]
	[ -z "$DESTDIR" ] || return 0
	command -v dkms >/dev/null || { echo "install.sh: dkms is not installed: apt-get install dkms linux-source-6.1 linux-headers-amd64" >&2; exit 1; }
	status=0
	for package in lvs-dkms:lvs lvs-toa:lvs-toa; do
		dkms remove -m "${package#*:}" -v "$VERSION" --all >/dev/null 2>&1 || true
		dkms add -m "${package#*:}" -v "$VERSION"
		"$PREFIX/lib/${package%:*}/dkms-build" "${package#*:}" "$VERSION" || status=1
	done
	exit $status
}

case ${1:-} in
commands|modules) "$1" ;;
*) sed -n '4,7p' "$0" | sed 's/^# //' >&2; exit 2 ;;
esac
