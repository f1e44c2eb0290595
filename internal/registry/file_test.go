package registry_test

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/txtar"

	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/testenv"
)

var update = flag.Bool("update", false, "write what the tests got into testdata/")

func TestMain(m *testing.M) { testenv.Main(m) }

// resolve knows two references.
func resolve(from, name string) (string, error) {
	switch from + " " + name {
	case "env SHOP_PASSWORD":
		return "hunter2", nil
	case "file /run/secrets/shop":
		return "hunter3", nil
	}
	return "", fmt.Errorf("the %s %s is not there", from, name)
}

func parse(data string) (*registry.File, error) {
	return registry.ParseFile("acme.yaml", []byte(data), kinds.Checker(), resolve)
}

// TestParseFile reads testdata/file/*.txtar: a sentence on what it guards, a
// tenant file, and what is said about it.
func TestParseFile(t *testing.T) {
	files, err := filepath.Glob("testdata/file/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no testdata", err)
	}
	for _, name := range files {
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			a, err := txtar.ParseFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if len(a.Files) != 2 || len(strings.TrimSpace(string(a.Comment))) == 0 {
				t.Fatal("want a sentence, a tenant file and what is said")
			}
			f, err := parse(string(a.Files[0].Data))
			got := describe(f, err)
			if *update {
				a.Files[1].Data = []byte(got)
				if err := os.WriteFile(name, txtar.Format(a), 0o644); err != nil {
					t.Fatal(err)
				}
				return
			}
			if want := string(a.Files[1].Data); got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func describe(f *registry.File, err error) string {
	if err != nil {
		return err.Error() + "\n"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "tenant %s, %q\n", f.Tenant, f.Title)
	for _, s := range f.Servers {
		fmt.Fprintf(&b, "server %s of kind %s in pool %s, %q\n  connection %s\n", s.Server.Slug, s.Server.Kind, s.Server.Pool, s.Server.Title, s.Server.Connection)
		for name, value := range s.Connection.Secrets {
			fmt.Fprintf(&b, "  secret %s = %s (%d bytes)\n", name, value, len(value.Reveal()))
		}
		fmt.Fprintf(&b, "  scopes %s\n", strings.Join(s.Spec.Definition.Scopes(), " "))
	}
	for _, r := range f.Roles {
		fmt.Fprintf(&b, "role %s, %q:", r.Name, r.Description)
		for _, s := range r.Scopes {
			fmt.Fprintf(&b, " %s/%s", s.Server, s.Scope)
		}
		for _, p := range r.Permissions {
			fmt.Fprintf(&b, " may %s", p)
		}
		b.WriteByte('\n')
	}
	for _, m := range f.Members {
		fmt.Fprintf(&b, "member %s, %q: %s\n", m.Email, m.Name, strings.Join(m.Roles, " "))
	}
	return b.String()
}

// wantRefused checks that every problem says where, what, and what to do.
func wantRefused(t *testing.T, what string, err error, reason string) {
	t.Helper()
	var ps *registry.Problems
	if !errors.As(err, &ps) || len(ps.List) == 0 {
		t.Errorf("%s: got %v, want problems", what, err)
		return
	}
	if !strings.Contains(err.Error(), reason) {
		t.Errorf("%s: %.300q does not say %q", what, err, reason)
	}
	if len(ps.List) > 101 || len(err.Error()) > 1<<20 {
		t.Errorf("%s: %d problems in %d bytes", what, len(ps.List), len(err.Error()))
	}
}

const head = "tenant: acme\nname: Acme\n"

func TestHostileFilesEndSoon(t *testing.T) {
	bomb := head + "x0: &x0 [a, a, a, a, a, a, a, a, a, a]\n"
	for i := 1; i < 12; i++ {
		bomb += fmt.Sprintf("x%d: &x%d [%s]\n", i, i, strings.TrimSuffix(strings.Repeat(fmt.Sprintf("*x%d, ", i-1), 10), ", "))
	}
	chain := head + "y0: &y0 [a]\n"
	for i := 1; i < 300; i++ {
		chain += fmt.Sprintf("y%d: &y%d [*y%d]\n", i, i, i-1)
	}
	var keys strings.Builder
	for i := range 5_000 {
		fmt.Fprintf(&keys, "k%d: 1\n", i)
	}
	for _, c := range []struct{ what, data, reason string }{
		{"billion laughs", bomb, "too large with its aliases"},
		{"billion laughs in a connection", head + "servers:\n- slug: shop\n  kind: sql\n  connection:\n" + indent(strings.TrimPrefix(bomb, head)), "too large with its aliases"},
		{"alias to itself", head + "servers:\n- slug: shop\n  kind: sql\n  connection: &a {host: *a}\n", "itself a part of"},
		{"alias to what holds it", head + "servers: &s\n- slug: echo\n  kind: echo\n  spec: {tools: *s}\n", "itself a part of"},
		{"chain of aliases", chain, "nested deeper"},
		{"deep", head + "servers: " + strings.Repeat("[", 9_000) + strings.Repeat("]", 9_000), "nested deeper"},
		{"deeper than YAML goes", head + "servers: " + strings.Repeat("[", 200_000), "not YAML"},
		{"large", strings.Repeat("#", 4<<20+1), "larger than 4 MB"},
		{"many unknown keys", head + keys.String(), "and 4900 more"},
		{"NUL", head + `servers: [{slug: echo, kind: echo, description: "a\0b"}]`, "NUL"},
		{"bytes that are no text", "tenant: \xff\xfe\x00", "not YAML"},
	} {
		t.Run(c.what, func(t *testing.T) {
			start := time.Now()
			_, err := parse(c.data)
			wantRefused(t, c.what, err, c.reason)
			if took := time.Since(start); took > 10*time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

func indent(s string) string { return "    " + strings.ReplaceAll(s, "\n", "\n    ") }

// TestSecretStaysInItsConnection: an alias elsewhere to the place of a secret
// stands for what is written there, not for the secret.
func TestSecretStaysInItsConnection(t *testing.T) {
	_, err := parse(head + `
servers:
- slug: shop
  kind: sql
  connection:
    host: db
    database: shop
    admin: {username: vault, password: &p {env: SHOP_PASSWORD}}
    groups: {read: [reader]}
  spec:
    tools: []
- slug: echo
  kind: echo
  description: *p
`)
	wantRefused(t, "alias to a secret", err, "servers[1].description: must be a text")
	if strings.Contains(fmt.Sprint(err), "hunter2") {
		t.Errorf("the secret is in %v", err)
	}
}

func FuzzParseFile(f *testing.F) {
	files, _ := filepath.Glob("testdata/file/*.txtar")
	for _, name := range files {
		a, err := txtar.ParseFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(a.Files[0].Data)
	}
	f.Add([]byte("a: &a [*a]"))
	f.Add([]byte("? [a]\n: b\n<<: *x"))
	f.Add([]byte("tenant: !!binary aGk=\nname: |\n  a\nservers: {}\nroles: []\nmembers: 1"))
	f.Fuzz(func(t *testing.T, data []byte) {
		start := time.Now()
		file, err := registry.ParseFile("f", data, kinds.Checker(), resolve)
		var ps *registry.Problems
		if (file == nil) == (err == nil) || err != nil && !errors.As(err, &ps) {
			t.Fatalf("%v, %v", file, err)
		}
		if err != nil && (len(ps.List) == 0 || strings.Contains(err.Error(), "hunter2")) {
			t.Fatal(err)
		}
		if took := time.Since(start); took > 5*time.Second {
			t.Fatalf("took %s", took)
		}
	})
}
