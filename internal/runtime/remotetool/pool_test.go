package remotetool

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

func newTestUpstream(t *testing.T, url string) *upstream {
	t.Helper()
	u, err := newUpstream(connection{URL: url, Transport: auto, Auth: authentication{Type: bearer}}, runtime.Host{Egress: loopback})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { u.Close() })
	return u
}

func envOf(token secret.Text) runtime.Env {
	return runtime.Env{Credential: func(context.Context) (runtime.Credential, error) {
		return runtime.Credential{ID: "x", Fields: map[string]secret.Text{fieldToken: token}}, nil
	}}
}

var anyCall = &runtime.Call{Op: runtime.CallTool, Grant: "g", Caller: runtime.Caller{User: tenants.NewUserID()}}

// TestOneSessionForEachCredential: made once however many ask, replaced when the
// credential is, closed when nobody used it.
func TestOneSessionForEachCredential(t *testing.T) {
	h := newHostile(t, nil)
	var discovered atomic.Int64
	h.set("server/discover", func(x exchange) { discovered.Add(1); h.behave("server/discover", x) })
	u := newTestUpstream(t, h.URL)
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			if _, err := u.Session(t.Context(), anyCall, envOf("token-one")); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := discovered.Load(); n != 1 {
		t.Errorf("connected %d times", n)
	}
	old, err := u.Session(t.Context(), anyCall, envOf("token-one"))
	if err != nil {
		t.Fatal(err)
	}
	renewed, err := u.Session(t.Context(), anyCall, envOf("token-two"))
	if err != nil || renewed == old || old.Err() == nil || len(u.sessions) != 1 {
		t.Errorf("%v; the old session is still used: %v", err, old.Err())
	}
	u.sweepOnce(time.Now().Add(idleClose - time.Second))
	if renewed.Err() != nil {
		t.Error("closed too early")
	}
	u.sweepOnce(time.Now().Add(idleClose + time.Minute))
	if renewed.Err() == nil || len(u.sessions) != 0 {
		t.Error("an idle session stays")
	}
}

// TestUpstreamThatIsAwayIsNotStormed: after a failure others get the same answer
// for a moment.
func TestUpstreamThatIsAwayIsNotStormed(t *testing.T) {
	h := newHostile(t, nil)
	var tries atomic.Int64
	away := func(x exchange) { tries.Add(1); x.w.WriteHeader(http.StatusBadGateway) }
	h.set("server/discover", away)
	h.set("initialize", away)
	u := newTestUpstream(t, h.URL)
	for range 50 {
		if _, err := u.Session(t.Context(), anyCall, envOf("token-one")); err == nil {
			t.Fatal("connected")
		}
	}
	if n := tries.Load(); n > 20 {
		t.Errorf("%d tries for 50 calls", n)
	}
	h.set("server/discover", nil)
	eventually(t, "it never came back", func() bool {
		_, err := u.Session(t.Context(), anyCall, envOf("token-one"))
		return err == nil
	})
}

// TestSessionsAreBounded: who was idle for longest makes room.
func TestSessionsAreBounded(t *testing.T) {
	h := newHostile(t, nil)
	u := newTestUpstream(t, h.URL)
	u.Credentials.PerUser = true
	for i := range maxSessions + 10 {
		c := &runtime.Call{Op: runtime.CallTool, Grant: "g", Caller: runtime.Caller{User: tenants.NewUserID()}}
		if _, err := u.Session(t.Context(), c, envOf(secret.Text(fmt.Sprintf("token-%d", i)))); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(u.sessions); n > maxSessions {
		t.Errorf("%d sessions", n)
	}
}

// TestCallThatWaitsForAConnectionEndsWithItsTime.
func TestCallThatWaitsForAConnectionEndsWithItsTime(t *testing.T) {
	h := newHostile(t, nil)
	h.set("server/discover", func(x exchange) { <-x.r.Context().Done() })
	b := unpinned(t, bearerConnection(t, h.URL), "", withToken())
	c := b.call(runtime.Discover, "server", "")
	c.Deadline = time.Now().Add(200 * time.Millisecond)
	_, err := b.run(context.Background(), c, runtime.Back{})
	wantCode(t, err, fault.DeadlineExceeded)
}

func TestScannerReadsEvents(t *testing.T) {
	s := newScanner(strings.NewReader(": hello\n\nevent: message\r\nid: 7\r\ndata: {\"a\":\ndata: 1}\r\n\r\nretry: 5\nunknown\n\n\n\ndata:x"))
	want := []event{{name: "message", id: "7", data: []byte("{\"a\":\n1}")}, {retry: "5"}, {data: []byte("x")}}
	for _, w := range want {
		got, err := s.next()
		if err != nil || got.name != w.name || got.id != w.id || got.retry != w.retry || !bytes.Equal(got.data, w.data) {
			t.Errorf("%+v, %v; want %+v", got, err, w)
		}
	}
	if _, err := s.next(); err != io.EOF {
		t.Error(err)
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte("data: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n"))
	f.Add([]byte("id: 1\ndata: {\"jsonrpc\":\"2.0\",\"method\":\"notifications/progress\",\"params\":{\"progressToken\":\"x\"}}\n\ndata: \n\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		s := newScanner(bytes.NewReader(body))
		for read := 0; ; read++ {
			e, err := s.next()
			if err != nil {
				return
			}
			if read > len(body) {
				t.Fatal("no end")
			}
			if e.name == "" && e.id == "" && e.retry == "" && e.data == nil {
				continue // a field without a value
			}
			var b bytes.Buffer
			e.write(&b)
			again, err := newScanner(&b).next()
			if err != nil || again.name != e.name || again.id != e.id || !bytes.Equal(again.data, bytes.ReplaceAll(e.data, []byte("\n"), []byte(" "))) {
				t.Fatalf("%+v is written as %+v (%v)", e, again, err)
			}
		}
	})
}
