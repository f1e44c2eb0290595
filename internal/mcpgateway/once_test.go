package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/postgres"
	"latchkey/internal/postgres/postgrestest"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/testenv"
	"latchkey/internal/vault"
)

// shop is what edges share: a real Postgres, a real Vault, a tenant, a clock.
type shop struct {
	t      *testing.T
	db     *postgres.DB
	tenant tenants.Tenant
	ahead  atomic.Int64 // of the clock
	raised raised
}

// raised collects events.
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

func newShop(t *testing.T) *shop {
	t.Helper()
	s := &shop{t: t, db: postgrestest.New(t)}
	s.tenant, _ = postgrestest.Tenant(t, s.db, "acme")
	return s
}

func (s *shop) now() time.Time { return time.Now().Add(time.Duration(s.ahead.Load())) }

func (s *shop) pass(d time.Duration) { s.ahead.Add(int64(d)) }

var realVault struct {
	sync.Once
	client *vault.Client
	err    error
}

// envelope seals by a real Vault, as each edge does for itself.
func envelope(t testing.TB) *idempotency.Envelope {
	t.Helper()
	v := testenv.Vault(t)
	realVault.Do(func() {
		if realVault.client, realVault.err = vault.NewClient(vault.Config{Address: v.Addr(), Token: secret.Text(v.RootToken())}); realVault.err == nil {
			realVault.err = vault.Setup(context.Background(), realVault.client, vault.SetupConfig{LoginRate: 1000})
		}
	})
	if realVault.err != nil {
		t.Fatal(realVault.err)
	}
	return idempotency.NewEnvelope(vault.NewSealer(realVault.client), nil)
}

// edge is one of the shop's edges. change may set how refund is kept safe.
func (s *shop) edge(change ...func(*world, *Config)) *world {
	s.t.Helper()
	return newWorld(s.t, append([]func(*world, *Config){func(w *world, c *Config) {
		w.tenant = s.tenant
		w.hosted.Server.Tenant, w.hosted.Revision.Tenant, w.access.User.Tenant = s.tenant.ID, s.tenant.ID, s.tenant.ID
		c.Once = Once{Store: s.db, Sealer: envelope(s.t), Now: s.now}
		c.Events = &s.raised
	}}, change...)...)
}

func refundIs(i registry.Idempotency) func(*world, *Config) {
	return func(w *world, _ *Config) { w.hosted.Revision.Definition.Tools[1].Idempotency = i }
}

func withKey(key string) func(*TryCall) { return func(t *TryCall) { t.Key = key } }

func as(u tenants.UserID) func(*TryCall) { return func(t *TryCall) { t.User = u } }

func (w *world) runs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.dispatched)
}

func (w *world) key(i int) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dispatched[i].IdempotencyKey
}

// answer sets what the worker says from now on.
func (w *world) answer(f func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.run = f
}

func failing(started bool, err error) func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
	return func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Started: started}, err
	}
}

// held makes the worker hold calls until release.
func (w *world) held() (began <-chan *runtime.Call, release func()) {
	ok := w.run
	started, gate := make(chan *runtime.Call, 100), make(chan struct{})
	w.answer(func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		started <- c
		select {
		case <-gate:
			return ok(ctx, c, o)
		case <-ctx.Done():
			return DispatchOutcome{Worker: "w1", Started: true}, fault.New(fault.Cancelled, "The call was cancelled.")
		}
	})
	return started, sync.OnceFunc(func() { close(gate) })
}

// until waits for what other goroutines do.
func until(t *testing.T, what string, f func() bool) {
	t.Helper()
	untilEvery(t, time.Millisecond, what, f)
}

func untilEvery(t *testing.T, pace time.Duration, what string, f func() bool) {
	t.Helper()
	end, tick := time.After(30*time.Second), time.NewTicker(pace)
	defer tick.Stop()
	for !f() {
		select {
		case <-tick.C:
		case <-end:
			t.Fatalf("%s: it does not happen", what)
		}
	}
}

