//! Foreign keys hold for the new rows, and stay what they were.

use crate::harness::{Pair, text};

const SHAPES: &str = "
    CREATE TABLE simple (id int PRIMARY KEY, name text);
    CREATE TABLE composite (a int, b text, PRIMARY KEY (a, b));
    CREATE TABLE tree (id int PRIMARY KEY, parent int REFERENCES tree ON DELETE CASCADE);
    CREATE TABLE egg (id int PRIMARY KEY, hen int);
    CREATE TABLE hen (id int PRIMARY KEY, egg int REFERENCES egg DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE egg ADD FOREIGN KEY (hen) REFERENCES hen ON UPDATE CASCADE DEFERRABLE;
    CREATE TABLE child (
        id int PRIMARY KEY,
        s int REFERENCES simple ON DELETE SET NULL ON UPDATE RESTRICT,
        t bigint,
        a int, b text, c int, d text,
        FOREIGN KEY (a, b) REFERENCES composite MATCH FULL,
        FOREIGN KEY (c, d) REFERENCES composite ON DELETE SET NULL (d),
        CONSTRAINT wider_type FOREIGN KEY (t) REFERENCES simple ON DELETE SET DEFAULT
    );
    CREATE TABLE late (id int PRIMARY KEY, s int);
    ALTER TABLE late ADD CONSTRAINT late_s FOREIGN KEY (s) REFERENCES simple NOT VALID;
    COMMENT ON CONSTRAINT wider_type ON child IS 'int8 to int4';
";

const ROWS: &str = "
    INSERT INTO simple SELECT i, 'n' || i FROM generate_series(1, 100) i;
    INSERT INTO composite SELECT i, 'b' || i FROM generate_series(1, 50) i;
    INSERT INTO tree SELECT i, nullif(i / 2, 0) FROM generate_series(1, 500) i;
    BEGIN; SET CONSTRAINTS ALL DEFERRED;
    INSERT INTO egg SELECT i, i FROM generate_series(1, 20) i;
    INSERT INTO hen SELECT i, 21 - i FROM generate_series(1, 20) i;
    COMMIT;
    INSERT INTO child SELECT i, i, i, i, 'b' || i, CASE WHEN i % 2 = 0 THEN i END, 'b' || i FROM generate_series(1, 50) i;
    INSERT INTO child (id, c) VALUES (51, NULL), (52, 1);
    ALTER TABLE late DISABLE TRIGGER ALL;
    INSERT INTO late SELECT i, i FROM generate_series(90, 110) i;
    ALTER TABLE late ENABLE TRIGGER ALL;
";

#[test]
fn keys_of_every_shape_stay_and_hold() {
    let mut pair = Pair::with("fk_shapes", SHAPES, ROWS);
    let definitions = pair.destination_state().definitions;
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        assert_eq!(pair.destination_state().definitions, definitions);
    }
    // They still work: cascades, refusals, deferred checks.
    pair.destination.batch_execute("DELETE FROM tree WHERE id = 2").unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM tree WHERE parent = 2"), "0");
    assert!(pair.destination.batch_execute("UPDATE simple SET id = 1000 WHERE id = 1").is_err());
    assert!(pair.destination.batch_execute("INSERT INTO hen VALUES (99, 99)").is_err());
    pair.destination.batch_execute("DELETE FROM composite WHERE a = 51").unwrap();
    let checked = pair.notices().into_iter().filter(|notice| notice.contains("; 7 foreign keys checked")).count();
    assert_eq!(checked, 2, "the key that is NOT VALID is not checked");
}

#[test]
fn a_violation_names_the_key_and_a_row() {
    let mut pair = Pair::with(
        "fk_violation",
        "CREATE TABLE parent (id int PRIMARY KEY); CREATE TABLE child (id int PRIMARY KEY, p int)",
        "INSERT INTO parent SELECT generate_series(1, 10); INSERT INTO child SELECT i, i FROM generate_series(1, 11) i",
    );
    pair.destination
        .batch_execute("ALTER TABLE child ADD CONSTRAINT child_p FOREIGN KEY (p) REFERENCES parent; INSERT INTO parent VALUES (42)")
        .unwrap();
    let before = pair.destination_state();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(failure.sqlstate, "23503");
        assert_eq!(failure.message, "insert or update on table \"child\" violates foreign key constraint \"child_p\"");
        assert_eq!(failure.detail, "Key (p)=(11) is not present in table \"parent\".");
        assert_eq!(pair.destination_state(), before);
        pair.assert_nothing_left();
    }
}

