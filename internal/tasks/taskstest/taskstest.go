// Package taskstest is the contract of tasks.Store as a test: each
// implementation runs it.
package taskstest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/idempotency"
	"latchkey/internal/registry"
	"latchkey/internal/tasks"
	"latchkey/internal/tenants"
)

// Fixture is a store with two tenants that have a server of the same slug and a
// person each. It has no tasks.
type Fixture struct {
	Store        tasks.Store
	Calls        idempotency.CallStore
	Tenant       tenants.ID
	Server       registry.ServerID
	User         tenants.User
	Elsewhere    tenants.ID
	ElsewhereOf  registry.ServerID
	ElsewhereWho tenants.User
	// Suspend keeps a tenant from everything.
	Suspend func(t *testing.T, id tenants.ID)
}

// Run runs the suite; each part has a store of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*suite){
		"WhatIsStoredComesBack":       (*suite).roundTrip,
		"OneOfManyClaims":             (*suite).race,
		"LeaseThatRanOutIsClaimed":    (*suite).leaseLost,
		"FencedRunnerChangesNothing":  (*suite).fenced,
		"EndIsFinal":                  (*suite).final,
		"CancelMeetsEnd":              (*suite).cancelRace,
		"CancelledInTheQueueIsDue":    (*suite).cancelQueued,
		"FullRunnerTakesOnlyEnds":     (*suite).onlyEnds,
		"GivenBackCleanCountsNoRun":   (*suite).putBack,
		"QuestionsAreAnsweredOnce":    (*suite).questions,
		"QuestionsOfALostRunAreVoid":  (*suite).lostQuestions,
		"QuestionsAreBounded":         (*suite).boundedQuestions,
		"NameIsTakenOnce":             (*suite).named,
		"EndFreesOrKeepsTheName":      (*suite).nameEnds,
		"TasksOfAPersonAreBounded":    (*suite).bounded,
		"SmallTenantIsNotHeldUp":      (*suite).fair,
		"SuspendedTenantWaits":        (*suite).suspended,
		"ListIsNarrowedAndInOrder":    (*suite).list,
		"OnlyWhatHasEndedIsCollected": (*suite).collected,
		"OtherTenantKnowsNothing":     (*suite).otherTenant,
		"OpenTasksAreCounted":         (*suite).counted,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Fixture: open(t)}) })
	}
}

type suite struct {
	*testing.T
	Fixture
}

const lease = time.Minute

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

// is checks the code of a failure.
func (s *suite) is(err error, code fault.Code) {
	s.Helper()
	if !fault.HasCode(err, code) {
		s.Fatalf("got %v, want %s", err, code.Name)
	}
}

// task is one that may be stored. Times are of the database's clock and the
// test's alike: one machine.
func (s *suite) task(change ...func(*tasks.Task)) tasks.Task {
	now := time.Now().UTC().Truncate(time.Microsecond)
	t := tasks.Task{
		ID: tasks.NewID(), Tenant: s.Tenant, Server: s.Server, User: s.User.ID, Client: "app", Grant: "gr1", Tool: "export", Scope: "tool:export",
		Revision: "rv1", Definition: "hash", Risk: registry.Writes, CallID: tenants.RandomID("ca"), Trace: "00-x", Notes: `{"approval":"ap1"}`,
		Timeout: time.Minute, TTL: time.Hour, Asks: []string{"elicitation/create"}, Upstream: "lk-1", Input: []byte("sealed"), CreatedAt: now, UpdatedAt: now,
		Deadline: now.Add(time.Hour), ExpiresAt: now.Add(2 * time.Hour),
	}
	for _, c := range change {
		c(&t)
	}
	return t
}

func (s *suite) create(change ...func(*tasks.Task)) tasks.Task {
	s.Helper()
	t := s.task(change...)
	_, taken, err := s.Store.CreateTask(s.Context(), t, nil, tasks.Bounds{PerTool: 1000})
	s.ok(err)
	if !taken {
		s.Fatal("a task without a name was not stored")
	}
	return t
}

func (s *suite) claim(owner string) tasks.Task {
	s.Helper()
	t, ok, err := s.Store.ClaimTask(s.Context(), owner, lease, false)
	s.ok(err)
	if !ok {
		s.Fatal("nothing was due")
	}
	return t
}

func (s *suite) none() {
	s.Helper()
	if t, ok, err := s.Store.ClaimTask(s.Context(), "nobody", lease, false); ok || err != nil {
		s.Fatalf("claimed %s in %s, %v", t.ID, t.State, err)
	}
}

