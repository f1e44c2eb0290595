package openapi

import (
	"net/http"
	"slices"
	"strings"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/params"
)

// RiskOf is what an operation's method costs unless somebody says otherwise.
func RiskOf(method string) registry.Risk {
	switch method {
	case http.MethodGet, http.MethodHead:
		return registry.Reads
	case http.MethodDelete:
		return registry.Destructive
	}
	return registry.Writes
}

// Proposal is a server of kind http for some operations, as a file declares one.
type Proposal struct {
	Spec, Connection params.Ordered
	// Notes are what is to be looked at, by operation.
	Notes []string
}

// Propose writes the spec and the connection for the operations that the selectors
// choose. Places of secrets hold an empty one. Operations that cannot become tools
// are left out and named.
func (d *Document) Propose(selectors []string) (p Proposal, err error) {
	var chosen []Summary
	for _, s := range selectors {
		found := d.Match(s)
		if len(found) == 0 {
			return p, bad("%.100q is no operation of the document.", s)
		}
		for _, one := range found {
			if !slices.ContainsFunc(chosen, func(had Summary) bool { return had.Key() == one.Key() }) {
				chosen = append(chosen, one)
			}
		}
	}
	var kept []Summary
	entries := []params.Ordered{}
	for _, s := range chosen {
		op, err := d.Operation(s)
		if err != nil {
			p.Notes = append(p.Notes, err.Error())
			continue
		}
		for _, n := range op.Notes {
			p.Notes = append(p.Notes, s.Key()+": "+n)
		}
		kept = append(kept, s)
		name := s.ID
		if name == "" || Wild(name) || len(d.Match(name)) != 1 {
			name = s.Key()
		}
		entries = append(entries, params.Ordered{{"operation", name}, {"name", s.Tool}, {"description", op.Description}, {"risk", RiskOf(s.Method)}, {"scope", strings.ToLower("tool:" + s.Tool)}})
	}
	if len(kept) == 0 {
		return p, bad("None of these operations can become a tool: %s.", strings.Join(p.Notes, "; "))
	}
	document, err := d.Prune(kept)
	if err != nil {
		return p, err
	}
	p.Notes = p.Notes[:min(len(p.Notes), 200)]
	p.Spec = params.Ordered{{"instructions", clean(d.Title, 200) + "."}, {"openapi", params.Ordered{{"document", rawJSON(document)}, {"operations", entries}}}}
	p.Connection = d.connection()
	return p, nil
}

type rawJSON []byte

// MarshalJSON gives it as it is.
func (r rawJSON) MarshalJSON() ([]byte, error) { return r, nil }

// connection proposes where the API is and how to log in.
func (d *Document) connection() params.Ordered {
	base := "https://"
	for _, s := range d.Servers() {
		if strings.HasPrefix(s.URL, "https://") || strings.HasPrefix(s.URL, "http://") {
			base = s.URL
			break
		}
	}
	empty := params.Ordered{{"secret", ""}}
	c := params.Ordered{{"base_url", base}}
	for _, s := range d.Security() {
		switch {
		case s.Type == "apiKey" && (s.In == InHeader || s.In == InQuery):
			return append(c, params.Ordered{{"auth", params.Ordered{{"type", "api_key"}, {"in", s.In}, {"name", s.Parameter}, {"key", empty}}}}...)
		case s.Type == "http" && s.Scheme == "basic":
			return append(c, params.Ordered{{"auth", params.Ordered{{"type", "basic"}, {"username", ""}, {"password", empty}}}}...)
		case s.Type == "http" && s.Scheme == "bearer":
			return append(c, params.Ordered{{"auth", params.Ordered{{"type", "bearer"}, {"token", empty}}}}...)
		case s.Type == "oauth2" && slices.Contains(strings.Split(s.Grants, ","), "clientCredentials"):
			return append(c, params.Ordered{{"auth", params.Ordered{{"type", "oauth_client_credentials"}, {"token_url", s.TokenURL}, {"client_id", ""}, {"client_secret", empty}}}}...)
		}
	}
	return c
}
