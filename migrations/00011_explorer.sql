-- What the audit explorer and the usage pages read.
--
-- Each index orders one kind of question newest first; what none of them
-- answers is answered by reading a bounded number of records in order (see
-- internal/postgres/audit_search.go). They are what the insert of each call
-- can bear: docs/performance.md has what they cost and what they save. Texts
-- that a model sends can be longer than an index takes, so that long ones are
-- left out; such a search reads in order too.

-- +goose Up
CREATE INDEX ON audit_events (tenant_id, user_id, at, id);
CREATE INDEX ON audit_events (tenant_id, client_id, at, id) WHERE octet_length(client_id) <= 512;
CREATE INDEX ON audit_events (tenant_id, server, tool, at, id) WHERE octet_length(tool) <= 512;
-- Few records are in these two: they cost a plain call nothing.
CREATE INDEX ON audit_events (tenant_id, at, id) WHERE outcome IN ('failed', 'refused', 'unknown');
CREATE INDEX ON audit_events (tenant_id, method, at, id) WHERE method <> 'tools/call';

-- Sums of records, so that a month of calls is added up in no time. A row is
-- one step of time and one value of what its cut tells apart; the other keys
-- are empty. Everything in it can be made anew from the records.
CREATE TABLE usage (
  tenant_id  text NOT NULL,
  level      text NOT NULL CHECK (level IN ('quarter', 'hour', 'day')),
  cut        text NOT NULL CHECK (cut IN ('total', 'tool', 'member', 'client', 'all')),
  at         timestamptz NOT NULL, -- the step's beginning, in UTC
  key        uuid NOT NULL,        -- hash of the four that follow
  server     text NOT NULL DEFAULT '',
  tool       text NOT NULL DEFAULT '', -- 'resources/read' stands for every resource
  user_id    text NOT NULL DEFAULT '',
  client_id  text NOT NULL DEFAULT '',
  done       bigint NOT NULL,
  failed     bigint NOT NULL,
  refused    bigint NOT NULL,
  unknown    bigint NOT NULL,
  access     bigint NOT NULL,      -- errors by category
  validation bigint NOT NULL,
  downstream bigint NOT NULL,
  rate_limit bigint NOT NULL,
  internal   bigint NOT NULL,
  buckets    smallint[] NOT NULL,  -- latencies of calls that ran: bucket b holds
  counts     integer[] NOT NULL,   -- counts of [100 µs · 1.1^(b-1), 100 µs · 1.1^b)
  peak       integer NOT NULL DEFAULT 0, -- cut member: calls of the busiest minute,
  peak_at    timestamptz,                -- and when that was
  PRIMARY KEY (tenant_id, level, cut, at, key)
);
CREATE INDEX ON usage (level, at);
CREATE INDEX ON usage (tenant_id, user_id, at) WHERE level = 'day' AND cut = 'all';
CALL protect_tenant('usage', 'SELECT, INSERT, DELETE');
REVOKE INSERT, UPDATE, DELETE ON usage FROM latchkey_app;

-- How far each level is: rows are complete for [since, upto). Who adds up
-- holds the level's row, so that one edge at a time does.
CREATE TABLE usage_levels (
  level text PRIMARY KEY,
  since timestamptz NOT NULL DEFAULT 'epoch',
  upto  timestamptz NOT NULL DEFAULT 'epoch' -- epoch: nothing was added up yet
);
INSERT INTO usage_levels (level) VALUES ('quarter'), ('hour'), ('day');
GRANT SELECT ON usage_levels TO latchkey_app;
GRANT SELECT, UPDATE ON usage_levels TO latchkey_across;

-- +goose Down
DROP TABLE usage_levels, usage;
DROP INDEX audit_events_tenant_id_user_id_at_id_idx, audit_events_tenant_id_client_id_at_id_idx,
  audit_events_tenant_id_server_tool_at_id_idx, audit_events_tenant_id_at_id_idx, audit_events_tenant_id_method_at_id_idx;
