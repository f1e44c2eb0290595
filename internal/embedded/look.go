package embedded

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// Look says what StartPostgres, StartVault and Node22 would use, without
// fetching, building or starting anything.
type Look struct {
	Found string // what it is and where; or that it is fetched or built at the first start
	Fix   string // "" when all is well
}

// LookForPostgres looks where StartPostgres does.
func LookForPostgres(ctx context.Context, o PostgresOptions) Look {
	dirs := installedPostgres()
	if o.BinDir != "" {
		dirs = []string{o.BinDir}
	}
	for _, dir := range dirs {
		if b, err := probePostgres(ctx, dir, nil); err == nil {
			return Look{Found: b.String()}
		} else if o.BinDir != "" {
			return Look{Found: err.Error(), Fix: "Set " + EnvPostgresBin + " to a folder with initdb and postgres, or to nothing."}
		}
	}
	if pkg, ok := postgresPackages[runtime.GOOS+"/"+runtime.GOARCH]; ok {
		if _, err := os.Stat(filepath.Join(o.CacheDir, "postgres", pkg.version)); err == nil {
			return Look{Found: pkg.version + " in the cache"}
		}
		if _, err := exec.LookPath("npm"); err == nil {
			return Look{Found: "none yet; fetched with npm at the first start"}
		}
	}
	return Look{Found: "none", Fix: installPostgres() + "."}
}

// LookForVault looks where StartVault does.
func LookForVault(ctx context.Context, o VaultOptions) Look {
	names := []string{"vault", "bao"}
	if o.Bin != "" {
		names = []string{o.Bin}
	}
	for _, name := range names {
		bin, err := exec.LookPath(name)
		if err == nil {
			_, err = probeVault(ctx, bin)
		}
		if err == nil {
			return Look{Found: bin}
		}
		if o.Bin != "" {
			return Look{Found: err.Error(), Fix: "Set " + EnvVaultBin + " to a vault, bao or vaultd, or to nothing."}
		}
	}
	if _, err := os.Stat(o.SourceDir); err != nil {
		return Look{Found: "none, and no source to build one from", Fix: "Install Vault or OpenBao, or run this in the repository."}
	}
	if built, _ := filepath.Glob(filepath.Join(o.CacheDir, "vaultd", "*", "vaultd")); len(built) > 0 {
		return Look{Found: "built, in the cache"}
	}
	if _, err := exec.LookPath("go"); err != nil {
		return Look{Found: "none, and no Go to build one with", Fix: "Install Go, Vault or OpenBao."}
	}
	return Look{Found: "none yet; built at the first start (about 2 minutes)"}
}

// LookForNode looks where Node22 does.
func LookForNode(ctx context.Context, cacheDir string) Look {
	found := "none"
	if node, err := exec.LookPath("node"); err == nil {
		if major, err := nodeMajor(ctx, node); err == nil {
			found = fmt.Sprintf("%d on PATH", major)
			if major >= minNode {
				return Look{Found: found}
			}
		}
	}
	pkg, ok := nodePackages[runtime.GOOS+"/"+runtime.GOARCH]
	if ok {
		if _, err := os.Stat(filepath.Join(cacheDir, "node", pkg.version)); err == nil {
			return Look{Found: found + "; " + pkg.version + " in the cache"}
		}
		if _, err := exec.LookPath("npm"); err == nil {
			return Look{Found: found + "; a newer one is fetched with npm when it is needed"}
		}
	}
	return Look{Found: found, Fix: fmt.Sprintf("Install Node.js %d or newer, with npm.", minNode)}
}

// FreeSpace is how many bytes may still be written below a folder, which need
// not exist yet.
func FreeSpace(dir string) (int64, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return 0, err
	}
	for {
		var s syscall.Statfs_t
		err := syscall.Statfs(dir, &s)
		if err == nil {
			return int64(s.Bavail) * int64(s.Bsize), nil
		}
		if parent := filepath.Dir(dir); parent != dir {
			dir = parent
			continue
		}
		return 0, err
	}
}

// StateFolder says how a state folder stands: who uses it, or that it is free.
func StateFolder(dir string) Look {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return Look{Found: err.Error(), Fix: "Name another folder."}
	}
	if _, err := os.Stat(abs); err != nil {
		return Look{Found: "none yet; made at the first start"}
	}
	version, err := readVersion(abs)
	switch {
	case err != nil:
		return Look{Found: err.Error(), Fix: "Name another folder with --state."}
	case version != LayoutVersion && version != "":
		return Look{Found: "of layout version " + version, Fix: "Run `make dev-reset` (its data is lost)."}
	}
	lock, err := lockFolder(abs)
	if err != nil {
		who, _, _ := strings.Cut(strings.TrimPrefix(err.Error(), abs+" is "), ". ")
		return Look{Found: who}
	}
	lock.Close()
	return Look{Found: "there, and not in use"}
}
