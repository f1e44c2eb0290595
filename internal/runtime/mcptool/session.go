package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
)

// MaxMessage bounds one message of an upstream, in bytes, while it is read. It
// is what a worker may answer, and room for what JSON adds.
const MaxMessage = 12 << 20

// Options of a session.
type Options struct {
	// Process stands in the results of its calls (runtime.Result.Process).
	Process string
	// Apart: the transport knows which call a message belongs to and gives each
	// to Session.Received and Session.Answered. Otherwise the session listens to
	// the transport.
	Apart bool
	// Personal: all calls on the session are of one person. Otherwise an upstream
	// of the old era does not get to know anybody's roots: it keeps them for the
	// session, and would use them for the next person.
	Personal bool
	// Protocol is the newest revision that is spoken; empty: the newest there is.
	Protocol string
	Log      *slog.Logger
}

// Session is a connection to an upstream that carries many calls at once. It
// knows which of them the upstream's notifications and questions belong to:
//
//   - progress by its token,
//   - on a transport that keeps calls apart (streamable HTTP), whatever comes on
//     a call's own stream is that call's,
//   - elsewhere, what comes while calls of one person run belongs to the one that
//     began last. With calls of several persons it cannot be told: the question
//     is refused, the log line dropped. Nobody is ever asked for another.
type Session struct {
	cs     *mcp.ClientSession
	opts   Options
	life   context.Context
	end    context.CancelFunc // of life
	broken chan struct{}

	mu       sync.Mutex
	running  map[string]*Running
	serial   int64
	lastUsed time.Time
	err      error // why it is broken
	retired  bool  // it closes when its last call ends
	level    int   // of the logs that were asked for (legacy)
	watchers map[*watcher]struct{}
	subs     map[string]int // resources that were subscribed to (legacy)

	closing sync.Once
	offer   kept
}

// Why a session is broken when nothing else is known.
var (
	errClosed = errors.New("mcptool: the session was closed")
	errEnded  = errors.New("mcptool: the upstream ended the session")
)

const (
	discoverWait = 10 * time.Second // before a server that does not answer is taken for an older one
	closeWait    = 2 * time.Second  // for the upstream to hear of a session's end
)

// Connect connects over the transport that open gives: in the newest revision of
// the protocol that both sides speak, up to Options.Protocol. The context bounds the handshake only;
// open may keep the one that it is given, which ends with the session. A
// transport without streams of its own, such as that of a process, needs nothing
// else; see Options.Apart.
func Connect(ctx context.Context, o Options, open func(context.Context, *Session) (mcp.Transport, error)) (*Session, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{opts: o, broken: make(chan struct{}), running: map[string]*Running{}, lastUsed: time.Now(), level: noLogs, watchers: map[*watcher]struct{}{}, subs: map[string]int{}}
	s.offer.init()
	s.life, s.end = context.WithCancel(context.Background())
	t, err := open(s.life, s)
	if err != nil {
		s.end()
		return nil, err
	}
	if !o.Apart {
		t = &listened{t, s}
	}
	client := mcp.NewClient(&mcp.Implementation{Name: "latchkey", Title: "Latchkey", Version: "1"}, &mcp.ClientOptions{
		Capabilities: &mcp.ClientCapabilities{
			RootsV2:     &mcp.RootCapabilities{},
			Sampling:    &mcp.SamplingCapabilities{Tools: &mcp.SamplingToolsCapabilities{}, Context: &mcp.SamplingContextCapabilities{}},
			Elicitation: &mcp.ElicitationCapabilities{Form: &mcp.FormElicitationCapabilities{}, URL: &mcp.URLElicitationCapabilities{}},
		},
		// What the upstream asks for is asked of the caller; see rounds.
		MultiRoundTrip: &mcp.MultiRoundTripOptions{Disabled: true},
	})
	client.AddReceivingMiddleware(s.receive)
	client.AddSendingMiddleware(boundDiscover)
	stop := context.AfterFunc(ctx, s.end)
	s.cs, err = client.Connect(s.life, t, &mcp.ClientSessionOptions{ProtocolVersion: o.Protocol})
	if stopped := stop(); err == nil && !stopped {
		err = context.Cause(ctx)
		go s.cs.Close()
	}
	if err != nil {
		s.end()
		if why := s.Err(); why != nil { // the SDK keeps the words of an error only
			err = errors.Join(why, err)
		}
		if ctx.Err() != nil {
			err = errors.Join(context.Cause(ctx), err)
		}
		return nil, err
	}
	go func() {
		err := s.cs.Wait()
		if err == nil {
			err = errEnded
		}
		s.Break(err)
	}()
	s.watchLists()
	return s, nil
}

