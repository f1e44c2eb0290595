package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// attempt is one call of a refund as its caller saw it. The reason is its own,
// so that the ledger tells whether it was paid.
type attempt struct {
	reason, call, code string
	status             int
}

// refundStorm keeps callers refunding until stop is closed.
func refundStorm(t *testing.T, p *Platform, k Token, callers int, stop <-chan struct{}, done *atomic.Int64) func() []attempt {
	orders, err := p.Payable(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var attempts []attempt
	var all sync.WaitGroup
	for caller := range callers {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				at := attempt{reason: fmt.Sprintf("storm %d-%d", caller, n)}
				a, err := p.Call(t.Context(), p.Resource("acme", "orders"), k.Access, "issue_refund",
					map[string]any{"order_id": orders[rand.IntN(len(orders))], "amount": 0.01, "reason": at.reason})
				if err != nil {
					t.Errorf("%s: %v", at.reason, err)
					return
				}
				f, err := a.Failure()
				if err != nil {
					t.Errorf("%s: %v", at.reason, err)
					return
				}
				at.status = a.Status
				if f != nil {
					at.code, at.call = f.Code, f.CallID
				} else {
					done.Add(1)
				}
				mu.Lock()
				attempts = append(attempts, at)
				mu.Unlock()
			}
		})
	}
	return func() []attempt { all.Wait(); return attempts }
}

