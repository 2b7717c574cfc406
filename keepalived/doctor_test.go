// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/doctor"
	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
)

// home is a network that has every address, and no link.
type home struct{}

func (home) Links() ([]string, error)                     { return nil, nil }
func (home) Addrs() (map[netip.Addr]string, error)        { return nil, nil }
func (home) Route(netip.Addr) (string, bool, error)       { return "lo", true, nil }
func (home) LRO(string) (bool, error)                     { return false, nil }
func (home) IPSet(string) (family ipvs.Family, err error) { return 0, nil }

// TestDoctor: exit status and forms; what it finds is tested beside the package.
func TestDoctor(t *testing.T) {
	file := filepath.Join(t.TempDir(), "k.conf")
	fnat := "local_address_group g {\n    10.0.2.201 30000-40000\n}\n" + strings.Replace(nat, "lb_kind NAT", "lb_kind FNAT\n    laddr_group_name g", 1)
	files := fstest.MapFS{
		"proc/sys/net/ipv4/ip_local_port_range":     {Data: []byte("50000 60000")},
		"proc/sys/net/ipv4/ip_local_reserved_ports": {Data: []byte("")},
		"proc/self/limits":                          {Data: []byte("Max open files 1000 1000 files")},
	}
	for name, c := range map[string]struct {
		conf string
		host *ipvstest.Table
		err  error
		args []string
		code int
		out  string
		said string
	}{
		"serves":          {nat, ipvstest.NewStock(), nil, nil, exitOK, "0 errors, 0 warnings\n", ""},
		"cannot serve":    {fnat, ipvstest.NewStock(), nil, nil, exitFatal, "error  module", ""},
		"ports":           {strings.Replace(fnat, "30000-40000", "50000-55000", 1), ipvstest.New(), nil, nil, exitFatal, "ports 50000-55000 of local address 10.0.2.201 overlap", ""},
		"as JSON":         {fnat, ipvstest.NewStock(), nil, []string{"--doctor=json"}, exitFatal, `"severity": "error"`, ""},
		"no such form":    {nat, ipvstest.NewStock(), nil, []string{"--doctor=xml"}, exitFatal, "", "keepalived: invalid format 'xml' of --doctor: expected text or json\n"},
		"no such file":    {nat, ipvstest.NewStock(), nil, []string{"-f", "/nonexistent/k.conf"}, exitFatal, "", "Unable to find configuration file"},
		"no such network": {nat, ipvstest.NewStock(), errors.New("network namespace: none"), nil, exitFatal, "", "network namespace: none\n"},
	} {
		t.Run(name, func(t *testing.T) {
			if err := os.WriteFile(file, []byte(c.conf), 0o600); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr bytes.Buffer
			closed := false
			a := testApp(&stdout, &stderr)
			a.system = func(context.Context, *options, *config.Config) (*doctor.System, func(), error) {
				return &doctor.System{Files: files, Tables: c.host, Network: home{}}, func() { closed = true }, c.err
			}
			code := a.run(t.Context(), append([]string{"keepalived", "-f", file, "--doctor"}, c.args...))
			if code != c.code || !strings.Contains(stdout.String(), c.out) || !strings.Contains(stderr.String(), c.said) || c.said == "" && stderr.Len() > 0 {
				t.Errorf("code %d, want %d\n%s%s", code, c.code, &stdout, &stderr)
			}
			if (stdout.Len() > 0) != closed {
				t.Errorf("looked: %v, closed: %v", stdout.Len() > 0, closed)
			}
			if strings.HasPrefix(c.out, `"`) && !json.Valid(stdout.Bytes()) {
				t.Errorf("no JSON:\n%s", &stdout)
			}
		})
	}
}
