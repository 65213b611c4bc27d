//! What masks make of values: shapes of texts, numbers at the ends of their types, and values that many rows have.

use crate::harness::{Failure, Pair, text};

const KEY: &str = "correct horse battery";

fn pulled(pair: &mut Pair, tables: &str) {
    let sql = "SELECT pgcopy.pull($1, tables => $2::text::jsonb, mask_key => $3, overwrite => true)";
    let dsn = pair.dsn();
    pair.destination
        .execute(sql, &[&dsn, &tables, &KEY])
        .unwrap_or_else(|error| panic!("{tables}: {:?}", Failure::of(&error)));
}

/// The number of rows for which a condition is not true.
fn failing(pair: &mut Pair, condition: &str) -> String {
    text(&mut pair.destination, &format!("SELECT count(*)::text FROM item WHERE NOT coalesce({condition}, false)"))
}

#[test]
fn a_text_keeps_its_length_and_shape() {
    let mut pair = Pair::with(
        "mask_shapes",
        "CREATE TABLE item (id int PRIMARY KEY, was text, t text, phone varchar(2000), padded char(30))",
        "INSERT INTO item SELECT i, v, v, left(v, 2000), left(v, 30) FROM (
             SELECT i, chr(i) AS v FROM generate_series(1, 127) i
             UNION ALL SELECT 200, (SELECT string_agg(chr(i), '' ORDER BY i) FROM generate_series(32, 126) i)
             UNION ALL SELECT 201, 'Stra\u{df}e \u{dc}n\u{ef}, 12 \u{4e2d}\u{6587} \u{1f600}!' UNION ALL SELECT 202, E'a\\tb\\nC\\\\''\"'
             UNION ALL SELECT 300 + i, left(repeat('Word 42, ', 300), i) FROM unnest('{1,7,8,31,32,33,63,64,65,255,256,257,2048,2500}'::int[]) i
             UNION ALL SELECT 9000 + i, left(repeat('Long \u{fc}ber 42, ', 6000), 32767 + i) FROM generate_series(0, 2) i UNION ALL SELECT 9010, repeat('Long 42, ', 12000)) v;
         INSERT INTO item SELECT 10000 + i, 'Secret ' || i, 'Secret ' || i FROM generate_series(1, 2000) i; INSERT INTO item VALUES (0, '', '', '', '')",
    );
    pulled(
        &mut pair,
        r#"{"item": {"columns": {"t": {"mask": "text"}, "phone": {"mask": "phone"}, "padded": {"mask": "text"}}}}"#,
    );
    let shape = |of: &str| {
        format!(
            "regexp_replace(regexp_replace(regexp_replace(regexp_replace({of}, '[^\\x01-\\x7f]', 'a', 'g'), '[0-9]', '9', 'g'), '[A-Z]', 'A', 'g'), '[a-z]', 'a', 'g')"
        )
    };
    for (column, was) in [("t", "was"), ("phone", "left(was, 2000)"), ("padded::text", "left(was, 30)::char(30)::text")]
    {
        let condition = format!("id > 10000 AND '{column}' <> 't' OR {} = {}", shape(column), shape(was));
        assert_eq!(failing(&mut pair, &condition), "0", "{column}");
    }
    // Letters and digits are many, and those of equal texts are the same.
    let letters = "SELECT concat_ws(' ', count(DISTINCT left(t, 1)) > 12, count(DISTINCT right(t, 1)) > 7, count(DISTINCT t) > 1900,
                           count(*) FILTER (WHERE t = was) < 5) FROM item WHERE id > 10000";
    assert_eq!(text(&mut pair.destination, letters), "t t t t");
    pair.source.batch_execute("UPDATE item SET t = 'Equal 12', phone = 'Equal 12' WHERE id > 10000").unwrap();
    pulled(&mut pair, r#"{"item": {"columns": {"t": {"mask": "text"}, "phone": {"mask": "text"}}}}"#);
    let equal = "SELECT concat_ws(' ', count(DISTINCT t), count(DISTINCT phone), min(t) = min(phone)) FROM item WHERE id > 10000";
    assert_eq!(text(&mut pair.destination, equal), "1 1 t");
    pair.assert_nothing_left();
}

