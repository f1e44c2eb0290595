package postgres_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/approvals"
	"latchkey/internal/audit"
	"latchkey/internal/callers"
	"latchkey/internal/events"
	"latchkey/internal/fault"
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
)

// notOneTenants lists the methods that are not about one tenant, so that a new
// one has to be thought about.
var notOneTenants = []string{
	"Close", "Ping", "Health", "CheckSchema", "Endpoint", "Listen", "Lead", "AcrossTenants", // of the database itself
	"Tenants", "TenantBySlug", "PutTenant", "InsertAudit", "CollectOAuth", "CollectAnswers", "CollectCalls", "CollectAgreements", "CollectResults", "InsertEvents", "CollectEvents", "EndSwitches", "CountSwitches", "CountServerHealth", "Upstreams", "StaleTrials", // named exceptions
	"CreateTask", "BeginTask", "KeepTask", "PutBack", "AskTask", "TakeAnswer", "WithdrawQuestion", "EndTask", // of the tenant that their task names: taskstest holds them to it
	"ClaimTask", "CollectTasks", "CountTasks", // named exceptions
	"RollUpUsage", "VerifyAudit", // of all tenants at once: sums and numbers of records
	"AddAuditPartitions", "GrantKeys", "AddFirstGrantKey", "AnnounceEdge", "RetireEdge", "Edges", // no tenant's rows
	"APIKeyByHash",                                                                                      // who holds a key need not say whose it is
	"Operators", "Operator", "PutOperator", "DeleteOperator", "OperatorPassword", "SetOperatorPassword", // operators belong to no tenant
	"CreateOperatorSession", "OperatorSession", "TouchOperatorSession", "DeleteOperatorSession",
	"OperatorKeys", "OperatorKey", "OperatorKeyByHash", "OperatorKeyByToken", "CreateOperatorKey", "RevokeOperatorKey", "UseOperatorKey", "CreateOperatorToken",
}

// access calls one method inside tenant t for what p has. It returns how much
// it saw of what it asked for; changing something counts as seeing it.
type access struct {
	call func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (seen int, err error)
	// creates: it makes what is not there. In a tenant without p's things it may
	// succeed or refer to what does not exist.
	creates bool
	// silent: it sees nothing, and says so without an error.
	silent bool
}

func second[T any](_ T, err error) error { return err }

func sees(err error) (int, error) {
	if err != nil {
		return 0, err
	}
	return 1, nil
}

