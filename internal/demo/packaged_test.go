package demo_test

import (
	"testing"

	"latchkey/internal/demo"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
)

// The packaged servers are in acme's file, checked by their kind and opened to
// who may use the diagnostics; nothing else of it, or of another's, changes.
func TestPackagedServersBelongToAcme(t *testing.T) {
	for _, f := range demo.Files() {
		resolve := func(_, name string) (string, error) {
			switch name {
			case "DEMO_PG_HOST":
				return "127.0.0.1", nil
			case "DEMO_UPSTREAM_URL":
				return "http://127.0.0.1:5432", nil
			}
			return "5432", nil
		}
		before, err := registry.ParseFile(f.Name, f.Data, kinds.Checker(), resolve)
		if err != nil {
			t.Fatal(err)
		}
		packaged := demo.Packaged(f)
		after, err := registry.ParseFile(packaged.Name, packaged.Data, kinds.Checker(), resolve)
		if err != nil {
			t.Fatal(err)
		}
		more := len(after.Servers) - len(before.Servers)
		if want := map[string]int{"acme": 2, "globex": 0}[before.Tenant]; more != want {
			t.Errorf("%s has %d servers more, want %d", before.Tenant, more, want)
		}
		if before.Tenant != "acme" {
			continue
		}
		opens := map[string]bool{}
		for _, r := range after.Roles {
			servers := map[string]bool{}
			for _, s := range r.Scopes {
				servers[s.Server] = true
			}
			if servers["files"] && servers["everything"] {
				opens[r.Name] = true
			}
		}
		if len(opens) != 2 || !opens["support"] || !opens["admin"] {
			t.Errorf("they are open to %v", opens)
		}
	}
}
