-- Tenants, people, roles. Isolation is here, not in WHERE clauses: every table
-- with tenant_id has row-level security enabled and forced, keyed to a setting
-- that lives as long as one transaction. latchkey_app serves; latchkey_across
-- is the named exception, taken by SET LOCAL ROLE for one transaction, with
-- only the rights that the grants below give it.

-- +goose Up
-- +goose StatementBegin
CREATE FUNCTION current_tenant() RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN current_setting('latchkey.tenant', true);
-- +goose StatementEnd

-- protect_tenant(table) gives a table with tenant_id the two policies. It is
-- used by later steps too.
-- +goose StatementBegin
CREATE PROCEDURE protect_tenant(tbl regclass, across_rights text DEFAULT 'SELECT')
LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE format('ALTER TABLE %s ENABLE ROW LEVEL SECURITY', tbl);
  EXECUTE format('ALTER TABLE %s FORCE ROW LEVEL SECURITY', tbl);
  EXECUTE format('CREATE POLICY tenant ON %s TO latchkey_app USING (tenant_id = current_tenant()) WITH CHECK (tenant_id = current_tenant())', tbl);
  EXECUTE format('CREATE POLICY across ON %s TO latchkey_across USING (true) WITH CHECK (true)', tbl);
  EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO latchkey_app', tbl);
  IF across_rights <> '' THEN
    EXECUTE format('GRANT %s ON %s TO latchkey_across', across_rights, tbl);
  END IF;
END $$;
-- +goose StatementEnd

-- notify_change(topic[, id column]) tells every edge that something changed,
-- in the transaction that changed it: caches are dropped when it commits, and
-- never otherwise.
-- +goose StatementBegin
CREATE FUNCTION notify_change() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
  changed jsonb := to_jsonb(CASE WHEN TG_OP = 'DELETE' THEN OLD ELSE NEW END);
  tenant text := coalesce(changed ->> 'tenant_id', changed ->> 'id');
BEGIN
  PERFORM pg_notify('latchkey', json_build_object(
    'topic', TG_ARGV[0], 'tenant', tenant, 'id', changed ->> coalesce(TG_ARGV[1], 'id'))::text);
  RETURN NULL;
END $$;
-- +goose StatementEnd

GRANT SELECT ON goose_db_version TO latchkey_app;

CREATE TABLE tenants (
  id           text PRIMARY KEY CHECK (id ~ '^tn[a-z0-9]{18}$'),
  tenant_id    text GENERATED ALWAYS AS (id) STORED,
  slug         text NOT NULL UNIQUE CHECK (slug ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  created_at   timestamptz NOT NULL DEFAULT now(),
  suspended_at timestamptz
);
CALL protect_tenant('tenants', 'SELECT, INSERT, UPDATE, DELETE');
REVOKE INSERT, UPDATE, DELETE ON tenants FROM latchkey_app;
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON tenants FOR EACH ROW EXECUTE FUNCTION notify_change('tenant');

CREATE TABLE users (
  tenant_id     text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id            text NOT NULL CHECK (id ~ '^us[a-z0-9]{18}$'),
  email         text NOT NULL CHECK (email = lower(email) AND length(email) BETWEEN 3 AND 254),
  name          text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
  password_hash text NOT NULL DEFAULT '',
  disabled_at   timestamptz,
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, email)
);
CALL protect_tenant('users');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OF disabled_at, email, name OR DELETE ON users FOR EACH ROW EXECUTE FUNCTION notify_change('access');

CREATE TABLE roles (
  tenant_id   text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  name        text NOT NULL CHECK (name ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  description text NOT NULL DEFAULT '' CHECK (length(description) <= 1000),
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (tenant_id, name)
);
CALL protect_tenant('roles');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON roles FOR EACH ROW EXECUTE FUNCTION notify_change('access', 'name');

CREATE TABLE user_roles (
  tenant_id text NOT NULL,
  user_id   text NOT NULL,
  role      text NOT NULL,
  PRIMARY KEY (tenant_id, user_id, role),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, role) REFERENCES roles (tenant_id, name) ON DELETE CASCADE
);
CREATE INDEX ON user_roles (tenant_id, role);
CALL protect_tenant('user_roles');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON user_roles FOR EACH ROW EXECUTE FUNCTION notify_change('access', 'user_id');

-- +goose Down
DROP TABLE user_roles, roles, users, tenants;
DROP FUNCTION notify_change, current_tenant;
DROP PROCEDURE protect_tenant;
