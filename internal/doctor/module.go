// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/lvs-fnat/lvs/internal/director"
	"github.com/lvs-fnat/lvs/ipvs"
)

// moduleFiles are where DKMS, and who installs by hand, put a module that goes
// before the kernel's own.
var moduleFiles = []string{"updates/dkms/ip_vs.ko*", "updates/ip_vs.ko*", "extra/ip_vs.ko*"}

// installed returns the file of our ip_vs for a kernel, "" if there is none.
func (e *exam) installed(release string) string {
	for _, p := range moduleFiles {
		if found := e.glob("lib/modules/" + release + "/" + p); len(found) > 0 {
			return "/" + found[0]
		}
	}
	return ""
}

// line gives 6.12 for 6.12.117+deb12-amd64.
func line(release string) string {
	part := strings.SplitN(release, ".", 3)
	if len(part) < 2 {
		return release
	}
	return part[0] + "." + part[1]
}

// build says how to get our module for a kernel.
func (e *exam) build(release string) string {
	if l := line(release); l != "6.1" && l != "6.12" {
		return "boot a kernel 6.1 or 6.12 of Debian: the module is for these"
	}
	var missing []string
	if len(e.glob("usr/lib/lvs-dkms/dkms-build"))+len(e.glob("usr/local/lib/lvs-dkms/dkms-build")) == 0 {
		missing = append(missing, "lvs-dkms")
	}
	if _, ok := e.read("lib/modules/" + release + "/build/include/config/auto.conf"); !ok {
		missing = append(missing, "linux-headers-"+release)
	}
	if source := "linux-source-" + line(release); len(e.glob("usr/src/"+source+".tar.xz")) == 0 {
		missing = append(missing, source)
	}
	if len(missing) > 0 {
		return "install " + strings.Join(missing, ", ") + "; the module is built then"
	}
	version := "VERSION"
	if found := e.glob("usr/src/lvs-[0-9]*"); len(found) > 0 {
		version = strings.TrimPrefix(path.Base(found[len(found)-1]), "lvs-")
	}
	return "run 'dkms-build lvs " + version + " " + release + "' in " + path.Dir("/"+e.glob("usr/*lib/lvs-dkms/dkms-build")[0]) + ": it builds the module, or says why it cannot"
}

// reload says how to have the file of ours in place of what is loaded.
func (e *exam) reload() string {
	holders := e.glob("sys/module/ip_vs/holders/*")
	for i := range holders {
		holders[i] = path.Base(holders[i])
	}
	return "stop keepalived, then: ipvsadm --clear; modprobe -r " + strings.Join(append(holders, "ip_vs"), " ") + "; modprobe ip_vs"
}

// module looks at the kernel: which ip_vs it has, and which it gets.
func (e *exam) module() {
	e.ext = len(director.Lacking(e.cfg, ipvs.Info{})) > 0
	file := e.installed(e.release)
	err := e.sys.TablesError
	if err == nil {
		e.running, err = e.sys.Tables.Info(e.ctx)
	}
	switch {
	case errors.Is(err, ipvs.ErrNoIPVS):
		e.notLoaded(file)
	case err != nil:
		e.add("module", Error, "run it as root", "the running ip_vs does not answer: %v", err)
	case e.running.Extended == nil:
		e.stock(file)
	default:
		e.ours(e.running, file)
	}
	e.otherKernels()
}

func (e *exam) notLoaded(file string) {
	release := e.release
	dep, ok := e.read("lib/modules/" + release + "/modules.dep")
	builtin, _ := e.read("lib/modules/" + release + "/modules.builtin")
	switch {
	case !ok:
		e.add("module", Error, "install the package linux-image-"+release+", or boot the kernel that is installed",
			"ip_vs is not loaded, and Linux %s has no modules here", release)
	case !strings.Contains(dep, "/ip_vs.ko") && !strings.Contains(builtin, "/ip_vs.ko"):
		e.add("module", Error, "boot a kernel with ip_vs, such as linux-image-cloud-amd64", "Linux %s has no ip_vs", release)
	case file == "" && e.ext:
		e.lacking(ipvs.Info{}, e.build(release), "ip_vs is not loaded, and Linux "+release+" has only its own")
	case file == "":
		e.add("module", OK, "", "ip_vs is not loaded yet; keepalived loads the kernel's own, which serves what is configured")
	default:
		e.add("module", OK, "", "ip_vs is not loaded yet; keepalived loads %s", file)
	}
}

func (e *exam) stock(file string) {
	const seen = "the kernel's own ip_vs is loaded"
	remedy := e.build(e.release)
	if file != "" {
		remedy = e.reload()
	}
	switch {
	case e.ext:
		e.lacking(ipvs.Info{}, remedy, seen)
	case file != "":
		e.add("module", Note, remedy+"; or reboot", "%s, though %s is installed", seen, file)
	default:
		e.add("module", OK, "", "%s, and serves what is configured", seen)
	}
}

// ours looks at features, and at what the next boot will load.
func (e *exam) ours(info ipvs.Info, file string) {
	e.lacking(info, "update lvs-dkms, then "+e.reload(), "ip_vs "+info.Extended.Build+" is loaded")
	if file == "" {
		e.add("module", Warning, e.build(e.release), "the ip_vs with FNAT is loaded, but there is no file of it for Linux %s: the kernel's own comes back with the next boot", e.release)
		return
	}
	e.add("module", OK, "", "ip_vs %s is loaded, of %s; it has %s", info.Extended.Build, file, strings.Join(ipvs.FeatureNames(info.Extended.Features), " "))
}

// lacking is one finding for each thing that the kernel has not, or for all of
// them if it has none.
func (e *exam) lacking(info ipvs.Info, remedy, seen string) {
	all := director.Lacking(e.cfg, info)
	if info.Extended == nil && len(all) > 0 {
		var words []string
		for _, l := range all {
			words = append(words, l.Word)
		}
		e.add("module", Error, remedy, "%s: it has no %s, which %s (%s)%s", seen, strings.Join(words, ", "), needed(all[0]), at(all[0].First.Pos), others(all[0].More))
		return
	}
	for _, l := range all {
		e.add("module", Error, remedy, "%s: it has no %s, which %s (%s)%s", seen, l.Word, needed(l), at(l.First.Pos), others(l.More))
	}
}

func needed(l director.Lack) string {
	verb := "needs"
	if l.More > 0 {
		verb = "need"
	}
	return "virtual server " + l.First.Name + " " + verb
}

func others(n int) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", and %d more", n)
}

// otherKernels names installed kernels that would come up without our module.
func (e *exam) otherKernels() {
	if !e.ext {
		return
	}
	var bare []string
	for _, dep := range e.glob("lib/modules/*/modules.dep") {
		release := path.Base(path.Dir(dep))
		if release != e.release && e.installed(release) == "" {
			bare = append(bare, release)
		}
	}
	slices.Sort(bare)
	for _, release := range bare {
		e.add("kernels", Warning, e.build(release), "Linux %s is installed without our ip_vs: after a boot into it what FNAT serves is down", release)
	}
	if len(bare) == 0 {
		e.add("kernels", OK, "", "no kernel is installed that would come up without our ip_vs")
	}
}
