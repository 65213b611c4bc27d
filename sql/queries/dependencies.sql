-- What the objects of a database depend on: catalog and OID of both, and whether the first is a part of the second that a
-- definition of the second contains. 1247, 1259, 2604, 2606, 2618 and 3079 are pg_type, pg_class,
-- pg_attrdef, pg_constraint, pg_rewrite and pg_extension; 16384 is FirstNormalObjectId.
SELECT coalesce(json_agg(json_build_array(d.classid::pg_catalog.int8, d.objid::pg_catalog.int8, d.refclassid::pg_catalog.int8,
                                          d.refobjid::pg_catalog.int8, d.is_part)), '[]'::json)::text
FROM (
    SELECT DISTINCT d.classid, d.objid, d.refclassid, d.refobjid,
           d.deptype IN ('a', 'i') AND (d.classid IN (2604, 2618, 1247) OR coalesce(k.contype = 'c', false)
                                     OR (d.classid = 1259 AND d.refclassid = 1247)) AS is_part
    FROM pg_catalog.pg_depend d
    LEFT JOIN pg_catalog.pg_constraint k ON d.classid = 2606 AND k.oid = d.objid
    WHERE d.objid >= 16384 AND (d.refobjid >= 16384 OR d.refclassid = 3079)
      AND (d.classid, d.objid) <> (d.refclassid, d.refobjid)
) d
