//! Ways to a source.

use crate::harness::certificates::{Authority, new_key};
use crate::harness::{Failure, Pair, describe, eventually, installation, text};
use openssl::symm::Cipher;
use postgres::{Client, NoTls};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use xtask::server::{self, Options, ScratchDirectory, Server};

/// Files that servers can read.
struct Files {
    directory: ScratchDirectory,
    owner: u32,
}

impl Files {
    fn new(name: &str, owner: u32) -> Self {
        Self { directory: ScratchDirectory::create(name).unwrap(), owner }
    }

    fn write(&self, name: &str, bytes: &[u8], mode: u32) -> String {
        let path = self.directory.path().join(name);
        write(&path, bytes, mode, self.owner);
        path.display().to_string()
    }
}

fn write(path: &Path, bytes: &[u8], mode: u32, owner: u32) {
    fs::write(path, bytes).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    chown(path, Some(owner), None).unwrap();
}

/// A source with certificates, which lets in by name: `app` with a password, `certified` with a certificate,
/// `nowhere` not without encryption, `plain` only without.
fn encrypting_source(name: &str, authority: &Authority, certificate_for: (&str, &str)) -> (Server, Files) {
    let mut source = Server::start(
        &installation(),
        Options::named(name)
            .setting("log_connections = on")
            .access("hostssl all certified 127.0.0.1/32 cert")
            .access("hostssl all encrypted 127.0.0.1/32 trust")
            .access("host all encrypted 127.0.0.1/32 reject")
            .access("hostssl all plain 127.0.0.1/32 reject")
            .access("host all app,certified 127.0.0.1/32 scram-sha-256"),
    )
    .unwrap();
    let owner = fs::metadata(source.data()).unwrap().uid();
    let (key, certificate) = authority.issue(certificate_for.0, Some(certificate_for.1), 7);
    for (file, bytes) in [
        ("server.key", key.private_key_to_pem_pkcs8().unwrap()),
        ("server.crt", certificate.to_pem().unwrap()),
        ("root.crt", authority.certificate.to_pem().unwrap()),
    ] {
        write(&source.data().join(file), &bytes, 0o600, owner);
    }
    let mut client = source.connect("postgres");
    for sql in [
        "ALTER SYSTEM SET ssl = on",
        "ALTER SYSTEM SET ssl_ca_file = 'root.crt'",
        "CREATE ROLE app LOGIN PASSWORD 'secret'",
        "CREATE ROLE certified LOGIN SUPERUSER",
        "CREATE ROLE encrypted LOGIN SUPERUSER",
        "CREATE ROLE plain LOGIN SUPERUSER",
    ] {
        client.batch_execute(sql).unwrap();
    }
    drop(client);
    source.restart().unwrap();
    (source, Files::new(&format!("{name}-files"), owner))
}

/// A pair whose source is a server of the test's own; the destination is the shared one.
fn pair_from(source: &Server, name: &str) -> Pair {
    let destination = std::env::var("PGCOPY_TEST_DESTINATION_PORT").unwrap().parse().unwrap();
    let mut pair = Pair::on(source.port(), destination, name);
    fill(&mut pair.source);
    pair.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY, body text)").unwrap();
    pair
}

fn fill(source: &mut Client) {
    source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, body text);
             INSERT INTO item SELECT i, repeat(md5(i::text), 40) FROM generate_series(1, 5000) i;
             GRANT SELECT ON item TO PUBLIC",
        )
        .unwrap();
}

fn try_pull(client: &mut Client, dsn: &str) -> Result<(), Failure> {
    let sql = format!("SELECT * FROM pgcopy.pull('{}', overwrite => true, parallel => 1)", dsn.replace('\'', "''"));
    client.query(&sql, &[]).map(|_| ()).map_err(|error| Failure::of(&error))
}

