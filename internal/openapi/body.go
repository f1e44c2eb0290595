package openapi

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/net/http/httpguts"

	"latchkey/internal/runtime/params"
)

// Body is the content that an operation is sent.
type Body struct {
	ContentType string
	Required    bool
	// As is how the only argument becomes the whole body, where it is neither JSON
	// nor made of fields.
	As    As
	Types []string // of a file: those that may be sent
	// Encoding of fields of a form that are lists or objects: a style.
	Encoding map[string]string
	// Parts say more of fields of a form, or of multipart/form-data.
	Parts map[string]Part
}

// As is how an argument becomes a whole body.
type As string

// The ways.
const (
	AsText As = "text" // as it is
	AsFile As = "file" // with the type that is given, see params.ReadFile
)

// Part is a field of a form or of multipart/form-data.
type Part struct {
	File        bool              `json:"file,omitempty"`
	Types       []string          `json:"types,omitempty"`        // of a file
	ContentType string            `json:"content_type,omitempty"` // of what is no file; empty: by its form
	Headers     map[string]string `json:"headers,omitempty"`
	// Of a form:
	JSON     bool `json:"json,omitempty"`     // its value is JSON text
	Joined   bool `json:"joined,omitempty"`   // a list is one value
	Reserved bool `json:"reserved,omitempty"` // reserved characters stay
}

// Media types that can be sent in a form of their own.
const (
	JSON      = "application/json"
	Form      = "application/x-www-form-urlencoded"
	Multipart = "multipart/form-data"
	Text      = "text/plain"
)

const (
	maxMedia   = 20 // types of a body that are looked at
	maxHeaders = 10 // of a part
)

// IsText reports whether what is of a media type is text, as far as its name
// tells.
func IsText(media string) bool {
	base, _, _ := strings.Cut(strings.ToLower(media), ";")
	base = strings.TrimSpace(base)
	kind, sub, _ := strings.Cut(base, "/")
	_, suffix, _ := strings.Cut(sub, "+")
	texts := []string{"json", "xml", "yaml", "x-yaml", "text", "sql", "graphql", "jwt", "sdp", "ndjson", "x-ndjson", "jsonl", "toml", "csv", "javascript", "x-sh"}
	return kind == "text" || kind == "application" && (slices.Contains(texts, sub) || slices.Contains(texts, suffix))
}

// body makes arguments of the members of what is sent, or one of the whole where
// it is no plain object.
func (b *builder) body() error {
	raw, err := b.doc.resolve(get(b.at.raw, "requestBody"))
	if err != nil || raw == nil {
		return err
	}
	required := string(get(raw, "required")) == "true"
	media, content := chosen(get(raw, "content"), JSON, Form, Multipart, Text)
	if media == "" {
		return b.wholeBody(raw, required)
	}
	b.op.Body = &Body{ContentType: media, Required: required}
	encoding := get(content, "encoding")
	if media == Form {
		b.encoding(encoding)
	}
	schema := get(content, "schema")
	c := b.converter()
	members, needed, plain := c.members(schema, 0)
	one := media == Text || !plain || len(members) == 0 || len(members)+len(b.op.Arguments) > maxArguments
	if one && media == Multipart {
		return b.without(required, "it is sent "+Multipart+", and the document does not name its parts")
	}
	if one {
		s := params.Ordered{{"type", "string"}}
		if media == Text {
			b.op.Body.As = AsText
		} else {
			s = c.schema(schema, 0)
		}
		b.wholeArgument(s, textOf(get(raw, "description")))
		return nil
	}
	for _, m := range members {
		s := c.schema(m.value, 1)
		if has(s, "readOnly") {
			continue
		}
		if media == Multipart {
			if !PartName(m.name) {
				return b.without(required, fmt.Sprintf("its part %q has a name that cannot be sent", clean(m.name, 80)))
			}
			s = b.part(m, s, get(encoding, m.name))
		}
		b.argument(Argument{In: InBody, Wire: m.name, Required: required && slices.Contains(needed, m.name), Schema: s, Default: defaultOf(s)})
	}
	return nil
}

