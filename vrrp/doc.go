// SPDX-License-Identifier: Apache-2.0

// Package vrrp is the Virtual Router Redundancy Protocol without sockets:
// packets of versions 2 (RFC 2338, 3768) and 3 (RFC 5798, 9568) for IPv4 and
// IPv6, the rules by which a received advertisement is believed, and the state
// machines of instances and sync groups.
//
// The machines are pure: an event and a time go in, actions come out; nothing
// here reads a clock, opens a socket or starts a goroutine. Whoever owns a
// [Machine] or [Group] calls it from one goroutine and carries the actions out
// on a [Host]. docs/vrrp.md prints the table of states, and a test compares it
// with the code.
package vrrp
