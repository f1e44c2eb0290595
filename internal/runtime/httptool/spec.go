package httptool

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/openapi"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/params"
)

const (
	defaultTimeout  = 15 * time.Second
	maxTimeout      = 5 * time.Minute
	defaultMaxBytes = 2 << 20
	maxMaxBytes     = 8 << 20
	// maxSpec is what of a spec a worker is sent: an opening has to fit into one
	// message.
	maxSpec = 1 << 20
	// maxDefinition is what all tools of a server tell models together.
	maxDefinition = 8 << 20
	maxTools      = 2000
)

var methods = []string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}

// safe methods change nothing, as HTTP has it.
func safe(method string) bool { return method == http.MethodGet || method == http.MethodHead }

// riskOf is what a method costs unless somebody says otherwise.
func riskOf(method string) registry.Risk {
	switch {
	case safe(method):
		return registry.Reads
	case method == http.MethodDelete:
		return registry.Destructive
	}
	return registry.Writes
}

// check reads a declared spec (runtime.Kind). A document in it is cut down, where
// it stands, to what the chosen operations need.
func check(n *yaml.Node) (json.RawMessage, registry.Definition, []registry.Problem) {
	c := &checker{Reader: &registry.Reader{}, names: params.Names{}}
	s, d := c.spec(n)
	if len(c.Problems) == 0 {
		normalized, err := json.Marshal(s)
		if err != nil { // texts and numbers only
			panic(err)
		}
		c.bounds(n, normalized, d)
		if len(c.Problems) == 0 {
			return normalized, d, nil
		}
	}
	slices.SortStableFunc(c.Problems, func(a, b registry.Problem) int { return a.Line - b.Line })
	return nil, registry.Definition{}, c.Problems
}

type checker struct {
	*registry.Reader
	names params.Names
}

func (c *checker) spec(n *yaml.Node) (s spec, d registry.Definition) {
	o := c.Object(n, "spec", "openapi", "tools", "resources", "prompts", "instructions")
	d.Instructions = o.Text("instructions")
	o.List("tools", func(n *yaml.Node, path string) {
		t, def := c.tool(n, path)
		s.Tools, d.Tools = append(s.Tools, t), append(d.Tools, def)
	})
	if v := o.Value("openapi"); v != nil {
		tools, defs := c.document(v, o.At("openapi"))
		s.Tools, d.Tools = append(s.Tools, tools...), append(d.Tools, defs...)
	}
	o.List("resources", func(n *yaml.Node, path string) {
		r, def := c.resource(n, path)
		s.Resources, d.Resources = append(s.Resources, r), append(d.Resources, def)
	})
	o.List("prompts", func(n *yaml.Node, path string) { d.Prompts = append(d.Prompts, c.names.Prompt(c.Reader, n, path)) })
	if len(d.Tools)+len(d.Resources)+len(d.Prompts) == 0 && len(c.Problems) == 0 {
		c.Problem(o.Node, "spec", "offers nothing", "declare at least one tool under tools, or choose operations under openapi")
	}
	return s, d
}

func (c *checker) bounds(n *yaml.Node, normalized []byte, d registry.Definition) {
	size := 0
	for _, t := range d.Tools {
		size += len(t.Description) + len(t.InputSchema) + len(t.OutputSchema)
	}
	if len(normalized) > maxSpec || size > maxDefinition || len(d.Tools) > maxTools {
		c.Problem(registry.Deref(n), "spec", fmt.Sprintf("has %d tools with %d kB of requests and %d kB of descriptions, more than the %d, %d kB and %d kB that a server may have",
			len(d.Tools), len(normalized)>>10, size>>10, maxTools, maxSpec>>10, maxDefinition>>10), "choose fewer operations: a model finds its way among a few dozen tools, not among hundreds")
	}
}

func (c *checker) tool(n *yaml.Node, path string) (t tool, def registry.Tool) {
	o := c.Object(n, path, registry.SafetyKeys("name", "title", "description", "risk", "idempotent", "scope", "timeout", "max_bytes", "parameters", "request", "response")...)
	t.Name = c.names.Read(o, "tool")
	t.request = c.request(o, nil)
	t.Risk = params.Risk(o, riskOf(t.Method))
	c.honest(o, t.Risk, t.Method)
	idempotent := o.Flag("idempotent") || t.Risk == registry.Reads
	t.Repeat = idempotent || safe(t.Method)
	def = registry.Tool{
		Name: t.Name, Title: o.Text("title"), Description: o.Needed("description", "say what the tool does and when to use it: the model sees nothing else of it"),
		InputSchema: params.InputSchema(t.Parameters), Scope: params.Scope(o, "tool:"+t.Name), Risk: t.Risk, Idempotent: idempotent, OpenWorld: true, Timeout: t.Timeout,
		Safety: registry.ReadSafety(o, params.Offered(t.Parameters)),
	}
	return t, def
}

