//! Calls of the functions for masks by others than pgcopy.

use crate::harness::{Failure, Pair, connect_as, texts};

/// The functions are of their arguments alone, and whatever these are, they return or raise an error.
#[test]
fn everybody_may_call_the_functions_with_anything() {
    let mut pair = Pair::new("mask_functions_anything");
    pair.source
        .batch_execute(
            "CREATE EXTENSION pgcopy;
             DO $$ BEGIN CREATE ROLE mask_caller LOGIN; EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$",
        )
        .unwrap();
    let mut caller = connect_as(pair.source_port, &pair.database, "mask_caller");
    let others = "SELECT p.oid::regprocedure::text FROM pg_proc p WHERE p.pronamespace = 'pgcopy'::regnamespace AND p.proname LIKE 'mask%'
                  AND p.proname <> 'mask_versions' AND NOT (p.provolatile = 'i' AND p.proisstrict AND p.proparallel = 's' AND NOT p.prosecdef)";
    assert_eq!(texts(&mut caller, others), [] as [&str; 0]);
    let keys = ["''", "'\\x00'", "decode(repeat('ab', 32), 'hex')", "decode(repeat('ab', 100000), 'hex')", "NULL"];
    let integers =
        ["0", "1", "-1", "2147483647", "-2147483648", "9223372036854775807", "'-9223372036854775808'", "NULL"];
    let fractions = ["0", "0.1", "1", "-1", "1e308", "'NaN'", "'infinity'", "'-infinity'"];
    let small = ["0", "1", "-1", "2", "-2", "1000", "-1000", "2147483647", "'-2147483648'", "NULL"];
    let numbers = ["0", "1.5", "-1e1000", "1e-1000", "'NaN'", "'infinity'", "'-infinity'", "99999999999999.99", "NULL"];
    let days = ["'infinity'", "'-infinity'", "'4714-11-24 BC'", "'5874897-12-31'", "'2000-01-01'", "NULL"];
    let moments =
        ["'infinity'", "'-infinity'", "'4714-11-24 BC'", "'294276-12-31 23:59:59.999999'", "'2000-01-01'", "NULL"];
    let masks = [
        "'text'",
        "'email'",
        "'hash'",
        "'uuid'",
        "'ip'",
        "'ip6'",
        "'name'",
        "'first name'",
        "'last name'",
        "'address'",
        "'number'",
        "''",
        "'Text'",
        "NULL",
    ];
    let values = ["''", "'x'", "'ü'", "repeat('Ab 1', 30000)", "NULL"];
    let lists: [(&str, &[&[&str]]); 12] = [
        ("mask_text", &[&masks, &values, &small]),
        (
            "mask_character",
            &[&masks, &["''", "'x  '", "'  '", "'ü '::character(3)", "repeat('Ab 1  ', 30000)", "NULL"], &small],
        ),
        ("mask_uuid", &[&["'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'", "NULL"]]),
        ("mask_hash", &[&masks, &["''", "'x'", "NULL"]]),
        ("mask_integer_near", &[&integers, &fractions, &integers]),
        ("mask_integer_between", &[&integers, &integers, &integers]),
        ("mask_numeric_near", &[&numbers, &small, &["0.1", "'NaN'"], &integers]),
        ("mask_numeric_between", &[&numbers, &small, &integers, &integers]),
        ("mask_date_near", &[&days, &small]),
        ("mask_date_between", &[&days, &days, &days]),
        ("mask_timestamp_near", &[&moments, &small]),
        ("mask_timestamp_between", &[&moments, &days, &days]),
    ];
    // Each call by itself: what fails is told apart from what is done.
    caller
        .batch_execute(
            "CREATE FUNCTION pg_temp.outcome(call text) RETURNS text LANGUAGE plpgsql AS $$
             DECLARE result text; code text;
             BEGIN EXECUTE 'SELECT (' || call || ')::text' INTO result; RETURN CASE WHEN result IS NULL THEN 'null' ELSE 'done' END;
             EXCEPTION WHEN OTHERS THEN GET STACKED DIAGNOSTICS code = RETURNED_SQLSTATE; RETURN code; END $$",
        )
        .unwrap();
    for (function, arguments) in lists {
        let unnested: Vec<String> = std::iter::once(&keys[..])
            .chain(arguments.iter().copied())
            .enumerate()
            .map(|(number, values)| {
                let quoted: Vec<String> = values.iter().map(|value| format!("$q${value}$q$")).collect();
                format!("unnest(ARRAY[{}]) a{number}", quoted.join(", "))
            })
            .collect();
        let names: Vec<String> = (0..unnested.len()).map(|number| format!("a{number}")).collect();
        let sql = format!(
            "SELECT DISTINCT pg_temp.outcome('pgcopy.{function}(' || concat_ws(', ', {}) || ')') FROM {}",
            names.join(", "),
            unnested.join(", ")
        );
        let outcomes = texts(&mut caller, &sql);
        let has = |outcome: &str| outcomes.iter().any(|found| found == outcome);
        assert!(has("done") && has("null"), "{function}: {outcomes:?}");
        let known = ["done", "null", "22023", "22003"];
        assert!(outcomes.iter().all(|outcome| known.contains(&outcome.as_str())), "{function}: {outcomes:?}");
    }
    // No error tells the key or the value.
    let failing = "SELECT pgcopy.mask_text('a secret key', 'none', 'a secret value', 1)";
    let failure = Failure::of(&caller.batch_execute(failing).unwrap_err());
    assert_eq!((failure.sqlstate.as_str(), failure.message.as_str()), ("22023", "mask \"none\" not recognized"));
    assert!(!format!("{failure:?}").contains("secret"), "{failure:?}");
}
