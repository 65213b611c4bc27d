"""Writes Parquet files with several writers, and beside each what its writer reads back: FILE.json holds the columns'
names and, row by row, the values as PostgreSQL writes them. Prints what the installed versions cannot write."""

import datetime
import decimal
import io
import json
import math
import sys
import uuid

import duckdb
import polars
import pyarrow as pa
import pyarrow.parquet as pq

D = decimal.Decimal
DIRECTORY = sys.argv[1]
EPOCH = datetime.datetime(1970, 1, 1)


def text(value, column_type):
    """The text of a scalar, None for NULL."""
    if value is None:
        return None
    if pa.types.is_timestamp(column_type):
        return instant(value, column_type)
    if pa.types.is_time(column_type):
        return str(value)
    if pa.types.is_duration(column_type):
        return f"{value} {column_type.unit}"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        if math.isinf(value):
            return "Infinity" if value > 0 else "-Infinity"
        return repr(value)
    if isinstance(value, (bytes, bytearray)):
        return "\\x" + bytes(value).hex()
    if isinstance(value, datetime.date):
        return f"{value.year:04}-{value.month:02}-{value.day:02}"
    return str(value)


def instant(value, column_type):
    per_second = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}[column_type.unit]
    seconds, fraction = divmod(value, per_second)
    moment = EPOCH + datetime.timedelta(seconds=seconds)
    digits = str(fraction * (10**9 // per_second)).zfill(9).rstrip("0")
    written = f"{moment.year:04}-{moment.month:02}-{moment.day:02} {moment:%H:%M:%S}" + (f".{digits}" if digits else "")
    return written + ("+00" if column_type.tz else "")


def plain(value, column_type):
    """A value of any structure for JSON; scalars as texts."""
    if value is None:
        return None
    if pa.types.is_map(column_type):
        return [[plain(k, column_type.key_type), plain(v, column_type.item_type)] for k, v in value]
    if pa.types.is_list(column_type) or pa.types.is_large_list(column_type) or pa.types.is_fixed_size_list(column_type):
        return [plain(element, column_type.value_type) for element in value]
    if pa.types.is_struct(column_type):
        return {field.name: plain(value[field.name], field.type) for field in column_type}
    return text(value, column_type)


def values(column):
    column_type = column.type
    if pa.types.is_dictionary(column_type):
        column = column.cast(column_type.value_type)
        column_type = column_type.value_type
    if pa.types.is_timestamp(column_type) or pa.types.is_duration(column_type):
        return [None if value is None else plain(value, column_type) for value in column.cast(pa.int64()).to_pylist()]
    if pa.types.is_time(column_type):
        return [plain(value, column_type) for value in column.cast(pa.time64("us")).to_pylist()]
    return [plain(value, column_type) for value in column.to_pylist()]


def expect(name, table):
    columns = [values(table.column(position)) for position in range(table.num_columns)]
    with open(f"{DIRECTORY}/{name}.json", "w") as out:
        json.dump({"columns": table.column_names, "rows": [list(row) for row in zip(*columns)]}, out)


def write(name, table, **options):
    try:
        pq.write_table(table, f"{DIRECTORY}/{name}.parquet", **options)
        table = pq.read_table(f"{DIRECTORY}/{name}.parquet")
    except TypeError as error:  # an option that is not known yet
        assert "unexpected keyword" in str(error), error
        print(name)
    except OSError:  # what it wrote and cannot read
        print(name)
    else:
        expect(name, table)


def writable(columns):
    """Of the columns, those that this version has a type for, writes, and reads again."""
    kept = {}
    for name, make in columns.items():
        try:
            column = make()
            file = io.BytesIO()
            pq.write_table(pa.table({name: column}), file)
            pq.read_table(file)
        except (AttributeError, NotImplementedError, TypeError, ValueError):
            print(name)
        else:
            kept[name] = column
    return kept


NULL = None
SCALARS = {
    "b": lambda: pa.array([True, False, NULL]),
    "i8": lambda: pa.array([-128, 127, NULL], pa.int8()),
    "i16": lambda: pa.array([-32768, 32767, NULL], pa.int16()),
    "i32": lambda: pa.array([-(2**31), 2**31 - 1, NULL], pa.int32()),
    "i64": lambda: pa.array([-(2**63), 2**63 - 1, NULL], pa.int64()),
    "u8": lambda: pa.array([0, 255, NULL], pa.uint8()),
    "u16": lambda: pa.array([0, 65535, NULL], pa.uint16()),
    "u32": lambda: pa.array([0, 2**32 - 1, NULL], pa.uint32()),
    "u64": lambda: pa.array([0, 2**64 - 1, NULL], pa.uint64()),
    "f16": lambda: pa.array([1.5, float("nan"), NULL], pa.float16()),
    "f32": lambda: pa.array([-0.0, float("-inf"), NULL], pa.float32()),
    "f64": lambda: pa.array([0.1, 1e300, NULL], pa.float64()),
    "d5": lambda: pa.array([D("123.45"), D("-999.99"), NULL], pa.decimal128(5, 2)),
    "d9": lambda: pa.array([D("0.000000001"), D("0"), NULL], pa.decimal128(9, 9)),
    "d18": lambda: pa.array([D("100000000000000000"), D("-1"), NULL], pa.decimal128(18, 0)),
    "d38": lambda: pa.array([D("12345678901234567890123456789012.123456"), D("-0.000001"), NULL], pa.decimal128(38, 6)),
    "d76": lambda: pa.array([D("1234567890123456789012345678901234567890.1234567890"), D("-1"), NULL], pa.decimal256(76, 10)),
    "date": lambda: pa.array([datetime.date(1, 1, 1), datetime.date(9999, 12, 31), NULL]),
    "ts_ms": lambda: pa.array([-1, 1577836800123, NULL], pa.timestamp("ms")),
    "ts_us": lambda: pa.array([1, 253402300799999999, NULL], pa.timestamp("us")),
    "ts_ns": lambda: pa.array([1000, -1000, NULL], pa.timestamp("ns")),
    "tstz": lambda: pa.array([0, -2208988800000000, NULL], pa.timestamp("us", tz="Europe/Berlin")),
    "t_ms": lambda: pa.array([datetime.time(1, 2, 3), datetime.time(23, 59, 59, 999000), NULL], pa.time32("ms")),
    "t_us": lambda: pa.array([datetime.time(0, 0, 0, 1), datetime.time(23, 59, 59, 999999), NULL], pa.time64("us")),
    "dur_us": lambda: pa.array([86400000005, -1, NULL], pa.duration("us")),
    "s": lambda: pa.array(['häß\n"x"\\', "", NULL]),
    "ls": lambda: pa.array(["large", "x" * 5000, NULL], pa.large_string()),
    "sv": lambda: pa.array(["short", "a view of more than twelve bytes", NULL], pa.string_view()),
    "dict": lambda: pa.array(["a", "b", NULL]).dictionary_encode(),
    "bin": lambda: pa.array([b"\x00\xff", b"", NULL]),
    "fsb": lambda: pa.array([b"abc", b"\x00\x01\x02", NULL], pa.binary(3)),
    "nothing": lambda: pa.nulls(3),
}
NESTED = {
    "l": lambda: pa.array([[1, NULL, 3], [], NULL], pa.list_(pa.int32())),
    "ll": lambda: pa.array([["x"], [NULL, "y"], NULL], pa.large_list(pa.string())),
    "fl": lambda: pa.array([[1.5, 2.5], [0.0, -1.0], NULL], pa.list_(pa.float64(), 2)),
}
DOCUMENTS = {
    "lls": lambda: pa.array([[["a"], NULL, []], [], NULL], pa.list_(pa.list_(pa.string()))),
    "st": lambda: pa.array(
        [{"x": 1, "y": {"z": "q"}}, {"x": NULL, "y": NULL}, NULL],
        pa.struct([("x", pa.int64()), ("y", pa.struct([("z", pa.string())]))]),
    ),
    "lst": lambda: pa.array([[{"a": 1}, NULL], [], NULL], pa.list_(pa.struct([("a", pa.int32())]))),
    "m": lambda: pa.array([[("k", 1.5), ('"', NULL)], [], NULL], pa.map_(pa.string(), pa.float64())),
    "ml": lambda: pa.array([[(1, [True])], [], NULL], pa.map_(pa.int32(), pa.list_(pa.bool_()))),
}

scalars = pa.table(writable(SCALARS))
nested = pa.table(writable(NESTED))
for codec in ["none", "snappy", "gzip", "brotli", "lz4", "zstd"]:
    write(f"scalars_{codec}", scalars, compression=codec)
write("scalars_v2", scalars, data_page_version="2.0", compression="zstd")
write("scalars_v1_types", scalars.drop(["ts_ns"]), version="1.0")
write("scalars_without_dictionary", scalars, use_dictionary=False)
write("scalars_small_pages", pa.concat_tables([scalars] * 500), data_page_size=64, row_group_size=301)
write("decimals_as_integers", scalars.select(["d5", "d9", "d18"]), store_decimal_as_integer=True)
write("byte_stream_split", scalars.select(["f32", "f64"]), use_dictionary=False, use_byte_stream_split=True)
write(
    "delta",
    pa.table({"i": pa.array(range(5000)), "t": pa.array([f"prefix {i // 7}" for i in range(5000)])}),
    use_dictionary=False,
    column_encoding={"i": "DELTA_BINARY_PACKED", "t": "DELTA_BYTE_ARRAY"},
)
write("int96", pa.table({"t": pa.array([-1000, 1700000000123456000, NULL], pa.timestamp("ns"))}),
      use_deprecated_int96_timestamps=True)
write("nested", nested)
write("nested_old_lists", nested, use_compliant_nested_type=False)
write("empty", scalars.slice(0, 0))
write("many_groups", pa.table({"id": pa.array(range(100000)), "name": pa.array([f"name {i}" for i in range(100000)])}),
      row_group_size=7000)
pq.write_table(pa.table(writable(DOCUMENTS)), f"{DIRECTORY}/documents.parquet")
pq.write_table(pa.table({"t": pa.array([1001], pa.timestamp("ns"))}), f"{DIRECTORY}/too_fine.parquet", version="2.6")
pq.write_table(pa.table({"t": pa.array([b"fine", b"\xff"], pa.binary())}), f"{DIRECTORY}/bytes.parquet")

# DuckDB
connection = duckdb.connect()
connection.execute("SET TimeZone = 'UTC'; CREATE TYPE letter AS ENUM ('a', 'b')")
connection.execute(
    f"""COPY (SELECT 1::TINYINT AS i8, 2::UTINYINT AS u8, 300::USMALLINT AS u16, 4000000000::UINTEGER AS u32,
                     18446744073709551615::UBIGINT AS u64, 12345.678::DECIMAL(18,3) AS d, 1.5::REAL AS f, DATE '0044-03-15' AS on_day,
                     TIMESTAMP '1999-12-31 23:59:59.999999' AS ts, TIMESTAMPTZ '2000-01-01 00:00:00+00' AS tstz,
                     TIME '12:34:56.789' AS t, 'text' AS s, '\\xAA\\x00'::BLOB AS b
              UNION ALL SELECT NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)
        TO '{DIRECTORY}/duckdb.parquet' (FORMAT parquet)"""
)
rows = connection.execute(f"SELECT * FROM '{DIRECTORY}/duckdb.parquet'")
expect("duckdb", rows.to_arrow_table() if hasattr(rows, "to_arrow_table") else rows.fetch_arrow_table())
connection.execute(
    f"""COPY (SELECT '{uuid.UUID(int=2**127 + 5)}'::UUID AS u, 'a'::letter AS e,
                     INTERVAL '14 months' + INTERVAL '3 days' + INTERVAL '4005 milliseconds' AS i,
                     '{{"k": [1, null]}}'::JSON AS j, 170141183460469231731687303715884105727::HUGEINT AS h)
        TO '{DIRECTORY}/duckdb_types.parquet' (FORMAT parquet)"""
)

# polars
frame = polars.DataFrame(
    {
        "i": [1, None, 3],
        "cat": polars.Series(["x", None, "y"], dtype=polars.Categorical),
        "when": [datetime.datetime(2024, 2, 29, 1, 2, 3, 4), None, datetime.datetime(1700, 1, 1)],
        "day": [datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)],
        "list": [[1, 2], [], None],
    }
)
if hasattr(polars, "Decimal"):
    decimals = polars.Series("dec", [D("1.10"), None, D("-2.25")], dtype=polars.Decimal(10, 2))
    frame = frame.with_columns([decimals])
else:
    print("dec")
frame.write_parquet(f"{DIRECTORY}/polars.parquet")
expect("polars", polars.read_parquet(f"{DIRECTORY}/polars.parquet").to_arrow())
