// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"
)

// TestCompletionsInShells types lines into bash, zsh and fish and wants to be offered
// what the table of options has.
func TestCompletionsInShells(t *testing.T) {
	var commands, options []string
	for _, r := range completedRows() {
		if r.command {
			commands = append(commands, "--"+r.long)
		} else {
			options = append(options, "--"+r.long)
		}
	}
	cases := []struct {
		line      string
		want, not []string
	}{
		{"ipvsadm --", commands, nil},
		{"ipvsadm --add-s", []string{"--add-service", "--add-server"}, []string{"--add-laddr", "--delete-server"}},
		{"ipvsadm -A --", options, nil},
		{"ipvsadm -A -t 10.0.0.1:80 --sch", []string{"--scheduler", "--sched-flags"}, []string{"--stats"}},
		{"ipvsadm -A -t 10.0.0.1:80 -s ", strings.Fields(completionWords["scheduler"]), []string{"master", "--weight"}},
		{"ipvsadm -A -t 10.0.0.1:80 --scheduler w", []string{"wlc", "wrr"}, []string{"rr"}},
		{"ipvsadm --start-daemon ", []string{"master", "backup"}, []string{"rr"}},
		{"ipvsadm --stop-daemon m", []string{"master"}, []string{"backup"}},
		{"ipvsadm -a -t 10.0.0.1:80 -r 10.1.0.1 -i --tun-type g", []string{"gue", "gre"}, []string{"ipip"}},
		{"ipvsadm --start-daemon master --mcast-interface l", []string{"lo"}, nil},
	}
	lines := make([]string, len(cases))
	for i, c := range cases {
		lines[i] = c.line
	}
	for shell, offers := range map[string]func(*testing.T, []string) [][]string{"bash": bashOffers, "zsh": zshOffers, "fish": fishOffers} {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			for i, got := range offers(t, lines) {
				for _, w := range cases[i].want {
					if !slices.Contains(got, w) {
						t.Errorf("%s|: %s is not offered, but %q", lines[i], w, got)
					}
				}
				for _, w := range cases[i].not {
					if slices.Contains(got, w) {
						t.Errorf("%s|: %s is offered", lines[i], w)
					}
				}
			}
		})
	}
}

// completionFile is the path of one of completion/.
func completionFile(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join("..", "completion", name))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// output is what a shell writes; a minute is for a host that stands still.
func output(t *testing.T, program string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	var stderr bytes.Buffer
	cmd.Stderr, cmd.Env = &stderr, append(os.Environ(), "HOME="+t.TempDir())
	out, err := cmd.Output()
	if err != nil || stderr.Len() > 0 {
		t.Fatalf("%s: %v, %s (make deps installs it)", program, err, &stderr)
	}
	return string(out)
}

func bashOffers(t *testing.T, lines []string) (offers [][]string) {
	const call = `. "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ipvsadm ipvsadm "${COMP_WORDS[COMP_CWORD]}"; printf '%s\n' "${COMPREPLY[@]}"`
	for _, line := range lines {
		out := output(t, "bash", append([]string{"--norc", "-c", call, "bash", completionFile(t, "ipvsadm.bash")}, strings.Split(line, " ")...)...)
		offers = append(offers, strings.Fields(out))
	}
	return offers
}

func fishOffers(t *testing.T, lines []string) (offers [][]string) {
	for _, line := range lines {
		var words []string
		for l := range strings.Lines(output(t, "fish", "--no-config", "-c", `source $argv[1]; complete -C $argv[2]`, completionFile(t, "ipvsadm.fish"), line)) {
			word, _, _ := strings.Cut(strings.TrimSpace(l), "\t")
			words = append(words, word)
		}
		offers = append(offers, words)
	}
	return offers
}

// zshOffers types each line into an interactive shell, which lists what it has to offer
// at a tab; the key after that says that the list is complete.
func zshOffers(t *testing.T, lines []string) (offers [][]string) {
	dir := t.TempDir()
	setup := filepath.Join(dir, "setup")
	text := fmt.Sprintf(`
PS1= PS2= LISTMAX=10000
fpath=(%s $fpath)
autoload -Uz compinit && compinit -u -d %s/dump
zstyle ':completion:*' verbose no
bindkey '\t' list-choices
listed() { zle -I; print -r -- END; zle kill-whole-line }
zle -N listed
bindkey '^X' listed
print -r -- END
`, filepath.Dir(completionFile(t, "_ipvsadm")), dir)
	if err := os.WriteFile(setup, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "zsh", "-d", "-f", "-i")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TERM=dumb", "HOME=" + dir}
	tty, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 1000, Cols: 300})
	if err != nil {
		t.Fatalf("zsh: %v (make deps installs it)", err)
	}
	defer func() {
		tty.Close()
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	}()
	if err := tty.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
		t.Fatal(err)
	}
	seen := ""
	say := func(what string) string {
		if _, err := tty.WriteString(what); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 4096)
		for {
			if before, after, ok := strings.Cut(seen, "END\r\n"); ok {
				seen = after
				return before
			}
			n, err := tty.Read(b)
			if seen += string(b[:n]); err != nil {
				t.Fatalf("zsh: %v behind %q", err, seen)
			}
		}
	}
	say(". " + setup + "\n")
	for _, line := range lines {
		_, list, _ := strings.Cut(say(line+"\t\x18"), "\n") // behind what was typed
		offers = append(offers, strings.Fields(list))
	}
	return offers
}
