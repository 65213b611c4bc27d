//! The program that wrote a file, as its footer tells, where it changes the meaning of values.

use parquet::file::metadata::KeyValue;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Provenance {
    /// The largest date and timestamp, and their negatives, stand for infinity.
    pub extremes_are_infinite: bool,
    /// Dates before the Gregorian calendar are of the Julian one.
    pub julian_dates: bool,
    /// Timestamps that are adjusted to UTC, and INT96, before the Gregorian calendar are of the Julian one.
    pub julian_timestamps: bool,
    pub julian_int96: bool,
    /// The time zone whose days those timestamps are of; UTC where it is not known.
    pub time_zone: Option<String>,
}

impl Provenance {
    pub fn of(created_by: Option<&str>, pairs: Option<&Vec<KeyValue>>) -> Self {
        let value = |key: &str| {
            let pair = pairs.into_iter().flatten().find(|pair| pair.key == key)?;
            Some(pair.value.as_deref().unwrap_or_default())
        };
        // Since version 2.4.6, Spark says how it counted days. Before version 3.0 it had one calendar, that of Java's
        // old classes: Julian up to October 4, 1582.
        let spark = value("org.apache.spark.version").map(version);
        let is_before = |limit: (u32, u32)| spark.is_some_and(|version| version < limit);
        let is_marked = |key: &str| spark.is_some() && value(key).is_some();
        let julian = is_before((3, 0)) || is_marked("org.apache.spark.legacyDateTime");
        Self {
            extremes_are_infinite: created_by
                .is_some_and(|text| text.get(..6).is_some_and(|name| name.eq_ignore_ascii_case("duckdb"))),
            // Hive says how it counted dates alone.
            julian_dates: julian || value("writer.date.proleptic") == Some("false"),
            julian_timestamps: julian,
            julian_int96: is_before((3, 1)) || is_marked("org.apache.spark.legacyINT96"),
            time_zone: value("org.apache.spark.timeZone").filter(|zone| !zone.is_empty()).map(str::to_owned),
        }
    }
}

/// Returns the major and minor number.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|letter: char| !letter.is_ascii_digit()).map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}
