#![forbid(unsafe_code)]
//! Days of the hybrid calendar, which is Julian up to October 4, 1582, as days of the proleptic Gregorian one, which counts
//! backwards from today as if it had been always there.
//!
//! Old programs, Java's among them, number days so that each has the date that people gave it at its time. A day keeps its
//! date here; its number changes.

/// The first day of the Gregorian calendar, October 15, 1582, since 1970.
pub const FIRST_GREGORIAN_DAY: i64 = -141_427;

/// The day of March 1 of the year 0, since 1970, in both calendars.
const GREGORIAN_EPOCH: i64 = -719_468;
const JULIAN_EPOCH: i64 = -719_470;

/// Returns the day since 1970 that has the same date in the proleptic Gregorian calendar. February 29 of a year that
/// has none there becomes March 1.
pub fn gregorian_day(hybrid_day: i64) -> i64 {
    if hybrid_day >= FIRST_GREGORIAN_DAY {
        return hybrid_day;
    }
    // Years that begin in March: a leap day is the last one of its year.
    let since_epoch = hybrid_day - JULIAN_EPOCH;
    let (cycle, day_of_cycle) = (since_epoch.div_euclid(1461), since_epoch.rem_euclid(1461));
    let year_of_cycle = (day_of_cycle / 365).min(3);
    let (year, day_of_year) = (cycle * 4 + year_of_cycle, day_of_cycle - year_of_cycle * 365);
    GREGORIAN_EPOCH + year * 365 + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_keeps_its_date() {
        // The distance of the calendars between these days.
        let differences = [
            (-719_164, 2),
            (-682_945, 1),
            (-646_420, 0),
            (-609_895, -1),
            (-536_845, -2),
            (-500_320, -3),
            (-463_795, -4),
            (-390_745, -5),
            (-354_220, -6),
            (-317_695, -7),
            (-244_645, -8),
            (-208_120, -9),
            (-171_595, -10),
            (FIRST_GREGORIAN_DAY, 0),
        ];
        for pair in differences.windows(2) {
            for day in pair[0].0..pair[1].0 {
                assert_eq!(gregorian_day(day), day + pair[0].1, "{day}");
            }
        }
        assert!((FIRST_GREGORIAN_DAY..10).all(|day| gregorian_day(day) == day));
    }

    #[test]
    fn years_before_the_first_have_the_same_leap_years() {
        // January 1, 1 BC, which was 366 days long, and March 1, 5 BC, after a leap day.
        assert_eq!(gregorian_day(-719_164 - 366), -719_162 - 366);
        assert_eq!(gregorian_day(-719_164 - 366 - 1461 + 60), -719_162 - 366 - 1461 + 60);
        // February 29, 101 BC, which there is not.
        let march = gregorian_day(JULIAN_EPOCH - 100 * 365 - 25);
        assert_eq!(gregorian_day(JULIAN_EPOCH - 100 * 365 - 26), march);
        assert_eq!(gregorian_day(JULIAN_EPOCH - 100 * 365 - 27), march - 1);
    }

    #[test]
    fn days_stay_in_their_order() {
        let mut last = gregorian_day(-3_000_000);
        for day in -2_999_999..FIRST_GREGORIAN_DAY {
            let next = gregorian_day(day);
            assert!((last..=last + 1).contains(&next), "{day}");
            last = next;
        }
    }
}