// accesses has every method of the store that is about one tenant.
var accesses = map[string]access{
	"Exclusive": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.Exclusive(ctx, t, func(context.Context) error { return nil })
	}},
	"ClaimName": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, _, err := db.ClaimName(ctx, t, p.once, randomHash(), began)
		return sees(err)
	}},
	"KeepAnswer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.KeepAnswer(ctx, t, p.once, []byte("sealed")))
	}},
	"DropName": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DropName(ctx, t, p.once)
	}},
	"ClaimCall": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		c := p.call
		c.CallID, c.Request = tenants.RandomID("ca"), randomHash()
		_, _, err := db.ClaimCall(ctx, t, p.called, c)
		return sees(err)
	}},
	"CallNamed": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.CallNamed(ctx, t, p.called, began)
		return sees(err)
	}},
	"ProlongCall": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.ProlongCall(ctx, t, p.called, p.call.CallID, began.Add(time.Hour))
	}},
	"EndCall": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.EndCall(ctx, t, p.called, p.call.CallID, idempotency.End{State: idempotency.Done, ExpiresAt: began.Add(time.Hour)})
	}},
	"PutSwitch": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s, err := db.PutSwitch(ctx, t, switchOf(p))
		return sees(errors.Join(err, of(t, s.Tenant)))
	}},
	"LiftSwitch": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.LiftSwitch(ctx, t, p.off.Target, "test", began)))
	}},
	"Switch": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s, err := db.Switch(ctx, t, p.off.Target)
		return sees(errors.Join(err, of(t, s.Tenant)))
	}},
	"Switches": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ss, err := db.Switches(ctx, t, switches.Query{At: began, Limit: 10})
		return len(ss), err
	}},
	"SwitchesOn": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ss, err := db.SwitchesOn(ctx, t)
		return len(ss), err
	}},
	"Off": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		set, err := db.Off(ctx, t)
		if _, off := set.Of(switches.Call{Client: p.client.ID}, began); !off {
			return 0, err
		}
		return 1, err
	}},
	"Events": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		es, err := db.Events(ctx, t, events.Query{Limit: 10})
		return len(es), err
	}},
	"Acknowledge": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		e, err := db.Acknowledge(ctx, t, p.event, "test", began)
		return sees(errors.Join(err, of(t, e.Tenant)))
	}},
	"KeepResult": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		k := p.kept
		k.ID = tenants.RandomID("kr")
		return sees(db.KeepResult(ctx, t, k, 1<<20))
	}},
	"KeptPart": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.KeptPart(ctx, t, p.kept.ID, 1, began)
		return sees(err)
	}},
	"Offered": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		o, err := db.Offered(ctx, t, p.server.ID)
		return sees(errors.Join(err, of(t, o.Tenant)))
	}},
	"AllOffered": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		all, err := db.AllOffered(ctx, t)
		return len(all), err
	}},
	"SeeOffer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.SeeOffer(ctx, t, p.server.ID, offerOf("seen"), began)
		return sees(err)
	}},
	"PinOffer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PinOffer(ctx, t, p.server.ID, offerOf("pinned"), "test", began))
	}},
	"RefuseOffer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		o := offerOf("pending")
		return sees(db.RefuseOffer(ctx, t, p.server.ID, o.Hash(), "test", began))
	}},
	"AwaitOffer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.AwaitOffer(ctx, t, p.server.ID, registry.Awaited{Revision: p.revision.ID, By: "test"}))
	}},
	"EndAwait": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.EndAwait(ctx, t, p.server.ID, p.revision.ID, "no"))
	}},
	"ServerHealth": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		set, err := db.ServerHealth(ctx, t)
		return len(set), err
	}},
	"PutServerHealth": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PutServerHealth(ctx, t, health.Record{Server: p.server.ID, State: health.Healthy, Since: began, Checked: began, Next: began}))
	}},
	"HintProbe": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.HintProbe(ctx, t, p.server.ID)
	}},
	"PutTrial": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PutTrial(ctx, t, runtime.Opening{Server: p.server.ID, Revision: registry.RevisionID(tenants.RandomID("rv"))}, true, began))
	}},
	"Trial": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.Trial(ctx, t, p.trial)
		return sees(err)
	}},
	"DropTrial": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DropTrial(ctx, t, p.trial)
	}},
	"UserByID": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		u, err := db.UserByID(ctx, t, p.user.ID)
		return sees(errors.Join(err, of(t, u.Tenant)))
	}},
	"UserByEmail": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		u, err := db.UserByEmail(ctx, t, p.user.Email)
		return sees(errors.Join(err, of(t, u.Tenant)))
	}},
	"Users": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		us, err := db.Users(ctx, t)
		return len(us), err
	}},
	"PutUser": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.PutUser(ctx, t, p.user.Email, "Somebody else", []string{"member"})
		return sees(err)
	}},
	"SetUserDisabled": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.SetUserDisabled(ctx, t, p.user.ID, true))
	}},
	"PasswordHash": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.PasswordHash(ctx, t, p.user.ID)
		return sees(err)
	}},
	"SetPasswordHash": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.SetPasswordHash(ctx, t, p.user.ID, "another"))
	}},
	"Roles": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		rs, err := db.Roles(ctx, t)
		return len(rs), err
	}},
	"PutRole": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PutRole(ctx, t, tenants.Role{Name: "member", Scopes: []tenants.Scope{{Server: p.server.ID, Name: "tool:other"}}}))
	}},
	"DeleteRole": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.DeleteRole(ctx, t, "member"))
	}},
	"OwnLimits": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		l, err := db.OwnLimits(ctx, t)
		return min(1, l.User.Burst), err
	}},
	"PutLimits": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PutLimits(ctx, t, tenants.Limits{FanOut: tenants.FanOut{Calls: 7}}))
	}},
	"Access": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		a, err := db.Access(ctx, t, p.user.ID)
		return len(a.Scopes), err
	}},
	"Server": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s, err := db.Server(ctx, t, p.server.ID)
		return sees(errors.Join(err, of(t, s.Tenant)))
	}},
	"Hosted": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		h, err := db.Hosted(ctx, t, p.server.Slug)
		return sees(errors.Join(err, of(t, h.Server.Tenant), of(t, h.Revision.Tenant)))
	}},
	"HostedAll": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		hs, err := db.HostedAll(ctx, t)
		return len(hs), err
	}},
	"Revision": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		r, err := db.Revision(ctx, t, p.revision.ID)
		return sees(errors.Join(err, of(t, r.Tenant)))
	}},
	"Revisions": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		rs, err := db.Revisions(ctx, t, p.server.ID)
		return len(rs), err
	}},
	"PutServer": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.PutServer(ctx, t, registry.Server{Slug: p.server.Slug, Kind: "echo", Title: "Another"})
		return sees(err)
	}},
	"Publish": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, _, err := db.Publish(ctx, t, revisionOf(p.server.ID, "another"))
		return sees(err)
	}},
	"DeleteServer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.DeleteServer(ctx, t, p.server.ID))
	}},
	"ServerBySlug": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s, err := db.ServerBySlug(ctx, t, p.server.Slug)
		return sees(errors.Join(err, of(t, s.Tenant)))
	}},
	"Current": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		hs, err := db.Current(ctx, t)
		return len(hs), err
	}},
	"Servers": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ls, err := db.Servers(ctx, t, registry.ServerQuery{Limit: 10})
		return len(ls), err
	}},
	"Tools": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ls, err := db.Tools(ctx, t, registry.ToolQuery{Limit: 10})
		return len(ls), err
	}},
	"RevisionByNumber": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		r, err := db.RevisionByNumber(ctx, t, p.server.ID, p.revision.Number)
		return sees(errors.Join(err, of(t, r.Tenant)))
	}},
	"Newest": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		r, err := db.Newest(ctx, t, p.server.ID)
		return sees(errors.Join(err, of(t, r.Tenant)))
	}},
	"RevisionsBefore": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		rs, err := db.RevisionsBefore(ctx, t, p.server.ID, 1000, 10)
		return len(rs), err
	}},
	"Stage": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, _, err := db.Stage(ctx, t, revisionOf(p.server.ID, "staged"))
		return sees(err)
	}},
	"Activate": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		r, err := db.Activate(ctx, t, p.server.ID, p.revision.Number)
		return sees(errors.Join(err, of(t, r.Tenant)))
	}},
	"BeginDeleteServer": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		op, err := db.BeginDeleteServer(ctx, t, p.server.ID, "test", began)
		return sees(errors.Join(err, of(t, op.Tenant)))
	}},
	"ServerEffects": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		e, err := db.ServerEffects(ctx, t, p.server.ID)
		return len(e), err
	}},
	"LastCredentials": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		m, err := db.LastCredentials(ctx, t, []registry.ServerID{p.server.ID})
		return len(m), err
	}},
	"ToolCalls": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		c, err := db.ToolCalls(ctx, t, "", "", false, began.Add(-time.Hour))
		return c.Count, err
	}},
	"ListedRevision": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		r, err := db.ListedRevision(ctx, t, p.grant.ID, p.server.ID)
		return len(r), err
	}},
	"RememberListed": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 1, db.RememberListed(ctx, t, p.grant.ID, p.server.ID, p.revision.ID)
	}},
	"AuditEvents": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		es, err := db.AuditEvents(ctx, t, began.Add(-time.Hour), 10)
		return len(es), err
	}},
	"SearchAudit": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		page, err := db.SearchAudit(ctx, t, audit.Filter{}, audit.Position{}, 10)
		return len(page.Events), err
	}},
	"ExportAudit": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		page, err := db.ExportAudit(ctx, t, audit.Filter{}, audit.Position{}, 10)
		return len(page.Events), err
	}},
	"AuditEvent": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		e, _, err := db.AuditEvent(ctx, t, p.record)
		return sees(errors.Join(err, of(t, e.Tenant)))
	}},
	"RecentAudit": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		es, err := db.RecentAudit(ctx, t, began, nil, 10)
		return len(es), err
	}},
	"AuditNames": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		n, err := db.AuditNames(ctx, t, []audit.Event{{User: p.user.ID, Client: p.client.ID}})
		return len(n.Users) + len(n.Clients), err
	}},
	"Usage": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		u, err := db.Usage(ctx, t, audit.UsageQuery{Since: began.Truncate(time.Hour), Until: began.Add(time.Hour), Step: time.Hour, By: audit.ByTool})
		return int(u.Totals.Calls()), err
	}},
	"GrantActive": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		active, err := db.GrantActive(ctx, t, p.grant.ID)
		if !active {
			return 0, err
		}
		return 1, err
	}},
	"InTenant": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (n int, err error) {
		err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
			return tx.QueryRow(ctx, `SELECT (SELECT count(*) FROM users) + (SELECT count(*) FROM servers) + (SELECT count(*) FROM audit_events)`).Scan(&n)
		})
		return n, err
	}},
	"CreateSession": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s := signin.Record{ID: tenants.RandomID("bs"), User: p.user.ID, Token: randomHash(), SignedInAt: began, LastSeenAt: began}
		return sees(db.CreateSession(ctx, t, s, began.Add(24*time.Hour))) // which drops all others of the tenant
	}},
	"SessionByToken": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, u, err := db.SessionByToken(ctx, t, p.session.Token)
		return sees(errors.Join(err, of(t, u.Tenant)))
	}},
	"TouchSession": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.TouchSession(ctx, t, p.session.ID, began.Add(time.Hour))
	}},
	"DeleteSession": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DeleteSession(ctx, t, p.session.ID)
	}},
	"DeleteSessionsOf": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DeleteSessionsOf(ctx, t, p.user.ID)
	}},
	"OAuthClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.OAuthClient(ctx, t, p.client.ID)
		return sees(err)
	}},
	"CreateOAuthClient": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		c := p.client
		c.ID = tenants.RandomID("cl")
		return sees(db.CreateOAuthClient(ctx, t, c))
	}},
	"UpdateOAuthClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		c := p.client
		c.Name, c.RedirectURIs = "Evil", []string{"https://evil.example/"}
		return sees(db.UpdateOAuthClient(ctx, t, c))
	}},
	"PutOAuthClient": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		c := p.client
		c.ID, c.Kind = "https://app.example/client.json", oauth.Document
		return sees(db.PutOAuthClient(ctx, t, c))
	}},
	"DeleteOAuthClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.DeleteOAuthClient(ctx, t, p.client.ID, began))
	}},
	"PushRequest": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PushRequest(ctx, t, oauth.Pushed{Handle: randomHash(), Client: p.client.ID, Parameters: "x", ExpiresAt: began}))
	}},
	"PushedRequest": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.PushedRequest(ctx, t, p.pushed)
		return sees(err)
	}},
	"ShowRequest": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.ShowRequest(ctx, t, oauth.Shown{Ticket: randomHash(), Client: p.client.ID, Session: "s", User: p.user.ID, Scopes: []string{"a"}, ExpiresAt: began}))
	}},
	"ShownRequest": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.ShownRequest(ctx, t, p.ticket)
		return sees(err)
	}},
	"TakeShownRequest": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.TakeShownRequest(ctx, t, p.ticket))
	}},
	"Consent": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.Consent(ctx, t, p.grant.ConsentKey)
		return sees(err)
	}},
	"Issue": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		i := newIssue(p)
		i.Ticket = &p.ticket
		return sees(db.Issue(ctx, t, i))
	}},
	"WithCode": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (n int, err error) {
		err = db.WithCode(ctx, t, p.code, func(oauth.Code, oauth.Grant) oauth.Turn {
			n++
			return oauth.Turn{Revoke: "test", At: began}
		})
		return n, err
	}},
	"WithRefreshToken": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (n int, err error) {
		err = db.WithRefreshToken(ctx, t, p.refresh, func(oauth.RefreshToken, oauth.Grant) oauth.Turn {
			n++
			return oauth.Turn{Use: began, Successor: []byte("x")}
		})
		return n, err
	}},
	"Grant": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.Grant(ctx, t, p.grant.ID)
		return sees(err)
	}},
	"GrantOfRefreshToken": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, _, err := db.GrantOfRefreshToken(ctx, t, p.refresh)
		return sees(err)
	}},
	"Grants": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		gs, err := db.Grants(ctx, t, p.user.ID, began, began.Add(-time.Hour))
		return len(gs), err
	}},
	"RevokeGrant": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.RevokeGrant(ctx, t, p.grant.ID, "test", began))
	}},
	"NoteChallenge": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.NoteChallenge(ctx, t, p.grant.ID, began)
	}},
	"SigningKeys": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ks, err := db.SigningKeys(ctx, t)
		return len(ks), err
	}},
	"AddSigningKey": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		k := oauth.Key{ID: tenants.RandomID("ky"), Public: make([]byte, 32), Sealed: []byte("x"), CreatedAt: began, SignsFrom: began}
		return sees(db.AddSigningKey(ctx, t, k, func([]oauth.Key) bool { return true }))
	}},
	"ListClients": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		cs, err := db.ListClients(ctx, t, oauth.ClientFilter{}, callers.Position{}, 10, began)
		return len(cs), err
	}},
	"ListedClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.ListedClient(ctx, t, p.client.ID, began)
		return sees(err)
	}},
	"ListGrants": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		gs, err := db.ListGrants(ctx, t, oauth.GrantFilter{}, callers.Position{}, 10, began)
		return len(gs), err
	}},
	"ClientUse": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		n, err := db.ClientUse(ctx, t, p.client.ID, began)
		return n.Grants, err
	}},
	"APIKey": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.APIKey(ctx, t, p.apiKey.ID)
		return sees(err)
	}},
	"APIKeys": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ks, err := db.APIKeys(ctx, t, callers.Position{}, 10)
		return len(ks), err
	}},
	"CountAPIKeys": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return db.CountAPIKeys(ctx, t, began)
	}},
	"CreateAPIKey": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.CreateAPIKey(ctx, t, newAPIKey()))
	}},
	"RevokeAPIKey": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.RevokeAPIKey(ctx, t, p.apiKey.ID, began))
	}},
	"UseAPIKey": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.UseAPIKey(ctx, t, p.apiKey.ID, began)
	}},
	"CreateConsoleSession": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		s := p.console
		s.ID, s.Token = tenants.RandomID("cs"), randomHash()
		return sees(db.CreateConsoleSession(ctx, t, s, began.Add(24*time.Hour))) // which drops all others of the tenant
	}},
	"ConsoleSession": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, state, err := db.ConsoleSession(ctx, t, p.console.Token)
		return sees(errors.Join(err, of(t, state.User.Tenant)))
	}},
	"TouchConsoleSession": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.TouchConsoleSession(ctx, t, p.console.ID, began.Add(time.Hour))
	}},
	"DeleteConsoleSession": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DeleteConsoleSession(ctx, t, p.console.ID)
	}},
	"UpstreamAccount": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.UpstreamAccount(ctx, t, p.server.ID, p.user.ID)
		return sees(err)
	}},
	"UpstreamAccounts": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		all, err := db.UpstreamAccounts(ctx, t, p.server.ID)
		return len(all), err
	}},
	"UpstreamAccountsOf": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		all, err := db.UpstreamAccountsOf(ctx, t, p.user.ID)
		return len(all), err
	}},
	"PutUpstreamAccount": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.PutUpstreamAccount(ctx, t, p.account)))
	}},
	"DeleteUpstreamAccount": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.DeleteUpstreamAccount(ctx, t, p.server.ID, p.user.ID))
	}},
	"ClaimRenewal": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		mine, err := db.ClaimRenewal(ctx, t, p.account, began, began.Add(time.Minute))
		if !mine {
			return 0, err
		}
		return sees(err)
	}},
	"UpstreamClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.UpstreamClient(ctx, t, p.server.ID)))
	}},
	"PutUpstreamClient": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.PutUpstreamClient(ctx, t, upstreamClientOf(p)))
	}},
	"BeginUpstreamFlow": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.BeginUpstreamFlow(ctx, t, flowOf(p), began))
	}},
	"TakeUpstreamFlow": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.TakeUpstreamFlow(ctx, t, p.flow.State)))
	}},
	"CreateConfirmation": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(db.CreateConfirmation(ctx, t, newConfirmation(p)))
	}},
	"UseConfirmation": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.UseConfirmation(ctx, t, p.confirmation.Token, p.confirmation.Subject, p.confirmation.Grant, useNow)
		return sees(err)
	}},
	"DropConfirmation": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DropConfirmation(ctx, t, p.confirmation.Token, p.user.ID)
	}},
	"AskApproval": {creates: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, _, err := db.AskApproval(ctx, t, newApproval(p), useNow)
		return sees(err)
	}},
	"Approval": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.Approval(ctx, t, p.approval.ID)
		return sees(err)
	}},
	"Approvals": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		as, err := db.Approvals(ctx, t, approvals.Query{At: began, Limit: 10, Visible: approvals.Visible{All: true}})
		return len(as), err
	}},
	"DecideApproval": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		_, err := db.DecideApproval(ctx, t, p.approval.ID, approvals.Decision{By: approvals.Decider{Key: &callers.Key{Author: callers.ByOperator}, May: true}, At: began})
		return sees(err)
	}},
	"ApproversToTell": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		us, err := db.ApproversToTell(ctx, t, toldOf(p), began.Add(time.Hour))
		return len(us), err
	}},
	"Task": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		k, err := db.Task(ctx, t, p.task.ID)
		if err == nil {
			err = of(t, k.Tenant)
		}
		return sees(err)
	}},
	"TaskOfCall": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.TaskOfCall(ctx, t, p.task.CallID)))
	}},
	"Tasks": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		ks, err := db.Tasks(ctx, t, tasks.Query{Limit: 10})
		return len(ks), err
	}},
	"CancelTask": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return sees(second(db.CancelTask(ctx, t, p.task.ID, "test", began)))
	}},
	"AnswerTask": {call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return db.AnswerTask(ctx, t, p.task.ID, []tasks.Answer{{Key: "q1", Sealed: []byte("x")}}, began)
	}},
	"DeleteSigningKeys": {silent: true, call: func(ctx context.Context, db *postgres.DB, t tenants.ID, p *place) (int, error) {
		return 0, db.DeleteSigningKeys(ctx, t, []string{p.key})
	}},
}

