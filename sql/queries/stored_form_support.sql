-- Whether the source can send rows as they are stored, as one word: absent, denied (this user may not call the functions), or
-- there. The functions must be those of the extension, written in C and a superuser's, as its schema must be: others could send
-- anything.
SELECT CASE WHEN pg_catalog.count(*) OPERATOR(pg_catalog.<>) 2 THEN 'absent'
            WHEN pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
                                     AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) THEN 'there'
            ELSE 'denied' END
FROM pg_catalog.pg_extension e
JOIN pg_catalog.pg_namespace n ON n.nspname OPERATOR(pg_catalog.=) 'pgcopy'
JOIN pg_catalog.pg_roles schema_owner
    ON schema_owner.oid OPERATOR(pg_catalog.=) n.nspowner AND schema_owner.rolsuper
JOIN pg_catalog.pg_proc p
    ON p.pronamespace OPERATOR(pg_catalog.=) n.oid
   AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY['send_stored_frames', 'stored_form']::pg_catalog.name[])
JOIN pg_catalog.pg_roles owner ON owner.oid OPERATOR(pg_catalog.=) p.proowner AND owner.rolsuper
JOIN pg_catalog.pg_language l
    ON l.oid OPERATOR(pg_catalog.=) p.prolang AND l.lanname OPERATOR(pg_catalog.=) 'c'
JOIN pg_catalog.pg_depend d
    ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
   AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
   AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
WHERE e.extname OPERATOR(pg_catalog.=) 'pgcopy'
