// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/internal/config"
	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/internal/firewall"
)

// Verbs of the control socket.
const (
	verbPlan  = "plan"
	verbForce = "force"
	verbVet   = "vet"
)

// plan is --plan: what a reload would do, or a start if no daemon runs.
func (a *app) plan(ctx context.Context, o *options) int {
	file, err := filepath.Abs(o.file)
	if err != nil {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return exitFatal
	}
	cfg, diags, err := config.Load(ctx, file, a.config)
	if err != nil {
		fmt.Fprintf(a.stderr, msgNoFile+"\n", err)
		return exitFatal
	}
	got, err := ask(ctx, a.controlOf(o, cfg), verbPlan+" "+file)
	if errors.Is(err, errNoDaemon) {
		got, err = a.planStart(ctx, cfg, diags)
	}
	if err != nil {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return exitFatal
	}
	out := a.stdout
	if got.code == exitFatal {
		out = a.stderr
	}
	fmt.Fprint(out, got.text)
	return got.code
}

// controlOf is the control socket of the daemon that runs with cfg.
func (a *app) controlOf(o *options, cfg *config.Config) string {
	return controlPath(placeOf(o, &cfg.Root).pidFile(o.checkersPID, "checkers"))
}

// planStart answers --plan without a daemon.
func (a *app) planStart(ctx context.Context, cfg *config.Config, diags []config.Diagnostic) (answer, error) {
	if d, refused := config.Refused(diags); refused {
		return answer{exitFatal, d.String() + "\n"}, nil
	}
	var mirror *director.Mirror
	var m marks
	var left []firewall.Mark
	if needsKernel(cfg) {
		k, err := a.dial(ctx, netnsFile(cfg.Root.NetNamespaceIPVS))
		if err != nil {
			return answer{}, fmt.Errorf(msgNoIPVS, err)
		}
		defer k.Close()
		mirror = director.NewMirror(k)
	}
	if f := cfg.Global.NFTables; f != nil && f.On {
		defer m.close()
		if err := m.open(a, cfg); err != nil {
			return answer{}, err
		}
		var err error
		if left, err = m.Read(); err != nil {
			return answer{}, err
		}
	}
	var none *director.Director
	next, p := none.Preview(cfg, nil, left)
	p.Marks = m.opts.Lines(left, next.Marks())
	return planned(ctx, mirror, next.Tables(), p)
}

func planned(ctx context.Context, mirror *director.Mirror, want director.Tables, p director.Plan) (answer, error) {
	if mirror != nil {
		ops, err := mirror.Plan(ctx, want)
		if err != nil {
			return answer{}, err
		}
		p.Ops = ops
	}
	if p.Nothing() {
		return answer{exitOK, p.String()}, nil
	}
	return answer{exitChanges, p.String()}, nil
}

// answer works off a request of the control socket.
func (b *balancer) answer(ctx context.Context, q question) {
	ctx, cancel := context.WithTimeout(ctx, kernelTime)
	defer cancel()
	var a answer
	var err error
	switch q.verb {
	case verbPlan:
		a, err = b.planReload(ctx, q.argument)
	case verbForce:
		b.forced = true
	case verbVet:
		_, err = b.vet(ctx, b.opts)
	default:
		err = fmt.Errorf("unknown request '%s'", q.verb)
	}
	if err != nil {
		a = answer{exitFatal, err.Error() + "\n"}
	}
	q.answer <- a
}

// planReload is replace without any change.
func (b *balancer) planReload(ctx context.Context, file string) (answer, error) {
	o := *b.opts
	o.file = file
	cfg, err := b.vet(ctx, &o)
	if err != nil {
		return answer{}, fmt.Errorf("a reload would be refused: %w", err)
	}
	next, p := b.dir.Preview(cfg, b.checks.Status(), nil)
	if b.marks.marker != nil {
		have, err := b.marks.Read()
		if err != nil {
			return answer{}, err
		}
		p.Marks = b.marks.opts.Lines(have, next.Marks())
	}
	return planned(ctx, b.mirror, next.Tables(), p)
}

// reloadDaemon is --reload, which asks the daemon first whether it would take
// the configuration over, and --force-reload, which allows it any number of
// changes.
func (a *app) reloadDaemon(ctx context.Context, o *options) int {
	verb := verbVet
	if o.forceReload {
		verb = verbForce
	}
	err := a.askReload(ctx, o, verb)
	if err != nil {
		fmt.Fprintf(a.stderr, "%v\n", err)
		return exitFatal
	}
	return exitOK
}

func (a *app) askReload(ctx context.Context, o *options, verb string) error {
	cfg, _, err := config.Load(ctx, o.file, a.config)
	if err != nil {
		return line(fmt.Sprintf(msgNoFile, err))
	}
	got, err := ask(ctx, a.controlOf(o, cfg), verb)
	if err != nil {
		return err
	}
	if got.code != exitOK {
		return errors.New(strings.TrimSpace(got.text))
	}
	file := placeOf(o, &cfg.Root).pidFile(o.pidFile, "keepalived")
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || pid <= 1 {
		return fmt.Errorf("%s: '%s' is not the number of a process", file, strings.TrimSpace(string(text)))
	}
	if err := a.kill(pid, syscall.SIGHUP); err != nil {
		return fmt.Errorf("process %d: %w", pid, err)
	}
	return nil
}
