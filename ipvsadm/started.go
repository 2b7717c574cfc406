// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net"
	"net/netip"
	"os"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

// defaultsFile says which daemons a host starts by itself: Debian's init script and our
// unit read it, as a script of the shell.
const defaultsFile = "/etc/default/ipvsadm"

// startedByHost returns the daemons that the host starts whether they are saved or not.
// -S leaves them to it, as the stock program does: who starts them again behind a restore
// that has done so is told that they run, and Debian's init script calls that a failure.
// A daemon with settings of its own is not among them: the host would not bring it back.
func (a *app) startedByHost() (daemons []ipvs.Daemon) {
	text, err := os.ReadFile(a.defaults)
	if err != nil {
		return nil // then nobody reads it
	}
	settings := map[string]string{"DAEMON": "none", "IFACE": "eth0", "SYNCID": "0"}
	for line := range strings.Lines(string(text)) {
		if name, value, ok := assignment(line); ok {
			settings[name] = value
		}
	}
	id, ok := number(settings["SYNCID"], 0, 255)
	if !ok {
		return nil
	}
	d := ipvs.Daemon{Interface: settings["IFACE"], SyncID: uint32(id)}
	for _, role := range []struct {
		name  string
		state ipvs.SyncState
	}{{"master", ipvs.SyncMaster}, {"backup", ipvs.SyncBackup}} {
		if settings["DAEMON"] == role.name || settings["DAEMON"] == "both" {
			d.State = role.state
			daemons = append(daemons, d, withKernelDefaults(d))
		}
	}
	return daemons
}

// assignment reads a line NAME=VALUE of a script of the shell. A value that the shell
// would have to work out is kept as it stands, and so equals no setting.
func assignment(line string) (name, value string, ok bool) {
	name, value, ok = strings.Cut(strings.TrimSpace(line), "=")
	for _, comment := range []string{" #", "\t#"} {
		value, _, _ = strings.Cut(value, comment)
	}
	value = strings.TrimRight(value, " \t;")
	for _, quote := range []string{`"`, "'"} {
		if len(value) >= 2 && strings.HasPrefix(value, quote) && strings.HasSuffix(value, quote) {
			value = value[1 : len(value)-1]
			break
		}
	}
	return name, value, ok
}

// withKernelDefaults fills in what the kernel chooses for a daemon of which only the
// interface and the number are said (net/netfilter/ipvs/ip_vs_sync.c).
func withKernelDefaults(d ipvs.Daemon) ipvs.Daemon {
	const headers = 20 + 8 // of IPv4 and UDP
	d.Group, d.Port, d.TTL = netip.AddrFrom4([4]byte{224, 0, 0, 81}), 8848, 1
	d.MaxLen = 1500 - headers
	if d.State == ipvs.SyncBackup {
		if link, err := net.InterfaceByName(d.Interface); err == nil {
			d.MaxLen = uint16(min(max(link.MTU, 1500), 65535) - headers)
		}
	}
	return d
}
