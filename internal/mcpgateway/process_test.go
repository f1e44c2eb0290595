package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// A caller whose server's process is another one than in their last call is
// told so, once, in the answer that first comes of it.
func TestRestartOfServerIsToldOnce(t *testing.T) {
	w := newWorld(t)
	process := ""
	w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
		return DispatchOutcome{Worker: "w", Started: true, Result: &runtime.Result{Process: process, Tool: &mcp.CallToolResult{
			Content: []mcp.Content{&mcp.TextContent{Text: "found"}}, StructuredContent: json.RawMessage(`{"n":1}`)}}}, nil
	}
	s := w.connect(w.token(ann, "read"), "2026-07-28")
	look := func() string {
		t.Helper()
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"id": 1}})
		if err != nil {
			t.Fatal(err)
		}
		text := ""
		for _, c := range res.Content {
			text += c.(*mcp.TextContent).Text
		}
		if told := strings.Contains(text, "was restarted"); told != (res.Meta[metaProcess] != nil) {
			t.Errorf("the text and the meta differ: %s, %v", text, res.Meta)
		}
		return text
	}
	for i, step := range []struct {
		process string
		told    bool
	}{{"", false}, {"a", false}, {"a", false}, {"b", true}, {"b", false}, {"", false}, {"b", false}, {"c", true}} {
		if process = step.process; strings.Contains(look(), "was restarted") != step.told {
			t.Errorf("step %d: told is not %v", i, step.told)
		}
	}
}

func TestProcessesAreForgottenInTime(t *testing.T) {
	p := newProcesses()
	p.mostYoung = 10
	key := func(i int) listedKey { return listedKey{tenants.NewID(), fmt.Sprint(i), "srv"} }
	for i := range 1000 {
		p.another(key(i), "a")
	}
	if n := len(p.young) + len(p.old); n > 21 {
		t.Errorf("%d are remembered", n)
	}
	k := key(1)
	if p.another(k, "a") || !p.another(k, "b") || p.another(k, "b") || p.another(listedKey{}, "a") {
		t.Error("a restart is not seen, or seen twice")
	}
}
