// SPDX-License-Identifier: Apache-2.0

package config

import (
	"encoding/hex"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/parser"
)

// checkDraft is a checker block while it is read.
type checkDraft struct {
	c           Checker
	traits      CheckTraits // of c, until it is complete
	probe       Probe       // likewise
	timing      timing
	broken      bool
	connectIP   opt[netip.Addr]
	connectPort opt[uint16]
	bindIP      opt[netip.Addr]
	bindPort    opt[uint16]
	host        opt[string]
	http        HTTP
	tls         healthcheck.TLS
	smtp        healthcheck.SMTP
	dns         healthcheck.DNS
	udp         healthcheck.UDP
	misc        healthcheck.Misc
	grpc        healthcheck.GRPC
	miscTimeout opt[time.Duration]
	// commanded tells that misc_path was there, if only with a fault.
	commanded bool
	named     bool // name of DNS_CHECK was there
}

const checkerPath = "virtual_server/real_server/"

// connectKeywords are shared by all checkers that open a connection.
func connectKeywords() keywords[checkDraft] {
	return timed(func(c *checkDraft) *timing { return &c.timing }).with(keywords[checkDraft]{
		"connect_ip":   addrInto(func(c *checkDraft) *opt[netip.Addr] { return &c.connectIP }),
		"connect_port": portInto(func(c *checkDraft) *opt[uint16] { return &c.connectPort }),
		"bindto":       addrInto(func(c *checkDraft) *opt[netip.Addr] { return &c.bindIP }),
		"bind_port":    portInto(func(c *checkDraft) *opt[uint16] { return &c.bindPort }),
		"bind_if": {read: func(l *loader, n *parser.Node, c *checkDraft) {
			v, ok := l.word(n, 1, "interface name")
			if ok && len(v) > 15 {
				l.error(n.ArgPos(1), "bind_if: '%s' is longer than an interface name can be, 15 bytes", v)
			} else if ok {
				c.c.BindIf = v
			}
		}},
		"fwmark":           intInto(0, math.MaxUint32, func(c *checkDraft, v int) { c.c.FWMark = uint32(v) }),
		"log_all_failures": boolInto(func(c *checkDraft, v bool) { c.timing.logAll.put(v) }),
		// The field writes the two HTTP words into every checker.
		"nb_get_retry":  intInto(0, math.MaxUint32, func(c *checkDraft, v int) { c.timing.retry.put(v) }),
		"nb_sock_retry": intInto(0, math.MaxUint32, func(c *checkDraft, v int) { c.timing.retry.put(v) }),
	})
}

func addrInto(of func(*checkDraft) *opt[netip.Addr]) keyword[checkDraft] {
	return keyword[checkDraft]{read: func(l *loader, n *parser.Node, c *checkDraft) {
		if v, ok := l.addr(n, 1); ok {
			*of(c) = opt[netip.Addr]{v: v, set: true, at: n.Pos()}
		}
	}}
}

func portInto(of func(*checkDraft) *opt[uint16]) keyword[checkDraft] {
	return keyword[checkDraft]{read: func(l *loader, n *parser.Node, c *checkDraft) {
		if v, ok := l.int(n, 1, 1, 65535); ok {
			of(c).put(uint16(v))
		}
	}}
}

var tcpKeywords, httpKeywords, sslKeywords keywords[checkDraft]

func init() {
	tcpKeywords = connectKeywords().with(proxyKeywords())
	httpKeywords = connectKeywords().with(proxyKeywords()).with(webKeywords()).with(keywords[checkDraft]{
		// The original takes them here too, where they have no meaning.
		"enable_sni": {read: func(*loader, *parser.Node, *checkDraft) {}},
		"sni_name":   stringInto(func(*checkDraft, string) {}),
	})
	sslKeywords = connectKeywords().with(proxyKeywords()).with(webKeywords()).with(keywords[checkDraft]{
		"enable_sni": flagInto(func(c *checkDraft) { c.tls.SNI = true }),
		"sni_name": cleanInto(func(c *checkDraft, v string) {
			c.tls.SNI, c.tls.ServerName = true, v
		}),
		"tls_compliant": boolInto(func(c *checkDraft, v bool) { c.tls.Compliant = v }),
	})
}

