//! A whole database moves: what the source holds is created here, filled, and equal to it in the eyes of `pg_dump`.

use crate::harness::forger::{Forged, Forger, Message, message};
use crate::harness::{Failure, OwnServers, Pair, assert_nothing_left, describe, eventually, installation, text, texts};
use postgres::{Client, Config, NoTls};
use std::process::Command;
use xtask::server::{Installation, Options, Server, Version};

/// The packages of some versions bring servers without client programs.
pub fn has_pg_dump() -> bool {
    installation().program("pg_dump").exists()
}

/// What `pg_dump` says of the definitions in a database, without what differs from run to run.
pub fn definitions(port: u16, database: &str) -> String {
    let output = Command::new(installation().program("pg_dump"))
        .args(["--schema-only", "--no-password", "--host=127.0.0.1", "--username=postgres"])
        .args([format!("--port={port}"), format!("--dbname={database}")])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let differs = |line: &&str| line.starts_with('\\') || line.starts_with("-- Dumped ");
    text.lines().filter(|line| !differs(line)).collect::<Vec<_>>().join("\n")
}

/// The same definitions without this extension, which a source need not have.
fn without_this_extension(definitions: &str) -> String {
    let of_extension = ["-- Name: pgcopy; Type: EXTENSION;", "-- Name: EXTENSION pgcopy; Type: COMMENT;"];
    let entries = definitions.split("--\n-- ").map(|entry| format!("-- {entry}"));
    let others = entries.filter(|entry| !of_extension.iter().any(|head| entry.starts_with(head)));
    // They stand before the first table, and say what holds anyway.
    let defaults = ["SET default_tablespace = '';\n\n", "SET default_table_access_method = heap;\n\n"];
    defaults.into_iter().fold(others.collect(), |text: String, default| text.replacen(default, "", 1))
}

/// A line of the report.
pub struct Line {
    pub kind: String,
    pub name: Option<String>,
    pub objects: Option<i64>,
    pub rows: Option<i64>,
}

impl Pair {
    pub fn migrate_sql(&self, arguments: &str) -> String {
        format!("SELECT kind, name, objects, rows FROM pgcopy.migrate('{}'{arguments})", self.dsn())
    }

    pub fn migrate(&mut self, arguments: &str) -> Vec<Line> {
        let sql = self.migrate_sql(arguments);
        let rows = self.destination.query(&sql, &[]);
        let rows = rows.unwrap_or_else(|error| panic!("the migration failed: {}", describe(&error)));
        rows.iter()
            .map(|row| Line { kind: row.get(0), name: row.get(1), objects: row.get(2), rows: row.get(3) })
            .collect()
    }

    pub fn migrate_error(&mut self, arguments: &str) -> Failure {
        let sql = self.migrate_sql(arguments);
        Failure::of(&self.destination.query(&sql, &[]).expect_err("the migration succeeded"))
    }

    pub fn assert_same_definitions(&mut self) {
        let [there, mut here] = [self.source_port, self.destination_port]
            .map(|port| without_this_extension(&definitions(port, &self.database)));
        if text(&mut self.source, "SELECT (current_setting('server_version_num')::int < 140000)::text") == "true" {
            // Of a range type of such a source the program says nothing of its multiranges.
            here = here.replace(",\n    multirange_type_name = shop.span_multirange", "");
        }
        let [mut there, mut here] = [there, here];
        if major(&mut self.source) != major(&mut self.destination) {
            // A version may name columns of views without their tables, and stamps of minor releases are not known everywhere.
            [there, here] = [there, here].map(|text| without_qualifiers(&without_stamps(&text)));
        }
        if there != here {
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let (there, here) = (lines(&there), lines(&here));
            let missing: Vec<_> = there.iter().filter(|line| !here.contains(line)).collect();
            let more: Vec<_> = here.iter().filter(|line| !there.contains(line)).collect();
            panic!("only on the source: {missing:#?}\nonly here: {more:#?}");
        }
    }
}

fn major(client: &mut Client) -> String {
    text(client, "SELECT (current_setting('server_version_num')::int / 10000)::text")
}

/// Leaves out what servers of older minor releases refuse in the definitions of foreign tables.
pub fn without_stamps(definitions: &str) -> String {
    let stays = |line: &&str| !line.contains(" SET (pg_attver=");
    definitions.lines().filter(stays).collect::<Vec<_>>().join("\n")
}

/// Leaves out the names before dots, and empty lines.
fn without_qualifiers(definitions: &str) -> String {
    let is_of_name = |letter: char| letter.is_alphanumeric() || letter == '_';
    let mut kept = String::new();
    for line in definitions.lines().filter(|line| !line.is_empty()) {
        for (number, piece) in line.split('.').enumerate() {
            if number > 0 {
                kept.truncate(kept.trim_end_matches(is_of_name).len());
            }
            kept.push_str(piece);
        }
        kept.push('\n');
    }
    kept
}

pub fn make_role(pair: &mut Pair, name: &str) {
    for client in [&mut pair.source, &mut pair.destination] {
        let sql = format!(
            "DO $$ BEGIN CREATE ROLE {name} LOGIN PASSWORD 'secret';
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
        );
        client.batch_execute(&sql).unwrap();
    }
}

