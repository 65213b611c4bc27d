//! A subset that holds together: `follow_keys` takes what the chosen rows refer to, and what refers to them.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, Pair, text, texts};

const KEY: &str = "correct horse battery";

fn pull_through(pair: &mut Pair, dsn: &str, tables: &str, arguments: &str) -> Result<u64, Failure> {
    let sql = format!(
        "SELECT pgcopy.pull($1, tables => $2::text::jsonb, mask_key => $3, follow_keys => true, overwrite => true{arguments})"
    );
    pair.destination.execute(&sql, &[&dsn, &tables, &KEY]).map_err(|error| Failure::of(&error))
}

fn pulled(pair: &mut Pair, tables: &str, arguments: &str) {
    let dsn = pair.dsn();
    pull_through(pair, &dsn, tables, arguments).unwrap_or_else(|failure| panic!("{tables}: {failure:?}"));
}

const FOLLOWING: &str = ", mask_key => 'correct horse battery', follow_keys => true, overwrite => true";

/// Keys to primary and to unique keys, of one column and of two, in circles, to itself, NULL, of partitions, and declared ones.
const SHOP: &str = "
    CREATE TABLE region (id int PRIMARY KEY, name text);
    CREATE TABLE customer (id int PRIMARY KEY, code text UNIQUE, region int REFERENCES region, referrer int REFERENCES customer);
    CREATE TABLE address (id int PRIMARY KEY, customer text REFERENCES customer (code));
    CREATE TABLE product (id int PRIMARY KEY, code varchar(20) UNIQUE, supplier int);
    CREATE TABLE supplier (id int PRIMARY KEY, favourite varchar(20) REFERENCES product (code));
    ALTER TABLE product ADD FOREIGN KEY (supplier) REFERENCES supplier;
    CREATE TABLE stock (product int REFERENCES product, region int REFERENCES region, PRIMARY KEY (product, region));
    CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer, note text);
    CREATE TABLE line (purchase bigint REFERENCES purchase, number smallint, product varchar(20) REFERENCES product (code),
                       PRIMARY KEY (purchase, number));
    CREATE TABLE line_note (id int PRIMARY KEY, purchase int, number int, FOREIGN KEY (purchase, number) REFERENCES line);
    CREATE TABLE shelf (region int, code text, PRIMARY KEY (region, code)) PARTITION BY LIST (region);
    CREATE TABLE shelf_1 PARTITION OF shelf FOR VALUES IN (1); CREATE TABLE shelf_2 PARTITION OF shelf FOR VALUES IN (2, 0);
    CREATE TABLE visit (id int, customer int REFERENCES customer, region int, shelf text, FOREIGN KEY (region, shelf) REFERENCES shelf)
        PARTITION BY HASH (id);
    CREATE TABLE visit_1 PARTITION OF visit FOR VALUES WITH (MODULUS 2, REMAINDER 0);
    CREATE TABLE visit_2 PARTITION OF visit FOR VALUES WITH (MODULUS 2, REMAINDER 1);
    CREATE TABLE attachment (id int PRIMARY KEY, owner_type text, owner int);
    CREATE TABLE setting (name text PRIMARY KEY)";

