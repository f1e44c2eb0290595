package mcpgateway

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"latchkey/internal/audit"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/tenants"
)

// shelf is the revisions of a world's server, and what grants listed.
type shelf struct {
	mu     sync.Mutex
	all    []registry.Revision // oldest first
	listed map[string]registry.RevisionID
	reads  atomic.Int64
	now    atomic.Pointer[time.Time]
}

func (s *shelf) ListedRevision(_ context.Context, _ tenants.ID, grant string, server registry.ServerID) (registry.RevisionID, error) {
	s.reads.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.listed[grant+" "+string(server)], nil
}

func (s *shelf) RememberListed(_ context.Context, _ tenants.ID, grant string, server registry.ServerID, r registry.RevisionID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listed[grant+" "+string(server)] = r
	return nil
}

func (s *shelf) Revision(_ context.Context, _ tenants.ID, id registry.RevisionID) (registry.Revision, error) {
	s.reads.Add(1)
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.all {
		if r.ID == id {
			return r, nil
		}
	}
	return registry.Revision{}, fault.New(fault.NotFound, "no")
}

func (s *shelf) RevisionsBefore(_ context.Context, _ tenants.ID, _ registry.ServerID, number, limit int) (out []registry.Revision, _ error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range slices.Backward(s.all) {
		if r.Number < number && len(out) < limit {
			out = append(out, r)
		}
	}
	return out, nil
}

var today = time.Date(2027, 3, 1, 12, 0, 0, 0, time.UTC)

// versioned is a world whose server can be published anew.
func versioned(t *testing.T) (*world, *shelf) {
	w, s := newWorld(t), &shelf{listed: map[string]registry.RevisionID{}}
	s.all = []registry.Revision{w.hosted.Revision}
	s.now.Store(&today)
	w.gateway.cfg.Now = func() time.Time { return *s.now.Load() }
	w.gateway.cfg.Versions, w.gateway.listings.store = s, s
	t.Cleanup(w.gateway.listings.writing.Wait)
	return w, s
}

func (s *shelf) at(day string) {
	d, err := time.Parse(time.DateOnly, day)
	if err != nil {
		panic(err)
	}
	s.now.Store(&d)
}

// publish makes the next revision active, with tools changed.
func (s *shelf) publish(w *world, change func(tools map[string]*registry.Tool)) registry.Revision {
	w.t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	last := s.all[len(s.all)-1]
	tools := map[string]*registry.Tool{}
	for _, tool := range last.Definition.Tools {
		tools[tool.Name] = &tool
	}
	change(tools)
	def := last.Definition
	def.Tools = nil
	for _, name := range slices.Sorted(maps.Keys(tools)) {
		def.Tools = append(def.Tools, *tools[name])
	}
	rev, err := registry.NewRevision(w.hosted.Server, json.RawMessage(`{}`), def, "test")
	if err != nil {
		w.t.Fatal(err)
	}
	rev.Number = len(s.all) + 1
	rev.ID = registry.RevisionID("rvaaaaaaaaaaaaaaaaa" + string(rune('a'+len(s.all))))
	s.all = append(s.all, rev)
	w.hosted.Revision = rev
	return rev
}

// second takes another argument than the first version did.
func second(sunset registry.Date) func(map[string]*registry.Tool) {
	return func(tools map[string]*registry.Tool) {
		look := tools["look"]
		look.InputSchema = json.RawMessage(`{"type":"object","additionalProperties":false,"required":["number"],"properties":{"number":{"type":"integer"}}}`)
		look.Version, look.Replaces = 2, &registry.Replaces{Version: 1, Sunset: sunset}
		look.Confirmation.Message = "the active one's"
	}
}

func (w *world) mustList(s *mcp.ClientSession) (tools map[string]*mcp.Tool) {
	w.t.Helper()
	res, err := s.ListTools(w.t.Context(), nil)
	if err != nil {
		w.t.Fatal(err)
	}
	tools = map[string]*mcp.Tool{}
	for _, tool := range res.Tools {
		tools[tool.Name] = tool
	}
	w.gateway.listings.writing.Wait()
	return tools
}

