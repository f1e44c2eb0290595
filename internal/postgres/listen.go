package postgres

import (
	"context"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"
)

// Change says that something was changed and committed, by any process.
type Change struct {
	Topic  string `json:"topic"` // tenant, access, server, grant, …: the triggers' arguments
	Tenant string `json:"tenant"`
	ID     string `json:"id"`
}

// Reconnected is the topic of the change that stands for everything that may
// have been missed while the connection was down: drop all caches.
const Reconnected = "reconnected"

// Lost is the topic that is sent when the connection is lost: what is cached
// may be stale from now until Reconnected.
const Lost = "lost"

// Listen calls on for each committed change until ctx ends, on a connection of
// its own. Delivery is ordered and, while the connection stands, complete: the
// notification is part of the commit. It ends with Lost: who still reads what
// is cached, while a process drains, reads past the caches. It needs a direct
// connection or one through a pooler in session mode.
func (db *DB) Listen(ctx context.Context, on func(Change)) {
	for wait := 50 * time.Millisecond; ctx.Err() == nil; {
		err := db.listenOnce(ctx, func(c Change) { wait = 50 * time.Millisecond; on(c) })
		on(Change{Topic: Lost})
		if ctx.Err() != nil {
			return
		}
		db.log.WarnContext(ctx, "change notifications interrupted; reading past all caches until they are back", "error", err, "retry_in", wait)
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
		case <-timer.C:
		}
		timer.Stop()
		wait = min(2*wait, 2*time.Second)
	}
}

func (db *DB) listenOnce(ctx context.Context, on func(Change)) error {
	cfg := db.pool.Config().ConnConfig.Copy()
	cfg.RuntimeParams["application_name"] = "latchkey-listen"
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err := conn.Exec(ctx, "LISTEN latchkey"); err != nil {
		return err
	}
	on(Change{Topic: Reconnected})
	for {
		// A dead network shows as silence: ask now and then. What is cached may
		// be stale for this long, and no longer.
		waitCtx, cancel := context.WithTimeout(ctx, time.Second)
		n, err := conn.WaitForNotification(waitCtx)
		cancel()
		switch {
		case err == nil:
			var c Change
			if json.Unmarshal([]byte(n.Payload), &c) == nil {
				on(c)
			}
		case ctx.Err() != nil:
			return ctx.Err()
		case waitCtx.Err() != nil && !conn.IsClosed():
			pingCtx, cancel := context.WithTimeout(ctx, 2*time.Second)
			err := conn.Ping(pingCtx)
			cancel()
			if err != nil {
				return err
			}
		default:
			return err
		}
	}
}
