package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
)

// comparison collects what makes narrow not a part of wide.
type comparison struct {
	answers bool
	steps   int
	out     []Effect
}

func (c *comparison) bad(field, detail string) { c.note(Breaking, field, detail, newVersion) }

func (c *comparison) good(field, detail string) { c.note(Additive, field, detail, "") }

func (c *comparison) note(class Class, field, detail, fix string) {
	if len(c.out) < maxEffects || class == Breaking && !slices.ContainsFunc(c.out, func(e Effect) bool { return e.Class == Breaking }) {
		c.out = append(c.out, Effect{Class: class, Field: field, Detail: detail, Fix: fix})
	}
}

// tighter and looser say the same of both directions, from where a caller
// stands: arguments are taken, answers are given.
func (c *comparison) tighter(field, what string) {
	if c.answers {
		c.bad(field, what+": answers may be others than were promised")
	} else {
		c.bad(field, what+": calls that were good are refused")
	}
}

func (c *comparison) looser(field, what string) { c.good(field, what) }

// within holds every value of narrow against wide. For arguments, narrow is the
// old schema; for answers, it is the new one.
func (c *comparison) within(narrow, wide any, path string, depth int) {
	if c.steps++; depth > maxSchemaDepth || c.steps > maxSchemaSteps {
		c.bad(path, "the schemas are too large to compare")
		return
	}
	if sameValue(narrow, wide) {
		return
	}
	if narrow == false {
		c.looser(path, "it takes values, and took none")
		return
	}
	if wide == false {
		c.tighter(path, "nothing is allowed here")
		return
	}
	n, okN := schemaObject(narrow)
	w, okW := schemaObject(wide)
	if !okN || !okW {
		c.bad(path, "this is no schema, and differs")
		return
	}
	k := &keywords{c, n, w, typesOf(n), path, depth}
	k.types()
	k.values()
	k.numbers()
	k.strings()
	k.arrays()
	k.objects()
	k.others()
}

func schemaObject(v any) (map[string]any, bool) {
	if v == true {
		return map[string]any{}, true
	}
	o, ok := v.(map[string]any)
	return o, ok
}

// keywords is the comparison of two schemas that are objects.
type keywords struct {
	*comparison
	n, w  map[string]any // narrow and wide
	kinds []string       // of values that narrow takes
	path  string
	depth int
}

var allKinds = []string{"array", "boolean", "integer", "null", "number", "object", "string"}

// typesOf lists the types of the values that a schema takes, as far as its type
// says so.
func typesOf(o map[string]any) []string {
	switch t := o["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, v := range t {
			s, ok := v.(string)
			if !ok {
				return allKinds
			}
			out = append(out, s)
		}
		return out
	}
	return allKinds
}

func (k *keywords) may(kinds ...string) bool {
	return slices.ContainsFunc(k.kinds, func(s string) bool { return slices.Contains(kinds, s) })
}

func (k *keywords) at(keyword string) string { return k.path + "/" + keyword }

// same reports whether keywords are equal, but for what is only for reading.
func (k *keywords) same(names ...string) bool {
	return !slices.ContainsFunc(names, func(name string) bool {
		a, hasA := k.n[name]
		b, hasB := k.w[name]
		return hasA != hasB || !sameValue(withoutNotes(schemaIn(name, a), 0), withoutNotes(schemaIn(name, b), 0))
	})
}

// schemaIn wraps what stands in a keyword, so that withoutNotes knows what it is.
func schemaIn(name string, v any) any { return map[string]any{name: v} }

func (k *keywords) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, has := k.w[name]; return has })
}

// equalOnly is for keywords that this cannot reason about.
func (k *keywords) equalOnly(names ...string) {
	switch {
	case k.same(names...):
	case k.has(names...):
		k.tighter(k.at(names[0]), strings.Join(names, ", ")+" differs, and cannot be compared")
	default:
		k.looser(k.at(names[0]), strings.Join(names, ", ")+" is gone")
	}
}

func (k *keywords) types() {
	raw, has := k.w["type"]
	if !has {
		if _, had := k.n["type"]; had {
			k.looser(k.at("type"), "any type")
		}
		return
	}
	if sameValue(raw, k.n["type"]) {
		return
	}
	wide := typesOf(k.w)
	missing := slices.DeleteFunc(slices.Clone(k.kinds), func(s string) bool {
		return slices.Contains(wide, s) || s == "integer" && slices.Contains(wide, "number")
	})
	if len(missing) > 0 {
		if k.answers {
			k.tighter(k.at("type"), "it may be "+strings.Join(missing, " or ")+" now")
		} else {
			k.tighter(k.at("type"), "the type is "+strings.Join(wide, " or ")+" and was "+strings.Join(k.kinds, " or "))
		}
		return
	}
	k.looser(k.at("type"), "the type is wider or narrower in a way that harms nobody")
}

