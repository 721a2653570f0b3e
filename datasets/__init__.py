"""From files to batches: readers of benchmarks and own data, and the records they return."""

from datasets.records import Batch, DataSplits, Sample
from datasets.registry import read_dataset

__all__ = ["Batch", "DataSplits", "Sample", "read_dataset"]