func (w *world) mustCall(s *mcp.ClientSession, name string, arguments map[string]any) *mcp.CallToolResult {
	w.t.Helper()
	res, err := s.CallTool(w.t.Context(), &mcp.CallToolParams{Name: name, Arguments: arguments})
	if err != nil {
		w.t.Fatal(err)
	}
	return res
}

func (w *world) lastRan() registry.RevisionID {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.dispatched) == 0 {
		return ""
	}
	return w.dispatched[len(w.dispatched)-1].Revision
}

func (w *world) lastEvent() audit.Event {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.events[len(w.events)-1]
}

func inEras(t *testing.T, f func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession)) {
	for era, version := range eras {
		t.Run(era, func(t *testing.T) {
			w, s := versioned(t)
			f(t, w, s, w.connect(w.token(ann, "read", "write"), version))
		})
	}
}

// A guard that is stricter since holds for sessions that go on with a version of
// before: what is masked now was masked by no worker then.
func TestOldVersionAnswersUnderTheGuardOfNow(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, func(tools map[string]*registry.Tool) {
			second("2027-04-01")(tools)
			tools["look"].Guard = registry.OutputGuard{Mask: []string{"email"}, Fields: []string{"other"}}
		})
		w.run = func(context.Context, *runtime.Call, DispatchOptions) (DispatchOutcome, error) {
			return DispatchOutcome{Worker: "w1", Started: true, Result: &runtime.Result{Tool: &mcp.CallToolResult{
				Content: []mcp.Content{&mcp.TextContent{Text: "ask jane.doe@example.com"}}, StructuredContent: json.RawMessage(`{"n":1,"who":"jane.doe@example.com"}`)}}}, nil
		}
		res := w.mustCall(session, "look", map[string]any{"id": 1})
		b, err := json.Marshal(res)
		if err != nil || res.IsError || w.lastRan() != s.all[0].ID || strings.Contains(string(b), "jane.doe") || !strings.Contains(string(b), `"who"`) {
			t.Errorf("%v: %s", err, b)
		}
		if w.lastEvent().Notes[audit.NoteMasked] == nil {
			t.Errorf("on record: %+v", w.lastEvent())
		}
	})
}

func TestOldSessionKeepsListedVersion(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, second("2027-04-01"))
		res := w.mustCall(session, "look", map[string]any{"id": 1})
		if res.IsError || w.lastRan() != s.all[0].ID {
			t.Fatalf("%s ran: %+v", w.lastRan(), res)
		}
		b, _ := json.Marshal(res.Meta[metaDeprecated])
		if want := `"sunset":"2027-04-01"`; !strings.Contains(string(b), want) || !strings.Contains(string(b), `"version":1`) || !strings.Contains(string(b), `"successor":"look"`) {
			t.Errorf("the result says %s", b)
		}
		e := w.lastEvent()
		if e.Notes[audit.NoteRevision] != 1 || e.Notes[audit.NoteDeprecated] != "2027-04-01" || e.Revision != s.all[0].ID || e.DefinitionHash != s.all[0].Definition.Tools[0].Hash {
			t.Errorf("on record: %+v", e)
		}
		// What it listed is checked, and nothing else.
		if f := failureIn(t, w.mustCall(session, "look", map[string]any{"number": 1})); f.Code != fault.InvalidArguments.Name {
			t.Errorf("%+v", f)
		}
		// Who never listed gets what is active.
		s.mu.Lock()
		clear(s.listed)
		s.mu.Unlock()
		if res := w.mustCall(session, "look", map[string]any{"number": 1}); res.IsError || w.lastRan() != s.all[1].ID || res.Meta[metaDeprecated] != nil {
			t.Errorf("%s ran: %+v", w.lastRan(), res)
		}
	})
}

