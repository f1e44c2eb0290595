// Package approvalstest is the contract of approvals.Store as a test: each
// implementation runs it.
package approvalstest

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/approvals"
	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

// Fixture is a store with a tenant that has a role `lead` and three people:
// Asker holds none, Lead and Other hold it. Elsewhere is another tenant.
type Fixture struct {
	Store interface {
		approvals.Store
		CollectAgreements(ctx context.Context, now time.Time) (int64, error)
	}
	Tenant, Elsewhere  tenants.ID
	Server             registry.ServerID
	Slug               string
	Asker, Lead, Other tenants.User
	// TakeRole takes the role from a person.
	TakeRole func(t *testing.T, u tenants.User)
}

var began = time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)

// Run runs the suite; each part has a store of its own.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	for name, test := range map[string]func(*suite){
		"ConfirmationIsSpentOnce":        (*suite).spentOnce,
		"RepeatIsTheSameCall":            (*suite).repeat,
		"OneOfManyIsConfirmed":           (*suite).race,
		"UnusedConfirmationsAreBounded":  (*suite).bounded,
		"DroppedConfirmationIsUnknown":   (*suite).dropped,
		"ApprovalIsAskedOnce":            (*suite).askedOnce,
		"ApprovalRunsOneCall":            (*suite).runsOne,
		"DenialStandsUntilItsEnd":        (*suite).denial,
		"ApprovalExpires":                (*suite).expires,
		"ChangedCallAsksAnew":            (*suite).changed,
		"WaitingQuestionsAreBounded":     (*suite).waitingBounded,
		"DecisionIsFinal":                (*suite).final,
		"OneOfTwoDecides":                (*suite).twoDecide,
		"RoleThatWasTakenDecidesNothing": (*suite).roleTaken,
		"ListShowsWhatMayBeSeen":         (*suite).list,
		"LettersAreRare":                 (*suite).letters,
		"OldOnesAreCollected":            (*suite).collected,
		"OtherTenantKnowsNothing":        (*suite).otherTenant,
	} {
		t.Run(name, func(t *testing.T) { test(&suite{T: t, Fixture: open(t)}) })
	}
}

type suite struct {
	*testing.T
	Fixture
}

func (s *suite) ok(err error) {
	s.Helper()
	if err != nil {
		s.Fatal(err)
	}
}

func (s *suite) code(err error, c fault.Code, words string) {
	s.Helper()
	if !fault.HasCode(err, c) || !strings.Contains(fault.Of(err).Message, words) {
		s.Errorf("got %v, want %s: …%s…", err, c, words)
	}
}

func (s *suite) subject(arguments string) approvals.Subject {
	return approvals.Subject{User: s.Asker.ID, Server: s.Server, Tool: "refund", Definition: "d1", Request: approvals.RequestHash([]byte(arguments))}
}

func use(key string, at time.Time) approvals.Use {
	return approvals.Use{Key: approvals.HashOf(key), Call: "ca" + key, At: at, Until: at.Add(time.Hour)}
}

func (s *suite) confirmation(at time.Time) (secret.Text, approvals.Hash) {
	token, hash := approvals.NewToken()
	s.ok(s.Store.CreateConfirmation(s.Context(), s.Tenant, approvals.Confirmation{ID: tenants.RandomID("cn"), Token: hash, Subject: s.subject(`{"n":1}`), Grant: "gr1", CreatedAt: at, ExpiresAt: at.Add(5 * time.Minute)}))
	return token, hash
}