// wanted is how many callers of an edge want the outcome of the call that runs.
func (w *world) wanted() (n int) {
	fs := &w.gateway.flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.flying {
		n += f.wanted
	}
	return n
}

func isReplay(got Tried) bool { return strings.Contains(got.Text, "nothing was done again") }

func code(err error) string {
	if err == nil {
		return ""
	}
	return fault.Of(err).Code.Name
}

func TestConcurrentDuplicateWaitsForFirst(t *testing.T) {
	w := newShop(t).edge()
	began, release := w.held()
	defer release()
	type result struct {
		got Tried
		err error
	}
	const callers = 8
	results := make(chan result, callers)
	for range callers {
		go func() {
			got, err := w.try("refund", `{"id":7}`)
			results <- result{got, err}
		}()
	}
	first := (<-began).ID
	until(t, "the others wait", func() bool { return w.wanted() == callers })
	release()
	replays := 0
	for range callers {
		r := <-results
		if r.err != nil || string(r.got.Structured) != `{"n":1}` || !strings.HasPrefix(r.got.Text, "ok") {
			t.Errorf("%+v, %v", r.got, r.err)
		}
		switch {
		case r.got.CallID == first && r.got.Text != "ok":
			t.Errorf("the first one's answer: %q", r.got.Text)
		case r.got.CallID != first && (!isReplay(r.got) || !strings.Contains(r.got.Text, first) || !strings.Contains(r.got.Text, metaIdempotencyKey)):
			t.Errorf("a repeat's answer: %q", r.got.Text)
		case r.got.CallID != first:
			replays++
		}
	}
	if w.runs() != 1 || replays != callers-1 {
		t.Errorf("it ran %d times, %d were answered from it", w.runs(), replays)
	}
	outcomes := 0
	for _, e := range w.events {
		if e.Phase != audit.Outcome {
			continue
		}
		outcomes++
		if e.CallID == first && (e.Notes != nil || e.LeaseID == "") || e.CallID != first && (e.Notes[audit.NoteReplayOf] != first || e.LeaseID != "" || e.Worker != "") ||
			e.State != audit.Done || e.IdempotencyKey != w.key(0) {
			t.Errorf("%+v", e)
		}
	}
	if intents := slices.Index(w.phases(), "outcome done "); outcomes != callers || intents != 1 {
		t.Errorf("on record: %v", w.phases())
	}
}

// Over MCP, in both eras and by both ways to answer.
func TestReplaySaysWhoseAnswerItIs(t *testing.T) {
	w := newShop(t).edge()
	for era, version := range eras {
		s := w.connect(w.token(ann, "read", "write"), version)
		call := func() *mcp.CallToolResult {
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "refund", Arguments: map[string]any{"id": 1}, Meta: mcp.Meta{metaIdempotencyKey: "key of " + era}})
			if err != nil || res.IsError {
				t.Fatal(err, res)
			}
			return res
		}
		before := w.runs()
		first, again := call(), call()
		id := w.dispatched[before].ID
		if first.Meta[metaReplayOf] != nil || again.Meta[metaReplayOf] != id || len(again.Content) != 2 {
			t.Errorf("%s: %+v, then %+v; the call was %s", era, first.Meta, again.Meta, id)
		}
		if w.runs() != before+1 {
			t.Errorf("%s: it ran %d times", era, w.runs()-before)
		}
	}
	token := w.token(ann, "read", "write")
	w.call(token, "refund", `{"id":3}`)
	if _, body := w.call(token, "refund", `{"id":3}`); !strings.Contains(body, `"`+metaReplayOf+`":"`+w.dispatched[2].ID) {
		t.Error(body)
	}
	if w.runs() != 3 {
		t.Errorf("it ran %d times", w.runs())
	}
}

