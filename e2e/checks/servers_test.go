// SPDX-License-Identifier: Apache-2.0

// Package checks tests each kind of check against a server of its kind, from
// Debian's packages, that turns bad in every way it can. What only bytes can do
// wrong is tested beside the checks.
package checks

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/md5"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/lvs-fnat/lvs/healthcheck"
	"github.com/lvs-fnat/lvs/internal/testconf"
	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

func TestMain(m *testing.M) { testvm.Main(m) }

// TestGuestsServers needs one kernel only: it is the servers that differ.
func TestGuestsServers(t *testing.T) {
	root, err := testvm.Root()
	testnet.Must(t, err)
	program := filepath.Join(t.TempDir(), "keepalived")
	build := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", program, "./keepalived")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build keepalived: %v\n%s", err, out)
	}
	kernels := testvm.Kernels()
	quiet, memory, processors := time.Duration(0), 0, 1
	if os.Getenv("LVS_BENCH") != "" {
		quiet, memory = time.Hour, 4096 // the original reloads thousands of virtual servers
		// What each service and each real server has for every processor is cut from areas
		// of 2 MB for all of them, which the kernel looks through in blocks of 4 KB: 512 with
		// one processor, 64 with the eight that a director has.
		processors = 8
	}
	files := sampleFiles(t)
	files[ours] = program
	testvm.Run(t, testvm.Config{
		Quiet: quiet, Memory: memory, Processors: processors,
		Kernel: kernels[len(kernels)-1], Run: "^Test(Servers|Cost|Clock)", Programs: true, Load: []string{},
		Files: files, Env: append(testconf.SeedsEnv(), "LVS_BENCH="+os.Getenv("LVS_BENCH")),
	})
}

// daemon is a server under test.
type daemon struct {
	t   *testing.T
	cmd *exec.Cmd
}

func start(t *testing.T, name string, args ...string) *daemon {
	t.Helper()
	d := &daemon{t, exec.Command(name, args...)}
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	d.cmd.Stdout, d.cmd.Stderr = t.Output(), t.Output()
	if strings.HasSuffix(name, "openssl") {
		_, err := d.cmd.StdinPipe() // it ends with its input
		testnet.Must(t, err)
	}
	testnet.Must(t, d.cmd.Start())
	t.Cleanup(d.kill)
	return d
}

// signal reaches all processes of the server.
func (d *daemon) signal(sig syscall.Signal) {
	d.t.Helper()
	testnet.Must(d.t, syscall.Kill(-d.cmd.Process.Pid, sig))
}

func (d *daemon) kill() {
	if d.cmd.ProcessState == nil {
		_ = syscall.Kill(-d.cmd.Process.Pid, syscall.SIGKILL)
		_ = d.cmd.Wait()
	}
}

// watch is an engine with one check.
type watch struct {
	*healthcheck.Engine
	t *testing.T
}

func check(t *testing.T, port uint16, spec healthcheck.Spec) *watch {
	t.Helper()
	e, err := healthcheck.New(healthcheck.Options{Shards: 1, Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	testnet.Must(t, err)
	if spec.Kind != healthcheck.MiscCheck {
		spec.Conn.Addr = netip.AddrPortFrom(netip.MustParseAddr("127.0.0.1"), port)
	}
	spec.Timing = healthcheck.Timing{DelayLoop: 100 * time.Millisecond, ConnectTimeout: time.Second, DelayBeforeRetry: 50 * time.Millisecond, Retry: 1, Alpha: true}
	_, err = e.Set([]*healthcheck.Target{{Service: "[192.0.2.1]:tcp:80", Server: fmt.Sprintf("[127.0.0.1]:tcp:%d", port), Spec: spec}})
	testnet.Must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- e.Run(ctx, func([]healthcheck.Event) {}) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, e.Close()); err != nil {
			t.Error(err)
		}
	})
	return &watch{e, t}
}