// The worst that can happen to money: the worker dies, again and again, while
// sixteen callers refund. Nothing may be paid twice, nobody may be told
// something that is not so, and each attempt stands on record with one outcome.
func TestWorkerKilledDuringRefundsPaysNothingTwice(t *testing.T) {
	t.Parallel()
	p := Start(t)
	// A tool whose upstream knows no key: what is unknown of it stays so. Of one
	// that takes the key see TestSixtyFourCallersOneRefund.
	const takesKey = "      idempotency: {repeatable: true}"
	file := acmeFile(t)
	if !strings.Contains(file, takesKey) {
		t.Fatal("the demo's refund does not take the key: this test changes nothing")
	}
	if got := p.Apply(t, strings.ReplaceAll(file, takesKey, "")); got.code != 0 {
		t.Fatalf("apply: %s %s", got.out, got.err)
	}
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	began := time.Now().Add(-time.Minute)
	stop := make(chan struct{})
	var done atomic.Int64
	wait := refundStorm(t, p, k, 16, stop, &done)
	t.Cleanup(func() { wait() }) // before the platform is stopped
	more := func(n int64) {
		t.Helper()
		from := done.Load()
		Eventually(t, 30*time.Second, func() error {
			if got := done.Load() - from; got < n {
				return fmt.Errorf("%d refunds went through, want %d", got, n)
			}
			return nil
		})
	}
	const kills = 2
	between := int64(100)
	if testing.Short() {
		between = 40
	}
	func() {
		defer close(stop) // also when this gives up
		for range kills {
			more(between)
			pid, err := p.Worker()
			if err != nil {
				t.Fatal(err)
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
		more(between)
	}()
	attempts := wait()

	ledger, err := p.Ledger(t.Context(), "acme")
	if err != nil {
		t.Fatal(err)
	}
	paid, calls := map[string]Refund{}, map[string]bool{}
	for _, l := range ledger {
		if _, twice := paid[l.Reason]; twice {
			t.Errorf("%s was paid twice", l.Reason)
		}
		if calls[l.CallID] {
			t.Errorf("call %s is in the ledger twice", l.CallID)
		}
		paid[l.Reason], calls[l.CallID] = l, true
	}
	records, err := p.Audit(t.Context(), began)
	if err != nil {
		t.Fatal(err)
	}
	intents, outcomes := map[string]int{}, map[string][]string{}
	for _, r := range records {
		switch {
		case r.Tool != "issue_refund":
		case r.Phase == "intent":
			intents[r.CallID]++
		default:
			outcomes[r.CallID] = append(outcomes[r.CallID], r.Outcome)
		}
	}
	for call, n := range intents {
		if n != 1 || len(outcomes[call]) > 1 {
			t.Errorf("call %s has %d intents and the outcomes %v", call, n, outcomes[call])
		}
	}
	outcome := func(call string) string {
		switch o := outcomes[call]; {
		case len(o) == 1:
			return o[0]
		case len(o) == 0 && intents[call] == 1:
			return "unknown" // an intent alone
		}
		return "nothing"
	}
	for call := range calls {
		if o := outcome(call); o != "done" && o != "unknown" {
			t.Errorf("call %s paid and is on record as %s", call, o)
		}
	}
	count := map[string]int{}
	for _, at := range attempts {
		l, isPaid := paid[at.reason]
		if at.call == "" {
			at.call = l.CallID
		}
		o := outcome(at.call)
		what := at.code
		if what == "" {
			what = "done"
		}
		count[what]++
		switch {
		case at.code == "" && (!isPaid || o != "done"):
			t.Errorf("%s was told as done; paid %v, on record %s", at.reason, isPaid, o)
		case at.code == "outcome_unknown" && o != "unknown":
			t.Errorf("%s was told as unknown and is on record as %s", at.reason, o)
		case at.code != "" && at.code != "outcome_unknown" && (isPaid || o != "failed" && o != "refused"):
			t.Errorf("%s was told as %s; paid %v, on record %s", at.reason, at.code, isPaid, o)
		}
	}
	if len(intents) != len(attempts) {
		t.Errorf("%d attempts and %d intents", len(attempts), len(intents))
	}
	if len(ledger) > count["done"]+count["outcome_unknown"] {
		t.Errorf("%d paid; told %v", len(ledger), count)
	}
	t.Logf("%d attempts, %d in the ledger, told: %v", len(attempts), len(ledger), count)
}

// A read may run again: whoever waits for it hears of it soon.
func TestWorkerKilledDuringReadIsRetriedOrClear(t *testing.T) {
	t.Parallel()
	p := Start(t)
	k := p.Token(t, "dana@acme.test", "orders", read)
	search := func(ctx context.Context) (Answer, error) {
		return p.Call(ctx, p.Resource("acme", "orders"), k.Access, "search_orders", map[string]any{"query": "", "limit": 3})
	}
	if a, err := search(t.Context()); err != nil || a.Status != http.StatusOK {
		t.Fatalf("%v %d %s", err, a.Status, a.Body)
	}
	// While somebody holds the table, the read waits in the tenant's database.
	conn, err := p.SQL(t.Context(), "demo_acme")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback(context.Background())
	if _, err := tx.Exec(t.Context(), `LOCK TABLE orders IN ACCESS EXCLUSIVE MODE`); err != nil {
		t.Fatal(err)
	}
	type result struct {
		Answer
		err error
	}
	answered := make(chan result, 1)
	go func() {
		a, err := search(t.Context())
		answered <- result{a, err}
	}()
	Eventually(t, 10*time.Second, func() error {
		n, err := query(t.Context(), p, "postgres", pgx.RowTo[int], `SELECT count(*)::int FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event_type = 'Lock'`)
		if err == nil && n[0] == 0 {
			err = errors.New("the read does not wait")
		}
		return err
	})
	pid, err := p.Worker()
	if err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	killed := time.Now()
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-answered:
		took := time.Since(killed)
		f, err := r.Failure()
		if r.err != nil || err != nil {
			t.Fatal(r.err, err)
		}
		if f != nil && (f.Category != "downstream" || f.RetryAfterS == 0) {
			t.Errorf("the caller reads %+v", f)
		}
		if took > 5*time.Second { // it takes tens of milliseconds where the machine is not busy
			t.Errorf("it took %s", took)
		}
		t.Logf("%s after the worker died: failure %v", took, f)
	case <-time.After(10 * time.Second):
		t.Fatal("no answer")
	}
	Eventually(t, 5*time.Second, func() error {
		a, err := search(t.Context())
		if err == nil {
			_, err = a.rows()
		}
		return err
	})
}

// A call that a client cancels, and one whose client is gone, do not keep a
// worker.
func TestProgressAndCancellationReachTheWorker(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			t.Parallel()
			c := &clicks{person: person(t, p, "dana@acme.test"), ticks: [][]string{{"diagnostics"}}}
			told := make(chan float64, 100)
			client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1"}, &mcp.ClientOptions{
				ProgressNotificationHandler: func(_ context.Context, r *mcp.ProgressNotificationClientRequest) {
					select {
					case told <- r.Params.Progress:
					default:
					}
				},
			})
			s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "diagnostics"), HTTPClient: c.client(), OAuthHandler: c.handler(t)},
				&mcp.ClientSessionOptions{ProtocolVersion: version})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			since := time.Now().Add(-time.Second)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			params := &mcp.CallToolParams{Name: "wait", Arguments: map[string]any{"seconds": 25}}
			params.SetProgressToken("p1")
			ended := make(chan error, 1)
			go func() {
				_, err := s.CallTool(ctx, params)
				ended <- err
			}()
			select {
			case <-told:
			case err := <-ended:
				t.Fatalf("the call ended: %v", err)
			case <-time.After(10 * time.Second):
				t.Fatal("no progress was told")
			}
			cancel()
			<-ended
			Eventually(t, 8*time.Second, func() error {
				all, err := p.Audit(t.Context(), since)
				if err != nil {
					return err
				}
				for _, r := range all {
					if r.Tool == "wait" && r.Phase == "outcome" && r.Outcome == "failed" && r.Code == "cancelled" {
						return nil
					}
				}
				return fmt.Errorf("no call was cancelled, on record is %v", all)
			})
		})
	}
}

