// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
)

// save is -S. Groups come first: a stock ipvsadm -R stops at the first line
// of a file that needs FNAT, before it has made a plain NAT service of it.
func (a *app) save(ctx context.Context, c *call) error {
	l := a.lister(c)
	if err := l.learn(ctx); err != nil {
		return err
	}
	services, err := a.kernel.Services(ctx)
	if err != nil {
		return listFailed(err)
	}
	sortServices(services)
	if err := l.saveState(ctx); err != nil {
		return err
	}
	if a.info.Extended != nil {
		if err := l.saveConfig(ctx); err != nil {
			return err
		}
		if err := l.saveGroups(ctx); err != nil {
			return err
		}
	}
	for i := range services {
		if err := l.saveService(ctx, &services[i]); err != nil {
			return err
		}
	}
	return nil
}

// kernelTimeouts are those of connections that a namespace begins with.
var kernelTimeouts = ipvs.Timeouts{TCP: 15 * time.Minute, TCPFin: 2 * time.Minute, UDP: 5 * time.Minute}

// saveState writes what stock leaves out: timeouts that were set and daemons
// that run and that the host would not start by itself. They come first: a daemon that runs already where the file is
// restored is refused, and the last line alone decides the exit code.
func (l *lister) saveState(ctx context.Context) error {
	t, err := l.kernel.Timeouts(ctx)
	if err != nil {
		return listFailed(err)
	}
	if t != kernelTimeouts {
		fmt.Fprintf(l.w, "--set %d %d %d\n", t.TCP/time.Second, t.TCPFin/time.Second, t.UDP/time.Second)
	}
	daemons, err := l.kernel.Daemons(ctx)
	if err != nil {
		return listFailed(err)
	}
	var started []ipvs.Daemon
	if len(daemons) > 0 {
		started = l.startedByHost()
	}
	for _, d := range daemons {
		if slices.Contains(started, d) {
			continue
		}
		line := ipvs.Op{Kind: ipvs.StartDaemon, Daemon: d}.String()
		if d.Interface == progName { // a word that -R would drop
			line = strings.Replace(line, "interface ", "interface=", 1)
		}
		fmt.Fprintln(l.w, line)
	}
	return nil
}

// saveGroups writes each group: an empty one as such, else its addresses.
func (l *lister) saveGroups(ctx context.Context) error {
	groups, err := l.groups(ctx)
	if err != nil {
		return err
	}
	for _, g := range groups {
		laddrs, err := l.kernel.Laddrs(ctx, g.Name)
		if err != nil {
			return listFailed(err)
		}
		if len(laddrs) == 0 {
			io.WriteString(l.w, "--add-laddr"+groupWords(g.Name))
			if g.Family == ipvs.IPv6 {
				io.WriteString(l.w, " -6")
			}
			io.WriteString(l.w, "\n")
		}
		for _, addr := range laddrs {
			fmt.Fprintf(l.w, "--add-laddr%s --local-address %s", groupWords(g.Name), laddrText(addr))
			if words := laddrFlagText(addr.Flags); words != "" {
				fmt.Fprintf(l.w, " --laddr-flags %s", words)
			}
			if addr.CPUs != "" {
				fmt.Fprintf(l.w, " --laddr-cpus %s", addr.CPUs)
			}
			io.WriteString(l.w, "\n")
		}
	}
	return nil
}

// groupWords names a group, with a blank in front. A restore drops the word
// "ipvsadm" where it stands alone.
func groupWords(name string) string {
	if name == progName {
		return " --lgroup=" + name
	}
	return " --lgroup " + name
}

// laddrText is the value of -z that makes an address with its ports, which the
// kernel lists even where it chose them.
func laddrText(l ipvs.Laddr) string {
	switch {
	case l.PortMin == 0 && l.PortMax == 0:
		return l.Addr.String()
	case l.Addr.Is6():
		return fmt.Sprintf("[%s]:%d-%d", l.Addr, l.PortMin, l.PortMax)
	}
	return fmt.Sprintf("%s:%d-%d", l.Addr, l.PortMin, l.PortMax)
}