// is waits until the check has found the server up or down.
func (w *watch) is(up bool, what string) {
	w.t.Helper()
	testnet.Eventually(w.t, time.Minute, func() error {
		if s := w.Status()[0]; !s.Known || s.Up != up {
			return fmt.Errorf("%s: the server is up: %v, want %v", what, s.Up, up)
		}
		return nil
	})
}

// certificate writes one and its key.
func certificate(t *testing.T, dir string, end time.Time) (cert, key string) {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	testnet.Must(t, err)
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: end.Add(-48 * time.Hour), NotAfter: end}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k)
	testnet.Must(t, err)
	kder, err := x509.MarshalPKCS8PrivateKey(k)
	testnet.Must(t, err)
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	testnet.Must(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	testnet.Must(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: kder}), 0o600))
	return cert, key
}

func md5hex(text string) string {
	sum := md5.Sum([]byte(text))
	return hex.EncodeToString(sum[:])
}

const nginxConf = `
daemon off; master_process off; user root; error_log stderr; pid %[1]s/pid;
events { }
http {
	access_log off;
	client_body_temp_path %[1]s; proxy_temp_path %[1]s; fastcgi_temp_path %[1]s; uwsgi_temp_path %[1]s; scgi_temp_path %[1]s;
	server {
		listen 127.0.0.1:8080; listen 127.0.0.1:8081 proxy_protocol; listen 127.0.0.1:8443 ssl;
		ssl_certificate %[2]s; ssl_certificate_key %[3]s;
		root %[1]s;
		location = /status { %[4]s }
		location = /slow { limit_rate 1; }
		location = /reset { return 444; }
		location = /session { return 200 "session $ssl_session_reused"; }
	}
}
`

// TestServersNginx: HTTP_GET, SSL_GET and TCP_CHECK against nginx.
func TestServersNginx(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, time.Now().Add(-time.Hour)) // expired, which is no fault
	conf, page := filepath.Join(dir, "nginx.conf"), filepath.Join(dir, "page")
	write := func(path, text string) {
		t.Helper()
		testnet.Must(t, os.WriteFile(path, []byte(text), 0o644))
	}
	configure := func(answer string) { write(conf, fmt.Sprintf(nginxConf, dir, cert, key, answer)) }
	run := func() *daemon { return start(t, "/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", conf) }
	configure("return 204;")
	const text = "hello world, at some length\n"
	write(page, text)
	write(filepath.Join(dir, "slow"), strings.Repeat("x", 100))
	n := run()

	get := func(kind healthcheck.Kind, port uint16, url healthcheck.URL) *watch {
		return check(t, port, healthcheck.Spec{Kind: kind, TLS: &healthcheck.TLS{}, HTTP: healthcheck.HTTP{URLs: []healthcheck.URL{url}, Protocol: healthcheck.HTTP11}})
	}
	proxied := func(version uint8) *watch {
		return check(t, 8081, healthcheck.Spec{Kind: healthcheck.HTTPGet, Conn: healthcheck.Conn{Proxy: version}, HTTP: healthcheck.HTTP{URLs: []healthcheck.URL{{Path: "/page"}}}})
	}
	sum := healthcheck.URL{Path: "/page", Digest: md5hex(text)}
	alive := map[string]*watch{
		"TCP_CHECK":               check(t, 8080, healthcheck.Spec{Kind: healthcheck.TCPCheck}),
		"HTTP_GET":                get(healthcheck.HTTPGet, 8080, sum),
		"HTTP_GET, regex":         get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/page", Regex: "w.rld"}),
		"HTTP_GET, status":        get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/gone", Status: []healthcheck.StatusRange{{Low: 404, High: 404}}}),
		"SSL_GET":                 get(healthcheck.SSLGet, 8443, sum),
		"HTTP_GET, PROXY v1":      proxied(1),
		"HTTP_GET, PROXY v2":      proxied(2),
		"HTTP_GET, a status 2xx":  get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/status"}),
		"SSL_GET, without digest": get(healthcheck.SSLGet, 8443, healthcheck.URL{Path: "/page"}),
		// The first run finds "session .", those after it "session r".
		"SSL_GET, resumed session": get(healthcheck.SSLGet, 8443, healthcheck.URL{Path: "/session", Regex: "session r"}),
	}
	for what, w := range alive {
		w.is(true, what)
	}
	for what, w := range map[string]*watch{
		"wrong status":                 get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/gone"}),
		"wrong digest":                 get(healthcheck.SSLGet, 8443, healthcheck.URL{Path: "/page", Digest: md5hex("else")}),
		"byte by byte":                 get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/slow"}),
		"byte by byte, TLS":            get(healthcheck.SSLGet, 8443, healthcheck.URL{Path: "/slow"}),
		"closed without an answer":     get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/reset"}),
		"plain HTTP to TLS":            get(healthcheck.HTTPGet, 8443, healthcheck.URL{Path: "/page"}),
		"TLS to plain HTTP":            get(healthcheck.SSLGet, 8080, healthcheck.URL{Path: "/page"}),
		"no header where one is due":   get(healthcheck.HTTPGet, 8081, healthcheck.URL{Path: "/page"}),
		"a page without what it needs": get(healthcheck.HTTPGet, 8080, healthcheck.URL{Path: "/page", Regex: "moon"}),
	} {
		w.is(false, what)
	}

	write(page, "changed")
	alive["HTTP_GET"].is(false, "another page, digest")
	alive["SSL_GET"].is(false, "another page, digest over TLS")
	alive["HTTP_GET, regex"].is(false, "another page, regex")
	write(page, text)
	alive["HTTP_GET"].is(true, "the page is back")

	n.signal(syscall.SIGSTOP) // the kernel still accepts connections
	for what, w := range alive {
		w.is(what == "TCP_CHECK", "mute: "+what)
	}
	n.signal(syscall.SIGCONT)
	for what, w := range alive {
		w.is(true, "speaking again: "+what)
	}
	n.kill()
	for what, w := range alive {
		w.is(false, "closed: "+what)
	}
	configure("return 503;")
	run()
	alive["HTTP_GET"].is(true, "started again")
	alive["HTTP_GET, a status 2xx"].is(false, "503")
}

