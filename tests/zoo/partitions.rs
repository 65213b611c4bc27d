//! Partitioned tables: leaf by leaf where both sides divide them alike, through the parent where not.

use super::{has_icu, plan, pulls_alike};
use crate::harness::{Failure, Pair, text, texts};

/// The content of a partitioned table and where its rows are.
fn content(table: &str) -> String {
    format!("SELECT md5(string_agg(t::text, ';' ORDER BY t::text)) FROM {table} t")
}

#[test]
fn list_range_hash_and_several_levels() {
    let mut pair = Pair::new("zoo_partitions");
    pair.both(
        "CREATE TABLE by_list (id int, kind text COLLATE \"C\") PARTITION BY LIST (kind);
         CREATE TABLE by_list_a PARTITION OF by_list FOR VALUES IN ('a', 'b', NULL); CREATE TABLE by_list_rest PARTITION OF by_list DEFAULT;
         CREATE TABLE by_range (id int, at timestamptz, note text) PARTITION BY RANGE (at, id);
         CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES FROM (MINVALUE, MINVALUE) TO ('2024-01-01 00:00+00', 100);
         CREATE TABLE by_range_2 (note text, gone int, id int, at timestamptz); ALTER TABLE by_range_2 DROP gone;
         ALTER TABLE by_range ATTACH PARTITION by_range_2 FOR VALUES FROM ('2024-01-01 00:00+00', 100) TO (MAXVALUE, MAXVALUE);
         CREATE TABLE by_hash (id int PRIMARY KEY, t text) PARTITION BY HASH (id);
         CREATE TABLE by_hash_0 PARTITION OF by_hash FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE by_hash_1 PARTITION OF by_hash FOR VALUES WITH (MODULUS 4, REMAINDER 1);
         CREATE UNLOGGED TABLE by_hash_3 PARTITION OF by_hash FOR VALUES WITH (MODULUS 4, REMAINDER 3);
         CREATE TABLE deep (id int, day date, kind text) PARTITION BY RANGE (day);
         CREATE TABLE deep_1 PARTITION OF deep FOR VALUES FROM ('2024-01-01') TO ('2025-01-01') PARTITION BY LIST (lower(kind));
         CREATE TABLE deep_1_a PARTITION OF deep_1 FOR VALUES IN ('a') PARTITION BY HASH (id);
         CREATE TABLE deep_1_a_0 PARTITION OF deep_1_a FOR VALUES WITH (MODULUS 1, REMAINDER 0);
         CREATE TABLE deep_1_rest PARTITION OF deep_1 DEFAULT; CREATE TABLE deep_rest PARTITION OF deep DEFAULT;
         CREATE INDEX ON deep (day, kind); CREATE TABLE none_yet (id int) PARTITION BY RANGE (id)",
    );
    pair.source
        .batch_execute(
            "INSERT INTO by_list SELECT i, (ARRAY['a', 'b', 'c', NULL])[1 + i % 4] FROM generate_series(1, 400) i;
             INSERT INTO by_range SELECT i, '2023-12-31 00:00+00'::timestamptz + i * interval '1 h', 'n' FROM generate_series(1, 500) i;
             INSERT INTO by_hash SELECT i, 't' FROM generate_series(1, 1000) i;
             INSERT INTO deep SELECT i, '2023-12-01'::date + i, (ARRAY['A', 'a', 'b'])[1 + i % 3] FROM generate_series(1, 600) i",
        )
        .unwrap();
    pulls_alike(&mut pair);
    assert!(plan(&mut pair).iter().all(|line| line.ends_with(" swap binary")), "{:?}", plan(&mut pair));
    for table in ["by_list", "by_range", "by_hash", "deep"] {
        assert_eq!(text(&mut pair.source, &content(table)), text(&mut pair.destination, &content(table)), "{table}");
    }
    // Rows are where their partitions' bounds want them.
    pair.destination
        .batch_execute("ALTER TABLE by_hash DETACH PARTITION by_hash_1; ALTER TABLE by_hash ATTACH PARTITION by_hash_1 FOR VALUES WITH (MODULUS 4, REMAINDER 1)")
        .unwrap();
}

