//! Positions in the WAL, segments of an archive, and how far a backup can be recovered with them.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// A position in the WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lsn(pub u64);

impl Lsn {
    /// Reads the form of `pg_lsn`.
    pub fn parse(text: &str) -> Option<Self> {
        let (high, low) = text.split_once('/')?;
        let part = |text: &str| {
            let is_hex = (1..=8).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit());
            is_hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
        };
        Some(Self(part(high)? << 32 | part(low)?))
    }
}

impl fmt::Display for Lsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:X}/{:X}", self.0 >> 32, self.0 & 0xffff_ffff)
    }
}

/// The size of a segment that a server can have.
pub fn is_segment_size(bytes: u64) -> bool {
    bytes.is_power_of_two() && (1 << 20..=1 << 30).contains(&bytes)
}

/// A file of WAL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Segment {
    pub timeline: u32,
    pub number: u64,
}

impl Segment {
    /// Reads the name of a file; `None` for names of other files.
    pub fn parse(name: &str, size: u64) -> Option<Self> {
        let is_hex = |byte: u8| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte);
        if name.len() != 24 || !name.bytes().all(is_hex) {
            return None;
        }
        let part = |range: std::ops::Range<usize>| u64::from_str_radix(&name[range], 16).ok();
        let (timeline, high, low) = (part(0..8)?, part(8..16)?, part(16..24)?);
        let in_each = (1 << 32) / size;
        (low < in_each && timeline > 0).then_some(Self { timeline: timeline as u32, number: high * in_each + low })
    }

    pub fn name(&self, size: u64) -> String {
        let in_each = (1 << 32) / size;
        format!("{:08X}{:08X}{:08X}", self.timeline, self.number / in_each, self.number % in_each)
    }
}

/// The bytes of the header of a segment's first page (`XLogLongPageHeaderData`).
pub const PAGE_HEADER: usize = 40;

/// Returns the system identifier of the server whose segment a file begins like; `None` where it begins like something else. The
/// header has the byte order of the server.
pub fn server_of_segment(start: &[u8], segment: Segment, size: u64) -> Option<u64> {
    /// The header is a long one, as it is on the first page.
    const LONG: u16 = 2;
    let start = start.first_chunk::<PAGE_HEADER>()?;
    let part = |from: usize, bytes: usize| -> u64 {
        let mut value = [0; 8];
        let place = if cfg!(target_endian = "little") { 0 } else { 8 - bytes };
        value[place..place + bytes].copy_from_slice(&start[from..from + bytes]);
        u64::from_ne_bytes(value)
    };
    let (flags, timeline, address, length) = (part(2, 2) as u16, part(4, 4), part(8, 8), part(32, 4));
    // A new timeline begins with a copy of what the old one had of the segment.
    let is_it = flags & LONG != 0
        && timeline <= u64::from(segment.timeline)
        && length == size
        && segment.number.checked_mul(size) == Some(address);
    is_it.then(|| part(24, 8))
}

/// Where a timeline ends and the next one begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switch {
    pub timeline: u32,
    pub end: Lsn,
}

/// The most ancestors of a timeline that are read.
const MOST_SWITCHES: usize = 1000;

/// Reads a history file. `None` where a line is not as the server writes it.
pub fn parse_history(text: &str) -> Option<Vec<Switch>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let mut switches: Vec<Switch> = Vec::new();
    for line in lines.take(MOST_SWITCHES) {
        let mut words = line.split_whitespace();
        let switch = Switch { timeline: words.next()?.parse().ok()?, end: Lsn::parse(words.next()?)? };
        if switches.last().is_some_and(|last| last.timeline >= switch.timeline) {
            return None;
        }
        // A server that was told to follow a timeline, and to stop before that began, names it all the same: it left the one before.
        switches.iter_mut().for_each(|earlier| earlier.end = earlier.end.min(switch.end));
        switches.push(switch);
    }
    Some(switches)
}

/// Returns the timeline that a history file is of.
pub fn history_name(name: &str) -> Option<u32> {
    let digits = name.strip_suffix(".history")?;
    let is_hex = digits.len() == 8 && digits.bytes().all(|byte| byte.is_ascii_digit() || (b'A'..=b'F').contains(&byte));
    is_hex.then(|| u32::from_str_radix(digits, 16).ok()).flatten()
}

