package stdiotool

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Bounds of a worker's processes where its Host names none.
const (
	defaultProcesses       = 32
	defaultTenantProcesses = 12
)

const (
	// justUsed is how long a process that was given to a call is not taken away
	// again: the call is about to begin on it.
	justUsed = 2 * time.Second

	restMost    = time.Minute // between two starts of a server that keeps ending
	steadyAfter = time.Minute // a process that lived as long has not failed to start
)

// key names the process that a call needs.
type key struct {
	tenant tenants.ID
	server registry.ServerID
	whose  string // shared, or a person's
	hash   string // of the recipe
}

func (k key) of() serverKey { return serverKey{k.tenant, k.server} }

type serverKey struct {
	tenant tenants.ID
	server registry.ServerID
}

// pool has the processes of a worker: one for each key, and besides what is
// being stopped. It starts them, counts them, and remembers which keep ending.
type pool struct {
	seed [32]byte // of the marks of secrets

	mu      sync.Mutex
	servers map[serverKey]int // open instances
	slots   map[key]*slot
	all     map[*process]struct{} // whatever has not ended
	changed chan struct{}         // closed and replaced when a process is ready
}

// slot is a place for one process. It is remembered while it has one, or rests.
type slot struct {
	now   *process
	fails int
	until time.Time // it is not started before
	last  *crash
}

func newPool() *pool {
	p := &pool{servers: map[serverKey]int{}, slots: map[key]*slot{}, all: map[*process]struct{}{}, changed: make(chan struct{})}
	rand.Read(p.seed[:])
	return p
}

// secretsMark tells secrets apart without keeping them.
type secretsMark [sha256.Size]byte

func (l *pool) markOf(secrets map[string]secret.Text) (m secretsMark) {
	h := hmac.New(sha256.New, l.seed[:])
	for _, name := range slices.Sorted(maps.Keys(secrets)) {
		v := secrets[name].Reveal()
		for _, part := range []string{name, v} {
			h.Write([]byte{byte(len(part) >> 16), byte(len(part) >> 8), byte(len(part))})
			h.Write([]byte(part))
		}
	}
	copy(m[:], h.Sum(nil))
	return m
}

// enlist counts an instance of a server.
func (l *pool) enlist(r *recipe) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.servers[serverKey{r.tenant, r.server}]++
}

// leave takes an instance away, and with the last one of a server ends all of
// its processes and waits for that.
func (l *pool) leave(r *recipe) {
	of := serverKey{r.tenant, r.server}
	l.mu.Lock()
	l.servers[of]--
	var ending []*process
	if l.servers[of] <= 0 {
		delete(l.servers, of)
		for p := range l.all {
			if p.key.of() == of {
				l.retire(p)
				ending = append(ending, p)
			}
		}
		for k := range l.slots {
			if k.of() == of {
				delete(l.slots, k)
			}
		}
	}
	l.mu.Unlock()
	for _, p := range ending {
		<-p.ready
		if p.err == nil {
			p.stop()
		}
		<-p.ended
	}
}

// process gives a running process for the key with these secrets, and starts one
// if there is none. Starting goes on when ctx ends.
func (l *pool) process(ctx context.Context, k key, r *recipe, secrets map[string]secret.Text) (*process, error) {
	for {
		p, err := l.take(k, r, secrets)
		if err != nil {
			return nil, err
		}
		if err := started(ctx, p.ready, "started"); err != nil {
			return nil, err
		}
		switch {
		case p.err != nil:
			return nil, p.err
		case p.session.Err() == nil:
			return p, nil
		}
		select { // it is ending, and makes room for another one
		case <-p.ended:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

const (
	patience    = 25 * time.Second // of a call, for what starts or is installed
	beforeItEnd = 300 * time.Millisecond
)

// started waits for what goes on without the call too. A call that would come
// to its end meanwhile is told when to come back.
func started(ctx context.Context, ready <-chan struct{}, what string) error {
	wait := patience
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)-beforeItEnd)
	}
	timer := time.NewTimer(max(wait, 0))
	defer timer.Stop()
	select {
	case <-ready:
		return nil
	default:
	}
	select {
	case <-ready:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return fault.New(fault.Busy, "The server is being %s, which takes longer than this call may. Nothing was done; call again in 5 seconds.", what).After(5 * time.Second)
	}
}

// take gives the slot's process, started or starting.
func (l *pool) take(k key, r *recipe, secrets map[string]secret.Text) (*process, error) {
	mark := l.markOf(secrets)
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[k]
	if s == nil {
		s = &slot{}
		l.slots[k] = s
	}
	if p := s.now; p != nil {
		if p.mark == mark {
			p.used = time.Now()
			return p, nil
		}
		l.retire(p) // its secrets were changed
	}
	if left := time.Until(s.until); left > 0 {
		return nil, s.resting(left)
	}
	p := newProcess(k, r, secrets, mark)
	if err := l.makeRoom(p); err != nil {
		return nil, err
	}
	s.now = p
	l.all[p] = struct{}{}
	go p.run(l)
	return p, nil
}

// resting is what a call gets before the next start.
func (s *slot) resting(left time.Duration) error {
	c := *s.last
	c.rest = left
	return c.fault()
}