/// Bounds are the same values whatever the settings are that each side writes them by.
#[test]
fn bounds_are_compared_whatever_the_settings_of_either_side() {
    let mut pair = Pair::new("zoo_bound_settings");
    let settings = |owner: &str, values: [&str; 6]| {
        ["timezone", "datestyle", "intervalstyle", "bytea_output", "extra_float_digits", "quote_all_identifiers"]
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{owner} SET {name} = {value};"))
            .collect::<String>()
    };
    let of_database = "ALTER DATABASE zoo_bound_settings";
    let of_role = "ALTER ROLE postgres IN DATABASE zoo_bound_settings";
    let there = ["'Asia/Kolkata'", "'German, DMY'", "sql_standard", "escape", "0", "on"];
    let here = ["'Europe/Berlin'", "'SQL, DMY'", "iso_8601", "escape", "-15", "off"];
    pair.source.batch_execute(&settings(of_database, there)).unwrap();
    pair.destination.batch_execute(&settings(of_database, here)).unwrap();
    pair.destination
        .batch_execute(&settings(of_role, here.map(|value| if value == "off" { "on" } else { value })))
        .unwrap();
    pair.both(
        "SET timezone = 'UTC'; SET datestyle = 'ISO, MDY';
         CREATE TABLE by_moment (at timestamptz, v int) PARTITION BY RANGE (at);
         CREATE TABLE by_moment_1 PARTITION OF by_moment FOR VALUES FROM ('2020-01-01 00:00+00') TO ('2020-06-01 00:00+00');
         CREATE TABLE by_day (day date, t timestamp) PARTITION BY RANGE (day, t);
         CREATE TABLE by_day_1 PARTITION OF by_day FOR VALUES FROM ('2020-02-03', '2020-02-03 04:05') TO ('2020-05-04', MAXVALUE);
         CREATE TABLE by_span (span interval) PARTITION BY LIST (span);
         CREATE TABLE by_span_1 PARTITION OF by_span FOR VALUES IN ('1 year 2 mons', '-1 day 02:03:04');
         CREATE TABLE by_bytes (b bytea) PARTITION BY LIST (b);
         CREATE TABLE by_bytes_1 PARTITION OF by_bytes FOR VALUES IN ('\\x00ff41');
         CREATE TABLE by_float (f float8, g float4) PARTITION BY RANGE (f, g);
         CREATE TABLE by_float_1 PARTITION OF by_float FOR VALUES FROM (0.1, 0.2) TO (0.30000000000000004, 1.1);
         CREATE TABLE by_money (m money) PARTITION BY RANGE (m);
         CREATE TABLE by_money_1 PARTITION OF by_money FOR VALUES FROM ('1.00') TO ('1000.00');
         CREATE TABLE by_range (r tstzrange, a timestamptz[]) PARTITION BY LIST (r);
         CREATE TABLE by_range_1 PARTITION OF by_range FOR VALUES IN ('[2020-01-01 00:00+00,2020-01-02 00:00+00)');
         CREATE TABLE \"by mixed\" (\"Day\" date, kind text) PARTITION BY LIST (lower(kind));
         CREATE TABLE \"by mixed 1\" PARTITION OF \"by mixed\" FOR VALUES IN ('a')",
    );
    pair.source
        .batch_execute(
            "INSERT INTO by_moment SELECT '2020-01-01 00:00+00'::timestamptz + i * interval '1 hour', i FROM generate_series(0, 99) i;
             INSERT INTO by_day VALUES ('2020-02-03', '2020-02-03 05:00'), ('2020-03-04', '2020-03-04');
             INSERT INTO by_span VALUES ('1 year 2 mons'), ('-1 day 02:03:04');
             INSERT INTO by_bytes VALUES ('\\x00ff41'); INSERT INTO by_float VALUES (0.2, 0.3); INSERT INTO by_money VALUES ('2.50');
             INSERT INTO by_range VALUES ('[2020-01-01 00:00+00,2020-01-02 00:00+00)', '{2020-01-01 00:00+00}');
             INSERT INTO \"by mixed\" VALUES ('2020-05-06', 'A')",
        )
        .unwrap();
    // The sessions of the extension's processes, and this one, begin with what the database and the role say.
    pair.destination = pair.another_destination_session();
    for session in [
        "",
        "SET timezone = 'Pacific/Chatham'; SET datestyle = 'Postgres, YMD'; SET intervalstyle = 'postgres_verbose'",
    ] {
        pair.destination.batch_execute(session).unwrap();
        let plan = plan(&mut pair);
        assert_eq!(plan.len(), 8, "{plan:?}");
        assert!(plan.iter().all(|line| line.ends_with(" swap binary")), "{session}: {plan:?}");
        for workers in [2, 0] {
            pair.pull(&format!("overwrite => true, parallel => {workers}"));
            pair.pull(&format!("include => '{{by_moment_1,by_day_1}}', overwrite => true, parallel => {workers}"));
            let (mut there, mut here) = (pair.another_source_session(), pair.another_destination_session());
            for side in [&mut there, &mut here] {
                side.batch_execute("RESET ALL; SET timezone = 'UTC'; SET datestyle = 'ISO'; SET intervalstyle = 'postgres'; SET extra_float_digits = 1; SET bytea_output = 'hex'").unwrap();
            }
            for table in
                ["by_moment", "by_day", "by_span", "by_bytes", "by_float", "by_money", "by_range", "\"by mixed\""]
            {
                assert_eq!(text(&mut there, &content(table)), text(&mut here, &content(table)), "{table}");
            }
        }
    }
}

