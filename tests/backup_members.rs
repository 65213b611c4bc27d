//! Members of `pg_write_server_files` and `pg_checkpoint` with REPLICATION, who are no superusers.

use crate::backups::{ALL, LEDGER, Place, has_programs};
use crate::harness::{Failure, no_process_left, text, texts};
use postgres::{Client, NoTls};
use xtask::server::Options;

#[test]
fn members_take_check_restore_and_remove_backups() {
    if !has_programs(&ALL) {
        return;
    }
    let access = "host all,replication keeper,plain 127.0.0.1/32 scram-sha-256";
    let mut place = Place::new("backup_members", Options::named("backup_members").access(access));
    let port = place.server.port();
    let setup = format!(
        "{LEDGER}; CREATE ROLE keeper LOGIN REPLICATION PASSWORD 'secret';
         GRANT USAGE ON SCHEMA pgcopy TO keeper;
         GRANT pg_write_server_files, pg_read_server_files, pg_checkpoint TO keeper;
         CREATE SERVER itself FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{port}', dbname 'postgres');
         GRANT USAGE ON FOREIGN SERVER itself TO keeper;
         CREATE USER MAPPING FOR keeper SERVER itself OPTIONS (user 'keeper', password 'secret')"
    );
    place.client.batch_execute(&setup).unwrap();
    let mut keeper: Client = postgres::Config::new()
        .host("127.0.0.1")
        .port(port)
        .user("keeper")
        .password("secret")
        .dbname("postgres")
        .connect(NoTls)
        .unwrap();
    let directory = place.directory.path().display().to_string();
    // The password is nowhere in the call.
    let create = |label: &str| format!("'{directory}', label => '{label}', connection => 'itself'");
    keeper.query(&format!("SELECT * FROM pgcopy.backup_create({})", create("one")), &[]).unwrap();
    let job: i64 =
        keeper.query_one(&format!("SELECT pgcopy.start_backup_create({})", create("two")), &[]).unwrap().get(0);
    assert_eq!(text(&mut keeper, &format!("SELECT pgcopy.wait({job})")), "completed");
    let list = format!("SELECT name || ' ' || state FROM pgcopy.backup_list('{directory}')");
    assert_eq!(texts(&mut keeper, &list), ["one complete", "two complete"]);
    for name in ["one", "two"] {
        let validate = format!("SELECT finding FROM pgcopy.backup_validate('{directory}/{name}')");
        assert_eq!(texts(&mut keeper, &validate), [""; 0], "{name}");
    }
    let target = place.restored.path().join("new");
    let restore = format!("pgcopy.backup_restore('{directory}/two', '{}'", target.display());
    let failed = Failure::of(&keeper.query(&format!("SELECT * FROM {restore}, start => true)"), &[]).unwrap_err());
    assert!(failed.sqlstate == "42501" && !target.exists(), "{failed:?}");
    assert_eq!(text(&mut keeper, &format!("SELECT directory FROM {restore})")), target.display().to_string());
    assert!(target.join("recovery.signal").exists());
    let prune = |arguments: &str| {
        format!("SELECT entry || ' ' || keep FROM pgcopy.backup_prune('{directory}', keep_full => 1{arguments})")
    };
    assert_eq!(texts(&mut keeper, &prune("")), ["one false", "two true"]);
    assert_eq!(texts(&mut keeper, &prune(", dry_run => false")), ["one false", "two true"]);
    assert_eq!(texts(&mut keeper, &list), ["two complete"]);
    // Each right is needed: without it nothing is made.
    for (without, back, missing) in [
        ("ALTER ROLE keeper NOREPLICATION", "ALTER ROLE keeper REPLICATION", "REPLICATION"),
        ("REVOKE pg_checkpoint FROM keeper", "GRANT pg_checkpoint TO keeper", "pg_checkpoint"),
        ("REVOKE pg_write_server_files FROM keeper", "GRANT pg_write_server_files TO keeper", "pg_write_server_files"),
    ] {
        place.client.batch_execute(without).unwrap();
        let sql = format!("SELECT * FROM pgcopy.backup_create({})", create("three"));
        let failed = Failure::of(&keeper.query(&sql, &[]).unwrap_err());
        assert!(failed.sqlstate == "42501" && failed.detail.contains(missing), "{missing}: {failed:?}");
        place.client.batch_execute(back).unwrap();
    }
    // The server goes by the role of the connection.
    place.client.batch_execute("CREATE ROLE plain LOGIN PASSWORD 'other'").unwrap();
    let connection = format!("host=127.0.0.1 port={port} dbname=postgres user=plain password=other");
    let sql =
        format!("SELECT * FROM pgcopy.backup_create('{directory}', label => 'three', connection => '{connection}')");
    let failed = Failure::of(&keeper.query(&sql, &[]).unwrap_err());
    assert!(failed.message.contains("pg_basebackup could not take the backup"), "{failed:?}");
    assert_eq!(texts(&mut keeper, &list), ["two complete"]);
    assert_eq!(std::fs::read_dir(place.directory.path()).unwrap().count(), 1);
    no_process_left(&mut place.client);
    let told = texts(
        &mut place.client,
        "SELECT concat(source, arguments, error, detail, array_to_string(warnings, '')) FROM pgcopy.jobs",
    );
    assert!(told.len() >= 5 && told.iter().all(|told| !told.contains("secret")), "{told:?}");
    assert!(!place.server.log_text().contains("secret'"));
}
