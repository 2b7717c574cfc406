// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/lvs-fnat/lvs/ipvs"
)

// dial opens the real tables: those of this network namespace.
func dial(ctx context.Context) (kernel, error) {
	c, err := ipvs.Dial(ctx)
	if err != nil {
		return nil, err // not c: a nil client in an interface is not nil
	}
	return c, nil
}
