//! What a call says without effect is no error, since one document serves several calls, but its caller is told.

use crate::harness::{Pair, text, texts};

const TABLES: &str = r#"{"item": {"key": "item_code"}, "own_*": {"key": "own_key"}, "child": {"references": [{"columns": ["item"], "table": "item", "to": ["id"]}]}}"#;

fn pair(name: &str) -> Pair {
    let pair = Pair::with(
        name,
        "CREATE TABLE item (id int PRIMARY KEY, code text); CREATE UNIQUE INDEX item_code ON item (code);
         CREATE TABLE child (id int PRIMARY KEY, item int);
         CREATE TABLE own_a (id int); CREATE TABLE own_b (id int); CREATE TABLE own_c (id int)",
        "INSERT INTO item SELECT i, 'c' || i FROM generate_series(1, 10) i; INSERT INTO child SELECT i, i FROM generate_series(1, 10) i",
    );
    pair.notices();
    pair
}

/// What is told of settings without effect, in the order in which it is told.
fn idle(pair: &Pair) -> Vec<String> {
    pair.notices().into_iter().filter(|notice| notice.contains("no effect")).collect()
}

const KEY: &str =
    "key in tables has no effect with mode => 'replace' (public.item, public.own_a, public.own_b, and 1 more)";
const REFERENCES: &str = "references in tables have no effect without follow_keys => true (public.child)";

#[test]
fn entries_for_other_calls_are_told_of_once() {
    let mut pair = pair("idle_entries");
    let all = format!("overwrite => true, tables => '{TABLES}'");
    for arguments in [all.clone(), format!("{all}, parallel => 0"), format!("{all}, method => 'in place'")] {
        pair.pull(&arguments);
        assert_eq!(idle(&pair), [KEY, REFERENCES], "{arguments}");
        pair.assert_same_content();
    }
    let warned = pair.planned(TABLES, ", overwrite => true", "\"table\" || ': ' || array_to_string(warnings, '; ')");
    let key = "key in tables has no effect with mode => 'replace'";
    assert_eq!(
        warned,
        [
            "child: references in tables have no effect without follow_keys => true".to_owned(),
            format!("item: {key}"),
            format!("own_a: {key}"),
            format!("own_b: {key}"),
            format!("own_c: {key}"),
        ]
    );
    pair.notices();
    // Where they have an effect nobody is told, and what is not pulled is not told of.
    pair.pull(&format!("mode => 'upsert', include => '{{item}}', tables => '{TABLES}'"));
    assert_eq!(idle(&pair), [] as [&str; 0]);
    let with_keys = r#"{"item": {"where": "id <= 3"}, "child": {"references": [{"columns": ["item"], "table": "item", "to": ["id"]}]}}"#;
    pair.pull(&format!("overwrite => true, follow_keys => true, tables => '{with_keys}'"));
    assert_eq!(idle(&pair), [] as [&str; 0]);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM child"), "3");
    // In the background it is kept with the job.
    let started = format!(
        "SELECT pgcopy.wait(pgcopy.start_pull('{}', include => '{{child}}', overwrite => true, tables => '{TABLES}'))",
        pair.dsn()
    );
    assert_eq!(text(&mut pair.destination, &started), "completed");
    pair.assert_nothing_left();
    let kept = texts(&mut pair.destination, "SELECT j::text FROM pgcopy.jobs j ORDER BY job DESC LIMIT 1");
    assert!(kept[0].contains("references in tables have no effect"), "{kept:?}");
    let verify =
        format!("SELECT count(*)::text FROM pgcopy.verify('{}', tables => '{TABLES}') v WHERE same", pair.dsn());
    pair.notices();
    text(&mut pair.destination, &verify);
    let told = idle(&pair);
    assert_eq!(told.len(), 2, "{told:?}");
    assert!(told.iter().all(|line| line.contains("no effect in a comparison")), "{told:?}");
}

#[test]
fn arguments_that_do_nothing_beside_others() {
    let mut pair = pair("idle_arguments");
    for (arguments, expected) in [
        ("triggers => false", "triggers => false has no effect with mode => 'replace', which fires none"),
        (
            "mode => 'upsert', validate => false",
            "validate => false has no effect with mode => 'upsert', whose statements check foreign keys",
        ),
        ("method => 'in place', validate => false", "validate => false has no effect with method => 'in place'"),
        ("mask_key => 'correct horse battery'", "mask_key has no effect, because no mask in tables needs it"),
        (
            r#"mask_key => 'correct horse battery', tables => '{"item": {"columns": {"code": {"mask": "null"}}}}'"#,
            "mask_key has no effect, because no mask in tables needs it",
        ),
    ] {
        pair.pull(&format!("overwrite => true, include => '{{item}}', {arguments}"));
        assert_eq!(idle(&pair), [expected], "{arguments}");
        let plan = format!(
            "SELECT count(*)::text FROM pgcopy.plan('{}', overwrite => true, include => '{{item}}', {arguments})",
            pair.dsn()
        );
        text(&mut pair.destination, &plan);
        assert_eq!(idle(&pair), [expected], "{arguments}");
    }
    for arguments in [
        "validate => false",
        "mode => 'upsert', triggers => false",
        r#"mask_key => 'correct horse battery', tables => '{"item": {"columns": {"code": {"mask": "hash"}}}}'"#,
    ] {
        pair.pull(&format!("overwrite => true, include => '{{item}}', {arguments}"));
        assert_eq!(idle(&pair), [] as [&str; 0], "{arguments}");
    }
    pair.assert_nothing_left();
}
