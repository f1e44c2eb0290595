-- Months are UTC, whatever the time zone of the session that makes a partition.
-- Records that the default partition caught move to their month's when it is
-- made: without that, a month that came too late could never be made.

-- +goose Up
-- +goose StatementBegin
CREATE OR REPLACE FUNCTION add_audit_partition(month date) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET timezone = 'UTC' AS $$
DECLARE
  first date := date_trunc('month', month)::date;
  next date := (first + interval '1 month')::date;
  name text := 'audit_events_' || to_char(first, 'YYYYMM');
BEGIN
  PERFORM pg_advisory_xact_lock(hashtext('audit_partition'));
  IF to_regclass('public.' || name) IS NOT NULL THEN RETURN; END IF;
  -- Readers go on; writers wait until all of this is committed.
  LOCK TABLE public.audit_events IN SHARE ROW EXCLUSIVE MODE;
  EXECUTE format('CREATE TABLE public.%I (LIKE public.audit_events INCLUDING DEFAULTS INCLUDING CONSTRAINTS)', name);
  -- The owner is bound by the policies too, and has none: lift that for the move.
  ALTER TABLE public.audit_events_default NO FORCE ROW LEVEL SECURITY;
  EXECUTE format('WITH moved AS (DELETE FROM public.audit_events_default WHERE at >= %L AND at < %L RETURNING *) '
    'INSERT INTO public.%I SELECT * FROM moved', first, next, name);
  ALTER TABLE public.audit_events_default FORCE ROW LEVEL SECURITY;
  EXECUTE format('ALTER TABLE public.%I ENABLE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE public.%I FORCE ROW LEVEL SECURITY', name);
  EXECUTE format('ALTER TABLE public.audit_events ATTACH PARTITION public.%I FOR VALUES FROM (%L) TO (%L)', name, first, next);
END $$;
-- +goose StatementEnd

-- +goose Down
-- The function stays: it does what the one before it did.
SELECT 1;
