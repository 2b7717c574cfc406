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
func runSteps(ctx context.Context, log *slog.Logger, steps []step, body func(context.Context) error) error {
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
				log.Error(undoErr.Error())
			}
		}
	}
	return err
}

// loadConfig reads and validates the file and logs every remark. A
// configuration with errors is none.
func (a *app) loadConfig(ctx context.Context, o *options, log *slog.Logger) (*config.Config, error) {
	log.Info(fmt.Sprintf(msgConfigFile, o.file))
	cfg, diags, err := config.Load(ctx, o.file, a.config)
	if err != nil {
		return nil, &exit{exitNoConfig, line(fmt.Sprintf(msgNoFile, err))}
	}
	levels := map[config.Severity]slog.Level{config.Info: slog.LevelInfo, config.Warning: slog.LevelWarn, config.Error: slog.LevelError}
	for _, d := range diags {
		log.Log(ctx, levels[d.Severity], d.String())
	}
	if n := config.Errors(diags); n > 0 {
		return nil, &exit{exitConfig, line(fmt.Sprintf(msgFaults, o.file, n))}
	}
	return cfg, nil
}
