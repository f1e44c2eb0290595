package sqltool

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// bind gives the statement's arguments for a tool call. The edge has held them
// against the schema already; a worker does not rely on it.
func (t *tool) bind(c *runtime.Call) ([]any, error) {
	given := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(c.Input)) > 0 {
		if err := json.Unmarshal(c.Input, &given); err != nil || given == nil {
			return nil, invalid(fault.Detail{Reason: "must be a JSON object", Fix: "send {} for a tool without arguments"})
		}
	}
	return t.arguments(c, given)
}

// bind gives the statement's arguments for a URI.
func (r *resource) bind(c *runtime.Call, variables map[string]string) ([]any, error) {
	given := map[string]json.RawMessage{}
	for _, p := range r.Parameters {
		text, has := variables[p.Name]
		if !has {
			continue
		}
		raw := json.RawMessage(text)
		if paramTypes[p.Type].json == "string" {
			raw, _ = json.Marshal(text)
		}
		if !json.Valid(raw) {
			return nil, fault.New(fault.NotFound, "This server has no resource %q.", c.Name)
		}
		given[p.Name] = raw
	}
	return r.arguments(c, given)
}

// arguments checks what was given and puts it, with what comes from the call,
// in the order of the statement's numbers.
func (s *statement) arguments(c *runtime.Call, given map[string]json.RawMessage) ([]any, error) {
	var problems []fault.Detail
	values := map[string]any{}
	for i := range s.Parameters {
		p := &s.Parameters[i]
		if p.From != "" {
			// What was given under this name stays in given: it is unknown.
			values[p.Name] = fromCall(c, p.From)
			continue
		}
		raw, has := given[p.Name]
		delete(given, p.Name)
		if !has || string(raw) == "null" {
			if p.Required {
				problems = append(problems, fault.Detail{Pointer: "/" + p.Name, Reason: "is missing", Fix: "send a value of type " + p.Type})
			}
			raw = p.Default
		}
		if raw == nil || string(raw) == "null" {
			values[p.Name] = nil
			continue
		}
		v, err := p.convert(raw)
		if err == nil {
			err = p.allows(raw)
		}
		if err != nil {
			problems = append(problems, fault.Detail{Pointer: "/" + p.Name, Reason: err.Error(), Fix: "send a value of type " + p.Type + " within its bounds"})
			continue
		}
		values[p.Name] = v
	}
	for name := range given {
		problems = append(problems, fault.Detail{Pointer: "/" + name, Reason: "is no argument of this tool", Fix: "leave it out"})
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b fault.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
		return nil, invalid(problems...)
	}
	args := make([]any, len(s.Binds))
	for i, name := range s.Binds {
		args[i] = values[name]
	}
	return args, nil
}

func invalid(d ...fault.Detail) error {
	return fault.New(fault.InvalidArguments, "The arguments are not valid. Correct them and call again.").WithDetails(d...)
}

// fromCall is a value that the caller's token or the call gives; what is not
// there is NULL.
func fromCall(c *runtime.Call, from string) any {
	v := map[string]string{
		"caller.id": string(c.Caller.User), "caller.email": c.Caller.Email, "caller.name": c.Caller.Name, "caller.client": c.Caller.Client,
		"call.id": c.ID, "call.idempotency_key": c.IdempotencyKey,
	}[from]
	if v == "" {
		return nil
	}
	return v
}

var uuidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// convert reads a JSON value as an argument for Postgres. What is not text, a
// whole number, a truth or a list of those goes as text, which the statement
// casts: Postgres reads it as data and never as SQL.
func (p *parameter) convert(raw json.RawMessage) (any, error) {
	if p.Type == "array" {
		return p.convertList(raw)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	var v any
	if err := dec.Decode(&v); err != nil {
		return nil, errors.New("is no JSON")
	}
	wrong := fmt.Errorf("must be of type %s", p.Type)
	switch x := v.(type) {
	case bool:
		if p.Type == "boolean" {
			return x, nil
		}
	case json.Number:
		switch p.Type {
		case "integer":
			return wholeNumber(x)
		case "number":
			if f, err := x.Float64(); err != nil || math.IsInf(f, 0) || len(x) > 100 {
				return nil, errors.New("is too large a number")
			}
			return x.String(), nil
		}
	case map[string]any:
		if p.Type == "object" {
			return string(raw), nil
		}
	case string:
		return p.convertText(x)
	}
	return nil, wrong
}

func (p *parameter) convertText(s string) (any, error) {
	if strings.ContainsRune(s, 0) {
		return nil, errors.New("holds a NUL character")
	}
	switch p.Type {
	case "string":
		return s, nil
	case "date":
		if _, err := time.Parse(time.DateOnly, s); err != nil {
			return nil, errors.New("must be a date such as 2026-01-31")
		}
		return s, nil
	case "timestamp":
		if _, err := time.Parse(time.RFC3339, s); err != nil {
			return nil, errors.New("must be a time such as 2026-01-31T12:00:00Z")
		}
		return s, nil
	case "uuid":
		if !uuidPattern.MatchString(s) {
			return nil, errors.New("must be a UUID")
		}
		return s, nil
	}
	return nil, fmt.Errorf("must be of type %s", p.Type)
}

func (p *parameter) convertList(raw json.RawMessage) (any, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, errors.New("must be a list")
	}
	item := parameter{Type: p.Items}
	whole, truths, texts := []int64{}, []bool{}, []string{}
	for i, r := range list {
		v, err := item.convert(r)
		if err != nil {
			return nil, fmt.Errorf("entry %d %w", i, err)
		}
		switch x := v.(type) {
		case int64:
			whole = append(whole, x)
		case bool:
			truths = append(truths, x)
		case string:
			texts = append(texts, x)
		}
	}
	switch p.Items {
	case "integer":
		return whole, nil
	case "boolean":
		return truths, nil
	}
	return texts, nil
}

// wholeNumber takes 5 and, as JSON Schema does, 5.0.
func wholeNumber(n json.Number) (int64, error) {
	if i, err := strconv.ParseInt(n.String(), 10, 64); err == nil {
		return i, nil
	}
	f, err := n.Float64()
	if err != nil || f != math.Trunc(f) || math.Abs(f) > 1<<53 {
		return 0, errors.New("must be a whole number of 64 bits")
	}
	return int64(f), nil
}

// allows holds a value against the parameter's bounds.
func (p *parameter) allows(raw json.RawMessage) error {
	if len(p.Enum) > 0 && !slices.ContainsFunc(p.Enum, func(e json.RawMessage) bool { return sameJSON(e, raw) }) {
		list, _ := json.Marshal(p.Enum)
		return fmt.Errorf("must be one of %s", list)
	}
	switch p.Type {
	case "integer", "number":
		if p.Minimum != "" && compare(json.Number(raw), p.Minimum) < 0 {
			return fmt.Errorf("must be at least %s", p.Minimum)
		}
		if p.Maximum != "" && compare(json.Number(raw), p.Maximum) > 0 {
			return fmt.Errorf("must be at most %s", p.Maximum)
		}
	case "string":
		var s string
		if json.Unmarshal(raw, &s) != nil {
			return errors.New("must be a text")
		}
		n := utf8.RuneCountInString(s)
		if p.MinLength != nil && n < *p.MinLength {
			return fmt.Errorf("must have at least %d characters", *p.MinLength)
		}
		if p.MaxLength != nil && n > *p.MaxLength {
			return fmt.Errorf("must have at most %d characters", *p.MaxLength)
		}
		if p.Pattern != "" {
			if ok, err := regexp.MatchString(p.Pattern, s); err != nil || !ok {
				return fmt.Errorf("must match %s", p.Pattern)
			}
		}
	case "array":
		var list []json.RawMessage
		if json.Unmarshal(raw, &list) != nil {
			return errors.New("must be a list")
		}
		if p.MaxItems != nil && len(list) > *p.MaxItems {
			return fmt.Errorf("must have at most %d entries", *p.MaxItems)
		}
	}
	return nil
}

// compare orders two numbers exactly. convert has refused huge exponents.
func compare(a, b json.Number) int {
	x, okX := new(big.Rat).SetString(string(bytes.TrimSpace([]byte(a))))
	y, okY := new(big.Rat).SetString(b.String())
	if !okX || !okY {
		return 0
	}
	return x.Cmp(y)
}

func sameJSON(a, b json.RawMessage) bool {
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	xs, okX := x.(string)
	ys, okY := y.(string)
	if okX || okY {
		return okX && okY && xs == ys
	}
	return fmt.Sprint(x) == fmt.Sprint(y)
}
