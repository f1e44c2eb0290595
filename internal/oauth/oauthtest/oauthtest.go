// Package oauthtest is the contract of oauth.Store as a test: each
// implementation runs it.
package oauthtest

import (
	"context"
	"crypto/rand"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/oauth"
	"latchkey/internal/tenants"
)

// Place is a tenant with a person and a server, made by the implementation's
// own means.
type Place struct {
	Tenant tenants.ID
	User   tenants.UserID
	Server tenants.ServerID
}

// Fixture is an empty store and two tenants in it.
type Fixture struct {
	Store oauth.Store
	A, B  Place
}

// Run runs the suite, with a fresh fixture for each part.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*suite){
		"Clients":                     (*suite).clients,
		"SameIDInTwoTenants":          (*suite).sameID,
		"DeletedClientEndsGrants":     (*suite).deletedClient,
		"Requests":                    (*suite).requests,
		"TicketIsTakenOnce":           (*suite).ticket,
		"IssueIsAllOrNothing":         (*suite).issue,
		"RowsDoNotStraddleTenants":    (*suite).straddle,
		"CodeTurns":                   (*suite).code,
		"RefusedTurnWritesNothing":    (*suite).refusedTurn,
		"TurnsWaitForEachOther":       (*suite).serial,
		"RevokedGrantStaysRevoked":    (*suite).revoke,
		"GrantsOfAPerson":             (*suite).grants,
		"FirstKeyIsMadeOnce":          (*suite).keys,
		"CollectSparesWhatIsInUse":    (*suite).collect,
		"OtherTenantSeesNothing":      (*suite).isolation,
		"OnlyTheConsoleNeedsNoServer": (*suite).console,
		"ListsOfClients":              (*suite).listClients,
		"ListsOfGrants":               (*suite).listGrants,
	} {
		t.Run(name, func(t *testing.T) {
			test(&suite{T: t, Fixture: open(t), now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)})
		})
	}
}

type suite struct {
	*testing.T
	Fixture
	now time.Time
}

func random() oauth.Hash {
	var h oauth.Hash
	rand.Read(h[:])
	return h
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) notFound(what string, err error) {
	s.Helper()
	if !fault.HasCode(err, fault.NotFound) {
		s.Errorf("%s: got %v, want not found", what, err)
	}
}

func (s *suite) client(t tenants.ID) oauth.Client {
	s.Helper()
	secret, manage := random(), random()
	c := oauth.Client{
		ID: tenants.RandomID("cl"), Kind: oauth.Registered, Name: "App", URI: "https://app.example", AuthMethod: "client_secret_basic",
		Secret: &secret, Registration: &manage, RedirectURIs: []string{"https://app.example/cb", "http://127.0.0.1/cb"},
		GrantTypes: []string{"authorization_code", "refresh_token"}, Scope: "a b", CreatedAt: s.now,
	}
	s.must(s.Store.CreateOAuthClient(s.Context(), t, c))
	return c
}

func (s *suite) issued(p Place, client string) (oauth.Grant, oauth.Code) {
	s.Helper()
	i := s.newIssue(p, client)
	s.must(s.Store.Issue(s.Context(), p.Tenant, i))
	return i.Grant, i.Code
}

func (s *suite) newIssue(p Place, client string) oauth.Issue {
	g := oauth.Grant{
		ID: tenants.RandomID("gr"), Scopes: []string{"a", "b"}, CreatedAt: s.now, ExpiresAt: s.now.Add(30 * 24 * time.Hour),
		ConsentKey: oauth.ConsentKey{User: p.User, Client: client, RedirectHost: "app.example", Server: p.Server},
	}
	return oauth.Issue{
		Grant:   g,
		Code:    oauth.Code{Hash: random(), Grant: g.ID, RedirectURI: "https://app.example/cb", Challenge: "0123456789012345678901234567890123456789012", ExpiresAt: s.now.Add(time.Minute)},
		Consent: &oauth.Consent{ConsentKey: g.ConsentKey, Scopes: g.Scopes, GivenAt: s.now, ExpiresAt: g.ExpiresAt},
	}
}

// chain exchanges a code for a first refresh token.
func (s *suite) chain(p Place, c oauth.Code) oauth.RefreshToken {
	s.Helper()
	next := oauth.RefreshToken{Hash: random(), Grant: c.Grant, ExpiresAt: s.now.Add(time.Hour)}
	s.must(s.Store.WithCode(s.Context(), p.Tenant, c.Hash, func(oauth.Code, oauth.Grant) oauth.Turn {
		return oauth.Turn{Use: s.now, Next: &next}
	}))
	return next
}

