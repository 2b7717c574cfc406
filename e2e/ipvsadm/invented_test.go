// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/lvs-fnat/lvs/internal/testconf"
	"github.com/lvs-fnat/lvs/internal/testnet"
)

// TestRandom plays calls and restores that nobody thought of with both programs, and
// compares after each call what it printed, its exit code and the kernel's text of the
// table. What is on the list of differences is not made, or left out of what is compared.
// The same seeds make the same cases: LVS_SEED=5000 LVS_RANDOM=2000 tries others.
func TestRandom(t *testing.T) {
	first, count := testconf.Seeds(t, 4)
	own := ownOptions(t)
	for seed := first; seed < first+count; seed++ {
		r := &random{Rand: rand.New(rand.NewPCG(seed, 0)), own: own, odds: 10 + int(seed%4)*12}
		r.testCase().compareCallByCall(t, seed)
	}
}

// ownOptions are the names of long options that only our program has.
func ownOptions(t *testing.T) []string {
	var help [2]string
	n, err := newSpace()
	testnet.Must(t, err)
	for i, program := range []string{stockProgram, ourProgram} {
		o, err := (&testCase{}).run(t, n, program, &call{args: []string{"-h"}})
		testnet.Must(t, err)
		help[i] = o.out
	}
	testnet.Must(t, n.close())
	names := regexp.MustCompile(`--[a-z0-9-]+`)
	stock := names.FindAllString(help[0], -1)
	own := slices.DeleteFunc(names.FindAllString(help[1], -1), func(name string) bool { return slices.Contains(stock, name) })
	if len(own) == 0 || len(stock) == 0 {
		t.Fatalf("options of stock %q, of ours alone %q", stock, own)
	}
	return own
}

// random makes cases.
type random struct {
	*rand.Rand
	own  []string
	odds int // in percent: how often a value is one of the odd ones
}

func (r *random) in(percent int) bool { return r.IntN(100) < percent }

func pick[T any](r *random, list []T) T { return list[r.IntN(len(list))] }