// TestServersOpenSSL: SSL_GET against openssl s_server.
func TestServersOpenSSL(t *testing.T) {
	dir := t.TempDir()
	cert, key := certificate(t, dir, time.Now().Add(-time.Hour))
	run := func(args ...string) *daemon {
		return start(t, "/usr/bin/openssl", append([]string{"s_server", "-accept", "127.0.0.1:8444", "-cert", cert, "-key", key, "-quiet"}, args...)...)
	}
	s := run("-www")
	w := check(t, 8444, healthcheck.Spec{Kind: healthcheck.SSLGet, TLS: &healthcheck.TLS{SNI: true, ServerName: "name.example"},
		HTTP: healthcheck.HTTP{URLs: []healthcheck.URL{{Path: "/", Regex: "s_server"}}}})
	w.is(true, "expired certificate, which nobody looks at")
	reused := check(t, 8444, healthcheck.Spec{Kind: healthcheck.SSLGet, TLS: &healthcheck.TLS{}, HTTP: healthcheck.HTTP{URLs: []healthcheck.URL{{Path: "/", Regex: "Reused, TLSv1"}}}})
	reused.is(true, "a resumed session of TLS 1.3, by the server's page")
	s.signal(syscall.SIGSTOP)
	w.is(false, "mute")
	s.signal(syscall.SIGCONT)
	w.is(true, "speaking again")
	s.kill()
	w.is(false, "closed")
	s = run("-www", "-Verify", "1", "-verify_return_error")
	w.is(false, "it wants a certificate")
	s.kill()
	run("-www", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-GCM-SHA256")
	w.is(true, "an old version of TLS")
	reused.is(true, "a resumed session of TLS 1.2")
}

// TestServersDNS: DNS_CHECK and UDP_CHECK against dnsmasq.
func TestServersDNS(t *testing.T) {
	run := func(args ...string) *daemon {
		return start(t, "/usr/sbin/dnsmasq", append([]string{"-k", "-C", "/dev/null", "-p", "5353", "--listen-address=127.0.0.1", "--bind-interfaces",
			"--no-resolv", "--no-hosts", "--user=root", "--group=root", "--pid-file="}, args...)...)
	}
	good := []string{"--address=/shop.example/192.0.2.7"}
	s := run(good...)
	ask := func(kind, name string) *watch {
		return check(t, 5353, healthcheck.Spec{Kind: healthcheck.DNSCheck, DNS: &healthcheck.DNS{Type: kind, Name: name}})
	}
	a, refused := ask("A", "shop.example"), ask("A", "elsewhere.example")
	// A query for shop.example, of which any reply has the same id.
	const query = "\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04shop\x07example\x00\x00\x01\x00\x01"
	udp := check(t, 5353, healthcheck.Spec{Kind: healthcheck.UDPCheck, UDP: &healthcheck.UDP{Payload: query, RequireReply: true, Reply: "\x12\x34", Mask: "\xff\xff", MaxReply: 255}})
	plain := check(t, 5353, healthcheck.Spec{Kind: healthcheck.UDPCheck, UDP: &healthcheck.UDP{}})
	a.is(true, "an answer")
	udp.is(true, "a datagram back")
	plain.is(true, "no error")
	refused.is(false, "REFUSED")
	s.signal(syscall.SIGSTOP)
	a.is(false, "mute")
	udp.is(false, "mute")
	s.signal(syscall.SIGCONT)
	a.is(true, "speaking again")
	udp.is(true, "speaking again")
	s.kill()
	a.is(false, "closed")
	udp.is(false, "closed")
	plain.is(false, "port unreachable")
	s = run()
	plain.is(true, "open again")
	a.is(false, "it knows the name no more")
	s.kill()
	run(good...)
	a.is(true, "it knows the name again")
}

// TestServersSMTP: SMTP_CHECK against msmtpd.
func TestServersSMTP(t *testing.T) {
	run := func() *daemon {
		return start(t, "/usr/bin/msmtpd", "--interface=127.0.0.1", "--port=2525", "--command=/bin/cat")
	}
	s := run()
	w := check(t, 2525, healthcheck.Spec{Kind: healthcheck.SMTPCheck, SMTP: &healthcheck.SMTP{Helo: healthcheck.DefaultHelo}})
	web := check(t, 2525, healthcheck.Spec{Kind: healthcheck.HTTPGet, HTTP: healthcheck.HTTP{URLs: []healthcheck.URL{{Path: "/"}}}})
	w.is(true, "greeting and HELO")
	web.is(false, "mail is not HTTP")
	s.signal(syscall.SIGSTOP)
	w.is(false, "mute")
	s.signal(syscall.SIGCONT)
	w.is(true, "speaking again")
	s.kill()
	w.is(false, "closed")
	run()
	w.is(true, "started again")
}

// TestServersKernel: PING_CHECK against the kernel itself, and MISC_CHECK with
// commands of a real system.
func TestServersKernel(t *testing.T) {
	const ignore = "/proc/sys/net/ipv4/icmp_echo_ignore_all"
	w := check(t, 0, healthcheck.Spec{Kind: healthcheck.PingCheck})
	w.is(true, "an echo")
	testnet.Must(t, os.WriteFile(ignore, []byte("1"), 0o644))
	w.is(false, "no echo")
	testnet.Must(t, os.WriteFile(ignore, []byte("0"), 0o644))
	w.is(true, "an echo again")

	file := filepath.Join(t.TempDir(), "alive")
	m := check(t, 0, healthcheck.Spec{Kind: healthcheck.MiscCheck, Misc: &healthcheck.Misc{Args: []string{"/bin/sh", "-c", "test -e " + file}}})
	m.is(false, "exit status 1")
	testnet.Must(t, os.WriteFile(file, nil, 0o644))
	m.is(true, "exit status 0")
	endless := check(t, 0, healthcheck.Spec{Kind: healthcheck.MiscCheck, Misc: &healthcheck.Misc{Args: []string{"/bin/sh", "-c", "while :; do :; done"}}})
	endless.is(false, "a command without end")
}
