// SPDX-License-Identifier: Apache-2.0

package testconf

import (
	"cmp"
	"fmt"
	"os"
	"strconv"
	"testing"
)

// SeedsEnv are the variables by which somebody asks for other cases than the usual ones
// of a test that makes them up: the first seed, and how many there are. For a guest.
func SeedsEnv() []string {
	return []string{firstSeed + "=" + os.Getenv(firstSeed), countOfSeeds + "=" + os.Getenv(countOfSeeds)}
}

const firstSeed, countOfSeeds = "LVS_SEED", "LVS_RANDOM"

// Seeds are the first seed and how many cases a test makes: LVS_SEED and LVS_RANDOM, or
// 1 and usual. It logs them.
func Seeds(t testing.TB, usual uint64) (first, count uint64) {
	t.Helper()
	number := func(name string, otherwise uint64) uint64 {
		t.Helper()
		n, err := strconv.ParseUint(cmp.Or(os.Getenv(name), fmt.Sprint(otherwise)), 10, 64)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		return n
	}
	first, count = number(firstSeed, 1), number(countOfSeeds, usual)
	t.Logf("%s=%d %s=%d", firstSeed, first, countOfSeeds, count)
	return first, count
}
