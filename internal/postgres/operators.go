package postgres

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/callers"
	"latchkey/internal/fault"
)

var _ callers.Operators = (*DB)(nil)

const operatorColumns = `o.email, o.name, o.disabled_at IS NOT NULL, o.password_hash <> '', o.created_at,
	(SELECT max(s.last_seen_at) FROM operator_sessions s WHERE s.email = o.email)`

func operatorFields(o *callers.Operator, seen **time.Time) []any {
	return []any{&o.Email, &o.Name, &o.Disabled, &o.HasPassword, &o.CreatedAt, seen}
}

func scanOperator(row pgx.CollectableRow) (o callers.Operator, err error) {
	var seen *time.Time
	err = row.Scan(operatorFields(&o, &seen)...)
	o.LastSeenAt = timeOrZero(seen)
	return o, err
}

// Operators lists all, by address.
func (db *DB) Operators(ctx context.Context) (os []callers.Operator, err error) {
	defer fault.Wrap(&err, "postgres.Operators")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		os, err = many(ctx, tx, scanOperator, `SELECT `+operatorColumns+` FROM operators o ORDER BY o.email`)
		return err
	})
	return os, err
}

// Operator finds one by address.
func (db *DB) Operator(ctx context.Context, email string) (o callers.Operator, err error) {
	defer fault.Wrap(&err, "postgres.Operator")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		o, err = one(ctx, tx, scanOperator, `SELECT `+operatorColumns+` FROM operators o WHERE o.email = $1`, normalEmail(email))
		return err
	})
	return o, err
}

// changeOperators runs fn while nobody else changes operators, and takes it
// back if it leaves nobody who could sign in, where there was somebody.
func (db *DB) changeOperators(ctx context.Context, fn func(ctx context.Context, tx pgx.Tx) error) error {
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtextextended('operators', 0))`); err != nil {
			return err
		}
		count := func() (n int, err error) {
			err = tx.QueryRow(ctx, `SELECT count(*) FROM operators WHERE disabled_at IS NULL`).Scan(&n)
			return n, err
		}
		before, err := count()
		if err != nil {
			return err
		}
		if err := fn(ctx, tx); err != nil {
			return err
		}
		after, err := count()
		if err == nil && before > 0 && after == 0 {
			err = fault.New(fault.Conflict, "This would leave the platform without an operator. Add or enable another one first.")
		}
		return err
	})
}

// PutOperator creates or replaces.
func (db *DB) PutOperator(ctx context.Context, in callers.Operator) (o callers.Operator, err error) {
	defer fault.Wrap(&err, "postgres.PutOperator")
	email := normalEmail(in.Email)
	err = db.changeOperators(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `
			INSERT INTO operators AS old (email, name, disabled_at, created_at)
			VALUES ($1, $2, CASE WHEN $3 THEN now() END, coalesce($4, now()))
			ON CONFLICT (email) DO UPDATE SET name = EXCLUDED.name,
			    disabled_at = CASE WHEN $3 THEN coalesce(old.disabled_at, now()) END`,
			email, in.Name, in.Disabled, nullTime(in.CreatedAt)); err != nil {
			return err
		}
		if in.Disabled {
			if _, err := tx.Exec(ctx, `DELETE FROM operator_sessions WHERE email = $1`, email); err != nil {
				return err
			}
		}
		o, err = one(ctx, tx, scanOperator, `SELECT `+operatorColumns+` FROM operators o WHERE o.email = $1`, email)
		return err
	})
	return o, err
}

// DeleteOperator removes an operator, with their sessions.
func (db *DB) DeleteOperator(ctx context.Context, email string) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteOperator")
	return db.changeOperators(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return changed(tx.Exec(ctx, `DELETE FROM operators WHERE email = $1`, normalEmail(email)))
	})
}

// OperatorPassword is the encoded hash of a password, empty if none is set.
func (db *DB) OperatorPassword(ctx context.Context, email string) (hash string, err error) {
	defer fault.Wrap(&err, "postgres.OperatorPassword")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		return tx.QueryRow(ctx, `SELECT password_hash FROM operators WHERE email = $1`, normalEmail(email)).Scan(&hash)
	})
	return hash, err
}

// SetOperatorPassword also ends the operator's sessions.
func (db *DB) SetOperatorPassword(ctx context.Context, email, hash string) (err error) {
	defer fault.Wrap(&err, "postgres.SetOperatorPassword")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := changed(tx.Exec(ctx, `UPDATE operators SET password_hash = $2 WHERE email = $1`, normalEmail(email), hash)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM operator_sessions WHERE email = $1`, normalEmail(email))
		return err
	})
}

// CreateOperatorSession stores a session, and drops those that were last seen
// before staleBefore.
func (db *DB) CreateOperatorSession(ctx context.Context, s callers.OperatorSession, staleBefore time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.CreateOperatorSession")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM operator_sessions WHERE last_seen_at < $1`, staleBefore); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO operator_sessions (token_hash, email, created_at, last_seen_at) VALUES ($1, $2, $3, $4)`,
			s.Token[:], normalEmail(s.Email), s.CreatedAt, s.LastSeenAt)
		return err
	})
}

