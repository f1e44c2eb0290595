package mcpgateway

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// Once is what step 7 is made of. Without a store each call runs, which is for
// tests of other things.
type Once struct {
	Store  idempotency.CallStore
	Sealer interface {
		Seal(ctx context.Context, t tenants.ID, place string, plaintext []byte) ([]byte, error)
		Open(ctx context.Context, t tenants.ID, place string, sealed []byte) ([]byte, error)
	}
	Now func() time.Time // nil: the clock
}

// onceGrace is what a call may take beyond its deadline: its commit, its
// record, and clocks of edges that differ.
const onceGrace = 20 * time.Second

// Another edge is asked whether its call has ended, at first soon.
const (
	firstPoll = 20 * time.Millisecond
	lastPoll  = 250 * time.Millisecond
)

// identity is what makes two calls the same.
type identity struct {
	flightName
	request  idempotency.Hash
	upstream string // if it is the first under its name
}

// flightName is a name in all tenants.
type flightName struct {
	tenant tenants.ID
	idempotency.CallName
}

// identify finds the call's key: the one in _meta, the one in the declared
// argument, else one that is derived.
func identify(c *call) (id identity, err error) {
	input, err := idempotency.Canonical(c.input)
	if err != nil {
		return id, err
	}
	id.tenant, id.User, id.Server = c.ex.tenant.ID, c.ex.principal.User, c.host().Server.ID
	id.request = idempotency.RequestHash(c.name, input)
	given, first := c.givenKey, ""
	if given == "" {
		if given, err = keyArgument(c, input); err != nil {
			return id, err
		}
	}
	if given != "" {
		id.Key = idempotency.GivenKey(given)
	} else {
		id.Key, first = idempotency.DerivedKey(id.tenant, id.User, id.Server, c.name, input), c.id
	}
	id.upstream = idempotency.UpstreamKey(id.tenant, id.CallName, c.name, first)
	return id, nil
}

// keyArgument is the caller's own key in the argument that the tool declares
// for it; empty where there is none.
func keyArgument(c *call, input []byte) (string, error) {
	name := c.safety().Idempotency.Argument
	if name == "" {
		return "", nil
	}
	var arguments map[string]json.RawMessage
	if err := json.Unmarshal(input, &arguments); err != nil {
		return "", fault.New(fault.InvalidArguments, "The arguments are no JSON object.").Because(err)
	}
	value := arguments[name]
	if len(value) == 0 || string(value) == "null" {
		return "", nil
	}
	var text string
	if json.Unmarshal(value, &text) != nil {
		return "JSON " + string(value), nil // such as a number, in its one form
	}
	if !validKey(text) {
		return "", fault.New(fault.InvalidArguments, "The argument %s is this call's idempotency key: it must have 1 to 200 bytes.", name).
			WithDetails(fault.Detail{Pointer: pointer([]string{name}), Reason: "it is empty or longer", Fix: "send a UUID, or leave it out"})
	}
	return text, nil
}

func validKey(key string) bool { return key != "" && len(key) <= maxKey }

const maxKey = 200 // bytes

// once is step 7: of calls with effects under the same key, one runs and the
// others get its outcome. What only reads passes.
func (g *Gateway) once(ctx context.Context, c *call, run func(context.Context) (*runtime.Result, error)) (*runtime.Result, error) {
	if c.risk == registry.Reads || c.op != runtime.CallTool || g.cfg.Once.Store == nil {
		return run(ctx)
	}
	id, err := identify(c)
	if err != nil {
		return nil, g.recordRefusal(ctx, c, err)
	}
	c.key = id.upstream
	for {
		f, first := g.flights.join(id.flightName, id.request, c)
		if first {
			return g.lead(ctx, c, id, f, run)
		}
		if f.request != id.request {
			g.flights.leave(f, nil)
			return nil, g.recordRefusal(ctx, c, keyReused(c, f.tool))
		}
		select {
		case <-f.done:
		case <-ctx.Done():
			g.flights.leave(f, context.Cause(ctx))
			return g.recordOutcome(ctx, c, nil, g.waited(ctx, c, f.call))
		}
		if !f.landed.again {
			return g.repeated(ctx, c, f.landed)
		}
		if ctx.Err() != nil {
			return g.recordOutcome(ctx, c, nil, g.waited(ctx, c, ""))
		}
	}
}

