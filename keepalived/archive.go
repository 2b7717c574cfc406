// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/lvs-fnat/lvs/internal/config"
)

// archive is config_save_dir for a configuration that was loaded: a copy of the
// text, keepalived.conf.PID.N. Children add their state around the reload that
// takes it over, keepalived_NAME.PID.N.pre and .post.
func (p *parent) archive(r *config.Reload, t *config.Text) {
	n := p.loads
	p.loads++
	if r.SaveDir == "" {
		return
	}
	// Configurations hold passwords: the folder is for this user alone.
	err := os.MkdirAll(r.SaveDir, 0o700)
	if err == nil {
		err = writeDump(filepath.Join(r.SaveDir, fmt.Sprintf("keepalived.conf.%d.%d", os.Getpid(), n)), func(w io.Writer) {
			for _, name := range t.Order {
				fmt.Fprintf(w, "# %s\n%s\n", name, t.Files[name])
			}
		})
	}
	if err != nil {
		p.warn(fmt.Errorf("config_save_dir: %w", err))
	}
}

// around is what a child named name has done by reload, between two dumps of its
// state. A dump that cannot be written is no reason to refuse a configuration.
func (c *child) around(name string, r *config.Reload, dump func(io.Writer), reload func() error) error {
	c.reloads++
	if r.SaveDir == "" {
		return reload()
	}
	path := filepath.Join(r.SaveDir, fmt.Sprintf("keepalived_%s.%d.%d", name, os.Getpid(), c.reloads))
	c.warn(writeDump(path+".pre", dump))
	err := reload()
	c.warn(writeDump(path+".post", dump))
	return err
}
