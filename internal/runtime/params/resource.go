package params

import (
	"fmt"

	"github.com/yosida95/uritemplate/v3"

	"latchkey/internal/registry"
)

// Resource reads what resources of each kind have in common, and the variables of
// its URI: never nil, see ReadAll. Its timeout is the kind's to add.
func (names Names) Resource(r *registry.Reader, o registry.Object, example, media string) (def registry.Resource, uri string, variables []string) {
	def = registry.Resource{Name: names.Read(o, "resource"), Title: o.Text("title"), Description: o.Text("description"), MIMEType: o.Text("mime_type")}
	if def.MIMEType == "" {
		def.MIMEType = media
	}
	def.Scope = Scope(o, "resource:"+def.Name)
	if v := o.Value("guard"); v != nil {
		def.Guard = registry.ReadGuard(r, v, o.At("guard"))
	}
	uri = o.Needed("uri", "write one such as "+example)
	variables = append([]string{}, Variables(o, uri)...)
	if len(variables) > 0 {
		def.URITemplate = uri
	} else {
		def.URI = uri
	}
	return def, uri, variables
}

// URIs finds which of a server's resources a URI is of.
type URIs struct{ all []place }

type place struct {
	uri       string
	template  *uritemplate.Template // nil where the URI is fixed
	variables []string
}

// Add adds the next resource.
func (u *URIs) Add(uri string, variables []string) error {
	p := place{uri: uri, variables: variables}
	if len(variables) > 0 {
		var err error
		if p.template, err = uritemplate.New(uri); err != nil {
			return fmt.Errorf("uri %s: %w", uri, err)
		}
	}
	u.all = append(u.all, p)
	return nil
}

// Match gives the position of the first that fits, and the values of its variables;
// -1 where none does.
func (u *URIs) Match(uri string) (int, map[string]string) {
	for i, p := range u.all {
		if p.template == nil {
			if p.uri == uri {
				return i, nil
			}
			continue
		}
		found := p.template.Match(uri)
		if found == nil {
			continue
		}
		values := map[string]string{}
		for _, v := range p.variables {
			values[v] = found.Get(v).String()
		}
		return i, values
	}
	return -1, nil
}
