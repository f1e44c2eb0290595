// Package stdiotool is the kind `stdio`: an MCP server that is a program, such
// as an npm package, run in a sandbox on a worker.
//
// It owns the spec language, the processes (one for a tenant and server, or for
// a person), how each is started, stopped, started again and explained, and the
// folder of what outlives them. It leaves MCP itself to mcptool, what a process
// may do to sandbox, and how a package comes to be on the machine to packages.
package stdiotool

import (
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"

	"latchkey/internal/fault"
	"latchkey/internal/packages"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/mcptool"
)

//go:embed template.yaml
var template string

// New makes the kind `stdio`. What one of them opens shares its bounds on
// processes, so that a worker has one.
func New() runtime.Kind {
	all := newPool()
	return runtime.Kind{
		Name: "stdio", Title: "Packaged server", Description: "An MCP server from npm, a binary of a release page, or a program of your own, run in a sandbox that holds its files, network, memory and processes.",
		Template: template, Check: check, CheckConnection: checkConnection, Source: source, Provision: provision, Static: true,
		Define: define, Stateful: true,
		Open: func(_ context.Context, o runtime.Opening, h runtime.Host) (runtime.Instance, error) {
			return open(all, o, h)
		},
	}
}

// instance is an open server: mcptool passes calls through, and here is what
// only a process of ours has.
type instance struct {
	*mcptool.Instance
	up *upstream
}

var (
	_ runtime.Prober     = (*instance)(nil)
	_ runtime.Listener   = (*instance)(nil)
	_ runtime.Discoverer = (*instance)(nil)
	_ runtime.Keeper     = (*instance)(nil)
)

func open(all *pool, o runtime.Opening, h runtime.Host) (_ runtime.Instance, err error) {
	defer fault.Wrap(&err, "stdiotool.open(%s)", o.Server)
	var s spec
	if err := json.Unmarshal(o.Spec, &s); err != nil {
		return nil, fmt.Errorf("read spec: %w", err)
	}
	var c connection
	if len(o.Connection) > 0 {
		if err := json.Unmarshal(o.Connection, &c); err != nil {
			return nil, fmt.Errorf("read connection: %w", err)
		}
	}
	if err := hosts(h, &s); err != nil {
		return nil, err
	}
	if h.Log == nil {
		h.Log = slog.New(slog.DiscardHandler)
	}
	r := recipe{
		tenant: o.Tenant, server: o.Server, revision: o.Revision, spec: s, connection: c, host: h,
		perUser: s.PerUser || o.PerUser,
	}
	all.enlist(&r)
	up := &upstream{pool: all, recipe: &r}
	return &instance{Instance: mcptool.New(s.Spec, up, h.Log), up: up}, nil
}

// hosts refuses what this worker cannot hold, rather than hold it less well.
func hosts(h runtime.Host, s *spec) error {
	move := "Ask the operator to make one of this pool's workers able to (`worker doctor` says what is missing), or move the server to a pool whose workers are."
	switch {
	case h.Sandbox == nil || h.Sandbox.Name() == "":
		return fault.New(fault.NoWorker, "Nothing was done: this server is a program that needs a sandbox, and the worker has none that holds. %s", move)
	case s.Sandbox != anySandbox && s.Sandbox != h.Sandbox.Name():
		return fault.New(fault.NoWorker, "Nothing was done: this server asks for the sandbox %s, and the worker has %s. %s", s.Sandbox, h.Sandbox.Name(), move)
	case s.State && h.StateDir == "":
		return fault.New(fault.NoWorker, "Nothing was done: this server keeps state, and the worker has no folder for it (LATCHKEY_STATE_DIR). %s", move)
	case s.installs() && h.Packages == nil:
		return fault.New(fault.NoWorker, "Nothing was done: this server is a package or a download, and the worker has no folder for those (LATCHKEY_CACHE_DIR). %s", move)
	}
	return nil
}