// without leaves the body out where it is not needed.
func (b *builder) without(required bool, why string) error {
	b.op.Body = nil
	if required {
		return fmt.Errorf("%s", why)
	}
	b.note("What may be sent is left out: %s.", why)
	return nil
}

// wholeArgument is the body as one argument.
func (b *builder) wholeArgument(s params.Ordered, description string) {
	describe(&s, description)
	b.op.Arguments = append(b.op.Arguments, Argument{Name: b.names.take("body", 64), In: InBody, Required: b.op.Body.Required, Schema: s})
}

// wholeBody is one of other media types: a text, or a file where none of them is
// text.
func (b *builder) wholeBody(raw []byte, required bool) error {
	var all []string
	text := ""
	offered := 0
	each(get(raw, "content"), func(m string, _ []byte) bool {
		offered++
		if media, ok := params.MediaType(m); ok && !strings.HasPrefix(media, "multipart/") {
			if all = append(all, media); text == "" && IsText(media) && !strings.HasSuffix(media, "*") {
				text = media
			}
		}
		return offered < maxMedia
	})
	switch about := clean(textOf(get(raw, "description")), maxDescription); {
	case offered == 0: // documents have bodies of which they say nothing
	case len(all) == 0:
		var names []string
		each(get(raw, "content"), func(m string, _ []byte) bool {
			names = append(names, strconv.Quote(clean(m, 60)))
			return len(names) < 5
		})
		return b.without(required, "it is sent "+strings.Join(names, ", ")+", which is neither one body nor a form")
	case text != "":
		b.op.Body = &Body{ContentType: text, Required: required, As: AsText}
		b.wholeArgument(params.Ordered{{"type", "string"}}, strings.TrimSpace(about+"\nIt is sent as "+text+"."))
	default:
		b.op.Body = &Body{ContentType: all[0], Required: required, As: AsFile, Types: all}
		b.wholeArgument(params.FileSchema(about, all, false), "")
	}
	return nil
}

// encoding reads how fields of a form are written.
func (b *builder) encoding(raw []byte) {
	b.op.Body.Encoding, b.op.Body.Parts = map[string]string{}, map[string]Part{}
	each(raw, func(field string, v []byte) bool {
		style := textOf(get(v, "style"))
		if slices.Contains(styles[InQuery], style) {
			b.op.Body.Encoding[field] = style
		}
		explode := string(get(v, "explode"))
		p := Part{Joined: explode == "false" || style != "" && style != "form" && style != "deepObject" && explode != "true",
			Reserved: string(get(v, "allowReserved")) == "true",
			// Beside a style it says nothing.
			JSON: style == "" && isJSON(textOf(get(v, "contentType")))}
		if p.Joined || p.Reserved || p.JSON {
			b.op.Body.Parts[field] = p
		}
		return len(b.op.Body.Encoding)+len(b.op.Body.Parts) < maxArguments
	})
}

// PartName reports whether a name can stand in the header of a part.
func PartName(name string) bool {
	return name != "" && len(name) <= 200 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == '"' || r == '\\' || r == '\uFFFD' })
}

// part reads how a field of multipart/form-data is sent, and gives the schema of
// its argument.
func (b *builder) part(m rawMember, s params.Ordered, encoding []byte) params.Ordered {
	var p Part
	declared := b.declaredTypes(m.name, textOf(get(encoding, "contentType")))
	p.Headers = b.partHeaders(m.name, get(encoding, "headers"))
	file, list := b.isFile(m.value, 0)
	if !file && typeOf(s) == "string" && len(declared) > 0 && !slices.ContainsFunc(declared, IsText) {
		file = true
	}
	switch about := descriptionOf(s); {
	case file && list:
		p.File, p.Types = true, declared
		items := params.FileSchema("", declared, true)
		s = params.Ordered{{"type", "array"}, {"items", items}}
		describe(&s, about)
	case file:
		p.File, p.Types = true, declared
		s = params.FileSchema(about, declared, true)
	case len(declared) > 0 && !strings.HasSuffix(declared[0], "*"):
		p.ContentType = declared[0]
		if kind := typeOf(s); (kind == "object" || kind == "array") && !isJSON(p.ContentType) {
			b.note("%q is given as a text, which is sent as %s.", clean(m.name, 80), p.ContentType)
			s = params.Ordered{{"type", "string"}}
			describe(&s, strings.TrimSpace(about+"\nIt is sent as "+p.ContentType+"."))
		}
	}
	if b.op.Body.Parts == nil {
		b.op.Body.Parts = map[string]Part{}
	}
	b.op.Body.Parts[m.name] = p
	return s
}

