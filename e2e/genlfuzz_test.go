// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// trees is how many requests TestFloodGenl sends; fuzzSeed in the environment
// repeats a run.
const (
	trees    = 100_000
	fuzzSeed = "LVS_FUZZ_SEED"
)

// TestFloodGenl: random attribute trees to every command of IPVS_EXT. Each is
// answered by an errno, and nothing that is configured changes; a warning of the
// kernel fails the guest.
func TestFloodGenl(t *testing.T) {
	needOurs(t)
	r := newRig(t, fam4)
	r.serve(t, setup{lips: 2})
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(fuzzSeed); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("%s: %v", fuzzSeed, err)
		}
		seed = n
	}
	t.Logf("%s=%#x", fuzzSeed, seed)
	z := fuzzer{Rand: rand.New(rand.NewPCG(seed, 1)), family: r.raw(t).f.ID}
	var fd int
	if err := r.d.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20); err != nil {
		t.Fatal(err)
	}
	before := r.table(t)
	answers := map[unix.Errno]int{}
	for sent := 0; sent < trees; {
		var batch []byte
		n := 0
		for ; n < 50 && sent+n < trees; n++ {
			batch = append(batch, z.message(uint32(sent+n))...)
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Fatal(err)
		}
		sent += n
		if err := collect(fd, n, answers); err != nil {
			t.Fatalf("after %d requests: %v", sent, err)
		}
	}
	total := 0
	for errno, n := range answers {
		total += n
		switch errno {
		case unix.EINVAL, unix.ERANGE, unix.EOPNOTSUPP, unix.ENOENT, unix.ESRCH, unix.EAFNOSUPPORT:
		default:
			t.Errorf("%d answers are %v", n, errno)
		}
	}
	if total != trees {
		t.Errorf("%d answers to %d requests", total, trees)
	}
	if after := r.table(t); after != before {
		t.Errorf("the requests changed\n%s\nto\n%s", before, after)
	}
	r.open(t, 0, 4000).talk(t)
	t.Logf("answers: %v", answers)
}

// collect reads the acknowledgements of n requests; every one must be a refusal.
func collect(fd, n int, answers map[unix.Errno]int) error {
	buf := make([]byte, 1<<16)
	for n > 0 {
		size, _, err := unix.Recvfrom(fd, buf, 0)
		if err != nil {
			return err
		}
		for b := buf[:size]; len(b) >= unix.NLMSG_HDRLEN; {
			length := int(binary.NativeEndian.Uint32(b))
			if length < unix.NLMSG_HDRLEN || length > len(b) {
				return errors.New("a message longer than what came")
			}
			if typ := binary.NativeEndian.Uint16(b[4:]); typ == unix.NLMSG_ERROR {
				errno := unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])))
				if errno == 0 {
					return fmt.Errorf("request %d was accepted", binary.NativeEndian.Uint32(b[8:]))
				}
				answers[errno]++
				n--
			}
			b = b[min(len(b), (length+3)&^3):]
		}
	}
	return nil
}

// fuzzer makes requests that cannot be right: each has, somewhere, an attribute
// that its place does not have.
type fuzzer struct {
	*rand.Rand
	family uint16
}

// message is a request with an acknowledgement asked for, padded.
func (z fuzzer) message(seq uint32) []byte {
	body := []byte{byte(z.IntN(uapi.ExtCmdMax + 3)), byte(z.IntN(3)), 0, 0}
	for range z.IntN(4) {
		body = append(body, z.attr(uint16(1+z.IntN(uapi.ExtAMax+2)), 0)...)
	}
	// no command has an attribute with this number at the top
	body = append(body, z.raw(uint16(uapi.ExtAMax+1+z.IntN(200)), z.bytes())...)
	flags := uint16(unix.NLM_F_REQUEST | unix.NLM_F_ACK)
	if z.IntN(4) == 0 {
		flags |= unix.NLM_F_DUMP
	}
	b := binary.NativeEndian.AppendUint32(nil, uint32(unix.NLMSG_HDRLEN+len(body)))
	b = binary.NativeEndian.AppendUint16(b, z.family)
	b = binary.NativeEndian.AppendUint16(b, flags)
	b = binary.NativeEndian.AppendUint32(b, seq)
	b = binary.NativeEndian.AppendUint32(b, 0)
	b = append(b, body...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}

// attr is a nest or a leaf of any type, length and content.
func (z fuzzer) attr(typ uint16, depth int) []byte {
	if depth > 3 || z.IntN(3) == 0 {
		return z.raw(typ, z.bytes())
	}
	var inner []byte
	for range z.IntN(6) {
		inner = append(inner, z.attr(uint16(z.IntN(48)), depth+1)...)
	}
	if z.IntN(8) != 0 {
		typ |= unix.NLA_F_NESTED
	}
	return z.raw(typ, inner)
}

func (z fuzzer) bytes() []byte {
	lengths := []int{0, 1, 2, 3, 4, 8, 15, 16, 17, 32, 100}
	b := make([]byte, lengths[z.IntN(len(lengths))])
	for i := range b {
		b[i] = byte(z.Uint32())
	}
	if z.IntN(3) == 0 && len(b) > 0 {
		b[len(b)-1] = 0
	}
	if z.IntN(4) == 0 {
		return append([]byte(strings.Repeat("g", z.IntN(20))), 0)
	}
	return b
}

// raw frames a value; now and then its length lies.
func (z fuzzer) raw(typ uint16, v []byte) []byte {
	n := 4 + len(v)
	if z.IntN(50) == 0 {
		n = z.IntN(1 << 16)
	}
	b := binary.NativeEndian.AppendUint16(nil, uint16(n))
	b = binary.NativeEndian.AppendUint16(b, typ)
	b = append(b, v...)
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	return b
}
