package e2e

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// What an operator runs beside a platform: is it well, is every record there,
// and what to look at.
func TestOperatorLooksAfterThePlatform(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read)
	p.MustCall(t, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "x"})
	env := []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.Operator.APIKey}

	// On a machine without a home or Go it says so, and fails.
	if got := platform(t, env, "doctor", "--state", p.State); got.code != 1 || !strings.Contains(got.out, "Set LATCHKEY_CACHE_DIR.") {
		t.Errorf("doctor without a home: %+v", got)
	}
	got := platform(t, append(env, "PATH="+os.Getenv("PATH"), "HOME="+os.Getenv("HOME")), "doctor", "--output", "json", "--state", p.State)
	var found struct {
		OK     bool
		Checks []struct {
			Name  string
			OK    bool
			Found string
		}
	}
	if err := json.Unmarshal([]byte(got.out), &found); err != nil || got.code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	for _, want := range []string{"platform: store", "platform: vault", "platform: nats", "platform: workers of pool default"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("doctor does not look at %s: %s", want, got.out)
		}
	}

	if got := platform(t, env, "audit", "verify"); got.code != 0 || !strings.Contains(got.out, "No record is missing.") || strings.HasPrefix(got.out, "0 records") {
		t.Errorf("audit verify: %+v", got)
	}
	// A tenant's key may not: to it there is no such thing.
	if got := platform(t, []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.APIKey}, "audit", "verify"); got.code != 4 {
		t.Errorf("audit verify with a tenant's key: %+v", got)
	}
	if got := platform(t, []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=lk_ops_nothing"}, "audit", "verify"); got.code != 3 {
		t.Errorf("audit verify with a wrong key: %+v", got)
	}
	dir := t.TempDir()
	if got := platform(t, nil, "dashboards", "export", "--dir", dir); got.code != 0 {
		t.Errorf("dashboards: %+v", got)
	}
	if files, err := os.ReadDir(dir); err != nil || len(files) == 0 {
		t.Errorf("%v, %v", files, err)
	}
}
