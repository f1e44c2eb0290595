// Package catalog speaks the MCP registry's language: it lists a tenant's
// servers as server.json (the registry API, v0.1, read only), and reads the
// server.json of others into what has to be declared here.
//
// Who may see which server is for whoever wires it to say; nothing is listed to
// who shows nothing. It stores nothing and reaches nobody.
package catalog

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
)

// Path is where the API is, below a tenant's base.
const Path = "/registry/v0.1"

// Schema is that of the server.json that is written.
const Schema = "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"

// official is the member of _meta that clients read status and times from.
const official = "io.modelcontextprotocol.registry/official"

// Visible says which servers a caller may see.
type Visible func(h registry.Hosted) bool

// API answers below Path.
type API struct {
	Sites   *site.Sites
	Servers interface {
		HostedAll(ctx context.Context, t tenants.ID) ([]registry.Hosted, error)
	}
	// See says who calls. fault.Unauthenticated: nobody that is known.
	See func(r *http.Request) (Visible, error)
}

// ServerJSON is one server, after the schema's ServerDetail.
type ServerJSON struct {
	Schema      string   `json:"$schema"`
	Name        string   `json:"name"`
	Title       string   `json:"title,omitempty"`
	Description string   `json:"description"`
	Version     string   `json:"version"`
	Remotes     []Remote `json:"remotes"`
}

// Remote is where a server is reached. It has no headers: clients get a token by
// the challenge that they are answered there.
type Remote struct {
	Type string `json:"type"`
	URL  string `json:"url"`
}

// Entry is a server with what the registry says of it.
type Entry struct {
	Server ServerJSON            `json:"server"`
	Meta   map[string]Registered `json:"_meta"`
}

// Registered is the registry's own part.
type Registered struct {
	Status          string    `json:"status"`
	StatusChangedAt time.Time `json:"statusChangedAt"`
	PublishedAt     time.Time `json:"publishedAt"`
	UpdatedAt       time.Time `json:"updatedAt"`
	IsLatest        bool      `json:"isLatest"`
}

// List is a page of servers, or of one server's versions.
type List struct {
	Servers  []Entry `json:"servers"`
	Metadata struct {
		NextCursor string `json:"nextCursor,omitempty"`
		Count      int    `json:"count"`
	} `json:"metadata"`
}

const (
	defaultLimit = 30
	maxLimit     = 100
	latest       = "latest"
)

// ServeHTTP answers one request. Paths are read as they were sent: a name has a
// slash in it, which clients escape.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	// No cookie counts here, so that any page may read what its token opens.
	h.Set("Access-Control-Allow-Origin", "*")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	switch r.Method {
	case http.MethodOptions:
		h.Set("Access-Control-Allow-Methods", "GET, OPTIONS")
		h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
		h.Set("Access-Control-Max-Age", "600")
		w.WriteHeader(http.StatusNoContent)
		return
	case http.MethodGet, http.MethodHead:
	default:
		h.Set("Allow", "GET, HEAD, OPTIONS")
		problem(w, http.StatusMethodNotAllowed, "This registry is read only.")
		return
	}
	t := site.From(r.Context())
	see, err := a.See(r)
	if err != nil {
		a.refuse(w, t, err)
		return
	}
	answer, err := a.answer(r, t, see)
	if err != nil {
		a.refuse(w, t, err)
		return
	}
	h.Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // who has gone away needs none
}

func (a *API) answer(r *http.Request, t tenants.Tenant, see Visible) (any, error) {
	rest, ok := strings.CutPrefix(strings.TrimSuffix(r.URL.EscapedPath(), "/"), Path+"/servers")
	if !ok {
		return nil, nothing()
	}
	all, err := a.Servers.HostedAll(r.Context(), t.ID)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(h registry.Hosted) bool { return !see(h) })
	if rest == "" {
		return a.list(r.URL.Query(), t, all)
	}
	name, version, found := strings.Cut(strings.TrimPrefix(rest, "/"), "/versions")
	if name, err = url.PathUnescape(name); err != nil || !found {
		return nil, nothing()
	}
	version, err = url.PathUnescape(version)
	i := slices.IndexFunc(all, func(h registry.Hosted) bool { return a.Name(t, h.Server.Slug) == name })
	if i < 0 || err != nil {
		return nil, nothing()
	}
	e := a.entry(t, all[i])
	switch version {
	case "":
		// Only what can be connected to: an older revision has no URL.
		l := List{Servers: []Entry{e}}
		l.Metadata.Count = 1
		return l, nil
	case "/" + latest, "/" + e.Server.Version:
		return e, nil
	}
	return nil, nothing()
}

func nothing() error { return fault.New(fault.NotFound, "There is no such server or version here.") }