// of is an error unless what was read belongs to the tenant that asked.
func of(t, owner tenants.ID) error {
	if owner != "" && owner != t {
		return fmt.Errorf("tenant %s was shown what belongs to %s", t, owner)
	}
	return nil
}

func TestEveryMethodIsHeldToItsTenant(t *testing.T) {
	typ := reflect.TypeFor[*postgres.DB]()
	known := slices.Concat(notOneTenants, slices.Collect(maps.Keys(accesses)))
	for m := range typ.Methods() {
		tenanted := m.Type.NumIn() > 2 && m.Type.In(2) == reflect.TypeFor[tenants.ID]()
		if tenanted != (accesses[m.Name].call != nil) || !slices.Contains(known, m.Name) {
			t.Errorf("%s takes a tenant: %v; add it to accesses, or to notOneTenants with its reason", m.Name, tenanted)
		}
	}
	for _, name := range known {
		if _, ok := typ.MethodByName(name); !ok {
			t.Errorf("%s is listed and not there", name)
		}
	}
}

// TestOtherTenantSeesAndChangesNothing calls every method in globex for what
// acme has: first with a globex that has nothing, then with one that has rows
// of the very same ids.
func TestOtherTenantSeesAndChangesNothing(t *testing.T) {
	urls := postgrestest.Database(t)
	db := postgrestest.Open(t, urls.App)
	root := connect(t, urls.Superuser)
	acme := settle(t, db, "acme")
	globex, err := db.PutTenant(t.Context(), "globex", "Globex")
	check(t, err)
	twins := newTwins(t, root)
	before := twins.snapshot(acme.id)
	for _, name := range slices.Sorted(maps.Keys(accesses)) {
		a := accesses[name]
		for _, same := range []bool{false, true} {
			twins.empty(globex.ID)
			what := name + " in an empty tenant"
			if same {
				twins.copy(acme.id, globex.ID)
				what = name + " in a tenant with the same ids"
			}
			seen, err := a.call(t.Context(), db, globex.ID, acme)
			switch {
			case a.silent:
				check(t, err)
			case same && (err != nil || seen == 0):
				t.Errorf("%s: its own was not found: %d, %v", what, seen, err)
			case !same && a.creates && err != nil && !fault.HasCode(err, fault.NotFound):
				t.Errorf("%s: %v", what, err)
			case !same && !a.creates && (seen > 0 || err != nil && !fault.HasCode(err, fault.NotFound)):
				t.Errorf("%s: saw %d of the other's, %v", what, seen, err)
			}
			if after := twins.snapshot(acme.id); after != before {
				t.Fatalf("%s changed the other tenant's rows:\n%s\n%s", what, before, after)
			}
			for _, none := range []tenants.ID{"", "tn", globex.ID + "'", "*", globex.ID[:19] + "'", globex.ID[:19] + "\x00", tenants.ID(strings.ToUpper(string(globex.ID)))} {
				if _, err := a.call(t.Context(), db, none, acme); err == nil {
					t.Errorf("%s: the id %q was taken for a tenant's", name, none)
				}
			}
		}
	}
}

