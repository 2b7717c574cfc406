// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bufio"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// mailServer greets and answers the lines it gets with answers, in turn;
// after the last it hangs up.
func mailServer(t *testing.T, answers ...string) netip.AddrPort {
	return server(t, "127.0.0.1:0", func(c net.Conn) {
		in := bufio.NewReader(c)
		for i, a := range answers {
			if i > 0 {
				if _, err := in.ReadString('\n'); err != nil {
					return
				}
			}
			for _, b := range strings.SplitAfter(a, "|") {
				c.Write([]byte(strings.TrimSuffix(b, "|")))
				time.Sleep(time.Millisecond)
			}
		}
	})
}

func TestSMTP(t *testing.T) {
	t.Parallel()
	spec := func(a netip.AddrPort) Spec {
		return Spec{Kind: SMTPCheck, Conn: Conn{Addr: a}, SMTP: &SMTP{Helo: DefaultHelo}}
	}
	type verdict = struct {
		spec Spec
		up   bool
	}
	bytewise := strings.Join(strings.Split("220 mail.example\r\n", ""), "|")
	verdicts(t, map[string]verdict{
		"good":               {spec(mailServer(t, "220 hello\r\n", "250 well\r\n", "221 bye\r\n")), true},
		"hangs up at QUIT":   {spec(mailServer(t, "220 hello\r\n", "250 well\r\n", "")), false},
		"refuses QUIT":       {spec(mailServer(t, "220 hello\r\n", "250 well\r\n", "500 no\r\n")), true},
		"many lines":         {spec(mailServer(t, "220-hello\r\n220-to\n|220 you\r\n", "250-a\r\n250\r\n", "221\r\n")), true},
		"byte by byte":       {spec(mailServer(t, bytewise, "250 well\r\n", "221 bye\r\n")), true},
		"busy":               {spec(mailServer(t, "421 busy\r\n")), false},
		"refuses HELO":       {spec(mailServer(t, "220 hello\r\n", "550 no\r\n")), false},
		"not SMTP":           {spec(mailServer(t, "SSH-2.0-x\r\n")), false},
		"half a line":        {spec(mailServer(t, "220 hel")), false},
		"hangs up":           {spec(mailServer(t, "220 hello\r\n", "")), false},
		"refuses":            {spec(unused(t)), false},
		"mute":               {spec(server(t, "127.0.0.1:0", hold)), false},
		"mute after a while": {spec(server(t, "127.0.0.1:0", func(c net.Conn) { c.Write([]byte("220-")); hold(c) })), false},
		"reset": {spec(server(t, "127.0.0.1:0", func(c net.Conn) {
			c.(*net.TCPConn).SetLinger(0)
		})), false},
		"babbles": {spec(server(t, "127.0.0.1:0", func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("220-x\r\n")); err != nil {
					return
				}
			}
		})), false},
	})
}

// FuzzSMTP: however a reply is cut, it is read the same.
func FuzzSMTP(f *testing.F) {
	f.Add([]byte("220-a\r\n220 b\r\n"), 3)
	f.Add([]byte("250\n"), 1)
	f.Add([]byte("x"), 0)
	f.Fuzz(func(t *testing.T, p []byte, at int) {
		if at < 0 || at > len(p) {
			return
		}
		var whole, parts replyReader
		code, err := whole.take(p)
		got, gotErr := parts.take(p[:at])
		if got == 0 && gotErr == nil {
			got, gotErr = parts.take(p[at:])
		}
		if got != code || gotErr != err {
			t.Errorf("%q cut at %d: %d, %v, whole %d, %v", p, at, got, gotErr, code, err)
		}
		if code != 0 && (code < 200 || code > 599) {
			t.Errorf("%q: code %d", p, code)
		}
	})
}
