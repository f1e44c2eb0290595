-- What a tenant sets of how often it may be called: see tenants.Limits. Where
-- it sets nothing it has no row, and the platform's defaults hold.

-- +goose Up
CREATE TABLE tenant_limits (
  tenant_id  text PRIMARY KEY REFERENCES tenants (id) ON DELETE CASCADE,
  limits     jsonb NOT NULL CHECK (jsonb_typeof(limits) = 'object' AND octet_length(limits::text) <= 20000),
  updated_at timestamptz NOT NULL
);
CALL protect_tenant('tenant_limits', '');
CREATE TRIGGER notify AFTER INSERT OR UPDATE OR DELETE ON tenant_limits FOR EACH ROW EXECUTE FUNCTION notify_change('limits', 'tenant_id');

-- +goose Down
DROP TABLE tenant_limits;
