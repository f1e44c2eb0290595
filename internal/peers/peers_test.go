package peers_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/peers"
)

// table is a store in memory that counts how often it is read.
type table struct {
	mu      sync.Mutex
	edges   map[string]string
	reads   int
	away    bool
	retired []string
}

func (s *table) AnnounceEdge(_ context.Context, e peers.Edge) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.edges[e.ID] = e.URL
	return nil
}

func (s *table) RetireEdge(_ context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.edges, id)
	s.retired = append(s.retired, id)
	return nil
}

func (s *table) Edges(context.Context, time.Duration) (all []peers.Edge, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads++
	if s.away {
		return nil, errors.New("away")
	}
	for id, url := range s.edges {
		all = append(all, peers.Edge{ID: id, URL: url})
	}
	return all, nil
}

func TestEdgesFindOneAnotherAndForgetWhoEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &table{edges: map[string]string{}}
		log := slog.New(slog.DiscardHandler)
		a := peers.New(s, peers.Edge{ID: "a", URL: "http://a"}, log)
		b := peers.New(s, peers.Edge{ID: "b", URL: "http://b"}, log)
		ctx, end := context.WithCancel(t.Context())
		defer end()
		go a.Run(ctx)
		synctest.Wait()
		if url, ok := b.Peer(ctx, "a"); !ok || url != "http://a" {
			t.Errorf("an edge that came before is not found: %q", url)
		}
		bctx, endB := context.WithCancel(ctx)
		go b.Run(bctx)
		synctest.Wait()
		a.Changed()
		synctest.Wait()
		if url, ok := a.Peer(ctx, "b"); !ok || url != "http://b" {
			t.Errorf("an edge that came after is not found: %q", url)
		}
		if _, ok := a.Peer(ctx, "a"); ok {
			t.Error("an edge finds itself")
		}
		endB()
		synctest.Wait()
		a.Changed() // as the store's notification makes it
		synctest.Wait()
		if _, ok := a.Peer(ctx, "b"); ok {
			t.Error("an edge that ended is still there")
		}
		s.mu.Lock()
		s.away = true
		s.mu.Unlock()
		b.Look(ctx)
		if _, ok := b.Peer(ctx, "a"); !ok {
			t.Error("what was known is forgotten when the store is away")
		}
	})
}

// Whoever makes up session ids must not make every edge read the store.
func TestManyUnknownEdgesAreLookedForAFewTimesASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &table{edges: maps.Clone(map[string]string{"a": "http://a"})}
		d := peers.New(s, peers.Edge{ID: "self"}, slog.New(slog.DiscardHandler))
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() {
				for range 20 {
					if _, ok := d.Peer(t.Context(), "made up"); ok {
						t.Error("found")
					}
					time.Sleep(50 * time.Millisecond)
				}
			})
		}
		all.Wait() // one second later
		if s.reads > 6 {
			t.Errorf("the store was read %d times in a second", s.reads)
		}
		if _, ok := d.Peer(t.Context(), "a"); !ok {
			t.Error("one that is there is not found")
		}
	})
}

// Those that ask while somebody looks wait for what is found.
func TestSessionIsNotLostWhileItsEdgeIsLookedFor(t *testing.T) {
	s := &table{edges: map[string]string{"a": "http://a"}}
	d := peers.New(s, peers.Edge{ID: "self"}, slog.New(slog.DiscardHandler))
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, ok := d.Peer(t.Context(), "a"); !ok {
				t.Error("not found")
			}
		})
	}
	all.Wait()
}

func TestPeerURLIsAnAddressAndNothingElse(t *testing.T) {
	for raw, want := range map[string]string{
		"http://10.0.0.7:8080": "http://10.0.0.7:8080", "https://edge-1.internal/": "https://edge-1.internal", "http://[::1]:8080": "http://[::1]:8080",
		"": "", "10.0.0.7:8080": "", "http://": "", "ftp://a": "", "http://a/path": "", "http://u@a": "", "http://a?": "", "http://a?x": "", "http://a#f": "", "http:a": "", "//a": "", "http://:80": "",
	} {
		if got, err := peers.CheckURL(raw); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is read as %q, %v", raw, got, err)
		}
	}
}
