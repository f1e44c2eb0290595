package api

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"latchkey/internal/registry"
)

// consoleSource is where the console calls the API, and consolePages where its
// pages are.
const consoleSource, consolePages = "../../web/admin/src", "../../web/admin/src/pages"

var (
	consoleCall = regexp.MustCompile(`\.(GET|POST|PUT|PATCH|DELETE)\(\s*"(/[^"]*)"`)
	consolePath = regexp.MustCompile("[\"'`](?:\\$\\{[^}]*\\})?(?:/tenants/(?:\\$\\{[^}]*\\}|\\{tenant\\}))(/audit/(?:export|tail))")
)

// consoleCalls finds the operations that the console's source calls, by method
// and path.
func consoleCalls(t *testing.T) map[string]bool {
	t.Helper()
	calls := map[string]bool{}
	check(t, filepath.WalkDir(consoleSource, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !regexp.MustCompile(`\.tsx?$`).MatchString(path) || regexp.MustCompile(`\.test\.tsx?$|schema\.d\.ts$|testing/`).MatchString(path) {
			return err
		}
		b, err := os.ReadFile(path)
		for _, m := range consoleCall.FindAllStringSubmatch(string(b), -1) {
			calls[m[1]+" "+m[2]] = true
		}
		for _, m := range consolePath.FindAllStringSubmatch(string(b), -1) { // streams, which are no calls of the client
			calls["GET /tenants/{tenant}"+m[1]] = true
		}
		return err
	}))
	return calls
}

// TestConsoleDoesWhatTheAPIDoes: every operation is in the console, on the page
// that the document names, or the document says why not; and the console calls
// nothing else.
func TestConsoleDoesWhatTheAPIDoes(t *testing.T) {
	doc, err := loadDocument()
	check(t, err)
	calls := consoleCalls(t)
	known := map[string]bool{}
	for _, op := range doc.operations {
		known[op.method+" "+op.path] = true
		page, _ := op.spec.Extensions["x-console"].(string)
		reason, none := strings.CutPrefix(page, "none: ")
		called := calls[op.method+" "+op.path]
		switch {
		case page == "" || none && reason == "":
			t.Errorf("%s: the document does not say where the console has it (x-console)", op.id)
		case none && called:
			t.Errorf("%s: the console has it now; name its page in x-console", op.id)
		case !none && !called:
			t.Errorf("%s: the console does not call it; the document says that %s does", op.id, page)
		case !none && page != "shell":
			if _, err := os.Stat(filepath.Join(consolePages, page)); err != nil {
				t.Errorf("%s: the console has no page %s", op.id, page)
			}
		}
	}
	for call := range calls {
		if !known[call] {
			t.Errorf("the console calls %s, which is no operation", call)
		}
	}
}

// notDeclared are fields that a change takes and a tenant file does not, each
// with its reason.
var notDeclared = map[string]string{
	"ServerPut.allow_breaking": "it is about one change, and no state: apply has a flag for it",
	"ServerPut.spec_yaml":      "the file is YAML itself",
	"TenantUpdate.suspended":   "operators decide it, and a file is the tenant's",
	"TenantUpdate.quotas":      "operators decide them, and a file is the tenant's",
}

// fileKeys finds the keys that a tenant file takes at a place by what its reader
// says of one that it does not know.
func fileKeys(t *testing.T, file string) []string {
	t.Helper()
	_, err := registry.ParseFile("x.yaml", []byte(file), noKinds{}, nil)
	var keys []string
	for _, m := range regexp.MustCompile(`surprise: is not known; (?:the keys are|the only key is) ([\w, ]+)`).FindAllStringSubmatch(err.Error(), -1) {
		keys = append(keys, strings.Split(m[1], ", ")...)
	}
	if len(keys) == 0 {
		t.Fatalf("no keys in %v", err)
	}
	return keys
}

type noKinds struct{ registry.Kinds }

func (noKinds) Names() []string { return []string{"sql"} }

// TestTenantFileDeclaresWhatTheAPIChanges: every change is in a tenant file, or
// the document says why not; and each field of it.
func TestTenantFileDeclaresWhatTheAPIChanges(t *testing.T) {
	doc, err := loadDocument()
	check(t, err)
	top := fileKeys(t, "tenant: x\nname: X\nsurprise: 1\n")
	named := map[string]bool{}
	for _, op := range doc.operations {
		where, _ := op.spec.Extensions["x-apply"].(string)
		reason, none := strings.CutPrefix(where, "none: ")
		switch {
		case where == "" || none && reason == "":
			t.Errorf("%s: the document does not say where a tenant file has it (x-apply)", op.id)
		case !none && where != "all" && !slices.Contains(top, where):
			t.Errorf("%s: a tenant file has no key %s", op.id, where)
		}
		named[where] = true
	}
	for _, key := range top {
		if !named[key] {
			t.Errorf("no operation does what the key %s of a tenant file does", key)
		}
	}
	for schema, at := range map[string]string{
		"MemberPut":    "tenant: x\nname: X\nmembers:\n- {email: a@b.c, surprise: 1}\n",
		"RolePut":      "tenant: x\nname: X\nroles: {r1: {surprise: 1}}\n",
		"ServerPut":    "tenant: x\nname: X\nservers:\n- {slug: aa, kind: none, surprise: 1}\n",
		"CallLimits":   "tenant: x\nname: X\nlimits: {surprise: 1}\n",
		"CallLimit":    "tenant: x\nname: X\nlimits: {user: {surprise: 1}}\n",
		"FanOut":       "tenant: x\nname: X\nlimits: {fan_out: {surprise: 1}}\n",
		"Repeats":      "tenant: x\nname: X\nlimits: {repeats: {surprise: 1}}\n",
		"TenantUpdate": "tenant: x\nname: X\nsurprise: 1\n",
	} {
		keys := fileKeys(t, at)
		for field := range doc.spec.Components.Schemas[schema].Value.Properties {
			exempt := notDeclared[schema+"."+field] != ""
			if has := slices.Contains(keys, field); has == exempt {
				t.Errorf("%s.%s: a tenant file has it: %v (it has %s)", schema, field, has, strings.Join(keys, ", "))
			}
		}
	}
}

// TestParityCanFail: the patterns find what they look for.
func TestParityCanFail(t *testing.T) {
	if m := consoleCall.FindStringSubmatch("body(api.GET(\n  \"/tenants/{tenant}/roles\", {"); m == nil || m[1] != "GET" || m[2] != "/tenants/{tenant}/roles" {
		t.Errorf("%q", m)
	}
	if m := consolePath.FindStringSubmatch("`${boot.api}/tenants/${boot.tenant}/audit/export?`"); m == nil || m[1] != "/audit/export" {
		t.Errorf("%q", m)
	}
}
