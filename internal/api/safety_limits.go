package api

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Limits is what the operations on limits ask for. The tools' own limits are in
// Servers.Registry.
type Limits struct {
	Store interface {
		OwnLimits(ctx context.Context, t tenants.ID) (tenants.Limits, error)
		PutLimits(ctx context.Context, t tenants.ID, l tenants.Limits) error
	}
	// Where says where calls are counted: memory, valkey, degraded; nil: memory.
	Where func() string
}

// GetLimits shows them.
func (a *API) GetLimits(ctx context.Context, _ GetLimitsRequestObject) (GetLimitsResponseObject, error) {
	out, err := a.limits(ctx)
	return GetLimits200JSONResponse(out), err
}

// PutLimits replaces the tenant's own.
func (a *API) PutLimits(ctx context.Context, r PutLimitsRequestObject) (PutLimitsResponseObject, error) {
	l, places := readLimits(r.Body)
	if len(places) > 0 {
		return nil, invalid(places)
	}
	if err := a.Limits.Store.PutLimits(ctx, tenantOf(ctx).ID, l); err != nil {
		return nil, err
	}
	out, err := a.limits(ctx)
	return PutLimits200JSONResponse(out), err
}

func (a *API) limits(ctx context.Context) (out LimitsState, err error) {
	t := tenantOf(ctx).ID
	own, err := a.Limits.Store.OwnLimits(ctx, t)
	if err != nil {
		return out, err
	}
	hosted, err := a.Servers.Registry.HostedAll(ctx, t)
	if err != nil {
		return out, err
	}
	out.Store, out.Tools = LimitsStateStoreMemory, []ToolLimits{}
	if a.Limits.Where != nil {
		out.Store = LimitsStateStore(a.Limits.Where())
	}
	for to, from := range map[*CallLimits]tenants.Limits{&out.Own: own, &out.Effective: own.Or(tenants.DefaultLimits), &out.Defaults: tenants.DefaultLimits} {
		if err := rewrite(from, to); err != nil {
			return out, err
		}
	}
	for _, h := range hosted {
		for _, tool := range h.Revision.Definition.Tools {
			one := ToolLimits{Server: h.Server.Slug, Tool: tool.Name}
			for to, from := range map[**CallLimit]tenants.Limit{&one.All: tool.Limits.Tool, &one.User: tool.Limits.User, &one.Session: tool.Limits.Session} {
				if from == (tenants.Limit{}) {
					continue
				}
				*to = &CallLimit{}
				if err := rewrite(from, *to); err != nil {
					return out, err
				}
			}
			if one.All != nil || one.User != nil || one.Session != nil {
				out.Tools = append(out.Tools, one)
			}
		}
	}
	slices.SortFunc(out.Tools, func(a, b ToolLimits) int {
		return cmp.Or(cmp.Compare(a.Server, b.Server), cmp.Compare(a.Tool, b.Tool))
	})
	return out, nil
}

// rewrite takes what has the same names in JSON over.
func rewrite(from, to any) error {
	b, err := json.Marshal(from)
	if err != nil {
		return err
	}
	return json.Unmarshal(b, to)
}

// readLimits checks what the document's schema cannot say.
func readLimits(body *CallLimits) (l tenants.Limits, places []fault.Detail) {
	if err := rewrite(body, &l); err != nil {
		return l, []fault.Detail{{Pointer: "", Reason: "cannot be read as limits", Fix: "write rates such as 60/min"}}
	}
	bad := func(pointer, reason, fix string) {
		places = append(places, fault.Detail{Pointer: pointer, Reason: reason, Fix: fix})
	}
	const leaveOut = "leave it out for the default, or write -1 for no bound"
	for at, c := range map[string]*CallLimit{"/tenant": body.Tenant, "/user": body.User, "/session": body.Session, "/tool": body.Tool} {
		if c == nil {
			continue
		}
		if c.Burst != nil && (c.Rate == nil || *c.Rate == "none") {
			bad(at+"/burst", "stands without a rate", "write the rate too, such as 60/min")
		}
		if c.Concurrency != nil && *c.Concurrency == 0 {
			bad(at+"/concurrency", "would let nothing run", leaveOut)
		}
	}
	if f := body.FanOut; f != nil && f.Calls != nil && *f.Calls == 0 {
		bad("/fan_out/calls", "is no number of calls", leaveOut)
	}
	if r := body.Repeats; r != nil {
		if r.Notice != nil && *r.Notice == 0 {
			bad("/repeats/notice", "is no number of calls", leaveOut)
		}
		if r.Refuse != nil && (*r.Refuse == 0 || *r.Refuse == 1) {
			bad("/repeats/refuse", "would refuse every call", "write 2 or more, or -1 for never")
		}
	}
	return l, places
}
