package mcpgateway

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
)

// Which state of a tool a call gets. It is the active revision's, but for a
// session that listed an earlier version which the tool says it replaces: that
// one goes on until its day. Then, and from a deprecated tool's sunset on, a call
// is told what to use instead.
//
// What decides is known without the store for every tool that replaces nothing,
// which is most.

// metaDeprecated is where a tool in a list, and a result, say that they are of
// something that will end.
const metaDeprecated = "latchkey/deprecated"

// notice is what stands there.
type notice struct {
	Version   int           `json:"version"`
	Since     registry.Date `json:"since,omitempty"`
	Sunset    registry.Date `json:"sunset"`
	Successor string        `json:"successor,omitempty"`
	Message   string        `json:"message,omitempty"`
}

func noticeOf(t *registry.Tool) *notice {
	d := t.Deprecated
	if d == nil {
		return nil
	}
	return &notice{versionOf(t), d.Since, d.Sunset, d.Successor, d.Message}
}

func versionOf(t *registry.Tool) int { return max(t.Version, 1) }

// described is a tool's description, with what is to be known of its end.
func described(t *registry.Tool) string {
	d := t.Deprecated
	if d == nil {
		return t.Description
	}
	s := fmt.Sprintf("Deprecated since %s, ends %s", d.Since, d.Sunset)
	if d.Successor != "" {
		s += ": use " + d.Successor
	}
	s += "."
	if d.Message != "" {
		s += " " + d.Message
	}
	if t.Description == "" {
		return s
	}
	return t.Description + "\n\n" + s
}

// chosen is the state of a tool that a call gets.
type chosen struct {
	revision  registry.Revision
	tool      *registry.Tool
	validator *validator
	access    registry.Access
	older     bool
	later     *registry.OutputGuard // what the active revision's guard asks besides, of an older one
	notice    *notice               // nil: it will not end
	retired   *fault.Error          // it has ended
}

// take puts what was chosen into a call.
func (c *call) take(ch *chosen) {
	c.access, c.notice, c.retired, c.later = ch.access, ch.notice, ch.retired, ch.later
	if ch.notice != nil {
		c.note(audit.NoteDeprecated, string(ch.notice.Sunset))
	}
	if ch.older {
		c.note(audit.NoteRevision, ch.revision.Number)
	}
}

// marked says on a result that what gave it will end. Results may be shared.
func (c *call) marked(res *mcp.CallToolResult) *mcp.CallToolResult {
	if c.notice == nil {
		return res
	}
	out := *res
	if out.Meta = maps.Clone(res.Meta); out.Meta == nil {
		out.Meta = mcp.Meta{}
	}
	out.Meta[metaDeprecated] = c.notice
	return &out
}

// choose finds the state of a tool that its caller gets, at the server that has it.
func (g *Gateway) choose(ctx context.Context, ex *exchange, h *registry.Hosted, t *directTool) (chosen, error) {
	tool := t.tool
	c := chosen{revision: t.revision, tool: tool, validator: t.validator, access: tool.Risk.Access()}
	var err error
	if tool.Replaces != nil {
		if c, err = g.version(ctx, ex, h, c); err != nil {
			return c, err
		}
	}
	if d := tool.Deprecated; d != nil && c.retired == nil {
		if d.Gone(g.cfg.Now()) {
			c.retired = retired(tool)
		} else if c.notice == nil {
			c.notice = noticeOf(tool)
		}
	}
	return c, nil
}

// retired is the answer to a call of a tool that is past its sunset.
func retired(t *registry.Tool) *fault.Error {
	d := t.Deprecated
	if d.Successor == "" {
		return fault.New(fault.ToolSunset, "%s was retired on %s. List the tools again and use another.", t.Name, d.Sunset)
	}
	return fault.New(fault.ToolSunset, "%s was retired on %s. Use %s instead; list the tools again to see it.", t.Name, d.Sunset, d.Successor)
}

// version finds what the caller listed, where the tool took the place of an
// earlier version of itself. Fixes apply to that at once: how a tool is kept safe
// is the active revision's, but for which fields its answer has.
func (g *Gateway) version(ctx context.Context, ex *exchange, h *registry.Hosted, c chosen) (chosen, error) {
	listed, err := g.listings.of(ctx, ex, h.Server.ID)
	if err != nil || listed == "" || listed == c.revision.ID {
		return c, err
	}
	b, err := g.servers.older(ctx, *h, listed)
	if err != nil {
		return c, err
	}
	old := b.tools[c.tool.Name]
	if old == nil {
		return c, nil
	}
	sunset, err := g.window(ctx, h, c, old)
	if err != nil || sunset == "" {
		return c, err
	}
	if !g.cfg.Now().Before(sunset.Time()) {
		c.retired = fault.New(fault.ToolSunset, "Version %d of %s was retired on %s; version %d took its place. List the tools again, then call %s as it is described now.",
			versionOf(old.tool), c.tool.Name, sunset, versionOf(c.tool), c.tool.Name)
		return c, nil
	}
	t := *old.tool
	later := laterGuard(old.tool.Guard, c.tool.Guard)
	t.Safety, t.Version, t.Replaces = c.tool.Safety, old.tool.Version, nil
	t.Guard.Fields, t.Guard.Rename = old.tool.Guard.Fields, old.tool.Guard.Rename
	if c.tool.Risk.Above(t.Risk) {
		t.Risk = c.tool.Risk
	}
	return chosen{
		revision: old.revision, tool: &t, validator: old.validator, access: old.tool.Risk.Access(), older: true, later: later,
		notice: &notice{Version: versionOf(old.tool), Sunset: sunset, Successor: c.tool.Name,
			Message: fmt.Sprintf("Version %d took its place. List the tools again to use it.", versionOf(c.tool))},
	}, nil
}

