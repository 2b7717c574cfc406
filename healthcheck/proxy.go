// SPDX-License-Identifier: Apache-2.0

package healthcheck

// proxyHeader begins a connection in the PROXY protocol of this version, as its
// specification (haproxy's proxy-protocol.txt, section 2) has health checks do:
// a connection of the proxy's own, for no client.
func proxyHeader(version uint8) []byte {
	switch version {
	case 1:
		return []byte("PROXY UNKNOWN\r\n")
	case 2:
		// Signature; version 2 and LOCAL; no family; nothing follows.
		return []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	}
	return nil
}

// proxyOf is the version that goes before a request in the clear. SSL_GET sends
// it before the handshake.
func proxyOf(s *Spec) uint8 {
	if s.Kind == SSLGet {
		return 0
	}
	return s.Conn.Proxy
}

// introduction is the dialogue of a TCP_CHECK that sends a header and nothing
// else.
type introduction struct{ outbox }

func (i *introduction) receive(int, []byte) (result, bool) { return passed(), true }
func (i *introduction) timeout() result                    { return failed(lineConnectTimeout) }
func (i *introduction) lineWrite(t *Target) string         { return lineConnect(t) }
