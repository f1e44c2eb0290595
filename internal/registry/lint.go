package registry

import (
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Finding is what was noticed of a text that a model reads.
type Finding struct {
	What, Name string // tool, resource, prompt, instructions
	Error      bool   // it is not published; else it is for the administrator to judge
	Code       string
	Field      string // such as description, or input_schema/properties/limit
	Detail     string
	Fix        string
}

// Neighbour is a tool of another server of the tenant.
type Neighbour struct{ Server, Tool string }

// Neighbours lists the tools of a tenant's servers but one.
func Neighbours(servers []Hosted, but string) (out []Neighbour) {
	for _, h := range servers {
		if h.Server.Slug != but {
			out = append(out, h.Revision.Definition.neighboursOf(h.Server.Slug, but)...)
		}
	}
	return out
}

// neighboursOf are a server's tools as another one's neighbours. A toolset's copy
// of a tool is no neighbour of that tool's own server.
func (d *Definition) neighboursOf(slug, of string) (out []Neighbour) {
	for i := range d.Tools {
		if o := d.Tools[i].Origin; o == nil || o.Server != of {
			out = append(out, Neighbour{slug, d.Tools[i].Name})
		}
	}
	return out
}

// Lint reads what a model will read. Errors are what could mislead it: text that
// people cannot see, orders to the model, names and words that take the place of
// another server's tools. Warnings are what makes a tool hard to use well.
//
// It looks for what is known, word by word. What it lets through is not proved
// harmless: a model that reads it is still bound by scopes, roles and limits.
func Lint(d Definition, neighbours []Neighbour) []Finding {
	l := &linter{def: d, neighbours: neighbours, own: map[string]bool{}}
	for _, t := range d.Tools {
		l.own[strings.ToLower(t.Name)] = true
	}
	if of := d.Origins(); len(of) > 0 { // what members say of their own tools was looked at there
		l.neighbours = slices.DeleteFunc(slices.Clone(neighbours), func(n Neighbour) bool {
			if !slices.Contains(of, n.Server) {
				return false
			}
			l.own[strings.ToLower(n.Tool)] = true
			return true
		})
	}
	l.at("instructions", "")
	l.text("instructions", d.Instructions)
	for i := range d.Tools {
		l.tool(&d.Tools[i])
	}
	for i := range d.Resources {
		l.resource(&d.Resources[i])
	}
	for i := range d.Prompts {
		l.prompt(&d.Prompts[i])
	}
	l.names()
	slices.SortStableFunc(l.found, func(a, b Finding) int {
		switch {
		case a.Error == b.Error:
			return 0
		case a.Error:
			return -1
		}
		return 1
	})
	return l.found
}

const maxFindings = 500

type linter struct {
	def        Definition
	neighbours []Neighbour
	own        map[string]bool // lower case
	what, name string
	found      []Finding
}

func (l *linter) at(what, name string) { l.what, l.name = what, name }

func (l *linter) find(isError bool, code, field, detail, fix string) {
	if len(l.found) < maxFindings || isError && !slices.ContainsFunc(l.found, func(f Finding) bool { return f.Error }) {
		l.found = append(l.found, Finding{l.what, visible(l.name), isError, code, field, detail, fix})
	}
}

func (l *linter) tool(t *Tool) {
	l.at("tool", t.Name)
	l.hidden("name", t.Name)
	l.text("title", t.Title)
	l.text("description", t.Description)
	if t.Deprecated != nil {
		l.text("deprecated/message", t.Deprecated.Message)
	}
	l.schema("input_schema", t.InputSchema)
	l.schema("output_schema", t.OutputSchema)
	l.says(t)
	l.arguments(t)
}

func (l *linter) resource(r *Resource) {
	l.at("resource", r.Name)
	for _, f := range [][2]string{{"name", r.Name}, {"uri", r.URI}, {"uri_template", r.URITemplate}, {"mime_type", r.MIMEType}} {
		l.hidden(f[0], f[1])
	}
	l.text("title", r.Title)
	l.text("description", r.Description)
	if r.Description == "" {
		l.find(false, "description_missing", "description", "it does not say what it holds", "describe it in a sentence")
	}
}

// prompt has a text that is an order to the model by its nature: its person
// chooses it. It is held against what no person would want in it.
func (l *linter) prompt(p *Prompt) {
	l.at("prompt", p.Name)
	l.hidden("name", p.Name)
	l.text("title", p.Title)
	l.text("description", p.Description)
	l.hidden("text", p.Text)
	l.orders("text", p.Text, promptOrders)
	if p.Description == "" {
		l.find(false, "description_missing", "description", "it does not say what it is for", "describe it in a sentence")
	}
	for _, a := range p.Arguments {
		l.hidden("arguments", a.Name)
		l.text("arguments/"+a.Name+"/description", a.Description)
		if a.Description == "" {
			l.find(false, "argument_undescribed", "arguments/"+a.Name, "the argument has no description", "say what belongs there, with an example")
		}
	}
}

// text is what a model reads as a description.
func (l *linter) text(field, s string) {
	if s == "" {
		return
	}
	l.hidden(field, s)
	l.orders(field, s, orders)
	l.firstCalls(field, s)
	l.shadows(field, s)
}

// schema walks every text of a schema, keys too.
func (l *linter) schema(field string, raw json.RawMessage) {
	v, err := readSchema(raw)
	if len(raw) == 0 || err != nil { // whoever compiles it says so
		return
	}
	var walk func(at string, v any)
	walk = func(at string, v any) {
		switch v := v.(type) {
		case string:
			l.text(at, v)
		case []any:
			for i, e := range v {
				walk(fmt.Sprintf("%s/%d", at, i), e)
			}
		case map[string]any:
			for _, k := range slices.Sorted(maps.Keys(v)) {
				l.hidden(at, k)
				walk(at+"/"+escaped(visible(k)), v[k])
			}
		}
	}
	walk(field, v)
}

// Hidden characters.

func (l *linter) hidden(field, s string) {
	if at, r := hiddenIn(s); at >= 0 {
		l.find(true, "hidden_character", field, fmt.Sprintf("it has the character U+%04X, which people cannot see, after %q", r, lastOf(visible(s[:at]), 20)), "remove it")
	}
}

func lastOf(s string, n int) string {
	if r := []rune(s); len(r) > n {
		return "…" + string(r[len(r)-n:])
	}
	return s
}

// hiddenIn finds the first character that does not show: what has no form, what
// turns the direction of text around, and what is no character. Joiners are let
// through where writing needs them: between letters of scripts that have them,
// and in emoji.
func hiddenIn(s string) (at int, found rune) {
	before := rune(0)
	for i, r := range s {
		size := utf8.RuneLen(r)
		if r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD") {
			return i, r
		}
		if isHidden(r) {
			after, _ := utf8.DecodeRuneInString(s[i+size:])
			switch {
			case (r == 0x200C || r == 0x200D) && joins(before) && joins(after):
			case r == 0x200D && isEmoji(before) && isEmoji(after):
			case r == 0xFE0E || r == 0xFE0F:
				if !isEmoji(before) && !strings.ContainsRune("0123456789#*", before) {
					return i, r
				}
			default:
				return i, r
			}
		}
		before = r
	}
	return -1, 0
}

