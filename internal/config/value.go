// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/parser"
)

// word gives argument i of n, or reports that it is missing: a fault that ends
// the original, except with the keywords of grumbling.
func (l *loader) word(n *parser.Node, i int, want string) (string, bool) {
	if i < len(n.Words) {
		return n.Arg(i), true
	}
	if grumbling[n.Key()] {
		return l.mildWord(n, i, want)
	}
	d := l.report(n.ArgPos(i), Fatal, "%s: %s missing", n.Key(), want)
	d.Class = Missing
	return "", false
}

// mildWord is word for a keyword that the original itself looks at, and passes over.
func (l *loader) mildWord(n *parser.Node, i int, want string) (string, bool) {
	if i < len(n.Words) {
		return n.Arg(i), true
	}
	l.error(n.ArgPos(i), "%s: %s missing", n.Key(), want)
	return "", false
}

// grumbling are the keywords without whose word the original runs on; what it
// does for each has been seen with release 2.2.7.
var grumbling = func() map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(`ca certificate key password
		instance net_namespace net_namespace_ipvs router_id notification_email_from default_interface
		checker_priority checker_rt_priority checker_cpu_affinity vrrp_priority vrrp_rt_priority vrrp_cpu_affinity
		bfd_priority bfd_rt_priority bfd_cpu_affinity min_auto_priority_delay
		lvs_netlink_cmd_rcv_bufs lvs_netlink_monitor_rcv_bufs process_monitor_rcv_bufs
		notify_fifo lvs_notify_fifo vrrp_notify_fifo notify_fifo_script lvs_notify_fifo_script vrrp_notify_fifo_script
		lvs_sync_daemon lvs_timeouts reload_time_file tmp_config_directory snmp_socket dbus_service_name
		script_user startup_script shutdown_script startup_script_timeout shutdown_script_timeout
		file user misc_path helo_name payload snmp_name virtualhost`) {
		m[w] = true
	}
	return m
}()

// int reads argument i as a decimal number from lo to hi.
func (l *loader) int(n *parser.Node, i int, lo, hi int64) (int64, bool) {
	s, ok := l.word(n, i, "number")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseInt(s, 10, 64)
	switch {
	case err != nil && !errors.Is(err, strconv.ErrRange):
		l.error(n.ArgPos(i), "%s: invalid number '%s': expected %d to %d", n.Key(), s, lo, hi)
	case err != nil || v < lo || v > hi:
		l.error(n.ArgPos(i), "%s: number '%s' outside range [%d, %d]", n.Key(), s, lo, hi)
	default:
		return v, true
	}
	return 0, false
}

// seconds reads argument i as decimal seconds from lo to hi; digits behind the
// sixth are rounded, as the original does, with a remark.
func (l *loader) seconds(n *parser.Node, i int, lo, hi time.Duration) (time.Duration, bool) {
	s, ok := l.word(n, i, "seconds")
	if !ok {
		return 0, false
	}
	d, ok := parseSeconds(s)
	switch {
	case !ok:
		l.error(n.ArgPos(i), "%s: invalid number '%s': expected seconds, such as 3 or 0.5", n.Key(), s)
	case d < lo || d > hi:
		l.error(n.ArgPos(i), "%s: number '%s' outside range [%s, %s]", n.Key(), s, plainSeconds(lo), plainSeconds(hi))
	default:
		if _, frac, _ := strings.Cut(s, "."); len(frac) > 6 {
			l.warn(n.ArgPos(i), "%s: number '%s' has more than 6 decimal places: rounded", n.Key(), s)
		}
		return d, true
	}
	return 0, false
}

func plainSeconds(d time.Duration) string {
	if d == longTime {
		return longest
	}
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64)
}

