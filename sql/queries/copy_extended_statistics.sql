-- Makes copies of extended statistics for a stage table.
-- $1 bigint: the job
-- $2 oid: the stage table
-- $3 oid[]: the statistics
WITH copied AS MATERIALIZED (
    SELECT s.*, pg_nextoid('pg_statistic_ext', 'oid', 'pg_statistic_ext_oid_index') AS copy
    FROM pg_statistic_ext s WHERE s.oid = ANY ($3)
), made AS (
    INSERT INTO pg_statistic_ext (oid, stxrelid, stxname, stxnamespace, stxowner, stxstattarget, stxkeys,
                                  stxkind, stxexprs)
    SELECT s.copy, $2, format('job_%s_statistics_%s', $1, s.oid), 'pgcopy_stage'::regnamespace, s.stxowner,
           s.stxstattarget, s.stxkeys, s.stxkind, s.stxexprs
    FROM copied s
)
INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
SELECT d.classid, s.copy, d.objsubid, d.refclassid,
       CASE WHEN d.refclassid = 'pg_class'::regclass AND d.refobjid = s.stxrelid THEN $2 ELSE d.refobjid END,
       d.refobjsubid, d.deptype
FROM copied s JOIN pg_depend d ON d.classid = 'pg_statistic_ext'::regclass AND d.objid = s.oid
WHERE d.deptype IN ('n', 'a') AND d.refclassid <> 'pg_namespace'::regclass
