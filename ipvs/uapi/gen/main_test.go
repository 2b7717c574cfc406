// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestGeneratedFileIsFresh(t *testing.T) {
	header, err := os.ReadFile("../../../kmod/src/uapi/ip_vs_ext.h")
	if err != nil {
		t.Fatal(err)
	}
	want, err := generate("ip_vs_ext.h", string(header))
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("../ext.go")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("ipvs/uapi/ext.go is not what the header says; run 'go generate ./ipvs/uapi' (-want +got):\n%s", diff)
	}
}

func TestGenerate(t *testing.T) {
	out, err := generate("h", "#ifndef _H\n#define _H\n#define IPVS_N \"x\"\nenum { /* c */\n\tIPVS_A_UNSPEC,\n\tIPVS_A_ONE,\n\t__IPVS_A_MAX\n};\n"+
		"#define IPVS_A_MAX (__IPVS_A_MAX - 1)\n#define IPVS_F (1ULL << 33)\n#define IPVS_ALL ((1U << 9) - 1)\n#endif\n")
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Join(strings.Fields(string(out)), " ")
	for _, want := range []string{`N = "x"`, "AOne = 0x1", "AMax = 0x1", "F = 0x200000000", "All = 0x1ff"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
}

func TestGenerateRefusesWhatItDoesNotKnow(t *testing.T) {
	for _, h := range []string{"#define IPVS_X (A | B)\n", "enum {\n\tIPVS_A = 4,\n};\n", "struct x;\n", "#define IPVS_M (__NO - 1)\n"} {
		if out, err := generate("h", h); err == nil {
			t.Errorf("%q gave\n%s", h, out)
		}
	}
}
