// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/popt"
)

// genhashName is the name of the link that makes this program genhash, and of the
// option that does so as the first word.
const genhashName = "genhash"

// genhashTimeout is how long each step may take without -t. The original waits for
// longer than anybody would.
const genhashTimeout = 5 * time.Minute

// What genhash says. Scripts know those that keepalived's has too.
const (
	msgNotIP        = "server should be an IP, not %s"
	msgBadPort      = "invalid port number '%s'"
	msgBadTimeout   = "invalid timeout '%s'"
	msgBadMark      = "invalid fwmark '%s'"
	msgBadProtocol  = "invalid HTTP protocol version '%s'"
	msgUnknown      = "Unknown option %s"
	msgStray        = "Unexpected argument(s): %s"
	msgUnreached    = "Connection failed"
	msgNoNetwork    = "HTTP_CHECK - network unreachable"
	msgSlowConnect  = "Timeout connecting"
	msgNoHandshake  = "SSL handshake/communication error connecting to"
	msgSlowWrite    = "Timeout WEB write"
	msgSlowRead     = "Timeout WEB read"
	msgSlowRest     = "Timeout HTTP read"
	msgSlowTLS      = "Timeout SSL read"
	msgNotRead      = "Read error with"
	msgNotReadTLS   = "SSL read error from"
	msgNothing      = "no data received from remote webserver"
	msgResponseTime = "\nGlobal response time for [%s] = %d usecs\n"
)

// page is what genhash is asked for.
type page struct {
	spec    healthcheck.Spec
	server  netip.Addr
	port    uint16
	verbose bool
	help    bool
	wrong   []string // what is wrong with the command line
}

var genhashRows = []optionRow{
	row('S', "use-ssl", popt.None, "", "fetch over TLS, as SSL_GET does"),
	row('I', "use-sni", popt.None, "", "name the server in the handshake: the host of -V"),
	row('s', "server", popt.Required, "ADDR", "address of the server, IPv4 or IPv6"),
	row('p', "port", popt.Required, "PORT", "its port"),
	row('u', "url", popt.Required, "PATH", "what to fetch, from the slash on"),
	row('V', "use-virtualhost", popt.Required, "HOST", "send this host (default ADDR:PORT)"),
	row('v', "verbose", popt.None, "", "show head, body and hash as bytes, and the time taken"),
	row('h', "help", popt.None, "", "print this"),
	row('m', "fwmark", popt.Required, "MARK", "set this firewall mark on the packets"),
	row('P', "protocol", popt.Required, "WORD", "1.0 (default), 1.0c (with Connection: close) or 1.1"),
	row('t', "timeout", popt.Required, "SECONDS", "give up after so long without progress (default 300)"),
}

// genhashArgs returns the words for genhash, if the command line asks for it: by
// the program's name, or by -T or --genhash, also abbreviated, as the first word.
func genhashArgs(args []string) (program string, rest []string, ok bool) {
	program = args[0]
	if filepath.Base(program) == genhashName {
		return program, args[1:], true
	}
	if len(args) < 2 {
		return "", nil, false
	}
	long := len(args[1]) > len("--") && strings.HasPrefix("--"+genhashName, args[1])
	if args[1] != "-T" && !long {
		return "", nil, false
	}
	return program + " --" + genhashName, args[2:], true
}

// genhash prints the digest of a page, as HTTP_GET and SSL_GET compare it. As with
// the original, trouble with the server is told on standard output and is no
// failure of the program; why stands on standard error.
func (a *app) genhash(ctx context.Context, program string, args []string) int {
	p := parseGenhash(args)
	if p.help || len(p.wrong) > 0 {
		for _, w := range p.wrong {
			fmt.Fprintln(a.stderr, w)
		}
		fmt.Fprint(a.stderr, genhashUsage(program))
		return exitFatal
	}
	var trace *healthcheck.Trace
	var shown dump
	if p.verbose {
		trace = shown.trace(a.stdout)
	}
	start := a.now()
	digest, err := healthcheck.Digest(ctx, p.spec, trace)
	if shown.used {
		shown.end()
		fmt.Fprintln(a.stdout)
	}
	switch fault := (*healthcheck.FetchError)(nil); {
	case err == nil:
		if p.verbose {
			a.showDigest(digest)
		}
		fmt.Fprintln(a.stdout, digest)
	case errors.As(err, &fault):
		out := a.stdout
		told := faultLine(fault, p.spec.Kind == healthcheck.SSLGet)
		if told == msgNothing {
			out = a.stderr
		}
		fmt.Fprintln(out, told)
		fmt.Fprintf(a.stderr, "%s: %s: %v\n", program, p.spec.Conn.Addr, err)
	default:
		fmt.Fprintf(a.stderr, "%s: %v\n", program, err)
		return exitFatal
	}
	if p.verbose {
		fmt.Fprintf(a.stdout, msgResponseTime, p.spec.HTTP.URLs[0].Path, a.now().Sub(start).Microseconds())
	}
	return exitOK
}