// twins copies a tenant's rows, ids and all, to another tenant.
type twins struct {
	t      *testing.T
	root   *pgx.Conn
	tables []string
}

func newTwins(t *testing.T, root *pgx.Conn) *twins {
	exec(t, root, `SET session_replication_role = replica`) // no foreign keys, no triggers
	return &twins{t, root, column[string](t, root, `
		SELECT c.relname::text FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attname = 'tenant_id' AND a.attgenerated = ''
		WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition ORDER BY 1`)}
}

func (w *twins) empty(id tenants.ID) {
	for _, table := range w.tables {
		exec(w.t, w.root, `DELETE FROM `+table+` WHERE tenant_id = $1`, id)
	}
}

func (w *twins) copy(from, to tenants.ID) {
	for _, table := range w.tables {
		columns := strings.Join(column[string](w.t, w.root, `SELECT quote_ident(column_name) FROM information_schema.columns WHERE table_name = $1 AND column_name <> 'tenant_id'`, table), ", ")
		exec(w.t, w.root, `INSERT INTO `+table+` (tenant_id, `+columns+`) SELECT $2, `+columns+` FROM `+table+` WHERE tenant_id = $1`, from, to)
		if n := column[int](w.t, w.root, `SELECT count(*) FROM `+table+` WHERE tenant_id = $1`, to)[0]; n == 0 {
			w.t.Errorf("settle puts nothing into %s", table)
		}
	}
}