// CallTool says of a call whose outcome is not known why the process ended.
func (in *instance) CallTool(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	res, err := in.Instance.CallTool(ctx, c, env)
	var end *crash
	if fault.HasCode(err, fault.OutcomeUnknown) && errors.As(err, &end) {
		return nil, end.unknown(c.Name)
	}
	return res, err
}

// Discover says what the server offers, and which files its package came to
// be, so that every worker runs the same ones from then on.
func (in *instance) Discover(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	res, err := in.Instance.Discover(ctx, c, env)
	if err != nil {
		return nil, withLastWords(err)
	}
	if res.Offer == nil || in.up.recipe.spec.Package == nil {
		return res, nil
	}
	if got, ok := in.up.recipe.host.Packages.Find(in.up.recipe.spec.Package.asked()); ok {
		res.Offer.Lock = got.Lock
	}
	return res, nil
}

// Probe starts nothing. A server that keeps ending is not healthy, though
// nothing of it runs.
func (in *instance) Probe(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	if err := in.up.pool.rests(in.up.key(c.Caller.User)); err != nil {
		return nil, withLastWords(err)
	}
	defer in.up.pool.probed(in.up.key(c.Caller.User))()
	res, err := in.Instance.Probe(ctx, c, env)
	if err != nil {
		return nil, withLastWords(err)
	}
	return res, nil
}

// Listen waits for a process and listens to it: what does not run has nothing
// to say. Only who has subscribed to resources starts it.
func (in *instance) Listen(ctx context.Context, c *runtime.Call, env runtime.Env) (*runtime.Result, error) {
	var input runtime.ListenInput
	if len(c.Input) > 0 {
		if err := json.Unmarshal(c.Input, &input); err != nil {
			return nil, fault.New(fault.InvalidRequest, "What is to be listened to cannot be read.").Because(err)
		}
	}
	idle := &runtime.Result{Health: &runtime.Health{Idle: true}}
	if len(input.Resources) == 0 {
		if !in.up.pool.awaitRunning(ctx, func() key { return in.up.key(c.Caller.User) }) {
			return idle, nil
		}
		defer in.up.pool.overhear(in.up.key(c.Caller.User))()
	}
	res, err := in.Instance.Listen(context.WithValue(ctx, listeningKey{}, &listening{once: len(input.Resources) > 0}), c, env)
	if ctx.Err() == nil && in.up.Idle(c) {
		return idle, nil // it was stopped beneath the listener
	}
	return res, err
}

// listening goes with a listener: it may start a process once, and not again
// when that was stopped beneath it. It goes on with the one of a later call.
type listening struct{ once bool }

type listeningKey struct{}

// Keeps reports whether a process lives, which the worker must not end by
// closing what is not called: it ends by a time of its own.
func (in *instance) Keeps() bool {
	return in.up.pool.lives(serverKey{in.up.recipe.tenant, in.up.recipe.server})
}

// define takes the lock of the package from what was pinned, beside what
// mcptool takes.
func define(raw json.RawMessage, pinned registry.Offer) (json.RawMessage, registry.Definition, []registry.Problem) {
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		return nil, registry.Definition{}, []registry.Problem{{Path: "spec", Reason: "cannot be read", Fix: "declare the server again"}}
	}
	shared, def, problems := mcptool.Define(s.Spec, pinned)
	if len(problems) > 0 {
		return nil, registry.Definition{}, problems
	}
	s.Spec = shared
	if s.Package != nil {
		s.Package.Lock = nil
		// A pin of before the version was changed has the lock of another package.
		if p := s.Package.asked(); packages.LockOf(p, pinned.Lock) {
			s.Package.Lock = pinned.Lock
		}
	}
	return s.json(), def, nil
}

// source says where the credentials come from (runtime.Kind).
func source(normalized json.RawMessage) string {
	var c connection
	if json.Unmarshal(normalized, &c) != nil || len(c.Secrets)+len(c.Files) == 0 {
		return ""
	}
	return fmt.Sprintf("Vault keeps %s; the process gets them when it starts.", strings.Join(append(append([]string(nil), c.Secrets...), c.Files...), ", "))
}
