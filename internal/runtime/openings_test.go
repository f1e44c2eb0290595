package runtime

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

func TestHashDoesNotDependOnForm(t *testing.T) {
	a, b := opening, opening
	a.Spec, b.Spec = json.RawMessage(`{"b":1.50,"a":"<x>"}`), json.RawMessage("{ \"a\" : \"\\u003cx>\",\n\"b\":1.50}")
	if a.Hash() != b.Hash() || len(a.Hash()) != 64 {
		t.Errorf("%s and %s", a.Hash(), b.Hash())
	}
	for name, change := range map[string]func(*Opening){
		"spec":       func(o *Opening) { o.Spec = json.RawMessage(`{"b":1.5,"a":"<x>"}`) },
		"connection": func(o *Opening) { o.Connection = json.RawMessage(`{}`) },
		"tenant":     func(o *Opening) { o.Tenant = tenants.NewID() },
		"per user":   func(o *Opening) { o.PerUser = true },
		"kind":       func(o *Opening) { o.Kind = "other" },
	} {
		c := a
		change(&c)
		if c.Hash() == a.Hash() {
			t.Errorf("another %s has the same hash", name)
		}
	}
}

func TestChangedOpeningRefused(t *testing.T) {
	for name, change := range map[string]func(*Opening){
		"spec":             func(o *Opening) { o.Spec = json.RawMessage(`{"evil":1}`) },
		"of other tenant":  func(o *Opening) { o.Tenant = tenants.NewID() },
		"of other server":  func(o *Opening) { o.Server = tenants.NewServerID() },
		"of other kind":    func(o *Opening) { o.Kind = "other" },
		"spec not JSON":    func(o *Opening) { o.Spec = json.RawMessage(`{`) },
		"connection added": func(o *Opening) { o.Connection = json.RawMessage(`{"host":"evil"}`) },
	} {
		f := &fake{}
		w := newTestWorker(t, f, func(c *WorkerConfig) {
			c.Openings = source(func(registry.ServerID) (Opening, error) {
				o := opening
				change(&o)
				return o, nil
			})
		})
		_, err := run(w, testCall())
		wantCode(t, err, fault.Unexpected)
		if f.opened.Load() != 0 {
			t.Errorf("%s: it was opened", name)
		}
	}
}

func TestUnknownKindSaysSo(t *testing.T) {
	other := opening
	other.Kind = "unheard"
	w := newTestWorker(t, &fake{}, func(c *WorkerConfig) {
		c.Openings = source(func(registry.ServerID) (Opening, error) { return other, nil })
	})
	_, err := run(w, callTo(other))
	wantCode(t, err, fault.NoWorker)
}

func TestServerIsOpenedOnceForAll(t *testing.T) {
	f := &fake{}
	gate := make(chan struct{})
	f.opening = func() error { <-gate; return nil }
	w := newTestWorker(t, f, nil)
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			if _, err := run(w, testCall()); err != nil {
				t.Error(err)
			}
		})
	}
	// One caller gives up: the others must not notice.
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := w.Run(ctx, testCall(), time.Now().Add(time.Second), Back{})
	wantCode(t, err, fault.Cancelled)
	close(gate)
	all.Wait()
	if n := f.opened.Load(); n != 1 {
		t.Errorf("opened %d times", n)
	}
}

func TestFailedOpeningIsTriedAgain(t *testing.T) {
	f := &fake{}
	f.opening = func() error { return fault.New(fault.UpstreamAway, "away") }
	w := newTestWorker(t, f, nil)
	_, err := run(w, testCall())
	wantCode(t, err, fault.UpstreamAway)
	f.opening = nil
	if _, err := run(w, testCall()); err != nil || f.opened.Load() != 2 {
		t.Errorf("%v, opened %d times", err, f.opened.Load())
	}
}

func TestIdleServerIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{}
		w := newTestWorker(t, f, func(c *WorkerConfig) { c.IdleClose = 10 * time.Minute })
		for range 3 {
			if _, err := run(w, testCall()); err != nil {
				t.Fatal(err)
			}
			<-time.After(8 * time.Minute) // of the bubble's time
			synctest.Wait()
		}
		if f.opened.Load() != 1 || f.closed.Load() != 0 {
			t.Fatalf("in use: opened %d, closed %d", f.opened.Load(), f.closed.Load())
		}
		<-time.After(15 * time.Minute)
		synctest.Wait()
		if f.closed.Load() != 1 {
			t.Errorf("idle: closed %d", f.closed.Load())
		}
		if _, err := run(w, testCall()); err != nil || f.opened.Load() != 2 {
			t.Errorf("used again: %v, opened %d", err, f.opened.Load())
		}
		w.Close(context.Background())
	})
}

func TestOldestIdleServerMakesRoom(t *testing.T) {
	f := &fake{}
	entered, leave := make(chan struct{}), make(chan struct{})
	f.tool = func(_ context.Context, c *Call, _ Env) (*Result, error) {
		if c.Name == "hold" {
			entered <- struct{}{}
			<-leave
		}
		return ok(), nil
	}
	w := newTestWorker(t, f, func(c *WorkerConfig) { c.MaxOpen = 2 })
	hold := func() {
		o := opening
		o.Server = tenants.NewServerID()
		c := callTo(o)
		c.Name = "hold"
		go run(w, c)
		<-entered
	}
	if _, err := run(w, testCall()); err != nil {
		t.Fatal(err)
	}
	hold()
	hold() // closes the idle one
	_, err := run(w, testCall())
	wantCode(t, err, fault.Busy)
	close(leave)
	closeWorker(t, w)
	if f.opened.Load() != 3 || f.closed.Load() != 3 {
		t.Errorf("opened %d, closed %d", f.opened.Load(), f.closed.Load())
	}
}

func closeWorker(t *testing.T, w *Worker) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := w.Close(ctx); err != nil {
		t.Error(err)
	}
}

func TestCloseWaitsForCalls(t *testing.T) {
	f := &fake{}
	entered, leave := make(chan struct{}), make(chan struct{})
	f.tool = func(context.Context, *Call, Env) (*Result, error) {
		close(entered)
		<-leave
		if f.closed.Load() != 0 {
			t.Error("closed under a running call")
		}
		return ok(), nil
	}
	w := newTestWorker(t, f, nil)
	ended := make(chan error, 1)
	go func() {
		_, err := run(w, testCall())
		ended <- err
	}()
	<-entered
	over, cancel := context.WithCancel(context.Background())
	cancel()
	if err := w.Close(over); !errors.Is(err, context.Canceled) {
		t.Errorf("closed under a running call: %v", err)
	}
	_, err := run(w, testCall())
	wantCode(t, err, fault.Busy)
	close(leave)
	closeWorker(t, w)
	if err := <-ended; err != nil || f.closed.Load() != 1 {
		t.Errorf("%v, closed %d", err, f.closed.Load())
	}
}
