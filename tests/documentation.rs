//! Every SQL example of the documentation runs.

use crate::harness::{Pair, describe, installation};
use xtask::server::ScratchDirectory;

fn examples(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(xtask::root().join(file)).unwrap();
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

/// Statements end with a line, and not in the body of a function.
fn statements(sql: &str) -> Vec<String> {
    let mut statements = vec![String::new()];
    for line in sql.split_inclusive('\n') {
        let statement = statements.last_mut().expect("never empty");
        statement.push_str(line);
        if line.ends_with(";\n") && statement.matches("$$").count() % 2 == 0 {
            statements.push(String::new());
        }
    }
    statements
}

#[test]
fn every_example_runs() {
    let scratch = ScratchDirectory::create("documentation").unwrap();
    let files = [
        "README.md",
        "docs/reference.md",
        "docs/how-a-pull-works.md",
        "docs/jobs.md",
        "docs/migrate.md",
        "docs/load-sql.md",
        "docs/verify.md",
        "docs/check-local.md",
        "docs/heap-form.md",
        "docs/backups.md",
        "docs/part-of-the-data.md",
        "docs/modes.md",
        "docs/compression.md",
        "docs/performance.md",
        "docs/copy-parquet.md",
        "docs/parquet.md",
        "docs/files.md",
        "docs/what-is-copied.md",
        "docs/differences.md",
        "docs/connections-and-rights.md",
        "docs/security.md",
        "docs/first-pull.md",
        "docs/nightly-refresh.md",
        "docs/production.md",
        "docs/coming-from.md",
    ];
    for (position, file) in files.into_iter().enumerate() {
        // The packages of some versions bring servers without client programs.
        if matches!(file, "docs/migrate.md" | "docs/load-sql.md") && !installation().program("pg_dump").exists() {
            continue;
        }
        if file == "docs/backups.md" && !crate::backups::has_programs(&crate::backups::ALL) {
            continue;
        }
        let database = format!("shop_{position}");
        let mut pair = Pair::with(
            &database,
            "CREATE TABLE customer (id integer PRIMARY KEY, name text NOT NULL);
             CREATE TABLE purchase (id integer PRIMARY KEY, customer integer REFERENCES customer);
             CREATE TABLE access_logs (id integer); CREATE TABLE \"Odd.Name\" (id integer);
             CREATE SCHEMA archive",
            "CREATE TABLE archive.customer (id integer PRIMARY KEY, name text NOT NULL);
             INSERT INTO customer SELECT i, 'c' || i FROM generate_series(1, 100) i;
             INSERT INTO purchase SELECT i, i FROM generate_series(1, 100) i",
        );
        pair.source
            .batch_execute(
                "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret';
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                 GRANT SELECT ON ALL TABLES IN SCHEMA public TO app",
            )
            .unwrap();
        pair.destination.batch_execute("DROP EXTENSION pgcopy").unwrap();
        if file != "README.md" {
            pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
        }
        if file == "docs/check-local.md" && !crate::check_local::has_amcheck(&mut pair.destination) {
            continue;
        }
        let dsn = pair.dsn();
        let hits = scratch.path().join("hits.parquet");
        let copy =
            format!("LOAD 'pgcopy'; COPY (SELECT 1 AS id, 'page' AS url) TO '{}' (FORMAT parquet)", hits.display());
        pair.destination.batch_execute(&copy).unwrap();
        for name in ["events/year=2024/a.parquet", "events/year=2025/b.parquet"] {
            let path = scratch.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::copy(&hits, path).unwrap();
        }
        for (name, script) in [
            ("shop.sql", "CREATE TABLE of_script (id integer);\nCOPY of_script FROM stdin;\n1\n\\.\n"),
            ("customers.sql.gz", "CREATE TABLE of_job (id integer);"),
        ] {
            std::fs::write(scratch.path().join(name), script).unwrap();
        }
        let backups = scratch.path().join("backups");
        if !backups.exists() {
            std::fs::create_dir(&backups).unwrap();
            let anybody = std::os::unix::fs::PermissionsExt::from_mode(0o777);
            std::fs::set_permissions(&backups, anybody).unwrap();
        }
        for example in examples(file) {
            let sql = example
                // The one role that the source asks for a password.
                .replace("CREATE ROLE shop_reader LOGIN", "ALTER ROLE app LOGIN")
                .replace("shop_reader", "app")
                .replace("postgres://app@prod/shop", &dsn)
                .replace("/data", scratch.path().to_str().unwrap())
                .replace("DATABASE shop", &format!("DATABASE {database}"))
                .replace(
                    "host 'prod', dbname 'shop'",
                    &format!("host '127.0.0.1', port '{}', dbname '{database}'", pair.source_port),
                );
            let client = if sql.starts_with("-- On the source.") { &mut pair.source } else { &mut pair.destination };
            for statement in statements(&sql) {
                client
                    .batch_execute(&statement)
                    .unwrap_or_else(|error| panic!("{file}: {statement}\n{}", describe(&error)));
            }
        }
    }
}
