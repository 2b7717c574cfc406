// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs"
)

// demo is the guest's side: steps that print what they measured, and faults, which
// make it fail. An error of a step means that later ones make no sense.
type demo struct {
	out    io.Writer
	faults []string
	steps  int

	top     *testnet.Topology
	client  *testnet.Host
	servers []*server
	daemon  *daemon
	kernel  *ipvs.Client
	asked   map[netip.AddrPort]bool // where curl's connections came from
	answers int                     // to curl, status 200
}

func (d *demo) play(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.build, d.begin, d.balance, d.fail, d.recover, d.reload, d.logs, d.finish} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) headline(format string, args ...any) {
	d.steps++
	fmt.Fprintf(d.out, "\n%d. %s\n", d.steps, fmt.Sprintf(format, args...))
}

func (d *demo) fact(format string, args ...any) {
	for line := range strings.Lines(fmt.Sprintf(format, args...)) {
		fmt.Fprintln(d.out, strings.TrimRight("     "+line, " \n"))
	}
}

func (d *demo) wrong(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	d.faults = append(d.faults, text)
	d.fact("FAILED: %s", text)
}

// build makes the network and the real servers; the third gets work in reload.
func (d *demo) build(ctx context.Context) error {
	d.headline("A client, a director and real servers in another network")
	top, err := testnet.Build(testnet.Plan{Servers: 3})
	if err != nil {
		return err
	}
	d.top, d.client, d.asked = top, top.C[0], map[netip.AddrPort]bool{}
	for _, r := range top.R {
		s := &server{host: r}
		d.servers = append(d.servers, s)
		if err := s.start(ctx); err != nil {
			return err
		}
	}
	d.fact("client %v and %v, director with the services %v and %v", d.client.V4, d.client.V6, testnet.VIP4, testnet.VIP6)
	for _, r := range top.R {
		for _, a := range []netip.Addr{d.client.V4, d.client.V6} {
			if out, err := r.Run(ctx, "ip", "route", "get", a.String()); err == nil {
				d.wrong("%s has a route to the client: %s", r.Name, out)
			}
		}
	}
	d.fact("r1, r2, r3 run nginx and have no route to the client")
	trust := make([]string, 0, 4)
	for _, lips := range [][]netip.Addr{testnet.LIP4[:2], testnet.LIP6[:2]} {
		for _, a := range lips {
			trust = append(trust, netip.PrefixFrom(a, a.BitLen()).String())
		}
	}
	list := strings.Join(trust, ",")
	d.fact("real servers load toa.ko: modprobe toa trust=%s", list)
	return testvm.Modprobe("toa", "trust="+list)
}

// begin starts keepalived and shows what it put into the kernel.
func (d *demo) begin(ctx context.Context) error {
	d.headline("keepalived reads %s: services with lb_kind FNAT", hostConf)
	var err error
	if d.kernel, err = (ipvs.Config{NetNS: d.top.D.FD()}).Dial(ctx); err != nil {
		return err
	}
	if d.daemon, err = startDaemon(d.top.D); err != nil {
		return err
	}
	if err := d.daemon.says(ctx, "Startup complete"); err != nil {
		return err
	}
	if err := d.show(ctx, "-Ln"); err != nil {
		return err
	}
	d.fact("\n")
	return d.show(ctx, "-G")
}

// show prints what ipvsadm prints on the director.
func (d *demo) show(ctx context.Context, args ...string) error {
	out, err := d.top.D.Run(ctx, guestIpvsadm, args...)
	d.fact("# ipvsadm %s\n%s", strings.Join(args, " "), out)
	return err
}

// curl asks with curl, and remembers for logs.
func (d *demo) curl(ctx context.Context, vip netip.Addr, n int) (map[string]int, []request, error) {
	rs, err := curl(ctx, d.client, vip, n)
	d.remember(rs)
	return perServer(rs), rs, err
}

func (d *demo) remember(rs []request) {
	for _, r := range rs {
		if r.from.IsValid() {
			d.asked[r.from] = true
		}
		if r.fault == "" {
			d.answers++
		}
	}
}

func perServer(rs []request) map[string]int {
	count := map[string]int{}
	for _, r := range rs {
		if r.fault == "" {
			count[r.server]++
		}
	}
	return count
}

// counts formats answers per real server, in order.
func counts(count map[string]int) string {
	var s []string
	for _, name := range slices.Sorted(maps.Keys(count)) {
		s = append(s, fmt.Sprintf("%s %d", name, count[name]))
	}
	return strings.Join(s, ", ")
}

// expect asks each address of the web service n times; all must be answered, by
// exactly the real servers named.
func (d *demo) expect(ctx context.Context, n int, names ...string) error {
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		count, rs, err := d.curl(ctx, vip, n)
		if err != nil {
			return err
		}
		bad, example := failed(rs)
		d.fact("%-18v %d requests: %s; failed %d", vip, n, counts(count), bad)
		if bad > 0 {
			d.wrong("%d of %d requests to %v failed: %s", bad, n, vip, example)
		}
		d.from(count, names)
	}
	return nil
}

