// SPDX-License-Identifier: Apache-2.0

package main

// Exit codes of keepalived.
const (
	exitOK         = 0
	exitFatal      = 1
	exitConfig     = 2
	exitPermission = 4
	exitNoConfig   = 6
	exitChanges    = 2 // of --plan: a reload would change something
)

// The lines of the daemon's life. Scripts look for those that keepalived has
// too; the others are ours.
const (
	msgStarting       = "Starting Keepalived v%s"
	msgConfigFile     = "Configuration file %s"
	msgStarted        = "Startup complete"
	msgReloading      = "Reloading ..."
	msgReloaded       = "Reload complete"
	msgKept           = "Reload failed, the running configuration stays in force: %v"
	msgStopping       = "Stopping"
	msgStopped        = "Stopped Keepalived v%s"
	msgNoFile         = "Unable to find configuration file %v"
	msgNoIPVS         = "IPVS: Can't initialize ipvs: %w"
	msgRunning        = "daemon is already running"
	msgApply          = "IPVS: %s; trying again every %v"
	msgApplied        = "IPVS: the tables are as they should be again"
	msgDrift          = "IPVS: somebody has changed the tables in %d places"
	msgRepaired       = "IPVS: the tables are repaired"
	msgChildReloading = "Reloading"
	msgChildStopped   = "Stopped - used %f user time, %f system time"
	msgStartingChild  = "Starting %s child process, pid=%d"
	msgChildSignal    = "pid %d exited due to signal %d (%v)"
	msgChildExit      = "pid %d exited with status %d"
	msgChildPermanent = "pid %d exited with permanent error %d. Terminating"
	msgChildDied      = "%s child process(%d) died: %s"
	msgDropped        = "Ended %d connections to %s port %d, which is down"
	msgIdent          = "Changing syslog ident to %s"
	msgPlace          = "instance, net_namespace, net_namespace_ipvs and use_pid_dir cannot be changed by a reload: restart keepalived"
	msgMarksTable     = "Cannot change IPVS nftables table name at a reload - please restart keepalived"
	msgDump           = "Printing %s data for process(%d) on signal"
	msgRelayLost      = "A word of the child process %s was lost: too many wait to be read"
	msgChildDelay     = "Restart of %s process delayed %d seconds to limit respawn rate"
)

// line is an error that is a whole line of the log, in the original's words.
type line string

func (l line) Error() string { return string(l) }

// identParent is the parent's name in syslog.
const identParent = "Keepalived"
