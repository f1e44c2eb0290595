package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/api"
	"latchkey/internal/embedded"
	"latchkey/internal/limits"
	"latchkey/internal/postgres"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/vault"
)

type doctorOptions struct {
	api    apiOptions
	port   int
	output output
}

func doctorCommand() *cobra.Command {
	o := doctorOptions{api: apiOptions{operator: true}}
	c := &cobra.Command{
		Use:   "doctor",
		Short: "Check what the platform needs, and say how to repair it",
		Long: "Checks this machine for `platform dev`, or, where DATABASE_URL is set, the settings of `platform serve` and what\n" +
			"they lead to. Where a platform runs (LATCHKEY_URL, or `platform dev` on this machine), it asks that one too; the\n" +
			"key has to be an operator's. It changes nothing, and fails when a check does.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), time.Minute)
			defer cancel()
			return printChecks(cmd.OutOrStdout(), o.output, o.diagnose(ctx, cfg))
		},
	}
	o.api.addTo(c)
	o.output.addTo(c)
	c.Flags().IntVar(&o.port, "port", 8080, "loopback port that `platform dev` is to have")
	return c
}

func (o doctorOptions) diagnose(ctx context.Context, cfg config) (out []check) {
	if cfg.DatabaseURL != "" || cfg.BaseURL != "" {
		out = append(out, productionChecks(ctx, cfg)...)
	} else {
		out = append(out, o.machineChecks(ctx)...)
	}
	return append(out, o.runningChecks(ctx)...)
}

