// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/supervise"
)

// step is one part of the daemon's start, with what takes it back.
type step struct {
	do   func(context.Context) error
	undo func(context.Context) error
}

// daemon runs until a signal ends it, and returns the exit code. All that was
// started is taken back in the reverse order, whatever ended it.
func (a *app) daemon(ctx context.Context, o *options) int {
	log := a.logger(o)
	log.Info(fmt.Sprintf(msgStarting, version))
	b := &balancer{app: a, opts: o, log: log}
	var pid *supervise.PIDFile
	steps := []step{
		{do: b.hear, undo: b.deafen},
		{do: b.readConfig},
		{
			do: func(context.Context) (err error) {
				pid, err = supervise.CreatePIDFile(o.pidFile)
				if errors.Is(err, supervise.ErrRunning) {
					log.Error(msgRunning)
				}
				return err
			},
			undo: func(context.Context) error { return pid.Remove() },
		},
		{do: b.openScripts, undo: b.closeScripts},
		{do: b.openEngine, undo: b.closeEngine},
		{undo: b.closeKernel},
		{do: b.openKernel},
		{do: b.fill, undo: b.empty},
		{do: b.startChecks, undo: b.stopChecks},
		{
			do:   func(context.Context) error { return errors.Join(supervise.Up(), supervise.Ready()) },
			undo: func(context.Context) error { return supervise.Stopping() },
		},
	}
	err := runSteps(ctx, log, steps, func(ctx context.Context) error {
		log.Info(msgStarted)
		err := b.serve(ctx)
		log.Info(msgStopping)
		return err
	})
	if err != nil {
		log.Error(err.Error())
	}
	log.Info(fmt.Sprintf(msgStopped, version))
	return exitCode(err)
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
func (b *balancer) loadConfig(ctx context.Context) (*config.Config, error) {
	b.log.Info(fmt.Sprintf(msgConfigFile, b.opts.file))
	cfg, diags, err := config.Load(ctx, b.opts.file, b.config)
	if err != nil {
		return nil, &exit{exitNoConfig, line(fmt.Sprintf(msgNoFile, err))}
	}
	levels := map[config.Severity]slog.Level{config.Info: slog.LevelInfo, config.Warning: slog.LevelWarn, config.Error: slog.LevelError}
	for _, d := range diags {
		b.log.Log(ctx, levels[d.Severity], d.String())
	}
	if n := config.Errors(diags); n > 0 {
		return nil, &exit{exitConfig, line(fmt.Sprintf(msgFaults, b.opts.file, n))}
	}
	return cfg, nil
}
