package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sync/errgroup"

	"latchkey/internal/demo"
	"latchkey/internal/egress"
	"latchkey/internal/embedded"
	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/runtime/kinds"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/secret"
	"latchkey/internal/site"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

type devOptions struct {
	port     int
	stateDir string
	reset    bool
	verbose  bool
	packaged bool      // host the demo's packaged servers where this machine can
	out      io.Writer // progress and the ready screen
}

func devCommand() *cobra.Command {
	o := devOptions{}
	c := &cobra.Command{
		Use:   "dev",
		Short: "Run the whole platform on this machine, with a seeded demo",
		Long: "Starts a private Postgres, NATS, a real Vault and a worker process, seeds two demo tenants, and prints what to\n" +
			"do next. Everything listens on loopback; passwords are random and kept in the state folder. Ctrl-C stops all of\n" +
			"it, and the next run finds its data again.\n\n" +
			"POSTGRES_BIN, VAULT_BIN and LATCHKEY_CACHE_DIR choose other binaries and another cache.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			o.out = cmd.ErrOrStderr()
			if o.reset {
				if err := embedded.Reset(o.stateDir); err != nil {
					return err
				}
				fmt.Fprintf(o.out, "Removed %s and all that ran from it.\n", o.stateDir)
				return nil
			}
			return dev(cmd.Context(), o)
		},
	}
	c.Flags().IntVar(&o.port, "port", 8080, "loopback port of the platform; 0 takes a free one")
	c.Flags().StringVar(&o.stateDir, "state", defaultState, "folder for data, logs and ready.json")
	c.Flags().BoolVar(&o.reset, "reset", false, "stop what an earlier run left behind and remove its data")
	c.Flags().BoolVar(&o.packaged, "packaged", true, "host the demo's packaged servers too, where this machine has a sandbox and npm")
	c.Flags().BoolVar(&o.verbose, "verbose", false, "log each call to the terminal instead of the state folder")
	return c
}

// dev starts everything in the order that each needs the one before.
func dev(ctx context.Context, o devOptions) (err error) {
	if os.Getenv("LATCHKEY_BASE_URL") != "" {
		return errors.New("LATCHKEY_BASE_URL is set, which is for production: `platform dev` serves on loopback only. Unset it, or run `platform serve`")
	}
	began := time.Now()
	giveRoomToGC()
	env, err := readConfig()
	if err != nil {
		return err
	}
	cfg := config{APIRate: env.APIRate, Egress: egress.Loopback()} // the rest is what this machine has
	// Each thing that is started is stopped, last first.
	var stops stopList
	defer func() { err = errors.Join(err, stops.run()) }()

	state, err := embedded.OpenState(o.stateDir)
	if err != nil {
		return err
	}
	stops.add("state folder", state.Close)
	ln, err := listenDev(o.port)
	if err != nil {
		return err
	}
	base := "http://" + ln.Addr().String() + "/t/{tenant}"
	sites, err := site.Parse(base)
	if err != nil {
		return err
	}
	log, closeLog, err := devLog(state, o)
	if err != nil {
		return err
	}
	stops.add("log", closeLog)
	secrets, err := openDevSecrets(state.Path("secrets.json"))
	if err != nil {
		return err
	}
	say := progress(o.out)
	packaged := o.lookForPackaging(ctx)

	pg, vlt, err := startStores(ctx, state, say, &stops)
	if err != nil {
		return err
	}
	nats, conn, sys, err := embeddedNATS(natsrt.ServerOptions{StoreDir: state.Path("nats"), Log: log})
	if err != nil {
		return err
	}
	stops.add("NATS", func() error { conn.Close(); sys.Close(); return nats.Close() })

	say("Preparing databases and Vault")
	db, err := prepareDatabase(ctx, pg, secrets, log)
	if err != nil {
		return err
	}
	stops.add("database pool", func() error { db.Close(); return nil })
	role, keys, err := setUpVault(ctx, vault.Config{Address: vlt.Addr(), Token: secret.Text(vlt.RootToken())}, db)
	if err != nil {
		return err
	}
	secrets.VaultRole, secrets.VaultSecret = role.RoleID, role.SecretID
	// From here on the platform has just the rights that it has in production.
	client, err := vault.NewClient(vault.Config{Address: vlt.Addr(), AppRole: role})
	if err != nil {
		return err
	}
	pl, err := newPlatform(ctx, parts{cfg: cfg, sites: sites, db: db, vault: client, conn: conn, sys: sys, dev: true, mailbox: state.Path("mail"), stateDir: state.Dir()}, log)
	if err != nil {
		return err
	}
	stops.add("edge", func() error { pl.close(); return nil })

	running, stopRunning := context.WithCancel(context.WithoutCancel(ctx))
	defer stopRunning()
	served := make(chan error, 1)
	go func() { served <- pl.run(running, ln) }()
	stops.add("HTTP", func() error { stopRunning(); return <-served })

	hosting, stopHosting := packaged.settings(state, say)
	stops.add("packages", stopHosting)
	workers, err := startWorker(workerOptions{state: state, natsURL: nats.WorkerURL(), vaultAddr: vlt.Addr(), grantKeys: keys, hosting: hosting, log: log})
	if err != nil {
		return err
	}
	stops.add("worker", workers.stop)
	say("Seeding the demo")
	if err := demoDatabases(ctx, pg, secrets); err != nil {
		return err
	}
	upstream, upstreamURL, err := startUpstream(ctx, state, pg, secrets)
	if err != nil {
		return err
	}
	stops.add("the demo's API", upstream.Stop)
	users, err := seed(ctx, pg, pl, client, secrets, upstreamURL, packaged.possible())
	if err != nil {
		return err
	}
	if err := workers.ready(ctx); err != nil {
		return err
	}
	metrics, stopMetrics, err := devMetrics()
	if err != nil {
		return err
	}
	stops.add("metrics", stopMetrics)
	r := readiness(pl.sites, users, secrets, vlt.Addr(), metrics, upstreamURL, pg, workers, time.Since(began))
	if err := r.write(state.Path("ready.json")); err != nil {
		return err
	}
	stops.add("ready.json", func() error { return os.Remove(state.Path("ready.json")) })
	r.print(o.out, o.stateDir)

	select {
	case <-ctx.Done():
		fmt.Fprintln(o.out, "\nStopping.")
		return nil
	case err := <-served:
		served <- nil
		return err
	case <-pg.Done():
		return fmt.Errorf("Postgres ended by itself; its log is %s", state.Path("postgres"))
	case <-upstream.Done():
		return fmt.Errorf("the demo's API ended by itself; its log is %s", state.Path("upstream.log"))
	case <-vlt.Done():
		return fmt.Errorf("Vault ended by itself; its log is %s", state.Path("vault"))
	}
}

