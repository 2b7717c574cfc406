// SPDX-License-Identifier: Apache-2.0

// Command empty ends at once: what the Go runtime costs.
package main

func main() {}
