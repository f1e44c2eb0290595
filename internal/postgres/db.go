// Package postgres keeps the platform's records in Postgres. It implements the
// stores that the domain packages declare, runs migrations, and listens for
// changes. SQL stands here and nowhere else.
//
// db.InTenant is the only door to a tenant's rows, db.AcrossTenants the rare
// named exception; the pool is not exported.
package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"latchkey/internal/fault"
	"latchkey/internal/tenants"
)

// DB is the platform's database, as the serving role sees it.
type DB struct {
	pool      *pgxpool.Pool
	log       *slog.Logger
	exclusive exclusives
}

// Options of Open.
type Options struct {
	URL      string // of the serving role, latchkey_app
	MaxConns int32  // 0: 24
	Log      *slog.Logger
}

// Open connects lazily: a database that is away shows at the first use, as
// fault.StoreAway, and recovers by itself.
func Open(ctx context.Context, o Options) (*DB, error) {
	cfg, err := pgxpool.ParseConfig(o.URL)
	if err != nil {
		return nil, fmt.Errorf("the database URL cannot be read: %s; it looks like postgres://latchkey_app:…@host:5432/latchkey", redactURL(err))
	}
	cfg.MaxConns = 24
	if o.MaxConns > 0 {
		cfg.MaxConns = o.MaxConns
	}
	cfg.MinIdleConns = 2
	cfg.ConnConfig.ConnectTimeout = 3 * time.Second
	cfg.ConnConfig.RuntimeParams["application_name"] = "latchkey"
	cfg.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "10s"
	cfg.ConnConfig.RuntimeParams["statement_timeout"] = "15s"
	cfg.HealthCheckPeriod = 5 * time.Second
	pool, err := pgxpool.NewWithConfig(ctx, cfg)
	if err != nil {
		return nil, err
	}
	log := o.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &DB{pool: pool, log: log, exclusive: exclusives{
		lines: map[tenants.ID]*line{}, slots: make(chan struct{}, max(1, min(maxExclusive, int(cfg.MaxConns)/3))),
	}}, nil
}

// Close waits for running transactions.
func (db *DB) Close() { db.pool.Close() }

const (
	// beginTimeout bounds the wait for a connection that answers.
	beginTimeout = 4 * time.Second
	// transactionTimeout bounds what follows. It is longer than the server's
	// own statement_timeout, so it is for a server or network that is silent.
	transactionTimeout = 30 * time.Second
)

// Ping asks the server, for /readyz.
func (db *DB) Ping(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	return away(db.pool.Ping(ctx))
}

// InTenant runs fn in a transaction that sees the rows of one tenant and of no
// other, however its SQL is written. The setting ends with the transaction, so
// a pooled connection cannot carry it on. BEGIN and the setting are one round
// trip: the id's charset is checked, so that it may stand in the statement.
func (db *DB) InTenant(ctx context.Context, id tenants.ID, fn func(ctx context.Context, tx pgx.Tx) error) error {
	if _, err := tenants.ParseID(string(id)); err != nil {
		return fault.New(fault.Unexpected, "A tenant is missing here.").Because(err)
	}
	return db.begin(ctx, "BEGIN; SELECT set_config('latchkey.tenant', '"+string(id)+"', true)", fn)
}

// stepInTenant is InTenant for one statement: it goes with the setting in one
// round trip, as one implicit transaction, so that the setting ends with it as
// always. Which rows it gave or touched is for read to say.
func (db *DB) stepInTenant(ctx context.Context, id tenants.ID, query string, args []any, read func(pgx.BatchResults) error) error {
	if _, err := tenants.ParseID(string(id)); err != nil {
		return fault.New(fault.Unexpected, "A tenant is missing here.").Because(err)
	}
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	b := &pgx.Batch{}
	b.Queue(`SELECT set_config('latchkey.tenant', $1, true)`, string(id))
	b.Queue(query, args...)
	results := db.pool.SendBatch(ctx, b)
	_, err := results.Exec()
	if err == nil {
		err = read(results)
	}
	if closed := results.Close(); err == nil {
		err = closed
	}
	return translate(err)
}

