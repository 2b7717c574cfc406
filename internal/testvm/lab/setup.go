// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/lvs-fnat/lvs/internal/testnet"
)

const profile = "/root/.labrc"

// setup runs in the guest's init: the topology, a command for each machine in it,
// and nginx on the real servers.
func setup() (func() error, error) {
	top, err := testnet.Build(testnet.Plan{})
	if err != nil {
		return nil, err
	}
	return top.Close, furnish(top)
}

func furnish(top *testnet.Topology) error {
	for _, h := range append([]*testnet.Host{top.C[0], top.D}, top.R...) {
		text := fmt.Sprintf("#!/bin/bash\nexec ip netns exec %s \"${@:-bash}\"\n", h.Name)
		if err := os.WriteFile("/usr/local/sbin/"+h.Name, []byte(text), 0o755); err != nil {
			return err
		}
	}
	for _, r := range top.R {
		if err := serve(r); err != nil {
			return err
		}
	}
	return os.WriteFile(profile, []byte(rc()), 0o644)
}

// serve starts an nginx that says its name and whom it sees.
func serve(h *testnet.Host) error {
	for _, d := range []string{"/var/log/nginx", "/var/lib/nginx"} {
		if err := os.MkdirAll(d, 0o755); err != nil {
			return err
		}
	}
	conf := "/etc/nginx/" + h.Name + ".conf"
	text := fmt.Sprintf(`pid /run/nginx-%[1]s.pid;
error_log /var/log/nginx/%[1]s.error;
events {}
http {
	access_log /var/log/nginx/%[1]s.log;
	server {
		listen 80;
		listen [::]:80;
		location / { return 200 "%[1]s sees $remote_addr port $remote_port\n"; }
	}
}
`, h.Name)
	if err := os.WriteFile(conf, []byte(text), 0o644); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// nginx' daemon keeps the output open: no pipe, or Wait would wait for it.
	out, err := h.Run(ctx, "/bin/bash", "-c", "/usr/sbin/nginx -c "+conf+" </dev/null >/run/nginx.out 2>&1")
	if err != nil {
		said, _ := os.ReadFile("/run/nginx.out")
		return fmt.Errorf("%w%s%s", err, out, said)
	}
	return nil
}

func rc() string {
	ipvsadm, fnat := "ipvsadm", `
  d ipvsadm -A -t 10.0.1.100:80 -s rr
  d ipvsadm -P -t 10.0.1.100:80 -z 10.0.2.201                # local address
  d ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.11 -b              # FNAT
  d ipvsadm -a -t 10.0.1.100:80 -r 10.0.2.12 -b
  c curl http://10.0.1.100/                                  # they see the director
  d ipvsadm -E -t 10.0.1.100:80 --toa; modprobe toa trust=10.0.2.200/29
  c curl http://10.0.1.100/                                  # they see the client
  d ipvsadm -Lnc`
	if _, err := os.Stat("/usr/local/sbin/ipvsadm"); err != nil {
		ipvsadm, fnat = "ipvsadm.stock", `
  d ipvsadm.stock -A -t 10.0.1.100:80 -s rr
  d ipvsadm.stock -a -t 10.0.1.100:80 -r 10.0.2.11 -m       # plain NAT needs a way back:
  r1 ip route add default via 10.0.2.1
  c curl http://10.0.1.100/`
	}
	return strings.NewReplacer("@TRY@", fnat, "@IPVSADM@", ipvsadm).Replace(`PS1='lab:\w# '
[ -z "$LAB_ROWS" ] || stty rows $LAB_ROWS cols $LAB_COLUMNS
cat <<'TEXT'

  c 10.0.1.2 ---- 10.0.1.1 d 10.0.2.1 ---- r1 10.0.2.11, r2 10.0.2.12
  Service address 10.0.1.100 (2001:db8:1::100), local addresses 10.0.2.201 to .204.
  The real servers run nginx and know no way to the client.
  "c COMMAND" runs a command on c; so do d, r1, r2. exit ends the guest.

Try this:@TRY@
  d tcpdump -ni back &       d @IPVSADM@ -Ln --stats       d ipvsadm.stock -Ln

TEXT
`)
}
