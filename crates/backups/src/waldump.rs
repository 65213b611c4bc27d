//! What `pg_waldump` prints of records.

use crate::wal::Lsn;

/// What a record tells that a recovery depends on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A restore point of this name.
    Point(String),
    /// The end of a transaction, at a time such as `2026-11-26 12:23:31.453103`. A recovery to a time looks at nothing else.
    End(String),
    /// A tablespace that is created in a directory; an empty path is a place in the data directory.
    Tablespace(String),
    /// The settings that a recovery behind it needs at least as high, by their names.
    Settings(Vec<(&'static str, u32)>),
    Other,
}

/// The settings that a recovery needs as high as they were, and their names in records and in what `pg_controldata` prints.
const SETTINGS: [(&str, &str); 5] = [
    ("max_connections", "max_connections"),
    ("max_worker_processes", "max_worker_processes"),
    ("max_wal_senders", "max_wal_senders"),
    ("max_prepared_transactions", "max_prepared_xacts"),
    ("max_locks_per_transaction", "max_locks_per_xact"),
];

fn settings(description: &str) -> Vec<(&'static str, u32)> {
    let value = |told: &str| {
        let mut words = description.split_whitespace().filter_map(|word| word.split_once('='));
        words.find(|(name, _)| *name == told)?.1.parse().ok()
    };
    SETTINGS.into_iter().filter_map(|(name, told)| Some((name, value(told)?))).collect()
}

/// Reads those settings in what `pg_controldata` prints.
pub fn settings_of_control(text: &str) -> Vec<(&'static str, u32)> {
    let value = |told: &str| {
        let mut lines = text.lines().filter_map(|line| line.split_once(" setting:"));
        lines.find(|(name, _)| *name == told)?.1.trim().parse().ok()
    };
    SETTINGS.into_iter().filter_map(|(name, told)| Some((name, value(told)?))).collect()
}

/// Reads a line: where a record begins, and what it tells. `None` for lines that are about no record.
pub fn record(line: &str) -> Option<(Lsn, Event)> {
    let (manager, rest) = line.strip_prefix("rmgr: ")?.split_once(' ')?;
    let (_, rest) = rest.split_once(", lsn: ")?;
    let (lsn, rest) = rest.split_once(", prev ")?;
    let (_, description) = rest.split_once(", desc: ")?;
    let event = match manager {
        "XLOG" => match description.split_once(' ') {
            Some(("RESTORE_POINT", name)) => Some(Event::Point(name.to_owned())),
            Some(("PARAMETER_CHANGE", rest)) => Some(Event::Settings(settings(rest))),
            _ => None,
        },
        "Transaction" => end(description).map(|time| Event::End(time.to_owned())),
        "Tablespace" => created(description).map(|path| Event::Tablespace(path.to_owned())),
        _ => None,
    };
    Some((Lsn::parse(lsn)?, event.unwrap_or(Event::Other)))
}

/// The time in the description of a transaction's end.
fn end(description: &str) -> Option<&str> {
    const SHAPE: &[u8] = b"0000-00-00 00:00:00.000000";
    let (kind, rest) = description.split_once(' ')?;
    if !["COMMIT", "COMMIT_PREPARED", "ABORT", "ABORT_PREPARED"].contains(&kind) {
        return None;
    }
    // A prepared one has its number first.
    let rest = match rest.split_once(": ") {
        Some((number, rest)) if number.bytes().all(|byte| byte.is_ascii_digit()) => rest,
        _ => rest,
    };
    let time = rest.get(..SHAPE.len())?;
    let fits = |(byte, shape): (u8, &u8)| if *shape == b'0' { byte.is_ascii_digit() } else { byte == *shape };
    time.bytes().zip(SHAPE).all(fits).then_some(time)
}

fn created(description: &str) -> Option<&str> {
    let (_, path) = description.strip_prefix("CREATE ")?.split_once(' ')?;
    // The quotes end in another line where the path has several. With one left it is the path of nothing.
    Some(path.strip_prefix('"').and_then(|path| path.strip_suffix('"')).unwrap_or(path))
}

/// The last record behind which the program could not read on, and whether zeros follow, as they do where no more was written. `None`
/// where it complains of nothing of that kind.
pub fn stop(messages: &str) -> Option<(Lsn, bool)> {
    let (_, rest) = messages.split_once("error in WAL record at ")?;
    let (lsn, reason) = rest.split_once(": ")?;
    Some((Lsn::parse(lsn)?, reason.trim_end().ends_with(", got 0")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_and_what_they_tell() {
        let line = |manager: &str, description: &str| {
            format!(
                "rmgr: {manager:<11} len (rec/tot):     66/    66, tx:        724, lsn: 0/03000350, prev 0/03000318, desc: {description}"
            )
        };
        let time = "2026-11-26 12:23:31.453103";
        for (manager, description, expected) in [
            ("XLOG", "RESTORE_POINT before ", Event::Point("before ".into())),
            ("XLOG", "RESTORE_POINT x RESTORE_POINT y", Event::Point("x RESTORE_POINT y".into())),
            ("XLOG", "SWITCH ", Event::Other),
            (
                "XLOG",
                "PARAMETER_CHANGE max_connections=300 max_wal_senders=x max_prepared_xacts=0 wal_level=replica",
                Event::Settings(vec![("max_connections", 300), ("max_prepared_transactions", 0)]),
            ),
            ("Transaction", &format!("COMMIT {time} UTC; inval msgs: catcache 67"), Event::End(time.into())),
            ("Transaction", &format!("COMMIT_PREPARED 732: {time} UTC"), Event::End(time.into())),
            ("Transaction", &format!("ABORT {time} UTC"), Event::End(time.into())),
            ("Transaction", "INVALIDATION ; inval msgs: catcache 67", Event::Other),
            ("Transaction", "COMMIT soon", Event::Other),
            ("Tablespace", "CREATE 16384 \"/a \"b\"\"", Event::Tablespace("/a \"b\"".into())),
            ("Tablespace", "CREATE 16384 \"/a", Event::Tablespace("\"/a".into())),
            ("Tablespace", "DROP 16384", Event::Other),
            ("Heap", "INSERT off 1", Event::Other),
        ] {
            assert_eq!(record(&line(manager, description)), Some((Lsn(0x300_0350), expected)), "{description}");
        }
        for other in ["", "first record is after 0/1, at 0/2", "rmgr: XLOG", "rmgr: XLOG , lsn: x, prev y, desc: z"] {
            assert_eq!(record(other), None, "{other}");
        }
    }

    #[test]
    fn settings_in_the_control_file() {
        let text = "wal_level setting:                    replica\nmax_connections setting:              100\nmax_locks_per_xact setting:           64\n";
        assert_eq!(settings_of_control(text), [("max_connections", 100), ("max_locks_per_transaction", 64)]);
    }

    #[test]
    fn where_it_stops() {
        let told = |reason: &str| stop(&format!("pg_waldump: error: error in WAL record at 0/3016820: {reason}\n"));
        let lsn = Lsn(0x301_6820);
        assert_eq!(told("invalid record length at 0/3016838: wanted 24, got 0"), Some((lsn, true)));
        assert_eq!(told("invalid record length at 0/3016838: expected at least 24, got 0"), Some((lsn, true)));
        assert_eq!(told("incorrect resource manager data checksum in record at 0/3016838"), Some((lsn, false)));
        assert_eq!(stop("pg_waldump: error: could not find a valid record after 0/3000000"), None);
    }
}