// honest refuses a risk that the method gives the lie.
func (c *checker) honest(o registry.Object, r registry.Risk, method string) {
	if r == registry.Reads && (method == http.MethodPut || method == http.MethodPatch || method == http.MethodDelete) {
		o.Bad("risk", "is read, and "+method+" changes something", "declare risk: write, or risk: destructive")
	}
}

// request reads what tools and resources have in common. variables are parameters
// that come out of a URI; nil for a tool.
func (c *checker) request(o registry.Object, variables []string) (r request) {
	r.Timeout = o.Duration("timeout", defaultTimeout, 10*time.Millisecond, maxTimeout)
	r.MaxBytes = o.Whole("max_bytes", defaultMaxBytes, 1024, maxMaxBytes)
	r.Parameters = params.ReadAll(c.Reader, o, variables, true)
	r.Response = c.response(o)
	v := o.Value("request")
	if v == nil {
		if o.Node != nil {
			o.Bad("request", "is missing", "write request: {method: GET, path: /customers/{customer_id}}")
		}
		return r
	}
	c.places(c.Object(v, o.At("request"), "method", "path", "query", "headers", "cookies", "body", "content_type", "lists"), &r)
	return r
}

var headerName = regexp.MustCompile("^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")

// places reads where values go, and gives those that are named nowhere a place: in
// the query, or in the body of a method that has one.
func (c *checker) places(o registry.Object, r *request) {
	r.Method = strings.ToUpper(o.Text("method"))
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if !slices.Contains(methods, r.Method) {
		o.Bad("method", fmt.Sprintf("%.20q is not known", r.Method), "write one of "+strings.Join(methods, ", "))
	}
	r.Path = o.Needed("path", "write one such as /customers/{customer_id}")
	if r.Path != "" && (!strings.HasPrefix(r.Path, "/") || strings.ContainsAny(r.Path, "?# ") || strings.Contains(r.Path, "//") || climbs(r.Path)) {
		o.Bad("path", "is no path below the connection's base_url", "begin it with / and leave ? to query")
	}
	used := map[string]bool{}
	use := func(n *yaml.Node, path string, names []string) {
		for _, name := range names {
			used[name] = true
			if !slices.ContainsFunc(r.Parameters, func(p params.Parameter) bool { return p.Name == name }) {
				c.Problem(n, path, fmt.Sprintf("has the place {%.80s}, which is no parameter", name), "declare it under parameters, or write {{ and }} for braces")
			}
		}
	}
	if t, err := parseText(r.Path); err != nil {
		o.Bad("path", err.Error(), "")
	} else {
		use(o.Value("path"), o.At("path"), t.names())
		for _, name := range t.names() {
			c.always(o, r, "path", name)
		}
	}
	explode := true
	switch l := o.Text("lists"); l {
	case "", "repeat":
	case "comma":
		explode = false
	default:
		o.Bad("lists", fmt.Sprintf("%.40q is not known", l), "write repeat (a=1&a=2) or comma (a=1,2)")
	}
	for _, in := range []struct{ key, place, style string }{{"query", openapi.InQuery, "form"}, {"headers", openapi.InHeader, "simple"}, {"cookies", openapi.InCookie, "form"}} {
		c.Entries(o.Value(in.key), o.At(in.key), func(key, value *yaml.Node, path string) {
			t, err := parseText(value.Value)
			switch {
			case value.Kind != yaml.ScalarNode:
				c.Problem(value, path, "must be a text", `write one such as "{name}"`)
				return
			case err != nil:
				c.Problem(value, path, err.Error(), "")
				return
			case in.place == openapi.InHeader && !headerName.MatchString(key.Value):
				c.Problem(key, path, "is no name of a header", "use letters, digits and -")
			case in.place == openapi.InHeader && openapi.OwnHeader(key.Value):
				c.Problem(key, path, "is not a tool's to set", "log in with auth in the connection; content_type says what is sent")
			}
			use(value, path, t.names())
			r.Places = append(r.Places, place{In: in.place, Name: key.Value, Text: value.Value, Style: in.style, Explode: explode && in.place != openapi.InHeader})
		})
	}
	c.body(o, r, use)
	c.leftOver(r, used, explode)
	c.files(o, r)
}

func climbs(path string) bool {
	return slices.ContainsFunc(strings.Split(path, "/"), func(s string) bool { return s == "." || s == ".." })
}

