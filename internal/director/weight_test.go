// SPDX-License-Identifier: Apache-2.0

package director

import (
	"context"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

const dynamic = `
virtual_server 10.0.1.100 80 {
	lb_algo wrr
	lb_kind NAT
	protocol TCP
	quorum 3
	real_server 10.0.2.11 80 {
		weight WEIGHT
		MISC_CHECK {
			misc_path /bin/check
			misc_dynamic
		}
		MISC_CHECK {
			misc_path /bin/other
			misc_dynamic
		}
	}
}
`

// TestDynamicWeight: what checks say of the weight reaches the kernel and the
// quorum at once, adds up, and outlives a reload.
func TestDynamicWeight(t *testing.T) {
	conf := func(weight string) string { return strings.Replace(dynamic, "WEIGHT", weight, 1) }
	w, _ := start(t, ipvstest.NewStock(), conf("5"))
	said := func(weight uint8) healthcheck.Status {
		return healthcheck.Status{Up: true, Known: true, Weighted: true, Weight: weight}
	}
	plain := healthcheck.Status{Up: true, Known: true}
	down := healthcheck.Status{Known: true}
	tell := func(a, b healthcheck.Status) (lines, done []string) {
		t.Helper()
		w.table.Forget()
		n := w.d.Observe([]healthcheck.Status{a, b})
		if err := w.m.Update(context.Background(), w.d.Tables()); err != nil {
			t.Fatal(err)
		}
		return texts(n), w.table.Lines()
	}
	const of = " for active service [10.0.2.11]:tcp:80 of VS [10.0.1.100]:tcp:80"
	const edit = "-e -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w "
	lines, done := tell(said(10), plain)
	same(t, "10", lines, "Changing weight from 5 to 10"+of)
	same(t, "10", done, edit+"10")
	lines, done = tell(said(10), plain)
	same(t, "10 again", append(lines, done...))
	lines, done = tell(said(10), said(8))
	same(t, "10 and 8: 5 and 3 more than 5", lines, "Changing weight from 10 to 13"+of)
	same(t, "10 and 8", done, edit+"13")
	lines, _ = tell(said(0), said(2))
	same(t, "not below 0", lines, "Changing weight from 13 to 0"+of,
		"Lost quorum 3-0=3 > 0 for VS [10.0.1.100]:tcp:80")
	lines, _ = tell(said(9), plain)
	same(t, "9", lines, "Changing weight from 0 to 9"+of, "Gained quorum 3+0=3 <= 9 for VS [10.0.1.100]:tcp:80")

	next, notices := w.d.Reload(parse(t, conf("4")))
	w.d = next
	same(t, "reload", texts(notices))
	lines, done = tell(said(9), plain)
	same(t, "after a reload with another weight", append(lines, done...))
	lines, _ = tell(plain, plain)
	same(t, "weight as configured", lines, "Changing weight from 9 to 4"+of)
	tell(said(7), plain)
	_, done = tell(down, plain)
	same(t, "down", done, "-d -t 10.0.1.100:80 -r 10.0.2.11:80")
	_, done = tell(plain, plain)
	same(t, "back", done, "-a -t 10.0.1.100:80 -r 10.0.2.11:80 -m -w 4")
}

// TestEveryKind: each block of the file becomes a check of its kind that the
// engine takes.
func TestEveryKind(t *testing.T) {
	url := "url {\n path /\n }\n"
	d := New(parse(t, `
virtual_server 10.0.1.100 80 {
	lb_algo rr
	lb_kind NAT
	protocol TCP
	real_server 10.0.2.11 80 {
		TCP_CHECK {
		}
		HTTP_GET {
			`+url+`
		}
		SSL_GET {
			`+url+`
		}
		SMTP_CHECK {
		}
		DNS_CHECK {
		}
		UDP_CHECK {
		}
		PING_CHECK {
		}
		MISC_CHECK {
			misc_path /bin/true
		}
	}
}
`))
	want := healthcheck.TCPCheck
	for _, target := range d.Targets() {
		if target.Spec.Kind != want {
			t.Errorf("%s, want %s", target.Spec.Kind, want)
		}
		if err := target.Validate(); err != nil {
			t.Error(err)
		}
		want++
	}
	if want != healthcheck.MiscCheck+1 {
		t.Errorf("%d targets, want %d", len(d.Targets()), healthcheck.MiscCheck)
	}
}
