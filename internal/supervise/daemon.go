// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// background marks the process that Detach has started. Its value is the
// descriptor on which that process says that it is up.
const background = "KEEPALIVED_BACKGROUND_FD"

// Detached tells whether this process was started by Detach.
func Detached() bool { return os.Getenv(background) != "" }

// Detach starts this program once more, with the same arguments, in a session
// of its own without a terminal, and waits until it has called Up or has
// ended. It returns the exit code the caller should end with. What the new
// process writes to standard error until then reaches stderr.
func Detach(stderr *os.File) (int, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 1, fmt.Errorf("go to the background: %w", err)
	}
	defer r.Close()
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Env = append(os.Environ(), background+"=3")
	cmd.ExtraFiles = []*os.File{w}
	cmd.Stderr = stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	err = cmd.Start()
	w.Close()
	if err != nil {
		return 1, fmt.Errorf("go to the background: %w", err)
	}
	if said, _ := io.ReadAll(r); string(said) == "up" {
		return 0, cmd.Process.Release()
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); errors.As(err, &exit) {
		return exit.ExitCode(), nil
	} else if err != nil {
		return 1, err
	}
	return 0, nil
}

// Up lets the process that waits in Detach go, and closes the standard
// streams. In a process that Detach has not started it does nothing.
func Up() error {
	if !Detached() {
		return nil
	}
	fd, err := strconv.Atoi(os.Getenv(background))
	if err != nil {
		return fmt.Errorf("%s: %w", background, err)
	}
	if err := Silence(); err != nil {
		return err
	}
	if err := os.Unsetenv(background); err != nil { // or commands we run would take it for theirs
		return err
	}
	f := os.NewFile(uintptr(fd), "background")
	_, err = f.WriteString("up")
	return errors.Join(err, f.Close())
}

// Silence closes the standard streams.
func Silence() error {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer null.Close()
	for std := range 3 {
		if err := unix.Dup3(int(null.Fd()), std, 0); err != nil {
			return fmt.Errorf("close the standard streams: %w", err)
		}
	}
	return nil
}
