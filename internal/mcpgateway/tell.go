package mcpgateway

import (
	"context"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// notify sends one notification to one session. The SDK can only send such to
// all sessions of a server, which here is all callers of a revision; so it is
// given a notification that it sends to one, and sendAs puts the right one in
// its place. Outside of a request's context it goes to the session's own stream,
// or to that of subscriptions/listen.
func notify(ctx context.Context, s *mcp.ServerSession, method string, params mcp.Params) error {
	return s.NotifyProgress(context.WithValue(ctx, sendKey{}, sending{method, params}), &mcp.ProgressNotificationParams{})
}

type sendKey struct{}

type sending struct {
	method string
	params mcp.Params
}

// sendAs is a sending middleware.
func sendAs(next mcp.MethodHandler) mcp.MethodHandler {
	return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
		send, ok := ctx.Value(sendKey{}).(sending)
		s, server := req.GetSession().(*mcp.ServerSession)
		if !ok || !server {
			return next(ctx, method, req)
		}
		return next(ctx, send.method, &mcp.ServerRequest[mcp.Params]{Session: s, Params: send.params})
	}
}
