-- Acme sells office furniture.

INSERT INTO staff VALUES
    ('dana@acme.test', NULL), ('fred@acme.test', NULL), ('vic@acme.test', NULL),
    ('sam@acme.test', 'north');

INSERT INTO customers
SELECT 100 + i, first || ' ' || last, lower(first || '.' || last) || '@example.com',
       (ARRAY['north', 'south', 'west'])[1 + i % 3]
FROM generate_series(0, 47) i,
     LATERAL (SELECT (ARRAY['Grace', 'Omar', 'Ingrid', 'Luis', 'Mei', 'Tobias', 'Amara', 'Noah', 'Priya', 'Jonas', 'Clara', 'Yusuf'])[1 + i % 12] AS first,
                     (ARRAY['Miller', 'Okafor', 'Lindqvist', 'Ortega', 'Chen', 'Weber', 'O''Hara', 'Dubois', 'Sharma', 'Kowalski', 'Haddad'])[1 + (i * 5) % 11] AS last) n;

INSERT INTO orders
SELECT 1000 + i, 100 + (i * 7) % 48,
       (ARRAY['shipped', 'paid', 'shipped', 'open', 'shipped', 'paid', 'cancelled', 'shipped'])[1 + i % 8],
       date_trunc('hour', now()) - interval '9 hours' * (240 - i)
FROM generate_series(1, 240) i;

INSERT INTO order_lines
SELECT 1000 + i, l,
       (ARRAY['Desk, oak, 160 cm', 'Office chair, mesh', 'Monitor arm', 'Desk lamp', 'Filing cabinet, 3 drawers', 'Standing mat', 'Whiteboard, 120 cm', 'Cable tray'])[p],
       1 + (i * l) % 3,
       (ARRAY[489.00, 259.90, 84.50, 39.95, 179.00, 54.00, 119.00, 18.75])[p]
FROM generate_series(1, 240) i, generate_series(1, 3) l, LATERAL (SELECT 1 + (i * 3 + l * 5) % 8 AS p) x
WHERE l <= 1 + i % 3;

INSERT INTO refunds (order_id, amount, reason, requested_by, call_id, created_at)
SELECT o.id, 18.75, 'Arrived damaged', 'fred@acme.test', 'seed', o.placed_at + interval '2 days'
FROM orders o WHERE o.id IN (1001, 1024, 1097, 1160);
