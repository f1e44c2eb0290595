package e2e

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// withToken sends an access token with every request.
type withToken string

func (k withToken) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("Authorization", "Bearer "+string(k))
	return http.DefaultTransport.RoundTrip(r)
}

// Real clients of both eras hold a session while the tool that they listed is
// published anew under another scope and version: they go on until they list
// again, and the record says so.
func TestVersionPublishedWhileSessionsLive(t *testing.T) {
	t.Parallel()
	p := Start(t)
	sunset := time.Now().AddDate(0, 1, 0).UTC().Format(time.DateOnly)
	file := func(tool string) string {
		return "tenant: acme\nname: Acme Corp\nroles:\n  viewer:\n    description: Looks orders up.\n    scopes: {orders: [orders:read], versioned: [" + map[bool]string{true: "one", false: "one, two"}[!strings.Contains(tool, "two")] + "]}\n" +
			"servers:\n- slug: versioned\n  kind: echo\n  spec:\n    tools:\n    - " + tool + "\n"
	}
	if got := p.Apply(t, file("{name: echo, scope: one}")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	resource := p.Resource("acme", "versioned")
	sessions := map[string]*mcp.ClientSession{}
	for era, version := range map[string]string{"modern": "2026-07-28", "legacy": "2025-11-25"} {
		token := p.Token(t, "vic@acme.test", "versioned", "one")
		c := mcp.NewClient(&mcp.Implementation{Name: "versions " + era, Version: "1"}, nil)
		s, err := c.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: resource, HTTPClient: &http.Client{Transport: withToken(token.Access)}, MaxRetries: -1},
			&mcp.ClientSessionOptions{ProtocolVersion: version})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		if list, err := s.ListTools(t.Context(), nil); err != nil || len(list.Tools) != 1 {
			t.Fatalf("%s: %+v, %v", era, list, err)
		}
		sessions[era] = s
	}
	Eventually(t, 20*time.Second, func() error {
		n, err := query(t.Context(), p, "latchkey", pgx.RowTo[int], `SELECT count(*)::int FROM listed_revisions`)
		if err == nil && n[0] == 0 {
			err = errors.New("nothing is remembered of what was listed")
		}
		return err
	})
	if got := p.Apply(t, file("{name: echo, scope: two}")); got.code != 2 || !strings.Contains(got.err, "breaking_change") || !strings.Contains(got.err, "tenant.yaml:12:") {
		t.Fatalf("%+v", got)
	}
	if got := p.Apply(t, file("{name: echo, scope: two, version: 2, replaces: {version: 1, sunset: "+sunset+"}}")); got.code != 0 || !strings.Contains(got.out, "breaking") {
		t.Fatalf("%+v", got)
	}
	for era, s := range sessions {
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": era}})
		if err != nil || res.IsError {
			t.Fatalf("%s: %+v, %v", era, res, err)
		}
		if b, _ := json.Marshal(res.Meta["latchkey/deprecated"]); !strings.Contains(string(b), sunset) {
			t.Errorf("%s: the result says %s", era, b)
		}
	}
	for era, s := range sessions {
		// The new version is under a scope that this app was not given.
		if list, err := s.ListTools(t.Context(), nil); err != nil || len(list.Tools) != 0 {
			t.Fatalf("%s: %+v, %v", era, list, err)
		}
		if res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "echo", Arguments: map[string]any{"text": era}}); err == nil && !res.IsError {
			t.Errorf("%s: it went on with what it listed before: %+v", era, res)
		}
	}
}
