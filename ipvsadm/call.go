// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"io"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/popt"
	"github.com/lvs-fnat/lvs/ipvs"
)

// call is one command with its options, read and judged.
type call struct {
	ctx   context.Context // for names, while options are read only
	names *names

	cmd   command
	value string // of the command itself
	set   columnSet

	service    ipvs.Service
	dest       ipvs.Dest
	schedFlags string
	timeouts   ipvs.Timeouts
	daemon     ipvs.Daemon
	tunType    string // as typed

	fullNAT  bool // -b with -a and -e
	ext      ipvs.Ext
	group    string
	laddr    ipvs.Laddr
	setFlags bool // --laddr-flags was given
	setCPUs  bool

	filter connFilter
	config ipvs.ExtConfig
	top    top
}

const (
	defaultScheduler   = "wlc"
	defaultPersistence = 360 * time.Second
	maxTimeout         = 2678400 // seconds: 31 days
	maxName            = 15      // of schedulers, interfaces, groups; bytes
	maxPEName          = 16      // of persistence engines
	maxSchedFlags      = 127
	fullMask4          = math.MaxUint32
	fullMask6          = 128
)

// errTry asks for the line that names -h.
var errTry = errors.New("no command")

// parse reads the words of one call into c, which may have been another's. It
// returns errTry, a *popt.Error or a *failure; options are judged when they are
// met, the first bad one ends it. posix says that the first word ends the options.
func (c *call) parse(ctx context.Context, names *names, posix bool, args []string) error {
	*c = call{ctx: ctx, names: names}
	c.service.Netmask = fullMask4
	c.dest.Forward, c.dest.Weight = ipvs.DirectRoute, 1
	scan := popt.New(popt.Popt, plainOptions.get(), args)
	if posix {
		scan.StopAtWord()
	}
	first, err := scan.Next()
	if err != nil || first.ID >= optionBase {
		return errTry
	}
	c.cmd, c.value = command(first.ID), first.Value
	if err := c.begin(scan); err != nil || c.cmd == cmdHelp || c.cmd == cmdVersion {
		return err
	}
	if err := c.options(scan); err != nil {
		return err
	}
	if err := c.words(scan.Words()); err != nil {
		return err
	}
	if err := c.parseSchedFlags(); err != nil {
		return err
	}
	if err := check(c.cmd, c.set); err != nil {
		return err
	}
	c.ctx = nil
	return c.agree()
}

// begin does what a command means before the options are read.
func (c *call) begin(scan *popt.Scanner) error {
	switch c.cmd {
	case cmdAddDest, cmdEditDest:
		scan.SetOptions(destOptions.get())
	case cmdStartDaemon, cmdStopDaemon:
		switch c.value {
		case "master":
			c.daemon.State = ipvs.SyncMaster
		case "backup":
			c.daemon.State = ipvs.SyncBackup
		default:
			if c.cmd == cmdStartDaemon {
				return usagef(msgStartDaemon)
			}
			return usagef(msgStopDaemon)
		}
	}
	return nil
}

func (c *call) options(scan *popt.Scanner) error {
	for {
		m, err := scan.Next()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return &failure{code: 255, text: err.Error(), err: err}
		case m.ID < optionBase:
			return usagef(msgInvalidOption, scan.Word())
		}
		row := &optionRows[m.ID-optionBase]
		if c.set.has(row.col) {
			return usagef(msgMultiple, columnRows[row.col].name)
		}
		c.set.add(row.col)
		if err := row.set(c, m.Value, m.HasValue); err != nil {
			return err
		}
	}
}

// words takes the three numbers of --set; no other word has a meaning.
func (c *call) words(words []string) error {
	if c.cmd == cmdTimeout {
		if len(words) < 3 {
			return usagef(msgSetValues)
		}
		for i, to := range []*time.Duration{&c.timeouts.TCP, &c.timeouts.TCPFin, &c.timeouts.UDP} {
			n, ok := number(words[i], 0, maxTimeout)
			if !ok {
				return usagef(msgTimeout, words[i])
			}
			*to = time.Duration(n) * time.Second
		}
		words = words[3:]
	}
	if len(words) > 0 {
		return usagef(msgUnexpected, words[0])
	}
	return nil
}

