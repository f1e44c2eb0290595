// Package registrytest is the contract of registry.Store as a test: each
// implementation runs it.
package registrytest

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Fixture is a store and a way to make tenants that servers can be of.
type Fixture struct {
	Store     registry.Store
	AddTenant func(t *testing.T) tenants.ID
}

// Run runs the suite on one store; each part has tenants of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	f := open(t)
	for name, test := range map[string]func(*suite){
		"Servers":                 (*suite).servers,
		"KindStays":               (*suite).kind,
		"Publish":                 (*suite).publish,
		"DefinitionComesBack":     (*suite).definition,
		"PublishersAtTheSameTime": (*suite).concurrent,
		"StageAndActivate":        (*suite).stage,
		"Lists":                   (*suite).lists,
		"Deleting":                (*suite).deleting,
		"SameSlugTwoTenants":      (*suite).same,
		"DeleteTakesAll":          (*suite).deleted,
		"UnknownIsNotFound":       (*suite).unknown,
	} {
		t.Run(name, func(t *testing.T) {
			test(&suite{T: t, Fixture: f, a: f.AddTenant(t), b: f.AddTenant(t)})
		})
	}
}

type suite struct {
	*testing.T
	Fixture
	a, b tenants.ID
}

func (s *suite) must(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) code(what string, err error, c fault.Code) {
	s.Helper()
	if !fault.HasCode(err, c) {
		s.Errorf("%s: got %v, want %s", what, err, c)
	}
}

func (s *suite) put(t tenants.ID, slug string) registry.Server {
	s.Helper()
	srv, err := s.Store.PutServer(s.Context(), t, registry.Server{Slug: slug, Kind: "echo", Title: "T"})
	s.must(err)
	return srv
}

func (s *suite) revision(srv registry.Server, description string) registry.Revision {
	s.Helper()
	r, err := registry.NewRevision(srv, json.RawMessage(`{"z":1,"a":2}`), registry.Definition{Tools: []registry.Tool{
		{Name: "say", Description: description, InputSchema: json.RawMessage(`{"type":"object","properties":{"z":{},"a":{}}}`), Timeout: time.Second},
	}}, "test")
	s.must(err)
	return r
}

func (s *suite) published(srv registry.Server, description string) registry.Revision {
	s.Helper()
	r, published, err := s.Store.Publish(s.Context(), srv.Tenant, s.revision(srv, description))
	s.must(err)
	if !published {
		s.Errorf("%q was not published", description)
	}
	return r
}

func (s *suite) servers() {
	ctx := s.Context()
	want := registry.Server{
		Slug: "orders", Kind: "sql", Title: "Orders", Description: "About orders", Connection: json.RawMessage(`{"host": "db", "port": 5432}`), Pool: "gpu", PerUser: true,
		Declared: json.RawMessage(`{"port":5432,"host":"db","password":{"secret":"[set]"}}`), SecretsSet: []string{"password"}, SecretsVersion: "ro@1.a rw@1.b",
	}
	made, err := s.Store.PutServer(ctx, s.a, want)
	s.must(err)
	if _, err := tenants.ParseServerID(string(made.ID)); err != nil || made.Tenant != s.a || made.Active != "" || made.UpdatedAt.IsZero() {
		s.Errorf("made %+v, %v", made, err)
	}
	want.ID, want.Tenant, want.UpdatedAt = made.ID, s.a, made.UpdatedAt
	found, err := s.Store.Server(ctx, s.a, made.ID)
	s.must(err)
	if !equal(found, want) || !equal(made, want) {
		s.Errorf("found %+v\nwant  %+v", found, want)
	}
	again, err := s.Store.PutServer(ctx, s.a, want)
	s.must(err)
	if !again.UpdatedAt.Equal(made.UpdatedAt) {
		s.Error("putting the same again is an update")
	}
	want.Title, want.Description, want.Connection, want.Pool, want.PerUser = "Other", "", json.RawMessage(`{}`), "default", false
	want.Declared, want.SecretsSet, want.SecretsVersion = json.RawMessage(`{}`), []string{}, ""
	changed, err := s.Store.PutServer(ctx, s.a, registry.Server{Slug: "orders", Kind: "sql", Title: "Other"})
	s.must(err)
	if !changed.UpdatedAt.After(made.UpdatedAt) {
		s.Error("an update has no time of its own")
	}
	want.UpdatedAt = changed.UpdatedAt
	if !equal(changed, want) {
		s.Errorf("changed to %+v\nwant       %+v", changed, want)
	}
	if hs, err := s.Store.HostedAll(ctx, s.a); err != nil || len(hs) != 0 {
		s.Errorf("an unpublished server is hosted: %+v, %v", hs, err)
	}
	_, err = s.Store.Hosted(ctx, s.a, "orders")
	s.code("unpublished", err, fault.NotFound)
	for _, bad := range []registry.Server{
		{Slug: "No", Kind: "sql", Title: "T"}, {Slug: "orders", Kind: "sql"}, {Slug: "orders", Kind: "sql", Title: "T", Pool: "*"},
		{Slug: "orders", Kind: "sql", Title: strings.Repeat("x", 201)}, {Slug: "orders", Kind: "sql", Title: "T", Connection: json.RawMessage(`{`)},
	} {
		_, err := s.Store.PutServer(ctx, s.a, bad)
		s.code("bad server", err, fault.InvalidRequest)
	}
}

