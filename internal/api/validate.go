package api

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/url"
	"slices"
	"strings"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/labstack/echo/v4"

	"latchkey/internal/fault"
)

// maxPlaces bounds how many wrong places are told at once.
const maxPlaces = 50

// validate holds a request against the document and points at every wrong
// place. Defaults of parameters are filled in.
func (a *API) validate(c echo.Context, r *request) error {
	var places []fault.Detail
	for name, values := range c.QueryParams() {
		switch {
		case !slices.Contains(r.op.queries, name):
			fix := "leave it out"
			if len(r.op.queries) > 0 {
				fix = "the parameters are " + strings.Join(r.op.queries, ", ")
			}
			places = append(places, fault.Detail{Pointer: "?" + clip(name, 80), Reason: "is not a parameter of this operation", Fix: fix})
		case len(values) > 1:
			places = append(places, fault.Detail{Pointer: "?" + name, Reason: "stands here twice", Fix: "send it once"})
		}
	}
	if len(places) > 0 {
		return invalid(places)
	}
	if err := a.json(c, r); err != nil {
		return err
	}
	params := map[string]string{}
	for i, name := range c.ParamNames() {
		v, err := url.PathUnescape(c.ParamValues()[i])
		if err != nil {
			return notFound()
		}
		params[name] = v
	}
	in := &openapi3filter.RequestValidationInput{
		Request: c.Request(), PathParams: params, Route: r.op.validation,
		Options: &openapi3filter.Options{MultiError: true, AuthenticationFunc: openapi3filter.NoopAuthenticationFunc},
	}
	if len(r.body) > 0 {
		c.Request().Body = io.NopCloser(bytes.NewReader(r.body))
	}
	err := openapi3filter.ValidateRequest(c.Request().Context(), in)
	// What the handler binds is what was checked, with defaults filled in.
	if len(r.body) > 0 {
		c.Request().Body = io.NopCloser(bytes.NewReader(r.body))
		c.Request().ContentLength = int64(len(r.body))
	}
	if err == nil {
		return nil
	}
	var path bool
	places, path = wrongPlaces(err, nil)
	if path { // an id of another form is one that does not exist
		return notFound()
	}
	if len(places) == 0 {
		return fault.New(fault.InvalidRequest, "The request is not of the form that the reference at %s/docs describes.", Base).Because(err)
	}
	return invalid(places)
}

// json refuses a body that is not JSON, or not said to be.
func (a *API) json(c echo.Context, r *request) error {
	wanted := r.op.spec.RequestBody != nil
	switch {
	case !wanted && len(bytes.TrimSpace(r.body)) > 0:
		return fault.New(fault.InvalidRequest, "This operation takes no body. Send none.")
	case !wanted:
		c.Request().Body, r.body = io.NopCloser(bytes.NewReader(nil)), nil
		return nil
	case len(r.body) == 0:
		return fault.New(fault.InvalidRequest, "The body is missing. Send JSON.")
	}
	if t, _, err := mime.ParseMediaType(c.Request().Header.Get("Content-Type")); err != nil || t != echo.MIMEApplicationJSON {
		return fault.New(fault.InvalidRequest, "Send the body as application/json.")
	}
	if !json.Valid(r.body) {
		var v any
		err := json.Unmarshal(r.body, &v)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return fault.New(fault.InvalidRequest, "The body is not JSON: it breaks at byte %d.", syntax.Offset).Because(err)
		}
		return fault.New(fault.InvalidRequest, "The body is not JSON.").Because(err)
	}
	return nil
}