func (s *suite) spentOnce() {
	_, token := s.confirmation(began)
	spend := func(sub approvals.Subject, grant string, u approvals.Use) error {
		_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, token, sub, grant, u)
		return err
	}
	other, tool, changed := s.subject(`{"n":2}`), s.subject(`{"n":1}`), s.subject(`{"n":1}`)
	tool.Tool, changed.Definition = "other", "d2"
	stranger := s.subject(`{"n":1}`)
	stranger.User = s.Lead.ID
	good := s.subject(`{"n":1}`)
	s.code(spend(other, "gr1", use("k", began)), fault.ConfirmationInvalid, "other arguments")
	s.code(spend(tool, "gr1", use("k", began)), fault.ConfirmationInvalid, "another tool")
	s.code(spend(changed, "gr1", use("k", began)), fault.ConfirmationInvalid, "before it changed")
	s.code(spend(stranger, "gr1", use("k", began)), fault.ConfirmationInvalid, "not known")
	s.code(spend(good, "gr2", use("k", began)), fault.ConfirmationInvalid, "not known")
	s.code(spend(good, "gr1", use("k", began.Add(5*time.Minute))), fault.ConfirmationInvalid, "expired")
	s.ok(spend(good, "gr1", use("k", began.Add(time.Minute))))
	s.code(spend(good, "gr1", use("k2", began.Add(time.Minute))), fault.ConfirmationInvalid, "used already")
}

func (s *suite) repeat() {
	_, token := s.confirmation(began)
	for _, at := range []time.Duration{time.Minute, 2 * time.Minute, 30 * time.Minute} {
		_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, token, s.subject(`{"n":1}`), "gr1", use("k", began.Add(at)))
		s.ok(err)
	}
	// By now nobody knows the key any more: the call would run again.
	_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, token, s.subject(`{"n":1}`), "gr1", use("k", began.Add(61*time.Minute)))
	s.code(err, fault.ConfirmationInvalid, "used already")
}

func (s *suite) race() {
	_, token := s.confirmation(began)
	var mu sync.Mutex
	passed := 0
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			_, err := s.Store.UseConfirmation(context.Background(), s.Tenant, token, s.subject(`{"n":1}`), "gr1", use(string(rune('a'+i)), began))
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				passed++
			} else if !fault.HasCode(err, fault.ConfirmationInvalid) {
				s.Error(err)
			}
		})
	}
	wg.Wait()
	if passed != 1 {
		s.Errorf("%d calls passed with one confirmation", passed)
	}
}

func (s *suite) bounded() {
	_, used := s.confirmation(began)
	_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, used, s.subject(`{"n":1}`), "gr1", use("k", began))
	s.ok(err)
	_, first := s.confirmation(began.Add(time.Second))
	_, second := s.confirmation(began.Add(2 * time.Second))
	for i := range approvals.MaxUnused - 1 {
		s.confirmation(began.Add(time.Duration(i+3) * time.Second))
	}
	at := began.Add(2 * time.Minute)
	_, err = s.Store.UseConfirmation(s.Context(), s.Tenant, first, s.subject(`{"n":1}`), "gr1", use("x", at))
	s.code(err, fault.NotFound, "")
	_, err = s.Store.UseConfirmation(s.Context(), s.Tenant, second, s.subject(`{"n":1}`), "gr1", use("x", at))
	s.ok(err)
	_, err = s.Store.UseConfirmation(s.Context(), s.Tenant, used, s.subject(`{"n":1}`), "gr1", use("k", at))
	s.ok(err)
}

func (s *suite) dropped() {
	_, token := s.confirmation(began)
	s.ok(s.Store.DropConfirmation(s.Context(), s.Tenant, token, s.Lead.ID)) // not hers
	s.ok(s.Store.DropConfirmation(s.Context(), s.Tenant, approvals.HashOf("none"), s.Asker.ID))
	s.ok(s.Store.DropConfirmation(s.Context(), s.Tenant, token, s.Asker.ID))
	_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, token, s.subject(`{"n":1}`), "gr1", use("k", began))
	s.code(err, fault.NotFound, "")
}

func (s *suite) question(arguments string, at time.Time) approvals.Approval {
	return approvals.Approval{
		ID: tenants.RandomID("ap"), Subject: s.subject(arguments), Client: "cl", Grant: "gr1", Title: "Refund", Risk: registry.Destructive,
		Arguments: []byte(arguments), Message: "Refund it.", Role: "lead", CallID: "ca1", RequestedAt: at, ExpiresAt: at.Add(time.Hour),
	}
}

func (s *suite) ask(q approvals.Approval, u approvals.Use, want approvals.Outcome) approvals.Approval {
	s.Helper()
	a, outcome, err := s.Store.AskApproval(s.Context(), s.Tenant, q, u)
	s.ok(err)
	if outcome != want {
		s.Fatalf("the outcome is %d, want %d: %+v", outcome, want, a)
	}
	return a
}

