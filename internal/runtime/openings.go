package runtime

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Openings is where a worker gets what it needs to open a server.
type Openings interface {
	Opening(ctx context.Context, t tenants.ID, s registry.ServerID, r registry.RevisionID) (Opening, error)
}

// Hash is SHA-256 over the opening as canonical JSON, hex. It survives every
// store that keeps JSON by value: key order, spaces and escapes do not count.
func (o Opening) Hash() string {
	o.Spec, o.Connection = canonical(o.Spec), canonical(o.Connection)
	b, err := json.Marshal(o)
	if err != nil {
		// Only a spec that is no JSON gets here; it matches nothing.
		return ""
	}
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// canonical sorts keys and drops spaces. Numbers keep the form they have.
func canonical(raw json.RawMessage) json.RawMessage {
	if len(raw) == 0 {
		return nil
	}
	var v any
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		return raw
	}
	b, err := json.Marshal(v)
	if err != nil {
		return raw
	}
	return b
}

// openTimeout bounds one opening, which several calls may wait for: it does
// not end with the call that came first.
const openTimeout = 30 * time.Second

type openKey struct {
	tenant   tenants.ID
	server   registry.ServerID
	revision registry.RevisionID
	hash     string
}

// opened is one open server, or one that is being opened.
type opened struct {
	key      openKey
	ready    chan struct{} // closed once the four below are set
	opening  Opening
	policies map[string]*guard.Policy // by rule
	instance Instance
	err      error

	// guarded by openings.mu
	users    int
	lastUsed time.Time
	dropped  bool // no longer in the table; closed by its last user
}

// openings keeps servers open between calls: one instance for each revision,
// opened once however many calls ask for it at the same time.
type openings struct {
	source Openings
	kinds  map[string]Kind
	max    int
	idle   time.Duration
	host   Host
	log    *slog.Logger

	mu       sync.Mutex
	table    map[openKey]*opened
	sweeping bool
	closed   bool
	stop     chan struct{}
	running  sync.WaitGroup // servers that are not closed yet, openers and the sweeper
}

func newOpenings(cfg WorkerConfig) *openings {
	o := &openings{
		source: cfg.Openings, kinds: map[string]Kind{}, max: cfg.MaxOpen, idle: cfg.IdleClose, host: cfg.Host, log: cfg.Log,
		table: map[openKey]*opened{}, stop: make(chan struct{}),
	}
	for _, k := range cfg.Kinds {
		o.kinds[k.Name] = k
	}
	return o
}

// acquire gives the open server of a call, to be released after use.
func (o *openings) acquire(ctx context.Context, c *Call) (*opened, error) {
	e, err := o.lookup(openKey{c.Tenant, c.Server, c.Revision, c.OpenHash})
	if err != nil {
		return nil, err
	}
	select {
	case <-e.ready:
	case <-ctx.Done():
		o.release(e)
		return nil, ctx.Err()
	}
	if e.err != nil {
		o.release(e)
		return nil, e.err
	}
	return e, nil
}

func (o *openings) lookup(key openKey) (*opened, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return nil, Refuse(Draining)
	}
	if e, ok := o.table[key]; ok {
		e.users++
		return e, nil
	}
	if len(o.table) >= o.max && !o.evictOldest() {
		return nil, fault.New(fault.Busy, "This worker has as many servers open as it may. Try again in a few seconds.").After(5 * time.Second)
	}
	e := &opened{key: key, ready: make(chan struct{}), users: 1, lastUsed: time.Now()}
	o.table[key] = e
	o.running.Add(1) // until closeLater is done with it
	o.running.Go(func() { o.open(e) })
	if !o.sweeping {
		o.sweeping = true
		o.running.Go(o.sweep)
	}
	return e, nil
}

func (o *openings) release(e *opened) {
	o.mu.Lock()
	defer o.mu.Unlock()
	e.users--
	e.lastUsed = time.Now()
	if e.users == 0 && e.dropped {
		o.closeLater(e)
	}
}