// freeze stops a process and all below it, until the test or the returned
// function lets it go on.
func freeze(t *testing.T, pid int) (thaw func()) {
	t.Helper()
	self, ok := readProcess(pid)
	if !ok {
		t.Fatalf("no process %d", pid)
	}
	// The parent first, so that it starts no others.
	all := []process{self}
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	for _, d := range descendants(pid) {
		all = append(all, d)
		syscall.Kill(d.pid, syscall.SIGSTOP)
	}
	var once sync.Once
	thaw = func() {
		once.Do(func() {
			for _, d := range all {
				syscall.Kill(d.pid, syscall.SIGCONT)
			}
		})
	}
	t.Cleanup(thaw)
	return thaw
}

func wantRows(t *testing.T, p *Platform, tenant, token string) {
	t.Helper()
	a := p.MustCall(t, p.Resource(tenant, "orders"), token, "search_orders", map[string]any{"query": "", "limit": 3})
	if rows, err := a.rows(); err != nil || len(rows) != 3 {
		t.Errorf("%v, %d rows", err, len(rows))
	}
}

// wantBack waits until a tenant's reads and acme's refunds work again.
func wantBack(t *testing.T, p *Platform, acme, globex string) {
	t.Helper()
	began := time.Now()
	Eventually(t, 30*time.Second, func() error {
		for _, at := range []struct{ tenant, token string }{{"acme", acme}, {"globex", globex}} {
			a, err := p.Call(t.Context(), p.Resource(at.tenant, "orders"), at.token, "search_orders", map[string]any{"query": "", "limit": 3})
			if err != nil {
				return err
			}
			if _, err := a.rows(); err != nil {
				return err
			}
		}
		a, err := p.Call(t.Context(), p.Resource("acme", "orders"), acme, "issue_refund", refundOf(payable(t, p), "it is back"))
		if err != nil {
			return err
		}
		if f, err := a.Failure(); f != nil || err != nil {
			return fmt.Errorf("%v %v", f, err)
		}
		return nil
	})
	t.Logf("back after %s", time.Since(began).Round(10*time.Millisecond))
}

