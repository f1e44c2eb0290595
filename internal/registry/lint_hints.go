package registry

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// What makes a tool easy to use well. These are hints for people: they look for
// words, and a description that says it in other words is as good.

var (
	saysWhen    = regexp.MustCompile(`(?i)\b(?:use (?:it|this|to|for|when|after|before)|used (?:to|for|when)|when|whenever|if|to (?:get|find|see|check|try|learn|look|make|answer|list|tell)|for (?:\w+ing|a|an|the|each)|after|before|once|call it|helps?)\b`)
	saysWhenNot = regexp.MustCompile(`(?i)\b(?:not|n't|never|instead|rather|only|cannot|except|without|unless|nothing|no more|other(?:wise)?|refuses|does the rest|tells the rest)\b`)
	saysExample = regexp.MustCompile(`(?i)\b(?:such as|e\.?g\b|example|for instance|like)|[0-9]{2}|[A-Z]{2,}-?[0-9]|\bYYYY\b`)
	saysUnit    = regexp.MustCompile(`(?i)\b(?:milliseconds?|ms|seconds?|minutes?|hours?|days?|weeks?|months?|years?|bytes?|[kmgt]i?b|percent|euros?|dollars?|pounds?|eur|usd|gbp|cents?|met(?:er|re)s?|km|miles?|degrees?|kg|grams?|lit(?:er|re)s?|pixels?|rows?|items?|pages?|points?|how many|how often|number of|count|amount of|at most|at least|between|from \S+ to|number|index|id|identifier|version|year|ratio|unix|epoch|timestamp)\b|%|€|\$|£`)
	isID        = regexp.MustCompile(`(?i)(?:^|_|-)(?:id|number|no|code|year|version|page|offset|cursor)$|Id$`)
)

func (l *linter) says(t *Tool) {
	text := strings.TrimSpace(t.Description)
	switch {
	case text == "" || strings.EqualFold(text, t.Name) || strings.EqualFold(text, t.Title):
		l.find(false, "description_missing", "description", "it does not say what it does", "say what it does, when to use it and when not: a model sees nothing else of it")
		return
	case utf8.RuneCountInString(text) < 20 || len(strings.Fields(text)) < 4:
		l.find(false, "description_short", "description", "it hardly says what it does", "say what it does, when to use it and when not")
		return
	}
	if !saysWhen.MatchString(text) {
		l.find(false, "no_when", "description", "it does not seem to say when to use it", "add a sentence such as: Use it to find the number of an order.")
	}
	if !saysWhenNot.MatchString(text) {
		l.find(false, "no_when_not", "description", "it does not seem to say when not to use it, or what it cannot do", "add a sentence such as: It does not change anything; issue_refund does.")
	}
}

// arguments looks at what callers fill in, at the top and inside of objects.
func (l *linter) arguments(t *Tool) {
	root, err := readSchema(t.InputSchema)
	if err != nil {
		return
	}
	l.members("input_schema", root, 0)
}

func (l *linter) members(at string, v any, depth int) {
	o, _ := v.(map[string]any)
	properties, _ := o["properties"].(map[string]any)
	if depth > 5 {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		p, ok := properties[name].(map[string]any)
		if !ok {
			continue
		}
		field := at + "/properties/" + escaped(visible(name))
		l.argument(field, visible(name), p)
		l.members(field, p, depth+1)
		l.members(field+"/items", p["items"], depth+1)
	}
}

func (l *linter) argument(field, name string, p map[string]any) {
	text, _ := p["description"].(string)
	if strings.TrimSpace(text) == "" {
		l.find(false, "argument_undescribed", field, fmt.Sprintf("the argument %s has no description", name), "say what belongs there, with its unit or an example")
	}
	has := func(keys ...string) bool {
		return slices.ContainsFunc(keys, func(k string) bool { _, ok := p[k]; return ok })
	}
	kinds := typesOf(p)
	if len(kinds) == len(allKinds) {
		return
	}
	switch {
	case slices.Contains(kinds, "number") || slices.Contains(kinds, "integer"):
		if text != "" && !has("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "enum", "const", "multipleOf") && !saysUnit.MatchString(text) && !isID.MatchString(name) {
			l.find(false, "number_without_unit", field, fmt.Sprintf("the number %s has neither a unit nor a range", name), "say in what it is counted, or give minimum and maximum")
		}
	case slices.Contains(kinds, "string"):
		if has("format", "pattern") && !has("enum", "const", "examples", "default") && !saysExample.MatchString(text) {
			l.find(false, "no_example", field, fmt.Sprintf("the text %s has a form, and there is no example of it", name), "add an example to its description, such as 2027-01-31")
		}
	}
}
