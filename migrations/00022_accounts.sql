-- Accounts that are connected at upstreams: whose, how long, how the platform is
-- known there. No token is here: those are in Vault.

-- +goose Up

-- user_id is NULL for the account of the tenant. renewing_until is set by the
-- edge that renews it.
CREATE TABLE upstream_accounts (
  tenant_id      text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  server_id      text NOT NULL,
  user_id        text,
  state          text NOT NULL CHECK (state IN ('connected', 'expired')),
  issuer         text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
  scopes         text[] NOT NULL CHECK (cardinality(scopes) <= 200),
  expires_at     timestamptz,
  renewable      boolean NOT NULL,
  connected_by   text NOT NULL CHECK (length(connected_by) <= 40),
  connected_at   timestamptz NOT NULL,
  renewed_at     timestamptz NOT NULL,
  renewing_until timestamptz,
  failure        text NOT NULL DEFAULT '' CHECK (length(failure) <= 300),
  version        integer NOT NULL CHECK (version > 0),
  UNIQUE NULLS NOT DISTINCT (tenant_id, server_id, user_id),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON upstream_accounts (tenant_id, user_id);
CALL protect_tenant('upstream_accounts');

CREATE TABLE upstream_clients (
  tenant_id   text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  server_id   text NOT NULL,
  client_id   text NOT NULL CHECK (length(client_id) BETWEEN 1 AND 2048),
  how         text NOT NULL CHECK (how IN ('given', 'document', 'registered')),
  auth_method text NOT NULL CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post')),
  issuer      text NOT NULL CHECK (length(issuer) BETWEEN 1 AND 2048),
  resource    text NOT NULL CHECK (length(resource) BETWEEN 1 AND 2048),
  authorize   text NOT NULL CHECK (length(authorize) BETWEEN 1 AND 2048),
  token       text NOT NULL CHECK (length(token) BETWEEN 1 AND 2048),
  revoke      text NOT NULL CHECK (length(revoke) <= 2048),
  says_issuer boolean NOT NULL,
  scopes      text[] NOT NULL CHECK (cardinality(scopes) <= 200),
  found_at    timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, server_id),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('upstream_clients');

-- An authorization on its way through a browser. state is a hash; verifier is of
-- no use without the code that comes back to the same browser.
CREATE TABLE upstream_flows (
  tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  state      bytea NOT NULL CHECK (octet_length(state) = 32),
  server_id  text NOT NULL,
  user_id    text,
  begun_by   text NOT NULL CHECK (length(begun_by) <= 40),
  verifier   text NOT NULL CHECK (length(verifier) BETWEEN 43 AND 128),
  return_to  text NOT NULL CHECK (length(return_to) <= 2048),
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, state),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON upstream_flows (tenant_id, begun_by);
CREATE INDEX ON upstream_flows (tenant_id, server_id);
CREATE INDEX ON upstream_flows (tenant_id, user_id);
CREATE INDEX ON upstream_flows (expires_at);
CALL protect_tenant('upstream_flows');

-- +goose Down
DROP TABLE upstream_flows, upstream_clients, upstream_accounts;
