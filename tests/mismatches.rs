//! Tables that differ: `plan` says what mends them, and a pull that may leave them out goes on without them.

use crate::harness::{Failure, Pair, text, texts};

/// A shop whose source has gone on: purchases have a new column, and moods a new label.
fn drifted(name: &str) -> Pair {
    let mut pair = Pair::with(
        name,
        "CREATE TYPE mood AS ENUM ('good');
         CREATE TABLE customer (id int PRIMARY KEY, name text);
         CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer);
         CREATE TABLE line (id int PRIMARY KEY, purchase int REFERENCES purchase);
         CREATE TABLE remark (id int, line int REFERENCES line);
         CREATE TABLE call (id int, mood mood); CREATE TABLE visit (id int, moods mood[]);
         CREATE TABLE size (id int, width int)",
        "ALTER TABLE purchase ADD note text; ALTER TYPE mood ADD VALUE 'bad';
         ALTER TABLE size ALTER width TYPE bigint;
         INSERT INTO customer VALUES (1, 'new'); INSERT INTO purchase VALUES (1, 1, 'n'); INSERT INTO line VALUES (1, 1);
         INSERT INTO remark VALUES (1, 1); INSERT INTO size VALUES (1, 1)",
    );
    pair.destination
        .batch_execute("INSERT INTO customer VALUES (1, 'old'); INSERT INTO purchase VALUES (1, 1); INSERT INTO line VALUES (1, 1)")
        .unwrap();
    pair.notices();
    pair
}

#[test]
fn what_cannot_be_pulled_is_left_out_with_what_references_it() {
    let mut pair = drifted("mismatch_skip");
    let failure = pair.pull_error("overwrite => true");
    assert_eq!(failure.sqlstate, "42804");
    assert_eq!(
        failure.message,
        "cannot pull: public.call.mood: type public.mood has no 'bad' on the destination (the first of 3 problems)"
    );
    assert!(failure.hint.contains("on_mismatch => 'skip'"), "{}", failure.hint);
    let report = pair.pull("overwrite => true, on_mismatch => 'skip', parallel => 2");
    assert_eq!(report.iter().map(|row| row.table.as_str()).collect::<Vec<_>>(), ["customer"]);
    assert_eq!(text(&mut pair.destination, "SELECT name FROM customer"), "new");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM line"), "1", "its old row");
    let notices = pair.notices();
    let warnings: Vec<&str> =
        notices.iter().map(String::as_str).filter(|notice| notice.contains(" is left out: ")).collect();
    assert_eq!(
        warnings,
        [
            "public.call is left out: public.call.mood: type public.mood has no 'bad' on the destination",
            "public.line is left out: references public.purchase, which is left out",
            "public.purchase is left out: column note exists on the source only",
            "public.remark is left out: references public.line, which is left out",
            "public.size is left out: column width is bigint on the source and integer on the destination",
            "public.visit is left out: public.call.mood: type public.mood has no 'bad' on the destination",
        ]
    );
    assert!(notices.last().is_some_and(|totals| totals.contains("; 6 tables left out")), "{notices:?}");
    // In the background, too.
    let sql =
        format!("SELECT pgcopy.wait(pgcopy.start_pull('{}', overwrite => true, on_mismatch => 'skip'))", pair.dsn());
    assert_eq!(text(&mut pair.destination, &sql), "completed");
    let kept = "SELECT count(*)::text FROM pgcopy.jobs, unnest(warnings) AS warning
                WHERE job = (SELECT max(job) FROM pgcopy.jobs) AND warning LIKE '% is left out: %'";
    assert_eq!(text(&mut pair.destination, kept), "6", "the job has the warnings");
    // A table that was dropped on the source cannot be pulled, either, when it is named.
    pair.source.batch_execute("DROP TABLE size").unwrap();
    pair.pull("include => '{customer, size}', overwrite => true, on_mismatch => 'skip'");
    pair.assert_nothing_left();
}

