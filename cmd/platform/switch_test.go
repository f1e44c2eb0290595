package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// switchboard is the API as far as `platform switch` asks for it.
type switchboard struct {
	*testing.T
	me    string
	asked []string // method, path, body
}

func newSwitchboard(t *testing.T, me string) *switchboard {
	quiet(t)
	b := &switchboard{T: t, me: me}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		path := strings.TrimPrefix(r.URL.EscapedPath(), "/api/v1")
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		if path != "/me" {
			b.asked = append(b.asked, strings.TrimSpace(r.Method+" "+path+" "+string(body)))
		}
		switch {
		case path == "/me":
			io.WriteString(w, b.me)
		case r.Method == "DELETE":
			w.WriteHeader(http.StatusNoContent)
		case strings.HasPrefix(path, "/switch"):
			io.WriteString(w, `{"on":true,"reason":"a breach","by":"ops@example.test","created_at":"2026-05-04T03:02:01Z","cancel_running":false}`)
		case strings.Contains(path, "cursor=next"):
			io.WriteString(w, `{"has_more":false,"data":[{"target":"member:us222222222222222222","kind":"member","name":"dana@acme.test","on":false,"reason":"on leave","by":"key CI","by_role":"API key CI","created_at":"2026-05-04T03:02:01Z","lifted_at":"2026-05-05T03:02:01Z","cancel_running":false}]}`)
		case strings.Contains(path, "limit="):
			io.WriteString(w, `{"has_more":true,"next_cursor":"next","data":[{"target":"tool:incidents/create","kind":"tool","on":true,"reason":"a  loop\n","by":"dana@acme.test","by_role":"admin","created_at":"2026-05-04T03:02:01Z","cancel_running":false}]}`)
		default:
			io.WriteString(w, `{"target":"tool:incidents/create","kind":"tool","on":true,"reason":"a loop","by":"dana@acme.test","by_role":"admin","created_at":"2026-05-04T03:02:01Z","cancel_running":true}`)
		}
	}))
	t.Cleanup(srv.Close)
	t.Setenv("LATCHKEY_URL", srv.URL)
	t.Setenv("LATCHKEY_API_KEY", "lk_live_x")
	return b
}

const (
	tenantsKey = `{"kind":"api_key","id":"ak","name":"CI","permissions":[],"tenant":{"slug":"acme","name":"Acme"}}`
	operators  = `{"kind":"operator_key","id":"ok","name":"Ops","permissions":[]}`
)

func TestSwitchCommands(t *testing.T) {
	b := newSwitchboard(t, tenantsKey)
	out, err := run(t, "switch", "on", "tool:incidents/create", "--reason", "a loop", "--for", "1h", "--cancel-running")
	if err != nil || !strings.Contains(out, "tool:incidents/create is switched off") {
		t.Fatalf("%v %s", err, out)
	}
	var body struct {
		Reason        string    `json:"reason"`
		ExpiresAt     time.Time `json:"expires_at"`
		CancelRunning bool      `json:"cancel_running"`
	}
	path, sent, _ := strings.Cut(b.asked[0], " {")
	if err := json.Unmarshal([]byte("{"+sent), &body); err != nil || path != "PUT /tenants/acme/switches/tool:incidents%2Fcreate" {
		t.Fatalf("%v %s", err, b.asked[0])
	}
	if left := time.Until(body.ExpiresAt); body.Reason != "a loop" || !body.CancelRunning || left < 59*time.Minute || left > time.Hour {
		t.Errorf("%+v", body)
	}
	if out, err := run(t, "switch", "off", "member:dana@acme.test", "--tenant", "globex", "-o", "json"); err != nil || !strings.Contains(out, `"on": false`) || b.asked[1] != "DELETE /tenants/globex/switches/member:dana@acme.test" {
		t.Errorf("%v %s %v", err, out, b.asked)
	}
	if out, err := run(t, "switch", "list", "--all"); err != nil || !strings.Contains(out, "a loop") || !strings.Contains(out, "member:dana@acme.test") || !strings.Contains(out, "on again") || strings.Contains(b.asked[2], "on=true") {
		t.Errorf("%v %s %v", err, out, b.asked)
	}
	if _, err := run(t, "switch", "on", "tenant", "--reason", "all of it"); err != nil || strings.Contains(b.asked[len(b.asked)-1], "expires_at") {
		t.Errorf("%v %v", err, b.asked)
	}
}

func TestOperatorsSwitchThePlatform(t *testing.T) {
	b := newSwitchboard(t, operators)
	if out, err := run(t, "switch", "on", "platform", "--reason", "a breach"); err != nil || !strings.Contains(out, "platform is switched off") || !strings.HasPrefix(b.asked[0], "PUT /switch {") {
		t.Errorf("%v %s %v", err, out, b.asked)
	}
	if out, err := run(t, "switch", "list"); err != nil || !strings.Contains(out, "a breach") || !strings.Contains(out, "ops@example.test") {
		t.Errorf("%v %s", err, out)
	}
	if _, err := run(t, "switch", "off", "platform"); err != nil || b.asked[2] != "DELETE /switch" {
		t.Errorf("%v %v", err, b.asked)
	}
	if _, err := run(t, "switch", "on", "tenant", "--reason", "which one"); exitCode(err) != exitUsage {
		t.Errorf("an operator who names no tenant: %v", err)
	}
}

func TestSwitchUsage(t *testing.T) {
	newSwitchboard(t, tenantsKey)
	for _, args := range [][]string{
		{"on", "tenant"}, {"on"}, {"on", "tool:incidents", "--reason", "a loop"}, {"on", "tenant", "--reason", "a loop", "--for", "0s"}, {"on", "tenant", "--reason", "a loop", "--for", "-1h"},
		{"off"}, {"off", "everything"}, {"off", "tenant", "--tenant", "No Slug"}, {"list", "--tenant", "!"}, {"list", "--output", "xml"},
	} {
		if out, err := run(t, append([]string{"switch"}, args...)...); exitCode(err) != exitUsage {
			t.Errorf("%v: %v %s", args, err, out)
		}
	}
}
