package remotetool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/runtimetest"
	"latchkey/internal/secret"
)

const upstreamToken = "upstream-token-3f9a"

func bearerConnection(t testing.TB, url string) json.RawMessage {
	var c connection
	c.URL, c.Transport, c.Auth.Type = url, auto, bearer
	raw, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func withToken() *fixed {
	return &fixed{fields: map[string]secret.Text{fieldToken: upstreamToken}}
}

// TestSuite runs what holds of every kind, against servers of every era.
func TestSuite(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			up := newUpstreamServer(t, era, upstreamToken)
			b := newBench(t, bearerConnection(t, up.URL), "", withToken())
			runtimetest.Run(t, runtimetest.Harness{
				Kind: Kind, Opening: b.opening, Host: runtime.Host{Egress: loopback}, Leases: withToken(), Secrets: []string{upstreamToken},
				Normal:  runtimetest.Tool{Name: "echo", Input: `{"text":"hi"}`},
				Failing: runtimetest.Tool{Name: "fails", Input: `{}`},
				Slow:    runtimetest.Tool{Name: "slow", Input: `{}`},
				Big:     runtimetest.Tool{Name: "big", Input: `{}`},
				Canary:  runtimetest.Tool{Name: "echo", Input: `{"text":"` + runtimetest.CanarySecret + `"}`},
				Working: func(*testing.T) int { return int(up.working.Load()) },
				Break: func(*testing.T) func() {
					up.away.Store(true)
					up.CloseClientConnections()
					return func() { up.away.Store(false) }
				},
			})
		})
	}
}

// TestEverythingPassesThrough: what the upstream says reaches the caller as it is.
func TestEverythingPassesThrough(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			up := newUpstreamServer(t, era, "")
			b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)

			rich := b.must(runtime.CallTool, "rich", `{}`).Tool
			raw, err := json.Marshal(rich)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range []string{`"type":"text"`, `"priority":0.5`, `"type":"image"`, `"type":"audio"`, `"type":"resource_link"`, `"type":"resource"`, `"vendor/x":"y"`, `12345678901234567890`} {
				if !strings.Contains(string(raw), want) {
					t.Errorf("the result has no %s: %s", want, raw)
				}
			}
			for _, not := range []string{"latchkey/", "io.modelcontextprotocol/", "progressToken"} {
				if strings.Contains(string(raw), not) {
					t.Errorf("the result has %s: %s", not, raw)
				}
			}
			if r := b.must(runtime.ReadResource, "res://note", "").Resource; r.Contents[0].Text != "a note" {
				t.Errorf("%+v", r)
			}
			if r := b.must(runtime.ReadResource, "res://item/7", "").Resource; r.Contents[0].Text != "item" || r.Contents[0].URI != "res://item/7" {
				t.Errorf("%+v", r)
			}
			if p := b.must(runtime.GetPrompt, "greet", `{"who":"Ada"}`).Prompt; p.Description != "Greets." || p.Messages[0].Content.(*mcp.TextContent).Text != "Hello Ada" {
				t.Errorf("%+v", p)
			}
			if c := b.must(runtime.Complete, "greet", `{"ref":{"type":"ref/prompt","name":"greet"},"argument":{"name":"who","value":"o"}}`).Completion; len(c.Completion.Values) != 2 || c.Completion.Total != 2 {
				t.Errorf("%+v", c)
			}
			health := b.must(runtime.Probe, "server", "").Health
			if offer := b.must(runtime.Discover, "server", "").Offer; health.Offer != offer.Hash() || health.Era != offer.Protocol || offer.Instructions != "Use it well." {
				t.Errorf("%+v of %+v", health, offer)
			}
			if want := map[string]string{"sse": "2025-11-25"}[era]; health.Era != era && health.Era != want {
				t.Errorf("spoke %s", health.Era)
			}
		})
	}
}

// TestProgressAndLogsBelongToTheirCall: also while others run on the same session.
func TestProgressAndLogsBelongToTheirCall(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			up := newUpstreamServer(t, era, "")
			b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
			one := func(name string) {
				var mu sync.Mutex
				var progress []float64
				var logs []string
				c := b.call(runtime.CallTool, "chatty", `{"text":"`+name+`"}`)
				c.LogLevel = "info"
				res, err := b.run(context.Background(), c, runtime.Back{
					Progress: func(done, total float64, message string) {
						mu.Lock()
						defer mu.Unlock()
						if progress = append(progress, done); total != 3 || message != "step" {
							t.Errorf("%v %q", total, message)
						}
					},
					Notify: func(n runtime.Notification) {
						mu.Lock()
						defer mu.Unlock()
						logs = append(logs, n.Method+string(n.Params))
					},
				})
				if err != nil || textOf(res) != "done" {
					t.Errorf("%v, %v", res, err)
					return
				}
				mu.Lock()
				defer mu.Unlock()
				if fmt.Sprint(progress) != "[1 2 3]" {
					t.Errorf("progress of %s: %v", name, progress)
				}
				for i, l := range logs {
					if !strings.HasPrefix(l, "notifications/message") || era != "sse" && !strings.Contains(l, fmt.Sprintf("%s %d", name, i)) {
						t.Errorf("log %d of %s: %s", i, name, l)
					}
				}
				if era != "sse" && len(logs) != 3 {
					t.Errorf("%s has %d log lines", name, len(logs))
				}
			}
			one("alone")
			var all sync.WaitGroup
			for i := range 8 {
				all.Go(func() { one(fmt.Sprintf("caller%d", i)) })
			}
			all.Wait()
		})
	}
}

