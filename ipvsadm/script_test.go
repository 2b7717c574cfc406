// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"github.com/rogpeppe/go-internal/testscript"
)

// testNames knows two hosts and the services of a small file.
func testNames(dir string) *names {
	file := filepath.Join(dir, "services")
	text := "# services\nhttp 80/tcp www # web\ndomain 53/tcp\ndomain 53/udp\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		panic(err)
	}
	return &names{
		forward: func(_ context.Context, host string) ([]netip.Addr, error) {
			if host == "web.example" {
				return []netip.Addr{netip.MustParseAddr("10.9.9.9")}, nil
			}
			return nil, errors.New("no such host")
		},
		reverse: func(_ context.Context, addr string) ([]string, error) {
			if addr == "10.9.9.9" {
				return []string{"web.example."}, nil
			}
			return nil, errors.New("no such address")
		},
		file: file,
	}
}

// testApp is the program on a fake kernel.
func testApp(k kernel, dir string, stdin io.Reader, stdout, stderr io.Writer) *app {
	return &app{
		stdin: stdin, stdout: bufio.NewWriter(stdout), stderr: stderr,
		names:    testNames(dir),
		connFile: filepath.Join(dir, "conns"),
		dial:     func(context.Context) (kernel, error) { return k, nil },
		load:     func(context.Context) error { return errors.New("no module") },
		now:      func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
		openTTY:  func() terminal { return nil },
	}
}

// TestScripts runs testdata/script, and those of testdata/ours and testdata/stock,
// which package e2e runs on real kernels too. One table lives for a whole script:
//
//	run CODE ARGS... [<FILE]   runs ipvsadm and wants this exit code
//	stock                      an empty table without the extension from here on
//	conn CLIENT VIRTUAL LOCAL SERVER [STATE]   the extension has this connection
//	ipset NAME 4|6             there is an ipset of that family
//	counts VIP SERVER ACTIVE INACTIVE   the TCP service's server has these connections
//	use GROUP PORTS SERVER     so many of its ports are in use towards the server, by TCP
//	fail KIND ERRNO            the next operation of this kind fails
//	same FILE                  the standard output of run, to the byte; FILE - is empty
//	said TEXT                  the whole standard error of run, without the last newline
func TestScripts(t *testing.T) {
	type state struct {
		k        *ipvstest.Table
		conns    []ipvs.Conn
		out, err bytes.Buffer
	}
	of := func(ts *testscript.TestScript) *state { return ts.Value("state").(*state) }
	files, err := filepath.Glob("testdata/*/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Files: files,
		Setup: func(env *testscript.Env) error {
			env.Values["state"] = &state{k: ipvstest.New()}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"run": func(ts *testscript.TestScript, _ bool, args []string) {
				s := of(ts)
				want, stdin := args[0], io.Reader(strings.NewReader(""))
				args = args[1:]
				if n := len(args); n > 0 && strings.HasPrefix(args[n-1], "<") {
					stdin, args = strings.NewReader(ts.ReadFile(args[n-1][1:])), args[:n-1]
				}
				s.out.Reset()
				s.err.Reset()
				a := testApp(s.k, ts.MkAbs("."), stdin, &s.out, &s.err)
				got := strconv.Itoa(a.run(context.Background(), append([]string{"ipvsadm"}, args...)))
				fmt.Fprint(ts.Stdout(), s.out.String())
				fmt.Fprint(ts.Stderr(), s.err.String())
				if got != want {
					ts.Fatalf("exit code %s, want %s", got, want)
				}
			},
			"stock": func(ts *testscript.TestScript, _ bool, _ []string) { of(ts).k = ipvstest.NewStock() },
			"conn": func(ts *testscript.TestScript, _ bool, args []string) {
				ap := func(i int) netip.AddrPort { return netip.MustParseAddrPort(args[i]) }
				s := of(ts)
				state := append(args, "ESTABLISHED")[4]
				s.conns = append(s.conns, ipvs.Conn{Protocol: ipvs.TCP, Client: ap(0), Virtual: ap(1), Local: ap(2), Dest: ap(3), State: state})
				s.k.SetConns(s.conns...)
			},
			"ipset": func(ts *testscript.TestScript, _ bool, args []string) {
				of(ts).k.AddSet(args[0], map[string]ipvs.Family{"4": ipvs.IPv4, "6": ipvs.IPv6}[args[1]])
			},
			"use": func(ts *testscript.TestScript, _ bool, args []string) {
				used, err := strconv.ParseUint(args[1], 10, 32)
				ts.Check(err)
				ts.Check(of(ts).k.SetUse(args[0], uint32(used), netip.MustParseAddrPort(args[2]), ipvs.TCP))
			},
			"counts": func(ts *testscript.TestScript, _ bool, args []string) {
				vip, rip := netip.MustParseAddrPort(args[0]), netip.MustParseAddrPort(args[1])
				active, err1 := strconv.ParseUint(args[2], 10, 32)
				inactive, err2 := strconv.ParseUint(args[3], 10, 32)
				ts.Check(errors.Join(err1, err2))
				key := ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: vip.Addr(), Port: vip.Port()}
				ts.Check(of(ts).k.SetDestConns(key, ipvs.DestKey{Family: ipvs.IPv4, Addr: rip.Addr(), Port: rip.Port()}, uint32(active), uint32(inactive)))
			},
			"fail": func(ts *testscript.TestScript, _ bool, args []string) {
				kinds := map[string]ipvs.OpKind{"AddDest": ipvs.AddDest, "SetExt": ipvs.SetExt, "SetService": ipvs.SetService}
				errnos := map[string]syscall.Errno{"ENOMEM": syscall.ENOMEM, "ENOENT": syscall.ENOENT}
				of(ts).k.FailOn(kinds[args[0]], errnos[args[1]])
			},
			"same": func(ts *testscript.TestScript, _ bool, args []string) {
				want := ""
				if args[0] != "-" {
					want = strings.ReplaceAll(ts.ReadFile(args[0]), "$\n", "\n")
				}
				if got := of(ts).out.String(); got != want {
					ts.Fatalf("standard output:\n%s\nwant:\n%s", got, want)
				}
			},
			"said": func(ts *testscript.TestScript, _ bool, args []string) {
				want := ""
				if len(args) > 0 && args[0] != "" {
					want = strings.Join(args, "\n") + "\n"
				}
				if got := of(ts).err.String(); got != want {
					ts.Fatalf("standard error:\n%q\nwant:\n%q", got, want)
				}
			},
		},
	})
}
