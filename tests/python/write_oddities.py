"""Writes files as some writers do that leave the format, or use what is rare in it. One argument: the directory."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raw_parquet import BYTE_ARRAY, DECIMAL, FIXED, INT32, INT64, INT96, TIMESTAMP_MICROS, UTF8, Struct, int96, timestamp, write

directory = Path(sys.argv[1])


def raw(name, *columns, **options):
    write(directory / f"{name}.parquet", columns, **options)


def arrow(name, **columns):
    pq.write_table(pa.table(columns), directory / f"{name}.parquet")


raw("checksum_of_zero", ("n", INT32, [1, 2], {"checksum": 0}))
raw("dictionary_at_zero", ("n", INT32, [1, 2], {"dictionary": 0}))
# Both annotations, which contradict each other: the logical one counts.
raw("contradiction", ("t", INT64, [1_000_000, 0], {"converted": TIMESTAMP_MICROS, "logical": timestamp(1, False)}))
# One that goes with no value of the type is none.
raw(
    "misplaced",
    ("text", INT32, [1, 2], {"converted": UTF8}),
    ("uuid", FIXED, [b"abc", b"def"], {"length": 3, "logical": Struct().struct(14, Struct())}),
    ("future", INT32, [3, 4], {"logical": Struct().struct(25, Struct())}),
    ("unknown", INT32, [5, 6], {"converted": 30}),
)
raw(
    "decimals",
    ("short", INT32, [123456789, 5], {"converted": DECIMAL, "precision": 12, "scale": 2}),
    ("unsaid", INT64, [-12345, 5], {"converted": DECIMAL, "scale": 2}),
    ("small", INT32, [12, 5], {"converted": DECIMAL, "precision": 1, "scale": 3}),
)
# Spark's microseconds of a far year overflow.
raw("far_int96", ("t", INT96, [int96(-105_862_232 - 2440588, -32_509_551_616_000), int96(0, 1_000)]))
raw("nulls_with_values", ("n", INT32, [1, 2], {"logical": Struct().struct(11, Struct())}))

INVALID = [b"valid", b"caf\xe9 au lait", b"nul\0nul", b"\xf0\x9f\x98", b"\xed\xa0\x80"]
raw("invalid_texts", ("id", INT32, list(range(5))), ("t", BYTE_ARRAY, INVALID, {"converted": UTF8}))
for position, value in enumerate(INVALID):
    raw(f"invalid_text_{position}", ("id", INT32, [7, 8]), ("t", BYTE_ARRAY, [b"ok", value], {"converted": UTF8}))


def unchecked(values):
    """A column of texts that are not looked at."""
    binary = pa.array(values, pa.binary())
    return pa.StringArray.from_buffers(len(values), *binary.buffers()[1:])


texts = unchecked(INVALID)
arrow(
    "invalid_nested",
    l=pa.ListArray.from_arrays(pa.array([0, 2, 5], pa.int32()), texts),
    s=pa.StructArray.from_arrays([unchecked(INVALID[1:3])], ["f"]),
    m=pa.MapArray.from_arrays(pa.array([0, 1, 2], pa.int32()), unchecked(INVALID[1:3]), pa.array([1, 2])),
)
