// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/lvs-fnat/lvs/internal/poll"
)

// SMTP is what an SMTP_CHECK says.
type SMTP struct {
	// Helo is the name the check gives for itself.
	Helo string
}

// DefaultHelo is the helo_name keepalived assumes.
const DefaultHelo = "smtpchecker.keepalived.org"

func (s *SMTP) validate() error {
	if s == nil || s.Helo == "" || !Clean(s.Helo) {
		return errors.New("helo_name is empty or has a blank or control character")
	}
	return nil
}

// replyLimit bounds one reply of a mail server, in bytes.
const replyLimit = 16 << 10

// replyReader gathers a reply of one or more lines (RFC 5321, 4.2.1).
type replyReader struct {
	line []byte
	size int
}

var errReply = errors.New("the reply is not SMTP")

// take works off a piece; it returns the code when the last line is complete
// and 0 before. What a server sends beyond it is dropped: none may before it
// is asked.
func (r *replyReader) take(p []byte) (code int, err error) {
	if r.size += len(p); r.size > replyLimit {
		return 0, errReply
	}
	r.line = append(r.line, p...)
	for {
		end := bytes.IndexByte(r.line, '\n')
		if end < 0 {
			return 0, nil
		}
		line := bytes.TrimSuffix(r.line[:end], []byte("\r"))
		r.line = r.line[end+1:]
		code, more, ok := replyLine(line)
		if !ok {
			return 0, errReply
		}
		if !more {
			*r = replyReader{}
			return code, nil
		}
	}
}

// replyLine reads one line; more tells that another follows.
func replyLine(p []byte) (code int, more, ok bool) {
	if len(p) < 3 {
		return 0, false, false
	}
	for _, b := range p[:3] {
		if b < '0' || b > '9' {
			return 0, false, false
		}
		code = code*10 + int(b-'0')
	}
	if code < 200 || code > 599 || len(p) > 3 && p[3] != ' ' && p[3] != '-' {
		return 0, false, false
	}
	return code, len(p) > 3 && p[3] == '-', true
}

// mailbox is the dialogue of SMTP_CHECK: greeting, HELO, QUIT.
type mailbox struct {
	outbox
	reader replyReader
	spec   *SMTP
	step   int
}

// mailSteps are the codes that the greeting and HELO must be answered with.
// QUIT must be answered, with whatever, as keepalived 2.2.7 has it.
var mailSteps = [...]struct {
	name string
	code int
}{{"connect", 220}, {"HELO", 250}, {"QUIT", 0}}

func newMailbox(s *Spec) *mailbox { return &mailbox{spec: s.SMTP} }

func (m *mailbox) receive(fd int, buf []byte) (result, bool) {
	n, err := poll.Read(fd, buf)
	if err != nil {
		return failed(func(t *Target) string { return msgSMTP(t, "Read failure from") }), true
	}
	code, err := m.reader.take(buf[:n])
	if err != nil {
		return failed(func(t *Target) string { return msgSMTPReply(t, err.Error()) }), true
	}
	if code == 0 {
		return result{}, false
	}
	return m.advance(code)
}

// advance takes the code of a complete reply.
func (m *mailbox) advance(code int) (result, bool) {
	s := mailSteps[m.step]
	switch {
	case s.code == 0:
		return passed(), true
	case code != s.code:
		return failed(func(t *Target) string {
			return msgSMTPReply(t, fmt.Sprintf("%s was answered with %d, not %d", s.name, code, s.code))
		}), true
	}
	m.step++
	m.request = []byte("QUIT\r\n")
	if m.step == 1 {
		m.request = []byte("HELO " + m.spec.Helo + "\r\n")
	}
	return result{}, false
}

func (m *mailbox) timeout() result {
	what := "Read timeout from"
	if !m.sent() {
		what = "Write timeout to"
	}
	return failed(func(t *Target) string { return msgSMTP(t, what) })
}

func (m *mailbox) lineWrite(t *Target) string { return msgSMTP(t, "Write failure to") }
