-- The authorization server: clients, parked requests, consents, grants, codes,
-- refresh tokens and signing keys. Codes, tokens, tickets and client secrets
-- are stored as SHA-256 of 256 random bits; private keys are sealed. Times are
-- the server's own, so that tests can move them.

-- +goose Up
CREATE TABLE oauth_clients (
  tenant_id         text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id                text NOT NULL CHECK (length(id) BETWEEN 1 AND 512),
  kind              text NOT NULL CHECK (kind IN ('registered', 'document')),
  name              text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
  uri               text NOT NULL DEFAULT '' CHECK (length(uri) <= 2000),
  auth_method       text NOT NULL CHECK (auth_method IN ('none', 'client_secret_basic', 'client_secret_post')),
  secret_hash       bytea,
  registration_hash bytea, -- of the token that manages the registration (RFC 7592)
  redirect_uris     text[] NOT NULL CHECK (cardinality(redirect_uris) > 0),
  grant_types       text[] NOT NULL,
  scope             text NOT NULL DEFAULT '' CHECK (length(scope) <= 8000),
  created_at        timestamptz NOT NULL,
  authorized_at     timestamptz, -- when a person first let it in; never: collected
  deleted_at        timestamptz, -- kept for a while, so that its revoked grants stay known
  PRIMARY KEY (tenant_id, id)
);
CREATE INDEX ON oauth_clients (created_at) WHERE authorized_at IS NULL;
CALL protect_tenant('oauth_clients', 'SELECT, DELETE');

-- What waits for a browser: requests pushed by a client (RFC 9126), and
-- requests shown to a person, waiting for an answer.
CREATE TABLE oauth_requests (
  tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  hash       bytea NOT NULL, -- of the request_uri's handle or of the page's ticket
  kind       text NOT NULL CHECK (kind IN ('pushed', 'shown')),
  client_id  text NOT NULL,
  parameters text NOT NULL CHECK (length(parameters) <= 16384), -- form encoding
  session_id text NOT NULL DEFAULT '',
  user_id    text,
  shown      text[] NOT NULL DEFAULT '{}', -- the scopes that the page listed
  pushed     bytea,                        -- the pushed request that it came from
  expires_at timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, hash),
  FOREIGN KEY (tenant_id, client_id) REFERENCES oauth_clients (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  CHECK (kind = 'pushed' OR session_id <> '' AND user_id IS NOT NULL)
);
CREATE INDEX ON oauth_requests (expires_at);
CREATE INDEX ON oauth_requests (tenant_id, client_id);
CREATE INDEX ON oauth_requests (tenant_id, user_id);
CALL protect_tenant('oauth_requests', 'SELECT, DELETE');

-- What a person agreed to, so that the same question need not be asked again.
CREATE TABLE oauth_consents (
  tenant_id     text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  user_id       text NOT NULL,
  client_id     text NOT NULL,
  redirect_host text NOT NULL, -- host[:port], or scheme: of an app's own
  server_id     text NOT NULL,
  scopes        text[] NOT NULL,
  given_at      timestamptz NOT NULL,
  expires_at    timestamptz, -- NULL: until it is revoked
  PRIMARY KEY (tenant_id, user_id, client_id, redirect_host, server_id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, client_id) REFERENCES oauth_clients (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON oauth_consents (expires_at);
CREATE INDEX ON oauth_consents (tenant_id, client_id);
CREATE INDEX ON oauth_consents (tenant_id, server_id);
CALL protect_tenant('oauth_consents', 'SELECT, DELETE');

CREATE TABLE oauth_grants (
  tenant_id      text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id             text NOT NULL CHECK (id ~ '^gr[a-z0-9]{18}$'),
  user_id        text NOT NULL,
  client_id      text NOT NULL,
  server_id      text NOT NULL,
  redirect_host  text NOT NULL,
  scopes         text[] NOT NULL,
  created_at     timestamptz NOT NULL,
  expires_at     timestamptz, -- NULL: until it is revoked
  used_at        timestamptz, -- when tokens were last issued
  revoked_at     timestamptz,
  revoked_reason text NOT NULL DEFAULT '' CHECK (length(revoked_reason) <= 200),
  challenged_at  timestamptz, -- when a call was refused for want of a scope
  PRIMARY KEY (tenant_id, id),
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, client_id) REFERENCES oauth_clients (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON oauth_grants (tenant_id, user_id);
CREATE INDEX ON oauth_grants (tenant_id, client_id);
CREATE INDEX ON oauth_grants (tenant_id, server_id);
CREATE INDEX ON oauth_grants (expires_at);
CREATE INDEX ON oauth_grants (used_at);
CREATE INDEX ON oauth_grants (revoked_at) WHERE revoked_at IS NOT NULL;
CALL protect_tenant('oauth_grants', 'SELECT, DELETE');
-- A grant that ends is told to every edge in the transaction that ends it.
CREATE TRIGGER notify AFTER UPDATE OF revoked_at OR DELETE ON oauth_grants FOR EACH ROW EXECUTE FUNCTION notify_change('grant');

CREATE TABLE oauth_codes (
  tenant_id    text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  hash         bytea NOT NULL,
  grant_id     text NOT NULL,
  redirect_uri text NOT NULL,
  challenge    text NOT NULL CHECK (length(challenge) = 43), -- S256
  expires_at   timestamptz NOT NULL,
  used_at      timestamptz,
  PRIMARY KEY (tenant_id, hash),
  FOREIGN KEY (tenant_id, grant_id) REFERENCES oauth_grants (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON oauth_codes (tenant_id, grant_id);
CREATE INDEX ON oauth_codes (expires_at);
CALL protect_tenant('oauth_codes', 'SELECT, DELETE');

CREATE TABLE oauth_refresh_tokens (
  tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  hash       bytea NOT NULL,
  grant_id   text NOT NULL,
  expires_at timestamptz NOT NULL,
  used_at    timestamptz,
  successor  bytea, -- sealed under a key that only the token itself yields
  PRIMARY KEY (tenant_id, hash),
  FOREIGN KEY (tenant_id, grant_id) REFERENCES oauth_grants (tenant_id, id) ON DELETE CASCADE,
  CHECK ((used_at IS NULL) = (successor IS NULL))
);
CREATE INDEX ON oauth_refresh_tokens (tenant_id, grant_id);
CREATE INDEX ON oauth_refresh_tokens (expires_at);
CREATE INDEX ON oauth_refresh_tokens (used_at) WHERE used_at IS NOT NULL;
CALL protect_tenant('oauth_refresh_tokens', 'SELECT, DELETE');

CREATE TABLE oauth_keys (
  tenant_id  text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  kid        text NOT NULL CHECK (kid ~ '^ky[a-z0-9]{18}$'),
  public     bytea NOT NULL CHECK (length(public) = 32),
  sealed     bytea NOT NULL,
  created_at timestamptz NOT NULL,
  signs_from timestamptz NOT NULL, -- published before, signs from then until the next one does
  PRIMARY KEY (tenant_id, kid)
);
CALL protect_tenant('oauth_keys', 'SELECT');

-- +goose Down
DROP TABLE oauth_keys, oauth_refresh_tokens, oauth_codes, oauth_grants, oauth_consents, oauth_requests, oauth_clients;
