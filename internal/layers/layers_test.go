// Package layers holds what docs/design.md says of the packages, by reading
// their files: which may import which, and who may use what.
package layers

import (
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// layer has every package of the product. Imports point strictly down.
var layer = map[string]int{
	"internal/fault": 0, "internal/secret": 0, "internal/fresh": 0, "internal/egress": 0, "internal/peers": 0, "internal/deadline": 0, "internal/toolsearch": 0, "migrations": 0, "web/admin": 0,
	"internal/tenants": 1, "internal/sandbox": 1, "internal/packages": 1,
	"internal/authn": 2, "internal/registry": 2, "internal/audit": 2, "internal/site": 2, "internal/pages": 2, "internal/callers": 2, "internal/events": 2, "internal/switches": 2, "internal/approvals": 2,
	"internal/oauth": 3, "internal/signin": 3, "internal/mail": 3, "internal/operations": 3, "internal/consent": 3, "internal/limits": 3, "internal/idempotency": 3, "internal/vault": 3, "internal/guard": 3, "internal/tasks": 3, "internal/health": 3, "internal/catalog": 3, "internal/runtime/params": 3,
	"internal/runtime": 4, "internal/accounts": 4, "internal/openapi": 4, "internal/runtime/mcptool": 5,
	"internal/api": 5, "internal/console": 5, "internal/mcpgateway": 5, "internal/postgres": 5,
	"internal/runtime/sqltool": 5, "internal/runtime/httptool": 5,
	"internal/runtime/echotool": 5, "internal/runtime/toolset": 5, "internal/runtime/natsrt": 5, "internal/runtime/runtimetest": 5,
	"internal/demo": 5, "internal/embedded": 5, "internal/dashboards": 5, "internal/upstreams": 5,
	"internal/runtime/remotetool": 6, "internal/runtime/stdiotool": 6,
	"internal/runtime/kinds": 7,
	"cmd/platform":           8, "cmd/worker": 8, "scripts/prepare": 8,
}

// sameLayer lists the imports within a layer, each with its reason.
var sameLayer = map[[2]string]string{
	{"internal/audit", "internal/registry"}:     "a record names a server and a revision by registry's ids",
	{"internal/approvals", "internal/registry"}: "an approval names a server by registry's id, and its tool's risk",
	{"internal/approvals", "internal/callers"}:  "a key may decide, but not for who made it",
	{"internal/events", "internal/registry"}:    "an event names a server by registry's id",
	{"internal/registry", "internal/switches"}:  "a tenant file declares kill switches",
	{"internal/oauth", "internal/consent"}:      "the authorization endpoint shows the page; consent knows no OAuth",
	{"internal/oauth", "internal/signin"}:       "the authorization endpoint asks who is there; signin knows no OAuth",
	{"internal/tasks", "internal/idempotency"}:  "a task takes the name of its call, and ends it, in the step that stores and ends the task",
	{"internal/limits", "internal/idempotency"}: "what makes calls identical is the canonical form of their arguments",
}

// forTests are packages that only tests import.
func forTests(pkg string) bool {
	return strings.HasSuffix(pkg, "test") && pkg != "internal/runtime/runtimetest" || slices.Contains([]string{"internal/sandbox/sandboxtest/helper", "internal/testenv", "internal/e2e", "internal/bench", "internal/layers"}, pkg)
}

type file struct {
	pkg, name string
	test      bool
	syntax    *ast.File
	imports   []string
}

// sources parses the repository, once for all tests.
func sources(t *testing.T) ([]file, *token.FileSet) {
	t.Helper()
	set, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(found) < 50 {
		t.Fatalf("only %d files were found", len(found))
	}
	return found, set
}

var (
	found  []file
	parsed = sync.OnceValues(parse)
)

func parse() (*token.FileSet, error) {
	set := token.NewFileSet()
	root := os.DirFS("../..")
	return set, fs.WalkDir(root, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if _, err := fs.Stat(root, path+"/go.mod"); path != "." && err == nil {
				return fs.SkipDir // a module of its own
			}
			if name := d.Name(); path != "." && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules" || name == "bin") {
				return fs.SkipDir
			}
			return nil
		}
		if filepath.Ext(path) != ".go" {
			return nil
		}
		dir, name := filepath.Split(filepath.Join("../..", path))
		if built, err := build.Default.MatchFile(dir, name); err != nil || !built {
			return err
		}
		syntax, err := parser.ParseFile(set, filepath.Join("../..", path), nil, parser.ParseComments)
		if err != nil {
			return err
		}
		f := file{pkg: filepath.ToSlash(filepath.Dir(path)), name: path, test: strings.HasSuffix(path, "_test.go"), syntax: syntax}
		for _, s := range syntax.Imports {
			name, _ := strconv.Unquote(s.Path.Value)
			f.imports = append(f.imports, name)
		}
		found = append(found, f)
		return nil
	})
}

