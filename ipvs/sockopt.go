// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"net/netip"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
	"golang.org/x/sys/unix"
)

// Sockopt speaks to the IPVS of one network namespace by socket options, the
// interface that kernels without the family IPVS have. It knows IPv4 only, no
// persistence engine, no tunnel but IPIP, and counts packets, connections and
// rates in 32 bits; what it cannot say is refused with EAFNOSUPPORT before
// anything is sent. It has no extension: those methods return [ErrNoExt].
// Safe for concurrent use: the kernel takes each option for itself.
type Sockopt struct {
	noExt
	fd int
}

var (
	_ Applier = (*Sockopt)(nil)
	_ Reader  = (*Sockopt)(nil)
)

// DialSockopt opens a raw socket in the network namespace of the calling
// thread, and finds out whether ip_vs is there: an errno of socket(2), or
// ENOPROTOOPT if it is not.
func DialSockopt(ctx context.Context) (*Sockopt, error) {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	if err != nil {
		return nil, fmt.Errorf("open a raw socket: %w", err)
	}
	c := &Sockopt{fd: fd}
	if _, err := c.Info(ctx); err != nil {
		unix.Close(fd)
		return nil, err
	}
	return c, nil
}

// Close closes the socket.
func (c *Sockopt) Close() error { return unix.Close(c.fd) }

// Apply carries ops out one by one and stops at the first that fails.
func (c *Sockopt) Apply(ctx context.Context, ops ...Op) error {
	for i := range ops {
		err := ctx.Err()
		if err == nil {
			err = c.apply(&ops[i])
		}
		if err != nil {
			return &BatchError{Index: i, Op: ops[i], Acked: i, Err: ops[i].Failed(err)}
		}
	}
	return ctx.Err()
}

// Each carries ops out one by one and goes on behind those that are refused:
// failed is told of each, in order.
func (c *Sockopt) Each(ctx context.Context, ops []Op, failed func(i int, err *OpError)) error {
	for i := range ops {
		if err := ctx.Err(); err != nil {
			return &BatchError{Index: i, Op: ops[i], Acked: i, Err: ops[i].Failed(err)}
		}
		if err := c.apply(&ops[i]); err != nil {
			failed(i, ops[i].Failed(err))
		}
	}
	return ctx.Err()
}

func (c *Sockopt) apply(op *Op) error {
	number, ok := 0, int(op.Kind) < len(sockoptCommands)
	if ok {
		number = sockoptCommands[op.Kind]
		ok = number != 0
	}
	if !ok {
		return ErrNoExt
	}
	b, err := op.encodeSockopt()
	if err != nil {
		return err
	}
	return unix.SetsockoptString(c.fd, unix.IPPROTO_IP, number, string(b))
}

var sockoptCommands = [...]int{
	AddService: uapi.SoSetAdd, SetService: uapi.SoSetEdit, DelService: uapi.SoSetDel, Flush: uapi.SoSetFlush,
	AddDest: uapi.SoSetAddDest, SetDest: uapi.SoSetEditDest, DelDest: uapi.SoSetDelDest,
	SetTimeouts: uapi.SoSetTimeout, StartDaemon: uapi.SoSetStartDaemon, StopDaemon: uapi.SoSetStopDaemon,
	Zero: uapi.SoSetZero,
}

// The lengths of struct ip_vs_service_user, ip_vs_dest_user and so on in
// uapi/linux/ip_vs.h, which all 64 bit machines share.
const (
	serviceUserSize  = 44
	destUserSize     = 24
	timeoutUserSize  = 12
	daemonUserSize   = 24
	infoSize         = 12
	serviceEntrySize = 104
	destEntrySize    = 96
	getDestsHead     = 24
	getServicesHead  = 8
	schedNameSize    = 16
	ifNameSize       = 16
)

func (op *Op) encodeSockopt() ([]byte, error) {
	switch op.Kind {
	case AddService, SetService, DelService, Zero:
		if op.Kind == Zero && op.Service.ServiceKey == (ServiceKey{}) {
			return make([]byte, serviceUserSize), nil
		}
		return op.Service.sockopt()
	case AddDest, SetDest, DelDest:
		s, err := Service{ServiceKey: op.Service.ServiceKey}.sockopt()
		if err != nil {
			return nil, err
		}
		d, err := op.Dest.sockopt()
		return append(s, d...), err
	case SetTimeouts:
		b := make([]byte, 0, timeoutUserSize)
		for _, d := range []time.Duration{op.Times.TCP, op.Times.TCPFin, op.Times.UDP} {
			n, err := wholeSeconds(d)
			if err != nil {
				return nil, fmt.Errorf("connection timeout: %w", err)
			}
			b = binary.NativeEndian.AppendUint32(b, n)
		}
		return b, nil
	case StartDaemon, StopDaemon:
		return op.Daemon.sockopt()
	}
	return nil, nil
}

