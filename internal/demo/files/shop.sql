-- A small shop. Its own row-level security decides what each of its people
-- sees: the platform tells it who is calling (latchkey.user_email).
REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA shop;
GRANT USAGE ON SCHEMA shop TO demo_TENANT_reader, demo_TENANT_writer;

CREATE TABLE shop.staff (
  email  text PRIMARY KEY,
  region text NOT NULL -- '*' sees all of them
);
INSERT INTO shop.staff VALUES
  ('dana@TENANT.test', '*'), ('fred@TENANT.test', '*'), ('vic@TENANT.test', '*'),
  ('sam@TENANT.test', 'eu'), ('gail@TENANT.test', '*');

CREATE TABLE shop.customers (
  id     bigint PRIMARY KEY,
  name   text NOT NULL,
  email  text NOT NULL,
  region text NOT NULL
);
INSERT INTO shop.customers
SELECT i, (ARRAY['Ada Byron','Björn Åkesson','Chiara Rossi','Daniel Okoye','Emi Tanaka','Farid Haddad','Grace Hopper','Hana Novák','Iris de Vries','João Silva','Kofi Mensah','Lena Fischer'])[i],
       'customer' || i || '@example.org', (ARRAY['eu','us','apac'])[1 + i % 3]
FROM generate_series(1, 12) i;

CREATE TABLE shop.orders (
  id          bigint PRIMARY KEY,
  customer_id bigint NOT NULL REFERENCES shop.customers,
  status      text NOT NULL CHECK (status IN ('open', 'paid', 'shipped', 'refunded')),
  total_cents bigint NOT NULL CHECK (total_cents > 0),
  currency    text NOT NULL DEFAULT 'EUR',
  placed_at   timestamptz NOT NULL,
  region      text NOT NULL
);
INSERT INTO shop.orders
SELECT 1000 + i, c.id, (ARRAY['open','paid','shipped','paid'])[1 + i % 4], 1900 + (i * 737) % 48000, 'EUR',
       timestamptz '2026-11-01 09:00+00' + i * interval '5 hours', c.region
FROM generate_series(1, 120) i JOIN shop.customers c ON c.id = 1 + i % 12;
CREATE INDEX ON shop.orders (customer_id);

CREATE TABLE shop.order_lines (
  order_id bigint NOT NULL REFERENCES shop.orders,
  line     integer NOT NULL,
  product  text NOT NULL,
  quantity integer NOT NULL,
  PRIMARY KEY (order_id, line)
);
INSERT INTO shop.order_lines
SELECT o.id, l, (ARRAY['Desk lamp','Notebook, 3 pack','Mechanical keyboard','Standing mat','USB-C cable'])[1 + (o.id + l) % 5], 1 + (o.id * l) % 3
FROM shop.orders o, generate_series(1, 2) l;

-- The ledger. Nothing here stops the same call from being written twice: that
-- it never is has to be the platform's doing.
CREATE TABLE shop.refunds (
  id           bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  order_id     bigint NOT NULL REFERENCES shop.orders,
  amount_cents bigint NOT NULL CHECK (amount_cents > 0),
  reason       text NOT NULL,
  requested_by text NOT NULL,
  call_id      text NOT NULL,
  key          text NOT NULL,
  made_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON shop.refunds (order_id);
CREATE INDEX ON shop.refunds (call_id);

CREATE FUNCTION shop.issue_refund(p_order bigint, p_cents bigint, p_reason text, p_by text, p_call text, p_key text)
RETURNS TABLE (refund_id bigint, order_id bigint, amount_cents bigint, currency text, left_cents bigint)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
DECLARE
  o shop.orders;
  refundable bigint;
  made bigint;
BEGIN
  SELECT * INTO o FROM shop.orders WHERE id = p_order FOR UPDATE;
  IF NOT FOUND THEN
    RAISE EXCEPTION 'There is no order % that you may see. Look it up with search_orders.', p_order;
  END IF;
  IF o.status = 'open' THEN
    RAISE EXCEPTION 'Order % is not paid yet, so there is nothing to refund.', p_order;
  END IF;
  SELECT o.total_cents - coalesce(sum(r.amount_cents), 0) INTO refundable FROM shop.refunds r WHERE r.order_id = p_order;
  IF p_cents > refundable THEN
    RAISE EXCEPTION 'Order % has % cents left to refund; % were asked for.', p_order, refundable, p_cents;
  END IF;
  INSERT INTO shop.refunds (order_id, amount_cents, reason, requested_by, call_id, key)
  VALUES (p_order, p_cents, p_reason, p_by, p_call, p_key) RETURNING id INTO made;
  IF p_cents = refundable THEN
    UPDATE shop.orders SET status = 'refunded' WHERE id = p_order;
  END IF;
  RETURN QUERY SELECT made, p_order, p_cents, o.currency, refundable - p_cents;
END $$;

ALTER TABLE shop.orders ENABLE ROW LEVEL SECURITY;
CREATE POLICY own_region ON shop.orders TO demo_TENANT_reader, demo_TENANT_writer
  USING (EXISTS (SELECT FROM shop.staff s WHERE s.email = current_setting('latchkey.user_email', true) AND s.region IN ('*', orders.region)));

GRANT SELECT ON shop.staff, shop.customers, shop.orders, shop.order_lines, shop.refunds TO demo_TENANT_reader, demo_TENANT_writer;
GRANT INSERT ON shop.refunds TO demo_TENANT_writer;
GRANT UPDATE (status) ON shop.orders TO demo_TENANT_writer;