const ROWS: &str = "
    INSERT INTO region SELECT i, 'region ' || i FROM generate_series(0, 2) i; INSERT INTO region VALUES (9, 'unused');
    INSERT INTO customer SELECT i, 'Secretcode' || i, i % 3, CASE WHEN i > 100 THEN i - 100 END FROM generate_series(1, 400) i;
    INSERT INTO address SELECT i, 'Secretcode' || i % 400 + 1 FROM generate_series(1, 800) i; INSERT INTO address VALUES (0, NULL);
    INSERT INTO product SELECT i, 'p''\\\\\"' || i FROM generate_series(1, 100) i;
    INSERT INTO supplier SELECT i, 'p''\\\\\"' || i + 10 FROM generate_series(1, 50) i;
    UPDATE product SET supplier = id / 2 WHERE id BETWEEN 2 AND 80;
    INSERT INTO stock SELECT i, i % 3 FROM generate_series(1, 100) i;
    INSERT INTO purchase SELECT i, CASE WHEN i % 10 > 0 THEN i % 400 + 1 END, 'Secretnote' || i FROM generate_series(1, 1000) i;
    INSERT INTO line SELECT i, n, CASE n WHEN 1 THEN 'p''\\\\\"' || i % 100 + 1 END FROM generate_series(1, 1000) i, generate_series(1, 2) n;
    INSERT INTO line_note SELECT i, i, 1 FROM generate_series(1, 1000) i; INSERT INTO line_note VALUES (0, NULL, 1);
    INSERT INTO shelf SELECT i % 3, 's' || i FROM generate_series(1, 60) i;
    INSERT INTO visit SELECT i, i % 400 + 1, (i % 60 + 1) % 3, 's' || i % 60 + 1 FROM generate_series(1, 800) i;
    INSERT INTO attachment SELECT i, (ARRAY['purchase', 'customer', 'other'])[1 + i % 3], i FROM generate_series(1, 900) i;
    INSERT INTO setting SELECT 's' || i FROM generate_series(1, 5) i; ANALYZE";

const TABLES: &str = r#"{"purchase": {"where": "id <= 20"}, "attachment": {"references": [
    {"columns": ["owner"], "table": "public.purchase", "to": ["id"], "where": "owner_type = 'purchase'"},
    {"columns": ["owner"], "table": "customer", "to": ["id"], "where": "owner_type = 'customer'"}]}}"#;

/// What is to be taken, in SQL of the source.
const EXPECTED: [(&str, &str); 14] = [
    ("purchase", "id <= 20"),
    ("line", "purchase <= 20"),
    ("line_note", "purchase <= 20"),
    (
        "customer",
        "id IN (WITH RECURSIVE c AS (SELECT customer AS id FROM purchase WHERE id <= 20 UNION SELECT referrer FROM customer JOIN c USING (id)) SELECT id FROM c)",
    ),
    (
        "region",
        "id IN (SELECT region FROM customer WHERE id IN (WITH RECURSIVE c AS (SELECT customer AS id FROM purchase WHERE id <= 20 UNION SELECT referrer FROM customer JOIN c USING (id)) SELECT id FROM c))",
    ),
    (
        "product",
        "code IN (WITH RECURSIVE p AS (SELECT product AS code FROM line WHERE purchase <= 20 UNION SELECT s.favourite FROM product q JOIN p USING (code) JOIN supplier s ON s.id = q.supplier) SELECT code FROM p)",
    ),
    (
        "supplier",
        "id IN (SELECT supplier FROM product WHERE code IN (WITH RECURSIVE p AS (SELECT product AS code FROM line WHERE purchase <= 20 UNION SELECT s.favourite FROM product q JOIN p USING (code) JOIN supplier s ON s.id = q.supplier) SELECT code FROM p))",
    ),
    ("setting", "true"),
    ("address", "customer IN (SELECT code FROM taken_customer)"),
    ("visit", "customer IN (SELECT id FROM taken_customer)"),
    ("shelf", "(region, code) IN (SELECT region, shelf FROM visit WHERE customer IN (SELECT id FROM taken_customer))"),
    ("stock", "product IN (SELECT id FROM taken_product) AND region IN (SELECT id FROM taken_region)"),
    (
        "attachment",
        "owner_type = 'purchase' AND owner <= 20 OR owner_type = 'customer' AND owner IN (SELECT id FROM taken_customer)",
    ),
    (
        "shelf_1",
        "(region, code) IN (SELECT region, shelf FROM visit WHERE customer IN (SELECT id FROM taken_customer))",
    ),
];

fn digest(table: &str, condition: &str) -> String {
    format!(
        "SELECT concat(count(*), ' ', md5(string_agg(t::text, ',' ORDER BY t::text))) FROM {table} t WHERE {condition}"
    )
}

