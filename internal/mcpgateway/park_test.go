package mcpgateway

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// replied is an answer to a raw call of the newest revision.
type replied struct {
	status    int
	Type      string                             `json:"resultType"`
	State     string                             `json:"requestState"`
	Requests  map[string]struct{ Method string } `json:"inputRequests"`
	IsError   bool
	Content   []struct{ Text string }
	Structure struct{ Error failure } `json:"structuredContent"`
}

func (s replied) code() string { return s.Structure.Error.Code }

// asking calls a tool as a client that can be asked, with what a further request
// of the same call brings.
func (w *world) asking(ctx context.Context, token, tool, arguments, more string) replied {
	w.t.Helper()
	body := `{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"` + tool + `","arguments":` + arguments + more + `,
		"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{"elicitation":{"form":{}}}}}}`
	req, err := http.NewRequestWithContext(ctx, "POST", w.url, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header = http.Header{"Content-Type": {"application/json"}, "Accept": {directAccept}, "Authorization": {"Bearer " + token}, "Mcp-Protocol-Version": {modern}, "Mcp-Method": {"tools/call"}, "Mcp-Name": {tool}}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return replied{}
	}
	defer res.Body.Close()
	var m struct {
		Result replied
		Error  *struct {
			Code    int
			Message string
			Data    json.RawMessage
		}
	}
	if err := json.NewDecoder(res.Body).Decode(&m); err != nil {
		w.t.Errorf("%d, %v", res.StatusCode, err)
	}
	if e := m.Error; e != nil { // of a request that is none
		if e.Code != -32602 || json.Unmarshal(e.Data, &m.Result.Structure.Error) != nil {
			w.t.Errorf("%d, %+v", res.StatusCode, e)
		}
		m.Result.IsError = true
		m.Result.Content = append(m.Result.Content, struct{ Text string }{e.Message})
	}
	m.Result.status = res.StatusCode
	return m.Result
}

// goingOn is what a client sends to go on with a call.
func goingOn(state, answers string) string {
	return `,"requestState":"` + state + `","inputResponses":` + answers
}

const accepted = `{"question-1":{"action":"accept","content":{"zulu":"z"}}}`

func (w *world) parks(t *testing.T, token, tool, arguments string) replied {
	t.Helper()
	s := w.asking(t.Context(), token, tool, arguments, "")
	if s.Type != "input_required" || len(s.Requests) == 0 || s.IsError {
		t.Fatalf("not asked: %+v", s)
	}
	return s
}

// eventually polls for what comes about by itself.
func eventually(t *testing.T, not string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Fatal(not)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func (w *world) parked() int {
	w.gateway.parking.mu.Lock()
	defer w.gateway.parking.mu.Unlock()
	return len(w.gateway.parking.calls)
}

func TestParkedCallStaysOneCall(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams), question1(methodElicit, formParams))
	token := w.token(ann, "read", "write")
	first := w.parks(t, token, "refund", `{"id":1}`)
	if !slices.Equal(w.phases(), []string{"intent pending "}) || first.Requests["question-1"].Method != methodElicit {
		t.Errorf("while it waits: %v, %+v", w.phases(), first)
	}
	second := w.asking(t.Context(), token, "refund", ` { "id" : 1 } `, goingOn(first.State, accepted))
	if second.Type != "input_required" || second.State == first.State || second.Requests["question-2"].Method != methodElicit {
		t.Fatalf("%+v", second)
	}
	last := w.asking(t.Context(), token, "refund", `{"id":1}`, goingOn(second.State, strings.ReplaceAll(accepted, "question-1", "question-2")))
	if last.Type != "complete" || last.IsError || !strings.Contains(last.Content[0].Text, `"zulu":"z"`) {
		t.Errorf("%+v", last)
	}
	if len(w.dispatched) != 1 || !slices.Equal(w.phases(), []string{"intent pending ", "outcome done "}) || w.events[0].CallID != w.events[1].CallID || w.parked() != 0 {
		t.Errorf("%d dispatched, records %v, %d parked", len(w.dispatched), w.phases(), w.parked())
	}
}

