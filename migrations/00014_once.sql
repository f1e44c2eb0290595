-- Calls of tools with effects, recorded before their work starts and kept for a
-- while after it: a repeat gets the first outcome. An answer may hold anything,
-- so that it is sealed. The name is (person, server, key); the key is a hash.

-- +goose Up
CREATE TABLE calls_once (
  tenant_id    text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  user_id      text NOT NULL CHECK (length(user_id) BETWEEN 1 AND 100),
  server_id    text NOT NULL CHECK (length(server_id) BETWEEN 1 AND 100),
  key          bytea NOT NULL CHECK (length(key) = 32),
  tool         text NOT NULL CHECK (length(tool) BETWEEN 1 AND 300),
  request      bytea NOT NULL CHECK (length(request) = 32), -- tool and arguments
  call_id      text NOT NULL CHECK (length(call_id) BETWEEN 1 AND 100),
  upstream_key text NOT NULL CHECK (length(upstream_key) BETWEEN 1 AND 100),
  -- free: nothing was done, and whoever comes next runs it. The row stays for
  -- its upstream_key.
  state        text NOT NULL CHECK (state IN ('running', 'done', 'unknown', 'free')),
  result       bytea CHECK (length(result) <= 1500000), -- sealed; NULL with done: only that it was
  created_at   timestamptz NOT NULL,
  runs_until   timestamptz NOT NULL, -- what is running still by then has lost its edge
  expires_at   timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, user_id, server_id, key),
  CHECK (result IS NULL OR state = 'done')
);
CREATE INDEX ON calls_once (expires_at);
CALL protect_tenant('calls_once', 'SELECT, DELETE');

-- +goose Down
DROP TABLE calls_once;
