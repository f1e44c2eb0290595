// Package openapi reads OpenAPI documents (3.0 and 3.1) that strangers wrote, as
// far as tools are made of them: which operations there are, what each takes and
// gives as JSON Schema, and the part of a document that some operations need.
//
// A document is not trusted and may have megabytes and thousands of operations,
// of which ten are wanted. So it is checked to be JSON once and then looked at in
// place: nothing is decoded, and no reference followed, that no chosen operation
// needs. Nothing is ever fetched. It leaves to kind http how a request is made.
package openapi

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"latchkey/internal/fault"
)

const (
	// MaxDocument is the size of a document, in bytes, and maxYAML of one that is
	// YAML, whose reader needs ten times its size.
	MaxDocument   = 32 << 20
	maxYAML       = 16 << 20
	maxOperations = 20_000
	maxRefs       = 20 // of references to references
	// maxWork is how many bytes of a document are looked at, all operations
	// together: the 11,422 of Microsoft Graph need 3.2 GB, in 7 s.
	maxWork = 4 << 30
)

// Methods are those of operations that become tools.
var Methods = []string{"get", "put", "post", "delete", "head", "patch"}

// Document is one that was read. It is safe for concurrent use.
type Document struct {
	Title, Version string
	// Dialect is the version of OpenAPI, such as 3.0.3.
	Dialect string

	raw        []byte
	components map[string]map[string][]byte // by section and name
	list       []summary
	paths      map[string][]byte
	byKey      map[string]int   // places in the list
	byID       map[string][]int // the same
	visited    map[string]bool  // components that were looked at, while Prune looks
	far        *references
}

// references are those that were followed to another place than a component,
// and what all reading has cost.
type references struct {
	mu   sync.Mutex
	to   map[string][]byte
	work atomic.Int64
	most int64
}

// worked counts what is looked at, and reports whether that may go on. A document
// can be small and lead to itself a million times.
func (r *references) worked(n int) bool { return r.work.Add(int64(n)) <= r.most }

func (r *references) tired() bool { return r.work.Load() > r.most }

var errTangled = errors.New("the document refers to itself so often that it takes too long to read; cut it down to the operations that you need")

// summary is where an operation stands.
type summary struct {
	Summary
	item, raw []byte // the path's item, and the operation in it
}

// Summary is an operation as a list shows it.
type Summary struct {
	ID, Method, Path string // Method in upper case
	Summary          string
	Tags             []string
	Deprecated       bool
	Tool             string // the name proposed for its tool; each once
}

// Key is how an operation is named where it has no id, or one that is not its
// own: `GET /customers/{id}`.
func (s Summary) Key() string { return s.Method + " " + s.Path }

// Address is the path without a fragment, which is never sent: some documents tell
// operations of one path apart by it.
func (s Summary) Address() string {
	path, _, _ := strings.Cut(s.Path, "#")
	return path
}

func bad(format string, args ...any) error { return fault.New(fault.InvalidSpec, format, args...) }

// Parse reads a document, JSON or YAML. The error says what is wrong with it as a
// whole; what is wrong with one operation is said when that is asked for.
func Parse(text []byte) (*Document, error) {
	if len(text) > MaxDocument {
		return nil, bad("The document is larger than %d MB. Cut it down to the operations that you need.", MaxDocument>>20)
	}
	raw, err := toJSON(text)
	if err != nil {
		return nil, err
	}
	d := &Document{raw: raw, components: map[string]map[string][]byte{}, paths: map[string][]byte{}, byKey: map[string]int{}, byID: map[string][]int{}, far: &references{to: map[string][]byte{}, most: maxWork}}
	if kindOf(raw) != '{' {
		return nil, bad("This is not an OpenAPI document: it is no object.")
	}
	d.Dialect = textOf(get(raw, "openapi"))
	switch {
	case get(raw, "swagger") != nil:
		return nil, bad("This is a document of Swagger 2.0. Convert it to OpenAPI 3 first.")
	case d.Dialect == "":
		return nil, bad("This is not an OpenAPI document: it does not say which version (openapi: 3.1.0).")
	case !strings.HasPrefix(d.Dialect, "3.0.") && !strings.HasPrefix(d.Dialect, "3.1."):
		return nil, bad("The document is of OpenAPI %.20q. Use 3.0 or 3.1.", d.Dialect)
	}
	info := get(raw, "info")
	d.Title, d.Version = clean(textOf(get(info, "title")), 200), clean(textOf(get(info, "version")), 100)
	each(get(raw, "components"), func(section string, value []byte) bool {
		all := map[string][]byte{}
		each(value, func(name string, one []byte) bool { all[name] = one; return true })
		d.components[section] = all
		return true
	})
	return d, d.index()
}

