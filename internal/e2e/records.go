package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/embedded"
)

// devSecrets is secrets.json of a state folder.
type devSecrets struct {
	Owner           string            `json:"owner"`
	App             string            `json:"app"`
	DemoAcme        string            `json:"demo_acme"`
	DemoGlobex      string            `json:"demo_globex"`
	DemoUpstream    string            `json:"demo_upstream"`
	DemoUpstreamKey string            `json:"demo_upstream_key"`
	People          map[string]string `json:"people"`
	DatabaseURL     string            `json:"database_url"`
	VaultRole       string            `json:"vault_role"`
	VaultSecret     string            `json:"vault_secret"`
	Operator        string            `json:"operator"`
	APIKey          string            `json:"api_key"`
	OperatorKey     string            `json:"operator_key"`
}

func (p *Platform) secrets() (s devSecrets, err error) {
	b, err := os.ReadFile(p.Path("secrets.json"))
	if err != nil {
		return s, err
	}
	return s, json.Unmarshal(b, &s)
}

func (p *Platform) superuser() (string, error) {
	b, err := os.ReadFile(p.Path("postgres/password"))
	return strings.TrimSpace(string(b)), err
}

// SQL connects to a database of the platform's Postgres as its superuser:
// latchkey is the platform's own, demo_acme and demo_globex are the tenants'.
func (p *Platform) SQL(ctx context.Context, database string) (*pgx.Conn, error) {
	s, err := p.secrets()
	if err != nil {
		return nil, err
	}
	password, err := p.superuser()
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		return nil, err
	}
	u.User, u.Path = url.UserPassword(embedded.Superuser, password), "/"+database
	return pgx.Connect(ctx, u.String())
}

// Exec runs SQL as the superuser.
func (p *Platform) Exec(t testing.TB, database, sql string, args ...any) {
	t.Helper()
	conn, err := p.SQL(t.Context(), database)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if _, err := conn.Exec(t.Context(), sql, args...); err != nil {
		t.Fatal(err)
	}
}

func query[T any](ctx context.Context, p *Platform, database string, row pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	conn, err := p.SQL(ctx, database)
	if err != nil {
		return nil, err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	rows, err := conn.Query(ctx, sql, args...)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, row)
}

// Record is one of the audit.
type Record struct {
	At                                                                                         time.Time
	Tenant, CallID, Phase, Outcome, Decision, Tool, Category, Code, Key, User, Arguments, Text string
}

// Audit reads all audit records since a time, oldest first.
func (p *Platform) Audit(ctx context.Context, since time.Time) ([]Record, error) {
	return query(ctx, p, "latchkey", pgx.RowToStructByPos[Record], `
		SELECT a.at, t.slug, a.call_id, a.phase, a.outcome, a.decision, a.tool, a.category, a.code, a.idempotency_key, coalesce(u.email, ''), a.arguments, a::text
		FROM audit_events a JOIN tenants t ON t.id = a.tenant_id LEFT JOIN users u ON u.tenant_id = a.tenant_id AND u.id = a.user_id
		WHERE a.at >= $1 ORDER BY a.at, a.id`, since)
}

// RecordsOf reads what is on record about one call.
func (p *Platform) RecordsOf(t testing.TB, call string) []Record {
	t.Helper()
	all, err := p.Audit(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	var out []Record
	for _, r := range all {
		if r.CallID == call {
			out = append(out, r)
		}
	}
	return out
}

// Refund is a line of a demo shop's ledger.
type Refund struct {
	Order, Cents            int64
	Reason, By, CallID, Key string
}

// Ledger reads what was really paid back.
func (p *Platform) Ledger(ctx context.Context, tenant string) ([]Refund, error) {
	return query(ctx, p, "demo_"+tenant, pgx.RowToStructByPos[Refund], `
		SELECT order_id, (amount * 100)::bigint, reason, requested_by, call_id, coalesce(idempotency_key, '') FROM refunds WHERE call_id <> 'seed' ORDER BY id`)
}

// Payable lists orders of a tenant's shop that can be refunded.
func (p *Platform) Payable(ctx context.Context, tenant string) ([]int64, error) {
	return query(ctx, p, "demo_"+tenant, pgx.RowTo[int64], `SELECT id FROM orders WHERE status IN ('paid', 'shipped') ORDER BY id`)
}

// LedgerOf is what one reason stands at.
func (p *Platform) LedgerOf(t testing.TB, tenant, reason string) []Refund {
	t.Helper()
	all, err := p.Ledger(t.Context(), tenant)
	if err != nil {
		t.Fatal(err)
	}
	var out []Refund
	for _, r := range all {
		if r.Reason == reason {
			out = append(out, r)
		}
	}
	return out
}

func (r Record) String() string {
	return fmt.Sprintf("%s %s %s %s %s/%s", r.CallID, r.Phase, r.Outcome, r.Tool, r.Category, r.Code)
}

// tenantID is what a tenant is called inside.
func (p *Platform) tenantID(t testing.TB, slug string) string {
	t.Helper()
	ids, err := query(t.Context(), p, "latchkey", pgx.RowTo[string], `SELECT id FROM tenants WHERE slug = $1`, slug)
	if err != nil || len(ids) != 1 {
		t.Fatalf("tenant %s: %v, %v", slug, ids, err)
	}
	return ids[0]
}
