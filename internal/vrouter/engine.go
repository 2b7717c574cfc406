// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/internal/netif"
	"github.com/lvs-fnat/lvs/internal/poll"
	"github.com/lvs-fnat/lvs/vrrp"
)

// Options are the surroundings of an Engine.
type Options struct {
	Log *slog.Logger
	// Adopt is called with each configuration that is taken over, before anything
	// is told under it; as Tell, by the loop.
	Adopt func(*config.Config)
	// Tell passes a notice on to those outside. The loop calls it: it must not wait.
	Tell func(Notice)
	// Changed is told each new state of an instance; as Tell, by the loop.
	Changed func(name string, vrid uint8, state vrrp.State)
	// Trap is told each event that SNMP has; as Tell, by the loop. nil: nobody asks.
	Trap func(agentx.Trap)
	// RouterID gives the name of the router under a configuration.
	RouterID func(*config.Config) string
	// Command makes a command of a tracked script, as whom it has to run, in a
	// process group of its own; it is not started. It may be called from several
	// goroutines.
	Command func(context.Context, config.Script) (*exec.Cmd, error)
	// Late is told how late each timer of a router has been; as Tell, by the loop. nil:
	// nobody asks.
	Late func(time.Duration)
	// LogAddresses logs every address that comes or goes (-a).
	LogAddresses bool
	// KeepAddresses leaves the addresses of masters there at the end (-V).
	KeepAddresses bool
}

// Engine runs the virtual routers of one configuration.
type Engine struct {
	opts Options
	log  *slog.Logger
	loop *poll.Loop
	host *netif.Host
	ann  *netif.Announcer
	// guard drops traffic to addresses of no_accept; nil while nobody has that.
	guard *firewall.Guard

	watch   *netif.Watcher
	links   links
	sockets map[socketKey]*socket
	inbox   *netif.Inbox // of all sockets: each is read to its end
	queues  map[int]*announceQueue
	shared  map[string]*shared // settings of links under VMACs, by name
	// reverse is the filter by source of each link, "all" and "default" before the first
	// link of a virtual router came; nil while there is none.
	reverse    map[string]string
	igmp       string // igmp_link_local_mcast_reports as it was; "": not changed
	prepared   bool   // links of virtual routers may go up as soon as they are there
	undiverted bool   // it was said that there is no nftables
	units      []*unit
	byName     map[string]*instance
	tracks     tracks
	statics    statics
	beats      beats
	cfg        *config.Config
	virtuals   map[netip.Addr]bool // all virtual addresses of cfg
	order      []*instance         // as in the file
	born       time.Time
	started    bool
	stopping   bool
	drainUntil time.Time     // when what is still queued for a link that goes is given up
	strays     vrrp.Counters // packets that belong to no instance
	commands   sync.WaitGroup
	stopCmds   context.CancelFunc
	cmdCtx     context.Context // of the commands, not of a call: they outlive it
}

// ConfigError says that the configuration cannot run on this host.
type ConfigError struct{ Errs []string }

// Error joins the lines.
func (e *ConfigError) Error() string { return strings.Join(e.Errs, "; ") }

// Open prepares to run cfg in the network namespace of the process. Addresses
// that a dead process has left are removed. A *ConfigError says that cfg cannot
// run here. Close the Engine.
func Open(ctx context.Context, cfg *config.Config, opts Options) (*Engine, error) {
	e := &Engine{opts: opts, log: opts.Log, sockets: map[socketKey]*socket{}, inbox: &netif.Inbox{}, born: time.Now(), queues: map[int]*announceQueue{}, shared: map[string]*shared{}, byName: map[string]*instance{}}
	e.tracks.e, e.tracks.sessions = e, map[string]bool{}
	e.beats.ask = netif.Beat
	e.cmdCtx, e.stopCmds = context.WithCancel(context.Background())
	if err := e.open(ctx, cfg); err != nil {
		return nil, errors.Join(err, e.Close())
	}
	return e, nil
}

