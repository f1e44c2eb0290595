package events

import (
	"context"
	"time"

	"latchkey/internal/tenants"
)

// Life is how long events are kept.
const Life = 90 * 24 * time.Hour

// Query asks for a page of a tenant's events, newest first.
type Query struct {
	Kind    Kind      // empty: all
	Server  string    // slug; empty: all
	Open    *bool     // those that nobody acknowledged, or that somebody did; nil: all
	After   time.Time // the last entry of the page before; zero: the first page
	AfterID string
	Limit   int
}

// Store keeps events. Unknown ones are fault.NotFound.
type Store interface {
	// InsertEvents adds events of any tenants. Those with the same text (Same) in
	// one minute are counted into the first of them.
	InsertEvents(ctx context.Context, es []Event) error
	Events(ctx context.Context, t tenants.ID, q Query) ([]Event, error)
	// Acknowledge may be repeated: who was first stays.
	Acknowledge(ctx context.Context, t tenants.ID, id, by string, at time.Time) (Event, error)
	// CollectEvents removes those of all tenants from before a time.
	CollectEvents(ctx context.Context, before time.Time) (int64, error)
}
