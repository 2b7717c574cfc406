// SPDX-License-Identifier: Apache-2.0

package vrrp

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

// scripts are commands as files have them, DIR for the folder of the node. Each has what becomes of
// it in both programs: the words that it ends with, "" for one that is left out.
var scripts = []struct{ name, script, becomes string }{
	{"plain", `"DIR/run plain 0"`, "succeeded"},
	{"status", `"DIR/run status 3"`, "failed (exited with status 3)"},
	{"signal", `"/bin/sh -c 'kill -9 $$'"`, "failed (due to signal 9)"},
	{"pipe", `"/bin/true | /bin/false"`, "succeeded"},
	{"and", `"/bin/true && /bin/false"`, "succeeded"},
	{"quotes", `"'/bin/sh' '-c' 'exit 6'"`, "failed (exited with status 6)"},
	{"block", `"/bin/sh" "-c" "exit 6"`, "succeeded"},
	{"path", `"test -e /none"`, "failed (exited with status 1)"},
	{"bracket", `"[ -e /none ]"`, "failed (exited with status 1)"},
	{"missing", `"/none/x a"`, ""},
	{"nosuch", `"nosuchprogram a"`, ""},
	{"variable", `"A=b /bin/true"`, ""},
	{"not", `"! /bin/true"`, ""},
	{"blank", `"< /etc/passwd"`, ""},
	{"folder", `"DIR"`, ""},
	{"bare", `"DIR/bare"`, "succeeded"},
	{"interpreter", `"DIR/interpreter"`, "succeeded"},
	{"read", `"</etc/passwd"`, "succeeded"},
	{"unread", `"</none"`, "failed (exited with status 2)"},
	{"port", `"</dev/tcp/127.0.0.1/80"`, "failed (exited with status 2)"},
	{"words", `"</etc/passwd exit 4"`, "failed (exited with status 4)"},
	{"command", `"</etc/passwd DIR/run command 0"`, "succeeded"},
	{"semicolon", `"</etc/passwd; DIR/run semicolon 5"`, "failed (exited with status 5)"},
	{"written", `"</etc/passwd>DIR/ran.written"`, "succeeded"},
	{"operator", `"</etc/passwd && exit 4"`, "succeeded"}, // a word, and no such command
	{"whole", `"'< /etc/passwd && exit 4'"`, "failed (exited with status 4)"},
	{"killed", `"'</etc/passwd kill -9 $$'"`, "failed (due to signal 9)"},
	{"forever", `"'</etc/passwd sleep 1000'"`, "timed_out"},
}

// TestScriptsAlike: both programs run the same commands, by a shell or without, leave the same out, and
// think the same of how they end; those of start and end, too. A router is held up by
// none that cannot run.
func TestScriptsAlike(t *testing.T) {
	t.Parallel()
	alike(t, func(t *testing.T, _ *bed, n *node) map[string]string {
		for name, text := range map[string]string{
			"run": "#!/bin/sh\n: >" + n.dir + "/ran.$1\nexit $2\n", "bare": ": >" + n.dir + "/ran.bare\nexit 7\n", "interpreter": "#!/none/sh\n",
		} {
			testnet.Must(t, os.WriteFile(n.path(name), []byte(text), 0o755))
		}
		in := strings.NewReplacer("DIR", n.dir)
		var blocks, tracked strings.Builder
		for _, s := range scripts {
			limit := 30
			if s.name == "forever" {
				limit = 1
			}
			fmt.Fprintf(&blocks, "vrrp_script %s {\n script %s\n interval 1\n timeout %d\n}\n", s.name, in.Replace(s.script), limit)
			fmt.Fprintf(&tracked, "%s weight 1\n", s.name)
		}
		n.start(vi{
			prio: 100, outside: blocks.String(), more: "track_script {\n" + tracked.String() + "missing\n}",
			globalDefs: in.Replace("startup_script \"</etc/passwd DIR/run startup 0\"\n shutdown_script \"</etc/passwd; DIR/run shutdown 1\""),
		}.conf())
		seen := map[string]string{}
		for _, s := range scripts {
			if s.becomes != "" {
				n.until("VRRP_Script("+s.name+") "+s.becomes, 1)
			}
		}
		n.until("(VI) Entering MASTER STATE", 1) // in spite of one without a weight
		n.stop()
		for _, s := range scripts {
			if k := n.said("VRRP_Script(" + s.name + ")"); s.becomes == "" && k > 0 {
				t.Errorf("%s is not left out", s.name)
			}
			if k := n.said("Disabling track script " + s.name + " "); s.becomes == "" && k == 0 {
				t.Errorf("%s is left out and not told", s.name)
			}
		}
		for _, name := range []string{"startup", "shutdown", "bare", "command", "semicolon", "written", "plain"} {
			_, err := os.Stat(n.path("ran." + name))
			seen[name] = fmt.Sprint(err == nil)
		}
		return seen
	})
}
