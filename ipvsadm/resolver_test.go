// SPDX-License-Identifier: Apache-2.0

package main

import (
	"net/netip"
	"slices"
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// Addresses are read from an answer in its order, behind aliases, and from nothing
// that is cut or is no answer.
func TestAnswers(t *testing.T) {
	name, alias := dnsmessage.MustNewName("www.example."), dnsmessage.MustNewName("web.example.")
	head := func(n dnsmessage.Name) dnsmessage.ResourceHeader {
		return dnsmessage.ResourceHeader{Name: n, Class: dnsmessage.ClassINET, TTL: 1}
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{Response: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}},
		Answers: []dnsmessage.Resource{
			{Header: head(name), Body: &dnsmessage.CNAMEResource{CNAME: alias}},
			{Header: head(alias), Body: &dnsmessage.AResource{A: [4]byte{10, 3, 9, 9}}},
			{Header: head(alias), Body: &dnsmessage.AAAAResource{AAAA: [16]byte{0x20, 1}}},
			{Header: head(alias), Body: &dnsmessage.AResource{A: [4]byte{127, 0, 0, 9}}},
		},
		Additionals: []dnsmessage.Resource{{Header: head(name), Body: &dnsmessage.AResource{A: [4]byte{1, 1, 1, 1}}}},
	}
	b, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	want := []netip.Addr{netip.MustParseAddr("10.3.9.9"), netip.MustParseAddr("127.0.0.9")}
	if got := appendAnswers(nil, b); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	for n := range b {
		if got := appendAnswers(nil, b[:n]); len(got) > 2 || len(got) == 2 && got[1] != want[1] {
			t.Errorf("of %d bytes: got %v", n, got)
		}
	}
	if got := append(appendAnswers(nil, []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n")), appendAnswers(nil, nil)...); len(got) > 0 {
		t.Errorf("of no answer: got %v", got)
	}
}
