package limits

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/valkey-io/valkey-go"

	"latchkey/internal/events"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// SharedOptions of OpenShared.
type SharedOptions struct {
	URL secret.Text // redis:// or rediss://, also valkey://, valkeys:// and unix://
	// Edges is how many share the limits while Valkey is away; 0: as many as were
	// last heard through it.
	Edges  int
	Events events.Raiser // may be nil
	Log    *slog.Logger
	// Changed hears of each change of the state; may be nil. It must not wait.
	Changed func(State)
}

// Shared counts for all edges together in Valkey. While that is away, this edge
// counts for itself, by its share of each limit, and goes on trying. Counters of
// a person's minute and of identical calls are not shared out then: they notice
// later, and refuse nobody wrongly.
type Shared struct {
	options SharedOptions
	valkey  valkey.ClientOption
	local   *Memory
	edge    string
	shift   func() time.Duration

	remote atomic.Pointer[remote] // nil until it was reached once
	away   atomic.Bool
	edges  atomic.Int64
	lost   chan struct{}
	mu     sync.Mutex // of changes of the state
	said   State
	stop   context.CancelFunc
	done   chan struct{}
	closed sync.Once
}

const (
	// beatEvery is how often this edge says that it is there. Places are held
	// several times as long.
	beatEvery = 3 * time.Second
	// retryEvery is how often Valkey is tried while it is away.
	retryEvery = 250 * time.Millisecond
	// dialWithin bounds a connection, at the start too: an edge starts without.
	dialWithin = time.Second
)

// OpenShared tries Valkey once, and goes on without where it does not answer.
// The error is that of a URL which can never work.
func OpenShared(ctx context.Context, o SharedOptions) (*Shared, error) {
	return openShared(ctx, o, func() time.Duration { return 0 })
}

func openShared(ctx context.Context, o SharedOptions, shift func() time.Duration) (*Shared, error) {
	client, err := ParseURL(o.URL)
	if err != nil {
		return nil, err
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Changed == nil {
		o.Changed = func(State) {}
	}
	s := &Shared{options: o, valkey: client, local: NewMemory(), edge: tenants.RandomID("ed"), shift: shift, lost: make(chan struct{}, 1), done: make(chan struct{})}
	s.edges.Store(1)
	s.away.Store(true)
	if err := s.reach(ctx); err != nil {
		s.degrade(err)
	}
	ctx, s.stop = context.WithCancel(context.WithoutCancel(ctx))
	go s.keep(ctx)
	return s, nil
}

// ParseURL reads where Valkey is. Its error does not hold the URL: there is a
// password in it.
func ParseURL(url secret.Text) (valkey.ClientOption, error) {
	o, err := valkey.ParseURL(url.Reveal())
	if err != nil || len(o.InitAddress) == 0 {
		return o, errors.New("this is not the URL of a Valkey: write redis://:password@host:6379, or rediss:// for TLS")
	}
	o.ForceSingleClient, o.PipelineMultiplex = true, -1 // one connection: what is freed is free before the next call
	o.DisableCache, o.DisableRetry = true, true
	o.Dialer.Timeout, o.ConnWriteTimeout = dialWithin, dialWithin
	return o, nil
}

// CheckValkey reports whether a Valkey answers, and which version it says it is.
func CheckValkey(ctx context.Context, url secret.Text) (version string, err error) {
	o, err := ParseURL(url)
	if err != nil {
		return "", err
	}
	client, err := valkey.NewClient(o)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, dialWithin)
	defer cancel()
	hello, err := client.Do(ctx, client.B().Arbitrary("HELLO").Build()).AsMap()
	if err != nil {
		return "", err
	}
	name, v := hello["server"], hello["version"]
	server, _ := name.ToString()
	version, err = v.ToString()
	return fmt.Sprintf("%s %s", server, version), err
}

// State says where calls are counted now.
func (s *Shared) State() State {
	if s.away.Load() {
		return Degraded
	}
	return InValkey
}

// Spend counts for all edges, or for this one where that cannot be done.
func (s *Shared) Spend(ctx context.Context, r *Request) (Verdict, error) {
	if !s.away.Load() {
		v, err := s.remote.Load().spend(ctx, r)
		if err == nil {
			return v, nil
		}
		s.degrade(err)
	}
	edges := s.options.Edges
	if edges <= 0 {
		edges = int(s.edges.Load())
	}
	*r = *r.divided(max(1, edges))
	r.local = true
	return s.local.Spend(ctx, r)
}

// Release gives places back where they were taken.
func (s *Shared) Release(r *Request) {
	if r.local {
		s.local.Release(r)
	} else if remote := s.remote.Load(); remote != nil {
		remote.release(r)
	}
}

// degrade is told once however many calls find out.
func (s *Shared) degrade(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away.Store(true)
	select {
	case s.lost <- struct{}{}:
	default:
	}
	if s.said == Degraded {
		return
	}
	s.said = Degraded
	s.options.Log.Warn("Valkey is away: this edge counts calls for itself", "edges", s.edges.Load(), "error", err)
	s.options.Changed(Degraded)
	if s.options.Events != nil {
		s.options.Events.Raise(context.Background(), events.Event{
			Tenant: tenants.Platform, At: time.Now(), Kind: events.LimitsDegraded, Severity: events.Critical, Same: "limits",
			Detail: "Valkey does not answer: each edge counts calls for itself, by its share of every limit.",
		})
	}
}

// reach makes sure that Valkey counts.
func (s *Shared) reach(ctx context.Context) error {
	remote := s.remote.Load()
	if remote == nil {
		client, err := valkey.NewClient(s.valkey)
		if err != nil {
			return err
		}
		remote = newRemote(client, s.edge, s.shift)
		s.remote.Store(remote)
	}
	edges, err := remote.beat(ctx)
	if err != nil {
		return err
	}
	s.edges.Store(int64(max(1, edges)))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.away.Store(false)
	if s.said != InValkey {
		if s.said == Degraded {
			s.options.Log.Info("Valkey is back: calls are counted for all edges together")
		}
		s.said = InValkey
		s.options.Changed(InValkey)
	}
	return nil
}

// keep beats, and tries again while Valkey is away.
func (s *Shared) keep(ctx context.Context) {
	defer close(s.done)
	timer := time.NewTimer(beatEvery)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.lost:
			timer.Reset(retryEvery)
			continue
		}
		if err := s.reach(ctx); err != nil && ctx.Err() == nil {
			s.degrade(err)
			timer.Reset(retryEvery)
		} else {
			timer.Reset(beatEvery)
		}
	}
}

// Close ends this edge's part in it.
func (s *Shared) Close() {
	s.closed.Do(func() {
		s.stop()
		<-s.done
		if remote := s.remote.Load(); remote != nil {
			remote.close()
		}
	})
}
