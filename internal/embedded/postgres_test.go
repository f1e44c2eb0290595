package embedded

import (
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

func query[T any](t *testing.T, dsn, sql string) (v T) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if err := conn.QueryRow(t.Context(), sql).Scan(&v); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
	return v
}

func TestPostgresRestartKeepsData(t *testing.T) {
	dir := stateDir(t)
	p := startPostgres(t, postgresOptions(dir))
	dsn := p.DSN("postgres")
	query[string](t, dsn, "SELECT lo_from_bytea(4711, 'kept')::text") // a write that returns a row
	if got := query[string](t, dsn, "SELECT current_user || ' ' || current_setting('password_encryption')"); got != Superuser+" scram-sha-256" {
		t.Errorf("%s", got)
	}
	if err := p.Stop(); err != nil {
		t.Fatal(err)
	}

	p = startPostgres(t, postgresOptions(dir))
	if got := query[string](t, p.DSN("postgres"), "SELECT convert_from(lo_get(4711), 'UTF8')"); got != "kept" {
		t.Errorf("after the restart: %q", got)
	}
	if p.Version() < MinPostgres {
		t.Errorf("version %d", p.Version())
	}
	if _, err := os.Stat(filepath.Join(p.SocketDir(), ".s.PGSQL."+strconv.Itoa(p.Port()))); err != nil {
		t.Errorf("no unix socket: %v", err)
	}
	if err := p.Stop(); err != nil {
		t.Error(err)
	}
	if err := p.Stop(); err != nil {
		t.Errorf("a second Stop: %v", err)
	}
}

func TestPostgresAsksForThePassword(t *testing.T) {
	p := startPostgres(t, postgresOptions(stateDir(t)))
	u, err := url.Parse(p.DSN("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(Superuser, "guess")
	t.Setenv("PGPASSFILE", "/nonexistent")
	_, err = pgx.Connect(t.Context(), u.String())
	wantError(t, err, "password authentication failed")
	_, err = pgx.Connect(t.Context(), "host="+p.SocketDir()+" port="+strconv.Itoa(p.Port())+" user="+Superuser+" password=guess dbname=postgres")
	wantError(t, err, "password authentication failed")
}

func TestPostgresStateIsHeldByOneAtATime(t *testing.T) {
	o := postgresOptions(stateDir(t))
	p := startPostgres(t, o)
	_, err := StartPostgres(t.Context(), o)
	wantError(t, err, "start Postgres", "is in use by", "(pid "+strconv.Itoa(os.Getpid())+")")
	if !lives(p.Pid()) {
		t.Error("the second start ended the first server")
	}
}

func TestPostgresOrphanIsTakenOver(t *testing.T) {
	o := postgresOptions(stateDir(t))
	orphan := startPostgres(t, o)
	orphan.lock.Close() // as if its parent had died where there is no parent-death signal

	var said []string
	o.Progress = func(s string) { said = append(said, s) }
	p := startPostgres(t, o)
	<-orphan.Done()
	if !strings.Contains(strings.Join(said, "\n"), "earlier run left behind") {
		t.Errorf("it was not said: %q", said)
	}
	query[int](t, p.DSN("postgres"), "SELECT 1")
}

func TestPostgresStartsAfterACrash(t *testing.T) {
	o := postgresOptions(stateDir(t))
	p := startPostgres(t, o)
	syscall.Kill(p.Pid(), syscall.SIGKILL)
	<-p.Done()
	p.Stop()
	// After a reboot the number in the file may be anybody's: here, a process
	// of the very account that Postgres would have to be afraid of.
	file := filepath.Join(p.home.data(), "postmaster.pid")
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b = append([]byte(strconv.Itoa(os.Getpid())), b[strings.IndexByte(string(b), '\n'):]...)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	p = startPostgres(t, o)
	query[int](t, p.DSN("postgres"), "SELECT 1")
}

// An interrupted first start leaves a half-made cluster, which is no cluster.
func TestPostgresStartsAfterAnInterruptedFirstStart(t *testing.T) {
	dir := stateDir(t)
	if _, err := prepareState(dir); err != nil {
		t.Fatal(err)
	}
	writeFile(t, "half", 0o600, dir, "postgres", "data.new", "PG_VERSION")
	writeFile(t, "half\n", 0o600, dir, "postgres", "password")
	p := startPostgres(t, postgresOptions(dir))
	query[int](t, p.DSN("postgres"), "SELECT 1")
}

func TestPostgresDataOfAnotherVersion(t *testing.T) {
	dir := stateDir(t)
	o := postgresOptions(dir)
	p := startPostgres(t, o)
	p.Stop()
	writeFile(t, "7\n", 0o600, p.home.data(), "PG_VERSION")
	o.BinDir = installedPostgresForTest(t)
	_, err := StartPostgres(t.Context(), o)
	wantError(t, err, "written by Postgres 7", "this machine has "+strconv.Itoa(p.Version()), EnvPostgresBin, "make dev-reset")
}

// installedPostgresForTest is where the first search found binaries.
func installedPostgresForTest(t *testing.T) string {
	t.Helper()
	as, err := postgresAccount("")
	if err != nil {
		t.Fatal(err)
	}
	b, err := findPostgres(t.Context(), PostgresOptions{CacheDir: sharedCache()}, as, 0)
	if err != nil {
		t.Fatal(err)
	}
	return b.dir
}

func TestPostgresBinDirWithoutBinaries(t *testing.T) {
	o := postgresOptions(stateDir(t))
	o.BinDir = t.TempDir()
	_, err := StartPostgres(t.Context(), o)
	wantError(t, err, EnvPostgresBin+"="+o.BinDir, "has no initdb")
}

func TestPostgresTooOld(t *testing.T) {
	bin := stateDir(t) + "-bin" // removed with its parent
	writeFile(t, "#!/bin/sh\n", 0o755, bin, "initdb")
	writeFile(t, "#!/bin/sh\necho 'postgres (PostgreSQL) 13.14'\n", 0o755, bin, "postgres")
	o := postgresOptions(stateDir(t))
	o.BinDir = bin
	_, err := StartPostgres(t.Context(), o)
	wantError(t, err, "is Postgres 13.14", "14 or newer is needed")
}

func TestPostgresPortTaken(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	o := postgresOptions(stateDir(t))
	o.Port = ln.Addr().(*net.TCPAddr).Port
	_, err = StartPostgres(t.Context(), o)
	wantError(t, err, "Port "+strconv.Itoa(o.Port)+" is taken by", "(pid "+strconv.Itoa(os.Getpid())+")", "Postgres")
}

func TestPostgresFailureShowsItsLog(t *testing.T) {
	o := postgresOptions(stateDir(t))
	o.Settings = map[string]string{"shared_buffers": "nonsense"}
	_, err := StartPostgres(t.Context(), o)
	wantError(t, err, "postgres.log", `invalid value for parameter "shared_buffers"`)
}

// A checkout may lie so deep that its socket's path is no address.
func TestPostgresInALongPath(t *testing.T) {
	base := stateDir(t)
	if _, err := prepareState(base); err != nil { // so that it is reset
		t.Fatal(err)
	}
	dir := filepath.Join(base, strings.Repeat("deep/", 30), "state, with a comma")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	p := startPostgres(t, postgresOptions(dir))
	socket := p.SocketDir()
	if !exists(filepath.Join(socket, ".s.PGSQL."+strconv.Itoa(p.Port()))) {
		t.Error("no unix socket")
	}
	p.Stop()
	if exists(socket) {
		t.Errorf("%s is left behind", socket)
	}
}

// Root's Postgres runs as another account, which cannot enter root's folders;
// everybody else's stays where it was put.
func TestPostgresInAPrivateFolder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "state") // the parent is for its owner only
	o := postgresOptions(dir)
	p := startPostgres(t, o)
	home := p.home.dir
	if moved := !strings.HasPrefix(home, dir); moved != (os.Getuid() == 0) {
		t.Errorf("as uid %d Postgres is in %s", os.Getuid(), home)
	}
	query[string](t, p.DSN("postgres"), "SELECT lo_from_bytea(4711, 'kept')::text")
	p.Stop()

	p = startPostgres(t, o)
	if p.home.dir != home {
		t.Errorf("the second start is in %s, the first in %s", p.home.dir, home)
	}
	query[string](t, p.DSN("postgres"), "SELECT lo_get(4711)::text")
	wantError(t, Reset(dir), "in use by")
	p.Stop()
	if err := Reset(dir); err != nil {
		t.Fatal(err)
	}
	if exists(home) || exists(dir) {
		t.Error("Reset left something behind")
	}
}

