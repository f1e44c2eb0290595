package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"latchkey/internal/postgres"
	"latchkey/internal/registry"
	"latchkey/internal/vault"
)

func migrateCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "migrate",
		Short: "Bring the platform's database to this version's schema",
		Long:  "Reads LATCHKEY_OWNER_DATABASE_URL (as latchkey_owner). Several may run at once; one does the work.",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			if err := need([2]string{"LATCHKEY_OWNER_DATABASE_URL", cfg.OwnerURL.Reveal()}); err != nil {
				return err
			}
			from, to, err := postgres.Migrate(cmd.Context(), cfg.OwnerURL.Reveal())
			if err != nil {
				return err
			}
			if from == to {
				fmt.Fprintf(cmd.OutOrStdout(), "The schema is at version %d; nothing to do.\n", to)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "The schema went from version %d to %d.\n", from, to)
			}
			return nil
		},
	}
}

func vaultCommand() *cobra.Command {
	c := &cobra.Command{Use: "vault", Short: "Lay out the Vault that issues credentials"}
	c.AddCommand(&cobra.Command{
		Use:   "setup",
		Short: "Write mounts, policies and the platform's way in; safe to repeat",
		Long: "Reads VAULT_ADDR and VAULT_TOKEN (one that may write mounts and policies) and DATABASE_URL.\n" +
			"Prints VAULT_ROLE_ID and VAULT_SECRET_ID for `platform serve`, and LATCHKEY_GRANT_KEYS for workers.",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := readConfig()
			if err != nil {
				return err
			}
			if err := need([2]string{"VAULT_ADDR", cfg.Vault.Address}, [2]string{"VAULT_TOKEN", cfg.Vault.Token.Reveal()}, [2]string{"DATABASE_URL", cfg.DatabaseURL.Reveal()}); err != nil {
				return err
			}
			ctx := cmd.Context()
			db, err := postgres.Open(ctx, postgres.Options{URL: cfg.DatabaseURL.Reveal()})
			if err != nil {
				return err
			}
			defer db.Close()
			if err := db.CheckSchema(ctx); err != nil {
				return err
			}
			role, keys, err := setUpVault(ctx, cfg.Vault, db)
			if err != nil {
				return err
			}
			_, setting := publicKeys(keys)
			fmt.Fprintf(cmd.OutOrStdout(), "VAULT_ROLE_ID=%s\nVAULT_SECRET_ID=%s\nLATCHKEY_GRANT_KEYS=%s\n", role.RoleID, role.SecretID.Reveal(), setting)
			return nil
		},
	})
	return c
}

// setUpVault lays out Vault, makes the first key that signs grants, and pins
// the public keys.
func setUpVault(ctx context.Context, cfg vault.Config, db *postgres.DB) (vault.AppRole, []vault.Key, error) {
	admin, err := vault.NewClient(cfg)
	if err != nil {
		return vault.AppRole{}, nil, err
	}
	if err := vault.Setup(ctx, admin, vault.SetupConfig{}); err != nil {
		return vault.AppRole{}, nil, err
	}
	sealer := vault.NewSealer(admin)
	first, err := vault.NewKey()
	if err != nil {
		return vault.AppRole{}, nil, err
	}
	sealed, err := first.Seal(ctx, sealer)
	if err != nil {
		return vault.AppRole{}, nil, err
	}
	if err := db.AddFirstGrantKey(ctx, first.ID, first.Public(), sealed); err != nil {
		return vault.AppRole{}, nil, err
	}
	keys, err := grantKeys(ctx, db, sealer)
	if err != nil {
		return vault.AppRole{}, nil, err
	}
	public, _ := publicKeys(keys)
	if err := vault.PinKeys(ctx, admin, public); err != nil {
		return vault.AppRole{}, nil, err
	}
	role, err := vault.PlatformAppRole(ctx, admin)
	return role, keys, err
}

// resolveFrom looks references up in an environment and in files; a relative
// file is beside the tenant file.
func resolveFrom(lookup func(string) (string, bool), dir string) registry.Resolve {
	return func(from, name string) (string, error) {
		switch from {
		case "env":
			v, ok := lookup(name)
			if !ok {
				return "", fmt.Errorf("the environment has no %s", name)
			}
			return v, nil
		default:
			if !filepath.IsAbs(name) {
				name = filepath.Join(dir, name)
			}
			b, err := os.ReadFile(name)
			if err != nil {
				return "", fmt.Errorf("the file %s cannot be read", name)
			}
			return strings.TrimRight(string(b), "\r\n"), nil
		}
	}
}
