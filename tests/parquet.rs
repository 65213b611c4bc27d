//! Files that other people's writers made, loaded and compared value by value with what these writers read back.

use crate::harness::stores::{Page, S3, WebServer};
use crate::harness::{Failure, Pair, describe, text, texts};
use postgres::Client;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use xtask::server::ScratchDirectory;

/// Files of `python/write_parquet.py`.
struct Written {
    directory: ScratchDirectory,
    /// What these versions of the writers cannot write.
    left_out: Vec<String>,
}

impl Written {
    fn by(python: &str, name: &str) -> Self {
        let directory = ScratchDirectory::create(name).unwrap();
        let output = Command::new(std::env::var(python).expect("run the tests with `cargo xtask test`"))
            .arg(xtask::root().join("tests/python/write_parquet.py"))
            .arg(directory.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let left_out = String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect();
        Self { directory, left_out }
    }
}

/// By the newest versions, made once.
fn newest() -> &'static Written {
    static WRITTEN: OnceLock<Written> = OnceLock::new();
    WRITTEN.get_or_init(|| Written::by("PGCOPY_TEST_PYTHON", "parquet_writers"))
}

fn written() -> &'static Path {
    newest().directory.path()
}

fn path(file: &str) -> String {
    written().join(file).display().to_string()
}