// Whoever can write to the state folder must not have root remove or use
// another one.
func TestForgedPointerIsRefused(t *testing.T) {
	victim := filepath.Join(t.TempDir(), "victim")
	writeFile(t, "precious", 0o600, victim, "file")
	dir := filepath.Join(t.TempDir(), "state")
	if _, err := prepareState(dir); err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{victim, filepath.Dir(victim) + "/latchkey-x", publicBase + "/latchkey-x/../../../" + victim, "", "/"} {
		writeFile(t, to+"\n", 0o600, dir, pointerFile)
		wantError(t, Reset(dir), pointerFile)
		_, err := StartPostgres(t.Context(), postgresOptions(dir))
		wantError(t, err, pointerFile)
	}
	if !exists(filepath.Join(victim, "file")) {
		t.Error("the victim is gone")
	}
}

func TestPostgresFetched(t *testing.T) {
	if testing.Short() {
		t.Skip("downloads 20 MB")
	}
	o := postgresOptions(stateDir(t))
	// As root's own cache, this one is closed to the account that runs
	// Postgres: the binaries go elsewhere.
	o.Fetch, o.CacheDir = true, t.TempDir()
	defer os.RemoveAll(filepath.Join(publicBase, "latchkey-"+shortHash(o.CacheDir)))
	p := startPostgres(t, o)
	if got := query[string](t, p.DSN("postgres"), "SHOW server_version"); !strings.HasPrefix(got, strconv.Itoa(p.Version())) {
		t.Errorf("server %s, Version() %d", got, p.Version())
	}
	// Extensions find their library through one of the recreated links.
	query[string](t, p.DSN("postgres"), "SELECT gen_random_uuid()::text")
	p.Stop()
	startPostgres(t, o).Stop()
}
