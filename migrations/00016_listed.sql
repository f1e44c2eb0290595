-- Which revision a session (grant) listed last. While a tool goes on in the
-- version before, sessions that listed that one get it, on every edge. A row
-- ends with its grant.

-- +goose Up
CREATE TABLE listed_revisions (
  tenant_id   text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  grant_id    text NOT NULL,
  server_id   text NOT NULL,
  revision_id text NOT NULL,
  listed_at   timestamptz NOT NULL DEFAULT now(), -- when it changed
  PRIMARY KEY (tenant_id, grant_id, server_id),
  FOREIGN KEY (tenant_id, grant_id) REFERENCES oauth_grants (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, server_id, revision_id) REFERENCES revisions (tenant_id, server_id, id) ON DELETE CASCADE
);
CREATE INDEX ON listed_revisions (tenant_id, server_id, revision_id);
CALL protect_tenant('listed_revisions', 'SELECT, DELETE');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON listed_revisions FOR EACH ROW EXECUTE FUNCTION notify_change('listed', 'grant_id');

-- +goose Down
DROP TABLE listed_revisions;
