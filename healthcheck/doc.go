// SPDX-License-Identifier: Apache-2.0

// Package healthcheck finds out which servers are alive.
//
// A [Target] says which server of which service is to be checked and how. An
// [Engine] is given the complete list with [Engine.Set], runs each check at
// its own pace, and reports what changed as [Event] values, in order. The
// rules of when a server is up or down, of retries and of first runs are
// keepalived's.
//
// All probes run inside a few epoll loops, no goroutine each: with 20,000
// targets the memory is some megabytes, and a busy host makes checks late
// but never a healthy server dead.
package healthcheck
