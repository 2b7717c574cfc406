// SPDX-License-Identifier: Apache-2.0

package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/popt"
)

var update = flag.Bool("update", false, "write the completions anew")

// completionWords are the values that an option can have, for all with a
// closed list of them.
var completionWords = map[string]string{
	"start-daemon": "master backup", "stop-daemon": "master backup",
	"tun-type": "ipip gue gre", "timestamps": "keep strip rebase", "laddr-select": "rr source cpu",
	"laddr-flags": "no-new foreign force none", "pe": "sip", "by": "cps pps bps conns", "acl": "white black off", "synproxy": "enable disable auto", "invalid": "accept drop rst",
	"scheduler": "rr wrr lc wlc lblc lblcr dh sh mh sed nq fo ovf twos",
	"protocol":  "tcp udp sctp",
	"state":     strings.Join(connStates, " "),
}

// completed is one command or option as the completions see it.
type completed struct {
	letters, long, help string
	arg                 popt.Arg
	command             bool
}

func (c completed) words() string { return completionWords[c.long] }

func completedRows() (rows []completed) {
	for _, r := range commandRows {
		rows = append(rows, completed{r.short, r.long, r.help, r.arg, true})
	}
	seen := map[string]bool{}
	for _, r := range optionRows {
		if !seen[r.long] {
			rows = append(rows, completed{r.short, r.long, r.help, r.arg, false})
		}
		seen[r.long] = true
	}
	return rows
}

// TestCompletionsAreCurrent wants the files of completion/ as the table of
// options makes them; go test ./ipvsadm -run Completions -update writes them.
func TestCompletionsAreCurrent(t *testing.T) {
	for name, text := range map[string]string{"ipvsadm.bash": bashCompletion(), "_ipvsadm": zshCompletion(), "ipvsadm.fish": fishCompletion()} {
		path := filepath.Join("..", "completion", name)
		if *update {
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != text {
			t.Errorf("completion/%s is not what the table of options makes: go test ./ipvsadm -run Completions -update", name)
		}
	}
}

const completionHead = "# SPDX-License-Identifier: Apache-2.0\n# Completion of ipvsadm for %s.\n"

// wrapped breaks words into lines of at most 100 columns.
func wrapped(words []string, indent string) string {
	var b strings.Builder
	width := 2*8 + len("commands=")
	for i, w := range words {
		switch {
		case i == 0:
		case width+1+len(w) > 100:
			b.WriteString("\n" + indent)
			width = 2 * 8
		default:
			b.WriteString(" ")
			width++
		}
		b.WriteString(w)
		width += len(w)
	}
	return b.String()
}

func bashCompletion() string {
	var commands, options []string
	var cases strings.Builder
	for _, r := range completedRows() {
		if r.command {
			commands = append(commands, "--"+r.long)
		} else {
			options = append(options, "--"+r.long)
		}
		words, letter := r.words(), ""
		if r.long == "mcast-interface" {
			words = "$(ls /sys/class/net)"
		}
		if r.letters != "" {
			letter = "|-" + r.letters[:1]
		}
		if words != "" {
			fmt.Fprintf(&cases, "\t--%s%s) COMPREPLY=($(compgen -W \"%s\" -- \"$2\")); return ;;\n", r.long, letter, words)
		}
	}
	return fmt.Sprintf(completionHead, "bash") + `
_ipvsadm() {
	local commands options
	commands="` + wrapped(commands, "\t\t") + `"
	options="` + wrapped(options, "\t\t") + `"
	COMPREPLY=()
	case ${COMP_WORDS[COMP_CWORD-1]} in
` + cases.String() + `	esac
	if ((COMP_CWORD == 1)); then
		COMPREPLY=($(compgen -W "$commands" -- "$2"))
	else
		COMPREPLY=($(compgen -W "$options" -- "$2"))
	fi
}
complete -F _ipvsadm ipvsadm
`
}

func zshCompletion() string {
	quote := strings.NewReplacer(":", " ", "[", " ", "]", " ", "'", `'\''`)
	var commands, options strings.Builder
	for _, r := range completedRows() {
		b := &options
		if r.command {
			b = &commands
		}
		value := ""
		switch {
		case r.long == "mcast-interface":
			value = ":interface:_net_interfaces"
		case r.words() != "":
			value = ":value:(" + r.words() + ")"
		case r.arg == popt.Required:
			value = ":value:"
		case r.arg == popt.Optional:
			value = "::seconds:"
		}
		text := "[" + quote.Replace(r.help) + "]" + value
		var all []string
		for i := range len(r.letters) {
			all = append(all, "-"+r.letters[i:i+1])
		}
		for _, letter := range all {
			fmt.Fprintf(b, "  '(%s --%s)%s%s'\n", letter, r.long, letter, text)
		}
		without := ""
		if len(all) > 0 {
			without = "(" + strings.Join(all, " ") + ")"
		}
		fmt.Fprintf(b, "  '%s--%s%s'\n", without, r.long, text)
	}
	return "#compdef ipvsadm\n" + fmt.Sprintf(completionHead, "zsh") + `
local -a commands options
commands=(
` + commands.String() + `)
options=(
` + options.String() + `)
if ((CURRENT == 2)); then
  _arguments -s $commands
else
  _arguments -s $commands $options
fi
`
}

func fishCompletion() string {
	var b strings.Builder
	b.WriteString(fmt.Sprintf(completionHead, "fish") + `
complete -c ipvsadm -f
function __ipvsadm_first
    test (count (commandline -opc)) -eq 1
end
`)
	for _, r := range completedRows() {
		when, letters, value := "'not __ipvsadm_first'", "", ""
		if r.command {
			when = "__ipvsadm_first"
		}
		for i := range len(r.letters) {
			letters += " -s " + r.letters[i:i+1]
		}
		switch {
		case r.long == "mcast-interface":
			value = " -xa '(ls /sys/class/net)'"
		case r.words() != "":
			value = " -xa '" + r.words() + "'"
		case r.arg == popt.Required:
			value = " -x"
		}
		fmt.Fprintf(&b, "complete -c ipvsadm -n %s%s -l %s%s -d '%s'\n", when, letters, r.long, value, strings.ReplaceAll(r.help, "'", `\'`))
		if r.command && r.words() != "" { // behind it, it is no more the first
			fmt.Fprintf(&b, "complete -c ipvsadm -n '__fish_prev_arg_in --%s' -a '%s'\n", r.long, r.words())
		}
	}
	return b.String()
}
