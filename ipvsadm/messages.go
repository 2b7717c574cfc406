// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"
	"syscall"

	"github.com/lvs-fnat/lvs/ipvs"
)

// The texts below are what scripts match on: those of ipvsadm 1.31 to the
// byte, as recorded, its quotes and its slips included.
const (
	msgTry            = "Try `%s -h' or '%[1]s --help' for more information."
	msgNeedOption     = "You need to supply the '%s' option for the '%s' command"
	msgIllegalOption  = "Illegal '%s' option with the '%s' command"
	msgConflict       = "The option '%s' conflicts with the '%s' option in the '%s' command"
	msgTunNeed        = "You need to supply the '%s' option for the '%s' tunnel type"
	msgTunIllegal     = "Illegal '%s' option with the '%s' tunnel type"
	msgTunConflict    = "The option '%s' conflicts with the '%s' option in the '%s' tunnel type"
	msgMultiple       = "multiple '%s' options specified"
	msgInvalidOption  = "invalid option `%s'"
	msgUnexpected     = "unexpected argument %s"
	msgStartDaemon    = "illegal start-daemon parameter specified"
	msgStopDaemon     = "illegal start_daemon specified"
	msgSetValues      = "--set option requires 3 timeout values"
	msgService        = "illegal virtual server address[:port] specified"
	msgServer         = "illegal real server address[:port] specified"
	msgMask           = "illegal virtual server persistent mask specified"
	msgMask6          = "illegal ipv6 netmask specified"
	msgFWMark         = "invalid fwmark value `%s' specified"
	msgTimeout        = "invalid timeout value `%s' specified"
	msgWeight         = "illegal weight specified"
	msgUThreshold     = "illegal u_threshold specified"
	msgLThreshold     = "illegal l_threshold specified"
	msgSyncID         = "illegal syncid specified"
	msgMcastPort      = "illegal mcast-port specified"
	msgMcastTTL       = "illegal mcast-ttl specified"
	msgSyncMaxLen     = "illegal sync-maxlen specified"
	msgMcastGroup4    = "invalid IPv4 mcast-group `%s'"
	msgMcastGroup6    = "invalid IPv6 mcast-group `%s'"
	msgTunType        = "illegal tunnel type specified"
	msgTunPort        = "illegal tunnel port specified"
	msg6BeforeF       = "-6 used before -f\n"
	msgSchedFlag      = "invalid scheduler flag `%s'"
	msgSchedFlagOther = "incompatible scheduler flag `%s'"
	msgZeroPort       = "Zero port specified for non-persistent service"
	msgOps            = "One-Packet Scheduling is only for UDP virtual services"
	msgFamilies       = "Different address family is allowed only for tunneling servers"
	msgTunForward     = "Tunnel options conflict with forward method"
	msgListConflict   = "options conflicts in the list command"
	msgInit           = "Can't initialize ipvs: %s\nAre you sure that IP Virtual Server is built in the kernel or as module?"
	msgConnOpen       = "cannot open file %s"
	msgConnInput      = "unexpected input from %s"
)

