package e2e

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"latchkey/internal/testenv"
)

// ran is a command that has ended.
type ran struct {
	out, err string
	code     int
}

// platform runs the command line with just the given environment.
func platform(t *testing.T, env []string, args ...string) ran {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(HostingBinaries(t), "platform"), args...) // beside a worker that `doctor` can ask
	cmd.Dir, cmd.Env = testenv.RepoRoot(t), append([]string{"PATH=/usr/bin:/bin", noRaceSleep}, env...)
	var out, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if ctx.Err() != nil {
		t.Fatalf("platform %v does not end", args)
	}
	if strings.Contains(stderr.String(), "DATA RACE") {
		t.Error(stderr.String())
	}
	return ran{out.String(), stderr.String(), cmd.ProcessState.ExitCode()}
}

// environment is that of an administrator of the platform.
func (p *Platform) environment(t *testing.T) []string {
	t.Helper()
	s, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(s.DatabaseURL)
	if err != nil {
		t.Fatal(err)
	}
	return []string{
		"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=" + p.Operator.APIKey,
		"DEMO_PG_HOST=" + u.Hostname(), "DEMO_PG_PORT=" + u.Port(), "DEMO_ACME_PASSWORD=" + s.DemoAcme, "DEMO_GLOBEX_PASSWORD=" + s.DemoGlobex,
		"DEMO_UPSTREAM_URL=" + p.Upstream, "DEMO_UPSTREAM_KEY=" + s.DemoUpstreamKey,
	}
}

// Apply applies a tenant file.
func (p *Platform) Apply(t *testing.T, text string, args ...string) ran {
	t.Helper()
	got := platform(t, p.environment(t), append([]string{"apply", "-f", writeFile(t, "tenant.yaml", text)}, args...)...)
	p.seen.add(got.out + got.err)
	return got
}

func small(slug string, tools ...string) string {
	return fmt.Sprintf(`tenant: %s
name: Small %s
roles:
  everybody:
    scopes: {tools: [diagnostics]}
members:
- {email: ann@%s.test, name: Ann, roles: [everybody]}
servers:
- slug: tools
  kind: echo
  title: Tools
  spec:
    tools:
    - {name: %s, scope: diagnostics}
`, slug, slug, slug, strings.Join(tools, ", scope: diagnostics}\n    - {name: "))
}

func TestApplyTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	p, slug := Shared(t), unique("initech")
	first := p.Apply(t, small(slug, "echo", "whoami"))
	if first.code != 0 || !strings.Contains(first.out, "created") {
		t.Fatalf("first: %+v", first)
	}
	for _, output := range []string{"table", "json"} {
		again := p.Apply(t, small(slug, "echo", "whoami"), "-o", output)
		if again.code != 0 || !strings.Contains(again.out, "unchanged") || strings.Contains(again.out, "created") || strings.Contains(again.out, "published") || strings.Contains(again.out, "updated") {
			t.Errorf("again: %+v", again)
		}
	}
	changed := p.Apply(t, small(slug, "echo", "whoami", "fail"))
	if changed.code != 0 || !strings.Contains(changed.out, "published") {
		t.Errorf("changed: %+v", changed)
	}
}

