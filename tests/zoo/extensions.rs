//! Types that extensions bring.

use super::{arrives, offered, plan};
use crate::harness::{Pair, text};

#[test]
fn contrib() {
    if !offered(&["citext", "hstore", "ltree", "cube", "isn", "seg", "intarray"]) {
        return;
    }
    let mut pair = arrives(
        "zoo_contrib",
        "CREATE EXTENSION citext; CREATE EXTENSION hstore; CREATE EXTENSION ltree; CREATE EXTENSION cube; CREATE EXTENSION isn;
         CREATE EXTENSION seg; CREATE EXTENSION intarray;
         CREATE TABLE item (id int, c citext UNIQUE, cs citext[], h hstore, hs hstore[], l ltree, ls ltree[], u cube, ns int[]);
         CREATE INDEX ON item USING gist (l); CREATE INDEX ON item USING gin (h); CREATE INDEX ON item USING gist (u);
         CREATE INDEX ON item USING gin (ns gin__int_ops); CREATE INDEX ON item USING gist (ns gist__intbig_ops);
         CREATE TABLE as_text (id int, b isbn13, s seg, q query_int, lq lquery, lt ltxtquery)",
        "INSERT INTO item VALUES
             (1, 'Größe', '{A,NULL,b}', 'a=>1, b=>NULL, \"c d\"=>\"x\\\"y\"', ARRAY['a=>1', '']::hstore[], 'Top.Science.Astronomy', '{a.b,\"\"}',
              '(1,2,3),(4,5,-0)', '{3,1,2}'),
             (2, '', '{}', '', '{}', '', '{}', '(0)', '{}'), (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL);
         INSERT INTO item (id, c, h, l, ns) SELECT i, 'c' || i, hstore('k' || i, i::text), ('a.b' || i % 7)::ltree, ARRAY[i, i % 5] FROM generate_series(10, 500) i;
         INSERT INTO as_text VALUES (1, '978-0-393-04002-9', '1.5 .. 2.50', '1&(2|!3)', 'Top.*{1,2}.A|b*', 'Europe & Russia*@'), (2, NULL, NULL, NULL, NULL, NULL)",
    );
    assert_eq!(plan(&mut pair), ["as_text swap text", "item swap binary"]);
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    for condition in ["c = 'GRÖSSE' OR c = 'C77'", "h ? 'k77'", "l <@ 'a.b3'", "ns @> '{77}'", "ns @@ '77&2'"] {
        let count = format!("SELECT count(*)::text FROM item WHERE {condition}");
        assert_eq!(text(&mut pair.source, &count), text(&mut pair.destination, &count), "{condition}");
    }
}

#[test]
fn another_version_of_an_extension_travels_as_text() {
    if !offered(&["hstore"]) {
        return;
    }
    let mut pair = Pair::new("zoo_extension_versions");
    let table = "CREATE TABLE item (id int, h hstore, hs hstore[])";
    pair.source.batch_execute(&format!("CREATE EXTENSION hstore VERSION '1.4'; {table}; INSERT INTO item VALUES (1, 'a=>1', ARRAY['b=>NULL'::hstore])")).unwrap();
    pair.destination.batch_execute(&format!("CREATE EXTENSION hstore VERSION '1.8'; {table}")).unwrap();
    assert_eq!(plan(&mut pair), ["item swap text"]);
    pair.pull("");
    pair.assert_same_content();
}

#[test]
fn an_extension_in_another_schema_is_another_type() {
    if !offered(&["citext"]) {
        return;
    }
    let mut pair = Pair::new("zoo_extension_schema");
    pair.source.batch_execute("CREATE EXTENSION citext; CREATE TABLE item (c citext)").unwrap();
    pair.destination
        .batch_execute("CREATE SCHEMA ext; CREATE EXTENSION citext SCHEMA ext; CREATE TABLE item (c ext.citext)")
        .unwrap();
    let failure = pair.pull_error("");
    assert_eq!(failure.sqlstate, "42804");
    assert_eq!(
        failure.problems(),
        "public.item: column c is public.citext on the source and ext.citext on the destination"
    );
}

