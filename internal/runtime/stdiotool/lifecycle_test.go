package stdiotool

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/fault"
	"latchkey/internal/runtime"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
)

func hashed(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:])
}

// crashedWith calls a tool that ends its server, and gives what the caller gets.
func (h *house) crashedWith(o runtime.Opening, tool, input string) *fault.Error {
	h.Helper()
	_, err := h.do(o, runtime.CallTool, tool, input, "")
	if err == nil {
		h.Fatalf("%s did not end the server", tool)
	}
	return fault.Of(err)
}

func TestEndedProcessIsExplainedAndStartedAgain(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "limits: {memory: 160MB}"), nil)
	for _, tc := range []struct{ tool, input, want string }{
		{"exit", `{"code":7,"text":"canary-stderr"}`, "exit code 7"},
		{"hog", `{}`, "more memory than its bound of 160MB"},
		{"heap", `{}`, "more memory than its bound of 160MB"},
	} {
		f := h.crashedWith(o, tc.tool, tc.input)
		if f.Code != fault.ServerCrashed || !strings.Contains(f.Message, tc.want) || f.RetryAfter == 0 || strings.Contains(f.Message, "canary-stderr") {
			t.Errorf("%s: %v", tc.tool, f)
		}
		h.eventually("it is not started again after "+tc.tool, func() bool {
			res, err := h.do(o, runtime.CallTool, "echo", `{"text":"x"}`, "")
			return err == nil && textOf(res) == "x"
		})
	}
	if log := h.logged(); !strings.Contains(log, "canary-stderr") {
		t.Error("the log does not say what the process said last")
	}
}

// A call with effects whose process ended is not said to have done nothing.
func TestEffectOfCrashedCallIsUnknown(t *testing.T) {
	h := newHouse(t, options{})
	h.writes = "exit"
	o := h.publish(tester(nil, ""), nil)
	f := h.crashedWith(o, "exit", `{"code":7,"text":"x"}`)
	if f.Code != fault.OutcomeUnknown || !strings.Contains(f.Message, "exit code 7") {
		t.Error(f)
	}
	if n := strings.Count(h.logged(), "server ended"); n != 1 {
		t.Errorf("the call ran %d times", n)
	}
}

func TestServerThatCannotStartRestsAndSaysWhy(t *testing.T) {
	h := newHouse(t, options{})
	h.leases.set(map[string]secret.Text{"secrets.TOKEN": "canary-token-8361"})
	spec, d, _ := h.kind.Check(parse(t, tester([]string{"--broken"}, "")))
	o := h.add(spec, json.RawMessage(`{"secrets":["TOKEN"]}`), d)
	var rests []time.Duration
	for range 2 {
		_, err := h.do(o, runtime.Discover, "server", "", "")
		f := fault.Of(err)
		if f.Code != fault.ServerCrashed || !strings.Contains(f.Message, "exit code 3 while it started") {
			t.Fatal(err)
		}
		rests = append(rests, f.RetryAfter)
	}
	if rests[1] < time.Second {
		t.Errorf("rests are %v", rests)
	}
	_, err := h.do(o, runtime.Probe, "server", "", "")
	f := fault.Of(err)
	if f.Code != fault.ServerCrashed || !strings.Contains(f.Message, "Its last words: cannot find the settings, token was [withheld]") {
		t.Errorf("the control plane is told %+v", f)
	}
	if strings.Contains(h.logged(), "canary-token") {
		t.Error("the log holds a secret that the process printed")
	}
}

func TestServerThatSaysNothingIsGivenUp(t *testing.T) {
	h := newHouse(t, options{})
	spec, d, _ := h.kind.Check(parse(t, tester([]string{"--silent"}, "limits: {start: 2s}")))
	_, err := h.do(h.add(spec, nil, d), runtime.Discover, "server", "", "")
	f := fault.Of(err)
	if f.Code != fault.ServerCrashed || !strings.Contains(f.Message, "within 2s") || !strings.Contains(f.Message, "no messages of MCP") {
		t.Error(err)
	}
}

func TestUnknownProgramIsExplained(t *testing.T) {
	h := newHouse(t, options{})
	spec, d, _ := h.kind.Check(parse(t, "command: {argv: [/usr/bin/no-such-program]}"))
	_, err := h.do(h.add(spec, nil, d), runtime.Discover, "server", "", "")
	if f := fault.Of(err); f.Code != fault.ServerCrashed && f.Code != fault.ServerUnhealthy {
		t.Error(err)
	}
}

