package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	leadRetry = 2 * time.Second // how late an edge takes over from one that is gone
	leadPing  = time.Second
)

// Lead runs fn while this process is the one that does the named work: of all
// edges exactly one holds the lock, on a connection of its own. When that is
// lost, fn's context ends, and it is tried again, until ctx ends.
//
// An edge that is cut off from the database may go on for the time of two pings
// after another one took over: what is done in fn must bear that.
func (db *DB) Lead(ctx context.Context, name string, fn func(ctx context.Context)) {
	for ctx.Err() == nil {
		if err := db.lead(ctx, name, fn); err != nil && ctx.Err() == nil {
			db.log.WarnContext(ctx, "cannot take the lead; trying again", "of", name, "error", err)
		}
		timer := time.NewTimer(leadRetry)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
	}
}

func (db *DB) lead(ctx context.Context, name string, fn func(ctx context.Context)) error {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "latchkey-lead"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		conn.Close(ctx) // gives the lock back
	}()
	var got bool
	for {
		if err := conn.QueryRow(ctx, `SELECT pg_try_advisory_lock(hashtextextended('latchkey.lead:' || $1, 0))`, name).Scan(&got); err != nil {
			return err
		}
		if got {
			break
		}
		timer := time.NewTimer(leadRetry)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-timer.C:
		}
	}
	leading, stop := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		fn(leading)
	}()
	defer func() { stop(); <-done }()
	tick := time.NewTicker(leadPing)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			ping, cancel := context.WithTimeout(ctx, leadPing)
			err := conn.Ping(ping)
			cancel()
			if err != nil {
				return err
			}
		}
	}
}
