//! Who may pull what, and with whose rights the code of others runs.

use crate::harness::{Failure, Pair, describe, pulled, text, texts};
use postgres::{Client, Config, NoTls};

/// Makes a role on both servers, which may log in. The shared source asks only `app` for a password.
fn role(pair: &mut Pair, name: &str, options: &str) {
    for client in [&mut pair.source, &mut pair.destination] {
        client
            .batch_execute(&format!(
                "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'secret' {options};
                 EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
                 GRANT ALL ON DATABASE {} TO {name}",
                pair.database
            ))
            .unwrap();
    }
}

fn session_of(pair: &Pair, role: &str, options: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database).options(options);
    config.connect(NoTls).unwrap()
}

/// How `app` reaches the source.
fn dsn_of_app(pair: &Pair) -> String {
    format!("host=127.0.0.1 port={} user=app password=secret dbname={}", pair.source_port, pair.database)
}

fn pull_of_app(pair: &Pair, arguments: &str) -> String {
    format!("SELECT * FROM pgcopy.pull('{}'{arguments})", dsn_of_app(pair))
}

#[test]
fn a_non_superuser_who_owns_the_targets_pulls_end_to_end() {
    let mut pair = Pair::new("owner_pulls");
    role(&mut pair, "app", "");
    pair.both("CREATE SCHEMA shop AUTHORIZATION app");
    pair.both(
        "SET ROLE app;
         CREATE DOMAIN shop.positive AS int CHECK (VALUE > 0);
         CREATE FUNCTION shop.squeeze(text) RETURNS text LANGUAGE plpgsql IMMUTABLE AS 'BEGIN RETURN lower($1); END';
         CREATE TABLE shop.customer (id serial PRIMARY KEY, name text NOT NULL UNIQUE, n shop.positive,
                                     CHECK (shop.squeeze(name) <> ''));
         CREATE INDEX ON shop.customer (shop.squeeze(name));
         CREATE TABLE shop.purchase (id bigint PRIMARY KEY, customer int REFERENCES shop.customer, body text,
                                     double int GENERATED ALWAYS AS (customer * 2) STORED);
         CREATE TABLE shop.part (id int PRIMARY KEY) PARTITION BY HASH (id);
         CREATE TABLE shop.part_0 PARTITION OF shop.part FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE shop.part_1 PARTITION OF shop.part FOR VALUES WITH (MODULUS 2, REMAINDER 1);
         CREATE TABLE shop.other (id int PRIMARY KEY, customer int REFERENCES shop.customer) PARTITION BY RANGE (id);
         RESET ROLE",
    );
    pair.source
        .batch_execute(
            "INSERT INTO shop.customer (name, n) SELECT 'C' || i, i FROM generate_series(1, 3000) i;
             INSERT INTO shop.purchase SELECT i, i % 3000 + 1, repeat('x', 3000) FROM generate_series(1, 9000) i;
             INSERT INTO shop.part SELECT generate_series(1, 1000);
             CREATE TABLE shop.other_all PARTITION OF shop.other DEFAULT;
             INSERT INTO shop.other SELECT i, i FROM generate_series(1, 100) i",
        )
        .unwrap();
    // Partitioned otherwise than the source's, so that it is loaded in place.
    pair.destination
        .batch_execute(
            "SET ROLE app;
             CREATE TABLE shop.other_low PARTITION OF shop.other FOR VALUES FROM (0) TO (50);
             CREATE TABLE shop.other_high PARTITION OF shop.other FOR VALUES FROM (50) TO (1000);
             RESET ROLE",
        )
        .unwrap();
    let mut app = session_of(&pair, "app", "");
    for workers in [3, 0] {
        let sql = pull_of_app(&pair, &format!(", overwrite => true, parallel => {workers}"));
        let report = pulled(app.query(&sql, &[]).unwrap_or_else(|error| panic!("{}", describe(&error))));
        let rows: i64 = report.iter().map(|table| table.rows).sum();
        assert_eq!(rows, 3000 + 9000 + 1000 + 100);
        for table in ["customer", "purchase", "part", "other"] {
            let sum = format!("SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM shop.{table} t");
            assert_eq!(text(&mut pair.source, &sum), text(&mut pair.destination, &sum), "{table}");
        }
        assert_eq!(text(&mut app, "SELECT nextval('shop.customer_id_seq')::text"), "3001");
        pair.assert_nothing_left();
    }
    let owners = "SELECT count(*)::text FROM pg_class WHERE relnamespace = 'shop'::regnamespace
                  AND relowner <> 'app'::regrole";
    assert_eq!(text(&mut pair.destination, owners), "0");
    assert_eq!(texts(&mut app, "SELECT role || ' ' || state FROM pgcopy.jobs"), ["app completed", "app completed"]);
}

