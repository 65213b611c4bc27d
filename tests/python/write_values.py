"""Writes Parquet files whose values are at the ends of what their types, or PostgreSQL's, can hold."""

import datetime
import decimal
import random
import struct
import sys

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import raw_parquet as raw

D = decimal.Decimal
DIRECTORY = sys.argv[1]
NUMBERS = random.Random(20241125)
ROWS = 3000


def path(name):
    return f"{DIRECTORY}/{name}.parquet"


def write(name, columns, **options):
    pq.write_table(pa.table(columns), path(name), **options)


def floats(code, integer, bits, known):
    """Those known, powers of two, short decimals, and numbers of random bits; NULL at the end."""
    values = list(known)
    powers = range(-1074, 1024, 3) if bits == 64 else range(-149, 128)
    values += [float(f"{sign}{2.0 ** power!r}") for power in powers for sign in ("", "-")]
    values += [NUMBERS.randrange(10**7) / 10 ** NUMBERS.randrange(12) for _ in range(400)]
    while len(values) < ROWS - 1:
        values.append(struct.unpack(code, struct.pack(integer, NUMBERS.getrandbits(bits)))[0])
    return values[: ROWS - 1] + [None]


def integers(low, high, known=()):
    values = [low, high, 0, *known]
    while len(values) < ROWS - 1:
        values.append(NUMBERS.randint(low, high) >> NUMBERS.randrange(64))
    return values + [None]


def decimals(precision, scale):
    with decimal.localcontext() as context:
        context.prec = 100
        values = [D(0), D(10**precision - 1).scaleb(-scale), -D(10**precision - 1).scaleb(-scale), D(1).scaleb(-scale)]
        while len(values) < ROWS - 1:
            digits = NUMBERS.randrange(10 ** NUMBERS.randint(1, precision))
            values.append(D(NUMBERS.choice([digits, -digits])).scaleb(-scale))
    return pa.array(values + [None], (pa.decimal128 if precision <= 38 else pa.decimal256)(precision, scale))