func TestKeyReusedWithOtherArgumentsRefused(t *testing.T) {
	s := newShop(t)
	twoTools := func(w *world, _ *Config) {
		other := w.hosted.Revision.Definition.Tools[1]
		other.Name = "void"
		w.hosted.Revision.Definition.Tools = append(w.hosted.Revision.Definition.Tools, other)
	}
	w := s.edge(twoTools)
	refused := func(when string, w *world) {
		t.Helper()
		_, err := w.try("refund", `{"id":8}`, withKey("k"))
		if f := fault.Of(err); f.Code != fault.KeyReused || !strings.Contains(f.Message, "other arguments") || f.Details[0].Pointer == "" {
			t.Errorf("%s, other arguments: %v", when, err)
		}
		_, err = w.try("void", `{"id":7}`, withKey("k"))
		if f := fault.Of(err); f.Code != fault.KeyReused || !strings.Contains(f.Message, "the tool refund") {
			t.Errorf("%s, another tool: %v", when, err)
		}
	}
	began, release := w.held()
	defer release()
	done := make(chan error, 1)
	go func() { _, err := w.try("refund", `{"id":7}`, withKey("k")); done <- err }()
	<-began
	refused("while it runs", w)
	refused("while it runs on another edge", s.edge(twoTools))
	release()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	refused("when it is done", w)
	if w.runs() != 1 {
		t.Errorf("%d ran", w.runs())
	}
	if n := len(w.events); w.events[n-1].Phase != audit.Refusal || w.events[n-1].Code != "key_reused" {
		t.Errorf("on record: %v", w.phases())
	}
	if _, err := w.try("refund", `{"id":8}`, withKey("another")); err != nil || w.runs() != 2 {
		t.Errorf("a key of its own: %v, %d ran", err, w.runs())
	}
}

func TestRepeatAfterDayRunsAgain(t *testing.T) {
	s := newShop(t)
	for name, c := range map[string]struct {
		keep time.Duration
		want time.Duration
		key  string
	}{"default, derived": {0, 24 * time.Hour, ""}, "an hour, derived": {time.Hour, time.Hour, ""}, "an hour, given": {time.Hour, time.Hour, "k"}} {
		w := s.edge(refundIs(registry.Idempotency{Keep: c.keep}))
		user := tenants.NewUserID()
		call := func() (Tried, error) { return w.try("refund", `{"id":7}`, withKey(c.key), as(user)) }
		if _, err := call(); err != nil {
			t.Fatal(name, err)
		}
		s.pass(c.want - time.Minute)
		if got, err := call(); err != nil || !isReplay(got) {
			t.Errorf("%s: within its time: %+v, %v", name, got, err)
		}
		s.pass(2 * time.Minute)
		if got, err := call(); err != nil || isReplay(got) || w.runs() != 2 {
			t.Errorf("%s: after its time: %+v, %v, %d ran", name, got, err, w.runs())
		}
		// What was derived is another call to an upstream that remembers longer.
		if same := w.key(0) == w.key(1); same != (c.key != "") {
			t.Errorf("%s: the upstream saw %s and then %s", name, w.key(0), w.key(1))
		}
	}
}

func TestUnknownOutcomeIsNotRepeated(t *testing.T) {
	s := newShop(t)
	w := s.edge()
	ok := w.run
	w.answer(failing(true, fault.New(fault.WorkerLost, "The worker was lost.")))
	first, err := w.try("refund", `{"id":7}`)
	if code(err) != "outcome_unknown" {
		t.Fatal(err)
	}
	w.answer(ok)
	for edge, at := range map[string]*world{"the same": w, "another": s.edge()} {
		_, err := at.try("refund", `{"id":7}`)
		if code(err) != "outcome_unknown" || !strings.Contains(err.Error(), first.CallID) || !strings.Contains(err.Error(), metaIdempotencyKey) {
			t.Errorf("%s edge: %v", edge, err)
		}
		last := at.events[len(at.events)-1]
		if last.State != audit.Unknown || last.Phase != audit.Outcome || last.Notes[audit.NoteReplayOf] != first.CallID {
			t.Errorf("%s edge: on record %+v", edge, last)
		}
	}
	if w.runs() != 1 {
		t.Errorf("it ran %d times", w.runs())
	}
	if all := s.raised.of(events.OutcomeUnknown); len(all) != 1 || all[0].CallID != first.CallID || all[0].Severity != events.Warning || all[0].Tool != "refund" {
		t.Errorf("raised %+v", all)
	}
	if _, err := w.try("refund", `{"id":7}`, withKey("on purpose")); err != nil || w.runs() != 2 {
		t.Errorf("on purpose: %v, %d ran", err, w.runs())
	}
}