// printChecks prints checks, and is an error when one failed.
func printChecks(w io.Writer, o output, checks []check) error {
	failed := 0
	var rows [][]string
	for _, c := range checks {
		mark := "ok"
		if !c.Ok {
			mark, failed = "FAIL", failed+1
		}
		rows = append(rows, []string{mark, c.Name, c.Found, text(c.Required), text(c.Fix)})
	}
	err := o.print(w, map[string]any{"ok": failed == 0, "checks": checks}, func(w io.Writer) {
		table(w, []string{"", "CHECK", "FOUND", "REQUIRED", "FIX"}, rows)
	})
	if err != nil {
		return err
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d checks failed: see FIX", failed, len(checks))
	}
	return nil
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// looked is a check by a look of package embedded.
func looked(name, required string, look func() embedded.Look) check {
	return checked(name, required, func() (string, string) { l := look(); return l.Found, l.Fix })
}

// machineChecks are for `platform dev`. They fetch nothing, and start only what
// tries out the sandbox, for less than a second.
func (o doctorOptions) machineChecks(ctx context.Context) []check {
	var cache string
	first := checked("cache", "a folder of yours", func() (string, string) {
		var err error
		if cache, err = embedded.CacheDir(os.Getenv(embedded.EnvCacheDir)); err != nil {
			return err.Error(), "Set " + embedded.EnvCacheDir + "."
		}
		return cache, ""
	})
	return []check{
		checked("go", "to build from source", func() (string, string) {
			out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
			if err != nil {
				return "none; this binary was built with " + runtime.Version(), ""
			}
			return strings.TrimSpace(string(out)), ""
		}),
		first,
		looked("postgres", fmt.Sprintf("%d or newer", embedded.MinPostgres), func() embedded.Look {
			return embedded.LookForPostgres(ctx, embedded.PostgresOptions{BinDir: os.Getenv(embedded.EnvPostgresBin), CacheDir: cache})
		}),
		looked("vault", "vault, bao or vaultd", func() embedded.Look {
			return embedded.LookForVault(ctx, embedded.VaultOptions{Bin: os.Getenv(embedded.EnvVaultBin), CacheDir: cache, SourceDir: sourceDir("tools/vaultd")})
		}),
		looked("node", "22 or newer, for the console and stdio servers", func() embedded.Look { return embedded.LookForNode(ctx, cache) }),
		looked("state folder", "free, or this platform's", func() embedded.Look { return embedded.StateFolder(o.api.stateDir) }),
		checked("port", "free, or this platform's", o.portCheck),
		diskCheck("disk", o.api.stateDir),
		checked("sandbox", "holds, for stdio servers", func() (string, string) { return sandboxCheck(ctx) }),
	}
}

// sandboxCheck asks the worker, which is who runs tenants' processes.
func sandboxCheck(ctx context.Context) (found, fix string) {
	exe, err := os.Executable()
	if err != nil {
		return err.Error(), "Run `worker doctor`."
	}
	out, err := exec.CommandContext(ctx, filepath.Join(filepath.Dir(exe), "worker"), "doctor", "--json").Output()
	var report struct {
		Driver, Problem string
		Off             bool
		Held, Accepted  []string
	}
	if json.Unmarshal(out, &report) != nil {
		if errors.Is(err, os.ErrNotExist) {
			return "there is no worker beside this program", "Run `make build`."
		}
		return "the worker cannot say", "Run `worker doctor`."
	}
	if report.Off || runtime.GOOS != "linux" {
		return "none, so that servers of kind stdio do not run here: " + report.Problem, ""
	}
	if report.Problem != "" {
		return strings.ReplaceAll(report.Problem, "\n", "; "), "Servers of kind stdio do not run here until this is solved; all others do. On Debian: `apt-get install bubblewrap`. `worker doctor` says more."
	}
	found = report.Driver + " holds " + strings.Join(report.Held, ", ")
	if len(report.Accepted) > 0 {
		found += "; WITHOUT " + strings.Join(report.Accepted, ", ") + ", as LATCHKEY_SANDBOX_ACCEPT has it"
	}
	return found, ""
}

func (o doctorOptions) portCheck() (found, fix string) {
	err := embedded.PortTaken(net.JoinHostPort("127.0.0.1", strconv.Itoa(o.port)))
	var taken *embedded.PortTakenError
	switch {
	case err == nil:
		return fmt.Sprintf("%d is free", o.port), ""
	case errors.As(err, &taken) && taken.Process == "platform":
		return fmt.Sprintf("%d has platform (pid %d)", o.port, taken.Pid), ""
	case errors.As(err, &taken):
		return strings.TrimSpace(strings.TrimSuffix(taken.Error(), taken.Advice)), taken.Advice
	}
	return err.Error(), "Choose another with --port."
}

// productionChecks follow the settings of `platform serve`.
func productionChecks(ctx context.Context, cfg config) (out []check) {
	out = append(out, checked("settings", "LATCHKEY_BASE_URL, DATABASE_URL, VAULT_ADDR", func() (string, string) {
		if err := need([2]string{"LATCHKEY_BASE_URL", cfg.BaseURL}, [2]string{"DATABASE_URL", cfg.DatabaseURL.Reveal()}, [2]string{"VAULT_ADDR", cfg.Vault.Address}); err != nil {
			name, _, _ := strings.Cut(err.Error(), ";")
			return name, "Set what is missing; the README's section on production says what each is."
		}
		if _, err := cfg.sites(); err != nil {
			return err.Error(), "Write it like https://{tenant}.example.com."
		}
		return "complete", ""
	}))
	var db *postgres.DB
	if cfg.DatabaseURL != "" {
		var err error
		if db, err = postgres.Open(ctx, postgres.Options{URL: cfg.DatabaseURL.Reveal(), MaxConns: 2, Log: slog.New(slog.DiscardHandler)}); err != nil {
			return append(out, checked("store", "", func() (string, string) { return err.Error(), "Correct DATABASE_URL." }))
		}
		defer db.Close()
		out = append(out, storeChecks(ctx, db)...)
	}
	if cfg.Vault.Address != "" {
		out = append(out, vaultChecks(ctx, cfg, db)...)
	}
	if cfg.ValkeyURL != "" {
		out = append(out, checked("valkey", "reachable", func() (string, string) {
			version, err := limits.CheckValkey(ctx, cfg.ValkeyURL)
			if err != nil {
				return why(err), "Start Valkey, or correct LATCHKEY_VALKEY_URL; edges start without it and count calls for themselves."
			}
			return version, ""
		}))
	}
	return append(out, checked("nats", "reachable", func() (string, string) {
		if cfg.NATSURL == "" {
			return "embedded, at " + cfg.NATSListen, ""
		}
		conn, err := natsrt.DialEdge(cfg.NATSURL, "doctor", slog.New(slog.DiscardHandler))
		if err != nil {
			return explain(err), "Start NATS, or correct LATCHKEY_NATS_URL."
		}
		defer conn.Close()
		rtt, err := conn.RTT()
		if err != nil {
			return "does not answer", "Start NATS, or correct LATCHKEY_NATS_URL."
		}
		return fmt.Sprintf("%s there and back", rtt.Round(10*time.Microsecond)), ""
	}))
}

func vaultChecks(ctx context.Context, cfg config, db *postgres.DB) []check {
	client, err := vault.NewClient(cfg.Vault)
	if err != nil {
		return []check{checked("vault", "", func() (string, string) { return err.Error(), "Correct VAULT_ADDR and VAULT_CACERT." })}
	}
	sealed := false
	first := checked("vault", "unsealed", func() (string, string) {
		s, err := client.Status(ctx)
		switch {
		case err != nil:
			sealed = true
			return "does not answer at " + cfg.Vault.Address, "Start Vault, or correct VAULT_ADDR."
		case s.Sealed:
			sealed = true
			return s.Version + ", sealed", "Unseal it: `vault operator unseal`."
		}
		return s.Version + ", unsealed", ""
	})
	if sealed || db == nil {
		return []check{first}
	}
	return []check{first, checked("vault's layout", "logged in, keys open", func() (string, string) {
		keys, err := grantKeys(ctx, db, vault.NewSealer(client))
		if err != nil {
			return why(err), "Run `platform vault setup`, and set the VAULT_ROLE_ID and VAULT_SECRET_ID that it prints."
		}
		return fmt.Sprintf("%d keys that sign grants", len(keys)), ""
	})}
}

// runningChecks ask a platform that runs, if one is named.
func (o doctorOptions) runningChecks(ctx context.Context) []check {
	if o.api.url == "" && os.Getenv("LATCHKEY_URL") == "" {
		if r, err := readReady(o.api.stateDir); err != nil || r.APIURL == "" {
			return nil
		}
	}
	client, err := o.api.client()
	if err != nil {
		return []check{checked("platform", "running", func() (string, string) { return explain(err), "Set LATCHKEY_URL and LATCHKEY_API_KEY." })}
	}
	var health api.Health
	first := checked("platform", "answers to an operator's key", func() (string, string) {
		var me api.Me
		if err := client.do(ctx, http.MethodGet, "/me", nil, nil, &me); err != nil {
			return why(err), "Start it, and give LATCHKEY_API_KEY an operator's key."
		}
		if err := client.do(ctx, http.MethodGet, "/health", nil, nil, &health); err != nil {
			return why(err), "Give LATCHKEY_API_KEY an operator's key (lk_ops_…)."
		}
		return "answers at " + client.base, ""
	})
	out := []check{first}
	for _, c := range health.Checks {
		c.Name = "platform: " + c.Name
		out = append(out, c)
	}
	return out
}
