//go:build linux

// Package sandboxtest is the contract of sandbox.Driver as a test: each driver
// runs it, on a machine where it can. What attacks is the hostile part of
// package sandbox, inside; here is what must have come of it.
package sandboxtest

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"latchkey/internal/sandbox"
	"latchkey/internal/secret"
)

// Fixture is a driver and what the suite has to know of it.
type Fixture struct {
	Driver sandbox.Driver
	// OwnKernel: calls inside reach a kernel that is the sandbox's.
	OwnKernel bool
	// OwnUsers: each tenant's server is a user of its own on the host.
	OwnUsers bool
}

// Run runs the suite. Each part opens a driver of its own.
func Run(t *testing.T, open func(t *testing.T, o sandbox.Options) Fixture) {
	for _, part := range []struct {
		name string
		test func(*suite)
	}{
		{"InputComesOut", (*suite).stdio},
		{"ExitIsTold", (*suite).exits},
		{"SecretsAreInNoCommandLine", (*suite).secrets},
		{"FilesAreReadOnlyAndTheirOwners", (*suite).files},
		{"MountsHold", (*suite).mounts},
		{"AttacksAreHeld", (*suite).attacks},
		{"ForksAreBounded", (*suite).forks},
		{"MemoryIsBounded", (*suite).memory},
		{"TmpIsBounded", (*suite).tmp},
		{"StateIsBounded", (*suite).state},
		{"StderrFloodIsBoundedAndCleaned", (*suite).stderr},
		{"UnreadOutputStopsOnlyItsWriter", (*suite).unread},
		{"StopAsksFirst", (*suite).asks},
		{"NothingSurvives", (*suite).survivors},
		{"StartSaysWhatIsWrong", (*suite).starts},
		{"CancelledStartLeavesNothing", (*suite).cancelled},
		{"WorkerKilledTakesAllWithIt", (*suite).killed},
		{"EgressIsTheListAlone", (*suite).egress},
		{"NoListNoNetwork", (*suite).closed},
		{"UsageIsTold", (*suite).usage},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(&suite{T: t, open: open}) })
	}
}

type suite struct {
	*testing.T
	open func(t *testing.T, o sandbox.Options) Fixture
	Fixture
}

// soon is what everything here takes less than, on any machine.
const soon = time.Minute

func (s *suite) driver(o sandbox.Options) sandbox.Driver {
	s.Helper()
	if o.Dir == "" {
		o.Dir = Folder(s.T)
	}
	s.Fixture = s.open(s.T, o)
	return s.Driver
}

// Folder is a temporary one that every account may pass through.
func Folder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	for d := dir; d != os.TempDir() && d != "/"; d = filepath.Dir(d) {
		if err := os.Chmod(d, 0o755); err != nil {
			break
		}
	}
	return dir
}

func (s *suite) start(spec sandbox.Spec) sandbox.Process {
	s.Helper()
	if s.Driver == nil {
		s.driver(sandbox.Options{})
	}
	if spec.Tenant == "" {
		spec.Tenant, spec.Server = "tn_a", "sv_a"
	}
	p, err := s.Driver.Start(s.Context(), spec)
	if err != nil {
		s.Fatal(err)
	}
	s.Cleanup(func() { p.Stop(0) })
	return p
}

// wait is Wait with a bound.
func (s *suite) wait(p sandbox.Process) sandbox.Exit {
	s.Helper()
	done := make(chan sandbox.Exit, 1)
	go func() { done <- p.Wait() }()
	select {
	case e := <-done:
		return e
	case <-time.After(soon):
		s.Fatal("it did not end")
		return sandbox.Exit{}
	}
}

// run gives the output and the end of a command.
func (s *suite) run(spec sandbox.Spec) (string, sandbox.Exit) {
	s.Helper()
	p := s.start(spec)
	r, w := p.Stdio()
	w.Close()
	out, err := io.ReadAll(r)
	if err != nil {
		s.Error(err)
	}
	return string(out), s.wait(p)
}

func sh(script string) []string { return []string{"sh", "-c", script} }

func (s *suite) stdio() {
	p := s.start(sandbox.Spec{Argv: []string{"cat"}})
	r, w := p.Stdio()
	sent := bytes.Repeat([]byte("a line of some length, and its end\n"), 1<<17)
	go func() {
		w.Write(sent)
		w.Close()
	}()
	got, err := io.ReadAll(r)
	if err != nil || !bytes.Equal(got, sent) {
		s.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
	}
	for range 2 { // as often as one likes
		if e := s.wait(p); e.Code != 0 || e.Signal != "" {
			s.Errorf("ended with %+v", e)
		}
	}
}

