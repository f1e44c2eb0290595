package audit

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// shelf keeps records in memory, for what is about time.
type shelf struct {
	Reader
	mu     sync.Mutex
	events []Event
	looks  int
	away   bool
}

func (s *shelf) commit(events ...Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events...)
}

func (s *shelf) looked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.looks
}

func (s *shelf) RecentAudit(_ context.Context, t tenants.ID, since time.Time, known []string, limit int) (out []Event, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.looks++
	if s.away {
		return nil, errors.New("away")
	}
	for _, e := range s.events {
		if e.Tenant == t && !e.At.Before(since) && !slices.Contains(known, e.ID) {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	return out[:min(limit, len(out))], nil
}

func (s *shelf) ExportAudit(_ context.Context, t tenants.ID, f Filter, after Position, limit int) (p Page, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []Event
	for _, e := range s.events {
		if e.Tenant == t && f.Match(&e) && (e.At.After(after.At) || e.At.Equal(after.At) && e.ID > after.ID) {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b Event) int { return cmp.Or(a.At.Compare(b.At), cmp.Compare(a.ID, b.ID)) })
	if len(all) > limit {
		p.More, all = true, all[:limit]
		p.Next = PositionOf(&all[limit-1])
	}
	p.Events = all
	return p, nil
}

const acme, globex = tenants.ID("tnaaaaaaaaaaaaaaaaaa"), tenants.ID("tnbbbbbbbbbbbbbbbbbb")

func made(t tenants.ID, at time.Time, code string) Event {
	return Event{Tenant: t, At: at, ID: NewID(at), Code: code}
}

// drain takes what there is.
func drain(r *Tail) (codes []string) {
	for {
		select {
		case b, open := <-r.Records():
			if !open {
				return codes
			}
			for _, e := range r.New(b) {
				codes = append(codes, e.Code)
			}
		default:
			return codes
		}
	}
}

func follow(t *testing.T, ts *Tails, id tenants.ID, f Filter, from Position) *Tail {
	t.Helper()
	r, err := ts.Follow(id, f, from)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestTailTellsEachRecordOnceWhateverItsOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		s.commit(made(acme, time.Now().Add(-time.Second), "before"))
		ts := NewTails(s, nil)
		defer ts.Close()
		r := follow(t, ts, acme, Filter{}, Position{})
		only := follow(t, ts, acme, Filter{Code: "late"}, Position{})
		other := follow(t, ts, globex, Filter{}, Position{})
		if complete, err := r.CatchUp(t.Context(), nil); err != nil || !complete {
			t.Fatal(complete, err)
		}
		// Its time is of before a younger one that is told first.
		late := made(acme, time.Now(), "late")
		time.Sleep(time.Second)
		s.commit(made(acme, time.Now(), "young"))
		time.Sleep(6 * time.Second)
		if got := drain(r); !slices.Equal(got, []string{"young"}) {
			t.Fatalf("got %v", got)
		}
		s.commit(late, made(globex, time.Now(), "theirs"))
		time.Sleep(pollEvery + time.Millisecond)
		if got := drain(r); !slices.Equal(got, []string{"late"}) {
			t.Errorf("got %v", got)
		}
		time.Sleep(time.Minute)
		if got := drain(r); got != nil {
			t.Errorf("told again: %v", got)
		}
		if got := drain(only); !slices.Equal(got, []string{"late"}) {
			t.Errorf("filtered: %v", got)
		}
		if got := drain(other); !slices.Equal(got, []string{"theirs"}) {
			t.Errorf("the other tenant's: %v", got)
		}
	})
}

func TestTailLosesNothingWhileTheStoreIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		ts := NewTails(s, nil)
		defer ts.Close()
		r := follow(t, ts, acme, Filter{}, Position{})
		synctest.Wait()
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		time.Sleep(time.Second)
		s.commit(made(acme, time.Now(), "meanwhile"))
		time.Sleep(5 * time.Minute)
		s.mu.Lock()
		s.away = false
		s.mu.Unlock()
		time.Sleep(time.Second)
		if got := drain(r); !slices.Equal(got, []string{"meanwhile"}) {
			t.Errorf("got %v", got)
		}
	})
}

func TestTailGoesOnWhereItEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		ts := NewTails(s, nil)
		defer ts.Close()
		var last Event
		for range 1200 {
			time.Sleep(100 * time.Millisecond)
			last = made(acme, time.Now(), "seen")
			s.commit(last)
		}
		for range 5 {
			time.Sleep(time.Second)
			s.commit(made(acme, time.Now(), "missed"))
		}
		r := follow(t, ts, acme, Filter{Code: "missed"}, PositionOf(&last))
		var got []string
		complete, err := r.CatchUp(t.Context(), func(es []Event) error {
			for _, e := range es {
				got = append(got, e.Code)
			}
			return nil
		})
		s.commit(made(acme, time.Now(), "missed"))
		time.Sleep(time.Second)
		if got = append(got, drain(r)...); err != nil || !complete || len(got) != 6 {
			t.Errorf("%d told, complete %v, %v", len(got), complete, err)
		}
		r.Close()
		// Yesterday is not told as if nothing were missing.
		last.At = time.Now().Add(-24 * time.Hour)
		r = follow(t, ts, acme, Filter{}, PositionOf(&last))
		if complete, err := r.CatchUp(t.Context(), func([]Event) error { return nil }); err != nil || complete {
			t.Errorf("complete %v, %v", complete, err)
		}
	})
}

func TestTailsShareOneLookAndEndWithTheirReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		ts := NewTails(s, nil)
		var rs []*Tail
		for range MaxTails {
			rs = append(rs, follow(t, ts, acme, Filter{}, Position{}))
		}
		if _, err := ts.Follow(acme, Filter{}, Position{}); !fault.HasCode(err, fault.LimitReached) {
			t.Errorf("one too many: %v", err)
		}
		time.Sleep(10 * time.Second)
		if n := s.looked(); n > 21 {
			t.Errorf("%d looks in 10 s", n)
		}
		for _, r := range rs[1:] {
			r.Close()
			r.Close()
		}
		if ts.Open() != 1 {
			t.Errorf("%d open", ts.Open())
		}
		rs[0].Close()
		synctest.Wait()
		before := s.looked()
		time.Sleep(time.Minute)
		if s.looked() != before {
			t.Error("looks for nobody")
		}
		// Who is too slow is told so, and shutting down ends all.
		slow := follow(t, ts, acme, Filter{}, Position{})
		synctest.Wait()
		for range backlog + 2 {
			s.commit(made(acme, time.Now(), "x"))
			time.Sleep(pollEvery + time.Millisecond)
		}
		if drain(slow); !errors.Is(slow.Err(), ErrTailBehind) {
			t.Errorf("slow: %v", slow.Err())
		}
		r := follow(t, ts, acme, Filter{}, Position{})
		ts.Close()
		if drain(r); !errors.Is(r.Err(), ErrTailsClosed) {
			t.Errorf("closed: %v", r.Err())
		}
		if _, err := ts.Follow(acme, Filter{}, Position{}); !fault.HasCode(err, fault.StoreAway) {
			t.Errorf("after the end: %v", err)
		}
	})
}

func TestIDsHoldTheirTime(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_654_321, time.UTC)
	id, next := NewID(at), NewID(at.Add(time.Millisecond))
	if got, ok := TimeOfID(id); !ok || !got.Equal(at.Truncate(time.Millisecond)) {
		t.Errorf("%s: %v %v", id, got, ok)
	}
	if len(id) != 20 || id >= next {
		t.Errorf("%s, then %s", id, next)
	}
	if _, ok := TimeOfID("au0000"); ok {
		t.Error("a time in nothing")
	}
}

func TestPercentilesAreWithinFivePercent(t *testing.T) {
	var l Latencies
	var all []time.Duration
	for d := 100 * time.Microsecond; d < 100*time.Second; d += d/37 + 1 {
		all = append(all, d)
		l.Count(BucketOf(d), 1)
	}
	for _, share := range []float64{0.01, 0.5, 0.9, 0.95, 0.99, 1} {
		want := all[max(0, int(share*float64(len(all))+0.9999)-1)]
		if off := float64(l.Percentile(share))/float64(want) - 1; off > 0.05 || off < -0.05 {
			t.Errorf("p%v: %v, want %v", share*100, l.Percentile(share), want)
		}
	}
	if (Latencies{}).Percentile(0.5) != 0 || BucketOf(time.Hour) != MaxBucket || BucketOf(0) != 0 {
		t.Error("edges")
	}
}