// TestQuestionsReachTheirCaller: in the old era as requests on the session, in
// the new one as results that ask for input.
func TestQuestionsReachTheirCaller(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			up := newUpstreamServer(t, era, "")
			b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
			one := func(name string) {
				res, err := b.run(context.Background(), b.call(runtime.CallTool, "asks", `{"text":"`+name+`"}`), runtime.Back{
					Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
						switch q.Method {
						case "elicitation/create":
							if !strings.Contains(string(q.Params), name) || !strings.Contains(string(q.Params), "requestedSchema") || strings.Count(string(q.Params), "latchkey/") > 2 { // its name, and among how many
								t.Errorf("%s was asked %s", name, q.Params)
							}
							return json.RawMessage(`{"action":"accept","content":{"name":"` + name + `"}}`), nil
						case "roots/list":
							return json.RawMessage(`{"roots":[{"uri":"file:///a"}]}`), nil
						}
						t.Errorf("asked %s", q.Method)
						return nil, nil
					},
				})
				roots := 0 // the old era's belong to a session, which is everybody's here
				if era == "2026-07-28" {
					roots = 1
				}
				if err != nil || textOf(res) != fmt.Sprintf("accept %s %d", name, roots) {
					t.Errorf("%s, %v", textOf(res), err)
				}
			}
			one("alone")
			if era == "sse" {
				return // of one person at a time; see TestQuestionOfSeveralPersonsIsRefused
			}
			var all sync.WaitGroup
			for i := range 6 {
				all.Go(func() { one(fmt.Sprintf("caller%d", i)) })
			}
			all.Wait()
		})
	}
}

// TestOurTokenNeverGoesUpstream: nor anything else that a caller brought.
func TestOurTokenNeverGoesUpstream(t *testing.T) {
	for _, era := range eras {
		up := newUpstreamServer(t, era, upstreamToken)
		b := newBench(t, bearerConnection(t, up.URL), "", withToken())
		b.must(runtime.CallTool, "echo", `{"text":"hi"}`)
		up.mu.Lock()
		defer up.mu.Unlock()
		for _, h := range up.headers {
			if got := h["Authorization"]; len(got) != 1 || got[0] != "Bearer "+upstreamToken {
				t.Errorf("%s: authorization %q", era, got)
			}
			if raw := fmt.Sprint(h); strings.Contains(raw, "a-grant-of-ours") || strings.Contains(raw, string(user)) {
				t.Errorf("%s: %s", era, raw)
			}
		}
		for _, p := range up.seen {
			if raw, _ := json.Marshal(p); strings.Contains(string(raw), "a-grant-of-ours") || strings.Contains(string(raw), "ada@example.com") {
				t.Errorf("%s: %s", era, raw)
			}
		}
	}
}

// TestTraceAndKeyGoUpstream in _meta, where MCP has them.
func TestTraceAndKeyGoUpstream(t *testing.T) {
	for _, era := range eras {
		up := newUpstreamServer(t, era, "")
		b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
		c := write(b.call(runtime.CallTool, "write", `{}`))
		c.Traceparent, c.IdempotencyKey = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "key-1"
		if _, err := b.run(context.Background(), c, runtime.Back{}); err != nil {
			t.Fatal(err)
		}
		up.mu.Lock()
		meta := up.seen[len(up.seen)-1].Meta
		up.mu.Unlock()
		if meta["traceparent"] != c.Traceparent || meta["latchkey/idempotencyKey"] != "key-1" {
			t.Errorf("%s: %v", era, meta)
		}
	}
}

// TestDefinitionHasTheAdministratorsWord: risk is the stricter one, and what is
// left out is not offered.
func TestDefinitionHasTheAdministratorsWord(t *testing.T) {
	up := newUpstreamServer(t, "2026-07-28", "")
	b := newBench(t, connectionOf(t, "url: "+up.URL), `
exclude: [b*]
tools:
  echo: {risk: write, scope: talk, title: Echo!}
  write: {risk: write, timeout: 3s}
  fails: {hidden: true}
  "*": {scope: others}
resources:
  note: {scope: "notes:read"}
prompts:
  "*": {hidden: true}
`, nil)
	if _, there := b.def.Tool("big"); there {
		t.Error("big is offered")
	}
	if _, there := b.def.Tool("fails"); there {
		t.Error("fails is offered")
	}
	echo, _ := b.def.Tool("echo")
	if echo.Risk != registry.Writes || echo.Scope != "talk" || echo.Title != "Echo!" || echo.Description != "Says it back." {
		t.Errorf("%+v", echo)
	}
	if w, _ := b.def.Tool("write"); w.Risk != registry.Writes || w.Timeout.Seconds() != 3 {
		t.Errorf("%+v", w)
	}
	if r, _ := b.def.Tool("rich"); r.Risk != registry.Reads || r.Scope != "others" || !strings.Contains(string(r.Passed), "ui://x") || !strings.Contains(string(r.Passed), "i.png") {
		t.Errorf("%+v %s", r, r.Passed)
	}
	if len(b.def.Prompts) != 0 || len(b.def.Resources) != 2 || !b.def.Completions {
		t.Errorf("%+v", b.def)
	}
	for _, r := range b.def.Resources {
		if want := map[string]string{"note": "notes:read", "item": "resource:item"}[r.Name]; r.Scope != want {
			t.Errorf("%s has scope %s", r.Name, r.Scope)
		}
	}
}
