package registry_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/txtar"
	"gopkg.in/yaml.v3"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
)

func TestDeclaredIsKeptAsItIsWritten(t *testing.T) {
	for _, c := range []struct{ yaml, json string }{
		{"z: 1\na: [x, 'y', \"z\"]\n", `{"z":1,"a":["x","y","z"]}`},
		{"n: 1.50\ne: 1e40\nbig: 123456789012345678901234567890\nneg: -0.0\n", `{"n":1.50,"e":1e40,"big":123456789012345678901234567890,"neg":-0.0}`},
		{"d: 2024-01-01\nt: true\nu: True\nnone: ~\nempty:\nno: no\n", `{"d":"2024-01-01","t":true,"u":true,"none":null,"empty":null,"no":"no"}`},
		{"a: &x {k: v}\nb: *x\n", `{"a":{"k":"v"},"b":{"k":"v"}}`},
		{"text: |\n  one\n  two\nfolded: >-\n  a\n  b\n", `{"text":"one\ntwo\n","folded":"a b"}`},
		{"1: a\ntrue: b\n~: c\n", `{"1":"a","true":"b","~":"c"}`},
		{"s: !env hunter2\nm: !custom {a: 1}\n", `{"s":"hunter2","m":{"a":1}}`},
		{"html: <b>&\n", `{"html":"<b>&"}`},
		{"", `{}`}, {"~", `{}`}, {"# nothing\n", `{}`},
	} {
		n, problems := registry.ReadYAML(c.yaml)
		if len(problems) > 0 {
			t.Errorf("%q: %v", c.yaml, problems)
			continue
		}
		if got := string(registry.JSONOf(n)); got != c.json {
			t.Errorf("%q: %s, want %s", c.yaml, got, c.json)
		}
	}
	for text, want := range map[string]string{
		"port: 0x10\n": "two ways", "n: 1_000": "two ways", "n: 007": "two ways", "n: .5": "two ways", "n: .inf": "two ways", "b: !!bool maybe": "two ways",
		"? [a]\n: b": "a key must be a text", "a: 1\n--- \nb: 2\n": "more than one document", "a: [": "not YAML", "a: \"x\\0y\"": "NUL",
	} {
		if _, problems := registry.ReadYAML(text); len(problems) != 1 || !strings.Contains(problems[0].Reason, want) || problems[0].Line == 0 {
			t.Errorf("%q: %+v", text, problems)
		}
	}
	for _, text := range []string{"", "{", `{"a":1} {}`, `{"a":"x\u0000"}`, strings.Repeat("[", 5000), "nope"} {
		if _, problems := registry.ReadJSON(json.RawMessage(text)); len(problems) != 1 || problems[0].Fix == "" {
			t.Errorf("%.40q: %+v", text, problems)
		}
	}
}

// same compares nodes without where they stand and how they look.
func same(a, b *yaml.Node) bool {
	if a == nil || b == nil {
		return a == b
	}
	if a.Kind != b.Kind || a.Tag != b.Tag || a.Value != b.Value || len(a.Content) != len(b.Content) {
		return false
	}
	for i := range a.Content {
		if !same(a.Content[i], b.Content[i]) {
			return false
		}
	}
	return true
}

