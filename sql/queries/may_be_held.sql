-- Whether rows for a table may be stored later than a script has them, with the columns that COPY fills where it names none:
-- an object, or NULL.
-- $1 oid: the table
--
-- Nothing may fire or look at rows as they come, or wait for the end of the transaction. Functions of users, in a CHECK, a
-- domain or a generated column, may read other tables of the script. 16384 is FirstNormalObjectId (access/transam.h).
WITH RECURSIVE value_type(oid) AS (
    SELECT a.atttypid FROM pg_attribute a WHERE a.attrelid = $1 AND a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT n.oid
    FROM value_type v JOIN pg_type y ON y.oid = v.oid CROSS JOIN LATERAL (
        SELECT y.typelem WHERE y.typelem <> 0
        UNION ALL SELECT y.typbasetype WHERE y.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE y.oid IN (r.rngtypid, r.rngmultitypid)
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                  WHERE y.typrelid <> 0 AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) n(oid)
), computing(classid, objid) AS (
    SELECT 'pg_constraint'::regclass::oid, k.oid FROM pg_constraint k WHERE k.conrelid = $1 AND k.contype = 'c'
    UNION ALL
    SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN value_type v ON v.oid = k.contypid
    UNION ALL
    SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN pg_attribute a ON a.attrelid = d.adrelid AND a.attnum = d.adnum
    WHERE d.adrelid = $1 AND a.attgenerated <> ''
    UNION ALL
    SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i WHERE i.indrelid = $1
    UNION ALL
    SELECT 'pg_class'::regclass, x.relid::oid FROM pg_class c CROSS JOIN LATERAL pg_partition_ancestors(c.oid) x
    WHERE c.oid = $1 AND c.relispartition
)
SELECT (SELECT json_agg(json_build_object('name', a.attname, 'number', a.attnum) ORDER BY a.attnum)
        FROM pg_attribute a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '')::text
FROM pg_class c JOIN pg_am m ON m.oid = c.relam
WHERE c.oid = $1 AND c.relkind = 'r' AND c.relpersistence IN ('p', 'u') AND m.amname = 'heap'
  AND pg_has_role(c.relowner, 'USAGE')
  AND NOT c.relrowsecurity
  AND NOT EXISTS (SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid)
  AND NOT EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtenabled <> 'D')
  AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND (k.condeferrable OR NOT k.convalidated))
  AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.deptype = 'e')
  AND NOT EXISTS (SELECT FROM pg_publication p WHERE current_setting('wal_level') = 'logical')
  AND NOT EXISTS (SELECT FROM pg_replication_slots s
                  WHERE s.slot_type = 'logical' AND s.database = current_database() AND s.wal_status IS DISTINCT FROM 'lost')
  AND NOT EXISTS (SELECT FROM value_type v
                  WHERE v.oid IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype,
                                  'regclass'::regtype, 'regcollation'::regtype, 'regtype'::regtype, 'regrole'::regtype,
                                  'regnamespace'::regtype, 'regconfig'::regtype, 'regdictionary'::regtype))
  AND NOT EXISTS (SELECT FROM computing k JOIN pg_depend d ON d.classid = k.classid AND d.objid = k.objid
                  LEFT JOIN pg_operator o ON d.refclassid = 'pg_operator'::regclass AND o.oid = d.refobjid
                  JOIN pg_proc f ON f.oid = CASE WHEN d.refclassid = 'pg_proc'::regclass THEN d.refobjid ELSE o.oprcode END
                  JOIN pg_language l ON l.oid = f.prolang
                  WHERE f.oid >= 16384 AND l.lanname NOT IN ('internal', 'c'))