func (s *suite) clients() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	got, err := s.Store.OAuthClient(ctx, s.A.Tenant, c.ID)
	s.must(err)
	if got.Name != c.Name || *got.Secret != *c.Secret || *got.Registration != *c.Registration || !slices.Equal(got.RedirectURIs, c.RedirectURIs) ||
		!slices.Equal(got.GrantTypes, c.GrantTypes) || !got.CreatedAt.Equal(c.CreatedAt) || !got.AuthorizedAt.IsZero() || got.Kind != oauth.Registered {
		s.Errorf("got %+v, want %+v", got, c)
	}
	c.Name, c.Secret, c.AuthMethod, c.RedirectURIs = "New", nil, "none", []string{"cursor://x/y"}
	s.must(s.Store.UpdateOAuthClient(ctx, s.A.Tenant, c))
	got, err = s.Store.OAuthClient(ctx, s.A.Tenant, c.ID)
	s.must(err)
	if got.Name != "New" || got.Secret != nil || *got.Registration != *c.Registration || !slices.Equal(got.RedirectURIs, c.RedirectURIs) {
		s.Errorf("after update: %+v", got)
	}
	_, err = s.Store.OAuthClient(ctx, s.A.Tenant, "nobody")
	s.notFound("unknown", err)
	c.ID = "nobody"
	s.notFound("update of unknown", s.Store.UpdateOAuthClient(ctx, s.A.Tenant, c))

	doc := oauth.Client{ID: "https://app.example/client.json", Kind: oauth.Document, Name: "Doc", AuthMethod: "none", RedirectURIs: []string{"https://app.example/cb"}, GrantTypes: []string{"authorization_code"}, CreatedAt: s.now}
	for _, name := range []string{"Doc", "Doc 2"} {
		doc.Name = name
		s.must(s.Store.PutOAuthClient(ctx, s.A.Tenant, doc))
		if got, err = s.Store.OAuthClient(ctx, s.A.Tenant, doc.ID); err != nil || got.Name != name || got.Kind != oauth.Document {
			s.Errorf("%+v, %v", got, err)
		}
	}
	// A document cannot take over a registered client.
	registered := s.client(s.A.Tenant)
	doc.ID = registered.ID
	if err := s.Store.PutOAuthClient(ctx, s.A.Tenant, doc); err == nil {
		s.Error("a document took over a registered client")
	}
}

func (s *suite) sameID() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	c.Name = "the other"
	s.must(s.Store.CreateOAuthClient(ctx, s.B.Tenant, c))
	s.must(s.Store.DeleteOAuthClient(ctx, s.B.Tenant, c.ID, s.now))
	if got, err := s.Store.OAuthClient(ctx, s.A.Tenant, c.ID); err != nil || got.Name != "App" {
		s.Errorf("%+v, %v", got, err)
	}
	if err := s.Store.CreateOAuthClient(ctx, s.A.Tenant, c); !fault.HasCode(err, fault.Conflict) {
		s.Errorf("the same id twice in one tenant: %v", err)
	}
}

func (s *suite) deletedClient() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	g, _ := s.issued(s.A, c.ID)
	s.must(s.Store.DeleteOAuthClient(ctx, s.A.Tenant, c.ID, s.now))
	_, err := s.Store.OAuthClient(ctx, s.A.Tenant, c.ID)
	s.notFound("deleted", err)
	s.notFound("delete twice", s.Store.DeleteOAuthClient(ctx, s.A.Tenant, c.ID, s.now))
	if got, err := s.Store.Grant(ctx, s.A.Tenant, g.ID); err != nil || got.Live(s.now) {
		s.Errorf("grant %+v, %v", got, err)
	}
	_, err = s.Store.Consent(ctx, s.A.Tenant, g.ConsentKey)
	s.notFound("consent", err)
}

func (s *suite) shown(p Place, client string, pushed *oauth.Hash) oauth.Shown {
	s.Helper()
	sh := oauth.Shown{Ticket: random(), Client: client, Parameters: "a=b&c=d", Session: "bs1", User: p.User, Scopes: []string{"a"}, Pushed: pushed, ExpiresAt: s.now.Add(time.Minute)}
	s.must(s.Store.ShowRequest(s.Context(), p.Tenant, sh))
	return sh
}

