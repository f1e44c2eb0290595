package httptool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/openapi"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/params"
)

// spec is the normalized form, what a worker opens. Nothing of an OpenAPI document
// is in it but what becomes of its chosen operations.
type spec struct {
	Tools     []tool     `json:"tools,omitempty"`
	Resources []resource `json:"resources,omitempty"`
}

type tool struct {
	Name string        `json:"name"`
	Risk registry.Risk `json:"risk"`
	// Repeat: the request may be sent again when no answer came.
	Repeat bool `json:"repeat,omitempty"`
	request
}

type resource struct {
	Name      string   `json:"name"`
	URI       string   `json:"uri"`
	Variables []string `json:"variables,omitempty"` // of the URI template
	MIMEType  string   `json:"mime_type"`
	request
}

// request is how arguments become one.
type request struct {
	Method string  `json:"method"`
	Path   string  `json:"path"` // with a {name} for each place of it
	Places []place `json:"places,omitempty"`
	Body   *body   `json:"body,omitempty"`
	// Parameters are checked here; what a document describes was checked at the
	// edge, and Bound is what the model does not give.
	Parameters []params.Parameter `json:"parameters,omitempty"`
	Documented bool               `json:"documented,omitempty"`
	Bound      []bound            `json:"bound,omitempty"`
	Response   response           `json:"response,omitzero"`
	Timeout    time.Duration      `json:"timeout"`
	MaxBytes   int                `json:"max_bytes"`

	path   text
	places []text
	body   node
}

// place is where in a request a value goes.
type place struct {
	In       string `json:"in"`
	Name     string `json:"name"`
	Text     string `json:"text"`
	Style    string `json:"style,omitempty"`
	Explode  bool   `json:"explode,omitempty"`
	Reserved bool   `json:"reserved,omitempty"`
	JSON     bool   `json:"json,omitempty"`
	Wire     string `json:"wire,omitempty"` // of a path's place whose style writes a name
}

type body struct {
	ContentType string            `json:"content_type"`
	Value       json.RawMessage   `json:"value"` // with places in its texts
	Optional    bool              `json:"optional,omitempty"`
	Encoding    map[string]string `json:"encoding,omitempty"` // styles of a form's fields
	// As: the only place is the whole body, as a text or a file of these types.
	As    openapi.As              `json:"as,omitempty"`
	Types []string                `json:"types,omitempty"`
	Parts map[string]openapi.Part `json:"parts,omitempty"`
}

// bound is an argument that the call or the spec gives.
type bound struct {
	Name  string          `json:"name"`
	From  string          `json:"from,omitempty"`
	Value json.RawMessage `json:"value,omitempty"`
}

// response is what of an answer is given.
type response struct {
	Pick   []string          `json:"pick,omitempty"` // keys and positions that lead to it
	Fields []string          `json:"fields,omitempty"`
	Rename map[string]string `json:"rename,omitempty"`
}

func (r *request) compile() (err error) {
	if r.path, err = parseText(r.Path); err != nil {
		return fmt.Errorf("path %w", err)
	}
	r.places = make([]text, len(r.Places))
	for i, p := range r.Places {
		if r.places[i], err = parseText(p.Text); err != nil {
			return fmt.Errorf("%s %s %w", p.In, p.Name, err)
		}
	}
	if r.Body != nil {
		if r.body, err = parseBody(r.Body.Value); err != nil {
			return fmt.Errorf("body %w", err)
		}
	}
	return nil
}

// values checks what was given and adds what comes from the call and the spec.
func (r *request) values(c *runtime.Call, given map[string]json.RawMessage) (map[string]json.RawMessage, error) {
	if !r.Documented {
		return params.Values(r.Parameters, given, c.Value)
	}
	for name, v := range given {
		if string(bytes.TrimSpace(v)) == "null" && !r.inBody(name) {
			delete(given, name)
		}
	}
	for _, b := range r.Bound {
		delete(given, b.Name) // the schema knows it not, and nobody may give it
		switch {
		case b.From == "":
			given[b.Name] = b.Value
		case c.Value(b.From) != "":
			raw, err := json.Marshal(c.Value(b.From))
			if err != nil {
				return nil, err
			}
			given[b.Name] = raw
		}
	}
	return given, nil
}

// inBody reports whether an argument is sent in the body, where null has a
// meaning.
func (r *request) inBody(name string) bool { return slices.Contains(r.body.names(), name) }

// outgoing is a request without its address and its credential.
type outgoing struct {
	path   string // escaped, below the connection's
	query  string
	header http.Header
	body   []byte
	media  string
}

