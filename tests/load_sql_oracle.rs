//! Scripts are divided as psql divides them: a server that only listens hears the same statements and the same rows.

use crate::harness::forger::message;
use crate::harness::{Random, installation};
use dumpscript::{Piece, Splitter};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::sync::mpsc;
use xtask::server::ScratchDirectory;

/// What reaches a server, or would.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Heard {
    Statement(String),
    Rows(Vec<u8>),
}

/// Comments stand between words; psql leaves some of them out.
const COMMENTS: [&str; 3] = ["/* a ; 'b /* $$ */ \" */", "-- a ; 'b\n", "/**/"];

fn statement(text: &[u8]) -> Heard {
    let text =
        COMMENTS.iter().fold(String::from_utf8_lossy(text).into_owned(), |text, comment| text.replace(comment, " "));
    Heard::Statement(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// A server that takes every statement and every row.
fn listen(mut client: TcpStream) -> std::io::Result<Vec<Heard>> {
    let mut heard = Vec::new();
    loop {
        let mut length = [0; 4];
        client.read_exact(&mut length)?;
        let mut startup = vec![0; u32::from_be_bytes(length) as usize - 4];
        client.read_exact(&mut startup)?;
        // Encryption is asked for before all else.
        if startup[..2] != [4, 210] {
            break;
        }
        client.write_all(b"N")?;
    }
    let setting = |name: &str, value: &str| message(b'S', format!("{name}\0{value}\0").as_bytes());
    let ready = message(b'Z', b"I");
    client.write_all(&message(b'R', &[0; 4]))?;
    for (name, value) in
        [("server_version", "15.0"), ("client_encoding", "UTF8"), ("standard_conforming_strings", "on")]
    {
        client.write_all(&setting(name, value))?;
    }
    client.write_all(&[message(b'K', &[0; 8]), ready.clone()].concat())?;
    let mut rows = Vec::new();
    loop {
        let mut header = [0; 5];
        if client.read_exact(&mut header).is_err() {
            return Ok(heard);
        }
        let mut body = vec![0; u32::from_be_bytes([header[1], header[2], header[3], header[4]]) as usize - 4];
        client.read_exact(&mut body)?;
        match header[0] {
            b'Q' => {
                let text = body.strip_suffix(&[0]).unwrap_or(&body);
                let lower = String::from_utf8_lossy(text).to_lowercase();
                if text != b";" {
                    heard.push(statement(text));
                }
                if lower.starts_with("copy t from stdin") {
                    rows.clear();
                    client.write_all(&message(b'G', &[0, 0, 0]))?;
                    continue;
                }
                if let Some(value) = lower.strip_prefix("set standard_conforming_strings = ") {
                    client.write_all(&setting("standard_conforming_strings", value.trim_end_matches(';')))?;
                }
                client.write_all(&[message(b'C', b"SET\0"), ready.clone()].concat())?;
            }
            b'd' => rows.extend_from_slice(&body),
            b'c' | b'f' => {
                // Some versions send the line that ends the rows, too.
                let end = [&b"\\.\n"[..], b"\\.\r\n"].into_iter().find_map(|end| rows.strip_suffix(end));
                heard.push(Heard::Rows(end.unwrap_or(&rows).to_vec()));
                client.write_all(&[message(b'C', b"COPY 0\0"), ready.clone()].concat())?;
            }
            _ => return Ok(heard),
        }
    }
}

fn divided(script: &[u8], chunk: usize) -> Option<Vec<Heard>> {
    let mut heard = Vec::new();
    let mut rows = Vec::new();
    let mut splitter = Splitter::new();
    let mut chunks = script.chunks(chunk);
    let mut has_ended = false;
    loop {
        let mut followed = None;
        match splitter.next_piece().ok()? {
            Some(Piece::Statement { text, .. }) => {
                heard.push(statement(text));
                followed = Some(String::from_utf8_lossy(text).into_owned());
            }
            Some(Piece::Comment { .. }) => {}
            Some(Piece::Command { .. }) => return None,
            Some(Piece::Rows { bytes, .. }) => rows.extend_from_slice(bytes),
            Some(Piece::EndOfRows { .. }) => heard.push(Heard::Rows(std::mem::take(&mut rows))),
            None => match chunks.next() {
                Some(chunk) => splitter.feed(chunk).ok()?,
                None if has_ended => return Some(heard),
                None => {
                    splitter.end();
                    has_ended = true;
                }
            },
        }
        if let Some(text) = followed {
            splitter.follow(&text);
        }
    }
}

/// A script whose pieces are those that tempt a splitter.
fn script(random: &mut Random) -> String {
    const VALUES: [&str; 26] = [
        "';'",
        "''';'",
        "E'\\';'",
        "e'\\\\'",
        "U&';'",
        "U&\"a;\"",
        "\";\"\"\"",
        "B'1'",
        "x'a'",
        "N';'",
        "$$;'$$",
        "$a$;$$;$b$$a$",
        "$ä$;$ä$",
        "1",
        "a$b$",
        "$1",
        "(1; 2)",
        "a . b",
        "/* a ; 'b /* $$ */ \" */",
        "-- a ; 'b\n",
        "/**/",
        "'a'\n 'b;'",
        "1::text",
        "+ -1",
        "'\\'",
        "E''",
    ];
    const STATEMENTS: [&str; 8] = [
        "COPY t FROM stdin;\n1\t\\\\.\n\\\\N\n\\.\n",
        "copy t from STDIN WITH (FORMAT csv);\n\"a\nb\"\n\n\\.\n",
        "COPY t FROM stdin;\n\\.\n",
        "COPY t FROM stdin;\na;'b\r\n\\.x\n\\.\r\n",
        "CREATE FUNCTION f() RETURNS int BEGIN ATOMIC SELECT CASE WHEN 1 THEN 2 END; SELECT 1; END;\n",
        "CREATE OR REPLACE PROCEDURE p() LANGUAGE sql BEGIN ATOMIC END;\n",
        "SET standard_conforming_strings = off;\n",
        "SET standard_conforming_strings = on;\n",
    ];
    let mut text = String::new();
    for _ in 0..1 + random.below(6) {
        if random.below(3) == 0 {
            text.push_str(STATEMENTS[random.below(STATEMENTS.len() as u64) as usize]);
            continue;
        }
        text.push_str("SELECT ");
        for _ in 0..1 + random.below(5) {
            text.push_str(VALUES[random.below(VALUES.len() as u64) as usize]);
            text.push_str([" ", ", ", "\n", ""][random.below(4) as usize]);
        }
        text.push_str([";", " ;\n", ";;\n"][random.below(3) as usize]);
    }
    // Sometimes a character is missing.
    if random.below(4) == 0 {
        let position = random.below(text.chars().count() as u64) as usize;
        text = text
            .chars()
            .enumerate()
            .filter(|(number, _)| *number != position)
            .map(|(_, character)| character)
            .collect();
    }
    text
}

#[test]
fn scripts_are_divided_as_by_psql() {
    let psql = installation().program("psql");
    if !psql.exists() {
        return;
    }
    let scratch = ScratchDirectory::create("psql_oracle").unwrap();
    let path = scratch.path().join("a.sql");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for client in listener.incoming().flatten() {
            if sender.send(listen(client)).is_err() {
                return;
            }
        }
    });
    let mut random = Random(crate::harness::number("PGCOPY_TEST_SEED", 1));
    let rounds = crate::harness::number("PGCOPY_TEST_SCRIPTS", 400);
    let mut compared = 0;
    for _ in 0..rounds {
        let script = script(&mut random);
        let ours = divided(script.as_bytes(), script.len().max(1));
        for chunk in [1, 3, 16] {
            assert_eq!(divided(script.as_bytes(), chunk), ours, "{script}");
        }
        let Some(ours) = ours else { continue };
        // A damaged comment is none that is left out of the comparison.
        let bare = COMMENTS.iter().fold(script.clone(), |text, comment| text.replace(comment, " "));
        if bare.contains("--") || bare.contains("/*") {
            continue;
        }
        fs::write(&path, &script).unwrap();
        let connection =
            format!("host=127.0.0.1 port={port} user=postgres dbname=x sslmode=disable gssencmode=disable");
        Command::new(&psql)
            .args(["-X", "-q", "-d", &connection, "-f"])
            .arg(&path)
            .env("LC_ALL", "C.UTF-8")
            .output()
            .unwrap();
        let theirs = receiver.recv().unwrap().unwrap();
        assert_eq!(ours, theirs, "{script}");
        compared += 1;
    }
    assert!(compared > rounds / 3, "only {compared} of {rounds} scripts are whole");
}
