-- The databases of a server that accept connections, without templates.
SELECT coalesce(json_agg(json_build_object(
           'name', d.datname, 'owner', pg_get_userbyid(d.datdba), 'encoding', pg_encoding_to_char(d.encoding),
           'collation', d.datcollate, 'character_type', d.datctype,
           'bytes', CASE WHEN has_database_privilege(d.oid, 'CONNECT') THEN pg_database_size(d.oid) END)
       ORDER BY d.datname), '[]'::json)::text
FROM pg_database d WHERE d.datallowconn AND NOT d.datistemplate
