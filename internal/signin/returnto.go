package signin

import (
	"errors"
	"net/url"
	"strings"

	"latchkey/internal/tenants"
)

// maxReturnTo holds an authorization request of any client seen so far.
const maxReturnTo = 8 << 10

var errReturnTo = errors.New("not a path of this tenant")

// LoginURL is where a person signs in, or signs in as somebody else, and comes
// back from to returnTo: a path with query below the tenant's base, such as
// /authorize?client_id=…. What is no such path is left out.
func (s *Service) LoginURL(t tenants.Tenant, returnTo string) string {
	u := s.sites.Base(t.Slug) + "/login"
	if validReturnTo(returnTo) != nil {
		return u
	}
	return u + "?return_to=" + url.QueryEscape(returnTo)
}

// destination is where to go after sign-in. It always begins with the tenant's
// base and a slash, whatever was asked for.
func (s *Service) destination(t tenants.Tenant, returnTo string) string {
	if validReturnTo(returnTo) != nil {
		returnTo = s.home
	}
	return s.sites.Base(t.Slug) + returnTo
}

// ValidReturnTo is for others who send a person on to a path; see
// validReturnTo.
func ValidReturnTo(s string) error { return validReturnTo(s) }

// validReturnTo accepts a path with query that a browser resolves below the
// tenant's base and nowhere else: no scheme or host, no backslash (browsers
// read it as a slash), nothing that browsers cut out before they resolve, no
// dot segments, encoded or not, which would leave the tenant's path.
func validReturnTo(s string) error {
	if len(s) > maxReturnTo || !strings.HasPrefix(s, "/") || strings.HasPrefix(s, "//") {
		return errReturnTo
	}
	for _, c := range []byte(s) {
		if c <= ' ' || c >= 0x7f || c == '\\' || c == '#' {
			return errReturnTo
		}
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil {
		return errReturnTo
	}
	path, _, _ := strings.Cut(s, "?")
	for segment := range strings.SplitSeq(path[1:], "/") {
		plain, err := url.PathUnescape(segment)
		if err != nil || plain == "." || plain == ".." || strings.ContainsAny(plain, "/\\\x00") {
			return errReturnTo
		}
	}
	return nil
}
