// SPDX-License-Identifier: Apache-2.0

package ipvsadm

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"
)

// confinement names the variable that turns this test binary into a launcher
// of a program that the kernel denies sockets: "nonetlink" those of netlink,
// "nosocket" raw ones as well. A kernel without the family says the same,
// EAFNOSUPPORT. "closed=01" only takes standard input and output from it,
// "nsswitch=files,myhostname" has it find these sources of hosts.
const confinement = "LVS_CONFINED"

// confine becomes the program args[0], called by the other args.
func confine(how string, args []string) error {
	runtime.LockOSThread()
	if fds, ok := strings.CutPrefix(how, "closed="); ok {
		for _, fd := range fds {
			if err := unix.Close(int(fd - '0')); err != nil {
				return err
			}
		}
	} else if sources, ok := strings.CutPrefix(how, "nsswitch="); ok {
		if err := switchNames(strings.Split(sources, ",")); err != nil {
			return err
		}
	} else if err := denySockets(how); err != nil {
		return err
	}
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return e == confinement+"="+how })
	return unix.Exec(args[0], args[1:], env)
}

func denySockets(how string) error {
	denied := []uint32{unix.AF_NETLINK}
	if how == "nosocket" {
		denied = append(denied, unix.AF_INET, unix.AF_INET6)
	}
	const number, first = 0, 16 // offsets in struct seccomp_data
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: number},
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: unix.SYS_SOCKET, Jf: uint8(len(denied) + 1)},
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: first},
	}
	for i, family := range denied {
		filter = append(filter, unix.SockFilter{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, K: family, Jt: uint8(len(denied) - i)})
	}
	filter = append(filter,
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EAFNOSUPPORT)})
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&prog)), 0, 0); err != nil {
		return fmt.Errorf("deny sockets: %w", err)
	}
	return nil
}

// switchNames has this process, and what it becomes, look for hosts in sources.
func switchNames(sources []string) error {
	f, err := os.CreateTemp("", "nsswitch")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if _, err := fmt.Fprintf(f, "hosts: %s\nservices: files\n", strings.Join(sources, " ")); err != nil {
		return err
	}
	if err := errors.Join(f.Chmod(0o644), f.Close(), unix.Unshare(unix.CLONE_NEWNS)); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err
	}
	return unix.Mount(f.Name(), "/etc/nsswitch.conf", "", unix.MS_BIND, "")
}