// values are enum and const.
func (k *keywords) values() {
	if k.same("enum", "const") {
		return
	}
	values := func(o map[string]any) (list []any, ok bool) {
		if v, has := o["const"]; has {
			return []any{v}, true
		}
		list, ok = o["enum"].([]any)
		return list, ok
	}
	narrow, finite := values(k.n)
	for _, name := range []string{"enum", "const"} {
		v, has := k.w[name]
		if !has {
			continue
		}
		list, ok := v.([]any)
		if name == "const" {
			list, ok = []any{v}, true
		}
		if !ok || !finite {
			k.tighter(k.at(name), "only listed values are allowed, and any were")
			continue
		}
		var gone []string
		allowed := setOf(list)
		for _, v := range narrow {
			if !allowed[canonical(v)] {
				b, _ := json.Marshal(v)
				gone = append(gone, fmt.Sprintf("%.80s", b))
			}
		}
		switch {
		case len(gone) > 0 && k.answers:
			k.tighter(k.at(name), "it may be "+some(gone)+" now")
		case len(gone) > 0:
			k.tighter(k.at(name), some(gone)+" is not allowed any more")
		default:
			k.looser(k.at(name), "more values")
		}
	}
	if !k.has("enum", "const") {
		k.looser(k.at("enum"), "any value, and not only those that were listed")
	}
}

func some(list []string) string {
	if len(list) > 5 {
		return strings.Join(list[:5], ", ") + fmt.Sprintf(" and %d more", len(list)-5)
	}
	return strings.Join(list, ", ")
}

// bound compares one keyword that is a number: wide must not be tighter. sign is
// 1 for a least value, -1 for a greatest.
func (k *keywords) bound(name string, sign int, kinds ...string) {
	w, has := k.w[name]
	n, had := k.n[name]
	switch {
	case !has:
		if had {
			k.looser(k.at(name), name+" is gone")
		}
	case had && sameValue(n, w), !k.may(kinds...):
	default:
		limit, ok := ratOf(w)
		was, known := ratOf(n)
		if !ok || !known || was.Cmp(limit)*sign < 0 {
			k.tighter(k.at(name), fmt.Sprintf("%s is %s and was %s", name, shownValue(w), orNone(n, had)))
			return
		}
		k.looser(k.at(name), name+" leaves more room")
	}
}

func ratOf(v any) (*big.Rat, bool) {
	n, ok := v.(json.Number)
	if !ok {
		return nil, false
	}
	return rational(n.String())
}

func shownValue(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return "?"
	}
	return fmt.Sprintf("%.60s", b)
}

func orNone(v any, has bool) string {
	if !has {
		return "not there"
	}
	return shownValue(v)
}

func (k *keywords) numbers() {
	for _, side := range []struct {
		plain, exclusive string
		sign             int
	}{{"minimum", "exclusiveMinimum", 1}, {"maximum", "exclusiveMaximum", -1}} {
		k.edge(side.plain, side.exclusive, side.sign)
	}
	w, has := k.w["multipleOf"]
	n, had := k.n["multipleOf"]
	switch {
	case !has && had:
		k.looser(k.at("multipleOf"), "multipleOf is gone")
	case !has, had && sameValue(n, w), !k.may("integer", "number"):
	default:
		step, ok := ratOf(w)
		was, known := ratOf(n)
		if !ok || !known || step.Sign() == 0 || !new(big.Rat).Quo(was, step).IsInt() {
			k.tighter(k.at("multipleOf"), fmt.Sprintf("multipleOf is %s and was %s", shownValue(w), orNone(n, had)))
			return
		}
		k.looser(k.at("multipleOf"), "multipleOf leaves more room")
	}
}

