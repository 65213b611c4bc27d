//! What is checked when all sessions pause.

use super::model::Rows;
use super::sessions::{Object, ObjectKind, Session};
use super::tables::TABLES;
use super::{DATABASE, Shared, lock};
use crate::harness::{OwnServers, assert_nothing_left, installation, text, texts};
use postgres::Client;
use std::fmt::Write as _;
use std::process::Command;
use std::sync::atomic::Ordering;

pub fn check(shared: &Shared, client: &mut Client, sessions: &[Session]) {
    assert_nothing_left(client);
    // A failed CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY leaves an invalid index.
    for index in
        texts(client, "SELECT indexrelid::regclass::text FROM pg_index WHERE NOT indisvalid AND indrelid >= 16384")
    {
        client.batch_execute(&format!("DROP INDEX IF EXISTS {index}")).expect("an invalid index is dropped");
    }
    check_rows(shared, client);
    check_objects(shared, client, sessions);
    for (what, sql) in FOUND_NOTHING {
        let found = texts(client, sql);
        if !found.is_empty() {
            shared.fail(&format!("{what}: {found:?}"));
        }
    }
    check_storage(shared, client);
    check_constraints(shared, client);
    let log = format!("round {} checked", shared.round.load(Ordering::SeqCst));
    shared.note("checks", &log);
    remember(shared, client);
}

/// Takes the rows and names as those of the beginning of a round.
pub fn remember(shared: &Shared, client: &mut Client) {
    let mut oids = Vec::new();
    for table in &TABLES {
        let (oid, rows, _) = content(client, table.name);
        lock(&shared.model).begin(oid, rows);
        oids.push(oid);
    }
    *lock(&shared.oids) = oids;
    let version = shared.source_version.load(Ordering::SeqCst);
    lock(&shared.versions).forget_before(version);
}

/// Returns the OID of a table, its rows, and the version in row 0.
fn content(client: &mut Client, name: &str) -> (u32, Rows, Option<i64>) {
    let table = TABLES.iter().find(|table| table.name == name).expect("a table");
    let hash = table.hash("t");
    let sql = format!("SELECT id, {hash}, CASE WHEN id = 0 THEN version END, '{name}'::regclass::oid FROM {name} t");
    let found = client.query(&sql, &[]).expect("rows");
    let oid = text(client, &format!("SELECT '{name}'::regclass::oid::text")).parse().expect("an OID");
    let version = found.iter().find_map(|row| row.get(2));
    let rows: Rows = found.iter().map(|row| (row.get(0), row.get(1))).collect();
    assert_eq!(rows.len(), found.len(), "{name} has rows of the same number");
    (oid, rows, version)
}

fn check_rows(shared: &Shared, client: &mut Client) {
    for (number, table) in TABLES.iter().enumerate() {
        let (oid, rows, version) = content(client, table.name);
        let of_source = version.filter(|version| *version > 0).and_then(|version| shared.source_rows(version, number));
        if let Err(why) = lock(&shared.model).check(oid, &rows, of_source.as_ref()) {
            shared
                .fail(&format!("{} ({oid}) with version {version:?} is not what the history says:\n{why}", table.name));
        }
    }
}

/// Fails unless all objects that sessions have made are there, as they were made, and no others.
fn check_objects(shared: &Shared, client: &mut Client, sessions: &[Session]) {
    let mut expected: Vec<String> = sessions.iter().flat_map(|session| &session.objects).map(describe).collect();
    let mut found = texts(
        client,
        r"SELECT concat_ws(' ', 'index', c.relname, i.indrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
          WHERE c.relname ~ '^s\d+_\d+$'
          UNION ALL SELECT concat_ws(' ', 'constraint', conname, conrelid, convalidated) FROM pg_constraint
          WHERE conname ~ '^s\d+_\d+$' AND conparentid = 0 AND (coninhcount = 0 OR contype = 'f') AND contype IN ('c', 'f')
          UNION ALL SELECT concat_ws(' ', 'column', attname, attrelid) FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
          WHERE attname ~ '^s\d+_\d+$' AND attinhcount = 0 AND NOT attisdropped AND relkind IN ('r', 'p')
          UNION ALL SELECT concat_ws(' ', 'publication', pubname, prrelid)
          FROM pg_publication p JOIN pg_publication_rel r ON r.prpubid = p.oid
          UNION ALL SELECT concat_ws(' ', 'trigger', tgname, tgrelid, tgenabled) FROM pg_trigger
          WHERE tgname ~ '^s\d+_\d+$' AND tgparentid = 0
          UNION ALL SELECT concat_ws(' ', 'statistics', stxname, stxrelid) FROM pg_statistic_ext",
    );
    expected.sort();
    found.sort();
    if expected != found {
        let lost: Vec<_> = expected.iter().filter(|object| !found.contains(object)).collect();
        let others: Vec<_> = found.iter().filter(|object| !expected.contains(object)).collect();
        shared.fail(&format!("of what the sessions have made {lost:?} is lost, and {others:?} is there instead"));
        return;
    }
    for object in sessions.iter().flat_map(|session| &session.objects) {
        if let ObjectKind::Column { value } = object.kind {
            let wrong = format!(
                "SELECT count(*)::text FROM {} WHERE {} IS DISTINCT FROM {value}",
                text(client, &format!("SELECT {}::regclass::text", object.table)),
                object.name
            );
            let wrong = text(client, &wrong);
            if wrong != "0" {
                shared
                    .fail(&format!("{wrong} rows of {} do not have the default of {}", object.table_name, object.name));
            }
        }
    }
}

