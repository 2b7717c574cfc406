// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/lvs-fnat/lvs/internal/config"
)

// step is one part of a process's start, with what takes it back.
type step struct {
	do   func(context.Context) error
	undo func(context.Context) error
}

// runSteps does the steps, then body, then takes back what was done. The error
// is the first of all.
func runSteps(ctx context.Context, log func() *slog.Logger, steps []step, body func(context.Context) error) error {
	done := 0
	var err error
	for ; done < len(steps); done++ {
		if steps[done].do == nil {
			continue
		}
		if err = steps[done].do(ctx); err != nil {
			break
		}
	}
	if err == nil {
		err = body(ctx)
	}
	for done--; done >= 0; done-- {
		if steps[done].undo == nil {
			continue
		}
		if undoErr := steps[done].undo(ctx); undoErr != nil {
			if err == nil {
				err = undoErr
			} else {
				log().Error(undoErr.Error())
			}
		}
	}
	return err
}

// loadConfig reads and validates the file. With a fatal fault there is no
// configuration. The remarks are logged by the parent alone: its children read
// the same text.
func (a *app) loadConfig(ctx context.Context, o *options, log *slog.Logger, tell bool) (*config.Config, error) {
	cfg, _, err := a.readConfig(ctx, o, log, tell)
	return cfg, err
}

// readConfig is loadConfig with the remarks.
func (a *app) readConfig(ctx context.Context, o *options, log *slog.Logger, tell bool) (*config.Config, []config.Diagnostic, error) {
	log.Info(fmt.Sprintf(msgConfigFile, o.file))
	cfg, diags, err := config.Load(ctx, o.file, a.config)
	if err != nil {
		return nil, nil, &exit{exitNoConfig, line(fmt.Sprintf(msgNoFile, err))}
	}
	o.enableSNMP(cfg)
	d, refused := config.Refused(diags)
	if tell {
		for _, d := range diags {
			log.Log(ctx, levels[d.Severity], d.String())
		}
	}
	if refused {
		code := exitConfig
		if d.Class == config.Include {
			code = exitNoConfig
		}
		return nil, nil, &exit{code, line(d.String())}
	}
	return cfg, diags, nil
}

var levels = map[config.Severity]slog.Level{
	config.Info: slog.LevelInfo, config.Warning: slog.LevelWarn, config.Error: slog.LevelError, config.Fatal: slog.LevelError,
}