func (s *suite) requests() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	p := oauth.Pushed{Handle: random(), Client: c.ID, Parameters: "x=y", ExpiresAt: s.now.Add(time.Minute)}
	s.must(s.Store.PushRequest(ctx, s.A.Tenant, p))
	if got, err := s.Store.PushedRequest(ctx, s.A.Tenant, p.Handle); err != nil || got.Client != p.Client || got.Parameters != p.Parameters || !got.ExpiresAt.Equal(p.ExpiresAt) {
		s.Errorf("%+v, %v", got, err)
	}
	sh := s.shown(s.A, c.ID, &p.Handle)
	got, err := s.Store.ShownRequest(ctx, s.A.Tenant, sh.Ticket)
	if err != nil || got.Session != sh.Session || got.User != sh.User || !slices.Equal(got.Scopes, sh.Scopes) || *got.Pushed != p.Handle {
		s.Errorf("%+v, %v", got, err)
	}
	// Neither kind passes for the other.
	_, err = s.Store.ShownRequest(ctx, s.A.Tenant, p.Handle)
	s.notFound("a handle as a ticket", err)
	_, err = s.Store.PushedRequest(ctx, s.A.Tenant, sh.Ticket)
	s.notFound("a ticket as a handle", err)
	s.must(s.Store.TakeShownRequest(ctx, s.A.Tenant, sh.Ticket))
	_, err = s.Store.PushedRequest(ctx, s.A.Tenant, p.Handle)
	s.notFound("a pushed request that was answered", err)
}

func (s *suite) ticket() {
	c := s.client(s.A.Tenant)
	sh := s.shown(s.A, c.ID, nil)
	var wg sync.WaitGroup
	var mu sync.Mutex
	won := 0
	for range 6 {
		wg.Go(func() {
			i := s.newIssue(s.A, c.ID)
			i.Ticket = &sh.Ticket
			err := s.Store.Issue(context.Background(), s.A.Tenant, i)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				won++
			} else {
				s.notFound("a taken ticket", err)
			}
		})
	}
	wg.Wait()
	if won != 1 {
		s.Errorf("%d answers to one ticket", won)
	}
	s.notFound("take it again", s.Store.TakeShownRequest(s.Context(), s.A.Tenant, sh.Ticket))
}

func (s *suite) issue() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	i := s.newIssue(s.A, c.ID)
	unknown := random()
	i.Ticket = &unknown
	s.notFound("unknown ticket", s.Store.Issue(ctx, s.A.Tenant, i))
	_, err := s.Store.Grant(ctx, s.A.Tenant, i.Grant.ID)
	s.notFound("a grant without a ticket", err)

	// A code that exists already takes the grant and the ticket back.
	_, code := s.issued(s.A, c.ID)
	sh := s.shown(s.A, c.ID, nil)
	i = s.newIssue(s.A, c.ID)
	i.Ticket, i.Code.Hash = &sh.Ticket, code.Hash
	if err := s.Store.Issue(ctx, s.A.Tenant, i); err == nil {
		s.Error("one code for two grants")
	}
	_, err = s.Store.Grant(ctx, s.A.Tenant, i.Grant.ID)
	s.notFound("half an issue", err)
	_, err = s.Store.ShownRequest(ctx, s.A.Tenant, sh.Ticket)
	s.must(err)

	if got, err := s.Store.OAuthClient(ctx, s.A.Tenant, c.ID); err != nil || !got.AuthorizedAt.Equal(s.now) {
		s.Errorf("authorized at %v, %v", got.AuthorizedAt, err)
	}
	if got, err := s.Store.Consent(ctx, s.A.Tenant, i.Grant.ConsentKey); err != nil || !slices.Equal(got.Scopes, []string{"a", "b"}) || !got.GivenAt.Equal(s.now) {
		s.Errorf("consent %+v, %v", got, err)
	}
}

func (s *suite) straddle() {
	c := s.client(s.A.Tenant)
	s.client(s.B.Tenant)
	foreign := s.newIssue(s.B, c.ID) // a client of A for a person and server of B
	if err := s.Store.Issue(s.Context(), s.B.Tenant, foreign); err == nil {
		s.Error("a grant of one tenant to a client of another")
	}
	mixed := s.newIssue(Place{s.A.Tenant, s.A.User, s.B.Server}, c.ID)
	if err := s.Store.Issue(s.Context(), s.A.Tenant, mixed); err == nil {
		s.Error("a grant on another tenant's server")
	}
	mixed = s.newIssue(Place{s.A.Tenant, s.B.User, s.A.Server}, c.ID)
	if err := s.Store.Issue(s.Context(), s.A.Tenant, mixed); err == nil {
		s.Error("a grant of another tenant's person")
	}
}

