// SPDX-License-Identifier: Apache-2.0

// Command toa-bpf shows applications on a real server the client's address of
// connections that come through FNAT, without a kernel module.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/netip"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
)

const usage = `usage: toa-bpf run [--cgroup DIR] --trust PREFIX... [--kinds LIST] [--saved-syn] [--pin DIR]
       toa-bpf list    [--pin DIR]              trusted directors
       toa-bpf trust   [--pin DIR] add|del PREFIX...
       toa-bpf stats   [--pin DIR]
       toa-bpf detach  [--pin DIR]

run attaches the receiver to all processes below the cgroup. With --pin it
stays when the command ends; without, the command stays until it is signalled.
`

const (
	defaultCgroup = "/sys/fs/cgroup"
	defaultPin    = "/sys/fs/bpf/toa"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "toa-bpf: %v\n", err)
		if errors.Is(err, errUsage) {
			fmt.Fprint(os.Stderr, usage)
			os.Exit(2)
		}
		os.Exit(1)
	}
}

var errUsage = errors.New("wrong usage")

// run executes one command line.
func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return fmt.Errorf("%w: no command", errUsage)
	}
	commands := map[string]func(context.Context, []string, io.Writer) error{
		"run": runCommand, "list": listCommand, "trust": trustCommand,
		"stats": statsCommand, "detach": detachCommand,
	}
	if args[0] == "help" || args[0] == "--help" || args[0] == "-h" {
		_, err := io.WriteString(out, usage)
		return err
	}
	command, ok := commands[args[0]]
	if !ok {
		return fmt.Errorf("%w: no command %q", errUsage, args[0])
	}
	return command(ctx, args[1:], out)
}

// flags parses args, of which at least min must be left after the flags; max
// below zero is no limit.
func flags(name string, args []string, least, most int, define func(*flag.FlagSet)) ([]string, error) {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard)
	define(f)
	if err := f.Parse(args); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", errUsage, name, err)
	}
	if n := f.NArg(); n < least || most >= 0 && n > most {
		return nil, fmt.Errorf("%w: %s: unexpected number of arguments: %d", errUsage, name, n)
	}
	return f.Args(), nil
}

func runCommand(ctx context.Context, args []string, out io.Writer) error {
	c := config{Cgroup: defaultCgroup}
	_, err := flags("run", args, 0, 0, func(f *flag.FlagSet) {
		f.StringVar(&c.Cgroup, "cgroup", c.Cgroup, "")
		f.StringVar(&c.Pin, "pin", "", "")
		f.BoolVar(&c.SavedSYN, "saved-syn", false, "")
		f.Func("trust", "", func(s string) error {
			p, err := parsePrefix(s)
			c.Trust = append(c.Trust, p)
			return err
		})
		f.Func("kinds", "", func(s string) (err error) {
			c.Kinds, err = parseKinds(s)
			return err
		})
	})
	if err != nil {
		return err
	}
	if len(c.Trust) == 0 {
		return fmt.Errorf("%w: run: no --trust: give the local addresses (lips) of the directors, nobody else is believed", errUsage)
	}
	r, err := start(c)
	if err != nil {
		return err
	}
	if c.Pin == "" {
		<-ctx.Done()
		err = printStats(r.table(), out)
	}
	return errors.Join(err, r.Close())
}

func listCommand(_ context.Context, args []string, out io.Writer) error {
	return withPinned("list", args, 0, 0, func(t table, _ []string) error {
		all, err := listTrust(t)
		if err != nil {
			return err
		}
		for _, p := range all {
			if _, err := fmt.Fprintln(out, p); err != nil {
				return err
			}
		}
		return nil
	})
}

func trustCommand(_ context.Context, args []string, _ io.Writer) error {
	return withPinned("trust", args, 2, -1, func(t table, args []string) error {
		edit := map[string]func(table, netip.Prefix) error{"add": addTrust, "del": delTrust}[args[0]]
		if edit == nil {
			return fmt.Errorf("%w: trust: %q is neither add nor del", errUsage, args[0])
		}
		var all []netip.Prefix
		for _, s := range args[1:] {
			p, err := parsePrefix(s)
			if err != nil {
				return err
			}
			all = append(all, p)
		}
		for _, p := range all {
			if err := edit(t, p); err != nil {
				return err
			}
		}
		return nil
	})
}

func statsCommand(_ context.Context, args []string, out io.Writer) error {
	return withPinned("stats", args, 0, 0, func(t table, _ []string) error {
		return printStats(t, out)
	})
}

func printStats(t table, out io.Writer) error {
	all, err := stats(t)
	if err != nil {
		return err
	}
	for name, n := range all {
		if _, err := fmt.Fprintf(out, "%-10s %d\n", name, n); err != nil {
			return err
		}
	}
	return nil
}

func detachCommand(_ context.Context, args []string, _ io.Writer) error {
	pin := defaultPin
	_, err := flags("detach", args, 0, 0, func(f *flag.FlagSet) {
		f.StringVar(&pin, "pin", pin, "")
	})
	if err != nil {
		return err
	}
	return detach(pin)
}

func withPinned(name string, args []string, least, most int, do func(table, []string) error) error {
	pin := defaultPin
	rest, err := flags(name, args, least, most, func(f *flag.FlagSet) {
		f.StringVar(&pin, "pin", pin, "")
	})
	if err != nil {
		return err
	}
	t, err := open(pin)
	if err != nil {
		return err
	}
	return errors.Join(do(t, rest), t.Close())
}

// parsePrefix reads 10.0.0.0/24, fd00::/64, or an address alone. Bits set after
// the length are an error: the writer and we would not mean the same network.
func parsePrefix(s string) (netip.Prefix, error) {
	if a, err := netip.ParseAddr(s); err == nil && a.Zone() == "" {
		return netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		return p, fmt.Errorf("%q is neither an address nor a prefix such as 10.0.0.0/24 or fd00::/64", s)
	}
	if p.Addr().Is4In6() {
		return p, fmt.Errorf("%q: write IPv4 prefixes as such, not mapped into IPv6", s)
	}
	if p != p.Masked() {
		return p, fmt.Errorf("%q has bits set after the first %d; did you mean %v or %v?",
			s, p.Bits(), p.Masked(), p.Addr())
	}
	return p, nil
}

// parseKinds reads up to eight TCP option kinds, separated by commas.
func parseKinds(s string) ([]byte, error) {
	var kinds []byte
	for word := range strings.SplitSeq(s, ",") {
		n, err := strconv.ParseUint(word, 10, 8)
		if err != nil || n < 2 {
			return nil, fmt.Errorf("%q is not a TCP option kind from 2 to 255", word)
		}
		kinds = append(kinds, byte(n))
	}
	if len(kinds) > 8 {
		return nil, fmt.Errorf("%d kinds, at most 8 are possible", len(kinds))
	}
	return kinds, nil
}
