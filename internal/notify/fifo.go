// SPDX-License-Identifier: Apache-2.0

package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"syscall"
	"time"
)

// FIFO is an open named pipe that lines of events go to.
type FIFO struct {
	path    string
	f       *os.File
	created bool
	log     *slog.Logger
	// dropped is set while the reader is behind, so that it is logged once.
	dropped bool
}

// OpenFIFO opens the pipe at path, making it if it is not there; cred, unless
// nil, then is its owner.
func OpenFIFO(path string, cred *syscall.Credential, log *slog.Logger) (*FIFO, error) {
	p := &FIFO{path: path, log: log}
	switch err := syscall.Mkfifo(path, 0o600); {
	case err == nil:
		p.created = true
		if cred != nil {
			if err := os.Chown(path, int(cred.Uid), int(cred.Gid)); err != nil {
				return nil, errors.Join(err, os.Remove(path))
			}
		}
	case !errors.Is(err, syscall.EEXIST):
		return nil, fmt.Errorf("make fifo %s: %w", path, err)
	}
	// Open for reading, too: then a write never waits for a reader, and none is
	// lost between one reader and the next.
	var err error
	if p.f, err = os.OpenFile(path, os.O_RDWR|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0); err != nil {
		return nil, fmt.Errorf("open fifo: %w", err)
	}
	info, err := p.f.Stat()
	if err == nil && info.Mode()&os.ModeNamedPipe == 0 {
		err = fmt.Errorf("%s is no fifo", path)
	}
	if err != nil {
		return nil, errors.Join(err, p.f.Close())
	}
	return p, nil
}

// Write adds line; when the pipe is full because nobody reads it, the line is
// lost.
func (p *FIFO) Write(line string) {
	err := p.write(line)
	switch {
	case err == nil:
		p.dropped = false
	case !p.dropped:
		p.dropped = true
		p.log.Warn(fmt.Sprintf("notify fifo %s: lines are lost: %v", p.path, err))
	}
}

// write goes round the runtime's poller, which would wait for room.
func (p *FIFO) write(line string) error {
	raw, err := p.f.SyscallConn()
	if err != nil {
		return err
	}
	var werr error
	err = raw.Write(func(fd uintptr) bool {
		_, werr = syscall.Write(int(fd), []byte(line))
		return true
	})
	return errors.Join(err, werr)
}

// Close closes the pipe, and removes it if OpenFIFO has made it and it is to go.
func (p *FIFO) Close(remove bool) error {
	err := p.f.Close()
	if remove && p.created {
		err = errors.Join(err, os.Remove(p.path))
	}
	return err
}

// Reader is a program that reads a FIFO, started again when it ends.
type Reader struct {
	cancel context.CancelFunc
	wg     sync.WaitGroup
}

// readerPause is between the end of a reader and its next start.
const readerPause = time.Second

// StartReader runs c with the path of the pipe as its last argument until Close.
func StartReader(p Policy, c Command, path string, log *slog.Logger) *Reader {
	ctx, cancel := context.WithCancel(context.Background())
	r := &Reader{cancel: cancel}
	c.Args = append(c.Args[:len(c.Args):len(c.Args)], path)
	r.wg.Go(func() {
		for ctx.Err() == nil {
			cmd, err := p.Prepare(ctx, c)
			if err == nil {
				cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
				cmd.WaitDelay = readerPause
				err = p.run(cmd)
			}
			if ctx.Err() != nil {
				return
			}
			log.Warn(fmt.Sprintf("notify fifo script %s terminated: %v; starting it again", c.Name, err))
			select {
			case <-ctx.Done():
			case <-time.After(readerPause):
			}
		}
	})
	return r
}

// Close ends the reader.
func (r *Reader) Close() {
	r.cancel()
	r.wg.Wait()
}