func (d *demo) from(count map[string]int, names []string) {
	if got := slices.Sorted(maps.Keys(count)); !slices.Equal(got, names) {
		d.wrong("answers came from %v, not from %v", got, names)
	}
}

// expectUDP is expect for datagrams.
func (d *demo) expectUDP(ctx context.Context, n int, names ...string) error {
	for _, vip := range []netip.Addr{testnet.VIP4, testnet.VIP6} {
		count, err := datagrams(ctx, d.client, vip, n)
		if err != nil {
			return err
		}
		d.fact("%-18v %d datagrams (UDP): answers of %s", vip, n, counts(count))
		d.from(count, names)
	}
	return nil
}

func (d *demo) balance(ctx context.Context) error {
	d.headline("The client asks: curl over TCP, and a datagram at a time over UDP")
	if err := d.expect(ctx, 40, "r1", "r2"); err != nil {
		return err
	}
	return d.expectUDP(ctx, 10, "r1", "r2")
}

// inUse counts the services that send connections to a real server.
func (d *demo) inUse(ctx context.Context, s *server) (int, error) {
	n := 0
	for t, err := range d.kernel.Table(ctx) {
		if err != nil {
			return 0, err
		}
		for _, dest := range t.Dests {
			if (dest.Addr == s.host.V4 || dest.Addr == s.host.V6) && dest.Weight > 0 {
				n++
			}
		}
	}
	return n, nil
}

// served waits until n services use a real server and says how long that took.
func (d *demo) served(ctx context.Context, s *server, n int) (time.Duration, error) {
	begin := time.Now()
	err := wait(ctx, fmt.Sprintf("%s in %d services", s.host.Name, n), func() (bool, error) {
		got, err := d.inUse(ctx, s)
		return got == n, err
	})
	return time.Since(begin), err
}

// services is how many of them the configuration has, each with every real server.
const services = 4

// checked is longer than delay_loop: after it each check of the configuration has
// run once. A server that fails its very first check is removed without a retry.
const checked = 3 * time.Second

func (d *demo) fail(ctx context.Context) error {
	d.headline("Real server r1 dies under load; the health check takes it out")
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(checked):
	}
	l := startLoad(ctx, d.client)
	took, err := d.dies(ctx, l)
	removed := time.Now()
	if err == nil {
		err = l.more(ctx, 4*batchSize)
	}
	rs, loadErr := l.end()
	d.remember(rs)
	if err := errors.Join(err, loadErr); err != nil {
		return err
	}
	i := slices.IndexFunc(rs, func(r request) bool { return r.batch.After(removed) })
	if i < 0 {
		return errors.New("no request was made after the removal")
	}
	before, _ := failed(rs[:i])
	after, example := failed(rs[i:])
	d.fact("removed from all %d services %.1f s after it died (a check every 2 s, tried again after 1 s)", services, took.Seconds())
	d.fact("until then %d of %d requests failed; after the removal %d of %d", before, i, after, len(rs)-i)
	if after > 0 {
		d.wrong("%d requests failed after the removal: %s", after, example)
	}
	if err := d.expect(ctx, 20, "r2"); err != nil {
		return err
	}
	return d.expectUDP(ctx, 5, "r2")
}

func (d *demo) dies(ctx context.Context, l *load) (time.Duration, error) {
	if err := l.more(ctx, 2*batchSize); err != nil {
		return 0, err
	}
	if err := d.servers[0].kill(); err != nil {
		return 0, err
	}
	return d.served(ctx, d.servers[0], 0)
}

func (d *demo) recover(ctx context.Context) error {
	d.headline("r1 comes back; the health check puts it in again")
	if err := d.servers[0].start(ctx); err != nil {
		return err
	}
	took, err := d.served(ctx, d.servers[0], services)
	if err != nil {
		return err
	}
	d.fact("in all %d services again %.1f s after its start", services, took.Seconds())
	if err := d.expect(ctx, 20, "r1", "r2"); err != nil {
		return err
	}
	return d.expectUDP(ctx, 6, "r1", "r2")
}

// edits is what reload changes in the configuration: r1 gets weight 3, r3 comes.
// Not the scheduler: while ip_vs replaces it, a service has none for a moment and
// refuses new connections, with the distribution's module as with ours.
var edits = []struct{ old, new string }{
	{"    real_server 10.0.2.11 80 {\n", "    real_server 10.0.2.13 80 {\n        TCP_CHECK {\n            connect_timeout 1\n        }\n    }\n" +
		"    real_server 10.0.2.11 80 {\n        weight 3\n"},
}

