-- Results that were too large to give inline. Whoever got the summary reads the
-- parts for an hour; after that they are collected.

-- +goose Up
CREATE TABLE kept_results (
  tenant_id  text NOT NULL,
  id         text NOT NULL CHECK (id ~ '^kr[a-z0-9]{18}$'),
  part       integer NOT NULL CHECK (part BETWEEN 1 AND parts),
  parts      integer NOT NULL CHECK (parts BETWEEN 1 AND 10000),
  server_id  text NOT NULL,
  user_id    text NOT NULL,
  grant_id   text NOT NULL CHECK (length(grant_id) BETWEEN 1 AND 128),
  scope      text NOT NULL, -- of the tool that gave it
  tool       text NOT NULL,
  mime       text NOT NULL,
  sealed     bytea NOT NULL,
  created_at timestamptz NOT NULL,
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id, part),
  FOREIGN KEY (tenant_id) REFERENCES tenants (id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON kept_results (expires_at);
CREATE INDEX ON kept_results (tenant_id, server_id);
CREATE INDEX ON kept_results (tenant_id, user_id);
-- Compressed or not, they are random bytes: there is nothing to gain.
ALTER TABLE kept_results ALTER COLUMN sealed SET STORAGE EXTERNAL;
CALL protect_tenant('kept_results', 'SELECT, DELETE');
REVOKE UPDATE ON kept_results FROM latchkey_app;

-- +goose Down
DROP TABLE kept_results;
