//! What CREATE EXTENSION takes for its own, and what it leaves to nobody.

use crate::harness::{Failure, Pair, connect, eventually, text, texts};
use postgres::Client;

/// A database in which the extension is not there yet, and a role that may create schemas in it.
fn bare(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    let sql = format!(
        "DROP EXTENSION pgcopy; DROP SCHEMA pgcopy;
         DO $$ BEGIN CREATE ROLE squatter LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
         GRANT CREATE ON DATABASE {name} TO squatter"
    );
    pair.destination.batch_execute(&sql).unwrap();
    pair
}

fn refusal(client: &mut Client) -> Failure {
    Failure::of(&client.batch_execute("CREATE EXTENSION pgcopy").expect_err("the schema is taken over"))
}

#[test]
fn a_schema_of_somebody_else_is_not_taken_over() {
    let mut pair = bare("install_owner");
    for schema in ["pgcopy", "pgcopy_stage"] {
        pair.destination.batch_execute(&format!("CREATE SCHEMA {schema} AUTHORIZATION squatter")).unwrap();
        let failure = refusal(&mut pair.destination);
        assert_eq!(failure.sqlstate, "42P06");
        assert_eq!(failure.message, format!("schema \"{schema}\" exists and cannot become the extension's"));
        if schema == "pgcopy" {
            assert_eq!(failure.detail, "It is owned by role \"squatter\".");
        }
        assert!(failure.hint.contains("Drop the schema or rename it"), "{failure:?}");
        pair.destination.batch_execute(&format!("DROP SCHEMA {schema}")).unwrap();
    }
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
}

/// What would be called, or run, in the place of the server's or the extension's own.
const PLANTED: &str = "
    CREATE TABLE pgcopy.caught (what text);
    CREATE FUNCTION pgcopy.catch(what text) RETURNS void LANGUAGE plpgsql AS $$
    BEGIN
        IF (SELECT rolsuper FROM pg_catalog.pg_roles WHERE rolname = current_user) THEN
            INSERT INTO pgcopy.caught VALUES (what);
        END IF;
    END $$;
    CREATE FUNCTION pgcopy.equal(oid, integer) RETURNS boolean LANGUAGE plpgsql
        AS 'BEGIN PERFORM pgcopy.catch(''operator''); RETURN true; END';
    CREATE OPERATOR pgcopy.= (LEFTARG = oid, RIGHTARG = integer, FUNCTION = pgcopy.equal);
    CREATE FUNCTION pgcopy.version(integer DEFAULT 1) RETURNS text LANGUAGE plpgsql
        AS 'BEGIN PERFORM pgcopy.catch(''function''); RETURN ''mine''; END';";

#[test]
fn a_schema_that_holds_something_is_not_taken_over() {
    let mut pair = bare("install_contents");
    pair.destination.batch_execute("CREATE SCHEMA pgcopy; GRANT ALL ON SCHEMA pgcopy TO squatter").unwrap();
    pair.destination.batch_execute(&format!("SET ROLE squatter; {PLANTED} RESET ROLE")).unwrap();
    // That the role may create in it is said first.
    let failure = refusal(&mut pair.destination);
    assert_eq!(failure.detail, "Others than its owner may create objects in it: squatter.");
    pair.destination.batch_execute("REVOKE CREATE ON SCHEMA pgcopy FROM squatter").unwrap();
    let failure = refusal(&mut pair.destination);
    assert!(failure.detail.starts_with("It holds objects: "), "{failure:?}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.caught"), "0");
    pair.destination.batch_execute("DROP SCHEMA pgcopy CASCADE").unwrap();
    // Each kind of object by itself, and a rule about objects to come.
    for (make, named) in [
        ("CREATE VIEW pgcopy.job AS SELECT 1", "view pgcopy.job"),
        ("CREATE TYPE pgcopy.mood AS ENUM ()", "type pgcopy.mood"),
        ("CREATE DOMAIN pgcopy.number AS int", "type pgcopy.number"),
        (
            "CREATE FUNCTION pgcopy.pull(text) RETURNS int LANGUAGE sql AS 'SELECT 1'",
            "function pgcopy.pull(pg_catalog.text)",
        ),
        (
            "CREATE OPERATOR pgcopy.= (LEFTARG = int8, RIGHTARG = int8, FUNCTION = int8eq)",
            "operator pgcopy.=(bigint,bigint)",
        ),
        ("CREATE COLLATION pgcopy.c FROM \"C\"", "collation pgcopy.c"),
        ("CREATE TEXT SEARCH CONFIGURATION pgcopy.words (COPY = simple)", "text search configuration pgcopy.words"),
        ("CREATE SEQUENCE pgcopy.job_id", "sequence pgcopy.job_id"),
        (
            "ALTER DEFAULT PRIVILEGES IN SCHEMA pgcopy GRANT ALL ON TABLES TO squatter",
            "default acl for role postgres in schema pgcopy on tables",
        ),
    ] {
        pair.destination.batch_execute(&format!("CREATE SCHEMA pgcopy; {make}")).unwrap();
        let failure = refusal(&mut pair.destination);
        assert_eq!(failure.detail, format!("It holds objects: {named}."), "{make}");
        pair.destination.batch_execute("DROP SCHEMA pgcopy CASCADE").unwrap();
    }
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
}