// OperatorSession finds a session by its cookie's hash, with the operator.
func (db *DB) OperatorSession(ctx context.Context, token callers.Hash) (s callers.OperatorSession, o callers.Operator, err error) {
	defer fault.Wrap(&err, "postgres.OperatorSession")
	s.Token = token
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		var seen *time.Time
		err := tx.QueryRow(ctx, `
			SELECT x.email, x.created_at, x.last_seen_at, `+operatorColumns+`
			FROM operator_sessions x JOIN operators o ON o.email = x.email WHERE x.token_hash = $1`, token[:]).
			Scan(append([]any{&s.Email, &s.CreatedAt, &s.LastSeenAt}, operatorFields(&o, &seen)...)...)
		o.LastSeenAt = timeOrZero(seen)
		return err
	})
	return s, o, err
}

// TouchOperatorSession notes when a session was last seen.
func (db *DB) TouchOperatorSession(ctx context.Context, token callers.Hash, seen time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.TouchOperatorSession")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE operator_sessions SET last_seen_at = greatest(last_seen_at, $2) WHERE token_hash = $1`, token[:], seen)
		return err
	})
}

// DeleteOperatorSession ends a session; one that is gone already is no error.
func (db *DB) DeleteOperatorSession(ctx context.Context, token callers.Hash) (err error) {
	defer fault.Wrap(&err, "postgres.DeleteOperatorSession")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `DELETE FROM operator_sessions WHERE token_hash = $1`, token[:])
		return err
	})
}

const operatorKeyColumns = `k.id, k.name, k.hash, k.hint, '{}'::text[], k.created_by, '', k.created_at, k.expires_at, k.last_used_at, k.revoked_at`

// OperatorKeys lists the newest first.
func (db *DB) OperatorKeys(ctx context.Context) (ks []callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.OperatorKeys")
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		ks, err = many(ctx, tx, scanCallerKey, `SELECT `+operatorKeyColumns+` FROM operator_keys k ORDER BY k.created_at DESC, k.id DESC LIMIT 1000`)
		return err
	})
	return ks, err
}

// operatorKey finds one key by a condition on it.
func (db *DB) operatorKey(ctx context.Context, where string, args ...any) (k callers.Key, err error) {
	err = db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		k, err = one(ctx, tx, scanCallerKey, `SELECT `+operatorKeyColumns+` FROM operator_keys k WHERE `+where, args...)
		return err
	})
	return k, err
}

// OperatorKey finds a key, also one that was revoked.
func (db *DB) OperatorKey(ctx context.Context, id string) (k callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.OperatorKey(%.40q)", id)
	return db.operatorKey(ctx, `k.id = $1`, id)
}

// OperatorKeyByHash finds a key by its secret's hash.
func (db *DB) OperatorKeyByHash(ctx context.Context, h callers.Hash) (k callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.OperatorKeyByHash")
	return db.operatorKey(ctx, `k.hash = $1`, h[:])
}

// OperatorKeyByToken finds the key that a token was got with.
func (db *DB) OperatorKeyByToken(ctx context.Context, h callers.Hash, now time.Time) (k callers.Key, err error) {
	defer fault.Wrap(&err, "postgres.OperatorKeyByToken")
	return db.operatorKey(ctx, `k.id = (SELECT key_id FROM operator_tokens WHERE hash = $1 AND expires_at > $2)`, h[:], now)
}

// CreateOperatorKey stores a new key.
func (db *DB) CreateOperatorKey(ctx context.Context, k callers.Key) (err error) {
	defer fault.Wrap(&err, "postgres.CreateOperatorKey")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `
			INSERT INTO operator_keys (id, name, hash, hint, created_by, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			k.ID, k.Name, k.Hash[:], k.Hint, k.CreatedBy, k.CreatedAt, nullTime(k.ExpiresAt))
		return err
	})
}

// RevokeOperatorKey ends a key, and with it the tokens that were got with it.
func (db *DB) RevokeOperatorKey(ctx context.Context, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.RevokeOperatorKey(%.40q)", id)
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if err := changed(tx.Exec(ctx, `UPDATE operator_keys SET revoked_at = coalesce(revoked_at, $2) WHERE id = $1`, id, at)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `DELETE FROM operator_tokens WHERE key_id = $1`, id)
		return err
	})
}

// UseOperatorKey notes that a key was used.
func (db *DB) UseOperatorKey(ctx context.Context, id string, at time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.UseOperatorKey(%.40q)", id)
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `UPDATE operator_keys SET last_used_at = greatest(last_used_at, date_trunc('minute', $2::timestamptz)) WHERE id = $1`, id, at)
		return err
	})
}

// CreateOperatorToken stores a token, and drops those that have expired.
func (db *DB) CreateOperatorToken(ctx context.Context, t callers.OperatorToken, now time.Time) (err error) {
	defer fault.Wrap(&err, "postgres.CreateOperatorToken")
	return db.asPlatform(ctx, func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `DELETE FROM operator_tokens WHERE expires_at < $1`, now); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `INSERT INTO operator_tokens (hash, key_id, expires_at) VALUES ($1, $2, $3)`, t.Hash[:], t.Key, t.ExpiresAt)
		return err
	})
}
