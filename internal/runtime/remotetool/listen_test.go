package remotetool

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// TestListeningPassesOnWhatChanges until it is cancelled, in every era.
func TestListeningPassesOnWhatChanges(t *testing.T) {
	for _, era := range eras {
		t.Run(era, func(t *testing.T) {
			up := newUpstreamServer(t, era, "")
			b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
			if !b.def.Subscribe {
				t.Fatal("the upstream has no subscriptions")
			}
			var mu sync.Mutex
			heard := map[string]int{}
			ctx, cancel := context.WithCancel(context.Background())
			ended := make(chan error, 1)
			go func() {
				res, err := b.run(ctx, b.call(runtime.Listen, "server", `{"resources":["res://note"],"lists":true}`), runtime.Back{Notify: func(n runtime.Notification) {
					mu.Lock()
					defer mu.Unlock()
					heard[n.Method]++
					if strings.Contains(string(n.Params), "res://other") || strings.Contains(string(n.Params), "io.modelcontextprotocol/") {
						t.Errorf("heard %s", n.Params)
					}
				}})
				if err == nil && res.Health == nil {
					err = fmt.Errorf("no health in %+v", res)
				}
				ended <- err
			}()
			count := func(method string) int {
				mu.Lock()
				defer mu.Unlock()
				return heard[method]
			}
			n, last := 0, time.Time{}
			eventually(t, "no change of a resource was heard", func() bool {
				for _, uri := range []string{"res://other", "res://note"} {
					if err := up.mcp.ResourceUpdated(context.Background(), &mcp.ResourceUpdatedNotificationParams{URI: uri}); err != nil {
						t.Fatal(err)
					}
				}
				return count("notifications/resources/updated") > 0
			})
			eventually(t, "no change of the tools was heard", func() bool {
				if time.Since(last) > 200*time.Millisecond { // the SDK waits for changes to come to rest
					n, last = n+1, time.Now()
					up.tool(tool(fmt.Sprintf("new%d", n), "x"), echoes)
				}
				return count("notifications/tools/list_changed") > 0
			})
			cancel()
			select {
			case err := <-ended:
				if err != nil {
					t.Error(err)
				}
			case <-time.After(30 * time.Second):
				t.Fatal("listening went on")
			}
		})
	}
}

// TestQuestionOfSeveralPersonsIsRefused: on the older transport everything comes
// on one stream, and nobody is asked for another.
func TestQuestionOfSeveralPersonsIsRefused(t *testing.T) {
	up := newUpstreamServer(t, "sse", "")
	b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
	slow, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan struct{})
	var wrong atomic.Int64
	go func() {
		defer close(done)
		c := b.call(runtime.CallTool, "slow", `{}`)
		c.Caller.User = tenants.NewUserID()
		_, _ = b.run(slow, c, runtime.Back{
			Ask: func(context.Context, runtime.Question) (json.RawMessage, error) {
				wrong.Add(1)
				return json.RawMessage(`{"action":"accept"}`), nil
			},
			Notify: func(runtime.Notification) { wrong.Add(1) },
		})
	}()
	eventually(t, "the slow call did not begin", func() bool { return up.working.Load() > 0 })
	ask := func() *runtime.Result {
		res, err := b.run(context.Background(), b.call(runtime.CallTool, "asks", `{"text":"who"}`), runtime.Back{Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			if q.Method == "roots/list" {
				return json.RawMessage(`{"roots":[]}`), nil
			}
			return json.RawMessage(`{"action":"accept","content":{"name":"me"}}`), nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	if res := ask(); !res.Tool.IsError || !strings.Contains(textOf(res), "cannot be told") {
		t.Errorf("%+v", textOf(res))
	}
	stop()
	<-done
	eventually(t, "the question of the only one was refused", func() bool { return textOf(ask()) == "accept me 0" })
	if n := wrong.Load(); n != 0 {
		t.Errorf("another person was asked or told %d times", n)
	}
}

// TestRootsAreNobodyElses: a server of the old era keeps them for its session, so
// that only one that is a person's own gets to know any.
func TestRootsAreNobodyElses(t *testing.T) {
	for auth, want := range map[string]string{"{type: oauth, per: user}": "accept me 1", "{type: oauth, per: tenant}": "accept me 0"} {
		up := newUpstreamServer(t, "2025-11-25", "")
		leases := &fixed{fields: map[string]secret.Text{fieldAccess: "token-of-ada"}}
		b := newBench(t, connectionOf(t, "url: "+up.URL+"\nauth: "+auth), "", leases)
		res, err := b.run(context.Background(), b.call(runtime.CallTool, "asks", `{"text":"who"}`), runtime.Back{Ask: func(_ context.Context, q runtime.Question) (json.RawMessage, error) {
			if q.Method == "roots/list" {
				return json.RawMessage(`{"roots":[{"uri":"file:///home/ada"}]}`), nil
			}
			return json.RawMessage(`{"action":"accept","content":{"name":"me"}}`), nil
		}})
		if err != nil || textOf(res) != want {
			t.Errorf("%s: %s, %v", auth, textOf(res), err)
		}
	}
}

// TestUnanswerableIsSaidToTheUpstream in its own terms.
func TestUnanswerableIsSaidToTheUpstream(t *testing.T) {
	for _, era := range eras {
		up := newUpstreamServer(t, era, "")
		b := newBench(t, connectionOf(t, "url: "+up.URL), "", nil)
		res, err := b.run(context.Background(), b.call(runtime.CallTool, "asks", `{"text":"x"}`), runtime.Back{})
		said := fmt.Sprint(err)
		if err == nil {
			said = textOf(res)
		}
		if err == nil && !res.Tool.IsError || !strings.Contains(said, "cannot be asked for") {
			t.Errorf("%s: %s", era, said)
		}
	}
}
