package main

import (
	"context"

	"latchkey/internal/limits"
)

// openLimits decides where calls are counted: in Valkey for all edges together
// where there is one, else in this process.
func (pl *platform) openLimits(ctx context.Context, cfg config) error {
	var store limits.Store = limits.NewMemory()
	if cfg.ValkeyURL != "" {
		shared, err := limits.OpenShared(ctx, limits.SharedOptions{URL: cfg.ValkeyURL, Edges: cfg.Edges, Events: pl.events, Log: pl.log})
		if err != nil {
			return usageError{err}
		}
		pl.closers = append(pl.closers, shared.Close)
		store = shared
	}
	pl.limits = limits.New(limits.Config{Store: store, Settings: pl.cached, Events: pl.events})
	return nil
}
