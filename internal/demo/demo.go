// Package demo holds what `platform dev` seeds: two tenants, their files, and
// the databases that their servers work on. The files go through the same door
// as everybody's; the databases play the part of what a tenant brings along.
package demo

import (
	"context"
	"embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

//go:embed files
var files embed.FS

// File is a tenant file as one would give to `platform apply -f`.
type File struct {
	Name string
	Data []byte
}

// Files are the tenants, in the order in which they are applied.
func Files() []File {
	var out []File
	for _, name := range []string{"acme.yaml", "globex.yaml"} {
		b, err := files.ReadFile("files/" + name)
		if err != nil { // embedded
			panic(err)
		}
		out = append(out, File{name, b})
	}
	return out
}

// Passwords of the accounts that Vault uses, one for each tenant's database.
type Passwords struct{ Acme, Globex secret.Text }

// Databases makes what the demo's tenants bring along: databases with data,
// the groups whose rights tools get, and the account that Vault uses. It may
// run any number of times and keeps what is there. dsn gives a superuser's
// connection to a database of the server.
func Databases(ctx context.Context, dsn func(database string) string, p Passwords) (err error) {
	defer fault.Wrap(&err, "demo.Databases")
	for _, t := range []struct {
		name     string
		password secret.Text
	}{{"acme", p.Acme}, {"globex", p.Globex}} {
		if err := accounts(ctx, dsn("postgres"), t.name, t.password); err != nil {
			return err
		}
		if err := shop(ctx, dsn("demo_"+t.name), t.name); err != nil {
			return err
		}
	}
	return nil
}

// accounts makes the roles and the database. Nobody else may connect to it:
// that, and not a filter, keeps one tenant out of the other's data.
func accounts(ctx context.Context, dsn, tenant string, password secret.Text) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	quoted, err := conn.PgConn().EscapeString(password.Reveal())
	if err != nil {
		return err
	}
	fill := strings.NewReplacer("TENANT", tenant, "PASSWORD_OF_ADMIN", quoted)
	if _, err := conn.Exec(ctx, fill.Replace(readSQL("accounts.sql"))); err != nil {
		return err
	}
	var exists bool
	if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, "demo_"+tenant).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := conn.Exec(ctx, "CREATE DATABASE demo_"+tenant); err != nil {
			return err
		}
	}
	_, err = conn.Exec(ctx, fill.Replace(`
		REVOKE ALL ON DATABASE demo_TENANT FROM PUBLIC;
		GRANT CONNECT ON DATABASE demo_TENANT TO demo_TENANT_reader, demo_TENANT_writer, demo_TENANT_vault;`))
	return err
}

func shop(ctx context.Context, dsn, tenant string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		var there bool
		if err := tx.QueryRow(ctx, `SELECT to_regclass('shop.orders') IS NOT NULL`).Scan(&there); err != nil || there {
			return err
		}
		_, err := tx.Exec(ctx, strings.NewReplacer("TENANT", tenant).Replace(readSQL("shop.sql")))
		return err
	})
}

func readSQL(name string) string {
	b, err := files.ReadFile("files/" + name)
	if err != nil {
		panic(fmt.Sprintf("demo: %v", err))
	}
	return string(b)
}
