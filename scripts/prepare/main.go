// Command prepare builds and fetches, once and with progress, what the tests
// would otherwise each wait for in silence: vaultd and a Node.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"latchkey/internal/embedded"
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
	_, err = embedded.Node22(ctx, cache, say)
	return err
}
