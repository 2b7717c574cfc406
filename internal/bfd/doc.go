// SPDX-License-Identifier: Apache-2.0

// Package bfd has sessions of Bidirectional Forwarding Detection: asynchronous
// mode without echo and without authentication (RFC 5880), over one hop (RFC
// 5881) or several (RFC 5883).
//
// [Packet] and [Session] are pure: packets and times go in, packets and states
// come out. [Engine] gives sessions a clock and sockets.
package bfd
