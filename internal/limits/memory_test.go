package limits

import (
	"fmt"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func TestFloodOfKeysIsBoundedAndItsMakersOwn(t *testing.T) {
	k := &clock{}
	m := newMemory(k.frozen, 100)
	l := tenants.Limits{User: perMinute(1, 1), Repeats: tenants.Repeats{Notice: 2}}
	p := &place{New(Config{Store: m, Settings: set(l)}), k, t, tenants.NewID(), nil}
	other := &place{p.Limiter, k, t, tenants.NewID(), nil}
	other.pass(other.call())
	for i := range 5000 {
		p.pass(p.call(by(tenants.UserID(fmt.Sprint("us", i)))))
	}
	for _, c := range []*counts{m.of(p.tenant), m.of(other.tenant)} {
		for _, table := range []table{c.rates, c.same} {
			n := 0
			for at := table.first; at != nil && (n == 0 || at != table.first); at = at.next {
				if n++; table.all[at.key] != at || at.next.prev != at {
					t.Fatal("the ring and the map differ")
				}
			}
			if n != len(table.all) || n > 100 {
				t.Errorf("%d counters in the ring and %d in the map, want at most 100", n, len(table.all))
			}
		}
	}
	other.refused(other.call(), fault.LimitReached, User)
}

func TestCounterOfRunningCallsIsNotDropped(t *testing.T) {
	k := &clock{}
	m := newMemory(k.frozen, 100)
	p := &place{New(Config{Store: m, Settings: set(tenants.Limits{User: atOnce(1)})}), k, t, tenants.NewID(), nil}
	running := p.pass(p.call())
	for i := range 1000 {
		s := p.pass(p.call(by(tenants.UserID(fmt.Sprint("other", i)))))
		s.Release()
		k.advance(time.Second)
	}
	p.refused(p.call(), fault.LimitReached, User)
	running.Release()
	p.pass(p.call())
}

func TestIdleCountersGo(t *testing.T) {
	k := &clock{}
	m := newMemory(k.frozen, maxKeys)
	p := &place{New(Config{Store: m, Settings: set(tenants.DefaultLimits)}), k, t, tenants.NewID(), nil}
	for i := range 3000 {
		s := p.pass(p.call(by(tenants.UserID(fmt.Sprint("us", i)))))
		s.Release()
		k.advance(time.Second)
	}
	if c := m.of(p.tenant); len(c.rates.all) > 600 || len(c.same.all) > 300 {
		t.Errorf("%d and %d counters are left of 3000 callers, of which 60 called within a minute", len(c.rates.all), len(c.same.all))
	}
}

func TestTooManyCallsAreToldInTheTenantsWords(t *testing.T) {
	const wait = 11_200 * time.Millisecond
	minute := func(message string) tenants.Limit {
		return tenants.Limit{Rate: tenants.Rate{Calls: 60, Per: time.Minute}, Concurrency: 16, Message: message}
	}
	for _, c := range []struct {
		bound bound
		why   Refused
		grant string
		want  string
	}{
		{bound{User, &tenants.Limit{Rate: tenants.Rate{Calls: 60, Per: time.Minute}}, true}, ByRate, "gr",
			"Too many calls of search_orders: 60 a minute for one person. Wait 12 s."},
		{bound{User, new(minute("Too many searches: {{limit}}. Narrow the query or wait {{seconds}} s.")), true}, ByRate, "gr",
			"Too many searches: 60 a minute for one person. Narrow the query or wait 12 s."},
		{bound{Session, new(minute("Narrow the query")), false}, ByRate, "gr",
			"Narrow the query. The limit is 60 a minute for one app of one person. Wait 12 s."},
		{bound{Session, new(minute("")), false}, BySlots, "",
			"Too many calls at once: 16 at the same time for one person. Wait until one of them has ended, or 12 s."},
		{bound{Tenant, &tenants.Limit{Rate: tenants.Rate{Calls: 5, Per: time.Hour}}, false}, ByRate, "gr",
			"Too many calls: 5 an hour for all of Acme. Wait 12 s."},
		{bound{Tool, &tenants.Limit{Rate: tenants.Rate{Calls: 5, Per: 24 * time.Hour}, Message: "Ask again later!"}, true}, ByRate, "gr",
			"Ask again later! The limit is 5 a day for everybody together. Wait 12 s."},
	} {
		f := fault.Of(c.bound.refuse(&Call{TenantName: "Acme", Name: "search_orders", Grant: c.grant}, Verdict{Refused: c.why, Wait: wait}))
		if f.Message != c.want || f.RetryAfter != wait || f.Code != fault.LimitReached {
			t.Errorf("got  %s\nwant %s", f.Message, c.want)
		}
	}
}

// everything is a call that meets each dimension, with and without own limits.
func everything(b *testing.B, s Store) (*Limiter, Call) {
	l := tenants.Limits{
		Tenant: both(), User: both(), Session: both(), Tool: both(),
		FanOut: tenants.FanOut{Calls: 1_000_000}, Repeats: tenants.Repeats{Notice: 100_000_000, Refuse: 100_000_000},
	}
	for _, each := range []*tenants.Limit{&l.Tenant, &l.User, &l.Session, &l.Tool} {
		each.Rate, each.Burst, each.Concurrency = tenants.Rate{Calls: 1_000_000, Per: time.Second}, 1_000_000, 1000
	}
	p := &place{tenant: tenants.NewID()}
	c := p.call(arguments(`{"status":"open","customer":"Ada","limit":20}`), limited(registry.ToolLimits{}))
	b.ReportAllocs()
	return New(Config{Store: s, Settings: set(l)}), c
}

func BenchmarkMemory(b *testing.B) {
	l, c := everything(b, NewMemory())
	for b.Loop() {
		s, err := l.Spend(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}

// BenchmarkMemoryWithoutRepeats leaves the canonical form of the arguments out.
func BenchmarkMemoryWithoutRepeats(b *testing.B) {
	l, c := everything(b, NewMemory())
	own := tenants.Limits(l.Settings.(set))
	own.Repeats = tenants.Repeats{}
	l.Settings = set(own)
	for b.Loop() {
		s, err := l.Spend(b.Context(), c)
		if err != nil {
			b.Fatal(err)
		}
		s.Release()
	}
}