// agree makes the checks between options, and fills in what one option says
// about another. The order is part of the contract.
func (c *call) agree() error {
	if err := c.agreeService(); err != nil {
		return err
	}
	if c.cmd == cmdAddDest || c.cmd == cmdEditDest {
		if err := c.agreeDest(); err != nil {
			return err
		}
	}
	if c.set.onlyStock() && c.cmd <= cmdEditDest && c.cmd != cmdList {
		return nil // nothing below is about it
	}
	if err := c.agreeSynproxy(); err != nil {
		return err
	}
	if c.set.has(colDryRun) && !c.set.has(colAtomic) {
		return usagef(msgNeedOption, columnRows[colAtomic].name, c.cmd)
	}
	if err := c.agreeExplain(); err != nil {
		return err
	}
	if c.cmd == cmdKill && !c.set.any(filterColumns) {
		return usagef(msgKillAll)
	}
	if c.cmd == cmdSetExt && c.config.Set == 0 {
		return usagef(msgNothingSet, c.cmd)
	}
	if c.cmd == cmdAddLaddr || c.cmd == cmdDelLaddr {
		if err := c.agreeLaddr(); err != nil {
			return err
		}
	}
	if err := c.agreeFilter(); err != nil {
		return err
	}
	for _, col := range []column{colConnection, colTimeout, colDaemon, colExt, colStatsExt} {
		if !c.set.has(col) {
			continue
		}
		if c.set.has(colStats) || c.set.has(colRate) || c.set.has(colThresholds) ||
			col != colConnection && c.set.has(colPersistentConn) {
			return usagef(msgListConflict)
		}
	}
	return nil
}

func (c *call) agreeService() error {
	s := &c.service
	if c.cmd != cmdAdd && c.cmd != cmdEdit || c.onlyExt() {
		return nil
	}
	if s.Scheduler == "" {
		s.Scheduler = defaultScheduler
	}
	if s.FWMark != 0 {
		return nil
	}
	if s.Port == 0 && s.Flags&ipvs.FlagPersistent == 0 {
		return usagef(msgZeroPort)
	}
	if s.Flags&ipvs.FlagOnePacket != 0 && s.Protocol != ipvs.UDP {
		return usagef(msgOps)
	}
	return nil
}

func (c *call) agreeDest() error {
	d := &c.dest
	if c.service.FWMark == 0 && (d.Forward == ipvs.Tunnel || d.Forward == ipvs.DirectRoute) {
		d.Port = c.service.Port
	}
	if d.Family != c.service.Family && d.Forward != ipvs.Tunnel {
		return usagef(msgFamilies)
	}
	if d.Forward == ipvs.Tunnel {
		return checkTunnel(c.tunType, c.set)
	}
	for col := colTunType; col <= colTunRemCsum; col++ {
		if c.set.has(col) {
			return usagef(msgTunForward)
		}
	}
	return nil
}

// agreeLaddr makes the checks that the table of options cannot: a service or
// a group, and an address unless a whole group is meant.
func (c *call) agreeLaddr() error {
	if !c.set.has(colService) {
		switch {
		case !c.set.has(colLGroup):
			return usagef(msgNeedOption, columnRows[colService].name, c.cmd)
		case c.group == "":
			return usagef(msgLGroup, "", maxName)
		}
	}
	if !c.set.has(colLocalAddress) && (c.set.has(colService) || c.setFlags || c.setCPUs) {
		return usagef(msgNeedOption, columnRows[colLocalAddress].name, c.cmd)
	}
	return nil
}

// onlyExt says that an -E names settings of ours and none of stock's, which
// then stay as they are.
func (c *call) onlyExt() bool {
	return c.cmd == cmdEdit && c.ext.Set != 0 && !c.set.any(stockSettings)
}

// onlyFullNAT says that an -e names nothing of stock's: all but the way that
// packets take to the server stays then.
func (c *call) onlyFullNAT() bool {
	return c.cmd == cmdEditDest && c.fullNAT && !c.set.any(destColumns)
}

// viaFullNAT is a server as it is, but reached by NAT.
func viaFullNAT(d ipvs.Dest) ipvs.Dest {
	d.Forward = ipvs.Masq
	return destSettings(d)
}

// tunnelRules holds the rules of the tunnel options for each type, in the
// order port, nocsum, csum, remcsum.
func tunnelRules(kind string) string {
	switch kind {
	case "gue":
		return "+111"
	case "gre":
		return "x11x"
	}
	return "xxxx"
}