// laterGuard is what a tool's guard of now asks of an answer that a worker gave
// under an earlier one. Its fields stay the earlier version's, and what that one
// marked already is not marked twice.
func laterGuard(was, is registry.OutputGuard) *registry.OutputGuard {
	if is.Off {
		return nil
	}
	is.Fields, is.Rename = nil, nil
	if !was.Off && len(is.Untrusted) > 0 {
		is.Untrusted = slices.DeleteFunc(slices.Clone(is.Untrusted), func(f string) bool { return slices.Contains(was.Untrusted, f) || slices.Contains(was.Untrusted, "*") })
	}
	return &is
}

// maxWindows bounds how far back a version's day is looked for.
const maxWindows = 100

// window is until when callers of old may go on with it, or empty where the
// active tool takes their calls: because it does what they expect, or because it
// was published to break them at once.
func (g *Gateway) window(ctx context.Context, h *registry.Hosted, c chosen, old *directTool) (sunset registry.Date, err error) {
	b := g.servers.complete(*h)
	key := string(old.revision.ID) + " " + c.tool.Name
	b.mu.Lock()
	sunset, known := b.windows[key]
	b.mu.Unlock()
	if known {
		return sunset, nil
	}
	if breaksCallers(old.tool, c.tool) && versionOf(c.tool) > versionOf(old.tool) {
		if sunset, err = g.sunsetOf(ctx, h, c, old); err != nil {
			return "", err
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.windows == nil || len(b.windows) > 10_000 {
		b.windows = map[string]registry.Date{}
	}
	b.windows[key] = sunset
	return sunset, nil
}

func breaksCallers(old, now *registry.Tool) bool {
	for _, e := range registry.ClassifyTool(old, now) {
		if e.Class == registry.Breaking {
			return true
		}
	}
	return false
}

// sunsetOf finds the newest word on a version's day: the active revision's, or
// that of the one which replaced it, when there were further ones since.
func (g *Gateway) sunsetOf(ctx context.Context, h *registry.Hosted, c chosen, old *directTool) (registry.Date, error) {
	version := versionOf(old.tool)
	if c.tool.Replaces.Version == version {
		return c.tool.Replaces.Sunset, nil
	}
	between, err := g.cfg.Versions.RevisionsBefore(ctx, h.Server.Tenant, h.Server.ID, c.revision.Number, maxWindows)
	if err != nil {
		return "", err
	}
	for i := range between {
		if between[i].Number <= old.revision.Number {
			break
		}
		if t, ok := between[i].Definition.Tool(c.tool.Name); ok && t.Replaces != nil && t.Replaces.Version == version {
			return t.Replaces.Sunset, nil
		}
	}
	return "", nil
}

// callNamed finds the tool of a call that the SDK's server of another revision
// has, or that the active one does not have any more.
func (g *Gateway) callNamed(ctx context.Context, ex *exchange, req *mcp.CallToolRequest) (mcp.Result, error) {
	b := g.servers.complete(ex.hosted)
	if own := b.own[req.Params.Name]; own != nil {
		return own(ctx, req)
	}
	if b.own != nil {
		return nil, unlisted(req.Params.Name)
	}
	if t := b.tools[req.Params.Name]; t != nil {
		return g.callTool(ctx, t.revision, t.tool, t.validator, req)
	}
	if t, err := g.removed(ctx, ex, req.Params.Name); err != nil {
		return nil, rpcError(fault.Of(err), "")
	} else if t != nil {
		c := newToolCall(ex, t.revision, t.tool, t.validator, req.Params.Arguments)
		return toolError(fault.Of(g.recordRefusal(ctx, c, retired(t.tool))), c.id), nil
	}
	return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("unknown tool %q", short(req.Params.Name))}
}

// removed is a tool that the caller listed as deprecated, and that is there no
// more: they are told its successor.
func (g *Gateway) removed(ctx context.Context, ex *exchange, name string) (*directTool, error) {
	listed, err := g.listings.of(ctx, ex, ex.hosted.Server.ID)
	if err != nil || listed == "" || listed == ex.hosted.Revision.ID {
		return nil, err
	}
	b, err := g.servers.older(ctx, ex.hosted, listed)
	if err != nil {
		return nil, err
	}
	t := b.tools[name]
	if t == nil || !t.tool.Deprecated.Gone(g.cfg.Now()) {
		return nil, nil
	}
	return t, nil
}
