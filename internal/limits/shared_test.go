package limits

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/valkey-io/valkey-go"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
)

// edge is a place of one tenant, on an edge of its own.
func edge(t *testing.T, server *testenv.ValkeyServer, k *clock, tenant tenants.ID, l tenants.Limits, o SharedOptions) (*place, *Shared) {
	t.Helper()
	s := shared(t, server, k, o)
	h, _ := o.Events.(*heard)
	return &place{New(Config{Store: s, Settings: set(l)}), k, t, tenant, h}, s
}

func TestLimitHoldsOverTwoEdges(t *testing.T) {
	server, k, tenant := testenv.Valkey(t), &clock{}, tenants.NewID()
	l := tenants.Limits{Tenant: perMinute(1, 10), User: atOnce(6), Repeats: tenants.Repeats{Notice: 2}}
	one, _ := edge(t, server, k, tenant, l, SharedOptions{})
	two, _ := edge(t, server, k, tenant, l, SharedOptions{})
	var running []Spent
	for range 3 {
		running = append(running, one.pass(one.call()), two.pass(two.call()))
	}
	one.refused(one.call(), fault.LimitReached, User)
	two.refused(two.call(), fault.LimitReached, User)
	for _, s := range running {
		s.Release()
	}
	two.pass(two.call(arguments(`{}`)))
	if s := one.pass(one.call(arguments(`{}`))); s.Repeats != 2 {
		t.Errorf("the loop over two edges is at %d", s.Repeats)
	}
	two.pass(two.call())
	one.pass(one.call())
	one.refused(one.call(), fault.LimitReached, Tenant)
	two.refused(two.call(), fault.LimitReached, Tenant)
}

func TestConcurrencySlotOfDeadEdgeComesBack(t *testing.T) {
	server, k, tenant := testenv.Valkey(t), &clock{}, tenants.NewID()
	l := tenants.Limits{Tenant: atOnce(2)}
	dying, dead := edge(t, server, k, tenant, l, SharedOptions{})
	living, alive := edge(t, server, k, tenant, l, SharedOptions{})
	dying.pass(dying.call())
	long := living.pass(living.call())
	living.refused(living.call(), fault.LimitReached, Tenant)

	dead.stop() // it beats no more, and gives nothing back
	<-dead.done
	k.advance(placeHeld - 5*time.Second)
	living.refused(living.call(), fault.LimitReached, Tenant)
	if err := alive.reach(t.Context()); err != nil { // the beat of an edge whose call still runs
		t.Fatal(err)
	}
	k.advance(6 * time.Second)
	second := living.pass(living.call())
	living.refused(living.call(), fault.LimitReached, Tenant)
	second.Release()
	long.Release()
	for range 2 {
		living.pass(living.call())
	}
	living.refused(living.call(), fault.LimitReached, Tenant)
}

