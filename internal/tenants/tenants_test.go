package tenants

import (
	"strings"
	"testing"
)

func TestIDs(t *testing.T) {
	seen := map[string]bool{}
	for range 1000 {
		for prefix, id := range map[string]string{"tn": string(NewID()), "sv": string(NewServerID()), "us": string(NewUserID()), "rv": RandomID("rv")} {
			if len(id) != 20 || !strings.HasPrefix(id, prefix) || seen[id] {
				t.Fatalf("%q", id)
			}
			seen[id] = true
		}
		if _, err := ParseID(string(NewID())); err != nil {
			t.Fatal(err)
		}
	}
	good := string(NewID())
	for _, bad := range []string{
		"", "tn", good[:19], good + "a", "us" + good[2:], strings.ToUpper(good), good[:19] + "'", good[:19] + "\x00", good[:19] + "*", good[:19] + ".",
		good[:19] + "/", good[:19] + "+", good[:19] + "\n", good[:18] + "é", "tn', true); DROP--", "tn" + strings.Repeat(" ", 18),
	} {
		if id, err := ParseID(bad); err == nil || id != "" {
			t.Errorf("%q was taken for an id", bad)
		}
		if _, err := ParseServerID(bad); err == nil {
			t.Errorf("%q was taken for a server's id", bad)
		}
	}
	if _, err := ParseUserID(string(NewServerID())); err == nil {
		t.Error("a server's id was taken for a person's")
	}
	if _, err := ParseID(strings.Repeat("x", 1<<20)); len(err.Error()) > 200 {
		t.Errorf("an error of %d bytes", len(err.Error()))
	}
}

func FuzzParseID(f *testing.F) {
	f.Add(string(NewID()))
	f.Add("tn222222222222222222'")
	f.Fuzz(func(t *testing.T, s string) {
		if id, err := ParseID(s); err == nil && (string(id) != s || len(s) != 20 || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789") != "") {
			t.Fatalf("%q", s)
		}
	})
}

func TestDisabledPersonMayDoNothing(t *testing.T) {
	a := Access{Scopes: map[Scope]bool{{"sv1", "a"}: true}}
	if !a.Allows("sv1", "a") || a.Allows("sv2", "a") || a.Allows("sv1", "b") || (Access{}).Allows("", "") {
		t.Error("allows what is not open")
	}
	a.User.Disabled = true
	if a.Allows("sv1", "a") {
		t.Error("a disabled person is let in")
	}
}
