// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/lvs-fnat/lvs/ipvs"
)

// listExtStats is -L --stats-ext: the counters of the extension, of the network
// namespace and then of each service that has any; or of one service.
func (a *app) listExtStats(ctx context.Context, c *call) error {
	if err := a.needExt(ctx); err != nil {
		return err
	}
	l := a.lister(c)
	var services []ipvs.Service
	var total ipvs.ExtStats
	var err error
	if c.set.has(colService) {
		s, err := a.kernel.Service(ctx, c.service.ServiceKey)
		if err != nil {
			return destsFailed(err)
		}
		services = []ipvs.Service{s}
	} else {
		if total, err = a.kernel.ExtStats(ctx); err != nil {
			return listFailed(err)
		}
		if services, err = a.kernel.Services(ctx); err != nil {
			return listFailed(err)
		}
		sortServices(services)
	}
	if c.set.has(colJSON) {
		return l.extStatsJSON(ctx, services, total)
	}
	if total != nil {
		l.extCounters("all", total, true)
	}
	for i := range services {
		stats, err := a.kernel.ServiceExtStats(ctx, services[i].ServiceKey)
		if err != nil {
			return listFailed(err)
		}
		if c.set.has(colService) || someCount(stats) {
			l.extCounters(l.serviceName(ctx, &services[i]), stats, c.set.has(colService))
		}
	}
	return nil
}

func someCount(stats ipvs.ExtStats) bool {
	for _, n := range stats {
		if n != 0 {
			return true
		}
	}
	return false
}

// extCounters writes a title and a line for each counter; those that are zero
// only if all are wanted.
func (l *lister) extCounters(title string, stats ipvs.ExtStats, all bool) {
	fmt.Fprintf(l.w, "%s\n", title)
	for _, n := range slices.Sorted(maps.Keys(stats)) {
		if all || stats[n] != 0 {
			fmt.Fprintf(l.w, "  %-20s %d\n", ipvs.ExtStatName(n), stats[n])
		}
	}
}

type jsonExtStats struct {
	jsonKey
	Counters map[string]uint64 `json:"counters"`
}

// extStatsJSON has all counters of all services; total is null if only one
// service was asked for.
func (l *lister) extStatsJSON(ctx context.Context, services []ipvs.Service, total ipvs.ExtStats) error {
	doc, err := newJSONDoc(l.w, "service_counters", jsonMember{"counters", countersOf(total)})
	if err != nil {
		return err
	}
	for _, s := range services {
		stats, err := l.kernel.ServiceExtStats(ctx, s.ServiceKey)
		if err != nil {
			return listFailed(err)
		}
		if err := doc.add(jsonExtStats{keyOf(s.ServiceKey), countersOf(stats)}); err != nil {
			return err
		}
	}
	doc.end()
	return nil
}

func countersOf(stats ipvs.ExtStats) map[string]uint64 {
	if stats == nil {
		return nil
	}
	m := make(map[string]uint64, len(stats))
	for n, v := range stats {
		m[ipvs.ExtStatName(n)] = v
	}
	return m
}