func TestForgedOrForeignStateContinuesNothing(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	annes := w.token(ann, "read", "write")
	s := w.parks(t, annes, "refund", `{"id":1}`)
	parts := strings.Split(s.State, ".")
	forge := func(i int, v string) string {
		p := slices.Clone(parts)
		p[i] = v
		return strings.Join(p, ".")
	}
	other := w.parks(t, annes, "look", `{"id":2}`)
	for name, c := range map[string]struct{ token, tool, arguments, state string }{
		"another person":      {w.token(bob, "read", "write"), "refund", `{"id":1}`, s.State},
		"another tool":        {annes, "look", `{"id":1}`, s.State},
		"other arguments":     {annes, "refund", `{"id":2}`, s.State},
		"more arguments":      {annes, "refund", `{"id":1,"note":"x"}`, s.State},
		"another call's name": {annes, "refund", `{"id":1}`, forge(2, strings.Split(other.State, ".")[2])},
		"another round":       {annes, "refund", `{"id":1}`, forge(3, "2")},
		"other signature":     {annes, "refund", `{"id":1}`, forge(4, strings.Split(other.State, ".")[4])},
		"no signature":        {annes, "refund", `{"id":1}`, forge(4, "")},
		"another edge":        {annes, "refund", `{"id":1}`, forge(1, "elsewhere")},
		"made up":             {annes, "refund", `{"id":1}`, "parked.a.b.c.d"},
		"cut short":           {annes, "refund", `{"id":1}`, "parked."},
		"very long":           {annes, "refund", `{"id":1}`, s.State + strings.Repeat("x", 5000)},
	} {
		got := w.asking(t.Context(), c.token, c.tool, c.arguments, goingOn(c.state, accepted))
		if got.code() != "invalid_request" || !strings.Contains(got.Content[0].Text, "begin anew") {
			t.Errorf("%s: %+v", name, got)
		}
		if c.tool == "refund" && !strings.Contains(got.Content[0].Text, "look first whether it had") {
			t.Errorf("%s: whoever repeats a call with effects is not warned: %s", name, got.Content[0].Text)
		}
	}
	if len(w.dispatched) != 2 || w.parked() != 2 {
		t.Errorf("%d dispatched, %d parked", len(w.dispatched), w.parked())
	}
	if got := w.asking(t.Context(), annes, "refund", `{"id":1}`, goingOn(s.State, accepted)); got.IsError {
		t.Errorf("the right one cannot go on any more: %+v", got)
	}
}