fn describe(object: &Object) -> String {
    let Object { name, table, .. } = object;
    match object.kind {
        ObjectKind::Index => format!("index {name} {table}"),
        ObjectKind::Constraint { is_validated } => {
            format!("constraint {name} {table} {}", if is_validated { "t" } else { "f" })
        }
        ObjectKind::Column { .. } => format!("column {name} {table}"),
        ObjectKind::Publication => format!("publication {name} {table}"),
        ObjectKind::Trigger => format!("trigger {name} {table} O"),
        ObjectKind::Statistics => format!("statistics {name} {table}"),
    }
}

/// Queries that must find nothing.
const FOUND_NOTHING: &[(&str, &str)] = &[
    ("prepared transactions", "SELECT gid FROM pg_prepared_xacts"),
    (
        "pg_depend has rows of nothing",
        "SELECT d::text FROM pg_depend d
         WHERE classid = 'pg_class'::regclass AND NOT EXISTS (SELECT FROM pg_class WHERE oid = objid)
            OR refclassid = 'pg_class'::regclass AND NOT EXISTS (SELECT FROM pg_class WHERE oid = refobjid)
            OR classid = 'pg_constraint'::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE oid = objid)
            OR refclassid = 'pg_constraint'::regclass AND NOT EXISTS (SELECT FROM pg_constraint WHERE oid = refobjid)
            OR classid = 'pg_type'::regclass AND NOT EXISTS (SELECT FROM pg_type WHERE oid = objid)
            OR refclassid = 'pg_type'::regclass AND NOT EXISTS (SELECT FROM pg_type WHERE oid = refobjid)
            OR classid = 'pg_attrdef'::regclass AND NOT EXISTS (SELECT FROM pg_attrdef WHERE oid = objid)
            OR classid = 'pg_trigger'::regclass AND NOT EXISTS (SELECT FROM pg_trigger WHERE oid = objid)
            OR classid = 'pg_statistic_ext'::regclass AND NOT EXISTS (SELECT FROM pg_statistic_ext WHERE oid = objid)",
    ),
    (
        "catalogs have rows of nothing",
        "SELECT 'attribute ' || a.attrelid FROM pg_attribute a WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = attrelid)
         UNION ALL SELECT 'index ' || indexrelid FROM pg_index
         WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = indexrelid) OR NOT EXISTS (SELECT FROM pg_class WHERE oid = indrelid)
         UNION ALL SELECT 'statistic ' || starelid FROM pg_statistic WHERE NOT EXISTS (SELECT FROM pg_class WHERE oid = starelid)
         UNION ALL SELECT 'type ' || oid FROM pg_type t
         WHERE typrelid <> 0 AND NOT EXISTS (SELECT FROM pg_class c WHERE c.oid = typrelid AND c.reltype = t.oid)
         UNION ALL SELECT 'toast ' || c.oid FROM pg_class c WHERE reltoastrelid <> 0
           AND NOT EXISTS (SELECT FROM pg_class t WHERE t.oid = c.reltoastrelid AND t.relname = 'pg_toast_' || c.oid)
         UNION ALL SELECT 'toast without table ' || t.relname FROM pg_class t
         WHERE relkind = 't' AND NOT EXISTS (SELECT FROM pg_class c WHERE c.reltoastrelid = t.oid)
         UNION ALL SELECT 'missing value ' || attrelid FROM pg_attribute WHERE atthasmissing AND attisdropped",
    ),
    (
        "two relations share a file",
        "SELECT relfilenode::text FROM pg_class WHERE relfilenode <> 0 GROUP BY relfilenode, reltablespace HAVING count(*) > 1",
    ),
    (
        "pages that verify_heapam complains about",
        "SELECT concat_ws(' ', c.oid::regclass, blkno, offnum, attnum, msg) FROM pg_class c, verify_heapam(c.oid)
         WHERE c.relkind IN ('r', 't', 'm') AND c.oid >= 16384",
    ),
    ("jobs without an end", "SELECT job::text FROM pgcopy_internal.job WHERE finished IS NULL OR state IN ('running', 'prepared')"),
    ("tags without an item", "SELECT id::text FROM tag t WHERE item IS NOT NULL AND NOT EXISTS (SELECT FROM item i WHERE i.id = t.item)"),
];

