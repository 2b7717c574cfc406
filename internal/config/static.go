// SPDX-License-Identifier: Apache-2.0

package config

import (
	"maps"
	"slices"

	"github.com/lvs-fnat/lvs/parser"
)

var trackGroupKeywords = keywords[TrackGroup]{
	"group": {block: true, read: func(_ *loader, n *parser.Node, g *TrackGroup) {
		g.Instances = append(g.Instances, listWords(n)...)
	}},
}

func readTrackGroup(l *loader, n *parser.Node, c *Config) {
	name, ok := l.word(n, 1, "name of the group")
	if !ok {
		return
	}
	if slices.ContainsFunc(c.VRRP.TrackGroups, func(g TrackGroup) bool { return g.Name == name }) {
		l.warn(n.ArgPos(1), "track_group %s is already defined: this one is ignored", name)
		return
	}
	g := TrackGroup{Pos: n.Pos(), Name: name}
	walk(l, n.Children, "track_group", trackGroupKeywords, &g)
	c.VRRP.TrackGroups = append(c.VRRP.TrackGroups, g)
}

// finishStatic settles what the track groups of static objects refer to.
func (l *loader) finishStatic() {
	v := &l.cfg.VRRP
	groups := map[string]bool{}
	for i := range v.TrackGroups {
		g := &v.TrackGroups[i]
		groups[g.Name] = true
		g.Instances = slices.DeleteFunc(g.Instances, func(name string) bool {
			_, ok := l.vrrp.byName[name]
			if !ok {
				l.error(g.Pos, "track_group %s: no such vrrp_instance %s%s", g.Name, name, defined(maps.Keys(l.vrrp.byName)))
			}
			return !ok
		})
		if len(g.Instances) == 0 {
			l.warn(g.Pos, "track_group %s has no instances: it has no effect", g.Name)
		}
	}
	check := func(at Pos, group *string) {
		if *group != "" && !groups[*group] {
			l.error(at, "track_group %s: no such group%s", *group, defined(maps.Keys(groups)))
			*group = ""
		}
	}
	for i := range v.Static.Addrs {
		check(v.Static.Addrs[i].Pos, &v.Static.Addrs[i].TrackGroup)
	}
	for i := range v.Static.Routes {
		check(v.Static.Routes[i].Pos, &v.Static.Routes[i].TrackGroup)
	}
	for i := range v.Static.Rules {
		check(v.Static.Rules[i].Pos, &v.Static.Rules[i].TrackGroup)
	}
}

// beatMethod reads an optional word from argument i on.
func (l *loader) beatMethod(n *parser.Node, i int) (BeatMethod, bool) {
	if i >= len(n.Words) {
		return 0, true
	}
	k, ok := l.oneOf(n, i, "MII", "ETHTOOL", "IOCTL")
	return BeatMethod(k + 1), ok
}

// readLinkbeat is linkbeat_use_polling for all links.
func readLinkbeat(l *loader, n *parser.Node, c *Config) {
	if m, ok := l.beatMethod(n, 1); ok {
		c.VRRP.Linkbeats = append(c.VRRP.Linkbeats, Linkbeat{Method: m})
	}
}

// readLinkbeats takes lines of IFNAME [METHOD].
func readLinkbeats(l *loader, n *parser.Node, c *Config) {
	for _, line := range n.Children {
		if m, ok := l.beatMethod(line, 1); ok && line.Key() != "" {
			c.VRRP.Linkbeats = append(c.VRRP.Linkbeats, Linkbeat{Interface: line.Key(), Method: m})
		}
	}
}

// Beat tells how to ask for the state of a link, if it is to be asked for: what is
// said of it alone wins over what is said of all.
func (v *VRRP) Beat(link string) (m BeatMethod, ok bool) {
	for _, b := range v.Linkbeats {
		if b.Interface == link {
			return b.Method, true
		}
		if b.Interface == "" {
			m, ok = b.Method, true
		}
	}
	return m, ok
}
