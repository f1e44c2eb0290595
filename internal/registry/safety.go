package registry

import (
	"cmp"
	"encoding/json"
	"fmt"
	"math"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"

	"latchkey/internal/tenants"
)

// Safety is how a tool is kept safe in the hands of a loop, whatever its kind:
// how often it may be called, how it is done once, who must agree, what may
// leave it, whether it runs as a task, and how long it stays. Zero values are the defaults.
type Safety struct {
	Limits       ToolLimits   `json:"limits,omitzero"`
	Idempotency  Idempotency  `json:"idempotency,omitzero"`
	Confirmation Confirmation `json:"confirmation,omitzero"`
	Approval     *Approval    `json:"approval,omitempty"`
	Guard        OutputGuard  `json:"guard,omitzero"`
	Task         TaskRule     `json:"task,omitzero"`
	// Version is 1 where it is 0. A breaking change under the same name needs a
	// higher one, and says with Replaces how long the one before goes on.
	Version    int          `json:"version,omitempty"`
	Replaces   *Replaces    `json:"replaces,omitempty"`
	Deprecated *Deprecation `json:"deprecated,omitempty"`
}

// ToolLimits bound the calls of one tool: by everybody together, by one person,
// by one session (grant). They come on top of the tenant's limits.
type ToolLimits struct {
	Tool    tenants.Limit `json:"tool,omitzero"`
	User    tenants.Limit `json:"user,omitzero"`
	Session tenants.Limit `json:"session,omitzero"`
}

// Idempotency is how a repeat of a call with effects is recognised. A key in
// the request's _meta comes first, then Argument, then one derived from the
// caller and the canonical arguments.
type Idempotency struct {
	Argument string `json:"argument,omitempty"` // holds the caller's own key
	// Keep is how long a repeat gets the first outcome; 24 hours where it is 0.
	Keep time.Duration `json:"keep,omitempty"`
	// Repeatable: the upstream takes the key, so that a call whose outcome is
	// unknown may run again under the same one.
	Repeatable bool `json:"repeatable,omitempty"`
}

// KeepFor is Keep or its default.
func (i Idempotency) KeepFor() time.Duration {
	if i.Keep == 0 {
		return 24 * time.Hour
	}
	return i.Keep
}

// ConfirmWhen is when a call must be confirmed by whoever makes it.
type ConfirmWhen string

const (
	ConfirmDefault ConfirmWhen = ""       // destructive tools
	ConfirmAlways  ConfirmWhen = "always" // with When, where it holds
	ConfirmNever   ConfirmWhen = "never"
)

// Confirmation is a dry run, then a one-time token for the same call.
type Confirmation struct {
	Ask     ConfirmWhen   `json:"ask,omitempty"`
	When    *Condition    `json:"when,omitempty"`    // nil: every call
	Message string        `json:"message,omitempty"` // what would happen, with {{argument}} places
	Expires time.Duration `json:"expires,omitempty"` // of the token; 5 minutes where it is 0
}

// Wanted reports whether a call of a tool of that risk needs one.
func (c Confirmation) Wanted(r Risk, arguments json.RawMessage) bool {
	return c.MayAsk(r) && c.When.Holds(arguments)
}

// ConfirmationArgument is the argument with which a call is confirmed. The
// platform adds it to every tool that may ask for a confirmation.
const ConfirmationArgument = "confirmation"

// MayAsk reports whether any call of a tool of that risk needs one.
func (c Confirmation) MayAsk(r Risk) bool {
	switch c.Ask {
	case ConfirmAlways:
		return true
	case ConfirmNever:
		return false
	}
	return r == Destructive
}

// ExpiresAfter is Expires or its default.
func (c Confirmation) ExpiresAfter() time.Duration {
	if c.Expires == 0 {
		return 5 * time.Minute
	}
	return c.Expires
}

// Approval is the consent of somebody else, given out of band.
type Approval struct {
	Role    string        `json:"role"`              // who holds it may decide, but not on calls of their own
	When    *Condition    `json:"when,omitempty"`    // nil: every call
	Expires time.Duration `json:"expires,omitempty"` // 1 hour where it is 0
	// Wait is how long a call waits for the decision before it answers that it
	// is pending; 0 answers at once.
	Wait    time.Duration `json:"wait,omitempty"`
	Message string        `json:"message,omitempty"` // to who decides, with {{argument}} places
}

