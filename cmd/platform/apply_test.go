package main

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/api"
	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

// platformOf is the platform API for commands; keys are `operator`, and a tenant's
// slug for its administrator.
func platformOf(t *testing.T) *postgres.DB {
	t.Helper()
	db := postgrestest.New(t)
	v := testenv.Vault(t)
	client, err := vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())})
	must(t, err)
	must(t, vault.Setup(t.Context(), client, vault.SetupConfig{}))
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	must(t, err)
	records := audit.NewWriter(db, nil)
	t.Cleanup(records.Close)
	a, err := api.New(api.Config{
		Sites: sites, Tenants: db, Changes: db, Sealer: vault.NewSealer(client), Audit: records, Rate: api.Rate{PerSecond: 1e5, Burst: 1e5},
		Authenticate: func(r *http.Request) (api.Principal, error) {
			key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
			if key == "operator" {
				return api.Principal{Kind: api.MeKindOperatorKey, ID: "ok222222222222222222", Name: "ops"}, nil
			}
			ten, err := db.TenantBySlug(r.Context(), key)
			if err != nil {
				return api.Principal{}, fault.New(fault.Unauthenticated, "The key is not known.")
			}
			return api.Principal{Kind: api.MeKindApiKey, ID: "ak222222222222222222", Name: key, Tenant: ten, Permissions: []tenants.Permission{tenants.Admin}}, nil
		},
		Limits:  api.Limits{Store: db},
		People:  api.People{Store: db, EndSessions: db.DeleteSessionsOf},
		Servers: api.Servers{Registry: db, Kinds: kinds.All(), Checker: kinds.Checker(), Provisioner: newProvisioner(db, client), People: db, Usage: db, Offers: db, Health: db},
	})
	must(t, err)
	ts := httptest.NewServer(a)
	t.Cleanup(ts.Close)
	t.Setenv("LATCHKEY_URL", ts.URL)
	return db
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

type ran struct {
	out, err string
	code     int
}

// run runs a command as main does.
func runAs(t *testing.T, key string, args ...string) ran {
	t.Helper()
	t.Setenv("LATCHKEY_API_KEY", key)
	var out, progress bytes.Buffer
	c := applyCommand()
	if args[0] == "export" {
		c = exportCommand()
	}
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetArgs(args[1:])
	c.SetOut(&out)
	c.SetErr(&progress)
	err := c.ExecuteContext(context.Background())
	r := ran{out: out.String(), err: progress.String()}
	if err != nil {
		r.err, r.code = r.err+explain(err), exitCode(err)
	}
	return r
}

const initech = `# A comment, so that lines differ from those that are sent.
tenant: initech
name: Initech
servers:
- slug: tools
  kind: echo
  spec:
    tools:
    - {name: echo, scope: diagnostics}
roles:
  everybody: {scopes: {tools: [diagnostics]}}
members:
- {email: ann@initech.test, name: Ann, roles: [everybody]}
`

