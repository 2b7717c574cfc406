// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"encoding/binary"
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/uapi"
)

// trees is how many requests TestFloodGenl sends; fuzzSeed in the environment
// repeats a run.
const (
	trees    = 100_000
	fuzzSeed = "LVS_FUZZ_SEED"
)

// TestFloodGenl: random attribute trees to every command of IPVS_EXT.
//
// Half of them cannot be right. Each is answered by an errno, and nothing that is
// configured changes. The other half have known attributes, nested as they must be,
// with values that are random or at an edge, on services, groups and addresses that
// are there or not: what they change is theirs, and what there is afterwards can be
// read and taken away. A warning of the kernel fails the guest.
func TestFloodGenl(t *testing.T) {
	needOurs(t)
	seed := uint64(time.Now().UnixNano())
	if s := os.Getenv(fuzzSeed); s != "" {
		n, err := strconv.ParseUint(s, 0, 64)
		if err != nil {
			t.Fatalf("%s: %v", fuzzSeed, err)
		}
		seed = n
	}
	t.Logf("%s=%#x", fuzzSeed, seed)
	witness := newRig(t, fam4)
	// It holds the keys, which otherwise go on and off with what is tried.
	witness.serve(t, setup{lips: 2, ext: ipvs.ExtRSTOnExpire, more: invalid(ipvs.InvalidDrop)})
	z := fuzzer{Rand: rand.New(rand.NewPCG(seed, 1)), family: witness.raw(t).f.ID}
	t.Run("garbage", func(t *testing.T) { z.garbage(t, witness) })
	before := witness.table(t)
	t.Run("knowing", func(t *testing.T) { z.knowing(t) })
	if after := witness.table(t); after != before {
		t.Errorf("another namespace changed from\n%s\nto\n%s", before, after)
	}
	witness.open(t, 0, 4000).talk(t)
}

// garbage: requests that cannot be right.
func (z fuzzer) garbage(t *testing.T, r *rig) {
	before := r.table(t)
	answers := z.send(t, r, trees/2, func(seq uint32) []byte { return z.message(seq) }, nil)
	for errno, n := range answers {
		switch errno {
		case unix.EINVAL, unix.ERANGE, unix.EOPNOTSUPP, unix.ENOENT, unix.ESRCH, unix.EAFNOSUPPORT:
		default:
			t.Errorf("%d answers are %v", n, errno)
		}
	}
	if after := r.table(t); after != before {
		t.Errorf("the requests changed\n%s\nto\n%s", before, after)
	}
	t.Logf("answers: %v", answers)
}

// send sends n requests in batches and returns how often each answer came; between,
// if not nil, is called after each batch.
func (z fuzzer) send(t *testing.T, r *rig, n int, make func(seq uint32) []byte, between func()) map[unix.Errno]int {
	t.Helper()
	var fd int
	if err := r.d.Do(func() (err error) {
		fd, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_GENERIC)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 16<<20); err != nil {
		t.Fatal(err)
	}
	answers := map[unix.Errno]int{}
	for sent := 0; sent < n; {
		var batch []byte
		m := 0
		for ; m < 50 && sent+m < n; m++ {
			batch = append(batch, make(uint32(sent+m))...)
		}
		if err := unix.Sendto(fd, batch, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
			t.Fatal(err)
		}
		sent += m
		if err := collect(fd, m, answers); err != nil {
			t.Fatalf("after %d requests: %v", sent, err)
		}
		if between != nil {
			between()
		}
	}
	total := 0
	for _, n := range answers {
		total += n
	}
	if total != n {
		t.Errorf("%d answers to %d requests", total, n)
	}
	return answers
}

// collect reads the answers to n requests: acknowledgements, and ends of dumps.
func collect(fd, n int, answers map[unix.Errno]int) error {
	buf := make([]byte, 1<<17)
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
			if typ := binary.NativeEndian.Uint16(b[4:]); typ == unix.NLMSG_ERROR || typ == unix.NLMSG_DONE {
				answers[unix.Errno(-int32(binary.NativeEndian.Uint32(b[unix.NLMSG_HDRLEN:])))]++
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
	return z.frame(seq, flags, body)
}

// frame makes a message of a body, padded.
func (z fuzzer) frame(seq uint32, flags uint16, body []byte) []byte {
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
