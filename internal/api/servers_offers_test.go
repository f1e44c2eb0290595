package api

import (
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/mcpgateway"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/upstreams"
	"latchkey/internal/upstreams/upstreamstest"
	"latchkey/internal/vault"
)

// forgetful provisions nothing.
type forgetful struct{}

func (forgetful) Provision(context.Context, tenants.ID, registry.Server, map[string]secret.Text) (string, error) {
	return "", nil
}
func (forgetful) Forget(context.Context, tenants.ID, registry.ServerID) error { return nil }

type keeps struct{ *upstreams.Keeper }

func (k keeps) Discover(ctx context.Context, t tenants.ID, id registry.ServerID, user tenants.UserID) (Discovered, error) {
	f, err := k.Keeper.Discover(ctx, t, id, user)
	return Discovered(f), err
}

func (k keeps) Try(ctx context.Context, t tenants.ID, try Trial) (TriedServer, error) {
	out, err := k.Keeper.Try(ctx, t, upstreams.Trial(try))
	return TriedServer(out), err
}

// offersWorld hosts servers of upstreamstest's kind, on a real worker. No edge
// looks after them: what happens is what the requests do.
func offersWorld(t *testing.T) (*world, *upstreamstest.Upstream, *upstreams.Keeper) {
	t.Helper()
	up := upstreamstest.New()
	var keeper *upstreams.Keeper
	w := newWorld(t, func(w *world, c *Config) {
		server, err := natsrt.StartServer(natsrt.ServerOptions{})
		check(t, err)
		conn, err := server.EdgeConn("edge")
		check(t, err)
		sys, err := server.SysConn()
		check(t, err)
		edge, err := natsrt.NewEdge(natsrt.EdgeConfig{Conn: conn, Sys: sys, Opening: func(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (runtime.Opening, error) {
			rev, err := w.db.Revision(ctx, t, r)
			if fault.HasCode(err, fault.NotFound) {
				return w.db.Trial(ctx, t, r)
			}
			if err != nil {
				return runtime.Opening{}, err
			}
			of, err := w.db.Server(ctx, t, s)
			return mcpgateway.OpeningOf(of, rev), err
		}})
		check(t, err)
		workerConn, err := natsrt.DialWorker(server.WorkerURL(), "w1", slog.New(slog.DiscardHandler))
		check(t, err)
		all := append(kinds.All(), up.Kind())
		worker := runtime.NewWorker(runtime.WorkerConfig{Name: "w1", Kinds: all, Openings: natsrt.NewOpenings(workerConn)})
		_, err = natsrt.ServeWorker(context.Background(), workerConn, "default", worker)
		check(t, err)
		check(t, workerConn.Flush())
		key, err := vault.NewKey()
		check(t, err)
		signer, err := vault.NewSigner(key)
		check(t, err)
		gateway := mcpgateway.New(mcpgateway.Config{Sites: c.Sites, Verifier: nobody{}, Registry: w.db, People: w.db, Signer: signer, Dispatch: dispatch{edge}, Audit: c.Audit, Approvals: w.db})
		t.Cleanup(func() {
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
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
		keeper = upstreams.New(upstreams.Config{
			Store: w.db, Kinds: all, Checker: up.Checker(kinds.Checker()), Opening: mcpgateway.OpeningOf, Provisioner: forgetful{},
			Reach: func(ctx context.Context, r upstreams.Reach) (*runtime.Result, error) {
				return gateway.Reach(ctx, mcpgateway.Reach(r))
			},
		})
		c.People = People{Store: w.db, EndSessions: w.db.DeleteSessionsOf}
		c.Limits = Limits{Store: w.db}
		c.Servers = Servers{
			Registry: w.db, Kinds: all, Checker: up.Checker(kinds.Checker()), Provisioner: forgetful{}, People: w.db, Usage: w.db,
			Offers: w.db, Health: w.db, Upstreams: keeps{keeper},
		}
	})
	return w, up, keeper
}

const sums = "/tenants/acme/servers/sums"

func moody(more map[string]any) map[string]any {
	body := map[string]any{"kind": upstreamstest.Name, "spec": map[string]any{}, "publish": true}
	for k, v := range more {
		body[k] = v
	}
	return body
}

// The whole way of a server over the API: saved and being discovered, published
// by itself, changed by its upstream, looked at, approved.
func TestServerThatDiscoversOverTheAPI(t *testing.T) {
	w, up, _ := offersWorld(t)
	up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := into[Server](t, w.must(200, "admin", "PUT", sums, moody(nil)))
	if s.Status != ServerStatusDraft || !deref(s.Discovering) {
		t.Fatalf("%+v", s)
	}
	listed := into[ServerPage](t, w.must(200, "admin", "GET", "/tenants/acme/servers?q=sums", nil))
	if len(listed.Data) != 1 || !deref(listed.Data[0].Discovering) || deref(listed.Data[0].Health) != ServerStateUnknown {
		t.Errorf("in the list: %+v", listed.Data)
	}
	if o := into[ServerOffer](t, w.must(200, "admin", "GET", sums+"/offer", nil)); !o.Discovers || !o.Awaited || o.Pinned != nil || o.Pending != nil {
		t.Errorf("%+v", o)
	}
	// As a file it is what it is to be, so that it comes back the same.
	if e := into[Export](t, w.must(200, "admin", "GET", "/tenants/acme/export", nil)); strings.Contains(e.File, "publish") || strings.Contains(e.File, "Adds") || !strings.Contains(e.File, "slug: sums") {
		t.Errorf("%s", e.File)
	}
	d := into[Discovery](t, w.must(200, "admin", "POST", sums+"/discovery", nil))
	if d.Seen != DiscoverySeenFirst || !d.Published || d.Offer.Tools != 1 || d.LatencyMs <= 0 {
		t.Errorf("%+v", d)
	}
	s = into[Server](t, w.must(200, "admin", "GET", sums, nil))
	if s.Status != ServerStatusPublished || s.Discovering != nil || *s.Health != ServerStateUnknown || *s.Tools != 1 {
		t.Errorf("%+v", s)
	}
	// An edit of the overrides is defined against what is pinned, not against what
	// the upstream says now.
	next := upstreamstest.Offer("add", "Adds numbers.\u200B", "sub", "Subtracts one number from another.")
	up.Offers(next)
	w.must(200, "admin", "PUT", sums, moody(map[string]any{"spec": map[string]any{"tools": map[string]any{"other": map[string]any{"description": "No matter."}}}}))
	tools := into[ToolPage](t, w.must(200, "admin", "GET", "/tenants/acme/tools?server=sums", nil))
	if len(tools.Data) != 1 || tools.Data[0].Description != "Adds two numbers." {
		t.Errorf("%+v", tools.Data)
	}

	if d := into[Discovery](t, w.must(200, "admin", "POST", sums+"/discovery", nil)); d.Seen != DiscoverySeenChanged || d.Published {
		t.Errorf("%+v", d)
	}
	o := into[ServerOffer](t, w.must(200, "admin", "GET", sums+"/offer", nil))
	if o.Pending == nil || o.Pending.Hash != next.Hash() || len(o.Pending.Changes) != 2 || !o.Pinned.First || o.Pending.Findings == nil {
		t.Fatalf("%+v", o)
	}
	if f := (*o.Pending.Changes[0].Fields)[0]; f.Field != "description" || *f.After != "Adds numbers.[U+200B]" {
		t.Errorf("%+v", f)
	}
	w.refused(fault.Conflict, "admin", "POST", sums+"/offer/approve", map[string]any{"hash": o.Pinned.Hash})
	w.refused(fault.UnsafeDescription, "admin", "POST", sums+"/offer/approve", map[string]any{"hash": next.Hash(), "allow_breaking": true})
	w.must(204, "admin", "POST", sums+"/offer/refuse", map[string]any{"hash": next.Hash()})
	w.refused(fault.Conflict, "admin", "POST", sums+"/offer/refuse", map[string]any{"hash": next.Hash()})

	good := upstreamstest.Offer("add", "Adds numbers.", "sub", "Subtracts one number from another.")
	up.Offers(good)
	w.must(200, "admin", "POST", sums+"/discovery", nil)
	rev := into[Revision](t, w.must(200, "admin", "POST", sums+"/offer/approve", map[string]any{"hash": good.Hash()}))
	if !rev.Active || len(rev.Tools) != 2 {
		t.Errorf("%+v", rev)
	}
	if o := into[ServerOffer](t, w.must(200, "admin", "GET", sums+"/offer", nil)); o.Pending != nil || o.Pinned.First || deref(o.Pinned.By) == "" {
		t.Errorf("%+v", o)
	}
	// An older revision is published over what is pinned now.
	back := into[Revision](t, w.must(200, "admin", "POST", sums+"/revisions/1/publish", nil))
	if len(back.Tools) != 2 {
		t.Errorf("%+v", back)
	}
}

func TestFileOfAServerThatDiscovers(t *testing.T) {
	w, up, _ := offersWorld(t)
	up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	file := "tenant: acme\nname: Acme\nservers:\n- {slug: sums, kind: moody, spec: {}}\nroles:\n  clerk: {scopes: {sums: ['tool:add']}}\n"
	apply := func() ApplyResult {
		t.Helper()
		return into[ApplyResult](t, w.must(200, "admin", "POST", "/tenants/acme/apply", map[string]any{"file": file}))
	}
	verbs := func(r ApplyResult) (out string) {
		for _, c := range r.Changes {
			out += string(c.Verb) + " " + c.Name + ", "
		}
		return out
	}
	if r := apply(); verbs(r) != "updated acme, created sums, created clerk, " || deref(r.Changes[1].Note) != "being discovered" {
		t.Errorf("%s %+v", verbs(r), r.Changes[1])
	}
	if r := apply(); verbs(r) != "unchanged sums, unchanged clerk, " {
		t.Errorf("a second time: %s", verbs(r))
	}
	w.must(200, "admin", "POST", sums+"/discovery", nil)
	if r := apply(); verbs(r) != "unchanged sums, unchanged clerk, " {
		t.Errorf("when it is known what it offers: %s", verbs(r))
	}
	// From now on a scope that is not there is refused.
	bad := strings.Replace(file, "tool:add", "tool:none", 1)
	if p := w.refused(fault.InvalidSpec, "admin", "POST", "/tenants/acme/apply", map[string]any{"file": bad}); len(*p.Errors) != 1 {
		t.Errorf("%+v", p)
	}
	up.Offers(upstreamstest.Offer("add", "Adds numbers."))
	w.must(200, "admin", "POST", sums+"/discovery", nil)
	if r := apply(); verbs(r) != "unchanged sums, unchanged clerk, " {
		t.Errorf("a file publishes what nobody agreed to: %s", verbs(r))
	}
}

func TestLiveCheckSavesNothing(t *testing.T) {
	w, up, _ := offersWorld(t)
	w.as("reader", tenants.ServersRead)
	w.as("editor", tenants.ServersRead, tenants.ServersWrite)
	up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	body := map[string]any{"kind": upstreamstest.Name, "spec": map[string]any{}, "connection": map[string]any{"url": "x", "token": map[string]any{"secret": "s3cret"}}}
	w.refused(fault.RoleNotAllowed, "reader", "POST", sums+"/live-check", body)
	c := into[LiveCheck](t, w.must(200, "editor", "POST", sums+"/live-check", body))
	if !c.Ok || len(c.Tools) != 1 || c.Offer.Tools != 1 || *c.LatencyMs <= 0 {
		t.Errorf("%+v", c)
	}
	up.Away(fault.New(fault.UpstreamAway, "It does not answer."))
	c = into[LiveCheck](t, w.must(200, "editor", "POST", sums+"/live-check", body))
	if c.Ok || c.Failure == nil || c.Failure.Code != "upstream_unavailable" || c.Failure.Message != "It does not answer." {
		t.Errorf("%+v", c)
	}
	up.Away(nil)
	c = into[LiveCheck](t, w.must(200, "editor", "POST", sums+"/live-check", map[string]any{"kind": upstreamstest.Name, "spec": map[string]any{"surprise": 1}}))
	if c.Ok || len(c.Problems) != 1 {
		t.Errorf("%+v", c)
	}
	if a := w.do("admin", "GET", sums, nil); a.Status != 404 {
		t.Errorf("it is saved: %s", a.Body)
	}
	// Kinds that stand on nothing are tried too.
	c = into[LiveCheck](t, w.must(200, "editor", "POST", "/tenants/acme/servers/echo/live-check", map[string]any{"kind": "echo", "spec": map[string]any{"tools": []string{"echo"}}}))
	if !c.Ok || len(c.Tools) != 1 {
		t.Errorf("%+v", c)
	}
}

func TestHealthIsShownToWhoReadsServers(t *testing.T) {
	w, up, keeper := offersWorld(t)
	up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	w.must(200, "admin", "PUT", sums, moody(nil))
	w.must(200, "admin", "POST", sums+"/discovery", nil)
	up.Away(fault.New(fault.UpstreamAway, "It does not answer."))
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); keeper.Run(ctx) }()
	defer func() { stop(); <-done }()
	id := registry.ServerID(into[Server](t, w.must(200, "admin", "GET", sums, nil)).Id)
	upstreamstest.Eventually(t, "it is unhealthy", func() bool {
		set, err := w.db.ServerHealth(t.Context(), w.acme.ID)
		return err == nil && set.Of(id).State == health.Unhealthy
	})
	tag := w.must(200, "admin", "GET", sums, nil).Header.Get("ETag")
	h := into[ServerHealth](t, w.must(200, "admin", "GET", sums+"/health", nil))
	if h.Status != ServerStateUnhealthy || h.LastFailure == nil || h.LastFailure.Message != "It does not answer." || h.NextCheckAt == nil || h.Failures < 2 {
		t.Errorf("%+v", h)
	}
	if page := into[ServerPage](t, w.must(200, "admin", "GET", "/tenants/acme/servers", nil)); *page.Data[0].Health != ServerStateUnhealthy {
		t.Errorf("%+v", page.Data[0])
	}
	// How it is is no change of what is declared.
	up.Away(nil)
	keeper.Changed()
	upstreamstest.Eventually(t, "it is healthy again", func() bool {
		return into[ServerHealth](t, w.must(200, "admin", "GET", sums+"/health", nil)).Status == ServerStateHealthy
	})
	if now := w.must(200, "admin", "GET", sums, nil).Header.Get("ETag"); now != tag {
		t.Error("its health makes another ETag")
	}
}

func TestImportOverTheAPI(t *testing.T) {
	w, _, _ := offersWorld(t)
	raw := json.RawMessage(`{"name":"io.github.example/files","description":"Files.","version":"1.0.0","packages":[{"registryType":"npm","identifier":"@example/files","version":"1.0.0","transport":{"type":"stdio"},"environmentVariables":[{"name":"TOKEN","isRequired":true,"isSecret":true}]}]}`)
	p := into[ImportProposal](t, w.must(200, "admin", "POST", "/tenants/acme/server-imports", map[string]any{"server_json": raw}))
	if p.Slug != "files" || p.Server.Kind != "stdio" || p.Complete || len(p.Missing) != 1 || !p.Missing[0].Secret || !strings.Contains(*p.ServerYaml, "env: TOKEN") {
		t.Errorf("%+v", p)
	}
	w.refused(fault.InvalidSpec, "admin", "POST", "/tenants/acme/server-imports", map[string]any{"server_json": map[string]any{"name": "x"}})
}
