// SPDX-License-Identifier: Apache-2.0

package busapi

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"
)

// Names on the bus. The name of the service itself is configurable.
const (
	DefaultName = "org.keepalived.Vrrp1"

	vrrpInterface     = "org.keepalived.Vrrp1.Vrrp"
	instanceInterface = "org.keepalived.Vrrp1.Instance"
	properties        = "org.freedesktop.DBus.Properties"
	introspectable    = "org.freedesktop.DBus.Introspectable"
	vrrpPath          = dbus.ObjectPath("/org/keepalived/Vrrp1/Vrrp")
	instancePath      = "/org/keepalived/Vrrp1/Instance"
)

// Request is what somebody on the bus asks for.
type Request int

// The methods of org.keepalived.Vrrp1.Vrrp.
const (
	PrintData Request = iota
	PrintStats
	PrintStatsClear
	ReloadConfig
)

// Options are the surroundings of a Service. The functions are called from
// goroutines of the bus and must not wait.
type Options struct {
	Name        string // of the service; empty is DefaultName
	NoInterface string // what stands in the path of an instance without one; empty is "none"
	Ask         func(Request)
	SendGARP    func(instance string)
}

// Instance is what the path of a virtual router is made of, and its name.
type Instance struct {
	Name      string
	Interface string // empty: none
	VRID      uint8
	IPv6      bool
}

// State is that of an instance, in the numbers of VrrpStatusChange.
type State uint32

// StateStop ends each instance; the lower numbers are those of [vrrp.State].
const StateStop State = 98

var stateNames = map[State]string{0: "Init", 1: "Backup", 2: "Master", 3: "Fault"}

// queueLength bounds what waits for a bus that does not read; what is more is lost.
const queueLength = 4096

// closeTime bounds what Close waits for the bus.
const closeTime = 2 * time.Second

// Service is there on the bus until Close. Its methods may be called from any
// goroutine and do not wait for the bus.
type Service struct {
	opts Options
	conn *dbus.Conn
	out  chan signal
	wg   sync.WaitGroup

	mu     sync.Mutex // guards what follows
	states map[string]State
	paths  map[string]dbus.ObjectPath // by name
	order  []string
	closed bool
}

// signal is one that waits to be sent.
type signal struct {
	path dbus.ObjectPath
	name string
	args []any
}

// Open connects to the system bus, takes the name and tells that the routers have
// started.
func Open(opts Options) (*Service, error) {
	if opts.Name == "" {
		opts.Name = DefaultName
	}
	if opts.NoInterface == "" {
		opts.NoInterface = "none"
	}
	conn, err := dbus.ConnectSystemBus()
	if err != nil {
		return nil, fmt.Errorf("D-Bus: %w", err)
	}
	s := &Service{opts: opts, conn: conn, out: make(chan signal, queueLength), states: map[string]State{}, paths: map[string]dbus.ObjectPath{}}
	err = errors.Join(
		conn.ExportMethodTable(map[string]any{
			"PrintData":       s.asking(PrintData),
			"PrintStats":      s.asking(PrintStats),
			"PrintStatsClear": s.asking(PrintStatsClear),
			"ReloadConfig":    s.asking(ReloadConfig),
		}, vrrpPath, vrrpInterface),
		s.describe(vrrpPath, vrrpXML),
		conn.Export(noProperties{}, vrrpPath, properties))
	if err == nil {
		var reply dbus.RequestNameReply
		reply, err = conn.RequestName(opts.Name, dbus.NameFlagDoNotQueue)
		if err == nil && reply != dbus.RequestNameReplyPrimaryOwner {
			err = errors.New("another program has it")
		}
		if err != nil {
			err = fmt.Errorf("name %s: %w", opts.Name, err)
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("D-Bus: %w", err), conn.Close())
	}
	s.wg.Go(s.send)
	s.queue(signal{vrrpPath, vrrpInterface + ".VrrpStarted", nil})
	return s, nil
}

// send hands signals to the bus, in their order.
func (s *Service) send() {
	for x := range s.out {
		// A bus that has gone leaves nobody to tell.
		_ = s.conn.Emit(x.path, x.name, x.args...)
	}
}

func (s *Service) queue(x signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.queueLocked(x)
}

func (s *Service) queueLocked(x signal) {
	if s.closed {
		return
	}
	select {
	case s.out <- x:
	default:
	}
}

func (s *Service) asking(r Request) func() *dbus.Error {
	return func() *dbus.Error { s.opts.Ask(r); return nil }
}

func (s *Service) describe(path dbus.ObjectPath, xml string) error {
	return s.conn.ExportMethodTable(map[string]any{
		"Introspect": func() (string, *dbus.Error) { return xml, nil },
	}, path, introspectable)
}