// serviceWords names a service in numbers, as an option with its value.
func serviceWords(key ipvs.ServiceKey) string {
	switch {
	case key.FWMark != 0 && key.Family == ipvs.IPv6:
		return fmt.Sprintf("-f %d -6", key.FWMark)
	case key.FWMark != 0:
		return fmt.Sprintf("-f %d", key.FWMark)
	}
	return serviceOption(key.Protocol) + " " + numericText(key.Addr, key.Port)
}

// serviceOption is what an address of this protocol stands behind.
func serviceOption(p ipvs.Protocol) string {
	switch p {
	case ipvs.TCP:
		return "-t"
	case ipvs.UDP:
		return "-u"
	case ipvs.SCTP:
		return "--sctp-service"
	}
	return ""
}

// appendWords is serviceWords with names unless -n was given.
func (l *lister) appendWords(ctx context.Context, b []byte, key ipvs.ServiceKey) []byte {
	if key.FWMark != 0 {
		return append(b, serviceWords(key)...)
	}
	return l.appendSaved(ctx, append(append(b, serviceOption(key.Protocol)...), ' '), key.Addr, key.Port, key.Protocol)
}

// appendSaved writes an address with its port so that -R reads the same back: names
// of IPv6 addresses and of ports that look like numbers it would not, and a name
// is never cut.
func (l *lister) appendSaved(ctx context.Context, b []byte, addr netip.Addr, port uint16, proto ipvs.Protocol) []byte {
	if l.numeric {
		return appendNumeric(b, addr, port)
	}
	service := l.names.serviceName(port, proto)
	if _, number := number(service, 0, 65535); number {
		service = strconv.Itoa(int(port))
	}
	host := ""
	if addr.Is6() {
		host = bracketed(addr)
	} else {
		host = l.names.host(ctx, addr)
	}
	return append(append(append(b, host...), ':'), service...)
}

func (l *lister) saveService(ctx context.Context, s *ipvs.Service) error {
	if err := l.readDests(ctx, s); err != nil {
		return err
	}
	l.name = l.appendWords(ctx, l.name[:0], s.ServiceKey)
	b := append(append(l.line[:0], "-A "...), l.name...)
	b = append(append(b, " -s "...), schedulerName(s)...)
	if s.Flags&ipvs.FlagPersistent != 0 {
		b = strconv.AppendInt(append(b, " -p "...), int64(s.Timeout/time.Second), 10)
	}
	if mask := maskText(s); mask != "" {
		b = append(append(b, " -M "...), mask...)
	}
	if s.PEName != "" {
		b = append(append(b, " --pe "...), s.PEName...)
	}
	if s.Flags&ipvs.FlagOnePacket != 0 {
		b = append(b, " -o"...)
	}
	if words := savedFlags(s); words != "" {
		b = append(append(b, " -b "...), words...)
	}
	ext, known := l.fnat[s.ServiceKey]
	if known {
		b = append(b, extWords(s.ServiceKey, ext)...)
	}
	l.write(append(b, '\n'))
	for i := range l.dests {
		l.saveDest(ctx, s, &l.dests[i], ext)
	}
	return nil
}

// savedFlags are the scheduler's flags; the third has no name of sh's and mh's.
func savedFlags(s *ipvs.Service) string {
	words, _ := schedFlagText(s)
	if (s.Scheduler == "sh" || s.Scheduler == "mh") && s.Flags&ipvs.FlagSched3 != 0 {
		if words != "" {
			words += ","
		}
		words += "flag-3"
	}
	return words
}

// defaultTOAKind is what the kernel sends unless told otherwise.
const defaultTOAKind = 254

