-- Those of some relations that are sequences which no column owns, and which none of some tables uses in a default.
-- $1 oid[]: the relations
-- $2 oid[]: the tables
SELECT coalesce(json_agg(c.oid::bigint ORDER BY c.oid), '[]'::json)::text
FROM pg_class c
WHERE c.oid = ANY ($1) AND c.relkind = 'S'
  AND NOT EXISTS (SELECT FROM pg_depend d
                  WHERE d.classid = 'pg_class'::regclass AND d.objid = c.oid AND d.refclassid = 'pg_class'::regclass
                    AND d.refobjsubid > 0 AND d.deptype IN ('a', 'i'))
  AND NOT EXISTS (SELECT FROM pg_depend d JOIN pg_attrdef f ON f.oid = d.objid
                  WHERE d.classid = 'pg_attrdef'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid = c.oid
                    AND f.adrelid = ANY ($2))
