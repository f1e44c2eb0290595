package api

import (
	"sync"

	"latchkey/internal/tenants"
)

// running counts what tenants have under way on this edge.
type running struct {
	each int // of one tenant
	all  int // of all together; 0: not bounded

	mu    sync.Mutex
	total int
	n     map[tenants.ID]int
}

// begin gives a place, until end is called.
func (r *running) begin(t tenants.ID) (end func(), ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.n[t] >= r.each || r.all > 0 && r.total >= r.all {
		return nil, false
	}
	if r.n == nil {
		r.n = map[tenants.ID]int{}
	}
	r.total++
	r.n[t]++
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.total--
		if r.n[t]--; r.n[t] == 0 {
			delete(r.n, t)
		}
	}, true
}
