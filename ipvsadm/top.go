// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// topKey is what --top sorts by, largest first.
type topKey int

// Keys of --top.
const (
	byCPS topKey = iota
	byPPS
	byBPS
	byConns
)

// topKeys are the words of --by, and the letters that choose them.
var topKeys = []struct {
	word   string
	letter byte
}{byCPS: {"cps", 'c'}, byPPS: {"pps", 'p'}, byBPS: {"bps", 'b'}, byConns: {"conns", 'n'}}

// top is what a call of --top asks for.
type top struct {
	by       topKey
	interval time.Duration
	count    int // tables to write; 0 = until told to stop
}

func (c *call) setBy(v string, _ bool) error {
	for i, k := range topKeys {
		if v == k.word {
			c.top.by = topKey(i)
			return nil
		}
	}
	return usagef(msgBy, v)
}

func (c *call) setInterval(v string, _ bool) error {
	n, ok := number(v, 1, 3600)
	c.top.interval = time.Duration(n) * time.Second
	if !ok {
		return usagef(msgNumber, "interval", v, 1, 3600)
	}
	return nil
}

func (c *call) setCount(v string, _ bool) error {
	n, ok := number(v, 1, 1<<31-1)
	c.top.count = int(n)
	if !ok {
		return usagef(msgNumber, "count", v, 1, 1<<31-1)
	}
	return nil
}

// topRow is one line of the view: a service, or one of its real servers.
type topRow struct {
	name          string
	server        bool
	cps, pps, bps uint64
	active, inact uint64
	dest          *ipvs.Dest
}

func (r *topRow) key(by topKey) uint64 {
	return [...]uint64{r.cps, r.pps, r.bps, r.active + r.inact}[by]
}

func rowOf(name string, server bool, s *ipvs.Stats) topRow {
	return topRow{name: name, server: server, cps: s.CPS, pps: s.InPPS + s.OutPPS, bps: s.InBPS + s.OutBPS}
}

// topView is what a person has chosen to see.
type topView struct {
	by      topKey
	servers bool // show them under their services
	offset  int  // lines scrolled away
	paused  bool
}

// topTable is what one look at the kernel gave.
type topTable struct {
	at    time.Time
	by    topKey
	total topRow
	items []topItem // services by key
	rows  []topRow  // of a screen: services, each before its servers by key
	read  int       // so many of items are in rows
	with  bool      // with their servers
}

// runTop is --top: live on a terminal, else as text.
func (a *app) runTop(ctx context.Context, c *call) error {
	l := a.lister(c)
	if err := l.learn(ctx); err != nil {
		return err
	}
	t := c.top
	if t.interval == 0 {
		t.interval = 2 * time.Second // the kernel's own, between two estimates
	}
	if tty := a.openTTY(); tty != nil && t.count == 0 {
		return l.topLive(ctx, c, t, tty)
	}
	return l.topText(ctx, c, t)
}

// topText writes t.count tables, whole, one after the other.
func (l *lister) topText(ctx context.Context, c *call, t top) error {
	view := topView{by: t.by, servers: true}
	for n := range max(1, t.count) {
		if n > 0 {
			io.WriteString(l.w, "\n")
			if err := l.stdout.Flush(); err != nil {
				return &failure{code: 1, text: err.Error(), err: err}
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(t.interval):
			}
		}
		table, err := l.look(ctx, c, view)
		if err != nil {
			return err
		}
		for _, line := range table.lines(view, 0, 0) {
			fmt.Fprintln(l.w, line)
		}
		for i := range table.items {
			rows, err := l.topRows(ctx, view, &table.items[i])
			if err != nil {
				return err
			}
			for k := range rows {
				fmt.Fprintln(l.w, rows[k].line(topNameWidth))
			}
		}
	}
	return nil
}

// topItem is a service of a look. Its servers are read when they are wanted.
type topItem struct {
	service *ipvs.Service
	row     topRow
}