// A tool whose upstream takes the key may run again under it, and once it is
// done does not.
func TestUnknownOutcomeOfRepeatableRunsAgainUnderItsKey(t *testing.T) {
	s := newShop(t)
	w := s.edge(refundIs(registry.Idempotency{Repeatable: true}))
	ok := w.run
	w.answer(failing(true, fault.New(fault.NoWorker, "No worker is running. Nothing was done.").After(time.Second)))
	_, err := w.try("refund", `{"id":7}`)
	if f := fault.Of(err); f.Code != fault.WorkerLost || f.RetryAfter == 0 || strings.Contains(f.Message, "Nothing was done") {
		t.Fatalf("an attempt was lost before, and the caller reads %v", err)
	}
	if last := w.events[len(w.events)-1]; last.State != audit.Unknown {
		t.Errorf("on record %+v", last)
	}
	w.answer(ok)
	if got, err := w.try("refund", `{"id":7}`); err != nil || isReplay(got) {
		t.Errorf("%+v, %v", got, err)
	}
	if got, err := w.try("refund", `{"id":7}`); err != nil || !isReplay(got) || w.runs() != 2 {
		t.Errorf("%+v, %v, %d ran", got, err, w.runs())
	}
	if w.key(0) != w.key(1) {
		t.Errorf("the upstream saw %s and then %s", w.key(0), w.key(1))
	}
	if all := s.raised.of(events.OutcomeUnknown); len(all) != 1 || all[0].Severity != events.Info {
		t.Errorf("raised %+v", all)
	}
}

func TestDeadEdgeLeavesUnknown(t *testing.T) {
	for _, repeatable := range []bool{false, true} {
		s := newShop(t)
		within := func(d time.Duration, change ...func(*world, *Config)) *world {
			return s.edge(append(change, refundIs(registry.Idempotency{Repeatable: repeatable}), func(w *world, _ *Config) { w.hosted.Revision.Definition.Tools[1].Timeout = d })...)
		}
		// The first edge dies while its call runs: nobody says how it ended.
		dying := within(time.Minute, func(_ *world, c *Config) { c.Once.Store = dies{s.db} })
		if _, err := dying.try("refund", `{"id":7}`); err != nil {
			t.Fatal(err)
		}
		first := dying.dispatched[0]
		for name, w := range map[string]*world{"it waits": within(3 * time.Second), "it looks": within(3*time.Second, func(_ *world, c *Config) { c.Once.Store = stuck{s.db} })} { // while its time ends
			_, err := w.try("refund", `{"id":7}`)
			if f := fault.Of(err); f.Code != fault.DeadlineExceeded || f.RetryAfter == 0 || !strings.Contains(f.Message, "still running") || !strings.Contains(f.Message, first.ID) {
				t.Errorf("while it may still run, and %s: %v", name, err)
			}
		}
		s.pass(time.Minute + onceGrace)
		w := within(time.Minute)
		_, err := w.try("refund", `{"id":7}`)
		switch {
		case repeatable && (err != nil || w.runs() != 1 || w.key(0) != first.IdempotencyKey):
			t.Errorf("repeatable: %v, %d ran, %+v", err, w.runs(), w.dispatched)
		case !repeatable && (code(err) != "outcome_unknown" || !strings.Contains(err.Error(), first.ID) || w.runs() != 0 || len(s.raised.of(events.OutcomeUnknown)) != 1):
			t.Errorf("%v, %d ran, raised %+v", err, w.runs(), s.raised.all)
		}
	}
}

// stuck is a store whose look at another's call takes as long as it may.
type stuck struct{ *postgres.DB }

func (stuck) CallNamed(ctx context.Context, _ tenants.ID, _ idempotency.CallName, _ time.Time) (idempotency.Call, error) {
	<-ctx.Done()
	return idempotency.Call{}, ctx.Err()
}

