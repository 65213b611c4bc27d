//! Masks of days and timestamps, which are days and microseconds since the beginning of 2000.

use crate::hash::natural;

const DAY: i64 = 86_400_000_000;

/// Returns the number of a day of the Gregorian calendar, where the year before 1 is 0.
const fn day(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let century = year.div_euclid(400);
    let of_century = year - century * 400;
    let of_year = (153 * month + 2) / 5 + day - 1;
    century * 146_097 + of_century * 365 + of_century / 4 - of_century / 100 + of_year - 730_425
}

/// The first day, and the last ones of dates and of timestamps, for which no other is too late, or too early, by the most days.
const FIRST: i64 = day(-4599, 1, 1);
const LAST_DATE: i64 = day(5_874_700, 1, 1);
const LAST_TIMESTAMP: i64 = day(294_100, 1, 1);

/// Returns how many days a value is moved: at most so many, in either direction, by its hash.
fn offset(hash: i64, days: i64) -> i64 {
    // All days on both sides but the one in the middle, counted round: from it upwards, and on from the first.
    (1 + hash % (2 * days) + days) % (2 * days + 1) - days
}

/// Returns how many days a value is moved that lies between two ends, or beyond one. Those near an end go inwards.
fn moved(value: i64, first: i64, last: i64, hash: i64, days: i64) -> i64 {
    let offset = offset(hash, days);
    if value > last {
        -offset.abs()
    } else if value < first {
        offset.abs()
    } else {
        offset
    }
}

/// The most days that a value is moved.
fn is_number_of_days(days: i32) -> bool {
    (1..=1_000_000).contains(&days)
}

/// Returns a day up or down by at most so many days. `None` where these are too many, or too few.
#[inline]
pub fn date_near(key: &[u8], date: i32, days: i32) -> Option<i32> {
    if !is_number_of_days(days) {
        return None;
    }
    if [i32::MIN, i32::MAX].contains(&date) {
        return Some(date);
    }
    let hash = natural(key, "date", &date.to_be_bytes());
    let by = moved(date.into(), FIRST, LAST_DATE, hash, days.into());
    i32::try_from(i64::from(date) + by).ok()
}

/// Returns any day between two. `None` where there is none.
#[inline]
pub fn date_between(key: &[u8], date: i32, first: i32, last: i32) -> Option<i32> {
    any_day(natural(key, "date", &date.to_be_bytes()), first, last)
}

fn any_day(hash: i64, first: i32, last: i32) -> Option<i32> {
    let days = i64::from(last) - i64::from(first) + 1;
    if days < 1 || [i32::MIN, i32::MAX].contains(&first) || [i32::MIN, i32::MAX].contains(&last) {
        return None;
    }
    i32::try_from(i64::from(first) + hash % days).ok()
}

/// Returns a timestamp up or down by at most so many days, at the same time of day. `None` as for dates.
#[inline]
pub fn timestamp_near(key: &[u8], timestamp: i64, days: i32) -> Option<i64> {
    if !is_number_of_days(days) {
        return None;
    }
    if [i64::MIN, i64::MAX].contains(&timestamp) {
        return Some(timestamp);
    }
    let hash = natural(key, "date", &timestamp.to_be_bytes());
    timestamp.checked_add(moved(timestamp, FIRST * DAY, LAST_TIMESTAMP * DAY, hash, days.into()) * DAY)
}

/// Returns the beginning of any day between two.
#[inline]
pub fn timestamp_between(key: &[u8], timestamp: i64, first: i32, last: i32) -> Option<i64> {
    let day = any_day(natural(key, "date", &timestamp.to_be_bytes()), first, last)?;
    i64::from(day).checked_mul(DAY)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [9; 32];

    #[test]
    fn days_are_counted_from_2000() {
        for (year, month, number, expected) in [
            (2000, 1, 1, 0),
            (2000, 3, 1, 60),
            (1999, 12, 31, -1),
            (1970, 1, 1, -10_957),
            (2049, 12, 31, 18_262),
            (1, 1, 1, -730_119),
        ] {
            assert_eq!(day(year, month, number), expected, "{year}");
        }
        // 24 November 4714 BC, of which the server counts its days.
        assert_eq!(day(-4713, 11, 24), -2_451_545);
    }

    #[test]
    fn days_stay_near() {
        for days in [1, 2, 30, 36_500, 1_000_000] {
            let mut found = std::collections::BTreeSet::new();
            for date in -500..500 {
                let by = date_near(&KEY, date, days).unwrap() - date;
                assert!(by != 0 && by.abs() <= days, "{days}");
                found.insert(by);
                let at = i64::from(date) * DAY + 5;
                let by = timestamp_near(&KEY, at, days).unwrap() - at;
                assert!(by != 0 && by.abs() <= i64::from(days) * DAY && by % DAY == 0);
            }
            assert!(found.len() == 2 * days as usize || found.len() > 50, "{days}");
        }
        for date in [i32::MIN, i32::MAX] {
            assert_eq!(date_near(&KEY, date, 30), Some(date));
        }
        let (first, last) = (day(-4713, 11, 24) as i32, day(5_874_897, 12, 31) as i32);
        assert!(date_near(&KEY, first, 30).unwrap() > first && date_near(&KEY, last, 30).unwrap() < last);
        for days in [0, -1, i32::MIN, i32::MAX] {
            assert_eq!(date_near(&KEY, 5, days), None);
            assert_eq!(timestamp_near(&KEY, 5, days), None);
        }
        timestamp_near(&KEY, i64::MAX - 1, 30);
        timestamp_near(&KEY, i64::MIN + 1, 30);
        assert_eq!(timestamp_near(&KEY, i64::MAX, 30), Some(i64::MAX));
    }

    #[test]
    fn days_stay_between() {
        for (first, last) in [(0, 0), (-10, 10), (i32::MIN + 1, i32::MAX - 1)] {
            for date in [0, 1, -1, i32::MIN, i32::MAX] {
                assert!((first..=last).contains(&date_between(&KEY, date, first, last).unwrap()));
                // Of the last range most days are too late for a timestamp.
                let at = timestamp_between(&KEY, date.into(), first, last);
                assert!(at.is_some() || first < -10);
                assert!(at.is_none_or(|at| at % DAY == 0 && (first..=last).contains(&((at / DAY) as i32))));
            }
        }
        assert_eq!(date_between(&KEY, 0, 1, 0), None);
        assert_eq!(date_between(&KEY, 0, i32::MIN, 0), None);
    }
}