// boundDiscover bounds the question that servers of before 2026-07-28 do not
// know: some never answer what they do not know.
func boundDiscover(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		if method != "server/discover" {
			return next(ctx, method, req)
		}
		ctx, cancel := context.WithTimeout(ctx, discoverWait)
		defer cancel()
		return next(ctx, method, req)
	}
}

// Missed says that something of what the upstream says of itself may not have
// been heard.
func (s *Session) Missed() { s.offer.outdated() }

// Protocol is the revision of the protocol that is spoken.
func (s *Session) Protocol() string { return s.cs.InitializeResult().ProtocolVersion }

// modern reports whether the upstream speaks the revision without sessions.
func (s *Session) modern() bool { return s.Protocol() >= "2026-07-28" }

// Broken is closed when the session takes no further call.
func (s *Session) Broken() <-chan struct{} { return s.broken }

// Break says that the session can carry no call any more and why. Those that
// run fail. A second reason is not kept.
func (s *Session) Break(err error) {
	s.retire(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.running {
		r.cancel(s.err)
	}
}

// Retire says that the session takes no further call and why. Those that run
// go on, and then it closes.
func (s *Session) Retire(err error) {
	s.retire(err)
	s.mu.Lock()
	s.retired = true
	idle := len(s.running) == 0
	s.mu.Unlock()
	if idle {
		go s.Close()
	}
}

func (s *Session) retire(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
		close(s.broken)
	}
}

// Err is why the session takes no further call, nil while it does.
func (s *Session) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Busy is how many calls run on the session, listening included.
func (s *Session) Busy() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.running)
}

// LastUsed is when a call began or ended last.
func (s *Session) LastUsed() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lastUsed
}

// Close ends the session, politely where the upstream still answers. Calls that
// run fail. It takes a few seconds at most, and may be called more than once.
func (s *Session) Close() error {
	s.Break(errClosed)
	s.closing.Do(func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = s.cs.Close() // what an upstream makes of a good-bye changes nothing
		}()
		late := time.NewTimer(closeWait)
		defer late.Stop()
		select {
		case <-done:
		case <-late.C:
		}
		s.end()
	})
	return nil
}

// Running is one call on a session.
type Running struct {
	id      string // also its progress token
	serial  int64
	call    *runtime.Call
	env     runtime.Env
	session *Session
	ctx     context.Context
	cancel  context.CancelCauseFunc

	mu      sync.Mutex
	over    bool
	sent    bool
	refused bool
	failure error                // of the way
	rpc     *jsonrpc.Error       // of the upstream
	unasked *fault.Error         // that the caller could not be asked what the upstream wants to know
	raw     []byte               // the answer, where the SDK would lose some of it
	asked   map[string]*question // that wait for the SDK to deliver them
	open    int                  // questions that are asked now
	ended   chan struct{}        // closed when its stream ended
	once    sync.Once
}

type runningKey struct{}

// RunningOf is the call for which the SDK does something, nil for what is of no
// call. A transport finds it in the context of its requests.
func RunningOf(ctx context.Context) *Running {
	r, _ := ctx.Value(runningKey{}).(*Running)
	return r
}

// begin makes a call one of the session's. Its context ends with the session.
func (s *Session) begin(ctx context.Context, c *runtime.Call, env runtime.Env) (*Running, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err != nil {
		return nil, s.err
	}
	s.serial++
	r := &Running{id: "lk" + strconv.FormatInt(s.serial, 36), serial: s.serial, call: c, env: env, session: s, ended: make(chan struct{})}
	ctx, r.cancel = context.WithCancelCause(ctx)
	r.ctx = context.WithValue(ctx, runningKey{}, r)
	s.running[r.id], s.lastUsed = r, time.Now()
	return r, nil
}