// ExpiresAfter is Expires or its default.
func (a *Approval) ExpiresAfter() time.Duration {
	if a.Expires == 0 {
		return time.Hour
	}
	return a.Expires
}

// Condition holds of some arguments. What cannot be told, such as an argument
// that is missing or no number, counts as held: the safe side.
type Condition struct {
	Argument string            `json:"argument"` // a top-level one
	Above    *json.Number      `json:"above,omitempty"`
	In       []json.RawMessage `json:"in,omitempty"` // plain values
}

// Replaces says that a tool took the place of an earlier version of itself.
type Replaces struct {
	Version int  `json:"version"`
	Sunset  Date `json:"sunset"` // sessions that listed it go on with it until then
}

// Deprecation of a tool. From Sunset on it is in no list and its calls are
// answered with the successor's name.
type Deprecation struct {
	Since     Date   `json:"since"`
	Sunset    Date   `json:"sunset"`
	Successor string `json:"successor,omitempty"`
	Message   string `json:"message,omitempty"`
}

// Date is a day, as YYYY-MM-DD; it begins at midnight UTC.
type Date string

// Time is the day's beginning. A Date that was read by ReadSafety is valid.
func (d Date) Time() time.Time {
	t, err := time.Parse(time.DateOnly, string(d))
	if err != nil {
		return time.Time{}
	}
	return t
}

// Gone reports whether the tool is past its sunset.
func (d *Deprecation) Gone(now time.Time) bool { return d != nil && !now.Before(d.Sunset.Time()) }

// OutputGuard is what is done to a tool's result before it leaves the worker.
// The zero value is the default: bounds, the secret scan and injection flags are
// on; nothing is masked, filtered or marked.
type OutputGuard struct {
	Off bool `json:"off,omitempty"`
	// MaxBytes is how much of a result is given inline; more becomes a summary
	// and a link to the whole. 64 KB where it is 0.
	MaxBytes int `json:"max_bytes,omitempty"`
	MaxRows  int `json:"max_rows,omitempty"` // of the longest list, inline; 0: no bound
	// Fields lists what of each row, or of a result that is one object, is
	// given; empty: all. Rename comes after it.
	Fields []string          `json:"fields,omitempty"`
	Rename map[string]string `json:"rename,omitempty"`
	// Mask is what is masked in every text: email, phone, card, iban,
	// national_id, and names of Patterns.
	Mask     []string          `json:"mask,omitempty"`
	Patterns map[string]string `json:"patterns,omitempty"` // RE2, by name
	// MaskFields are masked whole, by rule: hide, partial, hash.
	MaskFields map[string]string `json:"mask_fields,omitempty"`
	// KeepSecrets turns the scan for credentials off.
	KeepSecrets bool `json:"keep_secrets,omitempty"`
	// Untrusted lists fields that hold what users wrote; `*` is every text.
	Untrusted []string `json:"untrusted,omitempty"`
	// IgnoreInjection turns the flags for known injection patterns off.
	IgnoreInjection bool `json:"ignore_injection,omitempty"`
}

// IsZero reports whether it is the default.
func (g OutputGuard) IsZero() bool {
	return !g.Off && g.MaxBytes == 0 && g.MaxRows == 0 && len(g.Fields)+len(g.Rename)+len(g.Mask)+len(g.Patterns)+len(g.MaskFields)+len(g.Untrusted) == 0 && !g.KeepSecrets && !g.IgnoreInjection
}

// SafetyKeys are the keys of a declared tool that ReadSafety reads. A kind adds
// them to its own.
func SafetyKeys(own ...string) []string {
	return append(own, "limits", "idempotency", "confirm", "approval", "guard", "task", "version", "replaces", "deprecated")
}

