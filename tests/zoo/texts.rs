//! Characters, bytes, bits, documents, addresses, shapes and what else is text in the end.

use super::{arrives, plan};
use crate::harness::text;

#[test]
fn character_types() {
    arrives(
        "zoo_characters",
        "CREATE TABLE item (id int, t text, v varchar, vn varchar(5), b bpchar, bn char(5), n name, c \"char\",
                            other text COLLATE \"C\")",
        "INSERT INTO item VALUES
             (1, '', '', '', '', '', '', '', ''),
             (2, 'größe €𝄞', 'größe', 'ééééé', 'b  ', 'éé', repeat('n', 63), 'x', 'ä'),
             (3, E'tab\\t newline\\n return\\r backslash\\\\ quote''\\b\\f\\v', E'\\\\N', E'\\\\.', '  ', 'a b', 'größe', E'\\\\377', 'z'),
             (4, repeat('x', 1000000), repeat('€', 5000), '     ', NULL, '     ', E'\\\\N', E'\\\\001', NULL),
             (5, E'\\u0001', E'\\u007f', NULL, 'x', NULL, NULL, NULL, NULL)",
    );
}

#[test]
fn bytes_and_bits() {
    arrives(
        "zoo_bytes",
        "CREATE TABLE item (id int, b bytea, bits bit(3), many bit(12000), varied varbit, limited varbit(9))",
        "INSERT INTO item VALUES
             (1, '', B'101', repeat('10', 6000)::bit(12000), '', ''),
             (2, '\\x00', B'000', NULL, B'1', B'111111111'),
             (3, decode(repeat('00ff5c', 100000), 'hex'), NULL, NULL, repeat('1', 100001)::varbit, B'10')",
    );
}

#[test]
fn json_and_jsonb() {
    arrives(
        "zoo_json",
        "CREATE TABLE item (id int, j json, b jsonb, p jsonpath)",
        "INSERT INTO item VALUES
             (1, 'null', 'null', '$'), (2, ' {\"a\" : 1, \"a\" : 2} ', '{\"a\": 1, \"a\": 2}', '$.a[*] ? (@ > 1)'),
             (3, '[]', '[]', NULL), (4, '{}', '{}', NULL), (5, '\"\\u00e9\\ud83d\\ude00\"', '\"\\u00e9\\ud83d\\ude00\"', NULL),
             (6, '[1e400, -0, 1.0000000000000000000000000001]', '[1e400, -0, 1.0000000000000000000000000001]', NULL),
             (7, (repeat('[', 1000) || repeat(']', 1000))::json, (repeat('[', 1000) || repeat(']', 1000))::jsonb, NULL),
             (8, NULL, (SELECT jsonb_object_agg('key ' || i, md5(i::text)) FROM generate_series(1, 20000) i), NULL),
             (9, NULL, NULL, NULL), (10, '\"\"', '\"\"', 'strict $.\"a b\".type()')",
    );
}

#[test]
fn xml_with_and_without_a_declaration() {
    let mut pair = arrives(
        "zoo_xml",
        "CREATE TABLE item (id int, x xml)",
        "INSERT INTO item VALUES (1, ''), (2, '<a/>'), (3, 'no element, größe'), (4, '<a>1</a><b/>'),
             (5, XMLPARSE(DOCUMENT '<?xml version=\"1.0\" standalone=\"yes\"?><a b=\"&lt;\"><![CDATA[<>]]></a>')),
             (6, XMLPARSE(DOCUMENT '<!DOCTYPE a><a/>')), (7, NULL)",
    );
    // Whatever the session that pulls thinks that XML is.
    pair.destination.batch_execute("SET xmloption = document").unwrap();
    for workers in [2, 0] {
        pair.pull(&format!("overwrite => true, parallel => {workers}"));
        pair.assert_same_content();
    }
}

