package mcpgateway

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/limits"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// call is one tool call or resource read on its way through the steps.
type call struct {
	ex       *exchange
	id       string
	op       runtime.Op
	name     string // tool name, or the URI that was asked for
	rule     string // of the output guard, of a resource
	scope    string
	hash     string // of the definition
	risk     registry.Risk
	repeat   bool // may run again if its worker is lost
	draft    bool // of a server that no role can open yet
	timeout  time.Duration
	revision registry.Revision
	input    json.RawMessage
	key      string // idempotency key, as the upstream gets it
	givenKey string // the caller's own, empty if it sent none outside of the arguments
	replayOf string // id of the call whose outcome this one got
	trace    string // traceparent (W3C Trace Context)
	caller   tenants.User
	began    time.Time
	check    func(json.RawMessage) error
	progress func(done, total float64, message string)
	notify   func(runtime.Notification) // nil: nobody hears
	logLevel string                     // of the upstream's logs; empty: none
	given    json.RawMessage            // the arguments as they came
	cancel   context.CancelCauseFunc    // once it runs
	dialogue
	// ask reaches the person at the client while the call runs; nil: nobody does.
	ask     func(ctx context.Context, q runtime.Question) (json.RawMessage, error)
	part    limits.Part // of what it counts
	attempt int         // of a task, from 1 on

	confirmation      string // the token that came with the call
	takesConfirmation bool   // as an argument
	declined          bool   // the person was asked and said no
	connecting        bool   // the person was sent to connect an account
	pending           *pending

	tool    *registry.Tool  // nil for resources and prompts
	notes   audit.Notes     // for the record
	access  registry.Access // with which it runs; empty: its risk's
	notice  *notice         // that the tool will end; see versions.go
	retired *fault.Error    // that it has
	later   *registry.OutputGuard
	guard   registry.OutputGuard // of a resource
	outcome DispatchOutcome
	via     *via // of a tool that is called through a toolset; nil: at its own server

	restarted bool // another process of the server answered than last time

	repeats int    // identical calls, where that is worth a notice
	loop    string // that notice, to who makes them
}

// note adds to the call's record. It is not for use while a worker has the call.
func (c *call) note(key string, value any) {
	if c.notes == nil {
		c.notes = audit.Notes{}
	}
	c.notes[key] = value
}

// runsWith is the access that a worker gets for the call.
func (c *call) runsWith() registry.Access {
	if c.access != "" {
		return c.access
	}
	return c.risk.Access()
}

// safety is how the tool is kept safe; of what is no tool, nothing is said.
func (c *call) safety() registry.Safety {
	if c.tool == nil {
		return registry.Safety{}
	}
	return c.tool.Safety
}

// run takes a call through the steps of design.md. The steps from here on are
// the same for tools and resources. Whatever is decided is on record before
// run returns, and so before any answer leaves.
func (g *Gateway) run(ctx context.Context, c *call) (*runtime.Result, error) {
	ctx, end := g.begin(ctx, c) // a kill switch reaches it from here on
	defer end()
	release, err := g.permit(ctx, c)
	if err != nil {
		return nil, err
	}
	defer release()

	ctx, cancel := c.limit(ctx)
	defer cancel()
	return g.once(ctx, c, func(ctx context.Context) (*runtime.Result, error) { // step 7: a repeat gets the first outcome
		if err := g.recordIntent(ctx, c); err != nil { // step 8: before anything with effects
			return nil, err
		}
		res, err := g.dispatch(ctx, c) // steps 9-13: a worker runs it
		g.doubt(ctx, c, err)
		return g.recordOutcome(ctx, c, res, err) // step 14: before the reply
	})
}

