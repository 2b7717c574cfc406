// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// maxNameWidth is where a name with port is cut, in listings and in -S.
const maxNameWidth = 59

// endpointText writes an address with its port, resolved unless numeric.
func (a *app) endpointText(ctx context.Context, addr netip.Addr, port uint16, proto ipvs.Protocol, numeric bool) string {
	if numeric && addr.Is4() {
		return numericText(addr, port)
	}
	host, service := addr.String(), strconv.Itoa(int(port))
	if addr.Is6() {
		host = inet6Text(addr)
	}
	if !numeric {
		host, service = a.names.host(ctx, addr), a.names.serviceName(port, proto)
	}
	if addr.Is6() {
		host = "[" + host + "]"
	}
	text := host + ":" + service
	return text[:min(len(text), maxNameWidth)]
}

// numericText writes an address with its port, in numbers.
func numericText(addr netip.Addr, port uint16) string { return string(appendNumeric(nil, addr, port)) }

func appendNumeric(b []byte, addr netip.Addr, port uint16) []byte {
	if addr.Is6() {
		b = append(append(b, bracketed(addr)...), ':')
		return strconv.AppendUint(b, uint64(port), 10)
	}
	return netip.AddrPortFrom(addr, port).AppendTo(b) // 21 bytes at most
}

// bracketed writes an IPv6 address that something follows.
func bracketed(addr netip.Addr) string { return "[" + inet6Text(addr) + "]" }

// inet6Text is inet_ntop's text, which Go's is but for embedded IPv4.
func inet6Text(addr netip.Addr) string {
	b := addr.As16()
	for _, x := range b[:12] {
		if x != 0 {
			return addr.String()
		}
	}
	if b[12] == 0 && b[13] == 0 {
		return addr.String()
	}
	return fmt.Sprintf("::%d.%d.%d.%d", b[12], b[13], b[14], b[15])
}

// largeNumber is a number in a column 9 wide, cut to a unit when it does not fit.
func largeNumber(n uint64, exact bool) string { return string(appendLarge(nil, n, exact)) }

func appendLarge(b []byte, n uint64, exact bool) []byte {
	switch {
	case exact && n >= 100_000_000:
		return strconv.AppendUint(append(b, ' '), n, 10)
	case exact || n < 100_000_000:
		return rightNumber(b, n, 9)
	case n < 1_000_000_000:
		return append(rightNumber(b, n/1000, 8), 'K')
	case n < 100_000_000_000:
		return append(rightNumber(b, n/1_000_000, 8), 'M')
	case n < 100_000_000_000_000:
		return append(rightNumber(b, n/1_000_000_000, 8), 'G')
	}
	return append(rightNumber(b, n/1_000_000_000_000, 8), 'T')
}

const blanks = "                                 "

// left appends text, and blanks up to width bytes.
func left[T string | []byte](b []byte, text T, width int) []byte {
	b = append(b, text...)
	return append(b, blanks[:max(width-len(text), 0)]...)
}

// leftNumber is left of a number.
func leftNumber(b []byte, n int64, width int) []byte {
	at := len(b)
	b = strconv.AppendInt(b, n, 10)
	return append(b, blanks[:max(width-(len(b)-at), 0)]...)
}

// rightNumber appends blanks, then a number, together at least width bytes.
func rightNumber(b []byte, n uint64, width int) []byte {
	digits := 1
	for m := n; m >= 10; m /= 10 {
		digits++
	}
	return strconv.AppendUint(append(b, blanks[:max(width-digits, 0)]...), n, 10)
}

// listing is one format of the table.
type listing struct {
	head    func() string
	service func(l *lister, s *ipvs.Service, name []byte)
	dest    func(l *lister, d *ipvs.Dest, name []byte)
}

// lister prints tables of one call.
type lister struct {
	*app
	w       io.Writer
	numeric bool
	exact   bool
	nosort  bool
	stats   bool                         // the listing has counters
	fnat    map[ipvs.ServiceKey]ipvs.Ext // of services that the extension knows
	format  listing
	current *ipvs.Service
	dests   []ipvs.Dest // those of current
	spare   []int32     // to sort them
	name    []byte      // of the line being written
	line    []byte      // the line being written
}

