// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"hash/maphash"
	"net/netip"
	"reflect"
	"strings"
	"time"
)

// Target is one check of one server of one service. Service and Server are
// names the caller chose; they come back in events and stand in log lines,
// so keepalived's spelling is a good one: "[192.0.2.1]:tcp:80".
//
// Two targets ask for the same when Server, Kind, Conn and what belongs to the
// kind are equal. With equal Timing one probe serves both. A check whose Timing
// is edited keeps its state.
//
// An engine keeps the targets it is given: they must not be changed after Set.
type Target struct {
	Service string
	Server  string
	Spec    Spec
	// hash is equal for targets that ask for the same; 0: not prepared.
	hash uint64
}

// Kind is the way a check probes, by keepalived's keyword.
type Kind uint8

// The kinds of checks.
const (
	// TCPCheck is TCP_CHECK: the server is alive when a connection stands.
	TCPCheck Kind = iota + 1
	// HTTPGet is HTTP_GET: the server is alive when each URL answers as told.
	HTTPGet
	// SSLGet is SSL_GET: HTTP_GET over TLS. Certificates are not verified.
	SSLGet
	// SMTPCheck is SMTP_CHECK: the server greets and answers HELO.
	SMTPCheck
	// DNSCheck is DNS_CHECK: the server answers a query without an error.
	DNSCheck
	// UDPCheck is UDP_CHECK: a datagram is answered, or at least not refused.
	UDPCheck
	// PingCheck is PING_CHECK: the server answers an ICMP echo request.
	PingCheck
	// MiscCheck is MISC_CHECK: a command says whether the server is alive.
	MiscCheck
	// FileCheck is FILE_CHECK: a number in a file says whether the server is
	// alive, or what to add to its weight.
	FileCheck
	// GRPCCheck is GRPC_CHECK: the server says that it serves
	// (grpc.health.v1.Health).
	GRPCCheck
	// BFDCheck is BFD_CHECK: a BFD session says whether the server is alive.
	BFDCheck
)

// connects tells whether a check of the kind speaks to the server itself.
func (k Kind) connects() bool { return k != MiscCheck && k != FileCheck && k != BFDCheck }

// greets tells whether the log says that a server has been found well for the first
// time, although it was taken for that.
func (k Kind) greets() bool { return k != DNSCheck && k != FileCheck && k != BFDCheck }

var kindNames = [...]string{"", "TCP_CHECK", "HTTP_GET", "SSL_GET", "SMTP_CHECK", "DNS_CHECK", "UDP_CHECK", "PING_CHECK", "MISC_CHECK", "FILE_CHECK", "GRPC_CHECK", "BFD_CHECK"}