// dies is the store of an edge that never gets to say how a call ended.
type dies struct{ *postgres.DB }

func (dies) EndCall(context.Context, tenants.ID, idempotency.CallName, string, idempotency.End) error {
	return errors.New("dead")
}

func TestOtherUsersKeyIsAnother(t *testing.T) {
	s := newShop(t)
	w := s.edge()
	elsewhere := s.edge(func(w *world, _ *Config) { w.hosted.Server.ID = "svbbbbbbbbbbbbbbbbbb" })
	elsewhere.access.Scopes = map[tenants.Scope]bool{{Server: "svbbbbbbbbbbbbbbbbbb", Name: "write"}: true}
	for _, key := range []string{"", "k"} {
		for _, c := range []struct {
			at   *world
			user tenants.UserID
		}{{w, ann}, {w, bob}, {elsewhere, ann}} {
			if got, err := c.at.try("refund", `{"id":7}`, withKey(key), as(c.user)); err != nil || isReplay(got) {
				t.Errorf("key %q of %s: %+v, %v", key, c.user, got, err)
			}
		}
	}
	seen := map[string]bool{}
	for _, c := range append(w.dispatched, elsewhere.dispatched...) {
		if seen[c.IdempotencyKey] || !strings.HasPrefix(c.IdempotencyKey, "lk-") || len(c.IdempotencyKey) != 43 {
			t.Errorf("the upstream sees %s twice, or in another form", c.IdempotencyKey)
		}
		seen[c.IdempotencyKey] = true
	}
	if len(seen) != 6 {
		t.Errorf("%d ran", len(seen))
	}
}

// looks counts how often an edge asks whether another's call has ended.
type looks struct {
	*postgres.DB
	n *atomic.Int32
}

func (l looks) CallNamed(ctx context.Context, t tenants.ID, n idempotency.CallName, now time.Time) (idempotency.Call, error) {
	l.n.Add(1)
	return l.DB.CallNamed(ctx, t, n, now)
}

