package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/deadline"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// An upstream's question on its way to the client of the call. In a session of an
// older revision the platform asks in between. In the newest one the answer to
// the request is the question, and the call waits for the next request; see
// park.go.

const (
	// questionWait is how long a question waits for its answer. Then the call is
	// cancelled: whoever asked was told nothing, and nobody is there any more.
	questionWait = 5 * time.Minute
	// maxQuestions is how many questions one call may ask, one after the other.
	maxQuestions = 32
)

// errUnanswered ends a call whose question nobody answered.
var errUnanswered = errors.New("nobody answered the server's question in time")

// dialogue is what a call needs so that its upstream can ask its client.
type dialogue struct {
	can  askable
	put  func(ctx context.Context, q question) (json.RawMessage, error) // nil: nobody can be asked
	time *deadline.Deadline                                             // of the call; it stands still while it asks
	name *flightName                                                    // of the call's claim, if it has one

	mu    sync.Mutex
	count map[string]int // questions so far, by method
}

// mayAsk reports whether the upstream may ask, and the client can be asked.
func mayAsk[P mcp.RequestParams](g *Gateway, c *call, req *mcp.ServerRequest[P]) bool {
	if !g.traits(c.host().Server.Kind).asks {
		return false
	}
	c.can = askableOf(req.ClientCapabilities())
	return c.can.anything()
}

// goOn goes on with a parked call for the request of c, whose rights are looked
// at as ever. It answers for that call, unless the request is refused.
func (g *Gateway) goOn(ctx context.Context, c *call, t turn, l line) (*call, *runtime.Result, *round, error) {
	refuse := func(err error) (*call, *runtime.Result, *round, error) {
		if errors.Is(err, errNotParked) {
			err = beginAnew(c)
		}
		return c, nil, nil, g.recordRefusal(ctx, c, err)
	}
	k, round, err := g.parking.find(t.state, g.parking.binding(c.ex, c.op, c.called(), c.given))
	if err != nil {
		return refuse(err)
	}
	if err := g.allow(ctx, c); err != nil {
		return refuse(err)
	}
	if err := g.parking.resume(k, round, t.answers, l); err != nil {
		return refuse(err)
	}
	res, rd, err := k.await(ctx)
	return k.c, res, rd, err
}

// beginAnew is the answer to a state that names no call which waits here: it was
// answered, it waited too long, its edge is gone, or it is somebody else's.
func beginAnew(c *call) error {
	then := "Call again without requestState and inputResponses to begin anew."
	if c.risk != registry.Reads {
		then = "The call may have had effects before it ended: look first whether it had. Then call again without requestState and inputResponses to begin anew."
	}
	return fault.New(fault.InvalidRequest, "No call of yours waits for this answer any more: it was answered already, waited too long, or its part of the platform was restarted. %s", then).
		WithDetails(fault.Detail{Pointer: "/requestState", Reason: "names no call that waits", Fix: "leave it out"})
}

// inSession asks over a session of an older revision.
func inSession(s *mcp.ServerSession) func(context.Context, question) (json.RawMessage, error) {
	return func(ctx context.Context, q question) (json.RawMessage, error) {
		var r mcp.InputResponse
		var err error
		switch p := q.params.(type) {
		case *mcp.ElicitParams:
			r, err = s.Elicit(ctx, p)
		case *mcp.CreateMessageWithToolsParams:
			r, err = s.CreateMessageWithTools(ctx, p)
		case *mcp.ListRootsParams:
			r, err = s.ListRoots(ctx, p)
		}
		if err != nil {
			return nil, err
		}
		return q.answer(r)
	}
}

// limit gives the call its time.
func (c *call) limit(ctx context.Context) (context.Context, context.CancelFunc) {
	if c.put == nil {
		return context.WithTimeout(ctx, c.timeout)
	}
	c.time = deadline.New(time.Now().Add(c.timeout), runtime.MaxHeld)
	return c.time.With(ctx)
}

// ask is DispatchOptions.Ask: it is called while a worker has the call. What the
// answer is made of is the client's own; an error says why there is none.
func (g *Gateway) ask(ctx context.Context, c *call, q runtime.Question) (json.RawMessage, error) {
	fit, err := c.prepare(q)
	if err != nil {
		return nil, err
	}
	if err := c.countQuestion(q.Method); err != nil {
		return nil, err
	}
	if err := g.prolong(ctx, c); err != nil {
		return nil, err
	}
	defer c.time.Hold()()
	ctx, cancel := context.WithTimeoutCause(ctx, g.parking.wait, errUnanswered)
	defer cancel()
	answer, err := c.put(ctx, fit)
	switch {
	case err == nil:
		return answer, nil
	case context.Cause(ctx) == errUnanswered:
		c.stopFor(errUnanswered)
		return nil, g.unanswered(c)
	case ctx.Err() != nil:
		return nil, fault.New(fault.Cancelled, "The call that asked is over.").Because(err)
	}
	if f := (*fault.Error)(nil); errors.As(err, &f) && f.Code != fault.InvalidArguments {
		return nil, err
	}
	return nil, c.refused(q.Method, err)
}

func (g *Gateway) unanswered(c *call) *fault.Error {
	return fault.New(fault.Cancelled, "The server %s asked something and nobody answered within %s, so that the call was ended.", c.host().Server.Slug, g.parking.wait)
}

// stopFor cancels the call, which says why.
func (c *call) stopFor(why error) {
	if c.cancel != nil {
		c.cancel(why)
	}
}

func (c *call) countQuestion(method string) error {
	c.dialogue.mu.Lock()
	defer c.dialogue.mu.Unlock()
	total := 0
	for _, n := range c.count {
		total += n
	}
	if total >= maxQuestions {
		return c.unfit("it asks without end")
	}
	if c.count == nil {
		c.count = map[string]int{}
	}
	c.count[method]++
	return nil
}

// noteQuestions puts on record how often the caller was asked.
func (c *call) noteQuestions() {
	c.dialogue.mu.Lock()
	defer c.dialogue.mu.Unlock()
	if len(c.count) > 0 {
		c.note(audit.NoteAsked, maps.Clone(c.count))
	}
}

// prolong moves the time on by which a call under way must have ended (step 7),
// so that no other edge takes it for dead while its person thinks.
func (g *Gateway) prolong(ctx context.Context, c *call) error {
	if c.dialogue.name == nil {
		return nil
	}
	until := c.time.At().Add(questionWait + onceGrace)
	return g.cfg.Once.Store.ProlongCall(ctx, c.dialogue.name.tenant, c.dialogue.name.CallName, c.id, until.Add(g.now().Sub(time.Now())))
}
