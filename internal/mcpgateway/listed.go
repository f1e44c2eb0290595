package mcpgateway

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Versions is what the gateway asks of a store to let sessions go on with the
// tools that they listed. Reads of what was listed come from memory where they
// can: see fresh.
type Versions interface {
	// ListedRevision is the one that a grant listed last, or empty.
	ListedRevision(ctx context.Context, t tenants.ID, grant string, s registry.ServerID) (registry.RevisionID, error)
	RememberListed(ctx context.Context, t tenants.ID, grant string, s registry.ServerID, r registry.RevisionID) error
	Revision(ctx context.Context, t tenants.ID, id registry.RevisionID) (registry.Revision, error)
	RevisionsBefore(ctx context.Context, t tenants.ID, s registry.ServerID, number, limit int) ([]registry.Revision, error)
}

// listings remember which revision a grant listed. What was listed here and is
// not yet written counts before what the store says.
type listings struct {
	store   Versions // nil: nothing is remembered
	log     *slog.Logger
	mu      sync.Mutex
	pending map[listedKey]registry.RevisionID
	writing sync.WaitGroup
}

type listedKey struct {
	tenant tenants.ID
	grant  string
	server registry.ServerID
}

const (
	maxPending = 10_000 // lists that wait to be written; further ones are not remembered
	writeTries = 3
)

func keyOf(ex *exchange, s registry.ServerID) listedKey {
	return listedKey{ex.tenant.ID, ex.principal.Grant, s}
}

// of is the revision that the caller's tools of a server are of, or empty. The
// server is the one that is called, or one that a toolset has tools of.
func (l *listings) of(ctx context.Context, ex *exchange, s registry.ServerID) (registry.RevisionID, error) {
	k := keyOf(ex, s)
	if l.store == nil || k.grant == "" {
		return "", nil
	}
	l.mu.Lock()
	rev := l.pending[k]
	l.mu.Unlock()
	if rev != "" {
		return rev, nil
	}
	return l.store.ListedRevision(ctx, k.tenant, k.grant, k.server)
}

// remember that a list of the revision's tools is given out. It is written
// afterwards, and only where it differs.
func (l *listings) remember(ex *exchange, h *registry.Hosted) {
	k := keyOf(ex, h.Server.ID)
	if l.store == nil || k.grant == "" {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, writing := l.pending[k]
	if !writing && len(l.pending) >= maxPending {
		return
	}
	l.pending[k] = h.Revision.ID
	if !writing {
		l.writing.Go(func() { l.write(k) })
	}
}

// write brings the store to what was listed last. What cannot be written is
// forgotten: the grant then gets the active revision, as one that never listed.
func (l *listings) write(k listedKey) {
	for try := 1; ; {
		l.mu.Lock()
		rev := l.pending[k]
		l.mu.Unlock()
		err := l.put(k, rev)
		if err != nil && try < writeTries && !fault.HasCode(err, fault.NotFound) { // a grant that has ended
			try++
			<-time.After(time.Second)
			continue
		}
		if err != nil && !fault.HasCode(err, fault.NotFound) {
			l.log.Warn("what a session listed is not remembered", "tenant", k.tenant, "server", k.server, "error", err)
		}
		l.mu.Lock()
		if l.pending[k] == rev {
			delete(l.pending, k)
			l.mu.Unlock()
			return
		}
		try = 1
		l.mu.Unlock()
	}
}

func (l *listings) put(k listedKey, rev registry.RevisionID) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	stored, err := l.store.ListedRevision(ctx, k.tenant, k.grant, k.server)
	if err != nil || stored == rev {
		return err
	}
	return l.store.RememberListed(ctx, k.tenant, k.grant, k.server, rev)
}