// makeRoom retires what stands in the way of a new process: others on the same
// state, and idle ones where there are too many, the longest unused first. What
// it retires must have ended before the new one starts.
func (l *pool) makeRoom(p *process) error {
	most, mostOfTenant := p.recipe.host.Processes, p.recipe.host.TenantProcesses
	if most <= 0 {
		most = defaultProcesses
	}
	if mostOfTenant <= 0 {
		mostOfTenant = defaultTenantProcesses
	}
	if p.recipe.spec.State {
		for o := range l.all {
			if o.key.of() == p.key.of() && o.key.whose == p.key.whose {
				l.retire(o)
				p.after = append(p.after, o)
			}
		}
	}
	for {
		live, ofTenant := 0, 0
		var oldest *process
		for o := range l.all {
			if o.retired {
				continue
			}
			live++
			if o.key.tenant == p.key.tenant {
				ofTenant++
			}
		}
		if live < most && ofTenant < mostOfTenant {
			return nil
		}
		for o := range l.all {
			if (o.key.tenant == p.key.tenant || ofTenant < mostOfTenant) && l.evictable(o) && (oldest == nil || o.used.Before(oldest.used)) {
				oldest = o
			}
		}
		if oldest == nil {
			return fault.New(fault.Busy, "As many servers are at work as may be, and none of them is idle. Nothing was done; call again in a few seconds.").After(5 * time.Second)
		}
		l.retire(oldest)
		p.after = append(p.after, oldest)
	}
}

func (l *pool) evictable(o *process) bool {
	select {
	case <-o.ready:
		return !o.retired && o.err == nil && o.working() == 0 && time.Since(o.used) > justUsed
	default:
		return false
	}
}

// working is how many calls run, without who only listens for what changes.
func (p *process) working() int { return p.session.Busy() - p.listens }

// retire gives a process no more calls. It ends when its last one has.
func (l *pool) retire(p *process) {
	if p.retired {
		return
	}
	p.retired = true
	close(p.retiring)
	if s := l.slots[p.key]; s != nil && s.now == p {
		s.now = nil
	}
}

// busy is how many calls run on a process.
func (l *pool) busy(p *process) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return p.working()
}

// retireIdle retires a process that has had nothing to do for so long.
func (l *pool) retireIdle(p *process, idle time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if p.working()-p.probes > 0 {
		p.used = time.Now()
	}
	if time.Since(p.used) >= idle { // with no time at all, at once
		l.retire(p)
	}
}

// isReady tells who waits for a process.
func (l *pool) isReady() {
	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.changed)
	l.changed = make(chan struct{})
}

// failed is the end of a process that did not start. What is wrong with the
// server counts as a crash; what is wrong around it does not.
func (l *pool) failed(p *process, err error) error {
	var c *crash
	if errors.As(err, &c) {
		c.rest = l.crashed(p, c)
		p.log.Warn("server not started", "why", c.words, "stderr", c.stderr, "rest", c.rest.String())
		err = c.fault()
	} else {
		p.log.Warn("server not started", "err", err)
	}
	l.gone(p)
	return err
}

// crashed notes a crash, and says how long the server rests: nothing after the
// first, then a second, and twice as long each time.
func (l *pool) crashed(p *process, c *crash) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[p.key]
	if s == nil {
		return 0
	}
	if time.Since(p.began) >= steadyAfter {
		s.fails = 0
	}
	s.fails++
	rest := time.Duration(0)
	if s.fails > 1 {
		rest = min(time.Second<<min(s.fails-2, 10), restMost)
	}
	s.until, s.last = time.Now().Add(rest), c
	return rest
}

// gone forgets a process that has ended.
func (l *pool) gone(p *process) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.retire(p)
	delete(l.all, p)
	now := time.Now()
	for k, s := range l.slots { // those whose last crash is long ago
		if s.now == nil && (s.fails == 0 || now.Sub(s.until) > 2*restMost) {
			delete(l.slots, k)
		}
	}
}

// running gives the process of a slot that is ready for calls, without starting
// one or counting as use.
func (l *pool) running(k key) *process {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[k]
	if s == nil || s.now == nil {
		return nil
	}
	select {
	case <-s.now.ready:
		if s.now.err == nil && s.now.session.Err() == nil {
			return s.now
		}
	default:
	}
	return nil
}

// rests says why a server that keeps ending cannot be called now.
func (l *pool) rests(k key) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.slots[k]
	if s == nil || s.now != nil {
		return nil
	}
	left := time.Until(s.until)
	if left <= 0 {
		return nil
	}
	return s.resting(left)
}

// awaitRunning waits for a process that is ready for calls.
func (l *pool) awaitRunning(ctx context.Context, k func() key) bool {
	for {
		l.mu.Lock()
		changed := l.changed
		l.mu.Unlock()
		if l.running(k()) != nil {
			return true
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// overhear counts a listener, which a process does not live for, and probed a
// probe, which is no use of it.
func (l *pool) overhear(k key) (done func()) {
	return l.aside(k, func(p *process, n int) { p.listens += n })
}

func (l *pool) probed(k key) (done func()) {
	return l.aside(k, func(p *process, n int) { p.probes += n })
}

func (l *pool) aside(k key, count func(p *process, n int)) (done func()) {
	p := l.running(k)
	if p == nil {
		return func() {}
	}
	add := func(n int) {
		l.mu.Lock()
		defer l.mu.Unlock()
		count(p, n)
	}
	add(1)
	return func() { add(-1) }
}

// lives reports whether a server has a process.
func (l *pool) lives(of serverKey) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	for p := range l.all {
		if p.key.of() == of {
			return true
		}
	}
	return false
}
