// Command worker runs tool calls for the platform. It connects to NATS, takes
// calls of one pool, and obtains the credential for each from Vault with the
// grant in the call: it has none of its own, for any tenant.
//
// Here is only the wiring; the line that a call takes is in internal/runtime.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"latchkey/internal/egress"
	"latchkey/internal/runtime"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/runtime/stdiotool"
	"latchkey/internal/sandbox"
	"latchkey/internal/vault"
)

func main() {
	sandbox.Helper()
	root := &cobra.Command{
		Use: "worker", Short: "Run tool calls for the Latchkey platform",
		SilenceUsage: true, SilenceErrors: true,
	}
	root.AddCommand(&cobra.Command{
		Use: "run", Short: "Take calls until SIGTERM, then finish those that run",
		Long: "Settings are read from the environment: LATCHKEY_NATS_URL (required), VAULT_ADDR, VAULT_CACERT,\n" +
			"LATCHKEY_GRANT_KEYS, LATCHKEY_WORKER_NAME, LATCHKEY_WORKER_POOL, LATCHKEY_WORKER_SLOTS,\n" +
			"LATCHKEY_WORKER_DRAIN, LATCHKEY_EGRESS_ALLOW, LATCHKEY_LOG_LEVEL, and LATCHKEY_SANDBOX with those that begin with it. For servers of kind\n" +
			"stdio: LATCHKEY_STATE_DIR, LATCHKEY_CACHE_DIR, LATCHKEY_CACHE_SIZE, LATCHKEY_NODE, LATCHKEY_NPM,\n" +
			"LATCHKEY_WORKER_PROCESSES, LATCHKEY_WORKER_TENANT_PROCESSES, and npm's own settings.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return start(cmd.Context()) },
	})
	root.AddCommand(doctorCommand())
	if err := root.Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "worker:", err)
		os.Exit(1)
	}
}

func start(ctx context.Context) error {
	cfg, err := readConfig(os.Getenv)
	if err != nil {
		return err
	}
	if cfg.Hosting, err = readHosting(os.Getenv, os.Environ()); err != nil {
		return err
	}
	if err := forgetEnvironment(); err != nil {
		return err
	}
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
	if len(cfg.hadOwnKeys) > 0 {
		log.Warn("credentials in the environment are not used: a worker has none of its own. Take them out.", "names", cfg.hadOwnKeys)
	}
	giveRoomToGC()
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	return run(ctx, cfg, log)
}

// giveRoomToGC trades memory for time. What is live is small, so that by the
// default a worker under load would collect dozens of times a second. The
// limit keeps many large results at once from multiplying; an operator who
// sets either variable knows better.
func giveRoomToGC() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(1 << 30)
	}
}

// run serves until ctx is done, and then until the running calls have ended.
func run(ctx context.Context, cfg config, log *slog.Logger) error {
	leases, endLeases, err := openLeases(cfg, log)
	if err != nil {
		return err
	}
	conn, err := natsrt.DialWorker(cfg.NATSURL, cfg.Name, log)
	if err != nil {
		return err
	}
	defer conn.Close()
	// Credentials that the server refuses do not get better by trying.
	closed := make(chan struct{})
	conn.SetClosedHandler(func(*nats.Conn) { close(closed) })
	if err := connected(ctx, conn, closed); err != nil {
		return err
	}

	host := runtime.Host{Egress: &egress.Policy{Allow: cfg.Egress}, Sandbox: openSandbox(ctx, cfg, log), Log: log}
	cfg.Hosting.fill(&host, log)
	openings := natsrt.NewOpenings(conn)
	worker := runtime.NewWorker(runtime.WorkerConfig{
		Name: cfg.Name, Version: version(), Slots: cfg.Slots, Kinds: kinds.All(),
		Openings: openings, Leases: leases, Log: log, Host: host,
	})
	if host.Packages != nil {
		go host.Packages.Prune(ctx)
	}
	if host.StateDir != "" {
		go stdiotool.SweepState(ctx, host.StateDir, openings, log)
	}
	// Not ctx: its end begins the drain and must not cancel calls.
	served, err := natsrt.ServeWorker(context.WithoutCancel(ctx), conn, cfg.Pool, worker)
	if err != nil {
		return err
	}
	if err := conn.FlushTimeout(10 * time.Second); err != nil {
		return fmt.Errorf("subscribe: %w", err)
	}
	announceReady(cfg, served)

	select {
	case <-ctx.Done():
		log.Info("stopping: finishing the calls that run", "calls", worker.Busy(), "for_at_most", cfg.DrainFor.String())
	case <-closed:
		err = lastError(conn)
	}
	drain, cancel := context.WithTimeout(context.Background(), cfg.DrainFor)
	defer cancel()
	err = errors.Join(err, served.Stop(drain))
	// Credentials are revoked even when calls used up their time.
	last, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	return errors.Join(err, worker.Close(last), endLeases(last))
}

