package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// MinPostgres is the oldest major version that the platform's SQL runs on.
const MinPostgres = 14

// wellKnownPostgres is where systems put the server's binaries off PATH.
var wellKnownPostgres = []string{
	"/usr/lib/postgresql/*/bin",                          // Debian
	"/usr/pgsql-*/bin",                                   // Red Hat
	"/opt/homebrew/opt/postgresql@*/bin",                 // Homebrew
	"/usr/local/opt/postgresql@*/bin",                    // Homebrew, Intel
	"/Applications/Postgres.app/Contents/Versions/*/bin", // Postgres.app
	"/usr/local/pgsql/bin",                               // from source
}

type postgresBinaries struct {
	dir   string
	major int
}

// findPostgres returns binaries that the account can run, and that can open
// data of major version want, where that is not 0.
func findPostgres(ctx context.Context, o PostgresOptions, as *account, want int) (postgresBinaries, error) {
	if o.BinDir != "" {
		b, err := probePostgres(ctx, o.BinDir, as)
		if err != nil {
			return b, fmt.Errorf("%s=%s: %w", EnvPostgresBin, o.BinDir, err)
		}
		if want != 0 && b.major != want {
			return b, otherMajor(want, []string{b.String()})
		}
		return b, nil
	}

	var found []string
	if !o.Fetch {
		for _, dir := range installedPostgres() {
			b, err := probePostgres(ctx, dir, as)
			if err != nil {
				continue
			}
			if want == 0 || b.major == want {
				return b, nil
			}
			found = append(found, b.String())
		}
	}
	dir, err := fetchPostgres(ctx, o.CacheDir, as, o.Progress)
	if err != nil {
		if len(found) > 0 {
			return postgresBinaries{}, otherMajor(want, found)
		}
		return postgresBinaries{}, err
	}
	b, err := probePostgres(ctx, dir, as)
	if err != nil {
		return b, fmt.Errorf("the fetched Postgres does not run on this machine: %w. %s", err, installPostgres())
	}
	if want != 0 && b.major != want {
		return b, otherMajor(want, append(found, b.String()))
	}
	return b, nil
}

func (b postgresBinaries) String() string { return fmt.Sprintf("%d in %s", b.major, b.dir) }

func (b postgresBinaries) path(name string) string { return filepath.Join(b.dir, name) }

func otherMajor(want int, found []string) error {
	return fmt.Errorf("the data was written by Postgres %d, and this machine has %s. Set %s to the bin folder of a Postgres %d, or run `make dev-reset` to start anew (the data is lost)",
		want, strings.Join(found, " and "), EnvPostgresBin, want)
}

// installedPostgres lists folders worth a look, best first: what PATH says,
// then the newest.
func installedPostgres() []string {
	var dirs []string
	if p, err := exec.LookPath("postgres"); err == nil {
		dirs = append(dirs, filepath.Dir(p))
	}
	for _, pattern := range wellKnownPostgres {
		found, _ := filepath.Glob(pattern)
		slices.SortFunc(found, func(a, b string) int { return majorInPath(b) - majorInPath(a) })
		dirs = append(dirs, found...)
	}
	return dirs
}

// majorInPath reads 15 out of /usr/lib/postgresql/15/bin, to sort by.
func majorInPath(dir string) int {
	name := filepath.Base(filepath.Dir(dir))
	return leadingInt(name[strings.LastIndexAny(name, "@-")+1:])
}

// probePostgres finds out what a folder has. It asks the binary itself.
func probePostgres(ctx context.Context, dir string, as *account) (b postgresBinaries, err error) {
	b.dir = dir
	for _, name := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(b.path(name)); err != nil {
			return b, fmt.Errorf("has no %s; want the bin folder of a Postgres server", name)
		}
	}
	if at := as.unreachableAt(dir); at != "" {
		return b, fmt.Errorf("the account %s, which runs Postgres for root, may not enter %s", as.name, at)
	}
	out, err := exec.CommandContext(ctx, b.path("postgres"), "--version").CombinedOutput()
	if err != nil {
		return b, fmt.Errorf("`%s --version` failed: %w%s", b.path("postgres"), err, indent(string(out)))
	}
	// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)"
	_, version, _ := strings.Cut(string(out), "(PostgreSQL) ")
	b.major = leadingInt(version)
	if b.major < MinPostgres {
		return b, fmt.Errorf("is Postgres %s; %d or newer is needed", strings.TrimSpace(version), MinPostgres)
	}
	return b, nil
}

func leadingInt(s string) int {
	end := 0
	for end < len(s) && '0' <= s[end] && s[end] <= '9' {
		end++
	}
	n, _ := strconv.Atoi(s[:end])
	return n
}