// landed is what came of a call, for those that repeat it.
type landed struct {
	call     string // its id
	upstream string
	result   *runtime.Result
	err      error // instead of a result
	refused  bool  // the error is about what was asked
	again    bool  // nothing came of it that is of use to another: they try for themselves
}

// lead goes through the step for all callers of this edge that make the same
// call now: it runs the call, or finds out what came of it elsewhere.
func (g *Gateway) lead(ctx context.Context, c *call, id identity, f *flight, run func(context.Context) (*runtime.Result, error)) (*runtime.Result, error) {
	l := landed{again: true} // also for a panic before the call runs
	defer func() { g.flights.land(id.flightName, f, l) }()
	was, taken, err := g.claim(ctx, c, id)
	switch {
	case taken:
		c.key = was.Upstream
		return g.runOnce(ctx, c, id, f, &l, run)
	case err != nil:
		// Whoever waits meets the same store, but not the end of this one's time.
		l = landed{call: c.id, err: err, again: ctx.Err() != nil}
		return g.recordOutcome(ctx, c, nil, err)
	case was.Request != id.request:
		l = landed{call: was.ID, err: keyReused(c, was.Tool), refused: true}
	default:
		l = g.known(ctx, c, id, was)
	}
	return g.repeated(ctx, c, l)
}

// claim takes the name, or waits for the edge that has it.
func (g *Gateway) claim(ctx context.Context, c *call, id identity) (was idempotency.Call, taken bool, err error) {
	store, other := g.cfg.Once.Store, "" // the call that has the name
	for wait := firstPoll; ; {
		now := g.now()
		deadline, ok := ctx.Deadline()
		if !ok {
			deadline = now.Add(c.timeout)
		}
		was, taken, err = store.ClaimCall(ctx, id.tenant, id.CallName, idempotency.Claim{
			CallID: c.id, Tool: c.name, Request: id.request, Upstream: id.upstream, Again: c.repeat,
			Now: now, RunsUntil: now.Add(max(0, time.Until(deadline)) + onceGrace), Keep: c.safety().Idempotency.KeepFor(),
		})
		if err != nil {
			if ctx.Err() != nil {
				err = g.waited(ctx, c, other)
			}
			g.end(ctx, c, id, idempotency.Free, nil) // it may have been committed all the same
			return was, false, err
		}
		if taken || was.State != idempotency.Running || was.Request != id.request {
			if was.Lost {
				g.raiseUnknown(ctx, c, was.ID, "The edge that ran a call of a tool with effects was lost: its outcome is unknown.")
			}
			return was, taken, nil
		}
		other = was.ID
		// While it runs it is only looked at: a claim locks its row.
		for was.State == idempotency.Running && !was.Overdue(g.now()) {
			if !pause(ctx, wait) {
				return was, false, g.waited(ctx, c, other)
			}
			wait = min(2*wait, lastPoll)
			if was, err = store.CallNamed(ctx, id.tenant, id.CallName, g.now()); fault.HasCode(err, fault.NotFound) {
				other = "" // it freed the name
				break
			} else if err != nil {
				if ctx.Err() != nil {
					err = g.waited(ctx, c, other)
				}
				return was, false, err
			}
		}
	}
}

func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// runOnce runs the call and keeps what came of it before anybody hears of it.
// It goes on when its caller is gone as long as another waits for the same.
func (g *Gateway) runOnce(ctx context.Context, c *call, id identity, f *flight, l *landed, run func(context.Context) (*runtime.Result, error)) (*runtime.Result, error) {
	own, cancel := g.flights.detach(ctx, f, c.time)
	defer cancel()
	c.dialogue.name = &id.flightName
	ended := false
	defer func() {
		if !ended { // a panic
			g.end(ctx, c, id, idempotency.Unknown, nil)
		}
	}()
	res, err := run(own)
	ended = true
	*l = landed{call: c.id, upstream: c.key, err: err}
	switch {
	case err == nil:
		l.result = shared(res)
		g.end(ctx, c, id, idempotency.Done, g.seal(ctx, c, id, kept{Result: l.result}))
	case mayHaveRun(c, err):
		g.end(ctx, c, id, idempotency.Unknown, nil)
		g.raiseUnknown(ctx, c, c.id, "The outcome of a call of a tool with effects is unknown.")
		l.again = c.repeat && ofItsCaller(err)
		if !c.repeat {
			l.err = unknownRepeat(c, c.id, c.began)
		}
	case fault.HasCode(err, fault.ResultTooLarge):
		// It ran; only its answer does not leave.
		g.end(ctx, c, id, idempotency.Done, g.seal(ctx, c, id, kept{Failure: fault.Of(err)}))
	default:
		g.end(ctx, c, id, idempotency.Free, nil)
		l.again = ofItsCaller(err)
	}
	return res, err
}

