package stdiotool

import (
	"context"
	"errors"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// upstream gives the sessions of a server's processes (mcptool.Upstream).
type upstream struct {
	pool   *pool
	recipe *recipe
}

var (
	_ mcptool.Upstream = (*upstream)(nil)
	_ mcptool.Idler    = (*upstream)(nil)
)

// key of the process that a person's call needs; before the package is
// installed it is one that nothing has.
func (u *upstream) key(user tenants.UserID) key {
	return key{u.recipe.tenant, u.recipe.server, u.recipe.of(user), u.recipe.mark()}
}

// Session gives that of the call's process, which is started if there is none.
func (u *upstream) Session(ctx context.Context, c *runtime.Call, env runtime.Env) (*mcptool.Session, error) {
	if c.Op == runtime.Probe || c.Op == runtime.Listen {
		if p := u.pool.running(u.key(c.Caller.User)); p != nil {
			return p.session, nil
		}
	}
	l, _ := ctx.Value(listeningKey{}).(*listening)
	mayStart := l == nil || l.once
	if l != nil {
		l.once = false
	}
	if c.Op == runtime.Probe || !mayStart {
		return nil, fault.New(fault.ServerUnhealthy, "The server was stopped just now. It is started at the next call.")
	}
	if err := u.install(ctx); err != nil {
		return nil, err
	}
	secrets, err := u.secrets(ctx, env)
	if err != nil {
		return nil, err
	}
	p, err := u.pool.process(ctx, u.key(c.Caller.User), u.recipe, secrets)
	if err != nil {
		return nil, err
	}
	return p.session, nil
}

// install waits for the package, as long as the call may.
func (u *upstream) install(ctx context.Context) error {
	if u.recipe.mark() != "" {
		return nil
	}
	done := make(chan struct{})
	var err error
	go func() {
		defer close(done)
		err = u.recipe.prepare(ctx)
	}()
	if waited := started(ctx, done, "installed"); waited != nil {
		return waited
	}
	return err
}

// secrets are those of the connection, as the call's credential has them.
func (u *upstream) secrets(ctx context.Context, env runtime.Env) (map[string]secret.Text, error) {
	c := &u.recipe.connection
	if len(c.Secrets)+len(c.Files) == 0 {
		return nil, nil
	}
	cred, err := env.Credential(ctx)
	if err != nil {
		return nil, err
	}
	all := map[string]secret.Text{}
	take := func(prefix string, names []string) error {
		for _, name := range names {
			v, ok := cred.Fields[prefix+name]
			if !ok {
				return fault.New(fault.CredentialsAway, "Vault has no value for %s, which the server's connection names. Nothing was done; ask the server's administrator to set it again.", prefix+name)
			}
			all[prefix+name] = v
		}
		return nil
	}
	if err := errors.Join(take("secrets.", c.Secrets), take("files.", c.Files)); err != nil {
		return nil, err
	}
	return all, nil
}

// Explain tells why the process that had the call has ended.
func (u *upstream) Explain(_ *runtime.Call, err error) error {
	var c *crash
	switch {
	case errors.As(err, &c):
		return c.fault()
	case errors.Is(err, errStopped):
		return fault.New(fault.Busy, "The server's process was stopped, as it was to be replaced or idle. Nothing was done; call again.").Because(err)
	}
	return nil
}

// Idle reports whether nothing runs that could be asked.
func (u *upstream) Idle(c *runtime.Call) bool { return u.pool.running(u.key(c.Caller.User)) == nil }

// Close ends the server's processes, unless another revision is open.
func (u *upstream) Close() error {
	u.pool.leave(u.recipe)
	return nil
}
