//! TPC-H: its tables, keys and indexes, and generated rows.

use crate::Result;
use postgres::Client;
use std::io::Write;
use tpchgen::csv::{CustomerCsv, LineItemCsv, NationCsv, OrderCsv, PartCsv, PartSuppCsv, RegionCsv, SupplierCsv};
use tpchgen::generators::{
    CustomerGenerator, LineItemGenerator, NationGenerator, OrderGenerator, PartGenerator, PartSuppGenerator,
    RegionGenerator, SupplierGenerator,
};

pub const TABLES: [&str; 8] = ["region", "nation", "supplier", "customer", "part", "partsupp", "orders", "lineitem"];

const CREATE_TABLES: &str = "
CREATE TABLE region (r_regionkey integer NOT NULL, r_name char(25) NOT NULL, r_comment varchar(152));
CREATE TABLE nation (n_nationkey integer NOT NULL, n_name char(25) NOT NULL, n_regionkey integer NOT NULL,
    n_comment varchar(152));
CREATE TABLE supplier (s_suppkey integer NOT NULL, s_name char(25) NOT NULL, s_address varchar(40) NOT NULL,
    s_nationkey integer NOT NULL, s_phone char(15) NOT NULL, s_acctbal numeric(15,2) NOT NULL,
    s_comment varchar(101) NOT NULL);
CREATE TABLE customer (c_custkey integer NOT NULL, c_name varchar(25) NOT NULL, c_address varchar(40) NOT NULL,
    c_nationkey integer NOT NULL, c_phone char(15) NOT NULL, c_acctbal numeric(15,2) NOT NULL,
    c_mktsegment char(10) NOT NULL, c_comment varchar(117) NOT NULL);
CREATE TABLE part (p_partkey integer NOT NULL, p_name varchar(55) NOT NULL, p_mfgr char(25) NOT NULL,
    p_brand char(10) NOT NULL, p_type varchar(25) NOT NULL, p_size integer NOT NULL, p_container char(10) NOT NULL,
    p_retailprice numeric(15,2) NOT NULL, p_comment varchar(23) NOT NULL);
CREATE TABLE partsupp (ps_partkey integer NOT NULL, ps_suppkey integer NOT NULL, ps_availqty integer NOT NULL,
    ps_supplycost numeric(15,2) NOT NULL, ps_comment varchar(199) NOT NULL);
CREATE TABLE orders (o_orderkey bigint NOT NULL, o_custkey integer NOT NULL, o_orderstatus char(1) NOT NULL,
    o_totalprice numeric(15,2) NOT NULL, o_orderdate date NOT NULL, o_orderpriority char(15) NOT NULL,
    o_clerk char(15) NOT NULL, o_shippriority integer NOT NULL, o_comment varchar(79) NOT NULL);
CREATE TABLE lineitem (l_orderkey bigint NOT NULL, l_partkey integer NOT NULL, l_suppkey integer NOT NULL,
    l_linenumber integer NOT NULL, l_quantity numeric(15,2) NOT NULL, l_extendedprice numeric(15,2) NOT NULL,
    l_discount numeric(15,2) NOT NULL, l_tax numeric(15,2) NOT NULL, l_returnflag char(1) NOT NULL,
    l_linestatus char(1) NOT NULL, l_shipdate date NOT NULL, l_commitdate date NOT NULL, l_receiptdate date NOT NULL,
    l_shipinstruct char(25) NOT NULL, l_shipmode char(10) NOT NULL, l_comment varchar(44) NOT NULL);
";