func TestStateIsGoodForOneRequest(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams), question1(methodElicit, formParams))
	token := w.token(ann, "read")
	first := w.parks(t, token, "look", `{}`)
	if second := w.asking(t.Context(), token, "look", `{}`, goingOn(first.State, accepted)); second.Type != "input_required" {
		t.Fatalf("%+v", second)
	}
	if again := w.asking(t.Context(), token, "look", `{}`, goingOn(first.State, `{"question-2":{"action":"accept","content":{"zulu":"replayed"}}}`)); again.code() != "invalid_request" {
		t.Errorf("a state was good twice: %+v", again)
	}
	// Of many at once one goes on.
	w2 := newWorld(t, talks)
	w2.asks(question1(methodElicit, formParams))
	s := w2.parks(t, token, "look", `{}`)
	var all sync.WaitGroup
	var mu sync.Mutex
	went := 0
	for range 8 {
		all.Go(func() {
			if got := w2.asking(t.Context(), token, "look", `{}`, goingOn(s.State, accepted)); !got.IsError {
				mu.Lock()
				went++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if went != 1 || len(w2.dispatched) != 1 {
		t.Errorf("%d of 8 went on, %d dispatched", went, len(w2.dispatched))
	}
}

func TestAnswerThatDoesNotFitIsNamedAndMayBeCorrected(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	token := w.token(ann, "read")
	s := w.parks(t, token, "look", `{}`)
	for answers, pointer := range map[string]string{
		`{"question-1":{"action":"accept","content":{"zulu":7}}}`:               "/inputResponses/question-1/content/zulu",
		`{"question-1":{"action":"accept","content":{"zulu":"z","alpha":"x"}}}`: "/inputResponses/question-1/content/alpha",
		`{"question-1":{"action":"perhaps"}}`:                                   "/inputResponses/question-1/action",
		`{"question-1":{"roots":[]}}`:                                           "/inputResponses/question-1",
	} {
		got := w.asking(t.Context(), token, "look", `{}`, goingOn(s.State, answers))
		if d := got.Structure.Error.Details; got.code() != "invalid_arguments" || len(d) != 1 || d[0].Pointer != pointer {
			t.Errorf("%s: %+v", answers, got)
		}
	}
	// An answer to a question that was not asked is none: it is asked again.
	again := w.asking(t.Context(), token, "look", `{}`, goingOn(s.State, `{"question-7":{"action":"accept"},"confirm":{"action":"accept"}}`))
	if again.Type != "input_required" || again.Requests["question-1"].Method != methodElicit {
		t.Fatalf("%+v", again)
	}
	if got := w.asking(t.Context(), token, "look", `{}`, goingOn(again.State, accepted)); got.IsError || len(w.dispatched) != 1 {
		t.Errorf("%+v", got)
	}
}

// While a person thinks, their rights may have been taken.
func TestRightsAreLookedAtWhenACallGoesOn(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	token := w.token(ann, "read")
	s := w.parks(t, token, "look", `{}`)
	w.mu.Lock()
	w.access.Scopes = map[tenants.Scope]bool{}
	w.mu.Unlock()
	if got := w.asking(t.Context(), token, "look", `{}`, goingOn(s.State, accepted)); got.code() != "role_not_allowed" {
		t.Errorf("%+v", got)
	}
}

func TestUnansweredQuestionEndsItsCall(t *testing.T) {
	for tool, want := range map[string]struct{ code, record string }{
		"look":   {"cancelled", "outcome failed cancelled"},
		"refund": {"outcome_unknown", "outcome unknown outcome_unknown"},
	} {
		t.Run(tool, func(t *testing.T) {
			w := newWorld(t, talks)
			w.gateway.parking.wait = 300 * time.Millisecond
			w.asks(question1(methodElicit, formParams))
			token := w.token(ann, "read", "write")
			s := w.parks(t, token, tool, `{"id":1}`)
			eventually(t, "the call did not end", func() bool { return w.parked() == 0 })
			p := w.phases()
			if p[len(p)-1] != want.record || !strings.Contains(w.events[len(p)-1].Reason, "nobody answered") {
				t.Errorf("records %v, %q", p, w.events[len(p)-1].Reason)
			}
			got := w.asking(t.Context(), token, tool, `{"id":1}`, goingOn(s.State, accepted))
			if got.code() != "invalid_request" || len(w.dispatched) != 1 {
				t.Errorf("an answer after the call's end: %+v", got)
			}
		})
	}
}

func TestUnansweredQuestionOfASessionEndsItsCall(t *testing.T) {
	w := newWorld(t, talks)
	w.gateway.parking.wait = 300 * time.Millisecond
	w.asks(question1(methodElicit, formParams))
	held := make(chan struct{})
	defer close(held)
	s := w.client(w.token(ann, "read"), "2025-11-25", (&asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
		<-held
		return &mcp.ElicitResult{Action: "cancel"}, nil
	}}).options())
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	if err != nil {
		t.Fatal(err)
	}
	if f := failureIn(t, res); f.Code != "cancelled" || !strings.Contains(f.Message, "nobody answered within 300ms") {
		t.Errorf("%+v", f)
	}
}

// The time for which a person is waited for is not the call's.
func TestCallsTimeStandsStillWhileItAsks(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			const own = 2 * time.Second
			w := newWorld(t, talks, func(w *world, _ *Config) { w.hosted.Revision.Definition.Tools[0].Timeout = own })
			var began time.Time
			w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
				began = time.Now()
				if d, ok := ctx.Deadline(); !ok || !d.Equal(c.Deadline) {
					t.Errorf("the call has until %v, its worker until %v", d, c.Deadline)
				}
				if _, err := o.Ask(ctx, question1(methodElicit, formParams)); err != nil || ctx.Err() != nil {
					return DispatchOutcome{}, fault.New(fault.DeadlineExceeded, "%v %v", err, ctx.Err())
				}
				return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{}}}, nil
			}
			s := w.client(w.token(ann, "read"), version, (&asked{answer: func(*mcp.ElicitParams) (*mcp.ElicitResult, error) {
				<-time.After(time.Until(began.Add(own + own/2)))
				return &mcp.ElicitResult{Action: "decline"}, nil
			}}).options())
			res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
			if err != nil || res.IsError {
				t.Errorf("%+v, %v", res, err)
			}
		})
	}
}