func (s *suite) get(id string) tasks.Task {
	s.Helper()
	t, err := s.Store.Task(s.Context(), s.Tenant, id)
	s.ok(err)
	return t
}

func (s *suite) roundTrip() {
	want := s.create()
	got := s.get(want.ID)
	if got.TenantSlug == "" || got.ServerSlug == "" || got.Email != s.User.Email || got.Client != "app" || got.Grant != "gr1" || got.Tool != "export" || got.Scope != want.Scope ||
		got.Revision != want.Revision || got.Definition != "hash" || got.Risk != want.Risk || got.CallID != want.CallID || got.Trace != want.Trace || got.Notes != want.Notes ||
		got.Timeout != want.Timeout || got.TTL != want.TTL || !slices.Equal(got.Asks, want.Asks) || got.Upstream != want.Upstream || string(got.Input) != "sealed" ||
		got.State != tasks.Queued || !got.CreatedAt.Equal(want.CreatedAt) || !got.Deadline.Equal(want.Deadline) || !got.ExpiresAt.Equal(want.ExpiresAt) || got.Name != nil {
		s.Errorf("%+v", got)
	}
	if of, err := s.Store.TaskOfCall(s.Context(), s.Tenant, want.CallID); err != nil || of.ID != want.ID {
		s.Errorf("%v %v", of.ID, err)
	}
	_, err := s.Store.Task(s.Context(), s.Tenant, tasks.NewID())
	s.is(err, fault.NotFound)
}

func (s *suite) race() {
	const n = 6
	for range n {
		s.create()
	}
	var mu sync.Mutex
	got := map[string]int{}
	var all sync.WaitGroup
	for i := range 4 {
		all.Go(func() {
			for empty := 0; empty < 20; {
				t, ok, err := s.Store.ClaimTask(s.Context(), fmt.Sprint("edge-", i), lease, false)
				if err != nil {
					s.Error(err)
					return
				}
				if !ok {
					empty++
					continue
				}
				mu.Lock()
				got[t.ID]++
				mu.Unlock()
			}
		})
	}
	all.Wait()
	if len(got) != n {
		s.Errorf("%d of %d were claimed", len(got), n)
	}
	for id, times := range got {
		if times != 1 {
			s.Errorf("%s was claimed %d times", id, times)
		}
	}
}

// lapse lets a claim's lease run out.
func (s *suite) lapse(t *tasks.Task) {
	s.Helper()
	_, err := s.Store.KeepTask(s.Context(), t, -time.Second, t.Message)
	s.ok(err)
}

func (s *suite) leaseLost() {
	s.create()
	first := s.claim("a")
	s.none()
	s.ok(s.Store.BeginTask(s.Context(), &first, lease))
	if seen, err := s.Store.KeepTask(s.Context(), &first, lease, "half"); err != nil || seen.CancelAsked {
		s.Fatal(seen, err)
	}
	if got := s.get(first.ID); got.State != tasks.Running || got.Message != "half" || got.Attempt != 1 || got.Runs != 1 || !got.Started || got.StartedAt.IsZero() {
		s.Errorf("%+v", got)
	}
	s.none()
	s.lapse(&first)
	second := s.claim("b")
	if second.ID != first.ID || second.Attempt != 2 || second.Owner != "b" || !second.Started || second.Runs != 1 {
		s.Errorf("%+v", second)
	}
}

func (s *suite) fenced() {
	s.create()
	first := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &first, lease))
	s.ok(s.Store.AskTask(s.Context(), &first, tasks.Question{Key: "q1", Sealed: []byte("?")}))
	s.lapse(&first)
	second := s.claim("a") // the same edge is no excuse
	for what, do := range map[string]func() error{
		"begin":    func() error { return s.Store.BeginTask(s.Context(), &first, lease) },
		"keep":     func() error { _, err := s.Store.KeepTask(s.Context(), &first, lease, "x"); return err },
		"put back": func() error { return s.Store.PutBack(s.Context(), &first, 0, true) },
		"ask": func() error {
			return s.Store.AskTask(s.Context(), &first, tasks.Question{Key: "q2", Sealed: []byte("?")})
		},
		"answer":   func() error { _, _, err := s.Store.TakeAnswer(s.Context(), &first, "q1"); return err },
		"withdraw": func() error { return s.Store.WithdrawQuestion(s.Context(), &first, "q1") },
		"end":      func() error { return s.Store.EndTask(s.Context(), &first, s.done()) },
	} {
		if err := do(); !fault.HasCode(err, fault.Conflict) {
			s.Errorf("%s: %v", what, err)
		}
	}
	if got := s.get(second.ID); got.State != tasks.Running || got.Attempt != 2 || got.Message == "x" {
		s.Errorf("%+v", got)
	}
	s.ok(s.Store.EndTask(s.Context(), &second, s.done()))
}