func (s *suite) exits() {
	for script, want := range map[string]sandbox.Exit{
		"exit 7":                   {Code: 7},
		"echo why >&2; exit 1":     {Code: 1, Stderr: "why"},
		"kill -SEGV $$; sleep 100": {Code: 139, Signal: "SIGSEGV"},
		"(sleep 1000 &) ; exit 3":  {Code: 3},
	} {
		if _, got := s.run(sandbox.Spec{Argv: []string{"sh", "-c", "sh -c '" + script + "'; c=$?; [ $c -lt 128 ] || kill -SEGV $$; exit $c"}}); got != want && s.notOnlyCode(got, want) {
			s.Errorf("%s: %+v, and not %+v", script, got, want)
		}
	}
}

// notOnlyCode: on some systems the first process inside cannot die of its own
// signal, and the shell's code for it is the same.
func (s *suite) notOnlyCode(got, want sandbox.Exit) bool {
	return got.Code != want.Code || got.Signal != want.Signal || !strings.Contains(got.Stderr, want.Stderr)
}

func (s *suite) secrets() {
	const canary = "canary-of-the-environment"
	p := s.start(sandbox.Spec{
		Argv: sh(`cat /etc-of-ours/key; printf ' %s\n' "$TOKEN"; read wait`), Env: map[string]secret.Text{"TOKEN": canary},
		Files: map[string]secret.Text{"/etc-of-ours/key": canary + "-file"},
	})
	r, w := p.Stdio()
	line := make([]byte, len(canary)*2+7)
	if _, err := io.ReadFull(r, line); err != nil || string(line) != canary+"-file "+canary+"\n" {
		s.Errorf("inside is %q, %v", line, err)
	}
	seen := 0
	files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, f := range files {
		b, err := os.ReadFile(f)
		if err == nil {
			seen++
		}
		if bytes.Contains(b, []byte(canary)) {
			s.Errorf("%s has it: %q", f, b)
		}
	}
	if seen < 3 {
		s.Errorf("only %d command lines were looked at", seen)
	}
	w.Close()
	s.wait(p)
}

func (s *suite) files() {
	const content = "line\nline\x01\n"
	out, e := s.run(sandbox.Spec{
		Argv:  sh(`stat -c '%a %s' /keys/a; (echo x > /keys/a) 2>/dev/null && echo written; (rm -f /keys/a) 2>/dev/null; cat /keys/a`),
		Files: map[string]secret.Text{"/keys/a": content},
	})
	if want := fmt.Sprintf("400 %d\n%s", len(content), content); out != want || e.Code != 0 {
		s.Errorf("%q, %+v", out, e)
	}
}

// userOf gives the host's user that a folder belongs to.
func (s *suite) userOf(dir string) string {
	s.Helper()
	info, err := os.Stat(dir)
	if err != nil {
		s.Fatal(err)
	}
	return ownerOf(info)
}

func (s *suite) mounts() {
	s.driver(sandbox.Options{})
	code, a, b := s.TempDir(), s.TempDir(), s.TempDir()
	if err := os.WriteFile(filepath.Join(code, "main.sh"), []byte("echo code"), 0o644); err != nil {
		s.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(a, "before"), []byte("kept"), 0o600); err != nil {
		s.Fatal(err)
	}
	spec := sandbox.Spec{
		Tenant: "tn_a", Server: "sv", ReadOnly: []sandbox.Mount{{Source: code, Target: "/app"}}, State: []sandbox.Mount{{Source: a, Target: "/state"}}, Dir: "/state",
		Argv: sh(`sh /app/main.sh; pwd; cat before; (echo x > /app/new) 2>/dev/null && echo BROKEN; (echo x >> /app/main.sh) 2>/dev/null && echo BROKEN; echo new > after`),
	}
	if out, e := s.run(spec); out != "code\n/state\nkept" || e.Code != 0 {
		s.Errorf("%q, %+v", out, e)
	}
	spec.Argv = sh("cat after")
	if out, _ := s.run(spec); out != "new\n" {
		s.Errorf("the state of the last process is %q", out)
	}
	first := s.userOf(a)
	spec.Tenant, spec.State = "tn_b", []sandbox.Mount{{Source: b, Target: "/state"}}
	spec.Argv = sh("true")
	s.run(spec)
	if s.OwnUsers && (first == s.userOf(b) || first == strconv.Itoa(os.Getuid())) {
		s.Errorf("two tenants have user %s", first)
	}
	// Another tenant's state is not there, whichever way.
	if err := os.Symlink(a, filepath.Join(b, "link")); err != nil {
		s.Fatal(err)
	}
	spec.Argv = sh("cat /state/link/before " + a + "/before /proc/self/root" + a + "/before; ls -a " + filepath.Dir(a))
	if out, e := s.run(spec); out != "" || e.Code == 0 {
		s.Errorf("read %q, %+v", out, e)
	}
}