#[test]
fn keys_that_are_arrays_are_refused() {
    let schema =
        "CREATE TABLE tag (k text[] PRIMARY KEY); CREATE TABLE tagged (id int PRIMARY KEY, k text[] REFERENCES tag)";
    let mut pair =
        Pair::with("follow_arrays", schema, "INSERT INTO tag VALUES ('{}'); INSERT INTO tagged VALUES (1, '{}')");
    let failure = pair.pull_error("follow_keys => true, tables => '{\"tagged\": {\"where\": \"true\"}}'");
    assert!(failure.message.contains("column k is an array, and follow_keys cannot ask for such keys"), "{failure:?}");
}

#[test]
fn rows_that_belong_together() {
    let mut pair = Pair::with("follow_all", SHOP, ROWS);
    for (table, condition) in &EXPECTED[3..7] {
        if *table != "supplier" {
            let sql = format!("CREATE TEMP TABLE taken_{table} AS SELECT * FROM {table} WHERE {condition}");
            pair.source.batch_execute(&sql).unwrap();
        }
    }
    for arguments in ["", ", validate => false", ", parallel => 0", ", method => 'in place'"] {
        pulled(&mut pair, TABLES, arguments);
        for (table, condition) in EXPECTED {
            let expected = text(&mut pair.source, &digest(table, condition));
            assert_eq!(text(&mut pair.destination, &digest(table, "true")), expected, "{table}{arguments}");
        }
        assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM purchase"), "20");
    }
    let lines = pair.planned(TABLES, FOLLOWING, "\"table\" || ': ' || array_to_string(warnings, '; ')");
    for line in [
        "purchase: only rows where id <= 20; keys are followed from here; takes 20 rows",
        "line_note: only rows that refer to what is taken of public.line; takes 20 rows",
        "supplier: only rows that are referred to by public.product",
    ] {
        assert!(lines.iter().any(|other| other.starts_with(line)), "{line}: {lines:#?}");
    }
    assert!(lines.iter().any(|line| line == "setting: "), "{lines:#?}");
    pair.assert_nothing_left();
}

