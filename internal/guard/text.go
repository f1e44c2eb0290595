package guard

import (
	"cmp"
	"slices"
	"strings"
)

// words has every word of every rule, so that one pass over a text finds which
// rules have something to look at.
var words, wordMeans, allWords = func() (*matcher, []meaning, []string) {
	var list []string
	var means []meaning
	for i := range secretRules {
		list, means = append(list, secretRules[i].word), append(means, meaning{secret: i + 1})
	}
	for i, r := range injectionRules {
		for _, w := range r.words {
			list, means = append(list, w), append(means, meaning{injection: i + 1})
		}
	}
	for _, w := range hiddenWords {
		list, means = append(list, w), append(means, meaning{hidden: true})
	}
	for _, w := range compatWords {
		list, means = append(list, w), append(means, meaning{compat: true})
	}
	return newMatcher(list), means, list
}()

// meaning is what a word is a sign of. Indexes are one more than they are.
type meaning struct {
	secret, injection int
	hidden            bool // a character that nobody sees
	compat            bool // another form of plain letters, such as full-width ones
}

// span is a part of a text and what takes its place.
type span struct {
	start, end int
	with       string
}

// scan is one text while it is looked at. view is the text without what nobody
// sees: a credential with a zero-width space in it is one all the same.
type scan struct {
	view     string
	back     []int32 // where a byte of view stands in the text; nil: there too
	spans    []span  // in view
	noKeyEnd bool
}

// text guards one decoded text. name is the field it stands in, if any.
func (a *application) text(s, name string) string {
	p := a.policy
	var found []wordAt
	hidden, compat := false, false
	words.each(s, func(w uint16, end int) {
		m := wordMeans[w]
		hidden, compat = hidden || m.hidden, compat || m.compat
		if m.secret > 0 || m.injection > 0 {
			found = append(found, wordAt{w, end})
		}
	})
	if len(found) == 0 && !hidden && !compat && !p.masks && !a.secretName(name) {
		return s
	}
	sc := &scan{view: s}
	var shown []span // in the text itself
	if hidden {
		shown = a.hidden(s)
		if sc.strip(s); sc.back != nil {
			found = found[:0]
			words.each(sc.view, func(w uint16, end int) { found = append(found, wordAt{w, end}) })
		}
	}
	if p.secrets {
		a.secrets(sc, found, name)
	}
	if p.injections {
		a.injections(sc.view, found, compat)
	}
	if p.masks {
		a.mask(sc, name)
	}
	return rewrite(s, append(sc.inText(), shown...))
}

type wordAt struct {
	word uint16
	end  int
}

// secrets looks at each word once, and at none within what was found already.
func (a *application) secrets(sc *scan, found []wordAt, name string) {
	until := 0
	// By where they begin: sk-ant- before the sk- in it.
	slices.SortFunc(found, func(x, y wordAt) int { return cmp.Or(cmp.Compare(x.start(), y.start()), cmp.Compare(y.end, x.end)) })
	for _, f := range found {
		m := wordMeans[f.word]
		if m.secret == 0 || f.start() < until {
			continue
		}
		r := &secretRules[m.secret-1]
		if from, to, ok := r.find(sc, f.start(), f.end); ok && to > from {
			until = to
			sc.spans = append(sc.spans, span{from, to, a.withhold(r.kind)})
		}
	}
	if len(sc.spans) == 0 && a.secretName(name) {
		if kind := kindByName(name, sc.view); kind != "" {
			sc.spans = append(sc.spans, span{0, len(sc.view), a.withhold(kind)})
		}
	}
}

func (f wordAt) start() int { return f.end - len(allWords[f.word]) }

func (a *application) withhold(kind string) string {
	count(&a.report.Withheld, kind)
	return "[withheld: " + kind + "]"
}

// secretName reports whether a field's name says that a credential is in it.
func (a *application) secretName(name string) bool {
	return name != "" && a.policy.secrets && secretNames.any(name)
}

var passwordNames = []string{"password", "passwd", "passwort", "pwd", "passphrase"}

var secretNames = newMatcher(append(slices.Clone(passwordNames), "secret", "apikey", "api_key", "api-key", "access_key", "accesskey", "private_key", "privatekey", "token", "credential"))

// kindByName holds the value of such a field against what the name says.
func kindByName(name, value string) string {
	if innocent(name) || strings.ContainsAny(value, " \n\t") {
		return ""
	}
	l := strings.ToLower(name)
	if slices.ContainsFunc(passwordNames, func(w string) bool { return strings.Contains(l, w) }) {
		if looksLikePassword(value) {
			return "password"
		}
		return ""
	}
	if looksLikeKey(value) {
		return "secret"
	}
	return ""
}

// inText gives the spans of view as those of the text.
func (sc *scan) inText() []span {
	if sc.back != nil {
		for i := range sc.spans {
			s := &sc.spans[i]
			s.start, s.end = int(sc.back[s.start]), int(sc.back[s.end-1])+1
		}
	}
	return sc.spans
}

// rewrite replaces spans. Of two that overlap, the one that comes first in the
// list speaks for both.
func rewrite(s string, spans []span) string {
	if len(spans) == 0 {
		return s
	}
	slices.SortStableFunc(spans, func(x, y span) int { return cmp.Compare(x.start, y.start) })
	var b strings.Builder
	at := 0
	for i := 0; i < len(spans); {
		one := spans[i]
		for i++; i < len(spans) && spans[i].start < one.end; i++ {
			one.end = max(one.end, spans[i].end)
		}
		b.WriteString(s[at:one.start])
		b.WriteString(one.with)
		at = one.end
	}
	b.WriteString(s[at:])
	return b.String()
}

func count(into *map[string]int, what string) {
	if *into == nil {
		*into = map[string]int{}
	}
	(*into)[what]++
}