// always refuses a place in a path for what may be missing.
func (c *checker) always(o registry.Object, r *request, key, name string) {
	for _, p := range r.Parameters {
		if p.Name == name && !p.Required && p.Default == nil && p.From == "" {
			o.Bad(key, fmt.Sprintf("needs %q, which may be left out", name), "write required: true, or give it a default")
		}
	}
}

func (c *checker) body(o registry.Object, r *request, use func(*yaml.Node, string, []string)) {
	v, media := o.Value("body"), strings.ToLower(o.Text("content_type"))
	if v == nil {
		if media != "" {
			r.Body = &body{ContentType: media} // of what is left over
		}
	} else {
		if media == "" {
			if media = openapi.JSON; v.Kind == yaml.ScalarNode {
				if t, err := parseText(v.Value); err == nil {
					if _, alone := t.sole(); !alone {
						media = openapi.Text
					}
				}
			}
		}
		r.Body = &body{ContentType: media, Value: registry.JSONOf(v)}
		n, err := parseBody(r.Body.Value)
		if err != nil {
			o.Bad("body", err.Error(), "")
		} else {
			use(v, o.At("body"), n.names())
		}
		if safe(r.Method) {
			o.Bad("body", "is sent with "+r.Method, "write method: POST, or put the values into query")
		}
		if (media == openapi.Form || media == openapi.Multipart) && v.Kind != yaml.MappingNode {
			o.Bad("body", "must be a mapping to be sent as a form", "write field: \"{name}\" for each")
		}
	}
	if r.Body != nil {
		c.media(o, r, media)
	}
}

// media reads what a body is sent as: a form, JSON, or else a text or a file that
// is all of it.
func (c *checker) media(o registry.Object, r *request, media string) {
	if media == openapi.Form || media == openapi.Multipart || media == openapi.Text || media == openapi.JSON || strings.HasSuffix(media, "+json") {
		return
	}
	usual, ok := params.MediaType(media)
	if !ok || strings.HasSuffix(usual, "*") || strings.HasPrefix(usual, "multipart/") {
		o.Bad("content_type", fmt.Sprintf("%.60q cannot be sent", media), "write "+openapi.JSON+", "+openapi.Form+", "+openapi.Multipart+", "+openapi.Text+", or the type of a file")
		return
	}
	if v := o.Value("body"); v == nil || v.Kind != yaml.ScalarNode {
		o.Bad("body", "must be one text or file to be sent as "+usual, "write body: \"{name}\", with a parameter of type string or file")
	}
	r.Body.ContentType, r.Body.As = usual, openapi.AsText
}

// files says how files are sent, and refuses them where they cannot be: a file is
// a part of multipart/form-data, or all of the body.
func (c *checker) files(o registry.Object, r *request) {
	files := map[string]params.Parameter{}
	for _, p := range r.Parameters {
		if p.IsFile() {
			files[p.Name] = p
		}
	}
	lost := map[string]params.Parameter{}
	for _, name := range r.outsideOfBody() {
		if p, is := files[name]; is {
			lost[name] = p
		}
	}
	if r.Body != nil && r.Body.ContentType == openapi.Multipart {
		c.parts(o, r, files)
	} else if r.Body != nil && r.Body.Value != nil {
		c.fileBody(o, r, files)
	}
	maps.Copy(lost, files)
	for _, p := range lost {
		c.Problem(p.Node, p.Path, fmt.Sprintf("the file %q has no place in the request", p.Name), "give it a part of a body with content_type: "+openapi.Multipart+", or make it the whole body with body: \"{"+p.Name+"}\"")
	}
}

// outsideOfBody names the parameters of the path, the query, headers and cookies.
func (r *request) outsideOfBody() (names []string) {
	texts := []string{r.Path}
	for _, p := range r.Places {
		texts = append(texts, p.Text)
	}
	for _, s := range texts {
		if t, err := parseText(s); err == nil {
			names = append(names, t.names()...)
		}
	}
	return names
}

// parts are the members of a body that is sent in parts. Files that have one are
// taken out of files.
func (c *checker) parts(o registry.Object, r *request, files map[string]params.Parameter) {
	whole, err := parseBody(r.Body.Value)
	if err != nil {
		return // said already
	}
	for _, m := range whole.members {
		if !openapi.PartName(m.name) {
			o.Bad("body", fmt.Sprintf("has the part %.80q, whose name cannot be sent", m.name), "use a name without quotes, \\ and line breaks")
		}
		if m.value.text == nil {
			continue
		}
		name, sole := m.value.text.sole()
		if p, is := files[name]; sole && is {
			if r.Body.Parts == nil {
				r.Body.Parts = map[string]openapi.Part{}
			}
			r.Body.Parts[m.name] = openapi.Part{File: true, Types: p.Accept}
			delete(files, name)
		}
	}
}

