//! Views and foreign tables are never pulled; materialized views that read the targets are refreshed on request.

use super::plan;
use crate::harness::{Pair, text, texts};

const VIEWS: &str = "
    CREATE TABLE item (id int, kind text); CREATE TABLE other (id int); CREATE TABLE parted (id int) PARTITION BY RANGE (id);
    CREATE TABLE parted_1 PARTITION OF parted DEFAULT; CREATE TABLE base (id int); CREATE TABLE derived () INHERITS (base);
    CREATE MATERIALIZED VIEW z_first AS SELECT kind, count(*) AS items FROM item GROUP BY kind;
    CREATE VIEW between_them AS SELECT sum(items) AS items FROM z_first;
    CREATE MATERIALIZED VIEW a_last AS SELECT items, (SELECT count(*) FROM item) AS counted FROM between_them;
    CREATE MATERIALIZED VIEW of_parted AS SELECT count(*) FROM parted;
    CREATE MATERIALIZED VIEW of_base AS SELECT count(*) FROM base;
    CREATE MATERIALIZED VIEW of_other AS SELECT count(*) FROM other;
    CREATE MATERIALIZED VIEW \"Not filled\" AS SELECT count(*) FROM item WITH NO DATA;
    CREATE UNIQUE INDEX ON z_first (kind);";

fn views(name: &str) -> Pair {
    let pair = Pair::with(
        name,
        VIEWS,
        "INSERT INTO item SELECT i, 'k' || i % 3 FROM generate_series(1, 30) i; INSERT INTO parted VALUES (1); INSERT INTO derived VALUES (1)",
    );
    pair.notices();
    pair
}

#[test]
fn materialized_views_are_refreshed_in_the_order_of_their_dependencies() {
    let mut pair = views("zoo_refresh");
    let of_other = pair
        .another_destination_session()
        .query_one("SELECT pg_relation_filepath('of_other')", &[])
        .unwrap()
        .get::<_, String>(0);
    for workers in [2, 0] {
        pair.source.batch_execute("INSERT INTO item VALUES (0, 'k0')").unwrap();
        pair.pull(&format!(
            "include => '{{item, parted, base, derived}}', overwrite => true, refresh => true, parallel => {workers}"
        ));
        let rows = text(&mut pair.source, "SELECT count(*)::text FROM item");
        assert_eq!(
            text(&mut pair.destination, "SELECT concat_ws(' ', items, counted) FROM a_last"),
            format!("{rows} {rows}")
        );
        for view in ["of_parted", "of_base"] {
            assert_eq!(text(&mut pair.destination, &format!("SELECT count::text FROM {view}")), "1", "{view}");
        }
    }
    assert_eq!(text(&mut pair.destination, "SELECT pg_relation_filepath('of_other')"), of_other, "not concerned");
    assert_eq!(
        text(&mut pair.destination, "SELECT relispopulated::text FROM pg_class WHERE relname = 'Not filled'"),
        "false"
    );
    // They are part of the transaction.
    pair.source.batch_execute("TRUNCATE item").unwrap();
    let sql = pair.pull_sql("include => '{item}', overwrite => true, refresh => true");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT counted::text FROM a_last"), "32");
}

#[test]
fn unasked_they_are_left_with_a_notice() {
    let mut pair = views("zoo_not_refreshed");
    pair.pull("include => '{item}'");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM z_first"), "0");
    let notices = pair.notices();
    let words =
        "materialized views that keep showing the old rows, for want of refresh => true: public.z_first, public.a_last";
    assert!(notices.iter().any(|notice| notice == words), "{notices:?}");
}

#[test]
fn only_their_owner_refreshes_them() {
    let mut pair = views("zoo_refresh_rights");
    pair.destination
        .batch_execute(
            "DROP ROLE IF EXISTS zoo_refresher; CREATE ROLE zoo_refresher LOGIN PASSWORD 'secret'; GRANT CREATE, USAGE ON SCHEMA public TO zoo_refresher;
             GRANT USAGE ON SCHEMA pgcopy TO zoo_refresher; ALTER TABLE item OWNER TO zoo_refresher",
        )
        .unwrap();
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret'; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO app",
        )
        .unwrap();
    let source = pair.dsn().replace("user=postgres", "user=app") + " password=secret";
    pair.destination.batch_execute("SET SESSION AUTHORIZATION zoo_refresher").unwrap();
    let error = pair
        .destination
        .query(&format!("SELECT * FROM pgcopy.pull('{source}', include => '{{item}}', refresh => true)"), &[])
        .unwrap_err();
    let failure = crate::harness::Failure::of(&error);
    pair.destination
        .batch_execute("RESET SESSION AUTHORIZATION; DROP OWNED BY zoo_refresher; DROP ROLE zoo_refresher")
        .unwrap_or_default();
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(
        failure.problems().contains("must be owner of materialized view public.z_first, owned by postgres"),
        "{failure:?}"
    );
}

#[test]
fn what_is_no_table_is_never_pulled() {
    let mut pair = Pair::with(
        "zoo_no_tables",
        "CREATE TABLE item (id int); CREATE VIEW seen AS SELECT * FROM item; CREATE MATERIALIZED VIEW kept AS SELECT * FROM item;
         CREATE FOREIGN DATA WRAPPER nowhere; CREATE SERVER nowhere FOREIGN DATA WRAPPER nowhere; CREATE FOREIGN TABLE far (id int) SERVER nowhere;
         CREATE SEQUENCE numbers; CREATE TYPE composite AS (a int)",
        "INSERT INTO item VALUES (1); REFRESH MATERIALIZED VIEW kept",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
    pair.pull("include => '{public.*}'");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM kept"), "0");
    for (name, kind) in [("seen", "view"), ("kept", "materialized view"), ("far", "foreign table")] {
        let failure = pair.pull_error(&format!("include => '{{{name}}}', overwrite => true"));
        assert_eq!(
            (failure.sqlstate.as_str(), failure.problems()),
            ("42809", format!("public.{name}: is a {kind} on the source, not a table"))
        );
    }
    // One side's table is the other side's view.
    pair.source.batch_execute("CREATE TABLE mixed (id int)").unwrap();
    pair.destination.batch_execute("CREATE VIEW mixed AS SELECT 1 AS id").unwrap();
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.problems(), "public.mixed: is a view on the destination, not a table");
    let dsn = pair.dsn();
    let listed = texts(&mut pair.destination, &format!("SELECT \"table\" FROM pgcopy.list('{dsn}')"));
    assert_eq!(listed, ["item", "mixed"]);
}
