//! Sources that are set up otherwise: encodings, collations, settings, standbys, poolers.

use crate::harness::{Failure, OwnServers, Pair, eventually, text, texts};
use xtask::server::{Options, Pooler, ScratchDirectory, dsn};

const IN_LATIN1: &str = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_EUC_JP: &str = "ENCODING 'EUC_JP' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_SQL_ASCII: &str = "ENCODING 'SQL_ASCII' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
const IN_UTF8: &str = "ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";

/// The same rows by all ways: binary and text, short and long values, through types of ours and the server's, and in
/// place.
const SCHEMA: &str = "
    CREATE TABLE item (id int PRIMARY KEY, body text, short varchar(30), padded char(10), list text[], doc json, docb jsonb);
    CREATE TABLE as_text (id int, body text, kind regtype);
    CREATE TABLE routed (id int, body text) PARTITION BY RANGE (id)";

fn pair_in(name: &str, source: &str, destination: &str) -> Pair {
    let mut pair = Pair::created_with(name, source, destination);
    pair.both(SCHEMA);
    pair.source.batch_execute("CREATE TABLE routed_all PARTITION OF routed DEFAULT").unwrap();
    pair.destination
        .batch_execute(
            "CREATE TABLE routed_low PARTITION OF routed FOR VALUES FROM (MINVALUE) TO (100);
             CREATE TABLE routed_high PARTITION OF routed FOR VALUES FROM (100) TO (MAXVALUE)",
        )
        .unwrap();
    pair
}

/// Bytes of every text, in the encoding that both sides are compared in.
fn bytes(encoding: &str) -> String {
    format!(
        "SELECT concat_ws(' ', id, encode(convert_to(body, '{encoding}'), 'hex'), encode(convert_to(short, '{encoding}'), 'hex'),
                          encode(convert_to(padded, '{encoding}'), 'hex'), encode(convert_to(list::text, '{encoding}'), 'hex'),
                          encode(convert_to(doc::text, '{encoding}'), 'hex'), encode(convert_to(docb::text, '{encoding}'), 'hex'))
         FROM item
         UNION ALL SELECT 'as_text ' || id || encode(convert_to(body, '{encoding}'), 'hex') || kind FROM as_text
         UNION ALL SELECT 'routed ' || id || encode(convert_to(body, '{encoding}'), 'hex') FROM routed ORDER BY 1"
    )
}

fn fill(pair: &mut Pair, word: &str) {
    pair.source
        .batch_execute(&format!(
            "INSERT INTO item SELECT i, '{word} ' || i, '{word}', '{word}', ARRAY['{word}', NULL],
                 json_build_object('{word}', i), jsonb_build_object('{word}', i) FROM generate_series(1, 300) i;
             INSERT INTO item (id, body) VALUES (1000, repeat('{word}', 5000));
             INSERT INTO as_text SELECT i, '{word}\t\\' || i, 'text' FROM generate_series(1, 100) i;
             INSERT INTO routed SELECT i, '{word} ' || i FROM generate_series(1, 200) i"
        ))
        .unwrap();
}

#[test]
fn texts_are_converted_between_encodings() {
    let german = "größe";
    let japanese = "日本語";
    for (name, source, destination, word, compared_in) in [
        ("latin1_utf8", IN_LATIN1, IN_UTF8, german, "UTF8"),
        ("utf8_latin1", IN_UTF8, IN_LATIN1, german, "UTF8"),
        ("latin1_latin1", IN_LATIN1, IN_LATIN1, german, "LATIN1"),
        ("euc_jp_utf8", IN_EUC_JP, IN_UTF8, japanese, "UTF8"),
        ("utf8_euc_jp", IN_UTF8, IN_EUC_JP, japanese, "UTF8"),
        // Where one side does not say what its bytes mean, they arrive as they are, if they may.
        ("sql_ascii_utf8", IN_SQL_ASCII, IN_UTF8, german, "UTF8"),
        ("utf8_sql_ascii", IN_UTF8, IN_SQL_ASCII, german, "SQL_ASCII"),
        ("latin1_sql_ascii", IN_LATIN1, IN_SQL_ASCII, german, "SQL_ASCII"),
    ] {
        let mut pair = pair_in(name, source, destination);
        fill(&mut pair, word);
        let same_encoding = compared_in != "SQL_ASCII";
        let expected = texts(&mut pair.source, &bytes(if same_encoding { compared_in } else { "SQL_ASCII" }));
        for arguments in ["parallel => 2", "parallel => 0"] {
            // What the calling session speaks is not what the source sends.
            pair.destination.batch_execute("SET client_encoding = UTF8").unwrap();
            pair.pull(&format!("overwrite => true, {arguments}, include => '{{item, as_text, routed}}'"));
            assert_eq!(texts(&mut pair.destination, &bytes(compared_in)), expected, "{name}, {arguments}");
        }
        pair.assert_nothing_left();
    }
}

