package stdiotool

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"latchkey/internal/registry"
)

const hash = "sha512-kKaFkyAh6oipvc9+EAbJ552JafnMnOq5nzmzWkp1jJdBhTAAGpmIpWihUG1+rfNhmEFM98gUZDdCHCDD4v6a7Q=="

func TestSpecIsReadWhole(t *testing.T) {
	raw, _, problems := check(parse(t, `
package: {npm: "@a/server@1.2.3", integrity: `+hash+`, bin: serve}
args: [/state, --verbose]
env: {LOG_LEVEL: info}
state: true
seed: {notes/a.md: hello}
per: user
stateless: true
protocol: 2025-06-18
sandbox: gvisor
limits: {memory: 1GB, pids: 32, cpu: 0.5, tmp: 10MB, state: 2GB, idle: 1h, start: 90s}
include: [read_*]
instructions: Read.
`))
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	var s spec
	if err := json.Unmarshal(raw, &s); err != nil {
		t.Fatal(err)
	}
	want := limits{Memory: 1 << 30, Pids: 32, CPUMillis: 500, Tmp: 10 << 20, State: 2 << 30, Idle: time.Hour, Start: 90 * time.Second}
	if s.Limits != want || s.Package.asked().Bin != "serve" || !s.PerUser || !s.State || !s.Stateless || s.Protocol != "2025-06-18" || s.Sandbox != "gvisor" || s.Seed["notes/a.md"] != "hello" || len(s.Include) != 1 || s.Instructions != "Read." {
		t.Errorf("read %s", raw)
	}
}

func TestDownloadIsRead(t *testing.T) {
	raw, _, problems := check(parse(t, "download: {url: https://x.test/a.tar.gz, sha256: sha256:"+strings.Repeat("AB", 32)+", run: bin/a}\nargs: [stdio]"))
	var s spec
	if err := json.Unmarshal(raw, &s); len(problems) > 0 || err != nil {
		t.Fatal(problems, err)
	}
	if want := (download{"https://x.test/a.tar.gz", strings.Repeat("ab", 32), "bin/a"}); *s.Download != want {
		t.Errorf("%+v", s.Download)
	}
	// It is no part of what an upstream offers: what is pinned changes nothing of it.
	defined, _, problems := define(raw, registry.Offer{Protocol: "2025-06-18", Lock: json.RawMessage(`{}`)})
	if len(problems) > 0 || !strings.Contains(string(defined), `"run":"bin/a"`) {
		t.Errorf("%s, %v", defined, problems)
	}
}

// Each wrong place is named with its line and what to write instead.
func TestWrongSpecIsExplained(t *testing.T) {
	const whole, download = "package: {npm: a@1.0.0}\n", "download: {url: https://x.test/a, sha256: "
	sum := strings.Repeat("a", 64)
	for text, want := range map[string]string{
		"args: [x]":                                             "1: spec: says no program",
		"package: {npm: a@latest}":                              "1: spec.package.npm: \"latest\" is not one exact version",
		"package: {npm: a}":                                     "1: spec.package.npm: has no version",
		"package: {npm: a@^1.0.0}":                              "1: spec.package.npm: \"^1.0.0\" is not one exact version",
		"package: {npm: ../a@1.0.0}":                            "1: spec.package.npm: \"../a\" is no package name",
		"package: {}":                                           "1: spec.package.npm: is missing",
		"package: a@1.0.0":                                      "1: spec.package: must be a mapping",
		whole + "command: {argv: [node]}":                       "2: spec.command: stands beside a package",
		whole + "download: {}":                                  "2: spec.download: stands beside a package",
		"download: {url: https://x.test/a}":                     "1: spec.download.sha256: is missing",
		"download: {sha256: abc}":                               "1: spec.download.url: is missing",
		download + "abc}":                                       "1: spec.download.sha256: is no SHA-256",
		download + sum + ", run: ../x}":                         "1: spec.download.run: is no path in an archive",
		"download: {url: http://x.test/a, sha256: " + sum + "}": "1: spec.download.url: is not encrypted; write the https://",
		"download: {url: https://u:p@x.test/a, sha256: " + sum + "}": "has a name or password in it",
		"download: {url: https://x.test, sha256: " + sum + "}":       "is no address of a file",
		"command: {argv: []}":                                          "1: spec.command.argv: is missing",
		"command: {argv: [npx, a]}":                                    "1: spec.command.argv: begins with \"npx\"",
		"command: {argv: [/usr/../bin/x]}":                             "1: spec.command.argv: begins with",
		"command: {argv: [node], files: {../x: a}}":                    "1: spec.command.files.../x: is no path of a file",
		"command: {argv: [node], files: {/etc/x: a}}":                  "is no path of a file",
		"command: {argv: [node], files: {.hidden: a}}":                 "is no path of a file",
		"command: {argv: [node], files: {a.js: {file: x}}}":            "must be a text",
		"package: {npm: a@1.0.0, integrity: sha1-xyz}":                 "is no hash",
		"package: {npm: a@1.0.0, bin: ../x}":                           "is no name of a program",
		whole + "limits: {memory: lots}":                               "2: spec.limits.memory: must be a size",
		whole + "limits: {memory: 1MB}":                                "write one from 64MB to 8GB",
		whole + "limits: {memory: 99999999999GB}":                      "must be a size",
		whole + "limits: {cpu: NaN}":                                   "must be a number of cores",
		whole + "limits: {cpu: -1}":                                    "must be a number of cores",
		whole + "limits: {pids: 1}":                                    "must be a whole number",
		whole + "limits: {idle: 1s}":                                   "must be a duration",
		whole + "limits: {disk: 1GB}":                                  "is not known",
		whole + "per: person":                                          "write server for one process, or user",
		whole + "protocol: latest":                                     "2: spec.protocol: \"latest\" is no revision of MCP",
		whole + "sandbox: none":                                        "write any, bwrap or gvisor",
		whole + "seed: {a.md: x}":                                      "write state: true",
		whole + "env: {a-b: x}":                                        "is no name of a variable",
		whole + "env: {A: [x]}":                                        "must be a text",
		whole + "env: {A: " + strings.Repeat("x", maxEnvValue+1) + "}": "has more than",
		whole + "dir: state":                                           "is no folder inside",
		whole + "args: [" + strings.Repeat("a, ", maxArgs+1) + "]":     "has more than 64 entries",
		whole + "state: true\nseed: {a: " + strings.Repeat("x", maxFileBytes) + ", b: bb, c: }": "has more than 100 files or 512 KB",
	} {
		_, _, problems := check(parse(t, text))
		if len(problems) == 0 {
			t.Errorf("%.80s: nothing is wrong with it", text)
			continue
		}
		said := ""
		for _, p := range problems {
			said += fmt.Sprintf("%d: %s: %s; %s\n", p.Line, p.Path, p.Reason, p.Fix)
			if p.Fix == "" || p.Line == 0 {
				t.Errorf("%.80s: without a line or a remedy: %+v", text, p)
			}
		}
		if !strings.Contains(said, want) {
			t.Errorf("%.80s: said %s, want %s", text, said, want)
		}
	}
}

