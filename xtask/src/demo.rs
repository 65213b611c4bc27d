use crate::Options;
use postgres::{Config, NoTls};
use xtask::build::{Profile, build_and_install};
use xtask::server::{self, Server};
use xtask::{Result, data};

/// The scale of the data: small enough for a first look, big enough to be split among workers.
const SCALE: f64 = 0.2;

/// Shows a pull: two servers, TPC-H on one, its empty schema on the other, the report, a verification.
pub fn run(options: &Options) -> Result<()> {
    let installation = build_and_install(options.version, Profile::Release)?;
    println!("starting two servers");
    let source = Server::start(&installation, server::Options::named("demo-source"))?;
    let destination = Server::start(&installation, server::Options::named("demo-destination"))?;
    source.connect("postgres").batch_execute("CREATE DATABASE shop")?;
    destination.connect("postgres").batch_execute("CREATE DATABASE shop")?;
    println!("filling the source with TPC-H, scale {SCALE}");
    let mut there = source.connect("shop");
    data::create_filled(&mut there, SCALE)?;
    let mut here: Config = destination.dsn("shop").parse()?;
    let mut here = here.notice_callback(|notice| println!("NOTICE:  {}", notice.message())).connect(NoTls)?;
    data::create_schema(&mut here)?;
    here.batch_execute("CREATE EXTENSION pgcopy")?;
    let sql = format!("SELECT * FROM pgcopy.pull('{}', overwrite => true)", source.dsn("shop"));
    println!("\nshop=# {sql};");
    let rows = here.query(&sql, &[])?;
    println!("{:<8} {:<10} {:>9} {:>12} {:>8}", "schema", "table", "rows", "bytes", "seconds");
    for row in rows {
        let (schema, table): (String, String) = (row.get(0), row.get(1));
        let (rows, bytes, seconds): (i64, i64, f64) = (row.get(2), row.get(3), row.get(4));
        println!("{schema:<8} {table:<10} {rows:>9} {bytes:>12} {seconds:>8.2}");
    }
    println!("\nverifying: a checksum over every row, computed by each server");
    let tables: Vec<String> = data::TABLES.iter().map(|table| format!("public.{table}")).collect();
    let (expected, found) = (data::checksums(&mut there, &tables)?, data::checksums(&mut here, &tables)?);
    for ((table, rows, sum), other) in expected.iter().zip(&found) {
        let same = (rows, sum) == (&other.1, &other.2);
        println!("{table:<18} {rows:>9} rows  {}", if same { "identical" } else { "DIFFERENT" });
    }
    let keys: i64 =
        here.query_one("SELECT count(*) FROM pg_constraint WHERE contype = 'f' AND convalidated AND connamespace = 'public'::regnamespace", &[])?.get(0);
    println!("{keys} validated foreign keys");
    if expected != found {
        return Err("the two databases differ".into());
    }
    Ok(())
}
