package api

import (
	"context"
	"time"

	"latchkey/internal/audit"
)

// ListWorkers lists the worker processes that this edge hears.
func (a *API) ListWorkers(context.Context, ListWorkersRequestObject) (ListWorkersResponseObject, error) {
	workers := a.Records.Workers()
	if workers == nil {
		workers = []Worker{}
	}
	return ListWorkers200JSONResponse{Data: workers}, nil
}

// healthTime is how long everything together may take to answer.
const healthTime = 8 * time.Second

// GetHealth asks everything that the platform stands on.
func (a *API) GetHealth(ctx context.Context, _ GetHealthRequestObject) (GetHealthResponseObject, error) {
	ctx, cancel := context.WithTimeout(ctx, healthTime)
	defer cancel()
	out := GetHealth200JSONResponse{Ok: true, Checks: a.Records.Health(ctx)}
	for _, c := range out.Checks {
		out.Ok = out.Ok && c.Ok
	}
	return out, nil
}

// verifiedByDefault is how far back a verification looks.
const verifiedByDefault = 30 * 24 * time.Hour

// VerifyAudit holds the numbers of all writers' records against each other.
func (a *API) VerifyAudit(ctx context.Context, in VerifyAuditRequestObject) (VerifyAuditResponseObject, error) {
	now := a.Now()
	since := deref(in.Params.Since)
	if since.IsZero() {
		since = now.Add(-verifiedByDefault)
	}
	v, err := a.Records.Store.VerifyAudit(ctx, since, now)
	if err != nil {
		return nil, err
	}
	return VerifyAudit200JSONResponse{
		Ok: len(v.Gaps) == 0, Since: optionalTime(v.Since), Writers: v.Writers, Records: int(v.Records),
		Gaps: gapsOf(v.Gaps), OpenIntents: ptr(int(v.OpenIntents)),
	}, nil
}

func gapsOf(gaps []audit.Gap) []AuditGap {
	out := make([]AuditGap, len(gaps))
	for i, g := range gaps {
		out[i] = AuditGap{Writer: g.Writer, After: int(g.After), Before: int(g.Before), Missing: int(g.Before - g.After - 1)}
	}
	return out
}