// proxyKeywords are those of checks that may begin with a PROXY header.
func proxyKeywords() keywords[checkDraft] {
	return keywords[checkDraft]{"proxy_protocol": {read: func(l *loader, n *parser.Node, c *checkDraft) {
		if k, ok := l.oneOf(n, 1, "v1", "v2"); ok {
			c.c.Proxy = uint8(k + 1)
		}
	}}}
}

// webKeywords are those of HTTP_GET and SSL_GET.
func webKeywords() keywords[checkDraft] {
	return keywords[checkDraft]{
		"virtualhost":   cleanInto(func(c *checkDraft, v string) { c.host.put(v) }),
		"fast_recovery": flagInto(func(c *checkDraft) { c.http.FastRecovery = true }),
		"http_protocol": {read: func(l *loader, n *parser.Node, c *checkDraft) {
			if k, ok := l.oneOf(n, 1, "1.0", "1.1", "1.0C", "1.0c"); ok {
				c.http.Protocol = [...]string{"1.0", "1.1", "1.0C", "1.0C"}[k]
			}
		}},
		"url": {block: true, read: readURL},
	}
}

// tlsURLKeywords are those of a url in SSL_GET.
var tlsURLKeywords keywords[urlDraft]

func init() {
	tlsURLKeywords = keywords[urlDraft]{
		"tls_compliant": boolInto(func(u *urlDraft, v bool) { u.TLSCompliant = &v }),
	}.with(urlKeywords)
}

func readTCPCheck(l *loader, n *parser.Node, r *realDraft) {
	c := r.newCheck(n, TCPCheck)
	walk(l, n.Children, checkerPath+"TCP_CHECK", tcpKeywords, c)
}

func readHTTPGet(l *loader, n *parser.Node, r *realDraft) { readWeb(l, n, r, HTTPGet, httpKeywords) }
func readSSLGet(l *loader, n *parser.Node, r *realDraft)  { readWeb(l, n, r, SSLGet, sslKeywords) }

func readWeb(l *loader, n *parser.Node, r *realDraft, k CheckKind, words keywords[checkDraft]) {
	c := r.newCheck(n, k)
	c.http = HTTP{Protocol: "1.0"}
	walk(l, n.Children, checkerPath+string(k), words, c)
	if len(c.http.URLs) == 0 && !c.broken {
		l.error(n.Pos(), "%s has no url: add 'url { path /PATH }'", k)
		c.broken = true
	}
}

// urlDraft lets a broken url block be told from a sound one.
type urlDraft struct {
	URL
	broken                 bool
	regexFlags, regexFault string
	regexAt                Pos
}

var urlKeywords = keywords[urlDraft]{
	"path": {read: func(l *loader, n *parser.Node, u *urlDraft) {
		v, ok := l.word(n, 1, "path")
		if strings.Contains(v, " ") {
			l.info(n.ArgPos(1), "path: a blank is asked for as %%20, for it would end the request there")
			v = strings.ReplaceAll(v, " ", "%20")
		}
		if ok && !healthcheck.Clean(v) {
			l.error(n.ArgPos(1), "path: '%s' has a control character: write it as %%09 and so on", v)
			ok = false
		}
		u.Path, u.broken = v, u.broken || !ok
	}},
	"virtualhost": cleanInto(func(u *urlDraft, v string) { u.VirtualHost = v }),
	"status_code": {read: readStatusCodes},
	"digest": {read: func(l *loader, n *parser.Node, u *urlDraft) {
		v, ok := l.word(n, 1, "MD5 digest")
		if !ok {
			u.broken = true
			return
		}
		if _, err := hex.DecodeString(v); err != nil || len(v) != 32 {
			l.error(n.ArgPos(1), "digest: invalid value '%s': expected 32 hex digits, as genhash prints them", v)
			u.broken = true
			return
		}
		if u.Digest != "" {
			l.warn(n.Pos(), "Digest '%s' is a duplicate: this one is ignored", v)
			return
		}
		u.Digest = strings.ToLower(v)
	}},
	"regex":            {read: readRegex},
	"regex_options":    {read: readRegexOptions},
	"regex_no_match":   flagInto(func(u *urlDraft) { u.RegexNoMatch = true }),
	"regex_min_offset": intInto(0, math.MaxUint32, func(u *urlDraft, v int) { u.MinOffset = v }),
	"regex_max_offset": intInto(0, math.MaxUint32, func(u *urlDraft, v int) { u.MatchBefore = v + 1 }),
	// The matcher here needs no stack.
	"regex_stack": {read: func(*loader, *parser.Node, *urlDraft) {}},
}

