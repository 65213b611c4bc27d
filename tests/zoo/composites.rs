//! Composite types, nested, in arrays, and of tables.

use super::{arrives, plan};

#[test]
fn nested_composites_and_arrays_of_them() {
    let mut pair = arrives(
        "zoo_composites",
        "CREATE TYPE place AS (x int, y float8, label text);
         CREATE TYPE mood AS ENUM ('sad', 'ok'); CREATE DOMAIN positive AS int CHECK (value > 0);
         CREATE TYPE visit AS (at timestamptz, place place, places place[], m mood, p positive, r int4range);
         CREATE TYPE gone AS (a int, b text, c int); ALTER TYPE gone DROP ATTRIBUTE b; ALTER TYPE gone ADD ATTRIBUTE d text;
         CREATE TABLE other (id int, note text);
         CREATE TABLE item (id int, p place, ps place[], v visit, vs visit[], g gone, o other)",
        "INSERT INTO item VALUES
             (1, '(1,2.5,\"a, b\")', ARRAY[(1,'-0','x')::place, NULL, (NULL,NULL,NULL)::place],
              ROW('infinity', ROW(1,2,'in'), ARRAY[ROW(3,4,'deep')]::place[], 'ok', 5, 'empty')::visit,
              ARRAY[ROW(NULL,NULL,NULL,NULL,NULL,NULL)::visit, ROW('2000-01-01', NULL, '{}', 'sad', 1, '(,)')::visit],
              ROW(1, 2, 'd')::gone, ROW(7, 'a row')::other),
             (2, NULL, NULL, NULL, NULL, NULL, NULL), (3, '(,,)', '{}', '(,,,,,)', '{}', '(,,)', '(,)'),
             (4, ROW(1, 2, repeat('long ', 10000))::place, array_fill(ROW(1, 2, 'x')::place, ARRAY[2, 500]), NULL, NULL, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap binary", "other swap binary"]);
}

#[test]
fn typed_tables() {
    arrives(
        "zoo_typed",
        "CREATE TYPE person AS (id int, name text); CREATE TABLE people OF person (PRIMARY KEY (id))",
        "INSERT INTO people VALUES (1, 'a'), (2, NULL)",
    );
}
