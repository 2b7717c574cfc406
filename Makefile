# SPDX-License-Identifier: Apache-2.0
# Quiet by default; V=1 shows each command. `make help` prints the targets.

KVER    ?= all
export LVS_CACHE ?= $(or $(XDG_CACHE_HOME),$(HOME)/.cache)/lvs-fnat
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo unknown)
GOFLAGS_STATIC = -trimpath -ldflags '-s -w -X main.version=$(VERSION) $(LINK)'
# where `make install` puts things, below DESTDIR
export VERSION DESTDIR PREFIX BINDIR SBINDIR SYSCONFDIR UNITDIR
PREFIX     ?= /usr/local
BINDIR     ?= $(PREFIX)/bin
SBINDIR    ?= $(PREFIX)/sbin
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
Q       := $(if $(V),,@)
# packages whose tests boot guests: one binary each, without the race detector, the longest first
GUESTS  := ./e2e/... ./internal/testvm/...
UNIT     = $$(go list ./... | grep -vE '/lvs/(internal/testvm|e2e)')
kernels  = $(if $(filter all,$(KVER)),$(shell awk '/^[0-9]/ {print $$1}' kmod/kernels),$(KVER))
# each-kernel TARGET: make it in kmod for each of them
each-kernel = $(Q)set -e; for k in $(kernels); do $(MAKE) $(if $(V),,-s) -C kmod --no-print-directory KVER=$$k V=$(V) $(1); done

# what stands on one line is done in that order; kmod uses both processors by itself
.NOTPARALLEL:
.PHONY: all help deps kmod test demo lab bench lint race install dkms-install dkms-check deb sanitize clean bin/ipvsadm bin/keepalived bin/toa-bpf

all: bin/ipvsadm bin/keepalived bin/toa-bpf	## build the commands, static, into bin/

# It ends before a huge page has paid: without, it takes half the memory (docs/scaling.md).
bin/ipvsadm: LINK = -X runtime.godebugDefault=disablethp=1
bin/ipvsadm bin/keepalived:
	$(Q)CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o $@ ./$(@F)
bin/toa-bpf:
	$(Q)CGO_ENABLED=0 go build $(GOFLAGS_STATIC) -o $@ ./kmod/toa/bpf

deps:	## install what the host needs; unpack kernels and guests' programs into the cache
	$(Q)packaging/fetch.sh all

kmod:	## build ip_vs.ko and toa.ko for KVER=<release> (default: all of kmod/kernels)
	$(call each-kernel,all)

test: deps all kmod	## run every test, those in guests included
	$(Q)go run ./internal/testsum -race $(UNIT) -- $(GUESTS)

demo: deps all kmod	## show FNAT at work in a guest: nginx, curl, keepalived
	$(Q)go run ./e2e/demo

lab: deps all kmod	## open a shell in a guest with client, director and two real servers
	$(Q)go run ./internal/testvm/lab

bench: deps all kmod	## print what packets, batches, ipvsadm and health checks cost (docs/scaling.md)
	$(Q)cd e2e/bench && LVS_BENCH=1 go test -count=1 -timeout 60m -run 'TestGuests(Table|Load)'
	$(Q)go test -count=1 -v -run 'TestGuestsClient/.*/BatchIsCheap' ./e2e
	$(Q)LVS_BENCH=1 go test -count=1 -timeout 60m -v -run 'TestGuestsIpvsadm/.*/stock/TestCosts' ./e2e/ipvsadm
	$(Q)LVS_BENCH=1 go test -count=1 -v -run 'TestScale' ./healthcheck
	$(Q)LVS_BENCH=1 go test -count=1 -v -run 'TestCostOf' ./keepalived
	$(Q)LVS_BENCH=1 go test -count=1 -v -run 'TestGuestsServers/Test(CostOf|ServersSamples)' ./e2e/checks
	$(Q)LVS_BENCH=1 go test -count=1 -v -run 'TestBench$$' ./e2e/vrrp

lint: deps	## gofmt, vet, staticcheck; checkpatch and sparse over kmod/
	$(Q)bad=$$(gofmt -l .) && test -z "$$bad" || { echo "gofmt: $$bad" >&2; exit 1; }
	$(Q)go vet ./... && go tool staticcheck ./...
	$(call each-kernel,check)

race:	## the unit tests alone, with the race detector
	$(Q)go run ./internal/testsum -race $(UNIT) --

install: all	## install commands, manuals, units; DESTDIR, PREFIX, BINDIR, SBINDIR, SYSCONFDIR, UNITDIR
	$(Q)packaging/install.sh commands

dkms-install:	## install ip_vs.ko and toa.ko by DKMS, for this and later kernels
	$(Q)packaging/install.sh modules

deb: all	## make the packages, into bin/deb
	$(Q)packaging/deb.sh $(VERSION) bin/deb

dkms-check: all	## build by DKMS for every kernel that Debian has headers for: half an hour
	$(Q)LVS_DKMS=all go test -count=1 -timeout 3h -v -run TestDKMS ./e2e/install

sanitize: deps bin/ipvsadm	## run guest tests on a kernel with KASAN, UBSAN, lockdep; builds it first: 15 minutes, once
	$(Q)kmod/sanitize/build.sh
	$(Q)cd kmod && for m in ip_vs ip_vs_x_plant; do ARCH=um ./kbuild.sh $$(readlink $(LVS_CACHE)/kernel/6.1-sanitize) $$m || exit 1; done
	$(Q)LVS_SANITIZE=1 go test -count=1 -timeout 60m -v -run TestGuestsSanitize ./e2e

clean:	## remove what was built; the cache stays
	$(Q)rm -rf bin kmod/build kmod/test/user/build

help:	## this list
	@awk -F ':.*##[ \t]*' '/^[a-z].*:.*##/ {sub(/:.*/, "", $$1); split($$0, a, "## *"); printf "  %-12s %s\n", $$1, a[2]}' $(MAKEFILE_LIST)