fn load(client: &mut Client, arguments: &str) -> Vec<(String, i64)> {
    let sql = format!("SELECT target, rows FROM pgcopy.load_parquet({arguments})");
    let rows = client.query(&sql, &[]).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

fn refused(client: &mut Client, arguments: &str) -> Failure {
    match client.query(&format!("SELECT pgcopy.load_parquet({arguments})"), &[]) {
        Ok(_) => panic!("load_parquet({arguments}) succeeded"),
        Err(error) => Failure::of(&error),
    }
}

/// Every value of the table is the one that the writer read back.
fn assert_as_written(client: &mut Client, table: &str, file: &str) {
    assert_as_in(client, table, written(), file);
}

fn assert_as_in(client: &mut Client, table: &str, directory: &Path, file: &str) {
    let json = std::fs::read_to_string(directory.join(format!("{file}.json"))).unwrap();
    client.batch_execute("CREATE TEMP TABLE IF NOT EXISTS expected (document jsonb); TRUNCATE expected").unwrap();
    client.execute("INSERT INTO expected VALUES ($1::text::jsonb)", &[&json]).unwrap();
    let columns = texts(client, "SELECT jsonb_array_elements_text(document -> 'columns') FROM expected");
    for (position, column) in columns.iter().enumerate() {
        let type_name = text(
            client,
            &format!(
                "SELECT format_type(atttypid, atttypmod) FROM pg_attribute
                 WHERE attrelid = '{table}'::regclass AND attname = '{column}'"
            ),
        );
        let expected = if type_name.ends_with("[]") {
            format!(
                "CASE WHEN jsonb_typeof(r -> {position}) = 'array'
                      THEN ARRAY(SELECT jsonb_array_elements_text(r -> {position}))::{type_name} END"
            )
        } else {
            format!("(r ->> {position})::{type_name}")
        };
        let different = text(
            client,
            &format!(
                "SELECT count(*)::text FROM (
                     SELECT t.value::text AS value, count(*) FROM (SELECT \"{column}\" AS value FROM {table}) t GROUP BY 1
                     EXCEPT
                     SELECT e.value::text, count(*)
                     FROM (SELECT {expected} AS value FROM expected, jsonb_array_elements(document -> 'rows') r) e
                     GROUP BY 1) d"
            ),
        );
        assert_eq!(different, "0", "column {column} ({type_name}) of {file}");
    }
    let rows = text(client, &format!("SELECT count(*)::text FROM {table}"));
    assert_eq!(rows, text(client, "SELECT jsonb_array_length(document -> 'rows')::text FROM expected"), "{file}");
}

const FILES: [&str; 20] = [
    "scalars_none",
    "scalars_snappy",
    "scalars_gzip",
    "scalars_brotli",
    "scalars_lz4",
    "scalars_zstd",
    "scalars_v2",
    "scalars_v1_types",
    "scalars_without_dictionary",
    "scalars_small_pages",
    "decimals_as_integers",
    "byte_stream_split",
    "delta",
    "int96",
    "nested",
    "nested_old_lists",
    "empty",
    "many_groups",
    "duckdb",
    "polars",
];

#[test]
fn every_value_of_other_writers_arrives() {
    assert!(newest().left_out.is_empty(), "{:?}", newest().left_out);
    every_value_arrives("parquet_writers", newest(), &FILES);
}

#[test]
fn every_value_of_old_writers_arrives() {
    let old = Written::by("PGCOPY_TEST_OLD_PYTHON", "parquet_old_writers");
    let files: Vec<&str> =
        FILES.into_iter().filter(|file| !old.left_out.iter().any(|left_out| left_out == file)).collect();
    // No version leaves out more.
    let most = ["decimals_as_integers", "byte_stream_split", "delta"];
    assert!(FILES.iter().all(|file| files.contains(file) || most.contains(file)), "{:?}", old.left_out);
    every_value_arrives("parquet_old_writers", &old, &files);
}

fn every_value_arrives(database: &str, written: &Written, files: &[&str]) {
    let mut pair = Pair::new(database);
    let client = &mut pair.destination;
    // An old DuckDB forgets that its instants are of UTC when it reads them.
    client.batch_execute("SET timezone = 'UTC'").unwrap();
    for file in files {
        let directory = written.directory.path();
        let path = directory.join(format!("{file}.parquet")).display().to_string();
        let loaded = load(client, &format!("'{path}'"));
        assert_eq!(loaded[0].0, format!("public.{file}"));
        assert_as_in(client, file, directory, file);
        // The same through COPY's ways, into a table that has rows, an index and a trigger.
        client
            .batch_execute(&format!(
                "CREATE TABLE {file}_kept (LIKE {file}); ALTER TABLE {file}_kept ADD key bigserial PRIMARY KEY;
                 CREATE FUNCTION {file}_noted() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NEW; END';
                 CREATE TRIGGER noted BEFORE INSERT ON {file}_kept FOR EACH ROW EXECUTE FUNCTION {file}_noted()"
            ))
            .unwrap();
        load(client, &format!("'{path}', target => '{file}_kept'"));
        assert_as_in(client, &format!("{file}_kept"), directory, file);
    }
}

#[test]
fn documents_of_any_depth_and_types_of_their_own() {
    let mut pair = Pair::new("parquet_documents");
    let client = &mut pair.destination;
    load(client, &format!("'{}'", path("documents.parquet")));
    assert_eq!(
        texts(client, "SELECT concat_ws(' | ', lls, st, lst, m, ml) FROM documents"),
        [
            r#"[["a"], null, []] | {"x": 1, "y": {"z": "q"}} | [{"a": 1}, null] | {"\"": null, "k": 1.5} | {"1": [true]}"#,
            r#"[] | {"x": null, "y": null} | [] | {} | {}"#,
            ""
        ]
    );
    client
        .batch_execute(
            "CREATE TYPE inner_type AS (z text); CREATE DOMAIN small AS bigint CHECK (VALUE < 100);
             CREATE TYPE outer_type AS (y inner_type, x small); CREATE TYPE element AS (a integer);
             CREATE TYPE entry AS (key text, value double precision);
             CREATE TABLE typed (st outer_type, lst element[], m entry[], ml json)",
        )
        .unwrap();
    load(client, &format!("'{}', target => 'typed', skip => '{{lls}}'", path("documents.parquet")));
    assert_eq!(
        texts(client, "SELECT concat_ws(' | ', st, lst, m, ml) FROM typed"),
        [r#"("(q)",1) | {(1),NULL} | {"(k,1.5)","(\"\"\"\",)"} | {"1": [true]}"#, "(,) | {} | {} | {}", ""]
    );
    load(client, &format!("'{}'", path("duckdb_types.parquet")));
    assert_eq!(
        texts(client, "SELECT concat_ws(' | ', u, i, e, j) FROM duckdb_types"),
        [r#"80000000-0000-0000-0000-000000000005 | 1 year 2 mons 3 days 00:00:04.005 | a | {"k": [1, null]}"#]
    );
}

#[test]
fn rows_far_longer_than_the_others_of_their_row_group() {
    let mut pair = Pair::new("parquet_uneven");
    let directory = ScratchDirectory::create("parquet_uneven").unwrap();
    let path = directory.path().join("uneven.parquet").display().to_string();
    let client = &mut pair.destination;
    // A batch is planned by the average; those in the middle must become smaller, also in a column of lists.
    client
        .batch_execute(&format!(
            "LOAD 'pgcopy';
             CREATE TABLE uneven AS
                 SELECT i AS id, CASE WHEN i BETWEEN 150000 AND 151000 THEN repeat(md5(i::text), 4000) ELSE i::text END AS body,
                        CASE WHEN i BETWEEN 160000 AND 160400 THEN array_fill(i, ARRAY[20000]) END AS numbers
                 FROM generate_series(1, 250000) i;
             COPY uneven TO '{path}' (FORMAT parquet, row_group_rows 1000000, row_group_bytes '1GB')"
        ))
        .unwrap();
    assert_eq!(text(client, &format!("SELECT max(row_groups)::text FROM pgcopy.parquet_schema('{path}')")), "1");
    client.batch_execute("CREATE TABLE kept (LIKE uneven); INSERT INTO kept VALUES (0)").unwrap();
    load(client, &format!("'{path}', target => 'loaded'"));
    load(client, &format!("'{path}', target => 'kept'"));
    for table in ["loaded", "kept"] {
        let different = format!(
            "SELECT count(*)::text FROM {table} FULL JOIN uneven USING (id)
             WHERE {table}.body IS DISTINCT FROM uneven.body OR {table}.numbers IS DISTINCT FROM uneven.numbers"
        );
        assert_eq!(text(client, &different), "0", "{table}");
    }
    assert_eq!(text(client, "SELECT concat_ws(' ', count(*), sum(id)) FROM loaded"), "250000 31250125000");
    assert_eq!(text(client, "SELECT concat_ws(' ', count(*), sum(id)) FROM kept"), "250001 31250125000");
}

#[test]
fn what_would_lose_something_is_an_error_that_names_the_place() {
    let mut pair = Pair::new("parquet_lossy");
    let client = &mut pair.destination;
    let too_fine = path("too_fine.parquet");
    client.batch_execute("CREATE TABLE stamps (t timestamp)").unwrap();
    let failure = refused(client, &format!("'{too_fine}', target => 'stamps'"));
    assert_eq!(failure.sqlstate, "22003");
    assert_eq!(failure.detail, format!("File {too_fine}, row group 0, row 1, column t."));
    load(client, &format!("'{too_fine}', target => 'stamps', on_lossy => 'truncate'"));
    assert_eq!(texts(client, "SELECT t::text FROM stamps"), ["1970-01-01 00:00:00.000001"]);
    client.batch_execute("CREATE TABLE words (t text)").unwrap();
    let failure = refused(client, &format!("'{}', target => 'words'", path("bytes.parquet")));
    assert_eq!(failure.sqlstate, "22021");
    assert!(failure.detail.ends_with("row group 0, row 2, column t."), "{}", failure.detail);
    client.batch_execute("CREATE TABLE small (i64 integer, s varchar(3), f64 real, d38 numeric(10,2))").unwrap();
    for (column, code) in [("i64", "22003"), ("s", "22001"), ("f64", "22003"), ("d38", "22003")] {
        let skipped = "skip => '{*}'";
        client.batch_execute(&format!("CREATE TEMP TABLE one AS SELECT {column} FROM small LIMIT 0")).unwrap();
        let failure = refused(client, &format!("'{}', target => 'one', {skipped}", path("scalars_zstd.parquet")));
        assert_eq!(failure.sqlstate, code, "{column}: {}", failure.message);
        assert_eq!(texts(client, "SELECT count(*)::text FROM one"), ["0"]);
        client.batch_execute("DROP TABLE one").unwrap();
    }
}

#[test]
fn columns_without_a_place_and_types_that_do_not_fit_are_told_together() {
    let mut pair = Pair::new("parquet_matching");
    let client = &mut pair.destination;
    let many = path("many_groups.parquet");
    client.batch_execute("CREATE TABLE narrow (\"ID\" uuid, other integer DEFAULT 7)").unwrap();
    let failure = refused(client, &format!("'{many}', target => 'narrow'"));
    assert_eq!(failure.sqlstate, "42804");
    assert!(failure.detail.contains("the target has no column for \"name\""), "{}", failure.detail);
    assert!(
        failure.detail.contains("column \"id\" (int64) cannot be stored in column \"ID\" (uuid)"),
        "{}",
        failure.detail
    );
    client.batch_execute("ALTER TABLE narrow ALTER \"ID\" TYPE bigint USING NULL").unwrap();
    load(client, &format!("'{many}', target => 'narrow', skip => '{{name}}'"));
    assert_eq!(
        texts(client, "SELECT concat_ws(' ', count(*), sum(\"ID\"), sum(other)) FROM narrow"),
        ["100000 4999950000 700000"]
    );
    client.batch_execute("CREATE TABLE mapped (a text, b bigint)").unwrap();
    load(client, &format!("'{many}', target => 'mapped', columns => '{{\"a\": \"name\", \"b\": \"id\"}}'"));
    load(client, &format!("'{many}', target => 'by_position_made'"));
    client.batch_execute("CREATE TABLE positioned (x bigint, y text)").unwrap();
    load(client, &format!("'{many}', target => 'positioned', match_by => 'position'"));
    for query in ["SELECT b, a FROM mapped", "SELECT x, y FROM positioned"] {
        let same =
            format!("SELECT count(*)::text FROM (({query}) EXCEPT ALL (SELECT id, name FROM by_position_made)) d");
        assert_eq!(texts(client, &same), ["0"]);
    }
}

#[test]
fn constraints_triggers_partitions_and_rights_are_as_for_copy() {
    let mut pair = Pair::new("parquet_as_copy");
    let client = &mut pair.destination;
    let many = path("many_groups.parquet");
    client
        .batch_execute(
            "CREATE TABLE parent (id bigint PRIMARY KEY); INSERT INTO parent SELECT generate_series(0, 99999);
             CREATE TABLE log (what text, count bigint);
             CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
               'BEGIN INSERT INTO log SELECT TG_OP, count(*) FROM new_rows; RETURN NULL; END';
             CREATE TABLE child (id bigint REFERENCES parent CHECK (id >= 0), name text COLLATE \"C\",
                                 twice bigint GENERATED ALWAYS AS (id * 2) STORED, made timestamptz DEFAULT now(),
                                 number integer GENERATED ALWAYS AS IDENTITY) PARTITION BY RANGE (id);
             CREATE TABLE child_low (twice bigint GENERATED ALWAYS AS (id * 2) STORED, name text COLLATE \"C\", id bigint,
                                     number integer NOT NULL, made timestamptz,
                                     CONSTRAINT child_id_check CHECK (id >= 0));
             ALTER TABLE child ATTACH PARTITION child_low FOR VALUES FROM (0) TO (500);
             CREATE TABLE child_high PARTITION OF child FOR VALUES FROM (500) TO (200000);
             CREATE INDEX ON child (name);
             CREATE TRIGGER noted AFTER INSERT ON child REFERENCING NEW TABLE AS new_rows
               FOR EACH STATEMENT EXECUTE FUNCTION note()",
        )
        .unwrap();
    load(client, &format!("'{many}', target => 'child'"));
    assert_eq!(
        texts(
            client,
            "SELECT concat_ws(' ', count(*), sum(twice), count(made), count(DISTINCT number),
                              count(*) FILTER (WHERE tableoid = 'child_low'::regclass)) FROM child"
        ),
        ["100000 9999900000 100000 100000 500"]
    );
    assert_eq!(texts(client, "SELECT concat_ws(' ', what, count) FROM log"), ["INSERT 100000"]);
    client.batch_execute("DELETE FROM child; DELETE FROM parent WHERE id = 77").unwrap();
    let failure = refused(client, &format!("'{many}', target => 'child'"));
    assert_eq!(failure.sqlstate, "23503");
    assert_eq!(texts(client, "SELECT count(*)::text FROM child"), ["0"]);
    client
        .batch_execute(
            "CREATE TABLE guarded (id bigint CHECK (id < 5000), name text); CREATE ROLE parquet_reader LOGIN;
             GRANT ALL ON guarded TO parquet_reader; ALTER TABLE guarded ENABLE ROW LEVEL SECURITY",
        )
        .unwrap();
    let failure = refused(client, &format!("'{many}', target => 'guarded'"));
    assert_eq!(failure.sqlstate, "23514");
    assert!(failure.detail.contains("row group 0, row 5001"), "{}", failure.detail);
    client.batch_execute("SET ROLE parquet_reader").unwrap();
    let failure = refused(client, &format!("'{many}', target => 'guarded'"));
    assert_eq!(failure.sqlstate, "42501", "files are for pg_read_server_files");
    client.batch_execute("RESET ROLE; GRANT pg_read_server_files TO parquet_reader; SET ROLE parquet_reader").unwrap();
    let failure = refused(client, &format!("'{many}', target => 'guarded'"));
    assert_eq!(failure.sqlstate, "0A000", "{}", failure.message);
    client.batch_execute("RESET ROLE; DROP OWNED BY parquet_reader; DROP ROLE parquet_reader").unwrap();
}

#[test]
fn a_load_is_all_or_nothing_and_replaces_on_request() {
    let mut pair = Pair::new("parquet_modes");
    let client = &mut pair.destination;
    let many = path("many_groups.parquet");
    client.batch_execute("BEGIN").unwrap();
    load(client, &format!("'{many}'"));
    client.batch_execute("ROLLBACK").unwrap();
    assert_eq!(texts(client, "SELECT coalesce(to_regclass('many_groups')::text, 'gone')"), ["gone"]);
    load(client, &format!("'{many}'"));
    load(client, &format!("'{many}'"));
    assert_eq!(texts(client, "SELECT count(*)::text FROM many_groups"), ["200000"]);
    let failure = refused(client, &format!("'{many}', mode => 'replace'"));
    assert_eq!(failure.sqlstate, "55000");
    client.batch_execute("CREATE UNIQUE INDEX unique_id ON many_groups (id) WHERE id < 0").unwrap();
    load(client, &format!("'{many}', mode => 'replace', overwrite => true"));
    assert_as_written(client, "many_groups", "many_groups");
    let failure = refused(client, &format!("'{many}', mode => 'exchange'"));
    assert_eq!(failure.sqlstate, "22023");
    let failure = refused(client, &format!("'{many}', target => 'nowhere', create_table => 'never'"));
    assert_eq!(failure.sqlstate, "42P01");
    let listed = texts(
        client,
        &format!(
            "SELECT concat_ws(' ', \"column\", arrow_type, postgres_type, rows, row_groups, codec)
             FROM pgcopy.parquet_schema('{many}')"
        ),
    );
    assert_eq!(listed, ["id int64 bigint 100000 15 snappy", "name utf8 text 100000 15 snappy"]);
}

#[test]
fn files_of_an_object_store_and_of_a_web_server() {
    let mut pair = Pair::new("parquet_remote");
    let s3 = S3::start("lake");
    let content = |file: &str| std::fs::read(written().join(file)).unwrap();
    s3.put("lake", "many/year=2024/a.parquet", &content("many_groups.parquet"));
    s3.put("lake", "many/year=2025/b.parquet", &content("many_groups.parquet"));
    let web = WebServer::start([("/scalars.parquet", Page::File(content("scalars_zstd.parquet")))]);
    let client = &mut pair.destination;
    client
        .batch_execute(&format!(
            "CREATE SERVER lake FOREIGN DATA WRAPPER pgcopy_store
                 OPTIONS (type 's3', endpoint '{}', allow_http 'true');
             CREATE USER MAPPING FOR CURRENT_USER SERVER lake
                 OPTIONS (access_key_id '{}', secret_access_key '{}')",
            s3.endpoint(),
            s3.access_key_id,
            s3.secret_access_key
        ))
        .unwrap();
    // Workers read it too, with the same credentials.
    load(client, "'s3://lake/many', target => 'many', server => 'lake', parallel => 2");
    assert_eq!(
        texts(
            client,
            "SELECT concat_ws(' ', year, pg_typeof(year), count(*), sum(id)) FROM many GROUP BY year ORDER BY year"
        ),
        ["2024 bigint 100000 4999950000", "2025 bigint 100000 4999950000"]
    );
    load(client, &format!("'{}', target => 'scalars'", web.url("/scalars.parquet")));
    assert_as_written(client, "scalars", "scalars_zstd");
    let wanted =
        texts(client, &format!("SELECT count(*)::text FROM pgcopy.parquet_schema('{}')", web.url("/scalars.parquet")));
    assert_eq!(wanted, ["32"]);
}

/// Numbers that are the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.0 >> 33) as usize) % limit.max(1)
    }
}