// edge compares a bound that may be said in two ways.
func (k *keywords) edge(plain, exclusive string, sign int) {
	if k.same(plain, exclusive) {
		return
	}
	if !k.has(plain, exclusive) {
		k.looser(k.at(plain), "the bound is gone")
		return
	}
	if !k.may("integer", "number") {
		return
	}
	// follows: narrow's own bounds keep every value on the right side of limit.
	follows := func(limit *big.Rat, open bool) bool {
		if v, ok := ratOf(k.n[plain]); ok {
			if d := v.Cmp(limit) * sign; d > 0 || d == 0 && !open {
				return true
			}
		}
		v, ok := ratOf(k.n[exclusive])
		return ok && v.Cmp(limit)*sign >= 0
	}
	bad := false
	for _, name := range []string{plain, exclusive} {
		w, has := k.w[name]
		if n, had := k.n[name]; !has || had && sameValue(n, w) {
			continue
		}
		if limit, ok := ratOf(w); !ok || !follows(limit, name == exclusive) {
			n, had := k.n[name]
			k.tighter(k.at(name), fmt.Sprintf("%s is %s and was %s", name, shownValue(w), orNone(n, had)))
			bad = true
		}
	}
	if !bad {
		k.looser(k.at(plain), "the bound leaves more room")
	}
}

func (k *keywords) strings() {
	k.atLeast("minLength", "string")
	k.bound("maxLength", -1, "string")
	if !k.may("string") {
		return
	}
	k.equalOnly("pattern")
}

// atLeast is a lower bound on a count, of which none is 0.
func (k *keywords) atLeast(name string, kinds ...string) {
	if w, ok := ratOf(k.w[name]); ok && w.Sign() == 0 {
		if _, had := k.n[name]; had {
			k.looser(k.at(name), name+" is gone")
		}
		return
	}
	k.bound(name, 1, kinds...)
}

func (k *keywords) arrays() {
	if !k.may("array") {
		return
	}
	k.atLeast("minItems", "array")
	k.bound("maxItems", -1, "array")
	if k.w["uniqueItems"] != false {
		k.equalOnly("uniqueItems")
	}
	k.equalOnly("contains", "minContains", "maxContains")
	n, hadItems := k.n["items"]
	w, hasItems := k.w["items"]
	switch {
	case !k.same("prefixItems"):
		if k.has("prefixItems") || hasItems && w != true {
			k.tighter(k.at("prefixItems"), "the items differ, and cannot be compared")
			return
		}
		k.looser(k.at("items"), "any items")
	case hasItems && hadItems:
		k.within(n, w, k.at("items"), k.depth+1)
	case hasItems:
		k.within(true, w, k.at("items"), k.depth+1)
	case hadItems:
		k.looser(k.at("items"), "any items")
	}
}

func (k *keywords) objects() {
	if !k.may("object") {
		return
	}
	k.atLeast("minProperties", "object")
	k.bound("maxProperties", -1, "object")
	k.equalOnly("propertyNames")
	k.equalOnly("dependentRequired")
	k.equalOnly("dependentSchemas")
	k.equalOnly("dependencies")

	n, okN := memberMap(k.n, "properties")
	w, okW := memberMap(k.w, "properties")
	needed, okR := textList(k.w, "required")
	had, _ := textList(k.n, "required")
	required, given := nameSet(needed), nameSet(had)
	if !okN || !okW || !okR {
		k.bad(k.at("properties"), "properties or required is not what it should be")
		return
	}
	patterns := k.same("patternProperties")
	if !patterns && k.has("patternProperties") {
		k.tighter(k.at("patternProperties"), "patternProperties differs, and cannot be compared")
	}
	if !patterns && !k.has("patternProperties") {
		if rest, has := k.w["additionalProperties"]; has && rest != true {
			k.tighter(k.at("patternProperties"), "what fell under patternProperties is not allowed any more")
		} else {
			k.looser(k.at("patternProperties"), "patternProperties is gone")
		}
	}
	_, patterned := k.n["patternProperties"]
	rest, closes := k.n["additionalProperties"]
	for _, name := range slices.Sorted(maps.Keys(w)) {
		at := k.at("properties/" + escaped(name))
		var old, was any = true, false
		if _, known := n[name]; known {
			old, was = n[name], true
		}
		switch {
		case was == true:
			k.property(old, w[name], at, required[name] && given[name])
		case k.answers: // promised before, and not said any more
			k.bad(at, "it is not in the answer any more, or has another name")
		case patterned:
			k.within(true, w[name], at, k.depth+1)
		case closes && rest != true && rest != false:
			k.within(rest, w[name], at, k.depth+1)
		case required[name]: // said below
		default:
			k.good(at, "a new optional argument")
		}
	}
	for _, name := range slices.Sorted(maps.Keys(n)) {
		if _, kept := w[name]; kept {
			continue
		}
		at := k.at("properties/" + escaped(name))
		if !k.answers {
			k.bad(at, "the argument is removed, or has another name")
			continue
		}
		// New in the answer: what was promised must have had room for it.
		switch rest, has := k.w["additionalProperties"]; {
		case has && rest != true:
			k.within(n[name], rest, at, k.depth+1)
		default:
			k.good(at, "the answer has more")
		}
	}
	for _, name := range needed {
		if given[name] {
			continue
		}
		at := k.at("required/" + escaped(name))
		if k.answers {
			k.bad(at, "it may be missing in the answer now")
		} else {
			k.bad(at, "the argument must be given now")
		}
	}
	if slices.ContainsFunc(had, func(name string) bool { return !required[name] }) {
		k.good(k.at("required"), "less must be there")
	}
	if wide, has := k.w["additionalProperties"]; has && wide != true {
		if !closes {
			rest = true
		}
		k.within(rest, wide, k.at("additionalProperties"), k.depth+1)
	} else if closes && rest != true {
		k.good(k.at("additionalProperties"), "other members are allowed")
	}
}