func (s *suite) decide(id string, approve bool, by tenants.User, at time.Time) (approvals.Approval, error) {
	return s.Store.DecideApproval(s.Context(), s.Tenant, id, approvals.Decision{
		Approve: approve, By: approvals.Decider{Name: by.Email, User: by.ID, Roles: []string{"lead"}}, At: at, Reason: "because",
	})
}

func (s *suite) askedOnce() {
	var mu sync.Mutex
	ids, asked := map[string]bool{}, 0
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			a, outcome, err := s.Store.AskApproval(context.Background(), s.Tenant, s.question(`{"n":1}`, began), use("k", began))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				s.Error(err)
			}
			ids[a.ID] = true
			if outcome == approvals.Asked {
				asked++
			}
		})
	}
	wg.Wait()
	if len(ids) != 1 || asked != 1 {
		s.Errorf("the same call asked %d times, for %d approvals", asked, len(ids))
	}
	a := s.ask(s.question(`{ "n": 1.0 }`, began), use("k", began), approvals.Waits)
	if a.Email != s.Asker.Email || a.ServerSlug != s.Slug || string(a.Arguments) != `{"n":1}` || a.Message != "Refund it." || !a.RequestedAt.Equal(began) || a.Risk != registry.Destructive {
		s.Errorf("%+v", a)
	}
}

func (s *suite) runsOne() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, true, s.Lead, began.Add(time.Minute))
	s.ok(err)
	at := began.Add(2 * time.Minute)
	var mu sync.Mutex
	allowed, anew := 0, 0
	var wg sync.WaitGroup
	for i := range 12 {
		wg.Go(func() {
			_, outcome, err := s.Store.AskApproval(context.Background(), s.Tenant, s.question(`{"n":1}`, at), use(string(rune('a'+i)), at))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil:
				s.Error(err)
			case outcome == approvals.Allows:
				allowed++
			case outcome == approvals.Asked:
				anew++
			}
		})
	}
	wg.Wait()
	if allowed != 1 || anew != 1 {
		s.Errorf("one approval let %d calls through, and was asked for %d times anew", allowed, anew)
	}
	used, err := s.Store.Approval(s.Context(), s.Tenant, a.ID)
	s.ok(err)
	if used.State != approvals.Spent || used.UsedCallID == "" {
		s.Errorf("%+v", used)
	}
}

func (s *suite) denial() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, false, s.Lead, began.Add(time.Minute))
	s.ok(err)
	denied := s.ask(s.question(`{"n":1}`, began), use("k2", began.Add(59*time.Minute)), approvals.Refuses)
	if denied.Reason != "because" || denied.DecidedBy != s.Lead.Email {
		s.Errorf("%+v", denied)
	}
	at := began.Add(time.Hour)
	s.ask(s.question(`{"n":1}`, at), use("k2", at), approvals.Asked)
}

func (s *suite) expires() {
	late := began.Add(time.Hour)
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, true, s.Lead, late)
	s.code(err, fault.Conflict, "expired")
	b := s.ask(s.question(`{"n":1}`, late), use("k", late), approvals.Asked)
	_, err = s.decide(b.ID, true, s.Lead, late.Add(time.Minute))
	s.ok(err)
	later := late.Add(time.Hour)
	s.ask(s.question(`{"n":1}`, later), use("k", later), approvals.Asked) // what was approved and not used has run out
}

func (s *suite) changed() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, true, s.Lead, began)
	s.ok(err)
	for name, change := range map[string]func(*approvals.Approval){
		"arguments":  func(q *approvals.Approval) { q.Request = approvals.RequestHash([]byte(`{"n":2}`)) },
		"tool":       func(q *approvals.Approval) { q.Tool = "other" },
		"definition": func(q *approvals.Approval) { q.Definition = "d2" },
		"person":     func(q *approvals.Approval) { q.User = s.Other.ID },
	} {
		q := s.question(`{"n":1}`, began)
		if change(&q); s.ask(q, use("k", began), approvals.Asked).ID == a.ID {
			s.Error(name)
		}
	}
	s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Allows)
}

