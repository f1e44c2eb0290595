package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// connections are the accounts that people have connected, in place of those that
// accounts.Service keeps in Vault.
type connections struct {
	mu    sync.Mutex
	of    map[string]bool // by server's slug and person
	asked []string
}

func (c *connections) at(s *registry.Server, user tenants.UserID) string {
	return fmt.Sprintf("%s of %s", s.Slug, user)
}

func (c *connections) set(key string, connected bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.of == nil {
		c.of = map[string]bool{}
	}
	c.of[key] = connected
}

func (c *connections) Ready(_ context.Context, t tenants.Tenant, s *registry.Server, user tenants.UserID) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked = append(c.asked, c.at(s, user))
	if c.of[c.at(s, user)] {
		return nil
	}
	return fault.New(fault.ConnectNeeded, "%s works with an account of your own.", s.Title).WithURL(c.ConnectURL(t, s))
}

func (c *connections) Refused(_ context.Context, _ tenants.ID, s *registry.Server, user tenants.UserID) {
	c.set(c.at(s, user), false)
}

func (c *connections) ConnectURL(t tenants.Tenant, s *registry.Server) string {
	return "https://latchkey.test/t/" + t.Slug + "/accounts/" + s.Slug
}

// The account is one at the server that has the tool, whichever URL the call came
// to, and its person connects it in the middle of the call.
func TestAccountIsConnectedInTheMiddleOfACall(t *testing.T) {
	for era, version := range eras {
		for _, through := range []string{"the server", "a toolset", "execute_tool"} {
			t.Run(era+" "+through, func(t *testing.T) {
				held := &connections{}
				w := newWorld(t, talks, func(_ *world, c *Config) { c.Accounts = held })
				token, name, arguments := w.token(ann, "read"), "look", map[string]any{"id": 7}
				switch through {
				case "a toolset":
					w.desk(twoTools)
					name = "find"
				case "execute_tool":
					w.desk("mode: search\n" + twoTools)
					name, arguments = executeTool, map[string]any{"name": "find", "arguments": arguments}
				}
				if through != "the server" {
					w.opened(atDesk("orders:read"))
					token = w.token(ann, "orders:read")
				}
				call := func(o *mcp.ClientOptions) *mcp.CallToolResult {
					t.Helper()
					res, err := w.client(token, version, o).CallTool(t.Context(), &mcp.CallToolParams{Name: name, Arguments: arguments})
					if err != nil {
						t.Fatal(err)
					}
					return res
				}
				mine, page := held.at(&w.hosted.Server, ann), held.ConnectURL(w.tenant, &w.hosted.Server)

				res := call(&mcp.ClientOptions{Capabilities: &mcp.ClientCapabilities{}})
				if f := failureIn(t, res); f.Code != "connect_needed" || f.Category != fault.Access || f.URL != page || w.runs() != 0 {
					t.Errorf("a client that opens no page was told %+v, ran %d", f, w.runs())
				}

				no := &asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) { return &mcp.ElicitResult{Action: "decline"}, nil }}
				if f := failureIn(t, call(no.options())); f.Code != "connect_needed" || len(no.elicits) != 1 || w.runs() != 0 {
					t.Errorf("who declined was told %+v, asked %d times, ran %d", f, len(no.elicits), w.runs())
				}

				yes := &asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
					held.set(mine, true)
					return &mcp.ElicitResult{Action: "accept"}, nil
				}}
				if res = call(yes.options()); res.IsError || w.runs() != 1 {
					t.Fatalf("%+v, ran %d", res, w.runs())
				}
				if len(yes.elicits) != 1 || yes.elicits[0].Mode != "url" || yes.elicits[0].URL != page || !strings.HasPrefix(yes.elicits[0].Message, "Orders works with") {
					t.Errorf("the person was asked %+v", yes.elicits)
				}
				for _, a := range held.asked {
					if a != mine {
						t.Errorf("looked for an account %s", a)
					}
				}
			})
		}
	}
}

// Progress and questions are between the caller and the server that has the tool,
// whichever URL the call came to.
func TestToolsetPassesProgressAndQuestionsOn(t *testing.T) {
	for era, version := range eras {
		for _, mode := range []string{"direct", "search"} {
			t.Run(era+" "+mode, func(t *testing.T) {
				w := newWorld(t, talks)
				w.desk("mode: " + mode + "\n" + twoTools)
				w.opened(atDesk("orders:read"))
				w.asks(question1(methodElicit, formParams))
				asking := w.run
				w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
					o.Progress(1, 2, "half")
					return asking(ctx, c, o)
				}
				a, half := &asked{answer: accept(map[string]any{"zulu": "this"})}, make(chan *mcp.ProgressNotificationParams, 1)
				options := a.options()
				options.ProgressNotificationHandler = func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { half <- r.Params }
				call := &mcp.CallToolParams{Name: "find", Arguments: map[string]any{"id": 1}}
				if mode == "search" {
					call = &mcp.CallToolParams{Name: executeTool, Arguments: map[string]any{"name": "find", "arguments": map[string]any{"id": 1}}}
				}
				call.SetProgressToken("tok")
				res, err := w.client(w.token(ann, "orders:read"), version, options).CallTool(t.Context(), call)
				if got := contentText(t, res, err); res.IsError || !strings.Contains(got, `"zulu":"this"`) {
					t.Errorf("the upstream was told %s", got)
				}
				select {
				case p := <-half:
					if p.Progress != 1 || p.Total != 2 || p.Message != "half" {
						t.Errorf("%+v", p)
					}
				case <-time.After(10 * time.Second):
					t.Error("no progress came")
				}
				// Who asks is the server that has the tool: its answer goes there.
				if len(a.elicits) != 1 || !strings.HasPrefix(a.elicits[0].Message, "The server Orders (orders) at Acme asks:") {
					t.Errorf("the person was asked %+v", a.elicits)
				}
				if e := w.last(); e.Server != "orders" || e.Tool != "look" || len(w.dispatched) != 1 {
					t.Errorf("on record is %+v, dispatched %d", e, len(w.dispatched))
				}
			})
		}
	}
}

// An account that is gone when a task comes to run ends it with the page at which
// to connect it again, and nothing has run.
func TestTaskWhoseAccountIsGoneDoesNotRun(t *testing.T) {
	o, held := newOffice(t), &connections{}
	mine := held.at(&o.server, o.pat.ID)
	held.set(mine, true)
	w, _ := o.edge(func(_ *world, c *Config) { c.Accounts, c.Tasks.Slots = held, 1 })
	began, release := w.held()
	w.handle("export", `{}`) // has the only slot
	<-began
	id := w.handle("pay", `{"id":1}`)
	held.set(mine, false)
	if m := w.begin("pay", `{"id":2}`); m.Result.Structured.Error.Code != "connect_needed" || m.Result.TaskID != "" {
		t.Errorf("a task began without an account: %s", m.raw)
	}
	release()
	got := w.ended(t, id).Result
	said, _ := json.Marshal(got)
	if !strings.Contains(string(said), "connect_needed") || !strings.Contains(string(said), held.ConnectURL(o.tenant, &o.server)) || w.runs() != 1 {
		t.Errorf("%s, ran %d", said, w.runs())
	}
	if out := o.outcomes(id); len(out) != 1 || out[0].Code != "connect_needed" {
		t.Errorf("on record: %+v", out)
	}
}
