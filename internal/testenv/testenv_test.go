package testenv_test

import (
	"context"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/testenv"
)

func TestMain(m *testing.M) { testenv.Main(m) }

func TestDatabasesAreFreshAndApart(t *testing.T) {
	one, two := connect(t, testenv.Database(t)), connect(t, testenv.Database(t))
	if _, err := one.Exec(t.Context(), "CREATE TABLE kept (id int)"); err != nil {
		t.Fatal(err)
	}
	var found bool
	err := two.QueryRow(t.Context(), "SELECT to_regclass('kept') IS NOT NULL").Scan(&found)
	if err != nil || found {
		t.Errorf("the other database has the table: %v, %v", found, err)
	}
}

// A test that leaves a connection open must not keep its database.
func TestDatabaseIsDroppedUnderAConnection(t *testing.T) {
	var dsn string
	t.Run("leaves one open", func(t *testing.T) {
		dsn = testenv.Database(t)
		connect(t, dsn)
	})
	if _, err := pgx.Connect(t.Context(), dsn); err == nil || !strings.Contains(err.Error(), "does not exist") {
		t.Errorf("connect to the dropped database: %v", err)
	}
}

func TestVaultAnswersToItsRootToken(t *testing.T) {
	v := testenv.Vault(t)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, v.Addr()+"/v1/auth/token/lookup-self", nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Vault-Token", v.RootToken())
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		t.Errorf("lookup-self: %s", res.Status)
	}
	if testenv.Vault(t) != v {
		t.Error("a second use started another server")
	}
}

func TestNPMInstallsOnce(t *testing.T) {
	dir := testenv.NPM(t, "is-number@7.0.0")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "is-number", "index.js")); err != nil {
		t.Error(err)
	}
	if again := testenv.NPM(t, "is-number@7.0.0"); again != dir {
		t.Errorf("a second use is at %s, the first at %s", again, dir)
	}
	out, err := exec.Command(filepath.Join(testenv.Node(t), "node"), "-p", "require('is-number')(5)").CombinedOutput()
	if err == nil {
		t.Errorf("the package is visible from everywhere: %s", out)
	}
	cmd := exec.Command(filepath.Join(testenv.Node(t), "node"), "-p", "require('is-number')(5)")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || strings.TrimSpace(string(out)) != "true" {
		t.Errorf("node: %s, %v", out, err)
	}
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close(context.Background()) })
	return conn
}
