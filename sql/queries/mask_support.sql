-- Whether the source has functions for masks, as one word: absent, denied (this user may not call them), or there. The functions must
-- be those of the extension, written in C and a superuser's, as its schema must be, and there must be no others of their names:
-- what else is called could be anybody's.
SELECT CASE WHEN f.functions OPERATOR(pg_catalog.<>) 13 OR f.names OPERATOR(pg_catalog.<>) 13 OR NOT f.are_ours THEN 'absent'
            WHEN f.may_execute THEN 'there'
            ELSE 'denied' END
FROM (
    SELECT pg_catalog.count(*) AS functions, pg_catalog.count(DISTINCT p.proname) AS names,
           pg_catalog.bool_and(owner.rolsuper AND schema_owner.rolsuper AND l.lanname OPERATOR(pg_catalog.=) 'c'
                               AND d.objid IS NOT NULL) AS are_ours,
           pg_catalog.bool_and(pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
                               AND pg_catalog.has_schema_privilege(n.oid, 'USAGE')) AS may_execute
    FROM pg_catalog.pg_namespace n
    JOIN pg_catalog.pg_roles schema_owner ON schema_owner.oid OPERATOR(pg_catalog.=) n.nspowner
    JOIN pg_catalog.pg_proc p
        ON p.pronamespace OPERATOR(pg_catalog.=) n.oid
       AND p.proname OPERATOR(pg_catalog.=) ANY (ARRAY[
           'mask_versions', 'mask_text', 'mask_character', 'mask_uuid', 'mask_hash', 'mask_integer_near', 'mask_integer_between',
           'mask_numeric_near', 'mask_numeric_between', 'mask_date_near', 'mask_date_between', 'mask_timestamp_near',
           'mask_timestamp_between'
       ]::pg_catalog.name[])
    JOIN pg_catalog.pg_roles owner ON owner.oid OPERATOR(pg_catalog.=) p.proowner
    JOIN pg_catalog.pg_language l ON l.oid OPERATOR(pg_catalog.=) p.prolang
    LEFT JOIN pg_catalog.pg_extension e ON e.extname OPERATOR(pg_catalog.=) 'pgcopy'
    LEFT JOIN pg_catalog.pg_depend d
        ON d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_proc'::pg_catalog.regclass AND d.objid OPERATOR(pg_catalog.=) p.oid
       AND d.refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid OPERATOR(pg_catalog.=) e.oid AND d.deptype OPERATOR(pg_catalog.=) 'e'
    WHERE n.nspname OPERATOR(pg_catalog.=) 'pgcopy'
) f
