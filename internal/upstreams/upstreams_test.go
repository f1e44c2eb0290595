package upstreams_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/health"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/upstreams"
	"latchkey/internal/upstreams/upstreamstest"
)

// A server that was asked to be published is, once its upstream has said what it
// offers, and nobody has to do anything for it.
func TestServerIsPublishedWhenItIsKnownWhatItOffers(t *testing.T) {
	w := newWorld(t)
	w.up.Away(fault.New(fault.UpstreamAway, "not yet"))
	s := w.put("files", `tools: {read: {description: Reads a file.}}`)
	w.keep()
	eventually(t, "it is tried", func() bool { return w.up.Asked.Load() > 0 })
	eventually(t, "why it is not published is said", func() bool { return w.health(s).Code == "upstream_unavailable" })
	if o := w.offered(s); o.Awaited.Revision == "" || o.Pinned.Hash != "" {
		t.Fatalf("%+v", o)
	}
	w.up.Offers(upstreamstest.Offer("read", "As the upstream says.", "write", "Writes a file."))
	w.up.Away(nil)
	h := w.published("files")
	if got := toolsOf(h); !reflect.DeepEqual(got, []string{"read: Reads a file.", "write: Writes a file."}) {
		t.Errorf("it offers %q", got)
	}
	if h.Revision.CreatedBy != "dana" {
		t.Errorf("published by %q", h.Revision.CreatedBy)
	}
	eventually(t, "nothing is awaited any more", func() bool { return w.offered(s).Awaited.Revision == "" })
	if o := w.offered(s); o.Pinned.By != "" || o.Problem != "" {
		t.Errorf("%+v", o)
	}
	if n := len(w.events.of(events.DefinitionChanged)); n != 0 {
		t.Errorf("%d events of what nobody changed", n)
	}
	eventually(t, "it is probed", func() bool { return w.health(s).State == health.Healthy })
}

// Poisoning: a description that changes after it was agreed to, a tool that is
// added under a name that looks like another. Nothing of it is served before
// somebody has agreed, and what misleads is not served then either.
func TestPoisonedOfferIsHeldBack(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	w.keep()
	first := w.published("sums")
	check(t, w.call("sums", "add"))

	poisoned := upstreamstest.Offer("add", "Adds two numbers.\u200B", "ADD", "Adds, too.", "аdd", "Adds with a letter of another script.")
	w.up.Offers(poisoned)
	w.soon(s)
	eventually(t, "it waits for a decision", func() bool { w.soon(s); return w.offered(s).Pending.Hash == poisoned.Hash() })
	if h := w.published("sums"); h.Revision.ID != first.Revision.ID {
		t.Fatal("what nobody agreed to is served")
	}
	if err := w.call("sums", "add"); !fault.HasCode(err, fault.DefinitionChanged) {
		t.Errorf("the changed tool ran: %v", err)
	}
	eventually(t, "somebody is told", func() bool { return len(w.events.of(events.DefinitionChanged)) == 1 })
	if e := w.events.of(events.DefinitionChanged)[0]; e.Server != "sums" || !strings.Contains(e.Detail, "changed tool add") || !strings.Contains(e.Detail, "added tool ADD") {
		t.Errorf("%+v", e)
	}

	p, err := w.editor().ReviewOffer(t.Context(), w.acme.ID, w.config.Checker, s)
	check(t, err)
	found := map[string]bool{}
	for _, f := range p.Review.Findings {
		found[f.Name+" "+f.Code] = true
	}
	for _, want := range []string{"add hidden_character", "аdd confusable_name", "add name_collision"} {
		if !found[want] {
			t.Errorf("%q is not noticed: %v", want, found)
		}
	}
	server, err := w.db.Server(t.Context(), w.acme.ID, s.ID)
	check(t, err)
	if _, _, err := w.editor().ApproveOffer(t.Context(), w.acme.ID, w.config.Checker, server, poisoned.Hash(), "dana", true); !fault.HasCode(err, fault.UnsafeDescription) {
		t.Fatalf("approved: %v", err)
	}
	if o := w.offered(s); o.Pinned.Hash == poisoned.Hash() || o.Pending.Hash == "" {
		t.Errorf("%+v", o)
	}
	check(t, w.db.RefuseOffer(t.Context(), w.acme.ID, s.ID, poisoned.Hash(), "dana", time.Now()))
	asked := w.up.Asked.Load()
	w.probed(s, 3)
	if o := w.offered(s); o.Pending.Hash != "" {
		t.Error("what was refused is asked about again")
	}
	if n := w.up.Asked.Load() - asked; n > 1 {
		t.Errorf("what was refused was fetched %d times", n)
	}
	if n := len(w.events.of(events.DefinitionChanged)); n != 1 {
		t.Errorf("%d events", n)
	}
}

