"""Writes Parquet files byte by byte, for what no writer writes any more, or never did: one row group of PLAIN columns."""

import struct

BOOLEAN, INT32, INT64, INT96, FLOAT, DOUBLE, BYTE_ARRAY, FIXED = range(8)
UTF8, LIST, DECIMAL, DATE = 0, 3, 5, 6
TIME_MILLIS, TIME_MICROS, TIMESTAMP_MILLIS, TIMESTAMP_MICROS = 7, 8, 9, 10


def varint(number):
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def zigzag(number):
    return varint((number << 1) ^ (number >> 63))


class Struct:
    """A struct of Thrift's compact protocol. Fields come in the order of their numbers; those that are None are left out."""

    def __init__(self):
        self.out = bytearray()
        self.last = 0

    def field(self, number, kind, payload):
        delta = number - self.last
        self.out += bytes([delta << 4 | kind]) if delta < 16 else bytes([kind]) + zigzag(number)
        self.last = number
        self.out += payload
        return self

    def integer(self, number, value, kind=5):
        return self if value is None else self.field(number, kind, zigzag(value))

    def long(self, number, value):
        return self.integer(number, value, 6)

    def text(self, number, value):
        if value is None:
            return self
        value = value.encode() if isinstance(value, str) else value
        return self.field(number, 8, varint(len(value)) + value)

    def struct(self, number, value):
        return self if value is None else self.field(number, 12, value.bytes())

    def flag(self, number, value):
        return self.field(number, 1 if value else 2, b"")

    def list(self, number, kind, items):
        head = bytes([len(items) << 4 | kind]) if len(items) < 15 else bytes([0xF0 | kind]) + varint(len(items))
        return self.field(number, 9, head + b"".join(items))

    def bytes(self):
        return bytes(self.out) + b"\0"


def timestamp(unit, utc):
    """A logical type; `unit` is millis (1), micros (2) or nanos (3)."""
    return Struct().struct(8, Struct().flag(1, utc).struct(2, Struct().struct(unit, Struct())))


def plain(physical, values):
    if physical == BYTE_ARRAY:
        return b"".join(struct.pack("<I", len(value)) + value for value in values)
    if physical in (FIXED, INT96):
        return b"".join(values)
    code = {INT32: "<i", INT64: "<q", FLOAT: "<f", DOUBLE: "<d"}[physical]
    return b"".join(struct.pack(code, value) for value in values)


def int96(day, nanoseconds=0):
    """Of a day since 1970."""
    return struct.pack("<qi", nanoseconds, day + 2440588)


def write(path, columns, key_values=None, created_by="raw", groups=1):
    """Columns are (name, physical type, values) with the optional parts of a schema's element: converted, logical,
    length, scale, precision; the checksum of the page; the offset of a dictionary that is not there; and the pages of a column
    that may be NULL, in the place of one of all values: (number of values, encoding, content), or bytes of a page with its
    header. No other value is NULL. With `list` the values are those of lists, and their number is that of the elements.
    `unpacked` is the size that pages are said to have unpacked. More row groups than one have the same pages."""
    out = bytearray(b"PAR1")
    elements = [Struct().text(4, "schema").integer(5, len(columns)).bytes()]
    chunks = []
    rows = len(columns[0][2])
    for name, physical, values, *more in columns:
        options = more[0] if more else {}
        assert len(values) == rows
        start = len(out)
        for page in options.get("pages") or [(rows, 0, plain(physical, values))]:
            if isinstance(page, tuple):
                count, encoding, data = page
                header = Struct().integer(1, 0).integer(2, len(data)).integer(3, len(data))
                header.integer(4, options.get("checksum"))
                header.struct(5, Struct().integer(1, count).integer(2, encoding).integer(3, 3).integer(4, 3))
                page = header.bytes() + data
            out += page
        size = len(out) - start
        path_of_names = [name, "list", "element"] if "list" in options else [name]
        metadata = (
            Struct().integer(1, physical).list(2, 5, [zigzag(0)])
            .list(3, 8, [varint(len(part.encode())) + part.encode() for part in path_of_names])
            .integer(4, 0).long(5, options.get("list", rows)).long(6, options.get("unpacked", size)).long(7, size).long(9, start).long(11, options.get("dictionary"))
        )
        chunks.append(Struct().long(2, start).struct(3, metadata).bytes())
        if "list" in options:
            elements.append(Struct().integer(3, 1).text(4, name).integer(5, 1).integer(6, LIST).bytes())
            elements.append(Struct().integer(3, 2).text(4, "list").integer(5, 1).bytes())
        element = Struct().integer(1, physical).integer(2, options.get("length"))
        element.integer(3, 1 if "pages" in options else 0).text(4, path_of_names[-1])
        element.integer(6, options.get("converted")).integer(7, options.get("scale")).integer(8, options.get("precision"))
        elements.append(element.struct(10, options.get("logical")).bytes())
    group = Struct().list(1, 12, chunks).long(2, len(out)).long(3, rows).bytes()
    footer = Struct().integer(1, 2).list(2, 12, elements).long(3, rows * groups).list(4, 12, [group] * groups)
    pairs = [Struct().text(1, key).text(2, value).bytes() for key, value in (key_values or {}).items()]
    if pairs:
        footer.list(5, 12, pairs)
    footer = footer.text(6, created_by).bytes()
    out += footer + struct.pack("<I", len(footer)) + b"PAR1"
    with open(path, "wb") as file:
        file.write(out)
