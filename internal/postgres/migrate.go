package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strconv"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"

	"latchkey/internal/secret"
	"latchkey/migrations"
)

// The database roles. latchkey_owner owns the schema and runs migrations,
// latchkey_app serves and owns nothing, latchkey_across is taken for one
// transaction.
const (
	roleOwner  = "latchkey_owner"
	roleApp    = "latchkey_app"
	roleAcross = "latchkey_across"
)

// Bootstrap makes the roles and the database, with a superuser's connection to
// any database of the server. It is for a private server (`platform dev`,
// tests) and for an operator's first set-up; it changes passwords to the ones
// given and is safe to repeat and to run from several processes.
func Bootstrap(ctx context.Context, superuserURL, database string, owner, app secret.Text) error {
	conn, err := pgx.Connect(ctx, superuserURL)
	if err != nil {
		return fmt.Errorf("connect as administrator to set up the database %s: %w", database, err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	// CREATE DATABASE cannot run in a transaction: hold a session lock. It is
	// this database's only; putRole minds those who are in another.
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock(7430001)`); err != nil {
		return err
	}
	defer conn.Exec(context.WithoutCancel(ctx), `SELECT pg_advisory_unlock(7430001)`)

	for _, role := range []struct {
		name, attributes string
		password         secret.Text
	}{
		{roleAcross, "NOLOGIN NOINHERIT", ""},
		{roleApp, "LOGIN NOINHERIT NOCREATEDB NOCREATEROLE NOBYPASSRLS NOSUPERUSER", app},
		{roleOwner, "LOGIN NOCREATEDB NOCREATEROLE NOBYPASSRLS NOSUPERUSER", owner},
	} {
		if err := untilAlone(func() error { return putRole(ctx, conn, role.name, role.attributes, role.password) }); err != nil {
			return fmt.Errorf("set up role %s: %w", role.name, err)
		}
	}
	var version int
	if err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int`).Scan(&version); err != nil {
		return err
	}
	grant := "GRANT " + roleAcross + " TO " + roleApp
	if version >= 160000 {
		// Since 16 a membership has its own INHERIT, which ALTER ROLE leaves alone:
		// with it, every transaction of the application would see every tenant.
		grant += " WITH INHERIT FALSE, SET TRUE"
	}
	if err := untilAlone(func() error { _, err := conn.Exec(ctx, grant); return err }); err != nil {
		return fmt.Errorf("set up role %s: %w", roleApp, err)
	}
	name := pgx.Identifier{database}.Sanitize()
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, database).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE DATABASE "+name+" OWNER "+roleOwner); err != nil {
			return fmt.Errorf("create database %s: %w", database, err)
		}
	}
	// Nobody but the platform's own roles may even connect.
	_, err = conn.Exec(ctx, "REVOKE ALL ON DATABASE "+name+" FROM PUBLIC; ALTER DATABASE "+name+" OWNER TO "+roleOwner+"; GRANT CONNECT ON DATABASE "+name+" TO "+roleApp+", "+roleOwner)
	return err
}

func putRole(ctx context.Context, conn *pgx.Conn, name, attributes string, password secret.Text) error {
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, name).Scan(&exists); err != nil {
		return err
	}
	verb := "CREATE"
	if exists {
		verb = "ALTER"
	}
	stmt := verb + " ROLE " + name + " " + attributes
	if password != "" {
		quoted, err := conn.PgConn().EscapeString(password.Reveal())
		if err != nil {
			return errors.New("the password holds characters that cannot be quoted")
		}
		stmt += " PASSWORD '" + quoted + "'"
	}
	_, err := conn.Exec(ctx, stmt)
	return err
}

// untilAlone repeats what met another set-up, of another database, in the
// catalogs that all databases of a server share. Postgres waits for the other
// before it says so, so there is no need to wait here.
func untilAlone(do func() error) (err error) {
	for range 20 {
		var pg *pgconn.PgError
		if err = do(); !errors.As(err, &pg) || pg.Code != "XX000" && pg.Code != "42710" && pg.Code != "23505" {
			return err
		}
	}
	return err
}

