"""Writes the rows of a Parquet file to standard output as CSV, a batch at a time."""

import sys

import pyarrow.csv
import pyarrow.parquet

file = pyarrow.parquet.ParquetFile(sys.argv[1])
options = pyarrow.csv.WriteOptions(include_header=False)
with pyarrow.csv.CSVWriter(sys.stdout.buffer, file.schema_arrow, write_options=options) as writer:
    for batch in file.iter_batches():
        writer.write_batch(batch)