// Values that are good, and what else people and programs type.
var (
	goodVIPs = []string{"10.0.0.1:80", "10.0.0.1:80", "10.0.0.2:80", "10.0.0.1:53", "192.168.0.1:80", "172.16.0.9:443", "[2001:db8::1]:80",
		"[2001:db8::1]:80", "[fd00::1]:65535", "web.test:http", "10.0.0.1:domain", "10.0.0.3:0", "10.0.0.3", "2001:db8::1", "200.0.0.1:1", "10.0.0.1:5060"}
	oddAddresses = []string{"", "80", ":80", ":", "10.0.0.1:", "10.0.0.1:65535", "10.0.0.1:65536", "10.0.0.1:-1", "10.0.0.1:+80", "10.0.0.1: 80", "10.0.0.1:80 ",
		" 10.0.0.1:80", "10.0.0.1:080", "10.0.0.1:0x50", "10.1:80", "0x0a000001:80", "012.1:80", "1.2.3.4.5:80", "256.1.1.1:80", "[10.0.0.1]:80", "[web.test]:80", "[]:80",
		"[::1]", "[::1]:", "[::1]:80x", "[::1%lo]:80", "[fe80::1%eth0]:80", "::ffff:10.0.0.1", "[::ffff:10.0.0.1]:80", "::", "[::]:0", "0.0.0.0:80", "0.0.0.0",
		"255.255.255.255:80", "224.0.0.1:80", "localhost:80", "localhost", "nosuch.test:80", "10.0.0.1:http", "10.0.0.1:nosuch", "10.0.0.1:HTTP", "both.test:80", "six.test:80",
		"10.0.0.1:80:80", "[2001:db8::1]80", "2001:db8::1:80", "[2001:db8::1]:http", "1::2::3", "[12345::]:80", "10.0.0.1\t:80", "10.0.0.1:80\n", "ü.test:80", "\xff\xfe:80",
		"a b:80", "-:80", "--:80", "*:80", "10.0.0.1/32:80", "%s%n:80", "127.1:1", "4294967295:1", "4294967296:1", "0:0", "00.00.00.00:80", "1.2.3.0x10:80", "1.2.3.08:80",
		strings.Repeat("a", 70) + ":80", strings.Repeat("9", 300) + ":80", strings.Repeat("1.", 200) + "1:80", "10.0.0.1:" + strings.Repeat("0", 300) + "80", strings.Repeat("l", 1100) + ":80"}
	goodRIPs  = []string{"10.1.0.1:80", "10.1.0.1", "10.1.0.1", "10.1.0.2:8080", "10.1.0.3:80", "192.168.9.9", "[2001:db8:1::1]:80", "2001:db8:1::1", "[2001:db8:1::2]:8080", "real.test:http", "127.0.0.1"}
	goodMarks = []string{"1", "7", "7", "100", "2147483647"}
	oddMarks  = []string{"0", "-1", "4294967295", "4294967296", "0x7", "07", "+7", " 7", "7 ", "", "7a", "99999999999999999999999", "2147483648", "３"}
	oddWords  = []string{"", "-", "--", "---", "x", "0", "-1", "a b", "\t", "\n", "ü", "\xff", "%s", "=", "-=", "--=", "#", "\"", "'", "\\", "ipvsadm", "-n", "-L", "-t", "-p", "-6", strings.Repeat("w", 5000)}
	odd       = []string{"0", "1", "-1", "+1", " 1", "1 ", "01", "0x1", "1x", "", "255", "256", "65535", "65536", "65507", "65508", "2147483647", "2147483648", "4294967295", "4294967296",
		"9223372036854775807", "9223372036854775808", "-9223372036854775808", "18446744073709551615", "18446744073709551616", "1e3", "1.0", "１", "-0", "+-1", "--1", "\v\f\r1", "\n1", "1\n", "1_0", "1,0", "nan", "-"}
	schedulers = []string{"rr", "wrr", "lc", "wlc", "lblc", "lblcr", "dh", "sh", "sh", "mh", "mh", "sed", "nq", "fo", "ovf", "none"}
	oddNames   = []string{"", "nosuch", "RR", "rr ", " rr", "averyveryverylongname", "averyveryverylo", "ü", "a/b", "../rr", "rr\n", "%s", strings.Repeat("n", 400)}
	flagLists  = []string{"flag-1", "flag-2", "flag-3", "flag-1,flag-2", "sh-port", "sh-fallback", "sh-fallback,sh-port", "mh-port", "mh-fallback,mh-port", "flag-3,sh-port"}
	oddFlags   = []string{"", ",flag-1", "flag-1,", "flag-1,,flag-2", "flag-4", "FLAG-1", " flag-1", "flag-1 ", "sh-port,nosuch", strings.Repeat("flag-1,", 18) + "flag-2", strings.Repeat("flag-1,", 17) + "sh-portx", strings.Repeat("x", 200)}
	masks      = []string{"255.255.255.0", "255.255.0.0", "64", "128", "255.255.255.255"}
	oddMasks   = []string{"", "0", "24", "129", "-1", "64abc", " 64", "0.0.0.0", "255.0.255.0", "web.test", "nosuch.test", "ffff::", "0xffffff00", "/24", "256.0.0.0", "4294967295", "4294967360", "18446744073709551680", "255.255.255.0 x"}
	groups     = []string{"224.0.0.90", "ff02::77", "239.1.2.3"}
	oddGroups  = []string{"", "10.0.0.1", "x", "::1", "ff02::1%lo", "224.0.1", "0xe0000001", "::ffff:224.0.0.1", " 224.0.0.1", "224.0.0.1 ", "224.0.0.01", "224.0.0.1:80", "240.0.0.1", "ff0x::1", "[ff02::1]"}
)

// option is one of the stock program's, with what its value may be.
type option struct {
	short     byte // 0: none
	long      string
	good, odd []string // nil: a flag
	optional  bool     // of its value
}