#[test]
fn every_sslmode() {
    let authority = Authority::new("an authority");
    let stranger = Authority::new("a stranger");
    let (source, files) = encrypting_source("sslmodes", &authority, ("db.example", "127.0.0.1"));
    let (misnamed, _misnamed_files) = encrypting_source("misnamed", &authority, ("other.example", "127.0.0.9"));
    let root = files.write("root.crt", &authority.certificate.to_pem().unwrap(), 0o644);
    let strange = files.write("strange.crt", &stranger.certificate.to_pem().unwrap(), 0o644);
    let nothing = files.write("nothing.crt", b"nothing of the kind", 0o644);
    let mut pair = pair_from(&source, "sslmodes");
    misnamed.connect("postgres").batch_execute("CREATE DATABASE sslmodes").unwrap();
    fill(&mut misnamed.connect("sslmodes"));
    let database = "dbname=sslmodes";
    let at = |server: &Server| format!("host=127.0.0.1 port={} {database}", server.port());
    let (here, there) = (at(&source), at(&misnamed));
    let named = format!("host=db.example hostaddr=127.0.0.1 port={} {database}", source.port());
    // What is asked for, and whether the connection is encrypted, or why there is none.
    type Case = (String, Result<bool, &'static str>);
    let cases: Vec<Case> = vec![
        (format!("{here} user=postgres sslmode=disable"), Ok(false)),
        (format!("{here} user=postgres sslmode=allow"), Ok(false)),
        (format!("{here} user=postgres sslmode=prefer"), Ok(true)),
        (format!("{here} user=postgres"), Ok(true)),
        (format!("{here} user=postgres sslmode=require"), Ok(true)),
        (format!("{here} user=encrypted sslmode=disable"), Err("pg_hba.conf rejects connection")),
        (format!("{here} user=encrypted sslmode=allow"), Ok(true)),
        (format!("{here} user=plain sslmode=prefer"), Ok(false)),
        (format!("{here} user=plain sslmode=require"), Err("pg_hba.conf rejects connection")),
        (format!("{here} user=postgres sslmode=verify-ca sslrootcert={root}"), Ok(true)),
        (format!("{here} user=postgres sslmode=verify-full sslrootcert={root}"), Ok(true)),
        (format!("{named} user=postgres sslmode=verify-full sslrootcert={root}"), Ok(true)),
        (format!("{there} user=postgres sslmode=verify-ca sslrootcert={root}"), Ok(true)),
        (format!("{there} user=postgres sslmode=verify-full sslrootcert={root}"), Err("IP address mismatch")),
        (
            format!(
                "{} user=postgres sslmode=verify-full sslrootcert={root}",
                named.replace("db.example", "x.example")
            ),
            Err("hostname mismatch"),
        ),
        (format!("{here} user=postgres sslmode=verify-ca sslrootcert={strange}"), Err("certificate verify failed")),
        // As in libpq, a root certificate that was given is used in every mode.
        (format!("{here} user=postgres sslmode=require sslrootcert={strange}"), Err("certificate verify failed")),
        (format!("{here} user=postgres sslrootcert=system"), Err("certificate verify failed")),
        (format!("{here} user=postgres sslmode=verify-full"), Err("sslmode=verify-full needs a root certificate")),
        (format!("{here} user=postgres sslmode=verify-ca sslrootcert={nothing}"), Err("could not use the file of")),
        (format!("{here} user=postgres sslmode=verify-ca sslrootcert=/nowhere"), Err("could not read the file of")),
        (format!("{here} user=postgres sslmode=require ssl_min_protocol_version=TLSv1.3"), Ok(true)),
        (format!("{here} user=postgres sslmode=require sslsni=0"), Ok(true)),
    ];
    for (dsn, expected) in cases {
        let encrypted = || {
            [&source, &misnamed].iter().map(|server| server.log_text().matches("SSL enabled").count()).sum::<usize>()
        };
        let before = encrypted();
        match (try_pull(&mut pair.destination, &dsn), expected) {
            (Ok(()), Ok(expected)) => assert_eq!(encrypted() > before, expected, "{dsn}"),
            (Err(failure), Err(expected)) => {
                assert!(failure.message.contains(expected), "{dsn}: {failure:?}");
                if expected.contains("mismatch") {
                    let host = if dsn.contains("x.example") { "x.example" } else { "127.0.0.1" };
                    let hint = format!("The certificate is not made for host \"{host}\".");
                    assert!(failure.hint.starts_with(&hint), "{dsn}: {failure:?}");
                }
                assert!(["08001", "28000", "F0000"].contains(&failure.sqlstate.as_str()), "{dsn}: {failure:?}");
            }
            (outcome, expected) => panic!("{dsn}: {outcome:?} where {expected:?} was expected"),
        }
    }
    pair.assert_same_content();
    pair.assert_nothing_left();
    assert!(!source.log_text().contains("unexpected EOF"), "every connection says goodbye");
}

#[test]
fn what_the_operating_system_trusts() {
    let authority = Authority::new("an authority");
    let (source, files) = encrypting_source("system-roots", &authority, ("db.example", "127.0.0.1"));
    let root = files.write("root.crt", &authority.certificate.to_pem().unwrap(), 0o644);
    // OpenSSL takes this file for that of the system.
    let options = Options::named("system-roots-destination").variable("SSL_CERT_FILE", root);
    let destination = Server::start(&installation(), options).unwrap();
    let mut pair = Pair::on(source.port(), destination.port(), "system_roots");
    fill(&mut pair.source);
    pair.destination.batch_execute("CREATE TABLE item (id int PRIMARY KEY, body text)").unwrap();
    let dsn = |host: &str| {
        format!(
            "host={host} hostaddr=127.0.0.1 port={} user=postgres dbname=system_roots sslrootcert=system",
            source.port()
        )
    };
    try_pull(&mut pair.destination, &dsn("db.example")).unwrap();
    pair.assert_same_content();
    // It implies that names are compared.
    let refused = try_pull(&mut pair.destination, &dsn("x.example")).unwrap_err();
    assert!(refused.message.contains("hostname mismatch"), "{refused:?}");
    pair.assert_nothing_left();
}

#[test]
fn client_certificates_revocation_and_channel_binding() {
    let authority = Authority::new("an authority");
    let (source, files) = encrypting_source("certificates", &authority, ("db.example", "127.0.0.1"));
    let mut pair = pair_from(&source, "certificates");
    let (key, certificate) = authority.issue("certified", None, 8);
    let root = files.write("root.crt", &authority.certificate.to_pem().unwrap(), 0o644);
    let cert = files.write("client.crt", &certificate.to_pem().unwrap(), 0o644);
    let open_key = files.write("open.key", &key.private_key_to_pem_pkcs8().unwrap(), 0o644);
    let plain_key = files.write("client.key", &key.private_key_to_pem_pkcs8().unwrap(), 0o600);
    let locked = key.private_key_to_pem_pkcs8_passphrase(Cipher::aes_256_cbc(), b"open sesame").unwrap();
    let locked_key = files.write("locked.key", &locked, 0o600);
    let other_key = files.write("other.key", &new_key().private_key_to_pem_pkcs8().unwrap(), 0o600);
    let here = format!("host=127.0.0.1 port={} dbname=certificates", source.port());
    let with =
        |key: &str| format!("{here} user=certified sslmode=verify-full sslrootcert={root} sslcert={cert} sslkey={key}");
    let binding = format!("{here} user=app password=secret channel_binding");
    let cases: Vec<(String, Result<(), &str>)> = vec![
        (with(&plain_key), Ok(())),
        (format!("{} sslpassword='open sesame'", with(&locked_key)), Ok(())),
        (with(&locked_key), Err("could not use the file of \"sslkey\"")),
        (format!("{} sslpassword=wrong", with(&locked_key)), Err("could not use the file of \"sslkey\"")),
        (with(&other_key), Err("could not use the file of \"sslkey\"")),
        (with(&open_key), Err("is open to others")),
        (format!("{here} user=certified sslmode=require"), Err("requires a valid client certificate")),
        (format!("{binding}=require sslmode=require"), Ok(())),
        (format!("{binding}=prefer sslmode=disable"), Ok(())),
        (format!("{binding}=require sslmode=disable"), Err("channel binding")),
        (format!("{here} user=postgres sslmode=require channel_binding=require"), Err("channel binding")),
        (format!("{here} user=app password=secret require_auth=scram-sha-256"), Ok(())),
        (format!("{here} user=app password=secret require_auth=!password,!md5"), Ok(())),
        (
            format!("{here} user=app password=secret require_auth=md5"),
            Err("authentication by scram-sha-256, which require_auth forbids"),
        ),
        (
            format!("{here} user=postgres require_auth=scram-sha-256"),
            Err("no authentication, which require_auth forbids"),
        ),
        (format!("{here} user=app"), Err("the source asks for a password")),
        (format!("{here} user=app password=wrong"), Err("password authentication failed")),
    ];
    for (dsn, expected) in cases {
        match (try_pull(&mut pair.destination, &dsn), expected) {
            (Ok(()), Ok(())) => {}
            (Err(failure), Err(expected)) => assert!(failure.message.contains(expected), "{dsn}: {failure:?}"),
            (outcome, expected) => panic!("{dsn}: {outcome:?} where {expected:?} was expected"),
        }
    }
    pair.assert_same_content();
    // Others than superusers name neither certificates nor keys, and no other files without the right to read them.
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             ALTER TABLE item OWNER TO app; DROP ROLE IF EXISTS librarian; CREATE ROLE librarian IN ROLE pg_read_server_files, app;
             SET ROLE app",
        )
        .unwrap();
    let by_password = format!("{here} user=app password=secret");
    let denied = |parameter: &str| format!("permission denied to use connection parameter \"{parameter}\"");
    for (dsn, parameter) in [
        (format!("{by_password} sslcert={cert} sslkey={plain_key}"), "sslcert"),
        (format!("{by_password} sslkey={plain_key}"), "sslkey"),
        (format!("{by_password} sslrootcert={root} sslmode=verify-ca"), "sslrootcert"),
    ] {
        let failure = try_pull(&mut pair.destination, &dsn).unwrap_err();
        assert_eq!((failure.sqlstate.as_str(), failure.message), ("42501", denied(parameter)));
    }
    pair.destination.batch_execute("RESET ROLE; SET ROLE librarian").unwrap();
    try_pull(&mut pair.destination, &format!("{by_password} sslrootcert={root} sslmode=verify-full")).unwrap();
    let failure =
        try_pull(&mut pair.destination, &format!("{by_password} sslcert={cert} sslkey={plain_key}")).unwrap_err();
    assert_eq!(failure.message, denied("sslcert"));
    // A superuser may put them where only the server and the role get at them.
    pair.destination
        .batch_execute(&format!(
            "RESET ROLE;
             CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy
                 OPTIONS (host '127.0.0.1', port '{}', dbname 'certificates', sslmode 'verify-full', sslrootcert '{root}');
             GRANT USAGE ON FOREIGN SERVER prod TO app;
             CREATE USER MAPPING FOR app SERVER prod
                 OPTIONS (user 'certified', sslcert '{cert}', sslkey '{locked_key}', sslpassword 'open sesame');
             SET ROLE app",
            source.port()
        ))
        .unwrap();
    let failure = try_pull(&mut pair.destination, "prod").unwrap_err();
    assert_eq!(failure.message, "password is required");
    pair.destination
        .batch_execute(
            "RESET ROLE; ALTER USER MAPPING FOR app SERVER prod OPTIONS (ADD password_required 'false'); SET ROLE app",
        )
        .unwrap();
    try_pull(&mut pair.destination, "prod").unwrap();
    pair.destination.batch_execute("RESET ROLE").unwrap();
    // The server's certificate is number 7.
    let revoked = |serial: &str| {
        let database = files.write(
            "index.txt",
            format!("R\t350101000000Z\t250101000000Z\t{serial}\tunknown\t/CN=x\n").as_bytes(),
            0o600,
        );
        let key = files.write("authority.key", &authority.key.private_key_to_pem_pkcs8().unwrap(), 0o600);
        let config = files.write(
            "openssl.cnf",
            format!("[ca]\ndefault_ca=d\n[d]\ndatabase={database}\ncertificate={root}\nprivate_key={key}\ndefault_md=sha256\ndefault_crl_days=2\n").as_bytes(),
            0o600,
        );
        let list = PathBuf::from(&database).with_file_name(format!("revoked-{serial}.crl"));
        let made = std::process::Command::new("openssl")
            .args(["ca", "-gencrl", "-config", &config, "-out"])
            .arg(&list)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        fs::set_permissions(&list, fs::Permissions::from_mode(0o644)).unwrap();
        list.display().to_string()
    };
    let verified = format!("{here} user=postgres sslmode=verify-full sslrootcert={root}");
    try_pull(&mut pair.destination, &format!("{verified} sslcrl={}", revoked("09"))).unwrap();
    let failure = try_pull(&mut pair.destination, &format!("{verified} sslcrl={}", revoked("07"))).unwrap_err();
    assert!(failure.message.contains("certificate revoked"), "{failure:?}");
    pair.destination.batch_execute("DROP OWNED BY librarian; DROP ROLE librarian").unwrap();
    pair.assert_same_content();
}

