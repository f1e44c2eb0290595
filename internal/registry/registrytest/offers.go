package registrytest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// OffersFixture is a store of offers beside the servers that they are of.
type OffersFixture struct {
	Store     registry.Offers
	Registry  registry.Store
	AddTenant func(t *testing.T) tenants.ID
}

// RunOffers is the contract of registry.Offers.
func RunOffers(t *testing.T, open func(t *testing.T) OffersFixture) {
	f := open(t)
	for name, test := range map[string]func(*offering){
		"FirstIsPinnedByItself":         (*offering).first,
		"LaterOnesWait":                 (*offering).later,
		"UpstreamThatWentBack":          (*offering).back,
		"RefusedIsNotAskedAboutAgain":   (*offering).refused,
		"DecisionAboutAnotherIsRefused": (*offering).stale,
		"PinnedThoughItIsGone":          (*offering).pinnedGone,
		"Awaited":                       (*offering).awaited,
		"SameServerTwoTenants":          (*offering).apart,
		"SeenByManyAtOnce":              (*offering).concurrent,
		"FlippingUpstreamFillsNothing":  (*offering).flips,
		"UnknownIsNotFound":             (*offering).unknown,
	} {
		t.Run(name, func(t *testing.T) {
			o := &offering{T: t, OffersFixture: f, a: f.AddTenant(t), b: f.AddTenant(t)}
			s, err := f.Registry.PutServer(t.Context(), o.a, registry.Server{Slug: "orders", Kind: "remote", Title: "T"})
			o.must(err)
			o.server = s.ID
			test(o)
		})
	}
}

type offering struct {
	*testing.T
	OffersFixture
	a, b   tenants.ID
	server registry.ServerID
}

var noon = time.Date(2026, 5, 4, 12, 0, 0, 0, time.UTC)

func (o *offering) must(err error) {
	o.Helper()
	if err != nil {
		o.Fatal(err)
	}
}

// offers is one whose only tool is described in these words.
func offers(description string) registry.Offer {
	def, err := json.Marshal(map[string]any{"name": "say", "description": description, "inputSchema": map[string]any{"type": "object"}})
	if err != nil {
		panic(err)
	}
	of := registry.Offer{Protocol: "2026-07-28", Name: "up", Version: "1", Instructions: "Be kind.", Tools: []registry.OfferedTool{{Name: "say", Definition: def}}}
	of.Seal()
	return of
}

func hash(of registry.Offer) string { return of.Hash() }

func (o *offering) see(description string, minute int, want registry.Seen) {
	o.Helper()
	seen, err := o.Store.SeeOffer(o.Context(), o.a, o.server, offers(description), noon.Add(time.Duration(minute)*time.Minute))
	if err != nil || seen != want {
		o.Fatalf("%s was %q, %v; want %q", description, seen, err, want)
	}
}

func (o *offering) now() registry.Offered {
	o.Helper()
	known, err := o.Store.Offered(o.Context(), o.a, o.server)
	o.must(err)
	all, err := o.Store.AllOffered(o.Context(), o.a)
	o.must(err)
	if one, listed := all[o.server]; listed && !reflect.DeepEqual(one, known) {
		o.Errorf("alone %+v\nin the list %+v", known, one)
	}
	return known
}

func (o *offering) holds(pinned, pending string) registry.Offered {
	o.Helper()
	known, want := o.now(), [2]string{}
	if pinned != "" {
		want[0] = hash(offers(pinned))
	}
	if pending != "" {
		want[1] = hash(offers(pending))
	}
	if got := [2]string{known.Pinned.Hash, known.Pending.Hash}; got != want {
		o.Fatalf("pinned and pending are %q, want %q", got, want)
	}
	return known
}

func (o *offering) first() {
	if known := o.now(); known.Pinned.Hash != "" || known.PinnedOrNil() != nil || known.Tenant != o.a || known.Server != o.server {
		o.Errorf("of a new server %+v is known", known)
	}
	o.see("one", 0, registry.SeenFirst)
	known := o.holds("one", "")
	if known.Pinned.By != "" || !known.Pinned.At.Equal(noon) || !reflect.DeepEqual(known.Pinned.Offer, offers("one")) {
		o.Errorf("pinned %+v", known.Pinned)
	}
	o.see("one", 1, registry.SeenSame)
	o.holds("one", "")
}