func (d *demo) reload(ctx context.Context) error {
	d.headline("The configuration changes under load: kill -HUP, r1 gets weight 3, r3 is new")
	l := startLoad(ctx, d.client)
	err := d.reconfigure(ctx, l)
	rs, loadErr := l.end()
	d.remember(rs)
	if err := errors.Join(err, loadErr); err != nil {
		return err
	}
	bad, example := failed(rs)
	d.fact("%d requests before, during and after the reload: %d failed", len(rs), bad)
	if bad > 0 {
		d.wrong("%d requests failed at the reload: %s", bad, example)
	}
	count, rs, err := d.curl(ctx, testnet.VIP4, 50)
	if err != nil {
		return err
	}
	bad, example = failed(rs)
	d.fact("%-18v %d requests: %s; failed %d", testnet.VIP4, len(rs), counts(count), bad)
	if want := map[string]int{"r1": 30, "r2": 10, "r3": 10}; !maps.Equal(count, want) {
		d.wrong("the weights are 3, 1, 1; answers: %s %s", counts(count), example)
	}
	return d.show(ctx, "-Ln", "-t", "10.0.1.100:80")
}

func (d *demo) reconfigure(ctx context.Context, l *load) error {
	if err := l.more(ctx, 2*batchSize); err != nil {
		return err
	}
	conf, err := os.ReadFile(guestConf)
	if err != nil {
		return err
	}
	text := string(conf)
	for _, e := range edits {
		if !strings.Contains(text, e.old) {
			return fmt.Errorf("%s has no line %q", hostConf, e.old)
		}
		text = strings.ReplaceAll(text, e.old, e.new)
	}
	if err := os.WriteFile(guestConf, []byte(text), 0o644); err != nil {
		return err
	}
	if err := d.daemon.signal(syscall.SIGHUP); err != nil {
		return err
	}
	if err := d.daemon.says(ctx, "Reload complete"); err != nil {
		return err
	}
	if _, err := d.served(ctx, d.servers[2], 1); err != nil {
		return err
	}
	return l.more(ctx, 4*batchSize)
}

// logs compares what nginx logged with what curl says it was.
func (d *demo) logs(context.Context) error {
	d.headline("Whom nginx saw: with TOA, the client, though packets come from the director")
	all, own := 0, 0
	for _, s := range d.servers {
		seen, err := s.log()
		if err != nil {
			return err
		}
		right := 0
		for _, a := range seen {
			if d.asked[a] {
				right++
			} else if len(d.faults) < 10 {
				d.wrong("%s logged %v, from where curl asked nothing", s.host.Name, a)
			}
		}
		d.fact("%s: %d of %d log lines carry the client's address and port", s.host.Name, right, len(seen))
		all, own = all+len(seen), own+right
	}
	d.fact("together %d of %d", own, all)
	if all < d.answers {
		d.wrong("curl got %d answers, nginx logged %d", d.answers, all)
	}
	return nil
}

func (d *demo) finish(ctx context.Context) error {
	d.headline("keepalived ends and leaves nothing")
	if err := d.daemon.end(); err != nil {
		return err
	}
	left, err := d.kernel.Services(ctx)
	if err != nil {
		return err
	}
	groups, err := d.kernel.LGroups(ctx)
	if err != nil {
		return err
	}
	d.fact("services left: %d, groups of local addresses left: %d", len(left), len(groups))
	if len(left)+len(groups) > 0 {
		d.wrong("left in the kernel: %v %v", left, groups)
	}
	return nil
}

// close ends all that runs, so that the guest can unload the modules.
func (d *demo) close() error {
	var errs []error
	if d.daemon != nil {
		errs = append(errs, d.daemon.end())
	}
	if d.kernel != nil {
		errs = append(errs, d.kernel.Close())
	}
	for _, s := range d.servers {
		errs = append(errs, s.kill())
	}
	if d.top != nil {
		errs = append(errs, d.top.Close())
	}
	return errors.Join(errs...)
}

// daemon is our keepalived on the director.
type daemon struct {
	cmd   *exec.Cmd
	log   journal
	ended bool
}

func startDaemon(director *testnet.Host) (*daemon, error) {
	d := &daemon{cmd: exec.Command(guestDaemon, "-n", "-l", "-f", guestConf)}
	d.cmd.Stdout, d.cmd.Stderr = &d.log, &d.log
	return d, director.Start(d.cmd)
}

func (d *daemon) says(ctx context.Context, text string) error {
	return wait(ctx, fmt.Sprintf("keepalived to say %q", text), func() (bool, error) {
		return strings.Contains(d.log.text(), text), nil
	})
}

func (d *daemon) signal(s syscall.Signal) error { return d.cmd.Process.Signal(s) }

// end asks the daemon to end and waits for it. A second call does nothing.
func (d *daemon) end() error {
	if d.ended {
		return nil
	}
	d.ended = true
	// One that is gone already says why in Wait.
	if err := d.signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	if err := d.cmd.Wait(); err != nil {
		return fmt.Errorf("keepalived: %w", err)
	}
	return nil
}

// journal collects a log that is read while it grows.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

// Write implements io.Writer.
func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}
