package params

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
)

var uuidPattern = regexp.MustCompile(`^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$`)

// Convert reads a JSON value as the parameter's type: a text, an int64, a bool, or
// a list of those. A number that need not be whole stays the text that it is, so
// that it loses nothing, and so does an object.
func (p *Parameter) Convert(raw json.RawMessage) (any, error) {
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
		switch p.Type {
		case "object":
			return string(raw), nil
		case "file":
			_, err := ReadFile(bytes.TrimSpace(raw), p.Accept)
			return string(raw), err
		}
	case string:
		return p.convertText(x)
	}
	return nil, wrong
}

func (p *Parameter) convertText(s string) (any, error) {
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

func (p *Parameter) convertList(raw json.RawMessage) (any, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(raw, &list); err != nil || list == nil {
		return nil, errors.New("must be a list")
	}
	item := Parameter{Type: p.Items, Accept: p.Accept}
	whole, truths, texts := []int64{}, []bool{}, []string{}
	for i, r := range list {
		v, err := item.Convert(r)
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

// Allows holds a value against the parameter's bounds.
func (p *Parameter) Allows(raw json.RawMessage) error {
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

// compare orders two numbers exactly. Convert has refused huge exponents.
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

// Given reads the arguments of a call. The edge has held them against the schema
// already; a worker does not rely on it.
func Given(input json.RawMessage) (map[string]json.RawMessage, error) {
	given := map[string]json.RawMessage{}
	if len(bytes.TrimSpace(input)) == 0 {
		return given, nil
	}
	if err := json.Unmarshal(input, &given); err != nil || given == nil {
		return nil, Invalid(fault.Detail{Reason: "must be a JSON object", Fix: "send {} for a tool without arguments"})
	}
	return given, nil
}

// GivenIn makes arguments of the variables of a URI; ok is false where one is no
// value of its parameter's form.
func GivenIn(all []Parameter, variables map[string]string) (given map[string]json.RawMessage, ok bool) {
	given = map[string]json.RawMessage{}
	for i := range all {
		text, has := variables[all[i].Name]
		if !has {
			continue
		}
		raw := json.RawMessage(text)
		if all[i].IsText() {
			raw, _ = json.Marshal(text) // a text has JSON
		}
		if !json.Valid(raw) {
			return nil, false
		}
		given[all[i].Name] = raw
	}
	return given, true
}

// Invalid is the error for arguments, with each place that is wrong.
func Invalid(d ...fault.Detail) error {
	return fault.New(fault.InvalidArguments, "The arguments are not valid. Correct them and call again.").WithDetails(d...)
}

// Values checks what was given for the parameters, adds what the call gives and
// the defaults, and gives them as JSON. What is not given and has no default is not
// there. The error is for the caller, with each place that is wrong.
func Values(all []Parameter, given map[string]json.RawMessage, call func(from string) string) (map[string]json.RawMessage, error) {
	var problems []fault.Detail
	values := map[string]json.RawMessage{}
	for i := range all {
		p := &all[i]
		if p.From != "" {
			// What was given under this name stays in given: it is unknown.
			if v := call(p.From); v != "" {
				raw, err := json.Marshal(v)
				if err != nil {
					return nil, err
				}
				values[p.Name] = raw
			}
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
			continue
		}
		_, err := p.Convert(raw)
		if err == nil {
			err = p.Allows(raw)
		}
		if err != nil {
			problems = append(problems, fault.Detail{Pointer: "/" + p.Name, Reason: err.Error(), Fix: "send a value of type " + p.Type + " within its bounds"})
			continue
		}
		values[p.Name] = raw
	}
	for name := range given {
		problems = append(problems, fault.Detail{Pointer: "/" + name, Reason: "is no argument of this tool", Fix: "leave it out"})
	}
	if len(problems) > 0 {
		slices.SortFunc(problems, func(a, b fault.Detail) int { return strings.Compare(a.Pointer, b.Pointer) })
		return nil, Invalid(problems...)
	}
	return values, nil
}
