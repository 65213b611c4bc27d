//! Checking this server's own tables: every kind of damage is found and named, and nothing is said of what is sound.

use crate::harness::{Failure, OwnServers, Pair, eventually, shared_destination, text, texts, wait_for_worker};
use postgres::{Client, Config, NoTls};
use std::os::unix::fs::FileExt;
use xtask::server::Options;

const SCHEMA: &str = "
    CREATE EXTENSION IF NOT EXISTS amcheck;
    CREATE TABLE owner (id int PRIMARY KEY, name text UNIQUE);
    CREATE TABLE item (id int PRIMARY KEY, owner int REFERENCES owner, price numeric CHECK (price > 0), body text, code text NOT NULL);
    CREATE UNIQUE INDEX item_code ON item (lower(code)) WHERE price < 100;
    CREATE INDEX item_body ON item USING hash (body); CREATE INDEX item_name ON item USING hash (body);
    CREATE TABLE log (id int, at date NOT NULL) PARTITION BY RANGE (id);
    CREATE TABLE log_1 PARTITION OF log FOR VALUES FROM (0) TO (50);
    CREATE TABLE log_2 PARTITION OF log FOR VALUES FROM (50) TO (200);
    INSERT INTO owner SELECT i, 'owner ' || i FROM generate_series(1, 20) i;
    INSERT INTO item SELECT i, i % 20 + 1, i / 10.0, repeat('body ' || i, 400), 'c' || i FROM generate_series(1, 500) i;
    INSERT INTO log SELECT i, '2024-01-01' FROM generate_series(1, 100) i";

/// The packages of some versions bring servers without it.
pub fn has_amcheck(client: &mut Client) -> bool {
    let is_there = "SELECT count(*)::text FROM pg_available_extensions WHERE name = 'amcheck'";
    let is_there = text(client, is_there) == "1";
    if !is_there {
        println!("not checked: this server comes without amcheck");
    }
    is_there
}

/// One line for each fault.
fn found(client: &mut Client, arguments: &str) -> Vec<String> {
    texts(
        client,
        &format!(
            "SELECT concat_ws(' | ', schema || '.' || \"table\", kind, object, finding, place) FROM pgcopy.check_local({arguments})"
        ),
    )
}

fn database(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    pair.destination.batch_execute(SCHEMA).unwrap();
    pair
}

