"""The frozen splits as files, one per data set; made and read by `datasets.frozen_splits`."""
