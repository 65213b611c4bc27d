use crate::Options;
use xtask::Result;
use xtask::build::{Profile, package};

/// What is copied to a server to install the extension there, with the library stripped and its symbols beside.
pub fn run(options: &Options) -> Result<()> {
    let directory = package(options.version, Profile::Release)?;
    println!("{}", directory.display());
    Ok(())
}