#[test]
fn sound_tables_have_no_faults() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut pair = database("check_sound");
    pair.notices();
    for arguments in ["", "parallel => 0", "keep_writers_out => true", "storage => false", "constraints => false"] {
        assert!(found(&mut pair.destination, arguments).is_empty(), "{arguments}");
        let notices = pair.notices();
        let last = notices.last().unwrap();
        assert!(last.starts_with("checked 4 tables and ") && last.ends_with(": 0 findings"), "{notices:?}");
        let left_out = "indexes not checked, because they are no B-trees: public.item_body, public.item_name";
        let told = notices.iter().any(|notice| notice == left_out);
        assert_eq!(told, arguments != "storage => false", "{notices:?}");
    }
    // Whatever the session, its role and the database are set to.
    for setting in [
        "search_path = 'nowhere'",
        "enable_seqscan = off",
        "constraint_exclusion = on",
        "datestyle = 'SQL, DMY'",
        "default_transaction_isolation = 'serializable'",
        "work_mem = '64kB'",
        "row_security = off",
    ] {
        pair.destination.batch_execute(&format!("SET {setting}; ALTER DATABASE check_sound SET {setting}")).unwrap();
        assert!(found(&mut pair.destination, "").is_empty(), "{setting}");
        pair.destination.batch_execute("RESET ALL; ALTER DATABASE check_sound RESET ALL").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn every_fault_is_found_and_named() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut pair = database("check_faults");
    pair.destination
        .batch_execute(
            "UPDATE pg_index SET indisready = false WHERE indexrelid = 'item_pkey'::regclass;
             INSERT INTO item VALUES (501, 1, 1, 'no entry', 'x501');
             UPDATE pg_index SET indisready = true WHERE indexrelid = 'item_pkey'::regclass;
             UPDATE pg_index SET indisunique = false WHERE indexrelid IN ('item_code'::regclass, 'owner_name_key'::regclass);
             INSERT INTO item VALUES (502, 1, 1, 'twice', 'C1'), (503, 1, 200, 'allowed', 'C1');
             INSERT INTO owner VALUES (21, 'owner 1'), (22, NULL), (23, NULL);
             UPDATE pg_index SET indisunique = true WHERE indexrelid IN ('item_code'::regclass, 'owner_name_key'::regclass);
             ALTER TABLE item DROP CONSTRAINT item_price_check;
             INSERT INTO item VALUES (504, 1, -1, 'below', 'c504'), (505, 1, NULL, 'unknown', 'c505');
             ALTER TABLE item ADD CONSTRAINT item_price_check CHECK (price > 0) NOT VALID;
             UPDATE pg_constraint SET convalidated = true WHERE conname = 'item_price_check';
             ALTER TABLE item ALTER code DROP NOT NULL;
             INSERT INTO item VALUES (506, 1, 1, 'no code', NULL), (507, 1, 1, 'no code', NULL);
             UPDATE pg_attribute SET attnotnull = true WHERE attrelid = 'item'::regclass AND attname = 'code';
             SET session_replication_role = replica; INSERT INTO item VALUES (508, 999, 1, 'nobody''s', 'c508');
             RESET session_replication_role;
             ALTER TABLE log DETACH PARTITION log_1; INSERT INTO log_1 VALUES (77, '2024-01-01');
             UPDATE pg_class SET relispartition = true, relpartbound = (SELECT relpartbound FROM pg_class WHERE oid = 'log_2'::regclass)
                 WHERE oid = 'log_1'::regclass;
             INSERT INTO pg_inherits (inhrelid, inhparent, inhseqno, inhdetachpending) VALUES ('log_1'::regclass, 'log'::regclass, 1, false)",
        )
        .unwrap();
    for parallel in ["0", "3"] {
        let faults = found(&mut pair.destination, &format!("parallel => {parallel}"));
        let faults: Vec<&str> = faults.iter().map(String::as_str).collect();
        let (duplicates, others): (Vec<&str>, Vec<&str>) = faults
            .iter()
            .partition(|fault| fault.contains("| unique |") || fault.contains("index uniqueness is violated"));
        assert_eq!(duplicates.len(), 2, "{faults:?}");
        assert!(duplicates.iter().any(|fault| fault.starts_with("public.item |") && fault.contains("item_code")));
        assert!(duplicates.iter().any(|fault| fault.starts_with("public.owner |") && fault.contains("owner_name_key")));
        let [check, key, entry, null, bounds] = others.as_slice() else { panic!("{faults:?}") };
        assert!(check.starts_with("public.item | check | item_price_check | 1 row violates it | row at ("), "{check}");
        assert!(
            key.starts_with("public.item | foreign key | item_owner_fkey | a row has no counterpart in table \"owner\" | Key (owner)=(999)"),
            "{key}"
        );
        assert!(
            entry.starts_with("public.item | index | item_pkey | heap tuple (")
                && entry.contains("lacks matching index tuple"),
            "{entry}"
        );
        assert!(null.starts_with("public.item | not null | code | NULL in 2 rows | rows at ("), "{null}");
        assert!(
            bounds.starts_with("public.log_1 | partition | 49 rows outside of the partition's bounds | rows at ("),
            "{bounds}"
        );
        assert!(bounds.ends_with(" and more"), "{bounds}");
    }
    let failed = pair.destination.batch_execute("SELECT * FROM pgcopy.check_local(include => '{log}', fail => true)");
    let failure = Failure::of(&failed.unwrap_err());
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("XX001", "1 fault found in local tables"));
    assert!(
        failure.detail.starts_with("public.log_1: 49 rows outside of the partition's bounds: rows at ("),
        "{failure:?}"
    );
    let faults = found(&mut pair.destination, "");
    assert_eq!(faults.len(), 7, "{faults:?}");
    // The job keeps them, and they go with it.
    let kept = "SELECT count(*)::text FROM pgcopy.job_findings WHERE job = (SELECT max(job) FROM pgcopy.jobs)";
    assert_eq!(text(&mut pair.destination, kept), "7");
    let only = found(&mut pair.destination, "include => '{item}', storage => false, most_findings => 1");
    assert!(only.iter().any(|fault| fault.contains("rows at (") && fault.contains(" and more")), "{only:?}");
    pair.assert_nothing_left();
    text(&mut pair.destination, "SELECT pgcopy.prune('0')::text");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy_internal.job_finding"), "0");
}