func (s *suite) done() tasks.End {
	now := time.Now().UTC().Truncate(time.Microsecond)
	return tasks.End{
		State: tasks.Completed, Message: "It is done.", Result: []byte("sealed result"), At: now, Name: idempotency.End{State: idempotency.Done, ExpiresAt: now.Add(time.Hour)},
	}
}

func (s *suite) final() {
	s.create()
	t := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	e := s.done()
	s.ok(s.Store.EndTask(s.Context(), &t, e))
	for what, err := range map[string]error{
		"end again": s.Store.EndTask(s.Context(), &t, tasks.End{State: tasks.Failed, At: e.At}),
		"put back":  s.Store.PutBack(s.Context(), &t, 0, true),
		"ask":       s.Store.AskTask(s.Context(), &t, tasks.Question{Key: "q", Sealed: []byte("?")}),
	} {
		if !fault.HasCode(err, fault.Conflict) {
			s.Errorf("%s: %v", what, err)
		}
	}
	if _, err := s.Store.CancelTask(s.Context(), s.Tenant, t.ID, "admin", e.At); err != nil {
		s.Error(err)
	}
	got := s.get(t.ID)
	if got.State != tasks.Completed || string(got.Result) != "sealed result" || got.CancelAsked || len(got.Input) != 0 || !got.EndedAt.Equal(e.At) || !got.ExpiresAt.Equal(e.At.Add(t.TTL)) {
		s.Errorf("%+v", got)
	}
	s.none()
}

// Of a word to stop and an end that meet, the end stands, and either nothing was
// asked or it came in time to be seen.
func (s *suite) cancelRace() {
	for range 10 {
		s.create()
		t := s.claim("a")
		s.ok(s.Store.BeginTask(s.Context(), &t, lease))
		var all sync.WaitGroup
		all.Go(func() {
			if _, err := s.Store.CancelTask(s.Context(), s.Tenant, t.ID, "", time.Now()); err != nil {
				s.Error(err)
			}
		})
		all.Go(func() {
			if err := s.Store.EndTask(s.Context(), &t, s.done()); err != nil {
				s.Error(err)
			}
		})
		all.Wait()
		if got := s.get(t.ID); got.State != tasks.Completed || got.Result == nil {
			s.Fatalf("%+v", got)
		}
	}
}

func (s *suite) cancelQueued() {
	t := s.create()
	held := s.claim("a")
	s.ok(s.Store.PutBack(s.Context(), &held, 30*time.Minute, true))
	s.none()
	got, err := s.Store.CancelTask(s.Context(), s.Tenant, t.ID, "an admin", time.Now())
	s.ok(err)
	if !got.CancelAsked || got.CancelledBy != "an admin" || got.State != tasks.Queued {
		s.Errorf("%+v", got)
	}
	if _, err := s.Store.CancelTask(s.Context(), s.Tenant, t.ID, "another", time.Now()); err != nil {
		s.Error(err)
	}
	claimed := s.claim("a")
	if claimed.ID != t.ID || claimed.Next(time.Now()) != tasks.Cancel || claimed.CancelledBy != "an admin" {
		s.Errorf("%+v", claimed)
	}
	_, err = s.Store.CancelTask(s.Context(), s.Tenant, tasks.NewID(), "", time.Now())
	s.is(err, fault.NotFound)
}

func (s *suite) onlyEnds() {
	s.create()
	stop := s.create()
	late := s.create(func(t *tasks.Task) { t.Deadline = t.CreatedAt.Add(-time.Second) })
	_, err := s.Store.CancelTask(s.Context(), s.Tenant, stop.ID, "", time.Now())
	s.ok(err)
	var got []string
	for {
		t, ok, err := s.Store.ClaimTask(s.Context(), "full", lease, true)
		s.ok(err)
		if !ok {
			break
		}
		got = append(got, t.ID)
	}
	slices.Sort(got)
	want := []string{stop.ID, late.ID}
	slices.Sort(want)
	if !slices.Equal(got, want) {
		s.Errorf("claimed %v, want %v", got, want)
	}
}

