//! As whom the code runs that users plant where PostgreSQL evaluates it: in indexes, constraints, statistics, types,
//! casts, operators, triggers, policies, rules and views.

use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::{Client, Config, NoTls};
use xtask::server::ScratchDirectory;

/// What all planted functions call. A row of `caught` says what ran, in whose session, as whom, whether under the
/// restrictions of maintenance commands, and whether triggers and foreign keys of other tables were in force.
const NOTE: &str = "
    CREATE TABLE public.caught (what text, who text, session text, restricted boolean, superuser boolean, replication text);
    GRANT INSERT, SELECT ON public.caught TO PUBLIC;
    CREATE FUNCTION public.note(what text) RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS $$
    DECLARE restricted boolean := false;
    BEGIN
        BEGIN
            CREATE TEMP TABLE trap (a int);
            DROP TABLE trap;
        EXCEPTION WHEN insufficient_privilege THEN restricted := true;
        END;
        INSERT INTO public.caught
        SELECT what, current_user, session_user, restricted, rolsuper, current_setting('session_replication_role') FROM pg_catalog.pg_roles WHERE rolname = current_user;
    END $$;";

/// What `note` is at the source.
const NO_NOTE: &str = "
    CREATE FUNCTION public.note(what text) RETURNS void LANGUAGE plpgsql AS 'BEGIN END'";

/// A function of the current role that notes who runs it. `what` begins with the role's name.
fn function(signature: &str, returns: &str, result: &str, what: &str) -> String {
    format!(
        "CREATE FUNCTION {signature} RETURNS {returns} LANGUAGE plpgsql IMMUTABLE AS
         $f$ BEGIN PERFORM public.note('{what}'); RETURN {result}; END $f$;"
    )
}

/// Makes a role on both servers that may log in here.
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

fn session_of(pair: &Pair, role: &str) -> Client {
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user(role).dbname(&pair.database);
    config.connect(NoTls).unwrap()
}

/// The call of a function with a source that every role may use.
fn call(pair: &Pair, function: &str, arguments: &str) -> String {
    format!(
        "SELECT * FROM pgcopy.{function}('host=127.0.0.1 port={} user=app password=secret dbname={}', {arguments})",
        pair.source_port, pair.database
    )
}

fn run(client: &mut Client, sql: &str) {
    client.query(sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

/// Two owners of tables that foreign keys tie together, each with code in every place.
struct Gardens {
    pair: Pair,
    directory: ScratchDirectory,
}

const OWNERS: [&str; 2] = ["planter", "neighbour"];

/// Functions and types of an owner, in the owner's schema.
fn tools(owner: &str) -> String {
    let functions: String = [
        ("index_of(a int)", "int", "a", "index"),
        ("index_folded(a int)", "text", "a::text", "folded index"),
        ("predicate_of(a int)", "boolean", "true", "predicate"),
        ("predicate_folded(a int)", "boolean", "true", "folded predicate"),
        ("check_of(a int)", "boolean", "true", "check"),
        ("check_folded(a int)", "boolean", "true", "folded check"),
        ("domain_of(a int)", "boolean", "a > 0", "domain"),
        ("generated_of(a int)", "int", "a", "generated column"),
        ("default_of(a int)", "int", "a", "default"),
        ("statistics_of(a int)", "int", "a % 7", "statistics"),
        ("statistics_folded(a int)", "int", "a", "folded statistics"),
        ("key_of(a int)", "int", "a", "partition key"),
        ("key_folded(a int)", "int", "a", "folded partition key"),
        ("policy_of(a int)", "boolean", "true", "policy"),
        ("view_of(a int)", "int", "a", "view"),
        ("rule_of(a int)", "int", "a", "rule"),
    ]
    .iter()
    .map(|(signature, returns, result, what)| {
        function(&format!("{owner}.{signature}"), returns, result, &format!("{owner} {what}"))
    })
    .collect();
    format!(
        "{functions}
         CREATE TYPE {owner}.wrapped AS (n int);
         {}
         CREATE CAST ({owner}.wrapped AS int) WITH FUNCTION {owner}.cast_of AS IMPLICIT;
         CREATE DOMAIN {owner}.checked AS int CHECK ({owner}.domain_of(VALUE));
         CREATE FUNCTION {owner}.of_trigger() RETURNS trigger LANGUAGE plpgsql AS
         $f$ BEGIN PERFORM public.note('{owner} trigger'); RETURN NEW; END $f$;",
        function(&format!("{owner}.cast_of(a {owner}.wrapped)"), "int", "a.n", &format!("{owner} cast"))
    )
}

/// A table with everything. `rest` ends the statement.
fn bed(owner: &str, name: &str, rest: &str) -> String {
    format!(
        "CREATE TABLE {owner}.{name} (
             id int, k text, a int DEFAULT {owner}.default_of(1), d {owner}.checked, e {owner}.checked[],
             g int GENERATED ALWAYS AS ({owner}.generated_of(a)) STORED,
             CHECK ({owner}.check_of(a)), CHECK ({owner}.check_folded(1) OR id = 1)) {rest};
         CREATE INDEX ON {owner}.{name} ({owner}.index_of(a));
         CREATE INDEX ON {owner}.{name} ((k || {owner}.index_folded(1)));
         CREATE INDEX ON {owner}.{name} (a) WHERE {owner}.predicate_of(a) AND {owner}.predicate_folded(1);
         CREATE STATISTICS {owner}.{name}_statistics
             ON (d = ANY ('{{1,2}}'::{owner}.checked[])), (id + {owner}.statistics_folded(1)), ({owner}.statistics_of(a))
             FROM {owner}.{name};"
    )
}

impl Gardens {
    fn new(name: &str) -> Self {
        let (mut pair, directory) = Pair::with_files(name);
        pair.source.batch_execute(NO_NOTE).unwrap();
        pair.destination.batch_execute(NOTE).unwrap();
        role(&mut pair, "app", "");
        for owner in OWNERS {
            role(&mut pair, owner, "");
            pair.both(&format!(
                "CREATE SCHEMA {owner} AUTHORIZATION {owner}; GRANT USAGE ON SCHEMA {owner} TO PUBLIC;
                 SET ROLE {owner}; {} RESET ROLE",
                tools(owner)
            ));
        }
        role(&mut pair, "helper", "IN ROLE planter, neighbour");
        pair.destination
            .batch_execute(&format!(
                "GRANT pg_read_server_files TO planter, helper;
                 ALTER DATABASE {name} SET constraint_exclusion = on; SET constraint_exclusion = on;
                 ALTER DATABASE {name} SET plan_cache_mode = force_custom_plan; SET plan_cache_mode = force_custom_plan"
            ))
            .unwrap();
        Self { pair, directory }
    }

    fn both(&mut self, owner: &str, sql: &str) {
        self.pair.both(&format!("SET ROLE {owner}; {sql}; RESET ROLE"));
    }

    fn here(&mut self, owner: &str, sql: &str) {
        self.pair.destination.batch_execute(&format!("SET ROLE {owner}; {sql}; RESET ROLE")).unwrap();
    }

    fn there(&mut self, sql: &str) {
        self.pair.source.batch_execute(sql).unwrap();
    }

    fn forget(&mut self) {
        self.pair.destination.batch_execute("TRUNCATE public.caught").unwrap();
    }

    /// Every planted function ran as its owner or not at all, and under restrictions where somebody else called. Returns
    /// what ran.
    fn assert_nothing_gained(&mut self, caller: &str, circumstances: &str) -> Vec<String> {
        self.assert_nothing_gained_but(caller, circumstances, "false")
    }

    /// The same, where `excused` says what may run without restrictions.
    fn assert_nothing_gained_but(&mut self, caller: &str, circumstances: &str, excused: &str) -> Vec<String> {
        let found = texts(
            &mut self.pair.destination,
            &format!(
                "SELECT DISTINCT format('%s as %s, session of %s%s', what, who, session,
                                        CASE WHEN restricted THEN ', restricted' ELSE '' END)
                 FROM public.caught
                 WHERE superuser OR replication <> 'origin' OR who <> split_part(what, ' ', 1)
                    OR (NOT restricted AND split_part(what, ' ', 1) <> '{caller}' AND NOT ({excused})) ORDER BY 1"
            ),
        );
        assert!(found.is_empty(), "{circumstances}: {found:#?}");
        let ran = texts(&mut self.pair.destination, "SELECT DISTINCT what FROM public.caught ORDER BY 1");
        self.forget();
        ran
    }

    /// Calls a function as the role, and waits for the job where it starts one.
    fn call(&mut self, caller: &str, sql: &str) {
        let mut session = session_of(&self.pair, caller);
        let rows = session.query(sql, &[]).unwrap_or_else(|error| panic!("{caller}: {sql}: {}", describe(&error)));
        if sql.contains("pgcopy.start_") {
            let job: i64 = rows[0].get(0);
            let state = text(&mut session, &format!("SELECT pgcopy.wait({job}, '120 s')"));
            let error =
                text(&mut session, &format!("SELECT concat_ws(' ', error, detail) FROM pgcopy.jobs WHERE job = {job}"));
            assert_eq!(state, "completed", "{caller}: {sql}: {error}");
        }
    }
}