func (e *Engine) open(ctx context.Context, cfg *config.Config) error {
	var err error
	if e.loop, err = poll.New(nil); err != nil {
		return err
	}
	if e.host, err = netif.Open(); err != nil {
		return err
	}
	if e.ann, err = netif.NewAnnouncer(); err != nil {
		return err
	}
	post := func(ev netif.Event) { e.loop.Post(func() { e.event(ev) }) }
	lost := func(err error) { e.loop.Post(func() { e.resync(err) }) }
	buffers := &cfg.Global.VRRP.Netlink
	if e.watch, err = netif.Watch(buffers.Monitor, buffers.Monitor == 0 || buffers.MonitorForce, post, lost); err != nil {
		return err
	}
	if err := e.bufferCommands(cfg); err != nil {
		return err
	}
	if err := e.links.read(e.host); err != nil {
		return err
	}
	if err := e.check(cfg); err != nil {
		return err
	}
	return e.build(ctx, cfg)
}

// bufferCommands gives the socket of requests its receive buffer. That of events is as
// large as at the start.
func (e *Engine) bufferCommands(cfg *config.Config) error {
	b := &cfg.Global.VRRP.Netlink
	if b.Command == 0 {
		return nil
	}
	return e.host.SetReadBuffer(b.Command, b.CommandForce)
}

// check tells what of cfg this host cannot run.
func (e *Engine) check(cfg *config.Config) error {
	var errs []string
	if !cfg.Global.VRRP.DynamicInterfaces {
		for i := range cfg.VRRP.Instances {
			in := &cfg.VRRP.Instances[i]
			if in.Interface != "" && e.links.named(in.Interface) == nil {
				errs = append(errs, fmt.Sprintf("(%s) interface %s does not exist: create it, or write dynamic_interfaces", in.Machine.Name, in.Interface))
			}
		}
	}
	if len(errs) > 0 {
		return &ConfigError{errs}
	}
	return nil
}

// build makes everything of a first configuration.
func (e *Engine) build(ctx context.Context, cfg *config.Config) error {
	e.opts.Adopt(cfg)
	e.use(cfg)
	e.localIGMP(cfg)
	for i := range cfg.VRRP.Instances {
		in, err := e.newInstance(&cfg.VRRP.Instances[i])
		if err != nil {
			return &ConfigError{[]string{err.Error()}}
		}
		in.clean(ctx)
	}
	// What a dead process has guarded is guarded until its addresses are gone.
	e.guardFor(cfg)
	e.prepared = true
	for i := range cfg.VRRP.Instances {
		in := e.byName[cfg.VRRP.Instances[i].Machine.Name]
		in.raise()
		in.assess()
	}
	if err := e.regroup(); err != nil {
		return err
	}
	e.static(ctx, config.Static{}, cfg.VRRP.Static)
	e.tracks.build(e, cfg)
	e.trackStatic()
	e.beats.follow(e)
	return nil
}

// localIGMP has the kernel report no membership in groups of the link, which switches
// pass on without, if disable_local_igmp says so.
func (e *Engine) localIGMP(cfg *config.Config) {
	if !cfg.Global.VRRP.DisableLocalIGMP {
		return
	}
	old, err := netif.GlobalSysctl(localReports, "0")
	if err != nil {
		e.warn(fmt.Errorf("disable_local_igmp: %w", err))
		return
	}
	e.igmp = old
}

const localReports = "ipv4/igmp_link_local_mcast_reports"

// guardFor opens the firewall where an instance needs it.
func (e *Engine) guardFor(cfg *config.Config) {
	needs := func(in config.Instance) bool {
		return in.NoAccept || in.VMAC != nil || in.AddrVMAC ||
			slices.ContainsFunc(slices.Concat(in.Addrs, in.Excluded), func(a config.Address) bool { return a.UseVMAC })
	}
	if e.guard != nil || !slices.ContainsFunc(cfg.VRRP.Instances, needs) {
		return
	}
	f := &cfg.Global.VRRP.Firewall
	var err error
	e.guard, err = firewall.New(firewall.Options{Table: f.Table, Priority: f.Priority, Counters: f.Counters, ByIndex: f.ByIndex})
	e.warn(err)
}

