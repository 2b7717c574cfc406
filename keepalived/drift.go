// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/lvs-fnat/lvs/internal/firewall"
	"github.com/lvs-fnat/lvs/ipvs"
)

// driftEvery is how often the kernel's tables are compared with what they
// should be.
const driftEvery = time.Minute

// driftLines is how many differences are logged one by one.
const driftLines = 20

// drift is what one comparison has found.
type drift struct {
	rev   uint64 // of the mirror when it began
	ops   []ipvs.Op
	marks []firewall.Mark
	err   error
}

// lookout compares the kernel with what it should hold, one comparison at a
// time, and remembers what it has said.
type lookout struct {
	seen chan drift // one value per comparison; buffered, so that nobody waits for nobody
	busy bool
	more bool // asked for while busy
	said []string
}

// look starts a comparison, which does not hold up anything else.
func (b *balancer) look(ctx context.Context) {
	if b.mirror == nil || b.lookout.busy {
		b.lookout.more = b.lookout.busy
		return
	}
	b.lookout.busy, b.lookout.more = true, false
	rev, watch := b.mirror.Rev(), b.mirror.Watch()
	var read func() ([]firewall.Mark, error)
	if b.marks.marker != nil {
		read = b.marks.Read
	}
	b.workers.Go(func() {
		ctx, cancel := context.WithTimeout(ctx, kernelTime)
		defer cancel()
		d := drift{rev: rev}
		if d.ops, d.err = watch(ctx); d.err == nil && read != nil {
			d.marks, d.err = read()
		}
		b.lookout.seen <- d
	})
}

// drifted takes the result. If the tables were changed while they were read, it
// says nothing.
func (b *balancer) drifted(ctx context.Context, d drift) {
	b.lookout.busy = false
	if b.lookout.more {
		defer b.look(ctx)
	}
	switch {
	case d.err != nil:
		b.warn(fmt.Errorf("compare the IPVS tables: %w", d.err))
		return
	case d.rev != b.mirror.Rev() || b.behind != "":
		return
	}
	lines := make([]string, len(d.ops))
	for i, op := range d.ops {
		lines[i] = "ipvsadm " + op.String()
	}
	lines = append(lines, b.markLines(d.marks)...)
	repair := b.dir.Config().Global.LVSRepair
	if !slices.Equal(lines, b.lookout.said) {
		b.report(lines, repair)
	}
	if b.lookout.said = lines; !repair || len(lines) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, kernelTime)
	defer cancel()
	err := b.mirror.Sync(ctx, b.dir.Tables())
	if err == nil && b.marks.marker != nil {
		err = b.marks.bring(b.dir.Marks())
	}
	b.settle(err)
	if b.behind == "" {
		b.lookout.said = nil
		b.log.Info(msgRepaired)
	}
}

// report logs the operations that would bring the tables back.
func (b *balancer) report(lines []string, repair bool) {
	if len(lines) == 0 {
		b.log.Info(msgApplied)
		return
	}
	verb := "'%s' would bring back what is configured"
	if repair {
		verb = "'%s' brings back what is configured"
	}
	b.log.Warn(fmt.Sprintf(msgDrift, len(lines)))
	for _, l := range lines[:min(len(lines), driftLines)] {
		b.log.Warn("IPVS: " + fmt.Sprintf(verb, l))
	}
	if more := len(lines) - driftLines; more > 0 {
		b.log.Warn(fmt.Sprintf("IPVS: and %d more", more))
	}
}