/// What must have run in any case, of one owner.
fn assert_ran(ran: &[String], owner: &str, expected: &[&str], circumstances: &str) {
    for what in expected {
        let what = format!("{owner} {what}");
        assert!(ran.contains(&what), "{circumstances}: {what} did not run, but {ran:?}");
    }
}

#[test]
fn code_of_two_owners_runs_as_its_own_in_a_pull() {
    let mut gardens = Gardens::new("gardens");
    for owner in OWNERS {
        let shapes = [
            bed(owner, "parent", ""),
            bed(owner, "child", ""),
            bed(owner, "parted", "PARTITION BY RANGE (id)"),
            bed(owner, "routed", &format!("PARTITION BY RANGE (({owner}.key_of(a) + {owner}.key_folded(0)))")),
            bed(owner, "alike", &format!("PARTITION BY RANGE (({owner}.key_of(a) + {owner}.key_folded(0)))")),
        ];
        gardens.both(
            owner,
            &format!(
                "{}
                 ALTER TABLE {owner}.parent ADD PRIMARY KEY (id), ADD UNIQUE (k); ALTER TABLE {owner}.parted ADD PRIMARY KEY (id);
                 CREATE TABLE {owner}.alike_all PARTITION OF {owner}.alike FOR VALUES FROM (0) TO (100000);
                 CREATE TABLE {owner}.casting (w {owner}.wrapped);
                 CREATE TABLE {owner}.parted_child (id int, k text);
                 GRANT REFERENCES ON ALL TABLES IN SCHEMA {owner} TO PUBLIC; GRANT SELECT ON ALL TABLES IN SCHEMA {owner} TO app",
                shapes.concat()
            ),
        );
    }
    for (owner, other) in [("planter", "neighbour"), ("neighbour", "planter")] {
        gardens.both(
            owner,
            &format!(
                "ALTER TABLE {owner}.child ADD FOREIGN KEY (k) REFERENCES {owner}.parent (k),
                                           ADD FOREIGN KEY (k) REFERENCES {other}.parent (k),
                                           ADD FOREIGN KEY (id) REFERENCES {other}.parent (id);
                 ALTER TABLE {owner}.casting ADD FOREIGN KEY (w) REFERENCES {owner}.parent (id),
                                             ADD FOREIGN KEY (w) REFERENCES {other}.parent (id);
                 ALTER TABLE {owner}.parted_child ADD FOREIGN KEY (id) REFERENCES {owner}.parted,
                                                  ADD FOREIGN KEY (id) REFERENCES {other}.parted;
                 ALTER TABLE {owner}.routed ADD FOREIGN KEY (id) REFERENCES {owner}.parted,
                                            ADD FOREIGN KEY (k) REFERENCES {owner}.parent (k)"
            ),
        );
        // Partitioned otherwise than the source's, so that they are loaded in place.
        gardens.there(&format!(
            "CREATE TABLE {owner}.parted_all PARTITION OF {owner}.parted DEFAULT;
             CREATE TABLE {owner}.routed_all PARTITION OF {owner}.routed DEFAULT;
             GRANT SELECT ON ALL TABLES IN SCHEMA {owner} TO app"
        ));
        gardens.here(
            owner,
            &format!(
                "CREATE TABLE {owner}.parted_low PARTITION OF {owner}.parted FOR VALUES FROM (0) TO (25);
                 CREATE TABLE {owner}.parted_high PARTITION OF {owner}.parted FOR VALUES FROM (25) TO (1000);
                 CREATE TABLE {owner}.routed_low PARTITION OF {owner}.routed FOR VALUES FROM (0) TO (25);
                 CREATE TABLE {owner}.routed_high PARTITION OF {owner}.routed FOR VALUES FROM (25) TO (1000);
                 ALTER TABLE {owner}.parent ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY;
                 CREATE POLICY p ON {owner}.parent USING ({owner}.policy_of(a));
                 CREATE RULE r AS ON INSERT TO {owner}.casting DO ALSO SELECT {owner}.rule_of(1);
                 CREATE MATERIALIZED VIEW {owner}.seen AS SELECT id, {owner}.view_of(a) FROM {owner}.child;
                 CREATE TRIGGER b BEFORE INSERT ON {owner}.routed_low FOR EACH ROW EXECUTE FUNCTION {owner}.of_trigger();
                 CREATE TRIGGER t BEFORE TRUNCATE ON {owner}.routed FOR EACH STATEMENT EXECUTE FUNCTION {owner}.of_trigger();
                 CREATE TRIGGER c AFTER INSERT ON {owner}.child FOR EACH ROW EXECUTE FUNCTION {owner}.of_trigger();
                 ALTER TABLE {owner}.routed_low ENABLE ALWAYS TRIGGER b; ALTER TABLE {owner}.routed ENABLE ALWAYS TRIGGER t;
                 ALTER TABLE {owner}.child ENABLE ALWAYS TRIGGER c"
            ),
        );
    }
    for table in ["parent", "parted", "routed", "alike", "child"] {
        for owner in OWNERS {
            gardens.there(&format!(
                "INSERT INTO {owner}.{table} SELECT i, 'k' || i, i, i, ARRAY[i] FROM generate_series(1, 50) i"
            ));
        }
    }
    gardens.there(
        "INSERT INTO planter.casting SELECT ROW(i)::planter.wrapped FROM generate_series(1, 50) i;
         INSERT INTO neighbour.casting SELECT ROW(i)::neighbour.wrapped FROM generate_series(1, 50) i;
         INSERT INTO planter.parted_child SELECT i, 'k' FROM generate_series(1, 50) i;
         INSERT INTO neighbour.parted_child SELECT i, 'k' FROM generate_series(1, 50) i",
    );
    gardens.forget();
    let definitions = "SELECT string_agg(concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid), convalidated), '; '
                                         ORDER BY conrelid::regclass::text, conname) FROM pg_constraint WHERE contype = 'f' AND conparentid = 0";
    let triggers = "SELECT string_agg(concat_ws(' ', tgrelid::regclass, tgname, tgenabled), '; ' ORDER BY tgrelid::regclass::text, tgname)
                    FROM pg_trigger WHERE NOT tgisinternal";
    let before = [definitions, triggers].map(|sql| text(&mut gardens.pair.destination, sql));
    let everything = "include => '{planter.*, neighbour.*}'";
    // Its owner may not touch the foreign keys of others that refer to a table which is loaded in place.
    let own = "include => '{planter.*}', exclude => '{planter.parted*, planter.routed}'";
    for (caller, tables) in [("postgres", everything), ("planter", own), ("helper", everything)] {
        for (function, workers) in [("plan", 2), ("pull", 2), ("pull", 0), ("start_pull", 1)] {
            let circumstances = format!("{function} of {caller} with {workers} workers");
            let arguments = format!("{tables}, overwrite => true, parallel => {workers}, refresh => true");
            let sql = call(&gardens.pair, function, &arguments);
            gardens.call(caller, &sql);
            let ran = gardens.assert_nothing_gained(caller, &circumstances);
            if function == "plan" {
                continue;
            }
            let everywhere = [
                "index",
                "folded index",
                "predicate",
                "folded predicate",
                "check",
                "folded check",
                "domain",
                "generated column",
                "statistics",
                "folded statistics",
                "cast",
                "view",
                "partition key",
                "folded partition key",
            ];
            assert_ran(&ran, "planter", &everywhere, &circumstances);
            if caller != "planter" {
                assert_ran(&ran, "neighbour", &everywhere, &circumstances);
            }
            assert!(
                !ran.iter().any(|what| what.ends_with("trigger") || what.ends_with("rule")),
                "{circumstances}: {ran:?}"
            );
            let after = [definitions, triggers].map(|sql| text(&mut gardens.pair.destination, sql));
            assert_eq!(after, before, "{circumstances}");
        }
    }
    for owner in OWNERS {
        for (table, key) in [
            ("parent", "id"),
            ("child", "id"),
            ("parted", "id"),
            ("routed", "id"),
            ("alike", "id"),
            ("casting", "(w).n"),
        ] {
            let rows = format!("SELECT string_agg(t::text, ';' ORDER BY {key}) FROM {owner}.{table} t");
            let pair = &mut gardens.pair;
            assert_eq!(text(&mut pair.destination, &rows), text(&mut pair.source, &rows), "{owner}.{table}");
        }
    }
    gardens.pair.assert_nothing_left();
}