#[test]
fn unix_sockets() {
    let directory = ScratchDirectory::create("sockets").unwrap();
    let path = directory.path().display().to_string();
    let source = Server::start(
        &installation(),
        Options::named("socket-source")
            .setting(format!("unix_socket_directories = '{path}'"))
            .access("local all app scram-sha-256")
            // Whoever the destination's operating-system user is, is let in as the superuser.
            .access("local all postgres peer map=here")
            .access("local all all peer"),
    )
    .unwrap();
    let owner = if xtask::server::is_root() {
        let passwords = fs::read_to_string("/etc/passwd").unwrap();
        let uid = fs::metadata(source.data()).unwrap().uid().to_string();
        let line = passwords.lines().find(|line| line.split(':').nth(2) == Some(&uid)).unwrap();
        line.split(':').next().unwrap().to_owned()
    } else {
        std::env::var("USER").unwrap()
    };
    fs::write(source.data().join("pg_ident.conf"), format!("here {owner} postgres\n")).unwrap();
    source
        .connect("postgres")
        .batch_execute("SELECT pg_reload_conf(); CREATE ROLE app LOGIN PASSWORD 'secret'")
        .unwrap();
    let mut pair = pair_from(&source, "unix_sockets");
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE app LOGIN PASSWORD 'secret';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$; ALTER TABLE item OWNER TO app",
        )
        .unwrap();
    let port = source.port();
    let peer = format!("host={path} port={port} dbname=unix_sockets user=postgres");
    let uri = format!("postgresql:///unix_sockets?host={path}&port={port}&user=postgres&sslmode=verify-full");
    for dsn in [&peer, &uri] {
        try_pull(&mut pair.destination, dsn).unwrap_or_else(|failure| panic!("{dsn}: {failure:?}"));
    }
    pair.destination.batch_execute("SET ROLE app").unwrap();
    for dsn in [peer.clone(), format!("{peer} password=x")] {
        let failure = try_pull(&mut pair.destination, &dsn).unwrap_err();
        assert_eq!(failure.sqlstate, "2F003", "{dsn}: {failure:?}");
    }
    let by_password = format!("host={path} port={port} dbname=unix_sockets user=app password=secret");
    try_pull(&mut pair.destination, &by_password).unwrap();
    pair.destination.batch_execute("RESET ROLE").unwrap();
    pair.destination.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    let failure = try_pull(&mut pair.destination, &peer.replace(&path, &format!("{path}/nowhere"))).unwrap_err();
    assert_eq!(failure.sqlstate, "08001");
    assert!(failure.message.contains(&format!("socket \"{path}/nowhere/.s.PGSQL.{port}\"")), "{failure:?}");
    pair.assert_same_content();
}