// index lists the operations, in the order of the document.
func (d *Document) index() (err error) {
	names := uniques{}
	each(get(d.raw, "paths"), func(path string, item []byte) bool {
		if _, twice := d.paths[path]; !twice {
			d.paths[path] = item
		}
		if !strings.HasPrefix(path, "/") || len(path) > 2000 {
			return true // x-…
		}
		if target, refErr := d.resolve(item); refErr == nil {
			item = target
		}
		each(item, func(method string, raw []byte) bool {
			if !slices.Contains(Methods, method) || kindOf(raw) != '{' {
				return true
			}
			s := summary{item: item, raw: raw, Summary: Summary{
				ID: clean(textOf(get(raw, "operationId")), 300), Method: strings.ToUpper(method), Path: path,
				Summary: clean(textOf(get(raw, "summary")), 300), Deprecated: string(get(raw, "deprecated")) == "true",
			}}
			eachOf(get(raw, "tags"), func(tag []byte) bool {
				s.Tags = append(s.Tags, clean(textOf(tag), 100))
				return len(s.Tags) < 20
			})
			s.Tool = names.take(toolName(s.Summary), 64)
			d.add(s)
			return true
		})
		if len(d.list) > maxOperations {
			err = bad("The document has more than %d operations. Cut it down to those that you need.", maxOperations)
		}
		return err == nil
	})
	if err == nil && len(d.list) == 0 {
		err = bad("The document has no operation: nothing under paths has a method.")
	}
	return err
}

func (d *Document) add(s summary) {
	if _, twice := d.byKey[s.Key()]; !twice {
		d.byKey[s.Key()] = len(d.list)
	}
	if s.ID != "" {
		d.byID[s.ID] = append(d.byID[s.ID], len(d.list))
	}
	d.list = append(d.list, s)
}

// Operations lists all that there are, in the order of the document.
func (d *Document) Operations() []Summary {
	out := make([]Summary, len(d.list))
	for i, s := range d.list {
		out[i] = s.Summary
	}
	return out
}

// resolve follows references to what they stand for, within the document.
func (d *Document) resolve(raw []byte) ([]byte, error) {
	for range maxRefs {
		ref := get(raw, "$ref")
		if ref == nil || kindOf(ref) != '"' {
			return raw, nil
		}
		target, err := d.lookup(textOf(ref))
		if err != nil {
			return nil, err
		}
		raw = target
	}
	return nil, fmt.Errorf("a reference leads to more than %d others", maxRefs)
}

// lookup finds what a reference names. Other documents are never fetched.
func (d *Document) lookup(ref string) ([]byte, error) {
	path, local := strings.CutPrefix(ref, "#/")
	if !local {
		return nil, fmt.Errorf("the reference %.100q leads out of the document; bundle it into one first", ref)
	}
	parts := pointer(path)
	if len(parts) == 3 && parts[0] == "components" {
		return d.component(ref, parts)
	}
	// The way there leads past all that stands before, so it is gone once.
	d.far.mu.Lock()
	defer d.far.mu.Unlock()
	at, known := d.far.to[ref]
	if !known {
		var err error
		if at, err = d.walk(ref, parts); err != nil {
			return nil, err
		}
		d.far.to[ref] = at
	}
	if parts[0] == "components" {
		d.visit(parts)
	}
	return at, nil
}

// pointer gives the steps of a JSON pointer in a fragment (RFC 6901 section 6).
func pointer(path string) []string {
	parts := strings.Split(path, "/")
	for i, p := range parts {
		if u, err := url.PathUnescape(p); err == nil {
			p = u
		}
		parts[i] = strings.NewReplacer("~1", "/", "~0", "~").Replace(p)
	}
	return parts
}

func (d *Document) visit(parts []string) {
	if d.visited != nil && len(parts) >= 3 {
		d.visited[parts[1]+"/"+parts[2]] = true
	}
}

func (d *Document) component(ref string, parts []string) ([]byte, error) {
	d.visit(parts)
	if at := d.components[parts[1]][parts[2]]; at != nil {
		return at, nil
	}
	return nil, nowhere(ref)
}

func nowhere(ref string) error { return fmt.Errorf("the reference %.100q leads nowhere", ref) }

// walk goes the steps of a reference.
func (d *Document) walk(ref string, parts []string) ([]byte, error) {
	at := d.raw
	switch {
	case len(parts) > 3 && parts[0] == "components":
		at, parts = d.components[parts[1]][parts[2]], parts[3:]
	case len(parts) > 2 && parts[0] == "paths":
		at, parts = d.paths[parts[1]], parts[2:]
	}
	for _, p := range parts {
		if !d.far.worked(len(at)) {
			return nil, errTangled
		}
		if kindOf(at) == '[' {
			at = element(at, p)
		} else {
			at = get(at, p)
		}
	}
	if at == nil {
		return nil, nowhere(ref)
	}
	return at, nil
}

var notInNames = regexp.MustCompile(`[^A-Za-z0-9_-]+`)

