//! The same type with another length, precision or scale: what fits goes in, the first row that does not is an error.

use crate::harness::{Pair, text};

/// `first` fits as it is; `second` would have to be changed.
fn narrowed(name: &str, from: &str, to: &str, first: &str, second: &str) -> crate::harness::Failure {
    let mut pair = Pair::new(name);
    pair.source
        .batch_execute(&format!(
            "CREATE TABLE item (id int, v {from}); INSERT INTO item VALUES (1, {first}), (2, NULL)"
        ))
        .unwrap();
    pair.destination.batch_execute(&format!("CREATE TABLE item (id int, v {to})")).unwrap();
    for workers in [1, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        let value = format!("SELECT (v = {first}::{to})::text FROM item WHERE id = 1");
        assert_eq!(text(&mut pair.destination, &value), "true", "{from} to {to}");
    }
    let before = pair.destination_state();
    pair.source.batch_execute(&format!("INSERT INTO item VALUES (3, {second})")).unwrap();
    let alone = pair.pull_error("overwrite => true, parallel => 0");
    let failure = pair.pull_error("overwrite => true, parallel => 1");
    assert_eq!(alone, failure);
    assert!(failure.detail.ends_with("Table public.item, row 3, column v."), "{}", failure.detail);
    assert_eq!(pair.destination_state(), before);
    failure
}

#[test]
fn characters() {
    let failure = narrowed("zoo_mod_varchar", "varchar(20)", "varchar(5)", "'ééééé'", "'éééééé'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22001", "value too long for type character varying(5)")
    );
    // COPY would cut trailing spaces off.
    let failure = narrowed("zoo_mod_spaces", "varchar(20)", "varchar(5)", "'abc  '", "'abc   '");
    assert_eq!(failure.message, "value \"abc   \" would be changed by type character varying(5)");
    let failure = narrowed("zoo_mod_texts", "varchar(9)[]", "varchar(5)[]", "'{abc,NULL}'", "'{\"abc   \"}'");
    assert_eq!(failure.sqlstate, "22001");
    let failure = narrowed("zoo_mod_char", "char(10)", "char(3)", "'abc'", "'abcd'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22001", "value too long for type character(3)")
    );
}

#[test]
fn numbers() {
    let failure = narrowed("zoo_mod_numeric", "numeric(12,4)", "numeric(10,2)", "12345678.5000", "0.1234");
    assert_eq!(failure.sqlstate, "22003");
    assert_eq!(failure.message, "value \"0.1234\" would be changed by type numeric(10,2)");
    let failure = narrowed("zoo_mod_digits", "numeric", "numeric(4,2)", "'NaN'", "100");
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22003", "numeric field overflow"));
    let failure = narrowed("zoo_mod_numerics", "numeric[]", "numeric(4,2)[]", "'{1.50,NULL}'", "'{1.5,1.234}'");
    assert_eq!(failure.sqlstate, "22003");
}

#[test]
fn times() {
    let failure =
        narrowed("zoo_mod_timestamp", "timestamp", "timestamp(0)", "'2024-01-01 12:00:01'", "'2024-01-01 12:00:01.5'");
    assert_eq!(failure.sqlstate, "22008");
    assert_eq!(
        failure.message,
        "value \"2024-01-01 12:00:01.5\" would be changed by type timestamp(0) without time zone"
    );
    narrowed("zoo_mod_timestamptz", "timestamptz(6)", "timestamptz(3)", "'infinity'", "'2024-01-01 12:00:01.0005+00'");
    narrowed("zoo_mod_time", "time", "time(2)", "'24:00'", "'12:00:00.001'");
    narrowed("zoo_mod_interval", "interval", "interval(0)", "'1 day 00:00:01'", "'1 day 00:00:01.5'");
    narrowed("zoo_mod_fields", "interval", "interval year to month", "'13 months'", "'1 day'");
}

#[test]
fn bits() {
    let failure = narrowed("zoo_mod_varbit", "varbit(9)", "varbit(3)", "B'101'", "B'1010'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22001", "bit string too long for type bit varying(3)")
    );
    let mut pair = Pair::new("zoo_mod_bit");
    pair.source.batch_execute("CREATE TABLE item (b bit(5)); INSERT INTO item VALUES (NULL), (B'10101')").unwrap();
    pair.destination.batch_execute("CREATE TABLE item (b bit(3))").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.message, "bit string length 5 does not match type bit(3)");
    assert_eq!(failure.detail, "Table public.item, row 2, column b.");
}

#[test]
fn wider_types_take_everything() {
    let mut pair = Pair::new("zoo_mod_wider");
    pair.source
        .batch_execute(
            "CREATE TABLE item (v varchar(5), c char(3), n numeric(10,2), t timestamp(0), i interval(0), b varbit(3), u numeric(10,2));
             INSERT INTO item VALUES ('ééééé', 'ab', 12345678.90, '2024-01-01 00:00:01', '1 day', B'101', 1.5)",
        )
        .unwrap();
    pair.destination
        .batch_execute("CREATE TABLE item (v varchar(50), c char(30), n numeric(20,4), t timestamp(6), i interval, b varbit, u numeric)")
        .unwrap();
    pair.pull("");
    let row = "SELECT concat_ws('|', v, c || '.', n::numeric(10,2), t, i, b, u) FROM item";
    assert_eq!(text(&mut pair.source, row), text(&mut pair.destination, row));
    // Whatever their characters, they have spaces behind them as if they had been inserted.
    pair.both(
        "CREATE TABLE padded (id int PRIMARY KEY, c char(3)); CREATE TABLE texts (id int PRIMARY KEY, c char(3), h macaddr8, n regclass)",
    );
    let rows = "VALUES (1, ''), (2, 'a'), (3, 'éb'), (4, '中文字'), (5, E'\\U0001F600'), (6, ' a'), (7, NULL)";
    for table in ["padded", "texts"] {
        pair.source.batch_execute(&format!("INSERT INTO {table} (id, c) {rows}")).unwrap();
        pair.destination.batch_execute(&format!("ALTER TABLE {table} ALTER c TYPE char(30)")).unwrap();
    }
    pair.pull("overwrite => true");
    for table in ["padded", "texts"] {
        let stored = |length: u32| {
            format!(
                "SELECT string_agg(concat_ws('|', id, convert_to(c::char({length})::text, 'UTF8'), octet_length(c::char({length}))), ';' ORDER BY id) FROM {table}"
            )
        };
        let expected = text(&mut pair.source, &stored(30));
        assert_eq!(text(&mut pair.destination, &stored(30)), expected, "{table}");
        let as_it_is = format!(
            "SELECT string_agg(concat_ws('|', id, convert_to(c::text, 'UTF8'), octet_length(c)), ';' ORDER BY id) FROM {table}"
        );
        assert_eq!(text(&mut pair.destination, &as_it_is), expected, "{table}");
    }
}

#[test]
fn where_copy_itself_loads_what_it_would_round_is_refused_by_the_plan() {
    let mut pair = Pair::new("zoo_mod_in_place");
    pair.source.batch_execute("CREATE TABLE item (id int, n numeric(12,4), v varchar(20))").unwrap();
    pair.destination
        .batch_execute("CREATE TABLE item (id int, n numeric(10,2), v varchar(10)) PARTITION BY RANGE (id)")
        .unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    assert_eq!(
        failure.problems(),
        "public.item: column n is numeric(12,4) on the source and numeric(10,2) on the destination, where COPY would round"
    );
}
