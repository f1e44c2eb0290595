package upstreams_test

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/upstreams"
	"latchkey/internal/upstreams/upstreamstest"
	"latchkey/internal/vault"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func eventually(t testing.TB, what string, done func() bool) {
	t.Helper()
	upstreamstest.Eventually(t, what, done)
}

// vaultOf remembers what was provisioned.
type vaultOf struct {
	mu   sync.Mutex
	have map[registry.ServerID]map[string]secret.Text
	fail error
	puts int
}

func (v *vaultOf) Provision(_ context.Context, _ tenants.ID, s registry.Server, secrets map[string]secret.Text) (string, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.fail != nil {
		return "", v.fail
	}
	v.have[s.ID] = secrets
	v.puts++
	return "v1", nil
}

func (v *vaultOf) Forget(_ context.Context, _ tenants.ID, id registry.ServerID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.have, id)
	return nil
}

func (v *vaultOf) left() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.have)
}

// raised keeps events.
type raised struct {
	mu  sync.Mutex
	all []events.Event
}

func (r *raised) Raise(_ context.Context, e events.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.all = append(r.all, e)
}

func (r *raised) of(k events.Kind) (out []events.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, e := range r.all {
		if e.Kind == k {
			out = append(out, e)
		}
	}
	return out
}

// nobody verifies no token: nobody calls here from outside.
type nobody struct{ mcpgateway.Config }

func (nobody) Hosted(context.Context, tenants.ID, string) (registry.Hosted, error) {
	return registry.Hosted{}, fault.New(fault.NotFound, "none")
}

type dispatch struct{ edge *natsrt.Edge }

func (d dispatch) Dispatch(ctx context.Context, c *runtime.Call, o mcpgateway.DispatchOptions) (mcpgateway.DispatchOutcome, error) {
	out, err := d.edge.Do(ctx, c, natsrt.DoOptions{Pool: o.Pool, Retryable: o.Repeatable})
	return mcpgateway.DispatchOutcome{Result: out.Result, Worker: out.Worker}, err
}

type noAudit struct{}

func (noAudit) Add(context.Context, audit.Event) error { return nil }

// world is a store, a worker that runs the kind of upstreamstest, and a way to
// make keepers: one for each edge.
type world struct {
	*testing.T
	db     *postgres.DB
	cached *postgres.Cached
	up     *upstreamstest.Upstream
	vault  *vaultOf
	events *raised
	acme   tenants.Tenant
	config upstreams.Config
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{T: t, db: postgrestest.New(t), up: upstreamstest.New(), vault: &vaultOf{have: map[registry.ServerID]map[string]secret.Text{}}, events: &raised{}}
	w.acme, _ = postgrestest.Tenant(t, w.db, "acme")
	w.cached = postgres.NewCached(w.db)
	server, err := natsrt.StartServer(natsrt.ServerOptions{})
	check(t, err)
	conn, err := server.EdgeConn("edge")
	check(t, err)
	sys, err := server.SysConn()
	check(t, err)
	edge, err := natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Sys: sys, Opening: w.opening})
	check(t, err)
	workerConn, err := natsrt.DialWorker(server.WorkerURL(), "w1", slog.New(slog.DiscardHandler))
	check(t, err)
	worker := runtime.NewWorker(runtime.WorkerConfig{Name: "w1", Kinds: []runtime.Kind{w.up.Kind()}, Openings: natsrt.NewOpenings(workerConn)})
	_, err = natsrt.ServeWorker(context.Background(), workerConn, "default", worker)
	check(t, err)
	check(t, workerConn.Flush())
	key, err := vault.NewKey()
	check(t, err)
	signer, err := vault.NewSigner(key)
	check(t, err)
	sites, err := site.Parse("http://127.0.0.1:8080/t/{tenant}")
	check(t, err)
	gateway := mcpgateway.New(mcpgateway.Config{Sites: sites, Registry: nobody{}, People: w.db, Signer: signer, Dispatch: dispatch{edge}, Audit: noAudit{}, Approvals: w.db})
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		edge.Close()
		if err := worker.Close(ctx); err != nil {
			t.Error(err)
		}
		conn.Close()
		sys.Close()
		workerConn.Close()
		server.Close()
	})
	w.config = upstreams.Config{
		Store: w.db, Kinds: []runtime.Kind{w.up.Kind()}, Checker: w.up.Checker(nil), Opening: mcpgateway.OpeningOf, Provisioner: w.vault, Events: w.events,
		Reach: func(ctx context.Context, r upstreams.Reach) (*runtime.Result, error) {
			return gateway.Reach(ctx, mcpgateway.Reach(r))
		},
	}
	return w
}

