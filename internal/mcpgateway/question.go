package mcpgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/url"
	"regexp"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// What an upstream asks is a stranger's text that a person, or their model, is
// shown. It is bounded and cleaned, and says whose it is; a page to open must be
// one of the public web. What cannot be made so is not asked.

const (
	methodElicit = "elicitation/create"
	methodSample = "sampling/createMessage"
	methodRoots  = "roots/list"

	maxAskedText  = 4000     // characters of a message
	maxAskedLines = 60       // of it
	maxFormBytes  = 64 << 10 // of a form's schema
	maxFormDepth  = 8
	maxFormText   = 500 // characters of a title or description in it
	maxURL        = 2048
	maxRoots      = 1000

	// metaAsker names, in a question, the server that asks it.
	metaAsker = "latchkey/server"
)

// question is one of an upstream, fit to be put to a client.
type question struct {
	method string
	params mcp.InputRequest
	form   *validator // of the answer to a form; nil: anything
	name   string     // that the upstream gave it; empty: none, or one that is not passed on
	among  int        // how many it asks at once
}

var questionName = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// askable are what a client declared that it can be asked for.
type askable struct {
	form, url                       bool
	sampling, context, toolSampling bool
	roots                           bool
}

func (a askable) anything() bool { return a.form || a.url || a.sampling || a.roots }

// capabilities are those that an upstream is told of.
func (a askable) capabilities() string {
	c := map[string]any{}
	if a.form || a.url {
		e := map[string]any{}
		if a.form {
			e["form"] = struct{}{}
		}
		if a.url {
			e["url"] = struct{}{}
		}
		c["elicitation"] = e
	}
	if a.sampling {
		s := map[string]any{}
		if a.context {
			s["context"] = struct{}{}
		}
		if a.toolSampling {
			s["tools"] = struct{}{}
		}
		c["sampling"] = s
	}
	if a.roots {
		c["roots"] = struct{}{}
	}
	if len(c) == 0 {
		return ""
	}
	raw, err := json.Marshal(c)
	if err != nil { // objects in objects
		return ""
	}
	return string(raw)
}

// askableOf reads capabilities. Elicitation that names no mode means forms.
func askableOf(caps *mcp.ClientCapabilities) (a askable) {
	if caps == nil {
		return a
	}
	if e := caps.Elicitation; e != nil {
		a.form, a.url = e.Form != nil || e.URL == nil, e.URL != nil
	}
	if s := caps.Sampling; s != nil {
		a.sampling, a.context, a.toolSampling = true, s.Context != nil, s.Tools != nil
	}
	a.roots = caps.RootsV2 != nil
	return a
}

// prepare makes an upstream's question fit to be asked, or says why it is not
// asked. Such an error is for the upstream and for whoever called.
func (c *call) prepare(q runtime.Question) (fit question, err error) {
	defer func() {
		var name string
		if name, fit.among = q.Name(); questionName.MatchString(name) {
			fit.name = name
		}
	}()
	switch q.Method {
	case methodElicit:
		return c.prepareElicit(q.Params)
	case methodSample:
		return c.prepareSampling(q.Params)
	case methodRoots:
		if !c.can.roots {
			return question{}, c.unanswerable("for its roots")
		}
		return question{method: methodRoots, params: &mcp.ListRootsParams{Meta: c.askerMeta()}}, nil
	}
	return question{}, c.unanswerable("something (" + oneLine(q.Method, 60) + ")")
}

func (c *call) askerMeta() mcp.Meta { return mcp.Meta{metaAsker: c.host().Server.Slug} }

func (c *call) unanswerable(what string) error {
	return fault.New(fault.Unanswerable, "The server %s asked %s, which this client cannot be asked. Use a client that supports it, or call %s so that it need not ask.", c.host().Server.Slug, what, c.called())
}

// unfit is about a question that nobody is shown.
func (c *call) unfit(why string) error {
	return fault.New(fault.Unanswerable, "The server %s asked something that is not passed on: %s. Tell its administrator.", c.host().Server.Slug, why)
}

// asks is how a question begins, so that a person knows who asks: not the app
// that they use, and not the platform.
func (c *call) asks() string {
	s := c.host().Server
	name := s.Slug
	if s.Title != "" && s.Title != s.Slug {
		name = oneLine(s.Title, 100) + " (" + s.Slug + ")"
	}
	return "The server " + name + " at " + oneLine(c.ex.tenant.Name, 100) + " asks:\n\n"
}

