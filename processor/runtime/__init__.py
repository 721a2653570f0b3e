"""What a run stands on: device, precision, seeds, checkpoints, run folder, signals."""
