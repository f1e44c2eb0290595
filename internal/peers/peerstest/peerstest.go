// Package peerstest holds what every peers.Store must do.
package peerstest

import (
	"slices"
	"testing"
	"time"

	"latchkey/internal/peers"
	"latchkey/internal/tenants"
)

// Fixture is a store, and a way to let an edge's last word be older.
type Fixture struct {
	Store peers.Store
	Age   func(id string, by time.Duration)
}

// Run checks a store. Edges of others may be in it.
func Run(t *testing.T, f Fixture) {
	ctx := t.Context()
	a := peers.Edge{ID: tenants.RandomID("ed"), URL: "http://10.0.0.1:8080"}
	b := peers.Edge{ID: tenants.RandomID("ed"), URL: "https://edge-b.internal:8443"}
	want := func(what string, edges ...peers.Edge) {
		t.Helper()
		all, err := f.Store.Edges(ctx, peers.Life)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range []peers.Edge{a, b} {
			if slices.Contains(all, e) != slices.Contains(edges, e) {
				t.Errorf("%s: %v, want %v of these", what, all, edges)
			}
		}
	}
	announce := func(e peers.Edge) {
		t.Helper()
		if err := f.Store.AnnounceEdge(ctx, e); err != nil {
			t.Fatal(err)
		}
	}
	want("nobody came")
	announce(a)
	announce(b)
	want("two came", a, b)
	f.Age(a.ID, 2*peers.Life)
	want("one was not heard for a while", b)
	announce(a)
	want("and is heard again", a, b)
	a.URL = "http://10.0.0.9:8080"
	announce(a)
	want("and moved", a, b)
	if err := f.Store.RetireEdge(ctx, b.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.Store.RetireEdge(ctx, b.ID); err != nil {
		t.Errorf("retired twice: %v", err)
	}
	want("one retired", a)
	f.Age(a.ID, 2*time.Hour)
	announce(b)
	if all, err := f.Store.Edges(ctx, 24*time.Hour); err != nil || slices.Contains(all, a) {
		t.Errorf("one that went long ago is kept: %v, %v", all, err)
	}
	for _, bad := range []peers.Edge{{ID: "x", URL: a.URL}, {ID: a.ID, URL: "file:///etc/passwd"}, {ID: a.ID, URL: "http://user@10.0.0.1"}, {ID: a.ID, URL: "http://10.0.0.1/path"}} {
		if f.Store.AnnounceEdge(ctx, bad) == nil {
			t.Errorf("%+v is announced", bad)
		}
	}
}
