-- Whether the source can send rows in frames, as one word: absent (there is no extension pgcopy), old (it has no such function),
-- denied (this user may not call it), or there.
--
-- Functions of these names that are not the extension's are not called: anybody who may create schemas could have made them.
SELECT CASE WHEN e.oid IS NULL THEN 'absent'
            WHEN f.functions OPERATOR(pg_catalog.<>) 2 OR f.members OPERATOR(pg_catalog.<>) 2 THEN 'old'
            WHEN NOT f.may_execute OR NOT pg_catalog.has_schema_privilege(n.oid, 'USAGE') THEN 'denied'
            ELSE 'there' END
FROM (SELECT 'pgcopy'::pg_catalog.name AS name) w
LEFT JOIN pg_catalog.pg_extension e ON e.extname OPERATOR(pg_catalog.=) w.name
LEFT JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) w.name
CROSS JOIN LATERAL (
    SELECT pg_catalog.count(*) AS functions, pg_catalog.count(d.objid) AS members,
           pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')) AS may_execute
    FROM pg_catalog.pg_proc p
    LEFT JOIN pg_catalog.pg_depend d
        ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
       AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
    WHERE p.pronamespace OPERATOR(pg_catalog.=) n.oid
      AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['send_frames', 'wire_versions']::pg_catalog.name[])
) f