// Migrate brings the schema to this binary's version, as the owner. Several
// processes may start it at once: one runs the steps, the others wait. Each
// step is a transaction, so a process that dies leaves whole steps only.
func Migrate(ctx context.Context, ownerURL string) (from, to int64, err error) {
	p, sqldb, err := provider(ownerURL, true)
	if err != nil {
		return 0, 0, err
	}
	defer sqldb.Close()
	if from, err = p.GetDBVersion(ctx); err != nil {
		return 0, 0, migrationError(err)
	}
	newest := newestStep(p)
	if from > newest {
		return from, newest, fmt.Errorf("the database is at schema version %d, this binary knows up to %d: run the newer binary, or restore the backup made before the upgrade", from, newest)
	}
	if _, err := p.Up(ctx); err != nil {
		return from, 0, migrationError(err)
	}
	return from, newest, nil
}

// CheckSchema says whether the schema fits this binary, as the serving role.
func (db *DB) CheckSchema(ctx context.Context) error {
	newest, err := newestEmbedded()
	if err != nil {
		return err
	}
	var have int64
	err = db.pool.QueryRow(ctx, `SELECT coalesce(max(version_id), 0) FROM goose_db_version WHERE is_applied`).Scan(&have)
	var pg *pgconn.PgError
	switch {
	case errors.As(err, &pg) && (pg.Code == "42P01" || pg.Code == "42501"): // the first step grants the reading
		return errors.New("the database has no schema yet: run `platform migrate`")
	case err != nil:
		return away(err)
	case have < newest:
		return fmt.Errorf("the database is at schema version %d, this binary needs %d: run `platform migrate`", have, newest)
	}
	return nil
}

func provider(ownerURL string, locked bool) (*goose.Provider, *sql.DB, error) {
	sqldb, err := sql.Open("pgx", ownerURL)
	if err != nil {
		return nil, nil, fmt.Errorf("the owner's database URL cannot be read: %s", redactURL(err))
	}
	var opts []goose.ProviderOption
	if locked {
		locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 120), lock.WithUnlockTimeout(1, 10))
		if err != nil {
			return nil, nil, err
		}
		opts = append(opts, goose.WithSessionLocker(locker))
	}
	p, err := goose.NewProvider(goose.DialectPostgres, sqldb, migrations.Files, opts...)
	if err != nil {
		sqldb.Close()
		return nil, nil, err
	}
	return p, sqldb, nil
}

func newestStep(p *goose.Provider) int64 {
	var newest int64
	for _, s := range p.ListSources() {
		newest = max(newest, s.Version)
	}
	return newest
}

func newestEmbedded() (int64, error) {
	names, err := fs.Glob(migrations.Files, "*.sql")
	var newest int64
	for _, n := range names {
		v, err := goose.NumericComponent(n)
		if err != nil {
			return 0, err
		}
		newest = max(newest, v)
	}
	return newest, err
}

// migrationError names the step that failed and what to do.
func migrationError(err error) error {
	var partial *goose.PartialError
	if errors.As(err, &partial) && partial.Failed != nil {
		return fmt.Errorf("migration %s failed and was rolled back; the steps before it stand. Repair what it names and run `platform migrate` again: %w", partial.Failed.Source.Path, partial.Err)
	}
	return fmt.Errorf("migrate: %w", err)
}

// DatabaseURL composes a connection URL; tests and `platform dev` use it.
func DatabaseURL(host string, port int, database, user string, password secret.Text) string {
	u := url.URL{Scheme: "postgres", User: url.UserPassword(user, password.Reveal()), Host: net.JoinHostPort(host, strconv.Itoa(port)), Path: "/" + database}
	if host == "127.0.0.1" || host == "::1" || host == "localhost" {
		u.RawQuery = "sslmode=disable"
	}
	return u.String()
}

// OwnerUser and AppUser are the names that the URLs above log in with.
func OwnerUser() string { return roleOwner }
func AppUser() string   { return roleApp }