// formats holds the formats in the order in which one wins over another.
var formats = []struct {
	col column
	listing
}{
	{colStats, listing{
		func() string { return head("%8s %8s %8s %8s %8s", "Conns", "InPkts", "OutPkts", "InBytes", "OutBytes") },
		func(l *lister, s *ipvs.Service, name []byte) { l.counters("", 33, name, &s.Stats) },
		func(l *lister, d *ipvs.Dest, name []byte) { l.counters("  -> ", 28, name, &d.Stats) },
	}},
	{colRate, listing{
		func() string { return head("%8s %8s %8s %8s %8s", "CPS", "InPPS", "OutPPS", "InBPS", "OutBPS") },
		func(l *lister, s *ipvs.Service, name []byte) { l.rates(name, &s.Stats) },
		func(l *lister, d *ipvs.Dest, name []byte) { l.destRates(name, &d.Stats) },
	}},
	{colThresholds, listing{
		func() string {
			return head("%-10s %-10s %-10s %-10s", "Uthreshold", "Lthreshold", "ActiveConn", "InActConn")
		},
		(*lister).settings,
		func(l *lister, d *ipvs.Dest, name []byte) {
			fmt.Fprintf(l.w, "  -> %-28s %-10d %-10d %-10d %-10d\n", name, d.UpperThreshold, d.LowerThreshold, d.ActiveConns, d.InactConns)
		},
	}},
	{colPersistentConn, listing{
		func() string {
			return head("%-9s %-11s %-10s %-10s", "Weight", "PersistConn", "ActiveConn", "InActConn")
		},
		(*lister).settings,
		func(l *lister, d *ipvs.Dest, name []byte) {
			fmt.Fprintf(l.w, "  -> %-28s %-9d %-11d %-10d %-10d\n", name, d.Weight, d.PersistConns, d.ActiveConns, d.InactConns)
		},
	}},
	{colTunInfo, listing{
		func() string {
			return headService + " Scheduler Flags\n  -> RemoteAddress:Port           Forward TunnelInfo    Weight ActiveConn InActConn\n"
		},
		(*lister).settings,
		func(l *lister, d *ipvs.Dest, name []byte) {
			fmt.Fprintf(l.w, "  -> %-28s %-7s %-13s %-6d %-10d %-10d\n", name, l.forward(d), tunnelText(d), int32(d.Weight), d.ActiveConns, d.InactConns)
		},
	}},
	{colSort, listing{
		func() string {
			return headService + " Scheduler Flags\n  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn\n"
		},
		(*lister).settings,
		func(l *lister, d *ipvs.Dest, name []byte) {
			b := left(append(l.line[:0], "  -> "...), name, 28)
			b = left(append(b, ' '), l.forward(d), 7)
			b = leftNumber(append(b, ' '), int64(int32(d.Weight)), 6)
			b = leftNumber(append(b, ' '), int64(d.ActiveConns), 10)
			b = leftNumber(append(b, ' '), int64(d.InactConns), 10)
			l.write(append(b, '\n'))
		},
	}},
}

// head are the two lines above a table whose columns have a width each.
func head(format string, columns ...any) string {
	return fmt.Sprintf("%-33s "+format+"\n  -> RemoteAddress:Port\n", append([]any{headService}, columns...)...)
}

// write writes line, whose memory the next one uses.
func (l *lister) write(line []byte) {
	l.line = line
	l.w.Write(line)
}

const headService = "Prot LocalAddress:Port"

func (l *lister) counters(begin string, width int, name []byte, s *ipvs.Stats) {
	b := left(append(l.line[:0], begin...), name, width)
	for _, n := range [...]uint64{s.Conns, s.InPkts, s.OutPkts, s.InBytes, s.OutBytes} {
		b = appendLarge(b, n, l.exact)
	}
	l.write(append(b, '\n'))
}

