package natsrt

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/nats-io/nats.go"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// Served is a worker that takes calls from a pool.
type Served struct {
	conn     *nats.Conn
	worker   *runtime.Worker
	pool     string
	instance string
	base     context.Context // of every call
	end      context.CancelFunc
	subs     []*nats.Subscription
	draining atomic.Bool
	handling atomic.Int64 // calls in a goroutine, refused ones too
	calls    sync.WaitGroup
	pulsing  sync.WaitGroup

	mu      sync.Mutex
	live    map[string]*liveCall // by token
	waiting []*liveCall          // whose acceptance is not sent yet, oldest first
	kick    chan struct{}        // waiting has its first
}

// liveCall is a call that the edge has not had the last frame of.
type liveCall struct {
	to       replyAddress
	cancel   context.CancelFunc
	credit   chan struct{} // one for each chunk the edge has taken
	acceptAt time.Time     // when the acceptance is due, unless the result comes first

	// guarded by Served.mu
	settled bool                     // accepted or answered
	asked   uint32                   // questions so far
	waiting map[uint32]chan<- answer // those that wait
}

// ServeWorker takes calls of the pool from the connection, which DialWorker
// made, until Stop, or until ctx is done, which cancels every call.
func ServeWorker(ctx context.Context, conn *nats.Conn, pool string, w *runtime.Worker) (*Served, error) {
	if !validToken(pool) {
		return nil, fmt.Errorf("pool name %q: use letters, digits, - and _", pool)
	}
	instance := conn.Opts.Name
	if !validToken(instance) {
		var err error
		if instance, err = newInstance(w.Name); err != nil {
			return nil, err
		}
	}
	s := &Served{conn: conn, worker: w, pool: pool, instance: instance, live: map[string]*liveCall{}, kick: make(chan struct{}, 1)}
	s.base, s.end = context.WithCancel(ctx)
	// The control subject comes first: a call must be cancellable.
	if err := s.subscribe(controlPrefix+instance, "", s.onControl); err != nil {
		return nil, err
	}
	if err := s.subscribe(callPrefix+pool, workersQueue, s.onCall); err != nil {
		return nil, err
	}
	if err := s.subscribe(homeSubject(pool, instance), workersQueue, s.onCall); err != nil {
		return nil, err
	}
	if err := s.subscribe(rollCall, "", func(*nats.Msg) { s.announce(s.draining.Load()) }); err != nil {
		return nil, err
	}
	s.pulsing.Go(s.pulse)
	s.announce(false)
	return s, nil
}

func (s *Served) subscribe(subject, queue string, on nats.MsgHandler) error {
	sub, err := s.conn.QueueSubscribe(subject, queue, on)
	if err != nil {
		s.end()
		return fmt.Errorf("subscribe %s: %w", subject, err)
	}
	s.subs = append(s.subs, sub)
	return nil
}

// Instance names this run of the worker.
func (s *Served) Instance() string { return s.instance }

// Stop refuses new calls, waits for the running ones until ctx is done, then
// cancels what is left and waits for that shortly.
func (s *Served) Stop(ctx context.Context) error {
	s.draining.Store(true)
	s.announce(true)
	for _, sub := range s.subs[1:] {
		// Drain rather than unsubscribe: what the server has sent already is
		// refused in words, and need not wait for its accept-by time.
		if err := sub.Drain(); err != nil && !errors.Is(err, nats.ErrConnectionClosed) {
			s.worker.Log.Warn("drain subscription", "err", err)
		}
	}
	err := s.await(ctx)
	s.end()
	if err != nil {
		last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		_ = s.await(last) // a kind that ignores its context; the process ends it
	}
	s.pulsing.Wait()
	_ = s.subs[0].Unsubscribe()
	_ = s.conn.FlushTimeout(time.Second)
	return err
}

func (s *Served) await(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.calls.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("calls were still running: %w", ctx.Err())
	}
}

