// SPDX-License-Identifier: Apache-2.0

package healthcheck

import (
	"context"
	"sync"
)

// Limits of what runs at a time, of all shards together. A run beyond them
// waits, and its time begins with its turn.
const (
	// scriptLimit bounds the commands of MISC_CHECK: they are processes.
	scriptLimit = 128
	// sessionLimit bounds TLS sessions: a mute server holds one until the
	// timeout, and must not be in the way of the others.
	sessionLimit = 512
)

// pool runs jobs in goroutines of which there are never more than limit. The
// engine owns it and waits for it in Close.
type pool struct {
	ctx    context.Context // of the jobs, ended by close
	cancel context.CancelFunc
	limit  int
	all    sync.WaitGroup

	mu     sync.Mutex // guards what follows
	queue  []func()
	active int
}

func newPool(limit int) *pool {
	p := &pool{limit: limit}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	return p
}

// submit never blocks. A job that waits longer than its check lives finds its
// context ended.
func (p *pool) submit(job func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.active == p.limit {
		p.queue = append(p.queue, job)
		return
	}
	p.active++
	p.all.Go(func() { p.work(job) })
}

func (p *pool) work(job func()) {
	for job != nil {
		job()
		job = p.next()
	}
}

// next gives a goroutine its next job, or nil to end with.
func (p *pool) next() (job func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.queue) == 0 {
		p.active--
		return nil
	}
	job, p.queue = p.queue[0], p.queue[1:]
	return job
}

// close ends all jobs and waits for them. Nobody may submit any more.
func (p *pool) close() {
	p.cancel()
	p.all.Wait()
}
