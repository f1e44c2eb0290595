-- The audit record of every call, refused or done. Rows are only ever added.
-- Partitioned by month, so that retention is a DETACH; the default partition
-- catches what a missing month would lose.

-- +goose Up
CREATE TABLE audit_events (
  tenant_id        text NOT NULL,
  at               timestamptz NOT NULL,
  id               text NOT NULL,             -- of the record
  call_id          text NOT NULL,             -- joins intent and outcome
  phase            text NOT NULL CHECK (phase IN ('intent', 'outcome', 'refusal')),
  writer_id        text NOT NULL,             -- with writer_seq makes gaps visible
  writer_seq       bigint NOT NULL,
  user_id          text NOT NULL DEFAULT '',
  client_id        text NOT NULL DEFAULT '',
  grant_id         text NOT NULL DEFAULT '',
  session_id       text NOT NULL DEFAULT '',
  server_id        text NOT NULL DEFAULT '',
  server           text NOT NULL DEFAULT '',
  revision_id      text NOT NULL DEFAULT '',
  method           text NOT NULL,
  tool             text NOT NULL DEFAULT '',
  definition_hash  text NOT NULL DEFAULT '',
  scope            text NOT NULL DEFAULT '',
  decision         text NOT NULL CHECK (decision IN ('allowed', 'refused')),
  reason           text NOT NULL DEFAULT '',
  idempotency_key  text NOT NULL DEFAULT '',
  arguments        text NOT NULL DEFAULT '',  -- redacted summary
  outcome          text NOT NULL CHECK (outcome IN ('pending', 'done', 'failed', 'refused', 'unknown')),
  category         text NOT NULL DEFAULT '',
  code             text NOT NULL DEFAULT '',
  latency_us       bigint NOT NULL DEFAULT 0,
  result_bytes     bigint NOT NULL DEFAULT 0,
  worker           text NOT NULL DEFAULT '',
  lease_id         text NOT NULL DEFAULT '',
  trace_id         text NOT NULL DEFAULT '',
  PRIMARY KEY (tenant_id, at, id)
) PARTITION BY RANGE (at);
CREATE TABLE audit_events_default PARTITION OF audit_events DEFAULT;
CREATE INDEX ON audit_events USING brin (at);
CREATE INDEX ON audit_events (tenant_id, call_id);

CALL protect_tenant('audit_events', 'SELECT, INSERT');
CALL protect_tenant('audit_events_default', '');
REVOKE ALL ON audit_events_default FROM latchkey_app;
REVOKE INSERT, UPDATE, DELETE ON audit_events FROM latchkey_app;

-- add_audit_partition makes a month's partition with the same protection. The
-- owner's right is lent to the application for just this.
-- +goose StatementBegin
CREATE FUNCTION add_audit_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, public AS $$
DECLARE
  first date := date_trunc('month', month)::date;
  name text := 'audit_events_' || to_char(first, 'YYYYMM');
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('audit_partition'));
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF;
  EXECUTE format('CREATE TABLE public.%I PARTITION OF public.audit_events FOR VALUES FROM (%L) TO (%L)', name, first, (first + interval '1 month')::date);
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
END $$;
-- +goose StatementEnd
REVOKE ALL ON FUNCTION add_audit_partition FROM PUBLIC;
GRANT EXECUTE ON FUNCTION add_audit_partition TO latchkey_app;

-- +goose Down
DROP FUNCTION add_audit_partition;
DROP TABLE audit_events;