func argumentError(name string, err error) error {
	return params.Invalid(fault.Detail{Pointer: "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name), Reason: err.Error(), Fix: "send another value"})
}

// maxURL is what most servers take.
const maxURL = 8 << 10

// build puts the values in their places.
func (r *request) build(values map[string]json.RawMessage) (out outgoing, err error) {
	inPath := map[string]place{}
	for _, p := range r.Places {
		if p.In == openapi.InPath {
			inPath[p.Name] = p
		}
	}
	if out.path, err = fillPath(r.path, inPath, values); err != nil {
		return out, err
	}
	out.header = http.Header{}
	var query, cookies []string
	for i, p := range r.Places {
		if p.In == openapi.InPath {
			continue
		}
		v, name, err := placed(r.places[i], values)
		if err != nil {
			return out, err
		}
		if v == nil {
			continue
		}
		pairs, err := encode(p, v)
		if err != nil {
			return out, argumentError(name, err)
		}
		switch p.In {
		case openapi.InQuery:
			query = append(query, pairs...)
		case openapi.InCookie:
			cookies = append(cookies, pairs...)
		case openapi.InHeader:
			if len(pairs) == 0 {
				continue
			}
			if !headerText(pairs[0]) {
				return out, argumentError(name, errors.New("holds what a header cannot"))
			}
			out.header.Add(p.Name, pairs[0])
		}
	}
	if len(cookies) > 0 {
		out.header.Set("Cookie", strings.Join(cookies, "; "))
	}
	if out.query = strings.Join(query, "&"); len(out.path)+len(out.query) > maxURL {
		return out, params.Invalid(fault.Detail{Reason: fmt.Sprintf("make an address of more than %d bytes", maxURL), Fix: "ask for less at once"})
	}
	return out, r.fillBody(&out, values)
}

// placed is the value at a place, and the argument that it comes from.
func placed(t text, values map[string]json.RawMessage) (v json.RawMessage, name string, err error) {
	if name, ok := t.sole(); ok {
		return values[name], name, nil
	}
	s, err := t.fill(values)
	if err != nil {
		return nil, "", err
	}
	for _, n := range t.names() {
		name = n
	}
	raw, err := json.Marshal(s)
	return raw, name, err
}

// headerText reports whether a value may stand in a header.
func headerText(s string) bool {
	for _, c := range []byte(s) {
		if c < ' ' && c != '\t' || c >= 0x7f {
			return false
		}
	}
	return len(s) <= 4096
}

// fillPath escapes each value, so that it is a segment or a part of one. A value
// that is empty, or one that climbs, would be the address of something else.
func fillPath(t text, places map[string]place, values map[string]json.RawMessage) (string, error) {
	var b strings.Builder
	for _, p := range t.parts {
		if p.name == "" {
			b.WriteString(escapePath(p.literal))
			continue
		}
		v := values[p.name]
		if v == nil {
			return "", argumentError(p.name, errors.New("is missing"))
		}
		at, known := places[p.name]
		if !known {
			at = place{In: openapi.InPath, Name: p.name, Style: "simple"}
		}
		pairs, err := encode(at, v)
		if err != nil {
			return "", argumentError(p.name, err)
		}
		s := strings.Join(pairs, "")
		if s == "" {
			return "", argumentError(p.name, errors.New("must not be empty"))
		}
		b.WriteString(s)
	}
	path := b.String()
	for segment := range strings.SplitSeq(path, "/") {
		u, err := url.PathUnescape(segment)
		for one := range strings.FieldsFuncSeq(u, func(r rune) bool { return r == '/' || r == '\\' }) {
			if err != nil || one == "." || one == ".." {
				return "", params.Invalid(fault.Detail{Reason: "make a path that leads elsewhere", Fix: "send another value than . or .."})
			}
		}
	}
	return path, nil
}

// escapePath escapes what the spec's author wrote but for slashes and what is
// escaped already.
func escapePath(s string) string {
	return (&url.URL{Path: s}).EscapedPath()
}

// fillBody encodes the body by its content type.
func (r *request) fillBody(out *outgoing, values map[string]json.RawMessage) error {
	if r.Body == nil {
		return nil
	}
	raw, err := r.body.fill(values)
	if err != nil {
		return err
	}
	if raw == nil || r.Body.Optional && string(raw) == "{}" {
		if r.Body.Optional || raw == nil {
			return nil
		}
	}
	out.media = r.Body.ContentType
	base, _, _ := strings.Cut(out.media, ";")
	switch base = strings.TrimSpace(base); {
	case r.Body.As == openapi.AsFile:
		f, err := params.ReadFile(bytes.TrimSpace(raw), r.Body.Types)
		if err != nil {
			return params.Invalid(fault.Detail{Reason: "the body " + err.Error(), Fix: "send a file as the tool's schema describes it"})
		}
		out.body, out.media = f.Content, f.Type
	case r.Body.As == openapi.AsText || base == openapi.Text:
		s, err := plain(raw)
		if err != nil {
			return params.Invalid(fault.Detail{Reason: "the body " + err.Error(), Fix: "send a text"})
		}
		out.body = []byte(s)
	case base == openapi.Form:
		s, err := encodeForm(raw, r.Body)
		if err != nil {
			return params.Invalid(fault.Detail{Reason: err.Error(), Fix: "send plain values"})
		}
		out.body = []byte(s)
	case base == openapi.Multipart:
		if out.body, out.media, err = encodeMultipart(raw, r.Body.Parts); err != nil {
			return params.Invalid(fault.Detail{Reason: err.Error(), Fix: "send values and files as the tool's schema describes them"})
		}
	default:
		out.body = raw
	}
	return nil
}
