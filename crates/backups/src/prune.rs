//! Which backups and which WAL a policy keeps.

use crate::wal::{Archive, Lsn, Segment, Switch};
use std::collections::{BTreeMap, BTreeSet};

/// What is known of a backup in a repository.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known {
    pub name: String,
    /// The backup that it builds on.
    pub parent: Option<String>,
    /// Whether it is complete and its manifest sound.
    pub complete: bool,
    /// Microseconds since 1970; `None` where nothing tells.
    pub finished: Option<i64>,
    /// The first position in the WAL that it needs.
    pub start: Option<Lsn>,
    /// Where it is consistent: the timeline, and the position.
    pub end: Option<(u32, Lsn)>,
}

/// A timeline that moments are to be restored of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub timeline: u32,
    /// Its ancestors, from the oldest.
    pub switches: Vec<Switch>,
}

impl Line {
    /// Returns whether a backup is one of this timeline, or was one before this timeline began.
    fn continues(&self, known: &Known) -> bool {
        let leaves = |timeline: u32, end: Lsn| {
            self.switches.iter().any(|switch| switch.timeline == timeline && switch.end >= end)
        };
        known.end.is_some_and(|(timeline, end)| timeline == self.timeline || leaves(timeline, end))
    }
}

/// What is to be kept. A backup is kept if either of the rules says so.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Policy {
    /// The number of the newest full backups, with those that build on them.
    pub full: Option<usize>,
    /// Every moment from this one on stays restorable. Microseconds since 1970.
    pub since: Option<i64>,
}

/// What happens to a backup, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    pub name: String,
    pub keep: bool,
    pub reason: String,
}

/// Returns the backups that can be restored: complete, and so are all that they build on.
pub fn good(backups: &[Known]) -> BTreeSet<&str> {
    let by_name: BTreeMap<&str, &Known> = backups.iter().map(|known| (known.name.as_str(), known)).collect();
    let is_good = |known: &&Known| chain(known, &by_name).is_some();
    backups.iter().filter(is_good).map(|known| known.name.as_str()).collect()
}

/// The names of a backup and of those that it builds on, up to the full one; `None` where one is missing or not complete.
pub fn chain<'a>(known: &'a Known, by_name: &BTreeMap<&'a str, &'a Known>) -> Option<Vec<&'a str>> {
    let mut names = Vec::new();
    let mut next = Some(known);
    while let Some(current) = next {
        // A chain that is longer than there are backups leads round.
        if !current.complete || current.finished.is_none() || current.start.is_none() || names.len() >= by_name.len() {
            return None;
        }
        names.push(current.name.as_str());
        next = match &current.parent {
            Some(parent) => Some(*by_name.get(parent.as_str())?),
            None => None,
        };
    }
    Some(names)
}