var (
	numbers  = func(good ...string) option { return option{good: good, odd: odd} }
	services = []option{
		{short: 't', long: "tcp-service", good: goodVIPs, odd: oddAddresses}, {short: 't', long: "tcp-service", good: goodVIPs, odd: oddAddresses},
		{short: 'u', long: "udp-service", good: goodVIPs, odd: oddAddresses}, {long: "sctp-service", good: goodVIPs, odd: oddAddresses},
		{short: 'f', long: "fwmark-service", good: goodMarks, odd: oddMarks},
	}
	server     = option{short: 'r', long: "real-server", good: goodRIPs, odd: oddAddresses}
	ofServices = []option{
		{short: 's', long: "scheduler", good: schedulers, odd: oddNames}, {short: 's', long: "scheduler", good: schedulers, odd: oddNames},
		{short: 'p', long: "persistent", good: []string{"60", "360", "1", "2678400"}, odd: odd, optional: true},
		{short: 'p', long: "persistent", good: []string{"60", "360", "1", "2678400"}, odd: odd, optional: true},
		{short: 'M', long: "netmask", good: masks, odd: oddMasks}, {short: 'o', long: "ops"}, {long: "pe", good: []string{"sip"}, odd: oddNames},
		{short: 'b', long: "sched-flags", good: flagLists, odd: oddFlags}, {short: '6', long: "ipv6"},
	}
	ofServers = []option{
		{short: 'm', long: "masquerading"}, {short: 'i', long: "ipip"}, {short: 'g', long: "gatewaying"}, {short: 'm', long: "masquerading"}, {short: 'i', long: "ipip"},
		named('w', "weight", numbers("1", "5", "0", "65535")), named('x', "u-threshold", numbers("100", "5", "0")), named('y', "l-threshold", numbers("1", "50", "0")),
		{long: "tun-type", good: []string{"ipip", "gue", "gue", "gre"}, odd: oddNames}, named(0, "tun-port", numbers("6080", "1")),
		{long: "tun-nocsum"}, {long: "tun-csum"}, {long: "tun-remcsum"}, {short: '6', long: "ipv6"},
	}
	ofListings = []option{
		{short: 'n', long: "numeric"}, {short: 'n', long: "numeric"}, {short: 'c', long: "connection"}, {long: "timeout"}, {long: "daemon"}, {long: "stats"}, {long: "rate"}, {long: "thresholds"},
		{long: "persistent-conn"}, {long: "sort"}, {long: "nosort"}, {short: 'X', long: "exact"}, {long: "tun-info"}, {short: '6', long: "ipv6"}, named(0, "syncid", numbers("0", "3")),
	}
	ofDaemons = []option{
		{long: "mcast-interface", good: []string{"lo", "lo", "lo", "nosuch0"}, odd: oddNames}, named(0, "syncid", numbers("0", "3", "255")), named(0, "sync-maxlen", numbers("1", "100", "1400", "9000", "65507")),
		{long: "mcast-group", good: groups, odd: oddGroups}, named(0, "mcast-port", numbers("8849", "1")), named(0, "mcast-ttl", numbers("1", "64")),
	}
	numeric = option{short: 'n', long: "numeric"}
)

func named(short byte, long string, o option) option {
	o.short, o.long = short, long
	return o
}

// kind is a command with what goes with it.
type kind struct {
	short   byte
	long    string
	service int // in percent: how often there is one
	server  bool
	options []option
	most    int // of options
	weight  int
}

var kinds = []kind{
	{'A', "add-service", 97, false, ofServices, 4, 16}, {'E', "edit-service", 97, false, ofServices, 4, 7}, {'D', "delete-service", 97, false, nil, 0, 5},
	{'a', "add-server", 97, true, ofServers, 5, 20}, {'e', "edit-server", 97, true, ofServers, 5, 9}, {'d', "delete-server", 97, true, nil, 0, 5},
	{'C', "clear", 1, false, nil, 0, 1}, {'Z', "zero", 50, false, nil, 0, 3}, {'L', "list", 15, false, ofListings, 4, 14}, {'l', "list", 15, false, ofListings, 3, 2},
	{'S', "save", 2, false, []option{numeric}, 1, 6}, {0, "set", 1, false, nil, 0, 3}, {0, "start-daemon", 1, false, ofDaemons, 4, 3}, {0, "stop-daemon", 1, false, ofDaemons, 1, 2},
}

// callsOfCase is how many calls follow each other in one case.
const callsOfCase = 24