func (s *suite) waitingBounded() {
	numbered := func(i int) string { return `{"n":` + strings.Repeat("1", i+1) + `}` }
	for i := range approvals.MaxPending {
		s.ask(s.question(numbered(i), began), use("k", began), approvals.Asked)
	}
	_, _, err := s.Store.AskApproval(s.Context(), s.Tenant, s.question(`{"n":2}`, began), use("k", began))
	s.code(err, fault.LimitReached, "wait for approval")
	s.ask(s.question(numbered(0), began), use("k", began), approvals.Waits) // is there already
	other := s.question(`{"n":2}`, began)
	other.User = s.Other.ID
	s.ask(other, use("k", began), approvals.Asked)
	late := began.Add(time.Hour)
	s.ask(s.question(`{"n":2}`, late), use("k", late), approvals.Asked) // the others have expired
}

func (s *suite) final() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, true, s.Asker, began)
	s.code(err, fault.RoleNotAllowed, "yourself")
	decided, err := s.decide(a.ID, true, s.Lead, began.Add(time.Minute))
	s.ok(err)
	if decided.State != approvals.Approved || !decided.DecidedAt.Equal(began.Add(time.Minute)) {
		s.Errorf("%+v", decided)
	}
	again, err := s.decide(a.ID, true, s.Lead, began.Add(2*time.Minute))
	s.ok(err)
	if !again.DecidedAt.Equal(decided.DecidedAt) {
		s.Error("the same decision again changed it")
	}
	_, err = s.decide(a.ID, false, s.Lead, began.Add(2*time.Minute))
	s.code(err, fault.Conflict, "final")
	_, err = s.decide(a.ID, true, s.Other, began.Add(2*time.Minute))
	s.code(err, fault.Conflict, s.Lead.Email)
	_, err = s.decide(tenants.RandomID("ap"), true, s.Lead, began)
	s.code(err, fault.NotFound, "")
}

func (s *suite) twoDecide() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	errs := make([]error, 2)
	var wg sync.WaitGroup
	for i, by := range []tenants.User{s.Lead, s.Other} {
		wg.Go(func() {
			_, errs[i] = s.Store.DecideApproval(context.Background(), s.Tenant, a.ID, approvals.Decision{
				Approve: i == 0, By: approvals.Decider{Name: by.Email, User: by.ID}, At: began})
		})
	}
	wg.Wait()
	if (errs[0] == nil) == (errs[1] == nil) {
		s.Errorf("of two that decided at once: %v", errs)
	}
}

func (s *suite) roleTaken() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	s.TakeRole(s.T, s.Lead)
	_, err := s.decide(a.ID, true, s.Lead, began) // who asks still thinks that she holds it
	s.code(err, fault.RoleNotAllowed, "role lead")
}

func (s *suite) list() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	b := s.ask(s.question(`{"n":2}`, began.Add(time.Second)), use("k", began), approvals.Asked)
	mine := s.question(`{"n":3}`, began.Add(2*time.Second))
	mine.User, mine.Role = s.Other.ID, "nobody"
	c := s.ask(mine, use("k", began), approvals.Asked)
	_, err := s.decide(a.ID, false, s.Lead, began.Add(time.Minute))
	s.ok(err)
	all := approvals.Visible{All: true}
	now := began.Add(2 * time.Minute)
	for name, test := range map[string]struct {
		q    approvals.Query
		want []string
	}{
		"all":             {approvals.Query{Visible: all}, []string{c.ID, b.ID, a.ID}},
		"pending":         {approvals.Query{Status: approvals.Pending, Visible: all}, []string{c.ID, b.ID}},
		"denied":          {approvals.Query{Status: approvals.Denied, Visible: all}, []string{a.ID}},
		"expired later":   {approvals.Query{Status: approvals.Expired, At: began.Add(2 * time.Hour), Visible: all}, []string{c.ID, b.ID}},
		"server":          {approvals.Query{Server: s.Slug, Visible: all}, []string{c.ID, b.ID, a.ID}},
		"other server":    {approvals.Query{Server: "other", Visible: all}, nil},
		"other tool":      {approvals.Query{Tool: "other", Visible: all}, nil},
		"own":             {approvals.Query{Visible: approvals.Visible{User: s.Asker.ID}}, []string{b.ID, a.ID}},
		"by role":         {approvals.Query{Visible: approvals.Visible{User: s.Lead.ID, Roles: []string{"lead"}}}, []string{b.ID, a.ID}},
		"nobody's":        {approvals.Query{}, nil},
		"page":            {approvals.Query{Visible: all, Limit: 1}, []string{c.ID}},
		"after that page": {approvals.Query{Visible: all, BeforeAt: c.RequestedAt, BeforeID: c.ID}, []string{b.ID, a.ID}},
	} {
		if test.q.At.IsZero() {
			test.q.At = now
		}
		if test.q.Limit == 0 {
			test.q.Limit = 10
		}
		found, err := s.Store.Approvals(s.Context(), s.Tenant, test.q)
		s.ok(err)
		var got []string
		for _, a := range found {
			got = append(got, a.ID)
		}
		if !slices.Equal(got, test.want) {
			s.Errorf("%s: %v, want %v", name, got, test.want)
		}
	}
}

