// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"strings"
	"testing"
	"time"
)

// TestStates plays results to a check and writes down what a user sees: after
// each result the pause in seconds, with ^ for "went up" and v for "went down".
func TestStates(t *testing.T) {
	tcp := Timing{DelayLoop: 6 * time.Second, DelayBeforeRetry: time.Second, Retry: 2}
	slow := Timing{DelayLoop: 2 * time.Second, DelayBeforeRetry: 9 * time.Second, Retry: 1}
	never := Timing{DelayLoop: 6 * time.Second, DelayBeforeRetry: time.Second}
	for _, tt := range []struct {
		name    string
		plan    plan
		alpha   bool
		results string // + success, - failure
		want    string
	}{
		{"healthy", plan{timing: &tcp, urls: 1}, false, "+++", "6 6 6"},
		{"first failure counts at once", plan{timing: &tcp, urls: 1}, false, "--+", "6v 6 6^"},
		{"retries after the first run", plan{timing: &tcp, urls: 1}, false, "+---", "6 1 1 6v"},
		{"success forgets failures", plan{timing: &tcp, urls: 1}, false, "+--+---", "6 1 1 6 1 1 6v"},
		{"down stays down quietly", plan{timing: &tcp, urls: 1}, false, "+------", "6 1 1 6v 6 6 6"},
		{"one success brings it back", plan{timing: &tcp, urls: 1}, false, "-+---+", "6v 6^ 1 1 6v 6^"},
		{"no retry", plan{timing: &never, urls: 1}, false, "+-+-", "6 6v 6^ 6v"},
		{"alpha waits for success", plan{timing: &tcp, urls: 1}, true, "+-", "6^ 1"},
		{"alpha failing says so once", plan{timing: &tcp, urls: 1}, true, "--+", "6v 6 6^"},
		{"restless while down", plan{timing: &tcp, urls: 1, restless: true}, false, "+-------+", "6 1 1 6v 1 1 6 1 6^"},
		{"restless after the first run", plan{timing: &tcp, urls: 1, restless: true}, true, "--+", "6v 1 6^"},

		{"smtp: the first run is retried, too", plan{timing: &tcp, urls: 1, patient: true}, false, "---+", "1 1 6v 6^"},
		{"smtp: alpha", plan{timing: &tcp, urls: 1, patient: true}, true, "---+", "1 1 6v 6^"},

		{"late: the first run is retried, too", plan{timing: &tcp, urls: 1}, false, "---+", "1 1 6v 6^"},
		{"late: alpha failing says nothing", plan{timing: &tcp, urls: 1}, true, "---+", "1 1 6 6^"},
		{"late: alpha failing without retries says so", plan{timing: &never, urls: 1}, true, "--+", "6v 6 6^"},
		{"late: a page", plan{timing: &tcp, urls: 1, twice: true}, false, "---++", "1 1 6v 6 6^"},

		{"http: one url a run", plan{timing: &tcp, urls: 2, twice: true}, false, "+++", "6 6 6"},
		{"http: two rounds to come back", plan{timing: &tcp, urls: 1, twice: true}, false, "-++", "6v 6 6^"},
		{"http: each url once more", plan{timing: &tcp, urls: 3, twice: true}, false, "-++++", "6v 6 6 6 6^"},
		{"http: failure while proving is retried", plan{timing: &tcp, urls: 2, twice: true}, false, "-++-+++", "6v 6 6 1 6^ 6 6"},
		{"http: failures while proving start over", plan{timing: &tcp, urls: 2, twice: true}, false, "-+---+++", "6v 6 1 1 6 6 6 6^"},
		{"http: alpha failing says nothing", plan{timing: &tcp, urls: 1, twice: true}, true, "--++", "6 6 6 6^"},
		{"http: down waits the longer pause", plan{timing: &slow, urls: 1, twice: true}, false, "--++", "9v 9 2 2^"},
		{"http: retries at delay_before_retry", plan{timing: &slow, urls: 1, twice: true}, false, "+--", "2 9 9v"},
		{"http: fast recovery", plan{timing: &tcp, urls: 2, twice: true, fast: true}, false, "-+++", "1v 0 0 6^"},
		{"http: alpha needs one round", plan{timing: &tcp, urls: 2, twice: true}, true, "++", "6 6^"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := newState(tt.alpha)
			s.late = strings.HasPrefix(tt.name, "late: ")
			if s.up == tt.alpha {
				t.Fatalf("begins as up: %v", s.up)
			}
			var got []string
			for _, r := range tt.results {
				next, ch := s.step(tt.plan, r == '+')
				got = append(got, strings.TrimSuffix(next.String(), "s")+[]string{"", "^", "v"}[ch])
				if s.up && ch == wentDown || !s.up && ch == wentUp {
					t.Errorf("state %v does not fit change %d", s.up, ch)
				}
			}
			if g := strings.Join(got, " "); g != tt.want {
				t.Errorf("results %s\n got %s\nwant %s", tt.results, g, tt.want)
			}
		})
	}
}

// TestFailedURLIsRetried: it is the URL that failed that is asked again, and
// the round then begins with the first.
func TestFailedURLIsRetried(t *testing.T) {
	timing := Timing{DelayLoop: time.Second, DelayBeforeRetry: time.Second, Retry: 1}
	p := plan{timing: &timing, urls: 3, twice: true}
	s := newState(false)
	var asked []int
	for _, r := range "+--+--++++" {
		asked = append(asked, int(s.url))
		s.step(p, r == '+')
	}
	want := []int{0, 1, 1, 1, 0, 0, 0, 0, 1, 2}
	for i := range want {
		if asked[i] != want[i] {
			t.Fatalf("urls asked %v, want %v", asked, want)
		}
	}
	if !s.up {
		t.Error("a full round did not bring the server up")
	}
}
