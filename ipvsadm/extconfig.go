// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"os"
	"strings"

	"github.com/lvs-fnat/lvs/ipvs"
)

func (c *call) setLaddrProbes(v string, _ bool) error {
	n, ok := number(v, 1, 255)
	if !ok {
		return usagef(msgNumber, "laddr-probes", v, 1, 255)
	}
	c.config.Probes = uint8(n)
	c.config.Set |= ipvs.ExtConfigProbes
	return nil
}

func setReclaim(on bool) func(*call, string, bool) error {
	return func(c *call, _ string, _ bool) error {
		c.config.Reclaim = on
		c.config.Set |= ipvs.ExtConfigReclaim
		return nil
	}
}

func setDropVIP(on bool) func(*call, string, bool) error {
	return func(c *call, _ string, _ bool) error {
		c.config.DropVIP = on
		c.config.Set |= ipvs.ExtConfigDropVIP
		return nil
	}
}

func (c *call) setSPMemory(v string, _ bool) error {
	n, ok := number(v, 0, math.MaxInt64)
	if !ok {
		return usagef(msgNumber, "synproxy-memory", v, 0, int64(math.MaxInt64))
	}
	c.config.SPQMem = uint64(n)
	c.config.Set |= ipvs.ExtConfigSPQMem
	return nil
}

func (c *call) setSPEarly(v string, _ bool) error {
	mode, err := synproxyMode(v)
	if err != nil {
		return usagef(msgSPEarly, v)
	}
	c.config.SPEarly = mode
	c.config.Set |= ipvs.ExtConfigSPEarly
	return nil
}

func (c *call) setCookieKey(v string, _ bool) error {
	return c.readKey(v, &c.config.CookieKey, ipvs.ExtConfigCookieKey)
}

func (c *call) setPrevCookieKey(v string, _ bool) error {
	return c.readKey(v, &c.config.CookieKeyPrev, ipvs.ExtConfigCookieKeyPrev)
}

// readKey reads a secret from a file: arguments are seen by everyone.
func (c *call) readKey(file string, to *ipvs.CookieKey, field ipvs.ExtConfigField) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return usagef("%v", err)
	}
	if *to, err = ipvs.ParseCookieKey(strings.TrimSpace(string(text))); err != nil {
		return usagef(msgCookieKey, file, err)
	}
	c.config.Set |= field
	return nil
}

// setExtConfig is --set-ext.
func (a *app) setExtConfig(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	if err := a.kernel.Apply(ctx, ipvs.Op{Kind: ipvs.SetExtConfig, Config: c.config}); err != nil {
		return extRefused(c.cmd, err)
	}
	return nil
}

// usualConfig is what the module begins with.
var usualConfig = ipvs.ExtConfig{Probes: 64, Reclaim: true, SPQMem: 16 << 20, SPEarly: ipvs.SynproxyAuto}

// configWords are the options of --set-ext that make what is, each with a blank
// in front: all of them, or only what differs from the module's own. Keys are
// not told by the kernel.
func configWords(cfg ipvs.ExtConfig, all bool) string {
	for _, f := range []struct {
		field ipvs.ExtConfigField
		usual bool
	}{
		{ipvs.ExtConfigProbes, cfg.Probes == usualConfig.Probes}, {ipvs.ExtConfigReclaim, cfg.Reclaim == usualConfig.Reclaim},
		{ipvs.ExtConfigSPQMem, cfg.SPQMem == usualConfig.SPQMem}, {ipvs.ExtConfigDropVIP, cfg.DropVIP == usualConfig.DropVIP},
		{ipvs.ExtConfigSPEarly, cfg.SPEarly == usualConfig.SPEarly},
	} {
		if f.usual && !all {
			cfg.Set &^= f.field
		}
	}
	return strings.TrimPrefix(ipvs.Op{Kind: ipvs.SetExtConfig, Config: cfg}.String(), "--set-ext")
}

// saveConfig writes the settings of the namespace, if any is of one's own.
func (l *lister) saveConfig(ctx context.Context) error {
	cfg, err := l.kernel.ExtConfig(ctx)
	if err != nil {
		return listFailed(err)
	}
	if words := configWords(cfg, false); words != "" {
		fmt.Fprintf(l.w, "--set-ext%s\n", words)
	}
	return nil
}

// jsonConfig are the settings of the namespace; null is what this module has not.
type jsonConfig struct {
	Probes  *uint8  `json:"laddr_probes"`
	Reclaim *bool   `json:"laddr_reclaim"`
	SPQMem  *uint64 `json:"synproxy_memory"`
	SPEarly *string `json:"synproxy_early"`
	DropVIP *bool   `json:"drop_vip"`
}

// listExt is -L --ext: what the module is, and its settings of the namespace.
func (a *app) listExt(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	cfg, err := a.kernel.ExtConfig(ctx)
	if err != nil {
		return listFailed(err)
	}
	e := a.info.Extended
	if c.set.has(colJSON) {
		var j jsonConfig
		if cfg.Set&ipvs.ExtConfigProbes != 0 {
			j.Probes = &cfg.Probes
		}
		if cfg.Set&ipvs.ExtConfigReclaim != 0 {
			j.Reclaim = &cfg.Reclaim
		}
		if cfg.Set&ipvs.ExtConfigSPQMem != 0 {
			j.SPQMem = &cfg.SPQMem
		}
		if cfg.Set&ipvs.ExtConfigSPEarly != 0 {
			mode := cfg.SPEarly.String()
			j.SPEarly = &mode
		}
		if cfg.Set&ipvs.ExtConfigDropVIP != 0 {
			j.DropVIP = &cfg.DropVIP
		}
		return putJSON(a.stdout, jsonMember{"ipvs", infoOf(a.info)}, jsonMember{"settings", j})
	}
	fmt.Fprintf(a.stdout, "IPVS_EXT %d, module %s, %d bytes per connection, %d heads\n", e.ABI, e.Build, e.ConnSize, uint64(1)<<e.TabBits)
	fmt.Fprintf(a.stdout, "features: %s\n", strings.Join(ipvs.FeatureNames(e.Features), " "))
	fmt.Fprintf(a.stdout, "settings:%s\n", configWords(cfg, true))
	return nil
}
