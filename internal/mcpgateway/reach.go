package mcpgateway

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// Reach is a call of the control plane's own, to see how a server's upstream is.
// It is of no tool and on nobody's behalf, and stands in no record of calls.
type Reach struct {
	Opening runtime.Opening
	Pool    string
	Op      runtime.Op // runtime.Probe or runtime.Discover
	// User lends a person's own credential to a server that has one for each; on
	// others it means nothing. Empty: the upstream is only reached.
	User    tenants.UserID
	Timeout time.Duration
}

// controlPlane stands in the grants of calls that are nobody's. It is no id that
// a person can have: theirs are random.
const controlPlane tenants.UserID = "us000000000000000000"

// Reach runs it on a worker.
func (g *Gateway) Reach(ctx context.Context, r Reach) (*runtime.Result, error) {
	if r.Op != runtime.Probe && r.Op != runtime.Discover {
		return nil, fault.New(fault.Unexpected, "Only probes and discoveries are the platform's own.")
	}
	ctx, cancel := context.WithTimeout(ctx, r.Timeout)
	defer cancel()
	deadline, _ := ctx.Deadline()
	o, id, hash := r.Opening, newCallID(), r.Opening.Hash()
	user := r.User
	if user == "" {
		user = controlPlane
	}
	var grant secret.Text
	if c := string(o.Connection); (o.PerUser && r.User != "") || !o.PerUser && c != "" && c != "{}" {
		var err error
		if grant, err = g.cfg.Signer.Sign(vault.Grant{
			Tenant: o.Tenant, Server: o.Server, Revision: o.Revision, Tool: reachName, Access: registry.ReadAccess, User: user, CallID: id, OpenHash: hash, Deadline: deadline,
		}); err != nil {
			return nil, err
		}
	}
	// Where its process is, if it has one.
	home := g.HomeOf(registry.Server{ID: o.Server, Kind: o.Kind, PerUser: o.PerUser}, r.User)
	out, err := g.cfg.Dispatch.Dispatch(ctx, &runtime.Call{
		ID: id, Tenant: o.Tenant, Server: o.Server, Revision: o.Revision, OpenHash: hash, Op: r.Op, Name: reachName, Access: registry.ReadAccess,
		Caller: runtime.Caller{User: user, Roles: []string{}, Client: "platform"}, Traceparent: newTraceparent(), Deadline: deadline, Grant: grant,
	}, DispatchOptions{Pool: r.Pool, Repeatable: true, Home: home})
	return out.Result, err
}

// reachName is the name of calls that are of no tool (runtime.Op).
const reachName = "server"
