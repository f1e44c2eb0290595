package mcpgateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/runtime"
)

func after(r *replay, session, stream string, index int) (got []string, err error) {
	for d, e := range r.After(context.Background(), session, stream, index) {
		if e != nil {
			return nil, e
		}
		got = append(got, string(d))
	}
	return got, nil
}

func opened(t *testing.T, r *replay, session string, streams ...string) {
	t.Helper()
	for _, s := range append([]string{""}, streams...) {
		if err := r.Open(t.Context(), session, s); err != nil {
			t.Fatal(err)
		}
	}
}

func say(t *testing.T, r *replay, session, stream string, data ...string) {
	t.Helper()
	for _, d := range data {
		if err := r.Append(t.Context(), session, stream, []byte(d)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestReplayGivesWhatWasMissedAndNothingElse(t *testing.T) {
	r := newReplay()
	opened(t, r, "s", "a", "b")
	opened(t, r, "other", "a")
	say(t, r, "s", "a", "0", "1", "2")
	say(t, r, "s", "b", "x")
	say(t, r, "other", "a", "theirs")
	for index, want := range map[int][]string{0: {"1", "2"}, 1: {"2"}, 2: nil, 7: nil} {
		if got, err := after(r, "s", "a", index); err != nil || !slices.Equal(got, want) {
			t.Errorf("after %d: %v, %v", index, got, err)
		}
	}
	for _, unknown := range [][2]string{{"s", "c"}, {"none", "a"}} {
		if got, err := after(r, unknown[0], unknown[1], 0); err == nil {
			t.Errorf("%v: %v", unknown, got)
		}
	}
}

// What was dropped is said to be: a client is never given a part as the whole.
func TestReplayNeverGivesAPartAsTheWhole(t *testing.T) {
	r := newReplay()
	opened(t, r, "s", "a", "b")
	say(t, r, "s", "a", "0")
	big := strings.Repeat("x", replaySession/2)
	say(t, r, "s", "b", big, big) // drops the first of a
	say(t, r, "s", "a", "1")
	if got, err := after(r, "s", "a", -1); !errors.Is(err, mcp.ErrEventsPurged) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := after(r, "s", "a", 0); err != nil || !slices.Equal(got, []string{"1"}) {
		t.Errorf("%v, %v", got, err)
	}
	for i := range 2 * replayStreams { // a is forgotten, and comes back
		opened(t, r, "s", fmt.Sprint("s", i))
	}
	say(t, r, "s", "a", "2")
	if got, err := after(r, "s", "a", 1); !errors.Is(err, mcp.ErrEventsPurged) {
		t.Errorf("%v, %v", got, err)
	}
}

func TestReplayIsBounded(t *testing.T) {
	r := newReplay()
	now := time.Now()
	r.now = func() time.Time { return now }
	opened(t, r, "quiet", "q")
	say(t, r, "quiet", "q", "0")
	opened(t, r, "loud", "l")
	for range 3 * replaySession / 1000 {
		say(t, r, "loud", "l", strings.Repeat("x", 1000))
	}
	if b := r.sessions["loud"].bytes; b > replaySession {
		t.Errorf("one session has %d bytes", b)
	}
	if len(r.oldest) > 2*r.count+1100 {
		t.Errorf("%d dropped events are kept for %d that are not", len(r.oldest)-r.count, r.count)
	}
	// One that is loud takes nothing from the others.
	if got, err := after(r, "quiet", "q", -1); err != nil || len(got) != 1 {
		t.Errorf("the quiet one has lost its event: %v", err)
	}
	for i := range replayTotal/replaySession + 10 {
		s := fmt.Sprint("many", i)
		opened(t, r, s, "a")
		say(t, r, s, "a", strings.Repeat("x", replaySession-2*eventCost))
	}
	if r.bytes > replayTotal {
		t.Errorf("all have %d bytes", r.bytes)
	}
	now = now.Add(replayLife + time.Second)
	say(t, r, "loud", "l", "late")
	if r.count != 1 || r.bytes != 4+eventCost {
		t.Errorf("after their time %d events of %d bytes are kept", r.count, r.bytes)
	}
	for s := range r.sessions {
		if err := r.SessionClosed(t.Context(), s); err != nil {
			t.Fatal(err)
		}
	}
	if r.bytes != 0 || r.count != 0 || len(r.oldest) != 0 || len(r.sessions) != 0 {
		t.Errorf("when all have ended %d bytes of %d events are left", r.bytes, r.count)
	}
	if err := r.Append(t.Context(), "loud", "l", nil); err == nil {
		t.Error("an ended session keeps events")
	}
}

// The session's own stream is opened anew without an event, after some were
// dropped: that is no error, and its events are counted from 0 again.
func TestStreamOpenedAnewAfterDropsIsNoError(t *testing.T) {
	r := newReplay()
	opened(t, r, "s")
	big := strings.Repeat("x", replaySession/2)
	say(t, r, "s", "", "0", big, big, "3")
	got, err := after(r, "s", "", -1)
	if err != nil || got[len(got)-1] != "3" {
		t.Fatalf("%d events, %v", len(got), err)
	}
	say(t, r, "s", "", "next")
	if again, err := after(r, "s", "", len(got)-1); err != nil || !slices.Equal(again, []string{"next"}) {
		t.Errorf("%v, %v", again, err)
	}
}

// session begins a legacy session by hand.
func (w *world) session(token string) (id string) {
	w.t.Helper()
	s := w.stream("POST", w.url, token, strings.Replace(legacyInitialize, "2024-11-05", "2025-11-25", 1))
	s.want("protocolVersion")
	id = s.res.Header.Get("Mcp-Session-Id")
	if id == "" {
		w.t.Fatal("no session")
	}
	w.post(token, `{"jsonrpc":"2.0","method":"notifications/initialized"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25")
	return id
}

func idOf(t *testing.T, event string) string {
	t.Helper()
	for l := range strings.Lines(event) {
		if id, ok := strings.CutPrefix(l, "id: "); ok {
			return strings.TrimSpace(id)
		}
	}
	t.Fatalf("no id in %q", event)
	return ""
}

const callLook = `{"jsonrpc":"2.0","id":5,"method":"tools/call","params":{"name":"look","arguments":{},"_meta":{"progressToken":"p"}}}`

// A call goes on while its client has no connection, and its answer waits for
// it. The client comes back before the edge has noticed that it was gone.
func TestClientThatLostItsConnectionGetsItsAnswer(t *testing.T) {
	w := newWorld(t)
	ok, goOn := w.run, make(chan bool)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		o.Progress(1, 2, "half")
		<-goOn
		if ctx.Err() != nil {
			return DispatchOutcome{}, ctx.Err()
		}
		return ok(ctx, c, o)
	}
	token := w.token(ann, "read")
	id := w.session(token)
	headers := []string{"Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25"}
	first := w.stream("POST", w.url, token, callLook, headers...)
	at := idOf(t, first.want("half"))
	// It still has its connection, and reads on elsewhere.
	second := w.stream("GET", w.url, token, "", append(headers, "Last-Event-ID", at)...)
	if second.res.StatusCode != 200 {
		t.Fatalf("while the earlier stream is open: %d", second.res.StatusCode)
	}
	if _, err := first.next(); err == nil {
		t.Error("two read one stream")
	}
	second.end()
	close(goOn)
	comesTrue(t, "the answer is not kept", func() bool {
		third := w.stream("GET", w.url, token, "", append(headers, "Last-Event-ID", at)...)
		defer third.end()
		if third.res.StatusCode != 200 {
			t.Fatal(third.res.StatusCode)
		}
		got, err := third.next()
		return err == nil && strings.Contains(got, `"n":1`)
	})
	if s := w.stream("GET", w.url, w.token(bob, "read"), "", append(headers, "Last-Event-ID", at)...); s.res.StatusCode != 404 {
		t.Errorf("somebody else reads it: %d", s.res.StatusCode)
	}
	if s := w.stream("GET", w.url, token, "", append(headers, "Last-Event-ID", "made-up_0")...); s.res.StatusCode != 400 {
		t.Errorf("a stream that never was: %d", s.res.StatusCode)
	}
}

func TestSessionsOfOnePersonAreBoundedAndIdleOnesGo(t *testing.T) {
	w := newWorld(t)
	token := w.token(ann, "read")
	oldest := w.session(token)
	for range maxSessions {
		w.session(token)
	}
	comesTrue(t, "too many sessions", func() bool { return w.sessions() <= maxSessions })
	list := func(id string) int {
		res, _ := w.post(token, `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", id, "MCP-Protocol-Version", "2025-11-25")
		return res.StatusCode
	}
	if got := list(oldest); got != 404 {
		t.Errorf("the one that was not used for longest: %d", got)
	}
	other := w.session(w.token(bob, "read"))
	res, _ := w.post(w.token(bob, "read"), `{"jsonrpc":"2.0","id":9,"method":"tools/list"}`, "Mcp-Session-Id", other, "MCP-Protocol-Version", "2025-11-25")
	if res.StatusCode != 200 {
		t.Errorf("somebody else's session: %d", res.StatusCode)
	}
	req, err := http.NewRequestWithContext(t.Context(), "DELETE", w.url, nil)
	if err != nil {
		t.Fatal(err)
	}
	last := w.session(token)
	before := w.sessions()
	req.Header.Set("Mcp-Session-Id", last)
	req.Header.Set("Authorization", "Bearer "+token)
	if res, err := http.DefaultClient.Do(req); err != nil || res.StatusCode != 204 {
		t.Fatalf("%v %v", res, err)
	}
	if list(last) != 404 || w.sessions() != before-1 {
		t.Errorf("a session that was deleted is still there: %d", w.sessions())
	}
}
