package postgres_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/accounts"
	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/callers"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/health"
	"latchkey/internal/idempotency"
	"latchkey/internal/oauth"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/signin"
	"latchkey/internal/switches"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantCode(t testing.TB, what string, err error, c fault.Code) {
	t.Helper()
	if !fault.HasCode(err, c) {
		t.Errorf("%s: got %v, want %s", what, err, c)
	}
}

// connect opens a plain connection, as whoever the URL names.
func connect(t testing.TB, url string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), url)
	check(t, err)
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}

func exec(t testing.TB, conn *pgx.Conn, sql string, args ...any) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql, args...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// column reads one column of all rows.
func column[T any](t testing.TB, conn *pgx.Conn, sql string, args ...any) []T {
	t.Helper()
	rows, _ := conn.Query(context.Background(), sql, args...)
	out, err := pgx.CollectRows(rows, pgx.RowTo[T])
	if err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return out
}

func randomHash() (h [32]byte) {
	rand.Read(h[:])
	return h
}

// place is a tenant that has one of everything.
type place struct {
	id             tenants.ID
	slug           string
	user           tenants.User
	server         registry.Server
	revision       registry.Revision
	client         oauth.Client
	grant          oauth.Grant
	code, refresh  oauth.Hash
	pushed, ticket oauth.Hash
	key            string
	session        signin.Record
	record         string // of the audit
	once           idempotency.Name
	called         idempotency.CallName
	call           idempotency.Claim
	invited        invited
	apiKey         callers.Key
	console        callers.Session
	off            switches.Switch
	event          string
	kept           guard.Kept
	confirmation   approvals.Confirmation
	trial          registry.RevisionID
	approval       approvals.Approval
	task           tasks.Task
	account        accounts.Account
	flow           accounts.Flow
}

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func revisionOf(server registry.ServerID, text string) registry.Revision {
	sum := sha256.Sum256([]byte(text))
	return registry.Revision{
		Server: server, Hash: hex.EncodeToString(sum[:]), Kind: "echo", Spec: json.RawMessage(`{"tools":[]}`), CreatedBy: "test",
		Definition: registry.Definition{Tools: []registry.Tool{{Name: "say", Scope: "tool:say", Description: text, InputSchema: json.RawMessage(`{"type":"object"}`)}}},
	}
}

func event(t tenants.ID, at time.Time) audit.Event {
	return audit.Event{
		Tenant: t, At: at, ID: tenants.RandomID("au"), CallID: tenants.RandomID("ca"), Phase: audit.Outcome, WriterID: "wr", Method: "tools/call",
		Allowed: true, State: audit.Done,
	}
}

