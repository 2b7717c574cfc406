// SPDX-License-Identifier: Apache-2.0

package houserules

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/lvs-fnat/lvs/"

// mayImport lists, for each package of ours, the packages of ours that its
// non-test code may import. A package that is missing here fails the test:
// where something new belongs is decided once, in this table.
var mayImport = map[string][]string{
	"ipvsadm":    {"ipvs", "internal/popt", "internal/schedule"},
	"keepalived": {"internal/agentx", "internal/bfd", "internal/busapi", "internal/config", "internal/director", "internal/doctor", "internal/firewall", "internal/logline", "internal/netif", "internal/notify", "internal/popt", "internal/supervise", "internal/vrouter", "healthcheck", "ipvs", "vrrp"},

	"ipvs":          {"ipvs/uapi"},
	"ipvs/ipvstest": {"ipvs", "ipvs/uapi"},
	"ipvs/uapi":     {},
	"ipvs/uapi/gen": {},
	"parser":        {},
	"healthcheck":   {"internal/poll", "internal/trackfile"},
	"vrrp":          {},

	"internal/agentx":     {},
	"internal/bfd":        {"internal/poll"},
	"internal/config":     {"parser", "ipvs", "healthcheck", "vrrp", "internal/bfd"},
	"internal/director":   {"internal/agentx", "ipvs", "healthcheck", "internal/config", "internal/firewall"},
	"internal/doctor":     {"internal/config", "internal/director", "ipvs", "parser"},
	"internal/firewall":   {},
	"internal/houserules": {},
	"internal/logline":    {},
	"internal/busapi":     {},
	"internal/notify":     {},
	"internal/netif":      {"internal/config", "vrrp"},
	"internal/poll":       {},
	"internal/popt":       {},
	"internal/schedule":   {"ipvs"},
	"internal/supervise":  {},
	"internal/trackfile":  {},
	"internal/vrouter":    {"internal/agentx", "internal/config", "internal/firewall", "internal/netif", "internal/poll", "internal/trackfile", "vrrp"},

	"kmod/toa/bpf": {},
}

// testOnly are packages that exist for tests; they may import anything, and no
// shipped package may import them.
var testOnly = []string{"internal/test", "e2e", "kmod/test", "kmod/toa/test"}

// outside lists, for modules whose use is confined, who may import them.
var outside = map[string][]string{
	"github.com/mdlayher/netlink":      {"ipvs"},
	"github.com/mdlayher/genetlink":    {"ipvs"},
	"github.com/google/nftables":       {"internal/firewall"},
	"github.com/vishvananda/netlink":   {"internal/netif"},
	"github.com/dlclark/regexp2":       {"healthcheck"},
	"github.com/moby/ipvs":             {},
	"github.com/sirupsen/logrus":       {},
	"github.com/cilium/ebpf":           {"kmod/toa/bpf"},
	"github.com/alecthomas/participle": {"parser"},
	"golang.org/x/sys/unix":            {"internal/bfd", "internal/firewall", "internal/netif", "internal/poll", "internal/popt", "internal/supervise", "ipvs", "kmod/toa/bpf"},
}

// heavy must not be linked into ipvsadm, which scripts call a thousand times.
var heavy = []string{"net/http", "crypto/tls", "github.com/prometheus"}

type pkg struct {
	ImportPath string
	Imports    []string
	Deps       []string
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = filepath.Join("..", "..")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	var pkgs []pkg
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

func isTestOnly(name string) bool {
	return slices.ContainsFunc(testOnly, func(prefix string) bool { return strings.HasPrefix(name, prefix) })
}

func TestImportDirection(t *testing.T) {
	for _, p := range list(t) {
		name := strings.TrimPrefix(p.ImportPath, module)
		if isTestOnly(name) {
			continue
		}
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("%s is in no row of mayImport: say there what it may import", name)
			continue
		}
		for _, imp := range p.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s; it may import only %v", name, ours, allowed)
			}
			for mod, who := range outside {
				if (imp == mod || strings.HasPrefix(imp, mod+"/")) && !slices.Contains(who, name) {
					t.Errorf("%s imports %s, which is for %v", name, imp, who)
				}
			}
		}
		if name == "ipvsadm" {
			for _, h := range heavy {
				if slices.ContainsFunc(p.Deps, func(d string) bool { return d == h || strings.HasPrefix(d, h+"/") }) {
					t.Errorf("ipvsadm links %s", h)
				}
			}
		}
	}
}
