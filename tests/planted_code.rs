//! As whom the code runs that users plant where PostgreSQL evaluates it: in indexes, constraints, statistics, types,
//! casts, operators, triggers, policies, rules and views.

use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::{Client, Config, NoTls};

/// What all planted functions call. A row of `caught` says what ran, in whose session, as whom, and whether under the
/// restrictions of maintenance commands.
const NOTE: &str = "
    CREATE TABLE public.caught (what text, who text, session text, restricted boolean, superuser boolean);
    GRANT INSERT, SELECT ON public.caught TO PUBLIC;
    CREATE FUNCTION public.note(what text) RETURNS void LANGUAGE plpgsql AS $$
    DECLARE restricted boolean := false;
    BEGIN
        BEGIN
            CREATE TEMP TABLE trap (a int);
            DROP TABLE trap;
        EXCEPTION WHEN insufficient_privilege THEN restricted := true;
        END;
        INSERT INTO public.caught
        SELECT what, current_user, session_user, restricted, rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user;
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
        let mut pair = Pair::new(name);
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
        // Expressions that come to nothing but constants are evaluated by the planner of whoever reads a table.
        pair.destination
            .batch_execute(&format!(
                "ALTER DATABASE {name} SET constraint_exclusion = on; ALTER DATABASE {name} SET plan_cache_mode = force_custom_plan;
                 SET constraint_exclusion = on; SET plan_cache_mode = force_custom_plan"
            ))
            .unwrap();
        Self { pair }
    }

    fn both(&mut self, owner: &str, sql: &str) {
        self.pair.both(&format!("SET ROLE {owner}; {sql}; RESET ROLE"));
    }

    fn here(&mut self, owner: &str, sql: &str) {
        self.pair.destination.batch_execute(&format!("SET ROLE {owner}; {sql}; RESET ROLE")).unwrap();
    }

    /// Every planted function ran as its owner or not at all, and under restrictions where somebody else called.
    fn assert_nothing_gained(&mut self, caller: &str, circumstances: &str) -> Vec<String> {
        let found = texts(
            &mut self.pair.destination,
            &format!(
                "SELECT DISTINCT format('%s as %s, session of %s%s', what, who, session,
                                        CASE WHEN restricted THEN ', restricted' ELSE '' END)
                 FROM public.caught
                 WHERE superuser OR who <> split_part(what, ' ', 1)
                    OR (NOT restricted AND split_part(what, ' ', 1) <> '{caller}') ORDER BY 1"
            ),
        );
        assert!(found.is_empty(), "{circumstances}: {found:#?}");
        let ran = texts(&mut self.pair.destination, "SELECT DISTINCT what FROM public.caught ORDER BY 1");
        self.pair.destination.batch_execute("TRUNCATE public.caught").unwrap();
        ran
    }
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
