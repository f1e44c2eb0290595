-- What a call has to wait for: the word of whoever makes it (a confirmation,
-- given with a one-time token) or of somebody else (an approval). Both are for
-- one call: of this person, tool and definition, with these arguments.

-- +goose Up

-- request is the SHA-256 of the canonical arguments, used_key that of the key
-- under which the call runs once: a repeat under the same one is the same call,
-- until used_until. grant_id is empty for the console.
CREATE TABLE confirmations (
  tenant_id       text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id              text NOT NULL CHECK (id ~ '^cn[a-z0-9]{18}$'),
  token_hash      bytea NOT NULL CHECK (octet_length(token_hash) = 32),
  user_id         text NOT NULL,
  grant_id        text NOT NULL CHECK (length(grant_id) <= 40),
  server_id       text NOT NULL,
  tool            text NOT NULL CHECK (length(tool) BETWEEN 1 AND 128),
  definition_hash text NOT NULL CHECK (length(definition_hash) <= 64),
  request         bytea NOT NULL CHECK (octet_length(request) = 32),
  created_at      timestamptz NOT NULL,
  expires_at      timestamptz NOT NULL,
  used_at         timestamptz,
  used_key        bytea CHECK (octet_length(used_key) = 32),
  used_until      timestamptz,
  PRIMARY KEY (tenant_id, id),
  UNIQUE (tenant_id, token_hash),
  CHECK ((used_at IS NULL) = (used_key IS NULL) AND (used_at IS NULL) = (used_until IS NULL)),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON confirmations (tenant_id, user_id, created_at);
CREATE INDEX ON confirmations (tenant_id, server_id);
CREATE INDEX ON confirmations (greatest(expires_at, used_until));
CALL protect_tenant('confirmations', 'SELECT, DELETE');

-- That one has expired is not written down: it is seen by the time. arguments
-- are what the call had, as it was sent, for whoever decides.
CREATE TABLE approvals (
  tenant_id       text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id              text NOT NULL CHECK (id ~ '^ap[a-z0-9]{18}$'),
  user_id         text NOT NULL,
  client          text NOT NULL CHECK (length(client) <= 2048),
  grant_id        text NOT NULL CHECK (length(grant_id) <= 40),
  server_id       text NOT NULL,
  tool            text NOT NULL CHECK (length(tool) BETWEEN 1 AND 128),
  title           text NOT NULL CHECK (length(title) <= 200),
  risk            text NOT NULL CHECK (risk IN ('read', 'write', 'destructive')),
  definition_hash text NOT NULL CHECK (length(definition_hash) <= 64),
  request         bytea NOT NULL CHECK (octet_length(request) = 32),
  arguments       text NOT NULL CHECK (octet_length(arguments) <= 65536),
  message         text NOT NULL CHECK (length(message) <= 4000),
  role            text NOT NULL CHECK (role ~ '^[a-z][a-z0-9-]{0,38}[a-z0-9]$'),
  state           text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'approved', 'denied', 'used')),
  call_id         text NOT NULL CHECK (length(call_id) <= 40),
  requested_at    timestamptz NOT NULL,
  expires_at      timestamptz NOT NULL,
  decided_at      timestamptz,
  decided_by      text NOT NULL DEFAULT '' CHECK (length(decided_by) <= 300),
  reason          text NOT NULL DEFAULT '' CHECK (length(reason) <= 500),
  used_at         timestamptz,
  used_call_id    text NOT NULL DEFAULT '' CHECK (length(used_call_id) <= 40),
  used_key        bytea CHECK (octet_length(used_key) = 32),
  used_until      timestamptz,
  PRIMARY KEY (tenant_id, id),
  CHECK ((state = 'pending') = (decided_at IS NULL)),
  CHECK ((state = 'used') = (used_at IS NOT NULL) AND (used_at IS NULL) = (used_key IS NULL) AND (used_at IS NULL) = (used_until IS NULL)),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON approvals (tenant_id, requested_at DESC, id DESC);
CREATE INDEX ON approvals (tenant_id, user_id, request, requested_at DESC);
CREATE INDEX ON approvals (tenant_id, user_id) WHERE state = 'pending';
CREATE INDEX ON approvals (tenant_id, server_id);
CREATE INDEX ON approvals (requested_at);
CALL protect_tenant('approvals', 'SELECT, DELETE');
-- Whoever waits for a decision waits on any edge.
CREATE TRIGGER notify AFTER UPDATE OF state ON approvals FOR EACH ROW EXECUTE FUNCTION notify_change('approval');

-- When a person was last told by mail that calls of a tool wait for them.
CREATE TABLE approval_letters (
  tenant_id text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  user_id   text NOT NULL,
  server_id text NOT NULL,
  tool      text NOT NULL CHECK (length(tool) BETWEEN 1 AND 128),
  sent_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, user_id, server_id, tool),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON approval_letters (tenant_id, server_id);
CREATE INDEX ON approval_letters (sent_at);
CALL protect_tenant('approval_letters', 'SELECT, DELETE');

-- Whose right a key was made with, also through other keys: the id of a person,
-- or `operator`. Empty for keys that were made before this was written down.
ALTER TABLE api_keys ADD COLUMN author text NOT NULL DEFAULT '' CHECK (length(author) <= 20);

-- +goose Down
ALTER TABLE api_keys DROP COLUMN author;
DROP TABLE approval_letters, approvals, confirmations;
