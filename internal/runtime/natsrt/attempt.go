package natsrt

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// attempt is one sending of a call, until a worker has answered it or the edge
// gave up on it.
type attempt struct {
	token      string
	repeatable bool
	// frames has room for everything that a sound worker has on its way: an
	// acceptance, a window of chunks, its questions and those that it takes back,
	// the last frame, and some of the edge's own.
	frames chan frame

	// guarded by Edge.mu
	aside    aside
	instance string // of the worker, once it has accepted
	sentAt   time.Time
	heardAt  time.Time // the last frame or heartbeat, once accepted
	lapsedAt time.Time // the edge asked the server whether it may give up
}

var attempts = sync.Pool{New: func() any { return &attempt{frames: make(chan frame, frameRoom)} }}

const frameRoom = chunkWindow + 24

// verdict is how an attempt ended.
type verdict struct {
	end      end
	instance string // the worker, where one is known
	started  bool   // it may have started
	leaving  bool   // it refused because it stops
	result   *runtime.Result
	err      *fault.Error // answered with an error
}

type end int

const (
	answered     end = iota
	refused          // not started: busy, too late, draining
	lapsed           // not started: nobody accepted in time
	noResponders     // not started: nobody is there
	lost             // accepted, then silence
	unreachable      // the server does not answer: nothing is known
	cancelled        // the caller gave up
	timedOut         // the deadline came
	replayed         // the worker had run it before
)

// try sends the call once and follows it.
func (e *Edge) try(ctx context.Context, req []byte, o *DoOptions, h *homes) verdict {
	subject := e.subject(h)
	if subject == "" {
		return verdict{end: noResponders}
	}
	now := time.Now()
	a := attempts.Get().(*attempt)
	*a = attempt{token: newToken(), repeatable: o.Retryable, frames: a.frames, sentAt: now}
	e.mu.Lock()
	e.attempts[a.token] = a
	e.mu.Unlock()
	defer e.forget(a)

	setAcceptBy(req, now.Add(acceptBy))
	if err := e.conn.PublishRequest(subject, e.inbox+"."+a.token, req); err != nil {
		e.log.Warn("call not sent", "err", err)
		return verdict{end: noResponders}
	}
	return e.follow(ctx, a, o)
}

func (e *Edge) forget(a *attempt) {
	e.mu.Lock()
	delete(e.attempts, a.token)
	e.mu.Unlock()
	// Nobody delivers to it from here on.
	for len(a.frames) > 0 {
		<-a.frames
	}
	attempts.Put(a)
}

// follow reads the frames of an attempt up to the one that ends it. Then nobody
// is asked anything any more.
func (e *Edge) follow(ctx context.Context, a *attempt, o *DoOptions) verdict {
	var asking *questions // most calls have none
	defer func() { asking.stop() }()
	v := verdict{}
	var chunks uint32
	var body []byte
	for {
		var f frame
		select {
		case f = <-a.frames:
		case <-ctx.Done():
			v.end = timedOut
			if errors.Is(ctx.Err(), context.Canceled) {
				v.end = cancelled
			}
			// An acceptance may be on its way. To a call that changes nothing that
			// makes no difference.
			v.started = v.started || !a.repeatable
			e.cancel(v.instance, a.token)
			return v
		}
		if f.instance != "" {
			v.instance = f.instance
		}
		switch f.kind {
		case kindAccept:
			v.started = true
		case kindAside:
			e.hear(a, o)
		case kindAsk:
			v.started = true
			if asking == nil {
				asking = &questions{edge: e, token: a.token, ask: o.Ask}
				asking.base, asking.end = context.WithCancel(ctx)
			}
			asking.begin(f)
		case kindUnask:
			asking.withdraw(f.number)
		case kindChunk:
			v.started = true
			if f.number != chunks {
				return e.broken(a, v, "chunk out of order")
			}
			if len(body)+len(f.data) > maxWire {
				e.cancel(v.instance, a.token)
				v.end, v.started, v.err = answered, true, runtime.TooLarge(len(body)+len(f.data), maxResult)
				return v
			}
			chunks++
			body = append(body, f.data...)
			e.control(v.instance, controlCredit, a.token)
		case kindResult:
			v.end, v.started = answered, true
			if f.number != chunks {
				return e.broken(a, v, "a chunk is missing")
			}
			if body == nil {
				body = f.data
			} else {
				body = append(body, f.data...)
			}
			return v.with(body)
		case kindError:
			v.end, v.started = answered, true
			decoded, err := decodeFault(f.data)
			if err != nil {
				return e.broken(a, v, "unreadable error")
			}
			v.err = decoded
			return v
		case kindRefuse:
			v.end, v.started = refused, false
			v.leaving = f.reason == runtime.Draining
			if f.reason == runtime.Replayed {
				v.end = replayed
			}
			return v
		case kindNoResponders:
			v.end = noResponders
			return v
		case kindLapsed:
			// Everything that the server had when the time was over has been
			// read by now.
			if !v.started {
				v.end = lapsed
				return v
			}
		case kindLost:
			v.end = lost
			e.cancel(v.instance, a.token) // for the time when it wakes up
			return v
		case kindUnreachable:
			v.end, v.started = unreachable, v.started || !a.repeatable
			return v
		}
	}
}

