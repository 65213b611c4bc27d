//! Texts of a source reach people without characters that do something to their terminals.

use crate::harness::forger::{Forged, Forger, Message, report};
use crate::harness::{Failure, Pair, text, texts};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// Clears the screen, begins a line of its own, rings, and turns what follows around.
const EVIL: &str = "a\u{1b}[2J\r\nERROR:  forged\u{7}\u{9b}31m\u{202e}z";
const HARMLESS: &str = "a\\x1b[2J\\x0d\\x0aERROR:  forged\\x07\\x9b31m\\u{202e}z";

fn assert_harmless(texts: &[&str]) {
    for text in texts {
        let bad = text.chars().find(|&c| c.is_control() && c != '\n' || c == '\u{202e}');
        assert_eq!(bad, None, "{text:?}");
        assert!(text.lines().all(|line| !line.starts_with("ERROR:  forged")), "{text:?}");
    }
}

fn assert_harmless_failure(failure: &Failure) {
    assert_harmless(&[&failure.message, &failure.detail, &failure.hint]);
}

/// An error in the place of the first message of that kind that answers such a query.
fn error_at(query: &'static str, kind: u8, error: Vec<u8>) -> impl Fn(&Message<'_>) -> Forged + Send + Sync + 'static {
    let told = AtomicBool::new(false);
    move |message| {
        if !message.query.contains(query) || query.is_empty() != message.query.is_empty() {
            return Forged::Same;
        }
        match message.kind {
            of_source if of_source == kind && !told.swap(true, SeqCst) => Forged::Bytes(error.clone()),
            // No server goes on after an error.
            of_source if of_source != b'Z' && told.load(SeqCst) => Forged::Bytes(Vec::new()),
            _ => Forged::Same,
        }
    }
}

#[test]
fn errors_and_notices_of_the_source() {
    let mut pair = Pair::with("evil_errors", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    // While connecting, while the catalog is read, and while rows come.
    for (query, kind) in [("", b'K'), ("pg_class", b'H'), ("COPY public.item", b'd')] {
        for workers in [0, 1] {
            let forger = Forger::start(pair.source_port, error_at(query, kind, report(b'E', EVIL, EVIL, EVIL)));
            let sql = format!(
                "SELECT * FROM pgcopy.pull('{}', overwrite => true, parallel => {workers})",
                forger.dsn(&pair.database)
            );
            let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
            assert!(failure.message.ends_with(HARMLESS), "{failure:?}");
            assert!(failure.detail.contains(HARMLESS) && failure.hint.contains(HARMLESS), "{failure:?}");
            assert_harmless_failure(&failure);
        }
    }
    let shown = texts(&mut pair.destination, "SELECT j::text FROM pgcopy.jobs j WHERE error IS NOT NULL");
    assert!(!shown.is_empty());
    assert_harmless(&shown.iter().map(String::as_str).collect::<Vec<_>>());
    // One that is longer than anybody reads is cut.
    let long = report(b'E', &"long ".repeat(100_000), "", "");
    let forger = Forger::start(pair.source_port, error_at("pg_class", b'H', long));
    let sql = format!("SELECT * FROM pgcopy.pull('{}')", forger.dsn(&pair.database));
    let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
    assert!(failure.message.ends_with("...") && failure.message.len() < 20_000, "{}", failure.message.len());
}

#[test]
fn names_and_values() {
    let mut pair = Pair::new("evil_names");
    let evil = EVIL.replace('"', "\"\"");
    pair.source
        .batch_execute(&format!(
            "CREATE TABLE \"{evil}\" (id int); CREATE TABLE other (\"{evil}\" int);
             CREATE TYPE mood AS ENUM ('ok', '{evil}'); CREATE TABLE moods (mood mood);
             CREATE TABLE note (body text); INSERT INTO note VALUES ('{evil}')"
        ))
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE other (id int); CREATE TYPE mood AS ENUM ('ok'); CREATE TABLE moods (mood mood);
             CREATE TABLE note (body text CHECK (body = 'x')); CREATE TABLE kind (kind int)",
        )
        .unwrap();
    // A name that is not here, one that differs, and a value that a constraint refuses.
    for (include, expected) in [
        ("NULL".to_owned(), "column"),
        (format!("ARRAY['\"{}\"']", EVIL.replace('"', "\"\"")), "does not exist on the destination"),
        ("'{moods}'".to_owned(), "has no"),
        ("'{note}'".to_owned(), "Failing row contains"),
    ] {
        for workers in [0, 1] {
            let failure = pair.pull_error(&format!("include => {include}, parallel => {workers}"));
            assert!(failure.problems().contains(expected) && failure.problems().contains(HARMLESS), "{failure:?}");
            assert_harmless_failure(&failure);
        }
    }
    let failure = pair.pull_error("include => '{public.*}', exclude => '{other,moods,note}'");
    assert!(failure.problems().contains(HARMLESS), "{failure:?}");
    assert_harmless_failure(&failure);
    pair.both("CREATE TABLE plain (id int)");
    pair.notices();
    pair.pull("include => '{public.*}', exclude => '{other,moods,note}'");
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice.contains(HARMLESS)), "{notices:?}");
    assert_harmless(&notices.iter().map(String::as_str).collect::<Vec<_>>());
    // As data they are what they are.
    let dsn = pair.dsn();
    let listed = texts(&mut pair.destination, &format!("SELECT \"table\" FROM pgcopy.list('{dsn}') ORDER BY 1"));
    assert!(
        listed.iter().any(|name| name == &evil.chars().take(63).collect::<String>() || name.starts_with("a\u{1b}")),
        "{listed:?}"
    );
    assert_eq!(text(&mut pair.source, "SELECT body FROM note"), EVIL);
}