// testCase makes some calls that follow each other in one namespace.
func (r *random) testCase() *testCase {
	c := &testCase{file: "random", places: []string{"same"}}
	if r.in(8) {
		c.places = append(c.places, "nonetlink")
	}
	switch {
	case r.in(3):
		c.places = append(c.places, "env=POSIXLY_CORRECT=1")
	case r.in(3):
		c.places = append(c.places, "env=LC_ALL=C.UTF-8")
	}
	for len(c.calls) < callsOfCase {
		k := call{args: r.words()}
		if r.in(25) {
			k.args, k.stdin = []string{pick(r, []string{"-R", "-R", "--restore"})}, r.script()
		}
		if r.knownToDiffer(c, k) {
			continue
		}
		k.line = quoted(k.args)
		c.calls = append(c.calls, k)
	}
	return c
}

// words are those of one call, mostly such as somebody might mean.
func (r *random) words() []string {
	total := 0
	for _, k := range kinds {
		total += k.weight
	}
	at, n := 0, r.IntN(total)
	for n >= kinds[at].weight {
		n -= kinds[at].weight
		at++
	}
	k := kinds[at]
	var options []option
	if r.in(k.service) {
		options = append(options, pick(r, services))
	}
	if k.server && r.in(97) {
		options = append(options, server)
	}
	if k.most > 0 {
		for range r.IntN(k.most + 1) {
			options = append(options, pick(r, k.options))
		}
	}
	if r.in(6) {
		options = append(options, pick(r, pick(r, [][]option{services, ofServices, ofServers, ofListings, ofDaemons, {server}})))
	}
	if !r.in(15) { // as a rule nobody says a thing twice
		var once []option
		for _, o := range options {
			if !slices.ContainsFunc(once, func(p option) bool { return p.long == o.long }) {
				once = append(once, o)
			}
		}
		options = once
	}
	if r.in(25) {
		r.Shuffle(len(options), func(i, j int) { options[i], options[j] = options[j], options[i] })
	}
	words := r.command(k)
	for _, o := range options {
		words = r.add(words, o)
	}
	if r.in(4) {
		words = slices.Insert(words, r.IntN(len(words)+1), pick(r, oddWords))
	}
	if r.in(10) {
		i := r.IntN(len(words))
		words[i] = r.spoil(words[i])
	}
	if r.in(2) {
		i, j := r.IntN(len(words)), r.IntN(len(words))
		words[i], words[j] = words[j], words[i]
	}
	return words
}

// command is how a call begins.
func (r *random) command(k kind) []string {
	switch k.long {
	case "set":
		words := []string{"--set"}
		for range r.IntN(2) + r.IntN(2) + 2 {
			words = append(words, r.value(numbers("0", "1", "900", "2678400")))
		}
		return words
	case "start-daemon", "stop-daemon":
		role := r.value(option{good: []string{"master", "backup"}, odd: []string{"", "both", "Master", "-L", "master "}})
		if r.in(30) {
			return []string{"--" + k.long + "=" + role}
		}
		return []string{"--" + k.long, role}
	}
	if k.short != 0 && r.in(80) {
		return []string{"-" + string(k.short)}
	}
	return []string{"--" + k.long}
}

func (r *random) value(o option) string {
	if r.in(r.odds) {
		return pick(r, o.odd)
	}
	return pick(r, o.good)
}

// add says an option in one of the ways it can be said, some of which join it to
// the word in front.
func (r *random) add(words []string, o option) []string {
	flag := o.good == nil
	name, value := "--"+o.long, ""
	if !flag {
		value = r.value(o)
	}
	without := flag || o.optional && r.in(50)
	if o.short != 0 && r.in(75) {
		name = "-" + string(o.short)
		last := words[len(words)-1]
		if r.in(30) && len(last) == 2 && last[0] == '-' && last[1] != '-' {
			words, name = words[:len(words)-1], last+string(o.short)
		}
		if !without && r.in(15) {
			return append(words, name+value)
		}
	}
	switch {
	case flag && r.in(1):
		return append(words, name+"="+pick(r, oddWords))
	case without:
		return append(words, name)
	case r.in(20):
		return append(words, name+"="+value)
	}
	return append(words, name, value)
}

