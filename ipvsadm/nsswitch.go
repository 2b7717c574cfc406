// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
)

// nsswitchFile says where this host looks for names, nsswitch.conf(5).
const nsswitchFile = "/etc/nsswitch.conf"

// getent is the C library's own lookup as a program, which can load the libraries
// that answer for sources other than files and dns. No search, as with modprobe.
const getent = "/usr/bin/getent"

var errNoHost = errors.New("no such host")

// foreignHosts tells whether text, a nsswitch.conf, has names of hosts looked for in
// ways that only the C library knows: in other sources than files and dns, or with a
// word of its own on when to go on.
func foreignHosts(text []byte) bool {
	for line := range bytes.Lines(text) {
		line, _, _ := bytes.Cut(line, []byte("#"))
		database, sources, ok := bytes.Cut(line, []byte(":"))
		if !ok || string(bytes.TrimSpace(database)) != "hosts" {
			continue
		}
		return slices.ContainsFunc(strings.Fields(string(sources)), func(s string) bool { return s != "files" && s != "dns" })
	}
	return false
}

// asksLibrary tells whether this host wants names looked for in such ways, and has the
// program that knows them. It is read when the first name is wanted, once.
var asksLibrary = sync.OnceValue(func() bool {
	text, err := os.ReadFile(nsswitchFile)
	if err != nil || !foreignHosts(text) {
		return false
	}
	_, err = os.Stat(getent)
	return err == nil
})

// getentIPv4 is lookupIPv4 by the C library. Of several addresses that it knows from
// where we look, too, the order is that of gethostbyname(3).
func getentIPv4(ctx context.Context, host string) ([]netip.Addr, error) {
	lines, err := askGetent(ctx, "-i", "-A", "ahostsv4", "--", host)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, words := range lines {
		if a, err := netip.ParseAddr(words[0]); err == nil && !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) > 1 {
		if said, err := lookupIPv4(ctx, host); err == nil {
			slices.SortStableFunc(addrs, func(a, b netip.Addr) int { return place(said, a) - place(said, b) })
		}
	}
	return addrs, nil
}

// getentName returns the names of an address as the C library knows them.
func getentName(ctx context.Context, addr string) ([]string, error) {
	lines, err := askGetent(ctx, "hosts", "--", addr)
	if err != nil {
		return nil, err
	}
	return lines[0][1:], nil
}

// askGetent returns the words of the lines, two or more in each, one line at least.
func askGetent(ctx context.Context, args ...string) (lines [][]string, err error) {
	out, err := exec.CommandContext(ctx, getent, args...).Output()
	if err != nil {
		return nil, errNoHost
	}
	for line := range strings.Lines(string(out)) {
		if words := strings.Fields(line); len(words) > 1 {
			lines = append(lines, words)
		}
	}
	if len(lines) == 0 {
		return nil, errNoHost
	}
	return lines, nil
}