func (w *twins) snapshot(id tenants.ID) string {
	all := map[string]json.RawMessage{}
	for _, table := range w.tables {
		rows := column[json.RawMessage](w.t, w.root, `SELECT coalesce(json_agg(to_jsonb(x) ORDER BY to_jsonb(x)), '[]') FROM `+table+` x WHERE tenant_id = $1`, id)
		all[table] = rows[0]
	}
	b, err := json.Marshal(all)
	check(w.t, err)
	return string(b)
}

// single opens a database with one connection, so that each transaction gets
// what the one before it left.
func single(t *testing.T, url string) *postgres.DB {
	t.Helper()
	db, err := postgres.Open(t.Context(), postgres.Options{URL: url, MaxConns: 1})
	check(t, err)
	t.Cleanup(db.Close)
	return db
}

func TestTenantDoesNotStayWithTheConnection(t *testing.T) {
	urls := postgrestest.Database(t)
	db := single(t, urls.App)
	acme, globex := settle(t, db, "acme"), settle(t, db, "globex")

	endings := map[string]func(){
		"done": func() {
			check(t, db.InTenant(t.Context(), acme.id, func(context.Context, pgx.Tx) error { return nil }))
		},
		"error": func() {
			err := db.InTenant(t.Context(), acme.id, func(context.Context, pgx.Tx) error { return errors.New("failed") })
			if err == nil || err.Error() != "failed" {
				t.Error(err)
			}
		},
		"failed statement": func() {
			err := db.InTenant(t.Context(), acme.id, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, `SELECT 1/0`); return err })
			if err == nil {
				t.Error("no error")
			}
		},
		"panic": func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic was swallowed")
				}
			}()
			db.InTenant(t.Context(), acme.id, func(context.Context, pgx.Tx) error { panic("here") })
		},
		"cancelled": func() {
			ctx, cancel := context.WithCancel(t.Context())
			err := db.InTenant(ctx, acme.id, func(ctx context.Context, tx pgx.Tx) error {
				cancel()
				_, err := tx.Exec(ctx, `SELECT pg_sleep(60)`)
				return err
			})
			if !errors.Is(err, context.Canceled) {
				t.Error(err)
			}
		},
		"across": func() {
			check(t, db.AcrossTenants(t.Context(), "test", func(ctx context.Context, tx pgx.Tx) error {
				var role string
				var n int
				err := tx.QueryRow(ctx, `SELECT current_user, (SELECT count(*) FROM tenants)`).Scan(&role, &n)
				if role != "latchkey_across" || n != 2 {
					t.Errorf("as %s, %d tenants", role, n)
				}
				return err
			}))
		},
		"across, failed": func() {
			db.AcrossTenants(t.Context(), "test", func(ctx context.Context, tx pgx.Tx) error { return errors.New("failed") })
		},
	}
	for name, end := range endings {
		t.Run(name, func(t *testing.T) {
			end()
			var role, setting string
			var n int
			check(t, postgres.AsPlatform(db)(t.Context(), func(ctx context.Context, tx pgx.Tx) error {
				return tx.QueryRow(ctx, `SELECT current_user, coalesce(current_setting('latchkey.tenant', true), ''),
					(SELECT count(*) FROM users) + (SELECT count(*) FROM tenants) + (SELECT count(*) FROM audit_events)`).Scan(&role, &setting, &n)
			}))
			if role != "latchkey_app" || setting != "" || n != 0 {
				t.Errorf("the next transaction began as %s with tenant %q and saw %d rows", role, setting, n)
			}
			check(t, db.InTenant(t.Context(), globex.id, func(ctx context.Context, tx pgx.Tx) error {
				var ids []string
				err := tx.QueryRow(ctx, `SELECT array_agg(DISTINCT tenant_id) FROM (SELECT tenant_id FROM users UNION ALL SELECT tenant_id FROM audit_events UNION ALL SELECT tenant_id FROM tenants) x`).Scan(&ids)
				if len(ids) != 1 || ids[0] != string(globex.id) {
					t.Errorf("rows of %v", ids)
				}
				return err
			}))
		})
	}
}

