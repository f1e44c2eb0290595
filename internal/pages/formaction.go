package pages

import (
	"net/url"
	"regexp"
	"strings"

	"golang.org/x/net/idna"
)

var (
	schemeForm = regexp.MustCompile(`^[a-z][a-z0-9+.-]{1,63}$`)
	hostForm   = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(:[0-9]{1,5})?$`)
)

// FormAction is the source that lets a form's answer redirect to the URL: its
// origin, or its scheme if that is an app's own. It is empty for a URL that
// no page may send a browser to.
//
// A policy's grammar has no IPv6 hosts, so that http://[::1]:1234 is allowed
// by its scheme.
func FormAction(redirect string) []string {
	u, err := url.Parse(redirect)
	if err != nil || !schemeForm.MatchString(u.Scheme) {
		return nil
	}
	switch u.Scheme {
	case "http", "https":
		if u.Hostname() == "::1" {
			return []string{u.Scheme + ":"}
		}
		host := Host(u.Host)
		if !hostForm.MatchString(host) {
			return nil
		}
		return []string{u.Scheme + "://" + host}
	case "javascript", "data", "vbscript", "file", "blob", "filesystem", "about":
		return nil
	}
	return []string{u.Scheme + ":"}
}

// Host writes a host, with or without a port, in the form that goes over the
// wire: a name in other letters, which may look like a well-known one, shows
// as xn--….
func Host(host string) string {
	host = strings.ToLower(host)
	for _, c := range []byte(host) {
		if c >= 0x80 {
			if ascii, err := idna.Punycode.ToASCII(host); err == nil {
				return ascii
			}
			return host
		}
	}
	return host
}
