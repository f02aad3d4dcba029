-- SPDX-License-Identifier: GPL-2.0-or-later
-- SQLite workload: inserts, an index, joins, aggregates, text.
CREATE TABLE item(id INTEGER PRIMARY KEY, kind INTEGER, price REAL, name TEXT);
CREATE TABLE kind(id INTEGER PRIMARY KEY, title TEXT);
BEGIN;
WITH RECURSIVE n(i, x) AS (SELECT 1, 12345 UNION ALL
    SELECT i + 1, (x * 1103515245 + 12345) % 2147483648 FROM n WHERE i < 20000)
INSERT INTO item SELECT i, x % 97, (x % 10007) / 8.0, printf('%x-%d', x, i % 31) FROM n;
WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 96)
INSERT INTO kind SELECT i, 'kind ' || (i * 7 % 97) FROM n;
COMMIT;
CREATE INDEX item_kind ON item(kind, price);
SELECT title, count(*), sum(price), max(name) FROM item JOIN kind ON kind.id = item.kind
    GROUP BY title ORDER BY sum(price) DESC LIMIT 10;
SELECT count(*) FROM item a JOIN item b ON a.kind = b.kind AND a.price < b.price
    WHERE a.id % 20 = 3 AND b.id % 7 = 1;
SELECT substr(name, 1, 2) AS p, count(*) FROM item WHERE name LIKE '%a%-1%' GROUP BY p ORDER BY 2 DESC, 1 LIMIT 8;
UPDATE item SET price = price * 1.5, name = upper(name) WHERE kind % 3 = 0;
DELETE FROM item WHERE id % 11 = 5;
SELECT count(*), round(sum(price), 3), min(name), max(name) FROM item;
