-- What the rows of tables depend on that this transaction has changed, or that may look at anything that it has written.
-- $1 oid[]: the tables
--
-- The age of what this transaction has written is not above 0, nor is that of what began later and is committed. 16384 is
-- FirstNormalObjectId (access/transam.h): older objects came with the server.
WITH RECURSIVE target AS MATERIALIZED (
    SELECT t.oid FROM unnest($1) t(oid)
), part AS (
    SELECT 'pg_class'::regclass::oid AS classid, t.oid AS objid FROM target t
    UNION SELECT 'pg_class'::regclass, a.relid FROM target t CROSS JOIN LATERAL pg_partition_ancestors(t.oid) a
    UNION SELECT 'pg_class'::regclass, i.indexrelid FROM pg_index i JOIN target t ON t.oid = i.indrelid
    UNION SELECT 'pg_constraint'::regclass, k.oid FROM pg_constraint k JOIN target t ON t.oid IN (k.conrelid, k.confrelid)
    UNION SELECT 'pg_attrdef'::regclass, d.oid FROM pg_attrdef d JOIN target t ON t.oid = d.adrelid
    UNION SELECT 'pg_statistic_ext'::regclass, s.oid FROM pg_statistic_ext s JOIN target t ON t.oid = s.stxrelid
), used(classid, objid) AS (
    SELECT d.refclassid, d.refobjid FROM part p JOIN pg_depend d ON d.classid = p.classid AND d.objid = p.objid
    WHERE d.refclassid NOT IN ('pg_class'::regclass, 'pg_namespace'::regclass, 'pg_extension'::regclass, 'pg_constraint'::regclass)
    UNION
    SELECT n.classid, n.objid
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
)
SELECT json_build_object(
           'functions', EXISTS (SELECT FROM used u JOIN pg_proc f ON u.classid = 'pg_proc'::regclass AND f.oid = u.objid
                                JOIN pg_language l ON l.oid = f.prolang WHERE l.lanname NOT IN ('internal', 'c')),
           'changed', EXISTS (
               SELECT FROM used u CROSS JOIN LATERAL (
                   SELECT xmin FROM pg_depend WHERE classid = u.classid AND objid = u.objid
                   UNION ALL SELECT xmin FROM pg_type WHERE u.classid = 'pg_type'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_enum WHERE u.classid = 'pg_type'::regclass AND enumtypid = u.objid
                   UNION ALL SELECT xmin FROM pg_range WHERE u.classid = 'pg_type'::regclass AND rngtypid = u.objid
                   UNION ALL SELECT a.xmin FROM pg_type t JOIN pg_attribute a ON a.attrelid = t.typrelid
                             WHERE u.classid = 'pg_type'::regclass AND t.oid = u.objid
                   UNION ALL SELECT xmin FROM pg_proc WHERE u.classid = 'pg_proc'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_constraint WHERE u.classid = 'pg_constraint'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_operator WHERE u.classid = 'pg_operator'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_opclass WHERE u.classid = 'pg_opclass'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_opfamily WHERE u.classid = 'pg_opfamily'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_amop WHERE u.classid = 'pg_opfamily'::regclass AND amopfamily = u.objid
                   UNION ALL SELECT xmin FROM pg_amproc WHERE u.classid = 'pg_opfamily'::regclass AND amprocfamily = u.objid
                   UNION ALL SELECT xmin FROM pg_collation WHERE u.classid = 'pg_collation'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_ts_config WHERE u.classid = 'pg_ts_config'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_ts_config_map WHERE u.classid = 'pg_ts_config'::regclass AND mapcfg = u.objid
                   UNION ALL SELECT xmin FROM pg_ts_dict WHERE u.classid = 'pg_ts_dict'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_ts_parser WHERE u.classid = 'pg_ts_parser'::regclass AND oid = u.objid
                   UNION ALL SELECT xmin FROM pg_ts_template WHERE u.classid = 'pg_ts_template'::regclass AND oid = u.objid
               ) w(xmin) WHERE age(w.xmin) <= 0),
           'domains', (SELECT coalesce(json_agg(t.oid::bigint), '[]'::json)
                       FROM used u JOIN pg_type t ON u.classid = 'pg_type'::regclass AND t.oid = u.objid
                       WHERE t.typtype = 'd'))::text