func TestApprovedOfferIsServed(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers.", "sub", "Subtracts."))
	s := w.put("sums", `tools: {mul: {description: Multiplies two numbers.}}`)
	w.keep()
	w.published("sums")
	next := upstreamstest.Offer("add", "Adds numbers, two or more.", "mul", "Is described by the tenant.")
	w.up.Offers(next)
	eventually(t, "it waits", func() bool { w.soon(s); return w.offered(s).Pending.Hash != "" })
	approve := func(hash string, breaking bool) error {
		return w.db.Exclusive(t.Context(), w.acme.ID, func(ctx context.Context) error {
			server, err := w.db.Server(ctx, w.acme.ID, s.ID)
			if err == nil {
				_, _, err = w.editor().ApproveOffer(ctx, w.acme.ID, w.config.Checker, server, hash, "dana", breaking)
			}
			return err
		})
	}
	pinned := w.offered(s).Pinned.Hash
	if err := approve(pinned, true); !fault.HasCode(err, fault.Conflict) {
		t.Errorf("what does not wait was approved: %v", err)
	}
	// A tool that goes breaks who uses it, whoever took it away.
	if err := approve(next.Hash(), false); !fault.HasCode(err, fault.BreakingChange) {
		t.Fatalf("approved: %v", err)
	}
	if w.offered(s).Pinned.Hash != pinned {
		t.Fatal("what was not published is pinned")
	}
	check(t, approve(next.Hash(), true))
	if got := toolsOf(w.published("sums")); !reflect.DeepEqual(got, []string{"add: Adds numbers, two or more.", "mul: Multiplies two numbers."}) {
		t.Errorf("it offers %q", got)
	}
	check(t, w.call("sums", "add"))
	if o := w.offered(s); o.Pinned.Hash != next.Hash() || o.Pinned.By != "dana" || o.Pending.Hash != "" {
		t.Errorf("%+v", o)
	}
	if err := approve(next.Hash(), true); !fault.HasCode(err, fault.Conflict) {
		t.Errorf("approved twice: %v", err)
	}
}

// Of those who decide at the same time one is first, and what is served is what
// is pinned, whatever the upstream does meanwhile.
func TestApprovalAndRefusalAtTheSameTime(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	k := upstreams.New(w.config)
	_, err := k.Discover(t.Context(), w.acme.ID, s.ID, "")
	check(t, err)
	for round := range 6 {
		next := upstreamstest.Offer("add", fmt.Sprintf("Adds two numbers, for the %dth time.", round))
		w.up.Offers(next)
		_, err := k.Discover(t.Context(), w.acme.ID, s.ID, "")
		check(t, err)
		var wg sync.WaitGroup
		errs := make([]error, 3)
		for i := range 2 {
			wg.Go(func() {
				errs[i] = w.db.Exclusive(t.Context(), w.acme.ID, func(ctx context.Context) error {
					server, err := w.db.Server(ctx, w.acme.ID, s.ID)
					if err == nil {
						_, _, err = w.editor().ApproveOffer(ctx, w.acme.ID, w.config.Checker, server, next.Hash(), "dana", true)
					}
					return err
				})
			})
		}
		wg.Go(func() {
			errs[2] = w.db.Exclusive(t.Context(), w.acme.ID, func(ctx context.Context) error {
				return w.db.RefuseOffer(ctx, w.acme.ID, s.ID, next.Hash(), "eve", time.Now())
			})
		})
		wg.Go(func() { // and the upstream is looked at
			if _, err := k.Discover(t.Context(), w.acme.ID, s.ID, ""); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			} else if !fault.HasCode(err, fault.Conflict) {
				t.Errorf("%v", err)
			}
		}
		if won != 1 {
			t.Errorf("%d decisions were taken: %v", won, errs)
		}
		o, served := w.offered(s), toolsOf(w.published("sums"))[0]
		if pinned := string(o.Pinned.Offer.Tools[0].Definition); !strings.Contains(pinned, strings.TrimPrefix(served, "add: ")) {
			t.Errorf("served is %q, pinned %s", served, pinned)
		}
	}
}

