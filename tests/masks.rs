//! Masks: values that the source replaces before they travel.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, OwnServers, Pair, shared_ports, text, texts};
use xtask::server::{Installation, Options, Server, Version};

const KEY: &str = "correct horse battery";

fn pull_through(pair: &mut Pair, dsn: &str, tables: &str, key: &str, arguments: &str) -> Result<u64, Failure> {
    let sql =
        format!("SELECT pgcopy.pull($1, tables => $2::text::jsonb, mask_key => $3, overwrite => true{arguments})");
    pair.destination.execute(&sql, &[&dsn, &tables, &key]).map_err(|error| Failure::of(&error))
}

fn pulled(pair: &mut Pair, tables: &str, key: &str) {
    let dsn = pair.dsn();
    pull_through(pair, &dsn, tables, key, "").unwrap_or_else(|failure| panic!("{tables}: {failure:?}"));
}

const WITH_KEY: &str = ", mask_key => 'correct horse battery', overwrite => true";

fn problems(pair: &mut Pair, tables: &str) -> Vec<String> {
    pair.planned_problems(tables, WITH_KEY)
}

fn warnings(pair: &mut Pair, tables: &str) -> Vec<String> {
    pair.planned(tables, WITH_KEY, "array_to_string(warnings, '; ')")
}

const PEOPLE: &str = "CREATE TABLE person (id int PRIMARY KEY, email varchar(60) UNIQUE, name text, first text, phone text, home text,
        notes text, age int, salary numeric(10,2), score float4, born date, seen timestamptz, token uuid UNIQUE, host inet,
        document jsonb, digest text, raw bytea, card text, gone text, m text, u int, h int)";

const ROWS: &str = "INSERT INTO person SELECT i, 'secret' || i || '@Shop.com', 'Secretname ' || i, 'Secretname', '+49 (30) 98' || 7650000 + i,
        'Secretstreet ' || i, 'Secretword: ' || i || ', caf\u{e9}', 20 + i % 60, 1000 + i * 1.5, i * 0.5, '1950-01-01'::date + i,
        '2020-01-01 12:00:00+00'::timestamptz + i * interval '1 minute',
        ('feedface-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, ('203.0.' || i % 250 || '.7')::inet,
        jsonb_build_object('kept', i, 'person', jsonb_build_object('email', 'secret' || i || '@Shop.com', 'list', 'Secretlist', 'age', 40),
                           'tags', jsonb_build_array(jsonb_build_object('email', 'secret@Shop.com', 'kept', 1), 'Secrettag', NULL),
                           'words', jsonb_build_array('Secretword', jsonb_build_array('Secretword')), 'odd', 'Secretodd'),
        'secretdigest' || i, ('\\xfeedface' || lpad(to_hex(i), 8, '0'))::bytea, '4929' || 100000000000 + i, 'secretgone', 'm', i, i
        FROM generate_series(1, 2000) i;
    INSERT INTO person (id) VALUES (0); INSERT INTO person (id, notes, document) VALUES (-1, '', '[{\"person\": {\"email\": null}}, 1]')";

const MASKS: &str = r#"{"person": {"columns": {
    "email": {"mask": "email"}, "name": {"mask": "name"}, "first": {"mask": {"name": {"part": "first"}}}, "phone": {"mask": "phone"},
    "home": {"mask": "address"}, "notes": {"mask": "text"}, "age": {"mask": {"number": {"min": 18, "max": 99}}},
    "salary": {"mask": {"number": {"jitter": 0.2}}}, "score": {"mask": "number"}, "born": {"mask": {"date": {"jitter": 20}}},
    "seen": {"mask": {"date": {"min": "2010-01-01", "max": "2010-12-31"}}}, "token": {"mask": "uuid"}, "host": {"mask": "ip"},
    "document": {"mask": {"json": {"person.email": "email", "person.list": "hash", "person.age": {"number": {"min": 0, "max": 9}},
                                   "tags.email": "email", "words": "text", "odd.path": "null", "none": "hash"}}},
    "digest": {"mask": "hash"}, "raw": {"mask": "hash"}, "card": {"mask": {"constant": "4111'\\; --"}}, "gone": {"mask": "null"}}}}"#;

#[test]
fn what_masks_keep() {
    let mut pair = Pair::with("mask_kinds", PEOPLE, ROWS);
    assert_eq!(problems(&mut pair, MASKS), [] as [&str; 0]);
    pulled(&mut pair, MASKS, KEY);
    for condition in [
        "email ~ '^u[0-9a-f]{32}@example[.]com$'",
        "name ~ '^[A-Z][a-z]+ [A-Z][a-z]+$'",
        "first ~ '^[A-Z][a-z]+$'",
        "phone ~ '^[+][0-9]{2} [(][0-9]{2}[)] [0-9]{9}$'",
        "home ~ '^[0-9]+ [A-Z][a-z]+ Street$'",
        "notes ~ '^[A-Z][a-z]{9}: [0-9]+, [a-z]{4}$'",
        "age BETWEEN 18 AND 99",
        "salary BETWEEN (1000 + id * 1.5) * 0.79 AND (1000 + id * 1.5) * 1.21",
        "score BETWEEN id * 0.449 AND id * 0.551",
        "born <> '1950-01-01'::date + id AND abs(born - ('1950-01-01'::date + id)) <= 20",
        "seen >= '2010-01-01' AND seen < '2011-01-01'",
        "token::text ~ '^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-8[0-9a-f]{3}-[0-9a-f]{12}$'",
        "host << '10.0.0.0/8'",
        "document - '{person,tags,words,odd}'::text[] = jsonb_build_object('kept', id)",
        "document #>> '{person,email}' = email AND (document #>> '{person,age}')::int BETWEEN 0 AND 9",
        "document #>> '{tags,0,email}' ~ '@example.com$' AND document #> '{tags,0,kept}' = '1'",
        "document #> '{tags,1}' = 'null' AND document #> '{tags,2}' = 'null' AND jsonb_array_length(document -> 'tags') = 3",
        "document #>> '{words,0}' ~ '^[A-Z][a-z]{9}$' AND document #>> '{words,1}' !~ 'ecretword'",
        "document -> 'odd' = 'null'",
        "digest ~ '^[0-9a-f]{32}$'",
        "length(raw) = 16",
        "card = E'4111\\'\\\\; --' AND gone IS NULL",
        "m = 'm' AND u = id AND h = id",
    ] {
        let sql = format!("SELECT count(*)::text FROM person WHERE id > 0 AND NOT coalesce({condition}, false)");
        assert_eq!(text(&mut pair.destination, &sql), "0", "{condition}");
    }
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT concat_ws(' ', count(DISTINCT email), count(DISTINCT token), count(DISTINCT digest), count(DISTINCT name) > 500, count(DISTINCT age) > 30) FROM person"
        ),
        "2000 2000 2000 t t"
    );
    let empty = "SELECT concat_ws('|', email, name, notes, age, born, document) FROM person WHERE id = 0";
    assert_eq!(text(&mut pair.destination, empty), "", "NULL stays NULL");
    let odd = "SELECT concat('<', notes, '> ', document) FROM person WHERE id = -1";
    assert_eq!(text(&mut pair.destination, odd), "<> [{\"person\": {\"email\": null}}, null]");
    // The same with the same key, in each way that rows take, and something else with another.
    let masked = "SELECT md5(string_agg(p::text, ',' ORDER BY id)) FROM person p";
    let first = text(&mut pair.destination, masked);
    let dsn = pair.dsn();
    for arguments in [", parallel => 0", ", method => 'in place'", ", parallel => 3"] {
        pull_through(&mut pair, &dsn, MASKS, KEY, arguments).unwrap();
        assert_eq!(text(&mut pair.destination, masked), first, "{arguments}");
    }
    let emails = "SELECT string_agg(email, ',') FROM (SELECT email FROM person ORDER BY id LIMIT 5) e";
    let before = text(&mut pair.destination, emails);
    pulled(&mut pair, MASKS, "another correct horse");
    assert_ne!(text(&mut pair.destination, emails), before);
    pair.assert_nothing_left();
}

