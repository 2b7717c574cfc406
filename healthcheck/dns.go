// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS is what a DNS_CHECK asks.
type DNS struct {
	// Name is the name to ask for; the final dot may be left out.
	Name string
	// Type is the type of record, a key of [DNSTypes].
	Type string
}

// DNSTypes are the types of records a DNS_CHECK may ask for, with their
// numbers (IANA, DNS parameters).
var DNSTypes = map[string]uint16{
	"A": 1, "NS": 2, "CNAME": 5, "SOA": 6, "MX": 15, "TXT": 16, "AAAA": 28, "RRSIG": 46, "DNSKEY": 48,
}

// Validate reports what in d cannot be asked for.
func (d *DNS) Validate() error {
	if d == nil {
		return errors.New("no question is given")
	}
	_, err := d.query(0)
	return err
}

// query is the packet that asks.
func (d *DNS) query(id uint16) ([]byte, error) {
	kind, ok := DNSTypes[d.Type]
	if !ok {
		return nil, fmt.Errorf("type %q is not one that can be asked for", d.Type)
	}
	full := strings.TrimSuffix(d.Name, ".") + "."
	name, err := dnsmessage.NewName(full)
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", d.Name, err)
	}
	b := dnsmessage.NewBuilder(nil, dnsmessage.Header{ID: id, RecursionDesired: true})
	q := dnsmessage.Question{Name: name, Type: dnsmessage.Type(kind), Class: dnsmessage.ClassINET}
	if err := errors.Join(b.StartQuestions(), b.Question(q)); err != nil {
		return nil, fmt.Errorf("name %q: %w", d.Name, err)
	}
	return b.Finish()
}

// query is the dialogue of DNS_CHECK.
type query struct {
	packet
	id uint16
}

func newQuery(d *DNS) *query {
	q := &query{id: uint16(rand.Uint32())}
	// Validate has made the same packet already.
	q.payload, _ = d.query(q.id)
	return q
}

// answer reads a packet. Without ok it is not the answer, and that may still come.
func (q *query) answer(p []byte) (code dnsmessage.RCode, ok bool) {
	var parser dnsmessage.Parser
	h, err := parser.Start(p)
	if err != nil || h.ID != q.id || !h.Response {
		return 0, false
	}
	return h.RCode, true
}

// unanswered is the result of a query without an answer that is one.
func unanswered(what string) result {
	r := failed(func(t *Target) string { return msgDNS(t, what) })
	r.down = func(t *Target, retries uint32) string {
		if retries == 0 {
			return msgDNS(t, what)
		}
		return msgDNS(t, fmt.Sprintf("%s after %d retries", what, retries))
	}
	return r
}

func (q *query) receive(fd int, buf []byte) (result, bool) {
	p, some, err := readPacket(fd, buf)
	if err != nil {
		return unanswered("read error occurred"), true
	}
	if !some {
		return result{}, false
	}
	code, ok := q.answer(p)
	switch {
	case !ok:
		return result{}, false
	case code != dnsmessage.RCodeSuccess:
		return unanswered(fmt.Sprintf("read error occurred. (rcode = %d)", code)), true
	}
	return passed(), true
}

func (q *query) timeout() result {
	return unanswered("read timeout from socket")
}

func (q *query) lineWrite(t *Target) string { return msgDNS(t, "write error") }
