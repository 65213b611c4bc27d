"""Writes files as some writers do that leave the format, or use what is rare in it. One argument: the directory."""

import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raw_parquet import (
    BOOLEAN, BYTE_ARRAY, DECIMAL, FIXED, INT32, INT64, INT96, TIMESTAMP_MICROS, UTF8,
    Struct, int96, plain, timestamp, varint, write, zigzag,
)

directory = Path(sys.argv[1])


def raw(name, *columns, **options):
    write(directory / f"{name}.parquet", columns, **options)


def arrow(name, **columns):
    pq.write_table(pa.table(columns), directory / f"{name}.parquet")


raw("checksum_of_zero", ("n", INT32, [1, 2], {"checksum": 0}))
raw("unpacked_below_zero", ("n", INT32, [1, 2], {"unpacked": -2_143_335_445}))
raw("unpacked_beyond_all", ("n", INT32, [1], {"unpacked": 2**63 - 1}), groups=2)
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


def levels(count, level):
    """Of as many values, all NULL (0) or none (1)."""
    run = varint(count << 1) + bytes([level])
    return len(run).to_bytes(4, "little") + run


def deltas(*numbers):
    """Numbers that are as far from each other as the first two."""
    step = numbers[1] - numbers[0] if len(numbers) > 1 else 0
    assert all(later - earlier == step for earlier, later in zip(numbers, numbers[1:]))
    head = varint(128) + varint(4) + varint(len(numbers)) + zigzag(numbers[0] if numbers else 0)
    return head + (zigzag(step) + bytes(4) if len(numbers) > 1 else b"")


# Pages of nulls alone, without what their encodings begin with, or with a beginning of zeros; and one of values after them.
RLE, DELTA_NUMBERS, DELTA_LENGTHS, DELTA_TEXTS, DICTIONARY = 3, 5, 6, 7, 8
WORDS = deltas(0, 0) + deltas(1, 1) + b"xy"
for name, beginning in ("nothing", b""), ("zeros", bytes(4)):
    raw(
        f"nulls_after_{name}",
        *(
            (column, physical, [None] * 4, {
                "pages": [(2, encoding, levels(2, 0) + beginning), (2, values[0], levels(2, 1) + values[1])], **more,
            })
            for column, physical, encoding, values, more in [
                ("number", INT64, DELTA_NUMBERS, (DELTA_NUMBERS, deltas(7, 8)), {}),
                ("text", BYTE_ARRAY, DELTA_TEXTS, (DELTA_TEXTS, WORDS), {"converted": UTF8}),
                ("word", BYTE_ARRAY, DELTA_LENGTHS, (DELTA_LENGTHS, deltas(1, 1) + b"xy"), {"converted": UTF8}),
                ("flag", BOOLEAN, RLE, (0, b"\x01"), {}),
                ("entry", INT64, DICTIONARY, (DELTA_NUMBERS, deltas(1, 2)), {}),
            ]
            if name == "nothing" or encoding not in (RLE, DICTIONARY)
        ),
    )
raw("values_after_nothing", ("number", INT64, [None] * 2, {"pages": [(2, DELTA_NUMBERS, levels(2, 1))]}))
# What Parquet's Java library wrote before 1.8: "ax", "ay", and in the next page with values "az" and "bz", of which "az" shares
# a letter with "ay", and in the last one another "bz". No other writer did so, nor goes a column chunk on from another one.
PAGES = [
    (2, DELTA_TEXTS, levels(2, 1) + deltas(0, 1) + deltas(2, 1) + b"axy"),
    (2, DELTA_TEXTS, levels(2, 0)),
    (2, DELTA_TEXTS, levels(2, 1) + deltas(1, 0) + deltas(1, 2) + b"zbz"),
    (1, DELTA_TEXTS, levels(1, 1) + deltas(2) + deltas(0)),
]
ANOTHER = (2, 0, levels(2, 1) + plain(BYTE_ARRAY, [b"ay", b"ay"]))
OLD = "parquet-mr version 1.6.0rc7 (build 0123456789abcdef)"
for name, pages, writer in [
    ("page_before", PAGES, OLD),
    ("page_before_of_others", PAGES, "parquet-mr version 1.8.0 (build 0123456789abcdef)"),
    ("chunk_before", PAGES[1:], OLD),
    ("page_in_another_encoding", [ANOTHER, *PAGES[1:]], OLD),
]:
    rows = [None] * sum(page[0] for page in pages)
    raw(
        f"prefix_of_the_{name}",
        ("text", BYTE_ARRAY, rows, {"pages": pages, "converted": UTF8}),
        *([("bytes", FIXED, rows, {"pages": pages, "length": 2})] if pages == PAGES else []),
        created_by=writer,
    )
