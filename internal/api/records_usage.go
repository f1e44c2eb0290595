package api

import (
	"context"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/tenants"
)

// A usageRange is a number of steps; the last one is the one that is now.
type usageRange struct {
	step  time.Duration
	steps int
}

var usageRanges = map[GetUsageParamsRange]usageRange{
	"1h": {time.Minute, 60}, "24h": {15 * time.Minute, 96}, "7d": {time.Hour, 7 * 24}, "30d": {24 * time.Hour, 30},
}

// GetUsage adds a tenant's calls up, to this moment.
func (a *API) GetUsage(ctx context.Context, in GetUsageRequestObject) (GetUsageResponseObject, error) {
	p := in.Params
	name, by := deref(p.Range), audit.Group(deref(p.GroupBy))
	if name == "" {
		name = "24h"
	}
	if by == "" {
		by = audit.ByTool
	}
	r, t := usageRanges[name], tenantOf(ctx).ID
	user, err := a.memberID(ctx, deref(p.Member))
	if err != nil {
		return nil, err
	}
	q := audit.UsageQuery{Until: a.Now().UTC(), Step: r.step, By: by, Server: deref(p.Server), Tool: deref(p.Tool), Client: deref(p.Client), User: user}
	q.Since = q.Until.Truncate(r.step).Add(-time.Duration(r.steps-1) * r.step)
	u, err := a.Records.Store.Usage(ctx, t, q)
	if err != nil {
		return nil, err
	}
	var named []audit.Event
	for _, g := range u.Groups {
		named = append(named, audit.Event{User: g.User, Client: g.Client})
	}
	for _, b := range u.Busiest {
		named = append(named, audit.Event{User: b.User})
	}
	names, err := a.Records.Store.AuditNames(ctx, t, named)
	if err != nil {
		return nil, err
	}
	out := GetUsage200JSONResponse{
		Range: string(name), Since: q.Since, Until: q.Until, StepS: int(r.step / time.Second), Totals: numbersOf(&u.Totals),
		Series: make([]UsagePoint, len(u.Series)), Groups: make([]UsageGroup, len(u.Groups)),
	}
	for i := range u.Series {
		out.Series[i] = UsagePoint{At: u.Series[i].At, Numbers: numbersOf(&u.Series[i].Numbers)}
	}
	for i := range u.Groups {
		out.Groups[i] = groupOf(by, &u.Groups[i], names)
	}
	busiest := make([]BusiestMinute, len(u.Busiest))
	for i, b := range u.Busiest {
		busiest[i] = BusiestMinute{Member: names.User(b.User), At: b.At, Calls: int(b.Calls)}
	}
	out.Busiest = &busiest
	return out, nil
}

func groupOf(by audit.Group, g *audit.UsageGroup, n audit.Names) UsageGroup {
	out := UsageGroup{Numbers: numbersOf(&g.Numbers)}
	switch by {
	case audit.ByServer:
		out.Key = g.Server
	case audit.ByTool:
		out.Key, out.Label, out.Server = g.Server+"/"+g.Tool, ptr(g.Tool), ptr(g.Server)
	case audit.ByMember:
		out.Key, out.Label = string(g.User), optional(n.Users[tenants.UserID(g.User)])
	case audit.ByClient:
		out.Key, out.Label = g.Client, optional(n.Clients[g.Client])
	}
	return out
}

func numbersOf(n *audit.Numbers) UsageNumbers {
	out := UsageNumbers{
		Calls: int(n.Calls()), Done: int(n.Done), Failed: int(n.Failed), Refused: int(n.Refused), Unknown: int(n.Unknown),
		P50Ms: ms(n.Latency.Percentile(0.5)), P95Ms: ms(n.Latency.Percentile(0.95)), P99Ms: ms(n.Latency.Percentile(0.99)),
	}
	errors := map[string]int{}
	for category, count := range map[string]int64{
		"access": n.Access, "validation": n.Validation, "downstream": n.Downstream, "rate_limit": n.Limits, "internal": n.Internal,
	} {
		if count > 0 {
			errors[category] = int(count)
		}
	}
	if len(errors) > 0 {
		out.Errors = &errors
	}
	return out
}