/// What every supported source can create.
const SCHEMA: &str = r#"
    CREATE EXTENSION IF NOT EXISTS pgcrypto;
    COMMENT ON EXTENSION pgcrypto IS 'of the source';
    CREATE SCHEMA shop AUTHORIZATION migrate_owner;
    COMMENT ON SCHEMA shop IS 'it''s "odd"; really';
    GRANT USAGE ON SCHEMA shop TO PUBLIC;
    SET ROLE migrate_owner;
    CREATE TYPE shop.mood AS ENUM ('sad', 'it''s; ok', 'glad');
    CREATE DOMAIN shop.positive AS integer DEFAULT 1 CONSTRAINT is_positive CHECK (VALUE > 0);
    CREATE TYPE shop."Odd; Type: TABLE" AS (street text, number shop.positive, moods shop.mood[]);
    CREATE TYPE shop.span AS RANGE (subtype = float8);
    CREATE FUNCTION shop.squeeze(value text, "to" integer DEFAULT 3) RETURNS text LANGUAGE plpgsql IMMUTABLE
        AS $body$ BEGIN RETURN left(lower(value), "to"); END; -- ; $$ $body$;
    CREATE FUNCTION shop.in_quotes() RETURNS text LANGUAGE sql AS 'SELECT E''\'';''::text';
    CREATE PROCEDURE shop.nothing() LANGUAGE sql AS $$ SELECT 1; SELECT 2 $$;
    CREATE AGGREGATE shop.total(integer) (SFUNC = int4pl, STYPE = integer, INITCOND = '0');
    CREATE FUNCTION shop.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN NEW.touched := true; RETURN NEW; END';
    CREATE OPERATOR shop.=== (LEFTARG = integer, RIGHTARG = integer, FUNCTION = int4eq);
    CREATE SEQUENCE shop.alone INCREMENT 5 MAXVALUE 1000 CYCLE;
    CREATE TABLE shop.customer (
        id integer GENERATED BY DEFAULT AS IDENTITY PRIMARY KEY, name varchar(40) NOT NULL UNIQUE, felt shop.mood DEFAULT 'glad',
        home shop."Odd; Type: TABLE", touched boolean, lived daterange, "to" integer,
        EXCLUDE USING gist (lived WITH =) WHERE (id < 0));
    CREATE TABLE shop.purchase (
        id bigserial PRIMARY KEY, customer integer NOT NULL, price numeric(12,2) CHECK (price >= 0),
        doubled numeric GENERATED ALWAYS AS (price * 2) STORED, tags text[], facts jsonb, note text,
        CONSTRAINT "by; whom" FOREIGN KEY (customer) REFERENCES shop.customer ON DELETE CASCADE DEFERRABLE INITIALLY DEFERRED);
    ALTER TABLE shop.customer ADD favourite bigint REFERENCES shop.purchase;
    ALTER TABLE shop.purchase ADD CONSTRAINT "not checked" CHECK (note <> 'x') NOT VALID;
    CREATE INDEX ON shop.purchase (customer, price DESC) INCLUDE (id);
    CREATE INDEX ON shop.purchase USING gin (facts);
    CREATE INDEX "by ""letters""" ON shop.customer (shop.squeeze(name)) WHERE felt = 'glad';
    ALTER TABLE shop.customer CLUSTER ON customer_pkey;
    ALTER TABLE shop.customer REPLICA IDENTITY USING INDEX customer_name_key;
    CREATE TRIGGER touches BEFORE UPDATE ON shop.customer FOR EACH ROW EXECUTE FUNCTION shop.touch();
    ALTER TABLE shop.customer DISABLE TRIGGER touches;
    ALTER TABLE shop.customer ENABLE ROW LEVEL SECURITY;
    CREATE POLICY own ON shop.customer TO migrate_reader USING (name = current_user);
    CREATE STATISTICS shop.both (dependencies) ON customer, price FROM shop.purchase;
    CREATE VIEW shop.rich AS SELECT c.id, c.name, sum(p.price) FROM shop.customer c JOIN shop.purchase p ON p.customer = c.id
        GROUP BY c.id;
    CREATE RULE no_update AS ON UPDATE TO shop.rich DO INSTEAD (SELECT 1; SELECT 2);
    CREATE MATERIALIZED VIEW shop.summary AS SELECT customer, count(*) AS n FROM shop.purchase GROUP BY 1;
    CREATE UNIQUE INDEX ON shop.summary (customer);
    CREATE MATERIALIZED VIEW shop.of_summary AS SELECT sum(n) AS n FROM shop.summary WITH NO DATA;
    CREATE TABLE shop.reading (sensor smallint, at date, value real) PARTITION BY RANGE (at);
    CREATE TABLE shop.reading_old PARTITION OF shop.reading FOR VALUES FROM (MINVALUE) TO ('2024-01-01') PARTITION BY LIST (sensor);
    CREATE TABLE shop.reading_old_1 PARTITION OF shop.reading_old FOR VALUES IN (1);
    CREATE TABLE shop.reading_old_other PARTITION OF shop.reading_old DEFAULT;
    CREATE TABLE shop.reading_new (at date DEFAULT '2024-02-03', sensor smallint, value real);
    ALTER TABLE shop.reading ATTACH PARTITION shop.reading_new FOR VALUES FROM ('2024-01-01') TO (MAXVALUE);
    CREATE INDEX ON shop.reading (sensor, at);
    CREATE TABLE shop.parent (id integer); CREATE TABLE shop.child (extra text) INHERITS (shop.parent);
    CREATE UNLOGGED TABLE shop.scratch (id uuid) WITH (fillfactor = 70);
    CREATE TABLE shop."Odd.Name" ("a b" integer, "c""d" text);
    COMMENT ON COLUMN shop."Odd.Name"."a b" IS E'first\n-- Name: x; Type: TABLE; Schema: shop; Owner: me\nlast';
    ALTER TABLE shop."Odd.Name" ALTER "c""d" SET STORAGE EXTERNAL, ALTER "a b" SET STATISTICS 17;
    GRANT SELECT ON shop."Odd.Name" TO migrate_reader WITH GRANT OPTION;
    GRANT UPDATE ("a b") ON shop."Odd.Name" TO PUBLIC;
    REVOKE ALL ON FUNCTION shop.squeeze FROM PUBLIC;
    ALTER DEFAULT PRIVILEGES IN SCHEMA shop GRANT SELECT ON TABLES TO migrate_reader;
    RESET ROLE;
    CREATE SCHEMA empty;
    CREATE TEXT SEARCH CONFIGURATION public.own (COPY = english);
    CREATE COLLATION public.posix FROM "C";
    CREATE CAST (shop.span AS text) WITH INOUT;
    CREATE FOREIGN DATA WRAPPER nothing;
    CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing OPTIONS (host 'it''s');
    CREATE FOREIGN TABLE public.far (id integer) SERVER elsewhere;
    CREATE FUNCTION public.watch() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
    CREATE EVENT TRIGGER watching ON ddl_command_end EXECUTE FUNCTION public.watch();
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO migrate_reader;
    COMMENT ON SCHEMA public IS 'of the source'"#;

const ROWS: &str = r#"
    INSERT INTO shop.customer (name, felt, home) SELECT 'Customer ' || i, 'sad', ROW('größe', i, '{glad}')::shop."Odd; Type: TABLE"
        FROM generate_series(1, 2000) i;
    INSERT INTO shop.purchase (customer, price, tags, facts) SELECT i % 2000 + 1, i / 8.0, ARRAY['t' || i % 7],
        jsonb_build_object('n', i) FROM generate_series(1, 10000) i;
    UPDATE shop.customer SET favourite = id;
    INSERT INTO shop.reading (sensor, at, value) SELECT i % 3, '2023-01-01'::date + i % 700, i / 3.0 FROM generate_series(1, 5000) i;
    INSERT INTO shop.parent VALUES (1); INSERT INTO shop.child VALUES (2, 'x');
    INSERT INTO shop."Odd.Name" VALUES (1, 'one');
    SELECT setval('shop.alone', 16);
    REFRESH MATERIALIZED VIEW shop.summary;
    ANALYZE"#;

pub fn fill(pair: &mut Pair) {
    for role in ["migrate_owner", "migrate_reader"] {
        make_role(pair, role);
    }
    for (sql, what) in [(SCHEMA, "the schema"), (ROWS, "the rows")] {
        pair.source.batch_execute(sql).unwrap_or_else(|error| panic!("{what}: {}", describe(&error)));
    }
}

#[test]
fn a_database_arrives_as_pg_dump_describes_it() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_all");
    fill(&mut pair);
    let body = "CREATE FUNCTION shop.atomic(a integer) RETURNS integer LANGUAGE sql
                BEGIN ATOMIC SELECT CASE a WHEN 1 THEN 2 END; SELECT count(*)::integer FROM shop.customer; END";
    pair.source.batch_execute(body).unwrap();
    // Both have the extension itself.
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let report = pair.migrate("");
    pair.assert_same_definitions();
    pair.assert_same_content();
    pair.assert_nothing_left();
    for (sequence, next) in [("shop.alone", "21"), ("shop.customer_id_seq", "2001"), ("shop.purchase_id_seq", "10001")]
    {
        assert_eq!(text(&mut pair.destination, &format!("SELECT nextval('{sequence}')::text")), next, "{sequence}");
    }
    for (sql, answer) in [
        ("SELECT count(*)::text FROM shop.summary", "2000"),
        ("SELECT relispopulated::text FROM pg_class WHERE relname = 'of_summary'", "false"),
        ("SELECT count(*)::text FROM pg_index WHERE NOT indisvalid", "0"),
        ("SELECT obj_description(oid, 'pg_extension') FROM pg_extension WHERE extname = 'pgcrypto'", "of the source"),
    ] {
        assert_eq!(text(&mut pair.destination, sql), answer, "{sql}");
    }
    let line = |kind: &str, name: Option<&str>| {
        report.iter().find(|line| line.kind == kind && line.name.as_deref() == name).unwrap_or_else(|| panic!("{kind}"))
    };
    assert_eq!(line("rows", Some("purchase")).rows, Some(10_000));
    assert_eq!(line("event trigger", None).objects, Some(1));
    assert_eq!(line("materialized view", None).objects, Some(2));
    // Nothing of the script's settings stays.
    assert_ne!(text(&mut pair.destination, "SHOW search_path"), "");
    assert_eq!(text(&mut pair.destination, "SHOW check_function_bodies"), "on");
}

