package embedded

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Superuser is the role that StartPostgres makes and DSN connects as.
const Superuser = "latchkey_root"

// PostgresOptions says where a private Postgres lives and how it runs.
type PostgresOptions struct {
	StateDir string            // data directory, socket, log and password live below it
	CacheDir string            // where fetched binaries are kept, shared by all state dirs
	BinDir   string            // a configured folder with initdb and postgres; "" = search
	Fetch    bool              // skip the search and use the fetched binaries
	Port     int               // loopback TCP port, 0 = any free one
	Progress func(string)      // human progress lines, may be nil
	Settings map[string]string // extra -c settings
}

// Postgres is a running private server. It listens on 127.0.0.1 and on a unix
// socket, takes passwords only (scram-sha-256), and sorts by bytes (locale C),
// so that results do not depend on the machine.
type Postgres struct {
	*Child
	home     *postgresHome
	lock     *os.File
	socket   string // folder
	port     int
	major    int
	password string
}

// How Postgres is asked to end: "fast" rolls back what is open; "immediate"
// leaves the clean-up to the next start.
var postgresStop = []StopStep{{syscall.SIGINT, 15 * time.Second}, {syscall.SIGQUIT, 5 * time.Second}}

// StartPostgres starts a private server and returns when it takes connections.
// The first start makes the database cluster; later ones find its data again.
// A server that a killed run left behind on the same folder is stopped first.
//
// ctx bounds the start only; Stop ends the server, and so does the end of this
// process on Linux.
func StartPostgres(ctx context.Context, o PostgresOptions) (_ *Postgres, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("start Postgres: %w", err)
		}
	}()
	if err := absolute(&o.CacheDir, &o.BinDir); err != nil {
		return nil, err
	}
	stateDir, err := prepareState(o.StateDir)
	if err != nil {
		return nil, err
	}
	home, err := openPostgresHome(stateDir)
	if err != nil {
		return nil, err
	}
	lock, err := lockFolder(home.dir)
	if err != nil {
		return nil, err
	}
	p := &Postgres{home: home, lock: lock}
	defer func() {
		if err != nil {
			p.release()
		}
	}()

	if err := home.stopOrphan(o.Progress); err != nil {
		return nil, err
	}
	bins, err := findPostgres(ctx, o, home.as, home.major())
	if err != nil {
		return nil, err
	}
	p.major = bins.major
	if home.major() == 0 {
		progress(o.Progress).sayf("making a Postgres %d cluster in %s", bins.major, home.dir)
		if err := home.initdb(ctx, bins); err != nil {
			return nil, err
		}
	}
	if p.password, err = home.readPassword(); err != nil {
		return nil, err
	}
	if p.socket, err = home.openSocketDir(); err != nil {
		return nil, err
	}
	if err := p.launch(ctx, bins, o); err != nil {
		return nil, err
	}
	return p, nil
}

// launch starts the server, again where it lost a race that another try can win.
func (p *Postgres) launch(ctx context.Context, bins postgresBinaries, o PostgresOptions) error {
	for try := 1; ; try++ {
		p.port = o.Port
		if o.Port == 0 {
			port, err := FreePort()
			if err != nil {
				return err
			}
			p.port = port
		} else if err := PortTaken(net.JoinHostPort(p.Host(), strconv.Itoa(o.Port))); err != nil {
			if taken, ok := errors.AsType[*PortTakenError](err); ok {
				taken.Advice = "Stop that one, or leave Postgres's port unset: a free one is then taken."
			}
			return err
		}

		logged := fileSize(p.home.log())
		err := p.startChild(bins, o.Settings)
		if err != nil {
			return err
		}
		if err = p.awaitReady(ctx); err == nil {
			return nil
		}
		p.Child.Stop()
		said := readFrom(p.home.log(), logged)
		retry := o.Port == 0 && strings.Contains(said, "Address already in use") || // somebody took the port meanwhile
			strings.Contains(said, "pre-existing shared memory block") // a killed server's last processes are still ending
		if !retry || try == 10 || ctx.Err() != nil {
			return fmt.Errorf("%w; its log is %s%s", err, p.home.log(), tail(p.home.log(), 12))
		}
		time.Sleep(200 * time.Millisecond)
	}
}