/// The files of a WAL archive.
#[derive(Debug, Clone, Default)]
pub struct Archive {
    pub segment_size: u64,
    pub segments: BTreeSet<Segment>,
    /// A segment of another server, if there is one. No such segment is among those above.
    pub of_another_server: Option<Segment>,
    /// The ancestors of timelines, from the oldest.
    pub histories: BTreeMap<u32, Vec<Switch>>,
    /// Files of promotions and backups, with the segments that they go with.
    pub beside: BTreeMap<String, Segment>,
}

/// How far WAL leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The timeline that is followed.
    pub timeline: u32,
    /// The end of the last segment before the first that is missing; `None` where the first one is missing.
    pub end: Option<Lsn>,
    pub last: Option<Segment>,
    /// The segments up to there.
    pub segments: Vec<Segment>,
    /// The segments that are missing between others: the first and the last of each gap.
    pub gaps: Vec<(Segment, Segment)>,
    /// Where a timeline on the way begins of which there is no WAL. Recovery must not go on behind it.
    pub fork: Option<Lsn>,
}

impl Archive {
    /// Returns the switches that lead to a timeline from one at a position; `None` where it does not continue that one there.
    pub fn way(&self, to: u32, timeline: u32, from: Lsn) -> Option<&[Switch]> {
        if to == timeline {
            return Some(&[]);
        }
        let switches = self.histories.get(&to)?;
        let leaves = |switch: &Switch| switch.timeline == timeline && switch.end >= from;
        switches.iter().any(leaves).then_some(switches.as_slice())
    }

    /// Returns how far a backup can be recovered that was consistent at `from` on this timeline: along the newest timeline that
    /// continues it.
    pub fn reach(&self, timeline: u32, from: Lsn) -> Reach {
        let newest = self.histories.keys().rev().find(|&&to| to != timeline && self.way(to, timeline, from).is_some());
        let followed = newest.copied().unwrap_or(timeline);
        self.along(self.way(followed, timeline, from).unwrap_or_default(), followed, timeline, from)
    }

    /// The same along a timeline of choice; `None` where that does not continue the backup.
    pub fn reach_along(&self, followed: u32, timeline: u32, from: Lsn) -> Option<Reach> {
        Some(self.along(self.way(followed, timeline, from)?, followed, timeline, from))
    }

    fn along(&self, switches: &[Switch], followed: u32, timeline: u32, from: Lsn) -> Reach {
        // The position may be the very end of a segment that is the backup's own.
        let first = from.0 / self.segment_size;
        let timeline_of = |number: u64| {
            let past = switches.iter().rev().find(|switch| switch.end.0 / self.segment_size <= number);
            match past {
                None => switches.first().map_or(followed, |switch| switch.timeline),
                Some(past) => {
                    let next = switches.iter().map(|switch| switch.timeline).find(|&other| other > past.timeline);
                    next.unwrap_or(followed)
                }
            }
        };
        let on_the_way = self
            .segments
            .iter()
            .filter(|segment| segment.number >= first && segment.timeline == timeline_of(segment.number));
        let mut numbers: Vec<u64> = on_the_way.map(|segment| segment.number).collect();
        numbers.sort_unstable();
        let segment = |number: u64| Segment { timeline: timeline_of(number), number };
        let mut reach =
            Reach { timeline: followed, end: None, last: None, segments: Vec::new(), gaps: Vec::new(), fork: None };
        let mut expected = first;
        for &number in &numbers {
            if number > expected {
                reach.gaps.push((segment(expected), segment(number - 1)));
            } else if reach.gaps.is_empty() {
                reach.last = Some(segment(number));
                reach.segments.push(segment(number));
                reach.end = Some(Lsn((number + 1).saturating_mul(self.segment_size)));
            }
            expected = number + 1;
        }
        self.end_at_fork(&mut reach, switches, (timeline, first));
        reach
    }

    /// Ends the way at a fork behind which it has no WAL. The segment of the fork is that of an older timeline then, which may go on in it:
    /// a server in recovery takes that for want of the other, and would replay what is not on the way.
    fn end_at_fork(&self, reach: &mut Reach, switches: &[Switch], (timeline, first): (u32, u64)) {
        let number = reach.last.map_or(first, |last| last.number + 1);
        let in_it = |switch: &&Switch| switch.timeline >= timeline && switch.end.0 / self.segment_size == number;
        for switch in switches.iter().rev().filter(in_it) {
            reach.fork = Some(switch.end);
            let older = Segment { timeline: switch.timeline, number };
            if self.segments.contains(&older) {
                if !switch.end.0.is_multiple_of(self.segment_size) {
                    reach.last = Some(older);
                    reach.segments.push(older);
                    reach.end = Some(switch.end);
                }
                break;
            }
        }
    }