func isHidden(r rune) bool {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return false
	case unicode.IsControl(r), unicode.Is(unicode.Cf, r), unicode.Is(unicode.Co, r), unicode.Is(unicode.Zl, r), unicode.Is(unicode.Zp, r):
		return true
	case unicode.Is(unicode.Other_Default_Ignorable_Code_Point, r), unicode.Is(unicode.Variation_Selector, r), unicode.Is(unicode.Noncharacter_Code_Point, r):
		return true
	}
	return r == 0x2800 // a braille pattern without a dot
}

func joins(r rune) bool {
	return unicode.In(r, unicode.Arabic, unicode.Syriac, unicode.Mongolian, unicode.Devanagari, unicode.Bengali, unicode.Gurmukhi, unicode.Gujarati,
		unicode.Oriya, unicode.Tamil, unicode.Telugu, unicode.Kannada, unicode.Malayalam, unicode.Sinhala, unicode.Khmer, unicode.Myanmar)
}

func isEmoji(r rune) bool {
	return unicode.Is(unicode.So, r) || unicode.Is(unicode.Sk, r) && r > 0x1F000 || r == 0xFE0F || unicode.Is(unicode.Sm, r) && r >= 0x2190
}

// visible writes out what does not show.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if isHidden(r) {
			fmt.Fprintf(&b, "[U+%04X]", r)
			continue
		}
		b.WriteRune(r)
	}
	return b.String()
}

