//! Arguments that mean nothing are refused in words.

use crate::harness::{Failure, Pair};

#[test]
fn nothing_to_include() {
    let mut pair = Pair::with("zoo_include_nothing", "CREATE TABLE item (id int)", "");
    let failure = pair.pull_error("include => '{}'");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("22023", "include is an empty array: there would be nothing to pull")
    );
    assert_eq!(failure.hint, "Leave include out, or give NULL, to pull every table that exists on both sides.");
    pair.pull("include => NULL, exclude => '{}', parallel => NULL");
}

#[test]
fn nulls() {
    let mut pair = Pair::with("zoo_null_arguments", "CREATE TABLE item (id int)", "");
    let dsn = pair.dsn();
    for (call, message) in [
        ("pull(NULL)".to_owned(), "source must not be null"),
        ("plan(NULL)".to_owned(), "source must not be null"),
        ("list(NULL)".to_owned(), "source must not be null"),
        (format!("pull('{dsn}', overwrite => NULL)"), "overwrite must not be null"),
        (format!("pull('{dsn}', batch_size => NULL)"), "batch_size must not be null"),
        (format!("pull('{dsn}', validate => NULL)"), "validate must not be null"),
        (format!("plan('{dsn}', refresh => NULL)"), "refresh must not be null"),
        (format!("pull('{dsn}', include => '{{item, NULL}}')"), "a table pattern must not be empty"),
    ] {
        let error = pair.destination.query(&format!("SELECT * FROM pgcopy.{call}"), &[]).unwrap_err();
        assert_eq!(Failure::of(&error).message, message, "{call}");
    }
}