func TestListingAgainMovesOn(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, second("2027-04-01"))
		b, _ := json.Marshal(w.mustList(session)["look"].InputSchema)
		if !strings.Contains(string(b), "number") {
			t.Errorf("listed again: %s", b)
		}
		if res := w.mustCall(session, "look", map[string]any{"number": 1}); res.IsError || w.lastRan() != s.all[1].ID || res.Meta[metaDeprecated] != nil {
			t.Errorf("%s ran: %+v", w.lastRan(), res)
		}
		if f := failureIn(t, w.mustCall(session, "look", map[string]any{"id": 1})); f.Code != fault.InvalidArguments.Name {
			t.Errorf("%+v", f)
		}
	})
}

func TestReplacedVersionEnds(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, second("2027-04-01"))
		s.at("2027-04-01")
		f := failureIn(t, w.mustCall(session, "look", map[string]any{"id": 1}))
		if f.Code != fault.ToolSunset.Name || !strings.Contains(f.Message, "version 2 took its place. List the tools again") || w.lastRan() != "" {
			t.Errorf("%+v", f)
		}
		w.mustList(session)
		if res := w.mustCall(session, "look", map[string]any{"number": 1}); res.IsError {
			t.Errorf("%+v", res)
		}
	})
}

// Each version's day is the one that was said when it was replaced.
func TestVersionBeforeLastKeepsItsDay(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, second("2027-06-01"))
		s.publish(w, func(tools map[string]*registry.Tool) {
			look := tools["look"]
			look.InputSchema = json.RawMessage(`{"type":"object","additionalProperties":false}`)
			look.Version, look.Replaces = 3, &registry.Replaces{Version: 2, Sunset: "2027-04-01"}
		})
		s.at("2027-05-01")
		if res := w.mustCall(session, "look", map[string]any{"id": 1}); res.IsError || w.lastRan() != s.all[0].ID {
			t.Errorf("%s ran: %+v", w.lastRan(), res)
		}
		s.at("2027-06-01")
		if f := failureIn(t, w.mustCall(session, "look", map[string]any{"id": 1})); f.Code != fault.ToolSunset.Name {
			t.Errorf("%+v", f)
		}
	})
}

// What breaks nobody applies to who listed before it; so does what was published
// to break at once, and how the tool is kept safe.
func TestFixesApplyToOldSessions(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		w.mustList(session)
		s.publish(w, func(tools map[string]*registry.Tool) {
			tools["look"].Version, tools["look"].Replaces = 2, &registry.Replaces{Version: 1, Sunset: "2027-04-01"}
		})
		if res := w.mustCall(session, "look", map[string]any{"id": 1}); res.IsError || w.lastRan() != s.all[1].ID {
			t.Errorf("%s ran: %+v", w.lastRan(), res)
		}
		s.publish(w, func(tools map[string]*registry.Tool) { delete(tools, "look") })
		if res, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "look", Arguments: map[string]any{"id": 1}}); err == nil {
			t.Errorf("a tool that was removed ran: %+v", res)
		}
		if w.lastRan() != s.all[1].ID {
			t.Errorf("%s ran", w.lastRan())
		}
	})
	w, s := versioned(t)
	s.publish(w, func(tools map[string]*registry.Tool) {
		second("2027-04-01")(tools)
		tools["look"].Risk = registry.Destructive
		tools["look"].Guard.Mask, tools["look"].Guard.Fields = []string{"email"}, []string{"new"}
	})
	s.listed["gr "+string(server1)] = s.all[0].ID
	old, tool := w.gateway.servers.complete(registry.Hosted{Server: w.hosted.Server, Revision: s.all[0]}), w.gateway.servers.complete(w.hosted).tools["look"]
	ex := &exchange{tenant: w.tenant, hosted: w.hosted}
	ex.principal.Grant = "gr"
	c, err := w.gateway.choose(t.Context(), ex, &ex.hosted, tool)
	if err != nil || c.tool.Hash != old.tools["look"].tool.Hash || c.tool.Confirmation.Message != "the active one's" || c.tool.Risk != registry.Destructive ||
		c.access != registry.ReadAccess || !slices.Equal(c.tool.Guard.Mask, []string{"email"}) || c.tool.Guard.Fields != nil {
		t.Errorf("%+v %+v, %v", c, c.tool, err)
	}
	if old.tools["look"].tool.Confirmation.Message != "" {
		t.Error("the old definition was changed")
	}
}

