//! Values of many megabytes. `PGCOPY_TEST_BIG_VALUES=1` takes the largest that a server can hold.

use super::{assert_sound, pulls_alike};
use crate::harness::{Pair, text};

#[test]
fn long_texts_bytes_and_documents() {
    let big = std::env::var_os("PGCOPY_TEST_BIG_VALUES").is_some();
    let (bytes, elements) = if big { (250_000_000, 3_000_000) } else { (20_000_000, 300_000) };
    let mut pair = Pair::with(
        "zoo_big_values",
        "CREATE TABLE bytes (id int, b bytea); ALTER TABLE bytes ALTER b SET STORAGE EXTERNAL; CREATE TABLE texts (id int, t text);
         CREATE TABLE documents (id int, j jsonb)",
        &format!(
            "INSERT INTO bytes SELECT 1, decode(repeat('0001feff5c', {bytes} / 5), 'hex');
             INSERT INTO texts SELECT 1, repeat('größe €', {bytes} / 10);
             INSERT INTO documents SELECT 0, '{{}}';
             INSERT INTO documents SELECT 1, jsonb_agg(jsonb_build_object('id', i, 'name', md5(i::text))) FROM generate_series(1, {elements} / 3) i;
             INSERT INTO documents SELECT 2, jsonb_object_agg(md5(i::text), i) FROM generate_series(1, {elements} / 3) i"
        ),
    );
    pulls_alike(&mut pair);
    assert_eq!(text(&mut pair.destination, "SELECT octet_length(b)::text FROM bytes"), bytes.to_string());
    assert_sound(&mut pair, "{bytes,texts,documents}");
}