#[test]
fn the_hash_of_an_enum_is_every_servers_own() {
    let mut pair = Pair::new("zoo_hash_enum");
    pair.source.batch_execute("CREATE TYPE before AS ENUM ('x', 'y', 'z')").unwrap();
    pair.both(
        "CREATE TYPE mood AS ENUM ('a', 'b', 'c', 'd', 'e', 'f');
         CREATE TABLE item (id int, m mood) PARTITION BY HASH (m);
         CREATE TABLE item_0 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE item_1 PARTITION OF item FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
    );
    pair.source
        .batch_execute("INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 6] FROM generate_series(1, 600) i")
        .unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
    }
    // The labels' hashes are others here, and every row is where they want it.
    let misplaced = "SELECT count(*)::text FROM item
                     WHERE NOT satisfies_hash_partition('item'::regclass, 2, CASE tableoid WHEN 'item_1'::regclass THEN 1 ELSE 0 END, m)";
    assert_eq!(text(&mut pair.destination, misplaced), "0");
    // So it is for what holds enums.
    pair.both(
        "CREATE TABLE deep (ms mood[]) PARTITION BY HASH (ms); CREATE TABLE deep_0 PARTITION OF deep FOR VALUES WITH (MODULUS 1, REMAINDER 0)",
    );
    assert_eq!(plan(&mut pair), ["deep in place binary", "item in place binary"]);
}

#[test]
fn ranges_of_an_enum_in_another_order() {
    let mut pair = Pair::new("zoo_range_enum");
    let table = "CREATE TABLE item (id int, m mood) PARTITION BY RANGE (m);
                 CREATE TABLE item_0 PARTITION OF item FOR VALUES FROM (MINVALUE) TO ('b');
                 CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('b') TO (MAXVALUE)";
    pair.source.batch_execute(&format!("CREATE TYPE mood AS ENUM ('a', 'b', 'c'); {table}")).unwrap();
    pair.destination.batch_execute(&format!("CREATE TYPE mood AS ENUM ('c', 'b', 'a'); {table}")).unwrap();
    pair.source
        .batch_execute("INSERT INTO item SELECT i, (enum_range(NULL::mood))[1 + i % 3] FROM generate_series(1, 300) i")
        .unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("");
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(DISTINCT m::text, '') FROM item_0"), "c");
    assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
}

