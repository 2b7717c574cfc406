// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/parser"
)

var pingKeywords, smtpKeywords, dnsKeywords, udpKeywords, miscKeywords, grpcKeywords keywords[checkDraft]

func init() {
	pingKeywords = connectKeywords()
	smtpKeywords = connectKeywords().with(keywords[checkDraft]{
		"helo_name": cleanInto(func(c *checkDraft, v string) { c.smtp.Helo = v }),
		"host":      {block: true, read: readMailHost},
	})
	dnsKeywords = connectKeywords().with(keywords[checkDraft]{
		"type": {read: readDNSType},
		"name": {read: readDNSName},
	})
	udpKeywords = connectKeywords().with(keywords[checkDraft]{
		"payload":          {read: readPayload},
		"require_reply":    {read: readReply},
		"min_reply_length": intInto(0, 65535, func(c *checkDraft, v int) { c.udp.MinReply = v }),
		"max_reply_length": intInto(0, 65535, func(c *checkDraft, v int) { c.udp.MaxReply = v }),
	})
	grpcKeywords = connectKeywords().with(keywords[checkDraft]{
		"service": {read: func(l *loader, n *parser.Node, c *checkDraft) {
			switch v, ok := l.word(n, 1, "name of a service"); {
			case !ok:
			case len(v) > 1<<12:
				l.error(n.ArgPos(1), "service: a name of %d bytes is longer than 4096", len(v))
			default:
				c.grpc.Service = v
			}
		}},
		"authority": cleanInto(func(c *checkDraft, v string) { c.grpc.Authority = v }),
		"tls":       boolInto(func(c *checkDraft, v bool) { c.grpc.TLS = v }),
	})
	miscKeywords = timed(func(c *checkDraft) *timing { return &c.timing }).with(keywords[checkDraft]{
		"misc_path":        {read: readMiscPath},
		"misc_timeout":     {read: readMiscTimeout},
		"misc_dynamic":     boolInto(func(c *checkDraft, v bool) { c.misc.Dynamic = v }),
		"user":             {read: readMiscUser},
		"log_all_failures": boolInto(func(c *checkDraft, v bool) { c.timing.logAll.put(v) }),
	})
	// It connects to nothing; misc_timeout bounds it.
	delete(miscKeywords, "connect_timeout")
}

func readGRPCCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, GRPCCheck)
	walk(l, n.Children, checkerPath+"GRPC_CHECK", grpcKeywords, c)
}

func readSMTPCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, SMTPCheck)
	c.smtp = healthcheck.SMTP{Helo: healthcheck.DefaultHelo}
	walk(l, n.Children, checkerPath+"SMTP_CHECK", smtpKeywords, c)
}

// readMailHost takes the block that older releases had.
func readMailHost(l *loader, n *parser.Node, c *checkDraft) {
	l.info(n.Pos(), "SMTP_CHECK host block is deprecated: write its keywords into SMTP_CHECK itself")
	walk(l, n.Children, checkerPath+"SMTP_CHECK/host", connectKeywords(), c)
}

func readDNSCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, DNSCheck)
	c.dns = healthcheck.DNS{Name: ".", Type: "SOA"}
	walk(l, n.Children, checkerPath+"DNS_CHECK", dnsKeywords, c)
}

func readDNSType(l *loader, n *parser.Node, c *checkDraft) {
	v, ok := l.word(n, 1, "type of record")
	up := strings.ToUpper(v)
	if _, known := healthcheck.DNSTypes[up]; ok && !known {
		l.error(n.ArgPos(1), "type: unknown type '%s': expected one of %s", v,
			strings.Join(slices.Sorted(maps.Keys(healthcheck.DNSTypes)), ", "))
		ok = false
	}
	c.broken = c.broken || !ok
	c.dns.Type = up
}

func readDNSName(l *loader, n *parser.Node, c *checkDraft) {
	if c.named {
		l.warn(n.Pos(), "DNS_CHECK name is already set: this one is ignored")
		return
	}
	c.named = true
	v, ok := l.word(n, 1, "name")
	if d := (healthcheck.DNS{Name: v, Type: "SOA"}); ok {
		if err := d.Validate(); err != nil {
			l.error(n.ArgPos(1), "name: '%s' is no name that can be asked for: %v", v, err)
			ok = false
		}
	}
	c.broken = c.broken || !ok
	c.dns.Name = v
}

func readUDPCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, UDPCheck)
	c.udp = healthcheck.UDP{Payload: healthcheck.DefaultPayload, MaxReply: 255}
	walk(l, n.Children, checkerPath+"UDP_CHECK", udpKeywords, c)
	if c.udp.MinReply > c.udp.MaxReply {
		l.error(n.Pos(), "UDP_CHECK: min_reply_length %d is above max_reply_length %d: raise the latter", c.udp.MinReply, c.udp.MaxReply)
		c.broken = true
	}
}

func readPayload(l *loader, n *parser.Node, c *checkDraft) {
	if _, ok := l.word(n, 1, "hex digits"); !ok {
		c.broken = true
		return
	}
	p, _, ok := l.hex(n, false)
	if ok && len(p) > 65507 {
		l.error(n.ArgPos(1), "payload: %d bytes are more than a datagram can hold, 65507", len(p))
		ok = false
	}
	c.broken = c.broken || !ok
	c.udp.Payload = p
}

func readReply(l *loader, n *parser.Node, c *checkDraft) {
	value, mask, ok := l.hex(n, true)
	c.broken = c.broken || !ok
	c.udp.RequireReply, c.udp.Reply, c.udp.Mask = true, value, mask
}

// hex reads all arguments of n as pairs of hex digits, parted anywhere. With
// wild an X stands for any digit, and is 0 in the mask.
func (l *loader) hex(n *parser.Node, wild bool) (value, mask string, ok bool) {
	var v, m []byte
	digits := 0
	for i := 1; i < len(n.Words); i++ {
		for k, r := range n.Arg(i) {
			if r == ' ' || r == '\t' {
				continue // of a quoted argument
			}
			d := strings.IndexRune("0123456789abcdef", lower(r))
			bits := byte(15)
			if wild && lower(r) == 'x' {
				d, bits = 0, 0
			}
			if d < 0 {
				at := n.ArgPos(i)
				at.Column += k
				l.error(at, "%s: '%c' is not a hex digit", n.Key(), r)
				return "", "", false
			}
			if digits++; digits%2 == 1 {
				v, m = append(v, byte(d)<<4), append(m, bits<<4)
			} else {
				v[len(v)-1] |= byte(d)
				m[len(m)-1] |= bits
			}
		}
	}
	if digits%2 != 0 {
		l.error(n.ArgPos(1), "%s: %d hex digits are not whole bytes: add one", n.Key(), digits)
		return "", "", false
	}
	return string(v), string(m), true
}

func lower(r rune) rune {
	if r >= 'A' && r <= 'Z' {
		return r + 'a' - 'A'
	}
	return r
}

func readPingCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, PingCheck)
	walk(l, n.Children, checkerPath+"PING_CHECK", pingKeywords, c)
}

func readMiscCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, MiscCheck)
	walk(l, n.Children, checkerPath+"MISC_CHECK", miscKeywords, c)
	if !c.commanded {
		l.error(n.Pos(), "MISC_CHECK has no command: add 'misc_path \"COMMAND ARGUMENTS\"'")
		c.broken = true
	}
}

func readMiscPath(l *loader, n *parser.Node, c *checkDraft) {
	c.commanded = true
	words, err := parser.Unquote(n.Raw)
	switch {
	case err == nil && len(words) == 0:
		_, _ = l.word(n, 1, "command")
		c.broken = true
		return
	case len(words) > 1:
		l.info(n.Pos(), "misc_path: what follows '%s' is ignored: write command and arguments within one pair of quotes", words[0])
	}
	var args []string
	if err == nil {
		args, err = Script{Command: words[0]}.Args()
	}
	if err == nil && (len(args) == 0 || args[0] == "") {
		err = errors.New("no command")
	}
	if err != nil {
		l.error(n.ArgPos(1), "misc_path: %v", err)
		c.broken = true
		return
	}
	c.misc.Args = args
	c.misc.Shell, _ = shellText(args)
}

func readMiscTimeout(l *loader, n *parser.Node, c *checkDraft) {
	if v, ok := l.int(n, 1, 0, 4294); ok && v > 0 {
		c.miscTimeout.put(time.Duration(v) * time.Second)
	}
}

func readMiscUser(l *loader, n *parser.Node, c *checkDraft) {
	v, ok := l.word(n, 1, "user")
	if ok {
		if _, err := l.user(v); err != nil {
			l.error(n.ArgPos(1), "user: %v", err)
			ok = false
		}
	}
	c.broken = c.broken || !ok
	c.misc.User, c.misc.Group = v, n.Arg(2)
}
