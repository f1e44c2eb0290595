package sandbox

import (
	"slices"
	"testing"
)

func TestAcceptedGuaranteesAreNamedOneByOne(t *testing.T) {
	g := Guarantees{Files: true, Processes: true, Network: true, Pids: true, Syscalls: true}
	if err := g.enough(nil); err == nil {
		t.Error("nothing was accepted, and memory and disk are missing")
	}
	if err := g.enough([]string{"memory"}); err == nil {
		t.Error("only memory was accepted, and disk is missing, too")
	}
	if err := g.enough([]string{"memory", "disk"}); err != nil {
		t.Error(err)
	}
	if err := (Guarantees{}).enough([]string{"memory", "disk"}); err == nil {
		t.Error("a sandbox that holds nothing was taken")
	}
	o, err := ReadOptions(func(name string) string { return map[string]string{"LATCHKEY_SANDBOX_ACCEPT": "memory, disk"}[name] }, 0)
	if err != nil || !slices.Equal(o.Accept, []string{"memory", "disk"}) {
		t.Errorf("%v, %v", o, err)
	}
}

func TestUserIDsAreKeptForGood(t *testing.T) {
	dir := t.TempDir()
	seen := map[int]string{}
	for range 2 { // the second time as another process
		u := &uids{dir: dir, UIDs: UIDs{First: 5000, Count: 3}}
		for _, server := range []string{"sv_a", "sv_b", "sv_c"} {
			id, err := u.of("tn_a", server)
			if err != nil || id < 5000 || id > 5002 || seen[id] != "" && seen[id] != server {
				t.Fatalf("%s has %d, %v, beside %v", server, id, err, seen)
			}
			seen[id] = server
		}
		if id, err := u.of("tn_b", "sv_a"); err == nil {
			t.Errorf("a fourth one of three was given: %d", id)
		}
	}
	if len(seen) != 3 {
		t.Errorf("%v", seen)
	}
}

func TestStderrIsPrintable(t *testing.T) {
	if got := printable("\x1b[31mred\x00\xff\r\nnext\tline\u202e"); got != "·[31mred··\nnext\tline·" {
		t.Errorf("%q", got)
	}
}