func listenDev(port int) (net.Listener, error) {
	addr := net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	if port != 0 {
		if err := embedded.PortTaken(addr); err != nil {
			return nil, err
		}
	}
	return net.Listen("tcp", addr)
}

func devLog(state *embedded.State, o devOptions) (*slog.Logger, func() error, error) {
	if o.verbose {
		return slog.New(slog.NewTextHandler(o.out, nil)), func() error { return nil }, nil
	}
	f, err := os.OpenFile(state.Path("platform.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, nil, err
	}
	return slog.New(slog.NewJSONHandler(f, nil)), f.Close, nil
}

// progress prints a line at a time, from any goroutine.
func progress(w io.Writer) func(string) {
	var mu sync.Mutex
	return func(s string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(w, "  "+s)
	}
}

// startStores starts Postgres and Vault at once: the first build of Vault is
// what takes long.
func startStores(ctx context.Context, state *embedded.State, say func(string), stops *stopList) (pg *embedded.Postgres, vlt *embedded.Vault, err error) {
	cache, err := embedded.CacheDir(os.Getenv(embedded.EnvCacheDir))
	if err != nil {
		return nil, nil, err
	}
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() (err error) {
		pg, err = embedded.StartPostgres(ctx, embedded.PostgresOptions{
			StateDir: state.Dir(), CacheDir: cache, BinDir: os.Getenv(embedded.EnvPostgresBin), Progress: say,
		})
		return err
	})
	g.Go(func() (err error) {
		vlt, err = embedded.StartVault(ctx, embedded.VaultOptions{
			StateDir: state.Dir(), CacheDir: cache, Bin: os.Getenv(embedded.EnvVaultBin), SourceDir: sourceDir("tools/vaultd"), Progress: say,
		})
		return err
	})
	err = g.Wait()
	if pg != nil {
		stops.add("Postgres", pg.Stop)
	}
	if vlt != nil {
		stops.add("Vault", vlt.Stop)
	}
	return pg, vlt, err
}

// sourceDir finds a folder of the repository from the binary or from here.
func sourceDir(rel string) string {
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Join(filepath.Dir(filepath.Dir(exe)), rel)
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return rel
}

