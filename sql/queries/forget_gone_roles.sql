-- Takes jobs from roles that are gone: they must never be shown to another role that is given the number.
UPDATE pgcopy_internal.job SET role = 0
WHERE job IN (SELECT j.job FROM pgcopy_internal.job j
              WHERE j.role <> 0 AND NOT EXISTS (SELECT FROM pg_roles r WHERE r.oid = j.role)
              FOR UPDATE SKIP LOCKED)
