package health

import (
	"errors"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
)

var t0 = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

func away(words string) error { return fault.New(fault.UpstreamAway, "%s", words) }

// A server that goes away is refused after its second failure, which is looked
// for within five seconds of the first.
func TestServerLeavesWithinSecondsAndComesBackByItself(t *testing.T) {
	r := Record{State: Unknown}.After(Probe{At: t0, Latency: time.Millisecond, Era: "2026-07-28"})
	if r.State != Healthy || !r.Since.Equal(t0) || !r.Next.Equal(t0.Add(Interval)) || r.Era != "2026-07-28" {
		t.Fatalf("%+v", r)
	}
	first := r.After(Probe{At: t0.Add(10 * time.Second), Err: away("gone")})
	if first.State != Degraded || first.Refusal("s", t0) != nil {
		t.Fatalf("%+v", first)
	}
	if wait := first.Next.Sub(first.Checked); wait > 5*time.Second {
		t.Errorf("looked at again after %s", wait)
	}
	second := first.After(Probe{At: first.Next, Err: away("gone")})
	if second.State != Unhealthy || second.Failures != 2 || second.Code != "upstream_unavailable" || !second.LastOK.Equal(t0) || second.Era == "" {
		t.Fatalf("%+v", second)
	}
	f := second.Refusal("orders", second.Checked.Add(time.Second))
	if f == nil || f.Code != fault.ServerUnhealthy || f.RetryAfter != second.Next.Sub(second.Checked)-time.Second {
		t.Fatalf("%+v", f)
	}
	if late := second.Refusal("orders", second.Next.Add(time.Hour)); late.RetryAfter != time.Second {
		t.Errorf("a look that is late: wait %s", late.RetryAfter)
	}
	r = second
	for range 20 {
		r = r.After(Probe{At: r.Next, Err: away("gone")})
		if wait := r.Next.Sub(r.Checked); wait > MaxBackoff || wait <= 0 {
			t.Fatalf("waits %s after %d failures", wait, r.Failures)
		}
	}
	if !r.Since.Equal(second.Since) {
		t.Errorf("unhealthy since %s, was %s", r.Since, second.Since)
	}
	back := r.After(Probe{At: r.Next, Latency: time.Millisecond})
	if back.State != Healthy || back.Failures != 0 || back.Refusal("s", back.Checked) != nil {
		t.Errorf("%+v", back)
	}
}

func TestWhatTheUpstreamWishesIsBounded(t *testing.T) {
	wish := fault.New(fault.UpstreamAway, "later").After(time.Hour)
	r := Record{State: Healthy}.After(Probe{At: t0, Err: wish})
	if r.Next.Sub(t0) != Recheck {
		t.Errorf("after the first failure it waits %s", r.Next.Sub(t0))
	}
	if r = r.After(Probe{At: t0, Err: wish}); r.Next.Sub(t0) != MaxBackoff {
		t.Errorf("it waits %s", r.Next.Sub(t0))
	}
}

func TestSlowAnswersAndIdleServersAreServed(t *testing.T) {
	slow := Record{}.After(Probe{At: t0, Latency: 4 * time.Second})
	idle := slow.After(Probe{At: t0, Idle: true})
	if slow.State != Degraded || idle.State != Idle || slow.Refusal("s", t0) != nil || idle.Refusal("s", t0) != nil {
		t.Errorf("%s, %s", slow.State, idle.State)
	}
	if idle.LastOK.IsZero() || !idle.LastOK.Equal(slow.LastOK) {
		t.Error("to find nothing is taken for an answer")
	}
}

// What is kept of a failure is for administrators, and bounded; a caller is told
// none of it.
func TestFailureIsNotToldToCallers(t *testing.T) {
	r := Record{}
	for range 2 {
		r = r.After(Probe{At: t0, Err: away("db.internal:5432 " + strings.Repeat("ü", 1000))})
	}
	if len(r.Message) > maxMessage || !utf8.ValidString(r.Message) || !strings.HasPrefix(r.Message, "db.internal") {
		t.Errorf("%d bytes kept: %q", len(r.Message), r.Message)
	}
	if told := r.Refusal("orders", t0).Message; strings.Contains(told, "internal") || !strings.Contains(told, "orders") {
		t.Errorf("told %q", told)
	}
	if r = (Record{}).After(Probe{At: t0, Err: errors.New("dial tcp 10.0.0.1: refused")}); strings.Contains(r.Message, "10.0.0.1") {
		t.Errorf("an error that is no fault is kept as %q", r.Message)
	}
}

func TestOurOwnTroubleTakesNoServerAway(t *testing.T) {
	for _, c := range []fault.Code{fault.NoWorker, fault.WorkerLost, fault.Busy, fault.StoreAway, fault.CredentialsAway, fault.Cancelled, fault.Unexpected} {
		if !Infrastructure(fault.New(c, "x")) {
			t.Errorf("%s is taken for the upstream's", c)
		}
	}
	for _, c := range []fault.Code{fault.UpstreamAway, fault.DeadlineExceeded, fault.ServerCrashed, fault.EgressRefused} {
		if Infrastructure(fault.New(c, "x")) {
			t.Errorf("%s is taken for our own", c)
		}
	}
	r := Record{State: Unknown}.Missed(t0, fault.New(fault.NoWorker, "nobody"))
	if r.State != Unknown || r.Failures != 0 || r.Code != "no_worker" || r.Since.IsZero() {
		t.Errorf("%+v", r)
	}
}