func prepareDatabase(ctx context.Context, pg *embedded.Postgres, s *devSecrets, log *slog.Logger) (*postgres.DB, error) {
	const name = "latchkey"
	if err := postgres.Bootstrap(ctx, pg.DSN("postgres"), name, s.Owner, s.App); err != nil {
		return nil, err
	}
	if _, _, err := postgres.Migrate(ctx, postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.OwnerUser(), s.Owner)); err != nil {
		return nil, err
	}
	s.DatabaseURL = secret.Text(postgres.DatabaseURL(pg.Host(), pg.Port(), name, postgres.AppUser(), s.App))
	return postgres.Open(ctx, postgres.Options{URL: s.DatabaseURL.Reveal(), Log: log})
}

// demoDatabases makes what the demo's servers and its API work on. The password of
// an account is kept from run to run.
func demoDatabases(ctx context.Context, pg *embedded.Postgres, s *devSecrets) error {
	if err := demo.Databases(ctx, pg.DSN, demo.Passwords{Acme: s.DemoAcme, Globex: s.DemoGlobex, Upstream: s.DemoUpstream}); err != nil {
		return err
	}
	return s.save()
}

// seed declares the demo tenants through the same door as everybody's files,
// and gives their people passwords.
func seed(ctx context.Context, pg *embedded.Postgres, pl *platform, client *vault.Client, s *devSecrets, upstream string, packaged bool) (users []readyUser, err error) {
	env := map[string]string{
		"DEMO_PG_HOST": pg.Host(), "DEMO_PG_PORT": strconv.Itoa(pg.Port()),
		"DEMO_ACME_PASSWORD": s.DemoAcme.Reveal(), "DEMO_GLOBEX_PASSWORD": s.DemoGlobex.Reveal(),
		"DEMO_UPSTREAM_URL": upstream, "DEMO_UPSTREAM_KEY": s.DemoUpstreamKey.Reveal(),
	}
	lookup := func(name string) (string, bool) { v, ok := env[name]; return v, ok }
	for _, f := range demo.Files() {
		if packaged {
			f = demo.Packaged(f)
		}
		parsed, err := registry.ParseFile(f.Name, f.Data, kinds.Checker(), resolveFrom(lookup, "."))
		if err != nil {
			return nil, err
		}
		if _, err := applyHere(ctx, pl.db, client, parsed, "platform dev"); err != nil {
			return nil, err
		}
		t, err := pl.db.TenantBySlug(ctx, parsed.Tenant)
		if err != nil {
			return nil, err
		}
		for _, m := range parsed.Members {
			users = append(users, readyUser{Tenant: parsed.Tenant, Email: m.Email, Roles: m.Roles})
			if err := setDemoPassword(ctx, pl, t.ID, m.Email, s); err != nil {
				return nil, err
			}
		}
	}
	if err := seedAccess(ctx, pl, s); err != nil {
		return nil, err
	}
	if err := seedHistory(ctx, pg, pl); err != nil {
		return nil, err
	}
	return users, s.save()
}

// seedHistory gives acme a week of calls, once, so that the console has
// something to show. Sums of usage are made anew from it.
func seedHistory(ctx context.Context, pg *embedded.Postgres, pl *platform) error {
	t, err := pl.db.TenantBySlug(ctx, "acme")
	if err != nil {
		return err
	}
	if had, err := pl.db.AuditEvents(ctx, t.ID, time.Time{}, 1); err != nil || len(had) > 0 {
		return err
	}
	cast := demo.Cast{Tenant: t.ID, Users: map[string]tenants.UserID{}}
	members, err := pl.db.Members(ctx, t.ID, tenants.MemberQuery{Limit: 100})
	if err != nil {
		return err
	}
	for _, m := range members {
		cast.Users[m.Email] = m.ID
	}
	if cast.Hosted, err = pl.db.HostedAll(ctx, t.ID); err != nil {
		return err
	}
	if err := pl.db.InsertAudit(ctx, demo.History(time.Now(), cast)); err != nil {
		return err
	}
	return demo.CountAnew(ctx, pg.DSN("latchkey"))
}

// stopList stops what was started, last first, and each within its own time.
type stopList []struct {
	name string
	stop func() error
}

func (l *stopList) add(name string, stop func() error) {
	*l = append(*l, struct {
		name string
		stop func() error
	}{name, stop})
}

func (l *stopList) run() error {
	var errs []error
	for i := len(*l) - 1; i >= 0; i-- {
		if err := (*l)[i].stop(); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", (*l)[i].name, err))
		}
	}
	return errors.Join(errs...)
}