func (s *suite) code() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	g, code := s.issued(s.A, c.ID)
	next := s.chain(s.A, code)
	s.must(s.Store.WithCode(ctx, s.A.Tenant, code.Hash, func(got oauth.Code, of oauth.Grant) oauth.Turn {
		if !got.UsedAt.Equal(s.now) || got.Grant != g.ID || got.RedirectURI != code.RedirectURI || got.Challenge != code.Challenge || !got.ExpiresAt.Equal(code.ExpiresAt) {
			s.Errorf("code %+v", got)
		}
		if of.ID != g.ID || of.ConsentKey != g.ConsentKey || !of.UsedAt.Equal(s.now) || !of.ExpiresAt.Equal(g.ExpiresAt) || of.ServerSlug == "" || of.ClientName != "App" {
			s.Errorf("grant %+v", of)
		}
		return oauth.Turn{}
	}))
	token, of, err := s.Store.GrantOfRefreshToken(ctx, s.A.Tenant, next.Hash)
	if err != nil || of.ID != g.ID || !token.UsedAt.IsZero() || token.Grant != g.ID {
		s.Errorf("%+v, %+v, %v", token, of, err)
	}
	second := oauth.RefreshToken{Hash: random(), Grant: g.ID, ExpiresAt: s.now.Add(time.Hour)}
	s.must(s.Store.WithRefreshToken(ctx, s.A.Tenant, next.Hash, func(oauth.RefreshToken, oauth.Grant) oauth.Turn {
		return oauth.Turn{Use: s.now.Add(time.Second), Successor: []byte("sealed"), Next: &second}
	}))
	token, _, err = s.Store.GrantOfRefreshToken(ctx, s.A.Tenant, next.Hash)
	if err != nil || !token.UsedAt.Equal(s.now.Add(time.Second)) || string(token.Successor) != "sealed" {
		s.Errorf("%+v, %v", token, err)
	}
	unused := func(oauth.Code, oauth.Grant) oauth.Turn { s.Error("decided about nothing"); return oauth.Turn{} }
	s.notFound("unknown code", s.Store.WithCode(ctx, s.A.Tenant, random(), unused))
}

func (s *suite) refusedTurn() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	_, code := s.issued(s.A, c.ID)
	_, other := s.issued(s.A, c.ID)
	taken := s.chain(s.A, other)
	err := s.Store.WithCode(ctx, s.A.Tenant, code.Hash, func(oauth.Code, oauth.Grant) oauth.Turn {
		return oauth.Turn{Use: s.now, Next: &taken} // cannot be stored
	})
	if err == nil {
		s.Fatal("a refresh token twice")
	}
	s.must(s.Store.WithCode(ctx, s.A.Tenant, code.Hash, func(got oauth.Code, _ oauth.Grant) oauth.Turn {
		if !got.UsedAt.IsZero() {
			s.Error("half a turn was written")
		}
		return oauth.Turn{}
	}))
}

func (s *suite) serial() {
	c := s.client(s.A.Tenant)
	_, code := s.issued(s.A, c.ID)
	token := s.chain(s.A, code)
	var wg sync.WaitGroup
	var mu sync.Mutex
	fresh := 0
	for range 8 {
		wg.Go(func() {
			next := oauth.RefreshToken{Hash: random(), ExpiresAt: s.now.Add(time.Hour)}
			err := s.Store.WithRefreshToken(context.Background(), s.A.Tenant, token.Hash, func(got oauth.RefreshToken, _ oauth.Grant) oauth.Turn {
				if !got.UsedAt.IsZero() {
					return oauth.Turn{}
				}
				mu.Lock()
				fresh++
				mu.Unlock()
				return oauth.Turn{Use: s.now, Successor: []byte("x"), Next: &next}
			})
			if err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if fresh != 1 {
		s.Errorf("%d saw the token unused", fresh)
	}
}

func (s *suite) revoke() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	g, code := s.issued(s.A, c.ID)
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, g.ID, "first", s.now))
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, g.ID, "second", s.now.Add(time.Hour)))
	s.must(s.Store.WithCode(ctx, s.A.Tenant, code.Hash, func(_ oauth.Code, of oauth.Grant) oauth.Turn {
		if of.RevokedReason != "first" || !of.RevokedAt.Equal(s.now) {
			s.Errorf("%+v", of)
		}
		return oauth.Turn{Revoke: "third", At: s.now.Add(time.Hour)}
	}))
	if got, err := s.Store.Grant(ctx, s.A.Tenant, g.ID); err != nil || got.RevokedReason != "first" {
		s.Errorf("%+v, %v", got, err)
	}
	_, err := s.Store.Consent(ctx, s.A.Tenant, g.ConsentKey)
	s.notFound("the consent of a revoked grant", err)
	s.notFound("unknown", s.Store.RevokeGrant(ctx, s.A.Tenant, "gr222222222222222222", "x", s.now))

	g, code = s.issued(s.A, c.ID)
	s.must(s.Store.NoteChallenge(ctx, s.A.Tenant, g.ID, s.now))
	s.must(s.Store.NoteChallenge(ctx, s.A.Tenant, "gr222222222222222222", s.now))
	s.must(s.Store.WithCode(ctx, s.A.Tenant, code.Hash, func(_ oauth.Code, of oauth.Grant) oauth.Turn {
		if !of.ChallengedAt.Equal(s.now) {
			s.Errorf("%+v", of)
		}
		return oauth.Turn{ClearChallenge: true}
	}))
	if got, err := s.Store.Grant(ctx, s.A.Tenant, g.ID); err != nil || !got.ChallengedAt.IsZero() || !got.RevokedAt.IsZero() {
		s.Errorf("%+v, %v", got, err)
	}
}

