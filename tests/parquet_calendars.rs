//! Files whose writer counted the days before 1582 by the calendar of their time, and says so.

use crate::harness::{Pair, describe, texts};
use crate::parquet_values::{directory, path};
use postgres::Client;

fn load(client: &mut Client, file: &str, target: &str) {
    let sql =
        format!("DROP TABLE IF EXISTS {target}; SELECT pgcopy.load_parquet('{}', target => '{target}')", path(file));
    client.batch_execute(&sql).unwrap_or_else(|error| panic!("{sql}: {}", describe(&error)));
}

/// The dates of the test's days, in a table `julian`.
fn pair(name: &str) -> Pair {
    let mut pair = Pair::new(name);
    let client = &mut pair.destination;
    client.batch_execute("LOAD 'pgcopy'; SET timezone = 'UTC'; CREATE TABLE julian (n bigserial, day date)").unwrap();
    for date in std::fs::read_to_string(directory().join("julian.txt")).unwrap().lines() {
        client.execute("INSERT INTO julian (day) VALUES ($1::text::date)", &[&date]).unwrap();
    }
    pair
}

/// A time of day on the date of each row.
fn moment(time: &str) -> String {
    format!("(j.day + time '{time}')::timestamp")
}

fn assert_moved(client: &mut Client, file: &str, conditions: &[(&str, String)]) {
    load(client, file, "loaded");
    for (value, wanted) in conditions {
        let sql = format!(
            "SELECT concat_ws(' ', n, {value}, 'and not', {wanted}) FROM loaded FULL JOIN julian j USING (n)
             WHERE ({value}) IS DISTINCT FROM ({wanted}) ORDER BY n"
        );
        assert_eq!(texts(client, &sql), [""; 0], "{file}: {value}");
    }
}

const NOON: &str = "12:00:00.123456";

#[test]
fn spark_says_which_files_have_the_old_calendar() {
    let mut pair = pair("parquet_spark");
    let client = &mut pair.destination;
    let date = || "j.day".to_owned();
    let utc = || format!("{} AT TIME ZONE 'UTC'", moment(NOON));
    for file in ["spark_2", "spark_legacy"] {
        assert_moved(
            client,
            file,
            &[
                ("d", date()),
                ("l[1]", date()),
                ("us", utc()),
                ("ms", format!("{} AT TIME ZONE 'UTC'", moment("12:00:00.123"))),
                ("(s ->> 't')::timestamptz", utc()),
                ("(SELECT key::date FROM jsonb_each(m))", date()),
            ],
        );
    }
    for (file, moved) in [("spark_2_int96", true), ("spark_3_0_int96", true), ("spark_legacy_int96", false)] {
        let wanted = if moved { moment(NOON) } else { "timestamp 'epoch'".to_owned() };
        load(client, file, "loaded");
        let sql = format!("SELECT count(*)::text FROM loaded JOIN julian j USING (n) WHERE t = {wanted}");
        assert_eq!(texts(client, &sql), [if moved { "13" } else { "0" }], "{file}");
    }
    // As they are: the days of the one calendar in the other.
    let as_written = texts(client, "SELECT string_agg((day - date '1970-01-01')::text, ' ' ORDER BY n) FROM julian");
    assert!(as_written[0].starts_with("-719162 "), "{as_written:?}");
    for file in ["spark_3_0", "spark_corrected", "no_spark"] {
        load(client, file, "loaded");
        assert_eq!(
            texts(client, "SELECT string_agg((d - date '1970-01-01')::text, ' ' ORDER BY n) FROM loaded"),
            ["-719164 -719165 -719529 -682944 -500320 -354221 -354220 -141428 -141427 -134774 0 -800000 -2000000"],
            "{file}"
        );
        let moved = "SELECT count(*)::text FROM loaded WHERE us AT TIME ZONE 'UTC' <> d + time '12:00:00.123456' OR ntz <> us AT TIME ZONE 'UTC'";
        assert_eq!(texts(client, moved), ["0"], "{file}");
    }
    // Local times have always been those of today's calendar.
    load(client, "spark_2", "loaded");
    assert_eq!(texts(client, "SELECT ntz::text FROM loaded WHERE n = 1"), ["0001-12-30 12:00:00.123456 BC"]);
}

#[test]
fn old_times_are_those_that_clocks_of_the_writers_zone_showed() {
    let mut pair = pair("parquet_spark_zones");
    let client = &mut pair.destination;
    // Java's old classes had Los Angeles 8 hours behind, and its new ones, as PostgreSQL, have it 7:52:58 until 1883.
    let los_angeles =
        format!("CASE WHEN j.day < '1883-01-01' THEN {} ELSE {} END", moment("11:52:58.123456"), moment(NOON));
    assert_moved(
        client,
        "spark_los_angeles",
        &[("d", "j.day".to_owned()), ("us", format!("({los_angeles}) AT TIME ZONE 'UTC'"))],
    );
    assert_moved(client, "spark_los_angeles_int96", &[("t", los_angeles)]);
    assert_moved(client, "spark_offset", &[("us", format!("{} AT TIME ZONE 'UTC'", moment(NOON)))]);
    assert_moved(client, "spark_offset_int96", &[("t", moment(NOON))]);
}

#[test]
fn hive_says_it_of_dates() {
    let mut pair = pair("parquet_hive");
    let client = &mut pair.destination;
    assert_moved(client, "hive", &[("d", "j.day".to_owned())]);
    assert_eq!(texts(client, "SELECT us::text FROM loaded WHERE n = 1"), ["0001-12-30 12:00:00.123456+00 BC"]);
    load(client, "hive_proleptic", "loaded");
    assert_eq!(texts(client, "SELECT d::text FROM loaded WHERE n = 1"), ["0001-12-30 BC"]);
}
