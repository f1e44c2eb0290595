package audit

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
)

// gate is a store whose commits wait for the test.
type gate struct {
	mu     sync.Mutex
	groups [][]Event
	open   chan struct{}
	err    error
}

func (g *gate) InsertAudit(ctx context.Context, events []Event) error {
	<-g.open
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.err != nil {
		return g.err
	}
	for _, e := range events {
		if e.Tool == "unstorable" {
			return errors.New("refused")
		}
	}
	g.groups = append(g.groups, append([]Event(nil), events...))
	return nil
}

func TestAddReturnsOnlyAfterCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := &gate{open: make(chan struct{})}
		w := NewWriter(g, nil)
		const calls = 500
		results := make(chan error, calls)
		for range calls {
			go func() { results <- w.Add(t.Context(), Event{}) }()
		}
		synctest.Wait()
		if len(results) > 0 {
			t.Fatal("Add returned before anything was committed")
		}
		close(g.open)
		for range calls {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		w.Close()
		seen := map[int64]bool{}
		for _, group := range g.groups {
			for _, e := range group {
				if seen[e.WriterSeq] || e.WriterID == "" || e.ID == "" {
					t.Fatalf("bad record %+v", e)
				}
				seen[e.WriterSeq] = true
			}
		}
		// The first went alone; the rest queued up behind it.
		if len(seen) != calls || len(g.groups) != 2 {
			t.Fatalf("%d records in %d groups", len(seen), len(g.groups))
		}
		for i := int64(1); i <= calls; i++ {
			if !seen[i] {
				t.Fatalf("gap at %d", i)
			}
		}
	})
}

func TestStoreAwayFailsTheCall(t *testing.T) {
	g := &gate{open: make(chan struct{}), err: errors.New("away")}
	close(g.open)
	w := NewWriter(g, nil)
	defer w.Close()
	if err := w.Add(t.Context(), Event{}); err == nil {
		t.Fatal("a record that was not stored was reported as stored")
	}
}

func TestOneUnstorableRecordFailsAlone(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	w := NewWriter(g, nil)
	type result struct {
		tool string
		err  error
	}
	results := make(chan result, 60)
	for i := range 60 {
		tool := "fine"
		if i%20 == 0 {
			tool = "unstorable"
		}
		go func() { results <- result{tool, w.Add(t.Context(), Event{Tool: tool})} }()
	}
	close(g.open)
	for range 60 {
		if r := <-results; (r.err != nil) != (r.tool == "unstorable") {
			t.Errorf("%s: %v", r.tool, r.err)
		}
	}
	w.Close()
}

func TestClosedWriterRefuses(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	close(g.open)
	w := NewWriter(g, nil)
	w.Close()
	if err := w.Add(t.Context(), Event{}); !fault.HasCode(err, fault.StoreAway) {
		t.Fatalf("got %v", err)
	}
	w.Close()
}

func TestHangingStoreReleasesTheCaller(t *testing.T) {
	g := &gate{open: make(chan struct{})}
	w := NewWriter(g, nil)
	defer func() { close(g.open); w.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := w.Add(ctx, Event{}); !fault.HasCode(err, fault.StoreAway) {
		t.Fatalf("got %v", err)
	}
}

func TestSummarize(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{``, ``},
		{`{"order_id":42,"dry":true,"note":null}`, `{dry: true, note: <nil>, order_id: 42}`},
		{`{"password":"hunter2","api_key":"x","nested":{"Authorization":"y"}}`, `{api_key: [redacted], nested: {Authorization: [redacted]}, password: [redacted]}`},
		{`{"to":"alice.long@example.org"}`, `{to: "a…@example.org"}`},
		{`{"q":"card 4111 1111 1111 1111 please"}`, `{q: "card [redacted] please"}`},
		{`{"q":"Bearer abcdefghijklmnop"}`, `{q: "[redacted]"}`},
		{`{"q":"a\u0000b\u202ec"}`, `{q: "a·b·c"}`},
		{`[[[[[1]]]]]`, `[[[[[1 items]]]]]`},
		{`nope`, `(not JSON, 4 bytes)`},
	} {
		if got := Summarize(json.RawMessage(c.in)); got != c.want {
			t.Errorf("%s\n got %s\nwant %s", c.in, got, c.want)
		}
	}
}

func FuzzSummarize(f *testing.F) {
	f.Add([]byte(`{"a":["b",{"c":1}]}`))
	f.Add([]byte(`{"k":"` + strings.Repeat("é", 4000) + `"}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		s := Summarize(in)
		if len(s) > maxSummary+8 || !utf8.ValidString(s) {
			t.Fatalf("%d bytes, valid %v", len(s), utf8.ValidString(s))
		}
	})
}