// opening is what the platform answers a worker.
func (w *world) opening(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
	rev, err := w.db.Revision(ctx, t, r)
	if fault.HasCode(err, fault.NotFound) {
		return w.db.Trial(ctx, t, r)
	}
	if err != nil {
		return runtime.Opening{}, err
	}
	of, err := w.db.Server(ctx, t, s)
	return mcpgateway.OpeningOf(of, rev), err
}

// keep starts an edge's keeper, which hears what changes as an edge does.
func (w *world) keep() (k *upstreams.Keeper, stop func()) {
	w.Helper()
	k = upstreams.New(w.config)
	cached := postgres.NewCached(w.db)
	cached.OnChange = func(c postgres.Change) {
		switch c.Topic {
		case "server", "offer", "tenant", postgres.Reconnected:
			k.Changed()
		case "probe":
			k.Hint(tenants.ID(c.Tenant), registry.ServerID(c.ID))
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { cached.Run(ctx) })
	wg.Go(func() { w.db.Lead(ctx, "upstreams", k.Run) })
	stop = sync.OnceFunc(func() { cancel(); wg.Wait() })
	w.Cleanup(stop)
	return k, stop
}

func (w *world) spec(text string) registry.Spec {
	w.Helper()
	n, problems := registry.ReadYAML(text)
	var s registry.Spec
	if len(problems) == 0 {
		s, problems = registry.CheckSpec(w.config.Checker, upstreamstest.Name, n)
	}
	if len(problems) > 0 {
		w.Fatal(&registry.Problems{List: problems})
	}
	return s
}

// put makes a server that is to be published.
func (w *world) put(slug, spec string) registry.Server {
	w.Helper()
	ctx := w.Context()
	s, err := w.db.PutServer(ctx, w.acme.ID, registry.Server{Slug: slug, Kind: upstreamstest.Name, Title: slug})
	check(w.T, err)
	e := w.editor()
	rev, discovering, err := e.Define(ctx, w.acme.ID, s, w.spec(spec), "dana")
	check(w.T, err)
	if !discovering {
		w.Fatal("it is known already what a new server offers")
	}
	_, err = e.Await(ctx, w.acme.ID, rev, registry.Awaited{By: "dana"}, true)
	check(w.T, err)
	return s
}

func (w *world) editor() *registry.Editor {
	return &registry.Editor{Registry: w.db, Provisioner: w.vault, Offers: w.db}
}

// published waits until the server is served, and gives its tools.
func (w *world) published(slug string) registry.Hosted {
	w.Helper()
	var h registry.Hosted
	eventually(w, slug+" is published", func() bool {
		var err error
		h, err = w.db.Hosted(w.Context(), w.acme.ID, slug)
		return err == nil
	})
	return h
}

func toolsOf(h registry.Hosted) (names []string) {
	for _, t := range h.Revision.Definition.Tools {
		names = append(names, t.Name+": "+t.Description)
	}
	slices.Sort(names)
	return names
}

func (w *world) offered(s registry.Server) registry.Offered {
	w.Helper()
	o, err := w.db.Offered(w.Context(), w.acme.ID, s.ID)
	check(w.T, err)
	return o
}

func (w *world) health(s registry.Server) health.Record {
	w.Helper()
	set, err := w.db.ServerHealth(w.Context(), w.acme.ID)
	check(w.T, err)
	return set.Of(s.ID)
}

// soon makes the next probe come at once, as a call that failed does.
func (w *world) soon(s registry.Server) { check(w.T, w.db.HintProbe(w.Context(), w.acme.ID, s.ID)) }

// probed waits for more probes.
func (w *world) probed(s registry.Server, more int64) {
	w.Helper()
	before := w.up.Probes.Load()
	eventually(w, "it is probed again", func() bool {
		w.soon(s)
		return w.up.Probes.Load() >= before+more
	})
}

// call calls a tool as the edge would, of what is served now.
func (w *world) call(slug, tool string) error {
	w.Helper()
	h, err := w.db.Hosted(w.Context(), w.acme.ID, slug)
	check(w.T, err)
	in, err := w.up.Kind().Open(w.Context(), mcpgateway.OpeningOf(h.Server, h.Revision), runtime.Host{})
	check(w.T, err)
	_, err = in.CallTool(w.Context(), &runtime.Call{Op: runtime.CallTool, Name: tool, Input: json.RawMessage(`{}`)}, runtime.Env{})
	return err
}

func registryUser(id string) tenants.UserID { return tenants.UserID(id) }
