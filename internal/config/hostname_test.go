// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestHostNames: names of routing tables and groups of links are those of the host,
// looked up where the configuration says, first in the one folder, then in the other.
func TestHostNames(t *testing.T) {
	etc, usr := t.TempDir(), t.TempDir()
	for path, text := range map[string]string{
		etc + "/rt_tables": "# number name\n77 blue\n", usr + "/rt_tables": "78 blue\n0x4f green\n", usr + "/group": "5 uplinks # comment\n",
	} {
		testnet.Must(t, os.WriteFile(filepath.Clean(path), []byte(text), 0o644))
	}
	const text = `vrrp_instance VI {
 interface eth0
 virtual_router_id 1
 use_vmac group uplinks
 virtual_ipaddress {
  192.0.2.1
 }
 virtual_routes {
  10.0.0.0/8 via 192.0.2.2 table blue
  10.1.0.0/16 via 192.0.2.2 table green
 }
}
`
	cfg, diags := parse(t, "global_defs {\n iproute_etc_dir "+etc+"\n iproute_usr_dir "+usr+"\n}\n"+text)
	if len(diags) > 0 {
		t.Error(diags)
	}
	in := cfg.VRRP.Instances[0]
	if in.VMAC.Group != 5 || in.Routes[0].Table != 77 || in.Routes[1].Table != 79 {
		t.Errorf("group %d, tables %d and %d", in.VMAC.Group, in.Routes[0].Table, in.Routes[1].Table)
	}
	_, diags = parse(t, "global_defs {\n iproute_etc_dir "+usr+"\n}\n"+strings.Replace(text, "table blue", "table red", 1))
	if len(diags) != 1 || !strings.Contains(diags[0].Text, "unknown routing table 'red'") {
		t.Error(diags)
	}
}

// TestIPTables: what is asked of iptables is done by nftables, which one line says.
func TestIPTables(t *testing.T) {
	_, diags := parse(t, "global_defs {\n vrrp_iptables IN OUT\n vrrp_ipsets a b c\n}\n")
	if len(diags) != 1 || diags[0].Severity != Info || !strings.Contains(diags[0].Text, "using nftables instead") {
		t.Error(diags)
	}
}
