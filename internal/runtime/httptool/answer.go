package httptool

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// result makes the tool's answer of what came back.
func (t *tool) result(a *reply, c *runtime.Call) (*runtime.Result, error) {
	if res, err := t.failure(a, c.Access); res != nil || err != nil {
		return res, err
	}
	switch media := mediaOf(a); {
	case a.cut && c.Access == registry.WriteAccess:
		// It was done: an error would say that it was not.
		return structured(object("status", a.status, "note", "It was done, and the answer is larger than may be given."), -1), nil
	case a.cut:
		return nil, t.tooLarge(a)
	case len(a.body) == 0:
		return structured(object("status", a.status), -1), nil
	case json.Valid(a.body) && (isJSON(media) || media == "" || media == "text/plain" && (a.body[0] == '{' || a.body[0] == '[')):
		return t.json(a.body)
	case isText(media) && utf8.Valid(a.body):
		text := string(a.body)
		raw, err := marshal(map[string]string{"text": text})
		if err != nil {
			return nil, err
		}
		return &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}, StructuredContent: raw}, Rows: -1}, nil
	default:
		return binary(media, a.body), nil
	}
}

func (r *request) tooLarge(a *reply) error {
	n := r.MaxBytes + 1
	if said, err := strconv.Atoi(a.header.Get("Content-Length")); err == nil && said > n {
		n = said
	}
	return runtime.TooLarge(n, r.MaxBytes)
}

func mediaOf(a *reply) string {
	media, _, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return media
}

func isJSON(media string) bool {
	return media == "application/json" || strings.HasSuffix(media, "+json")
}

func isText(media string) bool {
	return media == "" || strings.HasPrefix(media, "text/") || strings.HasSuffix(media, "+xml") ||
		slices.Contains([]string{"application/xml", "application/yaml", "application/javascript", "application/x-ndjson", "application/csv"}, media)
}

// marshal is JSON without the escapes for HTML.
func marshal(v any) (json.RawMessage, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		return nil, err
	}
	return bytes.TrimRight(b.Bytes(), "\n"), nil
}

// object is a small object, in the given order.
func object(pairs ...any) json.RawMessage {
	var b bytes.Buffer
	b.WriteByte('{')
	for i := 0; i+1 < len(pairs); i += 2 {
		if i > 0 {
			b.WriteByte(',')
		}
		name, _ := marshal(pairs[i])
		value, _ := marshal(pairs[i+1])
		b.Write(name)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return b.Bytes()
}

// structured gives an object, and the same as text for clients that read only
// that.
func structured(raw json.RawMessage, rows int) *runtime.Result {
	return &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: string(raw)}}, StructuredContent: raw}, Rows: rows}
}

// json gives what is chosen of a JSON answer. An object is given as it is, a list
// as items with their count, anything else as value.
func (t *tool) json(raw []byte) (*runtime.Result, error) {
	v, err := t.Response.choose(bytes.TrimSpace(raw))
	if err != nil {
		return nil, err
	}
	switch {
	case v == nil:
		return structured(object("value", nil, "note", "The answer has nothing at "+strings.Join(t.Response.Pick, ".")+"."), 0), nil
	case v[0] == '{':
		return structured(v, 1), nil
	case v[0] == '[':
		n := count(v)
		return structured(object("items", v, "count", n), n), nil
	}
	return structured(object("value", v), 1), nil
}

// count is how many entries a list has.
func count(raw json.RawMessage) int {
	var all []json.RawMessage
	if json.Unmarshal(raw, &all) != nil {
		return 0
	}
	return len(all)
}

// choose picks, filters and renames. nil: there is nothing where pick leads.
func (r *response) choose(raw json.RawMessage) (json.RawMessage, error) {
	for _, step := range r.Pick {
		var next json.RawMessage
		switch {
		case len(raw) > 0 && raw[0] == '{':
			var o map[string]json.RawMessage
			if err := json.Unmarshal(raw, &o); err != nil {
				return nil, err
			}
			next = o[step]
		case len(raw) > 0 && raw[0] == '[':
			var l []json.RawMessage
			if err := json.Unmarshal(raw, &l); err != nil {
				return nil, err
			}
			if n, ok := position(step); ok && n < len(l) {
				next = l[n]
			}
		}
		if next == nil {
			return nil, nil
		}
		raw = bytes.TrimSpace(next)
	}
	if len(r.Fields)+len(r.Rename) == 0 || len(raw) == 0 {
		return compact(raw)
	}
	switch raw[0] {
	case '{':
		return r.fields(raw)
	case '[':
		var l []json.RawMessage
		if err := json.Unmarshal(raw, &l); err != nil {
			return nil, err
		}
		for i, one := range l {
			if one = bytes.TrimSpace(one); len(one) > 0 && one[0] == '{' {
				var err error
				if l[i], err = r.fields(one); err != nil {
					return nil, err
				}
			}
		}
		return marshal(l)
	}
	return compact(raw)
}

