#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# deb.sh VERSION DIR - the packages lvs-dkms, lvs-ipvsadm, lvs-keepalived and lvs-toa,
# into DIR. bin/ is built already. What belongs to which is in packaging/deb; a path
# that `make install` makes and no package takes is an error.
set -euo pipefail
export LC_ALL=C
cd "$(dirname "$0")/.."
[ $# = 2 ] || { sed -n '4,6s/^# //p' "$0" >&2; exit 2; }
here=packaging/deb version=$1 out=$2
# A number that dpkg takes, newer with each commit: 0~git20261124.1234567 without a tag.
version=${version#v}
[[ $version =~ ^[0-9][A-Za-z0-9.+~-]*$ && ! $version =~ ^[0-9a-f]{7,40}(-dirty)?$ ]] ||
	version=0~git$(git log -1 --format=%cd --date=format:%Y%m%d 2>/dev/null || echo 0).${version//[^A-Za-z0-9]/.}
maintainer='lvs-fnat project <lvs-fnat@users.noreply.github.com>'
date=$(date -u -R -d "@${SOURCE_DATE_EPOCH:-$(git log -1 --format=%ct 2>/dev/null || date +%s)}")

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
umask 022
for what in commands modules; do
	DESTDIR=$work/all PREFIX=/usr SYSCONFDIR=/etc UNITDIR=/lib/systemd/system VERSION=$version packaging/install.sh $what
done
mkdir -p "$out" "$work/all/etc/keepalived"

# unit NAME SCRIPT: the piece of a maintainer script that takes care of a unit.
unit() {
	[ -e "$here/units.$2" ] || return 0
	local enable=yes
	# Without the directors' addresses in its settings it has nothing to do.
	[ "$1" != toa-bpf.service ] || enable=no
	sed "s/@UNIT@/$1/g; s/@ENABLE@/$enable/g" "$here/units.$2"
}

package() {
	local name=$1 root=$work/$1 path file pieces doc
	mkdir -p "$root/DEBIAN"
	while read -r path; do
		for file in "$work/all"$path; do
			[ -e "$file" ] || [ -L "$file" ] || { echo "deb.sh: $name wants $path, which is not installed" >&2; exit 1; }
			mkdir -p "$root$(dirname "${file#"$work/all"}")"
			mv "$file" "$root${file#"$work/all"}"
		done
	done <"$here/$name/files"

	doc=$root/usr/share/doc/$name
	mkdir -p "$doc"
	cp "$here/copyright" "$doc/copyright"
	printf '%s (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- %s  %s\n' "$name" "$version" "$maintainer" "$date" | gzip -9n >"$doc/changelog.gz"
	gzip -9nc CHANGELOG.md >"$doc/CHANGELOG.md.gz"
	find "$root/usr/share/man" -type f -exec gzip -9n {} + 2>/dev/null || true
	[ ! -e "$here/$name/overrides" ] || install -D -m 644 "$here/$name/overrides" "$root/usr/share/lintian/overrides/$name"

	for file in postinst prerm postrm triggers; do
		[ -e "$here/$name/$file" ] || continue
		pieces=$(for path in "$root"/lib/systemd/system/*; do [ ! -e "$path" ] || unit "${path##*/}" $file; done)
		sed "s/@VERSION@/$version/g; /^@UNITS@\$/{r /dev/stdin
d}" "$here/$name/$file" <<<"$pieces" >"$root/DEBIAN/$file"
		[ $file = triggers ] || chmod 755 "$root/DEBIAN/$file"
	done
	(cd "$root" && find etc -type f 2>/dev/null | sort | sed 's#^#/#') >"$root/DEBIAN/conffiles" || true
	[ -s "$root/DEBIAN/conffiles" ] || rm "$root/DEBIAN/conffiles"
	(cd "$root" && find . -path ./DEBIAN -prune -o -type f -print | sed 's#^\./##' | sort | xargs md5sum) >"$root/DEBIAN/md5sums"
	{
		sed "/^Architecture:/a Version: $version\nMaintainer: $maintainer\nPriority: optional\nHomepage: https://github.com/lvs-fnat/lvs\nInstalled-Size: $(du -ks --exclude=DEBIAN "$root" | cut -f1)" "$here/$name/control"
	} >"$root/DEBIAN/control"
	dpkg-deb --root-owner-group -Zxz -z1 --build "$root" "$out/${name}_${version}_$(sed -n 's/^Architecture: //p' "$here/$name/control").deb" >/dev/null
}

for name in lvs-dkms lvs-ipvsadm lvs-keepalived lvs-toa; do package $name; done
left=$(find "$work/all" ! -type d)
[ -z "$left" ] || { printf 'deb.sh: no package takes\n%s\n' "$left" >&2; exit 1; }
ls "$out"/lvs-*_"${version}"_*.deb
