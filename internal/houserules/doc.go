// SPDX-License-Identifier: Apache-2.0

// Package houserules holds no code, only the test of who may import whom and
// of what every file must carry. docs/architecture.md draws the same in words.
package houserules
