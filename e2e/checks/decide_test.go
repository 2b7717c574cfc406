// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"crypto/tls"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
)

const tcpCheck = "TCP_CHECK {\n}"

// always is a real server that is up, of weight w.
func always(w int) string { return fmt.Sprintf("real_server 10.251.0.1 80 {\nweight %d\n}", w) }

func web(word, more, url string) string {
	return word + " {\n" + more + "\nurl {\npath /page\n" + url + "\n}\n}"
}

func plays() []*play {
	get := func(name, script, more, url string, says map[byte]string) *play {
		return &play{name: "HTTP_GET: " + name, kind: httpPlay, script: script, check: web("HTTP_GET", more, url), says: says}
	}
	other := map[byte]string{'x': "HTTP/1.0 200 OK\r\n\r\nanother page\n"}
	gone := map[byte]string{'k': "HTTP/1.0 404 Gone\r\n\r\n", 'x': "HTTP/1.0 200 OK\r\n\r\n"}
	const sorry = "sorry_server 10.251.0.9 80\n"
	return []*play{
		{name: "TCP_CHECK: refused", tells: true, check: tcpCheck, script: "ckkckkcckk"},
		{name: "TCP_CHECK: dropped", check: tcpCheck, script: "kkdkddkk"},
		{name: "TCP_CHECK: reset, mute, closed without an answer", check: tcpCheck, script: "krrmmeeckk"},
		{name: "retry 3", check: "TCP_CHECK {\nretry 3\ndelay_before_retry 2\n}", script: "kccckcccck"},
		{name: "delay_loop of the real server", check: tcpCheck, rs: "delay_loop 2", script: "kkcckk"},
		{name: "delay_loop of the check", check: "TCP_CHECK {\ndelay_loop 2\n}", script: "kkcckk"},
		{name: "down for long, pause below delay_loop", check: tcpCheck, rs: "delay_loop 2", script: "kccccck"},
		{name: "alpha", check: tcpCheck, vs: "alpha", script: "cckcck"},
		{name: "alpha and omega", tells: true, check: tcpCheck, vs: "alpha\nomega", script: "kcck"},
		{name: "omega, down at the end", tells: true, check: tcpCheck, vs: "omega", script: "kcc"},
		{name: "inhibit_on_failure", tells: true, check: tcpCheck, rs: "inhibit_on_failure", script: "kcckk"},
		{name: "weight 0", check: tcpCheck, rs: "weight 0", script: "kcck"},
		{name: "quorum lost with others there", tells: true, check: tcpCheck, vs: "quorum 3", rs: "weight 2", more: always(2), script: "kcckk"},
		{name: "quorum kept by hysteresis", check: tcpCheck, vs: "quorum 3\nhysteresis 1", rs: "weight 2", more: always(2), script: "kcckk"},
		{name: "quorum regained only above hysteresis", check: tcpCheck, vs: "quorum 3\nhysteresis 2", rs: "weight 4", more: always(0), script: "kcckk"},
		{name: "sorry_server", tells: true, check: tcpCheck, vs: sorry, script: "kcckk"},
		{name: "sorry_server, alpha, smtp_alert", tells: true, check: tcpCheck, vs: sorry + "alpha\nsmtp_alert", script: "ckcck"},
		{name: "sorry_server_inhibit", check: tcpCheck, vs: sorry + "sorry_server_inhibit", script: "kcckk"},
		{name: "sorry_server, inhibited servers", check: tcpCheck, vs: sorry, rs: "inhibit_on_failure", script: "kcckk"},
		{name: "sorry_server, others there", check: tcpCheck, vs: sorry + "quorum 3", rs: "weight 2", more: always(2), script: "kcckk"},
		{name: "smtp_alert", tells: true, check: tcpCheck, vs: "smtp_alert", rs: "smtp_alert", script: "kcckk"},
		{name: "log_all_failures", check: "TCP_CHECK {\nlog_all_failures\nretry 2\n}", script: "kcckccckk"},

		{name: "HTTP_GET: status", tells: true, kind: httpPlay, script: "kxxkxkkk", check: web("HTTP_GET", "", "")},
		get("down for long, pause below delay_loop", "kxxxxkxkxxk", "delay_loop 2\nretry 2", "", nil),
		get("down for long, pause above delay_loop", "kxxxxkxkxxk", "delay_before_retry 2\nretry 2", "", nil),
		get("alpha", "xkxkxxkkk", "alpha", "", nil),
		get("retry and pause of its own", "kxxxkkk", "retry 2\ndelay_before_retry 2", "", nil),
		get("digest", "kxxkkk", "", "digest "+md5hex("hello world\n"), other),
		get("regex", "kxxkkk", "", "regex w.rld", other),
		get("regex_options", "kxxkkk", "", "regex WORLD\nregex_options caseless", other),
		get("regex, possessive", "kxxkkk", "", "regex w[a-z]++", other),
		get("regex, possessive, nothing left", "xxkk", "", "regex hel++lo|helo", map[byte]string{'x': "HTTP/1.0 200 OK\r\n\r\nhello\n", 'k': "HTTP/1.0 200 OK\r\n\r\nhelo\n"}),
		get("regex_min_offset, behind the head", "xxkk", "", "regex hello\nregex_min_offset 22", map[byte]string{'k': "HTTP/1.0 200 OK\r\n\r\n   hello\n", 'x': "HTTP/1.0 200 OK\r\n\r\nhello\n"}),
		get("regex, in the head", "kxxkkk", "", "regex Special", map[byte]string{'k': "HTTP/1.0 200 OK\r\nSpecial: x\r\n\r\nhello\n", 'x': "HTTP/1.0 200 OK\r\n\r\nhello\n"}),
		get("alpha, good at first", "kkk", "alpha", "", nil),
		get("regex_max_offset, within the head", "xxkk", "", "regex hello\nregex_max_offset 20", map[byte]string{'k': "HTTP/1.0 200 OK\r\n\r\nhello\n", 'x': "HTTP/1.0 200 OK\r\n\r\n     hello\n"}),
		get("status_code, ranges", "kxxkkk", "", "status_code 401-404 500", gone),
		get("virtualhost of the url", "k", "", "virtualhost url.example", nil),
		{name: "HTTP_GET: virtualhost of the servers", kind: httpPlay, script: "k", vs: "virtualhost vs.example", rs: "virtualhost rs.example", check: web("HTTP_GET", "", "")},
		get("http_protocol 1.1", "k", "http_protocol 1.1", "", nil),
		get("fast_recovery", "kxxkkk", "fast_recovery", "", nil),
		get("three pages", "kkkkkxxkkkkk", "", "}\nurl {\npath /b\n}\nurl {\npath /c", nil),
		get("dropped", "kkddkk", "", "", nil),
		get("mute", "kmmkk", "", "", nil),
		get("reset", "krrkk", "", "", nil),
		{name: "SSL_GET: status", tells: true, kind: sslPlay, script: "kxxkkk", check: web("SSL_GET", "", "")},
		{name: "SSL_GET: digest", kind: sslPlay, script: "kxxkkk", check: web("SSL_GET", "", "digest "+md5hex("hello world\n")), says: other},
		{name: "SSL_GET: enable_sni", kind: sslPlay, script: "k", check: web("SSL_GET", "enable_sni\nvirtualhost sni.example", "")},
		{name: "SSL_GET: mute", kind: sslPlay, script: "kmmkk", check: web("SSL_GET", "", "")},
		{name: "SSL_GET: closed without an answer", kind: sslPlay, script: "keekk", check: web("SSL_GET", "", "")},
		{name: "SSL_GET: reset", kind: sslPlay, script: "krrkk", check: web("SSL_GET", "", "")},

		{name: "SMTP_CHECK: 550", tells: true, kind: smtpPlay, script: "kxxkk", check: "SMTP_CHECK {\nhelo_name me.example\n}"},
		{name: "SMTP_CHECK: mute", kind: smtpPlay, script: "kmmkk", check: "SMTP_CHECK {\n}"},
		{name: "SMTP_CHECK: reset", kind: smtpPlay, script: "krrkk", check: "SMTP_CHECK {\n}"},

		{name: "DNS_CHECK: SERVFAIL", tells: true, kind: dnsPlay, script: "kxxkk", check: "DNS_CHECK {\ntype A\nname example\n}"},
		{name: "DNS_CHECK: mute", kind: dnsPlay, script: "kmmkk", check: "DNS_CHECK {\ntype A\nname example\n}"},
		{name: "DNS_CHECK: refused", kind: dnsPlay, script: "kcckk", check: "DNS_CHECK {\ntype MX\nname example\n}"},
		{name: "UDP_CHECK: refused", kind: udpPlay, script: "kcckk", check: "UDP_CHECK {\n}"},
		{name: "UDP_CHECK: require_reply", tells: true, kind: udpPlay, script: "kmmkk", check: "UDP_CHECK {\npayload 6162\nrequire_reply 6f6b\n}", says: map[byte]string{'k': "ok"}},
		{name: "UDP_CHECK: another reply", kind: udpPlay, script: "kxxkk", check: "UDP_CHECK {\npayload 6162\nrequire_reply 6f6X\n}", says: map[byte]string{'k': "ok", 'x': "no"}},

		{name: "MISC_CHECK", tells: true, kind: miscPlay, script: "kxxkxkk", check: "MISC_CHECK {\nmisc_path \"DIR/misc NUMBER\"\n}"},
		{name: "MISC_CHECK: misc_dynamic", kind: miscPlay, script: "k35xxk2k", rs: "weight 4", check: "MISC_CHECK {\nmisc_path \"DIR/misc NUMBER\"\nmisc_dynamic\n}"},
		{name: "MISC_CHECK: misc_timeout", kind: miscPlay, script: "kmmkk", check: "MISC_CHECK {\nmisc_path \"DIR/misc NUMBER\"\nmisc_timeout 1\ndelay_before_retry 2\ndelay_loop 2\n}"},
		{name: "MISC_CHECK: words of a shell", kind: miscPlay, script: "kxxkkk", check: "MISC_CHECK {\nmisc_path \"<DIR/yes DIR/misc NUMBER\"\n}"},
		{name: "MISC_CHECK: words of a shell, in quotes", kind: miscPlay, script: "kxxkkk", check: "MISC_CHECK {\nmisc_path \"'< DIR/yes && exec DIR/misc NUMBER'\"\n}"},
		{name: "MISC_CHECK: words of a shell, no such command", check: tcpCheck + "\nMISC_CHECK {\nmisc_path \"<DIR/yes DIR/none\"\n}", script: "kcckk"},
		{name: "MISC_CHECK: words of a shell, no such file", check: tcpCheck + "\nMISC_CHECK {\nmisc_path \"<DIR/none DIR/yes\"\n}", script: "kcckk"},
		{name: "MISC_CHECK: a program without #!", check: tcpCheck + "\nMISC_CHECK {\nmisc_path DIR/bare\n}", script: "kcckk"},
		{name: "PING_CHECK", tells: true, kind: pingPlay, rs: "delay_loop 2", script: "kddddk", check: "PING_CHECK {\n}"},
		{name: "SMTP_CHECK: alpha, down for long", kind: smtpPlay, rs: "delay_loop 2\nalpha", script: "xxxkxxxk", check: "SMTP_CHECK {\n}"},
		{name: "DNS_CHECK: alpha, down for long", kind: dnsPlay, rs: "delay_loop 2\nalpha", script: "xxxkxxxk", check: "DNS_CHECK {\n}"},
		{name: "UDP_CHECK: alpha, down for long", kind: udpPlay, rs: "delay_loop 2\nalpha", script: "xxxkxxxk", check: "UDP_CHECK {\npayload 6162\nrequire_reply 6f6b\n}", says: map[byte]string{'k': "ok", 'x': "no"}},
		{name: "MISC_CHECK: alpha, down for long", kind: miscPlay, rs: "delay_loop 2\nalpha", script: "xxxkxxxk", check: "MISC_CHECK {\nmisc_path \"DIR/misc NUMBER\"\nretry 1\n}"},
		{name: "FILE_CHECK: weight", kind: clockPlay, script: "0120", rs: "weight 9", check: "FILE_CHECK {\ntrack_file number\nweight -2\n}", step: writeNumber},
		{name: "MISC_CHECK: no such program", tells: true, check: tcpCheck + "\nMISC_CHECK {\nmisc_path /none/at/all\n}", script: "kcckk"},
		{name: "MISC_CHECK: no such program, alpha", tells: true, check: tcpCheck + "\nMISC_CHECK {\nmisc_path /none/at/all\nalpha\n}", script: "kcckk"},
		{name: "MISC_CHECK: no such program, alpha of the server", vs: "alpha\nsorry_server 10.251.0.9 80", check: tcpCheck + "\nMISC_CHECK {\nmisc_path /none/at/all\n}", script: "kcckk"},
		{name: "MISC_CHECK: no such program, alpha, inhibited", vs: "inhibit_on_failure", more: always(1), check: tcpCheck + "\nMISC_CHECK {\nmisc_path /none/at/all\nalpha\n}", script: "kcckk"},
		{name: "two checks", tells: true, kind: httpPlay, script: "kxxkkk", check: web("HTTP_GET", "", "") + "\nMISC_CHECK {\nmisc_path \"DIR/yes\"\n}"},
		{name: "ha_suspend", kind: clockPlay, script: "xkxk", vs: "ha_suspend", check: "MISC_CHECK {\nmisc_path \"DIR/tell NUMBER looked\"\ndelay_loop 1\n}", step: haveAddress},
	}
}

