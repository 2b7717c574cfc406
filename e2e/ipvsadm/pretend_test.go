// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// A pretence is a kernel that differs from the guest's, as far as one program can
// tell: what goes to and comes from generic netlink's IPVS is changed on its way, in
// the memory of the program, which is traced. Words of the place "kernel=", with
// commas between them:
//
//	version=A.B.C          of ip_vs
//	size=N                 of the table of connections
//	without=stats64        has no counters of 64 bits, as before 4.1
//	without=family         has servers of their service's family only, as before 3.18
//	without=tunnel         has no types of tunnels, as before 5.2
//	forward=N, tunnel=N    all servers have this method, this type
//	counts=N               all counters and rates stand at this, as far as it fits
//	COMMAND=ERRNO          refuses this command: "new-dest=17"
type pretence struct {
	version, size   uint32
	without         map[string]bool
	forward, tunnel int // -1: as they are
	counts          uint64
	refuses         map[uint8]int32 // errno by command
	family          uint16          // of IPVS; 0: not known yet
	refused         map[uint32]int32
}

var commands = map[string]uint8{
	"new-service": uapi.CmdNewService, "set-service": uapi.CmdSetService, "del-service": uapi.CmdDelService, "get-service": uapi.CmdGetService,
	"new-dest": uapi.CmdNewDest, "set-dest": uapi.CmdSetDest, "del-dest": uapi.CmdDelDest, "get-dest": uapi.CmdGetDest,
	"new-daemon": uapi.CmdNewDaemon, "del-daemon": uapi.CmdDelDaemon, "get-daemon": uapi.CmdGetDaemon,
	"set-config": uapi.CmdSetConfig, "get-config": uapi.CmdGetConfig, "get-info": uapi.CmdGetInfo, "zero": uapi.CmdZero, "flush": uapi.CmdFlush,
}

func newPretence(words string) (*pretence, error) {
	p := &pretence{without: map[string]bool{}, forward: -1, tunnel: -1, refuses: map[uint8]int32{}, refused: map[uint32]int32{}}
	for word := range strings.SplitSeq(words, ",") {
		name, value, _ := strings.Cut(word, "=")
		n, err := strconv.ParseUint(value, 10, 64)
		switch name {
		case "version":
			for part := range strings.SplitSeq(value, ".") {
				if n, err = strconv.ParseUint(part, 10, 8); err != nil {
					return nil, err
				}
				p.version = p.version<<8 | uint32(n)
			}
		case "size":
			p.size = uint32(n)
		case "without":
			p.without[value], err = true, nil
		case "forward":
			p.forward = int(n)
		case "tunnel":
			p.tunnel = int(n)
		case "counts":
			p.counts = n
		default:
			cmd, ok := commands[name]
			if !ok {
				return nil, fmt.Errorf("no command %q", name)
			}
			p.refuses[cmd] = int32(n)
		}
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

// pretend runs cmd on a kernel as words have it, and returns its exit code. The calling
// thread must be that of the goroutine alone: all requests come from it.
func pretend(words string, cmd *exec.Cmd) (code int, err error) {
	p, err := newPretence(words)
	if err != nil {
		return 0, err
	}
	cmd.Args = append([]string{"traced", cmd.Path}, cmd.Args...)
	cmd.Path, cmd.SysProcAttr = tracedProgram, &syscall.SysProcAttr{Ptrace: true}
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	if code, err = p.trace(cmd.Process.Pid); err != nil {
		return 0, errors.Join(err, cmd.Process.Kill())
	}
	_ = cmd.Wait() // its status is read; what its outputs are copied by ends
	return code, nil
}

// trace follows a program that tracedProgram becomes, and what it starts.
func (p *pretence) trace(pid int) (code int, err error) {
	const options = unix.PTRACE_O_TRACESYSGOOD | unix.PTRACE_O_TRACESECCOMP | unix.PTRACE_O_TRACECLONE |
		unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_EXITKILL
	known := map[int]bool{} // processes and threads
	for {
		var status unix.WaitStatus
		tid, err := unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, err
		}
		if status.Exited() || status.Signaled() {
			if tid != pid {
				continue
			}
			if status.Signaled() {
				return 0, fmt.Errorf("ends by %v", status.Signal())
			}
			return status.ExitStatus(), nil
		}
		signal, resume := 0, unix.PtraceCont
		switch {
		case !known[tid]: // the first of all, and each other's first
			known[tid] = true
			if tid == pid {
				if err := unix.PtraceSetOptions(pid, options); err != nil {
					return 0, err
				}
			}
		case status.TrapCause() == unix.PTRACE_EVENT_SECCOMP:
			receives, err := p.call(tid, true)
			if err != nil {
				return 0, err
			}
			if receives {
				resume = unix.PtraceSyscall // to where it has received
			}
		case status.StopSignal() == unix.SIGTRAP|0x80:
			if _, err := p.call(tid, false); err != nil {
				return 0, err
			}
		case status.StopSignal() != unix.SIGTRAP:
			signal = int(status.StopSignal())
		}
		// A thread may be gone as the program ends.
		if err := resume(tid, signal); err != nil && !errors.Is(err, unix.ESRCH) {
			return 0, err
		}
	}
}

// call changes what the system call that a thread is about to make sends, or what the
// one it has made received. It tells whether the call is one that receives.
func (p *pretence) call(tid int, before bool) (receives bool, err error) {
	var r unix.PtraceRegs
	if err := unix.PtraceGetRegs(tid, &r); err != nil {
		return false, ended(err)
	}
	receives = slices.Contains([]uint64{unix.SYS_READ, unix.SYS_RECVFROM, unix.SYS_RECVMSG}, r.Orig_rax)
	if before && receives || !before && int64(r.Rax) <= 0 {
		return receives, nil
	}
	if to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", tid, int(r.Rdi))); err != nil || !strings.HasPrefix(to, "socket:") {
		return receives, nil
	}
	return receives, ended(p.change(tid, &r, before))
}