// ReadSafety reads them. properties are the arguments that the tool's input
// schema knows: what names another is a problem.
func ReadSafety(o Object, properties []string) (s Safety) {
	r := safetyReader{o, properties}
	s.Limits = r.limits()
	s.Idempotency = r.idempotency()
	s.Confirmation = r.confirmation()
	if risk := cmp.Or(Risk(o.Text("risk")), Destructive); s.Confirmation.MayAsk(risk) && slices.Contains(properties, ConfirmationArgument) {
		o.Bad("confirm", "is not possible: the tool has an argument "+ConfirmationArgument+" of its own", "give that argument another name, or write confirm: never")
	}
	s.Approval = r.approval()
	if v := o.Value("guard"); v != nil {
		s.Guard = ReadGuard(o.Reader, v, o.At("guard"))
	}
	s.Task = r.task()
	s.Version = o.Whole("version", 0, 1, 10_000)
	s.Replaces = r.replaces(s.Version)
	s.Deprecated = r.deprecated()
	return s
}

type safetyReader struct {
	Object
	properties []string
}

// part is a mapping below the tool, or ok is false.
func (r safetyReader) part(key string, known ...string) (o Object, ok bool) {
	v := r.Value(key)
	if v == nil {
		return o, false
	}
	o = r.Object.Object(v, r.At(key), known...)
	return o, v.Kind == yaml.MappingNode
}

func (r safetyReader) limits() (l ToolLimits) {
	o, ok := r.part("limits", "tool", "user", "session")
	if !ok {
		return l
	}
	return ToolLimits{Tool: ReadLimit(o, "tool"), User: ReadLimit(o, "user"), Session: ReadLimit(o, "session")}
}

// ReadLimit reads one limit of a mapping.
func ReadLimit(in Object, key string) (l tenants.Limit) {
	v := in.Value(key)
	if v == nil {
		return l
	}
	o := in.Object(v, in.At(key), "rate", "burst", "concurrency", "message")
	if text := o.Text("rate"); text != "" {
		var err error
		if l.Rate, err = tenants.ParseRate(text); err != nil {
			o.Bad("rate", "is no rate", "write one such as 60/min (with s, min, h or d), or none")
		}
	}
	l.Burst = o.Whole("burst", 0, 1, 1_000_000)
	l.Concurrency = bound(o, "concurrency", 100_000)
	l.Message = o.Text("message")
	o.atMost("message", 300)
	if l.Burst > 0 && !l.Rate.Limited() {
		o.Bad("burst", "stands without a rate", "write rate: 60/min, or remove it")
	}
	return l
}

// bound is a whole number, or none (-1 over the API) for no bound.
func bound(o Object, key string, high int) int {
	if t := o.Text(key); t == "none" || t == "-1" {
		return tenants.Unbounded
	}
	return o.Whole(key, 0, 1, high)
}

// spell is a duration within bounds, or 0 where the key is missing.
func spell(o Object, key string, such, low, high time.Duration) time.Duration {
	if !o.Has(key) {
		return 0
	}
	return o.Duration(key, such, low, high)
}

func (r safetyReader) argument(o Object, key string) string {
	name := o.Text(key)
	if name != "" && r.properties != nil && !slices.Contains(r.properties, name) {
		o.Bad(key, fmt.Sprintf("the tool has no argument %.80q", name), "name one of "+strings.Join(r.properties, ", "))
	}
	return name
}

func (r safetyReader) idempotency() (i Idempotency) {
	o, ok := r.part("idempotency", "argument", "keep", "repeatable")
	if !ok {
		return i
	}
	return Idempotency{Argument: r.argument(o, "argument"), Keep: spell(o, "keep", 24*time.Hour, time.Minute, 30*24*time.Hour), Repeatable: o.Flag("repeatable")}
}

func (r safetyReader) confirmation() (c Confirmation) {
	if v := r.Value("confirm"); v != nil && v.Kind == yaml.ScalarNode {
		if c.Ask = ConfirmWhen(v.Value); c.Ask != ConfirmAlways && c.Ask != ConfirmNever {
			r.Bad("confirm", "is not known", "write always or never, or a mapping with when and message")
		}
		return c
	}
	o, ok := r.part("confirm", "when", "message", "expires")
	if !ok {
		return c
	}
	c = Confirmation{Ask: ConfirmAlways, When: r.condition(o), Message: r.message(o), Expires: spell(o, "expires", 5*time.Minute, 10*time.Second, time.Hour)}
	return c
}

const maxMessage = 500 // characters