// fileBody makes a file the whole body, where it is that.
func (c *checker) fileBody(o registry.Object, r *request, files map[string]params.Parameter) {
	whole, err := parseBody(r.Body.Value)
	if err != nil || whole.text == nil {
		return
	}
	name, sole := whole.text.sole()
	p, is := files[name]
	if !sole || !is || p.Type != "file" {
		return
	}
	r.Body.As, r.Body.Types = openapi.AsFile, p.Accept
	if o.Has("content_type") && len(p.Accept) == 0 {
		r.Body.Types = []string{r.Body.ContentType}
	}
	delete(files, name)
}

// leftOver places the parameters that nothing names.
func (c *checker) leftOver(r *request, used map[string]bool, explode bool) {
	var rest []params.Parameter
	for _, p := range r.Parameters {
		if !used[p.Name] && p.Name != "" {
			rest = append(rest, p)
		}
	}
	intoBody := r.Method == http.MethodPost || r.Method == http.MethodPut || r.Method == http.MethodPatch
	if r.Body != nil && r.Body.Value != nil {
		for _, p := range rest {
			c.Problem(p.Node, p.Path, fmt.Sprintf("the parameter %q is not used in the request", p.Name), "write \"{"+p.Name+"}\" where it belongs, or remove it")
		}
		return
	}
	if !intoBody || len(rest) == 0 {
		r.Body = nil
		for _, p := range rest {
			r.Places = append(r.Places, place{In: openapi.InQuery, Name: p.Name, Text: "{" + p.Name + "}", Style: "form", Explode: explode})
		}
		return
	}
	if r.Body == nil {
		r.Body = &body{ContentType: openapi.JSON}
	}
	if r.Body.ContentType == openapi.Text {
		c.Problem(rest[0].Node, rest[0].Path, "cannot become a text by itself", "write body: \"{"+rest[0].Name+"}\"")
	}
	whole := params.Ordered{}
	for _, p := range rest {
		whole.Add(p.Name, "{"+p.Name+"}")
	}
	r.Body.Value = params.Encode(whole)
}

var pickStep = regexp.MustCompile(`^[^.\[\]\s]{1,100}$`)

// response reads what of an answer is given.
func (c *checker) response(o registry.Object) (r response) {
	v := o.Value("response")
	if v == nil {
		return r
	}
	ro := c.Object(v, o.At("response"), "pick", "fields", "rename")
	if pick := ro.Text("pick"); pick != "" {
		r.Pick = strings.Split(strings.NewReplacer("[", ".", "]", "").Replace(pick), ".")
		if len(r.Pick) > 20 || slices.ContainsFunc(r.Pick, func(s string) bool { return !pickStep.MatchString(s) }) {
			ro.Bad("pick", "is no way into an answer", "write names with dots between them, such as data.items, and [0] for the first of a list")
		}
	}
	r.Fields = ro.Texts("fields")
	for _, f := range r.Fields {
		if f == "" || len(f) > 200 {
			ro.Bad("fields", "has an entry that is no name", "name members of the result, such as id, or owner.name for one within another")
		}
	}
	c.Entries(ro.Value("rename"), ro.At("rename"), func(key, value *yaml.Node, path string) {
		if value.Kind != yaml.ScalarNode || value.Value == "" {
			c.Problem(value, path, "must be the new name", "write "+key.Value+": another_name")
			return
		}
		if r.Rename == nil {
			r.Rename = map[string]string{}
		}
		r.Rename[key.Value] = value.Value
	})
	return r
}

func (c *checker) resource(n *yaml.Node, path string) (r resource, def registry.Resource) {
	o := c.Object(n, path, "name", "uri", "title", "description", "mime_type", "scope", "timeout", "max_bytes", "parameters", "request", "response", "guard")
	def, r.URI, r.Variables = c.names.Resource(c.Reader, o, "crm://customer/{id}", openapi.JSON)
	r.Name, r.MIMEType = def.Name, def.MIMEType
	r.request = c.request(o, r.Variables)
	if r.Method != http.MethodGet && r.Method != "" {
		o.Bad("request", "is sent with "+r.Method+", and a resource is only read", "write method: GET, or make it a tool")
	}
	def.Timeout = r.Timeout
	return r, def
}

// position reads a step of pick as a place in a list.
func position(step string) (int, bool) {
	n, err := strconv.Atoi(step)
	return n, err == nil && n >= 0
}