func (l *lister) rates(name []byte, s *ipvs.Stats) {
	b := left(l.line[:0], name, 33)
	for _, n := range [...]uint64{s.CPS, s.InPPS, s.OutPPS, s.InBPS, s.OutBPS} {
		b = appendLarge(b, n, l.exact)
	}
	l.write(append(b, '\n'))
}

// destRates writes the first three without units, as the contract has it.
func (l *lister) destRates(name []byte, s *ipvs.Stats) {
	fmt.Fprintf(l.w, "  -> %-28s %8d %8d %8d%s%s\n", name, s.CPS, s.InPPS, s.OutPPS,
		largeNumber(s.InBPS, l.exact), largeNumber(s.OutBPS, l.exact))
}

// settings writes the line of a service in all formats without counters.
func (l *lister) settings(s *ipvs.Service, name []byte) {
	b := append(append(l.line[:0], name...), ' ')
	b = append(b, schedulerName(s)...)
	if text, any := schedFlagText(s); any {
		b = append(append(append(b, " ("...), text...), ')')
	}
	if s.Flags&ipvs.FlagPersistent != 0 {
		b = strconv.AppendInt(append(b, " persistent "...), int64(s.Timeout/time.Second), 10)
		if mask := maskText(s); mask != "" {
			b = append(append(b, " mask "...), mask...)
		}
		if s.PEName != "" {
			b = append(append(b, " pe "...), s.PEName...)
		}
	}
	if s.Flags&ipvs.FlagOnePacket != 0 {
		b = append(b, " ops"...)
	}
	l.write(append(b, '\n'))
}

// schedulerName is what the kernel calls no scheduler, too.
func schedulerName(s *ipvs.Service) string {
	if s.Scheduler == "" {
		return "none"
	}
	return s.Scheduler
}

// schedFlagText lists the scheduler's flags; any tells whether one is set,
// which may be one that this scheduler has no name for.
func schedFlagText(s *ipvs.Service) (text string, any bool) {
	any = s.Flags&(ipvs.FlagSched1|ipvs.FlagSched2|ipvs.FlagSched3) != 0
	if !any {
		return "", false
	}
	scheduler := ""
	if s.Scheduler == "sh" || s.Scheduler == "mh" {
		scheduler = s.Scheduler
	}
	var words []string
	for _, f := range schedFlags {
		if f.scheduler == scheduler && s.Flags&f.flag != 0 {
			words = append(words, f.word)
		}
	}
	return strings.Join(words, ","), true
}

// maskText is the persistence mask, "" for that of a single client.
func maskText(s *ipvs.Service) string {
	if s.Family == ipvs.IPv6 {
		if s.Netmask == fullMask6 {
			return ""
		}
		return strconv.Itoa(int(s.Netmask))
	}
	if s.Netmask == fullMask4 {
		return ""
	}
	m := s.Netmask
	return netip.AddrFrom4([4]byte{byte(m >> 24), byte(m >> 16), byte(m >> 8), byte(m)}).String()
}

// tunnelText describes the encapsulation of a tunnel, "n/a" of all else.
func tunnelText(d *ipvs.Dest) string {
	if d.Forward != ipvs.Tunnel {
		return "n/a"
	}
	flags := [...]string{"-c", "+c", "r+c"}[min(d.TunFlags, 2)]
	switch d.TunType {
	case ipvs.TunnelIPIP:
		return "ipip"
	case ipvs.TunnelGUE:
		return fmt.Sprintf("gue:%d:%s", d.TunPort, flags)
	case ipvs.TunnelGRE:
		return "gre:" + flags
	}
	return "n/a"
}

// forward is the word for the way packets take to a destination.
func (l *lister) forward(d *ipvs.Dest) string {
	switch d.Forward {
	case ipvs.Masq:
		if l.fnat[l.current.ServiceKey].Flags&ipvs.ExtFNAT != 0 {
			return "FullNat"
		}
		return "Masq"
	case ipvs.LocalNode:
		return "Local"
	case ipvs.Tunnel:
		return "Tunnel"
	case ipvs.DirectRoute:
		return "Route"
	}
	return "(null)"
}

