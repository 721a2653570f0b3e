"""From files to batches: decoding, augmentation, caches and loaders."""