// settle makes a tenant and puts one of everything into it, through the store.
func settle(t testing.TB, db *postgres.DB, slug string) *place {
	t.Helper()
	ctx := context.Background()
	ten, user := postgrestest.Tenant(t, db, slug)
	p := &place{id: ten.ID, slug: slug, user: user}
	check(t, db.SetPasswordHash(ctx, p.id, user.ID, "hash of "+slug))
	var err error
	p.server, err = db.PutServer(ctx, p.id, registry.Server{Slug: "orders", Kind: "echo", Title: "Orders"})
	check(t, err)
	p.revision, _, err = db.Publish(ctx, p.id, revisionOf(p.server.ID, slug))
	check(t, err)
	check(t, db.PutRole(ctx, p.id, tenants.Role{Name: "member", Scopes: []tenants.Scope{{Server: p.server.ID, Name: "tool:say"}}}))

	p.session = signin.Record{ID: tenants.RandomID("bs"), User: user.ID, Token: randomHash(), SignedInAt: began, LastSeenAt: began}
	check(t, db.CreateSession(ctx, p.id, p.session, began.Add(-time.Hour)))

	p.client = oauth.Client{
		ID: tenants.RandomID("cl"), Kind: oauth.Registered, Name: "App", AuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"},
		GrantTypes: []string{"authorization_code"}, CreatedAt: began,
	}
	check(t, db.CreateOAuthClient(ctx, p.id, p.client))
	p.pushed, p.ticket, p.code, p.refresh = randomHash(), randomHash(), randomHash(), randomHash()
	check(t, db.PushRequest(ctx, p.id, oauth.Pushed{Handle: p.pushed, Client: p.client.ID, Parameters: "a=b", ExpiresAt: began.Add(time.Hour)}))
	check(t, db.ShowRequest(ctx, p.id, oauth.Shown{Ticket: p.ticket, Client: p.client.ID, Session: p.session.ID, User: user.ID, Scopes: []string{"tool:say"}, ExpiresAt: began.Add(time.Hour)}))
	issue := newIssue(p)
	p.grant, p.code = issue.Grant, issue.Code.Hash
	check(t, db.Issue(ctx, p.id, issue))
	check(t, db.WithCode(ctx, p.id, p.code, func(oauth.Code, oauth.Grant) oauth.Turn {
		return oauth.Turn{Use: began, Next: &oauth.RefreshToken{Hash: p.refresh, Grant: p.grant.ID, ExpiresAt: began.Add(time.Hour)}}
	}))
	check(t, db.RememberListed(ctx, p.id, p.grant.ID, p.server.ID, p.revision.ID))
	p.key = tenants.RandomID("ky")
	check(t, db.AddSigningKey(ctx, p.id, oauth.Key{ID: p.key, Public: make([]byte, 32), Sealed: []byte("sealed"), CreatedAt: began, SignsFrom: began}, func([]oauth.Key) bool { return true }))
	e := event(p.id, began)
	p.record = e.ID
	check(t, db.InsertAudit(ctx, []audit.Event{e}))
	_, err = db.RollUpUsage(ctx, began.Add(48*time.Hour))
	check(t, err)
	p.once = idempotency.Name{Caller: "api_key:ak", Key: "once"}
	_, _, err = db.ClaimName(ctx, p.id, p.once, randomHash(), began)
	check(t, err)
	p.called = idempotency.CallName{User: user.ID, Server: p.server.ID, Key: randomHash()}
	p.call = idempotency.Claim{CallID: tenants.RandomID("ca"), Tool: "say", Request: randomHash(), Upstream: "lk-1", Now: began, RunsUntil: began.Add(time.Minute), Keep: time.Hour}
	_, _, err = db.ClaimCall(ctx, p.id, p.called, p.call)
	check(t, err)
	p.invited = invite(t, db, p)
	check(t, db.PutLimits(ctx, p.id, tenants.Limits{User: tenants.Limit{Rate: tenants.Rate{Calls: 60, Per: time.Minute}, Burst: 10, Message: slug}}))
	p.apiKey = newAPIKey()
	check(t, db.CreateAPIKey(ctx, p.id, p.apiKey))
	p.console = callers.Session{ID: tenants.RandomID("cs"), User: user.ID, Grant: p.grant.ID, Token: randomHash(), CreatedAt: began, LastSeenAt: began}
	check(t, db.CreateConsoleSession(ctx, p.id, p.console, began.Add(-time.Hour)))
	p.off, err = db.PutSwitch(ctx, p.id, switchOf(p))
	check(t, err)
	check(t, db.InsertEvents(ctx, []events.Event{eventOf(p.id)}))
	es, err := db.Events(ctx, p.id, events.Query{Limit: 1})
	check(t, err)
	p.event = es[0].ID
	p.kept = keptOf(p)
	check(t, db.KeepResult(ctx, p.id, p.kept, 1<<20))
	p.confirmation = newConfirmation(p)
	check(t, db.CreateConfirmation(ctx, p.id, p.confirmation))
	p.approval, _, err = db.AskApproval(ctx, p.id, newApproval(p), useNow)
	check(t, err)
	_, err = db.ApproversToTell(ctx, p.id, toldOf(p), began)
	check(t, err)
	settleOffers(t, db, p)
	p.task = askingTask(t, db, p)
	p.account, err = db.PutUpstreamAccount(ctx, p.id, accountOf(p))
	check(t, err)
	check(t, db.PutUpstreamClient(ctx, p.id, upstreamClientOf(p)))
	p.flow = flowOf(p)
	check(t, db.BeginUpstreamFlow(ctx, p.id, p.flow, began))
	return p
}

// settleOffers has a server whose upstream offers something else than what is
// pinned, after an offer that was refused.
func settleOffers(t testing.TB, db *postgres.DB, p *place) {
	t.Helper()
	ctx := context.Background()
	for _, text := range []string{"pinned", "refused", "pending"} {
		_, err := db.SeeOffer(ctx, p.id, p.server.ID, offerOf(text), began)
		check(t, err)
		if text == "refused" {
			o := offerOf(text)
			check(t, db.RefuseOffer(ctx, p.id, p.server.ID, o.Hash(), "test", began))
		}
	}
	check(t, db.AwaitOffer(ctx, p.id, p.server.ID, registry.Awaited{Revision: p.revision.ID, By: "test"}))
	check(t, db.PutServerHealth(ctx, p.id, health.Record{Server: p.server.ID, State: health.Degraded, Since: began, Checked: began, Next: began, Code: "upstream_unavailable"}))
	p.trial = registry.RevisionID(tenants.RandomID("rv"))
	check(t, db.PutTrial(ctx, p.id, runtime.Opening{Tenant: p.id, Server: p.server.ID, Revision: p.trial}, true, began.Add(time.Hour)))
}

func offerOf(text string) registry.Offer {
	o := registry.Offer{Protocol: "2026-07-28", Instructions: text, Tools: []registry.OfferedTool{{Name: "say", Definition: json.RawMessage(`{"name":"say","inputSchema":{"type":"object"}}`)}}}
	o.Seal()
	return o
}