func compact(raw json.RawMessage) (json.RawMessage, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, raw); err != nil {
		return nil, err
	}
	return b.Bytes(), nil
}

// fields keeps the chosen members of an object, under their new names.
func (r *response) fields(raw json.RawMessage) (json.RawMessage, error) {
	all, _, err := fieldsOf(raw)
	if err != nil {
		return nil, fmt.Errorf("read the answer: it %w", err)
	}
	if len(r.Fields) > 0 {
		var kept []field
		for _, name := range r.Fields {
			if v := within(all, name); v != nil {
				kept = append(kept, field{name, v})
			}
		}
		all = kept
	}
	pairs := make([]any, 0, 2*len(all))
	for _, f := range all {
		name := f.name
		if to, has := r.Rename[name]; has {
			name = to
		}
		pairs = append(pairs, name, f.value)
	}
	return object(pairs...), nil
}

// within finds a member by its name, or by names with dots between them.
func within(all []field, name string) json.RawMessage {
	for _, f := range all {
		if f.name == name {
			return f.value
		}
	}
	first, rest, deeper := strings.Cut(name, ".")
	if !deeper {
		return nil
	}
	for _, f := range all {
		if v := bytes.TrimSpace(f.value); f.name == first && len(v) > 0 && v[0] == '{' {
			inner, _, err := fieldsOf(v)
			if err != nil {
				return nil
			}
			return within(inner, rest)
		}
	}
	return nil
}

// binary gives pictures and sounds as such, and anything else as a file.
func binary(media string, body []byte) *runtime.Result {
	var c mcp.Content
	switch {
	case strings.HasPrefix(media, "image/"):
		c = &mcp.ImageContent{MIMEType: media, Data: body}
	case strings.HasPrefix(media, "audio/"):
		c = &mcp.AudioContent{MIMEType: media, Data: body}
	default:
		if media == "" {
			media = "application/octet-stream"
		}
		c = &mcp.EmbeddedResource{Resource: &mcp.ResourceContents{URI: "attachment:answer", MIMEType: media, Blob: body}}
	}
	return &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{c}, StructuredContent: object("content_type", media, "bytes", len(body))}, Rows: -1}
}

// failure tells what the caller can act on, which is a result, from a fault of the
// upstream, which is an error. Both are nil for a success.
func (r *request) failure(a *reply, access registry.Access) (*runtime.Result, error) {
	if a.status >= 200 && a.status < 300 {
		return nil, nil
	}
	writes := access == registry.WriteAccess
	cause := fmt.Errorf("the upstream answered %d", a.status)
	switch a.status {
	case http.StatusUnauthorized, http.StatusProxyAuthRequired:
		return nil, fault.New(fault.CredentialsAway, "The system behind this tool refused the platform's credential. Nothing was done. Call once more; if it goes on, tell your administrator that the secret of this server's connection has to be set again.").Because(cause)
	case http.StatusTooManyRequests:
		return nil, tooMany(a.header)
	case http.StatusServiceUnavailable:
		wait := max(retryAfter(a.header).Round(time.Second), 5*time.Second)
		return nil, fault.New(fault.UpstreamAway, "The system behind this tool is not available at the moment. Nothing was done. Call again in %d s.", int(wait.Seconds())).After(wait).Because(cause)
	}
	switch {
	case a.status >= 500 && writes:
		return nil, fault.New(fault.OutcomeUnknown, "The system behind this tool failed while it worked on this (status %d). It may have been done or not: look before you try again.", a.status).Because(cause)
	case a.status >= 500:
		return nil, fault.New(fault.UpstreamAway, "The system behind this tool failed (status %d). Nothing was changed. Call again in 5 s; if it goes on, tell your administrator.", a.status).After(5 * time.Second).Because(cause)
	}
	return failed(refusal(a)), nil
}

// refusal says in words why the upstream did not do it, and what to do next. Its
// own words are quoted as far as they are words.
func refusal(a *reply) string {
	said := ""
	if w := upstreamWords(a); w != "" {
		said = " It says: " + w
	}
	switch a.status {
	case http.StatusBadRequest, http.StatusUnprocessableEntity:
		return fmt.Sprintf("The API refused these arguments (status %d).%s", a.status, said)
	case http.StatusForbidden:
		return "The API refused this to the account that the tool uses (status 403). Do not retry; ask your administrator for the right to do it." + said
	case http.StatusNotFound, http.StatusGone:
		return fmt.Sprintf("The API knows no such thing (status %d). Check the arguments that name it.%s", a.status, said)
	case http.StatusConflict, http.StatusPreconditionFailed:
		return fmt.Sprintf("This is in conflict with what the API has now (status %d). Look at the present state first.%s", a.status, said)
	case http.StatusRequestEntityTooLarge:
		return "The API takes less at once (status 413). Send less."
	}
	if a.status >= 300 && a.status < 400 {
		return fmt.Sprintf("The API answered with a redirect (status %d) to a place that is not followed. Tell your administrator: the connection says which redirects are.", a.status)
	}
	return fmt.Sprintf("The API refused this (status %d).%s", a.status, said)
}

