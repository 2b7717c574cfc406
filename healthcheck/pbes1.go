// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"bytes"
	"crypto/cipher"
	"crypto/des"
	"crypto/sha1"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"math/big"
	"unicode/utf16"
)

// Keys that openssl(1) has encrypted with "pkcs8 -v1 PBE-SHA1-3DES" or
// "PBE-SHA1-2DES": the two of PBES1 (RFC 8018 6.1, RFC 7292 C) that OpenSSL 3 opens
// without its provider of legacy algorithms, and so keepalived. Libraries open whole
// stores of PKCS #12, or PBES2 only.

// pbeTripleDES has the lengths of the keys by object identifier.
var pbeTripleDES = map[string]int{
	"1.2.840.113549.1.12.1.3": 24,
	"1.2.840.113549.1.12.1.4": 16,
}

// encryptedPrivateKeyInfo is that of RFC 5208 6.
type encryptedPrivateKeyInfo struct {
	Algorithm pkix.AlgorithmIdentifier
	Data      []byte
}

type pbeParams struct {
	Salt       []byte
	Iterations int
}

// maxIterations bounds the work that a file can ask for.
const maxIterations = 1_000_000

var errPassword = errors.New("the password does not open it")

// openPBES1 decrypts a key. ours is false if it is encrypted in another way.
func openPBES1(der []byte, password string) (key []byte, ours bool, err error) {
	var info encryptedPrivateKeyInfo
	if rest, err := asn1.Unmarshal(der, &info); err != nil || len(rest) > 0 {
		return nil, false, nil
	}
	length, ours := pbeTripleDES[info.Algorithm.Algorithm.String()]
	if !ours {
		return nil, false, nil
	}
	var p pbeParams
	if rest, err := asn1.Unmarshal(info.Algorithm.Parameters.FullBytes, &p); err != nil || len(rest) > 0 || p.Iterations < 1 || p.Iterations > maxIterations {
		return nil, true, errors.New("its parameters are not those of PKCS #12")
	}
	k := pkcs12Key(1, password, p, length)
	block, err := des.NewTripleDESCipher(append(k, k[:24-length]...))
	if err != nil {
		return nil, true, err
	}
	if len(info.Data) == 0 || len(info.Data)%des.BlockSize != 0 {
		return nil, true, errors.New("it is cut off")
	}
	out := make([]byte, len(info.Data))
	cipher.NewCBCDecrypter(block, pkcs12Key(2, password, p, des.BlockSize)).CryptBlocks(out, info.Data)
	n := int(out[len(out)-1])
	if n < 1 || n > des.BlockSize || !bytes.HasSuffix(out, bytes.Repeat([]byte{byte(n)}, n)) {
		return nil, true, errPassword
	}
	return out[:len(out)-n], true, nil
}

// pkcs12Key derives size bytes for a use by RFC 7292 B.2, with SHA-1.
func pkcs12Key(use byte, password string, p pbeParams, size int) []byte {
	const v = 64 // bytes of a block of SHA-1
	var text []byte
	for _, u := range append(utf16.Encode([]rune(password)), 0) {
		text = append(text, byte(u>>8), byte(u))
	}
	// fill repeats b up to whole blocks.
	fill := func(b []byte) []byte {
		if len(b) == 0 {
			return nil
		}
		n := (len(b) + v - 1) / v * v
		return bytes.Repeat(b, n/len(b)+1)[:n]
	}
	diversifier := bytes.Repeat([]byte{use}, v)
	state := append(fill(p.Salt), fill(text)...)
	var out []byte
	for {
		sum := sha1.Sum(append(bytes.Clone(diversifier), state...))
		for range p.Iterations - 1 {
			sum = sha1.Sum(sum[:])
		}
		if out = append(out, sum[:]...); len(out) >= size {
			return out[:size]
		}
		add := new(big.Int).SetBytes(fill(sum[:]))
		add.Add(add, big.NewInt(1))
		for i := 0; i < len(state); i += v {
			n := new(big.Int).SetBytes(state[i : i+v])
			whole := n.Add(n, add).FillBytes(make([]byte, v+1))
			copy(state[i:], whole[1:])
		}
	}
}
