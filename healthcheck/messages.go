// SPDX-License-Identifier: Apache-2.0

package healthcheck

import "fmt"

// The lines of this file are keepalived's, word for word where its users'
// scripts look for them.

func msgActivating(t *Target) string {
	return "Activating healthchecker for service " + t.Server + " for VS " + t.Service
}

func msgSuspending(t *Target) string {
	return fmt.Sprintf("Suspending healthchecker for service %s for VS %s", t.Server, t.Service)
}

// msgDeactivating is for one that rests from the start.
func msgDeactivating(t *Target) string {
	return fmt.Sprintf("Deactivating healthchecker for service %s for VS %s", t.Server, t.Service)
}

func msgFile(t *Target, value int) string {
	return fmt.Sprintf("FILE_CHECK of %s: %s is %d", t.Server, t.Spec.File.Path, value)
}

func msgBFD(t *Target, up bool) string {
	return fmt.Sprintf("BFD check of [%s] RS(%s) is %s", t.Spec.BFD.Session, t.Server, map[bool]string{true: "UP", false: "DOWN"}[up])
}

func msgGRPC(t *Target, what string) string {
	return fmt.Sprintf("gRPC health of %s: %s.", t.Server, what)
}

func msgSuccess(t *Target) string {
	switch t.Spec.Kind {
	case HTTPGet, SSLGet:
		return fmt.Sprintf("Remote Web server %s succeed on service.", t.Server)
	case SMTPCheck:
		return fmt.Sprintf("Remote SMTP server %s succeed on service.", t.Server)
	case DNSCheck:
		return msgDNS(t, "success")
	case UDPCheck:
		return msgUDP(t, "success")
	case PingCheck:
		return msgPing(t, "success")
	case MiscCheck:
		return msgMisc(t, "succeeded", "", "")
	case FileCheck:
		return fmt.Sprintf("FILE_CHECK of %s success.", t.Server)
	case GRPCCheck:
		return msgGRPC(t, "SERVING")
	case BFDCheck:
		return msgBFD(t, true)
	}
	return fmt.Sprintf("TCP connection to %s success.", t.Server)
}

// msgDown is logged when a server goes down, after retries of which the first
// run of a check has none.
func msgDown(t *Target, retries uint32) string {
	name, server := t.Spec.Kind.String(), t.Server
	if t.Spec.Kind == HTTPGet || t.Spec.Kind == SSLGet {
		name = "HTTP_CHECK"
	}
	if t.Spec.Kind == PingCheck {
		if name = "ICMP CHECK"; retries > 0 {
			server += " of " + t.Service
		}
	}
	if retries == 0 {
		return fmt.Sprintf("%s on service %s failed.", name, server)
	}
	return fmt.Sprintf("%s on service %s failed after %d retries.", name, server, retries)
}

func msgConnect(t *Target, timeout bool) string {
	what := "failed"
	if timeout {
		what = "timeout"
	}
	if t.Spec.Kind == SMTPCheck {
		return msgSMTP(t, "Could not connect to")
	}
	return fmt.Sprintf("TCP connection to %s %s.", t.Server, what)
}

func msgNoExchange(t *Target, what string) string {
	return fmt.Sprintf("%s server %s.", what, t.Server)
}

func msgStatus(t *Target, url string, code int) string {
	return fmt.Sprintf("HTTP status code error to %s url(%s), status_code [%d].", t.Server, url, code)
}

func msgDigest(t *Target, url, sum string) string {
	return fmt.Sprintf("MD5 digest error to %s url(%s), MD5SUM [%s].", t.Server, url, sum)
}

func msgNoStatus(t *Target, url string) string {
	return fmt.Sprintf("HTTP status code error to %s url(%s), the reply is not HTTP.", t.Server, url)
}

// msgPostponed has no model: keepalived names the call only.
func msgPostponed(t *Target, err error) string {
	return fmt.Sprintf("%s on service %s not run: %v. Rescheduling.", t.Spec.Kind, t.Server, err)
}

func msgShort(t *Target, url string, want, got int64) string {
	return fmt.Sprintf("http_check for RS %s VS %s url %s: content_length (%d) does not match received bytes (%d)",
		t.Server, t.Service, url, want, got)
}

func msgUDP(t *Target, what string) string {
	return fmt.Sprintf("UDP connection to %s %s.", t.Server, what)
}

func msgUDPReply(t *Target, length int) string {
	return fmt.Sprintf("UDP connection to %s failed: the reply, %d bytes, is not the expected one.", t.Server, length)
}

func msgDNS(t *Target, what string) string {
	return fmt.Sprintf("DNS_CHECK (%s) %s", t.Server, what)
}

func msgPing(t *Target, what string) string {
	return fmt.Sprintf("ICMP connection to %s %s.", t.Server, what)
}

// msgMisc says how a command ended. tried is of [afterRetries], empty but for the
// one that takes the server out; why may be.
func msgMisc(t *Target, what, tried, why string) string {
	return fmt.Sprintf("Misc check for [%s VS %s] by [%s] %s%s%s.", t.Server, t.Service, t.Spec.Misc.Args[0], what, tried, why)
}

// msgUnasked says that a command cannot be run, and what is thought of the server then.
func msgUnasked(t *Target, why error) string {
	return fmt.Sprintf("Misc check for [%s VS %s] by [%s] counts as good: it cannot be run: %v", t.Server, t.Service, t.Spec.Misc.Args[0], why)
}

// afterRetries is the part of a line that says what was tried before.
func afterRetries(t *Target, retries uint32) string {
	switch {
	case t.Spec.Timing.Retry == 0:
		return " with retry disabled"
	case retries == 0:
		return ""
	case retries == 1:
		return " after 1 retry"
	}
	return fmt.Sprintf(" after %d retries", retries)
}

// msgURL says that a page of a server that is down is right again.
func msgURL(t *Target, u *URL) string {
	what := "HTTP status code"
	switch {
	case u.Digest != "":
		what = "MD5 digest"
	case u.Regex != "":
		what = "Regex match"
	}
	return fmt.Sprintf("%s success to %s url(%s)", what, t.Server, u.Path)
}

func msgSMTP(t *Target, what string) string {
	a := t.Spec.Conn.Addr
	return fmt.Sprintf("SMTP_CHECK %s server [%s]:%d", what, a.Addr(), a.Port())
}

func msgSMTPReply(t *Target, what string) string {
	return fmt.Sprintf("SMTP server %s: %s.", t.Server, what)
}

func msgTLS(t *Target, err error) string {
	return fmt.Sprintf("SSL connection to %s failed: %v.", t.Server, err)
}

func msgRegex(t *Target, u *URL) string {
	what := "not found"
	if u.RegexNoMatch {
		what = "found"
	}
	return fmt.Sprintf("Regex %s in the reply of %s url(%s).", what, t.Server, u.Path)
}
