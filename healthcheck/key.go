// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"

	"github.com/youmark/pkcs8"
)

// encryptedKey is the type of a PEM block with a key in PKCS #8 that needs a
// password (RFC 7468 11).
const encryptedKey = "ENCRYPTED PRIVATE KEY"

// pair reads the certificate to show, with its key, which the password opens if it
// is encrypted: in PKCS #8 (RFC 8018), or the way OpenSSL did before.
func (t *TLS) pair() (tls.Certificate, error) {
	certs, err := os.ReadFile(t.Certificate)
	if err != nil {
		return tls.Certificate{}, err
	}
	text, err := os.ReadFile(t.Key)
	if err != nil {
		return tls.Certificate{}, err
	}
	var key []byte
	for rest := text; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block, err = t.open(block); err != nil {
			return tls.Certificate{}, fmt.Errorf("%s: %w", t.Key, err)
		}
		key = append(key, pem.EncodeToMemory(block)...)
	}
	return tls.X509KeyPair(certs, key)
}

// open decrypts a block of the key's file, if it is encrypted.
func (t *TLS) open(block *pem.Block) (*pem.Block, error) {
	//lint:ignore SA1019 what is encrypted so can be tampered with, which is no matter in a file of one's own
	old := x509.IsEncryptedPEMBlock(block)
	switch {
	case !old && block.Type != encryptedKey:
		return block, nil
	case t.Password == "":
		return nil, errors.New("the key is encrypted: add 'password' to the SSL block")
	case old:
		//lint:ignore SA1019 as above
		der, err := x509.DecryptPEMBlock(block, []byte(t.Password))
		return &pem.Block{Type: block.Type, Bytes: der}, err
	}
	if der, ours, err := openPBES1(block.Bytes, t.Password); ours {
		return &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
	}
	key, _, err := pkcs8.ParsePrivateKey(block.Bytes, []byte(t.Password))
	if err != nil {
		return nil, fmt.Errorf("%w; 'openssl pkcs8 -topk8 -in KEY -out NEW' writes what can be read", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	return &pem.Block{Type: "PRIVATE KEY", Bytes: der}, err
}