// sockopt is struct ip_vs_service_user.
func (s Service) sockopt() ([]byte, error) {
	if s.Family == IPv6 || s.Addr.Is6() || s.PEName != "" {
		return nil, syscall.EAFNOSUPPORT
	}
	timeout, err := wholeSeconds(s.Timeout)
	if err != nil {
		return nil, fmt.Errorf("persistence timeout: %w", err)
	}
	b := make([]byte, serviceUserSize)
	s.ServiceKey.sockopt(b)
	scheduler := s.Scheduler
	if scheduler == "" {
		scheduler = noScheduler
	}
	copy(b[16:16+schedNameSize-1], scheduler)
	binary.NativeEndian.PutUint32(b[32:], uint32(s.Flags))
	binary.NativeEndian.PutUint32(b[36:], timeout)
	mask := s.netmask()
	copy(b[40:44], mask[:])
	return b, nil
}

// sockopt fills in what begins all structures about a service. The kernel wants
// a protocol with a mark too.
func (k ServiceKey) sockopt(b []byte) {
	if k.FWMark != 0 {
		binary.NativeEndian.PutUint16(b, uint16(TCP))
		binary.NativeEndian.PutUint32(b[12:], k.FWMark)
		return
	}
	binary.NativeEndian.PutUint16(b, uint16(k.Protocol))
	if k.Addr.IsValid() {
		copy(b[4:8], k.Addr.AsSlice())
	}
	binary.BigEndian.PutUint16(b[8:], k.Port)
}

// sockopt is struct ip_vs_dest_user.
func (d Dest) sockopt() ([]byte, error) {
	if d.Family == IPv6 || d.Addr.Is6() || d.TunType != TunnelIPIP {
		return nil, syscall.EAFNOSUPPORT
	}
	if !d.Addr.IsValid() {
		return nil, fmt.Errorf("%w: a dest needs an address", errInvalid)
	}
	b := make([]byte, destUserSize)
	copy(b[:4], d.Addr.AsSlice())
	binary.BigEndian.PutUint16(b[4:], d.Port)
	binary.NativeEndian.PutUint32(b[8:], uint32(d.Forward))
	binary.NativeEndian.PutUint32(b[12:], d.Weight)
	binary.NativeEndian.PutUint32(b[16:], d.UpperThreshold)
	binary.NativeEndian.PutUint32(b[20:], d.LowerThreshold)
	return b, nil
}

// sockopt is struct ip_vs_daemon_user.
func (d Daemon) sockopt() ([]byte, error) {
	if d.MaxLen != 0 || d.Group.IsValid() || d.Port != 0 || d.TTL != 0 {
		return nil, syscall.EAFNOSUPPORT
	}
	if len(d.Interface) >= ifNameSize || strings.IndexByte(d.Interface, 0) >= 0 {
		return nil, fmt.Errorf("%w: %q is no name of an interface", errInvalid, d.Interface)
	}
	b := make([]byte, daemonUserSize)
	binary.NativeEndian.PutUint32(b, uint32(d.State))
	copy(b[4:20], d.Interface)
	binary.NativeEndian.PutUint32(b[20:], d.SyncID)
	return b, nil
}

// get reads an option into b, which also says what is asked for, and returns
// the part that the kernel filled.
func (c *Sockopt) get(ctx context.Context, option int, b []byte) ([]byte, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	n := uint32(len(b))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(c.fd), unix.IPPROTO_IP, uintptr(option),
		uintptr(unsafe.Pointer(unsafe.SliceData(b))), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		return nil, errno
	}
	return b[:min(int(n), len(b))], nil
}

// Info reads the version and the size of the connection table.
func (c *Sockopt) Info(ctx context.Context) (Info, error) {
	version, size, _, err := c.info(ctx)
	if err != nil {
		return Info{}, (&OpError{Op: "read info"}).fill(err)
	}
	return Info{Version: version, TabSize: size}, nil
}

// AppendDests is Dests behind those in to.
func (c *Sockopt) AppendDests(ctx context.Context, to []Dest, key ServiceKey, _ bool) ([]Dest, error) {
	dests, err := c.Dests(ctx, key)
	return append(to, dests...), err
}

