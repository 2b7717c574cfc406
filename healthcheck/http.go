// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"hash"
	"io"
	"strconv"
	"strings"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// headLimit bounds the status line and headers of a reply, in bytes.
const headLimit = 64 << 10

// exchange is one request and its reply. The head is read leniently and not
// with net/http: what keepalived takes for a living server must not die here
// of a header that is not quite right.
type exchange struct {
	outbox
	url *URL

	head   []byte
	inBody bool
	code   int
	length int64 // Content-Length; -1 when unknown
	got    int64
	ended  bool // by the server's end of stream
	sum    hash.Hash
	// regex is nil when the reply need not match; reply then is empty. As with
	// keepalived its head is a part of it.
	regex *pattern
	reply []byte
}

// searchLimit is how much of a reply is kept to be searched, in bytes.
const searchLimit = 1 << 20

func newExchange(t *Target, url int, patterns []*pattern) *exchange {
	u := &t.Spec.HTTP.URLs[url]
	x := &exchange{url: u, length: -1, outbox: outbox{append(proxyHeader(proxyOf(&t.Spec)), request(&t.Spec, u)...)}}
	if u.Digest != "" {
		x.sum = md5.New()
	}
	if patterns != nil {
		x.regex = patterns[url]
	}
	return x
}

// compile makes the expressions of all URLs, nil for one without. There is no
// list when none has one, as with most checks.
func compile(urls []URL) ([]*pattern, error) {
	var list []*pattern
	for i := range urls {
		if urls[i].Regex == "" {
			continue
		}
		re, err := newPattern(urls[i].Regex)
		if err != nil {
			return nil, err
		}
		if list == nil {
			list = make([]*pattern, len(urls))
		}
		list[i] = re
	}
	return list, nil
}

// matches tells whether the expression is found where it may be.
func (x *exchange) matches() (bool, error) {
	if x.url.MinOffset > len(x.reply) {
		return false, nil
	}
	at, err := x.regex.find(x.reply, x.url.MinOffset)
	return at >= 0 && (x.url.MatchBefore == 0 || at < x.url.MatchBefore), err
}

func request(s *Spec, u *URL) []byte {
	host := u.VirtualHost
	if host == "" {
		host = s.HTTP.VirtualHost
	}
	if host == "" {
		host = s.Conn.Addr.String()
	}
	version, connection := "1.0", ""
	if s.HTTP.Protocol == HTTP11 {
		version = "1.1"
	}
	if s.HTTP.Protocol != HTTP10 {
		connection = "Connection: close\r\n"
	}
	return []byte("GET " + u.Path + " HTTP/" + version + "\r\n" +
		"User-Agent: KeepAliveClient\r\n" + connection +
		"Host: " + host + "\r\n\r\n")
}

func (x *exchange) lineTimeout(t *Target) string {
	if !x.sent() {
		return msgNoExchange(t, "Write timeout to")
	}
	return msgNoExchange(t, "Read timeout from")
}

func (x *exchange) lineWrite(t *Target) string { return msgNoExchange(t, "Write failure to") }
func (x *exchange) lineRead(t *Target) string  { return msgNoExchange(t, "Read failure from") }

func (x *exchange) timeout() result { return failed(x.lineTimeout) }

// receive takes a piece of the reply.
func (x *exchange) receive(fd int, buf []byte) (r result, done bool) {
	n, err := poll.Read(fd, buf)
	switch {
	case err == io.EOF:
		x.ended = true
		return x.end(), true
	case err != nil:
		return failed(x.lineRead), true
	}
	return x.take(buf[:n])
}

// take works off a piece of the reply.
func (x *exchange) take(p []byte) (r result, done bool) {
	if !x.inBody {
		x.head = append(x.head, p...)
		end := headEnd(x.head)
		if end < 0 {
			if len(x.head) > headLimit {
				return failed(x.lineNoStatus), true
			}
			return result{}, false
		}
		p = x.head[end:]
		x.inBody = true
		x.code, x.length = parseHead(x.head[:end])
		if x.regex != nil {
			x.reply = append(x.reply, x.head[:end]...)
		}
		if !x.statusOK() {
			return failed(x.lineStatus), true
		}
	}
	if x.length >= 0 {
		p = p[:min(int64(len(p)), x.length-x.got)]
	}
	x.got += int64(len(p))
	if x.sum != nil {
		x.sum.Write(p)
	}
	if x.regex != nil {
		x.reply = append(x.reply, p[:min(len(p), max(0, searchLimit-len(x.reply)))]...)
	}
	// A server that keeps the connection open would else be a dead one.
	if x.got == x.length {
		return x.end(), true
	}
	return result{}, false
}

// end judges the complete reply.
func (x *exchange) end() result {
	if !x.inBody {
		if len(x.head) == 0 {
			return failed(x.lineRead)
		}
		return failed(x.lineNoStatus)
	}
	if x.regex != nil {
		// A search that found no end has found out nothing about the page.
		if found, err := x.matches(); err != nil || found == x.url.RegexNoMatch {
			return failed(func(t *Target) string { return msgRegex(t, x.url) })
		}
	}
	if x.sum == nil {
		return passed()
	}
	sum := x.digest()
	if !strings.EqualFold(sum, x.url.Digest) {
		return failed(func(t *Target) string { return msgDigest(t, x.url.Path, sum) })
	}
	return passed()
}

// digest is that of the body so far, as hex digits.
func (x *exchange) digest() string { return hex.EncodeToString(x.sum.Sum(nil)) }

func (x *exchange) lineNoStatus(t *Target) string { return msgNoStatus(t, x.url.Path) }

func (x *exchange) lineStatus(t *Target) string {
	if x.code == 0 {
		return msgNoStatus(t, x.url.Path)
	}
	return msgStatus(t, x.url.Path, x.code)
}

func (x *exchange) statusOK() bool {
	switch {
	case x.code == 0:
		return false
	case len(x.url.Status) == 0:
		return x.url.Digest != "" || x.code/100 == 2
	}
	for _, r := range x.url.Status {
		if x.code >= int(r.Low) && x.code <= int(r.High) {
			return true
		}
	}
	return false
}

// headEnd returns where the body begins, or -1. Lines may end in LF alone.
func headEnd(p []byte) int {
	crlf, lf := bytes.Index(p, []byte("\r\n\r\n")), bytes.Index(p, []byte("\n\n"))
	switch {
	case crlf >= 0 && (lf < 0 || crlf < lf):
		return crlf + 4
	case lf >= 0:
		return lf + 2
	}
	return -1
}

// parseHead returns the status code, 0 when the head is not HTTP's, and the
// length of the body, -1 when the end of the connection tells.
func parseHead(head []byte) (code int, length int64) {
	status, rest, _ := strings.Cut(string(head), "\n")
	version, status, _ := strings.Cut(strings.TrimSpace(status), " ")
	status, _, _ = strings.Cut(strings.TrimLeft(status, " "), " ")
	code, err := strconv.Atoi(status)
	if err != nil || !strings.HasPrefix(version, "HTTP/") || len(status) != 3 || code < 100 {
		return 0, -1
	}
	if code < 200 || code == 204 || code == 304 {
		return code, 0
	}
	length = -1
	for line := range strings.SplitSeq(rest, "\n") {
		name, value, _ := strings.Cut(line, ":")
		switch strings.ToLower(strings.TrimSpace(name)) {
		case "content-length":
			if n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64); err == nil && n >= 0 {
				length = n
			}
		case "transfer-encoding":
			// Chunks are not taken apart: a digest made with genhash is that
			// of the bytes as sent.
			return code, -1
		}
	}
	return code, length
}
