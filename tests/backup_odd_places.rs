//! Odd names of places, odd settings of the server, and places that are prepared for a restore.

use crate::backups::{ALL, LEDGER, Place, ROWS, follow, has_programs};
use crate::harness::text;
use std::fs;
use std::os::unix::fs::{MetadataExt, chown, symlink};
use std::path::{Path, PathBuf};
use xtask::server::{Options, ScratchDirectory};

/// A directory that belongs to the server's user.
fn make(path: PathBuf, like: &Path) -> PathBuf {
    let owner = fs::metadata(like).unwrap();
    fs::create_dir(&path).unwrap();
    chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
    path
}

#[test]
fn tablespaces_with_odd_names() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_odd");
    place.client.batch_execute(LEDGER).unwrap();
    let spaces = ScratchDirectory::create("odd").unwrap();
    // Links of tablespaces lead to links of the administrator.
    let real = make(spaces.path().join("real"), place.server.data());
    symlink(&real, spaces.path().join("link")).unwrap();
    let names = ["a\\b", "a=b", "a\nb c", "it $HOME \"x\"", "ä%f"];
    let mut places: Vec<PathBuf> =
        names.iter().map(|name| make(spaces.path().join(name), place.server.data())).collect();
    places.push(spaces.path().join("link"));
    let mut mapping = serde_json::Map::new();
    for (number, path) in places.iter().enumerate() {
        let path = path.to_str().unwrap();
        place.client.batch_execute(&format!("CREATE TABLESPACE s{number} LOCATION '{path}'")).unwrap();
        place
            .client
            .batch_execute(&format!("CREATE TABLE t{number} TABLESPACE s{number} AS SELECT generate_series(1, 1000) i"))
            .unwrap();
        let new = place.restored.path().join(format!("space{number}")).display().to_string();
        mapping.insert(path.to_owned(), new.into());
    }
    for (name, arguments) in [("tar", ", compress => 'none'"), ("plain", ", format => 'plain'")] {
        place.create(name, arguments);
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
        let page = fs::read_to_string(place.directory.path().join(name).join("RESTORE.md")).unwrap();
        assert!(page.lines().all(|line| !line.starts_with("b c")) && page.contains("a\\nb c"), "{page}");
        let mapping = serde_json::Value::from(mapping.clone()).to_string();
        let restored = place.restore(name, name, &format!(", tablespaces => '{}'", mapping.replace('\'', "''")));
        let mut there = restored.connect();
        let sum: Vec<String> = (0..places.len()).map(|number| format!("(SELECT sum(i) FROM t{number})")).collect();
        let sum = text(&mut there, &format!("SELECT ({})::text", sum.join(" + ")));
        assert_eq!(sum, (500_500 * places.len()).to_string());
        let old = text(
            &mut there,
            "SELECT count(*)::text FROM pg_tablespace WHERE pg_tablespace_location(oid) LIKE '%/odd-%'",
        );
        assert_eq!(old, "0");
        drop(there);
        drop(restored);
        for number in 0..places.len() {
            fs::remove_dir_all(place.restored.path().join(format!("space{number}"))).unwrap();
        }
    }
}

/// An empty directory that somebody has prepared is there as long as nothing takes its place.
#[test]
fn a_prepared_directory_stays_where_a_restore_fails() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_prepared");
    let spaces = ScratchDirectory::create("prepared").unwrap();
    let space = spaces.path().display().to_string();
    place.client.batch_execute(&format!("CREATE TABLESPACE space LOCATION '{space}'")).unwrap();
    place.client.batch_execute(&format!("{LEDGER} TABLESPACE space")).unwrap();
    place.create("a", ", compress => 'none'");
    let target = make(place.restored.path().join("data"), place.server.data());
    let new = make(place.restored.path().join("space"), place.server.data());
    let before = (fs::metadata(&target).unwrap().ino(), fs::metadata(&new).unwrap().ino());
    let mapped = format!(", tablespaces => '{{\"{space}\": \"{}\"}}'", new.display());
    // A later place is taken, or the backup is damaged.
    fs::write(new.join("file"), "mine").unwrap();
    assert_eq!(place.restore_failure("a", &target, &mapped).sqlstate, "58P02");
    fs::remove_file(new.join("file")).unwrap();
    let archive = place.directory.path().join("a/data/base.tar");
    let whole = fs::read(&archive).unwrap();
    fs::write(&archive, &whole[..whole.len() / 2]).unwrap();
    assert_eq!(place.restore_failure("a", &target, &mapped).sqlstate, "XX001");
    assert_eq!((fs::metadata(&target).unwrap().ino(), fs::metadata(&new).unwrap().ino()), before);
    assert_eq!(fs::read_dir(place.restored.path()).unwrap().count(), 2);
    fs::write(&archive, &whole).unwrap();
    let restored = place.restore("a", "data", &mapped);
    assert_eq!(text(&mut restored.connect(), ROWS), "0 rows to 0");
}

