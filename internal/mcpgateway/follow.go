package mcpgateway

import (
	"context"
	"fmt"
	"slices"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/guard"
	"latchkey/internal/registry"
)

// A session of a legacy client keeps the SDK's server that it began with. What
// it lists, reads and gets is of the revision that is active now all the same:
// of tools, followRevision sees to that; of resources and prompts, this file.

// offered is what was added to a built server, by how it is asked for.
type offered struct {
	resources      []*mcp.Resource
	templates      []*mcp.ResourceTemplate
	prompts        []*mcp.Prompt
	read           map[string]mcp.ResourceHandler // by URI or template
	get            map[string]mcp.PromptHandler   // by name
	resourceScopes map[string]string              // by URI or template
	promptScopes   map[string]string
}

// adder is the part of an SDK's server that resources and prompts are added to.
type adder interface {
	AddResource(*mcp.Resource, mcp.ResourceHandler)
	AddResourceTemplate(*mcp.ResourceTemplate, mcp.ResourceHandler)
	AddPrompt(*mcp.Prompt, mcp.PromptHandler)
}

// recording notes what is added to an SDK's server.
type recording struct {
	*mcp.Server
	into *offered
}

func newOffered(def *registry.Definition) *offered {
	o := &offered{
		read: map[string]mcp.ResourceHandler{}, get: map[string]mcp.PromptHandler{},
		resourceScopes: map[string]string{}, promptScopes: map[string]string{},
	}
	for _, r := range def.Resources {
		o.resourceScopes[r.URI+r.URITemplate] = r.Scope
	}
	for _, p := range def.Prompts {
		o.promptScopes[p.Name] = p.Scope
	}
	return o
}

func (r recording) AddResource(x *mcp.Resource, h mcp.ResourceHandler) {
	r.Server.AddResource(x, h) // which panics on one that cannot be served
	r.into.resources = append(r.into.resources, x)
	r.into.read[x.URI] = h
}

func (r recording) AddResourceTemplate(x *mcp.ResourceTemplate, h mcp.ResourceHandler) {
	r.Server.AddResourceTemplate(x, h)
	r.into.templates = append(r.into.templates, x)
	r.into.read[x.URITemplate] = h
}

func (r recording) AddPrompt(x *mcp.Prompt, h mcp.PromptHandler) {
	r.Server.AddPrompt(x, h)
	r.into.prompts = append(r.into.prompts, x)
	r.into.get[x.Name] = h
}

// followOffered answers for resources and prompts where the session's server is
// of another revision than the active one.
func (g *Gateway) followOffered(built registry.RevisionID) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			extra := req.GetExtra()
			if extra == nil {
				return next(ctx, method, req)
			}
			ex := exchangeOf(extra.TokenInfo)
			if ex == nil || ex.hosted.Revision.ID == built {
				return next(ctx, method, req)
			}
			now := g.servers.complete(ex.hosted).offered
			switch req := req.(type) {
			case *mcp.ListResourcesRequest:
				return &mcp.ListResourcesResult{Resources: slices.Clone(now.resources)}, nil
			case *mcp.ListResourceTemplatesRequest:
				return &mcp.ListResourceTemplatesResult{ResourceTemplates: slices.Clone(now.templates)}, nil
			case *mcp.ListPromptsRequest:
				return &mcp.ListPromptsResult{Prompts: slices.Clone(now.prompts)}, nil
			case *mcp.ReadResourceRequest:
				return now.readNow(ctx, &ex.hosted.Revision.Definition, req)
			case *mcp.GetPromptRequest:
				get := now.get[req.Params.Name]
				if get == nil {
					return nil, &jsonrpc.Error{Code: jsonrpc.CodeInvalidParams, Message: fmt.Sprintf("unknown prompt %q", short(req.Params.Name))}
				}
				return get(ctx, req)
			}
			return next(ctx, method, req)
		}
	}
}

// readNow reads a resource as the SDK does.
func (o *offered) readNow(ctx context.Context, def *registry.Definition, req *mcp.ReadResourceRequest) (mcp.Result, error) {
	uri := req.Params.URI
	at, kind := "", ""
	if r := resourceAt(def, uri); r != nil {
		at, kind = r.URI+r.URITemplate, r.MIMEType
	} else if _, _, ok := guard.ParseKeptURI(uri); ok {
		at = guard.KeptTemplate
	}
	read := o.read[at]
	if read == nil {
		return nil, mcp.ResourceNotFoundError(uri)
	}
	res, err := read(ctx, req)
	if err != nil {
		return nil, err
	}
	for _, c := range res.Contents {
		if c.URI == "" {
			c.URI = uri
		}
		if c.MIMEType == "" {
			c.MIMEType = kind
		}
	}
	return res, nil
}