// declaredTypes are the media types that a list names, with commas between.
func (b *builder) declaredTypes(field, list string) (out []string) {
	for one := range strings.SplitSeq(list, ",") {
		if one = strings.TrimSpace(one); one == "" || one == "*/*" || len(out) == maxMedia {
			continue
		}
		if media, ok := params.MediaType(one); ok {
			out = append(out, media)
		} else {
			b.note("The content type %q of %q is none; it is left out.", clean(one, 60), clean(field, 80))
		}
	}
	return out
}

// partHeaders are those with one value that the document says. There is no place
// for others: a model gives fields.
func (b *builder) partHeaders(field string, raw []byte) map[string]string {
	out := map[string]string{}
	each(raw, func(name string, v []byte) bool {
		header, err := b.doc.resolve(v)
		if err != nil || strings.EqualFold(name, "Content-Type") {
			return true // the content type has a key of its own
		}
		value := b.onlyValue(get(header, "schema"))
		if value == "" || !httpguts.ValidHeaderFieldName(name) || !httpguts.ValidHeaderFieldValue(value) || strings.HasPrefix(strings.ToLower(name), "content-") {
			b.note("The header %q of the part %q is left out: the document does not say its value.", clean(name, 60), clean(field, 80))
			return true
		}
		out[name] = value
		return len(out) < maxHeaders
	})
	return out
}

// onlyValue is the text that a schema allows, if that is one.
func (b *builder) onlyValue(raw []byte) string {
	raw, err := b.doc.resolve(raw)
	if err != nil {
		return ""
	}
	var all []string
	eachOf(get(raw, "enum"), func(v []byte) bool { all = append(all, textOf(v)); return len(all) < 2 })
	for _, v := range []string{textOf(get(raw, "const")), textOf(get(raw, "default"))} {
		if v != "" {
			return v[:min(len(v), 1000)]
		}
	}
	if len(all) == 1 {
		return all[0]
	}
	return ""
}

// isFile reports whether a field of multipart/form-data is a file, or a list of
// such: format binary in 3.0, contentMediaType without contentEncoding in 3.1. What
// is encoded by its own account is sent as that text.
func (b *builder) isFile(raw []byte, depth int) (file, list bool) {
	raw, err := b.doc.resolve(raw)
	if err != nil || depth > maxSchemaDepth {
		return false, false
	}
	if textOf(get(raw, "type")) == "file" { // of Swagger 2.0, and written all the same
		return true, false
	}
	types := slices.DeleteFunc(typesOf(openObject(raw)), func(t string) bool { return t == "null" })
	switch {
	case slices.Equal(types, []string{"array"}):
		file, list = b.isFile(get(raw, "items"), depth+1)
		return file && !list, true
	case len(types) > 1 || len(types) == 1 && types[0] != "string":
		return false, false
	case get(raw, "contentEncoding") != nil:
		return false, false
	case textOf(get(raw, "format")) == "binary":
		return true, false
	}
	media := textOf(get(raw, "contentMediaType"))
	return media != "" && !isJSON(media), false
}

// chosen is the first of the wanted media types that content has.
func chosen(content []byte, wanted ...string) (media string, value []byte) {
	for _, w := range wanted {
		each(content, func(m string, v []byte) bool {
			base, _, _ := strings.Cut(m, ";")
			base = strings.ToLower(strings.TrimSpace(base))
			if base == w || w == JSON && (isJSON(base) || base == "*/*") {
				media, value = base, v
				if base == "*/*" {
					media = JSON
				}
			}
			return media == ""
		})
		if media != "" {
			return media, value
		}
	}
	return "", nil
}

func isJSON(media string) bool {
	base, _, _ := strings.Cut(media, ";")
	return base == JSON || base == "text/json" || strings.HasSuffix(base, "+json")
}
