-- Answers of the platform API that are kept for a day, for a repeat of the same
-- request. They may hold what is shown once, so they are sealed by a key in
-- Vault. The tenant may be the platform itself, so that there is no foreign
-- key; a tenant's rows run out a day after it is gone.

-- +goose Up
CREATE TABLE api_idempotency (
  tenant_id  text NOT NULL,
  caller     text NOT NULL CHECK (length(caller) BETWEEN 1 AND 300),
  key        text NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
  request    bytea NOT NULL CHECK (length(request) = 32),
  answer     bytea, -- sealed; NULL while the request runs
  created_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, caller, key)
);
CREATE INDEX ON api_idempotency (created_at);
CALL protect_tenant('api_idempotency', 'SELECT, DELETE');

-- +goose Down
DROP TABLE api_idempotency;