#[test]
fn several_hosts_and_what_is_wanted_of_them() {
    let talkative =
        |name: &str| Options::named(name).setting("log_line_prefix = '[%a] '").setting("log_statement = all");
    let source = Server::start(&installation(), talkative("hosts-primary")).unwrap();
    let mut pair = pair_from(&source, "several_hosts");
    let standby = source.start_standby(talkative("hosts-standby")).unwrap();
    let position = text(&mut pair.source, "SELECT pg_current_wal_lsn()::text");
    let mut there = standby.connect("several_hosts");
    eventually("the standby has caught up", || {
        text(&mut there, &format!("SELECT (pg_last_wal_replay_lsn() >= '{position}')::text")) == "true"
    });
    drop(there);
    let (primary, other) = (source.port(), standby.port());
    pair.destination.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    // Who answers is told by the application names that the two have seen.
    let cases = [
        ("port=1,PRIMARY", "any", Ok(primary)),
        ("port=STANDBY,PRIMARY", "any", Ok(other)),
        ("port=STANDBY,PRIMARY", "read-write", Ok(primary)),
        ("port=STANDBY,PRIMARY", "primary", Ok(primary)),
        ("port=PRIMARY,STANDBY", "read-only", Ok(other)),
        ("port=PRIMARY,STANDBY", "standby", Ok(other)),
        ("port=PRIMARY,STANDBY", "prefer-standby", Ok(other)),
        ("port=PRIMARY,1", "prefer-standby", Ok(primary)),
        ("port=PRIMARY,1", "standby", Err("the server is not what target_session_attrs=standby asks for")),
        ("port=STANDBY,STANDBY", "read-write", Err("the server is not what target_session_attrs=read-write asks for")),
    ];
    for (position, (ports, wanted, expected)) in cases.into_iter().enumerate() {
        let ports = ports.replace("PRIMARY", &primary.to_string()).replace("STANDBY", &other.to_string());
        let name = format!("case_{position}");
        let dsn = format!(
            "host=127.0.0.1,127.0.0.1 {ports} user=postgres dbname=several_hosts target_session_attrs={wanted} application_name={name}"
        );
        match (try_pull(&mut pair.destination, &dsn), expected) {
            (Ok(()), Ok(port)) => {
                let server = if port == primary { &source } else { &standby };
                let exported = format!("[{name}] LOG:  statement: SELECT pg_export_snapshot()");
                assert!(server.log_text().contains(&exported), "{dsn}");
            }
            (Err(failure), Err(expected)) => {
                assert!(failure.message.contains(expected), "{dsn}: {failure:?}");
                assert!(
                    failure.detail.contains("port 1") || failure.detail.contains("target_session_attrs"),
                    "{failure:?}"
                );
            }
            (outcome, expected) => panic!("{dsn}: {outcome:?} where {expected:?} was expected"),
        }
        pair.assert_same_content();
    }
    // A session that may not write is none for reading and writing, whatever the server is.
    let options = "options='-c default_transaction_read_only=on' target_session_attrs";
    let dsn = pair.dsn();
    try_pull(&mut pair.destination, &format!("{dsn} {options}=read-only")).unwrap();
    let failure = try_pull(&mut pair.destination, &format!("{dsn} {options}=read-write")).unwrap_err();
    assert_eq!(failure.sqlstate, "08001");
    // Once a server has refused us, the next is not asked.
    let failure = try_pull(
        &mut pair.destination,
        &format!(
            "host=127.0.0.1,127.0.0.1 port={primary},{other} user=postgres dbname=not_there application_name=refused"
        ),
    )
    .unwrap_err();
    assert_eq!(failure.sqlstate, "3D000");
    assert!(!standby.log_text().contains("not_there"));
}

