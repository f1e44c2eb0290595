package mcpgateway

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
)

// dump is a whole table as text, as the superuser sees it.
func dump(t *testing.T, url, table string) (text string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.Background())
	if err := conn.QueryRow(t.Context(), `SELECT coalesce(string_agg(x::text, E'\n'), '') FROM `+pgx.Identifier{table}.Sanitize()+` x`).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