#[test]
fn numbers_of_fixed_decimals_stay_within_their_fractions_and_types() {
    let mut pair = Pair::with(
        "mask_units",
        "CREATE TABLE item (id int PRIMARY KEY, was numeric, small smallint, whole int, big bigint, cents numeric(9,2), share numeric(3,3), exact numeric(18,0), ranged numeric(9,2), wide bigint)",
        "INSERT INTO item SELECT i, i - 150, i - 150, i - 150, i - 150, (i - 150) / 100.0, (i - 150) / 1000.0, i - 150, i, i FROM generate_series(1, 300) i;
         INSERT INTO item (id, small, whole, big, exact, cents, share) VALUES
             (1001, 32767, 2147483647, 9223372036854775807, 999999999999999999, 9999999.99, 0.999),
             (1002, -32768, -2147483648, -9223372036854775808, -999999999999999999, -9999999.99, -0.999), (1003, 32766, 2147483646, 9223372036854775806, 1, 'NaN', 0)",
    );
    for jitter in ["0.1", "1", "0.001", "0.5"] {
        let mask = format!(r#"{{"mask": {{"number": {{"jitter": {jitter}}}}}}}"#);
        let tables = format!(
            r#"{{"item": {{"columns": {{"small": {mask}, "whole": {mask}, "big": {mask}, "cents": {mask}, "share": {mask}, "exact": {mask},
                "ranged": {{"mask": {{"number": {{"min": -0.015, "max": 0.02}}}}}}, "wide": {{"mask": {{"number": {{"min": -9223372036854775807, "max": 9223372036854775807}}}}}}}}}}}}"#
        );
        pulled(&mut pair, &tables);
        for (column, unit) in
            [("small", "1"), ("whole", "1"), ("big", "1"), ("exact", "1"), ("cents", "0.01"), ("share", "0.001")]
        {
            let (was, now) = (format!("(was * {unit})"), format!("{column}::numeric"));
            let near = format!(
                "id > 1000 OR {now} <> {was} AND abs({now} - {was}) <= greatest(abs({was}) * {jitter}, {unit})
                 AND sign({now}) = CASE WHEN {was} = 0 THEN 1 ELSE sign({was}) END"
            );
            assert_eq!(failing(&mut pair, &near), "0", "{jitter} {column}");
        }
        // Those at the ends go inwards; what is no number stays that.
        let ends = "SELECT concat_ws(' ', bool_and(small NOT IN (32767, -32768) AND whole NOT IN (2147483647, -2147483648) AND abs(exact) < 999999999999999999
             AND big NOT IN (9223372036854775807, -9223372036854775808) AND abs(share) < 0.999 AND sign(big) = sign(1001.5 - id)), min(cents)::text <> '-9999999.99')
             FROM item WHERE id IN (1001, 1002)";
        assert_eq!(text(&mut pair.destination, ends), "t t", "{jitter}");
        assert_eq!(text(&mut pair.destination, "SELECT cents::text FROM item WHERE id = 1003"), "NaN");
        let ranges = "SELECT concat_ws(' ', min(ranged), max(ranged), count(DISTINCT ranged), count(DISTINCT wide), count(*) FILTER (WHERE wide IS NULL)) FROM item";
        assert_eq!(text(&mut pair.destination, ranges), "-0.01 0.02 4 300 3", "{jitter}");
    }
    pair.assert_nothing_left();
}

/// Where there are many rows, the source computes masks of days and of common values once. They are the same ones.
#[test]
fn values_that_many_rows_have_are_masked_as_others_are() {
    let columns = "(id int PRIMARY KEY, kind char(12), city varchar(20), label text, day date, again date, at timestamp, amount numeric(8,2), free numeric, n int, wide bigint, odd text)";
    let mut pair = Pair::with(
        "mask_common",
        &format!("CREATE TABLE many {columns}; CREATE TABLE few {columns}"),
        "INSERT INTO few SELECT i, (ARRAY['open', 'Closed', 'a ''b'' \\\"', NULL])[1 + i % 4], 'City ' || i % 40, CASE WHEN i % 3 = 0 THEN 'label ' || i ELSE 'common' END,
             '1960-01-01'::date + i * 15, '2049-12-20'::date + i % 30, '2020-01-01'::timestamp + i % 5 * interval '1 hour', i % 20 * 1.25, (i % 6)::numeric(10, 3), i % 9 - 4, i % 3, i::text
             FROM generate_series(1, 3000) i;
         INSERT INTO few (id, day, again, amount) VALUES (-1, 'infinity', '-infinity', 'NaN'), (-2, NULL, NULL, NULL), (-3, '1970-01-01', '2049-12-31', 0), (-4, '1969-12-31', '2050-01-01', 0);
         INSERT INTO many SELECT * FROM few; ANALYZE many, few; UPDATE pg_class SET reltuples = 1e6 WHERE relname = 'many'",
    );
    let tables = r#"{"*": {"columns": {"kind": {"mask": "text"}, "city": {"mask": "name"}, "label": {"mask": "hash"}, "day": {"mask": {"date": {"jitter": 40}}},
        "again": {"mask": {"date": {"min": "2000-01-01", "max": "2000-12-31"}}}, "at": {"mask": "date"}, "amount": {"mask": "number"}, "free": {"mask": "number"},
        "n": {"mask": {"number": {"min": 1, "max": 1000}}}, "wide": {"mask": "hash"}, "odd": {"mask": "text"}}}}"#;
    pulled(&mut pair, tables);
    let digest = |table: &str| format!("SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM {table} t");
    assert_eq!(text(&mut pair.destination, &digest("many")), text(&mut pair.destination, &digest("few")));
    let masked = "SELECT concat_ws(' ', count(DISTINCT kind), count(DISTINCT label) > 1000, count(kind), min(day) < '1970-01-01', max(again) <= '2000-12-31') FROM many";
    assert_eq!(text(&mut pair.destination, masked), "3 t 2250 t t");
    pair.assert_nothing_left();
}

