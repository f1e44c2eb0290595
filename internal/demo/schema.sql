-- The shop of one tenant. Idempotent: it runs at every start. TENANT stands
-- for the tenant's name.

REVOKE ALL ON DATABASE demo_TENANT FROM PUBLIC;
GRANT CONNECT ON DATABASE demo_TENANT TO TENANT_reader, TENANT_writer, TENANT_vault;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO TENANT_reader, TENANT_writer;

-- Who works here. No region: all of them.
CREATE TABLE IF NOT EXISTS staff (
    email  text PRIMARY KEY,
    region text
);

CREATE TABLE IF NOT EXISTS customers (
    id      bigint PRIMARY KEY,
    name    text NOT NULL,
    email   text NOT NULL,
    region  text NOT NULL
);

-- What is known of a customer beyond the order: for the tools of the CRM.
ALTER TABLE customers
    ADD COLUMN IF NOT EXISTS phone text,
    ADD COLUMN IF NOT EXISTS iban text,
    ADD COLUMN IF NOT EXISTS card text,
    ADD COLUMN IF NOT EXISTS notes text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS erased_at timestamptz;

CREATE TABLE IF NOT EXISTS orders (
    id          bigint PRIMARY KEY,
    customer_id bigint NOT NULL REFERENCES customers,
    status      text NOT NULL CHECK (status IN ('open', 'paid', 'shipped', 'cancelled')),
    placed_at   timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS orders_by_customer ON orders (customer_id);

CREATE TABLE IF NOT EXISTS order_lines (
    order_id   bigint NOT NULL REFERENCES orders,
    line       int NOT NULL,
    product    text NOT NULL,
    quantity   int NOT NULL CHECK (quantity > 0),
    unit_price numeric(10, 2) NOT NULL CHECK (unit_price >= 0),
    PRIMARY KEY (order_id, line)
);

-- The ledger: who refunded what, in which call. Rows are only ever added.
CREATE TABLE IF NOT EXISTS refunds (
    id              bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    order_id        bigint NOT NULL REFERENCES orders,
    amount          numeric(10, 2) NOT NULL CHECK (amount > 0),
    reason          text NOT NULL,
    requested_by    text NOT NULL,
    call_id         text NOT NULL,
    idempotency_key text UNIQUE,
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX IF NOT EXISTS refunds_by_order ON refunds (order_id);

-- Each person sees the customers of their region, and what belongs to them.
-- The platform says who it is, for the length of one transaction.
ALTER TABLE staff ENABLE ROW LEVEL SECURITY;
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER TABLE orders ENABLE ROW LEVEL SECURITY;
ALTER TABLE order_lines ENABLE ROW LEVEL SECURITY;
ALTER TABLE refunds ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS oneself ON staff;
CREATE POLICY oneself ON staff
    USING (email = current_setting('latchkey.user_email', true));
DROP POLICY IF EXISTS by_region ON customers;
CREATE POLICY by_region ON customers
    USING (EXISTS (SELECT FROM staff s WHERE s.region IS NULL OR s.region = customers.region));
DROP POLICY IF EXISTS by_customer ON orders;
CREATE POLICY by_customer ON orders
    USING (EXISTS (SELECT FROM customers c WHERE c.id = orders.customer_id));
DROP POLICY IF EXISTS by_order ON order_lines;
CREATE POLICY by_order ON order_lines
    USING (EXISTS (SELECT FROM orders o WHERE o.id = order_lines.order_id));
DROP POLICY IF EXISTS by_order ON refunds;
CREATE POLICY by_order ON refunds
    USING (EXISTS (SELECT FROM orders o WHERE o.id = refunds.order_id));

GRANT SELECT ON staff, customers, orders, order_lines, refunds TO TENANT_reader, TENANT_writer;
GRANT INSERT ON refunds TO TENANT_writer;
GRANT UPDATE (status) ON orders TO TENANT_writer; -- to lock an order while it is refunded
GRANT UPDATE (name, email, phone, iban, card, notes, erased_at) ON customers TO TENANT_writer;

-- Refunds part of an order, never more than is left of it, however many ask at
-- the same time. A repeat under the same key gives the first answer again.
CREATE OR REPLACE FUNCTION issue_refund(p_order bigint, p_amount numeric, p_reason text, p_by text, p_call text, p_key text)
RETURNS TABLE (refund_id bigint, order_id bigint, amount numeric, left_to_refund numeric)
LANGUAGE plpgsql AS $$
DECLARE
    had     refunds;
    status  text;
    remains numeric;
BEGIN
    SELECT o.status INTO status FROM orders o WHERE o.id = p_order FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'There is no order %, or you may not see it.', p_order;
    END IF;
    SELECT coalesce(sum(l.quantity * l.unit_price), 0) INTO remains FROM order_lines l WHERE l.order_id = p_order;
    remains := remains - coalesce((SELECT sum(r.amount) FROM refunds r WHERE r.order_id = p_order), 0);
    SELECT * INTO had FROM refunds r WHERE r.idempotency_key = p_key;
    IF FOUND THEN
        IF had.order_id <> p_order OR had.amount <> p_amount THEN
            RAISE EXCEPTION 'This idempotency key was used for another refund.';
        END IF;
        RETURN QUERY SELECT had.id, had.order_id, had.amount::numeric, remains;
        RETURN;
    END IF;
    IF status NOT IN ('paid', 'shipped') THEN
        RAISE EXCEPTION 'Order % is %: only paid orders can be refunded.', p_order, status;
    END IF;
    IF p_amount > remains THEN
        RAISE EXCEPTION 'Only % of order % is left to refund, not %.', remains, p_order, p_amount;
    END IF;
    RETURN QUERY
        INSERT INTO refunds AS r (order_id, amount, reason, requested_by, call_id, idempotency_key)
        VALUES (p_order, p_amount, p_reason, p_by, p_call, p_key)
        RETURNING r.id, r.order_id, r.amount::numeric, remains - r.amount;
END $$;
REVOKE ALL ON FUNCTION issue_refund(bigint, numeric, text, text, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION issue_refund(bigint, numeric, text, text, text, text) TO TENANT_writer;