#[test]
fn damaged_pages_are_found() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut options = Options::named("check-pages-destination");
    // Or pages whose bytes are changed behind the server's back are not read at all.
    options.settings.push("ignore_checksum_failure=on".into());
    let mut servers = OwnServers::start("check-pages", options);
    let mut pair = servers.pair("check_pages");
    pair.destination
        .batch_execute(
            "CREATE EXTENSION amcheck; CREATE TABLE loose (id int, body text); CREATE TABLE keyed (id int); CREATE INDEX ON keyed (id);
             CREATE TABLE long (body text); ALTER TABLE long ALTER body SET STORAGE EXTERNAL;
             INSERT INTO loose SELECT i, 'body ' || i FROM generate_series(1, 1000) i; INSERT INTO keyed SELECT generate_series(1, 1000);
             INSERT INTO long VALUES (repeat('x', 5000)), (repeat('y', 5000)); CHECKPOINT",
        )
        .unwrap();
    let path =
        |client: &mut Client, relation: &str| text(client, &format!("SELECT pg_relation_filepath('{relation}')"));
    let [loose, keyed] = ["loose", "keyed_id_idx"].map(|name| path(&mut pair.destination, name));
    let write = |servers: &OwnServers, path: &str, bytes: &[u8], at: u64| {
        let file = std::fs::OpenOptions::new().write(true).open(servers.destination.data().join(path)).unwrap();
        file.write_all_at(bytes, at).unwrap();
    };
    // The third line pointer leads to an offset that no row can have; the index's second page has another kind of page in it.
    let line_pointer: u32 = 4001 | 1 << 15 | 40 << 17;
    write(&servers, &loose, &line_pointer.to_le_bytes(), 24 + 2 * 4);
    write(&servers, &keyed, &[0xff; 64], 8192 + 8192 - 64);
    // The second chunk of the first long value is gone.
    let toast = "(SELECT reltoastrelid::regclass FROM pg_class WHERE relname = 'long')";
    let toast = text(&mut pair.destination, &format!("SELECT pg_relation_filepath({toast})"));
    write(&servers, &toast, &[0; 4], 24 + 4);
    servers.destination.restart().unwrap();
    let mut client = servers.destination.connect("check_pages");
    for parallel in [0, 2] {
        let faults = found(&mut client, &format!("parallel => {parallel}"));
        assert!(
            faults.iter().any(|fault| fault.starts_with("public.loose | heap | line pointer to page offset 4001")
                && fault.ends_with("| block 0, line pointer 3")),
            "{faults:?}"
        );
        assert!(faults.iter().any(|fault| fault.starts_with("public.keyed | index | keyed_id_idx |")), "{faults:?}");
        assert!(
            faults
                .iter()
                .any(|fault| fault.starts_with("public.long | heap | toast value") && fault.contains("column body")),
            "{faults:?}"
        );
        assert!(
            faults.iter().all(|fault| fault.starts_with("public.l") || fault.starts_with("public.keyed")),
            "{faults:?}"
        );
    }
}

#[test]
fn a_check_is_a_job() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut pair = database("check_job");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION held(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared(4712); RETURN true; END';
             CREATE TABLE slow (id int, body text); INSERT INTO slow SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i;
             ALTER TABLE slow ADD CHECK (held(id))",
        )
        .unwrap();
    let job = text(&mut pair.destination, "SELECT pgcopy.start_check_local(include => '{item, owner}')::text");
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    let line = format!("SELECT concat_ws(' ', source, state, tables, bytes > 0) FROM pgcopy.jobs WHERE job = {job}");
    assert_eq!(text(&mut pair.destination, &line), "this database completed 2 t");
    let tasks = texts(&mut pair.destination, &format!("SELECT task FROM pgcopy.job_tasks WHERE job = {job}"));
    for task in [
        "checking the pages of public.item",
        "checking index item_pkey of public.item",
        "checking the rows of public.item",
        "checking the TOAST table of public.item",
        "checking foreign key item_owner_fkey of public.item",
    ] {
        assert!(tasks.iter().any(|told| told == task), "{tasks:?}");
    }
    let mut holder = pair.another_destination_session();
    holder.batch_execute("SELECT pg_advisory_lock(4712)").unwrap();
    let job = text(&mut pair.destination, "SELECT pgcopy.start_check_local()::text");
    wait_for_worker(&mut pair.destination, "%checking the rows of public.slow%");
    assert_eq!(text(&mut pair.destination, "SELECT phase FROM pgcopy.progress"), "checking");
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.cancel({job})::text")), "true");
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "failed");
    let ended = format!("SELECT sqlstate FROM pgcopy.jobs WHERE job = {job}");
    assert_eq!(text(&mut pair.destination, &ended), "57014");
    eventually("the job is over", || text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.progress") == "0");
    pair.assert_nothing_left();
}

