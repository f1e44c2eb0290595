-- What roles open of limits, kill switches, approvals and events; and what the
-- record of a call says of how it was kept safe.

-- +goose Up
ALTER TABLE roles DROP CONSTRAINT roles_permissions_known;
ALTER TABLE roles ADD CONSTRAINT roles_permissions_known CHECK (
  array_position(permissions, NULL) IS NULL AND permissions <@ ARRAY[
    'admin', 'tenant:read', 'tenant:write', 'members:read', 'members:write', 'roles:read', 'roles:write', 'servers:read', 'servers:write',
    'tools:try', 'clients:read', 'clients:write', 'keys:read', 'keys:write', 'audit:read', 'usage:read',
    'limits:read', 'limits:write', 'switches:read', 'switches:write', 'approvals:read', 'approvals:write', 'events:read', 'events:write']);

-- A JSON object, or empty: see audit.Notes.
ALTER TABLE audit_events ADD COLUMN notes text NOT NULL DEFAULT '';

-- +goose Down
ALTER TABLE audit_events DROP COLUMN notes;
UPDATE roles SET permissions = ARRAY(SELECT p FROM unnest(permissions) p WHERE p !~ '^(limits|switches|approvals|events):');
ALTER TABLE roles DROP CONSTRAINT roles_permissions_known;
ALTER TABLE roles ADD CONSTRAINT roles_permissions_known CHECK (
  array_position(permissions, NULL) IS NULL AND permissions <@ ARRAY[
    'admin', 'tenant:read', 'tenant:write', 'members:read', 'members:write', 'roles:read', 'roles:write', 'servers:read', 'servers:write',
    'tools:try', 'clients:read', 'clients:write', 'keys:read', 'keys:write', 'audit:read', 'usage:read']);
