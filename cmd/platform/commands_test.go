package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"latchkey/internal/testenv"
)

// run is one command line.
func run(t *testing.T, args ...string) (stdout string, err error) {
	t.Helper()
	root := rootCommand()
	var out bytes.Buffer
	root.SetOut(&out)
	root.SetErr(&out)
	root.SetArgs(args)
	err = root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestCompletion(t *testing.T) {
	for shell, mark := range map[string]string{"bash": "complete -o default", "zsh": "#compdef platform", "fish": "complete -c platform"} {
		if out, err := run(t, "completion", shell); err != nil || !strings.Contains(out, mark) {
			t.Errorf("%s: %v %.200s", shell, err, out)
		}
	}
	for _, c := range []struct {
		words []string
		want  string
	}{
		{[]string{"doctor", "--output", ""}, "table\njson\n"},
		{[]string{"audit", ""}, "verify\t"},
		{[]string{"dashboards", "export", "--d"}, "--dir\t"},
	} {
		if out, err := run(t, append([]string{"__complete"}, c.words...)...); err != nil || !strings.Contains(out, c.want) {
			t.Errorf("%v: %v %s", c.words, err, out)
		}
	}
}

func TestDashboardsExport(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new")
	for range 2 {
		out, err := run(t, "dashboards", "export", "--dir", dir)
		if err != nil || strings.Count(out, "\n") != 2 {
			t.Fatalf("%v %s", err, out)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "latchkey-grafana.json"))
	if err != nil || !json.Valid(b) {
		t.Error(err)
	}
}

// quiet takes the settings away that a developer's shell may have.
func quiet(t *testing.T) {
	for _, name := range []string{"DATABASE_URL", "LATCHKEY_BASE_URL", "LATCHKEY_URL", "LATCHKEY_API_KEY", "VAULT_ADDR", "POSTGRES_BIN", "VAULT_BIN"} {
		t.Setenv(name, "")
	}
}

func TestDoctorOnThisMachine(t *testing.T) {
	quiet(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	port := ln.Addr().(*net.TCPAddr).Port
	t.Setenv("POSTGRES_BIN", t.TempDir())
	out, err := run(t, "doctor", "--output", "json", "--state", filepath.Join(t.TempDir(), "state"), "--port", fmt.Sprint(port))
	if err == nil || exitCode(err) != exitFailed {
		t.Errorf("a taken port is well: %v", err)
	}
	var r struct {
		OK     bool
		Checks []struct{ Name, Found, Fix string }
	}
	if err := json.Unmarshal([]byte(out), &r); err != nil || r.OK {
		t.Fatalf("%v: %s", err, out)
	}
	fixes := map[string]string{}
	for _, c := range r.Checks {
		fixes[c.Name] = c.Found + "|" + c.Fix
	}
	if !strings.Contains(fixes["port"], fmt.Sprintf("(pid %d)", os.Getpid())) || !strings.Contains(fixes["port"], "platform dev --port") || !strings.Contains(fixes["postgres"], "POSTGRES_BIN") {
		t.Errorf("%v", fixes)
	}
	if out, _ = run(t, "doctor"); !strings.Contains(out, "CHECK") || !strings.Contains(out, "FIX") {
		t.Errorf("%s", out)
	}
}

func TestDoctorOfProduction(t *testing.T) {
	quiet(t)
	url := testenv.Database(t) // a superuser's, and without a schema
	t.Setenv("DATABASE_URL", url)
	t.Setenv("LATCHKEY_BASE_URL", "https://{tenant}.example.com")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	out, err := run(t, "doctor", "--state", t.TempDir())
	if err == nil {
		t.Fatal("all is well")
	}
	for _, want := range []string{"Run `platform migrate`", "superuser", "Start Vault", "ok    clock", "ok    settings"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if password := strings.Split(strings.Split(url, "@")[0], ":")[2]; strings.Contains(out+err.Error(), password) {
		t.Error("the password is shown")
	}
	t.Setenv("VAULT_ADDR", "")
	t.Setenv("LATCHKEY_BASE_URL", "")
	if out, _ := run(t, "doctor", "--state", t.TempDir()); !strings.Contains(out, "not set: LATCHKEY_BASE_URL, VAULT_ADDR") {
		t.Error(out)
	}
}

// The API as far as these commands ask for it.
func answering(t *testing.T, answers map[string]string) {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := answers[r.URL.Path]
		if r.Header.Get("Authorization") != "Bearer lk_ops_x" || !ok {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(http.StatusNotFound)
			body = `{"code":"not_found","detail":"There is nothing of that name here."}`
		}
		w.Write([]byte(body))
	}))
	t.Cleanup(srv.Close)
	t.Setenv("LATCHKEY_URL", srv.URL)
	t.Setenv("LATCHKEY_API_KEY", "lk_ops_x")
}

func TestDoctorAsksThePlatform(t *testing.T) {
	quiet(t)
	answering(t, map[string]string{
		"/api/v1/me":     `{"kind":"operator"}`,
		"/api/v1/health": `{"ok":false,"checks":[{"name":"vault","ok":false,"found":"sealed","fix":"Unseal it.","latency_ms":1}]}`,
	})
	out, err := run(t, "doctor", "--state", t.TempDir())
	if err == nil || !strings.Contains(out, "platform: vault") || !strings.Contains(out, "Unseal it.") {
		t.Errorf("%v %s", err, out)
	}
}

func TestAuditVerify(t *testing.T) {
	quiet(t)
	answering(t, map[string]string{"/api/v1/audit/verification": `{"ok":true,"writers":2,"records":10,"gaps":[],"open_intents":1}`})
	if out, err := run(t, "audit", "verify"); err != nil || !strings.Contains(out, "No record is missing.") || !strings.Contains(out, "1 calls have no outcome") {
		t.Errorf("%v %s", err, out)
	}
	answering(t, map[string]string{"/api/v1/audit/verification": `{"ok":false,"writers":2,"records":10,"gaps":[{"writer":"wr1","after":4,"before":9,"missing":4}]}`})
	out, err := run(t, "audit", "verify")
	if err == nil || exitCode(err) != exitFailed || !strings.Contains(out, "wr1     4      9       4") {
		t.Errorf("%v\n%s", err, out)
	}
	answering(t, nil)
	if _, err := run(t, "audit", "verify"); exitCode(err) != exitNotFound {
		t.Errorf("%v", err)
	}
	_, err = run(t, "audit", "verify", "--since", "yesterday")
	var usage usageError
	if !errors.As(err, &usage) || exitCode(err) != exitUsage {
		t.Errorf("%v", err)
	}
}