#[test]
fn all_or_nothing() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_nothing");
    fill(&mut pair);
    let before = definitions(pair.destination_port, "migrate_nothing");
    let refusing = |command: &str| {
        format!(
            "CREATE FUNCTION public.refuse() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN RAISE ''not here''; END';
             CREATE EVENT TRIGGER refuses ON ddl_command_end WHEN TAG IN ('{command}') EXECUTE FUNCTION public.refuse()"
        )
    };
    // Before the rows, and after them.
    for command in ["CREATE SEQUENCE", "CREATE TRIGGER"] {
        pair.destination.batch_execute(&refusing(command)).unwrap();
        let failure = pair.migrate_error("");
        assert_eq!(failure.message, "not here");
        assert!(failure.detail.contains("It comes from the source's definition of"), "{failure:?}");
        pair.destination.batch_execute("DROP EVENT TRIGGER refuses; DROP FUNCTION public.refuse()").unwrap();
        assert_eq!(definitions(pair.destination_port, "migrate_nothing"), before);
        pair.assert_nothing_left();
    }
    let sql = pair.migrate_sql(", parallel => 0");
    pair.destination.batch_execute(&format!("BEGIN; {sql}; ROLLBACK")).unwrap();
    assert_eq!(definitions(pair.destination_port, "migrate_nothing"), before);
    pair.destination.batch_execute(&format!("BEGIN; {sql}; COMMIT")).unwrap();
    pair.assert_same_content();
    pair.assert_nothing_left();
}

#[test]
fn what_exists_is_an_error_or_is_kept() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_existing");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, note text); COMMENT ON TABLE item IS 'theirs';
             CREATE TABLE other (id int REFERENCES item);
             CREATE FUNCTION one(a integer, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 1';
             INSERT INTO item SELECT i, 'n' FROM generate_series(1, 10) i; INSERT INTO other VALUES (1)",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, note text, more text); COMMENT ON TABLE item IS 'ours';
             CREATE FUNCTION one(a integer, b text[]) RETURNS int LANGUAGE sql AS 'SELECT 2'; INSERT INTO item VALUES (77)",
        )
        .unwrap();
    let failure = pair.migrate_error("");
    assert_eq!(failure.sqlstate, "42710");
    assert_eq!(failure.message, "2 of the objects to create exist already and differ; nothing was touched");
    for words in [
        "table public.item: there nothing more, here column more text",
        "function public.one(integer, text[]): there AS $function$SELECT 1$function$, here AS $function$SELECT 2$function$",
    ] {
        assert!(failure.detail.contains(words), "{failure:?}");
    }
    assert!(!failure.detail.contains("other") && !failure.detail.contains("item_pkey"), "{failure:?}");
    let failure = pair.migrate_error(", existing => 'keep'");
    assert_eq!(failure.sqlstate, "55000", "{failure:?}");
    assert!(failure.hint.contains("pgcopy.migrate(…, existing => 'keep', overwrite => true)"), "{failure:?}");
    pair.migrate(", existing => 'keep', overwrite => true");
    for (sql, answer) in [
        ("SELECT count(*)::text FROM item", "10"),
        ("SELECT count(*)::text FROM other", "1"),
        ("SELECT one(1, NULL)::text", "2"),
        ("SELECT obj_description('item'::regclass)", "ours"),
        ("SELECT count(*)::text FROM pg_constraint WHERE conrelid = 'other'::regclass", "1"),
    ] {
        assert_eq!(text(&mut pair.destination, sql), answer, "{sql}");
    }
    let failure = pair.migrate_error(", existing => 'replace'");
    assert_eq!(failure.message, "existing \"replace\" not recognized");
}

#[test]
fn what_old_rows_would_violate_is_made_over_the_new_ones() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_old_rows");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY, price int, code text UNIQUE, CONSTRAINT sane CHECK (price > 0) NOT VALID);
             ALTER TABLE item VALIDATE CONSTRAINT sane; CREATE TABLE part (id int PRIMARY KEY, item int REFERENCES item);
             CREATE INDEX ON item (price); INSERT INTO item SELECT i, i, i FROM generate_series(1, 10) i; INSERT INTO part VALUES (1, 1)",
        )
        .unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE item (id int NOT NULL, price int, code text); INSERT INTO item VALUES (1, -1, 'x'), (1, -1, 'x');
             CREATE MATERIALIZED VIEW shown AS SELECT sum(price) AS sum FROM item",
        )
        .unwrap();
    pair.migrate(", existing => 'keep', overwrite => true");
    pair.assert_same_content();
    assert_eq!(text(&mut pair.destination, "SELECT sum::text FROM shown"), "55");
    pair.destination.batch_execute("DROP MATERIALIZED VIEW shown").unwrap();
    // A check that a table is made with is part of it.
    pair.both("ALTER TABLE item DROP CONSTRAINT IF EXISTS sane");
    pair.assert_same_definitions();
}

#[test]
fn the_plan_shows_the_definitions_and_touches_nothing() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_plan");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY); CREATE VIEW v AS SELECT 'a;b'::text AS x; SELECT lo_create(7), lo_create(8)",
        )
        .unwrap();
    pair.destination.batch_execute("CREATE VIEW v AS SELECT 1").unwrap();
    let before = definitions(pair.destination_port, "migrate_plan");
    let sql = format!(
        "SELECT concat_ws('|', section, kind, schema, name, owner, action, ddl) FROM pgcopy.plan_migrate('{}', ddl => true)",
        pair.dsn()
    );
    let lines = texts(&mut pair.destination, &sql);
    assert_eq!(definitions(pair.destination_port, "migrate_plan"), before);
    // Versions of pg_dump say it differently.
    let lines: Vec<String> =
        lines.iter().map(|line| line.replace("ALTER VIEW public.v OWNER", "ALTER TABLE public.v OWNER")).collect();
    assert_eq!(
        lines,
        [
            "before rows|table|public|item|postgres|create|CREATE TABLE public.item (\n    id integer NOT NULL\n);\n\
             ALTER TABLE public.item OWNER TO postgres;",
            "before rows|view|public|v|postgres|differs|CREATE VIEW public.v AS\n SELECT 'a;b'::text AS x;\n\
             ALTER TABLE public.v OWNER TO postgres;",
            "before rows|constraint|public|item item_pkey|postgres|create|ALTER TABLE ONLY public.item\n    \
             ADD CONSTRAINT item_pkey PRIMARY KEY (id);",
            "before rows|large objects|2|create",
        ]
    );
    pair.migrate(", existing => 'keep'");
}

