package oauth

import (
	"context"
	"net/url"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// target is what a token will be good for: one server, or for the console the
// platform API, which has no Hosted.
type target struct {
	registry.Hosted
	resource string // `aud`: the URL of its MCP endpoint, or of the API
}

// canonicalResource brings a resource indicator into the form that Sites
// writes: scheme and host in lower case, no trailing slash. RFC 8707 section 2
// wants an absolute URI without fragment; a query is never part of ours.
func canonicalResource(raw string) (string, bool) {
	if raw == "" || len(raw) > 2000 || strings.ContainsAny(raw, "#?\\ ") {
		return "", false
	}
	scheme, rest, ok := strings.Cut(raw, "://")
	if !ok || rest == "" || strings.Contains(rest, "://") {
		return "", false
	}
	host, path := rest, ""
	if i := strings.IndexByte(rest, '/'); i >= 0 {
		host, path = rest[:i], rest[i:]
	}
	if host == "" || strings.Contains(host, "@") {
		return "", false
	}
	return strings.ToLower(scheme) + "://" + strings.ToLower(host) + strings.TrimSuffix(path, "/"), true
}

// serverOfResource finds the slug in a resource indicator of the tenant. whole
// means that it names the tenant and no server.
func (s *Server) serverOfResource(t tenants.Tenant, raw string) (slug string, whole, ok bool) {
	canonical, ok := canonicalResource(raw)
	if !ok {
		return "", false, false
	}
	base, _ := canonicalResource(s.Sites.Base(t.Slug))
	if canonical == base || canonical == base+"/mcp" {
		return "", true, true
	}
	// The endpoint of the HTTP+SSE transport is another way to the same server:
	// what is granted, and the token's audience, is the server.
	if slug, ok = strings.CutPrefix(canonical, base+"/sse/"); !ok {
		slug, ok = strings.CutPrefix(canonical, base+"/mcp/")
	}
	return slug, false, ok && tenants.ValidSlug(slug) == nil
}

// resolveTarget decides which server a request is for. The client says it in
// `resource` (RFC 8707), exactly once. Where it does not, older clients are
// helped as far as there is no choice: the tenant hosts one server, or the
// scopes that are asked for exist on one server only. The consent page shows
// the outcome.
func (s *Server) resolveTarget(ctx context.Context, t tenants.Tenant, resources []string, scopes []string) (target, error) {
	if len(resources) > 1 {
		return target{}, say(errInvalidTarget, "A token is good for exactly one server. Send one resource parameter.")
	}
	if len(resources) == 1 {
		slug, whole, ok := s.serverOfResource(t, resources[0])
		if !ok {
			return target{}, s.unknownTarget(t)
		}
		if !whole {
			return s.targetOf(ctx, t, slug)
		}
	}
	all, err := s.Registry.HostedAll(ctx, t.ID)
	if err != nil {
		return target{}, err
	}
	if len(all) == 1 {
		return s.newTarget(t, all[0]), nil
	}
	var found []registry.Hosted
	for _, h := range all {
		for _, have := range h.Revision.Definition.Scopes() {
			if contains(scopes, have) {
				found = append(found, h)
				break
			}
		}
	}
	if len(found) == 1 {
		return s.newTarget(t, found[0]), nil
	}
	return target{}, s.unknownTarget(t)
}

func (s *Server) unknownTarget(t tenants.Tenant) error {
	return say(errInvalidTarget, "Send resource=%s: the URL of the MCP server that the token is for.", s.Sites.Resource(t.Slug, "{server}"))
}

func (s *Server) targetOf(ctx context.Context, t tenants.Tenant, slug string) (target, error) {
	h, err := s.Registry.Hosted(ctx, t.ID, slug)
	if fault.HasCode(err, fault.NotFound) {
		return target{}, s.unknownTarget(t)
	}
	return s.newTarget(t, h), err
}

func (s *Server) newTarget(t tenants.Tenant, h registry.Hosted) target {
	return target{Hosted: h, resource: s.Sites.Resource(t.Slug, h.Server.Slug)}
}

// sameTarget checks the resource of a token request, which may be left out,
// against what the grant is for.
func (s *Server) sameTarget(t tenants.Tenant, form url.Values, g Grant) error {
	resources := form["resource"]
	if len(resources) == 0 {
		return nil
	}
	if g.forConsole() {
		return s.apiTarget(t, resources)
	}
	if len(resources) == 1 {
		if slug, whole, ok := s.serverOfResource(t, resources[0]); ok && (whole || slug == g.ServerSlug) {
			return nil
		}
	}
	return say(errInvalidTarget, "This grant is for %s only. Send that as the resource, or none.", s.audience(t, g))
}

// apiTarget wants resource to be the platform API, once and as it is written.
// It is a target of its own: no form of it is taken for a server, and nothing
// but the console and API keys can ask for it.
func (s *Server) apiTarget(t tenants.Tenant, resources []string) error {
	if len(resources) == 1 && resources[0] == s.Sites.API(t.Slug) {
		return nil
	}
	return say(errInvalidTarget, "Send resource=%s, once.", s.Sites.API(t.Slug))
}
