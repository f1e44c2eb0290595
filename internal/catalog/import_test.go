package catalog

import (
	"encoding/json"
	"strings"
	"testing"

	"gopkg.in/yaml.v3"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

func imported(t *testing.T, raw, slug string) Proposal {
	t.Helper()
	p, err := Import(json.RawMessage(raw), slug)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (p Proposal) missing() string {
	var out []string
	for _, m := range p.Missing {
		s := m.Where
		if m.Secret {
			s += " (secret)"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

func TestPackageOfNPMIsImported(t *testing.T) {
	p := imported(t, `{"$schema":"https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json","name":"io.github.example/Brave_Search","title":"Search","description":"Searches the web.","version":"1.2.3",
	  "packages":[{"registryType":"npm","registryBaseUrl":"https://registry.npmjs.org","identifier":"@example/search","version":"1.2.3","runtimeHint":"npx","transport":{"type":"stdio"},
	   "runtimeArguments":[{"type":"positional","value":"-y"}],
	   "packageArguments":[{"type":"positional","value":"--verbose"},{"type":"named","name":"--root","valueHint":"root","isRequired":true,"format":"filepath","description":"Where to look."},{"type":"named","name":"--mode","default":"fast"}],
	   "environmentVariables":[{"name":"API_KEY","description":"Of your account.","isRequired":true,"isSecret":true},{"name":"REGION","default":"eu"},{"name":"DEBUG"},{"name":"PLAN","isRequired":true,"choices":["free","paid"]}]}]}`, "")
	if p.Slug != "brave-search" || p.Kind != "stdio" || p.Title != "Search" {
		t.Errorf("%+v", p)
	}
	if got := string(p.Spec); got != `{"args":["--verbose","--root","{root}","--mode","fast"],"env":{"PLAN":"{PLAN}","REGION":"eu"},"package":{"npm":"@example/search@1.2.3"}}` {
		t.Errorf("spec %s", got)
	}
	if got := string(p.Connection); got != `{"secrets":{"API_KEY":{"secret":""}}}` {
		t.Errorf("connection %s", got)
	}
	if got := p.missing(); got != "/spec/args/2 /spec/env/PLAN /connection/secrets/API_KEY (secret)" && got != "/spec/args/2 /connection/secrets/API_KEY (secret) /spec/env/PLAN" {
		t.Errorf("missing %s", got)
	}
	if !strings.Contains(p.YAML, "API_KEY:\n") || !strings.Contains(p.YAML, "env: API_KEY") || strings.Contains(p.YAML, "secret: \"\"") {
		t.Errorf("%s", p.YAML)
	}
	var back []map[string]any
	if err := yaml.Unmarshal([]byte(p.YAML), &back); err != nil || len(back) != 1 {
		t.Errorf("%v", err)
	}
	notes := strings.Join(p.Notes, "\n")
	for _, want := range []string{"DEBUG can be set", "inside of its sandbox", "connection.egress"} {
		if !strings.Contains(notes, want) {
			t.Errorf("no word of %q in\n%s", want, notes)
		}
	}
}

func TestRemoteIsImported(t *testing.T) {
	p := imported(t, `{"server":{"name":"com.example/crm","description":"Customers.","version":"1","packages":[{"registryType":"npm","identifier":"crm","version":"1.0.0"}],
	  "remotes":[{"type":"sse","url":"https://{region}.example.com/{tenant}/sse","variables":{"region":{"default":"eu"},"tenant":{"isRequired":true,"description":"Your number."}},
	   "headers":[{"name":"Authorization","value":"Bearer {token}","isSecret":true,"isRequired":true,"variables":{"token":{"isSecret":true}}},{"name":"X-Plan","value":"{plan}","variables":{"plan":{"default":"free"}}},{"name":"X Bad","isRequired":true}]}]},"_meta":{}}`, "customers")
	if p.Slug != "customers" || p.Kind != "remote" || p.Spec != nil {
		t.Errorf("%+v", p)
	}
	if got := string(p.Connection); got != `{"auth":{"token":{"secret":""},"type":"bearer"},"headers":{"X-Plan":"free"},"transport":"sse","url":"https://eu.example.com/{tenant}/sse"}` {
		t.Errorf("connection %s", got)
	}
	if got := p.missing(); got != "/connection/url /connection/auth/token (secret)" {
		t.Errorf("missing %s", got)
	}
	if notes := strings.Join(p.Notes, "\n"); !strings.Contains(notes, "as a package too") || !strings.Contains(notes, "X Bad") {
		t.Errorf("%s", notes)
	}
	if !strings.Contains(p.Missing[1].Description, "without Bearer") {
		t.Errorf("%+v", p.Missing[1])
	}
}

func TestSecretHeaderOfARemoteIsItsCredential(t *testing.T) {
	p := imported(t, `{"name":"com.example/crm","remotes":[{"type":"streamable-http","url":"https://example.com/mcp","headers":[{"name":"X-Api-Key","isRequired":true,"isSecret":true,"value":"k={key}","variables":{"key":{"isSecret":true}}},{"name":"X-Other","isSecret":true}]}]}`, "")
	if got := string(p.Connection); got != `{"auth":{"header":"X-Api-Key","type":"header","value":{"secret":""}},"url":"https://example.com/mcp"}` {
		t.Errorf("connection %s", got)
	}
	if got := p.missing(); got != "/connection/auth/value (secret)" || !strings.Contains(p.Missing[0].Description, "k={key}") || !strings.Contains(strings.Join(p.Notes, " "), "X-Other") {
		t.Errorf("missing %s, %q", got, p.Notes)
	}
}

func TestWhatCannotBeHostedIsNotImported(t *testing.T) {
	with := func(part string) string { return `{"name":"a.b/c","description":"d","version":"1",` + part + `}` }
	for name, raw := range map[string]string{
		"no JSON": `{`, "no object": `[]`, "no name": `{"description":"d"}`, "a name of two parts too many": `{"name":"a/b/c"}`, "nothing in it": with(`"packages":[]`),
		"a range":             with(`"packages":[{"registryType":"npm","identifier":"x","version":"^1.0.0"}]`),
		"latest":              with(`"packages":[{"registryType":"npm","identifier":"x","version":"latest"}]`),
		"a path as a package": with(`"packages":[{"registryType":"npm","identifier":"../x","version":"1.0.0"}]`),
		"an option":           with(`"packages":[{"registryType":"npm","identifier":"--registry=http://evil","version":"1.0.0"}]`),
		"another registry":    with(`"packages":[{"registryType":"pypi","identifier":"x","version":"1.0.0"}]`),
		"a package that is a server on the network": with(`"packages":[{"registryType":"npm","identifier":"x","version":"1.0.0","transport":{"type":"streamable-http"}}]`),
		"a remote that is a file":                   with(`"remotes":[{"type":"streamable-http","url":"file:///etc/passwd"}]`),
		"a remote with a password":                  with(`"remotes":[{"type":"sse","url":"https://a:b@example.com"}]`),
		"a remote of another type":                  with(`"remotes":[{"type":"websocket","url":"https://example.com"}]`),
		"too much":                                  `{"name":"a.b/c","x":"` + strings.Repeat("a", maxImport) + `"}`,
		"too many inputs":                           with(`"remotes":[{"type":"sse","url":"https://example.com","headers":[` + strings.TrimSuffix(strings.Repeat(`{"name":"X"},`, maxInputs+1), ",") + `]}]`),
	} {
		if p, err := Import(json.RawMessage(raw), ""); !fault.HasCode(err, fault.InvalidSpec) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}

func FuzzImport(f *testing.F) {
	f.Add([]byte(`{"name":"a.b/c","remotes":[{"type":"sse","url":"https://{x}.y","variables":{"x":{}}}]}`))
	f.Add([]byte(`{"name":"a.b/c","packages":[{"registryType":"npm","identifier":"x","version":"1.0.0","packageArguments":[{"type":"named","name":"--a"}]}]}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		p, err := Import(raw, "")
		if err != nil {
			return
		}
		if tenants.ValidSlug(p.Slug) != nil || p.Kind != "remote" && p.Kind != "stdio" {
			t.Fatalf("%+v", p)
		}
		var back []map[string]any
		if err := yaml.Unmarshal([]byte(p.YAML), &back); err != nil || len(back) != 1 {
			t.Fatalf("%v: %s", err, p.YAML)
		}
		for _, m := range p.Missing {
			if !strings.HasPrefix(m.Where, "/") {
				t.Fatalf("%+v", m)
			}
		}
	})
}
