package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// Modern is the revision that the harness itself speaks: every request stands
// alone.
const Modern = "2026-07-28"

// Answer is what came back for one request.
type Answer struct {
	Status int
	Header http.Header
	Body   string
}

// Message is a JSON-RPC answer.
type Message struct {
	ID     any `json:"id"`
	Result struct {
		Content []struct {
			Type, Text string
		} `json:"content"`
		Structured json.RawMessage `json:"structuredContent"`
		IsError    bool            `json:"isError"`
		Tools      []struct {
			Name string `json:"name"`
		} `json:"tools"`
	} `json:"result"`
	Error *struct {
		Code    int     `json:"code"`
		Message string  `json:"message"`
		Data    Failure `json:"data"`
	} `json:"error"`
}

// Failure is what an agent is told of a failed call.
type Failure struct {
	Category    string `json:"category"`
	Code        string `json:"code"`
	Message     string `json:"message"`
	RetryAfterS int    `json:"retry_after_s"`
	Scope       string `json:"scope"`
	CallID      string `json:"call_id"`
	Details     []struct{ Pointer, Reason, Fix string }
}

// Message reads the body; of a stream, its last event.
func (a Answer) Message() (m Message, err error) {
	body := a.Body
	if strings.HasPrefix(a.Header.Get("Content-Type"), "text/event-stream") {
		for line := range strings.Lines(a.Body) {
			if data, ok := strings.CutPrefix(line, "data: "); ok {
				body = data
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &m); err != nil {
		return m, fmt.Errorf("%d %.300s: %w", a.Status, a.Body, err)
	}
	return m, nil
}

// Failure is how the call failed, as a tool result or as an error; nil if it
// did not.
func (a Answer) Failure() (*Failure, error) {
	m, err := a.Message()
	switch {
	case err != nil:
		return nil, err
	case m.Error != nil:
		f := m.Error.Data
		if f.Message == "" {
			f.Message = m.Error.Message
		}
		return &f, nil
	case m.Result.IsError:
		var s struct {
			Error Failure `json:"error"`
		}
		if err := json.Unmarshal(m.Result.Structured, &s); err != nil {
			return nil, fmt.Errorf("structuredContent %s: %w", m.Result.Structured, err)
		}
		return &s.Error, nil
	}
	return nil, nil
}

// RPC sends one request of the modern era. header may change or, with an empty
// value, remove headers.
func (p *Platform) RPC(ctx context.Context, resource, token, method string, params map[string]any, header ...string) (Answer, error) {
	all := map[string]any{"_meta": map[string]any{
		"io.modelcontextprotocol/protocolVersion": Modern, "io.modelcontextprotocol/clientCapabilities": map[string]any{},
		"io.modelcontextprotocol/clientInfo": map[string]any{"name": "e2e", "version": "1"},
	}}
	for k, v := range params {
		all[k] = v
	}
	b, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": all})
	if err != nil {
		return Answer{}, err
	}
	h := []string{"MCP-Protocol-Version", Modern, "Mcp-Method", method}
	if name, ok := params["name"].(string); ok {
		h = append(h, "Mcp-Name", name)
	}
	return p.Post(ctx, resource, token, string(b), append(h, header...)...)
}

// Post sends a body as it is.
func (p *Platform) Post(ctx context.Context, resource, token, body string, header ...string) (Answer, error) {
	return p.Do(ctx, http.MethodPost, resource, token, body, header...)
}

// Do is one request to an MCP endpoint.
func (p *Platform) Do(ctx context.Context, method, resource, token, body string, header ...string) (Answer, error) {
	r, err := http.NewRequestWithContext(ctx, method, resource, strings.NewReader(body))
	if err != nil {
		return Answer{}, err
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Accept", "application/json, text/event-stream")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		switch {
		case header[i] == "Host":
			r.Host = header[i+1]
		case header[i+1] == "":
			r.Header.Del(header[i])
		default:
			r.Header.Set(header[i], header[i+1])
		}
	}
	res, text, err := send(p.HTTP, r)
	if err != nil {
		return Answer{}, err
	}
	return Answer{res.StatusCode, res.Header, text}, nil
}

// Call calls a tool.
func (p *Platform) Call(ctx context.Context, resource, token, tool string, arguments any, header ...string) (Answer, error) {
	return p.RPC(ctx, resource, token, "tools/call", map[string]any{"name": tool, "arguments": arguments}, header...)
}

// MustCall calls a tool and fails the test unless it is answered at all.
func (p *Platform) MustCall(t testing.TB, resource, token, tool string, arguments any, header ...string) Answer {
	t.Helper()
	a, err := p.Call(t.Context(), resource, token, tool, arguments, header...)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// rows are what an SQL tool found.
func (a Answer) rows() ([]map[string]any, error) {
	m, err := a.Message()
	if err != nil {
		return nil, err
	}
	var s struct {
		Rows []map[string]any `json:"rows"`
	}
	if m.Error != nil || m.Result.IsError {
		return nil, fmt.Errorf("%d %s", a.Status, a.Body)
	}
	err = json.Unmarshal(m.Result.Structured, &s)
	return s.Rows, err
}