/// Fails unless every B-tree has an entry for every row, in order.
fn check_storage(shared: &Shared, client: &mut Client) {
    let unique = if installation().version().major() >= 17 { ", checkunique => true" } else { "" };
    let indexes = texts(
        client,
        "SELECT c.oid::text FROM pg_class c JOIN pg_index i ON i.indexrelid = c.oid
         WHERE c.relam = (SELECT oid FROM pg_am WHERE amname = 'btree') AND c.relkind = 'i' AND i.indisvalid AND c.oid >= 16384",
    );
    for index in indexes {
        let sql = format!(
            "SELECT bt_index_parent_check({index}::regclass, heapallindexed => true, rootdescend => true{unique})"
        );
        if let Err(error) = client.execute(&sql, &[]) {
            let name = text(client, &format!("SELECT {index}::regclass::text"));
            shared.fail(&format!("index {name}: {}", crate::harness::describe(&error)));
        }
    }
}

/// Fails unless all rows satisfy the validated constraints.
fn check_constraints(shared: &Shared, client: &mut Client) {
    let checks = texts(
        client,
        "SELECT format('SELECT %L::text FROM %s WHERE NOT (%s) LIMIT 1', conname, conrelid::regclass, pg_get_expr(conbin, conrelid))
         FROM pg_constraint WHERE contype = 'c' AND convalidated AND conrelid <> 0 AND conrelid >= 16384
           AND connamespace = 'public'::regnamespace",
    );
    let keys = texts(
        client,
        "SELECT format('SELECT %L::text FROM %s t WHERE NOT (t.%I IS NULL) AND NOT EXISTS (SELECT FROM %s r WHERE r.%I = t.%3$I) LIMIT 1',
                       conname, conrelid::regclass, a.attname, confrelid::regclass, f.attname)
         FROM pg_constraint JOIN pg_attribute a ON a.attrelid = conrelid AND a.attnum = conkey[1]
         JOIN pg_attribute f ON f.attrelid = confrelid AND f.attnum = confkey[1]
         WHERE contype = 'f' AND convalidated AND connamespace = 'public'::regnamespace",
    );
    let unique = texts(
        client,
        "SELECT format('SELECT %L::text FROM %s GROUP BY %s HAVING count(*) > 1 LIMIT 1', indexrelid::regclass, indrelid::regclass,
                       string_agg(quote_ident(attname), ', '))
         FROM pg_index JOIN pg_attribute a ON a.attrelid = indrelid AND a.attnum = ANY (indkey)
         WHERE indisunique AND indrelid >= 16384 AND EXISTS
               (SELECT FROM pg_class c WHERE c.oid = indrelid AND c.relnamespace = 'public'::regnamespace)
         GROUP BY indexrelid, indrelid",
    );
    client
        .batch_execute("SET enable_indexscan = off; SET enable_bitmapscan = off; SET enable_indexonlyscan = off")
        .expect("settings");
    for sql in checks.iter().chain(&keys).chain(&unique) {
        let broken = texts(client, sql);
        if !broken.is_empty() {
            shared.fail(&format!("{broken:?} does not hold: {sql}"));
        }
    }
    client
        .batch_execute("RESET enable_indexscan; RESET enable_bitmapscan; RESET enable_indexonlyscan")
        .expect("settings");
}

/// Fails unless the destination can be frozen and dumped, and its log is free of errors that tell of damage.
pub fn check_at_the_end(shared: &Shared, servers: &OwnServers) {
    // The settings of the sessions hold for new connections.
    let mut client = servers.destination.connect("postgres");
    client.batch_execute("SET default_transaction_read_only = off; SET statement_timeout = 0").expect("settings");
    for whom in
        [format!("DATABASE {DATABASE}"), "ROLE postgres".into(), format!("ROLE postgres IN DATABASE {DATABASE}")]
    {
        client.batch_execute(&format!("ALTER {whom} RESET ALL")).expect("a reset");
    }
    let mut client = servers.destination.connect(DATABASE);
    client.batch_execute("VACUUM (FREEZE, DISABLE_PAGE_SKIPPING)").expect("all rows can be frozen");
    let installation = installation();
    let pg_dump = installation.program("pg_dump");
    // Not every build of a server comes with it; the history is checked by itself all the same.
    if pg_dump.exists() {
        let dump = Command::new(pg_dump)
            .env("LD_LIBRARY_PATH", installation.prefix().join("lib"))
            .args(["--file=/dev/null", "--dbname"])
            .arg(servers.destination.dsn(DATABASE))
            .output()
            .expect("pg_dump runs");
        if !dump.status.success() {
            shared.fail(&format!("pg_dump: {}", String::from_utf8_lossy(&dump.stderr)));
        }
    }
    let mut bad = String::new();
    for line in servers.destination.log_text().lines() {
        let is_bad = ["PANIC", "TRAP", "could not", "corrupt", "invalid page", "was terminated by", "cache lookup"]
            .iter()
            .any(|word| line.contains(word));
        let is_expected = EXPECTED_IN_LOG.iter().any(|words| line.contains(words));
        if is_bad && !is_expected {
            let _ = writeln!(bad, "{line}");
        }
    }
    if !bad.is_empty() {
        shared.fail(&format!("the server's log has\n{bad}"));
    }
}

/// Lines of the log that tell of no damage.
const EXPECTED_IN_LOG: &[&str] = &[
    // Sessions whose other side is gone.
    "could not receive data from client",
    "could not send data to client",
    "could not serialize access",
    "could not obtain lock",
    "could not obtain the lock",
];