func failed(message string) *runtime.Result {
	raw, err := marshal(map[string]any{"error": map[string]any{"category": fault.Validation, "code": fault.ToolFailed.Name, "message": message}})
	if err != nil { // texts only
		panic(err)
	}
	return &runtime.Result{Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: message}}, StructuredContent: raw}}
}

const maxWords = 500 // characters of what an upstream says of an error

// upstreamWords finds the message in an answer. A page is none.
func upstreamWords(a *reply) string {
	media := mediaOf(a)
	if json.Valid(a.body) && len(a.body) > 0 {
		return words(messageIn(a.body, 0))
	}
	if media == "text/plain" {
		return words(string(a.body))
	}
	return ""
}

// messageIn finds it where APIs put it (RFC 9457 and many of their own).
func messageIn(raw json.RawMessage, depth int) string {
	raw = bytes.TrimSpace(raw)
	if len(raw) == 0 || depth > 4 {
		return ""
	}
	switch raw[0] {
	case '"':
		s, _ := plain(raw)
		return s
	case '[':
		var l []json.RawMessage
		if json.Unmarshal(raw, &l) != nil {
			return ""
		}
		var all []string
		for _, one := range l[:min(len(l), 5)] {
			if s := messageIn(one, depth+1); s != "" {
				all = append(all, s)
			}
		}
		return strings.Join(all, "; ")
	case '{':
		var o map[string]json.RawMessage
		if json.Unmarshal(raw, &o) != nil {
			return ""
		}
		var all []string
		for _, k := range []string{"message", "error_description", "detail", "error", "title", "msg", "description", "reason", "errors", "details"} {
			if s := messageIn(o[k], depth+1); s != "" && !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
		return strings.Join(all, ". ")
	}
	return ""
}

// words makes a stranger's text a line that can be shown.
func words(s string) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, ""), func(r rune) bool { return r <= ' ' || r == 0x7f || r == 0x85 || r == 0x2028 || r == 0x2029 }), " ")
	if r := []rune(s); len(r) > maxWords {
		s = string(r[:maxWords]) + "…"
	}
	return s
}

// scrub takes what must not leave the worker out of a text, as it is and as JSON
// writes it: an upstream may repeat what it was sent.
func scrub(s string, hide []string) string {
	for _, h := range hide {
		if h = strings.TrimSpace(h); len(h) < 4 {
			continue
		}
		s = strings.ReplaceAll(s, h, "[withheld]")
		if quoted, err := json.Marshal(h); err == nil {
			s = strings.ReplaceAll(s, string(quoted[1:len(quoted)-1]), "[withheld]")
		}
		if quoted, err := marshal(h); err == nil {
			s = strings.ReplaceAll(s, string(quoted[1:len(quoted)-1]), "[withheld]")
		}
		s = strings.ReplaceAll(s, base64.StdEncoding.EncodeToString([]byte(h)), "[withheld]")
	}
	return s
}

// result makes the answer of a resource.
func (r *resource) result(a *reply, uri string) (*runtime.Result, error) {
	if a.status == http.StatusNotFound || a.status == http.StatusGone {
		return nil, noResource(uri)
	}
	if res, err := r.failure(a, registry.ReadAccess); err != nil {
		return nil, err
	} else if res != nil {
		return nil, fault.New(fault.ToolFailed, "%s", refusal(a)).Because(errors.New("refused"))
	}
	if a.cut {
		return nil, r.tooLarge(a)
	}
	content := &mcp.ResourceContents{URI: uri, MIMEType: r.MIMEType}
	rows := 1
	switch media := mediaOf(a); {
	case json.Valid(a.body) && (isJSON(media) || isJSON(r.MIMEType)):
		v, err := r.Response.choose(bytes.TrimSpace(a.body))
		if err != nil {
			return nil, err
		}
		if v == nil {
			return nil, noResource(uri)
		}
		if content.Text = string(v); v[0] == '[' {
			rows = count(v)
		}
	case isText(media) && utf8.Valid(a.body):
		content.Text = string(a.body)
	default:
		content.Blob = a.body
	}
	return &runtime.Result{Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{content}}, Rows: rows}, nil
}