#[test]
fn others_may_change_tables_meanwhile() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut pair = database("check_meanwhile");
    pair.destination
        .batch_execute(
            "CREATE FUNCTION held(id int) RETURNS boolean IMMUTABLE LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_advisory_xact_lock_shared(4713); RETURN true; END';
             CREATE TABLE first (id int, body text); INSERT INTO first SELECT i, repeat('x', 500) FROM generate_series(1, 2000) i;
             ALTER TABLE first ADD CHECK (held(id));
             CREATE TABLE gone (id int PRIMARY KEY); CREATE TABLE renamed (id int NOT NULL); CREATE TABLE loose (id int CHECK (id > 0))",
        )
        .unwrap();
    let mut holder = pair.another_destination_session();
    holder.batch_execute("SELECT pg_advisory_lock(4713)").unwrap();
    let mut session = pair.another_destination_session();
    let faults = std::thread::scope(|scope| {
        let check = scope.spawn(|| found(&mut session, "include => '{first, gone, renamed, loose}', parallel => 1"));
        let waits = "SELECT count(*)::text FROM pg_locks WHERE locktype = 'advisory' AND NOT granted";
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the first table is being checked", || text(&mut pair.destination, waits) == "1");
            pair.destination
                .batch_execute(
                    "DROP TABLE gone; ALTER TABLE renamed RENAME TO other; CREATE TABLE renamed (id int); INSERT INTO renamed VALUES (NULL);
                 ALTER TABLE loose DROP CONSTRAINT loose_id_check; INSERT INTO loose VALUES (-1)",
                )
                .unwrap();
        }));
        holder.batch_execute("SELECT pg_advisory_unlock(4713)").unwrap();
        changed.unwrap();
        check.join().unwrap()
    });
    assert!(faults.is_empty(), "{faults:?}");
    // What the caller's transaction has made is checked by itself, in every isolation level.
    for level in ["READ COMMITTED", "REPEATABLE READ", "SERIALIZABLE"] {
        pair.destination
            .batch_execute(&format!(
                "BEGIN ISOLATION LEVEL {level}; SELECT 1; CREATE TABLE fresh (id int PRIMARY KEY); INSERT INTO fresh VALUES (1);
                 UPDATE pg_constraint SET convalidated = true
                     WHERE conname = 'fresh_pkey'; ALTER TABLE loose ADD CONSTRAINT above CHECK (id > 0) NOT VALID;
                 UPDATE pg_constraint SET convalidated = true WHERE conname = 'above'"
            ))
            .unwrap();
        let faults = found(&mut pair.destination, "include => '{fresh, loose}'");
        assert_eq!(faults, ["public.loose | check | above | 1 row violates it | row at (0,1)"], "{level}");
        pair.destination.batch_execute("ROLLBACK").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn who_may_check_what() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut pair = database("check_rights");
    let session_of = |pair: &Pair, role: &str| {
        let mut config = Config::new();
        config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database).connect(NoTls).unwrap()
    };
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE checker LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             DO $$ BEGIN CREATE ROLE check_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT CREATE ON SCHEMA public TO check_owner;
             CREATE TABLE caught (who text); GRANT INSERT ON caught TO PUBLIC;
             SET ROLE check_owner;
             CREATE FUNCTION plant(a int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN RAISE NOTICE 'planted code runs as %', current_user; RETURN true; END $$;
             CREATE TABLE planted (id int CHECK (plant(id))); INSERT INTO planted VALUES (1); RESET ROLE",
        )
        .unwrap();
    let mut checker = session_of(&pair, "checker");
    let refused = |client: &mut Client, arguments: &str| {
        Failure::of(&client.batch_execute(&format!("SELECT * FROM pgcopy.check_local({arguments})")).unwrap_err())
    };
    let failure = refused(&mut checker, "include => '{item}'");
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert_eq!(failure.message, "user checker may not call the functions of extension \"amcheck\"");
    assert!(
        failure.hint.starts_with("A superuser runs: GRANT EXECUTE ON FUNCTION public.verify_heapam("),
        "{failure:?}"
    );
    let grant = failure.hint.strip_prefix("A superuser runs: ").unwrap().to_owned();
    let failure = refused(&mut checker, "include => '{item}', storage => false");
    assert!(failure.message.contains("public.item: user checker may not read it"), "{failure:?}");
    pair.destination.batch_execute(&grant).unwrap();
    assert!(found(&mut checker, "include => '{item}', constraints => false").is_empty());
    pair.destination.batch_execute("GRANT SELECT ON item, planted TO checker").unwrap();
    assert!(found(&mut checker, "include => '{item, planted}'").is_empty());
    // A key that is looked up in a table the caller may not read would tell what is in there.
    pair.destination
        .batch_execute("SET session_replication_role = replica; INSERT INTO item VALUES (508, 999, 1, '', 'c508'); RESET session_replication_role")
        .unwrap();
    assert!(found(&mut checker, "include => '{item}'").is_empty());
    pair.destination.batch_execute("GRANT SELECT ON owner TO checker").unwrap();
    assert_eq!(found(&mut checker, "include => '{item}'").len(), 1);
    pair.notices();
    assert!(found(&mut pair.destination, "include => '{planted}', parallel => 0").is_empty());
    let notices = pair.notices();
    assert!(notices.iter().any(|notice| notice == "planted code runs as check_owner"), "{notices:?}");
    assert!(!notices.iter().any(|notice| notice.ends_with("runs as postgres")), "{notices:?}");
    pair.destination
        .batch_execute("ALTER TABLE item ENABLE ROW LEVEL SECURITY; CREATE POLICY higher ON item USING (id > 1)")
        .unwrap();
    let failure = refused(&mut checker, "include => '{item}'");
    assert!(failure.message.contains("row-level security may hide rows from user checker"), "{failure:?}");
    // Findings quote rows: others do not see them.
    pair.destination.batch_execute("SELECT * FROM pgcopy.check_local(include => '{item}')").unwrap();
    assert_eq!(text(&mut checker, "SELECT count(*)::text FROM pgcopy.job_findings"), "1");
    pair.destination.batch_execute("DROP EXTENSION amcheck").unwrap();
    let failure = refused(&mut pair.destination, "");
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("55000", "extension \"amcheck\" is not installed in this database")
    );
    assert!(failure.hint.contains("CREATE EXTENSION amcheck;"), "{failure:?}");
    for (arguments, sqlstate) in [
        ("include => '{nothing}', storage => false", "42P01"),
        ("exclude => '{nothing}', storage => false", "42P01"),
        ("include => '{}'", "22023"),
        ("most_findings => 0", "22023"),
        ("parallel => 65", "22023"),
        ("storage => NULL", "22004"),
    ] {
        assert_eq!(refused(&mut pair.destination, arguments).sqlstate, sqlstate, "{arguments}");
    }
}

