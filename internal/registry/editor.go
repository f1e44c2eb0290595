package registry

import (
	"context"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Editor changes a server with what Vault knows of it. Files and the API go
// through it alike.
type Editor struct {
	Registry    Store
	Provisioner Provisioner
	// Offers may be nil where no server's kind discovers what it offers.
	Offers Offers
	Now    func() time.Time // nil: the clock
}

// Settings are what a server is to be, without what it offers.
type Settings struct {
	Server Server
	// Connection is used where HasConnection is set; else the server keeps its
	// own. With Keep it is the one that Vault has the secrets of.
	Connection    Connection
	HasConnection bool
	Keep          bool
}

// Put creates a server, or brings the one before to new settings. Credentials come
// first, whose making tries the connection: a server that is served goes on with
// the old one when the new one does not work, and one that would be new is not
// there afterwards.
func (e *Editor) Put(ctx context.Context, t tenants.ID, before Server, c Settings) (s Server, err error) {
	want := c.Server
	want.ID, want.Tenant = before.ID, t
	want.fill()
	if c.HasConnection {
		want.connect(c.Connection)
	} else if before.ID != "" {
		want.Connection, want.Declared, want.SecretsSet, want.PerUser = before.Connection, before.Declared, before.SecretsSet, before.PerUser
	}
	want.SecretsVersion = before.SecretsVersion
	if before.ID != "" {
		if err := MayBecome(before, want); err != nil {
			return s, err
		}
		if c.HasConnection && !c.Keep {
			if want.SecretsVersion, err = e.Provisioner.Provision(ctx, t, want, c.Connection.Secrets); err != nil {
				return s, err
			}
		}
		return e.Registry.PutServer(ctx, t, want)
	}
	// As a draft, it has an id and is not served.
	if s, err = e.Registry.PutServer(ctx, t, want); err != nil || !c.HasConnection {
		return s, err
	}
	draft := s.ID
	s.SecretsVersion, err = e.Provisioner.Provision(ctx, t, s, c.Connection.Secrets)
	if err == nil && s.SecretsVersion != "" {
		s, err = e.Registry.PutServer(ctx, t, s)
	}
	if err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// What cannot be removed now is a draft, and the next try finds it.
		if e.Provisioner.Forget(undo, t, draft) == nil {
			_ = e.Registry.DeleteServer(undo, t, draft)
		}
		return Server{}, err
	}
	return s, nil
}

// Define makes the revision that says what a spec does, over what is pinned of
// the server's upstream. Discovering: nothing is, so that the revision can only
// be awaited.
func (e *Editor) Define(ctx context.Context, t tenants.ID, s Server, spec Spec, actor string) (rev Revision, discovering bool, err error) {
	if spec, err = e.compose(ctx, t, spec); err != nil {
		return rev, false, err
	}
	pinned, err := e.pinned(ctx, t, s.ID, spec.Discovers())
	if err != nil {
		return rev, false, err
	}
	rev, err = spec.Revision(s, pinned, actor)
	return rev, spec.Discovering(pinned), err
}

func (e *Editor) compose(ctx context.Context, t tenants.ID, spec Spec) (Spec, error) {
	if !spec.Composes() {
		return spec, nil
	}
	servers, err := e.Registry.Current(ctx, t)
	if err != nil {
		return spec, err
	}
	return spec.Compose(Composing{Servers: servers})
}

// Follow brings a toolset to what its members offer now. Nobody is asked: who
// published a change of a member had it reviewed there, and a change that breaks
// callers breaks them whether the toolset says so or not. What could mislead a
// model is refused here too, because it may do so only among these tools. Whoever
// calls it keeps other changes of the tenant out meanwhile.
func (e *Editor) Follow(ctx context.Context, t tenants.ID, kinds Kinds, id ServerID) (rev Revision, published bool, err error) {
	s, err := e.Registry.Server(ctx, t, id)
	if err != nil || s.Deleting || s.Active == "" {
		return rev, false, err
	}
	was, err := e.Registry.Revision(ctx, t, s.Active)
	if err != nil {
		return rev, false, err
	}
	servers, err := e.Registry.Current(ctx, t)
	if err != nil {
		return rev, false, err
	}
	rev, unchanged, err := Recompose(kinds, s, was, servers)
	if err != nil || unchanged {
		return rev, false, err
	}
	rev, _, err = e.Publish(ctx, t, s, rev, true)
	return rev, err == nil, err
}

func (e *Editor) pinned(ctx context.Context, t tenants.ID, id ServerID, discovers bool) (*Offer, error) {
	if !discovers || id == "" || e.Offers == nil {
		return nil, nil
	}
	o, err := e.Offers.Offered(ctx, t, id)
	return o.PinnedOrNil(), err
}

// Await stages a revision of which it is not known yet what it offers. With
// publish it becomes the active one by itself when that is known; else nothing
// does any more.
func (e *Editor) Await(ctx context.Context, t tenants.ID, rev Revision, a Awaited, publish bool) (Revision, error) {
	rev, _, err := e.Registry.Stage(ctx, t, rev)
	if err != nil {
		return rev, err
	}
	if a.Revision = ""; publish {
		a.Revision = rev.ID
	}
	return rev, e.Offers.AwaitOffer(ctx, t, rev.Server, a)
}

// beingDiscovered stands where the number of tools would.
const beingDiscovered = "being discovered"

// Keeps decides whether a connection is the one that Vault has the secrets of
// already. It must be the very same where it says so.
func (c *Connection) Keeps(before Server) (bool, error) {
	keep, reason, fix := c.keeps(before)
	if reason != "" {
		return false, fault.New(fault.InvalidSpec, "The connection cannot be used.").
			WithDetails(fault.Detail{Pointer: "/connection", Reason: reason, Fix: fix})
	}
	return keep, nil
}

// Publishable says whether a server may get an active revision: a kind that
// reaches something needs to know where.
func Publishable(s Server, connects bool) error {
	if connects && !s.HasConnection() {
		return fault.New(fault.Conflict, "The server %s has no connection yet. Set it first, then publish.", s.Slug)
	}
	return nil
}

// Remove is the long part of a server's deletion: Vault first, so that no
// credential outlives its row. It may be repeated.
func (e *Editor) Remove(ctx context.Context, t tenants.ID, id ServerID) error {
	if err := e.Provisioner.Forget(ctx, t, id); err != nil {
		return err
	}
	if err := e.Registry.DeleteServer(ctx, t, id); err != nil && !fault.HasCode(err, fault.NotFound) {
		return err
	}
	return nil
}