#[test]
fn all_missing_rights_are_told_in_one_error() {
    let mut pair = Pair::with(
        "missing_rights",
        "CREATE SCHEMA inner_rooms; CREATE SEQUENCE numbers;
         CREATE TABLE mine (id int PRIMARY KEY DEFAULT nextval('numbers'), n int);
         CREATE TABLE theirs (id int PRIMARY KEY); CREATE TABLE also_theirs (id int PRIMARY KEY);
         CREATE TABLE unreadable (id int); CREATE TABLE hidden (id int); CREATE TABLE inner_rooms.unreachable (id int);
         CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE neighbour (id int REFERENCES parts)",
        "CREATE TABLE parts_all PARTITION OF parts DEFAULT; INSERT INTO mine SELECT 1, 1; INSERT INTO hidden VALUES (1)",
    );
    pair.destination
        .batch_execute(
            "CREATE TABLE parts_low PARTITION OF parts FOR VALUES FROM (0) TO (50); INSERT INTO mine VALUES (7)",
        )
        .unwrap();
    role(&mut pair, "app", "");
    pair.source
        .batch_execute(
            "GRANT SELECT ON mine, theirs, also_theirs, hidden, inner_rooms.unreachable, parts TO app;
             ALTER TABLE hidden ENABLE ROW LEVEL SECURITY;
             CREATE POLICY few ON hidden USING (id > 1); ALTER SEQUENCE numbers OWNED BY mine.id",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "ALTER TABLE mine OWNER TO app; ALTER TABLE unreadable OWNER TO app; ALTER TABLE hidden OWNER TO app;
             ALTER TABLE inner_rooms.unreachable OWNER TO app; ALTER TABLE parts OWNER TO app;
             ALTER TABLE parts_low OWNER TO app",
        )
        .unwrap();
    let before = pair.destination_state();
    let mut app = session_of(&pair, "app", "");
    let sql = pull_of_app(&pair, ", overwrite => true, exclude => '{neighbour}'");
    let failure = Failure::of(&app.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    let problems = failure.problems();
    let mut lines: Vec<&str> = problems.lines().collect();
    lines.sort_unstable();
    assert_eq!(
        lines,
        [
            "inner_rooms.unreachable: user app has no USAGE on schema inner_rooms of the source",
            "must be owner of sequence public.numbers, owned by postgres",
            "must be owner of table public.also_theirs, owned by postgres",
            "must be owner of table public.neighbour, owned by postgres",
            "must be owner of table public.theirs, owned by postgres",
            "public.hidden: row-level security of the source may hide rows from user app",
            "public.unreadable: user app may not read it on the source",
            "sequence public.numbers: user app may not read it on the source",
        ]
    );
    assert!(failure.message.ends_with(" (the first of 8 problems)"), "{}", failure.message);
    assert!(failure.hint.contains("exclude"), "{}", failure.hint);
    let planned = sql.replace("SELECT * FROM pgcopy.pull(", "SELECT concat_ws(' ', problem, mend) FROM pgcopy.plan(");
    let problems = crate::harness::texts(&mut app, &format!("{planned} WHERE problem IS NOT NULL ORDER BY 1"));
    assert_eq!(
        problems,
        [
            "must be owner of sequence public.numbers, owned by postgres ALTER SEQUENCE public.numbers OWNER TO app;",
            "must be owner of table public.also_theirs, owned by postgres ALTER TABLE public.also_theirs OWNER TO app;",
            "must be owner of table public.neighbour, owned by postgres ALTER TABLE public.neighbour OWNER TO app;",
            "must be owner of table public.theirs, owned by postgres ALTER TABLE public.theirs OWNER TO app;",
            "row-level security of the source may hide rows from user app ALTER ROLE app BYPASSRLS; -- on the source",
            "sequence public.numbers: user app may not read it on the source GRANT pg_read_all_data TO app; -- on the source",
            "user app has no USAGE on schema inner_rooms of the source GRANT pg_read_all_data TO app; -- on the source",
            "user app may not read it on the source GRANT pg_read_all_data TO app; -- on the source",
        ]
    );
    assert_eq!(pair.destination_state(), before);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy_internal.job"), "0");
}

/// Code of a table's owner that notes who it runs as and tries to make the owner a superuser.
const PLANTED: &str = "
    CREATE TABLE mallory.caught (what text, who text);
    CREATE FUNCTION mallory.plant(what text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        INSERT INTO mallory.caught VALUES (what, current_user);
        BEGIN
            ALTER ROLE mallory SUPERUSER;
            INSERT INTO mallory.caught VALUES (what, 'escalated as ' || current_user);
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
        BEGIN
            -- What a session's later statements would run into.
            EXECUTE 'CREATE TEMP TABLE trap (a int)';
            INSERT INTO mallory.caught VALUES (what, 'left a temporary table as ' || current_user);
        EXCEPTION WHEN insufficient_privilege THEN NULL;
        END;
    END $$;";

/// A function that an index, a constraint or a cast could be made with, and that became something else afterwards.
fn planted(signature: &str, returns: &str, result: &str, what: &str) -> (String, String) {
    let harmless = format!(
        "CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql IMMUTABLE AS $f$ BEGIN RETURN {result}; END $f$;"
    );
    let evil = format!(
        "CREATE OR REPLACE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql IMMUTABLE AS
         $f$ BEGIN PERFORM mallory.plant('{what}'); RETURN {result}; END $f$;"
    );
    (harmless, evil)
}

#[test]
fn code_of_a_tables_owner_never_runs_as_the_superuser_who_pulls() {
    let mut pair = Pair::new("planted");
    role(&mut pair, "mallory", "");
    let functions = [
        planted("mallory.of_index(a int)", "int", "a", "index"),
        planted("mallory.of_predicate(a int)", "boolean", "true", "index predicate"),
        planted("mallory.of_check(a int)", "boolean", "true", "check"),
        planted("mallory.of_domain(a int)", "boolean", "true", "domain"),
        planted("mallory.of_generated(a int)", "int", "a", "generated column"),
        planted("mallory.of_default(a int)", "int", "a", "default"),
        planted("mallory.of_policy(a int)", "boolean", "true", "policy"),
        planted("mallory.of_cast(a mallory.wrapped)", "int", "a.n", "cast"),
    ];
    let harmless: String = functions.iter().map(|(harmless, _)| harmless.as_str()).collect();
    let evil: String = functions.iter().map(|(_, evil)| evil.as_str()).collect();
    pair.both("CREATE SCHEMA mallory AUTHORIZATION mallory");
    let tables = |name: &str, partition: &str| {
        format!(
            "CREATE TABLE mallory.{name} (
                 id int PRIMARY KEY, a int DEFAULT mallory.of_default(1) CHECK (mallory.of_check(a)), d mallory.checked,
                 g int GENERATED ALWAYS AS (mallory.of_generated(a)) STORED) {partition};
             CREATE INDEX ON mallory.{name} (mallory.of_index(a));
             CREATE INDEX ON mallory.{name} (a) WHERE mallory.of_predicate(a);
             CREATE TABLE mallory.{name}_child (w mallory.wrapped, FOREIGN KEY (w) REFERENCES mallory.{name} (id));"
        )
    };
    pair.both(&format!(
        "SET ROLE mallory;
         CREATE TYPE mallory.wrapped AS (n int); {harmless}
         CREATE CAST (mallory.wrapped AS int) WITH FUNCTION mallory.of_cast AS IMPLICIT;
         CREATE DOMAIN mallory.checked AS int CHECK (mallory.of_domain(VALUE));
         {} {} RESET ROLE",
        tables("plain", ""),
        tables("parted", "PARTITION BY RANGE (id)"),
    ));
    pair.source
        .batch_execute(
            "CREATE TABLE mallory.parted_all PARTITION OF mallory.parted DEFAULT;
             INSERT INTO mallory.plain SELECT i, i, i FROM generate_series(1, 50) i;
             INSERT INTO mallory.plain_child SELECT ROW(i)::mallory.wrapped FROM generate_series(1, 50) i;
             INSERT INTO mallory.parted SELECT i, i, i FROM generate_series(1, 50) i;
             INSERT INTO mallory.parted_child SELECT ROW(i)::mallory.wrapped FROM generate_series(1, 50) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(&format!(
            "SET ROLE mallory; {PLANTED}
             CREATE TABLE mallory.parted_low PARTITION OF mallory.parted FOR VALUES FROM (0) TO (25);
             CREATE TABLE mallory.parted_high PARTITION OF mallory.parted FOR VALUES FROM (25) TO (1000);
             {evil}
             ALTER TABLE mallory.plain ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY p ON mallory.plain USING (mallory.of_policy(a));
             CREATE FUNCTION mallory.of_trigger() RETURNS trigger LANGUAGE plpgsql AS
             $f$ BEGIN PERFORM mallory.plant(TG_OP || ' trigger'); RETURN NEW; END $f$;
             CREATE TRIGGER r BEFORE INSERT ON mallory.parted_low FOR EACH ROW EXECUTE FUNCTION mallory.of_trigger();
             CREATE TRIGGER s BEFORE TRUNCATE ON mallory.parted FOR EACH STATEMENT EXECUTE FUNCTION mallory.of_trigger();
             ALTER TABLE mallory.parted_low ENABLE ALWAYS TRIGGER r;
             ALTER TABLE mallory.parted ENABLE ALWAYS TRIGGER s;
             RESET ROLE"
        ))
        .unwrap();
    let dsn = pair.dsn();
    let include = "include => '{mallory.plain, mallory.plain_child, mallory.parted, mallory.parted_child}'";
    for workers in [2, 0] {
        for call in ["plan", "pull"] {
            pair.destination
                .query(
                    &format!(
                        "SELECT * FROM pgcopy.{call}('{dsn}', {include}, overwrite => true, parallel => {workers})"
                    ),
                    &[],
                )
                .unwrap_or_else(|error| panic!("{}", describe(&error)));
        }
        pair.assert_nothing_left();
        let caught = texts(&mut pair.destination, "SELECT DISTINCT who FROM mallory.caught ORDER BY 1");
        assert_eq!(caught, ["mallory"], "{workers} workers");
        let mut ran = texts(&mut pair.destination, "SELECT DISTINCT what FROM mallory.caught ORDER BY 1");
        ran.retain(|what| !what.ends_with("trigger"));
        assert_eq!(
            ran,
            ["cast", "check", "domain", "generated column", "index", "index predicate"],
            "{workers} workers"
        );
        assert_eq!(
            text(&mut pair.destination, "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'mallory'"),
            "false"
        );
        pair.destination.batch_execute("TRUNCATE mallory.caught").unwrap();
    }
    // The same code does not become more powerful when its own owner pulls.
    let mut mallory = session_of(&pair, "mallory", "");
    pair.destination
        .batch_execute(&format!(
            "CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy OPTIONS (host '127.0.0.1', port '{}', dbname 'planted');
             GRANT USAGE ON FOREIGN SERVER prod TO mallory;
             CREATE USER MAPPING FOR mallory SERVER prod OPTIONS (user 'mallory', password_required 'false')",
            pair.source_port
        ))
        .unwrap();
    for workers in [2, 0] {
        let sql = format!("SELECT * FROM pgcopy.pull('prod', {include}, overwrite => true, parallel => {workers})");
        mallory.query(&sql, &[]).unwrap_or_else(|error| panic!("{}", describe(&error)));
        let caught = texts(&mut pair.destination, "SELECT DISTINCT who FROM mallory.caught ORDER BY 1");
        assert_eq!(caught, ["mallory"], "{workers} workers");
    }
    pair.assert_nothing_left();
}

#[test]
fn rows_behind_a_policy_are_not_taken_for_none() {
    let mut pair = Pair::with("forced_policy", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination
        .batch_execute(
            "INSERT INTO item VALUES (7); ALTER TABLE item OWNER TO app;
             ALTER TABLE item ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
             CREATE POLICY nothing ON item USING (false)",
        )
        .unwrap();
    let mut app = session_of(&pair, "app", "");
    assert_eq!(text(&mut app, "SELECT count(*)::text FROM item"), "0");
    let failure = Failure::of(&app.query(&pull_of_app(&pair, ""), &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "55000", "{failure:?}");
    app.query(&pull_of_app(&pair, ", overwrite => true"), &[]).unwrap();
    pair.assert_same_content();
}

#[test]
fn stage_tables_are_out_of_their_owners_reach() {
    let mut pair = Pair::with("stage_reach", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination.batch_execute("ALTER TABLE item OWNER TO app").unwrap();
    let mut app = session_of(&pair, "app", "");
    app.batch_execute("BEGIN").unwrap();
    app.query(&pull_of_app(&pair, ", parallel => 1"), &[]).unwrap();
    let stage = text(
        &mut app,
        "SELECT relname::text FROM pg_class WHERE relnamespace = (SELECT oid FROM pg_namespace
                                                                 WHERE nspname = 'pgcopy_stage') AND relkind = 'r'",
    );
    assert!(stage.starts_with("job_"), "{stage}");
    let mut other = session_of(&pair, "app", "");
    for sql in ["TABLE", "DROP TABLE", "TRUNCATE"] {
        let failure = Failure::of(&other.batch_execute(&format!("{sql} pgcopy_stage.{stage}")).unwrap_err());
        assert_eq!(failure.message, "permission denied for schema pgcopy_stage", "{sql}");
    }
    app.batch_execute("COMMIT").unwrap();
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn a_pull_from_restricted_code_is_refused() {
    let mut pair = Pair::with("restricted", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    let dsn = pair.dsn();
    pair.destination
        .batch_execute(&format!(
            "CREATE TABLE bait (a int); INSERT INTO bait VALUES (1);
             CREATE FUNCTION hook(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM * FROM pgcopy.pull('{dsn}', '{{item}}'); RETURN a; END $$"
        ))
        .unwrap();
    let failure = Failure::of(&pair.destination.batch_execute("CREATE INDEX ON bait (hook(a))").unwrap_err());
    assert_eq!(
        (failure.sqlstate.as_str(), failure.message.as_str()),
        ("42501", "cannot use pgcopy within security-restricted operation")
    );
    pair.pull("include => '{item}'");
}

#[test]
fn protection_cannot_be_lifted_by_those_it_protects_from() {
    let mut pair = Pair::with("protection", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination.batch_execute("ALTER TABLE item OWNER TO app").unwrap();
    let sql = pull_of_app(&pair, "");
    pair.destination.batch_execute("ALTER DATABASE protection SET pgcopy.protected = on").unwrap();
    // Each session loads the library only with its pull, and may have said anything before.
    for (options, before) in [
        ("", ""),
        ("", "SET pgcopy.protected = off"),
        ("", "BEGIN; SET LOCAL pgcopy.protected = off"),
        ("-c pgcopy.protected=off", ""),
        ("-c pgcopy.protected=off", "SET pgcopy.protected = off"),
        ("-c pgcopy.protected=off", "RESET pgcopy.protected"),
        ("-c pgcopy.protected=off", "RESET ALL"),
    ] {
        let mut app = session_of(&pair, "app", options);
        app.batch_execute(before).unwrap();
        let failure = Failure::of(&app.query(&sql, &[]).unwrap_err());
        assert_eq!(failure.sqlstate, "55000", "{options} {before}: {failure:?}");
    }
    let mut app = session_of(&pair, "app", "");
    app.query("SELECT pgcopy.version()", &[]).unwrap();
    assert_eq!(Failure::of(&app.batch_execute("SET pgcopy.protected = off").unwrap_err()).sqlstate, "42501");
    let refused = app.batch_execute("ALTER ROLE app SET pgcopy.protected = off").unwrap_err();
    assert_eq!(Failure::of(&refused).sqlstate, "42501");
    // Plans and lists go on; a superuser may lift it for a session.
    app.query(&sql.replace("pull", "plan"), &[]).unwrap();
    let mut superuser = session_of(&pair, "postgres", "-c pgcopy.protected=off");
    superuser.query(&pair.pull_sql(""), &[]).unwrap();
    pair.destination.batch_execute("ALTER DATABASE protection RESET pgcopy.protected").unwrap();
    session_of(&pair, "app", "").query(&pull_of_app(&pair, ", overwrite => true"), &[]).unwrap();
    pair.assert_same_content();
}

#[test]
fn jobs_are_shown_as_backends_are() {
    let mut pair = Pair::with("job_rights", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    role(&mut pair, "stranger", "");
    role(&mut pair, "guard", "IN ROLE pg_signal_backend");
    role(&mut pair, "colleague", "IN ROLE app");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination.batch_execute("ALTER TABLE item OWNER TO app; GRANT CREATE ON SCHEMA public TO stranger").unwrap();
    session_of(&pair, "app", "").query(&pull_of_app(&pair, ""), &[]).unwrap();
    pair.assert_nothing_left();
    for (role, seen) in [("app", "1"), ("colleague", "1"), ("guard", "1"), ("postgres", "1"), ("stranger", "0")] {
        let mut session = session_of(&pair, role, "");
        for view in ["jobs", "job_tables", "timeline"] {
            let count = text(&mut session, &format!("SELECT count(DISTINCT job)::text FROM pgcopy.{view}"));
            assert_eq!(count, seen, "{role} {view}");
        }
        let failure =
            session.batch_execute("TABLE pgcopy_internal.job").err().map(|error| Failure::of(&error).sqlstate);
        assert_eq!(failure.as_deref(), if role == "postgres" { None } else { Some("42501") });
    }
    let mut stranger = session_of(&pair, "stranger", "");
    stranger
        .batch_execute(
            "CREATE TABLE leaked (what text);
             CREATE FUNCTION leak(text) RETURNS boolean LANGUAGE plpgsql COST 0.0001 AS
             'BEGIN INSERT INTO leaked VALUES ($1); RETURN true; END'",
        )
        .unwrap();
    stranger.batch_execute("SELECT * FROM pgcopy.jobs WHERE leak(source)").unwrap();
    assert_eq!(text(&mut stranger, "SELECT count(*)::text FROM leaked"), "0");
}

#[test]
fn an_administrator_leaves_others_only_the_servers_that_they_were_granted() {
    let mut pair = Pair::with("only_servers", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination
        .batch_execute(&format!(
            "ALTER TABLE item OWNER TO app; ALTER DATABASE only_servers SET pgcopy.only_foreign_servers = on;
             CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy
                 OPTIONS (host '127.0.0.1', port '{}', dbname 'only_servers');
             GRANT USAGE ON FOREIGN SERVER prod TO app;
             CREATE USER MAPPING FOR app SERVER prod OPTIONS (user 'app', password 'secret')",
            pair.source_port
        ))
        .unwrap();
    let dsn = dsn_of_app(&pair);
    for options in ["", "-c pgcopy.only_foreign_servers=off"] {
        let mut app = session_of(&pair, "app", options);
        for call in [
            format!("* FROM pgcopy.list('{dsn}')"),
            format!("* FROM pgcopy.plan('{dsn}')"),
            format!("* FROM pgcopy.pull('{dsn}')"),
            format!("pgcopy.start_pull('{dsn}')"),
            // Nothing is told of what is there.
            "* FROM pgcopy.list('host=127.0.0.1 port=1 user=x password=y')".to_owned(),
        ] {
            let failure = Failure::of(&app.query(&format!("SELECT {call}"), &[]).unwrap_err());
            assert_eq!(
                (failure.sqlstate.as_str(), failure.message.as_str()),
                ("42501", "permission denied to use a connection string"),
                "{options} {call}"
            );
        }
        app.query("SELECT * FROM pgcopy.pull('prod', overwrite => true)", &[]).unwrap();
    }
    // A superuser still may.
    let mut superuser = pair.another_destination_session();
    superuser.query(&pair.pull_sql("overwrite => true"), &[]).unwrap();
    pair.assert_same_content();
}

#[test]
fn the_functions_can_be_taken_from_everybody_and_granted_to_some() {
    let mut pair = Pair::with("granted", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    for name in ["app", "stranger"] {
        role(&mut pair, name, "");
    }
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.destination
        .batch_execute(
            "ALTER TABLE item OWNER TO app;
             REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA pgcopy FROM PUBLIC;
             GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA pgcopy TO app",
        )
        .unwrap();
    let dsn = dsn_of_app(&pair);
    let mut stranger = session_of(&pair, "stranger", "");
    for call in ["list", "plan", "pull", "start_pull"] {
        let failure = Failure::of(&stranger.query(&format!("SELECT pgcopy.{call}('{dsn}')"), &[]).unwrap_err());
        assert_eq!(failure.sqlstate, "42501", "{call}");
        assert_eq!(failure.message, format!("permission denied for function {call}"));
    }
    // With workers and in the background, whose own calls are nobody's business.
    let mut app = session_of(&pair, "app", "");
    app.query(&pull_of_app(&pair, ", parallel => 2"), &[]).unwrap();
    let job = text(&mut app, &format!("SELECT pgcopy.start_pull('{dsn}', overwrite => true)::text"));
    assert_eq!(text(&mut app, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    pair.assert_same_content();
}

/// The table of the page on rights, for a role that was granted nothing.
#[test]
fn who_may_call_what() {
    let mut pair =
        Pair::with("rights_of_calls", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    role(&mut pair, "app", "");
    role(&mut pair, "outsider", "");
    pair.source.batch_execute("GRANT SELECT ON item TO app").unwrap();
    pair.pull("overwrite => true");
    pair.assert_nothing_left();
    let dsn = dsn_of_app(&pair);
    let mut outsider = session_of(&pair, "outsider", "");
    for allowed in [
        format!("SELECT * FROM pgcopy.list('{dsn}')"),
        format!("SELECT * FROM pgcopy.list_databases('{dsn}')"),
        format!("SELECT * FROM pgcopy.plan('{dsn}')"),
        "SELECT pgcopy.version(), pgcopy.cleanup(), pgcopy.prune()".to_owned(),
        "TABLE pgcopy.jobs; TABLE pgcopy.job_tables; TABLE pgcopy.job_tasks; TABLE pgcopy.progress; TABLE pgcopy.timeline".to_owned(),
    ] {
        outsider.batch_execute(&allowed).unwrap_or_else(|error| panic!("{allowed}: {}", describe(&error)));
    }
    let problem = text(&mut outsider, &format!("SELECT problem FROM pgcopy.plan('{dsn}')"));
    assert_eq!(problem, "must be owner of table public.item, owned by postgres");
    for (call, sqlstate) in [
        (format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true)"), "42501"),
        (format!("SELECT * FROM pgcopy.verify('{dsn}')"), "42501"),
        ("SELECT * FROM pgcopy.load_parquet('/nowhere/item.parquet')".to_owned(), "42501"),
        ("SELECT * FROM pgcopy.load_parquet('http://127.0.0.1:1/item.parquet')".to_owned(), "42501"),
        ("SELECT * FROM pgcopy.parquet_schema('/nowhere/item.parquet')".to_owned(), "42501"),
        ("SELECT * FROM pgcopy.parquet_files('/nowhere/item.parquet')".to_owned(), "42501"),
        ("COPY (SELECT 1 AS id) TO '/nowhere/item.parquet' (FORMAT parquet)".to_owned(), "42501"),
        ("SELECT pgcopy.wait(1)".to_owned(), "42704"),
        ("SELECT pgcopy.cancel(1)".to_owned(), "42704"),
        ("CREATE SERVER prod FOREIGN DATA WRAPPER pgcopy OPTIONS (host 'prod')".to_owned(), "42501"),
        ("SET pgcopy.protected = off".to_owned(), "42501"),
        ("SET pgcopy.only_foreign_servers = off".to_owned(), "42501"),
        ("SET pgcopy.max_jobs_per_role = -1".to_owned(), "42501"),
        ("SET pgcopy.history_limit = -1".to_owned(), "42501"),
        ("SET pgcopy.own_storage = off".to_owned(), "42501"),
        ("SELECT * FROM pgcopy_internal.job".to_owned(), "42501"),
    ] {
        let failure = Failure::of(&outsider.batch_execute(&call).unwrap_err());
        assert_eq!(failure.sqlstate, sqlstate, "{call}: {failure:?}");
    }
    pair.destination.batch_execute("ALTER TABLE item OWNER TO app").unwrap();
    let pull = format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true)");
    let failure = Failure::of(&outsider.batch_execute(&pull).unwrap_err());
    assert!(failure.hint.ends_with("GRANT app TO outsider;"), "{failure:?}");
    // What the table says is missing is all that is missing.
    pair.destination.batch_execute("ALTER TABLE item OWNER TO outsider").unwrap();
    for call in ["pull", "verify"] {
        let arguments = if call == "pull" { ", overwrite => true" } else { "" };
        outsider.batch_execute(&format!("SELECT * FROM pgcopy.{call}('{dsn}'{arguments})")).unwrap();
    }
}

/// The sequence of a partitioned table goes with the table, whose partitions may belong to somebody else.
#[test]
fn a_sequence_above_the_partitions_is_told_of_with_its_table() {
    const TABLES: &str =
        "CREATE TABLE event (id int GENERATED ALWAYS AS IDENTITY, day date NOT NULL) PARTITION BY RANGE (day);
        CREATE TABLE event_2024 PARTITION OF event FOR VALUES FROM ('2024-01-01') TO ('2025-01-01')";
    let mut pair = Pair::with("rights_of_sequences_above", TABLES, "INSERT INTO event (day) VALUES ('2024-02-03')");
    role(&mut pair, "app", "");
    pair.source
        .batch_execute(
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO app; GRANT SELECT ON ALL SEQUENCES IN SCHEMA public TO app",
        )
        .unwrap();
    pair.destination.batch_execute("ALTER TABLE event_2024 OWNER TO app").unwrap();
    let dsn = dsn_of_app(&pair);
    let mut app = session_of(&pair, "app", "");
    let problem = text(&mut app, &format!("SELECT string_agg(problem || ' ' || mend, ',') FROM pgcopy.plan('{dsn}')"));
    assert_eq!(
        problem,
        "must be owner of table public.event, owned by postgres ALTER TABLE public.event OWNER TO app;"
    );
    pair.destination.batch_execute("ALTER TABLE public.event OWNER TO app").unwrap();
    app.batch_execute(&format!("SELECT * FROM pgcopy.pull('{dsn}')"))
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.assert_same_content();
}
