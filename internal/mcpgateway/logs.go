package mcpgateway

import (
	"context"
	"encoding/json"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// What an upstream says beside its answer goes to the request that it is about,
// and to no other: a log to a client that asked for logs of its level. The level
// is the session's (logging/setLevel) or stands in the request's metadata; the
// SDK compares. Whatever else comes while a call runs is not the caller's.

const maxLogger = 100 // characters of a logger's name

var logLevels = map[mcp.LoggingLevel]bool{
	"debug": true, "info": true, "notice": true, "warning": true, "error": true, "critical": true, "alert": true, "emergency": true,
}

// logTo passes logs on to a caller that can hear them; nil where none can.
func logTo[P mcp.RequestParams](ctx context.Context, rev registry.Revision, req *mcp.ServerRequest[P]) func(runtime.Notification) {
	if !rev.Definition.Logging || req.Session == nil {
		return nil
	}
	if meta := req.Params.GetMeta(); isModern(meta) {
		if level, _ := meta[mcp.MetaKeyLogLevel].(string); !logLevels[mcp.LoggingLevel(level)] {
			return nil
		}
	}
	return func(n runtime.Notification) {
		if p := logOf(n); p != nil {
			_ = req.Session.Log(ctx, p) // a caller that is gone shows as a cancelled context
		}
	}
}

// logLevel is from which on the caller wants the upstream's logs; empty: it wants
// none. A session of an older revision has its level at the SDK, which filters.
func logLevel(meta mcp.Meta, wanted bool) string {
	switch {
	case !wanted:
		return ""
	case isModern(meta):
		level, _ := meta[mcp.MetaKeyLogLevel].(string)
		return level
	}
	return "debug"
}

// logOf reads a log of an upstream. Its data is passed on as it is.
func logOf(n runtime.Notification) *mcp.LoggingMessageParams {
	var p struct {
		Level  mcp.LoggingLevel `json:"level"`
		Logger string           `json:"logger"`
		Data   json.RawMessage  `json:"data"`
	}
	if n.Method != "notifications/message" || json.Unmarshal(n.Params, &p) != nil || !logLevels[p.Level] {
		return nil
	}
	if p.Data == nil {
		p.Data = json.RawMessage("null")
	}
	return &mcp.LoggingMessageParams{Level: p.Level, Logger: oneLine(p.Logger, maxLogger), Data: p.Data}
}