func (o *openings) open(e *opened) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	e.opening, e.instance, e.err = o.fetchAndOpen(ctx, e.key, func(opening Opening) (err error) {
		e.policies, err = policies(opening)
		return err
	})
	if e.err != nil {
		o.mu.Lock()
		o.drop(e) // the next call tries again
		o.mu.Unlock()
	}
	close(e.ready)
}

// fetchAndOpen opens only what prepare says yes to.
func (o *openings) fetchAndOpen(ctx context.Context, key openKey, prepare func(Opening) error) (opening Opening, in Instance, err error) {
	defer fault.Wrap(&err, "open server %s revision %s of %s", key.server, key.revision, key.tenant)
	opening, err = o.source.Opening(ctx, key.tenant, key.server, key.revision)
	if err != nil {
		return opening, nil, err
	}
	if opening.Tenant != key.tenant || opening.Server != key.server || opening.Revision != key.revision || opening.Hash() != key.hash {
		return opening, nil, errors.New("the opening is not the one the edge signed")
	}
	if err := prepare(opening); err != nil {
		return opening, nil, err
	}
	kind, ok := o.kinds[opening.Kind]
	if !ok {
		return opening, nil, fault.New(fault.NoWorker, "No worker of this pool runs servers of kind %q. Ask your administrator to move the server to a pool that does.", opening.Kind)
	}
	defer func() {
		if p := recover(); p != nil {
			in, err = nil, panicked(o.log, p, "open "+string(key.server))
		}
	}()
	in, err = kind.Open(ctx, opening, o.host)
	if err == nil && in == nil {
		err = fmt.Errorf("kind %s opened nothing", opening.Kind)
	}
	return opening, in, err
}

// evictOldest makes room by closing the server that has been unused longest.
func (o *openings) evictOldest() bool {
	var oldest *opened
	for _, e := range o.table {
		if e.users == 0 && (oldest == nil || e.lastUsed.Before(oldest.lastUsed)) {
			oldest = e
		}
	}
	if oldest == nil {
		return false
	}
	o.drop(oldest)
	return true
}

// drop takes a server out of the table and closes it, or leaves that to its
// last user.
func (o *openings) drop(e *opened) {
	if e.dropped {
		return
	}
	e.dropped = true
	delete(o.table, e.key)
	if e.users == 0 {
		o.closeLater(e)
	}
}

func (o *openings) closeLater(e *opened) {
	go func() {
		defer o.running.Done()
		<-e.ready
		if e.instance == nil {
			return
		}
		defer func() {
			if p := recover(); p != nil {
				panicked(o.log, p, "close "+string(e.key.server))
			}
		}()
		if err := e.instance.Close(); err != nil {
			o.log.Warn("server did not close", "tenant", e.key.tenant, "server", e.key.server, "err", err)
		}
	}()
}

// sweep closes what has been idle, until nothing is open.
func (o *openings) sweep() {
	tick := time.NewTicker(max(o.idle/4, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-o.stop:
			return
		case <-tick.C:
			if !o.closeIdle(time.Now()) {
				return
			}
		}
	}
}

func (o *openings) closeIdle(now time.Time) (any bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, e := range o.table {
		if e.users == 0 && now.Sub(e.lastUsed) >= o.idle && !e.keeps() {
			o.drop(e)
		}
	}
	o.sweeping = len(o.table) > 0
	return o.sweeping
}

// keeps reports whether the server holds what ends by a time of its own.
func (e *opened) keeps() bool {
	select {
	case <-e.ready:
		k, ok := e.instance.(Keeper)
		return ok && k.Keeps()
	default:
		return false
	}
}

func (o *openings) close(ctx context.Context) error {
	o.mu.Lock()
	if !o.closed {
		o.closed = true
		close(o.stop)
		for _, e := range o.table {
			o.drop(e)
		}
	}
	o.mu.Unlock()
	done := make(chan struct{})
	go func() {
		o.running.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("close worker: servers are still in use: %w", ctx.Err())
	}
}