// faultLine is what the original says of a fault.
func faultLine(f *healthcheck.FetchError, secure bool) string {
	late := errors.Is(f, os.ErrDeadlineExceeded)
	switch {
	case errors.Is(f, healthcheck.ErrNoAnswer), errors.Is(f, healthcheck.ErrNoStatus):
		return msgNothing
	case f.Step <= healthcheck.Handshake && late:
		return msgSlowConnect
	case errors.Is(f, syscall.ENETUNREACH):
		return msgNoNetwork
	case f.Step == healthcheck.Handshake && !errors.Is(f, syscall.ECONNRESET):
		return msgNoHandshake
	case f.Step <= healthcheck.Handshake:
		return msgUnreached
	case f.Step == healthcheck.Writing && late:
		return msgSlowWrite
	case late && secure:
		return msgSlowTLS
	case late && f.Began:
		return msgSlowRest
	case late:
		return msgSlowRead
	case secure:
		return msgNotReadTLS
	}
	return msgNotRead
}

func parseGenhash(args []string) *page {
	p := &page{spec: healthcheck.Spec{
		Kind: healthcheck.HTTPGet, TLS: new(healthcheck.TLS),
		HTTP:   healthcheck.HTTP{URLs: make([]healthcheck.URL, 1)},
		Timing: healthcheck.Timing{ConnectTimeout: genhashTimeout, DelayLoop: genhashTimeout},
	}}
	table := make([]popt.Option, len(genhashRows))
	for i, r := range genhashRows {
		table[i] = r.Option
	}
	s := popt.New(popt.GetoptLong, popt.NewTable(table), args)
	for {
		m, err := s.Next()
		var bad *popt.Error
		switch {
		case errors.Is(err, io.EOF):
			p.finish(s.Words())
			return p
		case errors.As(err, &bad):
			p.wrong = append(p.wrong, badOption(bad))
		default:
			p.take(m)
		}
	}
}

func badOption(e *popt.Error) string {
	name := e.Word
	if !strings.HasPrefix(name, "--") {
		name = "-" + e.Option
	}
	if e.Kind == popt.Missing {
		return "option " + name + " needs a value"
	}
	return fmt.Sprintf(msgUnknown, name)
}

func (p *page) take(m popt.Match) {
	var ok bool
	switch m.ID {
	case 'S':
		p.spec.Kind = healthcheck.SSLGet
	case 'I':
		p.spec.TLS.SNI = true
	case 's':
		var err error
		p.server, err = netip.ParseAddr(m.Value)
		p.mind(err == nil && p.server.Zone() == "", msgNotIP, m.Value)
	case 'p':
		var n uint32
		n, ok = number(m.Value, 16)
		p.port = uint16(n)
		p.mind(ok && n > 0, msgBadPort, m.Value)
	case 'u':
		p.spec.HTTP.URLs[0].Path = m.Value
	case 'V':
		p.spec.HTTP.VirtualHost = m.Value
	case 'v':
		p.verbose = true
	case 'h':
		p.help = true
	case 'm':
		p.spec.Conn.FwMark, ok = number(m.Value, 32)
		p.mind(ok, msgBadMark, m.Value)
	case 'P':
		p.spec.HTTP.Protocol, ok = genhashProtocols[strings.ToLower(m.Value)]
		p.mind(ok, msgBadProtocol, m.Value)
	case 't':
		var n uint32
		n, ok = number(m.Value, 31)
		p.spec.Timing.ConnectTimeout = time.Duration(n) * time.Second
		p.mind(ok && n > 0, msgBadTimeout, m.Value)
	}
}