# The same within a page.
raw(
    "prefix_of_more_than_there_is",
    ("text", BYTE_ARRAY, [None] * 2, {"pages": [(2, DELTA_TEXTS, levels(2, 1) + deltas(0, 3) + deltas(2, 1) + b"axy")], "converted": UTF8}),
)



def page_of_version_2(values, nulls, rows, encoding, repetition, definition, content):
    data = repetition + definition + content
    kind = Struct().integer(1, values).integer(2, nulls).integer(3, rows).integer(4, encoding)
    kind.integer(5, len(definition)).integer(6, len(repetition))
    return Struct().integer(1, 3).integer(2, len(data)).integer(3, len(data)).struct(8, kind).bytes() + data


def dictionary(physical, values):
    data = plain(physical, values)
    header = Struct().integer(1, 2).integer(2, len(data)).integer(3, len(data))
    return header.struct(7, Struct().integer(1, len(values)).integer(2, 0)).bytes() + data


def runs(*levels):
    """Each of its own."""
    return b"".join(varint(1 << 1) + bytes([level]) for level in levels)


# Pages of version 2 begin with a row, it is said: [1, 2, 3, 4], [5, 6, 7] in pages that do not, and in one that does.
raw(
    "rows_over_pages",
    *(
        (name, INT32, [None] * 2, {"list": 7, "pages": [
            page_of_version_2(
                last - first, 0, rows, 0, runs(*levels), runs(*[3] * len(levels)), plain(INT32, range(first, last))
            )
            for rows, first, last, levels in pages
        ]})
        for name, pages in [
            ("split", [(1, 1, 4, [0, 1, 1]), (1, 4, 6, [1, 0]), (0, 6, 8, [1, 1])]),
            ("whole", [(1, 1, 5, [0, 1, 1, 1]), (1, 5, 8, [0, 1, 1])]),
        ]
    ),
)
# The positions of a dictionary's only entry, whose number is not said.
raw(
    "only_entry",
    *(
        (name, physical, [None] * 3, {
            "pages": [dictionary(physical, [value]), (3, DICTIONARY, len(levels).to_bytes(4, "little") + levels + b"\0")], **more,
        })
        for name, physical, value, levels, more in [
            ("text", BYTE_ARRAY, b"one", runs(1, 0, 1), {"converted": UTF8}), ("number", INT64, 7, runs(0, 1, 1), {}),
        ]
    ),
)
# Nulls alone, of a dictionary that there is not.
NULLS = len(runs(0, 0, 0)).to_bytes(4, "little") + runs(0, 0, 0) + b"\0" + varint(3 << 1)
raw(
    "nulls_of_no_dictionary",
    *(
        (name, physical, [None] * 3, {"pages": [(3, DICTIONARY, NULLS)], **more})
        for name, physical, more in [("text", BYTE_ARRAY, {"converted": UTF8}), ("number", INT64, {})]
    ),
)
# From one end of the numbers to the other: differences of 64 bits, where numbers have 32.
FAR = [-(1 << 31), (1 << 31) - 1, -(1 << 31), 5]
STEPS = [later - earlier for earlier, later in zip(FAR, FAR[1:])]
BITS = 34
PACKED = sum((step - min(STEPS)) << (index * BITS) for index, step in enumerate(STEPS)).to_bytes(32 * BITS // 8, "little")
raw(
    "wide_differences",
    ("number", INT32, [None] * 5, {"pages": [(5, DELTA_NUMBERS, (
        len(runs(1, 1, 0, 1, 1)).to_bytes(4, "little") + runs(1, 1, 0, 1, 1)
        + varint(128) + varint(4) + varint(4) + zigzag(FAR[0]) + zigzag(min(STEPS)) + bytes([BITS, 0, 0, 0]) + PACKED
    ))]}),
)
# Values of a fixed length, and bytes that are none of them.
AFTER = 8 * b"\xff"
MOMENTS = plain(INT96, [int96(0), int96(1)])
raw(
    "bytes_after_values",
    *(
        (name, physical, [None] * 6, {
            "pages": [
                (3, 0, len(runs(1, 0, 1)).to_bytes(4, "little") + runs(1, 0, 1) + content + AFTER),
                page_of_version_2(3, 1, 3, 0, b"", runs(1, 0, 1), content + content),
            ],
            **more,
        })
        for name, physical, content, more in [("moment", INT96, MOMENTS, {}), ("bytes", FIXED, b"abcdef", {"length": 3})]
    ),
)

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