#[test]
fn rows_of_a_table_that_refers_to_itself() {
    let mut pair = Pair::with(
        "follow_self",
        "CREATE TABLE employee (id int PRIMARY KEY, manager int REFERENCES employee, twin int UNIQUE, of_twin int REFERENCES employee (twin));
         CREATE TABLE badge (id int PRIMARY KEY, employee int NOT NULL REFERENCES employee, older int REFERENCES badge)",
        "INSERT INTO employee SELECT i, nullif(i / 2, 0), -i, CASE WHEN i % 7 = 0 THEN -i - 1 END FROM generate_series(1, 1000) i;
         INSERT INTO badge SELECT i, 1 + i % 1000, nullif(i - 1, 0) FROM generate_series(1, 1000) i",
    );
    // Those above are taken although the condition is not theirs.
    pulled(&mut pair, r#"{"employee": {"where": "id BETWEEN 700 AND 710"}}"#, ", exclude => '{badge}'");
    let expected = "WITH RECURSIVE e AS (SELECT * FROM employee WHERE id BETWEEN 700 AND 710
                     UNION SELECT f.* FROM e JOIN employee f ON f.id = e.manager OR f.twin = e.of_twin)
         SELECT string_agg(id::text, ' ' ORDER BY id) FROM e";
    let expected = text(&mut pair.source, expected);
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM employee"), expected);
    // Each badge needs all older ones, and these their employees, and so everybody up to the last.
    pulled(&mut pair, r#"{"badge": {"where": "id = 50"}}"#, "");
    assert_eq!(text(&mut pair.destination, "SELECT concat(count(*), ' ', max(id)) FROM badge"), "50 50");
    pulled(&mut pair, r#"{"employee": {"where": "false"}}"#, "");
    assert_eq!(
        text(&mut pair.destination, "SELECT concat((SELECT count(*) FROM badge), (SELECT count(*) FROM employee))"),
        "00"
    );
    pair.assert_nothing_left();
}

/// A key with a NULL in it refers to nothing, whether the others may have values (MATCH SIMPLE) or not (MATCH FULL).
#[test]
fn keys_that_are_null_in_part() {
    let mut pair = Pair::with(
        "follow_null_parts",
        "CREATE TABLE place (a int, b int, x int, y int, PRIMARY KEY (a, b), UNIQUE (x, y));
         CREATE TABLE simple (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES place MATCH SIMPLE);
         CREATE TABLE whole (id int PRIMARY KEY, a int, b int, FOREIGN KEY (a, b) REFERENCES place MATCH FULL);
         CREATE TABLE by_unique (id int PRIMARY KEY, x int, y int, FOREIGN KEY (x, y) REFERENCES place (x, y));
         CREATE TABLE two_keys (id int PRIMARY KEY, a int, b int, x int, y int,
                                FOREIGN KEY (a, b) REFERENCES place MATCH SIMPLE, FOREIGN KEY (x, y) REFERENCES place (x, y));
         CREATE TABLE tree (id int PRIMARY KEY, a int, b int, up_a int, up_b int, UNIQUE (a, b),
                            FOREIGN KEY (up_a, up_b) REFERENCES tree (a, b))",
        "INSERT INTO place SELECT i, i + 1, nullif(i, 3), nullif(i, 4) FROM generate_series(1, 10) i;
         INSERT INTO simple VALUES (1, 1, 2), (2, NULL, 2), (3, 1, NULL), (4, NULL, NULL), (5, 9, 10), (6, 99, NULL);
         INSERT INTO whole VALUES (1, 1, 2), (4, NULL, NULL), (5, 9, 10);
         INSERT INTO by_unique VALUES (1, 1, 1), (2, NULL, 4), (3, 3, NULL), (4, 9, 9);
         INSERT INTO two_keys VALUES (1, 1, 2, 1, 1), (2, NULL, 2, 1, 1), (3, 1, 2, NULL, 9), (4, NULL, NULL, NULL, NULL),
                                     (5, 1, 2, 9, 9), (6, 9, 10, 1, 1), (7, 3, NULL, NULL, 3);
         INSERT INTO tree VALUES (1, 1, NULL, NULL, NULL), (2, 2, 2, NULL, 2), (3, 3, 3, 2, 2), (4, NULL, NULL, 2, NULL), (5, 5, 5, 3, 3)",
    );
    for (tables, expected) in [
        // Those that refer to what is taken: a key without all its values does not.
        (r#"{"place": {"where": "a <= 4"}}"#, ["1 2 3 4", "1", "1", "1", "1 2 3", "1 2 3 4 5"]),
        // What those refer to that are taken themselves.
        (r#"{"simple": {"where": "id <> 5"}}"#, ["1", "1 2 3 4 6", "1", "1", "1 2 3", "1 2 3 4 5"]),
        (r#"{"whole": {"where": "id >= 4"}}"#, ["9", "5", "4 5", "4", "", "1 2 3 4 5"]),
        (r#"{"two_keys": {"where": "id IN (3, 4, 7)"}}"#, ["1", "1", "1", "1", "3 4 7", "1 2 3 4 5"]),
        (
            r#"{"tree": {"where": "id >= 4"}}"#,
            ["1 2 3 4 5 6 7 8 9 10", "1 2 3 4 5 6", "1 4 5", "1 2 3 4", "1 2 3 4 5 6 7", "2 3 4 5"],
        ),
    ] {
        pulled(&mut pair, tables, "");
        let of = ["place", "simple", "whole", "by_unique", "two_keys", "tree"].map(|table| {
            let key = if table == "place" { "a" } else { "id" };
            text(
                &mut pair.destination,
                &format!("SELECT coalesce(string_agg({key}::text, ' ' ORDER BY {key}), '') FROM {table}"),
            )
        });
        assert_eq!(of.each_ref().map(String::as_str), expected, "{tables}");
    }
    pair.assert_nothing_left();
}

/// Where a needed row's own key tells what it refers to, nobody is asked; but a key that is only declared may refer to no row.
#[test]
fn keys_that_tell_what_their_rows_refer_to() {
    let mut pair = Pair::with(
        "follow_told",
        "CREATE TABLE country (id bigint PRIMARY KEY);
         CREATE TABLE shop (country int REFERENCES country, number smallint, PRIMARY KEY (number, country));
         CREATE TABLE till (id int PRIMARY KEY, number smallint, country int, FOREIGN KEY (number, country) REFERENCES shop);
         CREATE TABLE remark (id int PRIMARY KEY, country bigint, number int)",
        "INSERT INTO country SELECT generate_series(1, 50);
         INSERT INTO shop SELECT i, i % 7 FROM generate_series(1, 40) i;
         INSERT INTO till SELECT i, number, country FROM generate_series(1, 100) i JOIN shop ON country = i % 3 + 1;
         INSERT INTO till SELECT 100 + country, number, country FROM shop WHERE country > 3;
         INSERT INTO remark SELECT 10 * country, country, number FROM shop WHERE country IN (30, 31);
         INSERT INTO remark VALUES (1, 5, 99), (2, 45, 1), (3, NULL, 3), (4, 6, NULL)",
    );
    let counts = "SELECT concat((SELECT string_agg(id::text, ' ' ORDER BY id) FROM country), '; ',
        (SELECT string_agg(country::text, ' ' ORDER BY country) FROM shop), '; ', (SELECT count(*) FROM till))";
    pulled(&mut pair, r#"{"till": {"where": "id IN (110, 111)"}, "remark": {"where": "id < 4"}}"#, "");
    assert_eq!(text(&mut pair.destination, counts), "10 11; 10 11; 2");
    let references = r#"{"remark": {"where": "true", "references": [{"columns": ["country", "number"], "table": "shop", "to": ["country", "number"]}]}}"#;
    pulled(&mut pair, references, "");
    let expected = text(&mut pair.source, "SELECT '30 31; 30 31; ' || count(*) FROM till WHERE country IN (30, 31)");
    assert_eq!(text(&mut pair.destination, counts), expected);
    pair.assert_nothing_left();
}

#[test]
fn rows_that_do_not_belong_to_it_do_not_travel() {
    let mut pair = Pair::with("follow_wire", SHOP, ROWS);
    let proxy = Proxy::start(pair.source_port);
    proxy.record();
    let through = proxy.dsn(&pair.database);
    let tables = r#"{"purchase": {"where": "id <= 20", "columns": {"note": {"mask": "hash"}}}}"#;
    pull_through(&mut pair, &through, tables, "").unwrap();
    let wire = proxy.recorded();
    let in_wire = |needle: &str| wire.windows(needle.len()).any(|part| part == needle.as_bytes());
    assert!(in_wire("Secretcode19") && !in_wire("Secretcode399") && !in_wire("unused") && !in_wire("Secretnote"));
}

#[test]
fn what_cannot_be_followed_is_found_before_anything_is_touched() {
    let mut pair = Pair::with("follow_problems", SHOP, ROWS);
    let with_references = |references: &str| {
        format!(r#"{{"purchase": {{"where": "id = 1"}}, "attachment": {{"references": [{references}]}}}}"#)
    };
    for (tables, problem) in [
        (
            r#"{"purchase": {"columns": {"note": {"skip": true}}}}"#.to_owned(),
            "follow_keys needs a table to begin with",
        ),
        (
            r#"{"address": {"where": "id = 1"}, "customer": {"columns": {"code": {"mask": "hash"}}}}"#.to_owned(),
            "customer: column code is masked, and follow_keys would need its values here",
        ),
        (
            with_references(r#"{"columns": ["owner"], "table": "nothing", "to": ["id"]}"#),
            "attachment: references: nothing is not one table of the pull",
        ),
        (
            with_references(r#"{"columns": ["owner"], "table": "customer", "to": ["nothing"]}"#),
            "attachment: references: public.customer has no column nothing",
        ),
        (
            with_references(r#"{"columns": ["owner_type"], "table": "customer", "to": ["id"]}"#),
            "attachment: references: column owner_type is of type text, and id of public.customer is of type integer",
        ),
        (
            with_references(
                r#"{"columns": ["owner"], "table": "customer", "to": ["id"], "where": "owner_tpye = 'a'"}"#,
            ),
            "attachment: references, where: column \"owner_tpye\" does not exist at character 1: owner_tpye = 'a'",
        ),
    ] {
        assert_eq!(pair.planned_problems(&tables, FOLLOWING), [problem]);
    }
    // A query would run code of others.
    pair.source
        .batch_execute(
            "CREATE ROLE other_of_follow; CREATE FUNCTION other(int) RETURNS int IMMUTABLE LANGUAGE sql AS 'SELECT $1';
             ALTER FUNCTION other OWNER TO other_of_follow; CREATE INDEX ON customer (other(id))",
        )
        .unwrap();
    assert_eq!(
        pair.planned_problems(r#"{"purchase": {"where": "id = 1"}}"#, FOLLOWING),
        ["customer: a query over it would run functions of other_of_follow as the user of the source"]
    );
    pair.source.batch_execute("DROP FUNCTION other CASCADE; DROP ROLE other_of_follow").unwrap();
    // An error for a value does not tell the value.
    let dsn = pair.dsn();
    let failure = pull_through(&mut pair, &dsn, r#"{"purchase": {"where": "note::int > 1"}}"#, "").unwrap_err();
    assert_eq!(failure.message, "an expression of tables fails for a value of the source");
    assert!(!format!("{failure:?}").contains("Secretnote"), "{failure:?}");
    assert_eq!(texts(&mut pair.destination, "SELECT id::text FROM purchase"), [] as [&str; 0]);
}

/// Public reports about other tools: several circles among the same tables, two keys of a table to itself, keys to columns that are
/// not the primary key, rows of several kinds, generated columns over masked ones, names in capitals.
#[test]
fn what_others_stumble_over() {
    let mut pair = Pair::with(
        "follow_reports",
        r#"CREATE TABLE a (id int PRIMARY KEY, c int); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
           CREATE TABLE c (id int PRIMARY KEY, b int REFERENCES b, d int); ALTER TABLE a ADD FOREIGN KEY (c) REFERENCES c;
           CREATE TABLE d (id int PRIMARY KEY, e int); CREATE TABLE e (id int PRIMARY KEY, d int REFERENCES d, f int);
           ALTER TABLE d ADD FOREIGN KEY (e) REFERENCES e; ALTER TABLE c ADD FOREIGN KEY (d) REFERENCES d;
           CREATE TABLE f (id int PRIMARY KEY, a int REFERENCES a); ALTER TABLE e ADD FOREIGN KEY (f) REFERENCES f;
           CREATE TABLE post (id int PRIMARY KEY, parent int REFERENCES post, root int REFERENCES post, author text);
           CREATE TABLE "Person" ("Id" int PRIMARY KEY, "First.Name" text, "Tenant" int, "No" int, "Label" text GENERATED ALWAYS AS ('to ' || "First.Name") STORED,
                                  UNIQUE ("Tenant", "No"));
           CREATE TABLE "Badge" (id int PRIMARY KEY, tenant int, number int, FOREIGN KEY (tenant, number) REFERENCES "Person" ("Tenant", "No"));
           CREATE TABLE comment (id int PRIMARY KEY, kind text, target int)"#,
        r#"INSERT INTO a (id) SELECT generate_series(1, 500); INSERT INTO b SELECT i, i * 7 % 500 + 1 FROM generate_series(1, 500) i;
           INSERT INTO f SELECT i, i * 11 % 500 + 1 FROM generate_series(1, 500) i; INSERT INTO d (id) SELECT generate_series(1, 500);
           INSERT INTO e SELECT i, i * 3 % 500 + 1, nullif(i * 13 % 500 + 1, 5) FROM generate_series(1, 500) i;
           INSERT INTO c SELECT i, i * 17 % 500 + 1, CASE WHEN i % 3 = 0 THEN i END FROM generate_series(1, 500) i;
           UPDATE a SET c = CASE WHEN id % 4 > 0 THEN id * 19 % 500 + 1 END; UPDATE d SET e = CASE WHEN id % 5 = 0 THEN id END;
           INSERT INTO post SELECT i, nullif(i / 3, 0), nullif(i / 9, 0), 'author ' || i FROM generate_series(1, 500) i;
           INSERT INTO "Person" SELECT i, 'Secret' || i, i % 7, i FROM generate_series(1, 500) i;
           INSERT INTO "Badge" SELECT i, i % 7, i FROM generate_series(1, 500) i; INSERT INTO "Badge" VALUES (0, 3, NULL);
           INSERT INTO comment SELECT i, CASE i % 3 WHEN 0 THEN 'post' WHEN 1 THEN 'Person' ELSE 'site' END, i FROM generate_series(1, 500) i"#,
    );
    let tables = r#"{"b": {"where": "id <= 3"}, "post": {"where": "id BETWEEN 400 AND 402", "columns": {"author": {"mask": "hash"}}},
         "Person": {"where": "\"Id\" <= 9", "columns": {"First.Name": {"mask": "text"}}},
         "comment": {"references": [{"columns": ["target"], "table": "post", "to": ["id"], "where": "kind = 'post'"},
                                    {"columns": ["target"], "table": "public.\"Person\"", "to": ["Id"], "where": "kind = 'Person'"}]}}"#
        .replace("\"Person\": {\"where\"", "\"\\\"Person\\\"\": {\"where\"");
    pulled(&mut pair, &tables, "");
    for table in ["a", "b", "c", "d", "e", "f"] {
        let count: i64 = text(&mut pair.destination, &format!("SELECT count(*)::text FROM {table}")).parse().unwrap();
        assert!((1..500).contains(&count), "{table}: {count}");
    }
    for (sql, expected) in [
        ("SELECT count(*)::text FROM b WHERE id <= 3", "3"),
        ("SELECT string_agg(id::text, ' ' ORDER BY id) FROM post", "1 4 14 44 133 134 400 401 402"),
        ("SELECT concat(count(*), ' ', min(id), ' ', max(id)) FROM \"Badge\"", "9 1 9"),
        (
            "SELECT count(*)::text FROM \"Person\" WHERE \"Label\" = 'to ' || \"First.Name\" AND \"Label\" NOT LIKE '%Secret%'",
            "9",
        ),
        ("SELECT string_agg(kind || id, ' ' ORDER BY id) FROM comment", "Person1 Person4 Person7 post402"),
    ] {
        let found = text(&mut pair.destination, sql);
        assert_eq!(found, expected, "{sql}");
    }
    pair.assert_nothing_left();
}

/// A key to one partition is none to the others, whose rows may have the same values. A key of one partition counts as one of all, and
/// a declared key can refer to a partitioned table.
#[test]
fn keys_of_single_partitions() {
    let mut pair = Pair::with(
        "follow_partitions",
        "CREATE TABLE owner (id int PRIMARY KEY);
         CREATE TABLE event (id int, owner int, kind int) PARTITION BY LIST (kind);
         CREATE TABLE event_1 PARTITION OF event FOR VALUES IN (1); CREATE TABLE event_2 PARTITION OF event FOR VALUES IN (2);
         ALTER TABLE event_1 ADD PRIMARY KEY (id), ADD FOREIGN KEY (owner) REFERENCES owner; ALTER TABLE event_2 ADD PRIMARY KEY (id);
         CREATE TABLE remark (id int PRIMARY KEY, event int REFERENCES event_1);
         CREATE TABLE loose (id int PRIMARY KEY, event int)",
        "INSERT INTO owner SELECT generate_series(1, 9); INSERT INTO event SELECT i, i, 1 FROM generate_series(1, 9) i;
         INSERT INTO event SELECT i, i + 3, 2 FROM generate_series(5, 12) i; INSERT INTO remark SELECT i, i FROM generate_series(1, 9) i;
         INSERT INTO loose SELECT i, i FROM generate_series(1, 20) i",
    );
    let declared = r#""loose": {"references": [{"columns": ["event"], "table": "public.event", "to": ["id"]}]}"#;
    for (beginning, expected) in [
        (r#""owner": {"where": "id = 8"}"#, ["8", "8", "5", "8", "5 8"]),
        (r#""remark": {"where": "id IN (1, 9)"}"#, ["1 9", "1 9", "", "1 9", "1 9"]),
        // Row 6 of the first partition is not taken, and nothing that refers to it.
        (r#""event_1": {"where": "id = 1"}, "event_2": {"where": "id = 6"}"#, ["1 9", "1", "6", "1", "1 6"]),
    ] {
        pulled(&mut pair, &format!("{{{beginning}, {declared}}}"), "");
        let ids = |table: &str| format!("SELECT coalesce(string_agg(id::text, ' ' ORDER BY id), '') FROM {table}");
        let of =
            ["owner", "event_1", "event_2", "remark", "loose"].map(|table| text(&mut pair.destination, &ids(table)));
        assert_eq!(of.each_ref().map(String::as_str), expected, "{beginning}");
    }
    pair.assert_nothing_left();
}

/// Values of two types refer to each other as the server compares them, whatever texts each is written as.
#[test]
fn keys_of_two_types() {
    const TYPES: [(&str, &str, &str, &str, &str); 6] = [
        ("narrow", "float8", "float4", "'1.1'::float4, 2.5", "'1.1'::float4, 2.5"),
        ("whole", "numeric", "int", "1.0, 2.00", "1, 2"),
        ("padded", "char(5)", "text", "'ab', 'c'", "'ab', 'c  '"),
        ("day", "timestamp", "date", "'2020-01-01', 'infinity'", "'2020-01-01', 'infinity'"),
        ("scaled", "numeric(12,4)", "numeric(10,2)", "1.5, 2", "1.5, 2"),
        ("net", "inet", "cidr", "'10.0.0.0/8', '10.1.0.0/16'", "'10.0.0.0/8', '10.1.0.0/16'"),
    ];
    let mut pair = Pair::new("follow_types");
    for (name, of_parent, of_child, theirs, refer) in TYPES {
        pair.both(&format!(
            "CREATE TABLE p_{name} (k {of_parent} PRIMARY KEY); CREATE TABLE c_{name} (id int PRIMARY KEY, k {of_child} REFERENCES p_{name})"
        ));
        let values = |list: &str, each: &str| format!("unnest(ARRAY[{list}]::{each}[])");
        pair.source
            .batch_execute(&format!(
                "INSERT INTO p_{name} SELECT {}; INSERT INTO c_{name} SELECT row_number() OVER (), k FROM {} k",
                values(theirs, of_parent),
                values(refer, of_child)
            ))
            .unwrap();
        for beginning in ["id = 1", "id <= 2", "false"] {
            let tables = format!("{{\"c_{name}\": {{\"where\": \"{beginning}\"}}}}");
            pulled(&mut pair, &tables, &format!(", include => '{{p_{name}, c_{name}}}'"));
            let expected = format!("SELECT count(*)::text FROM c_{name} WHERE {beginning}");
            let expected = text(&mut pair.source, &expected);
            for table in ["c", "p"] {
                let count = text(&mut pair.destination, &format!("SELECT count(*)::text FROM {table}_{name}"));
                assert_eq!(count, expected, "{table}_{name}: {beginning}");
            }
        }
    }
    pair.assert_nothing_left();
}