// look reads the services and sorts them; only where the key is a sum over
// servers it reads those too, and keeps the sum alone.
func (l *lister) look(ctx context.Context, c *call, view topView) (*topTable, error) {
	t := &topTable{at: l.now(), by: view.by}
	var services []ipvs.Service
	var err error
	if c.set.has(colService) {
		services = make([]ipvs.Service, 1)
		if services[0], err = l.kernel.Service(ctx, c.service.ServiceKey); err != nil {
			return nil, destsFailed(err)
		}
	} else if services, err = l.kernel.Services(ctx); err != nil {
		return nil, listFailed(err)
	}
	sortServices(services)
	t.items = make([]topItem, len(services))
	for i := range services {
		it := &t.items[i]
		*it = topItem{&services[i], rowOf("", false, &services[i].Stats)}
		t.total.cps += it.row.cps
		t.total.pps += it.row.pps
		t.total.bps += it.row.bps
		if view.by == byConns {
			if _, err := l.topServers(ctx, it); err != nil {
				return nil, err
			}
		}
	}
	slices.SortStableFunc(t.items, func(a, b topItem) int { return cmp.Compare(b.row.key(view.by), a.row.key(view.by)) })
	return t, nil
}

// topServers reads the servers of a service, and adds their connections up in
// its row.
func (l *lister) topServers(ctx context.Context, it *topItem) ([]topRow, error) {
	dests, err := l.kernel.Dests(ctx, it.service.ServiceKey)
	if errors.Is(err, syscall.ESRCH) {
		return nil, nil // gone since
	}
	if err != nil {
		return nil, destsFailed(err)
	}
	rows := make([]topRow, len(dests))
	it.row.active, it.row.inact = 0, 0
	for i := range dests {
		d := &dests[i]
		rows[i] = rowOf("", true, &d.Stats)
		rows[i].active, rows[i].inact = uint64(d.ActiveConns), uint64(d.InactConns)
		it.row.active += rows[i].active
		it.row.inact += rows[i].inact
		rows[i].dest = d
	}
	return rows, nil
}

// topRows are the lines of a service: its own, then those of its servers.
func (l *lister) topRows(ctx context.Context, view topView, it *topItem) ([]topRow, error) {
	servers, err := l.topServers(ctx, it)
	if err != nil {
		return nil, err
	}
	it.row.name = l.serviceName(ctx, it.service)
	rows := []topRow{it.row}
	if !view.servers {
		return rows, nil
	}
	slices.SortStableFunc(servers, func(a, b topRow) int { return cmp.Compare(b.key(view.by), a.key(view.by)) })
	for i := range servers {
		d := servers[i].dest
		servers[i].name = l.endpointText(ctx, d.Addr, d.Port, it.service.Protocol, l.numeric)
	}
	return append(rows, servers...), nil
}

// fill reads as many rows as a screen shows, if they are not there yet: a paused
// screen stays what it is.
func (l *lister) fill(ctx context.Context, t *topTable, view topView, lines int) error {
	if t.with != view.servers {
		t.rows, t.read, t.with = nil, 0, view.servers
	}
	for ; t.read < len(t.items) && len(t.rows) < lines; t.read++ {
		rows, err := l.topRows(ctx, view, &t.items[t.read])
		if err != nil {
			return err
		}
		t.rows = append(t.rows, rows...)
	}
	return nil
}

// topHeadLines is what a screen needs beside the rows.
const topHeadLines = 3

