// SPDX-License-Identifier: Apache-2.0

// Command bare is the init of a guest that has nothing set up: for testvm.Exec of
// one command.
package main

import "github.com/lvs-fnat/lvs/internal/testvm"

func main() { testvm.Guest(nil) }
