package main

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/spf13/cobra"

	"latchkey/internal/oauth"
	"latchkey/internal/postgres"
	"latchkey/internal/signin"
	"latchkey/internal/site"
	"latchkey/internal/vault"
)

func keysCommand() *cobra.Command {
	c := &cobra.Command{Use: "keys", Short: "Signing keys of tenants"}
	var tenant string
	rotate := &cobra.Command{
		Use:   "rotate --tenant SLUG",
		Short: "Publish a tenant's next signing key now; it signs ten minutes later",
		Long: "Edges rotate by themselves every 30 days. Tokens that the old key signed stay good until they expire, at most\n" +
			"ten minutes after the new key took over. Reads DATABASE_URL and VAULT_ADDR with VAULT_ROLE_ID and VAULT_SECRET_ID;\n" +
			"after `platform dev` on this machine it uses that one's, where none are set.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if tenant == "" {
				return usageError{fmt.Errorf("name the tenant: platform keys rotate --tenant acme")}
			}
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			if cfg.DatabaseURL == "" && cfg.Vault.Address == "" {
				if err := useDevState(&cfg); err != nil {
					return err
				}
			}
			return rotateKeys(cmd, cfg, tenant)
		},
	}
	rotate.Flags().StringVar(&tenant, "tenant", "", "the tenant's slug")
	c.AddCommand(rotate)
	return c
}

func rotateKeys(cmd *cobra.Command, cfg config, slug string) error {
	if err := need([2]string{"DATABASE_URL", cfg.DatabaseURL.Reveal()}, [2]string{"VAULT_ADDR", cfg.Vault.Address}); err != nil {
		return err
	}
	ctx := cmd.Context()
	db, err := postgres.Open(ctx, postgres.Options{URL: cfg.DatabaseURL.Reveal()})
	if err != nil {
		return err
	}
	defer db.Close()
	t, err := db.TenantBySlug(ctx, slug)
	if err != nil {
		return err
	}
	client, err := vault.NewClient(cfg.Vault)
	if err != nil {
		return err
	}
	// No URL is made here, so that any template does.
	sites, err := site.Parse(or(cfg.BaseURL, "http://127.0.0.1:8080/t/{tenant}"))
	if err != nil {
		return err
	}
	server, err := oauth.New(oauth.Config{
		Sites: sites, Tenants: db, Registry: db, Store: db, Sealer: vault.NewSealer(client),
		SignIn: signin.New(signin.Config{Sites: sites, Tenants: db, Sessions: db}), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	if err := server.RotateKeys(ctx, t.ID); err != nil {
		return err
	}
	keys, err := db.SigningKeys(ctx, t.ID)
	if err != nil {
		return err
	}
	for _, k := range keys {
		fmt.Fprintf(cmd.OutOrStdout(), "%s  signs from %s\n", k.ID, k.SignsFrom.UTC().Format(time.RFC3339))
	}
	return nil
}