func (c *call) prepareElicit(params json.RawMessage) (question, error) {
	var p mcp.ElicitParams
	if json.Unmarshal(params, &p) != nil {
		return question{}, c.unfit("it could not be read")
	}
	message := c.asks() + paragraphs(p.Message)
	if p.Mode == "url" || p.Mode == "" && p.URL != "" {
		if !c.can.url {
			return question{}, c.unanswerable("its person to open a page (elicitation by URL)")
		}
		at, err := publicPage(p.URL)
		if err != nil {
			return question{}, c.unfit(err.Error())
		}
		return question{method: methodElicit, params: &mcp.ElicitParams{
			Meta: c.askerMeta(), Mode: "url", Message: message + "\n\nThe page is at " + at.Host + ".", URL: p.URL, ElicitationID: oneLine(p.ElicitationID, 200),
		}}, nil
	}
	if p.Mode != "" && p.Mode != "form" {
		return question{}, c.unanswerable("its person in a way that is not known here")
	}
	if !c.can.form {
		return question{}, c.unanswerable("its person to fill in a form (elicitation)")
	}
	var raw struct {
		Schema json.RawMessage `json:"requestedSchema"`
	}
	_ = json.Unmarshal(params, &raw) // it was read before
	form, v, err := cleanForm(raw.Schema)
	if err != nil {
		return question{}, c.unfit(err.Error())
	}
	return question{method: methodElicit, form: v, params: &mcp.ElicitParams{
		Meta: c.askerMeta(), Mode: "form", Message: message, RequestedSchema: form,
	}}, nil
}

// publicPage reads the address of a page that a person may be sent to.
func publicPage(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	switch {
	case err != nil || len(s) > maxURL || strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' }):
		return nil, errors.New("the page that it wants opened has no address that can be used")
	case u.Scheme != "https":
		return nil, errors.New("the page that it wants opened is not at an https address")
	case u.User != nil || u.Host == "" || u.Opaque != "":
		return nil, errors.New("the address of the page that it wants opened hides where it is")
	}
	return u, nil
}

// cleanForm makes a form's schema fit to be shown, in the order that it has.
func cleanForm(schema json.RawMessage) (json.RawMessage, *validator, error) {
	if len(schema) == 0 || string(schema) == "null" {
		schema = json.RawMessage(`{"type":"object","properties":{}}`)
	}
	if len(schema) > maxFormBytes {
		return nil, nil, errors.New("its form is too long")
	}
	var kind struct {
		Type string `json:"type"`
	}
	if json.Unmarshal(schema, &kind) != nil || kind.Type != "object" {
		return nil, nil, errors.New("its form is no object of fields")
	}
	out, err := cleanJSON(schema)
	if err != nil {
		return nil, nil, err
	}
	v, err := newValidator(out)
	if err != nil {
		return nil, nil, errors.New("its form has a schema that cannot be used")
	}
	return out, v, nil
}

// shownIn are the members of a schema that people are shown: they are cleaned.
// All others mean something as they are, and must be clean.
var shownIn = map[string]bool{"title": true, "description": true, "enumNames": true}

// cleanJSON writes a document anew, in its order.
func cleanJSON(raw json.RawMessage) (json.RawMessage, error) {
	w := formWriter{d: json.NewDecoder(bytes.NewReader(raw))}
	w.d.UseNumber()
	if err := w.value("", 0); err != nil {
		return nil, err
	}
	return w.b.Bytes(), nil
}

type formWriter struct {
	d *json.Decoder
	b bytes.Buffer
}

var errForm = errors.New("its form cannot be read")

func (w *formWriter) put(v any) error {
	b, err := json.Marshal(v)
	w.b.Write(b)
	return err
}

func (w *formWriter) value(name string, depth int) error {
	t, err := w.d.Token()
	if err != nil || depth > maxFormDepth {
		return errForm
	}
	switch t := t.(type) {
	case string:
		clean := oneLine(t, maxFormText)
		if !shownIn[name] && clean != t {
			return errors.New("its form holds characters that cannot be seen, or very long values")
		}
		return w.put(clean)
	case json.Delim:
		open, end := byte('{'), byte('}')
		if t == '[' {
			open, end = '[', ']'
		}
		w.b.WriteByte(open)
		for n := 0; w.d.More(); n++ {
			if n > 0 {
				w.b.WriteByte(',')
			}
			inner := name // of a list: what it is a list of
			if t == '{' {
				key, err := w.d.Token()
				s, ok := key.(string)
				if err != nil || !ok || oneLine(s, 100) != s {
					return errForm
				}
				if err := w.put(s); err != nil {
					return err
				}
				w.b.WriteByte(':')
				inner = s
			}
			if err := w.value(inner, depth+1); err != nil {
				return err
			}
		}
		if _, err := w.d.Token(); err != nil {
			return errForm
		}
		w.b.WriteByte(end)
		return nil
	}
	return w.put(t) // a number, a boolean, null
}