#[test]
fn the_callers_own_encoding_does_not_matter() {
    let mut pair = pair_in("callers_encoding", IN_UTF8, IN_UTF8);
    fill(&mut pair, "größe €");
    let expected = texts(&mut pair.source, &bytes("UTF8"));
    for arguments in ["parallel => 2", "parallel => 0"] {
        let sql = pair.pull_sql(&format!("overwrite => true, {arguments}, include => '{{item, as_text, routed}}'"));
        let called = format!("SET client_encoding = LATIN1; {sql}; SHOW client_encoding");
        pair.destination.batch_execute(&called).unwrap();
        assert_eq!(text(&mut pair.destination, "SHOW client_encoding"), "LATIN1");
        pair.destination.batch_execute("SET client_encoding = UTF8").unwrap();
        assert_eq!(texts(&mut pair.destination, &bytes("UTF8")), expected, "{arguments}");
    }
}

#[test]
fn names_are_converted_too() {
    for (name, source, destination) in
        [("names_latin1_utf8", IN_LATIN1, IN_UTF8), ("names_utf8_latin1", IN_UTF8, IN_LATIN1)]
    {
        let mut pair = Pair::created_with(name, source, destination);
        pair.both(
            "CREATE SCHEMA \"köln\"; CREATE TYPE \"köln\".\"größe\" AS ENUM ('klein', 'groß');
             CREATE TABLE \"köln\".\"straße\" (\"schlüssel\" int PRIMARY KEY, \"maß\" \"köln\".\"größe\" CHECK (\"maß\" <> 'klein'),
                 doppelt int GENERATED ALWAYS AS (\"schlüssel\" * 2) STORED);
             CREATE INDEX \"über\" ON \"köln\".\"straße\" (\"maß\")",
        );
        pair.source
            .batch_execute("INSERT INTO \"köln\".\"straße\" SELECT i, 'groß' FROM generate_series(1, 1000) i")
            .unwrap();
        for arguments in ["parallel => 2", "parallel => 0"] {
            let pulled = pair.pull(&format!("overwrite => true, {arguments}"));
            assert_eq!(pulled.len(), 1);
            let content = "SELECT concat_ws(' ', count(*), sum(doppelt), min(\"maß\")) FROM \"köln\".\"straße\"";
            assert_eq!(text(&mut pair.destination, content), "1000 1001000 groß", "{name}");
        }
        pair.assert_nothing_left();
    }
}

/// Names in arguments, results, notices and errors, in databases whose encoding is neither UTF-8 nor none.
#[test]
fn arguments_and_messages_are_converted_too() {
    for (name, destination, word) in [("words_latin1", IN_LATIN1, "größe"), ("words_euc_jp", IN_EUC_JP, "注文")] {
        let mut pair = Pair::created_with(name, IN_UTF8, destination);
        pair.both(&format!(
            "CREATE TABLE \"{word}\" (id int CONSTRAINT \"{word}_key\" PRIMARY KEY, \"{word}\" text);
             CREATE TABLE \"{word}2\" (id int, \"{word}\" text); CREATE TABLE other (id int)"
        ));
        pair.source.batch_execute(&format!("INSERT INTO \"{word}\" VALUES (1, '{word}')")).unwrap();
        for workers in [2, 0] {
            let arguments = format!("parallel => {workers}, overwrite => true, verbose => true");
            let report =
                pair.pull(&format!("{arguments}, include => '{{\"{word}*\"}}', exclude => ARRAY['\"{word}2\"']"));
            assert_eq!(report.iter().map(|row| row.table.as_str()).collect::<Vec<_>>(), [word]);
            let told = format!("public.\"{word}\": 1 rows");
            assert!(pair.notices().iter().any(|notice| notice.starts_with(&told)), "{:?}", pair.notices());
        }
        let source = pair.dsn();
        let listed = format!(
            "SELECT string_agg(\"table\", ' ' ORDER BY \"table\" <> 'other', \"table\") FROM pgcopy.list('{source}')"
        );
        assert_eq!(text(&mut pair.destination, &listed), format!("other {word} {word}2"));
        let planned = format!("SELECT \"table\" FROM pgcopy.plan('{source}', include => '{{\"{word}\"}}')");
        assert_eq!(text(&mut pair.destination, &planned), word);
        pair.assert_nothing_left();
        let copied =
            "SELECT string_agg(DISTINCT task, '' ORDER BY task) FROM pgcopy.job_tasks WHERE task LIKE 'copying %'";
        assert_eq!(text(&mut pair.destination, copied), format!("copying public.\"{word}\""));
        // Errors of the plan, of the load, and of the server itself, from workers and from the session.
        let failure = pair.pull_error(&format!("include => '{{\"{word}3\"}}'"));
        assert!(failure.problems().contains(&format!("{word}3")), "{failure:?}");
        let failure = pair.pull_error("");
        assert!(failure.problems().starts_with(&format!("public.\"{word}\"")), "{failure:?}");
        pair.source
            .batch_execute(&format!(
                "ALTER TABLE \"{word}\" DROP CONSTRAINT \"{word}_key\"; INSERT INTO \"{word}\" VALUES (1, '')"
            ))
            .unwrap();
        for workers in [2, 0] {
            let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
            assert_eq!(failure.sqlstate, "23505", "{failure:?}");
            assert!(failure.message.contains(&format!("\"{word}_key\"")), "{failure:?}");
        }
        pair.destination
            .batch_execute(&format!(
                "CREATE FUNCTION check_it(int) RETURNS boolean LANGUAGE plpgsql AS $$BEGIN RAISE 'nicht % genug', '{word}' USING HINT = '{word}!'; END$$;
                 ALTER TABLE \"{word}\" ADD CHECK (check_it(id)) NOT VALID; DELETE FROM \"{word}\""
            ))
            .unwrap();
        pair.destination
            .batch_execute(&format!("ALTER TABLE \"{word}\" VALIDATE CONSTRAINT \"{word}_id_check\""))
            .unwrap();
        for workers in [2, 0] {
            let failure = pair.pull_error(&format!("overwrite => true, parallel => {workers}"));
            assert_eq!((failure.message, failure.hint), (format!("nicht {word} genug"), format!("{word}!")));
        }
        let unknown = pair.pull_error("include => '{€}'");
        assert_eq!(unknown.sqlstate, "22P05", "the server itself cannot take it: {unknown:?}");
        pair.assert_nothing_left();
    }
}

#[test]
fn names_in_files_are_converted_too() {
    for (name, destination, word) in [("files_latin1", IN_LATIN1, "größe"), ("files_euc_jp", IN_EUC_JP, "注文")] {
        let mut pair = Pair::created_with(name, IN_UTF8, destination);
        let directory = ScratchDirectory::create(name).unwrap();
        let path = directory.path().join("words.parquet").display().to_string();
        let server = &mut pair.destination;
        let copy = format!("COPY (SELECT 7 AS id, '{word}' AS \"{word}\") TO '{path}' (FORMAT parquet)");
        server.batch_execute(&copy).unwrap();
        let schema =
            format!("SELECT string_agg(\"column\", ' ' ORDER BY position) FROM pgcopy.parquet_schema('{path}')");
        assert_eq!(text(server, &schema), format!("id {word}"));
        let load = format!("SELECT target FROM pgcopy.load_parquet('{path}', target => '\"{word}\"')");
        assert_eq!(text(server, &load), format!("public.\"{word}\""));
        let load = format!("SELECT pgcopy.start_load_parquet('{path}', target => '\"{word}\"')::text");
        let job = text(server, &load);
        assert_eq!(text(server, &format!("SELECT pgcopy.wait({job})")), "completed");
        let loaded = format!("SELECT count(*) || ' ' || min(\"{word}\") || ' ' || max(id) FROM \"{word}\"");
        assert_eq!(text(server, &loaded), format!("2 {word} 7"));
        let skipped =
            format!("SELECT rows::text FROM pgcopy.load_parquet('{path}', '\"{word}\"', skip => '{{{word}}}')");
        assert_eq!(text(server, &skipped), "1");
        pair.assert_nothing_left();
    }
}

#[test]
fn what_cannot_be_converted_is_an_error_that_names_table_and_row() {
    for (name, source, destination, bad, sqlstate) in [
        ("bad_sql_ascii", IN_SQL_ASCII, IN_UTF8, "convert_from('\\xe9', 'SQL_ASCII')", "22021"),
        ("bad_utf8", IN_UTF8, IN_LATIN1, "'€'", "22P05"),
        ("bad_euc_jp", IN_UTF8, IN_EUC_JP, "'😀'", "22P05"),
    ] {
        let mut pair = pair_in(name, source, destination);
        fill(&mut pair, "word");
        for (table, row) in [("item", 302), ("as_text", 101), ("routed", 201)] {
            pair.pull("overwrite => true, include => '{item, as_text, routed}'");
            let before = pair.destination_state();
            pair.source.batch_execute(&format!("INSERT INTO {table} (id, body) VALUES (9999, {bad})")).unwrap();
            for workers in [2, 0] {
                let arguments =
                    format!("overwrite => true, parallel => {workers}, include => '{{item, as_text, routed}}'");
                let Err(error) = pair.try_pull(&arguments) else {
                    panic!("{name}: {table} arrived, {workers} workers")
                };
                let failure = Failure::of(&error);
                assert_eq!(failure.sqlstate, sqlstate, "{name} {failure:?}");
                let place = format!("Table public.{table}, row {row}");
                assert!(failure.detail.contains(&place), "{name}: {failure:?}");
                assert_eq!(pair.destination_state(), before);
            }
            pair.source.batch_execute(&format!("DELETE FROM {table} WHERE id = 9999")).unwrap();
        }
        pair.assert_nothing_left();
    }
}

#[test]
fn encodings_without_a_conversion_are_refused_before_anything_happens() {
    let mut pair = pair_in("no_conversion", IN_EUC_JP, IN_LATIN1);
    fill(&mut pair, "word");
    let failure = pair.pull_error("include => '{item}'");
    assert_eq!(failure.sqlstate, "0A000", "{failure:?}");
    assert!(failure.message.contains("EUC_JP") && failure.message.contains("LATIN1"), "{failure:?}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM pgcopy_internal.job"), "0");
}

