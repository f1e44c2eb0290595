package postgres_test

import (
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func TestLastCredentialsAreThoseOfTheServer(t *testing.T) {
	db := postgrestest.New(t)
	acme, globex := settle(t, db, "acme"), settle(t, db, "globex")
	now := time.Now().UTC().Truncate(time.Microsecond)
	record := func(p *place, ago time.Duration, lease, code, reason string) {
		e := event(p.id, now.Add(-ago))
		e.ServerID, e.LeaseID, e.Code, e.Reason = p.server.ID, lease, code, reason
		check(t, db.InsertAudit(t.Context(), []audit.Event{e}))
	}
	away := fault.CredentialsAway.Name
	record(acme, 3*time.Hour, "l1", "", "")
	record(acme, 2*time.Hour, "l2", "", "")
	record(acme, time.Hour, "", fault.RoleNotAllowed.Name, "no")
	record(acme, 90*time.Minute, "", away, "older")
	record(acme, 30*time.Minute, "", away, "Vault is sealed")
	record(acme, 40*24*time.Hour, "old", "", "")
	record(globex, time.Minute, "theirs", away, "theirs")
	got, err := db.LastCredentials(t.Context(), acme.id, []registry.ServerID{acme.server.ID, globex.server.ID, tenants.NewServerID()})
	check(t, err)
	want := registry.Credentials{LastIssued: now.Add(-2 * time.Hour), LastFailed: now.Add(-30 * time.Minute), LastFailure: "Vault is sealed"}
	if c := got[acme.server.ID]; len(got) != 1 || !c.LastIssued.Equal(want.LastIssued) || !c.LastFailed.Equal(want.LastFailed) || c.LastFailure != want.LastFailure {
		t.Errorf("%+v", got)
	}
}