// toolName proposes a name for an operation's tool.
func toolName(s Summary) string {
	name := s.ID
	if name == "" {
		name = strings.ToLower(s.Method) + "_" + strings.NewReplacer("{", "", "}", "").Replace(s.Path)
	}
	name = strings.Trim(notInNames.ReplaceAllString(name, "_"), "_-")
	if name == "" {
		name = strings.ToLower(s.Method)
	}
	return name
}

// uniques are names that are taken, with the last number that was put behind each.
type uniques map[string]int

// take gives the name, or one with a number where it is taken.
func (taken uniques) take(name string, limit int) string {
	base := name[:min(len(name), limit)]
	one := base
	for taken[one] > 0 {
		taken[base]++
		tail := fmt.Sprintf("_%d", taken[base])
		one = base[:min(len(base), limit-len(tail))] + tail
	}
	taken[one] = 1
	return one
}

// clean makes a stranger's text one that can be shown: valid, without control
// characters but line ends, bounded in characters.
func clean(s string, limit int) string {
	s = strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == '\n' || r == '\t' {
			return r
		}
		if r < ' ' || r == 0x7f || r == '\uFFFD' {
			return -1
		}
		return r
	}, s))
	if r := []rune(s); len(r) > limit {
		return strings.TrimSpace(string(r[:limit])) + "…"
	}
	return s
}

// Server is a place where the API is, as the document says.
type Server struct{ URL, Description string }

// Servers lists them, with the defaults of their variables.
func (d *Document) Servers() (out []Server) {
	eachOf(get(d.raw, "servers"), func(raw []byte) bool {
		s := Server{clean(textOf(get(raw, "url")), 1000), clean(textOf(get(raw, "description")), 300)}
		each(get(raw, "variables"), func(name string, v []byte) bool {
			s.URL = strings.ReplaceAll(s.URL, "{"+name+"}", clean(textOf(get(v, "default")), 200))
			return true
		})
		out = append(out, s)
		return len(out) < 20
	})
	return out
}

// SecurityScheme is a way to log in, as the document says.
type SecurityScheme struct {
	Name, Type       string
	In, Parameter    string // of an apiKey
	Scheme           string // of http
	TokenURL, Grants string // of oauth2; Grants with commas
	Description      string
}

// Security lists the ways to log in, by name.
func (d *Document) Security() (out []SecurityScheme) {
	for name, raw := range d.components["securitySchemes"] {
		raw, err := d.resolve(raw)
		if err != nil {
			continue
		}
		s := SecurityScheme{Name: clean(name, 100), Type: textOf(get(raw, "type")), In: textOf(get(raw, "in")), Parameter: clean(textOf(get(raw, "name")), 100),
			Scheme: strings.ToLower(textOf(get(raw, "scheme"))), Description: clean(textOf(get(raw, "description")), 300)}
		var grants []string
		each(get(raw, "flows"), func(flow string, f []byte) bool {
			grants = append(grants, clean(flow, 40))
			if u := textOf(get(f, "tokenUrl")); u != "" && (s.TokenURL == "" || flow == "clientCredentials") {
				s.TokenURL = clean(u, 1000)
			}
			return len(grants) < 10
		})
		s.Grants = strings.Join(grants, ",")
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b SecurityScheme) int { return strings.Compare(a.Name, b.Name) })
	return out[:min(len(out), 50)]
}

// Match gives the operations that a selector chooses: an operation's id, its key
// (`GET /customers/{id}`), `tag:<name>`, or either with * for any text.
func (d *Document) Match(selector string) (out []Summary) {
	selector = strings.TrimSpace(selector)
	if !Wild(selector) {
		return d.named(selector)
	}
	tag, byTag := strings.CutPrefix(selector, "tag:")
	re := wildcard(selector)
	if byTag {
		re = wildcard(strings.TrimSpace(tag))
	}
	for _, s := range d.list {
		hit := re.MatchString(s.ID) && s.ID != "" || re.MatchString(s.Key())
		if byTag {
			hit = slices.ContainsFunc(s.Tags, re.MatchString)
		}
		if hit {
			out = append(out, s.Summary)
		}
	}
	return out
}

// named gives the operations of an id or a key.
func (d *Document) named(name string) (out []Summary) {
	places := slices.Clone(d.byID[name])
	if at, has := d.byKey[name]; has && !slices.Contains(places, at) {
		places = append(places, at)
	}
	slices.Sort(places)
	for _, at := range places {
		out = append(out, d.list[at].Summary)
	}
	return out
}

// Wild reports whether a selector may choose several operations.
func Wild(selector string) bool {
	return strings.Contains(selector, "*") || strings.HasPrefix(strings.TrimSpace(selector), "tag:")
}

func wildcard(s string) *regexp.Regexp {
	return regexp.MustCompile(`^(?s:` + strings.ReplaceAll(regexp.QuoteMeta(s), `\*`, `.*`) + `)$`)
}

func (d *Document) find(s Summary) (summary, bool) {
	at, has := d.byKey[s.Key()]
	if !has {
		return summary{}, false
	}
	return d.list[at], true
}
