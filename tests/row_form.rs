//! The form in which rows travel that nothing compresses.

use crate::harness::proxy::Proxy;
use crate::harness::{Failure, Pair, texts};

const SCHEMA: &str = "CREATE TABLE numbers (a int, b int, c int8, d numeric(10,2), e date, f text);
    CREATE TABLE documents (id int, raw bytea); CREATE TABLE small (a int)";

const ROWS: &str = r"INSERT INTO numbers SELECT i, i % 10, CASE i % 5 WHEN 0 THEN NULL ELSE i % 7 END, (i % 100) / 4.0, '2020-01-01'::date + i % 1000, 'a\b' || chr(9) || i % 3
        FROM generate_series(1, 90000) i;
    INSERT INTO documents SELECT i, decode(repeat(md5(i::text), 16), 'hex') FROM generate_series(1, 20000) i;
    INSERT INTO small SELECT generate_series(1, 10); ANALYZE";

fn planned(pair: &mut Pair, dsn: &str, arguments: &str) -> Vec<String> {
    let sql = format!(
        "SELECT concat_ws(' ', \"table\", wire) FROM pgcopy.plan('{dsn}', overwrite => true{arguments}) ORDER BY 1"
    );
    texts(&mut pair.destination, &sql)
}

#[test]
fn the_shorter_form_travels_where_nothing_compresses() {
    let mut pair = Pair::with("row_form", SCHEMA, ROWS);
    let proxy = Proxy::start(pair.source_port);
    let (far, near) = (proxy.dsn(&pair.database), pair.dsn());
    let binary = ["documents binary", "numbers binary", "small binary"];
    let shorter = ["documents binary", "numbers text", "small binary"];
    assert_eq!(planned(&mut pair, &far, ", wire => 'auto'"), shorter);
    assert_eq!(planned(&mut pair, &near, ", wire => 'auto'"), binary);
    assert_eq!(planned(&mut pair, &far, ""), binary);
    assert_eq!(planned(&mut pair, &near, ", wire => 'text'"), ["documents text", "numbers text", "small text"]);
    let told = format!("SELECT unnest(warnings) FROM pgcopy.plan('{far}', wire => 'auto') WHERE \"table\" = 'numbers'");
    let told = texts(&mut pair.destination, &told);
    assert!(told.len() == 1 && told[0].ends_with("% shorter in a sample"), "{told:?}");
    let mut passed = Vec::new();
    for wire in ["auto", "binary", "text"] {
        for arguments in ["parallel => 2", "parallel => 0", "method => 'in place'"] {
            let before = proxy.passed();
            let sql = format!("SELECT * FROM pgcopy.pull('{far}', overwrite => true, wire => '{wire}', {arguments})");
            pair.destination.execute(&sql, &[]).unwrap();
            pair.assert_same_content();
            passed.push(proxy.passed() - before);
        }
    }
    assert!(passed[0] < passed[3] * 9 / 10 && passed[0] < passed[6], "{passed:?}");
    let failure =
        Failure::of(&pair.destination.query(&format!("SELECT pgcopy.plan('{far}', wire => 'best')"), &[]).unwrap_err());
    assert_eq!((failure.sqlstate.as_str(), failure.hint.as_str()), ("22023", "Available values: auto, binary, text."));
    // A source that compresses does so.
    pair.source.batch_execute("CREATE EXTENSION pgcopy").unwrap();
    let compressed = ["documents binary, auto", "numbers binary, auto", "small binary, auto"];
    assert_eq!(planned(&mut pair, &far, ", wire => 'auto'"), compressed);
    pair.assert_nothing_left();
}

#[test]
fn tables_whose_queries_run_code_of_others_are_not_sampled() {
    let mut pair = Pair::with("row_form_code", SCHEMA, ROWS);
    pair.source
        .batch_execute(
            "DO $$ BEGIN CREATE ROLE row_form_owner; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             CREATE FUNCTION tripped(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS $$ BEGIN
                 IF current_user = 'row_form_reader' THEN RAISE 'run as another role'; END IF; RETURN $1; END $$;
             GRANT CREATE ON SCHEMA public TO row_form_owner; ALTER TABLE numbers OWNER TO row_form_owner; ALTER FUNCTION tripped OWNER TO row_form_owner;
             CREATE INDEX ON numbers (tripped(a)) WHERE tripped(b) > 3;
             DO $$ BEGIN CREATE ROLE row_form_reader LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$;
             GRANT SELECT ON ALL TABLES IN SCHEMA public TO row_form_reader",
        )
        .unwrap();
    let proxy = Proxy::start(pair.source_port);
    let far = proxy.dsn(&pair.database).replace("user=postgres", "user=row_form_reader");
    let lines = planned(&mut pair, &far, ", wire => 'auto'");
    assert_eq!(lines, ["documents binary", "numbers binary", "small binary"]);
}