// extWords are the options of FNAT that make a service what it is, each with
// a blank in front; none for a service that has nothing of it.
func extWords(key ipvs.ServiceKey, e ipvs.Ext) string {
	var b strings.Builder
	if e.LGroup != "" {
		b.WriteString(groupWords(e.LGroup))
	}
	usual := usualExt(key, e)
	for _, f := range []struct {
		flag ipvs.ExtFlags
		word string
	}{{fnat, "fullnat"}, {toa, "toa"}, {toaSyn, "toa-syn"}, {seqAdjust, "seq-adjust"}, {exhaustRST, "exhaust-rst"}} {
		switch is := e.Flags&f.flag != 0; {
		case is == (usual.Flags&f.flag != 0):
		case is:
			b.WriteString(" --" + f.word)
		default:
			b.WriteString(" --no-" + f.word)
		}
	}
	if e.TOAKind4 != 0 && e.TOAKind4 != defaultTOAKind {
		fmt.Fprintf(&b, " --toa-kind4 %d", e.TOAKind4)
	}
	if e.TOAKind6 != 0 && e.TOAKind6 != defaultTOAKind {
		fmt.Fprintf(&b, " --toa-kind6 %d", e.TOAKind6)
	}
	if e.TSMode != usual.TSMode && int(e.TSMode) < len(tsModes) {
		b.WriteString(" --timestamps " + tsModes[e.TSMode])
	}
	if e.MSSClamp != 0 {
		fmt.Fprintf(&b, " --mss %d", e.MSSClamp)
	}
	if e.Select != ipvs.SelectRR && int(e.Select) < len(laddrWays) {
		b.WriteString(" --laddr-select " + laddrWays[e.Select])
	}
	return b.String() + synproxyWords(e) + limitWords(e)
}

// usualExt is what need not be said of e. FNAT, when it is switched on, brings
// sequence adjustment and stripped timestamps to TCP. So while it is off, both
// are only what it will bring, said or not.
func usualExt(key ipvs.ServiceKey, e ipvs.Ext) ipvs.Ext {
	usual := ipvs.Ext{}
	if key.Protocol != ipvs.TCP && key.FWMark == 0 {
		return usual
	}
	on := e.Flags&fnat != 0
	if on || e.Flags&seqAdjust != 0 {
		usual.Flags = seqAdjust
	}
	if on || e.TSMode == ipvs.TSStrip {
		usual.TSMode = ipvs.TSStrip
	}
	return usual
}

// saveDest writes a NAT server of an FNAT service as FNAT: should its service
// be plain where the file is restored, the line must not make it plain too. The
// service's own words are in l.name.
func (l *lister) saveDest(ctx context.Context, s *ipvs.Service, d *ipvs.Dest, ext ipvs.Ext) {
	forward := "-g"
	switch {
	case d.Forward == ipvs.Masq && ext.Flags&fnat != 0:
		forward = "--fullnat"
	case d.Forward == ipvs.Masq:
		forward = "-m"
	case d.Forward == ipvs.Tunnel:
		forward = "-i"
	case d.Forward != ipvs.DirectRoute && d.Forward != ipvs.LocalNode:
		forward = "(null)"
	}
	b := append(append(l.line[:0], "-a "...), l.name...)
	b = l.appendSaved(ctx, append(b, " -r "...), d.Addr, d.Port, s.Protocol)
	b = append(append(b, ' '), forward...)
	b = strconv.AppendInt(append(b, " -w "...), int64(int32(d.Weight)), 10)
	if d.Forward == ipvs.Tunnel {
		b = append(b, tunnelWords(d)...)
	}
	if d.UpperThreshold != 0 {
		b = strconv.AppendUint(append(b, " -x "...), uint64(d.UpperThreshold), 10)
	}
	if d.LowerThreshold != 0 {
		b = strconv.AppendUint(append(b, " -y "...), uint64(d.LowerThreshold), 10)
	}
	l.write(append(b, '\n'))
}

// tunnelWords are the tunnel options, each with a blank in front.
func tunnelWords(d *ipvs.Dest) string {
	csum := [...]string{"--tun-nocsum", "--tun-csum", "--tun-remcsum"}[min(d.TunFlags, 2)]
	switch d.TunType {
	case ipvs.TunnelIPIP:
		return " --tun-type ipip"
	case ipvs.TunnelGUE:
		return fmt.Sprintf(" --tun-type gue --tun-port %d %s", d.TunPort, csum)
	case ipvs.TunnelGRE:
		return " --tun-type gre " + csum
	}
	return ""
}