// mayHaveRun tells an unknown outcome from a failure that certainly did nothing.
// A worker that answers with an error says that nothing was done, unless the
// error is OutcomeUnknown or ResultTooLarge (runtime.Instance); of all others
// the dispatcher knows whether a worker may have begun.
func mayHaveRun(c *call, err error) bool {
	return fault.HasCode(err, fault.OutcomeUnknown) || c.outcome.Started
}

// ofItsCaller are failures that are about the time or the patience of the one
// that called. They say nothing to others.
func ofItsCaller(err error) bool {
	return fault.HasCode(err, fault.Cancelled) || fault.HasCode(err, fault.DeadlineExceeded)
}

// end records what came of a call. If that fails, the record goes on as running
// and becomes unknown: nothing is done twice for it.
func (g *Gateway) end(ctx context.Context, c *call, id identity, state idempotency.CallState, sealed []byte) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordGrace)
	defer cancel()
	err := g.cfg.Once.Store.EndCall(ctx, id.tenant, id.CallName, c.id, idempotency.End{
		State: state, Sealed: sealed, ExpiresAt: g.now().Add(c.safety().Idempotency.KeepFor()),
	})
	if err != nil {
		g.cfg.Log.ErrorContext(ctx, "what came of a call was not kept for repeats: they will be told that it is unknown", "call", c.id, "state", state, "error", err)
	}
}

// known is what is told of a call that ended before, or elsewhere.
func (g *Gateway) known(ctx context.Context, c *call, id identity, was idempotency.Call) landed {
	l := landed{call: was.ID, upstream: was.Upstream}
	if was.State != idempotency.Done {
		l.err = unknownRepeat(c, was.ID, was.BeganAt)
		return l
	}
	if was.Sealed == nil {
		l.result = &runtime.Result{Tool: answerGone(c, was)}
		return l
	}
	k, err := g.unseal(ctx, id, was)
	switch {
	case err != nil:
		g.cfg.Log.ErrorContext(ctx, "the outcome of a call that is repeated cannot be read", "call", was.ID, "error", err)
		l.err = fault.New(fault.StoreAway, "This call was done before (%s), but its answer cannot be read at the moment. Nothing was done again. Call again in a few seconds.", was.ID).After(5 * time.Second).Because(err)
	case k.Failure != nil:
		l.err = fault.New(k.Failure.Code, "%s (So ended the same call of before, %s: nothing was done again. %s)", k.Failure.Message, was.ID, onPurpose(c)).WithDetails(k.Failure.Details...)
	default:
		l.result = k.Result
	}
	return l
}

// repeated puts on record, and answers, what came of another call.
func (g *Gateway) repeated(ctx context.Context, c *call, l landed) (*runtime.Result, error) {
	if l.upstream != "" {
		c.key = l.upstream
	}
	if l.refused {
		return nil, g.recordRefusal(ctx, c, l.err)
	}
	if l.call != "" && l.call != c.id {
		c.replayOf = l.call
		c.note(audit.NoteReplayOf, l.call)
	}
	if l.err != nil {
		return g.recordOutcome(ctx, c, nil, l.err)
	}
	res := shared(l.result)
	res.Tool.Content = append(res.Tool.Content, &mcp.TextContent{Text: fmt.Sprintf(
		"(This is the answer of the same call of before, %s: nothing was done again. %s)", l.call, onPurpose(c))})
	e := c.event(audit.Outcome, audit.Done)
	answered(&e, res)
	if err := g.add(ctx, e); err != nil {
		return nil, err
	}
	return res, nil
}