func checkTunnel(kind string, set columnSet) error {
	rules := tunnelRules(kind)
	if kind == "" {
		kind = "ipip"
	}
	last := ""
	for i, col := range []column{colTunPort, colTunNoCsum, colTunCsum, colTunRemCsum} {
		name := columnRows[col].name
		switch {
		case rules[i] == required && !set.has(col):
			return usagef(msgTunNeed, name, kind)
		case !set.has(col):
		case rules[i] == refused:
			return usagef(msgTunIllegal, name, kind)
		case rules[i] == atMost1 && last != "":
			return usagef(msgTunConflict, name, last, kind)
		case rules[i] == atMost1:
			last = name
		}
	}
	return nil
}

func (c *call) setNothing(string, bool) error { return nil }

func (c *call) setTCP(v string, _ bool) error  { return c.setAddress(v, ipvs.TCP) }
func (c *call) setUDP(v string, _ bool) error  { return c.setAddress(v, ipvs.UDP) }
func (c *call) setSCTP(v string, _ bool) error { return c.setAddress(v, ipvs.SCTP) }

func (c *call) setAddress(v string, proto ipvs.Protocol) error {
	e, ok := c.names.endpoint(c.ctx, v, proto)
	if !ok {
		return usagef(msgService)
	}
	c.service.ServiceKey = ipvs.ServiceKey{Family: ipvs.FamilyOf(e.addr), Protocol: proto, Addr: e.addr, Port: e.port}
	if c.service.Family == ipvs.IPv6 {
		c.service.Netmask = fullMask6
	}
	return nil
}

func (c *call) setFWMark(v string, _ bool) error {
	n, ok := number(v, 1, math.MaxUint32)
	if !ok {
		return usagef(msgFWMark, v)
	}
	c.service.ServiceKey = ipvs.ServiceKey{Family: ipvs.IPv4, FWMark: uint32(n)}
	return nil
}

// setIPv6 belongs to a firewall mark, or to a group that is made empty.
func (c *call) setIPv6(string, bool) error {
	if c.cmd == cmdAddLaddr && c.group != "" {
		c.laddr.Addr = netip.IPv6Unspecified()
		return nil
	}
	if c.service.FWMark == 0 {
		return usagef(msg6BeforeF)
	}
	c.service.Family = ipvs.IPv6
	c.service.Netmask = fullMask6
	return nil
}

func (c *call) setScheduler(v string, _ bool) error {
	c.service.Scheduler = v[:min(len(v), maxName)]
	return nil
}

func (c *call) setPE(v string, _ bool) error {
	c.service.PEName = v[:min(len(v), maxPEName)]
	return nil
}

func (c *call) setPersistent(v string, has bool) error {
	c.service.Flags |= ipvs.FlagPersistent
	c.service.Timeout = defaultPersistence
	if !has {
		return nil
	}
	n, ok := number(v, 1, maxTimeout)
	if !ok {
		return usagef(msgTimeout, v)
	}
	c.service.Timeout = time.Duration(n) * time.Second
	return nil
}

func (c *call) setNetmask(v string, _ bool) error {
	if c.service.Family == ipvs.IPv6 {
		n := atoi(v)
		if n < 1 || n > fullMask6 {
			return usagef(msgMask6)
		}
		c.service.Netmask = uint32(n)
		return nil
	}
	a, ok := c.names.host4(c.ctx, v)
	if !ok {
		return usagef(msgMask)
	}
	c.service.Netmask = word(a)
	c.service.NoMask = c.service.Netmask == 0
	return nil
}

// word is the first four bytes of an address as a number.
func word(a netip.Addr) uint32 {
	b := a.AsSlice()
	if len(b) == 0 {
		return 0
	}
	return uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3])
}

// setServer gives a server without port the port that the service has now:
// options are judged from left to right.
func (c *call) setServer(v string, _ bool) error {
	proto := c.service.Protocol
	if c.service.FWMark != 0 {
		proto = ipvs.TCP
	}
	e, ok := c.names.endpoint(c.ctx, v, proto)
	if !ok {
		return usagef(msgServer)
	}
	c.dest.DestKey = ipvs.DestKey{Family: ipvs.FamilyOf(e.addr), Addr: e.addr, Port: e.port}
	if !e.hasPort {
		c.dest.Port = c.service.Port
	}
	return nil
}

func (c *call) setGateway(string, bool) error { c.dest.Forward = ipvs.DirectRoute; return nil }
func (c *call) setTunnel(string, bool) error  { c.dest.Forward = ipvs.Tunnel; return nil }
func (c *call) setMasq(string, bool) error    { c.dest.Forward = ipvs.Masq; return nil }

func (c *call) setTunType(v string, _ bool) error {
	kinds := map[string]ipvs.TunnelType{"ipip": ipvs.TunnelIPIP, "gue": ipvs.TunnelGUE, "gre": ipvs.TunnelGRE}
	kind, ok := kinds[v]
	if !ok {
		return usagef(msgTunType)
	}
	c.tunType, c.dest.TunType = v, kind
	return nil
}