// Texts of our own.
const (
	msgNoExt          = "FNAT is not in the running ip_vs module; install the package lvs-dkms and load its ip_vs"
	msgLaddr          = "illegal local address[:min-max] specified: `%s' (as 10.0.0.1, 10.0.0.1:1024-32767 or [2001:db8::1]:1024-32767)"
	msgLGroup         = "illegal lgroup name `%s': 1 to %d bytes, no blanks"
	msgLaddrFlags     = "invalid laddr flag `%s': use no-new, foreign, force or none"
	msgCPUs           = "illegal laddr-cpus `%s': a list as 0-3,8"
	msgTOAKind        = "illegal %s specified: `%s' (9 to 254)"
	msgTimestamps     = "illegal timestamps mode `%s': use keep, strip or rebase"
	msgMSS            = "illegal mss specified: `%s' (88 to 65495, or 0 for none)"
	msgLaddrSelect    = "illegal laddr-select `%s': use rr, source or cpu"
	msgSynproxy       = "illegal synproxy mode `%s': use enable, disable or auto"
	msgSPEarly        = "illegal synproxy-early mode `%s': use off, on or auto"
	msgNumber         = "illegal %s specified: `%s' (%d to %d)"
	msgSPMSS          = "illegal synproxy-mss specified: `%s' (88 to 65495, or 0 for none)"
	msgSPWScale       = "illegal synproxy-wscale specified: `%s' (0 to 14, or off)"
	msgSPOpts         = "invalid option of cookies `%s': use sack, no-sack, ts or no-ts"
	msgInvalid        = "illegal policy `%s': use accept, drop or rst"
	msgSPAuto         = "synproxy-auto-off must be less than synproxy-auto-on"
	msgSPDefer        = "synproxy-defer waits for data, which synproxy-window 0 forbids"
	msgSPServer       = "SYNPROXY needs NAT or FNAT real servers; use -m or -b, or switch it off: -E %s --synproxy disable"
	msgACL            = "illegal acl mode `%s': use white, black or off"
	msgIPSet          = "illegal %s `%s': the name of an ipset, at most %d bytes, no blanks"
	msgOneClient      = "The 'explain' command needs one client: --client ADDRESS or ADDRESS:PORT"
	msgClientFamily   = "the client and the service have different address families"
	msgBy             = "illegal key `%s': use cps, pps, bps or conns"
	msgKillAll        = "The 'kill' command needs a filter; that of all connections is --client 0.0.0.0/0 or --client ::/0"
	msgCookieKey      = "%s: %v"
	msgNothingSet     = "The '%s' command needs an option that says what to set"
	msgLine           = "line %d: %s"
	msgNoTables       = "standard input says nothing, and nothing is done; the line -C alone empties the tables"
	msgNotAtomic      = "the '%s' command describes no table and cannot stand in the input of --atomic"
	msgLaddrFamily    = "the local address and the service have different address families"
	msgLaddrElsewhere = "Local address %s is in group %s already; share that with --lgroup %[2]s"
	msgNet            = "illegal %s specified: `%s' (as 10.0.0.1, 10.0.0.0/8:80, 2001:db8::/32, [2001:db8::1]:80 or :80)"
	msgNetFamily      = "%s `%s' is of another address family than the options before it"
	msgState          = "illegal state `%s': use of these, with commas: %s"
	msgProtocol       = "illegal protocol `%s': use tcp, udp or sctp"
	msgOldKernel      = "Warning: IPVS version mismatch: \n  Kernel compiled with IPVS version %s\n  ipvsadm v1.31  requires minimum IPVS version 1.1.4\n"
)

// version is what -v prints; set by the linker.
var version = "devel"

const versionLine = "ipvsadm v1.31 (lvs-fnat %s, speaks to IPVS v1.2.1 and IPVS_EXT %d)\n"

const synopsis = `Usage:
  $0 -A|E VIRTUAL-SERVICE [-s scheduler] [-p [seconds]] [-M mask] [--pe name] [-o] [-b flags] [FNAT options]
  $0 -D VIRTUAL-SERVICE
  $0 -a|e VIRTUAL-SERVICE -r address[:port] [-g|-i|-m|--fullnat] [tunnel options] [-w N] [-x N] [-y N]
  $0 -d VIRTUAL-SERVICE -r address[:port]
  $0 -P|Q VIRTUAL-SERVICE|--lgroup NAME -z address[:min-max]
  $0 -G [VIRTUAL-SERVICE|--lgroup NAME] [-n]
  $0 -L|l [VIRTUAL-SERVICE] [-n] [-X] [--json] [--stats|--rate|--thresholds|--persistent-conn|--tun-info|-c [filters]|--timeout|--daemon|--ext]
  $0 -Z [VIRTUAL-SERVICE]
  $0 --kill filters
  $0 --explain VIRTUAL-SERVICE --client address[:port] [--json]
  $0 --top [VIRTUAL-SERVICE] [-n] [--by key] [--interval seconds] [--count n]
  $0 --set-ext [options of the module]
  $0 -C | -R [--atomic [--dry-run]] | -S [-n]
  $0 --set tcp tcpfin udp
  $0 --start-daemon|--stop-daemon master|backup [daemon options]
  $0 -h | -v
VIRTUAL-SERVICE: -t|-u|--sctp-service address[:port], or -f mark [-6]
`

// failure is the end of one call: what to print and how to exit.
type failure struct {
	code int // 1 a listing failed, 2 refused by us, 255 by the kernel or the scanner
	text string
	ends bool // ends a restore too
	err  error
}

func (f *failure) Error() string { return f.text }
func (f *failure) Unwrap() error { return f.err }

// usagef is a call that we refuse.
func usagef(format string, args ...any) error {
	return &failure{code: 2, text: fmt.Sprintf(format, args...), ends: true}
}

