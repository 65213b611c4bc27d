//! Dates, times and intervals, to their limits.

use super::arrives;

#[test]
fn dates_and_timestamps() {
    arrives(
        "zoo_dates",
        "CREATE TABLE item (d date, t timestamp, z timestamptz, t0 timestamp(0), z3 timestamptz(3))",
        "INSERT INTO item VALUES
             ('infinity', 'infinity', 'infinity', 'infinity', 'infinity'),
             ('-infinity', '-infinity', '-infinity', '-infinity', '-infinity'),
             ('4714-11-24 BC', '4714-11-24 BC', '4714-11-24 00:00+00 BC', '4714-11-24 BC', '4714-11-24 00:00+00 BC'),
             ('5874897-12-31', '294276-12-31 23:59:59.999999', '294276-12-31 23:59:59.999999+00', '294276-12-31', '294276-12-31'),
             ('0001-12-31 BC', '0001-01-01', '1883-11-18 12:03:58-04:56:02', '1970-01-01', '2000-01-01 00:00:00.001'),
             ('2000-02-29', '1999-12-31 23:59:59.9999', '2024-03-31 02:30+02', NULL, NULL)",
    );
}

#[test]
fn times_of_the_day() {
    arrives(
        "zoo_times",
        "CREATE TABLE item (t time, z timetz, t0 time(0), z2 timetz(2))",
        "INSERT INTO item VALUES ('00:00', '00:00+15:59:59', '00:00', '00:00-15:59'), ('24:00', '24:00-15:59:59', '24:00', '24:00+0'),
             ('23:59:59.999999', '23:59:59.999999+01', '12:00', '12:00:00.25+02'), (NULL, NULL, NULL, NULL)",
    );
}

#[test]
fn intervals() {
    arrives(
        "zoo_intervals",
        "CREATE TABLE item (i interval, m interval year to month, s interval day to second(3))",
        "INSERT INTO item VALUES ('0', '0', '0'), ('-1 year +2 mons -3 days +04:05:06.789012', '-13 months', '-1 day 02:03:04.567'),
             ('178000000 years', '178000000 years', '2147483647 days'), ('-178000000 years -2147483648 days', NULL, NULL),
             ('1 mon -1 day', '1 year 1 mon', '24:00:00'), ('1 day -00:00:00.000001', NULL, '-24:00:00.001')",
    );
}