func (o *offering) later() {
	o.see("one", 0, registry.SeenFirst)
	o.see("two", 1, registry.SeenChanged)
	o.see("two", 2, registry.SeenPending)
	known := o.holds("one", "two")
	if p := known.Pending; !p.Since.Equal(noon.Add(time.Minute)) || !p.Seen.Equal(noon.Add(2*time.Minute)) || !reflect.DeepEqual(p.Offer, offers("two")) {
		o.Errorf("pending %+v", p)
	}
	o.see("three", 3, registry.SeenChanged)
	if known := o.holds("one", "three"); !known.Pending.Since.Equal(noon.Add(3 * time.Minute)) {
		o.Errorf("since %s", known.Pending.Since)
	}
	o.must(o.Store.PinOffer(o.Context(), o.a, o.server, offers("three"), "dana", noon.Add(4*time.Minute)))
	if known := o.holds("three", ""); known.Pinned.By != "dana" || !known.Pinned.At.Equal(noon.Add(4*time.Minute)) {
		o.Errorf("pinned %+v", known.Pinned)
	}
	o.see("one", 5, registry.SeenChanged) // it was agreed to once, and is not now
}

func (o *offering) back() {
	o.see("one", 0, registry.SeenFirst)
	o.see("two", 1, registry.SeenChanged)
	o.see("one", 2, registry.SeenSame)
	o.holds("one", "")
	o.see("two", 3, registry.SeenChanged) // and is told of again
}

func (o *offering) refused() {
	o.see("one", 0, registry.SeenFirst)
	o.see("two", 1, registry.SeenChanged)
	o.must(o.Store.RefuseOffer(o.Context(), o.a, o.server, hash(offers("two")), "dana", noon))
	o.holds("one", "")
	o.see("two", 2, registry.SeenRefused)
	o.holds("one", "")
	o.see("three", 3, registry.SeenChanged)
	o.see("two", 4, registry.SeenRefused) // what waited is gone with it
	o.holds("one", "")
	o.must(o.Store.PinOffer(o.Context(), o.a, o.server, offers("two"), "dana", noon)) // who refused may think again
	o.holds("two", "")
	o.see("one", 5, registry.SeenChanged)
	o.see("two", 6, registry.SeenSame)
}

func (o *offering) stale() {
	o.see("one", 0, registry.SeenFirst)
	for _, pending := range []string{"", "two"} {
		if pending != "" {
			o.see(pending, 1, registry.SeenChanged)
		}
		for _, other := range []string{"one", "three"} {
			if err := o.Store.RefuseOffer(o.Context(), o.a, o.server, hash(offers(other)), "dana", noon); !fault.HasCode(err, fault.Conflict) {
				o.Errorf("%s was refused while %q waits: %v", other, pending, err)
			}
		}
		o.holds("one", pending)
	}
}

// The upstream changed again while somebody approved: what they looked at is
// pinned, and what is there now waits.
func (o *offering) pinnedGone() {
	o.see("one", 0, registry.SeenFirst)
	o.see("two", 1, registry.SeenChanged)
	o.see("three", 2, registry.SeenChanged)
	o.must(o.Store.PinOffer(o.Context(), o.a, o.server, offers("two"), "dana", noon))
	if known := o.holds("two", "three"); !reflect.DeepEqual(known.Pinned.Offer, offers("two")) {
		o.Errorf("pinned %+v", known.Pinned)
	}
}