// permit takes a call through the steps that may refuse it, and records where one
// does. A call that becomes a task (tasks.go) comes through here too.
func (g *Gateway) permit(ctx context.Context, c *call) (release func(), err error) {
	if err := g.allow(ctx, c); err != nil { // step 3: scope, role, kill switches
		return nil, g.recordRefusal(ctx, c, err)
	}
	if err := g.answers(ctx, c); err != nil { // step 3: the server answers
		return nil, g.recordRefusal(ctx, c, err)
	}
	if c.retired != nil { // this version of the tool has ended
		return nil, g.recordRefusal(ctx, c, c.retired)
	}
	if err := c.check(c.input); err != nil { // step 4: arguments
		return nil, g.recordRefusal(ctx, c, err)
	}
	if release, err = g.spend(ctx, c); err != nil { // step 5: limits
		return nil, g.recordRefusal(ctx, c, err)
	}
	if err := g.accounted(ctx, c); err != nil { // the account that it runs with upstream
		release()
		return nil, g.recordRefusal(ctx, c, err)
	}
	if err := g.agree(ctx, c); err != nil { // step 6: confirmation, approval
		release()
		return nil, g.recordRefusal(ctx, c, err)
	}
	return release, nil
}

const (
	defaultTimeout = 30 * time.Second
	maxTimeout     = 10 * time.Minute
)

func timeoutOf(d time.Duration) time.Duration {
	if d <= 0 {
		return defaultTimeout
	}
	return min(d, maxTimeout)
}

// callTool handles one typed tools/call. The tool is the one that the SDK's
// exact look-up found: what is checked is what runs. An error is of a request
// that is none; what fails is a result.
func (g *Gateway) callTool(ctx context.Context, rev registry.Revision, tool *registry.Tool, v *validator, req *mcp.CallToolRequest) (*mcp.CallToolResult, error) {
	return g.callListed(ctx, &directTool{revision: rev, tool: tool, validator: v}, req, false)
}

// callListed is callTool of a tool as the server that is called lists it, or, as
// executed says, finds it for execute_tool.
func (g *Gateway) callListed(ctx context.Context, t *directTool, req *mcp.CallToolRequest, executed bool) (*mcp.CallToolResult, error) {
	ex := exchangeOf(req.Extra.TokenInfo)
	c, unknown := g.toolCall(ctx, ex, t, req.Params.Arguments, executed)
	c.progress, c.notify, c.trace = progressTo(ctx, req), logTo(ctx, c.host().Revision, req), traceparent(req.Params.Meta, ex)
	c.logLevel = logLevel(req.Params.Meta, c.notify != nil)
	if unknown != nil { // what the caller listed is not there, or cannot be read
		return toolError(fault.Of(g.recordRefusal(ctx, c, unknown)), c.id), nil
	}
	c.answered(ctx, req.Params)
	if token, ok := req.Params.Meta[metaConfirmation].(string); ok && c.confirmation == "" {
		c.confirmation = token
	}
	var err error
	if c.givenKey, err = idempotencyKey(req.Params.Meta); err != nil {
		return toolError(fault.Of(g.recordRefusal(ctx, c, err)), c.id), nil
	}
	if out := g.asTask(ctx, c, req); out != nil {
		return out, nil
	}
	c, res, rd, err := runFor(ctx, g, c, req, turn{req.Params.RequestState, req.Params.InputResponses})
	if rd != nil {
		return &mcp.CallToolResult{InputRequests: rd.requests, RequestState: rd.state}, nil
	}
	if isParkedState(req.Params.RequestState) && fault.HasCode(err, fault.InvalidRequest) {
		return nil, rpcError(fault.Of(err), c.id) // the request itself is wrong, not what the tool did (SEP-2322)
	}
	if missing := missingCapabilities(req, err); missing != nil {
		return nil, missing
	}
	if fault.HasCode(err, fault.ConfirmationNeeded) && canAsk(ctx, req, ex) {
		return c.pending.question(ctx), nil
	}
	if fault.HasCode(err, fault.ConnectNeeded) && canOpen(ctx, req, ex) {
		return connectQuestion(ctx, c, fault.Of(err)), nil
	}
	return c.marked(g.replyTool(c, res, err)), nil
}

