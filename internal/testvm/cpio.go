// SPDX-License-Identifier: Apache-2.0

package testvm

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
)

// archive writes a "newc" cpio archive, the format of an initramfs (kernel:
// Documentation/driver-api/early-userspace/buffer-format.rst). It stays
// uncompressed: unpacking gzip costs an emulated processor seconds.
//
// A later entry replaces an earlier one of the same name, since the kernel
// unpacks in order. The first error sticks and is returned by Close.
type archive struct {
	w    *bufio.Writer
	f    *os.File
	n    int64
	ino  int
	dirs map[string]bool
	err  error
}

func createArchive(name string) (*archive, error) {
	f, err := os.Create(name)
	if err != nil {
		return nil, err
	}
	return &archive{w: bufio.NewWriterSize(f, 1<<20), f: f, dirs: map[string]bool{".": true, "/": true}}, nil
}

func (a *archive) write(p []byte) {
	if a.err == nil {
		var n int
		n, a.err = a.w.Write(p)
		a.n += int64(n)
	}
}

func (a *archive) pad() {
	if rest := a.n % 4; rest != 0 {
		a.write(make([]byte, 4-rest))
	}
}

// Times are zero so that equal content gives equal archives.
func (a *archive) header(name string, mode uint32, size int64) {
	a.ino++
	links := 1
	if mode&0o170000 == 0o040000 {
		links = 2
	}
	a.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		a.ino, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0))
	a.write(append([]byte(name), 0))
	a.pad()
}

func clean(name string) string { return strings.TrimPrefix(path.Clean("/"+name), "/") }

// dir adds a folder and those above it, once.
func (a *archive) dir(name string) {
	name = clean(name)
	if name == "" || a.dirs[name] {
		return
	}
	a.dir(path.Dir(name))
	a.dirs[name] = true
	a.header(name, 0o040755, 0)
}

func (a *archive) data(name string, perm fs.FileMode, data []byte) {
	name = clean(name)
	a.dir(path.Dir(name))
	a.header(name, 0o100000|uint32(perm.Perm()), int64(len(data)))
	a.write(data)
	a.pad()
}

func (a *archive) symlink(name, target string) {
	name = clean(name)
	a.dir(path.Dir(name))
	a.header(name, 0o120777, int64(len(target)))
	a.write([]byte(target))
	a.pad()
}

// file copies a host's file, following links.
func (a *archive) file(name, host string) {
	if a.err != nil {
		return
	}
	f, err := os.Open(host)
	if err != nil {
		a.err = err
		return
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		a.err = err
		return
	}
	if !st.Mode().IsRegular() {
		a.err = fmt.Errorf("%s: not a regular file", host)
		return
	}
	name = clean(name)
	a.dir(path.Dir(name))
	a.header(name, 0o100000|uint32(st.Mode().Perm()), st.Size())
	if a.err != nil {
		return
	}
	n, err := io.Copy(a.w, f)
	a.n += n
	if err == nil && n != st.Size() {
		err = fmt.Errorf("%s: changed while it was read", host)
	}
	a.err = errors.Join(a.err, err)
	a.pad()
}

// tree copies a host's folder, links as links.
func (a *archive) tree(name, host string) {
	if a.err != nil {
		return
	}
	err := filepath.WalkDir(host, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(host, p)
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			a.dir(to)
		case d.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(p)
			if err != nil {
				return err
			}
			a.symlink(to, target)
		default:
			a.file(to, p)
		}
		return a.err
	})
	a.err = errors.Join(a.err, err)
}

// Close ends the archive and returns the first error of all that was written.
func (a *archive) Close() error {
	a.header("TRAILER!!!", 0, 0)
	if a.err == nil {
		a.err = a.w.Flush()
	}
	return errors.Join(a.err, a.f.Close())
}