#[test]
fn code_of_a_table_runs_as_its_owner_in_a_load_of_files() {
    let mut gardens = Gardens::new("garden_files");
    let file = gardens.directory.path().join("seeds.parquet").display().to_string();
    let copy = format!(
        "COPY (SELECT i AS id, 'k' || i AS k, i AS d FROM generate_series(1, 50) i) TO '{file}' (FORMAT parquet)"
    );
    gardens.pair.destination.batch_execute(&copy).unwrap();
    let routed = "PARTITION BY RANGE ((planter.key_of(a) + planter.key_folded(0)))";
    let shapes = [
        bed("planter", "parent", ""),
        bed("planter", "plain", ""),
        bed("planter", "fired", ""),
        bed("planter", "deferred", ""),
        bed("planter", "routed", routed),
    ];
    gardens.here(
        "planter",
        &format!(
            "{}
             CREATE TABLE planter.routed_low PARTITION OF planter.routed FOR VALUES FROM (0) TO (25);
             CREATE TABLE planter.routed_high PARTITION OF planter.routed FOR VALUES FROM (25) TO (1000);
             CREATE TRIGGER b BEFORE INSERT ON planter.fired FOR EACH ROW EXECUTE FUNCTION planter.of_trigger();
             CREATE TRIGGER a AFTER INSERT ON planter.fired FOR EACH ROW EXECUTE FUNCTION planter.of_trigger();
             CREATE TRIGGER s AFTER INSERT ON planter.fired FOR EACH STATEMENT EXECUTE FUNCTION planter.of_trigger();
             CREATE TRIGGER t BEFORE TRUNCATE ON planter.fired FOR EACH STATEMENT EXECUTE FUNCTION planter.of_trigger();
             CREATE TRIGGER a AFTER INSERT ON planter.routed_low FOR EACH ROW EXECUTE FUNCTION planter.of_trigger();
             ALTER TABLE planter.parent ADD PRIMARY KEY (id), ADD UNIQUE (k);
             INSERT INTO planter.parent (id, k) SELECT i, 'k' || i FROM generate_series(1, 50) i;
             ALTER TABLE planter.plain ADD FOREIGN KEY (k) REFERENCES planter.parent (k);
             ALTER TABLE planter.deferred ADD FOREIGN KEY (k) REFERENCES planter.parent (k) DEFERRABLE INITIALLY DEFERRED",
            shapes.concat()
        ),
    );
    gardens.forget();
    for caller in ["postgres", "planter", "helper"] {
        for (table, mode) in [
            ("plain", "append"),
            ("plain", "append"),
            ("plain", "replace"),
            ("fired", "append"),
            ("fired", "replace"),
            ("routed", "append"),
            ("routed", "replace"),
            ("deferred", "append"),
            ("deferred", "append"),
        ] {
            for function in ["load_parquet", "start_load_parquet"] {
                let circumstances = format!("{function}, {mode} to {table} of {caller}");
                let overwrite = mode == "replace";
                gardens.call(
                    caller,
                    &format!(
                        "SELECT * FROM pgcopy.{function}('{file}', target => 'planter.{table}', mode => '{mode}',
                                                         overwrite => {overwrite})"
                    ),
                );
                // A check that is left for the end of the transaction is the server's own, a query over the other table.
                let excused = if table == "deferred" { "what LIKE '%folded%'" } else { "false" };
                let ran = gardens.assert_nothing_gained_but(caller, &circumstances, excused);
                let everywhere = ["index", "predicate", "check", "domain", "generated column", "default"];
                assert_ran(&ran, "planter", &everywhere, &circumstances);
                if ["fired", "routed"].contains(&table) {
                    assert_ran(&ran, "planter", &["trigger"], &circumstances);
                }
            }
        }
        gardens.pair.destination.batch_execute("TRUNCATE planter.plain, planter.deferred").unwrap();
        gardens.forget();
    }
    gardens.pair.assert_nothing_left();
}

#[test]
fn a_superusers_pull_does_not_make_an_ordinary_role_one() {
    let mut pair = Pair::new("no_superuser_made");
    role(&mut pair, "app", "");
    role(&mut pair, "mallory_of_keys", "");
    let payload = "
        CREATE SCHEMA mal AUTHORIZATION mallory_of_keys; SET ROLE mallory_of_keys;
        CREATE FUNCTION mal.payload() RETURNS text LANGUAGE plpgsql VOLATILE AS $$ BEGIN
            IF (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) THEN
                EXECUTE 'ALTER ROLE mallory_of_keys SUPERUSER';
            END IF;
            RETURN '';
        END $$;
        CREATE FUNCTION mal.evil(i int) RETURNS text LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN mal.payload(); END $$;
        CREATE DOMAIN mal.dom AS int;
        CREATE TABLE mal.parent (k text PRIMARY KEY, x mal.dom, y int);
        CREATE TABLE mal.child (id int PRIMARY KEY, k text REFERENCES mal.parent);
        GRANT SELECT ON ALL TABLES IN SCHEMA mal TO app; GRANT USAGE ON SCHEMA mal TO app; RESET ROLE;
        INSERT INTO mal.parent VALUES ('a', 1, 1); INSERT INTO mal.child VALUES (1, 'a')";
    pair.both(payload);
    pair.destination
        .batch_execute(
            "SET ROLE mallory_of_keys;
             CREATE INDEX ON mal.parent ((k || mal.evil(1)));
             CREATE FUNCTION mal.check_domain(i int) RETURNS boolean LANGUAGE plpgsql IMMUTABLE AS
             $$ BEGIN PERFORM mal.payload(); RETURN true; END $$;
             ALTER DOMAIN mal.dom ADD CHECK (mal.check_domain(VALUE));
             CREATE STATISTICS mal.st ON (x = ANY ('{1,2}'::mal.dom[])), y FROM mal.parent;
             RESET ROLE",
        )
        .unwrap();
    let sql = call(&pair, "pull", "include => '{mal.child,mal.parent}', overwrite => true");
    for caller in ["mallory_of_keys", "postgres"] {
        for workers in [2, 0] {
            run(&mut session_of(&pair, caller), &sql.replace("true)", &format!("true, parallel => {workers})")));
            let is_superuser = "SELECT rolsuper::text FROM pg_roles WHERE rolname = 'mallory_of_keys'";
            assert_eq!(text(&mut pair.destination, is_superuser), "false", "{caller} with {workers} workers");
        }
    }
}

