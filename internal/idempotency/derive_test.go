package idempotency_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"latchkey/internal/idempotency"
	"latchkey/internal/tenants"
)

// What a name and a request are made of does not run together: moving text
// from one part to the next makes another.
func TestPartsOfAKeyStayApart(t *testing.T) {
	seen := map[idempotency.Hash]string{}
	for _, p := range [][5]string{
		{"t", "u", "s", "tool", "{}"}, {"tu", "", "s", "tool", "{}"}, {"t", "us", "", "tool", "{}"}, {"t", "u", "stool", "", "{}"},
		{"t", "u", "s", "tool{", "}"}, {"", "t", "u", "s", "tool{}"}, {"t", "u", "s", "tool", "{}\x00"}, {"u", "t", "s", "tool", "{}"},
	} {
		for kind, h := range map[string]idempotency.Hash{
			"derived": idempotency.DerivedKey(tenants.ID(p[0]), tenants.UserID(p[1]), tenants.ServerID(p[2]), p[3], []byte(p[4])),
			"given":   idempotency.GivenKey(p[0] + "|" + p[1] + "|" + p[2] + "|" + p[3] + "|" + p[4]),
		} {
			if was, ok := seen[h]; ok {
				t.Errorf("%s %v and %s are one", kind, p, was)
			}
			seen[h] = kind
		}
	}
	if idempotency.RequestHash("ab", []byte("c")) == idempotency.RequestHash("a", []byte("bc")) {
		t.Error("a tool's name runs into its arguments")
	}
}

// Nobody else's key meets one's own at the upstream.
func TestUpstreamKeyIsOfOneName(t *testing.T) {
	n := idempotency.CallName{User: "us1", Server: "sv1", Key: idempotency.GivenKey("k")}
	key := func(t tenants.ID, change func(*idempotency.CallName), tool, first string) string {
		n := n
		change(&n)
		return idempotency.UpstreamKey(t, n, tool, first)
	}
	same := func(*idempotency.CallName) {}
	own := key("tn1", same, "refund", "")
	if own != key("tn1", same, "refund", "") {
		t.Error("it is another each time")
	}
	for what, other := range map[string]string{
		"tenant": key("tn2", same, "refund", ""),
		"person": key("tn1", func(n *idempotency.CallName) { n.User = "us2" }, "refund", ""),
		"server": key("tn1", func(n *idempotency.CallName) { n.Server = "sv2" }, "refund", ""),
		"key":    key("tn1", func(n *idempotency.CallName) { n.Key = idempotency.GivenKey("l") }, "refund", ""),
		"tool":   key("tn1", same, "void", ""),
		"first":  key("tn1", same, "refund", "ca1"),
	} {
		if other == own {
			t.Errorf("another %s has the same key", what)
		}
	}
}

// Two documents have one derived key just when they say the same.
func FuzzDerivedKey(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":[1,2]}`), []byte(`{"b":[1,2.0],"a":1e0}`), "refund", "refund")
	f.Add([]byte(`{"order":9007199254740993}`), []byte(`{"order":9007199254740992}`), "refund", "refund")
	f.Add([]byte(`{}`), []byte(``), "a", "ab")
	f.Add([]byte(`{"a":"x"}`), []byte(`{"a":"\u0078"}`), "t", "t")
	f.Fuzz(func(t *testing.T, a, b []byte, toolA, toolB string) {
		one, err := idempotency.Canonical(a)
		if err != nil {
			return
		}
		two, err := idempotency.Canonical(b)
		if err != nil {
			return
		}
		same := toolA == toolB && bytes.Equal(one, two)
		key := func(tool string, c []byte) idempotency.Hash {
			return idempotency.DerivedKey("tn1", "us1", "sv1", tool, c)
		}
		if (key(toolA, one) == key(toolB, two)) != same || (idempotency.RequestHash(toolA, one) == idempotency.RequestHash(toolB, two)) != same {
			t.Fatalf("%s%q and %s%q: the same %v", toolA, a, toolB, b, same)
		}
		// Space and the order of members never make another.
		var members map[string]json.RawMessage
		if json.Unmarshal(one, &members) != nil {
			return
		}
		var turned bytes.Buffer
		turned.WriteString(" {")
		names := make([]string, 0, len(members))
		for name := range members { // in any order
			names = append(names, name)
		}
		for i, name := range names {
			if i > 0 {
				turned.WriteString(" ,\n")
			}
			text, err := json.Marshal(name)
			if err != nil {
				t.Fatal(err)
			}
			turned.Write(text)
			turned.WriteString(" :\t")
			turned.Write(members[name])
		}
		turned.WriteString("} ")
		again, err := idempotency.Canonical(turned.Bytes())
		if err != nil || key(toolA, again) != key(toolA, one) {
			t.Fatalf("%q and %q: %v", a, turned.Bytes(), err)
		}
	})
}
