// SPDX-License-Identifier: Apache-2.0

// Package agentx is a subagent of SNMP: it tells and takes objects of management
// through a master agent of this host, such as snmpd, by the protocol of RFC 2741.
//
// A [Table] describes objects as data: where they are, and how each column reads its
// value from a row. A [View] is what there is at one moment, and answers requests. A
// [Session] speaks with the master agent, and comes back when that was away. The
// package knows no object of its own.
package agentx
