package mcpgateway

import (
	"context"
	"encoding/json"
	"slices"
	"sync"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// A completion is a call like every other, under the scope of the prompt or
// template that it completes, but for its record: it is a keystroke. The first of
// somebody's minute is recorded before it is answered, as each refusal and each
// failure; the others of that minute are counted, in one record at its end.

const (
	completeTimeout  = 10 * time.Second
	maxCompleted     = 2000 // bytes of what was typed
	maxCompletions   = 100  // values of an answer (specification)
	maxCompletion    = 1000 // characters of one
	maxContextValues = 50
	typedFor         = time.Minute
	maxTyped         = 10_000 // minutes that are counted at once; beyond, each is recorded
)

// completable is a prompt or template that the upstream completes.
type completable struct{ name, rule, scope, hash string }

// completables of a definition, by reference.
func completables(d *registry.Definition) map[mcp.CompleteReference]completable {
	if !d.Completions {
		return nil
	}
	all := map[mcp.CompleteReference]completable{}
	for _, p := range d.Prompts {
		if p.Upstream {
			all[mcp.CompleteReference{Type: "ref/prompt", Name: p.Name}] = completable{p.Name, runtime.PromptRule(p.Name), p.Scope, p.Hash}
		}
	}
	for _, r := range d.Resources {
		if r.URITemplate != "" {
			all[mcp.CompleteReference{Type: "ref/resource", URI: r.URITemplate}] = completable{r.URITemplate, runtime.ResourceRule(r.Name), r.Scope, r.Hash}
		}
	}
	return all
}

// completer is the handler of completion/complete; nil where nothing completes.
func (g *Gateway) completer(rev registry.Revision) func(context.Context, *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	all := completables(&rev.Definition)
	if len(all) == 0 {
		return nil
	}
	return func(ctx context.Context, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
		if req.Params.Ref == nil {
			return nil, rpcError(fault.New(fault.InvalidRequest, "The completion names no prompt and no resource.").WithDetails(fault.Detail{Pointer: "/ref", Reason: "is missing"}), "")
		}
		of, ok := all[*req.Params.Ref]
		if !ok {
			if ownPromptNamed(&rev.Definition, req.Params.Ref) { // nobody completes a text
				return completion(nil), nil
			}
			return nil, rpcError(fault.New(fault.NotFound, "This server completes nothing of that name."), "")
		}
		return g.complete(ctx, rev, of, req)
	}
}

func ownPromptNamed(d *registry.Definition, ref *mcp.CompleteReference) bool {
	return ref.Type == "ref/prompt" && slices.ContainsFunc(d.Prompts, func(p registry.Prompt) bool { return p.Name == ref.Name })
}

// complete takes one completion through the steps.
func (g *Gateway) complete(ctx context.Context, rev registry.Revision, of completable, req *mcp.CompleteRequest) (*mcp.CompleteResult, error) {
	ex := exchangeOf(req.Extra.TokenInfo)
	input, err := json.Marshal(mcp.CompleteParams{Ref: req.Params.Ref, Argument: req.Params.Argument, Context: req.Params.Context})
	if err != nil {
		return nil, rpcError(fault.Of(err), "")
	}
	c := &call{
		ex: ex, id: newCallID(), op: runtime.Complete, name: of.name, rule: of.rule, scope: of.scope, hash: of.hash,
		risk: registry.Reads, repeat: true, timeout: completeTimeout, revision: rev, input: input, began: time.Now(),
		check:    func(json.RawMessage) error { return checkCompletion(req.Params) },
		progress: func(float64, float64, string) {}, trace: traceparent(req.Params.Meta, ex),
	}
	res, err := g.run(ctx, c)
	if err == nil && res.Completion == nil {
		err = fault.New(fault.ToolFailed, "The server answered something that is no completion. Tell its administrator.")
	}
	if err != nil {
		if fault.HasCode(err, fault.NotFound) {
			return completion(nil), nil // the upstream has none for it
		}
		return nil, rpcError(fault.Of(err), c.id)
	}
	return completion(res.Completion), nil
}

func checkCompletion(p *mcp.CompleteParams) error {
	bad := func(pointer, reason string) error {
		return fault.New(fault.InvalidArguments, "The completion asks for too much.").WithDetails(fault.Detail{Pointer: pointer, Reason: reason})
	}
	if len(p.Argument.Value) > maxCompleted || len(p.Argument.Name) > 200 {
		return bad("/argument", "is too long")
	}
	if p.Context == nil {
		return nil
	}
	if len(p.Context.Arguments) > maxContextValues {
		return bad("/context/arguments", "are too many")
	}
	for name, v := range p.Context.Arguments {
		if len(name) > 200 || len(v) > maxCompleted {
			return bad("/context/arguments/"+short(name), "is too long")
		}
	}
	return nil
}

// completion is an answer within the bounds of the specification.
func completion(r *mcp.CompleteResult) *mcp.CompleteResult {
	out := &mcp.CompleteResult{Completion: mcp.CompletionResultDetails{Values: []string{}}}
	if r == nil {
		return out
	}
	d := r.Completion
	out.Completion.HasMore, out.Completion.Total = d.HasMore || len(d.Values) > maxCompletions, max(d.Total, 0)
	for _, v := range d.Values[:min(len(d.Values), maxCompletions)] {
		out.Completion.Values = append(out.Completion.Values, oneLine(v, maxCompletion))
	}
	return out
}

// typed counts the completions of each person's minute.
type typed struct {
	gateway *Gateway
	mu      sync.Mutex
	minutes map[typing]*minute
}

type typing struct {
	tenant tenants.ID
	user   tenants.UserID
	grant  string
	server tenants.ServerID
	name   string
}

type minute struct {
	last  audit.Event // the newest one that was counted
	count int
	ends  *time.Timer
}

// counted reports whether a completion that went well needs no record of its own.
func (t *typed) counted(e audit.Event) bool {
	key := typing{e.Tenant, e.User, e.Grant, e.ServerID, e.Tool}
	t.mu.Lock()
	defer t.mu.Unlock()
	if m := t.minutes[key]; m != nil {
		m.last, m.count = e, m.count+1
		return true
	}
	if len(t.minutes) >= maxTyped {
		return false
	}
	if t.minutes == nil {
		t.minutes = map[typing]*minute{}
	}
	t.minutes[key] = &minute{ends: time.AfterFunc(typedFor, func() { t.end(key) })}
	return false
}

// end puts on record what was counted in a minute.
func (t *typed) end(key typing) {
	t.mu.Lock()
	m := t.minutes[key]
	delete(t.minutes, key)
	t.mu.Unlock()
	if m == nil {
		return
	}
	m.ends.Stop()
	if m.count == 0 {
		return
	}
	e := m.last
	notes := audit.Notes{audit.NoteTyped: m.count}
	for k, v := range e.Notes {
		notes[k] = v
	}
	e.Notes = notes
	ctx, cancel := context.WithTimeout(context.Background(), recordGrace)
	defer cancel()
	if err := t.gateway.cfg.Audit.Add(ctx, e); err != nil { // it was observed already
		t.gateway.cfg.Log.Error("completions that were counted are not on record", "tenant", e.Tenant, "count", m.count, "error", err)
	}
}

// flush ends all minutes now.
func (t *typed) flush() {
	t.mu.Lock()
	var keys []typing
	for k := range t.minutes {
		keys = append(keys, k)
	}
	t.mu.Unlock()
	for _, k := range keys {
		t.end(k)
	}
}
