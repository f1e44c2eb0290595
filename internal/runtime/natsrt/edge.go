package natsrt

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/deadline"
	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// EdgeConfig is what an edge is made of.
type EdgeConfig struct {
	Conn *nats.Conn
	// Sys hears of connections that end, so that a dead worker is known within
	// milliseconds. Without it heartbeats tell within 1.6 s.
	Sys *nats.Conn
	// Opening serves workers' requests for openings. Nil: another edge does.
	Opening OpeningFunc
	// People goes with Opening. Nil: not answered.
	People PeopleFunc
	Log    *slog.Logger
}

// Edge sends calls to workers and waits for their results. It is safe for
// concurrent use.
type Edge struct {
	conn    *nats.Conn
	opening OpeningFunc
	people  PeopleFunc
	log     *slog.Logger
	inbox   string // with inboxPrefix, without the last dot
	base    context.Context
	end     context.CancelFunc
	subs    []*nats.Subscription
	watcher sync.WaitGroup
	asked   *nats.Subscription // for openings; nil: another edge answers
	unasked chan struct{}      // closed once no more questions come
	answers sync.WaitGroup     // that are being looked up

	mu       sync.Mutex
	attempts map[string]*attempt    // by token
	workers  map[string]*WorkerInfo // by instance
}

// NewEdge subscribes the edge. Close ends it, not the connections.
func NewEdge(cfg EdgeConfig) (*Edge, error) {
	e := &Edge{
		conn: cfg.Conn, opening: cfg.Opening, people: cfg.People, log: cfg.Log,
		inbox:    inboxPrefix + strings.ToLower(rand.Text()),
		attempts: map[string]*attempt{}, workers: map[string]*WorkerInfo{},
		unasked: make(chan struct{}),
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	e.base, e.end = context.WithCancel(context.Background())
	if err := e.subscribe(cfg); err != nil {
		e.Close()
		return nil, err
	}
	e.watcher.Go(e.watch)
	return e, nil
}

func (e *Edge) subscribe(cfg EdgeConfig) error {
	on := func(conn *nats.Conn, subject, queue string, handle nats.MsgHandler) error {
		sub, err := conn.QueueSubscribe(subject, queue, handle)
		if err != nil {
			return fmt.Errorf("subscribe %s: %w", subject, err)
		}
		e.subs = append(e.subs, sub)
		// Frames wait here only while the process is short of time.
		return sub.SetPendingLimits(-1, 256<<20)
	}
	err := on(cfg.Conn, e.inbox, "", e.onFrame)
	if err == nil {
		err = on(cfg.Conn, e.inbox+".*", "", e.onReply)
	}
	if err == nil {
		err = on(cfg.Conn, announce, "", e.onAnnounce)
	}
	if err == nil {
		err = cfg.Conn.Publish(rollCall, nil)
	}
	if err == nil && cfg.Opening != nil {
		err = e.answerOpenings()
	}
	if err == nil && cfg.Sys != nil {
		if err = on(cfg.Sys, disconnects, "", e.onDisconnect); err == nil {
			err = cfg.Sys.FlushTimeout(5 * time.Second)
		}
	}
	if err == nil {
		err = cfg.Conn.FlushTimeout(5 * time.Second)
	}
	return err
}

// Close ends the edge. What workers have asked of it is answered first, for up to
// leaveTime; calls on their way end as if the edge had died.
func (e *Edge) Close() error {
	e.leaveOpenings()
	e.end()
	var errs []error
	for _, sub := range e.subs {
		if err := sub.Unsubscribe(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			errs = append(errs, err)
		}
	}
	e.watcher.Wait()
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, a := range e.attempts {
		e.deliver(a, frame{kind: kindUnreachable})
	}
	return errors.Join(errs...)
}

// DoOptions say where a call runs and what may be done for it.
type DoOptions struct {
	Pool string
	// Retryable: the tool is read-only or idempotent, so that a call whose
	// worker was lost may be given to another.
	Retryable bool
	// Progress hears of the call's progress, and Notify of the upstream's
	// notifications, in order, on the caller's goroutine. What comes faster than
	// they take it is dropped.
	Progress func(done, total float64, message string)
	Notify   func(n runtime.Notification)
	// Ask puts a question of the upstream to the caller, up to runtime.MaxAsking
	// of a call at once, each on a goroutine of its own, which Do waits for. Its
	// context ends with the call, or when nobody waits for the answer any more.
	// While one waits, the call's deadline moves on, by runtime.MaxHeld in all.
	Ask func(ctx context.Context, q runtime.Question) (json.RawMessage, error)
	// Home keeps calls together on one worker; see homes.go. A call that its
	// worker has no slot for waits and is then busy. Empty: any worker.
	Home string
}

// flags tell the worker what may be done for the call.
func (o *DoOptions) flags() (f byte) {
	if o.Retryable {
		f |= flagRepeatable
	}
	if o.Notify != nil {
		f |= flagNotify
	}
	if o.Ask != nil {
		f |= flagAsk
	}
	return f
}

// Outcome is what is known of a call, whether it failed or not.
type Outcome struct {
	Result   *runtime.Result // nil with an error
	Worker   string          // the name of the last worker that had it, empty if none
	Attempts int
	// Started: a worker had accepted the call, or may have. With an error that
	// is about time or the worker, a call with effects may have had them.
	Started bool
	// Answered: the worker itself said how the call ended. A deadline that it
	// reports leaves open what was done by then.
	Answered bool
}

// Do runs a call on a worker. The error is always a *fault.Error.
func (e *Edge) Do(ctx context.Context, c *runtime.Call, o DoOptions) (Outcome, error) {
	var out Outcome
	if !validToken(o.Pool) {
		return out, fault.New(fault.InvalidRequest, "The server's pool has no usable name. Tell your administrator.")
	}
	req, err := encodeRequest(c, o.flags())
	if err != nil {
		return out, fault.Of(err)
	}
	if o.Ask != nil {
		var cancel context.CancelFunc
		ctx, cancel = held(ctx, c.Deadline, &o)
		defer cancel()
	} else if d, ok := ctx.Deadline(); !ok || c.Deadline.Before(d) {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, c.Deadline)
		defer cancel()
	}
	home := homes{pool: o.Pool, home: o.Home}
	var tries tries
	for {
		if e.base.Err() != nil {
			return out, verdict{end: noResponders}.fault(&o)
		}
		out.Attempts++
		v := e.try(ctx, req, &o, &home)
		e.learn(&home, v)
		if v.instance != "" {
			out.Worker = workerName(v.instance)
		}
		out.Started = out.Started || v.started || tries.gotThrough(v)
		if v.end == answered {
			out.Answered = true
			return finish(out, v)
		}
		wait, f := tries.next(v, &o, time.Now())
		if f == nil && !waitFor(ctx, wait) {
			f = v.fault(&o)
		}
		if f != nil {
			return out, f
		}
	}
}