// lines is the table as text: of that width and height if they are not 0.
func (t *topTable) lines(view topView, width, height int) []string {
	out := []string{
		fmt.Sprintf("%s  %s, by %s: %s cps, %s pps, %sB/s", t.at.Format(time.TimeOnly), counted(uint64(len(t.items)), "service"),
			topKeys[view.by].word, shortNumber(t.total.cps), shortNumber(t.total.pps), shortNumber(t.total.bps)),
	}
	if height > 0 {
		help := "q quit, sort: c cps p pps b bytes n conns, v servers, space pause, j k scroll"
		if view.paused {
			help = "paused (space goes on); " + help
		}
		out = append(out, help)
	}
	name := topNameWidth
	if width > 0 {
		name = max(10, width-1-5*9)
	}
	head := fmt.Sprintf("%-*s %8s %8s %8s %8s %8s", name, "SERVICE", "CPS", "PPS", "BYTES/S", "ACTIVE", "INACT")
	out = append(out, head)
	rows := t.rows[min(view.offset, len(t.rows)):]
	for i := range rows {
		if height > 0 && len(out) >= height {
			break
		}
		out = append(out, rows[i].line(name))
	}
	for i := range out {
		if width > 0 && len(out[i]) > width-1 {
			out[i] = out[i][:max(0, width-1)]
		}
	}
	return out
}

// topNameWidth leaves a line one column short of 80.
const topNameWidth = 34

// line is a row as text.
func (r *topRow) line(name int) string {
	text := r.name
	if r.server {
		text = "  -> " + text
	}
	return fmt.Sprintf("%-*s %8s %8s %8s %8s %8s", name, cutName(text, name),
		shortNumber(r.cps), shortNumber(r.pps), shortNumber(r.bps), shortNumber(r.active), shortNumber(r.inact))
}

// counted is a number of things, each called by its singular.
func counted(n uint64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// cutName leaves out the middle, where addresses differ least.
func cutName(s string, width int) string {
	if len(s) <= width {
		return s
	}
	half := (width - 1) / 2
	return s[:width-1-half] + "~" + s[len(s)-half:]
}

// shortNumber has at most five letters: 99999, 123K, 1.23M.
func shortNumber(n uint64) string {
	if n < 100_000 {
		return fmt.Sprint(n)
	}
	f := float64(n)
	for _, unit := range "KMGTPE" {
		f /= 1000
		if f < 999.5 || unit == 'E' {
			digits := 2
			switch {
			case f >= 99.95:
				digits = 0
			case f >= 9.995:
				digits = 1
			}
			return fmt.Sprintf("%.*f%c", digits, f, unit)
		}
	}
	return ""
}

// terminal is what --top draws on. Reading it ends at the deadline.
type terminal interface {
	io.ReadWriter
	SetReadDeadline(time.Time) error
	Size() (width, height int, err error)
	Close() error // and makes the terminal what it was
}

// Control sequences of ECMA-48 and xterm that every terminal in use knows.
const (
	otherScreen = "\x1b[?1049h\x1b[?25l" // and no cursor
	firstScreen = "\x1b[?25h\x1b[?1049l"
	cursorHome  = "\x1b[H"
	clearLine   = "\x1b[K\r\n"
	clearBelow  = "\x1b[J"
	reverse     = "\x1b[7m"
	plain       = "\x1b[m"
)

// waker ends the wait for a key when a signal tells the program to end, or that the
// terminal has another size.
type waker struct {
	tty     terminal
	resized atomic.Bool
	stop    func()
	done    chan struct{}
}

// wakeOnSignals returns a context that such a signal ends, and who acts on them until
// close is called.
func wakeOnSignals(ctx context.Context, tty terminal) (context.Context, *waker) {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGINT)
	w := &waker{tty: tty, stop: stop, done: make(chan struct{})}
	resize := make(chan os.Signal, 1)
	signal.Notify(resize, syscall.SIGWINCH)
	go func() {
		defer close(w.done)
		defer signal.Stop(resize)
		for {
			select {
			case <-ctx.Done():
				w.wake()
				return
			case <-resize:
				w.resized.Store(true)
				w.wake()
			}
		}
	}()
	return ctx, w
}

// wake ends a read that waits, and those to come until they get a later deadline.
func (w *waker) wake() {
	_ = w.tty.SetReadDeadline(time.Unix(1, 0)) // where it fails, so does the reader
}

func (w *waker) close() {
	w.stop()
	<-w.done
}