// wantDownstream makes a call that cannot work, and checks what its caller is
// told and when. It may run on any goroutine.
func wantDownstream(t *testing.T, p *Platform, tenant, token, tool string, arguments any, within time.Duration) {
	t.Helper()
	began := time.Now()
	a, err := p.Call(t.Context(), p.Resource(tenant, "orders"), token, tool, arguments)
	took := time.Since(began)
	if err != nil {
		t.Errorf("%s: %v", tool, err)
		return
	}
	f, err := a.Failure()
	if err != nil || f == nil {
		t.Errorf("%s: %v, %d %.300s", tool, err, a.Status, a.Body)
		return
	}
	if f.Category != "downstream" || took > within {
		t.Errorf("%s: after %s %+v", tool, took, f)
	}
	t.Logf("%s at %s: %s after %s: %s", tool, tenant, f.Code, took.Round(10*time.Millisecond), f.Message)
}

func TestStoresThatHang(t *testing.T) {
	t.Parallel()
	p := Start(t)
	acme := p.Token(t, "dana@acme.test", "orders", read, write).Access
	globex := p.Token(t, "gina@globex.test", "orders", read).Access
	wantRows(t, p, "acme", acme)

	t.Run("Vault: cached reads go on, the rest fails and comes back", func(t *testing.T) {
		pid, err := p.Vault()
		if err != nil {
			t.Fatal(err)
		}
		thaw := freeze(t, pid)
		for range 5 {
			wantRows(t, p, "acme", acme)
		}
		// Nobody at globex has called anything yet, so that no lease is there.
		wantDownstream(t, p, "globex", globex, "search_orders", map[string]any{"query": ""}, 12*time.Second)
		wantRows(t, p, "acme", acme)
		thaw()
		wantBack(t, p, acme, globex)
	})

	t.Run("audit: nothing runs that cannot be recorded", func(t *testing.T) {
		conn, err := p.SQL(t.Context(), "latchkey")
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(context.Background())
		tx, err := conn.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback(context.Background())
		if _, err := tx.Exec(t.Context(), `LOCK TABLE audit_events IN ACCESS EXCLUSIVE MODE`); err != nil {
			t.Fatal(err)
		}
		refund := refundOf(payable(t, p), "no record")
		var all sync.WaitGroup
		all.Go(func() { wantDownstream(t, p, "acme", acme, "issue_refund", refund, 12*time.Second) })
		all.Go(func() {
			// Nor is anything that was read given out.
			wantDownstream(t, p, "acme", acme, "search_orders", map[string]any{"query": ""}, 12*time.Second)
		})
		all.Wait()
		if err := tx.Rollback(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantBack(t, p, acme, globex)
		if l := p.LedgerOf(t, "acme", "no record"); len(l) != 0 {
			t.Errorf("paid without a record: %+v", l)
		}
	})

	t.Run("Postgres: calls fail closed and come back", func(t *testing.T) {
		thaw := freeze(t, p.Pids["postgres"])
		var all sync.WaitGroup
		for range 4 {
			all.Go(func() {
				wantDownstream(t, p, "acme", acme, "issue_refund", map[string]any{"order_id": 1002, "amount": 0.01, "reason": "while frozen"}, 20*time.Second)
			})
			all.Go(func() {
				wantDownstream(t, p, "acme", acme, "search_orders", map[string]any{"query": ""}, 20*time.Second)
			})
		}
		all.Wait()
		res, err := http.Get(strings.TrimSuffix(p.BaseURL, "/t/acme") + "/readyz")
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("/readyz says %s", res.Status)
		}
		thaw()
		wantBack(t, p, acme, globex)
		// Whatever was paid has its intent; what was told as not done was not.
		for _, l := range p.LedgerOf(t, "acme", "while frozen") {
			if r := p.RecordsOf(t, l.CallID); len(r) == 0 || r[0].Phase != "intent" {
				t.Errorf("paid without a record: %+v %v", l, r)
			}
		}
	})
}
