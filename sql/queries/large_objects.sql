-- The large objects of the source, with owners, privileges and comments.
SELECT coalesce(json_agg(json_build_object(
           'oid', m.oid::pg_catalog.int8, 'owner', pg_catalog.pg_get_userbyid(m.lomowner),
           'comment', pg_catalog.obj_description(m.oid, 'pg_largeobject'),
           'grants', (SELECT json_agg(json_build_object(
                                 'grantee', CASE a.grantee WHEN 0 THEN NULL ELSE pg_catalog.pg_get_userbyid(a.grantee) END,
                                 'privilege', a.privilege_type, 'is_grantable', a.is_grantable,
                                 'by_owner', a.grantor = m.lomowner)
                                      ORDER BY a.grantee, a.privilege_type)
                      FROM pg_catalog.aclexplode(m.lomacl) a),
           'has_grants', m.lomacl IS NOT NULL) ORDER BY m.oid), '[]'::json)::text
FROM pg_catalog.pg_largeobject_metadata m
