// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// readings is a kernel whose counters say how often they were read.
type readings struct {
	kernel
	services, dests uint64
	err             error
}

func (r *readings) Services(context.Context) ([]ipvs.Service, error) {
	r.services++
	return []ipvs.Service{{ServiceKey: ipvs.ServiceKey{FWMark: 1}, Stats: ipvs.Stats{Conns: r.services}}}, r.err
}

func (r *readings) Dests(context.Context, ipvs.ServiceKey) ([]ipvs.Dest, error) {
	r.dests++
	return []ipvs.Dest{{DestKey: ipvs.DestKey{Port: 1}, ActiveConns: uint32(r.dests)}}, r.err
}

// TestCounterAge: counters are read when they are asked for, and again once they are as
// old as they may be, those of real servers by an interval of their own or by that of
// virtual servers; what cannot be read is 0, and said once.
func TestCounterAge(t *testing.T) {
	book := newLogbook()
	log := slog.New(slog.NewTextHandler(book, nil))
	now := time.Unix(1000, 0)
	k, c := &readings{}, &counters{}
	service, dest := ipvs.ServiceKey{FWMark: 1}, ipvs.DestKey{Port: 1}
	ask := func(s config.SNMP, services uint64, dests uint32) {
		t.Helper()
		got := c.follow(t.Context(), k, s, func() time.Time { return now }, log)
		for range 2 {
			if n := got.Service(service).Conns; n != services {
				t.Errorf("reading %d of services, want %d", n, services)
			}
			if n := got.Dest(service, dest).ActiveConns; n != dests {
				t.Errorf("reading %d of dests, want %d", n, dests)
			}
		}
	}
	_ = c.follow(t.Context(), k, config.SNMP{VSInterval: 5 * time.Second}, func() time.Time { return now }, log)
	if k.services+k.dests != 0 {
		t.Error("they are read before anybody asks")
	}
	five := config.SNMP{VSInterval: 5 * time.Second}
	ask(five, 1, 1)
	now = now.Add(5*time.Second - time.Millisecond)
	ask(five, 1, 1)
	now = now.Add(time.Millisecond)
	ask(five, 2, 2)
	own := config.SNMP{VSInterval: 5 * time.Second, RSInterval: 2 * time.Second}
	now = now.Add(2 * time.Second)
	ask(own, 2, 3)
	now = now.Add(3 * time.Second)
	ask(own, 3, 4)
	if n := len(c.dests); n != 1 {
		t.Errorf("it remembers %d services", n)
	}
	k.err = errors.New("no")
	for range 2 {
		now = now.Add(10 * time.Second)
		got := c.follow(t.Context(), k, five, func() time.Time { return now }, log)
		_, _ = got.Service(service), got.Dest(service, dest)
	}
	if n := len(book.all()); n != 1 {
		t.Errorf("it says %q", book.all())
	}
	none := c.follow(t.Context(), nil, five, func() time.Time { return now.Add(time.Hour) }, log)
	if none.Dest(service, ipvs.DestKey{}) != (ipvs.Dest{}) {
		t.Error("there are counters without a kernel")
	}
}

// asker is a master agent that a test asks through.
type asker struct {
	t    *testing.T
	conn net.Conn
	seen chan *agentx.Message // answers and events
	n    uint32
}

func newAsker(t *testing.T, l net.Listener) *asker {
	t.Helper()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	a := &asker{t: t, conn: conn, seen: make(chan *agentx.Message, 64)}
	go func() {
		defer close(a.seen)
		for {
			m, err := agentx.Read(conn)
			if err != nil {
				return
			}
			if m.Verb == agentx.VerbResponse || m.Verb == agentx.VerbNotify {
				a.seen <- m
			}
			if m.Verb != agentx.VerbResponse {
				r := &agentx.Message{Verb: agentx.VerbResponse, Session: 1, Transaction: m.Transaction, Packet: m.Packet}
				if _, err := conn.Write(r.Append(nil)); err != nil {
					return
				}
			}
		}
	}()
	return a
}

