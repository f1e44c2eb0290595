package upstreams_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"latchkey/internal/events"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/toolset"
	"latchkey/internal/upstreams"
	"latchkey/internal/upstreams/upstreamstest"
)

// declare publishes a server of a kind that needs no upstream.
func (w *world) declare(slug, kind, spec string) registry.Server {
	w.Helper()
	n, problems := registry.ReadYAML(spec)
	var declared registry.Spec
	if len(problems) == 0 {
		declared, problems = registry.CheckSpec(w.config.Checker, kind, n)
	}
	if len(problems) > 0 {
		w.Fatal(&registry.Problems{List: problems})
	}
	s, err := w.db.PutServer(w.Context(), w.acme.ID, registry.Server{Slug: slug, Kind: kind, Title: slug})
	check(w.T, err)
	rev, _, err := w.editor().Define(w.Context(), w.acme.ID, s, declared, "dana")
	check(w.T, err)
	_, _, err = w.editor().Publish(w.Context(), w.acme.ID, s, rev, true)
	check(w.T, err)
	s, err = w.db.Server(w.Context(), w.acme.ID, s.ID)
	check(w.T, err)
	return s
}

// toolsets lets a world's keeper know kinds that compose.
func (w *world) toolsets() {
	w.config.Checker = w.up.Checker(kinds.Checker())
	w.config.Kinds = append(w.config.Kinds, toolset.Kind, runtime.Kind{Name: "echo"})
}

func (w *world) tools(slug string) (names []string) {
	w.Helper()
	h, err := w.db.Hosted(w.Context(), w.acme.ID, slug)
	check(w.T, err)
	for _, t := range h.Revision.Definition.Tools {
		names = append(names, t.Name)
	}
	return names
}

func TestToolsetFollowsItsMembers(t *testing.T) {
	w := newWorld(t)
	w.toolsets()
	w.declare("one", "echo", "tools: [echo]")
	two := w.declare("two", "echo", "tools: [whoami]")
	w.declare("desk", "toolset", "tools: [{server: one}, {server: two, prefix: my_}]")
	w.keep()
	if got := w.tools("desk"); !slices.Equal(got, []string{"echo", "my_whoami"}) {
		t.Fatalf("it has %v", got)
	}
	began := time.Now()
	w.declare("one", "echo", "tools: [echo, wait]")
	eventually(t, "it has what a member added", func() bool { return slices.Equal(w.tools("desk"), []string{"echo", "wait", "my_whoami"}) })
	t.Logf("followed after %s", time.Since(began).Round(time.Millisecond))
	_, err := w.db.BeginDeleteServer(t.Context(), w.acme.ID, two.ID, "dana", time.Now())
	check(t, err)
	eventually(t, "it is without what was deleted", func() bool { return slices.Equal(w.tools("desk"), []string{"echo", "wait"}) })
	if n := len(w.events.of(events.DefinitionChanged)); n != 0 {
		t.Errorf("%d events of what an administrator published", n)
	}
	h := w.published("desk")
	revs, err := w.db.Revisions(t.Context(), w.acme.ID, h.Server.ID)
	check(t, err)
	if len(revs) != 3 || revs[0].CreatedBy != "dana" {
		t.Errorf("%d revisions", len(revs))
	}
}

// A member that another server's upstream discovers appears when it is known what
// it offers.
func TestToolsetWaitsForAMemberThatIsDiscovered(t *testing.T) {
	w := newWorld(t)
	w.toolsets()
	w.up.Away(fault.New(fault.UpstreamAway, "not yet"))
	w.put("files", `{}`)
	w.declare("desk", "toolset", "tools: [files/read]")
	w.keep()
	if got := w.tools("desk"); len(got) != 0 {
		t.Fatalf("it has %v", got)
	}
	w.up.Offers(upstreamstest.Offer("read", "Reads."))
	w.up.Away(nil)
	eventually(t, "it has what the member offers", func() bool { return slices.Equal(w.tools("desk"), []string{"read"}) })
}

// What could mislead among the toolset's tools is not published with it, and
// somebody is told.
func TestToolsetThatCannotFollowStaysAndSaysSo(t *testing.T) {
	w := newWorld(t)
	w.toolsets()
	w.declare("one", "echo", "tools: [echo]")
	w.declare("desk", "toolset", "tools: [{server: one}, {tool: one/echo, name: wa1t}]")
	w.keep()
	w.declare("one", "echo", "tools: [echo, wait]") // beside wa1t
	eventually(t, "somebody is told", func() bool { return len(w.events.of(events.DefinitionChanged)) == 1 })
	if e := w.events.of(events.DefinitionChanged)[0]; e.Server != "desk" || !strings.Contains(e.Detail, "stays as it was") {
		t.Errorf("%+v", e)
	}
	if got := w.tools("desk"); !slices.Equal(got, []string{"wa1t"}) {
		t.Errorf("it has %v", got)
	}
}

func TestToolsetIsTriedWithoutAWorker(t *testing.T) {
	w := newWorld(t)
	w.toolsets()
	w.declare("one", "echo", "tools: [echo]")
	k := upstreams.New(w.config)
	try := func(spec string) upstreams.Tried {
		n, problems := registry.ReadYAML(spec)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		s, problems := registry.CheckSpec(w.config.Checker, "toolset", n)
		if len(problems) > 0 {
			t.Fatal(problems)
		}
		out, err := k.Try(t.Context(), w.acme.ID, upstreams.Trial{Server: registry.Server{Slug: "desk", Kind: "toolset"}, Spec: s})
		check(t, err)
		return out
	}
	if out := try("tools: [one/echo]"); out.Unfit != nil || len(out.Fits.Definition.Tools) != 1 {
		t.Errorf("%+v", out)
	}
	if out := try("tools: [one/nothing]"); out.Unfit == nil {
		t.Errorf("%+v", out)
	}
	s := w.declare("desk", "toolset", "tools: [one/echo]")
	if _, err := k.Discover(t.Context(), w.acme.ID, s.ID, ""); !fault.HasCode(err, fault.InvalidRequest) || !strings.Contains(err.Error(), "nothing to discover") {
		t.Error(err)
	}
}