func (s *suite) letters() {
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	told := func(a approvals.Approval, at time.Time) (out []string) {
		us, err := s.Store.ApproversToTell(s.Context(), s.Tenant, a, at)
		s.ok(err)
		for _, u := range us {
			out = append(out, u.Email)
		}
		slices.Sort(out)
		return out
	}
	both := []string{s.Lead.Email, s.Other.Email}
	slices.Sort(both)
	if got := told(a, began); !slices.Equal(got, both) {
		s.Errorf("told %v, want %v", got, both)
	}
	if got := told(a, began.Add(59*time.Second)); len(got) > 0 {
		s.Errorf("told again within the minute: %v", got)
	}
	if got := told(a, began.Add(time.Minute)); !slices.Equal(got, both) {
		s.Errorf("not told after a minute: %v", got)
	}
	own := a
	own.User, own.Tool = s.Lead.ID, "other"
	if got := told(own, began); !slices.Equal(got, []string{s.Other.Email}) {
		s.Errorf("of a call of her own, told %v", got)
	}
}

func (s *suite) collected() {
	_, old := s.confirmation(began)
	_, kept := s.confirmation(began)
	_, err := s.Store.UseConfirmation(s.Context(), s.Tenant, kept, s.subject(`{"n":1}`), "gr1", use("k", began.Add(time.Minute)))
	s.ok(err)
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	now := began.Add(5*time.Minute + approvals.KnownFor + time.Second)
	_, err = s.Store.CollectAgreements(s.Context(), now)
	s.ok(err)
	_, err = s.Store.UseConfirmation(s.Context(), s.Tenant, old, s.subject(`{"n":1}`), "gr1", use("k", now))
	s.code(err, fault.NotFound, "")
	_, err = s.Store.UseConfirmation(s.Context(), s.Tenant, kept, s.subject(`{"n":1}`), "gr1", use("k", now))
	s.code(err, fault.ConfirmationInvalid, "used already") // its hour has ended, and it is known for one more
	_, err = s.Store.Approval(s.Context(), s.Tenant, a.ID)
	s.ok(err)
	_, err = s.Store.CollectAgreements(s.Context(), began.Add(approvals.KeptFor+time.Second))
	s.ok(err)
	_, err = s.Store.Approval(s.Context(), s.Tenant, a.ID)
	s.code(err, fault.NotFound, "")
}

func (s *suite) otherTenant() {
	_, token := s.confirmation(began)
	a := s.ask(s.question(`{"n":1}`, began), use("k", began), approvals.Asked)
	_, err := s.Store.UseConfirmation(s.Context(), s.Elsewhere, token, s.subject(`{"n":1}`), "gr1", use("k", began))
	s.code(err, fault.NotFound, "")
	_, err = s.Store.Approval(s.Context(), s.Elsewhere, a.ID)
	s.code(err, fault.NotFound, "")
	_, err = s.Store.DecideApproval(s.Context(), s.Elsewhere, a.ID, approvals.Decision{Approve: true, By: approvals.Decider{User: s.Lead.ID}, At: began})
	s.code(err, fault.NotFound, "")
}
