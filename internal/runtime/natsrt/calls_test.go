package natsrt_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/tenants"
)

func TestCallReachesWorkerAndBack(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	for _, retryable := range []bool{true, false} {
		out, err := r.do(call("echo", `{"a":1}`, 5*time.Second), natsrt.DoOptions{Retryable: retryable})
		if err != nil {
			t.Fatal(err)
		}
		if got := textOf(t, out); got != `{"a":1}` || out.Worker != "w1" || out.Result.Worker != "w1" || out.Attempts != 1 || !out.Answered {
			t.Errorf("got %q from %+v", got, out)
		}
	}
}

func TestProgressArrivesInOrder(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	var got []float64
	_, err := r.do(call("progress", `{}`, 5*time.Second), natsrt.DoOptions{Progress: func(done, total float64, message string) {
		got = append(got, done)
		if total != 3 || message != "step" {
			t.Errorf("progress of %g: %q", total, message)
		}
	}})
	if err != nil || len(got) != 3 || got[0] != 0 || got[2] != 2 {
		t.Errorf("progress %v, %v", got, err)
	}
}

func TestLargeResultComesInChunks(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	for _, n := range []int{256 << 10, 256<<10 + 1, 5 << 20, 10<<20 - 200} {
		raw, _ := json.Marshal(n)
		out, err := r.do(call("big", string(raw), 20*time.Second), natsrt.DoOptions{Retryable: true})
		if err != nil {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if got := textOf(t, out); got != strings.Repeat("x", n) {
			t.Errorf("%d bytes came as %d others", n, len(got))
		}
	}
}

func TestOversizedResultRefused(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	out, err := r.do(call("big", "11000000", 20*time.Second), natsrt.DoOptions{})
	f := wantCode(t, err, fault.ResultTooLarge)
	if !strings.Contains(f.Message, "Ask for less") || !out.Answered {
		t.Errorf("%q, %+v", f.Message, out)
	}
}

func TestErrorCarriesNoCause(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	_, err := r.do(call("fault", `{}`, 5*time.Second), natsrt.DoOptions{})
	f := wantCode(t, err, fault.UpstreamAway)
	if f.Message != "The database is away." || f.RetryAfter != 3*time.Second || len(f.Details) != 1 || f.Details[0].Pointer != "/a" {
		t.Errorf("the error lost something: %+v", f)
	}
	_, unknown := r.do(call("leak", `{}`, 5*time.Second), natsrt.DoOptions{})
	wantCode(t, unknown, fault.Unexpected)
	for _, e := range []error{err, unknown} {
		if text := e.Error(); strings.Contains(text, "10.1.2.3") || strings.Contains(text, "hunter2") {
			t.Errorf("the cause left the worker: %s", text)
		}
	}
}

func TestPanicInKindKeepsWorkerAlive(t *testing.T) {
	r := newRig(t)
	r.local("w1", 4)
	c := call("panic", `{}`, 5*time.Second)
	_, err := r.do(c, natsrt.DoOptions{})
	if f := wantCode(t, err, fault.Unexpected); !strings.Contains(f.Message, c.ID) || strings.Contains(f.Message, "secret") {
		t.Errorf("message is %q", f.Message)
	}
	if _, err := r.do(call("echo", `{}`, 5*time.Second), natsrt.DoOptions{}); err != nil {
		t.Errorf("after the panic: %v", err)
	}
}

func TestCancelReachesWorker(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	for _, retryable := range []bool{true, false} {
		ctx, cancel := context.WithCancel(context.Background())
		c := call("hang", `{}`, 20*time.Second)
		ended := make(chan error, 1)
		go func() {
			_, err := r.edge.Do(ctx, c, natsrt.DoOptions{Pool: "default", Retryable: retryable})
			ended <- err
		}()
		await(t, said, "begin "+c.ID)
		cancel()
		wantCode(t, <-ended, fault.Cancelled)
		await(t, said, "cancelled "+c.ID)
	}
}

func TestDeadlineEndsCallOnBothSides(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	c := call("hang", `{}`, time.Second)
	start := time.Now()
	out, err := r.do(c, natsrt.DoOptions{})
	wantCode(t, err, fault.DeadlineExceeded)
	if took := time.Since(start); took > 5*time.Second || !out.Started {
		t.Errorf("after %v: %+v", took, out)
	}
	await(t, said, "cancelled "+c.ID)
}

func TestBusyTriesOther(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 1)
	blocker := call("hang", `{}`, 20*time.Second)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var blocked sync.WaitGroup
	blocked.Go(func() { r.edge.Do(ctx, blocker, natsrt.DoOptions{Pool: "default"}) })
	await(t, said, "begin "+blocker.ID)

	out, err := r.do(call("echo", `{}`, 5*time.Second), natsrt.DoOptions{})
	f := wantCode(t, err, fault.Busy)
	if f.RetryAfter <= 0 || out.Attempts < 3 || out.Started || !strings.Contains(f.Message, "Nothing was done") {
		t.Errorf("alone and busy: %+v, %v", out, f)
	}

	r.local("w2", 4)
	retried, unlucky := false, 0
	for range 20 {
		out, err := r.do(call("echo", `{}`, 5*time.Second), natsrt.DoOptions{})
		// Whom the server hands a call to is chance: ten times the same one of two
		// comes once in a thousand calls.
		if fault.HasCode(err, fault.Busy) && out.Attempts == 10 && unlucky == 0 {
			unlucky++
			continue
		}
		if err != nil || out.Worker != "w2" {
			t.Fatalf("with a free worker beside it: %+v, %v", out, err)
		}
		retried = retried || out.Attempts > 1
	}
	if !retried {
		t.Error("the busy worker was never asked: the test proves nothing")
	}
	cancel()
	blocked.Wait()
}

