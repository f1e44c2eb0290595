// Package demo has the two tenants that `platform dev` shows: their files, and
// the databases that their servers work on.
//
// It owns what is in them. The files go through the same door as everybody's,
// so whatever they can do any tenant can. Nothing here is for production.
package demo

import (
	"bytes"
	"context"
	_ "embed"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/secret"
)

var (
	//go:embed acme.yaml
	acmeYAML []byte
	//go:embed globex.yaml
	globexYAML []byte
	//go:embed acme_packaged.yaml
	acmePackagedYAML []byte

	//go:embed schema.sql
	schemaSQL string
	//go:embed acme.sql
	acmeSQL string
	//go:embed globex.sql
	globexSQL string
	//go:embed incidents.sql
	incidentsSQL string
)

// File is a tenant file by its name.
type File struct {
	Name string
	Data []byte
}

// Files are the tenants. They refer to DEMO_PG_HOST, DEMO_PG_PORT,
// DEMO_ACME_PASSWORD, DEMO_GLOBEX_PASSWORD, and of the Upstream DEMO_UPSTREAM_URL
// and DEMO_UPSTREAM_KEY. The document beside Acme's file is written out in it.
func Files() []File {
	return []File{{"acme.yaml", withDocument(acmeYAML)}, {"globex.yaml", globexYAML}}
}

// Packaged adds the servers that are npm packages to acme's file, for machines
// that can host them, and opens them to who may use the diagnostics.
func Packaged(f File) File {
	if f.Name != "acme.yaml" {
		return f
	}
	const before = "diagnostics: [diagnostics]}"
	roles := bytes.ReplaceAll(f.Data, []byte(before), []byte("diagnostics: [diagnostics], files: [files:read, files:write], everything: [everything]}"))
	return File{f.Name, append(roles, acmePackagedYAML...)}
}

// withDocument puts the text of the document where the file refers to it.
func withDocument(file []byte) []byte {
	const reference = "      document: {file: crm.openapi.yaml}\n"
	before, after, found := strings.Cut(string(file), reference)
	if !found {
		panic("demo: acme.yaml does not refer to its document")
	}
	text := strings.ReplaceAll(strings.TrimRight(string(crmOpenAPI), "\n"), "\n", "\n        ")
	return []byte(before + "      document: |\n        " + text + "\n" + after)
}

// Passwords are those of the accounts with which Vault makes users, and of the
// Upstream's own.
type Passwords struct{ Acme, Globex, Upstream secret.Text }

// Databases makes the tenants' databases, demo_acme and demo_globex, where
// they are missing. What is in them already stays. superuser gives the DSN of
// a superuser for a database.
func Databases(ctx context.Context, superuser func(database string) string, p Passwords) error {
	for _, t := range []struct {
		tenant   string
		own      string // schema beside the shop
		rows     string
		password secret.Text
		upstream secret.Text
	}{{"acme", incidentsSQL, acmeSQL, p.Acme, p.Upstream}, {"globex", "", globexSQL, p.Globex, ""}} {
		if err := database(ctx, superuser, t.tenant, t.own, t.rows, t.password, t.upstream); err != nil {
			return err
		}
	}
	return nil
}

// detailsBegin stands in a file of rows before what came later: it is run on a
// database that has the rest already, too.
const detailsBegin = "-- What the CRM knows."

