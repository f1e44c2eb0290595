package postgres

import (
	"cmp"
	"context"
	"slices"

	"github.com/jackc/pgx/v5"

	"latchkey/internal/fault"
	"latchkey/internal/registry"
	"latchkey/internal/tenants"
)

// Catalog reads what all servers of a tenant offer, in one query that leaves
// the schemas where they are. Those that are being deleted offer nothing more.
func (db *DB) Catalog(ctx context.Context, t tenants.ID) (c registry.Catalog, err error) {
	defer fault.Wrap(&err, "postgres.Catalog(%s)", t)
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		c, err = many(ctx, tx, scanCatalogServer, `
			SELECT s.id, s.slug, s.title, s.active_revision IS NOT NULL,
			       ARRAY (SELECT ARRAY[x ->> 'scope', x ->> 'name', coalesce(x ->> 'title', ''), coalesce(x ->> 'description', ''), x ->> 'risk']
			              FROM json_array_elements(r.definition -> 'tools') x),
			       ARRAY (SELECT x ->> 'scope' FROM json_array_elements(r.definition -> 'resources') x),
			       ARRAY (SELECT x ->> 'scope' FROM json_array_elements(r.definition -> 'prompts') x)
			FROM servers s LEFT JOIN LATERAL (
			       SELECT r.definition FROM revisions r
			       WHERE (r.tenant_id, r.server_id) = (s.tenant_id, s.id) AND (s.active_revision IS NULL OR r.id = s.active_revision)
			       ORDER BY r.number DESC LIMIT 1) r ON true
			WHERE s.deleting_at IS NULL ORDER BY s.slug`)
		return err
	})
	return c, err
}

// ServerSlugs reads the slugs of a tenant's servers by id, without what they
// offer. Those that are being deleted are left out.
func (db *DB) ServerSlugs(ctx context.Context, t tenants.ID) (slugs map[tenants.ServerID]string, err error) {
	defer fault.Wrap(&err, "postgres.ServerSlugs(%s)", t)
	slugs = map[tenants.ServerID]string{}
	err = db.InTenant(ctx, t, func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `SELECT id, slug FROM servers WHERE deleting_at IS NULL`)
		if err != nil {
			return err
		}
		var id tenants.ServerID
		var slug string
		_, err = pgx.ForEachRow(rows, []any{&id, &slug}, func() error {
			slugs[id] = slug
			return nil
		})
		return err
	})
	return slugs, err
}

func scanCatalogServer(row pgx.CollectableRow) (s registry.CatalogServer, err error) {
	var tools [][]string
	var resources, prompts []string
	if err := row.Scan(&s.ID, &s.Slug, &s.Title, &s.Published, &tools, &resources, &prompts); err != nil {
		return s, err
	}
	at := map[string]int{}
	scope := func(name string) *registry.CatalogScope {
		i, ok := at[name]
		if !ok {
			i = len(s.Scopes)
			at[name] = i
			s.Scopes = append(s.Scopes, registry.CatalogScope{Name: name, Risk: registry.Reads})
		}
		return &s.Scopes[i]
	}
	for _, t := range tools {
		sc, tool := scope(t[0]), registry.CatalogTool{Name: t[1], Title: t[2], Description: t[3], Risk: registry.Risk(t[4])}
		if tool.Risk.Above(sc.Risk) {
			sc.Risk = tool.Risk
		}
		sc.Tools = append(sc.Tools, tool)
	}
	for _, name := range resources {
		scope(name).Resources++
	}
	for _, name := range prompts {
		scope(name).Prompts++
	}
	slices.SortFunc(s.Scopes, func(a, b registry.CatalogScope) int { return cmp.Compare(a.Name, b.Name) })
	return s, nil
}
