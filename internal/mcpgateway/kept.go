package mcpgateway

import (
	"context"
	"errors"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/guard"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// keptSchema describes what stands in for structured content that is too large
// and cannot be cut. Tools with an output schema publish it beside their own.
const keptSchema = `{"type":"object","required":["kept"],"properties":{"kept":{"type":"object","description":"The answer was too large to give at once.","required":["bytes"],"properties":{"uri":{"type":"string","description":"the resource to read it from, in parts"},"parts":{"type":"integer"},"bytes":{"type":"integer"},"rows":{"type":"integer"},"expires_at":{"type":"string"}}}}}`

var errNotKept = errors.New("results of this call are not kept")

// keep stores the parts of a large result for whoever called.
func (g *Gateway) keep(ctx context.Context, c *call, large *guard.Large) (guard.Kept, error) {
	p := c.ex.principal
	if g.cfg.Results == nil || g.cfg.Sealer == nil || p.Grant == "" || len(large.Parts) == 0 {
		return guard.Kept{}, errNotKept
	}
	now := time.Now()
	k := guard.Kept{
		ID: tenants.RandomID("kr"), Server: c.ex.hosted.Server.ID, User: p.User, Grant: p.Grant, Scope: c.scope, Tool: c.called(),
		CreatedAt: now, ExpiresAt: now.Add(guard.KeepFor),
	}
	for i, part := range large.Parts {
		sealed, err := g.cfg.Sealer.Seal(ctx, c.ex.tenant.ID, guard.SealedAs(k.ID, i+1), []byte(part.Text))
		if err != nil {
			return guard.Kept{}, err
		}
		k.Parts = append(k.Parts, guard.KeptPart{MIME: part.MIME, Sealed: sealed})
	}
	if err := g.cfg.Results.KeepResult(ctx, c.ex.tenant.ID, k, guard.MaxKept); err != nil {
		return guard.Kept{}, err
	}
	return k, nil
}

// addKept serves the parts of large results, at every server that has tools.
func (g *Gateway) addKept(srv adder, rev registry.Revision) {
	srv.AddResourceTemplate(&mcp.ResourceTemplate{
		Name: "large-results", Title: "Large results", URITemplate: guard.KeptTemplate,
		Description: "The whole of an answer that was too large to give at once, in parts from 1 on. The answer names it; it can be read for an hour.",
	}, func(ctx context.Context, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		return g.readKept(ctx, rev, req)
	})
}

// readKept handles one read of a part. No worker is needed. Whoever may not
// read it is told what they are told of a resource that does not exist.
func (g *Gateway) readKept(ctx context.Context, rev registry.Revision, req *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
	ex := exchangeOf(req.Extra.TokenInfo)
	c := &call{
		ex: ex, id: newCallID(), op: runtime.ReadResource, name: req.Params.URI, risk: registry.Reads, repeat: true, timeout: defaultTimeout,
		revision: rev, began: time.Now(), trace: traceparent(req.Params.Meta, ex),
	}
	refuse := func(err error) error { return g.recordRefusal(ctx, c, err) }
	kept, err := g.findKept(ctx, c)
	if err == nil {
		c.scope = kept.Scope
		if err = g.allow(ctx, c); err == nil {
			err = g.memberOff(ctx, c, kept.Tool)
		}
		if err != nil && fault.Of(err).Code.Category == fault.Access {
			ex.missing.Store(nil) // nothing to ask for: there is no such resource
			err = notKept(c.name).Because(err)
		}
	}
	if err != nil {
		_, err = replyResource(c, nil, refuse(err))
		return nil, err
	}
	release, err := g.spend(ctx, c)
	if err != nil {
		_, err = replyResource(c, nil, refuse(err))
		return nil, err
	}
	defer release()
	text, err := g.cfg.Sealer.Open(ctx, ex.tenant.ID, guard.SealedAs(kept.ID, kept.part), kept.Parts[0].Sealed)
	if err != nil {
		_, err = replyResource(c, nil, refuse(err))
		return nil, err
	}
	c.note(audit.NoteKept, kept.ID)
	res := &runtime.Result{Rows: -1, Resource: &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: c.name, MIMEType: kept.Parts[0].MIME, Text: string(text)}}}}
	out, err := g.recordOutcome(ctx, c, res, nil)
	return replyResource(c, out, err)
}

// keptPart is a kept result with the number of the part that is at hand.
type keptPart struct {
	guard.Kept
	part int
}

// findKept finds what the caller may read: of this server, by the same person
// under the same grant, of a tool that is still there.
func (g *Gateway) findKept(ctx context.Context, c *call) (keptPart, error) {
	id, part, ok := guard.ParseKeptURI(c.name)
	if !ok || g.cfg.Results == nil || g.cfg.Sealer == nil {
		return keptPart{}, notKept(c.name)
	}
	k, err := g.cfg.Results.KeptPart(ctx, c.ex.tenant.ID, id, part, time.Now())
	if fault.HasCode(err, fault.NotFound) {
		return keptPart{}, notKept(c.name)
	}
	if err != nil {
		return keptPart{}, err
	}
	p := c.ex.principal
	_, offered := c.revision.Definition.Tool(k.Tool)
	if k.Server != c.ex.hosted.Server.ID || k.User != p.User || k.Grant != p.Grant || p.Grant == "" || !offered {
		return keptPart{}, notKept(c.name)
	}
	return keptPart{k, part}, nil
}

func notKept(uri string) *fault.Error {
	return fault.New(fault.NotFound, "This server has no resource %q.", uri)
}
