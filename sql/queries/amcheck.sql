-- The extension amcheck: its schema and its functions, with whether the current user may call them. NULL where it is not installed.
SELECT coalesce((
    SELECT json_build_object(
               'schema', quote_ident(n.nspname),
               'usage', has_schema_privilege(n.oid, 'USAGE'),
               'functions', (SELECT coalesce(json_agg(json_build_object(
                                        'signature', concat(p.proname, ' ', oidvectortypes(p.proargtypes)),
                                        'name', p.oid::regprocedure::text,
                                        'allowed', has_function_privilege(p.oid, 'EXECUTE'))), '[]'::json)
                             FROM pg_proc p
                             JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
                                             AND d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
                             WHERE p.pronamespace = n.oid))
    FROM pg_extension e JOIN pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = 'amcheck'), 'null'::json)::text
