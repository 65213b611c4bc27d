//! What answers at the source's address is a server of another kind: the error says so, and what it has answered.

use crate::harness::forger::message;
use crate::harness::listener::Listener;
use crate::harness::{Failure, Pair};
use postgres::Client;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// What a server does with a client.
#[derive(Clone, Default)]
struct Manners {
    /// What it says before it has read anything.
    greeting: Vec<u8>,
    /// What it says to the first bytes of a client.
    answer: Vec<u8>,
    /// It ends the connection without reading what the client has sent, which resets it.
    resets: bool,
    /// It waits for the client to go.
    stays: bool,
}

struct OtherServer {
    port: u16,
    _listener: Listener,
}

impl OtherServer {
    fn start(manners: Manners) -> Self {
        let listener = Listener::start(move |client| receive(client, &manners));
        Self { port: listener.port, _listener: listener }
    }

    fn greeting(words: impl AsRef<[u8]>) -> Self {
        Self::start(Manners { greeting: words.as_ref().to_vec(), stays: true, ..Manners::default() })
    }

    fn answering(words: impl AsRef<[u8]>) -> Self {
        Self::start(Manners { answer: words.as_ref().to_vec(), ..Manners::default() })
    }

    /// The error of a session that calls the server its source.
    fn failure(&self, client: &mut Client, parameters: &str) -> Failure {
        client.batch_execute("LOAD 'pgcopy'; SET pgcopy.retry_timeout = 0").unwrap();
        let source = format!("host=127.0.0.1 port={} user=app password=secret {parameters}", self.port);
        Failure::of(&client.query(&format!("SELECT * FROM pgcopy.list('{source}')"), &[]).unwrap_err())
    }
}

fn receive(mut client: TcpStream, manners: &Manners) {
    let _ = client.write_all(&manners.greeting);
    if manners.resets {
        // The client's words have come, and are not read.
        let _ = client.peek(&mut [0]);
        return;
    }
    let mut buffer = [0; 1024];
    if client.read(&mut buffer).is_err() || client.write_all(&manners.answer).is_err() || !manners.stays {
        return;
    }
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while client.read(&mut buffer).is_ok_and(|count| count > 0) {}
}

const MODES: [&str; 3] = ["sslmode=disable", "sslmode=prefer", "sslmode=require"];

#[test]
fn a_server_of_another_kind_is_named_with_what_it_says() {
    let client = &mut Pair::new("other_kinds").destination;
    let ssh = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n";
    let quoted = |words: &str| format!("It answered \"{words}\".");
    let servers = [
        ("SSH", OtherServer::greeting(ssh), quoted("SSH-2.0-OpenSSH_9.2p1 Debian-2")),
        (
            "SSH that is in a hurry",
            OtherServer::start(Manners { greeting: ssh.to_vec(), resets: true, ..Manners::default() }),
            quoted("SSH-2.0-OpenSSH_9.2p1 Debian-2"),
        ),
        ("SMTP", OtherServer::greeting("220 mail.example ESMTP Postfix\r\n"), quoted("220 mail.example ESMTP Postfix")),
        (
            "HTTP",
            OtherServer::answering("HTTP/1.1 400 Bad Request\r\nServer: x\r\n\r\n<html>"),
            quoted("HTTP/1.1 400 Bad Request\\x0d\\x0aServer: x\\x0d\\x0a\\x0d\\x0a<html>"),
        ),
        (
            "HTTPS",
            OtherServer::answering([0x15, 3, 1, 0, 2, 2, 70]),
            "It expects TLS from the first byte on, as servers of HTTPS do.".to_owned(),
        ),
        ("VNC", OtherServer::greeting("RFB 003.008\n"), quoted("RFB 003.008")),
        ("a terminal", OtherServer::greeting(b"\x1b[2J\x07\xff hello"), quoted("\\x1b[2J\\x07\\xff hello")),
        ("one that talks on and on", OtherServer::greeting(vec![b'x'; 100_000]), quoted(&("x".repeat(80) + "…"))),
    ];
    for (name, server, answer) in servers {
        for mode in MODES {
            let failure = server.failure(client, mode);
            assert_eq!(failure.sqlstate, "08001", "{name}, {mode}: {failure:?}");
            assert_eq!(
                failure.message,
                format!(
                    "could not connect to the source at \"127.0.0.1\", port {}: the server there is not a PostgreSQL server",
                    server.port
                ),
                "{name}, {mode}"
            );
            assert_eq!(failure.detail, answer, "{name}, {mode}");
            assert!(failure.hint.starts_with("Check host and port of the source."), "{name}, {mode}: {failure:?}");
        }
    }
}

