// SPDX-License-Identifier: Apache-2.0

package vrouter

import (
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/internal/agentx"
	"github.com/lvs-fnat/lvs/internal/config"
)

// Where the kinds of tracked objects are, for instances and for groups.
var trackTables = map[string]struct{ instances, groups uint32 }{
	kindInterface: {4, 14}, kindScript: {5, 15}, kindFile: {12, 16}, kindSession: {17, 19}, kindProcess: {20, 22},
}

// trackTable describes what instances or groups track of one kind. Rows are numbered,
// those of interfaces too, as by the original, for all that its MIB says ifIndex; only
// the others have a column for that.
func trackTable(id uint32, numbered bool) *agentx.Table[config.Tracked] {
	first := uint32(1)
	if numbered {
		first = 2
	}
	return &agentx.Table[config.Tracked]{Entry: vrrpObjects.Append(id, 1), Columns: []agentx.Column[config.Tracked]{
		{ID: first, Value: func(t config.Tracked) agentx.Value { return agentx.Octets(t.Name) }},
		{ID: first + 1, Value: func(t config.Tracked) agentx.Value { return agentx.Integer(t.Weight) }},
		{ID: first + 2, Value: func(t config.Tracked) agentx.Value { return agentx.Truth(t.Reverse) }},
	}}
}

// scriptRow is one vrrp_script.
type scriptRow struct {
	cfg       config.TrackScript
	known, up bool
	ran       bool
}

// The numbers of vrrpScriptResult.
const (
	scriptInit       = 1
	scriptBad        = 2
	scriptGood       = 3
	scriptInitFailed = 5
)

var scriptTable = agentx.Table[scriptRow]{Entry: vrrpObjects.Append(9, 1), Columns: []agentx.Column[scriptRow]{
	{ID: 2, Value: func(r scriptRow) agentx.Value { return agentx.Octets(r.cfg.Name) }},
	{ID: 3, Value: func(r scriptRow) agentx.Value { return agentx.Text(command(r.cfg.Script)) }},
	{ID: 4, Value: func(r scriptRow) agentx.Value { return agentx.Integer(int(r.cfg.Interval.Seconds())) }},
	{ID: 5, Value: func(r scriptRow) agentx.Value { return agentx.Integer(r.cfg.Weight) }},
	{ID: 6, Value: func(r scriptRow) agentx.Value {
		switch {
		case !r.known:
			return agentx.Integer(scriptInit)
		case r.up:
			return agentx.Integer(scriptGood)
		case !r.ran && r.cfg.InitFail:
			return agentx.Integer(scriptInitFailed)
		}
		return agentx.Integer(scriptBad)
	}},
	{ID: 7, Value: func(r scriptRow) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Rise)) }},
	{ID: 8, Value: func(r scriptRow) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Fall)) }},
	{ID: 9, Value: func(r scriptRow) agentx.Value { return agentx.Truth(r.cfg.Reverse) }},
}}

// fileRow is one track_file.
type fileRow struct {
	cfg   config.TrackFile
	value int
}

var fileTable = agentx.Table[fileRow]{Entry: vrrpObjects.Append(13, 1), Columns: []agentx.Column[fileRow]{
	{ID: 2, Value: func(r fileRow) agentx.Value { return agentx.Octets(r.cfg.Name) }},
	{ID: 3, Value: func(r fileRow) agentx.Value { return agentx.Octets(r.cfg.Path) }},
	{ID: 4, Value: func(r fileRow) agentx.Value { return agentx.Integer(r.value) }},
	{ID: 5, Value: func(r fileRow) agentx.Value { return agentx.Integer(r.cfg.Weight) }},
	{ID: 6, Value: func(r fileRow) agentx.Value { return agentx.Truth(r.cfg.Reverse) }},
}}

// sessionRow is one bfd_instance that the routers hear of.
type sessionRow struct {
	cfg *config.BFDInstance
	up  bool
}

var sessionTable = agentx.Table[sessionRow]{Entry: vrrpObjects.Append(18, 1), Columns: []agentx.Column[sessionRow]{
	{ID: 2, Value: func(r sessionRow) agentx.Value { return agentx.Octets(r.cfg.Session.Name) }},
	{ID: 3, Value: func(r sessionRow) agentx.Value { return agentx.Integer(number(r.up)) }},
	{ID: 4, Value: func(r sessionRow) agentx.Value { return agentx.Integer(r.cfg.Weight) }},
	{ID: 5, Value: func(r sessionRow) agentx.Value { return agentx.Truth(r.cfg.Reverse) }},
}}

// paramMatches are the numbers of the original, which are not those of its MIB's words.
var paramMatches = map[string]int{"": 0, "exact": 1, "initial": 2, "partial": 3}