// with decodes the result that the worker sent.
func (v verdict) with(body []byte) verdict {
	res, err := unmarshalResult(body)
	if err != nil {
		v.err = fault.Of(fmt.Errorf("unreadable result of worker %s: %w", v.instance, err))
		return v
	}
	v.result = res
	return v
}

// broken ends an attempt whose worker does not keep to the protocol, or whose
// frames were lost on the way.
func (e *Edge) broken(a *attempt, v verdict, what string) verdict {
	e.log.Error("attempt broken", "worker", v.instance, "what", what)
	e.cancel(v.instance, a.token)
	v.end, v.started = lost, true
	return v
}

// fault puts an attempt's end in words, for when there is no further one. That
// a cancelled call may have had effects is for those to say who know whether it
// has any; Outcome.Started tells them.
func (v verdict) fault(o *DoOptions) *fault.Error {
	switch v.end {
	case refused, lapsed:
		return fault.New(fault.Busy, "All workers for this server are busy. Nothing was done. Wait a second, then call again.").After(time.Second)
	case noResponders:
		return fault.New(fault.NoWorker, "No worker for this server is running. Nothing was done. Try again in a few seconds; if it goes on, tell your administrator.").After(5 * time.Second)
	case cancelled:
		return fault.New(fault.Cancelled, "The call was cancelled.")
	case timedOut:
		return fault.New(fault.DeadlineExceeded, "The call took longer than it may and was stopped.")
	case replayed:
		return fault.New(fault.Conflict, "This call was given to a worker that has had it before, and was not run again.")
	}
	if o.Retryable {
		return fault.New(fault.WorkerLost, "The worker that had this call was lost. The call changes nothing that a repeat would change again: call again in a few seconds.").After(2 * time.Second)
	}
	return fault.New(fault.OutcomeUnknown, "The worker that had this call was lost, and it is not known whether the call took effect. Do not repeat it blindly: look first whether it happened.")
}

// cancel tells the worker that nobody waits any more. Without a known worker
// that is told when it accepts; see onFrame.
func (e *Edge) cancel(instance, token string) { e.control(instance, controlCancel, token) }

func (e *Edge) control(instance string, what byte, token string) {
	if instance == "" {
		return
	}
	if err := e.conn.Publish(controlPrefix+instance, encodeControl(what, token)); err != nil {
		e.log.Warn("control frame not sent", "err", err)
	}
}

// onFrame hands a frame to its attempt. It never blocks: one attempt must not
// hold up the others.
func (e *Edge) onFrame(m *nats.Msg) {
	f, token, err := decodeFrame(m.Data)
	switch {
	case err != nil:
		e.log.Warn("frame dropped", "err", err)
	case f.kind == kindBeat:
		e.onBeat(f)
	case !e.pass(string(token), f) && f.kind == kindAccept:
		e.cancel(f.instance, string(token)) // nobody waits for it any more
	}
}

// onReply hears from the server alone: workers answer to the inbox itself.
func (e *Edge) onReply(m *nats.Msg) {
	if len(m.Data) == 0 && m.Header.Get("Status") == "503" {
		e.pass(m.Subject[len(e.inbox)+1:], frame{kind: kindNoResponders})
	}
}

func (e *Edge) pass(token string, f frame) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	a := e.attempts[token]
	if a != nil {
		e.deliver(a, f)
	}
	return a != nil
}

// deliver runs under e.mu.
func (e *Edge) deliver(a *attempt, f frame) {
	a.heardAt = time.Now()
	if a.instance == "" {
		a.instance = f.instance
	}
	if f.kind == kindProgress || f.kind == kindNotify {
		if !a.aside.put(f) {
			return
		}
		f = frame{kind: kindAside}
	}
	select {
	case a.frames <- f:
	default:
		// A sound worker cannot get here: the attempt is read on and then ends
		// as broken, by a missing chunk, or as lost.
		e.log.Error("frame dropped: more than the window allows", "worker", a.instance)
	}
}