#[test]
fn types_that_are_masked() {
    let mut pair = Pair::with(
        "mask_types",
        "CREATE EXTENSION citext; CREATE SCHEMA app; CREATE DOMAIN app.address AS varchar(40) CHECK (VALUE LIKE '%@%');
         CREATE DOMAIN app.own AS app.address; CREATE TYPE app.mood AS ENUM ('sad', 'glad');
         CREATE TABLE item (id int PRIMARY KEY, any_case citext, again text, padded char(36), short varchar(12), own app.own,
             own_amount numeric(6,2), emails text[], days date[], mood app.mood, flag boolean, doc json, big bigint UNIQUE,
             v6 inet, small smallint, plain numeric, words tsvector, lower text GENERATED ALWAYS AS (lower(again)) STORED)",
        "INSERT INTO item SELECT i, 'Ab' || i, 'aB' || i, 'x' || i, 'short ' || i, 'a@b' || i, i, ARRAY['a' || i, NULL, 'b'],
             ARRAY['2020-01-01'::date], 'sad', true, '{\"b\": 1, \"a\": [\"x\"]}', i, '2001:db8::1/64', i % 3, (1 || repeat('.00', i % 2))::numeric,
             'x'::tsvector FROM generate_series(1, 50) i;
         INSERT INTO item (id, emails) VALUES (0, '{}'), (-1, NULL)",
    );
    let tables = r#"{"item": {"columns": {"any_case": {"mask": "hash"}, "again": {"mask": "hash"}, "padded": {"mask": "uuid"},
        "short": {"mask": "name"}, "own": {"mask": "email"}, "own_amount": {"mask": {"number": {"min": 0, "max": 9999.99}}},
        "emails": {"mask": "email"}, "days": {"mask": "date"}, "mood": {"mask": {"constant": "glad"}}, "flag": {"mask": "null"},
        "doc": {"mask": {"json": {"a": "hash"}}}, "big": {"mask": "hash"}, "v6": {"mask": "ip"},
        "small": {"mask": {"number": {"min": -32768, "max": 32767}}}, "plain": {"mask": {"number": {"min": 0, "max": 1000000}}},
        "words": {"mask": "null"}}}}"#;
    pulled(&mut pair, tables, KEY);
    for condition in [
        "any_case ~ '^[0-9a-f]{32}$' AND any_case <> again",
        "padded::uuid IS NOT NULL",
        "short ~ '^[A-Z][a-z]+ [A-Z ]?[a-z]*$'",
        "own ~ '^u[0-9a-f]{27}@example.com$'",
        "own_amount BETWEEN 0 AND 9999.99",
        "emails[1] ~ '@example.com' AND emails[2] IS NULL AND emails[1] <> emails[3] AND cardinality(emails) = 3",
        "abs(days[1] - '2020-01-01') BETWEEN 1 AND 30",
        "mood = 'glad' AND flag IS NULL AND words IS NULL",
        "doc::jsonb ->> 'b' = '1' AND doc::jsonb #>> '{a,0}' ~ '^[0-9a-f]{32}$'",
        "big > 1000 AND v6 << 'fd00::/16' AND masklen(v6) = 64",
        "lower = lower(again)",
    ] {
        let sql = format!("SELECT count(*)::text FROM item WHERE id > 0 AND NOT coalesce({condition}, false)");
        assert_eq!(text(&mut pair.destination, &sql), "0", "{condition}");
    }
    let distinct = "SELECT concat_ws(' ', count(DISTINCT any_case), count(DISTINCT big), count(DISTINCT small), count(DISTINCT plain)) FROM item";
    assert_eq!(text(&mut pair.destination, distinct), "50 50 3 1", "equal values have equal masks");
    let empty = "SELECT string_agg(coalesce(emails::text, 'NULL'), ' ' ORDER BY id) FROM item WHERE id <= 0";
    assert_eq!(text(&mut pair.destination, empty), "NULL {}");
    // Texts of any case are one citext.
    pair.source.batch_execute("UPDATE item SET any_case = upper(any_case)").unwrap();
    let before = text(&mut pair.destination, "SELECT string_agg(any_case, ',' ORDER BY id) FROM item");
    pulled(&mut pair, tables, KEY);
    assert_eq!(text(&mut pair.destination, "SELECT string_agg(any_case, ',' ORDER BY id) FROM item"), before);
    pair.assert_nothing_left();
}

