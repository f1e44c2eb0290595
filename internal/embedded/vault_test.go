package embedded

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func vaultCall(t *testing.T, v *Vault, method, path, body string) map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, v.Addr()+"/v1/"+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.RootToken())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	b, _ := io.ReadAll(res.Body)
	if res.StatusCode >= 300 {
		t.Fatalf("%s %s: %s %s", method, path, res.Status, b)
	}
	var out map[string]any
	json.Unmarshal(b, &out) // some answers have no body
	return out
}

// realVaultd makes sure the vaultd of this repository is meant.
func realVaultd(t *testing.T, dir string) VaultOptions {
	t.Helper()
	o := vaultOptions(dir)
	o.Bin = ""
	t.Setenv("PATH", pathWithout(t, "vault", "bao"))
	return o
}

// pathWithout is PATH less the folders that hold one of the names.
func pathWithout(t *testing.T, names ...string) string {
	t.Helper()
	var keep []string
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		has := false
		for _, name := range names {
			has = has || exists(filepath.Join(dir, name))
		}
		if !has {
			keep = append(keep, dir)
		}
	}
	return strings.Join(keep, string(filepath.ListSeparator))
}

func TestVaultRestartKeepsData(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	v := startVault(t, o)
	vaultCall(t, v, "POST", "sys/mounts/kept", `{"type":"kv"}`)
	vaultCall(t, v, "POST", "kept/secret", `{"value":"42"}`)
	token := v.RootToken()
	if !v.Persistent() {
		t.Error("not persistent")
	}
	if err := v.Stop(); err != nil {
		t.Fatal(err)
	}

	v = startVault(t, o)
	if v.RootToken() != token {
		t.Error("the root token changed")
	}
	got := vaultCall(t, v, "GET", "kept/secret", "")
	if value := got["data"].(map[string]any)["value"]; value != "42" {
		t.Errorf("after the restart: %v", value)
	}
	_, err := StartVault(t.Context(), o)
	wantError(t, err, "start Vault", "is in use by")
}

func TestVaultdCarriesWhatThePlatformAsksFor(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	o.InMemory = true
	v := startVault(t, o)
	if v.Persistent() {
		t.Error("persistent")
	}
	for _, kind := range []string{"kv-v2", "transit", "pki", "database"} {
		vaultCall(t, v, "POST", "sys/mounts/the-"+kind, fmt.Sprintf(`{"type":%q}`, kind))
	}
	for _, kind := range []string{"jwt", "approle"} {
		vaultCall(t, v, "POST", "sys/auth/the-"+kind, fmt.Sprintf(`{"type":%q}`, kind))
	}
	log := filepath.Join(t.TempDir(), "audit.log")
	vaultCall(t, v, "POST", "sys/audit/file", fmt.Sprintf(`{"type":"file","options":{"file_path":%q}}`, log))
	vaultCall(t, v, "GET", "sys/mounts", "")
	if readFrom(log, 0) == "" {
		t.Error("the audit device wrote nothing")
	}

	// The database engine runs its plugin inside, not as a process of its own.
	p := startPostgres(t, postgresOptions(stateDir(t)))
	vaultCall(t, v, "POST", "the-database/config/pg", fmt.Sprintf(`{"plugin_name":"postgresql-database-plugin",
		"connection_url":%q,"allowed_roles":"*"}`, p.DSN("postgres")))
	vaultCall(t, v, "POST", "the-database/roles/reader", `{"db_name":"pg","default_ttl":"1m",
		"creation_statements":"CREATE ROLE \"{{name}}\" LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}'"}`)
	got := vaultCall(t, v, "GET", "the-database/creds/reader", "")
	if got["data"].(map[string]any)["username"] == "" {
		t.Errorf("no credential: %v", got)
	}
}

// A vaultd of an earlier run ends even where there is no parent-death signal,
// because its standard input does.
func TestVaultdEndsWithItsInput(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	v := startVault(t, o)
	v.stdin.Close()
	<-v.Done()
	if v.Err() != nil {
		t.Errorf("it ended with %v", v.Err())
	}
}

func TestVaultOrphanIsTakenOver(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	orphan := startVault(t, o)
	orphan.lock.Close()
	v := startVault(t, o)
	<-orphan.Done()
	vaultCall(t, v, "GET", "sys/mounts", "")
}

