//! Files in a WAL archive that are no segments.

use crate::wal::Segment;

/// A file in a WAL archive, by its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beside {
    /// The begin of a segment, which a server that was promoted has left: the timeline that it went on with has the same.
    Partial(Segment),
    /// What a server tells of a backup that began in a segment.
    OfBackup(Segment),
    /// A copy that the process of this number has begun to make. Only the whole one gets the name of a segment.
    Unfinished(i32),
}

impl Beside {
    /// Takes the name of a file apart; `None` for names of other files.
    pub fn parse(name: &str, size: u64) -> Option<Self> {
        if let Some(segment) = name.strip_suffix(".partial") {
            return Segment::parse(segment, size).map(Self::Partial);
        }
        if let Some((segment, offset)) = name.strip_suffix(".backup").and_then(|rest| rest.split_once('.')) {
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
            let is_offset = offset.len() == 8 && offset.bytes().all(is_hex);
            return Segment::parse(segment, size).filter(|_| is_offset).map(Self::OfBackup);
        }
        // As basic_archive writes it: "archtemp", the file, the number of the process, and when it began.
        let (rest, begun) = name.strip_prefix("archtemp.")?.rsplit_once('.')?;
        let (file, process) = rest.rsplit_once('.')?;
        let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let is_ours = !file.is_empty() && is_number(process) && is_number(begun);
        let process = process.parse().ok().filter(|&process: &i32| is_ours && process > 1)?;
        Some(Self::Unfinished(process))
    }

    /// Returns the segment that the file goes with.
    pub fn segment(self) -> Option<Segment> {
        match self {
            Self::Partial(segment) | Self::OfBackup(segment) => Some(segment),
            Self::Unfinished(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_that_servers_give() {
        const SIZE: u64 = 16 << 20;
        let segment = Segment { timeline: 2, number: 0x1ff };
        for (name, expected) in [
            ("0000000200000001000000FF.partial", Some(Beside::Partial(segment))),
            ("0000000200000001000000FF.00000028.backup", Some(Beside::OfBackup(segment))),
            ("archtemp.0000000200000001000000FF.4711.1795724431453", Some(Beside::Unfinished(4711))),
            ("archtemp.00000002.history.4711.1795724431453", Some(Beside::Unfinished(4711))),
            ("archtemp.0000000200000001000000FF.00000028.backup.4711.1", Some(Beside::Unfinished(4711))),
            ("0000000200000001000000FF", None),
            ("00000002.history", None),
            ("x.partial", None),
            ("0000000200000001000000FF.0000002g.backup", None),
            ("0000000200000001000000FF.backup", None),
            ("archtemp.4711.1", None),
            ("archtemp.x.4711", None),
            ("archtemp.x.99999999999.1", None),
            ("archtemp.x.1.1", None),
            ("archtemp.x.-4.1", None),
            ("archtemp", None),
        ] {
            assert_eq!(Beside::parse(name, SIZE), expected, "{name}");
        }
    }
}
