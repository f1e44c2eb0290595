package api

import (
	"context"
	"encoding/json"
	"net/url"
	"strconv"
	"strings"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Records is what the operations on records, and on the platform itself, ask
// for.
type Records struct {
	Store interface {
		audit.Reader
		audit.UsageReader
		VerifyAudit(ctx context.Context, since, now time.Time) (audit.Verification, error)
		UserByEmail(ctx context.Context, t tenants.ID, email string) (tenants.User, error)
	}
	Tails *audit.Tails
	// Workers lists the workers that this edge hears.
	Workers func() []Worker
	// Health asks everything that the platform stands on.
	Health func(ctx context.Context) []HealthCheck
}

// platformSlug stands where a tenant's does for the records of what operators
// did to the platform itself. No tenant has it: it is reserved.
const platformSlug = "platform"

// ofRecords says that an operation reads records, or is about events.
func (o *operation) ofRecords() bool {
	return strings.HasPrefix(o.path, "/tenants/{tenant}/audit/") || strings.HasPrefix(o.path, "/tenants/{tenant}/events")
}

const auditList = "listAuditEvents"

// ListAuditEvents finds records, newest first.
func (a *API) ListAuditEvents(ctx context.Context, in ListAuditEventsRequestObject) (ListAuditEventsResponseObject, error) {
	p := in.Params
	keys, err := readCursor(auditList, p.Cursor, 2)
	if err != nil {
		return nil, err
	}
	var after audit.Position
	if keys != nil {
		if after, err = position(keys[0], keys[1]); err != nil {
			return nil, err
		}
	}
	f := audit.Filter{
		Since: deref(p.Since), Until: deref(p.Until), Server: deref(p.Server), Tool: deref(p.Tool), Client: deref(p.Client), Grant: deref(p.Grant),
		State: audit.State(deref(p.Outcome)), Category: string(deref(p.Category)), Code: deref(p.Code), Method: string(deref(p.Method)), CallID: deref(p.Call),
	}
	if err := a.completeFilter(ctx, &f, deref(p.Member)); err != nil {
		return nil, err
	}
	t := tenantOf(ctx).ID
	page, err := a.Records.Store.SearchAudit(ctx, t, f, after, limitOf(p.Limit))
	if err != nil {
		return nil, err
	}
	names, err := a.Records.Store.AuditNames(ctx, t, page.Events)
	if err != nil {
		return nil, err
	}
	out := ListAuditEvents200JSONResponse{Data: recordsOf(page.Events, names), HasMore: page.More}
	if page.More {
		out.NextCursor, out.SearchedTo = cursor(auditList, keysOf(page.Next)...), optionalTime(page.Next.At)
	}
	return out, nil
}

// GetAuditEvent shows one record with the others of its call.
func (a *API) GetAuditEvent(ctx context.Context, in GetAuditEventRequestObject) (GetAuditEventResponseObject, error) {
	t := tenantOf(ctx).ID
	e, call, err := a.Records.Store.AuditEvent(ctx, t, in.Event)
	if fault.HasCode(err, fault.NotFound) {
		return nil, notFound()
	}
	if err != nil {
		return nil, err
	}
	names, err := a.Records.Store.AuditNames(ctx, t, append(call, e))
	if err != nil {
		return nil, err
	}
	return GetAuditEvent200JSONResponse{Event: recordOf(&e, names), Call: recordsOf(call, names)}, nil
}

// completeFilter finds the person that an address stands for, and refuses a
// time that ends before it begins.
func (a *API) completeFilter(ctx context.Context, f *audit.Filter, member string) error {
	if !f.Since.IsZero() && !f.Until.IsZero() && f.Until.Before(f.Since) {
		return invalid([]fault.Detail{{Pointer: "?until", Reason: "is before since", Fix: "write a later time"}})
	}
	user, err := a.memberID(ctx, member)
	f.User = user
	return err
}

// memberID is the id of a person by address, also of one by id. Somebody who
// is gone is known by id only, so what is nobody's address counts as an id.
func (a *API) memberID(ctx context.Context, member string) (tenants.UserID, error) {
	if member == "" {
		return "", nil
	}
	if _, err := tenants.ParseUserID(member); err == nil {
		return tenants.UserID(member), nil
	}
	u, err := a.Records.Store.UserByEmail(ctx, tenantOf(ctx).ID, lower(member))
	if fault.HasCode(err, fault.NotFound) {
		return tenants.UserID(member), nil
	}
	return u.ID, err
}

// filterOf reads the query of a stream, which the frame has validated.
func (a *API) filterOf(ctx context.Context, q url.Values) (f audit.Filter, err error) {
	f = audit.Filter{
		Server: q.Get("server"), Tool: q.Get("tool"), Client: q.Get("client"), Grant: q.Get("grant"), State: audit.State(q.Get("outcome")),
		Category: q.Get("category"), Code: q.Get("code"), Method: q.Get("method"), CallID: q.Get("call"),
	}
	for name, to := range map[string]*time.Time{"since": &f.Since, "until": &f.Until} {
		if v := q.Get(name); v != "" {
			if *to, err = time.Parse(time.RFC3339Nano, v); err != nil {
				return f, invalid([]fault.Detail{{Pointer: "?" + name, Reason: "is not of the form date-time", Fix: "write a time such as 2026-05-01T12:00:00Z"}})
			}
		}
	}
	return f, a.completeFilter(ctx, &f, q.Get("member"))
}

// keysOf and position are a place in a list of records as two texts.
func keysOf(p audit.Position) []string {
	return []string{strconv.FormatInt(p.At.UnixMicro(), 10), p.ID}
}

var errPosition = fault.New(fault.InvalidRequest, "This is not a place in the records. Pass it as it came, or leave it out to begin anew.")

// maxMicro is the end of the year 9999.
const maxMicro = 253402300799_999999

func position(at, id string) (audit.Position, error) {
	n, err := strconv.ParseInt(at, 10, 64)
	if err != nil || n < 0 || n > maxMicro || len(id) > 40 || storableText(id) != nil {
		return audit.Position{}, errPosition
	}
	return audit.Position{At: time.UnixMicro(n).UTC(), ID: id}, nil
}

// storableText refuses what no id has.
func storableText(s string) error {
	for _, c := range []byte(s) {
		if c < ' ' || c > '~' {
			return errPosition
		}
	}
	return nil
}

func recordsOf(es []audit.Event, n audit.Names) []AuditEvent {
	out := make([]AuditEvent, len(es))
	for i := range es {
		out[i] = recordOf(&es[i], n)
	}
	return out
}

func recordOf(e *audit.Event, n audit.Names) AuditEvent {
	decision := AuditEventDecisionRefused
	if e.Allowed {
		decision = AuditEventDecisionAllowed
	}
	return AuditEvent{
		Id: e.ID, At: e.At.UTC(), CallId: e.CallID, Phase: AuditEventPhase(e.Phase), Method: e.Method, Outcome: Outcome(e.State), Decision: decision,
		Member: optional(n.User(e.User)), MemberId: optional(string(e.User)), Client: optional(e.Client), ClientName: optional(n.Clients[e.Client]),
		Grant: optional(e.Grant), Server: optional(e.Server), Revision: optional(string(e.Revision)), Tool: optional(e.Tool), Scope: optional(e.Scope),
		Reason: optional(e.Reason), Category: optional(e.Category), Code: optional(e.Code), Arguments: optional(e.Arguments),
		LatencyMs: ms(e.Latency), ResultBytes: optional(e.ResultBytes), Worker: optional(e.Worker), LeaseId: optional(e.LeaseID),
		TraceId: optional(e.TraceID), IdempotencyKey: optional(e.IdempotencyKey), Notes: showNotes(e.Notes),
	}
}

func ms(d time.Duration) *float32 {
	if d == 0 {
		return nil
	}
	return ptr(float32(d.Microseconds()) / 1000)
}

func showNotes(n audit.Notes) *json.RawMessage {
	if len(n) == 0 {
		return nil
	}
	raw := json.RawMessage(n.Text())
	return &raw
}
