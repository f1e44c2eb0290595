package registry_test

import (
	"encoding/json"
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

var updateSafety = flag.Bool("update-safety", false, "write testdata/safety.txtar anew")

// TestSafetyIsReadStrictly plays testdata/safety.txtar: each file is followed by
// what is made of it, as JSON, or by what is wrong with it.
func TestSafetyIsReadStrictly(t *testing.T) {
	const path = "testdata/safety.txtar"
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := &txtar.Archive{Comment: archive.Comment}
	for _, f := range archive.Files {
		name, said := strings.CutSuffix(f.Name, " said")
		if said {
			continue
		}
		got := readSafety(t, f.Name, string(f.Data))
		for _, w := range archive.Files {
			if w.Name == name+" said" && string(w.Data) != got && !*updateSafety {
				t.Errorf("%s:\ngot:\n%s\nwant:\n%s", f.Name, got, w.Data)
			}
		}
		out.Files = append(out.Files, f, txtar.File{Name: name + " said", Data: []byte(got)})
	}
	if len(out.Files) != len(archive.Files) && !*updateSafety {
		t.Errorf("a file has nothing said of it: run go test -update-safety")
	}
	if *updateSafety {
		if err := os.WriteFile(path, txtar.Format(out), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func readSafety(t *testing.T, name, text string) string {
	t.Helper()
	n, problems := registry.ReadYAML(text)
	if len(problems) > 0 {
		t.Fatalf("%s: %v", name, problems)
	}
	r := &registry.Reader{}
	s := registry.ReadSafety(r.Object(n, "", registry.SafetyKeys()...), []string{"order_id", "amount", "reason", "request_id"})
	if len(r.Problems) > 0 {
		return (&registry.Problems{File: name, List: r.Problems}).Error() + "\n"
	}
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	var back registry.Safety
	if err := json.Unmarshal(b, &back); err != nil {
		t.Fatalf("%s does not come back: %v", name, err)
	}
	if again, err := json.MarshalIndent(back, "", "  "); err != nil || string(again) != string(b) {
		t.Errorf("%s comes back as %s, %v", name, again, err)
	}
	return string(b) + "\n"
}

// TestUnclearArgumentCountsAsHeld: what cannot be compared is taken for what
// needs consent.
func TestUnclearArgumentCountsAsHeld(t *testing.T) {
	above := &registry.Condition{Argument: "amount", Above: new(json.Number("500"))}
	in := &registry.Condition{Argument: "kind", In: []json.RawMessage{json.RawMessage(`"urgent"`), json.RawMessage(`7`)}}
	for _, c := range []struct {
		name      string
		condition *registry.Condition
		arguments string
		holds     bool
	}{
		{"no condition", nil, `{}`, true},
		{"above", above, `{"amount":500.01}`, true},
		{"just not above", above, `{"amount":500}`, false},
		{"the same, written otherwise", above, `{"amount":5e2}`, false},
		{"above by a hair that a float loses", above, `{"amount":500.00000000000000000001}`, true},
		{"below", above, `{"amount":-1e3}`, false},
		{"missing", above, `{}`, true},
		{"a text", above, `{"amount":"10"}`, true},
		{"null", above, `{"amount":null}`, true},
		{"out of all proportion", above, `{"amount":1e-999999999}`, true},
		{"another name", above, `{"Amount":1}`, true},
		{"no object", above, `[1]`, true},
		{"in", in, `{"kind":"urgent"}`, true},
		{"in, a number", in, `{"kind":7}`, true},
		{"not in", in, `{"kind":"calm"}`, false},
		{"not a text of that number", in, `{"kind":"7"}`, false},
		{"in, missing", in, `{}`, true},
	} {
		if got := c.condition.Holds(json.RawMessage(c.arguments)); got != c.holds {
			t.Errorf("%s: %s holds: %v", c.name, c.arguments, got)
		}
	}
}

func TestConfirmationIsAskedOfDestructiveTools(t *testing.T) {
	none := json.RawMessage(`{}`)
	for _, c := range []struct {
		confirmation registry.Confirmation
		risk         registry.Risk
		wanted       bool
	}{
		{registry.Confirmation{}, registry.Destructive, true},
		{registry.Confirmation{}, registry.Writes, false},
		{registry.Confirmation{}, registry.Reads, false},
		{registry.Confirmation{Ask: registry.ConfirmAlways}, registry.Reads, true},
		{registry.Confirmation{Ask: registry.ConfirmNever}, registry.Destructive, false},
	} {
		if got := c.confirmation.Wanted(c.risk, none); got != c.wanted {
			t.Errorf("%+v of %s: %v", c.confirmation, c.risk, got)
		}
	}
}

func TestToolIsGoneFromItsSunsetOn(t *testing.T) {
	d := &registry.Deprecation{Since: "2026-12-01", Sunset: "2027-02-01"}
	before := time.Date(2027, 1, 31, 23, 59, 59, 0, time.UTC)
	if d.Gone(before) || !d.Gone(before.Add(time.Second)) || (*registry.Deprecation)(nil).Gone(before) {
		t.Error("the sunset is not midnight UTC of its day")
	}
}

// FuzzConditionHolds: whatever the arguments are, the answer comes at once, and
// for a plain number it is the right one.
func FuzzConditionHolds(f *testing.F) {
	for _, s := range []string{`{"amount":501}`, `{"amount":5e2}`, `{"amount":1e400}`, `{"amount":0.1e-300}`, `{"amount":[]}`, `{"amount":1,"amount":900}`, ``} {
		f.Add(s)
	}
	c := &registry.Condition{Argument: "amount", Above: new(json.Number("500"))}
	whole := regexp.MustCompile(`^\{"amount":(0|[1-9][0-9]{0,8})\}$`)
	f.Fuzz(func(t *testing.T, arguments string) {
		held := c.Holds(json.RawMessage(arguments))
		if m := whole.FindStringSubmatch(arguments); m != nil {
			var n int
			if err := json.Unmarshal([]byte(m[1]), &n); err != nil || held != (n > 500) {
				t.Errorf("%s: %v", arguments, held)
			}
		}
	})
}

// FuzzRateComesBack: a rate that is read is written as one that reads the same.
func FuzzRateComesBack(f *testing.F) {
	for _, s := range []string{"60/min", "1/s", "none", "", "0/s", "9999999/d", "60/ min"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := tenants.ParseRate(text)
		if err != nil {
			return
		}
		if back, err := tenants.ParseRate(r.String()); err != nil || back != r {
			t.Errorf("%q is %v, and back %v, %v", text, r, back, err)
		}
	})
}