#[test]
fn code_that_a_job_runs_cannot_become_the_role_that_logged_in() {
    let (mut pair, directory) = Pair::with_files("job_identity");
    for (name, options) in [("boss", "SUPERUSER"), ("limited", "IN ROLE pg_read_server_files"), ("mallory_of_jobs", "")]
    {
        role(&mut pair, name, options);
    }
    let file = directory.path().join("one.parquet").display().to_string();
    pair.destination.batch_execute(&format!("COPY (SELECT 1 AS id) TO '{file}' (FORMAT parquet)")).unwrap();
    pair.destination.batch_execute(NOTE).unwrap();
    pair.destination
        .batch_execute(&format!(
            "CREATE SCHEMA mallory_of_jobs AUTHORIZATION mallory_of_jobs; SET ROLE mallory_of_jobs;
             GRANT USAGE ON SCHEMA mallory_of_jobs TO limited;
             CREATE TABLE mallory_of_jobs.item (id int);
             GRANT INSERT ON mallory_of_jobs.item TO limited;
             CREATE FUNCTION mallory_of_jobs.climb() RETURNS trigger LANGUAGE plpgsql AS $$
             DECLARE way text;
             BEGIN
                 FOREACH way IN ARRAY ARRAY['SET ROLE NONE', 'RESET ROLE', 'SET ROLE boss', 'SET ROLE postgres', 'RESET SESSION AUTHORIZATION',
                                            'SET SESSION AUTHORIZATION boss'] LOOP
                     BEGIN
                         EXECUTE way;
                     EXCEPTION WHEN OTHERS THEN NULL;
                     END;
                     PERFORM public.note(way || ' in ' || TG_ARGV[0]);
                 END LOOP;
                 RETURN NULL;
             END $$;
             CREATE TRIGGER i AFTER INSERT ON mallory_of_jobs.item FOR EACH ROW EXECUTE FUNCTION mallory_of_jobs.climb('immediate');
             CREATE CONSTRAINT TRIGGER d AFTER INSERT ON mallory_of_jobs.item DEFERRABLE INITIALLY DEFERRED
                 FOR EACH ROW EXECUTE FUNCTION mallory_of_jobs.climb('deferred');
             RESET ROLE;
             CREATE SCHEMA limited AUTHORIZATION limited; GRANT USAGE ON SCHEMA limited TO boss; SET ROLE limited;
             CREATE FUNCTION limited.load() RETURNS bigint LANGUAGE sql SECURITY DEFINER AS
             $$ SELECT pgcopy.start_load_parquet('{file}', target => 'mallory_of_jobs.item', mode => 'append') $$;
             RESET ROLE"
        ))
        .unwrap();
    let mut boss = session_of(&pair, "boss");
    let job: i64 = boss.query_one("SELECT limited.load()", &[]).unwrap().get(0);
    assert_eq!(text(&mut boss, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    let ran =
        texts(&mut pair.destination, "SELECT DISTINCT concat_ws(' ', who, session) FROM public.caught ORDER BY 1");
    assert_eq!(ran, ["limited boss"], "neither at once nor when the transaction ends");
    let ways = text(&mut pair.destination, "SELECT count(DISTINCT what)::text FROM public.caught");
    assert_eq!(ways, "12");
    // A session that has become somebody else stays that in its job.
    pair.destination.batch_execute("TRUNCATE public.caught").unwrap();
    boss.batch_execute("SET SESSION AUTHORIZATION limited").unwrap();
    let job: i64 = boss.query_one("SELECT limited.load()", &[]).unwrap().get(0);
    assert_eq!(text(&mut boss, &format!("SELECT pgcopy.wait({job}, '60 s')")), "completed");
    let ran =
        texts(&mut pair.destination, "SELECT DISTINCT concat_ws(' ', who, session) FROM public.caught ORDER BY 1");
    assert_eq!(ran, ["limited limited"]);
    pair.assert_nothing_left();
}

#[test]
fn operators_and_functions_on_the_callers_path_are_not_used() {
    let (mut pair, directory) = Pair::with_files("planted_path");
    pair.both("CREATE TABLE public.item (id int PRIMARY KEY, name text); CREATE TABLE public.part (id int REFERENCES public.item)");
    pair.source
        .batch_execute(
            "INSERT INTO public.item SELECT i, 'n' FROM generate_series(1, 9) i; INSERT INTO public.part VALUES (1)",
        )
        .unwrap();
    role(&mut pair, "mallory_of_paths", "");
    pair.destination.batch_execute(NOTE).unwrap();
    // A copy of each of the server's own operators and simple functions, all earlier on the path.
    pair.destination
        .batch_execute(
            "CREATE SCHEMA mal AUTHORIZATION mallory_of_paths; GRANT ALL ON SCHEMA mal TO PUBLIC;
             CREATE FUNCTION mal.spring() RETURNS void LANGUAGE plpgsql SET search_path = pg_catalog AS
             $$ BEGIN PERFORM public.note('path'); END $$;
             CREATE DOMAIN mal.text AS pg_catalog.text; CREATE DOMAIN mal.date AS pg_catalog.date;
             DO $$
             DECLARE o record; signature text;
             BEGIN
                 FOR o IN SELECT oprname, format_type(oprleft, NULL) AS l, format_type(oprright, NULL) AS r,
                                 format_type(oprresult, NULL) AS result, 'pg_catalog.' || p.proname AS name, oprcode::oid AS code
                          FROM pg_operator JOIN pg_proc p ON p.oid = oprcode
                          WHERE oprleft <> 0 AND oprnamespace = 'pg_catalog'::regnamespace
                            AND oprname IN ('=', '<>', '<', '>', '<=', '>=', '&', '|', '||', '~', '~~', '!~', '+', '-', '*', '/', '%', '@>', '?')
                            AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid IN (oprleft, oprright, oprresult) AND typtype = 'p') LOOP
                     EXECUTE format('CREATE FUNCTION mal.o%s(%s, %s) RETURNS %s LANGUAGE plpgsql AS
                                     $f$ BEGIN PERFORM mal.spring(); RETURN $1 OPERATOR(pg_catalog.%s) $2; END $f$',
                                    o.code, o.l, o.r, o.result, o.oprname);
                     EXECUTE format('CREATE OPERATOR mal.%s (FUNCTION = mal.o%s, LEFTARG = %s, RIGHTARG = %s)', o.oprname, o.code, o.l, o.r);
                 END LOOP;
                 FOR o IN SELECT p.proname, p.pronargs,
                                 (SELECT string_agg(format_type(t, NULL), ', ' ORDER BY i) FROM unnest(p.proargtypes::oid[]) WITH ORDINALITY u(t, i)) AS args,
                                 (SELECT string_agg('$' || i, ', ' ORDER BY i) FROM generate_series(1, p.pronargs) i) AS passed,
                                 format_type(p.prorettype, NULL) AS result
                          FROM pg_proc p
                          WHERE p.pronamespace = 'pg_catalog'::regnamespace AND p.prokind = 'f' AND NOT p.proretset AND p.provariadic = 0
                            AND p.proname ~ '^(pg_|has_|format|quote|to_|current_|json|array|string|concat|obj_|col_|md5|substring|lower|upper|split_part|clock|now|parse_ident|row_sec|greatest|trunc|version|name|text|length|nextval|setval)'
                            AND NOT EXISTS (SELECT FROM pg_type t WHERE (t.oid = p.prorettype OR t.oid = ANY (p.proargtypes::oid[])) AND typtype = 'p') LOOP
                     BEGIN
                         EXECUTE format('CREATE FUNCTION mal.%I(%s) RETURNS %s LANGUAGE plpgsql AS
                                         $f$ BEGIN PERFORM mal.spring(); RETURN pg_catalog.%I(%s); END $f$',
                                        o.proname, o.args, o.result, o.proname, o.passed);
                     EXCEPTION WHEN OTHERS THEN NULL;
                     END;
                 END LOOP;
             END $$;
             ALTER DATABASE planted_path SET search_path = mal, public, pg_catalog",
        )
        .unwrap();
    let folder = directory.path().display().to_string();
    pair.destination.batch_execute(&format!("COPY public.item TO '{folder}/none.parquet' (FORMAT parquet)")).unwrap();
    pair.destination
        .batch_execute(&format!(
            "COPY (SELECT 1 AS id, pg_catalog.text 'x' AS name, pg_catalog.date '2020-01-01' AS day) TO '{folder}/made.parquet' (FORMAT parquet)"
        ))
        .unwrap();
    let dsn = pair.dsn();
    let mut session = session_of(&pair, "postgres");
    let shadowed = "SELECT 1 OPERATOR(mal.=) 1";
    session.execute(shadowed, &[]).unwrap();
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM public.caught"), "1", "the trap works");
    pair.destination.batch_execute("TRUNCATE public.caught").unwrap();
    let include = "include => '{public.item, public.part}', overwrite => true";
    let calls = [
        format!("SELECT * FROM pgcopy.list('{dsn}')"),
        format!("SELECT * FROM pgcopy.plan('{dsn}', {include})"),
        format!("SELECT * FROM pgcopy.pull('{dsn}', {include}, parallel => 2)"),
        format!("SELECT * FROM pgcopy.pull('{dsn}', {include}, parallel => 0)"),
        format!("SELECT pgcopy.wait(pgcopy.start_pull('{dsn}', {include}), pg_catalog.interval '60 s')"),
        format!("SELECT * FROM pgcopy.load_parquet('{folder}/made.parquet', target => 'public.made')"),
        format!("SELECT * FROM pgcopy.load_parquet('{folder}/made.parquet', target => 'made', mode => 'append')"),
        format!(
            "SELECT * FROM pgcopy.load_parquet('{folder}/made.parquet', target => 'made', mode => 'replace', overwrite => true)"
        ),
        format!("SELECT * FROM pgcopy.load_parquet('{folder}/made.parquet', target => 'new_one')"),
        format!(
            "SELECT pgcopy.wait(pgcopy.start_load_parquet('{folder}/made.parquet', target => 'new_two'), pg_catalog.interval '60 s')"
        ),
        format!("SELECT * FROM pgcopy.parquet_files('{folder}/*.parquet')"),
        format!("SELECT * FROM pgcopy.parquet_schema('{folder}/made.parquet')"),
        "TABLE pgcopy.jobs".into(),
        "TABLE pgcopy.job_tables".into(),
        "TABLE pgcopy.progress".into(),
        "TABLE pgcopy.timeline".into(),
        "SELECT pgcopy.cleanup()".into(),
        "SELECT pgcopy.prune(pg_catalog.interval '1 day')".into(),
        "SELECT pgcopy.cancel(4711)".into(),
        "SELECT pgcopy.version()".into(),
    ];
    for sql in calls {
        if let Err(error) = session.query(&sql, &[]) {
            assert!(sql.contains("4711"), "{sql}: {}", describe(&error));
        }
        let sprung =
            text(&mut pair.destination, "SELECT coalesce(string_agg(DISTINCT who, ', '), '') FROM public.caught");
        assert_eq!(sprung, "", "{sql}");
    }
    let types = "SELECT DISTINCT format_type(atttypid, atttypmod) FROM pg_attribute WHERE attnum > 0
                 AND attrelid IN ('public.made'::regclass, 'mal.new_one'::regclass, 'mal.new_two'::regclass) ORDER BY 1";
    pair.destination.batch_execute("SET search_path = pg_catalog").unwrap();
    assert_eq!(texts(&mut pair.destination, types), ["date", "integer", "text"]);
}

#[test]
fn partitions_of_other_owners_do_not_get_rows_through_their_table() {
    let mut gardens = Gardens::new("garden_fences");
    let file = gardens.directory.path().join("seeds.parquet").display().to_string();
    let copy = format!("COPY (SELECT i AS id FROM generate_series(1, 50) i) TO '{file}' (FORMAT parquet)");
    gardens.pair.destination.batch_execute(&copy).unwrap();
    gardens.both(
        "planter",
        "CREATE TABLE planter.row_of (id int) PARTITION BY RANGE (id);
         CREATE TABLE planter.computed (id int) PARTITION BY RANGE ((planter.key_of(id)));
         CREATE TABLE planter.computed_all PARTITION OF planter.computed FOR VALUES FROM (0) TO (1000)",
    );
    gardens.there(
        "CREATE TABLE planter.row_of_all PARTITION OF planter.row_of DEFAULT; GRANT SELECT ON ALL TABLES IN SCHEMA planter TO app;
         INSERT INTO planter.row_of SELECT generate_series(1, 50); INSERT INTO planter.computed SELECT generate_series(1, 50)",
    );
    gardens.here(
        "planter",
        "CREATE TABLE planter.row_of_low PARTITION OF planter.row_of FOR VALUES FROM (0) TO (25);
         CREATE TABLE planter.row_of_high PARTITION OF planter.row_of FOR VALUES FROM (25) TO (1000)",
    );
    gardens.pair.destination.batch_execute("ALTER TABLE planter.row_of_high OWNER TO neighbour").unwrap();
    let pull = call(&gardens.pair, "pull", "include => '{planter.row_of}'");
    let load = format!("SELECT * FROM pgcopy.load_parquet('{file}', target => 'planter.row_of')");
    let refused = "planter.row_of_high: functions of neighbour would run as planter";
    for sql in [&pull, &load] {
        let failure = Failure::of(&session_of(&gardens.pair, "postgres").query(sql, &[]).unwrap_err());
        assert_eq!((failure.sqlstate.as_str(), failure.problems().as_str()), ("42501", refused), "{failure:?}");
    }
    // Bounds that the table above computes are its owner's code.
    gardens.pair.destination.batch_execute("ALTER TABLE planter.computed_all OWNER TO postgres").unwrap();
    let pull = call(&gardens.pair, "pull", "include => '{planter.computed}'");
    let failure = Failure::of(&session_of(&gardens.pair, "postgres").query(&pull, &[]).unwrap_err());
    let refused = "planter.computed: functions of planter would run as postgres";
    assert_eq!((failure.sqlstate.as_str(), failure.problems().as_str()), ("42501", refused), "{failure:?}");
    // A partition's owner who has the rights of the table's owner anyway is no stranger.
    gardens.pair.destination.batch_execute("ALTER TABLE planter.row_of_high OWNER TO helper").unwrap();
    let pull = call(&gardens.pair, "pull", "include => '{planter.row_of}'");
    run(&mut session_of(&gardens.pair, "postgres"), &pull);
    run(&mut session_of(&gardens.pair, "postgres"), &load);
    assert_eq!(text(&mut gardens.pair.destination, "SELECT count(*)::text FROM planter.row_of"), "100");
}

#[test]
fn operators_of_a_key_run_as_an_ordinary_role() {
    let mut gardens = Gardens::new("garden_operators");
    let operators: String = [("lt", "<"), ("le", "<="), ("eq", "="), ("ge", ">="), ("gt", ">")]
        .iter()
        .map(|(name, operator)| {
            let body = format!("($1).n {operator} ($2).n");
            let noted = function(&format!("planter.{name}(planter.shade, planter.shade)"), "boolean", &body, "planter operator");
            format!(
                "{noted}
                 CREATE OPERATOR planter.{operator} (FUNCTION = planter.{name}, LEFTARG = planter.shade, RIGHTARG = planter.shade);"
            )
        })
        .collect();
    let compare =
        function("planter.cmp(planter.shade, planter.shade)", "int", "btint4cmp(($1).n, ($2).n)", "planter operator");
    gardens.both("planter", &format!("CREATE TYPE planter.shade AS (n int); {operators} {compare}"));
    gardens.pair.both(
        "CREATE OPERATOR CLASS planter.shade_operators DEFAULT FOR TYPE planter.shade USING btree AS
             OPERATOR 1 planter.<, OPERATOR 2 planter.<=, OPERATOR 3 planter.=, OPERATOR 4 planter.>=, OPERATOR 5 planter.>,
             FUNCTION 1 planter.cmp(planter.shade, planter.shade)",
    );
    gardens.both(
        "planter",
        "CREATE TABLE planter.tone (s planter.shade PRIMARY KEY); GRANT REFERENCES ON planter.tone TO PUBLIC",
    );
    gardens.both("neighbour", "CREATE TABLE neighbour.toned (s planter.shade REFERENCES planter.tone)");
    gardens.pair.both("CREATE TABLE public.toned (s planter.shade REFERENCES planter.tone)");
    gardens.there(
        "INSERT INTO planter.tone SELECT ROW(i)::planter.shade FROM generate_series(1, 50) i;
         INSERT INTO neighbour.toned TABLE planter.tone; INSERT INTO public.toned TABLE planter.tone;
         GRANT SELECT ON planter.tone, neighbour.toned, public.toned TO app",
    );
    gardens.forget();
    // What belongs to a superuser's table runs as its owner, for ANALYZE; a foreign key alone does not.
    for (tables, stranger) in [("planter.tone, neighbour.toned", "neighbour"), ("planter.tone", "nobody")] {
        for workers in [2, 0] {
            let sql = call(
                &gardens.pair,
                "pull",
                &format!("include => '{{{tables}}}', overwrite => true, parallel => {workers}"),
            );
            run(&mut session_of(&gardens.pair, "postgres"), &sql);
            let who = texts(
                &mut gardens.pair.destination,
                "SELECT DISTINCT concat_ws(' ', who, CASE WHEN NOT restricted THEN 'unrestricted' END) FROM public.caught ORDER BY 1",
            );
            assert!(
                who.iter().all(|who| who == "planter" || who == stranger),
                "{tables} with {workers} workers: {who:?}"
            );
            assert!(who.contains(&"planter".to_owned()), "{tables} with {workers} workers: {who:?}");
            gardens.forget();
        }
    }
}

/// A table whose CHECK constraint executes the statement that `mal.plan` holds, once in a load, and two others of its owner.
fn striking_tables(pair: &mut Pair, mallory: &str) {
    role(pair, "app", "");
    role(pair, mallory, "");
    pair.both(&format!(
        "CREATE SCHEMA mal AUTHORIZATION {mallory}; GRANT USAGE ON SCHEMA mal TO app; SET ROLE {mallory};
         CREATE TABLE mal.parent (id int PRIMARY KEY, k text UNIQUE);
         CREATE TABLE mal.child (id int PRIMARY KEY, k text REFERENCES mal.parent (k));
         CREATE TABLE mal.other (id int PRIMARY KEY, a bigint, b text);
         GRANT SELECT ON ALL TABLES IN SCHEMA mal TO app; RESET ROLE;
         INSERT INTO mal.parent SELECT i, 'k' || i FROM generate_series(1, 50) i"
    ));
    pair.source
        .batch_execute(
            "INSERT INTO mal.child SELECT i, 'k' || i FROM generate_series(1, 50) i;
             INSERT INTO mal.other SELECT i, 4702111234474983745, 'b' || i FROM generate_series(1, 50) i",
        )
        .unwrap();
    pair.destination
        .batch_execute(&format!(
            "SET ROLE {mallory};
             CREATE TABLE mal.plan (statement text, swallow boolean);
             CREATE FUNCTION mal.strike(i int) RETURNS boolean LANGUAGE plpgsql AS $$
             DECLARE planned record;
             BEGIN
                 IF i <> 25 THEN RETURN true; END IF;
                 FOR planned IN SELECT * FROM mal.plan LOOP
                     BEGIN
                         EXECUTE planned.statement;
                     EXCEPTION WHEN OTHERS THEN
                         IF NOT planned.swallow THEN RAISE; END IF;
                     END;
                 END LOOP;
                 RETURN true;
             END $$;
             ALTER TABLE mal.child ADD CHECK (mal.strike(id)); RESET ROLE"
        ))
        .unwrap();
}

#[test]
fn code_of_a_table_does_not_change_tables_that_a_job_works_on() {
    let mut pair = Pair::new("planted_changes");
    striking_tables(&mut pair, "mallory_of_changes");
    let statements = [
        ("ALTER TABLE mal.other ALTER COLUMN a TYPE text", "ALTER TABLE"),
        ("ALTER TABLE mal.other ALTER COLUMN b TYPE bigint USING 1", "ALTER TABLE"),
        ("ALTER TABLE mal.other SET UNLOGGED", "ALTER TABLE"),
        ("ALTER TABLE mal.other ADD CHECK (id > 1000)", "ALTER TABLE"),
        ("DROP TABLE mal.other", "DROP TABLE"),
        ("CREATE INDEX ON mal.other (b)", "CREATE INDEX"),
        ("DROP OWNED BY mallory_of_changes", "DROP OWNED"),
        ("ANALYZE mal.parent", "ANALYZE"),
        ("VACUUM mal.parent", "VACUUM"),
        ("REINDEX TABLE mal.other", "REINDEX"),
        ("LOCK TABLE mal.other IN ACCESS SHARE MODE", "LOCK TABLE"),
        (
            "DO $$ BEGIN
                 ALTER TABLE mal.child DROP CONSTRAINT child_k_fkey;
                 ALTER TABLE mal.parent ALTER COLUMN k TYPE bigint USING 4702111234474983745 + id;
             END $$",
            "ALTER TABLE",
        ),
    ];
    for (statement, command) in statements {
        for arguments in ["parallel => 0", "parallel => 2", "method => 'in place'"] {
            for caller in ["postgres", "mallory_of_changes"] {
                for swallow in [false, true] {
                    let circumstances = format!("{statement}; {arguments}, by {caller}, swallowed: {swallow}");
                    let plan = "TRUNCATE mal.plan, mal.child, mal.other";
                    pair.destination.batch_execute(plan).unwrap();
                    let planned = "INSERT INTO mal.plan VALUES ($1, $2)";
                    pair.destination.execute(planned, &[&statement, &swallow]).unwrap();
                    let sql = call(&pair, "pull", &format!("include => '{{mal.child, mal.other}}', {arguments}"));
                    match session_of(&pair, caller).query(&sql, &[]) {
                        Ok(_) => assert!(swallow, "{circumstances}"),
                        Err(error) => {
                            let failure = Failure::of(&error);
                            assert!(!swallow, "{circumstances}: {failure:?}");
                            let message =
                                format!("cannot execute {command} within code of a table that pgcopy works on");
                            assert_eq!(
                                (failure.sqlstate.as_str(), &failure.message),
                                ("42501", &message),
                                "{circumstances}"
                            );
                        }
                    }
                    let rows = "SELECT coalesce(string_agg(o::text, ';' ORDER BY id), '') FROM mal.other o";
                    let expected = if swallow { text(&mut pair.source, rows) } else { String::new() };
                    assert_eq!(text(&mut pair.destination, rows), expected, "{circumstances}");
                }
            }
        }
    }
    pair.assert_nothing_left();
    // What is no change of definitions goes on as it was, and so does everything when the job is over.
    pair.destination
        .batch_execute(
            "TRUNCATE mal.plan, mal.child, mal.other; CREATE TABLE mal.noted (id int); ALTER TABLE mal.noted OWNER TO mallory_of_changes;
             INSERT INTO mal.plan VALUES ('INSERT INTO mal.noted VALUES (1)', false)",
        )
        .unwrap();
    let mut session = session_of(&pair, "mallory_of_changes");
    run(&mut session, &call(&pair, "pull", "include => '{mal.child, mal.other}', parallel => 0"));
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM mal.noted"), "1");
    session.batch_execute("ALTER TABLE mal.other ALTER COLUMN a TYPE text").unwrap();
}

#[test]
fn an_analyze_within_an_analyze_is_refused() {
    let mut pair = Pair::with(
        "planted_analyze",
        "CREATE TABLE item (id int PRIMARY KEY, a int)",
        "INSERT INTO item VALUES (1, 1)",
    );
    pair.destination
        .batch_execute(
            "CREATE TABLE noted (message text); CREATE TABLE armed (x int);
             CREATE FUNCTION act() RETURNS void LANGUAGE plpgsql AS $$ BEGIN
                 ANALYZE public.noted; ANALYZE public.item;
             EXCEPTION WHEN OTHERS THEN INSERT INTO public.noted VALUES (SQLERRM); END $$;
             CREATE FUNCTION f(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
                 IF EXISTS (SELECT FROM public.armed) THEN PERFORM public.act(); END IF; RETURN a; END $$;
             CREATE STATISTICS of_item ON (f(a)), id FROM item; CREATE INDEX ON item (f(a)); INSERT INTO armed VALUES (1)",
        )
        .unwrap();
    for arguments in ["parallel => 0", "parallel => 2", "method => 'in place'"] {
        pair.pull(&format!("overwrite => true, {arguments}"));
        let messages = texts(&mut pair.destination, "SELECT DISTINCT message FROM noted ORDER BY 1");
        let words = "cannot execute ANALYZE within code of a table that pgcopy works on";
        assert!(messages.iter().any(|message| message == words), "{arguments}: {messages:?}");
        pair.destination.batch_execute("TRUNCATE noted").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn code_of_a_table_does_not_call_the_extension() {
    let mut pair = Pair::with("planted_calls", "CREATE TABLE item (id int PRIMARY KEY)", "INSERT INTO item VALUES (1)");
    pair.destination
        .batch_execute(
            "CREATE TABLE called (f text);
             CREATE FUNCTION act() RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN EXECUTE (SELECT f FROM public.called); RETURN true; END $$;
             ALTER TABLE item ADD CHECK (act())",
        )
        .unwrap();
    for function in ["cleanup()", "prune()", "cancel(1)", "wait(1)", "list('port=1')"] {
        pair.destination.execute("INSERT INTO called VALUES ($1)", &[&format!("SELECT pgcopy.{function}")]).unwrap();
        for arguments in ["parallel => 0", "parallel => 2"] {
            let failure = pair.pull_error(arguments);
            assert_eq!(
                failure.message, "cannot use pgcopy within security-restricted operation",
                "{function}, {arguments}"
            );
        }
        pair.destination.batch_execute("TRUNCATE called").unwrap();
    }
    pair.assert_nothing_left();
}

#[test]
fn triggers_of_other_targets_fire_while_code_of_a_table_runs() {
    let mut pair = Pair::new("planted_past_triggers");
    striking_tables(&mut pair, "mallory_of_triggers");
    role(&mut pair, "warden", "");
    pair.both(
        "CREATE SCHEMA kept AUTHORIZATION warden; CREATE SCHEMA zone AUTHORIZATION warden;
         GRANT USAGE ON SCHEMA kept, zone TO app, mallory_of_triggers;
         CREATE TABLE kept.allowed (id int PRIMARY KEY); INSERT INTO kept.allowed VALUES (1);
         -- One is loaded before the other owner's tables, and one after.
         CREATE TABLE kept.first (id int REFERENCES kept.allowed); CREATE TABLE zone.second (id int REFERENCES kept.allowed);
         GRANT SELECT ON kept.first, zone.second TO app",
    );
    pair.source.batch_execute("INSERT INTO kept.first VALUES (1); INSERT INTO zone.second VALUES (1)").unwrap();
    pair.destination
        .batch_execute(
            "CREATE FUNCTION kept.guard() RETURNS trigger LANGUAGE plpgsql AS
             $$ BEGIN RAISE EXCEPTION 'nobody writes here' USING ERRCODE = 'raise_exception'; END $$;
             CREATE TRIGGER g BEFORE INSERT ON kept.first FOR EACH ROW EXECUTE FUNCTION kept.guard();
             CREATE TRIGGER g BEFORE INSERT ON zone.second FOR EACH ROW EXECUTE FUNCTION kept.guard();
             ALTER TABLE kept.first OWNER TO warden; ALTER TABLE zone.second OWNER TO warden;
             GRANT INSERT ON kept.first, zone.second TO mallory_of_triggers",
        )
        .unwrap();
    for table in ["kept.first", "zone.second"] {
        let plan = format!("TRUNCATE mal.plan; INSERT INTO mal.plan VALUES ('INSERT INTO {table} VALUES (1)', false)");
        pair.destination.batch_execute(&plan).unwrap();
        let tables =
            "include => '{kept.first, mal.child, mal.other, zone.second}', overwrite => true, method => 'in place'";
        let error = session_of(&pair, "postgres").query(&call(&pair, "pull", tables), &[]).unwrap_err();
        assert_eq!(Failure::of(&error).message, "nobody writes here", "{table}");
    }
    // They do not fire for the rows of the source.
    pair.destination.batch_execute("TRUNCATE mal.plan").unwrap();
    let tables = "include => '{kept.first, mal.child, mal.other, zone.second}', method => 'in place'";
    run(&mut session_of(&pair, "postgres"), &call(&pair, "pull", tables));
    let rows = "SELECT concat((SELECT count(*) FROM kept.first), ' ', (SELECT count(*) FROM zone.second))";
    assert_eq!(text(&mut pair.destination, rows), "1 1");
    pair.assert_nothing_left();
}

/// Functions on the source that fail when anybody but their owner runs them.
const GUARDS_OF_SOURCE: &str = "
    CREATE FUNCTION mal.own(a int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN
        IF current_user <> 'mallory_of_source' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN a; END $$;
    CREATE FUNCTION mal.own(b boolean) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN
        IF current_user <> 'mallory_of_source' THEN RAISE EXCEPTION 'ran as %', current_user; END IF; RETURN b; END $$";

/// A source of the role "mallory_of_source", who owns the schema "mal" there.
fn source_of_mallory(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    role(&mut pair, "app", "");
    role(&mut pair, "mallory_of_source", "");
    pair.both("CREATE SCHEMA mal AUTHORIZATION mallory_of_source; GRANT USAGE ON SCHEMA mal TO app");
    pair.source.batch_execute(&format!("SET ROLE mallory_of_source; {GUARDS_OF_SOURCE}; RESET ROLE")).unwrap();
    pair
}

/// The source's connection string for a role that may log in there.
fn source_as(pair: &Pair, role: &str) -> String {
    format!("host=127.0.0.1 port={} user={role} password=secret dbname={}", pair.source_port, pair.database)
}

#[test]
fn code_on_the_source_does_not_run_as_the_sources_user() {
    let mut pair = source_of_mallory("planted_source");
    // One row on each page: big enough to be read in parts.
    let big = "(id int PRIMARY KEY, t text, g int GENERATED ALWAYS AS (id + 1) STORED) WITH (fillfactor = 10)";
    pair.both(&format!(
        "CREATE TABLE public.trusted {big}; SET ROLE mallory_of_source; CREATE TABLE mal.clean {big}; CREATE TABLE mal.planted {big};
         CREATE TABLE mal.parted (id int) PARTITION BY RANGE (id); CREATE TABLE mal.computed (id int, g int); RESET ROLE"
    ));
    let rows = "SELECT i, repeat('x', 900) FROM generate_series(1, 5000) i";
    for table in ["public.trusted", "mal.clean", "mal.planted"] {
        pair.source.batch_execute(&format!("ALTER TABLE {table} ALTER t SET STORAGE PLAIN")).unwrap();
        pair.source.batch_execute(&format!("INSERT INTO {table} (id, t) {rows}")).unwrap();
    }
    pair.source
        .batch_execute(
            "SET ROLE mallory_of_source;
             CREATE TABLE mal.parted_all PARTITION OF mal.parted FOR VALUES FROM (10) TO (100);
             CREATE TABLE mal.parted_rest PARTITION OF mal.parted DEFAULT PARTITION BY LIST (id);
             CREATE TABLE mal.parted_deep PARTITION OF mal.parted_rest DEFAULT;
             INSERT INTO mal.parted SELECT generate_series(1, 50);
             ALTER TABLE mal.computed DROP g, ADD g int GENERATED ALWAYS AS (id + 1) STORED; INSERT INTO mal.computed VALUES (1);
             CREATE INDEX ON mal.computed ((id + mal.own(1)));
             CREATE INDEX ON mal.planted ((id + mal.own(1)));
             CREATE INDEX ON mal.planted (id) WHERE mal.own(id) > 0 AND mal.own(1) > 0;
             CREATE STATISTICS mal.planted_statistics ON (id + mal.own(1)), t FROM mal.planted;
             CREATE INDEX ON mal.parted_all ((id + mal.own(1)));
             ALTER TABLE mal.planted ADD CHECK (mal.own(1) = 1 OR id = 0);
             GRANT SELECT ON ALL TABLES IN SCHEMA mal TO app; RESET ROLE;
             GRANT SELECT ON public.trusted TO app;
             ALTER DATABASE planted_source SET constraint_exclusion = on; ANALYZE",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE mal.parted_low PARTITION OF mal.parted FOR VALUES FROM (0) TO (25);
             CREATE TABLE mal.parted_high PARTITION OF mal.parted DEFAULT",
        )
        .unwrap();
    let tables = "include => '{public.trusted, mal.clean, mal.planted}'";
    for (user, in_parts) in [
        ("postgres", vec!["clean", "trusted"]),
        ("app", vec!["clean", "trusted"]),
        ("mallory_of_source", vec!["clean", "planted"]),
    ] {
        let source = source_as(&pair, user);
        let exclude = if user == "mallory_of_source" { "{public.trusted}" } else { "{}" };
        let sql = format!(
            "SELECT \"table\" FROM pgcopy.plan('{source}', {tables}, exclude => '{exclude}', parallel => 4) WHERE parts > 1 ORDER BY 1"
        );
        assert_eq!(texts(&mut pair.destination, &sql), in_parts, "{user}");
        for workers in [4, 0] {
            let pull = format!(
                "SELECT * FROM pgcopy.pull('{source}', {tables}, exclude => '{exclude}', parallel => {workers}, overwrite => true)"
            );
            run(&mut pair.destination, &pull);
        }
    }
    for table in ["public.trusted", "mal.clean", "mal.planted"] {
        let rows = format!("SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM {table} t");
        let owner = if table == "public.trusted" { "postgres" } else { "mallory_of_source" };
        pair.source.batch_execute(&format!("SET ROLE {owner}")).unwrap();
        assert_eq!(text(&mut pair.destination, &rows), text(&mut pair.source, &rows), "{table}");
        pair.source.batch_execute("RESET ROLE").unwrap();
    }
    // Partition by partition, into the target itself and into its storage.
    for (user, arguments) in [("app", "parallel => 2"), ("postgres", "parallel => 0"), ("app", "method => 'in place'")]
    {
        let sql = format!(
            "SELECT rows::text FROM pgcopy.pull('{}', include => '{{mal.parted}}', overwrite => true, {arguments})",
            source_as(&pair, user)
        );
        assert_eq!(text(&mut pair.destination, &sql), "50", "{user}, {arguments}");
        let rows = "SELECT string_agg(id::text, ',' ORDER BY id) FROM mal.parted";
        let expected = "SELECT string_agg(i::text, ',' ORDER BY i) FROM generate_series(1, 50) i";
        assert_eq!(text(&mut pair.destination, rows), text(&mut pair.destination, expected), "{user}, {arguments}");
    }
    let warnings = format!(
        "SELECT format('%s: %s', \"table\", warnings[1]) FROM pgcopy.plan('{}', {tables}, parallel => 4) WHERE parts = 1 ORDER BY 1",
        source_as(&pair, "postgres")
    );
    let warned = "read in one part: a query over it would run functions of mallory_of_source as the user of the source";
    assert_eq!(texts(&mut pair.destination, &warnings), [format!("planted: {warned}")]);
    // What only a query can do is refused where there is such code.
    for user in ["postgres", "app"] {
        let source = source_as(&pair, user);
        let calls = [
            (
                format!("SELECT * FROM pgcopy.list('{source}', exact => true)"),
                "mal.computed: functions of mallory_of_source\nmal.parted: functions of mallory_of_source\n\
                 mal.parted_all: functions of mallory_of_source\nmal.planted: functions of mallory_of_source",
            ),
            (
                format!("SELECT * FROM pgcopy.pull('{source}', include => '{{mal.computed}}')"),
                "mal.computed: a query over it would run functions of mallory_of_source as the user of the source",
            ),
        ];
        for (sql, detail) in calls {
            let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
            assert_eq!((failure.sqlstate.as_str(), failure.problems().as_str()), ("42501", detail), "{sql}");
        }
    }
    pair.source.batch_execute("DROP INDEX mal.parted_all_expr_idx; DROP TABLE mal.planted, mal.computed").unwrap();
    let source = source_as(&pair, "postgres");
    let counted = format!("SELECT sum(rows)::text FROM pgcopy.list('{source}', exact => true) WHERE kind = 'table'");
    assert_eq!(text(&mut pair.destination, &counted), "10050");
}

#[test]
fn nothing_takes_the_place_of_a_sequence_of_the_source() {
    let replacements = [
        "CREATE VIEW mal.numbers AS SELECT 1::bigint AS last_value, mal.own(true) AS is_called",
        "CREATE TABLE mal.numbers (last_value bigint, is_called boolean);
         CREATE INDEX ON mal.numbers ((last_value + mal.own(1)))",
    ];
    for (number, replacement) in replacements.into_iter().enumerate() {
        let mut pair = source_of_mallory(&format!("planted_sequence_{number}"));
        pair.both(
            "SET ROLE mallory_of_source; CREATE SEQUENCE mal.numbers; CREATE TABLE mal.numbered (id bigint DEFAULT nextval('mal.numbers'));
             ALTER SEQUENCE mal.numbers OWNED BY mal.numbered.id; RESET ROLE",
        );
        pair.source.batch_execute("INSERT INTO mal.numbered DEFAULT VALUES").unwrap();
        let pull = pair.pull_sql("include => '{mal.numbered}'");
        let mut writer = pair.another_destination_session();
        writer.batch_execute("BEGIN; LOCK TABLE mal.numbered IN ROW EXCLUSIVE MODE").unwrap();
        let mut session = pair.another_destination_session();
        let pulling = std::thread::spawn(move || session.query(&pull, &[]).map(|_| ()));
        crate::harness::eventually("the pull waits for its lock", || {
            text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.jobs WHERE phase = 'locking'") == "1"
        });
        pair.source
            .batch_execute(&format!(
                "SET ROLE mallory_of_source; ALTER SEQUENCE mal.numbers RENAME TO numbers_before; {replacement}; RESET ROLE"
            ))
            .unwrap();
        writer.batch_execute("ROLLBACK").unwrap();
        let failure = Failure::of(&pulling.join().unwrap().unwrap_err());
        let message = "sequence mal.numbers of the source has changed its name meanwhile";
        assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("55006", message), "{replacement}");
        pair.assert_nothing_left();
    }
}