// regexOptions are the options of PCRE2 as flags of package regexp; those
// with "" change nothing here.
var regexOptions = map[string]string{
	"caseless": "i", "dotall": "s", "multiline": "m", "ungreedy": "U",
	"auto_callout": "", "dollar_endonly": "", "dupnames": "", "never_backslash_c": "", "never_ucp": "", "never_utf": "",
	"extended": "x", "no_auto_capture": "", "no_auto_possess": "", "no_dotstar_anchor": "", "no_start_optimise": "", "utf": "",
}

func readRegexOptions(l *loader, n *parser.Node, u *urlDraft) {
	if len(n.Words) < 2 {
		l.warn(n.Pos(), "regex_options: option missing: the line has no effect")
	}
	for i := 1; i < len(n.Words); i++ {
		flag, ok := regexOptions[n.Arg(i)]
		if u.regexFlags += flag; !ok {
			u.regexFault = "option " + n.Arg(i) + " has no counterpart"
		}
	}
}

func readRegex(l *loader, n *parser.Node, u *urlDraft) {
	words, err := parser.Unquote(n.Raw)
	switch {
	case err != nil:
		l.error(n.ArgPos(1), "regex: %v", err)
		u.broken = true
	case len(words) == 0 || words[0] == "":
		_, _ = l.word(n, 1, "regular expression")
		u.broken = true
	default:
		u.Regex, u.regexAt = words[0], n.ArgPos(1)
	}
}

// regex joins expression and options. One that cannot be had does not keep
// the file from loading: it may be right for the original, whose syntax has more.
func (l *loader) regex(u *urlDraft) {
	if u.Regex == "" {
		return
	}
	if u.regexFlags != "" {
		u.Regex = "(?" + u.regexFlags + ")" + u.Regex
	}
	if err := healthcheck.CheckRegex(u.Regex); err != nil && u.regexFault == "" {
		u.regexFault = err.Error()
	}
	if u.regexFault != "" {
		l.warn(u.regexAt, "regex is not in force here, the page is judged by status and digest only: %s", u.regexFault)
		u.Regex = ""
	}
}

func readURL(l *loader, n *parser.Node, c *checkDraft) {
	u := urlDraft{URL: URL{Pos: n.Pos()}}
	words := urlKeywords
	if c.c.Kind == SSLGet {
		words = tlsURLKeywords
	}
	walk(l, n.Children, checkerPath+string(c.c.Kind)+"/url", words, &u)
	l.regex(&u)
	if u.Path == "" && !u.broken {
		l.error(n.Pos(), "url has no path: add 'path /PATH'")
		u.broken = true
	}
	if u.Digest == "" && len(u.StatusCodes) == 0 {
		u.StatusCodes = []CodeRange{{200, 299}}
	}
	c.broken = c.broken || u.broken
	c.http.URLs = append(c.http.URLs, u.URL)
}

// readStatusCodes takes codes and ranges, 100 to 599.
func readStatusCodes(l *loader, n *parser.Node, u *urlDraft) {
	if _, ok := l.word(n, 1, "status code"); !ok {
		u.broken = true
		return
	}
	for i := 1; i < len(n.Words); i++ {
		lo, hi, isRange := strings.Cut(n.Arg(i), "-")
		if !isRange {
			hi = lo
		}
		a, errA := strconv.Atoi(lo)
		b, errB := strconv.Atoi(hi)
		if errA != nil || errB != nil || a < 100 || b > 599 || b < a {
			l.error(n.ArgPos(i), "status_code: invalid value '%s': expected codes from 100 to 599, such as 200 or 200-299", n.Arg(i))
			u.broken = true
			continue
		}
		u.StatusCodes = append(u.StatusCodes, CodeRange{a, b})
	}
}

