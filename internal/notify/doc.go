// SPDX-License-Identifier: Apache-2.0

// Package notify tells the outside what has happened: by commands, by lines in
// named pipes, and by mail. None of them holds the caller up.
package notify
