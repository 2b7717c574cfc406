// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestManual: keepalived.conf(5) has every keyword that is in force, and none
// that is not.
func TestManual(t *testing.T) {
	manual := readFile(t, "../../man/keepalived.conf.5")
	inForce := map[string]bool{}
	for path, yes := range readKeywords() {
		// host is deprecated, hashed does nothing.
		if w := path[strings.LastIndexByte(path, '/')+1:]; yes && w != "host" && w != "hashed" {
			inForce[w] = true
		}
	}
	inManual := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:Ic|Ss) ([\w-]+(?: , [\w-]+)*)`).FindAllStringSubmatch(manual, -1) {
		for w := range strings.SplitSeq(m[1], " , ") {
			inManual[w] = true
		}
	}
	for _, w := range slices.Sorted(maps.Keys(inForce)) {
		if !inManual[w] {
			t.Errorf("keepalived.conf(5) does not have %s", w)
		}
	}
	for w := range known().homes {
		if inManual[w] && !inForce[w] {
			t.Errorf("keepalived.conf(5) has %s, which is not in force", w)
		}
	}
}
