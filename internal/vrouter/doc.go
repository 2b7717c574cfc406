// SPDX-License-Identifier: Apache-2.0

// Package vrouter runs virtual routers on this host: it gives the pure machines
// of package vrrp their clock, their packets and the events of the host, and
// carries out what they ask for.
//
// One goroutine, the loop's, owns all of it. What must wait, such as a script,
// runs beside it and posts its result, so that no advertisement is ever late
// because of it.
package vrouter
