//! Ways to a source.

use crate::harness::{Failure, OwnServers};
use openssl::asn1::Asn1Time;
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::rsa::Rsa;
use openssl::x509::extension::{BasicConstraints, SubjectAlternativeName};
use openssl::x509::{X509, X509NameBuilder};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::Path;
use xtask::server::{Options, ScratchDirectory};

/// A key and a certificate for this machine that vouches for itself, as PEM.
fn certificate() -> (Vec<u8>, Vec<u8>) {
    let key = PKey::from_rsa(Rsa::generate(2048).unwrap()).unwrap();
    let mut name = X509NameBuilder::new().unwrap();
    name.append_entry_by_text("CN", "a source").unwrap();
    let name = name.build();
    let mut builder = X509::builder().unwrap();
    builder.set_version(2).unwrap();
    builder.set_subject_name(&name).unwrap();
    builder.set_issuer_name(&name).unwrap();
    builder.set_pubkey(&key).unwrap();
    builder.set_not_before(&Asn1Time::days_from_now(0).unwrap()).unwrap();
    builder.set_not_after(&Asn1Time::days_from_now(2).unwrap()).unwrap();
    builder.append_extension(BasicConstraints::new().critical().ca().build().unwrap()).unwrap();
    let names = SubjectAlternativeName::new().ip("127.0.0.1").build(&builder.x509v3_context(None, None)).unwrap();
    builder.append_extension(names).unwrap();
    builder.sign(&key, MessageDigest::sha256()).unwrap();
    (key.private_key_to_pem_pkcs8().unwrap(), builder.build().to_pem().unwrap())
}

fn write(path: &Path, bytes: &[u8], mode: u32, owner: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), None).unwrap();
}

#[test]
fn an_encrypted_source() {
    let servers = OwnServers::start("tls", Options::named("tls-destination"));
    let mut pair = servers.pair("tls");
    pair.both("CREATE TABLE item (id int PRIMARY KEY, body text)");
    pair.source
        .batch_execute("INSERT INTO item SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 20000) i")
        .unwrap();
    let (key, certificate_of_source) = certificate();
    let owner = fs::metadata(servers.source.data()).unwrap().uid();
    write(&servers.source.data().join("server.key"), &key, 0o600, owner);
    write(&servers.source.data().join("server.crt"), &certificate_of_source, 0o600, owner);
    for sql in ["ALTER SYSTEM SET ssl = on", "ALTER SYSTEM SET log_connections = on", "SELECT pg_reload_conf()"] {
        pair.source.batch_execute(sql).unwrap();
    }
    crate::harness::eventually("the source encrypts", || crate::harness::text(&mut pair.source, "SHOW ssl") == "on");
    let files = ScratchDirectory::create("tls-files").unwrap();
    let (root, stranger) = (files.path().join("root.crt"), files.path().join("stranger.crt"));
    write(&root, &certificate_of_source, 0o644, owner);
    write(&stranger, &certificate().1, 0o644, owner);
    let dsn = pair.dsn();
    let mut pull = |parameters: &str| {
        pair.destination.query(&format!("SELECT * FROM pgcopy.pull('{dsn} {parameters}', overwrite => true)"), &[])
    };
    for parameters in [
        "sslmode=prefer".to_owned(),
        "sslmode=require".to_owned(),
        format!("sslmode=verify-ca sslrootcert={}", root.display()),
        format!("sslmode=verify-full sslrootcert={}", root.display()),
    ] {
        let before = servers.source.log_text().matches("SSL enabled").count();
        pull(&parameters).unwrap_or_else(|error| panic!("{parameters}: {}", crate::harness::describe(&error)));
        let after = servers.source.log_text().matches("SSL enabled").count();
        assert!(after > before, "{parameters}: the connection is encrypted");
    }
    let error = pull(&format!("sslmode=verify-full sslrootcert={}", stranger.display())).unwrap_err();
    assert_eq!(Failure::of(&error).sqlstate, "08001", "{}", crate::harness::describe(&error));
    pair.assert_same_content();
    pair.assert_nothing_left();
    assert!(!servers.source.log_text().contains("unexpected EOF"), "every connection says goodbye");
}
