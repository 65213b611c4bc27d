//! What users see: reports, notices, plans, lists, history.

use crate::harness::{Pair, text, texts};

fn shop(name: &str) -> Pair {
    let pair = Pair::with(
        name,
        "CREATE TABLE customer (id int PRIMARY KEY, name text);
         CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer)",
        "INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 1000) i;
         INSERT INTO purchase SELECT i, i FROM generate_series(1, 500) i; ANALYZE",
    );
    pair.notices();
    pair
}

#[test]
fn the_report_and_the_totals() {
    let mut pair = shop("report");
    let report = pair.pull("parallel => 2, batch_size => 7");
    let lines: Vec<_> = report.iter().map(|row| (row.schema.as_str(), row.table.as_str(), row.rows)).collect();
    assert_eq!(lines, [("public", "customer", 1000), ("public", "purchase", 500)]);
    let notices = pair.notices();
    let [totals] = notices.as_slice() else { panic!("{notices:?}") };
    assert!(totals.starts_with("pulled 2 tables, 1500 rows, "), "{totals}");
    assert!(totals.contains(" rows/s); 1 foreign key checked"), "{totals}");
    pair.assert_same_content();
}

#[test]
fn the_plan_touches_nothing() {
    let mut pair = shop("plan");
    pair.destination.batch_execute("INSERT INTO customer VALUES (1, 'old')").unwrap();
    let before = pair.destination_state();
    let files = "SELECT string_agg(relfilenode::text, ',' ORDER BY oid) FROM pg_class WHERE relnamespace = 'public'::regnamespace";
    let before_files = text(&mut pair.destination, files);
    let dsn = pair.dsn();
    let plan = texts(
        &mut pair.destination,
        &format!(
            "SELECT concat_ws(' ', schema, \"table\", source_rows, method, wire, parts, indexes, foreign_keys, warnings) FROM pgcopy.plan('{}')",
            dsn
        ),
    );
    assert_eq!(plan, ["public customer 1000 swap binary 1 1 0 {}", "public purchase 500 swap binary 1 1 1 {}"]);
    assert_eq!(pair.destination_state(), before);
    assert_eq!(text(&mut pair.destination, files), before_files);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy_internal.job"), "0");
}

#[test]
fn the_list_of_the_sources_tables() {
    let mut pair = shop("list");
    pair.source
        .batch_execute("CREATE SCHEMA other; CREATE TABLE other.t (a int); INSERT INTO other.t VALUES (1), (2)")
        .unwrap();
    let list = |pair: &mut Pair, arguments: &str| {
        let dsn = pair.dsn();
        texts(
            &mut pair.destination,
            &format!(
                "SELECT concat_ws(' ', schema, \"table\", kind, coalesce(rows::text, 'unknown'), bytes > 0) FROM pgcopy.list('{dsn}'{arguments})"
            ),
        )
    };
    assert_eq!(
        list(&mut pair, ""),
        ["other t table unknown t", "public customer table 1000 t", "public purchase table 500 t"]
    );
    assert_eq!(list(&mut pair, ", schema => 'other', exact => true"), ["other t table 2 t"]);
}

#[test]
fn the_history_of_jobs() {
    let mut pair = shop("history");
    pair.pull("");
    pair.assert_nothing_left();
    let job = texts(&mut pair.destination, "SELECT concat_ws(' ', role, state, tables, rows, error) FROM pgcopy.jobs");
    assert_eq!(job, ["postgres completed 2 1500"]);
    let tables = texts(
        &mut pair.destination,
        "SELECT concat_ws(' ', schema, \"table\", rows) FROM pgcopy.job_tables ORDER BY 1",
    );
    assert_eq!(tables, ["public customer 1000", "public purchase 500"]);
    pair.source
        .batch_execute(
            "ALTER TABLE purchase DROP CONSTRAINT purchase_customer_fkey; INSERT INTO purchase VALUES (999, -1)",
        )
        .unwrap();
    pair.pull_error("overwrite => true");
    pair.assert_nothing_left();
    let failed =
        text(&mut pair.destination, "SELECT concat_ws(' ', state, error) FROM pgcopy.jobs ORDER BY job DESC LIMIT 1");
    assert!(failed.starts_with("failed insert or update on table \"purchase\" violates foreign key"), "{failed}");
    pair.pull_error("overwrite => true, parallel => 0");
}

