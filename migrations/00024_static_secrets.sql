-- Static secrets of a server are at Vault; here is only which version of them
-- is the present one, so that no worker goes on with an older one.

-- +goose Up
ALTER TABLE servers ADD COLUMN secrets_version text NOT NULL DEFAULT '' CHECK (length(secrets_version) <= 200);

-- +goose Down
ALTER TABLE servers DROP COLUMN secrets_version;
