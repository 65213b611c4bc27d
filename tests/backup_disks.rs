//! Disks of backups that fill up: what is called complete is, and nothing is left of what is not.

use crate::backups::{ALL, LEDGER, Place, ROWS, has_programs};
use crate::harness::disk::SmallDisk;
use crate::harness::{Failure, Random, eventually, number, text, texts};
use std::fs;
use std::path::Path;
use std::process::Command;

/// The names in a directory, but for the file that takes its room.
fn names(directory: &Path) -> Vec<String> {
    let entries = fs::read_dir(directory).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.filter(|name| name != "ballast").collect();
    names.sort();
    names
}

#[test]
fn a_disk_that_fills_up_at_any_moment() {
    if !has_programs(&ALL) {
        return;
    }
    const DISK: u64 = 128 << 20;
    let Some(disk) = SmallDisk::try_mount("128m") else { return };
    let seed = number("PGCOPY_TEST_SEED", 7);
    let mut random = Random(seed);
    let mut place = Place::start("backup_filling");
    let rows =
        "CREATE TABLE ballast AS SELECT md5(i::text) || md5((-i)::text) AS body FROM generate_series(1, 50000) i";
    place.client.batch_execute(rows).unwrap();
    let formats = ["", ", compress => 'none'", ", format => 'plain'"];
    let sizes: Vec<u64> = (0..formats.len())
        .map(|format| {
            let name = format!("whole{format}");
            place.create(&name, formats[format]);
            let list = format!(
                "SELECT bytes::text FROM pgcopy.backup_list('{}') WHERE name = '{name}'",
                place.directory.path().display()
            );
            text(&mut place.client, &list).parse().unwrap()
        })
        .collect();
    let ballast = disk.path().join("ballast");
    let directory = disk.path().display().to_string();
    let list = format!("SELECT name || ' ' || state FROM pgcopy.backup_list('{directory}')");
    for try_number in 0..number("PGCOPY_FAULT_TRIES", 6) {
        let format = (try_number % 3) as usize;
        // Most of them end near the end, where the last files are written.
        let free = sizes[format] * (80 + random.below(25)) / 100;
        let taken = Command::new("fallocate").arg(format!("--length={}", DISK - free)).arg(&ballast).status();
        assert!(taken.unwrap().success());
        let sql = format!("SELECT * FROM pgcopy.backup_create('{directory}', label => 'a'{})", formats[format]);
        let told = format!("seed {seed}, {free} of {} bytes, {:?}", sizes[format], formats[format]);
        match place.client.query(&sql, &[]) {
            Ok(_) => {
                assert_eq!(texts(&mut place.client, &list), ["a complete"], "{told}");
                fs::remove_file(&ballast).unwrap();
                let validate = format!("SELECT finding FROM pgcopy.backup_validate('{directory}/a')");
                assert_eq!(texts(&mut place.client, &validate), [""; 0], "{told}");
                fs::remove_dir_all(disk.path().join("a")).unwrap();
            }
            Err(error) => {
                let failed = Failure::of(&error);
                // Either it was known before, or it turned out.
                assert!(["53100", "55000"].contains(&failed.sqlstate.as_str()), "{told}: {failed:?}");
                assert_eq!(names(disk.path()), [""; 0], "{told}");
                fs::remove_file(&ballast).unwrap();
            }
        }
    }
    // A disk without any room left is where backups have to go.
    for label in ["a", "b"] {
        let sql = format!("SELECT * FROM pgcopy.backup_create('{directory}', label => '{label}')");
        place.client.query(&sql, &[]).unwrap();
    }
    disk.fill();
    let prune = format!(
        "SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{directory}', keep_full => 1, dry_run => false)"
    );
    assert_eq!(texts(&mut place.client, &prune), ["a false", "b true"]);
    assert_eq!(names(disk.path()), ["b"]);
    // Where there is no room to look at a copy, that is told, and nothing is said of the backup.
    disk.fill();
    let validate = format!("SELECT finding FROM pgcopy.backup_validate('{directory}/b')");
    assert_eq!(Failure::of(&place.client.query(&validate, &[]).unwrap_err()).sqlstate, "53100");
    assert_eq!(names(disk.path()), ["b"]);
}

/// Segments wait on the server until the archive has room again.
#[test]
fn an_archive_whose_disk_fills_up() {
    if !has_programs(&ALL) {
        return;
    }
    let Some(disk) = SmallDisk::try_mount("128m") else { return };
    let mut place = Place::start("backup_full_archive");
    let directory = disk.path().display().to_string();
    place.client.query(&format!("SELECT * FROM pgcopy.wal_archive_enable('{directory}')"), &[]).unwrap();
    place.server.restart().unwrap();
    place.client = place.server.connect("postgres");
    place.client.batch_execute(LEDGER).unwrap();
    place.client.query(&format!("SELECT * FROM pgcopy.backup_create('{directory}', label => 'a')"), &[]).unwrap();
    let ballast = disk.fill();
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    let waiting = text(&mut place.client, "SELECT pg_walfile_name(pg_switch_wal())");
    let status = "SELECT (failures > 0 AND waiting > 0)::text FROM pgcopy.wal_archive_status()";
    eventually("it is told", || text(&mut place.client, status) == "true");
    assert!(!disk.path().join("wal").join(&waiting).exists());
    fs::remove_file(ballast).unwrap();
    // A new segment wakes the archiver.
    place.client.batch_execute("INSERT INTO ledger DEFAULT VALUES").unwrap();
    let last = text(&mut place.client, "SELECT pg_walfile_name(pg_switch_wal())");
    eventually("both are archived", || {
        [&waiting, &last].iter().all(|name| disk.path().join("wal").join(name).exists())
    });
    assert_eq!(text(&mut place.client, "SELECT cardinality(gaps)::text FROM pgcopy.wal_archive_status()"), "0");
    let target = place.restored.path().join("new");
    let port = crate::backups::free_port();
    let sql = format!(
        "SELECT * FROM pgcopy.backup_restore('{directory}/a', '{}', port => {port}, start => true)",
        target.display()
    );
    place.client.query(&sql, &[]).unwrap();
    let restored = crate::backups::Restored { data: target, port };
    assert!(text(&mut restored.connect(), ROWS).starts_with("2 rows"));
}