func TestImportsPointDown(t *testing.T) {
	files, _ := sources(t)
	used := map[[2]string]bool{}
	for _, f := range files {
		if f.test || forTests(f.pkg) {
			continue
		}
		from, ok := layer[f.pkg]
		if !ok {
			t.Errorf("%s: the package %s has no layer; put it into the table", f.name, f.pkg)
			continue
		}
		for _, i := range f.imports {
			pkg, ours := strings.CutPrefix(i, "latchkey/")
			if !ours {
				continue
			}
			edge := [2]string{f.pkg, pkg}
			to, ok := layer[pkg]
			switch {
			case forTests(pkg):
				t.Errorf("%s imports %s, which is for tests", f.name, pkg)
			case !ok:
				t.Errorf("%s imports %s, which has no layer", f.name, pkg)
			case to == from && sameLayer[edge] != "":
				used[edge] = true
			case to >= from:
				t.Errorf("%s (layer %d) imports %s (layer %d)", f.name, from, pkg, to)
			}
		}
	}
	for edge := range sameLayer {
		if !used[edge] {
			t.Errorf("%s no longer imports %s: take the exception away", edge[0], edge[1])
		}
	}
}

// reserved says who may import what.
var reserved = []struct {
	prefix string
	may    []string
	why    string
}{
	{"github.com/labstack/echo", []string{"internal/oauth", "internal/signin", "internal/consent", "internal/mcpgateway", "internal/api", "internal/console", "internal/accounts", "cmd/platform"}, "HTTP is theirs"},
	{"github.com/nats-io/", []string{"internal/runtime/natsrt", "cmd/platform", "cmd/worker"}, "natsrt is the only one that speaks NATS; commands connect it"},
	{"github.com/jackc/", []string{"internal/postgres", "internal/runtime/sqltool", "internal/demo", "internal/embedded", "internal/testenv", "internal/e2e"}, "SQL is theirs"},
	{"database/sql", []string{"internal/postgres"}, "SQL is theirs"},
	{"github.com/pressly/goose", []string{"internal/postgres"}, "it runs the migrations"},
	{"github.com/hashicorp/vault", []string{"internal/vault"}, "credentials are theirs"},
	{"github.com/valkey-io/valkey-go", []string{"internal/limits"}, "counting for all edges is theirs"},
	{"github.com/ory/fosite", []string{"internal/oauth"}, "its traps are known there"},
	{"testing", nil, "it is for tests"},
}

func TestLibrariesStayWhereTheyAre(t *testing.T) {
	files, _ := sources(t)
	for _, f := range files {
		for _, i := range f.imports {
			for _, r := range reserved {
				if f.test || !(i == r.prefix || strings.HasPrefix(i, strings.TrimSuffix(r.prefix, "/")+"/")) || slices.Contains(r.may, f.pkg) ||
					r.prefix == "testing" && (forTests(f.pkg) || f.pkg == "internal/runtime/runtimetest") {
					continue
				}
				t.Errorf("%s imports %s: %s", f.name, i, r.why)
			}
			if !f.test && strings.HasPrefix(f.pkg, "internal/fault") && strings.Contains(i, ".") {
				t.Errorf("%s imports %s: fault has the standard library only", f.name, i)
			}
		}
	}
}

