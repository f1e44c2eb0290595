package approvals

import (
	"bytes"
	"encoding/json"
	"reflect"
	"testing"
	"time"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

const (
	fred = tenants.UserID("usffffffffffffffffff")
	lena = tenants.UserID("usllllllllllllllllll")
)

func TestSelfApprovalRefused(t *testing.T) {
	a := &Approval{Subject: Subject{User: fred}, Email: "fred@acme.test", Role: "lead"}
	key := func(author, by string) *callers.Key { return &callers.Key{Author: author, CreatedBy: by} }
	for name, test := range map[string]struct {
		by  Decider
		may bool
	}{
		"a holder":                                {Decider{User: lena, Roles: []string{"lead"}}, true},
		"the requester, who holds the role":       {Decider{User: fred, Roles: []string{"lead"}}, false},
		"an admin without the role":               {Decider{User: lena, Roles: []string{"admin"}}, false},
		"somebody else's key":                     {Decider{Key: key(string(lena), "lena@acme.test"), May: true}, true},
		"an operator's key":                       {Decider{Key: key(callers.ByOperator, "ops@example.test"), May: true}, true},
		"a key without the permission":            {Decider{Key: key(string(lena), "lena@acme.test")}, false},
		"the requester's key":                     {Decider{Key: key(string(fred), "fred@acme.test"), May: true}, false},
		"a key that the requester's key made":     {Decider{Key: key(string(fred), "key ci"), May: true}, false},
		"the requester's key, from before":        {Decider{Key: key("", "Fred@acme.test"), May: true}, false},
		"a key of a key, from before":             {Decider{Key: key("", "key ci"), May: true}, false},
		"the requester's, who is operator too":    {Decider{Key: key(callers.ByOperator, "fred@acme.test"), May: true}, false},
		"somebody else's key, from before":        {Decider{Key: key("", "lena@acme.test"), May: true}, true},
		"an operator, who is nobody of a tenant":  {Decider{Name: "ops@example.test"}, false},
		"nobody":                                  {Decider{}, false},
		"a key that is also said to be fred's":    {Decider{User: fred, Roles: []string{"lead"}, Key: key(string(lena), "lena@acme.test"), May: true}, false},
		"a person whose key may, without a role":  {Decider{User: lena, Key: key(string(lena), "lena@acme.test"), May: true}, false},
		"a holder of another role of like name":   {Decider{User: lena, Roles: []string{"lead-2", "Lead"}}, false},
		"a person without roles":                  {Decider{User: lena}, false},
		"a key of nobody with an empty author id": {Decider{Key: key("", "platform dev"), May: true}, true},
	} {
		err := a.MayDecide(test.by)
		if test.may && err != nil || !test.may && !fault.HasCode(err, fault.RoleNotAllowed) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTokensAreRead(t *testing.T) {
	token, hash := NewToken()
	if got, ok := ParseToken(" " + token.Reveal() + "\n"); !ok || got != hash {
		t.Errorf("%v", ok)
	}
	for _, bad := range []string{"", "cf", token.Reveal()[1:], token.Reveal() + "a", "cf" + "AAAAAAAAAAAAAAAAAAAAAAAAAA", "cfaaaaaaaaaaaaaaaaaaaaaaaaa\x00"} {
		if _, ok := ParseToken(bad); ok {
			t.Errorf("%q was taken for a token", bad)
		}
	}
}

func TestSameRequestIsRecognised(t *testing.T) {
	for _, same := range [][]string{
		{`{"a":1,"b":[1,{"c":null}]}`, ` { "b" : [1.0,{"c":null}] , "\u0061":10e-1}`},
		{``, `{}`, ` { } `},
		{`{"a":"\u00e4"}`, `{"a":"ä"}`},
		{`{"a":1e2}`, `{"a":100}`, `{"a":100.00}`},
	} {
		for _, s := range same[1:] {
			if RequestHash(json.RawMessage(s)) != RequestHash(json.RawMessage(same[0])) {
				t.Errorf("%s is another request than %s", s, same[0])
			}
		}
	}
	seen := map[Hash]string{}
	for _, s := range []string{`{}`, `{"a":1}`, `{"a":"1"}`, `{"a":true}`, `{"a":"true"}`, `{"a":null}`, `{"a":[]}`, `{"a":{}}`, `{"a":0.1}`, `{"a":0.10000000000000000001}`, `{"a":1e999}`,
		`{"a":1e9999}`, `{"a":"\ud800"}`, `{"a":"\ud801"}`, "{\"a\":\"\xff\"}", "{\"a\":\"\xfe\"}", `{"a":"\ufffd"}`, `{"a":"1/3"}`, `{"A":1}`, `{"a":1,"b":2}`, `{"a":[1,2]}`, `{"a":[2,1]}`} {
		h := RequestHash(json.RawMessage(s))
		if other, ok := seen[h]; ok {
			t.Errorf("%s is the same as %s", s, other)
		}
		seen[h] = s
	}
}

func FuzzRequestHash(f *testing.F) {
	for _, s := range []string{`{"a":1,"b":2}`, `{"a":1.50}`, `{"a":"\ud800"}`, `{"a":[1e5,{"z":1,"y":"x"}]}`} {
		f.Add([]byte(s), []byte(s))
	}
	f.Fuzz(func(t *testing.T, a, b []byte) {
		if !json.Valid(a) || !json.Valid(b) {
			return
		}
		var compact bytes.Buffer
		if json.Compact(&compact, a) != nil {
			t.Fatal("valid and not compact")
		}
		if bytes.Contains(canonical(a), []byte("as sent ")) {
			return // only itself is the same
		}
		if RequestHash(compact.Bytes()) != RequestHash(a) {
			t.Fatalf("spaces make another request of %s", a)
		}
		// What is the same reads the same.
		if RequestHash(a) == RequestHash(b) {
			var x, y any
			if json.Unmarshal(a, &x) == nil && json.Unmarshal(b, &y) == nil && !reflect.DeepEqual(x, y) {
				t.Fatalf("%s is the same request as %s", a, b)
			}
		}
	})
}

func TestWaitersHearWhatTheyWaitFor(t *testing.T) {
	var w Waiters
	mine, stop := w.Wait("tn1", "ap1")
	defer stop()
	other, stopOther := w.Wait("tn2", "ap1")
	w.Wake("tn1", "ap1")
	<-mine
	select {
	case <-other:
		t.Error("the other tenant's waiter woke")
	default:
	}
	w.WakeAll()
	<-other
	stopOther()
	late, stopLate := w.Wait("tn1", "ap2")
	w.Close()
	<-late
	stopLate()
	if after, _ := w.Wait("tn1", "ap3"); !w.Closed() {
		t.Error("not closed")
	} else {
		<-after
	}
	if len(w.waiting) != 0 {
		t.Errorf("%d are kept", len(w.waiting))
	}
}

func TestStatusFollowsTime(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 0, time.UTC)
	for state, later := range map[Status]Status{Pending: Expired, Approved: Expired, Denied: Denied, Spent: Spent} {
		a := Approval{State: state, ExpiresAt: at}
		if got := a.Status(at.Add(-1)); got != state {
			t.Errorf("%s before its end is %s", state, got)
		}
		if got := a.Status(at); got != later {
			t.Errorf("%s at its end is %s", state, got)
		}
	}
}
