package registry

// Catalog is what a tenant's servers offer, by scope: what roles can open. It
// has no schemas, so that all of it can be read at once.
type Catalog []CatalogServer

// CatalogServer is one server, by slug. A draft offers what its newest revision
// has; one without any revision offers nothing.
type CatalogServer struct {
	ID          ServerID
	Slug, Title string
	Published   bool
	Scopes      []CatalogScope // by name
}

// CatalogScope is one scope and what it opens.
type CatalogScope struct {
	Name               string
	Risk               Risk // the highest of its tools
	Tools              []CatalogTool
	Resources, Prompts int
}

// CatalogTool is a tool as people choose it.
type CatalogTool struct {
	Name, Title, Description string
	Risk                     Risk
}

// Server finds a server by slug.
func (c Catalog) Server(slug string) (CatalogServer, bool) {
	for _, s := range c {
		if s.Slug == slug {
			return s, true
		}
	}
	return CatalogServer{}, false
}

// Scope finds a scope by name.
func (s CatalogServer) Scope(name string) (CatalogScope, bool) {
	for _, sc := range s.Scopes {
		if sc.Name == name {
			return sc, true
		}
	}
	return CatalogScope{}, false
}

// Above reports whether a risk is higher than another.
func (r Risk) Above(other Risk) bool { return r.rank() > other.rank() }

func (r Risk) rank() int {
	switch r {
	case Reads:
		return 0
	case Writes:
		return 1
	}
	return 2
}