// onCall runs on the subscription's one goroutine, so that it only decides
// whether there may be a goroutine for the call.
func (s *Served) onCall(m *nats.Msg) {
	to, err := parseReply(m.Reply)
	if err != nil {
		s.worker.Log.Warn("call without an edge to answer to", "err", err)
		return
	}
	if s.draining.Load() {
		s.publish(to, encodeRefuse(to.token, s.instance, runtime.Draining))
		return
	}
	// Some more than there are places: those are refused after they were read,
	// which takes no longer than this.
	if s.handling.Add(1) > int64(s.worker.Slots+s.worker.MaxListens)+64 {
		s.handling.Add(-1)
		s.publish(to, encodeRefuse(to.token, s.instance, runtime.Full))
		return
	}
	s.calls.Add(1)
	go func() {
		defer s.calls.Done()
		defer s.handling.Add(-1)
		s.handle(to, m.Data)
	}()
}

func (s *Served) handle(to replyAddress, data []byte) {
	req, err := decodeRequest(data)
	if err != nil {
		s.fail(to, fault.New(fault.InvalidRequest, "The worker could not read the call.").Because(err))
		return
	}
	received, err := s.worker.Receive(&req.call, req.acceptBy)
	if err != nil {
		s.fail(to, err)
		return
	}
	ctx, cancel := context.WithCancel(s.base)
	defer cancel()
	lc := s.begin(to, cancel, req.has(flagRepeatable))
	defer s.finish(lc)

	if !req.has(flagRepeatable) {
		if err := s.acceptForSure(ctx, lc, received); err != nil {
			received.Abandon()
			s.fail(to, err)
			return
		}
	}
	res, err := received.Run(ctx, s.back(lc, &req))
	if err != nil {
		s.fail(to, err)
		return
	}
	s.answer(ctx, lc, res)
}

// begin makes the call known to the control subject and the pulse.
func (s *Served) begin(to replyAddress, cancel context.CancelFunc, repeatable bool) *liveCall {
	lc := &liveCall{to: to, cancel: cancel}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.live[to.token] = lc
	if repeatable {
		lc.acceptAt = time.Now().Add(acceptDelay)
		s.waiting = append(s.waiting, lc)
		if len(s.waiting) == 1 {
			select {
			case s.kick <- struct{}{}:
			default:
			}
		}
	}
	return lc
}

func (s *Served) finish(lc *liveCall) {
	s.mu.Lock()
	defer s.mu.Unlock()
	lc.settled = true
	delete(s.live, lc.to.token)
}

// acceptForSure accepts a call with effects: it starts only after the server
// has the acceptance, and only if that was in time. Otherwise an edge could
// take the call for not accepted and send it elsewhere.
func (s *Served) acceptForSure(ctx context.Context, lc *liveCall, r *runtime.Received) error {
	s.mu.Lock()
	lc.settled = true
	s.mu.Unlock()
	s.publish(lc.to, encodeAccept(lc.to.token, s.instance))
	flush, cancel := context.WithTimeout(ctx, acceptBy)
	defer cancel()
	if err := s.conn.FlushWithContext(flush); err != nil || !r.StillWanted() {
		return runtime.Refuse(runtime.Late)
	}
	return nil
}

// answer sends a result, in chunks where it is large.
func (s *Served) answer(ctx context.Context, lc *liveCall, res *runtime.Result) {
	data, err := marshalResult(res)
	if err == nil && len(data) > maxWire {
		err = runtime.TooLarge(len(data), maxResult)
	}
	if err != nil {
		s.fail(lc.to, err)
		return
	}
	var chunks uint32
	if len(data) > chunkSize {
		// The call's own time is over or not; an edge that takes nothing for so
		// long has gone.
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		s.mu.Lock()
		lc.credit = make(chan struct{}, chunkWindow)
		s.mu.Unlock()
	}
	for ; len(data) > chunkSize; chunks++ {
		if chunks >= chunkWindow {
			select {
			case <-lc.credit:
			case <-ctx.Done(): // the edge has gone, or has had enough
				return
			}
		}
		s.publish(lc.to, encodePart(kindChunk, lc.to.token, s.instance, chunks, data[:chunkSize]))
		data = data[chunkSize:]
	}
	s.publish(lc.to, encodePart(kindResult, lc.to.token, s.instance, chunks, data))
}

