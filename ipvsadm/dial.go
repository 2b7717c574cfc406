// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/lvs-fnat/lvs/ipvs"
)

// dial opens the real tables, those of this network namespace: by netlink, or
// by socket options where the kernel has no family IPVS or no netlink. The
// choice holds for the whole run. If both fail the error is the second one.
func dial(ctx context.Context) (kernel, error) {
	if c, err := ipvs.Dial(ctx); err == nil {
		return c, nil
	}
	c, err := ipvs.DialSockopt(ctx)
	if err != nil {
		return nil, err // not c: a nil client in an interface is not nil
	}
	return c, nil
}