// Version is Info: there is no extension.
func (c *Sockopt) Version(ctx context.Context) (Info, error) { return c.Info(ctx) }

func (c *Sockopt) info(ctx context.Context) (version, size, services uint32, err error) {
	b, err := c.get(ctx, uapi.SoGetInfo, make([]byte, infoSize))
	if err == nil && len(b) < infoSize {
		err = errMissing
	}
	if err != nil {
		return 0, 0, 0, err
	}
	n := binary.NativeEndian
	return n.Uint32(b), n.Uint32(b[4:]), n.Uint32(b[8:]), nil
}

// Services lists the IPv4 services in the kernel's order.
func (c *Sockopt) Services(ctx context.Context) ([]Service, error) {
	op := OpError{Op: "list services"}
	_, _, count, err := c.info(ctx)
	if err != nil {
		return nil, op.fill(err)
	}
	b := make([]byte, getServicesHead+int(count)*serviceEntrySize)
	binary.NativeEndian.PutUint32(b, count)
	b, err = c.get(ctx, uapi.SoGetServices, b)
	if err != nil {
		return nil, op.fill(err)
	}
	var list []Service
	for b = b[min(getServicesHead, len(b)):]; len(b) >= serviceEntrySize; b = b[serviceEntrySize:] {
		// An entry that the kernel left empty is of a service that has gone
		// since they were counted.
		if s, _ := serviceEntry(b); s.Protocol != 0 || s.FWMark != 0 {
			list = append(list, s)
		}
	}
	return list, nil
}

// Service reads one service; fs.ErrNotExist if there is none.
func (c *Sockopt) Service(ctx context.Context, key ServiceKey) (Service, error) {
	s, _, err := c.service(ctx, key)
	if err != nil {
		return Service{}, (&OpError{Op: "read service", Service: key}).fill(err)
	}
	return s, nil
}

func (c *Sockopt) service(ctx context.Context, key ServiceKey) (s Service, dests uint32, err error) {
	if key.Family == IPv6 || key.Addr.Is6() {
		return Service{}, 0, syscall.EAFNOSUPPORT
	}
	b := make([]byte, serviceEntrySize)
	key.sockopt(b)
	b, err = c.get(ctx, uapi.SoGetService, b)
	if err == nil && len(b) < serviceEntrySize {
		err = errMissing
	}
	if err != nil {
		return Service{}, 0, err
	}
	s, dests = serviceEntry(b)
	return s, dests, nil
}

// Dests lists the dests of a service; fs.ErrNotExist if there is no such
// service.
func (c *Sockopt) Dests(ctx context.Context, key ServiceKey) ([]Dest, error) {
	op := OpError{Op: "list dests", Service: key}
	_, count, err := c.service(ctx, key)
	if err != nil {
		return nil, op.fill(err)
	}
	b := make([]byte, getDestsHead+int(count)*destEntrySize)
	key.sockopt(b)
	binary.NativeEndian.PutUint32(b[16:], count)
	b, err = c.get(ctx, uapi.SoGetDests, b)
	if err != nil {
		return nil, op.fill(err)
	}
	var list []Dest
	for b = b[min(getDestsHead, len(b)):]; len(b) >= destEntrySize; b = b[destEntrySize:] {
		// As with services; the kernel takes no dest with this address.
		if d := destEntry(b); !d.Addr.IsUnspecified() {
			list = append(list, d)
		}
	}
	return list, nil
}

// serviceEntry reads struct ip_vs_service_entry.
func serviceEntry(b []byte) (s Service, dests uint32) {
	n := binary.NativeEndian
	s.ServiceKey = ServiceKey{Family: IPv4, FWMark: n.Uint32(b[12:])}
	if s.FWMark == 0 {
		s.Protocol = Protocol(n.Uint16(b))
		s.Addr = netip.AddrFrom4([4]byte(b[4:8]))
		s.Port = binary.BigEndian.Uint16(b[8:])
	}
	if s.Scheduler = cString(b[16 : 16+schedNameSize]); s.Scheduler == noScheduler {
		s.Scheduler = ""
	}
	s.Flags = ServiceFlags(n.Uint32(b[32:]))
	s.Timeout = seconds(n.Uint32(b[36:]))
	s.Netmask = binary.BigEndian.Uint32(b[40:])
	s.NoMask = s.hasNoMask()
	s.Stats = statsUser(b[48:])
	return s, n.Uint32(b[44:])
}

