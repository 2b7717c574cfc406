// SPDX-License-Identifier: Apache-2.0

// Package director decides what the kernel's tables shall hold: it puts a
// configuration and the health of its servers together into [Tables], and
// compares two of them into one ordered list of operations.
//
// Everything here is a pure function of its input, except [Mirror], which
// reads a kernel and applies lists to it through the interface [Kernel].
package director
