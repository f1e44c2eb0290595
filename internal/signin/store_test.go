package signin_test

import (
	"context"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/signin"
	"latchkey/internal/tenants"
)

// One id and one cookie in two tenants are two sessions that know nothing of
// each other.
func TestSameSessionInTwoTenants(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	at := w.time()
	rec := signin.Record{ID: tenants.RandomID("bs"), Token: signin.TokenHash{1, 2, 3}, SignedInAt: at, LastSeenAt: at}
	users := map[tenants.ID]tenants.User{w.acme.ID: w.pat, w.globex.ID: w.george}
	for tenant, user := range users {
		rec.User = user.ID
		if err := w.db.CreateSession(ctx, tenant, rec, at.Add(-time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	for tenant, user := range users {
		got, who, err := w.db.SessionByToken(ctx, tenant, rec.Token)
		if err != nil || who.ID != user.ID || got.User != user.ID || got.ID != rec.ID || len(who.Roles) != 1 || !got.SignedInAt.Equal(at) {
			t.Errorf("%+v %+v %v", got, who, err)
		}
	}
	rec.User = w.george.ID
	rec.ID, rec.Token = tenants.RandomID("bs"), signin.TokenHash{9}
	if err := w.db.CreateSession(ctx, w.acme.ID, rec, at); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a session of another tenant's person: %v", err)
	}
	if err := w.db.DeleteSessionsOf(ctx, w.globex.ID, w.pat.ID); err != nil {
		t.Fatal(err)
	}
	if err := w.db.DeleteSessionsOf(ctx, w.globex.ID, w.george.ID); err != nil {
		t.Fatal(err)
	}
	if _, _, err := w.db.SessionByToken(ctx, w.acme.ID, signin.TokenHash{1, 2, 3}); err != nil {
		t.Errorf("acme's session went with globex's: %v", err)
	}
	if _, _, err := w.db.SessionByToken(ctx, w.globex.ID, signin.TokenHash{1, 2, 3}); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("globex's session is still there: %v", err)
	}
}

func TestStaleSessionsAreDroppedAndTouchNeverGoesBack(t *testing.T) {
	w := newWorld(t, "")
	ctx := context.Background()
	at := w.time()
	create := func(token byte, seen time.Time) string {
		t.Helper()
		rec := signin.Record{ID: tenants.RandomID("bs"), User: w.pat.ID, Token: signin.TokenHash{token}, SignedInAt: at, LastSeenAt: seen}
		if err := w.db.CreateSession(ctx, w.acme.ID, rec, at); err != nil {
			t.Fatal(err)
		}
		return rec.ID
	}
	create(1, at.Add(-time.Second))
	second := create(2, at.Add(time.Minute))
	if _, _, err := w.db.SessionByToken(ctx, w.acme.ID, signin.TokenHash{1}); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("a stale session is kept: %v", err)
	}
	if err := w.db.TouchSession(ctx, w.acme.ID, second, at); err != nil {
		t.Fatal(err)
	}
	if got, _, err := w.db.SessionByToken(ctx, w.acme.ID, signin.TokenHash{2}); err != nil || !got.LastSeenAt.Equal(at.Add(time.Minute)) {
		t.Errorf("%+v %v", got, err)
	}
	if err := w.db.TouchSession(ctx, w.acme.ID, "bsnotthere", at); err != nil {
		t.Errorf("an unknown session: %v", err)
	}
}
