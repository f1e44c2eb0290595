-- Calls that outlive their request. The row is the truth, and whoever runs the
-- task holds it by owner and attempt: each claim counts attempt up, and every
-- change names it, so that a runner which was taken for dead changes nothing.
-- Arguments, questions, answers and results may hold anything and are sealed.

-- +goose Up
CREATE TABLE tasks (
  tenant_id       text NOT NULL REFERENCES tenants (id) ON DELETE CASCADE,
  id              text NOT NULL CHECK (id ~ '^tk[a-z2-7]{26}$'),
  server_id       text NOT NULL,
  user_id         text NOT NULL,
  client          text NOT NULL CHECK (length(client) BETWEEN 1 AND 2048),
  grant_id        text NOT NULL CHECK (length(grant_id) BETWEEN 1 AND 128),
  tool            text NOT NULL CHECK (length(tool) BETWEEN 1 AND 128),
  scope           text NOT NULL CHECK (length(scope) BETWEEN 1 AND 128),
  revision_id     text NOT NULL,
  definition_hash text NOT NULL CHECK (length(definition_hash) <= 64),
  risk            text NOT NULL CHECK (risk IN ('read', 'write', 'destructive')),
  call_id         text NOT NULL CHECK (length(call_id) BETWEEN 1 AND 40),
  trace           text NOT NULL DEFAULT '' CHECK (length(trace) <= 64),
  notes           text NOT NULL DEFAULT '' CHECK (length(notes) <= 4096),
  repeatable      boolean NOT NULL,
  timeout         interval NOT NULL,
  ttl             interval NOT NULL,
  asks            text[] NOT NULL DEFAULT '{}',
  -- What the call is known by to repeats, see calls_once; NULL: by nothing.
  name_key        bytea CHECK (octet_length(name_key) = 32),
  request         bytea CHECK (octet_length(request) = 32),
  upstream_key    text NOT NULL CHECK (length(upstream_key) <= 100),
  input           bytea NOT NULL CHECK (octet_length(input) <= 1200000),

  state           text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'input_required', 'completed', 'failed', 'cancelled')),
  message         text NOT NULL DEFAULT '' CHECK (length(message) <= 1000),
  attempt         integer NOT NULL DEFAULT 0,
  runs            integer NOT NULL DEFAULT 0,
  started         boolean NOT NULL DEFAULT false, -- a run may have begun whose end nobody saw
  owner           text NOT NULL DEFAULT '' CHECK (length(owner) <= 64),
  cancel_asked    boolean NOT NULL DEFAULT false,
  cancelled_by    text NOT NULL DEFAULT '' CHECK (length(cancelled_by) <= 300),
  code            text NOT NULL DEFAULT '' CHECK (length(code) <= 64),
  unknown         boolean NOT NULL DEFAULT false, -- it may have taken effect
  result          bytea CHECK (octet_length(result) <= 4300000),
  asked           integer NOT NULL DEFAULT 0, -- questions so far
  created_at      timestamptz NOT NULL,
  updated_at      timestamptz NOT NULL,
  started_at      timestamptz,
  ended_at        timestamptz,
  due_at          timestamptz NOT NULL,
  deadline        timestamptz NOT NULL,
  expires_at      timestamptz NOT NULL,
  PRIMARY KEY (tenant_id, id),
  CHECK ((name_key IS NULL) = (request IS NULL)),
  CHECK ((state IN ('completed', 'failed', 'cancelled')) = (ended_at IS NOT NULL)),
  CHECK (result IS NULL OR ended_at IS NOT NULL),
  FOREIGN KEY (tenant_id, server_id) REFERENCES servers (tenant_id, id) ON DELETE CASCADE,
  FOREIGN KEY (tenant_id, user_id) REFERENCES users (tenant_id, id) ON DELETE CASCADE
);
CREATE INDEX ON tasks (due_at) WHERE ended_at IS NULL;
CREATE INDEX ON tasks (tenant_id, user_id, server_id, tool) WHERE ended_at IS NULL;
CREATE INDEX ON tasks (tenant_id, created_at DESC, id DESC);
CREATE INDEX ON tasks (tenant_id, server_id);
CREATE INDEX ON tasks (tenant_id, user_id);
CREATE UNIQUE INDEX ON tasks (tenant_id, call_id);
CREATE INDEX ON tasks (expires_at);
ALTER TABLE tasks ALTER COLUMN input SET STORAGE EXTERNAL, ALTER COLUMN result SET STORAGE EXTERNAL;
CALL protect_tenant('tasks', 'SELECT, DELETE, UPDATE (state, attempt, owner, due_at)');
-- Runners on all edges look; who runs it hears that it is to end.
CREATE TRIGGER notify AFTER INSERT OR UPDATE OF cancel_asked ON tasks FOR EACH ROW EXECUTE FUNCTION notify_change('task');

CREATE TABLE task_questions (
  tenant_id text NOT NULL,
  task_id   text NOT NULL,
  key       text NOT NULL CHECK (length(key) BETWEEN 1 AND 40),
  attempt   integer NOT NULL, -- of the run that asks: others' are void
  request   bytea NOT NULL CHECK (octet_length(request) <= 66000),
  answer    bytea CHECK (octet_length(answer) <= 66000),
  PRIMARY KEY (tenant_id, task_id, key),
  FOREIGN KEY (tenant_id, task_id) REFERENCES tasks (tenant_id, id) ON DELETE CASCADE
);
CALL protect_tenant('task_questions', 'SELECT, DELETE');
CREATE TRIGGER notify AFTER UPDATE OF answer ON task_questions FOR EACH ROW EXECUTE FUNCTION notify_change('task', 'task_id');

-- +goose Down
DROP TABLE task_questions, tasks;