// commandTexts names the errors that mean something special to a command.
var commandTexts = [...]struct {
	cmd   command
	errno syscall.Errno
	text  string
}{
	{cmdAdd, syscall.ENOENT, "Scheduler or persistence engine not found"},
	{cmdAdd, syscall.EEXIST, "Service already exists"},
	{cmdEdit, syscall.ENOENT, "Scheduler or persistence engine not found"},
	{cmdEdit, syscall.ESRCH, "No such service"},
	{cmdDelete, syscall.ESRCH, "No such service"},
	{cmdZero, syscall.ESRCH, "No such service"},
	{cmdAddDest, syscall.ESRCH, "Service not defined"},
	{cmdAddDest, syscall.EEXIST, "Destination already exists"},
	{cmdEditDest, syscall.ESRCH, "Service not defined"},
	{cmdEditDest, syscall.ENOENT, "No such destination"},
	{cmdDelDest, syscall.ESRCH, "Service not defined"},
	{cmdDelDest, syscall.ENOENT, "No such destination"},
	{cmdStartDaemon, syscall.EEXIST, "Daemon has already run"},
	{cmdStopDaemon, syscall.ESRCH, "No daemon is running"},
	{cmdAddLaddr, syscall.ESRCH, "Service not defined"},
	{cmdAddLaddr, syscall.EEXIST, "Local address already exists"},
	{cmdDelLaddr, syscall.ESRCH, "Service not defined"},
	{cmdDelLaddr, syscall.ENOENT, "No such local address"},
	{cmdGetLaddr, syscall.ESRCH, "No such service"},
	{cmdGetLaddr, syscall.ENOENT, "No such local address group"},
}

// commandText is empty for an error that means nothing special.
func commandText(cmd command, errno syscall.Errno) string {
	for i := range commandTexts {
		if t := &commandTexts[i]; t.cmd == cmd && t.errno == errno {
			return t.text
		}
	}
	return ""
}

// generalText is empty for an error whose text is the C library's.
func generalText(errno syscall.Errno) string {
	switch errno {
	case syscall.EPERM:
		return "Permission denied (you must be root)"
	case syscall.EINVAL:
		return "Invalid operation.  Possibly wrong module version, address not unicast, ..."
	case syscall.ENOPROTOOPT:
		return "Protocol not available"
	case syscall.ENOMEM:
		return "Memory allocation problem"
	case syscall.EOPNOTSUPP:
		return "Operation not supported with IPv6"
	case syscall.EAFNOSUPPORT:
		return "Operation not supported with specified address family"
	case syscall.EMSGSIZE:
		return "Module is wrong version"
	}
	return ""
}

// kernelText is the line that cmd prints for an error of the kernel.
func kernelText(cmd command, err error) string {
	var errno syscall.Errno
	switch {
	case errors.Is(err, ipvs.ErrNoExt):
		return msgNoExt
	case errors.Is(err, ipvs.ErrNoIPVS):
		return generalText(syscall.ENOPROTOOPT)
	case !errors.As(err, &errno):
		return err.Error()
	}
	if text := cmp.Or(commandText(cmd, errno), generalText(errno)); text != "" {
		return text
	}
	return strerror(errno)
}

// strerror is glibc's text: Go's, which has the first letter lowered, where it has one.
func strerror(errno syscall.Errno) string {
	text := errno.Error()
	switch {
	case errno == syscall.Errno(133): // EHWPOISON
		return "Memory page has hardware error"
	case strings.HasPrefix(text, "errno "):
		return fmt.Sprintf("Unknown error %d", errno)
	}
	return strings.ToUpper(text[:1]) + text[1:]
}

