// SPDX-License-Identifier: Apache-2.0

package supervise

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestMain lets the test program be what Detach starts.
func TestMain(m *testing.M) {
	if Detached() {
		os.Exit(child())
	}
	if name, conn, ok, err := Child(); ok {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(9)
		}
		os.Exit(player(name, conn))
	}
	os.Exit(m.Run())
}

const plan = "SUPERVISE_TEST_PLAN"

func child() int {
	switch os.Getenv(plan) {
	case "up":
		if err := Up(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 9
		}
		// Alive after the parent has gone; until it says so, which it may forget.
		for range 6000 {
			if _, err := os.Stat(os.Getenv("SUPERVISE_TEST_FILE") + ".go"); err == nil {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		text := fmt.Sprint(os.Getenv(background), Detached())
		if err := os.WriteFile(os.Getenv("SUPERVISE_TEST_FILE"), []byte(text), 0o600); err != nil {
			return 9
		}
	case "refuse":
		fmt.Fprintln(os.Stderr, "no")
		return 6
	}
	return 0
}

func TestDetach(t *testing.T) {
	said, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer said.Close()
	file := filepath.Join(t.TempDir(), "alive")
	t.Setenv("SUPERVISE_TEST_FILE", file)

	t.Setenv(plan, "refuse")
	if code, err := Detach(said); code != 6 || err != nil {
		t.Errorf("a process that ends: code %d, %v", code, err)
	}
	if b, err := os.ReadFile(said.Name()); err != nil || string(b) != "no\n" {
		t.Errorf("its words: %q %v", b, err)
	}
	t.Setenv(plan, "up")
	if code, err := Detach(said); code != 0 || err != nil {
		t.Errorf("a process that comes up: code %d, %v", code, err)
	}
	if _, err := os.Stat(file); err == nil {
		t.Error("Detach has waited for the end")
	}
	if err := os.WriteFile(file+".go", nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for range 6000 {
		if b, _ := os.ReadFile(file); string(b) == "false" {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	b, err := os.ReadFile(file)
	t.Errorf("the process in the background wrote %q %v, want false without the descriptor's name", b, err)
}

func TestPIDFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	// A dead process' number, longer than ours.
	if err := os.WriteFile(path, []byte("123456789012345\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := CreatePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := fmt.Sprintf("%d\n", os.Getpid())
	if b, err := os.ReadFile(path); err != nil || string(b) != want {
		t.Errorf("file has %q %v, want %q", b, err, want)
	}
	if _, err := CreatePIDFile(path); !errors.Is(err, ErrRunning) || !strings.Contains(err.Error(), path) {
		t.Errorf("a second one: %v", err)
	}
	if b, _ := os.ReadFile(path); string(b) != want {
		t.Errorf("the refused one left %q", b)
	}
	if err := p.Remove(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file is still there")
	}
}

// TestPIDFileNotInherited: a command that outlives the daemon does not keep
// the file locked.
func TestPIDFileNotInherited(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pid")
	p, err := CreatePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sleep", "10")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	if err := p.f.Close(); err != nil { // as at a kill: the file stays, the lock goes
		t.Fatal(err)
	}
	again, err := CreatePIDFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.Remove(); err != nil {
		t.Fatal(err)
	}
}

func TestNotify(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "")
	if err := Ready(); err != nil {
		t.Errorf("without a service manager: %v", err)
	}
	path := filepath.Join(t.TempDir(), "notify")
	l, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	t.Setenv("NOTIFY_SOCKET", path)
	for want, tell := range map[string]func() error{
		"READY=1": Ready, "RELOADING=1\nMONOTONIC_USEC=": Reloading, "STOPPING=1": Stopping,
	} {
		if err := tell(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, 100)
		n, err := l.Read(buf)
		if err != nil || !strings.HasPrefix(string(buf[:n]), want) {
			t.Errorf("said %q %v, want %q", buf[:n], err, want)
		}
	}
}
