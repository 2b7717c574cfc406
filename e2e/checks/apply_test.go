// SPDX-License-Identifier: Apache-2.0

package checks

import (
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/internal/testnet"
	"github.com/lvs-fnat/lvs/internal/testvm"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// trashTime is how long the kernel keeps real servers that were removed, and looks
// through all of them for each that is added (IP_VS_DEST_TRASH_PERIOD, and a timer).
const trashTime = 200 * time.Second

// sendAtOnce is how many messages the bare sender has the kernel work on with one
// system call. Ten times as many are 2 % cheaper, half as many 2 % dearer.
const sendAtOnce = 128

// bare is a netlink socket with nothing around it.
type bare struct {
	t      *testing.T
	fd     int
	family uint16
}

func openBare(t *testing.T) *bare {
	t.Helper()
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
	testnet.Must(t, err)
	t.Cleanup(func() { unix.Close(fd) })
	s := &bare{t: t, fd: fd}
	msg := bareMessage(nil, unix.GENL_ID_CTRL, unix.CTRL_CMD_GETFAMILY, bareAttr(nil, unix.CTRL_ATTR_FAMILY_NAME, append([]byte(uapi.GenlName), 0)))
	_, err = unix.Write(fd, msg)
	testnet.Must(t, err)
	b := make([]byte, 8192)
	n, err := unix.Read(fd, b)
	testnet.Must(t, err)
	for b = b[20:n]; len(b) >= 4; {
		size, typ := int(binary.NativeEndian.Uint16(b)), binary.NativeEndian.Uint16(b[2:])
		if typ == unix.CTRL_ATTR_FAMILY_ID {
			s.family = binary.NativeEndian.Uint16(b[4:])
		}
		b = b[min((size+3)&^3, len(b)):]
	}
	if s.family == 0 {
		t.Fatal("no family IPVS")
	}
	return s
}

func bareAttr(b []byte, typ uint16, v []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(4+len(v)))
	b = append(binary.NativeEndian.AppendUint16(b, typ), v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

func bareMessage(b []byte, typ uint16, cmd uint8, attrs []byte) []byte {
	b = binary.NativeEndian.AppendUint32(b, uint32(20+len(attrs)))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = binary.NativeEndian.AppendUint16(b, unix.NLM_F_REQUEST)
	b = append(b, make([]byte, 8)...)
	return append(append(b, cmd, 1, 0, 0), attrs...)
}

// messages are the least that makes the kernel do what virtualServers(n) says.
func (s *bare) messages(n int) [][]byte {
	u16 := func(v uint16) []byte { return binary.NativeEndian.AppendUint16(nil, v) }
	u32 := func(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }
	port := func(v uint16) []byte { return binary.BigEndian.AppendUint16(nil, v) }
	var list [][]byte
	for i := range n {
		key := bareAttr(nil, uapi.SvcAF, u16(unix.AF_INET))
		key = bareAttr(key, uapi.SvcProtocol, u16(unix.IPPROTO_TCP))
		key = bareAttr(key, uapi.SvcAddr, []byte{10, byte(i >> 16), byte(i >> 8), byte(i)})
		key = bareAttr(key, uapi.SvcPort, port(80))
		service := append([]byte(nil), key...)
		service = bareAttr(service, uapi.SvcSchedName, []byte("wrr\x00"))
		service = bareAttr(service, uapi.SvcFlags, append(u32(0), u32(^uint32(0))...))
		service = bareAttr(service, uapi.SvcTimeout, u32(0))
		service = bareAttr(service, uapi.SvcNetmask, u32(^uint32(0)))
		list = append(list, bareMessage(nil, s.family, uapi.CmdNewService, bareAttr(nil, uapi.AttrService, service)))
		for r := range 2 {
			dest := bareAttr(nil, uapi.DestAddr, []byte{172, 16, byte(i >> 8), byte(r + 1)})
			dest = bareAttr(dest, uapi.DestPort, port(8080))
			dest = bareAttr(dest, uapi.DestFwdMethod, u32(0))
			dest = bareAttr(dest, uapi.DestWeight, u32(100))
			dest = bareAttr(dest, uapi.DestUThresh, u32(0))
			dest = bareAttr(dest, uapi.DestLThresh, u32(0))
			attrs := bareAttr(bareAttr(nil, uapi.AttrService, key), uapi.AttrDest, dest)
			list = append(list, bareMessage(nil, s.family, uapi.CmdNewDest, attrs))
		}
	}
	return list
}

// send has the kernel do messages, so many at a time, and gives the time it took.
func (s *bare) send(messages [][]byte, atOnce int) time.Duration {
	s.t.Helper()
	var batches [][]byte
	for ; len(messages) > 0; messages = messages[min(atOnce, len(messages)):] {
		var b []byte
		for _, m := range messages[:min(atOnce, len(messages))] {
			b = append(b, m...)
		}
		end := len(b)
		b = append(b, make([]byte, 16)...)
		binary.NativeEndian.PutUint32(b[end:], 16)
		binary.NativeEndian.PutUint16(b[end+4:], unix.NLMSG_NOOP)
		binary.NativeEndian.PutUint16(b[end+6:], unix.NLM_F_REQUEST|unix.NLM_F_ACK)
		batches = append(batches, b)
	}
	answer := make([]byte, 8192)
	runtime.GC()
	began := time.Now()
	for _, b := range batches {
		_, err := unix.Write(s.fd, b)
		testnet.Must(s.t, err)
		n, err := unix.Read(s.fd, answer)
		testnet.Must(s.t, err)
		if errno := -int32(binary.NativeEndian.Uint32(answer[16:])); n < 20 || errno != 0 {
			s.t.Fatalf("an answer of %d bytes: %v", n, syscall.Errno(errno))
		}
	}
	return time.Since(began)
}

// clearTable empties ip_vs' table and has the kernel forget what was in it.
func clearTable(t *testing.T) {
	t.Helper()
	if out, err := exec.Command("/sbin/ipvsadm.stock", "-C").CombinedOutput(); err != nil {
		t.Fatalf("ipvsadm: %v: %s", err, out)
	}
	time.Sleep(trashTime)
}

// servicesNow counts the services of ip_vs, cheaply (IP_VS_SO_GET_INFO).
func servicesNow(fd int) (int, error) {
	var info struct{ version, size, services uint32 }
	size := uint32(unsafe.Sizeof(info))
	_, _, errno := unix.Syscall6(unix.SYS_GETSOCKOPT, uintptr(fd), unix.IPPROTO_IP, 64+1024+64+1,
		uintptr(unsafe.Pointer(&info)), uintptr(unsafe.Pointer(&size)), 0)
	if errno != 0 {
		return 0, errno
	}
	return int(info.services), nil
}

// filling is when services come into the kernel's table, by a look each millisecond.
type filling struct {
	first, last time.Time
	err         error
}

// watchTable returns a function that waits until n services are there.
func watchTable(t *testing.T, n int) func() filling {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.IPPROTO_RAW)
	testnet.Must(t, err)
	ctx, done := t.Context(), make(chan filling, 1)
	go func() {
		defer unix.Close(fd)
		runtime.LockOSThread()
		var f filling
		for deadline := time.Now().Add(10 * time.Minute); ctx.Err() == nil && time.Now().Before(deadline); {
			now, err := servicesNow(fd)
			if err != nil {
				f.err = err
				break
			}
			if now > 0 && f.first.IsZero() {
				f.first = time.Now()
			}
			if now == n {
				f.last = time.Now()
				break
			}
			ms := unix.NsecToTimespec(int64(time.Millisecond))
			_ = unix.Nanosleep(&ms, nil)
		}
		done <- f
	}()
	return func() filling {
		t.Helper()
		f := <-done
		testnet.Must(t, f.err)
		if f.last.IsZero() {
			t.Fatalf("there are never %d services", n)
		}
		return f
	}
}

// firstApply are the times of one program's first apply.
type firstApply struct {
	window time.Duration // from the first service to the last
	whole  time.Duration // from the start of the process to the last service
	up     time.Duration // to "Startup complete"
}

func applyOf(t *testing.T, path, text string, n int) firstApply {
	t.Helper()
	wait := watchTable(t, n)
	p := startProgram(t, path, text)
	p.wait("Startup complete")
	up := time.Since(p.begun)
	f := wait()
	t.Logf("%s, %d virtual servers: %s", path, n, p.memory())
	p.stop()
	time.Sleep(trashTime)
	a := firstApply{window: f.last.Sub(f.first), whole: f.last.Sub(p.begun), up: up}
	t.Logf("%s, %d virtual servers: %v from the first service to the last, %v from the start to the last, up after %v", path, n, a.window, a.whole, a.up)
	return a
}

// What the first apply may take, from the first service to the last: of what a bare
// sender of the same takes, which is the kernel's own share, and of the original's.
// At the size of every run the millisecond between two looks is in the first, and the
// kernel's share larger (TestGuestsServers).
const (
	overBare, ofStock       = 1.3, 0.3
	overBareFew, ofStockFew = 1.4, 0.5
)

// TestCostOfApply holds the first apply of all services to the kernel to these, and
// the time from the start of the process to the last service to the original's.
// LVS_BENCH=1 measures 10,000 virtual servers.
func TestCostOfApply(t *testing.T) {
	testnet.Must(t, testvm.Modprobe("ip_vs"))
	testnet.Must(t, testvm.Modprobe("ip_vs_wrr"))
	n, over, most := 1000, overBareFew, ofStockFew
	if os.Getenv("LVS_BENCH") != "" {
		n, over, most = 10_000, overBare, ofStock
	}
	s := openBare(t)
	messages := s.messages(n)
	clearTable(t)
	s.send(messages, sendAtOnce) // has the kernel fetch memory that it then keeps
	clearTable(t)
	floor := s.send(messages, sendAtOnce)
	clearTable(t)
	text := virtualServers(n)
	theirs, mine := applyOf(t, stock, text, n), applyOf(t, ours, text, n)
	bare, of, whole := mine.window.Seconds()/floor.Seconds(), mine.window.Seconds()/theirs.window.Seconds(), mine.whole.Seconds()/theirs.whole.Seconds()
	t.Logf("the first apply of %d: a bare sender takes %v; ours %.3f of that, %.3f of the original's; %.3f from the start of the process on", n, floor, bare, of, whole)
	if bare > over || of > most || whole > 1 {
		t.Errorf("the first apply of %d takes %.2f of a bare sender's time and %.2f of the original's, from the start on %.2f; want at most %v, %v and 1", n, bare, of, whole, over, most)
	}
}
