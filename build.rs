//! Tells the compiler since which versions of the server the selected one is: `cfg(since_17)` holds for 17 and for every later
//! version, so that a new version takes the newest arm of each condition.

use std::env;

/// The oldest version that the extension is for: what is older has no condition.
const OLDEST: u32 = 15;
/// The versions that differ from the one before in what the extension uses.
const CONDITIONS: [u32; 3] = [16, 17, 18];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for since in CONDITIONS {
        println!("cargo::rustc-check-cfg=cfg(since_{since})");
    }
    match selected_version() {
        Ok(version) => {
            for since in CONDITIONS.into_iter().filter(|&since| version >= since) {
                println!("cargo::rustc-cfg=since_{since}");
            }
        }
        Err(message) => println!("cargo::error={message}"),
    }
}

/// The version that the features name, such as `pg15`.
fn selected_version() -> Result<u32, String> {
    let named: Vec<String> = env::vars()
        .filter_map(|(name, _)| name.strip_prefix("CARGO_FEATURE_PG").map(str::to_owned))
        .filter(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
        .collect();
    let [version] = named.as_slice() else {
        return Err(format!(
            "pgcopy is built for one version of the server, and {} are selected: \
             choose with --no-default-features --features pg{OLDEST}, or a later one",
            named.len()
        ));
    };
    match version.parse() {
        Ok(version) if version >= OLDEST => Ok(version),
        _ => Err(format!("pgcopy is not for PostgreSQL {version}: the oldest version that it is for is {OLDEST}")),
    }
}