func (c *call) setTunPort(v string, _ bool) error {
	n, ok := number(v, 1, 65535)
	c.dest.TunPort = uint16(n)
	return unless(ok, msgTunPort)
}

func (c *call) setTunNoCsum(string, bool) error  { return nil }
func (c *call) setTunCsum(string, bool) error    { c.dest.TunFlags |= 1; return nil }
func (c *call) setTunRemCsum(string, bool) error { c.dest.TunFlags |= 2; return nil }

func (c *call) setWeight(v string, _ bool) error {
	n, ok := number(v, 0, math.MaxInt32)
	c.dest.Weight = uint32(n)
	return unless(ok, msgWeight)
}

func (c *call) setUThreshold(v string, _ bool) error {
	n, ok := number(v, 0, math.MaxInt32)
	c.dest.UpperThreshold = uint32(n)
	return unless(ok, msgUThreshold)
}

func (c *call) setLThreshold(v string, _ bool) error {
	n, ok := number(v, 0, math.MaxInt32)
	c.dest.LowerThreshold = uint32(n)
	return unless(ok, msgLThreshold)
}

func (c *call) setMcastInterface(v string, _ bool) error {
	c.daemon.Interface = v[:min(len(v), maxName)]
	return nil
}

func (c *call) setMcastGroup(v string, _ bool) error {
	text, ok := msgMcastGroup4, false
	if strings.Contains(v, ":") {
		text = msgMcastGroup6
		c.daemon.Group, ok = inet6(v)
	} else if a, err := netip.ParseAddr(v); err == nil {
		c.daemon.Group, ok = a, true
	}
	if !ok || !c.daemon.Group.IsMulticast() || c.daemon.Group.Is4In6() {
		return usagef(text, v)
	}
	return nil
}

func (c *call) setMcastPort(v string, _ bool) error {
	n, ok := number(v, 1, 65535)
	c.daemon.Port = uint16(n)
	return unless(ok, msgMcastPort)
}

func (c *call) setMcastTTL(v string, _ bool) error {
	n, ok := number(v, 1, 255)
	c.daemon.TTL = uint8(n)
	return unless(ok, msgMcastTTL)
}

func (c *call) setSyncMaxLen(v string, _ bool) error {
	n, ok := number(v, 1, 65507)
	c.daemon.MaxLen = uint16(n)
	return unless(ok, msgSyncMaxLen)
}

func (c *call) setSyncID(v string, _ bool) error {
	n, ok := number(v, 0, 255)
	c.daemon.SyncID = uint32(n)
	return unless(ok, msgSyncID)
}

func (c *call) setOps(string, bool) error { c.service.Flags |= ipvs.FlagOnePacket; return nil }

func (c *call) setSchedFlags(v string, _ bool) error {
	c.schedFlags = v[:min(len(v), maxSchedFlags)]
	return nil
}

// unless refuses the call unless the value was good.
func unless(ok bool, text string) error {
	if ok {
		return nil
	}
	return usagef("%s", text)
}

// schedFlag is a word for a flag; those of a scheduler go with it only.
type schedFlag struct {
	word, scheduler string
	flag            ipvs.ServiceFlags
}

var schedFlags = []schedFlag{
	{"sh-fallback", "sh", ipvs.FlagSched1},
	{"sh-port", "sh", ipvs.FlagSched2},
	{"mh-fallback", "mh", ipvs.FlagSched1},
	{"mh-port", "mh", ipvs.FlagSched2},
	{"flag-1", "", ipvs.FlagSched1},
	{"flag-2", "", ipvs.FlagSched2},
	{"flag-3", "", ipvs.FlagSched3},
}

// parseSchedFlags waits until all options are read: -b may stand before -s.
func (c *call) parseSchedFlags() error {
	if c.schedFlags == "" {
		return nil
	}
	for word := range strings.SplitSeq(c.schedFlags, ",") {
		if word == "" {
			continue
		}
		i := slices.IndexFunc(schedFlags, func(f schedFlag) bool { return f.word == word })
		if i < 0 {
			return usagef(msgSchedFlag, word)
		}
		if f := schedFlags[i]; f.scheduler != "" && f.scheduler != c.service.Scheduler {
			return usagef(msgSchedFlagOther, word)
		}
		c.service.Flags |= schedFlags[i].flag
	}
	return nil
}