// connection reads a connection as the registry gives it to a kind.
func connectionOf(t *testing.T, text string) (registry.Connection, []registry.Problem) {
	t.Helper()
	values := map[string]string{"KEY": "canary-1", "EMPTY": "", "account.json": "canary-2"}
	return registry.CheckConnection(only{}, "stdio", parse(t, text), func(from, name string) (string, error) {
		if v, ok := values[name]; ok {
			return v, nil
		}
		return "", fmt.Errorf("%s is not set", name)
	})
}

func TestConnectionKeepsSecretsApart(t *testing.T) {
	c, problems := connectionOf(t, "secrets: {API_KEY: {env: KEY}}\nfiles: {account.json: {file: account.json}}\negress: ['api.example.com:443', '*.example.org:443']")
	if len(problems) > 0 {
		t.Fatal(problems)
	}
	if c.Secrets["secrets.API_KEY"] != "canary-1" || c.Secrets["files.account.json"] != "canary-2" {
		t.Errorf("secrets: %d", len(c.Secrets))
	}
	if all := string(c.Normalized) + string(c.Declared) + source(c.Normalized); strings.Contains(all, "canary") || !strings.Contains(source(c.Normalized), "API_KEY, account.json") {
		t.Error(all)
	}
}

func TestWrongConnectionIsExplained(t *testing.T) {
	for text, want := range map[string]string{
		"secrets: {API_KEY: plain}":                  "secrets do not belong into files",
		"secrets: {API_KEY: {env: EMPTY}}":           "refers to something that is empty",
		"secrets: {API_KEY: {env: NONE}}":            "NONE is not set",
		"secrets: {api-key: {env: KEY}}":             "is no name of a variable",
		"secrets: [a]":                               "must be a mapping",
		"files: {../x: {env: KEY}}":                  "is no path of a file",
		"egress: [example.com]":                      "must be host:port",
		"egress: ['*:443']":                          "egress",
		"egress: ['https://example.com:443']":        "egress",
		"url: x":                                     "is not known",
		"secrets: {A: {env: KEY}, A: {file: other}}": "",
	} {
		_, problems := connectionOf(t, text)
		said := (&registry.Problems{List: problems}).Error()
		if len(problems) == 0 || !strings.Contains(said, want) {
			t.Errorf("%s: said %q", text, said)
		}
	}
}

// A lock is taken from the pinned offer only while it is that of the package.
func TestDefineTakesTheLockOfThePackage(t *testing.T) {
	raw, _, _ := check(parse(t, "package: {npm: a@1.0.0}"))
	lock := json.RawMessage(`{"lockfileVersion":3,"packages":{"":{"dependencies":{"a":"1.0.0"}},"node_modules/a":{"version":"1.0.0","integrity":"` + hash + `"}}}`)
	with, _, problems := define(raw, registry.Offer{Protocol: "2025-06-18", Lock: lock})
	if len(problems) > 0 || !strings.Contains(string(with), "lockfileVersion") {
		t.Errorf("%s, %v", with, problems)
	}
	next, _, _ := check(parse(t, "package: {npm: a@1.0.1}"))
	if got, _, _ := define(next, registry.Offer{Protocol: "2025-06-18", Lock: lock}); strings.Contains(string(got), "lockfileVersion") {
		t.Error("another version has the lock of the one before")
	}
}