func (r safetyReader) message(o Object) string {
	text := o.Text("message")
	o.atMost("message", maxMessage)
	for _, m := range placePattern.FindAllStringSubmatch(text, -1) {
		if r.properties != nil && !slices.Contains(r.properties, m[1]) {
			o.Bad("message", fmt.Sprintf("has the place {{%.80s}}, which is no argument", m[1]), "name one of "+strings.Join(r.properties, ", "))
		}
	}
	return text
}

var placePattern = regexp.MustCompile(`\{\{\s*([^{}]*?)\s*\}\}`)

func (r safetyReader) approval() *Approval {
	o, ok := r.part("approval", "role", "when", "expires", "wait", "message")
	if !ok {
		return nil
	}
	a := &Approval{Role: o.Needed("role", "name the role whose holders decide"), When: r.condition(o), Message: r.message(o),
		Expires: spell(o, "expires", time.Hour, time.Minute, 30*24*time.Hour), Wait: spell(o, "wait", 20*time.Second, 0, 10*time.Minute)}
	if err := tenants.ValidSlug(a.Role); a.Role != "" && err != nil {
		o.Bad("role", "is not the name of a role", "")
	}
	return a
}

func (r safetyReader) condition(in Object) *Condition {
	v := in.Value("when")
	if v == nil {
		return nil
	}
	o := in.Object(v, in.At("when"), "argument", "above", "in")
	if v.Kind != yaml.MappingNode {
		return nil
	}
	c := &Condition{Argument: o.Needed("argument", "name the argument that decides")}
	if c.Argument != "" {
		r.argument(o, "argument")
	}
	if n := o.Value("above"); n != nil {
		if n.Kind != yaml.ScalarNode || !isJSONNumber(n.Value) {
			o.Bad("above", "must be a number", "write one such as 500")
		} else if _, ok := rational(n.Value); !ok {
			o.Bad("above", "is out of all proportion", "write one such as 500")
		} else {
			c.Above = new(json.Number(n.Value))
		}
	}
	o.List("in", func(n *yaml.Node, path string) {
		if n.Kind != yaml.ScalarNode {
			o.Problem(n, path, "must be a plain value", "write one text or number for each entry")
			return
		}
		c.In = append(c.In, JSONOf(n))
	})
	if (c.Above == nil) == (len(c.In) == 0) {
		o.Problem(v, in.At("when"), "must say above or in, one of them", "write above: 500, or in: [value, …]")
	}
	return c
}

// Holds reports whether the condition holds of the arguments; a nil one does.
func (c *Condition) Holds(arguments json.RawMessage) bool {
	if c == nil {
		return true
	}
	var all map[string]json.RawMessage
	value, given := json.RawMessage(nil), false
	if json.Unmarshal(arguments, &all) == nil {
		value, given = all[c.Argument]
	}
	if !given {
		return true
	}
	if c.Above != nil {
		number, ok := rational(string(value))
		limit, _ := rational(c.Above.String())
		return !ok || number.Cmp(limit) > 0
	}
	return slices.ContainsFunc(c.In, func(v json.RawMessage) bool { return sameJSON(v, value) })
}

// rational is a JSON number, exactly. What is out of all proportion is none: its
// digits would fill the memory.
func rational(s string) (*big.Rat, bool) {
	if !isJSONNumber(s) || len(s) > 400 {
		return nil, false
	}
	if _, exponent, found := strings.Cut(strings.ToLower(s), "e"); found {
		if n, err := strconv.Atoi(exponent); err != nil || n > 400 || n < -400 {
			return nil, false
		}
	}
	return new(big.Rat).SetString(s)
}

func (r safetyReader) date(o Object, key, fix string) Date {
	text := o.Needed(key, fix)
	if _, err := time.Parse(time.DateOnly, text); err != nil && text != "" {
		o.Bad(key, "is no date", "write one such as 2027-01-31")
		return ""
	}
	return Date(text)
}

func (r safetyReader) replaces(version int) *Replaces {
	o, ok := r.part("replaces", "version", "sunset")
	if !ok {
		return nil
	}
	p := &Replaces{Version: o.Whole("version", 0, 1, math.MaxInt16), Sunset: r.date(o, "sunset", "say until when sessions may go on with it")}
	if p.Version == 0 || p.Version >= max(version, 1) {
		o.Bad("version", "is not one before the tool's own", fmt.Sprintf("write the version that it had, and a higher version: %d beside replaces", p.Version+1))
	}
	return p
}

