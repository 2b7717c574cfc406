// SPDX-License-Identifier: Apache-2.0

package config

import (
	"os"
	"strings"
	"testing"
)

// ours are the paths of keywords that no other program has.
var ours = func() map[string]bool {
	m := map[string]bool{"global_defs/lvs_max_changes": true, "global_defs/lvs_repair": true}
	for _, w := range strings.Fields("laddr_probes laddr_reclaim synproxy_memory synproxy_early drop_vip") {
		m["global_defs/"+w] = true
	}
	for _, w := range strings.Fields("local_address toa toa_syn toa_kind toa_kind4 toa_kind6 seq_adjust exhaust_rst mss_clamp timestamps laddr_select " +
		"synproxy synproxy_defer synproxy_options synproxy_mss synproxy_wscale synproxy_window synproxy_ttl synproxy_retries synproxy_queue " +
		"check_from_laddr slow_start rst_on_failure real_server/slow_start real_server/rst_on_failure real_server/GRPC_CHECK " +
		"synproxy_auto_on synproxy_auto_off established_timeout cps bps_in bps_out conn_limit acl acl_set4 acl_set6 invalid rst_on_expire fast") {
		m["virtual_server/"+w] = true
	}
	for _, w := range strings.Fields("TCP_CHECK/proxy_protocol HTTP_GET/proxy_protocol SSL_GET/proxy_protocol GRPC_CHECK/service GRPC_CHECK/authority GRPC_CHECK/tls") {
		m[checkerPath+w] = true
	}
	for w := range connectKeywords() {
		m[checkerPath+"GRPC_CHECK/"+w] = true
	}
	// The field writes the HTTP words into TCP_CHECK too.
	m[checkerPath+"TCP_CHECK/nb_get_retry"] = true
	return m
}()

// readKeywords gives the paths of all keywords that a table reads; true for
// those that are in force.
func readKeywords() map[string]bool {
	m := map[string]bool{}
	add(m, "", rootKeywords)
	add(m, "global_defs", globalKeywords)
	add(m, "SSL", tlsKeywords)
	add(m, "track_file", trackFileKeywords)
	add(m, "vrrp_track_file", trackFileKeywords)
	add(m, "vrrp_instance", instanceKeywords)
	add(m, "vrrp_instance/authentication", authKeywords)
	add(m, "vrrp_instance/auth_hmac", hmacKeywords)
	add(m, "vrrp_sync_group", groupKeywords)
	add(m, "vrrp_script", trackScriptKeywords)
	add(m, "vrrp_track_process", trackProcessKeywords)
	add(m, "bfd_instance", bfdInstanceKeywords)
	add(m, "track_group", trackGroupKeywords)
	add(m, "garp_group", garpGroupKeywords)
	add(m, "virtual_server", serverKeywords)
	add(m, "virtual_server/real_server", realKeywords)
	add(m, checkerPath+"TCP_CHECK", tcpKeywords)
	add(m, checkerPath+"PING_CHECK", pingKeywords)
	add(m, checkerPath+"GRPC_CHECK", grpcKeywords)
	add(m, checkerPath+"HTTP_GET", httpKeywords)
	add(m, checkerPath+"HTTP_GET/url", urlKeywords)
	add(m, checkerPath+"SSL_GET", sslKeywords)
	add(m, checkerPath+"SSL_GET/url", tlsURLKeywords)
	add(m, checkerPath+"SMTP_CHECK", smtpKeywords)
	add(m, checkerPath+"SMTP_CHECK/host", connectKeywords())
	add(m, checkerPath+"DNS_CHECK", dnsKeywords)
	add(m, checkerPath+"UDP_CHECK", udpKeywords)
	add(m, checkerPath+"MISC_CHECK", miscKeywords)
	add(m, checkerPath+"FILE_CHECK", fileKeywords)
	add(m, checkerPath+"BFD_CHECK", bfdKeywords)
	m["virtual_server_group/fwmark"] = true // an entry of the list
	return m
}

func add[T any](m map[string]bool, path string, table keywords[T]) {
	for w := range table {
		m[strings.TrimPrefix(path+"/"+w, "/")] = true
	}
}

// Every keyword that is read must stand in the list of known ones or be ours,
// or a spelling mistake in a table would make it unreachable.
func TestTablesAgreeWithTheList(t *testing.T) {
	for path := range readKeywords() {
		// The field writes nb_get_retry and nb_sock_retry into any checker.
		if !known().paths[path] && !ours[path] && !strings.HasSuffix(path, "_retry") {
			t.Errorf("%s is read but not in the list", path)
		}
	}
	if n := len(known().paths); n < 531 {
		t.Errorf("%d keywords known, want the 531 of the original at least", n)
	}
}

func readFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