/// Settings of a server that has standbys, or is meant to become a late one, do not make its copy wait.
#[test]
fn restored_servers_wait_for_nobody() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_waiting");
    place.client.batch_execute(LEDGER).unwrap();
    place.client.batch_execute("CREATE UNLOGGED TABLE passing AS SELECT 1").unwrap();
    // The server itself has not read them when the backup is taken.
    place.client.batch_execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'").unwrap();
    place.client.batch_execute("ALTER SYSTEM SET recovery_min_apply_delay = '1h'").unwrap();
    place.create("first", "");
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    place.archive_all();
    let by_call = place.restore("first", "call", "");
    let by_hand = follow(&place.directory.path().join("first/RESTORE.md"), place.restored.path().join("by-hand"));
    for restored in [by_call, by_hand] {
        let mut there = restored.connect();
        assert_eq!(text(&mut there, ROWS), "1 rows to 1");
        assert_eq!(text(&mut there, "SHOW synchronous_standby_names"), "");
        assert_eq!(text(&mut there, "SELECT count(*)::text FROM passing"), "0");
        there.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    }
}

/// A slot that keeps more WAL than slots may would have the next checkpoint end the session that holds it.
#[test]
fn servers_that_let_slots_keep_little() {
    if !has_programs(&ALL) {
        return;
    }
    let options = Options::named("backup_slots")
        .setting("max_slot_wal_keep_size = 48MB")
        .setting("max_wal_size = 4GB")
        .setting("checkpoint_timeout = 30s");
    let mut place = Place::new("backup_slots", options);
    place.client.batch_execute(LEDGER).unwrap();
    for (name, arguments) in [("fast", ""), ("spread", ", checkpoint => 'spread'")] {
        place.client.batch_execute("CHECKPOINT").unwrap();
        for _ in 0..6 {
            place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
            place.client.batch_execute("SELECT pg_switch_wal()").unwrap();
        }
        place.create(name, arguments);
        assert_eq!(place.faults(name, ""), [""; 0], "{name}");
    }
    assert_eq!(text(&mut place.client, "SELECT count(*)::text FROM pg_replication_slots"), "0");
}

/// Names of files are in UTF-8, in databases of every encoding.
#[test]
fn archives_of_databases_in_other_encodings() {
    let mut place = Place::start("backup_latin");
    place
        .client
        .batch_execute("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'")
        .unwrap();
    let mut latin = place.server.connect("latin");
    latin.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let directory = make(place.directory.path().join("größe it's"), place.server.data());
    let enable = format!(
        "SELECT count(*)::text FROM pgcopy.wal_archive_enable('{}')",
        directory.display().to_string().replace('\'', "''")
    );
    assert_eq!(text(&mut latin, &enable), "4");
    place.server.restart().unwrap();
    place.client = place.server.connect("postgres");
    place.client.batch_execute("CREATE TABLE t ()").unwrap();
    let last = text(&mut place.client, "SELECT pg_walfile_name(pg_switch_wal())");
    crate::harness::eventually("the segment is archived", || directory.join("wal").join(&last).exists());
}

/// Sockets may be in no directory, or in one that is named from the data directory on.
#[test]
fn sockets_of_any_kind() {
    if !has_programs(&ALL) {
        return;
    }
    let options = Options::named("backup_sockets").access("local all,replication all trust");
    let mut place = Place::new("backup_sockets", options);
    for (name, sockets) in [("abstract", "'@pgcopy_odd'"), ("relative", "'@pgcopy_odd', '.'")] {
        place.client.batch_execute(&format!("ALTER SYSTEM SET unix_socket_directories = {sockets}")).unwrap();
        place.server.restart().unwrap();
        place.client = place.server.connect("postgres");
        place.create(name, "");
        assert_eq!(place.faults(name, ""), [""; 0]);
    }
}

/// A segment that was cut off, as a copy by hand may be, ends no recovery with an error: it is as good as missing.
#[test]
fn segments_that_were_cut_off() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::archiving("backup_cut");
    place.client.batch_execute(LEDGER).unwrap();
    place.create("first", "");
    let list = format!(
        "SELECT pg_walfile_name(start_lsn::pg_lsn) FROM pgcopy.backup_list('{}')",
        place.directory.path().display()
    );
    let of_backup = text(&mut place.client, &list);
    for _ in 0..2 {
        place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
        place.archive_all();
    }
    let wal = place.directory.path().join("wal");
    let mut segments: Vec<String> =
        fs::read_dir(&wal).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    segments.retain(|name| name.len() == 24);
    segments.sort();
    let cut = |name: &str| fs::OpenOptions::new().write(true).open(wal.join(name)).unwrap().set_len(1 << 20).unwrap();
    cut(segments.last().unwrap());
    let by_call = place.restore("first", "call", "");
    let by_hand = follow(&place.directory.path().join("first/RESTORE.md"), place.restored.path().join("by-hand"));
    for restored in [by_call, by_hand] {
        assert_eq!(text(&mut restored.connect(), ROWS), "1 rows to 1");
    }
    cut(&of_backup);
    for (until, message) in
        [("294276-12-31", "cannot be reached"), ("0044-03-15 BC", "newer than 0044-03-15 00:00:00.000000+00 BC")]
    {
        let failed =
            place.restore_failure("first", &place.restored.path().join("never"), &format!(", until => '{until}'"));
        assert!(failed.sqlstate == "55000" && failed.message.contains(message), "{failed:?}");
        assert!(!failed.detail.lines().any(str::is_empty), "{failed:?}");
    }
    let restored = place.restore("first", "consistent", ", until => 'consistent'");
    assert_eq!(text(&mut restored.connect(), ROWS), "0 rows to 0");
}