func (o *offering) awaited() {
	s, err := o.Registry.Server(o.Context(), o.a, o.server)
	o.must(err)
	rev, err := registry.NewRevision(s, json.RawMessage(`{}`), registry.Definition{}, "dana")
	o.must(err)
	rev, _, err = o.Registry.Stage(o.Context(), o.a, rev)
	o.must(err)
	want := registry.Awaited{Revision: rev.ID, By: "dana", AllowBreaking: true}
	o.must(o.Store.AwaitOffer(o.Context(), o.a, o.server, want))
	if known := o.now(); known.Awaited != want {
		o.Errorf("awaited %+v", known.Awaited)
	}
	o.see("one", 0, registry.SeenFirst)
	if known := o.holds("one", ""); known.Awaited != want {
		o.Errorf("awaited %+v", known.Awaited)
	}
	o.must(o.Store.EndAwait(o.Context(), o.a, o.server, "rv222222222222222222", "another")) // somebody put something else in its place
	if known := o.now(); known.Awaited != want || known.Problem != "" {
		o.Errorf("awaited %+v, %q", known.Awaited, known.Problem)
	}
	o.must(o.Store.EndAwait(o.Context(), o.a, o.server, rev.ID, "it misleads"))
	if known := o.now(); known.Awaited != (registry.Awaited{}) || known.Problem != "it misleads" {
		o.Errorf("awaited %+v, %q", known.Awaited, known.Problem)
	}
	o.must(o.Store.AwaitOffer(o.Context(), o.a, o.server, registry.Awaited{}))
	if known := o.now(); known.Problem != "" {
		o.Errorf("the problem of before is %q", known.Problem)
	}
	if err := o.Store.AwaitOffer(o.Context(), o.a, o.server, registry.Awaited{Revision: "rv222222222222222222"}); !fault.HasCode(err, fault.NotFound) {
		o.Errorf("a revision that is none: %v", err)
	}
}

func (o *offering) apart() {
	o.see("one", 0, registry.SeenFirst)
	o.see("two", 1, registry.SeenChanged)
	twin, err := o.Registry.PutServer(o.Context(), o.b, registry.Server{ID: o.server, Slug: "orders", Kind: "remote", Title: "T"})
	o.must(err)
	known, err := o.Store.Offered(o.Context(), o.b, twin.ID)
	if err != nil || known.Pinned.Hash != "" || known.Pending.Hash != "" {
		o.Errorf("%+v, %v", known, err)
	}
	if err := o.Store.RefuseOffer(o.Context(), o.b, twin.ID, hash(offers("two")), "eve", noon); !fault.HasCode(err, fault.Conflict) {
		o.Errorf("another tenant's offer was refused: %v", err)
	}
	seen, err := o.Store.SeeOffer(o.Context(), o.b, twin.ID, offers("two"), noon)
	if err != nil || seen != registry.SeenFirst {
		o.Errorf("%s, %v", seen, err)
	}
	o.holds("one", "two")
}

func (o *offering) concurrent() {
	var wg sync.WaitGroup
	seen := make([]registry.Seen, 16)
	for i := range seen {
		wg.Go(func() {
			var err error
			if seen[i], err = o.Store.SeeOffer(o.Context(), o.a, o.server, offers(fmt.Sprint("v", i%2)), noon); err != nil {
				o.Error(err)
			}
		})
	}
	wg.Wait()
	n := map[registry.Seen]int{}
	for _, s := range seen {
		n[s]++
	}
	if n[registry.SeenFirst] != 1 {
		o.Errorf("%d were the first", n[registry.SeenFirst])
	}
}

func (o *offering) flips() {
	o.see("one", 0, registry.SeenFirst)
	for i := range 20 {
		o.see(fmt.Sprint("turn ", i), i+1, registry.SeenChanged)
	}
	o.holds("one", "turn 19")
}

func (o *offering) unknown() {
	const nobody = registry.ServerID("sv222222222222222222")
	ctx, offer := o.Context(), offers("one")
	for what, err := range map[string]error{
		"offered": func() error { _, err := o.Store.Offered(ctx, o.a, nobody); return err }(),
		"see":     func() error { _, err := o.Store.SeeOffer(ctx, o.a, nobody, offer, noon); return err }(),
		"pin":     o.Store.PinOffer(ctx, o.a, nobody, offer, "x", noon),
		"refuse":  o.Store.RefuseOffer(ctx, o.a, nobody, hash(offer), "x", noon),
		"await":   o.Store.AwaitOffer(ctx, o.a, nobody, registry.Awaited{}),
		"end":     o.Store.EndAwait(ctx, o.a, nobody, "rv222222222222222222", ""),
	} {
		if !fault.HasCode(err, fault.NotFound) {
			o.Errorf("%s: %v", what, err)
		}
	}
}
