"""Features as a Parquet file, which LanceDB, Qdrant, pgvector and DuckDB load (with pyarrow).

python examples/export_parquet.py features.shards features.parquet
"""

import sys

import pyarrow as pa
import pyarrow.parquet as pq

from clipreid import read_features

ROWS = 65_536  # in memory at a time


def export(source: str, target: str) -> None:
    """Write path, name, camera and feature of every image of a .npz, .npy or folder of shards."""
    stored = read_features(source)
    width = stored.features.shape[1]
    texts = [(name, pa.string()) for name in ("path", "name", "camera")]
    schema = pa.schema([*texts, ("feature", pa.list_(pa.float32(), width))])
    with pq.ParquetWriter(target, schema) as writer:
        for start in range(0, len(stored.samples), ROWS):
            samples = stored.samples[start : start + ROWS]
            numbers = pa.array(stored.features[start : start + ROWS].ravel())
            columns = [
                pa.array([x.path for x in samples]),
                pa.array([x.identity for x in samples]),
                pa.array([x.camera for x in samples]),
                pa.FixedSizeListArray.from_arrays(numbers, width),
            ]
            writer.write_table(pa.table(columns, schema))


if __name__ == "__main__":
    export(*sys.argv[1:])
