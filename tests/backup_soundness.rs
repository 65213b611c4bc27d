//! What tells whether a backup is sound: the checksums of what lies beside its data, and drills, whatever became of roles since.

use crate::backups::{ALL, LEDGER, Place, has_programs, major};
use crate::harness::{Random, connect_as, no_process_left, number, text, texts};
use std::fs;
use std::path::Path;
use std::process::Command;
use xtask::server::{Options, ScratchDirectory};

impl Place {
    /// Has a backup look as one that was taken before its record had these fields.
    pub fn make_older(&self, name: &str, fields: &[&str]) {
        let record = self.directory.path().join(name).join("backup.json");
        let text = fs::read_to_string(&record).unwrap();
        let is_older =
            |line: &&str| !fields.iter().any(|field| line.trim_start().starts_with(&format!("\"{field}\":")));
        let older: Vec<&str> = text.lines().filter(is_older).collect();
        assert_eq!(older.len() + fields.len(), text.lines().count());
        fs::write(&record, older.join("\n")).unwrap();
        fs::remove_file(record.with_file_name("SHA256SUMS")).unwrap();
    }
}

/// Who logs in there is found out from the backup: its tables are looked at all the same.
#[test]
fn drills_find_a_superuser_whatever_it_is_called() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_superuser");
    place.client.batch_execute(LEDGER).unwrap();
    // An index that lacks entries, which a drill tells of only if it has looked.
    place.client.batch_execute("CREATE EXTENSION IF NOT EXISTS amcheck; CREATE TABLE loose (id int); CREATE INDEX ON loose (id); UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'loose_id_idx'::regclass; INSERT INTO loose SELECT generate_series(1, 10); UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'loose_id_idx'::regclass").unwrap();
    // The next name of the bootstrap superuser is that of somebody else at first.
    place.client.batch_execute("CREATE ROLE boss SUPERUSER LOGIN; CREATE ROLE chief LOGIN").unwrap();
    place.create("before", "");
    place.create("older", "");
    place.client.batch_execute("DROP ROLE chief").unwrap();
    place.client = connect_as(place.server.port(), "postgres", "boss");
    place.client.batch_execute("ALTER ROLE postgres RENAME TO chief").unwrap();
    place.client.batch_execute("ALTER ROLE chief NOLOGIN").unwrap();
    place.create("locked", "");
    place.make_older("older", &["superuser", "sealed"]);
    for name in ["before", "older", "locked"] {
        let faults = place.faults(name, ", level => 'restore'");
        assert!(faults.len() == 1 && faults[0].contains("public.loose"), "{name}: {faults:?}");
    }
    let roles = "SELECT count(*)::text FROM pg_roles WHERE rolname LIKE 'pgcopy%'";
    assert_eq!(text(&mut place.client, roles), "0");
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 3);
}