// readResource handles one typed resources/read, always with read access.
func (g *Gateway) readResource(ctx context.Context, rev registry.Revision, def *registry.Resource, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	ex := exchangeOf(req.Extra.TokenInfo)
	c := &call{
		ex: ex, id: newCallID(), op: runtime.ReadResource, name: req.Params.URI, rule: runtime.ResourceRule(def.Name), guard: def.Guard, scope: def.Scope, hash: def.Hash,
		risk: registry.Reads, repeat: true, timeout: timeoutOf(def.Timeout),
		revision: rev, began: time.Now(), check: func(json.RawMessage) error { return boundedURI(req.Params.URI) },
		progress: progressTo(ctx, req), notify: logTo(ctx, rev, req), logLevel: logLevel(req.Params.Meta, logTo(ctx, rev, req) != nil), trace: traceparent(req.Params.Meta, ex),
	}
	c, res, rd, err := runFor(ctx, g, c, req, turn{req.Params.RequestState, req.Params.InputResponses})
	if rd != nil {
		return &mcp.ReadResourceResult{InputRequests: rd.requests, RequestState: rd.state}, nil
	}
	return replyResource(c, res, err)
}

// turn is what a request says of an earlier one that was answered with questions.
type turn struct {
	state   string
	answers mcp.InputResponseMap
}

// runFor runs the call of a request, or goes on with the one that it answers a
// question of, which is then the call that is given. The client may be asked in
// between; what comes of that is a result, or a round.
func runFor[P mcp.RequestParams](ctx context.Context, g *Gateway, c *call, req *mcp.ServerRequest[P], t turn) (*call, *runtime.Result, *round, error) {
	l := line{c.progress, c.notify}
	if isParkedState(t.state) {
		return g.goOn(ctx, c, t, l)
	}
	switch {
	case !mayAsk(g, c, req):
	case isModern(req.Params.GetMeta()):
		res, rd, err := g.parking.run(ctx, g, c, l)
		return c, res, rd, err
	default:
		c.put = inSession(req.Session)
	}
	res, err := g.run(ctx, c)
	return c, res, nil, err
}

func isModern(meta map[string]any) bool {
	version, _ := meta[mcp.MetaKeyProtocolVersion].(string)
	return version >= modern
}

func newCallID() string { return tenants.RandomID("ca") }

func boundedURI(uri string) error {
	if len(uri) > 2048 {
		return fault.New(fault.InvalidArguments, "The resource's URI is longer than 2048 bytes.")
	}
	return nil
}

const (
	// metaIdempotencyKey is where a caller puts a key of its own for a call with
	// effects; see once.go.
	metaIdempotencyKey = "latchkey/idempotencyKey"
	// metaReplayOf names, in an answer, the call that the answer is of.
	metaReplayOf = "latchkey/replayOf"
)

func idempotencyKey(meta mcp.Meta) (string, error) {
	v, given := meta[metaIdempotencyKey]
	if !given {
		return "", nil
	}
	key, ok := v.(string)
	if !ok || !validKey(key) {
		return "", fault.New(fault.InvalidArguments, "The idempotency key must be a string of 1 to 200 bytes.").
			WithDetails(fault.Detail{Pointer: "/_meta/latchkey~1idempotencyKey", Reason: "it is not such a string", Fix: "send a UUID"})
	}
	return key, nil
}

// traceparent is the caller's, from _meta or the header, or a new one: each
// call has a trace id in its record and upstream.
func traceparent(meta mcp.Meta, ex *exchange) string {
	if s, ok := meta["traceparent"].(string); ok && validTraceparent(s) != "" {
		return s
	}
	if ex.traceparent != "" {
		return ex.traceparent
	}
	return newTraceparent()
}

func newTraceparent() string {
	var id [24]byte
	rand.Read(id[:])
	return "00-" + hex.EncodeToString(id[:16]) + "-" + hex.EncodeToString(id[16:]) + "-00"
}

// progressTo sends progress to a caller that asked for it.
func progressTo[P mcp.RequestParams](ctx context.Context, req *mcp.ServerRequest[P]) func(done, total float64, message string) {
	token := req.Params.GetProgressToken()
	if token == nil || req.Session == nil {
		return func(float64, float64, string) {}
	}
	return func(done, total float64, message string) {
		// A caller that is gone shows as a cancelled context, not here.
		_ = req.Session.NotifyProgress(ctx, &mcp.ProgressNotificationParams{ProgressToken: token, Progress: done, Total: total, Message: message})
	}
}