// The client goes away while its call runs on: the call is stopped, as ever.
func TestClientThatLeavesTakesItsCallWithIt(t *testing.T) {
	w := newWorld(t, talks)
	started, ended := make(chan struct{}, 2), make(chan struct{}, 2)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		if c.Name == "refund" {
			if _, err := o.Ask(ctx, question1(methodElicit, formParams)); err != nil {
				return DispatchOutcome{}, err
			}
		}
		started <- struct{}{}
		<-ctx.Done()
		ended <- struct{}{}
		return DispatchOutcome{Started: true}, fault.New(fault.Cancelled, "The call was cancelled.")
	}
	token := w.token(ann, "read", "write")
	leave := func(tool, more string) {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-started; cancel() }()
		w.asking(ctx, token, tool, `{"id":1}`, more)
		<-ended
	}
	leave("look", "") // before any question
	eventually(t, "the first is not on record", func() bool { return len(w.phases()) == 1 })
	s := w.parks(t, token, "refund", `{"id":1}`)
	leave("refund", goingOn(s.State, accepted)) // after it
	eventually(t, "the end is not on record", func() bool { return len(w.phases()) == 3 })
	if p := w.phases(); p[0] != "outcome failed cancelled" || p[2] != "outcome unknown outcome_unknown" {
		t.Errorf("records %v", p)
	}
	eventually(t, "it is still parked", func() bool { return w.parked() == 0 })
}

// What came of a call while its client was away is there when it comes back.
func TestResultWaitsForItsClient(t *testing.T) {
	w := newWorld(t, talks)
	given := make(chan struct{})
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		short, cancel := context.WithCancel(ctx)
		go func() { <-given; cancel() }() // the upstream gives its question up
		_, _ = o.Ask(short, question1(methodElicit, formParams))
		return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: "without you"}}}}}, nil
	}
	token := w.token(ann, "read")
	s := w.parks(t, token, "look", `{}`)
	close(given)
	eventually(t, "the call did not end", func() bool { return len(w.phases()) == 1 })
	got := w.asking(t.Context(), token, "look", `{}`, goingOn(s.State, accepted))
	if got.IsError || got.Content[0].Text != "without you" || len(w.dispatched) != 1 || w.parked() != 0 {
		t.Errorf("%+v", got)
	}
}

// Progress and logs of a call that goes on reach the request that is there now.
func TestProgressGoesToTheRequestThatWaits(t *testing.T) {
	w := newWorld(t, talks)
	w.run = func(ctx context.Context, c *runtime.Call, o DispatchOptions) (DispatchOutcome, error) {
		o.Progress(1, 2, "before")
		if _, err := o.Ask(ctx, question1(methodElicit, formParams)); err != nil {
			return DispatchOutcome{}, err
		}
		o.Progress(2, 2, "after")
		return DispatchOutcome{Result: &runtime.Result{Tool: &mcp.CallToolResult{}}}, nil
	}
	got := make(chan string, 4)
	o := (&asked{answer: accept(map[string]any{"zulu": "z"})}).options()
	o.ProgressNotificationHandler = func(_ context.Context, r *mcp.ProgressNotificationClientRequest) { got <- r.Params.Message }
	s := w.client(w.token(ann, "read"), "2026-07-28", o)
	p := &mcp.CallToolParams{Name: "look"}
	p.SetProgressToken("tok")
	if _, err := s.CallTool(t.Context(), p); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"before", "after"} {
		select {
		case m := <-got:
			if m != want {
				t.Errorf("%s, want %s", m, want)
			}
		case <-time.After(10 * time.Second):
			t.Fatalf("%s did not come", want)
		}
	}
}

func TestNobodyParksCallsWithoutEnd(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	token := w.token(ann, "read")
	for i := range maxParkedPerson {
		w.parks(t, token, "look", fmt.Sprintf(`{"id":%d}`, i+1))
	}
	got := w.asking(t.Context(), token, "look", `{"id":99}`, "")
	if got.code() != "busy" || got.Structure.Error.RetryAfterS == 0 {
		t.Errorf("one more: %+v", got)
	}
	w.mu.Lock()
	w.access.User.ID = bob
	w.mu.Unlock()
	w.parks(t, w.token(bob, "read"), "look", `{"id":1}`) // others are not kept from theirs
}

