//! A load in place leaves every foreign key, and every trigger that enforces one, as it was, down to the OIDs.

use crate::harness::{Failure, Pair, installation, text, texts};

/// Everything that the catalogs say of the foreign keys and the triggers of all tables.
fn keys_and_triggers(pair: &mut Pair) -> Vec<String> {
    texts(
        &mut pair.destination,
        "SELECT concat_ws(' ', 'constraint', to_jsonb(k) - 'conbin', pg_get_constraintdef(k.oid), obj_description(k.oid, 'pg_constraint'))
         FROM pg_constraint k WHERE k.connamespace = 'public'::regnamespace
         UNION ALL
         SELECT concat_ws(' ', 'trigger', to_jsonb(t) - 'tgqual', obj_description(t.oid, 'pg_trigger'))
         FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid WHERE c.relnamespace = 'public'::regnamespace
         UNION ALL
         SELECT concat_ws(' ', 'dependency', to_jsonb(d)) FROM pg_depend d
         WHERE d.classid IN ('pg_constraint'::regclass, 'pg_trigger'::regclass) AND d.objid >= 16384
         ORDER BY 1",
    )
}

/// Pulls with workers and without: the rows are the source's both times, and keys and triggers are as they were.
fn pulls_alike(pair: &mut Pair, tables: &[&str]) {
    let before = keys_and_triggers(pair);
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(keys_and_triggers(pair), before, "with {workers} workers");
        for table in tables {
            let content = format!("SELECT md5(string_agg(t::text, ';' ORDER BY t)) FROM {table} t");
            assert_eq!(text(&mut pair.source, &content), text(&mut pair.destination, &content), "{table}");
        }
        pair.destination.batch_execute("REINDEX SCHEMA public").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn disabled_replica_and_always_triggers_stay() {
    let mut pair = Pair::with(
        "keys_triggers",
        "CREATE TABLE ref (id int PRIMARY KEY); CREATE TABLE pub (id int PRIMARY KEY, r int CONSTRAINT fk REFERENCES ref);
         CREATE TABLE always (id int PRIMARY KEY REFERENCES pub ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
         CREATE TABLE replica (id int PRIMARY KEY REFERENCES always)",
        "INSERT INTO ref VALUES (1), (2); INSERT INTO pub VALUES (1, 1); INSERT INTO always VALUES (1); INSERT INTO replica VALUES (1)",
    );
    pair.destination
        .batch_execute(
            "CREATE PUBLICATION p FOR TABLE pub, always, replica; ALTER TABLE pub DISABLE TRIGGER ALL;
             COMMENT ON CONSTRAINT fk ON pub IS 'not enforced here';
             CREATE FUNCTION loud() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''fired''; END';
             CREATE TRIGGER one BEFORE INSERT OR TRUNCATE ON replica FOR EACH STATEMENT EXECUTE FUNCTION loud();
             CREATE TRIGGER two AFTER INSERT ON replica FOR EACH ROW EXECUTE FUNCTION loud();
             ALTER TABLE replica ENABLE ALWAYS TRIGGER one, ENABLE REPLICA TRIGGER two;
             DO $$DECLARE t record; BEGIN
                 FOR t IN SELECT tgrelid::regclass AS relation, tgname, CASE tgrelid WHEN 'always'::regclass THEN 'ALWAYS' ELSE 'REPLICA' END AS mode
                          FROM pg_trigger WHERE tgisinternal AND tgrelid IN ('always'::regclass, 'replica'::regclass) LOOP
                     EXECUTE format('ALTER TABLE %s ENABLE %s TRIGGER %I', t.relation, t.mode, t.tgname);
                 END LOOP; END$$",
        )
        .unwrap();
    pulls_alike(&mut pair, &["pub", "always", "replica"]);
    // Not enforced before, not enforced now.
    pair.destination.batch_execute("INSERT INTO pub VALUES (10, 77)").unwrap();
    let code = pair.destination.batch_execute("INSERT INTO always VALUES (78)").unwrap_err();
    assert_eq!(code.code().unwrap().code(), "23503");
}

#[test]
fn keys_to_and_from_partitioned_tables_stay_with_all_their_parts() {
    let mut pair = Pair::new("keys_partitioned");
    let tables = "
        CREATE TABLE ref (a int PRIMARY KEY, b int UNIQUE);
        CREATE TABLE pt (id int, k int, r int REFERENCES ref ON DELETE SET NULL, PRIMARY KEY (id, k)) PARTITION BY LIST (k);
        CREATE TABLE lf (id int, k int, CONSTRAINT lu FOREIGN KEY (id, k) REFERENCES pt ON UPDATE CASCADE ON DELETE SET NULL (k));
        CREATE TABLE pf (id int, k int, n int, FOREIGN KEY (id, k) REFERENCES pt MATCH FULL DEFERRABLE) PARTITION BY RANGE (id);
        CREATE TABLE self (id int PRIMARY KEY, up int REFERENCES self) PARTITION BY RANGE (id);";
    pair.both(tables);
    pair.source
        .batch_execute(
            "CREATE TABLE pt1 PARTITION OF pt FOR VALUES IN (1); CREATE TABLE pt2 PARTITION OF pt DEFAULT;
             CREATE TABLE pf1 PARTITION OF pf DEFAULT; CREATE TABLE self1 PARTITION OF self DEFAULT;
             INSERT INTO ref VALUES (1, 2), (3, 4); INSERT INTO pt VALUES (1, 1, 1), (2, 1, 3), (3, 7, NULL); INSERT INTO lf VALUES (1, 1), (3, 7), (4, NULL);
             INSERT INTO pf VALUES (2, 1, 0), (NULL, NULL, 1)",
        )
        .unwrap();
    pair.source.batch_execute("INSERT INTO self VALUES (1, NULL), (2, 3), (3, 1)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE ptd PARTITION OF pt DEFAULT PARTITION BY HASH (id);
             CREATE TABLE ptd0 PARTITION OF ptd FOR VALUES WITH (MODULUS 2, REMAINDER 0); CREATE TABLE ptd1 PARTITION OF ptd FOR VALUES WITH (MODULUS 2, REMAINDER 1);
             CREATE TABLE pf_low PARTITION OF pf FOR VALUES FROM (MINVALUE) TO (2); CREATE TABLE pf_rest PARTITION OF pf DEFAULT;
             CREATE TABLE self_low PARTITION OF self FOR VALUES FROM (MINVALUE) TO (2); CREATE TABLE self_rest PARTITION OF self DEFAULT;
             COMMENT ON CONSTRAINT lu ON lf IS 'of a leaf';
             CREATE TABLE outside (id int, k int, FOREIGN KEY (id, k) REFERENCES pt); INSERT INTO ref VALUES (1, 1);
             INSERT INTO pt VALUES (1, 1, 1); INSERT INTO outside VALUES (1, 1);
             CREATE TABLE unsure (id int, k int); INSERT INTO unsure VALUES (99, 99);
             ALTER TABLE unsure ADD FOREIGN KEY (id, k) REFERENCES pt NOT VALID",
        )
        .unwrap();
    pulls_alike(&mut pair, &["ref", "pt", "lf", "pf", "self"]);
    // They hold for the new rows, those of tables outside of the pull included.
    for (violation, undone) in [
        ("ALTER TABLE lf DROP CONSTRAINT lu; INSERT INTO lf VALUES (5, 5)", "DELETE FROM lf WHERE id = 5"),
        (
            "ALTER TABLE pf DROP CONSTRAINT pf_id_k_fkey; INSERT INTO pf VALUES (1, NULL, 1)",
            "DELETE FROM pf WHERE id = 1",
        ),
        (
            "ALTER TABLE self DROP CONSTRAINT self_up_fkey; INSERT INTO self VALUES (4, 9)",
            "DELETE FROM self WHERE id = 4",
        ),
        ("ALTER TABLE pt DROP CONSTRAINT pt_r_fkey; INSERT INTO pt VALUES (8, 8, 8)", "DELETE FROM pt WHERE id = 8"),
        ("DELETE FROM lf; DELETE FROM pf; DELETE FROM pt WHERE id = 1", "INSERT INTO pt VALUES (1, 1, 1)"),
    ] {
        pair.source.batch_execute(violation).unwrap();
        let before = pair.destination_state();
        for workers in [2, 0] {
            let Err(error) = pair.try_pull(&format!("overwrite => true, parallel => {workers}")) else {
                panic!("succeeded after {violation} with {workers} workers");
            };
            let failure = Failure::of(&error);
            assert_eq!(failure.sqlstate, "23503", "{violation}: {}", failure.message);
        }
        assert_eq!(pair.destination_state(), before, "{violation}");
        pair.source.batch_execute(undone).unwrap();
    }
    pair.pull("overwrite => true");
    pair.assert_nothing_left();
}

#[test]
fn a_published_partition_that_others_reference() {
    let mut pair = Pair::with(
        "keys_leaf",
        "CREATE TABLE pt (id int PRIMARY KEY) PARTITION BY RANGE (id); CREATE TABLE pt_low PARTITION OF pt FOR VALUES FROM (0) TO (10);
         CREATE TABLE pt_high PARTITION OF pt FOR VALUES FROM (10) TO (20); CREATE TABLE lf (id int REFERENCES pt)",
        "INSERT INTO pt VALUES (1), (11); INSERT INTO lf VALUES (1), (11)",
    );
    pair.destination.batch_execute("CREATE PUBLICATION p FOR TABLE pt_low").unwrap();
    pulls_alike(&mut pair, &["pt", "lf"]);
    pair.source.batch_execute("ALTER TABLE lf DROP CONSTRAINT lf_id_fkey; DELETE FROM pt WHERE id = 1").unwrap();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "23503");
    pair.assert_nothing_left();
}

#[test]
fn tables_outside_of_the_pull_keep_their_keys() {
    let mut pair = Pair::with(
        "keys_owner",
        "CREATE TABLE ref (id int PRIMARY KEY); CREATE TABLE lf (id int REFERENCES ref)",
        "INSERT INTO ref VALUES (1), (2)",
    );
    pair.destination
        .batch_execute(
            "INSERT INTO ref VALUES (1); INSERT INTO lf VALUES (1); CREATE PUBLICATION p FOR TABLE ref;
             CREATE FUNCTION refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''event %'', tg_tag; END';
             CREATE EVENT TRIGGER began ON ddl_command_start EXECUTE FUNCTION refuse();
             CREATE EVENT TRIGGER ended ON ddl_command_end EXECUTE FUNCTION refuse()",
        )
        .unwrap();
    let before = keys_and_triggers(&mut pair);
    pair.pull("include => '{ref}', overwrite => true");
    assert_eq!(keys_and_triggers(&mut pair), before);
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ',' ORDER BY id) FROM ref"), "1,2");
    pair.assert_nothing_left();
}