func (a *API) list(q url.Values, t tenants.Tenant, all []registry.Hosted) (List, error) {
	out := List{Servers: []Entry{}}
	limit := defaultLimit
	if s := q.Get("limit"); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 || n > maxLimit {
			return out, fault.New(fault.InvalidRequest, "limit must be 1 to %d.", maxLimit)
		}
		limit = n
	}
	var since time.Time
	if s := q.Get("updated_since"); s != "" {
		var err error
		if since, err = time.Parse(time.RFC3339, s); err != nil {
			return out, fault.New(fault.InvalidRequest, "updated_since must be a time such as 2026-08-07T13:15:04Z.")
		}
	}
	after := ""
	if s := q.Get("cursor"); s != "" {
		raw, err := base64.RawURLEncoding.DecodeString(s)
		if after = string(raw); err != nil || tenants.ValidSlug(after) != nil {
			return out, fault.New(fault.InvalidRequest, "The cursor is not one of this list. Pass nextCursor as it came.")
		}
	}
	search, version := strings.ToLower(q.Get("search")), q.Get("version")
	last := ""
	slices.SortFunc(all, func(x, y registry.Hosted) int { return strings.Compare(x.Server.Slug, y.Server.Slug) })
	for _, h := range all {
		e := a.entry(t, h)
		switch {
		case h.Server.Slug <= after, !strings.Contains(strings.ToLower(e.Server.Name), search),
			version != "" && version != latest && version != e.Server.Version,
			!since.IsZero() && !e.Meta[official].UpdatedAt.After(since):
			continue
		}
		if len(out.Servers) == limit {
			out.Metadata.NextCursor = base64.RawURLEncoding.EncodeToString([]byte(last))
			break
		}
		out.Servers, last = append(out.Servers, e), h.Server.Slug
	}
	out.Metadata.Count = len(out.Servers)
	return out, nil
}

// Name is a server's name in reverse DNS: of the tenant's host, or of the
// platform's with the tenant behind it.
func (a *API) Name(t tenants.Tenant, slug string) string {
	u, err := url.Parse(a.Sites.Base(t.Slug))
	if err != nil { // Sites made it
		return t.Slug + "/" + slug
	}
	host := strings.ToLower(u.Hostname())
	labels := strings.Split(strings.ReplaceAll(host, ":", "."), ".")
	if net.ParseIP(host) != nil {
		labels = []string{strings.NewReplacer(".", "-", ":", "-").Replace(host)}
	}
	labels = slices.DeleteFunc(labels, func(l string) bool { return l == "" })
	slices.Reverse(labels)
	if len(labels) == 0 || labels[len(labels)-1] != t.Slug {
		labels = append(labels, t.Slug)
	}
	return strings.Join(labels, ".") + "/" + slug
}

func (a *API) entry(t tenants.Tenant, h registry.Hosted) Entry {
	s, published := h.Server, h.Revision.CreatedAt.UTC()
	updated := s.UpdatedAt.UTC()
	if updated.Before(published) {
		updated = published
	}
	description := firstLine(s.Description)
	if description == "" {
		description = s.Title + ", hosted for " + t.Name
	}
	return Entry{
		Server: ServerJSON{
			Schema: Schema, Name: a.Name(t, s.Slug), Title: atMost(s.Title, 100), Description: atMost(description, 100),
			// A revision is what the URL serves now; its number grows with each.
			Version: "1.0." + strconv.Itoa(h.Revision.Number),
			Remotes: []Remote{{Type: "streamable-http", URL: a.Sites.Resource(t.Slug, s.Slug)}},
		},
		Meta: map[string]Registered{official: {Status: "active", StatusChangedAt: published, PublishedAt: published, UpdatedAt: updated, IsLatest: true}},
	}
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	return strings.TrimSpace(line)
}

// atMost cuts to a number of characters.
func atMost(s string, n int) string {
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return strings.TrimSpace(string([]rune(s)[:n-1])) + "…"
}

// refuse answers with a problem (RFC 9457), as registries do, and who is not
// known with where a token is had (RFC 9728).
func (a *API) refuse(w http.ResponseWriter, t tenants.Tenant, err error) {
	f := fault.Of(err)
	status := http.StatusBadRequest
	switch {
	case f.Code == fault.Unauthenticated:
		status = http.StatusUnauthorized
		w.Header().Set("WWW-Authenticate", `Bearer resource_metadata="`+a.Sites.WellKnown("oauth-protected-resource", t.Slug, "/api/v1")+`"`)
	case f.Code == fault.NotFound:
		status = http.StatusNotFound
	case f.Code.Category == fault.Access:
		status = http.StatusForbidden
	case f.Code.Category == fault.RateLimit:
		status = http.StatusTooManyRequests
	case f.Code.Category == fault.Downstream:
		status = http.StatusServiceUnavailable
	case f.Code.Category == fault.Internal:
		status = http.StatusInternalServerError
	}
	problem(w, status, f.Message)
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{"title": http.StatusText(status), "status": status, "detail": detail})
}
