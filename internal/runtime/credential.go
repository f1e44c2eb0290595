package runtime

import (
	"context"
	"errors"
	"sync"

	"latchkey/internal/fault"
	"latchkey/internal/vault"
)

// Leases trades the grant of one call for a credential. release must be called
// when the call ends; it may not block for long.
type Leases interface {
	Get(ctx context.Context, req vault.LeaseRequest) (lease vault.Lease, release func(), err error)
}

// credential is the one credential a call may have. Most calls of kinds with
// no upstream never ask for it.
type credential struct {
	leases Leases
	call   *Call
	req    vault.LeaseRequest

	mu     sync.Mutex
	asked  bool
	ended  bool
	cred   Credential
	err    error
	giveUp func()
}

func (w *Worker) credentialFor(r *Received, o Opening) *credential {
	req := vault.LeaseRequest{
		Tenant: r.Call.Tenant, Server: r.Call.Server, Access: r.Call.Access,
		CallID: r.Call.ID, Grant: r.Call.Grant, Deadline: r.deadline,
	}
	if o.PerUser {
		req.User = r.Call.Caller.User
	}
	if k, known := w.openings.kinds[o.Kind]; known && k.Static {
		req.Static, req.Version = true, o.SecretsVersion
	}
	return &credential{leases: w.Leases, call: r.Call, req: req}
}

// get is Env.Credential. It asks Vault once, whatever the answer is: a call
// that may not have a credential does not get one by trying.
func (c *credential) get(ctx context.Context) (Credential, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return Credential{}, errors.New("credential asked for after the call's end")
	}
	if !c.asked {
		c.asked = true
		c.cred, c.err = c.trade(ctx)
	}
	return c.cred, c.err
}

func (c *credential) trade(ctx context.Context) (Credential, error) {
	if c.leases == nil {
		return Credential{}, fault.New(fault.CredentialsAway, "This worker cannot obtain credentials. Nothing was done; tell your administrator that the workers have no Vault.")
	}
	if err := c.sameAsSigned(); err != nil {
		return Credential{}, fault.New(fault.CredentialsAway, "No credential is given for this call, because it is not the one that was allowed.").Because(err)
	}
	lease, release, err := c.leases.Get(ctx, c.req)
	c.giveUp = release
	if err != nil {
		return Credential{}, err
	}
	return Credential{ID: lease.ID, Username: lease.Username, Password: lease.Password, Fields: lease.Fields, Until: lease.Until, Expired: lease.Expired, Discard: lease.Discard}, nil
}

// sameAsSigned compares the call with what the edge signed, so that nothing of
// it can be changed on its way: not the tool, and not the spec. Leases and
// Vault look at the signature, at tenant, server, access and user; a grant that
// cannot be read gets nothing from them.
func (c *credential) sameAsSigned() error {
	var reader *vault.Verifier // which reads without checking
	g, err := reader.Verify(c.call.Grant)
	if err != nil {
		return nil
	}
	if c.call.Op == ReadResource && g.Rule != c.call.Rule {
		return errors.New("the call's guard is not the one in its grant")
	}
	if g.CallID != c.call.ID || g.Tool != c.call.Name || g.Revision != c.call.Revision || g.OpenHash != c.call.OpenHash {
		return errors.New("the call is not the one in its grant")
	}
	return nil
}

// release gives the lease back. It runs however the call ended.
func (c *credential) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	if c.giveUp != nil {
		c.giveUp()
		c.giveUp = nil
	}
}

// leaseID is empty when the call needed no credential.
func (c *credential) leaseID() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.cred.ID
}
