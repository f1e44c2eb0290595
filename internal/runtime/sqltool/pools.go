package sqltool

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgproto3"
	"github.com/jackc/pgx/v5/pgxpool"

	"latchkey/internal/registry"
	"latchkey/internal/runtime"
)

const (
	// maxMessage bounds one row on its way in, before the bound of the tool
	// can count it.
	maxMessage = 16 << 20
	// cancelWait is how long a statement that was told to stop may take for it
	// before its connection is given up.
	cancelWait = time.Second
	// loginPatience is for a new user that a replica does not know yet, and for
	// sessions that are closed and still counted.
	loginPatience = time.Second
	loginPause    = 20 * time.Millisecond
)

// pools has the connections of a server: a pool for each credential that may
// serve several calls, and one connection for a credential that serves one.
type pools struct {
	connection connection
	config     map[registry.Access]*pgxpool.Config // templates

	mu     sync.Mutex
	open   map[string]*pgxpool.Pool // by the credential's id
	closed chan struct{}
	ending sync.WaitGroup // pools that are not closed yet
}

func newPools(c connection, server string) (*pools, error) {
	p := &pools{connection: c, config: map[registry.Access]*pgxpool.Config{}, open: map[string]*pgxpool.Pool{}, closed: make(chan struct{})}
	for _, a := range []registry.Access{registry.ReadAccess, registry.WriteAccess} {
		cfg, err := pgxpool.ParseConfig(c.dsn(a, "latchkey/"+server))
		if err != nil {
			return nil, fmt.Errorf("the connection cannot be used: %w", err)
		}
		prepare(cfg.ConnConfig)
		cfg.MaxConns = int32(max(1, c.Credentials.Connections))
		cfg.MinConns = 0
		cfg.MaxConnIdleTime = time.Minute
		cfg.HealthCheckPeriod = 30 * time.Second
		p.config[a] = cfg
	}
	return p, nil
}

// prepare sets what holds for each connection. Values come back as text, in
// forms that do not depend on the server's settings.
func prepare(c *pgx.ConnConfig) {
	c.DefaultQueryExecMode = pgx.QueryExecModeExec
	c.StatementCacheCapacity, c.DescriptionCacheCapacity = 0, 0
	for k, v := range map[string]string{
		"TimeZone": "UTC", "DateStyle": "ISO", "IntervalStyle": "iso_8601", "bytea_output": "hex",
		"client_encoding": "UTF8", "standard_conforming_strings": "on",
	} {
		c.RuntimeParams[k] = v
	}
	// A stopped call stops its statement in the server, and keeps the connection.
	c.BuildContextWatcherHandler = func(conn *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: conn, CancelRequestDelay: 0, DeadlineDelay: cancelWait}
	}
	build := c.BuildFrontend
	c.BuildFrontend = func(r io.Reader, w io.Writer) *pgproto3.Frontend {
		f := build(r, w)
		f.SetMaxBodyLen(maxMessage)
		return f
	}
}

// acquire gives a connection of the credential, and how to give it back.
func (p *pools) acquire(ctx context.Context, cred runtime.Credential, a registry.Access) (*pgx.Conn, func(), error) {
	if a == registry.WriteAccess && !p.connection.Credentials.CachedWrites {
		cfg := p.config[a].ConnConfig.Copy()
		cfg.User, cfg.Password = cred.Username, cred.Password.Reveal()
		conn, err := patiently(ctx, func() (*pgx.Conn, error) { return pgx.ConnectConfig(ctx, cfg) })
		if err != nil {
			return nil, nil, err
		}
		return conn, func() {
			ctx, cancel := context.WithTimeout(context.Background(), cancelWait)
			defer cancel()
			conn.Close(ctx)
		}, nil
	}
	pool, err := p.pool(cred, a)
	if err != nil {
		return nil, nil, err
	}
	conn, err := patiently(ctx, func() (*pgxpool.Conn, error) { return pool.Acquire(ctx) })
	if err != nil {
		return nil, nil, err
	}
	return conn.Conn(), conn.Release, nil
}

// patiently tries a login again that will work in a moment.
func patiently[T any](ctx context.Context, login func() (T, error)) (T, error) {
	give := time.Now().Add(loginPatience)
	for {
		conn, err := login()
		if err == nil || !(loginRefused(err) || crowded(err)) || time.Now().After(give) {
			return conn, err
		}
		select {
		case <-ctx.Done():
			return conn, err
		case <-time.After(loginPause):
		}
	}
}

// loginRefused reports whether the server does not know the user or its
// password (class 28).
func loginRefused(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && strings.HasPrefix(pe.Code, "28")
}

// crowded reports that the credential has as many sessions as it may.
func crowded(err error) bool {
	var pe *pgconn.PgError
	return errors.As(err, &pe) && pe.Code == "53300"
}

func (p *pools) pool(cred runtime.Credential, a registry.Access) (*pgxpool.Pool, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.closed:
		return nil, errors.New("the server is closed")
	default:
	}
	if pool := p.open[cred.ID]; pool != nil {
		return pool, nil
	}
	cfg := p.config[a].Copy()
	cfg.ConnConfig.User, cfg.ConnConfig.Password = cred.Username, cred.Password.Reveal()
	pool, err := pgxpool.NewWithConfig(context.Background(), cfg)
	if err != nil {
		return nil, err
	}
	p.open[cred.ID] = pool
	p.ending.Go(func() {
		select {
		case <-cred.Expired:
		case <-p.closed:
		}
		p.mu.Lock()
		delete(p.open, cred.ID)
		p.mu.Unlock()
		pool.Close()
	})
	return pool, nil
}

func (p *pools) close() error {
	p.mu.Lock()
	close(p.closed)
	p.mu.Unlock()
	p.ending.Wait()
	return nil
}
