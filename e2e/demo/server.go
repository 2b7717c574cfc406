// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// server is a real server: nginx on port 80 and a program that answers datagrams
// with the server's name on port 53.
type server struct {
	host  *testnet.Host
	nginx *exec.Cmd
	udp   []net.PacketConn
	wg    sync.WaitGroup
}

func (s *server) logFile() string { return "/var/log/nginx/" + s.host.Name + ".log" }

// nginxConf logs whom nginx sees. Health checks are not logged: they come from the
// director itself.
const nginxConf = `daemon off;
worker_processes 1;
pid /run/nginx-%[1]s.pid;
error_log /var/log/nginx/%[1]s.error;
events {}
http {
	log_format demo "$remote_addr $remote_port";
	access_log %[2]s demo;
	server {
		listen 80;
		listen [::]:80;
		location / { return 200 "%[1]s\n"; }
		location = /health { access_log off; return 200 "well\n"; }
	}
}
`

func (s *server) start(ctx context.Context) error {
	for _, d := range []string{"/var/log/nginx", "/var/lib/nginx", "/etc/nginx"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	conf := "/etc/nginx/" + s.host.Name + ".conf"
	if err := os.WriteFile(conf, fmt.Appendf(nil, nginxConf, s.host.Name, s.logFile()), 0o644); err != nil {
		return err
	}
	s.nginx = exec.Command("/usr/sbin/nginx", "-c", conf)
	// A group of its own, to end nginx with its workers.
	s.nginx.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := s.host.Start(s.nginx); err != nil {
		s.nginx = nil
		return err
	}
	for _, a := range []netip.Addr{s.host.V4, s.host.V6} {
		p, err := s.host.ListenPacket(ctx, "udp", netip.AddrPortFrom(a, 53).String())
		if err != nil {
			return err
		}
		s.udp = append(s.udp, p)
		s.wg.Go(func() { s.answer(p) })
	}
	return s.ready(ctx)
}

// ready returns when nginx accepts connections.
func (s *server) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		c, err := s.host.DialContext(ctx, "tcp", netip.AddrPortFrom(s.host.V4, 80).String())
		if err == nil {
			return c.Close()
		}
		select {
		case <-ctx.Done():
			said, _ := os.ReadFile("/var/log/nginx/" + s.host.Name + ".error")
			return fmt.Errorf("nginx on %s does not answer: %w\n%s", s.host.Name, err, said)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func (s *server) answer(p net.PacketConn) {
	buf := make([]byte, 100)
	for {
		_, from, err := p.ReadFrom(buf)
		if err != nil {
			return
		}
		// An answer that is lost is missed by the client.
		_, _ = p.WriteTo([]byte(s.host.Name), from)
	}
}

// kill ends the server as a crash does.
func (s *server) kill() error {
	var errs []error
	if s.nginx != nil {
		errs = append(errs, syscall.Kill(-s.nginx.Process.Pid, syscall.SIGKILL))
		var killed *exec.ExitError
		if err := s.nginx.Wait(); err != nil && !errors.As(err, &killed) {
			errs = append(errs, err)
		}
		s.nginx = nil
	}
	for _, p := range s.udp {
		errs = append(errs, p.Close())
	}
	s.udp = nil
	s.wg.Wait()
	return errors.Join(errs...)
}

// log returns the clients that nginx logged.
func (s *server) log() ([]netip.AddrPort, error) {
	text, err := os.ReadFile(s.logFile())
	if err != nil {
		return nil, err
	}
	var seen []netip.AddrPort
	for line := range strings.Lines(string(text)) {
		addr, port, _ := strings.Cut(strings.TrimSpace(line), " ")
		ap, err := addrPort(addr, port)
		if err != nil {
			return nil, fmt.Errorf("%s: line %q: %w", s.logFile(), line, err)
		}
		seen = append(seen, ap)
	}
	return seen, nil
}

func addrPort(addr, port string) (netip.AddrPort, error) {
	a, err := netip.ParseAddr(addr)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(a, uint16(n)), err
}