// Set has exactly these instances on the bus. One that stays keeps its state.
func (s *Service) Set(list []Instance) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	paths, order := map[string]dbus.ObjectPath{}, []string(nil)
	for _, in := range list {
		paths[in.Name] = s.path(in)
		order = append(order, in.Name)
	}
	var errs []error
	for name, path := range s.paths {
		if paths[name] != path {
			for _, iface := range []string{instanceInterface, properties, introspectable} {
				errs = append(errs, s.conn.Export(nil, path, iface))
			}
		}
		if _, ok := paths[name]; !ok {
			delete(s.states, name)
		}
	}
	for name, path := range paths {
		if s.paths[name] != path {
			o := &object{s, name}
			errs = append(errs,
				s.conn.ExportMethodTable(map[string]any{"SendGarp": o.sendGarp}, path, instanceInterface),
				s.conn.Export(o, path, properties), s.describe(path, instanceXML))
		}
	}
	s.paths, s.order = paths, order
	return errors.Join(errs...)
}

// path has an underscore for each byte that a path of the bus cannot have.
func (s *Service) path(in Instance) dbus.ObjectPath {
	link, family := in.Interface, "IPv4"
	if link == "" {
		link = s.opts.NoInterface
	}
	if in.IPv6 {
		family = "IPv6"
	}
	b := []byte(link)
	for i, c := range b {
		if (c < '0' || c > '9') && (c < 'A' || c > 'Z') && (c < 'a' || c > 'z') {
			b[i] = '_'
		}
	}
	return dbus.ObjectPath(fmt.Sprintf("%s/%s/%d/%s", instancePath, b, in.VRID, family))
}

// Changed tells the new state of an instance.
func (s *Service) Changed(name string, state State) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.changed(name, state)
}

func (s *Service) changed(name string, state State) {
	if path, ok := s.paths[name]; ok {
		s.states[name] = state
		s.queueLocked(signal{path, instanceInterface + ".VrrpStatusChange", []any{uint32(state)}})
	}
}

// Reloaded tells that a configuration has been taken over.
func (s *Service) Reloaded() { s.queue(signal{vrrpPath, vrrpInterface + ".VrrpReloaded", nil}) }

// Close tells the end of all instances and leaves the bus.
func (s *Service) Close() error {
	s.mu.Lock()
	for _, name := range s.order {
		s.changed(name, StateStop)
	}
	s.queueLocked(signal{vrrpPath, vrrpInterface + ".VrrpStopped", nil})
	s.closed = true
	s.mu.Unlock()
	close(s.out)
	// A bus that does not read must not keep the daemon from its end.
	late := time.AfterFunc(closeTime, func() { _ = s.conn.Close() })
	s.wg.Wait()
	_, err := s.conn.ReleaseName(s.opts.Name)
	if !late.Stop() {
		return fmt.Errorf("D-Bus: no answer for %v", closeTime)
	}
	return errors.Join(err, s.conn.Close())
}

// object has the methods of the properties of one instance.
type object struct {
	s    *Service
	name string
}

func (o *object) sendGarp() *dbus.Error {
	o.s.opts.SendGARP(o.name)
	return nil
}

// all: Name is announced as a string, and keepalived has always answered with a
// structure of one.
func (o *object) all() map[string]dbus.Variant {
	o.s.mu.Lock()
	defer o.s.mu.Unlock()
	state := o.s.states[o.name]
	return map[string]dbus.Variant{
		"Name": dbus.MakeVariant(struct{ Name string }{o.name}),
		"State": dbus.MakeVariant(struct {
			Number uint32
			Name   string
		}{uint32(state), stateNames[state]}),
	}
}

// Get is org.freedesktop.DBus.Properties.Get.
func (o *object) Get(iface, name string) (dbus.Variant, *dbus.Error) {
	if v, ok := o.all()[name]; ok && iface == instanceInterface {
		return v, nil
	}
	return dbus.Variant{}, unknownProperty(name)
}

// GetAll is org.freedesktop.DBus.Properties.GetAll.
func (o *object) GetAll(iface string) (map[string]dbus.Variant, *dbus.Error) {
	if iface != instanceInterface {
		return noProperties{}.GetAll(iface)
	}
	return o.all(), nil
}

// Set is org.freedesktop.DBus.Properties.Set: there is none to be set.
func (o *object) Set(iface, name string, v dbus.Variant) *dbus.Error {
	return noProperties{}.Set(iface, name, v)
}

// noProperties are those of an object without any.
type noProperties struct{}

// Get is org.freedesktop.DBus.Properties.Get.
func (noProperties) Get(_, name string) (dbus.Variant, *dbus.Error) {
	return dbus.Variant{}, unknownProperty(name)
}

// GetAll is org.freedesktop.DBus.Properties.GetAll.
func (noProperties) GetAll(string) (map[string]dbus.Variant, *dbus.Error) {
	return map[string]dbus.Variant{}, nil
}

// Set is org.freedesktop.DBus.Properties.Set.
func (noProperties) Set(_, name string, _ dbus.Variant) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"property " + name + " cannot be set"})
}

func unknownProperty(name string) *dbus.Error {
	return dbus.NewError("org.freedesktop.DBus.Error.InvalidArgs", []any{"no such property " + name})
}
