//! Integers, floats, numeric, money, boolean.

use super::{arrives, plan};
use crate::harness::text;

#[test]
fn integers_and_booleans() {
    arrives(
        "zoo_integers",
        "CREATE TABLE item (b bool, i2 int2, i4 int4, i8 int8)",
        "INSERT INTO item VALUES
             (true, 32767, 2147483647, 9223372036854775807),
             (false, -32768, -2147483648, -9223372036854775808),
             (NULL, 0, -1, NULL), (NULL, NULL, NULL, NULL)",
    );
}

#[test]
fn floats_with_minus_zero_and_what_is_no_number() {
    arrives(
        "zoo_floats",
        "CREATE TABLE item (f4 float4, f8 float8)",
        "INSERT INTO item VALUES ('-0', '-0'), ('NaN', 'NaN'), ('Infinity', '-Infinity'), ('-Infinity', 'Infinity'),
             (1.17549435e-38, 2.2250738585072014e-308), (3.40282347e+38, 1.7976931348623157e+308),
             (1e-45, 5e-324), (0.1, 0.1), (16777217, 9007199254740993)",
    );
}

#[test]
fn numeric_of_every_size() {
    arrives(
        "zoo_numeric",
        "CREATE TABLE item (id int, n numeric, limited numeric(20,5), whole numeric(6,-3), small numeric(3,8))",
        "INSERT INTO item (id, n) VALUES
             (1, 'NaN'), (2, 'Infinity'), (3, '-Infinity'), (4, 0), (5, '-0'), (6, 0.00000), (7, 1e131071), (8, -1e131071),
             (9, 1e-16383), (10, repeat('9', 1000)::numeric), (11, ('-0.' || repeat('0', 999) || '1')::numeric),
             (12, repeat('12345', 20000)::numeric), (13, 10000), (14, 9999.9999), (15, 1.50000000000000000000);
         INSERT INTO item (id, limited, whole, small) VALUES
             (20, 'NaN', 'NaN', 'NaN'), (21, 123456789012345.12345, 999999000, 0.00000999), (22, -0.00001, -1000, -0.00000001)",
    );
}

#[test]
fn money_travels_as_the_number_of_its_smallest_unit() {
    let mut pair = arrives(
        "zoo_money",
        "CREATE TABLE item (m money)",
        "INSERT INTO item VALUES ('92233720368547758.07'), ('-92233720368547758.08'), ('0'), ('-0.01'), (NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
    pair.destination.batch_execute("SET lc_monetary = 'POSIX'").unwrap();
    let dsn = pair.dsn();
    let warnings = text(&mut pair.destination, &format!("SELECT warnings::text FROM pgcopy.plan('{dsn}')"));
    assert!(warnings.contains("money may mean other amounts: lc_monetary is "), "{warnings}");
}
