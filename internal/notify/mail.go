// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/smtp"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Mail says where alerts go. Without Server and To nobody gets any.
type Mail struct {
	Server  string // host name or address
	Port    uint16
	From    string // empty: root@ and the host's name
	To      []string
	Helo    string        // empty: the host's name
	Timeout time.Duration // of the connection and, once more, of what follows
}

// Alert is one mail.
type Alert struct{ Subject, Body string }

// Limits of the mailer.
const (
	// alertQueue is how many alerts may wait for a slow server.
	alertQueue = 512
	// alertTries is how often one is tried.
	alertTries = 3
	// alertPause is between two tries.
	alertPause = 10 * time.Second
)

// Mailer sends alerts, one after the other, without holding up who has them.
type Mailer struct {
	log    *slog.Logger
	queue  chan job
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup
	pause  time.Duration
	now    func() time.Time
}

type job struct {
	to Mail
	a  Alert
	at time.Time
}

// NewMailer returns one that logs what cannot be sent. The caller must Close it.
func NewMailer(log *slog.Logger) *Mailer {
	m := &Mailer{log: log, queue: make(chan job, alertQueue), pause: alertPause, now: time.Now}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.wg.Go(m.work)
	return m
}

// Send queues an alert; it never waits.
func (m *Mailer) Send(to Mail, a Alert) {
	if to.Server == "" || len(to.To) == 0 {
		return
	}
	select {
	case m.queue <- job{to, a, m.now()}:
	default:
		m.log.Warn(fmt.Sprintf("SMTP alert '%s' is dropped: %d others wait already", a.Subject, alertQueue))
	}
}

// Close gives what is queued a moment, and drops the rest.
func (m *Mailer) Close() {
	close(m.queue)
	end := time.AfterFunc(patience, m.cancel)
	m.wg.Wait()
	end.Stop()
	m.cancel()
}

func (m *Mailer) work() {
	for j := range m.queue {
		m.deliver(j)
	}
}

func (m *Mailer) deliver(j job) {
	for try := 1; ; try++ {
		err := send(m.ctx, j)
		switch {
		case err == nil:
			m.log.Debug(fmt.Sprintf("Email Alert successfully sent: %s", j.a.Subject))
			return
		case try == alertTries || m.ctx.Err() != nil:
			m.log.Error(fmt.Sprintf("SMTP alert '%s' is lost: %v", j.a.Subject, err))
			return
		}
		select {
		case <-m.ctx.Done():
		case <-time.After(m.pause):
		}
	}
}

func send(ctx context.Context, j job) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	t := j.to
	if t.Helo == "" {
		t.Helo = host
	}
	if t.From == "" {
		t.From = "root@" + host
	}
	d := net.Dialer{Timeout: t.Timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(t.Server, strconv.Itoa(int(t.Port))))
	if err != nil {
		return err
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(t.Timeout)); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	c, err := smtp.NewClient(conn, t.Server)
	if err != nil {
		return err
	}
	if err := c.Hello(t.Helo); err != nil {
		return err
	}
	if err := c.Mail(address(t.From)); err != nil {
		return err
	}
	for _, to := range t.To {
		if err := c.Rcpt(address(to)); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte(message(t, j))); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

// address takes what stands between angle brackets, if there are any.
func address(s string) string {
	if _, rest, ok := strings.Cut(s, "<"); ok {
		s, _, _ = strings.Cut(rest, ">")
	}
	return strings.TrimSpace(s)
}

func message(t Mail, j job) string {
	return "Date: " + j.at.Format(time.RFC1123Z) + "\r\n" +
		"From: " + oneLine(t.From) + "\r\n" +
		"Subject: " + oneLine(j.a.Subject) + "\r\n" +
		"X-Mailer: Keepalived\r\n" +
		"To: " + oneLine(strings.Join(t.To, ", ")) + "\r\n" +
		"\r\n" + j.a.Body + "\r\n"
}

// oneLine keeps a text from ending its header.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r == '\r' || r == '\n' {
			return ' '
		}
		return r
	}, s)
}