// Orders to the model.

type phrase struct {
	code, detail string
	pattern      *regexp.Regexp
}

func saying(code, detail, pattern string) phrase {
	return phrase{code, detail, regexp.MustCompile(`(?is)` + pattern)}
}

const nobody = `(?:the |this |your |any |a )?(?:users?|humans?|person|operator|administrator|admin|anyone|anybody)\b`

// promptOrders are what no text may say, orders what no description may.
var promptOrders = []phrase{
	saying("overrides_instructions", "it tells the model to forget what it was told",
		`\b(?:ignore|disregard|forget)\b[^.\n]{0,30}\b(?:previous|prior|earlier|above|preceding|other|existing|system|your|all)\b[^.\n]{0,20}\b(?:instructions?|prompts?|rules|guidelines|guardrails|messages?)\b|`+
			`\boverride\b[^.\n]{0,20}\b(?:your|previous|prior|system)\b[^.\n]{0,20}\b(?:instructions?|prompts?|guidelines|guardrails)\b`),
	saying("hides_from_user", "it tells the model to keep something from its person",
		`\b(?:do not|don'?t|never|must not|should not|without)\b[^.\n]{0,20}\b(?:tell|telling|inform|informing|notify|notifying|alert|alerting|mention|mentioning|reveal|revealing|disclose|disclosing)\b[^.\n]{0,40}?(?:\bto )?\b`+nobody),
	saying("fake_tag", "it looks like a message of the system",
		`<\s*/?\s*(?:system|assistant|user_query|tool_result|function_calls?)\b[^>\n]{0,80}>|<\|[a-z_]{2,30}\|>|\[/?(?:INST|SYS|SYSTEM)\]|<<\s*/?SYS\s*>>|`+
			`(?:^|\n)\s*#{1,6}\s*(?:system|assistant)\b|(?:^|\n)\s*(?:(?:system|assistant) (?:prompt|message)|assistant)\s*:`),
}

var orders = append([]phrase{
	saying("fake_tag", "it looks like a message of the system", `<\s*/?\s*(?:important|instructions?|secret|hidden|critical|mandatory)\b[^>\n]{0,80}>`),
	saying("commands_model", "it tells the model to use it before, or instead of, all others",
		`\b(?:before|prior to|instead of|rather than)\b[^.\n]{0,20}\b(?:any|all|every|each)\b(?: of)?(?: the)?(?: other)? (?:tools?|functions?)\b`),
	saying("commands_model", "it tells the model to use it whatever the task is",
		`\b(?:always|must|shall|required to|have to|need to)\b[^.\n]{0,25}\b(?:call|use|invoke|run|execute)\b[^.\n]{0,10}\bthis(?: tool| function)?\b[^.\n]{0,20}\b(?:first|before (?:anything|everything|any|all|every)|in every|on every|for every|at the start|no matter|regardless)\b`),
	saying("commands_model", "it gives the model another role", `\b(?:you are now|from now on,? you|your new (?:role|instructions?|task)|new instructions?:)`),
	saying("exfiltrates", "it tells the model to read or pass on what is none of its business",
		`\b(?:you|must|first|before|need to|have to|also|always|please)\b[^.\n]{0,60}\b(?:read|open|fetch|load|cat|access|include|send|pass|attach|upload|append|provide|copy)\b[^.\n]{0,60}(?:~/|/etc/|\.ssh\b|id_rsa|\.env\b|mcp\.json|\.aws\b|\.kube\b|\.npmrc|credentials file|private key|system prompt|chat history|conversation history|(?:whole|entire|full|previous) conversation)`),
}, promptOrders...)