// fail answers with an error, or with a refusal if the call was not started.
func (s *Served) fail(to replyAddress, err error) {
	var refused *runtime.Refused
	if errors.As(err, &refused) {
		s.publish(to, encodeRefuse(to.token, s.instance, refused.Reason))
		return
	}
	s.publish(to, encodeError(to.token, s.instance, fault.Of(err)))
}

// publish hands a frame to the connection. One that cannot be sent is lost,
// and the edge notices by the silence.
func (s *Served) publish(to replyAddress, frame []byte) {
	if err := s.conn.Publish(to.edge, frame); err != nil {
		s.worker.Log.Warn("frame not sent", "err", err)
	}
}

func (s *Served) onControl(m *nats.Msg) {
	c, err := decodeControl(m.Data)
	if err != nil {
		s.worker.Log.Warn("control frame", "err", err)
		return
	}
	s.mu.Lock()
	lc := s.live[c.token]
	var credit chan struct{}
	if lc != nil {
		credit = lc.credit
	}
	s.mu.Unlock()
	switch {
	case lc == nil: // it ended meanwhile
	case c.what == controlCancel:
		lc.cancel()
	case c.what == controlAnswer || c.what == controlRefuse:
		s.answered(lc, c)
	case credit != nil:
		select {
		case credit <- struct{}{}:
		default: // more credit than chunks: not from an edge of ours
		}
	}
}

// pulse is the one goroutine that keeps time for all calls: late acceptances,
// heartbeats, announcements.
func (s *Served) pulse() {
	beat, announce := time.NewTicker(beatEvery), time.NewTicker(announceEvery)
	defer beat.Stop()
	defer announce.Stop()
	due := time.NewTimer(time.Hour)
	defer due.Stop()
	for {
		select {
		case <-s.base.Done():
			return
		case <-s.kick:
			due.Reset(acceptDelay)
		case <-due.C:
			if next, any := s.acceptDue(time.Now()); any {
				due.Reset(next)
			}
		case <-beat.C:
			s.beat()
		case <-announce.C:
			s.announce(s.draining.Load())
		}
	}
}

// acceptDue sends the acceptances whose time has come, and says when to look
// again.
func (s *Served) acceptDue(now time.Time) (next time.Duration, any bool) {
	var accepted []replyAddress
	s.mu.Lock()
	n := 0
	for ; n < len(s.waiting); n++ {
		lc := s.waiting[n]
		if lc.settled {
			continue
		}
		if next = lc.acceptAt.Sub(now); next > 0 {
			break
		}
		lc.settled = true
		accepted = append(accepted, lc.to)
	}
	rest := copy(s.waiting, s.waiting[n:])
	clear(s.waiting[rest:])
	s.waiting = s.waiting[:rest]
	s.mu.Unlock()
	for _, to := range accepted {
		s.publish(to, encodeAccept(to.token, s.instance))
	}
	return next, rest > 0
}

// beat sends each edge one frame that names its live calls.
func (s *Served) beat() {
	beats := map[string][]byte{}
	s.mu.Lock()
	for token, lc := range s.live {
		b := beats[lc.to.edge]
		if b == nil {
			b = head(kindBeat, noToken, s.instance, 64*tokenLen)
		}
		beats[lc.to.edge] = append(b, token...)
	}
	s.mu.Unlock()
	for edge, b := range beats {
		s.publish(replyAddress{edge: edge}, b)
	}
}

// announcement is what a worker says about itself.
type announcement struct {
	Instance string `json:"instance"`
	Pool     string `json:"pool"`
	Slots    int    `json:"slots"`
	Busy     int    `json:"busy"`
	Version  string `json:"version,omitempty"`
	Leaving  bool   `json:"leaving,omitempty"`
}

func (s *Served) announce(leaving bool) {
	b, err := json.Marshal(announcement{s.instance, s.pool, s.worker.Slots, s.worker.Busy(), s.worker.Version, leaving})
	if err == nil {
		err = s.conn.Publish(announce, b)
	}
	if err != nil {
		s.worker.Log.Warn("announcement not sent", "err", err)
	}
}
