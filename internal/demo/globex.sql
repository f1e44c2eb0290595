-- Globex sells laboratory instruments.

INSERT INTO staff VALUES ('gina@globex.test', NULL), ('gus@globex.test', 'east');

INSERT INTO customers
SELECT 500 + i, (ARRAY['Northwind Labs', 'Helix Bio', 'Corvid Optics', 'Maple Diagnostics', 'Sable Research', 'Tundra Analytics', 'Vireo Health', 'Quartz Institute'])[1 + i],
       'purchasing' || i || '@example.org', (ARRAY['east', 'west'])[1 + i % 2]
FROM generate_series(0, 7) i;

INSERT INTO orders
SELECT 7000 + i, 500 + (i * 3) % 8, (ARRAY['paid', 'shipped', 'open'])[1 + i % 3], date_trunc('hour', now()) - interval '31 hours' * (40 - i)
FROM generate_series(1, 40) i;

INSERT INTO order_lines
SELECT 7000 + i, l, (ARRAY['Centrifuge, benchtop', 'Pipette set', 'Spectrometer', 'Incubator, 50 l'])[1 + (i + l) % 4],
       1 + (i * l) % 2, (ARRAY[2450.00, 389.00, 8990.00, 1720.00])[1 + (i + l) % 4]
FROM generate_series(1, 40) i, generate_series(1, 2) l
WHERE l <= 1 + i % 2;
