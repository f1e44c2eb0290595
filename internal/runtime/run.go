package runtime

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"latchkey/internal/deadline"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// WorkerConfig is what a worker is made of. Zero values of the bounds mean
// their defaults.
type WorkerConfig struct {
	Name     string // stands in audit records
	Version  string
	Kinds    []Kind
	Openings Openings
	Leases   Leases // nil: calls that need a credential fail
	Log      *slog.Logger
	Host     Host // given to what is opened

	Slots int // calls at once, 64
	// Listens are calls that last as long as somebody listens, and take no slot:
	// so many at once, and a quarter of them for one tenant. 512.
	MaxListens int
	MaxAsking  int           // questions that wait for their answers besides, 512
	MaxCall    time.Duration // a longer deadline is cut to this, 1 h: as long as a task may run
	MaxResult  int           // bytes of an encoded result, 10 MB
	MaxOpen    int           // open servers, 256
	IdleClose  time.Duration // an open server without calls is closed, 10 min
}

// Worker runs calls. It is safe for concurrent use.
type Worker struct {
	WorkerConfig
	openings *openings
	recent   *recentIDs
	busy     atomic.Int64
	listens  *places
	asking   atomic.Int64 // questions that wait
}

// NewWorker makes a worker. Close ends it.
func NewWorker(cfg WorkerConfig) *Worker {
	cfg.Log = orDefault(cfg.Log, slog.New(slog.DiscardHandler))
	cfg.Slots = orDefault(cfg.Slots, 64)
	cfg.MaxListens = orDefault(cfg.MaxListens, 512)
	cfg.MaxAsking = orDefault(cfg.MaxAsking, 512)
	cfg.MaxCall = orDefault(cfg.MaxCall, time.Hour)
	cfg.MaxResult = orDefault(cfg.MaxResult, 10<<20)
	cfg.MaxOpen = orDefault(cfg.MaxOpen, 256)
	cfg.IdleClose = orDefault(cfg.IdleClose, 10*time.Minute)
	listens := &places{all: cfg.MaxListens, each: max(1, cfg.MaxListens/4), taken: map[tenants.ID]int{}}
	return &Worker{WorkerConfig: cfg, openings: newOpenings(cfg), recent: newRecentIDs(maxRecent), listens: listens}
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

// Busy is how many slots are taken now.
func (w *Worker) Busy() int { return int(w.busy.Load()) }

// Close closes every open server, those in use when their last call ends. It
// waits for that until ctx is done.
func (w *Worker) Close(ctx context.Context) error { return w.openings.close(ctx) }

// Run runs one call that must be accepted by the given time. The error, if
// any, is a *fault.Error, or a *Refused when the call was not started here.
func (w *Worker) Run(ctx context.Context, c *Call, acceptBy time.Time, back Back) (*Result, error) {
	r, err := w.Receive(c, acceptBy)
	if err != nil {
		return nil, err
	}
	return r.Run(ctx, back)
}

// Run runs the received call and frees its slot.
func (r *Received) Run(ctx context.Context, back Back) (*Result, error) {
	defer r.free()
	var cancel context.CancelFunc
	way := &wayBack{received: r, back: back}
	if back.Ask == nil {
		ctx, cancel = context.WithDeadline(ctx, r.deadline)
	} else {
		way.time = deadline.New(r.deadline, MaxHeld)
		ctx, cancel = way.time.With(ctx)
	}
	defer cancel()

	res, err := r.run(ctx, way)
	if err != nil {
		f := answerable(ctx, err)
		r.log(f)
		return nil, f
	}
	return res, nil
}

func (r *Received) run(ctx context.Context, way *wayBack) (*Result, error) {
	w := r.worker
	open, err := w.openings.acquire(ctx, r.Call)
	if err != nil {
		return nil, err
	}
	defer w.openings.release(open)
	if way.policy, err = open.policy(r.Call); err != nil {
		return nil, err
	}

	cred := w.credentialFor(r, open.opening)
	defer cred.release()

	res, err := w.execute(ctx, open.instance, r.Call, way.env(cred.get))
	if err != nil {
		return nil, err
	}
	res.Worker, res.LeaseID = w.Name, cred.leaseID()
	if res, err = w.inspect(res, way.policy); err == nil {
		res.Guard = res.Guard.With(way.guardReport())
	}
	return res, err
}

// log keeps what the caller is not told. Refusals that hold no cause, such as
// a wrong argument, say everything to the caller already.
func (r *Received) log(f *fault.Error) {
	if f.Unwrap() == nil {
		return
	}
	r.worker.Log.Warn("call failed", "call", r.Call.ID, "tenant", r.Call.Tenant, "server", r.Call.Server,
		"op", r.Call.Op, "name", r.Call.Name, "err", f)
}
