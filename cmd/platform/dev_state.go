package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"time"

	"latchkey/internal/api"
	"latchkey/internal/embedded"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// devSecrets are random at the first run and kept, mode 0600, so that data and
// sign-ins survive a restart. They are for loopback only.
type devSecrets struct {
	path       string
	Owner      secret.Text `json:"owner"`
	App        secret.Text `json:"app"`
	DemoAcme   secret.Text `json:"demo_acme"`
	DemoGlobex secret.Text `json:"demo_globex"`
	// Of the demo's own API: its account in the database, and its key.
	DemoUpstream    secret.Text            `json:"demo_upstream"`
	DemoUpstreamKey secret.Text            `json:"demo_upstream_key"`
	People          map[string]secret.Text `json:"people"` // password by e-mail address
	// Of the operator that is seeded, and keys for scripts.
	Operator    secret.Text `json:"operator"`
	OperatorKey secret.Text `json:"operator_key"`
	APIKey      secret.Text `json:"api_key"`
	// For `platform apply` beside a running `platform dev`.
	DatabaseURL secret.Text `json:"database_url"`
	VaultRole   string      `json:"vault_role"`
	VaultSecret secret.Text `json:"vault_secret"`
}

func openDevSecrets(path string) (*devSecrets, error) {
	s := &devSecrets{path: path, Owner: randomPassword(), App: randomPassword(), DemoAcme: randomPassword(), DemoGlobex: randomPassword(), DemoUpstream: randomPassword(), DemoUpstreamKey: randomPassword(), People: map[string]secret.Text{}}
	b, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return s, s.save()
	}
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w; run `make dev-reset` to begin anew", path, err)
	}
	return s, nil
}

func (s *devSecrets) save() error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(s.path, b)
}

func writeFile(path string, b []byte) error {
	if err := os.WriteFile(path+".new", b, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func randomPassword() secret.Text { return secret.Text(strings.ToLower(rand.Text())) }

func setDemoPassword(ctx context.Context, pl *platform, t tenants.ID, email string, s *devSecrets) error {
	u, err := pl.db.UserByEmail(ctx, t, email)
	if err != nil {
		return err
	}
	hash, err := pl.db.PasswordHash(ctx, t, u.ID)
	if err != nil || hash != "" && s.People[email] != "" {
		return err
	}
	s.People[email] = randomPassword()
	return pl.signin.SetPassword(ctx, t, u.ID, s.People[email])
}

// useDevState lets `platform keys` work on the `platform dev` that runs here.
func useDevState(c *config) error {
	b, err := os.ReadFile(".dev/ready.json")
	if err != nil {
		return nil // need says what is missing
	}
	var r ready
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf(".dev/ready.json: %w", err)
	}
	s, err := openDevSecrets(".dev/secrets.json")
	if err != nil {
		return err
	}
	c.DatabaseURL = s.DatabaseURL
	c.Vault = vault.Config{Address: r.VaultAddr, AppRole: vault.AppRole{RoleID: s.VaultRole, SecretID: s.VaultSecret}}
	return nil
}

// ready is .dev/ready.json: what the ready screen says, for scripts.
type ready struct {
	BaseURL    string            `json:"base_url"` // of the first tenant
	Issuer     string            `json:"issuer"`
	MCP        map[string]string `json:"mcp"` // by server
	Tenants    map[string]string `json:"tenants"`
	Users      []readyUser       `json:"users"`
	Console    string            `json:"console"` // of the first tenant
	APIURL     string            `json:"api_url"`
	APIKey     secret.Text       `json:"api_key"` // of the first tenant, with the permission admin
	Operator   readyOperator     `json:"operator"`
	VaultAddr  string            `json:"vault_addr"`
	MetricsURL string            `json:"metrics_url"`
	Upstream   string            `json:"upstream_url"` // the demo's own API
	Pids       map[string]int    `json:"pids"`
	ReadyMS    int64             `json:"ready_ms"`
}

type readyOperator struct {
	URL      string      `json:"url"`
	Email    string      `json:"email"`
	Password secret.Text `json:"password"`
	APIKey   secret.Text `json:"api_key"`
}

type readyUser struct {
	Tenant   string   `json:"tenant"`
	Email    string   `json:"email"`
	Password string   `json:"password"`
	Roles    []string `json:"roles"`
}

func readiness(sites *site.Sites, users []readyUser, s *devSecrets, vaultAddr, metrics, upstream string, pg *embedded.Postgres, w *workerProcess, took time.Duration) ready {
	r := ready{
		BaseURL: sites.Base("acme"), Issuer: sites.Base("acme"), VaultAddr: vaultAddr, MetricsURL: metrics, Upstream: upstream,
		MCP:     map[string]string{"orders": sites.Resource("acme", "orders"), "incidents": sites.Resource("acme", "incidents"), "crm": sites.Resource("acme", "crm"), "diagnostics": sites.Resource("acme", "diagnostics")},
		Tenants: map[string]string{"acme": sites.Base("acme"), "globex": sites.Base("globex")},
		Console: sites.Base("acme") + "/admin", APIURL: sites.Platform() + api.Base, APIKey: s.APIKey,
		Operator: readyOperator{URL: sites.Platform() + "/ops", Email: demoOperator, Password: s.Operator, APIKey: s.OperatorKey},
		Pids:     map[string]int{"platform": os.Getpid(), "postgres": pg.Pid(), "worker": w.pid()},
		ReadyMS:  took.Milliseconds(),
	}
	for _, u := range users {
		u.Password = s.People[u.Email].Reveal()
		r.Users = append(r.Users, u)
	}
	sort.SliceStable(r.Users, func(i, j int) bool { return r.Users[i].Tenant < r.Users[j].Tenant })
	return r
}

func (r ready) write(path string) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return writeFile(path, append(b, '\n'))
}