// held is the context of a call whose time stands still while it asks.
func held(ctx context.Context, end time.Time, o *DoOptions) (context.Context, context.CancelFunc) {
	d, ask := deadline.New(end, runtime.MaxHeld), o.Ask
	o.Ask = func(ctx context.Context, q runtime.Question) (json.RawMessage, error) {
		defer d.Hold()()
		return ask(ctx, q)
	}
	return d.With(ctx)
}

func finish(out Outcome, v verdict) (Outcome, error) {
	if v.err != nil {
		return out, v.err
	}
	out.Result = v.result
	out.Result.Worker = out.Worker
	return out, nil
}

// The bounds of trying again. Busy answers come at once; a lapse takes half a
// second, a lost worker up to 1.5 s. A hung worker is handed calls for 3 s,
// until the server has missed its pongs: the lapses must outlast that.
const (
	maxBusy      = 10
	maxLapsed    = 8
	maxLost      = 3
	firstBackoff = 2 * time.Millisecond
	lastBackoff  = 250 * time.Millisecond
	// The platform restarts a dead worker within this.
	restartWait = 1500 * time.Millisecond
)

// tries counts the ways in which a call did not get through.
type tries struct {
	busy, lapsed, lost, absent int
	absentSince                time.Time
}

// gotThrough reports whether a try that was given up did get through: a worker
// has had the call before, and nobody else can have sent it.
func (t *tries) gotThrough(v verdict) bool { return v.end == replayed && t.lapsed > 0 }

// next says how long to wait before another try, or why there is none.
func (t *tries) next(v verdict, o *DoOptions, now time.Time) (time.Duration, *fault.Error) {
	var n int
	again := false
	switch v.end {
	case refused:
		t.busy++
		n, again = t.busy, t.busy < maxBusy
	case replayed: // by a worker that was taken for lost, or that was slow to accept
		t.busy++
		n, again = t.busy, o.Retryable && t.lost+t.lapsed > 0 && t.busy < maxBusy
	case lapsed:
		t.lapsed++
		n, again = 1, t.lapsed < maxLapsed
	case lost:
		t.lost++
		n, again = 1, o.Retryable && t.lost < maxLost
	case noResponders:
		if t.absent++; t.absent == 1 {
			t.absentSince = now
		}
		n, again = t.absent+2, now.Sub(t.absentSince) < restartWait
	}
	switch {
	case again:
		return backoff(n), nil
	case v.end == replayed && o.Retryable && t.lost+t.lapsed > 0: // an earlier try got through after all, too late for us
		return 0, fault.New(fault.Busy, "The worker for this server is too slow to answer right now. The call changes nothing that a repeat would change again: wait a second, then call again.").After(time.Second)
	}
	return 0, v.fault(o)
}

// backoff doubles with each try, half of it random.
func backoff(n int) time.Duration {
	d := min(firstBackoff<<min(n-1, 10), lastBackoff)
	return d/2 + mathrand.N(d/2)
}

// waitFor reports whether there is time left after the wait; if there will be
// none it does not wait.
func waitFor(ctx context.Context, d time.Duration) bool {
	if end, ok := ctx.Deadline(); ok && time.Until(end) <= d {
		return false
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// newToken is the name of one attempt: 96 random bits, so that no worker can
// answer an attempt that it was not handed.
func newToken() string {
	var b [tokenLen * 3 / 4]byte
	rand.Read(b[:])
	return base64.RawURLEncoding.EncodeToString(b[:])
}
