-- Whether a role may cancel a job; null where there is no such job for it.
-- $1 bigint: the job
-- $2 oid: the role
SELECT coalesce((
    SELECT to_json(c.rolsuper OR NOT coalesce(r.rolsuper, false))
    FROM pg_roles c, pgcopy_internal.job j LEFT JOIN pg_roles r ON r.oid = j.role
    WHERE c.oid = $2 AND j.job = $1
      AND (pg_has_role(c.oid, j.role, 'USAGE') OR pg_has_role(c.oid, 'pg_signal_backend', 'USAGE'))
), 'null')::text
