// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strings"
	"testing"
)

const events = `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestA/x"}
{"Action":"output","Package":"p","Test":"TestA/x","Output":"quiet\n"}
{"Action":"pass","Package":"p","Test":"TestA/x"}
{"Action":"run","Package":"p","Test":"TestA/y"}
{"Action":"output","Package":"p","Test":"TestA/y","Output":"why it failed\n"}
{"Action":"fail","Package":"p","Test":"TestA/y"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"no root\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Output":"PASS\n"}
{"Action":"output","Package":"p","Output":"FAIL\tp\t0.1s\n"}
not json
`

func TestSummary(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if code := s.close(true); code != 1 {
		t.Errorf("exit code %d after a failure, want 1", code)
	}
	want := "why it failed\nno root\nFAIL\tp\t0.1s\nnot json\n1 passed, 1 failed, 1 skipped\n"
	if out.String() != want {
		t.Errorf("printed %q\nwant    %q", out.String(), want)
	}
}

func TestNothingRanIsAFailure(t *testing.T) {
	var out strings.Builder
	if code := newSummary(&out).close(true); code == 0 {
		t.Error("exit code 0 though no test ran")
	}
}

func TestSkipsAreAFailure(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	s.passed, s.skips = 5, allowedSkips+1
	if code := s.close(true); code == 0 {
		t.Error("exit code 0 with more skips than allowed")
	}
}
