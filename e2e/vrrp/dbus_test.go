// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/godbus/dbus/v5"
	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// busConf lets everybody do everything.
const busConf = `<busconfig>
 <type>custom</type>
 <listen>unix:path=%s</listen>
 <auth>EXTERNAL</auth>
 <policy context="default">
  <allow send_destination="*" eavesdrop="true"/>
  <allow eavesdrop="true"/>
  <allow own="*"/>
 </policy>
</busconfig>
`

// newBus runs a bus of the test's own and returns its address.
func newBus(t *testing.T) string {
	dir := t.TempDir()
	path, conf := filepath.Join(dir, "bus"), filepath.Join(dir, "conf")
	testnet.Must(t, os.WriteFile(conf, fmt.Appendf(nil, busConf, path), 0o644))
	cmd := exec.Command("dbus-daemon", "--config-file="+conf, "--nofork")
	cmd.Stderr = os.Stderr
	testnet.Must(t, cmd.Start())
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	testnet.Eventually(t, limit, func() error { _, err := os.Stat(path); return err })
	return "unix:path=" + path
}

// busNode is what an object says of itself.
type busNode struct {
	Nodes []struct {
		Name string `xml:"name,attr"`
	} `xml:"node"`
	Interfaces []struct {
		Name    string `xml:"name,attr"`
		Methods []struct {
			Name string `xml:"name,attr"`
		} `xml:"method"`
		Signals []struct {
			Name string `xml:"name,attr"`
			Args []struct {
				Type string `xml:"type,attr"`
			} `xml:"arg"`
		} `xml:"signal"`
		Properties []struct {
			Name   string `xml:"name,attr"`
			Type   string `xml:"type,attr"`
			Access string `xml:"access,attr"`
		} `xml:"property"`
	} `xml:"interface"`
}

