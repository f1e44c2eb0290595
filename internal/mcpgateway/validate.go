package mcpgateway

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
	"golang.org/x/text/language"
	"golang.org/x/text/message"

	"latchkey/internal/fault"
)

// validator checks a tool's arguments. It is compiled once a revision.
type validator struct{ schema *jsonschema.Schema }

// maxProblems bounds how many wrong places one answer names.
const maxProblems = 10

// newValidator compiles a schema. References to other documents are refused:
// nothing is ever fetched for a tenant's schema.
func newValidator(schema json.RawMessage) (*validator, error) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(schema))
	if err != nil {
		return nil, fmt.Errorf("input schema: %w", err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.UseLoader(noLoader{})
	const name = "urn:latchkey:schema"
	if err := c.AddResource(name, doc); err != nil {
		return nil, err
	}
	compiled, err := c.Compile(name)
	if err != nil {
		return nil, fmt.Errorf("input schema: %w", err)
	}
	return &validator{compiled}, nil
}

type noLoader struct{}

func (noLoader) Load(url string) (any, error) {
	return nil, errors.New("a schema may only refer to itself")
}

// check is step 4. It names each wrong place by JSON pointer (RFC 6901).
func (v *validator) check(arguments json.RawMessage) error {
	if len(bytes.TrimSpace(arguments)) == 0 {
		arguments = json.RawMessage(`{}`)
	}
	if err := noDuplicateKeys(arguments); err != nil {
		return err
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(arguments))
	if err != nil {
		return fault.New(fault.InvalidArguments, "The arguments are not valid JSON.").Because(err)
	}
	var invalid *jsonschema.ValidationError
	switch err := v.schema.Validate(doc); {
	case err == nil:
		return nil
	case errors.As(err, &invalid):
		details := leaves(invalid, nil)
		sort.SliceStable(details, func(i, j int) bool { return details[i].Pointer < details[j].Pointer })
		if len(details) > maxProblems {
			details = details[:maxProblems]
		}
		return fault.New(fault.InvalidArguments, "The arguments do not fit this tool's input schema.").WithDetails(details...)
	default:
		return fault.New(fault.InvalidArguments, "The arguments could not be checked.").Because(err)
	}
}

var english = message.NewPrinter(language.English)

// leaves collects the places where validation failed, at their deepest.
func leaves(e *jsonschema.ValidationError, into []fault.Detail) []fault.Detail {
	if len(e.Causes) > 0 {
		for _, cause := range e.Causes {
			if len(into) > 4*maxProblems {
				break
			}
			into = leaves(cause, into)
		}
		return into
	}
	d := fault.Detail{Pointer: pointer(e.InstanceLocation), Reason: short(e.ErrorKind.LocalizedString(english))}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		d.Fix = "add " + strings.Join(k.Missing, ", ")
	case *kind.AdditionalProperties:
		d.Fix = "remove " + short(strings.Join(k.Properties, ", "))
	case *kind.Enum:
		if want, err := json.Marshal(k.Want); err == nil {
			d.Fix = "use one of " + short(string(want))
		}
	case *kind.Type:
		d.Fix = "send " + strings.Join(k.Want, " or ")
	}
	return append(into, d)
}

func pointer(location []string) string {
	var b strings.Builder
	for _, s := range location {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(s))
	}
	return short(b.String())
}

// short bounds what a caller's own text adds to an answer.
func short(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if r := []rune(s); len(r) > 300 {
		return string(r[:300]) + "…"
	}
	return s
}

// noDuplicateKeys refuses objects that say a name twice: readers differ in
// which one they take, and a check must see what runs.
func noDuplicateKeys(raw json.RawMessage) error {
	if fewDistinctNames(raw) {
		return nil
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	type level struct {
		object bool
		key    bool // the next token is a key
		seen   map[string]bool
	}
	var stack []level
	for {
		tok, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fault.New(fault.InvalidArguments, "The arguments are not valid JSON.").Because(err)
		}
		if len(stack) > 0 {
			top := &stack[len(stack)-1]
			if top.object && top.key {
				if k, ok := tok.(string); ok {
					if top.seen[k] {
						return fault.New(fault.InvalidArguments, "The arguments name the same property twice.").
							WithDetails(fault.Detail{Pointer: "/" + short(k), Reason: "it is given twice", Fix: "send it once"})
					}
					top.seen[k] = true
					top.key = false
					continue
				}
			} else if top.object {
				top.key = true
			}
		}
		switch tok {
		case json.Delim('{'):
			stack = append(stack, level{object: true, key: true, seen: map[string]bool{}})
		case json.Delim('['):
			stack = append(stack, level{})
		case json.Delim('}'), json.Delim(']'):
			stack = stack[:len(stack)-1]
		}
		if len(stack) > 64 {
			return fault.New(fault.InvalidArguments, "The arguments are nested deeper than 64 levels.")
		}
	}
}

// fewDistinctNames holds of most arguments: one object of a few members whose
// names differ and whose values hold no further object and few lists.
func fewDistinctNames(raw json.RawMessage) bool {
	var names [8][]byte
	n := 0
	return json.Valid(raw) && bytes.Count(raw, []byte("{")) == 1 && bytes.Count(raw, []byte("[")) <= len(names) && eachMember(raw, func(name, _ []byte) bool {
		if n == len(names) || slices.ContainsFunc(names[:n], func(o []byte) bool { return bytes.Equal(o, name) }) {
			return false
		}
		names[n] = name
		n++
		return true
	})
}
