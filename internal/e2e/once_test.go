package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// repeat calls a tool under a key of the caller's own.
func (p *Platform) repeat(ctx context.Context, resource, token, tool string, arguments any, key string) (Answer, error) {
	return p.RPC(ctx, resource, token, "tools/call", map[string]any{"name": tool, "arguments": arguments, "_meta": map[string]any{
		"io.modelcontextprotocol/protocolVersion": Modern, "io.modelcontextprotocol/clientCapabilities": map[string]any{},
		"latchkey/idempotencyKey": key,
	}})
}

// An agent in a loop, sixty-four times over: each repeats the same refund, while
// the worker that has it dies twice. It is paid once, and whatever else anybody
// is told says what to do.
func TestSixtyFourCallersOneRefund(t *testing.T) {
	t.Parallel()
	p := Start(t)
	const callers = 64
	lasts := 10 * time.Second
	if testing.Short() {
		lasts = 4 * time.Second
	}
	orders, k := p.Resource("acme", "orders"), p.Token(t, "fred@acme.test", "orders", read, write)
	order, reason, key := payable(t, p), unique("sixty-four "), unique("key-")
	began := time.Now().Add(-time.Minute)

	// The refund waits for its order, so that it is under way when its worker
	// dies.
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
	if _, err := tx.Exec(t.Context(), `SELECT FROM orders WHERE id = $1 FOR UPDATE`, order); err != nil {
		t.Fatal(err)
	}

	var mu sync.Mutex
	told, refunds := map[string]int{}, map[int64]int{}
	stop := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := p.repeat(t.Context(), orders, k.Access, "issue_refund", refundOf(order, reason), key)
				if err != nil {
					t.Error(err)
					return
				}
				what, refund, err := refundAnswer(a)
				if err != nil {
					t.Error(err)
					return
				}
				mu.Lock()
				told[what]++
				if refund != 0 {
					refunds[refund]++
				}
				mu.Unlock()
			}
		})
	}
	stopped := sync.OnceFunc(func() { close(stop); all.Wait() })
	defer stopped()

	over := time.After(lasts)
	waiting := []int32{}
	for range 2 {
		pid := underWay(t, p, &waiting)
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
	}
	underWay(t, p, &waiting) // at a third worker
	if err := tx.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
	<-over
	Eventually(t, 30*time.Second, func() error {
		mu.Lock()
		defer mu.Unlock()
		if len(refunds) == 0 {
			return fmt.Errorf("nobody has the refund; told: %v", told)
		}
		return nil
	})
	stopped()

	ledger := p.LedgerOf(t, "acme", reason)
	if len(ledger) != 1 || !strings.HasPrefix(ledger[0].Key, "lk-") || len(refunds) != 1 {
		t.Fatalf("the ledger has %+v, the callers were told of the refunds %v", ledger, refunds)
	}
	if told["done"] != 1 {
		t.Errorf("%d calls did it, by their own account", told["done"])
	}
	records, err := p.Audit(t.Context(), began)
	if err != nil {
		t.Fatal(err)
	}
	var answers, replays, keys = 0, 0, map[string]bool{}
	for _, r := range records {
		if r.Tool != "issue_refund" {
			continue
		}
		keys[r.Key] = true
		if r.Phase != "intent" {
			answers++
			if strings.Contains(r.Text, "replay_of") {
				replays++
			}
		}
	}
	sum := 0
	for n := range maps.Values(told) {
		sum += n
	}
	if answers != sum || replays < told["done again"] || len(keys) != 1 || !keys[ledger[0].Key] {
		t.Errorf("%d answers and %d on record, %d of them as repeats; keys %v", sum, answers, replays, slices.Collect(maps.Keys(keys)))
	}
	t.Logf("told: %v", told)
}

// refundAnswer is what a caller was told, and the refund that it was told of.
func refundAnswer(a Answer) (what string, refund int64, err error) {
	m, err := a.Message()
	if err != nil {
		return "", 0, err
	}
	f, err := a.Failure()
	if err != nil {
		return "", 0, err
	}
	if f != nil {
		if f.Category != "rate_limit" && f.Category != "downstream" || f.RetryAfterS == 0 && f.Code != "outcome_unknown" || f.Message == "" {
			err = fmt.Errorf("a caller reads %+v", *f)
		}
		return f.Code, 0, err
	}
	var s struct {
		Row struct {
			ID int64 `json:"refund_id"`
		} `json:"row"`
	}
	if err := json.Unmarshal(m.Result.Structured, &s); err != nil || s.Row.ID == 0 {
		return "", 0, fmt.Errorf("no refund in %s: %v", a.Body, err)
	}
	if strings.Contains(a.Body, "latchkey/replayOf") {
		if n := len(m.Result.Content); n < 2 || !strings.Contains(m.Result.Content[n-1].Text, "nothing was done again") {
			return "", 0, fmt.Errorf("a repeat does not say so: %s", a.Body)
		}
		return "done again", s.Row.ID, nil
	}
	return "done", s.Row.ID, nil
}

// underWay waits until the worker that runs now has the refund, and names it.
// Connections of dead workers may wait on: each worker logs in for itself.
func underWay(t *testing.T, p *Platform, before *[]int32) (pid int) {
	t.Helper()
	Eventually(t, 20*time.Second, func() (err error) {
		if pid, err = p.Worker(); err != nil {
			return err
		}
		waiting, err := query(t.Context(), p, "postgres", pgx.RowTo[int32], `
			SELECT pid FROM pg_stat_activity WHERE datname = 'demo_acme' AND wait_event_type = 'Lock' AND NOT pid = ANY ($1)`, *before)
		if err == nil && len(waiting) == 0 {
			err = errors.New("no refund waits for its order")
		}
		*before = append(*before, waiting...)
		return err
	})
	return pid
}