#[test]
fn keys_of_version_18_stay() {
    if installation().version().major() < 18 {
        return;
    }
    let mut pair = Pair::new("keys_18");
    pair.both(
        "CREATE TABLE ref (id int PRIMARY KEY); CREATE TABLE span (id int4range, at daterange, PRIMARY KEY (id, at WITHOUT OVERLAPS));
         CREATE TABLE lax (id int CONSTRAINT lax_fk REFERENCES ref NOT ENFORCED);
         CREATE TABLE within (id int4range, at daterange, FOREIGN KEY (id, PERIOD at) REFERENCES span (id, PERIOD at))",
    );
    pair.source
        .batch_execute(
            "INSERT INTO ref VALUES (1); INSERT INTO lax VALUES (77);
             INSERT INTO span VALUES ('[1,2)', '[2020-01-01,2020-06-01)'), ('[1,2)', '[2020-06-01,2021-01-01)');
             INSERT INTO within VALUES ('[1,2)', '[2020-02-01,2020-12-01)')",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE part (id int) PARTITION BY RANGE (id); CREATE TABLE part1 PARTITION OF part DEFAULT;
             ALTER TABLE part ADD FOREIGN KEY (id) REFERENCES ref NOT VALID;
             CREATE PUBLICATION p FOR TABLE ref, lax, span, within, part1",
        )
        .unwrap();
    pulls_alike(&mut pair, &["ref", "lax", "span", "within"]);
    pair.source.batch_execute("ALTER TABLE within DROP CONSTRAINT within_id_at_fkey; INSERT INTO within VALUES ('[1,2)', '[2020-02-01,2022-12-01)')").unwrap();
    assert_eq!(pair.pull_error("overwrite => true").sqlstate, "23503");
    pair.assert_nothing_left();
}