func TestOutputThatIsNoMessageIsLeftOut(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester([]string{"--banner"}, ""), nil)
	if got := h.call(o, "mumble", `{"text":"{\"jsonrpc\": not json"}`); got != "said" {
		t.Error(got)
	}
	if got := h.call(o, "echo", `{"text":"y"}`); got != "y" || !strings.Contains(h.logged(), "tester v1 ready") {
		t.Errorf("%s; %s", got, h.logged())
	}
}

func TestSecretsReachTheProcessAndNothingElse(t *testing.T) {
	h := newHouse(t, options{})
	const env, file = "canary-env-52801", "canary-file-19473\n{}"
	h.leases.set(map[string]secret.Text{"secrets.API_KEY": env, "files.account.json": file})
	o := h.publish(tester(nil, "env: {PLAIN: value}"), json.RawMessage(`{"secrets":["API_KEY"],"files":["account.json"]}`))
	for name, want := range map[string]string{"API_KEY": env, "/secrets/account.json": file, "PLAIN": "value"} {
		if got := h.call(o, "digest", `{"name":"`+name+`"}`); got != hashed(want) {
			t.Errorf("the process has another %s", name)
		}
	}
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range lines {
		if b, err := os.ReadFile(file); err == nil && strings.Contains(string(b), "canary-") {
			t.Errorf("%s shows a secret", file)
		}
	}
	f := h.crashedWith(o, "exit", `{"code":1,"text":"key is `+env+`"}`)
	if said := f.Error() + h.logged(); strings.Contains(said, "canary-env") || strings.Contains(said, "canary-file") {
		t.Errorf("a secret is told: %s", said)
	}
}

// A secret that is set anew reaches a new process, and calls that run on the
// one before come to their end.
func TestChangedSecretMakesANewProcess(t *testing.T) {
	h := newHouse(t, options{})
	h.leases.set(map[string]secret.Text{"secrets.API_KEY": "old-value"})
	o := h.publish(tester(nil, ""), json.RawMessage(`{"secrets":["API_KEY"]}`))
	first := h.call(o, "digest", `{"name":"API_KEY"}`)
	var slow sync.WaitGroup
	slow.Go(func() {
		if got := h.call(o, "slow", `{"seconds":2}`); got != "done" {
			t.Errorf("the running call ended with %q", got)
		}
	})
	h.eventually("the slow call does not begin", func() bool { return h.call(o, "working", `{}`) == "1" })
	h.leases.set(map[string]secret.Text{"secrets.API_KEY": "new-value"})
	if got := h.call(o, "digest", `{"name":"API_KEY"}`); got != hashed("new-value") || first != hashed("old-value") {
		t.Error("the process has the secret of before")
	}
	slow.Wait()
	h.eventually("the process of before lives on", func() bool { return strings.Contains(h.logged(), "server stopped") })
}

func TestSecretThatVaultHasNotIsNamed(t *testing.T) {
	h := newHouse(t, options{})
	spec, d, _ := h.kind.Check(parse(t, tester(nil, "")))
	_, err := h.do(h.add(spec, json.RawMessage(`{"secrets":["API_KEY"]}`), d), runtime.Discover, "server", "", "")
	if f := fault.Of(err); f.Code != fault.CredentialsAway || !strings.Contains(f.Message, "secrets.API_KEY") {
		t.Error(err)
	}
}

func TestConcurrentCallsShareAStart(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, ""), nil)
	h.crashedWith(o, "exit", `{"code":1,"text":"x"}`)
	h.eventually("not started again", func() bool {
		_, err := h.do(o, runtime.CallTool, "echo", `{"text":"x"}`, "")
		return err == nil
	})
	h = newHouse(t, options{})
	o = h.add(o.Spec, nil, defOf(t, o))
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() { h.call(o, "echo", `{"text":"x"}`) })
	}
	all.Wait()
	if n := strings.Count(h.logged(), "server started"); n != 1 {
		t.Errorf("%d processes were started", n)
	}
}

// Two people of one server see nothing of each other: neither memory, nor
// files, nor processes.
func TestPeopleOfOneServerAreApart(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "per: user\nstate: true"), nil)
	ann, bob := tenants.NewUserID(), tenants.NewUserID()
	h.as(ann, o, "remember", `{"text":"ann's"}`)
	h.as(ann, o, "write", `{"file":"/state/own","text":"ann's"}`)
	for _, tool := range []string{"recall", "read"} {
		if got := h.as(bob, o, tool, `{"file":"/state/own"}`); got != "nothing" {
			t.Errorf("%s gave the other's %q", tool, got)
		}
		if got := h.as(ann, o, tool, `{"file":"/state/own"}`); got != "ann's" {
			t.Errorf("%s gave %q", tool, got)
		}
	}
	all, err := filepath.Glob(filepath.Join(h.host.StateDir, serversFolder, string(h.tenant), string(h.server), "*", "files"))
	if err != nil || len(all) != 3 { // and nobody's, of Discover
		t.Fatalf("folders: %v, %v", all, err)
	}
	owners := map[uint32]bool{}
	for _, dir := range all {
		owners[ownerOf(t, dir)] = true
	}
	if os.Geteuid() == 0 && len(owners) != 3 {
		t.Errorf("their folders have %d owners", len(owners))
	}
}

