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
	Now         func() time.Time // nil: the clock
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
	if before.ID != "" {
		if err := MayBecome(before, want); err != nil {
			return s, err
		}
		if c.HasConnection && !c.Keep {
			if err := e.Provisioner.Provision(ctx, t, want, c.Connection.Secrets); err != nil {
				return s, err
			}
		}
		return e.Registry.PutServer(ctx, t, want)
	}
	// As a draft, it has an id and is not served.
	if s, err = e.Registry.PutServer(ctx, t, want); err != nil || !c.HasConnection {
		return s, err
	}
	if err := e.Provisioner.Provision(ctx, t, s, c.Connection.Secrets); err != nil {
		undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		// What cannot be removed now is a draft, and the next try finds it.
		if e.Provisioner.Forget(undo, t, s.ID) == nil {
			_ = e.Registry.DeleteServer(undo, t, s.ID)
		}
		return Server{}, err
	}
	return s, nil
}

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
