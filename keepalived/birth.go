// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// pidDir is where pid files are when a host has several daemons.
const pidDir = "/run/keepalived"

// netnsDir is where network namespaces have names (ip-netns(8)).
const netnsDir = "/run/netns"

// place tells this daemon from others of the host. It stays for life.
type place struct {
	netns, instance string
	pidDir          bool
}

func placeOf(o *options, r *config.Root) place {
	p := place{netns: r.NetNamespace, instance: r.Instance, pidDir: r.UsePIDDir}
	if o.namespace != "" {
		p.netns = o.namespace
	}
	return p
}

// suffix is put behind names, such as _blue_one.
func (p place) suffix() string {
	s := ""
	for _, part := range []string{p.netns, p.instance} {
		if part != "" {
			s += "_" + part
		}
	}
	return s
}

// pidFile is the path that an option gives, or else that of the process name.
func (p place) pidFile(option, name string) string {
	switch {
	case option != "":
		return option
	case p.pidDir || p.netns != "" || p.instance != "":
		return filepath.Join(p.folder(), name+place{instance: p.instance}.suffix()+".pid")
	}
	return filepath.Join("/run", name+".pid")
}

// folder is where the pid files of several daemons are: those of a network namespace have
// one of their own.
func (p place) folder() string { return filepath.Join(pidDir, p.netns) }

// logFile is that of the process name, beside the one the option gives.
func (p place) logFile(option, name string) string {
	if option == "" {
		return ""
	}
	ext := filepath.Ext(option)
	base := strings.TrimSuffix(option, ext)
	if name != "" {
		base += "_" + name
	}
	return base + p.suffix() + ext
}

// netnsFile is the network namespace as a file, "" for that of the parent.
func netnsFile(name string) string {
	if name == "" || strings.HasPrefix(name, "/") {
		return name
	}
	return filepath.Join(netnsDir, name)
}

// birth is what a child is told first.
type birth struct {
	PIDFile string
	Ident   string // in syslog
	LogFile string
	Umask   int
	Tuning  supervise.Tuning
}

// birthOf is how a child of kind k is to live under cfg.
func (p *parent) birthOf(k *kind) birth {
	g := &p.cfg.Global.Processes
	own := config.Process{}
	if k.process != nil {
		own = *k.process(g)
	}
	name := own.Name
	switch {
	case name != "":
	case g.Names:
		name = k.comm
	default:
		name = g.Name
	}
	return birth{
		PIDFile: p.place.pidFile(k.pidFile(p.opts), k.name),
		Ident:   k.ident + p.place.suffix(),
		LogFile: p.place.logFile(p.opts.logFile, k.name),
		Umask:   umaskOf(p.opts, g),
		Tuning: supervise.Tuning{
			Name: name, Nice: own.Nice, RTPriority: own.RTPriority, RTLimit: own.RTLimit, CPUs: own.CPUAffinity, NoSwap: own.NoSwap,
		},
	}
}

// defaultUmask lets nobody but the owner at files, and nobody execute them.
const defaultUmask = 0o177

func umaskOf(o *options, g *config.Processes) int {
	switch {
	case o.umask >= 0:
		return o.umask
	case g.Umask != 0:
		return g.Umask
	}
	return defaultUmask
}

func (b birth) message() (supervise.Message, error) {
	data, err := json.Marshal(b)
	return supervise.Message{Verb: supervise.VerbBegin, Data: data}, err
}

// beBorn waits for the first word of the parent.
func beBorn(conn *supervise.Conn) (birth, error) {
	var b birth
	m, err := conn.Receive()
	if err == nil && m.Verb != supervise.VerbBegin {
		err = fmt.Errorf("the parent says %s first", m.Verb)
	}
	if err == nil {
		err = json.Unmarshal(m.Data, &b)
	}
	return b, err
}

// encodeText and decodeText carry a configuration to a child: its length and what is
// small, and then the files as they are, which are not copied when they are read.
func encodeText(t *config.Text) ([]byte, error) {
	head := textHead{Globs: t.Globs, Order: t.Order}
	size := 0
	for _, name := range t.Order {
		head.Sizes = append(head.Sizes, len(t.Files[name]))
		size += len(t.Files[name])
	}
	var small bytes.Buffer // names of files are any bytes, which JSON has no way for
	if err := gob.NewEncoder(&small).Encode(head); err != nil {
		return nil, err
	}
	p := make([]byte, 0, 8+small.Len()+size)
	p = append(binary.BigEndian.AppendUint64(p, uint64(small.Len())), small.Bytes()...)
	for _, name := range t.Order {
		p = append(p, t.Files[name]...)
	}
	return p, nil
}

// textHead is what stands before the files, which are in Order.
type textHead struct {
	Globs map[string][]string
	Order []string
	Sizes []int
}

func decodeText(p []byte) (*config.Text, error) {
	if len(p) == 0 {
		return nil, nil
	}
	bad := func(what any) error { return fmt.Errorf("configuration from the parent: %v", what) }
	if len(p) < 8 || binary.BigEndian.Uint64(p) > uint64(len(p)-8) {
		return nil, bad("it is cut short")
	}
	small, files := p[8:8+binary.BigEndian.Uint64(p)], p[8+binary.BigEndian.Uint64(p):]
	var head textHead
	if err := gob.NewDecoder(bytes.NewReader(small)).Decode(&head); err != nil {
		return nil, bad(err)
	}
	t := &config.Text{Files: map[string][]byte{}, Globs: head.Globs, Order: head.Order}
	for i, name := range head.Order {
		if i >= len(head.Sizes) || head.Sizes[i] < 0 || head.Sizes[i] > len(files) {
			return nil, bad("it is cut short")
		}
		t.Files[name], files = files[:head.Sizes[i]:head.Sizes[i]], files[head.Sizes[i]:]
	}
	return t, nil
}

// embody makes this process what b says.
func embody(b birth) error {
	supervise.Umask(b.Umask)
	return b.Tuning.Apply()
}

// makePIDDir makes the folder of path if it is the daemon's own.
func makePIDDir(path string) error {
	dir := filepath.Dir(path)
	if dir != pidDir && !strings.HasPrefix(dir, pidDir+"/") {
		return nil
	}
	return os.MkdirAll(dir, 0o755)
}

// leavePIDDir removes the folder of path if it is that of a namespace and nobody has a file there.
func leavePIDDir(path string) error {
	dir := filepath.Dir(path)
	if !strings.HasPrefix(dir, pidDir+"/") {
		return nil
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, syscall.ENOTEMPTY) && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
