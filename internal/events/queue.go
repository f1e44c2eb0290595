package events

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"log/slog"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"latchkey/internal/fault"
)

// Queue is a Raiser that stores events behind the back of who raises them. What
// does not fit is counted and dropped: no call waits for an event, and none
// fails for one. The audit has every call in any case.
type Queue struct {
	o     QueueOptions
	store Store

	mu      sync.Mutex // of closing: nothing is sent on a closed channel
	closed  bool
	waiting chan Event
	stop    context.CancelFunc
	done    chan struct{}
	full    bool // since the last time that it was not; guarded by mu
}

// QueueOptions of NewQueue. Zero values work.
type QueueOptions struct {
	Size    int           // events that may wait; 4096
	Raised  func(e Event) // hears of each one that was taken
	Dropped func()        // hears of each one that was not
	Log     *slog.Logger
	Now     func() time.Time
}

const (
	group     = 200 // events that are stored at once
	storeTime = 5 * time.Second
	firstWait = 100 * time.Millisecond
	lastWait  = 5 * time.Second
	closeTime = 3 * time.Second // for what still waits at the end
)

// NewQueue starts one. Close stores what waits.
func NewQueue(store Store, o QueueOptions) *Queue {
	if o.Size == 0 {
		o.Size = 4096
	}
	if o.Raised == nil {
		o.Raised = func(Event) {}
	}
	if o.Dropped == nil {
		o.Dropped = func() {}
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	ctx, stop := context.WithCancel(context.Background())
	q := &Queue{o: o, store: store, waiting: make(chan Event, o.Size), stop: stop, done: make(chan struct{})}
	go q.run(ctx)
	return q
}

// Raise takes an event. It never waits.
func (q *Queue) Raise(ctx context.Context, e Event) {
	if e.At.IsZero() {
		e.At = q.o.Now()
	}
	e.Count, e.Detail = max(1, e.Count), cutTo(e.Detail, maxDetail)
	for _, s := range []*string{&e.Client, &e.Server, &e.Tool, &e.CallID} {
		*s = cutTo(*s, maxName)
	}
	if e.Same != "" {
		sum := sha256.Sum256([]byte(e.Same))
		e.Same = hex.EncodeToString(sum[:16])
	}
	q.mu.Lock()
	taken := false
	if !q.closed {
		select {
		case q.waiting <- e:
			taken = true
		default:
		}
	}
	first := !taken && !q.full
	q.full = !taken
	q.mu.Unlock()
	if taken {
		q.o.Raised(e)
		return
	}
	q.o.Dropped()
	if first {
		q.o.Log.ErrorContext(ctx, "events are dropped: more are raised than can be stored; the audit has the calls", "kind", string(e.Kind), "tenant", string(e.Tenant))
	}
}

// What is stored of texts, in characters.
const (
	maxDetail = 1000
	maxName   = 600
)

func cutTo(s string, characters int) string {
	if len(s) <= characters {
		return s
	}
	s = strings.ToValidUTF8(s, "\uFFFD")
	if utf8.RuneCountInString(s) <= characters {
		return s
	}
	return string([]rune(s)[:characters-1]) + "…"
}

// Close stores what waits, as far as the store answers, and ends the queue.
// Later events are dropped.
func (q *Queue) Close() {
	q.mu.Lock()
	already := q.closed
	q.closed = true
	if !already {
		close(q.waiting)
	}
	q.mu.Unlock()
	late := time.AfterFunc(closeTime, q.stop)
	defer late.Stop()
	<-q.done
	q.stop()
}

func (q *Queue) run(ctx context.Context) {
	defer close(q.done)
	for e := range q.waiting {
		es := []Event{e}
		for more := true; more && len(es) < group; {
			select {
			case e, ok := <-q.waiting:
				if more = ok; ok {
					es = append(es, e)
				}
			default:
				more = false
			}
		}
		if !q.keep(ctx, merge(es)) {
			return
		}
	}
}

// merge counts events that are one: a statement cannot touch a row twice.
func merge(es []Event) []Event {
	type key struct {
		tenant, kind, same string
		minute             time.Time
	}
	at, out := map[key]int{}, es[:0:0]
	for _, e := range es {
		k := key{string(e.Tenant), string(e.Kind), e.Same, e.At.Truncate(time.Minute).UTC()}
		if i, seen := at[k]; seen && e.Same != "" {
			out[i].Count += e.Count
			continue
		}
		at[k] = len(out)
		out = append(out, e)
	}
	return out
}

// keep stores events, and tries again while the store is away. What the store
// will never take is left out.
func (q *Queue) keep(ctx context.Context, es []Event) (goOn bool) {
	for wait := firstWait; ; wait = min(2*wait, lastWait) {
		try, cancel := context.WithTimeout(ctx, storeTime)
		err := q.store.InsertEvents(try, es)
		cancel()
		switch {
		case err == nil:
			return true
		case ctx.Err() != nil:
			q.lost(ctx, es, err)
			return false
		case !fault.HasCode(err, fault.StoreAway) && !fault.HasCode(err, fault.Busy):
			if len(es) == 1 {
				q.lost(ctx, es, err)
				return true
			}
			for i := range es {
				if !q.keep(ctx, es[i:i+1]) {
					return false
				}
			}
			return true
		}
		again := time.NewTimer(wait)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			q.lost(ctx, es, err)
			return false
		}
	}
}

func (q *Queue) lost(ctx context.Context, es []Event, err error) {
	for range es {
		q.o.Dropped()
	}
	q.o.Log.ErrorContext(ctx, "events were not stored; the audit has the calls", "events", len(es), "kind", string(es[0].Kind), "error", err)
}

// Discard is a Raiser that forgets.
type Discard struct{}

func (Discard) Raise(context.Context, Event) {}