#[test]
fn match_full_refuses_half_a_key() {
    let mut pair = Pair::with(
        "fk_match_full",
        "CREATE TABLE parent (a int, b int, PRIMARY KEY (a, b)); CREATE TABLE child (a int, b int)",
        "INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1), (NULL, NULL), (1, NULL)",
    );
    pair.destination.batch_execute("ALTER TABLE child ADD FOREIGN KEY (a, b) REFERENCES parent MATCH FULL").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.detail, "MATCH FULL does not allow mixing of null and nonnull key values.");
    pair.source.batch_execute("DELETE FROM child WHERE b IS NULL AND a IS NOT NULL").unwrap();
    pair.pull("");
    pair.assert_same_content();
}

#[test]
fn tables_outside_of_the_pull_keep_their_references() {
    let mut pair = Pair::with(
        "fk_outside",
        "CREATE TABLE product (id int PRIMARY KEY); CREATE TABLE category (id int PRIMARY KEY);
         CREATE TABLE line (id int PRIMARY KEY, product int REFERENCES product ON DELETE CASCADE);
         CREATE TABLE shelf (id int PRIMARY KEY, category int REFERENCES category)",
        "INSERT INTO product SELECT generate_series(1, 10); INSERT INTO category VALUES (1), (2);
         INSERT INTO shelf VALUES (1, 1), (2, 2)",
    );
    pair.destination
        .batch_execute("INSERT INTO product VALUES (5), (11); INSERT INTO line VALUES (1, 5), (2, 11); INSERT INTO category VALUES (1)")
        .unwrap();
    let before = pair.destination_state();
    for workers in [2, 0] {
        let arguments = format!("include => '{{product}}', overwrite => true, parallel => {workers}");
        let failure = pair.pull_error(&arguments);
        assert_eq!(failure.sqlstate, "23503");
        assert_eq!(
            failure.message,
            "update or delete on table \"product\" violates foreign key constraint \"line_product_fkey\" on table \"line\""
        );
        assert_eq!(failure.detail, "Key (id)=(11) is still referenced from table \"line\".");
        assert_eq!(pair.destination_state(), before, "nothing is cascaded into");
        let failure = pair.pull_error(&format!("include => '{{shelf}}', parallel => {workers}"));
        assert_eq!(failure.detail, "Key (category)=(2) is not present in table \"category\".");
    }
    pair.destination.batch_execute("DELETE FROM line WHERE product = 11; INSERT INTO category VALUES (2)").unwrap();
    pair.pull("include => '{product, shelf}', overwrite => true");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM line"), "1");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM product"), "10");
}

#[test]
fn nobody_slips_a_reference_in_between() {
    // A writer of an outside table waits until the pull has committed, so that the check made in it still holds.
    let mut pair = Pair::with(
        "fk_slip",
        "CREATE TABLE product (id int PRIMARY KEY); CREATE TABLE line (id int, product int REFERENCES product)",
        "INSERT INTO product VALUES (1)",
    );
    pair.destination.batch_execute("INSERT INTO product VALUES (1), (2)").unwrap();
    let sql = pair.pull_sql("include => '{product}', overwrite => true");
    let mut transaction = pair.destination.transaction().unwrap();
    transaction.query(&sql, &[]).unwrap();
    let mut writer = crate::harness::connect(pair.destination_port, &pair.database);
    writer.batch_execute("SET lock_timeout = '200ms'").unwrap();
    let blocked = writer.batch_execute("INSERT INTO line VALUES (1, 2)").unwrap_err();
    assert_eq!(crate::harness::Failure::of(&blocked).sqlstate, "55P03");
    transaction.commit().unwrap();
    let refused = writer.batch_execute("INSERT INTO line VALUES (1, 2)").unwrap_err();
    assert_eq!(crate::harness::Failure::of(&refused).sqlstate, "23503");
}

