package sqltool

import (
	"context"

	"latchkey/internal/registry"
	"latchkey/internal/secret"
	"latchkey/internal/tenants"
	"latchkey/internal/vault"
)

// provision makes the database users of the server's calls obtainable
// (runtime.Kind). Vault logs in to the database at once.
func provision(ctx context.Context, v *vault.Servers, t tenants.ID, s registry.Server, secrets map[string]secret.Text) error {
	d, err := Database(s.Connection, secrets)
	if err != nil {
		return err
	}
	return v.PutDatabase(ctx, t, s.ID, d)
}