#[test]
fn collations_may_differ() {
    let icu = "ENCODING 'UTF8' TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'de' LOCALE 'C.UTF-8'";
    let mut pair = Pair::created_with("collations", IN_UTF8, icu);
    pair.both(
        "CREATE TABLE item (id int PRIMARY KEY, name text UNIQUE, code text COLLATE \"C\", other varchar(20));
         CREATE INDEX ON item (other, code)",
    );
    pair.source
        .batch_execute(
            "INSERT INTO item SELECT i, chr(65 + i % 58) || 'ä' || i, chr(97 - i % 30), 'Ö' || i FROM generate_series(1, 5000) i",
        )
        .unwrap();
    pair.destination.batch_execute("CREATE EXTENSION amcheck").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
        text(
            &mut pair.destination,
            "SELECT count(bt_index_check(indexrelid, true)::text)::text FROM pg_index WHERE indrelid = 'item'::regclass",
        );
    }
}

/// Ways to write values that a session may prefer.
const PREFERENCES: [&str; 12] = [
    "datestyle = 'German, DMY'",
    "intervalstyle = 'sql_standard'",
    "timezone = 'Asia/Kathmandu'",
    "bytea_output = 'escape'",
    "extra_float_digits = -10",
    "standard_conforming_strings = off",
    "quote_all_identifiers = on",
    "array_nulls = off",
    "xmloption = 'document'",
    "xmlbinary = 'hex'",
    "search_path = 'elsewhere'",
    "client_encoding = 'LATIN1'",
];