#[test]
fn roles_tablespaces_and_extensions_that_are_not_here() {
    if !has_pg_dump() {
        return;
    }
    let [_, destination] = crate::harness::shared_ports();
    let source = Server::start(&installation(), Options::named("migrate-roles")).unwrap();
    let mut pair = Pair::on(source.port(), destination, "migrate_roles");
    for sql in [
        "CREATE ROLE nowhere_owner; CREATE ROLE \"Nowhere; Reader\"; SET allow_in_place_tablespaces = on",
        "CREATE TABLESPACE nowhere_space LOCATION ''",
    ] {
        pair.source.batch_execute(sql).unwrap_or_else(|error| panic!("{}", describe(&error)));
    }
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int PRIMARY KEY) TABLESPACE nowhere_space; ALTER TABLE item OWNER TO nowhere_owner;
             GRANT SELECT ON item TO \"Nowhere; Reader\" WITH GRANT OPTION; GRANT INSERT ON item TO PUBLIC;
             CREATE ROLE nowhere_third; SET ROLE \"Nowhere; Reader\"; GRANT SELECT ON item TO nowhere_third; RESET ROLE;
             INSERT INTO item VALUES (1)",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.migrate("");
    let notices = pair.notices();
    for expected in [
        "roles that do not exist on the destination, and so own nothing and are granted nothing: \"Nowhere; Reader\", nowhere_owner",
        "tablespaces that do not exist on the destination, the default is used instead: nowhere_space",
        "privileges that others than owners have granted are left out: 1",
    ] {
        assert!(notices.iter().any(|notice| notice == expected), "{notices:#?}");
    }
    let owner = "SELECT relowner::regrole::text FROM pg_class WHERE relname = 'item'";
    assert_eq!(text(&mut pair.destination, owner), "postgres");
    assert_eq!(
        text(&mut pair.destination, "SELECT has_table_privilege('public', 'item', 'INSERT')::text"),
        "true",
        "what is granted to everybody is"
    );
    pair.assert_same_content();
    pair.destination.batch_execute("DROP TABLE item").unwrap();
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcrypto; UPDATE pg_extension SET extname = 'nowhere_ext' WHERE extname = 'pgcrypto'",
        )
        .unwrap();
    let failure = pair.migrate_error("");
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.detail.contains("extension nowhere_ext"), "{failure:?}");
    assert_nothing_left(&mut pair.destination);
}

/// A session of the ordinary role that the shared source asks for a password.
pub fn session_of_app(pair: &mut Pair) -> (Client, String) {
    make_role(pair, "app");
    let grant = format!("GRANT ALL ON DATABASE {} TO app", pair.database);
    pair.destination.batch_execute(&format!("{grant}; GRANT CREATE ON SCHEMA public TO app")).unwrap();
    pair.source.batch_execute(&format!("{grant}; GRANT CREATE ON SCHEMA public TO app")).unwrap();
    let mut config = Config::new();
    config.host("127.0.0.1").port(pair.destination_port).user("app").dbname(&pair.database);
    let dsn = format!("host=127.0.0.1 port={} user=app password=secret dbname={}", pair.source_port, pair.database);
    (config.connect(NoTls).unwrap(), dsn)
}

#[test]
fn an_ordinary_role_moves_what_it_may_create() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_ordinary");
    let (mut app, dsn) = session_of_app(&mut pair);
    pair.source
        .batch_execute(
            "SET ROLE app; CREATE SCHEMA own; CREATE TABLE own.item (id serial PRIMARY KEY, note text);
             CREATE TABLE own.part (item int REFERENCES own.item); CREATE VIEW own.v AS SELECT * FROM own.item; RESET ROLE;
             INSERT INTO own.item (note) SELECT 'n' || i FROM generate_series(1, 100) i; INSERT INTO own.part VALUES (1)",
        )
        .unwrap();
    let sql = format!("SELECT count(*)::text FROM pgcopy.migrate('{dsn}')");
    assert_ne!(text(&mut app, &sql), "0");
    pair.assert_same_content();
    let owners = "SELECT DISTINCT relowner::regrole::text FROM pg_class WHERE relnamespace = 'own'::regnamespace";
    assert_eq!(texts(&mut pair.destination, owners), ["app"]);
    // What it may not do by hand it may not do like this, either.
    pair.destination.batch_execute("DROP SCHEMA own CASCADE").unwrap();
    make_role(&mut pair, "migrate_owner");
    pair.source.batch_execute("ALTER VIEW own.v OWNER TO migrate_owner").unwrap();
    let failure = Failure::of(&app.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "42501", "{failure:?}");
    assert!(failure.hint.contains("owners => false"), "{failure:?}");
    text(&mut app, &sql.replace("')", "', owners => false)"));
    assert_eq!(texts(&mut pair.destination, owners), ["app"]);
}

/// The running programs that read the definitions of a database, with their arguments.
pub fn programs_of(database: &str) -> Vec<(u32, String)> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let running = processes.filter_map(|process| {
        let command = std::fs::read(process.path().join("cmdline")).ok()?;
        let command = String::from_utf8_lossy(&command).replace('\0', " ");
        let number = process.file_name().to_string_lossy().parse().ok()?;
        (command.contains("pg_dump") && command.contains(&format!("dbname='{database}'"))).then_some((number, command))
    });
    running.collect()
}

#[test]
fn the_program_is_ended_with_the_call_and_shows_no_password() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_cancel");
    let (mut app, dsn) = session_of_app(&mut pair);
    pair.source.batch_execute("CREATE TABLE item (id int); GRANT SELECT ON item TO app").unwrap();
    let mut blocker = pair.another_source_session();
    // The program reads it, and nobody else does.
    blocker.batch_execute("BEGIN; LOCK pg_catalog.pg_init_privs IN ACCESS EXCLUSIVE MODE").unwrap();
    let programs = || programs_of("migrate_cancel");
    for cancel in ["pg_cancel_backend", "pg_terminate_backend"] {
        let pid = text(&mut app, "SELECT pg_backend_pid()::text");
        let failure = std::thread::scope(|scope| {
            let call = scope.spawn(|| app.query(&format!("SELECT * FROM pgcopy.migrate('{dsn}')"), &[]).unwrap_err());
            eventually("the program waits", || !programs().is_empty());
            for (number, command) in programs() {
                assert!(!command.contains("secret"), "{command}");
                let path = format!("/proc/{number}/environ");
                let Ok(environment) = std::fs::read(&path) else { continue };
                let environment = String::from_utf8_lossy(&environment).into_owned();
                assert!(!environment.contains("PGDATA") && environment.contains("HOME=/nonexistent"), "{environment}");
                let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
                assert_eq!(mode & 0o077, 0, "others cannot read the environment");
                let files = std::fs::read_dir(format!("/proc/{number}/fd")).unwrap().flatten();
                let inherited = files.filter_map(|file| std::fs::read_link(file.path()).ok());
                let inherited: Vec<_> = inherited.filter(|file| file.to_string_lossy().contains("/base/")).collect();
                assert!(inherited.is_empty(), "{inherited:?}");
            }
            pair.destination.batch_execute(&format!("SELECT {cancel}({pid})")).unwrap();
            call.join().unwrap()
        });
        let code = failure.code().map(|code| code.code().to_owned());
        // Whether the last words of a session that is terminated arrive before its end is up to the client.
        let is_terminated = cancel == "pg_terminate_backend" && failure.is_closed();
        assert!(is_terminated || matches!(code.as_deref(), Some("57014" | "57P01")), "{failure:?}");
        eventually("the program is gone", || programs().is_empty());
    }
    blocker.batch_execute("ROLLBACK").unwrap();
    pair.assert_nothing_left();
}

#[test]
fn a_job_of_its_own() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_job");
    pair.source.batch_execute("CREATE TABLE item (id int PRIMARY KEY); INSERT INTO item VALUES (1), (2)").unwrap();
    let sql = format!("SELECT pgcopy.wait(pgcopy.start_migrate('{}'), raise => true)::text", pair.dsn());
    assert_eq!(text(&mut pair.destination, &sql), "completed");
    pair.assert_same_content();
    // The second time everything is there, and the same.
    let failure = Failure::of(&pair.destination.query(&sql, &[]).unwrap_err());
    assert_eq!(failure.sqlstate, "55000", "{failure:?}");
    let sql = sql.replace("'), raise", "', overwrite => true), raise");
    assert_eq!(text(&mut pair.destination, &sql), "completed");
    pair.assert_nothing_left();
}