// fakeVaultd is a vaultd that builds in a second.
func fakeVaultd(t *testing.T, code string) VaultOptions {
	t.Helper()
	dir := stateDir(t)
	o := realVaultd(t, dir)
	o.SourceDir, o.CacheDir = filepath.Join(dir+"-source"), filepath.Join(dir+"-cache")
	writeFile(t, "module fake\n\ngo 1.24\n", 0o644, o.SourceDir, "go.mod")
	writeFile(t, code, 0o644, o.SourceDir, "main.go")
	return o
}

const fakeMain = `package main

import (
	"fmt"
	"net"
	"net/http"
)

func main() {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	fmt.Printf("{\"addr\":\"http://%s\",\"root_token\":\"fake\"}\n", ln.Addr())
	http.Serve(ln, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
}
`

func TestVaultIsBuiltOnce(t *testing.T) {
	o := fakeVaultd(t, fakeMain)
	var builds atomic.Int32
	o.Progress = func(s string) {
		if strings.HasPrefix(s, "built Vault") {
			builds.Add(1)
		}
	}
	start := func(n int) {
		o := o
		o.StateDir = fmt.Sprintf("%s-%d", o.StateDir, n)
		v, err := StartVault(t.Context(), o)
		if err != nil {
			t.Error(err)
			return
		}
		v.Stop()
	}
	var all sync.WaitGroup
	for n := range 5 {
		all.Go(func() { start(n) })
	}
	all.Wait()
	if n := builds.Load(); n != 1 {
		t.Errorf("five concurrent starts built %d times", n)
	}
	start(5)
	writeFile(t, fakeMain+"// changed\n", 0o644, o.SourceDir, "main.go")
	start(6)
	if n := builds.Load(); n != 2 {
		t.Errorf("after a change: %d builds, not 2", n)
	}
	left, _ := filepath.Glob(filepath.Join(o.CacheDir, "vaultd", "*", "vaultd.[0-9]*"))
	if len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

func TestVaultThatDoesNotBuild(t *testing.T) {
	o := fakeVaultd(t, "package main\n\nfunc main() { undefinedThing() }\n")
	_, err := StartVault(t.Context(), o)
	wantError(t, err, "building vaultd in "+o.SourceDir+" failed", "go online once", "undefined: undefinedThing", EnvVaultBin, "vaultd.log")
}

func TestVaultThatEndsAtOnce(t *testing.T) {
	o := fakeVaultd(t, "package main\n\nfunc main() { panic(\"no luck\") }\n")
	_, err := StartVault(t.Context(), o)
	wantError(t, err, "ended at once", "vault.log", "no luck")
}

// vaultScript is another maker's vault: this test binary, acting as one.
func vaultScript(t *testing.T) string {
	t.Helper()
	script := fmt.Sprintf("#!/bin/sh\n%s=vault exec %q \"$@\"\n", envRole, os.Args[0])
	return writeFile(t, script, 0o755, t.TempDir(), "vault")
}

func TestVaultBinRunsInDevMode(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	t.Setenv("VAULT_ADDR", "https://vault.production.example")
	script := vaultScript(t)
	t.Chdir(filepath.Dir(filepath.Dir(script)))
	o.Bin = filepath.Join(filepath.Base(filepath.Dir(script)), "vault") // relative
	testDevMode(t, o)
}

func TestVaultOnPathRunsInDevMode(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	t.Setenv("PATH", filepath.Dir(vaultScript(t))+":"+os.Getenv("PATH"))
	testDevMode(t, o)
}

func testDevMode(t *testing.T, o VaultOptions) {
	t.Helper()
	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	v := startVault(t, o)
	if v.Persistent() || !strings.Contains(strings.Join(said, "\n"), "gone when it stops") {
		t.Errorf("the loss of data was not said: %q", said)
	}
	orphan := v
	orphan.lock.Close()
	startVault(t, o)
	<-orphan.Done()
}

func TestVaultBinThatIsNone(t *testing.T) {
	o := vaultOptions(stateDir(t))
	o.Bin = "/bin/echo"
	_, err := StartVault(t.Context(), o)
	wantError(t, err, EnvVaultBin+"=/bin/echo", "does not answer like vault, bao or vaultd")
}

func TestVaultWithNothingToRun(t *testing.T) {
	o := realVaultd(t, stateDir(t))
	o.SourceDir = ""
	_, err := StartVault(t.Context(), o)
	wantError(t, err, "no `vault` or `bao` on PATH", EnvVaultBin)
}