// Defaults of every checker; HTTP_GET and SSL_GET wait longer before they try again.
const (
	delayLoopDefault      = 60 * time.Second
	connectTimeoutDefault = 5 * time.Second
	retryDefault          = 1
	dnsRetryDefault       = 3
	tcpRetryDelayDefault  = 1 * time.Second
	httpRetryDelayDefault = 3 * time.Second
)

// completeCheck resolves a checker: its own value, else the real server's, else the virtual server's.
func (l *loader) completeCheck(d *draft, r *realDraft, c *checkDraft) (Checker, bool) {
	if c.broken {
		return Checker{}, false
	}
	own, rs, vs := &c.timing, &r.timing, &d.timing
	out := c.c
	out.DelayLoop = own.delayLoop.or(delayLoopDefault, rs.delayLoop, vs.delayLoop)
	retryDelay, retry := tcpRetryDelayDefault, retryDefault
	switch out.Kind {
	case HTTPGet, SSLGet:
		retryDelay = httpRetryDelayDefault
	case DNSCheck:
		retryDelay, retry = out.DelayLoop, dnsRetryDefault
	case MiscCheck:
		retry = 0
	}
	out.DelayBeforeRetry = own.delayBeforeRetry.or(retryDelay, rs.delayBeforeRetry, vs.delayBeforeRetry)
	out.Warmup = own.warmup.or(out.DelayLoop, rs.warmup, vs.warmup)
	out.ConnectTimeout = own.connectTimeout.or(connectTimeoutDefault, rs.connectTimeout, vs.connectTimeout)
	out.Retry = own.retry.or(retry, rs.retry, vs.retry)
	out.Alpha = own.alpha.or(false, rs.alpha, vs.alpha)
	out.LogAllFailures = own.logAll.or(l.cfg.Global.CheckerLogAllFailures)
	out.Connect = netip.AddrPortFrom(c.connectIP.or(r.rs.Addr.Addr()), c.connectPort.or(r.checked))
	if out.Kind == MiscCheck {
		out.ConnectTimeout = c.miscTimeout.or(out.DelayLoop)
		out.Connect = netip.AddrPort{}
		misc := c.misc
		out.Misc = &misc
		return out, true
	}
	if out.Connect.Port() == 0 && out.Kind != PingCheck {
		l.error(out.Pos, "%s of %s has no port to connect to: add 'connect_port NUMBER'", out.Kind, r.rs.Addr.Addr())
		return out, false
	}
	if c.bindIP.set && c.bindIP.v.Is4() != out.Connect.Addr().Is4() {
		l.error(c.bindIP.at, "bindto: %s is %s, but the check connects to %s", c.bindIP.v, FamilyOf(c.bindIP.v), out.Connect)
		return out, false
	}
	if c.bindIP.set || c.bindPort.set {
		any := netip.IPv6Unspecified()
		if out.Connect.Addr().Is4() {
			any = netip.IPv4Unspecified()
		}
		out.BindTo = netip.AddrPortFrom(c.bindIP.or(any), c.bindPort.v)
	}
	out.probe(c, c.host.or(d.host, r.host))
	return out, true
}

// probe fills in what belongs to the kind.
func (out *Checker) probe(c *checkDraft, host string) {
	switch out.Kind {
	case HTTPGet, SSLGet:
		h := c.http
		h.VirtualHost = host
		out.HTTP = &h
		if out.Kind == SSLGet {
			tls := c.tls
			out.TLS = &tls
		}
	case SMTPCheck:
		smtp := c.smtp
		out.SMTP = &smtp
	case DNSCheck:
		dns := c.dns
		out.DNS = &dns
	case UDPCheck:
		udp := c.udp
		out.UDP = &udp
	case GRPCCheck:
		grpc := c.grpc
		out.GRPC = &grpc
	}
}