/// Since 18 amcheck knows GIN indexes; before, a NOTICE names those that are not checked.
#[test]
fn gin_indexes_are_checked_where_amcheck_knows_them() {
    if !has_amcheck(&mut shared_destination()) {
        return;
    }
    let mut servers = OwnServers::start("check_gin", Options::named("check-gin"));
    let mut pair = servers.pair("check_gin");
    pair.destination
        .batch_execute(
            "CREATE EXTENSION amcheck;
             CREATE TABLE item (id int, tags text[]);
             INSERT INTO item SELECT i, ARRAY['tag ' || i, md5(i::text), 'all'] FROM generate_series(1, 20000) i;
             CREATE INDEX item_tags ON item USING gin (tags) WITH (fastupdate = off);
             CHECKPOINT",
        )
        .unwrap();
    pair.notices();
    assert!(found(&mut pair.destination, "").is_empty());
    let knows = text(&mut pair.destination, "SHOW server_version_num").parse::<u32>().unwrap() >= 180_000;
    let left_out = "index not checked, because amcheck checks no GIN indexes here: public.item_tags";
    assert_eq!(pair.notices().iter().any(|notice| notice == left_out), !knows);
    if !knows {
        return;
    }
    // The entries of a leaf stand where others should.
    let path = text(&mut pair.destination, "SELECT pg_relation_filepath('item_tags')");
    let path = servers.destination.data().join(path);
    servers.destination.stop("INT").unwrap();
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut page = [0; 8192];
    file.read_exact_at(&mut page, 5 * 8192).unwrap();
    file.write_all_at(&page, 7 * 8192).unwrap();
    servers.destination.restart().unwrap();
    pair.destination = crate::harness::connect(servers.destination.port(), "check_gin");
    let faults = found(&mut pair.destination, "");
    assert!(faults.iter().any(|fault| fault.contains("item_tags")), "{faults:?}");
}
