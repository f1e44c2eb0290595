package pages

import (
	"fmt"
	"html/template"
	"strings"
	"unicode"
	"unicode/utf8"
)

var funcs = template.FuncMap{
	"name":   func(s string) string { return Text(s, 80) },
	"line":   func(s string) string { return Text(firstLine(s), 180) },
	"code":   func(s string) string { return Text(s, 128) },
	"host":   func(s string) string { return Text(Host(s), 120) },
	"url":    func(s string) string { return Text(s, 200) },
	"text":   func(s string) string { return Text(s, 600) },
	"plural": plural,
	"initial": func(s string) string {
		for _, r := range Text(s, 80) {
			if unicode.IsLetter(r) || unicode.IsDigit(r) {
				return string(unicode.ToUpper(r))
			}
		}
		return "·"
	},
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

func firstLine(s string) string {
	s = strings.TrimSpace(s)
	if i := strings.IndexAny(s, "\r\n\v\f\u0085\u2028\u2029"); i >= 0 {
		return s[:i]
	}
	return s
}

// maxMarks is how many combining marks may stand on one letter. Thai and
// Vietnamese need two or three; more only serves to paint over other text.
const maxMarks = 3

// Text makes text that somebody else wrote fit to stand in a page: on one
// line, at most max characters long, and showing what it hides. Characters
// that turn the reading direction are written out as [U+202E]; other invisible
// ones are dropped; whatever only looks empty becomes a space.
//
// It does not escape HTML: html/template does that.
func Text(s string, max int) string {
	var b strings.Builder
	var n, marks int
	space := false
	for i, r := range s {
		var put string
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			put = "\uFFFD"
		case blank(r):
			space = b.Len() > 0
			continue
		case r < 0x20:
			put = string('\u2400' + r) // ␀, ␛, …
		case unicode.Is(unicode.Bidi_Control, r):
			put = fmt.Sprintf("[U+%04X]", r)
		case unicode.Is(unicode.Cc, r):
			put = "\uFFFD"
		case hidden(r):
			continue
		case unicode.Is(unicode.M, r):
			if marks++; marks > maxMarks || b.Len() == 0 {
				continue
			}
			put = string(r)
		default:
			put = string(r)
		}
		if !unicode.Is(unicode.M, r) {
			marks = 0
		}
		if space {
			put, space = " "+put, false
		}
		size := utf8.RuneCountInString(put)
		if n+size > max {
			return b.String() + "…"
		}
		n += size
		b.WriteString(put)
	}
	return b.String()
}

// blank reports what has width but no ink.
func blank(r rune) bool {
	switch r {
	case '\u115F', '\u1160', '\u3164', '\uFFA0', '\u2800':
		return true
	}
	return unicode.IsSpace(r) || unicode.Is(unicode.Z, r)
}

// hidden reports what has neither width nor ink: joiners, tags, variation
// selectors but the two that choose between text and emoji.
func hidden(r rune) bool {
	if r == '\uFE0E' || r == '\uFE0F' {
		return false
	}
	return unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Variation_Selector, r) ||
		unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r) || unicode.Is(unicode.Cs, r)
}