func (s *suite) grants() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	_, never := s.issued(s.A, c.ID)
	revoked, revokedCode := s.issued(s.A, c.ID)
	s.chain(s.A, revokedCode)
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, revoked.ID, "x", s.now))
	used, usedCode := s.issued(s.A, c.ID)
	s.chain(s.A, usedCode)
	forever := s.newIssue(s.A, c.ID)
	forever.Grant.ExpiresAt, forever.Grant.CreatedAt = time.Time{}, s.now.Add(time.Minute)
	s.must(s.Store.Issue(ctx, s.A.Tenant, forever))
	s.chain(s.A, forever.Code)
	list := func(at, since time.Time) (ids []string) {
		got, err := s.Store.Grants(ctx, s.A.Tenant, s.A.User, at, since)
		s.must(err)
		for _, g := range got {
			ids = append(ids, g.ID)
		}
		return ids
	}
	if got := list(s.now, s.now.Add(-time.Hour)); !slices.Equal(got, []string{forever.Grant.ID, used.ID}) {
		s.Errorf("%q (never used: %s)", got, never.Grant)
	}
	if got := list(s.now.Add(31*24*time.Hour), s.now.Add(-time.Hour)); !slices.Equal(got, []string{forever.Grant.ID}) {
		s.Errorf("later: %q", got)
	}
	if got := list(s.now, s.now.Add(time.Hour)); len(got) != 0 {
		s.Errorf("idle: %q", got)
	}
}

func (s *suite) keys() {
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			k := oauth.Key{ID: tenants.RandomID("ky"), Public: make([]byte, 32), Sealed: []byte("sealed"), CreatedAt: s.now, SignsFrom: s.now}
			if err := s.Store.AddSigningKey(context.Background(), s.A.Tenant, k, func(have []oauth.Key) bool { return len(have) == 0 }); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	got, err := s.Store.SigningKeys(s.Context(), s.A.Tenant)
	if err != nil || len(got) != 1 || string(got[0].Sealed) != "sealed" || !got[0].SignsFrom.Equal(s.now) {
		s.Fatalf("%+v, %v", got, err)
	}
	earlier := oauth.Key{ID: tenants.RandomID("ky"), Public: make([]byte, 32), Sealed: []byte("x"), CreatedAt: s.now, SignsFrom: s.now.Add(-time.Hour)}
	s.must(s.Store.AddSigningKey(s.Context(), s.A.Tenant, earlier, func([]oauth.Key) bool { return true }))
	if got, err = s.Store.SigningKeys(s.Context(), s.A.Tenant); err != nil || len(got) != 2 || got[0].ID != earlier.ID {
		s.Errorf("not oldest first: %+v, %v", got, err)
	}
	s.must(s.Store.DeleteSigningKeys(s.Context(), s.A.Tenant, []string{earlier.ID}))
	if got, err = s.Store.SigningKeys(s.Context(), s.B.Tenant); err != nil || len(got) != 0 {
		s.Errorf("the other tenant: %+v, %v", got, err)
	}
}