#[test]
fn neither_values_nor_the_key_can_be_read_from_the_wire_or_the_logs() {
    let loud = |name: &str| {
        Options::named(name)
            .setting("log_statement = 'all'")
            .setting("log_min_duration_statement = 0")
            .setting("log_parameter_max_length = -1")
            .setting("log_connections = on")
            .setting("session_preload_libraries = 'auto_explain'")
            .setting("auto_explain.log_min_duration = 0")
            .setting("auto_explain.log_verbose = on")
    };
    let servers = OwnServers::start_with(loud("mask-source"), loud("mask-destination"));
    let mut pair = servers.pair("mask_wire");
    pair.both(PEOPLE);
    pair.source.batch_execute(ROWS).unwrap();
    let offset = servers.source.log_text().len();
    let proxy = Proxy::start(pair.source_port);
    proxy.record();
    let through = proxy.dsn(&pair.database);
    pair.destination.batch_execute("LOAD 'pgcopy'").unwrap();
    pull_through(&mut pair, &through, MASKS, KEY, "").unwrap();
    // In a constant, too, where the statement fails, and in the background.
    let arguments = format!(
        "'{through}', tables => '{{\"person\": {{\"columns\": {{\"email\": {{\"mask\": \"email\"}}, \"id\": {{\"mask\": \"number\"}}}}}}}}', mask_key => '{KEY}'"
    );
    let failing = format!("SELECT pgcopy.pull({arguments})");
    let failure = Failure::of(&pair.destination.batch_execute(&failing).unwrap_err());
    assert!(failure.hint.contains("tables => …, mask_key => …, overwrite => true"), "{failure:?}");
    assert!(!format!("{failure:?}").contains(KEY));
    let started = format!(
        "SELECT pgcopy.wait(pgcopy.start_pull('{through}', tables => '{}', mask_key => '{KEY}', overwrite => true))",
        MASKS.replace('\'', "''")
    );
    pair.destination.batch_execute(&started).unwrap();
    // And where functions of the source's pgcopy get the key.
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    pull_through(&mut pair, &through, MASKS, KEY, "").unwrap();
    pull_through(&mut pair, &through, MASKS, KEY, ", compress => 'none'").unwrap();
    let wire = proxy.recorded();
    let in_wire = |needle: &[u8]| wire.windows(needle.len()).any(|part| part.eq_ignore_ascii_case(needle));
    assert!(in_wire(b"@example.com"), "the capture has the rows");
    for secret in [
        "@shop.com",
        "secretname",
        "secretstreet",
        "secretword",
        "secretlist",
        "secrettag",
        "secretodd",
        "secretdigest",
        "secretgone",
        "(30) 98765",
        "feedface",
        KEY,
    ] {
        assert!(!in_wire(secret.as_bytes()), "{secret}");
    }
    // A uuid, and an address of the family, with its bits and bytes before it.
    for secret in [&[0xfe_u8, 0xed, 0xfa, 0xce][..], &[2, 32, 0, 4, 203, 0]] {
        assert!(!in_wire(secret), "{secret:?}");
    }
    let jobs = text(&mut pair.destination, "SELECT string_agg(j::text, '') FROM pgcopy_internal.job j");
    assert!(jobs.contains("email") && !jobs.contains(KEY), "{jobs}");
    let here = servers.destination.log_text();
    assert!(here.contains("pgcopy.wait") || here.contains("removed"), "the destination's log has statements");
    assert!(!here.contains(KEY), "the destination's log has the key");
    let there = servers.source.log_text()[offset..].to_owned();
    assert!(
        there.contains("pgcopy_mask.key") && there.contains("Query Text") && there.contains("pgcopy.mask_text("),
        "the source's log has the query and its plan"
    );
    // The hash that the source gets in the key's place.
    let hash = text(&mut pair.source, &format!("SELECT encode(sha256('pgcopy mask key:{KEY}'), 'hex')"));
    assert!(in_wire(hash.as_bytes()), "the session begins with it");
    assert!(!there.contains(&hash) && !there.contains(KEY), "the source's log has the key");
    for secret in ["secretname", "@Shop.com", "secretdigest"] {
        assert!(!here.contains(secret) && !there.contains(secret), "{secret} is in a log");
    }
}

#[test]
fn a_session_without_the_key_is_refused() {
    let mut pair = Pair::with("mask_options", "CREATE TABLE item (t text)", "INSERT INTO item VALUES ('secret')");
    let tables = r#"{"item": {"columns": {"t": {"mask": "text"}}}}"#;
    let dsn = format!("{} options='-c pgcopy_mask.key=0'", pair.dsn());
    let failure = pull_through(&mut pair, &dsn, tables, KEY, "").unwrap_err();
    assert_eq!(failure.message, "the source's session has not got the key of masks");
    assert!(failure.hint.contains("Connect to the server itself"), "{failure:?}");
    // Options that cannot be understood do not make the source repeat the key.
    let dsn = format!("{} options='-c'", pair.dsn());
    let failure = format!("{:?}", pull_through(&mut pair, &dsn, tables, KEY, "").unwrap_err());
    assert!(!failure.contains("pgcopy_mask.key"), "{failure}");
    // Those that are go on to hold.
    let dsn = format!("{} options='-c work_mem=5MB'", pair.dsn());
    pull_through(&mut pair, &dsn, tables, KEY, "").unwrap();
    assert_ne!(text(&mut pair.destination, "SELECT t FROM item"), "secret");
}