// property compares what both declare, and what an argument means when it is
// left out.
func (k *keywords) property(narrow, wide any, at string, given bool) {
	k.within(narrow, wide, at, k.depth+1)
	if k.answers || given {
		return
	}
	n, _ := schemaObject(narrow)
	w, _ := schemaObject(wide)
	was, had := n["default"]
	is, has := w["default"]
	switch {
	case had && !has:
		k.bad(at+"/default", "the default is gone: calls without it mean something else")
	case had && !sameValue(was, is):
		k.bad(at+"/default", fmt.Sprintf("the default is %s and was %s: calls without it mean something else", shownValue(is), shownValue(was)))
	case !had && has:
		k.good(at+"/default", "it says what is meant when it is left out")
	}
}

func memberMap(o map[string]any, key string) (map[string]any, bool) {
	v, has := o[key]
	if !has {
		return nil, true
	}
	m, ok := v.(map[string]any)
	return m, ok
}

func textList(o map[string]any, key string) (out []string, ok bool) {
	v, has := o[key]
	if !has {
		return nil, true
	}
	l, ok := v.([]any)
	if !ok {
		return nil, false
	}
	for _, v := range l {
		s, ok := v.(string)
		if !ok {
			return nil, false
		}
		out = append(out, s)
	}
	return out, true
}

func nameSet(list []string) map[string]bool {
	out := make(map[string]bool, len(list))
	for _, name := range list {
		out[name] = true
	}
	return out
}

func escaped(name string) string { return strings.NewReplacer("~", "~0", "/", "~1").Replace(name) }

// compared are the keywords that are compared above, or that say nothing of values.
var compared = []string{
	"type", "enum", "const", "minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "pattern",
	"minItems", "maxItems", "uniqueItems", "contains", "minContains", "maxContains", "items", "prefixItems",
	"minProperties", "maxProperties", "propertyNames", "dependentRequired", "dependentSchemas", "dependencies", "properties", "patternProperties", "required", "additionalProperties",
	"allOf", "anyOf", "if", "then", "else", "$defs", "definitions", "default",
}

func (k *keywords) others() {
	k.equalOnly("if", "then", "else")
	// Of all, each of wide's must be one of narrow's; of any, the other way.
	k.listed("allOf", k.w, k.n)
	k.listed("anyOf", k.n, k.w)
	for _, name := range slices.Sorted(maps.Keys(k.w)) {
		if !slices.Contains(compared, name) && !slices.Contains(noteKeywords, name) {
			k.equalOnly(name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(k.n)) {
		if _, has := k.w[name]; !has && !slices.Contains(compared, name) && !slices.Contains(noteKeywords, name) {
			k.looser(k.at(name), name+" is gone")
		}
	}
}

func (k *keywords) listed(name string, of, in map[string]any) {
	if k.same(name) {
		return
	}
	if !k.has(name) {
		k.looser(k.at(name), name+" is gone")
		return
	}
	plain, _ := withoutNotes(schemaIn(name, of[name]), 0).(map[string]any)
	all, ok := plain[name].([]any)
	plain, _ = withoutNotes(schemaIn(name, in[name]), 0).(map[string]any)
	among, okAmong := plain[name].([]any)
	there := setOf(among)
	for _, s := range all {
		ok = ok && there[canonical(s)]
	}
	if !ok || !okAmong {
		k.tighter(k.at(name), name+" differs, and cannot be compared")
		return
	}
	k.looser(k.at(name), name+" leaves more room")
}
