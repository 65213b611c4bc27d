-- Copies the statistics targets of columns.
-- $1 oid, $2 oid: the relation that has them, and the one that is given them
-- $3 boolean: whether the options of the columns are copied, too, of which some minor versions keep a number of their own
UPDATE pg_attribute c
SET attstattarget = o.attstattarget,
    attoptions = CASE WHEN $3 THEN (SELECT array_agg(n.option ORDER BY n.position)
                                    FROM unnest(o.attoptions) WITH ORDINALITY n(option, position)
                                    WHERE n.option LIKE 'n_distinct%') ELSE c.attoptions END
FROM pg_attribute o
WHERE o.attrelid = $1 AND c.attrelid = $2 AND c.attnum = o.attnum AND o.attnum > 0 AND NOT o.attisdropped
  AND (o.attstattarget >= 0 OR ($3 AND o.attoptions IS NOT NULL))
