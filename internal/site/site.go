// Package site says which tenant an HTTP request is for and what the tenant's
// URLs are. One template setting decides both: `https://{tenant}.example.com`
// (a host for each tenant) or `http://127.0.0.1:8080/t/{tenant}` (a path).
//
// It owns URLs and Host checking. What answers at a URL is not its business.
package site

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strings"

	"latchkey/internal/tenants"
)

// Sites knows the URLs of all tenants.
type Sites struct {
	scheme, host, prefix string // the template cut at {tenant}
	byHost               bool
	hostSuffix           string
}

// Parse reads a base URL template: http or https, exactly one `{tenant}`,
// either as the first label of the host or as the last path segment. Plain
// http is for loopback hosts only.
func Parse(template string) (*Sites, error) {
	bad := func(why string) (*Sites, error) {
		return nil, fmt.Errorf("base URL template %q: %s; use https://{tenant}.example.com, or http://127.0.0.1:8080/t/{tenant} on one machine", template, why)
	}
	if strings.Count(template, "{tenant}") != 1 {
		return bad("it must hold {tenant} exactly once")
	}
	u, err := url.Parse(strings.Replace(template, "{tenant}", "tenant-slug", 1))
	if err != nil || u.Host == "" || strings.Contains(u.Host, "%") || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.User != nil {
		return bad("it is not a plain URL")
	}
	switch {
	case u.Scheme == "https":
	case u.Scheme == "http" && isLoopback(u.Hostname()):
	default:
		return bad("only https, or http on a loopback address, is accepted")
	}
	if strings.HasSuffix(u.Path, "/") {
		return bad("it must not end in a slash")
	}
	if port := u.Port(); port == "" && strings.HasSuffix(u.Host, ":") || u.Scheme == "https" && port == "443" || u.Scheme == "http" && port == "80" {
		return bad("a default port is left out: clients leave it out too, and the issuer is compared byte for byte")
	}
	if u.Path != "" && (u.EscapedPath() != u.Path || path.Clean(u.Path) != u.Path || strings.HasPrefix(u.Path, "/.")) {
		return bad("its path must be of plain segments")
	}
	s := &Sites{scheme: u.Scheme, host: strings.ToLower(u.Host)}
	if suffix, ok := strings.CutPrefix(s.host, "tenant-slug"); ok {
		if u.Path != "" || !strings.HasPrefix(suffix, ".") {
			return bad("with the tenant in the host there is no path, and the tenant is the first label")
		}
		s.byHost, s.hostSuffix = true, suffix
		return s, nil
	}
	prefix, ok := strings.CutSuffix(u.Path, "tenant-slug")
	if !ok || !strings.HasSuffix(prefix, "/") {
		return bad("the tenant must be the last path segment")
	}
	if prefix == "/" {
		return bad("there must be a segment before the tenant, or the platform's own paths would be tenants")
	}
	s.prefix = prefix
	return s, nil
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// Base is the tenant's base URL and, byte for byte, its OAuth issuer.
func (s *Sites) Base(slug string) string {
	if s.byHost {
		return s.scheme + "://" + slug + s.hostSuffix
	}
	return s.scheme + "://" + s.host + s.prefix + slug
}

// Resource is the URL of a tenant's MCP endpoint and, byte for byte, its
// resource identifier (RFC 8707, RFC 9728).
func (s *Sites) Resource(slug, server string) string { return s.Base(slug) + "/mcp/" + server }

// SSE is the URL of a tenant's MCP endpoint for clients of the HTTP+SSE
// transport. It is another way to what Resource identifies.
func (s *Sites) SSE(slug, server string) string { return s.Base(slug) + "/sse/" + server }

// API is the URL of the platform API below a tenant's base and, byte for byte,
// its resource identifier.
func (s *Sites) API(slug string) string { return s.Base(slug) + "/api/v1" }

// platformLabel is the host of the platform itself where tenants are hosts.
const platformLabel = "platform"

// Platform is the base URL of what belongs to no tenant, without a slash at
// its end: the origin, or a host of its own.
func (s *Sites) Platform() string {
	if s.byHost {
		return s.Base(platformLabel)
	}
	return s.scheme + "://" + s.host
}

// WellKnown is the URL of a well-known document about base+path, in the
// path-inserted form of RFC 8414 section 3.1 and RFC 9728 section 3.1.
func (s *Sites) WellKnown(name, slug, path string) string {
	if s.byHost {
		return s.Base(slug) + "/.well-known/" + name + path
	}
	return s.scheme + "://" + s.host + "/.well-known/" + name + s.prefix + slug + path
}

// Secure reports whether the sites are served over https, which decides the
// form of cookies.
func (s *Sites) Secure() bool { return s.scheme == "https" }

// CookiePath is the path under which the tenant's cookies are sent.
func (s *Sites) CookiePath(slug string) string {
	if s.byHost {
		return "/"
	}
	return s.prefix + slug
}

// Origin is scheme://host[:port] of the tenant's base.
func (s *Sites) Origin(slug string) string {
	if s.byHost {
		return s.Base(slug)
	}
	return s.scheme + "://" + s.host
}

// HostAllowed reports whether the request's Host is one that the template can
// yield. Everything else is refused: it would be a page that resolved its own
// name to this machine.
func (s *Sites) HostAllowed(host string) bool {
	host = strings.ToLower(host)
	if !s.byHost {
		return host == s.host
	}
	slug, ok := strings.CutSuffix(host, s.hostSuffix)
	return ok && tenants.ValidSlug(slug) == nil
}

// Locate finds the tenant's slug in host and path and returns the path as the
// tenant's own routes see it. Three forms are understood for well-known
// documents: path-inserted, appended, and by host. The host `platform` is no
// tenant's.
//
//	/t/acme/mcp/orders                                     → acme, /mcp/orders
//	/.well-known/oauth-protected-resource/t/acme/mcp/orders → acme, /.well-known/oauth-protected-resource/mcp/orders
//	/t/acme/.well-known/openid-configuration               → acme, /.well-known/openid-configuration
func (s *Sites) Locate(host, path string) (slug, inner string, ok bool) {
	if s.byHost {
		slug, ok = strings.CutSuffix(strings.ToLower(host), s.hostSuffix)
		return slug, path, ok && slug != platformLabel && tenants.ValidSlug(slug) == nil
	}
	wellKnown := ""
	rest := path
	if after, found := strings.CutPrefix(path, "/.well-known/"); found {
		name, tail, cut := strings.Cut(after, "/")
		if !cut {
			return "", "", false
		}
		wellKnown, rest = "/.well-known/"+name, "/"+tail
	}
	rest, found := strings.CutPrefix(rest, s.prefix)
	if !found {
		return "", "", false
	}
	slug, tail, cut := strings.Cut(rest, "/")
	if tenants.ValidSlug(slug) != nil {
		return "", "", false
	}
	inner = wellKnown
	if cut {
		inner += "/" + tail
	}
	if inner == "" {
		inner = "/"
	}
	return slug, inner, true
}

// elsewhere is for a person who wrote the host in another way, such as
// localhost for 127.0.0.1.
func (s *Sites) elsewhere() string {
	if s.byHost {
		return "This host is not served here. Check the URL with whoever gave it to you."
	}
	return "This host is not served here. Use " + s.scheme + "://" + s.host + " as it is written."
}

// Directory finds a tenant; a suspended one is found too.
type Directory interface {
	TenantBySlug(ctx context.Context, slug string) (tenants.Tenant, error)
}

type contextKey struct{}

// From returns the tenant that Resolve put into the context.
func From(ctx context.Context) tenants.Tenant {
	t, _ := ctx.Value(contextKey{}).(tenants.Tenant)
	return t
}

// With puts a tenant into a context, as Resolve does.
func With(ctx context.Context, t tenants.Tenant) context.Context {
	return context.WithValue(ctx, contextKey{}, t)
}

// Resolve answers requests of a tenant through tenant, with the tenant in the
// context and the URL's path cut to the tenant's own, and everything else
// through other. A Host that the template cannot yield is answered with 421.
// An unknown tenant and a suspended one answer alike: 404.
func (s *Sites) Resolve(dir Directory, tenant, other http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.HostAllowed(r.Host) {
			if r.URL.Path == "/healthz" || r.URL.Path == "/readyz" {
				other.ServeHTTP(w, r)
				return
			}
			http.Error(w, s.elsewhere(), http.StatusMisdirectedRequest)
			return
		}
		slug, inner, ok := s.Locate(r.Host, r.URL.EscapedPath())
		if !ok {
			other.ServeHTTP(w, r)
			return
		}
		t, err := dir.TenantBySlug(r.Context(), slug)
		if err != nil || t.Suspended {
			refuse(w, err)
			return
		}
		u := *r.URL
		if u.Path, err = url.PathUnescape(inner); err != nil {
			http.Error(w, "The path is not properly escaped.", http.StatusBadRequest)
			return
		}
		u.RawPath = inner
		r2 := r.WithContext(With(r.Context(), t))
		r2.URL = &u
		tenant.ServeHTTP(w, r2)
	})
}