func TestTwoEdgesRunOneCall(t *testing.T) {
	s := newShop(t)
	a := s.edge()
	var looked atomic.Int32
	b := s.edge(func(_ *world, c *Config) { c.Once.Store = looks{s.db, &looked} })
	a.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{
			Content:           []mcp.Content{&mcp.TextContent{Text: "paid"}, &mcp.ImageContent{MIMEType: "image/png", Data: []byte{1, 2}}},
			StructuredContent: json.RawMessage(`{"order":9007199254740993,"amount":0.10}`), Meta: mcp.Meta{"own": "meta"}}}}, nil
	})
	began, release := a.held()
	defer release()
	ended := make(chan error, 1)
	go func() { _, err := a.try("refund", `{"id":7}`); ended <- err }()
	first := (<-began).ID
	const callers = 4
	results := make(chan Tried, callers)
	for range callers {
		go func() {
			got, err := b.try("refund", `{"id":7}`)
			if err != nil {
				t.Error(err)
			}
			results <- got
		}()
	}
	until(t, "all wait at the other edge", func() bool { return b.wanted() == callers && looked.Load() > 2 })
	release()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	for range callers {
		got := <-results
		if !strings.HasPrefix(got.Text, "paid\n(an image, image/png, 2 bytes)\n") || !strings.Contains(got.Text, first) || string(got.Structured) != `{"order":9007199254740993,"amount":0.10}` {
			t.Errorf("%+v", got)
		}
	}
	if a.runs() != 1 || b.runs() != 0 {
		t.Errorf("%d and %d ran", a.runs(), b.runs())
	}
	// Many at once on both: whichever is first, one runs.
	var all sync.WaitGroup
	for i := range 16 {
		all.Go(func() {
			if _, err := []*world{a, b}[i%2].try("refund", `{"id":8}`); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := a.runs() + b.runs(); n != 2 {
		t.Errorf("%d ran, want 2", n)
	}
}

func TestDerivedKeyIgnoresOrderOfArguments(t *testing.T) {
	w := newShop(t).edge()
	for i, c := range []struct {
		arguments string
		runs      int
	}{
		{`{"id":7,"note":"x"}`, 1}, {`{"note":"x","id":7}`, 1}, {` { "id" : 7.0 , "note":"\u0078" } `, 1},
		{`{"id":7}`, 2}, {`{"id":8,"note":"x"}`, 3}, {`{"id":7,"note":"X"}`, 4},
		{`{"id":9007199254740993}`, 5}, {`{"id":9007199254740992}`, 6},
	} {
		if got, err := w.try("refund", c.arguments); err != nil || w.runs() != c.runs {
			t.Errorf("%d: %s: %+v, %v, %d ran, want %d", i, c.arguments, got, err, w.runs(), c.runs)
		}
	}
}

func TestKeyInDeclaredArgument(t *testing.T) {
	w := newShop(t).edge(refundIs(registry.Idempotency{Argument: "note"}))
	call := func(arguments, key string) string {
		_, err := w.try("refund", arguments, withKey(key))
		return code(err)
	}
	for _, c := range []struct {
		arguments, key, code string
		runs                 int
	}{
		{`{"id":7,"note":"k1"}`, "", "", 1}, {`{"id":7,"note":"k1"}`, "", "", 1}, {`{"id":7,"note":"k2"}`, "", "", 2},
		{`{"id":8,"note":"k1"}`, "", "key_reused", 2}, {`{"id":8,"note":""}`, "", "invalid_arguments", 2},
		{`{"id":8}`, "", "", 3}, {`{"id":8}`, "", "", 3}, // none: derived
		{`{"id":9,"note":"k1"}`, "k9", "", 4}, // the one in _meta comes first
	} {
		if got := call(c.arguments, c.key); got != c.code || w.runs() != c.runs {
			t.Errorf("%s with %q: %q, %d ran; want %q, %d", c.arguments, c.key, got, w.runs(), c.code, c.runs)
		}
	}
	if in := string(w.dispatched[0].Input); in != `{"id":7,"note":"k1"}` {
		t.Errorf("the tool gets %s", in)
	}
	_, err := w.try("refund", `{"id":8,"note":"k1"}`)
	if f := fault.Of(err); f.Details[0].Pointer != "/note" {
		t.Errorf("%+v", f)
	}
	if got, err := w.try("refund", `{"id":7,"note":"k1"}`); err != nil || !strings.Contains(got.Text, "argument note") {
		t.Errorf("%+v, %v", got, err)
	}
}

// What certainly did nothing frees the key; what ran is never run again.
func TestOnlyWhatDidNothingRunsAgain(t *testing.T) {
	s := newShop(t)
	toolFailure := func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w1", Result: &runtime.Result{Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: "no money"}}}}}, nil
	}
	for name, c := range map[string]struct {
		first func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error)
		again bool
		code  string // of the repeat
	}{
		"no worker":                 {failing(false, fault.New(fault.NoWorker, "none")), true, ""},
		"all busy":                  {failing(false, fault.New(fault.Busy, "busy")), true, ""},
		"no credential":             {failing(false, fault.New(fault.CredentialsAway, "none")), true, ""},
		"upstream away":             {failing(false, fault.New(fault.UpstreamAway, "away")), true, ""},
		"the worker's word on time": {failing(false, fault.New(fault.DeadlineExceeded, "Nothing was changed.")), true, ""},
		"wrong for the worker":      {failing(false, fault.New(fault.InvalidArguments, "wrong")), true, ""},
		"a failure before dispatch": {failing(false, errors.New("inside")), true, ""},
		"a failure of the tool":     {toolFailure, false, ""},
		"too large an answer":       {failing(false, fault.New(fault.ResultTooLarge, "large")), false, "result_too_large"},
		"lost":                      {failing(true, fault.New(fault.WorkerLost, "lost")), false, "outcome_unknown"},
		"out of time":               {failing(true, fault.New(fault.DeadlineExceeded, "time")), false, "outcome_unknown"},
		"stumbled":                  {failing(true, errors.New("boom")), false, "outcome_unknown"},
		"had by a worker before":    {failing(true, fault.New(fault.Conflict, "had")), false, "outcome_unknown"},
		"the worker does not know":  {failing(false, fault.New(fault.OutcomeUnknown, "lost in commit")), false, "outcome_unknown"},
		"not recorded in the end":   {nil, false, "outcome_unknown"},
		"a panic on the way":        {func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) { panic("boom") }, false, "outcome_unknown"},
		"an answer that is no result": {func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{Result: &runtime.Result{}}, nil
		}, false, ""},
		"an intent that is not stored": {func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) { panic("it ran") }, true, ""},
	} {
		t.Run(name, func(t *testing.T) {
			w := s.edge()
			ok, user := w.run, tenants.NewUserID()
			if c.first != nil {
				w.answer(c.first)
			}
			switch name {
			case "not recorded in the end":
				w.auditErr = func(e audit.Event) error {
					if e.Phase == audit.Outcome && e.Notes == nil {
						return fault.New(fault.StoreAway, "away")
					}
					return nil
				}
			case "an intent that is not stored":
				w.auditErr = func(e audit.Event) error { return fault.New(fault.StoreAway, "away") }
			}
			func() {
				defer func() { _ = recover() }()
				if _, err := w.try("refund", `{"id":7}`, as(user)); err == nil && !strings.Contains(name, "tool") && !strings.Contains(name, "result") {
					t.Error("the first call went well")
				}
			}()
			w.mu.Lock()
			w.auditErr, w.run = nil, ok
			w.mu.Unlock()
			before := w.runs()
			got, err := w.try("refund", `{"id":7}`, as(user))
			if ran := w.runs() > before; ran != c.again || code(err) != c.code {
				t.Errorf("the repeat ran: %v, %+v, %v", ran, got, err)
			}
			if c.again && w.runs() == 2 && w.key(0) != w.key(1) {
				t.Error("the upstream sees another key")
			}
			if name == "a failure of the tool" && (!got.IsError || !strings.HasPrefix(got.Text, "no money\n") || !isReplay(got)) {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestLeaverDoesNotCancelWhatOthersWaitFor(t *testing.T) {
	w := newShop(t).edge()
	began, release := w.held()
	defer release()
	call := func(ctx context.Context) <-chan error {
		done := make(chan error, 1)
		server := w.hosted.Server
		server.Active = w.hosted.Revision.ID
		go func() {
			_, err := w.gateway.Try(ctx, TryCall{Tenant: w.tenant, Server: server, Revision: w.hosted.Revision, Tool: "refund", Arguments: json.RawMessage(`{"id":7}`), User: ann})
			done <- err
		}()
		return done
	}
	ctx, leave := context.WithCancel(t.Context())
	first := call(ctx)
	<-began
	second := call(t.Context())
	until(t, "both want it", func() bool { return w.wanted() == 2 })
	leave()
	until(t, "one wants it", func() bool { return w.wanted() == 1 })
	release()
	if err := <-second; err != nil {
		t.Errorf("who stayed: %v", err)
	}
	<-first
	if w.runs() != 1 {
		t.Errorf("%d ran", w.runs())
	}

	// Nobody stays: the worker is told.
	began, release = w.held()
	defer release()
	ctx, leave = context.WithCancel(t.Context())
	server := w.hosted.Server
	server.Active = w.hosted.Revision.ID
	done := make(chan error, 1)
	go func() {
		_, err := w.gateway.Try(ctx, TryCall{Tenant: w.tenant, Server: server, Revision: w.hosted.Revision, Tool: "refund", Arguments: json.RawMessage(`{"id":9}`), User: ann})
		done <- err
	}()
	<-began
	leave()
	if err := <-done; code(err) != "outcome_unknown" {
		t.Errorf("%v", err)
	}
}

func TestLargeAnswerIsKeptAsDone(t *testing.T) {
	s := newShop(t)
	for _, schema := range []string{"", `{"type":"object"}`} {
		w := s.edge(func(w *world, _ *Config) {
			w.hosted.Revision.Definition.Tools[1].OutputSchema = json.RawMessage(schema)
			w.hosted.Revision.Definition.Tools[1].Guard.Off = true // else it is cut before
		})
		user := tenants.NewUserID()
		w.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: strings.Repeat("x", idempotency.MaxKept)}}}}}, nil
		})
		if got, err := w.try("refund", `{"id":7}`, as(user)); err != nil || len(got.Text) != idempotency.MaxKept {
			t.Fatal(err)
		}
		got, err := w.try("refund", `{"id":7}`, as(user))
		if err != nil || got.IsError != (schema != "") || !strings.Contains(got.Text, "The call was done at") || !isReplay(got) || w.runs() != 1 {
			t.Errorf("%q: %+v, %v, %d ran", schema, got, err, w.runs())
		}
	}
}

