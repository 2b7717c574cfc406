// SPDX-License-Identifier: Apache-2.0

// Package config turns the tree of a keepalived.conf into plain data, and says
// everything that is wrong with it, once, with file and line.
//
// Reading never stops at a fault: a value that is wrong keeps its default, an
// object whose identity or local addresses are wrong is left out, and each
// costs one Diagnostic. Whether a configuration with diagnostics may run is the
// caller's decision; see Severity.
package config