func (s *suite) putBack() {
	s.create()
	t := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	s.ok(s.Store.PutBack(s.Context(), &t, 0, true))
	t = s.claim("a")
	if t.Started || t.Runs != 0 || t.Attempt != 2 {
		s.Errorf("clean: %+v", t)
	}
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	s.ok(s.Store.PutBack(s.Context(), &t, 0, false))
	t = s.claim("a")
	if !t.Started || t.Runs != 1 {
		s.Errorf("not clean: %+v", t)
	}
	// What was begun before stays in doubt, however clean this one was.
	s.ok(s.Store.PutBack(s.Context(), &t, 0, true))
	t = s.claim("a")
	if !t.Started || t.Runs != 1 {
		s.Errorf("clean after one that was not: %+v", t)
	}
}

func (s *suite) questions() {
	s.create()
	t := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	for _, key := range []string{"q1", "q2"} {
		s.ok(s.Store.AskTask(s.Context(), &t, tasks.Question{Key: key, Sealed: []byte("? " + key)}))
	}
	s.is(s.Store.AskTask(s.Context(), &t, tasks.Question{Key: "q1", Sealed: []byte("again")}), fault.Conflict)
	if got := s.get(t.ID); got.State != tasks.Asking || len(got.Questions) != 2 || string(got.Questions[0].Sealed) != "? q1" {
		s.Fatalf("%+v", got)
	}
	answer := func(key, text string) int {
		s.Helper()
		n, err := s.Store.AnswerTask(s.Context(), s.Tenant, t.ID, []tasks.Answer{{Key: key, Sealed: []byte(text)}}, time.Now())
		s.ok(err)
		return n
	}
	if _, ok, err := s.Store.TakeAnswer(s.Context(), &t, "q1"); ok || err != nil {
		s.Fatal(ok, err)
	}
	if n := answer("q1", "yes"); n != 1 {
		s.Errorf("%d taken", n)
	}
	if n := answer("q1", "no"); n != 0 {
		s.Error("a replayed update was taken")
	}
	if n := answer("q9", "no"); n != 0 {
		s.Error("an answer to nothing was taken")
	}
	if got := s.get(t.ID); got.State != tasks.Asking || len(got.Questions) != 1 {
		s.Errorf("one is open: %+v", got)
	}
	if sealed, ok, err := s.Store.TakeAnswer(s.Context(), &t, "q1"); !ok || string(sealed) != "yes" || err != nil {
		s.Errorf("%s %v %v", sealed, ok, err)
	}
	s.ok(s.Store.WithdrawQuestion(s.Context(), &t, "q2"))
	if got := s.get(t.ID); got.State != tasks.Running || len(got.Questions) != 0 {
		s.Errorf("none is open: %+v", got)
	}
	if n := answer("q2", "late"); n != 0 {
		s.Error("an answer to what was taken back was taken")
	}
	s.ok(s.Store.EndTask(s.Context(), &t, s.done()))
	if n := answer("q1", "after"); n != 0 {
		s.Error("a task that has ended took an answer")
	}
}

func (s *suite) lostQuestions() {
	s.create(func(t *tasks.Task) { t.Repeatable = true })
	t := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	s.ok(s.Store.AskTask(s.Context(), &t, tasks.Question{Key: "q1-1", Sealed: []byte("?")}))
	s.lapse(&t)
	t = s.claim("b")
	if got := s.get(t.ID); len(got.Questions) != 0 || got.State == tasks.Asking {
		s.Errorf("%+v", got)
	}
	if n, err := s.Store.AnswerTask(s.Context(), s.Tenant, t.ID, []tasks.Answer{{Key: "q1-1", Sealed: []byte("x")}}, time.Now()); n != 0 || err != nil {
		s.Errorf("%d, %v", n, err)
	}
}

func (s *suite) boundedQuestions() {
	s.create()
	t := s.claim("a")
	s.ok(s.Store.BeginTask(s.Context(), &t, lease))
	for i := range tasks.MaxQuestions {
		s.ok(s.Store.AskTask(s.Context(), &t, tasks.Question{Key: fmt.Sprint("q", i), Sealed: []byte("?")}))
	}
	s.is(s.Store.AskTask(s.Context(), &t, tasks.Question{Key: "more", Sealed: []byte("?")}), fault.Unanswerable)
}

