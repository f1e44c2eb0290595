package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/switches"
)

// A toolset has a URL, names and scopes; its tools are at other servers of the
// tenant. So a call of one has two places, which are the same for all others:
//
//   - where it comes in (call.ex.hosted): the token's audience, the scope that
//     counts and the roles that open it, sessions, tasks and kept results;
//   - where the tool is (call.host): its definition of this moment, and with it
//     schema, risk and guard; limits, health, accounts, confirmations, approvals,
//     the name under which it is done once, the record, and the worker.
//
// Switches count at both. The copy of a tool in a toolset's definition is for lists
// and consent; nothing that refuses a call is read from it, but its scope.

// via is how a tool is called that is at another server.
type via struct {
	hosted   registry.Hosted // which has the tool
	name     string          // in the toolset
	scope    string          // at its own server
	executed bool            // found by execute_tool
}

// host is the server that has the tool.
func (c *call) host() *registry.Hosted {
	if c.via != nil {
		return &c.via.hosted
	}
	return &c.ex.hosted
}

// called is the tool's name as its caller knows it.
func (c *call) called() string {
	if c.via != nil {
		return c.via.name
	}
	return c.name
}

// inFull is what a person reads of the tool: what it is called, and where it is.
func (c *call) inFull() string {
	at := c.name + " on " + c.host().Server.Slug
	if c.via == nil || c.via.name == c.name {
		return at
	}
	return c.via.name + ", which is " + at
}

// again is what is called to make the call once more.
func (c *call) again() string {
	if c.via != nil && c.via.executed {
		return fmt.Sprintf("%s with the name %s", executeTool, c.via.name)
	}
	return c.called()
}

// next is a call of the same tool with these arguments.
func (c *call) next(arguments json.RawMessage) nextCall {
	if c.via == nil || !c.via.executed {
		return nextCall{Tool: c.called(), Arguments: arguments}
	}
	if arguments == nil { // they are long, and the same again
		arguments = json.RawMessage(`null`)
	}
	return nextCall{Tool: executeTool, Arguments: plainJSON(map[string]any{"name": c.via.name, "arguments": arguments})}
}

// toolCall makes the call of a listed tool, with the state of it that the caller
// gets. With an error, it is what the record needs of the refusal.
func (g *Gateway) toolCall(ctx context.Context, ex *exchange, t *directTool, arguments json.RawMessage, executed bool) (*call, error) {
	if t.tool.Origin == nil {
		ch, err := g.choose(ctx, ex, &ex.hosted, t)
		c := newToolCall(ex, ch.revision, ch.tool, ch.validator, arguments)
		c.take(&ch)
		return c, err
	}
	h, at, err := g.origin(ctx, ex, t.tool)
	if err != nil {
		c := newToolCall(ex, t.revision, t.tool, t.validator, arguments)
		if denied := g.allow(ctx, c); denied != nil { // who may not call it does not learn of it
			err = denied
		}
		return c, err
	}
	ch := chosen{revision: at.revision, tool: at.tool, validator: at.validator, access: at.tool.Risk.Access()}
	if ch, err = g.chooseAt(ctx, ex, h, at, executed); err == nil {
		ch.speakAs(t, g.cfg.Now())
	}
	c := newToolCall(ex, ch.revision, ch.tool, ch.validator, arguments)
	c.take(&ch)
	c.via = &via{hosted: *h, name: t.tool.Name, scope: at.tool.Scope, executed: executed}
	c.scope = t.tool.Scope
	c.note(audit.NoteToolset, ex.hosted.Server.Slug+"/"+t.tool.Name)
	return c, err
}

// chooseAt is choose for the tool of a toolset. What is executed was described
// just before, and never listed: it is the active version.
func (g *Gateway) chooseAt(ctx context.Context, ex *exchange, h *registry.Hosted, at *directTool, executed bool) (chosen, error) {
	if executed && at.tool.Replaces != nil {
		t := *at.tool
		t.Replaces = nil
		active := *at
		active.tool = &t
		return g.choose(ctx, ex, h, &active)
	}
	return g.choose(ctx, ex, h, at)
}