// A thousand calls wait for answers, and then none.
func TestThousandParkedCalls(t *testing.T) {
	w := newWorld(t, talks)
	asked := make(chan struct{}, maxParked+1)
	p := w.gateway.parking
	var all sync.WaitGroup
	ctx, cancel := context.WithCancel(t.Context())
	refused := make(chan error, 1)
	for i := range maxParked + 1 {
		k := &parked{of: p, id: fmt.Sprint(i), asked: make(chan struct{}, 1), done: make(chan struct{}), open: map[int]*openQuestion{}, cancel: func(error) {},
			c: &call{ex: &exchange{}}}
		k.c.ex.principal.User = tenants.UserID(fmt.Sprint(i / maxParkedPerson))
		all.Go(func() {
			defer close(k.done)
			defer p.leave(k)
			_, err := k.put(ctx, question{method: methodRoots, params: &mcp.ListRootsParams{}})
			if fault.HasCode(err, fault.Busy) {
				refused <- err
			}
		})
		go func() {
			<-k.asked
			if _, err := p.give(k); err != nil {
				t.Error(err)
			}
			asked <- struct{}{}
		}()
	}
	for range maxParked {
		<-asked
	}
	if err := <-refused; fault.Of(err).RetryAfter == 0 || w.parked() != maxParked {
		t.Errorf("%v, %d parked", err, w.parked())
	}
	cancel()
	all.Wait()
	if w.parked() != 0 || len(p.people) != 0 {
		t.Errorf("%d calls and %d people are left", w.parked(), len(p.people))
	}
}

func TestUpstreamThatAsksWithoutEndIsStopped(t *testing.T) {
	w := newWorld(t, talks)
	var many []runtime.Question
	for range maxQuestions + 1 {
		many = append(many, question1(methodElicit, formParams))
	}
	w.asks(many...)
	s := w.client(w.token(ann, "read"), "2025-11-25", (&asked{answer: accept(map[string]any{"zulu": "z"})}).options())
	res, err := s.CallTool(t.Context(), &mcp.CallToolParams{Name: "look"})
	if err != nil || failureIn(t, res).Code != "client_cannot_answer" {
		t.Errorf("%+v, %v", res, err)
	}
}

func TestStoppingEdgeEndsWhatWaits(t *testing.T) {
	w := newWorld(t, talks)
	w.asks(question1(methodElicit, formParams))
	token := w.token(ann, "read", "write")
	w.parks(t, token, "refund", `{"id":1}`)
	w.gateway.Close(t.Context())
	if p := w.phases(); len(p) != 2 || !strings.HasPrefix(p[1], "outcome unknown") {
		t.Errorf("records %v", p)
	}
	if got := w.asking(t.Context(), token, "look", `{}`, ""); got.code() != "busy" {
		t.Errorf("a call that would wait here: %+v", got)
	}
}

func TestConfirmationAndThenAQuestion(t *testing.T) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w := newAgreeing(t)
			w.gateway.cfg.Kinds = func(string) (runtime.Kind, bool) { return runtime.Kind{Asks: true}, true }
			w.asks(question1(methodElicit, formParams))
			var messages []string
			session := w.client(w.mine(), version, (&asked{answer: func(p *mcp.ElicitParams) (*mcp.ElicitResult, error) {
				messages = append(messages, p.Message)
				return &mcp.ElicitResult{Action: "accept", Content: map[string]any{"zulu": "z"}}, nil
			}}).options())
			res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "peek", Arguments: map[string]any{"id": 1}})
			if got := contentText(t, res, err); res.IsError || !strings.Contains(got, `"zulu":"z"`) || len(messages) != 2 || !strings.Contains(messages[0], "Do you want this?") || !strings.Contains(messages[1], "asks:") {
				t.Errorf("%s; asked %q", got, messages)
			}
		})
	}
}

// peersOf lets tests forward between worlds.
type peersOf map[string]*world

func (p peersOf) Forward(rw http.ResponseWriter, r *http.Request, edge string) bool {
	w := p[edge]
	if w == nil {
		return false
	}
	w.serve(rw, r)
	return true
}

func TestParkedCallIsFoundFromEveryEdge(t *testing.T) {
	peers := peersOf{}
	edge := func(name string) *world {
		return newWorld(t, talks, func(w *world, c *Config) { c.Edge, c.Peers, peers[name] = name, peers, w })
	}
	a, b := edge("a"), edge("b")
	a.asks(question1(methodElicit, formParams))
	token := a.token(ann, "read")
	s := a.parks(t, token, "look", `{}`)
	got := b.asking(t.Context(), token, "look", `{}`, goingOn(s.State, accepted))
	if got.IsError || !strings.Contains(got.Content[0].Text, `"zulu":"z"`) || len(b.dispatched) != 0 || len(a.dispatched) != 1 {
		t.Errorf("%+v", got)
	}
	// The edge dies: whoever comes back is told to begin anew, and nothing runs.
	s = a.parks(t, token, "look", `{}`)
	delete(peers, "a")
	if got := b.asking(t.Context(), token, "look", `{}`, goingOn(s.State, accepted)); got.code() != "invalid_request" || !strings.Contains(got.Content[0].Text, "begin anew") || len(b.dispatched) != 0 {
		t.Errorf("%+v", got)
	}
}