// regroup makes the units of the configuration out of its instances.
func (e *Engine) regroup() error {
	taken := map[string]bool{}
	e.units, e.order = nil, nil
	for i := range e.cfg.VRRP.Instances {
		e.order = append(e.order, e.byName[e.cfg.VRRP.Instances[i].Machine.Name])
	}
	for i := range e.cfg.VRRP.Groups {
		g := &e.cfg.VRRP.Groups[i]
		u := &unit{e: e, name: g.Name, cfg: g}
		var machines []*vrrp.Machine
		for _, name := range g.Members {
			if in := e.byName[name]; in != nil {
				taken[name] = true
				u.add(in)
				machines = append(machines, in.m)
			}
		}
		u.group = vrrp.Regroup(g.Name, machines...)
		e.units = append(e.units, u)
	}
	for i := range e.cfg.VRRP.Instances {
		if name := e.cfg.VRRP.Instances[i].Machine.Name; !taken[name] {
			u := &unit{e: e, name: name}
			u.add(e.byName[name])
			e.units = append(e.units, u)
		}
	}
	for _, u := range e.units {
		u.timer.E = u
	}
	return nil
}

// Run runs until ctx ends; then masters resign, and addresses go.
func (e *Engine) Run(ctx context.Context) error {
	delay := e.cfg.Global.VRRP.StartupDelay
	if boot := e.cfg.Global.VRRP.DelayAfterBoot; boot > 0 {
		delay = max(delay, boot-uptime())
	}
	start := expirer(func() {
		e.started = true
		e.tracks.start()
		for _, u := range e.units {
			u.start()
		}
	})
	timer := poll.Timer{E: start}
	if delay > 0 {
		e.log.Info(fmt.Sprintf("Delaying startup for %v", delay))
		e.loop.Arm(&timer, delay)
	} else {
		e.loop.Post(start.Expire)
	}
	err := e.loop.Run(ctx)
	e.stop()
	return err
}

// expirer is a function as a timer's handler.
type expirer func()

// Expire calls it.
func (f expirer) Expire() { f() }

func uptime() time.Duration {
	b, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0
	}
	text, _, _ := strings.Cut(string(b), " ")
	s, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return 0
	}
	return time.Duration(s * float64(time.Second))
}

// stop is the end of all units, in the reverse order. All resign before the first link
// goes: that takes time, in which nobody advertises.
func (e *Engine) stop() {
	e.stopping = true
	ctx := context.Background()
	for _, u := range slices.Backward(e.units) {
		u.resign()
	}
	e.drainUntil = time.Now().Add(drainAtStop)
	for _, u := range slices.Backward(e.units) {
		for _, in := range u.members {
			in.gone(ctx)
		}
	}
	if !e.opts.KeepAddresses {
		e.static(ctx, e.cfg.VRRP.Static, config.Static{})
	}
	e.tracks.stop()
}

// patience is how long commands may go on after the end.
const patience = time.Second

// Close waits for the commands that still run, ends them when patience is over,
// and closes all that Open has opened.
func (e *Engine) Close() error {
	end := time.AfterFunc(patience, e.stopCmds)
	e.commands.Wait()
	end.Stop()
	e.stopCmds()
	e.tracks.close()
	if e.statics.watch != nil {
		e.statics.watch.Close()
	}
	if e.watch != nil {
		e.watch.Close()
	}
	var errs []error
	if e.guard != nil && !e.opts.KeepAddresses {
		errs = append(errs, e.guard.Close())
	}
	if e.igmp != "" {
		_, err := netif.GlobalSysctl(localReports, e.igmp)
		errs = append(errs, err)
	}
	for _, s := range e.sockets {
		errs = append(errs, s.Close())
	}
	if e.ann != nil {
		errs = append(errs, e.ann.Close())
	}
	if e.host != nil {
		e.host.Close()
	}
	if e.loop != nil {
		errs = append(errs, e.loop.Close())
	}
	return errors.Join(errs...)
}

// Do runs f on the loop's goroutine and waits for it; an error says that the
// engine does not run or ctx has ended.
func (e *Engine) Do(ctx context.Context, f func() error) error { return e.loop.Do(ctx, f) }

// Config is the configuration in force. The loop calls it, or [Engine.Do].
func (e *Engine) Config() *config.Config { return e.cfg }

// Session says whether a BFD session is up; one that nothing was said of is down.
// It may be called from any goroutine.
func (e *Engine) Session(name string, up bool) {
	e.loop.Post(func() {
		if !e.stopping {
			e.tracks.session(name, up)
		}
	})
}

func (e *Engine) warn(err error) {
	if err != nil {
		e.log.Warn(err.Error())
	}
}