#[test]
fn sources_of_every_version() {
    if !has_pg_dump() {
        return;
    }
    let [_, destination] = crate::harness::shared_ports();
    let here = installation().version();
    for version in Version::of_sources() {
        let installation = Installation::prepare(version).unwrap();
        let name = format!("migrate_{}", version.major());
        let source = Server::start(&installation, Options::named(&name)).unwrap();
        let mut pair = Pair::on(source.port(), destination, &name);
        if version.major() > here.major() {
            let failure = pair.migrate_error("");
            let wanted = format!("no pg_dump of version {} or newer is installed", version.major());
            assert!(failure.message.starts_with(&wanted), "{failure:?}");
            continue;
        }
        fill(&mut pair);
        pair.migrate("");
        pair.assert_same_content();
        pair.assert_same_definitions();
        pair.assert_nothing_left();
        let mut pair = Pair::on(source.port(), destination, &format!("{name}_odd"));
        pair.source.batch_execute(&odd_schema(version)).unwrap_or_else(|error| panic!("{}", describe(&error)));
        pair.migrate("");
        pair.assert_same_content();
        pair.assert_same_definitions();
        pair.assert_nothing_left();
    }
}

#[test]
fn a_source_that_lies_gets_no_more_rights_than_the_caller_has() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_lies");
    let (_, dsn) = session_of_app(&mut pair);
    pair.source.batch_execute("SET ROLE app; CREATE VIEW v AS SELECT 1 AS x; RESET ROLE").unwrap();
    for (definition, sqlstate, words) in [
        (" SELECT 1; RESET ROLE; CREATE ROLE gained SUPERUSER;", "42501", "cannot set parameter \"role\""),
        (" SELECT 1; SELECT set_config('role', 'none', false);", "42501", "cannot set parameter \"role\""),
        (" SELECT 1; COMMIT;", "XX000", "SPI"),
        (" SELECT 1;\n\\! touch /tmp/gained\n;", "42601", "cannot be run"),
        (" SELECT 'no end;", "42601", "cannot be run"),
    ] {
        let forger = Forger::start(pair.source_port, move |of_source: &Message<'_>| {
            if of_source.kind == b'D' && of_source.query.contains("pg_get_viewdef") {
                let length = (definition.len() as u32).to_be_bytes();
                let row = [&1_u16.to_be_bytes()[..], &length, definition.as_bytes()].concat();
                return Forged::Bytes(message(b'D', &row));
            }
            Forged::Same
        });
        let port = format!("port={}", pair.source_port);
        let (_, forged_port) = forger.dsn("x").split_once("port=").map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
        let forged_port = format!("port={}", forged_port.split(' ').next().unwrap());
        let dsn = format!("{} sslmode=disable", dsn.replace(&port, &forged_port));
        // A superuser who has put the rights down for this.
        pair.destination.batch_execute("SET ROLE app").unwrap();
        let sql = format!("SELECT * FROM pgcopy.migrate('{dsn}', owners => false)");
        let failure = Failure::of(&pair.destination.query(&sql, &[]).expect_err("it succeeded"));
        assert_eq!(failure.sqlstate, sqlstate, "{definition}: {failure:?}");
        assert!(failure.message.contains(words), "{definition}: {failure:?}");
        assert!(forger.forged() > 0);
        pair.destination.batch_execute("RESET ROLE").unwrap();
    }
    let gained = "SELECT count(*)::text FROM pg_roles WHERE rolname = 'gained'";
    assert_eq!(text(&mut pair.destination, gained), "0");
    assert!(!std::path::Path::new("/tmp/gained").exists());
    pair.assert_nothing_left();
}