// ended is err unless it says that the program has ended meanwhile.
func ended(err error) error {
	if errors.Is(err, unix.ESRCH) || errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// change changes the buffer of a call in the memory of a thread.
func (p *pretence) change(tid int, r *unix.PtraceRegs, before bool) error {
	mem, err := os.OpenFile(fmt.Sprintf("/proc/%d/mem", tid), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer mem.Close()
	at, size := int64(r.Rsi), int64(r.Rdx)
	if r.Orig_rax == unix.SYS_SENDMSG || r.Orig_rax == unix.SYS_RECVMSG {
		// struct msghdr has its list of buffers at 16; both programs give one.
		var words [2]uint64
		for _, from := range []func() int64{func() int64 { return at + 16 }, func() int64 { return int64(words[0]) }} {
			var b [16]byte
			if _, err := mem.ReadAt(b[:], from()); err != nil {
				return err
			}
			words = [2]uint64{binary.NativeEndian.Uint64(b[:]), binary.NativeEndian.Uint64(b[8:])}
		}
		at, size = int64(words[0]), int64(words[1])
	}
	if !before {
		size = min(size, int64(r.Rax))
	}
	b := make([]byte, size)
	if _, err := mem.ReadAt(b, at); err != nil {
		return err
	}
	was := bytes.Clone(b)
	p.datagram(b, before)
	if bytes.Equal(b, was) {
		return nil
	}
	_, err = mem.WriteAt(b, at)
	return err
}

// datagram changes messages where they are. It does no more where it has been.
func (p *pretence) datagram(b []byte, sent bool) {
	const headers = unix.SizeofNlMsghdr + unix.GENL_HDRLEN
	for len(b) >= headers {
		size := int(binary.NativeEndian.Uint32(b))
		if size < headers || size > len(b) {
			return
		}
		typ, seq, cmd, attrs := binary.NativeEndian.Uint16(b[4:]), binary.NativeEndian.Uint32(b[8:]), &b[16], b[headers:size]
		if sent { // each socket of the stock program counts from the clock's second
			delete(p.refused, seq)
		}
		switch {
		case typ == unix.GENL_ID_CTRL && !sent:
			p.learn(attrs)
		case typ == unix.NLMSG_ERROR && !sent:
			if errno, ok := p.refused[seq]; ok {
				binary.NativeEndian.PutUint32(b[16:], uint32(-errno))
			}
		case typ != p.family || typ == 0:
		case sent:
			if errno, ok := p.refuses[*cmd]; ok {
				*cmd, p.refused[seq] = 0x7f, errno
			}
		case *cmd == uapi.CmdSetInfo:
			p.info(attrs)
		default:
			eachAttr(attrs, func(typ *uint16, v []byte) {
				switch *typ {
				case uapi.AttrService:
					p.service(v)
				case uapi.AttrDest:
					p.dest(v)
				}
			})
		}
		b = b[min((size+3)&^3, len(b)):]
	}
}

// eachAttr gives the type of each attribute, to be changed, and its value to f.
func eachAttr(b []byte, f func(typ *uint16, v []byte)) {
	for len(b) >= unix.NLA_HDRLEN {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.NLA_HDRLEN || size > len(b) {
			return
		}
		const flags = unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
		typ := binary.NativeEndian.Uint16(b[2:])
		bare := typ &^ flags
		f(&bare, b[unix.NLA_HDRLEN:size])
		binary.NativeEndian.PutUint16(b[2:], bare|typ&flags)
		b = b[min((size+3)&^3, len(b)):]
	}
}

// unheard is a type that no program knows: what has it is not there.
const unheard = 0x1fff

func (p *pretence) learn(attrs []byte) {
	var id uint16
	var name string
	eachAttr(attrs, func(typ *uint16, v []byte) {
		switch *typ {
		case unix.CTRL_ATTR_FAMILY_ID:
			id = binary.NativeEndian.Uint16(v)
		case unix.CTRL_ATTR_FAMILY_NAME:
			name = unix.ByteSliceToString(v)
		}
	})
	if name == uapi.GenlName {
		p.family = id
	}
}

func (p *pretence) info(attrs []byte) {
	eachAttr(attrs, func(typ *uint16, v []byte) {
		switch {
		case *typ == uapi.InfoVersion && p.version != 0:
			binary.NativeEndian.PutUint32(v, p.version)
		case *typ == uapi.InfoConnTabSize && p.size != 0:
			binary.NativeEndian.PutUint32(v, p.size)
		}
	})
}

func (p *pretence) service(attrs []byte) {
	eachAttr(attrs, func(typ *uint16, v []byte) {
		switch *typ {
		case uapi.SvcStats64:
			p.stats(v)
			if p.without["stats64"] {
				*typ = unheard
			}
		case uapi.SvcStats:
			p.stats(v)
		}
	})
}

func (p *pretence) dest(attrs []byte) {
	eachAttr(attrs, func(typ *uint16, v []byte) {
		switch *typ {
		case uapi.DestStats64:
			p.stats(v)
			if p.without["stats64"] {
				*typ = unheard
			}
		case uapi.DestStats:
			p.stats(v)
		case uapi.DestFwdMethod:
			if p.forward >= 0 {
				binary.NativeEndian.PutUint32(v, binary.NativeEndian.Uint32(v)&^7|uint32(p.forward))
			}
		case uapi.DestAddrFamily:
			if p.without["family"] {
				*typ = unheard
			}
		case uapi.DestTunType, uapi.DestTunPort, uapi.DestTunFlags:
			if *typ == uapi.DestTunType && p.tunnel >= 0 {
				v[0] = byte(p.tunnel)
			}
			if p.without["tunnel"] {
				*typ = unheard
			}
		}
	})
}

func (p *pretence) stats(attrs []byte) {
	if p.counts == 0 {
		return
	}
	eachAttr(attrs, func(_ *uint16, v []byte) {
		switch len(v) {
		case 4:
			binary.NativeEndian.PutUint32(v, uint32(p.counts))
		case 8:
			binary.NativeEndian.PutUint64(v, p.counts)
		}
	})
}
