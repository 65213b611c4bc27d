//! What tells whether a backup is sound: drills, whatever became of roles since.

use crate::backups::{ALL, LEDGER, Place, has_programs};
use crate::harness::{connect_as, text};
use std::fs;

impl Place {
    /// Has a backup look as one that was taken before its record had these fields.
    fn make_older(&self, name: &str, fields: &[&str]) {
        let record = self.directory.path().join(name).join("backup.json");
        let text = fs::read_to_string(&record).unwrap();
        let is_older =
            |line: &&str| !fields.iter().any(|field| line.trim_start().starts_with(&format!("\"{field}\":")));
        let older: Vec<&str> = text.lines().filter(is_older).collect();
        assert_eq!(older.len() + fields.len(), text.lines().count());
        fs::write(&record, older.join("\n")).unwrap();
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
    place.make_older("older", &["superuser"]);
    for name in ["before", "older", "locked"] {
        let faults = place.faults(name, ", level => 'restore'");
        assert!(faults.len() == 1 && faults[0].contains("public.loose"), "{name}: {faults:?}");
    }
    let roles = "SELECT count(*)::text FROM pg_roles WHERE rolname LIKE 'pgcopy%'";
    assert_eq!(text(&mut place.client, roles), "0");
    assert_eq!(fs::read_dir(place.directory.path()).unwrap().count(), 3);
}