#[test]
fn ranges_of_texts_in_another_collation() {
    let mut pair = Pair::new("zoo_range_collation");
    if !has_icu(&mut pair) {
        return;
    }
    let table = |collation: &str| {
        format!(
            "CREATE COLLATION own (PROVIDER = icu, LOCALE = '{collation}');
             CREATE TABLE item (m text COLLATE own) PARTITION BY RANGE (m);
             CREATE TABLE item_0 PARTITION OF item FOR VALUES FROM (MINVALUE) TO ('ö');
             CREATE TABLE item_1 PARTITION OF item FOR VALUES FROM ('ö') TO (MAXVALUE)"
        )
    };
    pair.source.batch_execute(&table("de")).unwrap();
    pair.destination.batch_execute(&table("sv")).unwrap();
    pair.source.batch_execute("INSERT INTO item VALUES ('a'), ('p'), ('z'), ('ö'), ('ä')").unwrap();
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("");
    // In Swedish ö comes last.
    assert_eq!(text(&mut pair.source, "SELECT count(*)::text FROM item_0"), "2");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item_0"), "4");
    assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
}

const NOWHERE: &str = "CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere;";

/// A partitioned table with a partition on each side for each of these kinds: `t` for a table, `f` for a foreign table and
/// a space for none. All that hold rows get some at the source.
fn with_foreign_partitions(name: &str, there: &str, here: &str) -> Pair {
    let mut pair = Pair::new(name);
    pair.both(&format!(
        "{NOWHERE} CREATE TABLE other (id int); CREATE FOREIGN TABLE outside (id int) SERVER nowhere;
         CREATE TABLE item (id int) PARTITION BY RANGE (id)"
    ));
    for (client, kinds) in [(&mut pair.source, there), (&mut pair.destination, here)] {
        for (number, kind) in kinds.chars().enumerate() {
            let (from, to) = (number * 10, number * 10 + 10);
            let (foreign, server) = match kind {
                't' => ("", ""),
                'f' => ("FOREIGN", "SERVER nowhere"),
                _ => continue,
            };
            client
                .batch_execute(&format!(
                    "CREATE {foreign} TABLE item_{number} PARTITION OF item FOR VALUES FROM ({from}) TO ({to}) {server}"
                ))
                .unwrap();
        }
    }
    pair.source.batch_execute("INSERT INTO other VALUES (1)").unwrap();
    for number in there.chars().enumerate().filter(|&(_, kind)| kind == 't').map(|(number, _)| number) {
        pair.source
            .batch_execute(&format!("INSERT INTO item_{number} VALUES ({number}1), ({number}2)").replace("(0", "("))
            .unwrap();
    }
    pair
}

/// Where foreign partitions stand in the way of nothing: what is pulled and what is told.
#[test]
fn foreign_partitions_are_passed_over_unless_named() {
    for (number, (there, here, pulled, left_out)) in [
        ("tf", "t ", "item_0", "not tables on both sides, left out: public.item_1"),
        ("tf", "tf", "item_0", "not tables on both sides, left out: public.item_1"),
        ("tf", "tt", "item_0", "not tables on both sides, left out: public.item_1"),
        ("tt", "tf", "item_0", "not tables on both sides, left out: public.item_1"),
        ("t ", "tf", "item_0", "not tables on both sides, left out: public.item_1"),
        ("fft", "fft", "item_2", "not tables on both sides, left out: public.item_0, public.item_1"),
        ("ff", "ff", "", "not tables on both sides, left out: public.item_0, public.item_1"),
        // Whether the destination has them elsewhere or not at all: read through the source they are of another instant.
        ("tft", "t f", "item_0", "not tables on both sides, left out: public.item_1, public.item_2"),
        ("tft", "tt", "", "public.item is left out"),
        ("t t", "tf", "", "public.item is left out"),
    ]
    .into_iter()
    .enumerate()
    {
        let mut pair = with_foreign_partitions(&format!("zoo_foreign_partition_{number}"), there, here);
        let expected: Vec<String> = [pulled, "other"]
            .iter()
            .filter(|name| !name.is_empty())
            .map(|name| format!("{name} swap binary"))
            .collect();
        assert_eq!(plan(&mut pair), expected, "{there} {here}");
        for arguments in ["", "include => '{public.*}'"] {
            pair.notices();
            pair.pull(&format!("{arguments}{}overwrite => true", if arguments.is_empty() { "" } else { ", " }));
            let notices = pair.notices();
            assert!(notices.iter().any(|notice| notice.starts_with(left_out)), "{there} {here}: {notices:?}");
        }
        for table in [pulled, "other"].iter().filter(|name| !name.is_empty()) {
            assert_eq!(text(&mut pair.source, &content(table)), text(&mut pair.destination, &content(table)));
        }
    }
}

