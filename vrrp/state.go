// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"net/netip"
	"time"
)

// State of an instance or a group. The numbers are those of keepalived's JSON
// and D-Bus.
type State uint8

// An instance begins in Init and is in exactly one state at any time.
const (
	Init State = iota
	Backup
	Master
	Fault
)

// String gives the word that notify scripts get.
func (s State) String() string {
	return [...]string{"INIT", "BACKUP", "MASTER", "FAULT"}[s]
}

// Config is one instance. Fields bear the names of keepalived's keywords; the
// zero value of a switch is keepalived's default.
type Config struct {
	Name     string
	Version  int // 2 or 3
	VRID     uint8
	Priority uint8         // 1 to 255; 255 is [Owner]
	Interval time.Duration // advert_int
	Addrs    []netip.Addr  // virtual_ipaddress
	Source   netip.Addr    // breaks the tie of equal priorities

	NoPreempt        bool
	PreemptDelay     time.Duration
	DownTimerAdverts int // default 3

	LowerPrioNoAdvert     bool
	HigherPrioSendAdvert  bool
	OwnerIgnoreAdverts    bool
	GARPMasterDelay       time.Duration // to the second burst; 0: there is none
	GARPMasterRepeat      int
	GARPMasterRefresh     time.Duration // 0: never
	GARPRefreshRepeat     int
	GARPLowerPrioDelay    time.Duration
	GARPLowerPrioRepeat   int // 0: no burst
	SyncTrackingWeight    bool
	IgnoreDeletedAddress  bool // no_track: an address deleted by others is no event
	KeepAddressesWhenStop bool // option -V
	// TimerExpiredBackup is the highest priority of another router; 0: off. A master
	// that was held up for so long that such a backup has taken over meanwhile yields,
	// instead of going on with its addresses.
	TimerExpiredBackup uint8
}

func (c *Config) check() error {
	probe := Advert{Version: c.Version, VRID: c.VRID, Interval: c.Interval, Addrs: c.Addrs}
	if _, err := probe.wireInterval(); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	group := MulticastIPv4
	if c.Source.Is6() {
		group = MulticastIPv6
	}
	switch {
	case c.Priority == 0:
		return fmt.Errorf("%s: priority 0: there is 1 to 255", c.Name)
	case c.PreemptDelay < 0 || c.DownTimerAdverts < 0 || c.DownTimerAdverts > 100:
		return fmt.Errorf("%s: preempt_delay %v, down_timer_adverts %d: out of range", c.Name, c.PreemptDelay, c.DownTimerAdverts)
	}
	if err := probe.checkAddrs(c.Source, group); err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	return nil
}

// Event is what a [Machine] reacts to: [Start], [Received], [Timeout], [Down],
// [Up], [Weight], [AddressLost], [Stop].
type Event interface{ event() }

// Start leaves Init. Where a script tracked without weight has not run yet, its
// first result comes before.
type Start struct{}

// Received is an advertisement that [Receiver.Accept] believed.
type Received struct {
	Advert Advert
	Src    netip.Addr
}

// Timeout says that [Machine.Next] has come. It does nothing before that.
type Timeout struct{}

// Down is the failure of something tracked without weight, such as the
// interface; Up its end. What names it.
type (
	Down struct{ What string }
	Up   struct{ What string }
)

// Weight is what something tracked adds to the priority now; 0 withdraws it.
type Weight struct {
	What  string
	Delta int
}

// AddressLost says that somebody deleted an address of a master.
type AddressLost struct{ Addr netip.Addr }

// Stop is the end of the daemon or of the instance. Only [Start] follows.
type Stop struct{}

func (Start) event()       {}
func (Received) event()    {}
func (Timeout) event()     {}
func (Down) event()        {}
func (Up) event()          {}
func (Weight) event()      {}
func (AddressLost) event() {}
func (Stop) event()        {}

// Kind of an action.
type Kind uint8

// What a machine asks for, in the order it has to happen.
const (
	SendAdvert      Kind = iota // with Priority
	AddAddrs                    // addresses, routes, rules
	DelAddrs                    // the reverse
	Announce                    // gratuitous ARP or NA, Repeat rounds over all addresses
	Notify                      // scripts, FIFO, mail: State is new
	NotifyLowerPrio             // notify_master_rx_lower_pri
	NotifyStop                  // notify_stop
	NotifyPriority              // Priority is new
	Log                         // Text
	NotifyGroup                 // of a Group: State is new
)

// String names the action as docs/vrrp.md does.
func (k Kind) String() string {
	return [...]string{"advert", "add", "del", "announce", "notify", "notify lower", "notify stop", "notify priority", "log", "notify group"}[k]
}

// Action is one thing to do. Fields its Kind does not name are zero.
type Action struct {
	Kind     Kind
	Priority uint8
	Repeat   int
	State    State
	Text     string
}

// String is for tests and traces.
func (a Action) String() string {
	switch a.Kind {
	case SendAdvert, NotifyPriority:
		return fmt.Sprintf("%v %d", a.Kind, a.Priority)
	case Announce:
		return fmt.Sprintf("%v %d", a.Kind, a.Repeat)
	case Notify, NotifyGroup:
		return fmt.Sprintf("%v %v", a.Kind, a.State)
	case Log:
		return "log: " + a.Text
	}
	return a.Kind.String()
}