func (l *linter) orders(field, s string, list []phrase) {
	if len(s) > 100_000 {
		s = s[:100_000]
	}
	for _, o := range list {
		if m := o.pattern.FindString(s); m != "" {
			l.find(true, o.code, field, fmt.Sprintf("%s: %q", o.detail, lastOf(visible(strings.TrimSpace(m)), 120)), "say what the tool does, and leave to the model and its person when to use it")
		}
	}
}

// A tool may say that another one of its own server comes first. To send the
// model elsewhere first is how a tool takes over.
var firstCall = regexp.MustCompile("(?is)\\b(?:must|always|have to|shall)\\b[^.\\n]{0,20}\\b(?:first|always)?\\s*(?:call|use|invoke|run)\\s+(?:the )?(?:tool |function )?[`'\"]?([A-Za-z][A-Za-z0-9]*(?:[_.-][A-Za-z0-9]+)+)[`'\"]?")

func (l *linter) firstCalls(field, s string) {
	for _, m := range firstCall.FindAllStringSubmatch(s, 20) {
		name := m[1]
		if !l.own[strings.ToLower(name)] {
			l.find(true, "commands_model", field, fmt.Sprintf("it orders the model to call %s, which is no tool of this server", visible(name)), "name tools of this server only, or none")
		}
	}
}

// shadows finds orders about tools of other servers. To mention one is no order.
func (l *linter) shadows(field, s string) {
	lower := strings.ToLower(s)
	for _, n := range l.neighbours {
		name := strings.ToLower(n.Tool)
		if len(name) < 3 || l.own[name] || !strings.Contains(lower, name) {
			continue
		}
		for _, sentence := range sentences.Split(lower, -1) {
			if mentions(sentence, name) && commanding.MatchString(sentence) {
				l.find(true, "shadows_tool", field, fmt.Sprintf("it gives orders about the tool %s of the server %s", n.Tool, n.Server), "describe this tool only")
				break
			}
		}
	}
}

var (
	sentences  = regexp.MustCompile(`[.!?;]\s+|\n+`)
	commanding = regexp.MustCompile(`\b(?:must|always|never|do not|don'?t|shall|should|instead of|replace[sd]?|supersedes?|deprecated|no longer|whenever|when (?:calling|using)|before (?:calling|using)|after (?:calling|using)|change|modify|redirect|ignore|unsafe|broken|insecure)\b`)
)

// mentions looks for a name as a word of its own. One that is an ordinary word
// counts where it is marked as a name.
func mentions(sentence, name string) bool {
	q := regexp.QuoteMeta(name)
	pattern := `(?:^|[^a-z0-9_-])` + q + `(?:[^a-z0-9_-]|$)`
	if !strings.ContainsAny(name, "_-.0123456789") {
		pattern = "[`'\"]" + q + "[`'\"]|\\b(?:tool|function) " + q + `\b|\b` + q + ` (?:tool|function)\b`
	}
	return regexp.MustCompile(pattern).MatchString(sentence)
}

// Names.