// equal compares servers; the store may write a connection in its own way.
func equal(a, b registry.Server) bool {
	return compact(a.Connection) == compact(b.Connection) && string(a.Declared) == string(b.Declared) && a.UpdatedAt.Equal(b.UpdatedAt) && func() bool {
		a.Connection, b.Connection, a.UpdatedAt, b.UpdatedAt = nil, nil, time.Time{}, time.Time{}
		a.Declared, b.Declared = nil, nil
		return reflect.DeepEqual(a, b)
	}()
}

func compact(j json.RawMessage) string {
	var b bytes.Buffer
	if json.Compact(&b, j) != nil {
		return string(j)
	}
	return b.String()
}

func (s *suite) kind() {
	srv := s.put(s.a, "orders")
	_, err := s.Store.PutServer(s.Context(), s.a, registry.Server{Slug: "orders", Kind: "sql", Title: "Changed"})
	s.code("another kind", err, fault.Conflict)
	if got, err := s.Store.Server(s.Context(), s.a, srv.ID); err != nil || got.Kind != "echo" || got.Title != "T" {
		s.Errorf("a refused change was made in part: %+v, %v", got, err)
	}
}

func (s *suite) publish() {
	ctx := s.Context()
	srv := s.put(s.a, "orders")
	first := s.published(srv, "one")
	if first.Number != 1 || !strings.HasPrefix(string(first.ID), "rv") || first.Server != srv.ID || first.Tenant != s.a || first.CreatedBy != "test" || first.CreatedAt.IsZero() {
		s.Errorf("%+v", first)
	}
	again, published, err := s.Store.Publish(ctx, s.a, s.revision(srv, "one"))
	if err != nil || published || again.ID != first.ID {
		s.Errorf("the same again: %+v, %v, %v", again, published, err)
	}
	second := s.published(srv, "two")
	// Back to what it was is a new revision: history only grows.
	third := s.published(srv, "one")
	if second.Number != 2 || third.Number != 3 || third.ID == first.ID || third.Hash != first.Hash {
		s.Errorf("%+v, %+v", second, third)
	}
	h, err := s.Store.Hosted(ctx, s.a, "orders")
	s.must(err)
	if h.Server.Active != third.ID || h.Revision.ID != third.ID {
		s.Errorf("active is %s, revision %s", h.Server.Active, h.Revision.ID)
	}
	all, err := s.Store.Revisions(ctx, s.a, srv.ID)
	s.must(err)
	if len(all) != 3 || all[0].ID != third.ID || all[2].ID != first.ID {
		s.Errorf("listed %+v", all)
	}
	if r, err := s.Store.Revision(ctx, s.a, second.ID); err != nil || !reflect.DeepEqual(r, second) {
		s.Errorf("%+v, %v", r, err)
	}
	if put, err := s.Store.PutServer(ctx, s.a, registry.Server{Slug: "orders", Kind: "echo", Title: "New title"}); err != nil || put.Active != third.ID {
		s.Errorf("putting a server changes what is active: %+v, %v", put, err)
	}
	s.published(s.put(s.a, "crm"), "x")
	hs, err := s.Store.HostedAll(ctx, s.a)
	if err != nil || len(hs) != 2 || hs[0].Server.Slug != "crm" || hs[1].Revision.ID != third.ID {
		s.Errorf("%+v, %v", hs, err)
	}
	bad := s.revision(srv, "bad")
	bad.Hash = "no hash"
	_, _, err = s.Store.Publish(ctx, s.a, bad)
	s.code("bad hash", err, fault.InvalidRequest)
}

