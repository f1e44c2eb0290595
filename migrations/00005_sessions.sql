-- Browser sessions. The cookie holds 256 random bits, the table their SHA-256:
-- who reads the table cannot sign in with it.

-- +goose Up
CREATE TABLE browser_sessions (
  tenant_id    text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id           text NOT NULL CHECK (id ~ '^bs[a-z0-9]{18}$'),
  user_id      text NOT NULL,
  token_hash   bytea NOT NULL CHECK (octet_length(token_hash) = 32),
  signed_in_at timestamptz NOT NULL,
  last_seen_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, token_hash),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON browser_sessions (tenant_id, user_id);
CALL protect_tenant('browser_sessions', '');

-- Turning an account off ends its sessions in the same transaction, so that
-- turning it on again does not bring them back.
-- +goose StatementBegin
CREATE FUNCTION end_browser_sessions() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM browser_sessions WHERE (tenant_id, user_id) = (NEW.tenant_id, NEW.id);
  RETURN NULL;
END $$;
-- +goose StatementEnd
CREATE TRIGGER end_sessions AFTER UPDATE OF disabled_at ON users FOR EACH ROW
  WHEN (NEW.disabled_at IS NOT NULL) EXECUTE FUNCTION end_browser_sessions();

-- +goose Down
DROP TRIGGER end_sessions ON users;
DROP FUNCTION end_browser_sessions;
DROP TABLE browser_sessions;