func (s *suite) collect() {
	ctx := s.Context()
	never, used := s.client(s.A.Tenant), s.client(s.B.Tenant)
	g, code := s.issued(s.B, used.ID)
	token := s.chain(s.B, code)
	s.shown(s.A, never.ID, nil)
	after := func(d time.Duration) oauth.Deadlines {
		now := s.now.Add(d)
		return oauth.Deadlines{Now: now, Unauthorized: now.Add(-24 * time.Hour), Ended: now.Add(-24 * time.Hour), Spent: now.Add(-7 * 24 * time.Hour), Idle: now.Add(-20 * 24 * time.Hour)}
	}
	n, err := s.Store.CollectOAuth(ctx, after(time.Second))
	if err != nil || n != (oauth.Collected{}) {
		s.Errorf("at once: %+v, %v", n, err)
	}
	n, err = s.Store.CollectOAuth(ctx, after(25*time.Hour))
	if err != nil || n.Clients != 1 || n.Requests != 1 || n.Codes != 1 || n.RefreshTokens != 1 || n.Grants != 0 {
		s.Errorf("after a day: %+v, %v", n, err)
	}
	_, err = s.Store.OAuthClient(ctx, s.A.Tenant, never.ID)
	s.notFound("collected", err)
	_, _, err = s.Store.GrantOfRefreshToken(ctx, s.B.Tenant, token.Hash)
	s.notFound("collected", err)
	_, err = s.Store.Grant(ctx, s.B.Tenant, g.ID)
	s.must(err)
	if n, err = s.Store.CollectOAuth(ctx, after(21*24*time.Hour)); err != nil || n.Grants != 1 {
		s.Errorf("idle: %+v, %v", n, err)
	}
	_, err = s.Store.OAuthClient(ctx, s.B.Tenant, used.ID)
	s.must(err)
}

func (s *suite) isolation() {
	ctx := s.Context()
	c := s.client(s.A.Tenant)
	g, code := s.issued(s.A, c.ID)
	token := s.chain(s.A, code)
	pushed := oauth.Pushed{Handle: random(), Client: c.ID, Parameters: "x", ExpiresAt: s.now.Add(time.Hour)}
	s.must(s.Store.PushRequest(ctx, s.A.Tenant, pushed))
	sh := s.shown(s.A, c.ID, nil)
	b := s.B.Tenant
	_, err := s.Store.OAuthClient(ctx, b, c.ID)
	s.notFound("client", err)
	s.notFound("update client", s.Store.UpdateOAuthClient(ctx, b, c))
	s.notFound("delete client", s.Store.DeleteOAuthClient(ctx, b, c.ID, s.now))
	_, err = s.Store.PushedRequest(ctx, b, pushed.Handle)
	s.notFound("pushed", err)
	_, err = s.Store.ShownRequest(ctx, b, sh.Ticket)
	s.notFound("shown", err)
	s.notFound("take", s.Store.TakeShownRequest(ctx, b, sh.Ticket))
	_, err = s.Store.Consent(ctx, b, g.ConsentKey)
	s.notFound("consent", err)
	s.notFound("code", s.Store.WithCode(ctx, b, code.Hash, func(oauth.Code, oauth.Grant) oauth.Turn { s.Error("seen"); return oauth.Turn{} }))
	s.notFound("refresh", s.Store.WithRefreshToken(ctx, b, token.Hash, func(oauth.RefreshToken, oauth.Grant) oauth.Turn { s.Error("seen"); return oauth.Turn{} }))
	_, err = s.Store.Grant(ctx, b, g.ID)
	s.notFound("grant", err)
	_, _, err = s.Store.GrantOfRefreshToken(ctx, b, token.Hash)
	s.notFound("grant of token", err)
	s.notFound("revoke", s.Store.RevokeGrant(ctx, b, g.ID, "x", s.now))
	s.must(s.Store.NoteChallenge(ctx, b, g.ID, s.now))
	if got, err := s.Store.Grants(ctx, b, s.A.User, s.now, s.now.Add(-time.Hour)); err != nil || len(got) != 0 {
		s.Errorf("grants %v, %v", got, err)
	}
	if got, err := s.Store.Grant(ctx, s.A.Tenant, g.ID); err != nil || !got.ChallengedAt.IsZero() || !got.Live(s.now) {
		s.Errorf("touched from another tenant: %+v, %v", got, err)
	}
	for _, none := range []tenants.ID{"", "x", "tn", b + "'"} {
		if _, err := s.Store.OAuthClient(ctx, none, c.ID); err == nil {
			s.Errorf("the tenant %q sees the client", none)
		}
	}
}

// consoleClient makes the console's client, as an authorization does.
func (s *suite) consoleClient(t tenants.ID) oauth.Client {
	s.Helper()
	c := oauth.Client{ID: oauth.ConsoleClient, Kind: oauth.Console, Name: "Console", AuthMethod: "none", RedirectURIs: []string{"https://acme.example/admin/callback"}, GrantTypes: []string{"authorization_code"}, CreatedAt: s.now}
	s.must(s.Store.PutOAuthClient(s.Context(), t, c))
	return c
}

