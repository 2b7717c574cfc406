// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"errors"
	"runtime"

	moby "github.com/moby/ipvs"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// space is a network namespace without a name: a thousand of them are made
// here, and package testnet's do more than these need. Its loopback is up.
type space struct {
	fd  netns.NsHandle
	dns *dnsServer // nil: nobody answers
}

func newSpace() (*space, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	here, err := netns.Get()
	if err != nil {
		return nil, err
	}
	defer here.Close()
	fd, err := netns.New()
	if err != nil {
		return nil, err
	}
	return &space{fd: fd}, errors.Join(loopback(unix.IFF_UP), netns.Set(here))
}

// loopback sets the flags of the loopback of the calling thread's namespace.
func loopback(flags uint16) error {
	s, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	ifr, err := unix.NewIfreq("lo")
	if err != nil {
		return err
	}
	ifr.SetUint16(flags)
	return unix.IoctlIfreq(s, unix.SIOCSIFFLAGS, ifr)
}

// close empties the table and leaves the namespace to the kernel, which removes
// it some time later. The kernel counts services across namespaces to find its
// place in a listing that goes on: one that loses services meanwhile would make
// listings of other namespaces repeat or skip some.
func (s *space) close() error {
	if s.dns != nil {
		if err := s.dns.close(); err != nil {
			return err
		}
	}
	return errors.Join(s.do(func() error {
		w, err := moby.New("")
		if err != nil {
			return err
		}
		defer w.Close()
		return w.Flush()
	}), s.fd.Close())
}

// do calls f inside the namespace.
func (s *space) do(f func() error) error {
	runtime.LockOSThread()
	here, err := netns.Get()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer here.Close()
	if err := netns.Set(s.fd); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	err = f()
	if back := netns.Set(here); back != nil {
		return errors.Join(err, back) // a thread that cannot go back stays locked
	}
	runtime.UnlockOSThread()
	return err
}
