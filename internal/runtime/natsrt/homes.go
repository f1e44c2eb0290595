package natsrt

import (
	"hash/fnv"
	"slices"
)

// Calls with the same home go to the same worker while it lives: the one with
// the highest weight for that home among the workers of the pool (rendezvous
// hashing). Edges agree without speaking to each other, since each hears all
// announcements. When a worker is gone or leaves, only its own homes move, each
// to the next in its order; when one joins, it takes its share of them.
//
// The weight is of the configured name and not of the run: a worker that was
// restarted has its homes again, and with them what they keep on its disk.

// rollCall asks all workers to announce themselves, for an edge that has just
// come up.
const rollCall = "worker.roll"

// homeSubject is where calls for one worker go. The instance is a queue group of
// its own, so that nobody else can listen.
func homeSubject(pool, instance string) string { return callPrefix + pool + "." + instance }

// homes finds the worker of a call, try by try.
type homes struct {
	pool, home string
	last       string   // the instance that was tried last
	gone       []string // instances that will not take it
}

// learn remembers that the worker of the last try is no home any more. A full
// one still is: its calls wait for it. One that the server does not know is
// forgotten by all, until it announces itself again.
func (e *Edge) learn(h *homes, v verdict) {
	if h.home == "" || h.last == "" {
		return
	}
	if v.end == noResponders {
		e.mu.Lock()
		delete(e.workers, h.last)
		e.mu.Unlock()
	}
	if v.end == noResponders || v.end == lost || v.end == replayed || v.end == refused && v.leaving {
		h.gone = append(h.gone, h.last)
	}
}

// subject is where the next try goes: to any worker of the pool where the call
// has no home; empty where the pool has no worker.
func (e *Edge) subject(h *homes) string {
	if h.home == "" {
		return callPrefix + h.pool
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	best, weight := "", uint64(0)
	for instance, w := range e.workers {
		if w.Pool != h.pool || slices.Contains(h.gone, instance) {
			continue
		}
		if x := weigh(h.home, w.Name); best == "" || x > weight || x == weight && instance > best {
			best, weight = instance, x
		}
	}
	if best == "" {
		h.last, h.gone = "", nil // a worker that was away for a moment may be all there is
		return ""
	}
	h.last = best
	return homeSubject(h.pool, best)
}

// weigh is the same on every edge. FNV alone spreads names that differ in their
// last letter badly, so that its bits are mixed once more (the finalizer of
// MurmurHash3).
func weigh(home, worker string) uint64 {
	f := fnv.New64a()
	f.Write([]byte(home))
	f.Write([]byte{0})
	f.Write([]byte(worker))
	x := f.Sum64()
	x ^= x >> 33
	x *= 0xff51afd7ed558ccd
	x ^= x >> 33
	x *= 0xc4ceb9fe1a85ec53
	return x ^ x>>33
}