func (s *suite) console() {
	ctx := s.Context()
	c := s.consoleClient(s.A.Tenant)
	s.consoleClient(s.A.Tenant)
	i := s.newIssue(s.A, c.ID)
	i.Grant.Server, i.Consent = "", nil
	s.must(s.Store.Issue(ctx, s.A.Tenant, i))
	got, err := s.Store.Grant(ctx, s.A.Tenant, i.Grant.ID)
	if err != nil || got.Server != "" || got.ServerSlug != "" || got.ServerTitle != "" || got.ClientName != "Console" || got.UserEmail == "" {
		s.Errorf("%+v, %v", got, err)
	}
	s.must(s.Store.WithCode(ctx, s.A.Tenant, i.Code.Hash, func(_ oauth.Code, of oauth.Grant) oauth.Turn {
		if of.ID != i.Grant.ID || of.Server != "" {
			s.Errorf("%+v", of)
		}
		return oauth.Turn{Use: s.now}
	}))
	if gs, err := s.Store.Grants(ctx, s.A.Tenant, s.A.User, s.now, s.now.Add(-time.Hour)); err != nil || len(gs) != 1 {
		s.Errorf("%+v, %v", gs, err)
	}
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, i.Grant.ID, "x", s.now))

	app := s.client(s.A.Tenant)
	i = s.newIssue(s.A, app.ID)
	i.Grant.Server, i.Consent = "", nil
	if err := s.Store.Issue(ctx, s.A.Tenant, i); err == nil {
		s.Error("an app has a grant for no server")
	}
	i = s.newIssue(s.A, c.ID)
	if err := s.Store.Issue(ctx, s.A.Tenant, i); err == nil {
		s.Error("the console has a grant for a server")
	}
	// The name is the console's.
	for _, kind := range []oauth.ClientKind{oauth.Registered, oauth.Document} {
		c.Kind = kind
		if err := s.Store.CreateOAuthClient(ctx, s.B.Tenant, c); err == nil {
			s.Errorf("a client of kind %s has the console's name", kind)
		}
	}
	c.Kind, c.ID = oauth.Console, "somebody"
	if err := s.Store.PutOAuthClient(ctx, s.B.Tenant, c); err == nil {
		s.Error("another client is the console")
	}
	c.ID, c.Kind = app.ID, oauth.Document
	if err := s.Store.PutOAuthClient(ctx, s.A.Tenant, c); err == nil {
		s.Error("a registered client was replaced")
	}
}

func (s *suite) listClients() {
	ctx := s.Context()
	var ids []string
	for range 3 {
		ids = append(ids, s.client(s.A.Tenant).ID) // all at one moment
	}
	slices.Sort(ids)
	slices.Reverse(ids)
	used, gone := ids[1], s.client(s.A.Tenant).ID
	s.must(s.Store.DeleteOAuthClient(ctx, s.A.Tenant, gone, s.now))
	s.client(s.B.Tenant)
	revoked, _ := s.issued(s.A, used)
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, revoked.ID, "x", s.now))
	_, code := s.issued(s.A, used)
	s.chain(s.A, code)

	list := func(f oauth.ClientFilter, limit int) (got []string) {
		var after callers.Position
		for {
			cs, err := s.Store.ListClients(ctx, s.A.Tenant, f, after, limit, s.now)
			s.must(err)
			if len(cs) > limit {
				s.Fatalf("%d of at most %d", len(cs), limit)
			}
			for _, c := range cs {
				got = append(got, c.ID)
				after = callers.Position{At: c.CreatedAt, ID: c.ID}
			}
			if len(cs) == 0 {
				return got
			}
		}
	}
	yes, no := true, false
	for _, c := range []struct {
		name string
		f    oauth.ClientFilter
		want []string
	}{
		{"all", oauth.ClientFilter{}, ids},
		{"authorized", oauth.ClientFilter{Authorized: &yes}, []string{used}},
		{"not authorized", oauth.ClientFilter{Authorized: &no}, []string{ids[0], ids[2]}},
		{"by name", oauth.ClientFilter{Search: "aPP"}, ids},
		{"by id", oauth.ClientFilter{Search: ids[2][2:]}, []string{ids[2]}},
		{"by nothing", oauth.ClientFilter{Search: "%"}, nil},
	} {
		for _, limit := range []int{1, 2, 50} {
			if got := list(c.f, limit); !slices.Equal(got, c.want) {
				s.Errorf("%s, %d at a time: %q, want %q", c.name, limit, got, c.want)
			}
		}
	}
	got, err := s.Store.ListedClient(ctx, s.A.Tenant, used, s.now)
	if err != nil || got.Grants != 1 || !got.LastUsedAt.Equal(s.now) || !got.AuthorizedAt.Equal(s.now) {
		s.Errorf("%+v, %v", got, err)
	}
	if got, err := s.Store.ListedClient(ctx, s.A.Tenant, used, s.now.AddDate(1, 0, 0)); err != nil || got.Grants != 0 {
		s.Errorf("later: %+v, %v", got, err)
	}
	if n, err := s.Store.ClientUse(ctx, s.A.Tenant, used, s.now); err != nil || n != (oauth.ClientUse{Grants: 1, People: 1, Consents: 1}) {
		s.Errorf("%+v, %v", n, err)
	}
	if n, err := s.Store.ClientUse(ctx, s.A.Tenant, ids[0], s.now); err != nil || n != (oauth.ClientUse{}) {
		s.Errorf("%+v, %v", n, err)
	}
	for _, id := range []string{gone, "nobody"} {
		_, err := s.Store.ListedClient(ctx, s.A.Tenant, id, s.now)
		s.notFound(id, err)
		_, err = s.Store.ClientUse(ctx, s.A.Tenant, id, s.now)
		s.notFound(id, err)
	}
}

