//! The extension's settings: a misspelt one is told of.

use crate::harness::{Failure, Pair, text};

#[test]
fn a_setting_that_does_not_exist_is_an_error() {
    let mut pair = Pair::with("misspelt", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("LOAD 'pgcopy'").unwrap();
    for sql in [
        "SET pgcopy.protectd = on",
        "SET LOCAL pgcopy.protectd = on",
        "SELECT set_config('pgcopy.protectd', 'on', false)",
        "ALTER DATABASE misspelt SET pgcopy.protectd = on",
        "ALTER ROLE postgres IN DATABASE misspelt SET pgcopy.protectd = on",
        "ALTER SYSTEM SET pgcopy.protectd = on",
        "CREATE FUNCTION f() RETURNS int LANGUAGE sql SET pgcopy.protectd = on AS 'SELECT 1'",
    ] {
        let failure = Failure::of(&pair.destination.batch_execute(sql).expect_err(sql));
        assert!(["42602", "42704"].contains(&failure.sqlstate.as_str()), "{sql}: {failure:?}");
        assert!(failure.message.contains("pgcopy.protectd"), "{sql}: {failure:?}");
    }
}

#[test]
fn a_misspelt_setting_from_before_the_library_was_loaded_is_told_of() {
    let mut pair = Pair::with("misspelt_before", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    // The server takes any name as long as the library is not there.
    let mut other = pair.another_destination_session();
    other.batch_execute("ALTER DATABASE misspelt_before SET pgcopy.protectd = on").unwrap();
    pair = Pair::existing(pair.source_port, pair.destination_port, "misspelt_before");
    assert_eq!(text(&mut pair.destination, "SHOW pgcopy.protectd"), "on");
    pair.pull("parallel => 2");
    let notices = pair.notices();
    assert!(
        notices.iter().any(|notice| notice == "invalid configuration parameter name \"pgcopy.protectd\", removing it"),
        "{notices:?}"
    );
    assert_eq!(Failure::of(&pair.destination.batch_execute("SHOW pgcopy.protectd").unwrap_err()).sqlstate, "42704");
    pair.assert_same_content();
    pair.assert_nothing_left();
}
