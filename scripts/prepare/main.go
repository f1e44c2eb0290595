// Command prepare builds and fetches, once and with progress, what the tests
// would otherwise each wait for in silence: vaultd, a Node, and the packages
// that they host.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"latchkey/internal/embedded"
	"latchkey/internal/packages"
)

func main() {
	ctx, cancel := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer cancel()
	if err := prepare(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "prepare:", err)
		os.Exit(1)
	}
}

func prepare(ctx context.Context) error {
	say := func(line string) { fmt.Fprintln(os.Stderr, "prepare:", line) }
	cache, err := embedded.CacheDir(os.Getenv(embedded.EnvCacheDir))
	if err != nil {
		return err
	}
	_, err = embedded.FindVault(ctx, embedded.VaultOptions{
		CacheDir: cache, Bin: os.Getenv(embedded.EnvTestVaultBin), SourceDir: "tools/vaultd", Progress: say,
	})
	if err != nil {
		return err
	}
	node, err := embedded.Node22(ctx, cache, say)
	if err != nil {
		return err
	}
	return install(ctx, packages.New(packages.Options{Dir: filepath.Join(cache, "packages"), Node: filepath.Join(node, "node"), Env: os.Environ()}), say)
}

// hosted are the packages of the demo and of stdiotool's tests.
var hosted = []string{
	"@modelcontextprotocol/server-filesystem@2026.8.31",
	"@modelcontextprotocol/server-everything@2026.8.31",
	"@modelcontextprotocol/server-memory@2026.8.31",
}

// install fills the cache. Where there is no registry the tests that need it are
// skipped, and say so.
func install(ctx context.Context, cache *packages.Cache, say func(string)) error {
	for _, name := range hosted {
		p, err := packages.Parse(name)
		if err != nil {
			return err
		}
		if _, ok := cache.Find(p); ok {
			continue
		}
		say("installing " + name + ", once")
		if _, err := cache.Install(ctx, p); err != nil {
			say(err.Error())
		}
	}
	return nil
}
