// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"io"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lvs-fnat/lvs/ipvs"
	"github.com/lvs-fnat/lvs/ipvs/ipvstest"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// jsonSchema is the schema that docs/json.md prints.
func jsonSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	page, err := os.ReadFile("../docs/json.md")
	if err != nil {
		t.Fatal(err)
	}
	_, text, _ := strings.Cut(string(page), "```json\n")
	text, _, _ = strings.Cut(text, "```")
	doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
	if err != nil {
		t.Fatalf("docs/json.md: %v", err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("json.md", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := c.Compile("json.md")
	if err != nil {
		t.Fatal(err)
	}
	return schema
}

// everything is a table with something of each kind in it.
func everything(t *testing.T) *ipvstest.Table {
	t.Helper()
	k := ipvstest.New()
	k.AddSet("set", ipvs.IPv4)
	dir := t.TempDir()
	lines := strings.Split(strings.TrimSpace(everythingLines), "\n")
	for _, line := range lines {
		var stderr bytes.Buffer
		if code := testApp(k, dir, strings.NewReader(""), io.Discard, &stderr).run(t.Context(), append([]string{"ipvsadm"}, strings.Fields(line)...)); code != 0 {
			t.Fatalf("%s: exit code %d, %s", line, code, stderr.String())
		}
	}
	ap := netip.MustParseAddrPort
	k.SetConns(ipvs.Conn{Protocol: ipvs.TCP, Client: ap("198.51.100.7:40000"), Virtual: ap("192.0.2.1:80"), Local: ap("10.0.0.11:1024"), Dest: ap("10.1.0.1:8080")})
	return k
}

const everythingLines = `
-P --lgroup pool -z 10.0.0.11:1024-2000 --laddr-flags no-new,force --laddr-cpus 0-1
-P --lgroup six -6
-A -t 192.0.2.1:80 -s sh -b sh-port,sh-fallback -p 300 -M 255.255.255.0 --pe sip
-A -t 192.0.2.2:80 -s rr --lgroup pool --fullnat --toa --mss 1400 --cps 5 --bps-in 7 --acl black --acl-set4 set
-a -t 192.0.2.2:80 -r 10.1.0.1:8080 -b -w 5 -x 100 -y 50
-a -t 192.0.2.2:80 -r 10.1.0.2:80 -i --tun-type gue --tun-port 6080 --tun-remcsum
-A -u 192.0.2.2:53 -o -b flag-3
-A -t 192.0.2.3:80 -j auto --synproxy-wscale off --invalid rst
-A --sctp-service 192.0.2.2:99 -s mh -b mh-port
-A -t [2001:db8::1]:80 -p 300 -M 64
-a -t [2001:db8::1]:80 -r [2001:db8::2]:80 -g -w 0
-A -f 4294967295 -6 -s none
--start-daemon master --mcast-interface lo --mcast-group 224.1.1.1
--start-daemon backup --mcast-interface lo
`

const someConns = `Pro FromIP   FPrt ToIP     TPrt DestIP   DPrt State       Expires PEName PEData
TCP C6336407 9C40 C0000201 0050 0A010001 1F90 ESTABLISHED     898
UDP C6336407 9C41 C0000202 0035 0A010001 0035 UDP             299 sip abc
TCP 2001:0db8:0000:0000:0000:0000:0000:0009 9C40 2001:0db8:0000:0000:0000:0000:0000:0001 0050 2001:0db8:0000:0000:0000:0000:0000:0002 0050 FIN_WAIT        119
`

// TestJSONHasTheFormOfItsDocument checks every listing with the schema that
// users read.
func TestJSONHasTheFormOfItsDocument(t *testing.T) {
	schema := jsonSchema(t)
	full, empty, stock := everything(t), ipvstest.New(), ipvstest.NewStock()
	if err := stock.Apply(t.Context(), ipvs.Op{Kind: ipvs.AddService, Service: ipvs.Service{ServiceKey: ipvs.ServiceKey{Family: ipvs.IPv4, Protocol: ipvs.TCP, Addr: netip.MustParseAddr("192.0.2.1"), Port: 80}, Scheduler: "rr"}}); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		table *ipvstest.Table
		line  string
		conns string
		wants int // elements of the list
	}{
		{full, "-L --json", "", 7},
		{full, "-L --json --stats --exact", "", 7},
		{full, "-L --json --nosort", "", 7},
		{full, "-L -t 192.0.2.2:80 --json", "", 1},
		{full, "-G --json", "", 2},
		{full, "-G -t 192.0.2.2:80 --json", "", 1},
		{full, "-G -t 192.0.2.1:80 --json", "", 0},
		{full, "-G --lgroup six --json", "", 1},
		{full, "-L -c --json", someConns, 3},
		{full, "-L -c --json --lip 10.0.0.0/8", someConns, 1},
		{full, "-L --daemon --json", "", 2},
		{full, "-L --timeout --json", "", 0},
		{full, "-L --ext --json", "", 0},
		{full, "-L --stats-ext --json", "", 7},
		{full, "-L --stats-ext -t 192.0.2.2:80 --json", "", 1},
		{full, "--explain -t 192.0.2.2:80 --client 198.51.100.7:40000 --json", "", 0},
		{full, "--explain -t 192.0.2.9:80 --client 198.51.100.7 --json", "", 0},
		{full, "--explain -f 4294967295 -6 --client 2001:db8::7 --json", "", 0},
		{full, "--explain -t [2001:db8::1]:80 --client 2001:db8::9 --json", someConns, 0},
		{empty, "-L --json", "", 0},
		{empty, "-G --json", "", 0},
		{empty, "-L --daemon --json", "", 0},
		{empty, "-L -c --json", someConns, 3},
		{stock, "-L --json", "", 1},
	} {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "conns"), []byte(c.conns), 0o600); err != nil {
			t.Fatal(err)
		}
		var out, stderr bytes.Buffer
		a := testApp(c.table, dir, strings.NewReader(""), &out, &stderr)
		if code := a.run(context.Background(), append([]string{"ipvsadm"}, strings.Fields(c.line)...)); code != 0 && !strings.HasPrefix(c.line, "--explain") {
			t.Errorf("%s: exit code %d, %s", c.line, code, stderr.String())
			continue
		}
		doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(out.Bytes()))
		if err != nil {
			t.Errorf("%s: %v in\n%s", c.line, err, out.String())
			continue
		}
		if err := schema.Validate(doc); err != nil {
			t.Errorf("%s: %v in\n%s", c.line, err, out.String())
		}
		n := 0
		for _, v := range doc.(map[string]any) {
			if list, ok := v.([]any); ok {
				n += len(list)
			}
		}
		if n != c.wants {
			t.Errorf("%s: %d elements, want %d:\n%s", c.line, n, c.wants, out.String())
		}
	}
}

// TestJSONSchemaIsStrict: a schema that lets everything pass would check nothing.
func TestJSONSchemaIsStrict(t *testing.T) {
	schema := jsonSchema(t)
	for _, text := range []string{
		`{}`, `{"format":1}`, `{"format":2,"daemons":[]}`, `{"format":1,"daemons":[],"more":1}`, `{"format":1,"daemons":[{}]}`,
		`{"format":1,"timeouts":{"tcp":"900","tcp_fin":120,"udp":300}}`, `{"format":1,"timeouts":{"tcp":900,"tcp_fin":120,"udp":300,"icmp":1}}`,
		`{"format":1,"groups":[{"name":"g","family":"ipv5","services":0,"local_addresses":[]}]}`,
	} {
		doc, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if schema.Validate(doc) == nil {
			t.Errorf("%s passes", text)
		}
	}
}