func invalid(places []fault.Detail) error {
	if len(places) > maxPlaces {
		places = places[:maxPlaces]
	}
	slices.SortStableFunc(places, func(a, b fault.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
	return fault.New(fault.InvalidRequest, "Some of what was sent has to be corrected: see errors.").WithDetails(places...)
}

// wrongPlaces flattens the validator's errors. path says that the path itself
// does not fit.
func wrongPlaces(err error, at []string) (places []fault.Detail, path bool) {
	var multi openapi3.MultiError
	var re *openapi3filter.RequestError
	var se *openapi3.SchemaError
	switch {
	case asExactly(err, &multi):
		for _, e := range multi {
			more, p := wrongPlaces(e, at)
			places, path = append(places, more...), path || p
		}
		return places, path
	case asExactly(err, &re):
		if re.Parameter != nil {
			switch re.Parameter.In {
			case openapi3.ParameterInPath:
				return nil, true
			case openapi3.ParameterInHeader:
				at = []string{"header " + re.Parameter.Name}
			default:
				at = []string{"?" + re.Parameter.Name}
			}
		}
		if re.Err == nil {
			return []fault.Detail{{Pointer: pointer(at, nil), Reason: re.Reason}}, false
		}
		return wrongPlaces(re.Err, at)
	case errors.As(err, &se):
		return []fault.Detail{explain(se, at)}, false
	}
	return []fault.Detail{{Pointer: pointer(at, nil), Reason: "cannot be read", Fix: "compare it with the reference"}}, false
}

func asExactly[T error](err error, to *T) bool {
	e, ok := err.(T)
	if ok {
		*to = e
	}
	return ok
}

// pointer is an RFC 6901 pointer into the body, or names a parameter.
func pointer(at, keys []string) string {
	if len(at) > 0 {
		return at[0]
	}
	var b strings.Builder
	for _, k := range keys {
		b.WriteString("/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(clip(k, 100)))
	}
	return b.String()
}

// explain says what a schema wants, in words.
func explain(e *openapi3.SchemaError, at []string) fault.Detail {
	d := fault.Detail{Pointer: pointer(at, e.JSONPointer()), Reason: e.Reason}
	sc := e.Schema
	switch e.SchemaField {
	case "required":
		d.Reason = "is missing"
		d.Fix = "send it"
	case "properties", "additionalProperties":
		d.Reason = "is not a field of this"
		var known []string
		for k := range sc.Properties {
			known = append(known, k)
		}
		slices.Sort(known)
		d.Fix = "the fields are " + strings.Join(known, ", ")
		if name, ok := quoted(e.Reason); ok && len(at) == 0 {
			d.Pointer = pointer(nil, append(slices.Clone(e.JSONPointer()), name))
		}
	case "type":
		d.Reason = "must be of type " + strings.Join(sc.Type.Slice(), " or ")
	case "enum":
		var values []string
		for _, v := range sc.Enum {
			values = append(values, fmt.Sprint(v))
		}
		d.Reason, d.Fix = "is not one of the choices", "write one of "+strings.Join(values, ", ")
	case "pattern":
		d.Reason, d.Fix = "is not of the right form", "it has to match "+sc.Pattern
	case "minLength":
		d.Reason = fmt.Sprintf("must have at least %d characters", sc.MinLength)
	case "maxLength":
		d.Reason, d.Fix = fmt.Sprintf("has more than %d characters", *sc.MaxLength), "shorten it"
	case "minimum":
		d.Reason = fmt.Sprintf("must be at least %v", *sc.Min)
	case "maximum":
		d.Reason = fmt.Sprintf("must be at most %v", *sc.Max)
	case "minItems":
		d.Reason = fmt.Sprintf("must have at least %d entries", sc.MinItems)
	case "maxItems":
		d.Reason, d.Fix = fmt.Sprintf("has more than %d entries", *sc.MaxItems), "send fewer at once"
	case "uniqueItems":
		d.Reason, d.Fix = "holds an entry twice", "send each once"
	case "minProperties":
		d.Reason, d.Fix = "changes nothing", "send at least one field"
	case "format":
		d.Reason = "is not of the form " + sc.Format
		if sc.Format == "date-time" {
			d.Fix = "write a time such as 2026-05-01T12:00:00Z"
		}
	}
	return d
}

func quoted(s string) (string, bool) {
	_, rest, ok := strings.Cut(s, `"`)
	if !ok {
		return "", false
	}
	name, _, ok := strings.Cut(rest, `"`)
	return name, ok
}

func clip(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return strings.ToValidUTF8(s[:n], "") + "…"
}
