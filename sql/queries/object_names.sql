-- Names of the source's objects where a dump's table of contents does not tell them in full: relations with line breaks in their
-- names, for which it has blanks, and operators and their classes and families, which may share a name. Of each the OIDs of
-- catalog and object, schema, name, and what an object of the latter kinds is told from others by.
SELECT coalesce(json_agg(json_build_array(o.class, o.oid, n.nspname, o.name, o.identity)), '[]'::json)::text
FROM (
    SELECT 1259::pg_catalog.int8 AS class, c.oid::pg_catalog.int8 AS oid, c.relnamespace AS namespace, c.relname AS name,
           NULL::pg_catalog.text AS identity
    FROM pg_catalog.pg_class c
    WHERE c.oid >= 16384
      AND c.relkind IN ('r', 'p', 'f', 'v', 'm', 'S', 'i', 'I')
      AND EXISTS (SELECT FROM pg_catalog.pg_namespace n
                  WHERE n.oid = c.relnamespace AND concat(n.nspname, c.relname) ~ '[\n\r]')
    UNION ALL
    SELECT 2617, p.oid::pg_catalog.int8, p.oprnamespace, p.oprname, (pg_catalog.pg_identify_object(2617, p.oid, 0)).identity
    FROM pg_catalog.pg_operator p WHERE p.oid >= 16384
    UNION ALL
    SELECT 2616, p.oid::pg_catalog.int8, p.opcnamespace, p.opcname, (pg_catalog.pg_identify_object(2616, p.oid, 0)).identity
    FROM pg_catalog.pg_opclass p WHERE p.oid >= 16384
    UNION ALL
    SELECT 2753, p.oid::pg_catalog.int8, p.opfnamespace, p.opfname, (pg_catalog.pg_identify_object(2753, p.oid, 0)).identity
    FROM pg_catalog.pg_opfamily p WHERE p.oid >= 16384
) o
JOIN pg_catalog.pg_namespace n ON n.oid = o.namespace
