package stdiotool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/runtime/mcptool"
	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// process is one of a server's, from before its start to after its end.
type process struct {
	id      string
	key     key
	recipe  *recipe
	secrets map[string]secret.Text
	mark    secretsMark
	log     *slog.Logger

	ready   chan struct{} // closed once err and session are set
	err     error         // of the start
	session *mcptool.Session
	inner   sandbox.Process
	ended   chan struct{} // closed when nothing of it is left

	retiring chan struct{}

	exited   chan struct{} // closed once exit is set
	greeted  atomic.Bool   // the session is made
	broken   chan struct{} // closed once the session knows why it ended
	exit     sandbox.Exit
	strange  atomic.Int64 // lines on its output that were no messages
	stopping atomic.Bool  // it ends because we asked it to
	stopOnce sync.Once

	// guarded by pool.mu
	after   []*process // must have ended before this starts
	began   time.Time
	used    time.Time
	listens int  // of the session's calls
	probes  int  // likewise
	retired bool // gets no more calls; retiring is closed
}

const (
	stopGrace = 2 * time.Second
	drainLook = 100 * time.Millisecond
	drainFor  = 10 * time.Minute // as long as a call may take
)

func newProcess(k key, r *recipe, secrets map[string]secret.Text, m secretsMark) *process {
	p := &process{
		id: tenants.RandomID("pr"), key: k, recipe: r, secrets: secrets, mark: m,
		ready: make(chan struct{}), retiring: make(chan struct{}), ended: make(chan struct{}), exited: make(chan struct{}), broken: make(chan struct{}), began: time.Now(), used: time.Now(),
	}
	p.log = r.host.Log.With("tenant", k.tenant, "server", k.server, "process", p.id)
	return p
}

// run lives as long as the process does.
func (p *process) run(all *pool) {
	defer close(p.ended)
	release, err := p.start()
	if err != nil {
		p.err = all.failed(p, err)
		close(p.ready)
		return
	}
	defer release()
	p.log.Info("server started", "after", time.Since(p.began).String())
	close(p.ready)
	all.isReady()
	minding := make(chan struct{})
	go func() {
		defer close(minding)
		p.mind(all)
	}()
	<-p.exited
	<-minding
	why := error(errStopped)
	if !p.stopping.Load() {
		c := p.crash(p.exit, "")
		c.rest = all.crashed(p, c)
		p.log.Warn("server ended", "why", c.words, "after", time.Since(p.began).String(), "stderr", c.stderr, "rest", c.rest.String())
		why = c
	} else {
		p.log.Info("server stopped", "after", time.Since(p.began).String())
	}
	p.session.Break(why)
	close(p.broken)
	all.gone(p)
	_ = p.session.Close() // there is nobody to be polite to
}

var errStopped = errors.New("the process was stopped")

// start starts the process and waits for its first word.
func (p *process) start() (release func(), err error) {
	l := p.recipe.spec.Limits
	ctx, cancel := context.WithTimeout(context.Background(), l.Start)
	defer cancel()
	for _, other := range p.after {
		select {
		case <-other.ended:
		case <-ctx.Done():
			return nil, fault.New(fault.Busy, "The server is to be started anew, and calls of the process before are still running. Nothing was done; call again in a few seconds.").After(5 * time.Second)
		}
	}
	p.after = nil
	var held []func()
	letGo := func() {
		for _, f := range slices.Backward(held) {
			f()
		}
	}
	defer func() {
		if err != nil {
			letGo()
		}
	}()
	program, err := p.recipe.hold()
	if err != nil {
		return nil, err
	}
	held = append(held, program)
	dir := ""
	if p.recipe.spec.State {
		var state func()
		if dir, state, err = takeState(ctx, p.recipe, p.key.whose); err != nil {
			return nil, err
		}
		held = append(held, state)
	}
	inner, err := p.spawn(ctx, dir)
	if err != nil {
		return nil, err
	}
	p.inner = inner
	go func() {
		p.exit = inner.Wait()
		close(p.exited)
	}()
	if err := p.greet(ctx); err != nil {
		p.stopping.Store(true)
		inner.Stop(0)
		<-p.exited
		return nil, err
	}
	return letGo, nil
}