// AcrossTenants runs fn in a transaction of the role latchkey_across, which
// sees all tenants, with the few rights that migrations grant it. The reason
// is logged: it is for a reader who asks why this is not InTenant.
func (db *DB) AcrossTenants(ctx context.Context, reason string, fn func(ctx context.Context, tx pgx.Tx) error) error {
	db.log.DebugContext(ctx, "across tenants", "reason", reason)
	return db.begin(ctx, "BEGIN; SET LOCAL ROLE latchkey_across", fn)
}

// asPlatform runs fn in a transaction that sees no tenant's rows.
func (db *DB) asPlatform(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return db.begin(ctx, "BEGIN", fn)
}

func (db *DB) begin(ctx context.Context, query string, fn func(ctx context.Context, tx pgx.Tx) error) error {
	tx, err := db.open(ctx, query)
	if err != nil {
		return away(err)
	}
	ctx, cancel := context.WithTimeout(ctx, transactionTimeout)
	defer cancel()
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		tx.Rollback(ctx)
	}()
	if err := fn(ctx, tx); err != nil {
		return translate(err)
	}
	return translate(tx.Commit(ctx)) // deferred constraints speak here
}

// open begins. Where a pooled connection proves dead, so are the others: the
// server was started anew. Nothing has happened yet, so it asks once more.
func (db *DB) open(ctx context.Context, query string) (pgx.Tx, error) {
	ctx, cancel := context.WithTimeout(ctx, beginTimeout)
	defer cancel()
	tx, err := db.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: query})
	var unreachable *pgconn.ConnectError
	if err != nil && ctx.Err() == nil && !errors.As(err, &unreachable) && fault.HasCode(away(err), fault.StoreAway) {
		db.pool.Reset()
		return db.pool.BeginTx(ctx, pgx.TxOptions{BeginQuery: query})
	}
	return tx, err
}

// translate gives errors of the server and of the network their codes.
func translate(err error) error {
	var f *fault.Error
	if err == nil || errors.As(err, &f) {
		return err
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fault.New(fault.NotFound, "There is nothing of that name here.").Because(err)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "23505":
			return fault.New(fault.Conflict, "That name or id is taken already.").Because(err)
		case "23503":
			return fault.New(fault.NotFound, "Something that this refers to does not exist.").Because(err)
		case "23514":
			return fault.New(fault.InvalidRequest, "A value is not of the form that is stored (rule %s).", pg.ConstraintName).Because(err)
		case "22001", "22P02", "22021", "22P05": // the last two: text with a NUL, or that is not UTF-8
			return fault.New(fault.InvalidRequest, "A value is not of the form that is stored.").Because(err)
		case "40P01", "40001":
			return fault.New(fault.Busy, "Somebody else changed the same thing at the same time, and nothing was changed here. Try again.").After(time.Second).Because(err)
		}
	}
	return away(err)
}

// away recognizes a database that cannot be reached or is shutting down.
func away(err error) error {
	if err == nil || errors.Is(err, context.Canceled) {
		return err
	}
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	var pg *pgconn.PgError
	var conn *pgconn.ConnectError
	var network *net.OpError
	var gone bool
	if errors.As(err, &pg) {
		// Shutting down, starting, connection lost; too many connections; out of
		// time in a statement or between two.
		gone = strings.HasPrefix(pg.Code, "57P") || strings.HasPrefix(pg.Code, "08") || pg.Code == "53300" || pg.Code == "57014" || pg.Code == "25P03"
	} else {
		gone = errors.As(err, &conn) || errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded) ||
			errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
			pgconn.Timeout(err) || pgconn.SafeToRetry(err)
	}
	if gone {
		return fault.New(fault.StoreAway, "The platform's own store does not answer, so that nothing can be recorded and nothing is run. Try again in a few seconds.").After(5 * time.Second).Because(err)
	}
	return err
}

// redactURL keeps a password out of a parse error.
func redactURL(err error) string {
	var pe *pgconn.ParseConfigError
	if errors.As(err, &pe) {
		return "it is not a valid connection string"
	}
	return "it is not a valid URL"
}

// Endpoint is where the platform's own database is: no tenant may name it.
func (db *DB) Endpoint() (host string, port int, database string) {
	c := db.pool.Config().ConnConfig
	return c.Host, int(c.Port), c.Database
}
