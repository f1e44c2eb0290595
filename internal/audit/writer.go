package audit

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// Writer commits records in groups: whatever queued up while the previous
// group was being committed is the next group. There is no timer, so one
// caller alone waits for one commit only.
type Writer struct {
	store Store
	log   *slog.Logger
	id    string
	seq   atomic.Int64
	queue chan pending

	closing sync.RWMutex
	closed  bool
	flusher sync.WaitGroup
}

type pending struct {
	event Event
	done  chan error
}

const (
	maxGroup    = 2000
	queueLength = 8192
	// flushTimeout bounds one commit; a store that hangs is a store that is away.
	flushTimeout = 5 * time.Second
)

// NewWriter starts the flusher. Close ends it. A second one would halve the
// groups: at 16 callers that cost Postgres and the writer half as much again
// for each record, and committed no more of them.
func NewWriter(store Store, log *slog.Logger) *Writer {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	w := &Writer{store: store, log: log, id: tenants.RandomID("wr"), queue: make(chan pending, queueLength)}
	w.flusher.Go(w.flush)
	return w
}

// Add returns when the record is committed. An error means that it is not, or
// that ctx ended before that was known.
func (w *Writer) Add(ctx context.Context, e Event) error {
	e.WriterID, e.WriterSeq = w.id, w.seq.Add(1)
	if e.ID == "" {
		e.ID = NewID(e.At)
	}
	p := pending{e, make(chan error, 1)}
	if err := w.enqueue(ctx, p); err != nil {
		return err
	}
	select {
	case err := <-p.done:
		return err
	case <-ctx.Done():
		return fault.New(fault.StoreAway, "The call could not be recorded in time. Try again in a few seconds.").After(5 * time.Second).Because(ctx.Err())
	}
}

func (w *Writer) enqueue(ctx context.Context, p pending) error {
	w.closing.RLock()
	defer w.closing.RUnlock()
	if w.closed {
		return fault.New(fault.StoreAway, "The platform is shutting down. Try again in a few seconds.").After(5 * time.Second)
	}
	select {
	case w.queue <- p:
		return nil
	case <-ctx.Done():
		return fault.New(fault.StoreAway, "Too many calls wait to be recorded. Try again in a few seconds.").After(5 * time.Second).Because(ctx.Err())
	}
}

// Close commits what is queued and ends. Add fails from then on.
func (w *Writer) Close() {
	w.closing.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.closing.Unlock()
	w.flusher.Wait()
}

func (w *Writer) flush() {
	group := make([]pending, 0, maxGroup)
	events := make([]Event, 0, maxGroup)
	for first := range w.queue {
		group = append(group[:0], first)
	collect:
		for len(group) < maxGroup {
			select {
			case p, open := <-w.queue:
				if !open {
					break collect
				}
				group = append(group, p)
			default:
				break collect
			}
		}
		events = events[:0]
		for _, p := range group {
			events = append(events, p.event)
		}
		w.commit(group, events)
	}
}

// commit writes a group and tells each caller. When the store is there but
// refuses the group, each record goes alone: one that cannot be stored must
// not fail its neighbours' calls.
func (w *Writer) commit(group []pending, events []Event) {
	err := w.insert(events)
	if err == nil || len(group) == 1 || fault.HasCode(err, fault.StoreAway) {
		for _, p := range group {
			p.done <- err
		}
		return
	}
	for i, p := range group {
		p.done <- w.insert(events[i : i+1])
	}
}

func (w *Writer) insert(events []Event) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	err := w.store.InsertAudit(ctx, events)
	if err != nil {
		w.log.Error("audit records were not committed; their calls fail", "records", len(events), "error", err)
	}
	return err
}
