// SPDX-License-Identifier: Apache-2.0

package ipvs

import (
	"encoding/binary"
	"fmt"
)

// decoder walks netlink attributes where they were received, the counterpart of
// encoder. With netlink.AttributeDecoder, which allocates for every nest and takes
// a function for every address, decoding was half of what a listing costs.
//
// Its texts and addresses must be copied by who keeps them: [decoder.String]
// does, [decoder.Bytes] does not. The first error ends the walk.
type decoder struct {
	b   []byte // behind the attribute at hand
	v   []byte // the value at hand
	typ uint16
	err error
}

// Next goes to the next attribute; false behind the last or after an error.
func (d *decoder) Next() bool {
	if d.err != nil || len(d.b) == 0 {
		return false
	}
	if len(d.b) < attrHeader {
		d.err = fmt.Errorf("%d bytes behind the last attribute", len(d.b))
		return false
	}
	size := int(binary.NativeEndian.Uint16(d.b))
	if size < attrHeader || size > len(d.b) {
		d.err = fmt.Errorf("an attribute of %d bytes, header included, in %d", size, len(d.b))
		return false
	}
	d.typ = binary.NativeEndian.Uint16(d.b[2:]) &^ attrFlags
	d.v = d.b[attrHeader:size]
	d.b = d.b[min((size+attrHeader-1)&^(attrHeader-1), len(d.b)):]
	return true
}

// Type is the number of the attribute at hand, without flags.
func (d *decoder) Type() uint16 { return d.typ }

// Err is what ended the walk, if not the end.
func (d *decoder) Err() error { return d.err }

// fail keeps the first error; nil is none.
func (d *decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// sized tells whether the value at hand has n bytes, and fails otherwise.
func (d *decoder) sized(n int) bool {
	if len(d.v) != n {
		d.fail(fmt.Errorf("attribute %d has %d bytes, not %d", d.typ, len(d.v), n))
	}
	return len(d.v) == n
}

func (d *decoder) Uint8() uint8 {
	if !d.sized(1) {
		return 0
	}
	return d.v[0]
}

func (d *decoder) Uint16() uint16 {
	if !d.sized(2) {
		return 0
	}
	return binary.NativeEndian.Uint16(d.v)
}

func (d *decoder) Uint32() uint32 {
	if !d.sized(4) {
		return 0
	}
	return binary.NativeEndian.Uint32(d.v)
}

func (d *decoder) Uint64() uint64 {
	if !d.sized(8) {
		return 0
	}
	return binary.NativeEndian.Uint64(d.v)
}

// Port reads in network byte order.
func (d *decoder) Port() uint16 {
	if !d.sized(2) {
		return 0
	}
	return binary.BigEndian.Uint16(d.v)
}

// Counter reads a number of 32 or 64 bits.
func (d *decoder) Counter() uint64 {
	switch len(d.v) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(d.v))
	case 8:
		return binary.NativeEndian.Uint64(d.v)
	}
	d.fail(fmt.Errorf("a counter of %d bytes", len(d.v)))
	return 0
}

// Pair reads a value with its mask, a bitfield32 for one.
func (d *decoder) Pair() (value, mask uint32) {
	if !d.sized(8) {
		return 0, 0
	}
	return binary.NativeEndian.Uint32(d.v), binary.NativeEndian.Uint32(d.v[4:])
}

// Bytes is valid until the next message is received.
func (d *decoder) Bytes() []byte { return d.v }

// String is the text before the first NUL.
func (d *decoder) String() string { return string(d.text()) }

func (d *decoder) text() []byte {
	for i, b := range d.v {
		if b == 0 {
			return d.v[:i]
		}
	}
	return d.v
}

// Nested gives the attributes in the value at hand to f.
func (d *decoder) Nested(f func(*decoder) error) {
	n := decoder{b: d.v}
	d.fail(f(&n))
	d.fail(n.err)
}