// definition is byte for byte what was published: a model reads its keys in
// order, and the hash is over it.
func (s *suite) definition() {
	srv := s.put(s.a, "orders")
	def := registry.Definition{
		Instructions: "<b> & \u2028 \"quoted\" é",
		Tools: []registry.Tool{{
			Name: "say", Title: "Say", Description: "d", InputSchema: json.RawMessage(`{"type":"object","zebra":1,"alpha":{"b":1e400,"a":"<&>"}}`),
			OutputSchema: json.RawMessage(`{}`), Scope: "s", Risk: registry.Writes, Idempotent: true, OpenWorld: true, Timeout: time.Minute,
		}},
		Resources: []registry.Resource{{Name: "r", URITemplate: "x://{id}", MIMEType: "text/plain", Timeout: time.Second}},
		Prompts:   []registry.Prompt{{Name: "p", Arguments: []registry.PromptArgument{{Name: "a", Required: true}}, Text: "{{a}}"}},
	}
	want, err := registry.NewRevision(srv, json.RawMessage(`{"z":[1.50,"é"],"a":null}`), def, "test")
	s.must(err)
	_, _, err = s.Store.Publish(s.Context(), s.a, want)
	s.must(err)
	h, err := s.Store.Hosted(s.Context(), s.a, "orders")
	s.must(err)
	if string(h.Revision.Spec) != string(want.Spec) || !sameJSON(h.Revision.Definition, want.Definition) || h.Revision.Hash != want.Hash {
		s.Errorf("got %s %+v\nwant %s %+v", h.Revision.Spec, h.Revision.Definition, want.Spec, want.Definition)
	}
	// What was read hashes to what was stored.
	again, err := registry.NewRevision(h.Server, h.Revision.Spec, h.Revision.Definition, "other")
	if err != nil || again.Hash != want.Hash {
		s.Errorf("hash %s, want %s, %v", again.Hash, want.Hash, err)
	}
}

func sameJSON(a, b any) bool {
	x, err := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err == nil && err2 == nil && bytes.Equal(x, y)
}