func (s *suite) name(t *tasks.Task) *idempotency.Claim {
	t.Name = &idempotency.CallName{User: t.User, Server: t.Server, Key: idempotency.GivenKey("mine")}
	t.Request = idempotency.RequestHash(t.Tool, []byte(`{}`))
	return &idempotency.Claim{CallID: t.CallID, Tool: t.Tool, Request: t.Request, Upstream: "lk-" + t.CallID, Now: t.CreatedAt, RunsUntil: t.Deadline, Keep: time.Hour}
}

func (s *suite) named() {
	var mu sync.Mutex
	stored, others := []string{}, map[string]int{}
	var all sync.WaitGroup
	for range 8 {
		t := s.task()
		claim := s.name(&t)
		all.Go(func() {
			was, taken, err := s.Store.CreateTask(s.Context(), t, claim, tasks.Bounds{PerTool: 5})
			if err != nil {
				s.Error(err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			if others[was.ID]++; taken {
				stored = append(stored, t.CallID)
			}
		})
	}
	all.Wait()
	if len(stored) != 1 || len(others) != 1 || others[stored[0]] != 8 {
		s.Fatalf("%v were stored; those who asked were told of %v", stored, others)
	}
	t := s.claim("a")
	if t.Name == nil || t.Upstream != "lk-"+stored[0] || t.Name.Key != idempotency.GivenKey("mine") {
		s.Errorf("%+v", t)
	}
	s.none()
}

func (s *suite) nameEnds() {
	for _, state := range []idempotency.CallState{idempotency.Done, idempotency.Unknown, idempotency.Free} {
		t := s.task()
		claim := s.name(&t)
		t.Name.Key = idempotency.GivenKey(string(state))
		_, taken, err := s.Store.CreateTask(s.Context(), t, claim, tasks.Bounds{PerTool: 5})
		s.ok(err)
		if !taken {
			s.Fatal("not taken")
		}
		k := s.claim("a")
		e := s.done()
		e.Name = idempotency.End{State: state, ExpiresAt: e.At.Add(time.Hour)}
		if state == idempotency.Done {
			e.Name.Sealed = []byte("for repeats")
		}
		s.ok(s.Store.EndTask(s.Context(), &k, e))
		was, err := s.Calls.CallNamed(s.Context(), s.Tenant, *t.Name, e.At)
		if err != nil || was.State != state || was.ID != t.CallID || (was.Sealed != nil) != (state == idempotency.Done) {
			s.Errorf("%s: %+v, %v", state, was, err)
		}
		again := s.task()
		next := s.name(&again)
		again.Name.Key = t.Name.Key
		if _, taken, err := s.Store.CreateTask(s.Context(), again, next, tasks.Bounds{PerTool: 5}); err != nil || taken != (state == idempotency.Free) {
			s.Errorf("%s: a repeat was taken: %v, %v", state, taken, err)
		}
		if taken := state == idempotency.Free; taken {
			k := s.claim("a")
			s.ok(s.Store.EndTask(s.Context(), &k, s.done()))
		}
	}
}

func (s *suite) bounded() {
	create := func(bound int, change ...func(*tasks.Task)) error {
		t := s.task(change...)
		claim := s.name(&t)
		t.Name.Key = idempotency.GivenKey(t.ID)
		_, _, err := s.Store.CreateTask(s.Context(), t, claim, tasks.Bounds{PerTool: bound})
		if fault.HasCode(err, fault.LimitReached) {
			if _, err := s.Calls.CallNamed(s.Context(), s.Tenant, *t.Name, time.Now()); !fault.HasCode(err, fault.NotFound) {
				s.Errorf("a task that was refused has taken its name: %v", err)
			}
		}
		return err
	}
	s.ok(create(2))
	s.ok(create(2))
	s.is(create(2), fault.LimitReached)
	s.ok(create(2, func(t *tasks.Task) { t.Tool = "other" }))
	t := s.claim("a")
	s.ok(s.Store.EndTask(s.Context(), &t, s.done()))
	s.ok(create(2))
}

func (s *suite) elsewhere() tasks.Task {
	s.Helper()
	return s.create(func(t *tasks.Task) { t.Tenant, t.Server, t.User = s.Elsewhere, s.ElsewhereOf, s.ElsewhereWho.ID })
}

func (s *suite) fair() {
	for range 5 {
		s.create()
	}
	small := s.elsewhere()
	s.claim("a")
	if second := s.claim("a"); second.ID != small.ID {
		s.Errorf("a tenant with one task waits behind another's five")
	}
}

func (s *suite) suspended() {
	s.create()
	s.Suspend(s.T, s.Tenant)
	s.none()
	late := s.create(func(t *tasks.Task) { t.Deadline = t.CreatedAt.Add(-time.Second) })
	if got := s.claim("a"); got.ID != late.ID {
		s.Errorf("%+v", got)
	}
}

func (s *suite) list() {
	base := time.Now().UTC().Truncate(time.Microsecond).Add(-time.Minute)
	var ids []string
	for i := range 4 {
		t := s.create(func(t *tasks.Task) {
			t.CreatedAt = base.Add(time.Duration(i) * time.Second)
			if i == 3 {
				t.Tool = "other"
			}
		})
		ids = append(ids, t.ID)
	}
	slices.Reverse(ids)
	list := func(q tasks.Query) (out []string) {
		s.Helper()
		if q.Limit == 0 {
			q.Limit = 10
		}
		all, err := s.Store.Tasks(s.Context(), s.Tenant, q)
		s.ok(err)
		for _, t := range all {
			if len(t.Input)+len(t.Result) > 0 || t.Email == "" {
				s.Errorf("%+v", t)
			}
			out = append(out, t.ID)
		}
		return out
	}
	first := list(tasks.Query{Limit: 2})
	last := s.get(first[1])
	rest := list(tasks.Query{BeforeAt: last.CreatedAt, BeforeID: last.ID})
	if got := append(first, rest...); !slices.Equal(got, ids) {
		s.Errorf("%v, want %v", got, ids)
	}
	slug := last.ServerSlug
	for _, c := range []struct {
		q    tasks.Query
		want int
	}{{tasks.Query{Tool: "other"}, 1}, {tasks.Query{Server: slug}, 4}, {tasks.Query{Server: "nope"}, 0}, {tasks.Query{User: s.User.ID}, 4}, {tasks.Query{User: "usnobody"}, 0},
		{tasks.Query{States: []tasks.State{tasks.Queued}}, 4}, {tasks.Query{States: []tasks.State{tasks.Failed, tasks.Running}}, 0}} {
		if got := list(c.q); len(got) != c.want {
			s.Errorf("%+v: %d, want %d", c.q, len(got), c.want)
		}
	}
}

func (s *suite) collected() {
	open := s.create(func(t *tasks.Task) { t.ExpiresAt = t.CreatedAt.Add(-time.Hour) })
	s.claim("a")
	s.create()
	t := s.claim("a")
	s.ok(s.Store.EndTask(s.Context(), &t, s.done()))
	collect := func(at time.Time, want int64) {
		s.Helper()
		if n, err := s.Store.CollectTasks(s.Context(), at); err != nil || n != want {
			s.Errorf("%d collected, want %d: %v", n, want, err)
		}
	}
	collect(time.Now(), 0)
	collect(time.Now().Add(t.TTL+time.Minute), 1)
	s.get(open.ID)
	_, err := s.Store.Task(s.Context(), s.Tenant, t.ID)
	s.is(err, fault.NotFound)
}

func (s *suite) otherTenant() {
	t := s.create()
	_, err := s.Store.Task(s.Context(), s.Elsewhere, t.ID)
	s.is(err, fault.NotFound)
	_, err = s.Store.TaskOfCall(s.Context(), s.Elsewhere, t.CallID)
	s.is(err, fault.NotFound)
	_, err = s.Store.CancelTask(s.Context(), s.Elsewhere, t.ID, "", time.Now())
	s.is(err, fault.NotFound)
	_, err = s.Store.AnswerTask(s.Context(), s.Elsewhere, t.ID, nil, time.Now())
	s.is(err, fault.NotFound)
	if all, err := s.Store.Tasks(s.Context(), s.Elsewhere, tasks.Query{Limit: 10}); err != nil || len(all) != 0 {
		s.Errorf("%v %v", all, err)
	}
	k := s.claim("a")
	k.Tenant = s.Elsewhere
	s.is(s.Store.EndTask(s.Context(), &k, s.done()), fault.Conflict)
	if got := s.get(t.ID); got.CancelAsked || got.State != tasks.Running {
		s.Errorf("%+v", got)
	}
}

func (s *suite) counted() {
	s.create()
	s.elsewhere()
	t := s.claim("a")
	s.ok(s.Store.BeginTask(context.Background(), &t, lease))
	n, err := s.Store.CountTasks(s.Context())
	s.ok(err)
	if n[tasks.Queued] != 1 || n[tasks.Running] != 1 || len(n) != 2 {
		s.Errorf("%v", n)
	}
}