// String returns the keyword.
func (k Kind) String() string {
	if k >= TCPCheck && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Spec says how to check.
type Spec struct {
	Kind   Kind
	Conn   Conn
	Timing Timing
	HTTP   HTTP // for HTTPGet and SSLGet only

	// One of these belongs to the kind of its name.
	TLS  *TLS
	SMTP *SMTP
	DNS  *DNS
	UDP  *UDP
	Misc *Misc
	File *File
	GRPC *GRPC
	BFD  *BFD
}

// Conn is how a check reaches the server.
type Conn struct {
	// Addr is where to connect (connect_ip, connect_port).
	Addr netip.AddrPort
	// Bind is the local address and port (bindto, bind_port); zero parts are
	// left to the kernel.
	Bind netip.AddrPort
	// BindIf is the interface to use (bind_if); an IPv6 link-local address
	// needs it, or a zone.
	BindIf string
	// FwMark is set on the check's packets (fwmark); 0 sets none.
	FwMark uint32
	// Proxy is the version of the PROXY protocol that TCP_CHECK, HTTP_GET and
	// SSL_GET begin with (proxy_protocol): 1, 2, or 0 for none.
	Proxy uint8
}

// Timing is when a check runs and when its result counts. Fields have the
// names of keepalived's keywords; [DefaultTiming] has their defaults.
type Timing struct {
	// DelayLoop is the time between the end of one run and the next.
	DelayLoop time.Duration
	// ConnectTimeout bounds the connection, and once more all that follows
	// over it; with HTTP_GET and SMTP_CHECK the wait for the next part of
	// an answer, however small, which as a whole may take ten times as long, or
	// DelayLoop if that is more. For MISC_CHECK it bounds the command (misc_timeout).
	ConnectTimeout time.Duration
	// DelayBeforeRetry is the time between those tries.
	DelayBeforeRetry time.Duration
	// Warmup is the time over which first runs are spread; they begin a
	// second after the check is set.
	Warmup time.Duration
	// Retry is how often a failure of a server that is up is tried again
	// before it counts. The very first run of a check is never tried again.
	Retry uint32
	// Alpha has the server start as down until the check first succeeds.
	Alpha bool
	// LogAllFailures logs each failure and not only changes.
	LogAllFailures bool
}

// DefaultTiming returns what keepalived assumes for a kind of check. Warmup,
// which follows delay_loop there, is that of the default delay_loop.
func DefaultTiming(k Kind) Timing {
	t := Timing{
		DelayLoop:        60 * time.Second,
		ConnectTimeout:   5 * time.Second,
		Retry:            1,
		DelayBeforeRetry: time.Second,
		Warmup:           60 * time.Second,
	}
	switch k {
	case HTTPGet, SSLGet:
		t.DelayBeforeRetry = 3 * time.Second
	case DNSCheck:
		t.Retry, t.DelayBeforeRetry = 3, t.DelayLoop
	case MiscCheck:
		t.Retry, t.ConnectTimeout = 0, t.DelayLoop
	}
	return t
}

// HTTP is what an HTTP_GET asks for.
type HTTP struct {
	// URLs are asked in turn, one a run; each must answer as told.
	URLs []URL
	// VirtualHost is the Host of the requests; empty means address and port.
	VirtualHost string
	// Protocol is the http_protocol.
	Protocol Protocol
	// FastRecovery asks the URLs of a server that is coming back without
	// waiting DelayLoop between them.
	FastRecovery bool
}

// Protocol is a word of http_protocol.
type Protocol uint8

// The protocols a request can name.
const (
	HTTP10      Protocol = iota // 1.0
	HTTP10Close                 // 1.0C: with Connection: close
	HTTP11                      // 1.1: with Connection: close
)

// URL is one request and the answer it must get.
type URL struct {
	// Path is sent as it is; it begins with a slash.
	Path string
	// VirtualHost overrides that of the check.
	VirtualHost string
	// Digest is the MD5 sum of the body in hex; empty means any body.
	Digest string
	// Status lists the codes that are right. Empty means 200 to 299, or any
	// code when a digest is given.
	Status []StatusRange
	// Regex, in the syntax of [CheckRegex], must match the body or, with
	// RegexNoMatch, must not. Only the first MiB of the body counts.
	Regex        string
	RegexNoMatch bool
	// MinOffset is the byte the search begins at, which is the beginning of
	// the text for the expression. MatchBefore, unless 0, is the one before
	// which a match must begin.
	MinOffset, MatchBefore int
	// Compliant overrides TLS.Compliant: 0 as there, 1 yes, 2 no.
	Compliant uint8
}

// StatusRange is a range of HTTP status codes, both ends included.
type StatusRange struct{ Low, High uint16 }

// identity is what makes two targets the same check.
type identity struct {
	server string
	kind   Kind
	conn   Conn
	probe  string // what is particular to the kind
}

// Prepare does what Set does for a target it sees for the first time: it reports what
// Validate does. Afterwards the target must stay as it is.
func (t *Target) Prepare() error {
	if t.hash != 0 {
		return nil
	}
	if err := t.Validate(); err != nil {
		return err
	}
	t.hash = 1 | maphash.Comparable(hashSeed, struct {
		server string
		kind   Kind
		conn   Conn
	}{t.Server, t.Spec.Kind, t.Spec.Conn})
	return nil
}

var hashSeed = maphash.MakeSeed()

// same tells whether two targets ask for the same, whatever their Timing.
func (t *Target) same(u *Target) bool {
	a, b := &t.Spec, &u.Spec
	if t == u {
		return true
	}
	if t.hash != u.hash || t.Server != u.Server || a.Kind != b.Kind || a.Conn != b.Conn {
		return false
	}
	switch a.Kind {
	case TCPCheck, PingCheck:
		return true
	case HTTPGet:
		return reflect.DeepEqual(&a.HTTP, &b.HTTP)
	case SSLGet:
		return reflect.DeepEqual(&a.HTTP, &b.HTTP) && *a.TLS == *b.TLS
	}
	return t.identity() == u.identity()
}

// shared tells whether one probe serves both.
func (t *Target) shared(u *Target) bool { return t.Spec.Timing == u.Spec.Timing && t.same(u) }

// Key is comparable, and equal for targets that are the same check to an
// [Engine]: whose state and timer a Set leaves alone.
func (t *Target) Key() any { return t.identity() }

func (t *Target) identity() identity {
	id := identity{t.Server, t.Spec.Kind, t.Spec.Conn, ""}
	switch s := &t.Spec; s.Kind {
	case HTTPGet:
		id.probe = fmt.Sprintf("%#v", s.HTTP)
	case SSLGet:
		id.probe = fmt.Sprintf("%#v %#v", s.HTTP, s.TLS)
	case SMTPCheck:
		id.probe = fmt.Sprintf("%#v", s.SMTP)
	case DNSCheck:
		id.probe = fmt.Sprintf("%#v", s.DNS)
	case UDPCheck:
		id.probe = fmt.Sprintf("%#v", s.UDP)
	case MiscCheck:
		id.probe = fmt.Sprintf("%#v", s.Misc)
	case FileCheck:
		id.probe = fmt.Sprintf("%#v", s.File)
	case GRPCCheck:
		id.probe = fmt.Sprintf("%#v", s.GRPC)
	case BFDCheck:
		id.probe = fmt.Sprintf("%#v", s.BFD)
	}
	return id
}

// Validate reports the first thing in t that cannot be checked, with t's
// names in front. [Engine.Set] calls it.
func (t *Target) Validate() error {
	if err := t.Spec.validate(); err != nil {
		return fmt.Errorf("%s of %s: %s: %w", t.Server, t.Service, t.Spec.Kind, err)
	}
	return nil
}

func (s *Spec) validate() error {
	if err := s.Conn.validate(s.Kind); err != nil {
		return err
	}
	if err := s.Timing.validate(); err != nil {
		return err
	}
	switch s.Kind {
	case TCPCheck, PingCheck:
		return nil
	case HTTPGet:
		return s.HTTP.validate()
	case SSLGet:
		return errors.Join(s.TLS.validate(), s.HTTP.validate())
	case SMTPCheck:
		return s.SMTP.validate()
	case DNSCheck:
		return s.DNS.Validate()
	case UDPCheck:
		return s.UDP.validate()
	case MiscCheck:
		return s.Misc.validate()
	case FileCheck:
		return s.File.validate()
	case GRPCCheck:
		return s.GRPC.validate()
	case BFDCheck:
		return s.BFD.validate()
	}
	return errors.New("no such kind of check")
}

func (c *Conn) validate(k Kind) error {
	if !k.connects() {
		return nil
	}
	if c.Proxy > 2 {
		return fmt.Errorf("proxy_protocol v%d is not one of v1 and v2", c.Proxy)
	}
	if !c.Addr.Addr().IsValid() {
		return errors.New("no address to connect to: give connect_ip or a real server's address")
	}
	if c.Addr.Port() == 0 && k != PingCheck {
		return errors.New("no port to connect to: give connect_port")
	}
	if b := c.Bind.Addr(); b.IsValid() && b.Unmap().Is4() != c.Addr.Addr().Unmap().Is4() {
		return fmt.Errorf("bindto %s and address %s are of different families", b, c.Addr.Addr())
	}
	return nil
}

func (t *Timing) validate() error {
	for _, d := range []struct {
		name string
		d    time.Duration
		min  time.Duration
	}{
		{"delay_loop", t.DelayLoop, time.Microsecond},
		{"connect_timeout", t.ConnectTimeout, time.Microsecond},
		{"delay_before_retry", t.DelayBeforeRetry, 0},
		{"warmup", t.Warmup, 0},
	} {
		if d.d < d.min {
			return fmt.Errorf("%s %v is less than %v", d.name, d.d, d.min)
		}
	}
	return nil
}

func (h *HTTP) validate() error {
	if len(h.URLs) == 0 {
		return errors.New("no url")
	}
	if h.Protocol > HTTP11 {
		return fmt.Errorf("http_protocol %d is not one of 1.0, 1.0C, 1.1", h.Protocol)
	}
	if !Clean(h.VirtualHost) {
		return fmt.Errorf("virtualhost %q has a blank or control character", h.VirtualHost)
	}
	for i := range h.URLs {
		if err := h.URLs[i].validate(); err != nil {
			return fmt.Errorf("url %d: %w", i+1, err)
		}
	}
	return nil
}

func (u *URL) validate() error {
	switch {
	case u.Path == "":
		return errors.New("no path")
	case !Clean(u.Path):
		return fmt.Errorf("path %q has a blank or control character: write it as %%20 and so on", u.Path)
	case !Clean(u.VirtualHost):
		return fmt.Errorf("virtualhost %q has a blank or control character", u.VirtualHost)
	case u.Digest != "" && (len(u.Digest) != 32 || strings.Trim(u.Digest, "0123456789abcdefABCDEF") != ""):
		return fmt.Errorf("digest %q is not 32 hex digits", u.Digest)
	}
	if u.MinOffset < 0 || u.MatchBefore < 0 {
		return errors.New("an offset is below 0")
	}
	if err := CheckRegex(u.Regex); err != nil {
		return fmt.Errorf("regex: %w", err)
	}
	for _, r := range u.Status {
		if r.Low < 100 || r.High > 599 || r.Low > r.High {
			return fmt.Errorf("status_code %d-%d is not a range within 100 to 599", r.Low, r.High)
		}
	}
	return nil
}

// Clean tells that s can stand in a request line or a header without ending
// it: nothing in it is a blank or a control character.
func Clean(s string) bool {
	return !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r == 0x7f })
}