// What is declared in YAML, kept as JSON, and written as YAML again is the same
// at each step, and every kind says the same of it.
func FuzzYAMLToJSON(f *testing.F) {
	files, _ := filepath.Glob("testdata/file/*.txtar")
	for _, name := range files {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(a.Files[0].Data))
	}
	for _, k := range kinds.All() {
		f.Add(k.Template)
	}
	for _, s := range []string{"a: |2\n   x\n", "a: \"\\u2028 \\t\\r\\n\"", "? a\n: >+\n  b\n\n", "- - - {}\n", "'': ''", "a: ' x'", "a: \"\\e\"", "x: 1e5\ny: 1E+5", "\"\": [~]", "a: \"#\\n: - \\n\"", "a: \"\\n\\n x\\n\""} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		n, problems := registry.ReadYAML(text)
		if len(problems) > 0 {
			return
		}
		raw := registry.JSONOf(n)
		if !json.Valid(raw) {
			t.Fatalf("%q became %s", text, raw)
		}
		if n == nil || n.Tag == "!!null" {
			return
		}
		back, problems := registry.ReadJSON(raw)
		if len(problems) > 0 || !same(n, back) {
			t.Fatalf("%q became %s: %v", text, raw, problems)
		}
		if again := registry.JSONOf(back); !bytes.Equal(again, raw) {
			t.Fatalf("%s became %s", raw, again)
		}
		written, err := registry.YAMLOf(raw)
		if err != nil {
			t.Fatal(err)
		}
		read, problems := registry.ReadYAML(written)
		if len(problems) > 0 || !bytes.Equal(registry.JSONOf(read), raw) {
			t.Fatalf("%s was written as\n%s\nwhich is %s, %v", raw, written, registry.JSONOf(read), problems)
		}
		for _, k := range kinds.All() {
			a, da, pa := k.Check(n)
			b, db, pb := k.Check(back)
			if !bytes.Equal(a, b) || !reflect.DeepEqual(da, db) || len(pa) != len(pb) {
				t.Fatalf("%s reads %q and %s in two ways: %v, %v", k.Name, text, raw, pa, pb)
			}
		}
	})
}