/// Definitions that depend on each other in ways that a dump has to break up, and that few schemas have.
const ODD: &str = r#"
    CREATE TABLE a (id int PRIMARY KEY, b int, gone text, c text COLLATE "C" DEFAULT 'x'); CREATE TABLE b (id int PRIMARY KEY, a int REFERENCES a);
    ALTER TABLE a DROP gone, ADD FOREIGN KEY (b) REFERENCES b DEFERRABLE, ADD self int REFERENCES a ON DELETE SET NULL;
    CREATE TABLE tree (id int, part int, PRIMARY KEY (part, id)) PARTITION BY LIST (part);
    CREATE TABLE tree_1 PARTITION OF tree FOR VALUES IN (1) PARTITION BY RANGE (id);
    CREATE TABLE tree_1_low (part int NOT NULL, gone int, id int NOT NULL); ALTER TABLE tree_1_low DROP gone;
    ALTER TABLE tree_1 ATTACH PARTITION tree_1_low FOR VALUES FROM (MINVALUE) TO (100);
    CREATE TABLE tree_rest PARTITION OF tree DEFAULT;
    CREATE TABLE leaf (part int, tree int, FOREIGN KEY (part, tree) REFERENCES tree ON UPDATE CASCADE);
    CREATE TABLE base (id int PRIMARY KEY, note text NOT NULL DEFAULT 'base'); CREATE TABLE other (rank int CHECK (rank > 0));
    CREATE TABLE heir (note text DEFAULT 'heir', own int) INHERITS (base, other);
    CREATE TYPE pair AS (x int, y text);
    CREATE DOMAIN good_pair AS pair CHECK ((VALUE).x > 0);
    CREATE TABLE holder (id int GENERATED ALWAYS AS IDENTITY (START 5 INCREMENT 5), held good_pair, many good_pair[],
        sum int GENERATED ALWAYS AS ((held).x + 1) STORED);
    CREATE VIEW one AS SELECT a.id, a.b, count(*) FROM a LEFT JOIN b ON b.a = a.id GROUP BY a.id;
    CREATE VIEW two WITH (security_barrier) AS SELECT * FROM one WHERE id > 0;
    CREATE VIEW checked AS SELECT id FROM base WHERE id > 0 WITH LOCAL CHECK OPTION;
    CREATE OR REPLACE VIEW three AS SELECT id FROM base;
    CREATE FUNCTION reads_three() RETURNS SETOF three LANGUAGE sql AS 'SELECT * FROM three';
    CREATE FUNCTION atomic(int) RETURNS bigint LANGUAGE sql BEGIN ATOMIC SELECT count(*) FROM one WHERE id = $1; SELECT 1; END;
    CREATE OR REPLACE VIEW three AS SELECT id FROM base WHERE atomic(id) >= 0;
    CREATE MATERIALIZED VIEW four AS SELECT id, atomic(id) FROM one; CREATE INDEX ON four (id);
    CREATE FUNCTION find_base(int) RETURNS text LANGUAGE sql IMMUTABLE AS 'SELECT note FROM public.base WHERE id = $1';
    CREATE INDEX a_by_base ON a (find_base(id)); COMMENT ON INDEX a_by_base IS 'reads another table';
    CREATE FUNCTION longer(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length($1) > length($2)';
    CREATE FUNCTION shorter(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length($1) < length($2)';
    CREATE FUNCTION alike(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length($1) = length($2)';
    CREATE FUNCTION by_length(text, text) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT length($1) - length($2)';
    CREATE OPERATOR #> (LEFTARG = text, RIGHTARG = text, FUNCTION = longer, COMMUTATOR = #<);
    CREATE OPERATOR #< (LEFTARG = text, RIGHTARG = text, FUNCTION = shorter, COMMUTATOR = #>);
    CREATE OPERATOR #= (LEFTARG = text, RIGHTARG = text, FUNCTION = alike, COMMUTATOR = #=);
    CREATE FUNCTION alike_or_shorter(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length($1) <= length($2)';
    CREATE FUNCTION alike_or_longer(text, text) RETURNS bool LANGUAGE sql IMMUTABLE AS 'SELECT length($1) >= length($2)';
    CREATE OPERATOR #<= (LEFTARG = text, RIGHTARG = text, FUNCTION = alike_or_shorter);
    CREATE OPERATOR #>= (LEFTARG = text, RIGHTARG = text, FUNCTION = alike_or_longer);
    CREATE OPERATOR CLASS length_ops FOR TYPE text USING btree AS OPERATOR 1 #<, OPERATOR 2 #<=, OPERATOR 3 #=, OPERATOR 4 #>=, OPERATOR 5 #>,
        FUNCTION 1 by_length(text, text);
    CREATE INDEX base_length ON base (note length_ops);
    CREATE TEXT SEARCH DICTIONARY plain (TEMPLATE = simple, STOPWORDS = english);
    CREATE TEXT SEARCH CONFIGURATION own (COPY = simple); ALTER TEXT SEARCH CONFIGURATION own ALTER MAPPING FOR asciiword WITH plain;
    CREATE INDEX base_words ON base USING gin (to_tsvector('own', note));
    CREATE TABLE booking (room int4range, during tsrange, EXCLUDE USING gist (room WITH &&, during WITH &&) WHERE (NOT isempty(during)));
    CREATE FUNCTION note_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
    CREATE CONSTRAINT TRIGGER later AFTER INSERT ON a DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.id > 0) EXECUTE FUNCTION note_change();
    CREATE TRIGGER whole AFTER UPDATE ON a REFERENCING NEW TABLE AS changed FOR EACH STATEMENT EXECUTE FUNCTION note_change();
    ALTER TABLE a ENABLE ALWAYS TRIGGER whole, FORCE ROW LEVEL SECURITY;
    CREATE POLICY readers ON a AS RESTRICTIVE FOR SELECT TO migrate_reader USING (id IN (SELECT id FROM b));
    CREATE RULE quiet AS ON DELETE TO booking DO INSTEAD NOTHING;
    CREATE RULE insert_two AS ON INSERT TO two DO INSTEAD INSERT INTO a (id) VALUES (NEW.id) RETURNING id, b, 1::bigint;
    CREATE STATISTICS odd_stats (mcv) ON (id % 10), b FROM a; ALTER STATISTICS odd_stats SET STATISTICS 33;
    CREATE CAST (pair AS text) WITH INOUT AS ASSIGNMENT;
    CREATE CONVERSION own_conversion FOR 'LATIN1' TO 'UTF8' FROM iso8859_1_to_utf8;
    CREATE FOREIGN DATA WRAPPER odd_wrapper OPTIONS (a 'b'); CREATE SERVER odd_server TYPE 't' VERSION '1' FOREIGN DATA WRAPPER odd_wrapper;
    CREATE USER MAPPING FOR migrate_reader SERVER odd_server OPTIONS (secret 'none');
    CREATE FOREIGN TABLE odd_far (id int OPTIONS (n 'm') NOT NULL, part int CHECK (part > 0)) SERVER odd_server OPTIONS (t 'u');
    GRANT USAGE ON FOREIGN SERVER odd_server TO migrate_reader;
    ALTER TABLE a CLUSTER ON a_pkey; ALTER TABLE b REPLICA IDENTITY FULL;
    ALTER TABLE base SET (autovacuum_enabled = off, toast.vacuum_truncate = off);
    CREATE UNIQUE INDEX a_partial ON a (b NULLS FIRST) INCLUDE (c) WHERE b > 7;
    CREATE SCHEMA ext; CREATE EXTENSION hstore SCHEMA ext; CREATE TABLE ext_user (pairs ext.hstore); CREATE INDEX ON ext_user USING gin (pairs);
    CREATE TYPE state AS ENUM ('open', 'done'); CREATE TABLE job (state state); CREATE INDEX ON job (state) WHERE state = 'open'::state;
    CREATE SEQUENCE counted AS smallint; CREATE SEQUENCE down INCREMENT -3 START -7; SELECT nextval('down');
    COMMENT ON CONSTRAINT a_pkey ON a IS 'key'; COMMENT ON TRIGGER whole ON a IS 'trigger'; COMMENT ON POLICY readers ON a IS 'policy';
    COMMENT ON RULE quiet ON booking IS 'rule'; COMMENT ON STATISTICS odd_stats IS 'statistics'; COMMENT ON COLUMN one.id IS 'column of a view';
    COMMENT ON OPERATOR #= (text, text) IS 'operator'; COMMENT ON OPERATOR CLASS length_ops USING btree IS 'class';
    COMMENT ON DOMAIN good_pair IS 'domain'; COMMENT ON CAST (pair AS text) IS 'cast'; COMMENT ON TYPE pair IS E'type; \\ ''quoted''';
    COMMENT ON CONSTRAINT good_pair_check ON DOMAIN good_pair IS 'check'; COMMENT ON FUNCTION atomic IS 'function';
    GRANT SELECT (id, b), INSERT (c) ON a TO migrate_reader; GRANT USAGE ON SEQUENCE down TO migrate_reader WITH GRANT OPTION;
    GRANT USAGE ON TYPE pair TO migrate_reader; REVOKE USAGE ON TYPE pair FROM PUBLIC; GRANT ALL ON TABLE two TO PUBLIC;
    ALTER DEFAULT PRIVILEGES GRANT EXECUTE ON FUNCTIONS TO migrate_reader; ALTER DEFAULT PRIVILEGES IN SCHEMA public REVOKE ALL ON SEQUENCES FROM PUBLIC;
    ALTER FUNCTION find_base SET work_mem = '8MB'; ALTER FUNCTION atomic COST 7;
    INSERT INTO a SELECT i, NULL, 'c' || i, NULL FROM generate_series(1, 500) i; INSERT INTO b SELECT i, i FROM generate_series(1, 500) i;
    UPDATE a SET b = id, self = id;
    INSERT INTO tree SELECT i, i % 3 FROM generate_series(1, 99) i; INSERT INTO leaf SELECT part, id FROM tree;
    INSERT INTO base SELECT i, repeat('n', i % 50) FROM generate_series(1, 5000) i; INSERT INTO heir VALUES (9999, 'h', 3, 4);
    INSERT INTO holder (held, many) SELECT ROW(i, 't')::pair::good_pair, ARRAY[ROW(i, 'u')::pair::good_pair] FROM generate_series(1, 100) i;
    INSERT INTO ext_user SELECT ext.hstore('k', i::text) FROM generate_series(1, 100) i; INSERT INTO job VALUES ('open'), ('done');
    INSERT INTO booking SELECT int4range(i, i + 1), tsrange('2024-01-01', '2024-01-02') FROM generate_series(1, 100) i;
    REINDEX INDEX a_by_base; REFRESH MATERIALIZED VIEW four; ANALYZE"#;

/// The odd definitions as far as a version knows their kinds.
pub fn odd_schema(version: Version) -> String {
    if version.major() >= 14 {
        return ODD.to_owned();
    }
    [
        (
            "BEGIN ATOMIC SELECT count(*) FROM one WHERE id = $1; SELECT 1; END",
            "AS 'SELECT count(*) FROM public.one WHERE id = $1'",
        ),
        ("ON (id % 10), b FROM a; ALTER STATISTICS odd_stats SET STATISTICS 33", "ON id, b FROM a"),
    ]
    .into_iter()
    .fold(ODD.to_owned(), |schema, (known, replacement)| schema.replace(known, replacement))
}

#[test]
fn odd_definitions_arrive_as_they_are() {
    if !has_pg_dump() {
        return;
    }
    for workers in [2, 0] {
        let mut pair = Pair::new(&format!("migrate_odd_{workers}"));
        for role in ["migrate_owner", "migrate_reader"] {
            make_role(&mut pair, role);
        }
        let schema = odd_schema(installation().version());
        pair.source.batch_execute(&schema).unwrap_or_else(|error| panic!("{}", describe(&error)));
        pair.migrate(&format!(", parallel => {workers}"));
        pair.assert_same_definitions();
        pair.assert_same_content();
        pair.assert_nothing_left();
        pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
        let check = "SELECT count(bt_index_check(i.indexrelid, true))::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid
                     WHERE c.relam = 403 AND c.relkind = 'i' AND c.relnamespace = 'public'::regnamespace";
        assert_ne!(text(&mut pair.destination, check), "0");
        for sql in [
            "SELECT count(*)::text FROM pg_constraint WHERE NOT convalidated",
            "SELECT count(*)::text FROM pg_index WHERE NOT indisvalid",
            "SELECT count(*)::text FROM four",
            "SELECT stxdmcv IS NULL FROM pg_statistic_ext_data",
            "SELECT count(*)::text FROM base WHERE to_tsvector('own', note) @@ to_tsquery('own', 'nnn')",
        ] {
            let sql = sql.replace("SELECT stxdmcv IS NULL FROM", "SELECT count(stxdmcv)::text FROM");
            assert_eq!(text(&mut pair.destination, &sql), text(&mut pair.source, &sql), "{sql}");
        }
    }
}

#[test]
fn large_objects_come_with_owners_and_privileges() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_large_objects");
    for role in ["migrate_owner", "migrate_reader"] {
        make_role(&mut pair, role);
    }
    pair.source
        .batch_execute(
            "SELECT lo_from_bytea(1000 + i, convert_to(repeat('x' || i, i % 50), 'UTF8')) FROM generate_series(1, 1200) i;
             SELECT lo_from_bytea(7, decode(repeat('ab', 16384), 'hex')), lo_from_bytea(8, decode(repeat('cd', 16384 + 1048576), 'hex')),
                    lo_from_bytea(9, decode(repeat('00ff', 700000), 'hex'));
             SELECT lo_create(10); SELECT lo_put(10, 100000, 'after a hole');
             ALTER LARGE OBJECT 7 OWNER TO migrate_owner; ALTER LARGE OBJECT 1001 OWNER TO migrate_owner;
             GRANT SELECT ON LARGE OBJECT 7 TO migrate_reader WITH GRANT OPTION; GRANT UPDATE ON LARGE OBJECT 8 TO PUBLIC;
             REVOKE UPDATE ON LARGE OBJECT 9 FROM postgres; COMMENT ON LARGE OBJECT 9 IS 'it''s large'",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    let report = pair.migrate("");
    let line = report.iter().find(|line| line.kind == "large object").expect("a line of the report");
    assert_eq!(line.objects, Some(1204));
    for sql in [
        "SELECT string_agg(concat_ws(' ', oid, pg_get_userbyid(lomowner), lomacl, obj_description(oid, 'pg_largeobject')), ', ' ORDER BY oid)
         FROM pg_largeobject_metadata",
        "SELECT md5(string_agg(oid || md5(lo_get(oid)), ',' ORDER BY oid)) FROM pg_largeobject_metadata",
    ] {
        assert_eq!(text(&mut pair.destination, sql), text(&mut pair.source, sql), "{sql}");
    }
    let failure = pair.migrate_error("");
    assert_eq!(failure.sqlstate, "42710", "{failure:?}");
    assert!(failure.detail.contains("large object 7"), "{failure:?}");
    pair.migrate(", existing => 'keep'");
}

#[test]
fn filters_bring_along_what_the_chosen_tables_need() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_filters");
    pair.source
        .batch_execute(
            "CREATE EXTENSION citext; CREATE SCHEMA shop; CREATE SCHEMA types; CREATE SCHEMA away;
             CREATE TYPE types.mood AS ENUM ('sad', 'glad'); CREATE TYPE types.unused AS ENUM ('x');
             CREATE FUNCTION types.first_mood() RETURNS types.mood LANGUAGE sql AS $$ SELECT 'sad'::types.mood $$;
             CREATE FUNCTION types.touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
             CREATE SEQUENCE types.numbers;
             CREATE TABLE away.kind (id int PRIMARY KEY);
             CREATE TABLE shop.customer (id int DEFAULT nextval('types.numbers') PRIMARY KEY, felt types.mood DEFAULT types.first_mood(), name public.citext);
             COMMENT ON TABLE shop.customer IS 'kept';
             CREATE TABLE shop.purchase (id serial PRIMARY KEY, customer int REFERENCES shop.customer, kind int REFERENCES away.kind);
             CREATE INDEX purchase_customer ON shop.purchase (customer);
             CREATE TRIGGER touches BEFORE UPDATE ON shop.customer FOR EACH ROW EXECUTE FUNCTION types.touch();
             CREATE TABLE shop.reading (at date) PARTITION BY RANGE (at);
             CREATE TABLE shop.reading_1 PARTITION OF shop.reading FOR VALUES FROM (MINVALUE) TO (MAXVALUE);
             CREATE VIEW shop.seen AS SELECT * FROM shop.customer; CREATE FUNCTION shop.helper() RETURNS int LANGUAGE sql AS 'SELECT 1';
             CREATE TABLE away.parent (id int); CREATE TABLE shop.heir () INHERITS (away.parent);
             INSERT INTO away.kind VALUES (1); INSERT INTO shop.customer VALUES (1, 'glad', 'N'); INSERT INTO shop.purchase VALUES (1, 1, 1);
             INSERT INTO shop.reading VALUES ('2024-01-01'); INSERT INTO away.parent VALUES (1); INSERT INTO shop.heir VALUES (2); SELECT lo_create(7)",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    let made = "SELECT string_agg(n.nspname || '.' || c.relname, ' ' ORDER BY n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
                WHERE n.nspname IN ('shop', 'away', 'types')";
    let clear = "DROP SCHEMA IF EXISTS shop, away, types CASCADE; DROP EXTENSION IF EXISTS citext";
    pair.migrate(", include => '{shop.customer}'");
    assert_eq!(text(&mut pair.destination, made), "shop.customer shop.customer_pkey types.numbers");
    for (sql, answer) in [
        ("SELECT felt || ' ' || name FROM shop.customer", "glad N"),
        (
            "SELECT string_agg(typname, ' ') FROM pg_type WHERE typnamespace = 'types'::regnamespace AND typtype = 'e'",
            "mood",
        ),
        ("SELECT count(*)::text FROM pg_trigger WHERE tgname = 'touches'", "1"),
        ("SELECT obj_description('shop.customer'::regclass)", "kept"),
        ("SELECT count(*)::text FROM pg_largeobject_metadata", "0"),
    ] {
        assert_eq!(text(&mut pair.destination, sql), answer, "{sql}");
    }
    pair.destination.batch_execute(clear).unwrap();
    pair.notices();
    pair.migrate(", include => '{shop.*}', exclude => '{customer}'");
    let notices = pair.notices();
    for expected in [
        "tables that others need, and that no pattern names, are made without rows: away.parent, shop.customer",
        "foreign keys whose other table no pattern names are left out: purchase purchase_customer_fkey, purchase purchase_kind_fkey",
    ] {
        assert!(notices.iter().any(|notice| notice == expected), "{notices:#?}");
    }
    for (sql, answer) in [
        ("SELECT count(*)::text FROM shop.purchase", "1"),
        ("SELECT count(*)::text FROM shop.heir", "1"),
        ("SELECT count(*)::text FROM ONLY away.parent", "0"),
        ("SELECT shop.helper()::text", "1"),
        ("SELECT (to_regclass('away.kind') IS NULL AND to_regclass('shop.seen') IS NOT NULL)::text", "true"),
    ] {
        assert_eq!(text(&mut pair.destination, sql), answer, "{sql}");
    }
    pair.destination.batch_execute(clear).unwrap();
    pair.migrate(", include => '{reading, purchase}', exclude => '{away.*}'");
    assert_eq!(
        text(&mut pair.destination, made),
        "shop.purchase shop.purchase_customer shop.purchase_id_seq shop.purchase_pkey shop.reading shop.reading_1"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM shop.reading_1"), "1");
    // A partition that nobody wants.
    pair.destination.batch_execute(clear).unwrap();
    pair.source
        .batch_execute("CREATE TABLE shop.reading_2 PARTITION OF shop.reading DEFAULT; INSERT INTO shop.reading SELECT r.* FROM shop.reading r")
        .unwrap();
    pair.migrate(", include => '{shop.reading}', exclude => '{shop.reading_2}'");
    assert_eq!(text(&mut pair.destination, "SELECT (to_regclass('shop.reading_2') IS NULL)::text"), "true");
    let rows = "SELECT string_agg(t::text, ' ') FROM shop.reading_1 t";
    assert_eq!(text(&mut pair.destination, rows), text(&mut pair.source, rows));
    let failure = pair.migrate_error(", include => '{shop.nothing}'");
    assert_eq!(failure.sqlstate, "42P01", "{failure:?}");
    pair.assert_nothing_left();
}

#[test]
fn publications_come_where_they_are_asked_for() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_publications");
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy; CREATE TABLE item (id int PRIMARY KEY, note text); INSERT INTO item VALUES (1, 'n');
             CREATE PUBLICATION one FOR TABLE item (id) WHERE (id > 0) WITH (publish = 'insert, update');
             CREATE PUBLICATION whole FOR TABLES IN SCHEMA public; CREATE PUBLICATION everything FOR ALL TABLES;
             CREATE SUBSCRIPTION follows CONNECTION 'dbname=nowhere' PUBLICATION one WITH (connect = false)",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    let published = "SELECT string_agg(pubname, ' ' ORDER BY pubname) FROM pg_publication";
    pair.migrate("");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pg_publication"), "0");
    let subscriptions = "SELECT count(*)::text FROM pg_subscription JOIN pg_database d ON d.oid = subdbid WHERE datname = current_database()";
    assert_eq!(text(&mut pair.destination, subscriptions), "0");
    pair.migrate(", publications => true, subscriptions => true, overwrite => true");
    assert_eq!(text(&mut pair.destination, published), "everything one whole");
    assert_eq!(text(&mut pair.destination, &format!("{subscriptions} AND NOT subenabled")), "1");
    pair.assert_same_definitions();
    pair.assert_same_content();
    for client in [&mut pair.source, &mut pair.destination] {
        client.batch_execute("ALTER SUBSCRIPTION follows SET (slot_name = NONE); DROP SUBSCRIPTION follows").unwrap();
    }
}

#[test]
fn backslashes_of_a_source_where_they_escape_stay_what_they_are() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_backslashes");
    pair.source
        .batch_execute(
            r"CREATE TABLE t (id int PRIMARY KEY, a text DEFAULT 'c:\dir' CHECK (a ~ '^\w:')); INSERT INTO t VALUES (1, 'c:\x');
              COMMENT ON TABLE t IS 'back\slash';
              DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET standard_conforming_strings = off', current_database()); END $$",
        )
        .unwrap_or_else(|error| panic!("{}", describe(&error)));
    pair.migrate("");
    let seen = "INSERT INTO t (id) VALUES (2); SELECT a FROM t WHERE id = 2";
    pair.destination.batch_execute(seen).unwrap_or_else(|error| panic!("{}", describe(&error)));
    assert_eq!(text(&mut pair.destination, "SELECT a FROM t WHERE id = 2"), r"c:\dir");
    assert_eq!(text(&mut pair.destination, "SELECT obj_description('t'::regclass)"), r"back\slash");
}

/// Indexes of small tables get their rows in the files that they were made with, hold all of them, and outlive a crash.
#[test]
fn indexes_of_small_tables_are_made_once() {
    const TABLES: usize = 12;
    if !has_pg_dump() {
        return;
    }
    for (name, wal_level) in [("once", "replica"), ("once_minimal", "minimal")] {
        let options = Options::named(&name.replace('_', "-")).setting("fsync = on").setting("max_wal_senders = 0");
        let mut servers = OwnServers::start(name, options.setting(format!("wal_level = {wal_level}")));
        let mut pair = servers.pair(name);
        for number in 0..TABLES {
            pair.source
                .batch_execute(&format!(
                    "CREATE TABLE small_{number} (
                         id int PRIMARY KEY, before int REFERENCES small_{}, name text NOT NULL, at date,
                         CONSTRAINT named_{number} UNIQUE (name, id) INCLUDE (at) WITH (fillfactor = 70),
                         UNIQUE (at, id) DEFERRABLE);
                     CREATE INDEX ON small_{number} (lower(name) text_pattern_ops DESC) WHERE id > 3;
                     CREATE INDEX ON small_{number} USING hash (name);
                     CREATE INDEX ON small_{number} USING gin (string_to_array(name, ' '))",
                    if number == 0 { 0 } else { number - 1 }
                ))
                .unwrap();
            // One is empty, and one is not so small.
            let rows = if number == 0 { 0 } else { 50 * number * number };
            pair.source
                .batch_execute(&format!(
                    "INSERT INTO small_{number} SELECT i, NULL, 'name ' || i % 9, '2024-01-01' FROM generate_series(1, {rows}) i"
                ))
                .unwrap();
        }
        pair.migrate("");
        pair.assert_same_definitions();
        pair.assert_same_content();
        let again = "SELECT count(*)::text FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am m ON m.oid = c.relam
                     JOIN pg_class t ON t.oid = i.indrelid AND t.relpages BETWEEN 1 AND 16
                     WHERE t.relname LIKE 'small%' AND m.amname = 'btree' AND c.relfilenode <> c.oid";
        assert_eq!(text(&mut pair.destination, again), "0");
        servers.destination.crash_and_restart().unwrap();
        pair.destination = crate::harness::connect(servers.destination.port(), name);
        pair.assert_same_content();
        pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
        pair.destination.batch_execute("SELECT * FROM pgcopy.check_local(fail => true)").unwrap();
        pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
        for (sql, expected) in [
            ("SELECT count(*)::text FROM small_3 WHERE id = 5", "1"),
            ("SELECT count(*)::text FROM small_0 WHERE id = 5", "0"),
            ("SELECT count(*)::text FROM small_3 WHERE lower(name) = 'name 4' AND id > 3", "50"),
        ] {
            assert_eq!(text(&mut pair.destination, sql), expected, "{sql}");
        }
        for sql in ["INSERT INTO small_3 VALUES (5, NULL, 'x')", "INSERT INTO small_3 VALUES (0, 17000, 'x')"] {
            assert!(pair.destination.batch_execute(sql).is_err(), "{sql}");
        }
        pair.destination.batch_execute("INSERT INTO small_0 VALUES (5, NULL, 'x', '2024-01-01')").unwrap();
        let double = pair.destination.batch_execute("INSERT INTO small_0 VALUES (5, NULL, 'x')");
        assert_eq!(Failure::of(&double.unwrap_err()).sqlstate, "23505");
    }
}

/// Keys that do not hold are told of as ever.
#[test]
fn a_key_that_does_not_hold_is_named() {
    if !has_pg_dump() {
        return;
    }
    let mut pair = Pair::new("migrate_no_key");
    pair.source
        .batch_execute(
            "CREATE TABLE item (id int, name text);
             INSERT INTO item VALUES (1, 'a'), (2, 'b'), (3, 'b');
             CREATE UNIQUE INDEX item_name ON item (name) WHERE id < 3;
             UPDATE pg_index SET indpred = NULL WHERE indexrelid = 'item_name'::regclass",
        )
        .unwrap();
    let failed = pair.migrate_error("");
    assert_eq!(failed.sqlstate, "23505", "{failed:?}");
    assert!(failed.message.contains("could not create unique index \"item_name\""), "{failed:?}");
    pair.assert_nothing_left();
}
