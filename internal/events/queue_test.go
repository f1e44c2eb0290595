package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// shelf is a store that does as it is told. The real one passes eventstest.
type shelf struct {
	Store
	mu     sync.Mutex
	insert func([]Event) error
	kept   []Event
}

func (s *shelf) InsertEvents(ctx context.Context, es []Event) error {
	s.mu.Lock()
	insert := s.insert
	s.mu.Unlock()
	if insert != nil {
		if err := insert(es); err != nil {
			return err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept = append(s.kept, es...)
	return nil
}

func (s *shelf) all() []Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Event(nil), s.kept...)
}

const acme = tenants.ID("tnaaaaaaaaaaaaaaaaaa")

func one(same string) Event {
	return Event{Tenant: acme, Kind: FanOut, Severity: Warning, Detail: "x", Same: same}
}

func TestFullEventQueueHoldsNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hung, began := make(chan struct{}), time.Now()
		s := &shelf{insert: func([]Event) error { <-hung; return nil }}
		var raised, dropped int
		var log strings.Builder
		q := NewQueue(s, QueueOptions{Size: 8, Raised: func(Event) { raised++ }, Dropped: func() { dropped++ }, Log: slog.New(slog.NewTextHandler(&log, nil))})
		q.Raise(t.Context(), one(""))
		synctest.Wait() // the store has it, and hangs
		for range 100 {
			q.Raise(t.Context(), one(""))
		}
		if waited := time.Since(began); waited != 0 {
			t.Errorf("raising took %s", waited)
		}
		if raised != 9 || dropped != 92 {
			t.Errorf("%d taken, %d dropped", raised, dropped)
		}
		if n := strings.Count(log.String(), "events are dropped"); n != 1 {
			t.Errorf("logged %d times", n)
		}
		close(hung)
		q.Close()
		if n := len(s.all()); n != 9 {
			t.Errorf("%d kept", n)
		}
		q.Raise(t.Context(), one("")) // after the end
		if dropped != 93 {
			t.Errorf("%d dropped", dropped)
		}
		q.Close()
	})
}

func TestEventsOutliveAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		away := time.Now().Add(time.Minute)
		s := &shelf{insert: func([]Event) error {
			if time.Now().Before(away) {
				return fault.New(fault.StoreAway, "away")
			}
			return nil
		}}
		q := NewQueue(s, QueueOptions{})
		q.Raise(t.Context(), one(""))
		time.Sleep(2 * time.Minute)
		if n := len(s.all()); n != 1 {
			t.Errorf("%d kept", n)
		}
		q.Close()
	})
}

// A store that stays away does not keep the process from ending.
func TestEndDoesNotWaitForAStoreThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dropped := 0
		q := NewQueue(&shelf{insert: func([]Event) error { return fault.New(fault.StoreAway, "away") }}, QueueOptions{Dropped: func() { dropped++ }})
		q.Raise(t.Context(), one(""))
		began := time.Now()
		q.Close()
		if took := time.Since(began); took > closeTime || dropped != 1 {
			t.Errorf("it took %s, %d dropped", took, dropped)
		}
	})
}

func TestBadEventTakesNoOtherWithIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{insert: func(es []Event) error {
			for _, e := range es {
				if e.Detail == "bad" {
					return errors.New("no")
				}
			}
			return nil
		}}
		hold := make(chan struct{})
		first := true
		inner := s.insert
		s.insert = func(es []Event) error {
			if first {
				first = false
				<-hold
			}
			return inner(es)
		}
		q := NewQueue(s, QueueOptions{})
		for i := range 5 {
			e := one("")
			if i == 2 {
				e.Detail = "bad"
			}
			q.Raise(t.Context(), e)
		}
		synctest.Wait()
		close(hold)
		q.Close()
		if n := len(s.all()); n != 4 {
			t.Errorf("%d kept", n)
		}
	})
}

func TestSameEventsOfAMinuteAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &shelf{}
		hold := make(chan struct{})
		s.insert = func([]Event) error { <-hold; return nil }
		q := NewQueue(s, QueueOptions{})
		q.Raise(t.Context(), one("first"))
		synctest.Wait()
		for i := range 30 {
			q.Raise(t.Context(), one(fmt.Sprint("user", i%3)))
		}
		q.Raise(t.Context(), one(""))
		q.Raise(t.Context(), one(""))
		close(hold)
		q.Close()
		var got []int
		for _, e := range s.all() {
			got = append(got, e.Count)
			if len(e.Same) != 0 && len(e.Same) != 32 {
				t.Errorf("stored as %q", e.Same)
			}
		}
		if fmt.Sprint(got) != "[1 10 10 10 1 1]" {
			t.Errorf("%v", got)
		}
	})
}

func TestLongTextsOfEventsAreCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"short", "short"}, {strings.Repeat("ü", 20), strings.Repeat("ü", 9) + "…"}, {strings.Repeat("\xff", 30), strings.Repeat("\uFFFD", 1)},
	} {
		if got := cutTo(c.in, 10); got != c.want {
			t.Errorf("%q became %q", c.in, got)
		}
	}
}