func FuzzJSONToYAML(f *testing.F) {
	for _, s := range []string{`{"tools":[{"name":"a","statement":"SELECT 1","risk":"read","description":"d"}]}`, `{"a":{"a":1,"a":2}}`, `[1e400,-0,"\ud800",""]`, `{"":null}`, `"x"`, `{"k":"line\r\n\tx\u0085"}`, `{"a":" #x: y","b":"- ","c":"~","d":"1","e":"true","f":"!x","g":"&a","h":"*a"}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		n, problems := registry.ReadJSON(raw)
		if len(problems) > 0 {
			for _, p := range problems {
				if p.Line != 0 {
					t.Fatalf("JSON has no lines: %+v", p)
				}
			}
			return
		}
		if !json.Valid(raw) {
			t.Fatalf("%q was taken for JSON", raw)
		}
		out := registry.JSONOf(n)
		if n.Tag == "!!null" {
			return
		}
		var a, b any
		if decode(raw, &a) == nil && (decode(out, &b) != nil || !reflect.DeepEqual(a, b)) {
			t.Fatalf("%s became %s", raw, out)
		}
		text, err := registry.YAMLOf(out)
		if err != nil {
			t.Fatal(err)
		}
		back, problems := registry.ReadYAML(text)
		if len(problems) > 0 || !bytes.Equal(registry.JSONOf(back), out) {
			t.Fatalf("%s was written as\n%s\n%v", out, text, problems)
		}
		for _, k := range kinds.All() {
			k.Check(n)
			if k.CheckConnection != nil {
				registry.CheckConnection(kinds.Checker(), k.Name, n, nil)
			}
		}
	})
}

func decode(raw []byte, v *any) error {
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	return d.Decode(v)
}

func TestPointersFollowWhatIsThere(t *testing.T) {
	n, _ := registry.ReadYAML("tools:\n- a.b: {'c[0]': 1, 'x/y~': [1]}\n")
	for path, want := range map[string]string{
		"": "", "tools": "/tools", "tools[0]": "/tools/0", "tools[0].a.b": "/tools/0/a.b", "tools[0].a.b.c[0]": "/tools/0/a.b/c[0]",
		"tools[0].a.b.x/y~[0]": "/tools/0/a.b/x~1y~0/0", "tools[7].name": "/tools/7/name", "nothing.there[x": "/nothing/there/[x", "..": "/.",
	} {
		if got := registry.Pointer(n, path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}

const shop = `
host: db
database: shop
admin: {username: vault, password: %s}
groups: {read: [reader]}
`

func connection(t *testing.T, password string, resolve registry.Resolve) (registry.Connection, []registry.Problem) {
	t.Helper()
	n, problems := registry.ReadYAML(strings.Replace(shop, "%s", password, 1))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	return registry.CheckConnection(kinds.Checker(), "sql", n, resolve)
}

func TestSecretsOfAConnection(t *testing.T) {
	for _, c := range []struct{ password, api, file string }{ // "" is taken
		{"{secret: hunter2}", "", "is written in the file"},
		{`{secret: "[set]"}`, "", ""},
		{"{env: SHOP_PASSWORD}", "refers to something on the sender's machine", ""},
		{"{file: /run/secrets/shop}", "refers to something on the sender's machine", ""},
		{"{env: NOT_SET}", "refers to something on the sender's machine", "is not there"},
		{"hunter2", "is written in the file", "is written in the file"},
		{"!secret hunter2", "is written in the file", "is written in the file"},
		{"!env hunter2", "is written in the file", "is written in the file"},
		{"{secret: ~}", "refers to something that is empty", "is written in the file"},
		{`{secret: ""}`, "refers to something that is empty", "is written in the file"},
		{"{secret: [hunter2]}", "is written in the file", "is written in the file"},
	} {
		for _, way := range []struct {
			resolve registry.Resolve
			want    string
		}{{nil, c.api}, {resolve, c.file}} {
			got, problems := connection(t, c.password, way.resolve)
			err := (&registry.Problems{List: problems}).Error()
			if (way.want == "") != (len(problems) == 0) || !strings.Contains(err, way.want) || strings.Contains(err, "hunter2") {
				t.Errorf("%s: %v, want %q", c.password, err, way.want)
			}
			if len(problems) > 0 {
				continue
			}
			if string(got.Declared) != `{"host":"db","database":"shop","admin":{"username":"vault","password":{"secret":"[set]"}},"groups":{"read":["reader"]}}` {
				t.Errorf("%s is declared as %s", c.password, got.Declared)
			}
			if strings.Contains(string(got.Normalized)+string(got.Declared), "hunter") {
				t.Errorf("the secret stands in %s %s", got.Normalized, got.Declared)
			}
			kept := c.password == `{secret: "[set]"}`
			if (len(got.Kept) == 1) != kept || len(got.Secrets) != 1 {
				t.Errorf("%s: kept %v", c.password, got.Kept)
			}
		}
	}
}

// A secret that is sent to the place of a name would be stored and shown there.
func TestSecretInAPlainPlaceIsRefused(t *testing.T) {
	n, _ := registry.ReadYAML(strings.Replace(strings.Replace(shop, "%s", "{secret: x}", 1), "host: db", "host: {secret: hunter2}", 1))
	if _, problems := registry.CheckConnection(kinds.Checker(), "sql", n, nil); len(problems) != 1 || problems[0].Path != "connection.host" || !strings.Contains(problems[0].Reason, "stored in plain") {
		t.Errorf("%+v", problems)
	}
}

// The attack: change only the host of a connection whose password you do not
// know, and wait for it to be sent there.
func TestKeptSecretIsNotSentToAnotherHost(t *testing.T) {
	before, problems := connection(t, "{secret: hunter2}", nil)
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	server := registry.Server{ID: "sv1", Kind: "sql", Connection: before.Normalized, Declared: before.Declared, SecretsSet: before.SecretNames()}
	for name, change := range map[string]struct {
		from, to string
		keeps    bool
	}{
		"the same":         {"", "", true},
		"in another order": {"host: db\ndatabase: shop", "database: shop\nhost: db", true},
		"said in full":     {"host: db", "host: db\nport: 5432\nsslmode: verify-full", true},
		"another host":     {"host: db", "host: evil.example", false},
		"another port":     {"host: db", "host: db\nport: 5433", false},
		"no encryption":    {"host: db", "host: localhost\nsslmode: disable", false},
		"another user":     {"username: vault", "username: other", false},
		"another database": {"database: shop", "database: other", false},
	} {
		t.Run(name, func(t *testing.T) {
			text := strings.Replace(strings.Replace(shop, "%s", `{secret: "[set]"}`, 1), change.from, change.to, 1)
			n, problems := registry.ReadYAML(text)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			c, problems := registry.CheckConnection(kinds.Checker(), "sql", n, nil)
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			keep, err := c.Keeps(server)
			if keep != change.keeps || (err == nil) != change.keeps {
				t.Errorf("kept %v, %v", keep, err)
			}
			if _, err := c.Keeps(registry.Server{}); err == nil {
				t.Error("kept what was never there")
			}
		})
	}
}

func TestSentFileIsTheSameAndKnowsItsLines(t *testing.T) {
	f, err := parse(acme)
	if err != nil {
		t.Fatal(err)
	}
	sent, err := f.Send()
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(sent.Text, "env:") || !strings.Contains(sent.Text, "secret: hunter2") {
		t.Errorf("sent\n%s", sent.Text)
	}
	there, err := registry.ParseFile("sent", []byte(sent.Text), kinds.Checker(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := there.Servers[0].Connection.Secrets["admin.password"]; got.Reveal() != "hunter2" {
		t.Errorf("sent %q", got.Reveal())
	}
	if !reflect.DeepEqual(there.Servers[0].Spec, f.Servers[0].Spec) || string(there.Servers[0].Server.Connection) != string(f.Servers[0].Server.Connection) {
		t.Errorf("%+v\n%+v", there.Servers[0], f.Servers[0])
	}
	// A place in what was sent is found in the file.
	state := registry.State{}
	broken, err := parse(strings.Replace(acme, "tool:search_orders", "tool:none", 1))
	if err != nil {
		t.Fatal(err)
	}
	if sent, err = broken.Send(); err != nil {
		t.Fatal(err)
	}
	if there, err = registry.ParseFile("sent", []byte(sent.Text), kinds.Checker(), nil); err != nil {
		t.Fatal(err)
	}
	var here, far *registry.Problems
	_, err = registry.MakePlan(broken, state, registry.PlanOptions{})
	_, farErr := registry.MakePlan(there, state, registry.PlanOptions{})
	if !errors.As(err, &here) || !errors.As(farErr, &far) {
		t.Fatal(err, farErr)
	}
	line, column := sent.Line(far.List[0].Line, far.List[0].Column)
	if want := here.List[0]; line != want.Line || column != want.Column || far.List[0].Line == want.Line {
		t.Errorf("%d:%d is %d:%d, want %d:%d", far.List[0].Line, far.List[0].Column, line, column, want.Line, want.Column)
	}
}

// Everything that a file can hold goes over the wire.
func TestEveryDemoFileCanBeSent(t *testing.T) {
	for _, name := range []string{"../demo/acme.yaml", "../demo/globex.yaml"} {
		data, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		f, err := registry.ParseFile(name, data, kinds.Checker(), func(_, name string) (string, error) {
			return map[string]string{"DEMO_PG_HOST": "127.0.0.1", "DEMO_PG_PORT": "5432", "DEMO_ACME_PASSWORD": "a", "DEMO_GLOBEX_PASSWORD": "b",
				"DEMO_UPSTREAM_URL": "http://127.0.0.1:9", "DEMO_UPSTREAM_KEY": "c", "crm.openapi.yaml": readFile(t, "../demo/crm.openapi.yaml")}[name], nil
		})
		if err != nil {
			t.Fatal(err)
		}
		sent, err := f.Send()
		if err != nil {
			t.Fatal(err)
		}
		there, err := registry.ParseFile(name, []byte(sent.Text), kinds.Checker(), nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, s := range there.Servers {
			if want := f.Servers[i]; string(s.Spec.Normalized) != string(want.Spec.Normalized) || string(s.Spec.Declared) != string(want.Spec.Declared) || string(s.Server.Declared) != string(want.Server.Declared) {
				t.Errorf("%s: server %s differs", name, s.Server.Slug)
			}
		}
	}
}
