-- What people declared, beside what the kinds made of it: a spec and a
-- connection are read back as they were written. Servers that are being deleted.

-- +goose Up
-- json, not jsonb: the order of keys is the writer's. NULL where a revision is
-- older than this step.
ALTER TABLE revisions ADD COLUMN declared json;

ALTER TABLE servers
  -- Without the secrets: their places hold {"secret": "[set]"}.
  ADD COLUMN connection_declared json NOT NULL DEFAULT '{}' CHECK (json_typeof(connection_declared) = 'object'),
  -- Paths in the connection of what Vault has, such as admin.password.
  ADD COLUMN secrets_set text[] NOT NULL DEFAULT '{}' CHECK (cardinality(secrets_set) <= 100),
  -- From here on it takes no call; what Vault knows of it goes first, its row last.
  ADD COLUMN deleting_at timestamptz;

-- For lists by slug that go on where a page ended.
CREATE INDEX ON servers (tenant_id, slug COLLATE "C");

-- +goose Down
DROP INDEX servers_tenant_id_slug_idx;
ALTER TABLE servers DROP COLUMN connection_declared, DROP COLUMN secrets_set, DROP COLUMN deleting_at;
ALTER TABLE revisions DROP COLUMN declared;
