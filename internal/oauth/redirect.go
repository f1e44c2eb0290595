package oauth

import (
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"
)

const maxRedirectURI = 2000

// Schemes that a browser would act upon by itself, or that reach something
// else than an app waiting for an answer.
var refusedSchemes = map[string]bool{
	"javascript": true, "data": true, "vbscript": true, "file": true, "blob": true, "filesystem": true,
	"about": true, "view-source": true, "jar": true, "ws": true, "wss": true, "ftp": true, "ftps": true,
	"mailto": true, "tel": true, "sms": true, "intent": true, "content": true, "chrome": true, "resource": true,
	"ldap": true, "gopher": true, "ssh": true, "telnet": true, "urn": true, "cid": true, "mid": true,
}

var (
	schemePattern = regexp.MustCompile(`^[a-z][a-z0-9+.-]*$`)
	hostPattern   = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$`)
)

// validRedirectURI checks a URI that a client wants to register, and says what
// is wrong with it: https anywhere, http on loopback, or an app's own scheme;
// no userinfo, no fragment, nothing that parsers read differently, and no
// query of our own words.
func validRedirectURI(raw string) (problem string) {
	if raw == "" || len(raw) > maxRedirectURI {
		return "it is empty or longer than 2000 characters"
	}
	for _, c := range []byte(raw) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte("\\\"<>^`{|}", c) >= 0 {
			return "it holds a character that must be percent-encoded"
		}
	}
	if strings.Contains(raw, "#") {
		return "it has a fragment"
	}
	u, err := url.Parse(raw)
	if err != nil || !strings.HasPrefix(raw, u.Scheme+":") || !schemePattern.MatchString(u.Scheme) {
		return "it is not an absolute URI with a scheme in lower case"
	}
	if u.User != nil || strings.Contains(u.Host, "@") {
		return "it has a user name"
	}
	for name := range u.Query() {
		switch name {
		case "code", "state", "iss", "error", "error_description", "error_uri", "response":
			return "its query holds " + name + ", which the answer sets"
		}
	}
	if refusedSchemes[u.Scheme] {
		return "its scheme is not one that an app can wait at"
	}
	if u.Scheme != "https" && u.Scheme != "http" {
		if u.Host == "" && u.Opaque == "" && u.Path == "" {
			return "there is nothing behind its scheme"
		}
		return ""
	}
	host := u.Hostname()
	switch {
	case u.Opaque != "" || host == "":
		return "it has no host"
	case !hostPattern.MatchString(host) && !isLiteral(host):
		return "its host is not a host name"
	case u.Scheme == "http" && !loopbackHost(host):
		return "http is for 127.0.0.1, [::1] and localhost only; use https"
	}
	return ""
}

func isLiteral(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.Zone() == ""
}

// loopbackHost is the exact set of hosts that may be on any port: the names
// stand for this computer in every browser.
func loopbackHost(host string) bool {
	return host == "127.0.0.1" || host == "::1" || host == "localhost"
}

// matchRedirect reports whether asked is the registered URI: byte for byte,
// but that the port of http on loopback is free (RFC 8252 section 7.3). Nothing
// else is normalized, so that no two parsers can disagree about it.
func matchRedirect(registered, asked string) bool {
	if validRedirectURI(asked) != "" {
		return false
	}
	if registered == asked {
		return true
	}
	host, rest, ok := splitLoopback(registered)
	if !ok {
		return false
	}
	askedHost, askedRest, ok := splitLoopback(asked)
	return ok && host == askedHost && rest == askedRest
}

// splitLoopback takes http://host[:port]rest apart for the loopback hosts.
func splitLoopback(raw string) (host, rest string, ok bool) {
	after, ok := strings.CutPrefix(raw, "http://")
	if !ok {
		return "", "", false
	}
	authority := after
	if i := strings.IndexAny(after, "/?"); i >= 0 {
		authority, rest = after[:i], after[i:]
	}
	if rest == "" {
		rest = "/"
	}
	for _, h := range []string{"127.0.0.1", "[::1]", "localhost"} {
		port, found := strings.CutPrefix(authority, h)
		if found && validPort(port) {
			return h, rest, true
		}
	}
	return "", "", false
}

// validPort accepts nothing, or a colon and a port number.
func validPort(s string) bool {
	if s == "" {
		return true
	}
	if s[0] != ':' || len(s) < 2 || len(s) > 6 {
		return false
	}
	n := 0
	for _, c := range []byte(s[1:]) {
		if c < '0' || c > '9' {
			return false
		}
		n = n*10 + int(c-'0')
	}
	return n > 0 && n < 1<<16
}

// redirectHost is what a consent is remembered for: the host with its port, or
// the scheme of an app's own. The port of a loopback address is left out.
func redirectHost(raw string) string {
	if host, _, ok := splitLoopback(raw); ok {
		return host
	}
	u, err := url.Parse(raw)
	if err != nil {
		return ""
	}
	if u.Scheme == "https" {
		return strings.ToLower(u.Host)
	}
	return u.Scheme + ":"
}

// RedirectHosts are where a client's answers may go: hosts, or schemes of an
// app's own.
func (c Client) RedirectHosts() []string {
	hosts := []string{}
	for _, r := range c.RedirectURIs {
		if h := redirectHost(r); h != "" && !slices.Contains(hosts, h) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

// ownedRedirect reports whether only the owner of a host name gets the answer.
// Any program of a computer can wait at a loopback port or claim a scheme: for
// those nobody is let in without being asked.
func ownedRedirect(raw string) bool {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "https" {
		return false
	}
	a, err := netip.ParseAddr(u.Hostname())
	local := err == nil && (a.Unmap().IsLoopback() || a.Unmap().IsUnspecified())
	return !local && u.Hostname() != "localhost" && !strings.HasSuffix(strings.ToLower(u.Hostname()), ".localhost")
}

// withAnswer adds an answer to a redirect URI, whose own query stays as it is.
func withAnswer(redirect string, answer url.Values) string {
	sep := "?"
	if strings.Contains(redirect, "?") {
		sep = "&"
	}
	return redirect + sep + answer.Encode()
}