// defaultState is the folder of `make dev`.
const defaultState = ".dev"

// signInFor is who of the first tenant holds a role, with their password.
func (r ready) signInFor(role string) string {
	for _, u := range r.Users {
		if u.Tenant == demoTenant && slices.Contains(u.Roles, role) {
			return u.Email + " / " + u.Password
		}
	}
	return ""
}

// print is the ready screen. Passwords are shown: they are for this machine. dir is
// the state folder as it was named.
func (r ready) print(w io.Writer, dir string) {
	fmt.Fprintf(w, "\nReady in %.1f s\n", float64(r.ReadyMS)/1000)
	fmt.Fprintf(w, "  Console     %-42s %s\n", r.Console, r.signInFor("admin"))
	fmt.Fprintf(w, "  Operator    %-42s %s / %s\n", r.Operator.URL, r.Operator.Email, r.Operator.Password.Reveal())
	fmt.Fprintf(w, "  API         %s/docs\n", r.APIURL)
	fmt.Fprintf(w, "  MCP         %s\n", r.MCP["orders"])
	for _, u := range r.Users {
		if u.Tenant == "acme" {
			fmt.Fprintf(w, "  Sign in as  %-18s %s   (%s)\n", u.Email, u.Password, strings.Join(u.Roles, ", "))
		}
	}
	fmt.Fprintf(w, "Try it:  claude mcp add --transport http orders %s\n", r.MCP["orders"])
	reset, named := "make dev-reset", ""
	if dir = filepath.Clean(dir); dir != defaultState {
		named = " --state " + dir
		reset = "./bin/platform dev --reset" + named
	}
	fmt.Fprintf(w, "Stop: Ctrl-C   Reset: %s   Check: ./bin/platform doctor%s   For scripts: %s   Logs: %s/\n", reset, named, filepath.Join(dir, "ready.json"), dir)
}

func devMetrics() (url string, stop func() error, err error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	srv := metricsServer()
	go srv.Serve(ln)
	return "http://" + ln.Addr().String() + "/metrics", srv.Close, nil
}
