package mcpgateway

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/runtime"
)

// kept is the outcome of a call as it is sealed: a result, or a failure after
// which nothing may run again.
type kept struct {
	Result  *runtime.Result
	Failure *fault.Error
}

type keptText struct {
	Tool    json.RawMessage `json:"tool,omitempty"` // as it goes to clients
	Rows    int             `json:"rows,omitempty"`
	Failure *keptFailure    `json:"failure,omitempty"`
}

type keptFailure struct {
	Code    string         `json:"code"`
	Message string         `json:"message"`
	Details []fault.Detail `json:"details,omitempty"`
}

func (k kept) encode() ([]byte, error) {
	if f := k.Failure; f != nil {
		return json.Marshal(keptText{Failure: &keptFailure{f.Code.Name, f.Message, f.Details}})
	}
	tool, err := json.Marshal(k.Result.Tool)
	if err != nil {
		return nil, err
	}
	return json.Marshal(keptText{Tool: tool, Rows: k.Result.Rows})
}

// decodeKept leaves structured content as it was written: decoded, numbers
// would lose digits.
func decodeKept(b []byte) (k kept, err error) {
	var text keptText
	if err := json.Unmarshal(b, &text); err != nil {
		return k, err
	}
	if f := text.Failure; f != nil {
		k.Failure = fault.New(fault.ByName(f.Code), "%s", f.Message).WithDetails(f.Details...)
		return k, nil
	}
	var tool mcp.CallToolResult
	var raw struct {
		Structured json.RawMessage `json:"structuredContent"`
	}
	if err := json.Unmarshal(text.Tool, &tool); err != nil {
		return k, err
	}
	if err := json.Unmarshal(text.Tool, &raw); err != nil {
		return k, err
	}
	if len(raw.Structured) > 0 {
		tool.StructuredContent = raw.Structured
	}
	k.Result = &runtime.Result{Tool: &tool, Rows: text.Rows}
	return k, nil
}

// place binds what is sealed to its row and to the call that made it.
func (id identity) place(call string) string {
	return strings.Join([]string{string(id.User), string(id.Server), string(id.Key[:]), string(id.request[:]), call}, "\x00")
}

// seal is nil for what is too large or cannot be sealed: then only that the call
// is done is kept.
func (g *Gateway) seal(ctx context.Context, c *call, id identity, k kept) []byte {
	plain, err := k.encode()
	if err == nil && len(plain) > idempotency.MaxKept {
		return nil
	}
	var sealed []byte
	if err == nil {
		sealed, err = g.cfg.Once.Sealer.Seal(context.WithoutCancel(ctx), id.tenant, id.place(c.id), plain)
	}
	if err != nil {
		g.cfg.Log.ErrorContext(ctx, "an answer was not kept for repeats", "call", c.id, "error", err)
		return nil
	}
	return sealed
}

func (g *Gateway) unseal(ctx context.Context, id identity, was idempotency.Call) (kept, error) {
	plain, err := g.cfg.Once.Sealer.Open(ctx, id.tenant, id.place(was.ID), was.Sealed)
	if err != nil {
		return kept{}, err
	}
	return decodeKept(plain)
}
