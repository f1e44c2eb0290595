package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// platformState counts what a restart must keep.
type platformState struct{ orders, refunds, records, users, revisions int }

func stateOf(t *testing.T, p *Platform) (s platformState) {
	t.Helper()
	one := func(database, sql string) int {
		n, err := query(t.Context(), p, database, pgx.RowTo[int], sql)
		if err != nil {
			t.Fatal(err)
		}
		return n[0]
	}
	return platformState{
		one("demo_acme", `SELECT count(*)::int FROM orders`), one("demo_acme", `SELECT count(*)::int FROM refunds`),
		one("latchkey", `SELECT count(*)::int FROM audit_events`), one("latchkey", `SELECT count(*)::int FROM users`), one("latchkey", `SELECT count(*)::int FROM revisions`),
	}
}

func refundOnce(t *testing.T, p *Platform, reason string) {
	t.Helper()
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	a := p.MustCall(t, p.Resource("acme", "orders"), k.Access, "issue_refund", refundOf(payable(t, p), reason))
	if f, err := a.Failure(); f != nil || err != nil {
		t.Fatalf("%v %v", f, err)
	}
}

// Ctrl-C ends every process, and the next run finds its data; so does a run
// after one that was killed.
func TestStopAndStartAgain(t *testing.T) {
	t.Parallel()
	state := StateDir(t)
	p := StartIn(t, state)
	refundOnce(t, p, "first run")
	before, tree := stateOf(t, p), descendants(p.child.Pid())
	if len(tree) < 4 { // Postgres with its own, Vault, a worker
		t.Fatalf("only %v run below the platform", tree)
	}
	if err := p.Stop(); err != nil { // checks the tree
		t.Fatal(err)
	}
	if err := p.child.Err(); err != nil {
		t.Errorf("it ends with %v", err)
	}
	if _, err := os.Stat(p.Path("ready.json")); err == nil {
		t.Error("ready.json is still there")
	}

	again := StartIn(t, state)
	if after := stateOf(t, again); after != before {
		t.Errorf("before %+v, after %+v", before, after)
	}
	for i, u := range again.Users {
		if u != p.Users[i] {
			t.Errorf("%s has another password", u.Email)
		}
	}
	if l := again.LedgerOf(t, "acme", "first run"); len(l) != 1 {
		t.Errorf("the ledger has %+v", l)
	}
	refundOnce(t, again, "second run")
	before, tree = stateOf(t, again), descendants(again.child.Pid())

	// Killed: the kernel ends the children, the next run repairs the rest.
	if err := syscall.Kill(again.child.Pid(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-again.child.Done()
	third := StartIn(t, state)
	if err := stillThere(tree); err != nil {
		t.Error(err)
	}
	if after := stateOf(t, third); after != before {
		t.Errorf("before the kill %+v, after %+v", before, after)
	}
	refundOnce(t, third, "third run")
}

func TestStartSaysWhatIsInTheWay(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	busy := ln.Addr().(*net.TCPAddr).Port
	folder := func(file, text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	home := "HOME=" + os.Getenv("HOME")
	for name, test := range map[string]struct {
		env  []string
		args []string
		says []string
	}{
		"busy port": {nil, []string{"--port", strconv.Itoa(busy), "--state", filepath.Join(t.TempDir(), "state")},
			[]string{fmt.Sprintf("Port %d is taken by ", busy), fmt.Sprintf("(pid %d)", os.Getpid()), "Run `platform dev --port "}},
		"state in use":             {nil, []string{"--port", "0", "--state", p.State}, []string{"is in use by platform (pid " + strconv.Itoa(p.child.Pid()) + ")", "Ctrl-C"}},
		"state of a later version": {nil, []string{"--port", "0", "--state", folder("VERSION", "999\n")}, []string{"layout version 999", "make dev-reset"}},
		"somebody else's folder":   {nil, []string{"--port", "0", "--state", folder("thesis.txt", "x")}, []string{"is no state folder", "thesis.txt"}},
		"production settings":      {[]string{"LATCHKEY_BASE_URL=https://{tenant}.example.com"}, []string{"--port", "0", "--state", filepath.Join(t.TempDir(), "state")}, []string{"LATCHKEY_BASE_URL is set", "platform serve"}},
	} {
		t.Run(name, func(t *testing.T) {
			got := platform(t, append(test.env, home), append([]string{"dev"}, test.args...)...)
			if got.code != 1 {
				t.Errorf("exit %d", got.code)
			}
			for _, want := range test.says {
				if !strings.Contains(got.err, want) {
					t.Errorf("it does not say %q: %s", want, got.err)
				}
			}
		})
	}
	// None of that hurt the one that runs.
	k := p.Token(t, "dana@acme.test", "orders", read)
	wantRows(t, p, "acme", k.Access)
}

// What Vault issued, what signs, and what opens databases stays inside. Every
// platform of these tests is looked at once more when it stops.
func TestCredentialsAppearNowhere(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	k := p.Token(t, "fred@acme.test", "orders", read, write)
	orders := p.Resource("acme", "orders")
	wantRows(t, p, "acme", k.Access)
	for _, arguments := range []any{refundOf(payable(t, p), "canary"), refundOf(999_999, "canary"), map[string]any{"order_id": payable(t, p), "amount": 9999, "reason": "canary"}} {
		p.MustCall(t, orders, k.Access, "issue_refund", arguments)
	}
	for _, uri := range []string{"orders://order/1002", "orders://order/999999", "orders://order/x", "file:///etc/passwd"} {
		if _, err := p.RPC(t.Context(), orders, k.Access, "resources/read", map[string]any{"uri": uri}, "Mcp-Name", uri); err != nil {
			t.Fatal(err)
		}
	}
	secrets, err := p.Issued()
	if err != nil {
		t.Fatal(err)
	}
	kinds := secrets.Kinds()
	for _, kind := range []string{"the grant of a call", "a signing key", "a Vault token", "the database superuser's password", "acme's database administrator's password"} {
		if kinds[kind] == 0 {
			t.Errorf("no %s is known: this test sees nothing. Known: %v", kind, kinds)
		}
	}
	users, err := p.IssuedUsers()
	if err != nil || len(users) == 0 {
		t.Errorf("Vault issued %d users, %v", len(users), err)
	}
	for _, u := range users {
		if secrets[u.Password] == "" {
			t.Errorf("the password of %s is not looked for", u.Name)
		}
		if secrets.In("a text", []byte("x "+u.Password)) == nil {
			t.Error("a planted password was not found")
		}
	}
	if err := p.leaks(); err != nil {
		t.Error(err)
	}
	// Nor on the command lines, which every account of the machine can read.
	for _, d := range append(descendants(p.child.Pid()), process{pid: p.child.Pid()}) {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", d.pid)); err == nil {
			if err := secrets.In("the command line of "+d.name, b); err != nil {
				t.Error(err)
			}
		}
	}
}