#[test]
fn how_a_side_writes_values_does_not_matter() {
    // By both wire formats, and in place.
    let columns = "at timestamptz, day date, took interval, raw bytea, f float8, list text[], document xml, x money";
    let schema = format!(
        "CREATE TYPE mood AS ENUM ('ok', 'it''s \\ odd');
         CREATE TABLE item (id int PRIMARY KEY, name text DEFAULT 'x\\y' CHECK (name <> '\\\\'), felt mood, {columns});
         CREATE TABLE as_text (kind regtype, {columns});
         CREATE TABLE pgx (id int); CREATE SCHEMA pgx; CREATE TABLE pgx.\"back\\slash\" (\"a\\b\" int)"
    );
    let values = "'2024-03-02 01:02:03.004+05', '1999-12-31 BC', '-1 year 2 days -3:04:05', '\\x00ff41', pi(),
                  ARRAY['NULL', NULL, 'ä'], '<a/>text<b/>', 1234.56";
    for (name, there, here) in
        [("preferences_there", true, false), ("preferences_here", false, true), ("preferences", true, true)]
    {
        let mut pair = Pair::with(
            name,
            &schema,
            &format!(
                "INSERT INTO item SELECT i, 'n\\' || i, 'it''s \\ odd', {values} FROM generate_series(1, 500) i;
                 INSERT INTO as_text SELECT 'mood', {values} FROM generate_series(1, 500) i;
                 INSERT INTO pgx VALUES (1); INSERT INTO pgx.\"back\\slash\" VALUES (2)"
            ),
        );
        for preference in PREFERENCES {
            let sql = format!("ALTER DATABASE {name} SET {preference}");
            if there {
                pair.source.batch_execute(&sql).unwrap();
            }
            if here {
                pair.destination.batch_execute(&sql).unwrap();
            }
        }
        let mut caller = pair.another_destination_session();
        for workers in [2, 0] {
            let sql = pair.pull_sql(&format!("overwrite => true, parallel => {workers}"));
            caller.batch_execute(&sql.replace("SELECT * FROM pgcopy", "SELECT FROM pgcopy")).unwrap();
            pair.assert_same_content();
        }
        let kept = text(&mut caller, "SELECT current_setting('datestyle') || current_setting('array_nulls')");
        assert_eq!(kept, if here { "German, DMYoff" } else { "ISO, MDYon" });
        pair.assert_nothing_left();
    }
}