// writeNumber writes the letter into the file that FILE_CHECK reads.
func writeNumber(s *stage, p *playing, letter byte) error {
	return os.WriteFile(s.dir+"/number", []byte{letter, '\n'}, 0o600)
}

// haveAddress gives the address of the service to the host, and takes it away.
func haveAddress(s *stage, p *playing, letter byte) error {
	addr := netip.PrefixFrom(netip.MustParseAddr(p.vip()), 32)
	n := p.count()
	switch here := n > 1 && p.letter(n-2) == 'k'; {
	case letter == 'k' && !here:
		return s.ns.AddAddr("lo", addr)
	case letter != 'k' && here:
		return s.ns.DelAddr("lo", addr)
	}
	return nil
}

// elsewhere are lines of the original's log whose part ours has in other words, or in
// another place, by a part of each.
var elsewhere = []string{
	"Activating healthchecker",                         // before quorums, here
	"exceeds total weight", "; setting hysteresis to ", // remarks about the configuration
	"Could not connect to", "Read failure from server", // of SMTP_CHECK, where one may be the other
	"by [DIR/yes]",                               // of two checks, either may be the first
	"Bad HELO response", "failed to read socket", // ours names the answer
}

// lacks gives the lines of want that are not in have, or not as often. Their order is
// not ours to give: who checks and who decides write at the same time.
func lacks(have, want []string) []string {
	have = slices.Clone(have)
	var missing []string
	for _, line := range want {
		if slices.ContainsFunc(elsewhere, func(s string) bool { return strings.Contains(line, s) }) {
			continue
		}
		if k := slices.Index(have, line); k >= 0 {
			have = slices.Delete(have, k, k+1)
		} else {
			missing = append(missing, line)
		}
	}
	return missing
}

