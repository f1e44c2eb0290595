package demo

import (
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/tenants"
)

// TestHistoryIsAWeekThatCouldHaveBeen: every record is within the week, belongs
// to somebody, is numbered without a gap, and every outcome of a refund has its
// intent.
func TestHistoryIsAWeekThatCouldHaveBeen(t *testing.T) {
	now := time.Date(2026, 11, 26, 10, 30, 0, 0, time.UTC)
	cast := Cast{Tenant: tenants.ID(tenants.RandomID("tn")), Users: map[string]tenants.UserID{}}
	for _, h := range habits {
		cast.Users[h.email] = tenants.NewUserID()
	}
	all := History(now, cast)
	if len(all) < 500 || len(all) > 5000 {
		t.Errorf("%d records", len(all))
	}
	intents, denied := map[string]bool{}, 0
	for i, e := range all {
		if e.At.After(now) || e.At.Before(now.AddDate(0, 0, -7).Add(-time.Hour)) || e.User == "" || e.WriterSeq != int64(i+1) || e.Tenant != cast.Tenant {
			t.Fatalf("record %d: %+v", i, e)
		}
		if e.Phase == audit.Intent {
			intents[e.CallID] = true
		}
		if e.Phase == audit.Outcome && e.Tool == "issue_refund" && !intents[e.CallID] {
			t.Errorf("a refund without an intent: %+v", e)
		}
		if e.Code == "role_not_allowed" {
			denied++
		}
	}
	if denied != 1 {
		t.Errorf("%d calls were denied", denied)
	}
}
