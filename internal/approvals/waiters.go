package approvals

import (
	"sync"

	"latchkey/internal/tenants"
)

// Waiters wake calls that wait for a decision, whichever edge it is made on. The
// zero value is ready for use.
type Waiters struct {
	mu      sync.Mutex
	waiting map[waited]map[chan struct{}]bool
	closed  bool
}

type waited struct {
	tenant tenants.ID
	id     string
}

// Wait gives a channel that is closed when something may have become of an
// approval. Look at it after this call, and again when the channel is closed.
func (w *Waiters) Wait(t tenants.ID, id string) (woken <-chan struct{}, stop func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	ch, of := make(chan struct{}), waited{t, id}
	if w.closed {
		close(ch)
		return ch, func() {}
	}
	if w.waiting == nil {
		w.waiting = map[waited]map[chan struct{}]bool{}
	}
	if w.waiting[of] == nil {
		w.waiting[of] = map[chan struct{}]bool{}
	}
	w.waiting[of][ch] = true
	return ch, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if delete(w.waiting[of], ch); len(w.waiting[of]) == 0 {
			delete(w.waiting, of)
		}
	}
}

// Wake wakes those who wait for one approval.
func (w *Waiters) Wake(t tenants.ID, id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.wake(waited{t, id})
}

// WakeAll wakes everybody: something may have been missed.
func (w *Waiters) WakeAll() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for of := range w.waiting {
		w.wake(of)
	}
}

func (w *Waiters) wake(of waited) {
	for ch := range w.waiting[of] {
		close(ch)
	}
	delete(w.waiting, of)
}

// Close wakes everybody, and whoever comes after: a process that ends keeps
// nobody waiting.
func (w *Waiters) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.WakeAll()
}

// Closed reports whether nobody waits any more.
func (w *Waiters) Closed() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}