/// The files beside the data, of which the manifest knows nothing.
#[test]
fn what_lies_beside_the_data_has_checksums() {
    if !has_programs(&ALL) {
        return;
    }
    let seed = number("PGCOPY_TEST_SEED", 7);
    let mut random = Random(seed);
    // As packages have it, a file of the configuration is not among the data.
    let configuration = ScratchDirectory::create("backup_sums-conf").unwrap();
    let access = configuration.path().join("access.conf");
    fs::write(&access, "host all,replication all 127.0.0.1/32 trust\n").unwrap();
    let options = Options::named("backup_sums").setting(format!("hba_file = '{}'", access.display()));
    let mut place = Place::new("backup_sums", options);
    place.create("a", ", format => 'plain'");
    let directory = place.directory.path().join("a");
    // Anybody compares them by hand.
    let compared =
        || Command::new("sha256sum").args(["--check", "SHA256SUMS"]).current_dir(&directory).output().unwrap();
    let told = String::from_utf8(compared().stdout).unwrap();
    assert_eq!(told, "RESTORE.md: OK\nbackup.json: OK\nconfig/pg_hba.conf: OK\n");
    for file in ["RESTORE.md", "SHA256SUMS", "backup.json", "config/pg_hba.conf"] {
        let path = directory.join(file);
        let whole = fs::read(&path).unwrap();
        let mut damages: Vec<(String, Option<Vec<u8>>)> = Vec::new();
        for _ in 0..number("PGCOPY_FAULT_TRIES", 4) {
            let (position, bit) = (random.below(whole.len() as u64) as usize, random.below(8));
            let mut flipped = whole.clone();
            flipped[position] ^= 1 << bit;
            damages.push((format!("bit {bit} at {position}"), Some(flipped)));
        }
        let end = random.below(whole.len() as u64) as usize;
        damages.push((format!("cut at {end}"), Some(whole[..end].to_vec())));
        damages.push(("more behind it".into(), Some([&whole[..], b"\n"].concat())));
        damages.push(("removed".into(), None));
        for (damage, content) in damages {
            match content {
                Some(content) => fs::write(&path, content).unwrap(),
                None => fs::remove_file(&path).unwrap(),
            }
            let faults = place.faults("a", "");
            let is_told = faults.iter().any(|fault| fault.contains(file));
            assert!(is_told, "seed {seed}: {file}, {damage}: {faults:?}");
            // It takes some changes of its own file, such as big letters, for the same.
            assert!(file == "SHA256SUMS" || !compared().status.success(), "seed {seed}: {file}, {damage}");
            // What restores wrong is not restored.
            if file == "backup.json" {
                assert_eq!(place.list(), ["a damaged"], "seed {seed}: {damage}");
            }
            if ["backup.json", "config/pg_hba.conf"].contains(&file) {
                let failed = place.restore_failure("a", &place.restored.path().join("never"), "");
                assert!(failed.sqlstate == "XX001", "seed {seed}: {file}, {damage}: {failed:?}");
            }
            fs::write(&path, &whole).unwrap();
        }
    }
    assert_eq!(place.faults("a", ""), [""; 0]);
    // One that was taken before there were checksums is as good.
    place.make_older("a", &["sealed"]);
    assert_eq!(place.faults("a", ""), [""; 0]);
    assert_eq!(place.list(), ["a complete"]);
}

/// An index that lacks entries, which a drill tells of only if it has looked.
const LOOSE: &str = "CREATE EXTENSION pgcopy; CREATE EXTENSION amcheck; CREATE TABLE loose (id int);
    CREATE INDEX ON loose (id);
    UPDATE pg_index SET indisready = false, indisvalid = false WHERE indexrelid = 'loose_id_idx'::regclass;
    INSERT INTO loose SELECT generate_series(1, 10);
    UPDATE pg_index SET indisready = true, indisvalid = true WHERE indexrelid = 'loose_id_idx'::regclass";

/// What roles, databases and triggers for logins have in a backup neither keeps its drill out nor runs there.
#[test]
fn settings_and_triggers_in_a_backup_do_not_reach_its_drill() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_guarded");
    for statement in ["CREATE ROLE nobody", "CREATE DATABASE guarded"] {
        place.client.batch_execute(statement).unwrap();
    }
    let mut guarded = place.server.connect("guarded");
    guarded.batch_execute(LOOSE).unwrap();
    let marker = place.restored.path().join("marker").display().to_string();
    let settings = [
        "ALTER DATABASE guarded SET session_preload_libraries = 'no_such_library';
         ALTER ROLE postgres IN DATABASE guarded SET local_preload_libraries = 'no_such_library'",
        "ALTER DATABASE guarded SET role = 'nobody'; ALTER DATABASE guarded SET default_transaction_read_only = on",
    ];
    for (number, setting) in settings.into_iter().enumerate() {
        place.client.batch_execute(setting).unwrap();
        place.create(&format!("setting{number}"), "");
        let reset = "ALTER DATABASE guarded RESET ALL; ALTER ROLE postgres IN DATABASE guarded RESET ALL";
        place.client.batch_execute(reset).unwrap();
    }
    if major() >= 17 {
        let trigger = format!(
            "CREATE FUNCTION closed() RETURNS event_trigger LANGUAGE plpgsql
                 AS $$ BEGIN COPY (SELECT 1) TO '{marker}'; RAISE 'nobody comes in'; END $$;
             CREATE EVENT TRIGGER closed ON login EXECUTE FUNCTION closed();
             ALTER DATABASE guarded SET event_triggers = on"
        );
        guarded.batch_execute(&trigger).unwrap();
        place.create("trigger", "");
        guarded.batch_execute("DROP EVENT TRIGGER closed; ALTER DATABASE guarded RESET ALL").unwrap();
    }
    let names: Vec<String> = place.list().iter().map(|line| line.split(' ').next().unwrap().to_owned()).collect();
    assert!(names.len() >= 2);
    for name in names {
        let sql = format!("SELECT finding FROM pgcopy.backup_validate('{}', level => 'restore')", place.path(&name));
        let faults = texts(&mut guarded, &sql);
        assert!(faults.len() == 1 && faults[0].contains("public.loose"), "{name}: {faults:?}");
        assert!(!Path::new(&marker).exists(), "{name}");
    }
    no_process_left(&mut place.client);
}

