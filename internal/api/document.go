package api

import (
	_ "embed"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/routers"

	"latchkey/internal/tenants"
)

//go:embed openapi.yaml
var documentYAML []byte

// document is openapi.yaml as the frame asks for it.
type document struct {
	spec       *openapi3.T
	json       []byte
	reference  []byte
	operations []*operation
	byRoute    map[string]*operation // by method and echo's route
}

// operation is one of the document's, with what its extensions say.
type operation struct {
	id     string
	method string
	path   string // as in the document: /tenants/{tenant}
	route  string // as in echo: /api/v1/tenants/:tenant
	spec   *openapi3.Operation
	// needs are the permissions, all of them; operator stands for people who run
	// the platform; neither for any caller.
	needs    []tenants.Permission
	operator bool
	ofTenant bool // it has a tenant in its path
	stream   bool // answers as it goes
	unlocked bool // a write that waits for no other
	// unrecorded is a POST that changes nothing, such as a check.
	unrecorded bool
	// large is one that may be sent a document of megabytes.
	large bool
	// tagged: it answers what a GET of its path answers, so it has the same ETag.
	tagged bool
	// volatile are members of the answer that change by themselves, such as when a
	// person was last seen. They are no part of the ETag.
	volatile   []string
	queries    []string
	validation *routers.Route
}

func (o *operation) write() bool { return o.method != http.MethodGet }

var pathParameter = regexp.MustCompile(`\{(\w+)\}`)

func loadDocument() (*document, error) {
	spec, err := openapi3.NewLoader().LoadFromData(documentYAML)
	if err != nil {
		return nil, fmt.Errorf("api: openapi.yaml: %w", err)
	}
	d := &document{spec: spec, byRoute: map[string]*operation{}}
	if d.json, err = spec.MarshalJSON(); err != nil {
		return nil, err
	}
	for path, item := range spec.Paths.Map() {
		for method, o := range item.Operations() {
			op, err := d.read(path, method, item, o)
			if err != nil {
				return nil, fmt.Errorf("api: openapi.yaml: %s: %w", o.OperationID, err)
			}
			d.operations = append(d.operations, op)
			d.byRoute[method+" "+op.route] = op
		}
	}
	slices.SortFunc(d.operations, func(a, b *operation) int { return strings.Compare(a.id, b.id) })
	d.reference, err = d.renderReference()
	return d, err
}

func (d *document) read(path, method string, item *openapi3.PathItem, o *openapi3.Operation) (*operation, error) {
	op := &operation{
		id: o.OperationID, method: method, path: path, spec: o,
		route:    Base + pathParameter.ReplaceAllString(path, ":$1"),
		ofTenant: strings.HasPrefix(path, "/tenants/{tenant}"),
	}
	for name, flag := range map[string]*bool{"x-stream": &op.stream, "x-unlocked": &op.unlocked, "x-unrecorded": &op.unrecorded, "x-large": &op.large} {
		*flag, _ = o.Extensions[name].(bool)
	}
	needs, _ := o.Extensions["x-permission"].(string)
	switch needs {
	case "":
		return nil, fmt.Errorf("x-permission is missing")
	case "any":
	case "operator":
		op.operator = true
	default:
		for p := range strings.FieldsSeq(needs) {
			if !tenants.ValidPermission(tenants.Permission(p)) {
				return nil, fmt.Errorf("x-permission names %q", p)
			}
			op.needs = append(op.needs, tenants.Permission(p))
		}
	}
	for _, list := range []openapi3.Parameters{item.Parameters, o.Parameters} {
		for _, p := range list {
			if p.Value.In == openapi3.ParameterInQuery {
				op.queries = append(op.queries, p.Value.Name)
			}
		}
	}
	if own := answerOf(o); own != nil {
		op.tagged = item.Get != nil && own.Ref != "" && answerOf(item.Get) != nil && own.Ref == answerOf(item.Get).Ref
		for name, member := range own.Value.Properties {
			if v, _ := member.Value.Extensions["x-volatile"].(bool); v {
				op.volatile = append(op.volatile, name)
			}
		}
	}
	op.validation = &routers.Route{Spec: d.spec, Path: path, PathItem: item, Method: method, Operation: o}
	return op, nil
}

// answerOf is the schema of what an operation answers when all is well.
func answerOf(o *openapi3.Operation) *openapi3.SchemaRef {
	if ok := o.Responses.Status(http.StatusOK); ok != nil {
		if m := ok.Value.Content.Get("application/json"); m != nil {
			return m.Schema
		}
	}
	return nil
}