#[test]
fn postgis() {
    if !offered(&["postgis"]) {
        return;
    }
    let mut pair = arrives(
        "zoo_postgis",
        "CREATE EXTENSION postgis;
         CREATE TABLE item (id int, g geometry, p geometry(Point, 4326), z geometry(PolygonZM), o geography(LineString), gs geometry[], b box2d);
         CREATE INDEX ON item USING gist (g); CREATE INDEX ON item USING gist (p); CREATE INDEX ON item USING spgist (g);
         CREATE INDEX ON item USING gist (o); CREATE INDEX ON item USING brin (p)",
        "INSERT INTO item VALUES
             (1, 'SRID=3857;POINT(1 -0)', 'SRID=4326;POINT(13.4 52.5)', 'POLYGON ZM((0 0 1 2,1 0 1 2,1 1 1 2,0 0 1 2))', 'LINESTRING(0 0,1 1)',
              ARRAY['POINT EMPTY'::geometry, NULL, 'SRID=4326;MULTIPOINT(1 1,2 2)'], 'BOX(0 0,1 1)'),
             (2, 'GEOMETRYCOLLECTION(POINT(1 1),LINESTRING EMPTY)', NULL, NULL, NULL, '{}', NULL), (3, NULL, NULL, NULL, NULL, NULL, NULL),
             (4, 'CURVEPOLYGON(CIRCULARSTRING(0 0,1 1,2 0,1 -1,0 0))', NULL, NULL, NULL, NULL, NULL);
         INSERT INTO item (id, g, p) SELECT i, ST_Buffer(ST_MakePoint(i, i), 5, i % 50), ST_SetSRID(ST_MakePoint(i % 180, i % 90), 4326) FROM generate_series(10, 500) i",
    );
    pair.destination.batch_execute("SET enable_seqscan = off").unwrap();
    for condition in ["g && 'BOX(70 70,80 80)'::box2d", "ST_DWithin(p, 'SRID=4326;POINT(77 77)', 3)"] {
        let count = format!("SELECT count(*)::text FROM item WHERE {condition}");
        assert_eq!(text(&mut pair.source, &count), text(&mut pair.destination, &count), "{condition}");
    }
    assert!(plan(&mut pair).contains(&"item swap text".to_owned()), "box2d has no binary form: {:?}", plan(&mut pair));
    // What the extension itself keeps is left alone.
    assert!(!plan(&mut pair).iter().any(|line| line.starts_with("spatial_ref_sys")), "{:?}", plan(&mut pair));
    pair.both("ALTER TABLE item DROP b");
    assert_eq!(plan(&mut pair), ["item swap binary"]);
    super::pulls_alike(&mut pair);
}

#[test]
fn between_encodings_types_of_extensions_travel_as_text() {
    if !offered(&["hstore"]) {
        return;
    }
    let latin1 = "ENCODING 'LATIN1' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    let utf8 = "ENCODING 'UTF8' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'";
    for (name, source, destination) in [("hstore_from_latin1", latin1, utf8), ("hstore_to_latin1", utf8, latin1)] {
        let mut pair = Pair::created_with(name, source, destination);
        pair.both("CREATE EXTENSION hstore; CREATE TABLE item (id int, h hstore, hs hstore[])");
        pair.source
            .batch_execute("INSERT INTO item VALUES (1, 'café=>Größe', ARRAY['ä=>NULL'::hstore]), (2, 'a=>1', NULL)")
            .unwrap();
        for arguments in ["overwrite => true", "overwrite => true, method => 'in place'"] {
            pair.pull(arguments);
            let rows = "SELECT string_agg(i::text, ';' ORDER BY id) FROM item i";
            assert_eq!(text(&mut pair.destination, rows), text(&mut pair.source, rows), "{name}, {arguments}");
        }
    }
}