// Two tenants with the same server see nothing of each other.
func TestTenantsAreApart(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "state: true"), nil)
	h.call(o, "write", `{"file":"/state/own","text":"first"}`)
	h.call(o, "remember", `{"text":"first"}`)
	h.tenant = tenants.NewID()
	o.Tenant, o.Revision = h.tenant, "rvother"
	h.openings[o.Revision] = o
	if got := h.call(o, "recall", `{}`) + h.call(o, "read", `{"file":"/state/own"}`); got != "nothingnothing" {
		t.Errorf("the other tenant got %q", got)
	}
}

func TestStateOutlivesProcessWorkerAndRevision(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "state: true\nseed: {notes/first.md: hello}"), nil)
	if got := h.call(o, "read", `{"file":"/state/notes/first.md"}`); got != "hello" {
		t.Errorf("seeded %q", got)
	}
	h.call(o, "write", `{"file":"/state/notes/first.md","text":"changed"}`)
	h.call(o, "write", `{"file":"/state/new","text":"kept"}`)
	h.crashedWith(o, "exit", `{"code":1,"text":"x"}`)
	next := h.publish(tester([]string{"--banner"}, "state: true\nseed: {notes/first.md: hello}"), nil) // another process
	if got := h.call(next, "read", `{"file":"/state/new"}`); got != "kept" {
		t.Errorf("the next revision has %q", got)
	}
	h.close()
	again := newHouse(t, options{stateDir: h.host.StateDir})
	again.tenant, again.server = h.tenant, h.server
	o.Revision = "rvagain"
	again.openings[o.Revision] = o
	if got := again.call(o, "read", `{"file":"/state/notes/first.md"}`); got != "changed" {
		t.Errorf("the next worker has %q", got)
	}
}

// Two workers of a machine never run two processes on one state: who has it is
// asked to let go, and finishes its calls first.
func TestStateHasOneProcessAtATime(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "state: true"), nil)
	h.call(o, "write", `{"file":"/state/last","text":"before"}`)
	other := newHouse(t, options{stateDir: h.host.StateDir})
	other.openings[o.Revision] = o
	var slow sync.WaitGroup
	slow.Go(func() {
		if got := h.call(o, "slow", `{"seconds":3}`); got != "done" {
			t.Errorf("the running call ended with %q", got)
		}
	})
	h.eventually("the slow call does not begin", func() bool { return h.call(o, "working", `{}`) == "1" })
	// One that cannot wait for so long is told to come back.
	_, err := other.within(t.Context(), 2*time.Second, o, runtime.CallTool, "echo", `{"text":"x"}`, "")
	if f := fault.Of(err); f.Code != fault.Busy || f.RetryAfter == 0 {
		t.Error(err)
	}
	slow.Wait()
	if got := other.call(o, "read", `{"file":"/state/last"}`); got != "before" {
		t.Errorf("the other worker reads %q", got)
	}
	if strings.Count(h.logged(), "server stopped") == 0 {
		t.Error("the first process was not stopped")
	}
}

func TestStateOfRemovedServerIsRemoved(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "state: true"), nil)
	h.call(o, "write", `{"file":"/state/own","text":"x"}`)
	folder := filepath.Join(h.host.StateDir, serversFolder, string(h.tenant), string(h.server))
	sweep := func() {
		if err := sweepState(t.Context(), h.host.StateDir, h, h.host.Log); err != nil {
			t.Fatal(err)
		}
	}
	there := func() bool { _, err := os.Stat(folder); return err == nil }
	sweep()
	known := h.openings
	h.openings = nil
	sweep()
	sweep()
	if !there() {
		t.Fatal("removed at the first sign")
	}
	h.openings = known
	sweep()
	h.openings = nil
	sweep()
	if err := writeNote(folder, stateNote{Revision: o.Revision, Missing: time.Now().Add(-2 * missingFor)}); err != nil {
		t.Fatal(err)
	}
	h.openings = known
	sweep()
	if !there() {
		t.Fatal("removed, though the server is there")
	}
	h.openings = nil
	if err := writeNote(folder, stateNote{Revision: o.Revision, Missing: time.Now().Add(-2 * missingFor)}); err != nil {
		t.Fatal(err)
	}
	sweep()
	if there() {
		t.Error("the state is still there")
	}
}