#[test]
fn addresses() {
    arrives(
        "zoo_addresses",
        "CREATE TABLE item (id int, i inet, c cidr, m macaddr, m8 macaddr8, u uuid)",
        "INSERT INTO item VALUES
             (1, '0.0.0.0/0', '0.0.0.0/0', '00:00:00:00:00:00', '00:00:00:00:00:00:00:00', '00000000-0000-0000-0000-000000000000'),
             (2, '255.255.255.255', '10.0.0.0/8', 'ff:ff:ff:ff:ff:ff', 'ff:ff:ff:ff:ff:ff:ff:ff', 'ffffffff-ffff-ffff-ffff-ffffffffffff'),
             (3, '192.168.1.7/24', '192.168.1.0/24', '08:00:2b:01:02:03', '08:00:2b:01:02:03:04:05', NULL),
             (4, '::/0', '::/0', NULL, NULL, NULL), (5, '2001:db8::7/32', '2001:db8::/32', NULL, NULL, NULL),
             (6, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff', '::1/128', NULL, NULL, NULL)",
    );
}

#[test]
fn shapes() {
    arrives(
        "zoo_shapes",
        "CREATE TABLE item (id int, p point, l line, s lseg, b box, pa path, po polygon, c circle)",
        "INSERT INTO item VALUES
             (1, '(0,-0)', '{1,2,3}', '[(1,2),(3,4)]', '((1,2),(3,4))', '[(1,2),(3,4)]', '((1,2),(3,4),(5,6))', '<(1,2),3>'),
             (2, '(Infinity,NaN)', '{0,-1,0}', '[(0,0),(0,0)]', '((0,0),(0,0))', '((1,2),(3,4))', '((0,0))', '<(0,0),0>'),
             (3, NULL, NULL, NULL, NULL, '((0,0))', (SELECT polygon(path('(' || string_agg(format('(%s,%s)', i, i), ',') || ')'))
                                                    FROM generate_series(1, 5000) i), NULL)",
    );
}

#[test]
fn words_for_searching() {
    arrives(
        "zoo_search",
        "CREATE TABLE item (id int, v tsvector, q tsquery)",
        "INSERT INTO item VALUES
             (1, '', ''), (2, 'a:1A,2B,3C,4 größe:5', 'a & !b | c <-> d:*AB'),
             (3, to_tsvector('english', repeat('The quick brown foxes jumped. ', 200)), 'a <5> b'),
             (4, array_to_tsvector(ARRAY(SELECT md5(i::text) FROM generate_series(1, 2000) i)), NULL), (5, NULL, NULL)",
    );
}

#[test]
fn what_the_server_counts_with() {
    let mut pair = arrives(
        "zoo_system_values",
        "CREATE TABLE item (id int, l pg_lsn, s txid_snapshot, p pg_snapshot, x xid, c cid, x8 xid8, t tid, o oid,
                            v oidvector, i int2vector, r refcursor)",
        "INSERT INTO item VALUES
             (1, '0/0', '1:1:', '1:1:', '0', '0', '0', '(0,0)', 0, '', '', ''),
             (2, 'FFFFFFFF/FFFFFFFF', '10:20:10,14,15', '10:20:10,14,15', '4294967295', '4294967295',
              '18446744073709551615', '(4294967295,65535)', 4294967295, '1 4294967295', '1 -32768', 'a cursor'),
             (3, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)",
    );
    // An empty vector has a binary form that the server itself does not take.
    assert_eq!(plan(&mut pair), ["item swap text"]);
}

#[test]
fn what_has_no_binary_form_travels_as_text() {
    let mut pair = arrives(
        "zoo_text_only",
        "CREATE TABLE item (id int, a aclitem, aa aclitem[])",
        "INSERT INTO item VALUES (1, 'postgres=r/postgres', '{postgres=arw/postgres,=X/postgres}'), (2, NULL, '{}'), (3, '=/postgres', NULL)",
    );
    assert_eq!(plan(&mut pair), ["item swap text"]);
    assert_eq!(text(&mut pair.destination, "SELECT count(*)::text FROM item WHERE a = 'postgres=r/postgres'"), "1");
}