#[test]
fn what_was_probably_meant() {
    let mut pair = Pair::with("mismatch_meant", "CREATE SCHEMA app; CREATE TABLE app.item (id int)", "");
    let failure = |pair: &mut Pair, sql: &str| Failure::of(&pair.destination.query(sql, &[]).expect_err(sql));
    let dsn = pair.dsn();
    let hint = |pair: &mut Pair, sql: String| failure(pair, &sql).hint;
    assert_eq!(
        hint(&mut pair, format!("SELECT pgcopy.list('{dsn}', schema => 'apps')")),
        "Perhaps you meant the schema \"app\"."
    );
    assert_eq!(
        hint(&mut pair, format!("SELECT * FROM pgcopy.pull('{dsn}', include => '{{apps.*}}')")),
        "Perhaps you meant include => '{app.*}'."
    );
    assert_eq!(
        hint(&mut pair, "SELECT pgcopy.list('host=x sslmode=requried')".to_owned()),
        "Valid values are: disable, allow, prefer, require, verify-ca, verify-full."
    );
    assert_eq!(
        hint(
            &mut pair,
            "CREATE SERVER s FOREIGN DATA WRAPPER pgcopy OPTIONS (target_session_attrs 'master')".to_owned()
        ),
        "Valid values are: any, read-write, read-only, primary, standby, prefer-standby."
    );
    pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.retry_timeout = 0").unwrap();
    assert_eq!(
        hint(&mut pair, "SELECT pgcopy.list('host=127.0.0.1 port=1 user=x')".to_owned()),
        "Is the server running on that host and accepting TCP/IP connections?"
    );
    // No part of a password that holds a separator is shown.
    for source in [
        "postgres://app:p@ss@host/db",
        "postgres://app:p/ss@host/db",
        "postgres://app:p:ss@@host/db",
        "postgresql://app:p@ss/w@host:5432/db",
    ] {
        let failure = failure(&mut pair, &format!("SELECT pgcopy.list('{source}')"));
        let words = format!("{} {} {}", failure.message, failure.detail, failure.hint);
        assert!(!words.contains("ss@") && !words.contains("\"ss") && !words.contains("p@"), "{source}: {failure:?}");
        assert!(words.contains("percent-encode"), "{source}: {failure:?}");
    }
}

#[test]
fn a_locked_table_of_the_source_is_waited_for_within_bounds() {
    let mut pair = Pair::with("mismatch_locked", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    let mut other = pair.another_source_session();
    other.batch_execute("BEGIN; LOCK TABLE item IN ACCESS EXCLUSIVE MODE").unwrap();
    pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.source_lock_timeout = '200ms'").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("55P03", "could not lock the source's tables within 0.2 s")
    );
    other.batch_execute("ROLLBACK").unwrap();
    pair.pull("");
}

#[test]
fn rights_that_are_missing_leave_out_tables_too() {
    let mut pair = Pair::with(
        "mismatch_rights",
        "CREATE TABLE item (id int); CREATE TABLE secret (id int)",
        "INSERT INTO item VALUES (1)",
    );
    let role = "mismatch_reader";
    for client in [&mut pair.source, &mut pair.destination] {
        client
            .batch_execute(&format!(
                "DROP ROLE IF EXISTS {role}; CREATE ROLE {role} LOGIN PASSWORD 'secret' IN ROLE pg_monitor; GRANT SELECT ON item TO {role}"
            ))
            .unwrap();
    }
    let source = pair.dsn().replace("user=postgres", &format!("user={role} password=secret"));
    let sql = format!("SELECT \"table\" FROM pgcopy.pull('{source}', on_mismatch => 'skip')");
    assert_eq!(texts(&mut pair.destination, &sql), ["item"]);
    let sql = format!("SELECT * FROM pgcopy.pull('{source}', overwrite => true)");
    let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.message, format!("cannot pull: public.secret: user {role} may not read it on the source"));
    assert!(failure.hint.ends_with(&format!("GRANT pg_read_all_data TO {role}; -- on the source")), "{failure:?}");
    pair.both(&format!("DROP OWNED BY {role}; DROP ROLE {role}"));
}

#[test]
fn what_no_table_left_out_would_mend_is_an_error() {
    let mut pair = drifted("mismatch_errors");
    let failure = pair.pull_error("include => '{customer, costumer}', on_mismatch => 'skip', overwrite => true");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.hint.as_str()),
        ("42P01", "Perhaps you meant include => '{customer}'.")
    );
    let failure = pair.pull_error("exclude => '{pubic.size}'");
    assert!(failure.hint.starts_with("pgcopy.list") || failure.hint.contains("public.size"), "{failure:?}");
    // Nothing is left.
    let failure = pair.pull_error("include => '{purchase}', on_mismatch => 'skip', overwrite => true");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str(), failure.detail.as_str()),
        ("42P01", "there is no table to pull: public.purchase is left out: column note exists on the source only", "")
    );
    assert_eq!(failure.hint, "pgcopy.plan without on_mismatch shows what mends each.");
    let failure = pair.pull_error("include => '{purchase, line}', on_mismatch => 'skip', overwrite => true");
    assert!(failure.message.starts_with("there is no table to pull: public.purchase is left out: "), "{failure:?}");
    assert_eq!(failure.detail.lines().count(), 2, "{failure:?}");
    let failure = pair.pull_error("on_mismatch => 'skpi'");
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22023", "on_mismatch \"skpi\" not recognized"));
    let mut empty = Pair::new("mismatch_empty");
    assert_eq!(empty.pull_error("").message, "there is no table to pull");
}