// finish ends it: from now on nothing of it reaches the caller.
func (r *Running) finish() {
	r.mu.Lock()
	r.over = true
	r.mu.Unlock()
	r.cancel(context.Canceled)
	s := r.session
	s.mu.Lock()
	delete(s.running, r.id)
	s.lastUsed = time.Now()
	last := s.retired && len(s.running) == 0
	s.mu.Unlock()
	if last {
		go s.Close()
	}
}

// Sent says that the upstream may have seen the call: from now on an effect
// cannot be ruled out, until Refused says so.
func (r *Running) Sent() { r.set(func() { r.sent, r.refused = true, false }) }

// Refused says that the upstream answered that it did not run the call.
func (r *Running) Refused() { r.set(func() { r.refused = true }) }

// Fail says why the call cannot end well. It stands for whatever the SDK makes
// of it; a first reason stays.
func (r *Running) Fail(err error) {
	r.set(func() {
		if r.failure == nil {
			r.failure = err
		}
	})
}

// because is the reason that is known for an error of the SDK's. Its own errors
// look like those of an upstream.
func (r *Running) because(err error) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case isFault(err):
	case r.failure != nil:
		return r.failure
	case r.rpc != nil && r.unasked != nil: // which is what it failed for
		return r.unasked
	case r.rpc != nil:
		return &answered{r.rpc}
	}
	return err
}

// answered is an upstream's JSON-RPC error.
type answered struct{ rpc *jsonrpc.Error }

func (a *answered) Error() string {
	return fmt.Sprintf("the upstream answered with JSON-RPC error %d: %.300s", a.rpc.Code, a.rpc.Message)
}

// nobody is who stands behind requests that are no caller's.
var nobody = runtime.Env{
	Progress: func(float64, float64, string) {},
	Notify:   func(runtime.Notification) {},
	Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
		return nil, fault.New(fault.Unanswerable, "Nobody is there to be asked.")
	},
}

// aside sends requests that are the session's own: what becomes of them says
// nothing of a call.
func (s *Session) aside(ctx context.Context, f func(context.Context) error) error {
	r := &Running{call: &runtime.Call{Op: runtime.Probe}, env: nobody, session: s, ended: make(chan struct{})}
	ctx, r.cancel = context.WithCancelCause(ctx)
	r.ctx = context.WithValue(ctx, runningKey{}, r)
	defer r.cancel(nil)
	if err := f(r.ctx); err != nil {
		return r.because(err)
	}
	return nil
}

// OnEnd runs f when the call is over.
func (r *Running) OnEnd(f func()) { context.AfterFunc(r.ctx, f) }

// StreamEnded says that nothing more comes on the call's own stream.
func (r *Running) StreamEnded() { r.once.Do(func() { close(r.ended) }) }

func (r *Running) set(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
}

// mayHaveRun reports whether the upstream may have done what the call asks.
func (r *Running) mayHaveRun() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.sent && !r.refused
}

// tell runs f unless the call is over.
func (r *Running) tell(f func(runtime.Env)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.over {
		f(r.env)
	}
}

// only is the call that a message of no known call belongs to, nil where that
// cannot be told.
func (s *Session) only() *Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	var last *Running
	for _, r := range s.running {
		switch {
		case !r.answersQuestions():
		case last == nil:
			last = r
		case last.call.Caller.User != r.call.Caller.User:
			return nil
		case r.serial > last.serial:
			last = r
		}
	}
	return last
}

// answersQuestions: behind the control plane's own calls there is nobody.
func (r *Running) answersQuestions() bool {
	switch r.call.Op {
	case runtime.CallTool, runtime.ReadResource, runtime.GetPrompt, runtime.Complete:
		return true
	}
	return false
}

func (s *Session) byID(id string) *Running {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.running[id]
}
