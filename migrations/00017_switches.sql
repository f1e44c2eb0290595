-- Kill switches, and events that somebody should look at. The tenant may be the
-- platform itself, so that there is no foreign key: what removes a tenant
-- removes these too.

-- +goose Up
-- One row is one time that a target was off; lifted_at is NULL for the last of
-- it. lifted_by is empty where it ran out. Callers are told by_role and nothing
-- else of it.
CREATE TABLE switches (
  tenant_id      text NOT NULL,
  id             text NOT NULL CHECK (id ~ '^sw[a-z0-9]{18}$'),
  target         text NOT NULL CHECK (target ~ '^(platform$|tenant$|server:|tool:|member:|client:)' AND octet_length(target) <= 600),
  reason         text NOT NULL CHECK (length(reason) BETWEEN 3 AND 500),
  by             text NOT NULL CHECK (length(by) BETWEEN 1 AND 300),
  by_role        text NOT NULL CHECK (length(by_role) BETWEEN 1 AND 300),
  created_at     timestamptz NOT NULL,
  expires_at     timestamptz,
  cancel_running boolean NOT NULL DEFAULT false,
  lifted_at      timestamptz,
  lifted_by      text NOT NULL DEFAULT '' CHECK (length(lifted_by) <= 300),
  PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX switches_on ON switches (tenant_id, target) WHERE lifted_at IS NULL;
CREATE INDEX ON switches (expires_at) WHERE lifted_at IS NULL;
CREATE INDEX ON switches (tenant_id, target, created_at);
CREATE INDEX ON switches (tenant_id, created_at, id);
CALL protect_tenant('switches', 'SELECT, UPDATE (lifted_at)');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON switches FOR EACH ROW EXECUTE FUNCTION notify_change('switch', 'target');

-- Events of one kind with the same text in one minute are one row: `same` is a
-- hash, or empty where each stands for itself.
CREATE TABLE events (
  tenant_id       text NOT NULL,
  id              text NOT NULL CHECK (id ~ '^ev[a-z0-9]{18}$'),
  at              timestamptz NOT NULL,
  minute          timestamptz NOT NULL,
  kind            text NOT NULL CHECK (kind ~ '^[a-z_]{1,40}$'),
  severity        text NOT NULL CHECK (severity IN ('info', 'warning', 'critical')),
  detail          text NOT NULL CHECK (length(detail) <= 2000),
  user_id         text NOT NULL DEFAULT '',
  client_id       text NOT NULL DEFAULT '',
  server_id       text NOT NULL DEFAULT '',
  server          text NOT NULL DEFAULT '',
  tool            text NOT NULL DEFAULT '',
  call_id         text NOT NULL DEFAULT '',
  same            text NOT NULL DEFAULT '' CHECK (length(same) <= 64),
  count           bigint NOT NULL DEFAULT 1 CHECK (count > 0),
  acknowledged_at timestamptz,
  acknowledged_by text NOT NULL DEFAULT '' CHECK (length(acknowledged_by) <= 300),
  PRIMARY KEY (tenant_id, id)
);
CREATE UNIQUE INDEX events_same ON events (tenant_id, kind, same, minute) WHERE same <> '';
CREATE INDEX ON events (tenant_id, at, id);
CREATE INDEX ON events (tenant_id, kind, at, id);
CREATE INDEX ON events (tenant_id, at, id) WHERE acknowledged_at IS NULL;
CREATE INDEX ON events (at);
CALL protect_tenant('events', 'SELECT, INSERT, UPDATE (count), DELETE');

-- +goose Down
DROP TABLE events, switches;
