-- The definitions of a dump's objects in words that are the same on every server, in the order of the objects; NULL for objects
-- that are not there, and for kinds that are not compared. Both sides are asked.
-- $1: kinds, $2: schemas, $3: names, as in the dump's table of contents
SELECT coalesce(json_agg(CASE
    WHEN w.kind IN ('TABLE', 'FOREIGN TABLE') THEN (
        SELECT concat_ws(E'\n', concat('kind ', c.relkind, ' ', c.relpersistence), 'partition by ' || pg_get_partkeydef(c.oid),
                   (SELECT string_agg(concat_ws(' ', 'column', quote_ident(a.attname), format_type(a.atttypid, a.atttypmod),
                               (SELECT 'collate ' || quote_ident(l.collname) FROM pg_collation l
                                WHERE l.oid = a.attcollation AND l.oid <> t.typcollation),
                               CASE WHEN a.attnotnull THEN 'not null' END, 'identity ' || nullif(a.attidentity::text, ''),
                               'generated ' || nullif(a.attgenerated::text, ''), 'default ' || pg_get_expr(d.adbin, d.adrelid)),
                           E'\n' ORDER BY a.attnum)
                    FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
                    LEFT JOIN pg_attrdef d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
                    WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped),
                   (SELECT string_agg('inherits ' || i.inhparent::regclass::text, E'\n' ORDER BY i.inhseqno)
                    FROM pg_inherits i WHERE i.inhrelid = c.oid AND NOT c.relispartition))
        FROM pg_class c WHERE c.relnamespace = w.namespace AND c.relname = w.name AND c.relkind IN ('r', 'p', 'f'))
    WHEN w.kind IN ('VIEW', 'MATERIALIZED VIEW') THEN (
        SELECT pg_get_viewdef(c.oid) FROM pg_class c
        WHERE c.relnamespace = w.namespace AND c.relname = w.name AND c.relkind = CASE w.kind WHEN 'VIEW' THEN 'v' ELSE 'm' END)
    WHEN w.kind = 'SEQUENCE' THEN (
        SELECT concat_ws(' ', format_type(s.seqtypid, NULL), s.seqstart, s.seqincrement, s.seqmin, s.seqmax, s.seqcache, s.seqcycle)
        FROM pg_class c JOIN pg_sequence s ON s.seqrelid = c.oid WHERE c.relnamespace = w.namespace AND c.relname = w.name)
    WHEN w.kind = 'INDEX' THEN (
        SELECT pg_get_indexdef(c.oid) FROM pg_class c
        WHERE c.relnamespace = w.namespace AND c.relname = w.name AND c.relkind IN ('i', 'I'))
    WHEN w.kind IN ('TYPE', 'DOMAIN') THEN (
        SELECT CASE t.typtype
                   WHEN 'e' THEN (SELECT 'enum ' || string_agg(quote_literal(e.enumlabel), ', ' ORDER BY e.enumsortorder)
                                  FROM pg_enum e WHERE e.enumtypid = t.oid)
                   WHEN 'c' THEN (SELECT 'row ' || string_agg(quote_ident(a.attname) || ' ' || format_type(a.atttypid, a.atttypmod), ', '
                                                              ORDER BY a.attnum)
                                  FROM pg_attribute a WHERE a.attrelid = t.typrelid AND a.attnum > 0 AND NOT a.attisdropped)
                   WHEN 'r' THEN (SELECT 'range of ' || format_type(r.rngsubtype, NULL) FROM pg_range r WHERE r.rngtypid = t.oid)
                   WHEN 'd' THEN concat_ws(' ', format_type(t.typbasetype, t.typtypmod), CASE WHEN t.typnotnull THEN 'not null' END,
                                           'default ' || t.typdefault,
                                           (SELECT string_agg(k.conname || ' ' || pg_get_constraintdef(k.oid), ' ' ORDER BY k.conname)
                                            FROM pg_constraint k WHERE k.contypid = t.oid AND k.contype = 'c')) END
        FROM pg_type t WHERE t.typnamespace = w.namespace AND t.typname = w.name)
    WHEN w.kind IN ('FUNCTION', 'PROCEDURE') THEN (
        SELECT pg_get_functiondef(p.oid) FROM pg_proc p
        WHERE p.pronamespace = w.namespace AND p.prokind IN ('f', 'p', 'w')
          AND w.name = p.proname || '(' || (
              SELECT coalesce(string_agg(format_type(a.type, NULL), ', ' ORDER BY a.number), '')
              FROM unnest(p.proargtypes) WITH ORDINALITY a(type, number)) || ')')
    WHEN w.kind IN ('CONSTRAINT', 'FK CONSTRAINT', 'CHECK CONSTRAINT') THEN (
        SELECT pg_get_constraintdef(k.oid)
        FROM pg_constraint k LEFT JOIN pg_class c ON c.oid = k.conrelid LEFT JOIN pg_type t ON t.oid = k.contypid
        WHERE k.connamespace = w.namespace AND coalesce(c.relname, t.typname) || ' ' || k.conname = w.name)
    WHEN w.kind = 'TRIGGER' THEN (
        SELECT concat(pg_get_triggerdef(g.oid), ' ', g.tgenabled) FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
        WHERE c.relnamespace = w.namespace AND c.relname || ' ' || g.tgname = w.name)
    WHEN w.kind = 'RULE' THEN (
        SELECT pg_get_ruledef(r.oid) FROM pg_rewrite r JOIN pg_class c ON c.oid = r.ev_class
        WHERE c.relnamespace = w.namespace AND c.relname || ' ' || r.rulename = w.name)
    WHEN w.kind = 'POLICY' THEN (
        SELECT concat_ws(' ', p.polcmd, p.polpermissive,
                   (SELECT string_agg(coalesce(a.rolname, 'public'), ',' ORDER BY a.rolname)
                    FROM unnest(p.polroles) o(oid) LEFT JOIN pg_roles a ON a.oid = o.oid),
                   'using ' || pg_get_expr(p.polqual, p.polrelid), 'check ' || pg_get_expr(p.polwithcheck, p.polrelid))
        FROM pg_policy p JOIN pg_class c ON c.oid = p.polrelid
        WHERE c.relnamespace = w.namespace AND c.relname || ' ' || p.polname = w.name)
    WHEN w.kind = 'STATISTICS' THEN (
        SELECT pg_get_statisticsobjdef(s.oid) FROM pg_statistic_ext s WHERE s.stxnamespace = w.namespace AND s.stxname = w.name)
    END ORDER BY w.position), '[]'::json)::text
FROM (
    SELECT u.kind, u.name, u.position, (SELECT n.oid FROM pg_namespace n WHERE n.nspname = u.schema) AS namespace
    FROM unnest($1, $2, $3) WITH ORDINALITY u(kind, schema, name, position)
) w