const CREATE_KEYS: &str = "
ALTER TABLE region ADD PRIMARY KEY (r_regionkey);
ALTER TABLE nation ADD PRIMARY KEY (n_nationkey);
ALTER TABLE supplier ADD PRIMARY KEY (s_suppkey);
ALTER TABLE customer ADD PRIMARY KEY (c_custkey);
ALTER TABLE part ADD PRIMARY KEY (p_partkey);
ALTER TABLE partsupp ADD PRIMARY KEY (ps_partkey, ps_suppkey);
ALTER TABLE orders ADD PRIMARY KEY (o_orderkey);
ALTER TABLE lineitem ADD PRIMARY KEY (l_orderkey, l_linenumber);
CREATE INDEX orders_o_custkey_idx ON orders (o_custkey);
CREATE INDEX orders_o_orderdate_idx ON orders (o_orderdate);
CREATE INDEX lineitem_l_partkey_l_suppkey_idx ON lineitem (l_partkey, l_suppkey);
CREATE INDEX lineitem_l_shipdate_idx ON lineitem (l_shipdate);
ALTER TABLE nation ADD FOREIGN KEY (n_regionkey) REFERENCES region;
ALTER TABLE supplier ADD FOREIGN KEY (s_nationkey) REFERENCES nation;
ALTER TABLE customer ADD FOREIGN KEY (c_nationkey) REFERENCES nation;
ALTER TABLE partsupp ADD FOREIGN KEY (ps_partkey) REFERENCES part;
ALTER TABLE partsupp ADD FOREIGN KEY (ps_suppkey) REFERENCES supplier;
ALTER TABLE orders ADD FOREIGN KEY (o_custkey) REFERENCES customer;
ALTER TABLE lineitem ADD FOREIGN KEY (l_orderkey) REFERENCES orders;
ALTER TABLE lineitem ADD FOREIGN KEY (l_partkey, l_suppkey) REFERENCES partsupp;
";

/// Tables without keys and indexes, empty.
pub fn create_tables(client: &mut Client) -> Result<()> {
    client.batch_execute(CREATE_TABLES)?;
    Ok(())
}

/// Tables with primary keys, 4 secondary indexes and 8 foreign keys, empty.
pub fn create_schema(client: &mut Client) -> Result<()> {
    client.batch_execute(CREATE_TABLES)?;
    client.batch_execute(CREATE_KEYS)?;
    Ok(())
}

/// Loads the whole data set: rows first, keys and indexes after.
pub fn create_filled(client: &mut Client, scale: f64) -> Result<()> {
    client.batch_execute(CREATE_TABLES)?;
    fill(client, scale)?;
    client.batch_execute(CREATE_KEYS)?;
    client.batch_execute("VACUUM ANALYZE")?;
    Ok(())
}

/// Loads rows into existing tables.
pub fn fill(client: &mut Client, scale: f64) -> Result<()> {
    copy(client, "region", RegionGenerator::new(scale, 1, 1).iter().map(RegionCsv::new))?;
    copy(client, "nation", NationGenerator::new(scale, 1, 1).iter().map(NationCsv::new))?;
    copy(client, "supplier", SupplierGenerator::new(scale, 1, 1).iter().map(SupplierCsv::new))?;
    copy(client, "customer", CustomerGenerator::new(scale, 1, 1).iter().map(CustomerCsv::new))?;
    copy(client, "part", PartGenerator::new(scale, 1, 1).iter().map(PartCsv::new))?;
    copy(client, "partsupp", PartSuppGenerator::new(scale, 1, 1).iter().map(PartSuppCsv::new))?;
    copy(client, "orders", OrderGenerator::new(scale, 1, 1).iter().map(OrderCsv::new))?;
    copy(client, "lineitem", LineItemGenerator::new(scale, 1, 1).iter().map(LineItemCsv::new))
}

fn copy<R: std::fmt::Display>(client: &mut Client, table: &str, rows: impl Iterator<Item = R>) -> Result<()> {
    let sink = client.copy_in(&format!("COPY {table} FROM STDIN (FORMAT csv)"))?;
    let mut writer = std::io::BufWriter::with_capacity(1 << 16, sink);
    for row in rows {
        writeln!(writer, "{row}")?;
    }
    writer.into_inner().map_err(|error| error.to_string())?.finish()?;
    Ok(())
}

/// Returns one row per table, `(table, rows, checksum)`, which is equal on two databases only when their contents are.
///
/// The checksum adds up a hash of every row's text, so that it does not depend on the rows' order.
pub fn checksums(client: &mut Client, tables: &[String]) -> Result<Vec<(String, i64, String)>> {
    let mut sums = Vec::with_capacity(tables.len());
    for table in tables {
        let row = client.query_one(
            &format!(
                "SELECT count(*), coalesce(sum(('x' || substr(md5(t::text), 1, 16))::bit(64)::bigint::numeric), 0)::text
                        || '/' || coalesce(sum(('x' || substr(md5(t::text), 17, 16))::bit(64)::bigint::numeric), 0)::text
                 FROM ONLY {table} t"
            ),
            &[],
        )?;
        sums.push((table.clone(), row.get(0), row.get(1)));
    }
    Ok(sums)
}
