package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"latchkey/internal/api"
	"latchkey/internal/embedded"
	"latchkey/internal/fault"
	"latchkey/internal/postgres"
)

// records wires the API's part on records and on the platform itself.
func (pl *platform) records() api.Records {
	return api.Records{Store: pl.db, Tails: pl.tails, Workers: pl.workers, Health: pl.health}
}

func (pl *platform) workers() (out []api.Worker) {
	for _, w := range pl.edge.Workers() {
		out = append(out, api.Worker{Name: w.Name, Pool: w.Pool, Slots: w.Slots, Busy: w.Busy, Version: w.Version, LastSeenAt: w.LastSeen.UTC()})
	}
	return out
}

// addUpUsage adds calls up each minute. Every edge may: the store lets one at
// a time.
func (pl *platform) addUpUsage(ctx context.Context) {
	tick := time.NewTicker(time.Minute)
	defer tick.Stop()
	for {
		began := time.Now()
		upto, err := pl.db.RollUpUsage(ctx, began)
		if err != nil && ctx.Err() == nil {
			rollUpFailures.Inc()
			pl.log.Error("usage was not added up; trying again in a minute", "error", err)
		}
		if err == nil {
			rollUpSeconds.Observe(time.Since(began).Seconds())
			if upto.Unix() > 0 {
				pl.usageUpto.Store(upto.Unix())
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// check is one line of health and of doctor.
type check = api.HealthCheck

// checked runs one check and measures it.
func checked(name, required string, look func() (found string, fix string)) check {
	began := time.Now()
	found, fix := look()
	c := check{Name: name, Ok: fix == "", Found: found, LatencyMs: float32(time.Since(began).Microseconds()) / 1000}
	if required != "" {
		c.Required = &required
	}
	if fix != "" {
		c.Fix = &fix
	}
	return c
}

// health asks everything that this edge stands on, all at once.
func (pl *platform) health(ctx context.Context) []check {
	groups := []func() []check{
		func() []check { return storeChecks(ctx, pl.db) },
		func() []check {
			return []check{checked("vault", "unsealed", func() (string, string) {
				s, err := pl.vault.Status(ctx)
				switch {
				case err != nil:
					return why(err), "Start Vault, or check VAULT_ADDR and the network."
				case !s.Initialized:
					return s.Version + ", not initialized", "Initialize it, then run `platform vault setup`."
				case s.Sealed:
					return s.Version + ", sealed", "Unseal it: `vault operator unseal`."
				}
				return s.Version + ", unsealed", ""
			})}
		},
		func() []check {
			return []check{checked("nats", "connected", func() (string, string) {
				rtt, err := pl.conn.RTT()
				if err != nil {
					return strings.ToLower(pl.conn.Status().String()), "Start NATS, or check LATCHKEY_NATS_URL and the network."
				}
				return fmt.Sprintf("connected, %s there and back", rtt.Round(10*time.Microsecond)), ""
			})}
		},
		func() []check { return pl.poolChecks() },
	}
	if pl.stateDir != "" {
		groups = append(groups, func() []check { return []check{diskCheck("disk", pl.stateDir)} })
	}
	results := make([][]check, len(groups))
	var all sync.WaitGroup
	for i, g := range groups {
		all.Go(func() { results[i] = g() })
	}
	all.Wait()
	return slices.Concat(results...)
}

// poolChecks has one line for each pool.
func (pl *platform) poolChecks() (out []check) {
	type pool struct{ workers, slots, busy int }
	pools := map[string]pool{}
	for _, w := range pl.edge.Workers() {
		p := pools[w.Pool]
		pools[w.Pool] = pool{p.workers + 1, p.slots + w.Slots, p.busy + w.Busy}
	}
	if len(pools) == 0 {
		return []check{checked("workers", "at least one", func() (string, string) {
			return "none", "Start one: `worker run`, with LATCHKEY_NATS_URL of this edge."
		})}
	}
	names := make([]string, 0, len(pools))
	for name := range pools {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		p := pools[name]
		out = append(out, checked("workers of pool "+name, "a free slot", func() (string, string) {
			found := fmt.Sprintf("%d, %d of %d slots busy", p.workers, p.busy, p.slots)
			if p.busy >= p.slots {
				return found, "Start more workers of this pool."
			}
			return found, ""
		}))
	}
	return out
}

const (
	maxSkew = 2 * time.Second
	// usageLate is twice the narrowest step, and some.
	usageLate = 35 * time.Minute
	minFree   = 1 << 30
)

// storeChecks ask the platform's database, as the serving role.
func storeChecks(ctx context.Context, db *postgres.DB) []check {
	var h postgres.Health
	var err error
	var skew time.Duration
	first := checked("store", fmt.Sprintf("Postgres %d or newer", embedded.MinPostgres), func() (string, string) {
		asked := time.Now()
		h, err = db.Health(ctx)
		skew = h.Clock.Sub(asked.Add(time.Since(asked) / 2))
		switch {
		case err != nil:
			return why(err), "Start Postgres, or check DATABASE_URL and the network."
		case h.Major < embedded.MinPostgres:
			return "Postgres " + h.Version, fmt.Sprintf("Upgrade to Postgres %d or newer.", embedded.MinPostgres)
		}
		return "Postgres " + h.Version, ""
	})
	if err != nil {
		return []check{first}
	}
	out := []check{first,
		checked("schema", fmt.Sprintf("version %d", h.Wants), func() (string, string) {
			switch {
			case h.Schema == 0:
				return "none", "Run `platform migrate`."
			case h.Schema < h.Wants:
				return fmt.Sprintf("version %d", h.Schema), "Run `platform migrate`."
			}
			return fmt.Sprintf("version %d", h.Schema), ""
		}),
		checked("serving role", "no powers of its own", func() (string, string) {
			if len(h.Powers) > 0 {
				return strings.Join(h.Powers, ", "), "Connect as latchkey_app, and run `platform migrate` with the owner's URL."
			}
			return "held to row security", ""
		}),
		checked("clock", "within 2 s of the store's", func() (string, string) {
			found := fmt.Sprintf("%s apart", skew.Round(time.Millisecond).Abs())
			if skew.Abs() > maxSkew {
				return found, "Synchronize the clocks of both machines (NTP): tokens and records depend on them."
			}
			return found, ""
		}),
	}
	if h.Schema < h.Wants {
		return out
	}
	return append(out,
		checked("records' partitions", "this month and the next", func() (string, string) {
			if h.Partitions < 2 {
				return fmt.Sprintf("%d of 2", h.Partitions), "An edge makes them each hour; look into its log for `audit partitions`."
			}
			return "there", ""
		}),
		checked("usage", "added up within 35 minutes", func() (string, string) {
			if h.UsageUpto.IsZero() {
				return "not added up yet", ""
			}
			found := "added up to " + h.UsageUpto.UTC().Format(time.RFC3339)
			if h.Clock.Sub(h.UsageUpto) > usageLate {
				return found, "An edge does it each minute; look into its log for `usage was not added up`. Figures stay right, and get slow."
			}
			return found, ""
		}))
}

func diskCheck(name, dir string) check {
	return checked(name, "1 GB free", func() (string, string) {
		n, err := embedded.FreeSpace(dir)
		found := fmt.Sprintf("%.1f GB free at %s", float64(n)/(1<<30), dir)
		switch {
		case err != nil:
			return err.Error(), "Name a folder that can be written to."
		case n < minFree:
			return found, "Make room, or choose another folder with --state."
		}
		return found, ""
	})
}

// why is what may be shown of an error.
func why(err error) string {
	if f := fault.Of(err); f.Code != fault.Unexpected {
		if f.Code == fault.StoreAway {
			return "does not answer"
		}
		return f.Message
	}
	return explain(err)
}
