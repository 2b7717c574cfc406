// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"encoding/pem"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestKeyPassword: keys as openssl(1) encrypts them (ec, pkcs8 -v2, -v1, -scrypt) are opened
// by their password alone, and what keeps one shut is said with its remedy.
func TestKeyPassword(t *testing.T) {
	const password = "a b#c"
	file := func(name string) string { return filepath.Join("testdata/keys", name+".pem") }
	for _, name := range []string{"plain", "traditional-aes256", "traditional-des3", "pbes2-aes256", "pbes2-des3", "scrypt", "pbes1", "pbes1-2des"} {
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
	// Of PBES1 OpenSSL 3 opens what is above, and neither does this.
	old := TLS{Certificate: file("cert"), Key: file("pbes1-md5-des"), Password: password}
	if _, err := old.pair(); err == nil || !strings.Contains(err.Error(), "openssl pkcs8 -topk8") {
		t.Errorf("PBES1 with MD5: %v", err)
	}
}

// FuzzKey: whatever a key's file holds, it is opened or an error says why.
func FuzzKey(f *testing.F) {
	for _, name := range []string{"pbes1", "pbes1-2des", "pbes1-md5-des", "pbes2-des3"} {
		text, err := os.ReadFile(filepath.Join("testdata/keys", name+".pem"))
		if err != nil {
			f.Fatal(err)
		}
		block, _ := pem.Decode(text)
		f.Add(block.Bytes, "a b#c")
		f.Add(block.Bytes, "")
	}
	f.Fuzz(func(t *testing.T, der []byte, password string) {
		key, ours, err := openPBES1(der, password)
		if !ours && (key != nil || err != nil) || ours && err == nil && len(key) >= len(der) {
			t.Errorf("%x: %x, %t, %v", der, key, ours, err)
		}
	})
}
