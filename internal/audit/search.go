package audit

import (
	"context"
	"time"

	"latchkey/internal/tenants"
)

// Filter chooses records. Each field that is not zero must hold.
type Filter struct {
	Since, Until time.Time // [Since, Until)
	Server       string    // slug
	Tool         string
	User         tenants.UserID
	Client       string
	Grant        string
	State        State
	Category     string
	Code         string
	Method       string
	CallID       string
}

// Match says what a store's search says of one record.
func (f Filter) Match(e *Event) bool {
	is := func(want, got string) bool { return want == "" || want == got }
	return (f.Since.IsZero() || !e.At.Before(f.Since)) && (f.Until.IsZero() || e.At.Before(f.Until)) &&
		is(f.Server, e.Server) && is(f.Tool, e.Tool) && is(string(f.User), string(e.User)) && is(f.Client, e.Client) && is(f.Grant, e.Grant) &&
		is(string(f.State), string(e.State)) && is(f.Category, e.Category) && is(f.Code, e.Code) && is(f.Method, e.Method) && is(f.CallID, e.CallID)
}

// Position is a place among records in the order of (At, ID). The zero one is
// before the first of any list.
type Position struct {
	At time.Time
	ID string
}

// IsZero reports whether p is the beginning of a list.
func (p Position) IsZero() bool { return p == Position{} }

// PositionOf a record.
func PositionOf(e *Event) Position { return Position{At: e.At, ID: e.ID} }

// Page is a part of a list. A search stops when it took long, so a page may
// have fewer records than were asked for, or none, with More still true: Next
// is where to go on, and no record that matches before it was left out.
type Page struct {
	Events []Event
	Next   Position
	More   bool
}

// Names are what ids in records stand for today. An id that is not in them is
// of somebody or something that is gone.
type Names struct {
	Users   map[tenants.UserID]string // address
	Clients map[string]string         // name of the app or of the API key
}

// Reader finds records. Its methods see one tenant's and no other's.
type Reader interface {
	// SearchAudit lists the newest first, from a position on.
	SearchAudit(ctx context.Context, t tenants.ID, f Filter, after Position, limit int) (Page, error)
	// ExportAudit lists the oldest first, from a position on.
	ExportAudit(ctx context.Context, t tenants.ID, f Filter, after Position, limit int) (Page, error)
	// AuditEvent finds one record, and all of the same call, oldest first.
	AuditEvent(ctx context.Context, t tenants.ID, id string) (Event, []Event, error)
	// RecentAudit lists records of since on that are not among known, oldest
	// first.
	RecentAudit(ctx context.Context, t tenants.ID, since time.Time, known []string, limit int) ([]Event, error)
	// AuditNames looks up what records refer to.
	AuditNames(ctx context.Context, t tenants.ID, events []Event) (Names, error)
}

// Name is the person's address, or the id of one who is gone.
func (n Names) User(id tenants.UserID) string {
	if name := n.Users[id]; name != "" {
		return name
	}
	return string(id)
}