func TestGrantReplayRefused(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	c := call("echo", `{}`, 5*time.Second)
	c.Grant = "head.eyJqdGkiOiJvbmUifQ.sig" // {"jti":"one"}
	if _, err := r.do(c, natsrt.DoOptions{}); err != nil {
		t.Fatal(err)
	}
	await(t, said, "begin "+c.ID)
	_, err := r.do(c, natsrt.DoOptions{Retryable: true})
	wantCode(t, err, fault.Conflict)

	other := call("echo", `{}`, 5*time.Second)
	other.Grant = "head.eyJqdGkiOiJvbmUifQ.other-signature"
	_, err = r.do(other, natsrt.DoOptions{})
	wantCode(t, err, fault.Conflict)
	select {
	case line := <-said:
		t.Errorf("the replayed call ran: %s", line)
	default:
	}
}

func TestNoWorkerSaidSoon(t *testing.T) {
	r := newRig(t)
	start := time.Now()
	out, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{})
	wantCode(t, err, fault.NoWorker)
	if took := time.Since(start); took < time.Second || took > 10*time.Second || out.Started {
		t.Errorf("after %v: %+v", took, out)
	}
}

func TestRestartedWorkerIsWaitedFor(t *testing.T) {
	r := newRig(t)
	ended := make(chan error, 1)
	go func() {
		_, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{})
		ended <- err
	}()
	r.local("w1", 4)
	if err := <-ended; err != nil {
		t.Errorf("the call did not wait for the worker: %v", err)
	}
}

func TestStoppedWorkerFinishesAndRefuses(t *testing.T) {
	r := newRig(t)
	served, said := r.local("w1", 4)
	c := call("hang", `{}`, 2*time.Second)
	ended := make(chan error, 1)
	go func() {
		_, err := r.do(c, natsrt.DoOptions{})
		ended <- err
	}()
	await(t, said, "begin "+c.ID)
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := served.Stop(ctx); err != nil {
		t.Errorf("stop: %v", err)
	}
	wantCode(t, <-ended, fault.DeadlineExceeded) // its own, not the stop's
	_, err := r.do(call("echo", `{}`, 10*time.Second), natsrt.DoOptions{})
	wantCode(t, err, fault.NoWorker)
}

func TestWorkersAreListed(t *testing.T) {
	r := newRig(t)
	served, _ := r.local("w1", 7)
	r.until("the worker is not listed", func() bool { return len(r.edge.Workers()) == 1 })
	w := r.edge.Workers()[0]
	if w.Name != "w1" || w.Instance != served.Instance() || w.Pool != "default" || w.Slots != 7 || w.Version != "test" || time.Since(w.LastSeen) > 5*time.Second {
		t.Errorf("listed as %+v", w)
	}
	stop(served)
	r.until("the worker that left is still listed", func() bool { return len(r.edge.Workers()) == 0 })
}

func TestForeignOpeningRefused(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	c := call("echo", `{}`, 5*time.Second)
	c.OpenHash = strings.Repeat("0", 64)
	_, err := r.do(c, natsrt.DoOptions{})
	wantCode(t, err, fault.Unexpected)
	select {
	case line := <-said:
		t.Errorf("a spec ran that the edge had not signed: %s", line)
	default:
	}
}