#[test]
fn the_plan_has_problems_beside_healthy_tables_and_statements_that_mend_them() {
    let mut pair = drifted("mismatch_plan");
    let dsn = pair.dsn();
    let before = pair.destination_state();
    let planned = format!("FROM pgcopy.plan('{dsn}')");
    let rows =
        texts(&mut pair.destination, &format!("SELECT concat_ws(' | ', \"table\", method, problem, mend) {planned}"));
    assert_eq!(
        rows,
        [
            "call | swap | public.call.mood: type public.mood has no 'bad' on the destination | ALTER TYPE public.mood ADD VALUE 'bad';",
            "customer | swap | holds rows, and overwrite is not given | overwrite => true",
            "line | swap | holds rows, and overwrite is not given | overwrite => true",
            "purchase | column note exists on the source only | ALTER TABLE public.purchase ADD COLUMN note text;",
            "remark | swap",
            "size | column width is bigint on the source and integer on the destination | ALTER TABLE public.size ALTER COLUMN width TYPE bigint USING width::bigint;",
            "visit | swap | public.call.mood: type public.mood has no 'bad' on the destination | ALTER TYPE public.mood ADD VALUE 'bad';",
        ]
    );
    assert_eq!(pair.destination_state(), before);
    let needs = pair.notices().join("\n");
    assert!(needs.contains("beside the old rows until COMMIT") && needs.contains("locks on 5 tables"), "{needs}");
    // What is said mends it.
    let statements =
        texts(&mut pair.destination, &format!("SELECT DISTINCT mend {planned} WHERE mend LIKE 'ALTER%' ORDER BY 1"));
    statements.iter().for_each(|statement| pair.destination.batch_execute(statement).unwrap());
    pair.pull("overwrite => true");
    pair.assert_same_content();
}

#[test]
fn the_plan_knows_protection_and_foreign_keys_that_lead_out_of_the_pull() {
    let mut pair = Pair::with(
        "mismatch_facts",
        "CREATE TABLE customer (id int PRIMARY KEY); CREATE TABLE purchase (id int PRIMARY KEY, customer int REFERENCES customer);
         CREATE TABLE line (purchase int REFERENCES purchase)",
        "",
    );
    let plan = |pair: &mut Pair, columns: &str, arguments: &str| {
        let sql = format!("SELECT {columns} FROM pgcopy.plan('{}'{arguments})", pair.dsn());
        texts(&mut pair.destination, &sql)
    };
    assert_eq!(
        plan(
            &mut pair,
            "concat_ws(' ', \"table\", foreign_keys, array_to_string(warnings, '; '))",
            ", include => '{purchase}'"
        ),
        [
            "purchase 2 foreign key purchase_customer_fkey leads to customer, which is not pulled: new rows without a key there fail \
          after copying; foreign key line_purchase_fkey of line, which is not pulled: rows there without a new key fail after copying"
        ]
    );
    // Each key counts once.
    assert_eq!(plan(&mut pair, "concat_ws(' ', \"table\", foreign_keys)", ""), ["customer 0", "line 1", "purchase 1"]);
    pair.destination.batch_execute("LOAD 'pgcopy'; ALTER DATABASE mismatch_facts SET pgcopy.protected = on").unwrap();
    pair.destination = pair.another_destination_session();
    assert_eq!(
        plan(&mut pair, "concat_ws(' | ', \"table\", problem, mend)", ", include => '{line}'"),
        [
            "pgcopy.protected is on: this database's rows are not to be replaced | ALTER DATABASE mismatch_facts RESET pgcopy.protected;",
            "line"
        ]
    );
    assert_eq!(Failure::of(&pair.try_pull("").unwrap_err()).sqlstate, "55000");
    // The statement is the one that helps, wherever the setting is.
    for (set, lift) in [
        (
            "ALTER ROLE postgres IN DATABASE mismatch_facts SET pgcopy.protected = on",
            "ALTER ROLE postgres IN DATABASE mismatch_facts RESET pgcopy.protected;",
        ),
        ("SET pgcopy.protected = on", "RESET pgcopy.protected;"),
    ] {
        pair.destination.batch_execute("ALTER DATABASE mismatch_facts RESET pgcopy.protected").unwrap();
        pair.destination.batch_execute("RESET pgcopy.protected").unwrap();
        pair.destination.batch_execute(set).unwrap();
        if !set.starts_with("SET") {
            pair.destination = pair.another_destination_session();
        }
        assert_eq!(plan(&mut pair, "coalesce(mend, '')", ", include => '{line}'")[0], lift);
        pair.destination
            .batch_execute("ALTER ROLE postgres IN DATABASE mismatch_facts RESET pgcopy.protected")
            .unwrap();
    }
}