#[test]
fn foreign_keys_are_masked_like_the_keys_that_they_refer_to() {
    let mut pair = Pair::with(
        "mask_keys",
        "CREATE TABLE account (email varchar(80) PRIMARY KEY, parent varchar(80) REFERENCES account, number bigint UNIQUE);
         CREATE TABLE login (id int PRIMARY KEY, who varchar(30) REFERENCES account (email), account bigint REFERENCES account (number));
         CREATE TABLE visit (id int, email varchar(80), day date, FOREIGN KEY (email) REFERENCES account) PARTITION BY RANGE (day);
         CREATE TABLE visit_1 PARTITION OF visit FOR VALUES FROM ('2020-01-01') TO ('2021-01-01');
         CREATE TABLE deep (email varchar(80) PRIMARY KEY REFERENCES account);
         CREATE TABLE deeper (email varchar(80) REFERENCES deep);
         CREATE TABLE place (region int, code text, PRIMARY KEY (region, code)) PARTITION BY LIST (region);
         CREATE TABLE place_1 PARTITION OF place FOR VALUES IN (1); CREATE TABLE place_2 PARTITION OF place FOR VALUES IN (2);
         CREATE TABLE stay (id int, region int, place text, FOREIGN KEY (region, place) REFERENCES place) PARTITION BY HASH (id);
         CREATE TABLE stay_1 PARTITION OF stay FOR VALUES WITH (MODULUS 2, REMAINDER 0);
         CREATE TABLE stay_2 PARTITION OF stay FOR VALUES WITH (MODULUS 2, REMAINDER 1)",
        "INSERT INTO account SELECT 'a' || i || '@shop.com', 'a' || i / 2 + 1 || '@shop.com', i FROM generate_series(1, 100) i;
         INSERT INTO login SELECT i, 'a' || i || '@shop.com', i FROM generate_series(1, 100) i;
         INSERT INTO visit SELECT i, 'a' || i || '@shop.com', '2020-02-02' FROM generate_series(1, 100) i;
         INSERT INTO deep SELECT email FROM account; INSERT INTO deeper SELECT email FROM deep;
         INSERT INTO place SELECT 1 + i % 2, 'p' || i FROM generate_series(1, 50) i;
         INSERT INTO stay SELECT i, 1 + i % 2, 'p' || i FROM generate_series(1, 50) i; INSERT INTO stay (id) VALUES (0)",
    );
    let tables = r#"{"account": {"columns": {"email": {"mask": "email"}, "number": {"mask": "hash"}}},
                     "place": {"columns": {"code": {"mask": "hash"}}}}"#;
    let followed = warnings(&mut pair, tables);
    for line in ["masked on the source: who by email, account by hash", "masked on the source: place by hash"] {
        assert!(followed.iter().any(|warnings| warnings.contains(line)), "{followed:?}");
    }
    for arguments in [", validate => true", ", validate => false", ", parallel => 0"] {
        let dsn = pair.dsn();
        pull_through(&mut pair, &dsn, tables, KEY, arguments).unwrap_or_else(|failure| panic!("{failure:?}"));
        let joined = "SELECT concat_ws(' ', count(*), count(a.parent), count(DISTINCT a.number), min(a.number) > 1000, max(length(a.email)))
                      FROM account a JOIN login l ON l.who = a.email AND l.account = a.number JOIN visit v ON v.email = a.email
                      JOIN deeper d ON d.email = a.email JOIN account p ON p.email = a.parent WHERE a.email LIKE '%@example.com'";
        assert_eq!(text(&mut pair.destination, joined), "100 100 100 t 30", "{arguments}");
        let stays = "SELECT concat_ws(' ', count(*), min(length(s.place))) FROM stay s JOIN place p ON p.region = s.region AND p.code = s.place";
        assert_eq!(text(&mut pair.destination, stays), "50 32", "{arguments}");
    }
    for (tables, problem) in [
        (
            r#"{"account": {"columns": {"email": {"mask": "email"}}}, "login": {"columns": {"who": {"mask": "hash"}}}}"#,
            "login: column who must be masked like public.account.email: a foreign key ties the two",
        ),
        (
            r#"{"deeper": {"columns": {"email": {"mask": "email"}}}}"#,
            "deeper: column email is masked, but refers to public.deep.email, which is not: mask that one, and this one follows",
        ),
        (
            r#"{"place_1": {"columns": {"code": {"mask": "hash"}}}, "place_2": {"columns": {"code": {"mask": "text"}}}}"#,
            "place_2: column code must be masked like public.place_1.code: a foreign key ties the two",
        ),
    ] {
        assert_eq!(problems(&mut pair, tables), [problem]);
    }
    // What refers to nothing any more need not be masked.
    for unmasked in [r#"{"skip": true}"#, r#"{"mask": "null"}"#] {
        let tables = format!(
            r#"{{"account": {{"columns": {{"email": {{"mask": "email"}}}}}}, "login": {{"columns": {{"who": {unmasked}}}}}}}"#
        );
        pulled(&mut pair, &tables, KEY);
        assert_eq!(text(&mut pair.destination, "SELECT count(who)::text FROM login"), "0");
    }
    pair.assert_nothing_left();
}