#[test]
fn version_and_comments() {
    let mut pair = Pair::new("version");
    assert_eq!(
        text(&mut pair.destination, "SELECT pgcopy.version()"),
        text(&mut pair.destination, "SELECT extversion FROM pg_extension WHERE extname = 'pgcopy'")
    );
    let bare = texts(
        &mut pair.destination,
        "SELECT oid::regprocedure::text FROM pg_proc
         WHERE pronamespace IN ('pgcopy'::regnamespace, 'pgcopy_internal'::regnamespace)
           AND obj_description(oid, 'pg_proc') IS NULL",
    );
    assert!(bare.is_empty(), "functions without a comment: {bare:?}");
}

/// The report, the plan and the views in a terminal, with the two settings of psql that the pages recommend, or with the columns that
/// they choose.
#[test]
fn eighty_columns_are_enough() {
    let schema = "CREATE TABLE customer (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL);
         CREATE TABLE a_table_with_quite_a_long_name (id int PRIMARY KEY, customer int REFERENCES customer);
         CREATE TABLE one_that_differs (id int PRIMARY KEY)";
    let rows = "INSERT INTO customer (name) SELECT 'c' || i FROM generate_series(1, 1000) i;
         INSERT INTO a_table_with_quite_a_long_name SELECT i, i FROM generate_series(1, 500) i;
         ALTER TABLE one_that_differs ADD a_column_that_is_missing_on_the_other_side timestamp with time zone; ANALYZE";
    let pair = Pair::with("eighty_columns", schema, rows);
    let dsn = pair.dsn();
    let psql = |settings: &[&str], sql: &str| {
        let screen = std::process::Command::new("psql")
            .args(["-X", "-h", "127.0.0.1", "-U", "postgres", "-p", &pair.destination_port.to_string()])
            .args(["-d", &pair.database, "-P", "pager=off", "-P", "columns=80"])
            .args(settings)
            .args(["-c", sql])
            .output()
            .unwrap();
        let screen = [screen.stdout, screen.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
        assert!(screen[0].lines().count() >= 3, "{sql}: {screen:?}");
        screen
    };
    let fits = |settings: &[&str], sql: &str| {
        let [shown, told] = psql(settings, sql);
        assert!(shown.lines().all(|line| line.chars().count() <= 80), "{sql}:\n{shown}");
        [shown, told]
    };
    let recommended = ["-P", "format=wrapped", "-P", "expanded=auto"];
    let [plan, needs] = fits(&recommended, &format!("SELECT * FROM pgcopy.plan('{dsn}')"));
    assert!(plan.contains("a_column_that_is_missing") && plan.contains("a_table_with_quite_a_long_name"), "{plan}");
    assert!(needs.lines().all(|line| line.chars().count() <= 80), "{needs}");
    fits(&recommended, &format!("SELECT \"table\", problem, mend FROM pgcopy.plan('{dsn}') WHERE problem IS NOT NULL"));
    fits(&[], &format!("SELECT \"table\", source_rows, method FROM pgcopy.plan('{dsn}') WHERE problem IS NULL"));
    fits(&[], &format!("SELECT \"table\", rows, bytes FROM pgcopy.list('{dsn}')"));
    let pull = format!("pgcopy.pull('{dsn}', exclude => '{{one_that_differs}}', overwrite => true)");
    fits(&recommended, &format!("SELECT * FROM {pull}"));
    fits(&[], &format!("SELECT schema, \"table\", rows, bytes, seconds FROM {pull}"));
    for view in ["jobs", "job_tables", "job_tasks", "timeline"] {
        fits(&recommended, &format!("TABLE pgcopy.{view}"));
    }
    fits(&[], "SELECT worker, task, seconds, chart FROM pgcopy.timeline WHERE job = 1 ORDER BY worker, begins");
    fits(&[], "SELECT job, state, tables, rows, left(error, 40) AS error FROM pgcopy.jobs");
    fits(&[], "TABLE pgcopy.progress");
}
