//! The record of a backup: what its own files do not say, in a file beside them. A backup restores without it.

use crate::settings_file::Place;
use serde::{Deserialize, Serialize};

/// The name of the file.
pub const FILE: &str = "backup.json";

/// The most bytes that are read of it.
pub const MOST_BYTES: u64 = 1 << 20;

const VERSION: u32 = 1;
const MOST_TABLESPACES: usize = 10_000;

/// The most files of a configuration.
pub const MOST_CONFIGURATION: usize = 1000;

/// Returns whether a name in a data directory is one that the server gives to its own files, other than those of its configuration.
fn is_of_data(name: &str) -> bool {
    const NAMES: [&str; 5] = ["base", "global", "PG_VERSION", "current_logfiles", "tablespace_map"];
    NAMES.contains(&name)
        || (name.starts_with("pg_") && !name.contains('.'))
        || ["backup_", "postmaster.", "tablespace_map."].iter().any(|begin| name.starts_with(begin))
        || name.ends_with(".signal")
}

/// Returns whether a file of the configuration may have this name, which leads no further up than the directory that it is of, and to no
/// file of the server's own.
pub fn is_configuration(name: &str) -> bool {
    const DEEPEST: usize = 4;
    let parts: Vec<&str> = name.split('/').collect();
    let plain = |part: &&str| {
        let odd = |c: char| c.is_control() || c == '\\';
        !part.is_empty() && !part.starts_with('.') && part.len() <= 255 && !part.contains(odd)
    };
    let is_own = parts.first().is_some_and(|first| is_of_data(first)) && !name.ends_with(".conf");
    !is_own && parts.len() <= DEEPEST && parts.iter().all(plain)
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Tar,
    Plain,
}

impl Format {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tar => "tar",
            Self::Plain => "plain",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tablespace {
    pub oid: u32,
    pub location: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// The version of this form.
    pub pgcopy_backup: u32,
    pub name: String,
    /// As `server_version_num`.
    pub server_version: u32,
    pub system_identifier: u64,
    pub segment_size: u64,
    pub format: Format,
    /// The compression of archives, as `pg_basebackup` names it.
    pub compress: String,
    /// Microseconds since 1970.
    pub started: i64,
    /// As `started`. Recovery can stop at any moment after it.
    pub finished: i64,
    /// The backup that an incremental one builds on.
    pub parent: Option<String>,
    /// The bootstrap superuser then; not in older records.
    #[serde(default)]
    pub superuser: Option<String>,
    /// Where the server had its files; not in older records.
    #[serde(default)]
    pub place: Option<Place>,
    /// In their order on the server.
    pub tablespaces: Vec<Tablespace>,
    /// Files of the server's configuration that are not in its data directory, by their names from the directory of the first on.
    pub configuration: Vec<String>,
    /// Whether there is a file of checksums beside the record. Older records do not tell, and have none.
    #[serde(default)]
    pub sealed: bool,
    /// Digests of the other files beside the backup, by their names.
    pub digests: crate::sums::Digests,
}

impl Record {
    /// The version that new records have.
    pub const VERSION: u32 = VERSION;

    /// # Errors
    /// With what is wrong with the text.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        let record: Self = serde_json::from_slice(text).map_err(|error| error.to_string())?;
        if record.pgcopy_backup != VERSION {
            return Err(format!("its form has version {}", record.pgcopy_backup));
        }
        if !crate::wal::is_segment_size(record.segment_size) {
            return Err("its WAL segments have a size that none can have".into());
        }
        let names = record.parent.iter().chain([&record.name]);
        if !names.into_iter().all(|name| crate::name::is_valid(name)) {
            return Err("a name in it is none of a backup".into());
        }
        let plain = |name: &String| is_configuration(name);
        if record.tablespaces.len() > MOST_TABLESPACES
            || record.configuration.len() > MOST_CONFIGURATION
            || !record.configuration.iter().all(plain)
            || !record.place.as_ref().is_none_or(Place::is_valid)
        {
            return Err("it names files that no backup has".into());
        }
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_and_back_and_nothing_else() {
        let record = Record {
            pgcopy_backup: VERSION,
            name: "monday".into(),
            server_version: 150_014,
            system_identifier: 7,
            segment_size: 16 << 20,
            format: Format::Tar,
            compress: "gzip".into(),
            started: 1,
            finished: 2,
            parent: None,
            superuser: Some("postgres".into()),
            place: Some(Place { hba: "pg_hba.conf".into(), ident: "pg_ident.conf".into(), ..Place::default() }),
            tablespaces: vec![Tablespace { oid: 16400, location: "/x".into() }],
            configuration: vec!["pg_hba.conf".into()],
            sealed: true,
            digests: Default::default(),
        };
        let parsed = |record: &Record| Record::parse(&serde_json::to_vec(record).unwrap());
        assert_eq!(parsed(&record).unwrap(), record);
        let older = String::from_utf8(serde_json::to_vec(&record).unwrap()).unwrap();
        let place = format!("\"place\":{},", serde_json::to_string(&record.place).unwrap());
        let newer = [place.as_str(), "\"superuser\":\"postgres\",", "\"sealed\":true,"];
        let older = newer.iter().fold(older, |text, part| text.replace(part, ""));
        let expected = Record { superuser: None, place: None, sealed: false, ..record.clone() };
        assert_eq!(Record::parse(older.as_bytes()).unwrap(), expected);
        assert!(Record::parse(b"{}").is_err() && Record::parse(b"").is_err() && Record::parse(&[0xff]).is_err());
        let mut wrong = record.clone();
        wrong.segment_size = 3;
        assert!(parsed(&wrong).is_err());
        wrong = record.clone();
        wrong.parent = Some("../x".into());
        assert!(parsed(&wrong).is_err());
        wrong = record.clone();
        for name in [
            "../../x.conf",
            "/x.conf",
            "a//x.conf",
            "base/1/x",
            "conf.d/.x.conf",
            "a/b/c/d/x.conf",
            "",
            "PG_VERSION",
            "pg_wal/x",
            "global",
            "postmaster.pid",
            "standby.signal",
            "backup_label",
            "a/../x",
            "..",
        ] {
            wrong.configuration = vec![name.into()];
            assert!(parsed(&wrong).is_err(), "{name}");
        }
        wrong.configuration = ["conf.d/10 memory.conf", "admins", "hba.d/x", "pg_users.txt"].map(String::from).into();
        assert!(parsed(&wrong).is_ok());
        wrong.place.as_mut().unwrap().hba = "../x".into();
        assert!(parsed(&wrong).is_err());
        wrong = record;
        wrong.pgcopy_backup = 2;
        assert!(parsed(&wrong).is_err());
    }
}
