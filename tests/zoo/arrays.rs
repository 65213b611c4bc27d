//! Arrays of everything: several dimensions, odd bounds, NULLs.

use super::{arrives, plan};

#[test]
fn arrays_of_built_in_types() {
    let types = [
        ("bool", "'{t,f,NULL}'"),
        ("\"char\"", "'{a,NULL,\\\\377}'"),
        ("int2", "'[-5:-3]={1,NULL,-32768}'"),
        ("int4", "'{{{1,2},{3,4}},{{5,6},{7,NULL}}}'"),
        ("int8", "'[0:1][5:6]={{1,2},{3,9223372036854775807}}'"),
        ("float4", "'{-0,NaN,Infinity,NULL}'"),
        ("float8", "'{-0,NaN,-Infinity,1e-300}'"),
        ("numeric", "'{NaN,Infinity,1.50,NULL,1e1000}'"),
        ("numeric(10,2)", "'{1.50,-99999999.99}'"),
        ("money", "'{\"$1.00\",NULL}'"),
        ("text", "'{\"\",NULL,\"NULL\",\"a,b\",\"{}\",\"\\\"\",größe}'"),
        ("varchar(5)", "'{ééééé,NULL}'"),
        ("char(3)", "'{a,\"\",abc}'"),
        ("name", "'{a,größe}'"),
        ("bytea", "'{\"\\\\x00ff\",\"\\\\x\",NULL}'"),
        ("bit(3)", "'{101,000,NULL}'"),
        ("varbit", "'{101,\"\",NULL}'"),
        ("date", "'{infinity,-infinity,4714-11-24 BC}'"),
        ("timestamp", "'{infinity,2000-01-01 00:00:00.000001}'"),
        ("timestamptz", "'{-infinity,2000-01-01 00:00+05}'"),
        ("time", "'{24:00,00:00}'"),
        ("timetz", "'{24:00-15,00:00+15}'"),
        ("interval", "'{1 mon -1 day,NULL}'"),
        ("inet", "'{::1,10.0.0.1/8}'"),
        ("cidr", "'{::/0,10.0.0.0/8}'"),
        ("macaddr", "'{08:00:2b:01:02:03}'"),
        ("macaddr8", "'{08:00:2b:01:02:03:04:05}'"),
        ("uuid", "'{00000000-0000-0000-0000-000000000000,NULL}'"),
        ("json", "'{\"{\\\"a\\\": [1, 2]}\",null,\"null\"}'"),
        ("jsonb", "'{\"{\\\"a\\\": [1, 2]}\",null,\"null\"}'"),
        ("jsonpath", "'{$.a}'"),
        ("xml", "'{<a/>,NULL}'"),
        ("point", "'{\"(1,2)\"}'"),
        ("box", "'{(1,2),(3,4);(5,6),(7,8)}'"),
        ("path", "'{\"[(1,2),(3,4)]\"}'"),
        ("polygon", "'{\"((1,2),(3,4))\"}'"),
        ("circle", "'{\"<(1,2),3>\"}'"),
        ("line", "'{\"{1,2,3}\"}'"),
        ("lseg", "'{\"[(1,2),(3,4)]\"}'"),
        ("tsvector", "'{\"a:1 b:2\",\"\"}'"),
        ("int4range", "'{empty,\"(,)\",\"[1,5)\",NULL}'"),
        ("tstzrange", "'{\"[2000-01-01 00:00+00,)\"}'"),
        ("int4multirange", "'{\"{}\",\"{[1,2),[5,6)}\"}'"),
        ("pg_lsn", "'{0/0,FFFFFFFF/FFFFFFFF}'"),
        ("txid_snapshot", "'{1:1:,10:20:10}'"),
        ("pg_snapshot", "'{10:20:10}'"),
        ("xid", "'{1}'"),
        ("xid8", "'{1}'"),
        ("tid", "'{\"(1,2)\"}'"),
        ("oid", "'{4294967295,NULL}'"),
    ];
    let columns: Vec<String> =
        types.iter().enumerate().map(|(number, (name, _))| format!("c{number} {name}[]")).collect();
    let values: Vec<String> = types.iter().map(|(_, value)| value.replace("\\\\\\\\", "\\\\")).collect();
    let nothing = vec!["NULL"; types.len()].join(", ");
    let empty = vec!["'{}'"; types.len()].join(", ");
    let mut pair = arrives(
        "zoo_arrays",
        &format!("CREATE TABLE item ({})", columns.join(", ")),
        &format!("INSERT INTO item VALUES ({}), ({nothing}), ({empty})", values.join(", ")),
    );
    assert_eq!(plan(&mut pair), ["item swap binary"]);
}

#[test]
fn arrays_of_what_travels_as_text() {
    let mut pair = arrives(
        "zoo_arrays_as_text",
        "CREATE TABLE item (q tsquery[], v oidvector[], c regclass[])",
        "INSERT INTO item VALUES ('{\"a & b\",\"\",NULL}', '{\"1 2\",\"\"}', '{pg_class,NULL}'), ('[2:3]={a,b}', NULL, '{}')",
    );
    assert_eq!(plan(&mut pair), ["item swap text"]);
}

#[test]
fn long_arrays_and_arrays_of_arrays_by_domain() {
    arrives(
        "zoo_long_arrays",
        "CREATE DOMAIN row_of AS int[] CHECK (array_ndims(value) = 1);
         CREATE TABLE item (id int, a int[], t text[], d row_of[])",
        "INSERT INTO item VALUES
             (1, (SELECT array_agg(i) FROM generate_series(1, 200000) i), (SELECT array_agg(md5(i::text)) FROM generate_series(1, 50000) i),
              ARRAY['{1,2}'::row_of, '[5:6]={3,NULL}'::row_of]),
             (2, array_fill(7, ARRAY[10, 10, 10], ARRAY[-1, 0, 1]), array_fill(NULL::text, ARRAY[3, 3]), '{}')",
    );
}
