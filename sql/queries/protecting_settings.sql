-- Returns the statements that lift pgcopy.protected in this session: of the settings of the database and the session's role that
-- have it on, or else of the configuration file. No parameters.
SELECT coalesce(
    (SELECT 'RESET pgcopy.protected;' FROM pg_show_all_settings() s WHERE s.name = 'pgcopy.protected' AND s.source = 'session'),
    (SELECT string_agg(
                CASE WHEN d.setrole = 0 THEN format('ALTER DATABASE %I RESET pgcopy.protected;', current_database())
                     WHEN d.setdatabase = 0 THEN format('ALTER ROLE %I RESET pgcopy.protected;', r.rolname)
                     ELSE format('ALTER ROLE %I IN DATABASE %I RESET pgcopy.protected;', r.rolname, current_database()) END,
                ' ' ORDER BY d.setrole, d.setdatabase)
     FROM pg_db_role_setting d LEFT JOIN pg_authid r ON r.oid = d.setrole
     WHERE d.setdatabase IN (0, (SELECT b.oid FROM pg_database b WHERE b.datname = current_database()))
       AND d.setrole IN (0, (SELECT a.oid FROM pg_authid a WHERE a.rolname = session_user))
       AND EXISTS (SELECT FROM unnest(d.setconfig) e WHERE lower(split_part(e, '=', 1)) = 'pgcopy.protected' 
                   AND lower(split_part(e, '=', 2)) NOT IN ('off', 'of', 'false', 'f', 'no', 'n', '0'))),
    'ALTER SYSTEM RESET pgcopy.protected; SELECT pg_reload_conf();')
