// SPDX-License-Identifier: Apache-2.0

package main

import "testing"

// Only what the C library alone can answer is left to it.
func TestForeignHosts(t *testing.T) {
	for text, want := range map[string]bool{
		"":                                     false,
		"hosts: files dns":                     false,
		"hosts:dns\tfiles\n":                   false,
		"passwd: files systemd\n":              false,
		"# hosts: files myhostname\n":          false,
		"hosts: files dns # myhostname":        false,
		"hosts: files myhostname dns\n":        true,
		" hosts : files mdns4_minimal\n":       true,
		"hosts: files [NOTFOUND=return] dns\n": true,
		"passwd: files\nhosts: resolve [!UNAVAIL=return] files\n": true,
	} {
		if got := foreignHosts([]byte(text)); got != want {
			t.Errorf("%q: got %v, want %v", text, got, want)
		}
	}
}