var genhashProtocols = map[string]healthcheck.Protocol{
	"1.0": healthcheck.HTTP10, "1.0c": healthcheck.HTTP10Close, "1.1": healthcheck.HTTP11,
}

// number reads a decimal number of that many bits.
func number(s string, bits int) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, bits)
	return uint32(n), err == nil
}

// mind keeps a complaint unless all is well.
func (p *page) mind(ok bool, format, value string) {
	if !ok {
		p.wrong = append(p.wrong, fmt.Sprintf(format, value))
	}
}

// finish looks at the command line as a whole.
func (p *page) finish(words []string) {
	if p.help || len(p.wrong) > 0 {
		return
	}
	p.mind(len(words) == 0, msgStray, strings.Join(words, " "))
	if len(p.wrong) > 0 {
		return
	}
	for _, need := range []struct {
		given bool
		name  string
	}{{p.server.IsValid(), "-s"}, {p.port != 0, "-p"}, {p.spec.HTTP.URLs[0].Path != "", "-u"}} {
		p.mind(need.given, "%s is missing", need.name)
	}
	p.spec.Conn.Addr = netip.AddrPortFrom(p.server, p.port)
}

func genhashUsage(program string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "Usage: %s [-S [-I]] -s ADDR -p PORT -u PATH [OPTION...]\n\n"+
		"Prints the MD5 sum of a page, as digest of HTTP_GET and SSL_GET wants it.\n\n", program)
	writeRows(&b, genhashRows)
	return b.String()
}

// showDigest prints the digest as bytes, in front of the one as digits.
func (a *app) showDigest(digest string) {
	title(a.stdout, "    HTML hash resulting    ")
	sum, _ := hex.DecodeString(digest)
	d := dump{out: a.stdout}
	_, _ = d.Write(sum)
	d.end()
	title(a.stdout, " HTML hash final resulting ")
}

// title prints the line in front of a part.
func title(w io.Writer, text string) {
	bar := strings.Repeat("-", 23)
	fmt.Fprintf(w, "%s[%s]%s\n", bar, text, bar)
}

// dump prints bytes, sixteen a row, however they come.
type dump struct {
	out  io.Writer
	row  []byte
	at   int  // of the row
	used bool // by an answer
}

// trace shows an answer.
func (d *dump) trace(out io.Writer) *healthcheck.Trace {
	d.out = out
	first := true
	return &healthcheck.Trace{
		Head: func(p []byte) {
			title(out, "    HTTP Header Buffer    ")
			head := dump{out: out}
			_, _ = head.Write(p)
			head.end()
			title(out, " HTTP Header Ascii Buffer ")
			fmt.Fprintf(out, "%s\n", p)
			d.used = true
		},
		Body: func(p []byte) {
			if first {
				title(out, "        HTML Buffer        ")
				first = false
			}
			_, _ = d.Write(p)
		},
	}
}

// Write implements io.Writer; a row that is not full waits for more, or for end.
func (d *dump) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		k := min(16-len(d.row), len(p))
		d.row, p = append(d.row, p[:k]...), p[k:]
		if len(d.row) == 16 {
			d.end()
		}
	}
	return n, nil
}

// end prints the last row.
func (d *dump) end() {
	if len(d.row) == 0 {
		return
	}
	var digits, text strings.Builder
	for i := range 16 {
		if i == 8 {
			digits.WriteString("- ")
		}
		switch {
		case i >= len(d.row):
			digits.WriteString("   ")
			text.WriteByte(' ')
			continue
		case d.row[i] < ' ' || d.row[i] > '~':
			text.WriteByte('.')
		default:
			text.WriteByte(d.row[i])
		}
		fmt.Fprintf(&digits, "%02x ", d.row[i])
	}
	fmt.Fprintf(d.out, "%04d  %s  %s\n", d.at, digits.String(), text.String())
	d.at += len(d.row)
	d.row = d.row[:0]
}