func TestRowsCannotBeMovedToAnotherTenant(t *testing.T) {
	db := postgrestest.New(t)
	acme, globex := settle(t, db, "acme"), settle(t, db, "globex")
	for _, sql := range []string{
		`UPDATE users SET tenant_id = $1`,
		`INSERT INTO roles (tenant_id, name) VALUES ($1, 'stolen')`,
		`INSERT INTO users (tenant_id, id, email, name) VALUES ($1, 'us222222222222222222', 'a@b', 'x')`,
	} {
		err := db.InTenant(t.Context(), acme.id, func(ctx context.Context, tx pgx.Tx) error { _, err := tx.Exec(ctx, sql, globex.id); return err })
		if err == nil {
			t.Errorf("%s worked", sql)
		}
	}
	// A row that refers to another tenant's: the foreign keys hold the tenant.
	_, _, err := db.Publish(t.Context(), acme.id, revisionOf(globex.server.ID, "x"))
	wantCode(t, "publish on another's server", err, fault.NotFound)
	wantCode(t, "role on another's server", db.PutRole(t.Context(), acme.id, tenants.Role{Name: "thief", Scopes: []tenants.Scope{{Server: globex.server.ID, Name: "tool:say"}}}), fault.NotFound)
	wantCode(t, "session of another's person", db.CreateSession(t.Context(), acme.id, signin.Record{ID: tenants.RandomID("bs"), User: globex.user.ID, Token: randomHash(), SignedInAt: began, LastSeenAt: began}, time.Time{}), fault.NotFound)
}

// TestTenantsAtTheSameTime has many connections of one pool change tenants.
func TestTenantsAtTheSameTime(t *testing.T) {
	db := postgrestest.New(t)
	places := []*place{settle(t, db, "acme"), settle(t, db, "globex"), settle(t, db, "initech")}
	var wg sync.WaitGroup
	for i := range 12 {
		p := places[i%len(places)]
		wg.Go(func() {
			for range 40 {
				ctx, cancel := context.WithCancel(context.Background())
				us, err := db.Users(ctx, p.id)
				if err != nil || len(us) != 1 || us[0].ID != p.user.ID {
					t.Errorf("%v, %v", us, err)
				}
				cancel()
				if ts, err := db.Tenants(context.Background()); err != nil || len(ts) != len(places) {
					t.Errorf("%d tenants, %v", len(ts), err)
				}
			}
		})
	}
	wg.Wait()
}
