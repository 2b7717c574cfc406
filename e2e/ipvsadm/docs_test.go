// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

// TestHostDifferences wants a row of docs/compatibility.md for each difference
// that a case names, and such a case for each row that says there are cases.
func TestHostDifferences(t *testing.T) {
	root, err := testvm.Root()
	testnet.Must(t, err)
	text, err := os.ReadFile(filepath.Join(root, "docs/compatibility.md"))
	testnet.Must(t, err)
	_, section, _ := strings.Cut(string(text), "\n## ipvsadm\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var documented, named []string
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|.*\\| cases.* \\|$").FindAllStringSubmatch(section, -1) {
		documented = append(documented, row[1])
	}
	for _, c := range readCases(t) {
		named = append(named, c.differ)
		for _, k := range c.calls {
			named = append(named, k.differ)
		}
	}
	slices.Sort(documented)
	slices.Sort(named)
	named = slices.DeleteFunc(slices.Compact(named), func(s string) bool { return s == "" })
	if !slices.Equal(documented, named) {
		t.Errorf("docs/compatibility.md has the rows\n%q\ncases name\n%q", documented, named)
	}
}