// shared is a result that several callers answer with: what the step and the
// reply change of it is each one's own.
func shared(res *runtime.Result) *runtime.Result {
	out := &runtime.Result{Rows: res.Rows}
	if res.Tool == nil { // replyTool says what is wrong with it
		out.Tool = &mcp.CallToolResult{IsError: true}
		return out
	}
	tool := *res.Tool
	tool.Content, tool.Meta = slices.Clone(tool.Content), maps.Clone(tool.Meta)
	out.Tool = &tool
	return out
}

// onPurpose says how to do a call once more.
func onPurpose(c *call) string {
	if a := c.safety().Idempotency.Argument; a != "" {
		return fmt.Sprintf("To do it once more on purpose, send a new key in the argument %s or in _meta[%q].", a, metaIdempotencyKey)
	}
	return fmt.Sprintf("To do it once more on purpose, send a key of your own in _meta[%q], such as a UUID.", metaIdempotencyKey)
}

func keyReused(c *call, tool string) error {
	with := "other arguments"
	at := "/_meta/latchkey~1idempotencyKey"
	if tool != c.name {
		with = "the tool " + short(tool)
	}
	if a := c.safety().Idempotency.Argument; c.givenKey == "" && a != "" {
		at = pointer([]string{a})
	}
	return fault.New(fault.KeyReused, "This idempotency key was used before, with %s. Nothing was done. Send a key of its own with each call; send the same one only to repeat a call as it was.", with).
		WithDetails(fault.Detail{Pointer: at, Reason: "it names a call with " + with, Fix: "send another key"})
}

// unknownRepeat is the answer to a repeat of a call whose outcome is unknown.
func unknownRepeat(c *call, first string, at time.Time) error {
	return fault.New(fault.OutcomeUnknown, "The same call was made before (%s, %s), and it is not known whether %s took effect. It was not run again. Look whether it did. If it did not: %s",
		first, at.UTC().Format(time.RFC3339), c.called(), onPurpose(c))
}

// waited is how a call ends that waited for another: its time is over, or its
// caller is gone.
func (g *Gateway) waited(ctx context.Context, c *call, first string) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return fault.New(fault.Cancelled, "The call was cancelled while it waited for the same call of before. It did nothing itself.")
	}
	if first == "" {
		return fault.New(fault.DeadlineExceeded, "The call's time was over before it began. Nothing was done. Call again.").After(time.Second)
	}
	return fault.New(fault.DeadlineExceeded, "The first call of this kind (%s) is still running, and this one has waited for it as long as it may. Nothing was done twice. Call again with the same arguments and key to get its outcome.", first).After(2 * time.Second)
}

// answerGone is the answer to a repeat of what is done but whose answer is gone. A
// tool with an output schema has no other form for it than a failure.
func answerGone(c *call, was idempotency.Call) *mcp.CallToolResult {
	text := fmt.Sprintf("The call was done at %s. Its answer is not kept: it was too large, or could not be sealed.", was.BeganAt.UTC().Format(time.RFC3339))
	out := &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}
	if c.tool != nil && len(c.tool.OutputSchema) > 0 {
		out.IsError = true
		out.StructuredContent = map[string]any{"error": failureOf(fault.New(fault.ResultTooLarge, "%s Nothing was done again.", text), c.id)}
	}
	return out
}

func (g *Gateway) raiseUnknown(ctx context.Context, c *call, id, detail string) {
	severity := events.Warning
	if c.repeat {
		severity, detail = events.Info, detail+" It may be repeated under the same key."
	}
	s := c.host().Server
	g.cfg.Events.Raise(context.WithoutCancel(ctx), events.Event{
		Tenant: c.ex.tenant.ID, At: g.now(), Kind: events.OutcomeUnknown, Severity: severity, Detail: detail,
		User: c.ex.principal.User, Client: c.ex.principal.Client, ServerID: s.ID, Server: s.Slug, Tool: c.name, CallID: id,
		Same: string(s.ID) + " " + c.name,
	})
}

func (g *Gateway) now() time.Time {
	if g.cfg.Once.Now != nil {
		return g.cfg.Once.Now()
	}
	return time.Now()
}
