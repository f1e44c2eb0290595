// Package peers says which other edges serve now and where they take requests
// from one another. Each edge announces itself in the store again and again;
// one that has not done so for a while is gone.
//
// It leaves to mcpgateway what is passed on, and to whom a request belongs. An
// address is only ever one that an edge announced: nothing that a caller sends
// becomes one.
package peers

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"sync"
	"time"
)

const (
	announceEvery = 5 * time.Second
	// Life is how long an edge counts as there after it was last heard.
	Life = 20 * time.Second
	// lookAfter is the least time between two looks for edges that are not known.
	lookAfter = 250 * time.Millisecond
	storeTime = 3 * time.Second // of one question to the store
)

// Edge is one process that serves.
type Edge struct {
	ID  string // another one each time that it starts
	URL string // scheme, host and port
}

// Store keeps what edges announce. Its clock decides what is new.
type Store interface {
	// AnnounceEdge says that an edge is there now. It also forgets those that
	// went long ago.
	AnnounceEdge(ctx context.Context, e Edge) error
	RetireEdge(ctx context.Context, id string) error
	// Edges lists those that announced themselves within a time.
	Edges(ctx context.Context, within time.Duration) ([]Edge, error)
}

// CheckURL reads the address of an edge for others.
func CheckURL(raw string) (string, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || len(raw) > 300 ||
		u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.ForceQuery || u.Fragment != "" || u.Opaque != "" {
		return "", errors.New("must be scheme, host and port of this edge as other edges reach it, such as http://10.0.0.7:8080")
	}
	return u.Scheme + "://" + u.Host, nil
}

// Directory knows the edges that are there.
type Directory struct {
	store Store
	self  Edge
	log   *slog.Logger
	wake  chan struct{}

	looking sync.Mutex // held by who reads the store
	mu      sync.Mutex
	known   map[string]string // URL by id
	looked  time.Time         // when the last look began
}

// New makes a directory. An edge without a URL looks others up and is not
// announced.
func New(store Store, self Edge, log *slog.Logger) *Directory {
	return &Directory{store: store, self: self, log: log, wake: make(chan struct{}, 1)}
}

// Run announces this edge and follows the others until ctx ends; then it says
// that this one is gone.
func (d *Directory) Run(ctx context.Context) {
	if d.self.URL != "" {
		defer d.retire(ctx)
	}
	tick := time.NewTicker(announceEvery)
	defer tick.Stop()
	d.announce(ctx)
	for {
		d.Look(ctx)
		select {
		case <-d.wake:
		case <-tick.C:
			d.announce(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// Changed has Run look: an edge came or went. It does not wait.
func (d *Directory) Changed() {
	select {
	case d.wake <- struct{}{}:
	default: // it will look anyway, and has not begun to
	}
}

func (d *Directory) announce(ctx context.Context) {
	if d.self.URL == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	if err := d.store.AnnounceEdge(ctx, d.self); err != nil && !errors.Is(ctx.Err(), context.Canceled) {
		d.log.Warn("this edge is not announced to the others; sessions that it has are not found there", "error", err)
	}
}

func (d *Directory) retire(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeTime)
	defer cancel()
	if err := d.store.RetireEdge(ctx, d.self.ID); err != nil {
		d.log.Warn("the others were not told that this edge ends; they will see", "error", err)
	}
}

// Look reads who is there now. What is known stays when the store does not
// answer.
func (d *Directory) Look(ctx context.Context) {
	d.looking.Lock()
	defer d.looking.Unlock()
	d.look(ctx)
}

func (d *Directory) look(ctx context.Context) {
	began := time.Now()
	ctx, cancel := context.WithTimeout(ctx, storeTime)
	defer cancel()
	edges, err := d.store.Edges(ctx, Life)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.looked = began
	if err != nil {
		if !errors.Is(ctx.Err(), context.Canceled) {
			d.log.Warn("other edges are not known", "error", err)
		}
		return
	}
	d.known = make(map[string]string, len(edges))
	for _, e := range edges {
		d.known[e.ID] = e.URL
	}
}

// Peer is where another edge takes requests. One that is not known is looked
// for: it may have come a moment ago. However many are asked for, the store is
// read a few times a second at most.
func (d *Directory) Peer(ctx context.Context, id string) (base string, ok bool) {
	if id == d.self.ID {
		return "", false
	}
	asked := time.Now()
	if base, ok, _ = d.find(id); ok {
		return base, true
	}
	d.looking.Lock()
	defer d.looking.Unlock()
	base, ok, looked := d.find(id)
	if ok || asked.Sub(looked) < lookAfter { // somebody looked meanwhile, or just before
		return base, ok
	}
	d.look(context.WithoutCancel(ctx))
	base, ok, _ = d.find(id)
	return base, ok
}

func (d *Directory) find(id string) (base string, ok bool, looked time.Time) {
	d.mu.Lock()
	defer d.mu.Unlock()
	base, ok = d.known[id]
	return base, ok, d.looked
}
