-- Edges that serve now, so that one can pass a request of a session on to the
-- edge which has it: see internal/peers. They are the platform's, not a
-- tenant's.

-- +goose Up
CREATE TABLE edges (
  id      text PRIMARY KEY CHECK (id ~ '^ed[a-z0-9]{18}$'),
  url     text NOT NULL CHECK (url ~ '^https?://[^/@?#]+$' AND length(url) <= 300),
  seen_at timestamptz NOT NULL
);
GRANT SELECT, INSERT, UPDATE, DELETE ON edges TO latchkey_app;
CREATE TRIGGER notify AFTER INSERT OR DELETE ON edges FOR EACH ROW EXECUTE FUNCTION notify_change('edge');

-- +goose Down
DROP TABLE edges;