func (s *suite) concurrent() {
	srv := s.put(s.a, "orders")
	var wg sync.WaitGroup
	for i := range 12 {
		rev := s.revision(srv, string(rune('a'+i/3))) // each three times
		wg.Go(func() {
			if _, _, err := s.Store.Publish(s.Context(), s.a, rev); err != nil {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := s.Store.Revisions(s.Context(), s.a, srv.ID)
	s.must(err)
	for i, r := range all {
		if r.Number != len(all)-i {
			s.Errorf("revision %d has number %d", i, r.Number)
		}
	}
	if h, err := s.Store.Hosted(s.Context(), s.a, "orders"); err != nil || h.Revision.ID != all[0].ID {
		s.Errorf("%+v, %v", h, err)
	}
}

func (s *suite) staged(srv registry.Server, description string) registry.Revision {
	s.Helper()
	rev := s.revision(srv, description)
	rev.Declared = json.RawMessage(`{"z":1,"a":"` + description + `"}`)
	r, staged, err := s.Store.Stage(s.Context(), srv.Tenant, rev)
	s.must(err)
	if !staged || string(r.Declared) != string(rev.Declared) {
		s.Errorf("%q: staged %v, declared %s", description, staged, r.Declared)
	}
	return r
}

func (s *suite) stage() {
	ctx := s.Context()
	srv := s.put(s.a, "orders")
	_, err := s.Store.Newest(ctx, s.a, srv.ID)
	s.code("newest of none", err, fault.NotFound)
	one, two := s.staged(srv, "one"), s.staged(srv, "two")
	if one.Number != 1 || two.Number != 2 {
		s.Errorf("%d, %d", one.Number, two.Number)
	}
	// A draft: nobody sees it, and what it would be is the newest.
	_, err = s.Store.Hosted(ctx, s.a, "orders")
	s.code("draft", err, fault.NotFound)
	if cur, err := s.Store.Current(ctx, s.a); err != nil || len(cur) != 1 || cur[0].Revision.ID != two.ID || cur[0].Server.Active != "" {
		s.Errorf("%+v, %v", cur, err)
	}
	rev := s.revision(srv, "one")
	rev.Declared = json.RawMessage(`{"other":"words"}`)
	if again, staged, err := s.Store.Stage(ctx, s.a, rev); err != nil || staged || again.ID != one.ID || string(again.Declared) != string(one.Declared) {
		s.Errorf("the same again: %+v, %v, %v", again, staged, err)
	}
	for _, want := range []registry.Revision{two, one} { // forward, and back
		got, err := s.Store.Activate(ctx, s.a, srv.ID, want.Number)
		s.must(err)
		h, err := s.Store.Hosted(ctx, s.a, "orders")
		s.must(err)
		if got.ID != want.ID || h.Revision.ID != want.ID || h.Server.Active != want.ID {
			s.Errorf("activated %s, %s is served", got.ID, h.Revision.ID)
		}
	}
	if cur, err := s.Store.Current(ctx, s.a); err != nil || cur[0].Revision.ID != one.ID {
		s.Errorf("current is not the active one: %+v, %v", cur, err)
	}
	if r, err := s.Store.RevisionByNumber(ctx, s.a, srv.ID, 2); err != nil || !reflect.DeepEqual(r, two) {
		s.Errorf("%+v, %v", r, err)
	}
	if r, err := s.Store.Newest(ctx, s.a, srv.ID); err != nil || r.ID != two.ID {
		s.Errorf("%+v, %v", r, err)
	}
	if rs, err := s.Store.RevisionsBefore(ctx, s.a, srv.ID, 2, 5); err != nil || len(rs) != 1 || rs[0].ID != one.ID {
		s.Errorf("%+v, %v", rs, err)
	}
	other := s.put(s.a, "other")
	_, err = s.Store.Activate(ctx, s.a, other.ID, 1)
	s.code("another server's revision", err, fault.NotFound)
	_, err = s.Store.RevisionByNumber(ctx, s.a, srv.ID, 3)
	s.code("number", err, fault.NotFound)
	// A revision of before specs were kept gives way to one that has its spec.
	old := s.published(other, "old")
	if len(old.Declared) != 0 {
		s.Errorf("declared %s", old.Declared)
	}
	rev = s.revision(other, "old")
	rev.Declared = json.RawMessage(`{"a":1}`)
	if r, published, err := s.Store.Publish(ctx, s.a, rev); err != nil || !published || r.Number != 2 || r.Hash != old.Hash {
		s.Errorf("%+v, %v, %v", r, published, err)
	}
}

func (s *suite) lists() {
	ctx := s.Context()
	crm, _, orders := s.put(s.a, "crm"), s.put(s.a, "b-empty"), s.put(s.a, "orders")
	s.put(s.b, "foreign")
	s.staged(crm, "Looks customers up 100%")
	s.published(orders, "Finds orders")
	s.staged(orders, "newer")
	slugs := func(q registry.ServerQuery) (out []string) {
		q.Limit = max(q.Limit, 1)
		for {
			ls, err := s.Store.Servers(ctx, s.a, q)
			s.must(err)
			for _, l := range ls {
				out = append(out, l.Server.Slug)
			}
			if len(ls) < q.Limit {
				return out
			}
			q.After = ls[len(ls)-1].Server.Slug
		}
	}
	for _, c := range []struct {
		q    registry.ServerQuery
		want string
	}{
		{registry.ServerQuery{}, "b-empty crm orders"}, {registry.ServerQuery{Limit: 2}, "b-empty crm orders"}, {registry.ServerQuery{Search: "RM"}, "crm"},
		{registry.ServerQuery{Search: "%"}, ""}, {registry.ServerQuery{Search: "_"}, ""}, {registry.ServerQuery{State: registry.Published}, "orders"},
		{registry.ServerQuery{State: registry.Draft}, "b-empty crm"}, {registry.ServerQuery{State: registry.Deleting}, ""}, {registry.ServerQuery{Connected: true}, ""},
	} {
		if got := strings.Join(slugs(c.q), " "); got != c.want {
			s.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
	ls, err := s.Store.Servers(ctx, s.a, registry.ServerQuery{Limit: 10})
	s.must(err)
	if l := ls[2]; l.ActiveNumber != 1 || l.LatestNumber != 2 || l.Tools != 1 {
		s.Errorf("%+v", l)
	}
	if l := ls[1]; l.ActiveNumber != 0 || l.LatestNumber != 1 || l.Tools != 1 {
		s.Errorf("%+v", l)
	}
	tools := func(q registry.ToolQuery) string {
		q.Limit = 10
		ts, err := s.Store.Tools(ctx, s.a, q)
		s.must(err)
		var out []string
		for _, t := range ts {
			out = append(out, t.Server+"/"+t.Tool.Name)
		}
		return strings.Join(out, " ")
	}
	for _, c := range []struct {
		q    registry.ToolQuery
		want string
	}{
		{registry.ToolQuery{}, "crm/say orders/say"}, {registry.ToolQuery{AfterServer: "crm", AfterTool: "say"}, "orders/say"}, {registry.ToolQuery{AfterServer: "crm", AfterTool: "a"}, "crm/say orders/say"},
		{registry.ToolQuery{Search: "100%"}, "crm/say"}, {registry.ToolQuery{Search: "newer"}, ""}, {registry.ToolQuery{Server: "orders", Tool: "say"}, "orders/say"},
		{registry.ToolQuery{Tool: "sa"}, ""}, {registry.ToolQuery{Risk: registry.Destructive}, "crm/say orders/say"}, {registry.ToolQuery{Risk: registry.Reads}, ""},
		{registry.ToolQuery{Scope: "tool:say"}, "crm/say orders/say"}, {registry.ToolQuery{Role: "none"}, ""},
	} {
		if got := tools(c.q); got != c.want {
			s.Errorf("%+v: %s, want %s", c.q, got, c.want)
		}
	}
	ts, err := s.Store.Tools(ctx, s.a, registry.ToolQuery{Limit: 1})
	if err != nil || ts[0].Published || ts[0].Revision != 1 || string(ts[0].Tool.InputSchema) != `{"type":"object","properties":{"z":{},"a":{}}}` || len(ts[0].Roles) != 0 {
		s.Errorf("%+v, %v", ts, err)
	}
}

func (s *suite) deleting() {
	ctx := s.Context()
	srv := s.put(s.a, "orders")
	s.published(srv, "x")
	if e, err := s.Store.ServerEffects(ctx, s.a, srv.ID); err != nil || len(e) != 2 || e[1].Count != 1 {
		s.Errorf("%+v, %v", e, err)
	}
	_, err := s.Store.ServerEffects(ctx, s.b, srv.ID)
	s.code("effects", err, fault.NotFound)
	op, err := s.Store.BeginDeleteServer(ctx, s.a, srv.ID, "dana", time.Now())
	s.must(err)
	if op.Kind != tenants.DeleteServerOperation || op.Target != string(srv.ID) || op.Name != "orders" || op.CreatedBy != "dana" || op.TenantSlug == "" {
		s.Errorf("%+v", op)
	}
	if again, err := s.Store.BeginDeleteServer(ctx, s.a, srv.ID, "eve", time.Now()); err != nil || again.ID != op.ID {
		s.Errorf("asked for twice: %+v, %v", again, err)
	}
	_, err = s.Store.Hosted(ctx, s.a, "orders")
	s.code("hosted", err, fault.NotFound)
	if hs, err := s.Store.HostedAll(ctx, s.a); err != nil || len(hs) != 0 {
		s.Errorf("%+v, %v", hs, err)
	}
	if hs, err := s.Store.Current(ctx, s.a); err != nil || len(hs) != 0 {
		s.Errorf("%+v, %v", hs, err)
	}
	if ts, err := s.Store.Tools(ctx, s.a, registry.ToolQuery{Limit: 5}); err != nil || len(ts) != 0 {
		s.Errorf("%+v, %v", ts, err)
	}
	if got, err := s.Store.ServerBySlug(ctx, s.a, "orders"); err != nil || got.State() != registry.Deleting {
		s.Errorf("%+v, %v", got, err)
	}
	for what, change := range map[string]func() error{
		"put": func() error {
			_, err := s.Store.PutServer(ctx, s.a, registry.Server{Slug: "orders", Kind: "echo", Title: "Back"})
			return err
		},
		"publish":  func() error { _, _, err := s.Store.Publish(ctx, s.a, s.revision(srv, "y")); return err },
		"stage":    func() error { _, _, err := s.Store.Stage(ctx, s.a, s.revision(srv, "y")); return err },
		"activate": func() error { _, err := s.Store.Activate(ctx, s.a, srv.ID, 1); return err },
	} {
		s.code(what, change(), fault.Conflict)
	}
	s.must(s.Store.DeleteServer(ctx, s.a, srv.ID))
	s.put(s.a, "orders") // the slug is free again
}

func (s *suite) same() {
	ctx := s.Context()
	a, b := s.put(s.a, "orders"), s.put(s.b, "orders")
	ra := s.published(a, "of a")
	s.published(b, "of b")
	h, err := s.Store.Hosted(ctx, s.b, "orders")
	s.must(err)
	if h.Server.ID != b.ID || h.Server.Tenant != s.b || h.Revision.Definition.Tools[0].Description != "of b" {
		s.Errorf("%+v", h)
	}
	_, err = s.Store.Server(ctx, s.b, a.ID)
	s.code("server", err, fault.NotFound)
	_, err = s.Store.Revision(ctx, s.b, ra.ID)
	s.code("revision", err, fault.NotFound)
	if rs, err := s.Store.Revisions(ctx, s.b, a.ID); err != nil || len(rs) != 0 {
		s.Errorf("%v, %v", rs, err)
	}
	_, _, err = s.Store.Publish(ctx, s.b, s.revision(a, "stolen"))
	s.code("publish", err, fault.NotFound)
	s.code("delete", s.Store.DeleteServer(ctx, s.b, a.ID), fault.NotFound)
	if h, err := s.Store.Hosted(ctx, s.a, "orders"); err != nil || h.Revision.ID != ra.ID {
		s.Errorf("touched from the other tenant: %+v, %v", h, err)
	}
}

func (s *suite) deleted() {
	ctx := s.Context()
	srv := s.put(s.a, "orders")
	r := s.published(srv, "x")
	s.must(s.Store.DeleteServer(ctx, s.a, srv.ID))
	_, err := s.Store.Server(ctx, s.a, srv.ID)
	s.code("server", err, fault.NotFound)
	_, err = s.Store.Revision(ctx, s.a, r.ID)
	s.code("revision", err, fault.NotFound)
	if made := s.put(s.a, "orders"); made.ID == srv.ID || made.Active != "" {
		s.Errorf("made anew: %+v", made)
	}
}

func (s *suite) unknown() {
	ctx := s.Context()
	_, err := s.Store.Server(ctx, s.a, tenants.NewServerID())
	s.code("server", err, fault.NotFound)
	_, err = s.Store.Hosted(ctx, s.a, "nothing")
	s.code("hosted", err, fault.NotFound)
	_, err = s.Store.Revision(ctx, s.a, "rv222222222222222222")
	s.code("revision", err, fault.NotFound)
	_, _, err = s.Store.Publish(ctx, s.a, s.revision(registry.Server{ID: tenants.NewServerID(), Kind: "echo"}, "x"))
	s.code("publish", err, fault.NotFound)
	s.code("delete", s.Store.DeleteServer(ctx, s.a, tenants.NewServerID()), fault.NotFound)
	_, err = s.Store.PutServer(ctx, tenants.NewID(), registry.Server{Slug: "orders", Kind: "echo", Title: "T"})
	s.code("server of no tenant", err, fault.NotFound)
}