func (l *linter) names() {
	type other struct{ where, name string }
	bySkeleton := map[string][]other{}
	for _, n := range l.neighbours {
		bySkeleton[skeleton(n.Tool)] = append(bySkeleton[skeleton(n.Tool)], other{"the server " + n.Server, n.Tool})
	}
	for _, t := range l.def.Tools {
		l.at("tool", t.Name)
		if mixesScripts(t.Name) {
			l.find(true, "confusable_name", "name", "its letters are of scripts that look alike", "use letters of one script")
		}
		for _, o := range bySkeleton[skeleton(t.Name)] {
			if normalName(o.name) != normalName(t.Name) {
				l.find(true, "confusable_name", "name", fmt.Sprintf("it looks like %s of %s, and is another", visible(o.name), o.where), "choose a name that cannot be taken for it")
				continue
			}
			detail := fmt.Sprintf("%s has a tool of that name too", o.where)
			if o.name != t.Name {
				detail = fmt.Sprintf("%s has %s, which reads the same", o.where, o.name)
			}
			l.find(false, "name_collision", "name", detail, "an agent with both cannot tell them apart: name what it is about, such as "+"crm_"+normalName(t.Name))
		}
		bySkeleton[skeleton(t.Name)] = append(bySkeleton[skeleton(t.Name)], other{"this server", t.Name})
	}
}

// normalName is a name without what people do not hear.
func normalName(s string) string {
	return strings.NewReplacer("-", "_", ".", "_", " ", "_").Replace(strings.ToLower(s))
}

// skeleton writes alike what looks alike (after UTS 39, with the letters that
// are used for it).
func skeleton(s string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(s) {
		if isHidden(r) {
			continue
		}
		if to, ok := lookalikes[r]; ok {
			b.WriteString(to)
			continue
		}
		if r >= 0xFF01 && r <= 0xFF5E { // full width
			r = unicode.ToLower(r - 0xFEE0)
		}
		b.WriteRune(r)
	}
	return strings.NewReplacer("-", "_", ".", "_", " ", "_", "0", "o", "1", "l", "i", "l", "rn", "m", "vv", "w").Replace(b.String())
}

// lookalikes of Latin letters, in lower case.
var lookalikes = map[rune]string{
	'а': "a", 'в': "b", 'с': "c", 'ԁ': "d", 'е': "e", 'ё': "e", 'һ': "h", 'і': "i", 'ї': "i", 'ј': "j", 'к': "k", 'ӏ': "l", 'м': "m", 'н': "h", 'о': "o", 'р': "p", 'ԛ': "q",
	'г': "r", 'ѕ': "s", 'т': "t", 'у': "y", 'ѵ': "v", 'ԝ': "w", 'х': "x", 'ү': "y", 'ɡ': "g", 'ɩ': "i", 'ı': "i", 'ο': "o", 'α': "a", 'ε': "e", 'ι': "i", 'κ': "k", 'ν': "v",
	'ρ': "p", 'τ': "t", 'υ': "u", 'χ': "x", 'ω': "w", 'η': "n", 'γ': "y", 'β': "b", 'ϲ': "c", 'ϳ': "j", 'օ': "o", 'ս': "u", 'ո': "n", 'հ': "h", 'ց': "g", 'ա': "w", 'ℓ': "l", 'ꜱ': "s", '٥': "o", '۵': "o",
	'é': "e", 'è': "e", 'ê': "e", 'ë': "e", 'á': "a", 'à': "a", 'â': "a", 'í': "i", 'ì': "i", 'ó': "o", 'ò': "o", 'ô': "o", 'ú': "u", 'ù': "u", 'ç': "c", 'ñ': "n",
	'‐': "_", '‑': "_", '–': "_", '—': "_", '−': "_", '＿': "_",
}

func mixesScripts(s string) bool {
	latin, foreign := false, false
	for _, r := range s {
		latin = latin || unicode.Is(unicode.Latin, r)
		foreign = foreign || unicode.In(r, unicode.Cyrillic, unicode.Greek, unicode.Armenian, unicode.Cherokee)
	}
	return latin && foreign
}