func TestApplyInvalidFileNamesLines(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	for name, test := range map[string]struct{ text, line string }{
		"no YAML":       {"tenant: acme\n  name: [", ":2"},
		"unknown key":   {small("initrode", "echo") + "colour: red\n", ":15"},
		"unknown tool":  {small("initrode", "echo", "format_disk"), ":15"},
		"unknown kind":  {strings.Replace(small("initrode", "echo"), "kind: echo", "kind: magic", 1), ":10"},
		"unknown scope": {strings.Replace(small("initrode", "echo"), "scopes: {tools: [diagnostics]}", "scopes: {tools: [everything]}", 1), ":5"},
		"twice a key":   {small("initrode", "echo") + "name: Again\n", ":15"},
		"splicing":      {strings.Replace(acmeFile(t), "WHERE o.id = :order_id", "WHERE o.id = :no_such_parameter", 1), "no_such_parameter"},
	} {
		t.Run(name, func(t *testing.T) {
			got := p.Apply(t, test.text)
			if got.code != 2 || !strings.Contains(got.err, "tenant.yaml") || !strings.Contains(got.err, test.line) || got.out != "" {
				t.Errorf("want exit 2 and %q, got %+v", test.line, got)
			}
		})
	}
	for name, args := range map[string][]string{"no file named": {"apply"}, "an unknown flag": {"apply", "--fast"}, "an odd output": {"apply", "-f", "x.yaml", "-o", "xml"}} {
		if got := platform(t, p.environment(t), args...); got.code != 2 || got.err == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
	if got := platform(t, p.environment(t), "apply", "-f", "/nowhere/tenant.yaml"); got.code == 0 || !strings.Contains(got.err, "/nowhere/tenant.yaml") {
		t.Errorf("a file that is not there: %+v", got)
	}
}

// A file may leave roles out that the tenant has already, so that this shows
// only while it is applied.
func TestApplyUnknownRoleSaysSo(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	got := p.Apply(t, strings.Replace(small("hooli", "echo"), "roles: [everybody]", "roles: [nobody]", 1))
	if got.code != 2 || !strings.Contains(got.err, `tenant.yaml:7:45: members[0].roles: there is no role "nobody"; declare it`) {
		t.Errorf("%+v", got)
	}
}

// What the platform has is a file again, which changes nothing.
func TestExportAppliesUnchanged(t *testing.T) {
	t.Parallel()
	p, slug := Shared(t), unique("vandelay")
	if got := p.Apply(t, small(slug, "echo", "whoami")); got.code != 0 {
		t.Fatalf("%+v", got)
	}
	export := platform(t, p.environment(t), "export", "--tenant", slug)
	if export.code != 0 || !strings.Contains(export.out, "tenant: "+slug) {
		t.Fatalf("%+v", export)
	}
	again := p.Apply(t, export.out, "--prune")
	if again.code != 0 || !strings.Contains(again.out, "unchanged") || strings.ContainsAny(again.out, "+~") || strings.Contains(again.out, "deleted") {
		t.Errorf("%+v", again)
	}
	dry := p.Apply(t, small(slug, "echo"), "--dry-run", "--allow-breaking")
	if dry.code != 0 || !strings.Contains(dry.out, "published") || !strings.Contains(dry.err, "nothing was changed") {
		t.Errorf("%+v", dry)
	}
	if again := p.Apply(t, export.out); again.code != 0 || strings.Contains(again.out, "published") {
		t.Errorf("a dry run changed something: %+v", again)
	}
	// Of acme, secrets are references, and nothing is known of their values.
	export = platform(t, p.environment(t), "export", "--tenant", "acme")
	s, err := p.secrets()
	if err != nil {
		t.Fatal(err)
	}
	if export.code != 0 || !strings.Contains(export.out, "{env: ORDERS_ADMIN_PASSWORD}") || strings.Contains(export.out+export.err, s.DemoAcme) || !strings.Contains(export.err, "ORDERS_ADMIN_PASSWORD") {
		t.Errorf("%+v", export)
	}
}

// Two people apply at once: both get through or say why, and the end is one of
// the two files, whole.
func TestTwoAppliesAtOnce(t *testing.T) {
	t.Parallel()
	p, slug := Shared(t), unique("umbrella")
	files := []string{small(slug, "echo"), small(slug, "echo", "whoami", "fail")}
	for range 3 {
		var results [2]ran
		var both sync.WaitGroup
		for i := range files {
			both.Go(func() { results[i] = p.Apply(t, files[i], "--allow-breaking") })
		}
		both.Wait()
		for i, r := range results {
			if r.code != 0 {
				t.Errorf("file %d: %+v", i, r)
			}
		}
	}
	unchanged := 0
	for _, f := range files {
		if r := p.Apply(t, f, "--allow-breaking"); r.code == 0 && !strings.Contains(r.out, "published") {
			unchanged++
		}
		if r := p.Apply(t, f, "--allow-breaking"); r.code != 0 || strings.Contains(r.out, "published") {
			t.Errorf("not whole: %+v", r)
		}
	}
	if unchanged > 1 {
		t.Errorf("both files are in force")
	}
}

func TestApplyUnreachableSaysSo(t *testing.T) {
	t.Parallel()
	p := Shared(t)
	file := writeFile(t, "tenant.yaml", small("initrode", "echo"))
	got := platform(t, []string{"LATCHKEY_URL=http://127.0.0.1:1", "LATCHKEY_API_KEY=lk_live_hunter2hunter2"}, "apply", "-f", file)
	if got.code != 1 || !strings.Contains(got.err, "nothing answers at http://127.0.0.1:1") || strings.Contains(got.err, "hunter2") {
		t.Errorf("%+v", got)
	}
	got = platform(t, nil, "apply", "-f", file, "--state", t.TempDir())
	if got.code != 2 || !strings.Contains(got.err, "LATCHKEY_URL") || !strings.Contains(got.err, "LATCHKEY_API_KEY") {
		t.Errorf("%+v", got)
	}
	got = platform(t, []string{"LATCHKEY_URL=" + p.APIURL, "LATCHKEY_API_KEY=lk_live_nobody"}, "apply", "-f", file)
	if got.code != 3 {
		t.Errorf("%+v", got)
	}
}
