-- Positions of a dump's objects that exist here. Names are those of the dump's table of contents.
-- $1: kinds, $2: schemas, $3: names, $4: what objects that may share a name are told from each other by, or nothing
SELECT coalesce(json_agg(w.position - 1 ORDER BY w.position), '[]')::text
FROM (
    SELECT u.kind, u.name, u.identity, u.position, (SELECT n.oid FROM pg_namespace n WHERE n.nspname = u.schema) AS namespace
    FROM unnest($1, $2, $3, $4) WITH ORDINALITY u(kind, schema, name, identity, position)
) w
WHERE CASE
    WHEN w.kind IN ('TABLE', 'FOREIGN TABLE', 'VIEW', 'MATERIALIZED VIEW', 'SEQUENCE', 'INDEX') THEN
        EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = w.namespace AND c.relname = w.name)
    WHEN w.kind IN ('TABLE ATTACH', 'INDEX ATTACH') THEN
        EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = w.namespace AND c.relname = w.name AND c.relispartition)
    WHEN w.kind = 'ROW SECURITY' THEN
        EXISTS (SELECT FROM pg_class c WHERE c.relnamespace = w.namespace AND c.relname = w.name AND c.relrowsecurity)
    WHEN w.kind = 'DEFAULT' THEN
        EXISTS (SELECT FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
                WHERE c.relnamespace = w.namespace AND c.relname || ' ' || a.attname = w.name)
    WHEN w.kind IN ('TYPE', 'SHELL TYPE', 'DOMAIN') THEN
        EXISTS (SELECT FROM pg_type t WHERE t.typnamespace = w.namespace AND t.typname = w.name)
    WHEN w.kind IN ('FUNCTION', 'PROCEDURE', 'AGGREGATE') THEN
        EXISTS (SELECT FROM pg_proc p
                WHERE p.pronamespace = w.namespace
                  AND w.name IN (p.proname || '(' || (
                          SELECT coalesce(string_agg(format_type(a.type, NULL), ', ' ORDER BY a.number), '')
                          FROM unnest(p.proargtypes) WITH ORDINALITY a(type, number)) || ')',
                      p.proname || '(*)'))
    WHEN w.kind IN ('CONSTRAINT', 'FK CONSTRAINT', 'CHECK CONSTRAINT') THEN
        EXISTS (SELECT FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
                WHERE k.connamespace = w.namespace AND coalesce(c.relname, t.typname) || ' ' || k.conname = w.name)
    WHEN w.kind = 'TRIGGER' THEN
        EXISTS (SELECT FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
                WHERE c.relnamespace = w.namespace AND c.relname || ' ' || g.tgname = w.name)
    WHEN w.kind = 'RULE' THEN
        EXISTS (SELECT FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
                WHERE c.relnamespace = w.namespace AND c.relname || ' ' || r.rulename = w.name)
    WHEN w.kind = 'POLICY' THEN
        EXISTS (SELECT FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
                WHERE c.relnamespace = w.namespace AND c.relname || ' ' || p.polname = w.name)
    WHEN w.kind = 'STATISTICS' THEN
        EXISTS (SELECT FROM pg_statistic_ext s WHERE s.stxnamespace = w.namespace AND s.stxname = w.name)
    WHEN w.kind = 'COLLATION' THEN
        EXISTS (SELECT FROM pg_collation c WHERE c.collnamespace = w.namespace AND c.collname = w.name)
    WHEN w.kind = 'CONVERSION' THEN
        EXISTS (SELECT FROM pg_conversion c WHERE c.connamespace = w.namespace AND c.conname = w.name)
    WHEN w.kind = 'TEXT SEARCH CONFIGURATION' THEN
        EXISTS (SELECT FROM pg_ts_config c WHERE c.cfgnamespace = w.namespace AND c.cfgname = w.name)
    WHEN w.kind = 'TEXT SEARCH DICTIONARY' THEN
        EXISTS (SELECT FROM pg_ts_dict d WHERE d.dictnamespace = w.namespace AND d.dictname = w.name)
    WHEN w.kind = 'TEXT SEARCH PARSER' THEN
        EXISTS (SELECT FROM pg_ts_parser p WHERE p.prsnamespace = w.namespace AND p.prsname = w.name)
    WHEN w.kind = 'TEXT SEARCH TEMPLATE' THEN
        EXISTS (SELECT FROM pg_ts_template t WHERE t.tmplnamespace = w.namespace AND t.tmplname = w.name)
    WHEN w.kind = 'OPERATOR' THEN
        EXISTS (SELECT FROM pg_operator o
                WHERE o.oprnamespace = w.namespace AND o.oprname = w.name
                  AND (pg_identify_object('pg_operator'::regclass, o.oid, 0)).identity = w.identity)
    WHEN w.kind = 'OPERATOR CLASS' THEN
        EXISTS (SELECT FROM pg_opclass o
                WHERE o.opcnamespace = w.namespace AND o.opcname = w.name
                  AND (pg_identify_object('pg_opclass'::regclass, o.oid, 0)).identity = w.identity)
    WHEN w.kind = 'OPERATOR FAMILY' THEN
        EXISTS (SELECT FROM pg_opfamily o
                WHERE o.opfnamespace = w.namespace AND o.opfname = w.name
                  AND (pg_identify_object('pg_opfamily'::regclass, o.oid, 0)).identity = w.identity)
    WHEN w.kind = 'CAST' THEN
        EXISTS (SELECT FROM pg_cast c
                WHERE format('CAST (%s AS %s)', format_type(c.castsource, NULL), format_type(c.casttarget, NULL)) = w.name)
    WHEN w.kind = 'TRANSFORM' THEN
        EXISTS (SELECT FROM pg_transform t JOIN pg_language l ON l.oid = t.trflang
                WHERE format('TRANSFORM FOR %s LANGUAGE %I', format_type(t.trftype, NULL), l.lanname) = w.name)
    WHEN w.kind = 'USER MAPPING' THEN
        EXISTS (SELECT FROM pg_user_mappings u WHERE format('USER MAPPING %s SERVER %s', u.usename, u.srvname) = w.name)
    WHEN w.kind = 'SCHEMA' THEN EXISTS (SELECT FROM pg_namespace n WHERE n.nspname = w.name)
    WHEN w.kind = 'EXTENSION' THEN EXISTS (SELECT FROM pg_extension e WHERE e.extname = w.name)
    WHEN w.kind = 'PROCEDURAL LANGUAGE' THEN EXISTS (SELECT FROM pg_language l WHERE l.lanname = w.name)
    WHEN w.kind = 'FOREIGN DATA WRAPPER' THEN EXISTS (SELECT FROM pg_foreign_data_wrapper f WHERE f.fdwname = w.name)
    WHEN w.kind = 'SERVER' THEN EXISTS (SELECT FROM pg_foreign_server s WHERE s.srvname = w.name)
    WHEN w.kind = 'EVENT TRIGGER' THEN EXISTS (SELECT FROM pg_event_trigger e WHERE e.evtname = w.name)
    WHEN w.kind = 'ACCESS METHOD' THEN EXISTS (SELECT FROM pg_am a WHERE a.amname = w.name)
    WHEN w.kind = 'PUBLICATION' THEN EXISTS (SELECT FROM pg_publication p WHERE p.pubname = w.name)
    WHEN w.kind = 'SUBSCRIPTION' THEN
        EXISTS (SELECT FROM pg_subscription s JOIN pg_database d ON d.oid = s.subdbid
                WHERE d.datname = current_database() AND s.subname = w.name)
    WHEN w.kind = 'PUBLICATION TABLE' THEN
        EXISTS (SELECT FROM pg_publication_rel r JOIN pg_publication p ON p.oid = r.prpubid JOIN pg_class c ON c.oid = r.prrelid
                WHERE c.relnamespace = w.namespace AND p.pubname || ' ' || c.relname = w.name)
    ELSE false
END