// remedies say what to do about a refusal of the extension, found by how its
// own text begins. In says, $kernel is that text and the other words are what
// the refused request was about.
var remedies = []struct{ begins, says string }{
	{"no such local address group", "$kernel: $group; make it first: -P --lgroup $group -z ADDRESS"},
	{"no such virtual service", "Service not defined"},
	{"no such local address in the group", "No such local address"},
	{"local address group exists", "Local address group already exists"},
	{"address is in the group already", "Local address already exists"},
	{"used by ", "local address group $group is $kernel; detach them first: -E SERVICE --lgroup ''"},
	{"local address group is ", "$kernel; use a group of the same address family"},
	{"a group name is ", "$kernel: $group"},
	{"too many local addresses", "$kernel; add the others to another group, for other services"},
	{"not a unicast address", "$kernel: $address; use an address of this host"},
	{"not a global unicast address", "$kernel: $address; use an address of this host that is not link-local"},
	{"address is not local", "address $address is not local; give it to an interface of this host first, or use --laddr-flags foreign or force"},
	{"port range begins below 1024", "port range begins below 1024; choose another, or use --laddr-flags force"},
	{"range overlaps net.ipv4.ip_local_port_range", "range overlaps net.ipv4.ip_local_port_range; reserve it: sysctl net.ipv4.ip_local_reserved_ports=$ports"},
	{"net.ipv4.ip_local_port_range leaves no port", "net.ipv4.ip_local_port_range leaves no port; give a range: -z $address:MIN-MAX"},
	{"CPUS is not a list", "illegal laddr-cpus `$cpus'; use a list of this machine's CPUs, as 0-3,8"},
	{"CPUS names no CPU", "laddr-cpus `$cpus' names no CPU of this machine; 'lscpu -e' lists them"},
	{"FNAT supports TCP and UDP", "$kernel; use -t, -u or -f for the service"},
	{"one-packet scheduling has no reply path", "$kernel; switch it off first: -E $service without -o"},
	{"not with application helpers", "$kernel: FNAT and SYNPROXY go with neither port 21 nor --pe"},
	{"TOA is TCP only", "$kernel; use it with -t or -f"},
	{"TOA_SYN needs TOA", "$kernel; give --toa too, or --no-toa-syn"},
	{"SYNPROXY is TCP only", "$kernel; use it with -t or -f"},
	{"SYNPROXY needs NAT or FNAT", "$kernel; make it -m or delete it first"},
	{"SP_DEFER and SP_AUTO need SYNPROXY", "$kernel; give --synproxy enable or auto too, or --no-synproxy-defer"},
	{"SP_DEFER waits for data", "$kernel; give --no-synproxy-defer, or --synproxy-window N too"},
	{"SP_AUTO_OFF must be less", "$kernel; give both: --synproxy-auto-on N --synproxy-auto-off M"},
	{"BPS_IN and BPS_OUT need FNAT", "$kernel; switch one of them on in the service first"},
	{"TIMEOUT_EST needs FNAT", "$kernel; switch one of them on in the service first"},
	{"RST_ON_EXPIRE needs FNAT", "$kernel; switch one of them on in the service first"},
	{"RST_ON_EXPIRE is TCP only", "$kernel; use it with -t or -f"},
	{"INVALID is TCP only", "$kernel; use it with -t or -f"},
	{"ipset '", "$kernel; make it first: ipset create NAME hash:net family inet (or inet6)"},
	{"ACL_MODE needs ACL_SET4", "$kernel; name an ipset: --acl-set4 NAME"},
	{"ACL_MODE needs ACL_SET6", "$kernel; name an ipset: --acl-set6 NAME"},
	{"TOA needs FNAT", "$kernel; give --fullnat too, or --no-toa"},
}

// remedyFor words a refusal of the extension; "" if its text is none we know.
func remedyFor(cmd command, text string, op ipvs.Op) string {
	says := ""
	for _, r := range remedies {
		if strings.HasPrefix(text, r.begins) {
			says = r.says
			break
		}
	}
	switch {
	case text == "FNAT needs a local address group":
		says = groupRemedy(cmd, op.Ext)
	case strings.HasPrefix(text, "ipset '") && !strings.HasSuffix(text, "not found"):
		says = "$kernel; use one of addresses or nets of that family alone, as hash:net"
	case text == "no such local address group" && cmd == cmdDelLaddr:
		says = commandText(cmdGetLaddr, syscall.ENOENT) + ": $group"
	}
	l, ports := op.Laddr, "MIN-MAX"
	if l.PortMin != 0 {
		ports = fmt.Sprintf("%d-%d", l.PortMin, l.PortMax)
	}
	return strings.NewReplacer("$kernel", text, "$service", serviceWords(op.Service.ServiceKey),
		"$group", op.LGroup.Name+op.Ext.LGroup, "$address", l.Addr.String(),
		"$ports", ports, "$cpus", l.CPUs).Replace(says)
}

// groupRemedy says what to do where FNAT finds no group, or an empty one.
func groupRemedy(cmd command, asked ipvs.Ext) string {
	switch {
	case asked.LGroup != "":
		return "$kernel with an address; add one first: -P --lgroup $group -z ADDRESS"
	case asked.Set&ipvs.ExtFieldLGroup != 0:
		return "$kernel; switch FNAT off too: --no-fullnat"
	case cmd == cmdAdd:
		return "$kernel; name one that has addresses: --lgroup NAME"
	}
	return "$kernel; add an address first: -P $service -z ADDRESS"
}

// refusedBy is a call that the kernel refused.
func refusedBy(cmd command, err error) error {
	return &failure{code: 255, text: kernelText(cmd, err), err: err}
}