// paragraphs makes a stranger's text fit to be shown, line by line.
func paragraphs(s string) string {
	var b strings.Builder
	left := maxAskedText
	for i, line := range strings.Split(strings.ReplaceAll(s, "\r\n", "\n"), "\n") {
		if i == maxAskedLines || left <= 0 {
			b.WriteString("\n…")
			break
		}
		if i > 0 {
			b.WriteByte('\n')
		}
		clean := oneLine(line, left)
		left -= len(clean)
		b.WriteString(clean)
	}
	return strings.TrimSpace(b.String())
}

// prepareSampling passes a request to the client's model on. What it may see of
// other servers is none of this one's business.
func (c *call) prepareSampling(params json.RawMessage) (question, error) {
	var p mcp.CreateMessageWithToolsParams
	if json.Unmarshal(params, &p) != nil || len(p.Messages) == 0 {
		return question{}, c.unfit("its request to your model could not be read")
	}
	switch {
	case !c.can.sampling:
		return question{}, c.unanswerable("its model something (sampling)")
	case (len(p.Tools) > 0 || p.ToolChoice != nil) && !c.can.toolSampling:
		return question{}, c.unanswerable("its model something with tools (sampling)")
	}
	if p.IncludeContext == "allServers" {
		p.IncludeContext = "thisServer"
	}
	if !c.can.context {
		p.IncludeContext = ""
	}
	p.Meta = c.askerMeta()
	return question{method: methodSample, params: &p}, nil
}

// answer makes of what a client answered what the upstream gets. A no is an
// answer too. An error is for the client to correct.
func (q *question) answer(r mcp.InputResponse) (json.RawMessage, error) {
	switch r := r.(type) {
	case *mcp.ElicitResult:
		if q.method != methodElicit {
			break
		}
		return q.elicited(r)
	case *mcp.CreateMessageWithToolsResult:
		if q.method != methodSample {
			break
		}
		out := *r
		out.Meta = nil
		return json.Marshal(&out)
	case *mcp.ListRootsResult:
		if q.method != methodRoots {
			break
		}
		out := mcp.ListRootsResult{Roots: r.Roots[:min(len(r.Roots), maxRoots)]}
		if out.Roots == nil {
			out.Roots = []*mcp.Root{}
		}
		return json.Marshal(&out)
	}
	return nil, badAnswer("", "is no answer to "+q.method)
}

// read is answer of what came as JSON.
func (q *question) read(raw json.RawMessage) (json.RawMessage, error) {
	var r mcp.InputResponse
	switch q.method {
	case methodElicit:
		r = &mcp.ElicitResult{}
	case methodSample:
		r = &mcp.CreateMessageWithToolsResult{}
	default:
		r = &mcp.ListRootsResult{}
	}
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, badAnswer("", "is no answer to "+q.method)
	}
	return q.answer(r)
}

func (q *question) elicited(r *mcp.ElicitResult) (json.RawMessage, error) {
	p, _ := q.params.(*mcp.ElicitParams)
	out := mcp.ElicitResult{Action: r.Action}
	switch r.Action {
	case "decline", "cancel":
	case "accept":
		if p == nil || p.Mode != "form" {
			break
		}
		if out.Content = r.Content; out.Content == nil {
			out.Content = map[string]any{}
		}
		raw, err := json.Marshal(out.Content)
		if err == nil {
			err = q.form.check(raw)
		}
		if err != nil {
			return nil, within(err, "content")
		}
	default:
		return nil, badAnswer("/action", "must be accept, decline or cancel")
	}
	return json.Marshal(&out)
}

func badAnswer(pointer, reason string) error {
	return fault.New(fault.InvalidArguments, "The answer to the server's question cannot be used. Correct it and send it again.").
		WithDetails(fault.Detail{Pointer: pointer, Reason: reason})
}

// within makes the pointers of a schema's problems those of the whole answer.
func within(err error, member string) error {
	f := fault.Of(err)
	out := fault.New(f.Code, "The answer to the server's question does not fit its form. Correct it and send it again.")
	for _, d := range f.Details {
		out = out.WithDetails(fault.Detail{Pointer: "/" + member + d.Pointer, Reason: d.Reason, Fix: d.Fix})
	}
	return out
}

// refused puts in words that a client failed at what it said that it can do.
func (c *call) refused(method string, err error) error {
	return fault.New(fault.Unanswerable, "The client could not answer what the server %s asked (%s).", c.host().Server.Slug, method).Because(err)
}