EDGE = [0.0, -0.0, float("inf"), float("-inf"), float("nan")]
DAY = 86_400_000_000
MICROSECONDS = [0, -1, 1, 946684800000000, -62135596800000000, -62135596800000001, 253402300799999999, 1500, 120000000]
# Of PostgreSQL: November 24, 4714 BC, and December 31, 294276; i64 ends in 294247.
FIRST_DAY, LAST_DAY = -2440588, 2145042905
END = 9224318016000000000 // DAY
native = {
    "b": pa.array([True, False, None] * (ROWS // 3)),
    "i8": pa.array(integers(-128, 127), pa.int8()),
    "i16": pa.array(integers(-(2**15), 2**15 - 1), pa.int16()),
    "i32": pa.array(integers(-(2**31), 2**31 - 1), pa.int32()),
    "i64": pa.array(integers(-(2**63), 2**63 - 1), pa.int64()),
    "u64": pa.array(integers(0, 2**64 - 1), pa.uint64()),
    "f16": pa.Array.from_buffers(pa.float16(), ROWS, [None, pa.py_buffer(NUMBERS.randbytes(2 * ROWS))]),
    "f32": pa.array(floats("<f", "<I", 32, EDGE + [1.1174e-05, 3.4028235e38, 1e15, 16777216.0, 1e-5]), pa.float32()),
    "f64": pa.array(floats("<d", "<Q", 64, EDGE + [1.1174e-05, 5e-324, 1e15, 1e16, 1e-5, 9007199254740993.0, 1e23, 2.0**-44])),
    "d5": decimals(5, 2),
    "d18": decimals(18, 18),
    "d38": decimals(38, 10),
    "d76": decimals(76, 30),
    "date": pa.array(integers(FIRST_DAY, LAST_DAY, [-719162, -719163, 2932896]), pa.int32()).cast(pa.date32()),
    "t_ms": pa.array(integers(0, DAY // 1000 - 1), pa.int64()).cast(pa.int32()).cast(pa.time32("ms")),
    "t_us": pa.array(integers(0, DAY, [1, DAY - 1, 1000, 10]), pa.int64()).view(pa.time64("us")),
    "ts_ms": pa.array(integers(-210866803200000, 9223372036854775, [-1, 1]), pa.int64()).view(pa.timestamp("ms")),
    "ts_us": pa.array(integers(-210866803200000000, 2**63 - 1, MICROSECONDS), pa.int64()).view(pa.timestamp("us")),
    "tstz": pa.array(integers(-210866803200000000, 2**63 - 1, MICROSECONDS), pa.int64()).view(pa.timestamp("us", "UTC")),
    "dur_ms": pa.array(integers(-(2**53), 2**53, [159, -1, 3600000]), pa.int64()).view(pa.duration("ms")),
    "dur_us": pa.array(integers(-(2**63), 2**63 - 1, [1, -1999000, DAY]), pa.int64()).view(pa.duration("us")),
    "bin": pa.array([NUMBERS.randbytes(n % 20) for n in range(ROWS - 1)] + [None]),
    "uuid": pa.array([NUMBERS.randbytes(16) for n in range(ROWS - 1)] + [None], pa.uuid()),
}
native = {"n": pa.array(range(ROWS)), **native}
write("native", native)
# The same values, each in a list, a structure and a map.
write("listed", {"n": native["n"], **{
    name: pa.ListArray.from_arrays(pa.array(range(ROWS + 1), pa.int32()), column)
    for name, column in native.items() if name not in ("n", "uuid")
}})
names = [name for name in native if name not in ("n", "uuid", "f16")]
write("structure", {"n": native["n"], "s": pa.StructArray.from_arrays([native[name] for name in names], names)})
keys = [name for name in names if name not in ("b", "bin")]
write("mapped", {"n": native["n"][: ROWS - 1], **{
    name: pa.MapArray.from_arrays(
        pa.array(range(ROWS), pa.int32()), native[name][: ROWS - 1], pa.array(range(ROWS - 1)))
    for name in keys
}})

# Nanoseconds, and months with days.
write("nanoseconds", {
    "ts": pa.array([1, -1, 1500, 1700000000123456789, 1000000000], pa.int64()).view(pa.timestamp("ns")),
    "tstz": pa.array([1, -1, 1500, 1700000000123456789, 1000000000], pa.int64()).view(pa.timestamp("ns", "UTC")),
    "t": pa.array([1, 0, 1500, 86399999999999, 60000000000], pa.int64()).view(pa.time64("ns")),
})
intervals = [(159, 0, 0), (0, 0, 0), (12, 1, 1), (0, 100, 86400000), (1, 2, 4294967295), (2147483647, 2147483647, 999)]
raw.write(path("intervals"), [
    ("i", raw.FIXED, [struct.pack("<III", *value) for value in intervals], {"converted": 21, "length": 12})])

# Times that are no time of a day.
TIMES = [-1, -1999000, 2**62, 90000000000, DAY + 1]
for position, value in enumerate(TIMES):
    times = pa.array([0, DAY, value], pa.int64()).view(pa.time64("us"))
    write(f"time_{position}", {"t": times})
    write(f"time_in_structure_{position}", {"s": pa.StructArray.from_arrays([times], ["t"])})
write("time_24", {"t": pa.array([DAY], pa.int64()).view(pa.time64("us"))})

# What PostgreSQL's dates and timestamps cannot be.
for name, physical, value, options in [
    ("date_low", raw.INT32, FIRST_DAY - 1, {"converted": raw.DATE}),
    ("date_high", raw.INT32, LAST_DAY + 1, {"converted": raw.DATE}),
    ("date_highest", raw.INT32, 2**31 - 1, {"converted": raw.DATE}),
    ("date_lowest", raw.INT32, -(2**31), {"converted": raw.DATE}),
    ("us_low", raw.INT64, -210866803200000001, {"logical": raw.timestamp(2, False)}),
    ("us_lowest", raw.INT64, -(2**63) + 1, {"logical": raw.timestamp(2, True)}),
    ("ms_high", raw.INT64, 9224318016000000, {"logical": raw.timestamp(1, True)}),
    ("ms_highest", raw.INT64, 2**63 - 1, {"logical": raw.timestamp(1, False)}),
    ("int96_low", raw.INT96, raw.int96(FIRST_DAY, -1000), {}),
    ("int96_high", raw.INT96, raw.int96(END), {}),
]:
    good = raw.int96(0) if physical == raw.INT96 else 0
    raw.write(path(name), [("v", physical, [good, value], options)])
raw.write(path("last_ones"), [
    ("d", raw.INT32, [FIRST_DAY, LAST_DAY], {"converted": raw.DATE}),
    ("us", raw.INT64, [-210866803200000000, 2**63 - 1], {"logical": raw.timestamp(2, False)}),
    ("ms", raw.INT64, [-210866803200000, 9224318015999999], {"logical": raw.timestamp(1, True)}),
    ("i96", raw.INT96, [raw.int96(FIRST_DAY), raw.int96(END - 1, 86399999999000)], {}),
])

# Infinity, as DuckDB has it: the largest integers and their negatives.
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'")
connection.execute(
    f"""COPY (SELECT v::DATE AS d, v::TIMESTAMP AS us, v::TIMESTAMPTZ AS tz, v::TIMESTAMP_MS AS ms, v::TIMESTAMP_NS AS ns,
                     [v::DATE, NULL] AS ld, {{'ts': v::TIMESTAMP}} AS s
              FROM (VALUES ('infinity'), ('-infinity'), ('2024-02-29')) t (v)) TO '{path("duckdb_infinity")}' (FORMAT parquet)""")

# Two fields of one name.
twice = pa.StructArray.from_arrays([pa.array([1, 3]), pa.array([2, 4])], ["a", "a"])
write("twice", {"n": pa.array([1, 2]), "s": twice})
write("twice_listed", {"l": pa.ListArray.from_arrays(pa.array([0, 2], pa.int32()), twice)})
write("twice_deep", {"s": pa.StructArray.from_arrays([twice], ["inner"])})
write("twice_in_map", {"m": pa.MapArray.from_arrays(pa.array([0, 2], pa.int32()), pa.array(["x", "y"]), twice)})


# Decimals of any width.
def two_complement(value, length):
    return value.to_bytes(length, "big", signed=True)


raw.write(path("wide_decimals"), [
    ("padded", raw.BYTE_ARRAY, [two_complement(v, 20) for v in (0, 1, -1, 10**30 - 1, -(10**30) + 1)],
     {"converted": raw.DECIMAL, "precision": 30, "scale": 2}),
    ("short", raw.BYTE_ARRAY, [b"", b"\x01", b"\xff", two_complement(12345, 2), two_complement(-12345, 3)],
     {"converted": raw.DECIMAL, "precision": 30, "scale": 2}),
    ("d77", raw.FIXED, [two_complement(v, 33) for v in (0, 1, -1, 10**77 - 1, -(10**77) + 1)],
     {"converted": raw.DECIMAL, "precision": 77, "scale": 38, "length": 33}),
    ("d40_in_17", raw.FIXED, [two_complement(v, 17) for v in (0, 1, -1, 2**127 - 1, -(2**127))],
     {"converted": raw.DECIMAL, "precision": 39, "scale": 0, "length": 17}),
    ("d1000", raw.BYTE_ARRAY, [two_complement(v, 420) for v in (0, 1, -1, 10**1000 - 1, -(10**1000) + 1)],
     {"converted": raw.DECIMAL, "precision": 1000, "scale": 500}),
    ("d5000", raw.BYTE_ARRAY, [two_complement(v, 2100) for v in (0, 1, -1, 10**5000 - 1, -(256**20) ** 10)],
     {"converted": raw.DECIMAL, "precision": 5000, "scale": 4000}),
])
raw.write(path("too_wide_decimal"), [
    ("d", raw.BYTE_ARRAY, [b"\x01", two_complement(10**150000, 70000)],
     {"converted": raw.DECIMAL, "precision": 200000, "scale": 10})])
raw.write(path("too_fine_decimal"), [
    ("d", raw.BYTE_ARRAY, [b"\x01"], {"converted": raw.DECIMAL, "precision": 200000, "scale": 20000})])

# Files of Spark with the days of its old calendar, and with those of today's.
JULIAN_DAYS = [-719164, -719165, -719529, -682944, -500320, -354221, -354220, -141428, -141427, -134774, 0, -800000, -2000000]
MOMENTS = [day * DAY + DAY // 2 + 123456 for day in JULIAN_DAYS]


def julian(day):
    """The date of a day since 1970 as the calendar of its time had it, which today's calendar may not know."""
    if day >= -141427:
        return str(datetime.date(1970, 1, 1) + datetime.timedelta(day))
    of_era = day + 2440588 + 32082
    year = (4 * of_era + 3) // 1461
    of_year = of_era - 1461 * year // 4
    month = (5 * of_year + 2) // 153
    on = of_year - (153 * month + 2) // 5 + 1
    year, month = year - 4800 + month // 10, month + 3 - 12 * (month // 10)
    if (year, month, on) == (1000, 2, 29):
        month, on = 3, 1
    return f"{year:04}-{month:02}-{on:02}" if year > 0 else f"{1 - year:04}-{month:02}-{on:02} BC"


with open(f"{DIRECTORY}/julian.txt", "w") as out:
    out.write("\n".join(julian(day) for day in JULIAN_DAYS))
microseconds = pa.array(MOMENTS, pa.int64())
spark = pa.table({
    "n": pa.array(range(1, len(JULIAN_DAYS) + 1)),
    "d": pa.array(JULIAN_DAYS, pa.int32()).view(pa.date32()),
    "us": microseconds.view(pa.timestamp("us", "UTC")),
    "ms": pa.array([value // 1000 for value in MOMENTS], pa.int64()).view(pa.timestamp("ms", "UTC")),
    "ntz": microseconds.view(pa.timestamp("us")),
    "l": pa.ListArray.from_arrays(pa.array(range(len(JULIAN_DAYS) + 1), pa.int32()), pa.array(JULIAN_DAYS, pa.int32()).view(pa.date32())),
    "s": pa.StructArray.from_arrays([microseconds.view(pa.timestamp("us", "UTC"))], ["t"]),
    "m": pa.MapArray.from_arrays(
        pa.array(range(len(JULIAN_DAYS) + 1), pa.int32()),
        pa.array(JULIAN_DAYS, pa.int32()).view(pa.date32()), pa.array(range(len(JULIAN_DAYS)))),
})
for name, pairs in {
    "spark_2": {"version": "2.4.8"},
    "spark_3_0": {"version": "3.0.3"},
    "spark_legacy": {"version": "3.5.1", "legacyDateTime": "", "timeZone": "Etc/UTC"},
    "spark_los_angeles": {"version": "4.0.0", "legacyDateTime": "", "legacyINT96": "", "timeZone": "America/Los_Angeles"},
    "spark_offset": {"version": "3.5.1", "legacyDateTime": "", "legacyINT96": "", "timeZone": "+05:30"},
    "spark_corrected": {"version": "10.0.0", "timeZone": "America/Los_Angeles"},
    "no_spark": {"legacyDateTime": "", "legacyINT96": ""},
}.items():
    pairs = {"org.apache.spark." + key: value for key, value in pairs.items()}
    pq.write_table(spark.replace_schema_metadata(pairs), path(name), row_group_size=5)
    raw.write(path(f"{name}_int96"), [
        ("n", raw.INT32, list(range(1, len(JULIAN_DAYS) + 1))),
        ("t", raw.INT96, [raw.int96(day, 43200123456000) for day in JULIAN_DAYS]),
    ], pairs)
pq.write_table(spark.replace_schema_metadata({"writer.date.proleptic": "false", "writer.time.zone": "UTC"}), path("hive"))
pq.write_table(spark.replace_schema_metadata({"writer.date.proleptic": "true"}), path("hive_proleptic"))

# Arrow types beside one that is not known.
durations = pa.array([1500000, None, -1], pa.int64())
write("durations", {
    "d": durations.view(pa.duration("us")),
    "other": pa.array([1, 2, 3]),
    "s": pa.StructArray.from_arrays([durations.view(pa.duration("us")), pa.array([1, 2, 3])], ["d", "other"]),
    "l": pa.ListArray.from_arrays(pa.array([0, 1, 2, 3], pa.int32()), durations.view(pa.duration("us"))),
})