// TestDBus: objects, methods, properties and signals as keepalived 2.2.7 has them,
// recorded there in the same scenario: start, mastership, a reload asked for on
// the bus, a link down and up, the end.
func TestDBus(t *testing.T) {
	t.Parallel()
	address := newBus(t)
	b := newBed(t, ours)
	n := b.nodes[0]
	n.env = []string{"DBUS_SYSTEM_BUS_ADDRESS=" + address}
	b.wire(n, "vrr-eth1.5", "10.60.0.1/24", "fe80::60:1/64")

	conn, err := dbus.Connect(address)
	testnet.Must(t, err)
	defer conn.Close()
	signals := make(chan *dbus.Signal, 100)
	conn.Signal(signals)
	testnet.Must(t, conn.AddMatchSignal(dbus.WithMatchPathNamespace("/org/keepalived/Vrrp1")))
	var told []string
	until := func(what string) {
		t.Helper()
		for deadline := time.After(limit); ; {
			select {
			case s := <-signals:
				line := strings.TrimPrefix(string(s.Path), "/org/keepalived/Vrrp1/") + " " + s.Name[strings.LastIndexByte(s.Name, '.')+1:]
				for _, v := range s.Body {
					line += fmt.Sprintf(" %v", v)
				}
				if told = append(told, line); line == what {
					return
				}
			case <-deadline:
				t.Fatalf("the bus had no %q: %q", what, told)
			}
		}
	}
	const one, two = "Instance/eth0/51/IPv4 VrrpStatusChange ", "Instance/vrr_eth1_5/52/IPv6 VrrpStatusChange "
	n.start(vi{prio: 150, name: "VI-1.a", globalDefs: "enable_dbus\n dbus_service_name org.example.Routers\n dbus_no_interface_name nowhere"}.conf() +
		vi{prio: 100, name: "V6", id: 52, link: "vrr-eth1.5", version: 3, interval: "0.1", vips: []string{"fe80::60:64"}}.conf())
	until(one + "2")

	const root = dbus.ObjectPath("/org/keepalived/Vrrp1")
	object := func(path dbus.ObjectPath) dbus.BusObject { return conn.Object("org.example.Routers", path) }
	instance, vrrp := object(root+"/Instance/eth0/51/IPv4"), object(root+"/Vrrp")
	call := func(o dbus.BusObject, method string, args ...any) []any {
		t.Helper()
		c := o.Call(method, 0, args...)
		testnet.Must(t, c.Err)
		return c.Body
	}
	describe := func(o dbus.BusObject) string {
		t.Helper()
		var node busNode
		testnet.Must(t, xml.Unmarshal([]byte(call(o, "org.freedesktop.DBus.Introspectable.Introspect")[0].(string)), &node))
		var out []string
		for _, x := range node.Nodes {
			out = append(out, "node "+x.Name)
		}
		for _, i := range node.Interfaces {
			if !strings.HasPrefix(i.Name, "org.keepalived.") {
				continue
			}
			for _, x := range i.Methods {
				out = append(out, i.Name+" method "+x.Name)
			}
			for _, x := range i.Signals {
				out = append(out, fmt.Sprint(i.Name, " signal ", x.Name, " ", x.Args))
			}
			for _, x := range i.Properties {
				out = append(out, fmt.Sprint(i.Name, " property ", x))
			}
		}
		slices.Sort(out)
		return strings.Join(out, "\n")
	}
	got := describe(object(root)) + "\n" + describe(object(root+"/Instance")) + "\n" + describe(vrrp) + "\n" + describe(instance)
	if d := cmp.Diff(`node Instance
node Vrrp
node eth0
node vrr_eth1_5
org.keepalived.Vrrp1.Vrrp method PrintData
org.keepalived.Vrrp1.Vrrp method PrintStats
org.keepalived.Vrrp1.Vrrp method PrintStatsClear
org.keepalived.Vrrp1.Vrrp method ReloadConfig
org.keepalived.Vrrp1.Vrrp signal VrrpReloaded []
org.keepalived.Vrrp1.Vrrp signal VrrpStarted []
org.keepalived.Vrrp1.Vrrp signal VrrpStopped []
org.keepalived.Vrrp1.Instance method SendGarp
org.keepalived.Vrrp1.Instance property {Name s read}
org.keepalived.Vrrp1.Instance property {State (us) read}
org.keepalived.Vrrp1.Instance signal VrrpStatusChange [{u}]`, got); d != "" {
		t.Errorf("objects, -keepalived 2.2.7 +ours:\n%s", d)
	}
	all := call(instance, "org.freedesktop.DBus.Properties.GetAll", "org.keepalived.Vrrp1.Instance")[0].(map[string]dbus.Variant)
	all["Get"] = call(instance, "org.freedesktop.DBus.Properties.Get", "org.keepalived.Vrrp1.Instance", "State")[0].(dbus.Variant)
	seen := map[string]string{}
	for name, v := range all {
		seen[name] = fmt.Sprintf("%s %v", v.Signature(), v.Value())
	}
	if d := cmp.Diff(map[string]string{"Name": "(s) [VI-1.a]", "State": "(us) [2 Master]", "Get": "(us) [2 Master]"}, seen); d != "" {
		t.Errorf("properties, -keepalived 2.2.7 +ours:\n%s", d)
	}
	if err := instance.Call("org.freedesktop.DBus.Properties.Get", 0, "org.keepalived.Vrrp1.Instance", "Nothing").Err; err == nil {
		t.Error("there is a property that there is not")
	}

	asked := time.Now()
	call(instance, "org.keepalived.Vrrp1.Instance.SendGarp")
	b.await("announcements", func(f []frame) bool { return len(pick(f, from(0), is(garp), after(asked))) >= 5 })
	for method, file := range map[string]string{"PrintData": "keepalived.data", "PrintStats": "keepalived.stats"} {
		call(vrrp, "org.keepalived.Vrrp1.Vrrp."+method)
		testnet.Eventually(t, limit, func() error { _, err := os.Stat(n.path(file)); return err })
	}
	call(vrrp, "org.keepalived.Vrrp1.Vrrp.ReloadConfig")
	until("Vrrp VrrpReloaded")
	testnet.Must(t, n.Down("eth0"))
	until(one + "3")
	testnet.Must(t, n.Up("eth0"))
	until(one + "1")
	n.stop()
	until("Vrrp VrrpStopped")

	// Each instance has an order of its own.
	only := func(prefix string) (out []string) {
		for _, line := range told {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				out = append(out, rest)
			}
		}
		return out
	}
	for prefix, want := range map[string][]string{
		one: {"1", "2", "3", "1", "98"}, two: {"1", "2", "98"}, "Vrrp ": {"VrrpStarted", "VrrpReloaded", "VrrpStopped"},
	} {
		if d := cmp.Diff(want, only(prefix)); d != "" {
			t.Errorf("%s, -keepalived 2.2.7 +ours:\n%s", prefix, d)
		}
	}
}
