-- Servers, their immutable revisions, and which scopes a role opens on them.

-- +goose Up
CREATE TABLE servers (
  tenant_id       text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id              text NOT NULL CHECK (id ~ '^sv[a-z0-9]{18}$'),
  slug            text NOT NULL CHECK (slug ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  kind            text NOT NULL,
  title           text NOT NULL CHECK (length(title) BETWEEN 1 AND 200),
  description     text NOT NULL DEFAULT '' CHECK (length(description) <= 4000),
  connection      jsonb NOT NULL DEFAULT '{}',
  pool            text NOT NULL DEFAULT 'default' CHECK (pool ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  per_user        boolean NOT NULL DEFAULT false,
  active_revision text,
  created_at      timestamptz NOT NULL DEFAULT now(),
  updated_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, slug)
);
CALL protect_tenant('servers');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON servers FOR EACH ROW EXECUTE FUNCTION notify_change('server');

CREATE TABLE revisions (
  tenant_id  text NOT NULL,
  id         text NOT NULL CHECK (id ~ '^rv[a-z0-9]{18}$'),
  server_id  text NOT NULL,
  number     integer NOT NULL CHECK (number > 0),
  hash       text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
  kind       text NOT NULL,
  spec       json NOT NULL, -- json, not jsonb: the order of keys is part of what a model reads
  definition json NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  created_by text NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, server_id, number),
  UNIQUE (tenant_id, server_id, id),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('revisions');
REVOKE UPDATE, DELETE ON revisions FROM latchkey_app;

-- The active revision is one of the server's own.
ALTER TABLE servers ADD FOREIGN KEY (tenant_id, id, active_revision) REFERENCES revisions (tenant_id, server_id, id) DEFERRABLE INITIALLY DEFERRED;

CREATE TABLE role_scopes (
  tenant_id text NOT NULL,
  role      text NOT NULL,
  server_id text NOT NULL,
  scope     text NOT NULL CHECK (length(scope) BETWEEN 1 AND 200),
  PRIMARY KEY (tenant_id, role, server_id, scope),
  FOREIGN KEY (tenant_id, role) REFERENCES roles (tenant_id, name) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON role_scopes (tenant_id, server_id);
CALL protect_tenant('role_scopes');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON role_scopes FOR EACH ROW EXECUTE FUNCTION notify_change('access', 'role');

-- Keys that sign the grants which workers trade at Vault. They are the
-- platform's, not a tenant's; the private half is sealed by a key in Vault.
CREATE TABLE grant_keys (
  kid        text PRIMARY KEY,
  public     bytea NOT NULL,
  sealed     bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now()
);
GRANT SELECT, INSERT ON grant_keys TO latchkey_app;

-- +goose Down
DROP TABLE grant_keys, role_scopes;
ALTER TABLE servers DROP COLUMN active_revision;
DROP TABLE revisions, servers;
