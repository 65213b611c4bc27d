//! Short forms of numbers for progress views.

/// Returns a count as `1234`, `12k`, `1.2M`: at most five characters.
pub fn short_count(count: u64) -> String {
    if count < 10_000 { count.to_string() } else { scaled(count as f64 / 1000.0, &["k", "M", "G", "T", "P"], 1000.0) }
}

/// Returns a size as `512B`, `12kB`, `1.2GB`: at most six characters.
pub fn short_bytes(bytes: u64) -> String {
    if bytes < 1000 {
        format!("{bytes}B")
    } else {
        scaled(bytes as f64 / 1024.0, &["kB", "MB", "GB", "TB", "PB"], 1024.0)
    }
}

/// Two significant digits at least, three at most.
fn scaled(mut value: f64, units: &[&str], step: f64) -> String {
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < units.len() {
        value /= step;
        unit += 1;
    }
    let decimals = usize::from(value < 9.95);
    format!("{value:.decimals$}{}", units[unit])
}

/// Returns a duration as `42s`, `4m10s`, `3h20m`, `12d4h`.
pub fn short_time(seconds: f64) -> String {
    let seconds = seconds.max(0.0).round() as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m{}s", seconds % 60),
        (0, ..) => format!("{hours}h{}m", minutes % 60),
        _ => format!("{days}d{}h", hours % 24),
    }
}

/// Five characters and the percentage: `##... 50%`. Only what is done is 100 %.
pub fn bar(fraction: f64) -> String {
    const LENGTH: usize = 5;
    let fraction = fraction.clamp(0.0, 1.0);
    let filled = (fraction * LENGTH as f64) as usize;
    format!("{}{} {}%", "#".repeat(filled), ".".repeat(LENGTH - filled), (fraction * 100.0) as u32)
}

/// Returns a size roughly as `pg_size_pretty` does.
pub fn pretty_bytes(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["bytes", "kB", "MB", "GB"] {
        if value < 10_240.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1024.0;
    }
    format!("{value:.0} TB")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let counts = [0, 9_999, 10_000, 99_400, 999_400, 999_500, 1_234_567, 12_345_678_901];
        assert_eq!(counts.map(short_count), ["0", "9999", "10k", "99k", "999k", "1.0M", "1.2M", "12G"]);
        let bytes = [0, 999, 1000, 1_048_576, 10_485_760, 1_072_693_248, 1_395_864_371];
        assert_eq!(bytes.map(short_bytes), ["0B", "999B", "1.0kB", "1.0MB", "10MB", "1.0GB", "1.3GB"]);
        for exponent in 0..59 {
            assert!(short_count(1 << exponent).len() <= 6, "{}", short_count(1 << exponent));
            assert!(short_bytes(1 << exponent).len() <= 6, "{}", short_bytes(1 << exponent));
        }
    }

    #[test]
    fn times_are_short() {
        let times = [0.0, 59.4, 60.0, 250.0, 3600.0, 12_000.0, 90_000.0];
        assert_eq!(times.map(short_time), ["0s", "59s", "1m0s", "4m10s", "1h0m", "3h20m", "1d1h"]);
    }

    #[test]
    fn a_bar_is_full_at_the_end_only() {
        assert_eq!([0.0, 0.5, 0.999, 1.0].map(bar), ["..... 0%", "##... 50%", "####. 99%", "##### 100%"]);
        assert_eq!(bar(7.0), bar(1.0));
        assert_eq!(bar(f64::NAN).len(), bar(0.0).len());
    }
}