#[test]
fn a_role_whose_sessions_are_cut_short() {
    let mut pair = Pair::with(
        "short_lived",
        "CREATE TABLE item (id int PRIMARY KEY, body text); GRANT ALL ON SCHEMA public TO PUBLIC",
        "INSERT INTO item SELECT i, repeat(md5(i::text), 20) FROM generate_series(1, 30000) i;
         GRANT SELECT ON item TO PUBLIC;
         DO $$ BEGIN CREATE ROLE hasty LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
         ALTER ROLE hasty SET default_transaction_read_only = on;
         ALTER ROLE hasty SET statement_timeout = 5;
         ALTER ROLE hasty SET lock_timeout = 5;
         ALTER ROLE hasty SET idle_in_transaction_session_timeout = 300;
         ALTER ROLE hasty SET idle_session_timeout = 300;
         ALTER ROLE hasty SET default_transaction_isolation = 'serializable';
         ALTER ROLE hasty SET default_transaction_deferrable = on",
    );
    if text(&mut pair.source, "SHOW server_version_num").as_str() >= "170000" {
        pair.source.batch_execute("ALTER ROLE hasty SET transaction_timeout = 300").unwrap();
    }
    // Here everything takes its time.
    pair.destination
        .batch_execute(
            "CREATE FUNCTION slowly() RETURNS boolean LANGUAGE plpgsql AS
                 'BEGIN PERFORM pg_sleep(0.001); RETURN true; END';
             ALTER TABLE item ADD CHECK (id % 30 > 0 OR slowly())",
        )
        .unwrap();
    let dsn = pair.dsn().replace("user=postgres", "user=hasty");
    for workers in [2, 0] {
        let sql = format!("SELECT * FROM pgcopy.pull('{dsn}', overwrite => true, parallel => {workers})");
        pair.destination.batch_execute(&sql).unwrap();
        pair.assert_same_content();
    }
    pair.assert_nothing_left();
}