// sealerAway is Vault out of reach, for what is named.
type sealerAway struct {
	*idempotency.Envelope
	seal, open bool
}

func (s sealerAway) Seal(ctx context.Context, t tenants.ID, place string, b []byte) ([]byte, error) {
	if s.seal {
		return nil, errors.New("away")
	}
	return s.Envelope.Seal(ctx, t, place, b)
}

func (s sealerAway) Open(ctx context.Context, t tenants.ID, place string, b []byte) ([]byte, error) {
	if s.open {
		return nil, errors.New("away")
	}
	return s.Envelope.Open(ctx, t, place, b)
}

func TestVaultAwayRunsNothingTwice(t *testing.T) {
	s := newShop(t)
	for _, away := range []sealerAway{{seal: true}, {open: true}} {
		away.Envelope = envelope(t)
		w := s.edge(func(_ *world, c *Config) { c.Once.Sealer = away })
		user := tenants.NewUserID()
		if _, err := w.try("refund", `{"id":7}`, as(user)); err != nil {
			t.Fatal(err)
		}
		got, err := w.try("refund", `{"id":7}`, as(user))
		if away.seal && (err != nil || !strings.Contains(got.Text, "not kept")) || away.open && (code(err) != "platform_store_unavailable" || fault.Of(err).RetryAfter == 0) || w.runs() != 1 {
			t.Errorf("%+v: %+v, %v, %d ran", away, got, err, w.runs())
		}
	}
}