// spoil changes a word by a byte or two.
func (r *random) spoil(word string) string {
	b := []byte(word)
	i := r.IntN(len(b) + 1)
	switch {
	case len(b) > 0 && r.in(30):
		return string(slices.Delete(b, i%len(b), i%len(b)+1))
	case len(b) > 0 && r.in(30):
		b[i%len(b)] = pick(r, []byte("-=:[]0123456789.,%aAnNLx \t\n\x80\xff"))
		return string(b)
	case r.in(50):
		return string(slices.Insert(b, i, pick(r, []byte("-=:[]0123456789.,%aAnNLx \t\n\x80\xff"))))
	}
	return word[:i] + strings.ToUpper(word[i:])
}

// script is what a restore may read.
func (r *random) script() string {
	var b strings.Builder
	for range r.IntN(8) {
		switch {
		case r.in(4):
			b.WriteString(pick(r, []string{"", " ", "\t", "\r", "# comment", "ipvsadm", " ipvsadm ipvsadm ", "*filter", "COMMIT", "-R", "word", "--", "-", "\f", "\v", "\xa0", "\ufeff"}))
		case r.in(3):
			b.WriteString("ipvsadm ")
			fallthrough
		default:
			for i, word := range r.words() {
				if i > 0 {
					b.WriteString(pick(r, []string{" ", " ", " ", " ", "  ", "\t", " \t ", "\r", " ipvsadm "}))
				}
				b.WriteString(word)
			}
		}
		b.WriteString(pick(r, []string{"", "", "", "", "", " ", "\t", "\r", " # why"}))
		b.WriteByte('\n')
	}
	text := b.String()
	if r.in(15) {
		text = strings.TrimSuffix(text, "\n")
	}
	if r.in(5) {
		text = strings.ReplaceAll(text, "\n", "\r\n")
	}
	return text
}

var (
	ownLetters = regexp.MustCompile(`^-[^-]*[PQGzj]`)
	ofServer   = regexp.MustCompile(`^(-[ae]|--(add|edit)-server)`)
	schedFlag  = regexp.MustCompile(`^(-[^-]*b|--sched-flags)`)
	onlyCommas = regexp.MustCompile(`^(-b|-b=|--sched-flags=)?,+$`)
	helps      = regexp.MustCompile(`^(-[hv]|--help|--version)`)
	blankEnd   = regexp.MustCompile(`[ \t\r][ \t\r]$`)
)

// knownToDiffer says that a call is about a row of docs/compatibility.md.
func (r *random) knownToDiffer(c *testCase, k call) bool {
	lines := [][]string{k.args}
	for line := range strings.Lines(k.stdin) {
		words := strings.FieldsFunc(line, func(c rune) bool { return strings.ContainsRune(" \t\r\n", c) })
		lines = append(lines, slices.DeleteFunc(words, func(w string) bool { return w == "ipvsadm" }))
		if slices.ContainsFunc(words, func(w string) bool { return len(w) >= 4000 }) {
			return true // stock's memory of a word ends there
		}
	}
	if blankEnd.MatchString(k.stdin) || strings.Contains(strings.Join(k.args, ""), "\x00") {
		return true
	}
	for _, words := range lines {
		begun := false
		dest := false
		for _, w := range words {
			name, _, _ := strings.Cut(w, "=")
			switch {
			case slices.Contains(r.own, name), ownLetters.MatchString(w), onlyCommas.MatchString(w), dest && schedFlag.MatchString(w):
				return true
			case slices.Contains(c.places, "nonetlink") && (strings.HasPrefix(w, "--tun-") || strings.HasPrefix(w, "--mcast-") || strings.HasPrefix(w, "--sync-maxlen")):
				return true
			}
			if len(w) < 2 || w[0] != '-' || begun {
				continue
			}
			begun = true
			if helps.MatchString(w) {
				return true
			}
			dest = ofServer.MatchString(w)
		}
	}
	return false
}

// savedOnly are words of servers that only ours saves, unsigned a mark as stock saves it.
var (
	savedOnly = regexp.MustCompile(` -[xy] \d+`)
	unsigned  = regexp.MustCompile(`-f -(\d+)`)
	savedMask = regexp.MustCompile(` -M \S+`)
)