func TestPlaceThatWasGivenBackIsNotRenewed(t *testing.T) {
	server, k, tenant := testenv.Valkey(t), &clock{}, tenants.NewID()
	p, s := edge(t, server, k, tenant, tenants.Limits{Tenant: atOnce(1)}, SharedOptions{})
	for range 3 {
		spent := p.pass(p.call())
		spent.Release()
		if err := s.reach(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(s.remote.Load().held); n != 0 {
		t.Errorf("%d places are held", n)
	}
}

func TestValkeyAwayFallsBackAndRecovers(t *testing.T) {
	server, k, tenant, h := testenv.Valkey(t), &clock{}, tenants.NewID(), &heard{}
	states := make(chan State, 10)
	l := tenants.Limits{User: perMinute(1, 8), Session: atOnce(5), Repeats: tenants.Repeats{Refuse: 4}}
	p, s := edge(t, server, k, tenant, l, SharedOptions{Events: h, Changed: func(st State) { states <- st }})
	other, _ := edge(t, server, k, tenant, l, SharedOptions{})
	want := func(state State) {
		t.Helper()
		select {
		case got := <-states:
			if got != state || s.State() != state {
				t.Fatalf("it is %s and says %s, want %s", s.State(), got, state)
			}
		case <-t.Context().Done():
			t.Fatalf("it never became %s", state)
		}
	}
	want(InValkey)
	if err := s.reach(t.Context()); err != nil { // it hears of the other edge
		t.Fatal(err)
	}
	early := p.pass(p.call())
	for range 3 {
		done := other.pass(other.call())
		done.Release()
	}

	server.Stop(t)
	// Half of eight, for each of two edges: what was counted before is not known.
	var running []Spent
	for range 2 {
		running = append(running, p.pass(p.call()))
	}
	p.refused(p.call(), fault.LimitReached, Session) // half of five places
	early.Release()                                  // one of Valkey's makes no room here
	p.refused(p.call(), fault.LimitReached, Session)
	for _, r := range running {
		r.Release()
	}
	for range 2 {
		done := p.pass(p.call())
		done.Release()
	}
	p.refused(p.call(), fault.LimitReached, User)
	want(Degraded)
	if got := h.of(events.LimitsDegraded); len(got) != 1 || got[0].Tenant != tenants.Platform || got[0].Severity != events.Critical || got[0].Detail == "" {
		t.Errorf("events: %+v", got)
	}

	server.Start(t)
	want(InValkey)
	for range 8 {
		done := p.pass(p.call(by("somebody else")))
		done.Release()
	}
	p.refused(p.call(by("somebody else")), fault.LimitReached, User)

	server.Stop(t)
	p.pass(p.call(by("a third")))
	want(Degraded)
	if n := len(h.of(events.LimitsDegraded)); n != 2 {
		t.Errorf("%d events after it was away twice", n)
	}
}

// What may have been counted in Valkey is given back there beside the call, which
// is counted for this edge meanwhile.
func TestCallThatIsCountedAnewIsNotWhatIsGivenBack(t *testing.T) {
	server := testenv.Valkey(t)
	o, err := ParseURL(secret.Text(server.URL()))
	if err != nil {
		t.Fatal(err)
	}
	client, err := valkey.NewClient(o)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r := &remote{client: client, edge: "ed1", shift: (&clock{}).shift, held: map[*Request]struct{}{}, flush: make(chan struct{}, 1)}
	server.Stop(t)
	one := Request{Tenant: tenants.NewID(), CallID: "ca1", n: 1}
	one.bounds[0].Slots = 5
	if _, err := r.spend(t.Context(), &one); err == nil {
		t.Fatal("it was counted")
	}
	if len(r.freed) != 1 || r.freed[0] == &one || *r.freed[0] != one {
		t.Errorf("given back: %+v", r.freed)
	}
}

func TestEdgeStartsWithoutValkey(t *testing.T) {
	server, k := testenv.Valkey(t), &clock{}
	server.Stop(t)
	states := make(chan State, 10)
	p, s := edge(t, server, k, tenants.NewID(), tenants.Limits{User: perMinute(1, 9)}, SharedOptions{Edges: 3, Changed: func(st State) { states <- st }})
	if got := <-states; got != Degraded || s.State() != Degraded {
		t.Fatalf("it is %s and says %s", s.State(), got)
	}
	for range 3 { // its share
		p.pass(p.call())
	}
	p.refused(p.call(), fault.LimitReached, User)
	server.Start(t)
	if got := <-states; got != InValkey {
		t.Fatalf("it says %s", got)
	}
	p.pass(p.call())
}

func TestWrongPasswordIsDegradedAndSaysNoSecret(t *testing.T) {
	server, k := testenv.Valkey(t), &clock{}
	s, err := openShared(t.Context(), SharedOptions{URL: secret.Text(strings.Replace(server.URL(), "unix://:", "unix://:wrong", 1))}, k.shift)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	if s.State() != Degraded {
		t.Errorf("it is %s", s.State())
	}
	for _, url := range []string{"", "hunter2", "http://:hunter2@host", "redis://:hunter2@host:6379/nonsense", "redis://:hunter2@%zz"} {
		if _, err := OpenShared(t.Context(), SharedOptions{URL: secret.Text(url)}); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// A call takes one round trip, whatever the number of dimensions, and what was
// given back meanwhile goes along.
func TestCallTakesOneRoundTrip(t *testing.T) {
	server, k := testenv.Valkey(t), &clock{}
	l := tenants.Limits{Tenant: both(), User: both(), Session: both(), Tool: both(), FanOut: tenants.FanOut{Calls: 50}, Repeats: tenants.Repeats{Notice: 5, Refuse: 30}}
	s := shared(t, server, k, SharedOptions{})
	trips := &counting{}
	s.Close()
	s.valkey.DialCtxFn = trips.dial
	s, err := dialled(s)
	if err != nil {
		t.Fatal(err)
	}
	p := &place{New(Config{Store: s, Settings: set(l)}), k, t, tenants.NewID(), nil}
	spent := p.pass(p.call()) // the script is sent
	remote := s.remote.Load()
	t.Cleanup(remote.close)
	for range 20 {
		before := trips.writes.Load()
		remote.mu.Lock() // as if it were freed just before: no time passes in which it is flushed
		remote.freed = append(remote.freed, spent.request)
		delete(remote.held, spent.request)
		remote.mu.Unlock()
		spent = p.pass(p.call())
		if n := trips.writes.Load() - before; n != 1 {
			t.Fatalf("a call was written in %d parts", n)
		}
	}
	remote.mu.Lock()
	defer remote.mu.Unlock()
	if len(remote.freed) != 0 || len(remote.held) != 1 {
		t.Errorf("%d are to be given back and %d held", len(remote.freed), len(remote.held))
	}
}

func both() tenants.Limit {
	l := perMinute(60_000, 10_000)
	l.Concurrency = 1
	return l
}

// dialled makes an edge that does not beat, with the client of another.
func dialled(like *Shared) (*Shared, error) {
	s := &Shared{options: like.options, valkey: like.valkey, local: NewMemory(), edge: "ed-counted", shift: like.shift, lost: make(chan struct{}, 1)}
	return s, s.reach(context.Background())
}

func TestClosedEdgeNoLongerCountsAsOne(t *testing.T) {
	server, k := testenv.Valkey(t), &clock{}
	one := shared(t, server, k, SharedOptions{})
	two, err := openShared(t.Context(), SharedOptions{URL: secret.Text(server.URL())}, k.shift)
	if err != nil {
		t.Fatal(err)
	}
	if err := one.reach(t.Context()); err != nil || one.edges.Load() != 2 {
		t.Errorf("%d edges, %v", one.edges.Load(), err)
	}
	two.Close()
	if err := one.reach(t.Context()); err != nil || one.edges.Load() != 1 {
		t.Errorf("%d edges after one left, %v", one.edges.Load(), err)
	}
}

func TestCheckValkey(t *testing.T) {
	server := testenv.Valkey(t)
	version, err := CheckValkey(t.Context(), secret.Text(server.URL()))
	if err != nil || !strings.Contains(version, ".") {
		t.Errorf("%q, %v", version, err)
	}
	server.Stop(t)
	if _, err := CheckValkey(t.Context(), secret.Text(server.URL())); err == nil {
		t.Error("it answers though it was stopped")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0") // which never answers
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := CheckValkey(t.Context(), secret.Text("redis://"+l.Addr().String())); err == nil {
		t.Error("silence is taken for an answer")
	}
}

// A server that takes connections and says nothing holds a call up once.
func TestSilentValkeyHoldsOneCallUp(t *testing.T) {
	server, k := testenv.Valkey(t), &clock{}
	p, s := edge(t, server, k, tenants.NewID(), tenants.Limits{User: perMinute(6000, 1000)}, SharedOptions{})
	p.pass(p.call())
	server.Pause(t)
	began := time.Now()
	for range 200 {
		p.pass(p.call())
	}
	if took := time.Since(began); took > 10*askWithin || s.State() != Degraded {
		t.Errorf("200 calls took %s, and it is %s", took, s.State())
	}
	server.Resume(t)
}