#[test]
fn damaged_files_are_errors_and_never_crashes() {
    let mut pair = Pair::new("parquet_damage");
    let directory = ScratchDirectory::create("parquet_damage").unwrap();
    let client = &mut pair.destination;
    let started = text(client, "SELECT pg_postmaster_start_time()::text || pg_backend_pid()");
    let mut random = Random(20_241_121);
    let mut refused = 0;
    for file in ["scalars_small_pages", "nested", "documents", "delta", "scalars_v2", "duckdb"] {
        let whole = std::fs::read(written().join(format!("{file}.parquet"))).unwrap();
        for attempt in 0..40 {
            let mut bytes = whole.clone();
            if attempt % 8 == 0 {
                bytes.truncate(random.below(whole.len()));
            } else {
                for _ in 0..=random.below(4) {
                    let at = random.below(bytes.len());
                    bytes[at] = random.below(256) as u8;
                }
            }
            let path = directory.path().join("damaged.parquet");
            std::fs::write(&path, &bytes).unwrap();
            let sql = format!("SELECT pgcopy.load_parquet('{}', target => 'damaged')", path.display());
            client.batch_execute("DROP TABLE IF EXISTS damaged").unwrap();
            if let Err(error) = client.query(&sql, &[]) {
                let failure = Failure::of(&error);
                assert!(failure.sqlstate != "XX000", "{file}, attempt {attempt}: {failure:?}");
                assert!(!failure.detail.contains("Parquet error: "), "{file}, attempt {attempt}: {failure:?}");
                refused += 1;
                let gone = text(client, "SELECT coalesce(to_regclass('damaged')::text, 'gone')");
                assert_eq!(gone, "gone");
            }
        }
    }
    assert!(refused > 20, "{refused} of the damaged files were noticed");
    assert_eq!(text(client, "SELECT pg_postmaster_start_time()::text || pg_backend_pid()"), started);
}