/// Decides about each backup, in the order of their names. A backup of a timeline that was left does not stand for one of the timelines
/// whose moments are to be restored.
pub fn decide(backups: &[Known], policy: Policy, lines: &[Line]) -> Vec<Verdict> {
    let by_name: BTreeMap<&str, &Known> = backups.iter().map(|known| (known.name.as_str(), known)).collect();
    let mut good: Vec<(i64, &str, Vec<&str>)> = by_name
        .values()
        .filter_map(|known| Some((known.finished?, known.name.as_str(), chain(known, &by_name)?)))
        .collect();
    good.sort();
    let fulls: Vec<&str> =
        good.iter().rev().filter(|(_, _, chain)| chain.len() == 1).map(|&(_, name, _)| name).collect();
    let mut kept: BTreeMap<&str, String> = BTreeMap::new();
    if let Some(&newest) = fulls.first() {
        kept.insert(newest, "it is the newest full backup".into());
    }
    for line in lines {
        if let Some(&newest) = fulls.iter().find(|&&name| line.continues(by_name[name])) {
            kept.entry(newest).or_insert_with(|| format!("it is the newest full backup of timeline {}", line.timeline));
        }
    }
    if let Some(most) = policy.full {
        let newest: BTreeSet<&str> = fulls.iter().take(most).copied().collect();
        for &name in &newest {
            kept.entry(name).or_insert_with(|| format!("it is one of the newest {most} full backups"));
        }
        for (_, name, chain) in &good {
            let root = chain[chain.len() - 1];
            if newest.contains(root) && *name != root {
                kept.entry(name).or_insert_with(|| format!("it builds on \"{root}\", which is kept"));
            }
        }
    }
    if let Some(since) = policy.since {
        for &(finished, name, _) in &good {
            if finished >= since {
                kept.entry(name).or_insert_with(|| "it is young enough".into());
            }
        }
        // The moments before the first of these are restored from the one before.
        if let Some((_, name, _)) = good.iter().rfind(|(finished, _, _)| *finished < since) {
            kept.entry(name).or_insert_with(|| "the oldest moments that are kept are restored from it".into());
        }
        for line in lines {
            let mut before = good.iter().filter(|(finished, _, _)| *finished < since);
            if let Some((_, name, _)) = before.rfind(|(_, name, _)| line.continues(by_name[*name])) {
                let timeline = line.timeline;
                kept.entry(name).or_insert_with(|| {
                    format!("the oldest moments of timeline {timeline} that are kept are restored from it")
                });
            }
        }
    }
    for (_, name, chain) in &good {
        if kept.contains_key(name) {
            for parent in &chain[1..] {
                kept.entry(parent).or_insert_with(|| format!("\"{name}\" builds on it"));
            }
        }
    }
    let is_good: BTreeSet<&str> = good.iter().map(|&(_, name, _)| name).collect();
    by_name
        .keys()
        .map(|&name| {
            let (keep, reason) = match kept.remove(name) {
                Some(reason) => (true, reason),
                // Without a good one, what is damaged may be all that somebody has.
                None if fulls.is_empty() => (true, "there is no full backup that can be restored".into()),
                None if is_good.contains(name) => (false, "the policy does not ask for it".into()),
                None => (false, "it cannot be restored".into()),
            };
            Verdict { name: name.to_owned(), keep, reason }
        })
        .collect()
}

/// What of an archive goes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unneeded<'a> {
    pub segments: Vec<&'a Segment>,
    /// The names of files that go with segments.
    pub beside: Vec<&'a str>,
}

