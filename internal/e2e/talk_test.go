package e2e

import (
	"context"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

const talkingServer = `tenant: acme
name: Acme Corp
roles:
  talker: {scopes: {talks: [use]}}
servers:
- {slug: talks, kind: echo, title: Talks, spec: {tools: [{name: ask, scope: use}, {name: log, scope: use}], prompts: use, resources: use}}
members:
- {email: sam@acme.test, name: Sam Support, roles: [support, talker]}
`

// talker is a client of sam's that can be asked and hears logs.
func talker(t *testing.T, p *Platform, version string, answer func(*mcp.ElicitParams) *mcp.ElicitResult) (*mcp.ClientSession, chan string) {
	t.Helper()
	c := &clicks{person: person(t, p, "sam@acme.test"), ticks: [][]string{{"use"}}}
	logs := make(chan string, 100)
	client := mcp.NewClient(&mcp.Implementation{Name: "e2e-go", Version: "1"}, &mcp.ClientOptions{
		ElicitationHandler: func(_ context.Context, r *mcp.ElicitRequest) (*mcp.ElicitResult, error) { return answer(r.Params), nil },
		LoggingMessageHandler: func(_ context.Context, r *mcp.LoggingMessageRequest) {
			if data, ok := r.Params.Data.(map[string]any); ok {
				logs <- data["text"].(string)
			}
		},
	})
	s, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{Endpoint: p.Resource("acme", "talks"), HTTPClient: c.client(), OAuthHandler: c.handler(t)},
		&mcp.ClientSessionOptions{ProtocolVersion: version})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s, logs
}

// What an upstream says and asks goes the whole way, from a worker's process to a
// client of either era, and back.
func TestUpstreamTalksToTheCaller(t *testing.T) {
	t.Parallel()
	p := Start(t)
	if got := p.Apply(t, talkingServer); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	for _, version := range []string{"2026-07-28", "2025-11-25"} {
		t.Run(version, func(t *testing.T) {
			s, logs := talker(t, p, version, func(q *mcp.ElicitParams) *mcp.ElicitResult {
				if !strings.HasPrefix(q.Message, "The server Talks (talks) at Acme Corp asks:\n\nWhich?") {
					t.Errorf("asked %q", q.Message)
				}
				return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"answer": "this one"}}
			})
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask", Arguments: map[string]any{"message": "Which?", "times": 3}})
			if err != nil || res.IsError || strings.Count(res.Content[0].(*mcp.TextContent).Text, "this one") != 3 {
				t.Errorf("%+v, %v", res, err)
			}
			params := &mcp.CallToolParams{Name: "log", Arguments: map[string]any{"text": "hear", "messages": 2, "level": "warning"}}
			if version == "2025-11-25" {
				if err := s.SetLoggingLevel(t.Context(), &mcp.SetLoggingLevelParams{Level: "info"}); err != nil {
					t.Fatal(err)
				}
			} else {
				params.Meta = mcp.Meta{mcp.MetaKeyLogLevel: "info"}
			}
			if _, err := s.CallTool(t.Context(), params); err != nil {
				t.Fatal(err)
			}
			for range 2 {
				select {
				case text := <-logs:
					if text != "hear" {
						t.Errorf("heard %q", text)
					}
				case <-time.After(20 * time.Second):
					t.Fatal("a log did not come")
				}
			}
			prompt, err := s.GetPrompt(t.Context(), &mcp.GetPromptParams{Name: "greet", Arguments: map[string]string{"name": "Ada", "language": "Suomi"}})
			if err != nil || prompt.Messages[0].Content.(*mcp.TextContent).Text != "Greet Ada in Suomi." {
				t.Errorf("%+v, %v", prompt, err)
			}
			done, err := s.Complete(t.Context(), &mcp.CompleteParams{Ref: &mcp.CompleteReference{Type: "ref/prompt", Name: "greet"}, Argument: mcp.CompleteParamsArgument{Name: "language", Value: "su"}})
			if err != nil || len(done.Completion.Values) != 1 || done.Completion.Values[0] != "Suomi" {
				t.Errorf("%+v, %v", done, err)
			}
			read, err := s.ReadResource(t.Context(), &mcp.ReadResourceParams{URI: "echo://word/hello"})
			if err != nil || read.Contents[0].Text != "hello" {
				t.Errorf("%+v, %v", read, err)
			}
		})
	}
	t.Run("a worker that dies while a person thinks", func(t *testing.T) {
		n := 0
		s, _ := talker(t, p, "2026-07-28", func(*mcp.ElicitParams) *mcp.ElicitResult {
			if n++; n == 1 {
				pid, err := p.Worker()
				if err == nil {
					err = syscall.Kill(pid, syscall.SIGKILL)
				}
				if err != nil {
					t.Error(err)
				}
			}
			return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"answer": "again"}}
		})
		// What changes nothing begins again on the worker that comes up, and asks again.
		res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "ask", Arguments: map[string]any{"message": "Which?"}})
		if err != nil {
			t.Fatal(err)
		}
		if text := res.Content[0].(*mcp.TextContent).Text; !strings.Contains(text, "again") && !strings.Contains(text, "retry after") {
			t.Errorf("asked %d times, answered %s", n, text)
		}
	})
}