func TestSunsetToolNamesSuccessor(t *testing.T) {
	inEras(t, func(t *testing.T, w *world, s *shelf, session *mcp.ClientSession) {
		s.publish(w, func(tools map[string]*registry.Tool) {
			tools["look"].Deprecated = &registry.Deprecation{Since: "2027-02-01", Sunset: "2027-04-01", Successor: "look_up", Message: "It is faster."}
			up := *tools["look"]
			up.Name, up.Deprecated = "look_up", nil
			tools["look_up"] = &up
		})
		listed := w.mustList(session)["look"]
		b, _ := json.Marshal(listed.Meta[metaDeprecated])
		if !strings.Contains(listed.Description, "Deprecated since 2027-02-01, ends 2027-04-01: use look_up. It is faster.") || !strings.Contains(string(b), `"successor":"look_up"`) {
			t.Errorf("listed as %q, %s", listed.Description, b)
		}
		res := w.mustCall(session, "look", map[string]any{"id": 1})
		if m, ok := res.Meta[metaDeprecated].(map[string]any); res.IsError || !ok || m["sunset"] != "2027-04-01" || w.lastEvent().Notes[audit.NoteDeprecated] != "2027-04-01" {
			t.Errorf("%+v, on record %+v", res, w.lastEvent().Notes)
		}
		s.at("2027-04-01")
		if tools := w.mustList(session); tools["look"] != nil || tools["look_up"] == nil {
			t.Errorf("listed: %v", tools)
		}
		ran := len(w.dispatched)
		f := failureIn(t, w.mustCall(session, "look", map[string]any{"id": 1}))
		if f.Code != fault.ToolSunset.Name || !strings.Contains(f.Message, "Use look_up instead") || len(w.dispatched) != ran || w.lastEvent().Code != fault.ToolSunset.Name {
			t.Errorf("%+v", f)
		}
		// Removed from the spec after that, who had listed it is still told.
		s.publish(w, func(tools map[string]*registry.Tool) { delete(tools, "look") })
		if f := failureIn(t, w.mustCall(session, "look", map[string]any{"id": 1})); f.Code != fault.ToolSunset.Name || !strings.Contains(f.Message, "Use look_up instead") {
			t.Errorf("%+v", f)
		}
	})
}

// A tool that replaces nothing is decided on without asking what was listed, and
// nobody without the scope learns what became of a tool.
func TestPlainCallsAskNoStore(t *testing.T) {
	w, s := versioned(t)
	token := w.token(ann, "read")
	session := w.connect(token, "2026-07-28")
	w.mustList(session)
	before := s.reads.Load()
	for range 3 {
		w.mustCall(session, "look", map[string]any{"id": 1})
	}
	if n := s.reads.Load() - before; n != 0 {
		t.Errorf("%d reads", n)
	}
	s.publish(w, func(tools map[string]*registry.Tool) {
		tools["hidden"].Deprecated = &registry.Deprecation{Sunset: "2027-01-01", Successor: "look"}
	})
	if f := failureIn(t, w.mustCall(session, "hidden", nil)); f.Code == fault.ToolSunset.Name || strings.Contains(f.Message, "retired") {
		t.Errorf("%+v", f)
	}
}

func BenchmarkChoose(b *testing.B) {
	w := newWorld(b)
	tool := w.gateway.servers.complete(w.hosted).tools["look"]
	ex := &exchange{tenant: w.tenant, hosted: w.hosted}
	for b.Loop() {
		if _, err := w.gateway.choose(b.Context(), ex, &ex.hosted, tool); err != nil {
			b.Fatal(err)
		}
	}
}