#[test]
fn heirs_of_a_table_with_masks_are_not_forgotten() {
    let mut pair = Pair::new("mask_heirs");
    pair.both(
        "CREATE TABLE person (id int PRIMARY KEY, email text UNIQUE, note text);
         CREATE TABLE staff (badge int) INHERITS (person); CREATE TABLE boss () INHERITS (staff);
         CREATE TABLE guest (email text) INHERITS (person);
         CREATE TABLE login (who text REFERENCES person (email)); CREATE TABLE old_login () INHERITS (login)",
    );
    pair.source
        .batch_execute(
            "INSERT INTO person VALUES (1, 'person@secret.org', 'a'); INSERT INTO staff VALUES (2, 'staff@secret.org', 'b', 5);
             INSERT INTO boss VALUES (3, 'boss@secret.org', 'c', 6); INSERT INTO guest VALUES (4, 'guest@secret.org', 'd');
             INSERT INTO login VALUES ('person@secret.org'); INSERT INTO old_login VALUES ('person@secret.org')",
        )
        .unwrap();
    let arguments = format!(", mask_key => '{KEY}', overwrite => true");
    let mut problems = |tables: &str| {
        let mut problems = pair.planned_problems(tables, &arguments);
        problems.sort();
        problems
    };
    let forgotten = |heir: &str, column: &str, table: &str| {
        format!(
            "{heir}: tables says what becomes of column {column} of public.{table}, but not of this table, which inherits it"
        )
    };
    let email = r#"{"columns": {"email": {"mask": "email"}}}"#;
    assert_eq!(
        problems(&format!(r#"{{"person": {email}}}"#)),
        [
            forgotten("boss", "email", "person"),
            forgotten("guest", "email", "person"),
            forgotten("old_login", "who", "login"),
            forgotten("staff", "email", "person"),
        ]
    );
    for hidden in [r#"{"value": "left(note, 1)"}"#, r#"{"skip": true}"#] {
        let tables = format!(r#"{{"staff": {{"columns": {{"note": {hidden}}}}}}}"#);
        assert_eq!(problems(&tables), [forgotten("boss", "note", "staff")]);
    }
    // A heir that is not pulled, and columns that stay as they are.
    assert!(problems(r#"{"boss": {"columns": {"note": {"skip": true}}}, "login": {"where": "true"}}"#).is_empty());
    let said = format!(
        r#"{{"person": {email}, "staff": {email}, "boss": {email}, "guest": {{"columns": {{"email": {{"skip": false}}}}}},
            "old_login": {{"columns": {{"who": {{"mask": "email"}}}}}}}}"#
    );
    assert!(problems(&said).is_empty());
    pulled(&mut pair, &said);
    let left = "SELECT string_agg(tableoid::regclass || ' ' || note, ', ' ORDER BY note) FROM person WHERE email LIKE '%secret%'";
    assert_eq!(text(&mut pair.destination, left), "guest d");
    let joined = "SELECT count(*)::text FROM ONLY person p JOIN old_login o ON o.who = p.email JOIN ONLY login l ON l.who = p.email";
    assert_eq!(text(&mut pair.destination, joined), "1");
}
