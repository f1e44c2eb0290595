package mcpgateway

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"slices"
	"strings"

	"github.com/yosida95/uritemplate/v3"

	"latchkey/internal/registry"
)

// The lists that a caller sees.
const (
	toolList     = iota
	resourceList // with templates
	promptList
	lists
)

// sights are hashes of what a caller sees in each list: they change when, and
// only when, an answer to them would.
type sights [lists]string

// see computes a caller's. The exchange's server must be the one of now.
func (g *Gateway) see(ctx context.Context, ex *exchange) (s sights, err error) {
	hidden, off, err := g.hidden(ctx, ex)
	if err != nil {
		return s, err
	}
	def := &ex.hosted.Revision.Definition
	var seen [lists][]string
	now := g.cfg.Now()
	for i := range def.Tools {
		t := &def.Tools[i]
		if hidden(t.Scope) || off(t.Name) {
			continue
		}
		seen[resourceList] = []string{"parts of large results"}
		if !t.Deprecated.Gone(now) && !def.Search { // the list of one that is searched is always the same
			seen[toolList] = append(seen[toolList], t.Name+"\x00"+t.Hash)
		}
	}
	for i := range def.Resources {
		if r := &def.Resources[i]; !hidden(r.Scope) {
			seen[resourceList] = append(seen[resourceList], r.URI+r.URITemplate+"\x00"+r.Hash)
		}
	}
	for i := range def.Prompts {
		if p := &def.Prompts[i]; !hidden(p.Scope) {
			seen[promptList] = append(seen[promptList], p.Name+"\x00"+p.Hash)
		}
	}
	for i, entries := range seen {
		slices.Sort(entries)
		h := sha256.New()
		for _, e := range entries {
			h.Write([]byte(e + "\x01"))
		}
		s[i] = hex.EncodeToString(h.Sum(nil))
	}
	return s, nil
}

// resourceAt is the resource or template that a URI is read through: the one
// that the SDK finds for resources/read. Nil: none.
func resourceAt(def *registry.Definition, uri string) *registry.Resource {
	for i := range def.Resources {
		if r := &def.Resources[i]; r.URI == uri && r.URITemplate == "" {
			return r
		}
	}
	var templates []*registry.Resource
	for i := range def.Resources {
		if def.Resources[i].URITemplate != "" {
			templates = append(templates, &def.Resources[i])
		}
	}
	slices.SortFunc(templates, func(a, b *registry.Resource) int { return strings.Compare(a.URITemplate, b.URITemplate) })
	for _, r := range templates {
		if t, err := uritemplate.New(r.URITemplate); err == nil && t.Regexp().MatchString(uri) {
			return r
		}
	}
	return nil
}
