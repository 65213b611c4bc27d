//! Domains over domains, with checks of the destination's.

use super::{arrives, plan};
use crate::harness::Pair;

#[test]
fn domains_over_domains() {
    let mut pair = arrives(
        "zoo_domains",
        "CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE DOMAIN small AS positive CHECK (value < 1000) NOT NULL;
         CREATE DOMAIN price AS numeric(10,2) DEFAULT 1; CREATE DOMAIN code AS char(3) CHECK (value ~ '^[A-Z]+ *$');
         CREATE DOMAIN codes AS code[]; CREATE DOMAIN document AS jsonb CHECK (value ? 'id');
         CREATE TABLE item (p positive, s small, m price, c code, cs codes, ps positive[], d document)",
        "INSERT INTO item VALUES (1, 999, 12345678.90, 'AB', '{ABC,D}', '{1,NULL,3}', '{\"id\": 1}'),
             (NULL, 1, NULL, NULL, NULL, NULL, NULL), (2147483647, 7, 'NaN', 'XYZ', '{}', '{}', '{\"id\": null, \"x\": []}')",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn the_checks_are_the_destinations() {
    let mut pair = Pair::new("zoo_domain_checks");
    pair.source.batch_execute("CREATE DOMAIN positive AS int; CREATE TABLE item (id int, p positive)").unwrap();
    pair.destination
        .batch_execute("CREATE DOMAIN positive AS int CONSTRAINT above_zero CHECK (value > 0) NOT NULL; CREATE TABLE item (id int, p positive)")
        .unwrap();
    pair.source.batch_execute("INSERT INTO item VALUES (1, 5), (2, 0)").unwrap();
    for workers in [1, 0] {
        let failure = pair.pull_error(&format!("parallel => {workers}"));
        assert_eq!(failure.sqlstate, "23514");
        assert_eq!(failure.message, "value for domain public.positive violates check constraint \"above_zero\"");
        assert_eq!(failure.detail, "Table public.item, row 2, column p.");
    }
    pair.source.batch_execute("UPDATE item SET p = NULL WHERE id = 2").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("23502", "domain public.positive does not allow null values")
    );
    pair.source.batch_execute("DELETE FROM item WHERE id = 2").unwrap();
    pair.pull("");
    pair.assert_same_content();
}

#[test]
fn a_domain_over_another_type_is_another_type() {
    let mut pair = Pair::new("zoo_other_domain");
    pair.source.batch_execute("CREATE DOMAIN code AS int; CREATE TABLE item (c code, cs code[])").unwrap();
    pair.destination.batch_execute("CREATE DOMAIN code AS text; CREATE TABLE item (c code, cs code[])").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    for column in ["c is public.code", "cs is public.code[]"] {
        let words = format!("column {column} with public.code over integer on the source");
        assert!(failure.detail.contains(&words), "{}", failure.detail);
    }
}
