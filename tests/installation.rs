//! What CREATE EXTENSION takes for its own, and what it leaves to nobody.

use crate::harness::{Failure, Pair, connect, eventually, installation, text, texts};
use postgres::Client;
use std::path::Path;
use std::process::Command;
use xtask::server::{self, ScratchDirectory};

/// A database in which the extension is not there yet, and a role that may create schemas in it.
fn bare(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    let sql = format!(
        "DROP EXTENSION pgcopy;
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
fn a_schema_that_exists_is_not_taken_over() {
    let mut pair = bare("install_owner");
    for schema in ["pgcopy", "pgcopy_internal", "pgcopy_stage"] {
        for owner in ["squatter", "postgres"] {
            pair.destination.batch_execute(&format!("CREATE SCHEMA {schema} AUTHORIZATION {owner}")).unwrap();
            let failure = refusal(&mut pair.destination);
            assert_eq!(failure.sqlstate, "42P06");
            assert_eq!(failure.message, format!("schema \"{schema}\" exists and cannot become the extension's"));
            assert_eq!(failure.detail, format!("It is owned by role \"{owner}\"."));
            assert_eq!(failure.hint, "Drop the schema or rename it.");
            pair.destination.batch_execute(&format!("DROP SCHEMA {schema}")).unwrap();
        }
    }
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
}

#[test]
fn the_schemas_go_with_the_extension() {
    let mut pair = Pair::new("install_gone");
    let objects = "SELECT (SELECT count(*) FROM pg_namespace) || ' ' || (SELECT count(*) FROM pg_class) || ' '
                          || (SELECT count(*) FROM pg_proc)";
    pair.both("CREATE TABLE item (id int)");
    pair.pull("");
    pair.assert_nothing_left();
    pair.destination.batch_execute("DROP EXTENSION pgcopy").unwrap();
    let left = texts(&mut pair.destination, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'pgcopy%'");
    assert!(left.is_empty(), "{left:?}");
    let before = text(&mut pair.destination, objects);
    pair.destination.batch_execute("CREATE EXTENSION pgcopy; DROP EXTENSION pgcopy").unwrap();
    assert_eq!(text(&mut pair.destination, objects), before);
    pair.destination.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pair.pull("");
}

#[test]
fn only_what_people_use_is_in_their_schema() {
    let mut pair = Pair::new("install_public");
    let relations = texts(
        &mut pair.destination,
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'pgcopy'::regnamespace ORDER BY 1",
    );
    assert_eq!(relations, ["job_findings", "job_tables", "job_tasks", "jobs", "progress", "timeline"]);
    let functions = texts(
        &mut pair.destination,
        "SELECT DISTINCT proname::text FROM pg_proc WHERE pronamespace = 'pgcopy'::regnamespace AND proname ~ '^live_|_lines$|validator$'",
    );
    assert!(functions.is_empty(), "{functions:?}");
    let bare = texts(
        &mut pair.destination,
        "SELECT concat_ws('.', c.relname, a.attname) FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
         WHERE c.relnamespace = 'pgcopy'::regnamespace AND a.attnum > 0 AND col_description(c.oid, a.attnum) IS NULL
         UNION ALL
         SELECT nspname FROM pg_namespace WHERE nspname LIKE 'pgcopy%' AND obj_description(oid, 'pg_namespace') IS NULL",
    );
    assert!(bare.is_empty(), "without a comment: {bare:?}");
    pair.destination
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE squatter LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             SET ROLE squatter; SELECT FROM pgcopy.jobs; SELECT FROM pgcopy.progress; SELECT FROM pgcopy.timeline;
             SELECT FROM pgcopy.job_tables",
        )
        .unwrap();
    for sql in ["SELECT FROM pgcopy_internal.job", "SELECT FROM pgcopy_internal.live_jobs()"] {
        let failure = Failure::of(&pair.destination.batch_execute(sql).unwrap_err());
        assert_eq!(failure.message, "permission denied for schema pgcopy_internal");
    }
}

#[test]
fn a_dump_of_a_database_with_the_extension_can_be_restored() {
    let program = installation().program("pg_dump");
    if !program.exists() {
        println!("not checked: these servers come without pg_dump");
        return;
    }
    let mut pair = Pair::with("install_dumped", "CREATE TABLE item (id int)", "INSERT INTO item VALUES (1)");
    pair.pull("");
    pair.destination.batch_execute("GRANT USAGE ON SCHEMA pgcopy_internal TO pg_monitor").unwrap();
    let dsn = server::dsn(pair.destination_port, &pair.database);
    let output = Command::new(program).args(["--inserts", &dsn]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // Without commands of psql.
    let dump = String::from_utf8_lossy(&output.stdout).into_owned();
    let dump: Vec<&str> = dump.lines().filter(|line| !line.starts_with('\\')).collect();
    pair.destination.batch_execute("DROP DATABASE IF EXISTS install_restored").unwrap();
    pair.destination.batch_execute("CREATE DATABASE install_restored").unwrap();
    let mut restored = connect(pair.destination_port, "install_restored");
    restored.batch_execute(&dump.join("\n")).unwrap();
    restored.batch_execute("RESET ALL").unwrap();
    restored.batch_execute(&pair.pull_sql("overwrite => true")).unwrap();
    eventually("the job is finished", || text(&mut restored, "SELECT state FROM pgcopy.jobs") == "completed");
    restored.batch_execute("DROP EXTENSION pgcopy").unwrap();
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
fn default_privileges_do_not_open_the_extensions_tables() {
    let mut pair = bare("install_defaults");
    pair.destination
        .batch_execute(
            "ALTER DEFAULT PRIVILEGES GRANT ALL ON TABLES TO squatter, PUBLIC;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SEQUENCES TO squatter;
             ALTER DEFAULT PRIVILEGES GRANT ALL ON SCHEMAS TO squatter; CREATE EXTENSION pgcopy",
        )
        .unwrap();
    let mut squatter = connect(pair.destination_port, "install_defaults");
    squatter.batch_execute("SET ROLE squatter").unwrap();
    for sql in [
        "SELECT FROM pgcopy_internal.job",
        "INSERT INTO pgcopy_internal.job_swap VALUES (1)",
        "DELETE FROM pgcopy_internal.job_table",
        "SELECT FROM pgcopy_internal.job_task",
        "SELECT nextval('pgcopy_internal.job_id')",
        "CREATE TABLE pgcopy_stage.t (a int)",
        "CREATE TABLE pgcopy.t (a int)",
        "CREATE TABLE pgcopy_internal.t (a int)",
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
            "function pgcopy_internal.live_jobs()",
            "function pgcopy_internal.live_tables()",
            "function pgcopy_internal.live_tasks()",
            "function pgcopy_internal.progress_lines()"
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
            !["USING ERRCODE = ", "DETAIL = ", "HINT = ", "SET relrewrite = ", "SET LOCAL search_path = "]
                .iter()
                .any(|assignment| line.contains(assignment))
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

#[test]
fn a_stripped_library_has_its_symbols_beside_it() {
    let directory = ScratchDirectory::create("stripped").expect("a directory");
    let library = ["debug", "release"]
        .map(|profile| xtask::target().join(profile).join("libpgcopy.so"))
        .into_iter()
        .find(|library| library.exists())
        .expect("the library that is tested");
    let stripped = directory.path().join("pgcopy.so");
    xtask::build::strip_library(&library, &stripped).unwrap();
    let sections = |path: &Path| {
        let output = Command::new("readelf").args(["--sections", "--wide"]).arg(path).output().unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let (kept, beside) = (sections(&stripped), sections(&directory.path().join("pgcopy.so.debug")));
    assert!(kept.contains(".gnu_debuglink") && kept.contains(".dynsym"), "{kept}");
    assert!(!kept.contains(".debug_line") && !kept.contains(".symtab"), "{kept}");
    assert!(beside.contains(".debug_line") && beside.contains(".symtab"), "{beside}");
    let size = |path: &Path| std::fs::metadata(path).unwrap().len();
    assert!(size(&stripped) * 2 < size(&library), "{} of {} bytes", size(&stripped), size(&library));
}