func (p *process) spawn(ctx context.Context, state string) (sandbox.Process, error) {
	spec, err := p.recipe.sandboxed(p.key.whose, state, p.secrets)
	if err != nil {
		return nil, err
	}
	inner, err := p.recipe.host.Sandbox.Start(ctx, spec)
	if err != nil {
		return nil, fault.New(fault.ServerUnhealthy, "The server's sandbox could not be made. Nothing was done; tell the server's administrator that the worker's log says why.").After(30 * time.Second).Because(err)
	}
	return inner, nil
}

// greet makes the session. What keeps it from that is told as the end of the
// process, if it has ended.
func (p *process) greet(ctx context.Context) error {
	out, in := p.inner.Stdio()
	reader := newLines(out, maxLine, p.note, p.outputEnd)
	options := mcptool.Options{Log: p.log, Personal: p.recipe.perUser, Protocol: p.recipe.spec.Protocol}
	if !p.recipe.spec.Stateless {
		options.Process = p.id
	}
	session, err := mcptool.Connect(ctx, options, func(context.Context, *mcptool.Session) (mcp.Transport, error) {
		return &mcp.IOTransport{Reader: readCloser{reader, out}, Writer: in, MaxLineLength: maxLine + 1024}, nil
	})
	if err == nil {
		p.session = session
		p.greeted.Store(true)
		return nil
	}
	select {
	case <-p.exited:
		return p.crash(p.exit, " while it started")
	default:
	}
	c := p.crash(sandbox.Exit{}, "")
	c.words = "did not answer as an MCP server when it was started"
	if ctx.Err() != nil {
		c.words = fmt.Sprintf("did not answer within %s of its start", p.recipe.spec.Limits.Start)
	}
	if n := p.strange.Load(); n > 0 {
		c.words += fmt.Sprintf(", and wrote %d lines to its standard output that are no messages of MCP", n)
	}
	p.inner.Stop(0)
	<-p.exited
	c.stderr = p.withoutSecrets(p.exit.Stderr)
	if c.stderr == "" {
		c.stderr = err.Error()
	}
	return c
}

// outputEnd is what the end of the output means. What writes no more can
// answer no more: it is ended, and whoever reads learns of the end only when
// the reason is known.
func (p *process) outputEnd() error {
	select {
	case <-p.exited:
	case <-time.After(stopGrace):
		p.inner.Stop(0)
		<-p.exited
	}
	if p.greeted.Load() {
		<-p.broken
	}
	return io.EOF
}

type readCloser struct {
	io.Reader
	io.Closer
}

// note looks at a line of the output that is no message.
func (p *process) note(line []byte) {
	if n := p.strange.Add(1); n <= 3 {
		p.log.Warn("server writes to its standard output what is no message of MCP; it was left out", "line", p.withoutSecrets(fmt.Sprintf("%.200q", line)))
	}
}

func (p *process) crash(e sandbox.Exit, during string) *crash {
	e.Stderr = p.withoutSecrets(e.Stderr)
	return crashOf(e, p.recipe.spec.Limits, during)
}

// withoutSecrets takes the process's own secrets out of what it said.
func (p *process) withoutSecrets(s string) string {
	for _, v := range p.secrets {
		if plain := v.Reveal(); len(plain) >= 4 {
			s = strings.ReplaceAll(s, plain, "[withheld]")
		}
	}
	return s
}

// mind stops the process when it has had nothing to do, or when it is retired
// and its calls have ended.
func (p *process) mind(all *pool) {
	idle := p.recipe.spec.Limits.Idle
	look := min(max(idle/10, drainLook), 10*time.Second)
	if p.recipe.spec.State {
		look = min(look, time.Second)
	}
	tick := time.NewTicker(look)
	defer tick.Stop()
	retiring, last := (<-chan struct{})(p.retiring), time.Time{}
	for {
		select {
		case <-p.exited:
			return
		case <-retiring:
			retiring, last = nil, time.Now().Add(drainFor)
			tick.Reset(drainLook)
		case <-tick.C:
			if retiring != nil {
				if wanted(p.recipe, p.key.whose) {
					idle = 0
				}
				all.retireIdle(p, idle)
				continue
			}
		}
		if all.busy(p) == 0 || time.Now().After(last) {
			p.stop()
			return
		}
	}
}

// stop ends the process, and waits for its end.
func (p *process) stop() {
	p.stopOnce.Do(func() {
		p.stopping.Store(true)
		p.inner.Stop(stopGrace)
	})
	<-p.exited
}
