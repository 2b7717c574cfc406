// SPDX-License-Identifier: Apache-2.0

package main

// Exit codes of keepalived.
const (
	exitOK         = 0
	exitFatal      = 1
	exitConfig     = 2
	exitPermission = 4
	exitTest       = 5 // of -t: the configuration has faults
	exitNoConfig   = 6
)

// The lines of the daemon's life. Scripts look for those that keepalived has
// too; the others are ours.
const (
	msgStarting   = "Starting Keepalived v%s"
	msgConfigFile = "Configuration file %s"
	msgFaults     = "%s has %d error(s), see above"
	msgStarted    = "Startup complete"
	msgReloading  = "Reloading ..."
	msgReloaded   = "Reload complete"
	msgKept       = "Reload failed, the running configuration stays in force: %v"
	msgStopping   = "Stopping"
	msgStopped    = "Stopped Keepalived v%s"
	msgNoFile     = "Unable to find configuration file %v"
	msgNoIPVS     = "IPVS: Can't initialize ipvs: %w"
	msgRunning    = "daemon is already running"
	msgSignal     = "Signal %s asks for something this version does not have"
	msgApply      = "IPVS: %s; trying again every %v"
	msgApplied    = "IPVS: the tables are as they should be again"
	msgScript     = "Running script '%s' failed: %v"
)

// line is an error that is a whole line of the log, in the original's words.
type line string

func (l line) Error() string { return string(l) }
