//! Sources that stop to answer while a connection is being made: each step of that has an end.

use crate::harness::forger::{Forged, Forger, message};
use crate::harness::listener::Listener;
use crate::harness::{Failure, Pair};
use postgres::Client;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Starts a server that says a few words to everybody and then nothing more. `to_encryption` is the answer to the question for
/// encryption, `to_startup` that to the startup message.
fn silent(to_encryption: &'static [u8], to_startup: Vec<u8>) -> Listener {
    Listener::start(move |client| talk(client, to_encryption, &to_startup))
}

fn talk(mut client: TcpStream, to_encryption: &[u8], to_startup: &[u8]) {
    const ENCRYPTION_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let mut request = [0; 8];
    while client.read_exact(&mut request).is_ok() {
        let answer = if request == ENCRYPTION_REQUEST {
            to_encryption
        } else {
            let mut rest = vec![0; u32::from_be_bytes([request[0], request[1], request[2], request[3]]) as usize - 8];
            let _ = client.read_exact(&mut rest);
            to_startup
        };
        if answer.is_empty() || client.write_all(answer).is_err() || request != ENCRYPTION_REQUEST {
            break;
        }
        if to_encryption == b"S" {
            break;
        }
    }
    // Until the client has had enough.
    let _ = client.read_to_end(&mut Vec::new());
}

fn failure(client: &mut Client, sql: &str) -> Failure {
    match client.query(sql, &[]) {
        Ok(_) => panic!("succeeded: {sql}"),
        Err(error) => Failure::of(&error),
    }
}

#[test]
fn every_step_of_connecting_has_an_end() {
    let mut pair = Pair::with("silent_steps", "CREATE TABLE item (id int)", "");
    pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.source_timeout = '1s'").unwrap();
    let let_in = [message(b'R', &[0; 4]), message(b'S', b"client_encoding\0UTF8\0")].concat();
    let ready = [&let_in[..], &message(b'K', &[0; 8]), &message(b'Z', b"I")].concat();
    let steps: Vec<(&str, &'static [u8], Vec<u8>)> = vec![
        ("accepts only", b"", Vec::new()),
        ("begins to encrypt", b"S", Vec::new()),
        ("does not encrypt", b"N", Vec::new()),
        ("asks for a password", b"N", message(b'R', &3u32.to_be_bytes())),
        ("asks for another password", b"N", message(b'R', &[&10u32.to_be_bytes()[..], b"SCRAM-SHA-256\0\0"].concat())),
        ("lets in", b"N", let_in),
        ("sends half a message", b"N", vec![b'R', 0, 0]),
        ("is ready", b"N", ready),
    ];
    for (what, to_encryption, to_startup) in steps {
        let silent = silent(to_encryption, to_startup);
        let dsn = format!("host=127.0.0.1 port={} user=app password=secret", silent.port);
        for call in [
            format!("list('{dsn}')"),
            format!("plan('{dsn}')"),
            format!("pull('{dsn}', parallel => 0)"),
            format!("pull('{dsn} target_session_attrs=primary', parallel => 2)"),
            // Waiting for ever is what the string asks for, but not the setting.
            format!("list('{dsn} connect_timeout=0')"),
        ] {
            let failure = failure(&mut pair.destination, &format!("SELECT * FROM pgcopy.{call}"));
            assert_eq!(
                (failure.sqlstate.as_str(), failure.message.as_str()),
                ("08006", "the source has been silent for 1 s"),
                "{what}: {call}"
            );
        }
        // The other limit, which is that of the connection string.
        pair.destination.batch_execute("SET pgcopy.source_timeout = 0; SET pgcopy.retry_timeout = 0").unwrap();
        if what != "is ready" {
            let failure =
                failure(&mut pair.destination, &format!("SELECT * FROM pgcopy.list('{dsn} connect_timeout=2')"));
            assert_eq!(failure.sqlstate, "08001", "{what}: {failure:?}");
            assert!(failure.message.ends_with("timeout expired"), "{what}: {failure:?}");
        }
        pair.destination.batch_execute("SET pgcopy.source_timeout = '1s'; RESET pgcopy.retry_timeout").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn connecting_has_an_end_by_default() {
    let mut pair = Pair::with("silent_default", "CREATE TABLE item (id int)", "");
    pair.destination
        .batch_execute("LOAD 'pgcopy'; SET pgcopy.source_timeout = 0; SET pgcopy.retry_timeout = 0")
        .unwrap();
    let silent = silent(b"", Vec::new());
    let call = format!("SELECT * FROM pgcopy.list('host=127.0.0.1 port={} user=app password=secret')", silent.port);
    let failure = failure(&mut pair.destination, &call);
    assert_eq!(failure.sqlstate, "08001");
    assert!(failure.message.ends_with("timeout expired"), "{failure:?}");
}

#[test]
fn the_connections_of_workers_have_an_end_too() {
    let mut pair = Pair::with(
        "silent_workers",
        "CREATE TABLE item (id int); CREATE TABLE other (id int)",
        "INSERT INTO item SELECT generate_series(1, 1000); INSERT INTO other SELECT generate_series(1, 1000)",
    );
    pair.destination.batch_execute("LOAD 'pgcopy'; SET pgcopy.source_timeout = '1s'").unwrap();
    // The first connection is the leader's.
    for last_word in [b'R', b'K', b'Z'] {
        let connections = AtomicU64::new(0);
        let forger = Forger::start(pair.source_port, move |message| {
            let first = message.kind == b'R' && message.number == 0 && message.query.is_empty();
            let number = if first { connections.fetch_add(1, SeqCst) } else { connections.load(SeqCst) - 1 };
            if number > 0 && message.kind == last_word && message.query.is_empty() {
                Forged::Silence
            } else {
                Forged::Same
            }
        });
        let call =
            format!("SELECT * FROM pgcopy.pull('{}', overwrite => true, parallel => 2)", forger.dsn(&pair.database));
        let failure = failure(&mut pair.destination, &call);
        assert_eq!(
            (failure.sqlstate.as_str(), failure.message.as_str()),
            ("08006", "the source has been silent for 1 s")
        );
        drop(forger);
        pair.assert_nothing_left();
    }
    pair.pull("overwrite => true, parallel => 2");
    pair.assert_same_content();
}
