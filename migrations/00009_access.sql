-- How callers of the platform API and people at the console prove who they
-- are: keys of a tenant, sessions of its console, and those of operators, who
-- belong to no tenant. Keys, tokens and cookies are stored as the SHA-256 of
-- 256 random bits; times are the server's own, so that tests can move them.

-- +goose Up
CREATE TABLE api_keys (
  tenant_id    text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id           text NOT NULL CHECK (id ~ '^ak[a-z0-9]{18}$'),
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  hash         bytea NOT NULL CHECK (octet_length(hash) = 32),
  hint         text NOT NULL CHECK (length(hint) <= 40),
  permissions  text[] NOT NULL CHECK (cardinality(permissions) BETWEEN 1 AND 50),
  created_by   text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 254),
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz, -- NULL: until it is revoked
  last_used_at timestamptz, -- to the minute
  revoked_at   timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, hash)
);
-- At the platform's root a key comes without the name of its tenant.
CREATE INDEX ON api_keys (hash);
CREATE INDEX ON api_keys (tenant_id, created_at DESC, id);
CALL protect_tenant('api_keys', 'SELECT');

-- The console is a client of each tenant's own authorization server, and the
-- only one whose grants are for the platform API: those have no server.
ALTER TABLE oauth_clients DROP CONSTRAINT oauth_clients_kind_check;
ALTER TABLE oauth_clients ADD CONSTRAINT oauth_clients_kind_check CHECK (kind IN ('registered', 'document', 'console'));
ALTER TABLE oauth_clients ADD CONSTRAINT oauth_clients_console_check CHECK ((kind = 'console') = (id = 'latchkey-console'));
ALTER TABLE oauth_grants ALTER COLUMN server_id DROP NOT NULL;
ALTER TABLE oauth_grants ADD CONSTRAINT oauth_grants_server_check CHECK ((server_id IS NULL) = (client_id = 'latchkey-console'));
CREATE INDEX ON oauth_clients (tenant_id, created_at DESC, id);
CREATE INDEX ON oauth_grants (tenant_id, created_at DESC, id);

CREATE TABLE console_sessions (
  tenant_id    text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id           text NOT NULL CHECK (id ~ '^cs[a-z0-9]{18}$'),
  user_id      text NOT NULL,
  grant_id     text NOT NULL,
  token_hash   bytea NOT NULL CHECK (octet_length(token_hash) = 32),
  created_at   timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, token_hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, grant_id) REFERENCES oauth_grants (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON console_sessions (tenant_id, user_id);
CREATE INDEX ON console_sessions (tenant_id, grant_id);
CREATE INDEX ON console_sessions (tenant_id, last_seen_at);
CALL protect_tenant('console_sessions', '');

-- Turning an account off ends its sessions in the same transaction, as it does
-- for browsers: turning it on again does not bring them back.
-- +goose StatementBegin
CREATE FUNCTION end_console_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM console_sessions WHERE (tenant_id, user_id) = (NEW.tenant_id, NEW.id);
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER end_console_sessions AFTER UPDATE OF disabled_at ON users FOR EACH ROW
  WHEN (NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION end_console_sessions();

-- Who runs the platform. They are no tenant's, so nothing here has a
-- tenant_id; latchkey_across, which reads all tenants, reads none of it.
CREATE TABLE operators (
  email         text PRIMARY KEY CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
  name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  password_hash text NOT NULL DEFAULT '',
  disabled_at   timestamptz,
  created_at    timestamptz NOT NULL
);

CREATE TABLE operator_sessions (
  token_hash   bytea PRIMARY KEY CHECK (octet_length(token_hash) = 32),
  email        text NOT NULL REFERENCES operators (email) ON DELETE CASCADE,
  created_at   timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL
);
CREATE INDEX ON operator_sessions (email);
CREATE INDEX ON operator_sessions (last_seen_at);

CREATE TABLE operator_keys (
  id           text PRIMARY KEY CHECK (id ~ '^ok[a-z0-9]{18}$'),
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 100),
  hash         bytea NOT NULL UNIQUE CHECK (octet_length(hash) = 32),
  hint         text NOT NULL CHECK (length(hint) <= 40),
  created_by   text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 254),
  created_at   timestamptz NOT NULL,
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz
);

CREATE TABLE operator_tokens (
  hash       bytea PRIMARY KEY CHECK (octet_length(hash) = 32),
  key_id     text NOT NULL REFERENCES operator_keys (id) ON DELETE CASCADE,
  expires_at timestamptz NOT NULL
);
CREATE INDEX ON operator_tokens (key_id);
CREATE INDEX ON operator_tokens (expires_at);

GRANT SELECT, INSERT, UPDATE, DELETE ON operators, operator_sessions, operator_tokens TO latchkey_app;
GRANT SELECT, INSERT, UPDATE ON operator_keys TO latchkey_app;

-- +goose Down
DROP TABLE operator_tokens, operator_keys, operator_sessions, operators;
DROP TRIGGER end_console_sessions ON users;
DROP FUNCTION end_console_sessions;
DROP TABLE console_sessions;
ALTER TABLE oauth_clients NO FORCE ROW LEVEL SECURITY; -- or the owner sees no row
DELETE FROM oauth_clients WHERE kind = 'console';
ALTER TABLE oauth_clients FORCE ROW LEVEL SECURITY;
DROP INDEX oauth_clients_tenant_id_created_at_id_idx, oauth_grants_tenant_id_created_at_id_idx;
ALTER TABLE oauth_grants DROP CONSTRAINT oauth_grants_server_check;
ALTER TABLE oauth_grants ALTER COLUMN server_id SET NOT NULL;
ALTER TABLE oauth_clients DROP CONSTRAINT oauth_clients_console_check;
ALTER TABLE oauth_clients DROP CONSTRAINT oauth_clients_kind_check;
ALTER TABLE oauth_clients ADD CONSTRAINT oauth_clients_kind_check CHECK (kind IN ('registered', 'document'));
DROP TABLE api_keys;