func (s *suite) stderr() {
	const most = 8 << 20
	_, e := s.run(sandbox.Spec{Argv: sandbox.Attack{Hoard: "stderr", Bytes: most}.Command()})
	if e.Code != 0 || len(e.Stderr) < 1000 || len(e.Stderr) > 64<<10 {
		s.Errorf("ended with %d, and %d bytes of it are kept", e.Code, len(e.Stderr))
	}
	for _, r := range e.Stderr {
		if r < ' ' && r != '\n' && r != '\t' {
			s.Fatalf("%q is in it", r)
		}
	}
}

func (s *suite) unread() {
	p := s.start(sandbox.Spec{Argv: sandbox.Attack{Hoard: "stdout", Bytes: 1 << 40}.Command()})
	r, _ := p.Stdio()
	if _, err := io.ReadFull(r, make([]byte, 1000)); err != nil {
		s.Fatal(err)
	}
	p.Stop(time.Millisecond)
	if e := s.wait(p); e.Code == 0 {
		s.Errorf("%+v", e)
	}
}

func (s *suite) asks() {
	// The end of its input is enough for most.
	p := s.start(sandbox.Spec{Argv: sh("cat; echo ended")})
	r, w := p.Stdio()
	if _, err := io.WriteString(w, "hello\n"); err != nil {
		s.Fatal(err)
	}
	if _, err := io.ReadFull(r, make([]byte, 6)); err != nil {
		s.Fatal(err)
	}
	p.Stop(2 * soon)
	if e := s.wait(p); e.Code != 0 {
		s.Errorf("after the end of input: %+v", e)
	}
	// Then SIGTERM.
	p = s.start(sandbox.Spec{Argv: sh(`trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done`)})
	r, _ = p.Stdio()
	if _, err := io.ReadFull(r, make([]byte, 6)); err != nil {
		s.Fatal(err)
	}
	p.Stop(4 * time.Second)
	if e := s.wait(p); e.Code != 5 {
		s.Errorf("after SIGTERM: %+v", e)
	}
}

func (s *suite) starts() {
	dir := s.TempDir()
	for want, spec := range map[string]sandbox.Spec{
		"command":      {Argv: []string{"/no/such/program"}},
		"not-there":    {Argv: []string{"true"}, Dir: "/not-there"},
		"no command":   {},
		"sandbox's":    {Argv: []string{"true"}, ReadOnly: []sandbox.Mount{{Source: dir, Target: "/usr/bin"}}},
		"two mounts":   {Argv: []string{"true"}, ReadOnly: []sandbox.Mount{{Source: dir, Target: "/a"}}, Files: map[string]secret.Text{"/a": ""}},
		"clean":        {Argv: []string{"true"}, State: []sandbox.Mount{{Source: dir, Target: "/a/../etc"}}},
		"no-source":    {Argv: []string{"true"}, ReadOnly: []sandbox.Mount{{Source: dir + "/no-source", Target: "/a"}}},
		"MemoryBytes":  {Argv: []string{"true"}, Limits: sandbox.Limits{MemoryBytes: 1}},
		"egress":       {Argv: []string{"true"}, Egress: []string{"*:443"}},
		"variable":     {Argv: []string{"true"}, Env: map[string]secret.Text{"A=B": "canary"}},
		"identifiers":  {Tenant: "../x", Server: "y", Argv: []string{"true"}},
		"is not a fol": {Argv: []string{"true"}, State: []sandbox.Mount{{Source: "/dev/null", Target: "/a"}}},
	} {
		if s.Driver == nil {
			s.driver(sandbox.Options{})
		}
		if spec.Tenant == "" {
			spec.Tenant, spec.Server = "tn_a", "sv_a"
		}
		p, err := s.Driver.Start(s.Context(), spec)
		if err == nil {
			p.Stop(0)
			s.Errorf("%s: it started", want)
		} else if !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "canary") {
			s.Errorf("the error should say %q: %v", want, err)
		}
	}
}

func (s *suite) cancelled() {
	s.driver(sandbox.Options{})
	ctx, cancel := context.WithCancel(s.Context())
	cancel()
	if p, err := s.Driver.Start(ctx, sandbox.Spec{Tenant: "tn_a", Server: "sv_a", Argv: []string{"sleep", "1000"}}); err == nil {
		p.Stop(0)
		s.Error("it started")
	}
	s.gone(s.family(os.Getpid()))
}

func (s *suite) usage() {
	p := s.start(sandbox.Spec{Argv: sh("echo ready; read wait")})
	r, w := p.Stdio()
	if _, err := io.ReadFull(r, make([]byte, 6)); err != nil {
		s.Fatal(err)
	}
	if u := p.Stats(); u.MemoryBytes < 100<<10 || u.MemoryBytes > 512<<20 || u.Pids < 1 {
		s.Errorf("%+v", u)
	}
	w.Close()
	s.wait(p)
	if u := p.Stats(); u != (sandbox.Stats{}) {
		s.Errorf("after its end: %+v", u)
	}
}
