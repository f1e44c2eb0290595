-- What upstreams offer, what of it somebody has agreed to, and whether servers
-- answer.

-- +goose Up

-- An offer is never changed, only forgotten. json, not jsonb: what the upstream
-- said stays as it was hashed.
CREATE TABLE offers (
  tenant_id text NOT NULL,
  server_id text NOT NULL,
  hash      text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
  offer     json NOT NULL CHECK (octet_length(offer::text) <= 16777216),
  found_at  timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, server_id, hash),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('offers', '');
REVOKE UPDATE ON offers FROM latchkey_app;

-- pinned_by is empty where nobody was asked: the first offer of a new server.
CREATE TABLE offer_states (
  tenant_id        text NOT NULL,
  server_id        text NOT NULL,
  pinned_hash      text,
  pinned_at        timestamptz,
  pinned_by        text NOT NULL DEFAULT '' CHECK (length(pinned_by) <= 300),
  pending_hash     text,
  pending_since    timestamptz,
  seen_at          timestamptz,
  awaited_revision text,
  awaited_by       text NOT NULL DEFAULT '' CHECK (length(awaited_by) <= 300),
  awaited_breaking boolean NOT NULL DEFAULT false,
  problem          text NOT NULL DEFAULT '' CHECK (length(problem) <= 2000),
  PRIMARY KEY (tenant_id, server_id),
  CHECK ((pinned_hash IS NULL) = (pinned_at IS NULL) AND (pending_hash IS NULL) = (pending_since IS NULL)),
  CHECK (pending_hash IS NULL OR pinned_hash IS NOT NULL AND pending_hash <> pinned_hash),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id, pinned_hash) REFERENCES offers (tenant_id, server_id, hash) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, server_id, pending_hash) REFERENCES offers (tenant_id, server_id, hash) DEFERRABLE INITIALLY DEFERRED,
  FOREIGN KEY (tenant_id, server_id, awaited_revision) REFERENCES revisions (tenant_id, server_id, id) DEFERRABLE INITIALLY DEFERRED
);
CALL protect_tenant('offer_states');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OF pinned_hash, pending_hash, awaited_revision OR DELETE ON offer_states
  FOR EACH ROW EXECUTE FUNCTION notify_change('offer', 'server_id');

-- Offers that somebody said no to, by their hash alone.
CREATE TABLE refused_offers (
  tenant_id  text NOT NULL,
  server_id  text NOT NULL,
  hash       text NOT NULL CHECK (hash ~ '^[0-9a-f]{64}$'),
  refused_at timestamptz NOT NULL,
  refused_by text NOT NULL CHECK (length(refused_by) BETWEEN 1 AND 300),
  PRIMARY KEY (tenant_id, server_id, hash),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('refused_offers', '');

CREATE TABLE server_health (
  tenant_id  text NOT NULL,
  server_id  text NOT NULL,
  state      text NOT NULL CHECK (state IN ('unknown', 'healthy', 'degraded', 'unhealthy', 'idle')),
  since      timestamptz NOT NULL,
  checked_at timestamptz NOT NULL,
  next_at    timestamptz NOT NULL,
  ok_at      timestamptz,
  failed_at  timestamptz,
  code       text NOT NULL DEFAULT '' CHECK (length(code) <= 60),
  message    text NOT NULL DEFAULT '' CHECK (length(message) <= 1000),
  failures   integer NOT NULL DEFAULT 0 CHECK (failures >= 0),
  latency    interval NOT NULL DEFAULT '0',
  era        text NOT NULL DEFAULT '' CHECK (length(era) <= 40),
  PRIMARY KEY (tenant_id, server_id),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('server_health');
-- Edges have this in memory. What only says that all is as it was tells nobody.
CREATE TRIGGER notify_new AFTER INSERT OR DELETE ON server_health FOR EACH ROW EXECUTE FUNCTION notify_change('health', 'server_id');
CREATE TRIGGER notify AFTER UPDATE ON server_health FOR EACH ROW
  WHEN (OLD.state <> NEW.state OR OLD.since <> NEW.since OR NEW.state = 'unhealthy')
  EXECUTE FUNCTION notify_change('health', 'server_id');

-- What a worker opens to try a server that is not saved. It has no secret.
CREATE TABLE trial_openings (
  tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  revision   text NOT NULL CHECK (revision ~ '^rv[a-z0-9]{18}$'),
  server_id  text NOT NULL CHECK (server_id ~ '^sv[a-z0-9]{18}$'),
  opening    json NOT NULL,
  saved      boolean NOT NULL, -- server_id is one of the tenant's, and not made up
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, revision)
);
CREATE INDEX ON trial_openings (expires_at);
CALL protect_tenant('trial_openings', 'SELECT, DELETE');

-- +goose Down
DROP TABLE trial_openings, server_health, refused_offers, offer_states, offers;