#[test]
fn masks_that_do_not_fit_are_found_before_anything_is_touched() {
    let mut pair = Pair::with(
        "mask_problems",
        "CREATE TABLE item (id int PRIMARY KEY, short varchar(20), amount numeric(4,2), day date, doc jsonb, blob bytea, phone text UNIQUE,
             list int[], stored text)",
        "INSERT INTO item VALUES (1, 'secret', 1, '2020-01-01', '{}', '')",
    );
    pair.source
        .batch_execute(
            "ALTER TABLE item DROP COLUMN stored; ALTER TABLE item ADD stored text GENERATED ALWAYS AS (lower(short)) STORED",
        )
        .unwrap();
    let of = |column: &str, mask: &str| format!(r#"{{"item": {{"columns": {{"{column}": {{"mask": {mask}}}}}}}}}"#);
    for (column, mask, problem) in [
        ("id", "\"email\"", "column id, mask: mask email is for columns of type text, not integer"),
        ("list", "\"email\"", "column list, mask: mask email is for columns of type text, not integer[]"),
        ("short", "\"email\"", "column short, mask: mask email needs room for 29 characters at least"),
        ("id", "\"hash\"", "column id, mask: mask hash is for columns of type text, bytea or bigint, not integer"),
        ("day", "\"number\"", "column day, mask: mask number is for columns of type number, not date"),
        ("amount", r#"{"constant": "much"}"#, "column amount, mask: invalid input syntax for type numeric: \"much\""),
        ("amount", r#"{"number": {"min": 0, "max": 1000}}"#, "column amount, mask: numeric field overflow"),
        ("id", r#"{"number": {"min": 0, "max": 3000000000}}"#, "column id, mask: integer out of range"),
        (
            "day",
            r#"{"date": {"min": "2000-01-01", "max": "2000-02-31"}}"#,
            "column day, mask: date/time field value out of range: \"2000-02-31\"",
        ),
        ("blob", "\"text\"", "column blob, mask: mask text is for columns of type text, not bytea"),
        ("shrot", "\"text\"", "tables names column shrot, which the source's table does not have"),
    ] {
        assert_eq!(problems(&mut pair, &of(column, mask)), [format!("item: {problem}")]);
    }
    // What is found only when the values are there is told beforehand.
    for (column, mask, warning) in [
        ("phone", "\"phone\"", "phone is unique, and mask phone may give different values the same"),
        ("short", "\"text\"", "computed on the source from values without masks: stored"),
    ] {
        let warnings = warnings(&mut pair, &of(column, mask)).join("; ");
        assert!(warnings.contains(warning), "{warnings}");
    }
    let dsn = pair.dsn();
    let mut refused = |tables: &str, key: Option<&str>| {
        let sql = "SELECT pgcopy.pull($1, tables => $2::text::jsonb, mask_key => $3)";
        let failure = Failure::of(&pair.destination.execute(sql, &[&dsn, &tables, &key]).unwrap_err());
        assert_eq!(failure.sqlstate, "22023");
        format!("{} ({})", failure.message, failure.hint)
    };
    let masked = of("short", "\"text\"");
    assert!(refused(&masked, None).starts_with("masks need mask_key (Give mask_key => '…'"));
    assert!(refused(&masked, Some("short")).starts_with("mask_key must have from 16 to 1024 bytes"));
    assert_eq!(
        refused(&of("short", "\"txet\""), Some(KEY)),
        "tables entry \"item\", columns, \"short\", mask: mask \"txet\" is not known (Perhaps you meant \"text\".)"
    );
    // The key is not for expressions.
    assert_eq!(
        problems(&mut pair, r#"{"item": {"columns": {"short": {"value": "current_setting('pgcopy_mask.key')"}}}}"#),
        [
            "item: column short, value: current_setting reads settings at character 1: current_setting('pgcopy_mask.key')"
        ]
    );
    assert_eq!(texts(&mut pair.destination, "SELECT id::text FROM item"), [] as [&str; 0]);
}

#[test]
fn an_error_of_a_masked_value_does_not_tell_the_value() {
    let mut pair = Pair::with(
        "mask_errors",
        "CREATE TABLE item (id int PRIMARY KEY, amount numeric(4,2), doc json)",
        "INSERT INTO item VALUES (1, 99.87, '{}')",
    );
    let mut failure = |tables: &str| {
        let dsn = pair.dsn();
        pull_through(&mut pair, &dsn, tables, KEY, "").unwrap_err()
    };
    let found = failure(
        r#"{"item": {"where": "id >= 0", "columns": {"amount": {"value": "amount * 1000"}, "doc": {"mask": {"json": {"a": "hash"}}}}}}"#,
    );
    assert_eq!(found.message, "an expression of tables fails for a value of the source");
    assert!(!format!("{found:?}").contains("99"), "{found:?}");
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "0");
}

/// Casts and functions tell what they were given in errors of many classes.
#[test]
fn no_error_of_an_expression_tells_the_value() {
    let mut pair = Pair::with(
        "mask_told_values",
        "CREATE TABLE item (id int PRIMARY KEY, name text)",
        "INSERT INTO item SELECT i, 'secretvalue ' || i FROM generate_series(1, 20) i;
         CREATE FUNCTION refused(text) RETURNS text STABLE LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''no: %'', $1 USING DETAIL = $1, HINT = $1; END';
         CREATE FUNCTION refused(text, text) RETURNS text STABLE LANGUAGE plpgsql
             AS 'BEGIN RAISE EXCEPTION ''no: %'', $1 USING DETAIL = $1, HINT = $1, ERRCODE = $2; END'",
    );
    let expressions = [
        ("name::int", "22P02"),
        ("public.refused(name)", "P0001"),
        ("name::regclass", "42602"),
        ("quote_ident(name)::regclass", "42P01"),
        ("quote_ident(name)::regtype", "42704"),
        ("quote_ident(name)::regnamespace", "3F000"),
        ("to_tsquery(name)", "42601"),
        ("name::jsonpath", "42601"),
        ("has_table_privilege(quote_ident(name), 'SELECT')", "42P01"),
        // Of classes that the server itself has for what happens to it.
        ("repeat(replace(name, ' ', ''), 300)::tsquery", "54000"),
        ("public.refused(name, '22012')", "22012"),
        ("public.refused(name, '25000')", "25000"),
        ("public.refused(name, '53100')", "53100"),
        ("public.refused(name, '55000')", "55000"),
        ("public.refused(name, '57014')", "57014"),
        ("public.refused(name, '58030')", "58030"),
        ("public.refused(name, 'XX000')", "XX000"),
    ];
    for (expression, code) in expressions {
        let of_column = format!(r#"{{"item": {{"columns": {{"name": {{"value": "({expression})::text"}}}}}}}}"#);
        let of_rows = format!(r#"{{"item": {{"where": "({expression}) IS NOT NULL"}}}}"#);
        let dsn = pair.dsn();
        let plan = format!(
            "SELECT * FROM pgcopy.plan('{dsn}', follow_keys => true, overwrite => true, tables => $1::text::jsonb)"
        );
        let verify = format!("SELECT * FROM pgcopy.verify('{dsn}', tables => $1::text::jsonb)");
        let mut failures = Vec::new();
        for (tables, arguments) in
            [(&of_column, ""), (&of_rows, ""), (&of_rows, ", follow_keys => true"), (&of_rows, ", parallel => 0")]
        {
            failures.push(pull_through(&mut pair, &dsn, tables, KEY, arguments).unwrap_err());
        }
        for (sql, tables) in [(&plan, &of_rows), (&verify, &of_rows), (&verify, &of_column)] {
            failures.push(Failure::of(&pair.destination.query(sql, &[tables]).unwrap_err()));
        }
        for failure in failures {
            let message = match &code[..2] {
                "25" | "53" | "54" | "55" | "57" | "58" | "XX" => {
                    "the source fails while it computes an expression of tables"
                }
                _ if code == "22012" => "an expression of tables divides by zero for a value of the source",
                _ => "an expression of tables fails for a value of the source",
            };
            assert_eq!(failure.message, message, "{expression}: {failure:?}");
            assert_eq!(failure.sqlstate, code, "{expression}: {failure:?}");
            assert!(!format!("{failure:?}").contains("secretvalue"), "{expression}: {failure:?}");
        }
    }
    assert_eq!(
        text(
            &mut pair.destination,
            "SELECT count(*)::text FROM pgcopy_internal.job j WHERE j::text LIKE '%secretvalue%'"
        ),
        "0"
    );
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item"), "0");
}

/// A function that the planner evaluates can have read anything; what the server says of what the user has written is told.
#[test]
fn a_plan_tells_no_words_of_functions() {
    let mut pair = Pair::with(
        "mask_told_plans",
        "CREATE TABLE item (id int PRIMARY KEY, name text, doc json)",
        "INSERT INTO item SELECT i, 'secretvalue ' || i FROM generate_series(1, 20) i; ANALYZE item;
         CREATE FUNCTION told(text) RETURNS text STABLE LANGUAGE plpgsql AS
             'BEGIN RAISE EXCEPTION ''no: %'', (SELECT min(name) FROM public.item) USING ERRCODE = $1; END';
         CREATE FUNCTION cast_of_one() RETURNS int STABLE LANGUAGE plpgsql AS
             'BEGIN RETURN (SELECT min(name) FROM public.item)::int; END'",
    );
    for (expression, reason) in [
        ("name = public.told('P0001')", "a function in it fails with SQLSTATE P0001"),
        ("name = public.told('55000')", "a function in it fails with SQLSTATE 55000"),
        ("id = public.cast_of_one()", "a function in it fails with SQLSTATE 22P02"),
        ("id = 'x'", "invalid input syntax for type integer: \"x\" at character 6"),
        ("name::json::text = json '{'::text", "invalid input syntax for type json at character 25"),
    ] {
        let found = problems(&mut pair, &format!(r#"{{"item": {{"where": "{expression}"}}}}"#));
        assert_eq!(found, [format!("item: where: {reason}: {expression}")]);
    }
}

#[test]
fn numbers_keep_their_digits_and_masks_their_bounds() {
    let mut pair = Pair::with(
        "mask_numbers",
        "CREATE TABLE item (id int PRIMARY KEY, exact numeric, written text, big bigint, plain numeric, fixed numeric(4,2), whole int,
             score float4, share numeric, note text)",
        "INSERT INTO item SELECT i, i, i, i, i - 21, CASE i WHEN 1 THEN 99.99 WHEN 2 THEN -99.99 ELSE i - 21 END, CASE i WHEN 1 THEN 2147483647 WHEN 2 THEN -2147483648 ELSE i - 21 END, i - 21, i, 'it''s ' || i
         FROM generate_series(1, 41) i",
    );
    // The masks must not depend on it.
    let database = pair.database.clone();
    pair.source.batch_execute(&format!("ALTER DATABASE \"{database}\" SET backslash_quote = off")).unwrap();
    let tables = r#"{"item": {"columns": {"exact": {"mask": {"constant": "12345678901234567890.123456789"}}, "written": {"mask": {"constant": "0.10"}},
        "big": {"mask": {"constant": 9223372036854775807}}, "plain": {"mask": {"number": {"jitter": 0.01}}}, "fixed": {"mask": "number"},
        "whole": {"mask": "number"}, "score": {"mask": "number"}, "share": {"mask": {"number": {"min": 0.1, "max": 0.4}}}, "note": {"mask": "text"}}}}"#;
    assert_eq!(problems(&mut pair, tables), [] as [&str; 0]);
    pulled(&mut pair, tables, KEY);
    for condition in [
        "exact::text = '12345678901234567890.123456789' AND written = '0.10' AND big = 9223372036854775807",
        "abs(plain - (id - 21)) = 1 AND plain = trunc(plain) AND sign(plain) = CASE id WHEN 21 THEN 1 ELSE sign(id - 21) END",
        "fixed <> id - 21 AND (id < 3 OR abs(fixed - (id - 21)) <= greatest(0.1 * abs(id - 21), 0.01)) AND abs(fixed) < 99.99",
        "whole <> CASE id WHEN 1 THEN 2147483647 WHEN 2 THEN -2147483648 ELSE id - 21 END",
        "score <> id - 21 AND sign(score) = CASE id WHEN 21 THEN 1 ELSE sign(id - 21) END AND abs(score - (id - 21)) <= greatest(0.1001 * abs(id - 21), 0.1)",
        "share BETWEEN 0.1 AND 0.4",
        "note ~ '^[a-z]{2}''[a-z] [0-9]+$'",
    ] {
        let sql = format!("SELECT count(*)::text FROM item WHERE NOT coalesce({condition}, false)");
        assert_eq!(text(&mut pair.destination, &sql), "0", "{condition}");
    }
    let range = r#"{"item": {"columns": {"whole": {"mask": {"number": {"min": 0.1, "max": 0.4}}}}}}"#;
    assert_eq!(problems(&mut pair, range), ["item: column whole, mask: no whole number is from 0.1 to 0.4"]);
}

#[test]
fn keys_of_two_types_are_not_masked() {
    let mut pair = Pair::with(
        "mask_key_types",
        "CREATE DOMAIN label AS text;
         CREATE TABLE account (id numeric PRIMARY KEY, number bigint UNIQUE, amount numeric(10,2) UNIQUE, day date UNIQUE, name text UNIQUE);
         CREATE TABLE login (account bigint REFERENCES account, small int REFERENCES account (number), amount numeric REFERENCES account (amount),
             day timestamp REFERENCES account (day), name label REFERENCES account (name))",
        "INSERT INTO account VALUES (1, 1, 1, '2020-01-01', 'x'); INSERT INTO login VALUES (1, 1, 1, '2020-01-01', 'x')",
    );
    let of = |column: &str, mask: &str| format!(r#"{{"account": {{"columns": {{"{column}": {{"mask": {mask}}}}}}}}}"#);
    for (column, mask, one, two) in [
        ("id", "\"number\"", "account is of type bigint", "id of type numeric"),
        ("amount", "\"number\"", "amount is of type numeric", "amount of type numeric(10,2)"),
        ("day", "\"date\"", "day is of type timestamp without time zone", "day of type date"),
    ] {
        let problem = format!(
            "login: column {one} and refers to public.account.{two}: masks of equal values of the two types differ"
        );
        assert_eq!(problems(&mut pair, &of(column, mask)), [problem]);
    }
    for (column, mask) in [("number", "\"number\""), ("name", "\"hash\"")] {
        assert_eq!(problems(&mut pair, &of(column, mask)), [] as [&str; 0]);
        pulled(&mut pair, &of(column, mask), KEY);
    }
}

#[test]
fn dates_and_numbers_at_the_ends_of_their_types_go_inwards() {
    let mut pair = Pair::with(
        "mask_ends",
        "CREATE TABLE item (id int PRIMARY KEY, day date, at timestamp, seen timestamptz, score float8, single float4, amount numeric)",
        "INSERT INTO item SELECT i, CASE WHEN i % 2 = 0 THEN '5874897-12-31'::date - i ELSE '4714-11-24 BC'::date + i END,
             CASE WHEN i % 2 = 0 THEN '294276-12-31'::timestamp ELSE '4714-11-24 BC'::timestamp END,
             CASE WHEN i % 2 = 0 THEN '294276-12-31 UTC'::timestamptz ELSE '4714-11-25 BC UTC'::timestamptz END, 1.7e308, -3.4e38, 'NaN'
         FROM generate_series(1, 50) i;
         INSERT INTO item VALUES (0, 'infinity', '-infinity', 'infinity', 'infinity', 'NaN', 0)",
    );
    let jitter = r#"{"mask": {"date": {"jitter": 36500}}}"#;
    let tables = format!(
        r#"{{"item": {{"columns": {{"day": {jitter}, "at": {jitter}, "seen": {jitter}, "score": {{"mask": {{"number": {{"jitter": 1}}}}}},
            "single": {{"mask": "number"}}, "amount": {{"mask": "number"}}}}}}}}"#
    );
    pulled(&mut pair, &tables, KEY);
    let moved = "SELECT concat_ws(' ', bool_and(day <> '5874897-12-31'::date - id AND day <> '4714-11-24 BC'::date + id), bool_and(at <> '294276-12-31' AND at <> '4714-11-24 BC'),
        bool_and(score < 1.7e308), bool_and(single <> '-3.4e38'::float4), bool_and(amount = 'NaN')) FROM item WHERE id > 0";
    assert_eq!(text(&mut pair.destination, moved), "t t t t t");
    let infinite = "SELECT concat_ws(' ', day, at, seen, score, single, amount) FROM item WHERE id = 0";
    assert_eq!(text(&mut pair.destination, infinite), "infinity -infinity infinity Infinity NaN 1");
    // Numbers near zero go away from it, and the two zeros are one.
    pair.source
        .batch_execute(
            "TRUNCATE item; INSERT INTO item (id, score, single) SELECT i, '5e-324'::float8 * i, '1e-45'::float4 * i FROM generate_series(1, 200) i;
             INSERT INTO item (id, score, single) VALUES (0, '-0', '-0'), (-1, 0, 0)",
        )
        .unwrap();
    let jitter = r#"{"mask": {"number": {"jitter": 1}}}"#;
    pulled(&mut pair, &format!(r#"{{"item": {{"columns": {{"score": {jitter}, "single": {jitter}}}}}}}"#), KEY);
    let near = "SELECT concat_ws(' ', count(*), bool_and(score > 0), bool_and(single > 0), count(DISTINCT score) FILTER (WHERE id <= 0),
        count(DISTINCT single) FILTER (WHERE id <= 0),
        bool_and(id <= 0 OR score <> '5e-324'::float8 * id), bool_and(id <= 0 OR single <> '1e-45'::float4 * id)) FROM item";
    assert_eq!(text(&mut pair.destination, near), "202 t t 1 1 t t");
}

