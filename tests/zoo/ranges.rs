//! Ranges and multiranges: empty, unbounded, of types of one's own.

use super::{arrives, plan};
use crate::harness::Pair;

#[test]
fn ranges_and_multiranges() {
    arrives(
        "zoo_ranges",
        "CREATE TABLE item (id int, i int4range, b int8range, n numrange, t tsrange, z tstzrange, d daterange,
                            im int4multirange, nm nummultirange, dm datemultirange)",
        "INSERT INTO item VALUES
             (1, 'empty', 'empty', 'empty', 'empty', 'empty', 'empty', '{}', '{}', '{}'),
             (2, '(,)', '(,)', '(,)', '(,)', '(,)', '(,)', '{(,)}', '{(,)}', '{(,)}'),
             (3, '[1,5]', '[-9223372036854775808,)', '(1.5,NaN]', '[-infinity,infinity]', '(2024-01-01 00:00+00,)', '(,infinity)',
              '{[1,3),[5,9)}', '{(,0),[1.5,1.5]}', '{[-infinity,2000-01-01),(2001-01-01,)}'),
             (4, '(,5)', NULL, '[0.0,0]', '(,2000-01-01]', NULL, '[2000-01-01,2000-01-02]', NULL, NULL, NULL)",
    );
}

#[test]
fn ranges_over_types_of_ones_own() {
    let mut pair = arrives(
        "zoo_own_ranges",
        "CREATE TYPE floats AS RANGE (subtype = float8, subtype_diff = float8mi);
         CREATE TYPE words AS RANGE (subtype = text, collation = \"C\");
         CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy');
         CREATE TYPE moods AS RANGE (subtype = mood);
         CREATE TABLE item (id int, f floats, w words, m moods, a words[], fm floatsmultirange)"
            .replace("floatsmultirange", "floats_multirange")
            .replace("subtype_diff = float8mi", "subtype_diff = float8mi, multirange_type_name = floats_multirange")
            .as_str(),
        "INSERT INTO item VALUES (1, '[-0,1.5)', '[a,\"b, c\")', '[sad,ok]', ARRAY['[a,b)', 'empty']::words[], '{[1,2),(3,)}'),
             (2, 'empty', '(,)', '(,happy)', '{}', '{}'), (3, NULL, NULL, NULL, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn a_range_over_another_type_is_another_type() {
    let mut pair = Pair::new("zoo_other_range");
    pair.source.batch_execute("CREATE TYPE span AS RANGE (subtype = int); CREATE TABLE item (s span)").unwrap();
    pair.destination.batch_execute("CREATE TYPE span AS RANGE (subtype = oid); CREATE TABLE item (s span)").unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    assert!(
        failure.problems().contains("column s is public.span with public.span is a range over integer on the source and public.span with public.span is a range over oid"),
        "{}",
        failure.problems()
    );
}
