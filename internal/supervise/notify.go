// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// Ready, Reloading and Stopping tell the service manager; without one they do
// nothing. An error says that there is one and it cannot be reached.
func Ready() error { return tell(daemon.SdNotifyReady) }

// Reloading is answered by Ready once the reload is over.
func Reloading() error {
	// The time is wanted by units of Type=notify-reload and ignored by others.
	usec, err := monotonic()
	if err != nil {
		return err
	}
	return tell(daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + usec)
}

// Stopping is the last word.
func Stopping() error { return tell(daemon.SdNotifyStopping) }

// Status shows text, of which the first line counts, as the state of the service.
func Status(text string) error {
	text, _, _ = strings.Cut(text, "\n")
	return tell("STATUS=" + text)
}

func tell(state string) error {
	_, err := daemon.SdNotify(false, state)
	return err
}

// monotonic is the clock systemd compares with, in microseconds.
func monotonic() (string, error) {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return "", fmt.Errorf("read the clock: %w", err)
	}
	return strconv.FormatInt(ts.Nano()/1000, 10), nil
}