func (r safetyReader) deprecated() *Deprecation {
	o, ok := r.part("deprecated", "since", "sunset", "successor", "message")
	if !ok {
		return nil
	}
	d := &Deprecation{Since: r.date(o, "since", "say since when"), Sunset: r.date(o, "sunset", "say when it ends"), Successor: o.Text("successor"), Message: o.Text("message")}
	o.atMost("message", 300)
	o.atMost("successor", 128)
	if d.Since != "" && d.Sunset != "" && d.Sunset <= d.Since {
		o.Bad("sunset", "is not after since", "leave those who call it time to change")
	}
	return d
}

// ReadGuard reads an output guard: of a tool, a resource, or a whole server.
func ReadGuard(r *Reader, n *yaml.Node, path string) (g OutputGuard) {
	if n = Deref(n); n.Kind == yaml.ScalarNode {
		if n.Value != "off" {
			r.Problem(n, path, "is not known", "write a mapping, or off")
		}
		return OutputGuard{Off: true}
	}
	o := r.Object(n, path, "max_bytes", "max_rows", "fields", "rename", "mask", "patterns", "mask_fields", "secrets", "untrusted", "injection")
	g.MaxBytes = o.Whole("max_bytes", 0, 1024, 1<<20)
	g.MaxRows = o.Whole("max_rows", 0, 1, 10_000)
	g.Fields = o.Texts("fields")
	texts := func(key string, check func(name, value string) (reason, fix string)) map[string]string {
		out := map[string]string{}
		r.Entries(o.Value(key), o.At(key), func(k, v *yaml.Node, path string) {
			if v.Kind != yaml.ScalarNode {
				r.Problem(v, path, "must be a text", "write one text for each entry")
			} else if reason, fix := check(k.Value, v.Value); reason != "" {
				r.Problem(v, path, reason, fix)
			} else {
				out[k.Value] = v.Value
			}
		})
		if len(out) == 0 {
			return nil
		}
		return out
	}
	g.Rename = texts("rename", func(_, to string) (string, string) {
		if to == "" {
			return "is empty", "write the new name"
		}
		return "", ""
	})
	g.Patterns = texts("patterns", func(name, pattern string) (string, string) {
		if !patternName.MatchString(name) || slices.Contains(maskable, name) {
			return "has no name of its own", "use a-z, 0-9 and _, and none of " + strings.Join(maskable, ", ")
		}
		if re, err := regexp.Compile(pattern); err != nil || len(pattern) > 500 || re.MatchString("") {
			return "is no pattern that can be used", "write a regular expression in RE2 syntax, at most 500 bytes, that does not match an empty text"
		}
		return "", ""
	})
	known := append(slices.Clone(maskable), keysOf(g.Patterns)...)
	o.List("mask", func(n *yaml.Node, path string) {
		if !slices.Contains(known, n.Value) {
			r.Problem(n, path, fmt.Sprintf("%.80q is not known", n.Value), "choose from "+strings.Join(known, ", "))
			return
		}
		g.Mask = append(g.Mask, n.Value)
	})
	g.MaskFields = texts("mask_fields", func(_, rule string) (string, string) {
		if !slices.Contains(maskRules, rule) {
			return "is no rule", "write one of " + strings.Join(maskRules, ", ")
		}
		return "", ""
	})
	onOff := func(key, on string) bool {
		switch v := o.Text(key); v {
		case "", on:
			return false
		case "off":
			return true
		default:
			o.Bad(key, "is not known", "write "+on+" or off")
			return false
		}
	}
	g.KeepSecrets, g.IgnoreInjection = onOff("secrets", "withhold"), onOff("injection", "flag")
	if v := o.Value("untrusted"); v != nil && v.Kind == yaml.ScalarNode && v.Value == "all" {
		g.Untrusted = []string{"*"}
	} else {
		g.Untrusted = o.Texts("untrusted")
	}
	return g
}

var (
	patternName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)
	maskable    = []string{"email", "phone", "card", "iban", "national_id"}
	maskRules   = []string{"hide", "partial", "hash"}
)

func keysOf(m map[string]string) (out []string) {
	for k := range m {
		out = append(out, k)
	}
	slices.Sort(out)
	return out
}
