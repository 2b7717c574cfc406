// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// A case is what two programs do, each in a namespace of its own that begins
// with an empty table. Files of cases, testdata/*.case, are read by lines; an
// empty line ends a case:
//
//	at PLACE…       where, see below
//	+ LINE          fed to -R before the first call, which must succeed
//	$ ARGUMENTS     a call: as a shell would cut it, quotes and backslashes too
//	< LINE          standard input of the call above, a newline behind it;
//	                \r \t \0 \\ as in C, \c at the end: no newline
//	! DIFFERENCE    the call above differs, knowingly, by this row of
//	                docs/compatibility.md: what ours does follows in full
//	= CODE          its exit code (0 if there is no such line)
//	> LINE          a line of its standard output
//	2> LINE         a line of its standard error
//	~ DIFFERENCE    as !, but only the exit code is the same
//	% DIFFERENCE    the kernel's tables differ afterwards
//
// Places: "nobody" is an unprivileged user, "nonetlink" a process that gets no
// netlink socket, "nosocket" one that gets no raw socket either, "down" a namespace
// whose loopback is down, "full" a standard output that takes nothing, "closed=FD…" a
// process without these of 0, 1 and 2, "stdin=FILE" what it reads, "argv0=NAME" the
// name it is called by, "env=NAME=VALUE" an entry of its environment,
// "nsswitch=SOURCE,…" where it looks for hosts, "many=S,D"
// adds S services with D servers each to the table, "same" plays both
// programs in one namespace (hash tables differ between two, and with them the
// order that some tables are sorted into), "sends=ADDRESS:PORT,…" sends a datagram
// to each before the first call, from the ports 40000, 40001 and so on, and
// "connects=…" opens TCP connections in the same way; their calls are compared but
// for seconds that pass, "everywhere" says that kernel or module may matter: other
// cases are played on one kernel and module only.
type testCase struct {
	file   string
	line   int
	places []string
	table  []string
	calls  []call
	differ string // how the tables do
}

// call is one run of the program.
type call struct {
	line   string
	args   []string
	stdin  string
	differ string   // the row of docs/compatibility.md
	want   *outcome // what ours does; nil: compare the exit code only
}

// outcome is all that a caller of a command sees.
type outcome struct {
	code        int
	out, stderr string
}

func (o outcome) String() string {
	return fmt.Sprintf("exit %d, stderr %q, stdout %d bytes:\n%s", o.code, o.stderr, len(o.out), o.out)
}

// name is the file with the first line of the case, then its first call.
func (c *testCase) name() string { return fmt.Sprintf("%s:%d %s", c.file, c.line, c.calls[0].line) }

func (c *testCase) in(place string) bool { return slices.Contains(c.places, place) }

// busy says that there are connections in the namespace.
func (c *testCase) busy() bool {
	for key := range senders {
		if c.value(key) != "" {
			return true
		}
	}
	return false
}

// value returns what stands behind "key=" among the places.
func (c *testCase) value(key string) string {
	for _, p := range c.places {
		if v, ok := strings.CutPrefix(p, key+"="); ok {
			return v
		}
	}
	return ""
}

// readCases reads testdata/*.case.
func readCases(t *testing.T) []*testCase {
	t.Helper()
	files, err := filepath.Glob("testdata/*.case")
	if err != nil || len(files) == 0 {
		t.Fatalf("files of cases: %v, %v", files, err)
	}
	var cases []*testCase
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		of, err := parseCases(strings.TrimSuffix(filepath.Base(file), ".case"), string(text))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		cases = append(cases, of...)
	}
	return cases
}

func parseCases(file, text string) (cases []*testCase, err error) {
	var c *testCase
	number := 0
	for line := range strings.Lines(text) {
		number++
		line = strings.TrimSuffix(line, "\n")
		switch {
		case line == "":
			c = nil
			continue
		case line[0] == '#':
			continue
		case c == nil:
			c = &testCase{file: file, line: number}
			cases = append(cases, c)
		}
		mark, rest, _ := strings.Cut(line, " ")
		if err := c.parse(mark, rest); err != nil {
			return nil, fmt.Errorf("line %d: %w", number, err)
		}
	}
	for _, c := range cases {
		if len(c.calls) == 0 {
			return nil, fmt.Errorf("line %d: a case without a call", c.line)
		}
	}
	return cases, nil
}

func (c *testCase) parse(mark, rest string) (err error) {
	switch mark {
	case "at":
		c.places = strings.Fields(rest)
		return nil
	case "+":
		c.table = append(c.table, rest)
		return nil
	case "%":
		c.differ = rest
		return nil
	case "$":
		args, err := cutWords(rest)
		c.calls = append(c.calls, call{line: rest, args: args})
		return err
	}
	if len(c.calls) == 0 {
		return fmt.Errorf("%q belongs to no call", mark)
	}
	k := &c.calls[len(c.calls)-1]
	switch mark {
	case "<":
		rest, open := strings.CutSuffix(rest, `\c`)
		k.stdin += strings.NewReplacer(`\r`, "\r", `\t`, "\t", `\0`, "\x00", `\\`, `\`).Replace(rest)
		if !open {
			k.stdin += "\n"
		}
	case "!":
		k.differ, k.want = rest, &outcome{}
	case "~":
		k.differ = rest
	case "=", ">", "2>":
		if k.want == nil {
			return fmt.Errorf("%q without ! before it", mark)
		}
		switch mark {
		case "=":
			k.want.code, err = strconv.Atoi(rest)
		case ">":
			k.want.out += rest + "\n"
		case "2>":
			k.want.stderr += rest + "\n"
		}
	default:
		err = fmt.Errorf("%q is no mark", mark)
	}
	return err
}

// cutWords cuts a line as a shell does, without expansions.
func cutWords(line string) (words []string, err error) {
	var word strings.Builder
	begun, quote := false, byte(0)
	for i := 0; i < len(line); i++ {
		switch b := line[i]; {
		case quote != 0 && b == quote:
			quote = 0
		case quote == '\'':
			word.WriteByte(b)
		case b == '\\' && i+1 < len(line):
			i++
			word.WriteByte(line[i])
			begun = true
		case quote != 0:
			word.WriteByte(b)
		case b == '\'' || b == '"':
			quote, begun = b, true
		case b == ' ':
			if begun {
				words = append(words, word.String())
			}
			begun = false
			word.Reset()
		default:
			word.WriteByte(b)
			begun = true
		}
	}
	if quote != 0 {
		return nil, fmt.Errorf("%q: a quote is open", line)
	}
	if begun {
		words = append(words, word.String())
	}
	return words, nil
}