var processObjects = agentx.Table[processState]{Entry: vrrpObjects.Append(21, 1), Columns: []agentx.Column[processState]{
	{ID: 2, Value: func(r processState) agentx.Value { return agentx.Octets(r.cfg.Name) }},
	{ID: 3, Value: func(r processState) agentx.Value { return agentx.Octets(r.cfg.Process) }},
	{ID: 4, Value: func(r processState) agentx.Value { return agentx.Octets(strings.Join(r.cfg.Params, " ")) }},
	{ID: 5, Value: func(r processState) agentx.Value { return agentx.Integer(paramMatches[r.cfg.ParamMatch]) }},
	{ID: 6, Value: func(r processState) agentx.Value { return agentx.Integer(r.cfg.Weight) }},
	{ID: 7, Value: func(r processState) agentx.Value { return agentx.Truth(r.cfg.Reverse) }},
	{ID: 8, Value: func(r processState) agentx.Value { return agentx.Gauge32(uint64(r.cfg.Quorum)) }},
	{ID: 9, Value: func(r processState) agentx.Value {
		if r.cfg.QuorumMax >= anyNumber {
			return agentx.Integer(-1)
		}
		return agentx.Integer(r.cfg.QuorumMax)
	}},
	{ID: 10, Value: func(r processState) agentx.Value { return agentx.Gauge32(uint64(r.cfg.ForkDelay.Microseconds())) }},
	{ID: 11, Value: func(r processState) agentx.Value { return agentx.Gauge32(uint64(r.cfg.TerminateDelay.Microseconds())) }},
	{ID: 12, Value: func(r processState) agentx.Value { return agentx.Truth(r.cfg.FullCommand) }},
	{ID: 13, Value: func(r processState) agentx.Value { return agentx.Integer(r.count) }},
	{ID: 14, Value: func(r processState) agentx.Value { return agentx.Truth(r.up) }},
}}

// addTracks adds what is tracked, and who tracks it. Objects that nobody tracks have no
// rows, scripts excepted.
func (e *Engine) addTracks(v *agentx.View) {
	t := &e.tracks
	for kind, table := range trackTables {
		of := func(tr *config.Track) []config.Tracked {
			switch kind {
			case kindInterface:
				return tr.Interfaces
			case kindScript:
				return tr.Scripts
			case kindFile:
				return tr.Files
			case kindSession:
				return tr.Sessions
			}
			return tr.Processes
		}
		add := func(id uint32, each func(func(owner uint32, tr *config.Track))) {
			var rows []agentx.Row[config.Tracked]
			each(func(owner uint32, tr *config.Track) {
				n := uint32(0)
				for _, x := range of(tr) {
					if x.Implied {
						continue
					}
					n++
					rows = append(rows, agentx.Row[config.Tracked]{Index: agentx.OID{owner, n}, Of: x})
				}
			})
			agentx.Add(v, trackTable(id, kind != kindInterface), rows)
		}
		add(table.instances, func(do func(uint32, *config.Track)) {
			for i, in := range e.instances() {
				do(number1(i), &in.cfg.Track)
			}
		})
		add(table.groups, func(do func(uint32, *config.Track)) {
			for i := range e.cfg.VRRP.Groups {
				do(number1(i), &e.cfg.VRRP.Groups[i].Track)
			}
		})
	}
	var scripts []agentx.Row[scriptRow]
	for i, c := range e.cfg.VRRP.Scripts {
		r := scriptRow{cfg: c}
		if s := t.scripts[c.Name]; s != nil {
			r.known, r.up, r.ran = s.known, s.up, s.last >= 0
		}
		scripts = append(scripts, agentx.Row[scriptRow]{Index: agentx.OID{number1(i)}, Of: r})
	}
	agentx.Add(v, &scriptTable, scripts)
	var files []agentx.Row[fileRow]
	for _, c := range e.cfg.TrackFiles {
		if slices.Contains(t.files.paths[c.Path], c.Name) {
			files = append(files, agentx.Row[fileRow]{Index: agentx.OID{number1(len(files))}, Of: fileRow{c, t.files.value(c.Name)}})
		}
	}
	agentx.Add(v, &fileTable, files)
	var sessions []agentx.Row[sessionRow]
	for i := range e.cfg.BFD.Sessions {
		if c := &e.cfg.BFD.Sessions[i]; c.VRRP {
			sessions = append(sessions, agentx.Row[sessionRow]{Index: agentx.OID{number1(len(sessions))}, Of: sessionRow{c, t.sessions[c.Session.Name]}})
		}
	}
	agentx.Add(v, &sessionTable, sessions)
	var processes []agentx.Row[processState]
	for i, s := range t.processes.list {
		processes = append(processes, agentx.Row[processState]{Index: agentx.OID{number1(i)}, Of: *s})
	}
	agentx.Add(v, &processObjects, processes)
}