// serviceName is the name column of a service; that of IPv4 and of marks is cut.
func (l *lister) serviceName(ctx context.Context, s *ipvs.Service) string {
	return string(l.appendServiceName(ctx, nil, s))
}

func (l *lister) appendServiceName(ctx context.Context, b []byte, s *ipvs.Service) []byte {
	if s.FWMark != 0 {
		b = strconv.AppendInt(append(b, "FWM  "...), int64(int32(s.FWMark)), 10) // signed, as stock writes it
		if s.Family == ipvs.IPv6 {
			b = append(b, " IPv6"...)
		}
		return b
	}
	begin := len(b)
	b = append(left(b, protocolTitle(s.Protocol), 4), ' ')
	b = l.appendEndpoint(ctx, b, s.Addr, s.Port, s.Protocol)
	if s.Family == ipvs.IPv6 {
		return b
	}
	return b[:min(len(b), begin+33)]
}

func (l *lister) appendDestName(ctx context.Context, b []byte, s *ipvs.Service, d *ipvs.Dest) []byte {
	begin := len(b)
	b = l.appendEndpoint(ctx, b, d.Addr, d.Port, s.Protocol)
	if d.Family == ipvs.IPv6 {
		return b
	}
	return b[:min(len(b), begin+28)]
}

// appendEndpoint is endpointText at the end of b.
func (l *lister) appendEndpoint(ctx context.Context, b []byte, addr netip.Addr, port uint16, proto ipvs.Protocol) []byte {
	if l.numeric {
		return appendNumeric(b, addr, port)
	}
	return append(b, l.endpointText(ctx, addr, port, proto, false)...)
}

// list is -L.
func (a *app) list(ctx context.Context, c *call) error {
	switch {
	case c.set.has(colConnection):
		return a.listConns(ctx, c)
	case c.set.has(colTimeout):
		return a.listTimeouts(ctx, c)
	case c.set.has(colExt):
		return a.listExt(ctx, c)
	case c.set.has(colDaemon):
		return a.listDaemons(ctx, c)
	}
	if c.set.has(colStatsExt) {
		return a.listExtStats(ctx, c)
	}
	l := a.lister(c)
	if c.set.has(colJSON) {
		return l.listJSON(ctx, c)
	}
	if c.set.has(colService) {
		return l.one(ctx, c.service.ServiceKey)
	}
	return l.all(ctx)
}

func (a *app) lister(c *call) *lister {
	l := &lister{app: a, w: a.stdout, numeric: c.set.has(colNumeric), exact: c.set.has(colExact), nosort: c.set.has(colNosort)}
	l.stats = c.set.has(colStats) || c.set.has(colRate)
	for _, f := range formats {
		if f.col == colSort || c.set.has(f.col) {
			l.format = f.listing
			break
		}
	}
	return l
}

// learn asks the extension about the services. Most of a big table have nothing of
// it: those are not kept.
func (l *lister) learn(ctx context.Context) (err error) {
	l.fnat, err = l.exts(ctx, func(s *ipvs.ExtService) bool { return extWords(s.ServiceKey, s.Ext) != "" })
	return err
}

// exts is what the extension knows of the services that keep lets pass; nothing
// on a stock module. Counters are not in it.
func (a *app) exts(ctx context.Context, keep func(*ipvs.ExtService) bool) (map[ipvs.ServiceKey]ipvs.Ext, error) {
	if ours, err := a.extended(ctx); err != nil {
		return nil, listFailed(err)
	} else if !ours {
		return nil, nil
	}
	exts := map[ipvs.ServiceKey]ipvs.Ext{}
	for s, err := range a.kernel.StreamExtServices(ctx) {
		if err != nil {
			return nil, listFailed(err)
		}
		if keep(&s) {
			s.Stats = nil
			exts[s.ServiceKey] = s.Ext
		}
	}
	return exts, nil
}

// listFailed is a listing that the kernel did not answer; it ends a restore.
func listFailed(err error) error {
	return &failure{code: 1, text: kernelText(cmdList, err), ends: true, err: err}
}

