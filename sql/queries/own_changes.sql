-- The parts of tables that depend on what this transaction has changed, or that may look at anything that it has written.
-- $1 oid[]: the tables
--
-- A part is the table itself (with its constraints, defaults and owner), its statistics, an index, or a foreign key from or
-- to it. The age of what this transaction has written is not above 0, nor is that of what began later and is committed. 16384
-- is FirstNormalObjectId (access/transam.h): older objects came with the server.
WITH RECURSIVE target AS MATERIALIZED (
    SELECT t.oid FROM unnest($1) t(oid)
), part(kind, part, classid, objid) AS (
    SELECT 'table', t.oid, 'pg_class'::regclass::oid, t.oid FROM target t
    UNION SELECT 'table', t.oid, 'pg_class'::regclass, a.relid FROM target t CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a
    UNION SELECT 'table', t.oid, 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN target t ON t.oid = d.adrelid
    UNION SELECT 'table', t.oid, 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid = k.conrelid
          WHERE k.contype = 'c'
    UNION SELECT 'statistics', t.oid, 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s JOIN target t ON t.oid = s.stxrelid
    UNION SELECT 'index', i.indexrelid, 'pg_class'::regclass, i.indexrelid FROM pg_index i JOIN target t ON t.oid = i.indrelid
    UNION SELECT 'index', k.conindid, 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid = k.conrelid
          WHERE k.contype IN ('p', 'u', 'x')
    UNION SELECT 'key', k.oid, 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid = k.conrelid
          WHERE k.contype = 'f'
    UNION SELECT 'key', k.oid, 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid = k.confrelid
          WHERE k.contype = 'f'
), used(kind, part, classid, objid) AS (
    SELECT p.kind, p.part, d.refclassid, d.refobjid FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
    WHERE d.refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_extension'::regclass, 'pg_constraint'::regclass)
    UNION
    SELECT u.kind, u.part, n.classid, n.objid
    FROM used u CROSS JOIN LATERAL (
        SELECT d.refclassid, d.refobjid FROM pg_depend d
        WHERE d.classid = u.classid AND d.objid = u.objid
          AND d.refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_extension'::regclass)
        UNION ALL
        SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k
        WHERE u.classid = 'pg_type'::regclass AND k.contypid = u.objid
        UNION ALL
        SELECT 'pg_type'::regclass, a.atttypid FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
        WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid AND t.typrelid <> 0 AND a.attnum > 0
          AND a.atttypid >= 16384
        UNION ALL
        SELECT 'pg_operator'::regclass, o.amopopr FROM pg_amop o
        WHERE u.classid = 'pg_opfamily'::regclass AND o.amopfamily = u.objid AND o.amopopr >= 16384
        UNION ALL
        SELECT 'pg_proc'::regclass, f.amproc FROM pg_amproc f
        WHERE u.classid = 'pg_opfamily'::regclass AND f.amprocfamily = u.objid AND f.amproc >= 16384
    ) n(classid, objid)
), value_type(target, type) AS (
    SELECT t.oid, a.atttypid FROM target t JOIN pg_attribute a ON a.attrelid = t.oid WHERE a.attnum > 0 AND NOT a.attisdropped
    UNION
    SELECT v.target, n.oid
    FROM value_type v JOIN pg_type y ON y.oid = v.type CROSS JOIN LATERAL (
        SELECT y.typelem WHERE y.typelem <> 0
        UNION ALL SELECT y.typbasetype WHERE y.typbasetype <> 0
        UNION ALL SELECT r.rngsubtype FROM pg_range r WHERE y.oid IN (r.rngtypid, r.rngmultitypid)
        UNION ALL SELECT a.atttypid FROM pg_attribute a
                  WHERE y.typrelid <> 0 AND a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped
    ) n(oid)
), checking(target, expression) AS (
    SELECT t.oid, k.conbin::text FROM target t JOIN pg_constraint k ON k.conrelid = t.oid WHERE k.conbin IS NOT NULL
    UNION
    SELECT v.target, k.conbin::text FROM value_type v JOIN pg_constraint k ON k.contypid = v.type WHERE k.conbin IS NOT NULL
), object AS MATERIALIZED (
    SELECT DISTINCT u.classid, u.objid FROM used u
), found AS MATERIALIZED (
    SELECT o.classid, o.objid,
           EXISTS (SELECT FROM pg_proc f JOIN pg_language l ON l.oid = f.prolang
                   WHERE o.classid = 'pg_proc'::regclass AND f.oid = o.objid AND l.lanname NOT IN ('internal', 'c')) AS functions,
           EXISTS (SELECT FROM (
                SELECT xmin FROM pg_depend WHERE classid = o.classid AND objid = o.objid
                UNION ALL SELECT xmin FROM pg_type WHERE o.classid = 'pg_type'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_enum WHERE o.classid = 'pg_type'::regclass AND enumtypid = o.objid
                UNION ALL SELECT xmin FROM pg_range WHERE o.classid = 'pg_type'::regclass AND rngtypid = o.objid
                UNION ALL SELECT a.xmin FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                          WHERE o.classid = 'pg_type'::regclass AND t.oid = o.objid
                UNION ALL SELECT xmin FROM pg_proc WHERE o.classid = 'pg_proc'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_constraint WHERE o.classid = 'pg_constraint'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_operator WHERE o.classid = 'pg_operator'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_opclass WHERE o.classid = 'pg_opclass'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_opfamily WHERE o.classid = 'pg_opfamily'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_amop WHERE o.classid = 'pg_opfamily'::regclass AND amopfamily = o.objid
                UNION ALL SELECT xmin FROM pg_amproc WHERE o.classid = 'pg_opfamily'::regclass AND amprocfamily = o.objid
                UNION ALL SELECT xmin FROM pg_collation WHERE o.classid = 'pg_collation'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_ts_config WHERE o.classid = 'pg_ts_config'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_ts_config_map WHERE o.classid = 'pg_ts_config'::regclass AND mapcfg = o.objid
                UNION ALL SELECT xmin FROM pg_ts_dict WHERE o.classid = 'pg_ts_dict'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_ts_parser WHERE o.classid = 'pg_ts_parser'::regclass AND oid = o.objid
                UNION ALL SELECT xmin FROM pg_ts_template WHERE o.classid = 'pg_ts_template'::regclass AND oid = o.objid
           ) w(xmin) WHERE age(w.xmin) <= 0) AS changed,
           (SELECT t.oid::bigint FROM pg_type t
            WHERE o.classid = 'pg_type'::regclass AND t.oid = o.objid AND t.typtype = 'd') AS domain
    FROM object o
)
SELECT coalesce(json_agg(r), '[]'::json)::text
FROM (
    SELECT u.kind, u.part::bigint AS part, bool_or(f.functions) AS functions, bool_or(f.changed) AS changed,
           coalesce(json_agg(f.domain) FILTER (WHERE f.domain IS NOT NULL), '[]'::json) AS domains
    FROM used u JOIN found f ON f.classid = u.classid AND f.objid = u.objid
    WHERE f.functions OR f.changed OR f.domain IS NOT NULL
    GROUP BY u.kind, u.part
    UNION ALL
    -- Other processes would look up names, and texts of a CHECK, in the catalogs as they were before.
    SELECT 'table', v.target::bigint, false, true, '[]'::json
    FROM value_type v
    WHERE v.type IN ('regproc'::regtype, 'regprocedure'::regtype, 'regoper'::regtype, 'regoperator'::regtype, 'regclass'::regtype,
                     'regcollation'::regtype, 'regtype'::regtype, 'regrole'::regtype, 'regnamespace'::regtype,
                     'regconfig'::regtype, 'regdictionary'::regtype, 'aclitem'::regtype)
    UNION ALL
    SELECT 'table', e.target::bigint, true, false, '[]'::json
    FROM checking e CROSS JOIN LATERAL regexp_matches(e.expression, ':(?:funcid|opfuncid) ([0-9]+)', 'g') m
         JOIN pg_proc f ON f.oid = (m[1])::oid
    WHERE f.provolatile <> 'i' AND f.oid < 16384
      AND NOT (f.proargtypes::oid[] || f.prorettype)
          && ARRAY['date'::regtype, 'time'::regtype, 'timetz'::regtype, 'timestamp'::regtype, 'timestamptz'::regtype]::oid[]
    UNION ALL
    SELECT 'table', t.oid::bigint, false, true, '[]'::json
    FROM target t JOIN pg_class c ON c.oid = t.oid JOIN pg_authid a ON a.oid = c.relowner
    WHERE age(a.xmin) <= 0
) r
