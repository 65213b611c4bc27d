use crate::Options;
use xtask::build::{Profile, build_and_install};
use xtask::server::{self, Server};
use xtask::{Result, data};

/// Runs two servers to play with, until Ctrl-C: TPC-H on one, its empty schema and the extension on the other.
pub fn run(options: &Options) -> Result<()> {
    let profile = if options.release { Profile::Release } else { Profile::Dev };
    let installation = build_and_install(options.version, profile)?;
    let start = |name| {
        let mut options_of_server = server::Options::named(name);
        if options.release {
            // The settings are those of the benchmark, so that its figures can be reproduced.
            options_of_server.settings.extend(crate::bench::SETTINGS.map(String::from));
        }
        Server::start(&installation, options_of_server)
    };
    let source = start("source")?;
    let destination = start("destination")?;
    source.connect("postgres").batch_execute("CREATE DATABASE shop")?;
    destination.connect("postgres").batch_execute("CREATE DATABASE shop")?;
    data::create_filled(&mut source.connect("shop"), options.scale)?;
    let mut here = destination.connect("shop");
    data::create_schema(&mut here)?;
    here.batch_execute("CREATE EXTENSION pgcopy")?;
    println!("source:      {}", source.dsn("shop"));
    println!("destination: {}", destination.dsn("shop"));
    println!("Ctrl-C stops them");
    loop {
        std::thread::park();
    }
}