#[test]
fn an_empty_schema_of_the_installers_is_taken() {
    let mut pair = bare("install_own");
    // What a dump of a database with the extension makes first, and what DROP EXTENSION leaves.
    pair.destination
        .batch_execute(
            "CREATE SCHEMA pgcopy; GRANT USAGE ON SCHEMA pgcopy TO squatter;
             CREATE EXTENSION pgcopy WITH SCHEMA pgcopy; DROP EXTENSION pgcopy; CREATE EXTENSION pgcopy",
        )
        .unwrap();
    pair.both("CREATE TABLE item (id int)");
    pair.source.batch_execute("INSERT INTO item VALUES (1)").unwrap();
    pair.pull("");
    pair.assert_nothing_left();
    pair.assert_same_content();
    // Another superuser's, as when a dump is restored by somebody else than who made it.
    pair.destination
        .batch_execute(
            "DROP EXTENSION pgcopy; DROP SCHEMA pgcopy;
             DO $$ BEGIN CREATE ROLE other_superuser SUPERUSER; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
             CREATE SCHEMA pgcopy AUTHORIZATION other_superuser; CREATE EXTENSION pgcopy",
        )
        .unwrap();
}

#[test]
fn default_privileges_do_not_open_the_extensions_tables() {
    let mut pair = bare("install_defaults");
    pair.destination
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO squatter, PUBLIC;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO squatter;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO squatter",
        )
        .unwrap();
    // In a schema where others may create objects nothing is safe.
    let failure = refusal(&mut pair.destination);
    assert_eq!(failure.detail, "Others than its owner may create objects in it: squatter.");
    pair.destination
        .batch_execute("ALTER DEFAULT PRIVILEGES REVOKE CREATE ON SCHEMAS FROM squatter; CREATE EXTENSION pgcopy")
        .unwrap();
    let mut squatter = connect(pair.destination_port, "install_defaults");
    squatter.batch_execute("SET ROLE squatter").unwrap();
    for sql in [
        "SELECT FROM pgcopy.job",
        "INSERT INTO pgcopy.job_swap VALUES (1)",
        "DELETE FROM pgcopy.job_table",
        "SELECT FROM pgcopy.job_task",
        "SELECT nextval('pgcopy.job_id')",
        "CREATE TABLE pgcopy_stage.t (a int)",
        "CREATE TABLE pgcopy.t (a int)",
    ] {
        assert_eq!(Failure::of(&squatter.batch_execute(sql).unwrap_err()).sqlstate, "42501", "{sql}");
    }
    squatter.batch_execute("SELECT FROM pgcopy.jobs").unwrap();
}

#[test]
fn nothing_of_the_extension_depends_on_a_search_path() {
    let mut pair = Pair::new("install_bound");
    // Functions and operators that the views and constraints call are the server's or the extension's own.
    let foreign = texts(
        &mut pair.destination,
        "SELECT DISTINCT pg_describe_object(d.refclassid, d.refobjid, 0)
         FROM pg_depend d JOIN pg_rewrite r ON d.classid = 'pg_rewrite'::regclass AND d.objid = r.oid
         JOIN pg_class c ON c.oid = r.ev_class AND c.relnamespace = 'pgcopy'::regnamespace
         WHERE d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass)
         ORDER BY 1",
    );
    assert_eq!(
        foreign,
        [
            "function pgcopy.live_jobs()",
            "function pgcopy.live_tables()",
            "function pgcopy.live_tasks()",
            "function pgcopy.progress_lines()"
        ]
    );
    let sql: String = ["schema.sql", "views.sql", "stores.sql", "foreign_data.sql"]
        .iter()
        .map(|file| std::fs::read_to_string(xtask::root().join("sql").join(file)).unwrap())
        .collect();
    // An operator without its schema stands between spaces.
    let bare: Vec<&str> = sql
        .lines()
        .map(|line| line.split("--").next().unwrap_or_default())
        .filter(|line| {
            [" = ", " <> ", " || ", " + ", " - ", " * ", " / ", " < ", " > ", " IN (", " USING (", "BETWEEN", "LIKE"]
                .iter()
                .any(|operator| line.contains(operator))
        })
        // Options and assignments.
        .filter(|line| {
            !line.contains("USING ERRCODE = ") && !line.contains("HINT = ") && !line.contains("SET relrewrite = ")
        })
        .collect();
    assert!(bare.is_empty(), "{bare:#?}");
}

#[test]
fn an_overload_planted_before_is_not_called_by_a_superuser() {
    let mut pair = bare("install_overload");
    let mut squatter = connect(pair.destination_port, "install_overload");
    squatter.batch_execute("SET ROLE squatter; CREATE SCHEMA pgcopy").unwrap();
    squatter.batch_execute(PLANTED).unwrap();
    assert_eq!(refusal(&mut pair.destination).detail, "It is owned by role \"squatter\".");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy.caught"), "0");
    pair.destination.batch_execute("DROP SCHEMA pgcopy CASCADE; CREATE EXTENSION pgcopy").unwrap();
    eventually("the schema is out of reach", || {
        squatter.batch_execute("CREATE FUNCTION pgcopy.pull(text) RETURNS int LANGUAGE sql AS 'SELECT 1'").is_err()
    });
}
