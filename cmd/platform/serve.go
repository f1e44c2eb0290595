package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/spf13/cobra"

	"latchkey/internal/postgres"
	"latchkey/internal/runtime/natsrt"
	"latchkey/internal/vault"
)

const headerTimeout = 10 * time.Second

func serveCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "serve",
		Short: "Run an edge: OAuth, MCP endpoints, audit",
		Long: "Settings are read from the environment: LATCHKEY_BASE_URL, DATABASE_URL (as latchkey_app), VAULT_ADDR with\n" +
			"VAULT_ROLE_ID and VAULT_SECRET_ID (from `platform vault setup`), and optionally LATCHKEY_LISTEN,\n" +
			"LATCHKEY_METRICS_LISTEN, LATCHKEY_NATS_URL or LATCHKEY_NATS_LISTEN with LATCHKEY_NATS_WORKER_PASSWORD,\n" +
			"LATCHKEY_ALLOWED_ORIGINS, LATCHKEY_BEHIND_PROXY, LATCHKEY_LOG_LEVEL, VAULT_CACERT,\n" +
			"LATCHKEY_SMTP_URL (smtps://user:password@host:465?from=address) with LATCHKEY_SMTP_CACERT, LATCHKEY_API_RATE (100),\n" +
			"LATCHKEY_VALKEY_URL (redis:// or rediss://:password@host:6379; several edges count calls together) with LATCHKEY_EDGES,\n" +
			"LATCHKEY_PEER_URL (http://host:port of this edge as other edges reach it; sessions of older clients are found from each).",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context()) },
	}
}

func serve(ctx context.Context) error {
	cfg, err := readConfig()
	if err != nil {
		return err
	}
	if err := need([2]string{"LATCHKEY_BASE_URL", cfg.BaseURL}, [2]string{"DATABASE_URL", cfg.DatabaseURL.Reveal()}, [2]string{"VAULT_ADDR", cfg.Vault.Address}); err != nil {
		return err
	}
	sites, err := cfg.sites()
	if err != nil {
		return err
	}
	giveRoomToGC()
	log := slog.New(slog.NewJSONHandler(os.Stderr, &slog.HandlerOptions{Level: cfg.LogLevel}))
	db, err := postgres.Open(ctx, postgres.Options{URL: cfg.DatabaseURL.Reveal(), Log: log})
	if err != nil {
		return err
	}
	defer db.Close()
	if err := db.CheckSchema(ctx); err != nil {
		return err
	}
	vc, err := vault.NewClient(cfg.Vault)
	if err != nil {
		return err
	}
	conn, sys, closeNATS, err := connectNATS(cfg, log)
	if err != nil {
		return err
	}
	defer closeNATS()
	pl, err := newPlatform(ctx, parts{cfg: cfg, sites: sites, db: db, vault: vc, conn: conn, sys: sys}, log)
	if err != nil {
		return err
	}
	defer pl.close()
	ln, err := listen(ctx, cfg.Listen)
	if err != nil {
		return err
	}
	stopMetrics, err := serveMetrics(cfg.MetricsListen)
	if err != nil {
		return err
	}
	defer stopMetrics()
	log.Info("serving", "listen", ln.Addr().String(), "base", cfg.BaseURL)
	return pl.run(ctx, ln)
}

func serveMetrics(listen string) (stop func(), err error) {
	ln, err := net.Listen("tcp", listen)
	if err != nil {
		return nil, fmt.Errorf("metrics: %w", err)
	}
	srv := metricsServer()
	go func() {
		if err := srv.Serve(ln); err != nil && !errors.Is(err, http.ErrServerClosed) {
			slog.Error("metrics", "error", err)
		}
	}()
	return func() { srv.Close() }, nil
}

// connectNATS uses an external NATS, or runs the embedded one for this edge
// and its workers.
func connectNATS(cfg config, log *slog.Logger) (conn, sys *nats.Conn, closeAll func(), err error) {
	if cfg.NATSURL != "" {
		if conn, err = natsrt.DialEdge(cfg.NATSURL, "edge", log); err != nil {
			return nil, nil, nil, err
		}
		return conn, nil, conn.Close, nil
	}
	host, port, err := net.SplitHostPort(cfg.NATSListen)
	if err != nil {
		return nil, nil, nil, usageError{fmt.Errorf("LATCHKEY_NATS_LISTEN: %w", err)}
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		return nil, nil, nil, usageError{fmt.Errorf("LATCHKEY_NATS_LISTEN: %q is not a port", port)}
	}
	server, conn, sys, err := embeddedNATS(natsrt.ServerOptions{Host: host, Port: n, WorkerPassword: cfg.WorkerPassword, Log: log})
	if err != nil {
		return nil, nil, nil, err
	}
	return conn, sys, func() { conn.Close(); sys.Close(); server.Close() }, nil
}

func embeddedNATS(o natsrt.ServerOptions) (server *natsrt.Server, conn, sys *nats.Conn, err error) {
	if server, err = natsrt.StartServer(o); err != nil {
		return nil, nil, nil, err
	}
	if conn, err = server.EdgeConn("edge"); err == nil {
		sys, err = server.SysConn()
	}
	if err != nil {
		server.Close()
		return nil, nil, nil, err
	}
	return server, conn, sys, nil
}
