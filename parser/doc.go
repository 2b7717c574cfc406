// SPDX-License-Identifier: Apache-2.0

// Package parser turns the text of a keepalived.conf into a tree with positions.
//
// The tree knows nothing of keywords: every statement is a line of words with
// an optional block below it, so unknown blocks, whole foreign dialects and
// future keywords all parse. What a keyword means, and whether it exists, is
// decided by the reader of the tree.
//
// Work happens line by line, as in the original program, because comments,
// @conditions, $definitions and includes rewrite lines before words or blocks
// exist. A fault never stops the parse: it is reported with file, line and
// column, the smallest unit around it is dropped, and reading goes on.
//
// One-line value grammars (addresses, ranges, ports) are in value.go.
package parser
