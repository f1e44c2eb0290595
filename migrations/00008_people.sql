-- What roles open on the platform API, quotas, invitations, and operations:
-- long work that outlives the process which began it.

-- +goose Up
ALTER TABLE roles ADD COLUMN permissions text[] NOT NULL DEFAULT '{}' CONSTRAINT roles_permissions_known CHECK (
  array_position(permissions, NULL) IS NULL AND permissions <@ ARRAY[
    'admin', 'tenant:read', 'tenant:write', 'members:read', 'members:write', 'roles:read', 'roles:write', 'servers:read', 'servers:write',
    'tools:try', 'clients:read', 'clients:write', 'keys:read', 'keys:write', 'audit:read', 'usage:read']);

-- A quota that is missing is the platform's default. A tenant that is being
-- deleted is suspended from the first moment.
ALTER TABLE tenants
  ADD COLUMN quotas jsonb NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(quotas) = 'object'),
  ADD COLUMN deleting_at timestamptz,
  ADD CONSTRAINT tenants_deleting_is_suspended CHECK (deleting_at IS NULL OR suspended_at IS NOT NULL);

-- The link holds 256 random bits, the table their SHA-256. Roles are names: one
-- that is deleted meanwhile is left out when the invitation is accepted. may
-- is what the inviter held, beyond which the link opens no account.
CREATE TABLE invitations (
  tenant_id   text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id          text NOT NULL CHECK (id ~ '^iv[a-z0-9]{18}$'),
  email       text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
  name        text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  roles       text[] NOT NULL DEFAULT '{}',
  may         text[] NOT NULL DEFAULT '{}',
  token_hash  bytea NOT NULL CHECK (octet_length(token_hash) = 32),
  created_by  text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
  created_at  timestamptz NOT NULL,
  expires_at  timestamptz NOT NULL,
  accepted_at timestamptz,
  revoked_at  timestamptz,
  mailed      boolean NOT NULL DEFAULT false,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, token_hash),
  CHECK (accepted_at IS NULL OR revoked_at IS NULL)
);
CREATE UNIQUE INDEX invitations_pending ON invitations (tenant_id, email) WHERE accepted_at IS NULL AND revoked_at IS NULL;
CREATE INDEX ON invitations (tenant_id, created_at DESC, id DESC);
CALL protect_tenant('invitations');

-- An operation stays when its tenant is gone, so nothing refers to tenants.
-- due_at is when to try next and, while it runs, the end of its lease;
-- attempts is also the fence that keeps a late runner from writing.
CREATE TABLE operations (
  tenant_id   text NOT NULL,
  id          text NOT NULL CHECK (id ~ '^op[a-z0-9]{18}$'),
  tenant      text NOT NULL, -- its slug
  kind        text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
  target      text NOT NULL, -- what it is about, for the work itself: an id
  name        text NOT NULL, -- the same for people: a slug
  state       text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'done', 'failed')),
  attempts    integer NOT NULL DEFAULT 0,
  error       text NOT NULL DEFAULT '' CHECK (length(error) <= 2000),
  created_by  text NOT NULL CHECK (length(created_by) BETWEEN 1 AND 300),
  created_at  timestamptz NOT NULL DEFAULT now(),
  started_at  timestamptz,
  due_at      timestamptz NOT NULL DEFAULT now(),
  finished_at timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((finished_at IS NULL) = (state IN ('queued', 'running')))
);
CREATE UNIQUE INDEX operations_open ON operations (tenant_id, kind, target) WHERE state IN ('queued', 'running');
CREATE INDEX ON operations (due_at) WHERE state IN ('queued', 'running');
CREATE INDEX ON operations (id);
CREATE INDEX ON operations (tenant_id, created_at DESC, id DESC);
CALL protect_tenant('operations', 'SELECT, UPDATE');
CREATE TRIGGER notify AFTER INSERT ON operations FOR EACH ROW EXECUTE FUNCTION notify_change('operation');

-- notify_changes(topic, id column) is notify_change once for each statement and
-- tenant, however many rows it touched. The id is empty where they have several.
-- +goose StatementBegin
CREATE FUNCTION notify_changes() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
  PERFORM pg_notify('latchkey', json_build_object('topic', TG_ARGV[0], 'tenant', c.tenant,
    'id', CASE WHEN min(c.id) = max(c.id) THEN min(c.id) ELSE '' END)::text)
  FROM (SELECT to_jsonb(r) ->> 'tenant_id' AS tenant, to_jsonb(r) ->> TG_ARGV[1] AS id FROM touched r) c
  GROUP BY c.tenant;
  RETURN NULL;
END $$;
-- +goose StatementEnd
DROP TRIGGER notify ON role_scopes;
CREATE TRIGGER notify_insert AFTER INSERT ON role_scopes REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'role');
CREATE TRIGGER notify_update AFTER UPDATE ON role_scopes REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'role');
CREATE TRIGGER notify_delete AFTER DELETE ON role_scopes REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'role');
DROP TRIGGER notify ON user_roles;
CREATE TRIGGER notify_insert AFTER INSERT ON user_roles REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'user_id');
CREATE TRIGGER notify_update AFTER UPDATE ON user_roles REFERENCING NEW TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'user_id');
CREATE TRIGGER notify_delete AFTER DELETE ON user_roles REFERENCING OLD TABLE AS touched FOR EACH STATEMENT EXECUTE FUNCTION notify_changes('access', 'user_id');


-- +goose Down
DROP TABLE operations, invitations;
ALTER TABLE tenants DROP CONSTRAINT tenants_deleting_is_suspended, DROP COLUMN deleting_at, DROP COLUMN quotas;
ALTER TABLE roles DROP COLUMN permissions;
DROP TRIGGER notify_insert ON role_scopes;
DROP TRIGGER notify_update ON role_scopes;
DROP TRIGGER notify_delete ON role_scopes;
DROP TRIGGER notify_insert ON user_roles;
DROP TRIGGER notify_update ON user_roles;
DROP TRIGGER notify_delete ON user_roles;
DROP FUNCTION notify_changes;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON role_scopes FOR EACH ROW EXECUTE FUNCTION notify_change('access', 'role');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON user_roles FOR EACH ROW EXECUTE FUNCTION notify_change('access', 'user_id');