// topLive draws until a key or a signal ends it.
func (l *lister) topLive(ctx context.Context, c *call, t top, tty terminal) (err error) {
	ctx, wakes := wakeOnSignals(ctx, tty)
	io.WriteString(tty, otherScreen)
	defer func() {
		wakes.close()
		io.WriteString(tty, firstScreen)
		if closeErr := tty.Close(); err == nil && closeErr != nil {
			err = &failure{code: 1, text: closeErr.Error(), err: closeErr}
		}
	}()
	view := topView{by: t.by, servers: true}
	var table *topTable
	for {
		wakes.resized.Store(false)
		width, height, err := tty.Size()
		if err != nil {
			return &failure{code: 1, text: err.Error(), err: err}
		}
		if table == nil || !view.paused || table.by != view.by {
			table, err = l.look(ctx, c, view)
		}
		if err == nil {
			err = l.fill(ctx, table, view, view.offset+height)
		}
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil:
			return err
		}
		view.offset = min(view.offset, max(0, len(table.rows)-1))
		if err := draw(tty, table.lines(view, width, height)); err != nil {
			return &failure{code: 1, text: err.Error(), err: err}
		}
		quit, err := view.keys(ctx, wakes, l.now().Add(t.interval), height)
		if quit || err != nil {
			return err
		}
	}
}

// draw writes the whole screen in one piece, so that it does not flicker.
func draw(w io.Writer, lines []string) error {
	var b strings.Builder
	b.WriteString(cursorHome)
	for i, line := range lines {
		if strings.HasPrefix(line, "SERVICE ") {
			line = reverse + line + plain
		}
		b.WriteString(line)
		if i < len(lines)-1 {
			b.WriteString(clearLine)
		}
	}
	b.WriteString("\x1b[K" + clearBelow)
	_, err := io.WriteString(w, b.String())
	return err
}

// keys waits for one until the deadline or a signal, and does what it says.
func (v *topView) keys(ctx context.Context, w *waker, until time.Time, height int) (quit bool, err error) {
	if err := w.tty.SetReadDeadline(until); err != nil {
		return true, &failure{code: 1, text: err.Error(), err: err}
	}
	if w.resized.Swap(false) || ctx.Err() != nil {
		return ctx.Err() != nil, nil // told before the deadline was set
	}
	buf := make([]byte, 16)
	n, err := w.tty.Read(buf)
	switch {
	case ctx.Err() != nil || errors.Is(err, io.EOF) || errors.Is(err, syscall.EIO):
		return true, nil // told to end, or hung up
	case errors.Is(err, os.ErrDeadlineExceeded):
		return false, nil
	case err != nil:
		return true, &failure{code: 1, text: err.Error(), err: err}
	}
	for rest := string(buf[:n]); rest != "" && !quit; {
		key := nextKey(rest)
		quit = v.key(key, max(1, height-topHeadLines))
		rest = rest[len(key):]
	}
	return quit, nil
}

// nextKey is one key of what a terminal sent: a letter, or what a key without
// one sends.
func nextKey(s string) string {
	if !strings.HasPrefix(s, "\x1b[") && !strings.HasPrefix(s, "\x1bO") {
		return s[:1]
	}
	for i := 2; i < len(s); i++ {
		if s[i] >= '@' && s[i] <= '~' {
			return s[:i+1]
		}
	}
	return s
}

func (v *topView) key(key string, page int) (quit bool) {
	switch key {
	case "q", "Q", "\x03":
		return true
	case "v":
		v.servers, v.offset = !v.servers, 0
	case " ":
		v.paused = !v.paused
	case "j", "\x1b[B", "\x1bOB":
		v.offset++
	case "k", "\x1b[A", "\x1bOA":
		v.offset = max(0, v.offset-1)
	case "\x1b[6~":
		v.offset += page
	case "\x1b[5~":
		v.offset = max(0, v.offset-page)
	case "g", "\x1b[H", "\x1b[1~":
		v.offset = 0
	default:
		for i, k := range topKeys {
			if key[0] == k.letter {
				v.by = topKey(i)
			}
		}
	}
	return false
}
