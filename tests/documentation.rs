//! Every SQL example of the documentation runs.

use crate::harness::{Pair, describe};

fn examples(file: &str) -> Vec<String> {
    let text = std::fs::read_to_string(xtask::root().join(file)).unwrap();
    text.split("```sql\n").skip(1).map(|rest| rest.split("```").next().unwrap().to_owned()).collect()
}

#[test]
fn every_example_runs() {
    for (position, file) in [
        "README.md",
        "docs/reference.md",
        "docs/how-a-pull-works.md",
        "docs/jobs.md",
        "docs/performance.md",
        "docs/what-is-copied.md",
        "docs/differences.md",
    ]
    .into_iter()
    .enumerate()
    {
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
        pair.destination.batch_execute("DROP EXTENSION pgcopy").unwrap();
        if file != "README.md" {
            pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
        }
        let dsn = pair.dsn();
        for example in examples(file) {
            let sql = example
                .replace("postgres://app@prod/shop", &dsn)
                .replace("DATABASE shop", &format!("DATABASE {database}"));
            for statement in sql.split_inclusive(";\n") {
                pair.destination
                    .batch_execute(statement)
                    .unwrap_or_else(|error| panic!("{file}: {statement}\n{}", describe(&error)));
            }
        }
    }
}