// next waits for an answer, or for an event.
func (a *asker) next(v agentx.Verb) *agentx.Message {
	a.t.Helper()
	limit := time.After(time.Minute)
	for {
		select {
		case m := <-a.seen:
			if m == nil {
				a.t.Fatal("it has gone")
			}
			if m.Verb == v {
				return m
			}
		case <-limit:
			a.t.Fatal("it says nothing")
		}
	}
}

func (a *asker) ask(m *agentx.Message) *agentx.Message {
	a.t.Helper()
	a.n++
	m.Session, m.Packet, m.Transaction = 1, a.n, 7
	if _, err := a.conn.Write(m.Append(nil)); err != nil {
		a.t.Fatal(err)
	}
	return a.next(agentx.VerbResponse)
}

// TestSNMPOfCheckers: the process of the checks tells what is, at the start and after a
// reload, and what has been counted; a weight that is set is in the table at once; an
// event comes by the same way; a reload ends it.
func TestSNMPOfCheckers(t *testing.T) {
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "master"))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	conf := fmt.Sprintf(`global_defs {
 snmp_socket unix:%s
 enable_snmp_checker
 enable_traps
}
virtual_server 10.0.0.1 80 {
 protocol TCP
 lb_algo rr
 lb_kind NAT
 snmp_name web
 real_server 10.1.0.1 80 {
  weight 3
  TCP_CHECK {
  }
 }
}
`, l.Addr())
	table := ipvstest.New()
	d := newDaemon(t, table, conf)
	d.start()
	a := newAsker(t, l)
	event := func(object agentx.OID, value int) {
		t.Helper()
		m := a.next(agentx.VerbNotify)
		for _, b := range m.VarBinds {
			if b.Name.Compare(object) == 0 && b.Value.Int() == value {
				return
			}
		}
		t.Errorf("the event is %+v, want one of %v with %d", m.VarBinds, object, value)
	}
	event(director.CheckMIB.Append(3, 1, 23), 1) // the quorum that is gained at the start
	get := func(object ...uint32) agentx.Value {
		t.Helper()
		m := a.ask(&agentx.Message{Verb: agentx.VerbGet, Ranges: []agentx.Range{{Start: director.CheckMIB.Append(object...)}}})
		if len(m.VarBinds) != 1 {
			t.Fatalf("it answers %+v", m)
		}
		return m.VarBinds[0].Value
	}
	if name := get(3, 1, 71, 1); name.Bytes() != "web" {
		t.Errorf("the name is %v", name)
	}
	weight := agentx.VarBind{Name: director.CheckMIB.Append(4, 1, 7, 1, 1), Value: agentx.Integer(9)}
	for _, v := range []agentx.Verb{agentx.VerbTestSet, agentx.VerbCommitSet} {
		m := &agentx.Message{Verb: v}
		if v == agentx.VerbTestSet {
			m.VarBinds = []agentx.VarBind{weight}
		}
		if r := a.ask(m); r.Status != agentx.StatusOK {
			t.Fatalf("set: %v", r.Status)
		}
	}
	if text := table.String(); !strings.Contains(text, "-w 9") {
		t.Errorf("the table is\n%s", text)
	}
	if v := get(4, 1, 7, 1, 1); v.Int() != 9 {
		t.Errorf("the weight is %v", v)
	}
	d.checks.turn("[10.1.0.1]:tcp:80", false)
	event(director.CheckMIB.Append(4, 1, 6), 2)
	event(director.CheckMIB.Append(3, 1, 23), 2)
	d.reload(strings.Replace(conf, " enable_snmp_checker\n", "", 1), msgReloaded)
	for m := range a.seen {
		if m.Verb != agentx.VerbNotify {
			t.Errorf("it says %+v", m)
		}
	}
	d.stop()
}
