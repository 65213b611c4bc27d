-- A foreign server, as a role would use it.
-- $1 text: its name
-- $2 oid: the role
SELECT coalesce(json_agg(r), '[]'::json)::text
FROM (
    SELECT s.srvname AS name, w.fdwname AS wrapper_name, v.proname AS validator,
           o.rolsuper AS owner_is_superuser,
           has_server_privilege($2, s.oid, 'USAGE') AS usable,
           (SELECT coalesce(json_agg(json_build_array(x.option_name, coalesce(x.option_value, ''))
                                     ORDER BY x.rank), '[]'::json)
            FROM (SELECT 1 AS rank, * FROM pg_options_to_table(w.fdwoptions)
                  UNION ALL SELECT 2, * FROM pg_options_to_table(s.srvoptions)) x) AS options,
           (SELECT (SELECT coalesce(json_agg(json_build_array(x.option_name, coalesce(x.option_value, ''))),
                                    '[]'::json)
                    FROM pg_options_to_table(u.umoptions) x)
            FROM pg_user_mapping u
            WHERE u.umserver = s.oid AND u.umuser IN ($2, 0)
            ORDER BY u.umuser DESC LIMIT 1) AS mapping,
           (SELECT CASE u.umuser WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(u.umuser)) END
            FROM pg_user_mapping u
            WHERE u.umserver = s.oid AND u.umuser IN ($2, 0)
            ORDER BY u.umuser DESC LIMIT 1) AS mapped_as
    FROM pg_foreign_server s
    JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
    JOIN pg_roles o ON o.oid = s.srvowner
    LEFT JOIN pg_proc v ON v.oid = w.fdwvalidator
    WHERE s.srvname = $1
) r
