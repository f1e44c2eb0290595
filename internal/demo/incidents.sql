-- Incident tickets of Acme. Idempotent: it runs at every start.

CREATE TABLE IF NOT EXISTS incidents (
    id              bigint GENERATED ALWAYS AS IDENTITY (START WITH 501) PRIMARY KEY,
    title           text NOT NULL,
    severity        text NOT NULL CHECK (severity IN ('low', 'medium', 'high', 'critical')),
    description     text NOT NULL,
    status          text NOT NULL DEFAULT 'open' CHECK (status IN ('open', 'resolved')),
    opened_by       text NOT NULL,
    call_id         text NOT NULL,
    idempotency_key text NOT NULL,
    opened_at       timestamptz NOT NULL DEFAULT now(),
    UNIQUE (opened_by, idempotency_key)
);
GRANT SELECT ON incidents TO acme_reader, acme_writer;
GRANT INSERT ON incidents TO acme_writer;

INSERT INTO incidents (title, severity, description, status, opened_by, call_id, idempotency_key, opened_at)
SELECT title, severity, description, status, 'sam@acme.test', 'seed', title, now() - ago
FROM (VALUES
    ('Checkout is slow', 'high', 'Payments take more than ten seconds since the release of the morning.', 'open', interval '3 hours'),
    ('Label printer offline', 'low', 'The printer at gate 4 does not answer.', 'open', interval '1 day'),
    ('Stock counts differ', 'medium', 'The count of oak desks is off by two in the north.', 'resolved', interval '6 days')
) AS seed (title, severity, description, status, ago)
ON CONFLICT DO NOTHING;

-- Opens a ticket. A repeat under the same key of the same person gives the
-- first ticket again.
CREATE OR REPLACE FUNCTION create_incident_ticket(p_title text, p_severity text, p_description text, p_by text, p_call text, p_key text)
RETURNS TABLE (ticket bigint, title text, severity text, status text, opened_at timestamptz, repeated boolean)
LANGUAGE plpgsql AS $$
DECLARE
    had incidents;
BEGIN
    RETURN QUERY
        INSERT INTO incidents AS i (title, severity, description, opened_by, call_id, idempotency_key)
        VALUES (p_title, p_severity, p_description, p_by, p_call, p_key)
        ON CONFLICT (opened_by, idempotency_key) DO NOTHING
        RETURNING i.id, i.title, i.severity, i.status, i.opened_at, false;
    IF FOUND THEN
        RETURN;
    END IF;
    SELECT * INTO had FROM incidents i WHERE (i.opened_by, i.idempotency_key) = (p_by, p_key);
    IF had.title <> p_title OR had.severity <> p_severity OR had.description <> p_description THEN
        RAISE EXCEPTION 'This request_id was used for another ticket.';
    END IF;
    RETURN QUERY SELECT had.id, had.title, had.severity, had.status, had.opened_at, true;
END $$;
REVOKE ALL ON FUNCTION create_incident_ticket(text, text, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION create_incident_ticket(text, text, text, text, text, text) TO acme_writer;