func (s *suite) listGrants() {
	ctx := s.Context()
	one, two := s.client(s.A.Tenant).ID, s.client(s.A.Tenant).ID
	revoked, _ := s.issued(s.A, one)
	s.must(s.Store.RevokeGrant(ctx, s.A.Tenant, revoked.ID, "x", s.now))
	active, _ := s.issued(s.A, one)
	expired := s.newIssue(s.A, two)
	expired.Grant.ExpiresAt, expired.Grant.CreatedAt = s.now.Add(time.Minute), s.now.Add(-time.Hour)
	s.must(s.Store.Issue(ctx, s.A.Tenant, expired))
	c := s.consoleClient(s.A.Tenant)
	console := s.newIssue(s.A, c.ID)
	console.Grant.Server, console.Consent, console.Grant.CreatedAt = "", nil, s.now.Add(time.Hour)
	s.must(s.Store.Issue(ctx, s.A.Tenant, console))
	other := s.client(s.B.Tenant).ID
	s.issued(s.B, other)

	later := s.now.Add(2 * time.Minute)
	both := []string{revoked.ID, active.ID}
	slices.Sort(both)
	slices.Reverse(both)
	all := []string{console.Grant.ID, both[0], both[1], expired.Grant.ID}
	g, err := s.Store.Grant(ctx, s.A.Tenant, active.ID)
	s.must(err)
	for _, c := range []struct {
		name string
		f    oauth.GrantFilter
		want []string
	}{
		{"all", oauth.GrantFilter{}, all},
		{"active", oauth.GrantFilter{Status: oauth.GrantActive}, []string{console.Grant.ID, active.ID}},
		{"revoked", oauth.GrantFilter{Status: oauth.GrantRevoked}, []string{revoked.ID}},
		{"expired", oauth.GrantFilter{Status: oauth.GrantExpired}, []string{expired.Grant.ID}},
		{"of a client", oauth.GrantFilter{Client: two}, []string{expired.Grant.ID}},
		{"on a server", oauth.GrantFilter{Server: g.ServerSlug}, all[1:]},
		{"on another", oauth.GrantFilter{Server: "nothing"}, nil},
		{"of a person by address", oauth.GrantFilter{Member: g.UserEmail, Status: oauth.GrantExpired}, []string{expired.Grant.ID}},
		{"of a person by id", oauth.GrantFilter{Member: string(s.A.User)}, all},
		{"of another's person", oauth.GrantFilter{Member: string(s.B.User)}, nil},
	} {
		for _, limit := range []int{1, 3, 50} {
			var got []string
			var after callers.Position
			for {
				gs, err := s.Store.ListGrants(ctx, s.A.Tenant, c.f, after, limit, later)
				s.must(err)
				for _, g := range gs {
					got = append(got, g.ID)
					after = callers.Position{At: g.CreatedAt, ID: g.ID}
				}
				if len(gs) == 0 {
					break
				}
			}
			if !slices.Equal(got, c.want) {
				s.Errorf("%s, %d at a time: %q, want %q", c.name, limit, got, c.want)
			}
		}
	}
}
