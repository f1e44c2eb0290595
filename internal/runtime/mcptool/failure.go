package mcptool

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

// maxWords bounds what is repeated of an upstream's words, in bytes.
const maxWords = 500

// codeResourceNotFound is that of the revisions before 2026-07-28.
const codeResourceNotFound = -32002

// ErrInterrupted: the way to the upstream broke while a call was on it.
var ErrInterrupted = errors.New("mcptool: the connection broke")

func isMethodUnknown(err error) bool {
	var e *answered
	return errors.As(err, &e) && e.rpc.Code == jsonrpc.CodeMethodNotFound
}

// failed makes the error for the caller of what ended a call.
func (in *Instance) failed(ctx context.Context, c *runtime.Call, r *Running, err error) error {
	var said *answered
	var known *fault.Error
	effect := r != nil && c.Op == runtime.CallTool && c.Access == registry.WriteAccess && r.mayHaveRun()
	switch {
	case errors.As(err, &known) && !(effect && known.Code == fault.ResultTooLarge):
		return known
	case errors.As(err, &said) && ctx.Err() == nil:
		return refused(c, said.rpc)
	case effect:
		return fault.New(fault.OutcomeUnknown, "The server was reached and did not say how the call ended: it may have taken effect. Look at what it changed before you call again.").Because(err)
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	if explained := in.up.Explain(c, err); explained != nil {
		return explained
	}
	if r != nil && r.mayHaveRun() && r.session.Err() == nil && !errors.Is(err, ErrInterrupted) {
		return fault.New(fault.ToolFailed, "The server's answer cannot be read: it is not what the protocol has. Tell who runs the server.").Because(err)
	}
	return fault.New(fault.UpstreamAway, "The server behind this tool cannot be reached. Nothing was done; try again in a while.").After(5 * time.Second).Because(err)
}

// Answered wraps a JSON-RPC error that a transport found, as the upstream's own.
func Answered(e *jsonrpc.Error) error { return &answered{e} }

// refused puts the upstream's own error into one of ours.
func refused(c *runtime.Call, e *jsonrpc.Error) error {
	words := clean(e.Message, maxWords)
	said := ""
	if words != "" {
		said = " It says: " + words
	}
	// The SDKs say of an unknown name that the parameters are invalid.
	unknown := strings.Contains(strings.ToLower(e.Message), "unknown ") || strings.Contains(strings.ToLower(e.Message), "not found")
	switch {
	case e.Code == jsonrpc.CodeMethodNotFound, e.Code == codeResourceNotFound,
		e.Code == jsonrpc.CodeInvalidParams && (unknown || c.Op == runtime.ReadResource):
		return fault.New(fault.NotFound, "The server does not know %.200q.%s", c.Name, said)
	case e.Code == jsonrpc.CodeInvalidParams:
		return fault.New(fault.InvalidArguments, "The server refused the arguments.%s", said)
	case e.Code == mcp.CodeMissingRequiredClientCapabilities:
		return fault.New(fault.Unanswerable, "The server needs something of your client that it does not offer.%s", said).WithDetails(required(e.Data)...)
	}
	return fault.New(fault.ToolFailed, "The server answered with an error (%d).%s", e.Code, said)
}

// required are the capabilities that an upstream names as missing (SEP-2575).
func required(data json.RawMessage) []fault.Detail {
	var d struct {
		Required map[string]json.RawMessage `json:"requiredCapabilities"`
	}
	if json.Unmarshal(data, &d) != nil || len(d.Required) > 20 {
		return nil
	}
	var all []fault.Detail
	for _, name := range slices.Sorted(maps.Keys(d.Required)) {
		if name = clean(name, 60); name != "" {
			all = append(all, fault.Detail{Pointer: runtime.CapabilitiesPointer, Reason: name, Fix: "use a client that declares it"})
		}
	}
	return all
}

// clean makes an upstream's words fit to be shown: one line, nothing that is not
// seen, and an end.
func clean(s string, most int) string {
	if len(s) > 4*most {
		s = s[:4*most]
	}
	s = strings.ToValidUTF8(s, "")
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case !unicode.IsPrint(r):
			return -1
		}
		return r
	}, s)
	s = strings.TrimSpace(s)
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}

// toolFailed is a tool's failure as a result, which is how a model gets to read
// it.
func toolFailed(f *fault.Error) *runtime.Result {
	structured, err := json.Marshal(map[string]any{"error": map[string]any{"category": f.Code.Category, "code": f.Code.Name, "message": f.Message}})
	if err != nil { // texts only
		panic(err)
	}
	return &runtime.Result{Tool: &mcp.CallToolResult{IsError: true, Content: []mcp.Content{&mcp.TextContent{Text: f.Message}}, StructuredContent: json.RawMessage(structured)}}
}