#[test]
fn a_number_that_would_lose_digits_must_be_a_string() {
    let mut pair =
        Pair::with("mask_digits", "CREATE TABLE item (id int, amount numeric)", "INSERT INTO item VALUES (1, 1)");
    let dsn = pair.dsn();
    let mut refused = |tables: &str| {
        let sql = "SELECT pgcopy.pull($1, tables => $2::text::jsonb)";
        let failure = Failure::of(&pair.destination.execute(sql, &[&dsn, &tables]).unwrap_err());
        format!("{} {} {}", failure.sqlstate, failure.message, failure.detail)
    };
    for number in ["0.10", "12345678901234567890.123456789", "1e100"] {
        let tables = format!(r#"{{"item": {{"columns": {{"amount": {{"mask": {{"constant": {number}}}}}}}}}}}"#);
        let told = refused(&tables);
        assert!(
            told.starts_with(
                "22023 tables entry \"item\", columns, \"amount\", mask: a number of mask constant must be whole"
            ),
            "{told}"
        );
    }
    // One that a program cannot hold at all.
    assert_eq!(
        refused(r#"{"item": {"sample": 1e400}}"#),
        "22003 parameter \"tables\" cannot be read: number out of range It is at item.sample."
    );
    let deep = format!(r#"{{"item": {}1{}}}"#, "[".repeat(200), "]".repeat(200));
    assert!(
        refused(&deep)
            .starts_with("54000 parameter \"tables\" cannot be read: recursion limit exceeded It is at item.0.0")
    );
    for call in [
        "pgcopy.verify('x', tables => '{\"a\": 1e400}')",
        "pgcopy.load_parquet('/x', columns => '{\"a\": 1e400}')",
        "pgcopy.backup_restore('/x', '/y', tablespaces => '{\"a\": 1e400}')",
    ] {
        let failure = Failure::of(&pair.destination.batch_execute(&format!("SELECT {call}")).unwrap_err());
        assert_eq!(
            (failure.sqlstate.as_str(), failure.detail.as_str()),
            ("22003", "It is at a."),
            "{call}: {failure:?}"
        );
    }
}

#[test]
fn constants_that_a_column_cannot_hold_are_found_before_anything_is_touched() {
    let mut pair = Pair::with(
        "mask_constants",
        "CREATE DOMAIN code AS varchar(4) CHECK (VALUE <> ''); CREATE DOMAIN share AS numeric(3,2); CREATE TYPE mood AS ENUM ('good', 'bad');
         CREATE TYPE span AS RANGE (SUBTYPE = int); CREATE DOMAIN days AS span;
         CREATE TABLE item (id int PRIMARY KEY, span span, days days, short varchar(4), padded char(4), code code, share share, bits bit(3), more varbit(3), m mood,
             needed text NOT NULL, given text NOT NULL DEFAULT 'x', day date, big bigint)",
        "INSERT INTO item VALUES (1, '[1,2)', '[1,2)', 'a', 'a', 'a', 1, '101', '1', 'good', 'a', 'a', '2020-01-01', 1)",
    );
    let of = |column: &str, content: &str| format!(r#"{{"item": {{"columns": {{"{column}": {content}}}}}}}"#);
    for (column, constant, reason) in [
        ("short", "five!", "value too long for type character varying(4)"),
        ("padded", "five!", "value too long for type character(4)"),
        ("code", "five!", "value too long for type character varying(4)"),
        ("share", "10", "numeric field overflow"),
        ("share", "ten", "invalid input syntax for type numeric: \"ten\""),
        ("bits", "1010", "bit string length 4 does not match type bit(3)"),
        ("more", "1010", "bit string too long for type bit varying(3)"),
        ("m", "glad", "invalid input value for enum public.mood: \"glad\""),
        ("day", "2020-02-31", "date/time field value out of range: \"2020-02-31\""),
        ("big", "9223372036854775808", "value \"9223372036854775808\" is out of range for type bigint"),
    ] {
        let masked = problems(&mut pair, &of(column, &format!(r#"{{"mask": {{"constant": "{constant}"}}}}"#)));
        assert_eq!(masked, [format!("item: column {column}, mask: {reason}")]);
        let computed = problems(&mut pair, &of(column, &format!(r#"{{"value": "'{constant}'"}}"#)));
        assert_eq!(computed, [format!("item: column {column}, value: {reason}: '{constant}'")]);
    }
    for column in ["needed", "given", "id"] {
        let masked = problems(&mut pair, &of(column, r#"{"mask": "null"}"#));
        assert_eq!(masked, [format!("item: column {column}, mask: column {column} here is NOT NULL")]);
        let computed = problems(&mut pair, &of(column, r#"{"value": " NULL "}"#));
        assert_eq!(computed, [format!("item: column {column}, value: column {column} here is NOT NULL:  NULL ")]);
    }
    assert_eq!(
        problems(&mut pair, &of("big", r#"{"value": "id + 1 / 0"}"#)),
        ["item: column big, value: division by zero: id + 1 / 0"]
    );
    // Numbers are rounded, and what fits is taken.
    for (column, constant) in [
        ("short", "four"),
        ("padded", "four  "),
        ("share", "9.994"),
        ("bits", "111"),
        ("more", ""),
        ("m", "bad"),
        ("span", "[1,3)"),
        ("days", "(,9]"),
    ] {
        for content in
            [format!(r#"{{"mask": {{"constant": "{constant}"}}}}"#), format!(r#"{{"value": "'{constant}'"}}"#)]
        {
            pulled(&mut pair, &of(column, &content), KEY);
        }
    }
}

/// Whatever the source's version is: the same values give the same masks, and the same rows belong to a sample and to what is needed.
#[test]
fn sources_of_every_version_mask_alike() {
    let [_, destination] = shared_ports();
    let tables = MASKS.strip_suffix('}').unwrap().to_owned()
        + r#", "member": {"where": "id % 2 = 0", "sample": 0.5, "columns": {"note": {"mask": "text"}, "amount": {"mask": "number"},
               "joined": {"mask": {"date": {"jitter": 10}}}, "kind": {"value": "upper(left(kind, 1))"}}},
             "badge": {"references": [{"columns": ["owner"], "table": "member", "to": ["id"], "where": "kind = 'member'"}]}}"#;
    let digests = "SELECT string_agg(line, '; ' ORDER BY line) FROM (
             SELECT concat('person ', count(*), ' ', md5(string_agg(p::text, ',' ORDER BY id))) AS line FROM person p
             UNION ALL SELECT concat('member ', count(*), ' ', md5(string_agg(m::text, ',' ORDER BY id))) FROM member m
             UNION ALL SELECT concat('team ', count(*), ' ', md5(string_agg(t::text, ',' ORDER BY id))) FROM team t
             UNION ALL SELECT concat('badge ', count(*), ' ', md5(string_agg(b::text, ',' ORDER BY id))) FROM badge b) d";
    let mut first: Option<(u16, Vec<String>)> = None;
    for version in Version::of_sources() {
        let installation = Installation::prepare(version).unwrap();
        let name = format!("mask_{}", version.major());
        let source = Server::start(&installation, Options::named(&name)).unwrap();
        let mut pair = Pair::on(source.port(), destination, &name);
        pair.both(PEOPLE);
        pair.both(
            "CREATE TABLE team (id int PRIMARY KEY, name text, leader int REFERENCES person);
             CREATE TABLE member (id int PRIMARY KEY, team int REFERENCES team, person int REFERENCES person, note text, amount numeric,
                                  joined date, kind text);
             CREATE TABLE badge (id int PRIMARY KEY, kind text, owner int)",
        );
        pair.source.batch_execute(ROWS).unwrap();
        pair.source
            .batch_execute(
                "INSERT INTO team SELECT i, 'team ' || i, i + 1000 FROM generate_series(1, 300) i;
                 INSERT INTO member SELECT i, i % 300 + 1, i, 'Note ' || i, i * 1.25, '2020-01-01'::date + i, 'guest' FROM generate_series(1, 900) i;
                 INSERT INTO badge SELECT i, CASE i % 2 WHEN 0 THEN 'member' ELSE 'other' END, i FROM generate_series(1, 900) i; ANALYZE",
            )
            .unwrap();
        let dsn = pair.dsn();
        let mut found = Vec::new();
        for arguments in [
            ", follow_keys => true",
            ", follow_keys => true, parallel => 0",
            ", mode => 'upsert'",
            ", mode => 'upsert'",
        ] {
            pull_through(&mut pair, &dsn, &tables, KEY, arguments)
                .unwrap_or_else(|failure| panic!("{version:?}{arguments}: {failure:?}"));
            found.push(text(&mut pair.destination, digests));
        }
        // What is the same is left as it is, and what is gone on the source goes.
        pair.source
            .batch_execute("DELETE FROM badge WHERE id > 800; UPDATE badge SET kind = 'other' WHERE id = 2")
            .unwrap();
        let counts = "SELECT concat_ws(' ', inserted, updated, deleted, unchanged) FROM pgcopy.pull($1, include => '{badge}', mode => 'sync',
             overwrite => true, mask_key => $2, tables => '{\"badge\": {\"where\": \"id > 500\", \"columns\": {\"kind\": {\"mask\": \"hash\"}}}}')";
        let counts: String = pair.destination.query_one(counts, &[&dsn, &KEY]).unwrap().get(0);
        found.push(counts);
        found.push(text(&mut pair.destination, digests));
        pair.assert_nothing_left();
        assert!(found[0].contains("member ") && !found[0].contains("member 0") && found[0] == found[1], "{found:#?}");
        match &first {
            None => first = Some((version.major(), found)),
            Some((other, expected)) => assert_eq!(&found, expected, "versions {} and {other}", version.major()),
        }
    }
}