// Workers ask who is still there, in questions of a bounded size.
func TestPeopleAreAskedFor(t *testing.T) {
	r := newRig(t)
	conn := must(natsrt.DialWorker(r.server.WorkerURL(), "asking", slog.New(slog.DiscardHandler)))(t)
	defer conn.Close()
	ask := natsrt.NewOpenings(conn)
	var all, even []tenants.UserID
	for i := range 2500 {
		all = append(all, tenants.NewUserID())
		if i%2 == 0 {
			even = append(even, all[i])
		}
	}
	// An edge that does not answer this is none that knows nobody.
	if known, err := ask.People(t.Context(), opening.Tenant, all[:1]); err == nil || fault.HasCode(err, fault.NotFound) {
		t.Errorf("%v, %v", known, err)
	}
	r.edge.Close()
	var asked atomic.Int64
	other := must(natsrt.NewEdge(natsrt.EdgeConfig{Conn: must(r.server.EdgeConn("edge-2"))(t), Log: slog.New(slog.NewTextHandler(t.Output(), nil)),
		Opening: func(context.Context, tenants.ID, registry.ServerID, registry.RevisionID) (runtime.Opening, error) {
			return opening, nil
		},
		People: func(_ context.Context, tn tenants.ID, some []tenants.UserID) (known []tenants.UserID, err error) {
			asked.Add(1)
			for _, u := range some {
				if tn == opening.Tenant && slices.Contains(even, u) {
					known = append(known, u)
				}
			}
			return known, nil
		}}))(t)
	defer other.Close()
	known, err := ask.People(t.Context(), opening.Tenant, all)
	if err != nil || !slices.Equal(known, even) || asked.Load() != 3 {
		t.Errorf("%d are known, in %d questions: %v", len(known), asked.Load(), err)
	}
	if known, err := ask.People(t.Context(), tenants.NewID(), all); err != nil || len(known) != 0 {
		t.Errorf("of another tenant: %d, %v", len(known), err)
	}
	if _, err := ask.People(t.Context(), opening.Tenant, []tenants.UserID{"us'; --"}); err == nil {
		t.Error("what is no identifier was asked for")
	}
}

// A worker asks one edge. That it closes must not leave it waiting.
func TestEdgeThatClosesAnswersFirst(t *testing.T) {
	r := newRig(t)
	r.edge.Close()
	asked, answer := make(chan struct{}), make(chan struct{})
	edge := must(natsrt.NewEdge(natsrt.EdgeConfig{Conn: must(r.server.EdgeConn("edge-2"))(t),
		Opening: func(ctx context.Context, _ tenants.ID, _ registry.ServerID, _ registry.RevisionID) (runtime.Opening, error) {
			close(asked)
			select {
			case <-answer:
				return opening, nil
			case <-ctx.Done():
				return runtime.Opening{}, ctx.Err()
			}
		}}))(t)
	conn := must(natsrt.DialWorker(r.server.WorkerURL(), "asking", slog.New(slog.DiscardHandler)))(t)
	defer conn.Close()
	got := make(chan error, 1)
	go func() {
		_, err := natsrt.NewOpenings(conn).Opening(context.Background(), opening.Tenant, opening.Server, opening.Revision)
		got <- err
	}()
	<-asked
	closed := make(chan error, 1)
	go func() { closed <- edge.Close() }()
	r.until("it still takes questions", func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := conn.RequestWithContext(ctx, "opening.get", nil)
		return errors.Is(err, nats.ErrNoResponders)
	})
	close(answer)
	if err := <-got; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}

func TestManyCallersAtOnce(t *testing.T) {
	r := newRig(t)
	r.local("w1", 64)
	r.local("w2", 64)
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 50 {
				c := call("echo", `{"x":1}`, 20*time.Second)
				if out, err := r.do(c, natsrt.DoOptions{Retryable: true}); err != nil || textOf(t, out) != `{"x":1}` {
					t.Errorf("%+v, %v", out, err)
				}
			}
		})
	}
	all.Wait()
}

func TestWorkerComesBackAfterServerRestart(t *testing.T) {
	first := must(natsrt.StartServer(natsrt.ServerOptions{WorkerPassword: "fixed"}))(t)
	at := must(url.Parse(first.WorkerURL().Reveal()))(t)
	port := must(strconv.Atoi(at.Port()))(t)
	r := newRigOn(t, first, true)
	_, said := r.local("w1", 4)
	if _, err := r.do(call("echo", `{}`, 5*time.Second), natsrt.DoOptions{}); err != nil {
		t.Fatal(err)
	}
	first.Close()
	r = newRigOn(t, must(natsrt.StartServer(natsrt.ServerOptions{WorkerPassword: "fixed", Port: port}))(t), true)
	r.until("the worker did not come back", func() bool {
		_, err := r.do(call("echo", `{}`, 5*time.Second), natsrt.DoOptions{Retryable: true})
		return err == nil
	})
	await(t, said, "begin")
}

func TestClosedEdgeRunsNothing(t *testing.T) {
	r := newRig(t)
	_, said := r.local("w1", 4)
	c := call("hang", `{}`, 20*time.Second)
	ended := make(chan error, 1)
	go func() {
		_, err := r.do(c, natsrt.DoOptions{})
		ended <- err
	}()
	await(t, said, "begin "+c.ID)
	if err := r.edge.Close(); err != nil {
		t.Error(err)
	}
	wantCode(t, <-ended, fault.OutcomeUnknown)
	_, err := r.do(call("echo", `{}`, 20*time.Second), natsrt.DoOptions{})
	wantCode(t, err, fault.NoWorker)
}
