package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	// MaxTails is how many may follow one tenant on one edge.
	MaxTails = 20

	pollEvery = 500 * time.Millisecond
	// overlap is how far back each look goes: a record's time is before its
	// commit, by no more than a commit may take, and edges' clocks differ.
	overlap   = 15 * time.Second
	pollLimit = 2000
	// backlog is how many batches a slow reader may be behind.
	backlog = 64
	// maxCatchUp bounds what a reader that comes back is told of what it missed.
	maxCatchUp     = 10_000
	maxCatchUpTime = time.Hour
	catchUpPage    = 500
)

// Why a Tail ended.
var (
	ErrTailsClosed = errors.New("the platform is shutting down")
	ErrTailBehind  = errors.New("the reader is too slow")
)

// Tails tells readers of a tenant's records as they are committed. One look at
// the store each half second serves all readers of a tenant; while nobody
// reads, there is none. Records are told in the order in which they are found,
// each once: one that is committed late comes after younger ones.
type Tails struct {
	store Reader
	log   *slog.Logger

	mu     sync.Mutex
	polls  map[tenants.ID]*poll
	closed bool
	ended  sync.WaitGroup
}

// NewTails makes one; Close ends it.
func NewTails(store Reader, log *slog.Logger) *Tails {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Tails{store: store, log: log, polls: map[tenants.ID]*poll{}}
}

// Open is how many readers there are.
func (t *Tails) Open() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, p := range t.polls {
		n += len(p.readers)
	}
	return n
}

// poll is what all readers of one tenant share.
type poll struct {
	tenant  tenants.ID
	readers map[*Tail]bool
	stop    context.CancelFunc
	primed  chan struct{} // closed after the first look
}

// Tail is one reader.
type Tail struct {
	owner  *Tails
	tenant tenants.ID
	filter Filter
	from   Position
	opened time.Time
	primed <-chan struct{}
	ch     chan []Event
	err    error // why ch was closed; under owner.mu until then
	told   map[string]bool
}

// Follow begins to tell of records that match. from, if not zero, is the last
// record that the reader has seen: CatchUp tells of those since.
func (t *Tails) Follow(tenant tenants.ID, f Filter, from Position) (*Tail, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		return nil, fault.New(fault.StoreAway, "The platform is shutting down. Try again in a few seconds.").After(5 * time.Second).Because(ErrTailsClosed)
	}
	p := t.polls[tenant]
	if p == nil {
		ctx, stop := context.WithCancel(context.Background())
		p = &poll{tenant: tenant, readers: map[*Tail]bool{}, stop: stop, primed: make(chan struct{})}
		t.polls[tenant] = p
		t.ended.Go(func() { t.run(ctx, p) })
	}
	if len(p.readers) >= MaxTails {
		return nil, fault.New(fault.LimitReached, "%d windows follow this tenant's records here already. Close one of them.", MaxTails).After(10 * time.Second)
	}
	r := &Tail{owner: t, tenant: tenant, filter: f, from: from, opened: time.Now(), primed: p.primed, ch: make(chan []Event, backlog)}
	p.readers[r] = true
	return r, nil
}

// Close ends all tails, now.
func (t *Tails) Close() {
	t.mu.Lock()
	t.closed = true
	for _, p := range t.polls {
		for r := range p.readers {
			t.end(p, r, ErrTailsClosed)
		}
	}
	t.mu.Unlock()
	t.ended.Wait()
}

// end is called with the lock held.
func (t *Tails) end(p *poll, r *Tail, why error) {
	if !p.readers[r] {
		return
	}
	delete(p.readers, r)
	r.err = why
	close(r.ch)
	if len(p.readers) == 0 {
		p.stop()
		delete(t.polls, p.tenant)
	}
}

// Close ends this one.
func (r *Tail) Close() {
	r.owner.mu.Lock()
	defer r.owner.mu.Unlock()
	if p := r.owner.polls[r.tenant]; p != nil {
		r.owner.end(p, r, context.Canceled)
	}
}

// Records gives what was found, until the tail ends; Err then says why.
func (r *Tail) Records() <-chan []Event { return r.ch }

// Err is why Records was closed.
func (r *Tail) Err() error {
	r.owner.mu.Lock()
	defer r.owner.mu.Unlock()
	return r.err
}

// New drops what CatchUp has told already.
func (r *Tail) New(batch []Event) []Event {
	if len(r.told) == 0 {
		return batch
	}
	return slices.DeleteFunc(slices.Clone(batch), func(e Event) bool { return r.told[e.ID] })
}

// CatchUp tells of what was committed since the reader's last record, oldest
// first. It begins some seconds earlier, for what was committed late, so that
// the reader may be told of a record again. complete is false when it is too
// much, or too long ago: then the oldest are left out.
func (r *Tail) CatchUp(ctx context.Context, tell func([]Event) error) (complete bool, err error) {
	// The first look defines what Records does not tell.
	select {
	case <-r.primed:
	case <-ctx.Done():
		return false, ctx.Err()
	}
	if r.from.IsZero() {
		return true, nil
	}
	complete = true
	f := r.filter
	f.Since = r.from.At.Add(-overlap)
	if oldest := r.opened.Add(-maxCatchUpTime); f.Since.Before(oldest) {
		f.Since, complete = oldest, false
	}
	r.told = map[string]bool{}
	var at Position
	for n := 0; ; {
		page, err := r.owner.store.ExportAudit(ctx, r.tenant, f, at, catchUpPage)
		if err != nil {
			return complete, err
		}
		fresh := page.Events[:0]
		for _, e := range page.Events {
			if e.At.After(r.opened.Add(-2 * overlap)) {
				r.told[e.ID] = true
			}
			if e.ID != r.from.ID {
				fresh = append(fresh, e)
			}
		}
		if len(fresh) > 0 {
			if err := tell(fresh); err != nil {
				return complete, err
			}
		}
		if n += len(page.Events); !page.More {
			return complete, nil
		} else if n >= maxCatchUp {
			return false, nil
		}
		at = page.Next
	}
}

// run looks for new records of one tenant until nobody reads them.
func (t *Tails) run(ctx context.Context, p *poll) {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	seen := map[string]time.Time{}
	looked := time.Now() // when the store last answered
	primed, failing := false, false
	for {
		now := time.Now()
		since := looked.Add(-overlap)
		found, err := t.store.RecentAudit(ctx, p.tenant, since, known(seen, since), pollLimit)
		if err != nil {
			if ctx.Err() == nil && !failing {
				t.log.Warn("records cannot be followed; trying again", "tenant", string(p.tenant), "error", err)
			}
			failing = true
		} else {
			failing = false
			for _, e := range found {
				seen[e.ID] = e.At
			}
			full := len(found) == pollLimit
			if primed {
				t.tell(p, found)
			}
			if full && ctx.Err() == nil {
				continue
			}
			looked = now
			if !primed {
				primed = true
				close(p.primed)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// known forgets what the next look does not reach, and lists the rest.
func known(seen map[string]time.Time, since time.Time) []string {
	ids := make([]string, 0, len(seen))
	for id, at := range seen {
		if at.Before(since) {
			delete(seen, id)
			continue
		}
		ids = append(ids, id)
	}
	return ids
}

func (t *Tails) tell(p *poll, found []Event) {
	if len(found) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for r := range p.readers {
		var batch []Event
		for i := range found {
			if r.filter.Match(&found[i]) {
				batch = append(batch, found[i])
			}
		}
		if len(batch) == 0 {
			continue
		}
		select {
		case r.ch <- batch:
		default:
			t.end(p, r, ErrTailBehind)
		}
	}
}