// An offer that nobody could look at is a failure, and what is served stays.
func TestHugeOfferIsNotKept(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	k := upstreams.New(w.config)
	_, err := k.Discover(t.Context(), w.acme.ID, s.ID, "")
	check(t, err)
	var tools []string
	for i := range 6000 {
		tools = append(tools, fmt.Sprint("t", i), "One of many.")
	}
	large := upstreamstest.Offer("add", strings.Repeat("Adds. ", 60_000))
	for name, o := range map[string]registry.Offer{"many": upstreamstest.Offer(tools...), "large": large} {
		w.up.Offers(o)
		if _, err := k.Discover(t.Context(), w.acme.ID, s.ID, ""); !fault.HasCode(err, fault.UpstreamAway) && !fault.HasCode(err, fault.ResultTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if o := w.offered(s); o.Pending.Hash != "" {
		t.Error("it waits for a decision")
	}
}

// What a new server offers may be refused publication: it says why, and is
// published when its spec makes up for it.
func TestFirstOfferThatMisleadsIsNotPublished(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds.\u202E"))
	s := w.put("sums", `{}`)
	w.keep()
	eventually(t, "it says why", func() bool { return w.offered(s).Problem != "" })
	if o := w.offered(s); !strings.Contains(o.Problem, "U+202E") || o.Awaited.Revision != "" || o.Pinned.Hash == "" {
		t.Errorf("%+v", o)
	}
	eventually(t, "it is told of", func() bool { return len(w.events.of(events.DefinitionChanged)) == 1 })
	server, err := w.db.Server(t.Context(), w.acme.ID, s.ID)
	check(t, err)
	rev, discovering, err := w.editor().Define(t.Context(), w.acme.ID, server, w.spec(`tools: {add: {description: Adds two numbers.}}`), "dana")
	if err != nil || discovering {
		t.Fatal(discovering, err)
	}
	_, _, err = w.editor().Publish(t.Context(), w.acme.ID, server, rev, false)
	check(t, err)
	w.published("sums")
}

func TestUnhealthyServerLeavesAndComesBack(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	w.keep()
	w.published("sums")
	eventually(t, "it is healthy", func() bool { return w.health(s).State == health.Healthy })
	w.up.Away(fault.New(fault.UpstreamAway, "It is away."))
	w.soon(s) // a call failed
	eventually(t, "it is unhealthy", func() bool { return w.health(s).State == health.Unhealthy })
	r := w.health(s)
	if gap := r.Checked.Sub(r.Failed); r.Failures != 2 || r.Message != "It is away." || gap != 0 {
		t.Errorf("%+v", r)
	}
	if n := len(w.events.of(events.ServerUnhealthy)); n != 1 {
		t.Errorf("%d events", n)
	}
	w.up.Away(nil)
	eventually(t, "it is healthy again", func() bool { return w.health(s).State == health.Healthy })
	if r := w.health(s); r.Failures != 0 || r.Code != "upstream_unavailable" {
		t.Errorf("%+v", r)
	}
}

func TestIdleServerIsNotStartedByAProbe(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	w.keep()
	w.published("sums")
	eventually(t, "it is probed", func() bool { return w.up.Probes.Load() > 0 })
	w.up.Idle(true)
	asked := w.up.Asked.Load()
	eventually(t, "it is idle", func() bool { w.soon(s); return w.health(s).State == health.Idle })
	w.up.Offers(upstreamstest.Offer("other", "Is another."))
	w.probed(s, 2)
	if n := w.up.Asked.Load(); n != asked {
		t.Errorf("an idle server was asked %d times what it offers", n-asked)
	}
}

// Of two edges one looks after upstreams; when it ends, the other goes on.
func TestOneEdgeLooksAfterUpstreams(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	_, stopFirst := w.keep()
	s := w.put("sums", `{}`)
	w.published("sums") // by the first, which leads
	w.keep()
	if n := w.up.Asked.Load(); n != 1 {
		t.Errorf("asked %d times", n)
	}
	stopFirst()
	w.up.Offers(upstreamstest.Offer("add", "Adds numbers."))
	eventually(t, "the second goes on", func() bool { w.soon(s); return w.offered(s).Pending.Hash != "" })
}

// An upstream that hangs holds up no other.
func TestHangingUpstreamHoldsUpNoOther(t *testing.T) {
	w := newWorld(t)
	release := w.up.Hold()
	defer release()
	for i := range 3 {
		w.put(fmt.Sprint("s", i, "x"), `{}`)
	}
	w.keep()
	eventually(t, "all are asked", func() bool { return w.up.Asked.Load() >= 3 })
}

func TestTrialSavesNothing(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	k := upstreams.New(w.config)
	trial := upstreams.Trial{
		Server: registry.Server{Slug: "new", Kind: upstreamstest.Name, Title: "New", Pool: "default", Connection: json.RawMessage(`{"url":"x"}`)},
		Spec:   w.spec(`tools: {add: {description: Adds.}}`), Secrets: map[string]secret.Text{"token": "s3cret"},
	}
	out, err := k.Try(t.Context(), w.acme.ID, trial)
	check(t, err)
	if out.Offer == nil || out.Fits == nil || out.Unfit != nil || out.Latency <= 0 || out.Fits.Definition.Tools[0].Description != "Adds." {
		t.Errorf("%+v", out)
	}
	if w.vault.puts != 1 || w.vault.left() != 0 {
		t.Errorf("provisioned %d times, %d left", w.vault.puts, w.vault.left())
	}
	w.up.Away(fault.New(fault.UpstreamAway, "It is away."))
	if _, err := k.Try(t.Context(), w.acme.ID, trial); !fault.HasCode(err, fault.UpstreamAway) {
		t.Errorf("%v", err)
	}
	w.vault.fail = fault.New(fault.InvalidSpec, "Refused.")
	if _, err := k.Try(t.Context(), w.acme.ID, trial); !fault.HasCode(err, fault.InvalidSpec) {
		t.Errorf("%v", err)
	}
	if all, err := w.db.Servers(t.Context(), w.acme.ID, registry.ServerQuery{Limit: 10}); err != nil || len(all) != 0 || w.vault.left() != 0 {
		t.Errorf("%d servers, %d at Vault, %v", len(all), w.vault.left(), err)
	}
	if stale, err := w.db.StaleTrials(t.Context(), time.Now().Add(time.Hour)); err != nil || len(stale) != 0 {
		t.Errorf("%+v, %v", stale, err)
	}
}

// What an edge left that ended in the middle of a trial is collected by others.
func TestTrialOfAnEdgeThatEndedIsCollected(t *testing.T) {
	w := newWorld(t)
	w.config.Now = func() time.Time { return time.Now().Add(time.Hour) }
	k := upstreams.New(w.config)
	id := registry.ServerID("sv222222222222222222")
	_, err := w.vault.Provision(t.Context(), w.acme.ID, registry.Server{ID: id}, nil)
	check(t, err)
	rev := registry.Revision{ID: "rv222222222222222222"}
	check(t, w.db.PutTrial(t.Context(), w.acme.ID, w.config.Opening(registry.Server{ID: id, Tenant: w.acme.ID}, rev), false, time.Now()))
	check(t, k.CollectTrials(t.Context()))
	if w.vault.left() != 0 {
		t.Error("its credentials are at Vault still")
	}
	if _, err := w.db.Trial(t.Context(), w.acme.ID, rev.ID); !fault.HasCode(err, fault.NotFound) {
		t.Errorf("%v", err)
	}
}

// The person who asks lends a credential to a server that has one for each; the
// platform itself lends none.
func TestPlatformProbesInNobodysName(t *testing.T) {
	w := newWorld(t)
	w.up.Offers(upstreamstest.Offer("add", "Adds two numbers."))
	s := w.put("sums", `{}`)
	k := upstreams.New(w.config)
	for _, user := range []string{"", "us222222222222222222"} {
		_, err := k.Discover(t.Context(), w.acme.ID, s.ID, registryUser(user))
		check(t, err)
		want := user
		if want == "" {
			want = "us000000000000000000"
		}
		if got := w.up.LastFor.Load(); got != want {
			t.Errorf("asked for %v, want %s", got, want)
		}
	}
}