// askingTask is one that runs and waits for an answer.
func askingTask(t testing.TB, db *postgres.DB, p *place) tasks.Task {
	t.Helper()
	now := time.Now()
	k := tasks.Task{
		ID: tasks.NewID(), Tenant: p.id, Server: p.server.ID, User: p.user.ID, Client: p.client.ID, Grant: p.grant.ID, Tool: "say", Scope: "tool:say", Revision: p.revision.ID,
		Risk: registry.Writes, CallID: tenants.RandomID("ca"), Timeout: time.Minute, TTL: time.Hour, Input: []byte("sealed"), CreatedAt: now, Deadline: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour),
	}
	_, _, err := db.CreateTask(t.Context(), k, nil, tasks.Bounds{PerTool: 10})
	check(t, err)
	claimed, ok, err := db.ClaimTask(t.Context(), "edge", time.Hour, false)
	check(t, err)
	if !ok || claimed.ID != k.ID {
		t.Fatalf("claimed %+v", claimed)
	}
	check(t, db.BeginTask(t.Context(), &claimed, time.Hour))
	check(t, db.AskTask(t.Context(), &claimed, tasks.Question{Key: "q1", Sealed: []byte("?")}))
	return claimed
}

func accountOf(p *place) accounts.Account {
	return accounts.Account{Server: p.server.ID, User: p.user.ID, State: accounts.Connected, Issuer: "https://as.example", ConnectedBy: p.user.ID, ConnectedAt: began, RenewedAt: began}
}

func upstreamClientOf(p *place) accounts.Client {
	const at = "https://as.example"
	return accounts.Client{Server: p.server.ID, ID: "c", How: accounts.Given, AuthMethod: "none", Issuer: at, Resource: at, Authorize: at, Token: at, FoundAt: began}
}

func flowOf(p *place) accounts.Flow {
	return accounts.Flow{State: accounts.Hash(randomHash()), Server: p.server.ID, User: p.user.ID, By: p.user.ID, Verifier: "0123456789012345678901234567890123456789012", Expires: began.Add(time.Hour)}
}

func switchOf(p *place) switches.Switch {
	return switches.Switch{Target: switches.Target{Kind: switches.Client, Client: p.client.ID}, Reason: "test", By: "test", ByRole: "admin", CreatedAt: began}
}

func eventOf(t tenants.ID) events.Event {
	return events.Event{Tenant: t, At: began, Kind: events.FanOut, Severity: events.Warning, Detail: "Too many."}
}

func keptOf(p *place) guard.Kept {
	return guard.Kept{
		ID: tenants.RandomID("kr"), Server: p.server.ID, User: p.user.ID, Grant: p.grant.ID, Scope: "tool:say", Tool: "say",
		Parts: []guard.KeptPart{{MIME: "application/json", Sealed: []byte("x")}}, CreatedAt: began, ExpiresAt: began.Add(guard.KeepFor),
	}
}

var useNow = approvals.Use{Key: approvals.HashOf("key"), Call: "ca1", At: began, Until: began.Add(time.Hour)}

func subjectOf(p *place) approvals.Subject {
	return approvals.Subject{User: p.user.ID, Server: p.server.ID, Tool: "say", Definition: "d", Request: approvals.RequestHash(nil)}
}

func newConfirmation(p *place) approvals.Confirmation {
	_, token := approvals.NewToken()
	return approvals.Confirmation{ID: tenants.RandomID("cn"), Token: token, Subject: subjectOf(p), Grant: p.grant.ID, CreatedAt: began, ExpiresAt: began.Add(time.Hour)}
}

func newApproval(p *place) approvals.Approval {
	return approvals.Approval{ID: tenants.RandomID("ap"), Subject: subjectOf(p), Client: p.client.ID, Risk: registry.Writes, Arguments: []byte("{}"), Role: "member",
		CallID: "ca1", RequestedAt: began, ExpiresAt: began.Add(time.Hour)}
}

// toldOf is an approval that somebody else asked for, so that the person of the
// place is told.
func toldOf(p *place) approvals.Approval {
	a := newApproval(p)
	a.User = "us222222222222222222"
	return a
}

func newAPIKey() callers.Key {
	k, _ := callers.NewKey(callers.Key{Name: "CI", Permissions: []tenants.Permission{tenants.ServersRead}, CreatedBy: "pat", CreatedAt: began})
	return k
}

func newIssue(p *place) oauth.Issue {
	g := oauth.Grant{
		ID: tenants.RandomID("gr"), Scopes: []string{"tool:say"}, CreatedAt: began,
		ConsentKey: oauth.ConsentKey{User: p.user.ID, Client: p.client.ID, RedirectHost: "app.example", Server: p.server.ID},
	}
	return oauth.Issue{
		Grant:   g,
		Code:    oauth.Code{Hash: randomHash(), Grant: g.ID, RedirectURI: "https://app.example/cb", Challenge: "0123456789012345678901234567890123456789012", ExpiresAt: began.Add(time.Hour)},
		Consent: &oauth.Consent{ConsentKey: g.ConsentKey, Scopes: g.Scopes, GivenAt: began},
	}
}
