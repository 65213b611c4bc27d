"""Reads a Parquet file with somebody else's reader and prints it as JSON, every value in a form that loses nothing.

The first line is the types of the columns, in the reader's words; of the reader "metadata", the rows and the codec of each
row group. Every further line is a row: an object with a text, a
list, an object or null for each column.
"""

import json
import sys

import pyarrow as pa


def read(reader, path):
    if reader == "metadata":
        import pyarrow.parquet

        groups = pyarrow.parquet.ParquetFile(path).metadata
        groups = [groups.row_group(number) for number in range(groups.num_row_groups)]
        return [f"{group.num_rows} {group.column(0).compression}" for group in groups], pa.table({})
    if reader == "pyarrow":
        import glob
        import pyarrow.parquet

        table = pa.concat_tables(pyarrow.parquet.read_table(file) for file in sorted(glob.glob(path)))
        return [str(field.type) for field in table.schema], table
    if reader == "duckdb":
        import duckdb

        connection = duckdb.connect()
        # Decimals beyond DuckDB's own are read as double precision.
        rows = connection.execute("DESCRIBE SELECT * FROM read_parquet($1)", [path]).fetchall()
        quoted = ['"' + row[0].replace('"', '""') + '"' for row in rows if row[1] == "UUID"]
        uuids = ", ".join(f"replace({name}::varchar, '-', '') AS {name}" for name in quoted)
        replaced = f" REPLACE ({uuids})" if uuids else ""
        table = connection.execute(f"SELECT *{replaced} FROM read_parquet($1)", [path]).to_arrow_table()
        return [row[1] for row in rows], table
    if reader == "polars":
        import polars

        frame = polars.read_parquet(path)
        return [str(dtype) for dtype in frame.dtypes], frame.to_arrow()
    raise SystemExit(f"unknown reader {reader}")


def bits(array, unsigned):
    return array.view(unsigned).to_pylist()


def texts(values):
    return [None if value is None else str(value) for value in values]


def canonical(array):
    if isinstance(array, pa.ChunkedArray):
        return [value for chunk in array.chunks for value in canonical(chunk)]
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return canonical(array.storage)
    if pa.types.is_dictionary(kind):
        return canonical(array.dictionary_decode())
    if pa.types.is_boolean(kind):
        return [None if value is None else ("true" if value else "false") for value in array.to_pylist()]
    if pa.types.is_float32(kind):
        return [None if value is None else f"{value:08x}" for value in bits(array, pa.uint32())]
    if pa.types.is_float64(kind):
        return [None if value is None else f"{value:016x}" for value in bits(array, pa.uint64())]
    if pa.types.is_decimal(kind):
        return [None if value is None else format(value, "f") for value in array.to_pylist()]
    if pa.types.is_date32(kind):
        return texts(array.view(pa.int32()).to_pylist())
    if pa.types.is_time(kind) or pa.types.is_timestamp(kind):
        divisor = {"us": 1, "ns": 1000}[kind.unit]
        numbers = array.view(pa.int64()).to_pylist()
        return [None if value is None else str(value // divisor) for value in numbers]
    if pa.types.is_integer(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return texts(array.to_pylist())
    if str(kind) == "string_view":
        return texts(array.to_pylist())
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind) \
            or str(kind) == "binary_view":
        return [None if value is None else value.hex() for value in array.to_pylist()]
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        return [canonical(item.values) if item.is_valid else None for item in array]
    if pa.types.is_struct(kind):
        fields = {field.name: canonical(array.field(field.name)) for field in kind}
        valid = array.is_valid().to_pylist()
        return [
            {name: values[row] for name, values in fields.items()} if valid[row] else None
            for row in range(len(array))
        ]
    raise SystemExit(f"no canonical form for {kind}")


def main():
    _, reader, path = sys.argv
    types, table = read(reader, path)
    print(json.dumps(types))
    columns = {name: canonical(table.column(name)) for name in table.column_names}
    for row in range(table.num_rows):
        print(json.dumps({name: values[row] for name, values in columns.items()}))


main()