/// A damaged record keeps nobody from knowing whether the data are sound.
#[test]
fn data_are_compared_with_the_manifest_where_the_record_is_damaged() {
    if !has_programs(&ALL) {
        return;
    }
    let mut place = Place::start("backup_unrecorded");
    let space = ScratchDirectory::create("backup_unrecorded-space").unwrap();
    let space = space.path().display();
    place.client.batch_execute(&format!("CREATE TABLESPACE space LOCATION '{space}'")).unwrap();
    place.client.batch_execute(&format!("{LEDGER} TABLESPACE space")).unwrap();
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    let oid = text(&mut place.client, "SELECT oid::text FROM pg_tablespace WHERE spcname = 'space'");
    let of_table = text(&mut place.client, "SELECT pg_relation_filepath('ledger')");
    let in_space = of_table.strip_prefix(&format!("pg_tblspc/{oid}/")).unwrap();
    for (name, arguments, file) in [
        ("gzip", "", format!("data/{oid}.tar.gz")),
        ("none", ", compress => 'none'", format!("data/{oid}.tar")),
        ("plain", ", format => 'plain'", format!("tablespaces/{oid}/{in_space}")),
    ] {
        place.create(name, arguments);
        let directory = place.directory.path().join(name);
        let record = directory.join("backup.json");
        for content in [Some("{}"), None] {
            match content {
                Some(content) => fs::write(&record, content).unwrap(),
                None => fs::remove_file(&record).unwrap(),
            }
            for level in ["", ", level => 'restore'"] {
                let faults = place.faults(name, level);
                assert!(faults.len() == 1 && faults[0].starts_with("backup.json"), "{name}: {faults:?}");
            }
        }
        let path = directory.join(&file);
        let mut bytes = fs::read(&path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::write(&path, &bytes).unwrap();
        let faults = place.faults(name, "");
        let named = Path::new(&file).file_name().unwrap().to_str().unwrap();
        // Archives that are not compressed are judged by what they unpack to, where they can be unpacked.
        let within = format!("pg_tblspc/{oid}/");
        let is_named = |fault: &String| fault.contains(named) || name == "none" && fault.contains(&within);
        assert!(faults.len() >= 2 && faults.iter().any(is_named), "{name}: {faults:?}");
        fs::remove_file(directory.join("data/backup_manifest")).unwrap();
        let faults = place.faults(name, "");
        assert!(faults.iter().any(|fault| fault.contains("backup_manifest")), "{name}: {faults:?}");
    }
}

/// The parents of an incremental backup are compared as far as they are known.
#[test]
fn data_are_compared_where_the_record_of_a_parent_is_damaged() {
    if major() < 17 || !has_programs(&ALL) {
        return;
    }
    let mut place = Place::new("backup_chained", Options::named("backup_chained").setting("summarize_wal = on"));
    place.create("full", ", compress => 'none'");
    place.create("second", ", incremental_from => 'full', compress => 'none'");
    fs::remove_file(place.directory.path().join("full/backup.json")).unwrap();
    for name in ["full", "second"] {
        let path = place.directory.path().join(name).join("data/base.tar");
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    }
    let sql = format!(
        "SELECT string_agg(backup || ' ' || file, ', ' ORDER BY backup) FROM pgcopy.backup_validate('{}') WHERE file LIKE 'base%'",
        place.path("second")
    );
    assert_eq!(text(&mut place.client, &sql), "full base.tar, second base.tar");
}