func TestStoreOfRepeatsAwayRunsNothing(t *testing.T) {
	s := newShop(t)
	w := s.edge()
	s.db.Close()
	if _, err := w.try("refund", `{"id":7}`); err == nil || w.runs() != 0 {
		t.Errorf("%v, %d ran", err, w.runs())
	}
	if got, err := w.try("look", `{"id":7}`); err != nil || w.runs() != 1 || isReplay(got) {
		t.Errorf("a read: %v, %d ran", err, w.runs())
	}
}

func TestReadsRunEachTime(t *testing.T) {
	w := newShop(t).edge()
	for n := range 3 {
		if got, err := w.try("look", `{"id":7}`, withKey("k")); err != nil || isReplay(got) || w.runs() != n+1 {
			t.Errorf("%+v, %v, %d ran", got, err, w.runs())
		}
	}
}

// What is stored tells nothing to who reads the table.
func TestKeptAnswersAreSealed(t *testing.T) {
	urls := postgrestest.Database(t)
	s := &shop{t: t, db: postgrestest.Open(t, urls.App)}
	s.tenant, _ = postgrestest.Tenant(t, s.db, "acme")
	w := s.edge()
	w.answer(func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "canary-in-the-answer"}}}}}, nil
	})
	if _, err := w.try("refund", `{"id":7,"note":"nyrac"}`, withKey("canary-in-the-key")); err != nil {
		t.Fatal(err)
	}
	table := dump(t, urls.Superuser, "calls_once")
	for _, canary := range []string{"canary-in", "nyrac", fmt.Sprintf("%x", "canary-in")} {
		if strings.Contains(table, canary) {
			t.Errorf("%s stands in %s", canary, table)
		}
	}
	if !strings.Contains(table, w.dispatched[0].ID) {
		t.Fatalf("the row is not there: %s", table)
	}
}