#[test]
fn a_hot_standby_is_a_source() {
    let servers = OwnServers::start("standby-source", Options::named("standby-source-destination"));
    let mut pair = servers.pair("from_standby");
    pair.both(
        "CREATE TABLE item (id serial PRIMARY KEY, body text); CREATE TABLE part (item int REFERENCES item, n numeric)",
    );
    pair.source
        .batch_execute(
            "INSERT INTO item (body) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i;
             INSERT INTO part SELECT i % 20000 + 1, i / 3.0 FROM generate_series(1, 30000) i",
        )
        .unwrap();
    let standby = servers.source.start_standby(Options::named("standby-of-source")).unwrap();
    let mut there = standby.connect("from_standby");
    eventually("the standby has the rows", || text(&mut there, "SELECT count(*)::text FROM part") == "30000");
    assert_eq!(text(&mut there, "SELECT pg_is_in_recovery()::text"), "true");
    for arguments in ["parallel => 2", "parallel => 0", "parallel => 2, validate => false"] {
        let sql = format!(
            "SELECT * FROM pgcopy.pull('{} target_session_attrs=standby', overwrite => true, {arguments})",
            standby.dsn("from_standby")
        );
        pair.destination.batch_execute(&sql).unwrap();
        pair.assert_same_content();
    }
    let next = "INSERT INTO item (body) VALUES ('next') RETURNING (id > 20000)::text";
    assert_eq!(text(&mut pair.destination, next), "true");
    pair.assert_nothing_left();
}

#[test]
fn a_source_behind_a_pooler() {
    let mut pair = Pair::with(
        "pooled",
        "CREATE TABLE item (id serial PRIMARY KEY, body text); CREATE TABLE small (id int)",
        "INSERT INTO item (body) SELECT repeat(md5(i::text), 30) FROM generate_series(1, 20000) i;
         INSERT INTO small SELECT generate_series(1, 10)",
    );
    let pooler = Pooler::start(pair.source_port).unwrap();
    let pooled = dsn(pooler.port(), "pooled");
    for arguments in ["parallel => 3", "parallel => 0"] {
        let sql = format!("SELECT * FROM pgcopy.pull('{pooled}', overwrite => true, {arguments})");
        pair.destination.batch_execute(&sql).unwrap();
        pair.assert_same_content();
    }
    // Whoever gets the session next finds it as new.
    let mut next = crate::harness::connect(pooler.port(), "pooled");
    let state = "SELECT concat_ws(' ', current_setting('row_security'), current_setting('extra_float_digits'),
                                  current_setting('transaction_isolation'))";
    assert_eq!(text(&mut next, state), "on 1 read committed");
    let refused = pair
        .destination
        .query(&format!("SELECT * FROM pgcopy.pull('{pooled} options=''-c work_mem=1MB''', overwrite => true)"), &[])
        .unwrap_err();
    assert_eq!(Failure::of(&refused).sqlstate.get(..2), Some("08"), "{refused:?}");
    pair.assert_nothing_left();
}
