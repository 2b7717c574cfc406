// SPDX-License-Identifier: Apache-2.0

// Package busapi is org.keepalived.Vrrp1 on D-Bus: the state of each virtual
// router, signals of its changes, and a few requests.
package busapi