#[test]
fn keepalives_and_timeouts() {
    let mut pair = Pair::with("keepalives", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    pair.destination.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    let source_port = pair.source_port;
    // What a transaction has once seen of others' activity, it goes on seeing.
    let mut observer = pair.another_source_session();
    // State and timer of our connections, as the kernel has them: 2 is the keepalive timer.
    let timers = |name: &str, observer: &mut Client| -> Vec<String> {
        let ports = crate::harness::texts(
            observer,
            &format!("SELECT client_port::text FROM pg_stat_activity WHERE application_name = '{name}'"),
        );
        let connections = fs::read_to_string("/proc/net/tcp").unwrap();
        ports
            .iter()
            .filter_map(|port| {
                let local = format!("0100007F:{:04X} 0100007F:{source_port:04X}", port.parse::<u16>().unwrap());
                let line = connections.lines().find(|line| line.contains(&local))?;
                Some(line.split_whitespace().nth(5)?.split(':').next()?.to_owned())
            })
            .collect()
    };
    for (parameters, name, expected) in [
        (
            "keepalives=1 keepalives_idle=30 keepalives_interval=5 keepalives_count=3 tcp_user_timeout=60000",
            "alive",
            "02",
        ),
        ("keepalives=0", "quiet", "00"),
    ] {
        pair.source.batch_execute("BEGIN; LOCK TABLE item").unwrap();
        let sql = pair
            .pull_sql("overwrite => true")
            .replace("dbname=", &format!("{parameters} application_name={name} dbname="));
        let mut session = pair.another_destination_session();
        std::thread::scope(|scope| {
            let pull =
                scope.spawn(move || session.query(&sql, &[]).unwrap_or_else(|error| panic!("{}", describe(&error))));
            eventually("the pull waits for the source's lock", || {
                let waiting = format!(
                    "SELECT count(*)::text FROM pg_stat_activity WHERE application_name = '{name}' AND wait_event_type = 'Lock'"
                );
                text(&mut observer, &waiting) == "1"
            });
            eventually("the answer's own timers are over", || timers(name, &mut observer) == [expected]);
            pair.source.batch_execute("COMMIT").unwrap();
            pull.join().unwrap();
        });
    }
    pair.assert_same_content();
    // Accepts, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let failure =
        try_pull(&mut pair.destination, &format!("host=127.0.0.1 port={port} user=x connect_timeout=1")).unwrap_err();
    assert_eq!(failure.sqlstate, "08001");
    assert!(failure.message.ends_with("timeout expired"), "{failure:?}");
    // And without a timeout it can be cancelled.
    let cancel = pair.destination.cancel_token();
    let mut observer = pair.another_destination_session();
    std::thread::scope(|scope| {
        let destination = &mut pair.destination;
        let pull = scope.spawn(move || try_pull(destination, &format!("host=127.0.0.1 port={port} user=x")));
        eventually("the pull has begun", || {
            text(
                &mut observer,
                "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%user=x''%' AND state = 'active'",
            ) == "2"
        });
        cancel.cancel_query(NoTls).unwrap();
        assert_eq!(pull.join().unwrap().unwrap_err().sqlstate, "57014");
    });
}

#[test]
fn passing_failures_are_tried_again_and_nothing_else() {
    let authority = Authority::new("an authority");
    let (mut source, _files) = encrypting_source("retries", &authority, ("db.example", "127.0.0.1"));
    let mut pair = pair_from(&source, "retries");
    let dsn = pair.dsn();
    let mut session = pair.another_destination_session();
    // Down when the pull begins, up a little later.
    source.stop("INT").unwrap();
    session.batch_execute("SET pgcopy.retry_timeout = '10min'").unwrap();
    let begun = Mutex::new(false);
    std::thread::scope(|scope| {
        let (begun, dsn) = (&begun, &dsn);
        let pull = scope.spawn(move || {
            *begun.lock().unwrap() = true;
            try_pull(&mut session, dsn)
        });
        eventually("the pull waits", || {
            text(
                &mut pair.destination,
                "SELECT count(*)::text FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '%pgcopy.pull(%' AND state = 'active'",
            ) == "2"
        });
        source.restart().unwrap();
        pull.join().unwrap().unwrap_or_else(|failure| panic!("{failure:?}"));
    });
    pair.source = source.connect("retries");
    pair.assert_same_content();
    // Too many connections pass as well.
    for setting in ["max_connections = 10", "superuser_reserved_connections = 0"] {
        source.connect("postgres").batch_execute(&format!("ALTER SYSTEM SET {setting}")).unwrap();
    }
    source.restart().unwrap();
    pair.source = source.connect("retries");
    let crowd: Vec<Client> = (0..9).map(|_| source.connect("retries")).collect();
    let mut session = pair.another_destination_session();
    session.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    assert_eq!(try_pull(&mut session, &dsn).unwrap_err().sqlstate, "53300");
    session.batch_execute("SET pgcopy.retry_timeout = '10min'").unwrap();
    let refused = || source.log_text().matches("sorry, too many clients already").count();
    let before = refused();
    std::thread::scope(|scope| {
        let dsn = &dsn;
        let pull = scope.spawn(move || try_pull(&mut session, dsn));
        eventually("it was refused again and again", || refused() > before + 2);
        drop(crowd);
        pull.join().unwrap().unwrap_or_else(|failure| panic!("{failure:?}"));
    });
    pair.assert_same_content();
    // A wrong password is wrong at once, with any patience.
    pair.destination.batch_execute("SET pgcopy.retry_timeout = '10min'").unwrap();
    let attempts = || source.log_text().matches("password authentication failed for user \"app\"").count();
    let before = attempts();
    let wrong = format!(
        "{} user=app password=wrong sslmode=disable",
        server::dsn(source.port(), "retries").replace("user=postgres ", "")
    );
    assert_eq!(try_pull(&mut pair.destination, &wrong).unwrap_err().sqlstate, "28P01");
    assert_eq!(attempts(), before + 1);
    // Nor does a certificate get better.
    let refused = try_pull(&mut pair.destination, &format!("{dsn} sslrootcert=system")).unwrap_err();
    assert_eq!(refused.sqlstate, "08001");
    // Who is not patient hears at once of a source that is down.
    pair.destination.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    let refused = try_pull(&mut pair.destination, "host=127.0.0.1 port=1 user=postgres").unwrap_err();
    assert_eq!(refused.sqlstate, "08001");
    assert!(refused.message.contains("Connection refused"), "{refused:?}");
}

#[test]
fn parameters_that_are_not_supported_are_named() {
    let mut pair = Pair::with("unsupported", "CREATE TABLE item (id int PRIMARY KEY)", "");
    let dsn = pair.dsn();
    for (parameter, sqlstate, message, hint) in [
        ("service=prod", "0A000", "connection parameter \"service\" is not supported", "Leave it out"),
        ("passfile=/x", "0A000", "connection parameter \"passfile\" is not supported", "Leave it out"),
        ("gssencmode=require", "0A000", "connection parameter \"gssencmode\" is not supported", "Leave it out"),
        ("krbsrvname=x", "0A000", "connection parameter \"krbsrvname\" is not supported", "Leave it out"),
        ("sslmod=x", "42601", "unknown connection parameter", "Perhaps you meant \"sslmode\"."),
        ("sslmode=x", "42601", "invalid value for connection parameter \"sslmode\"", "Valid values are: disable, "),
        ("sslrootcert=system sslmode=require", "42601", "sslrootcert=system needs sslmode=verify-full", "Write a URI"),
    ] {
        let failure = try_pull(&mut pair.destination, &format!("{dsn} {parameter}")).unwrap_err();
        assert_eq!(failure.sqlstate, sqlstate, "{parameter}");
        assert_eq!(failure.message, format!("invalid connection string: {message}"));
        assert!(failure.hint.starts_with(hint), "{failure:?}");
    }
    try_pull(&mut pair.destination, &format!("{dsn} gssencmode=prefer client_encoding=latin1 sslcompression=0"))
        .unwrap();
}