#[test]
fn partitions_of_a_referenced_table_count_together() {
    let mut pair = Pair::with(
        "fk_partitions",
        "CREATE TABLE product (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE product_1 PARTITION OF product FOR VALUES FROM (0) TO (10);
         CREATE TABLE product_2 PARTITION OF product FOR VALUES FROM (10) TO (20);
         CREATE TABLE line (id int PRIMARY KEY, product int REFERENCES product) PARTITION BY HASH (id);
         CREATE TABLE line_1 PARTITION OF line FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE line_2 PARTITION OF line FOR VALUES WITH (MODULUS 2, REMAINDER 1);",
        "INSERT INTO product SELECT generate_series(0, 19);
         INSERT INTO line SELECT i, i FROM generate_series(0, 19) i",
    );
    let definitions = pair.destination_state().definitions;
    pair.pull("");
    pair.assert_same_content();
    assert_eq!(pair.destination_state().definitions, definitions);
    pair.source.batch_execute("DELETE FROM line WHERE product > 12; DELETE FROM product WHERE id > 12").unwrap();
    let failure = pair.pull_error("include => '{product}', overwrite => true");
    assert_eq!(failure.sqlstate, "23503");
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn integer_keys_of_every_width_and_value() {
    // These take a shortcut: dense and sparse ranges, extremes, NULLs, two columns in one word.
    let mut pair = Pair::with(
        "fk_integers",
        "CREATE TABLE dense (id int PRIMARY KEY); CREATE TABLE sparse (id bigint PRIMARY KEY);
         CREATE TABLE two (a int, b smallint, PRIMARY KEY (a, b)); CREATE TABLE wide (a bigint, b int, PRIMARY KEY (a, b));
         CREATE TABLE ref (id int, d bigint, s bigint, a smallint, b int, wa bigint, wb int)",
        "INSERT INTO dense SELECT generate_series(-1000, 1000);
         INSERT INTO sparse VALUES (-1), (0), (1), (9223372036854775807), (-9223372036854775808), (4294967295), (4294967296);
         INSERT INTO two VALUES (-1, -1), (0, 0), (1, -32768), (2147483647, 32767), (-2147483648, 5);
         INSERT INTO two SELECT i, i FROM generate_series(2, 3000) i;
         INSERT INTO wide SELECT i * 4294967296, i FROM generate_series(1, 100) i;
         INSERT INTO ref (d) VALUES (-1000), (1000), (0), (NULL);
         INSERT INTO ref (s) SELECT id FROM sparse;
         INSERT INTO ref (a, b) VALUES (-1, -1), (NULL, 7), (3000, 3000), (1, -32768);
         INSERT INTO ref (wa, wb) VALUES (4294967296, 1), (NULL, NULL)",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE ref ADD FOREIGN KEY (d) REFERENCES dense, ADD FOREIGN KEY (s) REFERENCES sparse,
                             ADD FOREIGN KEY (a, b) REFERENCES two, ADD FOREIGN KEY (wa, wb) REFERENCES wide MATCH FULL",
        )
        .unwrap();
    pair.pull("parallel => 2");
    pair.assert_same_content();
    let violations = [
        ("d", "1001", "Key (d)=(1001)"),
        ("d", "-9223372036854775808", "Key (d)=(-9223372036854775808)"),
        ("d", "4294967296", "Key (d)=(4294967296)"),
        ("s", "2", "Key (s)=(2)"),
        ("s", "-4294967296", "Key (s)=(-4294967296)"),
        ("a, b", "-1, 65535", "Key (a, b)=(-1, 65535)"),
        ("a, b", "0, -1", "Key (a, b)=(0, -1)"),
        ("wa, wb", "1, NULL", "MATCH FULL"),
        ("wa, wb", "4294967296, 2", "Key (wa, wb)=(4294967296, 2)"),
    ];
    for (columns, values, detail) in violations {
        pair.source.batch_execute(&format!("INSERT INTO ref (id, {columns}) VALUES (99, {values})")).unwrap();
        for workers in [1, 0] {
            let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
            assert_eq!(failure.sqlstate, "23503");
            assert!(failure.detail.starts_with(detail), "{columns} = {values}: {failure:?}");
        }
        pair.source.batch_execute("DELETE FROM ref WHERE id = 99").unwrap();
    }
}

#[test]
fn keys_that_the_source_guarantees_need_no_check() {
    let mut pair = Pair::new("fk_trusted");
    pair.both(
        "CREATE TABLE parent (id int PRIMARY KEY, other int UNIQUE); CREATE TABLE outside (id int PRIMARY KEY);
         CREATE TABLE child (id int PRIMARY KEY, same int REFERENCES parent, missing int, off int REFERENCES parent,
                             elsewhere int, invalid int)",
    );
    pair.destination
        .batch_execute(
            "ALTER TABLE child ADD CONSTRAINT missing FOREIGN KEY (missing) REFERENCES parent,
                               ADD CONSTRAINT elsewhere FOREIGN KEY (elsewhere) REFERENCES outside,
                               ADD CONSTRAINT invalid FOREIGN KEY (invalid) REFERENCES parent (other)",
        )
        .unwrap();
    pair.source
        .batch_execute(
            "INSERT INTO parent VALUES (1, 1); INSERT INTO child VALUES (1, 1, 1, 1, NULL, 1);
             ALTER TABLE child ADD CONSTRAINT invalid FOREIGN KEY (invalid) REFERENCES parent (other) NOT VALID",
        )
        .unwrap();
    pair.pull("overwrite => true, exclude => '{outside}', validate => false");
    let notices = pair.notices().join("\n");
    assert!(notices.contains("3 foreign keys checked, 2 guaranteed by the source"), "{notices}");
    pair.assert_same_content();
    // What the source does not guarantee is checked all the same.
    for broken in ["missing = 7", "elsewhere = 7", "invalid = 7"] {
        pair.source
            .batch_execute(&format!("SET session_replication_role = replica; UPDATE child SET {broken}"))
            .unwrap();
        let failure = pair.pull_error("overwrite => true, exclude => '{outside}', validate => false");
        assert_eq!(failure.sqlstate, "23503", "{broken}");
        pair.source.batch_execute("UPDATE child SET missing = 1, elsewhere = NULL, invalid = 1").unwrap();
    }
    pair.source.batch_execute("UPDATE child SET off = 7; ALTER TABLE child DISABLE TRIGGER ALL").unwrap();
    let failure = pair.pull_error("overwrite => true, exclude => '{outside}', validate => false");
    assert_eq!(failure.sqlstate, "23503", "a source whose triggers are off guarantees nothing");
    pair.assert_nothing_left();
}

#[test]
fn keys_over_values_that_are_compared_otherwise_here_are_checked() {
    let collation = "CREATE COLLATION loose (provider = icu, locale = 'und-u-ks-level2', deterministic = false)";
    let tables = |parent: &str, child: &str| {
        format!(
            "CREATE TABLE parent (id {parent} PRIMARY KEY); CREATE TABLE child (a int, c {child} REFERENCES parent)"
        )
    };
    let computed = |factor: i32| tables("int", &format!("int GENERATED ALWAYS AS (a * {factor}) STORED"));
    let cases = [
        (
            "fk_computed",
            computed(2),
            "INSERT INTO parent SELECT generate_series(2, 20, 2); INSERT INTO child SELECT generate_series(1, 10)",
            computed(3),
        ),
        (
            "fk_collations",
            tables("text COLLATE loose", "text COLLATE loose"),
            "INSERT INTO parent VALUES ('A'); INSERT INTO child VALUES (1, 'a')",
            tables("text", "text"),
        ),
        (
            "fk_zones",
            tables("date", "timestamptz"),
            "SET TimeZone = 'UTC'; INSERT INTO parent VALUES ('2024-01-01'); INSERT INTO child VALUES (1, '2024-01-01 00:00+00')",
            tables("date", "timestamptz"),
        ),
    ];
    for (name, there, rows, here) in cases {
        let mut pair = Pair::new(name);
        pair.both(collation);
        pair.source.batch_execute(&format!("{there}; {rows}")).unwrap();
        pair.destination.batch_execute(&format!("{here}; SET TimeZone = 'Asia/Tokyo'")).unwrap();
        for validate in ["true", "false"] {
            let failure = pair.pull_error(&format!("overwrite => true, validate => {validate}"));
            assert_eq!(failure.sqlstate, "23503", "{name}, {validate}: {failure:?}");
        }
        pair.assert_nothing_left();
    }
}
