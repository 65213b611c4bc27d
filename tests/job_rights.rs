//! What is told of a job, and to whom.

use crate::harness::{Failure, Pair, text};
use postgres::{Client, Config, NoTls};

/// Makes roles that may log in at the destination; they are gone from earlier runs.
fn roles(pair: &mut Pair, names: &[&str]) {
    for name in names {
        let sql = format!(
            "DO $$ BEGIN IF EXISTS (SELECT FROM pg_roles WHERE rolname = '{name}') THEN
                 EXECUTE 'DROP OWNED BY {name}'; DROP ROLE {name}; END IF; END $$;
             CREATE ROLE {name} LOGIN"
        );
        pair.destination.batch_execute(&sql).unwrap();
    }
}

fn session_of(pair: &Pair, role: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database);
    config.connect(NoTls).unwrap()
}

/// A foreign server whose user mapping lets the role in without a password.
fn server_for(pair: &mut Pair, role: &str) {
    let sql = format!(
        "CREATE SERVER IF NOT EXISTS prod FOREIGN DATA WRAPPER pgcopy
             OPTIONS (host '127.0.0.1', port '{}', dbname '{}');
         GRANT USAGE ON FOREIGN SERVER prod TO {role};
         CREATE USER MAPPING FOR {role} SERVER prod OPTIONS (user 'postgres', password_required 'false')",
        pair.source_port, pair.database
    );
    pair.destination.batch_execute(&sql).unwrap();
}

/// A job of `owner`'s that failed, whose error quotes a value of a row in its message.
fn failed_job(name: &str, owner: &str) -> Pair {
    let mut pair =
        Pair::with(name, "CREATE TABLE item (id int, secret text)", "INSERT INTO item VALUES (1, 'Zq9confidential')");
    roles(&mut pair, &[owner]);
    pair.destination
        .batch_execute(&format!(
            "CREATE FUNCTION quote(text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
                 $$ BEGIN RAISE EXCEPTION 'the value is %', $1
                    USING ERRCODE = '22023', DETAIL = 'detail ' || $1, HINT = 'hint ' || $1; END $$;
             ALTER TABLE item ADD CHECK (quote(secret)); ALTER TABLE item OWNER TO {owner}"
        ))
        .unwrap();
    server_for(&mut pair, owner);
    let failure = Failure::of(&session_of(&pair, owner).query("SELECT * FROM pgcopy.pull('prod')", &[]).unwrap_err());
    assert_eq!(failure.message, "the value is Zq9confidential");
    pair.assert_nothing_left();
    pair
}

#[test]
fn only_the_jobs_own_role_reads_what_an_error_says() {
    let mut pair = failed_job("error_texts", "texts_owner");
    roles(&mut pair, &["texts_guard", "texts_member", "texts_stranger"]);
    pair.destination
        .batch_execute("GRANT pg_signal_backend TO texts_guard; GRANT texts_owner TO texts_member")
        .unwrap();
    let whole = "SELECT coalesce(string_agg(j::text, ''), 'nothing') FROM pgcopy.jobs j";
    for role in ["texts_owner", "texts_member", "postgres"] {
        let seen = text(&mut session_of(&pair, role), whole);
        for part in ["the value is Zq9confidential", "detail Zq9confidential", "hint Zq9confidential", "22023"] {
            assert!(seen.contains(part), "{role}: {seen}");
        }
    }
    let mut guard = session_of(&pair, "texts_guard");
    let seen = text(&mut guard, whole);
    assert!(!seen.contains("Zq9confidential"), "{seen}");
    assert_eq!(
        text(&mut guard, "SELECT concat_ws('|', role, state, sqlstate, error, detail, hint) FROM pgcopy.jobs"),
        "texts_owner|failed|22023|an error with SQLSTATE 22023"
    );
    assert_eq!(text(&mut session_of(&pair, "texts_stranger"), whole), "nothing");
}

