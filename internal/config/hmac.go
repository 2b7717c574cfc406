// SPDX-License-Identifier: Apache-2.0

package config

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/parser"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Limits of auth_hmac.
const (
	hmacKeyMin, hmacKeyMax       = 32, 64 // bytes
	hmacWindowMin, hmacWindowMax = 1, 300 // seconds
	hmacWindowFloor              = 5 * time.Second
	hmacKeyMode                  = fs.FileMode(0o077) // what a key file must not have
)

// hmacDraft is an auth_hmac while it is read.
type hmacDraft struct {
	vrrp.HMAC
	at     Pos
	window opt[time.Duration]
	broken bool
}

var hmacKeywords = keywords[hmacDraft]{
	"key":        {read: readHMACKey},
	"active_key": {read: func(l *loader, n *parser.Node, d *hmacDraft) { d.broken = !l.keyNumber(n, &d.Active) || d.broken }},
	"time_window": {read: func(l *loader, n *parser.Node, d *hmacDraft) {
		if v, ok := l.int(n, 1, hmacWindowMin, hmacWindowMax); ok {
			d.window.put(time.Duration(v) * time.Second)
		}
	}},
	"anti_replay": {read: func(l *loader, n *parser.Node, d *hmacDraft) {
		k, ok := l.oneOf(n, 1, "time", "monotonic")
		d.Monotonic, d.broken = k == 1, d.broken || !ok
	}},
	"mode": {read: func(l *loader, n *parser.Node, d *hmacDraft) {
		k, ok := l.oneOf(n, 1, "enforce", "permissive", "receive-only")
		d.Mode, d.broken = vrrp.HMACMode(k), d.broken || !ok
	}},
}

func (l *loader) keyNumber(n *parser.Node, to *uint8) bool {
	v, ok := l.int(n, 1, 1, 255)
	*to = uint8(v)
	return ok
}

// readHMACKey takes NUMBER and the key: text, hex:DIGITS or file:PATH. It never
// says what the key is.
func readHMACKey(l *loader, n *parser.Node, d *hmacDraft) {
	var id uint8
	if !l.keyNumber(n, &id) {
		d.broken = true
		return
	}
	text, ok := l.word(n, 2, "text, hex:DIGITS or file:PATH")
	if !ok {
		d.broken = true
		return
	}
	key, err := l.hmacKey(text)
	if err == nil && (len(key) < hmacKeyMin || len(key) > hmacKeyMax) {
		err = fmt.Errorf("%d bytes: a key has %d to %d", len(key), hmacKeyMin, hmacKeyMax)
	}
	if _, dup := d.Keys[id]; err == nil && dup {
		err = fmt.Errorf("the number is taken")
	}
	if err != nil {
		l.error(n.ArgPos(1), "key %d: %v", id, err) // the remark shows the word at its place
		d.broken = true
		return
	}
	d.Keys[id] = key
}

func (l *loader) hmacKey(text string) ([]byte, error) {
	if path, ok := strings.CutPrefix(text, "file:"); ok {
		b, mode, err := l.opts.KeyFile(path)
		if err != nil {
			return nil, err
		}
		if mode&hmacKeyMode != 0 {
			return nil, fmt.Errorf("%s is for others than its owner, too: chmod 600 %s", path, path)
		}
		text = string(bytes.TrimRight(b, "\r\n"))
	}
	digits, ok := strings.CutPrefix(text, "hex:")
	if !ok {
		return []byte(text), nil
	}
	key, err := hex.DecodeString(digits)
	if err != nil {
		return nil, fmt.Errorf("hex: expected pairs of the digits 0 to 9 and a to f")
	}
	return key, nil
}

// readKeyFile reads a file that belongs to one user alone.
func readKeyFile(path string) ([]byte, fs.FileMode, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	b, err := os.ReadFile(path)
	return b, info.Mode(), err
}

func readHMAC(l *loader, n *parser.Node, d *instanceDraft) {
	h := &hmacDraft{at: n.Pos(), HMAC: vrrp.HMAC{Keys: map[uint8][]byte{}}}
	walk(l, n.Children, "vrrp_instance/auth_hmac", hmacKeywords, h)
	d.hmac = h
}

// completeHMAC settles auth_hmac; false: it cannot be had, and a router that is to
// be believed by its key must not speak without.
func (l *loader) completeHMAC(d *instanceDraft) bool {
	h, name := d.hmac, d.Machine.Name
	if h == nil {
		return true
	}
	fail := func(format string, args ...any) bool {
		l.report(h.at, Fatal, "(%s) auth_hmac: %s", name, fmt.Sprintf(format, args...))
		return false
	}
	switch {
	case h.broken:
		return fail("a faulty key or mode, see above")
	case h.Active == 0:
		l.warn(h.at, "(%s) auth_hmac without active_key: not in force", name)
		return true
	case h.Keys[h.Active] == nil:
		return fail("key %d of active_key is not defined: add 'key %d file:PATH'", h.Active, h.Active)
	}
	if d.Auth != vrrp.AuthNone {
		l.error(h.at, "(%s) auth_hmac and authentication exclude each other: authentication is ignored", name)
		d.Auth = vrrp.AuthNone
	}
	h.Window = h.window.or(min(max(3*d.Machine.Interval, hmacWindowFloor), hmacWindowMax*time.Second))
	if d.Strict && h.Mode != vrrp.HMACEnforce {
		l.warn(h.at, "(%s) Strict mode: auth_hmac mode must be enforce: resetting", name)
		h.Mode = vrrp.HMACEnforce
	}
	d.HMAC = &h.HMAC
	return true
}
