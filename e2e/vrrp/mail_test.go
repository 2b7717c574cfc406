// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net"
	"net/textproto"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// mailbox is a mail server that takes everything.
type mailbox struct {
	addr    net.Addr
	mu      sync.Mutex
	mails   []string
	workers sync.WaitGroup
}

// newMailbox listens in the namespace of a node until the test ends.
func newMailbox(t *testing.T, n *node) *mailbox {
	testnet.Must(t, n.Up("lo"))
	l, err := n.Listen(t.Context(), "tcp4", "127.0.0.1:0")
	testnet.Must(t, err)
	m := &mailbox{addr: l.Addr()}
	m.workers.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			m.workers.Go(func() { m.serve(conn) })
		}
	})
	t.Cleanup(func() { l.Close(); n.kill(); m.workers.Wait() })
	return m
}

// serve speaks SMTP (RFC 5321) with one client, and keeps what a mail says beside
// its date: envelope, header fields and text.
func (m *mailbox) serve(conn net.Conn) {
	defer conn.Close()
	c := textproto.NewConn(conn)
	_ = c.PrintfLine("220 test")
	var envelope []string
	for {
		line, err := c.ReadLine()
		if err != nil {
			return
		}
		answer := "250 ok"
		switch word := strings.ToUpper(strings.Fields(line + " ")[0]); word {
		case "MAIL", "RCPT":
			envelope = append(envelope, line)
		case "DATA":
			_ = c.PrintfLine("354 go on")
			text, err := c.ReadDotLines()
			if err != nil {
				return
			}
			text = slices.DeleteFunc(text, func(l string) bool {
				return strings.HasPrefix(l, "Date:") || strings.HasPrefix(l, "Message-I") || l == ""
			})
			m.mu.Lock()
			m.mails = append(m.mails, strings.Join(append(envelope, text...), "\n"))
			m.mu.Unlock()
			envelope = nil
		case "QUIT":
			_ = c.PrintfLine("221 bye")
			return
		}
		_ = c.PrintfLine("%s", answer)
	}
}

// until waits for a mail with that subject.
func (m *mailbox) until(t *testing.T, subject string) {
	t.Helper()
	testnet.Eventually(t, limit, func() error {
		m.mu.Lock()
		defer m.mu.Unlock()
		if !slices.ContainsFunc(m.mails, func(s string) bool { return strings.Contains(s, subject) }) {
			return fmt.Errorf("no mail %q among %q", subject, m.mails)
		}
		return nil
	})
}

// TestMail: an instance and a group with smtp_alert tell of each state by mail, one
// without does not; all mails are those of the original.
func TestMail(t *testing.T) {
	t.Parallel()
	results := make(chan func(), 2)
	all := map[program][]string{}
	t.Run("nodes", func(t *testing.T) {
		each(t, func(t *testing.T, b *bed, n *node) {
			box := newMailbox(t, n)
			quiet := vi{name: "VI2", id: 52, prio: 150, vips: []string{"192.168.50.120"}, more: "smtp_alert off"}.conf()
			n.start(vi{prio: 150, more: "smtp_alert",
				globalDefs: fmt.Sprintf("notification_email {\n one@example.org\n two@example.org\n}\n notification_email_from lb@example.org\n smtp_server 127.0.0.1 %d\n smtp_helo_name lb.example.org",
					box.addr.(*net.TCPAddr).Port),
				outside: "vrrp_sync_group G {\n group {\n VI\n }\n smtp_alert\n}"}.conf() + quiet)
			for _, what := range []string{"Instance VI", "Group G"} {
				box.until(t, what+" - Entering MASTER")
			}
			b.holds("192.168.50.120", 0)
			testnet.Must(t, n.Down("eth0"))
			for _, what := range []string{"Instance VI", "Group G"} {
				box.until(t, what+" - Entering FAULT")
			}
			n.stop()
			box.mu.Lock()
			mails := slices.Clone(box.mails)
			box.mu.Unlock()
			slices.Sort(mails) // each goes its own way
			results <- func() { all[n.program] = mails }
		})
	})
	close(results)
	for r := range results {
		r()
	}
	if d := cmp.Diff(all[c], all[ours]); d != "" {
		t.Errorf("mails, -original +ours:\n%s", d)
	}
	for _, m := range all[ours] {
		if strings.Contains(m, "VI2") {
			t.Errorf("without smtp_alert: %s", m)
		}
	}
}