// parseSeconds takes digits with an optional fraction, nothing else: no sign, no
// exponent. What the original cannot hold is longer than every limit.
func parseSeconds(s string) (time.Duration, bool) {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && s[i] != '.' {
			return 0, false
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	if err != nil {
		return 0, false
	}
	if f > longestSeconds {
		return math.MaxInt64, true
	}
	return time.Duration(math.Round(min(f, endless)*1e6)) * time.Microsecond, true
}

// bool reads argument i as on/true/yes or off/false/no; missing means true.
func (l *loader) bool(n *parser.Node, i int) (value, ok bool) {
	if i >= len(n.Words) {
		return true, true
	}
	switch s := n.Arg(i); s {
	case "on", "true", "yes":
		return true, true
	case "off", "false", "no":
		return false, true
	default:
		l.error(n.ArgPos(i), "%s: invalid value '%s': expected on or off", n.Key(), s)
		return false, false
	}
}

// oneOf reads argument i as one of words and gives its index.
func (l *loader) oneOf(n *parser.Node, i int, words ...string) (int, bool) {
	s, ok := l.word(n, i, "one of "+strings.Join(words, ", "))
	if !ok {
		return 0, false
	}
	for k, w := range words {
		if s == w {
			return k, true
		}
	}
	l.error(n.ArgPos(i), "%s: invalid value '%s': expected one of %s", n.Key(), s, strings.Join(words, ", "))
	return 0, false
}

// addr reads argument i as an address.
func (l *loader) addr(n *parser.Node, i int) (netip.Addr, bool) {
	s, ok := l.word(n, i, "address")
	if !ok {
		return netip.Addr{}, false
	}
	a, err := parser.ParseAddr(s)
	if err != nil {
		l.valueError(n, i, err)
		return netip.Addr{}, false
	}
	return a.Unmap(), true
}

// addrPort reads argument i as an address and argument i+1, when there is one,
// as its port; ADDRESS:PORT in one word is understood as well.
func (l *loader) addrPort(n *parser.Node, i int) (netip.AddrPort, bool) {
	s, ok := l.word(n, i, "address")
	if !ok {
		return netip.AddrPort{}, false
	}
	if bare, mask, ok := strings.Cut(s, "/"); ok {
		l.info(n.ArgPos(i), "%s: '/%s' is ignored", n.Key(), mask)
		s = bare
	}
	ap, err := parser.ParseAddrPort(s)
	if err != nil {
		l.valueError(n, i, err)
		return netip.AddrPort{}, false
	}
	if ap.Addr().Zone() != "" {
		l.error(n.ArgPos(i), "%s: '%s' has a zone: expected an address without", n.Key(), s)
		return netip.AddrPort{}, false
	}
	port := ap.Port()
	if i+1 < len(n.Words) {
		if port, ok = l.port(n, i+1); !ok {
			return netip.AddrPort{}, false
		}
	}
	return netip.AddrPortFrom(ap.Addr().Unmap(), port), true
}

func (l *loader) port(n *parser.Node, i int) (uint16, bool) {
	s, ok := l.word(n, i, "port")
	if !ok {
		return 0, false
	}
	p, err := parser.ParsePort(s)
	if err != nil {
		l.valueError(n, i, err)
	}
	return p, err == nil
}

// valueError reports a value of parser/value.go at the byte that is wrong.
func (l *loader) valueError(n *parser.Node, i int, err error) {
	p := n.ArgPos(i)
	if ve, ok := errors.AsType[*parser.ValueError](err); ok {
		p.Column += ve.Offset
	}
	l.error(p, "%s: invalid value %v", n.Key(), err)
}

// setters for the plain kinds of keyword.

func intInto[T any](lo, hi int64, set func(*T, int)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if v, ok := l.int(n, 1, lo, hi); ok {
			set(to, int(v))
		}
	}}
}

func secondsInto[T any](lo, hi time.Duration, set func(*T, time.Duration)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if v, ok := l.seconds(n, 1, lo, hi); ok {
			set(to, v)
		}
	}}
}

func boolInto[T any](set func(*T, bool)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if v, ok := l.bool(n, 1); ok {
			set(to, v)
		}
	}}
}

// flagInto is for words without argument; what follows them is ignored, as by
// the original, but 'alpha off' switches alpha on and deserves a remark.
func flagInto[T any](set func(*T)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if len(n.Words) > 1 {
			l.info(n.ArgPos(1), "%s has no argument: '%s' is ignored, the word alone switches it on", n.Key(), n.Arg(1))
		}
		set(to)
	}}
}

func stringInto[T any](set func(*T, string)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		if v, ok := l.word(n, 1, "value"); ok {
			set(to, v)
		}
	}}
}

// cleanInto is stringInto for what stands in a request: a blank would end it there.
func cleanInto[T any](set func(*T, string)) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		switch v, ok := l.word(n, 1, "value"); {
		case !ok:
		case v == "":
			l.error(n.ArgPos(1), "%s: value is empty", n.Key())
		case !healthcheck.Clean(v):
			l.error(n.ArgPos(1), "%s: '%s' has a blank or a control character, which would end the request there", n.Key(), v)
		default:
			set(to, v)
		}
	}}
}

// onceInto is for names that only the first line may set, as in the original.
func onceInto[T any](of func(*T) *string) keyword[T] {
	return keyword[T]{read: func(l *loader, n *parser.Node, to *T) {
		v, ok := l.word(n, 1, "name")
		switch s := of(to); {
		case ok && *s != "":
			l.warn(n.Pos(), "%s is already set to '%s': this one is ignored", n.Key(), *s)
		case ok:
			*s = v
		}
	}}
}

// Limits of the original's decimal seconds.
const (
	tick           = time.Microsecond
	longestConnect = 4294967295 * time.Microsecond
	longTime       = endless * time.Second
	endless        = 1_000_000_000 // seconds; what is longer counts as this
	// 64 bits of microseconds.
	longestSeconds = 18446744073709.551614
	longest        = "18446744073709.551614"
)