// asSaved leaves out of what -S prints what the row saved-whole is about.
func asSaved(out string) string {
	var b strings.Builder
	for line := range strings.Lines(out) {
		switch {
		case strings.HasPrefix(line, "--set "), strings.HasPrefix(line, "--start-daemon "):
			continue
		case strings.HasPrefix(line, "-a "):
			line = savedOnly.ReplaceAllString(line, "")
		case strings.HasPrefix(line, "-A ") && !strings.Contains(line, " -p "):
			line = savedMask.ReplaceAllString(line, "")
		}
		if strings.HasPrefix(line, "-A ") || strings.HasPrefix(line, "-a ") {
			line = unsigned.ReplaceAllStringFunc(line, func(s string) string {
				n, _ := strconv.ParseInt(s[len("-f "):], 10, 64) // digits
				return fmt.Sprintf("-f %d", uint32(n))
			})
			line = withoutFlag3(line)
		}
		b.WriteString(line)
	}
	return b.String()
}

// withoutFlag3 leaves out the flag that sh and mh have no word for.
func withoutFlag3(line string) string {
	if !strings.Contains(line, " -s sh") && !strings.Contains(line, " -s mh") {
		return line
	}
	head, flags, has := strings.Cut(strings.TrimSuffix(line, "\n"), " -b ")
	words := slices.DeleteFunc(strings.Split(flags, ","), func(w string) bool { return w == "flag-3" || w == "" })
	if !has || len(words) == 0 {
		return head + "\n"
	}
	return head + " -b " + strings.Join(words, ",") + "\n"
}

// compareCallByCall plays a case with both programs in one namespace, each from an empty
// table, and says where they differ first.
func (c *testCase) compareCallByCall(t *testing.T, seed uint64) {
	n, err := newSpace()
	testnet.Must(t, err)
	var outcomes [2][]outcome
	var tables [2][]string
	var last [2]string
	for i, program := range []string{stockProgram, ourProgram} {
		for _, args := range []string{"-C", "--set 900 120 300"} {
			_, err := (&testCase{}).run(t, n, stockProgram, &call{args: strings.Fields(args)})
			testnet.Must(t, err)
		}
		for k := range c.calls {
			o, err := c.run(t, n, program, &c.calls[k])
			testnet.Must(t, err)
			o.out = asSaved(o.out)
			table, err := n.text()
			testnet.Must(t, err)
			outcomes[i], tables[i] = append(outcomes[i], o), append(tables[i], blocks(table))
		}
		last[i], err = n.table()
		testnet.Must(t, err)
		for _, role := range []string{"master", "backup"} {
			_, err := (&testCase{}).run(t, n, stockProgram, &call{args: []string{"--stop-daemon", role}})
			testnet.Must(t, err)
		}
	}
	testnet.Must(t, n.close())
	for k := range c.calls {
		if outcomes[0][k] != outcomes[1][k] || tables[0][k] != tables[1][k] {
			t.Errorf("seed %d, call %d of the case\n%s\nipvsadm %s, -stock +ours:\n%s\nthe kernel's table:\n%s", seed, k+1, c.text(k+1), c.calls[k].line,
				gocmp.Diff(outcomes[0][k].String(), outcomes[1][k].String()), gocmp.Diff(tables[0][k], tables[1][k]))
			return
		}
	}
	if diff := gocmp.Diff(last[0], last[1]); diff != "" {
		t.Errorf("seed %d, the kernel's table after the case\n%s\n-stock +ours:\n%s", seed, c.text(len(c.calls)), diff)
	}
}

// text is the case as a file of cases has it, up to its call number n.
func (c *testCase) text(n int) string {
	var b strings.Builder
	fmt.Fprintf(&b, "at %s\n", strings.Join(c.places, " "))
	for _, k := range c.calls[:n] {
		fmt.Fprintf(&b, "$ %s\n", k.line)
		for line := range strings.Lines(k.stdin) {
			line, whole := strings.CutSuffix(line, "\n")
			line = strings.NewReplacer("\r", `\r`, "\t", `\t`, "\x00", `\0`, `\`, `\\`).Replace(line)
			if !whole {
				line += `\c`
			}
			fmt.Fprintf(&b, "< %s\n", line)
		}
	}
	return b.String()
}

// quoted writes words as a case file has them.
func quoted(words []string) string {
	var list []string
	for _, w := range words {
		if w == "" || strings.ContainsAny(w, " '\"\\\t\n") {
			w = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
		list = append(list, w)
	}
	return strings.Join(list, " ")
}