// database makes one tenant's database, its groups and its account for Vault.
func database(ctx context.Context, superuser func(string) string, tenant, own, rows string, password, upstream secret.Text) (err error) {
	defer fault.Wrap(&err, "demo.Databases(%s)", tenant)
	name := "demo_" + tenant
	server, err := pgx.Connect(ctx, superuser("postgres"))
	if err != nil {
		return err
	}
	defer server.Close(context.WithoutCancel(ctx))
	if err := roles(ctx, server, tenant, password); err != nil {
		return err
	}
	if upstream != "" {
		if err := upstreamRole(ctx, server, tenant, upstream); err != nil {
			return err
		}
	}
	var exists bool
	if err := server.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)`, name).Scan(&exists); err != nil {
		return err
	}
	if !exists {
		if _, err := server.Exec(ctx, `CREATE DATABASE `+name); err != nil {
			return err
		}
	}
	conn, err := pgx.Connect(ctx, superuser(name))
	if err != nil {
		return err
	}
	defer conn.Close(context.WithoutCancel(ctx))
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		// One at a time: two starters would seed twice.
		if _, err := tx.Exec(ctx, `SELECT pg_advisory_xact_lock(hashtext($1))`, name); err != nil {
			return err
		}
		if _, err := tx.Exec(ctx, strings.ReplaceAll(schemaSQL, "TENANT", tenant)+own); err != nil {
			return err
		}
		var seeded, detailed bool
		if err := tx.QueryRow(ctx, `SELECT EXISTS (SELECT FROM customers), EXISTS (SELECT FROM customers WHERE phone IS NOT NULL OR erased_at IS NOT NULL)`).Scan(&seeded, &detailed); err != nil {
			return err
		}
		base, details, _ := strings.Cut(rows, detailsBegin)
		if !seeded {
			if _, err := tx.Exec(ctx, base); err != nil {
				return err
			}
		}
		if detailed || details == "" { // of a database from before the CRM they are missing
			return nil
		}
		_, err := tx.Exec(ctx, details)
		return err
	})
}

// roles makes the groups whose rights the tools' users get, and the account of
// Vault, which may make users in these groups and end their sessions.
//
// Before Postgres 16, CREATEROLE reaches every role of the server that is no
// superuser. So a tenant that shares a server with another trusts Vault to
// keep the accounts apart; from 16 on Postgres does.
func roles(ctx context.Context, conn *pgx.Conn, tenant string, password secret.Text) error {
	for _, r := range []struct{ name, options string }{
		{tenant + "_reader", "NOLOGIN"}, {tenant + "_writer", "NOLOGIN"}, {tenant + "_vault", "LOGIN CREATEROLE"},
	} {
		var exists bool
		if err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1)`, r.name).Scan(&exists); err != nil {
			return err
		}
		if exists {
			continue
		}
		if _, err := conn.Exec(ctx, `CREATE ROLE `+r.name+` `+r.options); err != nil {
			return err
		}
	}
	var version int
	var alter string
	err := conn.QueryRow(ctx, `SELECT current_setting('server_version_num')::int, format('ALTER ROLE %I PASSWORD %L', $1::text, $2::text)`,
		tenant+"_vault", password.Reveal()).Scan(&version, &alter)
	if err != nil {
		return err
	}
	option := "ADMIN OPTION"
	if version >= 160000 {
		option = "ADMIN TRUE, INHERIT FALSE, SET FALSE" // it gives the groups' rights and has none of them
	}
	for _, sql := range []string{
		alter,
		fmt.Sprintf(`GRANT %[1]s_reader, %[1]s_writer TO %[1]s_vault WITH %[2]s`, tenant, option),
		fmt.Sprintf(`GRANT pg_signal_backend TO %s_vault`, tenant),
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}

// upstreamRole makes the account of the tenant's own program, which has the rights
// of the tools' users and no more.
func upstreamRole(ctx context.Context, conn *pgx.Conn, tenant string, password secret.Text) error {
	name := tenant + "_upstream"
	var exists bool
	var alter string
	err := conn.QueryRow(ctx, `SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = $1), format('ALTER ROLE %I LOGIN PASSWORD %L', $1::text, $2::text)`, name, password.Reveal()).Scan(&exists, &alter)
	if err != nil {
		return err
	}
	steps := []string{alter, fmt.Sprintf(`GRANT %[1]s_reader, %[1]s_writer TO %[1]s_upstream`, tenant)}
	if !exists {
		steps = append([]string{`CREATE ROLE ` + name}, steps...)
	}
	for _, sql := range steps {
		if _, err := conn.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
