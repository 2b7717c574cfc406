// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyPassword: keys as openssl(1) encrypts them (ec, pkcs8 -v2, -scrypt) are opened
// by their password alone, and what keeps one shut is said with its remedy.
func TestKeyPassword(t *testing.T) {
	const password = "a b#c"
	file := func(name string) string { return filepath.Join("testdata/keys", name+".pem") }
	for _, name := range []string{"plain", "traditional-aes256", "traditional-des3", "pbes2-aes256", "pbes2-des3", "scrypt"} {
		own := TLS{Certificate: file("cert"), Key: file(name), Password: password}
		if pair, err := own.pair(); err != nil || len(pair.Certificate) != 1 {
			t.Errorf("%s: %v", name, err)
		}
		if name == "plain" {
			continue
		}
		for wrong, text := range map[string]string{"": "add 'password' to the SSL block", "A b#c": "password"} {
			own.Password = wrong
			if _, err := own.pair(); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), text) {
				t.Errorf("%s with password '%s': %v", name, wrong, err)
			}
		}
	}
	old := TLS{Certificate: file("cert"), Key: file("pbes1"), Password: password}
	if _, err := old.pair(); err == nil || !strings.Contains(err.Error(), "openssl pkcs8 -topk8") {
		t.Errorf("PBES1: %v", err)
	}
}