// TestServersDecide: keepalived 2.2.7 and ours, each with servers that turn good and bad
// by the same script, ask them at the same moments, come to the same tables of the
// kernel, and tell the same by pipe, command, mail and log.
func TestServersDecide(t *testing.T) {
	for _, module := range []string{"ip_vs", "ip_vs_rr", "nf_tables"} {
		testnet.Must(t, testvm.Modprobe(module))
	}
	cert, key := certificate(t, t.TempDir(), time.Now().Add(time.Hour))
	pair, err := tls.LoadX509KeyPair(cert, key)
	testnet.Must(t, err)
	conf := &tls.Config{Certificates: []tls.Certificate{pair}}
	list := plays()
	var stages [2]*stage
	for i, path := range []string{stock, ours} {
		stages[i] = newStage(t, []string{"theirs", "mine"}[i], list, conf)
		stages[i].start(path)
	}
	for _, s := range stages {
		s.finish()
	}
	compareStories(t, stages, 400*time.Millisecond)
}

// without leaves out the lines that ours is not to have.
func (p *play) without(lines []string) []string {
	return slices.DeleteFunc(slices.Clone(lines), func(l string) bool {
		return slices.ContainsFunc(p.not, func(s string) bool { return strings.Contains(l, s) })
	})
}

// compareStories holds what ours has done in each play against what the original has;
// slack is what the moments may differ by.
func compareStories(t *testing.T, stages [2]*stage, slack time.Duration) {
	t.Helper()
	for i, p := range stages[0].all {
		theirs, when := stages[0].story(stages[0].all[i])
		mine, at := stages[1].story(stages[1].all[i])
		for _, part := range []struct {
			name         string
			theirs, mine []string
		}{{"tables", theirs.tables, mine.tables}, {"told", p.without(theirs.told), mine.told}, {"mails", theirs.mails, mine.mails}} {
			a, b := strings.Join(part.theirs, "\n"), strings.Join(part.mine, "\n")
			if d := cmp.Diff(a, b); d != "" {
				t.Errorf("%s: %s: -original +ours:\n%s", p.name, part.name, d)
			}
		}
		for _, text := range p.not {
			if all := strings.Join(append(theirs.told, theirs.log...), "\n"); !strings.Contains(all, text) {
				t.Errorf("%s: the original does not say %q any more", p.name, text)
			}
		}
		if missing := lacks(mine.log, p.without(theirs.log)); len(missing) > 0 {
			t.Errorf("%s: the original's log has besides\n%s\nours is\n%s", p.name, strings.Join(missing, "\n"), strings.Join(mine.log, "\n"))
		}
		var gaps []string
		for k := 1; k < len(at); k++ {
			a, b := when[k].Sub(when[k-1]), at[k].Sub(at[k-1])
			gaps = append(gaps, fmt.Sprintf("%.2f/%.2f", a.Seconds(), b.Seconds()))
			if d := (a - b).Abs(); d > slack {
				t.Errorf("%s: between the times %d and %d that the server was asked are %v, of the original %v", p.name, k, k+1, b, a)
			}
		}
		t.Logf("%-50s %s", p.name, strings.Join(gaps, " "))
	}
}