/// Returns what no backup needs of an archive that remains: all before the first segment that one of them needs.
pub fn unneeded_wal<'a>(archive: &'a Archive, backups: &[Known], verdicts: &[Verdict]) -> Unneeded<'a> {
    let kept: BTreeSet<&str> =
        verdicts.iter().filter(|verdict| verdict.keep).map(|verdict| verdict.name.as_str()).collect();
    let starts = backups.iter().filter(|known| kept.contains(known.name.as_str())).map(|known| known.start);
    // Where one does not tell, or there is none, everything may be needed.
    let Some(first) = starts.collect::<Option<Vec<Lsn>>>().and_then(|starts| starts.into_iter().min()) else {
        return Unneeded::default();
    };
    let first = first.0 / archive.segment_size;
    let beside = archive.beside.iter().filter(|(_, segment)| segment.number < first);
    Unneeded {
        segments: archive.segments.iter().filter(|segment| segment.number < first).collect(),
        beside: beside.map(|(name, _)| name.as_str()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Random(u64);

    impl Random {
        fn below(&mut self, limit: u64) -> u64 {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (self.0 >> 33) % limit
        }
    }

    const SIZE: u64 = 1 << 24;

    /// Full backups, incremental ones on any of the earlier ones, some of them damaged, or gone.
    fn repository(random: &mut Random) -> (Vec<Known>, Archive, Policy, Vec<Line>) {
        let mut backups: Vec<Known> = Vec::new();
        for number in 0..random.below(12) {
            let parent = (random.below(2) == 0 && !backups.is_empty())
                .then(|| backups[random.below(backups.len() as u64) as usize].name.clone());
            backups.push(Known {
                name: format!("b{number:02}"),
                parent,
                complete: random.below(6) > 0,
                finished: (random.below(20) > 0).then_some((number * 10 + random.below(10)) as i64),
                start: (random.below(20) > 0)
                    .then_some(Lsn((number * 3 + random.below(3)) * SIZE + random.below(SIZE))),
                end: (random.below(20) > 0).then_some((random.below(3) as u32 + 1, Lsn((number * 3 + 3) * SIZE))),
            });
        }
        if random.below(4) == 0 && !backups.is_empty() {
            backups.remove(random.below(backups.len() as u64) as usize);
        }
        if random.below(8) == 0 && backups.len() > 1 {
            // Parents that lead round.
            let last = backups[backups.len() - 1].name.clone();
            backups[0].parent = Some(last);
        }
        let segments = (0..random.below(40)).filter(|_| random.below(10) > 0);
        let segments = segments.map(|number| Segment { timeline: 1, number }).collect();
        let beside =
            (0..random.below(20)).map(|at| (format!("{at}.x"), Segment { timeline: 2, number: random.below(40) }));
        let beside = beside.collect();
        let archive = Archive { segment_size: SIZE, segments, beside, ..Archive::default() };
        let policy = Policy {
            full: (random.below(3) > 0).then(|| random.below(4) as usize),
            since: (random.below(3) > 0).then(|| random.below(130) as i64),
        };
        let line = |timeline: u64, random: &mut Random| {
            let ancestors = (1..timeline).filter(|_| random.below(4) > 0).collect::<Vec<u64>>();
            let switch = |timeline: u64| Switch { timeline: timeline as u32, end: Lsn(random.below(40) * SIZE) };
            Line { timeline: timeline as u32, switches: ancestors.into_iter().map(switch).collect() }
        };
        let lines = (0..random.below(3)).map(|_| random.below(4) + 1).collect::<Vec<u64>>();
        let lines = lines.into_iter().map(|timeline| line(timeline, &mut *random)).collect();
        (backups, archive, policy, lines)
    }

    /// Whether a backup is complete with all that it builds on, by following names without any bookkeeping.
    fn restorable(backups: &[Known], name: &str, depth: usize) -> Option<String> {
        let known = backups.iter().find(|known| known.name == name)?;
        if depth > backups.len() || !known.complete || known.finished.is_none() || known.start.is_none() {
            return None;
        }
        match &known.parent {
            None => Some(name.to_owned()),
            Some(parent) => restorable(backups, parent, depth + 1),
        }
    }

    /// The rules, one by one, over all backups.
    fn should_keep(backups: &[Known], policy: Policy, lines: &[Line], name: &str) -> bool {
        let root = |name: &str| restorable(backups, name, 0);
        let finished = |name: &str| backups.iter().find(|known| known.name == name).unwrap().finished.unwrap();
        let good: Vec<&str> =
            backups.iter().map(|known| known.name.as_str()).filter(|name| root(name).is_some()).collect();
        let is_full = |name: &str| root(name).as_deref() == Some(name);
        let newer_fulls = |than: &str| {
            good.iter().filter(|name| is_full(name) && (finished(name), **name) > (finished(than), than)).count()
        };
        if !good.iter().any(|name| is_full(name)) {
            return true;
        }
        if root(name).is_none() {
            return false;
        }
        let by_rule = |name: &str| {
            let root = root(name).unwrap();
            let newest = is_full(name) && newer_fulls(name) == 0;
            let by_number = policy.full.is_some_and(|most| newer_fulls(&root) < most);
            let by_time = policy.since.is_some_and(|since| {
                let after = |other: &str| (finished(other), other) > (finished(name), name);
                finished(name) >= since || !good.iter().any(|other| finished(other) < since && after(other))
            });
            // Among the backups that the timeline goes on from, nothing but the newest ones.
            let by_line = lines.iter().any(|line| {
                let is_of_line = |name: &str| {
                    let end = backups.iter().find(|known| known.name == name).unwrap().end;
                    let left = |at: (u32, Lsn)| {
                        line.switches.iter().any(|it| (it.timeline, it.end.max(at.1)) == (at.0, it.end))
                    };
                    end.is_some_and(|end| end.0 == line.timeline || left(end))
                };
                let later = |other: &str| is_of_line(other) && (finished(other), other) > (finished(name), name);
                let newest = is_full(name) && !good.iter().any(|other| is_full(other) && later(other));
                let before = policy.since.is_some_and(|since| {
                    finished(name) < since && !good.iter().any(|other| finished(other) < since && later(other))
                });
                is_of_line(name) && (newest || before)
            });
            newest || by_number || by_time || by_line
        };
        // Kept itself, or needed by one that is kept.
        good.iter().any(|other| {
            let mut ancestor = Some((*other).to_owned());
            while let Some(current) = ancestor {
                if current == name {
                    return by_rule(other);
                }
                ancestor = backups.iter().find(|known| known.name == current).and_then(|known| known.parent.clone());
            }
            false
        })
    }

    #[test]
    fn made_up_repositories() {
        let (mut removed, mut kept, mut segments, mut beside) = (0, 0, 0, 0);
        for seed in 0..3000 {
            let (backups, archive, policy, lines) = repository(&mut Random(seed));
            let verdicts = decide(&backups, policy, &lines);
            assert_eq!(verdicts.len(), backups.len());
            for verdict in &verdicts {
                let expected = should_keep(&backups, policy, &lines, &verdict.name);
                assert_eq!(verdict.keep, expected, "seed {seed}: {verdict:?} {policy:?} {backups:#?}");
                if verdict.keep { kept += 1 } else { removed += 1 }
            }
            let remaining: Vec<&Known> = backups
                .iter()
                .filter(|known| verdicts.iter().any(|verdict| verdict.keep && verdict.name == known.name))
                .collect();
            // What could be restored and is kept can still be.
            let left: Vec<Known> = remaining.iter().map(|&known| known.clone()).collect();
            for known in &remaining {
                assert_eq!(restorable(&backups, &known.name, 0).is_some(), restorable(&left, &known.name, 0).is_some());
            }
            let goes = unneeded_wal(&archive, &backups, &verdicts);
            segments += goes.segments.len();
            beside += goes.beside.len();
            let is_needed = |segment: &Segment| {
                remaining.is_empty()
                    || remaining.iter().any(|known| known.start.is_none_or(|start| segment.number >= start.0 / SIZE))
            };
            for segment in &archive.segments {
                assert_eq!(goes.segments.contains(&segment), !is_needed(segment), "seed {seed}");
            }
            for (name, segment) in &archive.beside {
                assert_eq!(goes.beside.contains(&name.as_str()), !is_needed(segment), "seed {seed}");
            }
        }
        assert!(removed > 1000 && kept > 1000 && segments > 1000, "{removed} {kept} {segments}");
        assert!(beside > 1000, "{beside}");
    }

    #[test]
    fn the_last_full_backup_stays_whatever_the_policy() {
        let known = |name: &str, finished, complete| Known {
            name: name.into(),
            parent: None,
            complete,
            finished: Some(finished),
            start: Some(Lsn(SIZE)),
            end: Some((1, Lsn(2 * SIZE))),
        };
        let backups = [known("a", 1, true), known("b", 2, true), known("c", 3, false)];
        for policy in
            [Policy::default(), Policy { full: Some(0), since: None }, Policy { full: None, since: Some(1000) }]
        {
            let verdicts = decide(&backups, policy, &[]);
            let kept: Vec<bool> = verdicts.iter().map(|verdict| verdict.keep).collect();
            assert_eq!(kept, [false, true, false], "{verdicts:?}");
        }
        let verdicts = decide(&backups[2..], Policy { full: Some(0), since: None }, &[]);
        assert!(verdicts[0].keep);
    }
    #[test]
    fn backups_of_a_timeline_that_was_left_do_not_stand_for_others() {
        let known = |name: &str, finished, timeline, end| Known {
            name: name.into(),
            parent: None,
            complete: true,
            finished: Some(finished),
            start: Some(Lsn(SIZE)),
            end: Some((timeline, Lsn(end))),
        };
        // The server went back to a moment between the first two of them, and on from there.
        let backups = [known("a", 1, 1, 10), known("b", 2, 1, 30), known("c", 3, 1, 40), known("d", 10, 2, 25)];
        let lines = [Line { timeline: 2, switches: vec![Switch { timeline: 1, end: Lsn(20) }] }];
        let kept = |backups: &[Known], policy| -> Vec<String> {
            decide(backups, policy, &lines)
                .into_iter()
                .filter(|verdict| verdict.keep)
                .map(|verdict| verdict.name)
                .collect()
        };
        // Before the first backup of its own.
        assert_eq!(kept(&backups[..3], Policy { full: Some(1), since: None }), ["a", "c"]);
        // Moments of it that are older than that backup.
        assert_eq!(kept(&backups, Policy { full: None, since: Some(5) }), ["a", "c", "d"]);
        assert_eq!(kept(&backups, Policy { full: Some(1), since: None }), ["d"]);
    }
}
