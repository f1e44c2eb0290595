package natsrt

import (
	"cmp"
	"encoding/json"
	"slices"
	"time"

	"github.com/nats-io/nats.go"
)

const (
	disconnects = "$SYS.ACCOUNT.*.DISCONNECT"

	watchEvery = 50 * time.Millisecond
	// reconnectGrace is how long a call with effects waits for a worker whose
	// connection ended: it may only have lost the connection, and an answer is
	// worth more than "unknown".
	reconnectGrace = 750 * time.Millisecond
	serverWait     = time.Second // for the server to answer the edge itself
	announceFor    = 3 * announceEvery
)

// WorkerInfo is a worker as it last announced itself.
type WorkerInfo struct {
	Name     string
	Instance string // this run of it
	Pool     string
	Slots    int
	Busy     int
	Version  string
	LastSeen time.Time
}

// Workers lists the workers that announced themselves in the last 6 s and have
// not left since, by name.
func (e *Edge) Workers() []WorkerInfo {
	e.mu.Lock()
	defer e.mu.Unlock()
	var out []WorkerInfo
	for _, w := range e.workers {
		out = append(out, *w)
	}
	slices.SortFunc(out, func(a, b WorkerInfo) int { return cmp.Compare(a.Instance, b.Instance) })
	return out
}

// maxWorkers bounds what announcements can make an edge remember.
const maxWorkers = 10_000

func (e *Edge) onAnnounce(m *nats.Msg) {
	var a announcement
	if len(m.Data) > 4<<10 || json.Unmarshal(m.Data, &a) != nil || !validToken(a.Instance) || !validToken(a.Pool) {
		e.log.Warn("announcement dropped: malformed")
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if a.Leaving {
		delete(e.workers, a.Instance)
		return
	}
	if e.workers[a.Instance] == nil && len(e.workers) >= maxWorkers {
		return
	}
	e.workers[a.Instance] = &WorkerInfo{
		Name: workerName(a.Instance), Instance: a.Instance, Pool: a.Pool,
		Slots: a.Slots, Busy: a.Busy, Version: clip(a.Version, 128), LastSeen: time.Now(),
	}
}

// onDisconnect hears from the server that a connection ended.
func (e *Edge) onDisconnect(m *nats.Msg) {
	var ev struct {
		Client struct {
			Name string `json:"name"`
		} `json:"client"`
	}
	if json.Unmarshal(m.Data, &ev) != nil || ev.Client.Name == "" {
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	delete(e.workers, ev.Client.Name)
	for _, a := range e.attempts {
		switch {
		case a.instance != ev.Client.Name:
		case a.repeatable:
			e.deliver(a, frame{kind: kindLost})
		default:
			// Never later than silence would end it: the server may say only now
			// that the connection is stale.
			if end := time.Now().Add(reconnectGrace - silence); end.Before(a.heardAt) {
				a.heardAt = end
			}
		}
	}
}

func (e *Edge) onBeat(f frame) {
	now := time.Now()
	var unknown []string
	e.mu.Lock()
	for b := f.data; len(b) > 0; b = b[tokenLen:] {
		if a := e.attempts[string(b[:tokenLen])]; a != nil && a.instance == f.instance {
			a.heardAt = now
		} else if a == nil {
			unknown = append(unknown, string(b[:tokenLen]))
		}
	}
	e.mu.Unlock()
	for _, token := range unknown {
		e.cancel(f.instance, token) // given up on; or answered just now, then this says nothing
	}
}

// watch is the one goroutine that keeps time for all attempts.
func (e *Edge) watch() {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	last := time.Now()
	for {
		select {
		case <-e.base.Done():
			return
		case <-tick.C:
		}
		now := time.Now()
		// If this process was held up, it has not been listening either:
		// what it did not hear in that time counts for nothing.
		held := max(now.Sub(last)-2*watchEvery, 0)
		last = now
		for _, token := range e.overdue(now, held) {
			if err := e.conn.Publish(e.inbox, encodeLapsed(token)); err != nil {
				e.log.Warn("frame not sent", "err", err)
			}
		}
	}
}

// overdue ends the attempts whose worker is silent, and names those that were
// not accepted in time.
func (e *Edge) overdue(now time.Time, held time.Duration) (unaccepted []string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for name, w := range e.workers {
		if now.Sub(w.LastSeen) > announceFor+held {
			delete(e.workers, name)
		}
	}
	for token, a := range e.attempts {
		switch {
		case a.instance != "":
			if a.heardAt = a.heardAt.Add(held); now.Sub(a.heardAt) > silence {
				e.deliver(a, frame{kind: kindLost})
			}
		case !a.lapsedAt.IsZero():
			if now.Sub(a.lapsedAt) > serverWait {
				e.deliver(a, frame{kind: kindUnreachable})
			}
		case now.Sub(a.sentAt) > acceptWait:
			a.lapsedAt = now
			unaccepted = append(unaccepted, token)
		}
	}
	return unaccepted
}