func (p *Postgres) startChild(bins postgresBinaries, extra map[string]string) (err error) {
	settings := map[string]string{
		"listen_addresses":        p.Host(),
		"port":                    strconv.Itoa(p.port),
		"unix_socket_directories": `"` + strings.ReplaceAll(p.socket, `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"password_encryption":     "scram-sha-256",
		"max_connections":         "200",
		"timezone":                "UTC",
		"log_timezone":            "UTC",
		"log_destination":         "stderr",
		"logging_collector":       "off",
	}
	for name, value := range extra {
		settings[name] = value
	}
	args := []string{"-D", p.home.data()}
	for name, value := range settings {
		args = append(args, "-c", name+"="+value)
	}
	p.Child, err = StartChild(ChildOptions{
		Name: "Postgres", Path: bins.path("postgres"), Args: args,
		Env: postgresEnv(), Dir: p.home.dir, Log: p.home.log(),
		Credential: p.home.as.credential(), Stop: postgresStop,
	})
	return err
}

func (p *Postgres) awaitReady(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 60*time.Second) // recovery after a crash may take a while
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, p.DSN("postgres"))
		if err == nil {
			conn.Close(ctx)
			// The port may have been taken by a server that is not ours and
			// lets anybody in; ours is then about to end, and says so.
			if p.Err() == nil {
				return nil
			}
		}
		select {
		case <-p.Done():
			return fmt.Errorf("the server ended at once (%w)", p.Err())
		case <-ctx.Done():
			return fmt.Errorf("the server takes no connections: %w", err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// DSN connects to a database as the superuser, over TCP on loopback. It holds
// the password: keep it out of logs.
func (p *Postgres) DSN(database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(Superuser, p.password),
		Host: net.JoinHostPort(p.Host(), strconv.Itoa(p.port)), Path: "/" + database,
		RawQuery: "sslmode=disable",
	}
	return u.String()
}

// Host is the address the server listens on.
func (p *Postgres) Host() string { return "127.0.0.1" }

// Port is the TCP port the server listens on.
func (p *Postgres) Port() int { return p.port }

// SocketDir is the folder of the server's unix socket.
func (p *Postgres) SocketDir() string { return p.socket }

// Version is the server's major version.
func (p *Postgres) Version() int { return p.major }

// Stop ends the server, rolling back what is open, and lets the state folder go.
func (p *Postgres) Stop() error {
	err := p.Child.Stop()
	p.release()
	return err
}

func (p *Postgres) release() {
	if p.socket == p.home.shortSocketDir() {
		os.RemoveAll(p.socket)
	}
	p.lock.Close()
}

// postgresHome is the folder with one cluster and what belongs to it.
type postgresHome struct {
	dir string
	as  *account // nil: ourselves
}

// pointerFile, in a state folder, names the folder that Postgres's files are
// in when the account that runs it could not reach the state folder itself.
const pointerFile = "postgres-is-at"

// openPostgresHome finds or makes the folder for Postgres of a state folder.
func openPostgresHome(stateDir string) (*postgresHome, error) {
	dir, err := pointedTo(stateDir)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		dir = filepath.Join(stateDir, "postgres")
	}
	h := &postgresHome{dir: dir}
	if h.as, err = postgresAccount(h.data()); err != nil {
		return nil, err
	}
	if at := h.as.unreachableAt(dir); at != "" {
		if h.dir, err = elsewhere(stateDir); err != nil {
			return nil, fmt.Errorf("this is root, so Postgres runs as the account %s, which may not enter %s; using a folder in %s instead failed: %w. Name a state folder that every account may enter, run `chmod o+x %s`, or start as an ordinary user", h.as.name, at, publicBase, err, at)
		}
		if err := os.WriteFile(filepath.Join(stateDir, pointerFile), []byte(h.dir+"\n"), 0o600); err != nil {
			return nil, err
		}
	}
	if err := os.MkdirAll(h.dir, 0o711); err != nil || h.as == nil {
		return h, err
	}
	return h, os.Chmod(h.dir, 0o711) // the umask may have taken the account's way in
}

// pointedTo reads the pointer file. A pointer to a folder that is gone (or
// was never ours) counts for nothing.
func pointedTo(stateDir string) (string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, pointerFile))
	if errors.Is(err, os.ErrNotExist) {
		return "", nil
	}
	if errors.Is(err, os.ErrPermission) {
		return "", fmt.Errorf("%s was first used by root. Start as root again, or run `sudo make dev-reset` (its data is lost)", stateDir)
	}
	if err != nil {
		return "", err
	}
	dir := strings.TrimSpace(string(b))
	if filepath.Dir(dir) != publicBase || !strings.HasPrefix(filepath.Base(dir), "latchkey-") {
		return "", fmt.Errorf("%s in %s names %q, which this program never writes there. Remove that file, then try again", pointerFile, stateDir, dir)
	}
	if err := trusted(dir); errors.Is(err, os.ErrNotExist) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	return dir, nil
}

func (h *postgresHome) data() string         { return filepath.Join(h.dir, "data") }
func (h *postgresHome) log() string          { return filepath.Join(h.dir, "postgres.log") }
func (h *postgresHome) passwordFile() string { return filepath.Join(h.dir, "password") }
func (h *postgresHome) ownSocketDir() string { return filepath.Join(h.dir, "run") }

// major is the version that wrote the data, 0 where there is none yet.
func (h *postgresHome) major() int {
	b, err := os.ReadFile(filepath.Join(h.data(), "PG_VERSION"))
	if err != nil {
		return 0
	}
	return leadingInt(string(b))
}

// initdb makes the cluster under another name and renames it when it is whole,
// so that an interrupted first start leaves nothing half done.
func (h *postgresHome) initdb(ctx context.Context, bins postgresBinaries) error {
	fresh := h.data() + ".new"
	for _, dir := range []string{fresh, h.data()} { // data without a PG_VERSION is none
		if err := os.RemoveAll(dir); err != nil {
			return err
		}
	}
	if err := errors.Join(os.Mkdir(fresh, 0o700), h.as.own(fresh)); err != nil {
		return err
	}
	if err := os.WriteFile(h.passwordFile(), []byte(rand.Text()+"\n"), 0o600); err != nil {
		return err
	}
	if err := h.as.own(h.passwordFile()); err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, bins.path("initdb"), "-D", fresh, "-U", Superuser,
		"--pwfile="+h.passwordFile(), "--auth=scram-sha-256", "-E", "UTF8", "--locale=C",
		"--no-instructions",
		"--no-sync") // a power cut in the next seconds costs a reset, not data
	cmd.Env, cmd.Dir = postgresEnv(), h.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: h.as.credential()}
	if out, err := cmd.CombinedOutput(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s failed: %w%s", bins.path("initdb"), err, indent(string(out)))
	}
	return os.Rename(fresh, h.data())
}

// postgresEnv is small on purpose: PGDATA, PGPORT and the like would be obeyed.
func postgresEnv() []string { return []string{"PATH=/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"} }

func (h *postgresHome) readPassword() (string, error) {
	b, err := os.ReadFile(h.passwordFile())
	if err != nil {
		return "", fmt.Errorf("the superuser's password is lost: %w. Run `make dev-reset` to start anew (the data is lost)", err)
	}
	return strings.TrimSpace(string(b)), nil
}

// maxSocketPath is what a unix address holds on every system, with its zero byte.
const maxSocketPath = 104

// openSocketDir returns a folder for the unix socket that only the server's
// account and root may enter: in the state folder, or a temporary one where
// that path is too long for an address.
func (h *postgresHome) openSocketDir() (string, error) {
	dir := h.ownSocketDir()
	if len(filepath.Join(dir, ".s.PGSQL.65535.lock")) >= maxSocketPath {
		dir = h.shortSocketDir()
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("make a folder for the socket: %w", err)
	}
	st, err := os.Lstat(dir)
	if err != nil {
		return "", err
	}
	want := os.Getuid()
	if h.as != nil {
		want = h.as.uid
	}
	// Anybody may make folders in /tmp: one that is another's is refused.
	if uid, _ := ownerOf(st); !st.IsDir() || uid != want && uid != os.Getuid() {
		return "", fmt.Errorf("%s, for the socket, belongs to another account. Remove it, then try again", dir)
	}
	return dir, h.as.own(dir)
}

// shortSocketDir has a name of its own for each home, so that a later run or
// a reset finds what a killed run left. It is not below TMPDIR, which may be
// long too.
func (h *postgresHome) shortSocketDir() string {
	return "/tmp/latchkey-pg-" + shortHash(h.dir)
}

// stopOrphan ends the server of an earlier run that still has this data open.
// We hold the folder's lock, so that run is over.
func (h *postgresHome) stopOrphan(say progress) error {
	file := filepath.Join(h.data(), "postmaster.pid")
	b, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stopped, err := stopOrphan(leadingInt(string(b)), h.data(), postgresStop)
	if err != nil {
		return err
	}
	if stopped {
		say.sayf("stopped a Postgres that an earlier run left behind")
	}
	// Its number may be another process's by now (after a reboot, say), and
	// the server would take that one for itself and refuse to start.
	if err := os.Remove(file); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// resetPostgres removes what StartPostgres put outside the state folder, and
// makes sure nothing runs inside it.
func resetPostgres(stateDir string) error {
	dir, err := pointedTo(stateDir)
	if err != nil {
		return err
	}
	for _, at := range []string{filepath.Join(stateDir, "postgres"), dir} {
		if _, err := os.Stat(at); at == "" || err != nil {
			continue
		}
		home := &postgresHome{dir: at}
		lock, err := lockFolder(at)
		if err != nil {
			return err
		}
		err = home.stopOrphan(nil)
		lock.Close()
		if err != nil {
			return err
		}
		if err := os.RemoveAll(home.shortSocketDir()); err != nil {
			return err
		}
	}
	if dir == "" {
		return nil
	}
	return os.RemoveAll(dir)
}

func fileSize(file string) int64 {
	st, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return st.Size()
}

func readFrom(file string, offset int64) string {
	f, err := os.Open(file)
	if err != nil {
		return ""
	}
	defer f.Close()
	if _, err := f.Seek(offset, io.SeekStart); err != nil {
		return ""
	}
	b, _ := io.ReadAll(io.LimitReader(f, 1<<20))
	return string(b)
}