#[test]
fn what_a_load_says_of_its_table() {
    let mut pair = Pair::new("parquet_says");
    let file = path("many_groups.parquet");
    // A load that fails has made no table, and does not say that it has.
    pair.destination.batch_execute("LOAD 'pgcopy'").unwrap();
    pair.notices();
    let failure =
        refused(&mut pair.destination, &format!("'{file}', target => 't', columns => '{{\"id\": \"nowhere\"}}'"));
    assert!(!failure.message.is_empty());
    assert_eq!(pair.notices(), Vec::<String>::new());
    let load = format!("SELECT count(*) FROM pgcopy.load_parquet('{file}', target => 't')");
    pair.destination.query(&load, &[]).unwrap();
    assert_eq!(pair.notices(), ["created table public.t"]);
    pair.destination.query(&load, &[]).unwrap();
    assert_eq!(pair.notices(), ["table public.t holds rows, which stay: those of the files are added to them"]);
}

#[test]
fn encrypted_and_foreign_files_are_refused_in_words() {
    let mut pair = Pair::new("parquet_refused");
    let directory = ScratchDirectory::create("parquet_refused").unwrap();
    let client = &mut pair.destination;
    for (content, words) in [
        (&b"PAR1 this is no footer at all PARE"[..], "encrypted"),
        (&b"id,name\n1,one\n2,two\n"[..], "odd.parquet\" is not a Parquet file"),
        (&b""[..], "odd.parquet\" is not a Parquet file"),
        (&b"PAR1, and then it breaks off"[..], "corrupt"),
    ] {
        let path = directory.path().join("odd.parquet");
        std::fs::write(&path, content).unwrap();
        let failure = refused(client, &format!("'{}'", path.display()));
        assert!(failure.message.contains(words), "{failure:?}");
        assert!(failure.detail.contains("odd.parquet"), "{failure:?}");
    }
}

#[test]
fn copy_from_takes_columns_conditions_and_positions() {
    let mut pair = Pair::new("parquet_copy_from");
    let client = &mut pair.destination;
    let many = path("many_groups.parquet");
    client.batch_execute("LOAD 'pgcopy'; CREATE TABLE t (name text, id bigint, kept boolean DEFAULT true)").unwrap();
    let copied = client.execute(&format!("COPY t (id, name) FROM '{many}' (FORMAT parquet) WHERE id % 10 = 3"), &[]);
    assert_eq!(copied.unwrap(), 10_000);
    assert_eq!(
        texts(client, "SELECT concat_ws(' ', count(*), sum(id), bool_and(kept), min(name)) FROM t"),
        ["10000 499980000 t name 10003"]
    );
    client.batch_execute("TRUNCATE t").unwrap();
    let copied = client.execute(&format!("COPY t (id, name) FROM '{many}' (FORMAT parquet, match_by 'position')"), &[]);
    assert_eq!(copied.unwrap(), 100_000);
    assert_eq!(texts(client, "SELECT name FROM t WHERE id = 77"), ["name 77"]);
}