#[test]
fn the_greeting_of_mysql_is_no_message_whatever_its_length() {
    let client = &mut Pair::new("other_mysql").destination;
    // Its first byte is a length, and looks like the type of a message, or like an answer to the question for encryption.
    for length in b"J\x0aRESNv" {
        let greeting = [&[*length, 0, 0, 0, 10], &b"8.0.36-0ubuntu0.22.04.1\0"[..], &[0; 60]].concat();
        let server = OtherServer::greeting(greeting);
        for mode in MODES {
            let failure = server.failure(client, mode);
            assert!(failure.message.ends_with("the server there is not a PostgreSQL server"), "{mode}: {failure:?}");
            assert!(failure.detail.contains("8.0.36-0ubuntu0.22.04.1"), "{mode}: {failure:?}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_leaves_a_hint() {
    let client = &mut Pair::new("other_silent").destination;
    // HTTP servers wait for a request, of which a line is missing.
    let http = OtherServer::start(Manners { stays: true, ..Manners::default() });
    for mode in MODES {
        let failure = http.failure(client, &format!("connect_timeout=1 {mode}"));
        assert_eq!(failure.sqlstate, "08001");
        assert!(failure.message.ends_with("timeout expired"), "{failure:?}");
        assert!(failure.hint.contains("Is it another kind of server"), "{failure:?}");
    }
    for resets in [true, false] {
        let server = OtherServer::start(Manners { resets, ..Manners::default() });
        for mode in MODES {
            let failure = server.failure(client, mode);
            assert_eq!(failure.sqlstate, "08001");
            assert_eq!(failure.detail, "The connection was accepted, and ended without an answer.", "{failure:?}");
            assert!(failure.hint.contains("another kind of server"), "{failure:?}");
        }
    }
}

#[test]
fn a_server_that_cannot_begin_is_one_of_postgresql() {
    let client = &mut Pair::new("other_begins").destination;
    let server = OtherServer::answering("Ecould not fork new process for connection: Cannot allocate memory\n\0");
    for mode in MODES {
        let failure = server.failure(client, mode);
        assert_eq!(failure.sqlstate, "57P03");
        assert!(
            failure.message.ends_with(
                "the server could not begin: could not fork new process for connection: Cannot allocate memory"
            ),
            "{failure:?}"
        );
    }
    // A pooler may refuse before it asks for a password.
    let pooler = OtherServer::answering(message(b'E', b"SFATAL\0C08P01\0Mno such database: shop\0\0"));
    let failure = pooler.failure(client, "sslmode=disable");
    assert_eq!(failure.sqlstate, "08P01");
    assert!(failure.message.ends_with("no such database: shop"), "{failure:?}");
}

#[test]
fn a_pull_from_such_a_server_touches_nothing() {
    let mut pair = Pair::with("other_servers", "CREATE TABLE item (id int PRIMARY KEY)", "");
    pair.destination.batch_execute("INSERT INTO item VALUES (7)").unwrap();
    let before = pair.destination_state();
    let server = OtherServer::greeting("* OK IMAP4rev1 ready\r\n");
    let source = format!("host=127.0.0.1 port={} user=app password=secret", server.port);
    for call in ["pull", "plan", "verify"] {
        let sql = format!("SELECT * FROM pgcopy.{call}('{source}')");
        let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
        assert_eq!(failure.detail, "It answered \"* OK IMAP4rev1 ready\".", "{call}");
    }
    assert_eq!(pair.destination_state(), before);
    pair.assert_nothing_left();
}