#[test]
fn a_foreign_partition_that_is_named_is_refused_with_the_way_out() {
    let mut pair = with_foreign_partitions("zoo_foreign_named", "tft", "tft");
    for include in ["item", "item_1", "item,item_1", "public.*,item_1"] {
        let failure = pair.pull_error(&format!("include => '{{{include}}}', overwrite => true"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.problems().as_str()),
            ("42809", "public.item_1: is a foreign table on the source, not a table"),
            "{include}"
        );
        assert_eq!(
            failure.hint, "Leave tables out with exclude or on_mismatch => 'skip', or make both sides alike.",
            "{include}"
        );
    }
    for arguments in
        ["exclude => '{item_1}'", "include => '{item}', exclude => '{item_1}'", "include => '{item_0,item_2}'"]
    {
        pair.pull(&format!("{arguments}, overwrite => true"));
        for table in ["item_0", "item_2"] {
            assert_eq!(text(&mut pair.source, &content(table)), text(&mut pair.destination, &content(table)));
        }
    }
    let mut here = with_foreign_partitions("zoo_foreign_named_here", "tt", "tf");
    assert_eq!(
        here.pull_error("include => '{item}'").problems(),
        "public.item_1: is a foreign table on the destination, not a table"
    );
    here.pull("include => '{item}', exclude => '{item_1}'");
    // As a whole it can be neither read nor replaced.
    let mut differ = with_foreign_partitions("zoo_foreign_differ", "tft", "tt");
    for exclude in ["", ", exclude => '{item_1}'"] {
        let failure = differ.pull_error(&format!("include => '{{item}}'{exclude}"));
        assert_eq!(failure.sqlstate, if exclude.is_empty() { "42809" } else { "0A000" }, "{failure:?}");
        assert!(failure.problems().contains("public.item"), "{failure:?}");
        assert!(failure.hint.contains("alike"), "{failure:?}");
    }
    differ.pull("include => '{item_0}'");
    assert_eq!(text(&mut differ.destination, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM item_0"), "1 2");
}

/// A partition below a partition, and a default partition, whose rows are those that no other takes.
#[test]
fn foreign_partitions_of_several_levels_and_beside_a_default() {
    let mut pair = Pair::new("zoo_foreign_deep");
    pair.both(&format!(
        "{NOWHERE} CREATE TABLE deep (id int, kind text) PARTITION BY LIST (kind);
         CREATE TABLE deep_a PARTITION OF deep FOR VALUES IN ('a') PARTITION BY RANGE (id);
         CREATE TABLE deep_a_0 PARTITION OF deep_a FOR VALUES FROM (0) TO (10);
         CREATE FOREIGN TABLE deep_a_1 PARTITION OF deep_a FOR VALUES FROM (10) TO (20) SERVER nowhere;
         CREATE TABLE deep_rest PARTITION OF deep DEFAULT;
         CREATE TABLE fallback (id int) PARTITION BY LIST (id); CREATE TABLE fallback_rest PARTITION OF fallback DEFAULT;
         CREATE TABLE bounded (id int) PARTITION BY LIST (id); CREATE TABLE bounded_rest PARTITION OF bounded DEFAULT"
    ));
    // What no partition takes there one would take here, and the other way around.
    pair.source
        .batch_execute("CREATE FOREIGN TABLE fallback_1 PARTITION OF fallback FOR VALUES IN (1) SERVER nowhere")
        .unwrap();
    pair.destination
        .batch_execute("CREATE FOREIGN TABLE bounded_1 PARTITION OF bounded FOR VALUES IN (1) SERVER nowhere")
        .unwrap();
    pair.source
        .batch_execute(
            "INSERT INTO deep VALUES (1, 'a'), (2, 'b'); INSERT INTO fallback VALUES (2), (3); INSERT INTO bounded VALUES (1), (2)",
        )
        .unwrap();
    assert_eq!(plan(&mut pair), ["deep_a_0 swap binary", "deep_rest swap binary", "fallback_rest swap binary"]);
    pair.pull("");
    for table in ["deep_a_0", "deep_rest", "fallback_rest"] {
        assert_eq!(text(&mut pair.source, &content(table)), text(&mut pair.destination, &content(table)), "{table}");
    }
    assert!(pair.notices().iter().any(|notice| notice.starts_with("public.bounded is left out")));
    let failure = pair.pull_error("include => '{bounded_rest}'");
    assert_eq!(failure.sqlstate, "0A000");
    assert!(failure.problems().starts_with("public.bounded_rest: "), "{failure:?}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM bounded_rest"), "0");
    let failure = pair.pull_error("include => '{deep_a}', overwrite => true");
    assert_eq!(failure.problems(), "public.deep_a_1: is a foreign table on the source, not a table");
}

/// The rows of a default partition are those that its neighbours do not take.
#[test]
fn default_partitions_are_alike_where_their_neighbours_are() {
    let mut pair = Pair::new("zoo_default_partitions");
    pair.both(
        "CREATE TABLE item (id int) PARTITION BY LIST (id); CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
         CREATE TABLE item_rest PARTITION OF item DEFAULT",
    );
    pair.destination.batch_execute("CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2)").unwrap();
    pair.source.batch_execute("INSERT INTO item VALUES (1), (2), (3)").unwrap();
    for arguments in ["include => '{item_rest}'", "exclude => '{item_2}'"] {
        let failure = pair.pull_error(arguments);
        assert_eq!(failure.sqlstate, "0A000", "{arguments}: {failure:?}");
    }
    assert_eq!(plan(&mut pair), ["item in place binary"]);
    pair.pull("");
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ') FROM item_2"), "2");
    assert_eq!(text(&mut pair.source, &content("item")), text(&mut pair.destination, &content("item")));
    // The other way around every row has its place.
    pair.destination.batch_execute("DROP TABLE item_2; TRUNCATE item").unwrap();
    pair.source
        .batch_execute("CREATE TABLE item_4 PARTITION OF item FOR VALUES IN (4); INSERT INTO item VALUES (4)")
        .unwrap();
    pair.pull("exclude => '{item_4}'");
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(id::text, ' ' ORDER BY id) FROM item"), "1 2 3");
}

#[test]
fn a_partition_that_cannot_be_left_out_is_told_of_once_with_the_way_out() {
    let mut pair = Pair::new("zoo_excluded_default");
    pair.both(
        "CREATE TABLE item (id int) PARTITION BY LIST (id); CREATE TABLE item_1 PARTITION OF item FOR VALUES IN (1);
         CREATE TABLE item_rest PARTITION OF item DEFAULT",
    );
    pair.destination.batch_execute("CREATE TABLE item_2 PARTITION OF item FOR VALUES IN (2)").unwrap();
    let text = "public.item_rest: cannot be left out, because public.item is not partitioned alike on both sides and can only be pulled as a whole";
    let hint = "Leave the whole partitioned table out, or make its partitions alike on both sides.";
    for include in ["", "include => '{item}', ", "include => '{public.*}', ", "include => '{item_1,item}', "] {
        let failure = pair.pull_error(&format!("{include}exclude => '{{item_rest}}'"));
        assert_eq!(failure.sqlstate, "0A000");
        assert_eq!((failure.message.as_str(), failure.detail.as_str()), (format!("cannot pull: {text}").as_str(), ""));
        assert_eq!(failure.hint, hint);
        assert_eq!(planned_problems(&mut pair, &format!("{include}exclude => '{{item_rest}}'")), [text]);
    }
    // So is one that has partitions itself: what lies below goes with it.
    pair.both(
        "DROP TABLE item_rest; CREATE TABLE item_rest PARTITION OF item DEFAULT PARTITION BY LIST (id);
         CREATE TABLE item_rest_3 PARTITION OF item_rest FOR VALUES IN (3);
         CREATE TABLE item_rest_rest PARTITION OF item_rest DEFAULT",
    );
    let failure = pair.pull_error("exclude => '{item_rest}'");
    assert_eq!(failure.message, format!("cannot pull: {text}"));
    let failure = pair.pull_error("exclude => '{item_rest_rest}'");
    assert_eq!(failure.message, format!("cannot pull: {}", text.replace("item_rest", "item_rest_rest")));
    let failure = pair.pull_error("exclude => '{item_rest_*}'");
    assert_eq!(failure.problems().lines().count(), 2, "{failure:?}");
    assert_eq!(failure.hint, hint);
}

fn planned_problems(pair: &mut Pair, arguments: &str) -> Vec<String> {
    let sql = format!("SELECT problem FROM pgcopy.plan('{}', {arguments}) WHERE problem IS NOT NULL", pair.dsn());
    texts(&mut pair.destination, &sql)
}

#[test]
fn a_key_that_is_computed_otherwise_here_is_noticed() {
    let mut pair = Pair::with(
        "partition_computed",
        "CREATE FUNCTION side(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT $1 % 2';
         CREATE TABLE sided (id int) PARTITION BY LIST (side(id));
         CREATE TABLE even PARTITION OF sided FOR VALUES IN (0);
         CREATE TABLE odd PARTITION OF sided FOR VALUES IN (1)",
        "INSERT INTO sided SELECT generate_series(1, 100)",
    );
    pair.pull("");
    pair.assert_same_content();
    pair.destination
        .batch_execute("TRUNCATE sided; CREATE OR REPLACE FUNCTION side(int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT ($1 + 1) % 2'")
        .unwrap();
    for workers in [2, 0] {
        let failure = pair.pull_error(&format!("parallel => {workers}"));
        assert_eq!(failure.sqlstate, "23514", "{failure:?}");
        assert!(failure.message.ends_with("violates partition constraint"), "{failure:?}");
        assert!(failure.detail.contains("Failing row contains"), "{failure:?}");
    }
    pair.assert_nothing_left();
}

#[test]
fn files_are_checked_against_the_bounds_of_a_partition() {
    let (mut pair, files) = Pair::with_files("partition_files");
    let path = files.path().join("rows.parquet").display().to_string();
    let server = &mut pair.destination;
    server
        .batch_execute(&format!(
            "CREATE TABLE split (id int) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF split FOR VALUES FROM (0) TO (100);
             CREATE TABLE high PARTITION OF split FOR VALUES FROM (100) TO (1000) PARTITION BY LIST (id);
             CREATE TABLE high_default PARTITION OF high DEFAULT;
             SELECT pgcopy.version();
             COPY (SELECT generate_series(50, 149) AS id) TO '{path}' (FORMAT parquet)"
        ))
        .unwrap();
    for (target, arguments) in [
        ("low", ""),
        ("low", ", parallel => 0"),
        ("low", ", mode => 'replace', overwrite => true"),
        ("high_default", ""),
        ("high_default", ", mode => 'replace', overwrite => true"),
    ] {
        let sql = format!("SELECT * FROM pgcopy.load_parquet('{path}', target => '{target}'{arguments})");
        let failure = Failure::of(&server.batch_execute(&sql).unwrap_err());
        assert_eq!(failure.sqlstate, "23514", "{target}{arguments}: {failure:?}");
        assert!(failure.message.contains("violates partition constraint"), "{failure:?}");
    }
    server.batch_execute(&format!("SELECT * FROM pgcopy.load_parquet('{path}', target => 'split')")).unwrap();
    let counts = "SELECT (SELECT count(*) FROM low) || ' ' || (SELECT count(*) FROM high_default)";
    assert_eq!(text(server, counts), "50 50");
    server
        .batch_execute(&format!(
            "COPY low TO '{path}' (FORMAT parquet);
             SELECT * FROM pgcopy.load_parquet('{path}', target => 'low', mode => 'replace', overwrite => true)"
        ))
        .unwrap();
    assert_eq!(text(server, "SELECT count(*) || ' ' || max(id) FROM split WHERE id < 100"), "50 99");
    pair.assert_nothing_left();
}