#[test]
fn a_later_role_of_the_same_name_is_another_role() {
    let mut pair = failed_job("later_role", "later_app");
    let seen = "SELECT count(*)::text FROM pgcopy.jobs";
    assert_eq!(text(&mut session_of(&pair, "later_app"), seen), "1");
    // A new name changes nothing.
    pair.destination.batch_execute("ALTER ROLE later_app RENAME TO later_renamed").unwrap();
    assert_eq!(text(&mut session_of(&pair, "later_renamed"), seen), "1");
    assert_eq!(text(&mut pair.destination, "SELECT role FROM pgcopy.jobs"), "later_renamed");
    pair.destination
        .batch_execute("ALTER TABLE item OWNER TO postgres; DROP OWNED BY later_renamed; DROP ROLE later_renamed")
        .unwrap();
    roles(&mut pair, &["later_app", "later_renamed"]);
    for role in ["later_app", "later_renamed"] {
        let mut session = session_of(&pair, role);
        assert_eq!(text(&mut session, seen), "0", "{role}");
        assert_eq!(text(&mut session, "SELECT count(*)::text FROM pgcopy.job_tables"), "0", "{role}");
        assert_eq!(text(&mut session, "SELECT count(*)::text FROM pgcopy.timeline"), "0", "{role}");
        assert_eq!(text(&mut session, "SELECT pgcopy.prune('0 s')::text"), "0", "{role}");
        let failure = Failure::of(&session.query("SELECT pgcopy.wait(1)", &[]).unwrap_err());
        assert_eq!(failure.sqlstate, "42704", "{role}");
    }
    // Superusers see whose it was.
    assert_eq!(
        text(&mut pair.destination, "SELECT role || ' ' || error FROM pgcopy.jobs"),
        "later_app the value is Zq9confidential"
    );
    // Nor is it anybody's who is given the number of the role again.
    pair.destination.batch_execute("ALTER TABLE item DROP CONSTRAINT item_secret_check").unwrap();
    pair.pull("overwrite => true, parallel => 0");
    pair.assert_nothing_left();
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT string_agg(DISTINCT role::text, ' ') FROM pgcopy_internal.job WHERE job = 1"
        ),
        "-"
    );
}

#[test]
fn to_strangers_a_job_that_exists_is_like_one_that_does_not() {
    let mut pair = failed_job("strangers", "strangers_app");
    roles(&mut pair, &["strangers_other"]);
    let mut stranger = session_of(&pair, "strangers_other");
    for call in ["cancel(N)", "wait(N)", "wait(N, '1 s')"] {
        let mut answer = |job: &str| {
            let sql = format!("SELECT pgcopy.{}", call.replace('N', job));
            let failure = Failure::of(&stranger.query(&sql, &[]).unwrap_err());
            format!("{failure:?}").replace(job, "N")
        };
        assert_eq!(answer("1"), answer("987654"), "{call}");
        assert!(answer("1").contains("42704"), "{call}");
    }
    // While it runs, too.
    pair.destination
        .batch_execute(
            "UPDATE pgcopy_internal.job SET state = 'running', leader_pid = pg_backend_pid(),
                    leader_started = (SELECT backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid())",
        )
        .unwrap();
    for call in ["cancel(1)", "wait(1, '1 s')"] {
        let failure = Failure::of(&stranger.query(&format!("SELECT pgcopy.{call}"), &[]).unwrap_err());
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("42704", "job 1 does not exist"), "{call}");
    }
    // What is in the way of a lock is named by its process alone.
    pair.destination
        .batch_execute("CREATE TABLE theirs (id int); ALTER TABLE theirs OWNER TO strangers_other")
        .unwrap();
    pair.destination.batch_execute("BEGIN; LOCK TABLE theirs").unwrap();
    pair.source.batch_execute("CREATE TABLE theirs (id int)").unwrap();
    let mut admin = pair.another_destination_session();
    let sql = "GRANT USAGE ON FOREIGN SERVER prod TO strangers_other;
         CREATE USER MAPPING FOR strangers_other SERVER prod OPTIONS (user 'postgres', password_required 'false')";
    admin.batch_execute(sql).unwrap();
    let failure = Failure::of(
        &stranger
            .query("SELECT * FROM pgcopy.pull('prod', '{theirs}', overwrite => true, wait => false)", &[])
            .unwrap_err(),
    );
    assert_eq!(failure.sqlstate, "55P03", "{failure:?}");
    assert!(failure.detail.starts_with("It is locked by process "), "{failure:?}");
    pair.destination.batch_execute("ROLLBACK").unwrap();
}

#[test]
fn what_a_job_is_called_does_not_steer_anybodys_terminal() {
    let mut pair = Pair::new("job_terminal");
    pair.destination.batch_execute("SET pgcopy.retry_timeout = 0").unwrap();
    let job = text(
        &mut pair.destination,
        "SELECT pgcopy.start_pull('host=127.0.0.1 port=1 user=x dbname=''a' || chr(27) || '[2Jb''')::text",
    );
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "failed");
    assert_eq!(text(&mut pair.destination, "SELECT source FROM pgcopy.jobs"), "x@127.0.0.1:1/a\\x1b[2Jb");
    let job = text(
        &mut pair.destination,
        "SELECT pgcopy.start_load_parquet('/nowhere/a' || chr(27) || '[2Jb.parquet', 'item')::text",
    );
    assert_eq!(text(&mut pair.destination, &format!("SELECT pgcopy.wait({job}, '60 s')")), "failed");
    assert_eq!(
        text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs j WHERE j::text ~ '[[:cntrl:]]'"),
        "0"
    );
}