// destEntry reads struct ip_vs_dest_entry.
func destEntry(b []byte) (d Dest) {
	n := binary.NativeEndian
	d.DestKey = DestKey{Family: IPv4, Addr: netip.AddrFrom4([4]byte(b[:4])), Port: binary.BigEndian.Uint16(b[4:])}
	d.Forward = Forward(n.Uint32(b[8:]) & 7) // IP_VS_CONN_F_FWD_MASK
	d.Weight = n.Uint32(b[12:])
	d.UpperThreshold, d.LowerThreshold = n.Uint32(b[16:]), n.Uint32(b[20:])
	d.ActiveConns, d.InactConns, d.PersistConns = n.Uint32(b[24:]), n.Uint32(b[28:]), n.Uint32(b[32:])
	d.Stats = statsUser(b[40:])
	return d
}

// statsUser reads struct ip_vs_stats_user.
func statsUser(b []byte) Stats {
	n := func(at int) uint64 { return uint64(binary.NativeEndian.Uint32(b[at:])) }
	return Stats{
		Conns: n(0), InPkts: n(4), OutPkts: n(8),
		InBytes: binary.NativeEndian.Uint64(b[16:]), OutBytes: binary.NativeEndian.Uint64(b[24:]),
		CPS: n(32), InPPS: n(36), OutPPS: n(40), InBPS: n(44), OutBPS: n(48),
	}
}

func cString(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}

// Timeouts reads the timeouts of connections.
func (c *Sockopt) Timeouts(ctx context.Context) (Timeouts, error) {
	b, err := c.get(ctx, uapi.SoGetTimeout, make([]byte, timeoutUserSize))
	if err == nil && len(b) < timeoutUserSize {
		err = errMissing
	}
	if err != nil {
		return Timeouts{}, (&OpError{Op: "read timeouts"}).fill(err)
	}
	n := binary.NativeEndian
	return Timeouts{TCP: seconds(n.Uint32(b)), TCPFin: seconds(n.Uint32(b[4:])), UDP: seconds(n.Uint32(b[8:]))}, nil
}

// Daemons lists the running sync daemons, none to two, with what this
// interface tells of them: state, interface and number.
func (c *Sockopt) Daemons(ctx context.Context) ([]Daemon, error) {
	b, err := c.get(ctx, uapi.SoGetDaemon, make([]byte, 2*daemonUserSize))
	if err != nil {
		return nil, (&OpError{Op: "list daemons"}).fill(err)
	}
	var list []Daemon
	for ; len(b) >= daemonUserSize; b = b[daemonUserSize:] {
		if state := SyncState(binary.NativeEndian.Uint32(b)); state != 0 {
			list = append(list, Daemon{State: state, Interface: cString(b[4:20]), SyncID: binary.NativeEndian.Uint32(b[20:])})
		}
	}
	return list, nil
}

// noExt answers for the extension where there is none.
type noExt struct{}

func (noExt) ExtServices(context.Context) ([]ExtService, error) { return nil, ErrNoExt }
func (noExt) ExtService(context.Context, ServiceKey) (ExtService, error) {
	return ExtService{}, ErrNoExt
}
func (noExt) LGroups(context.Context) ([]LGroup, error)                     { return nil, ErrNoExt }
func (noExt) Laddrs(context.Context, string) ([]Laddr, error)               { return nil, ErrNoExt }
func (noExt) ExtStats(context.Context) (ExtStats, error)                    { return nil, ErrNoExt }
func (noExt) ExtConfig(context.Context) (ExtConfig, error)                  { return ExtConfig{}, ErrNoExt }
func (noExt) Conns(context.Context, ConnFilter) iter.Seq2[Conn, error]      { return failed[Conn]() }
func (noExt) Events(context.Context, func()) iter.Seq2[Event, error]        { return failed[Event]() }
func (noExt) DeleteConns(context.Context, ConnFilter) (uint64, error)       { return 0, ErrNoExt }
func (noExt) ServiceExtStats(context.Context, ServiceKey) (ExtStats, error) { return nil, ErrNoExt }

func (noExt) StreamExtServices(context.Context) iter.Seq2[ExtService, error] {
	return failed[ExtService]()
}

// failed yields ErrNoExt.
func failed[T any]() iter.Seq2[T, error] {
	return func(yield func(T, error) bool) {
		var none T
		yield(none, ErrNoExt)
	}
}