    /// Returns the gaps of each timeline.
    pub fn gaps(&self) -> Vec<(Segment, Segment)> {
        let mut gaps = Vec::new();
        for pair in self.segments.iter().collect::<Vec<_>>().windows(2) {
            let (before, after) = (pair[0], pair[1]);
            if before.timeline == after.timeline && before.number + 1 < after.number {
                let segment = |number| Segment { timeline: after.timeline, number };
                gaps.push((segment(before.number + 1), segment(after.number - 1)));
            }
        }
        gaps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SIZE: u64 = 16 << 20;

    fn archive(segments: &[(u32, u64)]) -> Archive {
        Archive {
            segment_size: SIZE,
            segments: segments.iter().map(|&(timeline, number)| Segment { timeline, number }).collect(),
            ..Archive::default()
        }
    }

    #[test]
    fn positions_and_names_are_those_of_the_server() {
        assert_eq!(Lsn::parse("16/B374D848"), Some(Lsn(0x16_B374_D848)));
        assert_eq!(Lsn(0x16_B374_D848).to_string(), "16/B374D848");
        for wrong in ["", "/", "1", "1/", "/1", "1/123456789", "-1/1", "1/+1", "g/1"] {
            assert_eq!(Lsn::parse(wrong), None, "{wrong}");
        }
        let segment = Segment { timeline: 1, number: 0x1ff };
        assert_eq!(segment.name(SIZE), "0000000100000001000000FF");
        assert_eq!(Segment::parse("0000000100000001000000FF", SIZE), Some(segment));
        for wrong in ["000000010000000100000100", "0000000100000001000000ff", "00000002.history", "", "archtemp.1"] {
            assert_eq!(Segment::parse(wrong, SIZE), None, "{wrong}");
        }
        assert_eq!(history_name("00000002.history"), Some(2));
        assert_eq!(history_name("2.history"), None);
    }

    #[test]
    fn histories_of_timelines() {
        let text = "1\t0/5000000\tno recovery target specified\n\n2\t0/9000000\tat restore point \"x\"\n";
        let switches = [(1, 0x500_0000), (2, 0x900_0000)];
        assert_eq!(parse_history(text).unwrap(), switches.map(|(timeline, end)| Switch { timeline, end: Lsn(end) }));
        for wrong in ["x", "1", "1 2", "2 0/1\n1 0/2", "1 0/1\n1 0/2"] {
            assert_eq!(parse_history(wrong), None, "{wrong}");
        }
        // The second was to be followed, and recovery stopped before it began.
        let told = parse_history("1 0/9000000\n2 0/5000000").unwrap();
        assert_eq!(told, [1, 2].map(|timeline| Switch { timeline, end: Lsn(0x500_0000) }));
    }

    #[test]
    fn wal_leads_to_the_first_gap() {
        let known = archive(&[(1, 3), (1, 4), (1, 5), (1, 8), (1, 9)]);
        let reach = known.reach(1, Lsn(4 * SIZE + 100));
        assert_eq!((reach.end, reach.timeline), (Some(Lsn(6 * SIZE)), 1));
        let segment = |number| Segment { timeline: 1, number };
        assert_eq!(reach.gaps, [(segment(6), segment(7))]);
        assert_eq!(known.gaps(), [(segment(6), segment(7))]);
        let reach = known.reach(1, Lsn(7 * SIZE));
        assert_eq!((reach.end, reach.gaps), (None, vec![(segment(7), segment(7))]));
        let reach = known.reach(1, Lsn(20 * SIZE));
        assert_eq!((reach.end, reach.gaps.len()), (None, 0));
        assert_eq!(known.reach(2, Lsn(4 * SIZE)).end, None);
    }

    #[test]
    fn the_newest_timeline_of_the_backup_is_followed() {
        let mut known = archive(&[(1, 3), (1, 4), (1, 5), (2, 5), (2, 6), (3, 4), (3, 5)]);
        let switch = |timeline, end| Switch { timeline, end: Lsn(end) };
        known.histories.insert(2, vec![switch(1, 5 * SIZE + 10)]);
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.timeline, reach.end, reach.gaps.len()), (2, Some(Lsn(7 * SIZE)), 0));
        // A timeline that left this one before the backup was consistent does not continue it.
        known.histories.insert(3, vec![switch(1, 4 * SIZE)]);
        assert_eq!(known.reach(1, Lsn(4 * SIZE + 1)).timeline, 2);
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.timeline, reach.end), (3, Some(Lsn(6 * SIZE))));
        known.histories.insert(4, vec![switch(1, 5 * SIZE), switch(2, 6 * SIZE)]);
        known.segments.insert(Segment { timeline: 4, number: 6 });
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.timeline, reach.end), (4, Some(Lsn(7 * SIZE))));
    }
    #[test]
    fn a_fork_without_wal_behind_it_ends_the_way() {
        let switch = |timeline, end| Switch { timeline, end: Lsn(end) };
        let segment = |timeline, number| Segment { timeline, number };
        // The old timeline goes on, and of the new one there is the history alone.
        let mut known = archive(&[(1, 3), (1, 4), (1, 5), (1, 6)]);
        known.histories.insert(2, vec![switch(1, 5 * SIZE + 10)]);
        for from in [3 * SIZE, 5 * SIZE + 5] {
            let reach = known.reach(1, Lsn(from));
            let fork = Some(Lsn(5 * SIZE + 10));
            assert_eq!((reach.timeline, reach.end, reach.fork, reach.last), (2, fork, fork, Some(segment(1, 5))));
            assert!(reach.gaps.is_empty());
        }
        // At the end of a segment nothing of the next one is before the fork.
        known.histories.insert(2, vec![switch(1, 5 * SIZE)]);
        let reach = known.reach(1, Lsn(3 * SIZE));
        let fork = Some(Lsn(5 * SIZE));
        assert_eq!((reach.end, reach.fork, reach.last), (fork, fork, Some(segment(1, 4))));
        // The old timeline ended there.
        known.histories.insert(2, vec![switch(1, 7 * SIZE + 10)]);
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.end, reach.fork), (Some(Lsn(7 * SIZE)), Some(Lsn(7 * SIZE + 10))));
        // Its first segment is enough, and so is any that is before the fork.
        known.histories.insert(2, vec![switch(1, 5 * SIZE + 10)]);
        known.segments.insert(segment(2, 5));
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.end, reach.fork), (Some(Lsn(6 * SIZE)), None));
        known.segments.retain(|segment| segment.number < 4);
        let reach = known.reach(1, Lsn(3 * SIZE));
        assert_eq!((reach.end, reach.fork), (Some(Lsn(4 * SIZE)), None));
        // Two forks in one segment: what there is of the first timeline ends at the first.
        let mut known = archive(&[(1, 4), (1, 5)]);
        known.histories.insert(3, vec![switch(1, 5 * SIZE + 10), switch(2, 5 * SIZE + 20)]);
        assert_eq!(known.reach(1, Lsn(4 * SIZE)).end, Some(Lsn(5 * SIZE + 10)));
        known.segments.insert(segment(2, 5));
        assert_eq!(known.reach(1, Lsn(4 * SIZE)).end, Some(Lsn(5 * SIZE + 20)));
        // A backup behind a fork does not go back to it.
        let reach = known.reach(2, Lsn(5 * SIZE + 15));
        assert_eq!((reach.end, reach.fork), (Some(Lsn(5 * SIZE + 20)), Some(Lsn(5 * SIZE + 20))));
    }

    #[test]
    fn timelines_of_choice() {
        let switch = |timeline, end| Switch { timeline, end: Lsn(end) };
        let mut known = archive(&[(1, 3), (1, 4), (1, 5), (1, 6), (2, 5)]);
        known.histories.insert(2, vec![switch(1, 5 * SIZE + 10)]);
        let end = |followed, timeline, from| known.reach_along(followed, timeline, Lsn(from)).map(|reach| reach.end);
        assert_eq!(end(1, 1, 3 * SIZE), Some(Some(Lsn(7 * SIZE))));
        assert_eq!(end(2, 1, 3 * SIZE), Some(Some(Lsn(6 * SIZE))));
        assert_eq!(end(2, 1, 5 * SIZE + 11), None);
        assert_eq!(end(3, 1, 3 * SIZE), None);
        assert_eq!(end(1, 2, 5 * SIZE + 20), None);
    }
}