// Of a call with effects that an edge took with it, nobody knows what came: it is
// not run again, on any edge, until its caller has looked.
func TestDeadEdgesParkedCallIsUnknownElsewhere(t *testing.T) {
	s := newShop(t)
	a := s.edge(talks, func(_ *world, c *Config) { c.Once.Store = dies{s.db} }) // it never gets to say how it ended
	b := s.edge(talks)
	for _, w := range []*world{a, b} {
		w.asks(question1(methodElicit, formParams))
	}
	token := a.token(ann, "read", "write")
	parked := a.parks(t, token, "refund", `{"id":1}`)
	a.gateway.Close(t.Context())
	if got := b.asking(t.Context(), token, "refund", `{"id":1}`, goingOn(parked.State, accepted)); got.code() != "invalid_request" || len(b.dispatched) != 0 {
		t.Errorf("to go on at another edge: %+v", got)
	}
	// Its person had five minutes to answer: until then another edge waits for it.
	was, err := s.db.CallNamed(t.Context(), s.tenant.ID, a.nameOf(t), s.now())
	if until := time.Until(was.RunsUntil); err != nil || until < questionWait || until > questionWait+defaultTimeout+2*onceGrace {
		t.Errorf("it runs for %v, %v", until, err)
	}
	s.pass(questionWait + defaultTimeout + 2*onceGrace)
	if got := b.asking(t.Context(), token, "refund", `{"id":1}`, ""); got.code() != "outcome_unknown" || len(b.dispatched) != 0 {
		t.Errorf("to begin anew: %+v", got)
	}
}

// nameOf is the claim of the world's one call with effects.
func (w *world) nameOf(t *testing.T) (n idempotency.CallName) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.events, func(e audit.Event) bool { return e.Phase == audit.Intent })
	ex := &exchange{tenant: w.tenant, hosted: w.hosted}
	ex.principal.User = ann
	c := newToolCall(ex, w.hosted.Revision, &w.hosted.Revision.Definition.Tools[1], &validator{}, json.RawMessage(`{"id":1}`))
	c.id = w.events[i].CallID
	id, err := identify(c)
	if err != nil {
		t.Fatal(err)
	}
	return id.CallName
}

// Two of the same call at once are one, and one person is asked, once.
func TestRepeatOfAParkedCallWaitsForIt(t *testing.T) {
	s := newShop(t)
	w := s.edge(talks)
	w.asks(question1(methodElicit, formParams))
	token := w.token(ann, "read", "write")
	first := w.parks(t, token, "refund", `{"id":1}`)
	second := make(chan replied, 1)
	go func() { second <- w.asking(t.Context(), token, "refund", `{"id":1}`, "") }()
	eventually(t, "the repeat does not wait", func() bool {
		w.gateway.flights.mu.Lock()
		defer w.gateway.flights.mu.Unlock()
		for _, f := range w.gateway.flights.flying {
			if f.wanted == 2 {
				return true
			}
		}
		return false
	})
	if got := w.asking(t.Context(), token, "refund", `{"id":1}`, goingOn(first.State, accepted)); got.IsError {
		t.Errorf("%+v", got)
	}
	if got := <-second; got.IsError || got.Type != "complete" || !strings.Contains(got.Content[1].Text, "same call of before") || len(w.dispatched) != 1 {
		t.Errorf("%+v", got)
	}
}

func FuzzState(f *testing.F) {
	p := newParking("edge")
	k := &parked{of: p, id: "abc", c: &call{ex: &exchange{}}, binding: []byte("b")}
	k.kept = true
	p.calls[k.id] = k
	f.Add(p.state(k))
	f.Add("parked.edge.abc.0.")
	f.Fuzz(func(t *testing.T, state string) {
		if edge := edgeOfState(state); strings.Contains(edge, ".") || len(edge) > maxState {
			t.Fatalf("edge %q", edge)
		}
		got, _, err := p.find(state, []byte("b"))
		if err == nil && (got != k || state != p.state(k)) {
			t.Fatalf("%q was taken", state)
		}
	})
}
