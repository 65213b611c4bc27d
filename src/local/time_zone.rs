//! Time zones that files name.

use pgrx::pg_sys;
use std::ffi::CString;

/// A time zone of the server's, or a constant distance from UTC.
#[derive(Debug, Clone, Copy)]
pub enum TimeZone {
    /// Seconds east of UTC.
    Fixed(i64),
    /// The server's structure, which lives as long as the process.
    Named(*mut pg_sys::pg_tz),
}

impl TimeZone {
    pub const UTC: Self = Self::Fixed(0);

    /// Finds a zone by its name in the time zone database, or by a distance such as `+05:30` or `UTC-3`, which counts
    /// eastwards.
    pub fn of(name: &str) -> Option<Self> {
        if let Some(seconds) = fixed_offset(name) {
            return Some(Self::Fixed(seconds));
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'/' | b'_' | b'-' | b'+')) {
            return None;
        }
        let name = CString::new(name).ok()?;
        // SAFETY: a text that ends in a NUL.
        let zone = unsafe { pg_sys::pg_tzset(name.as_ptr()) };
        (!zone.is_null()).then_some(Self::Named(zone))
    }

    /// Returns the seconds east of UTC of standard time under today's rules.
    pub fn standard_offset(self) -> i64 {
        // Of January 15, 2024, since 1970.
        const MIDDLE_OF_JANUARY: i64 = 19_737;
        const DAYS_BETWEEN: i64 = 15;
        const SECONDS_PER_DAY: i64 = 86_400;
        match self {
            Self::Fixed(seconds) => seconds,
            // Standard time is the earliest that clocks show in a year.
            Self::Named(zone) => (0..24)
                .filter_map(|sample| {
                    let time = (MIDDLE_OF_JANUARY + sample * DAYS_BETWEEN) * SECONDS_PER_DAY;
                    // SAFETY: the zone lives as long as the process; what is returned is a static buffer, read at once.
                    let local = unsafe { pg_sys::pg_localtime(&time, zone).as_ref() }?;
                    Some(local.tm_gmtoff as i64)
                })
                .min()
                .unwrap_or(0),
        }
    }

    /// Returns the seconds east of UTC when clocks show a time, which is given as a day since 1970 of the proleptic
    /// Gregorian calendar and a second of that day.
    pub fn offset_at_local(self, day: i64, second: i64) -> i64 {
        let Self::Named(zone) = self else { return self.standard_offset() };
        let Some(julian_day) = i32::try_from(day + i64::from(pg_sys::UNIX_EPOCH_JDATE)).ok().filter(|day| *day >= 0)
        else {
            return 0;
        };
        let mut time = pg_sys::pg_tm {
            tm_hour: (second / 3600) as i32,
            tm_min: (second / 60 % 60) as i32,
            tm_sec: (second % 60) as i32,
            ..Default::default()
        };
        // SAFETY: both fill what they are given; the zone lives as long as the process.
        let west = unsafe {
            pg_sys::j2date(julian_day, &mut time.tm_year, &mut time.tm_mon, &mut time.tm_mday);
            pg_sys::DetermineTimeZoneOffset(&mut time, zone)
        };
        -i64::from(west)
    }
}

/// Parses `Z`, `±hh`, `±hh:mm` and `±hh:mm:ss`, also after `UTC`, `GMT` or `UT`.
fn fixed_offset(name: &str) -> Option<i64> {
    let rest = ["UTC", "GMT", "UT"].iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or(name);
    if rest.is_empty() || rest == "Z" {
        return (!name.is_empty()).then_some(0);
    }
    let (sign, distance) = match rest.split_at_checked(1)? {
        ("+", distance) => (1, distance),
        ("-", distance) => (-1, distance),
        _ => return None,
    };
    let mut seconds = 0;
    let mut parts = distance.split(':');
    for unit in [3600, 60, 1] {
        let Some(part) = parts.next() else { break };
        if !(1..=2).contains(&part.len()) || !part.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        seconds += part.parse::<i64>().ok()? * unit;
    }
    parts.next().is_none().then_some(sign * seconds)
}