// openLeases connects to Vault, if there is one. The client holds no token.
func openLeases(cfg config, log *slog.Logger) (l runtime.Leases, end func(context.Context) error, err error) {
	if cfg.VaultAddr == "" {
		log.Warn("VAULT_ADDR is not set: servers that need a credential will not work")
		return nil, func(context.Context) error { return nil }, nil
	}
	vc := vault.Config{Address: cfg.VaultAddr}
	if cfg.VaultCA != "" {
		pem, err := os.ReadFile(cfg.VaultCA)
		if err != nil {
			return nil, nil, fmt.Errorf("VAULT_CACERT: %w", err)
		}
		vc.CACert = pem
	}
	client, err := vault.NewClient(vc)
	if err != nil {
		return nil, nil, err
	}
	lc := vault.LeasesConfig{Client: client}
	if len(cfg.GrantKeys) > 0 {
		lc.Verifier = vault.NewVerifier(cfg.GrantKeys...)
	} else {
		log.Warn("LATCHKEY_GRANT_KEYS is not set: only Vault checks grants, when it issues a credential")
	}
	leases := vault.NewLeases(lc)
	return leases, leases.Close, nil
}

// openSandbox tries out what keeps tenants' processes in. Until it holds the
// worker runs all that needs no process of a tenant.
func openSandbox(ctx context.Context, cfg config, log *slog.Logger) sandbox.Driver {
	cfg.Sandbox.Log, cfg.Sandbox.Egress = log, &egress.Policy{Allow: cfg.Egress}
	said := ""
	return sandbox.Keep(ctx, cfg.Sandbox, func(driver sandbox.Driver, held sandbox.Guarantees, err error) {
		switch {
		case errors.Is(err, sandbox.ErrOff):
			log.Info("this worker hosts no processes of tenants", "reason", err.Error())
		case err != nil && err.Error() == said: // nothing new
		case err != nil:
			said = err.Error()
			log.Warn("this worker hosts no processes of tenants: the sandbox does not hold. It is tried again; `worker doctor` says more.", "reason", err.Error())
		default:
			if missing := held.Missing(); len(missing) > 0 {
				log.Warn("tenants' processes run WITHOUT guarantees that this operator accepts to be without (LATCHKEY_SANDBOX_ACCEPT)", "driver", driver.Name(), "missing", missing)
			}
			log.Info("sandbox", "driver", driver.Name(), "notes", held.Notes)
		}
	})
}

// connected waits for the first connection, which DialWorker keeps trying.
func connected(ctx context.Context, conn *nats.Conn, closed <-chan struct{}) error {
	status := conn.StatusChanged(nats.CONNECTED)
	for !conn.IsConnected() {
		select {
		case <-status:
		case <-time.After(time.Second):
		case <-closed:
			return lastError(conn)
		case <-ctx.Done():
			return errors.New("stopped before NATS could be reached")
		}
	}
	return nil
}

func lastError(conn *nats.Conn) error {
	return fmt.Errorf("NATS refused this worker for good: %w. Is LATCHKEY_NATS_URL the one of this platform?", conn.LastError())
}

// announceReady tells whoever started the worker that calls reach it.
func announceReady(cfg config, s *natsrt.Served) {
	_ = json.NewEncoder(os.Stdout).Encode(map[string]any{
		"msg": "worker ready", "name": cfg.Name, "instance": s.Instance(), "pool": cfg.Pool, "slots": cfg.Slots, "pid": os.Getpid(),
	})
}

func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			return s.Value[:min(12, len(s.Value))]
		}
	}
	return info.Main.Version
}
