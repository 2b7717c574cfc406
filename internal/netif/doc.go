// SPDX-License-Identifier: Apache-2.0

// Package netif is the host's network as virtual routers need it: links and
// their events, addresses, routes, rules, the raw sockets of VRRP, and
// gratuitous ARP and neighbour advertisements. It decides nothing.
//
// Everything works in the network namespace of the thread that opens it.
package netif
