// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"strings"
	"syscall"
)

// Sentinels that callers ask for with errors.Is; the kernel's errno and its
// extended text are in the [*OpError] around them.
var (
	// ErrNoIPVS means that the kernel has no ip_vs: the family is absent.
	ErrNoIPVS = errors.New("ip_vs is not in the kernel; load it with 'modprobe ip_vs'")
	// ErrNoExt means that the ip_vs in the kernel is not ours.
	ErrNoExt = errors.New("the running ip_vs has no FNAT; install the package lvs-dkms and load its ip_vs module")
	// ErrInterrupted means that a table changed again and again while it was read.
	ErrInterrupted = errors.New("the table changed while it was read; try again")
	// ErrEventsLost means that events came faster than they were read.
	ErrEventsLost = errors.New("events were lost: they came faster than they were read")
)

// errInvalid marks what is refused before anything is sent; as the kernel's
// own refusals of the kind it is an EINVAL.
var errInvalid error = syscall.EINVAL

// errMissing is an answer without the part that was asked for.
var errMissing = errors.New("the kernel's answer lacks the object asked for")

// OpError is a request that failed, with what it was about.
type OpError struct {
	// Op is the verb: "add service", "list dests".
	Op string
	// Service and Dest are zero where the request is not about one.
	Service ServiceKey
	Dest    DestKey
	// LGroup and Laddr are set for requests about local addresses.
	LGroup string
	Laddr  netip.Addr
	// Message is the kernel's extended text, "" if it sent none.
	Message string
	// Err is a syscall.Errno if the kernel refused; else a sentinel of this
	// package, the context's error or an error of the socket.
	Err error
}

// Error begins with the operand: "192.0.2.1:80: add dest 10.0.0.7:80: file exists".
func (e *OpError) Error() string {
	var parts []string
	if e.Service != (ServiceKey{}) {
		parts = append(parts, e.Service.String())
	}
	if e.LGroup != "" {
		parts = append(parts, e.LGroup)
	}
	verb := e.Op
	switch {
	case e.Dest.Addr.IsValid():
		verb += " " + e.Dest.String()
	case e.Laddr.IsValid():
		verb += " " + e.Laddr.String()
	}
	parts = append(parts, verb)
	if e.Message != "" {
		parts = append(parts, e.Message)
	}
	return strings.Join(append(parts, e.Err.Error()), ": ")
}

// Unwrap returns Err.
func (e *OpError) Unwrap() error { return e.Err }

// Is lets ESRCH, the kernel's word for a missing service, be fs.ErrNotExist
// as ENOENT, its word for a missing dest, already is.
func (e *OpError) Is(target error) bool {
	return target == fs.ErrNotExist && errors.Is(e.Err, syscall.ESRCH)
}

// BatchError says which operation of [Client.Apply] failed first.
type BatchError struct {
	Index int // of Op in the list given to Apply
	Op    Op
	// Acked counts the operations that the kernel carried out, which are all
	// before Index and, as they share a send, perhaps some behind it.
	Acked int
	Err   error // an *OpError
}

// Error names the place in the batch only when there is more than one.
func (e *BatchError) Error() string {
	if e.Index == 0 && e.Acked == 0 {
		return e.Err.Error()
	}
	return fmt.Sprintf("operation %d: %v", e.Index+1, e.Err)
}

// Unwrap returns Err.
func (e *BatchError) Unwrap() error { return e.Err }

// kernelError is an errno with its extended text, on its way into an OpError.
type kernelError struct {
	errno syscall.Errno
	text  string
}

func (e *kernelError) Error() string { return e.text + ": " + e.errno.Error() }
func (e *kernelError) Unwrap() error { return e.errno }

// fill puts err into e: the bare errno as Err, the text as Message.
func (e *OpError) fill(err error) *OpError {
	var k *kernelError
	e.Err = err
	if errors.As(err, &k) {
		e.Err, e.Message = k.errno, k.text
	}
	return e
}

// isMissing tells whether err is about an object that is not there.
func isMissing(err error) bool {
	return errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrNoIPVS) && !errors.Is(err, ErrNoExt)
}