// destsFailed is the same for the servers of one service.
func destsFailed(err error) error {
	if errors.Is(err, syscall.ESRCH) {
		return &failure{code: 1, text: commandText(cmdDelete, syscall.ESRCH), ends: true, err: err}
	}
	return listFailed(err)
}

func (l *lister) one(ctx context.Context, key ipvs.ServiceKey) error {
	s, err := l.kernel.Service(ctx, key)
	if err != nil {
		return destsFailed(err)
	}
	if err := l.learn(ctx); err != nil {
		return err
	}
	io.WriteString(l.w, l.format.head())
	return l.print(ctx, &s)
}

func (l *lister) all(ctx context.Context) error {
	fmt.Fprintf(l.w, "IP Virtual Server version %s (size=%d)\n", versionText(l.info.Version), l.info.TabSize)
	services, err := l.kernel.Services(ctx)
	if err != nil {
		return listFailed(err)
	}
	if len(services) > 0 {
		if err := l.learn(ctx); err != nil {
			return err
		}
	}
	if !l.nosort {
		sortServices(services)
	}
	io.WriteString(l.w, l.format.head())
	for i := range services {
		if err := l.print(ctx, &services[i]); err != nil {
			return err
		}
	}
	return nil
}

// print writes one service with its servers.
func (l *lister) print(ctx context.Context, s *ipvs.Service) error {
	if err := l.readDests(ctx, s); err != nil {
		return err
	}
	l.current = s
	l.name = l.appendServiceName(ctx, l.name[:0], s)
	l.format.service(l, s, l.name)
	for i := range l.dests {
		l.name = l.appendDestName(ctx, l.name[:0], s, &l.dests[i])
		l.format.dest(l, &l.dests[i], l.name)
	}
	return nil
}

// readDests reads the servers of a service, sorted unless that is not wanted,
// where those of the one before were.
func (l *lister) readDests(ctx context.Context, s *ipvs.Service) (err error) {
	if l.dests, err = l.kernel.AppendDests(ctx, l.dests[:0], s.ServiceKey, l.stats); err != nil {
		return destsFailed(err)
	}
	if !l.nosort {
		l.spare = sortDests(l.dests, l.spare)
	}
	return nil
}

// listTimeouts is silent about errors, as the contract has it.
func (a *app) listTimeouts(ctx context.Context, c *call) error {
	t, err := a.kernel.Timeouts(ctx)
	if err != nil {
		return &failure{code: 1, ends: true, err: err}
	}
	if c.set.has(colJSON) {
		return timeoutsJSON(a.stdout, t)
	}
	fmt.Fprintf(a.stdout, "Timeout (tcp tcpfin udp): %d %d %d\n", t.TCP/time.Second, t.TCPFin/time.Second, t.UDP/time.Second)
	return nil
}

func (a *app) listDaemons(ctx context.Context, c *call) error {
	daemons, err := a.kernel.Daemons(ctx)
	if err != nil {
		return &failure{code: 1, ends: true, err: err}
	}
	if c.set.has(colJSON) {
		return daemonsJSON(a.stdout, daemons)
	}
	for _, state := range []ipvs.SyncState{ipvs.SyncMaster, ipvs.SyncBackup} {
		for _, d := range daemons {
			if d.State != state {
				continue
			}
			word := "master"
			if state == ipvs.SyncBackup {
				word = "backup"
			}
			fmt.Fprintf(a.stdout, "%s sync daemon (mcast=%s, syncid=%d", word, d.Interface, d.SyncID)
			// Only netlink tells of more than that.
			if d.MaxLen != 0 {
				group := "0.0.0.0"
				if d.Group.IsValid() {
					group = d.Group.String()
				}
				fmt.Fprintf(a.stdout, ", maxlen=%d, group=%s, port=%d, ttl=%d", d.MaxLen, group, d.Port, d.TTL)
			}
			fmt.Fprintln(a.stdout, ")")
		}
	}
	return nil
}
