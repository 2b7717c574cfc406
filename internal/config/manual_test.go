// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestManual: keepalived.conf(5) has every keyword that is in force, and none
// that is not.
func TestManual(t *testing.T) {
	b, err := os.ReadFile("../../man/keepalived.conf.5")
	if err != nil {
		t.Fatal(err)
	}
	inForce := map[string]bool{}
	for _, words := range []func(func(string) bool){
		wordsOf(rootKeywords), wordsOf(globalKeywords), wordsOf(serverKeywords), wordsOf(realKeywords),
		wordsOf(tcpKeywords), wordsOf(httpKeywords), wordsOf(sslKeywords), wordsOf(urlKeywords),
		wordsOf(smtpKeywords), wordsOf(dnsKeywords), wordsOf(udpKeywords), wordsOf(miscKeywords),
	} {
		for w := range words {
			// These blocks only say that they are not in force; host is deprecated.
			if w != "FILE_CHECK" && w != "BFD_CHECK" && w != "host" {
				inForce[w] = true
			}
		}
	}
	inManual := map[string]bool{}
	for _, m := range regexp.MustCompile(`(?:Ic|Ss) ([\w-]+(?: , [\w-]+)*)`).FindAllStringSubmatch(string(b), -1) {
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