// speakAs puts the toolset's names into what is said of a tool's end.
func (ch *chosen) speakAs(t *directTool, now time.Time) {
	def := &t.revision.Definition
	if ch.notice != nil {
		n := *ch.notice
		n.Successor = nameIn(def, t.tool.Origin.Server, n.Successor)
		ch.notice = &n
	}
	if ch.retired == nil {
		return
	}
	if d := ch.tool.Deprecated; d.Gone(now) {
		said := *t.tool
		end := *d
		end.Successor = nameIn(def, t.tool.Origin.Server, d.Successor)
		said.Deprecated = &end
		ch.retired = retired(&said)
		return
	}
	ch.retired = fault.New(fault.ToolSunset, "The version of %s that you listed was retired, and another took its place. List the tools again, then call %s as it is described now.", t.tool.Name, t.tool.Name)
}

// nameIn is how a toolset calls a tool of a server; empty if it does not.
func nameIn(def *registry.Definition, server, tool string) string {
	if other, its, ok := strings.Cut(tool, "/"); ok {
		server, tool = other, its
	}
	for i := range def.Tools {
		if o := def.Tools[i].Origin; o != nil && o.Server == server && o.Tool == tool {
			return def.Tools[i].Name
		}
	}
	return ""
}

// origin finds the tool of a toolset where it is, as it is now.
func (g *Gateway) origin(ctx context.Context, ex *exchange, t *registry.Tool) (*registry.Hosted, *directTool, error) {
	gone := fault.New(fault.NotFound, "%s is not offered any more: the server that had it has taken it away. List the tools again.", t.Name)
	h, err := g.cfg.Registry.Hosted(ctx, ex.tenant.ID, t.Origin.Server)
	if fault.HasCode(err, fault.NotFound) {
		return nil, nil, gone.Because(err)
	}
	if err != nil {
		return nil, nil, err
	}
	at := g.servers.complete(h).tools[t.Origin.Tool]
	if at == nil || at.tool.Origin != nil { // another server of that slug could be a toolset
		return nil, nil, gone
	}
	return &h, at, nil
}

// memberOff refuses what is left of a toolset's tool that is switched off where
// it is, or gone.
func (g *Gateway) memberOff(ctx context.Context, c *call, name string) error {
	t := g.servers.complete(c.ex.hosted).tools[name]
	if t == nil || t.tool.Origin == nil {
		return nil
	}
	if _, _, err := g.origin(ctx, c.ex, t.tool); err != nil {
		return err
	}
	sets, err := g.switchesFor(ctx, c.ex.tenant.ID)
	if err != nil {
		return err
	}
	by, off := sets.find((*switches.Set).Of, time.Now(), c.ex.switchableAt(t.tool.Origin))
	if !off {
		return nil
	}
	c.note(audit.NoteSwitch, by.Target.String())
	return by.Refusal(c.ex.tenant.Name)
}

// switchableAt is a toolset's tool where it is.
func (ex *exchange) switchableAt(o *registry.Origin) switches.Call {
	c := ex.switchable()
	c.Server, c.Tool = o.Server, o.Tool
	return c
}

// memberLook looks at a toolset's tools for one list: which of them their servers do
// not have now. It hides; what refuses is origin.
type memberLook struct {
	g  *Gateway
	ex *exchange
	at map[string]*builtServer // by slug; nil: it is not there
}

func (m *memberLook) gone(ctx context.Context, o *registry.Origin) bool {
	b, looked := m.at[o.Server]
	if !looked {
		h, err := m.g.cfg.Registry.Hosted(ctx, m.ex.tenant.ID, o.Server)
		switch {
		case err == nil:
			b = m.g.servers.complete(h)
		case !fault.HasCode(err, fault.NotFound): // a call will say so
			b = unreadable
		}
		if m.at == nil {
			m.at = map[string]*builtServer{}
		}
		m.at[o.Server] = b
	}
	return b == nil || b != unreadable && b.tools[o.Tool] == nil
}

// unreadable stands for a server that could not be looked at.
var unreadable = &builtServer{}

// rememberMembers puts down which revisions of its members' tools a toolset's list
// showed, so that a session goes on with them as it would at the servers. What
// shows an earlier state than its server's, because it was published just now, is
// not put down as that server's.
func (g *Gateway) rememberMembers(ctx context.Context, ex *exchange) {
	def := &ex.hosted.Revision.Definition
	if def.Search {
		return
	}
	for _, slug := range def.Origins() {
		h, err := g.cfg.Registry.Hosted(ctx, ex.tenant.ID, slug)
		if err != nil {
			continue
		}
		same, b := true, g.servers.complete(h)
		for i := range def.Tools {
			if o := def.Tools[i].Origin; o != nil && o.Server == slug {
				at := b.tools[o.Tool]
				same = same && at != nil && at.tool.Hash == o.Hash
			}
		}
		if same {
			g.listings.remember(ex, &h)
		}
	}
}