// calls finds pkg.name in a file, by the names that the file imports.
func calls(f file, pkg string, names ...string) (at []token.Pos) {
	if !slices.Contains(f.imports, pkg) {
		return nil
	}
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := s.X.(*ast.Ident); ok && x.Name == filepath.Base(pkg) && slices.Contains(names, s.Sel.Name) {
			at = append(at, s.Pos())
		}
		return true
	})
	return at
}

func TestEnvironmentIsReadByCommandsOnly(t *testing.T) {
	files, set := sources(t)
	for _, f := range files {
		switch {
		case f.test, strings.HasPrefix(f.pkg, "cmd/"), strings.HasPrefix(f.pkg, "scripts/"), forTests(f.pkg):
			continue
		}
		for _, at := range calls(f, "os", "Getenv", "LookupEnv") {
			t.Errorf("%s reads the environment; take the value as a parameter", set.Position(at))
		}
	}
}

// sleepers are tests that may sleep, each for its reason.
var sleepers = map[string]string{
	"internal/bench/bench_test.go":    "measures what happens in time that passes",
	"internal/bench/load_test.go":     "measures what happens in time that passes",
	"internal/bench/platform_test.go": "waits for other processes, which cannot tell it",
	"internal/vault/life_test.go":     "calls that take a random time, and a real Vault's clock",
}

func TestNoTestSleeps(t *testing.T) {
	files, set := sources(t)
	for _, f := range files {
		if !f.test && !forTests(f.pkg) || sleepers[f.name] != "" {
			continue
		}
		for _, at := range calls(f, "time", "Sleep") {
			if !inBubble(f, at) {
				t.Errorf("%s sleeps; wait for what it waits for", set.Position(at))
			}
		}
	}
}

// inBubble reports whether a place is inside of a call of synctest.Test, where
// a sleep takes no time.
func inBubble(f file, at token.Pos) (in bool) {
	ast.Inspect(f.syntax, func(n ast.Node) bool {
		c, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		if s, ok := c.Fun.(*ast.SelectorExpr); ok && s.Sel.Name == "Test" {
			if x, ok := s.X.(*ast.Ident); ok && x.Name == "synctest" {
				in = in || c.Pos() < at && at < c.End()
			}
		}
		return true
	})
	return in
}

func TestEveryPackageSaysWhatItOwns(t *testing.T) {
	files, _ := sources(t)
	said := map[string]bool{}
	for _, f := range files {
		if f.test && f.pkg != "internal/layers" && f.pkg != "internal/bench" {
			continue
		}
		said[f.pkg] = said[f.pkg] || f.syntax.Doc != nil && strings.TrimSpace(f.syntax.Doc.Text()) != ""
	}
	for pkg, ok := range said {
		if !ok {
			t.Errorf("%s has no package comment", pkg)
		}
	}
}

// TestTheRulesCanFail parses what breaks them, so that a rule that matches
// nothing is noticed.
func TestTheRulesCanFail(t *testing.T) {
	syntax, err := parser.ParseFile(token.NewFileSet(), "x.go", "package x\nimport (\"os\"; \"time\")\nfunc f() { time.Sleep(1); g(os.Getenv); _, _ = os.LookupEnv(\"a\") }", 0)
	if err != nil {
		t.Fatal(err)
	}
	f := file{syntax: syntax, imports: []string{"os", "time"}}
	if len(calls(f, "time", "Sleep")) != 1 || len(calls(f, "os", "Getenv", "LookupEnv")) != 2 {
		t.Error("calls are not found")
	}
}
