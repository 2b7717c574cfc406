// SPDX-License-Identifier: Apache-2.0

// Package poll is one epoll loop with a hashed timing wheel, and the few
// socket calls a loop needs.
//
// One goroutine, the one inside [Loop.Run], owns everything a Loop holds;
// others reach it through [Loop.Post]. To use several CPUs, make several
// loops and divide the work among them by a hash.
//
// A loop that was stalled must not mistake its own lateness for the silence
// of a peer. So every turn takes all events off the kernel before it expires
// any timer, expires a bounded number of timers before it looks for events
// again, and [Pending] lets a timeout handler look at its socket once more
// before it gives the peer up.
package poll