func TestApplyAndExport(t *testing.T) {
	db := platformOf(t)
	file := filepath.Join(t.TempDir(), "initech.yaml")
	write := func(text string) { must(t, os.WriteFile(file, []byte(text), 0o600)) }
	want := func(r ran, code int, out, err string) {
		t.Helper()
		if r.code != code || !strings.Contains(r.out, out) || !strings.Contains(r.err, err) || out == "" && r.out != "" {
			t.Errorf("exit %d\n%s\n%s\nwant %d, %q, %q", r.code, r.out, r.err, code, out, err)
		}
	}
	write(initech)
	want(runAs(t, "wrong", "apply", "-f", file), exitAuth, "", "not known")
	want(runAs(t, "operator", "apply", "-f", file, "--dry-run"), 0, "+ created    server tools                         1 tools", "dry run: nothing was changed")
	if all, err := db.Tenants(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	write(strings.Replace(initech, "[diagnostics]}", "[none]}", 1))
	want(runAs(t, "operator", "apply", "-f", file), exitUsage, "", file+":11:32: roles.everybody.scopes.tools[0]: there is no scope")
	if all, err := db.Tenants(t.Context()); err != nil || len(all) != 0 {
		t.Fatalf("a tenant of a file that cannot be applied: %+v, %v", all, err)
	}
	write(initech)
	first := runAs(t, "operator", "apply", "-f", file)
	want(first, 0, "+ created    server tools                         revision 1, 1 tools", "The tenant initech was created.")
	if strings.Contains(first.out, "\x1b") {
		t.Errorf("colour in a file: %q", first.out)
	}
	for _, key := range []string{"operator", "initech"} {
		r := runAs(t, key, "apply", "-f", file)
		if want(r, 0, "= unchanged  member ann@initech.test", ""); strings.Contains(r.out, "created") || strings.Contains(r.out, "updated") {
			t.Errorf("%s", r.out)
		}
	}
	// What only the platform knows has the file's own lines too.
	write(strings.Replace(initech, "[diagnostics]}", "[none]}", 1))
	want(runAs(t, "initech", "apply", "-f", file), exitUsage, "", file+":11:32: roles.everybody.scopes.tools[0]: there is no scope \"none\" on a server \"tools\"; it has diagnostics")
	write(strings.Replace(initech, "kind: echo", "kind: magic", 1))
	want(runAs(t, "initech", "apply", "-f", file), exitUsage, "", file+":6:9: servers[0].kind")
	write(strings.NewReplacer("name: Initech", "name: Initech Ltd", "    - {name: echo, scope: diagnostics}\n", "    - {name: echo, scope: diagnostics}\n    - {name: big, scope: diagnostics}\n").Replace(initech))
	want(runAs(t, "initech", "apply", "-f", file, "--dry-run"), 0, "~ updated    tenant initech\n    name: Initech → Initech Ltd\n~ published  server tools                         2 tools, additive\n    tool big + risk read, scope diagnostics\n", "")
	want(runAs(t, "initech", "apply", "-f", file, "-o", "json"), 0, `"verb":"published","what":"server"`+"", "")

	// Another tenant's key, and one of no tenant.
	write(strings.Replace(initech, "tenant: initech", "tenant: hooli", 1))
	want(runAs(t, "initech", "apply", "-f", file), exitNotFound, "", "There is no tenant \"hooli\" that this key may change")

	// Exported, applied, pruned.
	out := filepath.Join(t.TempDir(), "export.yaml")
	want(runAs(t, "initech", "export", "--tenant", "initech", "-o", out), 0, "", "")
	r := runAs(t, "initech", "apply", "-f", out)
	if want(r, 0, "= unchanged", ""); strings.Contains(r.out, "~") || strings.Contains(r.err, "Not in the file") {
		t.Errorf("%+v", r)
	}
	want(runAs(t, "initech", "export", "--tenant", "hooli"), exitNotFound, "", "")
	want(runAs(t, "initech", "export"), exitUsage, "", "name the tenant")
	write("tenant: initech\nname: Initech Ltd\nservers:\n- {slug: tools, kind: echo}\n")
	refusal := "The server tools was not published: it would break who uses it. Change what is named, or publish with --allow-breaking if that is meant. (breaking_change)\n" + file + ":4:3: tool echo, scope: the scope is tool:echo and was diagnostics"
	want(runAs(t, "initech", "apply", "-f", file), exitUsage, "", refusal)
	want(runAs(t, "initech", "apply", "-f", file, "--dry-run"), exitUsage, "    breaking: echo, scope: the scope is tool:echo", refusal)
	want(runAs(t, "initech", "apply", "-f", file, "--allow-breaking"), 0, "~ published  server tools", "Not in the file, and left alone: member ann@initech.test, role admin, role everybody. --prune deletes")
	want(runAs(t, "initech", "apply", "-f", file, "--prune", "--dry-run"), 0, "- deleted    role everybody", "dry run")
	want(runAs(t, "initech", "apply", "-f", file, "--prune"), 0, "- deleted    member ann@initech.test", "")

	for name, args := range map[string][]string{"no file": {"apply"}, "an odd output": {"apply", "-f", file, "-o", "xml"}} {
		if r := runAs(t, "initech", args...); r.code != exitUsage || r.err == "" {
			t.Errorf("%s: %+v", name, r)
		}
	}
	want(runAs(t, "initech", "apply", "-f", "/nowhere/tenant.yaml"), exitFailed, "", "/nowhere/tenant.yaml")
	t.Setenv("LATCHKEY_URL", "http://127.0.0.1:1")
	want(runAs(t, "initech", "apply", "-f", file), exitFailed, "", "nothing answers at http://127.0.0.1:1")
}

func TestColoursAreForPeople(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, like a terminal
	must(t, err)
	defer null.Close()
	env := map[string]string{}
	lookup := func(name string) string { return env[name] }
	if got := painted(null, lookup)(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	for _, name := range []string{"NO_COLOR", "TERM"} {
		env = map[string]string{name: "dumb"}
		if got := painted(null, lookup)(red, "x"); got != "x" {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := painted(&bytes.Buffer{}, func(string) string { return "" })(red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}