func TestStateOfRemovedPersonIsRemoved(t *testing.T) {
	h := newHouse(t, options{})
	o := h.publish(tester(nil, "state: true\nper: user"), nil)
	ann, bob := tenants.NewUserID(), tenants.NewUserID()
	home := func(u tenants.UserID) string {
		return filepath.Join(h.host.StateDir, serversFolder, string(h.tenant), string(h.server), string(u))
	}
	sweep := func(people ...tenants.UserID) {
		t.Helper()
		h.people = people
		if err := sweepState(t.Context(), h.host.StateDir, h, h.host.Log); err != nil {
			t.Fatal(err)
		}
	}
	missingSince := func(u tenants.UserID, by time.Duration) {
		t.Helper()
		at := time.Now().Add(-by)
		if err := os.Chtimes(filepath.Join(home(u), missingName), at, at); err != nil {
			t.Fatal(err)
		}
	}
	for _, u := range []tenants.UserID{ann, bob} {
		h.as(u, o, "write", `{"file":"/state/own","text":"x"}`)
	}
	sweep(bob)
	sweep(bob)
	missingSince(ann, missingFor/2)
	sweep(bob)
	if !exists(home(ann)) {
		t.Fatal("removed at the first sign")
	}
	sweep(ann, bob) // the answers before were wrong
	if exists(filepath.Join(home(ann), missingName)) {
		t.Error("still counted as missing")
	}
	sweep(bob)
	missingSince(ann, 2*missingFor)
	sweep(bob)
	if got := h.as(ann, o, "read", `{"file":"/state/own"}`); got != "x" {
		t.Errorf("removed beneath a process, which reads %q", got)
	}
	h.close()
	sweep(bob)
	if exists(home(ann)) {
		t.Error("the state of who is gone is still there")
	}
	if !exists(filepath.Join(home(bob), "files", "own")) || exists(filepath.Join(home(bob), missingName)) {
		t.Error("the state of who is there was touched")
	}
}

// What cannot be asked removes nothing.
func TestStateStaysWhilePlatformIsAway(t *testing.T) {
	h := newHouse(t, options{driver: &fake{}})
	server := filepath.Join(h.host.StateDir, serversFolder, string(h.tenant), string(h.server))
	home := filepath.Join(server, string(tenants.NewUserID()))
	if err := os.MkdirAll(home, 0o711); err != nil {
		t.Fatal(err)
	}
	spec, d, problems := h.kind.Check(parse(t, tester(nil, "state: true\nper: user")))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if err := writeNote(server, stateNote{Revision: h.add(spec, nil, d).Revision}); err != nil {
		t.Fatal(err)
	}
	if err := sweepState(t.Context(), h.host.StateDir, away{h}, h.host.Log); err == nil {
		t.Error("nobody is told")
	}
	if exists(filepath.Join(home, missingName)) {
		t.Error("counted as missing, though nobody said so")
	}
}

// away is a platform that knows its servers and cannot say who its people are.
type away struct{ *house }

func (away) People(context.Context, tenants.ID, []tenants.UserID) ([]tenants.UserID, error) {
	return nil, errors.New("people: empty answer")
}

func TestWorkerRefusesWhatItCannotHold(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*runtime.Host)
		more   string
		want   string
	}{
		"no sandbox":      {func(h *runtime.Host) { h.Sandbox = nil }, "", "needs a sandbox"},
		"another sandbox": {func(*runtime.Host) {}, "sandbox: gvisor", "asks for the sandbox gvisor"},
		"no state folder": {func(h *runtime.Host) { h.StateDir = "" }, "state: true", "LATCHKEY_STATE_DIR"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHouse(t, options{driver: &fake{}, change: tc.change})
			spec, d, problems := h.kind.Check(parse(t, tester(nil, tc.more)))
			if len(problems) > 0 {
				t.Fatal(problems)
			}
			_, err := h.do(h.add(spec, nil, d), runtime.Discover, "server", "", "")
			if f := fault.Of(err); f.Code != fault.NoWorker || !strings.Contains(f.Message, tc.want) || !strings.Contains(f.Message, "pool") {
				t.Error(err)
			}
		})
	}
}

func TestBrokenSandboxIsNotToldToCallers(t *testing.T) {
	h := newHouse(t, options{driver: &fake{fails: errors.New("/var/secret/path is missing")}})
	spec, d, _ := h.kind.Check(parse(t, tester(nil, "")))
	_, err := h.do(h.add(spec, nil, d), runtime.Discover, "server", "", "")
	if f := fault.Of(err); f.Code != fault.ServerUnhealthy || strings.Contains(f.Message, "/var/secret") || f.RetryAfter == 0 {
		t.Error(err)
	}
}
